/* Sequences share vectors and tiles, but nothing else: numbers that are not finite in one of them
 * leave every bit of the others as it was. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { HEADS = 2, HEAD = 12, WIDTH = HEADS * HEAD, BATCH = 7, SEQUENCE = 80 };
/* Borders inside vectors, at vectors and at tiles, and an empty sequence. */
static const int32_t lengths[BATCH] = {5, 64, 1, 0, 80, 33, 16};

static ir_id random_const(rng *r, ir_graph *g, const char *name, int64_t rows, int64_t cols) {
  float *data = arena_array(g->arena, float, (size_t)(rows * cols));
  for (int64_t i = 0; i < rows * cols; i++)
    data[i] = 0.3F * rng_normal(r);
  ir_type type = rows == 1 ? ir_type1(cols) : ir_type2(rows, cols);
  return ir_add_const(g, name, type, data);
}

/* What an encoder does with its tokens: qkv, attention, linear + residual + LayerNorm, GELU. */
static ir_graph *encoder(arena *a, rng *r) {
  ir_graph *g = ir_graph_new(a, "encoder");
  g->max_batch = BATCH;
  g->max_sequence = SEQUENCE;
  ir_type type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, WIDTH});
  ir_id input = ir_add_input(g, "x", type), x = ir_add_op(g, "rows", OP_pack, &input, 1), qkv[3];
  static const char *const names[] = {"q", "k", "v"};
  for (uint32_t i = 0; i < 3; i++) {
    ir_id w = random_const(r, g, arena_printf(a, "%s.w", names[i]), WIDTH, WIDTH);
    qkv[i] = ir_add_op(g, names[i], OP_linear, (const ir_id[]){x, w}, 2);
  }
  ir_id attention = ir_add_op(g, "attention", OP_attention, qkv, 3);
  ir_at(g, attention)->attr[A_heads].i = HEADS;
  ir_id w = random_const(r, g, "o.w", WIDTH, WIDTH);
  ir_id o = ir_add_op(g, "o", OP_linear, (const ir_id[]){attention, w}, 2);
  ir_id sum = ir_add_op(g, "sum", OP_add, (const ir_id[]){o, x}, 2);
  ir_id gamma = random_const(r, g, "gamma", 1, WIDTH), beta = random_const(r, g, "beta", 1, WIDTH);
  ir_id norm = ir_add_op(g, "norm", OP_layernorm, (const ir_id[]){sum, gamma, beta}, 3);
  ir_id y = ir_add_op(g, "gelu", OP_gelu, &norm, 1);
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &y, 1));
  return g;
}

static size_t first_row(int32_t sequence) {
  size_t row = 0;
  for (int32_t i = 0; i < sequence; i++)
    row += (size_t)lengths[i];
  return row;
}

static const float *call(const loaded *m, uint32_t level, const float *x) {
  size_t size = first_row(BATCH) * WIDTH * sizeof *x;
  float *y = arena_alloc(m->a, size, 64);
  loaded_run(m, (spcc_call){.cpu = level,
                            .batch = BATCH,
                            .sequence = SEQUENCE,
                            .lengths = lengths,
                            .in = (const void *[]){x},
                            .out = (void *[]){y},
                            .in_bytes = &size,
                            .out_bytes = &size});
  return y;
}

/* `x` with `value` in one channel of a token in the middle of the sequence. */
static const float *poison(arena *a, const float *x, int32_t sequence, float value) {
  size_t n = first_row(BATCH) * WIDTH;
  float *copy = arena_array(a, float, n);
  memcpy(copy, x, n * sizeof *x);
  copy[(first_row(sequence) + (size_t)lengths[sequence] / 2) * WIDTH + 3] = value;
  return copy;
}

static void check_poison(const loaded *m, uint32_t level, const float *x, int32_t sick) {
  static const float values[] = {NAN, INFINITY, -3e38F};
  const float *well = call(m, level, x);
  for (uint32_t v = 0; v < 3; v++) {
    const float *got = call(m, level, poison(m->a, x, sick, values[v]));
    for (int32_t s = 0; s < BATCH; s++) {
      size_t at = first_row(s) * WIDTH, bytes_of = (size_t)lengths[s] * WIDTH * sizeof *x;
      bool same = memcmp(well + at, got + at, bytes_of) == 0;
      ck_assert_msg(same != (s == sick), "level %u: %a in sequence %d: sequence %d is %s", level,
                    (double)values[v], sick, s, same ? "the same" : "another");
    }
  }
}

START_TEST(sequences_leave_each_other_alone) {
  rng r = {7};
  arena *a = diff_arena();
  loaded *m = loaded_new(a, encoder(a, &r));
  size_t n = first_row(BATCH) * WIDTH;
  float *x = arena_array(a, float, n);
  for (size_t i = 0; i < n; i++)
    x[i] = rng_normal(&r);
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++)
    for (int32_t sick = 0; sick < BATCH; sick++)
      if (lengths[sick] > 0) check_poison(m, level, x, sick);
  loaded_free(m);
  arena_free(a);
}
END_TEST

int main(void) {
  Suite *s = suite_create("isolation");
  TCase *t = tcase_create("isolation");
  tcase_set_timeout(t, 0);
  tcase_add_test(t, sequences_leave_each_other_alone);
  suite_add_tcase(s, t);
  return run_suite(s);
}
