/* The weights of a BERT checkpoint: their spellings, their shapes, their way into the graph. */
#include <inttypes.h>
#include <string.h>

#include "frontend/bert.h"
#include "support/text.h"

enum group { GROUP_embeddings, GROUP_layer, GROUP_pooler, GROUP_classifier };
enum size { ONE, VOCAB, POSITIONS, TYPES, HIDDEN, INNER, LABELS, SIZES };

static const struct {
  enum group group;
  const char *name;
  enum size rows, columns;
} tensors[] = {
#define TENSOR(group, name, rows, columns) {GROUP_##group, name, rows, columns},
#include "frontend/bert.def"
#undef TENSOR
};

/* One tensor that is to be loaded. */
typedef struct wanted {
  const char *name;
  uint32_t rank;
  int64_t dim[2];
} wanted;

/* LayerNorm.weight and .bias were called gamma and beta in checkpoints of TensorFlow's time. */
static const char *old_name(arena *a, const char *name) {
  static const char *const pairs[][2] = {{"LayerNorm.weight", "gamma"}, {"LayerNorm.bias", "beta"}};
  for (size_t i = 0; i < 2; i++)
    if (text_ends_with(name, pairs[i][0])) {
      const char *dot = strrchr(name, '.');
      return arena_printf(a, "%.*s.%s", (int)(dot - name), name, pairs[i][1]);
    }
  return NULL;
}

static st_tensor *find_spelled(const bert *b, const char *prefix, const char *name) {
  arena *a = b->im->arena;
  st_tensor *t = st_find(b->weights, arena_printf(a, "%s%s", prefix, name));
  const char *old = t ? NULL : old_name(a, name);
  return old ? st_find(b->weights, arena_printf(a, "%s%s", prefix, old)) : t;
}

st_tensor *bert_tensor(const bert *b, const char *name) {
  st_tensor *t = find_spelled(b, b->prefix, name);
  return t ? t : find_spelled(b, "", name);
}

bool bert_look(bert *b) {
  static const char word[] = "embeddings.word_embeddings.weight";
  b->prefix = st_find(b->weights, word) ? "" : "bert.";
  b->has_pooler = bert_tensor(b, "pooler.dense.weight") != NULL;
  b->has_classifier = bert_tensor(b, "classifier.weight") != NULL;
  const char *architecture = b->config.architecture;
  b->token_level = text_ends_with(architecture, "ForTokenClassification") ||
                   (!b->has_pooler && !text_ends_with(architecture, "ForSequenceClassification"));
  return bert_tensor(b, word) ||
         diag_error(b->im->diag, loc_file(b->folder), E_W_MISSING,
                    "no tensor '%s', with or without 'bert.' before it; is this a BERT checkpoint?",
                    word);
}

static int64_t size_of(const bert *b, enum size size) {
  const hf_config *c = &b->config;
  const st_tensor *labels = size == LABELS ? bert_tensor(b, "classifier.weight") : NULL;
  const int64_t sizes[SIZES] = {[ONE] = 1,
                                [VOCAB] = c->vocab_size,
                                [POSITIONS] = c->max_position_embeddings,
                                [TYPES] = c->type_vocab_size,
                                [HIDDEN] = c->hidden_size,
                                [INNER] = c->intermediate_size,
                                [LABELS] = labels && labels->rank == 2 ? labels->dim[0] : 1};
  return sizes[size];
}

static ir_type type_of(uint32_t rank, const int64_t *dim) {
  return ir_type_make(IR_F32, rank, dim);
}

static bool check_shape(const bert *b, const st_tensor *t, const wanted *w) {
  bool same = t->rank == w->rank;
  for (uint32_t i = 0; same && i < t->rank; i++)
    same = t->dim[i] == w->dim[i];
  if (same) return true;
  ir_type expected = type_of(w->rank, w->dim), found = type_of(t->rank, t->dim);
  /* "f32" of the printed type says nothing here: cut it off. */
  return diag_error(b->im->diag, loc_file(st_shard_name(b->weights, t->shard)), E_SHAPE,
                    "tensor '%s' has the shape %s; config.json asks for %s", t->name,
                    ir_type_print(b->im->arena, &found) + 3,
                    ir_type_print(b->im->arena, &expected) + 3);
}

static bool check_sparsity(const bert *b, const st_tensor *t, const wanted *w, const float *data) {
  size_t count = (size_t)w->dim[0] * (size_t)(w->rank == 2 ? w->dim[1] : 1);
  return sparsity_check(b->im->arena, b->im->diag, &b->sparsity, t->name, data, count);
}

static bool load(bert *b, const wanted *w) {
  st_tensor *t = bert_tensor(b, w->name);
  if (!t)
    return diag_error(b->im->diag, loc_file(b->folder), E_W_MISSING,
                      "the checkpoint has no tensor '%s%s'", b->prefix, w->name);
  if (!check_shape(b, t, w)) return false;
  const float *data = st_read_f32(b->weights, b->im->diag, b->im->arena, t);
  if (!data || !check_sparsity(b, t, w, data)) return false;
  ir_id id = ir_add_const(b->graph, w->name, type_of(w->rank, w->dim), data);
  ir_at(b->graph, id)->loc = loc_file(st_shard_name(b->weights, t->shard));
  if (w->rank == 2 && strncmp(w->name, "encoder.", 8) == 0) b->linears[b->linear_count++] = t->name;
  names_add(b->constants, w->name, id);
  return true;
}

/* Loads the tensors of one group; `scope` goes before their names. */
static bool load_group(bert *b, enum group group, const char *scope) {
  bool ok = true;
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    if (tensors[i].group != group || diag_full(b->im->diag)) continue;
    wanted w = {.name = arena_printf(b->im->arena, "%s%s", scope, tensors[i].name),
                .rank = tensors[i].columns == ONE ? 1 : 2,
                .dim = {size_of(b, tensors[i].rows), size_of(b, tensors[i].columns)}};
    ok &= load(b, &w);
  }
  return ok;
}

bool bert_load(bert *b) {
  enum { LINEARS_PER_LAYER = 6 };
  b->constants = names_new(b->im->arena);
  b->linears = arena_array(b->im->arena, const char *,
                           LINEARS_PER_LAYER *(size_t)b->config.num_hidden_layers);
  bool ok = load_group(b, GROUP_embeddings, "");
  for (int64_t i = 0; i < b->config.num_hidden_layers && !diag_full(b->im->diag); i++)
    ok &= load_group(b, GROUP_layer, arena_printf(b->im->arena, "encoder.layer.%" PRId64 ".", i));
  if (b->need_pooler) ok &= load_group(b, GROUP_pooler, "");
  if (b->need_classifier) ok &= load_group(b, GROUP_classifier, "");
  return ok;
}

/* A tensor of a head that the checkpoint has and the user did not ask for. */
static bool of_known_head(const bert *b, const char *name) {
  size_t n = strlen(b->prefix);
  if (strncmp(name, b->prefix, n) == 0) name += n;
  return strncmp(name, "pooler.dense.", 13) == 0 || strncmp(name, "classifier.", 11) == 0;
}

void bert_warn_unused(const bert *b) {
  for (size_t i = 0; i < st_count(b->weights); i++) {
    st_tensor *t = st_at(b->weights, i);
    if (of_known_head(b, t->name)) t->used = true;
  }
  import_warn_unused(b->im, b->weights, b->folder);
}
