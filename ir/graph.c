/* Building and changing graphs. */
#include <string.h>

#include "ir/array.h"
#include "ir/ir.h"

ir_graph *ir_graph_new(arena *a, const char *name) {
  ir_graph *g = arena_new_one(a, ir_graph);
  g->arena = a;
  g->name = arena_strdup(a, name);
  g->max_batch = 1;
  g->max_sequence = 512;
  return g;
}

static ir_id add_value(ir_graph *g, const ir_value *v, const char *name) {
  if (g->count == g->capacity) {
    uint32_t capacity = g->capacity ? g->capacity * 2 : 64;
    g->values =
        arena_grow(g->arena, g->values, g->count, capacity, sizeof *g->values, _Alignof(ir_value));
    g->capacity = capacity;
  }
  ir_value *to = &g->values[g->count];
  *to = *v;
  to->name = arena_strdup(g->arena, name);
  to->slot = IR_NO_SLOT;
  return g->count++;
}

ir_id ir_add_input(ir_graph *g, const char *name, ir_type type) {
  ir_value v = {.kind = IR_INPUT, .type = type};
  return add_value(g, &v, name);
}

ir_id ir_add_const(ir_graph *g, const char *name, ir_type type, const float *data) {
  ir_tensor *t = arena_new_one(g->arena, ir_tensor);
  t->data = data;
  if (!ir_type_elements(&type, &t->count)) t->count = 0; /* verify reports the type */
  ir_value v = {.kind = IR_CONST, .type = type, .tensor = t};
  return add_value(g, &v, name);
}

ir_id ir_add_op(ir_graph *g, const char *name, enum ir_op op, const ir_id *in, uint32_t nin) {
  ir_value v = {.kind = IR_OP, .op = op, .nin = nin};
  while (v.nin > 0 && in[v.nin - 1] == IR_NONE)
    v.nin--;
  for (uint32_t i = 0; i < IR_MAX_IN; i++)
    v.in[i] = i < v.nin ? in[i] : IR_NONE;
  for (enum ir_attr a = 0; a < ATTR_COUNT; a++) {
    if (ir_attrs[a].kind == ATTR_FLOAT)
      v.attr[a].f = ir_attrs[a].init;
    else
      v.attr[a].i = (int64_t)ir_attrs[a].init;
  }
  ir_id id = add_value(g, &v, name);
  ir_infer(g, id, NULL);
  return id;
}

void ir_add_output(ir_graph *g, const char *name, ir_id value) {
  uint32_t n = g->output_count;
  g->outputs = array_room(g->arena, g->outputs, n, sizeof *g->outputs, _Alignof(ir_output));
  g->outputs[n] = (ir_output){.name = arena_strdup(g->arena, name), .value = value};
  g->output_count = n + 1;
}

static bool name_taken(const ir_graph *g, const char *name, bool constant) {
  for (ir_id i = 0; i < g->count; i++)
    if ((g->values[i].kind == IR_CONST) == constant && strcmp(g->values[i].name, name) == 0)
      return true;
  return false;
}

const char *ir_fresh_name(ir_graph *g, const char *base, bool constant) {
  const char *name = arena_strdup(g->arena, base);
  for (unsigned i = 1; name_taken(g, name, constant); i++)
    name = arena_printf(g->arena, "%s.%u", base, i);
  return name;
}

static ir_part *copy_parts(arena *a, const ir_part *parts, uint32_t count) {
  ir_part *to = arena_array(a, ir_part, count + 1);
  for (uint32_t i = 0; i < count; i++) {
    to[i] = parts[i];
    to[i].rows = arena_array(a, ir_range, parts[i].row_ranges + 1);
    for (uint32_t r = 0; r < parts[i].row_ranges; r++)
      to[i].rows[r] = parts[i].rows[r];
  }
  return to;
}

static void copy_value(arena *a, ir_value *v) {
  v->parts = copy_parts(a, v->parts, v->part_count);
  if (v->kind != IR_CONST) return;
  ir_tensor *tensor = arena_new_one(a, ir_tensor);
  *tensor = *v->tensor;
  v->tensor = tensor;
}

ir_graph *ir_clone(const ir_graph *g, arena *a) {
  ir_graph *to = arena_new_one(a, ir_graph);
  uint32_t values = g->count, outputs = g->output_count, slots = g->slot_count;
  *to = *g;
  to->arena = a;
  to->capacity = values + 1;
  to->values =
      arena_grow(a, g->values, values, to->capacity, sizeof *g->values, _Alignof(ir_value));
  /* The room that array_room expects. */
  to->outputs = arena_grow(a, g->outputs, outputs, 2 * (size_t)outputs + 1, sizeof *g->outputs,
                           _Alignof(ir_output));
  to->slots =
      arena_grow(a, g->slots, slots, 2 * (size_t)slots + 1, sizeof *g->slots, _Alignof(ir_bytes));
  for (uint32_t i = 0; i < values; i++)
    copy_value(a, &to->values[i]);
  return to;
}

/* ---- cleanup ---- */

/* Marks the values that some output needs. The stack holds marked values still to be expanded, so
 * each value is on it at most once. */
static bool *mark_live(const ir_graph *g) {
  bool *live = arena_array(g->arena, bool, g->count);
  ir_id *stack = arena_array(g->arena, ir_id, g->count);
  uint32_t top = 0;
  for (uint32_t i = 0; i < g->output_count; i++) {
    ir_id id = g->outputs[i].value;
    if (!live[id]) stack[top++] = id;
    live[id] = true;
  }
  while (top > 0) {
    const ir_value *v = ir_at(g, stack[--top]);
    for (uint32_t k = 0; k < v->nin; k++) {
      ir_id id = v->in[k];
      if (id == IR_NONE || live[id]) continue;
      live[id] = true;
      stack[top++] = id;
    }
  }
  return live;
}

typedef struct ordering {
  const ir_graph *g;
  ir_id *order; /* old ids in their new order */
  uint32_t count;
  ir_id *stack;    /* a path of ops, each waiting for an operand */
  uint32_t *state; /* by old id: 0 not seen, else 1 + the operand that is looked at next */
} ordering;

/* The next operand of `v` that has no place yet, or IR_NONE. */
static ir_id next_operand(const ir_value *v, uint32_t *state) {
  while (*state - 1 < v->nin) {
    ir_id id = v->in[*state - 1];
    ++*state;
    if (id != IR_NONE) return id;
  }
  return IR_NONE;
}

/* Places `root` after all its operands; a walk with its own stack, for chains are long. */
static void place(ordering *o, ir_id root) {
  uint32_t top = 0;
  if (o->state[root]) return;
  o->state[root] = 1;
  o->stack[top++] = root;
  while (top > 0) {
    ir_id id = o->stack[top - 1];
    ir_id next = next_operand(ir_at(o->g, id), &o->state[id]);
    if (next == IR_NONE) {
      o->order[o->count++] = id;
      top--;
    } else if (!o->state[next]) {
      o->state[next] = 1;
      o->stack[top++] = next;
    }
  }
}

static void renumber(ir_graph *g, const ordering *o) {
  ir_id *new_id = arena_array(g->arena, ir_id, g->count);
  ir_value *values = arena_array(g->arena, ir_value, o->count);
  for (uint32_t i = 0; i < o->count; i++) {
    new_id[o->order[i]] = i;
    values[i] = g->values[o->order[i]];
  }
  for (uint32_t i = 0; i < o->count; i++)
    for (uint32_t k = 0; k < values[i].nin; k++)
      if (values[i].in[k] != IR_NONE) values[i].in[k] = new_id[values[i].in[k]];
  for (uint32_t i = 0; i < g->output_count; i++)
    g->outputs[i].value = new_id[g->outputs[i].value];
  g->values = values;
  g->count = g->capacity = o->count;
}

void ir_cleanup(ir_graph *g) {
  const bool *live = mark_live(g);
  ordering o = {.g = g,
                .order = arena_array(g->arena, ir_id, g->count),
                .stack = arena_array(g->arena, ir_id, g->count),
                .state = arena_array(g->arena, uint32_t, g->count)};
  for (enum ir_kind kind = IR_INPUT; kind <= IR_OP; kind++)
    for (ir_id i = 0; i < g->count; i++)
      if (g->values[i].kind == kind && (live[i] || kind == IR_INPUT)) place(&o, i);
  renumber(g, &o);
}

ir_id ir_mask(const ir_graph *g) {
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = &g->values[id];
    for (uint32_t i = 0; v->kind == IR_OP && i < v->nin; i++)
      if (v->in[i] != IR_NONE && ir_operand(v->op, i).mask) return v->in[i];
  }
  return IR_NONE;
}

uint32_t ir_input_index(const ir_graph *g, ir_id input) {
  uint32_t n = 0;
  for (ir_id i = 0; i < input; i++)
    n += g->values[i].kind == IR_INPUT;
  return n;
}
