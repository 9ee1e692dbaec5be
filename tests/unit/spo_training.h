/* A tensor in training, for the tests of libspo's training methods: arrays of its own, a context
 * and a state. */
#ifndef SPCC_TESTS_SPO_TRAINING_H
#define SPCC_TESTS_SPO_TRAINING_H

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo_train.h"

typedef struct training {
  spo_recipe recipe;
  spo_tensor tensor;
  spo_context *context;
  void *state;
  size_t bytes, count;
  spo_tensors t;
  unsigned char *mask;
  spo_report report;
} training;

static const spo_random test_source = {.seed = 99, .stream = 4, .step = 1};

/* A number of -1 … 1 that depends on `index` alone. */
static inline float test_number(uint64_t index) {
  return (float)(2 * spo_random_unit(&test_source, index) - 1);
}

/* The recipe of a method for a pattern, to be changed before training_begin. */
static inline spo_recipe test_recipe(spo_method_id method, const char *pattern, double sparsity,
                                     uint64_t steps) {
  spo_recipe r;
  spo_recipe_init(&r, method);
  ck_assert(spo_pattern_parse(pattern, &r.goal.pattern));
  r.goal.sparsity = sparsity;
  r.steps = steps;
  return r;
}

static inline spo_optimizer test_adamw(double lr) {
  spo_optimizer o;
  spo_optimizer_adamw(&o, lr);
  return o;
}

/* Random weights, moments of 0. */
static inline training training_open(const spo_recipe *recipe, size_t rows, size_t cols) {
  training x = {.recipe = *recipe, .tensor = {"layer.weight", rows, cols}, .count = rows * cols};
  float **arrays[] = {&x.t.w, &x.t.g, &x.t.m, &x.t.v};
  spo_error error = {""};
  spo_status status = spo_context_create(recipe, &x.tensor, &x.context, &error);
  ck_assert_msg(status == SPO_OK, "%s", error.text);
  x.bytes = spo_state_bytes(x.context);
  x.state = malloc(x.bytes);
  x.mask = malloc(x.count + 1);
  for (int i = 0; i < 4; i++)
    *arrays[i] = calloc(x.count + 1, sizeof(float));
  for (size_t i = 0; i < x.count; i++)
    x.t.w[i] = test_number(i);
  return x;
}

static inline void training_begin(training *x, const spo_pool *pool) {
  spo_error error = {""};
  spo_status status = spo_begin(x->context, x->state, x->bytes, &x->t, pool, &error);
  ck_assert_msg(status == SPO_OK, "%s", error.text);
}

static inline training training_start(const spo_recipe *recipe, size_t rows, size_t cols) {
  training x = training_open(recipe, rows, cols);
  training_begin(&x, NULL);
  return x;
}

/* The state's arrays are copied too. */
static inline training training_copy(const training *from) {
  training x = training_open(&from->recipe, from->tensor.rows, from->tensor.cols);
  memcpy(x.state, from->state, x.bytes);
  memcpy(x.t.w, from->t.w, x.count * sizeof(float));
  memcpy(x.t.m, from->t.m, x.count * sizeof(float));
  memcpy(x.t.v, from->t.v, x.count * sizeof(float));
  return x;
}

/* States, weights and moments have the same bits. */
static inline void training_check_same(const training *x, const training *y) {
  ck_assert_mem_eq(x->state, y->state, x->bytes);
  ck_assert_mem_eq(x->t.w, y->t.w, x->count * sizeof(float));
  ck_assert_mem_eq(x->t.m, y->t.m, x->count * sizeof(float));
  ck_assert_mem_eq(x->t.v, y->t.v, x->count * sizeof(float));
}

static inline void training_close(training *x) {
  spo_context_free(x->context);
  free(x->state);
  free(x->mask);
  free(x->t.w);
  free(x->t.g);
  free(x->t.m);
  free(x->t.v);
}

static inline spo_progress training_progress(const training *x) {
  spo_progress p;
  ck_assert_int_eq(spo_state_progress(x->context, x->state, &p, NULL), SPO_OK);
  return p;
}

/* A random gradient of this step. */
static inline void training_gradient(training *x, uint64_t step) {
  for (size_t i = 0; i < x->count; i++)
    x->t.g[i] = test_number((step << 32) + i);
}

/* spo_grad and spo_step with the gradient that is there. */
static inline void training_update(training *x, const spo_optimizer *o, const spo_pool *pool) {
  spo_error error = {""};
  spo_status status = spo_grad(x->context, x->state, &x->t, pool, &error);
  if (status == SPO_OK) status = spo_step(x->context, x->state, o, &x->t, pool, &error);
  ck_assert_msg(status == SPO_OK, "%s", error.text);
}

/* So many steps with random gradients. */
static inline void training_run(training *x, const spo_optimizer *o, uint64_t steps,
                                const spo_pool *pool) {
  for (uint64_t end = training_progress(x).step + steps; training_progress(x).step < end;) {
    training_gradient(x, training_progress(x).step + 1);
    training_update(x, o, pool);
  }
}

/* The next step, with a NaN in the gradient of a weight that is not 0, is refused and changes
 * nothing. */
static inline void training_refuses_nan(training *x, const spo_optimizer *o) {
  training was = training_copy(x);
  spo_error error = {""};
  size_t kept = 0;
  while (x->t.w[kept] == 0)
    kept++;
  training_gradient(x, training_progress(x).step + 1);
  x->t.g[kept] = NAN;
  ck_assert_int_eq(spo_step(x->context, x->state, o, &x->t, NULL, &error), SPO_E_NONFINITE);
  ck_assert_msg(strstr(error.text, "gradient") != NULL, "%s", error.text);
  training_check_same(x, &was);
  training_close(&was);
}

static inline void training_finish(training *x) {
  spo_error error = {""};
  spo_status status = spo_finish(x->context, x->state, &x->t, x->mask, &x->report, NULL, &error);
  ck_assert_msg(status == SPO_OK, "%s", error.text);
  for (size_t i = 0; i < x->count; i++)
    ck_assert(x->mask[i] == 1 || (x->mask[i] == 0 && x->t.w[i] == 0));
}

static inline size_t training_zeros(const training *x) {
  size_t zeros = 0;
  for (size_t i = 0; i < x->count; i++)
    zeros += x->t.w[i] == 0;
  return zeros;
}

#endif
