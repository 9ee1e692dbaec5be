/* The ops that work on each token by itself, and those at the borders. */
#include <math.h>

#include "ir/interp_internal.h"

/* ---- borders ---- */

/* Element `at` of input `id`; the input's default when the call leaves it out. */
static double given_element(const ir_value *input, const void *given, size_t at) {
  if (!given) return input->absent;
  if (input->type.dtype == IR_I32) return ((const int32_t *)given)[at];
  return (double)((const float *)given)[at];
}

bool interp_pack(interp *in, const ir_value *v, interp_value *out) {
  const ir_value *input = ir_in(in->g, v, 0);
  const void *given = interp_given(in, v->in[0]);
  size_t cols = out->cols;
  if (v->type.dim[0] == DIM_B) {
    for (size_t i = 0; i < out->rows * cols; i++)
      out->data[i] = given_element(input, given, i);
    return true;
  }
  for (size_t b = 0; b < in->batch; b++) {
    const interp_sequence *s = &in->seq[b];
    for (size_t i = 0; i < s->length * cols; i++)
      out->data[s->packed_at * cols + i] = given_element(input, given, s->given_at * cols + i);
  }
  return true;
}

bool interp_unpack(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *x = interp_operand(in, v, 0);
  size_t cols = out->cols;
  if (v->type.rank == 2) {
    for (size_t i = 0; i < out->rows * cols; i++)
      out->data[i] = x->data[i];
    return true;
  }
  for (size_t b = 0; b < in->batch; b++) {
    const interp_sequence *s = &in->seq[b];
    for (size_t i = 0; i < s->length * cols; i++)
      out->data[s->given_at * cols + i] = x->data[s->packed_at * cols + i];
  }
  return true;
}

bool interp_first(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *x = interp_operand(in, v, 0);
  bool per_sequence = ir_in(in->g, v, 0)->type.dim[0] == DIM_B;
  for (size_t b = 0; b < in->batch; b++) {
    const double *row = x->data + (per_sequence ? b : in->seq[b].packed_at) * x->cols;
    for (size_t c = 0; in->seq[b].length > 0 && c < out->cols; c++)
      out->data[b * out->cols + c] = row[c];
  }
  return true;
}

/* ---- embeddings ---- */

bool interp_positions(interp *in, const ir_value *v, interp_value *out) {
  (void)v;
  for (size_t b = 0; b < in->batch; b++)
    for (size_t i = 0; i < in->seq[b].length; i++)
      out->data[in->seq[b].packed_at + i] = (double)i;
  return true;
}

/* The row of the caller's memory that holds packed token `token`. */
static size_t given_row(const interp *in, size_t token) {
  size_t b = 0;
  while (token >= in->seq[b].packed_at + in->seq[b].length)
    b++;
  return in->seq[b].given_at + token - in->seq[b].packed_at;
}

static bool bad_id(const interp *in, const ir_value *v, uint32_t ids, uint32_t table,
                   size_t token) {
  const ir_value *source = ir_in(in->g, v, ids), *rows = ir_in(in->g, v, table);
  double id = interp_operand(in, v, ids)->data[token];
  if (ir_is_op(source, OP_pack)) source = ir_in(in->g, source, 0);
  return diag_error(in->d, v->loc, E_RUN,
                    "%s[%zu] is %.0f, outside '%s'; give values from 0 to %lld", source->name,
                    given_row(in, token), id, rows->name, (long long)rows->type.dim[0] - 1);
}

/* Adds rows of the table to the rows of `out`, chosen by operand `ids`. */
static bool add_rows(const interp *in, const ir_value *v, uint32_t ids, uint32_t table,
                     interp_value *out) {
  const interp_value *id = interp_operand(in, v, ids);
  const float *rows = interp_const(in, v, table);
  double count = (double)ir_in(in->g, v, table)->type.dim[0];
  for (size_t t = 0; t < out->rows; t++) {
    if (id->data[t] < 0 || id->data[t] >= count) return bad_id(in, v, ids, table, t);
    const float *row = rows + (size_t)id->data[t] * out->cols;
    double *to = out->data + t * out->cols;
    for (size_t c = 0; c < out->cols; c++)
      to[c] = interp_round(in, to[c] + row[c]);
  }
  return true;
}

bool interp_gather(interp *in, const ir_value *v, interp_value *out) {
  return add_rows(in, v, 1, 0, out);
}

/* Adds row `position in the sequence` of operand 3. */
static void add_positions(const interp *in, const ir_value *v, interp_value *out) {
  const float *table = interp_const(in, v, 3);
  for (size_t b = 0; b < in->batch; b++) {
    double *to = out->data + in->seq[b].packed_at * out->cols;
    for (size_t i = 0; i < in->seq[b].length * out->cols; i++)
      to[i] = interp_round(in, to[i] + table[i]);
  }
}

/* Adds row 0 of operand 4, the type table, to every token. */
static void add_type_zero(const interp *in, const ir_value *v, interp_value *out) {
  const float *row = interp_const(in, v, 4);
  for (size_t i = 0; i < out->rows * out->cols; i++)
    out->data[i] = interp_round(in, out->data[i] + row[i % out->cols]);
}

bool interp_embed(interp *in, const ir_value *v, interp_value *out) {
  if (!add_rows(in, v, 0, 2, out)) return false;
  if (ir_in(in->g, v, 3)) add_positions(in, v, out);
  if (ir_in(in->g, v, 4)) {
    if (!ir_in(in->g, v, 1))
      add_type_zero(in, v, out);
    else if (!add_rows(in, v, 1, 4, out))
      return false;
  }
  const float *gamma = interp_const(in, v, 5), *beta = interp_const(in, v, 6);
  for (size_t t = 0; gamma && t < out->rows; t++)
    interp_norm_row(in, out->data + t * out->cols, out->cols, gamma, beta, v->attr[A_eps].f);
  return true;
}

/* ---- element-wise ---- */

static double gelu_erf(const interp *in, double x) {
  double e = interp_round(in, erf(interp_round(in, x * interp_round(in, sqrt(0.5)))));
  return interp_round(in, interp_round(in, 0.5 * x) * interp_round(in, 1 + e));
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static double gelu_tanh(const interp *in, double x) {
  double cube = interp_round(in, interp_round(in, x * x) * x);
  double sum = interp_round(in, x + interp_round(in, interp_round(in, 0.044715) * cube));
  double factor = interp_round(in, sqrt(2 / 3.14159265358979323846));
  double t = interp_round(in, tanh(interp_round(in, factor * sum)));
  return interp_round(in, interp_round(in, 0.5 * x) * interp_round(in, 1 + t));
}

double interp_activate(const interp *in, enum ir_act act, double x) {
  switch (act) {
  case ACT_GELU:
    return gelu_erf(in, x);
  case ACT_GELU_TANH:
    return gelu_tanh(in, x);
  case ACT_RELU:
    return x < 0 ? 0 : x;
  case ACT_TANH:
    return interp_round(in, tanh(x));
  case ACT_NONE:
    break;
  }
  return x;
}

static bool map(interp *in, const ir_value *v, enum ir_act act, interp_value *out) {
  const double *x = interp_operand(in, v, 0)->data;
  for (size_t i = 0; i < out->rows * out->cols; i++)
    out->data[i] = interp_activate(in, act, x[i]);
  return true;
}

bool interp_gelu(interp *in, const ir_value *v, interp_value *out) {
  return map(in, v, v->attr[A_form].i == FORM_TANH ? ACT_GELU_TANH : ACT_GELU, out);
}
bool interp_relu(interp *in, const ir_value *v, interp_value *out) {
  return map(in, v, ACT_RELU, out);
}
bool interp_tanh(interp *in, const ir_value *v, interp_value *out) {
  return map(in, v, ACT_TANH, out);
}

/* Element i of the second operand of a pointwise op: a value of the same shape, or a constant row.
 */
static double second(const interp *in, const ir_value *v, size_t i, size_t cols) {
  const ir_value *b = ir_in(in->g, v, 1);
  if (b->kind == IR_CONST) return (double)b->tensor->data[i % cols];
  return interp_operand(in, v, 1)->data[i];
}

bool interp_add(interp *in, const ir_value *v, interp_value *out) {
  const double *a = interp_operand(in, v, 0)->data;
  for (size_t i = 0; i < out->rows * out->cols; i++)
    out->data[i] = interp_round(in, a[i] + second(in, v, i, out->cols));
  return true;
}

bool interp_mul(interp *in, const ir_value *v, interp_value *out) {
  const double *a = interp_operand(in, v, 0)->data;
  for (size_t i = 0; i < out->rows * out->cols; i++)
    out->data[i] = interp_round(in, a[i] * second(in, v, i, out->cols));
  return true;
}

/* ---- layernorm ---- */

static double mean_of(const interp *in, const double *x, size_t cols) {
  double sum = 0;
  for (size_t c = 0; c < cols; c++)
    sum = interp_round(in, sum + x[c]);
  return interp_round(in, sum / (double)cols);
}

void interp_norm_row(const interp *in, double *x, size_t cols, const float *gamma,
                     const float *beta, double eps) {
  double mean = mean_of(in, x, cols), squares = 0;
  for (size_t c = 0; c < cols; c++) {
    x[c] = interp_round(in, x[c] - mean);
    squares = interp_round(in, squares + interp_round(in, x[c] * x[c]));
  }
  double variance = interp_round(in, squares / (double)cols);
  double root = interp_round(in, sqrt(interp_round(in, variance + interp_round(in, eps))));
  double factor = interp_round(in, 1 / root);
  for (size_t c = 0; c < cols; c++) {
    x[c] = interp_round(in, interp_round(in, x[c] * factor) * gamma[c]);
    if (beta) x[c] = interp_round(in, x[c] + beta[c]);
  }
}

bool interp_layernorm(interp *in, const ir_value *v, interp_value *out) {
  const double *x = interp_operand(in, v, 0)->data;
  size_t cols = out->cols;
  for (size_t i = 0; i < out->rows * cols; i++)
    out->data[i] = x[i];
  for (size_t t = 0; t < out->rows; t++)
    interp_norm_row(in, out->data + t * cols, cols, interp_const(in, v, 1), interp_const(in, v, 2),
                    v->attr[A_eps].f);
  return true;
}
