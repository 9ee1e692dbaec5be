/* libspo against naive references: exact counts, ties by index, every pattern, bad arguments. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo.h"
#include "tests/run_suite.h"

enum { MAX = 4096 };

static uint64_t random_state;

static uint64_t random_next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static size_t random_below(size_t n) {
  return (size_t)(random_next() % n);
}

static void setup(void) {
  random_state = 0x9e3779b97f4a7c15u;
}

/* Values that collide often: small integers, both zeros, denormals, the largest float. */
static float random_weight(void) {
  static const float special[] = {0.0f,   -0.0f,         1e-45f,        -1e-45f,
                                  1e-40f, 3.4028235e38f, -3.4028235e38f};
  switch (random_below(4)) {
  case 0:
    return (float)random_below(7) - 3.0f;
  case 1:
    return special[random_below(sizeof special / sizeof *special)];
  default:
    return ((float)random_below(2001) - 1000.0f) / 997.0f;
  }
}

static double random_sparsity(void) {
  static const double usual[] = {0, 1, 0.5, 0.9, 0.29, 0.8, 0.95};
  return random_below(2) ? usual[random_below(7)] : (double)random_below(1001) / 1000;
}

typedef struct unit {
  double score;
  size_t index;
} unit;

static int by_rank(const void *a, const void *b) {
  const unit *u = a, *v = b;
  if (u->score != v->score) return u->score > v->score ? -1 : 1;
  return u->index < v->index ? -1 : u->index > v->index;
}

/* Sum of squares of the R x C unit at w. */
static double score_of(const float *w, size_t stride, size_t rows, size_t cols) {
  double sum = 0;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      sum += pow((double)w[r * stride + c], 2);
  return sum;
}

static void fill_unit(unsigned char *mask, size_t stride, size_t rows, size_t cols, int value) {
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      mask[r * stride + c] = (unsigned char)value;
}

/* Naive: sort all blocks, keep the first n - floor(s n + 1e-6). */
static void naive_blocks(const float *w, size_t rows, size_t cols, size_t br, size_t bc, double s,
                         unsigned char *mask) {
  static unit units[MAX];
  size_t across = cols / bc, count = rows / br * across;
  for (size_t u = 0; u < count; u++)
    units[u] = (unit){score_of(w + u / across * br * cols + u % across * bc, cols, br, bc), u};
  qsort(units, count, sizeof *units, by_rank);
  size_t drop = (size_t)(s * (double)count + 1e-6);
  for (size_t i = 0; i < count; i++) {
    size_t u = units[i].index;
    fill_unit(mask + u / across * br * cols + u % across * bc, cols, br, bc, i < count - drop);
  }
}

static void naive_nm(const float *w, size_t rows, size_t cols, const spo_pattern *p,
                     unsigned char *mask) {
  for (size_t r = 0; r < rows; r += p->rows)
    for (size_t c = 0; c < cols; c += p->m) {
      unit units[256];
      size_t width = c + p->m <= cols ? p->m : cols - c;
      for (size_t i = 0; i < width; i++)
        units[i] = (unit){score_of(w + r * cols + c + i, cols, p->rows, 1), i};
      qsort(units, width, sizeof *units, by_rank);
      for (size_t i = 0; i < width; i++)
        fill_unit(mask + r * cols + c + units[i].index, cols, p->rows, 1, i < p->n);
    }
}

static void naive(const spo_goal *goal, const float *w, size_t rows, size_t cols,
                  unsigned char *mask) {
  const spo_pattern *p = &goal->pattern;
  if (p->kind == SPO_DENSE) memset(mask, 1, rows * cols);
  if (p->kind == SPO_NM) naive_nm(w, rows, cols, p, mask);
  if (p->kind == SPO_UNSTRUCTURED) naive_blocks(w, rows, cols, 1, 1, goal->sparsity, mask);
  if (p->kind == SPO_BLOCK) naive_blocks(w, rows, cols, p->rows, p->cols, goal->sparsity, mask);
}

static spo_goal random_goal(void) {
  static const uint32_t sizes[] = {1, 2, 3, 4, 8, 16};
  spo_goal goal = {.sparsity = random_sparsity()};
  uint32_t m = 1 + (uint32_t)random_below(9);
  switch (random_below(4)) {
  case 0:
    goal.pattern = (spo_pattern){.kind = SPO_UNSTRUCTURED};
    break;
  case 1:
    goal.pattern = (spo_pattern){
        .kind = SPO_BLOCK, .rows = sizes[random_below(6)], .cols = sizes[random_below(6)]};
    break;
  case 2:
    goal.pattern = (spo_pattern){
        .kind = SPO_NM, .rows = sizes[random_below(4)], .n = 1 + (uint32_t)random_below(m), .m = m};
    goal.sparsity = SPO_IMPLIED;
    break;
  default:
    goal.pattern = (spo_pattern){.kind = SPO_DENSE};
    goal.sparsity = random_below(2) ? 0 : SPO_IMPLIED;
  }
  return goal;
}

static void check_report(const spo_report *report, const float *w, const unsigned char *mask,
                         size_t count) {
  uint64_t kept = 0, nonzero = 0;
  for (size_t i = 0; i < count; i++) {
    kept += mask[i];
    nonzero += w[i] != 0;
  }
  ck_assert_uint_eq(report->total, count);
  ck_assert_uint_eq(report->kept, kept);
  ck_assert_uint_eq(report->nonzero, nonzero);
}

/* One random case: the mask is the naive one, kept weights keep their bits, dropped ones are +0,
 * and pruning again changes nothing. */
static void one_case(void) {
  static float before[MAX], w[MAX];
  static unsigned char mask[MAX], expected[MAX];
  spo_goal goal = random_goal();
  size_t br = goal.pattern.rows ? goal.pattern.rows : 1;
  size_t bc = goal.pattern.cols ? goal.pattern.cols : 1;
  size_t rows = br * (1 + random_below(3)), cols = bc * (1 + random_below(17 / bc + 1));
  size_t count = rows * cols;
  for (size_t i = 0; i < count; i++)
    before[i] = w[i] = random_weight();
  spo_layer layer = {.name = "t", .w = w, .mask = mask, .rows = rows, .cols = cols};
  spo_report report;
  spo_error error = {.text = ""};
  ck_assert_msg(spo_magnitude(&goal, &layer, &report, NULL, &error) == SPO_OK, "%s", error.text);
  naive(&goal, before, rows, cols, expected);
  ck_assert_mem_eq(mask, expected, count);
  for (size_t i = 0; i < count; i++) {
    float want = expected[i] ? before[i] : 0.0f;
    ck_assert_mem_eq(&w[i], &want, sizeof want);
  }
  check_report(&report, w, mask, count);
  memcpy(before, w, sizeof before);
  ck_assert(spo_magnitude(&goal, &layer, &report, NULL, &error) == SPO_OK);
  ck_assert_mem_eq(before, w, count * sizeof *w);
}

START_TEST(magnitude_equals_naive_reference) {
  for (int i = 0; i < 20000; i++)
    one_case();
}
END_TEST

/* The mask is a Euclidean projection: no support of the same size loses less. */
START_TEST(unstructured_is_optimal_over_all_supports) {
  for (int round = 0; round < 2000; round++) {
    float w[8];
    unsigned char mask[8];
    size_t n = 1 + random_below(8), k = random_below(n + 1);
    for (size_t i = 0; i < n; i++)
      w[i] = (float)random_below(7) - 3.0f;
    spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED},
                     .sparsity = (double)(n - k) / (double)n};
    ck_assert(spo_project(&goal, "t", w, 1, n, mask, NULL, NULL) == SPO_OK);
    double kept = 0, best = 0;
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
      kept += mask[i] ? w[i] * w[i] : 0;
      size += mask[i];
    }
    for (unsigned support = 0; support < 1u << n; support++) {
      double sum = 0;
      for (size_t i = 0; i < n; i++)
        sum += support >> i & 1 ? w[i] * w[i] : 0;
      if ((size_t)__builtin_popcount(support) == k) best = fmax(best, sum);
    }
    ck_assert_uint_eq(size, k);
    ck_assert(kept == best);
  }
}
END_TEST

START_TEST(counts_are_exact) {
  ck_assert_uint_eq(spo_keep_count(100, 0.29), 71); /* 0.29 * 100 = 28.999999999999996 */
  ck_assert_uint_eq(spo_keep_count(0, 0.5), 0);
  ck_assert_uint_eq(spo_keep_count(1, 0.999), 1);
  ck_assert_uint_eq(spo_keep_count(1, 1), 0);
  ck_assert_uint_eq(spo_keep_count(3, 0.5), 2);
  ck_assert_uint_eq(spo_keep_count(589824, 0.9), 58983);
  ck_assert_uint_eq(spo_keep_count(147456, 0.9), 14746);
  ck_assert_uint_eq(spo_keep_count(10, 0), 10);
}
END_TEST

START_TEST(ties_keep_the_lower_index) {
  float w[] = {1, -1, 1, -1, 2, 0, -0.0f, 0};
  unsigned char mask[8];
  spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = 0.625};
  ck_assert(spo_project(&goal, "t", w, 2, 4, mask, NULL, NULL) == SPO_OK);
  ck_assert_mem_eq(mask, ((unsigned char[]){1, 1, 0, 0, 1, 0, 0, 0}), 8);
  goal.sparsity = 0.25; /* both zeros count alike: index 5 is kept, 6 and 7 go */
  ck_assert(spo_project(&goal, "t", w, 2, 4, mask, NULL, NULL) == SPO_OK);
  ck_assert_mem_eq(mask, ((unsigned char[]){1, 1, 1, 1, 1, 1, 0, 0}), 8);
}
END_TEST

START_TEST(groups_keep_exactly_n) {
  float equal[12] = {3, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
  unsigned char mask[12];
  for (uint32_t n = 1; n <= 4; n++) {
    spo_goal goal = {.pattern = {.kind = SPO_NM, .rows = 1, .n = n, .m = 4},
                     .sparsity = SPO_IMPLIED};
    ck_assert(spo_project(&goal, "t", equal, 1, 12, mask, NULL, NULL) == SPO_OK);
    for (uint32_t i = 0; i < 12; i++)
      ck_assert_uint_eq(mask[i], i % 4 < n);
  }
}
END_TEST

START_TEST(ragged_groups_keep_at_most_their_width) {
  float w[6] = {1, 2, 3, 4, 5, 6};
  unsigned char mask[6];
  spo_goal goal = {.pattern = {.kind = SPO_NM, .rows = 1, .n = 2, .m = 5}, .sparsity = 0.6};
  ck_assert(spo_project(&goal, "t", w, 1, 6, mask, NULL, NULL) == SPO_OK);
  ck_assert_mem_eq(mask, ((unsigned char[]){0, 0, 0, 1, 1, 1}), 6);
}
END_TEST

START_TEST(empty_tensors_are_fine) {
  spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = 0.5};
  spo_layer layer = {.name = "t", .rows = 0, .cols = 7};
  spo_report report;
  ck_assert(spo_magnitude(&goal, &layer, &report, NULL, NULL) == SPO_OK);
  ck_assert_uint_eq(report.total, 0);
}
END_TEST

/* A refused call names the tensor and leaves weights and mask as they were. */
static void refuse(const spo_goal *goal, float *w, size_t rows, size_t cols, spo_status status,
                   const char *text) {
  float before[16];
  unsigned char mask[16];
  memset(mask, 7, sizeof mask);
  memcpy(before, w, sizeof before);
  spo_layer layer = {.name = "a.weight", .w = w, .mask = mask, .rows = rows, .cols = cols};
  spo_report report;
  spo_error error;
  ck_assert_int_eq(spo_magnitude(goal, &layer, &report, NULL, &error), status);
  ck_assert_str_eq(error.text, text);
  ck_assert_int_eq(spo_magnitude(goal, &layer, &report, NULL, NULL), status);
  ck_assert_mem_eq(w, before, sizeof before);
  for (size_t i = 0; i < sizeof mask; i++)
    ck_assert_uint_eq(mask[i], 7);
}

START_TEST(bad_arguments_touch_nothing) {
  float w[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  spo_goal block = {.pattern = {.kind = SPO_BLOCK, .rows = 3, .cols = 1}, .sparsity = 0.5};
  refuse(&block, w, 4, 4, SPO_E_SHAPE,
         "tensor 'a.weight': pattern 3x1 does not divide its shape [4, 4]; choose another pattern "
         "or leave the tensor out");
  block.pattern = (spo_pattern){.kind = SPO_BLOCK, .rows = 1, .cols = 3};
  refuse(&block, w, 4, 4, SPO_E_SHAPE,
         "tensor 'a.weight': pattern 1x3 does not divide its shape [4, 4]; choose another pattern "
         "or leave the tensor out");
  block.pattern.cols = 0;
  refuse(&block, w, 4, 4, SPO_E_PATTERN,
         "tensor 'a.weight': the pattern's numbers are out of range");
  spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = 1.5};
  refuse(&goal, w, 4, 4, SPO_E_SPARSITY,
         "tensor 'a.weight': a sparsity of 0 to 1 is needed, got 1.5");
  goal.sparsity = SPO_IMPLIED;
  refuse(&goal, w, 4, 4, SPO_E_SPARSITY,
         "tensor 'a.weight': a sparsity of 0 to 1 is needed, got -1");
  goal.sparsity = NAN;
  refuse(&goal, w, 4, 4, SPO_E_SPARSITY,
         "tensor 'a.weight': a sparsity of 0 to 1 is needed, got nan");
  goal = (spo_goal){.pattern = {.kind = SPO_NM, .rows = 1, .n = 2, .m = 4}, .sparsity = 0.9};
  refuse(&goal, w, 4, 4, SPO_E_SPARSITY,
         "tensor 'a.weight': the pattern implies a sparsity of 0.5, not 0.9; leave it out");
  goal = (spo_goal){.pattern = {.kind = SPO_NM, .rows = 3, .n = 2, .m = 4}, .sparsity = 0.5};
  refuse(&goal, w, 4, 4, SPO_E_SHAPE,
         "tensor 'a.weight': pattern 2:4x3 does not divide its shape [4, 4]; choose another "
         "pattern or leave the tensor out");
  goal = (spo_goal){.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = 0.5};
  refuse(&goal, w, SIZE_MAX / 4, 16, SPO_E_SHAPE,
         "tensor 'a.weight': 4611686018427387903 x 16 elements are too many");
}
END_TEST

START_TEST(non_finite_weights_touch_nothing) {
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = 0.5};
  for (size_t i = 0; i < 3; i++) {
    float w[16] = {0};
    w[13] = bad[i];
    refuse(&goal, w, 4, 4, SPO_E_NONFINITE, "tensor 'a.weight': element [3, 1] is not finite");
  }
}
END_TEST

/* Keys of full width, so that every digit of the search is used. */
START_TEST(select_equals_sorting) {
  static uint64_t key[MAX];
  static unsigned char keep[MAX];
  for (int round = 0; round < 3000; round++) {
    size_t n = random_below(200), k = random_below(n + 1);
    uint64_t range = (uint64_t)1 << random_below(64);
    for (size_t i = 0; i < n; i++)
      key[i] = random_next() & (range - 1);
    spo_select(key, n, k, keep);
    for (size_t i = 0; i < n; i++) {
      size_t rank = 0;
      for (size_t j = 0; j < n; j++)
        rank += key[j] > key[i] || (key[j] == key[i] && j < i);
      ck_assert_uint_eq(keep[i], rank < k);
    }
  }
}
END_TEST

START_TEST(patterns_round_trip) {
  static const char *const good[] = {"dense", "unstructured", "4x1",     "1x16",  "16x16",
                                     "2:4",   "1:4",          "256:256", "2:4x8", "256x256"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    spo_pattern p;
    char text[SPO_PATTERN_TEXT];
    ck_assert_msg(spo_pattern_parse(good[i], &p), "%s", good[i]);
    ck_assert_str_eq(spo_pattern_print(&p, text), good[i]);
  }
}
END_TEST

START_TEST(other_spellings_are_none) {
  static const char *const bad[] = {"",
                                    "Dense",
                                    "sparse",
                                    "4",
                                    "4x",
                                    "x4",
                                    "4x0",
                                    "0x4",
                                    "257x1",
                                    "4x1 ",
                                    " 4x1",
                                    "+4x1",
                                    "04x1",
                                    "5:4",
                                    "2:",
                                    ":4",
                                    "2:4x",
                                    "2:4x0",
                                    "4X1",
                                    "4x1x1",
                                    "-2:4",
                                    "2:04",
                                    "99999999999999999999x1"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    spo_pattern p = {.n = 99};
    ck_assert_msg(!spo_pattern_parse(bad[i], &p), "'%s'", bad[i]);
    ck_assert_uint_eq(p.n, 99);
  }
}
END_TEST

/* One ranking over three layers is that over one layer of all their units. */
START_TEST(global_is_one_ranking) {
  static const char *const texts[] = {"unstructured", "2x1", "2:4"};
  for (int k = 0; k < 600; k++) {
    float w[3][48], joined[144];
    unsigned char mask[3][48], wanted[144];
    spo_layer layers[3], all = {"all", joined, wanted, 36, 4};
    spo_report reports[3], report;
    spo_goal goal = {.sparsity = k % 3 == 2 ? SPO_IMPLIED : random_sparsity()};
    ck_assert(spo_pattern_parse(texts[k % 3], &goal.pattern));
    for (size_t i = 0; i < 144; i++)
      joined[i] = w[i / 48][i % 48] = (float)random_below(7) - 3.0f;
    for (size_t i = 0; i < 3; i++)
      layers[i] = (spo_layer){"w", w[i], mask[i], 12, 4};
    ck_assert(spo_magnitude_global(&goal, layers, 3, reports, NULL, NULL) == SPO_OK);
    ck_assert(spo_magnitude(&goal, &all, &report, NULL, NULL) == SPO_OK);
    ck_assert_mem_eq(mask, wanted, sizeof wanted);
    ck_assert_mem_eq(w, joined, sizeof joined);
    ck_assert_uint_eq(reports[0].kept + reports[1].kept + reports[2].kept, report.kept);
  }
}
END_TEST

/* Blocks that differ in what f32 cannot hold are no ties. */
START_TEST(global_sums_are_f64) {
  float w[2][4] = {{1, 1e-5f, 1, 2e-5f}, {1, 1e-5f, 1, 2e-5f}};
  unsigned char mask[2][4];
  spo_layer alone = {"w", w[0], mask[0], 1, 4}, together = {"w", w[1], mask[1], 1, 4};
  spo_goal goal = {.pattern = {.kind = SPO_BLOCK, .rows = 1, .cols = 2}, .sparsity = 0.5};
  spo_report report;
  ck_assert_int_eq(spo_magnitude(&goal, &alone, &report, NULL, NULL), SPO_OK);
  ck_assert_int_eq(spo_magnitude_global(&goal, &together, 1, &report, NULL, NULL), SPO_OK);
  ck_assert_mem_eq(mask[0], mask[1], sizeof mask[0]);
  ck_assert(mask[1][2] == 1 && w[1][3] == 2e-5f);
}
END_TEST

/* With any number of threads, and ties over all layers, the masks are the same. */
START_TEST(global_on_pools) {
  enum { LAYERS = 5, SIZE = 64 * 50 };
  static float w[LAYERS][SIZE];
  static unsigned char mask[2][LAYERS][SIZE];
  spo_goal goal = {.pattern = {.kind = SPO_BLOCK, .rows = 2, .cols = 1}, .sparsity = 0.7};
  for (unsigned threads = 1; threads <= 32; threads *= 2) {
    spo_layer layers[LAYERS];
    spo_report reports[LAYERS];
    spo_pool *pool;
    size_t kept = 0;
    for (size_t i = 0; i < LAYERS * SIZE; i++)
      w[i / SIZE][i % SIZE] = (float)(i * 2654435761u % 9) - 4;
    for (size_t i = 0; i < LAYERS; i++)
      layers[i] = (spo_layer){"w", w[i], mask[threads > 1][i], 64, 50};
    ck_assert_int_eq(spo_pool_open(threads, &pool, NULL), SPO_OK);
    ck_assert_int_eq(spo_magnitude_global(&goal, layers, LAYERS, reports, pool, NULL), SPO_OK);
    ck_assert_mem_eq(mask[0], mask[threads > 1], sizeof mask[0]);
    for (size_t i = 0; i < LAYERS; i++)
      kept += reports[i].kept;
    ck_assert_uint_eq(kept, 2 * spo_keep_count(LAYERS * SIZE / 2, 0.7));
    spo_pool_close(pool);
  }
}
END_TEST

START_TEST(global_refusals) {
  float w[2][4] = {{1, 2, 3, 4}, {1, NAN, 3, 4}};
  unsigned char mask[2][4];
  spo_layer layers[2] = {{"a", w[0], mask[0], 2, 2}, {"b", w[1], mask[1], 2, 2}};
  spo_report reports[2];
  spo_error error;
  spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = 0.5};
  ck_assert_int_eq(spo_magnitude_global(&goal, layers, 2, reports, NULL, &error), SPO_E_NONFINITE);
  ck_assert_ptr_nonnull(strstr(error.text, "'b': element [0, 1]"));
  ck_assert(w[0][0] == 1);
  w[1][1] = 2;
  goal.pattern = (spo_pattern){.kind = SPO_BLOCK, .rows = 4, .cols = 1};
  ck_assert_int_eq(spo_magnitude_global(&goal, layers, 2, reports, NULL, &error), SPO_E_SHAPE);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("spo");
  TCase *t = untimed_case("spo");
  tcase_add_checked_fixture(t, setup, NULL);
  tcase_add_test(t, magnitude_equals_naive_reference);
  tcase_add_test(t, unstructured_is_optimal_over_all_supports);
  tcase_add_test(t, counts_are_exact);
  tcase_add_test(t, ties_keep_the_lower_index);
  tcase_add_test(t, groups_keep_exactly_n);
  tcase_add_test(t, ragged_groups_keep_at_most_their_width);
  tcase_add_test(t, empty_tensors_are_fine);
  tcase_add_test(t, bad_arguments_touch_nothing);
  tcase_add_test(t, non_finite_weights_touch_nothing);
  tcase_add_test(t, select_equals_sorting);
  tcase_add_test(t, patterns_round_trip);
  tcase_add_test(t, other_spellings_are_none);
  tcase_add_test(t, global_is_one_ranking);
  tcase_add_test(t, global_sums_are_f64);
  tcase_add_test(t, global_on_pools);
  tcase_add_test(t, global_refusals);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
