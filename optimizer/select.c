/* Exact selection of the k largest: a radix search for the k-th key, then one pass in index order.
 * Among equals the lower index is kept. Counts are integers, so threads change nothing. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/internal.h"

uint64_t spo_keep_count(uint64_t units, double sparsity) {
  double drop = floor(sparsity * (double)units + 1e-6);
  return drop >= (double)units ? 0 : units - (uint64_t)drop;
}

/* ---- 64-bit keys ---- */

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS, KEY_BITS = 64 };

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

/* ---- magnitudes of f32, over several arrays ---- */

/* A key has 31 bits, or 32 by value, found in three digits from the top. */
enum { GRAIN = 1 << 18, LEVELS = 3, BINS = 1 << 11 };
static const unsigned shift_of[2][LEVELS] = {{20, 9, 0}, {21, 10, 0}};
static const uint32_t bins_of[2][LEVELS] = {{1 << 11, 1 << 11, 1 << 9},
                                            {1 << 11, 1 << 11, 1 << 10}};

typedef struct block {
  const float *score;
  unsigned char *keep;
  size_t count;
  uint64_t ties; /* how many keys equal to the threshold are kept */
  uint32_t bin[BINS];
} block;

typedef struct search {
  block *blocks;
  size_t count;
  bool by_value; /* not by magnitude */
  unsigned level;
  uint32_t prefix; /* the digits found, and at the end the key of rank k */
} search;

/* The bits of |x|; or, by value, all bits in an order that is that of the numbers, -0 being +0. */
static inline uint32_t key_of(float x, bool by_value) {
  uint32_t bits;
  if (by_value) x += 0.0f;
  memcpy(&bits, &x, sizeof bits);
  if (!by_value) return bits & 0x7fffffffu;
  return bits ^ (bits >> 31 ? UINT32_MAX : 0x80000000u);
}

/* The loops below are there twice, for a constant `by_value` each. */
static inline void count_first(block *b, bool by_value) {
  unsigned shift = shift_of[by_value][0];
  memset(b->bin, 0, sizeof b->bin);
  for (size_t i = 0; i < b->count; i++)
    b->bin[key_of(b->score[i], by_value) >> shift]++;
}

/* Those whose digits above are the ones found. */
static inline void count_next(block *b, const search *s, bool by_value) {
  unsigned above = shift_of[by_value][s->level - 1], shift = shift_of[by_value][s->level];
  uint32_t found = s->prefix >> above, digit = bins_of[by_value][s->level] - 1;
  memset(b->bin, 0, sizeof b->bin);
  for (size_t i = 0; i < b->count; i++) {
    uint32_t key = key_of(b->score[i], by_value);
    if (key >> above == found) b->bin[(key >> shift) & digit]++;
  }
}

static inline void count_block(block *b, const search *s, bool by_value) {
  if (s->level == 0)
    count_first(b, by_value);
  else
    count_next(b, s, by_value);
}

static void count_digit(void *arg, size_t index) {
  const search *s = arg;
  if (s->by_value)
    count_block(&s->blocks[index], s, true);
  else
    count_block(&s->blocks[index], s, false);
}

static uint64_t in_bin(const search *s, uint32_t bin) {
  uint64_t sum = 0;
  for (size_t i = 0; i < s->count; i++)
    sum += s->blocks[i].bin[bin];
  return sum;
}

/* The first digits of numbers that are not finite end at `low` and begin at `high`. */
static bool has_nonfinite(const search *s) {
  uint32_t low = s->by_value ? key_of(-FLT_MAX, true) >> shift_of[1][0] : 0;
  uint32_t high = key_of(INFINITY, s->by_value) >> shift_of[s->by_value][0];
  for (uint32_t bin = 0; bin < BINS; bin++)
    if ((bin < low || bin >= high) && in_bin(s, bin) != 0) return true;
  return false;
}

/* Finds the level's digit; *k becomes the rank among the keys that have it. */
static void find_digit(search *s, uint64_t *k) {
  uint32_t bin = bins_of[s->by_value][s->level] - 1;
  for (uint64_t here; (here = in_bin(s, bin)) < *k; bin--)
    *k -= here;
  s->prefix |= bin << shift_of[s->by_value][s->level];
}

/* The first `ties` keys that equal the threshold are kept. */
static void share_ties(search *s, uint64_t ties) {
  uint32_t bin = s->prefix & (bins_of[s->by_value][LEVELS - 1] - 1);
  for (size_t i = 0; i < s->count; i++) {
    block *b = &s->blocks[i];
    b->ties = b->bin[bin] < ties ? b->bin[bin] : ties;
    ties -= b->ties;
  }
}

static inline void mark(const block *b, const search *s, bool by_value) {
  uint32_t threshold = s->prefix, last = bins_of[by_value][LEVELS - 1] - 1;
  uint32_t equal = b->bin[threshold & last];
  uint64_t ties = b->ties;
  if (ties == 0 || ties == equal) { /* no key needs to be counted */
    uint32_t least = threshold + (ties == 0 && equal != 0);
    for (size_t i = 0; i < b->count; i++)
      b->keep[i] = key_of(b->score[i], by_value) >= least;
    return;
  }
  for (size_t i = 0; i < b->count; i++) {
    uint32_t key = key_of(b->score[i], by_value);
    b->keep[i] = key > threshold || (key == threshold && ties > 0);
    if (key == threshold && ties > 0) ties--;
  }
}

static void mark_block(void *arg, size_t index) {
  const search *s = arg;
  if (s->by_value)
    mark(&s->blocks[index], s, true);
  else
    mark(&s->blocks[index], s, false);
}

static spo_status find_nonfinite(const spo_span *spans, size_t count, spo_error *error) {
  for (size_t s = 0; s < count; s++)
    for (size_t i = 0; i < spans[s].count; i++)
      if (!isfinite(spans[s].score[i]))
        return spo_fail(error, SPO_E_NONFINITE,
                        "tensor '%s': element %zu is not finite; mend the weights or what they "
                        "are ranked by",
                        spans[s].name, i);
  return SPO_OK;
}

static size_t cut_blocks(const spo_span *spans, size_t count, block *out) {
  size_t n = 0;
  for (size_t s = 0; s < count; s++)
    for (size_t at = 0; at < spans[s].count; at += GRAIN, n++) {
      size_t left = spans[s].count - at;
      if (out)
        out[n] = (block){.score = spans[s].score + at,
                         .keep = spans[s].keep + at,
                         .count = left < GRAIN ? left : GRAIN};
    }
  return n;
}

static spo_status search_and_mark(search *s, const spo_span *spans, size_t count, uint64_t k,
                                  const spo_pool *pool, spo_error *error) {
  uint64_t rank = k;
  for (s->level = 0; s->level < LEVELS; s->level++) {
    spo_run(pool, count_digit, s, s->count);
    if (s->level == 0 && has_nonfinite(s)) return find_nonfinite(spans, count, error);
    if (k > 0) find_digit(s, &rank);
  }
  if (k == 0)
    s->prefix = s->by_value ? UINT32_MAX - 1 : UINT32_MAX >> 1; /* above every finite key */
  share_ties(s, rank);
  spo_run(pool, mark_block, s, s->count);
  return SPO_OK;
}

static spo_status select_largest(const spo_span *spans, size_t count, uint64_t k, bool by_value,
                                 const spo_pool *pool, spo_error *error) {
  search s = {.count = cut_blocks(spans, count, NULL), .by_value = by_value};
  if (s.count == 0) return SPO_OK;
  s.blocks = malloc(s.count * sizeof *s.blocks);
  if (!s.blocks) return spo_fail(error, SPO_E_MEMORY, "no memory to select among %zu spans", count);
  cut_blocks(spans, count, s.blocks);
  spo_status status = search_and_mark(&s, spans, count, k, pool, error);
  free(s.blocks);
  return status;
}

spo_status spo_select_scores(const spo_span *spans, size_t count, uint64_t k, const spo_pool *pool,
                             spo_error *error) {
  return select_largest(spans, count, k, false, pool, error);
}

spo_status spo_select_signed(const spo_span *spans, size_t count, uint64_t k, const spo_pool *pool,
                             spo_error *error) {
  return select_largest(spans, count, k, true, pool, error);
}
