/* "did you mean": the nearest of some known words. */
#ifndef SPCC_FRONTEND_SUGGEST_H
#define SPCC_FRONTEND_SUGGEST_H

#include <stddef.h>

#include "support/arena.h"

/* Start with {.word = the unknown word}, then offer every known word. */
typedef struct suggestion {
  const char *word;
  const char *best; /* NULL: nothing is near */
  size_t distance;  /* of best */
} suggestion;

/* Keeps `known` when it is nearer than the best so far; far words (over 2 edits, over 1 for a
 * word of up to 4 letters) are never kept. */
void suggest_offer(suggestion *s, const char *known);

/* "; did you mean 'x'?", or "" when nothing is near. */
const char *suggest_text(arena *a, const suggestion *s);

/* Damerau-Levenshtein distance with adjacent swaps; words of over 63 bytes are SIZE_MAX away. */
size_t edit_distance(const char *a, const char *b);

#endif
