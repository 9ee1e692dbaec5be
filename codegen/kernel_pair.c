/* The pair kernel: single non-zeros (or runs of `cols` inputs) of two rows at a time, against a
 * slab of activations that stays in L1. An input that both rows need is loaded once for both; then
 * each takes those that it has alone.
 *
 * Loads of activations keep the load units busy, so an index has to be loaded several units before
 * it is needed: the next PAIR_AHEAD indices wait in registers, from one pair to the next. */
#include <stdio.h>
#include <string.h>

#include "codegen/cg.h"

typedef struct pair {
  cg *c;
  const linear_shape *s;
  const kernel_args *a;
  kernel_ends ends;
  uint32_t cols;
  uint32_t quarters; /* of tokens that are computed, and */
  uint32_t vecs;     /* vectors of them of each row in registers */
} pair;

/* What goes through the loops: where the kernel is in its record, and the sums of two rows. */
enum state {
  S_VALUES,
  S_INDEX, /* of the unit behind those in S_NEXT */
  S_NEXT,  /* indices of the next units */
  S_SUMS = S_NEXT + PAIR_AHEAD,
  S_COUNT = S_SUMS + 16
};

/* One of the two rows: its number, and where it begins in y and the residual. */
typedef struct pair_row {
  V row, y, residual;
} pair_row;

static pair_row row_of(const pair *k, V row, V at) {
  bld *b = &k->c->b;
  pair_row r = {.row = row};
  V offset = b_add(b, b_muli(b, row, TILE_BYTES), at);
  r.y = b_at(b, k->a->y, offset);
  if (k->s->residual && k->ends.last) r.residual = b_at(b, k->a->residual, offset);
  return r;
}

static void start(const pair *k, const pair_row *r, V *sum) {
  bld *b = &k->c->b;
  V bias = NULL;
  if (k->ends.first)
    bias = k->s->bias ? vsplat_at(b, b_at(b, k->a->bias, b_muli(b, r->row, 4)), 0) : vk(b, 0.0);
  for (uint32_t j = 0; j < k->vecs; j++)
    sum[j] = bias ? bias : vload(b, cg_vector_at(k->c, r->y, k->a->y_step, 0, j), 0);
}

static void finish(const pair *k, const pair_row *r, const V *sum) {
  bld *b = &k->c->b;
  for (uint32_t j = 0; j < k->vecs; j++) {
    V v = sum[j];
    if (r->residual)
      v = vadd(b, v, vload(b, cg_vector_at(k->c, r->residual, k->a->y_step, 0, j), 0));
    vstore(b, v, cg_vector_at(k->c, r->y, k->a->y_step, 0, j), 0);
  }
}

static V load_index(bld *b, V at, uint64_t unit) {
  return b_zext(b, b_load(b, b->i8, b_ati(b, at, unit), 1));
}

/* The inputs of the next unit, among the slab's at x. */
static V next_inputs(const pair *k, V *state, V x) {
  bld *b = &k->c->b;
  V index = state[S_NEXT];
  for (uint32_t i = 0; i + 1 < PAIR_AHEAD; i++)
    state[S_NEXT + i] = state[S_NEXT + i + 1];
  state[S_NEXT + PAIR_AHEAD - 1] = load_index(b, state[S_INDEX], 0);
  state[S_INDEX] = b_ati(b, state[S_INDEX], 1);
  return b_at(b, x, b_muli(b, index, (uint64_t)k->cols * TILE_BYTES));
}

/* sum[r] += weights * inputs for `count` rows from `row` on, with one load for all of them. */
static void multiply_add(const pair *k, V *state, V inputs, uint32_t row, uint32_t count) {
  bld *b = &k->c->b;
  for (uint32_t i = 0; i < k->cols; i++) {
    V w[2], from = b_ati(b, inputs, (uint64_t)i * TILE_BYTES);
    for (uint32_t r = row; r < row + count; r++)
      w[r] = vsplat_at(b, state[S_VALUES], ((uint64_t)r * k->cols + i) * 4);
    for (uint32_t j = 0; j < k->vecs; j++) {
      V v = vload(b, cg_vector_at(k->c, from, k->a->x_step, 0, j), 0);
      for (uint32_t r = row; r < row + count; r++) {
        V *sum = &state[S_SUMS + r * k->vecs + j];
        *sum = vfma(b, w[r], v, *sum);
      }
    }
  }
}

typedef void unit_body(const pair *k, V *state, V x);

/* A unit that both rows have. */
static void shared_unit(const pair *k, V *state, V x) {
  multiply_add(k, state, next_inputs(k, state, x), 0, 2);
}

/* A unit of the first row and one of the second. */
static void own_units(const pair *k, V *state, V x) {
  for (uint32_t r = 0; r < 2; r++)
    multiply_add(k, state, next_inputs(k, state, x), r, 1);
}

static void units(const pair *k, V count, unit_body *body, V *state, V x) {
  bld *b = &k->c->b;
  loop l = b_loop(b, k64(b, 0), count, 1, state, S_SUMS + 2 * k->vecs);
  b_prefetch(b, state[S_VALUES], STREAM_AHEAD);
  body(k, state, x);
  state[S_VALUES] = b_ati(b, state[S_VALUES], (uint64_t)k->cols * 8);
  b_loop_end(b, &l, state);
}

/* What the pairs of a bucket have in common. */
typedef struct pair_shape {
  V shared, own;
} pair_shape;

/* One pair against the tokens that begin `at` bytes into the tile. The second row is stored first:
 * a row without a partner is its own, with weights of 0 there. */
static void pair_tokens(const pair *k, const pair_shape *n, const V row[2], V *state, V at) {
  bld *b = &k->c->b;
  pair_row r[2];
  V x = b_at(b, k->a->x, at);
  for (uint32_t i = 0; i < 2; i++) {
    r[i] = row_of(k, row[i], at);
    start(k, &r[i], &state[S_SUMS + i * k->vecs]);
  }
  units(k, n->shared, shared_unit, state, x);
  units(k, n->own, own_units, state, x);
  for (uint32_t i = 2; i-- > 0;)
    finish(k, &r[i], &state[S_SUMS + i * k->vecs]);
}

/* The same for all tokens, in steps that the registers hold. */
static void pair_tile(const pair *k, const pair_shape *n, const V row[2], V *state) {
  bld *b = &k->c->b;
  uint64_t width = (uint64_t)k->vecs * b->isa->lanes * 4, all = k->quarters * QUARTER_BYTES;
  if (width == all) {
    pair_tokens(k, n, row, state, k64(b, 0));
    return;
  }
  V before[S_SUMS];
  memcpy(before, state, sizeof before);
  loop l = b_loop(b, k64(b, 0), k64(b, all), width, state, S_SUMS);
  memcpy(state, before, sizeof before); /* every step reads the same units */
  pair_tokens(k, n, row, state, l.i);
  b_loop_end(b, &l, state);
}

/* All pairs of a bucket; returns where the next one begins. */
static V bucket(const pair *k, V head, V *state) {
  bld *b = &k->c->b;
  /* A bucket's head: u32 units that both rows have, u32 units of each alone, u32 pairs, rows. */
  pair_shape n = {.shared = b_load32(b, head, 0)};
  n.own = b_load32(b, head, 4);
  V pairs = b_load32(b, head, 8), rows = b_ati(b, head, 12);
  loop l = b_loop(b, k64(b, 0), pairs, 1, state, S_SUMS);
  V at = b_at(b, rows, b_muli(b, l.i, 8)), row[2];
  for (uint32_t i = 0; i < 2; i++)
    row[i] = b_load32(b, at, (uint64_t)i * 4);
  pair_tile(k, &n, row, state);
  b_loop_end(b, &l, state);
  return b_at(b, rows, b_muli(b, pairs, 8));
}

/* All pairs of the record. */
static void whole_record(const pair *k) {
  bld *b = &k->c->b;
  V record = k->a->record, carry[1 + S_COUNT], *state = carry + 1;
  carry[0] = b_at(b, record, b_load32(b, record, R_HEAD));
  state[S_VALUES] = b_at(b, record, b_load32(b, record, R_VALUES));
  V index = b_at(b, record, b_load32(b, record, R_INDEX));
  for (uint32_t i = 0; i < PAIR_AHEAD; i++)
    state[S_NEXT + i] = load_index(b, index, i);
  state[S_INDEX] = b_ati(b, index, PAIR_AHEAD);
  loop l = b_loop(b, k64(b, 0), b_load32(b, record, R_GROUPS), 1, carry, 1 + S_SUMS);
  carry[0] = bucket(k, carry[0], state);
  b_loop_end(b, &l, carry);
}

/* Vectors of tokens in registers: the sums of two rows take half of these, in equal steps. */
static uint32_t pair_vecs(const isa *level, uint32_t quarters) {
  uint32_t all = quarters * QUARTER / level->lanes, most = level->registers / 4;
  if (all <= most) return all;
  return quarters % 2 == 0 ? most : most / 2;
}

V kernel_pair(cg *c, const linear_shape *s, kernel_ends e, uint32_t quarters, uint32_t cols) {
  char key[160];
  snprintf(key, sizeof key, "pair.%u.q%u%s%s%s%s.%s", cols, quarters,
           s->bias && e.first ? ".bias" : "", s->residual && e.last ? ".residual" : "",
           e.first ? ".first" : "", e.last ? ".last" : "", c->b.isa->name);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  kernel_args a = kernel_begin(c, key);
  fn = c->b.fn;
  pair k = {c, s, &a, e, cols, quarters, pair_vecs(c->b.isa, quarters)};
  whole_record(&k);
  b_return(&c->b, NULL);
  cg_share(c, key, fn);
  return fn;
}
