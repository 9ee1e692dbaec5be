/* Reads the IR's text line by line, for parse.c. Blanks between tokens are skipped. */
#ifndef SPCC_IR_LEX_H
#define SPCC_IR_LEX_H

#include "ir/ir.h"

enum { IR_TEXT_VERSION = 1 };

/* Characters of a word; a name of others is quoted. */
#define LEX_WORD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

typedef struct lex {
  arena *arena;
  diag *d;
  const char *file;
  const char *at;                          /* next byte of the line */
  const char *line_begin, *line_end, *end; /* line_end is its newline; end, that of the text */
  uint32_t line;
  bool failed; /* an error was recorded */
} lex;

void lex_start(lex *l, arena *a, diag *d, const char *file, const char *text, size_t size);
/* Moves to the next line that is not blank and not a comment alone. False at the end of the text
 * and after an error. */
bool lex_line(lex *l);
/* Where the next token begins. */
src_loc lex_loc(lex *l);
/* Records an error at the next token, or at `loc`; false. */
bool lex_fail(lex *l, enum err code, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool lex_fail_at(lex *l, src_loc loc, enum err code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Takes the character `c` if it is next. */
bool lex_accept(lex *l, char c);
/* Takes it, or records an error. */
bool lex_expect(lex *l, char c);
/* True when `c` is the next token. */
bool lex_ahead(lex *l, char c);
/* True when nothing but a comment follows in the line. */
bool lex_finish_ahead(lex *l);
/* Takes the word `key` if it is next. */
bool lex_take(lex *l, const char *key);
/* Takes the word `key`, or records an error; with a '=' after it in lex_key. */
bool lex_keyword(lex *l, const char *key);
bool lex_key(lex *l, const char *key);
/* Records an error unless nothing but a comment follows in the line. */
bool lex_finish(lex *l);

/* A word, a name (word or quoted); NULL after an error. `what` it is, for the message. */
const char *lex_word(lex *l, const char *what);
const char *lex_name(lex *l, const char *what);
/* What may be a pattern: a word with colons. */
const char *lex_pattern(lex *l);
/* A plain decimal between `low` and `high`. */
bool lex_int(lex *l, const char *what, int64_t low, int64_t high, int64_t *out);
bool lex_u32(lex *l, const char *what, uint32_t *out);
bool lex_float(lex *l, double *out);
bool lex_type(lex *l, ir_type *out);
/* 64 lower-case hex digits. */
bool lex_hash(lex *l, sha256 *out);

#endif
