/* States and hooks of all training methods, and the simple ones: gradual pruning, ASP, SR-STE. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "optimizer/train.h"
#include "tests/run_suite.h"
#include "tests/unit/spo_training.h"

static const spo_method_id methods[] = {
    SPO_SPARSE_OPTIMIZER, SPO_NXM, SPO_DYNAMIC, SPO_GRADUAL, SPO_ASP, SPO_SRSTE, SPO_RIGL};
enum { METHODS = sizeof methods / sizeof *methods };

static spo_recipe recipe_of(int method, uint64_t steps) {
  bool nm = methods[method] == SPO_NXM || methods[method] == SPO_SRSTE;
  spo_recipe r = test_recipe(methods[method], nm ? "2:4" : "2x2", nm ? SPO_IMPLIED : 0.5, steps);
  r.every = 3;
  r.updates = steps / 2;
  return r;
}

/* A weight [8, 12] after so many of the steps. */
static training trained(int method, uint64_t steps, uint64_t done) {
  spo_recipe r = recipe_of(method, steps);
  training x = training_start(&r, 8, 12);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, done, NULL);
  return x;
}

/* ---- all methods ---- */

START_TEST(every_method_reaches_its_goal) {
  spo_optimizer o = test_adamw(1e-2);
  for (int k = 0; k < METHODS; k++) {
    training x = trained(k, 40, 40);
    training_finish(&x);
    ck_assert_uint_eq(x.report.total, 96);
    ck_assert_uint_eq(x.report.kept, 48);
    ck_assert_uint_eq(training_zeros(&x), 96 - x.report.nonzero);
    training_finish(&x); /* again: nothing changes */
    ck_assert_uint_eq(x.report.kept, 48);
    training_run(&x, &o, 3, NULL);
    ck_assert_uint_ge(training_zeros(&x), 48);
    training_close(&x);
  }
}
END_TEST

/* A training that ends early still gives what the recipe says. */
START_TEST(early_ends) {
  for (int k = 0; k < METHODS; k++) {
    training x = trained(k, 1000, 2);
    training_finish(&x);
    ck_assert_uint_eq(x.report.kept, 48);
    training_close(&x);
  }
}
END_TEST

START_TEST(any_tensor) {
  static const size_t shapes[][2] = {{0, 4}, {4, 0}, {1, 1}, {1, 7}, {5, 1}, {3, 6}};
  for (int k = 0; k < METHODS; k++)
    for (size_t s = 0; s < 6; s++) {
      spo_recipe r = recipe_of(k, 10);
      if (r.goal.pattern.kind == SPO_BLOCK)
        r.goal.pattern = (spo_pattern){.kind = SPO_UNSTRUCTURED};
      training x = training_start(&r, shapes[s][0], shapes[s][1]);
      spo_optimizer o = test_adamw(1e-2);
      training_run(&x, &o, 10, NULL);
      training_finish(&x);
      training_close(&x);
    }
}
END_TEST

/* Sparsities of 0 and 1, weights that are all 0 or all equal. */
START_TEST(odd_weights) {
  for (int k = 0; k < 3 * METHODS; k++) {
    spo_recipe r = recipe_of(k % METHODS, 10);
    if (r.goal.pattern.kind == SPO_BLOCK) r.goal.sparsity = k / METHODS == 2 ? 1 : 0;
    r.initial_std = 0;
    training x = training_open(&r, 4, 8);
    for (size_t i = 0; i < x.count; i++)
      x.t.w[i] = k / METHODS == 1 ? 0 : 0.5f;
    training_begin(&x, NULL);
    spo_optimizer o = test_adamw(1e-2);
    training_run(&x, &o, 10, NULL);
    training_finish(&x);
    if (r.goal.pattern.kind == SPO_BLOCK && k / METHODS == 2)
      ck_assert_uint_eq(training_zeros(&x), 32);
    training_close(&x);
  }
}
END_TEST

/* Stopped, copied as bytes and gone on with: the same bits. With a pool: the same bits. */
START_TEST(resumed_and_in_threads) {
  spo_pool *pool;
  ck_assert_int_eq(spo_pool_open(32, &pool, NULL), SPO_OK);
  for (int k = 0; k < METHODS; k++) {
    spo_recipe r = recipe_of(k, 12);
    training x = training_start(&r, 400, 200), y = training_open(&r, 400, 200);
    training_begin(&y, pool);
    spo_optimizer o = test_adamw(1e-2);
    training_run(&x, &o, 12, NULL);
    training_run(&y, &o, 5, pool);
    training z = training_copy(&y);
    ck_assert_int_eq(spo_state_check(z.context, z.state, z.bytes, NULL), SPO_OK);
    training_run(&z, &o, 7, pool);
    ck_assert_mem_eq(x.state, z.state, x.bytes);
    ck_assert_mem_eq(x.t.w, z.t.w, x.count * sizeof(float));
    training_close(&x);
    training_close(&y);
    training_close(&z);
  }
  spo_pool_close(pool);
}
END_TEST

/* ---- 32 threads, each with a tensor of its own, share contexts ---- */

typedef struct worker {
  training *shared;
  float *w;
} worker;

static void *train_alone(void *arg) {
  worker *k = arg;
  training x = training_open(&k->shared->recipe, 16, 20);
  spo_context_free(x.context);
  x.context = k->shared->context;
  training_begin(&x, NULL);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 10, NULL);
  training_finish(&x);
  memcpy(k->w, x.t.w, x.count * sizeof(float));
  x.context = NULL;
  training_close(&x);
  return NULL;
}

START_TEST(contexts_are_shared) {
  enum { THREADS = 32 };
  static float w[THREADS][320];
  for (int k = 0; k < METHODS; k++) {
    spo_recipe r = recipe_of(k, 10);
    training x = training_open(&r, 16, 20);
    pthread_t thread[THREADS];
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
      workers[i] = (worker){&x, w[i]};
      ck_assert_int_eq(pthread_create(&thread[i], NULL, train_alone, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
      pthread_join(thread[i], NULL);
    for (int i = 1; i < THREADS; i++)
      ck_assert_mem_eq(w[0], w[i], sizeof w[0]);
    training_close(&x);
  }
}
END_TEST

/* ---- states that are not this training's ---- */

static void check_refused(const training *x, const char *word) {
  spo_error error = {""};
  spo_optimizer o = test_adamw(1e-2);
  training was = training_copy(x);
  ck_assert_int_eq(spo_state_check(x->context, x->state, x->bytes, &error), SPO_E_STATE);
  ck_assert_msg(strstr(error.text, word) && strstr(error.text, "layer.weight"), "%s", error.text);
  ck_assert_int_eq(spo_step(x->context, x->state, &o, &x->t, NULL, &error), SPO_E_STATE);
  ck_assert_int_eq(spo_grad(x->context, x->state, &x->t, NULL, &error), SPO_E_STATE);
  ck_assert_int_eq(spo_after(x->context, x->state, &o, &x->t, NULL, &error), SPO_E_STATE);
  ck_assert_int_eq(spo_epoch(x->context, x->state, &x->t, NULL, &error), SPO_E_STATE);
  ck_assert_int_eq(spo_finish(x->context, x->state, &x->t, x->mask, NULL, NULL, &error),
                   SPO_E_STATE);
  training_check_same(x, &was);
  training_close(&was);
}

START_TEST(strange_states) {
  spo_recipe r = recipe_of(4, 10), other = r;
  training x = training_start(&r, 4, 8), y;
  memset(x.state, 0, x.bytes);
  check_refused(&x, "begin");
  training_begin(&x, NULL);
  uint32_t *head = x.state;
  head[1] = 2;
  check_refused(&x, "version");
  training_begin(&x, NULL);
  head[2] = SPO_RIGL;
  check_refused(&x, "method");
  training_close(&x);
  x = training_start(&r, 8, 4);
  y = training_open(&r, 4, 8);
  memcpy(y.state, x.state, x.bytes);
  check_refused(&y, "[8, 4], not [4, 8]");
  training_close(&y);
  other.steps = 11;
  y = training_open(&other, 8, 4);
  memcpy(y.state, x.state, x.bytes);
  check_refused(&y, "recipe");
  spo_error error;
  ck_assert_int_eq(spo_state_check(x.context, x.state, x.bytes - 1, &error), SPO_E_STATE);
  ck_assert_int_eq(spo_begin(x.context, x.state, x.bytes - 1, &x.t, NULL, &error), SPO_E_STATE);
  ck_assert_int_eq(spo_begin(x.context, (char *)x.state + 4, x.bytes, &x.t, NULL, &error),
                   SPO_E_STATE);
  training_close(&x);
  training_close(&y);
}
END_TEST

/* Each damage of the contents is seen by spo_state_check. */
START_TEST(damaged_contents) {
  spo_recipe r = recipe_of(2, 10);
  r.age_correct = true;
  training x = training_start(&r, 4, 6);
  unsigned char *bytes = x.state;
  static const size_t at[] = {128, 128 + 3, 128 + 8 + 1, 128 + 16 + 7, 128 + 24};
  for (size_t i = 0; i < 5; i++) {
    training_begin(&x, NULL);
    bytes[at[i]] ^= 0x80;
    ck_assert_int_eq(spo_state_check(x.context, x.state, x.bytes, NULL), SPO_E_STATE);
  }
  training_begin(&x, NULL);
  size_t on = 0, off = 0;
  while (!spo_bit(bytes + 128, on))
    on++;
  while (spo_bit(bytes + 128, off))
    off++;
  bytes[128 + on / 8] ^= (unsigned char)(1u << on % 8); /* as many weights, not in whole blocks */
  bytes[128 + off / 8] ^= (unsigned char)(1u << off % 8);
  ck_assert_int_eq(spo_state_check(x.context, x.state, x.bytes, NULL), SPO_E_STATE);
  training_close(&x);
  r = recipe_of(1, 10);
  x = training_start(&r, 4, 6);
  float nan = NAN;
  memcpy((char *)x.state + x.bytes - 4, &nan, sizeof nan);
  ck_assert_int_eq(spo_state_check(x.context, x.state, x.bytes, NULL), SPO_E_STATE);
  training_close(&x);
}
END_TEST

START_TEST(bad_input) {
  spo_error error;
  spo_optimizer o = test_adamw(1e-2);
  spo_context *c;
  spo_tensor tensor = {"q", 4, 8};
  spo_recipe r = test_recipe(SPO_WANDA, "2:4", SPO_IMPLIED, 10);
  ck_assert_int_eq(spo_context_create(&r, &tensor, &c, &error), SPO_E_VALUE);
  r = recipe_of(0, 0);
  ck_assert_int_eq(spo_context_create(&r, &tensor, &c, &error), SPO_E_VALUE); /* no steps */
  for (int k = 0; k < METHODS; k++) {
    r = recipe_of(k, 10);
    training x = training_open(&r, 4, 8);
    x.t.w[5] = NAN;
    ck_assert_int_eq(spo_begin(x.context, x.state, x.bytes, &x.t, NULL, &error), SPO_E_NONFINITE);
    ck_assert_ptr_nonnull(strstr(error.text, "[0, 5]"));
    x.t.w[5] = 1;
    training_begin(&x, NULL);
    o.lr = -1;
    ck_assert_int_eq(spo_step(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_VALUE);
    o.lr = 1;
    float *w = x.t.w, *g = x.t.g;
    x.t.w = NULL;
    ck_assert_int_eq(spo_step(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_VALUE);
    x.t.w = w;
    x.t.g = NULL;
    ck_assert_int_eq(spo_grad(x.context, x.state, &x.t, NULL, &error), SPO_E_VALUE);
    ck_assert_int_eq(spo_step(x.context, x.state, &o, &x.t, NULL, &error), SPO_E_VALUE);
    x.t.g = g;
    ck_assert_uint_eq(training_progress(&x).step, 0);
    training_close(&x);
  }
}
END_TEST

START_TEST(recipes_have_hashes) {
  spo_recipe a = recipe_of(2, 10), b = a;
  b.rho = 7; /* of another method */
  ck_assert(spo_recipe_hash(&a) == spo_recipe_hash(&b));
  b.seed = 1;
  ck_assert(spo_recipe_hash(&a) != spo_recipe_hash(&b));
  b = a;
  b.goal.pattern.rows = 4;
  ck_assert(spo_recipe_hash(&a) != spo_recipe_hash(&b));
  b = a;
  b.goal.sparsity = 0.6;
  ck_assert(spo_recipe_hash(&a) != spo_recipe_hash(&b));
}
END_TEST

/* ---- the simple methods ---- */

/* The update of weights that no mask hides. */
static void update_dense(training *dense, const spo_optimizer *o) {
  ck_assert_int_eq(spo_update(o, &dense->t, dense->count, NULL, NULL), SPO_OK);
}

/* What the model sees of them. */
static void check_shown(const training *x, const training *dense, const unsigned char *mask) {
  for (size_t i = 0; i < x->count; i++)
    ck_assert(x->t.w[i] == (mask[i] ? dense->t.w[i] : 0));
}

/* The mask at each step is the best of the dense weights at the schedule's sparsity; a reference
 * keeps those and makes the same updates. */
START_TEST(gradual_recovers) {
  spo_recipe r = test_recipe(SPO_GRADUAL, "unstructured", 0.8, 60);
  r.every = 7;
  training x = training_start(&r, 6, 30), dense = training_open(&r, 6, 30);
  spo_optimizer o = test_adamw(1e-2), own = o;
  unsigned char mask[180];
  memset(mask, 1, sizeof mask);
  for (own.step = 1; own.step <= 42; own.step++) {
    training_run(&x, &o, 1, NULL);
    training_gradient(&dense, own.step);
    update_dense(&dense, &own);
    if (own.step >= 6 && ((own.step - 6) % 7 == 0 || own.step == 42)) {
      double s = 0.8 * (1 - pow(1 - (double)(own.step - 6) / 36, 3));
      spo_goal goal = {.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = s};
      ck_assert_int_eq(spo_project(&goal, "w", dense.t.w, 6, 30, mask, NULL, NULL), SPO_OK);
    }
    check_shown(&x, &dense, mask);
  }
  ck_assert_uint_eq(training_progress(&x).frozen, 1);
  training_close(&x);
  training_close(&dense);
}
END_TEST

/* Due at 6, 13 … and at the last, 42; dropped weights do not return. */
static spo_recipe lost_at_once(void) {
  spo_recipe r = test_recipe(SPO_GRADUAL, "unstructured", 0.8, 60);
  r.every = 7;
  r.recover = false;
  return r;
}

START_TEST(gradual_for_good) {
  spo_recipe r = lost_at_once();
  training x = training_start(&r, 6, 30);
  spo_optimizer o = test_adamw(1e-2);
  float before[180];
  memcpy(before, x.t.w, sizeof before);
  for (int step = 0; step < 60; step++) {
    training_run(&x, &o, 1, NULL);
    for (size_t i = 0; i < 180; i++)
      if (before[i] == 0) ck_assert(x.t.w[i] == 0);
    memcpy(before, x.t.w, sizeof before);
  }
  ck_assert_uint_eq(training_zeros(&x), 144);
  training_close(&x);
}
END_TEST

START_TEST(asp_keeps_its_first_mask) {
  spo_recipe r = test_recipe(SPO_ASP, "2:4", SPO_IMPLIED, 10);
  training x = training_open(&r, 5, 18);
  unsigned char want[90];
  ck_assert_int_eq(spo_project(&r.goal, "w", x.t.w, 5, 18, want, NULL, NULL), SPO_OK);
  training_begin(&x, NULL);
  spo_optimizer o = test_adamw(1e-2);
  for (int step = 0; step < 10; step++) {
    training_run(&x, &o, 1, NULL);
    for (size_t i = 0; i < 90; i++)
      ck_assert((x.t.w[i] != 0) == want[i]);
  }
  training_finish(&x);
  ck_assert_mem_eq(x.mask, want, 90);
  training_close(&x);
}
END_TEST

/* Against the definition: W takes AdamW's step with g + decay (1 - M) W, the model sees M W. */
START_TEST(sr_ste_by_definition) {
  spo_recipe r = test_recipe(SPO_SRSTE, "2:4", SPO_IMPLIED, 30);
  r.decay = 0.05;
  training x = training_start(&r, 5, 20), dense = training_open(&r, 5, 20);
  spo_optimizer o = test_adamw(1e-2), own = o;
  unsigned char mask[100];
  spo_project(&r.goal, "w", dense.t.w, 5, 20, mask, NULL, NULL);
  for (own.step = 1; own.step <= 30; own.step++) {
    training_run(&x, &o, 1, NULL);
    training_gradient(&dense, own.step);
    for (size_t i = 0; i < 100; i++)
      if (!mask[i]) dense.t.g[i] += 0.05f * dense.t.w[i];
    update_dense(&dense, &own);
    spo_project(&r.goal, "w", dense.t.w, 5, 20, mask, NULL, NULL);
    check_shown(&x, &dense, mask);
  }
  training_close(&x);
  training_close(&dense);
}
END_TEST

/* Behind another optimizer: masks and counts are the same, dense weights follow what it did. */
START_TEST(after_another_optimizer) {
  for (int k = 0; k < METHODS; k++) {
    spo_recipe r = recipe_of(k, 24);
    training x = training_start(&r, 8, 12);
    spo_optimizer o = test_adamw(1e-2), own = o;
    for (own.step = 1; own.step <= 24; own.step++) {
      training_gradient(&x, own.step);
      ck_assert_int_eq(spo_grad(x.context, x.state, &x.t, NULL, NULL), SPO_OK);
      ck_assert_int_eq(spo_update(&own, &x.t, x.count, NULL, NULL), SPO_OK);
      ck_assert_int_eq(spo_after(x.context, x.state, &own, &x.t, NULL, NULL), SPO_OK);
      ck_assert_int_eq(spo_state_check(x.context, x.state, x.bytes, NULL), SPO_OK);
      if (methods[k] == SPO_ASP || methods[k] == SPO_SRSTE || methods[k] == SPO_RIGL)
        ck_assert_uint_ge(training_zeros(&x), 48);
    }
    training_finish(&x);
    ck_assert_uint_eq(x.report.kept, 48);
    training_close(&x);
  }
}
END_TEST

/* ---- refusals ---- */

START_TEST(gradual_refuses_before_it_updates) {
  spo_recipe r = lost_at_once();
  training x = training_start(&r, 6, 30);
  spo_optimizer o = test_adamw(1e-2);
  training_run(&x, &o, 12, NULL);
  training_refuses_nan(&x, &o);
  training_run(&x, &o, 28, NULL);
  training_run(&x, &o, 1, NULL);
  training_refuses_nan(&x, &o);
  training_close(&x);
}
END_TEST

/* Dense weights get what another optimizer did once, though it is told twice. */
START_TEST(shadows_grow_once) {
  spo_recipe r = test_recipe(SPO_SRSTE, "2:4", SPO_IMPLIED, 30);
  training x = training_start(&r, 5, 20);
  spo_optimizer o = test_adamw(1e-2);
  for (size_t i = 0; i < x.count; i++)
    x.t.w[i] += 0.125f;
  training good = training_copy(&x), was = training_copy(&x);
  x.t.w[0] = NAN;
  ck_assert_int_eq(spo_after(x.context, x.state, &o, &x.t, NULL, NULL), SPO_E_NONFINITE);
  ck_assert_mem_eq(x.state, was.state, x.bytes);
  x.t.w[0] = was.t.w[0];
  ck_assert_int_eq(spo_after(x.context, x.state, &o, &x.t, NULL, NULL), SPO_OK);
  ck_assert_int_eq(spo_after(good.context, good.state, &o, &good.t, NULL, NULL), SPO_OK);
  training_check_same(&x, &good);
  training_close(&x);
  training_close(&good);
  training_close(&was);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_train");
  TCase *c = untimed_case("all");
  tcase_add_test(c, every_method_reaches_its_goal);
  tcase_add_test(c, early_ends);
  tcase_add_test(c, any_tensor);
  tcase_add_test(c, odd_weights);
  tcase_add_test(c, resumed_and_in_threads);
  tcase_add_test(c, contexts_are_shared);
  tcase_add_test(c, strange_states);
  tcase_add_test(c, damaged_contents);
  tcase_add_test(c, bad_input);
  tcase_add_test(c, recipes_have_hashes);
  tcase_add_test(c, gradual_recovers);
  tcase_add_test(c, gradual_for_good);
  tcase_add_test(c, asp_keeps_its_first_mask);
  tcase_add_test(c, sr_ste_by_definition);
  tcase_add_test(c, after_another_optimizer);
  tcase_add_test(c, gradual_refuses_before_it_updates);
  tcase_add_test(c, shadows_grow_once);
  suite_add_tcase(s, c);
  return run_suite(s);
}
