/* One-shot magnitude pruning, of a layer or with one ranking over many. */
#include <stdlib.h>
#include <string.h>

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

static spo_status no_memory(size_t count, spo_error *error) {
  return spo_fail(error, SPO_E_MEMORY, "no memory to rank %zu layers", count);
}

/* Single weights are ranked where they are. */
static spo_status rank_weights(const spo_goal *goal, const spo_layer *layers, size_t count,
                               const spo_pool *pool, spo_error *error) {
  spo_span *spans = malloc((count + 1) * sizeof *spans);
  uint64_t total = 0;
  if (!spans) return no_memory(count, error);
  for (size_t i = 0; i < count; i++) {
    const spo_layer *l = &layers[i];
    spans[i] = (spo_span){l->name, l->w, l->mask, l->rows * l->cols};
    total += spans[i].count;
  }
  spo_status status =
      spo_select_scores(spans, count, spo_keep_count(total, goal->sparsity), pool, error);
  free(spans);
  return status;
}

/* Layers as arrays of blocks. */
typedef struct ranking {
  const spo_layer *layers;
  const spo_pattern *block;
  size_t *first; /* by layer: its first block among those of all */
  uint64_t *key;
  unsigned char *keep;
} ranking;

static size_t blocks_of(const ranking *k, const spo_layer *l) {
  return l->rows / k->block->rows * (l->cols / k->block->cols);
}

/* The place in the layer of a block's first element. */
static size_t block_at(const ranking *k, const spo_layer *l, size_t index) {
  size_t across = l->cols / k->block->cols;
  return index / across * k->block->rows * l->cols + index % across * k->block->cols;
}

static void find_keys(void *arg, size_t index) {
  const ranking *k = arg;
  const spo_layer *l = &k->layers[index];
  for (size_t b = 0; b < blocks_of(k, l); b++)
    k->key[k->first[index] + b] =
        spo_norm_key(l->w + block_at(k, l, b), l->cols, k->block->rows, k->block->cols);
}

static void mark_blocks(void *arg, size_t index) {
  const ranking *k = arg;
  const spo_layer *l = &k->layers[index];
  for (size_t b = 0; b < blocks_of(k, l); b++)
    for (size_t r = 0; r < k->block->rows; r++)
      memset(l->mask + block_at(k, l, b) + r * l->cols, k->keep[k->first[index] + b],
             k->block->cols);
}

static spo_status rank_blocks(const spo_goal *goal, const spo_layer *layers, size_t count,
                              const spo_pool *pool, spo_error *error) {
  size_t blocks = 0;
  ranking k = {.layers = layers, .block = &goal->pattern};
  k.first = malloc((count + 1) * sizeof *k.first);
  for (size_t i = 0; k.first && i < count; i++) {
    k.first[i] = blocks;
    blocks += blocks_of(&k, &layers[i]);
  }
  k.key = malloc(blocks * sizeof *k.key + 1);
  k.keep = malloc(blocks + 1);
  bool ok = k.first && k.key && k.keep;
  if (ok) {
    spo_run(pool, find_keys, &k, count);
    spo_select(k.key, blocks, (size_t)spo_keep_count(blocks, goal->sparsity), k.keep);
    spo_run(pool, mark_blocks, &k, count);
  }
  free(k.first);
  free(k.key);
  free(k.keep);
  return ok ? SPO_OK : no_memory(count, error);
}

/* Patterns that leave nothing to rank between layers. */
static spo_status prune_each(const spo_goal *goal, spo_layer *layers, size_t count,
                             spo_report *reports, const spo_pool *pool, spo_error *error) {
  spo_status status = SPO_OK;
  for (size_t i = 0; status == SPO_OK && i < count; i++)
    status = spo_magnitude(goal, &layers[i], &reports[i], pool, error);
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
  if (!blocks && goal->pattern.kind != SPO_UNSTRUCTURED)
    return prune_each(goal, layers, count, reports, pool, error);
  status = (blocks ? rank_blocks : rank_weights)(goal, layers, count, pool, error);
  for (size_t i = 0; status == SPO_OK && i < count; i++)
    drop(&layers[i], &reports[i]);
  return status;
}
