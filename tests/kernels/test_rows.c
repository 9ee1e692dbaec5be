/* Rows of every length that a gather can meet: the body for each count of units, and the borders
 * between them; and the outputs that a record can number. */
#include <check.h>

#include "tests/kernels/lab.h"
#include "tests/run_suite.h"

/* Rows whose counts are STEP apart or more are not filled up to share a bucket. */
enum { K = 256, SLABS = 3, STEP = 9 };

/* The units of row r: `first`, and `step` more than the row before. */
typedef struct stairs {
  uint32_t first, step;
} stairs;

/* Units of `cols` inputs, as far as there are so many, anywhere. */
static const float *staircase(lab *l, uint32_t m, uint32_t cols, stairs t) {
  float *w = arena_array(l->a, float, (size_t)m *K);
  uint32_t units = K / cols;
  for (uint32_t row = 0; row < m; row++)
    for (uint32_t unit = 0, want = t.first + t.step * row, left = want < units ? want : units;
         unit < units; unit++)
      if (rng_below(&l->r, units - unit) < left) {
        left--;
        for (uint32_t i = 0; i < cols; i++)
          w[(size_t)row * K + unit * cols + i] = (rng_normal(&l->r) + 3.0F) / 64.0F;
      }
  return w;
}

static const struct row_case {
  const char *pattern;
  uint32_t cols;
  uint32_t slabs[SLABS]; /* k_block: one slab, slabs that divide the inputs, and others */
} cases[] = {
    {"unstructured", 1, {256, 64, 80}}, {"1x4", 4, {256, 128, 48}}, {"1x16", 16, {256, 64, 80}}};

static void add_linear(lab *l, const struct row_case *c, uint32_t slab, stairs t) {
  uint32_t m = K / c->cols / t.step + 3;
  lab_linear s = {.m = m, .k = K, .bias = true, .residual = true, .weight = "staircase"};
  s.w = staircase(l, m, c->cols, t);
  ir_value *v = lab_value(l, lab_add(l, s));
  ir_part part = {
      .row_ranges = 1, .col_hi = K, .kernel = K_gather, .fill = 1, .r = 1, .c = c->cols};
  ck_assert(pattern_parse(c->pattern, &part.pattern));
  part.rows = arena_new_one(l->a, ir_range);
  *part.rows = (ir_range){0, m};
  part.k_block = slab;
  v->parts = arena_new_one(l->a, ir_part);
  *v->parts = part;
  v->part_count = 1;
}

START_TEST(rows_of_every_length) {
  lab *l = lab_new(cases[_i].pattern, 1 + (uint64_t)_i, false);
  for (uint32_t i = 0; i < SLABS; i++)
    add_linear(l, &cases[_i], cases[_i].slabs[i], (stairs){0, 1});
  for (uint32_t first = 0; first < STEP; first++)
    add_linear(l, &cases[_i], K, (stairs){first, STEP});
  lab_passes(l, "schedule,plan", SPARSE_OFF, (pattern){.kind = PATTERN_DENSE});
  lab_check(l);
  lab_free(l);
}
END_TEST

/* A record numbers its rows with 16 bits. */
START_TEST(outputs_of_the_largest_chunk) {
  enum { ROWS = UINT16_MAX + 5 };
  lab *l = lab_new("outputs", 1, true);
  lab_linear s = {.m = ROWS, .k = 1, .bias = true, .weight = "full"};
  pattern single = {.kind = PATTERN_UNSTRUCTURED};
  s.w = lab_weight(l, ROWS, 1, FILL_FULL, single);
  lab_add(l, s);
  lab_passes(l, "partition,schedule,plan", SPARSE_PATTERN, single);
  ir_value *v = lab_value(l, 0);
  ck_assert_int_eq(v->parts[0].kernel, K_gather);
  v->attr[A_chunk_rows].i = UINT16_MAX;
  lab_check(l);
  lab_free(l);
}
END_TEST

int main(void) {
  Suite *s = suite_create("rows");
  TCase *t = untimed_case("rows");
  tcase_add_loop_test(t, rows_of_every_length, 0, (int)(sizeof cases / sizeof *cases));
  tcase_add_test(t, outputs_of_the_largest_chunk);
  suite_add_tcase(s, t);
  return run_suite(s);
}
