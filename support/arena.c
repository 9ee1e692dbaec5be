#include "support/arena.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/checked.h"

/* Small allocations share chunks that double from CHUNK_FIRST to CHUNK_LAST bytes; one of at least
 * a quarter of a chunk gets a block of its own, so that at most a quarter of a chunk is wasted. */
enum { CHUNK_FIRST = 64 << 10, CHUNK_LAST = 8 << 20, CHUNK_PART = 4, ALIGN_MAX = 4096 };

typedef struct block {
  struct block *next;
  max_align_t data[];
} block;

struct arena {
  block *blocks;
  unsigned char *at, *end; /* what is free in the current chunk */
  size_t chunk;            /* bytes of the next chunk */
  size_t used, max;
  arena_full *full;
  void *context;
};

arena *arena_new(size_t max_bytes, arena_full *full, void *context) {
  arena *a = calloc(1, sizeof *a);
  if (!a) return NULL;
  *a = (arena){.chunk = CHUNK_FIRST, .max = max_bytes, .full = full, .context = context};
  return a;
}

void arena_free(arena *a) {
  if (!a) return;
  for (block *b = a->blocks, *next; b; b = next) {
    next = b->next;
    free(b);
  }
  free(a);
}

arena *arena_scratch(const arena *a) {
  arena *scratch = arena_new(a->max - a->used, a->full, a->context);
  if (!scratch) a->full(a->context, sizeof *scratch);
  return scratch;
}

size_t arena_used(const arena *a) {
  return a->used;
}

static _Noreturn void out_of_memory(arena *a, size_t bytes) {
  a->full(a->context, bytes);
  abort(); /* the handler broke its promise not to return */
}

/* `bytes` of zeroed memory in a block of its own; `wanted` is what the caller asked for. */
static unsigned char *block_new(arena *a, size_t bytes, size_t wanted) {
  size_t total;
  block *b = size_add(bytes, sizeof *b, &total) ? calloc(1, total) : NULL;
  if (!b) out_of_memory(a, wanted);
  b->next = a->blocks;
  a->blocks = b;
  return (unsigned char *)b->data;
}

static unsigned char *align_up(unsigned char *p, size_t align) {
  size_t past = (uintptr_t)p & (align - 1);
  return past ? p + (align - past) : p;
}

void *arena_alloc(arena *a, size_t bytes, size_t align) {
  assert(align && align <= ALIGN_MAX && !(align & (align - 1)));
  if (bytes > a->max - a->used) out_of_memory(a, bytes);
  size_t need;
  if (!size_add(bytes, align, &need)) out_of_memory(a, bytes);
  a->used += bytes;
  if (need >= a->chunk / CHUNK_PART) return align_up(block_new(a, need, bytes), align);
  if (need > (size_t)(a->end - a->at)) {
    a->at = block_new(a, a->chunk, bytes);
    a->end = a->at + a->chunk;
    if (a->chunk < CHUNK_LAST) a->chunk *= 2;
  }
  unsigned char *p = align_up(a->at, align);
  a->at = p + bytes;
  return p;
}

void *arena_calloc(arena *a, size_t count, size_t size, size_t align) {
  size_t bytes;
  if (!size_mul(count, size, &bytes)) out_of_memory(a, SIZE_MAX);
  return arena_alloc(a, bytes, align);
}

void *arena_grow(arena *a, const void *old, size_t old_count, size_t new_count, size_t size,
                 size_t align) {
  assert(new_count >= old_count);
  void *grown = arena_calloc(a, new_count, size, align);
  if (old_count) memcpy(grown, old, old_count * size);
  return grown;
}

char *arena_strndup(arena *a, const char *s, size_t n) {
  size_t length = strnlen(s, n);
  char *copy = arena_alloc(a, length + 1, 1);
  memcpy(copy, s, length);
  return copy;
}

char *arena_strdup(arena *a, const char *s) {
  return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(arena *a, const char *format, va_list args) {
  va_list again;
  va_copy(again, args);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  if (length < 0) out_of_memory(a, 0);
  char *text = arena_alloc(a, (size_t)length + 1, 1);
  vsnprintf(text, (size_t)length + 1, format, args);
  return text;
}

char *arena_printf(arena *a, const char *format, ...) {
  va_list args;
  va_start(args, format);
  char *text = arena_vprintf(a, format, args);
  va_end(args);
  return text;
}
