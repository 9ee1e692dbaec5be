/* Activations, and minima over one pre-activation. */
#include "optimizer/ffn.h"

#include <math.h>

static const double range = SPO_CURVE_RANGE, steps = SPO_CURVE_STEPS;

static double exact(spo_activation activation, double x, double *slope) {
  if (activation == SPO_GELU) { /* x times the normal distribution */
    double phi = 0.5 * erfc(-x * M_SQRT1_2);
    *slope = phi + x * exp(-0.5 * x * x) * 0.5 * M_SQRT1_2 * M_2_SQRTPI;
    return x * phi;
  }
  double sigmoid = 1 / (1 + exp(-x));
  *slope = sigmoid * (1 + x * (1 - sigmoid));
  return x * sigmoid;
}

void spo_curve_init(spo_curve_table *t, spo_activation activation) {
  t->activation = activation;
  if (activation == SPO_RELU) return;
  for (int i = 0; i <= 2 * SPO_CURVE_RANGE * SPO_CURVE_STEPS; i++) {
    t->value[i] = exact(activation, i / steps - range, &t->slope[i]);
    t->slope[i] /= steps;
  }
}

double spo_curve_at(const spo_curve_table *t, double x, double *first, double *second) {
  double at = (x + range) * steps;
  bool relu = t->activation == SPO_RELU;
  if (relu || !(at >= 0 && at < 2 * range * steps)) {
    *first = x > 0;
    *second = 0;
    return x > 0 ? x : 0;
  }
  int i = (int)at;
  double s = at - i, y = t->value[i], rise = t->value[i + 1] - y;
  double a = t->slope[i], b = t->slope[i + 1];
  double square = 3 * rise - 2 * a - b, cube = a + b - 2 * rise;
  *first = (a + s * (2 * square + 3 * s * cube)) * steps;
  *second = (2 * square + 6 * s * cube) * steps * steps;
  return y + s * (a + s * (square + s * cube));
}

/* ---- minima ---- */

/* The objective at x, and the Newton step from there; its curvature is at least that of the first
 * term. */
static double objective(const spo_scalar_problem *q, double x, double *step) {
  double first, second, f = spo_curve_at(q->table, x, &first, &second);
  double from = x - q->m, miss = q->p - q->c * f, g = q->c * first;
  double slope = q->alpha * from - q->gamma * g * miss;
  double curvature = q->alpha + q->gamma * (g * g - q->c * second * miss);
  *step = -slope / (curvature > q->alpha ? curvature : q->alpha);
  return q->alpha * from * from + q->gamma * miss * miss;
}

/* The best point of each side of 0. */
static double solve_relu(const spo_scalar_problem *q) {
  double weight = q->gamma * q->c;
  double above = (weight * q->p + q->alpha * q->m) / (weight * q->c + q->alpha);
  double below = q->m < 0 ? q->m : 0, unused;
  if (above < 0) above = 0;
  return objective(q, above, &unused) <= objective(q, below, &unused) ? above : below;
}

/* Newton steps from x, halved until the objective falls; *value is that at x, then at the result.
 */
static double descend(const spo_scalar_problem *q, double x, double step, double *value) {
  enum { STEPS = 12, HALVINGS = 12 };
  double next_step;
  for (int i = 0; i < STEPS && fabs(step) > 1e-6 * (1 + fabs(x)); i++) {
    int halving = 0;
    for (;; halving++, step /= 2) {
      double next = objective(q, x + step, &next_step);
      if (next < *value) {
        *value = next;
        break;
      }
      if (halving == HALVINGS) return x;
    }
    x += step;
    step = next_step;
  }
  return x;
}

/* There may be a minimum where the activation is flat, and one near the wanted activation, above 0:
 * a descent to each. */
double spo_scalar_solve(const spo_scalar_problem *q, double start) {
  if (q->table->activation == SPO_RELU) return solve_relu(q);
  double near = start, wanted = q->c != 0 && q->p / q->c > 0 ? q->p / q->c : 0;
  double step, other_step, value = objective(q, near, &step),
                           other = objective(q, q->m, &other_step);
  if (other < value) {
    near = q->m;
    step = other_step;
    value = other;
  }
  near = descend(q, near, step, &value);
  other = objective(q, wanted, &other_step);
  wanted = descend(q, wanted, other_step, &other);
  return other < value ? wanted : near;
}
