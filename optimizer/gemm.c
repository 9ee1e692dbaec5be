/* Products of matrices, for each width of vectors that processors have. The order of additions is
 * the same for all of them. */
#include "optimizer/gemm.h"

#include <stdbool.h>
#include <string.h>

enum { LEFT = 128 /* rows of a that are packed at a time */ };

#define REAL float
#define VIEW spo_f32
#define FN(name) name##_f32_plain
#define TARGET
#define BYTES 16
#define ROWS 4
#include "optimizer/gemm_lanes.h"
#if defined(__x86_64__)
#define FN(name) name##_f32_avx2
#define TARGET __attribute__((target("avx2")))
#define BYTES 32
#define ROWS 4
#include "optimizer/gemm_lanes.h"
#define FN(name) name##_f32_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define BYTES 64
#define ROWS 8
#include "optimizer/gemm_lanes.h"
#endif
#undef REAL
#undef VIEW

#define REAL double
#define VIEW spo_f64
#define FN(name) name##_f64_plain
#define TARGET
#define BYTES 16
#define ROWS 4
#include "optimizer/gemm_lanes.h"
#if defined(__x86_64__)
#define FN(name) name##_f64_avx2
#define TARGET __attribute__((target("avx2")))
#define BYTES 32
#define ROWS 4
#include "optimizer/gemm_lanes.h"
#define FN(name) name##_f64_avx512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define BYTES 64
#define ROWS 8
#include "optimizer/gemm_lanes.h"
#endif

#if defined(__x86_64__)
static bool has_avx512(void) {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#define DISPATCH(type)                                                                             \
  if (has_avx512())                                                                                \
    gemm_##type##_avx512(into, m, n, k, a, b, c, row);                                             \
  else if (__builtin_cpu_supports("avx2"))                                                         \
    gemm_##type##_avx2(into, m, n, k, a, b, c, row);                                               \
  else                                                                                             \
    gemm_##type##_plain(into, m, n, k, a, b, c, row)
#else
#define DISPATCH(type) gemm_##type##_plain(into, m, n, k, a, b, c, row)
#endif

void spo_gemm32(spo_into into, size_t m, size_t n, size_t k, spo_f32 a, spo_f32 b, float *c,
                size_t row) {
  DISPATCH(f32);
}

void spo_gemm64(spo_into into, size_t m, size_t n, size_t k, spo_f64 a, spo_f64 b, double *c,
                size_t row) {
  DISPATCH(f64);
}
