/* SparseOptimizer (Guo et al., 2023): Moreau-Yosida regularisation. The gradient step is on the
 * loss alone; the penalty acts by its proximal operator, in closed form, in the same pass over
 * memory. With lambda 0 the threshold at each step is the one that reaches the sparsity on
 * schedule. At the step `freeze` the mask is settled; after that weights train without penalty. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/prox_lanes.h"
#include "optimizer/train.h"

/* ---- one pass: update and proximal step ---- */

typedef struct pass {
  const spo_call *call;
  bool update; /* the optimizer's step is to be done first */
  spo_shrink shrink;
  double t;    /* step lambda */
  size_t band; /* weights of a task: whole groups */
} pass;

/* a[n], and d[n] where the metric is Adam's, of the weights from `at` on. */
static void updated_run(const pass *p, size_t at, size_t n, float *a, float *d) {
  const spo_call *c = p->call;
  if (p->update) {
    spo_update_run(&c->rates, c->t, at, n, a, d);
    return;
  }
  memcpy(a, c->t->w + at, n * sizeof *a);
  if (p->shrink.weighted)
    for (size_t i = 0; i < n; i++)
      d[i] = sqrtf(c->t->v[at + i]) * c->rates.root + c->rates.epsilon;
}

static void shrink_weights(const pass *p, size_t from, size_t to) {
  float a[SPO_RUN], d[SPO_RUN];
  for (size_t at = from; at < to; at += SPO_RUN) {
    size_t n = to - at < SPO_RUN ? to - at : SPO_RUN;
    float *w = p->call->t->w + at;
    updated_run(p, at, n, a, d);
    spo_shrink_run(&p->shrink, w, a, w, p->shrink.weighted ? d : NULL, n);
  }
}

static void update_weights(const pass *p, size_t from, size_t to) {
  float a[SPO_RUN], d[SPO_RUN];
  for (size_t at = from; at < to && p->update; at += SPO_RUN) {
    size_t n = to - at < SPO_RUN ? to - at : SPO_RUN;
    updated_run(p, at, n, a, d);
    memcpy(p->call->t->w + at, a, n * sizeof *a);
  }
}

/* A block, or the M inputs of N:M; at the end of a row of N:M a shorter group. */
static void shrink_groups(const pass *p, size_t from, size_t to) {
  const spo_call *c = p->call;
  const spo_pattern *g = &c->context->recipe.goal.pattern;
  size_t cols = c->context->cols, width = g->kind == SPO_NM ? g->m : g->cols;
  for (size_t row = from; row < to; row += g->rows * cols)
    for (size_t at = 0; at < cols; at += width) {
      spo_metric_of metric = {.root = c->rates.root, .epsilon = c->rates.epsilon};
      if (p->shrink.weighted) metric.v = c->t->v + row + at;
      spo_shrink_group(c->t->w + row + at, &metric, cols, g->rows,
                       cols - at < width ? cols - at : width, p->t);
    }
}

static void pass_band(void *arg, size_t index) {
  const pass *p = arg;
  size_t count = p->call->context->count, from = index * p->band;
  size_t to = count - from < p->band ? count : from + p->band;
  if (p->shrink.penalty != SPO_GROUP) {
    shrink_weights(p, from, to);
    return;
  }
  update_weights(p, from, to);
  shrink_groups(p, from, to);
}

/* Weights in a task: so many that no group is cut. */
static size_t band_of(const spo_context *x) {
  if (x->recipe.penalty != SPO_GROUP) return SPO_GRAIN;
  size_t group = x->recipe.goal.pattern.rows * x->cols;
  return spo_blocks(SPO_GRAIN, group) * group;
}

/* lambda rises over the first steps; the reweighting starts after `plain`. */
static spo_prox_spec spec_of(const spo_call *c) {
  const spo_recipe *r = &c->context->recipe;
  uint64_t done = c->head->progress.step;
  const spo_schedule rise = {
      .curve = SPO_LINEAR, .to = r->lambda, .end = spo_share_of(c->context, r->ramp)};
  spo_prox_spec spec = {.penalty = (spo_penalty)r->penalty,
                        .step = c->optimizer->lr,
                        .lambda = spo_schedule_at(&rise, done),
                        .epsilon = c->head->scale,
                        .mcp_gamma = r->mcp_gamma};
  if (spec.penalty == SPO_REWEIGHTED && done < spo_share_of(c->context, r->plain))
    spec.penalty = SPO_L1;
  return spec;
}

static void penalize(const spo_call *c, bool update) {
  spo_prox_spec spec = spec_of(c);
  pass p = {.call = c, .update = update, .t = spec.step * spec.lambda, .band = band_of(c->context)};
  p.shrink = spo_shrink_of(&spec, c->context->recipe.metric == SPO_ADAM);
  spo_run(c->pool, pass_band, &p, spo_blocks(c->context->count, p.band));
}

/* ---- a sparsity on schedule ---- */

/* Units that compete: weights, blocks, or the columns of a group of N:M. All dropped ones set the
 * threshold, and the length of the others is reduced by it. */
typedef struct leveling {
  const spo_call *call;
  const unsigned char *mask;
  size_t rows, cols, across, bands, band; /* of a unit; units in a row; tasks; rows of a task */
  double *longest;                        /* dropped unit of each band */
  double threshold;
} leveling;

static double length_of(const leveling *l, size_t at) {
  const float *w = l->call->t->w + at;
  double sum = 0;
  for (size_t r = 0; r < l->rows; r++)
    for (size_t c = 0; c < l->cols; c++) {
      double x = (double)w[r * l->call->context->cols + c];
      sum += x * x;
    }
  return sqrt(sum); /* of a single weight exactly its magnitude */
}

static void shorten(const leveling *l, size_t at, double threshold) {
  double length = length_of(l, at);
  float *w = l->call->t->w + at;
  for (size_t r = 0; r < l->rows; r++)
    for (size_t c = 0; c < l->cols; c++) {
      float *x = w + r * l->call->context->cols + c;
      *x = length <= threshold ? 0 : (float)((double)*x * ((length - threshold) / length));
    }
}

static double longest_dropped(const leveling *l, size_t at, size_t units) {
  double most = 0;
  for (size_t u = 0; u < units; u++) {
    size_t i = at + u * l->cols;
    double length = l->mask[i] ? 0 : length_of(l, i);
    most = length > most ? length : most;
  }
  return most;
}

static size_t last_row(const leveling *l, size_t index) {
  size_t end = (index + 1) * l->band, rows = l->call->context->rows;
  return end < rows ? end : rows;
}

static void measure_band(void *arg, size_t index) {
  const leveling *l = arg;
  double most = 0;
  for (size_t r = index * l->band; r < last_row(l, index); r += l->rows) {
    double here = longest_dropped(l, r * l->call->context->cols, l->across);
    most = here > most ? here : most;
  }
  l->longest[index] = most;
}

static void level_band(void *arg, size_t index) {
  const leveling *l = arg;
  for (size_t r = index * l->band; r < last_row(l, index); r += l->rows)
    for (size_t u = 0; u < l->across; u++)
      shorten(l, r * l->call->context->cols + u * l->cols, l->threshold);
}

/* Each group of M has a threshold of its own. */
static void level_nm_band(void *arg, size_t index) {
  const leveling *l = arg;
  size_t m = l->call->context->recipe.goal.pattern.m;
  for (size_t r = index * l->band; r < last_row(l, index); r += l->rows)
    for (size_t at = 0; at < l->across; at += m) {
      size_t from = r * l->call->context->cols + at;
      size_t units = l->across - at < m ? l->across - at : m;
      double threshold = longest_dropped(l, from, units);
      for (size_t u = 0; u < units; u++)
        shorten(l, from + u, threshold);
    }
}

static leveling leveling_of(const spo_call *c, const unsigned char *mask) {
  const spo_context *x = c->context;
  const spo_pattern *p = &x->recipe.goal.pattern;
  leveling l = {.call = c, .mask = mask, .rows = 1, .cols = 1};
  if (p->kind == SPO_BLOCK || p->kind == SPO_NM) l.rows = p->rows;
  if (p->kind == SPO_BLOCK) l.cols = p->cols;
  l.across = x->cols / l.cols;
  l.band = spo_blocks(SPO_GRAIN, x->cols * l.rows) * l.rows;
  l.bands = spo_blocks(x->rows, l.band);
  return l;
}

static spo_status level(const spo_call *c, const unsigned char *mask) {
  leveling l = leveling_of(c, mask);
  if (c->context->recipe.goal.pattern.kind == SPO_NM) {
    spo_run(c->pool, level_nm_band, &l, l.bands);
    return SPO_OK;
  }
  l.longest = malloc(l.bands * sizeof *l.longest);
  if (!l.longest) return spo_call_no_memory(c);
  spo_run(c->pool, measure_band, &l, l.bands);
  for (size_t i = 0; i < l.bands; i++)
    l.threshold = l.longest[i] > l.threshold ? l.longest[i] : l.threshold;
  free(l.longest);
  spo_run(c->pool, level_band, &l, l.bands);
  return SPO_OK;
}

static spo_status reach(const spo_call *c) {
  double sparsity = spo_sparsity_at(c->context, spo_step_of(c), 1);
  if (sparsity == 0) return SPO_OK;
  unsigned char *mask = malloc(c->context->count);
  if (!mask) return spo_call_no_memory(c);
  spo_status status = spo_call_project(c, sparsity, c->t->w, mask);
  if (status == SPO_OK) status = level(c, mask);
  free(mask);
  return status;
}

/* ---- freezing ---- */

/* Blocks that are all zero stay so; single weights too. */
static void drop_zeros(const spo_context *x, const float *w, unsigned char *mask) {
  const spo_pattern *p = &x->recipe.goal.pattern;
  if (p->kind != SPO_BLOCK && p->kind != SPO_UNSTRUCTURED) return;
  size_t rows = p->kind == SPO_BLOCK ? p->rows : 1, cols = p->kind == SPO_BLOCK ? p->cols : 1;
  for (size_t r = 0; r < x->rows; r += rows)
    for (size_t c = 0; c < x->cols; c += cols) {
      bool any = false;
      for (size_t i = 0; i < rows * cols; i++)
        any |= w[(r + i / cols) * x->cols + c + i % cols] != 0;
      for (size_t i = 0; i < rows * cols && !any; i++)
        mask[(r + i / cols) * x->cols + c + i % cols] = 0;
    }
}

/* The mask is what is not zero; where that is more than the goal allows, the best of it. */
static spo_status freeze(const spo_call *c) {
  const spo_context *x = c->context;
  unsigned char *mask = malloc(x->count);
  if (!mask) return spo_call_no_memory(c);
  spo_status status =
      spo_project(&x->recipe.goal, x->name, c->t->w, x->rows, x->cols, mask, c->pool, c->error);
  if (status == SPO_OK) {
    drop_zeros(x, c->t->w, mask);
    for (size_t i = 0; i < x->count; i++)
      c->head->progress.forced += !mask[i] && c->t->w[i] != 0;
    spo_bits_pack(c->payload, mask, x->count);
    spo_clear_all(c->t, x->count, c->payload, c->pool);
    c->head->progress.frozen = 1;
  }
  free(mask);
  return status;
}

/* ---- hooks ---- */

static size_t payload(const spo_context *c) {
  return spo_bit_bytes(c->count);
}

static double sum_squares(const void *arg, size_t from, size_t to) {
  const float *w = arg;
  double sum = 0;
  for (size_t i = from; i < to; i++)
    sum += (double)w[i] * (double)w[i];
  return sum;
}

/* The reweighting's epsilon is a share of the weights' rms at the start. */
static spo_status begin(const spo_call *c) {
  const spo_context *x = c->context;
  if (x->recipe.penalty != SPO_REWEIGHTED) return SPO_OK;
  double squares;
  spo_status status = spo_call_sum(c, sum_squares, c->t->w, &squares);
  if (status != SPO_OK) return status;
  c->head->scale = x->recipe.epsilon * sqrt(squares / (double)x->count);
  if (x->recipe.lambda > 0 && (float)c->head->scale == 0)
    return spo_fail(c->error, SPO_E_VALUE,
                    "tensor '%s': reweighting is by the size of trained weights, and these are 0; "
                    "use the penalty l1",
                    x->name);
  return SPO_OK;
}

static spo_status check_metric(const spo_call *c) {
  const spo_recipe *r = &c->context->recipe;
  if (r->lambda == 0 || r->metric != SPO_ADAM) return SPO_OK;
  if (c->rates.rule == SPO_ADAMW && c->t->v) return SPO_OK;
  return spo_fail(c->error, SPO_E_VALUE,
                  "tensor '%s': the metric adam needs AdamW and its second moments",
                  c->context->name);
}

static bool freezes(const spo_call *c) {
  return spo_step_of(c) >= spo_share_of(c->context, c->context->recipe.freeze);
}

static spo_status after(const spo_call *c) {
  bool scheduled = c->context->recipe.lambda == 0;
  spo_status status = check_metric(c);
  if (status == SPO_OK && !scheduled && freezes(c)) status = spo_call_finite(c, c->t->w, "weight");
  if (status != SPO_OK) return status;
  if (scheduled)
    status = reach(c);
  else
    penalize(c, false);
  return status == SPO_OK && freezes(c) ? freeze(c) : status;
}

/* The gradient is looked at where the updated weights are to be ranked. */
static spo_status step(const spo_call *c) {
  bool scheduled = c->context->recipe.lambda == 0;
  spo_status status = check_metric(c);
  if (status == SPO_OK && (scheduled || freezes(c)))
    status = spo_call_finite(c, c->t->g, "gradient");
  if (status != SPO_OK) return status;
  if (scheduled) {
    spo_update_all(&c->rates, c->t, c->context->count, NULL, c->pool);
    return after(c);
  }
  penalize(c, true);
  return freezes(c) ? freeze(c) : SPO_OK;
}

const spo_training spo_sparse_optimizer = {
    .payload = payload, .begin = begin, .step = step, .after = after, .settle = freeze};
