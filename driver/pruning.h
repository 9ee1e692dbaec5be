/* Pruning the linears of a model: by their weights alone, or layer after layer with the activations
 * of the layers before them, which are pruned already. */
#ifndef SPCC_DRIVER_PRUNING_H
#define SPCC_DRIVER_PRUNING_H

#include "driver/taps.h"
#include "optimizer/spo_oneshot.h"

/* A weight to prune. The first part is the caller's, the rest is filled in. */
typedef struct prune_weight {
  const char *name; /* a tensor of the checkpoint */
  const char *file; /* for messages */
  const spo_recipe *options;
  size_t rows, cols;
  const float *dense; /* [rows, cols] */

  float *w;            /* pruned */
  unsigned char *mask; /* 1 where it was kept */
  spo_report report;
  bool measured;       /* the two below are known */
  double masked_error; /* of the linear's outputs, relative: what the mask alone would change, */
  double error;        /* and what was changed in the end */
  double seconds;
} prune_weight;

/* True when the method looks at what the linears read. */
bool method_needs_sentences(spo_method_id method);

/* True when all weights with these options are ranked together. */
bool ranks_all(const spo_recipe *options);

/* Prunes all weights, which are those of linears of `m` in their order. `set` may be NULL when no
 * method needs sentences. What is ready is kept in the folder `partial` after each layer and found
 * there by a later call for the same (NULL: none is); partial_remove ends it. False after an error.
 */
bool prune_weights(driver *dr, const model_source *m, prune_weight *list, size_t count,
                   const token_set *set, uint32_t threads, const char *partial);
#endif
