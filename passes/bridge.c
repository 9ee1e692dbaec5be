#include "passes/bridge.h"

#include <string.h>

/* ---- neurons ---- */

static bool is_pointwise(const ir_value *v) {
  return ir_is_op(v, OP_gelu) || ir_is_op(v, OP_relu) || ir_is_op(v, OP_tanh);
}

/* True for a linear whose channels pass through nothing but its activation. */
static bool makes_channels(const ir_graph *g, ir_id id) {
  return is_linear(g, id) && operand(g, id, LINEAR_RESIDUAL) == IR_NONE &&
         operand(g, id, LINEAR_GAMMA) == IR_NONE;
}

bool bridge_neurons(const rewrite *r, ir_id last, bridge *b) {
  const ir_graph *g = r->g;
  ir_id user = last, id = operand(g, last, LINEAR_X);
  *b = (bridge){.last = last};
  while (is_pointwise(ir_at(g, id))) {
    if (b->links == BRIDGE_LINKS || sole_user(r, id) != user) return false;
    b->link[b->links++] = user = id;
    id = operand(g, id, 0);
  }
  b->first = id;
  b->count = linear_cols(g, last);
  return makes_channels(g, id) && sole_user(r, id) == user;
}

/* ---- heads ---- */

/* Notes context, softmax and scores, or attention, as links; false when something else uses one. */
static bool find_links(const rewrite *r, bridge *b) {
  const ir_graph *g = r->g;
  ir_id user = b->last, id = operand(g, user, LINEAR_X);
  static const enum ir_op chain[] = {OP_context, OP_softmax, OP_scores};
  bool fused = ir_is_op(ir_at(g, id), OP_attention);
  for (uint32_t i = 0; i < (fused ? 1 : 3); i++) {
    if (!fused && !ir_is_op(ir_at(g, id), chain[i])) return false;
    if (sole_user(r, id) != user) return false;
    b->link[b->links++] = user = id;
    id = operand(g, id, 0);
  }
  return true;
}

static bool same_heads(const ir_graph *g, const ir_value *scores, const ir_value *context) {
  ir_heads s = ir_heads_of(g, scores), c = ir_heads_of(g, context);
  return s.heads == c.heads && s.size == c.size && s.kv_heads == s.heads && c.kv_heads == c.heads;
}

/* True when nothing but the op `user` reads `id`, through any of its operands. */
static bool only_used_by(const rewrite *r, ir_id id, ir_id user) {
  const ir_value *v = ir_at(r->g, user);
  uint32_t uses = 0;
  for (uint32_t i = 0; i < v->nin; i++)
    uses += v->in[i] == id;
  return uses == r->uses[id];
}

/* True when the channels of q, k and v are rows of their own. */
static bool are_apart(const bridge *b) {
  const ir_id maker[] = {b->q, b->k, b->first};
  const size_t at[] = {b->q_at, b->k_at, b->first_at};
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < i; j++)
      if (maker[i] == maker[j] && at[i] < at[j] + b->count && at[j] < at[i] + b->count)
        return false;
  return true;
}

bool bridge_heads(const rewrite *r, ir_id last, bridge *b) {
  const ir_graph *g = r->g;
  *b = (bridge){.last = last};
  if (!find_links(r, b)) return false;
  ir_id top = b->link[0], bottom = b->link[b->links - 1];
  const ir_value *context = ir_at(g, top), *scores = ir_at(g, bottom);
  if (!same_heads(g, scores, context)) return false;
  b->count = linear_cols(g, last);
  b->heads = (size_t)ir_heads_of(g, context).heads;
  b->q = operand(g, bottom, 0);
  b->k = operand(g, bottom, 1);
  b->first = operand(g, top, top == bottom ? 2 : 1);
  b->q_at = (size_t)scores->attr[A_q_at].i;
  b->k_at = (size_t)scores->attr[A_k_at].i;
  b->first_at = (size_t)context->attr[A_v_at].i;
  const ir_id makers[] = {b->q, b->k, b->first}, users[] = {bottom, bottom, top};
  for (int i = 0; i < 3; i++)
    if (!is_plain_linear(g, makers[i]) || !only_used_by(r, makers[i], users[i])) return false;
  return are_apart(b); /* every channel belongs to a head: last reads heads * head_size of them */
}

/* ---- the rewrite ---- */

void bridge_take_rows(rewrite *r, ir_id linear, const size_t *from, size_t n, const bool *dead) {
  const ir_graph *g = r->g;
  size_t k = linear_cols(g, linear);
  const float *w = linear_weight(g, linear), *bias = linear_bias(g, linear);
  float *to = arena_calloc(g->arena, n * k, sizeof *to, _Alignof(float));
  float *bias_to = arena_array(g->arena, float, n);
  for (size_t i = 0; i < n; i++) {
    if (dead && dead[from[i]]) continue;
    memcpy(to + i * k, w + from[i] * k, k * sizeof *to);
    if (bias) bias_to[i] = bias[from[i]];
  }
  revise_const(r, linear, LINEAR_W, ir_type2((int64_t)n, (int64_t)k), to);
  if (bias) revise_bias(r, linear, bias_to);
}

void bridge_take_cols(rewrite *r, ir_id linear, const size_t *from, size_t n, const bool *dead) {
  const ir_graph *g = r->g;
  size_t rows = linear_rows(g, linear), m = linear_cols(g, linear);
  const float *w = linear_weight(g, linear);
  float *to = arena_calloc(g->arena, rows * n, sizeof *to, _Alignof(float));
  for (size_t o = 0; o < rows; o++)
    for (size_t i = 0; i < n; i++)
      if (!dead || !dead[from[i]]) to[o * n + i] = w[o * m + from[i]];
  revise_const(r, linear, LINEAR_W, ir_type2((int64_t)rows, (int64_t)n), to);
}
