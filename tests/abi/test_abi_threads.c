/* Several threads and several models in one program: the same bits as alone, whoever runs the
 * tasks and in whatever order. Built once more with ThreadSanitizer where the compiler has it. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "tests/run_suite.h"

enum { THREADS = 8, ROUNDS = 20 };

static const shape usual = {.batch = 3, .sequence = 65, .mask = true, .types = true};

/* ---- many threads, one model ---- */

typedef struct caller {
  pthread_t thread;
  buffers b[3], expected[3]; /* of tiny, twin and other */
  int models, different, failed;
} caller;

static void *call_often(void *argument) {
  caller *c = argument;
  for (int round = 0; round < ROUNDS; round++)
    for (int i = 0; i < c->models; i++) {
      buffers *b = &c->b[i];
      for (int k = 0; k < OUT_COUNT; k++)
        memset(b->out[k], 0x7f, b->out_bytes[k]);
      c->failed += b->model->run(b->call) != SPCC_OK;
      for (int k = 0; k < OUT_COUNT; k++)
        c->different += memcmp(b->out[k], c->expected[i].out[k], b->out_bytes[k]) != 0;
    }
  return NULL;
}

/* Each of THREADS threads calls the first `models` models, all with inputs of their own. */
static void call_from_threads(int models) {
  static const model *const all[] = {&tiny, &twin, &other};
  caller callers[THREADS];
  for (int t = 0; t < THREADS; t++) {
    callers[t] = (caller){.models = models};
    for (int i = 0; i < models; i++) {
      buffers_init(&callers[t].b[i], all[i], usual, PLAIN, (uint32_t)t);
      buffers_init(&callers[t].expected[i], all[i], usual, PLAIN, (uint32_t)t);
      run_ok(&callers[t].expected[i]);
      outputs_written(&callers[t].expected[i]);
    }
  }
  for (int t = 0; t < THREADS; t++)
    ck_assert_int_eq(pthread_create(&callers[t].thread, NULL, call_often, &callers[t]), 0);
  for (int t = 0; t < THREADS; t++)
    pthread_join(callers[t].thread, NULL);
  for (int t = 0; t < THREADS; t++) {
    ck_assert_int_eq(callers[t].failed, 0);
    ck_assert_int_eq(callers[t].different, 0);
    for (int i = 0; i < models; i++) {
      buffers_free(&callers[t].b[i]);
      buffers_free(&callers[t].expected[i]);
    }
  }
}

START_TEST(threads_share_a_model) {
  call_from_threads(1);
}
END_TEST

START_TEST(threads_share_three_models) {
  call_from_threads(3);
}
END_TEST

START_TEST(a_model_under_two_names) {
  buffers a, b;
  buffers_init(&a, &tiny, usual, PLAIN, 1);
  buffers_init(&b, &twin, usual, PLAIN, 1);
  run_ok(&a);
  run_ok(&b);
  same_outputs(&a, &b);
  ck_assert_str_eq(twin.info()->name, "twin");
  ck_assert_ptr_ne((void *)tiny.info(), (void *)twin.info());
  buffers_free(&a);
  buffers_free(&b);
}
END_TEST

/* ---- one call, many threads ---- */

/* Runs each task on a thread of its own. */
static void run_on_threads(const spcc_exec *exec, uint32_t n, void (*task)(void *, uint32_t),
                           void *arg);

typedef struct one_task {
  void (*task)(void *, uint32_t);
  void *arg;
  uint32_t i;
} one_task;

static void *run_one(void *argument) {
  const one_task *t = argument;
  t->task(t->arg, t->i);
  return NULL;
}

static void run_on_threads(const spcc_exec *exec, uint32_t n, void (*task)(void *, uint32_t),
                           void *arg) {
  pthread_t thread[64];
  one_task tasks[64];
  if (n > exec->threads || n > 64) abort();
  for (uint32_t i = 0; i < n; i++) {
    tasks[i] = (one_task){task, arg, i};
    if (pthread_create(&thread[i], NULL, run_one, &tasks[i]) != 0) abort();
  }
  for (uint32_t i = 0; i < n; i++)
    pthread_join(thread[i], NULL);
}

static const uint32_t counts[] = {1, 2, 3, 8, 16};

/* The bits do not depend on the number of threads or on how the tasks run. */
static void same_bits(const model *m, shape s) {
  buffers alone, b;
  s.threads = 0;
  buffers_init(&alone, m, s, PLAIN, 9);
  run_ok(&alone);
  outputs_written(&alone);
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    s.threads = counts[i];
    spcc_exec own_threads = reverse_exec(counts[i]);
    own_threads.parallel_for = run_on_threads;
    spcc_pool_options o = {.size = sizeof o, .threads = counts[i], .crowd = 1};
    spcc_pool *pool = spcc_pool_open(&o);
    ck_assert_ptr_nonnull(pool);
    const spcc_exec *execs[] = {NULL, &own_threads, spcc_pool_exec(pool)};
    for (int e = 0; e < 3; e++) {
      buffers_init(&b, m, s, PLAIN, 9); /* its own exec runs the tasks backwards */
      spcc_call call = *b.call;
      if (execs[e] != NULL) call.exec = execs[e];
      ck_assert_int_eq(m->run(&call), SPCC_OK);
      same_outputs(&alone, &b);
      buffers_free(&b);
    }
    spcc_pool_free(pool);
  }
  buffers_free(&alone);
}

START_TEST(same_bits_for_any_threads) {
  static const int32_t ragged[] = {80, 0, 17};
  same_bits(&tiny, usual);
  same_bits(&tiny, (shape){.batch = 1, .sequence = 80});
  same_bits(&tiny, (shape){.batch = 3, .sequence = 80, .lengths = ragged, .mask = true});
  same_bits(&other, usual);
  same_bits(&generic, usual);
}
END_TEST

/* Sequences go through a model in groups, which grow with the threads. */
START_TEST(same_bits_for_any_groups) {
  static const int32_t ragged[] = {79, 80, 0, 80};
  same_bits(&tiny, (shape){.batch = 4, .sequence = 80, .mask = true, .types = true});
  same_bits(&tiny, (shape){.batch = 4, .sequence = 80, .lengths = ragged});
  same_bits(&other, (shape){.batch = 4, .sequence = 80, .types = true});
  same_bits(&generic, (shape){.batch = 4, .sequence = 80, .mask = true});
}
END_TEST

/* ---- hooks ---- */

typedef struct journal {
  uint32_t next; /* the step to come */
  uint32_t inside, wrong, groups;
} journal;

static void note_step(const spcc_exec *exec, uint32_t step, uint32_t enter) {
  journal *j = exec->context;
  j->wrong += step != j->next || enter == j->inside;
  j->inside = enter;
  j->next += enter == 0;
  if (j->next < tiny.info()->step_count) return;
  j->next = 0;
  j->groups++;
}

/* 3 sequences of 65 tokens are one group. 4 of 80 are two on one thread. */
START_TEST(hooks_see_every_step_in_order) {
  for (uint32_t i = 0; i < 4; i++) {
    uint32_t threads = 1 + 3 * (i % 2);
    buffers b;
    shape s = i < 2 ? usual : (shape){.batch = 4, .sequence = 80};
    s.threads = threads;
    buffers_init(&b, &tiny, s, PLAIN, 1);
    journal j = {0};
    spcc_exec exec = reverse_exec(threads);
    exec.context = &j;
    exec.hook = note_step;
    spcc_call call = *b.call;
    call.exec = &exec;
    ck_assert_int_eq(tiny.run(&call), SPCC_OK);
    ck_assert_uint_eq(j.wrong, 0);
    ck_assert_uint_eq(j.inside, 0);
    ck_assert_uint_eq(j.next, 0);
    ck_assert_uint_eq(j.groups, i == 2 ? 2 : 1);
    buffers_free(&b);
  }
}
END_TEST

START_TEST(profile_measures_every_step) {
  const spcc_info *info = tiny.info();
  buffers b;
  buffers_init(&b, &tiny, usual, PLAIN, 1);
  spcc_profile *p = spcc_profile_new(info, NULL);
  ck_assert_ptr_nonnull(p);
  spcc_call call = *b.call;
  call.exec = spcc_profile_exec(p);
  for (int i = 0; i < 3; i++)
    ck_assert_int_eq(tiny.run(&call), SPCC_OK);
  for (uint32_t i = 0; i < info->step_count; i++) {
    uint64_t ns, calls;
    spcc_profile_step(p, i, &ns, &calls);
    ck_assert_msg(calls == 3, "step %u (%s): %d calls", i, info->steps[i], (int)calls);
  }
  spcc_profile_free(p);
  buffers_free(&b);
}
END_TEST

/* The steps' work adds up to the model's: 24 channels, 2 layers of attention. */
START_TEST(steps_say_their_work) {
  const spcc_info *info = tiny.info();
  uint64_t macs = 0, dense = 0, keys = 0;
  uint32_t layer = 0, norms = 0;
  for (uint32_t i = 0; i < info->step_count; i++) {
    const spcc_step *w = &info->step_work[i];
    bool linear = w->kind == SPCC_STEP_LINEAR;
    ck_assert(linear == (w->dense_macs > 0));
    ck_assert((w->kind == SPCC_STEP_ATTENTION) == (w->macs_per_key > 0));
    if (linear) ck_assert_uint_eq(w->layer, layer);
    if (linear) ck_assert(strcmp(info->layers[layer].name, info->steps[i]) == 0);
    norms += w->kind == SPCC_STEP_LAYERNORM;
    layer += w->layers;
    macs += w->macs;
    dense += w->dense_macs;
    keys += w->macs_per_key;
  }
  ck_assert_uint_eq(layer, info->layer_count);
  ck_assert_uint_eq(macs, info->nnz);
  ck_assert_uint_eq(dense, info->parameters);
  ck_assert_uint_eq(keys, 2 * 2 * 24);
  ck_assert_uint_eq(norms, 5);
}
END_TEST

/* The generic pipeline skips no zero. */
START_TEST(generic_steps_are_dense) {
  const spcc_info *info = generic.info();
  uint32_t linears = 0;
  for (uint32_t i = 0; i < info->step_count; i++) {
    ck_assert_uint_eq(info->step_work[i].macs, info->step_work[i].dense_macs);
    linears += info->step_work[i].dense_macs > 0;
  }
  ck_assert_uint_ge(linears, 9);
}
END_TEST

int main(void) {
  Suite *s = suite_create("abi_threads");
  TCase *c = untimed_case("threads");
  tcase_add_test(c, threads_share_a_model);
  tcase_add_test(c, threads_share_three_models);
  tcase_add_test(c, a_model_under_two_names);
  tcase_add_test(c, same_bits_for_any_threads);
  tcase_add_test(c, same_bits_for_any_groups);
  tcase_add_test(c, hooks_see_every_step_in_order);
  tcase_add_test(c, profile_measures_every_step);
  tcase_add_test(c, steps_say_their_work);
  tcase_add_test(c, generic_steps_are_dense);
  suite_add_tcase(s, c);
  return run_suite(s);
}
