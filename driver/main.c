/* main(): sets the process up, reads the command line, runs the subcommand, prints what it has to
 * say, and exits. SIGINT and its like keep their default action: outputs have no name before they
 * are complete, and driver/output.c holds signals back in the moment when they get it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/driver.h"
#include "driver/output.h"

static const double DEFAULT_MAX_MEM = 16.0 * 1024 * 1024 * 1024;
/* For reading the command line, before --max-mem is known. */
enum { STARTUP_MEM = 64 << 20 };

/* A file opened later must not take the number of a standard stream that was closed at the start,
 * lest messages be written into it. */
static bool open_standard_streams(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_WRONLY : O_RDONLY) != fd) return false;
  return true;
}

static void memory_full(void *context, size_t wanted) {
  driver *dr = context;
  status_line(dr, "%s", "");
  outputs_abandon(dr);
  fprintf(stderr,
          "spcc: error: out of memory: %zu bytes more are needed than the system or --max-mem=%.0f "
          "allows; try --max-mem=SIZE [E_MEMORY]\n",
          wanted, flag_number(dr, F_MAX_MEM, DEFAULT_MAX_MEM));
  _exit(EXIT_SYSTEM);
}

static int print_diagnostics(driver *dr) {
  status_line(dr, "%s", "");
  for (const diag_message *m = diag_first(dr->diag); m; m = m->next)
    fprintf(stderr, "%s\n", diag_format(dr->arena, m));
  if (diag_full(dr->diag)) fprintf(stderr, "spcc: error: too many errors; stopping here\n");
  return diag_exit_code(dr->diag);
}

static int run_command(driver *dr) {
  if (flag_given(dr, F_HELP) || flag_given(dr, F_HELP_SHORT)) {
    help_print(dr);
    return EXIT_OK;
  }
  if (flag_given(dr, F_VERSION)) {
    printf("spcc %s\n", SPCC_VERSION);
    return EXIT_OK;
  }
  double limit = flag_number(dr, F_MAX_MEM, DEFAULT_MAX_MEM);
  arena *memory = arena_new((size_t)limit, memory_full, dr);
  if (!memory) memory_full(dr, (size_t)limit);
  dr->arena = memory;
  dr->diag = diag_new(memory);
  int code = command_table[dr->command].run(dr);
  int from_errors = print_diagnostics(dr);
  arena_free(memory);
  return code > from_errors ? code : from_errors;
}

/* Standard output is complete, or the exit code says that it is not. */
static int flush_output(int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  fprintf(stderr, "spcc: error: cannot write standard output: %s [E_WRITE]\n", strerror(errno));
  return EXIT_SYSTEM;
}

int main(int argc, char **argv) {
  if (!open_standard_streams()) return EXIT_SYSTEM;
  signal(SIGXFSZ, SIG_IGN); /* over a limit on file size, write() shall say so instead */
  driver dr = {.progress = isatty(STDERR_FILENO) == 1};
  arena *startup = arena_new(STARTUP_MEM, memory_full, &dr);
  if (!startup) return EXIT_SYSTEM;
  dr.arena = startup;
  int code = flags_parse(&dr, argc, argv) ? run_command(&dr) : EXIT_USAGE;
  code = flush_output(code);
  arena_free(startup);
  return code;
}
