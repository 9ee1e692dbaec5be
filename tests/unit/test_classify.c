/* classify against counts worked out by hand, and against a naive count of blocks. */
#include <check.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/run_suite.h"

enum { MAX = 96 * 160 };

static float w[MAX];
static classify_result r;

static void clear(void) {
  memset(w, 0, sizeof w);
}

static void look(uint64_t rows, uint64_t cols) {
  ck_assert_uint_le(rows * cols, MAX);
  classify(w, rows, cols, &r);
  ck_assert_uint_eq(r.rows, rows);
  ck_assert_uint_eq(r.cols, cols);
}

static void check_best(const char *expected) {
  char text[PATTERN_TEXT_MAX];
  ck_assert_str_eq(pattern_print(&r.best, text), expected);
}

/* Fills every block of the shape for which keep(block row, block column) holds. */
static void fill_blocks(size_t rows, size_t cols, size_t high, size_t wide,
                        bool (*keep)(size_t, size_t)) {
  clear();
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < cols; j++)
      if (keep(i / high, j / wide)) w[i * cols + j] = (float)(1 + i + j);
}

static bool some(size_t i, size_t j) {
  return (i * 7 + j * 5 + i * j) % 10 < 3;
}

START_TEST(test_empty) {
  clear();
  w[5] = -0.0f; /* a zero */
  look(20, 24);
  ck_assert_uint_eq(r.nnz, 0);
  ck_assert_uint_eq(r.empty_rows, 20);
  ck_assert_uint_eq(r.empty_cols, 24);
  ck_assert_uint_eq(r.full_rows + r.full_cols, 0);
  for (int i = 0; i < CLASSIFY_BLOCKS; i++)
    ck_assert_uint_eq(r.blocks[i] + r.filled_blocks[i] + r.filled_nnz[i], 0);
  ck_assert(r.nm24 && r.nm14 && r.nm48);
  check_best("unstructured");
}
END_TEST

START_TEST(test_full) {
  for (size_t i = 0; i < MAX; i++)
    w[i] = 1.0f;
  look(21, 70);
  ck_assert_uint_eq(r.nnz, 21 * 70);
  ck_assert_uint_eq(r.full_rows, 21);
  ck_assert_uint_eq(r.full_cols, 70);
  ck_assert_uint_eq(r.empty_rows + r.empty_cols, 0);
  const uint64_t blocks[] = {6 * 70, 3 * 70, 2 * 70, 21 * 18, 21 * 5, 2 * 5};
  for (int i = 0; i < CLASSIFY_BLOCKS; i++) {
    ck_assert_uint_eq(r.blocks[i], blocks[i]);
    ck_assert_uint_eq(r.filled_blocks[i], blocks[i]);
    ck_assert_uint_eq(r.filled_nnz[i], 21 * 70);
  }
  ck_assert(!r.nm24 && !r.nm14 && !r.nm48);
  check_best("dense");
}
END_TEST

START_TEST(test_dense_limit) { /* dense is over 90 % */
  clear();
  for (size_t i = 0; i < 90; i++)
    w[(i * 37) % 100] = 1.0f;
  look(10, 10);
  ck_assert_uint_eq(r.nnz, 90);
  ck_assert_int_ne(r.best.kind, PATTERN_DENSE);
  for (size_t i = 0; i < 100; i++)
    if (w[i] == 0.0f) {
      w[i] = 1.0f;
      break;
    }
  look(10, 10);
  check_best("dense");
}
END_TEST

/* Rows and columns, empty and full, and one tail block of each shape. */
START_TEST(test_rows_and_columns) {
  clear();
  for (size_t j = 0; j < 18; j++)
    w[3 * 18 + j] = 1.0f; /* row 3 of [18, 18] */
  for (size_t i = 0; i < 18; i++)
    w[i * 18 + 17] = 2.0f; /* column 17 */
  look(18, 18);
  ck_assert_uint_eq(r.nnz, 35);
  ck_assert_uint_eq(r.full_rows, 1);
  ck_assert_uint_eq(r.full_cols, 1);
  ck_assert_uint_eq(r.empty_rows, 0);
  ck_assert_uint_eq(r.empty_cols, 0);
  /* 4x1: 17 columns with one block each, and 5 blocks in column 17. */
  ck_assert_uint_eq(r.blocks[0], 17 + 5);
  ck_assert_uint_eq(r.filled_blocks[0], 5);
  ck_assert_uint_eq(r.filled_nnz[0], 18);
  ck_assert_uint_eq(r.blocks[2], 17 + 2);
  /* 1x4: row 3 has 5, the other 17 rows one each, clipped to 2 columns: half full. */
  ck_assert_uint_eq(r.blocks[3], 5 + 17);
  ck_assert_uint_eq(r.filled_blocks[3], 5);
  ck_assert_uint_eq(r.filled_nnz[3], 18);
  ck_assert_uint_eq(r.blocks[4], 2 + 17);
  ck_assert_uint_eq(r.blocks[5], 3); /* 16x16: nothing in the lower left */
}
END_TEST

START_TEST(test_best_blocks) {
  static const struct {
    size_t high, wide;
    const char *text;
  } cases[] = {{4, 1, "4x1"}, {8, 1, "8x1"},   {16, 1, "16x1"},
               {1, 4, "1x4"}, {1, 16, "1x16"}, {16, 16, "16x16"}};
  for (int i = 0; i < CLASSIFY_BLOCKS; i++) {
    ck_assert_uint_eq(classify_blocks[i].rows, cases[i].high);
    ck_assert_uint_eq(classify_blocks[i].cols, cases[i].wide);
    fill_blocks(96, 96, cases[i].high, cases[i].wide, some);
    look(96, 96);
    ck_assert_uint_eq(r.blocks[i] * cases[i].high * cases[i].wide, r.nnz);
    check_best(cases[i].text);
  }
}
END_TEST

/* Empties up to `most` elements of row `row` of each 4x1 block of w[80,100]. */
static uint64_t punch(size_t row, uint64_t most) {
  uint64_t removed = 0;
  for (size_t i = row; i < 80; i += 4)
    for (size_t j = 0; j < 100 && removed < most; j++) {
      removed += w[i * 100 + j] != 0.0f;
      w[i * 100 + j] = 0.0f;
    }
  return removed;
}

START_TEST(test_almost_filled) { /* 95 % of the elements of the blocks suffice */
  fill_blocks(80, 100, 4, 1, some);
  look(80, 100);
  uint64_t whole = r.nnz;
  ck_assert_uint_eq(punch(1, whole / 20), whole / 20);
  look(80, 100);
  ck_assert_uint_eq(r.nnz, whole - whole / 20);
  check_best("4x1");
  ck_assert_uint_eq(punch(2, 1), 1);
  look(80, 100);
  check_best("unstructured");
}
END_TEST

static void fill_groups(size_t n, size_t m) {
  clear();
  for (size_t g = 0; g < MAX / m; g++)
    for (size_t k = 0; k < n; k++)
      w[g * m + (g * 3 + g / 7 + k * (g % 2 ? 1 : m / n)) % m] = 1.0f;
}

START_TEST(test_groups) {
  fill_groups(2, 4);
  look(40, 96);
  ck_assert(r.nm24 && r.nm48 && !r.nm14);
  check_best("2:4");
  fill_groups(1, 4);
  look(40, 96);
  ck_assert(r.nm14 && r.nm24);
  check_best("1:4");
  fill_groups(4, 8);
  look(40, 96);
  ck_assert(r.nm48 && !r.nm24);
  check_best("4:8");
  fill_groups(2, 4);
  w[0] = w[1] = w[2] = 1.0f; /* one group too full */
  look(40, 96);
  ck_assert(!r.nm24);
  check_best("unstructured");
}
END_TEST

/* 4 outputs share a choice of 2 in 4 inputs: blocks of 4x1 in groups. */
START_TEST(test_shared_groups) {
  clear();
  for (size_t i = 0; i < 40; i++)
    for (size_t g = 0; g < 24; g++)
      for (size_t k = 0; k < 2; k++)
        w[i * 96 + g * 4 + (g + i / 4 + k * 2) % 4] = 1.0f;
  look(40, 96);
  check_best("2:4x4");
  look(4, 96); /* all outputs share it */
  check_best("4x1");
  w[0] = w[1] = w[2] = w[3] = 1.0f; /* one group too full */
  look(40, 96);
  check_best("4x1");
}
END_TEST

START_TEST(test_groups_need_whole_rows) { /* 42 inputs are no groups of 4 */
  clear();
  w[0] = 1.0f;
  look(40, 42);
  ck_assert(!r.nm24 && !r.nm14 && !r.nm48);
  look(40, 44);
  ck_assert(r.nm24 && r.nm14 && !r.nm48);
}
END_TEST

/* A matrix so sparse that any group condition holds by chance is not N:M. */
START_TEST(test_few_are_no_groups) {
  clear();
  for (size_t i = 0; i < 40; i++)
    w[i * 96 + (i * 29) % 96] = 1.0f;
  look(40, 96);
  ck_assert(r.nm14);
  check_best("unstructured");
}
END_TEST

static void naive(size_t rows, size_t cols, const pattern *p, uint64_t *blocks, uint64_t *filled,
                  uint64_t *filled_nnz) {
  *blocks = *filled = *filled_nnz = 0;
  for (size_t i0 = 0; i0 < rows; i0 += p->rows)
    for (size_t j0 = 0; j0 < cols; j0 += p->cols) {
      uint64_t nnz = 0, elements = 0;
      for (size_t i = i0; i < rows && i < i0 + p->rows; i++)
        for (size_t j = j0; j < cols && j < j0 + p->cols; j++, elements++)
          nnz += w[i * cols + j] != 0.0f;
      *blocks += nnz > 0;
      if (nnz && 4 * nnz >= 3 * elements) {
        ++*filled;
        *filled_nnz += nnz;
      }
    }
}

START_TEST(test_against_naive) {
  static const size_t sizes[][2] = {{1, 1},   {1, 33},  {3, 5},    {16, 16}, {17, 63},
                                    {31, 64}, {48, 65}, {95, 129}, {5, 160}};
  uint32_t state = 1;
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
    for (uint32_t percent = 5; percent < 100; percent += 30) {
      size_t rows = sizes[k][0], cols = sizes[k][1];
      for (size_t i = 0; i < rows * cols; i++) {
        state = state * 1664525u + 1013904223u;
        w[i] = (state >> 8) % 100 < percent ? 1.0f : 0.0f;
      }
      look(rows, cols);
      for (int i = 0; i < CLASSIFY_BLOCKS; i++) {
        uint64_t blocks, filled, filled_nnz;
        naive(rows, cols, &classify_blocks[i], &blocks, &filled, &filled_nnz);
        ck_assert_uint_eq(r.blocks[i], blocks);
        ck_assert_uint_eq(r.filled_blocks[i], filled);
        ck_assert_uint_eq(r.filled_nnz[i], filled_nnz);
      }
    }
}
END_TEST

int main(void) {
  TCase *c = untimed_case("classify");
  tcase_add_test(c, test_empty);
  tcase_add_test(c, test_full);
  tcase_add_test(c, test_dense_limit);
  tcase_add_test(c, test_rows_and_columns);
  tcase_add_test(c, test_best_blocks);
  tcase_add_test(c, test_almost_filled);
  tcase_add_test(c, test_groups);
  tcase_add_test(c, test_shared_groups);
  tcase_add_test(c, test_groups_need_whole_rows);
  tcase_add_test(c, test_few_are_no_groups);
  tcase_add_test(c, test_against_naive);
  Suite *s = suite_create("classify");
  suite_add_tcase(s, c);
  return run_suite(s);
}
