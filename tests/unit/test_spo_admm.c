/* NxMTransformer: what ADMM promises on problems with known solutions, and its hooks. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "optimizer/train.h"
#include "tests/run_suite.h"
#include "tests/unit/spo_training.h"

enum { VARS = 8, GROUP = 4, KEEP = 2 };

static double uniform(uint64_t *at) {
  return 2 * spo_random_unit(&test_source, (1ull << 41) + (*at)++) - 1;
}

static spo_recipe nxm(const char *pattern, double rho) {
  spo_recipe r = test_recipe(SPO_NXM, pattern, SPO_IMPLIED, 1000);
  r.rho = rho;
  return r;
}

static spo_status epoch(training *x) {
  return spo_epoch(x->context, x->state, &x->t, NULL, NULL);
}

/* Z and U follow the mask in the state: read through the library's own gradient, rho (W - Z + U),
 * at two weights. */
static void read_pull(training *x, const float *w, double *pull) {
  float *own = x->t.w;
  float copy[64];
  memcpy(copy, w, x->count * sizeof(float));
  x->t.w = copy;
  memset(x->t.g, 0, x->count * sizeof(float));
  ck_assert_int_eq(spo_grad(x->context, x->state, &x->t, NULL, NULL), SPO_OK);
  x->t.w = own;
  for (size_t i = 0; i < x->count; i++)
    pull[i] = x->t.g[i] / x->recipe.rho;
}

/* Z, from its place in the state, has no more non-zeros in a group than the pattern keeps. */
static void check_z(const training *x) {
  const spo_pattern *p = &x->recipe.goal.pattern;
  const char *at = (const char *)x->state + sizeof(spo_head) + spo_bit_bytes(x->count);
  for (size_t row = 0; row < x->tensor.rows; row++)
    for (size_t first = 0; first < x->tensor.cols; first += p->m) {
      size_t nonzero = 0;
      for (size_t c = first; c < x->tensor.cols && c < first + p->m; c++) {
        float z;
        memcpy(&z, at + (row * x->tensor.cols + c) * sizeof z, sizeof z);
        nonzero += z != 0;
      }
      ck_assert_uint_le(nonzero, p->n);
    }
}

/* ---- the algorithm, in f64 ---- */

static void project(const double *x, double *z) {
  for (int g = 0; g < VARS; g += GROUP)
    for (int i = g; i < g + GROUP; i++) {
      int above = 0;
      for (int j = g; j < g + GROUP; j++)
        above += fabs(x[j]) > fabs(x[i]) || (fabs(x[j]) == fabs(x[i]) && j < i);
      z[i] = above < KEEP ? x[i] : 0;
    }
}

/* The library's Z and U over random epochs are those of the f64 reference. */
START_TEST(duals_follow_the_reference) {
  spo_recipe r = nxm("2:4", 0.5);
  training x = training_start(&r, 1, VARS);
  double z[VARS], u[VARS] = {0}, w[VARS], sum[VARS], pull[VARS];
  uint64_t at = 0;
  for (int i = 0; i < VARS; i++)
    w[i] = x.t.w[i];
  for (int round = 0; round < 40; round++) {
    double moved = 0, apart = 0, whole = 0, before[VARS];
    memcpy(before, z, sizeof z);
    for (int i = 0; i < VARS; i++)
      sum[i] = w[i] + u[i];
    project(sum, z);
    for (int i = 0; i < VARS; i++) {
      u[i] += w[i] - z[i];
      moved += round ? pow(z[i] - before[i], 2) : 0;
      apart += pow(w[i] - z[i], 2);
      whole += w[i] * w[i];
    }
    read_pull(&x, x.t.w, pull);
    for (int i = 0; i < VARS; i++)
      ck_assert_double_eq_tol(pull[i], w[i] - z[i] + u[i], 1e-4);
    ck_assert_double_eq_tol(training_progress(&x).primal, sqrt(apart / whole), 1e-5);
    if (round) ck_assert_double_eq_tol(training_progress(&x).dual, 0.5 * sqrt(moved), 1e-4);
    check_z(&x);
    for (int i = 0; i < VARS; i++)
      w[i] = x.t.w[i] = (float)uniform(&at);
    ck_assert_int_eq(epoch(&x), SPO_OK);
  }
  training_close(&x);
}
END_TEST

/* f = ½|W - A|², W solved exactly: from rho = 1 on it converges to P(A). */
START_TEST(converges_to_the_projection) {
  uint64_t at = 1000;
  for (int round = 0; round < 200; round++) {
    double rho = 1 + 3 * fabs(uniform(&at)), a[VARS], best[VARS], pull[VARS];
    spo_recipe r = nxm("2:4", rho);
    training x = training_open(&r, 1, VARS);
    for (int i = 0; i < VARS; i++)
      x.t.w[i] = (float)(a[i] = uniform(&at));
    training_begin(&x, NULL);
    for (int k = 0; k < 400; k++) {
      read_pull(&x, x.t.w, pull);
      for (int i = 0; i < VARS; i++) { /* W = (A + rho (Z - U)) / (1 + rho) */
        double zu = (double)x.t.w[i] - pull[i];
        x.t.w[i] = (float)((a[i] + rho * zu) / (1 + rho));
      }
      ck_assert_int_eq(epoch(&x), SPO_OK);
    }
    project(a, best);
    training_finish(&x);
    for (int i = 0; i < VARS; i++)
      ck_assert_double_eq_tol(x.t.w[i], best[i], 1e-4);
    training_close(&x);
  }
}
END_TEST

/* ---- exact steps in the order Z, W, U on random quadratics, by the library's projection ---- */

typedef struct quadratic {
  double h[VARS][VARS], b[VARS], top; /* ½ w'Hw - b'w; top: a bound of H's eigenvalues */
} quadratic;

static quadratic make_quadratic(uint64_t *at) {
  quadratic q = {.top = 0};
  double a[VARS][VARS];
  for (int i = 0; i < VARS; i++)
    for (int j = 0; j < VARS; j++)
      a[i][j] = uniform(at);
  for (int i = 0; i < VARS; i++) {
    q.b[i] = 3 * uniform(at);
    for (int j = 0; j < VARS; j++) {
      q.h[i][j] = i == j ? 0.1 : 0;
      for (int k = 0; k < VARS; k++)
        q.h[i][j] += a[k][i] * a[k][j];
    }
  }
  for (int i = 0; i < VARS; i++) {
    double row = 0;
    for (int j = 0; j < VARS; j++)
      row += fabs(q.h[i][j]);
    q.top = fmax(q.top, row);
  }
  return q;
}

static double loss(const quadratic *q, const double *w) {
  double sum = 0;
  for (int i = 0; i < VARS; i++) {
    sum -= q->b[i] * w[i];
    for (int j = 0; j < VARS; j++)
      sum += w[i] * q->h[i][j] * w[j] / 2;
  }
  return sum;
}

/* (H + rho I) w = b + rho (z - u), by Gauss-Seidel to the last digit. */
static void solve(const quadratic *q, double rho, const double *z, const double *u, double *w) {
  for (int round = 0; round < 400; round++)
    for (int i = 0; i < VARS; i++) {
      double rest = q->b[i] + rho * (z[i] - u[i]);
      for (int j = 0; j < VARS; j++)
        if (j != i) rest -= q->h[i][j] * w[j];
      w[i] = rest / (q->h[i][i] + rho);
    }
}

static double augmented(const quadratic *q, double rho, const double *w, const double *z,
                        const double *u) {
  double sum = loss(q, w);
  for (int i = 0; i < VARS; i++)
    sum += rho / 2 * (pow(w[i] - z[i] + u[i], 2) - u[i] * u[i]);
  return sum;
}

static double one_round(const quadratic *q, double rho, double *w, double *z, double *u) {
  float score[VARS];
  unsigned char mask[VARS];
  spo_goal goal = {.pattern = {.kind = SPO_NM, .rows = 1, .n = KEEP, .m = GROUP}};
  goal.sparsity = SPO_IMPLIED;
  for (int i = 0; i < VARS; i++)
    score[i] = (float)(w[i] + u[i]);
  ck_assert_int_eq(spo_project(&goal, "z", score, 1, VARS, mask, NULL, NULL), SPO_OK);
  for (int i = 0; i < VARS; i++)
    z[i] = mask[i] ? w[i] + u[i] : 0;
  solve(q, rho, z, u, w);
  double apart = 0;
  for (int i = 0; i < VARS; i++) {
    u[i] += w[i] - z[i];
    apart += pow(w[i] - z[i], 2);
  }
  return sqrt(apart);
}

START_TEST(the_lagrangian_falls) {
  uint64_t at = 50000;
  for (int round = 0; round < 100; round++) {
    quadratic q = make_quadratic(&at);
    double rho = sqrt(2) * q.top, w[VARS] = {0}, z[VARS] = {0}, u[VARS], apart = 1;
    solve(&q, 1e-12, z, z, w);
    for (int i = 0; i < VARS; i++)
      u[i] = 0;
    double last = INFINITY;
    for (int k = 0; k < 1500; k++) {
      apart = one_round(&q, rho, w, z, u);
      double now = augmented(&q, rho, w, z, u);
      if (k > 0) ck_assert_double_le(now, last + 1e-12 * fmax(1, fabs(last)));
      last = now;
    }
    ck_assert_double_le(apart, 1e-6);
  }
}
END_TEST

/* ---- hooks ---- */

START_TEST(without_rho_it_is_adamw) {
  spo_recipe r = nxm("2:4", 0);
  training x = training_start(&r, 3, 40), y = training_start(&r, 3, 40);
  spo_optimizer o = test_adamw(1e-2), own = o;
  for (own.step = 1; own.step <= 30; own.step++) {
    training_run(&x, &o, 1, NULL);
    ck_assert_int_eq(epoch(&x), SPO_OK);
    training_gradient(&y, own.step);
    ck_assert_int_eq(spo_update(&own, &y.t, y.count, NULL, NULL), SPO_OK);
  }
  ck_assert_mem_eq(x.t.w, y.t.w, x.count * sizeof(float));
  training_close(&x);
  training_close(&y);
}
END_TEST

/* The gradient's term is that of rho/2 |W - Z + U|², and is there for a norm to be clipped. */
START_TEST(the_gradient_is_of_the_distance) {
  spo_recipe r = nxm("1:4", 0.25);
  training x = training_start(&r, 2, 8);
  double pull[16], up[16], norm = 0, hand = 0;
  for (int k = 0; k < 3; k++)
    ck_assert_int_eq(epoch(&x), SPO_OK);
  read_pull(&x, x.t.w, pull);
  for (size_t i = 0; i < x.count; i++) {
    float moved[16], h = 0.125f;
    memcpy(moved, x.t.w, sizeof moved);
    moved[i] += h;
    read_pull(&x, moved, up);
    double rise = 0.25 / 2 * (pow(up[i], 2) - pow(up[i] - 2 * h, 2)) / (2 * h);
    x.t.g[i] = 1;
    ck_assert_double_eq_tol(rise, 0.25 * pull[i], 1e-5);
  }
  for (size_t i = 0; i < x.count; i++)
    x.t.g[i] = 1;
  ck_assert_int_eq(spo_grad(x.context, x.state, &x.t, NULL, NULL), SPO_OK);
  for (size_t i = 0; i < x.count; i++) {
    norm += pow(x.t.g[i], 2);
    hand += pow(1 + 0.25 * pull[i], 2);
  }
  ck_assert_double_eq_tol(sqrt(norm), sqrt(hand), 1e-5);
  training_close(&x);
}
END_TEST

/* Masks keep exactly N of each group, whatever the ties; a published implementation compares with a
 * quantile and keeps 3, 1 and 1 of these. */
START_TEST(exact_counts) {
  static const struct {
    const char *pattern;
    float w[4];
    unsigned char mask[4];
  } cases[] = {{"1:4", {1, 4, 3, 2}, {0, 1, 0, 0}}, {"3:4", {1, 4, 3, 2}, {0, 1, 1, 1}},
               {"2:4", {3, 1, 1, 1}, {1, 1, 0, 0}}, {"2:4", {5, 5, 5, 5}, {1, 1, 0, 0}},
               {"2:4", {0, 0, 0, 0}, {1, 1, 0, 0}}, {"2:4", {0, 0, -1, 0}, {1, 0, 1, 0}}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    spo_recipe r = nxm(cases[k].pattern, 1e-3);
    training x = training_open(&r, 1, 4);
    memcpy(x.t.w, cases[k].w, sizeof cases[k].w);
    training_begin(&x, NULL);
    training_finish(&x);
    ck_assert_mem_eq(x.mask, cases[k].mask, 4);
    training_close(&x);
  }
}
END_TEST

START_TEST(duals_by_steps) {
  spo_recipe r = nxm("2:4", 1e-2), by_epoch = r;
  r.dual_every = 5;
  training x = training_start(&r, 4, 16), y = training_start(&by_epoch, 4, 16);
  spo_optimizer o = test_adamw(1e-2);
  for (int k = 0; k < 4; k++) {
    training_run(&x, &o, 5, NULL);
    ck_assert_int_eq(epoch(&x), SPO_OK); /* nothing: it counts steps */
    training_run(&y, &o, 5, NULL);
    ck_assert_int_eq(epoch(&y), SPO_OK);
    check_z(&x);
    check_z(&y);
  }
  ck_assert_mem_eq(x.t.w, y.t.w, x.count * sizeof(float));
  training_finish(&x);
  ck_assert_uint_eq(x.report.kept, 32);
  training_run(&x, &o, 5, NULL); /* what is trained on after the end stays in the mask */
  ck_assert_uint_eq(training_zeros(&x), 32);
  training_close(&x);
  training_close(&y);
}
END_TEST

START_TEST(duals_refuse_before_the_update) {
  spo_recipe r = nxm("2:4", 1e-2);
  r.dual_every = 5;
  training x = training_start(&r, 4, 16);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 4, NULL);
  training_refuses_nan(&x, &o);
  training_close(&x);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_admm");
  TCase *c = untimed_case("all");
  tcase_add_test(c, duals_follow_the_reference);
  tcase_add_test(c, converges_to_the_projection);
  tcase_add_test(c, the_lagrangian_falls);
  tcase_add_test(c, without_rho_it_is_adamw);
  tcase_add_test(c, the_gradient_is_of_the_distance);
  tcase_add_test(c, exact_counts);
  tcase_add_test(c, duals_by_steps);
  tcase_add_test(c, duals_refuse_before_the_update);
  suite_add_tcase(s, c);
  return run_suite(s);
}
