/* Prunes a small linear with the installed libspo, and prints "ok". */
#include <stdio.h>

#include "spo_oneshot.h"

int main(void) {
  float x[3][2] = {{1, 0}, {0, 2}, {1, 1}}, w[2] = {3, 2};
  unsigned char mask[2];
  spo_layer layer = {"w", w, mask, 1, 2};
  spo_report report;
  spo_error error;
  spo_recipe recipe;
  spo_gram *gram = NULL;
  spo_recipe_init(&recipe, SPO_SPARSEGPT);
  recipe.goal.sparsity = 0.5;
  spo_status status = spo_gram_open(SPO_GRAM_WHOLE, 2, &gram, &error);
  if (status == SPO_OK) status = spo_gram_add(gram, "w", &x[0][0], 3, NULL, &error);
  if (status == SPO_OK) status = spo_sparsegpt(&recipe, &layer, gram, &report, NULL, &error);
  spo_gram_close(gram);
  if (status != SPO_OK || report.kept != 1) {
    fprintf(stderr, "libspo: %s\n", status == SPO_OK ? "a wrong count" : error.text);
    return 1;
  }
  puts("ok");
  return 0;
}
