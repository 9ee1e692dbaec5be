/* main(): sets the process up, reads the command line, runs the subcommand, prints what it has to
 * say, and exits. SIGINT and its like keep their default action: outputs have no name before they
 * are complete, and driver/output.c holds signals back in the moment when they get it.
 *
 * All work is done on a thread whose stack does not depend on the user's limit, because LLVM needs
 * more than the smallest ones. The first thread takes no signals, so that the second decides alone
 * when they arrive. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
enum { STACK_BYTES = 16 << 20 };

/* What main() hands to the thread that works, and gets back. */
typedef struct process {
  int argc;
  char **argv;
  sigset_t signals; /* held back at the start of the process */
  int code;
} process;

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

/* LLVM is C++: without memory its operator new would throw, and nothing here can catch that. It
 * calls this instead; no output is being written at that time. */
static void cxx_memory_full(void) {
  static const char text[] = "spcc: error: out of memory: the system has no more [E_MEMORY]\n";
  ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
  (void)ignored;
  _exit(EXIT_SYSTEM);
}

/* std::set_new_handler, by its name in the Itanium C++ ABI. */
static void catch_cxx_memory(void) {
  typedef void handler(void);
  handler *(*set_new_handler)(handler *);
  void *at = dlsym(RTLD_DEFAULT, "_ZSt15set_new_handlerPFvvE");
  memcpy(&set_new_handler, &at, sizeof at);
  if (set_new_handler) set_new_handler(cxx_memory_full);
}

/* True when the line of `m` has been printed: a model that a command reads several times is warned
 * about once. */
static bool is_repeated(driver *dr, const diag_message *m, const char *line) {
  if (m->level != DIAG_WARNING) return false;
  for (const diag_message *p = diag_first(dr->diag); p != m; p = p->next)
    if (p->level == DIAG_WARNING && !strcmp(diag_format(dr->arena, p), line)) return true;
  return false;
}

static int print_diagnostics(driver *dr) {
  status_line(dr, "%s", "");
  for (const diag_message *m = diag_first(dr->diag); m; m = m->next) {
    const char *line = diag_format(dr->arena, m);
    if (!is_repeated(dr, m, line)) fprintf(stderr, "%s\n", line);
  }
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

static void *work(void *argument) {
  process *p = argument;
  pthread_sigmask(SIG_SETMASK, &p->signals, NULL);
  driver dr = {.progress = isatty(STDERR_FILENO) == 1};
  arena *startup = arena_new(STARTUP_MEM, memory_full, &dr);
  if (!startup) return NULL;
  dr.arena = startup;
  p->code = flush_output(flags_parse(&dr, p->argc, p->argv) ? run_command(&dr) : EXIT_USAGE);
  arena_free(startup);
  return NULL;
}

/* Runs work() on a thread of STACK_BYTES; false when the system has none. */
static bool run_thread(process *p) {
  pthread_attr_t attr;
  pthread_t thread;
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &p->signals);
  if (pthread_attr_init(&attr) != 0) return false;
  bool ok = pthread_attr_setstacksize(&attr, STACK_BYTES) == 0 &&
            pthread_create(&thread, &attr, work, p) == 0;
  pthread_attr_destroy(&attr);
  return ok && pthread_join(thread, NULL) == 0;
}

int main(int argc, char **argv) {
  if (!open_standard_streams()) return EXIT_SYSTEM;
  catch_cxx_memory();
  signal(SIGXFSZ, SIG_IGN); /* over a limit on file size, write() shall say so instead */
  process p = {.argc = argc, .argv = argv, .code = EXIT_SYSTEM};
  if (run_thread(&p)) return p.code;
  fprintf(stderr, "spcc: error: the system has no memory for a thread [E_MEMORY]\n");
  return EXIT_SYSTEM;
}
