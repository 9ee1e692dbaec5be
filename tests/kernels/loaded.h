/* Any graph through the whole pipeline, compiled and loaded into the test. */
#ifndef SPCC_TESTS_KERNELS_LOADED_H
#define SPCC_TESTS_KERNELS_LOADED_H

#include "codegen/codegen.h"

typedef struct loaded {
  arena *a;
  codegen_result code;
  jit_model *jit;
  jit_entry entry;
  int fill; /* every byte of a workspace before the call; 0xFF, a NaN, unless set */
} loaded;

/* Compiles `g` for both ISA levels; the test fails when that does. */
loaded *loaded_new(arena *a, ir_graph *g);
/* With this pattern imposed on every linear. */
loaded *loaded_new_as(arena *a, ir_graph *g, const pattern *imposed);
void loaded_free(loaded *m);
/* Fills in the call's size, weights and workspace. */
void loaded_prepare(const loaded *m, spcc_call *call);
/* Makes a call; the test fails unless it succeeds. */
void loaded_call(const loaded *m, const spcc_call *call);
/* Both; returns the call. */
spcc_call loaded_run(const loaded *m, spcc_call call);

#endif
