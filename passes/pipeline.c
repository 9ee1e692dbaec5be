/* The pass table and the loop that runs it. The table is the truth about the pipeline;
 * docs/passes.md has a section for every row. */
#include "passes/passes.h"

#include <string.h>

const char *const isa_names[ISA_COUNT] = {
    [ISA_X86_64_V3] = "x86-64-v3", [ISA_X86_64_V4] = "x86-64-v4"};

const pass pipeline[] = {
    /* name        run             min -O  what it leaves true */
    {"fold", pass_fold, 1, "constant factors and shifts live in weights and biases"},
    {"dead", pass_dead, 1, "no value that reaches no output; no neuron or head that is zero"},
    {"first", pass_first, 1, "no value has rows for all tokens where only first tokens are used"},
    {"fuse", pass_fuse, 0, "linear, embed and attention take in the ops around them"},
    {"permute", pass_permute, 1, "channels that no one outside sees stand where that is cheapest"},
    {"partition", pass_partition, 0, "every linear has parts that sum to its weight"},
    {"schedule", pass_schedule, 0, "every linear has tiles, slabs and chunks of work"},
    {"plan", pass_plan, 0, "every value has a slot of the workspace"},
    {NULL, NULL, 0, NULL},
};

/* Verifies what `name` left and shows it to the observer. */
static bool check(ir_graph *g, pass_context *c, const char *name, pass_observer *observe,
                  void *context) {
  if (!ir_verify(g, c->diag, name))
    return diag_error(c->diag, loc_file(g->name), E_INTERNAL,
                      "the graph is not valid after '%s'; this is a bug in spcc, please report it",
                      name);
  return !observe || observe(context, name, g);
}

void pipeline_forget(ir_graph *g) {
  for (uint32_t i = 0; i < g->count; i++) {
    ir_value *v = &g->values[i];
    v->slot = IR_NO_SLOT;
    if (!ir_is_op(v, OP_linear)) continue;
    v->part_count = 0;
    v->attr[A_chunk_rows].i = 0;
  }
  g->slot_count = 0;
}

/* The decisions in a graph that was read from a dump do not hold for what a pass makes of it. */
static bool run_one(const pass *p, ir_graph *g, pass_context *c, pass_observer *observe,
                    void *context) {
  if (p->run != pass_schedule && p->run != pass_plan) pipeline_forget(g);
  return p->run(g, c) && check(g, c, p->name, observe, context);
}

bool pipeline_run(ir_graph *g, pass_context *c, pass_observer *observe, void *context) {
  if (!check(g, c, "import", observe, context)) return false;
  for (const pass *p = pipeline; p->name; p++)
    if (c->options->opt_level >= p->min_opt && !run_one(p, g, c, observe, context)) return false;
  return true;
}

/* The row whose name is the `n` bytes at `name`; NULL when there is none. */
static const pass *find(const char *name, size_t n) {
  for (const pass *p = pipeline; p->name; p++)
    if (strlen(p->name) == n && memcmp(p->name, name, n) == 0) return p;
  return NULL;
}

static bool unknown(pass_context *c, const char *name, size_t n) {
  char *all = arena_strdup(c->arena, pipeline[0].name);
  for (const pass *p = pipeline + 1; p->name; p++)
    all = arena_printf(c->arena, "%s, %s", all, p->name);
  return diag_error(c->diag, loc_file(NULL), E_NAME, "there is no pass '%.*s'; the passes are %s",
                    (int)n, name, all);
}

bool pipeline_run_list(ir_graph *g, pass_context *c, const char *list, pass_observer *observe,
                       void *context) {
  if (!check(g, c, "import", observe, context)) return false;
  while (*list) {
    size_t n = strcspn(list, ",");
    const pass *p = find(list, n);
    if (!p) return unknown(c, list, n);
    if (!run_one(p, g, c, observe, context)) return false;
    list += n + (list[n] == ',');
  }
  return true;
}
