/* spcc estimate model.yaml: how long a model would take, from the cost model: of all ops, after the
 * passes that a compilation runs. --impose makes weights sparse before; --tune measures the ways to
 * run them, then compiles the whole and measures it too. */
#include <stdio.h>
#include <string.h>

#include "driver/fma_probe.h"
#include "driver/impose.h"
#include "driver/json_line.h"
#include "driver/session.h"
#include "driver/stats.h"
#include "driver/steps.h"
#include "support/text.h"

enum { PROBES = 9 };
static const double PROBE_SECONDS = 2e-3, DEFAULT_SECONDS = 3;

/* One op of the model. */
typedef struct row {
  const char *name, *op;
  const char *cut;        /* linears: as cut_print spells it */
  const ir_value *weight; /* linears */
  double zeros;           /* share of the weight */
  double ms, dense_ms, measured_ms;
} row;

typedef struct estimate {
  driver *dr;
  build_options options;
  ir_graph *g;
  cost_table costs;
  int32_t batch, sequence;
  uint32_t threads;
  double fma_ns; /* of one multiply-add of one core */
  row *rows;
  uint32_t count;
  row total;
} estimate;

/* ---- predicting ---- */

static double milliseconds(const estimate *e, const ir_value *v, const cost_counts *n) {
  bool sequences = v->type.dim[0] == DIM_B && v->type.rank == 2;
  uint64_t rows = (uint64_t)e->batch * (sequences ? 1 : (uint64_t)e->sequence);
  cost_counts all = cost_at(n, rows);
  return 1e-6 * e->fma_ns * cost_total(&e->costs, &all) / e->threads;
}

static void add_counts(cost_counts *to, const cost_counts *n) {
  for (int i = 0; i < COST_COUNT; i++)
    to->n[i] += n->n[i];
}

/* The candidate that partition took. */
static const weight_cut *find_cut(const estimate *e, const cut_source *s, const ir_value *v,
                                  weight_cut *list) {
  char text[CUT_TEXT_MAX];
  weight_cut taken = {.count = v->part_count};
  uint32_t count = cut_all(s, list);
  memcpy(taken.part, v->parts, v->part_count * sizeof *v->parts);
  if (e->options.pass.sparse == SPARSE_PATTERN &&
      cut_by_pattern(s, e->options.pass.sparse_pattern, &list[count]))
    count++;
  const weight_cut *found = cut_find(list, count, cut_print(&taken, text));
  return found ? found : &list[0];
}

static void predict_linear(const estimate *e, const ir_value *v, const cost_counts *other, row *r) {
  weight_cut list[MAX_CUTS + 1];
  cut_source s;
  char text[CUT_TEXT_MAX];
  const ir_value *w = r->weight = ir_in(e->g, v, 1);
  cut_look(&s, e->dr->arena, &e->costs, w->tensor->data, (uint32_t)w->type.dim[0],
           (uint32_t)w->type.dim[1]);
  const weight_cut *taken = find_cut(e, &s, v, list);
  cost_counts n = *other, dense = *other;
  add_counts(&n, &taken->counts);
  add_counts(&dense, &list[0].counts);
  r->name = w->name;
  r->zeros = 1 - (double)s.stats.nnz / ((double)s.m * s.k);
  r->cut = arena_strdup(e->dr->arena, cut_print(taken, text));
  r->ms = milliseconds(e, v, &n);
  r->dense_ms = milliseconds(e, v, &dense);
}

static void predict(estimate *e) {
  e->rows = arena_array(e->dr->arena, row, e->g->count + 1);
  e->total = (row){.name = "total", .op = ""};
  for (ir_id i = 0; i < e->g->count; i++) {
    const ir_value *v = ir_at(e->g, i);
    if (v->kind != IR_OP) continue;
    cost_counts n = {{0}};
    row *r = &e->rows[e->count++];
    *r = (row){.name = v->name, .op = ir_ops[v->op].name};
    cost_count_op(e->g, v, (uint64_t)e->sequence, &n);
    r->ms = r->dense_ms = milliseconds(e, v, &n);
    if (v->op == OP_linear) predict_linear(e, v, &n, r);
    e->total.ms += r->ms;
    e->total.dense_ms += r->dense_ms;
  }
}

/* ---- measuring ---- */

static bool probe(estimate *e) {
  uint32_t level = cpu_level(e->options.pass.isa);
  double ns[PROBES];
  if (level > spcc_cpu())
    return diag_error(e->dr->diag, loc_file(NULL), E_TARGET,
                      "this CPU does not have %s, whose speed is asked for; try -march=native",
                      isa_names[e->options.pass.isa]);
  for (int i = 0; i < PROBES; i++)
    ns[i] = 2 / fma_probe(NULL, level, PROBE_SECONDS);
  e->fma_ns = stats_median(ns, PROBES);
  return true;
}

/* Compiles what was estimated, and notes the times of its steps. */
static bool measure(estimate *e) {
  step_times t;
  steps_case c = {.batch = e->batch,
                  .sequence = e->sequence,
                  .threads = e->threads,
                  .seconds = flag_number(e->dr, F_SECONDS, DEFAULT_SECONDS)};
  pass_context context = {.arena = e->dr->arena, .diag = e->dr->diag, .options = &e->options.pass};
  stage_begin(e->dr, "measure");
  if (!pipeline_run_list(e->g, &context, "schedule,plan", NULL, NULL)) return false;
  if (!steps_measure(e->dr, e->g, &e->options.codegen, &c, 1, &t)) return false;
  for (uint32_t i = 0; i < e->count; i++)
    e->rows[i].measured_ms = 1e-6 * step_ns(&t, e->rows[i].name);
  e->total.measured_ms = 1e-6 * t.total_ns;
  return true;
}

/* ---- reporting ---- */

/* What was gained over dense: such as 2.50x, or free where nothing is left to compute. */
static const char *gain(const estimate *e, const row *r) {
  if (r->ms == 0 && r->dense_ms > 0) return "free";
  return arena_printf(e->dr->arena, "%.2fx", r->ms > 0 ? r->dense_ms / r->ms : 1);
}

static const char *shape_of(const estimate *e, const row *r) {
  const int64_t *dim = r->weight ? r->weight->type.dim : NULL;
  return dim ? arena_printf(e->dr->arena, "%lldx%lld", (long long)dim[0], (long long)dim[1]) : "";
}

static const char *shown_name(const estimate *e, const row *r) {
  return text_escape(e->dr->arena, r->name);
}

static void print_row(const estimate *e, int width, const row *r) {
  bool tuned = e->options.tune;
  printf("%-*s %-10s %10s", width, shown_name(e, r), r->op, shape_of(e, r));
  if (r->weight)
    printf(" %6.1f%% %-26s", 100 * r->zeros, r->cut);
  else
    printf(" %7s %-26s", "", "");
  printf(" %9.4f %6.1f%% %9s", r->ms, 100 * r->ms / e->total.ms, gain(e, r));
  if (tuned) printf(" %11.4f", r->measured_ms);
  printf("\n");
}

static void print_table(const estimate *e) {
  int width = (int)strlen("layer");
  for (uint32_t i = 0; i < e->count; i++) {
    int length = (int)strlen(shown_name(e, &e->rows[i]));
    if (length > width) width = length;
  }
  printf("%-*s %-10s %10s %7s %-26s %9s %7s %9s%s\n", width, "layer", "op", "shape", "zeros",
         "computed as", "ms", "share", "vs dense", e->options.tune ? " measured ms" : "");
  for (uint32_t i = 0; i < e->count; i++)
    print_row(e, width, &e->rows[i]);
  print_row(e, width, &e->total);
  printf(
      "\nAssumed: %s at %.1f GFLOP/s a core, measured now; batch %d, sequence %d; %u thread%s%s; "
      "costs %s; %s.\n",
      isa_names[e->options.pass.isa], 2 / e->fma_ns, e->batch, e->sequence, e->threads,
      e->threads == 1 ? "" : "s", e->threads == 1 ? "" : " that share the work evenly",
      flag_given(e->dr, F_CALIBRATION) ? "of --calibration" : "as spcc comes with them",
      flag_given(e->dr, F_IMPOSE) ? "imposed zeros are anywhere, at random"
                                  : "the model's own weights");
}

static json_t *json_row(const estimate *e, const row *r) {
  json_t *o = json_pack("{s:s, s:s, s:f, s:f}", "layer", r->name, "op", r->op, "ms", r->ms,
                        "dense_ms", r->dense_ms);
  if (r->weight)
    json_object_update_new(
        o, json_pack("{s:I, s:I, s:f, s:s}", "rows", (json_int_t)r->weight->type.dim[0], "cols",
                     (json_int_t)r->weight->type.dim[1], "zeros", r->zeros, "cut", r->cut));
  if (e->options.tune) json_object_set_new(o, "measured_ms", json_real(r->measured_ms));
  return o;
}

static void print_json(const estimate *e) {
  bool ok = true;
  for (uint32_t i = 0; i < e->count && ok; i++)
    ok = json_line(e->dr, json_row(e, &e->rows[i]));
  json_t *total = json_row(e, &e->total);
  json_object_update_new(total, json_pack("{s:s, s:f, s:i, s:i, s:i}", "isa",
                                          isa_names[e->options.pass.isa], "peak_gflops",
                                          2 / e->fma_ns, "batch", e->batch, "sequence", e->sequence,
                                          "threads", (int)e->threads));
  if (ok) json_line(e->dr, total);
}

/* ---- the command ---- */

/* Reads the model and sets up what the passes need. */
static int read_model(estimate *e) {
  driver *dr = e->dr;
  const char *path = dr->operands[0];
  model_source *m = source_read(dr, path, &e->options.overrides);
  if (!m || !source_close(dr, m)) return EXIT_REJECTED;
  e->g = m->graph;
  e->batch = (int32_t)flag_int(dr, F_BATCH, 1);
  e->threads = session_threads(dr);
  e->sequence = session_length(dr, e->g->max_sequence);
  if (!session_fits(dr, e->g->max_batch, e->g->max_sequence, e->batch, e->sequence))
    return EXIT_REJECTED;
  return impose_weights(dr, path, e->g);
}

/* Without other words, what this machine can do. */
static void default_level(estimate *e) {
  enum isa_level level = native_level();
  if (flag_given(e->dr, F_MARCH) || flag_given(e->dr, F_ISA) || level == ISA_COUNT) return;
  e->options.pass.isa = e->options.codegen.levels[0] = level;
  e->options.codegen.level_count = 1;
}

int cmd_estimate(driver *dr) {
  estimate e = {.dr = dr};
  if (!build_options_read(dr, &e.options)) return EXIT_OK;
  default_level(&e);
  stages_plan(dr, 0);
  stage_begin(dr, "read");
  int code = read_model(&e);
  if (code != EXIT_OK) return code;
  e.costs = cost_of(&e.options.pass);
  e.options.passes = "fold,dead,first,fuse,permute,partition";
  if (!build_passes(dr, e.g, &e.options, NULL, NULL) || !probe(&e)) return EXIT_REJECTED;
  predict(&e);
  if (e.options.tune && !measure(&e)) return EXIT_REJECTED;
  stages_end(dr);
  if (flag_given(dr, F_JSON))
    print_json(&e);
  else
    print_table(&e);
  return EXIT_OK;
}
