/* Wanda, SparseGPT and the refit against naive f64 references written from their definitions. */
#include "optimizer/gram.h"
#include "optimizer/obs.h"
#include "tests/run_suite.h"
#include "tests/unit/spo_oneshot.h"

typedef struct sample {
  size_t rows, cols, tokens;
  float *w, *x, *out;
  unsigned char *mask;
  double *h; /* damped */
  spo_gram *gram;
  spo_layer layer; /* on out and mask */
} sample;

static sample make(size_t rows, size_t cols, size_t tokens) {
  sample s = {.rows = rows, .cols = cols, .tokens = tokens};
  s.w = random_floats(rows * cols);
  s.x = random_tokens(tokens, cols);
  s.out = malloc(rows * cols * sizeof *s.out);
  s.mask = malloc(rows * cols);
  s.h = naive_gram(s.x, tokens, cols);
  naive_damp(s.h, cols, 0.01);
  s.gram = gram_of(s.x, tokens, cols);
  s.layer = (spo_layer){"w", s.out, s.mask, rows, cols};
  return s;
}

static void end(sample *s) {
  free(s->w);
  free(s->x);
  free(s->out);
  free(s->mask);
  free(s->h);
  spo_gram_close(s->gram);
}

static spo_recipe recipe_of(spo_method_id method, const char *pattern, double sparsity) {
  spo_recipe r;
  spo_recipe_init(&r, method);
  ck_assert(spo_pattern_parse(pattern, &r.goal.pattern));
  r.goal.sparsity = sparsity;
  return r;
}

static spo_report prune(sample *s, const spo_recipe *r, const spo_pool *pool) {
  spo_report report;
  spo_error error = {.text = ""};
  memcpy(s->out, s->w, s->rows * s->cols * sizeof *s->out);
  spo_status status = (r->method == SPO_WANDA ? spo_wanda : spo_sparsegpt)(r, &s->layer, s->gram,
                                                                           &report, pool, &error);
  ck_assert_msg(status == SPO_OK, "%s", error.text);
  return report;
}

/* ---- SparseGPT from its definition: what is left of H is inverted anew for each column ---- */

typedef struct candidate {
  double cost;
  size_t index;
} candidate;

static int by_cost(const void *a, const void *b) {
  const candidate *x = a, *y = b;
  if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
  return x->index < y->index ? -1 : 1;
}

/* The cost w_B' (H^-1_BB)^-1 w_B of dropping `count` columns, H being that from `column` on. */
static double naive_cost(const double *h, size_t n, const double *w, size_t column, size_t count) {
  size_t index[SIDE] = {0};
  double inverse[SIDE * SIDE], part[SIDE], b[SIDE], a[SIDE * SIDE], cost = 0;
  for (size_t i = column; i < n; i++)
    index[i - column] = i;
  naive_inverse(h, n, index, n - column, inverse);
  for (size_t i = 0; i < count; i++) {
    part[i] = b[i] = w[column + i];
    for (size_t j = 0; j < count; j++)
      a[i * count + j] = inverse[i * (n - column) + j];
  }
  naive_solve(a, b, count, 1);
  for (size_t i = 0; i < count; i++)
    cost += part[i] * b[i];
  return cost;
}

static void naive_drop(const double *h, size_t n, double *w, size_t column) {
  size_t index[SIDE] = {0};
  double inverse[SIDE * SIDE] = {0};
  for (size_t i = column; i < n; i++)
    index[i - column] = i;
  naive_inverse(h, n, index, n - column, inverse);
  double factor = w[column] / inverse[0];
  for (size_t i = column; i < n; i++)
    w[i] -= factor * inverse[i - column];
  w[column] = 0;
}

/* Keeps the best units of bands of `rows` by runs of `cols`, in columns begin … end - 1. */
static void naive_choose(const sample *s, const double *w, size_t rows, size_t cols, size_t begin,
                         size_t end_, size_t first, size_t last, size_t keep) {
  static candidate units[4096];
  size_t count = 0, across = (end_ - begin) / cols;
  for (size_t r = first; r < last; r += rows)
    for (size_t c = 0; c < across; c++, count++) {
      units[count] = (candidate){0, count};
      for (size_t i = 0; i < rows; i++)
        units[count].cost +=
            naive_cost(s->h, s->cols, w + (r + i) * s->cols, begin + c * cols, cols);
    }
  qsort(units, count, sizeof *units, by_cost);
  for (size_t k = 0; k < count; k++) {
    size_t r = first + units[k].index / across * rows, c = begin + units[k].index % across * cols;
    for (size_t i = 0; i < rows; i++)
      memset(s->mask + (r + i) * s->cols + c, k < keep, cols);
  }
}

/* The mask goes to s->mask, the weights to w. */
static void naive_sparsegpt(const sample *s, const spo_recipe *r, double *w) {
  const spo_pattern *p = &r->goal.pattern;
  size_t rows = p->kind == SPO_UNSTRUCTURED ? 1 : p->rows,
         cols = p->kind == SPO_BLOCK ? p->cols : 1;
  size_t step = p->kind == SPO_NM ? p->m : (size_t)r->block;
  for (size_t i = 0; i < s->rows * s->cols; i++)
    w[i] = (double)s->w[i];
  for (size_t begin = 0; begin < s->cols; begin += step) {
    size_t stop = begin + step < s->cols ? begin + step : s->cols;
    if (p->kind == SPO_NM) {
      for (size_t first = 0; first < s->rows; first += rows)
        naive_choose(s, w, rows, 1, begin, stop, first, first + rows, p->n);
    } else {
      size_t unit = rows * cols, before = s->rows * begin / unit, until = s->rows * stop / unit;
      size_t dropped = (size_t)(r->goal.sparsity * (double)until + 1e-6) -
                       (size_t)(r->goal.sparsity * (double)before + 1e-6);
      naive_choose(s, w, rows, cols, begin, stop, 0, s->rows, until - before - dropped);
    }
    for (size_t row = 0; row < s->rows; row++)
      for (size_t c = begin; c < stop; c++)
        if (!s->mask[row * s->cols + c]) naive_drop(s->h, s->cols, w + row * s->cols, c);
  }
}

static void one_reference(const char *pattern, double sparsity, size_t block) {
  sample s = make(8, 24, 60);
  spo_recipe r = recipe_of(SPO_SPARSEGPT, pattern, sparsity);
  double w[8 * 24];
  unsigned char mask[8 * 24];
  r.block = block;
  prune(&s, &r, NULL);
  memcpy(mask, s.mask, sizeof mask);
  naive_sparsegpt(&s, &r, w);
  for (size_t i = 0; i < 8 * 24; i++) {
    ck_assert_msg(mask[i] == s.mask[i], "%s: element %zu", pattern, i);
    assert_near((double)s.out[i], w[i], 1e-4);
    ck_assert(mask[i] || s.out[i] == 0);
  }
  end(&s);
}

START_TEST(sparsegpt_reference) {
  one_reference("unstructured", 0.5, 8);
  one_reference("unstructured", 0.7, 128);
  one_reference("unstructured", 0.29, 7); /* ragged end */
  one_reference("2:4", SPO_IMPLIED, 8);
  one_reference("1:3", SPO_IMPLIED, 128);
  one_reference("3:7", SPO_IMPLIED, 128); /* a shorter group at the end */
  one_reference("2:4x2", SPO_IMPLIED, 8);
  one_reference("4x1", 0.5, 8);
  one_reference("1x4", 0.5, 8);
  one_reference("2x3", 0.6, 12);
  one_reference("8x8", 0.5, 8);
}
END_TEST

/* ---- losses ---- */

static double loss_of(const sample *s, const float *w) {
  double sum = 0;
  for (size_t r = 0; r < s->rows; r++)
    sum += naive_loss(s->h, s->cols, s->w + r * s->cols, w + r * s->cols);
  return sum;
}

static double best_loss(const sample *s) {
  double sum = 0, w[SIDE], v[SIDE];
  float best[SIDE];
  for (size_t r = 0; r < s->rows; r++) {
    for (size_t i = 0; i < s->cols; i++)
      w[i] = (double)s->w[r * s->cols + i];
    naive_lsq(s->h, s->cols, w, s->mask + r * s->cols, v);
    for (size_t i = 0; i < s->cols; i++)
      best[i] = (float)v[i];
    sum += naive_loss(s->h, s->cols, s->w + r * s->cols, best);
  }
  return sum;
}

/* Prunes with the mask that is in the sample. */
static double prune_given(sample *s, size_t block) {
  spo_factor f;
  ck_assert_int_eq(spo_factor_make(&f, s->gram, 0.01, "w", NULL, NULL), SPO_OK);
  memcpy(s->out, s->w, s->rows * s->cols * sizeof *s->out);
  spo_obs o = {"w", &f, NULL, block, s->out, s->mask, s->rows, s->cols, 0};
  ck_assert_int_eq(spo_obs_prune(&o, NULL, NULL), SPO_OK);
  spo_factor_free(&f);
  return o.loss;
}

static void random_mask(sample *s) {
  for (size_t i = 0; i < s->rows * s->cols; i++)
    s->mask[i] = unit_random() < 0.5;
}

/* When all dropped columns come first, the result is the least-squares one. */
START_TEST(prefix_is_lsq) {
  sample s = make(6, 40, 100);
  for (size_t i = 0; i < s.rows * s.cols; i++)
    s.mask[i] = i % s.cols >= i / s.cols * 6;
  double loss = prune_given(&s, 16), best = best_loss(&s);
  assert_near(loss, best, 1e-4 * best);
  for (size_t r = 0; r < s.rows; r++) {
    double w[40], v[40];
    for (size_t i = 0; i < 40; i++)
      w[i] = (double)s.w[r * 40 + i];
    naive_lsq(s.h, 40, w, s.mask + r * 40, v);
    for (size_t i = 0; i < 40; i++)
      assert_near((double)s.out[r * 40 + i], v[i], 1e-4);
  }
  end(&s);
}
END_TEST

START_TEST(loss_is_true_and_refit_is_best) {
  sample s = make(12, 64, 200);
  random_mask(&s);
  double loss = prune_given(&s, 32), best = best_loss(&s);
  assert_near(loss, loss_of(&s, s.out), 1e-4 * loss);
  ck_assert(loss >= best * (1 - 1e-6));
  spo_recipe r = recipe_of(SPO_SPARSEGPT, "unstructured", 0.6);
  prune(&s, &r, NULL);
  loss = loss_of(&s, s.out);
  r.refit = SPO_REFIT_LSQ;
  prune(&s, &r, NULL);
  best = best_loss(&s);
  ck_assert(loss >= best);
  assert_near(loss_of(&s, s.out), best, 1e-5 * best);
  r = recipe_of(SPO_SPARSEGPT, "4x1", 0.6); /* four rows share a factorisation */
  r.refit = SPO_REFIT_LSQ;
  prune(&s, &r, NULL);
  best = best_loss(&s);
  assert_near(loss_of(&s, s.out), best, 1e-5 * best);
  end(&s);
}
END_TEST

/* One dropped column: no worse than zeroing it. */
START_TEST(compensation_helps) {
  sample s = make(5, 30, 80);
  for (size_t column = 0; column < s.cols; column++) {
    memset(s.mask, 1, s.rows * s.cols);
    float zeroed[5 * 30];
    memcpy(zeroed, s.w, sizeof zeroed);
    for (size_t r = 0; r < s.rows; r++)
      zeroed[r * s.cols + column] = s.mask[r * s.cols + column] = 0;
    prune_given(&s, 128);
    ck_assert(loss_of(&s, s.out) <= loss_of(&s, zeroed) * (1 + 1e-6));
  }
  end(&s);
}
END_TEST

START_TEST(lazy_blocks_agree) {
  static const size_t blocks[] = {1, 32, 128, 65536};
  sample s = make(40, 150, 400);
  float *first = malloc(s.rows * s.cols * sizeof *first);
  random_mask(&s);
  for (size_t b = 0; b < 4; b++) {
    prune_given(&s, blocks[b]);
    for (size_t i = 0; b > 0 && i < s.rows * s.cols; i++)
      assert_near((double)s.out[i], (double)first[i], 1e-5);
    if (b == 0) memcpy(first, s.out, s.rows * s.cols * sizeof *first);
  }
  free(first);
  end(&s);
}
END_TEST

/* Tokens that are four times as large change no bit, and three times as large no choice. */
START_TEST(scale_of_inputs) {
  static const float scales[] = {4, 3};
  sample s = make(16, 60, 200);
  spo_recipe r = recipe_of(SPO_SPARSEGPT, "unstructured", 0.5);
  float first[16 * 60];
  unsigned char mask[16 * 60];
  prune(&s, &r, NULL);
  memcpy(first, s.out, sizeof first);
  memcpy(mask, s.mask, sizeof mask);
  for (int k = 0; k < 2; k++) {
    float *x = malloc(s.tokens * s.cols * sizeof *x);
    for (size_t i = 0; i < s.tokens * s.cols; i++)
      x[i] = s.x[i] * scales[k];
    spo_gram_close(s.gram);
    s.gram = gram_of(x, s.tokens, s.cols);
    prune(&s, &r, NULL);
    ck_assert_mem_eq(s.mask, mask, sizeof mask);
    if (k == 0) ck_assert_mem_eq(s.out, first, sizeof first);
    free(x);
  }
  end(&s);
}
END_TEST

/* ---- counts, pools, edges, for both methods ---- */

static const char *const patterns[] = {"unstructured", "4x1", "1x4", "2x2", "2:4", "1:4", "2:4x4"};

static size_t units_of(const spo_pattern *p, size_t rows, size_t cols) {
  return p->kind == SPO_BLOCK ? rows * cols / p->rows / p->cols : rows * cols;
}

/* Units that are kept; each has to be kept or dropped whole. */
static size_t count_units(const sample *s, const spo_pattern *p) {
  size_t kept = 0, rows = p->kind == SPO_UNSTRUCTURED ? 1 : p->rows,
         cols = p->kind == SPO_BLOCK ? p->cols : 1;
  for (size_t r = 0; r < s->rows; r += rows)
    for (size_t c = 0; c < s->cols; c += cols) {
      unsigned char keep = s->mask[r * s->cols + c];
      for (size_t i = 0; i < rows * cols; i++)
        ck_assert_uint_eq(s->mask[(r + i / cols) * s->cols + c + i % cols], keep);
      kept += keep ? (p->kind == SPO_BLOCK ? 1 : rows) : 0;
    }
  return kept;
}

static void check_count(const sample *s, const spo_recipe *r, const spo_report *report) {
  const spo_pattern *p = &r->goal.pattern;
  size_t kept = count_units(s, p), wanted;
  if (p->kind == SPO_NM) {
    wanted = s->rows * s->cols / p->m * p->n;
  } else if (r->method == SPO_WANDA) { /* for each row of units */
    size_t rows = p->kind == SPO_BLOCK ? p->rows : 1, units = units_of(p, rows, s->cols);
    wanted = s->rows / rows * (units - (size_t)(r->goal.sparsity * (double)units + 1e-6));
  } else {
    size_t units = units_of(p, s->rows, s->cols);
    wanted = units - (size_t)(r->goal.sparsity * (double)units + 1e-6);
  }
  ck_assert_uint_eq(kept, wanted);
  size_t elements = 0, nonzero = 0;
  for (size_t i = 0; i < s->rows * s->cols; i++) {
    elements += s->mask[i];
    nonzero += s->out[i] != 0;
    ck_assert(s->mask[i] || s->out[i] == 0);
  }
  ck_assert_uint_eq(report->kept, elements);
  ck_assert_uint_eq(report->nonzero, nonzero);
  ck_assert_uint_eq(report->total, s->rows * s->cols);
}

START_TEST(counts_are_exact) {
  static const double sparsities[] = {0, 0.29, 0.5, 0.77, 1};
  sample s = make(8, 36, 100);
  for (int method = 0; method < 2; method++)
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
      for (size_t k = 0; k < 5; k++) {
        spo_recipe r = recipe_of(method ? SPO_WANDA : SPO_SPARSEGPT, patterns[p], sparsities[k]);
        if (r.goal.pattern.kind == SPO_NM) r.goal.sparsity = SPO_IMPLIED;
        r.block = 10; /* no multiple of the pattern's columns */
        spo_report report = prune(&s, &r, NULL);
        check_count(&s, &r, &report);
        if (r.goal.sparsity == 0) ck_assert_mem_eq(s.out, s.w, s.rows * s.cols * sizeof *s.w);
      }
  end(&s);
}
END_TEST

/* Dense drops nothing, whether its sparsity of 0 is written or left out. */
START_TEST(dense_drops_nothing) {
  static const double sparsities[] = {0, SPO_IMPLIED};
  sample s = make(8, 36, 100);
  for (int method = 0; method < 2; method++)
    for (int k = 0; k < 2; k++) {
      spo_recipe r = recipe_of(method ? SPO_WANDA : SPO_SPARSEGPT, "dense", sparsities[k]);
      spo_report report = prune(&s, &r, NULL);
      ck_assert_uint_eq(report.kept, s.rows * s.cols);
      ck_assert_mem_eq(s.out, s.w, s.rows * s.cols * sizeof *s.w);
    }
  end(&s);
}
END_TEST

/* All weights and inputs alike: ties go to the lower index. */
START_TEST(ties) {
  float x[8 * 8] = {0}, w[2 * 8];
  unsigned char mask[2 * 8];
  for (size_t i = 0; i < 8; i++)
    x[i * 9] = 1; /* H = I */
  for (int method = 0; method < 2; method++)
    for (int nm = 0; nm < 2; nm++) {
      spo_recipe r = recipe_of(method ? SPO_WANDA : SPO_SPARSEGPT, nm ? "1:4" : "unstructured",
                               nm ? SPO_IMPLIED : 0.75);
      spo_layer layer = {"w", w, mask, 2, 8};
      spo_gram *g = gram_of(x, 8, 8);
      spo_report report;
      for (size_t i = 0; i < 16; i++)
        w[i] = i % 2 ? 1 : -1;
      r.block = 8;
      ck_assert_int_eq((method ? spo_wanda : spo_sparsegpt)(&r, &layer, g, &report, NULL, NULL),
                       SPO_OK);
      for (size_t i = 0; i < 16; i++) {
        bool first = nm ? i % 4 == 0 : method ? i % 8 < 2 : i < 4;
        ck_assert_uint_eq(mask[i], first);
        ck_assert(w[i] == (first ? (i % 2 ? 1.0f : -1.0f) : 0.0f));
      }
      spo_gram_close(g);
    }
}
END_TEST

/* Weights of an input that was always zero are dropped first, and stay as they are where kept. */
START_TEST(dead_inputs) {
  sample s = make(4, 8, 50);
  for (size_t t = 0; t < s.tokens; t++)
    s.x[t * s.cols + 2] = s.x[t * s.cols + 5] = 0;
  spo_gram_close(s.gram);
  s.gram = gram_of(s.x, s.tokens, s.cols);
  for (int method = 0; method < 2; method++) {
    spo_recipe r = recipe_of(method ? SPO_WANDA : SPO_SPARSEGPT, "unstructured", 0.25);
    prune(&s, &r, NULL);
    for (size_t i = 0; i < s.rows * s.cols; i++) {
      bool dead = i % s.cols == 2 || i % s.cols == 5;
      ck_assert_uint_eq(s.mask[i], !dead);
      ck_assert(dead || s.out[i] == s.w[i]); /* nothing was lost, so nothing is mended */
    }
    r.goal.sparsity = 0.125;
    prune(&s, &r, NULL);
    for (size_t i = 0; i < s.rows * s.cols; i++)
      if (s.mask[i]) ck_assert(s.out[i] == s.w[i]);
  }
  end(&s);
}
END_TEST

START_TEST(any_pool) {
  sample s = make(72, 150, 300);
  float *out = malloc(s.rows * s.cols * sizeof *out);
  unsigned char *mask = malloc(s.rows * s.cols);
  for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p += 2)
    for (int method = 0; method < 2; method++) {
      spo_recipe r = recipe_of(method ? SPO_WANDA : SPO_SPARSEGPT, patterns[p], 0.6);
      if (r.goal.pattern.kind == SPO_NM) r.goal.sparsity = SPO_IMPLIED;
      if (r.goal.pattern.kind == SPO_BLOCK && s.cols % r.goal.pattern.cols) continue;
      r.refit = SPO_REFIT_LSQ;
      prune(&s, &r, NULL);
      memcpy(out, s.out, s.rows * s.cols * sizeof *out);
      memcpy(mask, s.mask, s.rows * s.cols);
      for (unsigned threads = 2; threads <= 32; threads *= 4) {
        spo_pool *pool;
        ck_assert_int_eq(spo_pool_open(threads, &pool, NULL), SPO_OK);
        prune(&s, &r, pool);
        ck_assert_mem_eq(s.out, out, s.rows * s.cols * sizeof *out);
        ck_assert_mem_eq(s.mask, mask, s.rows * s.cols);
        spo_pool_close(pool);
      }
    }
  free(out);
  free(mask);
  end(&s);
}
END_TEST

START_TEST(refusals) {
  sample s = make(4, 8, 20);
  spo_report report;
  spo_error error;
  spo_gram *empty, *norms, *other;
  spo_gram_open(SPO_GRAM_WHOLE, 8, &empty, NULL);
  spo_gram_open(SPO_GRAM_WHOLE, 7, &other, NULL);
  spo_gram_open(SPO_GRAM_NORMS, 8, &norms, NULL);
  spo_gram_add(norms, "w", s.x, s.tokens, NULL, NULL);
  spo_recipe r = recipe_of(SPO_SPARSEGPT, "unstructured", 0.5);
  memcpy(s.out, s.w, 32 * sizeof *s.out);
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, empty, &report, NULL, &error), SPO_E_VALUE);
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, other, &report, NULL, &error), SPO_E_SHAPE);
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, norms, &report, NULL, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "SPO_GRAM_WHOLE"));
  r.goal.sparsity = 1.5;
  ck_assert_int_eq(spo_wanda(&r, &s.layer, norms, &report, NULL, &error), SPO_E_SPARSITY);
  r = recipe_of(SPO_WANDA, "8x1", 0.5);
  ck_assert_int_eq(spo_wanda(&r, &s.layer, norms, &report, NULL, &error), SPO_E_SHAPE);
  r = recipe_of(SPO_SPARSEGPT, "unstructured", 0.5);
  r.damping = -1;
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, s.gram, &report, NULL, &error), SPO_E_VALUE);
  r.damping = 0.01;
  s.out[9] = NAN;
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, s.gram, &report, NULL, &error), SPO_E_NONFINITE);
  ck_assert_ptr_nonnull(strstr(error.text, "[1, 1]"));
  s.out[9] = s.w[9];
  ck_assert_mem_eq(s.out, s.w, 32 * sizeof *s.out);
  float same[8 * 8];
  for (size_t i = 0; i < 64; i++)
    same[i] = 1;
  spo_gram_add(empty, "w", same, 8, NULL, NULL); /* inputs that depend on each other */
  r.damping = 0;
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, empty, &report, NULL, &error), SPO_E_NOT_SPD);
  ck_assert_ptr_nonnull(strstr(error.text, "'w'"));
  ck_assert_mem_eq(s.out, s.w, 32 * sizeof *s.out);
  r = (spo_recipe){.goal = {.pattern = {.kind = SPO_NM, .rows = 1, .n = 2, .m = 4}}};
  r.goal.sparsity = SPO_IMPLIED; /* of magnitude, which has none of these options: all are 0 */
  ck_assert_int_eq(spo_sparsegpt(&r, &s.layer, s.gram, &report, NULL, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "'block'"));
  ck_assert_mem_eq(s.out, s.w, 32 * sizeof *s.out);
  spo_gram_close(empty);
  spo_gram_close(other);
  spo_gram_close(norms);
  end(&s);
}
END_TEST

/* ---- Wanda ---- */

/* Inputs of the same norm: magnitude within each row. */
START_TEST(wanda_is_magnitude) {
  sample s = make(6, 32, 8);
  for (size_t i = 0; i < s.tokens * s.cols; i++)
    s.x[i] = unit_random() < 0.5 ? 0.5f : -0.5f;
  spo_gram_close(s.gram);
  s.gram = gram_of(s.x, s.tokens, s.cols);
  spo_recipe r = recipe_of(SPO_WANDA, "unstructured", 0.4);
  prune(&s, &r, NULL);
  for (size_t row = 0; row < s.rows; row++) {
    unsigned char mask[32];
    spo_goal goal = r.goal;
    ck_assert_int_eq(spo_project(&goal, "w", s.w + row * 32, 1, 32, mask, NULL, NULL), SPO_OK);
    ck_assert_mem_eq(s.mask + row * 32, mask, 32);
  }
  end(&s);
}
END_TEST

/* The mask follows |w| |x|, whatever share each has in it; kept weights keep their bits. */
START_TEST(wanda_balances) {
  sample s = make(6, 32, 20);
  spo_recipe r = recipe_of(SPO_WANDA, "unstructured", 0.5);
  unsigned char mask[6 * 32];
  prune(&s, &r, NULL);
  memcpy(mask, s.mask, sizeof mask);
  for (size_t row = 0; row < 6; row++)
    for (size_t a = 0; a < 32; a++) /* no dropped one is worth more than a kept one */
      for (size_t b = 0; b < 32; b++)
        if (mask[row * 32 + a] && !mask[row * 32 + b])
          ck_assert(fabs((double)s.w[row * 32 + a]) * sqrt(spo_gram_norms(s.gram)[a]) >=
                    fabs((double)s.w[row * 32 + b]) * sqrt(spo_gram_norms(s.gram)[b]) * (1 - 1e-6));
  for (size_t i = 0; i < 6 * 32; i++)
    ck_assert(s.out[i] == (mask[i] ? s.w[i] : 0));
  for (size_t c = 0; c < 32; c++) {
    float by = ldexpf(1, (int)(unit_random() * 9) - 4);
    for (size_t t = 0; t < s.tokens; t++)
      s.x[t * 32 + c] *= by;
    for (size_t row = 0; row < 6; row++)
      s.w[row * 32 + c] /= by;
  }
  spo_gram_close(s.gram);
  s.gram = gram_of(s.x, s.tokens, s.cols);
  prune(&s, &r, NULL);
  ck_assert_mem_eq(s.mask, mask, sizeof mask);
  end(&s);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_oneshot");
  TCase *c = untimed_case("oneshot");
  tcase_add_test(c, sparsegpt_reference);
  tcase_add_test(c, prefix_is_lsq);
  tcase_add_test(c, loss_is_true_and_refit_is_best);
  tcase_add_test(c, compensation_helps);
  tcase_add_test(c, lazy_blocks_agree);
  tcase_add_test(c, scale_of_inputs);
  tcase_add_test(c, counts_are_exact);
  tcase_add_test(c, dense_drops_nothing);
  tcase_add_test(c, ties);
  tcase_add_test(c, dead_inputs);
  tcase_add_test(c, any_pool);
  tcase_add_test(c, refusals);
  tcase_add_test(c, wanda_is_magnitude);
  tcase_add_test(c, wanda_balances);
  suite_add_tcase(s, c);
  return run_suite(s);
}
