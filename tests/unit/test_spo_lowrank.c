/* PST and movement pruning: masks against naive ones, gradients against finite differences of
 * losses that are written out in f64, counts, schedules, threads and edges. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/lowrank.h"
#include "tests/run_suite.h"

static const spo_random source = {.seed = 5, .stream = 6, .step = 7};

static float number(uint64_t index) {
  return (float)(2 * spo_random_unit(&source, index) - 1);
}

static float *numbers(size_t count, uint64_t from) {
  float *x = malloc((count + 1) * sizeof *x);
  ck_assert_ptr_nonnull(x);
  for (size_t i = 0; i < count; i++)
    x[i] = number(from + i);
  return x;
}

static spo_recipe recipe_of(spo_method_id method, const char *pattern, double sparsity) {
  spo_recipe r;
  spo_recipe_init(&r, method);
  ck_assert(spo_pattern_parse(pattern, &r.goal.pattern));
  r.goal.sparsity = sparsity;
  r.steps = 100;
  return r;
}

/* ---- signed scores ---- */

typedef struct unit {
  double score;
  size_t index;
} unit;

static int by_score(const void *a, const void *b) {
  const unit *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->index < y->index ? -1 : 1;
}

/* Keeps the first of the sorted units, which are `high` x `wide` and begin at `at`. */
static void keep_best(unit *units, size_t count, size_t keep, const size_t *at, size_t cols,
                      size_t high, size_t wide, unsigned char *mask) {
  qsort(units, count, sizeof *units, by_score);
  for (size_t u = 0; u < count; u++)
    for (size_t r = 0; r < high; r++)
      for (size_t c = 0; c < wide; c++)
        mask[at[units[u].index] + r * cols + c] = u < keep;
}

static double unit_sum(const float *s, size_t cols, size_t high, size_t wide) {
  double sum = 0;
  for (size_t r = 0; r < high; r++)
    for (size_t c = 0; c < wide; c++)
      sum += s[r * cols + c];
  return sum;
}

enum { SIDE = 16 };

static void naive_signed(const spo_goal *goal, const float *s, size_t rows, size_t cols,
                         unsigned char *mask) {
  const spo_pattern *p = &goal->pattern;
  unit units[SIDE * SIDE];
  size_t at[SIDE * SIDE], n = 0;
  bool nm = p->kind == SPO_NM;
  size_t high = p->kind == SPO_UNSTRUCTURED ? 1 : p->rows,
         wide = p->kind == SPO_BLOCK ? p->cols : 1;
  for (size_t r = 0; r < rows; r += high)
    for (size_t c = 0; c < cols; c += wide) {
      at[n] = r * cols + c;
      units[n] = (unit){unit_sum(s + at[n], cols, high, wide), n};
      n++;
      if (!nm || ((c + 1) % p->m != 0 && c + 1 != cols)) continue;
      keep_best(units, n, p->n < n ? p->n : n, at, cols, high, wide, mask);
      n = 0;
    }
  if (!nm)
    keep_best(units, n, n - (size_t)floor(goal->sparsity * (double)n + 1e-6), at, cols, high, wide,
              mask);
}

START_TEST(signed_projection) {
  static const char *const patterns[] = {"unstructured", "4x1",   "2x2", "1x4",
                                         "2:4",          "1:3x2", "3:4"};
  for (uint64_t round = 0; round < 4000; round++) {
    const char *pattern = patterns[round % 7];
    spo_recipe r = recipe_of(SPO_MOVEMENT, pattern, (double)(round % 11) / 10);
    if (r.goal.pattern.kind == SPO_NM) r.goal.sparsity = SPO_IMPLIED;
    size_t rows = 4 * (1 + round % 3), cols = 4 * (1 + round / 3 % 4);
    float s[SIDE * SIDE];
    unsigned char mask[SIDE * SIDE], want[SIDE * SIDE];
    bool ties = round % 2 != 0;
    for (size_t i = 0; i < rows * cols; i++) {
      float x = number(round * 1000 + i);
      s[i] = ties ? (float)(int)(x * 3) * (i % 2 ? 1.0f : -1.0f) : x; /* with -0 too */
    }
    ck_assert(spo_project_signed(&r.goal, "s", s, rows, cols, mask, NULL, NULL) == SPO_OK);
    naive_signed(&r.goal, s, rows, cols, want);
    ck_assert_msg(memcmp(mask, want, rows * cols) == 0, "%s, round %d", pattern, (int)round);
  }
}
END_TEST

START_TEST(signed_edges) {
  float s[] = {-FLT_MAX, FLT_MAX, -FLT_MIN / 4, FLT_MIN / 4, 0.0f, -0.0f, 1, -1};
  static const char *const kept[] = {"00000000", "01000000", "01000010", "01010010", "01011010",
                                     "01011110", "01111110", "01111111", "11111111"};
  unsigned char keep[8];
  const spo_span span = {.name = "s", .score = s, .keep = keep, .count = 8};
  for (size_t k = 0; k <= 8; k++) {
    ck_assert(spo_select_signed(&span, 1, k, NULL, NULL) == SPO_OK);
    for (int i = 0; i < 8; i++)
      ck_assert_msg(keep[i] == (kept[k][i] == '1'), "k %d, element %d", (int)k, i);
  }
  const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
  for (int i = 0; i < 4; i++) {
    s[3] = bad[i];
    ck_assert_int_eq(spo_select_signed(&span, 1, 4, NULL, NULL), SPO_E_NONFINITE);
    ck_assert_int_eq(spo_select_scores(&span, 1, 4, NULL, NULL), SPO_E_NONFINITE);
  }
}
END_TEST

/* ---- PST ---- */

typedef struct pst {
  spo_recipe recipe;
  spo_tensor t;
  size_t count, params_count;
  float *w0, *params, *g, *work, *grad, *w;
  unsigned char *mask;
} pst;

static pst pst_open(spo_recipe r, size_t rows, size_t cols) {
  pst p = {.recipe = r, .t = {"layer", rows, cols}, .count = rows * cols};
  p.params_count = spo_pst_count(&r, rows, cols);
  p.w0 = numbers(p.count, 1000);
  p.g = numbers(p.count, 500000);
  p.work = numbers(p.count, 0);
  p.w = numbers(p.count, 0);
  p.params = numbers(p.params_count, 900000);
  p.grad = numbers(p.params_count, 0);
  p.mask = malloc(p.count + 1);
  return p;
}

static void pst_close(pst *p) {
  float *all[] = {p->w0, p->g, p->work, p->w, p->params, p->grad};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    free(all[i]);
  free(p->mask);
}

static spo_status forward(pst *p, uint64_t step, const spo_pool *pool) {
  return spo_pst_forward(&p->recipe, &p->t, p->w0, p->params, step, p->mask, p->w, pool, NULL);
}

static spo_status backward(pst *p, const spo_pool *pool) {
  return spo_pst_backward(&p->recipe, &p->t, p->w0, p->params, p->mask, p->g, p->work, p->grad,
                          pool, NULL);
}

/* W and S of one element, of parameters in f64, which have the order of the header. */
static void element(const pst *p, const double *x, size_t i, size_t j, double *w, double *s) {
  const spo_recipe *r = &p->recipe;
  size_t n = p->t.rows, m = p->t.cols, rw = r->rank_weights, rs = r->rank_scores;
  const double *u = x, *v = u + n * rw, *a = v + rw * m, *b = a + n * rs, *rr = b + rs * m,
               *cc = rr + n;
  double uv = 0, ab = 0;
  for (size_t k = 0; k < rw; k++)
    uv += u[i * rw + k] * v[k * m + j];
  for (size_t k = 0; k < rs; k++)
    ab += a[i * rs + k] * b[k * m + j];
  *w = p->w0[i * m + j] + r->beta * uv;
  *s = fabs(*w) + r->alpha_low_rank * ab + r->alpha_structure * (rr[i] + cc[j]);
}

/* The sum of g times the sparse weight, in which the mask follows the scores from `base` on. */
static double loss(const pst *p, const double *x, const double *base) {
  double sum = 0;
  for (size_t i = 0; i < p->t.rows; i++)
    for (size_t j = 0; j < p->t.cols; j++) {
      double w, s, s0;
      size_t at = i * p->t.cols + j;
      element(p, base, i, j, &w, &s0);
      element(p, x, i, j, &w, &s);
      sum += p->g[at] * (p->mask[at] + s - s0) * w;
    }
  return sum;
}

static void check_gradients(pst *p, size_t stride) {
  double *base = malloc(p->params_count * sizeof *base), *x = malloc(p->params_count * sizeof *x);
  double scale = 0, h = 1e-5;
  for (size_t i = 0; i < p->params_count; i++) {
    base[i] = x[i] = p->params[i];
    scale = fmax(scale, fabs(p->grad[i]));
  }
  for (size_t i = 0; i < p->params_count; i += stride) {
    x[i] = base[i] + h;
    double up = loss(p, x, base);
    x[i] = base[i] - h;
    double slope = (up - loss(p, x, base)) / (2 * h);
    x[i] = base[i];
    ck_assert_msg(fabs(slope - p->grad[i]) <= 1e-6 * scale, "parameter %d: %.9g, not %.9g", (int)i,
                  (double)p->grad[i], slope);
  }
  free(base);
  free(x);
}

START_TEST(pst_gradients) {
  static const struct {
    size_t rows, cols, rank_scores, rank_weights, stride;
  } cases[] = {
      {5, 7, 2, 3, 1}, {1, 1, 1, 1, 1}, {3, 300, 11, 1, 97}, {70, 2, 1, 9, 13}, {1, 65, 8, 8, 7}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    spo_recipe r = recipe_of(SPO_PST, "unstructured", 0.6);
    r.rank_scores = cases[i].rank_scores;
    r.rank_weights = cases[i].rank_weights;
    r.alpha_low_rank = 0.5;
    r.alpha_structure = 2;
    r.beta = 0.25;
    pst p = pst_open(r, cases[i].rows, cases[i].cols);
    ck_assert(forward(&p, 100, NULL) == SPO_OK);
    ck_assert(backward(&p, NULL) == SPO_OK);
    check_gradients(&p, cases[i].stride);
    pst_close(&p);
  }
}
END_TEST

/* The mask by scores in f64, which differ by more than f32 rounds, and the weight that it leaves.
 */
START_TEST(pst_forward_is_naive) {
  static const char *const patterns[] = {"unstructured", "4x1", "2:4", "1:4x4"};
  for (int i = 0; i < 4; i++) {
    bool nm = strchr(patterns[i], ':') != NULL;
    pst p = pst_open(recipe_of(SPO_PST, patterns[i], nm ? SPO_IMPLIED : 0.75), 12, 16);
    double x[(12 + 16) * 17];
    float s[12 * 16];
    unsigned char want[12 * 16];
    ck_assert_uint_eq(p.params_count, sizeof x / sizeof *x);
    for (size_t k = 0; k < p.params_count; k++)
      x[k] = p.params[k];
    ck_assert(forward(&p, 100, NULL) == SPO_OK);
    for (size_t k = 0; k < p.count; k++) {
      double w, score;
      element(&p, x, k / 16, k % 16, &w, &score);
      s[k] = (float)score;
      double left = p.mask[k] ? w : 0;
      ck_assert_double_le(fabs(p.w[k] - left), 1e-6);
    }
    naive_signed(&p.recipe.goal, s, 12, 16, want);
    ck_assert(memcmp(p.mask, want, p.count) == 0);
    pst_close(&p);
  }
}
END_TEST

START_TEST(pst_begins_as_magnitude) {
  pst p = pst_open(recipe_of(SPO_PST, "unstructured", 0.7), 40, 50);
  ck_assert(spo_pst_begin(&p.recipe, &p.t, p.params, NULL) == SPO_OK);
  ck_assert(forward(&p, 100, NULL) == SPO_OK);
  unsigned char mask[40 * 50];
  float w[40 * 50];
  spo_report report;
  memcpy(w, p.w0, sizeof w);
  spo_layer layer = {.name = "layer", .w = w, .mask = mask, .rows = 40, .cols = 50};
  ck_assert(spo_magnitude(&p.recipe.goal, &layer, &report, NULL, NULL) == SPO_OK);
  ck_assert(memcmp(mask, p.mask, sizeof mask) == 0);
  ck_assert(memcmp(w, p.w, sizeof w) == 0);
  spo_pst parts = spo_pst_parts(&p.recipe, &p.t, p.params);
  double sum = 0, squares = 0;
  for (size_t i = 0; i < 40 * 8; i++) {
    ck_assert(parts.u[i] != parts.a[i]);
    sum += parts.a[i];
    squares += parts.a[i] * parts.a[i];
  }
  ck_assert_double_lt(fabs(sum / 320), 0.25);         /* 4.5 standard deviations */
  ck_assert_double_lt(fabs(squares / 320 - 1), 0.36); /* the same */
  for (size_t i = 0; i < 40; i++)
    ck_assert(parts.r[i] == 0);
  pst_close(&p);
}
END_TEST

START_TEST(pst_counts) {
  spo_recipe r = recipe_of(SPO_PST, "unstructured", 0.5);
  size_t attention = spo_pst_count(&r, 768, 768), up = spo_pst_count(&r, 3072, 768);
  ck_assert_uint_eq(12 * (4 * attention + up + spo_pst_count(&r, 768, 3072)), 2820096);
}
END_TEST

enum { RANK_SIDE = 20 };

/* The largest element that elimination with so many pivots leaves: 0 for a rank of that or less. */
static double left_after(double x[RANK_SIDE][RANK_SIDE], int pivots) {
  enum { N = RANK_SIDE };
  double left = 0;
  for (int step = 0; step < pivots; step++) {
    size_t at = 0;
    for (size_t i = 0; i < N * N; i++)
      if (fabs(x[i / N][i % N]) > fabs(x[at / N][at % N])) at = i;
    double row[N], column[N], pivot = x[at / N][at % N];
    for (size_t i = 0; i < N; i++) {
      row[i] = x[at / N][i];
      column[i] = x[i][at % N] / pivot;
    }
    for (size_t i = 0; i < N * N; i++)
      x[i / N][i % N] -= column[i / N] * row[i % N];
  }
  for (size_t i = 0; i < N * N; i++)
    left = fmax(left, fabs(x[i / N][i % N]));
  return left;
}

/* W - W0 has the rank of UV; what scores have beside |W| that of AB, and 2 for rows and columns. */
START_TEST(pst_ranks) {
  enum { N = RANK_SIDE, WEIGHTS = 3, SCORES = 4 };
  spo_recipe r = recipe_of(SPO_PST, "unstructured", 0);
  r.rank_weights = WEIGHTS;
  r.rank_scores = SCORES;
  pst p = pst_open(r, N, N);
  double x[N][N], s[N][N];
  ck_assert(forward(&p, 100, NULL) == SPO_OK);
  spo_pst_scores(&p.recipe, &p.t, p.w0, p.params, p.work, NULL);
  for (size_t i = 0; i < N * N; i++) {
    x[i / N][i % N] = p.w[i] - p.w0[i];
    s[i / N][i % N] = p.work[i] - fabsf(p.w[i]);
  }
  ck_assert_double_gt(left_after(x, WEIGHTS - 1), 1e-2);
  ck_assert_double_lt(left_after(x, 1), 1e-5);
  ck_assert_double_gt(left_after(s, SCORES + 1), 1e-2);
  ck_assert_double_lt(left_after(s, 1), 1e-5);
  pst_close(&p);
}
END_TEST

static size_t kept(const unsigned char *mask, size_t count) {
  size_t sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += mask[i];
  return sum;
}

/* Dense until begin, then exactly what the schedule says, and the end's from `end` on. */
START_TEST(schedule) {
  pst p = pst_open(recipe_of(SPO_PST, "unstructured", 0.9), 15, 17);
  size_t before = p.count;
  for (uint64_t step = 0; step <= 110; step++) {
    double t = step < 10 ? 0 : step > 70 ? 1 : ((double)step - 10) / 60;
    double v = 0.9 - 0.9 * pow(1 - t, 3);
    ck_assert(forward(&p, step, NULL) == SPO_OK);
    size_t now = kept(p.mask, p.count);
    ck_assert_uint_eq(now, p.count - (size_t)floor(v * (double)p.count + 1e-6));
    ck_assert_uint_le(now, before);
    before = now;
  }
  ck_assert_uint_eq(before, 255 - 229);
  p.recipe.goal = recipe_of(SPO_PST, "1:4", SPO_IMPLIED).goal;
  ck_assert(forward(&p, 0, NULL) == SPO_OK);
  ck_assert_uint_eq(kept(p.mask, p.count), p.count);
  ck_assert(forward(&p, 70, NULL) == SPO_OK);
  ck_assert_uint_eq(kept(p.mask, p.count), 15 * 5); /* 17 columns: a group of one at the end */
  pst_close(&p);
}
END_TEST

START_TEST(pst_finish_is_forward) {
  pst p = pst_open(recipe_of(SPO_PST, "unstructured", 0.9), 33, 65);
  float w[33 * 65];
  unsigned char mask[33 * 65];
  spo_report report;
  ck_assert(forward(&p, 100, NULL) == SPO_OK);
  ck_assert(spo_pst_finish(&p.recipe, &p.t, p.w0, p.params, mask, w, &report, NULL, NULL) ==
            SPO_OK);
  ck_assert(memcmp(w, p.w, sizeof w) == 0 && memcmp(mask, p.mask, sizeof mask) == 0);
  ck_assert_uint_eq(report.total, 33 * 65);
  ck_assert_uint_eq(report.kept, kept(mask, sizeof mask));
  ck_assert_uint_eq(report.nonzero, report.kept);
  pst_close(&p);
}
END_TEST

START_TEST(any_threads) {
  enum { ROWS = 300, COLS = 520 };
  pst p = pst_open(recipe_of(SPO_PST, "unstructured", 0.8), ROWS, COLS);
  float *w = numbers(p.count, 0), *grad = numbers(p.params_count, 0);
  ck_assert(forward(&p, 100, NULL) == SPO_OK && backward(&p, NULL) == SPO_OK);
  memcpy(w, p.w, p.count * sizeof *w);
  memcpy(grad, p.grad, p.params_count * sizeof *grad);
  for (unsigned threads = 1; threads <= 32; threads = threads * 3 - 1 + (threads == 1)) {
    spo_pool *pool;
    ck_assert(spo_pool_open(threads, &pool, NULL) == SPO_OK);
    ck_assert(forward(&p, 100, pool) == SPO_OK && backward(&p, pool) == SPO_OK);
    ck_assert(memcmp(w, p.w, p.count * sizeof *w) == 0);
    ck_assert(memcmp(grad, p.grad, p.params_count * sizeof *grad) == 0);
    spo_pool_close(pool);
  }
  free(w);
  free(grad);
  pst_close(&p);
}
END_TEST

START_TEST(pst_edges) {
  static const size_t shapes[][2] = {{0, 5}, {5, 0}, {1, 1}, {1, 257}, {257, 1}};
  for (size_t i = 0; i < 5; i++)
    for (int full = 0; full < 2; full++) {
      pst p = pst_open(recipe_of(SPO_PST, "unstructured", full), shapes[i][0], shapes[i][1]);
      ck_assert(forward(&p, 100, NULL) == SPO_OK && backward(&p, NULL) == SPO_OK);
      ck_assert_uint_eq(kept(p.mask, p.count), full ? 0 : p.count);
      pst_close(&p);
    }
}
END_TEST

START_TEST(refusals) {
  spo_error error;
  pst p = pst_open(recipe_of(SPO_PST, "4x1", 0.5), 6, 8);
  ck_assert_int_eq(forward(&p, 1, NULL), SPO_E_SHAPE);
  p.recipe = recipe_of(SPO_MOVEMENT, "unstructured", 0.5);
  ck_assert_int_eq(backward(&p, NULL), SPO_E_VALUE);
  p.recipe = recipe_of(SPO_PST, "unstructured", 1.5);
  ck_assert_int_eq(spo_pst_begin(&p.recipe, &p.t, p.params, &error), SPO_E_SPARSITY);
  p.recipe = recipe_of(SPO_PST, "unstructured", 0.5);
  p.w0[11] = NAN;
  ck_assert_int_eq(spo_pst_forward(&p.recipe, &p.t, p.w0, p.params, 50, p.mask, p.w, NULL, &error),
                   SPO_E_NONFINITE);
  ck_assert_ptr_nonnull(strstr(error.text, "'layer'"));
  ck_assert_ptr_nonnull(strstr(error.text, "[1, 3]"));
  pst_close(&p);
}
END_TEST

/* ---- movement ---- */

enum { MOVES = 12 * 20 };

typedef struct movement {
  spo_recipe recipe;
  spo_tensor t;
  float w[MOVES], scores[MOVES], g[MOVES], out[MOVES], grad_w[MOVES], grad_scores[MOVES];
  unsigned char mask[MOVES];
} movement;

static movement movement_of(spo_recipe r) {
  movement m = {.recipe = r, .t = {"layer", 12, 20}};
  for (size_t i = 0; i < MOVES; i++) {
    m.w[i] = number(i);
    m.scores[i] = 6 * number(1000 + i);
    m.g[i] = number(2000 + i);
  }
  return m;
}

static spo_status move_forward(movement *m, uint64_t step) {
  return spo_movement_forward(&m->recipe, &m->t, m->w, m->scores, step, m->mask, m->out, NULL,
                              NULL);
}

static spo_status move_backward(movement *m, uint64_t step) {
  return spo_movement_backward(&m->recipe, &m->t, m->w, m->scores, step, m->mask, m->g, m->grad_w,
                               m->grad_scores, NULL, NULL);
}

START_TEST(movement_hard) {
  static const char *const patterns[] = {"unstructured", "4x4", "2:4"};
  for (int i = 0; i < 3; i++) {
    movement m = movement_of(recipe_of(SPO_MOVEMENT, patterns[i], i == 2 ? SPO_IMPLIED : 0.8));
    unsigned char want[MOVES];
    ck_assert(move_forward(&m, 100) == SPO_OK && move_backward(&m, 100) == SPO_OK);
    naive_signed(&m.recipe.goal, m.scores, 12, 20, want);
    ck_assert(memcmp(want, m.mask, MOVES) == 0);
    for (size_t k = 0; k < MOVES; k++) {
      ck_assert(m.out[k] == (want[k] ? m.w[k] : 0));
      ck_assert(m.grad_w[k] == (want[k] ? m.g[k] : 0));
      ck_assert(m.grad_scores[k] == m.g[k] * m.w[k]);
    }
  }
}
END_TEST

/* Weights that gradient descent moves away from zero gain score. */
START_TEST(movement_direction) {
  movement m = movement_of(recipe_of(SPO_MOVEMENT, "unstructured", 0.5));
  memset(m.scores, 0, sizeof m.scores);
  ck_assert(move_forward(&m, 0) == SPO_OK && move_backward(&m, 0) == SPO_OK);
  for (size_t k = 0; k < MOVES; k++)
    ck_assert((m.grad_scores[k] < 0) == (fabsf(m.w[k] - 1e-3f * m.g[k]) > fabsf(m.w[k])));
}
END_TEST

static double sigmoid(double s) {
  return 1 / (1 + exp(-s));
}

START_TEST(movement_soft) {
  spo_recipe r = recipe_of(SPO_MOVEMENT, "unstructured", 0);
  r.soft = true;
  movement m = movement_of(r);
  for (uint64_t step = 0; step <= 100; step += 5) {
    double t = step < 10 ? 0 : step > 70 ? 1 : ((double)step - 10) / 60;
    double rise = 1 - pow(1 - t, 3), threshold = 0.1 * rise;
    ck_assert(move_forward(&m, step) == SPO_OK && move_backward(&m, step) == SPO_OK);
    for (size_t k = 0; k < MOVES; k++) {
      double s = m.scores[k], h = 1e-4;
      ck_assert(m.mask[k] == (sigmoid(s) > threshold));
      double slope =
          m.g[k] * m.w[k] + 400 * rise * (sigmoid(s + h) - sigmoid(s - h)) / (2 * h) / MOVES;
      ck_assert_double_le(fabs(m.grad_scores[k] - slope), 1e-6);
    }
  }
  for (size_t k = 0; k < MOVES; k++)
    m.scores[k] -= 100;
  ck_assert(move_forward(&m, 100) == SPO_OK);
  ck_assert_uint_eq(kept(m.mask, MOVES), 2); /* 240 - floor(0.995 * 240) */
  m.scores[7] = INFINITY;
  ck_assert_int_eq(move_forward(&m, 100), SPO_E_NONFINITE);
}
END_TEST

START_TEST(movement_in_place) {
  movement m = movement_of(recipe_of(SPO_MOVEMENT, "unstructured", 0.8)), n = m;
  spo_report report;
  ck_assert(move_forward(&m, 100) == SPO_OK && move_backward(&m, 100) == SPO_OK);
  ck_assert(spo_movement_backward(&n.recipe, &n.t, n.w, n.scores, 100, m.mask, n.g, n.g,
                                  n.grad_scores, NULL, NULL) == SPO_OK);
  ck_assert(memcmp(n.g, m.grad_w, sizeof n.g) == 0);
  ck_assert(memcmp(n.grad_scores, m.grad_scores, sizeof n.grad_scores) == 0);
  ck_assert(spo_movement_finish(&n.recipe, &n.t, n.w, n.scores, n.mask, n.w, &report, NULL, NULL) ==
            SPO_OK);
  ck_assert(memcmp(n.w, m.out, sizeof n.w) == 0);
  ck_assert_uint_eq(report.kept, MOVES - 192);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_lowrank");
  TCase *c = untimed_case("lowrank");
  tcase_add_test(c, signed_projection);
  tcase_add_test(c, signed_edges);
  tcase_add_test(c, pst_gradients);
  tcase_add_test(c, pst_forward_is_naive);
  tcase_add_test(c, pst_begins_as_magnitude);
  tcase_add_test(c, pst_counts);
  tcase_add_test(c, pst_ranks);
  tcase_add_test(c, schedule);
  tcase_add_test(c, pst_finish_is_forward);
  tcase_add_test(c, any_threads);
  tcase_add_test(c, pst_edges);
  tcase_add_test(c, refusals);
  tcase_add_test(c, movement_hard);
  tcase_add_test(c, movement_direction);
  tcase_add_test(c, movement_soft);
  tcase_add_test(c, movement_in_place);
  suite_add_tcase(s, c);
  return run_suite(s);
}
