#include "support/diag.h"

#include <inttypes.h>

#include "support/text.h"

struct diag {
  arena *arena;
  diag_message *first, **end;
  size_t errors;
  int exit_code;
  bool dropping; /* the last error was over the limit: its notes go with it */
};

static const struct {
  const char *name;
  int exit_code;
} codes[ERR_COUNT] = {
#define ERR(code, exit, doc) {#code, exit},
#include "support/errors.def"
#undef ERR
};

const char *err_name(enum err code) {
  return codes[code].name;
}

diag *diag_new(arena *a) {
  diag *d = arena_new_one(a, diag);
  d->arena = a;
  d->end = &d->first;
  return d;
}

static void record(diag *d, enum diag_level level, enum err code, src_loc loc, const char *format,
                   va_list args) {
  diag_message *m = arena_new_one(d->arena, diag_message);
  *m = (diag_message){.level = level, .code = code, .loc = loc};
  if (loc.file) m->loc.file = arena_strdup(d->arena, loc.file);
  m->text = text_escape(d->arena, arena_vprintf(d->arena, format, args));
  *d->end = m;
  d->end = &m->next;
}

bool diag_error(diag *d, src_loc loc, enum err code, const char *format, ...) {
  if (codes[code].exit_code > d->exit_code) d->exit_code = codes[code].exit_code;
  d->dropping = diag_full(d);
  if (d->dropping) return false;
  d->errors++;
  va_list args;
  va_start(args, format);
  record(d, DIAG_ERROR, code, loc, format, args);
  va_end(args);
  return false;
}

void diag_warning(diag *d, src_loc loc, const char *format, ...) {
  d->dropping = false;
  va_list args;
  va_start(args, format);
  record(d, DIAG_WARNING, 0, loc, format, args);
  va_end(args);
}

void diag_note(diag *d, src_loc loc, const char *format, ...) {
  if (d->dropping) return;
  va_list args;
  va_start(args, format);
  record(d, DIAG_NOTE, 0, loc, format, args);
  va_end(args);
}

void diag_remark(diag *d, src_loc loc, const char *format, ...) {
  d->dropping = false;
  va_list args;
  va_start(args, format);
  record(d, DIAG_REMARK, 0, loc, format, args);
  va_end(args);
}

size_t diag_errors(const diag *d) {
  return d->errors;
}

bool diag_full(const diag *d) {
  return d->errors >= DIAG_MAX_ERRORS;
}

int diag_exit_code(const diag *d) {
  return d->exit_code;
}

const diag_message *diag_first(const diag *d) {
  return d->first;
}

static const char *format_place(arena *a, const src_loc *loc) {
  if (!loc->file) return "spcc";
  const char *file = text_escape(a, loc->file);
  if (loc->has_offset) return arena_printf(a, "%s:+0x%" PRIx64, file, loc->offset);
  if (!loc->line) return file;
  if (!loc->column) return arena_printf(a, "%s:%" PRIu32, file, loc->line);
  return arena_printf(a, "%s:%" PRIu32 ":%" PRIu32, file, loc->line, loc->column);
}

char *diag_format(arena *a, const diag_message *m) {
  static const char *const level[] = {
      [DIAG_ERROR] = "error",
      [DIAG_WARNING] = "warning",
      [DIAG_NOTE] = "note",
      [DIAG_REMARK] = "remark",
  };
  const char *place = format_place(a, &m->loc);
  if (m->level != DIAG_ERROR) return arena_printf(a, "%s: %s: %s", place, level[m->level], m->text);
  return arena_printf(a, "%s: error: %s [%s]", place, m->text, err_name(m->code));
}
