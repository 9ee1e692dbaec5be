/* fold: moves constant factors and shifts into the weights, biases and tables before or behind
 * them. No step makes a non-zero weight out of a zero one, so patterns survive. */
#include "passes/passes.h"
#include "passes/rewrite.h"

/* How deep a sum of embeddings is searched; a model adds three of them. */
enum { SUM_DEPTH = 8 };

static float *floats(const ir_graph *g, size_t n) {
  return arena_array(g->arena, float, n);
}

static size_t channels(const ir_graph *g, ir_id id) {
  const ir_type *t = &ir_at(g, id)->type;
  return (size_t)t->dim[t->rank - 1];
}

/* ---- scores: the scale moves into the linear that makes q ---- */

static void fold_scale(ir_graph *g, ir_id scores) {
  ir_id q = operand(g, scores, 0);
  double scale = ir_at(g, scores)->attr[A_scale].f;
  size_t m, n;
  float *w, *bias = NULL;
  if (scale == 1.0 || !is_plain_linear(g, q) || sole_user(g, q) != scores) return;
  m = linear_rows(g, q);
  n = m * linear_cols(g, q);
  w = floats(g, n);
  if (!scale_f32(const_data(g, operand(g, q, LINEAR_W)), scale, n, w)) return;
  if (operand(g, q, LINEAR_BIAS) != IR_NONE) {
    bias = floats(g, m);
    if (!scale_f32(const_data(g, operand(g, q, LINEAR_BIAS)), scale, m, bias)) return;
  }
  revise_const(g, q, LINEAR_W, ir_at(g, operand(g, q, LINEAR_W))->type, w);
  if (bias) revise_bias(g, q, bias);
  ir_at(g, scores)->attr[A_scale].f = 1.0;
  rename_value(g, q, "scaled");
}

/* ---- layernorm: gamma and beta move into the linears behind it ---- */

/* What folding gamma and beta makes of one linear. */
typedef struct affine {
  ir_id linear;
  float *w, *bias;
} affine;

/* w[M,K] * diag(gamma), bias + w * beta. False when a number gets out of hand. */
static bool make_affine(const ir_graph *g, const float *gamma, const float *beta, affine *a) {
  size_t m = linear_rows(g, a->linear), k = linear_cols(g, a->linear);
  const float *w = const_data(g, operand(g, a->linear, LINEAR_W));
  const float *bias = const_data(g, operand(g, a->linear, LINEAR_BIAS));
  a->w = floats(g, m * k);
  a->bias = floats(g, m);
  for (size_t r = 0; r < m; r++) {
    double sum = bias ? (double)bias[r] : 0.0;
    for (size_t c = 0; c < k; c++) {
      size_t at = r * k + c;
      if (!scale_f32(&w[at], (double)gamma[c], 1, &a->w[at])) return false;
      sum += (double)w[at] * (double)beta[c];
    }
    if (!store_f32(sum, &a->bias[r])) return false;
  }
  return true;
}

/* The linears that read `norm`, when nothing else does; returns their number, or 0. */
static uint32_t linear_users(const ir_graph *g, ir_id norm, affine *users) {
  uint32_t n = 0;
  for (ir_id id = 0; id < g->count; id++)
    if (is_linear(g, id) && operand(g, id, LINEAR_X) == norm) users[n++].linear = id;
  return n == ir_use_count(g, norm) ? n : 0;
}

static bool is_all(const float *x, size_t n, float value) {
  for (size_t i = 0; i < n; i++)
    if (x[i] != value) return false;
  return true;
}

/* A constant that stands for "no gamma" (1) or "no beta" (0). */
static void set_uniform(ir_graph *g, ir_id norm, uint32_t i, float value) {
  size_t n = channels(g, norm);
  float *data = floats(g, n);
  for (size_t k = 0; k < n; k++)
    data[k] = value;
  revise_const(g, norm, i, ir_type1((int64_t)n), data);
}

static void fold_affine(ir_graph *g, ir_id norm) {
  const float *gamma = const_data(g, operand(g, norm, NORM_GAMMA));
  const float *beta = const_data(g, operand(g, norm, NORM_BETA));
  size_t k = channels(g, norm);
  affine *users;
  uint32_t n;
  bool shifts;
  if (!gamma || !beta) return;
  shifts = !is_all(beta, k, 0.0f);
  if (!shifts && is_all(gamma, k, 1.0f)) return;
  users = arena_array(g->arena, affine, g->count);
  n = linear_users(g, norm, users);
  if (n == 0) return;
  for (uint32_t i = 0; i < n; i++)
    if (!make_affine(g, gamma, beta, &users[i])) return;
  for (uint32_t i = 0; i < n; i++) {
    ir_id w = operand(g, users[i].linear, LINEAR_W);
    revise_const(g, users[i].linear, LINEAR_W, ir_at(g, w)->type, users[i].w);
    if (shifts) revise_bias(g, users[i].linear, users[i].bias);
  }
  set_uniform(g, norm, NORM_GAMMA, 1.0f);
  set_uniform(g, norm, NORM_BETA, 0.0f);
  rename_value(g, norm, "normalized");
}

/* ---- add of a constant row: into a bias, or into a table of embeddings ---- */

/* add(linear, row) becomes the linear with another bias. */
static void fold_into_bias(ir_graph *g, ir_id add, ir_id linear, const float *row) {
  const float *old = const_data(g, operand(g, linear, LINEAR_BIAS));
  size_t m = linear_rows(g, linear);
  float *bias = floats(g, m);
  for (size_t i = 0; i < m; i++)
    if (!store_f32((double)row[i] + (old ? (double)old[i] : 0.0), &bias[i])) return;
  absorb(g, add, linear);
  revise_bias(g, add, bias);
}

/* True when the gather's rows are chosen by position. */
static bool by_position(const ir_graph *g, ir_id gather) {
  return ir_is_op(ir_at(g, operand(g, gather, GATHER_IDS)), OP_positions);
}

static int64_t table_rows(const ir_graph *g, ir_id gather) {
  return ir_at(g, operand(g, gather, GATHER_TABLE))->type.dim[0];
}

/* The better of two gathers to take a row: the one by position, else the smaller table. */
static ir_id better_gather(const ir_graph *g, ir_id a, ir_id b) {
  if (a == IR_NONE || b == IR_NONE) return a == IR_NONE ? b : a;
  if (by_position(g, a) != by_position(g, b)) return by_position(g, a) ? a : b;
  return table_rows(g, a) <= table_rows(g, b) ? a : b;
}

/* The best gather among the terms of a sum of which nothing else is used; IR_NONE without one. */
static ir_id find_gather(const ir_graph *g, ir_id sum, int depth) {
  const ir_value *v = ir_at(g, sum);
  if (v->kind != IR_OP || depth == 0 || ir_use_count(g, sum) != 1) return IR_NONE;
  if (v->op == OP_gather) return const_data(g, operand(g, sum, GATHER_TABLE)) ? sum : IR_NONE;
  if (v->op != OP_add) return IR_NONE;
  return better_gather(g, find_gather(g, v->in[0], depth - 1), find_gather(g, v->in[1], depth - 1));
}

/* The sum that `add` is a term of. */
static ir_id sum_root(const ir_graph *g, ir_id add) {
  for (int depth = 0; depth < SUM_DEPTH; depth++) {
    ir_id user = sole_user(g, add);
    if (user == IR_NONE || ir_at(g, user)->op != OP_add) break;
    add = user;
  }
  return add;
}

/* The partial sums below a root mean something else after a row moved between them. */
static void rename_terms(ir_graph *g, ir_id sum, int depth) {
  for (uint32_t i = 0; depth > 0 && i < 2; i++) {
    ir_id term = operand(g, sum, i);
    if (!ir_is_op(ir_at(g, term), OP_add) || ir_use_count(g, term) != 1) continue;
    rename_value(g, term, "folded");
    rename_terms(g, term, depth - 1);
  }
}

/* table[V,C] + row[C], as the gather's own table. */
static bool fold_into_table(ir_graph *g, ir_id gather, const float *row) {
  ir_id id = operand(g, gather, GATHER_TABLE);
  ir_type type = ir_at(g, id)->type;
  size_t v = (size_t)type.dim[0], c = (size_t)type.dim[1];
  const float *old = const_data(g, id);
  float *table = floats(g, v * c);
  for (size_t i = 0; i < v * c; i++)
    if (!store_f32((double)old[i] + (double)row[i % c], &table[i])) return false;
  revise_const(g, gather, GATHER_TABLE, type, table);
  return true;
}

/* A row added anywhere in a sum of embeddings goes into one of their tables. */
static void fold_into_sum(ir_graph *g, ir_id add, const float *row) {
  ir_id root = sum_root(g, add), x = operand(g, add, 0);
  ir_id left, right, gather;
  const char *name = ir_at(g, add)->name;
  left = find_gather(g, operand(g, root, 0), SUM_DEPTH);
  right = find_gather(g, operand(g, root, 1), SUM_DEPTH);
  gather = better_gather(g, left, right);
  if (gather == IR_NONE || !fold_into_table(g, gather, row)) return;
  rename_value(g, gather, "folded");
  rename_terms(g, root, SUM_DEPTH);
  ir_replace_uses(g, add, x);
  detach(g, add);
  if (add != root) return;
  ir_at(g, add)->name = ir_at(g, x)->name;
  ir_at(g, x)->name = name;
}

static void fold_add(ir_graph *g, ir_id add) {
  ir_id x = operand(g, add, 0), row = operand(g, add, 1);
  if (!is_row_const(g, row)) return;
  if (!is_plain_linear(g, x))
    fold_into_sum(g, add, const_data(g, row));
  else if (sole_user(g, x) == add)
    fold_into_bias(g, add, x, const_data(g, row));
}

/* ---- mul by a constant row: into the rows of the weight before it ---- */

static void fold_mul(ir_graph *g, ir_id mul) {
  ir_id x = operand(g, mul, 0);
  const float *row = const_data(g, operand(g, mul, 1)), *w, *old;
  float *scaled, *bias;
  size_t m, k;
  if (!is_row_const(g, operand(g, mul, 1)) || !is_plain_linear(g, x) || sole_user(g, x) != mul)
    return;
  m = linear_rows(g, x);
  k = linear_cols(g, x);
  w = const_data(g, operand(g, x, LINEAR_W));
  old = const_data(g, operand(g, x, LINEAR_BIAS));
  scaled = floats(g, m * k);
  bias = floats(g, m);
  for (size_t r = 0; r < m; r++) {
    if (!scale_f32(w + r * k, (double)row[r], k, scaled + r * k)) return;
    if (old && !scale_f32(old + r, (double)row[r], 1, bias + r)) return;
  }
  absorb(g, mul, x);
  revise_const(g, mul, LINEAR_W, ir_at(g, operand(g, mul, LINEAR_W))->type, scaled);
  if (old) revise_bias(g, mul, bias);
}

bool pass_fold(ir_graph *g, pass_context *c) {
  (void)c;
  ir_cleanup(g);
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_OP || v->nin == 0) continue;
    if (v->op == OP_scores || v->op == OP_attention) fold_scale(g, id);
    if (v->op == OP_layernorm) fold_affine(g, id);
    if (v->op == OP_add) fold_add(g, id);
    if (v->op == OP_mul) fold_mul(g, id);
  }
  ir_cleanup(g);
  return true;
}
