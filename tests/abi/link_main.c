/* Runs two models on the same ids and prints their names and a sum of their outputs. C and C++. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "spcc_rt.h"
#include "tiny.h"
#include "twin.h"

enum { TOKENS = 7, WIDTH = 24 };

static int run(spcc_run_fn *run_model, spcc_workspace_fn *workspace, const spcc_info *info,
               uint32_t *sum) {
  static const int32_t ids[TOKENS] = {1, 2, 3, 5, 8, 13, 21};
  float states[TOKENS * WIDTH], pooled[WIDTH];
  const void *in[3] = {ids, NULL, NULL};
  void *out[2] = {states, pooled};
  size_t in_bytes[3] = {sizeof ids, 0, 0}, out_bytes[2] = {sizeof states, sizeof pooled};
  spcc_call call;
  memset(&call, 0, sizeof call);
  call.size = sizeof call;
  call.cpu = spcc_cpu();
  call.model = info->digest;
  call.batch = 1;
  call.sequence = TOKENS;
  call.in = in;
  call.in_bytes = in_bytes;
  call.out = out;
  call.out_bytes = out_bytes;
  call.workspace_bytes = workspace(1, TOKENS, 1);
  call.workspace = spcc_alloc(call.workspace_bytes);
  spcc_status status = run_model(&call);
  spcc_free(call.workspace);
  for (int i = 0; i < TOKENS * WIDTH; i++) {
    uint32_t bits;
    memcpy(&bits, &states[i], sizeof bits);
    *sum = *sum * 31u + bits;
  }
  if (status != SPCC_OK) fprintf(stderr, "%s: %s\n", info->name, spcc_status_text(status));
  return status == SPCC_OK;
}

int main(void) {
  uint32_t tiny_sum = 0, twin_sum = 0;
  if (!run(tiny_run, tiny_workspace, tiny_info(), &tiny_sum)) return 1;
  if (!run(twin_run, twin_workspace, twin_info(), &twin_sum)) return 1;
  printf("%s %08x %s %08x\n", tiny_info()->name, tiny_sum, twin_info()->name, twin_sum);
  return tiny_sum != twin_sum;
}
