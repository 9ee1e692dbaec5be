#include "driver/costs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support/file.h"

static const char header[] = "spcc-costs 1";
enum { FILE_MAX = 1 << 16 };

/* ---- the user's cache ---- */

const char *cache_path(driver *dr, const char *name) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if ((!base || !*base) && home && *home) base = path_join(dr->arena, home, ".cache");
  if (!base || !*base) {
    diag_error(dr->diag, loc_file(NULL), E_OPEN,
               "there is no place for '%s': neither XDG_CACHE_HOME nor HOME is set", name);
    return NULL;
  }
  const char *folder = path_join(dr->arena, base, "spcc");
  if (!dir_make(dr->diag, base) || !dir_make(dr->diag, folder)) return NULL;
  return path_join(dr->arena, folder, name);
}

const char *costs_path(driver *dr) {
  const char *path = flag_text(dr, F_CALIBRATION, "cached");
  return strcmp(path, "cached") == 0 ? cache_path(dr, "costs") : path;
}

/* ---- files ---- */

const char *costs_format(arena *a, const machine_costs *costs) {
  const char *text = arena_printf(
      a, "%s\n# Made by spcc %s. docs/choices.md says what the rows are.\n", header, SPCC_VERSION);
  for (int level = 0; level < ISA_COUNT; level++)
    for (int i = 0; i < COST_COUNT && costs->known[level]; i++)
      text = arena_printf(a, "%s%s.%s %.4g\n", text, isa_names[level], cost_rows[i].name,
                          costs->table[level].unit[i]);
  return text;
}

typedef struct reader {
  driver *dr;
  const char *path;
  uint32_t line;
  machine_costs *out;
  bool seen[ISA_COUNT][COST_COUNT];
} reader;

static src_loc here(const reader *r) {
  return loc_at(r->path, r->line, 1);
}

/* The cell that "x86-64-v4.dense" names; false when there is none. */
static bool find_cell(const char *key, int *level, int *row) {
  const char *dot = strrchr(key, '.');
  for (*level = 0; dot && *level < ISA_COUNT; ++*level) {
    size_t length = strlen(isa_names[*level]);
    if ((size_t)(dot - key) != length || strncmp(key, isa_names[*level], length) != 0) continue;
    for (*row = 0; *row < COST_COUNT; ++*row)
      if (strcmp(dot + 1, cost_rows[*row].name) == 0) return true;
  }
  return false;
}

static bool read_cell(reader *r, const char *key, const char *value) {
  int level, row;
  char *end;
  double number = strtod(value, &end);
  if (!find_cell(key, &level, &row))
    return diag_error(r->dr->diag, here(r), E_KEY,
                      "'%.64s' is no constant of this version of spcc; measure again with "
                      "'spcc cpu --calibrate'",
                      key);
  if (r->seen[level][row])
    return diag_error(r->dr->diag, here(r), E_DUP_KEY, "'%s' stands twice", key);
  if (!*value || *end || !(number >= 0 && number <= 1e6))
    return diag_error(r->dr->diag, here(r), E_FLOAT,
                      "'%.64s' is no value for %s: a number from 0 to 1000000 is expected", value,
                      key);
  r->seen[level][row] = r->out->known[level] = true;
  r->out->table[level].unit[row] = number;
  return true;
}

static bool read_line(reader *r, char *line) {
  char *rest = NULL, *key = strtok_r(line, " \t\r", &rest), *value;
  if (!key || *key == '#') return true;
  value = strtok_r(NULL, " \t\r", &rest);
  if (!value || strtok_r(NULL, " \t\r", &rest))
    return diag_error(r->dr->diag, here(r), E_KEY, "a line 'NAME NUMBER' is expected");
  return read_cell(r, key, value);
}

static bool is_complete(const reader *r) {
  for (int level = 0; level < ISA_COUNT; level++)
    for (int row = 0; row < COST_COUNT && r->out->known[level]; row++)
      if (!r->seen[level][row])
        return diag_error(r->dr->diag, loc_file(r->path), E_KEY,
                          "%s.%s is missing; measure again with 'spcc cpu --calibrate'",
                          isa_names[level], cost_rows[row].name);
  return true;
}

static bool bad_header(const reader *r) {
  return diag_error(r->dr->diag, here(r), E_VERSION,
                    "the first line is not '%s'; 'spcc cpu --calibrate' makes such files", header);
}

bool costs_read(driver *dr, const char *path, machine_costs *out) {
  bytes text;
  reader r = {.dr = dr, .path = path, .out = out};
  *out = (machine_costs){.known = {false}};
  for (int level = 0; level < ISA_COUNT; level++)
    out->table[level] = cost_shipped((enum isa_level)level);
  if (!file_read(dr->arena, dr->diag, NULL, path, FILE_MAX, &text)) return false;
  char *rest = arena_strndup(dr->arena, (const char *)text.data, text.size), *line;
  while ((line = strsep(&rest, "\n"))) {
    if (++r.line == 1 && strcmp(line, header) != 0) return bad_header(&r);
    if (r.line > 1 && !read_line(&r, line)) return false;
  }
  return is_complete(&r);
}
