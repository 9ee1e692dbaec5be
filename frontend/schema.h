/* The schema of model.yaml and of recipes, and strict readers of its values. */
#ifndef SPCC_FRONTEND_SCHEMA_H
#define SPCC_FRONTEND_SCHEMA_H

#include "frontend/yaml.h"

enum schema_section {
  SECTION_model,
  SECTION_source,
  SECTION_input,
  SECTION_node,
  SECTION_recipe,
  SECTION_entry
};
enum schema_type {
  SCHEMA_INT,
  SCHEMA_FLOAT,
  SCHEMA_BOOL,
  SCHEMA_TEXT,
  SCHEMA_MAP,
  SCHEMA_LIST,
  SCHEMA_TEXTS
};

typedef struct schema_key {
  enum schema_section section;
  const char *name;
  enum schema_type type;
  bool required;
  const char *doc;
} schema_key;

/* The rows of schema.def; *count of them. */
const schema_key *schema_keys(size_t *count);

/* Checks that `n` is a mapping whose keys are those of the section, each of its type, with all that
 * are required. Reports every error; `what` says what the mapping is, such as "a node". */
bool schema_check(arena *a, diag *d, const ynode *n, enum schema_section section, const char *what);
/* The same where the caller takes other keys too and checks their values himself: their names,
 * ended by NULL. */
bool schema_check_more(arena *a, diag *d, const ynode *n, enum schema_section section,
                       const char *what, const char *const *others);
/* The version of the schema, which the key `spcc` of the root has to say. */
bool schema_check_version(diag *d, const ynode *root);

/* The readers below report what does not fit at the node's place and then return false. */

/* A plain decimal integer in [lo, hi]. */
bool value_int(diag *d, const ynode *n, int64_t lo, int64_t hi, int64_t *out);
/* true or false. */
bool value_bool(diag *d, const ynode *n, bool *out);
/* A plain decimal number such as 1e-12 or 0.125, finite; the same in every locale. */
bool value_float(diag *d, const ynode *n, double *out);
/* Any scalar but nothing (`key:` or `~`); "" is a text. */
bool value_text(diag *d, const ynode *n, const char **out);

#endif
