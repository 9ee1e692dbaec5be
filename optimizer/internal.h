/* What the files of libspo share. */
#ifndef SPO_INTERNAL_H
#define SPO_INTERNAL_H

#include "optimizer/spo_recipe.h"

/* Elements of a block of work: results never depend on which thread takes which block. */
enum { SPO_GRAIN = 1 << 16 };

/* Writes the message and returns the status. */
spo_status spo_fail(spo_error *error, spo_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Runs task(arg, 0 … count - 1) on the pool, or in the calling thread when pool is NULL. */
void spo_run(const spo_pool *pool, spo_task *task, void *arg, size_t count);

/* How many blocks of `grain` cover `count`. */
static inline size_t spo_blocks(size_t count, size_t grain) {
  return count / grain + (count % grain != 0);
}

/* The step at which so much of the training is done: a product just below a whole number is that
 * number, as for counts. */
uint64_t spo_step_at(const spo_recipe *recipe, double share);

/* The goal at a lower sparsity, if it is lower: N:M drops so many fewer of each M. */
spo_goal spo_goal_at(const spo_goal *end, double sparsity);

/* The goal's pattern and sparsity are in their limits and fit the tensor. */
spo_status spo_goal_check(const spo_goal *goal, const char *name, size_t rows, size_t cols,
                          spo_error *error);

/* The options that a method looks at are in its limits, whichever method the recipe is for. */
spo_status spo_recipe_check_as(const spo_recipe *recipe, spo_method_id method, spo_error *error);

/* The squared L2 norm of a unit of rows x cols, as a key for spo_select. */
uint64_t spo_norm_key(const float *score, size_t stride, size_t rows, size_t cols);

#endif
