#include "passes/rewrite.h"

#include <float.h>
#include <math.h>
#include <string.h>

const float *const_data(const ir_graph *g, ir_id id) {
  if (id == IR_NONE || ir_at(g, id)->kind != IR_CONST) return NULL;
  return ir_at(g, id)->tensor->data;
}

bool is_row_const(const ir_graph *g, ir_id id) {
  return const_data(g, id) && ir_at(g, id)->type.rank == 1;
}

bool is_linear(const ir_graph *g, ir_id id) {
  const ir_value *v = id == IR_NONE ? NULL : ir_at(g, id);
  ir_id bias;
  if (!ir_is_op(v, OP_linear) || v->part_count || v->nin <= LINEAR_W) return false;
  bias = operand(g, id, LINEAR_BIAS);
  return const_data(g, v->in[LINEAR_W]) && (bias == IR_NONE || const_data(g, bias));
}

bool is_plain_linear(const ir_graph *g, ir_id id) {
  return is_linear(g, id) && ir_at(g, id)->attr[A_act].i == ACT_NONE &&
         operand(g, id, LINEAR_RESIDUAL) == IR_NONE && operand(g, id, LINEAR_GAMMA) == IR_NONE;
}

size_t linear_rows(const ir_graph *g, ir_id linear) {
  return (size_t)ir_at(g, operand(g, linear, LINEAR_W))->type.dim[0];
}

size_t linear_cols(const ir_graph *g, ir_id linear) {
  return (size_t)ir_at(g, operand(g, linear, LINEAR_W))->type.dim[1];
}

ir_id sole_user(const ir_graph *g, ir_id id) {
  if (ir_use_count(g, id) != 1) return IR_NONE;
  for (ir_id user = 0; user < g->count; user++) {
    const ir_value *v = ir_at(g, user);
    if (v->kind != IR_OP) continue;
    for (uint32_t i = 0; i < v->nin; i++)
      if (v->in[i] == id) return user;
  }
  return IR_NONE; /* an output */
}

ir_id operand(const ir_graph *g, ir_id id, uint32_t i) {
  const ir_value *v = ir_at(g, id);
  return i < v->nin ? v->in[i] : IR_NONE;
}

void set_operand(ir_graph *g, ir_id id, uint32_t i, ir_id to) {
  ir_value *v = ir_at(g, id);
  while (v->nin <= i)
    v->in[v->nin++] = IR_NONE;
  v->in[i] = to;
}

void detach(ir_graph *g, ir_id id) {
  ir_at(g, id)->nin = 0;
}

void absorb(ir_graph *g, ir_id id, ir_id from) {
  ir_value *to = ir_at(g, id);
  const ir_value *v = ir_at(g, from);
  to->op = v->op;
  to->nin = v->nin;
  memcpy(to->in, v->in, sizeof to->in);
  memcpy(to->attr, v->attr, sizeof to->attr);
  detach(g, from);
}

void rename_value(ir_graph *g, ir_id id, const char *suffix) {
  const char *base = arena_printf(g->arena, "%s.%s", ir_at(g, id)->name, suffix);
  ir_at(g, id)->name = ir_fresh_name(g, base, false);
}

void revise_const(ir_graph *g, ir_id id, uint32_t i, ir_type type, const float *data) {
  ir_id old = ir_at(g, id)->in[i];
  const char *name = ir_at(g, old)->name;
  const char *fresh = ir_fresh_name(g, name, true);
  ir_id new = ir_add_const(g, fresh, type, data);
  ir_at(g, new)->loc = ir_at(g, old)->loc;
  set_operand(g, id, i, new);
  if (ir_use_count(g, old)) return;
  ir_at(g, old)->name = ir_at(g, new)->name;
  ir_at(g, new)->name = name;
}

/* "a.weight" -> "a.bias". */
static const char *bias_name(ir_graph *g, const char *weight) {
  static const char tail[] = ".weight";
  size_t n = strlen(weight), t = sizeof tail - 1;
  if (n > t && strcmp(weight + n - t, tail) == 0) n -= t;
  return ir_fresh_name(g, arena_printf(g->arena, "%.*s.bias", (int)n, weight), true);
}

void revise_bias(ir_graph *g, ir_id linear, const float *data) {
  ir_id w = operand(g, linear, LINEAR_W);
  ir_type type = ir_type1(ir_at(g, w)->type.dim[0]);
  ir_id bias;
  if (operand(g, linear, LINEAR_BIAS) != IR_NONE) {
    revise_const(g, linear, LINEAR_BIAS, type, data);
    return;
  }
  bias = ir_add_const(g, bias_name(g, ir_at(g, w)->name), type, data);
  ir_at(g, bias)->loc = ir_at(g, w)->loc;
  set_operand(g, linear, LINEAR_BIAS, bias);
}

bool store_f32(double x, float *out) {
  if (!(fabs(x) <= (double)FLT_MAX)) return false;
  *out = (float)x;
  return true;
}

bool scale_f32(const float *in, double factor, size_t n, float *out) {
  for (size_t i = 0; i < n; i++) {
    double x = (double)in[i] * factor;
    if (!store_f32(x, &out[i])) return false;
    if (x != 0.0 && fabs(x) < (double)FLT_MIN) return false;
  }
  return true;
}
