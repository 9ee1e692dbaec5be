/* Attention, fused per head and tile of 64 queries: scores, softmax and context without a
 * transpose. Queries lie in the vector lanes, keys and channels are loops:
 *   S[key][query]  = sum over d of K[d][key] Q[d][query]     (K as broadcast scalars)
 *   O[d][query]    = sum over keys of V[d][key] P[key][query] (V as broadcast scalars)
 * S stays in the task's scratch. Sequences are packed back to back, so a tile can hold queries of
 * several: only the vectors with queries of the item's sequence are computed, in strips of up to
 * MAX_VECS, and only its lanes are stored. */
#include <math.h>

#include "codegen/cg.h"

enum {
  UNROLL = 4,    /* channels and keys in a loop's body */
  MAX_VECS = 4,  /* vectors of queries in a register tile */
  MIN_ROWS = 4,  /* keys (or channels) of a register tile: a power of two, so that no tile cuts */
  MAX_ROWS = 8,  /* them */
  MAX_ACC = 24,  /* accumulators of a register tile */
  LINE_KEYS = 16 /* keys in a cache line */
};

typedef struct attn {
  cg *c;
  bld *b;
  uint32_t heads, kv_heads, d; /* d: head size */
  uint32_t q_channels, k_channels, v_channels, q_at, k_at, v_at;
  double scale; /* on the scores; applied inside the exponent */
} attn;

/* What one item works on. */
typedef struct attn_item {
  V q, o;       /* query tile: first byte of the head's first channel */
  V k, v;       /* tile 0: first byte of the head's first channel */
  V kbias;      /* f32 per packed token */
  V scratch;    /* S */
  V start, end; /* keys: packed tokens of the sequence */
  V lo, hi;     /* lanes of the query tile that hold its queries */
} attn_item;

/* A strip of queries: `vecs` vectors at byte `at` of the tile's rows. */
typedef struct strip {
  uint32_t vecs, rows; /* rows: keys or channels that a register tile holds next to them */
  V at;
  V key0;  /* the key of S's first row: start rounded down to `rows` */
  V whole; /* true when all its lanes are queries of the sequence */
} strip;

static uint64_t strip_bytes(const attn *t, const strip *s) {
  return (uint64_t)s->vecs * t->b->isa->lanes * 4;
}

/* Byte of packed token `t` in channel 0 of a tensor of `channels` channels. */
static V token_at(bld *b, V t, uint32_t channels) {
  V tile = b_muli(b, b_shr(b, t, 6), (uint64_t)channels * TILE_BYTES);
  return b_add(b, tile, b_muli(b, b_and(b, t, k64(b, TILE - 1)), 4));
}

static V score_row(const attn *t, const attn_item *it, const strip *s, V key) {
  bld *b = t->b;
  return b_at(b, it->scratch, b_muli(b, b_sub(b, key, s->key0), strip_bytes(t, s)));
}

/* for (i = lo; i < hi; i++), UNROLL steps in a body */
typedef void unrolled_body(bld *b, V i, void *context, V *acc);

static void unrolled(bld *b, V lo, V hi, V *acc, uint32_t n, unrolled_body *body, void *context) {
  V count = b_sub(b, hi, lo);
  V whole = b_add(b, lo, b_and(b, count, k64(b, ~(uint64_t)(UNROLL - 1))));
  loop l = b_loop(b, lo, whole, UNROLL, acc, n);
  for (uint32_t u = 0; u < UNROLL; u++)
    body(b, b_addi(b, l.i, u), context, acc);
  b_loop_end(b, &l, acc);
  loop rest = b_loop(b, whole, hi, 1, acc, n);
  body(b, rest.i, context, acc);
  b_loop_end(b, &rest, acc);
}

/* A product's operands at step 0: what is broadcast, and the vectors. */
typedef struct product {
  uint32_t rows, vecs;
  V w, x, soon; /* soon: will be broadcast a few products later; NULL: not told */
  uint64_t w_row, w_step, x_step, soon_step; /* bytes from row to row and from step to step */
} product;

static void product_step(bld *b, V i, void *context, V *acc) {
  const product *p = context;
  V x[MAX_VECS];
  vload_row(b, b_at(b, p->x, b_muli(b, i, p->x_step)), 0, p->vecs, x);
  V w = b_at(b, p->w, b_muli(b, i, p->w_step));
  if (p->soon) b_prefetch(b, b_at(b, p->soon, b_muli(b, i, p->soon_step)), 0);
  vfma_tile(b, acc, p->rows, p->vecs, w, 0, p->w_row, x);
}

/* What the scores of key `key` start from: its bias, but minus infinity, which no maximum takes, if
 * it belongs to another sequence. */
static V score_start(const attn *t, const attn_item *it, V key) {
  bld *b = t->b;
  V bias = b_load(b, b->f32, b_at(b, it->kbias, b_muli(b, key, 4)), 4);
  V from = b_ge(b, key, it->start), to = b_lt(b, key, it->end);
  return vsplat(b, b_select(b, b_and(b, from, to), bias, kf(b, -INFINITY)));
}

/* Scores of the strip's queries and the keys [key, key + rows), and their maxima for each query.
 * Keys of other sequences at the borders are computed too and never read. */
static void score_tile(const attn *t, const attn_item *it, const strip *s, V key, V *max) {
  bld *b = t->b;
  V acc[MAX_ACC];
  for (uint32_t r = 0; r < s->rows; r++) {
    V first = score_start(t, it, b_addi(b, key, r));
    for (uint32_t j = 0; j < s->vecs; j++)
      acc[r * s->vecs + j] = first;
  }
  product p = {.rows = s->rows,
               .vecs = s->vecs,
               .w = b_at(b, it->k, token_at(b, key, t->k_channels)),
               .w_row = 4,
               .w_step = TILE_BYTES,
               .x_step = TILE_BYTES,
               .soon_step = TILE_BYTES};
  p.x = b_at(b, it->q, s->at);
  if (s->vecs == MAX_VECS)
    p.soon = b_at(b, it->k, token_at(b, b_addi(b, key, LINE_KEYS), t->k_channels));
  unrolled(b, k64(b, 0), k64(b, t->d), acc, s->rows * s->vecs, product_step, &p);
  V row = score_row(t, it, s, key);
  for (uint32_t i = 0; i < s->rows * s->vecs; i++)
    vstore(b, acc[i], row, (uint64_t)i * b->isa->lanes * 4);
  for (uint32_t i = 0; i < s->rows * s->vecs; i++)
    max[i % s->vecs] = vmax(b, acc[i], max[i % s->vecs]);
}

/* Softmax down the columns of S, from their maxima: S becomes P = exp(scale (S - max)),
 * unnormalised; the difference is taken first, for it is exact where it matters, however large the
 * scores are. Returns 1 / sum for each vector. */
static void softmax(const attn *t, const attn_item *it, const strip *s, const V *max, V *inverse) {
  bld *b = t->b;
  V sum[MAX_VECS], x[MAX_VECS];
  for (uint32_t j = 0; j < s->vecs; j++)
    sum[j] = vk(b, 0.0);
  loop key = b_loop(b, it->start, it->end, 1, sum, s->vecs);
  V row = score_row(t, it, s, key.i);
  vload_row(b, row, 0, s->vecs, x);
  for (uint32_t j = 0; j < s->vecs; j++)
    x[j] = vsub(b, x[j], max[j]);
  m_exp_nonpositive(b, t->scale, x, s->vecs);
  for (uint32_t j = 0; j < s->vecs; j++) {
    sum[j] = vadd(b, sum[j], x[j]);
    vstore(b, x[j], row, (uint64_t)j * b->isa->lanes * 4);
  }
  b_loop_end(b, &key, sum);
  for (uint32_t j = 0; j < s->vecs; j++)
    inverse[j] = vdiv(b, vk(b, 1.0), sum[j]);
}

/* acc[r][j] += V[d + r][key] P[key][j] over the keys of one sequence. The keys are walked tile by
 * tile, since a channel's tokens are contiguous inside a tile only. */
static void context_keys(const attn *t, const attn_item *it, const strip *s, V channel,
                         uint32_t rows, V *acc) {
  bld *b = t->b;
  V first_tile = b_shr(b, it->start, 6);
  V tiles_end = b_addi(b, b_shr(b, b_sub(b, it->end, k64(b, 1)), 6), 1);
  loop tile = b_loop(b, first_tile, tiles_end, 1, acc, rows * s->vecs);
  V t0 = b_muli(b, tile.i, TILE);
  V v_tile = b_at(b, it->v, b_muli(b, tile.i, (uint64_t)t->v_channels * TILE_BYTES));
  v_tile = b_at(b, v_tile, b_muli(b, channel, TILE_BYTES));
  V first = b_max(b, t0, it->start), end = b_min(b, b_addi(b, t0, TILE), it->end);
  product p = {.rows = rows,
               .vecs = s->vecs,
               .w = b_at(b, v_tile, b_muli(b, b_sub(b, first, t0), 4)),
               .w_row = TILE_BYTES,
               .w_step = 4,
               .x_step = strip_bytes(t, s),
               .soon_step = rows * TILE_BYTES / TILE};
  p.x = score_row(t, it, s, first);
  if (s->vecs == MAX_VECS) p.soon = b_ati(b, v_tile, rows * TILE_BYTES);
  unrolled(b, k64(b, 0), b_sub(b, end, first), acc, rows * s->vecs, product_step, &p);
  b_loop_end(b, &tile, acc);
}

/* Rows of the context at `o`, in the lanes of the sequence. */
static void store_context(const attn *t, const attn_item *it, const strip *s, uint32_t rows,
                          const V *acc, V o) {
  bld *b = t->b;
  uint64_t step = (uint64_t)b->isa->lanes * 4;
  branch whole = b_if(b, s->whole);
  for (uint32_t i = 0; i < rows * s->vecs; i++)
    vstore(b, acc[i], o, (uint64_t)(i / s->vecs) * TILE_BYTES + i % s->vecs * step);
  b_else(b, &whole);
  for (uint32_t j = 0; j < s->vecs; j++) {
    V lane = b_addi(b, b_shr(b, s->at, 2), (uint64_t)j * b->isa->lanes);
    V mask = vlane_mask(b, lane, it->lo, it->hi);
    for (uint32_t r = 0; r < rows; r++)
      vstore_masked(b, acc[r * s->vecs + j], o, (uint64_t)r * TILE_BYTES + j * step, mask);
  }
  b_end(b, &whole);
}

/* Context channels lo, lo + rows, … below hi, stored in the lanes of the sequence. */
static void context(const attn *t, const attn_item *it, const strip *s, const V *inverse,
                    uint32_t lo, uint32_t hi, uint32_t rows) {
  if (lo == hi) return;
  bld *b = t->b;
  loop channel = b_loop(b, k64(b, lo), k64(b, hi), rows, NULL, 0);
  V acc[MAX_ACC];
  for (uint32_t i = 0; i < rows * s->vecs; i++)
    acc[i] = vk(b, 0.0);
  context_keys(t, it, s, channel.i, rows, acc);
  V o = b_at(b, b_at(b, it->o, b_muli(b, channel.i, TILE_BYTES)), s->at);
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t j = 0; j < s->vecs; j++)
      acc[r * s->vecs + j] = vmul(b, acc[r * s->vecs + j], inverse[j]);
  store_context(t, it, s, rows, acc, o);
  b_loop_end(b, &channel, NULL);
}

/* All of one strip. */
static void attend(const attn *t, const attn_item *it, const strip *s) {
  bld *b = t->b;
  V inverse[MAX_VECS], max[MAX_VECS];
  for (uint32_t j = 0; j < s->vecs; j++)
    max[j] = vk(b, -INFINITY);
  loop keys = b_loop(b, s->key0, it->end, s->rows, max, s->vecs);
  score_tile(t, it, s, keys.i, max);
  b_loop_end(b, &keys, max);
  softmax(t, it, s, max, inverse);
  uint32_t whole = t->d / s->rows * s->rows;
  context(t, it, s, inverse, 0, whole, s->rows);
  context(t, it, s, inverse, whole, t->d, 1);
}

/* True when a register tile, its vectors and a broadcast fit into the registers. */
static bool fits(const isa *level, uint32_t rows, uint32_t vecs) {
  return rows * vecs + vecs + 1 <= level->registers;
}

/* A strip of `vecs` vectors from vector `first` of the tile. */
static strip strip_at(const attn *t, const attn_item *it, uint32_t vecs, V first) {
  bld *b = t->b;
  strip s = {.vecs = vecs, .rows = MAX_ROWS};
  while (!fits(b->isa, s.rows, vecs))
    s.rows /= 2;
  s.at = b_muli(b, first, (uint64_t)b->isa->lanes * 4);
  s.key0 = b_and(b, it->start, k64(b, ~(uint64_t)(s.rows - 1)));
  V lane0 = b_shr(b, s.at, 2), last = b_addi(b, lane0, (uint64_t)vecs * b->isa->lanes);
  V from = b_ge(b, lane0, it->lo), to = b_ge(b, it->hi, last);
  s.whole = b_and(b, from, to);
  return s;
}

/* The vectors with lanes [lo, hi) of the tile, in strips of falling width. */
static void over_strips(const attn *t, const attn_item *it) {
  bld *b = t->b;
  V lanes = k64(b, b->isa->lanes), at = b_div(b, it->lo, lanes);
  V end = b_div(b, b_addi(b, it->hi, b->isa->lanes - 1), lanes);
  for (uint32_t vecs = MAX_VECS; vecs > 0; vecs--) {
    if (!fits(b->isa, MIN_ROWS, vecs)) continue;
    V left = b_sub(b, end, at);
    V stop = b_add(b, at, b_sub(b, left, b_rem(b, left, k64(b, vecs))));
    loop l = b_loop(b, at, stop, vecs, NULL, 0);
    strip s = strip_at(t, it, vecs, l.i);
    attend(t, it, &s);
    b_loop_end(b, &l, NULL);
    at = stop;
  }
}

/* attention(q, o, k, v, kbias, scratch, start, end, lo, hi): one head, one tile of queries. */
static V attention_tile(const attn *t) {
  char *key = arena_printf(t->c->a, "attention.d%u.k%u.v%u.s%a.%s", t->d, t->k_channels,
                           t->v_channels, t->scale, t->b->isa->name);
  V fn = cg_shared(t->c, key);
  if (fn) return fn;
  bld *b = t->b;
  LLVMTypeRef a[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->ptr,
                     b->ptr, b->i64, b->i64, b->i64, b->i64};
  fn = b_function(b, key, b->none, a, 10);
  b_noinline(b);
  b_noalias(b, 1);
  b_noalias(b, 5);
  attn_item it = {.q = b_arg(b, 0),
                  .o = b_arg(b, 1),
                  .k = b_arg(b, 2),
                  .v = b_arg(b, 3),
                  .kbias = b_arg(b, 4),
                  .scratch = b_arg(b, 5),
                  .start = b_arg(b, 6),
                  .end = b_arg(b, 7),
                  .lo = b_arg(b, 8),
                  .hi = b_arg(b, 9)};
  over_strips(t, &it);
  b_return(b, NULL);
  cg_share(t->c, key, fn);
  return fn;
}

/* ---- the step ---- */

/* The sequence that item `item` of heads * query tiles belongs to: the last b with
 * heads * items[b] <= item, by bisection. Sequences without tokens have no items; items[batch] is
 * over every item. */
static V find_sequence(cg *c, V frame, V item, uint32_t heads) {
  bld *b = &c->b;
  V items = b_loadp(b, frame, F_ITEMS), batch = b_load64(b, frame, F_BATCH), at = k64(b, 0);
  uint64_t step = 1;
  while (step * 2 <= (uint64_t)c->g->max_batch)
    step *= 2;
  for (; step > 0; step /= 2) {
    V next = b_min(b, b_addi(b, at, step), batch);
    V first = b_muli(b, b_load32(b, b_at(b, items, b_muli(b, next, 4)), 0), heads);
    at = b_select(b, b_lt(b, item, first), at, next);
  }
  return at;
}

static V head_at(bld *b, V base, V tile, V head, uint32_t channels, uint32_t at, uint32_t d) {
  V tile_at = b_muli(b, tile, (uint64_t)channels * TILE_BYTES);
  V head_byte = b_affine(b, head, (uint64_t)d * TILE_BYTES, (uint64_t)at * TILE_BYTES);
  return b_at(b, base, b_add(b, tile_at, head_byte));
}

/* Where an item's queries are: lanes [lo, hi) of a tile, for one head of one sequence. */
typedef struct place {
  V seq, head, tile, lo, hi;
  V start, end; /* packed tokens of the sequence */
} place;

static void load_bounds(bld *b, V frame, place *p) {
  V starts = b_loadp(b, frame, F_START), at = b_at(b, starts, b_muli(b, p->seq, 4));
  p->start = b_load32(b, at, 0);
  p->end = b_load32(b, at, 4);
}

/* Every token is a query: the query tiles of a head follow each other, then heads and sequences. */
static place token_place(const attn *t, V frame, V item) {
  cg *c = t->c;
  bld *b = t->b;
  place p = {.seq = find_sequence(c, frame, item, t->heads)};
  load_bounds(b, frame, &p);
  V all = b_loadp(b, frame, F_ITEMS), items = b_at(b, all, b_muli(b, p.seq, 4));
  V first = b_load32(b, items, 0), next = b_load32(b, items, 4);
  V tiles = b_sub(b, next, first), in_seq = b_sub(b, item, b_muli(b, first, t->heads));
  p.head = b_div(b, in_seq, tiles);
  V first_tile = b_shr(b, p.start, 6);
  p.tile = b_add(b, first_tile, b_rem(b, in_seq, tiles));
  V token = b_muli(b, p.tile, TILE);
  p.lo = b_sub(b, b_max(b, p.start, token), token);
  p.hi = b_sub(b, b_min(b, p.end, b_addi(b, token, TILE)), token);
  return p;
}

/* One query per sequence: its heads follow each other. */
static place sequence_place(const attn *t, V frame, V item) {
  bld *b = t->b;
  V heads = k64(b, t->heads);
  place p = {.seq = b_div(b, item, heads)};
  load_bounds(b, frame, &p);
  p.head = b_rem(b, item, heads);
  p.tile = b_shr(b, p.seq, 6);
  p.lo = b_and(b, p.seq, k64(b, TILE - 1));
  p.hi = b_addi(b, p.lo, 1);
  return p;
}

/* The context of a query that has no keys, for its sequence is empty. */
static void zero_context(const attn *t, V o, V lane) {
  bld *b = t->b;
  V at = b_at(b, o, b_muli(b, lane, 4));
  loop l = b_loop(b, k64(b, 0), k64(b, t->d), 1, NULL, 0);
  b_store(b, kf(b, 0.0), b_at(b, at, b_muli(b, l.i, TILE_BYTES)), 4);
  b_loop_end(b, &l, NULL);
}

static void attention_items(const attn *t, const ir_value *v, V tile_fn) {
  cg *c = t->c;
  bld *b = t->b;
  V frame = b_arg(b, 0), zero = k64(b, 0);
  V q = cg_slot(c, frame, ir_in(c->g, v, 0)), k = cg_slot(c, frame, ir_in(c->g, v, 1));
  V vv = cg_slot(c, frame, ir_in(c->g, v, 2)), o = cg_slot(c, frame, v);
  V scratch_at = b_mul(b, b_arg(b, 3), b_load64(b, frame, F_SCRATCH_STEP));
  V scratch = b_at(b, b_loadp(b, frame, F_SCRATCH), scratch_at);
  V kbias = b_loadp(b, frame, F_KBIAS);
  loop l = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
  place p = cg_per_batch(v) ? sequence_place(t, frame, l.i) : token_place(t, frame, l.i);
  V kv_head = b_div(b, p.head, k64(b, t->heads / t->kv_heads));
  V q_head = head_at(b, q, p.tile, p.head, t->q_channels, t->q_at, t->d);
  V o_head = head_at(b, o, p.tile, p.head, t->heads * t->d, 0, t->d);
  V k_head = head_at(b, k, zero, kv_head, t->k_channels, t->k_at, t->d);
  V v_head = head_at(b, vv, zero, kv_head, t->v_channels, t->v_at, t->d);
  V args[] = {q_head, o_head, k_head, v_head, kbias, scratch, p.start, p.end, p.lo, p.hi};
  branch some = b_if(b, b_lt(b, p.start, p.end));
  b_call(b, tile_fn, args, 10);
  b_else(b, &some);
  zero_context(t, o_head, p.lo);
  b_end(b, &some);
  b_loop_end(b, &l, NULL);
  b_return(b, NULL);
}

static attn attn_of(cg *c, const ir_value *v) {
  attn t = {.c = c, .b = &c->b};
  t.q_channels = cg_channels(ir_in(c->g, v, 0));
  t.k_channels = cg_channels(ir_in(c->g, v, 1));
  t.v_channels = cg_channels(ir_in(c->g, v, 2));
  t.heads = (uint32_t)v->attr[A_heads].i;
  t.kv_heads = v->attr[A_kv_heads].i ? (uint32_t)v->attr[A_kv_heads].i : t.heads;
  t.d = cg_channels(v) / t.heads;
  t.scale = v->attr[A_scale].f;
  t.q_at = (uint32_t)v->attr[A_q_at].i;
  t.k_at = (uint32_t)v->attr[A_k_at].i;
  t.v_at = (uint32_t)v->attr[A_v_at].i;
  return t;
}

/* scores, softmax and context exist for the frontend and the passes; fused, they are attention. */
bool refuse_unfused(cg *c, const ir_value *v) {
  return diag_error(c->d, v->loc, E_OP,
                    "'%s': op '%s' can be compiled only as part of scores, softmax and context "
                    "in a row, which the pass fuse turns into attention",
                    v->name, ir_ops[v->op].name);
}

bool attention_supported(cg *c, const ir_value *v) {
  if (v->attr[A_causal].i)
    return diag_error(c->d, v->loc, E_OP, "attention '%s': causal attention cannot be compiled yet",
                      v->name);
  if (!(v->attr[A_scale].f > 0.0))
    return diag_error(c->d, v->loc, E_OP,
                      "attention '%s': only a scale above 0 can be compiled, got %g", v->name,
                      v->attr[A_scale].f);
  return true;
}

bool emit_attention(cg *c, const ir_value *v) {
  if (!attention_supported(c, v)) return false;
  attn t = attn_of(c, v);
  phase *p = cg_phase(c, v->name, ITEMS_ATTENTION, cg_per_batch(v), t.heads);
  c->scratch_per_position = TILE_BYTES;
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_isa(&c->b, &isa_table[c->o->levels[i]]);
    V tile_fn = attention_tile(&t);
    cg_phase_begin(c, p);
    attention_items(&t, v, tile_fn);
  }
  return true;
}
