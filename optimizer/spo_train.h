/* Methods that act while a model trains, and the steps of the optimizers that they act in.
 *
 * A training loop calls, for each tensor that is to become sparse:
 *
 *   spo_context_create, spo_begin         once
 *   spo_grad                              after the backward pass, before gradients are clipped
 *   spo_step, or spo_after                the update itself, or after another optimizer's update
 *   spo_epoch                             at the end of each epoch
 *   spo_finish                            once: final weights, mask and report
 *
 * All arrays are the caller's, of rows * cols elements, and may not overlap. */
#ifndef SPO_TRAIN_H
#define SPO_TRAIN_H

#include "spo_recipe.h"

/* ---- optimizers ---- */
typedef enum spo_rule {
  SPO_ADAMW, /* as torch.optim.AdamW */
  SPO_SGD    /* as torch.optim.SGD: beta1 is the momentum, decay is added to the gradient */
} spo_rule;

typedef struct spo_optimizer {
  spo_rule rule;
  double lr, beta1, beta2, epsilon, decay;
  uint64_t step; /* of this update, from 1, for the moments' bias; 0: as many as the state counts */
} spo_optimizer;

/* PyTorch's defaults of AdamW, with this learning rate. */
void spo_optimizer_adamw(spo_optimizer *out, double lr);

/* The weights, their gradient, and AdamW's exp_avg and exp_avg_sq (SGD: m alone, its momentum
 * buffer, from zeros; may be NULL without momentum). */
typedef struct spo_tensors {
  float *w, *g, *m, *v;
} spo_tensors;

/* One update of `count` weights; o->step says which. SPO_E_VALUE. */
spo_status spo_update(const spo_optimizer *o, const spo_tensors *t, size_t count,
                      const spo_pool *pool, spo_error *error);

/* ---- proximal operators ---- */
/* argmin over x of penalty(x) + sum of d (x - a)^2 / (2 step): a step of `step` under a penalty of
 * strength lambda. */
typedef struct spo_prox_spec {
  spo_penalty penalty;
  double step, lambda;
  double epsilon;                /* REWEIGHTED: the penalty of x is lambda / (|before| + epsilon) */
  double mcp_gamma;              /* MCP */
  size_t group_rows, group_cols; /* GROUP: a group's size, dividing the tensor's; 0: all of it */
} spo_prox_spec;

/* Replaces w [rows, cols] by its proximal point. `before` (may be NULL: w itself) are the weights
 * that REWEIGHTED takes its strength from; `d` (may be NULL: ones) is the metric, positive.
 * Values that are not finite stay so. SPO_E_VALUE, SPO_E_SHAPE. */
spo_status spo_prox(const spo_prox_spec *spec, const char *name, float *w, const float *before,
                    const float *d, size_t rows, size_t cols, const spo_pool *pool,
                    spo_error *error);

/* ---- methods ---- */
typedef struct spo_tensor {
  const char *name;
  size_t rows, cols;
} spo_tensor;

/* What one tensor is to become. Never changes, so that threads may share it. */
typedef struct spo_context spo_context;

/* Checks the recipe, of a TRAINING method, against the tensor; both are copied. */
spo_status spo_context_create(const spo_recipe *recipe, const spo_tensor *tensor, spo_context **out,
                              spo_error *error);
void spo_context_free(spo_context *context); /* NULL is fine */

/* The caller keeps a tensor's state: one array of so many bytes, at an address that 8 divides. It
 * has no pointers: save it to resume a training, and load it anywhere. */
size_t spo_state_bytes(const spo_context *context);
/* That `state` was written under this very recipe, for a tensor of this name and shape, and that
 * its contents make sense. The functions below check all but the contents: call this after a state
 * was loaded. SPO_E_STATE. */
spo_status spo_state_check(const spo_context *context, const void *state, size_t bytes,
                           spo_error *error);

typedef struct spo_progress {
  uint64_t step;         /* updates done */
  uint64_t frozen;       /* 1 once the mask stays for good */
  uint64_t forced;       /* weights that the method left non-zero, and freezing set to zero */
  uint64_t moved, young; /* units dropped and grown by the last change; those of them just grown */
  uint64_t explored;     /* units that were active at any time */
  double primal, dual;   /* ADMM: |W - Z| / |W| and rho |Z - previous Z| */
} spo_progress;

spo_status spo_state_progress(const spo_context *context, const void *state, spo_progress *out,
                              spo_error *error);

/* Each function below needs the arrays that its comment names; others may be NULL. After an error
 * nothing has changed, but for these:
 * - SPO_E_NONFINITE of spo_step with a finite gradient, or of spo_after with finite weights: they
 *   or the moments have overflowed, now or at a step before, and the training is lost;
 * - SPO_E_MEMORY of spo_step and spo_after: the weights may have been updated, and the step is not
 *   counted; go on from a saved state;
 * - any error of spo_after: dropped weights and their moments may be 0 already. */

/* w: fills the state; sets dropped weights to 0 in methods that drop some at once. */
spo_status spo_begin(const spo_context *context, void *state, size_t bytes, const spo_tensors *t,
                     const spo_pool *pool, spo_error *error);
/* w, g: adds the method's term to the gradient, or sets the gradient of dropped weights to 0. */
spo_status spo_grad(const spo_context *context, void *state, const spo_tensors *t,
                    const spo_pool *pool, spo_error *error);
/* w, g, m, v: one update. */
spo_status spo_step(const spo_context *context, void *state, const spo_optimizer *o,
                    const spo_tensors *t, const spo_pool *pool, spo_error *error);
/* The same for weights that another optimizer has just updated, with the learning rate and the
 * betas of `o`. w; m, v where the optimizer has them, so that dropped weights' are set to 0; g for
 * SPO_RIGL; v for the metric SPO_ADAM. */
spo_status spo_after(const spo_context *context, void *state, const spo_optimizer *o,
                     const spo_tensors *t, const spo_pool *pool, spo_error *error);
/* w: an epoch has ended. */
spo_status spo_epoch(const spo_context *context, void *state, const spo_tensors *t,
                     const spo_pool *pool, spo_error *error);
/* w: the final weights, mask (bytes, 0 or 1) and report. */
spo_status spo_finish(const spo_context *context, void *state, const spo_tensors *t,
                      unsigned char *mask, spo_report *report, const spo_pool *pool,
                      spo_error *error);

#endif
