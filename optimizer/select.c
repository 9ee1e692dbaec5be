/* Exact selection of the k largest: a search for the k-th key, then one pass in index order.
 * Among equals the lower index is kept. Counts are integers, so threads change nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/internal.h"
#include "optimizer/lanes.h"

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

/* ---- f32 by magnitude or by value, over several arrays ---- */

/* A key has 31 bits, or 32 by value. A pass over all keys counts those above a bracket, and in
 * equal bins those inside of it; the bin that holds the k-th key is the next bracket. */
enum { GRAIN = 1 << 18, BINS = 1 << 11, SAMPLED = 1 << 22, STRIDE = 97 };
#define MAGNITUDE 0x7fffffffu
#define INFINITE 0x7f800000u

typedef struct bracket {
  uint32_t low, width; /* keys low … low + width */
  unsigned shift;      /* of a bin: 1 << shift keys */
} bracket;

typedef struct block {
  const float *score;
  unsigned char *keep;
  size_t count;
  uint32_t above; /* keys above the bracket */
  bool nonfinite; /* some are no finite number's */
  uint64_t ties;  /* how many keys equal to the threshold are kept */
  uint32_t bin[BINS];
} block;

typedef struct search {
  block *blocks;
  size_t count;
  bool by_value;   /* not by magnitude */
  bracket bracket; /* where the key of rank k is */
} search;

static bracket bracket_of(uint32_t low, uint32_t width) {
  bracket b = {.low = low, .width = width};
  while (width >> b.shift >= BINS)
    b.shift++;
  return b;
}

static bracket everything(bool by_value) {
  return bracket_of(0, by_value ? UINT32_MAX : MAGNITUDE);
}

static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* The bits of |x|; or, by value, all bits in an order that is that of the numbers, -0 being +0. */
static inline uint32_t key_of(float x, bool by_value) {
  if (!by_value) return bits_of(x) & MAGNITUDE;
  uint32_t bits = bits_of(x + 0.0f);
  return bits ^ (bits >> 31 ? UINT32_MAX : MAGNITUDE + 1);
}

typedef float lanes_f32 __attribute__((vector_size(4 * LANES_16)));

/* Counts eight keys of which those with a byte that is not 0 in `inside`, little-endian, are in the
 * bracket. */
static inline void count_inside(uint32_t *bin, const bracket *k, bool by_value, const float *score,
                                uint64_t inside) {
  while (inside) {
    unsigned lane = (unsigned)__builtin_ctzll(inside) / 8;
    bin[(key_of(score[lane], by_value) - k->low) >> k->shift]++;
    inside &= ~((uint64_t)0xff << 8 * lane);
  }
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lanes are found by their bytes' places");

/* Most brackets are narrow: vectors without a key in them are passed by. The loop is there twice,
 * for a constant `by_value` each. Magnitudes have 31 bits, so that the sign of a difference
 * compares two, and adding to an infinite exponent reaches the sign. */
LANES_BODY void count_lanes(block *b, const bracket *bracket_in, bool by_value) {
  const bracket k = *bracket_in;
  const uint32_t high = k.low + k.width;
  lanes_u32 nonfinite = {0}, above = {0};
  for (size_t i = 0; i + LANES_16 <= b->count; i += LANES_16) {
    lanes_f32 x;
    memcpy(&x, b->score + i, sizeof x);
    x = by_value ? x + 0.0f : x;
    lanes_u32 bits = (lanes_u32)x, size = bits & MAGNITUDE;
    lanes_u32 key = by_value ? bits ^ ((lanes_u32)((lanes_i32)bits >> 31) | (MAGNITUDE + 1)) : size;
    nonfinite |= size + (MAGNITUDE + 1 - INFINITE);
    above += by_value ? (lanes_u32)(key > high) & 1 : (high - key) >> 31;
    lanes_u8 inside = __builtin_convertvector(key - k.low <= k.width, lanes_u8);
    uint64_t half[2];
    memcpy(half, &inside, sizeof half);
    if ((half[0] | half[1]) == 0) continue;
    count_inside(b->bin, &k, by_value, b->score + i, half[0]);
    count_inside(b->bin, &k, by_value, b->score + i + LANES_16 / 2, half[1]);
  }
  for (int j = 0; j < LANES_16; j++) {
    b->above += above[j];
    b->nonfinite |= nonfinite[j] > MAGNITUDE;
  }
}

LANES_BODY void count_sizes_body(block *b, const bracket *k) {
  count_lanes(b, k, false);
}
LANES_BODY void count_values_body(block *b, const bracket *k) {
  count_lanes(b, k, true);
}
LANES(count_sizes, (block * b, const bracket *k), (b, k))
LANES(count_values, (block * b, const bracket *k), (b, k))

static void count_block(void *arg, size_t index) {
  const search *s = arg;
  const bracket *k = &s->bracket;
  block *b = &s->blocks[index];
  memset(b->bin, 0, sizeof b->bin);
  b->above = 0;
  b->nonfinite = false;
  (s->by_value ? count_values : count_sizes)(b, k);
  for (size_t i = b->count / LANES_16 * LANES_16; i < b->count; i++) {
    uint32_t key = key_of(b->score[i], s->by_value);
    b->nonfinite |= key_of(b->score[i], false) >= INFINITE;
    b->above += key > k->low + k->width;
    if (key - k->low <= k->width) b->bin[(key - k->low) >> k->shift]++;
  }
}

static uint64_t in_bin(const search *s, uint32_t bin) {
  uint64_t sum = 0;
  for (size_t i = 0; i < s->count; i++)
    sum += s->blocks[i].bin[bin];
  return sum;
}

static uint64_t above(const search *s) {
  uint64_t sum = 0;
  for (size_t i = 0; i < s->count; i++)
    sum += s->blocks[i].above;
  return sum;
}

static bool has_nonfinite(const search *s) {
  for (size_t i = 0; i < s->count; i++)
    if (s->blocks[i].nonfinite) return true;
  return false;
}

/* From the counts of a bracket: finds the bin with the key of rank k, 1 … all, and what its rank is
 * there. False when the key is not in the bracket. */
static bool find_bin(const search *s, uint64_t k, uint32_t *bin, uint64_t *rank) {
  uint64_t before = above(s);
  if (k <= before) return false;
  for (uint32_t i = (s->bracket.width >> s->bracket.shift) + 1; i-- > 0;) {
    uint64_t here = in_bin(s, i);
    if (k <= before + here) {
      *bin = i;
      *rank = k - before;
      return true;
    }
    before += here;
  }
  return false;
}

/* Narrows the bracket to the key of rank k; returns its rank among those that are equal, or 0 when
 * a key is not finite. A bracket that does not hold the key is given up for all keys. The blocks
 * are left with the counts of the last bracket, of which *bin is the key. */
static uint64_t find_key(search *s, uint64_t k, const spo_pool *pool, uint32_t *bin) {
  for (;;) {
    uint64_t rank;
    spo_run(pool, count_block, s, s->count);
    if (has_nonfinite(s)) return 0;
    if (!find_bin(s, k, bin, &rank)) {
      s->bracket = everything(s->by_value);
      continue;
    }
    if (s->bracket.shift == 0) return rank;
    uint32_t low = s->bracket.low + (*bin << s->bracket.shift);
    s->bracket = bracket_of(low, (1u << s->bracket.shift) - 1);
  }
}

/* The first `ties` keys that equal the threshold, which is in `bin`, are kept. */
static void share_ties(search *s, uint32_t bin, uint64_t ties) {
  for (size_t i = 0; i < s->count; i++) {
    block *b = &s->blocks[i];
    b->ties = b->bin[bin] < ties ? b->bin[bin] : ties;
    ties -= b->ties;
  }
}

LANES_BODY void mark_sizes_body(const float *restrict score, size_t count, uint32_t least,
                                unsigned char *restrict keep) {
  for (size_t i = 0; i < count; i++)
    keep[i] = key_of(score[i], false) >= least;
}
LANES_BODY void mark_values_body(const float *restrict score, size_t count, uint32_t least,
                                 unsigned char *restrict keep) {
  for (size_t i = 0; i < count; i++)
    keep[i] = key_of(score[i], true) >= least;
}
LANES(mark_sizes, (const float *score, size_t count, uint32_t least, unsigned char *keep),
      (score, count, least, keep))
LANES(mark_values, (const float *score, size_t count, uint32_t least, unsigned char *keep),
      (score, count, least, keep))

typedef struct marking {
  const search *search;
  uint32_t threshold, bin;
} marking;

static void mark_block(void *arg, size_t index) {
  const marking *m = arg;
  const block *b = &m->search->blocks[index];
  bool by_value = m->search->by_value;
  uint32_t equal = b->bin[m->bin];
  uint64_t ties = b->ties;
  if (ties == 0 || ties == equal) { /* no key needs to be counted */
    uint32_t least = m->threshold + (ties == 0 && equal != 0);
    (by_value ? mark_values : mark_sizes)(b->score, b->count, least, b->keep);
    return;
  }
  for (size_t i = 0; i < b->count; i++) {
    uint32_t key = key_of(b->score[i], by_value);
    b->keep[i] = key > m->threshold || (key == m->threshold && ties > 0);
    if (key == m->threshold && ties > 0) ties--;
  }
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

/* Cuts the spans into blocks; counts them when out is NULL. */
static size_t cut_blocks(const spo_span *spans, size_t count, block *out) {
  size_t n = 0;
  for (size_t s = 0; s < count; s++)
    for (size_t at = 0; at < spans[s].count; at += GRAIN, n++) {
      size_t left = spans[s].count - at;
      if (out)
        out[n] = (block){.score = spans[s].score + at,
                         .keep = spans[s].keep ? spans[s].keep + at : NULL, /* a sample has none */
                         .count = left < GRAIN ? left : GRAIN};
    }
  return n;
}

/* ---- a first bracket from a sample ---- */

/* Every STRIDE-th score of each span; the stride is a prime, so that samples are of all columns. */
static size_t take_sample(const spo_span *spans, size_t count, float *out) {
  size_t n = 0;
  for (size_t s = 0; s < count; s++)
    for (size_t i = 0; i < spans[s].count; i += STRIDE, n++)
      if (out) out[n] = spans[s].score[i];
  return n;
}

/* The key of rank k of the sample, from 1. */
static uint32_t sample_key(search *s, uint64_t k) {
  uint32_t bin = 0;
  s->bracket = everything(s->by_value);
  return find_key(s, k, NULL, &bin) ? s->bracket.low + bin : 0;
}

/* Where the key of rank k should be: between those of the sample that are two times the root of
 * its size before and behind. Ranks in a random sample deviate by half the root or less. */
static bracket bracket_of_sample(float *sample, size_t n, double part, bool by_value,
                                 block *blocks) {
  const spo_span span = {.score = sample, .count = n};
  search s = {.blocks = blocks, .count = cut_blocks(&span, 1, blocks)};
  s.by_value = by_value;
  const bracket all = everything(by_value);
  double rank = part * (double)n, margin = 2 * sqrt((double)n);
  bool first = rank - margin < 1, last = rank + margin >= (double)n;
  uint32_t high = first ? all.width : sample_key(&s, (uint64_t)(rank - margin));
  uint32_t low = last ? 0 : sample_key(&s, (uint64_t)(rank + margin));
  return low <= high ? bracket_of(low, high - low) : all;
}

static bracket first_bracket(const spo_span *spans, size_t count, uint64_t k, bool by_value) {
  uint64_t total = 0;
  for (size_t s = 0; s < count; s++)
    total += spans[s].count;
  bracket found = everything(by_value);
  if (total < SAMPLED) return found;
  size_t n = take_sample(spans, count, NULL);
  float *sample = malloc(n * sizeof *sample);
  block *blocks = malloc((n / GRAIN + 1) * sizeof *blocks);
  if (sample && blocks) { /* without, the search takes longer */
    take_sample(spans, count, sample);
    found = bracket_of_sample(sample, n, (double)k / (double)total, by_value, blocks);
  }
  free(sample);
  free(blocks);
  return found;
}

/* ---- all of it ---- */

static spo_status search_and_mark(search *s, const spo_span *spans, size_t count, uint64_t k,
                                  const spo_pool *pool, spo_error *error) {
  marking m = {.search = s};
  s->bracket = first_bracket(spans, count, k, s->by_value);
  uint64_t ties = find_key(s, k > 0 ? k : 1, pool, &m.bin);
  if (ties == 0) return find_nonfinite(spans, count, error);
  /* The last is above every finite key. */
  m.threshold = k > 0 ? s->bracket.low + m.bin : s->by_value ? UINT32_MAX - 1 : MAGNITUDE;
  share_ties(s, m.bin, k > 0 ? ties : 0);
  spo_run(pool, mark_block, &m, s->count);
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
