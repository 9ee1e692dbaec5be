/* Gradual magnitude pruning (Zhu and Gupta, 2017): the mask keeps the largest weights or blocks, at
 * a sparsity that rises with a cubic curve. Dropped weights are trained on behind the mask until it
 * is final, so that they may return, or are lost at once. */
#include "optimizer/shadow.h"

#include <string.h>

static bool is_last(const spo_call *c) {
  return spo_step_of(c) >= spo_share_of(c->context, c->context->recipe.end);
}

/* The mask changes. */
static bool due(const spo_call *c) {
  const spo_context *x = c->context;
  const spo_schedule s = {.begin = spo_share_of(x, x->recipe.begin),
                          .end = spo_share_of(x, x->recipe.end),
                          .every = x->recipe.every};
  return spo_schedule_due(&s, spo_step_of(c)) || is_last(c);
}

static void keep_all(const spo_call *c) {
  unsigned char *bits = c->payload;
  for (size_t i = 0; i < c->context->count; i++)
    bits[i / 8] = (unsigned char)(bits[i / 8] | 1u << i % 8);
}

/* The mask of this step, from the weights at `score`. */
static spo_status renew(const spo_call *c, const float *score) {
  double sparsity = spo_sparsity_at(c->context, spo_step_of(c), c->context->recipe.every);
  return spo_call_mask(c, sparsity, score, c->payload);
}

/* ---- lost at once ---- */

static spo_status begin(const spo_call *c) {
  keep_all(c);
  return SPO_OK;
}

static spo_status after(const spo_call *c) {
  spo_status status = renew(c, c->t->w);
  if (status != SPO_OK) return status;
  spo_clear_all(c->t, c->context->count, c->payload, c->pool);
  if (is_last(c)) c->head->progress.frozen = 1;
  return SPO_OK;
}

static spo_status settle(const spo_call *c) {
  spo_status status = spo_call_mask(c, 1, c->t->w, c->payload);
  if (status == SPO_OK) spo_clear_all(c->t, c->context->count, c->payload, c->pool);
  return status;
}

const spo_training spo_gradual = {.payload = spo_mask_payload,
                                  .masked = true,
                                  .begin = begin,
                                  .after = after,
                                  .due = due,
                                  .settle = settle};

/* ---- recovering ---- */

static spo_status begin_dense(const spo_call *c) {
  keep_all(c);
  spo_shadow_begin(c);
  return SPO_OK;
}

static spo_status show(const spo_call *c) {
  spo_status status = due(c) ? renew(c, spo_shadow_of(c)) : SPO_OK;
  if (status != SPO_OK) return status;
  spo_shadow_show(c);
  if (!is_last(c)) return SPO_OK;
  spo_clear_all(c->t, c->context->count, c->payload, c->pool);
  c->head->progress.frozen = 1;
  return SPO_OK;
}

static spo_status step_dense(const spo_call *c) {
  return spo_shadow_step(c, show);
}

static spo_status after_dense(const spo_call *c) {
  return spo_shadow_after(c, show);
}

static spo_status settle_dense(const spo_call *c) {
  spo_status status = spo_call_mask(c, 1, spo_shadow_of(c), c->payload);
  if (status == SPO_OK) spo_shadow_show(c);
  return status;
}

/* All of the gradient is wanted until the mask is frozen. */
const spo_training spo_gradual_recover = {.payload = spo_shadow_payload,
                                          .begin = begin_dense,
                                          .step = step_dense,
                                          .after = after_dense,
                                          .settle = settle_dense,
                                          .check = spo_shadow_check};
