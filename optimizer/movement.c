/* Movement pruning: "Movement pruning: adaptive sparsity by fine-tuning" (Sanh et al., 2020). */
#include <math.h>

#include "optimizer/lowrank.h"

/* Of a tensor, at least this share is kept by soft scores. */
static const double least_kept = 0.005;

/* The threshold of soft scores at a step: it rises as a sparsity would. */
static double threshold_at(const spo_recipe *recipe, uint64_t step) {
  spo_recipe rising = *recipe;
  rising.initial_sparsity = 0;
  rising.goal = (spo_goal){.pattern = {.kind = SPO_UNSTRUCTURED}, .sparsity = recipe->threshold};
  return spo_recipe_sparsity(&rising, step, 1);
}

typedef struct movement_work {
  const float *w, *scores, *g;
  float *out, *grad_scores;
  unsigned char *mask;
  const unsigned char *kept;
  size_t count;
  double limit;   /* of soft scores: those above are kept */
  double penalty; /* of a sigmoid, on the gradient */
} movement_work;

static size_t block_end(const movement_work *x, size_t index) {
  size_t end = (index + 1) * SPO_GRAIN;
  return end < x->count ? end : x->count;
}

/* ---- forward ---- */

static void soft_task(void *arg, size_t index) {
  const movement_work *x = arg;
  for (size_t i = index * SPO_GRAIN; i < block_end(x, index); i++)
    x->mask[i] = (double)x->scores[i] > x->limit;
}

static spo_status check_finite(const movement_work *x, const char *name, spo_error *error) {
  for (size_t i = 0; i < x->count; i++)
    if (!isfinite(x->scores[i]))
      return spo_fail(error, SPO_E_NONFINITE, "tensor '%s': score %zu is not finite", name, i);
  return SPO_OK;
}

/* sigmoid(s) > threshold is s > log(threshold / (1 - threshold)). */
static spo_status soft_mask(movement_work *x, double threshold, const spo_tensor *tensor,
                            const spo_pool *pool, spo_error *error) {
  uint64_t kept = 0, least = spo_keep_count(x->count, 1 - least_kept);
  spo_status status = check_finite(x, tensor->name, error);
  if (status != SPO_OK) return status;
  x->limit = threshold > 0 ? log(threshold / (1 - threshold)) : -INFINITY;
  spo_run(pool, soft_task, x, spo_blocks(x->count, SPO_GRAIN));
  for (size_t i = 0; i < x->count; i++)
    kept += x->mask[i];
  if (kept >= least) return SPO_OK;
  const spo_span span = {tensor->name, x->scores, x->mask, x->count};
  return spo_select_signed(&span, 1, least, pool, error);
}

static void keep_task(void *arg, size_t index) {
  const movement_work *x = arg;
  for (size_t i = index * SPO_GRAIN; i < block_end(x, index); i++)
    x->out[i] = x->mask[i] ? x->w[i] : 0;
}

spo_status spo_movement_forward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w,
                                const float *scores, uint64_t step, unsigned char *mask, float *out,
                                const spo_pool *pool, spo_error *error) {
  spo_status status = spo_lowrank_check(recipe, SPO_MOVEMENT, tensor, error);
  if (status != SPO_OK) return status;
  movement_work x = {
      .w = w, .scores = scores, .mask = mask, .out = out, .count = tensor->rows * tensor->cols};
  status = recipe->soft ? soft_mask(&x, threshold_at(recipe, step), tensor, pool, error)
                        : spo_lowrank_project(recipe, tensor, step, scores, mask, pool, error);
  if (status == SPO_OK) spo_run(pool, keep_task, &x, spo_blocks(x.count, SPO_GRAIN));
  return status;
}

spo_status spo_movement_finish(const spo_recipe *recipe, const spo_tensor *tensor, const float *w,
                               const float *scores, unsigned char *mask, float *out,
                               spo_report *report, const spo_pool *pool, spo_error *error) {
  spo_status status =
      spo_movement_forward(recipe, tensor, w, scores, recipe->steps, mask, out, pool, error);
  if (status == SPO_OK) spo_lowrank_report(mask, out, tensor->rows * tensor->cols, report);
  return status;
}

/* ---- backward ---- */

/* The derivative of the sigmoid. */
static double sigmoid_slope(double s) {
  double e = exp(-fabs(s));
  return e / ((1 + e) * (1 + e));
}

static void backward_task(void *arg, size_t index) {
  const movement_work *x = arg;
  for (size_t i = index * SPO_GRAIN; i < block_end(x, index); i++) {
    float g = x->g[i];
    x->grad_scores[i] = g * x->w[i];
    if (x->penalty > 0)
      x->grad_scores[i] += (float)(x->penalty * sigmoid_slope((double)x->scores[i]));
    x->out[i] = x->kept[i] ? g : 0;
  }
}

spo_status spo_movement_backward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w,
                                 const float *scores, uint64_t step, const unsigned char *mask,
                                 const float *g, float *grad_w, float *grad_scores,
                                 const spo_pool *pool, spo_error *error) {
  spo_status status = spo_lowrank_check(recipe, SPO_MOVEMENT, tensor, error);
  if (status != SPO_OK) return status;
  movement_work x = {.w = w,
                     .scores = scores,
                     .g = g,
                     .kept = mask,
                     .out = grad_w,
                     .grad_scores = grad_scores,
                     .count = tensor->rows * tensor->cols};
  if (recipe->soft && x.count > 0)
    x.penalty =
        recipe->score_penalty * threshold_at(recipe, step) / recipe->threshold / (double)x.count;
  spo_run(pool, backward_task, &x, spo_blocks(x.count, SPO_GRAIN));
  return SPO_OK;
}
