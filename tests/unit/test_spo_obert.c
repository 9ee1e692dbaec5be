/* oBERT: Woodbury's recursion, joint and summed changes, against direct solutions in f64. */
#include <float.h>

#include "optimizer/obert.h"
#include "tests/run_suite.h"
#include "tests/unit/spo_oneshot.h"

enum { BLOCK = 50, GRADIENTS = 80, ROWS = 6, COLS = 45 /* blocks end within rows */ };

/* F = damping I + (1/m) sum g g' for weights first … first + n - 1 of `count`. */
static double *naive_fisher(const float *g, size_t count, size_t first, size_t n, double damping) {
  double *f = calloc(n * n, sizeof *f);
  for (size_t i = 0; i < n; i++) {
    f[i * n + i] = damping;
    for (size_t j = 0; j < n; j++)
      for (size_t s = 0; s < GRADIENTS; s++)
        f[i * n + j] +=
            (double)g[s * count + first + i] * (double)g[s * count + first + j] / GRADIENTS;
  }
  return f;
}

static double *inverse_of(const double *f, size_t n) {
  size_t all[SIDE];
  double *inverse = malloc(n * n * sizeof *inverse);
  for (size_t i = 0; i < n; i++)
    all[i] = i;
  naive_inverse(f, n, all, n, inverse);
  return inverse;
}

/* The recursion against direct inverses. */
START_TEST(woodbury) {
  for (int k = 0; k < 5; k++) {
    double damping = pow(10, -k), product[BLOCK], inverse[BLOCK * BLOCK] = {0}, size = 0;
    float *g = random_tokens(GRADIENTS, BLOCK);
    double *f = naive_fisher(g, BLOCK, 0, BLOCK, damping), *direct = inverse_of(f, BLOCK);
    for (size_t i = 0; i < BLOCK; i++)
      inverse[i * BLOCK + i] = 1 / damping;
    for (size_t s = 0; s < GRADIENTS; s++)
      spo_woodbury(inverse, BLOCK, g + s * BLOCK, GRADIENTS, product);
    for (size_t i = 0; i < BLOCK * BLOCK; i++)
      size = fmax(size, fabs(direct[i]));
    for (size_t i = 0; i < BLOCK * BLOCK; i++)
      assert_near(inverse[i], direct[i], 1e-8 * size);
    free(g);
    free(f);
    free(direct);
  }
}
END_TEST

static double loss(const double *f, size_t n, const double *w, const double *v) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      sum += (w[i] - v[i]) * f[i * n + j] * (w[j] - v[j]);
  return sum;
}

/* w_Q' (F^-1_QQ)^-1 w_Q for the set Q that is not kept. */
static double set_cost(const double *inverse, size_t n, const double *w,
                       const unsigned char *keep) {
  size_t index[BLOCK], count = 0;
  double a[BLOCK * BLOCK], b[BLOCK], sum = 0;
  for (size_t i = 0; i < n; i++)
    if (!keep[i]) index[count++] = i;
  for (size_t i = 0; i < count; i++) {
    b[i] = w[index[i]];
    for (size_t j = 0; j < count; j++)
      a[i * count + j] = inverse[index[i] * n + index[j]];
  }
  naive_solve(a, b, count, 1);
  for (size_t i = 0; i < count; i++)
    sum += w[index[i]] * b[i];
  return sum;
}

/* One weight and sets of them are the least-squares optimum, at the costs that the formulas
 * say; the sum of single changes never costs less. */
START_TEST(joint_is_lsq) {
  for (int k = 0; k < 40; k++) {
    float *g = random_tokens(GRADIENTS, BLOCK);
    double *f = naive_fisher(g, BLOCK, 0, BLOCK, 1e-3), *inverse = inverse_of(f, BLOCK);
    double w[BLOCK], joint[BLOCK], summed[BLOCK], best[BLOCK], work[BLOCK * BLOCK + BLOCK];
    unsigned char keep[BLOCK];
    size_t index[BLOCK], one = (size_t)(unit_random() * BLOCK);
    for (size_t i = 0; i < BLOCK; i++) {
      w[i] = (double)normal_random();
      keep[i] = k % 2 ? i != one : unit_random() < 0.5;
    }
    memcpy(joint, w, sizeof w);
    memcpy(summed, w, sizeof w);
    ck_assert(spo_obs_joint(inverse, BLOCK, joint, keep, work, index));
    spo_obs_summed(inverse, BLOCK, summed, keep, work);
    naive_lsq(f, BLOCK, w, keep, best);
    for (size_t i = 0; i < BLOCK; i++) {
      assert_near(joint[i], best[i], 1e-10);
      ck_assert(keep[i] || (joint[i] == 0 && summed[i] == 0));
      if (k % 2) assert_near(summed[i], best[i], 1e-10); /* one weight: the same */
    }
    double cost = loss(f, BLOCK, w, joint);
    ck_assert(cost <= loss(f, BLOCK, w, summed) * (1 + 1e-9));
    assert_near(cost, set_cost(inverse, BLOCK, w, keep), 1e-10 * (1 + cost));
    if (k % 2) assert_near(cost, w[one] * w[one] / inverse[one * BLOCK + one], 1e-10 * (1 + cost));
    free(g);
    free(f);
    free(inverse);
  }
}
END_TEST

/* The squares of a run's scores add up to the cost of dropping it. */
START_TEST(scores_are_costs) {
  float *g = random_tokens(GRADIENTS, BLOCK), score[8], w32[BLOCK];
  double *f = naive_fisher(g, BLOCK, 0, BLOCK, 1e-3), *inverse = inverse_of(f, BLOCK);
  double w[BLOCK], best[BLOCK], work[8 * 8 + 8];
  for (size_t i = 0; i < BLOCK; i++)
    w[i] = (double)(w32[i] = normal_random());
  for (size_t count = 1; count <= 8; count++)
    for (size_t first = 0; first + count <= BLOCK; first += 11) {
      unsigned char keep[BLOCK];
      double sum = 0;
      memset(keep, 1, sizeof keep);
      memset(keep + first, 0, count);
      naive_lsq(f, BLOCK, w, keep, best);
      ck_assert(spo_obs_scores(inverse, BLOCK, first, count, w32 + first, score, work));
      for (size_t i = 0; i < count; i++)
        sum += (double)score[i] * (double)score[i];
      double cost = loss(f, BLOCK, w, best);
      assert_near(sum, cost, 1e-5 * cost);
    }
  free(g);
  free(f);
  free(inverse);
}
END_TEST

/* ---- whole layers ---- */

typedef struct sample {
  spo_recipe recipe;
  float *g, *given, *w;
  unsigned char *mask;
  spo_layer layer;
  spo_fisher *fisher;
} sample;

static sample make(const char *pattern, double sparsity, const spo_pool *pool) {
  size_t count = ROWS * COLS;
  sample s = {.g = random_tokens(GRADIENTS, count),
              .given = random_floats(count),
              .w = malloc(count * sizeof(float)),
              .mask = malloc(count)};
  spo_recipe_init(&s.recipe, SPO_OBERT);
  ck_assert(spo_pattern_parse(pattern, &s.recipe.goal.pattern));
  s.recipe.goal.sparsity = sparsity;
  s.recipe.fisher_damping = 1e-3;
  memcpy(s.w, s.given, count * sizeof(float));
  s.layer = (spo_layer){"w", s.w, s.mask, ROWS, COLS};
  ck_assert_int_eq(spo_fisher_open(&s.recipe, count, GRADIENTS, &s.fisher, NULL), SPO_OK);
  for (size_t i = 0; i < GRADIENTS; i++)
    ck_assert_int_eq(spo_fisher_add(s.fisher, "w", s.g + i * count, pool, NULL), SPO_OK);
  return s;
}

static void end(sample *s) {
  free(s->g);
  free(s->given);
  free(s->w);
  free(s->mask);
  spo_fisher_close(s->fisher);
}

/* Unstructured: the mask is that of w^2 / F^-1_ii over the tensor, the weights those of each block.
 */
START_TEST(layer_reference) {
  sample s = make("unstructured", 0.5, NULL);
  size_t count = ROWS * COLS, kept = 0;
  double cost[ROWS * COLS], v[BLOCK], least_kept = INFINITY, most_dropped = 0;
  spo_report report;
  ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, s.fisher, &report, NULL, NULL), SPO_OK);
  for (size_t first = 0; first < count; first += BLOCK) {
    size_t n = count - first < BLOCK ? count - first : BLOCK;
    double *f = naive_fisher(s.g, count, first, n, 1e-3), *inverse = inverse_of(f, n), w[BLOCK];
    for (size_t i = 0; i < n; i++) {
      w[i] = (double)s.given[first + i];
      cost[first + i] = w[i] * w[i] / inverse[i * n + i];
    }
    naive_lsq(f, n, w, s.mask + first, v);
    for (size_t i = 0; i < n; i++)
      assert_near((double)s.w[first + i], v[i], 1e-5);
    free(f);
    free(inverse);
  }
  for (size_t i = 0; i < count; i++) {
    kept += s.mask[i];
    if (s.mask[i]) least_kept = fmin(least_kept, cost[i]);
    if (!s.mask[i]) most_dropped = fmax(most_dropped, cost[i]);
  }
  ck_assert_uint_eq(kept, count - count / 2);
  ck_assert_uint_eq(report.kept, kept);
  ck_assert(least_kept >= most_dropped * (1 - 1e-6));
  end(&s);
}
END_TEST

static const char *const patterns[] = {"unstructured", "3x1", "1x5", "2x3", "2:5", "1:3x2", "1x9"};

START_TEST(patterns_and_pools) {
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(7, &pool, NULL), SPO_OK);
  for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
    for (int summed = 0; summed < 2; summed++) {
      spo_report report, again;
      uint64_t state = test_random;
      sample s = make(patterns[p], 0.5, NULL);
      test_random = state;
      sample t = make(patterns[p], 0.5, pool);
      if (s.recipe.goal.pattern.kind == SPO_NM)
        s.recipe.goal.sparsity = t.recipe.goal.sparsity = SPO_IMPLIED;
      s.recipe.summed = t.recipe.summed = summed;
      ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, s.fisher, &report, NULL, NULL), SPO_OK);
      ck_assert_int_eq(spo_obert(&t.recipe, &t.layer, t.fisher, &again, pool, NULL), SPO_OK);
      ck_assert_mem_eq(s.w, t.w, ROWS * COLS * sizeof(float));
      ck_assert_mem_eq(s.mask, t.mask, ROWS * COLS);
      for (size_t i = 0; i < ROWS * COLS; i++)
        ck_assert(s.mask[i] || s.w[i] == 0);
      end(&s);
      end(&t);
    }
  spo_pool_close(pool);
}
END_TEST

START_TEST(nothing_and_everything) {
  sample s = make("unstructured", 0, NULL);
  spo_report report;
  ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, s.fisher, &report, NULL, NULL), SPO_OK);
  ck_assert_mem_eq(s.w, s.given, ROWS * COLS * sizeof(float));
  s.recipe.goal.sparsity = 1;
  ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, s.fisher, &report, NULL, NULL), SPO_OK);
  ck_assert_uint_eq(report.nonzero, 0);
  end(&s);
}
END_TEST

START_TEST(refusals) {
  sample s = make("unstructured", 0.5, NULL);
  spo_report report;
  spo_error error;
  spo_fisher *few;
  ck_assert_int_eq(spo_fisher_add(s.fisher, "w", s.g, NULL, &error), SPO_E_VALUE);
  ck_assert_int_eq(spo_fisher_open(&s.recipe, 10, 0, &few, &error), SPO_E_VALUE);
  ck_assert_int_eq(spo_fisher_open(&s.recipe, ROWS * COLS, 2, &few, &error), SPO_OK);
  s.g[3] = NAN;
  ck_assert_int_eq(spo_fisher_add(few, "w", s.g, NULL, &error), SPO_E_NONFINITE);
  s.g[3] = 0;
  ck_assert_int_eq(spo_fisher_add(few, "w", s.g, NULL, &error), SPO_OK);
  ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, few, &report, NULL, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "1 of 2 gradients"));
  spo_fisher_close(few);
  spo_recipe zero = {.goal = s.recipe.goal}; /* of another method */
  ck_assert_int_eq(spo_fisher_open(&zero, 10, 2, &few, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "'fisher_block'"));
  ck_assert_int_eq(spo_obert(&zero, &s.layer, s.fisher, &report, NULL, &error), SPO_E_VALUE);
  s.layer.rows--;
  ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, s.fisher, &report, NULL, &error), SPO_E_SHAPE);
  s.layer.rows++;
  s.w[0] = INFINITY;
  ck_assert_int_eq(spo_obert(&s.recipe, &s.layer, s.fisher, &report, NULL, &error),
                   SPO_E_NONFINITE);
  s.w[0] = s.given[0];
  ck_assert_mem_eq(s.w, s.given, ROWS * COLS * sizeof(float));
  spo_fisher_close(NULL);
  end(&s);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_obert");
  TCase *c = untimed_case("obert");
  tcase_add_test(c, woodbury);
  tcase_add_test(c, joint_is_lsq);
  tcase_add_test(c, scores_are_costs);
  tcase_add_test(c, layer_reference);
  tcase_add_test(c, patterns_and_pools);
  tcase_add_test(c, nothing_and_everything);
  tcase_add_test(c, refusals);
  suite_add_tcase(s, c);
  return run_suite(s);
}
