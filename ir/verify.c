/* Checks a graph: what it has to be for the passes, the interpreter and codegen to rely on it. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ir/check.h"
#include "ir/names.h"
#include "support/checked.h"

/* ---- names ---- */

static bool check_name(const ir_check *c, const ir_value *v, const char *name) {
  if (!*name) return ir_fail(c, v, E_NAME, "an empty name");
  if (strlen(name) > IR_MAX_NAME)
    return ir_fail(c, v, E_LIMIT, "a name of over %d bytes", IR_MAX_NAME);
  return true;
}

static void check_names(const ir_check *c) {
  names *values = names_new(c->g->arena), *constants = names_new(c->g->arena);
  for (ir_id id = 0; id < c->g->count; id++) {
    const ir_value *v = ir_at(c->g, id);
    names *table = v->kind == IR_CONST ? constants : values;
    if (check_name(c, v, v->name) && names_add(table, v->name, id) != IR_NONE)
      ir_fail(c, v, E_DUP_NAME, "an earlier value has the same name");
  }
  names *outputs = names_new(c->g->arena);
  for (uint32_t i = 0; i < c->g->output_count; i++) {
    const ir_output *o = &c->g->outputs[i];
    if (check_name(c, NULL, o->name) && names_add(outputs, o->name, i) != IR_NONE)
      ir_fail(c, NULL, E_DUP_NAME, "two outputs are named '%s'", o->name);
  }
}

/* ---- types and sizes ---- */

/* The most that a dimension can be in a call. */
static int64_t dim_limit(const ir_graph *g, int64_t dim) {
  if (dim == DIM_B) return g->max_batch;
  if (dim == DIM_S) return g->max_sequence;
  return dim == DIM_N ? g->max_batch * g->max_sequence : dim;
}

/* Every dimension is possible and the bytes at the graph's limits can be counted. */
static bool check_type(const ir_check *c, const ir_value *v) {
  const ir_type *t = &v->type;
  size_t bytes = sizeof(float);
  if (t->rank > IR_MAX_RANK || (unsigned)t->dtype > IR_I32)
    return ir_fail(c, v, E_SHAPE, "an impossible type");
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t dim = dim_limit(c->g, t->dim[i]);
    if (dim < 1 || dim > IR_MAX_DIM)
      return ir_fail(c, v, E_DIM, "dimension %" PRId64 " of %s is not in 1 … %d", dim,
                     ir_type_print(c->g->arena, t), IR_MAX_DIM);
    if (!size_mul(bytes, (size_t)dim, &bytes) || bytes > SIZE_MAX / 2)
      return ir_fail(c, v, E_OVERFLOW,
                     "the bytes of %s at batch %" PRId64 " and sequence %" PRId64 " overflow",
                     ir_type_print(c->g->arena, t), c->g->max_batch, c->g->max_sequence);
  }
  return true;
}

static bool has_shape(const ir_type *t, ir_type shape) {
  if (t->dtype != shape.dtype || t->rank != shape.rank) return false;
  for (uint32_t i = 0; i < t->rank; i++)
    if (shape.dim[i] < 0 ? t->dim[i] != shape.dim[i] : t->dim[i] < 1) return false;
  return true;
}

static bool check_input(const ir_check *c, const ir_value *v) {
  enum { ANY = 1 };
  const ir_type ids = {IR_I32, 2, {DIM_B, DIM_S}};
  const ir_type tokens = {IR_F32, 3, {DIM_B, DIM_S, ANY}}, rows = {IR_F32, 2, {DIM_B, ANY}};
  if (!has_shape(&v->type, ids) && !has_shape(&v->type, tokens) && !has_shape(&v->type, rows))
    return ir_fail(c, v, E_SHAPE, "is %s; inputs are i32[B,S], f32[B,S,C] or f32[B,C]",
                   ir_type_print(c->g->arena, &v->type));
  if (v->optional && v->type.dtype != IR_I32)
    return ir_fail(c, v, E_DTYPE, "only inputs of i32 may be optional");
  return check_type(c, v);
}

static bool check_finite(const ir_check *c, const ir_value *v) {
  ir_tensor *t = v->tensor;
  for (size_t i = 0; i < t->count && !t->finite; i++)
    if (!isfinite(t->data[i])) return ir_fail(c, v, E_NONFINITE, "element %zu is not finite", i);
  t->finite = true;
  return true;
}

static bool check_const(const ir_check *c, const ir_value *v) {
  size_t count;
  if (v->type.dtype != IR_F32) return ir_fail(c, v, E_DTYPE, "constants are f32");
  for (uint32_t i = 0; i < v->type.rank && i < IR_MAX_RANK; i++)
    if (v->type.dim[i] < 1)
      return ir_fail(c, v, E_DIM, "dimension %" PRId64 " of %s is not in 1 … %d", v->type.dim[i],
                     ir_type_print(c->g->arena, &v->type), IR_MAX_DIM);
  if (!check_type(c, v)) return false;
  if (!ir_type_elements(&v->type, &count))
    return ir_fail(c, v, E_OVERFLOW, "%s has too many elements",
                   ir_type_print(c->g->arena, &v->type));
  if (!v->tensor || !v->tensor->data || v->tensor->count != count)
    return ir_fail(c, v, E_SHAPE, "the data does not have the %zu elements of %s", count,
                   ir_type_print(c->g->arena, &v->type));
  return check_finite(c, v);
}

/* ---- attributes ---- */

static bool is_default(const ir_value *v, enum ir_attr a) {
  if (ir_attrs[a].kind == ATTR_FLOAT)
    return memcmp(&v->attr[a].f, &ir_attrs[a].init, sizeof v->attr[a].f) == 0;
  return v->attr[a].i == (int64_t)ir_attrs[a].init;
}

/* The ranges that hold for every op; rules that depend on shapes are in infer.c. */
static bool check_attr(const ir_check *c, const ir_value *v, enum ir_attr a) {
  const ir_attr_info *info = &ir_attrs[a];
  ir_attr_value value = v->attr[a];
  if (!ir_op_has_attr(v->op, a))
    return is_default(v, a) || ir_fail(c, v, E_ATTR, "has no attribute '%s'", info->name);
  switch (info->kind) {
  case ATTR_FLOAT:
    if (!isfinite(value.f) || !isfinite((float)value.f))
      return ir_fail(c, v, E_ATTR, "%s is no finite 32-bit float", info->name);
    return (a != A_eps || value.f >= 0) || ir_fail(c, v, E_ATTR, "eps is negative");
  case ATTR_INT:
    return (value.i >= 0 && value.i <= IR_MAX_DIM) ||
           ir_fail(c, v, E_ATTR, "%s=%" PRId64 " is not in 0 … %d", info->name, value.i,
                   IR_MAX_DIM);
  case ATTR_BOOL:
  case ATTR_ACT:
  case ATTR_FORM:
  case ATTR_POSITION:
    break;
  }
  return ir_enum_name(info->kind, value.i) ||
         ir_fail(c, v, E_ATTR, "%s has no value %" PRId64, info->name, value.i);
}

static bool check_attrs(const ir_check *c, const ir_value *v) {
  bool ok = true;
  for (enum ir_attr a = 0; a < ATTR_COUNT; a++)
    ok = check_attr(c, v, a) && ok;
  return ok;
}

/* ---- operands ---- */

/* What walks along while the ops are checked in order. */
typedef struct verifier {
  const ir_check *check;
  bool *bad;            /* by id: an error was recorded, do not report what follows from it */
  ir_id mask;           /* the graph's mask, or IR_NONE before the first use */
  unsigned char *owner; /* for ir_check_parts: as large as the largest weight with parts */
} verifier;

/* The operand is a constant, the mask, or a value, as the op wants it. */
static bool check_role(verifier *f, const ir_value *v, uint32_t i) {
  const ir_check *c = f->check;
  const ir_operand_info role = ir_operand(v->op, i);
  const ir_value *in = ir_at(c->g, v->in[i]);
  if (role.mask) {
    if (in->kind != IR_INPUT) return ir_fail(c, v, E_OP, "mask '%s' is no graph input", in->name);
    if (f->mask != IR_NONE && f->mask != v->in[i])
      return ir_fail(c, v, E_OP, "mask '%s', but the graph has a mask '%s' already", in->name,
                     ir_at(c->g, f->mask)->name);
    f->mask = v->in[i];
    return true;
  }
  if (role.constant && in->kind != IR_CONST)
    return ir_fail(c, v, E_OP, "operand %s has to be a constant", role.name);
  if ((v->op == OP_pack) != (in->kind == IR_INPUT))
    return ir_fail(c, v, E_OP,
                   v->op == OP_pack ? "operand %s has to be a graph input"
                                    : "operand %s is a graph input; only pack reads those",
                   role.name);
  if (ir_is_op(in, OP_unpack))
    return ir_fail(c, v, E_OP, "operand %s is the result of unpack, which only outputs may use",
                   role.name);
  return true;
}

/* False after an error here, and silently when an operand has one. */
static bool check_operands(verifier *f, ir_id id) {
  const ir_value *v = ir_at(f->check->g, id);
  bool ok = true;
  for (uint32_t i = 0; i < v->nin && i < ir_ops[v->op].in_max; i++) {
    if (v->in[i] == IR_NONE) continue;
    if (v->in[i] >= id)
      return ir_fail(f->check, v, E_IR_SSA, "operand %s is not defined before it",
                     ir_operand(v->op, i).name);
    ok = check_role(f, v, i) && ok;
    ok = ok && !f->bad[v->in[i]];
  }
  return ok;
}

/* ---- ops ---- */

/* Positions are at most max_sequence - 1: a table that they pick from needs that many rows. */
static bool check_position_table(const ir_check *c, const ir_value *v, const ir_value *table) {
  if (!table || table->type.dim[0] >= c->g->max_sequence) return true;
  return ir_fail(c, v, E_SHAPE,
                 "the position table has %" PRId64 " rows, but max_sequence is %" PRId64,
                 table->type.dim[0], c->g->max_sequence);
}

/* Ids that a call brings are checked then; those of an input that it leaves out are known now. */
static bool check_table(const ir_check *c, const ir_value *v, const ir_value *ids,
                        const ir_value *table) {
  if (ir_is_op(ids, OP_positions)) return check_position_table(c, v, table);
  if (!ids || !table || !ir_is_op(ids, OP_pack)) return true;
  const ir_value *input = ir_in(c->g, ids, 0);
  int64_t rows = table->type.dim[0];
  if (!input->optional || (input->absent >= 0 && input->absent < rows)) return true;
  return ir_fail(c, v, E_SHAPE,
                 "input '%s' is %" PRId32 " where a call leaves it out, but the table has %" PRId64
                 " rows",
                 input->name, input->absent, rows);
}

static bool check_tables(const ir_check *c, const ir_value *v) {
  const ir_value *in[5];
  for (uint32_t i = 0; i < 5; i++)
    in[i] = ir_in(c->g, v, i);
  if (v->op == OP_gather) return check_table(c, v, in[1], in[0]);
  return v->op != OP_embed || (check_table(c, v, in[0], in[2]) && check_table(c, v, in[1], in[4]) &&
                               check_position_table(c, v, in[3]));
}

static bool check_op(verifier *f, ir_id id) {
  const ir_check *c = f->check;
  const ir_value *v = ir_at(c->g, id);
  ir_type type;
  if ((unsigned)v->op >= OP_COUNT) return ir_fail(c, v, E_OP, "is no known op");
  if (v->nin > 0 && v->nin <= IR_MAX_IN && v->in[v->nin - 1] == IR_NONE)
    return ir_fail(c, v, E_OP, "its last operand is absent, but counted");
  if (!check_operands(f, id) || !check_attrs(c, v) || !ir_infer_type(c, v, &type)) return false;
  if (!ir_type_equal(&type, &v->type))
    return ir_fail(c, v, E_SHAPE, "has the type %s, but the op gives %s",
                   ir_type_print(c->g->arena, &v->type), ir_type_print(c->g->arena, &type));
  if (!check_type(c, v) || !check_tables(c, v)) return false;
  return v->part_count == 0 || ir_check_parts(c, v, f->owner);
}

/* ---- the graph ---- */

static bool check_limits(const ir_check *c) {
  const ir_graph *g = c->g;
  if (g->count > IR_MAX_VALUES)
    return ir_fail(c, NULL, E_LIMIT, "the graph has %u values; at most %d are possible", g->count,
                   IR_MAX_VALUES);
  if (g->max_batch < 1 || g->max_batch > IR_MAX_DIM)
    return ir_fail(c, NULL, E_DIM, "max_batch=%" PRId64 " is not in 1 … %d", g->max_batch,
                   IR_MAX_DIM);
  if (g->max_sequence < 1 || g->max_sequence > IR_MAX_DIM)
    return ir_fail(c, NULL, E_DIM, "max_sequence=%" PRId64 " is not in 1 … %d", g->max_sequence,
                   IR_MAX_DIM);
  if (g->max_batch * g->max_sequence > IR_MAX_DIM)
    return ir_fail(c, NULL, E_OVERFLOW,
                   "max_batch=%" PRId64 " times max_sequence=%" PRId64 " is over %d tokens",
                   g->max_batch, g->max_sequence, IR_MAX_DIM);
  return true;
}

/* Outputs exist, come from unpack, and each unpack feeds exactly one. */
static void check_outputs(const ir_check *c) {
  const ir_graph *g = c->g;
  bool *written = arena_array(g->arena, bool, g->count);
  if (g->output_count == 0) ir_fail(c, NULL, E_GRAPH, "the graph has no output");
  for (uint32_t i = 0; i < g->output_count; i++) {
    const ir_output *o = &g->outputs[i];
    if (o->value >= g->count) {
      ir_fail(c, NULL, E_IR_SSA, "output '%s' is value %u, which does not exist", o->name,
              o->value);
      continue;
    }
    const ir_value *v = ir_at(g, o->value);
    if (!ir_is_op(v, OP_unpack))
      ir_fail(c, v, E_OP, "is output '%s', but outputs come from unpack alone", o->name);
    else if (written[o->value])
      ir_fail(c, v, E_OP, "is two outputs; output '%s' needs an unpack of its own", o->name);
    written[o->value] = true;
  }
  for (ir_id id = 0; id < g->count; id++)
    if (ir_is_op(ir_at(g, id), OP_unpack) && !written[id])
      ir_fail(c, ir_at(g, id), E_OP, "is no output, so that its result has no place");
}

/* The elements of the largest weight that has parts. */
static size_t largest_cut(const ir_graph *g) {
  size_t largest = 0;
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id), *w = NULL;
    if (ir_is_op(v, OP_linear) && v->part_count && v->nin > 1 && v->in[1] < g->count)
      w = ir_at(g, v->in[1]);
    if (w && w->kind == IR_CONST && w->tensor && w->tensor->count > largest)
      largest = w->tensor->count;
  }
  return largest;
}

static void check_values(const ir_check *c) {
  const ir_graph *g = c->g;
  verifier f = {.check = c,
                .bad = arena_array(g->arena, bool, g->count),
                .mask = IR_NONE,
                .owner = arena_array(g->arena, unsigned char, largest_cut(g))};
  bool inputs = false;
  for (ir_id id = 0; id < g->count && !diag_full(c->d); id++) {
    const ir_value *v = ir_at(g, id);
    bool ok = v->kind == IR_INPUT   ? check_input(c, v)
              : v->kind == IR_CONST ? check_const(c, v)
                                    : check_op(&f, id);
    f.bad[id] = !ok;
    inputs |= v->kind == IR_INPUT;
  }
  if (!inputs) ir_fail(c, NULL, E_GRAPH, "the graph has no input");
}

bool ir_verify(const ir_graph *g, diag *d, const char *when) {
  ir_check c = {.g = g, .d = d, .when = when};
  size_t before = diag_errors(d);
  if (diag_full(d) || !check_limits(&c)) return false;
  check_names(&c);
  check_values(&c);
  check_outputs(&c);
  if (diag_errors(d) == before) ir_check_plan(&c);
  return diag_errors(d) == before;
}
