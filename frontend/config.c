#include "frontend/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"
#include "frontend/suggest.h"

enum { CONFIG_MAX_BYTES = 4 << 20 };

typedef struct reader {
  arena *arena;
  diag *diag;
  json_text text;
  json_t *root;
} reader;

/* The value of a key; NULL when absent or null. */
static const json_t *get(const reader *r, const char *key) {
  const json_t *v = json_object_get(r->root, key);
  return v && !json_is_null(v) ? v : NULL;
}

/* A value as compact JSON, cut to what fits a message. */
static const char *spell(const reader *r, const json_t *v) {
  char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
  const char *copy = text ? arena_strndup(r->arena, text, strnlen(text, 64)) : "?";
  free(text);
  return copy;
}

static bool read_int(const reader *r, const char *key, int64_t least, int64_t most, int64_t *out) {
  const json_t *v = get(r, key);
  if (!v)
    return diag_error(r->diag, loc_file(r->text.shown), E_CONFIG, "the key '%s' is missing", key);
  src_loc loc = json_place(&r->text, key);
  if (!json_is_integer(v))
    return diag_error(r->diag, loc, E_CONFIG, "'%s' must be an integer, not %s", key, spell(r, v));
  json_int_t i = json_integer_value(v);
  if (i < least || i > most)
    return diag_error(r->diag, loc, E_CONFIG,
                      "'%s' is %" JSON_INTEGER_FORMAT "; it must be from %" PRId64 " to %" PRId64,
                      key, i, least, most);
  *out = i;
  return true;
}

static bool check_only(const reader *r, const char *key, const char *value) {
  const json_t *v = get(r, key);
  if (!v) return true;
  const char *found = spell(r, v);
  if (strcmp(found, value) == 0) return true;
  return diag_error(r->diag, json_place(&r->text, key), E_CONFIG,
                    "'%s' is %s; spcc compiles only %s", key, found, value);
}

static bool read_eps(const reader *r, double *out) {
  const json_t *v = get(r, "layer_norm_eps");
  *out = 1e-12;
  if (!v) return true;
  *out = json_number_value(v);
  if (json_is_number(v) && isfinite(*out) && *out >= 0) return true;
  return diag_error(r->diag, json_place(&r->text, "layer_norm_eps"), E_CONFIG,
                    "'layer_norm_eps' must be a number of at least 0, not %s", spell(r, v));
}

static bool read_act(const reader *r, enum ir_act *out) {
  static const struct {
    const char *name;
    enum ir_act act;
  } known[] = {{"gelu", ACT_GELU},          {"gelu_python", ACT_GELU},
               {"gelu_new", ACT_GELU_TANH}, {"gelu_fast", ACT_GELU_TANH},
               {"relu", ACT_RELU},          {"gelu_pytorch_tanh", ACT_GELU_TANH}};
  const json_t *v = get(r, "hidden_act");
  *out = ACT_GELU;
  if (!v) return true;
  const char *name = json_is_string(v) ? json_string_value(v) : "";
  suggestion s = {.word = name};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    suggest_offer(&s, known[i].name);
    *out = known[i].act;
    if (strcmp(known[i].name, name) == 0) return true;
  }
  return diag_error(r->diag, json_place(&r->text, "hidden_act"), E_CONFIG,
                    "'hidden_act' is %s; spcc compiles gelu, its tanh forms and relu%s",
                    spell(r, v), suggest_text(r->arena, &s));
}

static bool check_heads(const reader *r, const hf_config *c) {
  if (c->hidden_size % c->num_attention_heads == 0) return true;
  return diag_error(r->diag, json_place(&r->text, "num_attention_heads"), E_ATTR,
                    "%" PRId64 " heads do not divide the hidden size %" PRId64,
                    c->num_attention_heads, c->hidden_size);
}

static bool read_keys(const reader *r, hf_config *c) {
  bool ok = true;
#define CONFIG_INT(key, least, most, doc) ok &= read_int(r, #key, least, most, &c->key);
#define CONFIG_ONLY(key, value, doc) ok &= check_only(r, #key, value);
#define CONFIG_OTHER(key, doc)
#include "frontend/config.def"
#undef CONFIG_INT
#undef CONFIG_ONLY
#undef CONFIG_OTHER
  ok &= read_eps(r, &c->layer_norm_eps);
  ok &= read_act(r, &c->hidden_act);
  const char *first = json_string_value(json_array_get(get(r, "architectures"), 0));
  c->architecture = arena_strdup(r->arena, first ? first : "");
  return ok && check_heads(r, c);
}

bool config_read(arena *a, diag *d, const char *dir, hf_config *out) {
  reader r = {.arena = a, .diag = d};
  r.root = json_read_file(a, d, dir, "config.json", CONFIG_MAX_BYTES, &r.text);
  if (!r.root) return false;
  *out = (hf_config){.shown = r.text.shown};
  bool ok = read_keys(&r, out);
  json_decref(r.root);
  return ok;
}

static const hf_config_key known_keys[] = {
#define CONFIG_INT(key, least, most, doc) {#key, doc},
#define CONFIG_ONLY(key, value, doc) {#key, doc},
#define CONFIG_OTHER(key, doc) {#key, doc},
#include "frontend/config.def"
#undef CONFIG_INT
#undef CONFIG_ONLY
#undef CONFIG_OTHER
    {NULL, NULL}};

const hf_config_key *config_keys(void) {
  return known_keys;
}
