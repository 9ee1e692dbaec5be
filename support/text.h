/* Small questions about strings, and how they are shown. */
#ifndef SPCC_SUPPORT_TEXT_H
#define SPCC_SUPPORT_TEXT_H

#include <stdbool.h>
#include <string.h>

#include "support/arena.h"

static inline bool text_ends_with(const char *text, const char *suffix) {
  size_t n = strlen(text), s = strlen(suffix);
  return n >= s && strcmp(text + n - s, suffix) == 0;
}

/* Names out of files stand in messages and tables: each byte of a control character becomes \xNN,
 * so that a line stays one line and cannot steer the terminal. `text` itself when there is none. */
const char *text_escape(arena *a, const char *text);

#endif
