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

/* One call. */
typedef struct recording {
  span call;
  span *steps;      /* one per step */
  task_span *tasks; /* per step `threads` of them; none of a step that ran on one thread */
} recording;

typedef struct recorder {
  spcc_exec exec; /* for spcc_call: wraps `inner` */
  const spcc_exec *inner;
  uint32_t steps, threads;
  uint32_t step; /* the one that runs */
  recording now; /* the last call */
} recorder;

/* A recorder for calls of `info`'s model on `inner`, or on the calling thread alone when that is
 * NULL. */
recorder *recorder_new(arena *a, const spcc_info *info, const spcc_exec *inner);
/* An empty recording of that size. */
recording recording_new(arena *a, const recorder *r);
/* Around each call. */
void recorder_begin(recorder *r);
void recorder_end(recorder *r);

#endif
