/* Selection among so many scores that a sample chooses where to search: it may mislead, and the
 * result is the same. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo.h"
#include "tests/run_suite.h"

enum { COUNT = (1 << 22) + 77, STRIDE = 97 /* of the sample */ };

static float *score;
static uint64_t *key;
static unsigned char *want, *found;

static void setup(void) {
  score = malloc(COUNT * sizeof *score);
  key = malloc(COUNT * sizeof *key);
  want = malloc(COUNT);
  found = malloc(COUNT);
}

static void teardown(void) {
  free(score);
  free(key);
  free(want);
  free(found);
}

static float number(size_t i) {
  static const spo_random source = {.seed = 3};
  return (float)(2 * spo_random_unit(&source, i) - 1);
}

/* Against the selection by 64-bit keys, which has code of its own; in two spans, on a pool. */
static void check_ranking(size_t k, bool by_value, const spo_pool *pool) {
  const size_t cut = COUNT / 3;
  const spo_span spans[] = {{"a", score, found, cut}, {"b", score + cut, found + cut, COUNT - cut}};
  for (size_t i = 0; i < COUNT; i++) {
    uint32_t bits;
    memcpy(&bits, &score[i], sizeof bits);
    key[i] = bits & 0x7fffffff;
    if (by_value) key[i] = bits >> 31 ? 0x80000000u - key[i] : 0x80000000u + key[i];
  }
  spo_select(key, COUNT, k, want);
  ck_assert_int_eq((by_value ? spo_select_signed : spo_select_scores)(spans, 2, k, pool, NULL),
                   SPO_OK);
  ck_assert_mem_eq(found, want, COUNT);
}

static void check_selection(size_t k, const spo_pool *pool) {
  check_ranking(k, false, pool);
  check_ranking(k, true, pool);
}

static void check_counts(void) {
  static const double shares[] = {0, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-6, 1};
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(3, &pool, NULL), SPO_OK);
  for (size_t s = 0; s < sizeof shares / sizeof *shares; s++)
    check_selection((size_t)(shares[s] * COUNT), s % 2 ? pool : NULL);
  spo_pool_close(pool);
}

START_TEST(random_scores) {
  for (size_t i = 0; i < COUNT; i++)
    score[i] = number(i) * number(i + COUNT);
  check_counts();
}
END_TEST

START_TEST(many_ties) {
  for (size_t i = 0; i < COUNT; i++)
    score[i] = (float)(i * 2654435761u % 5) - 2;
  check_counts();
  for (size_t i = 0; i < COUNT; i++)
    score[i] = i % 2 ? -0.5f : 0.5f;
  check_selection(COUNT / 3, NULL);
}
END_TEST

/* The sample sees large scores alone, or small ones, or zeros. */
START_TEST(misleading_samples) {
  static const float seen[] = {10, 1e-3f, 0};
  for (size_t s = 0; s < 3; s++) {
    for (size_t i = 0; i < COUNT; i++)
      score[i] = number(i);
    for (size_t i = 0; i < COUNT; i += STRIDE)
      score[i] = seen[s];
    for (size_t i = COUNT / 3; i < COUNT; i += STRIDE)
      score[i] = seen[s];
    check_selection(COUNT / 2, NULL);
    check_selection(COUNT / 50, NULL);
  }
}
END_TEST

/* Wherever it stands, seen by the sample or not. */
START_TEST(not_finite) {
  static const size_t places[] = {0, 1, STRIDE, COUNT / 2, COUNT - 1};
  for (size_t p = 0; p < 5; p++)
    for (size_t k = 0; k <= COUNT; k += COUNT / 2) {
      for (size_t i = 0; i < COUNT; i++)
        score[i] = 0.25f;
      score[places[p]] = p % 2 ? NAN : -INFINITY;
      const spo_span span = {"a", score, found, COUNT};
      ck_assert_int_eq(spo_select_scores(&span, 1, k, NULL, NULL), SPO_E_NONFINITE);
    }
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_select");
  TCase *c = tcase_create("all");
  tcase_set_timeout(c, 0);
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, random_scores);
  tcase_add_test(c, many_ties);
  tcase_add_test(c, misleading_samples);
  tcase_add_test(c, not_finite);
  suite_add_tcase(s, c);
  return run_suite(s);
}
