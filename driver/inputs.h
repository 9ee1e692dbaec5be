/* Random inputs for models, the same for every engine and the same for the same seed. */
#ifndef SPCC_DRIVER_INPUTS_H
#define SPCC_DRIVER_INPUTS_H

#include "driver/session.h"
#include "ir/ir.h"

typedef struct input {
  const char *name;
  const void *data; /* int32_t or float, row-major; NULL: absent */
  size_t count;     /* elements */
} input;

typedef struct input_set {
  input *list; /* in the order of the model's inputs */
  uint32_t count;
  int32_t batch, sequence;
} input_set;

/* The next number of a random sequence, which *state holds. */
uint64_t next_random(uint64_t *state);
/* Inputs of a graph: ids within their tables, f32 from -1 to 1. Optional ones are absent, or, with
 * `optional`, there: a mask then has holes and padding. */
bool inputs_for_graph(driver *dr, const ir_graph *g, int32_t batch, int32_t sequence, uint64_t seed,
                      bool optional, input_set *out);
/* Inputs of a model of which only the interface is known: ids from 0 to id_limit - 1, optional
 * inputs absent. */
bool inputs_for_info(driver *dr, const spcc_info *info, int32_t batch, int32_t sequence,
                     uint64_t seed, int32_t id_limit, input_set *out);
/* Lets a session use the inputs, by name. */
void inputs_bind(const input_set *set, session *s);

#endif
