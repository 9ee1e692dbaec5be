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
  job j = {r->now.runs[r->now.count - 1].tasks, task, arg};
  if (r->inner)
    r->inner->parallel_for(r->inner, n, run_task, &j);
  else
    for (uint32_t i = 0; i < n; i++)
      run_task(&j, i);
}

/* What an earlier call left in runs[count] is taken again. */
static void begin_step(recorder *r, uint32_t step) {
  recording *now = &r->now;
  if (now->count == now->capacity) {
    uint32_t wider = 2 * now->capacity + 256;
    now->runs =
        arena_grow(r->arena, now->runs, now->count, wider, sizeof *now->runs, _Alignof(step_run));
    task_span *tasks = arena_array(r->arena, task_span, (size_t)(wider - now->count) * r->threads);
    for (uint32_t i = now->count; i < wider; i++, tasks += r->threads)
      now->runs[i].tasks = tasks;
    now->capacity = wider;
  }
  step_run *run = &now->runs[now->count++];
  run->step = step;
  memset(run->tasks, 0, r->threads * sizeof *run->tasks);
  run->time.begin = seconds_now();
}

static void note_step(const spcc_exec *exec, uint32_t step, uint32_t enter) {
  recorder *r = exec->context;
  if (enter)
    begin_step(r, step);
  else
    r->now.runs[r->now.count - 1].time.end = seconds_now();
}

recorder *recorder_new(arena *a, const spcc_exec *inner) {
  recorder *r = arena_new_one(a, recorder);
  *r = (recorder){.inner = inner, .threads = inner ? inner->threads : 1, .arena = a};
  r->exec = (spcc_exec){.size = sizeof r->exec,
                        .threads = r->threads,
                        .parallel_for = forward,
                        .context = r,
                        .hook = note_step};
  return r;
}

void recorder_begin(recorder *r) {
  r->now.count = 0;
  r->now.call.begin = seconds_now();
}

void recorder_end(recorder *r) {
  r->now.call.end = seconds_now();
}
