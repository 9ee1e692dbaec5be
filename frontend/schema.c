#include "frontend/schema.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "frontend/suggest.h"

static const schema_key keys[] = {
#define KEY(section, key, type, required, doc)                                                     \
  {SECTION_##section, #key, SCHEMA_##type, required, doc},
#include "frontend/schema.def"
#undef KEY
};
enum { KEY_COUNT = sizeof keys / sizeof *keys };

const schema_key *schema_keys(size_t *count) {
  *count = KEY_COUNT;
  return keys;
}

/* ---- scalars ---- */

/* The key that a value stands under, or what else to call it in messages. */
static const char *subject(const ynode *n) {
  return n->key ? n->key->text : "an item";
}

static bool is_null(const ynode *n) {
  return n->plain &&
         (n->size == 0 || strcmp(n->text, "~") == 0 || strcasecmp(n->text, "null") == 0);
}

static bool is_bool_word(const ynode *n) {
  static const char *const words[] = {"true", "false", "yes", "no", "on", "off"};
  for (size_t i = 0; n->plain && i < sizeof words / sizeof *words; i++)
    if (strcasecmp(n->text, words[i]) == 0) return true;
  return false;
}

static const char *kind_name(const ynode *n) {
  if (n->kind == Y_MAPPING) return "a mapping";
  if (n->kind == Y_SEQUENCE) return "a list";
  return is_null(n) ? "nothing" : is_bool_word(n) ? "a boolean" : "a text";
}

static bool type_error(diag *d, const ynode *n, const char *expected) {
  return diag_error(d, n->loc, E_TYPE, "%.64s must be %s, not %s", subject(n), expected,
                    kind_name(n));
}

static bool all_digits(const char *s) {
  if (!*s) return false;
  for (; *s; s++)
    if (*s < '0' || *s > '9') return false;
  return true;
}

bool value_int(diag *d, const ynode *n, int64_t lo, int64_t hi, int64_t *out) {
  if (n->kind != Y_SCALAR || is_null(n) || is_bool_word(n)) return type_error(d, n, "an integer");
  const char *digits = n->text + (n->text[0] == '-');
  bool padded = digits[0] == '0' && digits[1] != '\0';
  if (!n->plain || padded || !all_digits(digits))
    return diag_error(d, n->loc, E_INT, "%.64s must be a plain decimal integer, not '%.64s'",
                      subject(n), n->text);
  errno = 0;
  long long v = strtoll(n->text, NULL, 10);
  if (errno != 0 || v < lo || v > hi)
    return diag_error(d, n->loc, E_INT, "%.64s is %.64s; it must be from %" PRId64 " to %" PRId64,
                      subject(n), n->text, lo, hi);
  *out = v;
  return true;
}

bool value_bool(diag *d, const ynode *n, bool *out) {
  if (n->kind != Y_SCALAR || !n->plain) return type_error(d, n, "true or false");
  *out = strcmp(n->text, "true") == 0;
  if (*out || strcmp(n->text, "false") == 0) return true;
  return diag_error(d, n->loc, E_TYPE, "%.64s must be true or false, not '%.64s'", subject(n),
                    n->text);
}

static const char *skip_digits(const char *s) {
  while (*s >= '0' && *s <= '9')
    s++;
  return s;
}

/* [-]digits[.digits][e[+-]digits] */
static bool is_decimal(const char *s) {
  s += *s == '-';
  const char *p = skip_digits(s);
  if (p == s) return false;
  if (*p == '.') {
    s = p + 1;
    p = skip_digits(s);
    if (p == s) return false;
  }
  if (*p == 'e' || *p == 'E') {
    s = p + 1;
    s += *s == '+' || *s == '-';
    p = skip_digits(s);
    if (p == s) return false;
  }
  return *p == '\0';
}

bool value_float(diag *d, const ynode *n, double *out) {
  if (n->kind != Y_SCALAR || is_null(n) || is_bool_word(n)) return type_error(d, n, "a number");
  if (!n->plain || !is_decimal(n->text))
    return diag_error(d, n->loc, E_FLOAT, "%.64s must be a plain decimal number, not '%.64s'",
                      subject(n), n->text);
  locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (c == (locale_t)0) return diag_error(d, n->loc, E_MEMORY, "out of memory");
  double v = strtod_l(n->text, NULL, c);
  freelocale(c);
  if (!isfinite(v))
    return diag_error(d, n->loc, E_FLOAT, "%.64s is too large: '%.64s'", subject(n), n->text);
  *out = v;
  return true;
}

bool value_text(diag *d, const ynode *n, const char **out) {
  if (n->kind != Y_SCALAR || is_null(n)) return type_error(d, n, "a text");
  *out = n->text;
  return true;
}

/* ---- keys ---- */

static bool check_texts(diag *d, const ynode *n) {
  const char *text;
  if (n->kind == Y_MAPPING) return type_error(d, n, "a text or a list of texts");
  if (n->kind == Y_SCALAR) return value_text(d, n, &text);
  bool ok = true;
  for (const ynode *c = n->first; c; c = c->next)
    ok &= value_text(d, c, &text);
  return ok;
}

static bool check_type(diag *d, const ynode *n, enum schema_type type) {
  int64_t i;
  double number;
  bool b;
  const char *text;
  switch (type) {
  case SCHEMA_INT:
    return value_int(d, n, INT64_MIN, INT64_MAX, &i);
  case SCHEMA_FLOAT:
    return value_float(d, n, &number);
  case SCHEMA_BOOL:
    return value_bool(d, n, &b);
  case SCHEMA_TEXT:
    return value_text(d, n, &text);
  case SCHEMA_MAP:
    return n->kind == Y_MAPPING || type_error(d, n, "a mapping");
  case SCHEMA_LIST:
    return n->kind == Y_SEQUENCE || type_error(d, n, "a list");
  case SCHEMA_TEXTS:
    return check_texts(d, n);
  }
  return false;
}

static const schema_key *find_key(enum schema_section section, const char *name) {
  for (size_t i = 0; i < KEY_COUNT; i++)
    if (keys[i].section == section && strcmp(keys[i].name, name) == 0) return &keys[i];
  return NULL;
}

static bool is_other(const char *const *others, const char *name) {
  for (; *others; others++)
    if (strcmp(*others, name) == 0) return true;
  return false;
}

static bool unknown_key(arena *a, diag *d, const ynode *key, enum schema_section section,
                        const char *what, const char *const *others) {
  suggestion s = {.word = key->text};
  for (size_t i = 0; i < KEY_COUNT; i++)
    if (keys[i].section == section) suggest_offer(&s, keys[i].name);
  for (; *others; others++)
    suggest_offer(&s, *others);
  return diag_error(d, key->loc, E_KEY, "unknown key '%.64s' in %s%s", key->text, what,
                    suggest_text(a, &s));
}

bool schema_check_more(arena *a, diag *d, const ynode *n, enum schema_section section,
                       const char *what, const char *const *others) {
  if (n->kind != Y_MAPPING)
    return diag_error(d, n->loc, E_TYPE, "%s must be a mapping of keys to values, not %s", what,
                      kind_name(n));
  bool ok = true;
  for (const ynode *c = n->first; c; c = c->next) {
    const schema_key *k = find_key(section, c->key->text);
    if (k)
      ok &= check_type(d, c, k->type);
    else if (!is_other(others, c->key->text))
      ok = unknown_key(a, d, c->key, section, what, others);
  }
  for (size_t i = 0; i < KEY_COUNT; i++)
    if (keys[i].section == section && keys[i].required && !ynode_get(n, keys[i].name))
      ok = diag_error(d, n->loc, E_KEY, "%s needs the key '%s'", what, keys[i].name);
  return ok;
}

bool schema_check(arena *a, diag *d, const ynode *n, enum schema_section section,
                  const char *what) {
  static const char *const none[] = {NULL};
  return schema_check_more(a, d, n, section, what, none);
}

bool schema_check_version(diag *d, const ynode *root) {
  const ynode *n = ynode_get(root, "spcc");
  int64_t version;
  if (!value_int(d, n, 0, INT64_MAX, &version)) return false;
  if (version == 1) return true;
  return diag_error(d, n->loc, E_VERSION,
                    "schema version %" PRId64 " is not known; this spcc reads version 1", version);
}
