/* SparseGPT for one linear. */
#include <stdlib.h>
#include <string.h>

#include "optimizer/gram.h"
#include "optimizer/obs.h"

static spo_status prune_copy(const spo_recipe *recipe, spo_obs *o, const spo_layer *layer,
                             const spo_gram *gram, const spo_pool *pool, spo_error *error) {
  memcpy(o->w, layer->w, layer->rows * layer->cols * sizeof *o->w);
  spo_status status = spo_obs_prune(o, pool, error);
  if (status != SPO_OK || recipe->refit == SPO_REFIT_NONE) return status;
  return spo_refit_rows(layer->name, gram, o->factor, layer->w, o->mask, o->w, layer->rows, pool,
                        error);
}

static spo_status prune_with(const spo_recipe *recipe, const spo_factor *factor, spo_layer *layer,
                             const spo_gram *gram, spo_report *report, const spo_pool *pool,
                             spo_error *error) {
  size_t count = layer->rows * layer->cols;
  spo_obs o = {.name = layer->name,
               .factor = factor,
               .goal = &recipe->goal,
               .block = (size_t)recipe->block,
               .w = malloc(count * sizeof *o.w + 1),
               .mask = malloc(count + 1),
               .rows = layer->rows,
               .cols = layer->cols};
  spo_status status =
      o.w && o.mask ? prune_copy(recipe, &o, layer, gram, pool, error)
                    : spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory to prune it", o.name);
  if (status == SPO_OK) spo_commit(layer, o.w, o.mask, report);
  free(o.w);
  free(o.mask);
  return status;
}

spo_status spo_sparsegpt(const spo_recipe *recipe, spo_layer *layer, const spo_gram *gram,
                         spo_report *report, const spo_pool *pool, spo_error *error) {
  spo_factor factor;
  spo_status status = spo_recipe_check_as(recipe, SPO_SPARSEGPT, error);
  if (status == SPO_OK) status = spo_check_layer(&recipe->goal, layer, gram, true, error);
  if (status == SPO_OK)
    status = spo_factor_make(&factor, gram, recipe->damping, layer->name, pool, error);
  if (status != SPO_OK) return status;
  status = prune_with(recipe, &factor, layer, gram, report, pool, error);
  spo_factor_free(&factor);
  return status;
}
