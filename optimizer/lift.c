/* The best inner activations of a feed-forward part, for the linear that follows them.
 *
 * The normal equations (gamma I + beta W'W) p = gamma f + beta W'y have as many unknowns as inner
 * activations; Woodbury's identity leaves a system of the size of the outputs, which is positive
 * definite whatever W is. */
#include "optimizer/ffn.h"
#include "optimizer/gemm.h"
#include "optimizer/linalg.h"

typedef struct lifting {
  const double *w;
  double beta, *square, *lift;
  size_t outputs, inner;
} lifting;

/* Rows of W W', up to the diagonal. */
static void square_rows(void *arg, size_t index) {
  const lifting *f = arg;
  size_t first = index * SPO_TILE, left = f->outputs - first;
  size_t rows = left < SPO_TILE ? left : SPO_TILE;
  spo_gemm64(SPO_SET, rows, first + rows, f->inner, (spo_f64){f->w + first * f->inner, f->inner, 1},
             (spo_f64){f->w, 1, f->inner}, f->square + first * f->outputs, f->outputs);
}

static void solve_strip(void *arg, size_t index) {
  const lifting *f = arg;
  size_t first = index * SPO_TILE, left = f->inner - first;
  size_t columns = left < SPO_TILE ? left : SPO_TILE;
  double *x = f->lift + first;
  for (size_t i = 0; i < f->outputs; i++)
    for (size_t j = 0; j < columns; j++)
      x[i * f->inner + j] = f->beta * f->w[i * f->inner + first + j];
  spo_lower_solve(f->square, f->outputs, f->outputs, x, f->inner, columns);
  spo_upper_solve(f->square, f->outputs, f->outputs, x, f->inner, columns);
}

bool spo_ffn_lift(const double *w, size_t outputs, size_t inner, double beta, double gamma,
                  double *square, double *lift, const spo_pool *pool) {
  lifting f = {w, beta, square, lift, outputs, inner};
  spo_run(pool, square_rows, &f, spo_blocks(outputs, SPO_TILE));
  for (size_t i = 0; i < outputs; i++) {
    for (size_t j = 0; j <= i; j++)
      square[i * outputs + j] *= beta;
    square[i * outputs + i] += gamma;
  }
  if (!spo_cholesky(square, outputs, pool)) return false;
  spo_run(pool, solve_strip, &f, spo_blocks(inner, SPO_TILE));
  return true;
}
