/* One-shot magnitude pruning, of a layer or with one ranking over many. */
#include <math.h>
#include <stdlib.h>

#include "optimizer/gram.h"

/* Drops what the mask drops. */
static void drop(spo_layer *layer, spo_report *report) {
  spo_commit(layer, layer->w, layer->mask, report);
}

spo_status spo_magnitude(const spo_goal *goal, spo_layer *layer, spo_report *report,
                         const spo_pool *pool, spo_error *error) {
  spo_status status =
      spo_project(goal, layer->name, layer->w, layer->rows, layer->cols, layer->mask, pool, error);
  if (status == SPO_OK) drop(layer, report);
  return status;
}

/* ---- one ranking over many layers ---- */

/* Layers as arrays of units, which are kept or dropped whole. */
typedef struct ranking {
  const spo_layer *layers;
  size_t *first;     /* by layer: its first unit among those of all */
  size_t rows, cols; /* of a unit */
  float *norm;
  unsigned char *keep;
} ranking;

static size_t units_of(const ranking *k, const spo_layer *l) {
  return l->rows / k->rows * (l->cols / k->cols);
}

/* The place in the layer of a unit's first element. */
static size_t unit_at(const ranking *k, const spo_layer *l, size_t unit) {
  size_t across = l->cols / k->cols;
  return unit / across * k->rows * l->cols + unit % across * k->cols;
}

/* By the root of the number of elements, so that it is in the range of the weights. */
static float norm_of(const ranking *k, const spo_layer *l, size_t unit) {
  const float *w = l->w + unit_at(k, l, unit);
  double sum = 0;
  for (size_t r = 0; r < k->rows; r++)
    for (size_t c = 0; c < k->cols; c++)
      sum += (double)w[r * l->cols + c] * (double)w[r * l->cols + c];
  return (float)sqrt(sum / (double)(k->rows * k->cols));
}

static void find_norms(void *arg, size_t index) {
  const ranking *k = arg;
  const spo_layer *l = &k->layers[index];
  for (size_t u = 0; u < units_of(k, l); u++)
    k->norm[k->first[index] + u] = norm_of(k, l, u);
}

static void mark_units(void *arg, size_t index) {
  const ranking *k = arg;
  const spo_layer *l = &k->layers[index];
  for (size_t u = 0; u < units_of(k, l); u++)
    for (size_t r = 0; r < k->rows; r++)
      for (size_t c = 0; c < k->cols; c++)
        l->mask[unit_at(k, l, u) + r * l->cols + c] = k->keep[k->first[index] + u];
}

/* Ranks the units; masks are written. */
static spo_status rank(ranking *k, const spo_goal *goal, size_t count, const spo_pool *pool,
                       spo_error *error) {
  size_t units = 0;
  for (size_t i = 0; i < count; i++) {
    k->first[i] = units;
    units += units_of(k, &k->layers[i]);
  }
  k->norm = malloc(units * sizeof *k->norm + 1);
  k->keep = malloc(units + 1);
  if (!k->norm || !k->keep)
    return spo_fail(error, SPO_E_MEMORY, "no memory to rank %zu units", units);
  const spo_span span = {"all layers", k->norm, k->keep, units};
  spo_run(pool, find_norms, k, count);
  spo_status status =
      spo_select_scores(&span, 1, spo_keep_count(units, goal->sparsity), pool, error);
  if (status == SPO_OK) spo_run(pool, mark_units, k, count);
  return status;
}

spo_status spo_magnitude_global(const spo_goal *goal, spo_layer *layers, size_t count,
                                spo_report *reports, const spo_pool *pool, spo_error *error) {
  bool blocks = goal->pattern.kind == SPO_BLOCK;
  spo_status status = SPO_OK;
  for (size_t i = 0; status == SPO_OK && i < count; i++) {
    const spo_layer *l = &layers[i];
    status = spo_goal_check(goal, l->name, l->rows, l->cols, error);
    if (status == SPO_OK) status = spo_check_finite(l->name, l->w, l->rows, l->cols, error);
  }
  if (status != SPO_OK) return status;
  if (!blocks && goal->pattern.kind != SPO_UNSTRUCTURED) {
    for (size_t i = 0; status == SPO_OK && i < count; i++)
      status = spo_magnitude(goal, &layers[i], &reports[i], pool, error);
    return status;
  }
  ranking k = {.layers = layers,
               .first = malloc((count + 1) * sizeof *k.first),
               .rows = blocks ? goal->pattern.rows : 1,
               .cols = blocks ? goal->pattern.cols : 1};
  status = k.first ? rank(&k, goal, count, pool, error)
                   : spo_fail(error, SPO_E_MEMORY, "no memory to rank %zu layers", count);
  for (size_t i = 0; status == SPO_OK && i < count; i++)
    drop(&layers[i], &reports[i]);
  free(k.first);
  free(k.norm);
  free(k.keep);
  return status;
}
