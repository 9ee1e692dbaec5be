/* Threads for the library's loops, and errors' texts. */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "optimizer/internal.h"

enum { THREADS_MAX = 1024 };

typedef struct threads {
  spo_pool pool; /* first: a pool of spo_pool_open is this */
  pthread_mutex_t turn, lock;
  pthread_cond_t work, done;
  pthread_t *thread;
  unsigned count, idle; /* workers; those that wait */
  uint64_t round;       /* counts the calls of run */
  bool end;
  spo_task *task;
  void *arg;
  size_t size;
  atomic_size_t next;
} threads;

spo_status spo_fail(spo_error *error, spo_status status, const char *format, ...) {
  if (!error) return status;
  va_list args;
  va_start(args, format);
  vsnprintf(error->text, sizeof error->text, format, args);
  va_end(args);
  return status;
}

void spo_run(const spo_pool *pool, spo_task *task, void *arg, size_t count) {
  if (pool && count > 1) {
    pool->run(pool->self, task, arg, count);
    return;
  }
  for (size_t i = 0; i < count; i++)
    task(arg, i);
}

static void take(threads *t) {
  for (;;) {
    size_t i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
    if (i >= t->size) return;
    t->task(t->arg, i);
  }
}

static void *work(void *arg) {
  threads *t = arg;
  uint64_t seen = 0;
  pthread_mutex_lock(&t->lock);
  for (;;) {
    if (++t->idle == t->count) pthread_cond_signal(&t->done);
    while (t->round == seen && !t->end)
      pthread_cond_wait(&t->work, &t->lock);
    if (t->end) break;
    seen = t->round;
    t->idle--;
    pthread_mutex_unlock(&t->lock);
    take(t);
    pthread_mutex_lock(&t->lock);
  }
  pthread_mutex_unlock(&t->lock);
  return NULL;
}

/* All workers wait, so that each sees the round that follows. */
static void wait_idle(threads *t) {
  while (t->idle < t->count)
    pthread_cond_wait(&t->done, &t->lock);
}

static void run(void *self, spo_task *task, void *arg, size_t count) {
  threads *t = self;
  pthread_mutex_lock(&t->turn);
  pthread_mutex_lock(&t->lock);
  wait_idle(t);
  t->task = task;
  t->arg = arg;
  t->size = count;
  atomic_store(&t->next, 0);
  t->round++;
  pthread_cond_broadcast(&t->work);
  pthread_mutex_unlock(&t->lock);
  take(t);
  pthread_mutex_lock(&t->lock);
  wait_idle(t);
  pthread_mutex_unlock(&t->lock);
  pthread_mutex_unlock(&t->turn);
}

static void end_threads(threads *t) {
  pthread_mutex_lock(&t->lock);
  t->end = true;
  pthread_cond_broadcast(&t->work);
  pthread_mutex_unlock(&t->lock);
  for (unsigned i = 0; i < t->count; i++)
    pthread_join(t->thread[i], NULL);
  pthread_cond_destroy(&t->work);
  pthread_cond_destroy(&t->done);
  pthread_mutex_destroy(&t->lock);
  pthread_mutex_destroy(&t->turn);
  free(t->thread);
  free(t);
}

/* Starts `count` workers; those that could be started are counted. */
static bool start(threads *t, unsigned count) {
  unsigned started = 0;
  pthread_mutex_lock(&t->lock);
  while (started < count && pthread_create(&t->thread[started], NULL, work, t) == 0)
    started++;
  t->count = started;
  pthread_mutex_unlock(&t->lock);
  return started == count;
}

spo_status spo_pool_open(unsigned count, spo_pool **out, spo_error *error) {
  if (count < 1 || count > THREADS_MAX)
    return spo_fail(error, SPO_E_VALUE, "a pool has 1 to %d threads, not %u", THREADS_MAX, count);
  threads *t = calloc(1, sizeof *t);
  pthread_t *thread = calloc(count, sizeof *thread); /* the caller is one of them: one is spare */
  if (!t || !thread) {
    free(t);
    free(thread);
    return spo_fail(error, SPO_E_MEMORY, "no memory for a pool of %u threads", count);
  }
  *t = (threads){.pool = {run, t}, .thread = thread};
  pthread_mutex_init(&t->turn, NULL);
  pthread_mutex_init(&t->lock, NULL);
  pthread_cond_init(&t->work, NULL);
  pthread_cond_init(&t->done, NULL);
  if (!start(t, count - 1)) {
    end_threads(t);
    return spo_fail(error, SPO_E_THREAD, "the system starts no more threads; ask for fewer than %u",
                    count);
  }
  *out = &t->pool;
  return SPO_OK;
}

void spo_pool_close(spo_pool *pool) {
  if (pool) end_threads(pool->self);
}
