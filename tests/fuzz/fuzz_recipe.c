/* recipe.yaml of any content: reading never crashes, and gives either a recipe, in the limits of
 * libspo, or errors; so does choosing weights by it. */
#include <stdlib.h>
#include <string.h>

#include "frontend/recipe.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void out_of_memory(void *context, size_t size) {
  (void)context, (void)size;
  abort();
}

static void check(bool holds) {
  if (!holds) abort();
}

static void check_recipe(const recipe *r, arena *a, diag *d) {
  static const char *const weights[] = {"encoder.layer.0.attention.self.query.weight",
                                        "encoder.layer.0.output.dense.weight", "w"};
  uint32_t entry_of[3];
  check(r->count > 0);
  for (uint32_t i = 0; i < r->count; i++)
    check(spo_recipe_check(&r->entries[i].options, NULL) == SPO_OK);
  bool ok = recipe_choose(a, d, r, weights, 3, entry_of);
  check(ok == (diag_errors(d) == 0));
  for (int i = 0; ok && i < 3; i++)
    check(entry_of[i] < r->count || entry_of[i] == RECIPE_NONE);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  arena *a = arena_new((size_t)1 << 30, out_of_memory, NULL);
  check(a);
  diag *d = diag_new(a);
  char *text = arena_alloc(a, size + 1, 1);
  memcpy(text, data, size);
  const recipe *r = recipe_read_text(a, d, "fuzz.yaml", text, size);
  check(!r == (diag_errors(d) > 0));
  if (r) check_recipe(r, a, d);
  arena_free(a);
  return 0;
}
