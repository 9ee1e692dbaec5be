/* SHA-256 (FIPS 180-4), by libmd. */
#ifndef SPCC_SUPPORT_SHA256_H
#define SPCC_SUPPORT_SHA256_H

#include <stddef.h>

#include "support/arena.h"

typedef struct sha256 {
  unsigned char byte[32];
} sha256;

sha256 sha256_of(const void *data, size_t size);
/* 64 lower-case hex digits. */
char *sha256_hex(arena *a, const sha256 *h);

#endif
