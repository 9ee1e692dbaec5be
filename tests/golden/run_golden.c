/* Golden tests of the passes: run_golden FOLDER [--update].
 *
 * FOLDER holds a folder per pass with NAME.ir, a graph whose first line says what to do,
 *   ; run: fold,dead | count: linear 2, gelu 0 | options: sparse=4x1 isa=x86-64-v4
 * and NAME.expect, the graph as it is printed afterwards. Names begin with fires-, stays- or edge-;
 * a pass that stays leaves the graph as it was. Whatever a pass does, the graph has to compute the
 * same as before. --update writes the expectations. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"
#include "support/file.h"
#include "tests/golden/values.h"

enum { MAX_TEXT = 1 << 20 };
static const double max_difference = 1e-6;
static const char *const kinds[] = {"fires-", "stays-", "edge-"};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct golden {
  arena *arena;
  diag *diag;
  const char *folder, *file; /* FOLDER/pass, NAME.ir */
  bytes text;
  bool update;
} golden;

static void no_memory(void *context, size_t size) {
  (void)context;
  fprintf(stderr, "out of memory: %zu bytes\n", size);
  exit(3);
}

__attribute__((format(printf, 2, 3))) static bool complain(const golden *t, const char *format,
                                                           ...) {
  va_list args;
  fprintf(stderr, "%s/%s: ", t->folder, t->file);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  for (const diag_message *m = diag_first(t->diag); m; m = m->next)
    fprintf(stderr, "  %s\n", diag_format(t->arena, m));
  return false;
}

/* What stands behind `key` in the first line, up to '|' or the line's end; "" without the key. */
static const char *field(const golden *t, const char *key) {
  const char *text = (const char *)t->text.data;
  const char *line = arena_strndup(t->arena, text, strcspn(text, "\n"));
  const char *at = strstr(line, key);
  size_t n;
  if (!at) return "";
  at += strlen(key);
  at += strspn(at, " ");
  n = strcspn(at, "|");
  while (n && at[n - 1] == ' ')
    n--;
  return arena_strndup(t->arena, at, n);
}

/* ---- options ---- */

static bool set_isa(pass_options *o, const char *name) {
  for (int i = 0; i < ISA_COUNT; i++)
    if (strcmp(isa_names[i], name) == 0) {
      o->isa = (enum isa_level)i;
      return true;
    }
  return false;
}

static bool set_sparse(pass_options *o, const char *mode) {
  if (strcmp(mode, "auto") == 0) return true;
  o->sparse = strcmp(mode, "off") == 0 ? SPARSE_OFF : SPARSE_PATTERN;
  return o->sparse == SPARSE_OFF || pattern_parse(mode, &o->sparse_pattern);
}

static bool read_options(const golden *t, pass_options *o) {
  char *text = arena_strdup(t->arena, field(t, "options:")), *rest = NULL;
  *o = (pass_options){.opt_level = 2, .isa = ISA_X86_64_V3};
  for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    bool known = strncmp(word, "isa=", 4) == 0      ? set_isa(o, word + 4)
                 : strncmp(word, "sparse=", 7) == 0 ? set_sparse(o, word + 7)
                                                    : false;
    if (!known) return complain(t, "unknown option '%s'", word);
  }
  return true;
}

/* ---- checks ---- */

static ir_graph *parse(const golden *t) {
  return ir_parse(t->arena, t->diag, t->file, (const char *)t->text.data, t->text.size, NULL, NULL);
}

static int count_ops(const ir_graph *g, enum ir_op op) {
  int n = 0;
  for (ir_id id = 0; id < g->count; id++)
    n += ir_is_op(ir_at(g, id), op);
  return n;
}

static bool check_counts(const golden *t, const ir_graph *g) {
  char *text = arena_strdup(t->arena, field(t, "count:")), *rest = NULL;
  for (char *item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
    char name[32];
    int want;
    if (sscanf(item, " %31s %d", name, &want) != 2 || ir_op_find(name) == OP_COUNT)
      return complain(t, "cannot read the count '%s'", item);
    if (count_ops(g, ir_op_find(name)) != want)
      return complain(t, "%d of %s, expected %d", count_ops(g, ir_op_find(name)), name, want);
  }
  return true;
}

static bool check_round_trip(const golden *t, const char *printed) {
  ir_graph *again = ir_parse(t->arena, t->diag, t->file, printed, strlen(printed), NULL, NULL);
  if (!again) return complain(t, "the result cannot be parsed");
  if (!ir_verify(again, t->diag, NULL)) return complain(t, "the result is not valid when parsed");
  if (strcmp(ir_print(again, t->arena), printed) != 0)
    return complain(t, "print, parse and print again gives another text");
  return true;
}

static bool check_values(const golden *t, const ir_graph *before, const ir_graph *after) {
  double difference = values_differ(t->arena, t->diag, before, after);
  if (difference < 0.0) return complain(t, "the graph cannot be run");
  if (difference <= max_difference) return true;
  return complain(t, "the values differ by %g", difference);
}

static bool compare(const golden *t, const char *expected, const char *printed) {
  int line = 1;
  if (strcmp(expected, printed) == 0) return true;
  while (*expected && *expected == *printed) {
    line += *expected == '\n';
    expected++;
    printed++;
  }
  return complain(t, "line %d of the result differs from the expectation:\n  %.*s\n  %.*s", line,
                  (int)strcspn(expected, "\n"), expected, (int)strcspn(printed, "\n"), printed);
}

static bool check_expectation(const golden *t, const char *printed) {
  const char *stem = arena_strndup(t->arena, t->file, strlen(t->file) - strlen(".ir"));
  const char *name = arena_printf(t->arena, "%s.expect", stem);
  bytes expected;
  if (t->update)
    return out_write_file(t->arena, t->diag, path_join(t->arena, t->folder, name), printed,
                          strlen(printed)) ||
           complain(t, "cannot write %s", name);
  if (!file_read(t->arena, t->diag, t->folder, name, MAX_TEXT, &expected))
    return complain(t, "there is no %s", name);
  return compare(t, (const char *)expected.data, printed);
}

static bool run_graph(const golden *t, ir_graph *before, ir_graph *g) {
  pass_options options;
  pass_context c = {.arena = t->arena, .diag = t->diag, .options = &options};
  const char *was = ir_print(g, t->arena), *printed;
  if (!read_options(t, &options)) return false;
  if (!pipeline_run_list(g, &c, field(t, "run:"), NULL, NULL)) return complain(t, "a pass failed");
  printed = ir_print(g, t->arena);
  if (strncmp(t->file, "stays-", 6) == 0 && strcmp(was, printed) != 0)
    return complain(t, "the pass should leave the graph alone:\n%s", printed);
  return check_counts(t, g) && check_round_trip(t, printed) && check_values(t, before, g) &&
         check_expectation(t, printed);
}

static bool run_file(const char *folder, const char *name, bool update) {
  golden t = {.folder = folder, .file = name, .update = update};
  ir_graph *before, *g;
  bool good;
  t.arena = arena_new((size_t)1 << 28, no_memory, NULL);
  t.diag = diag_new(t.arena);
  good = file_read(t.arena, t.diag, folder, name, MAX_TEXT, &t.text);
  before = good ? parse(&t) : NULL;
  g = good ? parse(&t) : NULL;
  good = before && g ? run_graph(&t, before, g) : complain(&t, "cannot be read");
  arena_free(t.arena);
  return good;
}

/* ---- folders ---- */

static int is_graph(const struct dirent *entry) {
  size_t n = strlen(entry->d_name);
  return n > 3 && strcmp(entry->d_name + n - 3, ".ir") == 0;
}

/* Runs the graphs of one pass; false when one fails or a kind is missing. */
static bool run_folder(const char *root, const char *pass_name, bool update, int *total) {
  char folder[4096];
  struct dirent **entries;
  int found[KINDS] = {0}, n;
  bool good = true;
  snprintf(folder, sizeof folder, "%s/%s", root, pass_name);
  n = scandir(folder, &entries, is_graph, alphasort);
  for (int i = 0; i < n; i++) {
    const char *name = entries[i]->d_name;
    for (int k = 0; k < KINDS; k++)
      found[k] += strncmp(name, kinds[k], strlen(kinds[k])) == 0;
    if (!run_file(folder, name, update)) good = false;
    free(entries[i]);
    ++*total;
  }
  if (n >= 0) free(entries);
  for (int k = 0; k < KINDS; k++) {
    if (found[k]) continue;
    fprintf(stderr, "%s: there is no %s*.ir\n", folder, kinds[k]);
    good = false;
  }
  return good;
}

int main(int argc, char **argv) {
  bool update = argc == 3 && strcmp(argv[2], "--update") == 0, good = true;
  int total = 0;
  if (argc != 2 && !update) {
    fprintf(stderr, "usage: run_golden FOLDER [--update]\n");
    return 2;
  }
  for (const pass *p = pipeline; p->name; p++)
    if (!run_folder(argv[1], p->name, update, &total)) good = false;
  printf("%d graphs %s\n", total, good ? "as expected" : "run, some not as expected");
  return good ? 0 : 1;
}
