/* Calls of the test models with buffers of their own, plain or against guard pages. */
#ifndef SPCC_TESTS_ABI_CALL_H
#define SPCC_TESTS_ABI_CALL_H

#include <stdbool.h>

#include "runtime/spcc_rt.h"

enum { MAX_TENSORS = 4, MAX_BATCH = 4 };
enum { IN_IDS, IN_MASK, IN_TYPES, IN_COUNT };
enum { OUT_STATES, OUT_POOLED, OUT_COUNT };

/* What a model exports, and what the tests know about it. */
typedef struct model {
  const char *name;
  spcc_run_fn *run;
  spcc_workspace_fn *workspace;
  spcc_info_fn *info;
  int32_t vocab;
  const char *weights; /* file of the packed weights; NULL: embedded */
} model;

/* Four objects: `twin` is `tiny` compiled again under another name, `generic` is it compiled with
 * --pipeline=generic, `other` has odd sizes and its weights in a file. */
extern const model tiny, twin, generic, other;

/* Where buffers lie: in plain memory; or each in pages of its own, its first byte after, or its
 * last byte before a page that cannot be accessed. Guarded inputs and weights are read-only. */
typedef enum place { PLAIN, AFTER_GUARD, BEFORE_GUARD } place;

typedef struct mapping {
  void *pages;
  size_t size;
} mapping;

typedef struct shape {
  int32_t batch, sequence;
  const int32_t *lengths; /* [batch] or NULL */
  bool mask, types;       /* whether these inputs are given; the mask has holes */
  uint32_t threads;       /* of exec; 0: none */
} shape;

typedef struct buffers {
  const model *model;
  spcc_call *call; /* in memory like that of the inputs */
  place place;
  int32_t *in[MAX_TENSORS];
  float *out[MAX_TENSORS];
  size_t in_bytes[MAX_TENSORS], out_bytes[MAX_TENSORS];
  spcc_exec exec;
  mapping maps[32];
  uint32_t map_count;
  void *block[32];
  uint32_t block_count;
} buffers;

/* A valid call of `m`. The outputs hold 0x7f bytes, the workspace random ones. Equal models, shapes
 * and seeds give equal inputs wherever the buffers lie. */
void buffers_init(buffers *b, const model *m, shape s, place p, uint32_t seed);
void buffers_free(buffers *b);

/* Checks that a run of b succeeds. */
void run_ok(buffers *b);
/* Checks that both have the same outputs, bit for bit. */
void same_outputs(const buffers *a, const buffers *b);
/* Checks that outputs are finite and that all of them were written. */
void outputs_written(const buffers *b);

/* An exec that runs the tasks on the calling thread, the last first. */
spcc_exec reverse_exec(uint32_t threads);

#endif
