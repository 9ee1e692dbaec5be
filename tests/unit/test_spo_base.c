/* What the methods of libspo stand on: pools, projections against brute force, schedules and random
 * numbers against published ones. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo.h"
#include "tests/run_suite.h"

enum {
  CASES = 20000 /* of each pattern */,
  LARGE_ROWS = 600,
  LARGE_COLS = 1000,
  LARGE = LARGE_ROWS * LARGE_COLS
};

static const spo_random source = {.seed = 7, .stream = 1, .step = 2};

static size_t below(uint64_t *at, size_t n) {
  return (size_t)(spo_random_bits(&source, (*at)++) % n);
}

/* ---- random numbers ---- */

START_TEST(philox_known_answers) {
  static const uint32_t known[3][10] = {
      /* counter, key, result; Random123's kat_vectors */
      {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
      {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
       0x94fdcceb, 0x5001e420, 0x24126ea1}};
  for (int i = 0; i < 3; i++) {
    uint32_t out[4];
    spo_philox(known[i], known[i] + 4, out);
    ck_assert(memcmp(out, known[i] + 6, sizeof out) == 0);
  }
}
END_TEST

START_TEST(random_depends_on_all) {
  const spo_random other[] = {{8, 1, 2}, {7 + (1ull << 32), 1, 2}, {7, 2, 2}, {7, 1, 3}};
  uint64_t bits = spo_random_bits(&source, 5);
  for (int i = 0; i < 4; i++)
    ck_assert(spo_random_bits(&other[i], 5) != bits);
  ck_assert(spo_random_bits(&source, 5 + (1ull << 32)) != bits);
  ck_assert(spo_random_bits(&source, 5) == bits);
  ck_assert_uint_eq(spo_name_hash(""), 2166136261u);
  ck_assert_uint_eq(spo_name_hash("a"), 0xe40c292cu); /* FNV's published tests */
  ck_assert_uint_eq(spo_name_hash("foobar"), 0xbf9cf968u);
}
END_TEST

START_TEST(random_unit_is_uniform) {
  enum { DRAWS = 100000, BINS = 20 };
  unsigned bin[BINS] = {0};
  double chi = 0;
  for (uint64_t i = 0; i < DRAWS; i++) {
    double u = spo_random_unit(&source, i);
    ck_assert(u > 0 && u < 1);
    bin[(int)(u * BINS)]++;
  }
  for (int i = 0; i < BINS; i++)
    chi += pow(bin[i] - (double)DRAWS / BINS, 2) / ((double)DRAWS / BINS);
  ck_assert_double_lt(chi, 43.8); /* 19 degrees of freedom, 0.1 % */
}
END_TEST

/* ---- schedules ---- */

START_TEST(schedules) {
  const double middle[] = {0.8, 0.45, 0.7125, 0.45}; /* constant, linear, cubic, cosine */
  for (int curve = SPO_CONSTANT; curve <= SPO_COSINE; curve++) {
    spo_schedule s = {(spo_curve)curve, 0.1, 0.8, 100, 300, 0};
    ck_assert_double_eq(spo_schedule_at(&s, 0), 0.1);
    ck_assert_double_eq(spo_schedule_at(&s, 99), 0.1);
    ck_assert_double_eq_tol(spo_schedule_at(&s, 200), middle[curve], 1e-12);
    ck_assert_double_eq(spo_schedule_at(&s, 300), 0.8);
    ck_assert_double_eq(spo_schedule_at(&s, UINT64_MAX), 0.8);
    for (uint64_t t = 100; t < 300; t++)
      ck_assert(spo_schedule_at(&s, t) <= spo_schedule_at(&s, t + 1));
  }
}
END_TEST

START_TEST(schedules_in_steps) {
  spo_schedule s = {SPO_LINEAR, 0, 1, 10, 110, 25};
  ck_assert_double_eq(spo_schedule_at(&s, 34), 0);
  ck_assert_double_eq(spo_schedule_at(&s, 35), 0.25);
  ck_assert_double_eq(spo_schedule_at(&s, 59), 0.25);
  unsigned due = 0;
  for (uint64_t t = 0; t < 200; t++)
    due += spo_schedule_due(&s, t);
  ck_assert_uint_eq(due, 5); /* 10, 35, 60, 85, 110 */
  s = (spo_schedule){SPO_CUBIC, 0, 0.9, 0, 0, 1};
  ck_assert_double_eq(spo_schedule_at(&s, 0), 0.9); /* no steps at all */
  ck_assert(spo_schedule_due(&s, 0) && !spo_schedule_due(&s, 1));
}
END_TEST

/* ---- projections ---- */

/* The most that any `keep` of the sizes add up to. */
static double best_of(const double *size, size_t count, size_t keep) {
  double best = -1;
  for (unsigned set = 0; set < 1u << count; set++) {
    double sum = 0;
    if ((size_t)__builtin_popcount(set) != keep) continue;
    for (size_t i = 0; i < count; i++)
      if (set >> i & 1) sum += size[i];
    best = sum > best ? sum : best;
  }
  return best;
}

enum { UNITS = 8, UNIT_SIDE = 3, ELEMENTS = UNITS * UNIT_SIDE * UNIT_SIDE };

/* Up to 8 units of `high` x `wide` weights that compete with each other. */
typedef struct contest {
  size_t rows, cols, high, wide, keep;
} contest;

/* What is kept of a unit: all or nothing. */
static bool unit_kept(const contest *c, const unsigned char *mask, size_t unit) {
  size_t across = c->cols / c->wide;
  const unsigned char *at = mask + unit / across * c->high * c->cols + unit % across * c->wide;
  for (size_t i = 0; i < c->high * c->wide; i++)
    ck_assert_uint_eq(at[i / c->wide * c->cols + i % c->wide], *at);
  return *at;
}

static double unit_size(const contest *c, const float *w, size_t unit) {
  size_t across = c->cols / c->wide;
  const float *at = w + unit / across * c->high * c->cols + unit % across * c->wide;
  double sum = 0;
  for (size_t i = 0; i < c->high * c->wide; i++)
    sum += pow(at[i / c->wide * c->cols + i % c->wide], 2);
  return sum;
}

/* Small integers, which often tie: counts are exact and what is kept is the best that any choice of
 * units keeps; of equals the first are kept; a projection of the projection is itself. */
static void check_contest(const contest *c, const spo_goal *goal, uint64_t *at) {
  unsigned char mask[ELEMENTS], again[ELEMENTS];
  float w[ELEMENTS], z[ELEMENTS];
  double size[UNITS], sum = 0;
  size_t units = c->rows / c->high * (c->cols / c->wide), count = c->rows * c->cols, kept = 0;
  for (size_t i = 0; i < count; i++)
    w[i] = (float)below(at, 7) - 3;
  ck_assert(spo_project(goal, "w", w, c->rows, c->cols, mask, NULL, NULL) == SPO_OK);
  for (size_t u = 0; u < units; u++) {
    size[u] = unit_size(c, w, u);
    kept += unit_kept(c, mask, u);
    sum += unit_kept(c, mask, u) ? size[u] : 0;
    for (size_t v = 0; v < u; v++)
      ck_assert(size[v] != size[u] || unit_kept(c, mask, v) >= unit_kept(c, mask, u));
  }
  ck_assert_uint_eq(kept, c->keep);
  ck_assert_double_eq(sum, best_of(size, units, c->keep));
  for (size_t i = 0; i < count; i++)
    z[i] = mask[i] ? w[i] : 0;
  ck_assert(spo_project(goal, "w", z, c->rows, c->cols, again, NULL, NULL) == SPO_OK);
  for (size_t i = 0; i < count; i++)
    ck_assert(z[i] == (again[i] ? z[i] : 0));
}

static size_t side(uint64_t *at) {
  return 1 + below(at, UNIT_SIDE);
}

START_TEST(projections_are_the_best_choice) {
  uint64_t at = 0;
  for (int n = 0; n < CASES; n++) {
    size_t units = 1 + below(&at, UNITS), keep = 1 + below(&at, units);
    size_t high = side(&at), wide = side(&at), across = below(&at, 2) ? units : 1;
    contest row = {1, units, 1, 1, keep}, shared = {high, units, high, 1, keep},
            blocks = {units / across * high, across * wide, high, wide, keep};
    spo_goal any = {{.kind = SPO_UNSTRUCTURED}, 1 - (double)keep / (double)units};
    check_contest(&row, &any, &at);
    spo_goal nm = {{SPO_NM, (uint32_t)high, 0, (uint32_t)keep, (uint32_t)units}, SPO_IMPLIED};
    check_contest(&shared, &nm, &at);
    spo_goal block = {{.kind = SPO_BLOCK, .rows = (uint32_t)high, .cols = (uint32_t)wide},
                      any.sparsity};
    check_contest(&blocks, &block, &at);
  }
}
END_TEST

/* Published code takes a quantile for 4x1 and 4x3, and keeps 3 and 1. */
START_TEST(groups_keep_what_they_say) {
  static const float tied[4][4] = {{3, 1, 1, 1}, {2, 2, 2, 2}, {0, 0, 0, 0}, {1, -3, 3, 2}};
  for (int i = 0; i < 4; i++)
    for (uint32_t n = 1; n <= 4; n++) {
      unsigned char mask[4];
      spo_goal goal = {{SPO_NM, 1, 0, n, 4}, SPO_IMPLIED};
      ck_assert(spo_project(&goal, "w", tied[i], 1, 4, mask, NULL, NULL) == SPO_OK);
      ck_assert_uint_eq(mask[0] + mask[1] + mask[2] + mask[3], n);
      if (i < 3)
        for (uint32_t k = 0; k < 4; k++)
          ck_assert_uint_eq(mask[k], k < n);
    }
}
END_TEST

enum { FOURS_ROWS = 3, FOURS_COLS = 140, FOURS_MOST = FOURS_ROWS * FOURS_COLS };

/* Whether n of its group of four, of which the row's last may be shorter, rank below. */
static bool in_highest(const float *w, size_t cols, size_t i, uint32_t n) {
  size_t row = i / cols * cols, first = row + (i - row) / 4 * 4;
  uint32_t above = 0;
  for (size_t j = first; j < first + 4 && j < row + cols; j++)
    above += fabsf(w[j]) > fabsf(w[i]) || (fabsf(w[j]) == fabsf(w[i]) && j < i);
  return above < n;
}

/* Groups of four are ranked many at a time, and rows of whole groups as one run. */
START_TEST(fours_of_any_width) {
  static const float worst[] = {NAN, -NAN, INFINITY, -INFINITY};
  float w[FOURS_MOST];
  unsigned char mask[FOURS_MOST];
  spo_error error;
  uint64_t at = 0;
  for (size_t cols = 1; cols <= FOURS_COLS; cols++) {
    size_t count = FOURS_ROWS * cols, odd = below(&at, count);
    spo_goal goal = {{SPO_NM, 1, 0, 1 + (uint32_t)below(&at, 4), 4}, SPO_IMPLIED};
    for (size_t i = 0; i < count; i++)
      w[i] = i % 5 == 0 ? FLT_MAX * (float)(below(&at, 3) - 1.0) : (float)below(&at, 7) - 3;
    ck_assert(spo_project(&goal, "w", w, FOURS_ROWS, cols, mask, NULL, NULL) == SPO_OK);
    for (size_t i = 0; i < count; i++)
      ck_assert_uint_eq(mask[i], in_highest(w, cols, i, goal.pattern.n));
    w[odd] = worst[cols % 4];
    ck_assert(spo_project(&goal, "w", w, FOURS_ROWS, cols, mask, NULL, &error) == SPO_E_NONFINITE);
    w[odd] = 0;
  }
}
END_TEST

static float *large_weights(void) {
  float *w = malloc(LARGE * sizeof *w);
  for (size_t i = 0; i < LARGE; i++) /* ties: 2,000 values */
    w[i] = ((float)(spo_random_bits(&source, i) % 4001) - 2000) / 1000;
  return w;
}

START_TEST(threads_change_nothing) {
  static const char *const patterns[] = {"unstructured", "4x1", "2:4", "2:4x4", "3:7", "8x8"};
  float *w = large_weights();
  unsigned char *one = malloc(LARGE), *many = malloc(LARGE);
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    spo_goal goal = {.sparsity = SPO_IMPLIED};
    double implied;
    ck_assert(spo_pattern_parse(patterns[i], &goal.pattern));
    if (!spo_pattern_implies(&goal.pattern, &implied)) goal.sparsity = 0.77;
    ck_assert(spo_project(&goal, "w", w, LARGE_ROWS, LARGE_COLS, one, NULL, NULL) == SPO_OK);
    for (unsigned threads = 1; threads <= 32; threads += 1 + threads / 3) {
      spo_pool *pool = NULL;
      ck_assert(spo_pool_open(threads, &pool, NULL) == SPO_OK);
      memset(many, 2, LARGE);
      ck_assert(spo_project(&goal, "w", w, LARGE_ROWS, LARGE_COLS, many, pool, NULL) == SPO_OK);
      ck_assert(memcmp(one, many, LARGE) == 0);
      spo_pool_close(pool);
    }
  }
  free(w);
  free(one);
  free(many);
}
END_TEST

/* One ranking over three tensors is the ranking of their concatenation. */
START_TEST(one_ranking_for_many) {
  float *w = large_weights();
  unsigned char *whole = malloc(LARGE), *apart = malloc(LARGE);
  const size_t cut[] = {0, 1, 300000, LARGE};
  for (uint64_t k = 0; k <= LARGE; k += LARGE / 8) {
    spo_span one = {"w", w, whole, LARGE}, three[3];
    for (int i = 0; i < 3; i++)
      three[i] = (spo_span){"w", w + cut[i], apart + cut[i], cut[i + 1] - cut[i]};
    uint64_t kept = 0;
    ck_assert(spo_select_scores(&one, 1, k, NULL, NULL) == SPO_OK);
    ck_assert(spo_select_scores(three, 3, k, NULL, NULL) == SPO_OK);
    ck_assert(memcmp(whole, apart, LARGE) == 0);
    for (size_t i = 0; i < LARGE; i++)
      kept += whole[i];
    ck_assert_uint_eq(kept, k);
  }
  free(w);
  free(whole);
  free(apart);
}
END_TEST

START_TEST(nonfinite_is_named) {
  float *w = large_weights();
  unsigned char *mask = calloc(LARGE, 1);
  spo_span span[2] = {{"first", w, mask, 10}, {"second", w + 10, mask + 10, LARGE - 10}};
  spo_error error;
  w[123456] = NAN;
  ck_assert(spo_select_scores(span, 2, 5, NULL, &error) == SPO_E_NONFINITE);
  ck_assert_ptr_nonnull(strstr(error.text, "'second': element 123446"));
  for (size_t i = 0; i < LARGE; i++)
    ck_assert_uint_eq(mask[i], 0);
  free(w);
  free(mask);
}
END_TEST

/* ---- pools ---- */

typedef struct tally {
  unsigned *seen;
} tally;

static void count_one(void *arg, size_t index) {
  tally *t = arg;
  t->seen[index]++;
}

START_TEST(pools_run_every_task_once) {
  enum { TASKS = 5000 };
  static unsigned seen[TASKS];
  tally t = {seen};
  spo_pool *pool = NULL;
  ck_assert(spo_pool_open(32, &pool, NULL) == SPO_OK);
  for (unsigned round = 1; round <= 50; round++) {
    pool->run(pool->self, count_one, &t, round % 3 == 0 ? TASKS : TASKS - round);
    for (size_t i = 0; i < TASKS - 50; i++)
      ck_assert_uint_eq(seen[i], round);
  }
  pool->run(pool->self, count_one, &t, 0);
  spo_pool_close(pool);
  spo_pool_close(NULL);
}
END_TEST

START_TEST(pools_refuse_odd_counts) {
  spo_pool *pool = NULL;
  spo_error error;
  ck_assert(spo_pool_open(0, &pool, &error) == SPO_E_VALUE);
  ck_assert(spo_pool_open(1025, &pool, &error) == SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "1025"));
  ck_assert_ptr_null(pool);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_base");
  TCase *c = untimed_case("base");
  tcase_add_test(c, philox_known_answers);
  tcase_add_test(c, random_depends_on_all);
  tcase_add_test(c, random_unit_is_uniform);
  tcase_add_test(c, schedules);
  tcase_add_test(c, schedules_in_steps);
  tcase_add_test(c, projections_are_the_best_choice);
  tcase_add_test(c, groups_keep_what_they_say);
  tcase_add_test(c, fours_of_any_width);
  tcase_add_test(c, threads_change_nothing);
  tcase_add_test(c, one_ranking_for_many);
  tcase_add_test(c, nonfinite_is_named);
  tcase_add_test(c, pools_run_every_task_once);
  tcase_add_test(c, pools_refuse_odd_counts);
  suite_add_tcase(s, c);
  return run_suite(s);
}
