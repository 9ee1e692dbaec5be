/* What SparseLLM is made of: activations, minima over one pre-activation, and over all inner ones.
 */
#ifndef SPO_FFN_H
#define SPO_FFN_H

#include "optimizer/spo_oneshot.h"

/* GELU and SiLU between -RANGE and RANGE as cubics that meet in value and slope, within 2e-8;
 * beyond them they are 0 and x to that precision. Evaluating a cubic takes a few nanoseconds, which
 * the solver's many evaluations need. */
enum { SPO_CURVE_RANGE = 20, SPO_CURVE_STEPS = 32 /* in a unit */ };

typedef struct spo_curve_table {
  spo_activation activation;
  double value[2 * SPO_CURVE_RANGE * SPO_CURVE_STEPS + 1];
  double slope[2 * SPO_CURVE_RANGE * SPO_CURVE_STEPS + 1]; /* in units of a step */
} spo_curve_table;

void spo_curve_init(spo_curve_table *t, spo_activation activation);
/* The activation at x, and its first two derivatives. */
double spo_curve_at(const spo_curve_table *t, double x, double *first, double *second);

/* alpha (x - m)^2 + gamma (p - c f(x))^2, f being the table's activation. */
typedef struct spo_scalar_problem {
  const spo_curve_table *table;
  double alpha, gamma, m, p, c;
} spo_scalar_problem;

/* A minimiser: exact for ReLU; for the others the best that safeguarded Newton steps find from
 * `start`, m and a guess at f^-1(p / c), and never worse than `start`. */
double spo_scalar_solve(const spo_scalar_problem *q, double start);

/* The minimiser of alpha (z - m)^2 + gamma (p - silu z)^2. */
static inline double spo_gated_value(double alpha, double gamma, double m, double p, double silu) {
  return (alpha * m + gamma * silu * p) / (alpha + gamma * silu * silu);
}

/* With it the minimum over p of gamma |p - f|^2 + beta |r + W f - W p|^2, W being w[outputs,
 * inner], is f + lift' r: lift[outputs, inner] = beta (gamma I + beta W W')^-1 W, by Woodbury's
 * identity. `square` is room for [outputs, outputs]; lift may not be w. False when the numbers
 * overflow. */
bool spo_ffn_lift(const double *w, size_t outputs, size_t inner, double beta, double gamma,
                  double *square, double *lift, const spo_pool *pool);

#endif
