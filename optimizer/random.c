/* Random numbers that are a function of where they are used: Philox4x32-10 of "Parallel random
 * numbers: as easy as 1, 2, 3" (Salmon et al., 2011). There is no state to keep, and any thread can
 * draw any of them. */
#include "optimizer/spo.h"

enum { ROUNDS = 10 };

static const uint32_t multiplier[2] = {0xD2511F53u, 0xCD9E8D57u};
static const uint32_t weyl[2] = {0x9E3779B9u, 0xBB67AE85u}; /* added to the key after each round */

void spo_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t a = (uint64_t)multiplier[0] * c[0], b = (uint64_t)multiplier[1] * c[2];
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
                        (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
    for (int i = 0; i < 4; i++)
      c[i] = next[i];
    k[0] += weyl[0];
    k[1] += weyl[1];
  }
  for (int i = 0; i < 4; i++)
    out[i] = c[i];
}

/* FNV-1a. */
uint32_t spo_name_hash(const char *name) {
  uint32_t hash = 2166136261u;
  for (; *name; name++)
    hash = (hash ^ (unsigned char)*name) * 16777619u;
  return hash;
}

static void draw(const spo_random *r, uint64_t index, uint32_t out[4]) {
  const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), r->stream, r->step};
  const uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
  spo_philox(counter, key, out);
}

uint64_t spo_random_bits(const spo_random *r, uint64_t index) {
  uint32_t x[4];
  draw(r, index, x);
  return (uint64_t)x[1] << 32 | x[0];
}

double spo_random_unit(const spo_random *r, uint64_t index) {
  return ((double)(spo_random_bits(r, index) >> 12) + 0.5) * 0x1p-52;
}
