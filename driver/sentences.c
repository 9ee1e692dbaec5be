#include "driver/sentences.h"

#include <inttypes.h>
#include <string.h>

#include "driver/npy.h"
#include "frontend/json.h"
#include "support/text.h"
#include "text/spcc_wordpiece.h"

enum { TEXT_MAX = 256 << 20, VOCABULARY_MAX = 256 << 20, CONFIG_MAX = 4 << 20 }; /* of a file */

static const char vocabulary_name[] = "vocab.txt";

typedef struct reader {
  driver *dr;
  const char *path;
  const model_source *m;
  size_t longest;     /* tokens of a sentence */
  int64_t vocabulary; /* ids that the model knows */
  int32_t *ids;
  size_t *start;
  size_t count, tokens, room; /* room: tokens that ids has place for */
} reader;

/* Room for so many sentences and tokens. */
static void reserve(reader *r, size_t sentences, size_t tokens) {
  r->ids = arena_array(r->dr->arena, int32_t, tokens + 1);
  r->start = arena_array(r->dr->arena, size_t, sentences + 1);
  r->room = tokens;
}

static void end_sentence(reader *r, size_t tokens) {
  if (tokens == 0) return;
  r->tokens += tokens;
  r->start[++r->count] = r->tokens;
}

/* Rows of the table that the model's first gather reads. */
static int64_t vocabulary_of(const ir_graph *g) {
  for (ir_id i = 0; i < g->count; i++)
    if (ir_is_op(ir_at(g, i), OP_gather)) return ir_in(g, ir_at(g, i), 0)->type.dim[0];
  return INT32_MAX;
}

/* ---- text ---- */

/* Sets what the file says of a switch or of a token; null is as good as nothing. */
static void set_switch(const json_t *root, const char *key, bool *value) {
  const json_t *v = json_object_get(root, key);
  if (json_is_boolean(v)) *value = json_is_true(v);
}

static void set_token(arena *a, const json_t *root, const char *key, const char **value) {
  const json_t *v = json_object_get(root, key);
  const json_t *content = json_is_object(v) ? json_object_get(v, "content") : v;
  if (json_is_string(content)) *value = arena_strdup(a, json_string_value(content));
}

static bool read_options(const reader *r, spcc_wordpiece_options *o) {
  static const char name[] = "tokenizer_config.json";
  arena *a = r->dr->arena;
  json_text text;
  bool there;
  *o = spcc_wordpiece_defaults();
  if (!dir_has(a, r->dr->diag, r->m->folder, name, &there)) return false;
  if (!there) return true;
  json_t *root = json_read_file(a, r->dr->diag, r->m->folder, name, CONFIG_MAX, &text);
  if (!root) return false;
  set_switch(root, "do_lower_case", &o->lowercase);
  o->strip_accents = o->lowercase;
  set_switch(root, "strip_accents", &o->strip_accents);
  set_switch(root, "tokenize_chinese_chars", &o->split_cjk);
  set_token(a, root, "unk_token", &o->unk);
  set_token(a, root, "cls_token", &o->cls);
  set_token(a, root, "sep_token", &o->sep);
  set_token(a, root, "pad_token", &o->pad);
  set_token(a, root, "mask_token", &o->mask);
  json_decref(root);
  o->match_special = false;
  return true;
}

/* Makes the tokenizer of the model's folder; *status says why there is none. False, with an error,
 * when a file is there and cannot be read. */
static bool make_tokenizer(const reader *r, spcc_wordpiece **out, spcc_wordpiece_status *status) {
  driver *dr = r->dr;
  spcc_wordpiece_options o;
  bytes text;
  bool there;
  *out = NULL;
  *status = SPCC_WORDPIECE_E_OPEN;
  if (!dir_has(dr->arena, dr->diag, r->m->folder, vocabulary_name, &there)) return false;
  if (!there) return true;
  if (!file_read(dr->arena, dr->diag, r->m->folder, vocabulary_name, VOCABULARY_MAX, &text) ||
      !read_options(r, &o))
    return false;
  *status = spcc_wordpiece_new((const char *)text.data, text.size, &o, out);
  return true;
}

static spcc_wordpiece *open_tokenizer(const reader *r) {
  spcc_wordpiece *tokenizer;
  spcc_wordpiece_status status;
  if (make_tokenizer(r, &tokenizer, &status) && status != SPCC_WORDPIECE_OK)
    diag_error(r->dr->diag, loc_file(path_join(r->dr->arena, r->m->folder, vocabulary_name)),
               E_OPEN, "%s; text needs the vocabulary, token ids can come from a .npy file instead",
               spcc_wordpiece_status_text(status));
  return tokenizer;
}

static size_t count_lines(bytes text) {
  size_t n = 1;
  for (size_t i = 0; i < text.size; i++)
    n += text.data[i] == '\n';
  return n;
}

static bool is_blank(const char *line, size_t size) {
  return strspn(line, " \t\r") >= size;
}

static bool encode_line(reader *r, const spcc_wordpiece *tokenizer, const char *line, size_t size) {
  size_t count = 0, room = r->room - r->tokens;
  if (is_blank(line, size)) return true;
  spcc_wordpiece_status status =
      spcc_wordpiece_encode(tokenizer, line, size, r->ids + r->tokens,
                            room < r->longest ? room : r->longest, &count, NULL);
  if (status != SPCC_WORDPIECE_OK)
    return diag_error(r->dr->diag, loc_file(r->path), E_CONFIG, "%s",
                      spcc_wordpiece_status_text(status));
  end_sentence(r, count);
  return true;
}

static bool encode_text(reader *r, const spcc_wordpiece *tokenizer, bytes text) {
  const char *at = (const char *)text.data, *end = at + text.size;
  /* A token has a byte at least, and each sentence two tokens of its own. */
  size_t lines = count_lines(text);
  reserve(r, lines, text.size + 2 * lines);
  bool ok = true;
  while (ok && at < end) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    size_t size = (size_t)((stop ? stop : end) - at);
    ok = encode_line(r, tokenizer, at, size);
    at += size + 1;
  }
  return ok;
}

static bool read_text(reader *r) {
  bytes text;
  if (!file_read(r->dr->arena, r->dr->diag, NULL, r->path, TEXT_MAX, &text)) return false;
  spcc_wordpiece *tokenizer = open_tokenizer(r);
  bool ok = tokenizer && encode_text(r, tokenizer, text);
  spcc_wordpiece_free(tokenizer);
  return ok;
}

/* ---- ids ---- */

static int64_t id_at(const npy_array *a, size_t i) {
  return a->type == NPY_I64 ? ((const int64_t *)a->data)[i] : ((const int32_t *)a->data)[i];
}

/* The id of padding: the tokenizer's when there is one, else 0, as BERT has it. */
static bool find_padding(const reader *r, int64_t *id) {
  spcc_wordpiece *tokenizer;
  spcc_wordpiece_status status;
  if (!make_tokenizer(r, &tokenizer, &status)) return false;
  *id = tokenizer ? spcc_wordpiece_pad(tokenizer) : 0;
  spcc_wordpiece_free(tokenizer);
  return true;
}

static bool take_row(reader *r, const npy_array *a, size_t row, int64_t padding) {
  size_t width = (size_t)a->dim[1], count = width;
  while (count > 0 && id_at(a, row * width + count - 1) == padding)
    count--;
  if (count > r->longest) count = r->longest;
  for (size_t i = 0; i < count; i++) {
    int64_t id = id_at(a, row * width + i);
    if (id < 0 || id >= r->vocabulary)
      return diag_error(r->dr->diag, loc_file(r->path), E_NPY,
                        "element [%zu, %zu] is %" PRId64 "; the model knows the ids 0 to %" PRId64,
                        row, i, id, r->vocabulary - 1);
    r->ids[r->tokens + i] = (int32_t)id;
  }
  end_sentence(r, count);
  return true;
}

static bool read_ids(reader *r) {
  npy_array a;
  if (!npy_read(r->dr->arena, r->dr->diag, r->path, &a)) return false;
  if (a.type == NPY_F32 || a.rank != 2)
    return diag_error(r->dr->diag, loc_file(r->path), E_NPY,
                      "an array of token ids is needed, int32 or int64 [sentences, tokens]");
  int64_t padding;
  size_t rows = a.count > 0 ? (size_t)a.dim[0] : 0; /* a shape (n, 0) may claim any n */
  reserve(r, rows, a.count);
  bool ok = find_padding(r, &padding);
  for (size_t row = 0; ok && row < rows; row++)
    ok = take_row(r, &a, row, padding);
  return ok;
}

bool sentences_read(driver *dr, const char *path, const model_source *m, token_set *out) {
  reader r = {.dr = dr,
              .path = path,
              .m = m,
              .longest = (size_t)m->graph->max_sequence,
              .vocabulary = vocabulary_of(m->graph)};
  if (!(text_ends_with(path, ".npy") ? read_ids(&r) : read_text(&r))) return false;
  if (r.count == 0)
    return diag_error(dr->diag, loc_file(path), E_EMPTY,
                      "no sentence to calibrate with; write one a line");
  *out = (token_set){r.ids, r.start, r.count};
  return true;
}
