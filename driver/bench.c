/* spcc bench model.yaml|model.so: latencies, the engines' rounds interleaved, so that a change of
 * the machine's speed meets all of them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "driver/engine.h"
#include "driver/fma_probe.h"
#include "driver/json_line.h"
#include "driver/stats.h"
#include "frontend/suggest.h"

enum { MAX_ENGINES = 16, MAX_CHUNK = 10000, MAX_RUNS = 10000000, MAX_PROBES = 10000 };
/* How long an engine runs before it is the next one's turn. */
static const double CHUNK_SECONDS = 0.05, PROBE_SECONDS = 0.002;
/* Outputs that differ by more are reported. */
static const double LARGEST_DIFFERENCE = 1e-3;

static const char *const engine_names[] = {"spcc", "dense", "generic", "torch"};
enum { ENGINE_NAMES = sizeof engine_names / sizeof engine_names[0] };

typedef struct times {
  double *ms;
  size_t count, capacity;
  uint32_t chunk; /* runs in a round */
} times;

typedef struct latency {
  double min, mean, median, p90, p99;
} latency;

typedef struct bench {
  bench_case shared;
  engine engines[MAX_ENGINES];
  times times[MAX_ENGINES];
  latency latency[MAX_ENGINES];
  size_t count;
  double probes[MAX_PROBES]; /* GFLOP/s of one core, a sample before each round */
  size_t probe_count;
  double peak; /* their median */
} bench;

/* ---- measuring ---- */

/* Runs `n` times; the milliseconds are appended to the engine's. */
static bool run_engine(bench *b, size_t i, uint32_t n) {
  times *t = &b->times[i];
  while (t->capacity - t->count < n) {
    size_t wider = 2 * t->capacity + n;
    t->ms =
        arena_grow(b->shared.dr->arena, t->ms, t->count, wider, sizeof(double), _Alignof(double));
    t->capacity = wider;
  }
  if (!b->engines[i].run(&b->engines[i], n, t->ms + t->count)) return false;
  t->count += n;
  return true;
}

/* Warms an engine up and sets its share of a round. */
static bool warm_up(bench *b, size_t i) {
  uint32_t runs = (uint32_t)flag_int(b->shared.dr, F_WARMUP, 3);
  if (!run_engine(b, i, runs + 1)) return false;
  times *t = &b->times[i];
  double wanted = 1e3 * CHUNK_SECONDS / fmax(t->ms[t->count - 1], 1e-6);
  t->chunk = (uint32_t)fmin(fmax(wanted, 1), MAX_CHUNK);
  t->count = 0;
  return true;
}

/* True when an engine has no room for another round. */
static bool is_full(const bench *b) {
  for (size_t i = 0; i < b->count; i++)
    if (b->times[i].count + b->times[i].chunk > MAX_RUNS) return true;
  return false;
}

static bool measure(bench *b) {
  driver *dr = b->shared.dr;
  for (size_t i = 0; i < b->count; i++) {
    status_line(dr, "%s: warming up …", b->engines[i].name);
    if (!warm_up(b, i)) return false;
  }
  double seconds = flag_number(dr, F_SECONDS, 5) * (double)b->count, start = seconds_now();
  do {
    status_line(dr, "measuring … %.0f of %.0f s", seconds_now() - start, seconds);
    if (b->probe_count < MAX_PROBES)
      b->probes[b->probe_count++] = fma_probe(NULL, spcc_cpu(), PROBE_SECONDS);
    for (size_t i = 0; i < b->count; i++)
      if (!run_engine(b, i, b->times[i].chunk)) return false;
  } while (seconds_now() - start < seconds && !is_full(b));
  status_line(dr, "%s", "");
  return true;
}

static latency summarize(times *t) {
  stats_sort(t->ms, t->count);
  double sum = 0;
  for (size_t i = 0; i < t->count; i++)
    sum += t->ms[i];
  return (latency){.min = t->ms[0],
                   .mean = sum / (double)t->count,
                   .median = stats_percentile(t->ms, t->count, 0.5),
                   .p90 = stats_percentile(t->ms, t->count, 0.9),
                   .p99 = stats_percentile(t->ms, t->count, 0.99)};
}

/* ---- reporting ---- */

static double items_per_second(const bench *b, size_t i) {
  return 1e3 * b->shared.inputs.batch / b->latency[i].mean;
}

static bool print_json(const bench *b, size_t i) {
  const engine *e = &b->engines[i];
  const latency *l = &b->latency[i];
  return json_line(
      b->shared.dr,
      json_pack("{s:s, s:i, s:i, s:i, s:{s:f, s:f, s:f, s:f, s:f}, s:f, s:s, s:I, s:f}", "engine",
                e->name, "threads", (int)b->shared.threads, "batch", (int)b->shared.inputs.batch,
                "sequence", (int)b->shared.inputs.sequence, "latency_ms", "min", l->min, "mean",
                l->mean, "median", l->median, "p90", l->p90, "p99", l->p99, "items_per_second",
                items_per_second(b, i), "isa", e->isa, "object_bytes", (json_int_t)e->object_bytes,
                "peak_gflops", b->peak));
}

/* The engine that the others are compared with: torch, or the first. */
static size_t baseline(const bench *b) {
  for (size_t i = 0; i < b->count; i++)
    if (!strcmp(b->engines[i].name, "torch")) return i;
  return 0;
}

static void print_table(const bench *b) {
  size_t base = baseline(b);
  printf("%s: batch %d, sequence %d; FMA peak of a core %.1f GFLOP/s\n", b->shared.path,
         b->shared.inputs.batch, b->shared.inputs.sequence, b->peak);
  printf("%-8s %7s %10s %10s %9s %10s %9s  %s\n", "engine", "threads", "median ms", "p90 ms",
         arena_printf(b->shared.dr->arena, "vs %s", b->engines[base].name), "items/s", "size MB",
         "ISA");
  for (size_t i = 0; i < b->count; i++) {
    const engine *e = &b->engines[i];
    const latency *l = &b->latency[i];
    printf("%-8s %7u %10.3f %10.3f %8.2fx %10.1f %9.1f  %s\n", e->name, b->shared.threads,
           l->median, l->p90, b->latency[base].median / l->median, items_per_second(b, i),
           (double)e->object_bytes / 1e6, e->isa);
  }
}

static bool report(bench *b) {
  bool json = flag_given(b->shared.dr, F_JSON), ok = true;
  for (size_t i = 0; i < b->count; i++)
    b->latency[i] = summarize(&b->times[i]);
  b->peak = stats_median(b->probes, b->probe_count);
  if (!json) print_table(b);
  for (size_t i = 0; json && ok && i < b->count; i++)
    ok = print_json(b, i);
  return ok;
}

/* ---- comparing the outputs ---- */

static double largest_difference(const float *x, const float *y, size_t count) {
  double largest = 0;
  for (size_t i = 0; i < count; i++)
    largest = stats_larger(largest, fabs((double)x[i] - (double)y[i]));
  return largest;
}

/* Compares output `name` of every engine with the first engine's. */
static bool compare_output(bench *b, const char *name, size_t count) {
  driver *dr = b->shared.dr;
  float *first = arena_array(dr->arena, float, count + 1);
  float *other = arena_array(dr->arena, float, count + 1);
  if (!b->engines[0].output(&b->engines[0], name, first, count)) return false;
  for (size_t i = 1; i < b->count; i++) {
    if (!b->engines[i].output(&b->engines[i], name, other, count)) return false;
    double difference = largest_difference(first, other, count);
    if (!flag_given(dr, F_JSON))
      printf("%s: %s and %s differ by at most %.2g\n", name, b->engines[0].name, b->engines[i].name,
             difference);
    if (!(difference <= LARGEST_DIFFERENCE))
      diag_warning(dr->diag, loc_file(b->shared.path),
                   "output '%s' of %s and %s differs by %.3g; see 'spcc verify'", name,
                   b->engines[0].name, b->engines[i].name, difference);
  }
  return true;
}

static bool compare_outputs(bench *b) {
  if (!b->shared.graph || b->count < 2) return true;
  for (uint32_t i = 0; i < b->shared.graph->output_count; i++) {
    const ir_output *out = &b->shared.graph->outputs[i];
    const ir_type *type = &ir_at(b->shared.graph, out->value)->type;
    size_t count = 1;
    for (uint32_t d = 0; d < type->rank; d++)
      count *= (size_t)(type->dim[d] == DIM_B   ? b->shared.inputs.batch
                        : type->dim[d] == DIM_S ? b->shared.inputs.sequence
                                                : type->dim[d]);
    if (!compare_output(b, out->name, count)) return false;
  }
  return true;
}

/* ---- set-up ---- */

static int check_engine(driver *dr, const char *name, bool yaml) {
  suggestion s = {.word = name};
  for (int i = 0; i < ENGINE_NAMES; i++) {
    suggest_offer(&s, engine_names[i]);
    if (strcmp(name, engine_names[i]) != 0) continue;
    if (yaml || i == 0) return EXIT_OK;
    return usage_error(
        dr, "engine '%s' needs model.yaml; a shared object holds compiled code alone", name);
  }
  const char *all = arena_printf(dr->arena, "; there are %s, %s, %s and %s", engine_names[0],
                                 engine_names[1], engine_names[2], engine_names[3]);
  return usage_error(dr, "there is no engine '%s'%s", name,
                     s.best ? suggest_text(dr->arena, &s) : all);
}

static int check_engines(driver *dr, const char **names, size_t count) {
  if (count > MAX_ENGINES) return usage_error(dr, "at most %d engines are measured", MAX_ENGINES);
  int code = EXIT_OK;
  for (size_t i = 0; i < count && code == EXIT_OK; i++)
    code = check_engine(dr, names[i], case_is_yaml(dr->operands[0]));
  return code;
}

static bool open_engines(bench *b, const char **names, size_t count) {
  const bench_case *c = &b->shared;
  for (size_t i = 0; i < count; i++) {
    engine *e = &b->engines[b->count++];
    verbose(c->dr, "preparing %s", names[i]);
    bool ok = !c->graph                    ? engine_open_library(c, e)
              : !strcmp(names[i], "torch") ? engine_open_torch(c, e)
                                           : engine_open_compiled(c, names[i], e);
    if (!ok) return false;
  }
  return true;
}

int cmd_bench(driver *dr) {
  size_t count;
  const char **names = flag_list(dr, F_ENGINE, &count); /* has room for one more */
  if (count == 0) names[count++] = engine_names[0];
  int code = check_engines(dr, names, count);
  if (code == EXIT_OK) code = case_check_flags(dr);
  build_options options;
  if (code != EXIT_OK || !build_options_read(dr, &options)) return code;
  bench *b = arena_new_one(dr->arena, bench);
  if (case_prepare(dr, &options, &b->shared) && open_engines(b, names, count) && measure(b) &&
      report(b))
    compare_outputs(b);
  for (size_t i = 0; i < b->count; i++)
    if (b->engines[i].close) b->engines[i].close(&b->engines[i]);
  case_close(&b->shared);
  return EXIT_OK;
}
