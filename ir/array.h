/* Arrays in an arena that grow by one element at a time. */
#ifndef SPCC_IR_ARRAY_H
#define SPCC_IR_ARRAY_H

#include <stdint.h>

#include "support/arena.h"

/* An array of `n` elements with room for one more: `old` itself, or a copy of twice its size when
 * `n` is a power of two, the sizes at which such an array is full. */
static inline void *array_room(arena *a, void *old, uint32_t n, size_t size, size_t align) {
  if (n & (n - 1)) return old;
  return arena_grow(a, old, n, n ? (size_t)n * 2 : 1, size, align);
}

#endif
