/* Random weights with the shapes of zeros that kernels may trip over. */
#include <math.h>
#include <string.h>

#include "tests/kernels/lab.h"

const char *const lab_fill_names[LAB_FILLS] = {
    [FILL_EMPTY] = "empty",     [FILL_ONE] = "one",    [FILL_CORNER] = "corner",
    [FILL_FEW] = "few",         [FILL_HALF] = "half",  [FILL_FULL] = "full",
    [FILL_STRIPES] = "stripes", [FILL_UNITS] = "units"};

typedef struct sheet {
  rng *r;
  uint32_t m, k;
  unsigned char *keep; /* [m, k] */
} sheet;

static void keep_percent(sheet *s, uint32_t percent) {
  for (size_t i = 0; i < (size_t)s->m * s->k; i++)
    s->keep[i] = rng_chance(s->r, percent);
}

static void set_rectangle(sheet *s, uint32_t row, uint32_t col, uint32_t rows, uint32_t cols,
                          unsigned char value) {
  for (uint32_t i = row; i < row + rows && i < s->m; i++)
    for (uint32_t j = col; j < col + cols && j < s->k; j++)
      s->keep[(size_t)i * s->k + j] = value;
}

static void keep_stripes(sheet *s) {
  keep_percent(s, 10);
  for (uint32_t i = 0; i < s->m; i++)
    if (rng_chance(s->r, 30)) set_rectangle(s, i, 0, 1, s->k, rng_chance(s->r, 50));
  for (uint32_t j = 0; j < s->k; j++)
    if (rng_chance(s->r, 20)) set_rectangle(s, 0, j, s->m, 1, 0);
}

/* Outputs and inputs of a unit. */
static uint32_t unit_rows(pattern p) {
  return p.kind == PATTERN_BLOCK || p.kind == PATTERN_NM ? p.rows : 1;
}
static uint32_t unit_cols(pattern p) {
  if (p.kind == PATTERN_NM) return p.m;
  return p.kind == PATTERN_BLOCK ? p.cols : 1;
}

static void keep_units(sheet *s, pattern p) {
  for (uint32_t i = 0; i < s->m; i += unit_rows(p))
    for (uint32_t j = 0; j < s->k; j += unit_cols(p))
      if (rng_chance(s->r, 20)) set_rectangle(s, i, j, unit_rows(p), unit_cols(p), 1);
}

/* Clears all but n inputs of every group of m, the same ones for the rows of a unit. */
static void thin_out(sheet *s, pattern p) {
  for (uint32_t i = 0; i < s->m; i += p.rows)
    for (uint32_t j = 0; j < s->k; j += p.m) {
      uint32_t left = s->k - j < p.m ? s->k - j : p.m, n = p.n;
      for (uint32_t c = j; left > 0; left--, c++) {
        bool stays = rng_below(s->r, left) < n;
        n -= stays;
        if (!stays) set_rectangle(s, i, c, p.rows, 1, 0);
      }
    }
}

static void keep_elements(sheet *s, enum lab_fill fill, pattern p) {
  size_t count = (size_t)s->m * s->k;
  static const uint32_t percent[LAB_FILLS] = {[FILL_FEW] = 3, [FILL_HALF] = 50, [FILL_FULL] = 100};
  keep_percent(s, percent[fill]);
  if (fill == FILL_ONE) s->keep[rng_next(s->r) % count] = 1;
  if (fill == FILL_CORNER) s->keep[count - 1] = 1;
  if (fill == FILL_STRIPES) keep_stripes(s);
  if (fill == FILL_UNITS) keep_units(s, p);
  if (p.kind == PATTERN_NM && fill != FILL_ONE && fill != FILL_CORNER) thin_out(s, p);
}

const float *lab_weight(lab *l, uint32_t m, uint32_t k, enum lab_fill fill, pattern p) {
  size_t count = (size_t)m * k;
  sheet s = {&l->r, m, k, arena_array(l->a, unsigned char, count)};
  keep_elements(&s, fill, p);
  float *w = arena_array(l->a, float, count), scale = 1 / sqrtf((float)k);
  for (size_t i = 0; i < count; i++) {
    if (!s.keep[i]) continue;
    float x = rng_normal(&l->r);
    w[i] = scale * (x < 0 ? x - 0.125F : x + 0.125F);
  }
  return w;
}
