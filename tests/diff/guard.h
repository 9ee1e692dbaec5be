/* Buffers between pages that nobody may touch. */
#ifndef SPCC_TESTS_GUARD_H
#define SPCC_TESTS_GUARD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct guarded {
  void *data;
  void *map; /* with a page without access before and after */
  size_t map_bytes;
} guarded;

/* `bytes` filled with `fill`. at_end: they end where the page without access begins (but for the
 * padding that `align` asks for); else they begin where one ends. */
guarded guard_new(size_t bytes, size_t align, bool at_end, int fill);
/* The same with a copy of `data`, read-only. */
guarded guard_copy(const void *data, size_t bytes, size_t align, bool at_end);
void guard_free(const guarded *g);

#endif
