#include "ir/lex.h"

#include <inttypes.h>
#include <string.h>

#include "ir/hexfloat.h"

void lex_start(lex *l, arena *a, diag *d, const char *file, const char *text, size_t size) {
  *l = (lex){.arena = a, .d = d, .file = file, .end = text + size};
  l->at = l->line_begin = l->line_end = text;
}

static void skip_blanks(lex *l) {
  while (l->at < l->line_end && (*l->at == ' ' || *l->at == '\t'))
    l->at++;
}

bool lex_finish_ahead(lex *l) {
  skip_blanks(l);
  return l->at == l->line_end || *l->at == ';';
}

src_loc lex_loc(lex *l) {
  skip_blanks(l);
  uint32_t column = 1;
  for (const char *s = l->line_begin; s < l->at; s++)
    column += ((unsigned char)*s & 0xc0) != 0x80; /* characters of UTF-8, not bytes */
  return loc_at(l->file, l->line, column);
}

bool lex_fail_at(lex *l, src_loc loc, enum err code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *text = arena_vprintf(l->arena, format, args);
  va_end(args);
  l->failed = true;
  return diag_error(l->d, loc, code, "%s", text);
}

bool lex_fail(lex *l, enum err code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *text = arena_vprintf(l->arena, format, args);
  va_end(args);
  return lex_fail_at(l, lex_loc(l), code, "%s", text);
}

/* Finds the bounds of the line that begins at `begin`, which is before the end of the text. */
static bool find_line(lex *l, const char *begin) {
  l->line++;
  l->at = l->line_begin = l->line_end = begin;
  size_t left = (size_t)(l->end - begin);
  const char *newline = memchr(begin, '\n', left);
  if ((newline ? (size_t)(newline - begin) : left) > IR_MAX_LINE)
    return lex_fail(l, E_LIMIT, "a line of over %d bytes", IR_MAX_LINE);
  if (!newline) return lex_fail(l, E_IR, "the last line has no line end; is the text cut off?");
  l->line_end = newline;
  return true;
}

bool lex_line(lex *l) {
  while (!l->failed) {
    const char *next = l->line ? l->line_end + 1 : l->line_begin;
    if (next == l->end) return false;
    if (find_line(l, next) && !lex_finish_ahead(l)) return true;
  }
  return false;
}

/* Length of the run of characters of `set` at the cursor. */
static size_t run_length(lex *l, const char *set) {
  skip_blanks(l);
  size_t n = 0;
  while (l->at + n < l->line_end && l->at[n] && strchr(set, l->at[n]))
    n++;
  return n;
}

/* What stands at the cursor, for messages. */
static const char *found(lex *l) {
  enum { SHOWN = 32 };
  if (lex_finish_ahead(l)) return "the end of the line";
  size_t n = run_length(l, LEX_WORD);
  if (n) return arena_printf(l->arena, "'%.*s'", (int)(n < SHOWN ? n : SHOWN), l->at);
  unsigned char c = (unsigned char)*l->at;
  return arena_printf(l->arena, c > 0x20 && c < 0x7f ? "'%c'" : "byte 0x%02x", c);
}

static bool expected(lex *l, const char *what) {
  return lex_fail(l, E_IR, "expected %s, found %s", what, found(l));
}

bool lex_ahead(lex *l, char c) {
  skip_blanks(l);
  return l->at < l->line_end && *l->at == c;
}

bool lex_accept(lex *l, char c) {
  if (!lex_ahead(l, c)) return false;
  l->at++;
  return true;
}

bool lex_expect(lex *l, char c) {
  return lex_accept(l, c) || expected(l, arena_printf(l->arena, "'%c'", c));
}

bool lex_finish(lex *l) {
  return lex_finish_ahead(l) || expected(l, "the end of the line");
}

static const char *read_run(lex *l, const char *set, const char *what) {
  size_t n = run_length(l, set);
  if (n == 0) return expected(l, what), NULL;
  if (n > IR_MAX_NAME) return lex_fail(l, E_LIMIT, "a word of over %d bytes", IR_MAX_NAME), NULL;
  const char *run = arena_strndup(l->arena, l->at, n);
  l->at += n;
  return run;
}

const char *lex_word(lex *l, const char *what) {
  return read_run(l, LEX_WORD, what);
}

const char *lex_pattern(lex *l) {
  return read_run(l, LEX_WORD ":", "a pattern");
}

bool lex_take(lex *l, const char *key) {
  size_t n = run_length(l, LEX_WORD);
  if (n != strlen(key) || memcmp(l->at, key, n) != 0) return false;
  l->at += n;
  return true;
}

bool lex_keyword(lex *l, const char *key) {
  return lex_take(l, key) || expected(l, arena_printf(l->arena, "'%s'", key));
}

bool lex_key(lex *l, const char *key) {
  return lex_keyword(l, key) && lex_expect(l, '=');
}

static int hex_digit(char c) {
  const char *digits = "0123456789abcdef", *d = c ? strchr(digits, c) : NULL;
  return d ? (int)(d - digits) : -1;
}

/* The byte that an escape behind a backslash stands for; -1 after an error. */
static int read_escape(lex *l) {
  char c = l->at < l->line_end ? *l->at : 0;
  if (c == '"' || c == '\\') {
    l->at++;
    return c;
  }
  if (c == 'x' && l->line_end - l->at >= 3) {
    int high = hex_digit(l->at[1]), low = hex_digit(l->at[2]);
    if (high >= 0 && low >= 0 && high + low > 0) {
      l->at += 3;
      return high << 4 | low;
    }
  }
  lex_fail(l, E_IR, "expected \\\", \\\\ or \\x and two hex digits (not 00) in a quoted name");
  return -1;
}

/* A name in quotes, the first of which, at `begin`, is taken. */
static const char *read_quoted(lex *l, src_loc begin) {
  char name[IR_MAX_NAME + 1];
  size_t n = 0;
  while (l->at < l->line_end && *l->at != '"') {
    int c = (unsigned char)*l->at++;
    if (c == '\\') c = read_escape(l);
    if (c < 0) return NULL;
    if (c == 0) return lex_fail(l, E_IR, "a zero byte in a quoted name"), NULL;
    if (n == IR_MAX_NAME)
      return lex_fail_at(l, begin, E_LIMIT, "a name of over %d bytes", IR_MAX_NAME), NULL;
    name[n++] = (char)c;
  }
  if (l->at == l->line_end)
    return lex_fail_at(l, begin, E_IR, "a quoted name without its end"), NULL;
  l->at++;
  if (n == 0) return lex_fail_at(l, begin, E_IR, "an empty name"), NULL;
  return arena_strndup(l->arena, name, n);
}

const char *lex_name(lex *l, const char *what) {
  src_loc begin = lex_loc(l);
  return lex_accept(l, '"') ? read_quoted(l, begin) : lex_word(l, what);
}

bool lex_int(lex *l, const char *what, int64_t low, int64_t high, int64_t *out) {
  skip_blanks(l);
  const char *s = l->at;
  bool negative = s < l->line_end && *s == '-';
  s += negative;
  const char *digits = s;
  int64_t n = 0;
  bool fits = true;
  for (; s < l->line_end && *s >= '0' && *s <= '9'; s++) {
    fits = fits && n <= (INT64_MAX - (*s - '0')) / 10;
    if (fits) n = n * 10 + (*s - '0');
  }
  if (s == digits || (*digits == '0' && s > digits + 1)) return expected(l, what);
  if (negative) n = -n;
  if (!fits || n < low || n > high)
    return lex_fail(l, E_IR, "%s has to be in %" PRId64 " … %" PRId64, what, low, high);
  l->at = s;
  *out = n;
  return true;
}

bool lex_u32(lex *l, const char *what, uint32_t *out) {
  int64_t n;
  if (!lex_int(l, what, 0, UINT32_MAX - 1, &n)) return false;
  *out = (uint32_t)n;
  return true;
}

bool lex_float(lex *l, double *out) {
  skip_blanks(l);
  const char *next = hexfloat_read(l->at, l->line_end, out);
  if (!next)
    return lex_fail(l, E_IR, "expected a finite hexadecimal float such as 0x1.8p-3, found %s",
                    found(l));
  l->at = next;
  return true;
}

bool lex_type(lex *l, ir_type *out) {
  enum { LONGEST = 4 + IR_MAX_RANK * 21 };
  skip_blanks(l);
  size_t left = (size_t)(l->line_end - l->at);
  const char *close = memchr(l->at, ']', left < LONGEST ? left : LONGEST);
  const char *text = arena_strndup(l->arena, l->at, close ? (size_t)(close + 1 - l->at) : 0);
  if (!ir_type_parse(text, out)) return expected(l, "a type such as f32[N,768]");
  l->at = close + 1;
  return true;
}

bool lex_hash(lex *l, sha256 *out) {
  size_t digits = 2 * sizeof out->byte;
  if (run_length(l, LEX_WORD) != digits) return expected(l, "64 hex digits");
  for (size_t i = 0; i < digits; i++) {
    int h = hex_digit(l->at[i]);
    if (h < 0) return expected(l, "64 lower-case hex digits");
    out->byte[i / 2] = (unsigned char)(out->byte[i / 2] << 4 | h);
  }
  l->at += digits;
  return true;
}
