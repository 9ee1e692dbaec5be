/* When each step of a call began and ended, and each thread's share of it. */
#ifndef SPCC_DRIVER_RECORDER_H
#define SPCC_DRIVER_RECORDER_H

#include <pthread.h>

#include "driver/driver.h"
#include "runtime/spcc_rt.h"

/* In seconds_now()'s time. */
typedef struct span {
  double begin, end;
} span;

typedef struct task_span {
  span time; /* end 0: there was no such task */
  pthread_t thread;
} task_span;

/* A step runs once for each group of sequences (docs/threads.md). */
typedef struct step_run {
  uint32_t step;
  span time;
  task_span *tasks; /* `threads` of them; none of a step that ran on one thread */
} step_run;

/* One call. */
typedef struct recording {
  span call;
  step_run *runs; /* in the order in which they began */
  uint32_t count, capacity;
} recording;

typedef struct recorder {
  spcc_exec exec; /* for spcc_call: wraps `inner` */
  const spcc_exec *inner;
  uint32_t threads;
  arena *arena;
  recording now; /* the last call */
} recorder;

/* A recorder for calls on `inner`, or on the calling thread alone when that is NULL. */
recorder *recorder_new(arena *a, const spcc_exec *inner);
/* Around each call, the first as well. */
void recorder_begin(recorder *r);
void recorder_end(recorder *r);

#endif
