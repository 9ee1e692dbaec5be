#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/spcc_rt.h"

/* Maps the regular, non-empty file behind `fd`. */
static const void *map(int fd, size_t *bytes) {
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0) return NULL;
  void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return NULL;
  *bytes = (size_t)st.st_size;
  return at;
}

const void *spcc_map_weights(const char *path, size_t *bytes) {
  if (!path || !bytes) return NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
  if (fd < 0) return NULL;
  const void *at = map(fd, bytes);
  close(fd);
  return at;
}

void spcc_unmap_weights(const void *weights, size_t bytes) {
  if (weights) munmap((void *)(uintptr_t)weights, bytes);
}
