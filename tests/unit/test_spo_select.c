/* Selection among so many scores that a sample chooses where to search: it may mislead, lists may
 * overflow, and the result is the same. */
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

/* The definition, in one pass: all above the least kept, and of its equals the first. */
static void check_definition(const float *x, const unsigned char *keep, size_t n, size_t k) {
  float least = INFINITY;
  size_t kept = 0;
  bool open = true, right = true;
  for (size_t i = 0; i < n; i++) {
    if (keep[i]) least = fminf(least, fabsf(x[i]));
    kept += keep[i];
  }
  ck_assert_uint_eq(kept, k);
  for (size_t i = 0; i < n; i++) {
    bool tie = fabsf(x[i]) == least;
    open &= !tie || keep[i];
    right &= keep[i] == (fabsf(x[i]) > least || (tie && open));
  }
  ck_assert_msg(right, "%zu of %zu", k, n);
}

/* Cut into `cuts` spans of different sizes, at addresses of all kinds. */
static void check_spans(size_t n, size_t k, size_t cuts, const spo_pool *pool) {
  spo_span spans[64];
  size_t at = 0;
  for (size_t c = 0; c < cuts; c++) {
    size_t end = c + 1 == cuts ? n : n * (c + 1) * (c + 1) / (cuts * cuts);
    spans[c] = (spo_span){"s", score + 1 + at, found + 3 + at, end - at};
    at = end;
  }
  ck_assert_int_eq(spo_select_scores(spans, cuts, k, pool, NULL), SPO_OK);
  check_definition(score + 1, found + 3, n, k);
}

/* Every size from which a sample is taken and its neighbours, and many others; values from two to
 * all, some of which are more frequent. */
START_TEST(all_sizes_and_values) {
  static const float levels[] = {1, 3, 20, 1000, 1e5f, 1e9f};
  static const size_t sizes[] = {1 << 16, (1 << 16) - 1, (1 << 18) + 511, (1 << 18) - 1, 1 << 19};
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(3, &pool, NULL), SPO_OK);
  for (size_t round = 0; round < 48; round++) {
    float level = levels[round % 6], zeros = (float)(round % 4) / 4;
    size_t n = round < 5 ? sizes[round] : (size_t)(fabsf(number(round)) * 200000) + 60000;
    for (size_t i = 0; i < n; i++) {
      float x = number(round * COUNT + i);
      score[1 + i] = fabsf(number(round * COUNT + i + COUNT / 2)) < zeros ? 0 : roundf(x * level);
    }
    size_t k = round % 5 == 0 ? round / 5 : (size_t)(fabsf(number(round + COUNT)) * (float)n);
    if (round % 7 == 0) k = n - k;
    check_spans(n, k, 1 + round % 63, round % 2 ? pool : NULL);
  }
  spo_pool_close(pool);
}
END_TEST

/* All that lies near the threshold is in one part of the scores: more than there is room to list.
 * The other parts are far above, far below, or equal to it. */
START_TEST(uneven_scores) {
  for (size_t round = 0; round < 8; round++) {
    const size_t n = 300000, first = n / 4, last = first + n / (round < 4 ? 3 : 40);
    for (size_t i = 0; i < n; i++) {
      float x = number(round * COUNT + i), rest = round % 4 == 3 ? 0.5f : x * 1e-3f;
      score[1 + i] = i >= first && i < last ? (x < 0 ? -1 : 1) + x * 1e-5f : rest;
      if (i % 3 == round % 4) score[1 + i] *= 1e3f;
    }
    for (size_t k = 1; k < n; k += n / 5)
      check_spans(n, k, 1 + round, NULL);
  }
}
END_TEST

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
  TCase *c = untimed_case("all");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, all_sizes_and_values);
  tcase_add_test(c, uneven_scores);
  tcase_add_test(c, random_scores);
  tcase_add_test(c, many_ties);
  tcase_add_test(c, misleading_samples);
  tcase_add_test(c, not_finite);
  suite_add_tcase(s, c);
  return run_suite(s);
}
