/* Products of matrices in one thread, for callers that cut their work into tiles.
 *
 * They are our own, as a serial BLAS need not be safe to call from several threads at once (that of
 * Debian 12's OpenBLAS is not: threads may be handed the same buffer). Products are added up in an
 * order of their own, without contraction, so results have the same bits on every processor. */
#ifndef SPO_GEMM_H
#define SPO_GEMM_H

#include <stddef.h>

/* What becomes of the result. */
typedef enum spo_into { SPO_SET, SPO_ADD, SPO_SUBTRACT } spo_into;

/* A matrix whose element (i, j) is at[i * row + j * col]: with row and col exchanged it is the
 * transposed one. */
typedef struct spo_f32 {
  const float *at;
  size_t row, col;
} spo_f32;

typedef struct spo_f64 {
  const double *at;
  size_t row, col;
} spo_f64;

/* c[m, n], whose rows are `row` apart, is set to a b, or has it added or subtracted; a is [m, k], b
 * [k, n], k at least 1. Faster where a or b, and their rows or columns, have stride 1. Takes 200 KB
 * of stack. */
void spo_gemm32(spo_into into, size_t m, size_t n, size_t k, spo_f32 a, spo_f32 b, float *c,
                size_t row);
void spo_gemm64(spo_into into, size_t m, size_t n, size_t k, spo_f64 a, spo_f64 b, double *c,
                size_t row);

#endif
