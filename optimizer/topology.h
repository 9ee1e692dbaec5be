/* Sets of active units (weights, or blocks) of methods that are sparse at all times. */
#ifndef SPO_TOPOLOGY_H
#define SPO_TOPOLOGY_H

#include "optimizer/train.h"

/* How the recipe's pattern cuts the tensor into units, row by row. */
typedef struct spo_units {
  size_t rows, cols, across, count;
} spo_units;

spo_units spo_units_of(const spo_context *c);
/* The index of a unit's first weight. */
size_t spo_unit_at(const spo_context *c, const spo_units *u, size_t unit);

/* A change of the active set in work. Arrays have an entry per unit. */
typedef struct spo_topology {
  const spo_call *call;
  spo_units units;
  unsigned char *active, *kept, *grown; /* bytes, 0 or 1 */
  uint64_t *key;                        /* scratch */
  const float *score;                   /* scratch: what is ranked */
  const unsigned char *among;           /* scratch: which units are candidates, */
  unsigned char wanted;                 /* those of this value */
  spo_random random;
} spo_topology;

/* Allocates the arrays; `active` is read from the mask. SPO_E_MEMORY. */
spo_status spo_topology_open(spo_topology *t, const spo_call *c);
void spo_topology_close(spo_topology *t);
/* Opens it for a tensor whose training begins: as many units as the goal keeps are active, drawn at
 * random, and the mask is them. *k is their number. */
spo_status spo_topology_begin(spo_topology *t, const spo_call *c, size_t *k);
size_t spo_topology_active(const spo_topology *t);

/* Marks in `out` the `k` units of largest L1 norm of `score` among those with among[unit] ==
 * wanted, which are at least k. */
void spo_topology_best(spo_topology *t, const float *score, const unsigned char *among,
                       unsigned char wanted, size_t k, unsigned char *out);
/* The same for the k of smallest random number (its upper 63 bits) of this step. */
void spo_topology_draw(spo_topology *t, uint32_t step, const unsigned char *among,
                       unsigned char wanted, size_t k, unsigned char *out);
/* The mask becomes kept[] and grown[]; what it drops of w, m and v is set to 0. Closes it; SPO_OK.
 */
spo_status spo_topology_move(spo_topology *t);

#endif
