/* The runtime: thread pool, CPU levels, memory, weights mapping, step times. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/cpu.h"
#include "runtime/spcc_rt.h"
#include "tests/run_suite.h"

/* ---- pool ---- */

enum { MAX_TASKS = 257 };

typedef struct counts {
  uint32_t seen[MAX_TASKS]; /* plain memory: each task has its own, and returning is the barrier */
  uint32_t value;
} counts;

static void count_task(void *arg, uint32_t i) {
  counts *c = arg;
  ck_assert_uint_lt(i, MAX_TASKS);
  c->seen[i] += c->value;
}

static void check_counts(const counts *c, uint32_t n, uint32_t expected) {
  for (uint32_t i = 0; i < MAX_TASKS; i++)
    ck_assert_uint_eq(c->seen[i], i < n ? expected : 0);
}

/* A pool of exactly so many threads, however few CPUs there are. */
static spcc_pool *crowded_pool(uint32_t threads) {
  spcc_pool *pool =
      spcc_pool_open(&(spcc_pool_options){sizeof(spcc_pool_options), threads, .crowd = 1});
  ck_assert_ptr_nonnull(pool);
  ck_assert_uint_eq(spcc_pool_exec(pool)->threads, threads);
  return pool;
}

START_TEST(every_index_runs_exactly_once) {
  static const uint32_t threads[] = {1, 2, 3, 4, 8, 17};
  static const uint32_t tasks[] = {0, 1, 2, 3, 4, 7, 8, 16, 17};
  for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
    spcc_pool *pool = crowded_pool(threads[t]);
    const spcc_exec *exec = spcc_pool_exec(pool);
    ck_assert_uint_eq(exec->size, sizeof *exec);
    for (size_t n = 0; n < sizeof tasks / sizeof tasks[0]; n++) {
      counts c = {.value = 1};
      for (int round = 0; round < 20; round++)
        exec->parallel_for(exec, tasks[n], count_task, &c);
      check_counts(&c, tasks[n], 20);
    }
    spcc_pool_free(pool);
  }
}
END_TEST

START_TEST(more_tasks_than_threads_still_run_once) {
  spcc_pool *pool = crowded_pool(3);
  const spcc_exec *exec = spcc_pool_exec(pool);
  counts c = {.value = 1};
  exec->parallel_for(exec, MAX_TASKS, count_task, &c);
  check_counts(&c, MAX_TASKS, 1);
  spcc_pool_free(pool);
}
END_TEST

/* Each phase reads what all tasks of the phase before wrote. */
typedef struct phases {
  uint64_t from[8], to[8];
} phases;

static void phase_task(void *arg, uint32_t i) {
  phases *p = arg;
  uint64_t sum = i;
  for (int k = 0; k < 8; k++)
    sum += p->from[k];
  p->to[i] = sum % 1000003;
}

static void run_phases(const spcc_exec *exec, phases *p) {
  for (int round = 0; round < 500; round++) {
    exec->parallel_for(exec, 8, phase_task, p);
    memcpy(p->from, p->to, sizeof p->from);
  }
}

START_TEST(results_of_a_phase_are_visible_in_the_next) {
  spcc_pool *one = crowded_pool(1), *eight = crowded_pool(8);
  phases expected = {.from = {1}}, got = {.from = {1}};
  run_phases(spcc_pool_exec(one), &expected);
  run_phases(spcc_pool_exec(eight), &got);
  ck_assert_mem_eq(&expected, &got, sizeof got);
  spcc_pool_free(one);
  spcc_pool_free(eight);
}
END_TEST

START_TEST(workers_wake_up_from_sleep) {
  spcc_pool *pool = crowded_pool(4);
  const spcc_exec *exec = spcc_pool_exec(pool);
  counts c = {.value = 1};
  for (int round = 0; round < 20; round++) {
    usleep(2000); /* longer than workers spin, as a rule; right either way */
    exec->parallel_for(exec, 4, count_task, &c);
  }
  check_counts(&c, 4, 20);
  spcc_pool_free(pool);
}
END_TEST

static void *concurrent_caller(void *arg) {
  const spcc_exec *exec = arg;
  counts c = {.value = 1};
  for (int round = 0; round < 300; round++)
    exec->parallel_for(exec, 4, count_task, &c);
  for (uint32_t i = 0; i < MAX_TASKS; i++)
    if (c.seen[i] != (i < 4 ? 300u : 0u)) return (void *)1;
  return NULL;
}

START_TEST(concurrent_callers_all_get_their_work_done) {
  spcc_pool *pool = crowded_pool(4);
  pthread_t callers[6];
  for (int i = 0; i < 6; i++)
    ck_assert_int_eq(pthread_create(&callers[i], NULL, concurrent_caller,
                                    (void *)(uintptr_t)spcc_pool_exec(pool)),
                     0);
  for (int i = 0; i < 6; i++) {
    void *failed;
    pthread_join(callers[i], &failed);
    ck_assert_ptr_null(failed);
  }
  spcc_pool_free(pool);
}
END_TEST

typedef struct nested {
  const spcc_exec *exec;
  counts inner[4];
} nested;

static void nested_task(void *arg, uint32_t i) {
  nested *n = arg;
  n->exec->parallel_for(n->exec, 4, count_task, &n->inner[i]);
}

START_TEST(nested_use_runs_on_the_calling_thread) {
  spcc_pool *pool = crowded_pool(4);
  nested n = {.exec = spcc_pool_exec(pool)};
  for (int i = 0; i < 4; i++)
    n.inner[i].value = 1;
  n.exec->parallel_for(n.exec, 4, nested_task, &n);
  for (int i = 0; i < 4; i++)
    check_counts(&n.inner[i], 4, 1);
  spcc_pool_free(pool);
}
END_TEST

START_TEST(pools_come_and_go) {
  for (int round = 0; round < 100; round++) {
    spcc_pool *pool = crowded_pool(3);
    if (round % 2) {
      counts c = {.value = 1};
      spcc_pool_exec(pool)->parallel_for(spcc_pool_exec(pool), 3, count_task, &c);
      check_counts(&c, 3, 1);
    }
    spcc_pool_free(pool);
  }
  spcc_pool_free(NULL);
}
END_TEST

static uint32_t cpus_allowed(cpu_set_t *set) {
  ck_assert_int_eq(sched_getaffinity(0, sizeof *set, set), 0);
  return (uint32_t)CPU_COUNT(set);
}

/* Threads over the number of CPUs would only wait for each other. */
START_TEST(a_pool_has_no_more_threads_than_cpus) {
  cpu_set_t all, one;
  uint32_t count = cpus_allowed(&all);
  ck_assert_uint_eq(spcc_usable_cpus(), count);
  for (uint32_t threads = 0; threads <= 64; threads++) {
    spcc_pool *pool = spcc_pool_new(threads);
    ck_assert_ptr_nonnull(pool);
    uint32_t wanted = threads == 0 || threads > count ? count : threads;
    ck_assert_uint_eq(spcc_pool_exec(pool)->threads, wanted);
    spcc_pool_free(pool);
  }
  CPU_ZERO(&one);
  for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
    if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
  ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
  ck_assert_uint_eq(spcc_usable_cpus(), 1);
  spcc_pool *alone = spcc_pool_new(7);
  ck_assert_uint_eq(spcc_pool_exec(alone)->threads, 1);
  spcc_pool_free(alone);
  ck_assert_int_eq(sched_setaffinity(0, sizeof all, &all), 0);
}
END_TEST

/* The n-th task of a job waits for the others, so that each thread runs one. */
typedef struct meeting {
  atomic_uint there;
  uint32_t threads;
  cpu_set_t may_use[64];
} meeting;

static void meet(void *arg, uint32_t i) {
  meeting *m = arg;
  pthread_getaffinity_np(pthread_self(), sizeof m->may_use[i], &m->may_use[i]);
  atomic_fetch_add(&m->there, 1);
  while (atomic_load(&m->there) < m->threads)
    sched_yield();
}

START_TEST(pinned_workers_stay_apart) {
  cpu_set_t all;
  uint32_t threads = cpus_allowed(&all);
  if (threads > 64) threads = 64;
  spcc_pool_options o = {.size = sizeof o, .threads = threads, .pin = 1};
  spcc_pool *pool = spcc_pool_open(&o);
  ck_assert_ptr_nonnull(pool);
  meeting m = {.threads = threads};
  const spcc_exec *exec = spcc_pool_exec(pool);
  exec->parallel_for(exec, threads, meet, &m);
  ck_assert(CPU_EQUAL(&m.may_use[0], &all)); /* the caller's */
  cpu_set_t seen;
  CPU_ZERO(&seen);
  for (uint32_t i = 1; i < threads; i++) {
    ck_assert_int_eq(CPU_COUNT(&m.may_use[i]), 1);
    CPU_OR(&seen, &seen, &m.may_use[i]);
  }
  ck_assert_uint_eq((uint32_t)CPU_COUNT(&seen), threads - 1);
  spcc_pool_free(pool);
}
END_TEST

START_TEST(pool_options) {
  ck_assert_ptr_null(spcc_pool_open(NULL));
  ck_assert_ptr_null(spcc_pool_open(&(spcc_pool_options){.threads = 2})); /* without size */
  /* A caller that knows the first two fields alone; what follows in its memory is not read. */
  spcc_pool_options old = {.size = 8, .threads = 4097, .pin = 1, .crowd = 1};
  ck_assert_ptr_null(spcc_pool_open(&old));
  old.threads = 4096;
  spcc_pool *pool = spcc_pool_open(&old);
  ck_assert_ptr_nonnull(pool);
  cpu_set_t all;
  uint32_t count = cpus_allowed(&all);
  ck_assert_uint_eq(spcc_pool_exec(pool)->threads, count < 4096 ? count : 4096);
  spcc_pool_free(pool);
  /* Crowded and pinned: round and round the CPUs. */
  spcc_pool_options both = {.size = sizeof both, .threads = 5, .pin = 1, .crowd = 1};
  pool = spcc_pool_open(&both);
  counts c = {.value = 1};
  spcc_pool_exec(pool)->parallel_for(spcc_pool_exec(pool), 5, count_task, &c);
  check_counts(&c, 5, 1);
  spcc_pool_free(pool);
}
END_TEST

START_TEST(pool_sizes) {
  spcc_pool *pool = spcc_pool_new(0);
  ck_assert_ptr_nonnull(pool);
  ck_assert_uint_ge(spcc_pool_exec(pool)->threads, 1);
  ck_assert_uint_le(spcc_pool_exec(pool)->threads, (uint32_t)sysconf(_SC_NPROCESSORS_CONF));
  spcc_pool_free(pool);
  ck_assert_ptr_null(spcc_pool_new(UINT32_MAX));
}
END_TEST

/* ---- CPU ---- */

START_TEST(cpu_level_follows_the_features) {
  bool v3 = true, v4 = true, any = false;
  spcc_cpu_feature f;
  for (uint32_t i = 0; spcc_cpu_feature_at(i, &f); i++) {
    any = true;
    ck_assert_ptr_nonnull(f.name);
    if (f.level && f.level <= 3) v3 = v3 && f.present;
    if (f.level && f.level <= 4) v4 = v4 && f.present;
  }
  uint32_t level = spcc_cpu();
  ck_assert_uint_eq(level, spcc_cpu());
  if (level >= SPCC_CPU_X86_64_V3) ck_assert(any && v3);
  if (level >= SPCC_CPU_X86_64_V4) ck_assert(any && v4);
#if defined(__x86_64__)
  ck_assert_int_eq(level >= SPCC_CPU_X86_64_V3, __builtin_cpu_supports("x86-64-v3") != 0);
  ck_assert_int_eq(level >= SPCC_CPU_X86_64_V4, __builtin_cpu_supports("x86-64-v4") != 0);
#endif
}
END_TEST

START_TEST(cpu_names) {
  ck_assert_str_eq(spcc_cpu_name(SPCC_CPU_BASELINE), "baseline");
  ck_assert_str_eq(spcc_cpu_name(SPCC_CPU_X86_64_V3), "x86-64-v3");
  ck_assert_str_eq(spcc_cpu_name(SPCC_CPU_X86_64_V4), "x86-64-v4");
  ck_assert_str_eq(spcc_cpu_name(SPCC_CPU_UNKNOWN), "unknown");
  ck_assert_str_eq(spcc_cpu_name(99), "unknown");
}
END_TEST

/* ---- the rest ---- */

START_TEST(every_status_has_its_own_text) {
  for (int i = 0; i < SPCC_STATUS_COUNT; i++) {
    ck_assert_str_ne(spcc_status_text((spcc_status)i), "unknown status");
    for (int k = 0; k < i; k++)
      ck_assert_str_ne(spcc_status_text((spcc_status)i), spcc_status_text((spcc_status)k));
  }
  ck_assert_str_eq(spcc_status_text(SPCC_STATUS_COUNT), "unknown status");
  ck_assert_str_eq(spcc_status_text((spcc_status)-1), "unknown status");
}
END_TEST

START_TEST(memory_is_aligned) {
  static const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    unsigned char *p = spcc_alloc(sizes[i]);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % 64, 0);
    memset(p, 1, sizes[i]);
    spcc_free(p);
  }
  ck_assert_ptr_null(spcc_alloc(SIZE_MAX));
}
END_TEST

START_TEST(weights_are_mapped) {
  char path[] = "/tmp/spcc-test-weights-XXXXXX";
  int fd = mkstemp(path);
  ck_assert_int_ge(fd, 0);
  size_t bytes = 77;
  ck_assert_ptr_null(spcc_map_weights(path, &bytes)); /* empty */
  ck_assert_uint_eq(bytes, 77);
  ck_assert_int_eq(write(fd, "weights", 7), 7);
  close(fd);
  const char *at = spcc_map_weights(path, &bytes);
  unlink(path);
  ck_assert_ptr_nonnull(at);
  ck_assert_uint_eq(bytes, 7);
  ck_assert_mem_eq(at, "weights", 7);
  spcc_unmap_weights(at, bytes);
  spcc_unmap_weights(NULL, 0);
  ck_assert_ptr_null(spcc_map_weights(path, &bytes)); /* gone */
  ck_assert_ptr_null(spcc_map_weights("/tmp", &bytes));
  ck_assert_ptr_null(spcc_map_weights("/dev/zero", &bytes));
  ck_assert_ptr_null(spcc_map_weights(NULL, &bytes));
  ck_assert_int_eq(mkfifo(path, 0600), 0);
  ck_assert_ptr_null(spcc_map_weights(path, &bytes)); /* and does not block */
  unlink(path);
}
END_TEST

START_TEST(profile_counts_steps) {
  spcc_info info = {.size = sizeof info, .abi = SPCC_ABI, .step_count = 2};
  spcc_pool *pool = crowded_pool(2);
  for (int with_pool = 0; with_pool < 2; with_pool++) {
    spcc_profile *p = spcc_profile_new(&info, with_pool ? spcc_pool_exec(pool) : NULL);
    ck_assert_ptr_nonnull(p);
    const spcc_exec *exec = spcc_profile_exec(p);
    ck_assert_uint_eq(exec->threads, with_pool ? 2 : 1);
    counts c = {.value = 1};
    for (int round = 0; round < 3; round++) {
      exec->hook(exec, 1, 1);
      exec->parallel_for(exec, exec->threads, count_task, &c);
      usleep(100);
      exec->hook(exec, 1, 0);
    }
    exec->hook(exec, 2, 1); /* past the last step: ignored */
    exec->hook(exec, 2, 0);
    check_counts(&c, exec->threads, 3);
    uint64_t ns, calls;
    spcc_profile_step(p, 0, &ns, &calls);
    ck_assert_uint_eq(ns, 0);
    ck_assert_uint_eq(calls, 0);
    spcc_profile_step(p, 1, &ns, &calls);
    ck_assert_uint_ge(ns, 3 * 100000);
    ck_assert_uint_eq(calls, 3);
    spcc_profile_step(p, 2, &ns, &calls);
    ck_assert_uint_eq(calls, 0);
    spcc_profile_free(p);
  }
  ck_assert_ptr_null(spcc_profile_new(NULL, NULL));
  spcc_pool_free(pool);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("runtime");
  TCase *pool = untimed_case("pool");
  tcase_add_test(pool, every_index_runs_exactly_once);
  tcase_add_test(pool, more_tasks_than_threads_still_run_once);
  tcase_add_test(pool, results_of_a_phase_are_visible_in_the_next);
  tcase_add_test(pool, workers_wake_up_from_sleep);
  tcase_add_test(pool, concurrent_callers_all_get_their_work_done);
  tcase_add_test(pool, nested_use_runs_on_the_calling_thread);
  tcase_add_test(pool, pools_come_and_go);
  tcase_add_test(pool, a_pool_has_no_more_threads_than_cpus);
  tcase_add_test(pool, pinned_workers_stay_apart);
  tcase_add_test(pool, pool_options);
  tcase_add_test(pool, pool_sizes);
  suite_add_tcase(suite, pool);
  TCase *rest = untimed_case("rest");
  tcase_add_test(rest, cpu_level_follows_the_features);
  tcase_add_test(rest, cpu_names);
  tcase_add_test(rest, every_status_has_its_own_text);
  tcase_add_test(rest, memory_is_aligned);
  tcase_add_test(rest, weights_are_mapped);
  tcase_add_test(rest, profile_counts_steps);
  suite_add_tcase(suite, rest);
  return run_suite(suite);
}
