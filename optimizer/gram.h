/* What is in a Gram matrix, and what the methods that use one share. */
#ifndef SPO_GRAM_H
#define SPO_GRAM_H

#include "optimizer/internal.h"
#include "optimizer/spo_oneshot.h"

struct spo_gram {
  size_t inputs;
  uint64_t tokens;
  double *norm2; /* [inputs], sums of squares */
  double *h;     /* [inputs, inputs], on and below the diagonal; NULL when norms are enough */
};

/* Forgets all tokens. */
void spo_gram_clear(spo_gram *gram);
/* The layer fits the goal, the Gram matrix has its inputs and some tokens, and is whole where
 * `whole` asks for that; the weights are finite. */
spo_status spo_check_layer(const spo_goal *goal, const spo_layer *layer, const spo_gram *gram,
                           bool whole, spo_error *error);
/* The weights are finite. */
spo_status spo_check_finite(const char *name, const float *w, size_t rows, size_t cols,
                            spo_error *error);
/* Sets dropped weights to +0, stores the others, and counts. */
void spo_commit(spo_layer *layer, const float *w, const unsigned char *mask, spo_report *report);

#endif
