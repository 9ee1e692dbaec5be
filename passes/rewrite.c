#include "passes/rewrite.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- who uses what ---- */

/* Makes room for the values that were added; outputs count as a user with id IR_NONE. */
static void make_room(rewrite *r) {
  uint32_t capacity = r->g->capacity;
  if (r->g->count <= r->capacity) return;
  r->uses =
      arena_grow(r->g->arena, r->uses, r->capacity, capacity, sizeof *r->uses, _Alignof(uint32_t));
  r->users = arena_grow(r->g->arena, r->users, r->capacity, capacity, sizeof *r->users,
                        _Alignof(uint64_t));
  r->capacity = capacity;
}

static void add_use(rewrite *r, ir_id id, ir_id user) {
  if (id == IR_NONE) return;
  r->uses[id]++;
  r->users[id] += user;
}

static void drop_use(rewrite *r, ir_id id, ir_id user) {
  if (id == IR_NONE) return;
  r->uses[id]--;
  r->users[id] -= user;
}

static void add_operand_uses(rewrite *r, ir_id id) {
  for (uint32_t i = 0; i < ir_at(r->g, id)->nin; i++)
    add_use(r, ir_at(r->g, id)->in[i], id);
}

rewrite rewrite_begin(ir_graph *g) {
  rewrite r = {.g = g};
  ir_cleanup(g);
  make_room(&r);
  r.values = (namer){.taken = names_new(g->arena), .bases = names_new(g->arena)};
  r.constants = (namer){.taken = names_new(g->arena), .bases = names_new(g->arena)};
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    names_add(v->kind == IR_CONST ? r.constants.taken : r.values.taken, v->name, id);
    add_operand_uses(&r, id);
  }
  for (uint32_t i = 0; i < g->output_count; i++)
    add_use(&r, g->outputs[i].value, IR_NONE);
  return r;
}

void rewrite_end(rewrite *r) {
  ir_cleanup(r->g);
}

bool has_room(const rewrite *r, uint32_t values) {
  return r->g->count <= IR_MAX_VALUES && values <= IR_MAX_VALUES - r->g->count;
}

/* ---- looking ---- */

ir_id operand(const ir_graph *g, ir_id id, uint32_t i) {
  const ir_value *v = ir_at(g, id);
  return i < v->nin ? v->in[i] : IR_NONE;
}

const float *const_data(const ir_graph *g, ir_id id) {
  if (id == IR_NONE || ir_at(g, id)->kind != IR_CONST) return NULL;
  return ir_at(g, id)->tensor->data;
}

bool is_row_const(const ir_graph *g, ir_id id) {
  return const_data(g, id) && ir_at(g, id)->type.rank == 1;
}

bool is_linear(const ir_graph *g, ir_id id) {
  const ir_value *v = id == IR_NONE ? NULL : ir_at(g, id);
  if (!ir_is_op(v, OP_linear) || v->part_count || v->nin <= LINEAR_W) return false;
  return linear_weight(g, id) && (operand(g, id, LINEAR_BIAS) == IR_NONE || linear_bias(g, id));
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

const float *linear_weight(const ir_graph *g, ir_id linear) {
  return const_data(g, operand(g, linear, LINEAR_W));
}

const float *linear_bias(const ir_graph *g, ir_id linear) {
  return const_data(g, operand(g, linear, LINEAR_BIAS));
}

ir_id sole_user(const rewrite *r, ir_id id) {
  return r->uses[id] == 1 ? (ir_id)r->users[id] : IR_NONE;
}

/* ---- names ---- */

/* The counter of a base, so that many names of one base are not tried over and over. */
static uint32_t *next_number(namer *n, arena *a, const char *base) {
  ir_id index = names_find(n->bases, base);
  if (index != IR_NONE) return &n->next[index];
  if (n->count == n->room) {
    uint32_t room = n->room ? 2 * n->room : 64;
    n->next = arena_grow(a, n->next, n->room, room, sizeof *n->next, _Alignof(uint32_t));
    n->room = room;
  }
  names_add(n->bases, arena_strdup(a, base), n->count);
  n->next[n->count] = 1;
  return &n->next[n->count++];
}

/* base, base.1, base.2 …: the first that is free; a long base is cut, for names have a limit. */
static const char *take_name(rewrite *r, const char *base, bool constant) {
  enum { ROOM = 16 };
  char name[IR_MAX_NAME + 1];
  namer *n = constant ? &r->constants : &r->values;
  uint32_t *number;
  const char *kept;
  snprintf(name, sizeof name - ROOM, "%s", base);
  size_t end = strlen(name);
  number = next_number(n, r->g->arena, name);
  while (names_find(n->taken, name) != IR_NONE)
    snprintf(name + end, sizeof name - end, ".%u", (*number)++);
  kept = arena_strdup(r->g->arena, name);
  names_add(n->taken, kept, 0);
  return kept;
}

void rename_value(rewrite *r, ir_id id, const char *suffix) {
  const char *base = arena_printf(r->g->arena, "%s.%s", ir_at(r->g, id)->name, suffix);
  ir_at(r->g, id)->name = take_name(r, base, false);
}

/* ---- changing ---- */

ir_id add_const(rewrite *r, const char *base, ir_type type, const float *data) {
  ir_id id = ir_add_const(r->g, take_name(r, base, true), type, data);
  make_room(r);
  return id;
}

ir_id add_op(rewrite *r, const char *base, enum ir_op op, const ir_id *in, uint32_t nin) {
  ir_id id = ir_add_op(r->g, take_name(r, base, false), op, in, nin);
  make_room(r);
  add_operand_uses(r, id);
  return id;
}

void set_operand(rewrite *r, ir_id id, uint32_t i, ir_id to) {
  ir_value *v = ir_at(r->g, id);
  while (v->nin <= i)
    v->in[v->nin++] = IR_NONE;
  drop_use(r, v->in[i], id);
  add_use(r, to, id);
  v->in[i] = to;
  while (v->nin > 0 && v->in[v->nin - 1] == IR_NONE)
    v->nin--;
}

void detach(rewrite *r, ir_id id) {
  ir_value *v = ir_at(r->g, id);
  for (uint32_t i = 0; i < v->nin; i++)
    drop_use(r, v->in[i], id);
  v->nin = 0;
}

void absorb(rewrite *r, ir_id id, ir_id from) {
  ir_value *to = ir_at(r->g, id);
  const ir_value *v = ir_at(r->g, from);
  detach(r, id);
  to->op = v->op;
  to->nin = v->nin;
  memcpy(to->in, v->in, sizeof to->in);
  memcpy(to->attr, v->attr, sizeof to->attr);
  add_operand_uses(r, id);
  detach(r, from);
}

void revise_const(rewrite *r, ir_id id, uint32_t i, ir_type type, const float *data) {
  ir_id old = operand(r->g, id, i);
  const char *name = ir_at(r->g, old)->name;
  ir_id new = add_const(r, name, type, data);
  ir_at(r->g, new)->loc = ir_at(r->g, old)->loc;
  set_operand(r, id, i, new);
  if (r->uses[old]) return;
  ir_at(r->g, old)->name = ir_at(r->g, new)->name;
  ir_at(r->g, new)->name = name;
}

/* "a.weight" -> "a.bias". */
static const char *bias_name(const rewrite *r, const char *weight) {
  static const char tail[] = ".weight";
  size_t n = strlen(weight), t = sizeof tail - 1;
  if (n > t && strcmp(weight + n - t, tail) == 0) n -= t;
  return arena_printf(r->g->arena, "%.*s.bias", (int)n, weight);
}

void revise_bias(rewrite *r, ir_id linear, const float *data) {
  ir_id w = operand(r->g, linear, LINEAR_W), bias;
  ir_type type = ir_type1(ir_at(r->g, w)->type.dim[0]);
  if (operand(r->g, linear, LINEAR_BIAS) != IR_NONE) {
    revise_const(r, linear, LINEAR_BIAS, type, data);
    return;
  }
  bias = add_const(r, bias_name(r, ir_at(r->g, w)->name), type, data);
  ir_at(r->g, bias)->loc = ir_at(r->g, w)->loc;
  set_operand(r, linear, LINEAR_BIAS, bias);
}

/* ---- arithmetic ---- */

bool store_f32(double x, float *out) {
  if (!(fabs(x) <= (double)FLT_MAX)) return false;
  *out = (float)x;
  return true;
}

bool scale_f32(const float *in, double factor, size_t n, float *out) {
  for (size_t i = 0; i < n; i++) {
    double x = (double)in[i] * factor;
    if (!store_f32(x == 0.0 ? 0.0 : x, &out[i])) return false; /* no -0 */
    if (x != 0.0 && fabs(x) < (double)FLT_MIN) return false;
  }
  return true;
}
