#include "driver/model.h"

#include <string.h>
#include <unistd.h>

#include "driver/output.h"
#include "driver/tune.h"
#include "frontend/sparsity.h"
#include "support/text.h"

enum { IR_TEXT_MAX = 16 << 20 };
/* Constants up to this size stand in the IR text itself. */
enum { INLINE_ELEMENTS = 64 };

/* ---- IR text ---- */

bool path_is_ir(const char *path) {
  return text_ends_with(path, ".ir");
}

char *constants_path(arena *a, const char *ir_path) {
  return path_with_suffix(a, ir_path, (const char *const[]){".ir", NULL}, ".safetensors");
}

typedef struct resolver {
  driver *dr;
  st_set *set; /* NULL: no such file */
} resolver;

static bool resolve(void *context, const char *name, const ir_type *type, const float **data) {
  resolver *r = context;
  st_tensor *t = r->set ? st_find(r->set, name) : NULL;
  if (!t || t->rank != type->rank || memcmp(t->dim, type->dim, t->rank * sizeof t->dim[0]) != 0)
    return false;
  *data = st_read_f32(r->set, r->dr->diag, r->dr->arena, t);
  return *data != NULL;
}

/* The names become identifiers of the header. */
static bool check_names(driver *dr, const ir_graph *g, const char *path) {
  const char *bad = model_name_ok(g->name) ? NULL : g->name;
  for (ir_id i = 0; i < g->count; i++) {
    const ir_value *v = &g->values[i];
    if (v->kind == IR_INPUT && !model_name_ok(v->name)) bad = v->name;
  }
  for (uint32_t i = 0; i < g->output_count; i++)
    if (!model_name_ok(g->outputs[i].name)) bad = g->outputs[i].name;
  return !bad || diag_error(dr->diag, loc_file(path), E_NAME,
                            "'%.64s' cannot be a name in the C header; the model, its inputs and "
                            "outputs need names of up to 63 letters, digits and '_'",
                            bad);
}

static void override(ir_graph *g, const model_overrides *o) {
  if (o->name) g->name = o->name;
  if (o->max_batch) g->max_batch = o->max_batch;
  if (o->max_sequence) g->max_sequence = o->max_sequence;
}

static model_source *read_ir(driver *dr, const char *path, const model_overrides *o) {
  bytes text;
  if (!file_read(dr->arena, dr->diag, NULL, path, IR_TEXT_MAX, &text)) return NULL;
  resolver r = {.dr = dr};
  char *weights = constants_path(dr->arena, path);
  if (access(weights, F_OK) == 0 && !(r.set = st_open(dr->arena, dr->diag, NULL, weights)))
    return NULL;
  ir_graph *g =
      ir_parse(dr->arena, dr->diag, path, (const char *)text.data, text.size, resolve, &r);
  if (!g) return NULL;
  override(g, o);
  if (!ir_verify(g, dr->diag, NULL) || !check_names(dr, g, path)) return NULL;
  model_source *m = arena_new_one(dr->arena, model_source);
  *m = (model_source){.graph = g, .name = g->name, .weights = r.set};
  return m;
}

bool constants_format(driver *dr, const ir_graph *g, const char *path, bytes *out) {
  st_write_tensor *list = arena_array(dr->arena, st_write_tensor, g->count + 1);
  size_t count = 0;
  for (ir_id i = 0; i < g->count; i++) {
    const ir_value *v = ir_at(g, i);
    if (v->kind != IR_CONST || v->tensor->count <= INLINE_ELEMENTS) continue;
    st_write_tensor *t = &list[count++];
    *t = (st_write_tensor){.name = v->name,
                           .dtype = "F32",
                           .rank = v->type.rank,
                           .data = v->tensor->data,
                           .size = v->tensor->count * sizeof(float)};
    memcpy(t->dim, v->type.dim, sizeof t->dim);
  }
  *out = (bytes){NULL, 0};
  return count == 0 || st_format(dr->arena, dr->diag, path, list, count, out);
}

model_source *source_read(driver *dr, const char *path, const model_overrides *o) {
  return path_is_ir(path) ? read_ir(dr, path, o) : model_read(dr->arena, dr->diag, path, o);
}

const char *const *source_files(driver *dr, const char *path, const model_source *m,
                                size_t *count) {
  arena *a = dr->arena;
  uint32_t shards = m->weights ? st_shard_count(m->weights) : 0;
  const char **files = arena_array(a, const char *, shards + 4);
  *count = 0;
  files[(*count)++] = path;
  if (m->folder) files[(*count)++] = path_join(a, m->folder, "config.json");
  if (m->folder) files[(*count)++] = path_join(a, m->folder, "model.safetensors.index.json");
  if (m->folder) files[(*count)++] = path_join(a, m->folder, SPARSITY_FILE);
  for (uint32_t i = 0; i < shards; i++)
    files[(*count)++] = st_shard_name(m->weights, i);
  return files;
}

bool source_close(driver *dr, model_source *m) {
  st_set *set = m->weights;
  m->weights = NULL;
  return !set || st_close(set, dr->diag);
}

/* ---- passes and code ---- */

typedef struct pass_watch {
  driver *dr;
  build_options *options;
  const char *next; /* rest of the list of passes: the one that runs now, and those after it */
  pass_observer *observe;
  void *context;
} pass_watch;

/* The passes that will run: those of --passes, or of the table at this -O. */
static const char *pass_list(driver *dr, const build_options *o) {
  if (o->passes) return o->passes;
  if (o->codegen.generic) return "fuse,plan"; /* the dense weights as they are */
  const char *list = "";
  for (const pass *p = pipeline; p->name; p++)
    if (o->pass.opt_level >= p->min_opt)
      list = arena_printf(dr->arena, "%s%s%s", list, *list ? "," : "", p->name);
  return list;
}

/* --tune, and there are choices. */
static bool is_tuned(const build_options *o) {
  return o->tune && o->pass.sparse == SPARSE_AUTO && !o->codegen.generic;
}

unsigned build_stages(driver *dr, const build_options *o) {
  const char *list = pass_list(dr, o);
  unsigned n = *list != 0;
  for (; *list; list++)
    n += *list == ',';
  return n + is_tuned(o);
}

/* Called after each pass; begins the stage of the next. */
static bool after_pass(void *context, const char *name, const ir_graph *g) {
  pass_watch *w = context;
  if (w->observe && !w->observe(w->context, name, g)) return false;
  size_t length = strcspn(w->next, ",");
  if (is_tuned(w->options) && length && strncmp(w->next, "partition", length) == 0) {
    stage_begin(w->dr, "tune");
    if (!tune_graph(w->dr, g, w->options)) return false;
  }
  if (length) stage_begin(w->dr, arena_strndup(w->dr->arena, w->next, length));
  w->next += length + (w->next[length] == ',');
  return true;
}

bool build_passes(driver *dr, ir_graph *g, const build_options *o, pass_observer *observe,
                  void *context) {
  build_options own = *o; /* tuning adds to it */
  pass_context c = {
      .arena = dr->arena, .diag = dr->diag, .options = &own.pass, .remarks = o->remarks};
  const char *list = pass_list(dr, o);
  pass_watch w = {.dr = dr, .options = &own, .next = list, .observe = observe, .context = context};
  if (!o->passes && !o->codegen.generic) return pipeline_run(g, &c, after_pass, &w);
  return pipeline_run_list(g, &c, list, after_pass, &w);
}

bool build_code(driver *dr, ir_graph *g, const build_options *o, enum codegen_emit emit,
                pass_observer *observe, void *context, codegen_result *out) {
  if (!build_passes(dr, g, o, observe, context)) return false;
  stage_begin(dr, "code");
  return codegen(g, &o->codegen, emit, dr->arena, dr->diag, out);
}
