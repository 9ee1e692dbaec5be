/* CPUs and their features by name, for tools; programs use spcc_cpu() of spcc_rt.h. */
#ifndef SPCC_RUNTIME_CPU_H
#define SPCC_RUNTIME_CPU_H

#include <stdbool.h>
#include <stdint.h>

typedef struct spcc_cpu_feature {
  const char *name;
  uint32_t level; /* the psABI level that asks for it; 0: none */
  bool present;   /* the CPU has it (whether or not the operating system saves its registers) */
} spcc_cpu_feature;

/* Feature number `i` of cpu_features.def; false past the last. */
bool spcc_cpu_feature_at(uint32_t i, spcc_cpu_feature *out);

/* CPUs that the process may use: a pool has at most one thread for each, see spcc_pool_options. */
uint32_t spcc_usable_cpus(void);

#endif
