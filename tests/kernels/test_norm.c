/* LayerNorm against the interpreter, for rows whose statistics are hard to get: large means, an
 * outlier first, equal elements, and widths around the kernel's blocks of channels. */
#include <check.h>
#include <math.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { TOKENS = 100 };
static const int64_t widths[] = {1, 7, 8, 9, 63, 768};
enum { WIDTHS = sizeof widths / sizeof *widths };

static ir_graph *graph_of(arena *a, int64_t width) {
  rng r = {3};
  ir_graph *g = ir_graph_new(a, "norm");
  g->max_batch = 1;
  g->max_sequence = TOKENS;
  ir_type type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, width});
  ir_id input = ir_add_input(g, "x", type), x = ir_add_op(g, "rows", OP_pack, &input, 1),
        in[3] = {x};
  for (uint32_t i = 1; i < 3; i++) {
    float *row = arena_array(a, float, (size_t)width);
    for (int64_t k = 0; k < width; k++)
      row[k] = 1.0F + 0.2F * rng_normal(&r);
    in[i] = ir_add_const(g, i == 1 ? "gamma" : "beta", ir_type1(width), row);
  }
  x = ir_add_op(g, "norm", OP_layernorm, in, 3);
  ir_at(g, x)->attr[A_eps].f = 1e-12;
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &x, 1));
  return g;
}

/* What a token's elements are, by the kind of its case. */
static float element(rng *r, int kind, uint32_t token, int64_t channel) {
  float x = rng_normal(r);
  switch (kind) {
  case 0:
    return x;
  case 1: /* a mean of up to some thousand deviations */
    return x + 40.0F * (float)token;
  case 2: /* an outlier where a sum would begin */
    return channel == 0 ? -1e4F : x;
  default: /* small and large rows */
    return ldexpf(x, (int)token % 60 - 30);
  }
}
enum { KINDS = 4 };

START_TEST(norm_agrees_with_the_interpreter) {
  arena *a = diff_arena();
  diag *d = diag_new(a);
  int64_t width = widths[_i / KINDS];
  size_t n = TOKENS * (size_t)width, size = n * sizeof(float);
  rng r = {(uint64_t)_i + 1};
  float *x = arena_array(a, float, n), *y = arena_alloc(a, size, 64);
  for (size_t i = 0; i < n; i++)
    x[i] = element(&r, _i % KINDS, (uint32_t)(i / (size_t)width), (int64_t)(i % (size_t)width));
  random_case c = {.graph = graph_of(a, width), .batch = 1, .sequence = TOKENS, .in_count = 1};
  c.in = (const void *[]){x};
  c.in_bytes = &size;
  const diff_reference *want = diff_reference_new(&c, a, d);
  ck_assert_msg(want != NULL, "%s", diff_messages(a, d));
  loaded *m = loaded_new(a, graph_of(a, width));
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
    loaded_run(m, (spcc_call){.cpu = level,
                              .batch = 1,
                              .sequence = TOKENS,
                              .in = c.in,
                              .out = (void *[]){y},
                              .in_bytes = &size,
                              .out_bytes = &size});
    double error;
    ck_assert_msg(diff_within(want, 0, y, a, &error), "%d: level %u: error %g instead of %g", _i,
                  level, error, want->bound[0]);
  }
  loaded_free(m);
  arena_free(a);
}
END_TEST

int main(void) {
  Suite *s = suite_create("norm");
  TCase *t = untimed_case("norm");
  tcase_add_loop_test(t, norm_agrees_with_the_interpreter, 0, WIDTHS * KINDS);
  suite_add_tcase(s, t);
  return run_suite(s);
}
