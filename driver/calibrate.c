/* Measuring the constants of the cost model: linears of all kernels, and the other ops, each timed
 * by itself, and the constants that describe these times best. */
#include <stdio.h>
#include <string.h>

#include "driver/costs.h"
#include "driver/output.h"
#include "driver/random_weight.h"
#include "driver/steps.h"

enum { HIDDEN = 768, LONG = 128 };
/* Tokens of a call. Partition decides by the times of full tiles, so they matter most. */
static const struct length {
  int32_t tokens;
  double weight;
} lengths[] = {{LONG, 10}, {32, 2}, {16, 4}};
enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

/* The linears: every shape with every weight. */
static const struct shape {
  uint32_t m, k;
} shapes[] = {{768, 768}, {3072, 768}, {768, 3072}};
static const struct weight {
  const char *pattern;
  double sparsity;
  bool pairs; /* rows of a gather in pairs */
} weights[] = {
    {"dense", 0, false},          {"4x1", 0.5, false},           {"4x1", 0.8, false},
    {"4x1", 0.9, false},          {"4x1", 0.95, false},          {"16x16", 0.9, false},
    {"unstructured", 0.3, false}, {"unstructured", 0.5, false},  {"unstructured", 0.8, false},
    {"unstructured", 0.9, false}, {"unstructured", 0.95, false}, {"unstructured", 0.3, true},
    {"unstructured", 0.5, true},  {"unstructured", 0.8, true},   {"unstructured", 0.9, true},
};
enum {
  SHAPES = sizeof shapes / sizeof shapes[0],
  WEIGHTS = sizeof weights / sizeof weights[0],
  OTHERS = 5, /* ops */
  MAX_STEPS = SHAPES * WEIGHTS + OTHERS
};

typedef struct calibration {
  driver *dr;
  ir_graph *g;
  cost_table shipped;
  const char *name[MAX_STEPS];
  cost_counts counts[MAX_STEPS]; /* of a token */
  uint32_t steps, linears;       /* the linears come first; they alone are in short calls */
  const char *label[LENGTHS * MAX_STEPS];
  cost_time times[LENGTHS * MAX_STEPS];
  uint32_t count;
} calibration;

static void observe(calibration *c, const char *name, const cost_counts *n) {
  c->name[c->steps] = name;
  c->counts[c->steps++] = *n;
}

static bool add_linear(calibration *c, const struct shape *s, const struct weight *kind) {
  arena *a = c->g->arena;
  const char *name = arena_printf(a, "%ux%u-%s%s-%g", s->m, s->k, kind->pattern,
                                  kind->pairs ? "-pairs" : "", kind->sparsity);
  bool dense = kind->sparsity == 0;
  spo_goal goal = {.sparsity = dense ? SPO_IMPLIED : kind->sparsity};
  pattern p;
  spo_pattern_parse(kind->pattern, &goal.pattern);
  pattern_parse(kind->pattern, &p);
  const float *w = random_weight(c->dr, loc_file(NULL), name, &goal, s->m, s->k, 1 + c->steps);
  if (!w) return false;
  cut_source source;
  weight_cut k;
  cut_look(&source, a, &c->shipped, w, s->m, s->k);
  if (!(kind->pairs ? cut_in_pairs(&source, p, &k) : cut_by_pattern(&source, p, &k)))
    return true; /* no kernel for it */
  float *bias = arena_array(a, float, s->m);
  ir_id in[3] = {lab_rows(c->g, s->k, 0)};
  in[1] = ir_add_const(c->g, name, ir_type2(s->m, s->k), w);
  in[2] = ir_add_const(c->g, arena_printf(a, "bias.%s", name), ir_type1(s->m), bias);
  ir_id id = ir_add_op(c->g, arena_printf(a, "y.%s", name), OP_linear, in, 3);
  ir_value *v = ir_at(c->g, id);
  v->part_count = k.count;
  v->parts = arena_array(a, ir_part, k.count);
  memcpy(v->parts, k.part, k.count * sizeof *v->parts);
  observe(c, name, &k.counts);
  lab_keep(c->g, id);
  return true;
}

/* Any other op. */
static ir_value *add_op(calibration *c, const char *name, enum ir_op op, const ir_id *in,
                        uint32_t nin, uint32_t heads) {
  ir_id id = ir_add_op(c->g, name, op, in, nin);
  cost_counts n = {{0}};
  if (heads) ir_at(c->g, id)->attr[A_heads].i = heads;
  ir_infer(c->g, id, NULL);
  cost_count_op(c->g, ir_at(c->g, id), LONG, &n);
  observe(c, name, &n);
  lab_keep(c->g, id);
  return ir_at(c->g, id);
}

static void add_others(calibration *c) {
  arena *a = c->g->arena;
  float *ones = arena_array(a, float, HIDDEN);
  for (int i = 0; i < HIDDEN; i++)
    ones[i] = 1;
  ir_id wide = lab_rows(c->g, 4 * HIDDEN, 0), row = lab_rows(c->g, HIDDEN, 0);
  ir_id qkv[3] = {lab_rows(c->g, HIDDEN, 1), lab_rows(c->g, HIDDEN, 2), lab_rows(c->g, HIDDEN, 3)};
  ir_id one = ir_add_const(c->g, "ones", ir_type1(HIDDEN), ones);
  add_op(c, "gelu", OP_gelu, &wide, 1, 0);
  add_op(c, "layernorm", OP_layernorm, (const ir_id[]){row, one, one}, 3, 0);
  add_op(c, "add", OP_add, (const ir_id[]){row, qkv[0]}, 2, 0);
  add_op(c, "heads12", OP_attention, qkv, 3, 12);
  add_op(c, "heads24", OP_attention, qkv, 3, 24);
}

/* Notes the times of the steps in calls of this length. */
static void note_length(calibration *c, const struct length *l, const step_times *t) {
  uint32_t steps = l->tokens == LONG ? c->steps : c->linears;
  for (uint32_t i = 0; i < steps; i++) {
    c->label[c->count] = arena_printf(c->g->arena, "%s, %d tokens", c->name[i], l->tokens);
    c->times[c->count++] = (cost_time){.n = cost_at(&c->counts[i], (uint64_t)l->tokens),
                                       .time = step_ns(t, c->name[i]) / t->fma_ns,
                                       .weight = l->weight};
  }
  verbose(c->dr, "%.1f GFLOP/s at the peak of one core", 2 / t->fma_ns);
}

static bool measure(calibration *c, enum isa_level level) {
  codegen_options o = {.levels = {level}, .level_count = 1, .opt_level = 2};
  pass_options p = {.opt_level = 2, .isa = level};
  pass_context context = {.arena = c->g->arena, .diag = c->dr->diag, .options = &p};
  steps_case cases[LENGTHS];
  step_times times[LENGTHS];
  for (int i = 0; i < LENGTHS; i++)
    cases[i] = (steps_case){.batch = 1,
                            .sequence = lengths[i].tokens,
                            .threads = 1,
                            .seconds = flag_number(c->dr, F_SECONDS, 4) / (double)LENGTHS};
  ir_cleanup(c->g);
  if (!pipeline_run_list(c->g, &context, "schedule,plan", NULL, NULL)) return false;
  if (!steps_measure(c->dr, c->g, &o, cases, LENGTHS, times)) return false;
  for (int i = 0; i < LENGTHS; i++)
    note_length(c, &lengths[i], &times[i]);
  return true;
}

static void report(const calibration *c, const cost_table *fitted) {
  for (uint32_t i = 0; i < c->count; i++) {
    double time = c->times[i].time, fit = cost_total(fitted, &c->times[i].n);
    verbose(c->dr, "%-40s %12.0f measured %12.0f fitted %+6.1f %%", c->label[i], time, fit,
            100 * (fit / time - 1));
  }
}

bool costs_measure(driver *dr, enum isa_level level, cost_table *out) {
  calibration *c = arena_new_one(dr->arena, calibration);
  *c = (calibration){.dr = dr, .g = lab_new(dr->arena, 1, LONG), .shipped = cost_shipped(level)};
  for (int s = 0; s < SHAPES; s++)
    for (int w = 0; w < WEIGHTS; w++)
      if (!add_linear(c, &shapes[s], &weights[w])) return false;
  c->linears = c->steps;
  add_others(c);
  if (!measure(c, level)) return false;
  *out = c->shipped;
  cost_fit(c->times, c->count, out);
  report(c, out);
  return true;
}

/* ---- the command ---- */

static void print_costs(const machine_costs *costs, const char *path) {
  printf("%-24s %10s %10s  %s\n", "constant", "measured", "shipped", "of");
  for (int level = 0; level < ISA_COUNT; level++)
    for (int i = 0; i < COST_COUNT && costs->known[level]; i++)
      printf("%s.%-14s %10.4g %10.4g  %s\n", isa_names[level], cost_rows[i].name,
             costs->table[level].unit[i], cost_rows[i].shipped[level], cost_rows[i].doc);
  printf("written to %s\n", path);
}

int cpu_calibrate(driver *dr) {
  machine_costs costs = {.known = {false}};
  const char *path = costs_path(dr);
  if (!path) return EXIT_SYSTEM;
  output out = {.path = path};
  if (!outputs_check(dr, &out, 1, NULL, 0)) return EXIT_SYSTEM;
  for (int level = 0; level < ISA_COUNT; level++) {
    if (cpu_level((enum isa_level)level) > spcc_cpu()) continue;
    status_line(dr, "measuring %s …", isa_names[level]);
    if (!costs_measure(dr, (enum isa_level)level, &costs.table[level])) return EXIT_REJECTED;
    costs.known[level] = true;
  }
  const char *text = costs_format(dr->arena, &costs);
  out.data = (bytes){(const unsigned char *)text, strlen(text)};
  if (outputs_write(dr, &out, 1)) print_costs(&costs, path);
  return EXIT_OK;
}
