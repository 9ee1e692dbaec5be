/* Sets as bits. */
#ifndef SPCC_SUPPORT_BITS_H
#define SPCC_SUPPORT_BITS_H

#include <stdint.h>

/* How many bits of `x` are set. */
static inline uint32_t bits_in(uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  return (uint32_t)((((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u) >> 56);
}

#endif
