/* The file in which --tune keeps what it measured: a line a record,
 *   KERNELS LEVEL CPU CLASS CUT TIME
 * KERNELS is a digest of the sources of the kernels (CMakeLists.txt). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/costs.h"
#include "driver/output.h"
#include "driver/tune.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char header[] = "spcc-tune 1";
enum { FILE_MAX = 16 << 20, FIELDS = 6 };

/* The kind of this CPU: vendor, and the signature of family, model and stepping. */
static const char *cpu_kind(arena *a) {
#if defined(__x86_64__)
  unsigned most, signature, name[3], unused[3];
  if (__get_cpuid(0, &most, &name[0], &name[2], &name[1]) &&
      __get_cpuid(1, &signature, &unused[0], &unused[1], &unused[2])) {
    char *vendor = arena_strndup(a, (const char *)name, sizeof name);
    for (char *c = vendor; *c; c++)
      if (*c <= ' ' || *c > '~') *c = '_';
    return arena_printf(a, "%s-%08x", vendor, signature);
  }
#endif
  return "unknown";
}

void tune_cache_add(arena *a, tune_cache *c, tune_record r) {
  if (c->count == c->capacity) {
    uint32_t capacity = 2 * c->capacity + 64;
    c->list = arena_grow(a, c->list, c->count, capacity, sizeof *c->list, _Alignof(tune_record));
    c->capacity = capacity;
  }
  c->list[c->count++] = r;
}

const tune_record *tune_cache_find(const tune_cache *c, const char *class, const char *cut) {
  for (uint32_t i = 0; i < c->count; i++)
    if (strcmp(c->list[i].class, class) == 0 && strcmp(c->list[i].cut, cut) == 0)
      return &c->list[i];
  return NULL;
}

static bool bad_line(driver *dr, const tune_cache *c, uint32_t line) {
  return diag_error(dr->diag, loc_at(c->path, line, 1), E_VERSION,
                    "this is no file of results of --tune; remove it, or name another with "
                    "--tune-cache=FILE");
}

/* Reads one record; false when the line is none. */
static bool read_line(driver *dr, tune_cache *c, const char *line) {
  char *text = arena_strdup(dr->arena, line), *rest = NULL, *field[FIELDS + 1], *end;
  size_t key = strlen(c->key), count = 0;
  for (char *word = strtok_r(text, " \r", &rest); word; word = strtok_r(NULL, " \r", &rest))
    if (count <= FIELDS) field[count++] = word;
  if (count == 0) return true;
  double time = count == FIELDS ? strtod(field[5], &end) : 0;
  if (count != FIELDS || *end || !(time > 0 && time < 1e15)) return false;
  if (strncmp(line, c->key, key) == 0 && line[key] == ' ')
    tune_cache_add(dr->arena, c, (tune_record){field[3], field[4], time});
  else
    putf(&c->others, "%s\n", line);
  return true;
}

bool tune_cache_read(driver *dr, enum isa_level isa, tune_cache *c) {
  bytes text;
  *c = (tune_cache){.path = flag_text(dr, F_TUNE_CACHE, NULL), .others = {.arena = dr->arena}};
  c->key = arena_printf(dr->arena, "%s %s %s", SPCC_KERNELS, isa_names[isa], cpu_kind(dr->arena));
  if (!c->path) c->path = cache_path(dr, "tune");
  if (!c->path) return false;
  if (access(c->path, F_OK) != 0) return true;
  if (!file_read(dr->arena, dr->diag, NULL, c->path, FILE_MAX, &text)) return false;
  char *rest = arena_strndup(dr->arena, (const char *)text.data, text.size), *line;
  for (uint32_t number = 1; (line = strsep(&rest, "\n")); number++) {
    bool ok = number == 1 ? strcmp(line, header) == 0 : read_line(dr, c, line);
    if (!ok) return bad_line(dr, c, number);
  }
  return true;
}

bool tune_cache_write(driver *dr, const tune_cache *c) {
  builder text = {.arena = dr->arena};
  putf(&text, "%s\n", header);
  put_bytes(&text, c->others.text, c->others.size);
  for (uint32_t i = 0; i < c->count; i++)
    putf(&text, "%s %s %s %.6g\n", c->key, c->list[i].class, c->list[i].cut, c->list[i].time);
  output o = {.path = c->path, .data = {(const unsigned char *)text.text, text.size}};
  return outputs_write(dr, &o, 1);
}
