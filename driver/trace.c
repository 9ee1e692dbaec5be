#include "driver/trace.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESS = 1, STEPS_LANE = 0 };

const char *step_kind_name(uint32_t kind) {
  static const char *const names[] = {
      [SPCC_STEP_LINEAR] = "linear",       [SPCC_STEP_ATTENTION] = "attention",
      [SPCC_STEP_LAYERNORM] = "layernorm", [SPCC_STEP_EMBEDDING] = "embedding",
      [SPCC_STEP_POINTWISE] = "pointwise", [SPCC_STEP_BORDER] = "border"};
  return kind > 0 && kind < sizeof names / sizeof names[0] ? names[kind] : "other";
}

typedef struct trace {
  json_t *events;
  const recording *call;
  const spcc_info *info;
  pthread_t *threads; /* in the order of their first task: lane 1 and up */
  uint32_t thread_count;
  bool failed; /* an event could not be made */
} trace;

static double microseconds(double seconds) {
  return 1e6 * seconds;
}

static void add(trace *t, json_t *event) {
  if (json_array_append_new(t->events, event) != 0) t->failed = true;
}

/* A span of step `step`; times count from the call's begin. */
static void add_span(trace *t, uint32_t lane, uint32_t step, span s) {
  const char *kind = step_kind_name(t->info->step_work[step].kind);
  add(t, json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i}", "name", t->info->steps[step], "cat", kind,
                   "ph", "X", "ts", microseconds(s.begin - t->call->call.begin), "dur",
                   microseconds(s.end - s.begin), "pid", PROCESS, "tid", (int)lane));
}

/* Metadata: what the viewer calls a process or a lane. */
static void add_name(trace *t, const char *what, uint32_t lane, const char *name) {
  add(t, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", what, "ph", "M", "pid", PROCESS, "tid",
                   (int)lane, "args", "name", name));
}

static uint32_t lane_of(trace *t, arena *a, pthread_t thread) {
  for (uint32_t i = 0; i < t->thread_count; i++)
    if (pthread_equal(t->threads[i], thread)) return i + 1;
  t->threads[t->thread_count++] = thread;
  add_name(t, "thread_name", t->thread_count, arena_printf(a, "thread %u", t->thread_count - 1));
  return t->thread_count;
}

static void add_tasks(trace *t, arena *a, uint32_t threads, const step_run *run) {
  for (uint32_t i = 0; i < threads; i++) {
    const task_span *s = &run->tasks[i];
    if (s->time.end > 0) add_span(t, lane_of(t, a, s->thread), run->step, s->time);
  }
}

bool trace_format(driver *dr, const recorder *r, const recording *call, const spcc_info *info,
                  bytes *out) {
  trace t = {.events = json_array(),
             .call = call,
             .info = info,
             .threads = arena_array(dr->arena, pthread_t, (size_t)r->threads + 1)};
  add_name(&t, "process_name", STEPS_LANE, info->name);
  add_name(&t, "thread_name", STEPS_LANE, "steps");
  for (uint32_t i = 0; i < call->count; i++) {
    add_span(&t, STEPS_LANE, call->runs[i].step, call->runs[i].time);
    add_tasks(&t, dr->arena, r->threads, &call->runs[i]);
  }
  json_t *all = json_pack("{s:o, s:s}", "traceEvents", t.events, "displayTimeUnit", "ms");
  char *text = all && !t.failed ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
  json_decref(all);
  if (!text) return diag_error(dr->diag, loc_file(NULL), E_WRITE, "cannot write JSON");
  *out = (bytes){(unsigned char *)arena_strdup(dr->arena, text), strlen(text)};
  free(text);
  return true;
}
