/* Pairs the rows of a gather's record: two rows that need the same inputs share the loads of them.
 * Rows of a slab of some 64 inputs are short, so that even among random ones most rows find a
 * partner with a good part of their units. */
#include <stdlib.h>

#include "codegen/pairs.h"
#include "support/bits.h"

/* Cycles on two tiles of tokens: a load that two rows share saves about 2 of the 10 that a unit of
 * each takes; a row with one unit less idles through the 5 of its partner's. */
enum { SHARED_SAVES = 2, EMPTY_COSTS = 5 };

typedef struct row_units {
  const uint64_t *bits;
  uint32_t row, count;
  bool paired;
} row_units;

static uint32_t shared_units(const uint64_t *x, const uint64_t *y, uint32_t words) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < words; i++)
    n += bits_in(x[i] & y[i]);
  return n;
}

static int by_falling_count(const void *x, const void *y) {
  const row_units *a = x, *b = y;
  if (a->count != b->count) return a->count < b->count ? 1 : -1;
  return a->row < b->row ? -1 : a->row > b->row;
}

static int by_shape(const void *x, const void *y) {
  const row_pair *a = x, *b = y;
  if (a->shared != b->shared) return a->shared < b->shared ? -1 : 1;
  if (a->own != b->own) return a->own < b->own ? -1 : 1;
  return a->row[0] < b->row[0] ? -1 : a->row[0] > b->row[0];
}

/* The best partner of rows[i] among those behind it: one with as many units or one less, or else
 * the next one that is free. Without any it is its own. */
static row_pair find_partner(row_units *rows, uint32_t count, uint32_t i, uint32_t words) {
  row_units *first = &rows[i], *partner = first;
  row_pair out = {{first->row, first->row}, 0, first->count};
  int64_t best = INT64_MIN;
  for (uint32_t j = i + 1; j < count && (partner == first || first->count - rows[j].count <= 1);
       j++) {
    if (rows[j].paired) continue;
    uint32_t shared = shared_units(first->bits, rows[j].bits, words);
    int64_t saved =
        (int64_t)SHARED_SAVES * shared - (int64_t)EMPTY_COSTS * (first->count - rows[j].count);
    if (saved <= best) continue;
    best = saved;
    partner = &rows[j];
    out = (row_pair){{first->row, partner->row}, shared, first->count - shared};
  }
  first->paired = partner->paired = true;
  return out;
}

uint32_t pair_rows(arena *a, const uint64_t *bits, uint32_t words, uint32_t rows, row_pair *out) {
  row_units *list = arena_array(a, row_units, rows + 1);
  uint32_t pairs = 0;
  for (uint32_t i = 0; i < rows; i++) {
    list[i] = (row_units){.bits = bits + (size_t)i * words, .row = i};
    list[i].count = shared_units(list[i].bits, list[i].bits, words);
  }
  qsort(list, rows, sizeof *list, by_falling_count);
  for (uint32_t i = 0; i < rows; i++)
    if (!list[i].paired) out[pairs++] = find_partner(list, rows, i, words);
  qsort(out, pairs, sizeof *out, by_shape);
  return pairs;
}
