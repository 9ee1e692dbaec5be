/* Measuring the steps of a graph in this process: for --calibrate, --tune and estimate. */
#ifndef SPCC_DRIVER_STEPS_H
#define SPCC_DRIVER_STEPS_H

#include "driver/model.h"

/* A way to call a graph. */
typedef struct steps_case {
  int32_t batch, sequence;
  uint32_t threads;
  double seconds; /* to measure for; at least some rounds are made */
} steps_case;

/* Lower quartiles of the rounds, in nanoseconds. */
typedef struct step_times {
  const char **name; /* of the steps, in their order */
  double *ns;
  uint32_t count;
  double total_ns;
  double fma_ns; /* of one multiply-add of one f32 on one core, meanwhile */
} step_times;

/* Compiles a planned graph for the first level of `o`, and calls it in each of `count` ways with
 * random inputs; their times go into out[count]. E_TARGET when this machine lacks the level. What
 * remains in memory is `out` alone. */
bool steps_measure(driver *dr, const ir_graph *g, const codegen_options *o, const steps_case *cases,
                   uint32_t count, step_times *out);
/* The time of the steps of an op (of a linear: of its weight) called `name`; a LayerNorm that was
 * fused in counts. */
double step_ns(const step_times *t, const char *name);

/* A graph of ops to measure, each by itself. */
ir_graph *lab_new(arena *a, int64_t max_batch, int64_t max_sequence);
/* Packed rows [N, width] that are inputs; those of the same width and `which` are shared. */
ir_id lab_rows(ir_graph *g, uint32_t width, uint32_t which);
/* Keeps an op from being left out, at little cost. */
void lab_keep(ir_graph *g, ir_id op);

#endif
