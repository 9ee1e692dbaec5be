/* What the linears of a model read while it runs over sentences: the calibration of pruning.
 *
 * The model is compiled once, dense, with an output (a tap) for each different input of the linears
 * that are asked for. Its weights lie outside of the code, so that they can be replaced as they are
 * pruned. */
#ifndef SPCC_DRIVER_TAPS_H
#define SPCC_DRIVER_TAPS_H

#include "driver/model.h"
#include "driver/session.h"

/* Sentences as token ids, one behind the other. */
typedef struct token_set {
  const int32_t *ids;
  const size_t *start; /* [count + 1]: sentence i is ids[start[i]] … ids[start[i + 1] - 1] */
  size_t count;
} token_set;

typedef struct tap {
  const char *weight; /* of the linear: a tensor of the checkpoint */
  size_t rows, cols;  /* of the weight; it reads cols numbers a token */
  const float *bias;  /* [rows]; NULL: none */
  bool relu;          /* of its outputs comes a ReLU */
  ir_id constant;
  uint32_t output; /* of the compiled model; linears that read the same value share one */
} tap;

typedef struct taps {
  driver *dr;
  ir_graph *graph; /* as it was read, with the taps as outputs; its constants are replaced */
  build_options options;
  tap *list; /* in the order in which they were asked for */
  size_t count;
  uint32_t threads;
  jit_model *jit;
  jit_entry entry;
  uint64_t digest;
  arena *weights_arena;
  bytes weights;
} taps;

/* Compiles the model for this CPU, with taps for the `count` weights named. False after an error;
 * taps_close either way. */
bool taps_open(driver *dr, const model_source *m, const char *const *weights, size_t count,
               uint32_t threads, taps *out);
/* Takes `w` [rows, cols], which stays the caller's, for the weight of tap i from the next
 * taps_refresh on. */
void taps_replace(taps *t, size_t i, const float *w);
/* Packs the weights as they are now. */
bool taps_refresh(taps *t);

/* What the linear of a tap read: x [tokens, cols]. False ends the run. */
typedef bool tap_reader(void *context, size_t tap, const float *x, size_t tokens);
/* Runs the model over all sentences, and lets `read` see what the taps first … first + count - 1
 * read. Sentences of one length run together; none is padded. */
bool taps_run(taps *t, const token_set *set, size_t first, size_t count, tap_reader *read,
              void *context);
void taps_close(taps *t);

#endif
