/* sparsity.json: what a sparsifier says of the weights beside it. Where the file is there, the
 * weights have to be so still.
 *
 *   {"version": 1,
 *    "tensors": {"encoder.layer.0.output.dense.weight":
 *                {"pattern": "4x1", "kept": 117965, "mask": "3f…"}}}
 *
 * kept counts the weights that were kept. mask is the SHA-256, in hex, of one bit a weight, row by
 * row, the lowest bit of a byte first, 1 where it was kept; the last byte is filled up with zeros.
 */
#ifndef SPCC_FRONTEND_SPARSITY_H
#define SPCC_FRONTEND_SPARSITY_H

#include "ir/pattern.h"
#include "support/diag.h"
#include "support/sha256.h"

#define SPARSITY_FILE "sparsity.json"

typedef struct sparsity_entry {
  const char *name; /* of the tensor */
  pattern pattern;
  uint64_t kept;
  const char *mask; /* 64 hexadecimal digits */
} sparsity_entry;

typedef struct sparsity {
  const char *shown; /* the file, for messages; NULL: there is none */
  sparsity_entry *list;
  size_t count;
} sparsity;

/* Reads the file of a folder, if it has one. False after an error. */
bool sparsity_read(arena *a, diag *d, const char *folder, sparsity *out);
/* The digest of a mask: the weights that are not zero, or, with keep, those that it marks. */
const char *sparsity_digest(arena *a, const float *w, const unsigned char *keep, size_t count);
/* False, with E_SPARSITY, when the tensor has an entry and other weights than those that were kept
 * are not zero. A kept weight may have become zero. */
bool sparsity_check(arena *a, diag *d, const sparsity *s, const char *name, const float *w,
                    size_t count);
/* The file's text. */
char *sparsity_format(arena *a, const sparsity_entry *list, size_t count);

#endif
