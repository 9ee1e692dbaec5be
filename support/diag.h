/* Diagnostics: located messages, collected and never printed here; the driver prints them. */
#ifndef SPCC_SUPPORT_DIAG_H
#define SPCC_SUPPORT_DIAG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"

/* Error codes: the rows of errors.def. */
enum err {
#define ERR(code, exit, doc) code,
#include "support/errors.def"
#undef ERR
  ERR_COUNT
};

/* A place in an input. line and column count from 1, in characters; 0 means "the whole file".
 * has_offset: a byte offset instead, printed as file:+0x1f8. */
typedef struct src_loc {
  const char *file;
  uint32_t line, column;
  bool has_offset;
  uint64_t offset;
} src_loc;

enum diag_level { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE, DIAG_REMARK };

typedef struct diag_message {
  enum diag_level level;
  enum err code; /* errors only */
  src_loc loc;
  const char *text;
  struct diag_message *next;
} diag_message;

typedef struct diag diag;

/* At most this many errors are kept; diag_full() then tells callers to stop. */
enum { DIAG_MAX_ERRORS = 20 };

diag *diag_new(arena *a);

/* Records an error and returns false, so that a function can end in `return diag_error(...)`. */
bool diag_error(diag *d, src_loc loc, enum err code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diag_warning(diag *d, src_loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A note belongs to the message before it. */
void diag_note(diag *d, src_loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_remark(diag *d, src_loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

size_t diag_errors(const diag *d);
bool diag_full(const diag *d);
/* The exit code that the errors ask for: 0 without errors, else the largest of errors.def. */
int diag_exit_code(const diag *d);
/* The messages in the order in which they were recorded. */
const diag_message *diag_first(const diag *d);
/* One message as a line of text without the line end, such as
 * "bert.yaml:14:12: error: layer 'ffn1' expects input width 768, got 3072 [E_SHAPE]". */
char *diag_format(arena *a, const diag_message *m);
const char *err_name(enum err code);

static inline src_loc loc_file(const char *file) {
  return (src_loc){.file = file};
}
static inline src_loc loc_at(const char *file, uint32_t line, uint32_t column) {
  return (src_loc){.file = file, .line = line, .column = column};
}
static inline src_loc loc_offset(const char *file, uint64_t offset) {
  return (src_loc){.file = file, .has_offset = true, .offset = offset};
}

#endif
