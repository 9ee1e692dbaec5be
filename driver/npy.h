/* NumPy's .npy files: version 1 to 3, C order, little-endian f32, i32 and i64. */
#ifndef SPCC_DRIVER_NPY_H
#define SPCC_DRIVER_NPY_H

#include "support/file.h"

enum npy_type { NPY_F32, NPY_I32, NPY_I64, NPY_TYPES };
enum { NPY_MAX_RANK = 8 };

typedef struct npy_array {
  enum npy_type type;
  uint32_t rank;
  int64_t dim[NPY_MAX_RANK];
  size_t count;     /* elements */
  const void *data; /* aligned to 8 bytes */
} npy_array;

/* "float32" … */
const char *npy_type_name(enum npy_type type);
/* Bytes of an element. */
size_t npy_type_size(enum npy_type type);

/* Reads a file: E_NPY when it is malformed or of another type or order. */
bool npy_read(arena *a, diag *d, const char *path, npy_array *out);
/* The same from the bytes of a file; `shown` is its name in messages. */
bool npy_parse(arena *a, diag *d, const char *shown, bytes whole, npy_array *out);
/* The bytes of a file that holds `array`. */
bytes npy_format(arena *a, const npy_array *array);

#endif
