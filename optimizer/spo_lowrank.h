/* Methods that train tensors of their own beside a weight: PST and movement pruning.
 *
 * They stand in the forward and the backward pass. For each weight, at each step, a program
 *
 *   calls spo_pst_forward, and computes with the sparse weight that it gives;
 *   calls spo_pst_backward with the gradient with respect to that sparse weight;
 *   updates the method's own tensors with the gradients that it gets, by any optimizer;
 *
 * and in the end calls spo_pst_finish, which gives an ordinary weight and its mask. Movement
 * pruning is used in the same way. All arrays are the caller's and may not overlap, except where
 * said so; `mask` and weights have rows * cols elements. A gradient that is not finite passes
 * through. After an error the arrays to be written are of no use. */
#ifndef SPO_LOWRANK_H
#define SPO_LOWRANK_H

#include "spo_train.h"

/* ---- PST ---- */
/* "Parameter-efficient sparsity for large language models fine-tuning" (Li et al., IJCAI 2022).
 * The weight is W = W0 + beta UV, its scores are |W| + alpha_low_rank AB + alpha_structure (R + C);
 * those of largest score are kept. W0 never changes. */
typedef struct spo_pst {
  float *u, *v; /* [rows, rank_weights], [rank_weights, cols] */
  float *a, *b; /* [rows, rank_scores], [rank_scores, cols] */
  float *r, *c; /* [rows], [cols] */
} spo_pst;

/* How many numbers are trained: (rows + cols) * (rank_scores + rank_weights + 1), at most 2^48 for
 * tensors that fit a memory. They are one array, which has the parts in the order above. */
size_t spo_pst_count(const spo_recipe *recipe, size_t rows, size_t cols);
/* Where the parts are in `params`. */
spo_pst spo_pst_parts(const spo_recipe *recipe, const spo_tensor *tensor, float *params);

/* Fills params: U and A standard normal, by the recipe's seed and the tensor's name; others 0.
 * Until they are trained PST is magnitude pruning. Checks the recipe against the tensor. */
spo_status spo_pst_begin(const spo_recipe *recipe, const spo_tensor *tensor, float *params,
                         spo_error *error);
/* The mask and the sparse weight after `step` updates. As long as neither params nor
 * spo_recipe_sparsity change both stay the same, and need not be asked for again. */
spo_status spo_pst_forward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                           const float *params, uint64_t step, unsigned char *mask, float *w,
                           const spo_pool *pool, spo_error *error);
/* Sets grad, which has the order of params, for the gradient g with respect to the sparse weight.
 * The mask's gradient is passed on to the scores (straight through), and by |W| to the weights.
 * work: rows * cols numbers, of no meaning. */
spo_status spo_pst_backward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                            const float *params, const unsigned char *mask, const float *g,
                            float *work, float *grad, const spo_pool *pool, spo_error *error);
/* What forward gives at the last step, to the bit, and its report. */
spo_status spo_pst_finish(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                          const float *params, unsigned char *mask, float *w, spo_report *report,
                          const spo_pool *pool, spo_error *error);

/* ---- movement pruning ---- */
/* "Movement pruning: adaptive sparsity by fine-tuning" (Sanh et al., NeurIPS 2020). Scores [rows,
 * cols] begin at 0. The best are kept, or with `soft` those whose sigmoid is over a threshold that
 * rises from 0, but at least 0.5 % of a tensor. */

/* `out` is the sparse weight; it may be w. */
spo_status spo_movement_forward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w,
                                const float *scores, uint64_t step, unsigned char *mask, float *out,
                                const spo_pool *pool, spo_error *error);
/* For the gradient g with respect to the sparse weight: that of the weight, g where it is kept
 * (grad_w may be g), and that of the scores, g times the weight; with `soft` also that of
 * score_penalty times the mean of the scores' sigmoids, times how far the threshold has risen. */
spo_status spo_movement_backward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w,
                                 const float *scores, uint64_t step, const unsigned char *mask,
                                 const float *g, float *grad_w, float *grad_scores,
                                 const spo_pool *pool, spo_error *error);
/* What forward gives at the last step, and its report. `out` may be w. */
spo_status spo_movement_finish(const spo_recipe *recipe, const spo_tensor *tensor, const float *w,
                               const float *scores, unsigned char *mask, float *out,
                               spo_report *report, const spo_pool *pool, spo_error *error);

#endif
