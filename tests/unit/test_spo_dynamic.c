/* Methods that are sparse at all times: dynamic sparse training and RigL. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "tests/run_suite.h"
#include "tests/unit/spo_training.h"

static size_t unit_size(const spo_recipe *r) {
  return r->goal.pattern.kind == SPO_BLOCK ? (size_t)r->goal.pattern.rows * r->goal.pattern.cols
                                           : 1;
}

/* The active weights, as the library tells them: a gradient of ones after spo_grad. */
static void read_mask(training *x, unsigned char *mask) {
  for (size_t i = 0; i < x->count; i++)
    x->t.g[i] = 1;
  ck_assert_int_eq(spo_grad(x->context, x->state, &x->t, NULL, NULL), SPO_OK);
  for (size_t i = 0; i < x->count; i++)
    mask[i] = x->t.g[i] == 1;
}

/* ---- dynamic ---- */

/* The update j = 1 … n - 1 after step floor(j T / n) moves
 * ceil(ceil(rate nnz) (1 + cos(pi t / T)) / 2) units. */
static size_t moved_after(const spo_recipe *r, uint64_t step, size_t active) {
  for (uint64_t j = 1; j < r->updates; j++)
    if (j * r->steps / r->updates == step) {
      double part = (double)step / (double)r->steps;
      return (size_t)ceil(ceil(r->prune_rate * (double)active) * (1 + cos(M_PI * part)) / 2 - 1e-6);
    }
  return 0;
}

typedef struct change {
  size_t active, dropped, grown, weights;
} change;

static change compare(const training *x, const unsigned char *before, const unsigned char *now) {
  change c = {0};
  for (size_t i = 0; i < x->count; i++) {
    c.active += now[i];
    c.dropped += before[i] && !now[i];
    c.grown += !before[i] && now[i];
    if (!now[i]) ck_assert(x->t.w[i] == 0 && x->t.m[i] == 0 && x->t.v[i] == 0);
    if (!before[i] && now[i]) ck_assert(x->t.w[i] == 0 && x->t.m[i] == 0 && x->t.v[i] == 0);
  }
  return c;
}

static void follow(const char *pattern, double sparsity, uint64_t steps, uint64_t updates,
                   bool age_correct) {
  spo_recipe r = test_recipe(SPO_DYNAMIC, pattern, sparsity, steps);
  r.updates = updates;
  r.age_correct = age_correct;
  size_t cols = r.goal.pattern.cols > 24 ? 192 : 24;
  training x = training_start(&r, 384 / cols, cols);
  unsigned char before[384], now[384];
  size_t size = unit_size(&r), active = spo_keep_count(x.count / size, sparsity);
  spo_optimizer o = test_adamw(1e-2);
  read_mask(&x, before);
  for (uint64_t step = 1; step <= steps; step++) {
    training_run(&x, &o, 1, NULL);
    read_mask(&x, now);
    change c = compare(&x, before, now);
    ck_assert_uint_eq(c.active, active * size);
    ck_assert_uint_eq(c.dropped, size * moved_after(&r, step, active));
    ck_assert_uint_eq(c.grown, c.dropped);
    memcpy(before, now, sizeof now);
  }
  training_finish(&x);
  ck_assert_uint_eq(x.report.kept, active * size);
  training_close(&x);
}

START_TEST(active_weights_are_constant) {
  follow("unstructured", 0.9, 12000, 10001, false); /* 10,000 updates */
  follow("unstructured", 0.75, 300, 40, true);
  follow("4x4", 0.9, 400, 80, false);
  follow("2x3", 0.5, 400, 7, true);
  follow("1x192", 0.5, 100, 10, true);
}
END_TEST

/* What is dropped are the blocks of smallest L1 norm, the later ones among equals. */
START_TEST(drops_the_smallest) {
  spo_recipe r = test_recipe(SPO_DYNAMIC, "2x2", 0.5, 20);
  r.updates = 20;
  training x = training_start(&r, 8, 8);
  unsigned char before[64], now[64];
  spo_optimizer o = test_adamw(0); /* weights stay what they are */
  read_mask(&x, before);
  for (size_t i = 0; i < 64; i++)
    x.t.w[i] = before[i] ? test_number(i) : 0;
  double norm[16] = {0}, worst_kept = INFINITY, best_dropped = 0;
  for (size_t i = 0; i < 64; i++)
    norm[i / 16 * 4 + i % 8 / 2] += fabs((double)x.t.w[i]);
  memset(x.t.g, 0, 64 * sizeof(float));
  training_update(&x, &o, NULL);
  read_mask(&x, now);
  for (size_t b = 0; b < 16; b++) {
    size_t i = b / 4 * 16 + b % 4 * 2;
    if (before[i] && now[i]) worst_kept = fmin(worst_kept, norm[b]);
    if (before[i] && !now[i]) best_dropped = fmax(best_dropped, norm[b]);
  }
  ck_assert_double_gt(best_dropped, 0);
  ck_assert_double_lt(best_dropped, worst_kept);
  ck_assert_uint_eq(training_progress(&x).moved, 4);
  training_close(&x);
}
END_TEST

START_TEST(first_weights_are_truncated_normal) {
  spo_recipe r = test_recipe(SPO_DYNAMIC, "unstructured", 0.5, 100);
  training x = training_start(&r, 400, 500);
  double sum = 0, squares = 0;
  size_t active = 0;
  for (size_t i = 0; i < x.count; i++) {
    double w = x.t.w[i];
    if (w == 0) continue;
    active++;
    sum += w;
    squares += w * w;
    ck_assert_double_le(fabs(w), 0.04);
  }
  ck_assert_uint_eq(active, 100000);
  /* A normal of deviation 0.02 that is cut at 2 deviations has one of 0.88 times that. */
  ck_assert_double_le(fabs(sum / 1e5), 0.0003);
  ck_assert_double_eq_tol(sqrt(squares / 1e5), 0.02 * 0.8796, 0.0002);
  training_close(&x);
}
END_TEST

enum { BINS = 100 };

/* How uneven the bins are: of 99 degrees of freedom 149 is exceeded once in 1000. */
static void check_even(const double *bin) {
  double draws = 0, chi = 0;
  for (int b = 0; b < BINS; b++)
    draws += bin[b];
  ck_assert_double_ge(draws, 999000);
  for (int b = 0; b < BINS; b++)
    chi += pow(bin[b] - draws / BINS, 2) / (draws / BINS);
  ck_assert_double_le(chi, 149);
}

/* A million positions of first masks, and a million that updates grow, fall evenly among near and
 * among far ones. */
START_TEST(growth_is_uniform) {
  enum { COUNT = 100000, ROUNDS = 40 };
  static unsigned char before[COUNT], now[COUNT];
  double first[2][BINS] = {{0}}, grown[2][BINS] = {{0}};
  spo_recipe r = test_recipe(SPO_DYNAMIC, "unstructured", 0.5, 100);
  r.updates = 100;
  spo_optimizer o = test_adamw(1e-3);
  for (uint64_t seed = 0; seed < ROUNDS; seed++) {
    r.seed = seed;
    training x = training_start(&r, 100, COUNT / 100);
    read_mask(&x, before);
    training_run(&x, &o, 1, NULL);
    read_mask(&x, now);
    for (size_t i = 0; i < COUNT; i++) {
      size_t bin[] = {i % BINS, i / (COUNT / BINS)};
      for (int k = 0; k < 2; k++) {
        first[k][bin[k]] += before[i] && seed < ROUNDS / 2;
        grown[k][bin[k]] += now[i] && !before[i];
      }
    }
    training_close(&x);
  }
  for (int k = 0; k < 2; k++) {
    check_even(first[k]);
    check_even(grown[k]);
  }
}
END_TEST

/* Gradients of several passes may be added up, and masked by spo_grad after each of them: only
 * steps count, and what is inactive stays 0. */
START_TEST(accumulated_gradients) {
  spo_recipe r = test_recipe(SPO_DYNAMIC, "2x2", 0.75, 60);
  r.updates = 20;
  training x = training_start(&r, 16, 20), y = training_start(&r, 16, 20);
  unsigned char mask[320];
  spo_optimizer o = test_adamw(1e-2);
  for (uint64_t step = 1; step <= 60; step++) {
    training_gradient(&x, step);
    for (size_t i = 0; i < x.count; i++)
      y.t.g[i] = x.t.g[i] / 2;
    ck_assert_int_eq(spo_grad(y.context, y.state, &y.t, NULL, NULL), SPO_OK);
    for (size_t i = 0; i < x.count; i++)
      y.t.g[i] += x.t.g[i] / 2; /* the second pass, of inactive weights too */
    training_update(&x, &o, NULL);
    training_update(&y, &o, NULL);
    ck_assert_mem_eq(x.t.w, y.t.w, x.count * sizeof(float));
    ck_assert_mem_eq(x.state, y.state, x.bytes);
    read_mask(&x, mask);
    for (size_t i = 0; i < x.count; i++)
      ck_assert(mask[i] || (x.t.w[i] == 0 && x.t.m[i] == 0 && x.t.v[i] == 0));
  }
  training_close(&x);
  training_close(&y);
}
END_TEST

/* On 1 to 32 threads, and interrupted anywhere, the bits are the same; another seed, or another
 * name, gives other positions. */
START_TEST(threads_and_interruptions) {
  static const spo_method_id methods[] = {SPO_DYNAMIC, SPO_DYNAMIC, SPO_RIGL};
  for (int k = 0; k < 3; k++) {
    spo_recipe r = test_recipe(methods[k], "unstructured", 0.8, 60);
    r.updates = 20;
    r.every = 4;
    r.age_correct = k == 1;
    training x = training_start(&r, 300, 500);
    spo_optimizer o = test_adamw(1e-2);
    training half = training_copy(&x);
    training_run(&x, &o, 40, NULL);
    for (unsigned threads = 1; threads <= 32; threads *= 4) {
      spo_pool *pool;
      ck_assert_int_eq(spo_pool_open(threads, &pool, NULL), SPO_OK);
      training y = training_open(&r, 300, 500);
      training_begin(&y, pool);
      training_check_same(&y, &half);
      training_run(&y, &o, 17, pool);
      training z = training_copy(&y);
      training_run(&z, &o, 23, pool);
      training_check_same(&x, &z);
      training_close(&y);
      training_close(&z);
      spo_pool_close(pool);
    }
    r.seed = 1;
    training other = training_start(&r, 300, 500);
    ck_assert_mem_ne(other.t.w, half.t.w, x.count * sizeof(float));
    training_close(&other);
    training_close(&x);
    training_close(&half);
  }
}
END_TEST

/* A constant gradient moves a weight that was just grown by lr when its age is what counts. */
START_TEST(ages) {
  for (int age_correct = 0; age_correct < 2; age_correct++) {
    spo_recipe r = test_recipe(SPO_DYNAMIC, "unstructured", 0.5, 1000);
    r.updates = 2;
    r.age_correct = age_correct;
    training x = training_start(&r, 4, 50);
    unsigned char before[200], now[200];
    spo_optimizer o = test_adamw(1e-3);
    o.decay = 0;
    read_mask(&x, before);
    for (int k = 0; k < 501; k++) {
      if (k == 500) read_mask(&x, now);
      for (size_t i = 0; i < x.count; i++)
        x.t.g[i] = 0.5f;
      training_update(&x, &o, NULL);
    }
    size_t grown = 0;
    double root = sqrt(1 - pow(0.999, 501)); /* with all steps counted, 1 - 0.9^501 being 1 */
    for (size_t i = 0; i < x.count; i++)
      if (now[i] && !before[i]) {
        grown++;
        double want = age_correct ? 1e-3 : 1e-3 * 0.1 * root / sqrt(0.001);
        ck_assert_double_eq_tol(-x.t.w[i], want, 1e-7);
      }
    ck_assert_uint_eq(grown, training_progress(&x).moved);
    ck_assert_uint_eq(grown, 25);
    training_close(&x);
  }
}
END_TEST

START_TEST(progress_of_the_exploration) {
  spo_recipe r = test_recipe(SPO_DYNAMIC, "unstructured", 0.5, 100);
  r.updates = 100;
  r.prune_rate = 1;
  training x = training_start(&r, 10, 10);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 1, NULL);
  ck_assert_uint_eq(training_progress(&x).moved, 50);
  ck_assert_uint_eq(training_progress(&x).young, 0);
  ck_assert_uint_eq(training_progress(&x).explored, 100);
  training_run(&x, &o, 1, NULL);
  ck_assert_uint_eq(training_progress(&x).young, 50); /* all of them had just been grown */
  training_close(&x);
}
END_TEST

/* ---- RigL ---- */

START_TEST(rigl_grows_the_largest_gradients) {
  spo_recipe r = test_recipe(SPO_RIGL, "unstructured", 0.5, 1000);
  r.every = 10;
  training x = training_start(&r, 10, 20);
  unsigned char before[200], now[200];
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 8, NULL);
  read_mask(&x, before);
  training_run(&x, &o, 1, NULL);
  float was[200];
  memcpy(was, x.t.w, sizeof was);
  training_gradient(&x, 10);
  training_update(&x, &o, NULL); /* step 10 */
  double least_grown = INFINITY, most_left = 0;
  memcpy(now, before, sizeof now);
  float g[200];
  memcpy(g, x.t.g, sizeof g); /* whole */
  read_mask(&x, now);
  size_t count = (size_t)(0.15 * (1 + cos(M_PI * 10 / 750)) * 100 + 1e-6), kept = 0, grown = 0;
  for (size_t i = 0; i < 200; i++) {
    kept += now[i];
    if (now[i] && before[i]) ck_assert(x.t.w[i] == was[i]); /* no update of weights */
    if (!now[i]) {
      ck_assert(x.t.w[i] == 0 && x.t.m[i] == 0 && x.t.v[i] == 0);
      most_left = fmax(most_left, fabs((double)g[i]));
    }
    if (!now[i] || before[i]) continue;
    grown++;
    ck_assert(x.t.w[i] == 0);
    least_grown = fmin(least_grown, fabs((double)g[i]));
  }
  ck_assert_uint_eq(kept, 100);
  ck_assert_uint_eq(grown, training_progress(&x).moved);
  ck_assert_uint_le(grown, count);
  ck_assert_uint_ge(grown, 1);
  ck_assert_double_le(most_left, least_grown);
  training_close(&x);
}
END_TEST

START_TEST(rigl_stops) {
  spo_recipe r = test_recipe(SPO_RIGL, "2x2", 0.75, 100);
  r.every = 5;
  training x = training_start(&r, 12, 12);
  unsigned char before[144], now[144];
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 75, NULL);
  read_mask(&x, before);
  training_run(&x, &o, 25, NULL);
  read_mask(&x, now);
  ck_assert_mem_eq(before, now, sizeof now);
  training_finish(&x);
  ck_assert_uint_eq(x.report.kept, 36);
  training_close(&x);
}
END_TEST

START_TEST(refusals) {
  spo_error error;
  spo_context *c;
  spo_tensor tensor = {"q", 6, 4};
  spo_recipe r = test_recipe(SPO_DYNAMIC, "4x4", 0.5, 10);
  ck_assert_int_eq(spo_context_create(&r, &tensor, &c, &error), SPO_E_SHAPE);
  r = test_recipe(SPO_DYNAMIC, "2:4", SPO_IMPLIED, 10);
  ck_assert_int_eq(spo_context_create(&r, &tensor, &c, &error), SPO_E_PATTERN);
  r = test_recipe(SPO_DYNAMIC, "unstructured", 0.5, 10);
  r.age_correct = true;
  training x = training_start(&r, 6, 4);
  spo_optimizer o = test_adamw(1e-2);
  ck_assert_int_eq(spo_after(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "age_correct"));
  training_close(&x);
  r = test_recipe(SPO_RIGL, "unstructured", 0.5, 10);
  r.every = 1;
  x = training_start(&r, 6, 4);
  x.t.g[0] = INFINITY;
  ck_assert_int_eq(spo_step(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_NONFINITE);
  float *g = x.t.g;
  x.t.g = NULL;
  ck_assert_int_eq(spo_after(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_VALUE);
  x.t.g = g;
  training_close(&x);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_dynamic");
  TCase *c = untimed_case("all");
  tcase_add_test(c, active_weights_are_constant);
  tcase_add_test(c, drops_the_smallest);
  tcase_add_test(c, first_weights_are_truncated_normal);
  tcase_add_test(c, growth_is_uniform);
  tcase_add_test(c, accumulated_gradients);
  tcase_add_test(c, threads_and_interruptions);
  tcase_add_test(c, ages);
  tcase_add_test(c, progress_of_the_exploration);
  tcase_add_test(c, rigl_grows_the_largest_gradients);
  tcase_add_test(c, rigl_stops);
  tcase_add_test(c, refusals);
  suite_add_tcase(s, c);
  return run_suite(s);
}
