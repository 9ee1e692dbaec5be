/* Do two graphs compute the same? For the tests of the passes. */
#ifndef SPCC_TESTS_VALUES_H
#define SPCC_TESTS_VALUES_H

#include "ir/ir.h"

/* Runs both graphs in f64 on the same random inputs, with the optional inputs given and then
 * without them; masks have holes, ids are 0 or 1. Compares the outputs, and every value whose name
 * stands in both graphs. Returns the largest relative L2 difference, infinity when shapes differ,
 * or -1 when a run failed; `d` then says why. */
double values_differ(arena *a, diag *d, const ir_graph *one, const ir_graph *other);

#endif
