/* Times libspo's one-shot methods on random layers, for bench/prune_speed.py:
 *
 *   prune_probe sparsegpt ROWS COLS TOKENS THREADS   seconds for the Gram matrix, and to prune
 *   prune_probe sparsellm INPUTS INNER TOKENS THREADS   seconds for a GELU feed-forward part */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "optimizer/spo_oneshot.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Ends the program, as nothing can be timed. */
static void check(spo_status status, const spo_error *error) {
  if (status == SPO_OK) return;
  fprintf(stderr, "prune_probe: %s\n", error->text);
  exit(1);
}

static void *room(size_t bytes) {
  void *p = malloc(bytes + 1);
  if (!p) exit(1);
  return p;
}

/* Neighbours are correlated, by a half. */
static float *random_matrix(size_t rows, size_t cols, uint64_t seed, double size) {
  float *x = room(rows * cols * sizeof *x);
  spo_random r = {.seed = seed};
  for (size_t i = 0; i < rows * cols; i++)
    x[i] = (float)((spo_random_unit(&r, i) - 0.5) * size) + (i % cols ? x[i - 1] / 2 : 0);
  return x;
}

static spo_layer random_layer(const char *name, size_t rows, size_t cols, uint64_t seed) {
  return (spo_layer){name, random_matrix(rows, cols, seed, 0.1), room(rows * cols), rows, cols};
}

static void end_layer(spo_layer *l) {
  free(l->w);
  free(l->mask);
}

static void time_sparsegpt(size_t rows, size_t cols, size_t tokens, const spo_pool *pool) {
  float *x = random_matrix(tokens, cols, 1, 2);
  spo_layer layer = random_layer("w", rows, cols, 2);
  spo_recipe recipe;
  spo_report report;
  spo_error error;
  spo_gram *gram;
  spo_recipe_init(&recipe, SPO_SPARSEGPT);
  recipe.goal.sparsity = 0.5;
  double start = now();
  check(spo_gram_open(SPO_GRAM_WHOLE, cols, &gram, &error), &error);
  check(spo_gram_add(gram, "w", x, tokens, pool, &error), &error);
  double middle = now();
  check(spo_sparsegpt(&recipe, &layer, gram, &report, pool, &error), &error);
  printf("%.6f %.6f\n", middle - start, now() - middle);
  spo_gram_close(gram);
  end_layer(&layer);
  free(x);
}

static void time_sparsellm(size_t inputs, size_t inner, size_t tokens, const spo_pool *pool) {
  float *x = random_matrix(tokens, inputs, 1, 2);
  spo_ffn ffn = {.activation = SPO_GELU,
                 .up = random_layer("up", inner, inputs, 2),
                 .down = random_layer("down", inputs, inner, 3)};
  spo_tokens chunk = {x, tokens};
  spo_ffn_report report = {.trace = NULL};
  spo_recipe recipe;
  spo_error error;
  spo_recipe_init(&recipe, SPO_SPARSELLM);
  recipe.goal.sparsity = 0.7;
  double start = now();
  check(spo_sparsellm(&recipe, &ffn, &chunk, 1, &report, pool, &error), &error);
  printf("%.6f\n", now() - start);
  end_layer(&ffn.up);
  end_layer(&ffn.down);
  free(x);
}

int main(int argc, char **argv) {
  size_t size[4];
  spo_pool *pool;
  spo_error error;
  if (argc != 6) {
    fprintf(stderr, "usage: prune_probe sparsegpt|sparsellm SIZE SIZE TOKENS THREADS\n");
    return 2;
  }
  for (int i = 0; i < 4; i++)
    size[i] = strtoul(argv[i + 2], NULL, 10);
  check(spo_pool_open((unsigned)size[3], &pool, &error), &error);
  (strcmp(argv[1], "sparsegpt") == 0 ? time_sparsegpt : time_sparsellm)(size[0], size[1], size[2],
                                                                        pool);
  spo_pool_close(pool);
  return 0;
}
