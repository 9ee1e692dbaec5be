/* Optimizers' steps on short runs of weights, for methods that work on in the same pass. */
#ifndef SPO_UPDATE_H
#define SPO_UPDATE_H

#include "optimizer/spo_train.h"

/* One step's numbers, rounded to f32 as PyTorch rounds them. */
typedef struct spo_rates {
  spo_rule rule;
  float shrink; /* AdamW: 1 - lr decay; SGD: decay */
  float b1, c1; /* beta1, 1 - beta1; SGD: momentum, 0 */
  float b2, c2; /* beta2, 1 - beta2 */
  float root;   /* 1 / sqrt(1 - beta2^step) */
  float epsilon;
  float rate; /* lr / (1 - beta1^step); SGD: lr */
} spo_rates;

/* The numbers of the step `step`, from 1; SPO_E_VALUE names what is out of its limits. */
spo_status spo_rates_of(const spo_optimizer *o, uint64_t step, spo_rates *out, spo_error *error);
/* SPO_E_VALUE when an array that the optimizer needs is not there. */
spo_status spo_rates_check(const spo_rates *r, const spo_tensors *t, spo_error *error);

/* Updates the moments of the n weights from `at` on, and writes the new weights to a[n], which is
 * none of the arrays; d[n] (AdamW; may be NULL) gets the metric sqrt(v / (1 - beta2^step)) +
 * epsilon. */
void spo_update_run(const spo_rates *r, const spo_tensors *t, size_t at, size_t n, float *a,
                    float *d);

/* x[n] is set to +0 where the bit is 0; x may be NULL. Bits are those from bit `at` on, a multiple
 * of 8; n may end inside of a byte. */
void spo_clear_run(float *x, const unsigned char *bits, size_t at, size_t n);

/* One update of all weights, and x = 0 where `bits` (may be NULL) has a 0, for w, m and v. */
void spo_update_all(const spo_rates *r, const spo_tensors *t, size_t count,
                    const unsigned char *bits, const spo_pool *pool);
/* The last half alone. */
void spo_clear_all(const spo_tensors *t, size_t count, const unsigned char *bits,
                   const spo_pool *pool);

#endif
