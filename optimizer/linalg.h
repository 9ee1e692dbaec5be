/* Linear algebra of libspo: over blocks of fixed sizes on a pool. Matrices are row-major; symmetric
 * ones and factors have a meaning below and on the diagonal alone. */
#ifndef SPO_LINALG_H
#define SPO_LINALG_H

#include "optimizer/internal.h"
#include "optimizer/spo_oneshot.h"

/* Rows and columns of a block of work. */
enum { SPO_TILE = 128 };

/* a[n, n] = L L'; L replaces a. False when a is not positive definite; then a is of no use. */
bool spo_cholesky(double *a, size_t n, const spo_pool *pool);
/* Writes the inverse of the lower triangle l into out[n, n]; zeros above the diagonal. */
void spo_lower_inverse(const double *l, size_t n, double *out, const spo_pool *pool);
/* x[n, columns] becomes L^-1 x, or L'^-1 x; rows are `stride` and `row` apart. One thread. */
void spo_lower_solve(const double *l, size_t stride, size_t n, double *x, size_t row,
                     size_t columns);
void spo_upper_solve(const double *l, size_t stride, size_t n, double *x, size_t row,
                     size_t columns);

/* x[n] becomes the solution of L L' x = x. */
void spo_cholesky_solve(const double *l, size_t n, double *x);

/* sum[m, n] += a' b over tokens: a[tokens, m], b[tokens, n]. Products of 512 tokens are added up in
 * f32, their sums in f64. With `lower`, tiles above the diagonal are left out. */
void spo_add_products(double *sum, const float *a, size_t m, const float *b, size_t n,
                      size_t tokens, bool lower, const spo_pool *pool);

/* The inverse of a damped Gram matrix H / scale + damping I, in factors. Inputs that were always
 * zero are dead: they have 1 on the diagonal, so that they touch no other input. */
typedef struct spo_factor {
  size_t n;
  double scale;        /* mean of the diagonal */
  double damping;      /* that made it positive definite */
  double *lower;       /* [n, n], of the inputs in reverse: inverse = (J L J)' (J L J) */
  float *upper;        /* [n, n], J L J: inverse = U' U */
  unsigned char *dead; /* [n] */
} spo_factor;

/* Tries the damping, then 10 and 100 times as much. SPO_E_NOT_SPD names the tensor. */
spo_status spo_factor_make(spo_factor *out, const spo_gram *gram, double damping, const char *name,
                           const spo_pool *pool, spo_error *error);
void spo_factor_free(spo_factor *f);
/* out[rows, n] = c[rows, n] times the inverse of the (not scaled) damped Gram matrix; c is
 * destroyed. */
void spo_factor_solve(const spo_factor *f, double *c, double *out, size_t rows,
                      const spo_pool *pool);

#endif
