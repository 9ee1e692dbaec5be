/* fuse: lets linear, embed and attention take in the ops around them, so that a value goes through
 * memory once. Each step turns the last op of a group into the whole group and keeps its name,
 * for the value is the same. */
#include "passes/passes.h"
#include "passes/rewrite.h"

#include <string.h>

enum { SUM_TERMS = 3 }; /* word, position and type */

/* ---- linear + activation, + residual, + LayerNorm ---- */

static enum ir_act activation_of(const ir_value *v) {
  switch (v->op) {
  case OP_gelu:
    return v->attr[A_form].i == FORM_TANH ? ACT_GELU_TANH : ACT_GELU;
  case OP_relu:
    return ACT_RELU;
  case OP_tanh:
    return ACT_TANH;
  default:
    return ACT_NONE;
  }
}

/* act(linear) -> linear{act} */
static void fuse_activation(rewrite *r, ir_id id) {
  ir_graph *g = r->g;
  enum ir_act act = activation_of(ir_at(g, id));
  ir_id x = operand(g, id, 0);
  if (!is_plain_linear(g, x) || sole_user(r, x) != id) return;
  absorb(r, id, x);
  ir_at(g, id)->attr[A_act].i = act;
}

/* add(linear, y) or add(y, linear) -> linear with residual y */
static void fuse_residual(rewrite *r, ir_id add) {
  ir_graph *g = r->g;
  for (uint32_t i = 0; i < 2; i++) {
    ir_id x = operand(g, add, i), y = operand(g, add, 1 - i);
    if (!is_plain_linear(g, x) || sole_user(r, x) != add || is_row_const(g, y)) continue;
    absorb(r, add, x);
    set_operand(r, add, LINEAR_RESIDUAL, y);
    return;
  }
}

/* layernorm(linear) -> linear with gamma, beta */
static void fuse_norm(rewrite *r, ir_id norm) {
  ir_graph *g = r->g;
  ir_id x = operand(g, norm, NORM_X);
  ir_id gamma = operand(g, norm, NORM_GAMMA), beta = operand(g, norm, NORM_BETA);
  double eps = ir_at(g, norm)->attr[A_eps].f;
  if (!is_linear(g, x) || sole_user(r, x) != norm) return;
  if (ir_at(g, x)->attr[A_act].i != ACT_NONE || operand(g, x, LINEAR_GAMMA) != IR_NONE) return;
  absorb(r, norm, x);
  set_operand(r, norm, LINEAR_GAMMA, gamma);
  set_operand(r, norm, LINEAR_BETA, beta);
  ir_at(g, norm)->attr[A_eps].f = eps;
}

/* ---- attention ---- */

/* Both ops of one attention agree on the heads. */
static bool same_heads(const ir_graph *g, ir_id scores, ir_id context) {
  ir_heads s = ir_heads_of(g, ir_at(g, scores)), c = ir_heads_of(g, ir_at(g, context));
  return s.heads == c.heads && s.kv_heads == c.kv_heads && s.size == c.size;
}

/* context(softmax(scores(q, k), mask?), v) -> attention(q, k, v, mask?) */
static void fuse_attention(rewrite *r, ir_id context) {
  ir_graph *g = r->g;
  ir_id v = operand(g, context, 1), softmax = operand(g, context, 0), scores, mask;
  int64_t v_at = ir_at(g, context)->attr[A_v_at].i;
  if (!ir_is_op(ir_at(g, softmax), OP_softmax) || sole_user(r, softmax) != context) return;
  scores = operand(g, softmax, 0);
  mask = operand(g, softmax, 1);
  if (!ir_is_op(ir_at(g, scores), OP_scores) || sole_user(r, scores) != softmax) return;
  if (!same_heads(g, scores, context)) return;
  absorb(r, context, scores);
  detach(r, softmax);
  ir_at(g, context)->op = OP_attention;
  ir_at(g, context)->attr[A_v_at].i = v_at;
  set_operand(r, context, 2, v);
  if (mask != IR_NONE) set_operand(r, context, 3, mask);
}

/* ---- q, k, v: one linear ---- */

/* Linears of an attention that read the same value: operands `from` … 2, of q, k and v. */
typedef struct joint {
  uint32_t from;
  ir_id linear[3];
  size_t rows[3], all_rows, cols;
} joint;

/* What the names have in common up to their last dot, dot included. */
static const char *common_prefix(const ir_graph *g, const ir_id *ids, uint32_t n) {
  const char *first = ir_at(g, ids[0])->name;
  size_t length = strlen(first), dot = 0;
  for (uint32_t i = 1; i < n; i++) {
    const char *name = ir_at(g, ids[i])->name;
    size_t same = 0;
    while (same < length && name[same] == first[same])
      same++;
    length = same;
  }
  for (size_t i = 0; i < length; i++)
    if (first[i] == '.') dot = i + 1;
  return arena_strndup(g->arena, first, dot);
}

/* prefix.qkv<tail> or prefix.kv<tail>; ids are in the order of the operands. */
static const char *joint_name(const ir_graph *g, const joint *t, const ir_id *ids,
                              const char *tail) {
  const char *prefix = common_prefix(g, ids + t->from, 3 - t->from);
  return arena_printf(g->arena, "%s%s%s", prefix, &"qkv"[t->from], tail);
}

static bool find_joint(const rewrite *r, ir_id attention, uint32_t from, joint *t) {
  const ir_graph *g = r->g;
  *t = (joint){.from = from};
  for (uint32_t i = from; i < 3; i++) {
    ir_id id = t->linear[i] = operand(g, attention, i);
    if (!is_plain_linear(g, id) || sole_user(r, id) != attention) return false;
    if (operand(g, id, LINEAR_X) != operand(g, t->linear[from], LINEAR_X)) return false;
    t->rows[i] = linear_rows(g, id);
    t->all_rows += t->rows[i];
  }
  t->cols = linear_cols(g, t->linear[from]);
  return true;
}

/* The operands `i` below each other, each rows x cols; an absent bias counts as zeros. IR_NONE when
 * all are absent. */
static ir_id concatenate(rewrite *r, const joint *t, uint32_t i, size_t cols, const char *tail) {
  ir_graph *g = r->g;
  float *data = arena_calloc(g->arena, t->all_rows * cols, sizeof *data, _Alignof(float));
  ir_id weights[3], id;
  size_t at = 0;
  bool any = false;
  ir_type type = ir_type2((int64_t)t->all_rows, (int64_t)cols);
  for (uint32_t k = t->from; k < 3; k++) {
    const float *from = const_data(g, operand(g, t->linear[k], i));
    size_t n = t->rows[k] * cols;
    weights[k] = operand(g, t->linear[k], LINEAR_W);
    if (from) memcpy(data + at, from, n * sizeof *data);
    any |= from != NULL;
    at += n;
  }
  if (!any) return IR_NONE;
  if (i == LINEAR_BIAS) type = ir_type1((int64_t)t->all_rows);
  id = add_const(r, joint_name(g, t, weights, tail), type, data);
  ir_at(g, id)->loc = ir_at(g, weights[t->from])->loc;
  return id;
}

/* The operands of `attention` that have linears of their own take them from one. */
static void join_linears(rewrite *r, ir_id attention, const joint *t) {
  static const enum ir_attr at[] = {A_q_at, A_k_at, A_v_at};
  ir_graph *g = r->g;
  ir_id in[3], id;
  size_t row = 0;
  in[LINEAR_X] = operand(g, t->linear[t->from], LINEAR_X);
  in[LINEAR_W] = concatenate(r, t, LINEAR_W, t->cols, ".weight");
  in[LINEAR_BIAS] = concatenate(r, t, LINEAR_BIAS, 1, ".bias");
  id = add_op(r, joint_name(g, t, t->linear, ""), OP_linear, in, 3);
  ir_at(g, id)->loc = ir_at(g, t->linear[t->from])->loc;
  /* No longer follows from the channels of q. */
  ir_at(g, attention)->attr[A_head_size].i = ir_heads_of(g, ir_at(g, attention)).size;
  for (uint32_t i = t->from; i < 3; i++) {
    ir_at(g, attention)->attr[at[i]].i += (int64_t)row;
    row += t->rows[i];
    set_operand(r, attention, i, id);
    detach(r, t->linear[i]);
  }
}

/* attention(linear(x), linear(x), linear(x)) -> attention on one linear of all three; where q is
 * made from something else, on one of k and v. */
static void fuse_qkv(rewrite *r, ir_id attention) {
  joint t;
  if (find_joint(r, attention, 0, &t) || find_joint(r, attention, 1, &t))
    join_linears(r, attention, &t);
}

/* ---- embeddings ---- */

typedef struct sum {
  ir_id gather[SUM_TERMS], add[SUM_TERMS];
  uint32_t gathers, adds;
} sum;

/* Collects the terms of a sum of gathers of which nothing else is used. */
static bool find_terms(const rewrite *r, ir_id id, ir_id user, sum *s) {
  const ir_value *v = ir_at(r->g, id);
  if (user != IR_NONE && sole_user(r, id) != user) return false;
  if (ir_is_op(v, OP_gather) && v->nin == 2) {
    if (s->gathers == SUM_TERMS) return false;
    s->gather[s->gathers++] = id;
    return true;
  }
  if (!ir_is_op(v, OP_add) || v->nin != 2 || s->adds == SUM_TERMS - 1) return false;
  s->add[s->adds++] = id;
  return find_terms(r, v->in[0], id, s) && find_terms(r, v->in[1], id, s);
}

/* Operands of embed; gamma and beta follow. */
enum { EMBED_IDS, EMBED_TYPES, EMBED_WORD, EMBED_POSITION, EMBED_TYPE, EMBED_GAMMA, EMBED_BETA };

static int64_t table_rows(const ir_graph *g, ir_id table) {
  return ir_at(g, table)->type.dim[0];
}

/* Gives a gather by ids a place: the larger table is the word table, the other one the type
 * table. */
static bool place_ids(const ir_graph *g, ir_id table, ir_id ids, ir_id *in) {
  if (in[EMBED_TYPE] != IR_NONE) return false;
  if (in[EMBED_WORD] == IR_NONE) {
    in[EMBED_WORD] = table;
    in[EMBED_IDS] = ids;
    return true;
  }
  bool larger = table_rows(g, table) > table_rows(g, in[EMBED_WORD]);
  in[EMBED_TYPE] = larger ? in[EMBED_WORD] : table;
  in[EMBED_TYPES] = larger ? in[EMBED_IDS] : ids;
  if (!larger) return true;
  in[EMBED_WORD] = table;
  in[EMBED_IDS] = ids;
  return true;
}

static bool place_terms(const ir_graph *g, const sum *s, ir_id *in) {
  for (uint32_t i = 0; i < s->gathers; i++) {
    ir_id table = operand(g, s->gather[i], GATHER_TABLE),
          ids = operand(g, s->gather[i], GATHER_IDS);
    if (ir_is_op(ir_at(g, ids), OP_positions)) {
      if (in[EMBED_POSITION] != IR_NONE) return false;
      in[EMBED_POSITION] = table;
    } else if (!ir_is_op(ir_at(g, ids), OP_pack) || !place_ids(g, table, ids, in)) {
      return false;
    }
  }
  return in[EMBED_WORD] != IR_NONE;
}

/* layernorm(sum of gathers), or a sum of gathers alone -> embed */
static void fuse_embed(rewrite *r, ir_id root) {
  ir_graph *g = r->g;
  ir_id in[IR_MAX_IN];
  sum s = {0};
  ir_value *v = ir_at(g, root);
  bool norm = v->op == OP_layernorm;
  for (int i = 0; i < IR_MAX_IN; i++)
    in[i] = IR_NONE;
  if (!find_terms(r, norm ? v->in[NORM_X] : root, norm ? root : IR_NONE, &s)) return;
  if (!place_terms(g, &s, in)) return;
  in[EMBED_GAMMA] = norm ? v->in[NORM_GAMMA] : IR_NONE;
  in[EMBED_BETA] = norm ? v->in[NORM_BETA] : IR_NONE;
  for (uint32_t i = 0; i < s.adds; i++)
    detach(r, s.add[i]);
  for (uint32_t i = 0; i < s.gathers; i++)
    detach(r, s.gather[i]);
  detach(r, root);
  v->op = OP_embed;
  for (uint32_t i = 0; i <= EMBED_BETA; i++)
    if (in[i] != IR_NONE) set_operand(r, root, i, in[i]);
}

/* ---- the pass ---- */

static void fuse_into(rewrite *r, ir_id id) {
  ir_graph *g = r->g;
  switch (ir_at(g, id)->op) {
  case OP_gelu:
  case OP_relu:
  case OP_tanh:
    fuse_activation(r, id);
    break;
  case OP_add:
    fuse_residual(r, id);
    break;
  case OP_layernorm:
    fuse_norm(r, id);
    break;
  case OP_context:
    fuse_attention(r, id);
    break;
  default:
    break;
  }
  if (ir_at(g, id)->op == OP_attention) fuse_qkv(r, id);
}

static bool is_live_op(const ir_graph *g, ir_id id) {
  return ir_at(g, id)->kind == IR_OP && ir_at(g, id)->nin > 0;
}

bool pass_fuse(ir_graph *g, pass_context *c) {
  rewrite r = rewrite_begin(g);
  uint32_t count = g->count;
  (void)c;
  for (ir_id id = 0; id < count; id++)
    if (is_live_op(g, id)) fuse_into(&r, id);
  /* From the last to the first, so that the whole of a sum is tried before its terms. */
  for (ir_id id = count; id-- > 0;) {
    enum ir_op op = ir_at(g, id)->op;
    if (is_live_op(g, id) && (op == OP_add || op == OP_layernorm)) fuse_embed(&r, id);
  }
  rewrite_end(&r);
  return true;
}
