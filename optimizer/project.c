/* Projection of scores onto a goal: which elements a pattern of a given sparsity keeps. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo.h"

enum { LIMIT = 256 };

static spo_status fail(spo_error *error, spo_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static spo_status fail(spo_error *error, spo_status status, const char *format, ...) {
  if (!error) return status;
  va_list args;
  va_start(args, format);
  vsnprintf(error->text, sizeof error->text, format, args);
  va_end(args);
  return status;
}

static bool in_limits(uint32_t value) {
  return value >= 1 && value <= LIMIT;
}

static bool pattern_ok(const spo_pattern *p) {
  switch (p->kind) {
  case SPO_DENSE:
  case SPO_UNSTRUCTURED:
    return true;
  case SPO_BLOCK:
    return in_limits(p->rows) && in_limits(p->cols);
  case SPO_NM:
    return in_limits(p->rows) && in_limits(p->n) && in_limits(p->m) && p->n <= p->m;
  }
  return false;
}

static spo_status check_sparsity(const spo_goal *goal, const char *name, spo_error *error) {
  double implied, s = goal->sparsity;
  if (spo_pattern_implies(&goal->pattern, &implied)) {
    if (s == SPO_IMPLIED || fabs(s - implied) <= 1e-6) return SPO_OK;
    return fail(error, SPO_E_SPARSITY,
                "tensor '%s': the pattern implies a sparsity of %g, not %g; leave it out", name,
                implied, s);
  }
  if (s >= 0 && s <= 1) return SPO_OK;
  return fail(error, SPO_E_SPARSITY, "tensor '%s': a sparsity of 0 to 1 is needed, got %g", name,
              s);
}

/* A pattern tiles a tensor when its rows, and for blocks its columns, divide the tensor's; N:M
 * alone may leave a shorter group at the end of a row. */
static spo_status check_shape(const spo_pattern *p, const char *name, size_t rows, size_t cols,
                              spo_error *error) {
  char text[SPO_PATTERN_TEXT];
  if (cols != 0 && rows > SIZE_MAX / sizeof(uint64_t) / cols)
    return fail(error, SPO_E_SHAPE, "tensor '%s': %zu x %zu elements are too many", name, rows,
                cols);
  bool shared = p->kind == SPO_BLOCK || p->kind == SPO_NM;
  if (shared && (rows % p->rows != 0 || (p->kind == SPO_BLOCK && cols % p->cols != 0)))
    return fail(error, SPO_E_SHAPE,
                "tensor '%s': pattern %s does not divide its shape [%zu, %zu]; choose another "
                "pattern or leave the tensor out",
                name, spo_pattern_print(p, text), rows, cols);
  return SPO_OK;
}

static spo_status check_finite(const char *name, const float *score, size_t rows, size_t cols,
                               spo_error *error) {
  for (size_t i = 0; i < rows * cols; i++)
    if (!isfinite(score[i]))
      return fail(error, SPO_E_NONFINITE, "tensor '%s': element [%zu, %zu] is not finite", name,
                  i / cols, i % cols);
  return SPO_OK;
}

/* The squared L2 norm of a unit of rows x cols, as a key. Squares of f32 are exact in f64, so
 * single elements are ranked exactly by magnitude; sums are in row-major order. */
static uint64_t unit_key(const float *score, size_t stride, size_t rows, size_t cols) {
  double sum = 0;
  uint64_t key;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      sum += (double)score[r * stride + c] * (double)score[r * stride + c];
  memcpy(&key, &sum, sizeof key);
  return key;
}

static void mark(unsigned char *mask, size_t stride, size_t rows, size_t cols, unsigned char keep) {
  for (size_t r = 0; r < rows; r++)
    memset(mask + r * stride, keep, cols);
}

/* Blocks of block_rows x block_cols compete over the whole tensor. */
static spo_status project_blocks(const spo_goal *goal, const char *name, const float *score,
                                 size_t rows, size_t cols, unsigned char *mask, spo_error *error) {
  bool single = goal->pattern.kind == SPO_UNSTRUCTURED;
  size_t block_rows = single ? 1 : goal->pattern.rows, block_cols = single ? 1 : goal->pattern.cols;
  size_t across = cols / block_cols, units = rows / block_rows * across;
  uint64_t *key = malloc(units * sizeof *key);
  unsigned char *keep = malloc(units);
  if (!key || !keep) {
    free(key);
    free(keep);
    return fail(error, SPO_E_MEMORY, "tensor '%s': no memory for %zu scores", name, units);
  }
  for (size_t u = 0; u < units; u++) {
    size_t at = u / across * block_rows * cols + u % across * block_cols;
    key[u] = unit_key(score + at, cols, block_rows, block_cols);
  }
  spo_select(key, units, (size_t)spo_keep_count(units, goal->sparsity), keep);
  for (size_t u = 0; u < units; u++) {
    size_t at = u / across * block_rows * cols + u % across * block_cols;
    mark(mask + at, cols, block_rows, block_cols, keep[u]);
  }
  free(key);
  free(keep);
  return SPO_OK;
}

/* One group of up to m columns, shared by `rows` rows: keeps the n of highest rank. */
static void project_group(const float *score, size_t stride, size_t rows, size_t group, uint32_t n,
                          unsigned char *mask) {
  uint64_t key[LIMIT];
  for (size_t c = 0; c < group; c++)
    key[c] = unit_key(score + c, stride, rows, 1);
  for (size_t c = 0; c < group; c++) {
    size_t rank = 0;
    for (size_t d = 0; d < group; d++)
      rank += key[d] > key[c] || (key[d] == key[c] && d < c);
    mark(mask + c, stride, rows, 1, rank < n);
  }
}

static void project_nm(const spo_pattern *p, const float *score, size_t rows, size_t cols,
                       unsigned char *mask) {
  for (size_t r = 0; r < rows; r += p->rows)
    for (size_t c = 0; c < cols; c += p->m) {
      size_t group = cols - c < p->m ? cols - c : p->m, at = r * cols + c;
      project_group(score + at, cols, p->rows, group, p->n, mask + at);
    }
}

spo_status spo_project(const spo_goal *goal, const char *name, const float *score, size_t rows,
                       size_t cols, unsigned char *mask, spo_error *error) {
  const spo_pattern *p = &goal->pattern;
  if (!pattern_ok(p))
    return fail(error, SPO_E_PATTERN, "tensor '%s': the pattern's numbers are out of range", name);
  spo_status status = check_sparsity(goal, name, error);
  if (status == SPO_OK) status = check_shape(p, name, rows, cols, error);
  if (status == SPO_OK) status = check_finite(name, score, rows, cols, error);
  if (status != SPO_OK || rows * cols == 0) return status;
  switch (p->kind) {
  case SPO_DENSE:
    memset(mask, 1, rows * cols);
    return SPO_OK;
  case SPO_NM:
    project_nm(p, score, rows, cols, mask);
    return SPO_OK;
  case SPO_UNSTRUCTURED:
  case SPO_BLOCK:
    break;
  }
  return project_blocks(goal, name, score, rows, cols, mask, error);
}
