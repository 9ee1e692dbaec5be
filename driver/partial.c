#include "driver/partial.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "support/sha256.h"
#include "support/text.h"

enum { KEY_MAX = 256, NUMBERS = 3, TENSORS = 3 }; /* of a weight: itself, its mask, its report */

static const char key_name[] = "key", layer_suffix[] = ".layer";

struct partial {
  const char *folder, *key;
  bool ours; /* the folder has the key: what else is in it is of a call like this one */
};

/* ---- what a call is for ---- */

typedef struct digest {
  arena *arena;
  const char *text;
} digest;

/* Chains: each addition depends on all before it. */
static void add(digest *k, const char *name, const void *data, size_t size) {
  sha256 hash = sha256_of(data, size);
  k->text = arena_printf(k->arena, "%s %s %s", k->text, name, sha256_hex(k->arena, &hash));
  hash = sha256_of(k->text, strlen(k->text));
  k->text = sha256_hex(k->arena, &hash);
}

static void add_options(digest *k, const spo_recipe *r) {
  char shape[SPO_PATTERN_TEXT];
  char *text = arena_printf(k->arena, "%s %s %.17g", spo_method_name(r->method),
                            spo_pattern_print(&r->goal.pattern, shape), r->goal.sparsity);
  for (const spo_option *o = spo_options; o->key; o++)
    text = arena_printf(k->arena, "%s %s=%.17g", text, o->key, spo_option_value(r, o));
  add(k, "options", text, strlen(text));
}

/* All that the result depends on: the model, the options, the sentences, this version, and the CPU
 * level, as sums of vectors of another length differ in their last bits. */
static const char *key_of(driver *dr, const model_source *m, const prune_weight *list, size_t count,
                          const token_set *set) {
  digest k = {dr->arena, SPCC_VERSION};
  const enum isa_level level = native_level();
  const char *graph = ir_print(m->graph, dr->arena); /* with SHA-256 of its constants */
  add(&k, "level", &level, sizeof level);
  add(&k, "graph", graph, strlen(graph));
  for (size_t i = 0; i < count; i++) {
    add(&k, "weight", list[i].name, strlen(list[i].name));
    add_options(&k, list[i].options);
  }
  if (set) add(&k, "ids", set->ids, set->start[set->count] * sizeof *set->ids);
  if (set) add(&k, "starts", set->start, (set->count + 1) * sizeof *set->start);
  return k.text;
}

/* ---- the folder ---- */

static bool is_ours(const char *name) {
  return strcmp(name, key_name) == 0 || text_ends_with(name, layer_suffix);
}

static bool remove_file(driver *dr, const char *path) {
  return unlink(path) == 0 || errno == ENOENT ||
         diag_error(dr->diag, loc_file(path), E_WRITE,
                    "cannot remove this file of an earlier run: %s; remove its folder",
                    strerror(errno));
}

static bool remove_files(driver *dr, const char *folder) {
  const char **names;
  size_t count;
  bool ok = dir_list(dr->arena, dr->diag, folder, &names, &count);
  for (size_t i = 0; ok && i < count; i++)
    if (is_ours(names[i])) ok = remove_file(dr, path_join(dr->arena, folder, names[i]));
  return ok;
}

void partial_remove(driver *dr, const char *folder) {
  if (access(folder, F_OK) != 0) return;
  if (remove_files(dr, folder)) rmdir(folder); /* stays when something else is in it */
}

static bool has_file(driver *dr, const char *folder, const char *name) {
  return access(path_join(dr->arena, folder, name), F_OK) == 0;
}

/* The folder is of a call like this one. */
static bool same_key(driver *dr, const char *folder, const char *key, bool *same) {
  bytes text;
  *same = false;
  if (!has_file(dr, folder, key_name)) return true;
  if (!file_read(dr->arena, dr->diag, folder, key_name, KEY_MAX, &text)) return false;
  *same = text.size == strlen(key) && memcmp(text.data, key, text.size) == 0;
  return true;
}

partial *partial_open(driver *dr, const char *folder, const model_source *m,
                      const prune_weight *list, size_t count, const token_set *set) {
  partial *p = arena_new_one(dr->arena, partial);
  p->folder = folder;
  if (!folder) return p;
  p->key = key_of(dr, m, list, count, set);
  return dir_make(dr->diag, folder) && same_key(dr, folder, p->key, &p->ours) ? p : NULL;
}

void partial_close(const partial *p) {
  if (p && p->folder && !p->ours) rmdir(p->folder); /* stays when something is in it */
}

/* Makes the folder one of this call. */
static bool claim(partial *p, driver *dr) {
  if (p->ours) return true;
  if (!remove_files(dr, p->folder)) return false;
  const char *path = path_join(dr->arena, p->folder, key_name);
  p->ours = out_write_file(dr->arena, dr->diag, path, p->key, strlen(p->key));
  return p->ours;
}

/* ---- one layer ---- */

static const char *file_of(arena *a, const prune_weight *first) {
  return arena_printf(a, "%s%s", first->name, layer_suffix);
}

static void describe(arena *a, const prune_weight *w, st_write_tensor *out) {
  double *number = arena_array(a, double, NUMBERS);
  number[0] = w->masked_error;
  number[1] = w->error;
  number[2] = w->seconds;
  size_t n = w->rows * w->cols;
  out[0] = (st_write_tensor){w->name, "F32", 1, {(int64_t)n}, w->w, n * sizeof(float)};
  out[1] =
      (st_write_tensor){arena_printf(a, "%s.mask", w->name), "U8", 1, {(int64_t)n}, w->mask, n};
  out[2] = (st_write_tensor){
      arena_printf(a, "%s.report", w->name), "F64", 1, {NUMBERS}, number, NUMBERS * sizeof *number};
}

bool partial_save(partial *p, driver *dr, const prune_weight *list, size_t count) {
  if (!p->folder) return true;
  if (!claim(p, dr)) return false;
  arena *a = arena_scratch(dr->arena);
  st_write_tensor *tensors = arena_array(a, st_write_tensor, TENSORS * count);
  for (size_t i = 0; i < count; i++)
    describe(a, &list[i], tensors + TENSORS * i);
  const char *path = path_join(a, p->folder, file_of(a, list));
  bool ok = st_write(a, dr->diag, path, tensors, TENSORS * count, NULL);
  arena_free(a);
  return ok;
}

/* What a file says of a weight. */
typedef struct saved {
  const float *w; /* [rows, cols] */
  const unsigned char *mask;
  const double *number;
} saved;

/* The data of a tensor of exactly `size` bytes; NULL when there is none. */
static const void *tensor_of(driver *dr, arena *a, st_set *set, const char *name, size_t size) {
  const st_tensor *t = st_find(set, name);
  return t && t->end - t->begin == size ? st_read_raw(set, dr->diag, a, t) : NULL;
}

/* False when the file lacks some of it, or has what no pruning leaves. */
static bool find_saved(driver *dr, arena *a, st_set *set, const prune_weight *w, saved *out) {
  size_t n = w->rows * w->cols;
  out->w = tensor_of(dr, a, set, w->name, n * sizeof *out->w);
  out->mask = tensor_of(dr, a, set, arena_printf(a, "%s.mask", w->name), n);
  out->number =
      tensor_of(dr, a, set, arena_printf(a, "%s.report", w->name), NUMBERS * sizeof *out->number);
  if (!out->w || !out->mask || !out->number) return false;
  for (size_t i = 0; i < n; i++)
    if (!isfinite(out->w[i]) || out->mask[i] > 1 || (!out->mask[i] && out->w[i] != 0)) return false;
  return true;
}

static void take_saved(prune_weight *w, const saved *s) {
  size_t n = w->rows * w->cols;
  memcpy(w->w, s->w, n * sizeof *w->w);
  memcpy(w->mask, s->mask, n);
  w->report = (spo_report){.total = n};
  for (size_t i = 0; i < n; i++) {
    w->report.kept += w->mask[i];
    w->report.nonzero += w->w[i] != 0;
  }
  w->masked_error = s->number[0];
  w->error = s->number[1];
  w->seconds = s->number[2];
  w->measured = true;
}

/* The layer is ready when all of its weights are in the file. */
static bool load_file(const partial *p, driver *dr, arena *a, prune_weight *list, size_t count,
                      bool *ready) {
  size_t errors = diag_errors(dr->diag);
  st_set *set = st_open(a, dr->diag, p->folder, file_of(a, list));
  if (!set) return false;
  saved *s = arena_array(a, saved, count);
  *ready = true;
  for (size_t i = 0; *ready && i < count; i++)
    *ready = find_saved(dr, a, set, &list[i], &s[i]);
  for (size_t i = 0; *ready && i < count; i++)
    take_saved(&list[i], &s[i]);
  return st_close(set, dr->diag) && diag_errors(dr->diag) == errors;
}

bool partial_load(const partial *p, driver *dr, prune_weight *list, size_t count, bool *ready) {
  *ready = false;
  if (!p->ours || !has_file(dr, p->folder, file_of(dr->arena, list))) return true;
  arena *a = arena_scratch(dr->arena);
  bool ok = load_file(p, dr, a, list, count, ready);
  arena_free(a);
  return ok;
}
