/* AdamW (Loshchilov and Hutter, 2019) and SGD, element by element, in the order of operations of
 * torch.optim. */
#include "optimizer/update.h"

#include <math.h>
#include <string.h>

#include "optimizer/internal.h"
#include "optimizer/lanes.h"
#include "optimizer/prox_lanes.h"

void spo_optimizer_adamw(spo_optimizer *out, double lr) {
  *out = (spo_optimizer){
      .rule = SPO_ADAMW, .lr = lr, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .decay = 0.01};
}

static bool in_range(double x, double least, double below) {
  return x >= least && x < below; /* false for NaN */
}

spo_status spo_rates_of(const spo_optimizer *o, uint64_t step, spo_rates *out, spo_error *error) {
  bool adam = o->rule == SPO_ADAMW;
  if (!in_range(o->lr, 0, 1e30) || !in_range(o->decay, 0, 1e30))
    return spo_fail(error, SPO_E_VALUE, "lr and decay have to be finite and at least 0");
  if (!in_range(o->beta1, 0, 1) || (adam && !in_range(o->beta2, 0, 1)))
    return spo_fail(error, SPO_E_VALUE, "betas have to be at least 0 and below 1");
  if (adam && !in_range(o->epsilon, 0, 1e30))
    return spo_fail(error, SPO_E_VALUE, "epsilon has to be finite and at least 0");
  if (step == 0) return spo_fail(error, SPO_E_VALUE, "an optimizer's steps are counted from 1");
  *out = (spo_rates){.rule = o->rule,
                     .shrink = (float)(adam ? 1 - o->lr * o->decay : o->decay),
                     .b1 = (float)o->beta1,
                     .c1 = (float)(1 - o->beta1),
                     .rate = (float)o->lr};
  if (!adam) return SPO_OK;
  out->b2 = (float)o->beta2;
  out->c2 = (float)(1 - o->beta2);
  out->root = (float)(1 / sqrt(1 - pow(o->beta2, (double)step)));
  out->epsilon = (float)o->epsilon;
  out->rate = (float)(o->lr / (1 - pow(o->beta1, (double)step)));
  return SPO_OK;
}

spo_status spo_rates_check(const spo_rates *r, const spo_tensors *t, spo_error *error) {
  bool adam = r->rule == SPO_ADAMW;
  if (t->w && t->g && (t->m || (!adam && r->b1 == 0)) && (t->v || !adam)) return SPO_OK;
  return spo_fail(error, SPO_E_VALUE, "a step needs weights, gradient and moments: one is missing");
}

LANES_BODY void adamw_body(const spo_rates *r, float *restrict a, float *restrict d,
                           const float *restrict w, const float *restrict g, float *restrict m,
                           float *restrict v, size_t n) {
  float shrink = r->shrink, b1 = r->b1, c1 = r->c1, b2 = r->b2, c2 = r->c2;
  float root = r->root, epsilon = r->epsilon, rate = r->rate;
  for (size_t i = 0; i < n; i++) {
    float first = b1 * m[i] + c1 * g[i];
    float second = b2 * v[i] + c2 * g[i] * g[i];
    float metric = sqrtf(second) * root + epsilon;
    m[i] = first;
    v[i] = second;
    d[i] = metric;
    a[i] = w[i] * shrink - rate * first / metric;
  }
}

LANES_BODY void momentum_body(const spo_rates *r, float *restrict a, const float *restrict w,
                              const float *restrict g, float *restrict m, size_t n) {
  float decay = r->shrink, b1 = r->b1, rate = r->rate;
  for (size_t i = 0; i < n; i++) {
    m[i] = b1 * m[i] + (g[i] + decay * w[i]);
    a[i] = w[i] - rate * m[i];
  }
}

LANES_BODY void descent_body(const spo_rates *r, float *restrict a, const float *restrict w,
                             const float *restrict g, size_t n) {
  float decay = r->shrink, rate = r->rate;
  for (size_t i = 0; i < n; i++)
    a[i] = w[i] - rate * (g[i] + decay * w[i]);
}

/* A byte of bits becomes eight masks. */
LANES_BODY void clear_body(float *restrict x, const unsigned char *restrict bits, size_t bytes) {
  for (size_t b = 0; b < bytes; b++) {
    uint32_t lane[8];
    memcpy(lane, x + 8 * b, sizeof lane);
    for (unsigned j = 0; j < 8; j++)
      lane[j] &= 0u - (bits[b] >> j & 1u);
    memcpy(x + 8 * b, lane, sizeof lane);
  }
}

LANES(adamw,
      (const spo_rates *r, float *a, float *d, const float *w, const float *g, float *m, float *v,
       size_t n),
      (r, a, d, w, g, m, v, n))
LANES(momentum, (const spo_rates *r, float *a, const float *w, const float *g, float *m, size_t n),
      (r, a, w, g, m, n))
LANES(descent, (const spo_rates *r, float *a, const float *w, const float *g, size_t n),
      (r, a, w, g, n))
LANES(clear, (float *x, const unsigned char *bits, size_t bytes), (x, bits, bytes))

void spo_update_run(const spo_rates *r, const spo_tensors *t, size_t at, size_t n, float *a,
                    float *d) {
  float spare[SPO_RUN];
  if (r->rule == SPO_ADAMW)
    adamw(r, a, d ? d : spare, t->w + at, t->g + at, t->m + at, t->v + at, n);
  else if (t->m)
    momentum(r, a, t->w + at, t->g + at, t->m + at, n);
  else
    descent(r, a, t->w + at, t->g + at, n);
}

void spo_clear_run(float *x, const unsigned char *bits, size_t at, size_t n) {
  if (!x) return;
  clear(x, bits + at / 8, n / 8);
  for (size_t i = n / 8 * 8; i < n; i++)
    if (!(bits[(at + i) / 8] >> (at + i) % 8 & 1)) x[i] = 0;
}

typedef struct update_work {
  const spo_rates *rates; /* NULL: clears alone */
  const spo_tensors *t;
  size_t count;
  const unsigned char *bits;
} update_work;

static void clear_runs(const update_work *u, size_t at, size_t n) {
  spo_clear_run(u->t->w + at, u->bits, at, n);
  spo_clear_run(u->t->m ? u->t->m + at : NULL, u->bits, at, n);
  spo_clear_run(u->t->v ? u->t->v + at : NULL, u->bits, at, n);
}

static void update_block(void *arg, size_t index) {
  const update_work *u = arg;
  size_t end = (index + 1) * SPO_GRAIN < u->count ? (index + 1) * SPO_GRAIN : u->count;
  for (size_t at = index * SPO_GRAIN; at < end; at += SPO_RUN) {
    size_t n = end - at < SPO_RUN ? end - at : SPO_RUN;
    float a[SPO_RUN];
    if (u->rates) {
      spo_update_run(u->rates, u->t, at, n, a, NULL);
      memcpy(u->t->w + at, a, n * sizeof *a);
    }
    if (u->bits) clear_runs(u, at, n);
  }
}

void spo_update_all(const spo_rates *r, const spo_tensors *t, size_t count,
                    const unsigned char *bits, const spo_pool *pool) {
  update_work u = {.rates = r, .t = t, .count = count, .bits = bits};
  spo_run(pool, update_block, &u, spo_blocks(count, SPO_GRAIN));
}

void spo_clear_all(const spo_tensors *t, size_t count, const unsigned char *bits,
                   const spo_pool *pool) {
  spo_update_all(NULL, t, count, bits, pool);
}

spo_status spo_update(const spo_optimizer *o, const spo_tensors *t, size_t count,
                      const spo_pool *pool, spo_error *error) {
  spo_rates rates;
  spo_status status = spo_rates_of(o, o->step, &rates, error);
  if (status == SPO_OK) status = spo_rates_check(&rates, t, error);
  if (status != SPO_OK) return status;
  spo_update_all(&rates, t, count, NULL, pool);
  return SPO_OK;
}
