/* An order of channels in which each four that stand together have much in common. */
#ifndef SPCC_PASSES_FOURS_H
#define SPCC_PASSES_FOURS_H

#include <stdint.h>

#include "support/arena.h"

enum { FOUR = 4 };

/* What a channel reads, as a set: `words` words per channel. */
typedef struct supports {
  uint64_t *bits; /* [count][words] */
  size_t count, words;
} supports;

/* Writes the channels into order[count], in fours from the first one on such that many inputs are
 * read by all of a four, or by three of them; the last count % 4 are what is left. Channels with
 * equal supports stand together, the ones that read most first. Takes time in proportion to
 * count * words. */
void order_in_fours(arena *a, const supports *s, size_t *order);

#endif
