/* Proximal operators in closed form, in the identity and in a diagonal metric: soft thresholding,
 * its reweighted form (Guo et al., "Reweighted proximal pruning", 2019), hard thresholding, groups,
 * and the minimax concave penalty (firm thresholding). */
#include <math.h>
#include <string.h>

#include "optimizer/internal.h"
#include "optimizer/lanes.h"
#include "optimizer/prox_lanes.h"

/* ---- single weights ---- */

/* The threshold of each weight: t, times 1 / (|before| + epsilon), over d. */
LANES_BODY void thresholds_body(const spo_shrink *s, float *restrict out,
                                const float *restrict before, const float *restrict d, size_t n) {
  float t = s->t, epsilon = s->epsilon;
  if (s->penalty == SPO_REWEIGHTED && s->weighted)
    for (size_t i = 0; i < n; i++)
      out[i] = t / ((fabsf(before[i]) + epsilon) * d[i]);
  else if (s->penalty == SPO_REWEIGHTED)
    for (size_t i = 0; i < n; i++)
      out[i] = t / (fabsf(before[i]) + epsilon);
  else if (s->weighted)
    for (size_t i = 0; i < n; i++)
      out[i] = t / d[i];
  else
    for (size_t i = 0; i < n; i++)
      out[i] = t;
}

/* sign(a) max(|a| - t, 0); a NaN stays one. */
LANES_BODY void soft_body(float *restrict out, const float *restrict a, const float *restrict t,
                          size_t n) {
  for (size_t i = 0; i < n; i++) {
    float rest = fabsf(a[i]) - t[i];
    out[i] = copysignf(rest < 0 ? 0 : rest, a[i]);
  }
}

/* a where a^2 > 2 t. Zero thresholds keep everything. */
LANES_BODY void hard_body(float *restrict out, const float *restrict a, const float *restrict t,
                          size_t n) {
  for (size_t i = 0; i < n; i++)
    out[i] = fabsf(a[i]) <= sqrtf(2 * t[i]) ? 0 : a[i];
}

/* With h = step / d: firm where gamma > h. Else the penalty is more concave than the distance is
 * convex, and the best point is 0 or, beyond lambda sqrt(gamma h), the weight itself. t = h lambda
 * on entry. */
LANES_BODY void firm_body(const spo_shrink *s, float *restrict out, const float *restrict a,
                          const float *restrict t, const float *restrict d, size_t n) {
  float gamma = s->gamma, lambda = s->lambda, rate = s->rate;
  bool weighted = s->weighted;
  for (size_t i = 0; i < n; i++) {
    float h = weighted ? rate / d[i] : rate, size = fabsf(a[i]);
    float rest = size - t[i];
    float mid = (rest < 0 ? 0 : rest) / (1 - h / gamma);
    float firm = size > gamma * lambda ? size : mid;
    float jump = size <= lambda * sqrtf(gamma * h) ? 0 : size;
    out[i] = copysignf(h < gamma ? firm : jump, a[i]);
  }
}

LANES(thresholds, (const spo_shrink *s, float *out, const float *before, const float *d, size_t n),
      (s, out, before, d, n))
LANES(soft, (float *out, const float *a, const float *t, size_t n), (out, a, t, n))
LANES(hard, (float *out, const float *a, const float *t, size_t n), (out, a, t, n))
LANES(firm,
      (const spo_shrink *s, float *out, const float *a, const float *t, const float *d, size_t n),
      (s, out, a, t, d, n))

spo_shrink spo_shrink_of(const spo_prox_spec *spec, bool weighted) {
  return (spo_shrink){.penalty = spec->penalty,
                      .weighted = weighted,
                      .t = (float)(spec->step * spec->lambda),
                      .epsilon = (float)spec->epsilon,
                      .rate = (float)spec->step,
                      .gamma = (float)spec->mcp_gamma,
                      .lambda = (float)spec->lambda};
}

void spo_shrink_run(const spo_shrink *s, float *out, const float *a, const float *before,
                    const float *d, size_t n) {
  float t[SPO_RUN];
  if (s->t == 0) { /* no division by a metric or weight of 0 */
    memcpy(out, a, n * sizeof *out);
    return;
  }
  thresholds(s, t, before, d, n);
  switch (s->penalty) {
  case SPO_L0:
    hard(out, a, t, n);
    return;
  case SPO_MCP:
    firm(s, out, a, t, d, n);
    return;
  case SPO_L1:
  case SPO_REWEIGHTED:
  case SPO_GROUP:
    break;
  }
  soft(out, a, t, n);
}

/* ---- groups ---- */

typedef struct group {
  float *w;
  const spo_metric_of *metric;
  size_t stride, rows, cols;
  double t; /* step lambda sqrt(size) */
} group;

static double metric_at(const spo_metric_of *m, size_t i) {
  if (m->d) return (double)m->d[i];
  return m->v ? (double)(sqrtf(m->v[i]) * m->root + m->epsilon) : 1;
}

/* With theta = |x|, x = a D theta / (D theta + t): sum of (a D / (D theta + t))^2, which is 1 at
 * the root, and in *slope its derivative. At theta = 0: |D a|^2 / t^2. */
static double norm_at(const group *g, double theta, double *slope) {
  double sum = 0, change = 0;
  for (size_t r = 0; r < g->rows; r++)
    for (size_t c = 0; c < g->cols; c++) {
      size_t i = r * g->stride + c;
      double d = metric_at(g->metric, i), under = 1 / (d * theta + g->t);
      double x = (double)g->w[i] * d * under;
      sum += x * x;
      change -= 2 * x * x * d * under;
    }
  *slope = change;
  return sum;
}

enum { ROUNDS = 80 };

/* Newton's method on a convex falling function, between 0 and |a|; halves where a step leaves the
 * bracket. */
static double solve_norm(const group *g, double most) {
  double low = 0, high = most, theta = most / 2, slope;
  for (int round = 0; round < ROUNDS && high - low > 1e-15 * high; round++) {
    double over = norm_at(g, theta, &slope) - 1;
    if (over > 0)
      low = theta;
    else
      high = theta;
    double next = theta - over / slope;
    if (!(next > low && next < high)) next = low + (high - low) / 2;
    if (next == theta) break;
    theta = next;
  }
  return theta;
}

static double length_of(const group *g) {
  double sum = 0;
  for (size_t r = 0; r < g->rows; r++)
    for (size_t c = 0; c < g->cols; c++)
      sum += (double)g->w[r * g->stride + c] * (double)g->w[r * g->stride + c];
  return sqrt(sum);
}

/* Each weight times theta D / (theta D + t); without a metric that is theta / (theta + t) =
 * 1 - t / |a|. */
static void scale_group(const group *g, double theta) {
  for (size_t r = 0; r < g->rows; r++)
    for (size_t c = 0; c < g->cols; c++) {
      size_t i = r * g->stride + c;
      double d = metric_at(g->metric, i) * theta;
      g->w[i] = theta == 0 ? 0 : (float)((double)g->w[i] * (d / (d + g->t)));
    }
}

void spo_shrink_group(float *w, const spo_metric_of *metric, size_t stride, size_t rows,
                      size_t cols, double t) {
  group g = {.w = w, .metric = metric, .stride = stride, .rows = rows, .cols = cols};
  g.t = t * sqrt((double)rows * (double)cols);
  if (g.t == 0) return;
  double length = length_of(&g), slope;
  if (!isfinite(length)) return; /* left as it is, for all to see */
  if (!metric->d && !metric->v)
    scale_group(&g, length > g.t ? length - g.t : 0);
  else
    scale_group(&g, norm_at(&g, 0, &slope) > 1 ? solve_norm(&g, length) : 0);
}

/* ---- tensors ---- */

typedef struct prox_work {
  const spo_prox_spec *spec;
  spo_shrink shrink;
  float *w;
  const float *before;
  const float *d;
  size_t rows, cols, count;
  size_t group_rows, group_cols, per_task; /* groups */
} prox_work;

static void shrink_block(void *arg, size_t index) {
  const prox_work *p = arg;
  size_t end = (index + 1) * SPO_GRAIN < p->count ? (index + 1) * SPO_GRAIN : p->count;
  for (size_t i = index * SPO_GRAIN; i < end; i += SPO_RUN) {
    size_t n = end - i < SPO_RUN ? end - i : SPO_RUN;
    float a[SPO_RUN];
    memcpy(a, p->w + i, n * sizeof *a);
    spo_shrink_run(&p->shrink, p->w + i, a, p->before ? p->before + i : a, p->d ? p->d + i : NULL,
                   n);
  }
}

static void shrink_groups(void *arg, size_t index) {
  const prox_work *p = arg;
  size_t across = p->cols / p->group_cols, groups = p->rows / p->group_rows * across;
  size_t end = (index + 1) * p->per_task < groups ? (index + 1) * p->per_task : groups;
  for (size_t g = index * p->per_task; g < end; g++) {
    size_t at = g / across * p->group_rows * p->cols + g % across * p->group_cols;
    spo_metric_of metric = {.d = p->d ? p->d + at : NULL};
    spo_shrink_group(p->w + at, &metric, p->cols, p->group_rows, p->group_cols,
                     p->spec->step * p->spec->lambda);
  }
}

static spo_status check_spec(const spo_prox_spec *s, const char *name, spo_error *error) {
  bool ok = s->step >= 0 && s->lambda >= 0 && isfinite(s->step * s->lambda) &&
            (s->penalty != SPO_REWEIGHTED || (s->epsilon > 0 && isfinite(s->epsilon))) &&
            (s->penalty != SPO_MCP || (s->mcp_gamma > 0 && isfinite(s->mcp_gamma)));
  if (ok) return SPO_OK;
  return spo_fail(error, SPO_E_VALUE,
                  "tensor '%s': step and lambda have to be finite and at least 0, epsilon and "
                  "gamma above 0",
                  name);
}

static spo_status prox_groups(prox_work *p, const char *name, const spo_pool *pool,
                              spo_error *error) {
  const spo_prox_spec *s = p->spec;
  p->group_rows = s->group_rows ? s->group_rows : p->rows;
  p->group_cols = s->group_cols ? s->group_cols : p->cols;
  if (p->rows % p->group_rows != 0 || p->cols % p->group_cols != 0)
    return spo_fail(error, SPO_E_SHAPE,
                    "tensor '%s': groups of %zu x %zu do not divide its shape [%zu, %zu]", name,
                    p->group_rows, p->group_cols, p->rows, p->cols);
  size_t size = p->group_rows * p->group_cols;
  p->per_task = spo_blocks(SPO_GRAIN, size);
  spo_run(pool, shrink_groups, p, spo_blocks(p->count / size, p->per_task));
  return SPO_OK;
}

spo_status spo_prox(const spo_prox_spec *spec, const char *name, float *w, const float *before,
                    const float *d, size_t rows, size_t cols, const spo_pool *pool,
                    spo_error *error) {
  spo_status status = check_spec(spec, name, error);
  if (status != SPO_OK || rows * cols == 0) return status;
  prox_work p = {.spec = spec,
                 .shrink = spo_shrink_of(spec, d != NULL),
                 .w = w,
                 .before = before,
                 .d = d,
                 .rows = rows,
                 .cols = cols,
                 .count = rows * cols};
  if (spec->penalty == SPO_GROUP) return prox_groups(&p, name, pool, error);
  spo_run(pool, shrink_block, &p, spo_blocks(p.count, SPO_GRAIN));
  return SPO_OK;
}
