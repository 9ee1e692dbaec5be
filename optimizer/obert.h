/* The optimal brain surgeon on one block of an inverse Fisher matrix, inverse[n, n]. */
#ifndef SPO_OBERT_H
#define SPO_OBERT_H

#include "optimizer/spo_oneshot.h"

/* One more of `samples` gradients g[n]; product[n] is room. */
void spo_woodbury(double *inverse, size_t n, const float *g, double samples, double *product);
/* Drops what is not kept of w[n], and changes the others to the joint optimum. `work` is room for
 * n * n + n numbers, index for n. False when the block is not positive definite. */
bool spo_obs_joint(const double *inverse, size_t n, double *w, const unsigned char *keep,
                   double *work, size_t *index);
/* The same with the sum of the changes for single weights; work[n]. */
void spo_obs_summed(const double *inverse, size_t n, double *w, const unsigned char *keep,
                    double *work);
/* Scores of w[count], the block's weights from `first` on: their squares add up to twice the cost
 * of dropping all of them. `work` is room for count * count + count. False as above. */
bool spo_obs_scores(const double *inverse, size_t n, size_t first, size_t count, const float *w,
                    float *score, double *work);

#endif
