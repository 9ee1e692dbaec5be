/* Recipes: a list of entries, checked against the tables of libspo. */
#include "frontend/recipe.h"

#include <string.h>

#include "frontend/match.h"
#include "frontend/schema.h"
#include "frontend/suggest.h"
#include "ir/names.h"
#include "support/file.h"

typedef struct reader {
  arena *arena;
  diag *diag;
} reader;

static bool has_option(const spo_option *o, spo_method_id method) {
  return o->methods >> method & 1;
}

/* ---- options ---- */

static bool read_number(const reader *r, const ynode *n, const spo_option *o, double *out) {
  double value;
  if (!value_float(r->diag, n, &value)) return false;
  if (value < o->least || value > o->most)
    return diag_error(r->diag, n->loc, E_FLOAT, "%s is %.64s; it must be from %g to %g", o->key,
                      n->text, o->least, o->most);
  *out = value;
  return true;
}

static bool read_count(const reader *r, const ynode *n, const spo_option *o, uint64_t *out) {
  int64_t value;
  if (!value_int(r->diag, n, (int64_t)o->least, (int64_t)o->most, &value)) return false;
  *out = (uint64_t)value;
  return true;
}

static bool read_choice(const reader *r, const ynode *n, const spo_option *o, int *out) {
  const char *text, *list = "";
  suggestion near = {0};
  if (!value_text(r->diag, n, &text)) return false;
  near.word = text;
  *out = 0;
  for (const char *word = o->words; *word; word += strlen(word) + 1, ++*out) {
    if (strcmp(word, text) == 0) return true;
    suggest_offer(&near, word);
    list = arena_printf(r->arena, "%s%s%s", list, *list ? ", " : "", word);
  }
  return diag_error(r->diag, n->loc, E_ATTR, "%s must be one of %s, not '%.64s'%s", o->key, list,
                    text, suggest_text(r->arena, &near));
}

static bool read_option(const reader *r, const ynode *n, const spo_option *o, spo_recipe *out) {
  void *at = (char *)out + o->offset;
  switch (o->kind) {
  case SPO_OPT_NUMBER:
    return read_number(r, n, o, at);
  case SPO_OPT_COUNT:
    return read_count(r, n, o, at);
  case SPO_OPT_SWITCH:
    return value_bool(r->diag, n, at);
  case SPO_OPT_CHOICE:
    return read_choice(r, n, o, at);
  }
  return false;
}

/* An option of other methods. */
static bool misplaced(const reader *r, const ynode *key, const spo_option *o,
                      spo_method_id method) {
  const char *list = "";
  for (int i = 0; i < SPO_METHODS; i++)
    if (has_option(o, (spo_method_id)i))
      list = arena_printf(r->arena, "%s%s%s", list, *list ? ", " : "",
                          spo_method_name((spo_method_id)i));
  return diag_error(r->diag, key->loc, E_KEY, "'%s' is no option of %s, but of %s; remove it",
                    o->key, spo_method_name(method), list);
}

/* True for an option without default: only one in its limits is one. */
static bool is_needed(const spo_option *o, const spo_recipe *initial) {
  const void *at = (const char *)initial + o->offset;
  return o->kind == SPO_OPT_COUNT && (double)*(const uint64_t *)at < o->least;
}

static bool read_options(const reader *r, const ynode *n, spo_recipe *out) {
  bool ok = true;
  const spo_recipe initial = *out;
  for (const spo_option *o = spo_options; o->key; o++) {
    const ynode *value = ynode_get(n, o->key);
    bool own = has_option(o, out->method);
    if (value)
      ok &= own ? read_option(r, value, o, out) : misplaced(r, value->key, o, out->method);
    else if (own && is_needed(o, &initial))
      ok = diag_error(r->diag, n->loc, E_KEY, "an entry of method %s needs the key '%s': %s",
                      spo_method_name(out->method), o->key, o->doc);
  }
  return ok;
}

/* ---- entries ---- */

static bool read_method(const reader *r, const ynode *n, spo_method_id *out) {
  suggestion near = {0};
  const char *name;
  if (!value_text(r->diag, n, &name)) return false;
  if (spo_method_named(name, out)) return true;
  near.word = name;
  for (int i = 0; i < SPO_METHODS; i++)
    suggest_offer(&near, spo_method_name((spo_method_id)i));
  return diag_error(r->diag, n->loc, E_NAME, "there is no method '%.64s'%s", name,
                    suggest_text(r->arena, &near));
}

/* The keys that the entry may have beside those of the schema; options of other methods that it
 * has are complained about in words of their own. */
static const char *const *other_keys(const reader *r, const ynode *n, spo_method_id method) {
  size_t count = 0, used = 0;
  while (spo_options[count].key)
    count++;
  const char **keys = arena_array(r->arena, const char *, count + 1);
  for (const spo_option *o = spo_options; o->key; o++)
    if (has_option(o, method) || ynode_get(n, o->key)) keys[used++] = o->key;
  keys[used] = NULL;
  return keys;
}

static bool read_pattern(const reader *r, const ynode *n, spo_pattern *out) {
  if (!n) return true;
  if (spo_pattern_parse(n->text, out) && out->kind != SPO_DENSE) return true;
  return diag_error(r->diag, n->loc, E_PATTERN,
                    "'%.64s' is no pattern to prune to; use unstructured, RxC such as 4x1, N:M "
                    "such as 2:4, or N:MxR",
                    n->text);
}

static bool read_sparsity(const reader *r, const ynode *entry, spo_recipe *out) {
  const ynode *n = ynode_get(entry, "sparsity");
  double implied;
  bool fixed = spo_pattern_implies(&out->goal.pattern, &implied);
  if (!n) {
    out->goal.sparsity = fixed ? SPO_IMPLIED : 0;
    return fixed || spo_recipe_is_free(out) ||
           diag_error(r->diag, entry->loc, E_KEY,
                      "the entry needs the key 'sparsity', such as sparsity: 0.9");
  }
  if (!value_float(r->diag, n, &out->goal.sparsity)) return false;
  if (fixed && out->goal.sparsity != implied)
    return diag_error(r->diag, n->loc, E_SPARSITY,
                      "the pattern fixes the sparsity at %g; leave 'sparsity' out", implied);
  if (out->goal.sparsity >= 0 && out->goal.sparsity <= 1) return true;
  return diag_error(r->diag, n->loc, E_SPARSITY, "sparsity is %.64s; it must be from 0 to 1",
                    n->text);
}

/* What the library itself would refuse: how options fit each other and the pattern. */
static bool check_fit(const reader *r, const ynode *n, const spo_recipe *options) {
  spo_error error;
  spo_status status = spo_recipe_check(options, &error);
  if (status == SPO_OK) return true;
  const ynode *shape = ynode_get(n, "pattern");
  bool located = status == SPO_E_PATTERN && shape;
  return diag_error(r->diag, located ? shape->loc : n->loc,
                    status == SPO_E_PATTERN ? E_PATTERN : E_ATTR, "%s", error.text);
}

/* Each pattern of names can be compiled, and none stands twice. */
static bool check_names(const reader *r, const ynode *list) {
  bool ok = true;
  names *seen = names_new(r->arena);
  if (!list) return true;
  if (list->count > RECIPE_MAX_PATTERNS)
    return diag_error(r->diag, list->loc, E_LIMIT, "a list of %u patterns; at most %d are accepted",
                      (unsigned)list->count, RECIPE_MAX_PATTERNS);
  for (const ynode *c = list->kind == Y_SEQUENCE ? list->first : list; c; c = c->next) {
    size_t found;
    const char *wrong = match_names(r->arena, c->text, NULL, 0, NULL, &found);
    if (wrong) ok = diag_error(r->diag, c->loc, E_NAME, "%s", wrong);
    if (list->kind != Y_SEQUENCE) break;
    if (names_add(seen, c->text, 0) != IR_NONE)
      ok = diag_error(r->diag, c->loc, E_DUP_NAME, "'%.64s' stands twice in this list", c->text);
  }
  return ok;
}

static bool read_entry(const reader *r, const ynode *n, recipe_entry *out) {
  static const char *const none[] = {NULL};
  const ynode *method = n->kind == Y_MAPPING ? ynode_get(n, "method") : NULL;
  spo_method_id id;
  if (!method) return schema_check_more(r->arena, r->diag, n, SECTION_entry, "an entry", none);
  if (!read_method(r, method, &id)) return false;
  const char *what = arena_printf(r->arena, "an entry of method %s", spo_method_name(id));
  bool ok = schema_check_more(r->arena, r->diag, n, SECTION_entry, what, other_keys(r, n, id));
  *out = (recipe_entry){.loc = n->loc,
                        .method = method->loc,
                        .targets = ynode_get(n, "targets"),
                        .ignore = ynode_get(n, "ignore")};
  spo_recipe_init(&out->options, id);
  ok &= read_options(r, n, &out->options);
  if (!ok) return false;
  ok = check_names(r, out->targets);
  ok &= check_names(r, out->ignore);
  return ok && read_pattern(r, ynode_get(n, "pattern"), &out->options.goal.pattern) &&
         read_sparsity(r, n, &out->options) && check_fit(r, n, &out->options);
}

static const recipe *read_entries(const reader *r, const ynode *list) {
  recipe *out = arena_new_one(r->arena, recipe);
  bool ok = true;
  if (list->count == 0) {
    diag_error(r->diag, list->loc, E_KEY, "the recipe has no entries; add one with a 'method'");
    return NULL;
  }
  if (list->count > RECIPE_MAX_ENTRIES) {
    diag_error(r->diag, list->loc, E_LIMIT, "a recipe of %u entries; at most %d are accepted",
               (unsigned)list->count, RECIPE_MAX_ENTRIES);
    return NULL;
  }
  out->entries = arena_array(r->arena, recipe_entry, list->count);
  for (const ynode *n = list->first; n; n = n->next)
    ok &= read_entry(r, n, &out->entries[out->count++]);
  return ok ? out : NULL;
}

const recipe *recipe_read_text(arena *a, diag *d, const char *shown, const char *text,
                               size_t size) {
  reader r = {a, d};
  const ynode *root = yaml_read(a, d, shown, text, size);
  if (!root || !schema_check(a, d, root, SECTION_recipe, "the recipe")) return NULL;
  return schema_check_version(d, root) ? read_entries(&r, ynode_get(root, "recipe")) : NULL;
}

const recipe *recipe_read(arena *a, diag *d, const char *path) {
  bytes text;
  if (!file_read(a, d, NULL, path, YAML_MAX_BYTES, &text)) return NULL;
  return recipe_read_text(a, d, path, (const char *)text.data, text.size);
}

/* ---- choosing weights ---- */

typedef struct chooser {
  arena *arena;
  diag *diag;
  const char *const *weights; /* their names */
  size_t count;
} chooser;

static bool mark_pattern(const chooser *c, const ynode *n, bool *mark) {
  size_t found;
  const char *wrong = match_names(c->arena, n->text, c->weights, c->count, mark, &found);
  if (wrong) return diag_error(c->diag, n->loc, E_NAME, "%s", wrong);
  if (found) return true;
  suggestion near = {.word = n->text};
  for (size_t i = 0; i < c->count; i++)
    suggest_offer(&near, match_short_name(c->arena, c->weights[i]));
  return diag_error(c->diag, n->loc, E_NAME,
                    "'%.64s' matches none of the %zu weights that can be pruned; spcc inspect "
                    "lists them%s",
                    n->text, c->count, suggest_text(c->arena, &near));
}

static bool mark_list(const chooser *c, const ynode *list, bool *mark) {
  bool ok = true;
  if (!list) return true;
  if (list->kind == Y_SCALAR) return mark_pattern(c, list, mark);
  for (const ynode *n = list->first; n; n = n->next)
    ok &= mark_pattern(c, n, mark);
  return ok;
}

/* Entry `index` takes the weights that it chooses, unless one is taken already. */
static bool take(const chooser *c, const recipe *r, uint32_t index, uint32_t *entry_of) {
  const recipe_entry *e = &r->entries[index];
  bool *chosen = arena_array(c->arena, bool, c->count + 1);
  bool *ignored = arena_array(c->arena, bool, c->count + 1);
  memset(chosen, !e->targets, c->count * sizeof *chosen);
  bool ok = mark_list(c, e->targets, chosen);
  ok &= mark_list(c, e->ignore, ignored);
  for (size_t i = 0; ok && i < c->count; i++) {
    if (!chosen[i] || ignored[i]) continue;
    if (entry_of[i] != RECIPE_NONE) {
      diag_error(c->diag, e->loc, E_DUP_NAME,
                 "two entries choose '%s'; narrow 'targets' or add it to 'ignore' of one",
                 c->weights[i]);
      diag_note(c->diag, r->entries[entry_of[i]].loc, "the other entry is here");
      return false;
    }
    entry_of[i] = index;
  }
  return ok;
}

bool recipe_choose(arena *a, diag *d, const recipe *r, const char *const *weights, size_t count,
                   uint32_t *entry_of) {
  const chooser c = {a, d, weights, count};
  bool ok = true;
  for (size_t i = 0; i < count; i++)
    entry_of[i] = RECIPE_NONE;
  for (uint32_t i = 0; i < r->count; i++)
    ok &= take(&c, r, i, entry_of);
  return ok;
}
