#include "driver/recorder.h"

#include <string.h>

typedef struct job {
  task_span *spans;
  void (*task)(void *arg, uint32_t i);
  void *arg;
} job;

static void run_task(void *arg, uint32_t i) {
  const job *j = arg;
  double begin = seconds_now();
  j->task(j->arg, i);
  j->spans[i] = (task_span){{begin, seconds_now()}, pthread_self()};
}

static void forward(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                    void *arg) {
  const recorder *r = exec->context;
  job j = {r->now.tasks + (size_t)r->step * r->threads, task, arg};
  if (r->inner)
    r->inner->parallel_for(r->inner, n, run_task, &j);
  else
    for (uint32_t i = 0; i < n; i++)
      run_task(&j, i);
}

static void note_step(const spcc_exec *exec, uint32_t step, uint32_t enter) {
  recorder *r = exec->context;
  r->step = step;
  if (enter)
    r->now.steps[step].begin = seconds_now();
  else
    r->now.steps[step].end = seconds_now();
}

recording recording_new(arena *a, const recorder *r) {
  return (recording){.steps = arena_array(a, span, (size_t)r->steps + 1),
                     .tasks = arena_array(a, task_span, (size_t)r->steps * r->threads + 1)};
}

recorder *recorder_new(arena *a, const spcc_info *info, const spcc_exec *inner) {
  recorder *r = arena_new_one(a, recorder);
  *r = (recorder){.inner = inner, .steps = info->step_count, .threads = inner ? inner->threads : 1};
  r->now = recording_new(a, r);
  r->exec = (spcc_exec){.size = sizeof r->exec,
                        .threads = r->threads,
                        .parallel_for = forward,
                        .context = r,
                        .hook = note_step};
  return r;
}

void recorder_begin(recorder *r) {
  memset(r->now.tasks, 0, (size_t)r->steps * r->threads * sizeof *r->now.tasks);
  r->now.call.begin = seconds_now();
}

void recorder_end(recorder *r) {
  r->now.call.end = seconds_now();
}
