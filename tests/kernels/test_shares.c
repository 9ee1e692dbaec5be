/* How threads share a linear: by what its outputs cost, not by how many they are. */
#include <check.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { OUTPUTS = 768, INPUTS = 48, TOKENS = 64, FILL = 0x3F };

/* Every weight in outputs [lo, hi), 4 of 100 elsewhere. */
static float *full_rows(arena *a, uint32_t lo, uint32_t hi) {
  rng r = {5};
  float *w = arena_array(a, float, (size_t)OUTPUTS *INPUTS);
  for (uint32_t i = 0; i < OUTPUTS * INPUTS; i++) {
    bool full = i / INPUTS >= lo && i / INPUTS < hi;
    if (full || rng_chance(&r, 4)) w[i] = 0.2F + 0.1F * rng_normal(&r);
  }
  return w;
}

/* Every fourth output of the second half. */
static float *thin_blocks(arena *a) {
  float *w = arena_array(a, float, (size_t)OUTPUTS *INPUTS);
  for (uint32_t row = OUTPUTS / 2; row < OUTPUTS; row += 4)
    for (uint32_t i = 0; i < INPUTS; i++)
      w[row * INPUTS + i] = 0.5F;
  return w;
}

static ir_graph *model(arena *a, const float *w) {
  ir_graph *g = ir_graph_new(a, "shares");
  g->max_batch = 1;
  g->max_sequence = TOKENS;
  ir_type type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, INPUTS});
  ir_id input = ir_add_input(g, "x", type), x = ir_add_op(g, "rows", OP_pack, &input, 1);
  ir_id in[] = {x, ir_add_const(g, "w", ir_type2(OUTPUTS, INPUTS), w)};
  ir_id y = ir_add_op(g, "linear", OP_linear, in, 2);
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &y, 1));
  return g;
}

/* Watches what each task writes into the workspace. */
typedef struct watch {
  const spcc_call *call;
  uint32_t rows[2]; /* of the linear, by the first and the second task */
} watch;

static uint32_t touched(const spcc_call *c) {
  const uint32_t *word = c->workspace;
  uint32_t n = 0;
  for (size_t i = 0; i < c->workspace_bytes / sizeof *word; i++)
    n += word[i] != 0x01010101U * FILL;
  return n;
}

static void parallel_for(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                         void *arg) {
  watch *w = exec->context;
  uint32_t before = touched(w->call), words[2] = {0, 0};
  for (uint32_t i = 0; i < n; i++) {
    task(arg, i);
    uint32_t after = touched(w->call);
    words[i] = after - before;
    before = after;
  }
  if (words[0] + words[1] != OUTPUTS * TOKENS) return; /* another step */
  w->rows[0] = words[0] / TOKENS;
  w->rows[1] = words[1] / TOKENS;
}

/* Rows of the linear that the first of two threads computes. */
static uint32_t first_share(arena *a, const loaded *m, uint32_t level) {
  watch w = {0};
  spcc_exec exec = {.size = sizeof exec, .threads = 2, .parallel_for = parallel_for, .context = &w};
  size_t in_bytes = sizeof(float) * TOKENS * INPUTS, out_bytes = sizeof(float) * TOKENS * OUTPUTS;
  float *x = arena_array(a, float, (size_t)TOKENS *INPUTS);
  for (uint32_t i = 0; i < TOKENS * INPUTS; i++)
    x[i] = 1.0F;
  spcc_call call = {.cpu = level,
                    .batch = 1,
                    .sequence = TOKENS,
                    .in = (const void *[]){x},
                    .out = (void *[]){arena_alloc(a, out_bytes, 64)},
                    .in_bytes = &in_bytes,
                    .out_bytes = &out_bytes,
                    .exec = &exec};
  loaded_prepare(m, &call);
  w.call = &call;
  loaded_call(m, &call);
  ck_assert_uint_eq(w.rows[0] + w.rows[1], OUTPUTS);
  return w.rows[0];
}

/* Full rows in front: the first thread's half of the work is few rows; at the end: many. */
START_TEST(threads_share_by_cost) {
  static const struct {
    uint32_t lo, hi, rows_min, rows_max;
  } cases[] = {{0, 0, 336, 432}, {0, 192, 48, 240}, {576, 768, 528, 720}};
  for (uint32_t i = 0; i < 3; i++)
    for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
      arena *a = diff_arena();
      loaded *m = loaded_new(a, model(a, full_rows(a, cases[i].lo, cases[i].hi)));
      m->fill = FILL;
      uint32_t rows = first_share(a, m, level);
      ck_assert_msg(rows >= cases[i].rows_min && rows <= cases[i].rows_max,
                    "case %u, level %u: the first thread takes %u rows", i, level, rows);
      loaded_free(m);
      arena_free(a);
    }
}
END_TEST

/* A block costs what its elements cost, zeros or not. */
START_TEST(blocks_count_with_their_zeros) {
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1};
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
    arena *a = diff_arena();
    loaded *m = loaded_new_as(a, model(a, thin_blocks(a)), &four);
    m->fill = FILL;
    uint32_t rows = first_share(a, m, level);
    ck_assert_msg(rows >= 512 && rows <= 592, "level %u: the first thread takes %u rows", level,
                  rows);
    loaded_free(m);
    arena_free(a);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("shares");
  TCase *t = untimed_case("shares");
  tcase_add_test(t, threads_share_by_cost);
  tcase_add_test(t, blocks_count_with_their_zeros);
  suite_add_tcase(s, t);
  return run_suite(s);
}
