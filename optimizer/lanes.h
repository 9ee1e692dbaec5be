/* Loops that are compiled once for each width of vectors; which one runs is asked of the processor.
 * Every operation is an IEEE one and nothing is contracted or reordered, so all have the same bits.
 *
 *   LANES_BODY void scale_body(float *x, size_t n) { … }
 *   LANES(scale, (float *x, size_t n), (x, n))        defines scale(x, n) */
#ifndef SPO_LANES_H
#define SPO_LANES_H

#include <stdint.h>

/* Vectors by the extension that gcc and clang share; where registers are shorter, several. */
enum { LANES_16 = 16 };
typedef uint32_t lanes_u32 __attribute__((vector_size(4 * LANES_16)));
typedef int32_t lanes_i32 __attribute__((vector_size(4 * LANES_16)));

#define LANES_BODY static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define LANES(name, parameters, arguments)                                                         \
  static void name##_sse2 parameters {                                                             \
    name##_body arguments;                                                                         \
  }                                                                                                \
  __attribute__((target("avx2"))) static void name##_avx2 parameters {                             \
    name##_body arguments;                                                                         \
  }                                                                                                \
  __attribute__((                                                                                  \
      target("avx512f,avx512bw,avx512dq,avx512vl"))) static void name##_avx512 parameters {        \
    name##_body arguments;                                                                         \
  }                                                                                                \
  static void name parameters {                                                                    \
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&                \
        __builtin_cpu_supports("avx512vl"))                                                        \
      name##_avx512 arguments;                                                                     \
    else if (__builtin_cpu_supports("avx2"))                                                       \
      name##_avx2 arguments;                                                                       \
    else                                                                                           \
      name##_sse2 arguments;                                                                       \
  }
#else
#define LANES(name, parameters, arguments)                                                         \
  static void name parameters {                                                                    \
    name##_body arguments;                                                                         \
  }
#endif

#endif
