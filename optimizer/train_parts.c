/* What training methods share: masks of bits, projections, sums. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/train.h"

/* ---- bits ---- */

size_t spo_mask_payload(const spo_context *c) {
  return spo_bit_bytes(c->count);
}

void spo_bits_pack(unsigned char *bits, const unsigned char *bytes, size_t count) {
  memset(bits, 0, spo_bit_bytes(count));
  for (size_t i = 0; i < count; i++)
    bits[i / 8] = (unsigned char)(bits[i / 8] | bytes[i] << i % 8);
}

void spo_bits_unpack(unsigned char *bytes, const unsigned char *bits, size_t count) {
  for (size_t i = 0; i < count; i++)
    bytes[i] = spo_bit(bits, i);
}

bool spo_bits_clean(const unsigned char *bits, size_t count) {
  for (size_t i = count; i < 8 * spo_bit_bytes(count); i++)
    if (spo_bit(bits, i)) return false;
  return true;
}

/* ---- schedules ---- */

uint64_t spo_share_of(const spo_context *c, double share) {
  return spo_step_at(&c->recipe, share);
}

double spo_sparsity_at(const spo_context *c, uint64_t step, uint64_t every) {
  return spo_recipe_sparsity(&c->recipe, step, every);
}

/* ---- masks ---- */

spo_status spo_call_project(const spo_call *c, double sparsity, const float *score,
                            unsigned char *mask) {
  const spo_context *x = c->context;
  spo_goal goal = spo_goal_at(&x->recipe.goal, sparsity);
  return spo_project(&goal, x->name, score, x->rows, x->cols, mask, c->pool, c->error);
}

spo_status spo_call_no_memory(const spo_call *c) {
  return spo_fail(c->error, SPO_E_MEMORY, "tensor '%s': no memory for a mask of %zu weights",
                  c->context->name, c->context->count);
}

spo_status spo_call_mask(const spo_call *c, double sparsity, const float *score,
                         unsigned char *bits) {
  unsigned char *mask = malloc(c->context->count);
  if (!mask) return spo_call_no_memory(c);
  spo_status status = spo_call_project(c, sparsity, score, mask);
  if (status == SPO_OK) spo_bits_pack(bits, mask, c->context->count);
  free(mask);
  return status;
}

/* ---- passes over a tensor ---- */

typedef struct sum_work {
  spo_block_sum *sum;
  const void *arg;
  size_t count;
  double *part; /* by block */
} sum_work;

static void sum_block(void *arg, size_t index) {
  const sum_work *s = arg;
  size_t from = index * SPO_GRAIN, to = from + SPO_GRAIN;
  s->part[index] = s->sum(s->arg, from, to < s->count ? to : s->count);
}

spo_status spo_call_sum(const spo_call *c, spo_block_sum *sum, const void *arg, double *out) {
  sum_work s = {.sum = sum, .arg = arg, .count = c->context->count};
  size_t blocks = spo_blocks(s.count, SPO_GRAIN);
  s.part = malloc((blocks + 1) * sizeof *s.part);
  if (!s.part) return spo_call_no_memory(c);
  spo_run(c->pool, sum_block, &s, blocks);
  *out = 0;
  for (size_t i = 0; i < blocks; i++)
    *out += s.part[i];
  free(s.part);
  return SPO_OK;
}

static double count_nonfinite(const void *arg, size_t from, size_t to) {
  const float *x = arg;
  uint32_t bad = 0;
  for (size_t i = from; i < to; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bad += (bits & 0x7f800000u) == 0x7f800000u;
  }
  return bad;
}

spo_status spo_call_finite(const spo_call *c, const float *x, const char *what) {
  double bad;
  spo_status status = spo_call_sum(c, count_nonfinite, x, &bad);
  if (status != SPO_OK || bad == 0) return status;
  size_t i = 0;
  while (isfinite(x[i]))
    i++;
  return spo_fail(c->error, SPO_E_NONFINITE,
                  "tensor '%s': element [%zu, %zu] of the %s is not finite", c->context->name,
                  i / c->context->cols, i % c->context->cols, what);
}
