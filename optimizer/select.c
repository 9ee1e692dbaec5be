/* Exact selection: radix search for the k-th largest key, then one pass in index order. */
#include <math.h>
#include <string.h>

#include "optimizer/spo.h"

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, KEY_BITS = 64 };

uint64_t spo_keep_count(uint64_t units, double sparsity) {
  double drop = floor(sparsity * (double)units + 1e-6);
  return drop >= (double)units ? 0 : units - (uint64_t)drop;
}

/* The key of rank k (1 is the largest), and in *ties how many keys equal to it are among the k
 * largest. Finds one digit of the key at a time, from the top. */
static uint64_t kth_largest(const uint64_t *key, size_t count, size_t k, size_t *ties) {
  uint64_t prefix = 0, mask = 0;
  for (unsigned shift = KEY_BITS; shift > 0;) {
    size_t histogram[DIGITS] = {0};
    shift -= DIGIT_BITS;
    for (size_t i = 0; i < count; i++)
      if ((key[i] & mask) == prefix) histogram[(key[i] >> shift) & (DIGITS - 1)]++;
    uint64_t digit = DIGITS - 1;
    while (histogram[digit] < k)
      k -= histogram[digit--];
    prefix |= digit << shift;
    mask |= (uint64_t)(DIGITS - 1) << shift;
  }
  *ties = k;
  return prefix;
}

void spo_select(const uint64_t *key, size_t count, size_t k, unsigned char *keep) {
  if (count == 0) return;
  if (k == 0 || k == count) {
    memset(keep, k != 0, count);
    return;
  }
  size_t ties;
  uint64_t threshold = kth_largest(key, count, k, &ties);
  for (size_t i = 0; i < count; i++) {
    keep[i] = key[i] > threshold || (key[i] == threshold && ties > 0);
    if (key[i] == threshold && ties > 0) ties--;
  }
}
