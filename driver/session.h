/* Running a compiled model: a shared object or one loaded in-process. */
#ifndef SPCC_DRIVER_SESSION_H
#define SPCC_DRIVER_SESSION_H

#include "codegen/codegen.h"
#include "driver/driver.h"
#include "runtime/spcc_rt.h"

/* ---- shared objects ---- */
typedef struct library {
  void *handle;
  jit_entry entry;
  const spcc_info *info;
  uint64_t object_bytes; /* of the file */
  const void *weights;   /* of --weights-file; NULL: embedded */
  size_t weights_bytes;
} library;

/* Loads what --emit=shared made, and --weights-file when it is given. E_OBJECT. */
bool library_open(driver *dr, const char *path, library *lib);
void library_close(library *lib);

/* ---- calls ---- */
/* One call of a model, to be made again and again: buffers, workspace, threads. */
typedef struct session {
  const spcc_info *info;
  spcc_run_fn *run;
  spcc_call call;
  const void **in; /* set by the user before session_run; NULL: absent */
  void **out;      /* made by session_open, all inputs' sizes being known by then */
  size_t *in_bytes, *out_bytes;
  spcc_pool *pool; /* NULL: one thread */
} session;

/* Bytes of a tensor in a call; false on overflow. */
bool tensor_bytes(const spcc_tensor *t, int32_t batch, int32_t sequence, size_t *size);

/* True when batch and sequence are within a model's limits; else E_DIM. */
bool session_fits(driver *dr, int64_t max_batch, int64_t max_sequence, int64_t batch,
                  int64_t sequence);
/* Prepares a call; `weights` may be NULL (embedded). */
bool session_open(driver *dr, const jit_entry *entry, const void *weights, size_t weights_bytes,
                  int32_t batch, int32_t sequence, uint32_t threads, session *s);
/* Makes the call; E_RUN with the status when the model refuses it. */
bool session_run(driver *dr, session *s);
void session_close(session *s);

/* Threads of a call: -j, and at most one per CPU that the process may use. */
uint32_t session_threads(const driver *dr);
/* Tokens of a sequence: -l, or a usual length that the model takes. */
int32_t session_length(const driver *dr, int64_t max_sequence);

#endif
