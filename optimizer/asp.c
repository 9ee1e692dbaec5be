/* ASP (Mishra et al., "Accelerating sparse deep neural networks", 2021): one mask by magnitude of
 * the trained weights, and training of what it keeps. */
#include "optimizer/train.h"

static spo_status begin(const spo_call *c) {
  spo_status status = spo_call_mask(c, 1, c->t->w, c->payload);
  if (status == SPO_OK) spo_clear_all(c->t, c->context->count, c->payload, c->pool);
  return status;
}

const spo_training spo_asp = {.payload = spo_mask_payload, .masked = true, .begin = begin};
