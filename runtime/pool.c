/* The thread pool. Every worker has a slot of its own, one word in a cache line of its own, on
 * which it first spins and then sleeps. A job opens the slots of the workers that it needs; whoever
 * turns an open slot back to idle has claimed that share of the job: its worker as a rule, or the
 * caller, when it has done its own share and the worker has not even begun. So a worker that the
 * system has not scheduled delays nothing, and the same worker gets the same share of every job,
 * whose data are then in its cache. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/cpu.h"
#include "runtime/spcc_rt.h"

enum { CACHE_LINE = 64, MAX_THREADS = 4096, SPIN_NS = 50000, PAUSES = 32, YIELDS = 8 };

enum slot_state { SLOT_IDLE, SLOT_OPEN, SLOT_ASLEEP };

typedef struct slot {
  alignas(CACHE_LINE) atomic_uint state;
  struct spcc_pool *pool;
  uint32_t index; /* of its share; the caller's is 0 */
  pthread_t thread;
} slot;

struct spcc_pool {
  spcc_exec exec;
  slot *slots; /* one per worker: slots[i] has share i + 1 */
  uint32_t workers;
  bool spin; /* there is a CPU for every thread */
  atomic_flag busy;
  /* The job; written while all slots are idle or asleep, read by those who claimed a share. */
  void (*task)(void *arg, uint32_t i);
  void *arg;
  uint32_t n;
  bool stop;
  alignas(CACHE_LINE) atomic_uint unfinished; /* shares that are not done */
  atomic_bool caller_sleeps;
};

static void futex_wait(atomic_uint *word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void pause_cpu(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Waits a while for `word` to become `wanted`: spinning where every thread has a CPU, else giving
 * the CPU to those who work. False when it did not. */
static bool wait_awake(const spcc_pool *pool, atomic_uint *word, uint32_t wanted) {
  if (!pool->spin) {
    for (int i = 0; i < YIELDS; i++) {
      if (atomic_load_explicit(word, memory_order_acquire) == wanted) return true;
      sched_yield();
    }
    return false;
  }
  uint64_t end = now_ns() + SPIN_NS;
  do {
    for (int i = 0; i < PAUSES; i++) {
      if (atomic_load_explicit(word, memory_order_acquire) == wanted) return true;
      pause_cpu();
    }
  } while (now_ns() < end);
  return false;
}

static bool claim(slot *s) {
  unsigned open = SLOT_OPEN;
  return atomic_compare_exchange_strong_explicit(&s->state, &open, SLOT_IDLE, memory_order_acquire,
                                                 memory_order_relaxed);
}

static void slot_open(slot *s) {
  if (atomic_exchange_explicit(&s->state, SLOT_OPEN, memory_order_acq_rel) == SLOT_ASLEEP)
    futex_wake(&s->state);
}

/* Sleeps until the slot is open (or spuriously; the worker then just begins to wait anew). */
static void slot_sleep(slot *s) {
  unsigned idle = SLOT_IDLE;
  if (!atomic_compare_exchange_strong_explicit(&s->state, &idle, SLOT_ASLEEP, memory_order_acq_rel,
                                               memory_order_relaxed))
    return;
  futex_wait(&s->state, SLOT_ASLEEP);
  unsigned asleep = SLOT_ASLEEP;
  atomic_compare_exchange_strong_explicit(&s->state, &asleep, SLOT_IDLE, memory_order_acq_rel,
                                          memory_order_relaxed);
}

/* Share `index`: the tasks index, index + threads, … of which there is one in a job that keeps
 * within the number of threads. */
static void run_share(const spcc_pool *pool, uint32_t index) {
  for (uint64_t i = index; i < pool->n; i += pool->exec.threads)
    pool->task(pool->arg, (uint32_t)i);
}

static void share_done(spcc_pool *pool) {
  if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_sleeps))
    futex_wake(&pool->unfinished);
}

static void *work(void *argument) {
  slot *s = argument;
  spcc_pool *pool = s->pool;
  for (;;) {
    if (!wait_awake(pool, &s->state, SLOT_OPEN)) slot_sleep(s);
    if (!claim(s)) continue;
    if (pool->stop) return NULL;
    run_share(pool, s->index);
    share_done(pool);
  }
}

static void wait_finished(spcc_pool *pool) {
  if (wait_awake(pool, &pool->unfinished, 0)) return;
  atomic_store(&pool->caller_sleeps, true);
  for (uint32_t left; (left = atomic_load(&pool->unfinished)) != 0;)
    futex_wait(&pool->unfinished, left);
  atomic_store(&pool->caller_sleeps, false);
}

static void run_serially(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg) {
  for (uint32_t i = 0; i < n; i++)
    task(arg, i);
}

static void parallel_for(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                         void *arg) {
  spcc_pool *pool = exec->context;
  if (n <= 1 || pool->workers == 0 ||
      atomic_flag_test_and_set_explicit(&pool->busy, memory_order_acquire)) {
    run_serially(n, task, arg);
    return;
  }
  uint32_t helpers = n - 1 < pool->workers ? n - 1 : pool->workers;
  pool->task = task;
  pool->arg = arg;
  pool->n = n;
  atomic_store_explicit(&pool->unfinished, helpers, memory_order_relaxed);
  for (uint32_t i = 0; i < helpers; i++)
    slot_open(&pool->slots[i]);
  run_share(pool, 0);
  for (uint32_t i = 0; i < helpers; i++) {
    if (!claim(&pool->slots[i])) continue;
    run_share(pool, pool->slots[i].index);
    share_done(pool);
  }
  wait_finished(pool);
  atomic_flag_clear_explicit(&pool->busy, memory_order_release);
}

/* The CPUs that the process may use; none listed where there are more than a cpu_set_t holds. */
typedef struct cpus {
  cpu_set_t set;
  uint32_t listed, count;
} cpus;

static cpus usable_cpus(void) {
  cpus c = {.count = 1};
  if (sched_getaffinity(0, sizeof c.set, &c.set) == 0) {
    c.listed = c.count = (uint32_t)CPU_COUNT(&c.set);
    return c;
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  if (online > 0) c.count = (uint32_t)online;
  return c;
}

uint32_t spcc_usable_cpus(void) {
  return usable_cpus().count;
}

/* The set of the n-th listed CPU alone, counted round and round. */
static cpu_set_t one_cpu(const cpus *c, uint32_t n) {
  cpu_set_t one;
  CPU_ZERO(&one);
  n %= c->listed;
  for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &c->set) && n-- == 0) {
      CPU_SET(cpu, &one);
      break;
    }
  return one;
}

static void stop_workers(spcc_pool *pool, uint32_t started) {
  pool->stop = true;
  for (uint32_t i = 0; i < started; i++)
    slot_open(&pool->slots[i]);
  for (uint32_t i = 0; i < started; i++)
    pthread_join(pool->slots[i].thread, NULL);
}

static int start_worker(slot *s, const cpus *pin_to) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return -1;
  int failed = 0;
  if (pin_to) {
    cpu_set_t one = one_cpu(pin_to, s->index);
    failed = pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
  }
  if (!failed) failed = pthread_create(&s->thread, &attributes, work, s);
  pthread_attr_destroy(&attributes);
  return failed;
}

/* Workers take no signals: the program's handlers run on its own threads. */
static uint32_t start_workers(spcc_pool *pool, const cpus *pin_to) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  uint32_t i = 0;
  for (; i < pool->workers; i++) {
    slot *s = &pool->slots[i];
    s->pool = pool;
    s->index = i + 1;
    atomic_init(&s->state, SLOT_IDLE);
    if (start_worker(s, pin_to) != 0) break;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return i;
}

static spcc_pool *pool_alloc(uint32_t threads, bool spin) {
  spcc_pool *pool = spcc_alloc(sizeof *pool);
  if (!pool) return NULL;
  *pool = (spcc_pool){.workers = threads - 1, .spin = spin};
  pool->exec = (spcc_exec){
      .size = sizeof pool->exec, .threads = threads, .parallel_for = parallel_for, .context = pool};
  atomic_flag_clear(&pool->busy);
  atomic_init(&pool->unfinished, 0);
  atomic_init(&pool->caller_sleeps, false);
  pool->slots = spcc_alloc(pool->workers * sizeof(slot));
  if (pool->slots) return pool;
  spcc_free(pool);
  return NULL;
}

spcc_pool *spcc_pool_open(const spcc_pool_options *options) {
  spcc_pool_options o = {0};
  if (!options || options->size < sizeof o.size) return NULL;
  memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  cpus c = usable_cpus();
  if (o.threads > MAX_THREADS || (o.pin && c.listed == 0)) return NULL;
  if (o.threads == 0 || (o.threads > c.count && !o.crowd)) o.threads = c.count;
  spcc_pool *pool = pool_alloc(o.threads, o.threads <= c.count);
  if (!pool) return NULL;
  uint32_t started = start_workers(pool, o.pin ? &c : NULL);
  if (started == pool->workers) return pool;
  stop_workers(pool, started);
  spcc_free(pool->slots);
  spcc_free(pool);
  return NULL;
}

spcc_pool *spcc_pool_new(uint32_t threads) {
  return spcc_pool_open(
      &(spcc_pool_options){.size = sizeof(spcc_pool_options), .threads = threads});
}

void spcc_pool_free(spcc_pool *pool) {
  if (!pool) return;
  stop_workers(pool, pool->workers);
  spcc_free(pool->slots);
  spcc_free(pool);
}

const spcc_exec *spcc_pool_exec(spcc_pool *pool) {
  return &pool->exec;
}
