/* The graph form: inputs, nodes and outputs written out in model.yaml. The user writes f32[B,S,C];
 * pack and unpack, between the caller's memory and packed tokens, are put in here. */
#include "frontend/graph_form.h"

#include <string.h>

#include "frontend/schema.h"
#include "frontend/suggest.h"

/* ---- inputs ---- */

static bool has_dims_in_range(const ir_type *t) {
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] > IR_MAX_DIM || t->dim[i] == 0) return false;
  return true;
}

/* i32[B,S], f32[B,S,C] or f32[B,C]. */
static bool is_input_type(const ir_type *t) {
  if (t->rank < 2 || t->dim[0] != DIM_B) return false;
  if (t->dtype == IR_I32) return t->rank == 2 && t->dim[1] == DIM_S;
  if (t->rank == 3) return t->dim[1] == DIM_S && t->dim[2] > 0;
  return t->rank == 2 && t->dim[1] > 0;
}

static bool read_type(const import *im, const ynode *n, ir_type *out) {
  if (strncmp(n->text, "f32[", 4) != 0 && strncmp(n->text, "i32[", 4) != 0)
    return diag_error(im->diag, n->loc, E_DTYPE,
                      "'%.64s' is no type of an input; write f32[B,S,C], f32[B,C] or i32[B,S]",
                      n->text);
  if (!ir_type_parse(n->text, out) || !has_dims_in_range(out))
    return diag_error(im->diag, n->loc, E_DIM,
                      "'%.64s' has an impossible dimension; write B, S or a number from 1 to %d",
                      n->text, IR_MAX_DIM);
  if (is_input_type(out)) return true;
  return diag_error(im->diag, n->loc, E_SHAPE,
                    "an input cannot be %.64s; it is f32[B,S,C], f32[B,C] or i32[B,S]", n->text);
}

/* What an input says besides its name and type. */
typedef struct input_flags {
  bool mask, optional;
  int64_t absent;
} input_flags;

static bool read_flags(const import *im, const ynode *n, const ir_type *type, input_flags *out) {
  const ynode *mask = ynode_get(n, "mask"), *optional = ynode_get(n, "optional"),
              *absent = ynode_get(n, "absent");
  bool ok = !mask || value_bool(im->diag, mask, &out->mask);
  ok &= !optional || value_bool(im->diag, optional, &out->optional);
  out->absent = out->mask;
  ok &= !absent || value_int(im->diag, absent, INT32_MIN, INT32_MAX, &out->absent);
  if ((out->mask || out->optional) && type->dtype != IR_I32)
    return diag_error(im->diag, n->loc, E_DTYPE,
                      "only an input of i32[B,S] can be the mask or be optional");
  if (absent && !out->optional)
    return diag_error(im->diag, absent->key->loc, E_KEY,
                      "'absent' says what an input is when it is left out; add 'optional: true'");
  return ok;
}

static bool take_mask(graph_form *f, const ynode *n, ir_id id) {
  if (f->mask != IR_NONE)
    return diag_error(f->im->diag, n->loc, E_GRAPH,
                      "'%s' is the mask already; there is one mask at most", f->mask_name);
  f->mask = id;
  f->mask_name = ir_at(f->graph, id)->name;
  return true;
}

/* Reads one input and adds it; false after errors. */
static bool add_input(graph_form *f, const ynode *n) {
  const import *im = f->im;
  if (!schema_check(im->arena, im->diag, n, SECTION_input, "an input")) return false;
  const ynode *name = ynode_get(n, "name");
  ir_type type;
  input_flags flags = {0};
  if (!import_name(im, name->text, name->loc) || !read_type(im, ynode_get(n, "type"), &type) ||
      !read_flags(im, n, &type, &flags))
    return false;
  ir_id id = ir_add_input(f->graph, name->text, type);
  ir_value *v = ir_at(f->graph, id);
  v->loc = n->loc;
  v->optional = flags.optional;
  v->absent = flags.optional ? (int32_t)flags.absent : 0;
  if (names_add(f->values, v->name, id) != IR_NONE)
    return diag_error(im->diag, name->loc, E_DUP_NAME, "there is an input '%s' already", v->name);
  return !flags.mask || take_mask(f, n, id);
}

/* The list under `key`; NULL after E_GRAPH when it is missing or empty. */
static const ynode *needed_list(const import *im, const char *key) {
  const ynode *list = ynode_get(im->root, key);
  if (list && list->count > 0) return list;
  diag_error(im->diag, list ? list->loc : im->root->loc, E_GRAPH,
             "the graph has no %s; list at least one under '%s'",
             strcmp(key, "graph") == 0 ? "nodes" : key, key);
  return NULL;
}

/* Puts pack behind every input but the mask and lets the input's name mean its packed value. */
static void pack_inputs(graph_form *f) {
  names *packed = names_new(f->im->arena);
  uint32_t inputs = f->graph->count;
  for (ir_id i = 0; i < inputs; i++) {
    if (i == f->mask) continue;
    const char *name = ir_at(f->graph, i)->name;
    ir_id in[] = {i, f->mask};
    ir_id id = ir_add_op(f->graph, arena_printf(f->im->arena, "%s.packed", name), OP_pack, in, 2);
    ir_at(f->graph, id)->loc = ir_at(f->graph, i)->loc;
    names_add(packed, name, id);
  }
  f->values = packed;
}

static bool read_inputs(graph_form *f) {
  const ynode *list = needed_list(f->im, "inputs");
  if (!list) return false;
  bool ok = true;
  for (const ynode *c = list->first; c; c = c->next)
    ok &= add_input(f, c);
  if (ok) pack_inputs(f);
  return ok;
}

/* ---- nodes ---- */

static bool is_node_name(const char *s) {
  bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_';
  const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
  return letter && s[strspn(s, allowed)] == '\0' && strlen(s) <= 255;
}

/* Checks a node's keys and name; `taken` has the names of inputs, of the packs behind them, and of
 * the nodes before. */
static bool check_node(graph_form *f, const ynode *n, names *taken) {
  const import *im = f->im;
  if (!schema_check(im->arena, im->diag, n, SECTION_node, "a node")) return false;
  const ynode *name = ynode_get(n, "name");
  if (!is_node_name(name->text))
    return diag_error(im->diag, name->loc, E_NAME,
                      "'%.64s' cannot be the name of a node; use up to 255 letters, digits, '_' "
                      "and '.', beginning with a letter or '_'",
                      name->text);
  if (names_add(taken, name->text, 0) != IR_NONE)
    return diag_error(im->diag, name->loc, E_DUP_NAME,
                      "the name '%.64s' is taken; give every input and node its own", name->text);
  names_add(f->nodes, name->text, f->nodes_count);
  return true;
}

static bool read_nodes(graph_form *f) {
  const ynode *list = needed_list(f->im, "graph");
  if (!list) return false;
  f->node = arena_array(f->im->arena, const ynode *, list->count);
  f->linears = arena_array(f->im->arena, const char *, list->count);
  names *taken = names_new(f->im->arena);
  for (ir_id i = 0; i < f->graph->count; i++)
    names_add(taken, ir_at(f->graph, i)->name, 0);
  bool ok = true;
  for (const ynode *c = list->first; c; c = c->next, f->nodes_count++) {
    f->node[f->nodes_count] = c;
    ok &= check_node(f, c, taken);
  }
  if (!ok) return false;
  for (uint32_t i = 0; i < f->nodes_count && !diag_full(f->im->diag); i++)
    ok &= graph_add_node(f, i);
  return ok;
}

/* ---- outputs ---- */

/* Refuses what unpack cannot bring to the caller: ids and attention scores. */
static bool check_output(const graph_form *f, const ynode *n, const ir_value *v) {
  if (v->type.dtype == IR_F32 && v->type.rank == 2) return true;
  return diag_error(f->im->diag, n->loc, v->type.dtype == IR_F32 ? E_SHAPE : E_DTYPE,
                    "'%.64s' is %s inside, which cannot be an output; an output is f32[B,S,C] or "
                    "f32[B,C]",
                    n->text, ir_type_print(f->im->arena, &v->type));
}

static bool add_output(graph_form *f, const ynode *n) {
  if (!import_name(f->im, n->text, n->loc)) return false;
  ir_id value = graph_value(f, n, f->nodes_count);
  if (value == IR_NONE || value == GRAPH_BROKEN) return false;
  if (!check_output(f, n, ir_at(f->graph, value))) return false;
  ir_id in[] = {value, f->mask};
  const char *name =
      ir_fresh_name(f->graph, arena_printf(f->im->arena, "%s.unpacked", n->text), false);
  ir_id id = ir_add_op(f->graph, name, OP_unpack, in, 2);
  ir_at(f->graph, id)->loc = n->loc;
  ir_add_output(f->graph, n->text, id);
  return ir_infer(f->graph, id, f->im->diag);
}

static bool read_outputs(graph_form *f) {
  const ynode *list = needed_list(f->im, "outputs");
  const ynode **items = list ? import_list(f->im, list) : NULL;
  if (!items) return false;
  bool ok = true;
  for (uint32_t i = 0; i < list->count && !diag_full(f->im->diag); i++)
    ok &= add_output(f, items[i]);
  return ok;
}

/* ---- weights ---- */

static bool open_weights(graph_form *f, model_source *out) {
  const import *im = f->im;
  const ynode *n = ynode_get(im->root, "weights");
  if (!n) return true;
  const char *path = import_path(im, n);
  if (!path) return false;
  if (im->path && path_same_file(im->path, path))
    return diag_error(im->diag, n->loc, E_PATH, "'%.64s' is this YAML file itself", n->text);
  f->weights = st_open(im->arena, im->diag, NULL, path);
  out->weights = f->weights;
  return f->weights != NULL;
}

static bool read_graph(graph_form *f) {
  bool ok = import_limits(f->im, f->graph, 0);
  return read_inputs(f) && read_nodes(f) && read_outputs(f) && ok;
}

bool import_graph(const import *im, model_source *out) {
  graph_form f = {.im = im,
                  .graph = ir_graph_new(im->arena, im->name),
                  .values = names_new(im->arena),
                  .nodes = names_new(im->arena),
                  .constants = names_new(im->arena),
                  .linear_names = names_new(im->arena),
                  .mask = IR_NONE,
                  .mask_name = ""};
  if (!open_weights(&f, out) || !read_graph(&f)) return false;
  if (f.weights) import_warn_unused(im, f.weights, st_shard_name(f.weights, 0));
  ir_cleanup(f.graph);
  out->graph = f.graph;
  out->linears = f.linears;
  out->linear_count = f.linear_count;
  return true;
}
