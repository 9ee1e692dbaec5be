/* SR-STE (Zhou et al., "Learning N:M fine-grained structured sparse neural networks from scratch",
 * 2021): the model computes with the best N:M mask of the dense weights, renewed at each step; the
 * gradient passes straight through to all of them, and pulls dropped ones to 0. */
#include "optimizer/shadow.h"

static spo_status show(const spo_call *c) {
  spo_status status = spo_call_mask(c, 1, spo_shadow_of(c), c->payload);
  if (status == SPO_OK) spo_shadow_show(c);
  return status;
}

static spo_status begin(const spo_call *c) {
  spo_shadow_begin(c);
  return show(c);
}

/* g += decay (1 - M) W. */
static spo_status grad(const spo_call *c) {
  const float *dense = spo_shadow_of(c);
  float decay = (float)c->context->recipe.decay;
  for (size_t i = 0; i < c->context->count; i++)
    if (!spo_bit(c->payload, i)) c->t->g[i] += decay * dense[i];
  return SPO_OK;
}

static spo_status step(const spo_call *c) {
  return spo_shadow_step(c, show);
}

static spo_status after(const spo_call *c) {
  return spo_shadow_after(c, show);
}

const spo_training spo_srste = {.payload = spo_shadow_payload,
                                .begin = begin,
                                .grad = grad,
                                .step = step,
                                .after = after,
                                .check = spo_shadow_check};
