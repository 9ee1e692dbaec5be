/* The rate of fp32 multiply-adds out of registers: what a kernel can reach at most, here and now.
 */
#ifndef SPCC_DRIVER_FMA_PROBE_H
#define SPCC_DRIVER_FMA_PROBE_H

#include <stdint.h>

#include "runtime/spcc_rt.h"

/* GFLOP/s, two operations per lane and instruction, of all threads of `exec` together (NULL: of the
 * calling thread) with the vectors of a level of spcc_cpu_level, which the CPU must have. Takes
 * about `seconds`. 0 for a level without a probe. One sample: take medians. */
double fma_probe(const spcc_exec *exec, uint32_t level, double seconds);

#endif
