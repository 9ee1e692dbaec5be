/* The frontend: model.yaml, Hugging Face folders and safetensors to the graph IR. */
#ifndef SPCC_FRONTEND_FRONTEND_H
#define SPCC_FRONTEND_FRONTEND_H

#include "ir/ir.h"
#include "support/file.h"

/* ---- safetensors ---- */
typedef struct st_tensor {
  const char *name;
  const char *dtype; /* "F32", "F16", "BF16", "I64" … as in the file */
  uint32_t rank;
  int64_t dim[IR_MAX_RANK];
  uint64_t begin, end; /* bytes in the file */
  uint32_t shard;      /* index of the file in the set */
  bool used;
} st_tensor;

/* The tensors of one file, or of all shards of an index. */
typedef struct st_set st_set;
/* Opens `name` in `dir` (NULL: name is a path) and reads its header. */
st_set *st_open(arena *a, diag *d, const char *dir, const char *name);
/* Opens a model folder: model.safetensors, or the shards of model.safetensors.index.json, or the
 * only *.safetensors in it. */
st_set *st_open_folder(arena *a, diag *d, const char *dir);
size_t st_count(const st_set *s);
st_tensor *st_at(const st_set *s, size_t i);
st_tensor *st_find(const st_set *s, const char *name);
/* The elements of an F32, F16 or BF16 tensor as f32 (in the arena); marks it used. E_W_DTYPE for
 * other types, E_NONFINITE naming the tensor and the flat index of the first NaN or infinity. */
const float *st_read_f32(st_set *s, diag *d, arena *a, st_tensor *t);
/* Raw bytes of any tensor. */
const unsigned char *st_read_raw(st_set *s, diag *d, arena *a, const st_tensor *t);
/* Files of the set. */
uint32_t st_shard_count(const st_set *s);
/* Path of file i. */
const char *st_shard_name(const st_set *s, uint32_t i);
/* Closes the files; false when one changed while it was read. */
bool st_close(st_set *s, diag *d);

/* Encodes f32 as "F32", "F16" or "BF16", rounding to nearest even; false when a finite number is
 * none in that type. */
bool st_encode_f32(const char *dtype, const float *from, size_t count, void *to);
/* Writes tensors as one safetensors file. dtype is "F32", "F16", "BF16" …; data has the bytes. */
typedef struct st_write_tensor {
  const char *name, *dtype;
  uint32_t rank;
  int64_t dim[IR_MAX_RANK];
  const void *data;
  size_t size;
} st_write_tensor;
bool st_write(arena *a, diag *d, const char *path, const st_write_tensor *t, size_t count,
              const char *format_metadata);
/* The same bytes, in memory; `path` is for messages. */
bool st_format(arena *a, diag *d, const char *path, const st_write_tensor *t, size_t count,
               bytes *out);

/* ---- model.yaml ---- */
typedef struct model_source {
  ir_graph *graph;      /* verified */
  const char *name;     /* base name of the yaml without suffix, made a C identifier */
  const char *folder;   /* the Hugging Face folder; NULL for the graph form */
  st_set *weights;      /* still open for reading; NULL when the model has none */
  const char **linears; /* names of the weight tensors that feed linears of the encoder */
  uint32_t linear_count;
} model_source;

typedef struct model_overrides {
  const char *name;                /* --name; NULL: from the file */
  int64_t max_batch, max_sequence; /* 0: from the file */
} model_overrides;

/* Reads model.yaml and everything it names. NULL after errors (all of them are in `d`). */
model_source *model_read(arena *a, diag *d, const char *path, const model_overrides *o);
/* The same from text, for fuzzing; files are looked up in `dir`. */
model_source *model_read_text(arena *a, diag *d, const char *shown, const char *dir,
                              const char *text, size_t size, const model_overrides *o);

/* A C identifier of at most 63 characters that is no keyword of C or C++ and does not begin with
 * "spcc" or an underscore. */
bool model_name_ok(const char *name);

#endif
