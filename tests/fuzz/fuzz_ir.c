/* IR text of any content: parsing and verifying never crash, what was parsed prints and parses to
 * the same text, and cleaning up a good graph leaves a good graph. */
#include <stdlib.h>
#include <string.h>

#include "ir/ir.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void out_of_memory(void *context, size_t bytes) {
  (void)context, (void)bytes;
  abort();
}

static void check(bool holds) {
  if (!holds) abort();
}

static void check_round_trip(const ir_graph *g, arena *a, diag *d) {
  const char *text = ir_print(g, a);
  const ir_graph *again = ir_parse(a, d, "again.ir", text, strlen(text), NULL, NULL);
  check(again && strcmp(ir_print(again, a), text) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  arena *a = arena_new((size_t)1 << 30, out_of_memory, NULL);
  check(a);
  diag *d = diag_new(a);
  ir_graph *g = ir_parse(a, d, "fuzz.ir", (const char *)data, size, NULL, NULL);
  check(!g == (diag_errors(d) > 0));
  if (g) {
    check_round_trip(g, a, d);
    if (ir_verify(g, d, NULL)) {
      ir_cleanup(g);
      check(ir_verify(g, d, "cleanup"));
      check_round_trip(g, a, d);
    }
  }
  arena_free(a);
  return 0;
}
