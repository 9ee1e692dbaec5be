/* two_models [-j THREADS] [-r ROUNDS] [-l LENGTH]
 *
 * Calls two models, linked into one program, from several threads at once. Models share nothing
 * that is written: a thread needs a workspace of its own, and its results must have the same bits
 * as those of a lone thread. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "first.h"
#include "second.h"
#include "spcc_rt.h"

enum { MAX_TENSORS = 8, MAX_THREADS = 256, MODELS = 2 };

/* What a model exports. */
typedef struct model {
  const spcc_info *info;
  spcc_run_fn *run;
  spcc_workspace_fn *workspace;
} model;

/* The buffers of one call. */
typedef struct buffers {
  const void *in[MAX_TENSORS];
  void *out[MAX_TENSORS];
  size_t in_bytes[MAX_TENSORS], out_bytes[MAX_TENSORS];
  void *workspace;
  size_t workspace_bytes;
  int32_t sequence;
} buffers;

typedef struct worker {
  pthread_t thread;
  const model *models;
  uint32_t rounds, seed;
  buffers call[MODELS], expected[MODELS];
  spcc_status status;
  uint64_t runs, different;
} worker;

static void *allocate(size_t bytes) {
  void *memory = spcc_alloc(bytes);
  if (memory == NULL) {
    fputs("two_models: error: out of memory\n", stderr);
    exit(1);
  }
  memset(memory, 0, bytes);
  return memory;
}

/* ---- buffers ---- */

/* Elements of a tensor for one sequence. */
static size_t elements(const spcc_tensor *t, int32_t sequence) {
  size_t count = 1;
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] == SPCC_DIM_SEQUENCE)
      count *= (size_t)sequence;
    else if (t->dim[i] != SPCC_DIM_BATCH)
      count *= (size_t)t->dim[i];
  return count;
}

static uint32_t next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 16;
}

/* Token ids below 100, which any vocabulary has, or numbers between -1 and 1. */
static void *make_input(const spcc_tensor *t, size_t count, uint32_t *seed) {
  void *data = allocate(count * 4);
  int32_t *ids = data;
  float *numbers = data;
  for (size_t i = 0; i < count; i++)
    if (t->dtype == SPCC_I32)
      ids[i] = (int32_t)(next_random(seed) % 100);
    else
      numbers[i] = (float)next_random(seed) / 32768.0f - 1.0f;
  return data;
}

/* Buffers for one sequence; inputs that may be absent are, and equal seeds make equal inputs. */
static buffers make_buffers(const model *m, int32_t sequence, uint32_t seed) {
  buffers b = {.sequence = sequence, .workspace_bytes = m->workspace(1, sequence, 1)};
  b.workspace = allocate(b.workspace_bytes);
  for (uint32_t i = 0; i < m->info->input_count; i++) {
    const spcc_tensor *t = &m->info->inputs[i];
    if (t->optional) continue;
    b.in_bytes[i] = elements(t, sequence) * 4;
    b.in[i] = make_input(t, elements(t, sequence), &seed);
  }
  for (uint32_t i = 0; i < m->info->output_count; i++) {
    b.out_bytes[i] = elements(&m->info->outputs[i], sequence) * 4;
    b.out[i] = allocate(b.out_bytes[i]);
  }
  return b;
}

static void free_buffers(const model *m, buffers *b) {
  for (uint32_t i = 0; i < m->info->input_count; i++)
    spcc_free((void *)b->in[i]);
  for (uint32_t i = 0; i < m->info->output_count; i++)
    spcc_free(b->out[i]);
  spcc_free(b->workspace);
}

static spcc_status run(const model *m, const buffers *b) {
  spcc_call call = {.size = sizeof call,
                    .cpu = spcc_cpu(),
                    .model = m->info->digest,
                    .batch = 1,
                    .sequence = b->sequence,
                    .in = b->in,
                    .out = b->out,
                    .in_bytes = b->in_bytes,
                    .out_bytes = b->out_bytes,
                    .workspace = b->workspace,
                    .workspace_bytes = b->workspace_bytes};
  return m->run(&call);
}

static int same_outputs(const model *m, const buffers *a, const buffers *b) {
  for (uint32_t i = 0; i < m->info->output_count; i++)
    if (memcmp(a->out[i], b->out[i], a->out_bytes[i]) != 0) return 0;
  return 1;
}

/* ---- threads ---- */

/* Calls both models in turn, and compares with what the lone thread got. */
static void *work(void *argument) {
  worker *w = argument;
  for (uint32_t round = 0; round < w->rounds; round++)
    for (int i = 0; i < MODELS; i++) {
      const model *m = &w->models[i];
      spcc_status status = run(m, &w->call[i]);
      if (status != SPCC_OK) w->status = status;
      w->runs++;
      w->different += status != SPCC_OK || !same_outputs(m, &w->call[i], &w->expected[i]);
    }
  return NULL;
}

/* Gives a worker its inputs and, on this thread alone, the results to expect. */
static void prepare(worker *w, const model *models, uint32_t seed, uint32_t rounds,
                    int32_t sequence) {
  *w = (worker){.models = models, .rounds = rounds, .seed = seed};
  for (int i = 0; i < MODELS; i++) {
    int32_t limit = models[i].info->max_sequence;
    int32_t length = sequence < limit ? sequence : limit;
    w->call[i] = make_buffers(&models[i], length, seed);
    w->expected[i] = make_buffers(&models[i], length, seed);
    spcc_status status = run(&models[i], &w->expected[i]);
    if (status != SPCC_OK) w->status = status;
  }
}

static void release(worker *w) {
  for (int i = 0; i < MODELS; i++) {
    free_buffers(&w->models[i], &w->call[i]);
    free_buffers(&w->models[i], &w->expected[i]);
  }
}

/* Starts the workers, waits for them; returns how many could be started. */
static uint32_t run_workers(worker *workers, uint32_t count) {
  uint32_t started = 0;
  while (started < count &&
         pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
    started++;
  for (uint32_t i = 0; i < started; i++)
    pthread_join(workers[i].thread, NULL);
  return started;
}

/* ---- the program ---- */

static int read_number(const char *text, long most, int32_t *to) {
  char *end;
  long value = strtol(text, &end, 10);
  *to = (int32_t)value;
  return end != text && *end == '\0' && value >= 1 && value <= most;
}

static int parse_arguments(int argc, char **argv, int32_t *threads, int32_t *rounds,
                           int32_t *length) {
  int ok = 1;
  for (int option; ok && (option = getopt(argc, argv, "j:r:l:")) != -1;)
    ok = option == 'j'   ? read_number(optarg, MAX_THREADS, threads)
         : option == 'r' ? read_number(optarg, 1000000, rounds)
         : option == 'l' ? read_number(optarg, 1000000, length)
                         : 0;
  return ok && optind == argc;
}

static int report(const model *models, const worker *workers, uint32_t threads) {
  uint64_t runs = 0, different = 0;
  spcc_status status = SPCC_OK;
  for (uint32_t i = 0; i < threads; i++) {
    runs += workers[i].runs;
    different += workers[i].different;
    if (workers[i].status != SPCC_OK) status = workers[i].status;
  }
  printf("%s and %s: %u threads, %llu runs, %llu with other bits than a lone thread's\n",
         models[0].info->name, models[1].info->name, threads, (unsigned long long)runs,
         (unsigned long long)different);
  if (status != SPCC_OK) fprintf(stderr, "two_models: error: %s\n", spcc_status_text(status));
  return status != SPCC_OK || different > 0;
}

int main(int argc, char **argv) {
  int32_t threads = 4, rounds = 25, length = 32;
  if (!parse_arguments(argc, argv, &threads, &rounds, &length)) {
    fprintf(stderr, "usage: %s [-j THREADS] [-r ROUNDS] [-l LENGTH]\n", argv[0]);
    return 2;
  }
  const model models[MODELS] = {{first_info(), first_run, first_workspace},
                                {second_info(), second_run, second_workspace}};
  for (int i = 0; i < MODELS; i++)
    if (models[i].info->input_count > MAX_TENSORS || models[i].info->output_count > MAX_TENSORS) {
      fprintf(stderr, "two_models: error: %s has too many tensors\n", models[i].info->name);
      return 1;
    }
  static worker workers[MAX_THREADS];
  for (int32_t i = 0; i < threads; i++)
    prepare(&workers[i], models, (uint32_t)i, (uint32_t)rounds, length);
  uint32_t started = run_workers(workers, (uint32_t)threads);
  if (started < (uint32_t)threads) fputs("two_models: error: too few threads\n", stderr);
  int failed = report(models, workers, started) || started < (uint32_t)threads;
  for (int32_t i = 0; i < threads; i++)
    release(&workers[i]);
  return failed;
}
