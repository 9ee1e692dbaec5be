/* The optimal brain surgeon, column by column: what SparseGPT and SparseLLM prune with. */
#ifndef SPO_OBS_H
#define SPO_OBS_H

#include "optimizer/linalg.h"

typedef struct spo_obs {
  const char *name;
  const spo_factor *factor; /* of the inputs */
  const spo_goal *goal;     /* NULL: mask is given */
  size_t block;             /* columns that are ranked together and updated at once */
  float *w;                 /* [rows, cols], pruned in place */
  unsigned char *mask;      /* [rows * cols] */
  size_t rows, cols;
  double loss; /* out: |(W - W') X|^2, with the damping */
} spo_obs;

/* Chooses the mask, unless it is given, and updates the weights that are kept; dropped ones are +0.
 * SPO_E_MEMORY, or SPO_E_NONFINITE where updates overflow: w and mask are of no use then. */
spo_status spo_obs_prune(spo_obs *o, const spo_pool *pool, spo_error *error);

/* The best weights for the mask: each row of out[rows, cols] becomes the least-squares solution on
 * the inputs that it keeps, with the damped Gram matrix; w are the weights before pruning. */
spo_status spo_refit_rows(const char *name, const spo_gram *gram, const spo_factor *factor,
                          const float *w, const unsigned char *mask, float *out, size_t rows,
                          const spo_pool *pool, spo_error *error);

#endif
