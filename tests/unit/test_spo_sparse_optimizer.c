/* SparseOptimizer: a lasso with a known optimum in either metric, plain AdamW without a penalty,
 * a sparsity on schedule, freezing. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "tests/run_suite.h"
#include "tests/unit/spo_training.h"

/* ---- the lasso ½|A w - b|²/n + λ|w|₁, 200 x 30 with 6 true weights ---- */

enum { SAMPLES = 200, UNKNOWNS = 30, TRUE_ONES = 6 };

typedef struct lasso {
  double gram[UNKNOWNS][UNKNOWNS], moment[UNKNOWNS], square, lambda;
} lasso;

static double normal(uint64_t index) {
  double sum = 0;
  for (uint64_t k = 0; k < 12; k++)
    sum += spo_random_unit(&test_source, (1ull << 40) + index * 12 + k);
  return sum - 6;
}

static lasso make_lasso(double lambda) {
  static double a[SAMPLES][UNKNOWNS], b[SAMPLES];
  lasso l = {.lambda = lambda};
  for (int s = 0; s < SAMPLES; s++) {
    b[s] = 0.1 * normal((uint64_t)(s + 1000000));
    for (int i = 0; i < UNKNOWNS; i++) {
      a[s][i] = normal((uint64_t)(s * UNKNOWNS + i));
      if (i < TRUE_ONES) b[s] += a[s][i] * (i % 2 ? -1.5 : 2.0);
    }
    l.square += b[s] * b[s] / (2 * SAMPLES);
    for (int i = 0; i < UNKNOWNS; i++) {
      l.moment[i] += a[s][i] * b[s] / SAMPLES;
      for (int j = 0; j <= i; j++)
        l.gram[i][j] += a[s][i] * a[s][j] / SAMPLES;
    }
  }
  for (int i = 0; i < UNKNOWNS; i++)
    for (int j = i + 1; j < UNKNOWNS; j++)
      l.gram[i][j] = l.gram[j][i];
  return l;
}

static double slope(const lasso *l, const double *w, int i) {
  double g = -l->moment[i];
  for (int j = 0; j < UNKNOWNS; j++)
    g += l->gram[i][j] * w[j];
  return g;
}

static double objective(const lasso *l, const double *w) {
  double value = l->square;
  for (int i = 0; i < UNKNOWNS; i++)
    value += w[i] * (slope(l, w, i) - l->moment[i]) / 2 + l->lambda * fabs(w[i]);
  return value;
}

static void coordinate_descent(const lasso *l, double *w) {
  for (int round = 0; round < 20000; round++) {
    int i = round % UNKNOWNS;
    double a = w[i] - slope(l, w, i) / l->gram[i][i];
    w[i] = copysign(fmax(fabs(a) - l->lambda / l->gram[i][i], 0), a);
  }
}

/* How far a point is from the conditions of optimality. */
static double residual(const lasso *l, const double *w) {
  double worst = 0;
  for (int i = 0; i < UNKNOWNS; i++) {
    double g = slope(l, w, i);
    double r = w[i] == 0 ? fmax(fabs(g) - l->lambda, 0) : fabs(g + copysign(l->lambda, w[i]));
    worst = fmax(worst, r);
  }
  return worst;
}

/* Minimises with AdamW and the proximal step, at a falling learning rate. */
static int solve(const lasso *l, spo_metric metric, double *w) {
  enum { STEPS = 12000 };
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "unstructured", 0, STEPS);
  r.penalty = SPO_L1;
  r.metric = (int)metric;
  r.lambda = l->lambda;
  r.ramp = 0;
  r.freeze = 1;
  training x = training_start(&r, 1, UNKNOWNS);
  for (int step = 0; step < STEPS - 1; step++) {
    spo_optimizer o = test_adamw(step < 4000 ? 1e-2 : 1e-2 * pow(1e-3, (step - 4000) / 8000.0));
    o.decay = 0;
    for (int i = 0; i < UNKNOWNS; i++)
      w[i] = x.t.w[i];
    for (int i = 0; i < UNKNOWNS; i++)
      x.t.g[i] = (float)slope(l, w, i);
    training_update(&x, &o, NULL);
  }
  int zeros = (int)training_zeros(&x);
  for (int i = 0; i < UNKNOWNS; i++)
    w[i] = x.t.w[i];
  training_close(&x);
  return UNKNOWNS - zeros;
}

START_TEST(the_adam_metric_solves_the_lasso) {
  lasso l = make_lasso(0.5);
  double best[UNKNOWNS] = {0}, w[UNKNOWNS];
  coordinate_descent(&l, best);
  ck_assert_double_le(residual(&l, best), 1e-12);
  int nonzeros = solve(&l, SPO_ADAM, w);
  ck_assert_int_eq(nonzeros, TRUE_ONES);
  ck_assert_double_le(residual(&l, w), 1e-6);
  ck_assert_double_le(objective(&l, w) - objective(&l, best), 1e-8);
}
END_TEST

/* Its fixed points are others: thresholds of lr lambda do not hold against Adam's normalised steps.
 */
START_TEST(the_identity_metric_does_not) {
  lasso l = make_lasso(0.5);
  double best[UNKNOWNS] = {0}, w[UNKNOWNS];
  coordinate_descent(&l, best);
  solve(&l, SPO_IDENTITY, w);
  ck_assert_double_ge(objective(&l, w) - objective(&l, best), 0.01);
}
END_TEST

/* ---- without a penalty ---- */

START_TEST(no_penalty_is_plain_adamw) {
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "unstructured", 0, 50);
  training x = training_start(&r, 7, 301), y = training_start(&r, 7, 301);
  spo_optimizer o = test_adamw(1e-2), own = o;
  for (uint64_t step = 1; step <= 20; step++) {
    training_gradient(&y, step);
    own.step = step;
    ck_assert_int_eq(spo_update(&own, &y.t, y.count, NULL, NULL), SPO_OK);
  }
  training_run(&x, &o, 20, NULL);
  ck_assert_mem_eq(x.t.w, y.t.w, x.count * sizeof(float));
  ck_assert_mem_eq(x.t.v, y.t.v, x.count * sizeof(float));
  training_close(&x);
  training_close(&y);
}
END_TEST

/* ---- penalties in one pass ---- */

/* What one step should do: the update, then the standalone proximal operator. */
static void reference_step(const training *x, const spo_optimizer *o, float *w) {
  training y = training_copy(x);
  memcpy(y.t.g, x->t.g, x->count * sizeof(float));
  spo_optimizer own = *o;
  own.step = training_progress(x).step + 1;
  ck_assert_int_eq(spo_update(&own, &y.t, y.count, NULL, NULL), SPO_OK);
  float *d = malloc(x->count * sizeof *d);
  for (size_t i = 0; i < x->count; i++)
    d[i] = sqrtf(y.t.v[i]) * (float)(1 / sqrt(1 - pow(o->beta2, (double)own.step))) +
           (float)o->epsilon;
  double squares = 0;
  for (size_t i = 0; i < x->count; i++)
    squares += pow(test_number(i), 2);
  const spo_recipe *r = &x->recipe;
  double ramp = floor(r->ramp * (double)r->steps);
  spo_prox_spec s = {.penalty = (spo_penalty)r->penalty, .step = o->lr, .mcp_gamma = r->mcp_gamma};
  s.lambda = r->lambda * fmin(1, (double)(own.step - 1) / ramp);
  s.epsilon = r->epsilon * sqrt(squares / (double)x->count);
  s.group_rows = r->goal.pattern.rows;
  s.group_cols = r->goal.pattern.cols;
  spo_prox(&s, "w", y.t.w, x->t.w, r->metric == SPO_ADAM ? d : NULL, x->tensor.rows, x->tensor.cols,
           NULL, NULL);
  memcpy(w, y.t.w, x->count * sizeof(float));
  free(d);
  training_close(&y);
}

START_TEST(the_fused_step_is_update_and_prox) {
  enum { ROWS = 12, COLS = 600 };
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(3, &pool, NULL), SPO_OK);
  for (int k = 0; k < 10; k++) {
    spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "4x3", 0.5, 40);
    r.penalty = k % 5;
    r.metric = k / 5;
    r.lambda = 0.4;
    r.freeze = 1;
    training x = training_start(&r, ROWS, COLS);
    spo_optimizer o = test_adamw(2e-2);
    static float want[ROWS * COLS];
    for (uint64_t step = 1; step <= 12; step++) {
      training_gradient(&x, step);
      reference_step(&x, &o, want);
      training_update(&x, &o, pool);
      for (int i = 0; i < ROWS * COLS; i++)
        ck_assert_msg(fabsf(x.t.w[i] - want[i]) <= 1e-6f * fabsf(want[i]), "case %d step %d: %g %g",
                      k, (int)step, x.t.w[i], want[i]);
    }
    training_close(&x);
  }
  spo_pool_close(pool);
}
END_TEST

/* With lambda >= epsilon times the bound of Adam's step, a weight of 0 stays 0. */
START_TEST(zero_is_absorbing_when_reweighted) {
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "unstructured", 0, 400);
  r.lambda = 0.5;
  r.ramp = 0;
  r.freeze = 1;
  training x = training_start(&r, 10, 100);
  for (size_t i = 0; i < x.count; i += 3)
    x.t.w[i] = 0;
  spo_optimizer o = test_adamw(1e-3);
  for (int k = 0; k < 300; k++) {
    training_run(&x, &o, 1, NULL);
    for (size_t i = 0; i < x.count; i += 3)
      ck_assert(x.t.w[i] == 0);
  }
  training_close(&x);
}
END_TEST

/* ---- a sparsity on schedule ---- */

static uint64_t wanted_zeros(const spo_recipe *r, uint64_t step, size_t units) {
  double t0 = floor(r->begin * (double)r->steps), t1 = floor(r->end * (double)r->steps);
  if ((double)step < t0) return 0;
  double x = fmin(1, ((double)step - t0) / (t1 - t0));
  double s = r->goal.sparsity * (1 - pow(1 - x, 3));
  return (uint64_t)(s * (double)units + 1e-6);
}

START_TEST(the_sparsity_is_reached_at_every_step) {
  static const char *patterns[] = {"unstructured", "4x2", "1x8"};
  for (int k = 0; k < 3; k++) {
    spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, patterns[k], 0.9, 100);
    training x = training_start(&r, 16, 120);
    size_t size = k ? 8 : 1;
    spo_optimizer o = test_adamw(1e-2);
    for (uint64_t step = 1; step <= 100; step++) {
      training_run(&x, &o, 1, NULL);
      ck_assert_uint_eq(training_zeros(&x), size * wanted_zeros(&r, step, x.count / size));
      ck_assert_uint_eq(training_progress(&x).frozen, step >= 70);
    }
    training_finish(&x);
    ck_assert_uint_eq(x.report.kept, size * spo_keep_count(x.count / size, 0.9));
    ck_assert_uint_eq(training_progress(&x).forced, 0);
    training_close(&x);
  }
}
END_TEST

START_TEST(groups_lose_one_more_at_a_time) {
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "1:4x2", SPO_IMPLIED, 100);
  training x = training_start(&r, 8, 22);
  spo_optimizer o = test_adamw(1e-2);
  for (uint64_t step = 1; step <= 100; step++) {
    training_run(&x, &o, 1, NULL);
    r.goal.sparsity = 0.75;
    size_t drop = wanted_zeros(&r, step, 4), zeros = 0;
    for (size_t row = 0; row < 8; row += 2)
      for (size_t at = 0; at < 22; at += 4) {
        size_t width = at + 4 <= 22 ? 4 : 2, keep = 4 - drop;
        zeros += 2 * (width > keep ? width - keep : 0);
      }
    ck_assert_uint_eq(training_zeros(&x), zeros);
  }
  training_close(&x);
}
END_TEST

/* ---- freezing ---- */

START_TEST(a_frozen_mask_stays) {
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "unstructured", 0.8, 40);
  r.penalty = SPO_L1;
  r.lambda = 0.3;
  training x = training_start(&r, 20, 50);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 28, NULL);
  ck_assert_uint_eq(training_progress(&x).frozen, 1);
  ck_assert_uint_gt(training_progress(&x).forced, 0); /* so weak a penalty leaves too much */
  ck_assert_uint_eq(training_zeros(&x), 800);
  static float before[1000];
  memcpy(before, x.t.w, sizeof before);
  training_run(&x, &o, 12, NULL);
  size_t moved = 0;
  for (size_t i = 0; i < x.count; i++) {
    ck_assert((x.t.w[i] == 0) == (before[i] == 0));
    if (before[i] == 0) ck_assert(x.t.m[i] == 0 && x.t.g[i] == 0);
    moved += x.t.w[i] != before[i];
  }
  ck_assert_uint_eq(moved, 200);
  training_finish(&x);
  ck_assert_uint_eq(x.report.kept, 200);
  training_close(&x);
}
END_TEST

/* spo_after does to updated weights what spo_step does in one pass. */
START_TEST(after_another_optimizer) {
  for (int k = 0; k < 3; k++) {
    spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, k == 2 ? "2x2" : "unstructured", 0.6, 30);
    r.penalty = k == 2 ? SPO_GROUP : SPO_L1;
    r.metric = k > 0 ? SPO_ADAM : SPO_IDENTITY;
    r.lambda = k == 0 ? 0 : 0.2;
    training x = training_start(&r, 10, 20), y = training_start(&r, 10, 20);
    spo_optimizer o = test_adamw(1e-2), own = o;
    for (own.step = 1; own.step <= 30; own.step++) {
      training_run(&x, &o, 1, NULL);
      training_gradient(&y, own.step);
      ck_assert_int_eq(spo_grad(y.context, y.state, &y.t, NULL, NULL), SPO_OK);
      ck_assert_int_eq(spo_update(&own, &y.t, y.count, NULL, NULL), SPO_OK);
      ck_assert_int_eq(spo_after(y.context, y.state, &o, &y.t, NULL, NULL), SPO_OK);
      ck_assert_mem_eq(x.t.w, y.t.w, x.count * sizeof(float));
    }
    training_close(&x);
    training_close(&y);
  }
}
END_TEST

START_TEST(refusals) {
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "unstructured", 0.5, 10);
  r.penalty = SPO_GROUP;
  spo_context *c;
  spo_error error;
  spo_tensor tensor = {"q", 2, 4};
  ck_assert_int_eq(spo_context_create(&r, &tensor, &c, &error), SPO_E_PATTERN);
  r.penalty = SPO_REWEIGHTED;
  r.lambda = 1;
  training x = training_open(&r, 2, 4);
  memset(x.t.w, 0, 8 * sizeof(float));
  ck_assert_int_eq(spo_begin(x.context, x.state, x.bytes, &x.t, NULL, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "l1"));
  training_close(&x);
  r.metric = SPO_ADAM;
  x = training_start(&r, 2, 4);
  spo_optimizer sgd = {.rule = SPO_SGD, .lr = 0.1};
  ck_assert_int_eq(spo_step(x.context, x.state, &sgd, &x.t, NULL, &error), SPO_E_VALUE);
  ck_assert_uint_eq(training_progress(&x).step, 0);
  training_close(&x);
  r.lambda = 0;
  x = training_start(&r, 2, 4);
  spo_optimizer o = test_adamw(1e-2);
  x.t.g[3] = NAN;
  ck_assert_int_eq(spo_step(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_NONFINITE);
  for (size_t i = 0; i < 8; i++)
    ck_assert(x.t.w[i] == test_number(i) && x.t.m[i] == 0);
  training_close(&x);
}
END_TEST

/* With a given lambda the mask is chosen once, when it freezes at step 7: what cannot be ranked
 * then is refused first. */
START_TEST(freezing_refuses_before_it_changes) {
  spo_recipe r = test_recipe(SPO_SPARSE_OPTIMIZER, "unstructured", 0.5, 10);
  r.lambda = 0.1;
  training x = training_start(&r, 4, 16);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 6, NULL);
  training_refuses_nan(&x, &o);
  x.t.w[3] = NAN;
  training was = training_copy(&x);
  ck_assert_int_eq(spo_after(x.context, x.state, &o, &x.t, NULL, NULL), SPO_E_NONFINITE);
  training_check_same(&x, &was);
  training_close(&x);
  training_close(&was);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_sparse_optimizer");
  TCase *c = untimed_case("all");
  tcase_add_test(c, the_adam_metric_solves_the_lasso);
  tcase_add_test(c, the_identity_metric_does_not);
  tcase_add_test(c, no_penalty_is_plain_adamw);
  tcase_add_test(c, the_fused_step_is_update_and_prox);
  tcase_add_test(c, zero_is_absorbing_when_reweighted);
  tcase_add_test(c, the_sparsity_is_reached_at_every_step);
  tcase_add_test(c, groups_lose_one_more_at_a_time);
  tcase_add_test(c, a_frozen_mask_stays);
  tcase_add_test(c, after_another_optimizer);
  tcase_add_test(c, refusals);
  tcase_add_test(c, freezing_refuses_before_it_changes);
  suite_add_tcase(s, c);
  return run_suite(s);
}
