/* The graph form of model.yaml, in three files: graph_form.c (inputs, outputs, the order of
 * things), graph_node.c (one node) and graph_order.c (forward references). Internal to frontend/.
 */
#ifndef SPCC_FRONTEND_GRAPH_FORM_H
#define SPCC_FRONTEND_GRAPH_FORM_H

#include "frontend/import.h"
#include "ir/names.h"

/* What a name stands for in `values` when its definition has an error: uses of it are not reported
 * again. */
#define GRAPH_BROKEN (IR_NONE - 1)

typedef struct graph_form {
  const import *im;
  ir_graph *graph;
  st_set *weights;  /* NULL: the file names none */
  names *values;    /* names of inputs and of the nodes so far -> ir_id of their packed value */
  names *nodes;     /* names of all nodes -> index in `node` */
  names *constants; /* names of tensors -> ir_id */
  const ynode **node;
  uint32_t nodes_count;
  ir_id mask;            /* IR_NONE: no input is the mask */
  const char *mask_name; /* "" without one */
  names *linear_names;   /* tensors that are the weight of a linear … */
  const char **linears;  /* … and the same as a list */
  uint32_t linear_count;
} graph_form;

/* Adds the op of the node at `index`; false after errors. */
bool graph_add_node(graph_form *f, uint32_t index);

/* The value that `n` names, seen from the node at `index` (nodes_count: from the outputs);
 * IR_NONE after E_REF or E_CYCLE, GRAPH_BROKEN when its definition has an error. */
ir_id graph_value(const graph_form *f, const ynode *n, uint32_t index);

/* True when the node at `from` uses, in one or more steps, the node at `to`. */
bool graph_reaches(const graph_form *f, uint32_t from, uint32_t to);

#endif
