/* Pairs of rows that share the loads of their common inputs. */
#ifndef SPCC_CODEGEN_PAIRS_H
#define SPCC_CODEGEN_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "support/arena.h"

/* Two rows of 0 … rows - 1: the units that both have, and those that row[0] has alone; row[1] has
 * as many of its own or less. A row without a partner is both, and shares nothing. */
typedef struct row_pair {
  uint32_t row[2];
  uint32_t shared, own;
} row_pair;

/* Pairs rows, whose units are bits[rows][words], so that many are shared. Writes (rows + 1) / 2
 * pairs, by rising `shared`, then `own`, and returns their number. */
uint32_t pair_rows(arena *a, const uint64_t *bits, uint32_t words, uint32_t rows, row_pair *out);

#endif
