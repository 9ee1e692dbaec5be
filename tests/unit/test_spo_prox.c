/* Proximal operators: the condition of optimality, a grid of other points, and edges. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "optimizer/spo_train.h"
#include "tests/run_suite.h"

static uint64_t state;

static void setup(void) {
  state = 0x9e3779b97f4a7c15u;
}

static double uniform(double least, double most) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return least + (most - least) * (double)(state >> 11) * 0x1p-53;
}

static double penalty_of(const spo_prox_spec *s, double x, double before) {
  double size = fabs(x);
  switch (s->penalty) {
  case SPO_REWEIGHTED:
    return s->lambda * size / (fabs(before) + s->epsilon);
  case SPO_L0:
    return size > 0 ? s->lambda : 0;
  case SPO_MCP:
    return size <= s->mcp_gamma * s->lambda ? s->lambda * size - x * x / (2 * s->mcp_gamma)
                                            : s->mcp_gamma * s->lambda * s->lambda / 2;
  default:
    return s->lambda * size;
  }
}

static double value_at(const spo_prox_spec *s, double x, double a, double before, double d) {
  return s->step * penalty_of(s, x, before) + d * (x - a) * (x - a) / 2;
}

/* No point of a fine grid is better, 0 and the weight itself among them. */
static void check_grid(const spo_prox_spec *s, double x, double a, double before, double d) {
  double here = value_at(s, x, a, before, d);
  for (int i = -400; i <= 400; i++) {
    double other = value_at(s, a * i / 200, a, before, d);
    ck_assert_msg(here <= other + 1e-6 * (other + 1e-3), "penalty %d: a %g d %g: %g beats %g",
                  (int)s->penalty, a, d, a * i / 200, x);
  }
}

/* The slope of the penalty at x > 0; at 0 that from the right. */
static double penalty_slope(const spo_prox_spec *s, double x, double before) {
  switch (s->penalty) {
  case SPO_REWEIGHTED:
    return s->lambda / (fabs(before) + s->epsilon);
  case SPO_MCP:
    return fmax(s->lambda - x / s->mcp_gamma, 0);
  case SPO_L0:
    return x > 0 ? 0 : INFINITY;
  default:
    return s->lambda;
  }
}

/* 0 is in d (x - a) + step times the penalty's subdifferential at x. */
static void check_stationary(const spo_prox_spec *s, double x, double a, double before, double d) {
  double slope = s->step * penalty_slope(s, fabs(x), before);
  if (x == 0)
    ck_assert_double_le(d * fabs(a), slope * (1 + 1e-6));
  else
    ck_assert_double_le(fabs(d * (x - a) + copysign(slope, x)), 1e-6 * (d * fabs(a) + slope));
}

START_TEST(single_weights) {
  static const spo_penalty penalties[] = {SPO_L1, SPO_REWEIGHTED, SPO_L0, SPO_MCP};
  for (int round = 0; round < 4000; round++) {
    spo_prox_spec s = {.penalty = penalties[round % 4],
                       .step = uniform(0.01, 1),
                       .lambda = uniform(0.01, 2),
                       .epsilon = uniform(0.01, 1),
                       .mcp_gamma = uniform(0.05, 4)};
    float a = (float)uniform(-3, 3), x = a, before = (float)uniform(-2, 2);
    float d = (float)uniform(0.1, 4);
    const float *metric = round % 3 ? &d : NULL;
    ck_assert_int_eq(spo_prox(&s, "w", &x, &before, metric, 1, 1, NULL, NULL), SPO_OK);
    check_grid(&s, x, a, before, metric ? d : 1);
    check_stationary(&s, x, a, before, metric ? d : 1);
  }
}
END_TEST

enum { SIDE = 4, SIZE = SIDE * SIDE };

static void random_group(float *a, float *b, float *d) {
  for (int i = 0; i < SIZE; i++) {
    a[i] = (float)uniform(-1, 1);
    b[i] = (float)uniform(-1, 1);
    d[i] = (float)uniform(0.05, 3);
  }
}

static double norm(const float *x) {
  double sum = 0;
  for (int i = 0; i < SIZE; i++)
    sum += (double)x[i] * (double)x[i];
  return sqrt(sum);
}

/* d (x - a) + t x / |x| = 0 for each element; a zero group has |d a| <= t. */
static void check_group(const float *x, const float *a, const float *d, double t) {
  double length = norm(x), pull = 0;
  for (int i = 0; i < SIZE; i++) {
    double di = d ? d[i] : 1;
    pull += pow(di * a[i], 2);
    if (length > 0)
      ck_assert_double_le(fabs(di * (x[i] - a[i]) + t * x[i] / length), 2e-6 * t + 1e-6);
  }
  ck_assert_int_eq(length > 0, sqrt(pull) > t);
}

static double distance(const float *x, const float *y, const float *d) {
  double sum = 0;
  for (int i = 0; i < SIZE; i++)
    sum += (d ? d[i] : 1) * pow((double)x[i] - (double)y[i], 2);
  return sqrt(sum);
}

START_TEST(groups) {
  for (int round = 0; round < 2000; round++) {
    float a[SIZE], b[SIZE], d[SIZE], x[SIZE], y[SIZE];
    random_group(a, b, d);
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    const float *metric = round % 2 ? d : NULL;
    spo_prox_spec s = {.penalty = SPO_GROUP, .step = 1, .lambda = uniform(0.01, 0.8)};
    ck_assert_int_eq(spo_prox(&s, "w", x, NULL, metric, SIDE, SIDE, NULL, NULL), SPO_OK);
    ck_assert_int_eq(spo_prox(&s, "w", y, NULL, metric, SIDE, SIDE, NULL, NULL), SPO_OK);
    check_group(x, a, metric, s.lambda * SIDE);
    ck_assert_double_le(distance(x, y, metric), distance(a, b, metric) * (1 + 1e-6));
  }
}
END_TEST

/* Blocks, rows and columns of a tensor are the groups one by one. */
START_TEST(groups_tile) {
  static const size_t sides[][2] = {{2, 2}, {1, 0}, {0, 1}, {4, 1}};
  for (size_t k = 0; k < 4; k++) {
    float a[SIZE], b[SIZE], d[SIZE], x[SIZE];
    random_group(a, b, d);
    memcpy(x, a, sizeof x);
    spo_prox_spec s = {.penalty = SPO_GROUP, .step = 0.5, .lambda = 0.6};
    s.group_rows = sides[k][0];
    s.group_cols = sides[k][1];
    ck_assert_int_eq(spo_prox(&s, "w", x, NULL, NULL, SIDE, SIDE, NULL, NULL), SPO_OK);
    size_t rows = s.group_rows ? s.group_rows : SIDE, cols = s.group_cols ? s.group_cols : SIDE;
    for (size_t i = 0; i < SIZE; i++) {
      size_t r0 = i / SIDE / rows * rows, c0 = i % SIDE / cols * cols;
      double sum = 0;
      for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
          sum += pow(a[(r0 + r) * SIDE + c0 + c], 2);
      double keep = 1 - 0.3 * sqrt((double)(rows * cols)) / sqrt(sum);
      ck_assert_double_eq_tol(x[i], a[i] * (keep > 0 ? keep : 0), 1e-6);
    }
  }
}
END_TEST

/* soft(a) = a - clip(a, -t, t); distances do not grow; the gradient of the Moreau envelope is
 * d (a - prox) / step. */
START_TEST(soft_is_a_projection) {
  for (int round = 0; round < 2000; round++) {
    spo_prox_spec s = {.penalty = SPO_L1, .step = 0.5, .lambda = uniform(0, 2)};
    float a = (float)uniform(-2, 2), b = (float)uniform(-2, 2), x = a, y = b,
          t = (float)(0.5 * s.lambda);
    spo_prox(&s, "w", &x, NULL, NULL, 1, 1, NULL, NULL);
    spo_prox(&s, "w", &y, NULL, NULL, 1, 1, NULL, NULL);
    ck_assert_float_eq_tol(x, a - fmaxf(-t, fminf(t, a)), 2e-7f);
    ck_assert_float_le(fabsf(x - y), fabsf(a - b) + 2e-7f);
    double h = 1e-3, up = a + h, down = a - h, th = t;
    double xu = copysign(fmax(fabs(up) - th, 0), up), xd = copysign(fmax(fabs(down) - th, 0), down);
    double slope = (value_at(&s, xu, up, 0, 1) - value_at(&s, xd, down, 0, 1)) / (2 * h);
    if (fabs(fabs(a) - th) > 2 * h) ck_assert_double_eq_tol(slope, (double)a - (double)x, 1e-6);
  }
}
END_TEST

START_TEST(edges) {
  static const spo_penalty penalties[] = {SPO_L1, SPO_REWEIGHTED, SPO_L0, SPO_GROUP, SPO_MCP};
  static const float values[] = {0.0f, -0.0f, 1e-45f, -1.5f, FLT_MAX, INFINITY};
  for (size_t p = 0; p < 5; p++)
    for (size_t i = 0; i < 6; i++) {
      spo_prox_spec s = {
          .penalty = penalties[p], .step = 0, .lambda = 1, .epsilon = 0.1, .mcp_gamma = 3};
      float x = values[i], zero = 0;
      ck_assert_int_eq(spo_prox(&s, "w", &x, NULL, &zero, 1, 1, NULL, NULL), SPO_OK);
      ck_assert_mem_eq(&x, &values[i], sizeof x); /* a step of 0 changes no bit */
    }
}
END_TEST

/* An input that never saw a gradient has Adam's epsilon as its metric: it goes to 0. */
START_TEST(dead_inputs) {
  static const spo_penalty penalties[] = {SPO_L1, SPO_REWEIGHTED, SPO_L0, SPO_GROUP};
  for (size_t p = 0; p < 4; p++) {
    spo_prox_spec s = {.penalty = penalties[p], .step = 1e-3, .lambda = 1, .epsilon = 0.1};
    float x = 0.5f, d = 1e-8f, nan = NAN;
    ck_assert_int_eq(spo_prox(&s, "w", &x, NULL, &d, 1, 1, NULL, NULL), SPO_OK);
    ck_assert(x == 0);
    spo_prox(&s, "w", &nan, NULL, NULL, 1, 1, NULL, NULL);
    ck_assert(isnan(nan));
  }
}
END_TEST

START_TEST(refusals) {
  float w[6] = {1, 2, 3, 4, 5, 6}, was[6];
  memcpy(was, w, sizeof w);
  spo_error error;
  spo_prox_spec s = {.penalty = SPO_L1, .step = -1, .lambda = 1};
  ck_assert_int_eq(spo_prox(&s, "q", w, NULL, NULL, 2, 3, NULL, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "'q'"));
  s = (spo_prox_spec){.penalty = SPO_REWEIGHTED, .step = 1, .lambda = 1};
  ck_assert_int_eq(spo_prox(&s, "q", w, NULL, NULL, 2, 3, NULL, NULL), SPO_E_VALUE);
  s = (spo_prox_spec){.penalty = SPO_GROUP, .step = 1, .lambda = 1, .group_cols = 2};
  ck_assert_int_eq(spo_prox(&s, "q", w, NULL, NULL, 2, 3, NULL, NULL), SPO_E_SHAPE);
  ck_assert_mem_eq(w, was, sizeof w);
  s = (spo_prox_spec){.penalty = SPO_GROUP, .step = 1, .lambda = 1};
  ck_assert_int_eq(spo_prox(&s, "q", w, NULL, NULL, 0, 3, NULL, NULL), SPO_OK);
}
END_TEST

/* Any number of threads, and any other way to cut a tensor, gives the same bits. */
START_TEST(threads) {
  enum { ROWS = 300, COLS = 1001 };
  static float a[ROWS * COLS], x[ROWS * COLS], y[ROWS * COLS], d[ROWS * COLS];
  for (size_t i = 0; i < ROWS * COLS; i++) {
    a[i] = (float)uniform(-1, 1);
    d[i] = (float)uniform(0.1, 2);
  }
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(5, &pool, NULL), SPO_OK);
  for (int p = 0; p <= SPO_MCP; p++) {
    spo_prox_spec s = {.penalty = (spo_penalty)p, .step = 0.3, .lambda = 0.5, .epsilon = 0.2};
    s.mcp_gamma = 2;
    s.group_rows = 3;
    s.group_cols = 7;
    memcpy(x, a, sizeof x);
    memcpy(y, a, sizeof y);
    spo_prox(&s, "w", x, a, d, ROWS, COLS, NULL, NULL);
    spo_prox(&s, "w", y, NULL, d, ROWS, COLS, pool, NULL);
    ck_assert_mem_eq(x, y, sizeof x);
    memcpy(y, a, sizeof y);
    for (size_t r = 0; r < ROWS; r += 3)
      spo_prox(&s, "w", y + r * COLS, NULL, d + r * COLS, 3, COLS, NULL, NULL);
    ck_assert_mem_eq(x, y, sizeof x);
  }
  spo_pool_close(pool);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_prox");
  TCase *c = untimed_case("all");
  tcase_add_checked_fixture(c, setup, NULL);
  tcase_add_test(c, single_weights);
  tcase_add_test(c, groups);
  tcase_add_test(c, groups_tile);
  tcase_add_test(c, soft_is_a_projection);
  tcase_add_test(c, edges);
  tcase_add_test(c, dead_inputs);
  tcase_add_test(c, refusals);
  tcase_add_test(c, threads);
  suite_add_tcase(s, c);
  return run_suite(s);
}
