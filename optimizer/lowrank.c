/* What PST and movement pruning share: the checks of their calls, masks by score, and reports. */
#include "optimizer/lowrank.h"

spo_status spo_lowrank_check(const spo_recipe *recipe, spo_method_id method,
                             const spo_tensor *tensor, spo_error *error) {
  if (recipe->method != method)
    return spo_fail(error, SPO_E_VALUE, "tensor '%s': the recipe is one of another method than %s",
                    tensor->name, spo_method_name(method));
  spo_status status = spo_recipe_check(recipe, error);
  if (status != SPO_OK) return status;
  return spo_goal_check(&recipe->goal, tensor->name, tensor->rows, tensor->cols, error);
}

spo_status spo_lowrank_project(const spo_recipe *recipe, const spo_tensor *tensor, uint64_t step,
                               const float *scores, unsigned char *mask, const spo_pool *pool,
                               spo_error *error) {
  spo_goal goal = spo_goal_at(&recipe->goal, spo_recipe_sparsity(recipe, step, 1));
  return spo_project_signed(&goal, tensor->name, scores, tensor->rows, tensor->cols, mask, pool,
                            error);
}

void spo_lowrank_report(const unsigned char *mask, const float *w, size_t count, spo_report *out) {
  *out = (spo_report){.total = count};
  for (size_t i = 0; i < count; i++) {
    out->kept += mask[i];
    out->nonzero += w[i] != 0;
  }
}
