/* make_bert FOLDER LAYERS HIDDEN HEADS FFN VOCAB POSITIONS BLOCK_ROWS PERCENT SEED
 *
 * Makes a Hugging Face folder with a small BERT of random weights and pooler, and its model.yaml.
 * PERCENT of the blocks of BLOCK_ROWS x 1 weights in each linear are zero. */
#include <stdio.h>
#include <stdlib.h>

#include "frontend/frontend.h"

enum { MAX_TENSORS = 1024, MAX_MEMORY = 1 << 30 };

typedef struct shape {
  int64_t layers, hidden, heads, ffn, vocab, positions, block_rows, percent;
} shape;

typedef struct maker {
  arena *a;
  diag *d;
  shape s;
  uint64_t random;
  st_write_tensor tensors[MAX_TENSORS];
  size_t count;
} maker;

static void out_of_memory(void *context, size_t size) {
  (void)context;
  fprintf(stderr, "make_bert: no memory for %zu bytes\n", size);
  exit(3);
}

/* Between -1 and 1. */
static float random_number(maker *m) {
  m->random = m->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (float)(int32_t)(m->random >> 32) / 2147483648.0f;
}

static float *add_tensor(maker *m, const char *name, int64_t rows, int64_t cols) {
  if (m->count == MAX_TENSORS) {
    fputs("make_bert: too many layers\n", stderr);
    exit(1);
  }
  size_t elements = (size_t)(rows * (cols > 0 ? cols : 1));
  float *data = arena_array(m->a, float, elements);
  st_write_tensor *t = &m->tensors[m->count++];
  *t = (st_write_tensor){.name = name,
                         .dtype = "F32",
                         .rank = cols > 0 ? 2 : 1,
                         .data = data,
                         .size = elements * sizeof(float)};
  t->dim[0] = rows;
  t->dim[1] = cols;
  return data;
}

/* [rows, cols], or [rows] when cols is 0: random numbers around `center`. */
static void add_random(maker *m, const char *name, int64_t rows, int64_t cols, float center,
                       float spread) {
  float *data = add_tensor(m, name, rows, cols);
  for (int64_t i = 0; i < rows * (cols > 0 ? cols : 1); i++)
    data[i] = center + spread * random_number(m);
}

static void add_layer_norm(maker *m, const char *name) {
  add_random(m, arena_printf(m->a, "%s.weight", name), m->s.hidden, 0, 1.0f, 0.2f);
  add_random(m, arena_printf(m->a, "%s.bias", name), m->s.hidden, 0, 0.0f, 0.2f);
}

static void add_linear(maker *m, const char *name, int64_t outputs, int64_t inputs) {
  float *w = add_tensor(m, arena_printf(m->a, "%s.weight", name), outputs, inputs);
  for (int64_t block = 0; block < outputs; block += m->s.block_rows)
    for (int64_t col = 0; col < inputs; col++) {
      bool keep = 50.0f * (random_number(m) + 1.0f) >= (float)m->s.percent;
      for (int64_t row = block; row < outputs && row < block + m->s.block_rows; row++)
        w[row * inputs + col] = keep ? 0.5f * random_number(m) : 0.0f;
    }
  add_random(m, arena_printf(m->a, "%s.bias", name), outputs, 0, 0.0f, 0.2f);
}

static void add_layer(maker *m, int64_t i) {
  static const char *const attention[] = {"self.query", "self.key", "self.value", "output.dense"};
  int64_t hidden = m->s.hidden;
  const char *layer = arena_printf(m->a, "encoder.layer.%lld", (long long)i);
  for (int k = 0; k < 4; k++)
    add_linear(m, arena_printf(m->a, "%s.attention.%s", layer, attention[k]), hidden, hidden);
  add_layer_norm(m, arena_printf(m->a, "%s.attention.output.LayerNorm", layer));
  add_linear(m, arena_printf(m->a, "%s.intermediate.dense", layer), m->s.ffn, hidden);
  add_linear(m, arena_printf(m->a, "%s.output.dense", layer), hidden, m->s.ffn);
  add_layer_norm(m, arena_printf(m->a, "%s.output.LayerNorm", layer));
}

static void add_model(maker *m) {
  add_random(m, "embeddings.word_embeddings.weight", m->s.vocab, m->s.hidden, 0.0f, 1.0f);
  add_random(m, "embeddings.position_embeddings.weight", m->s.positions, m->s.hidden, 0.0f, 1.0f);
  add_random(m, "embeddings.token_type_embeddings.weight", 2, m->s.hidden, 0.0f, 1.0f);
  add_layer_norm(m, "embeddings.LayerNorm");
  for (int64_t i = 0; i < m->s.layers; i++)
    add_layer(m, i);
  add_linear(m, "pooler.dense", m->s.hidden, m->s.hidden);
}

static bool write_text(maker *m, const char *path, const char *text) {
  size_t size = 0;
  while (text[size] != '\0')
    size++;
  return out_write_file(m->a, m->d, path, text, size);
}

static bool write_folder(maker *m, const char *folder) {
  const shape *s = &m->s;
  const char *config = arena_printf(
      m->a,
      "{\"architectures\": [\"BertModel\"], \"model_type\": \"bert\", \"hidden_size\": %lld,\n"
      " \"num_hidden_layers\": %lld, \"num_attention_heads\": %lld, \"intermediate_size\": %lld,\n"
      " \"vocab_size\": %lld, \"max_position_embeddings\": %lld, \"type_vocab_size\": 2,\n"
      " \"hidden_act\": \"gelu\", \"layer_norm_eps\": 1e-12}\n",
      (long long)s->hidden, (long long)s->layers, (long long)s->heads, (long long)s->ffn,
      (long long)s->vocab, (long long)s->positions);
  const char *yaml = arena_printf(m->a,
                                  "spcc: 1\nmodel: {huggingface: .}\n"
                                  "outputs: [last_hidden_state, pooler_output]\n"
                                  "max_batch: 4\nmax_sequence: %lld\n",
                                  (long long)s->positions);
  return dir_make(m->d, folder) && write_text(m, path_join(m->a, folder, "config.json"), config) &&
         write_text(m, path_join(m->a, folder, "model.yaml"), yaml) &&
         st_write(m->a, m->d, path_join(m->a, folder, "model.safetensors"), m->tensors, m->count,
                  "pt");
}

int main(int argc, char **argv) {
  if (argc != 11) {
    fprintf(stderr,
            "usage: %s FOLDER LAYERS HIDDEN HEADS FFN VOCAB POSITIONS BLOCK_ROWS PERCENT SEED\n",
            argv[0]);
    return 2;
  }
  static maker m;
  m.a = arena_new(MAX_MEMORY, out_of_memory, NULL);
  if (m.a == NULL) return 3;
  m.d = diag_new(m.a);
  int64_t n[9];
  for (int i = 0; i < 9; i++)
    n[i] = strtoll(argv[i + 2], NULL, 10);
  m.s = (shape){n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]};
  m.random = (uint64_t)n[8];
  add_model(&m);
  bool ok = write_folder(&m, argv[1]);
  for (const diag_message *e = diag_first(m.d); e != NULL; e = e->next)
    fprintf(stderr, "%s\n", diag_format(m.a, e));
  arena_free(m.a);
  return ok ? 0 : 1;
}
