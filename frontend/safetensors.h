/* Inside of the safetensors reader and writer; frontend.h has what others call.
 *
 * A file is: 8 bytes, the little-endian length of the header; the header, a JSON object with one
 * entry per tensor; the data, in which every byte belongs to exactly one tensor. */
#ifndef SPCC_FRONTEND_SAFETENSORS_H
#define SPCC_FRONTEND_SAFETENSORS_H

#include "frontend/frontend.h"

enum {
  ST_PREFIX = 8, /* bytes of the header's length */
  ST_MAX_HEADER = 100000000,
  ST_MAX_TENSORS = 65536,
  ST_MAX_NAME = 512
};
/* The one key of a header that is not a tensor: a map of strings. */
#define ST_METADATA "__metadata__"
#define ST_MAX_DIM INT64_C(0x7fffffff)
#define ST_MAX_ELEMENTS (UINT64_C(1) << 40)

/* A row of dtypes.def. */
typedef struct st_dtype {
  const char *name;
  uint32_t bytes;
} st_dtype;
/* NULL for a name that is not in the table. */
const st_dtype *st_dtype_find(const char *name);
/* All names, separated by spaces, for messages. */
extern const char st_dtype_names[];

/* Number of elements of a tensor; true within the limits only. For what st_parse has accepted. */
uint64_t st_elements(const st_tensor *t);
/* Checks name, type and shape alike for reading and writing, and gives the bytes that they ask for:
 * E_W_NAME, E_W_DIM, E_W_OVERFLOW, E_LIMIT. */
bool st_check_tensor(diag *d, const char *shown, const st_tensor *t, const st_dtype *type,
                     uint64_t *size);

/* The length of the header, from the file's first 8 bytes and its size: E_W_HEADER, E_LIMIT,
 * E_W_SHORT. `got` is how many bytes the file had, at most 8. */
bool st_header_size(diag *d, const char *shown, const unsigned char *prefix, size_t got,
                    uint64_t file_size, size_t *size);

/* The tensors of a header, in its order; every rule of the format is checked, so all ranges lie
 * in the file, apart from each other and without a gap. */
typedef struct st_header {
  st_tensor *tensor;
  size_t count;
} st_header;
bool st_parse(arena *a, diag *d, const char *shown, const char *text, size_t size,
              uint64_t file_size, st_header *out);

#endif
