/* Gram matrices, streamed over tokens. */
#include "optimizer/gram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/gemm.h"
#include "optimizer/linalg.h"

enum { INPUTS_MAX = 1 << 16 };

spo_status spo_gram_open(spo_gram_kind kind, size_t inputs, spo_gram **out, spo_error *error) {
  if (inputs < 1 || inputs > INPUTS_MAX)
    return spo_fail(error, SPO_E_SHAPE, "a Gram matrix has 1 to %d inputs, not %zu", INPUTS_MAX,
                    inputs);
  spo_gram *g = calloc(1, sizeof *g);
  if (g) {
    *g = (spo_gram){.inputs = inputs, .norm2 = calloc(inputs, sizeof *g->norm2)};
    if (kind == SPO_GRAM_WHOLE) g->h = calloc(inputs * inputs, sizeof *g->h);
  }
  if (!g || !g->norm2 || (kind == SPO_GRAM_WHOLE && !g->h)) {
    spo_gram_close(g);
    return spo_fail(error, SPO_E_MEMORY, "no memory for a Gram matrix of %zu inputs", inputs);
  }
  *out = g;
  return SPO_OK;
}

void spo_gram_close(spo_gram *gram) {
  if (!gram) return;
  free(gram->norm2);
  free(gram->h);
  free(gram);
}

void spo_gram_clear(spo_gram *gram) {
  gram->tokens = 0;
  memset(gram->norm2, 0, gram->inputs * sizeof *gram->norm2);
  if (gram->h) memset(gram->h, 0, gram->inputs * gram->inputs * sizeof *gram->h);
}

uint64_t spo_gram_tokens(const spo_gram *gram) {
  return gram->tokens;
}

const double *spo_gram_norms(const spo_gram *gram) {
  return gram->norm2;
}

/* ---- adding tokens ---- */

typedef struct squares {
  const float *x;
  size_t inputs, tokens;
  double *sum;
} squares;

/* Sums of squares of a strip of columns; squares of f32 are exact in f64 and do not overflow. */
static void sum_strip(void *arg, size_t index) {
  const squares *s = arg;
  size_t first = index * SPO_TILE, end = first + SPO_TILE;
  if (end > s->inputs) end = s->inputs;
  for (size_t t = 0; t < s->tokens; t++) {
    const float *x = s->x + t * s->inputs;
    for (size_t i = first; i < end; i++)
      s->sum[i] += (double)x[i] * (double)x[i];
  }
}

static spo_status check_sums(const squares *s, const char *name, spo_error *error) {
  for (size_t i = 0; i < s->inputs; i++)
    if (!isfinite(s->sum[i]))
      return spo_fail(error, SPO_E_NONFINITE,
                      "tensor '%s': its input %zu has a NaN or an infinity; mend the model or the "
                      "text that it is calibrated with",
                      name, i);
  return SPO_OK;
}

spo_status spo_gram_add(spo_gram *gram, const char *name, const float *x, size_t tokens,
                        const spo_pool *pool, spo_error *error) {
  squares s = {x, gram->inputs, tokens, calloc(gram->inputs, sizeof *s.sum)};
  if (!s.sum) return spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory for its norms", name);
  spo_run(pool, sum_strip, &s, spo_blocks(gram->inputs, SPO_TILE));
  spo_status status = check_sums(&s, name, error);
  if (status == SPO_OK) {
    for (size_t i = 0; i < gram->inputs; i++)
      gram->norm2[i] += s.sum[i];
    if (gram->h) spo_add_products(gram->h, x, gram->inputs, x, gram->inputs, tokens, true, pool);
    gram->tokens += tokens;
  }
  free(s.sum);
  return status;
}

static void add_all(double *into, const double *from, size_t count) {
  for (size_t i = 0; i < count; i++)
    into[i] += from[i];
}

spo_status spo_gram_merge(spo_gram *into, const spo_gram *from, spo_error *error) {
  if (into->inputs != from->inputs || !into->h != !from->h)
    return spo_fail(error, SPO_E_SHAPE,
                    "Gram matrices of %zu and %zu inputs, or of different kinds, cannot be merged",
                    into->inputs, from->inputs);
  add_all(into->norm2, from->norm2, into->inputs);
  if (into->h) add_all(into->h, from->h, into->inputs * into->inputs);
  into->tokens += from->tokens;
  return SPO_OK;
}

/* ---- errors of outputs ---- */

enum { BAND = 64 };

typedef struct energies {
  const spo_gram *gram;
  const float *w, *changed; /* changed NULL: of w itself */
  size_t rows;
  double *work, *sum; /* by band: [2 BAND, inputs], and the result */
} energies;

/* The sum of d H d' over the band's rows d. H is there in whole tiles up to the diagonal: those
 * left of it count twice. */
static void sum_band(void *arg, size_t index) {
  const energies *e = arg;
  size_t n = e->gram->inputs, first = index * BAND;
  size_t rows = e->rows - first < BAND ? e->rows - first : BAND;
  const float *w = e->w + first * n, *changed = e->changed ? e->changed + first * n : NULL;
  double *d = e->work + 2 * first * n, *dh = d + rows * n, sum = 0;
  for (size_t i = 0; i < rows * n; i++)
    d[i] = (double)w[i] - (changed ? (double)changed[i] : 0);
  for (size_t i = 0; i < n; i += SPO_TILE) {
    size_t count = n - i < SPO_TILE ? n - i : SPO_TILE;
    spo_gemm64(SPO_SET, rows, i + count, count, (spo_f64){d + i, n, 1},
               (spo_f64){e->gram->h + i * n, n, 1}, dh, n);
    for (size_t r = 0; r < rows; r++)
      for (size_t j = 0; j < i + count; j++)
        sum += d[r * n + j] * dh[r * n + j] * (j < i ? 2 : 1);
  }
  e->sum[index] = sum > 0 ? sum : 0; /* rounding may leave less than nothing */
}

static double sum_bands(energies *e, const spo_pool *pool) {
  double sum = 0;
  size_t bands = spo_blocks(e->rows, BAND);
  spo_run(pool, sum_band, e, bands);
  for (size_t i = 0; i < bands; i++)
    sum += e->sum[i];
  return sum;
}

spo_status spo_gram_error(const spo_gram *gram, const char *name, const float *w,
                          const float *changed, size_t rows, double *error_out, double *energy,
                          const spo_pool *pool, spo_error *error) {
  if (!gram->h)
    return spo_fail(error, SPO_E_VALUE, "tensor '%s': its Gram matrix has norms alone", name);
  energies e = {.gram = gram, .w = w, .changed = changed, .rows = rows};
  e.work = malloc((2 * rows * gram->inputs + 1) * sizeof *e.work);
  e.sum = malloc((spo_blocks(rows, BAND) + 1) * sizeof *e.sum);
  spo_status status = SPO_OK;
  if (e.work && e.sum) {
    *error_out = sum_bands(&e, pool);
    e.changed = NULL;
    if (energy) *energy = sum_bands(&e, pool);
  } else {
    status = spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory for its error", name);
  }
  free(e.work);
  free(e.sum);
  return status;
}

/* ---- layers ---- */

spo_status spo_check_finite(const char *name, const float *w, size_t rows, size_t cols,
                            spo_error *error) {
  for (size_t i = 0; i < rows * cols; i++)
    if (!isfinite(w[i]))
      return spo_fail(error, SPO_E_NONFINITE, "tensor '%s': element [%zu, %zu] is not finite", name,
                      i / cols, i % cols);
  return SPO_OK;
}

spo_status spo_check_layer(const spo_goal *goal, const spo_layer *layer, const spo_gram *gram,
                           bool whole, spo_error *error) {
  spo_status status = spo_goal_check(goal, layer->name, layer->rows, layer->cols, error);
  if (status != SPO_OK) return status;
  if (gram->inputs != layer->cols)
    return spo_fail(error, SPO_E_SHAPE, "tensor '%s': it has %zu inputs, its Gram matrix %zu",
                    layer->name, layer->cols, gram->inputs);
  if (gram->tokens == 0)
    return spo_fail(error, SPO_E_VALUE, "tensor '%s': no tokens have been added for it",
                    layer->name);
  if (whole && !gram->h)
    return spo_fail(error, SPO_E_VALUE,
                    "tensor '%s': its Gram matrix has norms alone; open it as SPO_GRAM_WHOLE",
                    layer->name);
  return spo_check_finite(layer->name, layer->w, layer->rows, layer->cols, error);
}

void spo_commit(spo_layer *layer, const float *w, const unsigned char *mask, spo_report *report) {
  *report = (spo_report){.total = layer->rows * layer->cols};
  for (size_t i = 0; i < report->total; i++) {
    layer->mask[i] = mask[i];
    layer->w[i] = mask[i] ? w[i] : 0;
    report->kept += mask[i];
    report->nonzero += layer->w[i] != 0;
  }
}
