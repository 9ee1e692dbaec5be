/* What to reach at a step, while the sparsity rises: cubic, "To prune, or not to prune" (Zhu and
 * Gupta, 2017). */
#include "optimizer/internal.h"

uint64_t spo_step_at(const spo_recipe *r, double share) {
  return (uint64_t)(share * (double)r->steps + 1e-6);
}

double spo_recipe_sparsity(const spo_recipe *r, uint64_t step, uint64_t every) {
  double to = r->goal.sparsity;
  spo_pattern_implies(&r->goal.pattern, &to);
  spo_schedule s = {.curve = SPO_CUBIC,
                    .from = r->initial_sparsity < to ? r->initial_sparsity : to,
                    .to = to,
                    .begin = spo_step_at(r, r->begin),
                    .end = spo_step_at(r, r->end),
                    .every = every};
  return step < s.begin ? 0 : spo_schedule_at(&s, step);
}

spo_goal spo_goal_at(const spo_goal *end, double sparsity) {
  spo_goal goal = *end;
  if (goal.pattern.kind == SPO_NM) {
    uint32_t m = goal.pattern.m, n = (uint32_t)spo_keep_count(m, sparsity);
    goal.pattern.n = n > end->pattern.n ? n : end->pattern.n;
    goal.sparsity = SPO_IMPLIED;
  } else if (goal.pattern.kind != SPO_DENSE) {
    goal.sparsity = sparsity < end->sparsity ? sparsity : end->sparsity;
  }
  return goal;
}
