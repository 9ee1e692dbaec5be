#include "support/sha256.h"

#include <sha2.h>

sha256 sha256_of(const void *data, size_t size) {
  sha256 h;
  SHA2_CTX context;
  SHA256Init(&context);
  if (size) SHA256Update(&context, data, size);
  SHA256Final(h.byte, &context);
  return h;
}

char *sha256_hex(arena *a, const sha256 *h) {
  static const char digits[] = "0123456789abcdef";
  char *hex = arena_alloc(a, 2 * sizeof h->byte + 1, 1);
  for (size_t i = 0; i < sizeof h->byte; i++) {
    hex[2 * i] = digits[h->byte[i] >> 4];
    hex[2 * i + 1] = digits[h->byte[i] & 15];
  }
  return hex;
}
