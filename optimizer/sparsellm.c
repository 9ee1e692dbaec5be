/* SparseLLM (Bai et al., 2024): a feed-forward part is pruned as a whole, with auxiliary variables
 * z before the activation (s, those of a gate) and p behind it:
 *
 *   min alpha |z - W1 X - b1|^2 + gamma |p - f(z)|^2 + beta |Y - W2 p - b2|^2
 *
 * by turns: the weights, each by least squares and then SparseGPT; p; z and s. Y are the outputs of
 * the part as it was. Tokens are streamed: of the auxiliary variables z and s are kept, of p only
 * what the weights need, p p' and Y p'.
 *
 * Ours: GELU; one scalar solver instead of fixed gradient steps; the epoch of the smallest error is
 * the result, and each epoch is tried with another W2 too, solved for and pruned with f(W1 X + b1)
 * in the place of p: the closing.
 * Derived: Cholesky factors and Woodbury's identity instead of pseudo-inverses. */
#include <stdlib.h>
#include <string.h>

#include "optimizer/ffn.h"
#include "optimizer/gemm.h"
#include "optimizer/gram.h"
#include "optimizer/obs.h"

enum { UP, GATE, DOWN, LINEARS };
typedef enum pass_kind { RECORD, STEP, CLOSE, JUDGE } pass_kind; /* over all tokens */
#define NO_EPOCH UINT64_MAX
enum { SLICE = 128 /* tokens of a task */, BLOCK = 1024 /* tokens at a time, of one chunk */ };

typedef struct linear {
  spo_layer *layer;
  const float *bias;
  float *w, *best; /* now, and in the best epoch */
  unsigned char *mask, *best_mask;
  double *target; /* sum over tokens of (what it should put out) times (what it reads)' */
  double *solved; /* the weights that do so best */
} linear;

typedef struct part {
  const spo_recipe *recipe;
  const spo_ffn *ffn;
  const char *name;
  size_t inputs, inner, outputs, tokens;
  linear linear[LINEARS]; /* that of the gate is empty without one */
  bool gated;
  spo_curve_table *table;
  spo_gram *x_gram, *p_gram;
  spo_factor x_factor;
  float *z, *s, *y; /* [tokens, inner, inner, outputs]: without biases */
  float *lift;      /* see spo_ffn_lift */
  float *open;      /* the last linear without the closing, and its mask */
  unsigned char *open_mask;
  double *down, *lift64, *square;
  /* the block of tokens in work */
  const float *x;
  size_t at, count;       /* its tokens in z, s and y */
  float *m, *g, *p, *out; /* [BLOCK, inner] three times, [BLOCK, outputs] */
  double *sum;            /* by slice: what the pass adds up */
  pass_kind pass;
} part;

/* ---- slices of tokens ---- */

/* Where a slice lies in the block's rows of `width`. */
static size_t slice_at(const part *f, size_t index, size_t *count) {
  size_t first = index * SLICE;
  *count = f->count - first < SLICE ? f->count - first : SLICE;
  return first;
}

static double bias_at(const linear *l, size_t i) {
  return l->bias ? (double)l->bias[i] : 0;
}

/* p = f(z), or silu(s) z, for what the linears put out, without their biases. */
static void activate(const part *f, const float *z, const float *s, float *p, size_t count) {
  const linear *up = &f->linear[UP], *gate = &f->linear[GATE];
  double first, second;
  for (size_t t = 0; t < count; t++)
    for (size_t i = 0; i < f->inner; i++) {
      size_t at = t * f->inner + i;
      double x = (double)z[at] + bias_at(up, i);
      p[at] = (float)(f->gated ? x * spo_curve_at(f->table, (double)s[at] + bias_at(gate, i),
                                                  &first, &second)
                               : spo_curve_at(f->table, x, &first, &second));
    }
}

static void apply(const part *f, int which, const float *x, float *y, size_t count) {
  const spo_layer *l = f->linear[which].layer;
  spo_gemm32(SPO_SET, count, l->rows, l->cols, (spo_f32){x, l->cols, 1},
             (spo_f32){f->linear[which].w, 1, l->cols}, y, l->rows);
}

/* The part as it is now, but for its last linear: m and g, then p. */
static void forward_inner(const part *f, const float *x, float *m, float *g, float *p,
                          size_t count) {
  apply(f, UP, x, m, count);
  if (f->gated) apply(f, GATE, x, g, count);
  activate(f, m, g, p, count);
}

static void forward(const part *f, const float *x, float *m, float *g, float *p, float *out,
                    size_t count) {
  forward_inner(f, x, m, g, p, count);
  apply(f, DOWN, p, out, count);
}

static double square_sum(const float *a, const float *b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    double d = (double)a[i] - (b ? (double)b[i] : 0);
    sum += d * d;
  }
  return sum;
}

/* The part before pruning: z, s, p and y. */
static void record_slice(void *arg, size_t index) {
  const part *f = arg;
  size_t count, first = slice_at(f, index, &count), row = f->at + first;
  float *y = f->y + row * f->outputs;
  forward(f, f->x + first * f->inputs, f->z + row * f->inner,
          f->gated ? f->s + row * f->inner : NULL, f->p + first * f->inner, y, count);
  f->sum[index] = square_sum(y, NULL, count * f->outputs);
}

/* p = f(z) + lift' (y - W2 f(z)); `out` is room. */
static void step_p(const part *f, size_t first, size_t row, size_t count) {
  float *p = f->p + first * f->inner, *out = f->out + first * f->outputs;
  const float *y = f->y + row * f->outputs;
  activate(f, f->z + row * f->inner, f->gated ? f->s + row * f->inner : NULL, p, count);
  apply(f, DOWN, p, out, count);
  for (size_t i = 0; i < count * f->outputs; i++)
    out[i] = y[i] - out[i];
  spo_gemm32(SPO_ADD, count, f->inner, f->outputs, (spo_f32){out, f->outputs, 1},
             (spo_f32){f->lift, f->inner, 1}, p, f->inner);
}

/* z, and with a gate s, at one token and place: each the best for the others. */
static void step_scalar(const part *f, size_t i, double m, double g, double p, float *z, float *s) {
  const spo_recipe *r = f->recipe;
  double up = bias_at(&f->linear[UP], i), gate = bias_at(&f->linear[GATE], i), first, second;
  spo_scalar_problem q = {f->table, r->weight_pre, r->weight_act, m + up, p, 1};
  if (!f->gated) {
    *z = (float)(spo_scalar_solve(&q, (double)*z + up) - up);
    return;
  }
  double silu = spo_curve_at(f->table, (double)*s + gate, &first, &second);
  q.c = spo_gated_value(q.alpha, q.gamma, q.m, p, silu);
  q.m = g + gate;
  *z = (float)(q.c - up);
  *s = (float)(spo_scalar_solve(&q, (double)*s + gate) - gate);
}

static void step_z(const part *f, size_t first, size_t row, size_t count) {
  for (size_t t = 0; t < count; t++)
    for (size_t i = 0; i < f->inner; i++) {
      size_t here = (first + t) * f->inner + i, there = (row + t) * f->inner + i;
      step_scalar(f, i, (double)f->m[here], f->gated ? (double)f->g[here] : 0, (double)f->p[here],
                  f->z + there, f->gated ? f->s + there : NULL);
    }
}

/* The error of the pruned part, and new auxiliary variables. */
static void step_slice(void *arg, size_t index) {
  const part *f = arg;
  size_t count, first = slice_at(f, index, &count), row = f->at + first;
  float *out = f->out + first * f->outputs;
  forward(f, f->x + first * f->inputs, f->m + first * f->inner,
          f->gated ? f->g + first * f->inner : NULL, f->p + first * f->inner, out, count);
  f->sum[index] = square_sum(f->y + row * f->outputs, out, count * f->outputs);
  if (f->pass == JUDGE) return;
  step_p(f, first, row, count);
  step_z(f, first, row, count);
}

/* What the last linear reads, the pruned ones before it being as they are. */
static void close_slice(void *arg, size_t index) {
  const part *f = arg;
  size_t count, first = slice_at(f, index, &count);
  forward_inner(f, f->x + first * f->inputs, f->m + first * f->inner,
                f->gated ? f->g + first * f->inner : NULL, f->p + first * f->inner, count);
  f->sum[index] = 0;
}

/* ---- passes over all tokens ---- */

/* Adds the block's products to the sums that the next weights come from. */
static spo_status add_grams(part *f, const spo_pool *pool, spo_error *error) {
  linear *up = &f->linear[UP], *gate = &f->linear[GATE], *down = &f->linear[DOWN];
  if (f->pass == JUDGE) return SPO_OK;
  if (f->pass == RECORD) {
    spo_status status = spo_gram_add(f->x_gram, up->layer->name, f->x, f->count, pool, error);
    if (status != SPO_OK) return status;
  }
  if (f->pass == STEP) {
    spo_add_products(up->target, f->z + f->at * f->inner, f->inner, f->x, f->inputs, f->count,
                     false, pool);
    if (f->gated)
      spo_add_products(gate->target, f->s + f->at * f->inner, f->inner, f->x, f->inputs, f->count,
                       false, pool);
  }
  if (f->pass != RECORD)
    spo_add_products(down->target, f->y + f->at * f->outputs, f->outputs, f->p, f->inner, f->count,
                     false, pool);
  return spo_gram_add(f->p_gram, down->layer->name, f->p, f->count, pool, error);
}

/* A pass over all tokens, block by block; *sum becomes the energy when recording, the error in
 * STEP and JUDGE. */
static spo_status stream(part *f, pass_kind pass, const spo_tokens *chunks, size_t count,
                         double *sum, const spo_pool *pool, spo_error *error) {
  static spo_task *const tasks[] = {
      [RECORD] = record_slice, [STEP] = step_slice, [CLOSE] = close_slice, [JUDGE] = step_slice};
  spo_status status = SPO_OK;
  f->pass = pass;
  *sum = 0;
  f->at = 0;
  for (size_t c = 0; c < count; c++)
    for (size_t t = 0; t < chunks[c].count; t += BLOCK) {
      f->x = chunks[c].x + t * f->inputs;
      f->count = chunks[c].count - t < BLOCK ? chunks[c].count - t : BLOCK;
      size_t slices = spo_blocks(f->count, SLICE);
      spo_run(pool, tasks[pass], f, slices);
      for (size_t i = 0; i < slices; i++)
        *sum += f->sum[i];
      status = add_grams(f, pool, error);
      if (status != SPO_OK) return status;
      f->at += f->count;
    }
  return SPO_OK;
}

/* ---- weights ---- */

/* What the linear should be, by least squares, damping drawing it to the given weights and not to
 * zero: W + (T - W A) A' (A A' + e I)^-1 = (T A' + e W) (A A' + e I)^-1. Inputs that were always
 * zero say nothing of their weights, which stay as they were. */
static void solve_linear(const linear *l, const spo_factor *factor, const spo_pool *pool) {
  size_t rows = l->layer->rows, cols = l->layer->cols;
  for (size_t i = 0; i < rows * cols; i++)
    l->target[i] += factor->damping * factor->scale * (double)l->layer->w[i];
  spo_factor_solve(factor, l->target, l->solved, rows, pool);
  for (size_t i = 0; i < rows * cols; i++)
    l->w[i] = factor->dead[i % cols] ? l->layer->w[i] : (float)l->solved[i];
}

static spo_status prune_linear(const part *f, const linear *l, const spo_factor *factor,
                               const spo_pool *pool, spo_error *error) {
  spo_obs o = {.name = l->layer->name,
               .factor = factor,
               .goal = &f->recipe->goal,
               .block = (size_t)f->recipe->block,
               .w = l->w,
               .mask = l->mask,
               .rows = l->layer->rows,
               .cols = l->layer->cols};
  return spo_obs_prune(&o, pool, error);
}

static spo_status update_linear(const part *f, int which, bool solve, const spo_factor *factor,
                                const spo_pool *pool, spo_error *error) {
  const linear *l = &f->linear[which];
  if (!l->layer) return SPO_OK;
  if (solve) solve_linear(l, factor, pool);
  return prune_linear(f, l, factor, pool, error);
}

/* The last linear, for the p that have been summed up. */
static spo_status update_down(const part *f, bool solve, const spo_pool *pool, spo_error *error) {
  spo_factor factor;
  spo_status status = spo_factor_make(&factor, f->p_gram, f->recipe->damping,
                                      f->linear[DOWN].layer->name, pool, error);
  if (status != SPO_OK) return status;
  status = update_linear(f, DOWN, solve, &factor, pool, error);
  spo_factor_free(&factor);
  return status;
}

static spo_status update_weights(const part *f, bool solve, const spo_pool *pool,
                                 spo_error *error) {
  spo_status status = update_linear(f, UP, solve, &f->x_factor, pool, error);
  if (status == SPO_OK) status = update_linear(f, GATE, solve, &f->x_factor, pool, error);
  return status == SPO_OK ? update_down(f, solve, pool, error) : status;
}

static size_t size_of(const linear *l) {
  return l->layer ? l->layer->rows * l->layer->cols : 0;
}

static void clear_sums(const part *f) {
  spo_gram_clear(f->p_gram);
  for (int i = 0; i < LINEARS; i++)
    if (f->linear[i].layer) memset(f->linear[i].target, 0, size_of(&f->linear[i]) * sizeof(double));
}

/* Ready for new auxiliary variables. */
static spo_status prepare(part *f, const spo_pool *pool, spo_error *error) {
  const linear *down = &f->linear[DOWN];
  clear_sums(f);
  for (size_t i = 0; i < size_of(down); i++)
    f->down[i] = (double)down->w[i];
  if (!spo_ffn_lift(f->down, f->outputs, f->inner, f->recipe->weight_out, f->recipe->weight_act,
                    f->square, f->lift64, pool))
    return spo_fail(error, SPO_E_NONFINITE, "tensor '%s': its weights overflow", f->name);
  for (size_t i = 0; i < size_of(down); i++)
    f->lift[i] = (float)f->lift64[i];
  return SPO_OK;
}

/* Keeps the weights if they are the best so far. */
static void consider(const part *f, uint64_t epoch, bool closed, double miss,
                     spo_ffn_report *report) {
  if (report->epoch != NO_EPOCH && !(miss < report->error)) return;
  report->error = miss;
  report->epoch = epoch;
  report->closed = closed;
  for (int i = 0; i < LINEARS; i++) {
    const linear *l = &f->linear[i];
    if (!l->layer) continue;
    memcpy(l->best, l->w, size_of(l) * sizeof *l->best);
    memcpy(l->best_mask, l->mask, size_of(l));
  }
}

/* The last linear solved for and pruned once more, for what the pruned ones before it really give.
 * The epochs go on without. */
static spo_status close_epoch(part *f, uint64_t epoch, const spo_tokens *chunks, size_t count,
                              spo_ffn_report *report, const spo_pool *pool, spo_error *error) {
  linear *down = &f->linear[DOWN];
  double miss;
  memcpy(f->open, down->w, size_of(down) * sizeof *f->open);
  memcpy(f->open_mask, down->mask, size_of(down));
  clear_sums(f);
  spo_status status = stream(f, CLOSE, chunks, count, &miss, pool, error);
  if (status == SPO_OK) status = update_down(f, true, pool, error);
  if (status == SPO_OK) status = stream(f, JUDGE, chunks, count, &miss, pool, error);
  if (status != SPO_OK) return status;
  consider(f, epoch, true, miss, report);
  memcpy(down->w, f->open, size_of(down) * sizeof *f->open);
  memcpy(down->mask, f->open_mask, size_of(down));
  return SPO_OK;
}

static spo_status run_epochs(part *f, const spo_tokens *chunks, size_t count,
                             spo_ffn_report *report, const spo_pool *pool, spo_error *error) {
  const spo_recipe *r = f->recipe;
  spo_status status = SPO_OK;
  for (uint64_t e = 0; status == SPO_OK && e < r->epochs; e++) {
    double miss;
    bool last = e + 1 == r->epochs;
    status = update_weights(f, e > 0, pool, error);
    if (status == SPO_OK && r->closing && r->epochs > 1)
      status = close_epoch(f, e, chunks, count, report, pool, error);
    if (status == SPO_OK && !last) status = prepare(f, pool, error);
    if (status == SPO_OK)
      status = stream(f, last ? JUDGE : STEP, chunks, count, &miss, pool, error);
    if (status != SPO_OK) return status;
    if (report->trace) report->trace[e] = miss;
    consider(f, e, false, miss, report);
  }
  return status;
}

static spo_status run_part(part *f, const spo_tokens *chunks, size_t count, spo_ffn_report *report,
                           const spo_pool *pool, spo_error *error) {
  report->epoch = NO_EPOCH;
  spo_status status = stream(f, RECORD, chunks, count, &report->energy, pool, error);
  if (status == SPO_OK)
    status = spo_factor_make(&f->x_factor, f->x_gram, f->recipe->damping, f->linear[UP].layer->name,
                             pool, error);
  return status == SPO_OK ? run_epochs(f, chunks, count, report, pool, error) : status;
}

/* ---- memory, and checks ---- */

static bool open_linear(linear *l, spo_layer *layer, const float *bias) {
  size_t count = layer->rows * layer->cols;
  *l = (linear){.layer = layer,
                .bias = bias,
                .w = malloc(count * sizeof *l->w),
                .best = malloc(count * sizeof *l->best),
                .mask = malloc(count),
                .best_mask = malloc(count),
                .target = malloc(count * sizeof *l->target),
                .solved = malloc(count * sizeof *l->solved)};
  if (l->w) memcpy(l->w, layer->w, count * sizeof *l->w);
  return l->w && l->best && l->mask && l->best_mask && l->target && l->solved;
}

static float *floats(size_t rows, size_t cols) {
  return malloc(rows * cols * sizeof(float));
}

static bool open_tokens(part *f) {
  f->z = floats(f->tokens, f->inner);
  f->y = floats(f->tokens, f->outputs);
  f->m = floats(BLOCK, f->inner);
  f->p = floats(BLOCK, f->inner);
  f->out = floats(BLOCK, f->outputs);
  f->s = f->gated ? floats(f->tokens, f->inner) : NULL;
  f->g = f->gated ? floats(BLOCK, f->inner) : NULL;
  return f->z && f->y && f->m && f->p && f->out && (!f->gated || (f->s && f->g));
}

static bool open_arrays(part *f, spo_ffn *ffn) {
  size_t down = f->outputs * f->inner;
  bool ok = open_linear(&f->linear[UP], &ffn->up, ffn->up_bias) &&
            open_linear(&f->linear[DOWN], &ffn->down, ffn->down_bias) &&
            (!f->gated || open_linear(&f->linear[GATE], &ffn->gate, ffn->gate_bias)) &&
            open_tokens(f);
  f->table = malloc(sizeof *f->table);
  f->lift = malloc(down * sizeof *f->lift);
  f->open = malloc(down * sizeof *f->open);
  f->open_mask = malloc(down);
  f->lift64 = malloc(down * sizeof *f->lift64);
  f->down = malloc(down * sizeof *f->down);
  f->square = malloc(f->outputs * f->outputs * sizeof *f->square);
  f->sum = malloc(spo_blocks(BLOCK, SLICE) * sizeof *f->sum);
  if (f->table) spo_curve_init(f->table, ffn->activation);
  return ok && f->table && f->lift && f->lift64 && f->down && f->square && f->sum && f->open &&
         f->open_mask;
}

static spo_status open_part(part *f, spo_ffn *ffn, spo_error *error) {
  spo_status status = spo_gram_open(SPO_GRAM_WHOLE, f->inputs, &f->x_gram, error);
  if (status == SPO_OK) status = spo_gram_open(SPO_GRAM_WHOLE, f->inner, &f->p_gram, error);
  if (status != SPO_OK || open_arrays(f, ffn)) return status;
  return spo_fail(error, SPO_E_MEMORY,
                  "tensor '%s': no memory for %zu tokens of its feed-forward part; use fewer",
                  f->name, f->tokens);
}

static void close_part(part *f) {
  void *all[] = {f->table,     f->lift, f->lift64, f->down, f->square, f->sum, f->z,  f->open,
                 f->open_mask, f->s,    f->y,      f->m,    f->g,      f->p,   f->out};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    free(all[i]);
  for (int i = 0; i < LINEARS; i++) {
    linear *l = &f->linear[i];
    free(l->w);
    free(l->best);
    free(l->mask);
    free(l->best_mask);
    free(l->target);
    free(l->solved);
  }
  spo_gram_close(f->x_gram);
  spo_gram_close(f->p_gram);
  spo_factor_free(&f->x_factor);
}

static spo_status check_linear(const spo_goal *goal, const spo_layer *l, size_t rows, size_t cols,
                               const float *bias, spo_error *error) {
  if (l->rows != rows || l->cols != cols || rows == 0 || cols == 0)
    return spo_fail(error, SPO_E_SHAPE,
                    "tensor '%s': its shape [%zu, %zu] does not fit the feed-forward part's other "
                    "linears",
                    l->name, l->rows, l->cols);
  spo_status status = spo_goal_check(goal, l->name, rows, cols, error);
  if (status == SPO_OK) status = spo_check_finite(l->name, l->w, rows, cols, error);
  if (status == SPO_OK && bias) status = spo_check_finite(l->name, bias, 1, rows, error);
  return status;
}

static spo_status check_ffn(const spo_recipe *recipe, const spo_ffn *f, size_t tokens,
                            spo_error *error) {
  const spo_goal *goal = &recipe->goal;
  size_t inputs = f->up.cols, inner = f->up.rows;
  spo_status status = spo_recipe_check_as(recipe, SPO_SPARSELLM, error);
  if (status == SPO_OK) status = check_linear(goal, &f->up, inner, inputs, f->up_bias, error);
  if (status == SPO_OK && f->activation == SPO_SILU_GATE)
    status = check_linear(goal, &f->gate, inner, inputs, f->gate_bias, error);
  if (status == SPO_OK)
    status = check_linear(goal, &f->down, f->down.rows, inner, f->down_bias, error);
  if (status == SPO_OK && tokens == 0)
    return spo_fail(error, SPO_E_VALUE, "tensor '%s': no tokens have been given for it",
                    f->up.name);
  return status;
}

spo_status spo_sparsellm(const spo_recipe *recipe, spo_ffn *ffn, const spo_tokens *chunks,
                         size_t count, spo_ffn_report *report, const spo_pool *pool,
                         spo_error *error) {
  size_t tokens = 0;
  for (size_t i = 0; i < count; i++)
    tokens += chunks[i].count;
  spo_status status = check_ffn(recipe, ffn, tokens, error);
  if (status != SPO_OK) return status;
  part f = {.recipe = recipe,
            .ffn = ffn,
            .name = ffn->down.name,
            .inputs = ffn->up.cols,
            .inner = ffn->up.rows,
            .outputs = ffn->down.rows,
            .tokens = tokens,
            .gated = ffn->activation == SPO_SILU_GATE};
  status = open_part(&f, ffn, error);
  if (status == SPO_OK) status = run_part(&f, chunks, count, report, pool, error);
  spo_report *reports[LINEARS] = {&report->up, &report->gate, &report->down};
  for (int i = 0; status == SPO_OK && i < LINEARS; i++)
    if (f.linear[i].layer)
      spo_commit(f.linear[i].layer, f.linear[i].best, f.linear[i].best_mask, reports[i]);
  close_part(&f);
  return status;
}
