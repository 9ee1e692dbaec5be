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
  double number;    /* the value of an INT, NUMBER or BYTES (all exact in a double) */
} flag_use;

typedef struct driver {
  arena *arena;
  diag *diag;
  enum command command;
  const char **operands;
  size_t operand_count;
  flag_use *uses; /* in the order of the command line */
  size_t use_count;
  bool progress; /* standard error is a terminal */
} driver;

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
/* The same with every value cut at commas. */
const char *const *flag_list(const driver *dr, enum flag f, size_t *count);
/* Prints the help of dr->command on standard output. */
void flags_help(const driver *dr);

/* ---- messages ---- */
/* Prints "spcc: error: …" and where to find help; returns EXIT_USAGE. */
int usage_error(const driver *dr, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Shows "[step/steps] …" on standard error when that is a terminal, in place of the last such
 * line; steps 0 removes it. */
void progress(const driver *dr, unsigned step, unsigned steps, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A line on standard error with -v, nothing otherwise. */
void verbose(const driver *dr, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The candidate that `text` may be a misspelling of, or NULL. */
const char *did_you_mean(const char *text, const char *const *candidates, size_t count);

/* ---- subcommands ---- */
/* Each returns the exit code; errors that it leaves in dr->diag raise it to theirs. */
#define COMMAND(name, lo, hi, operands, doc) int cmd_##name(driver *dr);
#include "driver/commands.def"
#undef COMMAND

#endif
