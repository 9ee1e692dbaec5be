/* The optimal brain surgeon, column by column, as in "SparseGPT" (Frantar and Alistarh, 2023).
 *
 * With H^-1 = U' U, dropping weight i of a row when those to its left are settled costs e^2, where
 * e = w_i / U_ii, and the best change of those to its right is -e U_ij. Blocks of columns are
 * worked off one after the other; the columns behind a block get the changes of the whole block at
 * once, in one product. Rows do not touch each other: bands of them are the tasks.
 *
 * Ours: blocks RxC are ranked by what dropping all of their weights would cost, which is the sum of
 * the e^2 of each row's C columns, one after the other; N:MxR sums over its R rows. Of an input
 * that was always zero nothing is lost: its weights count as zero, but keep their values where
 * kept. */
#include "optimizer/obs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/gemm.h"
#include "optimizer/gram.h"
#include "optimizer/lanes.h"

enum { BAND = 32 /* rows of a task, about */, ACROSS = 512 /* columns of a task behind a block */ };

typedef struct surgery {
  spo_obs *o;
  size_t band;         /* rows of a task, a multiple of the pattern's */
  size_t begin, end;   /* columns of the block */
  size_t widest;       /* columns of a block, a multiple of the pattern's */
  float *score;        /* [rows, end - begin]: costs, as e */
  unsigned char *keep; /* [rows, end - begin] */
  float *error;        /* [rows, end - begin]: e of dropped weights, 0 of others */
  double *loss;        /* by band */
  spo_status *status;  /* by band */
} surgery;

static size_t rows_of(const surgery *s, size_t index, size_t *first) {
  *first = index * s->band;
  size_t left = s->o->rows - *first;
  return left < s->band ? left : s->band;
}

static const float *upper_row(const surgery *s, size_t column) {
  return s->o->factor->upper + column * s->o->cols;
}

/* What dropping `count` columns from `column` on costs a row, if all of them are. */
static void score_run(const surgery *s, const float *w, size_t column, size_t count, float *e) {
  for (size_t j = 0; j < count; j++) {
    float left = w[column + j];
    for (size_t i = 0; i < j; i++)
      left -= e[i] * upper_row(s, column + i)[column + j];
    e[j] = s->o->factor->dead[column + j] ? 0 : left / upper_row(s, column + j)[column + j];
  }
}

/* ---- masks of unstructured and block patterns: over all rows of the block of columns ---- */

static void score_band(void *arg, size_t index) {
  const surgery *s = arg;
  size_t first, rows = rows_of(s, index, &first), width = s->end - s->begin;
  size_t run = s->o->goal->pattern.kind == SPO_BLOCK ? s->o->goal->pattern.cols : 1;
  for (size_t r = first; r < first + rows; r++)
    for (size_t c = 0; c < width; c += run)
      score_run(s, s->o->w + r * s->o->cols, s->begin + c, run, s->score + r * width + c);
}

/* How many units are dropped left of a column: the sum over blocks is exact. */
static uint64_t dropped_before(const spo_obs *o, size_t column, uint64_t *units) {
  const spo_pattern *p = &o->goal->pattern;
  *units = (uint64_t)o->rows * column;
  if (p->kind == SPO_BLOCK) *units /= p->rows * p->cols;
  double sparsity = o->goal->sparsity;
  spo_pattern_implies(p, &sparsity);
  return *units - spo_keep_count(*units, sparsity);
}

static void keep_mask(const surgery *s) {
  size_t width = s->end - s->begin;
  for (size_t r = 0; r < s->o->rows; r++)
    memcpy(s->o->mask + r * s->o->cols + s->begin, s->keep + r * width, width);
}

static spo_status choose_block(surgery *s, const spo_pool *pool, spo_error *error) {
  spo_obs *o = s->o;
  uint64_t before, until;
  uint64_t dropped = dropped_before(o, s->end, &until) - dropped_before(o, s->begin, &before);
  spo_goal goal = {.pattern = o->goal->pattern,
                   .sparsity = (double)dropped / (double)(until - before)};
  spo_run(pool, score_band, s, spo_blocks(o->rows, s->band));
  spo_status status =
      spo_project(&goal, o->name, s->score, o->rows, s->end - s->begin, s->keep, pool, error);
  if (status == SPO_OK) keep_mask(s);
  return status;
}

/* ---- elimination ---- */

/* The mask of an N:M group in a band of rows, when its columns are up to date. */
static spo_status choose_group(const surgery *s, size_t first, size_t rows, size_t column,
                               size_t count) {
  spo_obs *o = s->o;
  size_t width = s->end - s->begin;
  float *score = s->score + first * width;
  unsigned char *keep = s->keep + first * width;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < count; c++)
      score_run(s, o->w + (first + r) * o->cols, column + c, 1, score + r * count + c);
  spo_status status = spo_project(o->goal, o->name, score, rows, count, keep, NULL, NULL);
  if (status != SPO_OK) return status;
  for (size_t r = 0; r < rows; r++)
    memcpy(o->mask + (first + r) * o->cols + column, keep + r * count, count);
  return SPO_OK;
}

LANES_BODY void subtract_body(float *x, const float *y, float by, size_t n) {
  for (size_t i = 0; i < n; i++)
    x[i] -= y[i] * by;
}
LANES(subtract, (float *x, const float *y, float by, size_t n), (x, y, by, n))

/* Drops what the mask drops among `count` columns of a row; returns the sum of e^2. */
static double eliminate(const surgery *s, size_t row, size_t column, size_t count) {
  const spo_obs *o = s->o;
  float *w = o->w + row * o->cols, *error = s->error + row * (s->end - s->begin);
  double loss = 0;
  for (size_t i = column; i < column + count; i++) {
    error[i - s->begin] = 0;
    if (o->mask[row * o->cols + i]) continue;
    const float *u = upper_row(s, i);
    float e = o->factor->dead[i] ? 0 : w[i] / u[i];
    subtract(w + i + 1, u + i + 1, e, s->end - i - 1);
    w[i] = 0;
    error[i - s->begin] = e;
    loss += (double)e * (double)e;
  }
  return loss;
}

static void eliminate_band(void *arg, size_t index) {
  const surgery *s = arg;
  const spo_goal *goal = s->o->goal;
  size_t first, rows = rows_of(s, index, &first);
  bool groups = goal && goal->pattern.kind == SPO_NM;
  size_t step = groups ? goal->pattern.m : s->end - s->begin;
  for (size_t c = s->begin; c < s->end; c += step) {
    size_t count = s->end - c < step ? s->end - c : step;
    if (groups) s->status[index] = choose_group(s, first, rows, c, count);
    if (s->status[index] != SPO_OK) return;
    for (size_t r = first; r < first + rows; r++)
      s->loss[index] += eliminate(s, r, c, count);
  }
}

/* The block's changes of columns behind it. */
static void update_tile(void *arg, size_t index) {
  const surgery *s = arg;
  const spo_obs *o = s->o;
  size_t across = spo_blocks(o->cols - s->end, ACROSS), width = s->end - s->begin;
  size_t row = index / across * SPO_TILE, column = s->end + index % across * ACROSS;
  size_t rows = o->rows - row < SPO_TILE ? o->rows - row : SPO_TILE;
  size_t columns = o->cols - column < ACROSS ? o->cols - column : ACROSS;
  spo_gemm32(SPO_SUBTRACT, rows, columns, width, (spo_f32){s->error + row * width, width, 1},
             (spo_f32){upper_row(s, s->begin) + column, o->cols, 1}, o->w + row * o->cols + column,
             o->cols);
}

static spo_status prune_block(surgery *s, const spo_pool *pool, spo_error *error) {
  const spo_obs *o = s->o;
  size_t bands = spo_blocks(o->rows, s->band);
  if (o->goal && o->goal->pattern.kind != SPO_NM) {
    spo_status status = choose_block(s, pool, error);
    if (status != SPO_OK) return status;
  }
  spo_run(pool, eliminate_band, s, bands);
  for (size_t i = 0; i < bands; i++)
    if (s->status[i] != SPO_OK)
      return spo_fail(error, s->status[i], "tensor '%s': its weights overflow or memory is short",
                      o->name);
  spo_run(pool, update_tile, s,
          spo_blocks(o->rows, SPO_TILE) * spo_blocks(o->cols - s->end, ACROSS));
  return SPO_OK;
}

/* ---- the whole weight ---- */

/* The least multiple of `unit` that is not below `least`. */
static size_t round_up(size_t least, size_t unit) {
  return spo_blocks(least, unit) * unit;
}

static void plan(surgery *s) {
  const spo_obs *o = s->o;
  size_t rows = 1, cols = 1;
  if (o->goal) {
    const spo_pattern *p = &o->goal->pattern;
    if (p->kind == SPO_BLOCK || p->kind == SPO_NM) rows = p->rows;
    if (p->kind == SPO_BLOCK) cols = p->cols;
    if (p->kind == SPO_NM) cols = p->m;
  }
  s->band = round_up(BAND, rows);
  s->widest = round_up(o->block < o->cols ? o->block : o->cols, cols);
}

static spo_status prune_blocks(surgery *s, const spo_pool *pool, spo_error *error) {
  spo_obs *o = s->o;
  spo_status status = SPO_OK;
  for (s->begin = 0; status == SPO_OK && s->begin < o->cols; s->begin = s->end) {
    s->end = o->cols - s->begin < s->widest ? o->cols : s->begin + s->widest;
    status = prune_block(s, pool, error);
  }
  if (status != SPO_OK) return status;
  o->loss = 0;
  for (size_t i = 0; i < spo_blocks(o->rows, s->band); i++)
    o->loss += s->loss[i] * o->factor->scale;
  return spo_check_finite(o->name, o->w, o->rows, o->cols, error);
}

spo_status spo_obs_prune(spo_obs *o, const spo_pool *pool, spo_error *error) {
  surgery s = {.o = o};
  o->loss = 0;
  if (o->rows * o->cols == 0) return SPO_OK;
  plan(&s);
  size_t count = o->rows * s.widest, bands = spo_blocks(o->rows, s.band);
  s.score = malloc(count * sizeof *s.score);
  s.keep = malloc(count);
  s.error = malloc(count * sizeof *s.error);
  s.loss = calloc(bands, sizeof *s.loss);
  s.status = calloc(bands, sizeof *s.status);
  spo_status status =
      s.score && s.keep && s.error && s.loss && s.status
          ? prune_blocks(&s, pool, error)
          : spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory to prune it", o->name);
  free(s.score);
  free(s.keep);
  free(s.error);
  free(s.loss);
  free(s.status);
  return status;
}
