/* What a run touches: every buffer against pages that cannot be accessed, inputs and weights
 * read-only, and a stack of 16 KiB. The results must be those of plain memory. */
#include <check.h>
#include <string.h>
#include <ucontext.h>

#include "call.h"
#include "tests/run_suite.h"

static const int32_t ragged[][MAX_BATCH] = {
    {5, 0, 17, 1}, {64, 1, 63, 0}, {0, 0, 0, 0}, {17, 80, 0, 65}};
static const int32_t sequences[] = {1, 2, 17, 63, 64, 65, 80};

static void compare_places(const model *m, shape s, uint32_t seed) {
  buffers plain, guarded;
  buffers_init(&plain, m, s, PLAIN, seed);
  run_ok(&plain);
  outputs_written(&plain);
  for (place p = AFTER_GUARD; p <= BEFORE_GUARD; p++) {
    buffers_init(&guarded, m, s, p, seed);
    run_ok(&guarded);
    same_outputs(&plain, &guarded);
    buffers_free(&guarded);
  }
  buffers_free(&plain);
}

static void compare_models(shape s, uint32_t seed) {
  compare_places(&tiny, s, seed);
  compare_places(&generic, s, seed);
  compare_places(&other, s, seed);
}

START_TEST(rectangular) {
  for (int32_t batch = 1; batch <= MAX_BATCH; batch++)
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++)
      for (int inputs = 0; inputs < 4; inputs++)
        compare_models(
            (shape){
                .batch = batch, .sequence = sequences[i], .mask = inputs & 1, .types = inputs & 2},
            (uint32_t)i);
}
END_TEST

START_TEST(lengths) {
  for (size_t i = 0; i < sizeof ragged / sizeof ragged[0]; i++)
    for (int inputs = 0; inputs < 4; inputs++)
      compare_models((shape){.batch = 4,
                             .sequence = 80,
                             .lengths = ragged[i],
                             .mask = inputs & 1,
                             .types = inputs & 2},
                     3);
}
END_TEST

START_TEST(several_threads) {
  for (uint32_t threads = 1; threads <= 5; threads++) {
    compare_models((shape){.batch = 3, .sequence = 65, .mask = true, .threads = threads}, threads);
    compare_models((shape){.batch = 4, .sequence = 80, .lengths = ragged[3], .threads = threads},
                   1);
  }
}
END_TEST

START_TEST(every_level) {
  const spcc_info *info = tiny.info();
  for (uint32_t i = 0; i < info->level_count; i++) {
    if (info->levels[i] > spcc_cpu()) continue;
    buffers b;
    for (place p = PLAIN; p <= BEFORE_GUARD; p++) {
      buffers_init(&b, &tiny, (shape){.batch = 3, .sequence = 65, .mask = true}, p, 2);
      spcc_call call = *b.call;
      call.cpu = info->levels[i];
      ck_assert_int_eq(tiny.run(&call), SPCC_OK);
      outputs_written(&b);
      buffers_free(&b);
    }
  }
}
END_TEST

/* A run must not depend on what the workspace holds: buffers_init fills it from the seed. */
START_TEST(workspace_contents) {
  buffers a, b;
  buffers_init(&a, &tiny, (shape){.batch = 3, .sequence = 65, .mask = true}, PLAIN, 5);
  buffers_init(&b, &tiny, (shape){.batch = 3, .sequence = 65, .mask = true}, PLAIN, 5);
  run_ok(&a);
  static const int fill[] = {0x00, 0xff, 0x7f};
  for (size_t i = 0; i < sizeof fill / sizeof fill[0]; i++) {
    memset(b.call->workspace, fill[i], b.call->workspace_bytes);
    run_ok(&b);
    same_outputs(&a, &b);
  }
  run_ok(&b); /* and what the last run left there */
  same_outputs(&a, &b);
  buffers_free(&a);
  buffers_free(&b);
}
END_TEST

/* ---- stack ---- */

enum { STACK_BYTES = 256 << 10, STACK_LIMIT = 16 << 10, PAINT = 0xa5 };

static _Alignas(64) unsigned char stack[STACK_BYTES];
static ucontext_t here, there;
static buffers *on_stack;
static spcc_status stack_status;

static void run_on_stack(void) {
  stack_status = on_stack->model->run(on_stack->call);
}

/* Bytes of stack that a run of b took. */
static size_t stack_use(buffers *b) {
  memset(stack, PAINT, sizeof stack);
  on_stack = b;
  ck_assert_int_eq(getcontext(&there), 0);
  there.uc_stack.ss_sp = stack;
  there.uc_stack.ss_size = sizeof stack;
  there.uc_link = &here;
  makecontext(&there, run_on_stack, 0);
  ck_assert_int_eq(swapcontext(&here, &there), 0);
  ck_assert_int_eq(stack_status, SPCC_OK);
  size_t free_bytes = 0;
  while (free_bytes < sizeof stack && stack[free_bytes] == PAINT)
    free_bytes++;
  return sizeof stack - free_bytes;
}

START_TEST(stack_is_small) {
  for (uint32_t threads = 0; threads < 4; threads++)
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
      buffers b;
      shape s = {
          .batch = 4, .sequence = sequences[i], .mask = true, .types = true, .threads = threads};
      buffers_init(&b, &tiny, s, PLAIN, 1);
      run_ok(&b); /* the dynamic linker has found memcpy now */
      size_t used = stack_use(&b);
      ck_assert_msg(used <= STACK_LIMIT, "%zu bytes of stack", used);
      ck_assert_uint_gt(used, 0);
      buffers_free(&b);
    }
}
END_TEST

/* ---- the size of the workspace ---- */

START_TEST(workspace_is_monotone) {
  const model *models[] = {&tiny, &generic, &other};
  for (int m = 0; m < 3; m++)
    for (int32_t batch = 1; batch < MAX_BATCH; batch++)
      for (int32_t sequence = 1; sequence < 80; sequence++)
        for (uint32_t threads = 1; threads <= 4; threads++) {
          size_t size = models[m]->workspace(batch, sequence, threads);
          ck_assert_uint_gt(size, 0);
          ck_assert_uint_le(size, models[m]->workspace(batch + 1, sequence, threads));
          ck_assert_uint_le(size, models[m]->workspace(batch, sequence + 1, threads));
          ck_assert_uint_le(size, models[m]->workspace(batch, sequence, threads + 1));
        }
}
END_TEST

START_TEST(no_workspace_over_the_limits) {
  ck_assert_uint_gt(tiny.workspace(MAX_BATCH, 80, 1), 0);
  ck_assert_uint_eq(tiny.workspace(MAX_BATCH + 1, 80, 1), 0);
  ck_assert_uint_eq(tiny.workspace(MAX_BATCH, 81, 1), 0);
  ck_assert_uint_eq(tiny.workspace(-1, 80, 1), 0);
  ck_assert_uint_eq(tiny.workspace(MAX_BATCH, -1, 1), 0);
  ck_assert_uint_eq(tiny.workspace(INT32_MIN, INT32_MIN, 1), 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("abi_memory");
  TCase *c = untimed_case("memory");
  tcase_add_test(c, rectangular);
  tcase_add_test(c, lengths);
  tcase_add_test(c, several_threads);
  tcase_add_test(c, every_level);
  tcase_add_test(c, workspace_contents);
  tcase_add_test(c, stack_is_small);
  tcase_add_test(c, workspace_is_monotone);
  tcase_add_test(c, no_workspace_over_the_limits);
  suite_add_tcase(s, c);
  return run_suite(s);
}
