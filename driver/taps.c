#include "driver/taps.h"

#include <stdlib.h>
#include <string.h>

enum { TAP_BYTES = 64 << 20, BATCH_MAX = 64 }; /* of the taps of a call; sequences of a call */

/* Passes whose result depends on shapes alone, so that the code fits all values of the weights. */
static const char passes[] = "fuse,partition,schedule,plan";

/* ---- the graph ---- */

/* The constant that a tensor of the checkpoint became: its name, without the prefix of the model.
 */
static ir_id constant_of(const ir_graph *g, const char *tensor) {
  size_t length = strlen(tensor), best = 0;
  ir_id found = IR_NONE;
  for (ir_id i = 0; i < g->count; i++) {
    const ir_value *v = ir_at(g, i);
    size_t n = strlen(v->name);
    if (v->kind != IR_CONST || n > length || n < best) continue;
    if (strcmp(tensor + length - n, v->name) != 0) continue;
    found = i;
    best = n;
  }
  return found;
}

/* The linear that has this weight. */
static ir_id linear_of(const ir_graph *g, ir_id weight) {
  for (ir_id i = 0; i < g->count; i++) {
    const ir_value *v = ir_at(g, i);
    if (ir_is_op(v, OP_linear) && v->in[1] == weight) return i;
  }
  return IR_NONE;
}

static bool feeds_relu(const ir_graph *g, ir_id value) {
  for (ir_id i = 0; i < g->count; i++) {
    const ir_value *v = ir_at(g, i);
    if (ir_is_op(v, OP_relu) && v->in[0] == value) return true;
  }
  return false;
}

/* The output that shows `value`; a new one when there is none yet. */
static uint32_t output_of(ir_graph *g, ir_id value) {
  ir_id mask = ir_mask(g);
  for (uint32_t i = 0; i < g->output_count; i++) {
    const ir_value *v = ir_at(g, g->outputs[i].value);
    if (ir_is_op(v, OP_unpack) && v->in[0] == value) return i;
  }
  const char *name = arena_printf(g->arena, "tap.%s", ir_at(g, value)->name);
  const ir_id in[] = {value, mask};
  ir_add_output(g, name, ir_add_op(g, name, OP_unpack, in, 2));
  return g->output_count - 1;
}

static bool add_tap(taps *t, const char *weight, tap *out) {
  ir_graph *g = t->graph;
  ir_id constant = constant_of(g, weight);
  ir_id linear = constant == IR_NONE ? IR_NONE : linear_of(g, constant);
  if (linear == IR_NONE)
    return diag_error(t->dr->diag, loc_file(g->name), E_NAME,
                      "'%s' is not the weight of a linear; choose others with --targets", weight);
  const ir_type *type = &ir_at(g, constant)->type;
  const ir_value *bias = ir_in(g, ir_at(g, linear), 2);
  *out = (tap){.weight = weight,
               .rows = (size_t)type->dim[0],
               .cols = (size_t)type->dim[1],
               .bias = bias ? bias->tensor->data : NULL,
               .relu = feeds_relu(g, linear),
               .constant = constant};
  out->output = output_of(g, ir_at(g, linear)->in[0]);
  return true;
}

/* Outputs that are no taps are not needed, and a model's pooler may cost more than they do. */
static void drop_outputs(ir_graph *g) {
  g->output_count = 0;
}

/* ---- code and weights ---- */

/* A copy of the graph after the passes, in `a`. */
static ir_graph *lower(taps *t, arena *a) {
  driver local = *t->dr;
  local.arena = a;
  ir_graph *g = ir_clone(t->graph, a);
  ir_cleanup(g);
  return build_passes(&local, g, &t->options, NULL, NULL) ? g : NULL;
}

static bool compile(taps *t) {
  codegen_result r;
  ir_graph *g = lower(t, t->weights_arena);
  if (!g || !codegen(g, &t->options.codegen, EMIT_OBJ, t->weights_arena, t->dr->diag, &r))
    return false;
  t->digest = r.digest;
  t->weights = r.weights;
  t->jit = jit_load(t->dr->diag, &r, g->name, &t->entry);
  return t->jit != NULL;
}

bool taps_refresh(taps *t) {
  arena *a = arena_scratch(t->dr->arena);
  bytes weights;
  ir_graph *g = lower(t, a);
  bool ok = g && codegen_weights(g, &t->options.codegen, t->digest, a, t->dr->diag, &weights);
  if (ok && weights.size != t->weights.size)
    ok = diag_error(t->dr->diag, loc_file("spcc"), E_INTERNAL,
                    "packed weights changed their size; this is a bug in spcc, please report it");
  if (!ok) {
    arena_free(a);
    return false;
  }
  arena_free(t->weights_arena);
  t->weights_arena = a;
  t->weights = weights;
  return true;
}

static bool read_options(taps *t) {
  if (!build_options_read(t->dr, &t->options)) return false;
  t->options.passes = passes;
  t->options.remarks = t->options.tune = false;
  t->options.pass.sparse = SPARSE_OFF;
  t->options.codegen.external_weights = true;
  return true;
}

bool taps_open(driver *dr, const model_source *m, const char *const *weights, size_t count,
               uint32_t threads, taps *out) {
  *out = (taps){.dr = dr, .count = count, .threads = threads};
  taps *t = out;
  t->weights_arena = arena_scratch(dr->arena);
  t->graph = ir_clone(m->graph, dr->arena);
  t->list = arena_array(dr->arena, tap, count + 1);
  drop_outputs(t->graph);
  for (size_t i = 0; i < count; i++)
    if (!add_tap(t, weights[i], &t->list[i])) return false;
  t->graph->max_batch = BATCH_MAX;
  return read_options(t) && compile(t);
}

void taps_replace(taps *t, size_t i, const float *w) {
  ir_tensor *tensor = ir_at(t->graph, t->list[i].constant)->tensor;
  tensor->data = w;
  tensor->hashed = tensor->finite = false;
}

void taps_close(taps *t) {
  if (t->jit) jit_free(t->jit);
  if (t->weights_arena) arena_free(t->weights_arena);
  *t = (taps){.jit = NULL};
}

/* ---- runs ---- */

typedef struct run {
  taps *t;
  const token_set *set;
  size_t first, count; /* taps */
  tap_reader *read;
  void *context;
} run;

static size_t length_of(const token_set *set, size_t i) {
  return set->start[i + 1] - set->start[i];
}

/* Indices of the sentences by rising length, those of one length in their order. */
static size_t *by_length(arena *a, const token_set *set, size_t longest) {
  size_t *at = arena_array(a, size_t, longest + 2), *order = arena_array(a, size_t, set->count + 1);
  for (size_t i = 0; i < set->count; i++)
    at[length_of(set, i) + 1]++;
  for (size_t n = 1; n <= longest + 1; n++)
    at[n] += at[n - 1];
  for (size_t i = 0; i < set->count; i++)
    order[at[length_of(set, i)]++] = i;
  return order;
}

/* Sequences of `length` tokens whose taps are worth one call. */
static size_t batch_for(const taps *t, size_t length) {
  size_t token_bytes = 0;
  for (uint32_t i = 0; i < t->graph->output_count; i++) {
    const ir_type *type = &ir_at(t->graph, t->graph->outputs[i].value)->type;
    token_bytes += (size_t)type->dim[type->rank - 1] * sizeof(float);
  }
  size_t batch = TAP_BYTES / (token_bytes * length);
  return batch < 1 ? 1 : batch > BATCH_MAX ? BATCH_MAX : batch;
}

/* One call with the sentences `order[0 … batch - 1]`, all of `length` tokens. */
static bool run_batch(const run *r, driver *local, const size_t *order, size_t batch,
                      size_t length) {
  taps *t = r->t;
  session s;
  int32_t *ids = arena_array(local->arena, int32_t, batch *length);
  for (size_t i = 0; i < batch; i++)
    memcpy(ids + i * length, r->set->ids + r->set->start[order[i]], length * sizeof *ids);
  bool ok = session_open(local, &t->entry, t->weights.data, t->weights.size, (int32_t)batch,
                         (int32_t)length, t->threads, &s);
  if (ok) s.in[0] = ids;
  ok = ok && session_run(local, &s);
  for (size_t i = r->first; ok && i < r->first + r->count; i++)
    ok = r->read(r->context, i, s.out[t->list[i].output], batch * length);
  session_close(&s);
  return ok;
}

bool taps_run(taps *t, const token_set *set, size_t first, size_t count, tap_reader *read,
              void *context) {
  run r = {t, set, first, count, read, context};
  size_t longest = 0;
  for (size_t i = 0; i < set->count; i++)
    if (length_of(set, i) > longest) longest = length_of(set, i);
  arena *a = arena_scratch(t->dr->arena);
  size_t *order = by_length(a, set, longest);
  bool ok = true;
  for (size_t at = 0, next; ok && at < set->count; at = next) {
    size_t length = length_of(set, order[at]), most = at + batch_for(t, length);
    for (next = at; next < set->count && next < most && length_of(set, order[next]) == length;)
      next++;
    driver local = *t->dr;
    local.arena = arena_scratch(a);
    ok = run_batch(&r, &local, order + at, next - at, length);
    arena_free(local.arena);
  }
  arena_free(a);
  return ok;
}
