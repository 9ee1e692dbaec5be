/* Running a graph: which tokens are computed, the values' memory, the borders. */
#include "ir/interp.h"

#include <stdlib.h>
#include <string.h>

#include "ir/interp_internal.h"
#include "support/checked.h"

static interp_fn *const dispatch[OP_COUNT] = {
#define OP(name, ...) [OP_##name] = interp_##name,
#include "ir/ops.def"
#undef OP
};

bool interp_no_memory(const interp *in) {
  return diag_error(in->d, loc_file(in->g->name), E_MEMORY,
                    "out of memory while computing '%s'; use a smaller batch or sequence",
                    in->g->name);
}

const interp_value *interp_operand(const interp *in, const ir_value *v, uint32_t i) {
  return ir_in(in->g, v, i) ? &in->value[v->in[i]] : NULL;
}

const float *interp_const(const interp *in, const ir_value *v, uint32_t i) {
  const ir_value *c = ir_in(in->g, v, i);
  return c ? c->tensor->data : NULL;
}

const void *interp_given(const interp *in, ir_id id) {
  uint32_t index = 0;
  for (ir_id i = 0; i < id; i++)
    index += in->g->values[i].kind == IR_INPUT;
  return in->call->in[index];
}

int32_t interp_mask_at(const interp *in, const ir_value *v, uint32_t i, size_t row) {
  const ir_value *mask = ir_in(in->g, v, i);
  if (!mask) return 1;
  const int32_t *given = interp_given(in, v->in[i]);
  return given ? given[row] : mask->absent;
}

/* ---- which tokens are computed ---- */

/* An op that has the graph's mask as operand *i; NULL when the graph has no mask. */
static const ir_value *find_masked(const ir_graph *g, uint32_t *i) {
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    for (*i = 0; v->kind == IR_OP && *i < v->nin; ++*i)
      if (ir_in(g, v, *i) && ir_operand(v->op, *i).mask) return v;
  }
  return NULL;
}

static bool check_limits(const ir_graph *g, const interp_call *c, diag *d) {
  src_loc loc = loc_file(g->name);
  if (c->batch < 0 || c->batch > g->max_batch)
    return diag_error(d, loc, E_RUN, "batch is %lld; this model takes 0 to %lld",
                      (long long)c->batch, (long long)g->max_batch);
  if (c->sequence < 0 || c->sequence > g->max_sequence)
    return diag_error(d, loc, E_RUN, "sequence is %lld; this model takes 0 to %lld",
                      (long long)c->sequence, (long long)g->max_sequence);
  for (int64_t b = 0; c->lengths && b < c->batch; b++)
    if (c->lengths[b] < 0 || c->lengths[b] > c->sequence)
      return diag_error(d, loc, E_RUN, "lengths[%lld] is %d; it must be 0 to the sequence, %lld",
                        (long long)b, c->lengths[b], (long long)c->sequence);
  return true;
}

static bool check_given(interp *in) {
  for (ir_id id = 0; id < in->g->count; id++) {
    const ir_value *v = ir_at(in->g, id);
    if (v->kind == IR_INPUT && !v->optional && !interp_given(in, id))
      return diag_error(in->d, v->loc, E_RUN, "input '%s' is missing; only optional ones may be",
                        v->name);
  }
  return true;
}

/* Rows of a sequence up to its last non-zero mask entry. */
static size_t computed_length(const interp *in, const ir_value *masked, uint32_t i,
                              const interp_sequence *s) {
  size_t length = s->given;
  while (masked && length > 0 && !interp_mask_at(in, masked, i, s->given_at + length - 1))
    length--;
  return length;
}

static void lay_out_tokens(interp *in) {
  uint32_t i = 0;
  const ir_value *masked = find_masked(in->g, &i);
  for (size_t b = 0; b < in->batch; b++) {
    interp_sequence *s = &in->seq[b];
    s->given = in->call->lengths ? (size_t)in->call->lengths[b] : in->sequence;
    s->given_at = in->given_rows;
    s->packed_at = in->tokens;
    s->length = computed_length(in, masked, i, s);
    in->given_rows += s->given;
    in->tokens += s->length;
  }
}

/* ---- memory ---- */

/* Rows and columns of a value in this run; [B,S,…] has a row for each given token. */
static bool value_shape(const interp *in, const ir_type *t, size_t *rows, size_t *cols) {
  uint32_t first = 1;
  switch (t->dim[0]) {
  case DIM_N:
    *rows = in->tokens;
    break;
  case DIM_B:
    *rows = in->batch;
    if (t->rank < 2 || t->dim[1] != DIM_S) break;
    *rows = in->given_rows;
    first = 2;
    break;
  default:
    *rows = (size_t)t->dim[0];
  }
  *cols = 1;
  for (uint32_t i = first; i < t->rank; i++)
    if (!size_mul(*cols, t->dim[i] == DIM_S ? in->sequence : (size_t)t->dim[i], cols)) return false;
  return true;
}

static bool allocate(const interp *in, const ir_type *t, interp_value *out) {
  size_t count, bytes;
  if (!value_shape(in, t, &out->rows, &out->cols) || !size_mul(out->rows, out->cols, &count) ||
      !size_mul(count, sizeof(double), &bytes))
    return interp_no_memory(in);
  out->data = calloc(count ? count : 1, sizeof(double));
  return out->data || interp_no_memory(in);
}

static void release(interp_value *v) {
  free(v->data);
  v->data = NULL;
}

/* last[i]: the last op that has value i as an operand; 0 when none has. */
static ir_id *last_uses(const ir_graph *g, arena *a) {
  ir_id *last = arena_array(a, ir_id, g->count + 1);
  for (ir_id id = 0; id < g->count; id++)
    for (uint32_t i = 0; g->values[id].kind == IR_OP && i < g->values[id].nin; i++)
      if (ir_in(g, ir_at(g, id), i)) last[g->values[id].in[i]] = id;
  return last;
}

static void release_dead(interp *in, ir_id id, const ir_id *last) {
  const ir_value *v = ir_at(in->g, id);
  for (uint32_t i = 0; i < v->nin; i++)
    if (ir_in(in->g, v, i) && last[v->in[i]] == id) release(&in->value[v->in[i]]);
  if (last[id] == 0) release(&in->value[id]);
}

/* ---- running ---- */

static void give_outputs(const interp *in, ir_id id) {
  const interp_value *v = &in->value[id];
  for (uint32_t i = 0; i < in->g->output_count; i++)
    if (in->g->outputs[i].value == id && in->call->out[i])
      memcpy(in->call->out[i], v->data, v->rows * v->cols * sizeof(double));
}

static bool run_op(interp *in, ir_id id) {
  const ir_value *v = ir_at(in->g, id);
  interp_value *out = &in->value[id];
  if (!allocate(in, &v->type, out) || !dispatch[v->op](in, v, out)) return false;
  if (in->call->watch)
    in->call->watch(in->call->context, in->g, id, out->data, out->rows, out->cols);
  give_outputs(in, id);
  return true;
}

static bool run_all(interp *in, const ir_id *last) {
  for (ir_id id = 0; id < in->g->count; id++) {
    if (in->g->values[id].kind != IR_OP) continue;
    if (!run_op(in, id)) return false;
    release_dead(in, id, last);
  }
  return true;
}

bool interp_run(const ir_graph *g, const interp_call *c, arena *a, diag *d) {
  if (!check_limits(g, c, d)) return false;
  interp in = {.g = g, .call = c, .d = d, .single = c->single};
  in.batch = (size_t)c->batch;
  in.sequence = (size_t)c->sequence;
  in.seq = arena_array(a, interp_sequence, in.batch + 1);
  in.value = arena_array(a, interp_value, g->count + 1);
  if (!check_given(&in)) return false;
  lay_out_tokens(&in);
  bool ok = run_all(&in, last_uses(g, a));
  for (ir_id id = 0; id < g->count; id++)
    release(&in.value[id]);
  return ok;
}

bool interp_output_size(const ir_graph *g, const interp_call *c, uint32_t i, size_t *elements) {
  interp in = {.g = g, .call = c, .batch = (size_t)c->batch, .sequence = (size_t)c->sequence};
  if (!size_mul(in.batch, in.sequence, &in.given_rows)) return false;
  if (c->lengths) {
    in.given_rows = 0;
    for (size_t b = 0; b < in.batch; b++)
      in.given_rows += (size_t)c->lengths[b];
  }
  size_t rows, cols;
  return value_shape(&in, &ir_at(g, g->outputs[i].value)->type, &rows, &cols) &&
         size_mul(rows, cols, elements);
}

/* ---- depth ---- */

/* The longest sum that `v` computes; 1 for element-wise ops. The sums of context are not counted:
 * their weights add up to 1. */
static size_t reduction(const ir_graph *g, const ir_value *v) {
  switch (v->op) {
  case OP_linear:
  case OP_layernorm:
    return (size_t)ir_in(g, v, 0)->type.dim[1];
  case OP_scores:
  case OP_attention:
    return (size_t)ir_heads_of(g, v).size;
  default:
    return 1;
  }
}

static size_t linears_of(enum ir_op op) {
  if (op == OP_attention) return 2;
  return op == OP_linear || op == OP_scores || op == OP_context;
}

/* Each value's depth follows from its operands', which stand before it. One word per value lives
 * in the graph's arena. */
void interp_depth(const ir_graph *g, size_t *longest_reduction, size_t *linears) {
  size_t *depth = arena_array(g->arena, size_t, g->count + 1);
  *longest_reduction = 1;
  *linears = 0;
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_OP) continue;
    for (uint32_t i = 0; i < v->nin; i++)
      if (ir_in(g, v, i) && depth[v->in[i]] > depth[id]) depth[id] = depth[v->in[i]];
    depth[id] += linears_of(v->op);
    size_t k = reduction(g, v);
    if (k > *longest_reduction) *longest_reduction = k;
    if (depth[id] > *linears) *linears = depth[id];
  }
}
