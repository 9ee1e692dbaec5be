#include "driver/fma_probe.h"

#include <stddef.h>

#include "driver/driver.h"

/* More independent chains than the product of latency and throughput of any CPU so far (5 x 2). */
enum { CHAINS = 12 };
static const uint64_t TRIAL_ROUNDS = 4096;

typedef void probe_fn(uint64_t rounds);

#if defined(__x86_64__)

/* acc += a * b for 12 accumulators in registers 0 to 11; a and b are in 12 and 13. In assembly, so
 * that it is the same in every build of spcc. */
#define ALL(of) of(0) of(1) of(2) of(3) of(4) of(5) of(6) of(7) of(8) of(9) of(10) of(11)
#define CLEAR(n) "vxorps %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t"
#define YMM(n) "vfmadd231ps %%ymm12, %%ymm13, %%ymm" #n "\n\t"
#define ZMM(n) "vfmadd231ps %%zmm12, %%zmm13, %%zmm" #n "\n\t"
#define PROBE(name, isa, vector, step)                                                             \
  static __attribute__((target(isa))) void name(uint64_t rounds) {                                 \
    static const float half = 0.5f; /* the sums stop growing at 2^22 */                            \
    __asm__ volatile(ALL(CLEAR) "vbroadcastss %1, %%" vector "12\n\t"                              \
                                "vbroadcastss %1, %%" vector "13\n"                                \
                                "1:\n\t" ALL(step) "dec %0\n\t"                                    \
                                                   "jnz 1b\n\t"                                    \
                                                   "vzeroupper"                                    \
                     : "+r"(rounds)                                                                \
                     : "m"(half)                                                                   \
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",       \
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13");                        \
  }
PROBE(probe_v3, "avx2,fma", "ymm", YMM)
PROBE(probe_v4, "avx512f", "zmm", ZMM)

static probe_fn *probe_of(uint32_t level, double *flops_per_round) {
  uint32_t lanes = level == SPCC_CPU_X86_64_V4 ? 16 : 8;
  *flops_per_round = 2 * CHAINS * lanes;
  return level == SPCC_CPU_X86_64_V4 ? probe_v4 : level == SPCC_CPU_X86_64_V3 ? probe_v3 : NULL;
}

#else

static probe_fn *probe_of(uint32_t level, double *flops_per_round) {
  (void)level;
  *flops_per_round = 0;
  return NULL;
}

#endif

typedef struct probe {
  probe_fn *run;
  uint64_t rounds;
} probe;

static void run_task(void *arg, uint32_t i) {
  (void)i;
  const probe *p = arg;
  p->run(p->rounds);
}

/* Seconds that `threads` tasks of `rounds` take. */
static double time_rounds(const spcc_exec *exec, probe_fn *run, uint64_t rounds) {
  probe p = {run, rounds};
  double start = seconds_now();
  if (exec)
    exec->parallel_for(exec, exec->threads, run_task, &p);
  else
    run_task(&p, 0);
  return seconds_now() - start;
}

double fma_probe(const spcc_exec *exec, uint32_t level, double seconds) {
  double flops;
  probe_fn *run = probe_of(level, &flops);
  if (!run) return 0;
  double trial = time_rounds(exec, run, TRIAL_ROUNDS);
  uint64_t rounds = (uint64_t)((double)TRIAL_ROUNDS * seconds / trial) + 1;
  double took = time_rounds(exec, run, rounds);
  return flops * (double)rounds * (exec ? exec->threads : 1) / took * 1e-9;
}
