/* spcc runtime: the call contract of compiled models, CPU levels, a thread pool.
 *
 * A compiled model `bert` exports bert_run, bert_workspace and bert_info, and needs nothing of this
 * library to run on one thread; a header of its own declares them. Fields of the structs here are
 * only ever appended, and `size` tells which ones a caller knows. See docs/abi.md. */
#ifndef SPCC_RT_H
#define SPCC_RT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPCC_ABI 1u

typedef enum spcc_status {
  SPCC_OK = 0,
  SPCC_E_NULL = 1,    /* a required pointer is NULL */
  SPCC_E_ALIGN = 2,   /* a buffer is not aligned: 4 bytes for inputs and outputs, 64 for the rest */
  SPCC_E_SIZE = 3,    /* a buffer is too small; inputs and outputs must fit exactly or be larger */
  SPCC_E_DIM = 4,     /* batch, sequence or a length is negative or over its limit */
  SPCC_E_INDEX = 5,   /* a token or type id is outside its table */
  SPCC_E_DIGEST = 6,  /* call->model or the weights belong to another model */
  SPCC_E_ABI = 7,     /* call->size or exec->size is of an unknown ABI */
  SPCC_E_CPU = 8,     /* this CPU lacks what the object was compiled for */
  SPCC_E_THREADS = 9, /* exec->threads is 0 or exec->parallel_for is NULL */
  SPCC_E_ALIAS = 10,  /* the workspace or an output overlaps another buffer */
  SPCC_E_MEMORY = 11, /* runtime helpers only: out of memory or threads */
  SPCC_STATUS_COUNT
} spcc_status;

/* One line about a status, never NULL. */
const char *spcc_status_text(spcc_status status);

/* CPU levels of x86-64 (the psABI's), in rising order; UNKNOWN asks for detection. */
typedef enum spcc_cpu_level {
  SPCC_CPU_UNKNOWN = 0,
  SPCC_CPU_BASELINE = 1,
  SPCC_CPU_X86_64_V3 = 3, /* AVX2, FMA, BMI2, F16C ... */
  SPCC_CPU_X86_64_V4 = 4  /* AVX-512 F BW CD DQ VL */
} spcc_cpu_level;

/* The highest level that this CPU and operating system support. */
uint32_t spcc_cpu(void);
/* "x86-64-v4" ... */
const char *spcc_cpu_name(uint32_t level);

/* Runs tasks. parallel_for calls task(arg, i) once for each i in [0, n), n <= threads, in any order
 * and on any threads, and returns when all have returned. Tasks never wait for each other.
 * hook, when not NULL, is called on the calling thread before (enter = 1) and after (enter = 0)
 * each step of the model; step is an index into spcc_info's steps. A call of many sequences goes
 * through all steps several times, for one group of sequences after the other. */
typedef struct spcc_exec spcc_exec;
struct spcc_exec {
  uint32_t size;    /* sizeof(spcc_exec) */
  uint32_t threads; /* at least 1 */
  void (*parallel_for)(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                       void *arg);
  void *context; /* for parallel_for and hook */
  void (*hook)(const spcc_exec *exec, uint32_t step, uint32_t enter);
};

/* One call of a model. Zero it, set size and what is needed. */
typedef struct spcc_call {
  uint32_t size;           /* sizeof(spcc_call) */
  uint32_t cpu;            /* level from spcc_cpu(), obtained once; 0 detects on this call */
  uint64_t model;          /* digest from the model's header; 0: unchecked */
  int32_t batch, sequence; /* 1 ... the model's limits; 0 computes nothing */
  const int32_t *lengths;  /* NULL: rectangular [batch, sequence]; else `batch` lengths, each
                              0 ... sequence, and rows concatenated */
  const void *const *in;   /* in the order of spcc_info.inputs; NULL entries for absent ones */
  void *const *out;        /* in the order of spcc_info.outputs */
  void *const *state;      /* reserved: NULL */
  const size_t *in_bytes, *out_bytes;
  const void *weights; /* NULL: the embedded ones */
  size_t weights_bytes;
  void *workspace; /* <name>_workspace(batch, sequence, threads) bytes, aligned to 64 */
  size_t workspace_bytes;
  const spcc_exec *exec; /* NULL: this thread alone */
} spcc_call;

/* Element types. */
enum { SPCC_F32 = 0, SPCC_I32 = 1 };
/* Symbolic dimensions in spcc_tensor.dim; DIM_N: total tokens with lengths, never listed. */
enum { SPCC_DIM_BATCH = -1, SPCC_DIM_SEQUENCE = -2 };

typedef struct spcc_tensor {
  const char *name;
  uint32_t dtype, rank;
  int64_t dim[4]; /* with call->lengths, [BATCH, SEQUENCE, ...] stands for [sum of lengths, ...] */
  uint32_t optional; /* inputs: 1 when NULL is accepted */
  int32_t absent;    /* the value that every element then has */
} spcc_tensor;

/* One weight of a linear, or one part of it. */
typedef struct spcc_layer {
  const char *name;
  const char *pattern; /* "4x1", "dense" ... */
  const char *kernel;
  uint32_t rows, cols; /* outputs, inputs of the whole weight */
  uint64_t nnz;        /* non-zeros of this part */
  uint64_t bytes;      /* of its packed stream */
} spcc_layer;

/* What a step computes. */
typedef enum spcc_step_kind {
  SPCC_STEP_LINEAR = 1, /* with its bias, activation and residual */
  SPCC_STEP_ATTENTION = 2,
  SPCC_STEP_LAYERNORM = 3,
  SPCC_STEP_EMBEDDING = 4,
  SPCC_STEP_POINTWISE = 5, /* an activation, sum or product of its own */
  SPCC_STEP_BORDER = 6     /* between the caller's memory and the model's */
} spcc_step_kind;

/* A step's work: a call's multiply-adds are rows * (macs + macs_per_key * keys), where rows are the
 * computed tokens, or the sequences, and keys the tokens of the row's sequence. Only products of
 * matrices count. */
typedef struct spcc_step {
  uint32_t kind;          /* spcc_step_kind */
  uint32_t per_sequence;  /* 1: one row per sequence; 0: per token */
  uint32_t layer, layers; /* a linear's parts: spcc_info.layers[layer ... layer + layers - 1] */
  uint64_t macs;          /* per row: the non-zeros of a linear's weight */
  uint64_t dense_macs;    /* per row, were no weight zero */
  uint64_t macs_per_key;  /* per row and key: attention's two products */
} spcc_step;

typedef struct spcc_info {
  uint32_t size, abi;
  const char *name;
  uint64_t digest; /* of the weights and the code's contract */
  const spcc_tensor *inputs, *outputs;
  uint32_t input_count, output_count;
  int32_t max_batch, max_sequence;
  const uint32_t *levels; /* ISA levels in the object, falling */
  uint32_t level_count;
  uint32_t weights_embedded;
  uint64_t weights_bytes;
  const spcc_layer *layers;
  uint32_t layer_count;
  uint32_t step_count;
  const char *const *steps;   /* names of the steps that exec->hook sees */
  uint64_t parameters, nnz;   /* of all linears */
  const spcc_step *step_work; /* step_count of them; NULL in objects older than this field */
  uint64_t reserved[3];
} spcc_info;

typedef spcc_status spcc_run_fn(const spcc_call *call);
typedef size_t spcc_workspace_fn(int32_t batch, int32_t sequence, uint32_t threads);
typedef const spcc_info *spcc_info_fn(void);

/* ---- thread pool ---- */
typedef struct spcc_pool spcc_pool;
/* How a pool is made. Zero it, set size and what is wanted. */
typedef struct spcc_pool_options {
  uint32_t size;    /* sizeof(spcc_pool_options) */
  uint32_t threads; /* the caller's included; 0, or more than CPUs that the process may use: one for
                       each of those */
  uint32_t pin;     /* 1: the workers stay on CPUs of their own, the second of the process and up;
                       the caller goes where the system wants */
  uint32_t crowd;   /* 1: exactly `threads`, though they have to share CPUs */
} spcc_pool_options;
/* A pool of threads, the caller's included. NULL when out of memory or threads, or when `pin` is
 * asked for and the system does not say which CPUs there are. Workers spin for a while after work,
 * then sleep. */
spcc_pool *spcc_pool_open(const spcc_pool_options *options);
/* The same with `threads` alone set. */
spcc_pool *spcc_pool_new(uint32_t threads);
void spcc_pool_free(spcc_pool *pool);
/* The pool as an exec for spcc_call; valid as long as the pool. One call at a time may use a pool:
 * a second one at the same time runs its tasks on its own thread alone, with the same result. */
const spcc_exec *spcc_pool_exec(spcc_pool *pool);

/* ---- memory ---- */
/* `bytes` of memory aligned to 64, to be freed by spcc_free; NULL when there is none. */
void *spcc_alloc(size_t bytes);
void spcc_free(void *memory);
/* Maps a weights file written by --weights=file read-only; NULL on failure. */
const void *spcc_map_weights(const char *path, size_t *bytes);
void spcc_unmap_weights(const void *weights, size_t bytes);

/* ---- per-step times ---- */
typedef struct spcc_profile spcc_profile;
/* Wraps `exec` (NULL: this thread alone) in one that measures every step of `info`'s model. */
spcc_profile *spcc_profile_new(const spcc_info *info, const spcc_exec *exec);
const spcc_exec *spcc_profile_exec(spcc_profile *profile);
/* Nanoseconds that a step took so far, and how often it ran. */
void spcc_profile_step(const spcc_profile *profile, uint32_t step, uint64_t *ns, uint64_t *calls);
void spcc_profile_free(spcc_profile *profile);

#ifdef __cplusplus
}
#endif
#endif
