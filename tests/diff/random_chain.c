/* Random chains of linears and element-wise ops. */
#include "tests/diff/random_build.h"

enum { MAX_STEPS = 7 };

typedef struct chain {
  ir_id value[MAX_STEPS + 2]; /* of the same space: tokens, or one row per sequence */
  uint32_t count;
} chain;

static ir_id last_of(const chain *c) {
  return c->value[c->count - 1];
}

static void push(chain *c, ir_id x) {
  c->value[c->count++] = x;
}

/* An earlier value with as many channels as `x`, or a constant row. */
static ir_id partner(builder *b, const chain *c, ir_id x) {
  for (uint32_t i = 0; i + 1 < c->count; i++)
    if (build_cols(b, c->value[i]) == build_cols(b, x) && rng_chance(&b->r, 70)) return c->value[i];
  return build_row(b, build_cols(b, x), 0.5F, 0.5F);
}

static ir_id step(builder *b, const chain *c) {
  ir_id x = last_of(c);
  uint32_t die = rng_below(&b->r, 100);
  if (die < 50) {
    /* The width of an earlier value makes a residual possible. */
    bool again = rng_chance(&b->r, 30);
    return build_linear(b, x, again ? build_cols(b, c->value[0]) : build_width(b));
  }
  if (die < 70) return build_activation(b, x);
  if (die < 83) return build_op(b, OP_add, 2, (const ir_id[]){x, partner(b, c, x)});
  if (die < 90) return build_op(b, OP_mul, 2, (const ir_id[]){x, partner(b, c, x)});
  return build_layernorm(b, x);
}

static ir_id packed_input(builder *b, const char *name, bool tokens, int64_t cols) {
  int64_t dim[] = {DIM_B, tokens ? DIM_S : cols, cols};
  ir_id x = build_input(b, name, ir_type_make(IR_F32, tokens ? 3 : 2, dim));
  return tokens ? build_masked(b, OP_pack, 1, &x) : build_op(b, OP_pack, 1, &x);
}

/* f32[B,C] or f32[B,S,C] in, up to MAX_STEPS ops, one or two outputs. */
void build_chain(builder *b) {
  bool tokens = rng_chance(&b->r, 70);
  build_note(b, tokens ? "chain [B,S,C]" : "chain [B,C]");
  b->g->max_batch = tokens ? 3 : BUILD_PICK(b, 1, 3, 63, 64, 65, 130);
  b->g->max_sequence = BUILD_PICK(b, 1, 3, 17, 33, 64, 65, 128, 129, 511);
  if (tokens && rng_chance(&b->r, 60)) build_mask(b);
  int64_t cols = build_width(b);
  chain c = {.count = 0};
  push(&c, packed_input(b, "x", tokens, cols));
  if (rng_chance(&b->r, 20)) {
    ir_id z = packed_input(b, "z", tokens, cols);
    push(&c, build_op(b, OP_add, 2, (const ir_id[]){last_of(&c), z}));
  }
  uint32_t steps = 1 + rng_below(&b->r, MAX_STEPS);
  for (uint32_t i = 0; i < steps; i++)
    push(&c, step(b, &c));
  if (rng_chance(&b->r, 20)) build_output(b, "tap", c.value[1]);
  if (tokens && rng_chance(&b->r, 15)) {
    ir_id x = last_of(&c), first = build_masked(b, OP_first, 1, &x);
    build_output(b, "pooled", build_linear(b, first, build_width(b)));
  }
  build_output(b, "y", last_of(&c));
}
