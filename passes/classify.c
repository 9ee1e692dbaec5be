/* classify: what a weight looks like. Two sequential sweeps, one along the rows and one along
 * stripes of columns, so that a matrix of megabytes takes milliseconds. */
#include "passes/passes.h"

#include <string.h>

const pattern classify_blocks[CLASSIFY_BLOCKS] = {
    {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1},  {.kind = PATTERN_BLOCK, .rows = 8, .cols = 1},
    {.kind = PATTERN_BLOCK, .rows = 16, .cols = 1}, {.kind = PATTERN_BLOCK, .rows = 1, .cols = 4},
    {.kind = PATTERN_BLOCK, .rows = 1, .cols = 16}, {.kind = PATTERN_BLOCK, .rows = 16, .cols = 16},
};
enum { B_4X1, B_8X1, B_16X1, B_1X4, B_1X16, B_16X16 };

/* Rows and columns of one step of the column sweep: 16 rows hold every block height; 64 columns
 * are four cache lines of each row. */
enum { SLAB_ROWS = 16, STRIPE_COLS = 64, QUADS = SLAB_ROWS / 4 };

typedef struct tally {
  classify_result *out;
  uint64_t covered[CLASSIFY_BLOCKS]; /* elements of the non-empty blocks, tails clipped */
  bool over_14, over_24, over_48;    /* a group of inputs holds more */
} tally;

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Adds `count` blocks of `elements` elements with `nnz` non-zeros each. */
static void add_blocks(tally *t, int shape, uint64_t count, size_t nnz, size_t elements) {
  if (nnz == 0) return;
  t->out->blocks[shape] += count;
  t->covered[shape] += count * elements;
  if (4 * nnz < 3 * elements) return;
  t->out->filled_blocks[shape] += count;
  t->out->filled_nnz[shape] += count * nnz;
}

/* Notes one block. Nearly all blocks are whole, and a counter is all that they cost. */
static void count_block(tally *t, int shape, size_t nnz, size_t elements) {
  if (elements == (size_t)classify_blocks[shape].rows * classify_blocks[shape].cols)
    t->out->whole[shape][nnz]++;
  else
    add_blocks(t, shape, 1, nnz, elements);
}

static void add_whole_blocks(tally *t) {
  for (int shape = 0; shape < CLASSIFY_BLOCKS; shape++) {
    size_t elements = (size_t)classify_blocks[shape].rows * classify_blocks[shape].cols;
    for (size_t nnz = 0; nnz <= elements; nnz++)
      add_blocks(t, shape, t->out->whole[shape][nnz], nnz, elements);
  }
}

/* Up to 16 consecutive inputs of one output; returns their non-zeros. */
static size_t count_run(tally *t, const float *w, size_t n) {
  size_t quad[4] = {0}, sum = 0;
  for (size_t i = 0; i < n; i++)
    quad[i / 4] += w[i] != 0.0f;
  for (size_t q = 0; 4 * q < n; q++) {
    count_block(t, B_1X4, quad[q], smaller(4, n - 4 * q));
    t->over_14 |= quad[q] > 1;
    t->over_24 |= quad[q] > 2;
    sum += quad[q];
  }
  t->over_48 |= quad[0] + quad[1] > 4 || quad[2] + quad[3] > 4;
  count_block(t, B_1X16, sum, n);
  return sum;
}

/* Everything that lies within one output: w is [rows, cols]. */
static void sweep_rows(tally *t, const float *w, size_t rows, size_t cols) {
  for (size_t r = 0; r < rows; r++) {
    size_t nnz = 0;
    for (size_t c = 0; c < cols; c += 16)
      nnz += count_run(t, w + r * cols + c, smaller(16, cols - c));
    t->out->nnz += nnz;
    t->out->empty_rows += nnz == 0;
    t->out->full_rows += nnz == cols;
  }
}

/* The blocks of one slab from its counts quad[4][n] (4 outputs x 1 input each) of `rows` rows;
 * adds the counts of the columns to column[n]. */
static void count_slab(tally *t, unsigned char quad[QUADS][STRIPE_COLS], size_t rows, size_t n,
                       uint64_t *column) {
  size_t square = 0;
  for (size_t c = 0; c < n; c++) {
    size_t high[2], sum;
    for (size_t q = 0; q < QUADS && 4 * q < rows; q++)
      count_block(t, B_4X1, quad[q][c], smaller(4, rows - 4 * q));
    for (size_t h = 0; h < 2; h++) {
      high[h] = (size_t)quad[2 * h][c] + quad[2 * h + 1][c];
      if (8 * h < rows) count_block(t, B_8X1, high[h], smaller(8, rows - 8 * h));
    }
    sum = high[0] + high[1];
    count_block(t, B_16X1, sum, rows);
    column[c] += sum;
    square += sum;
    if (c % 16 != 15 && c + 1 != n) continue;
    count_block(t, B_16X16, square, rows * (c % 16 + 1));
    square = 0;
  }
}

/* Everything that reaches over several outputs: w is [rows, cols]. */
static void sweep_columns(tally *t, const float *w, size_t rows, size_t cols) {
  for (size_t c0 = 0; c0 < cols; c0 += STRIPE_COLS) {
    size_t n = smaller(STRIPE_COLS, cols - c0);
    uint64_t column[STRIPE_COLS] = {0};
    for (size_t r0 = 0; r0 < rows; r0 += SLAB_ROWS) {
      unsigned char quad[QUADS][STRIPE_COLS] = {{0}};
      size_t slab = smaller(SLAB_ROWS, rows - r0);
      for (size_t r = 0; r < slab; r++) {
        const float *x = w + (r0 + r) * cols + c0;
        unsigned char *to = quad[r / 4];
        for (size_t c = 0; c < n; c++)
          to[c] = (unsigned char)(to[c] + (x[c] != 0.0f));
      }
      count_slab(t, quad, slab, n, column);
    }
    for (size_t c = 0; c < n; c++) {
      t->out->empty_cols += column[c] == 0;
      t->out->full_cols += column[c] == rows;
    }
  }
}

static bool groups_used(const classify_result *r, uint64_t n, uint64_t m) {
  return 4 * r->nnz >= 3 * (r->rows * r->cols / m * n);
}

/* The N:M pattern that `rows` consecutive outputs share, if the weight is in one. */
static bool in_groups(const classify_result *r, uint32_t rows, pattern *out) {
  static const uint32_t n[] = {1, 2, 4}, m[] = {4, 4, 8};
  const bool holds[] = {r->nm14, r->nm24, r->nm48};
  for (int i = 0; i < 3; i++) {
    if (!holds[i] || !groups_used(r, n[i], m[i])) continue;
    *out = (pattern){.kind = PATTERN_NM, .rows = rows, .n = n[i], .m = m[i]};
    return true;
  }
  return false;
}

static pattern best_pattern(const tally *t) {
  const classify_result *r = t->out;
  pattern best = {.kind = PATTERN_UNSTRUCTURED};
  uint32_t area = 0;
  if (10 * r->nnz > 9 * r->rows * r->cols) return (pattern){.kind = PATTERN_DENSE};
  if (r->nnz == 0) return best;
  for (int i = 0; i < CLASSIFY_BLOCKS; i++) {
    const pattern *p = &classify_blocks[i];
    bool fits = p->rows <= r->rows && p->cols <= r->cols;
    if (!fits || 20 * r->nnz < 19 * t->covered[i] || p->rows * p->cols <= area) continue;
    best = *p;
    area = p->rows * p->cols;
  }
  if (best.kind == PATTERN_UNSTRUCTURED) in_groups(r, 1, &best);
  /* Nearly filled blocks may be short of a weight here and there; a shared choice may not. One that
   * all outputs share leaves whole inputs out, and is no pattern. */
  bool in_choices = r->nnz == t->covered[B_4X1] && r->empty_cols + r->full_cols < r->cols;
  if (best.kind == PATTERN_BLOCK && best.cols == 1 && in_choices) in_groups(r, best.rows, &best);
  return best;
}

void classify(const float *w, uint64_t rows, uint64_t cols, classify_result *out) {
  tally t = {.out = out};
  memset(out, 0, sizeof *out);
  out->rows = rows;
  out->cols = cols;
  sweep_rows(&t, w, rows, cols);
  sweep_columns(&t, w, rows, cols);
  add_whole_blocks(&t);
  out->nm14 = !t.over_14 && cols % 4 == 0;
  out->nm24 = !t.over_24 && cols % 4 == 0;
  out->nm48 = !t.over_48 && cols % 8 == 0;
  out->best = best_pattern(&t);
}
