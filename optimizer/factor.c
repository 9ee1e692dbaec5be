/* The inverse of a damped Gram matrix, in factors.
 *
 * SparseGPT needs the upper Cholesky factor U of the inverse, H^-1 = U' U. With J, which reverses
 * the order, and J H J = L L', it is U = J L^-1 J: one factorisation and one inverse of a triangle,
 * where the published code inverts the whole matrix and factors it a second time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/gemm.h"
#include "optimizer/gram.h"
#include "optimizer/linalg.h"

/* J (H / scale + damping I) J, below the diagonal. */
typedef struct damped {
  const spo_factor *f;
  const spo_gram *gram;
  double *out;
} damped;

static void fill_row(void *arg, size_t index) {
  const damped *d = arg;
  size_t n = d->f->n, column = n - 1 - index;
  const double *h = d->gram->h;
  double *out = d->out + index * n;
  for (size_t j = 0; j < index; j++)
    out[j] = h[(n - 1 - j) * n + column] / d->f->scale;
  out[index] = d->f->dead[column] ? 1 : h[column * n + column] / d->f->scale + d->f->damping;
}

/* Rows are short pieces of columns: a task takes several that share cache lines. */
static void fill_rows(void *arg, size_t index) {
  const damped *d = arg;
  for (size_t i = index * SPO_TILE; i < (index + 1) * SPO_TILE && i < d->f->n; i++)
    fill_row(arg, i);
}

static void reverse_rows(void *arg, size_t index) {
  const spo_factor *f = arg;
  size_t n = f->n;
  for (size_t i = index * SPO_TILE; i < (index + 1) * SPO_TILE && i < n; i++)
    for (size_t j = 0; j < n; j++)
      f->upper[i * n + j] = (float)f->lower[(n - 1 - i) * n + n - 1 - j];
}

static bool find_scale(spo_factor *f, const spo_gram *gram) {
  double sum = 0;
  for (size_t i = 0; i < f->n; i++) {
    double d = gram->h[i * f->n + i];
    f->dead[i] = d == 0;
    sum += d;
  }
  f->scale = sum > 0 ? sum / (double)f->n : 1;
  return isfinite(sum);
}

static spo_status factor_tries(spo_factor *f, const spo_gram *gram, double *work, double damping,
                               const char *name, const spo_pool *pool, spo_error *error) {
  static const double more[] = {1, 10, 100};
  damped d = {f, gram, work};
  for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
    f->damping = damping * more[i];
    spo_run(pool, fill_rows, &d, spo_blocks(f->n, SPO_TILE));
    if (!spo_cholesky(work, f->n, pool)) continue;
    spo_lower_inverse(work, f->n, f->lower, pool);
    spo_run(pool, reverse_rows, f, spo_blocks(f->n, SPO_TILE));
    return SPO_OK;
  }
  return spo_fail(error, SPO_E_NOT_SPD,
                  "tensor '%s': the Gram matrix of its inputs is not positive definite, even with "
                  "a damping of %g; raise 'damping' or calibrate with more text",
                  name, f->damping);
}

spo_status spo_factor_make(spo_factor *out, const spo_gram *gram, double damping, const char *name,
                           const spo_pool *pool, spo_error *error) {
  size_t n = gram->inputs;
  *out = (spo_factor){.n = n};
  out->dead = malloc(n);
  out->lower = malloc(n * n * sizeof *out->lower);
  out->upper = malloc(n * n * sizeof *out->upper);
  double *work = malloc(n * n * sizeof *work);
  spo_status status = SPO_OK;
  if (!out->dead || !out->lower || !out->upper || !work)
    status =
        spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory to factor %zu x %zu", name, n, n);
  else if (!find_scale(out, gram))
    status = spo_fail(error, SPO_E_NONFINITE,
                      "tensor '%s': the Gram matrix of its inputs overflows; their values are too "
                      "large",
                      name);
  else
    status = factor_tries(out, gram, work, damping, name, pool, error);
  free(work);
  if (status != SPO_OK) spo_factor_free(out);
  return status;
}

void spo_factor_free(spo_factor *f) {
  free(f->dead);
  free(f->lower);
  free(f->upper);
  *f = (spo_factor){.n = 0};
}

/* ---- solving ---- */

typedef struct solve {
  const spo_factor *f;
  double *c, *out;
  size_t rows;
} solve;

static void reverse(double *x, size_t n, double by) {
  for (size_t i = 0; i < n / 2; i++) {
    double kept = x[i];
    x[i] = x[n - 1 - i] * by;
    x[n - 1 - i] = kept * by;
  }
  if (n % 2 == 1) x[n / 2] *= by;
}

enum { BAND = 64 };

/* J L'^-1 to out, then L^-1 J back to c; tiles of L^-1 above the diagonal are 0. */
static void solve_band(void *arg, size_t index) {
  const solve *s = arg;
  size_t n = s->f->n, first = index * BAND;
  size_t rows = s->rows - first < BAND ? s->rows - first : BAND;
  double *c = s->c + first * n, *out = s->out + first * n;
  const double *l = s->f->lower;
  for (size_t r = 0; r < rows; r++)
    reverse(c + r * n, n, 1 / s->f->scale);
  for (size_t j = 0; j < n; j += SPO_TILE) {
    size_t columns = n - j < SPO_TILE ? n - j : SPO_TILE;
    spo_gemm64(SPO_SET, rows, columns, j + columns, (spo_f64){c, n, 1}, (spo_f64){l + j * n, 1, n},
               out + j, n);
  }
  for (size_t j = 0; j < n; j += SPO_TILE) {
    size_t columns = n - j < SPO_TILE ? n - j : SPO_TILE;
    spo_gemm64(SPO_SET, rows, columns, n - j, (spo_f64){out + j, n, 1},
               (spo_f64){l + j * n + j, n, 1}, c + j, n);
  }
  memcpy(out, c, rows * n * sizeof *out);
  for (size_t r = 0; r < rows; r++)
    reverse(out + r * n, n, 1);
}

void spo_factor_solve(const spo_factor *f, double *c, double *out, size_t rows,
                      const spo_pool *pool) {
  solve s = {f, c, out, rows};
  spo_run(pool, solve_band, &s, spo_blocks(rows, BAND));
}
