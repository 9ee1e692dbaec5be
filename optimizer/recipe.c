/* Recipes: the tables of methods and options, defaults and limits. */
#include <stdio.h>
#include <string.h>

#include "optimizer/internal.h"
#include "optimizer/spo_recipe.h"

#define M(id) (1u << SPO_##id)

/* Families as sets of methods, for the table of options. */
#define FAMILY_ONE_SHOT(id) 0
#define FAMILY_TRAINING(id) M(id)
#define FAMILY_LOW_RANK(id) 0
enum {
  TRAINING_METHODS = 0
#define METHOD(id, name, family, doc) | FAMILY_##family(id)
#include "optimizer/spo_methods.def"
#undef METHOD
  ,
  RISING_METHODS = M(GRADUAL) | M(PST) | M(MOVEMENT) | M(SPARSE_OPTIMIZER) /* sparsity grows */
};

typedef struct method_row {
  const char *name, *doc;
  spo_family family;
} method_row;

static const method_row methods[SPO_METHODS] = {
#define METHOD(id, name, family, doc) {name, doc, SPO_##family},
#include "optimizer/spo_methods.def"
#undef METHOD
};

const spo_option spo_options[] = {
#define AT(field) offsetof(spo_recipe, field)
#define NUMBER(methods, field, initial, least, most, doc)                                          \
  {#field, SPO_OPT_NUMBER, methods, AT(field), least, most, NULL, doc},
#define COUNT(methods, field, initial, least, most, doc)                                           \
  {#field, SPO_OPT_COUNT, methods, AT(field), (double)(least), (double)(most), NULL, doc},
#define SWITCH(methods, field, initial, doc)                                                       \
  {#field, SPO_OPT_SWITCH, methods, AT(field), 0, 1, NULL, doc},
#define CHOICE(methods, field, initial, words, doc)                                                \
  {#field, SPO_OPT_CHOICE, methods, AT(field), 0, 0, words, doc},
#include "optimizer/spo_options.def"
#undef NUMBER
#undef COUNT
#undef SWITCH
#undef CHOICE
    {.key = NULL}};

bool spo_method_named(const char *name, spo_method_id *out) {
  for (int i = 0; i < SPO_METHODS; i++)
    if (strcmp(methods[i].name, name) == 0) {
      *out = (spo_method_id)i;
      return true;
    }
  return false;
}

const char *spo_method_name(spo_method_id method) {
  return methods[method].name;
}

spo_family spo_method_family(spo_method_id method) {
  return methods[method].family;
}

const char *spo_method_doc(spo_method_id method) {
  return methods[method].doc;
}

void spo_recipe_init(spo_recipe *recipe, spo_method_id method) {
  *recipe = (spo_recipe){.method = method, .goal = {.pattern = {.kind = SPO_UNSTRUCTURED}}};
#define NUMBER(methods, field, initial, least, most, doc) recipe->field = initial;
#define COUNT(methods, field, initial, least, most, doc) recipe->field = initial;
#define SWITCH(methods, field, initial, doc) recipe->field = initial;
#define CHOICE(methods, field, initial, words, doc) recipe->field = initial;
#include "optimizer/spo_options.def"
#undef NUMBER
#undef COUNT
#undef SWITCH
#undef CHOICE
}

/* ---- limits ---- */

static int word_count(const char *words) {
  int count = 0;
  for (; *words; words += strlen(words) + 1)
    count++;
  return count;
}

double spo_option_value(const spo_recipe *recipe, const spo_option *o) {
  const char *at = (const char *)recipe + o->offset;
  switch (o->kind) {
  case SPO_OPT_NUMBER:
    return *(const double *)(const void *)at;
  case SPO_OPT_COUNT:
    return (double)*(const uint64_t *)(const void *)at;
  case SPO_OPT_SWITCH:
    return *(const bool *)(const void *)at;
  case SPO_OPT_CHOICE:
    break;
  }
  return *(const int *)(const void *)at;
}

static spo_status check_option(const spo_recipe *recipe, const spo_option *o, spo_error *error) {
  double value = spo_option_value(recipe, o);
  double most = o->kind == SPO_OPT_CHOICE ? word_count(o->words) - 1 : o->most;
  if (value >= o->least && value <= most) return SPO_OK; /* false for NaN */
  return spo_fail(error, SPO_E_VALUE, "%s: '%s' has to be %g to %g, got %g",
                  methods[recipe->method].name, o->key, o->least, most, value);
}

/* Which patterns a method can make. */
static spo_status check_pattern(const spo_recipe *r, spo_error *error) {
  bool nm = r->goal.pattern.kind == SPO_NM;
  if ((r->method == SPO_NXM || r->method == SPO_SRSTE) && !nm)
    return spo_fail(error, SPO_E_PATTERN, "%s makes N:M patterns, such as 2:4",
                    methods[r->method].name);
  if (r->method == SPO_MAGNITUDE && r->scope == SPO_GLOBAL && nm)
    return spo_fail(error, SPO_E_PATTERN,
                    "magnitude with scope global ranks weights of different tensors, of which N:M "
                    "keeps the same share; use unstructured or blocks such as 4x1");
  if ((r->method == SPO_DYNAMIC || r->method == SPO_RIGL) && nm)
    return spo_fail(error, SPO_E_PATTERN,
                    "%s moves weights over the whole tensor; use unstructured or blocks such as "
                    "4x1",
                    methods[r->method].name);
  if (r->method == SPO_SPARSE_OPTIMIZER && r->penalty == SPO_GROUP &&
      r->goal.pattern.kind != SPO_BLOCK && !nm)
    return spo_fail(error, SPO_E_PATTERN,
                    "%s: the penalty group needs a pattern that has groups: blocks or N:M",
                    methods[r->method].name);
  return SPO_OK;
}

spo_status spo_recipe_check(const spo_recipe *recipe, spo_error *error) {
  if ((unsigned)recipe->method >= SPO_METHODS)
    return spo_fail(error, SPO_E_VALUE, "there is no method %d", (int)recipe->method);
  for (const spo_option *o = spo_options; o->key; o++) {
    if (!(o->methods >> recipe->method & 1)) continue;
    spo_status status = check_option(recipe, o, error);
    if (status != SPO_OK) return status;
  }
  if ((RISING_METHODS >> recipe->method & 1) && recipe->end < recipe->begin)
    return spo_fail(error, SPO_E_VALUE, "%s: 'end' is before 'begin'",
                    methods[recipe->method].name);
  if (recipe->method == SPO_MOVEMENT && recipe->soft &&
      recipe->goal.pattern.kind != SPO_UNSTRUCTURED)
    return spo_fail(error, SPO_E_PATTERN,
                    "movement with 'soft' keeps single weights by a threshold; use unstructured");
  return check_pattern(recipe, error);
}

spo_status spo_recipe_check_as(const spo_recipe *recipe, spo_method_id method, spo_error *error) {
  spo_recipe copy = *recipe;
  copy.method = method;
  return spo_recipe_check(&copy, error);
}

bool spo_recipe_is_free(const spo_recipe *recipe) {
  return (recipe->method == SPO_SPARSE_OPTIMIZER && recipe->lambda > 0) ||
         (recipe->method == SPO_MOVEMENT && recipe->soft);
}

/* ---- identity ---- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count) {
  const unsigned char *b = bytes;
  for (size_t i = 0; i < count; i++)
    hash = (hash ^ b[i]) * 1099511628211u;
  return hash;
}

/* FNV-1a of the method's name, the pattern's spelling, the sparsity and the method's options. */
uint64_t spo_recipe_hash(const spo_recipe *r) {
  char text[SPO_PATTERN_TEXT];
  double sparsity = r->goal.sparsity;
  spo_pattern_implies(&r->goal.pattern, &sparsity);
  spo_pattern_print(&r->goal.pattern, text);
  uint64_t hash = 14695981039346656037u;
  hash = hash_bytes(hash, methods[r->method].name, strlen(methods[r->method].name) + 1);
  hash = hash_bytes(hash, text, strlen(text) + 1);
  hash = hash_bytes(hash, &sparsity, sizeof sparsity);
  for (const spo_option *o = spo_options; o->key; o++) {
    if (!(o->methods >> r->method & 1)) continue;
    double value = spo_option_value(r, o); /* counts are at most 2^48: exact */
    hash = hash_bytes(hash, o->key, strlen(o->key) + 1);
    hash = hash_bytes(hash, &value, sizeof value);
  }
  return hash;
}
