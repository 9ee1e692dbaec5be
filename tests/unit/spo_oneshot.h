/* What tests of the one-shot sparsifiers share: random matrices, and naive f64 algebra. */
#ifndef SPO_ONESHOT_TEST_H
#define SPO_ONESHOT_TEST_H

#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo_oneshot.h"

enum { SIDE = 160 /* of the largest matrix that the naive references take */ };

static uint64_t test_random = 0x9e3779b97f4a7c15u;

static inline double unit_random(void) {
  test_random ^= test_random << 13;
  test_random ^= test_random >> 7;
  test_random ^= test_random << 17;
  return (double)(test_random >> 11) * 0x1p-53;
}

/* Roughly normal. */
static inline float normal_random(void) {
  double sum = -6;
  for (int i = 0; i < 12; i++)
    sum += unit_random();
  return (float)sum;
}

static inline float *random_floats(size_t count) {
  float *x = malloc(count * sizeof *x + 1);
  for (size_t i = 0; i < count; i++)
    x[i] = normal_random();
  return x;
}

/* Tokens whose inputs are correlated: each is a mixture of its neighbours. */
static inline float *random_tokens(size_t tokens, size_t inputs) {
  float *x = random_floats(tokens * inputs);
  for (size_t t = 0; t < tokens; t++)
    for (size_t i = 1; i < inputs; i++)
      x[t * inputs + i] += 0.7f * x[t * inputs + i - 1];
  return x;
}

/* X'X. */
static inline double *naive_gram(const float *x, size_t tokens, size_t n) {
  double *h = calloc(n * n, sizeof *h);
  for (size_t t = 0; t < tokens; t++)
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++)
        h[i * n + j] += (double)x[t * n + i] * (double)x[t * n + j];
  return h;
}

/* H + damping * mean diagonal * I, and the mean on the diagonal of dead inputs. */
static inline void naive_damp(double *h, size_t n, double damping) {
  double mean = 0;
  for (size_t i = 0; i < n; i++)
    mean += h[i * n + i] / (double)n;
  for (size_t i = 0; i < n; i++)
    h[i * n + i] = h[i * n + i] == 0 ? mean : h[i * n + i] + damping * mean;
}

/* Solves a x = b by elimination with pivots; a and b are destroyed, b is the result. */
static inline void naive_solve(double *a, double *b, size_t n, size_t columns) {
  for (size_t k = 0; k < n; k++) {
    size_t best = k;
    for (size_t i = k + 1; i < n; i++)
      if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
    for (size_t j = 0; j < n; j++) {
      double t = a[k * n + j];
      a[k * n + j] = a[best * n + j];
      a[best * n + j] = t;
    }
    for (size_t j = 0; j < columns; j++) {
      double t = b[k * columns + j];
      b[k * columns + j] = b[best * columns + j];
      b[best * columns + j] = t;
    }
    for (size_t i = 0; i < n; i++) {
      if (i == k) continue;
      double f = a[i * n + k] / a[k * n + k];
      for (size_t j = k; j < n; j++)
        a[i * n + j] -= f * a[k * n + j];
      for (size_t j = 0; j < columns; j++)
        b[i * columns + j] -= f * b[k * columns + j];
    }
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < columns; j++)
      b[i * columns + j] /= a[i * n + i];
}

/* The inverse of the part of h[n, n] that has rows and columns index[count]. */
static inline void naive_inverse(const double *h, size_t n, const size_t *index, size_t count,
                                 double *out) {
  double *a = malloc(count * count * sizeof *a + 1);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < count; j++) {
      a[i * count + j] = h[index[i] * n + index[j]];
      out[i * count + j] = i == j;
    }
  naive_solve(a, out, count, count);
  free(a);
}

/* The best v on the support, (w - v)' H (w - v). */
static inline void naive_lsq(const double *h, size_t n, const double *w, const unsigned char *mask,
                             double *v) {
  size_t index[SIDE], count = 0;
  double a[SIDE * SIDE], b[SIDE];
  for (size_t i = 0; i < n; i++)
    if (mask[i]) index[count++] = i;
  for (size_t i = 0; i < count; i++) {
    b[i] = 0;
    for (size_t j = 0; j < n; j++)
      b[i] += h[index[i] * n + j] * w[j];
    for (size_t j = 0; j < count; j++)
      a[i * count + j] = h[index[i] * n + index[j]];
  }
  naive_solve(a, b, count, 1);
  for (size_t i = 0; i < n; i++)
    v[i] = 0;
  for (size_t i = 0; i < count; i++)
    v[index[i]] = b[i];
}

/* d' H d for d = w - v. */
static inline double naive_loss(const double *h, size_t n, const float *w, const float *v) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      sum += ((double)w[i] - (double)v[i]) * h[i * n + j] * ((double)w[j] - (double)v[j]);
  return sum;
}

static inline spo_gram *gram_of(const float *x, size_t tokens, size_t inputs) {
  spo_gram *g;
  ck_assert_int_eq(spo_gram_open(SPO_GRAM_WHOLE, inputs, &g, NULL), SPO_OK);
  ck_assert_int_eq(spo_gram_add(g, "x", x, tokens, NULL, NULL), SPO_OK);
  return g;
}

static inline void assert_near(double value, double wanted, double bound) {
  ck_assert_msg(fabs(value - wanted) <= bound, "%.17g is not %.17g within %g", value, wanted,
                bound);
}

#endif
