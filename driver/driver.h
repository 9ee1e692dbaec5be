/* The command `spcc`: the only folder that prints, exits and meets the operating system's user.
 *
 * main() reads the command line into a `driver` by the tables flags.def and commands.def, calls the
 * subcommand, prints the diagnostics that it left, and exits. */
#ifndef SPCC_DRIVER_DRIVER_H
#define SPCC_DRIVER_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/diag.h"

/* Exit codes beside those of errors.def. */
enum { EXIT_OK = 0, EXIT_REJECTED = 1, EXIT_USAGE = 2, EXIT_SYSTEM = 3, EXIT_BUG = 70 };

enum command {
#define COMMAND(name, lo, hi, operands, doc) CMD_##name,
#include "driver/commands.def"
#undef COMMAND
  CMD_COUNT
};

enum flag {
#define FLAG(id, spelling, kind, value, lo, hi, commands, doc) F_##id,
#include "driver/flags.def"
#undef FLAG
  FLAG_COUNT
};

/* One flag as it was given. */
typedef struct flag_use {
  enum flag flag;
  const char *text; /* the value's text; "" for a SWITCH */
  double number;    /* the value of an INT, NUMBER or BYTES (integers are exact: below 2^53) */
} flag_use;

/* The stages of a compilation, for progress and -ftime-report. */
enum { MAX_STAGES = 64 };
typedef struct stage_log {
  unsigned planned, begun; /* stages; planned 0: unknown */
  const char *name[MAX_STAGES];
  double start[MAX_STAGES]; /* seconds */
} stage_log;

typedef struct driver {
  arena *arena;
  diag *diag;
  enum command command;
  const char **operands;
  size_t operand_count;
  flag_use *uses; /* in the order of the command line */
  size_t use_count;
  bool progress;           /* standard error is a terminal */
  struct pending *pending; /* outputs that are being written, see output.h */
  stage_log stages;
} driver;

/* ---- the tables ---- */
enum flag_kind {
  FLAG_SWITCH,
  FLAG_TEXT,
  FLAG_INT,
  FLAG_NUMBER,
  FLAG_SECONDS, /* without a value, flag_number returns its `otherwise` */
  FLAG_BYTES,
  FLAG_CHOICE
};

typedef struct flag_info {
  const char *spelling;
  enum flag_kind kind;
  const char *value; /* what stands for it in the help; a CHOICE's words, separated by | */
  double lo, hi;     /* INT and NUMBER */
  uint32_t commands; /* bit c: known to command c */
  const char *doc;
} flag_info;
extern const flag_info flag_table[FLAG_COUNT];

typedef struct command_info {
  const char *name;
  size_t operands_min, operands_max;
  const char *operands; /* in the usage line */
  const char *doc;
  int (*run)(driver *dr);
} command_info;
extern const command_info command_table[CMD_COUNT];

/* ---- flags ---- */
/* Reads argv into dr (arena set, the rest zero). False after a usage error, which is printed. */
bool flags_parse(driver *dr, int argc, char **argv);
bool flag_given(const driver *dr, enum flag f);
/* The last value given, or `otherwise`. */
const char *flag_text(const driver *dr, enum flag f, const char *otherwise);
int64_t flag_int(const driver *dr, enum flag f, int64_t otherwise);
double flag_number(const driver *dr, enum flag f, double otherwise);
/* Steps through the values of a repeatable flag: begin with *at = 0; NULL after the last. */
const char *flag_next(const driver *dr, enum flag f, size_t *at);
/* The same with every value cut at commas; empty words are dropped. The list has room for one
 * more. */
const char **flag_list(const driver *dr, enum flag f, size_t *count);

/* ---- help ---- */
/* Prints the help of dr->command on standard output. */
void help_print(const driver *dr);

/* ---- messages ---- */
/* Prints "spcc: error: …" and where to find help; returns EXIT_USAGE. */
int usage_error(const driver *dr, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Shows a passing line on standard error when that is a terminal, in place of the last one; ""
 * removes it. */
void status_line(const driver *dr, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with "[step/steps] " before it; steps 0 removes the line. */
void progress(const driver *dr, unsigned step, unsigned steps, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A line on standard error with -v, nothing otherwise. */
void verbose(const driver *dr, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- stages ---- */
/* Forgets the stages so far; `count` more are to come (0: unknown). */
void stages_plan(driver *dr, unsigned count);
/* A stage begins, and the one before it ends. */
void stage_begin(driver *dr, const char *name);
/* The last stage ends: prints the times on standard error with -ftime-report. */
void stages_end(driver *dr);
/* Seconds since some moment. */
double seconds_now(void);

/* ---- subcommands ---- */
/* Each returns the exit code; errors that it leaves in dr->diag raise it to theirs. */
#define COMMAND(name, lo, hi, operands, doc) int cmd_##name(driver *dr);
#include "driver/commands.def"
#undef COMMAND

#endif
