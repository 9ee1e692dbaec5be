/* One node of the graph form: its operands and attributes, by the tables of the IR. */
#include <string.h>

#include "frontend/graph_form.h"
#include "frontend/schema.h"
#include "frontend/suggest.h"

/* The state of one node: `item` walks over the values of `in`. */
typedef struct node {
  graph_form *f;
  const ynode *yaml;
  uint32_t index;
  const char *name;
  enum ir_op op;
  const ynode *item;
  ynode lone; /* stands for a lone text, whose own `next` is the node's next key */
  ir_id in[IR_MAX_IN];
} node;

static bool fail(const node *n, src_loc loc, enum err code, const char *text) {
  return diag_error(n->f->im->diag, loc, code, "%s '%.64s': %s", ir_ops[n->op].name, n->name, text);
}

/* The YAML key of an operand that has one of its own. */
static const char *key_of(const ir_operand_info *info) {
  return strcmp(info->name, "w") == 0 ? "weight" : info->name;
}

/* Values that must be there are listed under `in`. */
static bool is_listed(const ir_operand_info *info) {
  return !info->constant && !info->optional && !info->mask;
}

/* ---- tensors ---- */

static void unknown_tensor(const node *n, const ynode *at) {
  const import *im = n->f->im;
  if (!n->f->weights) {
    diag_error(im->diag, at->loc, E_W_MISSING,
               "tensor '%.64s' is not to be found: the model has no key 'weights'", at->text);
    return;
  }
  suggestion s = {.word = at->text};
  for (size_t i = 0; i < st_count(n->f->weights); i++)
    suggest_offer(&s, st_at(n->f->weights, i)->name);
  diag_error(im->diag, at->loc, E_W_MISSING, "'%s' has no tensor '%.64s'%s",
             st_shard_name(n->f->weights, 0), at->text, suggest_text(im->arena, &s));
}

static ir_id load_tensor(const node *n, const ynode *at) {
  graph_form *f = n->f;
  st_tensor *t = f->weights ? st_find(f->weights, at->text) : NULL;
  if (!t) {
    unknown_tensor(n, at);
    return IR_NONE;
  }
  const float *data = st_read_f32(f->weights, f->im->diag, f->im->arena, t);
  if (!data) {
    diag_note(f->im->diag, at->loc, "the tensor is used here");
    return IR_NONE;
  }
  ir_id id = ir_add_const(f->graph, t->name, ir_type_make(IR_F32, t->rank, t->dim), data);
  ir_at(f->graph, id)->loc = at->loc;
  return id;
}

/* The constant of a tensor, loaded at its first use. */
static ir_id tensor(const node *n, const ynode *at) {
  ir_id id = names_find(n->f->constants, at->text);
  if (id == GRAPH_BROKEN) return IR_NONE;
  if (id != IR_NONE) return id;
  id = load_tensor(n, at);
  names_add(n->f->constants, at->text, id == IR_NONE ? GRAPH_BROKEN : id);
  return id;
}

/* ---- operands ---- */

static bool take_value(node *n, const ynode *at, ir_id *out) {
  ir_id id = graph_value(n->f, at, n->index);
  if (id == IR_NONE || id == GRAPH_BROKEN) return false;
  *out = id;
  return true;
}

static bool take_tensor(const node *n, const ynode *at, ir_id *out) {
  *out = tensor(n, at);
  return *out != IR_NONE;
}

/* The next item of `in`; the last operand of add and mul may be a tensor under `weight`. */
static bool take_listed(node *n, ir_id *out) {
  if (!n->item) return take_tensor(n, ynode_get(n->yaml, "weight"), out);
  const ynode *at = n->item;
  n->item = at->next;
  return take_value(n, at, out);
}

static bool take_keyed(node *n, const ir_operand_info *info, ir_id *out) {
  const ynode *at = ynode_get(n->yaml, key_of(info));
  if (at) return info->constant ? take_tensor(n, at, out) : take_value(n, at, out);
  return info->optional ||
         fail(n, n->yaml->loc, E_KEY,
              arena_printf(n->f->im->arena, "the key '%s' is missing", key_of(info)));
}

/* Checks the number of values under `in`. */
static bool check_listed(const node *n, const ynode *in) {
  arena *a = n->f->im->arena;
  uint32_t given = !in ? 0 : in->kind == Y_SCALAR ? 1 : in->count, due = 0;
  const char *list = "";
  for (uint32_t i = 0; i < ir_ops[n->op].in_max; i++) {
    ir_operand_info info = ir_operand(n->op, i);
    bool as_weight = strcmp(info.name, "b") == 0 && ynode_get(n->yaml, "weight");
    if (!is_listed(&info) || as_weight) continue;
    list = arena_printf(a, "%s%s%s", list, due++ ? ", " : "", info.name);
  }
  if (given == due) return true;
  return fail(n, in ? in->loc : n->yaml->loc, E_OP,
              arena_printf(a, "it takes %u value%s under 'in'%s%s%s, not %u", due,
                           due == 1 ? "" : "s", due ? " (" : "", list, due ? ")" : "", given));
}

static bool take_operands(node *n) {
  const ynode *in = ynode_get(n->yaml, "in");
  if (!check_listed(n, in)) return false;
  if (in && in->kind == Y_SCALAR) {
    n->lone = *in;
    n->lone.next = NULL;
    n->item = &n->lone;
  } else if (in) {
    n->item = in->first;
  }
  bool ok = true;
  for (uint32_t i = 0; i < ir_ops[n->op].in_max; i++) {
    ir_operand_info info = ir_operand(n->op, i);
    n->in[i] = info.mask ? n->f->mask : IR_NONE;
    if (info.mask) continue;
    ok &= is_listed(&info) ? take_listed(n, &n->in[i]) : take_keyed(n, &info, &n->in[i]);
  }
  return ok;
}

/* ---- keys that the op does not have ---- */

static bool op_has_key(const node *n, const char *key) {
  static const char *const common[] = {"name", "op", "attributes"};
  for (size_t i = 0; i < sizeof common / sizeof *common; i++)
    if (strcmp(key, common[i]) == 0) return true;
  for (uint32_t i = 0; i < ir_ops[n->op].in_max; i++) {
    ir_operand_info info = ir_operand(n->op, i);
    if (info.mask) continue;
    if (strcmp(key, is_listed(&info) ? "in" : key_of(&info)) == 0) return true;
    if (strcmp(info.name, "b") == 0 && strcmp(key, "weight") == 0) return true;
  }
  return false;
}

static bool check_keys(const node *n) {
  bool ok = true;
  for (const ynode *c = n->yaml->first; c; c = c->next)
    if (!op_has_key(n, c->key->text))
      ok = fail(n, c->key->loc, E_KEY,
                arena_printf(n->f->im->arena, "the op has no operand '%s'", c->key->text));
  return ok;
}

/* ---- attributes ---- */

/* Attributes that a pass writes are not for users. */
static bool user_has_attr(enum ir_op op, enum ir_attr attr) {
  return ir_op_has_attr(op, attr) && attr != A_chunk_rows;
}

static bool unknown_attr(const node *n, const ynode *key) {
  suggestion s = {.word = key->text};
  for (enum ir_attr attr = 0; attr < ATTR_COUNT; attr++)
    if (user_has_attr(n->op, attr)) suggest_offer(&s, ir_attrs[attr].name);
  return fail(n, key->loc, E_ATTR,
              arena_printf(n->f->im->arena, "there is no attribute '%.64s'%s", key->text,
                           suggest_text(n->f->im->arena, &s)));
}

static bool read_enum(const node *n, const ynode *at, enum ir_attr_kind kind, int64_t *out) {
  if (at->kind == Y_SCALAR && ir_enum_find(kind, at->text, out)) return true;
  const char *list = "", *name;
  for (int64_t i = 0; (name = ir_enum_name(kind, i)); i++)
    list = arena_printf(n->f->im->arena, "%s%s%s", list, i ? ", " : "", name);
  return fail(n, at->loc, E_ATTR,
              arena_printf(n->f->im->arena, "'%s' must be one of %s", at->key->text, list));
}

static bool read_attr(const node *n, const ynode *at, ir_attr_value *out) {
  diag *d = n->f->im->diag;
  enum ir_attr attr = ir_attr_find(at->key->text);
  if (attr == ATTR_COUNT || !user_has_attr(n->op, attr)) return unknown_attr(n, at->key);
  bool b = false, ok;
  switch (ir_attrs[attr].kind) {
  case ATTR_INT:
    return value_int(d, at, INT64_MIN, INT64_MAX, &out[attr].i);
  case ATTR_FLOAT:
    return value_float(d, at, &out[attr].f);
  case ATTR_BOOL:
    ok = value_bool(d, at, &b);
    out[attr].i = b;
    return ok;
  default:
    return read_enum(n, at, ir_attrs[attr].kind, &out[attr].i);
  }
}

static bool read_attrs(const node *n, ir_attr_value *out) {
  const ynode *map = ynode_get(n->yaml, "attributes");
  bool ok = true;
  for (const ynode *c = map ? map->first : NULL; c; c = c->next)
    ok &= read_attr(n, c, out);
  return ok;
}

/* ---- the node ---- */

static bool find_op(node *n) {
  const ynode *at = ynode_get(n->yaml, "op");
  n->op = ir_op_find(at->text);
  if (n->op == OP_pack || n->op == OP_unpack)
    return fail(n, at->loc, E_OP, "spcc puts this op at the borders by itself; leave it out");
  if (n->op != OP_COUNT) return true;
  suggestion s = {.word = at->text};
  for (enum ir_op op = 0; op < OP_COUNT; op++)
    suggest_offer(&s, ir_ops[op].name);
  return diag_error(n->f->im->diag, at->loc, E_OP, "unknown op '%.64s' of node '%.64s'%s", at->text,
                    n->name, suggest_text(n->f->im->arena, &s));
}

static void note_linear(const node *n, ir_id id) {
  graph_form *f = n->f;
  const ir_value *v = ir_at(f->graph, id);
  if (!ir_is_op(v, OP_linear)) return;
  const char *name = ir_in(f->graph, v, 1)->name;
  if (names_add(f->linear_names, name, 0) == IR_NONE) f->linears[f->linear_count++] = name;
}

static bool add_op(const node *n) {
  ir_graph *g = n->f->graph;
  ir_id id = ir_add_op(g, n->name, n->op, n->in, ir_ops[n->op].in_max);
  ir_at(g, id)->loc = n->yaml->loc;
  if (!read_attrs(n, ir_at(g, id)->attr) || !ir_infer(g, id, n->f->im->diag)) return false;
  note_linear(n, id);
  names_add(n->f->values, n->name, id);
  return true;
}

bool graph_add_node(graph_form *f, uint32_t index) {
  node n = {.f = f, .yaml = f->node[index], .index = index};
  n.name = ynode_get(n.yaml, "name")->text;
  bool ok = find_op(&n) && check_keys(&n) && take_operands(&n) && add_op(&n);
  if (!ok) names_add(f->values, n.name, GRAPH_BROKEN);
  return ok;
}
