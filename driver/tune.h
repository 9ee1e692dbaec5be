/* --tune: measuring the ways to run a graph's linears, instead of predicting which is fastest. */
#ifndef SPCC_DRIVER_TUNE_H
#define SPCC_DRIVER_TUNE_H

#include "driver/model.h"
#include "support/builder.h"

/* For the linears of a graph that is ready for the pass partition: measures what the cache lacks,
 * as long as --tune allows, and sets o->pass.tuned. */
bool tune_graph(driver *dr, const ir_graph *g, build_options *o);

/* ---- the cache ---- */
/* The time of one way to run the linears of a class, per token, in the unit of cost.def. */
typedef struct tune_record {
  const char *class, *cut; /* as linear_class and cut_print spell them */
  double time;
} tune_record;

/* Records of these kernels, ISA level and kind of CPU, and the lines of others. */
typedef struct tune_cache {
  const char *path;
  const char *key;
  builder others; /* lines that are kept as they are */
  tune_record *list;
  uint32_t count, capacity;
} tune_cache;

/* Reads --tune-cache, or the file in the user's cache; a file that is not there is empty. */
bool tune_cache_read(driver *dr, enum isa_level isa, tune_cache *c);
bool tune_cache_write(driver *dr, const tune_cache *c);
/* NULL when there is none. */
const tune_record *tune_cache_find(const tune_cache *c, const char *class, const char *cut);
void tune_cache_add(arena *a, tune_cache *c, tune_record r);

#endif
