#include "driver/random_weight.h"

#include "driver/inputs.h"

enum err sparsify_error(spo_status status) {
  switch (status) {
  case SPO_E_NONFINITE:
    return E_NONFINITE;
  case SPO_E_SHAPE:
  case SPO_E_PATTERN:
    return E_PATTERN;
  case SPO_E_SPARSITY:
    return E_SPARSITY;
  case SPO_E_MEMORY:
  case SPO_E_THREAD:
    return E_MEMORY;
  case SPO_E_NOT_SPD:
    return E_NOT_SPD;
  case SPO_E_VALUE:
  case SPO_E_STATE:
  case SPO_OK:
    break;
  }
  return E_INTERNAL;
}

/* A number from 0.5 to 1. */
static float random_size(uint64_t *state) {
  return 0.5f + (float)(next_random(state) >> 40) * 0x1p-25f;
}

const float *random_weight(driver *dr, src_loc loc, const char *name, const spo_goal *goal,
                           size_t rows, size_t cols, uint64_t seed) {
  size_t count = rows * cols;
  float *w = arena_array(dr->arena, float, count + 1);
  unsigned char *keep = arena_array(dr->arena, unsigned char, count + 1);
  spo_error error;
  for (size_t i = 0; i < count; i++)
    w[i] = random_size(&seed);
  spo_status status = spo_project(goal, name, w, rows, cols, keep, NULL, &error);
  if (status != SPO_OK) {
    diag_error(dr->diag, loc, sparsify_error(status), "%s", error.text);
    return NULL;
  }
  for (size_t i = 0; i < count; i++) {
    float signed_size = next_random(&seed) & 1 ? w[i] : -w[i];
    w[i] = keep[i] ? signed_size : 0;
  }
  return w;
}
