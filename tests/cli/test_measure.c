/* What spcc profile, bench and cpu measure with, by a clock that goes on by one second at each
 * look. */
#include <check.h>
#include <math.h>

#include "driver/fma_probe.h"
#include "driver/recorder.h"
#include "driver/stats.h"
#include "tests/run_suite.h"

static double now;

double seconds_now(void) {
  return now++;
}

static void full(void *context, size_t wanted) {
  (void)context;
  ck_abort_msg("out of memory: %zu bytes", wanted);
}

/* ---- stats ---- */

START_TEST(percentiles) {
  double values[] = {5, 1, 4, 2, 3};
  ck_assert_double_eq(stats_median(values, 5), 3);
  ck_assert_double_eq(values[0], 1);
  ck_assert_double_eq(stats_percentile(values, 5, 0), 1);
  ck_assert_double_eq(stats_percentile(values, 5, 0.2), 1);
  ck_assert_double_eq(stats_percentile(values, 5, 0.21), 2);
  ck_assert_double_eq(stats_percentile(values, 5, 1), 5);
  ck_assert_double_eq(stats_median(values, 4), 2); /* nearest rank: a value that occurred */
  ck_assert_double_eq(stats_median(values, 1), 1);
}
END_TEST

START_TEST(a_nan_is_the_largest) {
  ck_assert_double_eq(stats_larger(1, 2), 2);
  ck_assert_double_eq(stats_larger(2, 1), 2);
  ck_assert_double_nan(stats_larger(1, NAN));
  ck_assert_double_nan(stats_larger(NAN, 1));
}
END_TEST

/* ---- the probe ---- */

static uint32_t tasks_run;

static void run_all(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                    void *arg) {
  ck_assert_uint_eq(n, exec->threads);
  for (uint32_t i = 0; i < n; i++, tasks_run++)
    task(arg, i);
}

START_TEST(probe_counts_its_work) {
  uint32_t lanes[] = {[SPCC_CPU_X86_64_V3] = 8, [SPCC_CPU_X86_64_V4] = 16};
  spcc_exec exec = {.size = sizeof exec, .threads = 3, .parallel_for = run_all};
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
    /* The trial takes a second, so half a second is half its 4096 rounds, and one. */
    double gflops = 2e-9 * 12 * lanes[level] * 2049;
    ck_assert_double_eq_tol(fma_probe(NULL, level, 0.5), gflops, 1e-12);
    tasks_run = 0;
    ck_assert_double_eq_tol(fma_probe(&exec, level, 0.5), 3 * gflops, 1e-12);
    ck_assert_uint_eq(tasks_run, 6);
  }
}
END_TEST

START_TEST(no_probe_for_other_levels) {
  ck_assert_double_eq(fma_probe(NULL, SPCC_CPU_BASELINE, 0.5), 0);
  ck_assert_double_eq(fma_probe(NULL, 99, 0.5), 0);
}
END_TEST

/* ---- the recorder ---- */

static void count_task(void *arg, uint32_t i) {
  ((uint32_t *)arg)[i]++;
}

/* A call of two steps: one on this thread, one on two of three threads. */
static void call_model(const spcc_exec *exec, uint32_t *counts) {
  exec->hook(exec, 0, 1);
  exec->hook(exec, 0, 0);
  exec->hook(exec, 1, 1);
  exec->parallel_for(exec, 2, count_task, counts);
  exec->hook(exec, 1, 0);
}

static void pass_on(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                    void *arg) {
  (void)exec;
  tasks_run += n;
  for (uint32_t i = 0; i < n; i++)
    task(arg, i);
}

static void check_span(span s, double begin, double end) {
  ck_assert_double_eq(s.begin, begin);
  ck_assert_double_eq(s.end, end);
}

START_TEST(records_steps_and_tasks) {
  arena *a = arena_new(1 << 20, full, NULL);
  spcc_exec inner = {.size = sizeof inner, .threads = 3, .parallel_for = pass_on};
  recorder *r = recorder_new(a, &inner);
  ck_assert_uint_eq(r->exec.threads, 3);
  uint32_t counts[3] = {0};
  now = 100;
  tasks_run = 0;
  recorder_begin(r);
  call_model(&r->exec, counts);
  recorder_end(r);
  check_span(r->now.call, 100, 109);
  ck_assert_uint_eq(r->now.count, 2);
  const step_run *runs = r->now.runs;
  ck_assert_uint_eq(runs[0].step, 0);
  check_span(runs[0].time, 101, 102);
  ck_assert_uint_eq(runs[1].step, 1);
  check_span(runs[1].time, 103, 108);
  for (int i = 0; i < 3; i++)
    check_span(runs[0].tasks[i].time, 0, 0);
  check_span(runs[1].tasks[0].time, 104, 105);
  check_span(runs[1].tasks[1].time, 106, 107);
  check_span(runs[1].tasks[2].time, 0, 0);
  ck_assert(pthread_equal(runs[1].tasks[0].thread, pthread_self()));
  ck_assert_uint_eq(counts[0] + counts[1], 2);
  ck_assert_uint_eq(tasks_run, 2);
  recorder_begin(r); /* a call leaves nothing of the last one's */
  r->exec.hook(&r->exec, 0, 1);
  r->exec.hook(&r->exec, 0, 0);
  r->exec.hook(&r->exec, 1, 1);
  r->exec.hook(&r->exec, 1, 0);
  recorder_end(r);
  ck_assert_uint_eq(r->now.count, 2);
  check_span(r->now.runs[1].tasks[0].time, 0, 0);
  arena_free(a);
}
END_TEST

/* A step that runs for one group of sequences after the other, more often than a recording has room
 * for at first. */
START_TEST(records_every_group) {
  arena *a = arena_new(1 << 20, full, NULL);
  spcc_exec inner = {.size = sizeof inner, .threads = 2, .parallel_for = pass_on};
  recorder *r = recorder_new(a, &inner);
  uint32_t counts[2] = {0};
  recorder_begin(r);
  now = 0;
  for (int group = 0; group < 1000; group++)
    call_model(&r->exec, counts);
  ck_assert_uint_eq(r->now.count, 2000);
  for (uint32_t i = 0; i < 1000; i++) {
    const step_run *runs = &r->now.runs[2 * (size_t)i];
    ck_assert(runs[0].step == 0 && runs[1].step == 1);
    check_span(runs[0].time, 8.0 * i, 8.0 * i + 1);
    check_span(runs[1].time, 8.0 * i + 2, 8.0 * i + 7);
    check_span(runs[1].tasks[0].time, 8.0 * i + 3, 8.0 * i + 4);
    check_span(runs[1].tasks[1].time, 8.0 * i + 5, 8.0 * i + 6);
  }
  arena_free(a);
}
END_TEST

START_TEST(records_without_an_exec) {
  arena *a = arena_new(1 << 20, full, NULL);
  recorder *r = recorder_new(a, NULL);
  ck_assert_uint_eq(r->exec.threads, 1);
  uint32_t counts[2] = {0};
  recorder_begin(r);
  r->exec.hook(&r->exec, 1, 1);
  r->exec.parallel_for(&r->exec, 1, count_task, counts);
  r->exec.hook(&r->exec, 1, 0);
  recorder_end(r);
  ck_assert_uint_eq(counts[0], 1);
  arena_free(a);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("measure");
  TCase *all = untimed_case("all");
  tcase_add_test(all, percentiles);
  tcase_add_test(all, a_nan_is_the_largest);
  tcase_add_test(all, probe_counts_its_work);
  tcase_add_test(all, no_probe_for_other_levels);
  tcase_add_test(all, records_steps_and_tasks);
  tcase_add_test(all, records_every_group);
  tcase_add_test(all, records_without_an_exec);
  suite_add_tcase(suite, all);
  return run_suite(suite);
}
