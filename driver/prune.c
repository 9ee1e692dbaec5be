/* spcc prune: sparsifies the linears of a Hugging Face folder into a new folder.
 *
 * Everything is read, checked and pruned before the first byte of the folder is written. Weights
 * that a method does not change keep their bits, in their own element type; all other tensors and
 * files are copied byte for byte. */
#include <string.h>
#include <sys/stat.h>

#include "driver/model.h"
#include "driver/partial.h"
#include "driver/pruning.h"
#include "driver/sentences.h"
#include "driver/session.h"
#include "driver/targets.h"
#include "frontend/recipe.h"
#include "frontend/sparsity.h"
#include "support/text.h"

enum { COPIED_MAX = 256 << 20 /* bytes of one file that is copied */ };

/* A file of the model's folder that the new one gets as it is. */
typedef struct copied_file {
  const char *name;
  bytes content;
} copied_file;

typedef struct pruner {
  driver *dr;
  const char *path, *out; /* model.yaml, and the new folder */
  const model_source *model;
  const recipe *recipe; /* from a file, or of one entry, which the flags make */
  copied_file *copied;
  size_t copied_count;
  st_write_tensor *tensors;
  size_t tensor_count;
  prune_weight *weights; /* those that are pruned */
  size_t weight_count;
  uint64_t total, kept;
  const char *partial; /* folder of what is ready of a long pruning; NULL: none is kept */
} pruner;

/* ---- the command line ---- */

static int read_pattern(const driver *dr, spo_pattern *out) {
  const char *text = flag_text(dr, F_PATTERN, "unstructured");
  if (spo_pattern_parse(text, out) && out->kind != SPO_DENSE) return EXIT_OK;
  return usage_error(dr,
                     "'%s' is no pattern to prune to; use unstructured, RxC such as 4x1 or N:M "
                     "such as 2:4",
                     text);
}

static int read_goal(const driver *dr, spo_goal *out) {
  double implied;
  char text[SPO_PATTERN_TEXT];
  int code = read_pattern(dr, &out->pattern);
  if (code != EXIT_OK) return code;
  bool given = flag_given(dr, F_SPARSITY);
  out->sparsity = flag_number(dr, F_SPARSITY, SPO_IMPLIED);
  spo_pattern_print(&out->pattern, text);
  if (!spo_pattern_implies(&out->pattern, &implied))
    return given ? EXIT_OK
                 : usage_error(dr, "pattern %s needs --sparsity, such as --sparsity=0.9", text);
  if (given && out->sparsity != implied)
    return usage_error(dr, "pattern %s fixes the sparsity at %g; leave --sparsity=%g out", text,
                       implied, out->sparsity);
  return EXIT_OK;
}

static int read_scope(const driver *dr, spo_recipe *out) {
  spo_error e;
  if (!flag_given(dr, F_SCOPE)) return EXIT_OK;
  if (out->method != SPO_MAGNITUDE)
    return usage_error(dr, "--scope is of method magnitude; leave it out for %s",
                       spo_method_name(out->method));
  out->scope = strcmp(flag_text(dr, F_SCOPE, NULL), "global") == 0 ? SPO_GLOBAL : SPO_LOCAL;
  return spo_recipe_check(out, &e) == SPO_OK ? EXIT_OK : usage_error(dr, "%s", e.text);
}

/* The recipe of one entry that the flags stand for. */
static int read_flags(pruner *p) {
  const driver *dr = p->dr;
  recipe *r = arena_new_one(dr->arena, recipe);
  spo_method_id method = SPO_MAGNITUDE;
  r->entries = arena_new_one(dr->arena, recipe_entry);
  r->count = 1;
  p->recipe = r;
  spo_method_named(flag_text(dr, F_METHOD, "magnitude"), &method); /* flags.def lists names */
  spo_recipe_init(&r->entries->options, method);
  int code = read_goal(dr, &r->entries->options.goal);
  return code == EXIT_OK ? read_scope(dr, &r->entries->options) : code;
}

/* No flag says what a recipe says. */
static int check_alone(const driver *dr) {
  static const enum flag other[] = {F_METHOD, F_SCOPE, F_PATTERN, F_SPARSITY, F_TARGETS, F_IGNORE};
  for (size_t i = 0; i < sizeof other / sizeof *other; i++)
    if (flag_given(dr, other[i]))
      return usage_error(dr, "--recipe says what to do; leave %s out",
                         flag_table[other[i]].spelling);
  return EXIT_OK;
}

static int read_command(pruner *p) {
  driver *dr = p->dr;
  p->path = dr->operands[0];
  p->out = flag_text(dr, F_PRUNE_OUT, NULL);
  if (!p->out) return usage_error(dr, "name the new folder with -o");
  if (!flag_given(dr, F_RECIPE)) return read_flags(p);
  int code = check_alone(dr);
  if (code != EXIT_OK) return code;
  p->recipe = recipe_read(dr->arena, dr->diag, flag_text(dr, F_RECIPE, NULL));
  return diag_exit_code(dr->diag);
}

/* ---- methods ---- */

/* What the method lacks here; NULL: nothing. */
static const char *lacks(const driver *dr, spo_method_id method) {
  if (spo_method_family(method) != SPO_ONE_SHOT)
    return "trains the model; call libspo from the program that trains it";
  if (method == SPO_OBERT) return "needs gradients; call libspo from a program that has them";
  if (method_needs_sentences(method) && !flag_given(dr, F_SENTENCES))
    return "looks at what the model computes; give it text with --sentences=FILE, a sentence a "
           "line";
  return NULL;
}

static bool check_methods(const pruner *p) {
  bool ok = true;
  for (uint32_t i = 0; i < p->recipe->count; i++) {
    const recipe_entry *e = &p->recipe->entries[i];
    const char *what = lacks(p->dr, e->options.method);
    if (what)
      ok = diag_error(p->dr->diag, e->method, E_CONFIG, "method %s %s",
                      spo_method_name(e->options.method), what);
  }
  return ok;
}

/* ---- reading and pruning ---- */

/* False, with an error, when the new folder's file `name` is `input`. */
static bool is_other(const pruner *p, const char *name, const char *input) {
  const char *path = path_join(p->dr->arena, p->out, name);
  return !path_same_file(path, input) ||
         diag_error(p->dr->diag, loc_file(path), E_SAME,
                    "this output is also the input '%s'; choose another folder with -o", input);
}

static bool read_model(pruner *p) {
  driver *dr = p->dr;
  p->model = source_read(dr, p->path, &(model_overrides){0});
  if (!p->model) return false;
  if (!p->model->folder || !p->model->weights)
    return diag_error(dr->diag, loc_file(p->path), E_CONFIG,
                      "prune works on models that name a Hugging Face folder, such as "
                      "model: {huggingface: ./minilm}");
  if (path_same_file(p->out, p->model->folder))
    return diag_error(dr->diag, loc_file(p->out), E_SAME,
                      "this is the folder of the model itself; write to another one");
  bool ok = is_other(p, "model.yaml", p->path);
  if (ok && flag_given(dr, F_RECIPE)) ok = is_other(p, "model.yaml", flag_text(dr, F_RECIPE, NULL));
  for (uint32_t i = 0; ok && i < st_shard_count(p->model->weights); i++)
    ok = is_other(p, "model.safetensors", st_shard_name(p->model->weights, i));
  return ok;
}

/* Configuration and tokenizer; an index of shards no longer fits the new weights. */
static bool is_copied(const char *dir, const char *name, arena *a) {
  struct stat st;
  if (name[0] == '.' || text_ends_with(name, ".index.json") || !strcmp(name, SPARSITY_FILE))
    return false;
  if (!text_ends_with(name, ".json") && !text_ends_with(name, ".txt")) return false;
  return stat(path_join(a, dir, name), &st) == 0 && S_ISREG(st.st_mode);
}

static bool read_copied(pruner *p) {
  driver *dr = p->dr;
  const char **names, *from = p->model->folder;
  size_t count;
  if (!dir_list(dr->arena, dr->diag, from, &names, &count)) return false;
  p->copied = arena_array(dr->arena, copied_file, count + 1);
  for (size_t i = 0; i < count; i++) {
    if (!is_copied(from, names[i], dr->arena)) continue;
    copied_file *c = &p->copied[p->copied_count++];
    c->name = names[i];
    if (!file_read(dr->arena, dr->diag, from, c->name, COPIED_MAX, &c->content)) return false;
  }
  return true;
}

/* All tensors as they are, to be written again. */
static bool read_tensors(pruner *p) {
  driver *dr = p->dr;
  st_set *set = p->model->weights;
  p->tensor_count = st_count(set);
  p->tensors = arena_array(dr->arena, st_write_tensor, p->tensor_count);
  for (size_t i = 0; i < p->tensor_count; i++) {
    const st_tensor *t = st_at(set, i);
    st_write_tensor *w = &p->tensors[i];
    *w = (st_write_tensor){.name = t->name, .dtype = t->dtype, .rank = t->rank};
    memcpy(w->dim, t->dim, sizeof w->dim);
    w->size = (size_t)(t->end - t->begin);
    w->data = st_read_raw(set, dr->diag, dr->arena, t);
    if (!w->data && w->size) return false;
  }
  return true;
}

/* The tensor of the name; names of model->linears are always there. */
static size_t tensor_index(const pruner *p, const char *name) {
  size_t i = 0;
  while (strcmp(p->tensors[i].name, name) != 0)
    i++;
  return i;
}

/* Which entry of the recipe each linear falls to. */
static int choose(const pruner *p, uint32_t *entry_of) {
  driver *dr = p->dr;
  const model_source *m = p->model;
  if (flag_given(dr, F_RECIPE)) {
    recipe_choose(dr->arena, dr->diag, p->recipe, m->linears, m->linear_count, entry_of);
    return diag_exit_code(dr->diag);
  }
  bool *chosen = arena_array(dr->arena, bool, m->linear_count);
  int code = targets_choose(dr, p->path, m->linears, m->linear_count, chosen);
  for (uint32_t i = 0; i < m->linear_count; i++)
    entry_of[i] = chosen[i] ? 0 : RECIPE_NONE;
  return code;
}

/* A weight that an entry of the recipe chose. */
static bool add_weight(pruner *p, const char *name, const spo_recipe *options) {
  driver *dr = p->dr;
  st_tensor *t = st_at(p->model->weights, tensor_index(p, name));
  const float *dense = st_read_f32(p->model->weights, dr->diag, dr->arena, t);
  p->weights[p->weight_count++] = (prune_weight){.name = t->name,
                                                 .file = st_shard_name(p->model->weights, t->shard),
                                                 .options = options,
                                                 .rows = (size_t)t->dim[0],
                                                 .cols = (size_t)t->dim[1],
                                                 .dense = dense};
  return dense != NULL;
}

static int list_weights(pruner *p) {
  const model_source *m = p->model;
  uint32_t *entry_of = arena_array(p->dr->arena, uint32_t, m->linear_count);
  p->weights = arena_array(p->dr->arena, prune_weight, m->linear_count + 1);
  int code = choose(p, entry_of);
  for (uint32_t i = 0; code == EXIT_OK && i < m->linear_count; i++)
    if (entry_of[i] != RECIPE_NONE)
      add_weight(p, m->linears[i], &p->recipe->entries[entry_of[i]].options);
  return code == EXIT_OK ? diag_exit_code(p->dr->diag) : code;
}

/* Where a pruning with sentences, which may take long, keeps what is ready. */
static const char *partial_folder(const pruner *p) {
  size_t n = strlen(p->out);
  while (n > 1 && p->out[n - 1] == '/')
    n--;
  return arena_printf(p->dr->arena, "%.*s.partial", (int)n, p->out);
}

static bool prune_all(pruner *p) {
  driver *dr = p->dr;
  token_set set;
  bool needed = false;
  for (size_t i = 0; i < p->weight_count; i++)
    needed |= method_needs_sentences(p->weights[i].options->method);
  if (needed) p->partial = partial_folder(p);
  if (needed && !sentences_read(dr, flag_text(dr, F_SENTENCES, NULL), p->model, &set)) return false;
  return prune_weights(dr, p->model, p->weights, p->weight_count, needed ? &set : NULL,
                       session_threads(dr), p->partial);
}

static void report_line(const pruner *p, const prune_weight *w) {
  const spo_report *r = &w->report;
  const char *more = "";
  if (w->measured)
    more = arena_printf(p->dr->arena, ", error %.4f by the mask alone, %.4f in the end, %.1f s",
                        w->masked_error, w->error, w->seconds);
  verbose(p->dr, "%-56s %6zu x %-6zu kept %10llu of %-10llu sparsity %.4f%s", w->name, w->rows,
          w->cols, (unsigned long long)r->kept, (unsigned long long)r->total,
          1 - (double)r->kept / (double)r->total, more);
}

/* The pruned weights in the tensor's own type. A weight that has its value keeps its bits. */
static bool encode(const pruner *p, const prune_weight *w, st_write_tensor *t) {
  size_t count = w->rows * w->cols, width = t->size / count;
  unsigned char *data = arena_alloc(p->dr->arena, t->size, 64);
  if (!st_encode_f32(t->dtype, w->w, count, data))
    return diag_error(
        p->dr->diag, loc_file(w->file), E_NONFINITE,
        "tensor '%s': a changed weight is too large for %s; convert the checkpoint to "
        "F32",
        w->name, t->dtype);
  for (size_t i = 0; i < count; i++)
    if (w->mask[i] && w->w[i] == w->dense[i])
      memcpy(data + i * width, (const unsigned char *)t->data + i * width, width);
  t->data = data;
  return true;
}

static bool encode_all(pruner *p) {
  for (size_t i = 0; i < p->weight_count; i++) {
    const prune_weight *w = &p->weights[i];
    if (!encode(p, w, &p->tensors[tensor_index(p, w->name)])) return false;
    p->total += w->report.total;
    p->kept += w->report.kept;
    report_line(p, w);
  }
  return true;
}

static int prune_chosen(pruner *p) {
  int code = list_weights(p);
  if (code != EXIT_OK) return code;
  return prune_all(p) && encode_all(p) ? EXIT_OK : diag_exit_code(p->dr->diag);
}

/* ---- writing ---- */

static bool write_copied(const pruner *p) {
  arena *a = p->dr->arena;
  bool ok = true;
  for (size_t i = 0; ok && i < p->copied_count; i++) {
    const copied_file *c = &p->copied[i];
    ok = out_write_file(a, p->dr->diag, path_join(a, p->out, c->name), c->content.data,
                        c->content.size);
  }
  return ok;
}

/* The names of the graph's inputs or outputs as a YAML list. */
static const char *name_list(const pruner *p, bool inputs) {
  const ir_graph *g = p->model->graph;
  const char *text = "";
  uint32_t count = inputs ? g->count : g->output_count;
  for (uint32_t i = 0; i < count; i++) {
    if (inputs && g->values[i].kind != IR_INPUT) continue;
    const char *name = inputs ? g->values[i].name : g->outputs[i].name;
    text = arena_printf(p->dr->arena, "%s%s%s", text, *text ? ", " : "", name);
  }
  return text;
}

/* The entries of the recipe as comments. */
static const char *entry_lines(const pruner *p) {
  const char *text = "";
  char shape[SPO_PATTERN_TEXT];
  for (uint32_t i = 0; i < p->recipe->count; i++) {
    const spo_recipe *options = &p->recipe->entries[i].options;
    double share = options->goal.sparsity;
    spo_pattern_implies(&options->goal.pattern, &share);
    text = arena_printf(p->dr->arena, "%s# method %s, pattern %s, sparsity %g%s\n", text,
                        spo_method_name(options->method),
                        spo_pattern_print(&options->goal.pattern, shape), share,
                        ranks_all(options) ? " of all together" : "");
  }
  return text;
}

static bool write_yaml(const pruner *p) {
  arena *a = p->dr->arena;
  const ir_graph *g = p->model->graph;
  const char *text = arena_printf(
      a,
      "spcc: 1\n# Pruned by spcc: %llu of %llu weights kept.\n%s"
      "name: %s\nmodel: {huggingface: .}\ninputs: [%s]\noutputs: [%s]\nmax_batch: %lld\n"
      "max_sequence: %lld\n",
      (unsigned long long)p->kept, (unsigned long long)p->total, entry_lines(p), p->model->name,
      name_list(p, true), name_list(p, false), (long long)g->max_batch, (long long)g->max_sequence);
  return out_write_file(a, p->dr->diag, path_join(a, p->out, "model.yaml"), text, strlen(text));
}

/* What was pruned, for the compiler and for whoever trains on. */
static bool write_sparsity(const pruner *p) {
  arena *a = p->dr->arena;
  char shape[SPO_PATTERN_TEXT];
  sparsity_entry *list = arena_array(a, sparsity_entry, p->weight_count + 1);
  for (size_t i = 0; i < p->weight_count; i++) {
    const prune_weight *w = &p->weights[i];
    list[i] = (sparsity_entry){.name = w->name, .kept = w->report.kept};
    pattern_parse(spo_pattern_print(&w->options->goal.pattern, shape), &list[i].pattern);
    list[i].mask = sparsity_digest(a, w->w, w->mask, w->rows * w->cols);
  }
  const char *text = sparsity_format(a, list, p->weight_count);
  return out_write_file(a, p->dr->diag, path_join(a, p->out, SPARSITY_FILE), text, strlen(text));
}

static bool write_folder(const pruner *p) {
  driver *dr = p->dr;
  progress(dr, 1, 1, "writing %s", p->out);
  bool ok = dir_make(dr->diag, p->out) && write_copied(p) &&
            st_write(dr->arena, dr->diag, path_join(dr->arena, p->out, "model.safetensors"),
                     p->tensors, p->tensor_count, "pt") &&
            write_sparsity(p) && write_yaml(p);
  progress(dr, 0, 0, "done");
  return ok;
}

int cmd_prune(driver *dr) {
  pruner p = {.dr = dr};
  int code = read_command(&p);
  if (code != EXIT_OK) return code;
  if (!check_methods(&p) || !read_model(&p) || !read_copied(&p) || !read_tensors(&p))
    return EXIT_REJECTED;
  code = prune_chosen(&p);
  if (code != EXIT_OK || !st_close(p.model->weights, dr->diag)) return code;
  if (!write_folder(&p)) return EXIT_REJECTED;
  if (p.partial) partial_remove(dr, p.partial);
  verbose(dr, "%llu of %llu weights kept, sparsity %.4f", (unsigned long long)p.kept,
          (unsigned long long)p.total, p.total ? 1 - (double)p.kept / (double)p.total : 0.0);
  return EXIT_OK;
}
