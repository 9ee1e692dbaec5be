/* A bridge: a linear that makes channels, the ops that pass each channel on by itself, and the
 * linear that reads them. What stands between the two is nobody else's business, so that channels
 * may be cleared, removed and put into another order on both sides at once. Neurons of a
 * feed-forward layer and channels of V in attention are such channels. */
#ifndef SPCC_PASSES_BRIDGE_H
#define SPCC_PASSES_BRIDGE_H

#include "passes/rewrite.h"

enum { BRIDGE_LINKS = 8 };

typedef struct bridge {
  ir_id first;              /* linear that makes the channels */
  ir_id last;               /* linear, weight [L, count] */
  ir_id link[BRIDGE_LINKS]; /* the ops between them, the one next to `last` first */
  uint32_t links;
  size_t count;    /* channels */
  size_t first_at; /* the row of the first weight that makes channel 0 */
  size_t heads;    /* 0: no attention */
  ir_id q, k;      /* with heads: the linears that make q and k, as many channels from these rows */
  size_t q_at, k_at;
} bridge;

/* linear -> gelu, relu, tanh -> linear, with no other use of anything between. */
bool bridge_neurons(const rewrite *r, ir_id last, bridge *b);
/* q, k, v linears -> scores -> softmax -> context, or attention, -> linear. Several of q, k and v
 * may come from one linear, each from rows of its own. */
bool bridge_heads(const rewrite *r, ir_id last, bridge *b);

/* Lets row i of a linear's weight and bias be row from[i] of what they were, or zeros where
 * dead[from[i]]; `from` has n elements, `dead` may be NULL. */
void bridge_take_rows(rewrite *r, ir_id linear, const size_t *from, size_t n, const bool *dead);
/* The same for the columns of the weight. */
void bridge_take_cols(rewrite *r, ir_id linear, const size_t *from, size_t n, const bool *dead);

#endif
