/* Sequences share vectors and tiles, but nothing else: each has the bits that it has alone,
 * whatever it is grouped with, and numbers that are not finite in one of them leave every bit of
 * the others as it was. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { HEADS = 2, HEAD = 12, WIDTH = HEADS * HEAD, BATCH = 14, SEQUENCE = 300, THREADS = 3 };

/* The sequences of a call. */
typedef struct batch {
  uint32_t count;
  int32_t length[BATCH];
} batch;
/* Borders inside vectors, at vectors and at tiles, and an empty sequence. */
static const batch few = {7, {5, 64, 1, 0, 80, 33, 16}};
/* Several groups of 256 tokens (codegen/cg.h): one that is full, one in which a single sequence is
 * longer, ones that the next sequence does not fit into, empty sequences at their ends. */
static const batch groups = {14, {0, 100, 0, 156, 1, 300, 0, 17, 64, 255, 2, 33, 16, 0}};

static ir_id random_const(rng *r, ir_graph *g, const char *name, int64_t rows, int64_t cols) {
  float *data = arena_array(g->arena, float, (size_t)(rows * cols));
  for (int64_t i = 0; i < rows * cols; i++)
    data[i] = 0.3F * rng_normal(r);
  ir_type type = rows == 1 ? ir_type1(cols) : ir_type2(rows, cols);
  return ir_add_const(g, name, type, data);
}

/* What an encoder does with its tokens: qkv, attention, linear + residual + LayerNorm, GELU; and a
 * linear of the first token. */
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
  ir_id first = ir_add_op(g, "first", OP_first, &y, 1);
  ir_id pool[] = {first, random_const(r, g, "pool.w", WIDTH, WIDTH)};
  ir_id pooled = ir_add_op(g, "pool", OP_linear, pool, 2);
  ir_add_output(g, "pooled", ir_add_op(g, "pooled", OP_unpack, &pooled, 1));
  return g;
}

static size_t first_row(const batch *c, uint32_t sequence) {
  size_t row = 0;
  for (uint32_t i = 0; i < sequence; i++)
    row += (size_t)c->length[i];
  return row;
}

typedef struct outputs {
  const float *y, *pooled;
} outputs;

static outputs call(const loaded *m, uint32_t level, const batch *c, const spcc_exec *exec,
                    const float *x) {
  size_t size = first_row(c, c->count) * WIDTH * sizeof *x;
  size_t sizes[] = {size, c->count * WIDTH * sizeof *x};
  float *y = arena_alloc(m->a, size + 1, 64), *pooled = arena_alloc(m->a, sizes[1], 64);
  loaded_run(m, (spcc_call){.cpu = level,
                            .batch = (int32_t)c->count,
                            .sequence = SEQUENCE,
                            .lengths = c->length,
                            .in = (const void *[]){x},
                            .out = (void *[]){y, pooled},
                            .in_bytes = &size,
                            .out_bytes = sizes,
                            .exec = exec});
  return (outputs){y, pooled};
}

/* Whether sequence `s` of batch `c` has the outputs in `a` that sequence `t` of `d` has in `b`. */
static bool equal(const batch *c, uint32_t s, outputs a, const batch *d, uint32_t t, outputs b) {
  size_t rows = (size_t)c->length[s] * WIDTH * sizeof *a.y;
  return memcmp(a.y + first_row(c, s) * WIDTH, b.y + first_row(d, t) * WIDTH, rows) == 0 &&
         memcmp(a.pooled + (size_t)s * WIDTH, b.pooled + (size_t)t * WIDTH, WIDTH * sizeof *a.y) ==
             0;
}

static float *random_rows(arena *a, rng *r, const batch *c) {
  size_t n = first_row(c, c->count) * WIDTH;
  float *x = arena_array(a, float, n);
  for (size_t i = 0; i < n; i++)
    x[i] = rng_normal(r);
  return x;
}

/* ---- numbers that are not finite ---- */

/* `x` with `value` in one channel of a token in the middle of the sequence. */
static const float *poison(arena *a, const batch *c, const float *x, uint32_t sequence,
                           float value) {
  size_t n = first_row(c, c->count) * WIDTH;
  float *copy = arena_array(a, float, n);
  memcpy(copy, x, n * sizeof *x);
  copy[(first_row(c, sequence) + (size_t)c->length[sequence] / 2) * WIDTH + 3] = value;
  return copy;
}

static void check_poison(const loaded *m, uint32_t level, const float *x, uint32_t sick) {
  static const float values[] = {NAN, INFINITY, -3e38F};
  outputs well = call(m, level, &few, NULL, x);
  for (uint32_t v = 0; v < 3; v++) {
    outputs got = call(m, level, &few, NULL, poison(m->a, &few, x, sick, values[v]));
    for (uint32_t s = 0; s < few.count; s++) {
      bool same = equal(&few, s, well, &few, s, got);
      ck_assert_msg(same != (s == sick), "level %u: %a in sequence %u: sequence %u is %s", level,
                    (double)values[v], sick, s, same ? "the same" : "another");
    }
  }
}

START_TEST(sequences_leave_each_other_alone) {
  rng r = {7};
  arena *a = diff_arena();
  loaded *m = loaded_new(a, encoder(a, &r));
  const float *x = random_rows(a, &r, &few);
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++)
    for (uint32_t sick = 0; sick < few.count; sick++)
      if (few.length[sick] > 0) check_poison(m, level, x, sick);
  loaded_free(m);
  arena_free(a);
}
END_TEST

/* ---- groups ---- */

static void run_in_turn(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                        void *arg) {
  ck_assert_uint_le(n, exec->threads);
  for (uint32_t i = 0; i < n; i++)
    task(arg, i);
}

/* More threads make larger groups. */
static void check_groups(const loaded *m, uint32_t level, const float *x) {
  outputs alone[BATCH];
  for (uint32_t s = 0; s < groups.count; s++) {
    batch one = {1, {groups.length[s]}};
    alone[s] = call(m, level, &one, NULL, x + first_row(&groups, s) * WIDTH);
  }
  for (uint32_t threads = 1; threads <= THREADS; threads++) {
    spcc_exec exec = {.size = sizeof exec, .threads = threads, .parallel_for = run_in_turn};
    outputs all = call(m, level, &groups, &exec, x);
    for (uint32_t s = 0; s < groups.count; s++) {
      batch one = {1, {groups.length[s]}};
      ck_assert_msg(equal(&groups, s, all, &one, 0, alone[s]),
                    "level %u, %u threads: sequence %u has other bits than alone", level, threads,
                    s);
    }
  }
}

START_TEST(sequences_have_the_bits_that_they_have_alone) {
  rng r = {8};
  arena *a = diff_arena();
  loaded *m = loaded_new(a, encoder(a, &r));
  const float *x = random_rows(a, &r, &groups);
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++)
    check_groups(m, level, x);
  loaded_free(m);
  arena_free(a);
}
END_TEST

/* Memory for one group at a time. */
START_TEST(the_workspace_does_not_grow_with_the_batch) {
  rng r = {9};
  arena *a = diff_arena();
  loaded *m = loaded_new(a, encoder(a, &r));
  spcc_workspace_fn *workspace = m->entry.workspace;
  ck_assert_uint_lt(workspace(1, 128, 1), workspace(2, 128, 1));
  ck_assert_uint_eq(workspace(2, 128, 1), workspace(BATCH, 128, 1));
  ck_assert_uint_lt(workspace(2, 128, 2), workspace(4, 128, 2));
  ck_assert_uint_eq(workspace(4, 128, 2), workspace(BATCH, 128, 2));
  ck_assert_uint_eq(workspace(1, SEQUENCE, 1), workspace(BATCH, SEQUENCE, 1));
  loaded_free(m);
  arena_free(a);
}
END_TEST

int main(void) {
  Suite *s = suite_create("isolation");
  TCase *t = untimed_case("isolation");
  tcase_add_test(t, sequences_leave_each_other_alone);
  tcase_add_test(t, sequences_have_the_bits_that_they_have_alone);
  tcase_add_test(t, the_workspace_does_not_grow_with_the_batch);
  suite_add_tcase(s, t);
  return run_suite(s);
}
