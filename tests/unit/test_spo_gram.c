/* Gram matrices and their factors against naive f64 references, for any pool. */
#include <float.h>

#include "optimizer/gram.h"
#include "optimizer/linalg.h"
#include "tests/run_suite.h"
#include "tests/unit/spo_oneshot.h"

/* More than a tile, and no multiple of it. */
enum { INPUTS = 150, TOKENS = 700 };

START_TEST(equals_sums) {
  float *x = random_tokens(TOKENS, INPUTS);
  double *h = naive_gram(x, TOKENS, INPUTS);
  spo_gram *g = gram_of(x, TOKENS, INPUTS);
  ck_assert_uint_eq(spo_gram_tokens(g), TOKENS);
  for (size_t i = 0; i < INPUTS; i++) {
    assert_near(spo_gram_norms(g)[i], h[i * INPUTS + i], 1e-9 * h[i * INPUTS + i]);
    for (size_t j = 0; j <= i; j++)
      assert_near(g->h[i * INPUTS + j], h[i * INPUTS + j],
                  1e-6 * sqrt(h[i * INPUTS + i] * h[j * INPUTS + j]));
  }
  spo_gram_close(g);
  free(h);
  free(x);
}
END_TEST

START_TEST(any_pool_and_merge) {
  float *x = random_tokens(TOKENS, INPUTS);
  spo_gram *one = gram_of(x, TOKENS, INPUTS), *first = gram_of(x, 300, INPUTS),
           *second = gram_of(x + (size_t)300 * INPUTS, TOKENS - 300, INPUTS), *small;
  for (unsigned threads = 1; threads <= 32; threads = threads * 2 + 1) {
    spo_pool *pool;
    spo_gram *many;
    ck_assert_int_eq(spo_pool_open(threads, &pool, NULL), SPO_OK);
    ck_assert_int_eq(spo_gram_open(SPO_GRAM_WHOLE, INPUTS, &many, NULL), SPO_OK);
    ck_assert_int_eq(spo_gram_add(many, "x", x, TOKENS, pool, NULL), SPO_OK);
    ck_assert_mem_eq(many->h, one->h, INPUTS * INPUTS * sizeof(double));
    ck_assert_mem_eq(many->norm2, one->norm2, INPUTS * sizeof(double));
    spo_gram_close(many);
    spo_pool_close(pool);
  }
  ck_assert_int_eq(spo_gram_merge(first, second, NULL), SPO_OK);
  ck_assert_uint_eq(spo_gram_tokens(first), TOKENS);
  for (size_t i = 0; i < INPUTS; i++)
    for (size_t j = 0; j <= i; j++)
      assert_near(first->h[i * INPUTS + j], one->h[i * INPUTS + j],
                  1e-6 * sqrt(one->norm2[i] * one->norm2[j]));
  ck_assert_int_eq(spo_gram_open(SPO_GRAM_NORMS, INPUTS, &small, NULL), SPO_OK);
  ck_assert_int_eq(spo_gram_merge(first, small, NULL), SPO_E_SHAPE);
  spo_gram_close(one);
  spo_gram_close(first);
  spo_gram_close(second);
  spo_gram_close(small);
  free(x);
}
END_TEST

START_TEST(refusals) {
  float x[2 * 3] = {1, 2, 3, 4, INFINITY, 6};
  spo_error error;
  spo_gram *g;
  ck_assert_int_eq(spo_gram_open(SPO_GRAM_WHOLE, 0, &g, &error), SPO_E_SHAPE);
  ck_assert_int_eq(spo_gram_open(SPO_GRAM_WHOLE, 3, &g, &error), SPO_OK);
  ck_assert_int_eq(spo_gram_add(g, "fc1", x, 2, NULL, &error), SPO_E_NONFINITE);
  ck_assert_ptr_nonnull(strstr(error.text, "'fc1': its input 1"));
  ck_assert_uint_eq(spo_gram_tokens(g), 0);
  ck_assert(spo_gram_norms(g)[0] == 0 && g->h[0] == 0);
  ck_assert_int_eq(spo_gram_add(g, "fc1", x, 0, NULL, &error), SPO_OK);
  spo_gram_close(g);
  spo_gram_close(NULL);
}
END_TEST

/* U' U is the inverse of the damped matrix, and solving with it is right; with a dead input. */
static void one_factor(size_t n, size_t tokens) {
  float *x = random_tokens(tokens, n);
  for (size_t t = 0; n > 3 && t < tokens; t++)
    x[t * n + 3] = 0;
  double *h = naive_gram(x, tokens, n), *inverse = malloc(n * n * sizeof *inverse);
  spo_gram *g = gram_of(x, tokens, n);
  spo_factor f;
  ck_assert_int_eq(spo_factor_make(&f, g, 0.01, "w", NULL, NULL), SPO_OK);
  size_t all[SIDE];
  for (size_t i = 0; i < n; i++)
    all[i] = i;
  naive_damp(h, n, 0.01);
  naive_inverse(h, n, all, n, inverse);
  double *c = malloc(n * n * sizeof *c), *one = calloc(n * n, sizeof *one);
  for (size_t i = 0; i < n; i++)
    one[i * n + i] = 1;
  spo_factor_solve(&f, one, c, n, NULL);
  free(one);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      double sum = 0, size = sqrt(inverse[i * n + i] * inverse[j * n + j]);
      for (size_t k = 0; k < n; k++)
        sum += (double)f.upper[k * n + i] * (double)f.upper[k * n + j] / f.scale;
      assert_near(sum, inverse[i * n + j], 2e-5 * size);
      assert_near(c[i * n + j], inverse[i * n + j], 2e-5 * size);
      ck_assert(j >= i || f.upper[i * n + j] == 0);
    }
  spo_factor_free(&f);
  spo_gram_close(g);
  free(x);
  free(h);
  free(c);
  free(inverse);
}

START_TEST(factors) {
  one_factor(1, 5);
  one_factor(24, 100);
  one_factor(40, 10); /* of low rank: the damping alone makes it definite */
  one_factor(INPUTS, 400);
}
END_TEST

START_TEST(cholesky_any_pool) {
  enum { N = 300 };
  float *x = random_tokens(N + 50, N);
  spo_gram *g = gram_of(x, N + 50, N);
  double *a = malloc(N * N * sizeof *a), *b = malloc(N * N * sizeof *b),
         *v = malloc(N * N * sizeof *v), *u = malloc(N * N * sizeof *u);
  memcpy(a, g->h, N * N * sizeof *a);
  ck_assert(spo_cholesky(a, N, NULL));
  spo_lower_inverse(a, N, v, NULL);
  for (size_t i = 0; i < N; i += 7) /* L L' = H */
    for (size_t j = 0; j <= i; j++) {
      double sum = 0;
      for (size_t k = 0; k <= j; k++)
        sum += a[i * N + k] * a[j * N + k];
      assert_near(sum, g->h[i * N + j], 1e-12 * sqrt(g->h[i * N + i] * g->h[j * N + j]));
    }
  for (unsigned threads = 2; threads <= 32; threads *= 4) {
    spo_pool *pool;
    ck_assert_int_eq(spo_pool_open(threads, &pool, NULL), SPO_OK);
    memcpy(b, g->h, N * N * sizeof *b);
    ck_assert(spo_cholesky(b, N, pool));
    spo_lower_inverse(b, N, u, pool);
    ck_assert_mem_eq(a, b, N * N * sizeof *a);
    ck_assert_mem_eq(v, u, N * N * sizeof *v);
    spo_pool_close(pool);
  }
  b[0] = -1;
  ck_assert(!spo_cholesky(b, N, NULL));
  spo_gram_close(g);
  free(x);
  free(a);
  free(b);
  free(v);
  free(u);
}
END_TEST

/* Without damping, inputs that depend on each other have no inverse: refused by name. */
START_TEST(not_definite) {
  float x[3 * 2] = {1, 1, 2, 2, 3, 3};
  spo_gram *g = gram_of(x, 3, 2);
  spo_factor f;
  spo_error error;
  ck_assert_int_eq(spo_factor_make(&f, g, 0, "fc1", NULL, &error), SPO_E_NOT_SPD);
  ck_assert_ptr_nonnull(strstr(error.text, "'fc1'"));
  g->h[3] = 0.9 * g->h[0]; /* a step of the damping mends it: 0.02 does not, 0.2 does */
  ck_assert_int_eq(spo_factor_make(&f, g, 0.02, "fc1", NULL, &error), SPO_OK);
  assert_near(f.damping, 0.2, 1e-15);
  spo_factor_free(&f);
  spo_gram_close(g);
}
END_TEST

START_TEST(errors_of_outputs) {
  enum { ROWS = 70 };
  float *x = random_tokens(TOKENS, INPUTS), *w = random_floats(ROWS * INPUTS),
        *v = random_floats(ROWS * INPUTS);
  double *h = naive_gram(x, TOKENS, INPUTS), error = 0, energy = 0, got, of;
  float *zero = calloc(INPUTS, sizeof *zero);
  spo_gram *g = gram_of(x, TOKENS, INPUTS), *norms;
  for (size_t r = 0; r < ROWS; r++) {
    error += naive_loss(h, INPUTS, w + r * INPUTS, v + r * INPUTS);
    energy += naive_loss(h, INPUTS, w + r * INPUTS, zero);
  }
  ck_assert_int_eq(spo_gram_error(g, "w", w, v, ROWS, &got, &of, NULL, NULL), SPO_OK);
  assert_near(got, error, 1e-5 * error);
  assert_near(of, energy, 1e-5 * energy);
  double alone;
  ck_assert_int_eq(spo_gram_error(g, "w", w, v, ROWS, &alone, NULL, NULL, NULL), SPO_OK);
  ck_assert(alone == got);
  ck_assert_int_eq(spo_gram_error(g, "w", w, w, ROWS, &got, &of, NULL, NULL), SPO_OK);
  ck_assert(got == 0);
  ck_assert_int_eq(spo_gram_open(SPO_GRAM_NORMS, INPUTS, &norms, NULL), SPO_OK);
  ck_assert_int_eq(spo_gram_error(norms, "w", w, w, ROWS, &got, &of, NULL, NULL), SPO_E_VALUE);
  spo_gram_close(norms);
  spo_gram_close(g);
  free(x);
  free(w);
  free(v);
  free(h);
  free(zero);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_gram");
  TCase *c = untimed_case("gram");
  tcase_add_test(c, equals_sums);
  tcase_add_test(c, any_pool_and_merge);
  tcase_add_test(c, refusals);
  tcase_add_test(c, factors);
  tcase_add_test(c, cholesky_any_pool);
  tcase_add_test(c, not_definite);
  tcase_add_test(c, errors_of_outputs);
  suite_add_tcase(s, c);
  return run_suite(s);
}
