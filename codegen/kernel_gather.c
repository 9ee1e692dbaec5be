/* The gather kernel: single non-zeros (or runs of `cols` consecutive inputs) against a slab of
 * activations that stays in L1.
 *
 * What the loops are built around:
 * - Rows are sorted by their number of units. Each short count has a body of straight-line code;
 *   longer rows run in groups of units, with a body for each remainder. So branches are
 *   mispredicted once a bucket, not once a row.
 * - An index is loaded long before its unit is multiplied. The loads of activations keep the load
 *   units busy, so a load that they wait for comes too late unless it has a lead of dozens of them;
 *   without it, the kernel runs at two thirds of its speed. Indices are therefore loaded a word of
 *   several at a time, AHEAD words early, across the border between two rows.
 * - The stream is one sequence of rows, and the next records follow it, so it can be fetched ahead
 *   by its address alone. */
#include <stdio.h>

#include "codegen/cg.h"

enum {
  STRAIGHT = 16, /* weights of a row that has straight-line code */
  GROUP = 8,     /* weights in a group of a longer row */
  AHEAD = 2,     /* words of indices that are loaded early */
  MAX_AHEAD = 4  /* rows or words of a row */
};

typedef struct gather {
  cg *c;
  const linear_shape *s;
  const kernel_args *a;
  uint32_t cols, group; /* group: units in a word of indices */
  uint32_t vecs;        /* vectors of tokens in all tiles */
  bool split;           /* long rows have a second set of accumulators, for every other weight */
  LLVMTypeRef word;
  V y, bias, residual, first, last; /* at the record's first row */
} gather;

/* ---- the stream: u16 row, u8 index[n], f32 values[n][cols] for each row ---- */

static uint64_t row_bytes(const gather *k, uint32_t units) {
  return 2 + (uint64_t)units * (1 + 4 * k->cols);
}

static V load_id(const gather *k, V row) {
  bld *b = &k->c->b;
  return b_zext(b, b_load(b, b->i16, row, 1));
}

/* The indices of units `unit` … `unit` + group - 1, as one number. */
static V load_word(const gather *k, V row, uint32_t unit) {
  bld *b = &k->c->b;
  V word = b_load(b, k->word, b_ati(b, row, 2 + unit), 1);
  return k->group < 8 ? b_zext(b, word) : word;
}

static void fetch(const gather *k, V at, uint64_t size) {
  uint64_t ahead = stream_ahead(&k->c->b, k->vecs);
  for (uint64_t done = 0; done < size; done += CACHE_LINE)
    b_prefetch(&k->c->b, at, ahead + done);
}

/* ---- accumulators ---- */

/* acc[j] += value * x[column] for unit `u` of a word, whose weights begin at `values`. */
static void unit(const gather *k, V *acc, V word, uint32_t u, V values) {
  bld *b = &k->c->b;
  V column = b_and(b, b_shr(b, word, 8 * (uint64_t)u), k64(b, 255));
  V x = b_at(b, k->a->x, b_muli(b, column, (uint64_t)k->cols * TILE_BYTES));
  for (uint32_t i = 0; i < k->cols; i++) {
    uint32_t weight = u * k->cols + i;
    V *sum = k->split && weight % 2 == 1 ? acc + k->vecs : acc;
    V w = vsplat(b, b_load(b, b->f32, b_ati(b, values, weight * 4), 1));
    for (uint32_t j = 0; j < k->vecs; j++) {
      V xv = vload(b, cg_vector_at(k->c, x, k->a->x_step, (uint64_t)i * TILE_BYTES, j), 0);
      sum[j] = vfma(b, w, xv, sum[j]);
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

/* Row `id` of y comes next: rows of a bucket lie anywhere in the chunk, which L1 does not hold. */
static void fetch_row(const gather *k, V id) {
  bld *b = &k->c->b;
  V y = b_at(b, k->y, b_muli(b, id, TILE_BYTES));
  uint32_t vecs_a_line = CACHE_LINE / (4 * b->isa->lanes);
  for (uint32_t j = 0; j < k->vecs; j += vecs_a_line)
    b_prefetch(b, cg_vector_at(k->c, y, k->a->y_step, 0, j), 0);
}

/* The bias in the first slab, else what is in y. */
static void load_row(const gather *k, V id, V *acc) {
  bld *b = &k->c->b;
  V from_bias[16], from_y[16], y = b_at(b, k->y, b_muli(b, id, TILE_BYTES));
  branch f = b_if(b, k->first);
  V bias = k->s->bias ? vsplat_at(b, b_at(b, k->bias, b_muli(b, id, 4)), 0) : vk(b, 0.0);
  for (uint32_t j = 0; j < k->vecs; j++)
    from_bias[j] = bias;
  LLVMBasicBlockRef yes = LLVMGetInsertBlock(b->b);
  b_else(b, &f);
  for (uint32_t j = 0; j < k->vecs; j++)
    from_y[j] = vload(b, cg_vector_at(k->c, y, k->a->y_step, 0, j), 0);
  LLVMBasicBlockRef no = LLVMGetInsertBlock(b->b);
  b_end(b, &f);
  join(k, from_bias, yes, from_y, no, acc);
}

/* Plus the residual in the last slab. */
static void store_row(const gather *k, V id, V *acc) {
  bld *b = &k->c->b;
  V at = b_muli(b, id, TILE_BYTES), y = b_at(b, k->y, at);
  if (k->s->residual) {
    V sum[16], res = b_at(b, k->residual, at);
    LLVMBasicBlockRef no = LLVMGetInsertBlock(b->b);
    branch f = b_if(b, k->last);
    for (uint32_t j = 0; j < k->vecs; j++)
      sum[j] = vadd(b, acc[j], vload(b, cg_vector_at(k->c, res, k->a->y_step, 0, j), 0));
    LLVMBasicBlockRef yes = LLVMGetInsertBlock(b->b);
    b_end(b, &f);
    join(k, sum, yes, acc, no, acc);
  }
  for (uint32_t j = 0; j < k->vecs; j++)
    vstore(b, acc[j], cg_vector_at(k->c, y, k->a->y_step, 0, j), 0);
}

/* ---- rows of few units ---- */

/* A queue of values that were loaded early: takes the oldest, appends one. */
static V rotate(V *queue, uint32_t length, V newest) {
  V oldest = queue[0];
  for (uint32_t i = 0; i + 1 < length; i++)
    queue[i] = queue[i + 1];
  queue[length - 1] = newest;
  return oldest;
}

/* `rows` rows of n units each, n constant. Returns the cursor behind them. */
static V short_rows(const gather *k, V rows, uint32_t n, V cursor) {
  bld *b = &k->c->b;
  gather plain = *k;
  plain.split = false;
  uint32_t words = (n + k->group - 1) / k->group;                                /* of a row */
  uint32_t ahead = words > 0 && words < AHEAD ? (AHEAD + words - 1) / words : 1; /* rows */
  uint64_t size = row_bytes(k, n);
  /* Carried: the cursor; for the next rows, their numbers and their words. */
  V carry[1 + MAX_AHEAD + MAX_AHEAD * STRAIGHT], *id = carry + 1, *word = id + ahead;
  carry[0] = cursor;
  for (uint32_t r = 0; r < ahead; r++) {
    V row = b_ati(b, cursor, r * size);
    id[r] = load_id(k, row);
    for (uint32_t i = 0; i < words; i++)
      word[i * ahead + r] = load_word(k, row, i * k->group);
  }
  loop l = b_loop(b, k64(b, 0), rows, 1, carry, 1 + ahead * (1 + words));
  V next = b_ati(b, carry[0], ahead * size), acc[16];
  fetch(k, carry[0], size);
  V row = rotate(id, ahead, load_id(k, next));
  fetch_row(k, id[0]);
  load_row(k, row, acc);
  for (uint32_t i = 0; i < words; i++) {
    V indices = rotate(word + i * ahead, ahead, load_word(k, next, i * k->group));
    V values = b_ati(b, carry[0], 2 + n + (uint64_t)i * k->group * k->cols * 4);
    for (uint32_t u = 0; u < k->group && i * k->group + u < n; u++)
      unit(&plain, acc, indices, u, values);
  }
  store_row(k, row, acc);
  carry[0] = b_ati(b, carry[0], size);
  b_loop_end(b, &l, carry);
  return carry[0];
}

/* ---- rows of many units ---- */

/* What is carried through the groups of a row: accumulators, words, and two pointers. */
typedef struct groups {
  V v[32 + AHEAD + 2];
  V *acc, *word, *index, *values;
  uint32_t count;
} groups;

static void begin_groups(const gather *k, groups *g) {
  uint32_t sums = k->split ? 2 * k->vecs : k->vecs;
  g->acc = g->v;
  g->word = g->acc + sums;
  g->index = g->word + AHEAD;
  g->values = g->index + 1;
  g->count = sums + AHEAD + 2;
  for (uint32_t j = k->vecs; j < sums; j++)
    g->acc[j] = vk(&k->c->b, 0.0);
}

/* The whole groups of a row. */
static void whole_groups(const gather *k, V count, groups *g) {
  bld *b = &k->c->b;
  uint64_t value_bytes = (uint64_t)k->group * k->cols * 4;
  loop l = b_loop(b, k64(b, 0), count, 1, g->v, g->count);
  fetch(k, *g->values, 1);
  V word = rotate(g->word, AHEAD, load_word(k, *g->index, AHEAD * k->group));
  for (uint32_t u = 0; u < k->group; u++)
    unit(k, g->acc, word, u, *g->values);
  *g->index = b_ati(b, *g->index, k->group);
  *g->values = b_ati(b, *g->values, value_bytes);
  b_loop_end(b, &l, g->v);
}

/* `rows` rows of `count` units each, more than have a body of their own; `rest` is what remains of
 * the count after whole groups. Returns the cursor behind them. */
static V long_rows(const gather *k, V rows, V count, uint32_t rest, V cursor) {
  bld *b = &k->c->b;
  V whole = b_div(b, count, k64(b, k->group));
  V values_at = b_addi(b, count, 2), size = b_affine(b, count, 1 + 4 * k->cols, 2);
  V carry[2 + AHEAD] = {cursor, load_id(k, cursor)};
  for (uint32_t i = 0; i < AHEAD; i++)
    carry[2 + i] = load_word(k, cursor, i * k->group);
  loop l = b_loop(b, k64(b, 0), rows, 1, carry, 2 + AHEAD);
  groups g;
  begin_groups(k, &g);
  V id = carry[1];
  load_row(k, id, g.acc);
  for (uint32_t i = 0; i < AHEAD; i++)
    g.word[i] = carry[2 + i];
  *g.index = carry[0];
  *g.values = b_at(b, carry[0], values_at);
  carry[0] = b_at(b, carry[0], size);
  carry[1] = load_id(k, carry[0]);
  fetch_row(k, carry[1]);
  whole_groups(k, whole, &g);
  for (uint32_t i = 0; i < AHEAD; i++)
    carry[2 + i] = load_word(k, carry[0], i * k->group);
  for (uint32_t u = 0; u < rest; u++)
    unit(k, g.acc, g.word[0], u, *g.values);
  for (uint32_t j = 0; k->split && j < k->vecs; j++)
    g.acc[j] = vadd(b, g.acc[j], g.acc[k->vecs + j]);
  store_row(k, id, g.acc);
  b_loop_end(b, &l, carry);
  return carry[0];
}

/* ---- the kernel ---- */

/* Jumps to the body for the bucket's count. Every body ends in the same block, where the cursor is
 * joined. */
static V dispatch(const gather *k, V rows, V count, V cursor) {
  bld *b = &k->c->b;
  uint32_t most = STRAIGHT / k->cols; /* longer runs make longer bodies */
  uint32_t bodies = most + 1 + k->group;
  LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(b->cx, b->fn, "joined");
  LLVMBasicBlockRef never = LLVMAppendBasicBlockInContext(b->cx, b->fn, "never");
  V longer = b_addi(b, b_rem(b, count, k64(b, k->group)), most + 1);
  V few = b_lt(b, count, k64(b, most + 1));
  V choice = LLVMBuildSwitch(b->b, b_select(b, few, count, longer), never, bodies);
  LLVMPositionBuilderAtEnd(b->b, never);
  LLVMBuildUnreachable(b->b);
  LLVMPositionBuilderAtEnd(b->b, end);
  V joined = LLVMBuildPhi(b->b, b->ptr, "");
  for (uint32_t n = 0; n < bodies; n++) {
    LLVMBasicBlockRef at = LLVMAppendBasicBlockInContext(b->cx, b->fn, "count");
    LLVMAddCase(choice, k64(b, n), at);
    LLVMPositionBuilderAtEnd(b->b, at);
    V behind = n <= most ? short_rows(k, rows, n, cursor)
                         : long_rows(k, rows, count, n - most - 1, cursor);
    LLVMBasicBlockRef last = LLVMGetInsertBlock(b->b);
    LLVMAddIncoming(joined, &behind, &last, 1);
    LLVMBuildBr(b->b, end);
  }
  LLVMPositionBuilderAtEnd(b->b, end);
  return joined;
}

/* Two tiles need 2 * 64 / lanes accumulators, twice where rows are split, and one broadcast; and
 * their slabs have to stay in L1 together. */
bool gather_takes_two_tiles(const isa *level, uint32_t k_block) {
  bool fit = 2 * (uint64_t)k_block * TILE_BYTES <= L1_SLAB_BYTES;
  return fit && 2 * TILE / level->lanes < level->registers - 2;
}

/* The record's head: u32 first row, u32 buckets. */
static gather begin_record(cg *c, const linear_shape *s, const kernel_args *a, uint32_t quarters,
                           uint32_t cols) {
  bld *b = &c->b;
  gather k = {.c = c, .s = s, .a = a, .cols = cols, .group = cols < GROUP ? GROUP / cols : 1};
  k.vecs = quarters * QUARTER / b->isa->lanes;
  k.split = b->isa->registers >= 32;
  k.word = LLVMIntTypeInContext(b->cx, 8 * k.group);
  V row = b_load32(b, a->record, 0), at = b_muli(b, row, TILE_BYTES);
  k.y = b_at(b, a->y, at);
  k.bias = s->bias ? b_at(b, a->bias, b_muli(b, row, 4)) : NULL;
  k.residual = s->residual ? b_at(b, a->residual, at) : NULL;
  k.first = b_ne(b, b_and(b, a->ends, k64(b, GATHER_FIRST)), k64(b, 0));
  k.last = b_ne(b, b_and(b, a->ends, k64(b, GATHER_LAST)), k64(b, 0));
  return k;
}

V kernel_gather(cg *c, const linear_shape *s, uint32_t quarters, uint32_t cols) {
  char key[160];
  snprintf(key, sizeof key, "gather.%u.q%u%s%s.%s", cols, quarters, s->bias ? ".bias" : "",
           s->residual ? ".residual" : "", c->b.isa->name);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  kernel_args a = kernel_begin(c, key);
  bld *b = &c->b;
  fn = b->fn;
  gather k = begin_record(c, s, &a, quarters, cols);
  V buckets = b_load32(b, a.record, 4), heads = b_ati(b, a.record, 8);
  V cursor = b_at(b, heads, b_muli(b, buckets, 4));
  loop l = b_loop(b, k64(b, 0), buckets, 1, &cursor, 1);
  /* A bucket's head: u16 units in each row, u16 rows. */
  V head = b_at(b, heads, b_muli(b, l.i, 4));
  V count = b_zext(b, b_load(b, b->i16, head, 2));
  V rows = b_zext(b, b_load(b, b->i16, b_ati(b, head, 2), 2));
  cursor = dispatch(&k, rows, count, cursor);
  b_loop_end(b, &l, &cursor);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}
