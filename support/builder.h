/* Text that grows at its end, in an arena. */
#ifndef SPCC_SUPPORT_BUILDER_H
#define SPCC_SUPPORT_BUILDER_H

#include <stddef.h>

#include "support/arena.h"

/* Start with {.arena = …}. A zero byte follows the text after the first put. */
typedef struct builder {
  arena *arena;
  char *text;
  size_t size, room; /* bytes of text; bytes there, the final zero included */
} builder;

void put_bytes(builder *b, const char *s, size_t n);
void put(builder *b, const char *s);
void putf(builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
