/* One-shot magnitude pruning. */
#include "optimizer/spo.h"

spo_status spo_magnitude(const spo_goal *goal, spo_layer *layer, spo_report *report,
                         const spo_pool *pool, spo_error *error) {
  float *w = layer->w;
  spo_status status =
      spo_project(goal, layer->name, w, layer->rows, layer->cols, layer->mask, pool, error);
  if (status != SPO_OK) return status;
  *report = (spo_report){.total = layer->rows * layer->cols};
  for (size_t i = 0; i < report->total; i++) {
    if (!layer->mask[i]) w[i] = 0;
    report->kept += layer->mask[i];
    report->nonzero += w[i] != 0;
  }
  return SPO_OK;
}
