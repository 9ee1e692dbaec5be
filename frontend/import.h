/* What the two forms of model.yaml share. Internal to frontend/. */
#ifndef SPCC_FRONTEND_IMPORT_H
#define SPCC_FRONTEND_IMPORT_H

#include "frontend/frontend.h"
#include "frontend/yaml.h"

enum {
  IMPORT_MAX_BATCH = 65536,
  IMPORT_MAX_SEQUENCE = 1 << 20,
  IMPORT_DEFAULT_BATCH = 8,
  IMPORT_DEFAULT_SEQUENCE = 512 /* of the graph form */
};

/* One model.yaml whose root mapping passed schema_check. */
typedef struct import {
  arena *arena;
  diag *diag;
  const char *dir;  /* folder of the file; paths in it start there */
  const char *path; /* the file itself; NULL when the text came from memory */
  const ynode *root;
  const char *name; /* of the model */
  const model_overrides *overrides;
} import;

/* Each fills `out` (graph, folder, weights, linears); the graph is not verified yet. */
bool import_huggingface(const import *im, model_source *out);
bool import_graph(const import *im, model_source *out);

/* Sets the graph's limits from the overrides, the file or the defaults. `positions` is the longest
 * sequence that the model can compute and the default; 0: any, and IMPORT_DEFAULT_SEQUENCE. */
bool import_limits(const import *im, ir_graph *g, int64_t positions);

/* The path of a file or folder named by the text `n`, from the YAML's folder; NULL after E_PATH. */
const char *import_path(const import *im, const ynode *n);

/* Checks the name of an input or output, which becomes an identifier of the C header. */
bool import_name(const import *im, const char *name, src_loc loc);

/* Warns, in one message, of the tensors that nothing used. */
void import_warn_unused(const import *im, const st_set *weights, const char *shown);

/* The items of a list, each a text and none twice; NULL after errors. */
const ynode **import_list(const import *im, const ynode *list);

#endif
