/* Least squares on a mask: the best that can be done with it.
 *
 * A row that keeps the inputs K gets v_K = H_KK^-1 (H w)_K, the minimum of (w - v)' H (w - v).
 * Neighbouring rows with the same mask, as in blocks and N:MxR, share a factorisation. */
#include <stdlib.h>
#include <string.h>

#include "optimizer/gram.h"
#include "optimizer/obs.h"

enum { BAND = 16 /* rows of a task */ };

typedef struct refit {
  const spo_gram *gram;
  const spo_factor *factor;
  const float *w;
  const unsigned char *mask;
  float *out;
  size_t rows;
  spo_status *status; /* by band */
} refit;

/* What a band works with. */
typedef struct bench {
  size_t *kept;
  size_t count;
  double *a, *x; /* the kept part of H, factored, and a right-hand side */
} bench;

/* An entry of the damped and scaled Gram matrix. */
static double entry(const refit *f, size_t i, size_t j) {
  size_t n = f->gram->inputs;
  double h = f->gram->h[i > j ? i * n + j : j * n + i] / f->factor->scale;
  if (i != j) return h;
  return f->factor->dead[i] ? 1 : h + f->factor->damping;
}

static void find_kept(const refit *f, size_t row, bench *b) {
  const unsigned char *mask = f->mask + row * f->gram->inputs;
  b->count = 0;
  for (size_t i = 0; i < f->gram->inputs; i++)
    if (mask[i]) b->kept[b->count++] = i;
}

static bool factor_kept(const refit *f, bench *b) {
  for (size_t i = 0; i < b->count; i++)
    for (size_t j = 0; j <= i; j++)
      b->a[i * b->count + j] = entry(f, b->kept[i], b->kept[j]);
  return spo_cholesky(b->a, b->count, NULL);
}

/* With D the dropped inputs, v_K = w_K + H_KK^-1 H_KD w_D: where nothing is dropped, nothing
 * changes. */
static void refit_row(const refit *f, size_t row, bench *b) {
  size_t n = f->gram->inputs;
  const float *w = f->w + row * n;
  float *out = f->out + row * n;
  for (size_t i = 0; i < b->count; i++) {
    b->x[i] = 0;
    for (size_t j = 0; j < n; j++)
      if (!f->mask[row * n + j]) b->x[i] += entry(f, b->kept[i], j) * (double)w[j];
  }
  spo_cholesky_solve(b->a, b->count, b->x);
  memset(out, 0, n * sizeof *out);
  for (size_t i = 0; i < b->count; i++)
    out[b->kept[i]] = (float)((double)w[b->kept[i]] + b->x[i]);
}

static bool same_mask(const refit *f, size_t row) {
  size_t n = f->gram->inputs;
  return memcmp(f->mask + row * n, f->mask + (row - 1) * n, n) == 0;
}

static spo_status refit_rows(const refit *f, size_t first, size_t end, bench *b) {
  size_t room = 0;
  for (size_t r = first; r < end; r++) {
    if (r == first || !same_mask(f, r)) {
      find_kept(f, r, b);
      if (b->count > room) {
        room = b->count;
        free(b->a);
        b->a = malloc(room * room * sizeof *b->a);
        if (!b->a) return SPO_E_MEMORY;
      }
      if (!factor_kept(f, b)) return SPO_E_NOT_SPD;
    }
    refit_row(f, r, b);
  }
  return SPO_OK;
}

static void refit_band(void *arg, size_t index) {
  const refit *f = arg;
  size_t first = index * BAND, n = f->gram->inputs;
  size_t end = f->rows - first < BAND ? f->rows : first + BAND;
  bench b = {.kept = malloc(n * sizeof *b.kept), .x = malloc(n * sizeof *b.x)};
  f->status[index] = b.kept && b.x ? refit_rows(f, first, end, &b) : SPO_E_MEMORY;
  free(b.kept);
  free(b.x);
  free(b.a);
}

spo_status spo_refit_rows(const char *name, const spo_gram *gram, const spo_factor *factor,
                          const float *w, const unsigned char *mask, float *out, size_t rows,
                          const spo_pool *pool, spo_error *error) {
  size_t bands = spo_blocks(rows, BAND);
  refit f = {gram, factor, w, mask, out, rows, calloc(bands + 1, sizeof *f.status)};
  spo_status status = SPO_OK;
  if (!f.status) return spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory to refit it", name);
  spo_run(pool, refit_band, &f, bands);
  for (size_t i = 0; status == SPO_OK && i < bands; i++)
    status = f.status[i];
  free(f.status);
  if (status == SPO_E_MEMORY)
    return spo_fail(error, status, "tensor '%s': no memory to refit it", name);
  if (status != SPO_OK)
    return spo_fail(error, status, "tensor '%s': a row cannot be refitted; raise 'damping'", name);
  return spo_check_finite(name, out, rows, gram->inputs, error);
}
