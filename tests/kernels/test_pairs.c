/* The pairing of a gather's rows. */
#include <check.h>

#include "codegen/pairs.h"
#include "tests/diff/diff_common.h"
#include "tests/run_suite.h"

enum { MAX_ROWS = 200, MAX_WORDS = 5 };

static arena *mem;
static uint64_t bits[MAX_ROWS * MAX_WORDS];
static row_pair pairs[MAX_ROWS];

static void setup(void) {
  mem = arena_new((size_t)64 << 20, NULL, NULL);
}
static void teardown(void) {
  arena_free(mem);
}

static uint32_t common(uint32_t x, uint32_t y, uint32_t words) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < words * 64; i++)
    n += bits[x * words + i / 64] >> i % 64 & bits[y * words + i / 64] >> i % 64 & 1;
  return n;
}

/* Every row is in one pair, and the pairs say truly what their rows have. */
static void check_pairs(uint32_t rows, uint32_t words) {
  uint32_t seen[MAX_ROWS] = {0}, count = pair_rows(mem, bits, words, rows, pairs);
  ck_assert_uint_eq(count, (rows + 1) / 2);
  for (uint32_t i = 0; i < count; i++) {
    const row_pair *p = &pairs[i];
    uint32_t a = p->row[0], b = p->row[1], own = common(a, a, words);
    seen[a]++;
    if (a != b) seen[b]++;
    ck_assert_uint_eq(p->shared, a == b ? 0 : common(a, b, words));
    ck_assert_uint_eq(p->own, own - p->shared);
    ck_assert_uint_le(common(b, b, words), own);
    if (i == 0) continue;
    const row_pair *q = &pairs[i - 1];
    ck_assert(q->shared < p->shared || (q->shared == p->shared && q->own <= p->own));
  }
  for (uint32_t i = 0; i < rows; i++)
    ck_assert_uint_eq(seen[i], 1);
}

START_TEST(every_row_has_one_place) {
  static const uint32_t rows[] = {0, 1, 2, 3, 17, MAX_ROWS};
  rng r = {(uint64_t)_i + 1};
  for (uint32_t words = 1; words <= MAX_WORDS; words++)
    for (int n = 0; n < 6; n++) {
      uint32_t percent = rng_below(&r, 100);
      for (uint32_t i = 0; i < rows[n] * words; i++) {
        bits[i] = 0;
        for (uint32_t j = 0; j < 64; j++)
          bits[i] |= (uint64_t)rng_chance(&r, percent) << j;
      }
      check_pairs(rows[n], words);
    }
}
END_TEST

/* Rows that need the same inputs find each other, wherever they stand. */
START_TEST(equal_rows_are_partners) {
  for (uint32_t i = 0; i < MAX_ROWS; i++)
    bits[i] = (uint64_t)0xf0f << i % (MAX_ROWS / 2) % 48 | (uint64_t)1 << (i / 48 % 2 + 62);
  for (uint32_t i = 0; i < MAX_ROWS / 2; i++)
    bits[i + MAX_ROWS / 2] = bits[i];
  check_pairs(MAX_ROWS, 1);
  for (uint32_t i = 0; i < MAX_ROWS / 2; i++)
    ck_assert_uint_eq(bits[pairs[i].row[0]], bits[pairs[i].row[1]]);
}
END_TEST

/* A partner that has as many units is better than one that shares a little more. */
START_TEST(lengths_go_before_overlap) {
  bits[0] = 0xff, bits[1] = 0x7f, bits[2] = 0x3fc, bits[3] = 0x1fc0000;
  check_pairs(4, 1);
  for (uint32_t i = 0; i < 2; i++)
    ck_assert_uint_eq(pairs[i].row[0] % 2, pairs[i].row[1] % 2);
}
END_TEST

int main(void) {
  Suite *s = suite_create("pairs");
  TCase *t = untimed_case("pairs");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, every_row_has_one_place, 0, 20);
  tcase_add_test(t, equal_rows_are_partners);
  tcase_add_test(t, lengths_go_before_overlap);
  suite_add_tcase(s, t);
  return run_suite(s);
}
