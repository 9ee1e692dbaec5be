/* Prunes one layer with libspo alone: prune_layer PATTERN [SPARSITY], such as 2:4, or 4x1 0.9.
 * The layer has 768 x 768 normal-like weights; two threads share the work. */
#include <stdio.h>
#include <stdlib.h>

#include <spo.h>

enum { ROWS = 768, COLS = 768, COUNT = ROWS * COLS, THREADS = 2 };

static int fail(const char *why) {
  fprintf(stderr, "prune_layer: %s\n", why);
  return 1;
}

/* Sums of four uniform numbers; the same in every run. */
static void fill(float *w) {
  const spo_random random = {.seed = 1, .stream = spo_name_hash("layer")};
  for (size_t i = 0; i < COUNT; i++) {
    double sum = -2;
    for (size_t k = 0; k < 4; k++)
      sum += spo_random_unit(&random, 4 * i + k);
    w[i] = (float)sum;
  }
}

static double squares(const float *w) {
  double sum = 0;
  for (size_t i = 0; i < COUNT; i++)
    sum += (double)w[i] * (double)w[i];
  return sum;
}

int main(int argc, char **argv) {
  static float w[COUNT];
  static unsigned char mask[COUNT];
  char pattern[SPO_PATTERN_TEXT];
  spo_goal goal = {.sparsity = argc > 2 ? strtod(argv[2], NULL) : SPO_IMPLIED};
  spo_layer layer = {.name = "layer", .w = w, .mask = mask, .rows = ROWS, .cols = COLS};
  spo_report report;
  spo_error error;
  spo_pool *pool;

  if (argc < 2 || argc > 3 || !spo_pattern_parse(argv[1], &goal.pattern))
    return fail("usage: prune_layer PATTERN [SPARSITY], such as 2:4, or 4x1 0.9");
  fill(w);
  double before = squares(w);
  if (spo_pool_open(THREADS, &pool, &error) != SPO_OK) return fail(error.text);
  spo_status status = spo_magnitude(&goal, &layer, &report, pool, &error);
  spo_pool_close(pool);
  if (status != SPO_OK) return fail(error.text);
  printf("%s: %llu of %llu weights kept, with %.1f %% of the squared norm\n",
         spo_pattern_print(&goal.pattern, pattern), (unsigned long long)report.kept,
         (unsigned long long)report.total, 100 * squares(w) / before);
  return 0;
}
