/* fold: moves constant factors and shifts into the weights, biases and tables before or behind
 * them. No step makes a non-zero weight out of a zero one, so patterns survive. */
#include "passes/passes.h"
#include "passes/rewrite.h"

/* How deep a sum of embeddings is searched; a model adds three of them. */
enum { SUM_DEPTH = 8 };
enum { STEP_VALUES = 2 }; /* new constants of one step: a weight and a bias, gamma and beta */

static float *floats(const ir_graph *g, size_t n) {
  return arena_array(g->arena, float, n);
}

static size_t channels(const ir_graph *g, ir_id id) {
  const ir_type *t = &ir_at(g, id)->type;
  return (size_t)t->dim[t->rank - 1];
}

/* ---- scores: the scale moves into the linear that makes q ---- */

static void fold_scale(rewrite *r, ir_id scores) {
  ir_graph *g = r->g;
  ir_id q = operand(g, scores, 0);
  double scale = ir_at(g, scores)->attr[A_scale].f;
  if (scale == 1.0 || !is_plain_linear(g, q) || sole_user(r, q) != scores) return;
  size_t m = linear_rows(g, q), n = m * linear_cols(g, q);
  const float *old = linear_bias(g, q);
  float *w = floats(g, n), *bias = floats(g, m);
  if (!scale_f32(linear_weight(g, q), scale, n, w)) return;
  if (old && !scale_f32(old, scale, m, bias)) return;
  revise_const(r, q, LINEAR_W, ir_at(g, operand(g, q, LINEAR_W))->type, w);
  if (old) revise_bias(r, q, bias);
  ir_at(g, scores)->attr[A_scale].f = 1.0;
  rename_value(r, q, "scaled");
}

/* ---- layernorm: gamma and beta move into the linears behind it ---- */

/* What is known of a value while the LayerNorms are folded. */
typedef struct reader {
  uint32_t linears; /* of a LayerNorm: linears that read it as x */
  bool stuck;       /* of a LayerNorm: a number would get out of hand */
  float *w, *bias;  /* of such a linear: its weight and bias afterwards */
} reader;

static bool is_all(const float *x, size_t n, float value) {
  for (size_t i = 0; i < n; i++)
    if (x[i] != value) return false;
  return true;
}

/* True when `id` is a LayerNorm that does something with gamma or beta and is read by linears
 * alone. */
static bool is_foldable(const rewrite *r, const reader *readers, ir_id id) {
  const ir_graph *g = r->g;
  if (!ir_is_op(ir_at(g, id), OP_layernorm) || r->uses[id] == 0) return false;
  if (readers[id].linears != r->uses[id] || readers[id].stuck) return false;
  const float *gamma = const_data(g, operand(g, id, NORM_GAMMA));
  const float *beta = const_data(g, operand(g, id, NORM_BETA));
  size_t n = channels(g, id);
  return gamma && beta && !(is_all(gamma, n, 1.0f) && is_all(beta, n, 0.0f));
}

/* w[M,K] * diag(gamma), bias + w * beta. False when a number gets out of hand. */
static bool make_affine(const ir_graph *g, ir_id linear, ir_id norm, reader *to) {
  size_t m = linear_rows(g, linear), k = linear_cols(g, linear);
  const float *w = linear_weight(g, linear), *bias = linear_bias(g, linear);
  const float *gamma = const_data(g, operand(g, norm, NORM_GAMMA));
  const float *beta = const_data(g, operand(g, norm, NORM_BETA));
  to->w = floats(g, m * k);
  to->bias = floats(g, m);
  for (size_t i = 0; i < m; i++) {
    double sum = bias ? (double)bias[i] : 0.0;
    for (size_t c = 0; c < k; c++) {
      size_t at = i * k + c;
      if (!scale_f32(&w[at], (double)gamma[c], 1, &to->w[at])) return false;
      sum += (double)w[at] * (double)beta[c];
    }
    if (!store_f32(sum, &to->bias[i])) return false;
  }
  return true;
}

static void apply_affine(rewrite *r, ir_id linear, const reader *from) {
  const ir_graph *g = r->g;
  size_t m = linear_rows(g, linear);
  revise_const(r, linear, LINEAR_W, ir_at(g, operand(g, linear, LINEAR_W))->type, from->w);
  if (linear_bias(g, linear) || !is_all(from->bias, m, 0.0f)) revise_bias(r, linear, from->bias);
}

/* A constant that stands for "no gamma" (1) or "no beta" (0). */
static void set_uniform(rewrite *r, ir_id norm, uint32_t i, float value) {
  size_t n = channels(r->g, norm);
  float *data = floats(r->g, n);
  for (size_t k = 0; k < n; k++)
    data[k] = value;
  revise_const(r, norm, i, ir_type1((int64_t)n), data);
}

/* All LayerNorms, in steps over all values: count the linears behind each, work out their new
 * weights, and put them in where every one of a LayerNorm's linears has come out well. */
static void fold_norms(rewrite *r) {
  ir_graph *g = r->g;
  uint32_t count = g->count;
  reader *readers = arena_array(g->arena, reader, count);
  for (ir_id id = 0; id < count; id++)
    if (is_linear(g, id)) readers[operand(g, id, LINEAR_X)].linears++;
  for (ir_id id = 0; id < count; id++) {
    ir_id x = is_linear(g, id) ? operand(g, id, LINEAR_X) : IR_NONE;
    if (x != IR_NONE && is_foldable(r, readers, x))
      readers[x].stuck = !make_affine(g, id, x, &readers[id]);
  }
  for (ir_id id = 0; id < count; id++) {
    ir_id x = is_linear(g, id) ? operand(g, id, LINEAR_X) : IR_NONE;
    if (x != IR_NONE && is_foldable(r, readers, x)) apply_affine(r, id, &readers[id]);
  }
  for (ir_id id = 0; id < count; id++) {
    if (!is_foldable(r, readers, id)) continue;
    set_uniform(r, id, NORM_GAMMA, 1.0f);
    set_uniform(r, id, NORM_BETA, 0.0f);
    rename_value(r, id, "normalized");
  }
}

/* ---- add of a constant row: into a bias, or into a table of embeddings ---- */

/* add(linear, row) becomes the linear with another bias. */
static void fold_into_bias(rewrite *r, ir_id add, ir_id linear, const float *row) {
  const float *old = linear_bias(r->g, linear);
  size_t m = linear_rows(r->g, linear);
  float *bias = floats(r->g, m);
  for (size_t i = 0; i < m; i++)
    if (!store_f32((double)row[i] + (old ? (double)old[i] : 0.0), &bias[i])) return;
  absorb(r, add, linear);
  revise_bias(r, add, bias);
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
static ir_id find_gather(const rewrite *r, ir_id sum, int depth) {
  const ir_value *v = ir_at(r->g, sum);
  if (v->kind != IR_OP || depth == 0 || r->uses[sum] != 1) return IR_NONE;
  if (v->op == OP_gather) return sum;
  if (v->op != OP_add) return IR_NONE;
  return better_gather(r->g, find_gather(r, v->in[0], depth - 1),
                       find_gather(r, v->in[1], depth - 1));
}

/* The sum that `add` is a term of. */
static ir_id sum_root(const rewrite *r, ir_id add) {
  for (int depth = 0; depth < SUM_DEPTH; depth++) {
    ir_id user = sole_user(r, add);
    if (user == IR_NONE || ir_at(r->g, user)->op != OP_add) break;
    add = user;
  }
  return add;
}

/* The partial sums below a root mean something else after a row moved between them. */
static void rename_terms(rewrite *r, ir_id sum, int depth) {
  for (uint32_t i = 0; depth > 0 && i < 2; i++) {
    ir_id term = operand(r->g, sum, i);
    if (term == IR_NONE || !ir_is_op(ir_at(r->g, term), OP_add) || r->uses[term] != 1) continue;
    rename_value(r, term, "folded");
    rename_terms(r, term, depth - 1);
  }
}

/* table[V,C] + row[C], as the gather's own table. */
static bool fold_into_table(rewrite *r, ir_id gather, const float *row) {
  ir_id id = operand(r->g, gather, GATHER_TABLE);
  ir_type type = ir_at(r->g, id)->type;
  size_t v = (size_t)type.dim[0], c = (size_t)type.dim[1];
  const float *old = const_data(r->g, id);
  float *table = floats(r->g, v * c);
  for (size_t i = 0; i < v * c; i++)
    if (!store_f32((double)old[i] + (double)row[i % c], &table[i])) return false;
  revise_const(r, gather, GATHER_TABLE, type, table);
  rename_value(r, gather, "folded");
  return true;
}

/* A row added anywhere in a sum of embeddings goes into one of their tables. */
static void fold_into_sum(rewrite *r, ir_id add, const float *row) {
  ir_id root = sum_root(r, add), x = operand(r->g, add, 0), user;
  ir_id gather = better_gather(r->g, find_gather(r, operand(r->g, root, 0), SUM_DEPTH),
                               find_gather(r, operand(r->g, root, 1), SUM_DEPTH));
  if (gather == IR_NONE || !fold_into_table(r, gather, row)) return;
  if (add == root) { /* the gather is in x, so x has no other use */
    absorb(r, add, x);
  } else {
    user = sole_user(r, add);
    set_operand(r, user, operand(r->g, user, 0) == add ? 0 : 1, x);
    detach(r, add);
  }
  rename_terms(r, root, SUM_DEPTH);
}

static void fold_add(rewrite *r, ir_id add) {
  ir_id x = operand(r->g, add, 0), row = operand(r->g, add, 1);
  if (!is_row_const(r->g, row)) return;
  if (!is_plain_linear(r->g, x))
    fold_into_sum(r, add, const_data(r->g, row));
  else if (sole_user(r, x) == add)
    fold_into_bias(r, add, x, const_data(r->g, row));
}

/* ---- mul by a constant row: into the rows of the weight before it ---- */

static void fold_mul(rewrite *r, ir_id mul) {
  ir_graph *g = r->g;
  ir_id x = operand(g, mul, 0), factor = operand(g, mul, 1);
  if (!is_row_const(g, factor) || !is_plain_linear(g, x) || sole_user(r, x) != mul) return;
  const float *row = const_data(g, factor), *w = linear_weight(g, x), *old = linear_bias(g, x);
  size_t m = linear_rows(g, x), k = linear_cols(g, x);
  float *scaled = floats(g, m * k), *bias = floats(g, m);
  for (size_t i = 0; i < m; i++) {
    if (!scale_f32(w + i * k, (double)row[i], k, scaled + i * k)) return;
    if (old && !scale_f32(old + i, (double)row[i], 1, bias + i)) return;
  }
  absorb(r, mul, x);
  revise_const(r, mul, LINEAR_W, ir_at(g, operand(g, mul, LINEAR_W))->type, scaled);
  if (old) revise_bias(r, mul, bias);
}

bool pass_fold(ir_graph *g, pass_context *c) {
  rewrite r = rewrite_begin(g);
  (void)c;
  for (ir_id id = 0; id < g->count && has_room(&r, STEP_VALUES); id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_OP || v->nin == 0) continue;
    if (v->op == OP_scores || v->op == OP_attention) fold_scale(&r, id);
    if (v->op == OP_add) fold_add(&r, id);
    if (v->op == OP_mul) fold_mul(&r, id);
  }
  if (has_room(&r, STEP_VALUES * g->count)) fold_norms(&r);
  rewrite_end(&r);
  return true;
}
