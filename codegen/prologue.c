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

#define CALL(field) offsetof(spcc_call, field)

static V element32(bld *b, V array, V i) {
  return b_at(b, array, b_muli(b, i, 4));
}
static void store32(bld *b, V value, V array, V i) {
  V narrow = LLVMBuildTrunc(b->b, value, b->i32, "");
  b_store(b, narrow, element32(b, array, i), 4);
}

/* Places of the frame's arrays at the workspace's start, then the slots. */
static void lay_out(prologue *p) {
  bld *b = p->b;
  V batch = b_load32(b, p->call, CALL(batch)), sequence = b_load32(b, p->call, CALL(sequence));
  V n_tiles = cg_tiles(p->c, b_mul(b, batch, sequence)), b_tiles = cg_tiles(p->c, batch);
  V token_bytes = b_muli(b, n_tiles, TILE_BYTES);
  V batch_bytes = b_affine(b, b_tiles, TILE_BYTES, 64);
  V at = b_loadp(b, p->call, CALL(workspace));
  V *arrays[] = {&p->src, &p->pos, &p->kbias, &p->start, &p->base, &p->items};
  for (uint32_t i = 0; i < 6; i++) {
    *arrays[i] = at;
    at = b_at(b, at, i < 3 ? token_bytes : batch_bytes);
  }
  uint64_t field[] = {F_SRC, F_POS, F_KBIAS, F_START, F_BASE, F_ITEMS};
  for (uint32_t i = 0; i < 6; i++)
    b_store(b, *arrays[i], b_ati(b, p->frame, field[i]), 8);
  b_store(b, at, b_ati(b, p->frame, F_WORK), 8);
  b_store(b, batch, b_ati(b, p->frame, F_BATCH), 8);
  b_store(b, b_tiles, b_ati(b, p->frame, F_BT), 8);
  ir_bytes slots = cg_slots_before(p->c, p->c->g->slot_count);
  at = b_at(b, at, b_affine(b, n_tiles, slots.per_n_tile, slots.constant));
  at = b_at(b, at, b_muli(b, b_tiles, slots.per_b_tile));
  b_store(b, at, b_ati(b, p->frame, F_SCRATCH), 8);
  V positions = cg_padded_positions(p->c, sequence);
  V step = scratch_bytes(p->c, positions), row = b_muli(b, positions, 4);
  b_store(b, step, b_ati(b, p->frame, F_SCRATCH_STEP), 8);
  b_store(b, row, b_ati(b, p->frame, F_SCRATCH_ROW), 8);
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

/* Walks the sequences: rows in the caller's memory, computed tokens, query tiles. */
static void list_sequences(prologue *p) {
  bld *b = p->b;
  const ir_graph *g = p->c->g;
  ir_id mask_id = ir_mask(g);
  bool masked = mask_id != IR_NONE;
  V mask = masked ? b_loadp(b, p->in, (uint64_t)ir_input_index(g, mask_id) * 8) : NULL;
  V lengths = b_loadp(b, p->call, CALL(lengths)), ragged = b_not(b, b_is_null(b, lengths));
  V batch = b_load32(b, p->call, CALL(batch)), sequence = b_load32(b, p->call, CALL(sequence));
  V carry[] = {k64(b, 0), k64(b, 0), k64(b, 0)}; /* caller's rows, tokens, query tiles so far */
  loop s = b_loop(b, k64(b, 0), batch, 1, carry, 3);
  store32(b, carry[0], p->base, s.i);
  store32(b, carry[1], p->start, s.i);
  store32(b, carry[2], p->items, s.i);
  V from = b_select(b, ragged, lengths, p->start), index = b_select(b, ragged, s.i, k64(b, 0));
  V given = b_load32(b, element32(b, from, index), 0);
  V rows = b_select(b, ragged, given, sequence);
  V length = masked ? masked_length(p, ir_at(g, mask_id), mask, carry[0], rows) : rows;
  list_tokens(p, mask, carry[0], length, carry[1]);
  V end = b_add(b, carry[1], length), last = b_sub(b, end, k64(b, 1));
  V first_tile = b_shr(b, carry[1], 6);
  V tiles = b_addi(b, b_sub(b, b_shr(b, last, 6), first_tile), 1);
  carry[0] = b_add(b, carry[0], rows);
  carry[2] = b_add(b, carry[2], b_select(b, b_eq(b, length, k64(b, 0)), k64(b, 0), tiles));
  carry[1] = end;
  b_loop_end(b, &s, carry);
  store32(b, carry[0], p->base, batch);
  store32(b, carry[1], p->start, batch);
  store32(b, carry[2], p->items, batch);
  b_store(b, carry[1], b_ati(b, p->frame, F_N), 8);
  V tiles_used = cg_tiles(p->c, carry[1]);
  b_store(b, tiles_used, b_ati(b, p->frame, F_NT), 8);
  V quarters = cg_quarters(p->c, carry[1]), b_quarters = cg_quarters(p->c, batch);
  b_store(b, quarters, b_ati(b, p->frame, F_NQ), 8);
  b_store(b, b_quarters, b_ati(b, p->frame, F_BQ), 8);
}

/* Every computed token's id in input `index` must be below `rows`. */
static void check_ids(prologue *p, uint32_t index, uint64_t rows) {
  bld *b = p->b;
  V data = b_loadp(b, p->in, (uint64_t)index * 8);
  branch given = b_if(b, b_not(b, b_is_null(b, data)));
  loop l = b_loop(b, k64(b, 0), b_load64(b, p->frame, F_N), 1, NULL, 0);
  V row = b_load32(b, element32(b, p->src, l.i), 0);
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

V emit_prologue(cg *c) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s.prologue", c->g->name), b->i64,
                    (LLVMTypeRef[]){b->ptr, b->ptr}, 2);
  prologue p = {.c = c, .b = b, .call = b_arg(b, 0), .frame = b_arg(b, 1)};
  p.in = b_loadp(b, p.call, CALL(in));
  b_store(b, p.in, b_ati(b, p.frame, F_IN), 8);
  V out = b_loadp(b, p.call, CALL(out)), exec = b_loadp(b, p.call, CALL(exec));
  b_store(b, out, b_ati(b, p.frame, F_OUT), 8);
  b_store(b, exec, b_ati(b, p.frame, F_EXEC), 8);
  lay_out(&p);
  list_sequences(&p);
  for (uint32_t i = 0; i < c->g->count; i++) {
    const ir_value *v = &c->g->values[i];
    if (ir_is_op(v, OP_gather)) check_table(&p, ir_in(c->g, v, 1), ir_in(c->g, v, 0));
    if (!ir_is_op(v, OP_embed)) continue;
    check_table(&p, ir_in(c->g, v, 0), ir_in(c->g, v, 2));
    check_table(&p, ir_in(c->g, v, 1), ir_in(c->g, v, 4));
  }
  b_return(b, k64(b, SPCC_OK));
  return fn;
}
