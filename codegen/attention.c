/* Attention, fused per head and tile of 64 queries: scores, softmax and context without a
 * transpose. Queries lie in the vector lanes, keys and channels are loops:
 *   S[key][query]  = sum over d of K[d][key] Q[d][query]     (K as broadcast scalars)
 *   O[d][query]    = sum over keys of V[d][key] P[key][query] (V as broadcast scalars)
 * S stays in the task's scratch. Sequences are packed back to back, so a tile can hold queries of
 * two sequences: each writes its own lanes with masked stores. */
#include "codegen/cg.h"

enum { KEYS = 4 /* keys of a register tile; 64 is a multiple */, CHANNELS = 4 };

typedef struct attn {
  cg *c;
  bld *b;
  uint32_t heads, kv_heads, d; /* d: head size */
  uint32_t q_channels, k_channels, v_channels, q_at, k_at, v_at;
  uint32_t vecs; /* vectors of queries in a register tile */
  double scale;  /* on the scores; applied inside the exponent */
} attn;

/* What one item works on. */
typedef struct attn_item {
  V q, o;       /* query tile: first byte of the head's first channel */
  V k, v;       /* tile 0: first byte of the head's first channel */
  V kbias;      /* f32 per packed token */
  V scratch;    /* S: 256 bytes per key */
  V start, end; /* packed tokens of the sequence */
  V key0;       /* start rounded down to KEYS: the key of S's first row */
  V token;      /* packed token of the query tile's lane 0 */
} attn_item;

/* Byte of packed token `t` in channel 0 of a tensor of `channels` channels. */
static V token_at(bld *b, V t, uint32_t channels) {
  V tile = b_muli(b, b_shr(b, t, 6), (uint64_t)channels * TILE_BYTES);
  return b_add(b, tile, b_muli(b, b_and(b, t, k64(b, TILE - 1)), 4));
}

static V score_row(bld *b, const attn_item *it, V key) {
  return b_at(b, it->scratch, b_muli(b, b_sub(b, key, it->key0), TILE_BYTES));
}

/* Scores of KEYS keys from `key` against the query vectors at byte `sub` of the tile. Keys of other
 * sequences at the borders are computed too and never read. */
static void score_tile(const attn *t, const attn_item *it, V key, V sub) {
  bld *b = t->b;
  V acc[64];
  V kb = b_at(b, it->kbias, b_muli(b, key, 4));
  for (uint32_t r = 0; r < KEYS; r++)
    for (uint32_t j = 0; j < t->vecs; j++)
      acc[r * t->vecs + j] = vsplat_at(b, kb, (uint64_t)r * 4);
  V k = b_at(b, it->k, token_at(b, key, t->k_channels)), q = b_at(b, it->q, sub);
  loop d = b_loop(b, k64(b, 0), k64(b, t->d), 1, acc, KEYS * t->vecs);
  V at = b_muli(b, d.i, TILE_BYTES), kd = b_at(b, k, at), qd = b_at(b, q, at), x[16];
  for (uint32_t j = 0; j < t->vecs; j++)
    x[j] = vload(b, qd, (uint64_t)j * b->isa->lanes * 4);
  for (uint32_t r = 0; r < KEYS; r++) {
    V w = vsplat_at(b, kd, (uint64_t)r * 4);
    for (uint32_t j = 0; j < t->vecs; j++)
      acc[r * t->vecs + j] = vfma(b, w, x[j], acc[r * t->vecs + j]);
  }
  b_loop_end(b, &d, acc);
  V row = b_at(b, score_row(b, it, key), sub);
  for (uint32_t r = 0; r < KEYS; r++)
    for (uint32_t j = 0; j < t->vecs; j++)
      vstore(b, acc[r * t->vecs + j], row,
             (uint64_t)r * TILE_BYTES + (uint64_t)j * b->isa->lanes * 4);
}

/* for each key of the sequence: carry[] = body(S row of the key at `sub`) */
typedef void key_body(const attn *t, V row, V *carry);

static void over_keys(const attn *t, const attn_item *it, V sub, V *carry, uint32_t n,
                      key_body *body) {
  loop key = b_loop(t->b, it->start, it->end, 1, carry, n);
  body(t, b_at(t->b, score_row(t->b, it, key.i), sub), carry);
  b_loop_end(t->b, &key, carry);
}

static void max_body(const attn *t, V row, V *carry) {
  for (uint32_t j = 0; j < t->vecs; j++)
    carry[j] = vmax(t->b, vload(t->b, row, (uint64_t)j * t->b->isa->lanes * 4), carry[j]);
}

/* carry: sums, then the maxima. P = exp(scale (S - max)), unnormalised. */
static void exp_body(const attn *t, V row, V *carry) {
  bld *b = t->b;
  for (uint32_t j = 0; j < t->vecs; j++) {
    uint64_t off = (uint64_t)j * b->isa->lanes * 4;
    V d = vsub(b, vload(b, row, off), carry[t->vecs + j]);
    V e = m_exp2_nonpositive(b, vmul(b, d, vk(b, t->scale * 1.44269504088896340736)));
    carry[j] = vadd(b, carry[j], e);
    vstore(b, e, row, off);
  }
}

/* Softmax down the columns of S; returns 1 / sum for each vector. */
static void softmax(const attn *t, const attn_item *it, V sub, V *inverse) {
  bld *b = t->b;
  V carry[32];
  V first = b_at(b, score_row(b, it, it->start), sub);
  for (uint32_t j = 0; j < t->vecs; j++)
    carry[j] = vload(b, first, (uint64_t)j * b->isa->lanes * 4);
  over_keys(t, it, sub, carry, t->vecs, max_body);
  for (uint32_t j = 0; j < t->vecs; j++) {
    carry[t->vecs + j] = carry[j];
    carry[j] = vk(b, 0.0);
  }
  over_keys(t, it, sub, carry, 2 * t->vecs, exp_body);
  for (uint32_t j = 0; j < t->vecs; j++)
    inverse[j] = vdiv(b, vk(b, 1.0), carry[j]);
}

/* acc[r][j] += V[d + r][key] P[key][j] over the keys of one sequence. The keys are walked tile by
 * tile, since a channel's tokens are contiguous inside a tile only. */
static void context_keys(const attn *t, const attn_item *it, V channel, V sub, uint32_t rows,
                         V *acc) {
  bld *b = t->b;
  V first_tile = b_shr(b, it->start, 6);
  V tiles_end = b_addi(b, b_shr(b, b_sub(b, it->end, k64(b, 1)), 6), 1);
  loop tile = b_loop(b, first_tile, tiles_end, 1, acc, rows * t->vecs);
  V t0 = b_muli(b, tile.i, TILE);
  V v_tile = b_at(b, it->v, b_muli(b, tile.i, (uint64_t)t->v_channels * TILE_BYTES));
  v_tile = b_at(b, v_tile, b_muli(b, channel, TILE_BYTES));
  V first = b_max(b, t0, it->start), end = b_min(b, b_addi(b, t0, TILE), it->end);
  loop key = b_loop(b, first, end, 1, acc, rows * t->vecs);
  V p = b_at(b, score_row(b, it, key.i), sub), x[16];
  V v = b_at(b, v_tile, b_muli(b, b_sub(b, key.i, t0), 4));
  for (uint32_t j = 0; j < t->vecs; j++)
    x[j] = vload(b, p, (uint64_t)j * b->isa->lanes * 4);
  for (uint32_t r = 0; r < rows; r++) {
    V w = vsplat_at(b, v, (uint64_t)r * TILE_BYTES);
    for (uint32_t j = 0; j < t->vecs; j++)
      acc[r * t->vecs + j] = vfma(b, w, x[j], acc[r * t->vecs + j]);
  }
  b_loop_end(b, &key, acc);
  b_loop_end(b, &tile, acc);
}

/* Context channels lo, lo + rows, … below hi, stored in the lanes of the sequence. */
static void context(const attn *t, const attn_item *it, V sub, const V *inverse, uint32_t lo,
                    uint32_t hi, uint32_t rows) {
  if (lo == hi) return;
  bld *b = t->b;
  loop channel = b_loop(b, k64(b, lo), k64(b, hi), rows, NULL, 0);
  V acc[64];
  for (uint32_t i = 0; i < rows * t->vecs; i++)
    acc[i] = vk(b, 0.0);
  context_keys(t, it, channel.i, sub, rows, acc);
  V o = b_at(b, b_at(b, it->o, b_muli(b, channel.i, TILE_BYTES)), sub);
  V lane0 = b_add(b, it->token, b_shr(b, sub, 2));
  for (uint32_t j = 0; j < t->vecs; j++) {
    V mask = vlane_mask(b, b_addi(b, lane0, (uint64_t)j * b->isa->lanes), it->start, it->end);
    for (uint32_t r = 0; r < rows; r++)
      vstore_masked(b, vmul(b, acc[r * t->vecs + j], inverse[j]), o,
                    (uint64_t)r * TILE_BYTES + (uint64_t)j * b->isa->lanes * 4, mask);
  }
  b_loop_end(b, &channel, NULL);
}

/* attention(q, o, k, v, kbias, scratch, start, end, token): one head, one tile of queries. */
static V attention_tile(const attn *t) {
  char *key = arena_printf(t->c->a, "attention.d%u.k%u.v%u.s%a.%s", t->d, t->k_channels,
                           t->v_channels, t->scale, t->b->isa->name);
  V fn = cg_shared(t->c, key);
  if (fn) return fn;
  bld *b = t->b;
  LLVMTypeRef a[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64};
  fn = b_function(b, key, b->none, a, 9);
  b_noinline(b);
  b_noalias(b, 1);
  b_noalias(b, 5);
  V start = b_arg(b, 6);
  attn_item it = {.q = b_arg(b, 0),
                  .o = b_arg(b, 1),
                  .k = b_arg(b, 2),
                  .v = b_arg(b, 3),
                  .kbias = b_arg(b, 4),
                  .scratch = b_arg(b, 5),
                  .start = start,
                  .end = b_arg(b, 7),
                  .token = b_arg(b, 8),
                  .key0 = b_and(b, start, k64(b, ~(uint64_t)(KEYS - 1)))};
  V inverse[16];
  loop sub =
      b_loop(b, k64(b, 0), k64(b, TILE_BYTES), (uint64_t)t->vecs * b->isa->lanes * 4, NULL, 0);
  loop keys = b_loop(b, it.key0, it.end, KEYS, NULL, 0);
  score_tile(t, &it, keys.i, sub.i);
  b_loop_end(b, &keys, NULL);
  softmax(t, &it, sub.i, inverse);
  uint32_t whole = t->d / CHANNELS * CHANNELS;
  context(t, &it, sub.i, inverse, 0, whole, CHANNELS);
  context(t, &it, sub.i, inverse, whole, t->d, 1);
  b_loop_end(b, &sub, NULL);
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

static void attention_items(const attn *t, const ir_value *v, V tile_fn) {
  cg *c = t->c;
  bld *b = t->b;
  V frame = b_arg(b, 0), zero = k64(b, 0);
  V q = cg_slot(c, frame, ir_in(c->g, v, 0)), k = cg_slot(c, frame, ir_in(c->g, v, 1));
  V vv = cg_slot(c, frame, ir_in(c->g, v, 2)), o = cg_slot(c, frame, v);
  V scratch_at = b_mul(b, b_arg(b, 3), b_load64(b, frame, F_SCRATCH_STEP));
  V scratch = b_at(b, b_loadp(b, frame, F_SCRATCH), scratch_at);
  V starts = b_loadp(b, frame, F_START), items = b_loadp(b, frame, F_ITEMS);
  loop l = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
  V seq = find_sequence(c, frame, l.i, t->heads);
  V s4 = b_muli(b, seq, 4);
  V start = b_load32(b, b_at(b, starts, s4), 0), end = b_load32(b, b_at(b, starts, s4), 4);
  V first = b_load32(b, b_at(b, items, s4), 0), next = b_load32(b, b_at(b, items, s4), 4);
  V tiles = b_sub(b, next, first), in_seq = b_sub(b, l.i, b_muli(b, first, t->heads));
  V head = b_div(b, in_seq, tiles);
  V first_tile = b_shr(b, start, 6), tile = b_add(b, first_tile, b_rem(b, in_seq, tiles));
  V kv_head = b_div(b, head, k64(b, t->heads / t->kv_heads));
  V args[] = {head_at(b, q, tile, head, t->q_channels, t->q_at, t->d),
              head_at(b, o, tile, head, t->heads * t->d, 0, t->d),
              head_at(b, k, zero, kv_head, t->k_channels, t->k_at, t->d),
              head_at(b, vv, zero, kv_head, t->v_channels, t->v_at, t->d),
              b_loadp(b, frame, F_KBIAS),
              scratch,
              start,
              end,
              b_muli(b, tile, TILE)};
  b_call(b, tile_fn, args, 9);
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
  phase *p = cg_phase(c, v->name, ITEMS_ATTENTION, false, t.heads);
  c->scratch_per_position = TILE_BYTES;
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_isa(&c->b, &isa_table[c->o->levels[i]]);
    t.vecs = c->b.isa->block_vecs;
    V tile_fn = attention_tile(&t);
    cg_phase_begin(c, p);
    attention_items(&t, v, tile_fn);
  }
  return true;
}
