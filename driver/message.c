/* What goes to standard error. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "driver/driver.h"

int usage_error(const driver *dr, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *text = arena_vprintf(dr->arena, format, args);
  va_end(args);
  const char *command = dr->command == CMD_compile ? "" : command_table[dr->command].name;
  fprintf(stderr, "spcc: error: %s (see spcc%s%s --help)\n", text, *command ? " " : "", command);
  return EXIT_USAGE;
}

void status_line(const driver *dr, const char *format, ...) {
  if (!dr->progress) return;
  va_list args;
  va_start(args, format);
  fputs("\r\033[K", stderr); /* back to the start of the line, and clear it */
  vfprintf(stderr, format, args);
  fflush(stderr);
  va_end(args);
}

void progress(const driver *dr, unsigned step, unsigned steps, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *text = steps ? arena_vprintf(dr->arena, format, args) : "";
  va_end(args);
  if (steps)
    status_line(dr, "[%u/%u] %s", step, steps, text);
  else
    status_line(dr, "%s", "");
}

void verbose(const driver *dr, const char *format, ...) {
  if (!flag_given(dr, F_VERBOSE)) return;
  va_list args;
  va_start(args, format);
  status_line(dr, "%s", "");
  fputs("spcc: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
}

double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void stages_plan(driver *dr, unsigned count) {
  dr->stages = (stage_log){.planned = count};
}

void stage_begin(driver *dr, const char *name) {
  stage_log *log = &dr->stages;
  if (log->begun == MAX_STAGES) return;
  log->name[log->begun] = name;
  log->start[log->begun++] = seconds_now();
  if (log->planned)
    progress(dr, log->begun, log->planned, "%s …", name);
  else
    status_line(dr, "%s …", name);
}

void stages_end(driver *dr) {
  const stage_log *log = &dr->stages;
  status_line(dr, "%s", "");
  if (!flag_given(dr, F_TIME_REPORT) || log->begun == 0) return;
  double end = seconds_now();
  fprintf(stderr, "%-12s %10s\n", "stage", "seconds");
  for (unsigned i = 0; i < log->begun; i++) {
    double next = i + 1 < log->begun ? log->start[i + 1] : end;
    fprintf(stderr, "%-12s %10.3f\n", log->name[i], next - log->start[i]);
  }
  fprintf(stderr, "%-12s %10.3f\n", "total", end - log->start[0]);
}
