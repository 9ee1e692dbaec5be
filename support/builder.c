#include "support/builder.h"

#include <stdio.h>
#include <string.h>

/* Makes room for `n` bytes and a zero; by doubling, so that a long text is not copied often. */
static void reserve(builder *b, size_t n) {
  if (b->room - b->size > n) return;
  size_t room = (b->size + n + 1) * 2;
  b->text = arena_grow(b->arena, b->text, b->size, room, 1, 1);
  b->room = room;
}

void put_bytes(builder *b, const char *s, size_t n) {
  reserve(b, n);
  if (n) memcpy(b->text + b->size, s, n);
  b->size += n;
  b->text[b->size] = '\0';
}

void put(builder *b, const char *s) {
  put_bytes(b, s, strlen(s));
}

void putf(builder *b, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int length = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (length <= 0) return;
  reserve(b, (size_t)length);
  va_start(args, format);
  vsnprintf(b->text + b->size, (size_t)length + 1, format, args);
  va_end(args);
  b->size += (size_t)length;
}
