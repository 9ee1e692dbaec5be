/* Checked size arithmetic: the only spelling of a size product, sum or padding in spcc.
 * Each function returns false, and leaves *out alone, when the result does not fit. */
#ifndef SPCC_SUPPORT_CHECKED_H
#define SPCC_SUPPORT_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_add(size_t a, size_t b, size_t *out) {
  if (a > SIZE_MAX - b) return false;
  *out = a + b;
  return true;
}

static inline bool size_mul(size_t a, size_t b, size_t *out) {
  if (b != 0 && a > SIZE_MAX / b) return false;
  *out = a * b;
  return true;
}

/* Rounds `a` up to a multiple of `align`, a power of two. */
static inline bool size_align_up(size_t a, size_t align, size_t *out) {
  size_t sum;
  if (!size_add(a, align - 1, &sum)) return false;
  *out = sum & ~(align - 1);
  return true;
}

#endif
