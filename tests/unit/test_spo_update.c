/* AdamW and SGD against PyTorch's results, and against themselves under threads. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "optimizer/spo_train.h"
#include "tests/run_suite.h"

enum { N = 8, STEPS = 100 };

/* 100 steps of torch.optim.AdamW(lr=1e-2, weight_decay=0.1), its defaults otherwise, and of
 * torch.optim.SGD(lr=1e-2, momentum=0.9, weight_decay=0.1), PyTorch 2.13, from the weights and with
 * the gradients below. */
static const float after_adamw[N] = {-0.766818881f, -0.542636633f, -0.369146228f, -0.15067175f,
                                     0.159132093f,  0.374994546f,  0.543895602f,  0.750871956f};
static const float after_sgd[N] = {-0.292514712f, -0.179465935f, -0.173536524f, -0.123421855f,
                                   0.111190788f,  0.206573412f,  0.220144942f,  0.259832382f};

static float first_weight(int i) {
  return (float)((i - 3.5) / 4);
}

static float gradient(int step, int i) {
  return (float)(((step * 31 + i * 17) % 23 - 11) / 7.0);
}

static void train(const spo_optimizer *base, float *w) {
  float g[N], m[N] = {0}, v[N] = {0};
  spo_optimizer o = *base;
  for (int i = 0; i < N; i++)
    w[i] = first_weight(i);
  for (o.step = 1; o.step <= STEPS; o.step++) {
    for (int i = 0; i < N; i++)
      g[i] = gradient((int)o.step, i);
    spo_tensors t = {w, g, m, v};
    ck_assert_int_eq(spo_update(&o, &t, N, NULL, NULL), SPO_OK);
  }
}

static void check_close(const float *w, const float *want) {
  for (int i = 0; i < N; i++)
    ck_assert_float_le(fabsf(w[i] - want[i]), 1e-6f * fabsf(want[i]));
}

START_TEST(as_pytorch) {
  float w[N];
  spo_optimizer o;
  spo_optimizer_adamw(&o, 1e-2);
  o.decay = 0.1;
  train(&o, w);
  check_close(w, after_adamw);
  o.rule = SPO_SGD;
  train(&o, w);
  check_close(w, after_sgd);
}
END_TEST

START_TEST(plain_descent_needs_no_moments) {
  float w[2] = {1, -2}, g[2] = {0.5f, 0.25f};
  spo_optimizer o = {.rule = SPO_SGD, .lr = 0.5, .decay = 0.5, .step = 1};
  spo_tensors t = {.w = w, .g = g};
  ck_assert_int_eq(spo_update(&o, &t, 2, NULL, NULL), SPO_OK);
  ck_assert_float_eq(w[0], 0.5f);
  ck_assert_float_eq(w[1], -1.625f);
}
END_TEST

START_TEST(threads) {
  enum { MANY = 200003 };
  static float w[2][MANY], g[MANY], m[2][MANY], v[2][MANY];
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(4, &pool, NULL), SPO_OK);
  for (int i = 0; i < MANY; i++) {
    w[0][i] = w[1][i] = (float)(i % 97 - 48) / 31;
    g[i] = (float)(i % 89 - 44) / 37;
  }
  spo_optimizer o;
  spo_optimizer_adamw(&o, 1e-3);
  for (o.step = 1; o.step <= 3; o.step++)
    for (int k = 0; k < 2; k++) {
      spo_tensors t = {w[k], g, m[k], v[k]};
      ck_assert_int_eq(spo_update(&o, &t, MANY, k ? pool : NULL, NULL), SPO_OK);
    }
  ck_assert_mem_eq(w[0], w[1], sizeof w[0]);
  ck_assert_mem_eq(v[0], v[1], sizeof v[0]);
  spo_pool_close(pool);
}
END_TEST

START_TEST(refusals) {
  float w = 1, g = 1, m = 0, v = 0;
  spo_error error;
  const spo_tensors t = {&w, &g, &m, &v}, no_v = {&w, &g, &m, NULL};
  spo_optimizer good, o;
  spo_optimizer_adamw(&good, 1e-3);
  ck_assert_int_eq(spo_update(&good, &t, 1, NULL, &error), SPO_E_VALUE); /* no step */
  good.step = 1;
  ck_assert_int_eq(spo_update(&good, &no_v, 1, NULL, &error), SPO_E_VALUE);
  o = good;
  o.lr = NAN;
  ck_assert_int_eq(spo_update(&o, &t, 1, NULL, &error), SPO_E_VALUE);
  o = good;
  o.beta2 = 1;
  ck_assert_int_eq(spo_update(&o, &t, 1, NULL, &error), SPO_E_VALUE);
  o = good;
  o.epsilon = -1;
  ck_assert_int_eq(spo_update(&o, &t, 1, NULL, &error), SPO_E_VALUE);
  ck_assert_float_eq(w, 1);
  ck_assert_int_eq(spo_update(&good, &t, 1, NULL, &error), SPO_OK);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_update");
  TCase *c = untimed_case("all");
  tcase_add_test(c, as_pytorch);
  tcase_add_test(c, plain_descent_needs_no_moments);
  tcase_add_test(c, threads);
  tcase_add_test(c, refusals);
  suite_add_tcase(s, c);
  return run_suite(s);
}
