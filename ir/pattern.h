/* Sparsity patterns and their one spelling: dense, unstructured, RxC (R outputs by C inputs),
 * N:M (keep N of M consecutive inputs), N:MxR (the same choice shared by R outputs). */
#ifndef SPCC_IR_PATTERN_H
#define SPCC_IR_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

enum pattern_kind { PATTERN_DENSE, PATTERN_UNSTRUCTURED, PATTERN_BLOCK, PATTERN_NM };

typedef struct pattern {
  enum pattern_kind kind;
  uint32_t rows; /* BLOCK: outputs of a block; NM: outputs that share a choice; 1 … 256 */
  uint32_t cols; /* BLOCK: inputs of a block, 1 … 256 */
  uint32_t n, m; /* NM: keep n of m, 1 <= n <= m <= 256 */
} pattern;

enum { PATTERN_TEXT_MAX = 32 };

/* Reads a spelling; false when it is none. */
bool pattern_parse(const char *text, pattern *out);
/* Writes the spelling into text[PATTERN_TEXT_MAX] and returns it. */
char *pattern_print(const pattern *p, char *text);
bool pattern_equal(const pattern *a, const pattern *b);

#endif
