#include "optimizer/shadow.h"

#include <string.h>

size_t spo_shadow_payload(const spo_context *c) {
  return spo_bit_bytes(c->count) + c->count * sizeof(float);
}

float *spo_shadow_of(const spo_call *c) {
  return (float *)(void *)((unsigned char *)c->payload + spo_bit_bytes(c->context->count));
}

void spo_shadow_begin(const spo_call *c) {
  memcpy(spo_shadow_of(c), c->t->w, c->context->count * sizeof(float));
}

spo_status spo_shadow_step(const spo_call *c, spo_hook *show) {
  spo_status status = spo_call_finite(c, c->t->g, "gradient");
  if (status != SPO_OK) return status;
  spo_tensors dense = *c->t;
  dense.w = spo_shadow_of(c);
  spo_update_all(&c->rates, &dense, c->context->count, NULL, c->pool);
  return show(c);
}

spo_status spo_shadow_after(const spo_call *c, spo_hook *show) {
  float *dense = spo_shadow_of(c);
  const float *w = c->t->w;
  spo_status status = spo_call_finite(c, w, "weight");
  if (status != SPO_OK) return status;
  for (size_t i = 0; i < c->context->count; i++)
    dense[i] = spo_bit(c->payload, i) ? w[i] : dense[i] + w[i];
  return show(c);
}

void spo_shadow_show(const spo_call *c) {
  memcpy(c->t->w, spo_shadow_of(c), c->context->count * sizeof(float));
  spo_clear_all(&(spo_tensors){.w = c->t->w}, c->context->count, c->payload, c->pool);
}

spo_status spo_shadow_check(const spo_call *c) {
  return spo_call_finite(c, spo_shadow_of(c), "state's dense weight");
}
