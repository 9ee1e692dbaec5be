/* Numbers of tokens that fill no tile: whatever the number, a token's result has the same bits, and
 * quarters of a tile without tokens are not computed. */
#include <check.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { WIDTH = 26, HIDDEN = 160, TOKENS = 160, BATCH = 5 };

/* f32[rows, cols] in which about `kept` of 100 units of `height` outputs are not zero. */
static ir_id weight(rng *r, ir_graph *g, const char *name, uint32_t rows, uint32_t cols,
                    uint32_t height, uint32_t kept) {
  float *data = arena_array(g->arena, float, (size_t)rows *cols);
  for (uint32_t i = 0; i < rows; i += height)
    for (uint32_t j = 0; j < cols; j++) {
      if (!rng_chance(r, kept)) continue;
      for (uint32_t k = i; k < i + height && k < rows; k++)
        data[(size_t)k * cols + j] = 0.3F * rng_normal(r);
    }
  return ir_add_const(g, name, ir_type2(rows, cols), data);
}

static ir_id row(rng *r, ir_graph *g, const char *name, uint32_t n) {
  float *data = arena_array(g->arena, float, n);
  for (uint32_t i = 0; i < n; i++)
    data[i] = 1.0F + 0.2F * rng_normal(r);
  return ir_add_const(g, name, ir_type1(n), data);
}

/* Blocks with a GELU, blocks in slabs that take one tile after the other, dense with a residual and
 * a LayerNorm. */
static ir_id tile_kernels(rng *r, ir_graph *g, ir_id x) {
  ir_id up[] = {x, weight(r, g, "up.w", HIDDEN, WIDTH, 4, 30), row(r, g, "up.b", HIDDEN)};
  ir_id hidden = ir_add_op(g, "up", OP_linear, up, 3);
  hidden = ir_add_op(g, "gelu", OP_gelu, &hidden, 1);
  ir_id mid[] = {hidden, weight(r, g, "mid.w", HIDDEN, HIDDEN, 4, 50)};
  hidden = ir_add_op(g, "mid", OP_linear, mid, 2);
  ir_id down[] = {hidden, weight(r, g, "down.w", WIDTH, HIDDEN, 1, 100)};
  ir_id y = ir_add_op(g, "down", OP_linear, down, 2);
  y = ir_add_op(g, "sum", OP_add, (const ir_id[]){y, x}, 2);
  ir_id norm[] = {y, row(r, g, "gamma", WIDTH), row(r, g, "beta", WIDTH)};
  return ir_add_op(g, "norm", OP_layernorm, norm, 3);
}

static ir_id gather_kernel(rng *r, ir_graph *g, ir_id x) {
  ir_id in[] = {x, weight(r, g, "single.w", WIDTH, WIDTH, 1, 15)};
  ir_id y = ir_add_op(g, "single", OP_linear, in, 2);
  return ir_add_op(g, "tanh", OP_tanh, &y, 1);
}

static ir_graph *model(arena *a) {
  rng r = {11};
  ir_graph *g = ir_graph_new(a, "tails");
  g->max_batch = BATCH;
  g->max_sequence = TOKENS;
  ir_type type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, WIDTH});
  ir_id input = ir_add_input(g, "x", type), x = ir_add_op(g, "rows", OP_pack, &input, 1);
  x = tile_kernels(&r, g, x);
  x = gather_kernel(&r, g, x);
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &x, 1));
  return g;
}

static const float *random_rows(arena *a, uint32_t n) {
  rng r = {13};
  float *x = arena_array(a, float, (size_t)n *WIDTH);
  for (size_t i = 0; i < (size_t)n * WIDTH; i++)
    x[i] = rng_normal(&r);
  return x;
}

/* The first `n` tokens of x, cut into `batch` sequences. */
static const float *call(const loaded *m, uint32_t level, const float *x, uint32_t n,
                         uint32_t batch, spcc_call *made) {
  int32_t lengths[BATCH];
  for (uint32_t i = 0; i < batch; i++)
    lengths[i] = (int32_t)(n * (i + 1) / batch - n * i / batch);
  size_t size = (size_t)n * WIDTH * sizeof *x;
  float *y = arena_alloc(m->a, size, 64);
  *made = loaded_run(m, (spcc_call){.cpu = level,
                                    .batch = (int32_t)batch,
                                    .sequence = TOKENS,
                                    .lengths = lengths,
                                    .in = (const void *[]){x},
                                    .out = (void *[]){y},
                                    .in_bytes = &size,
                                    .out_bytes = &size});
  return y;
}

START_TEST(any_number_of_tokens_gives_the_same_bits) {
  arena *a = diff_arena();
  loaded *m = loaded_new(a, model(a));
  const float *x = random_rows(a, TOKENS);
  spcc_call made;
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
    const float *all = call(m, level, x, TOKENS, 1, &made);
    for (uint32_t n = 1; n <= TOKENS; n++)
      for (uint32_t batch = 1; batch <= BATCH; batch += BATCH - 1) {
        const float *y = call(m, level, x, n, batch, &made);
        ck_assert_msg(memcmp(y, all, (size_t)n * WIDTH * sizeof *y) == 0,
                      "level %u: other bits with %u tokens in %u sequences", level, n, batch);
      }
  }
  loaded_free(m);
  arena_free(a);
}
END_TEST

enum { FILL = 0x3F }; /* 0x3F3F3F3F is a number, 0.747, that no arithmetic leaves as it is */

/* Words that still are what the workspace was filled with. */
static uint64_t untouched(const spcc_call *c) {
  const uint32_t *word = c->workspace;
  uint64_t n = 0;
  for (size_t i = 0; i < c->workspace_bytes / sizeof *word; i++)
    n += word[i] == 0x01010101U * FILL;
  return n;
}

START_TEST(quarters_without_tokens_are_not_computed) {
  arena *a = diff_arena();
  ir_graph *g = model(a);
  loaded *m = loaded_new(a, g);
  m->fill = FILL;
  uint64_t words_per_token = 0; /* of all slots */
  for (uint32_t i = 0; i < g->slot_count; i++)
    words_per_token += g->slots[i].per_n_tile / 4 / 64;
  const float *x = random_rows(a, TOKENS);
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++)
    for (uint32_t n = 1; n <= TOKENS; n++) {
      spcc_call made;
      call(m, level, x, n, 1, &made);
      uint64_t live = (n + 15) / 16 * 16, laid_out = (TOKENS + 63) / 64 * 64;
      ck_assert_uint_ge(untouched(&made), (laid_out - live) * words_per_token);
    }
  loaded_free(m);
  arena_free(a);
}
END_TEST

int main(void) {
  Suite *s = suite_create("tails");
  TCase *t = untimed_case("tails");
  tcase_add_test(t, any_number_of_tokens_gives_the_same_bits);
  tcase_add_test(t, quarters_without_tokens_are_not_computed);
  suite_add_tcase(s, t);
  return run_suite(s);
}
