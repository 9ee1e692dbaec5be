/* similarity [-j THREADS] [-n PAIRS] vocab.txt [sentences.txt]
 *
 * Reads sentences, one a line, from the file or stdin, embeds them with a compiled MiniLM, and
 * prints the cosine similarity of every two, the closest first. A sentence's embedding is the mean
 * of the states of its tokens, scaled to length 1. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "minilm.h"
#include "spcc_rt.h"
#include "spcc_wordpiece.h"

enum { MAX_INPUTS = 8, MAX_OUTPUTS = 8 };

typedef struct command {
  uint32_t threads;
  size_t pairs; /* printed at most */
  const char *vocab, *sentences;
} command;

typedef struct sentences {
  char **text;
  size_t count;
} sentences;

/* The model with all that its calls need. */
typedef struct model {
  const spcc_info *info;
  uint32_t ids, states; /* which input and which output */
  size_t width;         /* floats of one state */
  uint32_t cpu;
  spcc_pool *pool;
} model;

typedef struct pair {
  size_t a, b;
  float cosine;
} pair;

static int fail(const char *what, const char *why) {
  fprintf(stderr, "similarity: error: %s: %s\n", what, why);
  return 1;
}

/* Memory for `count` elements; ends the program when there is none. */
static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  if (memory == NULL) {
    fail("memory", "out of it");
    exit(1);
  }
  return memory;
}

/* ---- input ---- */

static int parse_arguments(int argc, char **argv, command *c) {
  *c = (command){.threads = 1, .pairs = 20};
  for (int option; (option = getopt(argc, argv, "j:n:")) != -1;) {
    if (option == '?') return 0;
    char *end;
    unsigned long value = strtoul(optarg, &end, 10);
    if (*end != '\0' || end == optarg || value > 100000) return 0;
    if (option == 'j')
      c->threads = (uint32_t)value;
    else
      c->pairs = value;
  }
  if (argc - optind < 1 || argc - optind > 2) return 0;
  c->vocab = argv[optind];
  c->sentences = argv[optind + 1]; /* NULL after the last argument */
  return 1;
}

static void add_sentence(sentences *s, const char *line) {
  if ((s->count & (s->count + 1)) == 0) { /* the array has room for 2^k - 1 */
    char **larger = allocate(2 * s->count + 1, sizeof *larger);
    if (s->count > 0) memcpy(larger, s->text, s->count * sizeof *larger);
    free(s->text);
    s->text = larger;
  }
  s->text[s->count] = allocate(strlen(line) + 1, 1);
  strcpy(s->text[s->count++], line);
}

/* Reads the lines that are not empty; path NULL: stdin. */
static int read_sentences(const char *path, sentences *s) {
  FILE *f = path != NULL ? fopen(path, "r") : stdin;
  if (f == NULL) return fail(path, strerror(errno));
  char *line = NULL;
  size_t room = 0;
  while (getline(&line, &room, f) >= 0) {
    line[strcspn(line, "\r\n")] = '\0';
    if (line[0] != '\0') add_sentence(s, line);
  }
  int failed = ferror(f) ? fail(path != NULL ? path : "stdin", strerror(errno)) : 0;
  free(line);
  if (f != stdin) fclose(f);
  if (!failed && s->count < 2) failed = fail("sentences", "at least two are needed, one a line");
  return failed;
}

/* ---- the model ---- */

static uint32_t find_tensor(const spcc_tensor *t, uint32_t count, const char *name) {
  uint32_t i = 0;
  while (i < count && strcmp(t[i].name, name) != 0)
    i++;
  return i;
}

static int open_model(const command *c, model *m) {
  const spcc_info *info = minilm_info();
  m->info = info;
  m->ids = find_tensor(info->inputs, info->input_count, "input_ids");
  m->states = find_tensor(info->outputs, info->output_count, "last_hidden_state");
  if (info->input_count > MAX_INPUTS || info->output_count > MAX_OUTPUTS ||
      m->ids == info->input_count || m->states == info->output_count)
    return fail(info->name, "not a model from input_ids to last_hidden_state");
  m->width = (size_t)info->outputs[m->states].dim[2];
  m->cpu = spcc_cpu();
  m->pool = spcc_pool_new(c->threads);
  return m->pool == NULL ? fail("threads", "the system gives no more") : 0;
}

/* Floats of an output for some sentences of `tokens` tokens in all. */
static size_t output_floats(const spcc_tensor *t, size_t count, size_t tokens) {
  int per_token = t->rank > 1 && t->dim[1] == SPCC_DIM_SEQUENCE;
  size_t floats = per_token ? tokens : count;
  for (uint32_t i = per_token ? 2 : 1; i < t->rank; i++)
    floats *= (size_t)t->dim[i];
  return floats;
}

/* Runs `count` sentences, whose ids stand one behind the other in `ids`, `length` of them each;
 * writes the states of the tokens in the same order. Without padding nothing has to be masked. */
static spcc_status run_model(const model *m, int32_t count, const int32_t *length,
                             const int32_t *ids, float *states) {
  int32_t longest = 0;
  size_t tokens = 0;
  for (int32_t i = 0; i < count; i++) {
    tokens += (size_t)length[i];
    if (length[i] > longest) longest = length[i];
  }
  const void *in[MAX_INPUTS] = {NULL};
  void *out[MAX_OUTPUTS] = {NULL};
  size_t in_bytes[MAX_INPUTS] = {0}, out_bytes[MAX_OUTPUTS] = {0};
  in[m->ids] = ids;
  in_bytes[m->ids] = tokens * sizeof *ids;
  for (uint32_t i = 0; i < m->info->output_count; i++) {
    size_t floats = output_floats(&m->info->outputs[i], (size_t)count, tokens);
    out[i] = i == m->states ? states : allocate(floats, sizeof(float)); /* a pooler's, say */
    out_bytes[i] = floats * sizeof(float);
  }
  const spcc_exec *exec = spcc_pool_exec(m->pool);
  size_t bytes = minilm_workspace(count, longest, exec->threads);
  void *workspace = spcc_alloc(bytes);
  spcc_call call = {.size = sizeof call,
                    .cpu = m->cpu,
                    .model = m->info->digest,
                    .batch = count,
                    .sequence = longest,
                    .lengths = length,
                    .in = in,
                    .in_bytes = in_bytes,
                    .out = out,
                    .out_bytes = out_bytes,
                    .workspace = workspace,
                    .workspace_bytes = bytes,
                    .exec = exec};
  spcc_status status = workspace != NULL ? minilm_run(&call) : SPCC_E_MEMORY;
  spcc_free(workspace);
  for (uint32_t i = 0; i < m->info->output_count; i++)
    if (i != m->states) free(out[i]);
  return status;
}

/* ---- embeddings ---- */

/* The mean of `tokens` states, scaled to length 1. */
static void pool_states(const float *states, size_t tokens, size_t width, float *to) {
  double square = 0;
  for (size_t i = 0; i < width; i++) {
    double sum = 0;
    for (size_t t = 0; t < tokens; t++)
      sum += (double)states[t * width + i];
    to[i] = (float)(sum / (double)tokens);
    square += (double)to[i] * (double)to[i];
  }
  float scale = square > 0 ? (float)(1 / sqrt(square)) : 0.0f;
  for (size_t i = 0; i < width; i++)
    to[i] *= scale;
}

/* Tokenizes, runs and pools `count` sentences into to [count, width]. */
static int embed_batch(const model *m, const spcc_wordpiece *t, char *const *text, size_t count,
                       float *to) {
  size_t limit = (size_t)m->info->max_sequence, tokens = 0, at = 0;
  int32_t *ids = allocate(count * limit, sizeof *ids);
  int32_t *length = allocate(count, sizeof *length);
  float *states = NULL;
  spcc_wordpiece_status encoded = SPCC_WORDPIECE_OK;
  for (size_t i = 0; i < count && encoded == SPCC_WORDPIECE_OK; i++) {
    size_t n = 0;
    encoded = spcc_wordpiece_encode(t, text[i], strlen(text[i]), ids + tokens, limit, &n, NULL);
    length[i] = (int32_t)n;
    tokens += n;
  }
  int failed = encoded != SPCC_WORDPIECE_OK;
  if (failed) {
    fail("tokenizer", spcc_wordpiece_status_text(encoded));
  } else {
    states = allocate(tokens * m->width, sizeof *states);
    spcc_status status = run_model(m, (int32_t)count, length, ids, states);
    failed = status != SPCC_OK && fail(m->info->name, spcc_status_text(status));
  }
  for (size_t i = 0; !failed && i < count; at += (size_t)length[i++])
    pool_states(states + at * m->width, (size_t)length[i], m->width, to + i * m->width);
  free(states);
  free(length);
  free(ids);
  return failed;
}

static int embed(const model *m, const spcc_wordpiece *t, const sentences *s, float *to) {
  size_t batch = (size_t)m->info->max_batch;
  for (size_t i = 0; i < s->count; i += batch) {
    size_t count = s->count - i < batch ? s->count - i : batch;
    if (embed_batch(m, t, s->text + i, count, to + i * m->width)) return 1;
  }
  return 0;
}

/* ---- output ---- */

static float dot(const float *a, const float *b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)a[i] * (double)b[i];
  return (float)sum;
}

/* Closest first, then in the order of the sentences. */
static int compare_pairs(const void *x, const void *y) {
  const pair *p = x, *q = y;
  if (p->cosine != q->cosine) return p->cosine < q->cosine ? 1 : -1;
  if (p->a != q->a) return p->a < q->a ? -1 : 1;
  return p->b < q->b ? -1 : p->b > q->b;
}

static void print_pairs(const sentences *s, const float *embedding, size_t width, size_t most) {
  pair *pairs = allocate(s->count * (s->count - 1) / 2, sizeof *pairs);
  size_t count = 0;
  for (size_t a = 0; a < s->count; a++)
    for (size_t b = a + 1; b < s->count; b++)
      pairs[count++] = (pair){a, b, dot(embedding + a * width, embedding + b * width, width)};
  qsort(pairs, count, sizeof *pairs, compare_pairs);
  for (size_t i = 0; i < count && i < most; i++)
    printf("%6.3f  %s | %s\n", (double)pairs[i].cosine, s->text[pairs[i].a], s->text[pairs[i].b]);
  free(pairs);
}

int main(int argc, char **argv) {
  command c;
  if (!parse_arguments(argc, argv, &c)) {
    fprintf(stderr, "usage: %s [-j THREADS] [-n PAIRS] vocab.txt [sentences.txt]\n", argv[0]);
    return 2;
  }
  sentences s = {0};
  model m = {0};
  spcc_wordpiece *t = NULL;
  float *embedding = NULL;
  spcc_wordpiece_status opened = spcc_wordpiece_open(c.vocab, NULL, &t);
  int failed = opened != SPCC_WORDPIECE_OK && fail(c.vocab, spcc_wordpiece_status_text(opened));
  failed = failed || read_sentences(c.sentences, &s) || open_model(&c, &m);
  if (!failed) {
    embedding = allocate(s.count * m.width, sizeof *embedding);
    failed = embed(&m, t, &s, embedding);
  }
  if (!failed) print_pairs(&s, embedding, m.width, c.pairs);
  for (size_t i = 0; i < s.count; i++)
    free(s.text[i]);
  free(s.text);
  free(embedding);
  spcc_wordpiece_free(t);
  spcc_pool_free(m.pool);
  return failed;
}
