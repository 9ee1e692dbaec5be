/* JSON, by jansson, with the limits and located messages that untrusted files need.
 *
 * Before jansson builds its tree, a scan over the tokens refuses what would cost too much (depth,
 * number of values, long strings and numbers) and what jansson would report without its place. */
#ifndef SPCC_FRONTEND_JSON_H
#define SPCC_FRONTEND_JSON_H

#include <jansson.h>

#include "support/diag.h"
#include "support/file.h"

enum {
  JSON_MAX_DEPTH = 32,
  JSON_MAX_STRING = 8 << 20, /* bytes of one string; metadata of some weight files is long */
  JSON_MAX_NUMBER = 64,      /* bytes of one number */
  /* Of the whole tree, in units of about 64 bytes of jansson's memory: 8 for an object or a list,
   * 2 for a string, 1 for anything else. */
  JSON_MAX_COST = 1 << 22
};

/* One JSON text. In a safetensors header (`weights`) places are byte offsets of the file, codes
 * are those of weight files, and shapes and offsets must be plain non-negative integers. */
typedef struct json_text {
  const char *shown; /* file name in messages */
  const char *text;
  size_t size;
  bool weights;
  uint64_t base; /* with `weights`: offset of the text in the file */
} json_text;

/* Parses; NULL after an error. The root is an object. Keys are unique. Free it by json_decref. */
json_t *json_parse(diag *d, const json_text *in);

/* Reads dir/name, of at most `max` bytes, and parses it; `in` is filled for json_place. */
json_t *json_read_file(arena *a, diag *d, const char *dir, const char *name, size_t max,
                       json_text *in);

/* Where the value of `key` begins in the root object; the whole file when there is no such key. */
src_loc json_place(const json_text *in, const char *key);

#endif
