/* recipe.yaml: which method makes which weights sparse, for the sparsifiers of libspo. */
#ifndef SPCC_FRONTEND_RECIPE_H
#define SPCC_FRONTEND_RECIPE_H

#include "frontend/yaml.h"
#include "optimizer/spo_recipe.h"

enum { RECIPE_MAX_ENTRIES = 1024, RECIPE_MAX_PATTERNS = 256 /* of a list */ };

/* Weights that no entry chooses. */
#define RECIPE_NONE UINT32_MAX

typedef struct recipe_entry {
  src_loc loc, method;           /* of the entry, and of its method's name */
  const ynode *targets, *ignore; /* a pattern of names or a list of them; NULL: all, and none */
  spo_recipe options;            /* in their limits, with a pattern that the method can make */
} recipe_entry;

typedef struct recipe {
  recipe_entry *entries;
  uint32_t count; /* at least 1 */
} recipe;

/* Reads a recipe. NULL after errors (all of them are in `d`). */
const recipe *recipe_read(arena *a, diag *d, const char *path);
/* The same from text; `shown` names it in messages. */
const recipe *recipe_read_text(arena *a, diag *d, const char *shown, const char *text, size_t size);

/* Sets entry_of[i] to the entry that chooses weights[i], a name,, or RECIPE_NONE. False, with
 * errors, when a pattern matches no name or two entries choose the same weight. */
bool recipe_choose(arena *a, diag *d, const recipe *r, const char *const *weights, size_t count,
                   uint32_t *entry_of);

#endif
