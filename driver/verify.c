/* spcc verify model.yaml [model.so]: the compiled model against the interpreter in f64.
 *
 * The interpreter runs over the graph as it was imported, with a tap on every value that ends a
 * layer: an output more. The model itself is compared by its own outputs; then a variant of it is
 * compiled that has the taps too, which shows the first value that is off. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "driver/inputs.h"
#include "driver/model.h"
#include "driver/stats.h"
#include "ir/interp.h"
#include "ir/names.h"
#include "support/text.h"

enum { DEFAULT_BATCH = 2, DEFAULT_SEQUENCE = 32 };

/* What an output ought to be. */
typedef struct reference {
  const char *output; /* the name of the graph's output */
  const char *value;  /* what it is called in messages */
  src_loc loc;
  size_t count;
  double *exact;    /* in f64 */
  double f32_error; /* of the interpreter in f32, relative */
  double bound;     /* for the compiled model's error */
} reference;

typedef struct verify {
  driver *dr;
  build_options options;
  ir_graph *graph; /* with taps */
  input_set inputs;
  reference *refs;     /* in the order of the graph's outputs */
  uint32_t count, own; /* the first `own` are the model's outputs, the others taps */
  bool *bad;           /* refs[i] is off */
} verify;

typedef struct difference {
  double relative, largest;
} difference;

/* ---- taps ---- */

/* Values that every compilation computes as such: ends of layers, not the insides of what fuses. */
static bool ends_layer(const ir_value *v) {
  if (v->kind != IR_OP || v->type.dtype != IR_F32 || v->type.rank != 2 || v->type.dim[0] != DIM_N)
    return false;
  switch (v->op) {
  case OP_layernorm:
  case OP_gelu:
  case OP_relu:
  case OP_tanh:
  case OP_context:
  case OP_attention:
  case OP_embed:
    return true;
  default:
    return false;
  }
}

/* The names that values and outputs have, constants' aside, which are a class of their own. */
static names *taken_names(const ir_graph *g) {
  names *taken = names_new(g->arena);
  for (ir_id i = 0; i < g->count; i++)
    if (ir_at(g, i)->kind != IR_CONST) names_add(taken, ir_at(g, i)->name, 0);
  for (uint32_t i = 0; i < g->output_count; i++)
    names_add(taken, g->outputs[i].name, 0);
  return taken;
}

/* A tap called tap.N, with the next free N. */
static void add_tap(ir_graph *g, ir_id value, ir_id mask, names *taken, uint32_t *n) {
  const char *name;
  do
    name = arena_printf(g->arena, "tap.%u", ++*n);
  while (names_add(taken, name, 0) != IR_NONE);
  ir_id operands[2] = {value, mask};
  ir_id rows = ir_add_op(g, name, OP_unpack, operands, mask == IR_NONE ? 1 : 2);
  ir_infer(g, rows, NULL); /* ir_verify, before the passes, reports what does not fit */
  ir_add_output(g, name, rows);
}

static uint32_t count_taps(const ir_graph *g) {
  uint32_t count = 0;
  for (ir_id i = 0; i < g->count; i++)
    count += ends_layer(ir_at(g, i));
  return count;
}

static bool add_taps(verify *v) {
  ir_graph *g = v->graph;
  uint32_t count = count_taps(g), n = 0;
  if (count > IR_MAX_VALUES - g->count)
    return diag_error(v->dr->diag, loc_file(v->dr->operands[0]), E_LIMIT,
                      "the model has %u values, and %u more are needed to compare its layers; at "
                      "most %d are possible",
                      g->count, count, IR_MAX_VALUES);
  pipeline_forget(g); /* a plan, of a graph read from IR text, has no room for them */
  names *taken = taken_names(g);
  ir_id mask = ir_mask(g), values = g->count;
  for (ir_id i = 0; i < values; i++)
    if (ends_layer(ir_at(g, i))) add_tap(g, i, mask, taken, &n);
  return true;
}

/* ---- the reference ---- */

static double norm(const double *x, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += x[i] * x[i];
  return sqrt(sum);
}

/* ‖x - y‖ / ‖y‖, or ‖x‖ where y is zero. */
static double relative_error(double distance, const reference *r) {
  double size = norm(r->exact, r->count);
  return size > 0 ? distance / size : distance;
}

static bool interpret(verify *v, bool single, double **out) {
  driver *dr = v->dr;
  interp_call call = {
      .batch = v->inputs.batch, .sequence = v->inputs.sequence, .out = out, .single = single};
  const void **in = arena_array(dr->arena, const void *, v->inputs.count + 1);
  for (uint32_t i = 0; i < v->inputs.count; i++)
    in[i] = v->inputs.list[i].data;
  call.in = in;
  for (uint32_t i = 0; i < v->count; i++) {
    if (!interp_output_size(v->graph, &call, i, &v->refs[i].count))
      return diag_error(dr->diag, loc_file(NULL), E_OVERFLOW, "the size of output '%s' overflows",
                        v->refs[i].output);
    out[i] = arena_array(dr->arena, double, v->refs[i].count + 1);
  }
  stage_begin(dr, single ? "interpreter in f32" : "interpreter in f64");
  return interp_run(v->graph, &call, dr->arena, dr->diag);
}

static void name_references(verify *v) {
  for (uint32_t i = 0; i < v->count; i++) {
    const ir_output *out = &v->graph->outputs[i];
    const ir_value *rows = ir_at(v->graph, out->value);
    const ir_value *source = i < v->own ? rows : ir_in(v->graph, rows, 0);
    v->refs[i] = (reference){
        .output = out->name, .value = i < v->own ? out->name : source->name, .loc = source->loc};
  }
}

static bool make_references(verify *v) {
  arena *a = v->dr->arena;
  size_t k, linears;
  v->refs = arena_array(a, reference, v->count);
  v->bad = arena_array(a, bool, v->count);
  name_references(v);
  double **exact = arena_array(a, double *, v->count);
  double **single = arena_array(a, double *, v->count);
  if (!interpret(v, false, exact) || !interpret(v, true, single)) return false;
  interp_depth(v->graph, &k, &linears);
  for (uint32_t i = 0; i < v->count; i++) {
    reference *r = &v->refs[i];
    r->exact = exact[i];
    for (size_t e = 0; e < r->count; e++)
      single[i][e] -= exact[i][e];
    r->f32_error = relative_error(norm(single[i], r->count), r);
    r->bound = fmax(3e-8 * sqrt((double)k * (double)linears), 4 * r->f32_error);
  }
  return true;
}

/* ---- comparing ---- */

static difference compare(const reference *r, const float *got) {
  difference d = {0};
  double sum = 0;
  for (size_t i = 0; i < r->count; i++) {
    double e = fabs((double)got[i] - r->exact[i]);
    d.largest = stats_larger(d.largest, e);
    sum += e * e;
  }
  d.relative = relative_error(sqrt(sum), r);
  return d;
}

static void print_row(verify *v, uint32_t i, difference d) {
  const reference *r = &v->refs[i];
  printf("%-56s %11.2e %11.2e %11.2e %11.2e  %s\n", text_escape(v->dr->arena, r->value), d.relative,
         r->f32_error, r->bound, d.largest, v->bad[i] ? "OFF" : "ok");
}

static int find_output(const spcc_info *info, const char *name) {
  for (uint32_t i = 0; i < info->output_count; i++)
    if (!strcmp(info->outputs[i].name, name)) return (int)i;
  return -1;
}

/* Compares the outputs `from` to `to` of a session that has run. */
static bool compare_outputs(verify *v, const session *s, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; i++) {
    const reference *r = &v->refs[i];
    int at = find_output(s->info, r->output);
    if (at < 0 || s->out_bytes[at] != r->count * sizeof(float))
      return diag_error(v->dr->diag, loc_file(NULL), E_OBJECT,
                        "the compiled model has no output '%s' of %zu elements; was it compiled "
                        "from another model?",
                        r->output, r->count);
    difference d = compare(r, s->out[at]);
    v->bad[i] = !(d.relative <= r->bound);
    print_row(v, i, d);
  }
  return true;
}

/* Runs a model and compares its outputs from `from` to `to`. */
static bool check_model(verify *v, const jit_entry *entry, const void *weights, size_t size,
                        uint32_t from, uint32_t to) {
  session s;
  uint32_t threads = session_threads(v->dr);
  bool ok =
      session_open(v->dr, entry, weights, size, v->inputs.batch, v->inputs.sequence, threads, &s);
  if (ok) {
    inputs_bind(&v->inputs, &s);
    ok = session_run(v->dr, &s) && compare_outputs(v, &s, from, to);
  }
  session_close(&s);
  return ok;
}

/* Compiles `g` in-process and compares its outputs from `from` to `to`. */
static bool check_graph(verify *v, ir_graph *g, uint32_t from, uint32_t to) {
  codegen_result r;
  jit_entry entry;
  if (!build_code(v->dr, g, &v->options, EMIT_OBJ, NULL, NULL, &r)) return false;
  jit_model *jit = jit_load(v->dr->diag, &r, g->name, &entry);
  if (!jit) return false;
  status_line(v->dr, "%s", "");
  bool ok = check_model(v, &entry, r.weights.data, r.weights.size, from, to);
  jit_free(jit);
  return ok;
}

static bool check_library(verify *v, const char *path) {
  library lib;
  if (!library_open(v->dr, path, &lib)) return false;
  status_line(v->dr, "%s", "");
  bool ok = check_model(v, &lib.entry, lib.weights, lib.weights_bytes, 0, v->own);
  library_close(&lib);
  return ok;
}

static bool any_bad(const verify *v, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; i++)
    if (v->bad[i]) return true;
  return false;
}

/* ---- the verdict ---- */

/* Errors for the outputs and for the first tap that are off. */
static bool judge(const verify *v) {
  diag *d = v->dr->diag;
  for (uint32_t i = 0; i < v->own; i++)
    if (v->bad[i])
      diag_error(d, loc_file(v->dr->operands[0]), E_VERIFY,
                 "output '%s' of the compiled model is further from the interpreter than the "
                 "bound allows",
                 v->refs[i].value);
  for (uint32_t i = v->own; i < v->count; i++)
    if (v->bad[i])
      return diag_error(d, v->refs[i].loc, E_VERIFY, "the first value that is off is '%s'",
                        v->refs[i].value);
  if (any_bad(v, 0, v->own))
    diag_note(d, loc_file(v->dr->operands[0]),
              v->dr->operand_count > 1 ? "compiled anew, every layer is within its bound: the "
                                         "shared object was made from something else"
                                       : "every layer is within its bound");
  return !any_bad(v, 0, v->own);
}

/* The model's random inputs, at the sizes asked for. */
static bool make_inputs(verify *v) {
  driver *dr = v->dr;
  const ir_graph *g = v->graph;
  int64_t batch = g->max_batch < DEFAULT_BATCH ? g->max_batch : DEFAULT_BATCH;
  int64_t sequence = g->max_sequence < DEFAULT_SEQUENCE ? g->max_sequence : DEFAULT_SEQUENCE;
  batch = flag_int(dr, F_BATCH, batch);
  sequence = flag_int(dr, F_LENGTH, sequence);
  return session_fits(dr, g->max_batch, g->max_sequence, batch, sequence) &&
         inputs_for_graph(dr, g, (int32_t)batch, (int32_t)sequence,
                          (uint64_t)flag_int(dr, F_SEED, 1), true, &v->inputs);
}

static bool prepare(verify *v) {
  driver *dr = v->dr;
  model_source *m = source_read(dr, dr->operands[0], &v->options.overrides);
  if (!m || !source_close(dr, m)) return false;
  v->graph = m->graph;
  v->own = m->graph->output_count;
  if (!add_taps(v) || !ir_verify(m->graph, dr->diag, "tap")) return false;
  v->count = m->graph->output_count;
  return make_inputs(v) && make_references(v);
}

static bool check_own_outputs(verify *v) {
  driver *dr = v->dr;
  if (dr->operand_count > 1) return check_library(v, dr->operands[1]);
  model_source *m = source_read(dr, dr->operands[0], &v->options.overrides);
  return m && source_close(dr, m) && check_graph(v, m->graph, 0, v->own);
}

static bool run_verify(verify *v) {
  driver *dr = v->dr;
  if (!prepare(v)) return false;
  status_line(dr, "%s", "");
  printf("%s: batch %d, sequence %d\n%-56s %11s %11s %11s %11s\n", dr->operands[0], v->inputs.batch,
         v->inputs.sequence, "value", "relative L2", "f32 interp", "bound", "max abs");
  if (!check_own_outputs(v)) return false;
  bool layers = dr->operand_count == 1 || any_bad(v, 0, v->own);
  if (layers && v->count > v->own && !check_graph(v, v->graph, v->own, v->count)) return false;
  return judge(v);
}

int cmd_verify(driver *dr) {
  verify v = {.dr = dr};
  if (dr->operand_count == 1 && flag_given(dr, F_WEIGHTS_FILE))
    return usage_error(dr, "--weights-file belongs to a shared object; name that too");
  if (!build_options_read(dr, &v.options)) return EXIT_OK;
  v.options.codegen.external_weights = true;
  run_verify(&v);
  return EXIT_OK;
}
