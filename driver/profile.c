/* spcc profile model.yaml|model.so: how long each step takes, and how near it is to the rate of
 * multiply-adds that a probe reaches on the same threads between the calls. */
#include <stdio.h>
#include <string.h>

#include "driver/engine.h"
#include "driver/fma_probe.h"
#include "driver/json_line.h"
#include "driver/output.h"
#include "driver/stats.h"
#include "driver/trace.h"
#include "support/text.h"

enum { KINDS = SPCC_STEP_BORDER + 1, MAX_CALLS = 100000, MAX_PROBES = 10000 };
/* Calls go on for this long between two probes, each of this length. */
static const double CHUNK_SECONDS = 0.05, PROBE_SECONDS = 0.002;

/* A step, all steps of a kind, all linears … */
typedef struct row {
  double ms, macs, dense_macs;
} row;

typedef struct profile {
  bench_case shared;
  engine engine;
  session *session;
  const spcc_info *info;
  recorder *recorder;
  recording fastest;
  uint32_t level;
  double *ms; /* per call: each step's, then the call's */
  size_t calls, capacity;
  double probes[MAX_PROBES]; /* GFLOP/s */
  size_t probe_count;
  double peak; /* their median */
  row *steps;
  row outside; /* checks, prologue, and what lies between steps */
  row kinds[KINDS], linears, rest, call;
  double median_call; /* milliseconds */
} profile;

/* ---- measuring ---- */

static double milliseconds(span s) {
  return 1e3 * (s.end - s.begin);
}

static double *call_times(const profile *p, size_t call) {
  return p->ms + call * ((size_t)p->info->step_count + 1);
}

static double *new_times(profile *p) {
  if (p->calls == p->capacity) {
    size_t wider = 2 * p->capacity + 64, width = (size_t)p->info->step_count + 1;
    p->ms = arena_grow(p->shared.dr->arena, p->ms, p->calls * width, wider * width, sizeof(double),
                       _Alignof(double));
    p->capacity = wider;
  }
  return call_times(p, p->calls++);
}

static bool run_once(profile *p) {
  recorder *r = p->recorder;
  recorder_begin(r);
  if (!session_run(p->shared.dr, p->session)) return false;
  recorder_end(r);
  double *ms = new_times(p);
  uint32_t steps = p->info->step_count;
  memset(ms, 0, steps * sizeof *ms);
  for (uint32_t i = 0; i < r->now.count; i++)
    ms[r->now.runs[i].step] += milliseconds(r->now.runs[i].time);
  ms[steps] = milliseconds(r->now.call);
  if (p->calls > 1 && ms[steps] >= milliseconds(p->fastest.call)) return true;
  recording keep = r->now;
  r->now = p->fastest;
  p->fastest = keep;
  return true;
}

static bool warm_up(profile *p) {
  int64_t runs = flag_int(p->shared.dr, F_WARMUP, 3);
  for (int64_t i = 0; i < runs; i++) {
    recorder_begin(p->recorder);
    if (!session_run(p->shared.dr, p->session)) return false;
  }
  return true;
}

static bool measure(profile *p) {
  driver *dr = p->shared.dr;
  const spcc_exec *exec = p->recorder->inner;
  if (!warm_up(p)) return false;
  double seconds = flag_number(dr, F_SECONDS, 5), start = seconds_now();
  do {
    status_line(dr, "measuring … %.0f of %.0f s", seconds_now() - start, seconds);
    if (p->probe_count < MAX_PROBES)
      p->probes[p->probe_count++] = fma_probe(exec, p->level, PROBE_SECONDS);
    double chunk = seconds_now();
    do {
      if (!run_once(p)) return false;
    } while (seconds_now() - chunk < CHUNK_SECONDS && p->calls < MAX_CALLS);
  } while (seconds_now() - start < seconds && p->calls < MAX_CALLS);
  status_line(dr, "%s", "");
  return true;
}

/* ---- summing up ---- */

/* Multiply-adds of a step: with every input left out that may be, all tokens are computed. */
static row work_of(const profile *p, uint32_t step) {
  const spcc_step *s = &p->info->step_work[step];
  double batch = p->shared.inputs.batch, sequence = p->shared.inputs.sequence;
  double rows = s->per_sequence ? batch : batch * sequence;
  double attention = (double)s->macs_per_key * sequence;
  return (row){.macs = rows * ((double)s->macs + attention),
               .dense_macs = rows * ((double)s->dense_macs + attention)};
}

static void add(row *sum, row r) {
  sum->ms += r.ms;
  sum->macs += r.macs;
  sum->dense_macs += r.dense_macs;
}

/* Medians step by step, so that what interrupts one step of a call does not spoil the others'. The
 * sums are sums of them. */
static void sum_up(profile *p) {
  arena *a = p->shared.dr->arena;
  uint32_t steps = p->info->step_count;
  double *column = arena_array(a, double, p->calls);
  double *outside = arena_array(a, double, p->calls);
  for (size_t c = 0; c < p->calls; c++)
    outside[c] = call_times(p, c)[steps];
  p->steps = arena_array(a, row, (size_t)steps + 1);
  for (uint32_t i = 0; i < steps; i++) {
    for (size_t c = 0; c < p->calls; c++) {
      column[c] = call_times(p, c)[i];
      outside[c] -= column[c];
    }
    uint32_t kind = p->info->step_work[i].kind;
    p->steps[i] = work_of(p, i);
    p->steps[i].ms = stats_median(column, p->calls);
    if (kind < KINDS) add(&p->kinds[kind], p->steps[i]);
    add(kind == SPCC_STEP_LINEAR ? &p->linears : &p->rest, p->steps[i]);
  }
  p->outside.ms = stats_median(outside, p->calls);
  add(&p->rest, p->outside);
  add(&p->call, p->linears);
  add(&p->call, p->rest);
  for (size_t c = 0; c < p->calls; c++)
    column[c] = call_times(p, c)[steps];
  p->median_call = stats_median(column, p->calls);
  p->peak = stats_median(p->probes, p->probe_count);
}

static double rate(double macs, double ms) {
  return ms > 0 ? 2e-6 * macs / ms : 0;
}

static double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

/* ---- reporting ---- */

static const char *shown_name(const profile *p, uint32_t step) {
  return text_escape(p->shared.dr->arena, p->info->steps[step]);
}

static int name_width(const profile *p) {
  size_t width = strlen("everything else");
  for (uint32_t i = 0; i < p->info->step_count; i++) {
    size_t length = strlen(shown_name(p, i));
    if (length > width) width = length;
  }
  return width < 80 ? (int)width : 80;
}

/* "linear 4x1+unstructured": a step's kind and the patterns of its weight's parts. */
static const char *kind_of(const profile *p, uint32_t step) {
  const spcc_step *s = &p->info->step_work[step];
  const char *text = step_kind_name(s->kind);
  for (uint32_t i = 0; i < s->layers; i++)
    text = arena_printf(p->shared.dr->arena, "%s%c%s", text, i ? '+' : ' ',
                        p->info->layers[s->layer + i].pattern);
  return text;
}

static void print_row(const profile *p, int width, const char *name, const char *kind,
                      const row *r) {
  printf("%-*s %-22s %9.3f %6.1f%%", width, name, kind, r->ms, 100 * share(r->ms, p->call.ms));
  if (r->macs > 0)
    printf(" %9.1f %6.1f%% %9.1f", rate(r->macs, r->ms), 100 * share(rate(r->macs, r->ms), p->peak),
           rate(r->dense_macs, r->ms));
  printf("\n");
}

static void print_heading(int width, const char *what, const char *kind) {
  printf("\n%-*s %-22s %9s %7s %9s %7s %9s\n", width, what, kind, "ms", "of call", "GFLOP/s",
         "of peak", "dense-eq.");
}

static void print_table(const profile *p) {
  const bench_case *c = &p->shared;
  int width = name_width(p);
  printf("%s: batch %d, sequence %d, %u thread%s, %s; %.3f ms, median of %zu calls; FMA peak %.1f "
         "GFLOP/s\n",
         c->path, c->inputs.batch, c->inputs.sequence, c->threads, c->threads == 1 ? "" : "s",
         p->engine.isa, p->median_call, p->calls, p->peak);
  print_heading(width, "step", "kind");
  for (uint32_t i = 0; i < p->info->step_count; i++)
    print_row(p, width, shown_name(p, i), kind_of(p, i), &p->steps[i]);
  print_heading(width, "kind", "");
  for (uint32_t kind = 1; kind < KINDS; kind++)
    if (p->kinds[kind].ms > 0) print_row(p, width, step_kind_name(kind), "", &p->kinds[kind]);
  print_row(p, width, "between the steps", "", &p->outside);
  print_heading(width, "sum", "");
  print_row(p, width, "linears", "", &p->linears);
  print_row(p, width, "everything else", "", &p->rest);
  print_row(p, width, "call", "", &p->call);
}

static json_t *json_row(const profile *p, const char *name, const char *kind, const row *r) {
  double gflops = rate(r->macs, r->ms);
  return json_pack("{s:s, s:s*, s:f, s:f, s:f, s:f, s:f}", "name", name, "kind", kind, "ms", r->ms,
                   "share", share(r->ms, p->call.ms), "gflops", gflops, "peak_share",
                   share(gflops, p->peak), "dense_gflops", rate(r->dense_macs, r->ms));
}

static json_t *json_step(const profile *p, uint32_t step) {
  const spcc_step *s = &p->info->step_work[step];
  json_t *patterns = json_array();
  for (uint32_t i = 0; i < s->layers; i++)
    json_array_append_new(patterns, json_string(p->info->layers[s->layer + i].pattern));
  json_t *r = json_row(p, p->info->steps[step], step_kind_name(s->kind), &p->steps[step]);
  json_object_set_new(r, "patterns", patterns);
  return r;
}

/* Appends a row to a list; a row that could not be made leaves none: a name is not UTF-8. */
static json_t *append(json_t *list, json_t *r) {
  if (json_array_append_new(list, r) == 0) return list;
  json_decref(list);
  return NULL;
}

static bool print_json(const profile *p) {
  const bench_case *c = &p->shared;
  json_t *steps = json_array(), *kinds = json_array(), *sums = json_array();
  for (uint32_t i = 0; i < p->info->step_count; i++)
    steps = append(steps, json_step(p, i));
  for (uint32_t kind = 1; kind < KINDS; kind++)
    if (p->kinds[kind].ms > 0)
      kinds = append(kinds, json_row(p, step_kind_name(kind), NULL, &p->kinds[kind]));
  kinds = append(kinds, json_row(p, "between the steps", NULL, &p->outside));
  sums = append(sums, json_row(p, "linears", NULL, &p->linears));
  sums = append(sums, json_row(p, "everything else", NULL, &p->rest));
  sums = append(sums, json_row(p, "call", NULL, &p->call));
  return json_line(c->dr, json_pack("{s:s, s:i, s:i, s:i, s:s, s:I, s:f, s:f, s:o, s:o, s:o}",
                                    "model", p->info->name, "threads", (int)c->threads, "batch",
                                    (int)c->inputs.batch, "sequence", (int)c->inputs.sequence,
                                    "isa", p->engine.isa, "calls", (json_int_t)p->calls,
                                    "median_ms", p->median_call, "peak_gflops", p->peak, "steps",
                                    steps, "kinds", kinds, "sums", sums));
}

static bool report(profile *p, output *trace) {
  driver *dr = p->shared.dr;
  sum_up(p);
  if (trace->path && !(trace_format(dr, p->recorder, &p->fastest, p->info, &trace->data) &&
                       outputs_write(dr, trace, 1)))
    return false;
  if (flag_given(dr, F_JSON)) return print_json(p);
  print_table(p);
  return true;
}

/* ---- set-up ---- */

static bool open_engine(profile *p) {
  bench_case *c = &p->shared;
  bool ok =
      c->graph ? engine_open_compiled(c, "spcc", &p->engine) : engine_open_library(c, &p->engine);
  if (!ok) return false;
  p->session = engine_session(&p->engine);
  p->info = p->session->info;
  if (!p->info->step_work)
    return diag_error(c->dr->diag, loc_file(c->path), E_OBJECT,
                      "this object does not say what its steps compute; compile it anew");
  p->level = p->engine.level;
  p->recorder = recorder_new(c->dr->arena, p->session->call.exec);
  p->session->call.exec = &p->recorder->exec;
  return true;
}

int cmd_profile(driver *dr) {
  int code = case_check_flags(dr);
  build_options options;
  if (code != EXIT_OK || !build_options_read(dr, &options)) return code;
  profile *p = arena_new_one(dr->arena, profile);
  output trace = {.path = flag_text(dr, F_TRACE, NULL)};
  if (case_prepare(dr, &options, &p->shared) &&
      (!trace.path || outputs_check(dr, &trace, 1, p->shared.files, p->shared.file_count)) &&
      open_engine(p) && measure(p))
    report(p, &trace);
  if (p->engine.close) p->engine.close(&p->engine);
  case_close(&p->shared);
  return EXIT_OK;
}
