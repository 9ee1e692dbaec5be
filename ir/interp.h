/* The interpreter: computes any graph naively, in f64 (the oracle of all tests) or in f32 (the
 * yardstick for rounding). */
#ifndef SPCC_IR_INTERP_H
#define SPCC_IR_INTERP_H

#include "ir/ir.h"

/* One call. Arrays are in the order of the graph's inputs and outputs.
 * lengths NULL: inputs are row-major [batch, sequence, ...]; else batch lengths (each at most
 * sequence) and inputs [sum of lengths, ...], outputs likewise. */
typedef struct interp_call {
  int64_t batch, sequence;
  const int32_t *lengths;
  const void *const *in; /* const int32_t * or const float *; NULL for an absent optional input */
  double *const *out;    /* row-major; NULL when not wanted */
  bool single;           /* compute in f32 */
  /* Called with every op's value when not NULL: rows x cols elements (packed rows for [N,C]). */
  void (*watch)(void *context, const ir_graph *g, ir_id id, const double *data, size_t rows,
                size_t cols);
  void *context;
} interp_call;

/* Elements of output `i` in a call; false on overflow. */
bool interp_output_size(const ir_graph *g, const interp_call *c, uint32_t i, size_t *elements);
/* Runs a verified graph; errors (token id out of range …) go to `d`. */
bool interp_run(const ir_graph *g, const interp_call *c, arena *a, diag *d);

/* K and L of the error bound max(3e-8*sqrt(K*L), ...): the longest reduction and the number of
 * linears (attention counts as two) on the longest path. */
void interp_depth(const ir_graph *g, size_t *longest_reduction, size_t *linears);

#endif
