/* --pipeline=generic: the honest LLVM baseline. Activations are [channels][tokens], the weights are
 * the checkpoint's dense ones, and every op is the loop nest that one would write by hand, tokens
 * innermost, channel counts constant, element-wise work in the tail of the nest. LLVM's default<O3>
 * vectorises and unrolls as it sees fit. Nothing of our tiles, packing or skipped zeros is used.
 *
 * The builder works in scalars here: the math of mathfn.c then yields scalar code for LLVM. */
#include "codegen/cg.h"

/* A [channels][tokens] tensor: rows are `pitch` floats apart. */
typedef struct matrix {
  V base, pitch;
} matrix;

/* First float of channel `c`. */
static V channel_at(bld *b, matrix m, V c) {
  return b_at(b, m.base, b_muli(b, b_mul(b, c, m.pitch), 4));
}
static V float_at(bld *b, V row, V i) {
  return b_at(b, row, b_muli(b, i, 4));
}
static V get(bld *b, V row, V i) {
  return b_load(b, b->f32, float_at(b, row, i), 4);
}
static void put(bld *b, V value, V row, V i) {
  b_store(b, value, float_at(b, row, i), 4);
}

static V tokens_of(cg *c, V frame, const ir_value *v) {
  return b_load64(&c->b, frame, cg_per_batch(v) ? F_BATCH : F_N);
}
static matrix matrix_of(cg *c, V frame, const ir_value *v) {
  bld *b = &c->b;
  V tiles = b_load64(b, frame, cg_per_batch(v) ? F_BT : F_NT);
  return (matrix){cg_slot(c, frame, v), b_muli(b, tiles, TILE)};
}

/* Runs `body` for the phase of every ISA level; items are outputs, tokens or heads. */
typedef void generic_body(cg *c, const ir_value *v, V frame, V lo, V hi, V task);

static void each_level(cg *c, phase *p, const ir_value *v, generic_body *body) {
  bld *b = &c->b;
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_scalar(b, &isa_table[c->o->levels[i]]);
    cg_phase_begin(c, p);
    body(c, v, b_arg(b, 0), b_arg(b, 1), b_arg(b, 2), b_arg(b, 3));
    b_return(b, NULL);
  }
}

/* ---- linear ---- */

/* nest(x, w, bias, residual, y, tokens, pitch, lo, hi): outputs [lo, hi). A function of its own, so
 * that its pointers can be noalias; layers of one shape share it. */
static V linear_nest(cg *c, const ir_value *v) {
  const ir_value *w = ir_in(c->g, v, 1);
  bool has_bias = ir_in(c->g, v, 2), has_residual = ir_in(c->g, v, 3);
  uint64_t k = (uint64_t)w->type.dim[1];
  char *key = arena_printf(c->a, "generic.linear.k%llu.a%d%s%s.%s", (unsigned long long)k,
                           (int)v->attr[A_act].i, has_bias ? ".bias" : "",
                           has_residual ? ".residual" : "", c->b.isa->name);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64, b->i64};
  fn = b_function(b, key, b->none, t, 9);
  for (uint32_t i = 0; i < 5; i++)
    b_noalias(b, i);
  V tokens = b_arg(b, 5), pitch = b_arg(b, 6), zero = k64(b, 0);
  matrix x = {b_arg(b, 0), pitch}, res = {b_arg(b, 3), pitch}, y = {b_arg(b, 4), pitch};
  loop o = b_loop(b, b_arg(b, 7), b_arg(b, 8), 1, NULL, 0);
  V out = channel_at(b, y, o.i), row = b_at(b, b_arg(b, 1), b_muli(b, o.i, k * 4));
  V bias = has_bias ? get(b, b_arg(b, 2), o.i) : kf(b, 0.0);
  loop init = b_loop(b, zero, tokens, 1, NULL, 0);
  put(b, bias, out, init.i);
  b_loop_end(b, &init, NULL);
  loop in = b_loop(b, zero, k64(b, k), 1, NULL, 0);
  V weight = get(b, row, in.i), from = channel_at(b, x, in.i);
  loop t1 = b_loop(b, zero, tokens, 1, NULL, 0);
  V input = get(b, from, t1.i), sum = get(b, out, t1.i);
  put(b, vfma(b, weight, input, sum), out, t1.i);
  b_loop_end(b, &t1, NULL);
  b_loop_end(b, &in, NULL);
  loop tail = b_loop(b, zero, tokens, 1, NULL, 0);
  V value = m_act(b, (enum ir_act)v->attr[A_act].i, get(b, out, tail.i));
  if (has_residual) value = vadd(b, value, get(b, channel_at(b, res, o.i), tail.i));
  put(b, value, out, tail.i);
  b_loop_end(b, &tail, NULL);
  b_loop_end(b, &o, NULL);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}

static void generic_linear(cg *c, const ir_value *v) {
  bld *b = &c->b;
  const ir_value *w = ir_in(c->g, v, 1), *bias = ir_in(c->g, v, 2), *res = ir_in(c->g, v, 3);
  uint64_t w_at = cg_constant(c, w), bias_at = bias ? cg_constant(c, bias) : 0;
  phase *p = cg_phase(c, w->name, ITEMS_FIXED, false, (uint32_t)w->type.dim[0]);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_scalar(b, &isa_table[c->o->levels[i]]);
    V nest = linear_nest(c, v);
    cg_phase_begin(c, p);
    V frame = b_arg(b, 0), null = LLVMConstNull(b->ptr);
    matrix x = matrix_of(c, frame, ir_in(c->g, v, 0)), y = matrix_of(c, frame, v);
    V args[] = {x.base,
                cg_weights(c, frame, w_at),
                bias ? cg_weights(c, frame, bias_at) : null,
                res ? matrix_of(c, frame, res).base : null,
                y.base,
                tokens_of(c, frame, v),
                y.pitch,
                b_arg(b, 1),
                b_arg(b, 2)};
    b_call(b, nest, args, 9);
    b_return(b, NULL);
  }
}

/* ---- LayerNorm: tokens [lo, hi) of 64, statistics in arrays on the stack ---- */

typedef struct norm_of {
  const ir_value *x, *gamma, *beta;
  double eps;
} norm_of;

static norm_of norm_operands(const ir_graph *g, const ir_value *v) {
  uint32_t gamma = v->op == OP_linear ? 4 : v->op == OP_embed ? 5 : 1;
  const ir_value *x = v->op == OP_layernorm ? ir_in(g, v, 0) : v;
  return (norm_of){x, ir_in(g, v, gamma), ir_in(g, v, gamma + 1), v->attr[A_eps].f};
}

/* sum[t] += f(x[c][t]) over channels; mean NULL: x, else (x - mean[t])^2. */
static void norm_sum(bld *b, matrix x, uint64_t channels, V first, V count, V mean, V sum) {
  loop clear = b_loop(b, k64(b, 0), count, 1, NULL, 0);
  put(b, kf(b, 0.0), sum, clear.i);
  b_loop_end(b, &clear, NULL);
  loop c = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  V row = float_at(b, channel_at(b, x, c.i), first);
  loop t = b_loop(b, k64(b, 0), count, 1, NULL, 0);
  V value = get(b, row, t.i), old = get(b, sum, t.i);
  V d = mean ? vsub(b, value, get(b, mean, t.i)) : value;
  put(b, mean ? vfma(b, d, d, old) : vadd(b, old, d), sum, t.i);
  b_loop_end(b, &t, NULL);
  b_loop_end(b, &c, NULL);
}

static void norm_body(cg *c, const ir_value *v, V frame, V lo, V hi, V task) {
  (void)task;
  bld *b = &c->b;
  norm_of n = norm_operands(c->g, v);
  uint64_t channels = cg_channels(v);
  matrix x = matrix_of(c, frame, n.x), y = matrix_of(c, frame, v);
  V gamma = cg_weights(c, frame, cg_constant(c, n.gamma));
  V beta = cg_weights(c, frame, cg_constant(c, n.beta)), width = kf(b, (double)channels);
  LLVMTypeRef lane = LLVMArrayType2(b->f32, TILE);
  V mean = b_local(b, lane, NULL), factor = b_local(b, lane, NULL);
  loop tile = b_loop(b, lo, hi, 1, NULL, 0);
  V first = b_muli(b, tile.i, TILE);
  V count = b_min(b, k64(b, TILE), b_sub(b, tokens_of(c, frame, v), first));
  norm_sum(b, x, channels, first, count, NULL, mean);
  loop m = b_loop(b, k64(b, 0), count, 1, NULL, 0);
  put(b, vdiv(b, get(b, mean, m.i), width), mean, m.i);
  b_loop_end(b, &m, NULL);
  norm_sum(b, x, channels, first, count, mean, factor);
  loop f = b_loop(b, k64(b, 0), count, 1, NULL, 0);
  V variance = vadd(b, vdiv(b, get(b, factor, f.i), width), kf(b, n.eps));
  put(b, vdiv(b, kf(b, 1.0), vsqrt(b, variance)), factor, f.i);
  b_loop_end(b, &f, NULL);
  loop ch = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  V from = float_at(b, channel_at(b, x, ch.i), first),
    to = float_at(b, channel_at(b, y, ch.i), first);
  V g = get(b, gamma, ch.i), h = get(b, beta, ch.i);
  loop t = b_loop(b, k64(b, 0), count, 1, NULL, 0);
  V value = get(b, from, t.i);
  value = vsub(b, value, get(b, mean, t.i));
  value = vmul(b, value, get(b, factor, t.i));
  put(b, vfma(b, value, g, h), to, t.i);
  b_loop_end(b, &t, NULL);
  b_loop_end(b, &ch, NULL);
  b_loop_end(b, &tile, NULL);
}

static void generic_norm(cg *c, const ir_value *v) {
  const char *name = arena_printf(c->a, "%s.norm", v->name);
  phase *p = cg_phase(c, name, ITEMS_TILES, cg_per_batch(v), 1);
  p->kind = SPCC_STEP_LAYERNORM;
  each_level(c, p, v, norm_body);
}

/* ---- element-wise ops: channels [lo, hi) ---- */

static void pointwise_body(cg *c, const ir_value *v, V frame, V lo, V hi, V task) {
  (void)task;
  bld *b = &c->b;
  const ir_value *second = ir_in(c->g, v, 1);
  bool constant = second && second->kind == IR_CONST;
  matrix x = matrix_of(c, frame, ir_in(c->g, v, 0)), y = matrix_of(c, frame, v), s = x;
  if (second && !constant) s = matrix_of(c, frame, second);
  V table = constant ? cg_weights(c, frame, cg_constant(c, second)) : NULL;
  loop ch = b_loop(b, lo, hi, 1, NULL, 0);
  V from = channel_at(b, x, ch.i), other = channel_at(b, s, ch.i), to = channel_at(b, y, ch.i);
  V splat = table ? get(b, table, ch.i) : NULL;
  loop t = b_loop(b, k64(b, 0), tokens_of(c, frame, v), 1, NULL, 0);
  V operand = splat ? splat : second ? get(b, other, t.i) : NULL;
  put(b, pointwise_value(b, v, get(b, from, t.i), operand), to, t.i);
  b_loop_end(b, &t, NULL);
  b_loop_end(b, &ch, NULL);
}

/* ---- attention: heads [lo, hi), scores and softmax in the task's scratch ---- */

typedef struct head {
  V q, k, v, o; /* first float of the head's first channel and the sequence's first token */
  V pitch, length, scores, row_bytes, kbias, maxima, sums;
} head;

static V score_row(bld *b, const head *h, V key) {
  return b_at(b, h->scores, b_mul(b, key, h->row_bytes));
}
static V pitch_at(bld *b, V base, V pitch, V channel) {
  return b_at(b, base, b_muli(b, b_mul(b, channel, pitch), 4));
}

/* S[key][query] = kbias[key] + sum over channels of K[d][key] Q[d][query] */
static void head_scores(bld *b, const head *h, uint64_t d, double scale) {
  V zero = k64(b, 0);
  loop key = b_loop(b, zero, h->length, 1, NULL, 0);
  V s = score_row(b, h, key.i), bias = get(b, h->kbias, key.i);
  loop init = b_loop(b, zero, h->length, 1, NULL, 0);
  put(b, bias, s, init.i);
  b_loop_end(b, &init, NULL);
  loop ch = b_loop(b, zero, k64(b, d), 1, NULL, 0);
  V weight = vmul(b, get(b, pitch_at(b, h->k, h->pitch, ch.i), key.i), kf(b, scale));
  V q = pitch_at(b, h->q, h->pitch, ch.i);
  loop t = b_loop(b, zero, h->length, 1, NULL, 0);
  V x = get(b, q, t.i), sum = get(b, s, t.i);
  put(b, vfma(b, weight, x, sum), s, t.i);
  b_loop_end(b, &t, NULL);
  b_loop_end(b, &ch, NULL);
  b_loop_end(b, &key, NULL);
}

/* Down the columns of S: maxima, exponentials and their sums, tokens innermost. */
static void head_softmax(bld *b, const head *h) {
  V zero = k64(b, 0), first = score_row(b, h, zero);
  loop init = b_loop(b, zero, h->length, 1, NULL, 0);
  put(b, get(b, first, init.i), h->maxima, init.i);
  put(b, kf(b, 0.0), h->sums, init.i);
  b_loop_end(b, &init, NULL);
  loop k1 = b_loop(b, zero, h->length, 1, NULL, 0);
  V s1 = score_row(b, h, k1.i);
  loop t1 = b_loop(b, zero, h->length, 1, NULL, 0);
  V score = get(b, s1, t1.i), most = get(b, h->maxima, t1.i);
  put(b, vmax(b, score, most), h->maxima, t1.i);
  b_loop_end(b, &t1, NULL);
  b_loop_end(b, &k1, NULL);
  loop k2 = b_loop(b, zero, h->length, 1, NULL, 0);
  V s2 = score_row(b, h, k2.i);
  loop t2 = b_loop(b, zero, h->length, 1, NULL, 0);
  V x = get(b, s2, t2.i);
  x = vsub(b, x, get(b, h->maxima, t2.i));
  m_exp_nonpositive(b, 1.0, &x, 1);
  put(b, x, s2, t2.i);
  put(b, vadd(b, get(b, h->sums, t2.i), x), h->sums, t2.i);
  b_loop_end(b, &t2, NULL);
  b_loop_end(b, &k2, NULL);
}

/* O[d][query] = sum over keys of V[d][key] P[key][query], divided by the sums */
static void head_context(bld *b, const head *h, uint64_t d) {
  V zero = k64(b, 0);
  loop ch = b_loop(b, zero, k64(b, d), 1, NULL, 0);
  V v = pitch_at(b, h->v, h->pitch, ch.i), o = pitch_at(b, h->o, h->pitch, ch.i);
  loop init = b_loop(b, zero, h->length, 1, NULL, 0);
  put(b, kf(b, 0.0), o, init.i);
  b_loop_end(b, &init, NULL);
  loop key = b_loop(b, zero, h->length, 1, NULL, 0);
  V weight = get(b, v, key.i), p = score_row(b, h, key.i);
  loop t = b_loop(b, zero, h->length, 1, NULL, 0);
  V share = get(b, p, t.i), sum = get(b, o, t.i);
  put(b, vfma(b, weight, share, sum), o, t.i);
  b_loop_end(b, &t, NULL);
  b_loop_end(b, &key, NULL);
  loop end = b_loop(b, zero, h->length, 1, NULL, 0);
  V all = get(b, o, end.i);
  put(b, vdiv(b, all, get(b, h->sums, end.i)), o, end.i);
  b_loop_end(b, &end, NULL);
  b_loop_end(b, &ch, NULL);
}

/* head_fn(q, k, v, o, kbias, scratch, row_bytes, pitch, length): one head of one sequence. */
static V head_function(cg *c, uint64_t d, double scale) {
  char *key = arena_printf(c->a, "generic.attention.d%llu.s%a.%s", (unsigned long long)d, scale,
                           c->b.isa->name);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64};
  fn = b_function(b, key, b->none, t, 9);
  b_noalias(b, 3);
  b_noalias(b, 5);
  V row_bytes = b_arg(b, 6), sums = b_at(b, b_arg(b, 5), row_bytes);
  head h = {.q = b_arg(b, 0),
            .k = b_arg(b, 1),
            .v = b_arg(b, 2),
            .o = b_arg(b, 3),
            .kbias = b_arg(b, 4),
            .maxima = b_arg(b, 5),
            .sums = sums,
            .scores = b_at(b, sums, row_bytes),
            .row_bytes = row_bytes,
            .pitch = b_arg(b, 7),
            .length = b_arg(b, 8)};
  head_scores(b, &h, d, scale);
  head_softmax(b, &h);
  head_context(b, &h, d);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}

static V head_base(bld *b, matrix m, V head_index, uint64_t d, uint64_t at, V token) {
  return float_at(b, channel_at(b, m, b_affine(b, head_index, d, at)), token);
}

static void attention_phase(cg *c, const ir_value *v, uint32_t heads, V fn) {
  bld *b = &c->b;
  V frame = b_arg(b, 0);
  uint64_t d = cg_channels(v) / heads, kv = (uint64_t)v->attr[A_kv_heads].i;
  matrix q = matrix_of(c, frame, ir_in(c->g, v, 0)), k = matrix_of(c, frame, ir_in(c->g, v, 1));
  matrix vv = matrix_of(c, frame, ir_in(c->g, v, 2)), o = matrix_of(c, frame, v);
  V step = b_load64(b, frame, F_SCRATCH_STEP);
  V scratch_at = b_mul(b, b_arg(b, 3), step);
  V scratch = b_at(b, b_loadp(b, frame, F_SCRATCH), scratch_at);
  V row_bytes = b_load64(b, frame, F_SCRATCH_ROW), starts = b_loadp(b, frame, F_START);
  loop h = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
  V kv_head = b_div(b, h.i, k64(b, heads / (kv ? kv : heads)));
  loop s = b_loop(b, k64(b, 0), b_load64(b, frame, F_BATCH), 1, NULL, 0);
  V at = b_at(b, starts, b_muli(b, s.i, 4)), start = b_load32(b, at, 0);
  V length = b_sub(b, b_load32(b, at, 4), start);
  branch some = b_if(b, b_ne(b, length, k64(b, 0)));
  V args[] = {head_base(b, q, h.i, d, (uint64_t)v->attr[A_q_at].i, start),
              head_base(b, k, kv_head, d, (uint64_t)v->attr[A_k_at].i, start),
              head_base(b, vv, kv_head, d, (uint64_t)v->attr[A_v_at].i, start),
              head_base(b, o, h.i, d, 0, start),
              float_at(b, b_loadp(b, frame, F_KBIAS), start),
              scratch,
              row_bytes,
              o.pitch,
              length};
  b_call(b, fn, args, 9);
  b_end(b, &some);
  b_loop_end(b, &s, NULL);
  b_loop_end(b, &h, NULL);
  b_return(b, NULL);
}

static bool generic_attention(cg *c, const ir_value *v) {
  if (!attention_supported(c, v)) return false;
  if (cg_per_batch(v))
    return diag_error(c->d, v->loc, E_OP,
                      "attention '%s': the generic pipeline cannot compile one query per sequence",
                      v->name);
  uint32_t heads = (uint32_t)v->attr[A_heads].i;
  phase *p = cg_phase(c, v->name, ITEMS_FIXED, false, heads);
  c->scratch_square = true;
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_scalar(&c->b, &isa_table[c->o->levels[i]]);
    V fn = head_function(c, cg_channels(v) / heads, v->attr[A_scale].f);
    cg_phase_begin(c, p);
    attention_phase(c, v, heads, fn);
  }
  return true;
}

/* ---- borders: tokens one by one ---- */

static void rows_body(cg *c, const ir_value *v, V frame, V lo, V hi, V task) {
  (void)task;
  bld *b = &c->b;
  rows_sum r = v->op == OP_pack ? rows_from_caller(c, frame, v) : rows_of(c, frame, v);
  matrix y = matrix_of(c, frame, v);
  V tokens = tokens_of(c, frame, v), last = b_min(b, b_muli(b, hi, TILE), tokens);
  loop t = b_loop(b, b_muli(b, lo, TILE), last, 1, NULL, 0);
  V row[MAX_SUMMANDS];
  for (uint32_t i = 0; i < r.count; i++)
    row[i] = summand_row(c, frame, &r, i, t.i);
  loop ch = b_loop(b, k64(b, 0), k64(b, r.channels), 1, NULL, 0);
  V sum = get(b, row[0], ch.i);
  for (uint32_t i = 1; i < r.count; i++)
    sum = vadd(b, sum, get(b, row[i], ch.i));
  put(b, sum, channel_at(b, y, ch.i), t.i);
  b_loop_end(b, &ch, NULL);
  b_loop_end(b, &t, NULL);
}

static void first_body(cg *c, const ir_value *v, V frame, V lo, V hi, V task) {
  (void)task;
  bld *b = &c->b;
  matrix x = matrix_of(c, frame, ir_in(c->g, v, 0)), y = matrix_of(c, frame, v);
  V starts = b_loadp(b, frame, F_START);
  loop ch = b_loop(b, lo, hi, 1, NULL, 0);
  V from = channel_at(b, x, ch.i), to = channel_at(b, y, ch.i);
  loop s = b_loop(b, k64(b, 0), tokens_of(c, frame, v), 1, NULL, 0);
  V at = b_at(b, starts, b_muli(b, s.i, 4)), start = b_load32(b, at, 0);
  put(b, kf(b, 0.0), to, s.i);
  branch some = b_if(b, b_lt(b, start, b_load32(b, at, 4)));
  put(b, get(b, from, cg_per_batch(ir_in(c->g, v, 0)) ? s.i : start), to, s.i);
  b_end(b, &some);
  b_loop_end(b, &s, NULL);
  b_loop_end(b, &ch, NULL);
}

static void unpack_tokens(cg *c, const ir_value *v, V frame, uint32_t output) {
  bld *b = &c->b;
  const ir_value *x = ir_in(c->g, v, 0);
  matrix from = matrix_of(c, frame, x);
  V out = b_loadp(b, b_loadp(b, frame, F_OUT), (uint64_t)output * 8),
    tokens = tokens_of(c, frame, x);
  uint64_t channels = cg_channels(x);
  loop t = b_loop(b, k64(b, 0), tokens, 1, NULL, 0);
  V row = caller_row(c, frame, cg_per_batch(x), t.i);
  V to = b_at(b, out, b_muli(b, row, channels * 4));
  loop ch = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  put(b, get(b, channel_at(b, from, ch.i), t.i), to, ch.i);
  b_loop_end(b, &ch, NULL);
  b_loop_end(b, &t, NULL);
  if (cg_per_batch(x)) return;
  loop s = b_loop(b, k64(b, 0), b_load64(b, frame, F_BATCH), 1, NULL, 0);
  zero_rest(c, frame, out, (uint32_t)channels, s.i);
  b_loop_end(b, &s, NULL);
}

static void generic_unpack(cg *c, const ir_value *v) {
  for (uint32_t o = 0; o < c->g->output_count; o++) {
    if (ir_at(c->g, c->g->outputs[o].value) != v) continue;
    phase *p = cg_phase(c, v->name, ITEMS_FIXED, false, 1);
    for (uint32_t i = 0; i < c->o->level_count; i++) {
      b_set_scalar(&c->b, &isa_table[c->o->levels[i]]);
      cg_phase_begin(c, p);
      unpack_tokens(c, v, b_arg(&c->b, 0), o);
      b_return(&c->b, NULL);
    }
  }
}

bool emit_generic(cg *c, const ir_value *v) {
  switch (v->op) {
  case OP_linear:
    generic_linear(c, v);
    if (ir_in(c->g, v, 4)) generic_norm(c, v);
    return true;
  case OP_pack:
    if (v->type.dtype == IR_I32) return true;
    each_level(c, cg_phase(c, v->name, ITEMS_TILES, cg_per_batch(v), 1), v, rows_body);
    return true;
  case OP_gather:
  case OP_embed:
    each_level(c, cg_phase(c, v->name, ITEMS_TILES, false, 1), v, rows_body);
    if (v->op == OP_embed && ir_in(c->g, v, 5)) generic_norm(c, v);
    return true;
  case OP_positions:
    return true;
  case OP_layernorm:
    generic_norm(c, v);
    return true;
  case OP_attention:
    return generic_attention(c, v);
  case OP_first:
    each_level(c, cg_phase(c, v->name, ITEMS_FIXED, true, cg_channels(v)), v, first_body);
    return true;
  case OP_unpack:
    generic_unpack(c, v);
    return true;
  case OP_add:
  case OP_mul:
  case OP_gelu:
  case OP_relu:
  case OP_tanh:
    each_level(c, cg_phase(c, v->name, ITEMS_FIXED, false, cg_channels(v)), v, pointwise_body);
    return true;
  default:
    return refuse_unfused(c, v);
  }
}
