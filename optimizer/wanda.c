/* Wanda ("A Simple and Effective Pruning Approach for Large Language Models", Sun et al., 2023):
 * a weight is worth its magnitude times the L2 norm of its input, compared within an output.
 * Nothing is updated.
 *
 * Ours: blocks RxC are ranked by the L2 norm of those products, within the R outputs that they
 * share. */
#include <math.h>
#include <stdlib.h>

#include "optimizer/gram.h"

typedef struct ranking {
  const spo_goal *goal;
  const spo_layer *layer;
  float *score, *norm; /* norms in units of the largest one: nothing can overflow */
  unsigned char *mask;
  size_t band;        /* rows that are ranked together */
  spo_status *status; /* by band */
} ranking;

static void find_norms(ranking *k, const spo_gram *gram) {
  double most = 0;
  for (size_t i = 0; i < gram->inputs; i++)
    most = fmax(most, gram->norm2[i]);
  for (size_t i = 0; i < gram->inputs; i++)
    k->norm[i] = most > 0 ? (float)(sqrt(gram->norm2[i]) / sqrt(most)) : 0;
}

static void rank_band(void *arg, size_t index) {
  const ranking *k = arg;
  size_t cols = k->layer->cols, first = index * k->band * cols;
  for (size_t r = 0; r < k->band; r++)
    for (size_t c = 0; c < cols; c++)
      k->score[first + r * cols + c] = k->layer->w[first + r * cols + c] * k->norm[c];
  k->status[index] = spo_project(k->goal, k->layer->name, k->score + first, k->band, cols,
                                 k->mask + first, NULL, NULL);
}

static spo_status rank_bands(ranking *k, const spo_pool *pool, spo_error *error) {
  size_t bands = k->layer->rows / k->band;
  spo_run(pool, rank_band, k, bands);
  for (size_t i = 0; i < bands; i++)
    if (k->status[i] != SPO_OK)
      return spo_fail(error, k->status[i], "tensor '%s': no memory to rank it", k->layer->name);
  return SPO_OK;
}

spo_status spo_wanda(const spo_recipe *recipe, spo_layer *layer, const spo_gram *gram,
                     spo_report *report, const spo_pool *pool, spo_error *error) {
  const spo_pattern *p = &recipe->goal.pattern;
  spo_status status = spo_recipe_check_as(recipe, SPO_WANDA, error);
  if (status == SPO_OK) status = spo_check_layer(&recipe->goal, layer, gram, false, error);
  if (status != SPO_OK) return status;
  size_t count = layer->rows * layer->cols;
  ranking k = {.goal = &recipe->goal,
               .layer = layer,
               .score = malloc(count * sizeof *k.score + 1),
               .norm = malloc(layer->cols * sizeof *k.norm),
               .mask = malloc(count + 1),
               .band = p->kind == SPO_BLOCK || p->kind == SPO_NM ? p->rows : 1,
               .status = calloc(layer->rows + 1, sizeof *k.status)};
  if (k.score && k.norm && k.mask && k.status) {
    find_norms(&k, gram);
    status = rank_bands(&k, pool, error);
  } else {
    status = spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory to rank it", layer->name);
  }
  if (status == SPO_OK) spo_commit(layer, layer->w, k.mask, report);
  free(k.score);
  free(k.norm);
  free(k.mask);
  free(k.status);
  return status;
}
