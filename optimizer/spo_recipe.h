/* What a method is to do: the options of all methods in one struct, which a YAML recipe or a
 * program fills. The table spo_options.def has a row per option. */
#ifndef SPO_RECIPE_H
#define SPO_RECIPE_H

#include "spo.h"

#define SPO_STEPS_MAX (1ull << 48)

typedef enum spo_method_id {
#define METHOD(id, name, family, doc) SPO_##id,
#include "spo_methods.def"
#undef METHOD
  SPO_METHODS
} spo_method_id;

typedef enum spo_family { SPO_ONE_SHOT, SPO_TRAINING, SPO_LOW_RANK } spo_family;

typedef enum spo_penalty { SPO_L1, SPO_REWEIGHTED, SPO_L0, SPO_GROUP, SPO_MCP } spo_penalty;
typedef enum spo_metric { SPO_IDENTITY, SPO_ADAM } spo_metric;
typedef enum spo_scope { SPO_LOCAL, SPO_GLOBAL } spo_scope;
typedef enum spo_refit { SPO_REFIT_NONE, SPO_REFIT_LSQ } spo_refit;

typedef struct spo_recipe {
  spo_method_id method;
  spo_goal goal; /* the pattern, and the sparsity at the end */
#define NUMBER(methods, field, initial, least, most, doc) double field;
#define COUNT(methods, field, initial, least, most, doc) uint64_t field;
#define SWITCH(methods, field, initial, doc) bool field;
#define CHOICE(methods, field, initial, words, doc) int field;
#include "spo_options.def"
#undef NUMBER
#undef COUNT
#undef SWITCH
#undef CHOICE
} spo_recipe;

/* False when no method has the name. */
bool spo_method_named(const char *name, spo_method_id *out);
const char *spo_method_name(spo_method_id method);
spo_family spo_method_family(spo_method_id method);
const char *spo_method_doc(spo_method_id method);

/* All options at their defaults; the goal is unstructured, of sparsity 0, for the caller to set. */
void spo_recipe_init(spo_recipe *recipe, spo_method_id method);
/* SPO_E_VALUE names the option that is out of its limits, and what they are; `steps` has no
 * default. Fits of pattern and method too: N:M methods want N:M, for example. */
spo_status spo_recipe_check(const spo_recipe *recipe, spo_error *error);
/* True where the options alone say how sparse a weight becomes, and the goal's sparsity need not be
 * set: a given lambda, or scores against a threshold. */
bool spo_recipe_is_free(const spo_recipe *recipe);
/* The sparsity after `step` updates, of methods that have `begin` and `end`: 0 before begin, then
 * rising by a cubic curve, each `every` steps. */
double spo_recipe_sparsity(const spo_recipe *recipe, uint64_t step, uint64_t every);
/* Of a checked recipe: equal for those that ask for the same, whatever options of other methods
 * hold. */
uint64_t spo_recipe_hash(const spo_recipe *recipe);

/* The options as a table, for readers of recipes. */
typedef enum spo_option_kind {
  SPO_OPT_NUMBER,
  SPO_OPT_COUNT,
  SPO_OPT_SWITCH,
  SPO_OPT_CHOICE
} spo_option_kind;

typedef struct spo_option {
  const char *key;
  spo_option_kind kind;
  uint32_t methods;   /* bit 1 << spo_method_id */
  size_t offset;      /* in spo_recipe */
  double least, most; /* of numbers and counts */
  const char *words;  /* of choices: strings, each ended by 0, then an empty one */
  const char *doc;
} spo_option;

extern const spo_option spo_options[]; /* ended by a row with key NULL */
/* The option's value in a recipe; false is 0, a choice its index. */
double spo_option_value(const spo_recipe *recipe, const spo_option *option);

#endif
