/* A BERT checkpoint of a few hundred numbers, written as a Hugging Face folder, for tests. All
 * weights are k/32 with a small integer k, so F16 and BF16 hold them exactly. */
#ifndef SPCC_TESTS_TINY_BERT_H
#define SPCC_TESTS_TINY_BERT_H

#include "frontend/frontend.h"
#include "scratch.h"

enum { TINY_HIDDEN = 4, TINY_HEADS = 2, TINY_INNER = 6, TINY_VOCAB = 7, TINY_POSITIONS = 5 };
enum { TINY_TYPES = 2, TINY_MAX = 128 };

typedef struct tiny_bert {
  int layers, labels; /* labels 0: no classifier */
  bool pooler, old_names;
  const char *prefix, *dtype; /* dtype NULL: F32 */
  const char *config;         /* more members of config.json, such as ",\"a\":1"; NULL: none */
  const char *skip;           /* a tensor that is left out; NULL: none */
  /* Filled by tiny_make: names without prefix, and their elements. */
  st_write_tensor tensor[TINY_MAX];
  const char *plain[TINY_MAX];
  const float *data[TINY_MAX];
  size_t count;
  uint32_t seed;
} tiny_bert;

static const float *tiny_numbers(tiny_bert *t, size_t n) {
  float *x = arena_array(mem, float, n);
  for (size_t i = 0; i < n; i++) {
    t->seed = t->seed * 1664525u + 1013904223u;
    x[i] = (float)((int)(t->seed >> 26) - 32) / 32.0f;
  }
  return x;
}

/* The top half of a float, exact for the numbers here. */
static uint16_t tiny_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return (uint16_t)(bits >> 16);
}

static uint16_t tiny_f16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  if ((bits & 0x7fffffff) == 0) return 0;
  uint32_t exponent = (bits >> 23 & 255) - 127 + 15;
  return (uint16_t)((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3ff));
}

static const void *tiny_encode(const tiny_bert *t, const float *x, size_t n, size_t *size) {
  *size = n * (t->dtype ? 2 : 4);
  if (!t->dtype) return x;
  uint16_t *half = arena_array(mem, uint16_t, n);
  for (size_t i = 0; i < n; i++)
    half[i] = strcmp(t->dtype, "F16") == 0 ? tiny_f16(x[i]) : tiny_bf16(x[i]);
  return half;
}

/* LayerNorm.weight becomes LayerNorm.gamma in old checkpoints. */
static const char *tiny_spell(const tiny_bert *t, const char *name) {
  const char *norm = strstr(name, "LayerNorm.");
  if (!t->old_names || !norm) return arena_printf(mem, "%s%s", t->prefix, name);
  return arena_printf(mem, "%s%.*sLayerNorm.%s", t->prefix, (int)(norm - name), name,
                      strstr(name, "weight") ? "gamma" : "beta");
}

static void tiny_add(tiny_bert *t, const char *name, int64_t rows, int64_t columns) {
  size_t n = (size_t)(rows * (columns ? columns : 1));
  const float *x = tiny_numbers(t, n);
  if (t->skip && strcmp(name, t->skip) == 0) return;
  st_write_tensor *w = &t->tensor[t->count];
  bool head = strncmp(name, "classifier", 10) == 0;
  *w = (st_write_tensor){.name = head ? arena_strdup(mem, name) : tiny_spell(t, name),
                         .dtype = t->dtype ? t->dtype : "F32",
                         .rank = columns ? 2 : 1,
                         .dim = {rows, columns}};
  w->data = tiny_encode(t, x, n, &w->size);
  t->plain[t->count] = arena_strdup(mem, name);
  t->data[t->count++] = x;
}

static void tiny_linear(tiny_bert *t, const char *module, int64_t rows, int64_t columns) {
  tiny_add(t, arena_printf(mem, "%s.weight", module), rows, columns);
  tiny_add(t, arena_printf(mem, "%s.bias", module), rows, 0);
}

static void tiny_layer(tiny_bert *t, int i) {
  const char *p = arena_printf(mem, "encoder.layer.%d", i);
  tiny_linear(t, arena_printf(mem, "%s.attention.self.query", p), TINY_HIDDEN, TINY_HIDDEN);
  tiny_linear(t, arena_printf(mem, "%s.attention.self.key", p), TINY_HIDDEN, TINY_HIDDEN);
  tiny_linear(t, arena_printf(mem, "%s.attention.self.value", p), TINY_HIDDEN, TINY_HIDDEN);
  tiny_linear(t, arena_printf(mem, "%s.attention.output.dense", p), TINY_HIDDEN, TINY_HIDDEN);
  tiny_linear(t, arena_printf(mem, "%s.attention.output.LayerNorm", p), TINY_HIDDEN, 0);
  tiny_linear(t, arena_printf(mem, "%s.intermediate.dense", p), TINY_INNER, TINY_HIDDEN);
  tiny_linear(t, arena_printf(mem, "%s.output.dense", p), TINY_HIDDEN, TINY_INNER);
  tiny_linear(t, arena_printf(mem, "%s.output.LayerNorm", p), TINY_HIDDEN, 0);
}

/* Makes all tensors. */
static void tiny_make(tiny_bert *t) {
  t->seed = 7;
  if (!t->prefix) t->prefix = "";
  tiny_add(t, "embeddings.word_embeddings.weight", TINY_VOCAB, TINY_HIDDEN);
  tiny_add(t, "embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_HIDDEN);
  tiny_add(t, "embeddings.token_type_embeddings.weight", TINY_TYPES, TINY_HIDDEN);
  tiny_linear(t, "embeddings.LayerNorm", TINY_HIDDEN, 0);
  for (int i = 0; i < t->layers; i++)
    tiny_layer(t, i);
  if (t->pooler) tiny_linear(t, "pooler.dense", TINY_HIDDEN, TINY_HIDDEN);
  if (t->labels) tiny_linear(t, "classifier", t->labels, TINY_HIDDEN);
}

static void tiny_config(const tiny_bert *t, const char *dir) {
  put_text(arena_printf(mem, "%s/config.json", dir),
           arena_printf(mem,
                        "{\"hidden_size\": %d, \"num_hidden_layers\": %d,\n"
                        " \"num_attention_heads\": %d, \"intermediate_size\": %d,\n"
                        " \"vocab_size\": %d, \"max_position_embeddings\": %d,\n"
                        " \"type_vocab_size\": %d%s}\n",
                        TINY_HIDDEN, t->layers, TINY_HEADS, TINY_INNER, TINY_VOCAB, TINY_POSITIONS,
                        TINY_TYPES, t->config ? t->config : ""));
}

/* Makes the tensors and writes the folder `dir`. */
static inline void tiny_write(tiny_bert *t, const char *dir) {
  tiny_make(t);
  ck_assert(mkdir(dir, 0777) == 0 || access(dir, F_OK) == 0);
  tiny_config(t, dir);
  const char *path = arena_printf(mem, "%s/model.safetensors", dir);
  ck_assert(st_write(mem, d, path, t->tensor, t->count, "pt"));
}

/* The elements of a tensor by its name without prefix. */
static inline const float *tiny_data(const tiny_bert *t, const char *name) {
  for (size_t i = 0; i < t->count; i++)
    if (strcmp(t->plain[i], name) == 0) return t->data[i];
  ck_abort_msg("no tensor %s", name);
}

#endif
