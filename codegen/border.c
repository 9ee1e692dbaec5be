/* The borders: row-major memory of the caller to tiles and back, embeddings, first tokens. Blocks
 * of lanes x lanes elements are transposed in registers; channels that are left over go one by one.
 */
#include "codegen/cg.h"

/* Transposes an n x n matrix held as n vectors, n = lanes a power of two: log2 n rounds that swap
 * blocks of `half` columns between rows `half` apart. */
static void transpose(bld *b, V *row) {
  uint32_t n = b->isa->lanes;
  V low[16], high[16];
  for (uint32_t half = n / 2; half >= 1; half /= 2) {
    for (uint32_t i = 0; i < n; i++) {
      bool second = i & half;
      low[i] = k32(b, second ? n + (i ^ half) : i);
      high[i] = k32(b, second ? n + i : i ^ half);
    }
    V low_mask = LLVMConstVector(low, n), high_mask = LLVMConstVector(high, n);
    for (uint32_t r = 0; r < n; r++) {
      if (r & half) continue;
      V a = row[r], c = row[r + half];
      row[r] = LLVMBuildShuffleVector(b->b, a, c, low_mask, "");
      row[r + half] = LLVMBuildShuffleVector(b->b, a, c, high_mask, "");
    }
  }
}

/* Where row indices come from: the packed token's row in the caller's memory, its position, or,
 * for tensors of one row per sequence, the sequence. */
static V row_count(cg *c, V frame, bool per_batch) {
  return b_load64(&c->b, frame, per_batch ? F_BATCH : F_N);
}
V caller_row(cg *c, V frame, bool per_batch, V token) {
  bld *b = &c->b;
  if (per_batch) return b_add(b, b_load64(b, frame, F_FIRST), token);
  V at = b_muli(b, token, 4);
  return b_load32(b, b_at(b, b_loadp(b, frame, F_SRC), at), 0);
}

/* ---- rows to tiles: a row of the result is the sum of some rows in memory ---- */

/* Row picked by `ids` for packed token `token`. */
static V picked_row(cg *c, V frame, const ir_value *ids, V token) {
  bld *b = &c->b;
  V at = b_muli(b, token, 4);
  if (ids->op == OP_positions) return b_load32(b, b_at(b, b_loadp(b, frame, F_POS), at), 0);
  const ir_value *input = ir_in(c->g, ids, 0);
  uint64_t pointer = (uint64_t)ir_input_index(c->g, ids->in[0]) * 8;
  V src = b_loadp(b, frame, F_SRC);
  V data = b_loadp(b, b_loadp(b, frame, F_IN), pointer);
  V row = b_load32(b, b_at(b, src, at), 0);
  if (!input->optional) return b_load32(b, b_at(b, data, b_muli(b, row, 4)), 0);
  V absent = b_is_null(b, data);
  V safe = b_select(b, absent, src, data); /* src has at least as many elements as tokens */
  V value = b_load32(b, b_at(b, safe, b_select(b, absent, at, b_muli(b, row, 4))), 0);
  return b_select(b, absent, k64(b, (uint32_t)input->absent), value);
}

V summand_row(cg *c, V frame, const rows_sum *r, uint32_t i, V token) {
  bld *b = &c->b;
  V row = k64(b, 0);
  if (r->from_caller)
    row = caller_row(c, frame, r->per_batch, token);
  else if (r->s[i].ids)
    row = picked_row(c, frame, r->s[i].ids, token);
  return b_at(b, r->s[i].base, b_muli(b, row, (uint64_t)r->channels * 4));
}

/* lanes tokens from `token` on, into the tile column at `to`. Lanes after the last token repeat it,
 * so that they hold ordinary numbers. */
static void rows_to_lanes(cg *c, V frame, const rows_sum *r, V token, V to) {
  bld *b = &c->b;
  uint32_t n = b->isa->lanes, whole = r->channels / n * n;
  V last = b_sub(b, row_count(c, frame, r->per_batch), k64(b, 1)), from[16][MAX_SUMMANDS], v[16];
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t i = 0; i < r->count; i++)
      from[t][i] = summand_row(c, frame, r, i, b_min(b, b_addi(b, token, t), last));
  loop l = b_loop(b, k64(b, 0), k64(b, whole), n, NULL, 0);
  V at = b_muli(b, l.i, 4), out = b_at(b, to, b_muli(b, l.i, TILE_BYTES));
  for (uint32_t t = 0; t < n; t++) {
    v[t] = vload_unaligned(b, b_at(b, from[t][0], at), 0);
    for (uint32_t i = 1; i < r->count; i++)
      v[t] = vadd(b, v[t], vload_unaligned(b, b_at(b, from[t][i], at), 0));
  }
  transpose(b, v);
  for (uint32_t i = 0; i < n; i++)
    vstore(b, v[i], out, (uint64_t)i * TILE_BYTES);
  b_loop_end(b, &l, NULL);
  loop rest = b_loop(b, k64(b, whole), k64(b, r->channels), 1, NULL, 0);
  V rest_at = b_muli(b, rest.i, 4), rest_out = b_at(b, to, b_muli(b, rest.i, TILE_BYTES));
  for (uint32_t t = 0; t < n; t++) {
    V sum = b_load(b, b->f32, b_at(b, from[t][0], rest_at), 4);
    for (uint32_t i = 1; i < r->count; i++)
      sum = vadd(b, sum, b_load(b, b->f32, b_at(b, from[t][i], rest_at), 4));
    b_store(b, sum, b_ati(b, rest_out, (uint64_t)t * 4), 4);
  }
  b_loop_end(b, &rest, NULL);
}

/* Quarters [lo, hi) of the result of `r` at `y`. */
static void rows_to_quarters(cg *c, V frame, const rows_sum *r, V y) {
  bld *b = &c->b;
  loop q = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
  V to = quarter_at(c, y, q.i, r->channels);
  loop g = b_loop(b, k64(b, 0), k64(b, 16), b->isa->lanes, NULL, 0);
  V token = b_add(b, b_muli(b, q.i, 16), g.i);
  rows_to_lanes(c, frame, r, token, b_at(b, to, b_muli(b, g.i, 4)));
  b_loop_end(b, &g, NULL);
  b_loop_end(b, &q, NULL);
}

static void add_summand(cg *c, V frame, rows_sum *r, const ir_value *table, const ir_value *ids) {
  if (!table) return;
  r->s[r->count++] = (summand){.base = cg_weights(c, frame, cg_constant(c, table)), .ids = ids};
}

/* gather(table, ids), or embed's ids, types, word, position, type. */
rows_sum rows_of(cg *c, V frame, const ir_value *v) {
  static const ir_value positions = {.kind = IR_OP, .op = OP_positions};
  rows_sum r = {.channels = cg_channels(v)};
  if (v->op == OP_gather) {
    add_summand(c, frame, &r, ir_in(c->g, v, 0), ir_in(c->g, v, 1));
    return r;
  }
  add_summand(c, frame, &r, ir_in(c->g, v, 2), ir_in(c->g, v, 0));
  add_summand(c, frame, &r, ir_in(c->g, v, 3), &positions);
  add_summand(c, frame, &r, ir_in(c->g, v, 4), ir_in(c->g, v, 1));
  return r;
}

bool emit_rows_sum(cg *c, const ir_value *v) {
  phase *p = cg_phase(c, v->name, ITEMS_QUARTERS, false, 1);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_isa(&c->b, &isa_table[c->o->levels[i]]);
    cg_phase_begin(c, p);
    V frame = b_arg(&c->b, 0);
    rows_sum r = rows_of(c, frame, v);
    rows_to_quarters(c, frame, &r, cg_slot(c, frame, v));
    b_return(&c->b, NULL);
  }
  if (v->op != OP_embed || !ir_in(c->g, v, 5)) return true;
  emit_layernorm(c, arena_printf(c->a, "%s.norm", v->name), v, v, ir_in(c->g, v, 5),
                 ir_in(c->g, v, 6), v->attr[A_eps].f);
  return true;
}

rows_sum rows_from_caller(cg *c, V frame, const ir_value *v) {
  rows_sum r = {
      .count = 1, .channels = cg_channels(v), .per_batch = cg_per_batch(v), .from_caller = true};
  uint32_t input = ir_input_index(c->g, v->in[0]);
  r.s[0].base = b_loadp(&c->b, b_loadp(&c->b, frame, F_IN), (uint64_t)input * 8);
  return r;
}

bool emit_pack(cg *c, const ir_value *v) {
  if (v->type.dtype == IR_I32) return true; /* read through F_SRC where it is used */
  phase *p = cg_phase(c, v->name, ITEMS_QUARTERS, cg_per_batch(v), 1);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    bld *b = &c->b;
    b_set_isa(b, &isa_table[c->o->levels[i]]);
    cg_phase_begin(c, p);
    V frame = b_arg(b, 0);
    rows_sum r = rows_from_caller(c, frame, v);
    rows_to_quarters(c, frame, &r, cg_slot(c, frame, v));
    b_return(b, NULL);
  }
  return true;
}

/* ---- tiles to rows ---- */

typedef struct unpacker {
  const ir_value *v;
  V frame, out;
  uint32_t channels;
  bool per_batch;
} unpacker;

static V out_row(cg *c, const unpacker *u, V token) {
  V row = caller_row(c, u->frame, u->per_batch, token);
  return b_at(&c->b, u->out, b_muli(&c->b, row, (uint64_t)u->channels * 4));
}

/* One channel after the other of one token: channels [lo, hi). */
static void lane_to_row(cg *c, V from, V to, V lo, V hi) {
  bld *b = &c->b;
  loop l = b_loop(b, lo, hi, 1, NULL, 0);
  V value = b_load(b, b->f32, b_at(b, from, b_muli(b, l.i, TILE_BYTES)), 4);
  b_store(b, value, b_at(b, to, b_muli(b, l.i, 4)), 4);
  b_loop_end(b, &l, NULL);
}

/* lanes whole tokens at `from`, the first being `token`. */
static void lanes_to_rows(cg *c, const unpacker *u, V token, V from) {
  bld *b = &c->b;
  uint32_t n = b->isa->lanes, whole = u->channels / n * n;
  V to[16], v[16];
  for (uint32_t t = 0; t < n; t++)
    to[t] = out_row(c, u, b_addi(b, token, t));
  loop l = b_loop(b, k64(b, 0), k64(b, whole), n, NULL, 0);
  V in = b_at(b, from, b_muli(b, l.i, TILE_BYTES));
  for (uint32_t i = 0; i < n; i++)
    v[i] = vload(b, in, (uint64_t)i * TILE_BYTES);
  transpose(b, v);
  for (uint32_t t = 0; t < n; t++)
    b_store(b, v[t], b_at(b, to[t], b_muli(b, l.i, 4)), 4);
  b_loop_end(b, &l, NULL);
  for (uint32_t t = 0; t < n && whole < u->channels; t++)
    lane_to_row(c, b_ati(b, from, (uint64_t)t * 4), to[t], k64(b, whole), k64(b, u->channels));
}

static void tile_to_rows(cg *c, const unpacker *u, V tile, V from) {
  bld *b = &c->b;
  V count = row_count(c, u->frame, u->per_batch);
  loop g = b_loop(b, k64(b, 0), k64(b, TILE), b->isa->lanes, NULL, 0);
  V token = b_add(b, b_muli(b, tile, TILE), g.i), at = b_at(b, from, b_muli(b, g.i, 4));
  branch full = b_if(b, b_ge(b, count, b_addi(b, token, b->isa->lanes)));
  lanes_to_rows(c, u, token, at);
  b_else(b, &full);
  loop t = b_loop(b, token, b_max(b, token, count), 1, NULL, 0);
  V lane = b_at(b, at, b_muli(b, b_sub(b, t.i, token), 4));
  lane_to_row(c, lane, out_row(c, u, t.i), k64(b, 0), k64(b, u->channels));
  b_loop_end(b, &t, NULL);
  b_end(b, &full);
  b_loop_end(b, &g, NULL);
}

void zero_rest(cg *c, V frame, V out, uint32_t channels, V seq) {
  bld *b = &c->b;
  V s4 = b_muli(b, seq, 4);
  V start = b_at(b, b_loadp(b, frame, F_START), s4), base = b_at(b, b_loadp(b, frame, F_BASE), s4);
  V end = b_load32(b, start, 4), length = b_sub(b, end, b_load32(b, start, 0));
  V lo = b_muli(b, b_add(b, b_load32(b, base, 0), length), channels);
  loop l = b_loop(b, lo, b_muli(b, b_load32(b, base, 4), channels), 1, NULL, 0);
  b_store(b, kf(b, 0.0), b_at(b, out, b_muli(b, l.i, 4)), 4);
  b_loop_end(b, &l, NULL);
}

static void unpack_items(cg *c, unpacker *u, uint32_t output) {
  bld *b = &c->b;
  u->frame = b_arg(b, 0);
  u->out = b_loadp(b, b_loadp(b, u->frame, F_OUT), (uint64_t)output * 8);
  V from = cg_slot(c, u->frame, ir_in(c->g, u->v, 0));
  V tiles = b_load64(b, u->frame, u->per_batch ? F_BT : F_NT);
  loop l = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
  branch tile = b_if(b, b_lt(b, l.i, tiles));
  tile_to_rows(c, u, l.i, b_at(b, from, b_muli(b, l.i, (uint64_t)u->channels * TILE_BYTES)));
  b_else(b, &tile);
  if (!u->per_batch) zero_rest(c, u->frame, u->out, u->channels, b_sub(b, l.i, tiles));
  b_end(b, &tile);
  b_loop_end(b, &l, NULL);
  b_return(b, NULL);
}

bool emit_unpack(cg *c, const ir_value *v) {
  const ir_value *x = ir_in(c->g, v, 0);
  unpacker u = {.v = v, .channels = cg_channels(x), .per_batch = cg_per_batch(x)};
  enum items items = u.per_batch ? ITEMS_TILES : ITEMS_UNPACK;
  for (uint32_t output = 0; output < c->g->output_count; output++) {
    if (ir_at(c->g, c->g->outputs[output].value) != v) continue;
    phase *p = cg_phase(c, v->name, items, u.per_batch, 1);
    for (uint32_t i = 0; i < c->o->level_count; i++) {
      b_set_isa(&c->b, &isa_table[c->o->levels[i]]);
      cg_phase_begin(c, p);
      unpack_items(c, &u, output);
    }
  }
  return true;
}

/* ---- first token of each sequence ---- */

/* Lane of sequence `seq` in the result: its first token, or its own lane of a value with a row per
 * sequence; zeros when it has no token. */
static void first_lane(cg *c, V frame, const ir_value *of, V x, V to, V seq) {
  bld *b = &c->b;
  V seq_at = b_muli(b, seq, 4), start_at = b_at(b, b_loadp(b, frame, F_START), seq_at);
  V start = b_load32(b, start_at, 0), end = b_load32(b, start_at, 4);
  V row = cg_per_batch(of) ? seq : start;
  uint32_t channels = cg_channels(of);
  V tile = b_at(b, x, b_muli(b, b_shr(b, row, 6), (uint64_t)channels * TILE_BYTES));
  V from = b_at(b, tile, b_muli(b, b_and(b, row, k64(b, TILE - 1)), 4));
  branch f = b_if(b, b_lt(b, start, end));
  loop l = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  V at = b_muli(b, l.i, TILE_BYTES);
  V value = b_load(b, b->f32, b_at(b, from, at), 4);
  b_store(b, value, b_at(b, to, at), 4);
  b_loop_end(b, &l, NULL);
  b_else(b, &f);
  loop z = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  b_store(b, kf(b, 0.0), b_at(b, to, b_muli(b, z.i, TILE_BYTES)), 4);
  b_loop_end(b, &z, NULL);
  b_end(b, &f);
}

bool emit_first(cg *c, const ir_value *v) {
  uint32_t channels = cg_channels(v);
  phase *p = cg_phase(c, v->name, ITEMS_QUARTERS, true, 1);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    bld *b = &c->b;
    b_set_isa(b, &isa_table[c->o->levels[i]]);
    cg_phase_begin(c, p);
    const ir_value *of = ir_in(c->g, v, 0);
    V frame = b_arg(b, 0), x = cg_slot(c, frame, of), y = cg_slot(c, frame, v);
    V batch = b_load64(b, frame, F_BATCH);
    loop q = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
    V to = quarter_at(c, y, q.i, channels);
    V seq0 = b_muli(b, q.i, QUARTER), left = b_sub(b, batch, seq0);
    loop lane = b_loop(b, k64(b, 0), b_min(b, left, k64(b, QUARTER)), 1, NULL, 0);
    V seq = b_add(b, seq0, lane.i);
    first_lane(c, frame, of, x, b_at(b, to, b_muli(b, lane.i, 4)), seq);
    b_loop_end(b, &lane, NULL);
    b_loop_end(b, &q, NULL);
    b_return(b, NULL);
  }
  return true;
}
