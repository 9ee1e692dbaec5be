#include "driver/steps.h"

#include <string.h>

#include "driver/fma_probe.h"
#include "driver/inputs.h"
#include "driver/session.h"
#include "driver/stats.h"

enum { MIN_ROUNDS = 7, MAX_ROUNDS = 2000, WARM_UP = 2 };
static const double PROBE_SECONDS = 2e-4;

/* ---- the laboratory's graph ---- */

ir_graph *lab_new(arena *a, int64_t max_batch, int64_t max_sequence) {
  ir_graph *g = ir_graph_new(a, "lab");
  g->max_batch = max_batch;
  g->max_sequence = max_sequence;
  return g;
}

ir_id lab_rows(ir_graph *g, uint32_t width, uint32_t which) {
  const char *name = arena_printf(g->arena, "x%u.%u", which, width);
  for (ir_id i = 0; i < g->count; i++)
    if (strcmp(ir_at(g, i)->name, name) == 0) return i;
  ir_type type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, width});
  ir_id given = ir_add_input(g, arena_printf(g->arena, "in%u.%u", which, width), type);
  return ir_add_op(g, name, OP_pack, &given, 1);
}

void lab_keep(ir_graph *g, ir_id op) {
  const char *name = ir_at(g, op)->name;
  if (ir_at(g, op)->type.dim[0] == DIM_N)
    op = ir_add_op(g, arena_printf(g->arena, "first.%s", name), OP_first, &op, 1);
  op = ir_add_op(g, arena_printf(g->arena, "out.%s", name), OP_unpack, &op, 1);
  ir_add_output(g, name, op);
}

/* ---- rounds ---- */

/* Times of all rounds, a row per step, then the probe and the whole call. */
typedef struct rounds {
  session s;
  spcc_profile *profile;
  double *ns; /* [columns, MAX_ROUNDS] */
  uint64_t *before;
  uint32_t steps, count;
} rounds;

/* The lower quartile: what other programs disturbed falls out. */
static double typical(double *values, uint32_t count) {
  stats_sort(values, count);
  return stats_percentile(values, count, 0.25);
}

static double *row(const rounds *r, uint32_t step) {
  return r->ns + (size_t)step * MAX_ROUNDS;
}

/* One call; its times are noted in column r->count. */
static bool run_round(driver *dr, rounds *r) {
  double start = seconds_now();
  if (!session_run(dr, &r->s)) return false;
  row(r, r->steps + 1)[r->count] = 1e9 * (seconds_now() - start);
  for (uint32_t i = 0; i < r->steps; i++) {
    uint64_t ns, calls;
    spcc_profile_step(r->profile, i, &ns, &calls);
    row(r, i)[r->count] = (double)(ns - r->before[i]);
    r->before[i] = ns;
  }
  double gflops = fma_probe(NULL, r->s.info->levels[0], PROBE_SECONDS);
  row(r, r->steps)[r->count] = gflops > 0 ? 2 / gflops : 0;
  return true;
}

static bool run_rounds(driver *dr, rounds *r, double seconds) {
  for (int i = 0; i < WARM_UP; i++)
    if (!run_round(dr, r)) return false;
  double start = seconds_now();
  while (r->count < MIN_ROUNDS || (r->count < MAX_ROUNDS && seconds_now() - start < seconds)) {
    if (!run_round(dr, r)) return false;
    r->count++;
  }
  return true;
}

static void summarize(arena *a, const rounds *r, step_times *out) {
  const spcc_info *info = r->s.info;
  *out = (step_times){.name = arena_array(a, const char *, r->steps + 1),
                      .ns = arena_array(a, double, r->steps + 1),
                      .count = r->steps,
                      .total_ns = typical(row(r, r->steps + 1), r->count),
                      .fma_ns = typical(row(r, r->steps), r->count)};
  for (uint32_t i = 0; i < r->steps; i++) {
    out->name[i] = arena_strdup(a, info->steps[i]);
    out->ns[i] = typical(row(r, i), r->count);
  }
}

/* ---- measuring ---- */

static bool lacks_level(driver *dr, const spcc_info *info) {
  return diag_error(dr->diag, loc_file(NULL), E_TARGET,
                    "this CPU does not have %s and cannot measure for it; compile with "
                    "-march=native, or without --tune",
                    spcc_cpu_name(info->levels[0]));
}

/* In memory of its own, `dr->arena`; the result goes into `keep`. */
static bool measure(driver *dr, const ir_graph *g, const steps_case *c, const codegen_result *code,
                    const jit_entry *entry, arena *keep, step_times *out) {
  rounds r = {.count = 0};
  input_set inputs;
  const spcc_info *info = entry->info();
  if (info->levels[0] > spcc_cpu()) return lacks_level(dr, info);
  if (!inputs_for_graph(dr, g, c->batch, c->sequence, 1, false, &inputs)) return false;
  if (!session_open(dr, entry, code->weights.data, code->weights.size, c->batch, c->sequence,
                    c->threads, &r.s))
    return false;
  inputs_bind(&inputs, &r.s);
  r.steps = info->step_count;
  r.ns = arena_array(dr->arena, double, (size_t)(r.steps + 2) * MAX_ROUNDS);
  r.before = arena_array(dr->arena, uint64_t, r.steps + 1);
  r.profile = spcc_profile_new(info, r.s.call.exec);
  bool ok = r.profile || diag_error(dr->diag, loc_file(NULL), E_MEMORY, "no memory for a profile");
  if (r.profile) r.s.call.exec = spcc_profile_exec(r.profile);
  ok = ok && run_rounds(dr, &r, c->seconds);
  if (ok) summarize(keep, &r, out);
  spcc_profile_free(r.profile);
  session_close(&r.s);
  return ok;
}

bool steps_measure(driver *dr, const ir_graph *g, const codegen_options *o, const steps_case *cases,
                   uint32_t count, step_times *out) {
  codegen_options measured = *o;
  measured.external_weights = true;
  measured.level_count = 1;
  driver local = *dr;
  local.arena = arena_scratch(dr->arena);
  codegen_result code;
  jit_entry entry;
  bool ok = codegen(g, &measured, EMIT_OBJ, local.arena, dr->diag, &code);
  jit_model *jit = ok ? jit_load(dr->diag, &code, g->name, &entry) : NULL;
  ok = jit != NULL;
  for (uint32_t i = 0; i < count && ok; i++)
    ok = measure(&local, g, &cases[i], &code, &entry, dr->arena, &out[i]);
  jit_free(jit);
  arena_free(local.arena);
  return ok;
}

double step_ns(const step_times *t, const char *name) {
  double sum = 0;
  size_t length = strlen(name);
  for (uint32_t i = 0; i < t->count; i++) {
    const char *step = t->name[i];
    if (strncmp(step, name, length) == 0 && (!step[length] || !strcmp(step + length, ".norm")))
      sum += t->ns[i];
  }
  return sum;
}
