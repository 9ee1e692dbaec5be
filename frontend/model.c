/* model.yaml: the root mapping, what both forms share, and the choice between them. */
#include <inttypes.h>
#include <string.h>

#include "frontend/import.h"
#include "frontend/model_name.h"
#include "frontend/schema.h"
#include "ir/names.h"

/* ---- shared by the forms (import.h) ---- */

const char *import_path(const import *im, const ynode *n) {
  for (const char *c = n->text; *c; c++)
    if ((unsigned char)*c < 0x20) {
      diag_error(im->diag, n->loc, E_PATH, "a path must not hold control characters or line ends");
      return NULL;
    }
  if (n->size == 0) {
    diag_error(im->diag, n->loc, E_PATH, "the path is empty");
    return NULL;
  }
  if (strcmp(n->text, ".") == 0) return arena_strdup(im->arena, im->dir);
  bool here = strcmp(im->dir, ".") == 0;
  return here ? arena_strdup(im->arena, n->text) : path_join(im->arena, im->dir, n->text);
}

bool import_name(const import *im, const char *name, src_loc loc) {
  if (model_name_ok(name)) return true;
  return diag_error(im->diag, loc, E_NAME,
                    "'%.64s' cannot be a name in the C header; use up to 63 letters, digits and "
                    "'_', beginning with a letter, and no word that C or C++ reserve",
                    name);
}

const ynode **import_list(const import *im, const ynode *list) {
  const ynode **items = arena_array(im->arena, const ynode *, list->count + 1);
  names *seen = names_new(im->arena);
  bool ok = true;
  uint32_t n = 0;
  for (const ynode *c = list->first; c; c = c->next) {
    const char *text;
    items[n++] = c;
    if (!value_text(im->diag, c, &text))
      ok = false;
    else if (names_add(seen, text, 0) != IR_NONE)
      ok = diag_error(im->diag, c->loc, E_DUP_NAME, "'%.64s' stands twice in this list", text);
  }
  return ok ? items : NULL;
}

void import_warn_unused(const import *im, const st_set *weights, const char *shown) {
  enum { SHOWN = 3 };
  const char *list = "";
  size_t count = 0;
  for (size_t i = 0; i < st_count(weights); i++) {
    const st_tensor *t = st_at(weights, i);
    if (!t->used && count++ < SHOWN)
      list = arena_printf(im->arena, "%s%s'%s' (%s)", list, *list ? ", " : "", t->name, t->dtype);
  }
  if (count == 0) return;
  const char *more = count > SHOWN ? arena_printf(im->arena, " and %zu more", count - SHOWN) : "";
  diag_warning(im->diag, loc_file(shown), "%zu tensor%s not used: %s%s", count,
               count == 1 ? " is" : "s are", list, more);
}

static bool limit(const import *im, const char *key, int64_t override, int64_t most, int64_t *out) {
  const ynode *n = ynode_get(im->root, key);
  if (override == 0) return !n || value_int(im->diag, n, 1, most, out);
  *out = override;
  if (override >= 1 && override <= most) return true;
  return diag_error(im->diag, loc_file(im->root->loc.file), E_INT,
                    "%s is set to %" PRId64 "; it must be from 1 to %" PRId64, key, override, most);
}

bool import_limits(const import *im, ir_graph *g, int64_t positions) {
  g->max_batch = IMPORT_DEFAULT_BATCH;
  g->max_sequence = positions ? positions : IMPORT_DEFAULT_SEQUENCE;
  int64_t most = positions && positions < IMPORT_MAX_SEQUENCE ? positions : IMPORT_MAX_SEQUENCE;
  bool ok = limit(im, "max_batch", im->overrides->max_batch, IMPORT_MAX_BATCH, &g->max_batch);
  ok &= limit(im, "max_sequence", im->overrides->max_sequence, most, &g->max_sequence);
  if (!ok || g->max_batch * g->max_sequence <= INT32_MAX) return ok;
  return diag_error(im->diag, loc_file(im->root->loc.file), E_OVERFLOW,
                    "max_batch %" PRId64 " times max_sequence %" PRId64
                    " is over 2147483647 tokens; lower one of them",
                    g->max_batch, g->max_sequence);
}

/* ---- the root ---- */

/* Reports `key`, which has no meaning in this form. */
static bool refuse_key(const import *im, const char *key, const char *form) {
  const ynode *n = ynode_get(im->root, key);
  if (!n) return true;
  return diag_error(im->diag, n->key->loc, E_KEY, "'%s' does not go together with '%s'; remove one",
                    key, form);
}

static bool choose_form(const import *im, model_source *out) {
  const ynode *model = ynode_get(im->root, "model");
  if (!model && !ynode_get(im->root, "graph"))
    return diag_error(im->diag, im->root->loc, E_KEY,
                      "the model needs the key 'model' (a Hugging Face folder) or 'graph'");
  if (!model) return import_graph(im, out);
  bool ok = refuse_key(im, "graph", "model");
  ok &= refuse_key(im, "weights", "model");
  ok &= schema_check(im->arena, im->diag, model, SECTION_source, "'model'");
  return ok && import_huggingface(im, out);
}

static bool choose_name(import *im, const char *shown) {
  const ynode *n = ynode_get(im->root, "name");
  im->name = im->overrides->name ? im->overrides->name
             : n                 ? n->text
                                 : model_name_from_path(im->arena, shown);
  src_loc loc = n && !im->overrides->name ? n->loc : loc_file(shown);
  return import_name(im, im->name, loc);
}

static model_source *read_model(import *im, const char *shown, const char *text, size_t size,
                                const model_overrides *o) {
  static const model_overrides none = {0};
  im->overrides = o ? o : &none;
  im->root = yaml_read(im->arena, im->diag, shown, text, size);
  if (!im->root) return NULL;
  if (!schema_check(im->arena, im->diag, im->root, SECTION_model, "the model")) return NULL;
  if (!schema_check_version(im->diag, im->root) || !choose_name(im, shown)) return NULL;
  model_source *out = arena_new_one(im->arena, model_source);
  out->name = arena_strdup(im->arena, im->name);
  if (choose_form(im, out) && ir_verify(out->graph, im->diag, NULL)) return out;
  if (out->weights) st_close(out->weights, im->diag);
  return NULL;
}

model_source *model_read(arena *a, diag *d, const char *path, const model_overrides *o) {
import im = {.arena = a, .diag = d, .dir = path_dir(a, path), .path = path };
  bytes text;
  if (!file_read(a, d, NULL, path, YAML_MAX_BYTES, &text)) return NULL;
  return read_model(&im, path, (const char *)text.data, text.size, o);
}

model_source *model_read_text(arena *a, diag *d, const char *shown, const char *dir,
                              const char *text, size_t size, const model_overrides *o) {
import im = {.arena = a, .diag = d, .dir = dir };
  return read_model(&im, shown, text, size, o);
}
