/* Random numbers, and random weights of every sparsity format. */
#include <math.h>

#include "tests/diff/random_graph.h"

uint64_t rng_next(rng *r) {
  uint64_t z = r->state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

uint32_t rng_below(rng *r, uint32_t n) {
  return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

bool rng_chance(rng *r, uint32_t percent) {
  return rng_below(r, 100) < percent;
}

/* The sum of four uniform numbers, scaled to deviation 1. */
float rng_normal(rng *r) {
  double sum = 0;
  for (int i = 0; i < 4; i++)
    sum += (double)rng_below(r, 1 << 24) / (1 << 24) - 0.5;
  return (float)(sum * sqrt(3.0));
}

/* ---- which elements stay ---- */

typedef struct keep {
  rng *r;
  size_t rows, cols;
  unsigned char *at; /* [rows][cols] */
} keep;

/* Sets the rectangle from (row, col), cut off at the edges. */
static void set_block(keep *k, size_t row, size_t col, size_t height, size_t width,
                      unsigned char value) {
  for (size_t i = row; i < row + height && i < k->rows; i++)
    for (size_t j = col; j < col + width && j < k->cols; j++)
      k->at[i * k->cols + j] = value;
}

/* Keeps each aligned height x width block `percent` times in a hundred. */
static void keep_blocks(keep *k, uint32_t height, uint32_t width, uint32_t percent) {
  for (size_t i = 0; i < k->rows; i += height)
    for (size_t j = 0; j < k->cols; j += width)
      if (rng_chance(k->r, percent)) set_block(k, i, j, height, width, 1);
}

/* Keeps n of the `left` inputs from (row, col), the same ones for `height` rows. */
static void keep_n(keep *k, uint32_t n, size_t left, size_t row, size_t col, uint32_t height) {
  for (; n > 0 && left > 0; left--, col++)
    if (rng_below(k->r, (uint32_t)left) < n) {
      set_block(k, row, col, height, 1, 1);
      n--;
    }
}

/* Keeps n of every m consecutive inputs. */
static void keep_n_of_m(keep *k, uint32_t n, uint32_t m, uint32_t height) {
  for (size_t i = 0; i < k->rows; i += height)
    for (size_t j = 0; j < k->cols; j += m)
      keep_n(k, n, k->cols - j < m ? k->cols - j : m, i, j, height);
}

static void keep_one(keep *k, uint32_t a, uint32_t b, uint32_t c) {
  (void)a, (void)b, (void)c;
  k->at[rng_next(k->r) % (k->rows * k->cols)] = 1;
}

/* Single elements, with some rows full, some empty, some dense columns and some 4x1 blocks. */
static void keep_mixture(keep *k, uint32_t percent, uint32_t full, uint32_t empty) {
  keep_blocks(k, 1, 1, percent);
  if (rng_chance(k->r, 50)) keep_blocks(k, 4, 1, percent);
  for (size_t j = 0; j < k->cols; j++)
    if (rng_chance(k->r, full)) set_block(k, 0, j, k->rows, 1, 1);
  for (size_t i = 0; i < k->rows; i++) {
    if (rng_chance(k->r, full))
      set_block(k, i, 0, 1, k->cols, 1);
    else if (rng_chance(k->r, empty))
      set_block(k, i, 0, 1, k->cols, 0);
  }
}

/* Blocks whose rows stand apart: in every 16 rows, row 4a + b is where 4b + a was. */
static void keep_scattered(keep *k, uint32_t height, uint32_t width, uint32_t percent) {
  keep_blocks(k, height, width, percent);
  for (size_t i = 0; i + 16 <= k->rows; i += 16)
    for (size_t a = 0; a < 4; a++)
      for (size_t b = 0; b < a; b++)
        for (size_t j = 0; j < k->cols; j++) {
          unsigned char *x = &k->at[(i + 4 * a + b) * k->cols + j];
          unsigned char *y = &k->at[(i + 4 * b + a) * k->cols + j], was = *x;
          *x = *y;
          *y = was;
        }
}

static const struct {
  const char *name;
  void (*fill)(keep *k, uint32_t a, uint32_t b, uint32_t c);
  uint32_t a, b, c;
} formats[] = {
    {"dense", keep_blocks, 1, 1, 100},
    {"dense", keep_blocks, 1, 1, 100},
    {"empty", keep_blocks, 1, 1, 0},
    {"one", keep_one, 0, 0, 0},
    {"unstructured-5%", keep_blocks, 1, 1, 5},
    {"unstructured-20%", keep_blocks, 1, 1, 20},
    {"unstructured-50%", keep_blocks, 1, 1, 50},
    {"unstructured-95%", keep_blocks, 1, 1, 95},
    {"4x1-10%", keep_blocks, 4, 1, 10},
    {"4x1-30%-scattered", keep_scattered, 4, 1, 30},
    {"8x1-15%", keep_blocks, 8, 1, 15},
    {"16x1-15%", keep_blocks, 16, 1, 15},
    {"1x4-15%", keep_blocks, 1, 4, 15},
    {"1x16-15%", keep_blocks, 1, 16, 15},
    {"16x16-25%", keep_blocks, 16, 16, 25},
    {"2:4", keep_n_of_m, 2, 4, 1},
    {"1:4", keep_n_of_m, 1, 4, 1},
    {"4:8", keep_n_of_m, 4, 8, 1},
    {"2:4x4", keep_n_of_m, 2, 4, 4},
    {"mixture", keep_mixture, 10, 10, 20},
    {"mixture", keep_mixture, 3, 5, 50},
};
enum { FORMATS = sizeof formats / sizeof *formats };

const float *random_weight(rng *r, arena *a, size_t rows, size_t cols, const char **format) {
  uint32_t f = rng_below(r, FORMATS);
  keep k = {r, rows, cols, arena_array(a, unsigned char, rows *cols)};
  formats[f].fill(&k, formats[f].a, formats[f].b, formats[f].c);
  float *w = arena_array(a, float, rows *cols), scale = 1 / sqrtf((float)cols);
  for (size_t i = 0; i < rows * cols; i++) {
    if (!k.at[i]) continue;
    float x = rng_normal(r);
    w[i] = scale * (x < 0 ? x - 0.125F : x + 0.125F); /* never 0 */
  }
  *format = formats[f].name;
  return w;
}
