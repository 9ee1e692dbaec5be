/* Comparing computations of random cases: with the interpreter in f64, and within a bound. */
#ifndef SPCC_TESTS_DIFF_COMMON_H
#define SPCC_TESTS_DIFF_COMMON_H

#include "ir/interp.h"
#include "tests/diff/random_graph.h"

/* An arena of the tests: aborts when memory runs out. */
arena *diff_arena(void);
/* All messages as text; "" when there are none. */
const char *diff_messages(arena *a, const diag *d);

/* The outputs of one run. */
typedef struct diff_outputs {
  uint32_t count;
  size_t *elements;
  double **data;
} diff_outputs;

/* Runs the interpreter on graph `g` (the case's own, or one made from it) with the case's call;
 * NULL after errors. */
const diff_outputs *diff_interpret(const random_case *c, const ir_graph *g, bool single, arena *a,
                                   diag *d);

/* The L2 norm of got - want relative to that of want; infinity when `got` differs from a `want` of
 * zeros or holds a NaN. */
double diff_error(const double *want, const double *got, size_t n);

/* What a compiled model is compared with. */
typedef struct diff_reference {
  const diff_outputs *exact; /* by the interpreter in f64 */
  double *bound;             /* relative L2 error allowed, per output */
} diff_reference;

/* The bound is the larger of 3e-8 sqrt(K L) and 4 times the error of the interpreter in f32. */
const diff_reference *diff_reference_new(const random_case *c, arena *a, diag *d);
/* Whether output `i` lies within its bound; *error gets its error. */
bool diff_within(const diff_reference *r, uint32_t i, const float *got, arena *a, double *error);

/* Checks that the parts of every linear of `g` have disjoint supports that cover the non-zeros;
 * NULL, or the name of the first linear where they do not. */
const char *diff_bad_parts(const ir_graph *g, arena *a);

#endif
