/* Small weight files for tests. */
#ifndef SPCC_TESTS_WEIGHTS_H
#define SPCC_TESTS_WEIGHTS_H

#include "tests/unit/scratch.h"

#include "frontend/safetensors.h"

/* Writes the file `name`: the header, with its length before it, and `size` bytes of data. */
static inline void put_weights(const char *name, const char *header, const void *data,
                               size_t size) {
  size_t length = strlen(header);
  unsigned char *all = arena_alloc(mem, ST_PREFIX + length + size, 1);
  for (int i = 0; i < ST_PREFIX; i++)
    all[i] = (unsigned char)(length >> 8 * i);
  memcpy(all + ST_PREFIX, header, length);
  if (data) memcpy(all + ST_PREFIX + length, data, size);
  put_file(name, all, ST_PREFIX + length + size);
}

/* An entry of a header: a tensor of two F32. */
#define PAIR(name, begin, end)                                                                     \
  "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #begin "," #end "]}"

#endif
