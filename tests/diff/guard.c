#include "tests/diff/guard.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

guarded guard_new(size_t bytes, size_t align, bool at_end, int fill) {
  size_t page = page_bytes(), padded = (bytes + align - 1) & ~(align - 1);
  size_t inner = (padded + page - 1) & ~(page - 1);
  guarded g = {.map_bytes = inner + 2 * page};
  g.map = mmap(NULL, g.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (g.map == MAP_FAILED) abort();
  unsigned char *first = (unsigned char *)g.map + page;
  if (inner > 0 && mprotect(first, inner, PROT_READ | PROT_WRITE) != 0) abort();
  if (inner > 0) memset(first, fill, inner);
  g.data = at_end ? first + inner - padded : first;
  return g;
}

guarded guard_copy(const void *data, size_t bytes, size_t align, bool at_end) {
  guarded g = guard_new(bytes, align, at_end, 0);
  if (bytes > 0) memcpy(g.data, data, bytes);
  size_t page = page_bytes();
  if (mprotect((unsigned char *)g.map + page, g.map_bytes - 2 * page, PROT_READ) != 0) abort();
  return g;
}

void guard_free(const guarded *g) {
  munmap(g->map, g->map_bytes);
}
