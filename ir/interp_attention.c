/* Attention: scores, softmax, context, and the three in one. */
#include <math.h>
#include <stdlib.h>

#include "ir/interp_internal.h"

/* The numbers of one attention; rows of q, k and v are tokens. */
typedef struct heads {
  size_t heads, kv_heads, size;
  double scale;
  bool causal;
  size_t q_at, k_at, v_at;
} heads;

static heads heads_of(const interp *in, const ir_value *v) {
  ir_heads h = ir_heads_of(in->g, v);
  return (heads){.heads = (size_t)h.heads,
                 .kv_heads = (size_t)h.kv_heads,
                 .size = (size_t)h.size,
                 .scale = interp_round(in, v->attr[A_scale].f),
                 .causal = v->attr[A_causal].i != 0,
                 .q_at = (size_t)v->attr[A_q_at].i,
                 .k_at = (size_t)v->attr[A_k_at].i,
                 .v_at = (size_t)v->attr[A_v_at].i};
}

/* The key/value head that query head `head` uses. */
static size_t kv_head(const heads *h, size_t head) {
  return head / (h->heads / h->kv_heads);
}

/* The queries of a sequence: `count` rows from `row` on, all of its tokens or the first one. */
typedef struct queries {
  size_t row, count;
} queries;

static queries queries_of(const interp *in, const ir_value *v, size_t sequence) {
  const interp_sequence *s = &in->seq[sequence];
  if (v->type.dim[0] == DIM_B) return (queries){sequence, s->length > 0};
  return (queries){s->packed_at, s->length};
}

/* Scores of the query in row `at`, the token at `position` of sequence `s`, against all keys of the
 * sequence. A key that causal attention hides scores minus infinity. */
static void score_row(const interp *in, const heads *h, const interp_sequence *s, size_t at,
                      size_t position, size_t head, const interp_value *q, const interp_value *k,
                      double *row) {
  const double *x = q->data + at * q->cols + h->q_at + head * h->size;
  for (size_t j = 0; j < s->length; j++) {
    const double *y = k->data + (s->packed_at + j) * k->cols + h->k_at + kv_head(h, head) * h->size;
    double sum = 0;
    for (size_t c = 0; c < h->size; c++)
      sum = interp_round(in, sum + interp_round(in, x[c] * y[c]));
    row[j] = h->causal && j > position ? -INFINITY : interp_round(in, sum * h->scale);
  }
}

/* Softmax over the unmasked keys of `s`; others, and all when there is none, get 0. */
static void softmax_row(const interp *in, const ir_value *v, uint32_t mask,
                        const interp_sequence *s, double *row) {
  double top = -INFINITY, sum = 0;
  for (size_t j = 0; j < s->length; j++) {
    if (!interp_mask_at(in, v, mask, s->given_at + j)) row[j] = -INFINITY;
    if (!(row[j] <= top)) top = row[j];
  }
  for (size_t j = 0; j < s->length; j++) {
    row[j] = row[j] == -INFINITY ? 0 : interp_round(in, exp(interp_round(in, row[j] - top)));
    sum = interp_round(in, sum + row[j]);
  }
  for (size_t j = 0; j < s->length && sum != 0; j++)
    row[j] = interp_round(in, row[j] / sum);
}

static void context_row(const interp *in, const heads *h, const interp_sequence *s, size_t head,
                        const double *row, const interp_value *v, double *out) {
  for (size_t j = 0; j < s->length; j++) {
    const double *x = v->data + (s->packed_at + j) * v->cols + h->v_at + kv_head(h, head) * h->size;
    for (size_t c = 0; c < h->size; c++)
      out[c] = interp_round(in, out[c] + interp_round(in, row[j] * x[c]));
  }
}

bool interp_scores(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *q = interp_operand(in, v, 0), *k = interp_operand(in, v, 1);
  heads h = heads_of(in, v);
  for (size_t b = 0; b < in->batch; b++) {
    queries of = queries_of(in, v, b);
    for (size_t i = 0; i < of.count; i++)
      for (size_t head = 0; head < h.heads; head++)
        score_row(in, &h, &in->seq[b], of.row + i, i, head, q, k,
                  out->data + (of.row + i) * out->cols + head * in->sequence);
  }
  return true;
}

bool interp_softmax(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *x = interp_operand(in, v, 0);
  for (size_t b = 0; b < in->batch; b++) {
    queries of = queries_of(in, v, b);
    for (size_t i = 0; i < of.count; i++)
      for (size_t at = 0; at < out->cols; at += in->sequence) {
        size_t row = (of.row + i) * out->cols + at;
        for (size_t j = 0; j < in->seq[b].length; j++)
          out->data[row + j] = x->data[row + j];
        softmax_row(in, v, 1, &in->seq[b], out->data + row);
      }
  }
  return true;
}

bool interp_context(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *p = interp_operand(in, v, 0), *x = interp_operand(in, v, 1);
  heads h = heads_of(in, v);
  for (size_t b = 0; b < in->batch; b++) {
    queries of = queries_of(in, v, b);
    for (size_t row = of.row; row < of.row + of.count; row++)
      for (size_t head = 0; head < h.heads; head++)
        context_row(in, &h, &in->seq[b], head, p->data + row * p->cols + head * in->sequence, x,
                    out->data + row * out->cols + head * h.size);
  }
  return true;
}

bool interp_attention(interp *in, const ir_value *v, interp_value *out) {
  const interp_value *q = interp_operand(in, v, 0), *k = interp_operand(in, v, 1);
  const interp_value *x = interp_operand(in, v, 2);
  heads h = heads_of(in, v);
  double *row = calloc(in->sequence + 1, sizeof *row);
  if (!row) return interp_no_memory(in);
  for (size_t b = 0; b < in->batch; b++) {
    queries of = queries_of(in, v, b);
    for (size_t i = 0; i < of.count; i++)
      for (size_t head = 0; head < h.heads; head++) {
        score_row(in, &h, &in->seq[b], of.row + i, i, head, q, k, row);
        softmax_row(in, v, 3, &in->seq[b], row);
        context_row(in, &h, &in->seq[b], head, row, x,
                    out->data + (of.row + i) * out->cols + head * h.size);
      }
  }
  free(row);
  return true;
}
