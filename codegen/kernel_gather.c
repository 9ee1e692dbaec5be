/* The gather kernel: single non-zeros (or runs of `cols` consecutive inputs) against a slab of
 * activations that stays in L1. Rows are sorted by their number of units, so that each bucket's
 * body is straight-line code for its count; rows with more units take a loop. */
#include <stdio.h>

#include "codegen/cg.h"

enum { GATHER_STRAIGHT = 16 /* counts with a body of their own */, GATHER_UNROLL = 4 };

typedef struct gather {
  cg *c;
  const linear_shape *s;
  const kernel_args *a;
  uint32_t tiles, cols, vecs; /* vecs: vectors of tokens in all tiles */
} gather;

/* Vector j of a row whose part in the first tile is at `row`; further tiles are `step` bytes on. */
static V vector_at(const gather *k, V row, V step, uint64_t at, uint32_t j) {
  bld *b = &k->c->b;
  uint32_t per_tile = TILE / b->isa->lanes;
  V base = j < per_tile ? row : b_at(b, row, step);
  return b_ati(b, base, at + (uint64_t)(j % per_tile) * b->isa->lanes * 4);
}

/* acc[j] += value * x[column] for one unit, at cursor positions `u` units on. */
static void unit(const gather *k, V *acc, V index, V values, uint32_t u) {
  bld *b = &k->c->b;
  V column = b_zext(b, b_load(b, b->i8, b_ati(b, index, u), 1));
  V x = b_at(b, k->a->x, b_muli(b, column, (uint64_t)k->cols * TILE_BYTES));
  for (uint32_t i = 0; i < k->cols; i++) {
    V w = vsplat_at(b, values, ((uint64_t)u * k->cols + i) * 4);
    for (uint32_t j = 0; j < k->vecs; j++) {
      V xv = vload(b, vector_at(k, x, k->a->x_step, (uint64_t)i * TILE_BYTES, j), 0);
      acc[j] = vfma(b, w, xv, acc[j]);
    }
  }
}

/* Two values for each vector, chosen by a branch whose sides are built by the caller. */
static void join(const gather *k, const V *yes, LLVMBasicBlockRef yes_end, const V *no,
                 LLVMBasicBlockRef no_end, V *out) {
  bld *b = &k->c->b;
  for (uint32_t j = 0; j < k->vecs; j++) {
    V phi = LLVMBuildPhi(b->b, b->vf, ""); /* out may be one of yes and no */
    LLVMAddIncoming(phi, (V[]){yes[j], no[j]}, (LLVMBasicBlockRef[]){yes_end, no_end}, 2);
    out[j] = phi;
  }
}

/* The bias in the first slab, else what is in y. */
static void load_row(const gather *k, V row, V y, V *acc) {
  bld *b = &k->c->b;
  branch f = b_if(b, b_ne(b, b_and(b, k->a->ends, k64(b, GATHER_FIRST)), k64(b, 0)));
  V from_bias[16], from_y[16];
  V bias = k->s->bias ? vsplat_at(b, b_at(b, k->a->bias, b_muli(b, row, 4)), 0) : vk(b, 0.0);
  for (uint32_t j = 0; j < k->vecs; j++)
    from_bias[j] = bias;
  LLVMBasicBlockRef yes = LLVMGetInsertBlock(b->b);
  b_else(b, &f);
  for (uint32_t j = 0; j < k->vecs; j++)
    from_y[j] = vload(b, vector_at(k, y, k->a->y_step, 0, j), 0);
  LLVMBasicBlockRef no = LLVMGetInsertBlock(b->b);
  b_end(b, &f);
  join(k, from_bias, yes, from_y, no, acc);
}

/* Plus the residual in the last slab. */
static void store_row(const gather *k, V row, V y, V *acc) {
  bld *b = &k->c->b;
  if (k->s->residual) {
    V sum[16], res = b_at(b, k->a->residual, b_muli(b, row, TILE_BYTES));
    LLVMBasicBlockRef no = LLVMGetInsertBlock(b->b);
    branch f = b_if(b, b_ne(b, b_and(b, k->a->ends, k64(b, GATHER_LAST)), k64(b, 0)));
    for (uint32_t j = 0; j < k->vecs; j++)
      sum[j] = vadd(b, acc[j], vload(b, vector_at(k, res, k->a->y_step, 0, j), 0));
    LLVMBasicBlockRef yes = LLVMGetInsertBlock(b->b);
    b_end(b, &f);
    join(k, sum, yes, acc, no, acc);
  }
  for (uint32_t j = 0; j < k->vecs; j++)
    vstore(b, acc[j], vector_at(k, y, k->a->y_step, 0, j), 0);
}

/* The units of one row with `count` units known only at run time; advances the cursors. */
static void counted_units(const gather *k, V count, V *acc, V *index, V *values) {
  bld *b = &k->c->b;
  uint64_t value_bytes = (uint64_t)k->cols * 4;
  V carry[18];
  for (uint32_t j = 0; j < k->vecs; j++)
    carry[j] = acc[j];
  carry[k->vecs] = *index;
  carry[k->vecs + 1] = *values;
  V rest = b_rem(b, count, k64(b, GATHER_UNROLL));
  uint32_t steps[] = {GATHER_UNROLL, 1};
  V trips[] = {b_sub(b, count, rest), rest};
  for (uint32_t p = 0; p < 2; p++) {
    loop l = b_loop(b, k64(b, 0), trips[p], steps[p], carry, k->vecs + 2);
    for (uint32_t u = 0; u < steps[p]; u++)
      unit(k, carry, carry[k->vecs], carry[k->vecs + 1], u);
    carry[k->vecs] = b_ati(b, carry[k->vecs], steps[p]);
    carry[k->vecs + 1] = b_ati(b, carry[k->vecs + 1], steps[p] * value_bytes);
    b_loop_end(b, &l, carry);
  }
  for (uint32_t j = 0; j < k->vecs; j++)
    acc[j] = carry[j];
  *index = carry[k->vecs];
  *values = carry[k->vecs + 1];
}

/* A bucket: `rows` rows of `count` units each; `straight` is the count when it is a constant,
 * else UINT32_MAX. cursor: row ids, index, values. */
static void bucket(const gather *k, V rows, V count, uint32_t straight, V cursor[3]) {
  bld *b = &k->c->b;
  loop l = b_loop(b, k64(b, 0), rows, 1, cursor, 3);
  V row = b_load32(b, cursor[0], 0);
  V y = b_at(b, k->a->y, b_muli(b, row, TILE_BYTES)), acc[16];
  load_row(k, row, y, acc);
  if (straight == UINT32_MAX) {
    counted_units(k, count, acc, &cursor[1], &cursor[2]);
  } else {
    for (uint32_t u = 0; u < straight; u++)
      unit(k, acc, cursor[1], cursor[2], u);
    cursor[1] = b_ati(b, cursor[1], straight);
    cursor[2] = b_ati(b, cursor[2], (uint64_t)straight * k->cols * 4);
  }
  store_row(k, row, y, acc);
  cursor[0] = b_ati(b, cursor[0], 4);
  b_loop_end(b, &l, cursor);
}

/* Jumps to the body for the bucket's count. Every body ends in the same block, where the cursors
 * are joined. */
static void dispatch(const gather *k, V rows, V count, V cursor[3]) {
  bld *b = &k->c->b;
  uint32_t straight = GATHER_STRAIGHT / k->cols; /* longer runs make longer bodies */
  V from[3] = {cursor[0], cursor[1], cursor[2]}, joined[3];
  LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(b->cx, b->fn, "joined");
  LLVMBasicBlockRef other = LLVMAppendBasicBlockInContext(b->cx, b->fn, "many");
  V choice = LLVMBuildSwitch(b->b, count, other, straight + 1);
  LLVMPositionBuilderAtEnd(b->b, end);
  for (uint32_t i = 0; i < 3; i++)
    joined[i] = LLVMBuildPhi(b->b, b->ptr, "");
  for (uint32_t n = 0; n <= straight + 1; n++) {
    bool counted = n == straight + 1;
    LLVMBasicBlockRef at = counted ? other : LLVMAppendBasicBlockInContext(b->cx, b->fn, "count");
    if (!counted) LLVMAddCase(choice, k64(b, n), at);
    LLVMPositionBuilderAtEnd(b->b, at);
    for (uint32_t i = 0; i < 3; i++)
      cursor[i] = from[i];
    bucket(k, rows, count, counted ? UINT32_MAX : n, cursor);
    LLVMBasicBlockRef last = LLVMGetInsertBlock(b->b);
    for (uint32_t i = 0; i < 3; i++)
      LLVMAddIncoming(joined[i], &cursor[i], &last, 1);
    LLVMBuildBr(b->b, end);
  }
  LLVMPositionBuilderAtEnd(b->b, end);
  for (uint32_t i = 0; i < 3; i++)
    cursor[i] = joined[i];
}

/* Two tiles need 2 * 64 / lanes accumulators and one broadcast. */
uint32_t gather_tiles(const isa *level) {
  return 2 * TILE / level->lanes < level->registers - 2 ? 2 : 1;
}

V kernel_gather(cg *c, const linear_shape *s, uint32_t tiles, uint32_t cols) {
  char key[160];
  snprintf(key, sizeof key, "gather.%u.t%u%s%s.%s", cols, tiles, s->bias ? ".bias" : "",
           s->residual ? ".residual" : "", c->b.isa->name);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  kernel_args a = kernel_begin(c, key);
  bld *b = &c->b;
  fn = b->fn;
  gather k = {c, s, &a, tiles, cols, tiles * TILE / b->isa->lanes};
  V head = b_ati(b, a.record, RECORD_BYTES); /* buckets follow the record's head */
  V cursor[] = {b_at(b, a.record, b_load32(b, a.record, R_HEAD)),
                b_at(b, a.record, b_load32(b, a.record, R_INDEX)),
                b_at(b, a.record, b_load32(b, a.record, R_VALUES))};
  loop l = b_loop(b, k64(b, 0), b_load32(b, a.record, R_GROUPS), 1, cursor, 3);
  /* A bucket's head: u32 units in each row, u32 rows. */
  V h = b_at(b, head, b_muli(b, l.i, 8));
  V count = b_load32(b, h, 0), rows = b_load32(b, h, 4);
  dispatch(&k, rows, count, cursor);
  b_loop_end(b, &l, cursor);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}
