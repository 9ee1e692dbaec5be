/* Code that turns a checked call into the frame: which tokens are computed, where they come from,
 * and whether their ids lie in their tables. */
#include <math.h>

#include "codegen/cg.h"

typedef struct prologue {
  cg *c;
  bld *b;
  V call, frame, in;
  V start, base, items, src, pos, kbias;
} prologue;

static V element32(bld *b, V array, V i) {
  return b_at(b, array, b_muli(b, i, 4));
}
static void store32(bld *b, V value, V array, V i) {
  V narrow = LLVMBuildTrunc(b->b, value, b->i32, "");
  b_store(b, narrow, element32(b, array, i), 4);
}

static const uint64_t array_fields[] = {F_SRC, F_POS, F_KBIAS, F_START, F_BASE, F_ITEMS};
enum {
  ARRAYS = 6,
  TOKEN_ARRAYS = 3 /* with an element per token; the others have one per sequence */
};

static V get(const prologue *p, uint64_t field) {
  return b_load64(p->b, p->frame, field);
}
static void set(const prologue *p, uint64_t field, V value) {
  b_store(p->b, value, b_ati(p->b, p->frame, field), 8);
}

/* Places of the frame's arrays at the workspace's start, then the slots, for the largest group. */
static void lay_out(const prologue *p) {
  bld *b = p->b;
  V batch = get(p, F_CALL_BATCH), sequence = get(p, F_SEQUENCE);
  group_limits group = limits_of_groups(p->c, batch, sequence, get(p, F_THREADS));
  V n_tiles = cg_tiles(p->c, group.tokens), b_tiles = cg_tiles(p->c, group.batch);
  V token_bytes = b_muli(b, n_tiles, TILE_BYTES);
  V batch_bytes = b_affine(b, b_tiles, TILE_BYTES, 64);
  V at = b_loadp(b, p->call, CALL(workspace));
  for (uint32_t i = 0; i < ARRAYS; i++) {
    set(p, array_fields[i], at);
    at = b_at(b, at, i < TOKEN_ARRAYS ? token_bytes : batch_bytes);
  }
  set(p, F_GROUP, group.limit);
  set(p, F_WORK, at);
  ir_bytes slots = cg_slots_before(p->c, p->c->g->slot_count);
  at = b_at(b, at, b_affine(b, n_tiles, slots.per_n_tile, slots.constant));
  at = b_at(b, at, b_muli(b, b_tiles, slots.per_b_tile));
  set(p, F_SCRATCH, at);
  V positions = cg_padded_positions(p->c, sequence);
  set(p, F_SCRATCH_STEP, scratch_bytes(p->c, positions));
  set(p, F_SCRATCH_ROW, b_muli(b, positions, 4));
}

/* Length of the sequence whose rows are [base, base + rows): up to its last unmasked token. A mask
 * that is left out keeps all or none. */
static V masked_length(prologue *p, const ir_value *input, V mask, V base, V rows) {
  bld *b = p->b;
  V length = b_local(b, b->i64, NULL);
  b_set(b, length, input->absent ? rows : k64(b, 0));
  branch given = b_if(b, b_not(b, b_is_null(b, mask)));
  V last = k64(b, 0);
  loop l = b_loop(b, k64(b, 0), rows, 1, &last, 1);
  V kept = b_ne(b, b_load32(b, element32(b, mask, b_add(b, base, l.i)), 0), k64(b, 0));
  last = b_select(b, kept, b_addi(b, l.i, 1), last);
  b_loop_end(b, &l, &last);
  b_set(b, length, last);
  b_end(b, &given);
  return b_get(b, b->i64, length);
}

/* Bias of one key: 0, or -infinity in a hole of the mask. */
static V key_bias(prologue *p, V mask, V row) {
  bld *b = p->b;
  V none = b_is_null(b, mask);
  V safe = b_select(b, none, p->src, mask), at = b_select(b, none, k64(b, 0), row);
  V kept = b_ne(b, b_load32(b, element32(b, safe, at), 0), k64(b, 0));
  return b_select(b, b_or(b, none, kept), kf(b, 0.0), kf(b, -(double)INFINITY));
}

static void list_tokens(prologue *p, V mask, V base, V length, V first) {
  bld *b = p->b;
  loop t = b_loop(b, k64(b, 0), length, 1, NULL, 0);
  V row = b_add(b, base, t.i), n = b_add(b, first, t.i);
  store32(b, row, p->src, n);
  store32(b, t.i, p->pos, n);
  V bias = mask ? key_bias(p, mask, row) : kf(b, 0.0);
  b_store(b, bias, element32(b, p->kbias, n), 4);
  b_loop_end(b, &t, NULL);
}

/* What the sequences of the group so far have. */
enum count { ROWS, TOKENS, QUERY_TILES, COUNTS }; /* ROWS: up to their end, in the whole call */

static void store_counts(const prologue *p, const V *count, V i) {
  store32(p->b, count[ROWS], p->base, i);
  store32(p->b, count[TOKENS], p->start, i);
  store32(p->b, count[QUERY_TILES], p->items, i);
}

/* The group ends before the call's sequence `next`. */
static void end_group(const prologue *p, const V *count, V next) {
  V batch = b_sub(p->b, next, get(p, F_FIRST));
  store_counts(p, count, batch);
  set(p, F_NEXT, next);
  set(p, F_NEXT_ROW, count[ROWS]);
  set(p, F_N, count[TOKENS]);
  set(p, F_NT, cg_tiles(p->c, count[TOKENS]));
  set(p, F_NQ, cg_quarters(p->c, count[TOKENS]));
  set(p, F_BATCH, batch);
  set(p, F_BT, cg_tiles(p->c, batch));
  set(p, F_BQ, cg_quarters(p->c, batch));
  b_return(p->b, NULL);
}

/* True when a group of `batch` sequences, which is not empty, has no room for `length` more tokens
 * or for another sequence. One that has no token yet takes a sequence of any length. */
static V is_full(const prologue *p, const V *count, V length, V batch) {
  bld *b = p->b;
  V limit = get(p, F_GROUP), tokens = b_add(b, count[TOKENS], length);
  V over = b_lt(b, limit, tokens), some = b_ne(b, count[TOKENS], k64(b, 0));
  over = b_and(b, over, some);
  return b_or(b, over, b_eq(b, batch, limit));
}

/* The call's sequence `s`: its rows in the caller's memory. */
static V sequence_rows(const prologue *p, V s) {
  bld *b = p->b;
  V lengths = b_loadp(b, p->frame, F_LENGTHS), ragged = b_not(b, b_is_null(b, lengths));
  V from = b_select(b, ragged, lengths, p->start), index = b_select(b, ragged, s, k64(b, 0));
  V given = b_load32(b, element32(b, from, index), 0);
  return b_select(b, ragged, given, get(p, F_SEQUENCE));
}

/* The sequences of the next group: rows in the caller's memory, computed tokens, query tiles. */
static void list_sequences(prologue *p) {
  bld *b = p->b;
  const ir_graph *g = p->c->g;
  ir_id mask_id = ir_mask(g);
  bool masked = mask_id != IR_NONE;
  V mask = masked ? b_loadp(b, p->in, (uint64_t)ir_input_index(g, mask_id) * 8) : NULL;
  V first = get(p, F_NEXT), batch = get(p, F_CALL_BATCH);
  V count[COUNTS] = {get(p, F_NEXT_ROW), k64(b, 0), k64(b, 0)};
  set(p, F_FIRST, first);
  loop s = b_loop(b, first, batch, 1, count, COUNTS);
  V i = b_sub(b, s.i, first), rows = sequence_rows(p, s.i);
  V length = masked ? masked_length(p, ir_at(g, mask_id), mask, count[ROWS], rows) : rows;
  branch full = b_if(b, is_full(p, count, length, i));
  end_group(p, count, s.i);
  LLVMPositionBuilderAtEnd(b->b, full.no);
  store_counts(p, count, i);
  list_tokens(p, mask, count[ROWS], length, count[TOKENS]);
  V end = b_add(b, count[TOKENS], length), last = b_sub(b, end, k64(b, 1));
  V first_tile = b_shr(b, count[TOKENS], 6);
  V tiles = b_addi(b, b_sub(b, b_shr(b, last, 6), first_tile), 1);
  V queries = b_select(b, b_eq(b, length, k64(b, 0)), k64(b, 0), tiles);
  count[QUERY_TILES] = b_add(b, count[QUERY_TILES], queries);
  count[ROWS] = b_add(b, count[ROWS], rows);
  count[TOKENS] = end;
  b_loop_end(b, &s, count);
  end_group(p, count, batch);
}

V emit_next_group(cg *c) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s.group", c->g->name), b->none, &b->ptr, 1);
  b_noinline(b);
  prologue p = {.c = c, .b = b, .frame = b_arg(b, 0)};
  p.in = b_loadp(b, p.frame, F_IN);
  V *arrays[ARRAYS] = {&p.src, &p.pos, &p.kbias, &p.start, &p.base, &p.items};
  for (uint32_t i = 0; i < ARRAYS; i++)
    *arrays[i] = b_loadp(b, p.frame, array_fields[i]);
  list_sequences(&p);
  return fn;
}

/* Every computed token's id in input `index` must be below `rows`. */
static void check_ids(prologue *p, uint32_t index, uint64_t rows) {
  bld *b = p->b;
  V data = b_loadp(b, p->in, (uint64_t)index * 8);
  branch given = b_if(b, b_not(b, b_is_null(b, data)));
  loop l = b_loop(b, k64(b, 0), get(p, F_N), 1, NULL, 0);
  V row = b_load32(b, element32(b, b_loadp(b, p->frame, F_SRC), l.i), 0);
  V id = b_load32(b, element32(b, data, row), 0); /* negative ids are large */
  b_return_if(b, b_lt(b, k64(b, rows - 1), id), k64(b, SPCC_E_INDEX));
  b_loop_end(b, &l, NULL);
  b_end(b, &given);
}

/* Checks the ids operand of a gather or embed against its table. */
static void check_table(prologue *p, const ir_value *ids, const ir_value *table) {
  if (!ids || !table || !ir_is_op(ids, OP_pack)) return;
  check_ids(p, ir_input_index(p->c->g, ids->in[0]), (uint64_t)table->type.dim[0]);
}

static void check_tables(prologue *p) {
  const ir_graph *g = p->c->g;
  for (uint32_t i = 0; i < g->count; i++) {
    const ir_value *v = &g->values[i];
    if (ir_is_op(v, OP_gather)) check_table(p, ir_in(g, v, 1), ir_in(g, v, 0));
    if (!ir_is_op(v, OP_embed)) continue;
    check_table(p, ir_in(g, v, 0), ir_in(g, v, 2));
    check_table(p, ir_in(g, v, 1), ir_in(g, v, 4));
  }
}

/* The group from the call's first sequence on is the next one. */
static void rewind_groups(const prologue *p) {
  set(p, F_NEXT, k64(p->b, 0));
  set(p, F_NEXT_ROW, k64(p->b, 0));
}

/* Goes through all groups, so that a wrong id is found before anything is computed. */
V emit_prologue(cg *c, V next_group) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s.prologue", c->g->name), b->i64,
                    (LLVMTypeRef[]){b->ptr, b->ptr}, 2);
  prologue p = {.c = c, .b = b, .call = b_arg(b, 0), .frame = b_arg(b, 1)};
  p.in = b_loadp(b, p.call, CALL(in));
  set(&p, F_IN, p.in);
  set(&p, F_OUT, b_loadp(b, p.call, CALL(out)));
  set(&p, F_EXEC, b_loadp(b, p.call, CALL(exec)));
  set(&p, F_LENGTHS, b_loadp(b, p.call, CALL(lengths)));
  V batch = b_load32(b, p.call, CALL(batch));
  set(&p, F_CALL_BATCH, batch);
  set(&p, F_SEQUENCE, b_load32(b, p.call, CALL(sequence)));
  lay_out(&p);
  rewind_groups(&p);
  loop group = b_loop(b, k64(b, 0), batch, 1, NULL, 0);
  b_call(b, next_group, &p.frame, 1);
  check_tables(&p);
  branch all = b_if(b, b_eq(b, get(&p, F_NEXT), batch));
  rewind_groups(&p);
  b_return(b, k64(b, SPCC_OK));
  LLVMPositionBuilderAtEnd(b->b, all.no);
  b_loop_end(b, &group, NULL);
  b_return(b, k64(b, SPCC_OK)); /* not reached: the last group ends with the call */
  return fn;
}
