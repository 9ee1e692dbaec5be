#include "bad_case.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
  arena *arena;
  bad_case *cases;
  size_t count, capacity;
} reader;

static void die(const char *what, const char *name) {
  fprintf(stderr, "%s: %s\n", name, what);
  exit(2);
}

static char *read_file(arena *a, const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) die("cannot open", path);
  size_t size = 0, capacity = 1 << 20;
  char *text = arena_alloc(a, capacity, 1);
  size = fread(text, 1, capacity - 1, f);
  if (!feof(f)) die("too large", path);
  fclose(f);
  text[size] = '\0';
  return text;
}

/* Where the next line that begins with `mark` begins, or the end. */
static const char *find_mark(const char *s, const char *mark) {
  for (; *s; s++) {
    if (strncmp(s, mark, strlen(mark)) == 0) return s;
    s += strcspn(s, "\n");
    if (!*s) break;
  }
  return s;
}

/* Splits "--- file model.yaml" into words; the last one may hold blanks. */
static void split_line(arena *a, const char *line, size_t size, bad_section *out) {
  char *rest = arena_strndup(a, line + 4, size - 4);
  for (int i = 0; i < BAD_ARGS; i++) {
    out->arg[i] = rest;
    char *blank = i < BAD_ARGS - 1 ? strchr(rest, ' ') : NULL;
    rest = blank ? blank + 1 : rest + strlen(rest);
    if (blank) *blank = '\0';
  }
}

/* The section at `s`, which begins with "--- "; *end is behind it. */
static bad_section *read_section(arena *a, const char *s, const char *stop, const char **end) {
  bad_section *section = arena_new_one(a, bad_section);
  size_t line = strcspn(s, "\n");
  split_line(a, s, line, section);
  const char *body = s + line + 1, *next = find_mark(body, "--- ");
  *end = next < stop ? next : stop;
  section->text = arena_strndup(a, body, (size_t)(*end - body));
  return section;
}

static void read_sections(reader *r, bad_case *c, const char *begin, const char *stop) {
  bad_section **to = &c->first;
  const char *s = find_mark(begin, "--- ");
  while (s < stop) {
    const char *at = s;
    bad_section *section = read_section(r->arena, s, stop, &s);
    if (strcmp(section->arg[0], "expect") == 0) {
      c->source = arena_strndup(r->arena, begin, (size_t)(at - begin));
      c->expected = section->text;
      c->code = atoi(section->arg[1]);
      return;
    }
    *to = section;
    to = &section->next;
  }
  c->source = arena_strndup(r->arena, begin, (size_t)(stop - begin));
}

static void read_cases(reader *r, const char *folder, const char *file) {
  const char *text = read_file(r->arena, arena_printf(r->arena, "%s/cases/%s", folder, file));
  for (const char *s = find_mark(text, "=== "); *s;) {
    const char *next = find_mark(s + 4, "=== ");
    if (r->count == r->capacity) {
      r->capacity = r->capacity ? 2 * r->capacity : 64;
      r->cases = arena_grow(r->arena, r->cases, r->count, r->capacity, sizeof *r->cases,
                            _Alignof(bad_case));
    }
    bad_case *c = &r->cases[r->count++];
    c->file = arena_strdup(r->arena, file);
    c->name = arena_strndup(r->arena, s + 4, strcspn(s + 4, "\n"));
    read_sections(r, c, s, next);
    s = next;
  }
}

static int is_case_file(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return n > 4 && strcmp(e->d_name + n - 4, ".txt") == 0;
}

bad_case *bad_cases_read(arena *a, const char *folder, size_t *count) {
  struct dirent **entries;
  int n = scandir(arena_printf(a, "%s/cases", folder), &entries, is_case_file, alphasort);
  if (n < 1) die("no cases", folder);
  reader r = {.arena = a};
  for (int i = 0; i < n; i++) {
    read_cases(&r, folder, entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
  *count = r.count;
  return r.cases;
}
