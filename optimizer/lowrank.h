/* What the methods of spo_lowrank.h share. */
#ifndef SPO_LOWRANK_PARTS_H
#define SPO_LOWRANK_PARTS_H

#include "optimizer/internal.h"
#include "optimizer/spo_lowrank.h"

/* The recipe is one of this method and fits the tensor. */
spo_status spo_lowrank_check(const spo_recipe *recipe, spo_method_id method,
                             const spo_tensor *tensor, spo_error *error);
/* Marks what the recipe keeps at this step by signed scores. */
spo_status spo_lowrank_project(const spo_recipe *recipe, const spo_tensor *tensor, uint64_t step,
                               const float *scores, unsigned char *mask, const spo_pool *pool,
                               spo_error *error);
/* PST's scores of all weights, |W| + alpha_low_rank AB + alpha_structure (R + C). */
void spo_pst_scores(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                    const float *params, float *scores, const spo_pool *pool);
void spo_lowrank_report(const unsigned char *mask, const float *w, size_t count, spo_report *out);

#endif
