#include "driver/partial.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "support/sha256.h"
#include "support/text.h"

enum { KEY_MAX = 256, NUMBERS = 6, TENSORS = 3 }; /* of a weight: itself, its mask, its report */

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

/* All that the result depends on: the model, the options, the sentences and this version. */
static const char *key_of(driver *dr, const model_source *m, const prune_weight *list, size_t count,
                          const token_set *set) {
  digest k = {dr->arena, SPCC_VERSION};
  for (ir_id i = 0; i < m->graph->count; i++) {
    const ir_value *v = ir_at(m->graph, i);
    if (v->kind == IR_CONST) add(&k, v->name, v->tensor->data, v->tensor->count * sizeof(float));
  }
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

static void remove_files(driver *dr, const char *folder) {
  const char **names;
  size_t count;
  if (!dir_list(dr->arena, dr->diag, folder, &names, &count)) return;
  for (size_t i = 0; i < count; i++)
    if (is_ours(names[i])) unlink(path_join(dr->arena, folder, names[i]));
}

void partial_remove(driver *dr, const char *folder) {
  if (access(folder, F_OK) != 0) return;
  remove_files(dr, folder);
  rmdir(folder); /* stays when something else is in it */
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
  remove_files(dr, p->folder);
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
  number[0] = (double)w->report.total;
  number[1] = (double)w->report.kept;
  number[2] = (double)w->report.nonzero;
  number[3] = w->masked_error;
  number[4] = w->error;
  number[5] = w->seconds;
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

/* Copies a tensor of exactly `size` bytes; false when there is none. */
static bool copy_tensor(driver *dr, arena *a, st_set *set, const char *name, void *to,
                        size_t size) {
  const st_tensor *t = st_find(set, name);
  if (!t || t->end - t->begin != size) return false;
  const unsigned char *data = st_read_raw(set, dr->diag, a, t);
  if (data) memcpy(to, data, size);
  return data != NULL;
}

static bool load_weight(driver *dr, arena *a, st_set *set, prune_weight *w) {
  double number[NUMBERS];
  size_t n = w->rows * w->cols;
  if (!copy_tensor(dr, a, set, w->name, w->w, n * sizeof *w->w) ||
      !copy_tensor(dr, a, set, arena_printf(a, "%s.mask", w->name), w->mask, n) ||
      !copy_tensor(dr, a, set, arena_printf(a, "%s.report", w->name), number, sizeof number))
    return false;
  w->report = (spo_report){(uint64_t)number[0], (uint64_t)number[1], (uint64_t)number[2]};
  w->masked_error = number[3];
  w->error = number[4];
  w->seconds = number[5];
  w->measured = true;
  return true;
}

static bool load_file(const partial *p, driver *dr, arena *a, prune_weight *list, size_t count) {
  st_set *set = st_open(a, dr->diag, p->folder, file_of(a, list));
  bool ok = set != NULL;
  for (size_t i = 0; ok && i < count; i++)
    ok = load_weight(dr, a, set, &list[i]);
  if (set && !st_close(set, dr->diag)) return false;
  return ok || diag_error(dr->diag, loc_file(p->folder), E_W_MISSING,
                          "this folder of an earlier run is not whole; remove it");
}

bool partial_load(const partial *p, driver *dr, prune_weight *list, size_t count, bool *ready) {
  *ready = p->ours && has_file(dr, p->folder, file_of(dr->arena, list));
  if (!*ready) return true;
  arena *a = arena_scratch(dr->arena);
  bool ok = load_file(p, dr, a, list, count);
  arena_free(a);
  return ok;
}
