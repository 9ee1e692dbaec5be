/* Runs the compiled tiny.yaml through the runtime's pool, and prints "ok". */
#include <stdio.h>

#include "tiny.h"

int main(void) {
  float x[2][2][3] = {{{-1, 0, 1}, {2, -3, 4}}, {{-5, 6, -7}, {8, -9, 10}}}, y[2][2][3];
  const void *in[] = {x};
  void *out[] = {y};
  size_t bytes[] = {sizeof x};
  spcc_pool *pool = spcc_pool_new(2);
  size_t workspace_bytes = tiny_workspace(2, 2, 2);
  void *workspace = spcc_alloc(workspace_bytes);
  spcc_call call = {.size = sizeof call,
                    .cpu = spcc_cpu(),
                    .batch = 2,
                    .sequence = 2,
                    .in = in,
                    .out = out,
                    .in_bytes = bytes,
                    .out_bytes = bytes,
                    .workspace = workspace,
                    .workspace_bytes = workspace_bytes,
                    .exec = spcc_pool_exec(pool)};
  spcc_status status = tiny_run(&call);
  spcc_free(workspace);
  spcc_pool_free(pool);
  if (status != SPCC_OK) {
    fprintf(stderr, "tiny_run: %s\n", spcc_status_text(status));
    return 1;
  }
  const float *from = &x[0][0][0], *to = &y[0][0][0];
  for (int i = 0; i < 12; i++)
    if (to[i] != (from[i] > 0 ? from[i] : 0)) {
      fprintf(stderr, "y[%d] is %g for %g\n", i, (double)to[i], (double)from[i]);
      return 1;
    }
  puts("ok");
  return 0;
}
