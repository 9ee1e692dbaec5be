/* NxMTransformer (Holmes et al., 2021): N:M sparsity by the alternating direction method of
 * multipliers. Weights W, their sparse copy Z and the scaled duals U; the gradient gets
 * rho (W - Z + U), and at times Z is projected anew and U grows by what still divides W from Z. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/train.h"

typedef struct parts {
  unsigned char *bits; /* mask of Z */
  float *z, *u;
} parts;

static parts parts_of(const spo_call *c) {
  parts p = {.bits = c->payload};
  p.z = (float *)(void *)(p.bits + spo_bit_bytes(c->context->count));
  p.u = p.z + c->context->count;
  return p;
}

static size_t payload(const spo_context *c) {
  return spo_bit_bytes(c->count) + 2 * c->count * sizeof(float);
}

/* Z = the projection of Z + U's sum, which is already in `score`; adds up the squares of what
 * moves, as the residuals want them. */
static void take(const spo_call *c, const float *score, const unsigned char *mask) {
  parts p = parts_of(c);
  const float *w = c->t->w;
  double apart = 0, whole = 0, moved = 0;
  for (size_t i = 0; i < c->context->count; i++) {
    float z = mask[i] ? score[i] : 0;
    double d = (double)w[i] - (double)z, m = (double)z - (double)p.z[i];
    apart += d * d;
    whole += (double)w[i] * (double)w[i];
    moved += m * m;
    p.u[i] += w[i] - z;
    p.z[i] = z;
  }
  c->head->progress.primal = whole > 0 ? sqrt(apart / whole) : 0;
  c->head->progress.dual = c->context->recipe.rho * sqrt(moved);
}

/* Z = P(W + U); U += W - Z. */
static spo_status duals(const spo_call *c) {
  size_t n = c->context->count;
  parts p = parts_of(c);
  float *score = malloc(n * sizeof *score);
  unsigned char *mask = malloc(n);
  spo_status status = score && mask ? SPO_OK : spo_call_no_memory(c);
  for (size_t i = 0; i < n && status == SPO_OK; i++)
    score[i] = c->t->w[i] + p.u[i];
  if (status == SPO_OK) status = spo_call_project(c, 1, score, mask);
  if (status == SPO_OK) {
    take(c, score, mask);
    spo_bits_pack(p.bits, mask, n);
  }
  free(score);
  free(mask);
  return status;
}

typedef struct pull {
  const float *w, *z, *u;
  float *g, rho;
  size_t count;
} pull;

static void pull_block(void *arg, size_t index) {
  const pull *p = arg;
  size_t end = (index + 1) * SPO_GRAIN < p->count ? (index + 1) * SPO_GRAIN : p->count;
  for (size_t i = index * SPO_GRAIN; i < end; i++)
    p->g[i] += p->rho * (p->w[i] - p->z[i] + p->u[i]);
}

static spo_status grad(const spo_call *c) {
  parts p = parts_of(c);
  pull work = {.w = c->t->w, .z = p.z, .u = p.u, .g = c->t->g, .count = c->context->count};
  work.rho = (float)c->context->recipe.rho;
  if (work.rho == 0) return SPO_OK;
  spo_run(c->pool, pull_block, &work, spo_blocks(work.count, SPO_GRAIN));
  return SPO_OK;
}

static bool due(const spo_call *c) {
  uint64_t every = c->context->recipe.dual_every;
  return every > 0 && spo_step_of(c) % every == 0;
}

static spo_status epoch(const spo_call *c) {
  return c->context->recipe.dual_every == 0 ? duals(c) : SPO_OK;
}

/* W = P(W); the duals play no part. */
static spo_status settle(const spo_call *c) {
  parts p = parts_of(c);
  spo_status status = spo_call_mask(c, 1, c->t->w, p.bits);
  if (status == SPO_OK) spo_clear_all(c->t, c->context->count, p.bits, c->pool);
  return status;
}

static spo_status check(const spo_call *c) {
  parts p = parts_of(c);
  spo_status status = spo_call_finite(c, p.z, "state's Z");
  return status == SPO_OK ? spo_call_finite(c, p.u, "state's U") : status;
}

/* All begins with one update of the duals, from U = 0. */
const spo_training spo_nxm = {.payload = payload,
                              .begin = duals,
                              .grad = grad,
                              .after = duals,
                              .due = due,
                              .epoch = epoch,
                              .settle = settle,
                              .check = check};
