/* The elementary functions of compiled code over their whole ranges, against libm in f64, on every
 * ISA level of this machine. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

/* A call computes POINTS numbers: ROWS tokens of CHANNELS, or PAIRS sequences of two tokens. */
enum { ROWS = 4096, CHANNELS = 64, POINTS = ROWS * CHANNELS, PAIRS = 4096, MAX_IN = 3 };

static arena *mem;
static loaded *model;
static uint32_t level;

static void setup(void) {
  mem = diff_arena();
}

static void teardown(void) {
  loaded_free(model);
  arena_free(mem);
}

/* One output; every input has in_size bytes. */
static void run(int32_t batch, int32_t sequence, const float *const *in, size_t in_size, float *out,
                size_t out_size) {
  const void *const ins[MAX_IN] = {in[0], in[1], in[2]};
  loaded_run(model, (spcc_call){.cpu = level,
                                .batch = batch,
                                .sequence = sequence,
                                .in = ins,
                                .out = (void *[]){out},
                                .in_bytes = (size_t[]){in_size, in_size, in_size},
                                .out_bytes = &out_size});
}

/* ---- functions of one number ---- */

static double exact_gelu(double x) {
  return 0.5 * x * erfc(-x * sqrt(0.5));
}
static double exact_gelu_tanh(double x) {
  return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}
static double exact_relu(double x) {
  return x > 0 ? x : 0;
}

typedef struct function {
  const char *name;
  enum ir_op op;
  int64_t form;
  double (*exact)(double x);
  double absolute, relative; /* an error may reach the larger of the two */
} function;

static const function functions[] = {
    {"gelu", OP_gelu, FORM_ERF, exact_gelu, 3e-7, 6e-8},
    {"gelu in tanh form", OP_gelu, FORM_TANH, exact_gelu_tanh, 6e-7, 6e-8},
    {"tanh", OP_tanh, 0, tanh, 0, 3e-7},
    {"relu", OP_relu, 0, exact_relu, 0, 0},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static void compile_function(const function *f) {
  ir_graph *g = ir_graph_new(mem, "math");
  g->max_sequence = ROWS;
  ir_id x =
      ir_add_input(g, "x", ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, CHANNELS}));
  ir_id rows = ir_add_op(g, "rows", OP_pack, &x, 1), y = ir_add_op(g, "f", f->op, &rows, 1);
  if (f->op == OP_gelu) ir_at(g, y)->attr[A_form].i = f->form;
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &y, 1));
  model = loaded_new(mem, g);
}

static void check_points(const function *f, const float *x) {
  float *y = arena_array(mem, float, POINTS);
  run(1, ROWS, (const float *[MAX_IN]){x}, POINTS * sizeof *x, y, POINTS * sizeof *y);
  for (uint32_t i = 0; i < POINTS; i++) {
    double want = f->exact((double)x[i]), error = fabs((double)y[i] - want);
    /* Results below the smallest normal number are flushed to zero. */
    double most = fmax(fmax(f->absolute, f->relative * fabs(want)), (double)FLT_MIN);
    ck_assert_msg(error <= most, "level %u: %s(%a) is %a instead of %a, off by %.3g", level,
                  f->name, (double)x[i], (double)y[i], want, error);
  }
}

/* Steps of 24/POINTS from -12 to 12. */
static void check_middle(const function *f) {
  float *x = arena_array(mem, float, POINTS);
  for (uint32_t i = 0; i < POINTS; i++)
    x[i] = (float)(-12 + 24.0 * i / (POINTS - 1));
  check_points(f, x);
}

/* Every exponent of normal numbers with both signs and evenly spread mantissas. */
static void check_exponents(const function *f) {
  enum { EXPONENTS = 254, EACH = POINTS / (2 * EXPONENTS) };
  float *x = arena_array(mem, float, POINTS);
  for (uint32_t i = 0; i < POINTS; i++) {
    uint32_t exponent = 1 + i / (2 * EACH) % EXPONENTS, step = (1u << 23) / EACH;
    uint32_t bits = (i & 1) << 31 | exponent << 23 | (i / 2 % EACH) * step;
    memcpy(&x[i], &bits, sizeof bits);
  }
  check_points(f, x);
}

/* What a number that no weight brings forth does: NaN stays, nothing else becomes NaN but the
 * GELUs of -infinity, whose formulas are infinity times zero; denormal numbers count as zero. */
static void check_oddities(const function *f) {
  const float odd[] = {NAN,       INFINITY,     -INFINITY, 0.0F,    -0.0F,
                       0x1p-149F, -0x1.8p-127F, FLT_MAX,   -FLT_MAX};
  float *x = arena_array(mem, float, POINTS), *y = arena_array(mem, float, POINTS);
  for (uint32_t i = 0; i < POINTS; i++)
    x[i] = i % 9 < sizeof odd / sizeof *odd ? odd[i % 9] : 1;
  run(1, ROWS, (const float *[MAX_IN]){x}, POINTS * sizeof *x, y, POINTS * sizeof *y);
  for (uint32_t i = 0; i < POINTS; i++) {
    double want = f->exact((double)x[i]), got = (double)y[i];
    bool tail = f->op == OP_gelu && x[i] < -12;
    bool ok = isnan(x[i])   ? isnan(got)
              : tail        ? fabs(got) <= 3e-7 || (isinf(x[i]) && isnan(got))
              : isinf(x[i]) ? got == want
                            : fabs(got - want) <= fmax(6e-8 * fabs(want), (double)FLT_MIN);
    ck_assert_msg(ok, "level %u: %s(%a) is %a", level, f->name, (double)x[i], got);
  }
}

static void on_every_level(void (*check)(const function *f), const function *f) {
  uint32_t checked = 0;
  for (level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++, checked++)
    check(f);
  ck_assert_msg(checked > 0, "this CPU runs no level that spcc compiles for");
}

START_TEST(functions_agree_with_libm) {
  const function *f = &functions[_i];
  compile_function(f);
  on_every_level(check_middle, f);
  on_every_level(check_exponents, f);
}
END_TEST

START_TEST(odd_numbers_stay_odd) {
  const function *f = &functions[_i];
  compile_function(f);
  on_every_level(check_oddities, f);
}
END_TEST

/* ---- exp, by the softmax of two scores 0 and t: the second gets e^t / (1 + e^t) ---- */

static void compile_softmax(void) {
  ir_graph *g = ir_graph_new(mem, "softmax");
  g->max_batch = PAIRS;
  g->max_sequence = 2;
  static const char *const names[MAX_IN] = {"q", "k", "v"};
  ir_id in[MAX_IN];
  for (uint32_t i = 0; i < MAX_IN; i++) {
    in[i] = ir_add_input(g, names[i], ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, 1}));
    in[i] = ir_add_op(g, arena_printf(mem, "%s.rows", names[i]), OP_pack, &in[i], 1);
  }
  ir_id y = ir_add_op(g, "attention", OP_attention, in, MAX_IN);
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &y, 1));
  model = loaded_new(mem, g);
}

/* p[i] gets the share of the second key, with the scores 0 and t[i]; values[] of the keys. */
static void softmax_of(const float *t, const float values[2], float *p) {
  float *q = arena_array(mem, float, 2 * PAIRS), *k = arena_array(mem, float, 2 * PAIRS);
  float *v = arena_array(mem, float, 2 * PAIRS), *y = arena_array(mem, float, 2 * PAIRS);
  for (uint32_t i = 0; i < PAIRS; i++) {
    q[2 * i] = q[2 * i + 1] = 1;
    k[2 * i + 1] = t[i];
    v[2 * i] = values[0];
    v[2 * i + 1] = values[1];
  }
  const float *in[] = {q, k, v};
  run(PAIRS, 2, in, 2 * PAIRS * sizeof(float), y, 2 * PAIRS * sizeof(float));
  for (uint32_t i = 0; i < PAIRS; i++) {
    ck_assert_msg(memcmp(&y[2 * i], &y[2 * i + 1], sizeof *y) == 0,
                  "level %u: two equal queries differ at score %a", level, (double)t[i]);
    p[i] = y[2 * i];
  }
}

/* Scores are multiplied by a rounded constant, so the error grows with them. */
static void check_softmax(const function *unused) {
  (void)unused;
  float *t = arena_array(mem, float, PAIRS), *p = arena_array(mem, float, PAIRS);
  for (uint32_t i = 0; i < PAIRS; i++)
    t[i] = (float)(-90 + 120.0 * i / (PAIRS - 1));
  softmax_of(t, (const float[]){0, 1}, p);
  for (uint32_t i = 0; i < PAIRS; i++) {
    double x = (double)t[i], want = 1 / (1 + exp(-x));
    double most = fmax((3e-7 + 2e-8 * fabs(x)) * want, 4 * (double)FLT_MIN);
    ck_assert_msg(fabs((double)p[i] - want) <= most, "level %u: softmax of %a is %a instead of %a",
                  level, x, (double)p[i], want);
  }
  softmax_of(t, (const float[]){1, 1}, p);
  for (uint32_t i = 0; i < PAIRS; i++)
    ck_assert_msg(fabs((double)p[i] - 1) <= 3e-7, "level %u: the shares of score %a sum to %a",
                  level, (double)t[i], (double)p[i]);
}

/* Scores as large as f32 allows, and NaN. */
static void check_extreme_scores(const function *unused) {
  (void)unused;
  const float scores[] = {1e30F, -1e30F, FLT_MAX, -FLT_MAX, 0x1p-149F, 150, -150, NAN};
  const double want[] = {1, 0, 1, 0, 0.5, 1, 0, (double)NAN};
  float *t = arena_array(mem, float, PAIRS), *p = arena_array(mem, float, PAIRS);
  for (uint32_t i = 0; i < PAIRS; i++)
    t[i] = scores[i % 8];
  softmax_of(t, (const float[]){0, 1}, p);
  for (uint32_t i = 0; i < PAIRS; i++) {
    bool ok = isnan(want[i % 8]) ? isnan(p[i]) : fabs((double)p[i] - want[i % 8]) <= 1e-7;
    ck_assert_msg(ok, "level %u: softmax of %a is %a instead of %a", level, (double)t[i],
                  (double)p[i], want[i % 8]);
  }
}

START_TEST(softmax_agrees_with_libm) {
  compile_softmax();
  on_every_level(check_softmax, NULL);
  on_every_level(check_extreme_scores, NULL);
}
END_TEST

int main(void) {
  Suite *s = suite_create("math");
  TCase *t = untimed_case("math");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, functions_agree_with_libm, 0, FUNCTIONS);
  tcase_add_loop_test(t, odd_numbers_stay_odd, 0, FUNCTIONS);
  tcase_add_test(t, softmax_agrees_with_libm);
  suite_add_tcase(s, t);
  return run_suite(s);
}
