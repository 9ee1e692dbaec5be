#include "frontend/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ---- tokens ---- */

enum token_kind { T_END, T_PUNCTUATION, T_STRING, T_WORD, T_OTHER };

typedef struct token {
  enum token_kind kind;
  size_t begin, end; /* in the text; a string has its quotes */
} token;

static bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
         c == '-' || c == '.' || c == '_';
}

/* A byte of a character in UTF-8 after its first. */
static bool is_continuation(char c) {
  return ((unsigned char)c & 0xc0) == 0x80;
}

static size_t string_end(const json_text *in, size_t at) {
  for (at++; at < in->size; at++) {
    if (in->text[at] == '"') return at + 1;
    if (in->text[at] == '\\') at++;
  }
  return in->size;
}

/* The first token at or after `at`. */
static token next_token(const json_text *in, size_t at) {
  while (at < in->size && is_space(in->text[at]))
    at++;
  if (at == in->size) return (token){T_END, at, at};
  char c = in->text[at];
  if (c == '"') return (token){T_STRING, at, string_end(in, at)};
  if (c && strchr("{}[],:", c)) return (token){T_PUNCTUATION, at, at + 1};
  size_t end = at;
  while (end < in->size && is_word(in->text[end]))
    end++;
  if (end > at) return (token){T_WORD, at, end};
  for (end++; end < in->size && is_continuation(in->text[end]);)
    end++;
  return (token){T_OTHER, at, end};
}

static bool token_is(const json_text *in, token t, const char *s) {
  size_t length = strlen(s);
  return t.end - t.begin == length && !memcmp(in->text + t.begin, s, length);
}

/* True for the string `s`, as far as it is written without escapes. */
static bool string_is(const json_text *in, token t, const char *s) {
  size_t length = strlen(s);
  return t.kind == T_STRING && t.end - t.begin == length + 2 &&
         !memcmp(in->text + t.begin + 1, s, length);
}

/* ---- places ---- */

static src_loc place(const json_text *in, size_t at) {
  if (in->weights) return loc_offset(in->shown, in->base + at);
  uint32_t line = 1, column = 1;
  for (size_t i = 0; i < at && i < in->size; i++) {
    if (in->text[i] == '\n') {
      line++;
      column = 1;
    } else if (!is_continuation(in->text[i])) {
      column++;
    }
  }
  return loc_at(in->shown, line, column);
}

src_loc json_place(const json_text *in, const char *key) {
  size_t depth = 0;
  for (token t = next_token(in, 0); t.kind != T_END; t = next_token(in, t.end)) {
    if (t.kind == T_PUNCTUATION && strchr("{[", in->text[t.begin])) depth++;
    if (t.kind == T_PUNCTUATION && strchr("}]", in->text[t.begin])) depth--;
    if (depth != 1 || !string_is(in, t, key)) continue;
    token colon = next_token(in, t.end);
    if (token_is(in, colon, ":")) return place(in, next_token(in, colon.end).begin);
  }
  return loc_file(in->shown);
}

/* ---- the scan before the parser ---- */

static bool fail(diag *d, const json_text *in, size_t at, const char *what) {
  return diag_error(d, place(in, at), in->weights ? E_W_JSON : E_JSON, "%s", what);
}

static bool over_limit(diag *d, const json_text *in, size_t at, const char *what, int limit) {
  return diag_error(d, place(in, at), E_LIMIT, "%s; the limit is %d", what, limit);
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The code unit of the escape \uXXXX at `at`; -1 when there is none. */
static int unicode_escape(const json_text *in, size_t at, size_t end) {
  if (end - at < 6 || in->text[at] != '\\' || in->text[at + 1] != 'u') return -1;
  int unit = 0;
  for (size_t i = at + 2; i < at + 6; i++) {
    int digit = hex_digit(in->text[i]);
    if (digit < 0) return -1;
    unit = unit << 4 | digit;
  }
  return unit;
}

static bool is_high(int unit) {
  return unit >= 0xd800 && unit <= 0xdbff;
}

static bool is_low(int unit) {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/* Refuses \u0000, which no C string holds, and surrogates without their partner. */
static bool scan_string(diag *d, const json_text *in, token t) {
  if (t.end - t.begin > JSON_MAX_STRING + 2)
    return over_limit(d, in, t.begin, "a string is too many bytes long", JSON_MAX_STRING);
  for (size_t i = t.begin + 1; i + 1 < t.end; i++) {
    if (in->text[i] != '\\') continue;
    int unit = unicode_escape(in, i, t.end);
    bool pair = is_high(unit) && is_low(unicode_escape(in, i + 6, t.end));
    if (unit == 0 || (!pair && (is_high(unit) || is_low(unit))))
      return diag_error(d, place(in, i), in->weights ? E_W_NAME : E_JSON,
                        "the escape '%.6s' stands for no character", in->text + i);
    i += pair ? 11 : 1;
  }
  return true;
}

static bool is_plain_integer(const json_text *in, token t) {
  int64_t value = 0;
  for (size_t i = t.begin; i < t.end; i++) {
    int digit = in->text[i] - '0';
    if (digit < 0 || digit > 9 || value > (INT64_MAX - digit) / 10) return false;
    value = value * 10 + digit;
  }
  return in->text[t.begin] != '0' || t.end - t.begin == 1;
}

/* The keys of a tensor whose values are lists of plain integers. */
static const struct {
  const char *key;
  enum err code;
} integer_keys[] = {{"shape", E_W_DIM}, {"data_offsets", E_W_RANGE}};

/* A number or a bare word; `key` is the last string before it. */
static bool scan_word(diag *d, const json_text *in, token t, token key) {
  if (t.end - t.begin > JSON_MAX_NUMBER)
    return over_limit(d, in, t.begin, "a number has too many digits", JSON_MAX_NUMBER);
  for (size_t i = 0; in->weights && i < sizeof integer_keys / sizeof *integer_keys; i++)
    if (string_is(in, key, integer_keys[i].key) && !is_plain_integer(in, t))
      return diag_error(d, place(in, t.begin), integer_keys[i].code,
                        "'%.*s' in \"%s\" is not a plain integer from 0 to 2^63-1",
                        (int)(t.end - t.begin), in->text + t.begin, integer_keys[i].key);
  return true;
}

/* What a token costs of JSON_MAX_COST. */
static size_t cost_of(const json_text *in, token t) {
  if (t.kind == T_STRING) return 2;
  if (t.kind != T_PUNCTUATION) return 1;
  return strchr("{[", in->text[t.begin]) ? 8 : 0;
}

static bool scan_depth(diag *d, const json_text *in, token t, size_t *depth) {
  if (t.kind != T_PUNCTUATION) return true;
  if (strchr("{[", in->text[t.begin]) && ++*depth > JSON_MAX_DEPTH)
    return over_limit(d, in, t.begin, "nested too deep", JSON_MAX_DEPTH);
  if (strchr("}]", in->text[t.begin]) && *depth > 0) --*depth;
  return true;
}

static bool scan(diag *d, const json_text *in) {
  size_t depth = 0, cost = 0;
  token key = {T_END, 0, 0};
  for (token t = next_token(in, 0); t.kind != T_END; t = next_token(in, t.end)) {
    if (!scan_depth(d, in, t, &depth)) return false;
    if ((cost += cost_of(in, t)) > JSON_MAX_COST)
      return over_limit(d, in, t.begin,
                        "too many values (an object or a list counts as 8, a string as 2)",
                        JSON_MAX_COST);
    if (t.kind == T_STRING && !scan_string(d, in, t)) return false;
    if (t.kind == T_WORD && !scan_word(d, in, t, key)) return false;
    if (t.kind == T_STRING) key = t;
  }
  return true;
}

/* ---- what jansson refuses ---- */

/* The token in which jansson stopped: it tells how many bytes it had read. */
static token stopped_at(const json_text *in, size_t position) {
  token t = next_token(in, 0);
  while (t.kind != T_END && t.end < position)
    t = next_token(in, t.end);
  return t;
}

static bool report(diag *d, const json_text *in, const json_error_t *e, bool no_memory) {
  token t = stopped_at(in, e->position < 0 ? 0 : (size_t)e->position);
  size_t length = t.end - t.begin;
  int shown = length > 60 ? 60 : (int)length;
  const char *text = in->text + t.begin;
  /* Without memory jansson stops at once and blames the text, or nothing. */
  if (no_memory) return diag_error(d, place(in, t.begin), E_MEMORY, "out of memory");
  switch (json_error_code(e)) {
  case json_error_duplicate_key:
    return diag_error(d, place(in, t.begin), in->weights ? E_W_DUP : E_DUP_KEY,
                      "the key %.*s stands twice", shown, text);
  case json_error_invalid_utf8:
    return fail(d, in, t.begin, "not valid UTF-8");
  case json_error_premature_end_of_input:
    return fail(d, in, in->size, "the text ends too early");
  case json_error_end_of_input_expected:
    return fail(d, in, t.begin, "only spaces may follow the closing '}'");
  case json_error_numeric_overflow:
    return diag_error(d, place(in, t.begin), in->weights ? E_W_JSON : E_JSON,
                      "the number %.*s is out of range", shown, text);
  default:
    return diag_error(d, place(in, t.begin), in->weights ? E_W_JSON : E_JSON,
                      "'%.*s' is not expected here", shown, text);
  }
}

json_t *json_parse(diag *d, const json_text *in) {
  if (next_token(in, 0).kind == T_END) {
    diag_error(d, loc_file(in->shown), in->weights ? E_W_JSON : E_EMPTY, "the JSON text is empty");
    return NULL;
  }
  if (!scan(d, in)) return NULL;
  json_error_t e;
  errno = 0;
  json_t *root = json_loadb(in->text, in->size, JSON_REJECT_DUPLICATES, &e);
  if (!root) {
    report(d, in, &e, errno == ENOMEM);
  } else if (!json_is_object(root)) {
    json_decref(root);
    root = NULL;
    fail(d, in, 0, "an object, '{…}', is expected");
  }
  return root;
}

json_t *json_read_file(arena *a, diag *d, const char *dir, const char *name, size_t max,
                       json_text *in) {
  bytes data;
  if (!file_read(a, d, dir, name, max, &data)) return NULL;
  *in = (json_text){
      .shown = path_join(a, dir, name), .text = (const char *)data.data, .size = data.size};
  return json_parse(d, in);
}
