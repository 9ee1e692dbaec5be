/* Small questions about strings. */
#ifndef SPCC_SUPPORT_TEXT_H
#define SPCC_SUPPORT_TEXT_H

#include <stdbool.h>
#include <string.h>

static inline bool text_ends_with(const char *text, const char *suffix) {
  size_t n = strlen(text), s = strlen(suffix);
  return n >= s && strcmp(text + n - s, suffix) == 0;
}

#endif
