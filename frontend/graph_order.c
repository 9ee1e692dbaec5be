/* References between the nodes of the graph form. */
#include <string.h>

#include "frontend/graph_form.h"
#include "frontend/suggest.h"

/* Keys of a node whose texts name values. */
static const char *const value_keys[] = {"in", "residual", "types"};

typedef struct walk {
  const graph_form *f;
  bool *seen;
  uint32_t *stack; /* each node at most once */
  uint32_t top;
} walk;

static void push(walk *w, const ynode *name) {
  if (name->kind != Y_SCALAR) return;
  uint32_t i = names_find(w->f->nodes, name->text);
  if (i == IR_NONE || w->seen[i]) return;
  w->seen[i] = true;
  w->stack[w->top++] = i;
}

/* Pushes all nodes that the node at `index` uses. */
static void push_uses(walk *w, uint32_t index) {
  for (size_t k = 0; k < sizeof value_keys / sizeof *value_keys; k++) {
    const ynode *n = ynode_get(w->f->node[index], value_keys[k]);
    if (!n) continue;
    push(w, n);
    for (const ynode *c = n->first; c; c = c->next)
      push(w, c);
  }
}

bool graph_reaches(const graph_form *f, uint32_t from, uint32_t to) {
  walk w = {.f = f,
            .seen = arena_array(f->im->arena, bool, f->nodes_count),
            .stack = arena_array(f->im->arena, uint32_t, f->nodes_count)};
  push_uses(&w, from);
  while (w.top > 0 && !w.seen[to])
    push_uses(&w, w.stack[--w.top]);
  return w.seen[to];
}

static void unknown_value(const graph_form *f, const ynode *n, uint32_t index) {
  suggestion s = {.word = n->text};
  for (uint32_t i = 0; i < index; i++)
    suggest_offer(&s, ynode_get(f->node[i], "name")->text);
  const ynode *inputs = ynode_get(f->im->root, "inputs");
  for (const ynode *c = inputs->first; c; c = c->next)
    suggest_offer(&s, ynode_get(c, "name")->text);
  diag_error(f->im->diag, n->loc, E_REF, "nothing is called '%.64s'%s", n->text,
             suggest_text(f->im->arena, &s));
}

static void later_node(const graph_form *f, const ynode *n, uint32_t index, uint32_t later) {
  const ynode *definition = ynode_get(f->node[later], "name");
  if (later == index)
    diag_error(f->im->diag, n->loc, E_CYCLE, "node '%.64s' uses itself", n->text);
  else if (graph_reaches(f, later, index))
    diag_error(f->im->diag, n->loc, E_CYCLE, "node '%.64s' depends on this node, which uses it",
               n->text);
  else
    diag_error(f->im->diag, n->loc, E_REF, "node '%.64s' is used before its definition; move it up",
               n->text);
  diag_note(f->im->diag, definition->loc, "'%.64s' is defined here", n->text);
}

ir_id graph_value(const graph_form *f, const ynode *n, uint32_t index) {
  ir_id id = names_find(f->values, n->text);
  if (id != IR_NONE) return id;
  uint32_t later = names_find(f->nodes, n->text);
  if (strcmp(n->text, f->mask_name) == 0 && n->size > 0)
    diag_error(f->im->diag, n->loc, E_REF,
               "'%.64s' is the mask, which every op that needs it uses by itself", n->text);
  else if (later == IR_NONE)
    unknown_value(f, n, index);
  else
    later_node(f, n, index, later);
  return IR_NONE;
}
