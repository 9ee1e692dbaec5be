/* dead: removes what reaches no output and what is zero.
 *
 * The unit of work is a bridge (bridge.h). A channel is dead when its row of the first weight is
 * zero (its value is then a constant that moves into the bias behind it) or its column of the last
 * weight is zero (nobody looks).
 *
 * Dead channels are cleared in both weights, and removed where that keeps the pattern of the
 * rest: in whole heads, and in whole blocks of outputs or inputs, so that 4x1 blocks stay
 * aligned. In a block that stays they are left as they are: a block with holes costs as much, and
 * would no longer look like one. */
#include "passes/bridge.h"
#include "passes/passes.h"

#include <math.h>
#include <string.h>

enum { STEP_VALUES = 8 }; /* new constants for one bridge: four weights and their biases */

/* The channels of a bridge; arrays have M elements. */
typedef struct channels {
  size_t count;
  bool *row_zero, *col_zero; /* in the first and in the last weight */
  bool *dead;
  size_t *kept; /* the channels that stay */
  size_t kept_count;
} channels;

/* True for heads that may go. Without a causal mask, for with holes in it there are tokens that see
 * no key, whose context is 0 instead of V's constant; and not with one query per sequence, since an
 * empty one has context 0 as well. q, k and v have linears of their own, with nothing else. */
static bool is_removable(const ir_graph *g, const bridge *b) {
  const ir_id makers[] = {b->q, b->k, b->first};
  const ir_value *top = ir_at(g, b->link[0]), *bottom = ir_at(g, b->link[b->links - 1]);
  for (int i = 0; i < 3; i++)
    if (linear_rows(g, makers[i]) != b->count) return false;
  return !bottom->attr[A_causal].i && top->type.dim[0] == DIM_N;
}

/* ---- looking at the channels ---- */

static void find_zero_rows(const float *w, size_t rows, size_t cols, bool *zero) {
  for (size_t r = 0; r < rows; r++) {
    size_t c = 0;
    while (c < cols && w[r * cols + c] == 0.0f)
      c++;
    zero[r] = c == cols;
  }
}

static void find_zero_cols(const float *w, size_t rows, size_t cols, bool *zero) {
  memset(zero, true, cols);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      zero[c] = zero[c] && w[r * cols + c] == 0.0f;
}

static bool find_dead(const ir_graph *g, const bridge *b, channels *ch) {
  size_t m = b->count;
  bool any = false;
  ch->count = m;
  ch->row_zero = arena_array(g->arena, bool, m);
  ch->col_zero = arena_array(g->arena, bool, m);
  ch->dead = arena_array(g->arena, bool, m);
  ch->kept = arena_array(g->arena, size_t, m);
  find_zero_rows(linear_weight(g, b->first), m, linear_cols(g, b->first), ch->row_zero);
  find_zero_cols(linear_weight(g, b->last), linear_rows(g, b->last), m, ch->col_zero);
  for (size_t i = 0; i < m; i++)
    any |= ch->dead[i] = ch->row_zero[i] || ch->col_zero[i];
  return any;
}

/* The pattern that a linear's weight is in, as outputs and inputs of one aligned unit. */
static void pattern_unit(const ir_graph *g, ir_id linear, size_t *rows, size_t *cols) {
  classify_result r;
  classify(linear_weight(g, linear), linear_rows(g, linear), linear_cols(g, linear), &r);
  *rows = *cols = 1;
  if (r.best.kind == PATTERN_BLOCK || r.best.kind == PATTERN_NM) *rows = r.best.rows;
  if (r.best.kind == PATTERN_BLOCK) *cols = r.best.cols;
  if (r.best.kind == PATTERN_NM) *cols = r.best.m;
}

/* How many channels the blocks of the weights hold together; units are powers of two. */
static size_t block_unit(const ir_graph *g, const bridge *b) {
  const ir_id makers[] = {b->first, b->q, b->k};
  size_t unit, other, rows;
  pattern_unit(g, b->last, &other, &unit);
  for (int i = 0; i < (b->heads ? 3 : 1); i++) {
    pattern_unit(g, makers[i], &rows, &other);
    if (rows > unit) unit = rows;
  }
  return unit;
}

/* How many channels can only be removed together; 0: none can. */
static size_t removal_unit(const bridge *b, size_t m, size_t unit) {
  if (!b->heads) return unit;
  size_t head = m / b->heads;
  return head % unit == 0 ? head : 0;
}

/* Lists the channels that stay: all but whole dead units, and at least one unit. */
static void choose_kept(channels *ch, size_t unit) {
  size_t step = unit ? unit : ch->count;
  for (size_t at = 0; at < ch->count; at += step) {
    size_t end = at + step < ch->count ? at + step : ch->count, alive = 0;
    for (size_t i = at; i < end; i++)
      alive += !ch->dead[i];
    bool last_chance = ch->kept_count == 0 && end == ch->count;
    if (alive == 0 && !last_chance) continue;
    for (size_t i = at; i < end; i++)
      ch->kept[ch->kept_count++] = i;
  }
}

/* Takes the channels that stay for alive. */
static void spare_kept(channels *ch) {
  for (size_t i = 0; i < ch->kept_count; i++)
    ch->dead[ch->kept[i]] = false;
}

/* True when the rewrite would change a weight. */
static bool is_news(const channels *ch) {
  if (ch->kept_count < ch->count) return true;
  for (size_t i = 0; i < ch->count; i++)
    if (ch->dead[i] && !(ch->row_zero[i] && ch->col_zero[i])) return true;
  return false;
}

/* ---- the constant that a dead channel leaves ---- */

static double gelu(double x, bool tanh_form) {
  const double pi = 3.14159265358979323846;
  if (!tanh_form) return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
  return 0.5 * x * (1.0 + tanh(sqrt(2.0 / pi) * (x + 0.044715 * x * x * x)));
}

static double activate(enum ir_act act, double x) {
  if (act == ACT_GELU) return gelu(x, false);
  if (act == ACT_GELU_TANH) return gelu(x, true);
  if (act == ACT_RELU) return x > 0.0 ? x : 0.0;
  return act == ACT_TANH ? tanh(x) : x;
}

/* One op of a bridge on one number. The rows of a softmax sum to 1, so attention hands a constant
 * channel of V through unchanged. */
static double pass_through(const ir_value *v, double x) {
  if (v->op == OP_gelu) return gelu(x, v->attr[A_form].i == FORM_TANH);
  if (v->op == OP_relu) return activate(ACT_RELU, x);
  return v->op == OP_tanh ? tanh(x) : x;
}

/* What channel `i` is for every token when its row of the first weight is zero. */
static double constant_of(const ir_graph *g, const bridge *b, size_t i) {
  const float *bias = linear_bias(g, b->first);
  double x = bias ? (double)bias[i] : 0.0;
  x = activate((enum ir_act)ir_at(g, b->first)->attr[A_act].i, x);
  for (uint32_t k = b->links; k > 0; k--)
    x = pass_through(ir_at(g, b->link[k - 1]), x);
  return x;
}

/* The last linear's bias with the constants of the dead channels; *bias is NULL when that is
 * nothing. False when a number gets out of hand. */
static bool move_constants(const ir_graph *g, const bridge *b, const channels *ch, float **bias) {
  const float *w = linear_weight(g, b->last);
  const float *old = linear_bias(g, b->last);
  size_t rows = linear_rows(g, b->last), m = ch->count;
  double *sum = arena_array(g->arena, double, rows);
  bool moved = false;
  *bias = NULL;
  for (size_t i = 0; i < m; i++) {
    double x = ch->dead[i] && !ch->col_zero[i] ? constant_of(g, b, i) : 0.0;
    if (x == 0.0) continue;
    moved = true;
    for (size_t r = 0; r < rows; r++)
      sum[r] += x * (double)w[r * m + i];
  }
  if (!moved) return true;
  *bias = arena_array(g->arena, float, rows);
  for (size_t r = 0; r < rows; r++)
    if (!store_f32(sum[r] + (old ? (double)old[r] : 0.0), *bias + r)) return false;
  return true;
}

/* ---- the rewrite ---- */

static void set_heads(ir_graph *g, const bridge *b, size_t heads) {
  for (uint32_t i = 0; i < b->links; i++) {
    ir_value *v = ir_at(g, b->link[i]);
    if (v->op == OP_softmax) continue;
    v->attr[A_heads].i = (int64_t)heads;
    if (v->attr[A_kv_heads].i) v->attr[A_kv_heads].i = (int64_t)heads;
  }
}

/* The values of a changed bridge mean something else, and have other types; the verifier reports
 * a type that no longer fits. As long as the heads stay, scores and softmax do. */
static void refresh(rewrite *r, const bridge *b, bool fewer_heads) {
  const ir_id makers[] = {b->first, b->q, b->k};
  for (int i = 0; i < (fewer_heads ? 3 : 1); i++) {
    ir_infer(r->g, makers[i], NULL);
    rename_value(r, makers[i], "live");
  }
  for (uint32_t i = b->heads && !fewer_heads ? 1 : b->links; i > 0; i--) {
    ir_infer(r->g, b->link[i - 1], NULL);
    rename_value(r, b->link[i - 1], "live");
  }
}

static void rewrite_bridge(rewrite *r, const bridge *b, const channels *ch) {
  bool fewer_heads = b->heads && ch->kept_count < ch->count;
  bridge_take_rows(r, b->first, ch->kept, ch->kept_count, ch->dead);
  bridge_take_cols(r, b->last, ch->kept, ch->kept_count, ch->dead);
  if (fewer_heads) {
    bridge_take_rows(r, b->q, ch->kept, ch->kept_count, NULL);
    bridge_take_rows(r, b->k, ch->kept, ch->kept_count, NULL);
    set_heads(r->g, b, ch->kept_count / (ch->count / b->heads));
  }
  refresh(r, b, fewer_heads);
}

static void remark(const ir_graph *g, const pass_context *c, const bridge *b, const channels *ch) {
  const ir_value *w = ir_at(g, operand(g, b->first, LINEAR_W));
  size_t removed = ch->count - ch->kept_count, unit = b->heads ? ch->count / b->heads : 1;
  if (c->remarks && removed)
    diag_remark(c->diag, w->loc, "%s: %zu of %zu %s are zero and were removed", w->name,
                removed / unit, ch->count / unit, b->heads ? "heads" : "neurons");
}

/* Clears and removes the dead channels of one bridge; true when that changed something. */
static bool shrink(rewrite *r, const pass_context *c, const bridge *b) {
  const ir_graph *g = r->g;
  channels ch = {0};
  float *bias;
  if (!find_dead(g, b, &ch)) return false;
  size_t unit = block_unit(g, b);
  choose_kept(&ch, removal_unit(b, ch.count, unit));
  if (unit > 1) spare_kept(&ch);
  if (!is_news(&ch) || !move_constants(g, b, &ch, &bias)) return false;
  if (bias) revise_bias(r, b->last, bias);
  remark(g, c, b, &ch);
  rewrite_bridge(r, b, &ch);
  return true;
}

bool pass_dead(ir_graph *g, pass_context *c) {
  rewrite r = rewrite_begin(g);
  bool changed = true;
  while (changed) { /* ends: every change leaves fewer channels or fewer non-zeros */
    changed = false;
    for (ir_id id = 0; id < g->count && has_room(&r, STEP_VALUES); id++) {
      bridge b;
      if (!is_linear(g, id)) continue;
      if (bridge_neurons(&r, id, &b) || (bridge_heads(&r, id, &b) && is_removable(g, &b)))
        changed |= shrink(&r, c, &b);
    }
  }
  rewrite_end(&r);
  return true;
}
