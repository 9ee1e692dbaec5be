/* The interpreter's matrix product and linear. */
#include <math.h>
#include <stdlib.h>

#include "ir/interp_internal.h"
#include "support/checked.h"

/* Tokens computed together: the innermost loops run over them, so compilers vectorise without
 * changing the order of any sum. */
enum { TOKENS = 16 };

/* x[0..TOKENS) of each of k inputs, input-major; tokens past `rows` are zero. Returns whether all
 * are finite. */
static bool transpose_f64(const double *x, size_t rows, size_t k, double *to) {
  bool finite = true;
  for (size_t i = 0; i < k; i++)
    for (size_t t = 0; t < TOKENS; t++) {
      double value = t < rows ? x[t * k + i] : 0;
      finite = finite && isfinite(value);
      to[i * TOKENS + t] = value;
    }
  return finite;
}

static void to_f32(const double *x, size_t count, float *to) {
  for (size_t i = 0; i < count; i++)
    to[i] = (float)x[i];
}

/* sum[t] = sum over i of w[i] x[i][t], in the order of i. With `skip`, zero weights are left out:
 * for finite x that changes no bit of the result. */
static void dot_f64(const float *w, size_t k, const double *x, bool skip, double *sum) {
  double acc[TOKENS] = {0};
  for (size_t i = 0; i < k; i++) {
    if (skip && w[i] == 0) continue;
    double weight = w[i];
    for (size_t t = 0; t < TOKENS; t++)
      acc[t] += weight * x[i * TOKENS + t];
  }
  for (size_t t = 0; t < TOKENS; t++)
    sum[t] = acc[t];
}

static void dot_f32(const float *w, size_t k, const float *x, bool skip, double *sum) {
  float acc[TOKENS] = {0};
  for (size_t i = 0; i < k; i++) {
    if (skip && w[i] == 0) continue;
    for (size_t t = 0; t < TOKENS; t++)
      acc[t] += w[i] * x[i * TOKENS + t];
  }
  for (size_t t = 0; t < TOKENS; t++)
    sum[t] = acc[t];
}

/* The product for up to TOKENS rows of x, with two buffers of k * TOKENS elements. */
static void matmul_tile(bool single, const double *x, size_t rows, size_t k, const float *w,
                        size_t m, double *y, double *x64, float *x32) {
  double sum[TOKENS];
  bool skip = transpose_f64(x, rows, k, x64);
  if (single) to_f32(x64, k * TOKENS, x32);
  for (size_t o = 0; o < m; o++) {
    if (single)
      dot_f32(w + o * k, k, x32, skip, sum);
    else
      dot_f64(w + o * k, k, x64, skip, sum);
    for (size_t t = 0; t < rows; t++)
      y[t * m + o] = sum[t];
  }
}

bool interp_matmul(const interp *in, const double *x, size_t rows, size_t k, const float *w,
                   size_t m, double *y) {
  size_t count;
  if (!size_mul(k, TOKENS, &count)) return interp_no_memory(in);
  double *x64 = calloc(count, sizeof *x64);
  float *x32 = calloc(count, sizeof *x32);
  bool ok = x64 && x32;
  for (size_t t = 0; ok && t < rows; t += TOKENS) {
    size_t n = rows - t < TOKENS ? rows - t : TOKENS;
    matmul_tile(in->single, x + t * k, n, k, w, m, y + t * m, x64, x32);
  }
  free(x64);
  free(x32);
  return ok || interp_no_memory(in);
}

/* norm(act(x w^T + bias) + residual). The parts of a weight do not matter here: they sum to it. */
bool interp_linear(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *x = interp_operand(in, v, 0);
  const float *bias = interp_const(in, v, 2), *gamma = interp_const(in, v, 4);
  const interp_value *residual = interp_operand(in, v, 3);
  size_t m = out->cols;
  if (!interp_matmul(in, x->data, x->rows, x->cols, interp_const(in, v, 1), m, out->data))
    return false;
  for (size_t t = 0; t < out->rows; t++) {
    double *y = out->data + t * m;
    for (size_t o = 0; o < m; o++) {
      if (bias) y[o] = interp_round(in, y[o] + bias[o]);
      y[o] = interp_activate(in, (enum ir_act)v->attr[A_act].i, y[o]);
      if (residual) y[o] = interp_round(in, y[o] + residual->data[t * m + o]);
    }
    if (gamma) interp_norm_row(in, y, m, gamma, interp_const(in, v, 5), v->attr[A_eps].f);
  }
  return true;
}
