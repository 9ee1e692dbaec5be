/* What the files of the interpreter share; see interp.h. */
#ifndef SPCC_IR_INTERP_INTERNAL_H
#define SPCC_IR_INTERP_INTERNAL_H

#include "ir/interp.h"

/* One value during a run: rows x cols elements, row-major. Token ids are held as doubles too. */
typedef struct interp_value {
  double *data;
  size_t rows, cols;
} interp_value;

/* One sequence of the batch. Its tokens are rows given_at … given_at + given of the caller's
 * memory; the first `length` of them are computed, as packed rows packed_at … */
typedef struct interp_sequence {
  size_t given_at, given;
  size_t packed_at, length;
} interp_sequence;

typedef struct interp {
  const ir_graph *g;
  const interp_call *call;
  diag *d;
  bool single;
  size_t batch, sequence;
  size_t given_rows; /* B*S, or the sum of the lengths */
  size_t tokens;     /* N */
  interp_sequence *seq;
  interp_value *value; /* [g->count]; data is NULL when dead */
} interp;

/* Computes `v` into `out`, whose elements are zero. */
typedef bool interp_fn(interp *in, const ir_value *v, interp_value *out);

#define OP(name, ...) interp_fn interp_##name;
#include "ir/ops.def"
#undef OP

/* Rounds to float when the run is in f32. An f64 sum, product, quotient or root of two floats,
 * rounded to f32, is exactly the f32 operation. */
static inline double interp_round(const interp *in, double x) {
  return in->single ? (double)(float)x : x;
}
/* Operand i as computed; NULL when absent. */
const interp_value *interp_operand(const interp *in, const ir_value *v, uint32_t i);
/* Operand i's elements when it is a constant; NULL when absent. */
const float *interp_const(const interp *in, const ir_value *v, uint32_t i);
/* The elements given for input `id`; NULL when the call leaves it out. */
const void *interp_given(const interp *in, ir_id id);
/* The mask entry at row `row` of the caller's memory; 1 when operand i of `v` is absent. */
int32_t interp_mask_at(const interp *in, const ir_value *v, uint32_t i, size_t row);

double interp_activate(const interp *in, enum ir_act act, double x);
/* Normalises one row in place (biased variance); beta may be NULL. */
void interp_norm_row(const interp *in, double *x, size_t cols, const float *gamma,
                     const float *beta, double eps);
/* y = x w^T: x [rows,k], w [m,k], y [rows,m]; false when memory runs out. */
bool interp_matmul(const interp *in, const double *x, size_t rows, size_t k, const float *w,
                   size_t m, double *y);
bool interp_no_memory(const interp *in);

#endif
