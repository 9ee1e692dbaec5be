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

/* A key has 31 bits, or 32 by value; that of rank k is searched between two others, a bracket.
 *
 * Among few scores: a pass counts the keys of the bracket in equal bins; the bin that holds the
 * k-th is the next bracket, until that has a single key.
 *
 * Among many: a sample gives a bracket that should hold the k-th and few others. One pass over all
 * counts the keys above it and at its two ends, where many may be equal, and lists those between;
 * then the lists are searched as few scores are. A sample that misleads costs passes, no more. */
enum { GRAIN = 1 << 18, BINS = 1 << 11, TILE = 32 * LANES_16 };
#define MAGNITUDE 0x7fffffffu
#define INFINITE 0x7f800000u

typedef struct bracket {
  uint32_t low, high;
} bracket;

typedef struct block {
  const float *score;
  unsigned char *keep;
  size_t count;
  float *list; /* [room], for the scores strictly between a bracket's ends */
  size_t room;
  const float *part; /* what is searched: the scores, or the list */
  size_t part_count;
  uint32_t outside;                   /* keys above the part's */
  uint32_t above, high, between, low; /* keys above a bracket, at its ends, strictly between */
  bool nonfinite;                     /* some are no finite number's */
  uint32_t bin[BINS];
  uint32_t equal, ties; /* keys equal to the threshold, and how many of them are kept */
} block;

typedef struct search {
  block *blocks;
  size_t count;
  bool by_value;      /* not by magnitude */
  bracket bracket;    /* where the key of rank k is */
  unsigned shift;     /* a bin is 1 << shift keys */
  uint32_t threshold; /* the key of rank k */
} search;

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

static bracket everything(bool by_value) {
  return (bracket){0, by_value ? UINT32_MAX : MAGNITUDE};
}

static bool has_nonfinite(const search *s) {
  for (size_t i = 0; i < s->count; i++)
    if (s->blocks[i].nonfinite) return true;
  return false;
}

/* Searches all scores from here on. */
static void search_all(search *s) {
  s->bracket = everything(s->by_value);
  for (size_t i = 0; i < s->count; i++) {
    block *b = &s->blocks[i];
    b->part = b->score;
    b->part_count = b->count;
    b->outside = 0;
  }
}

/* ---- few scores ---- */

static inline void count_keys(block *b, const search *s, bool by_value) {
  const uint32_t low = s->bracket.low, width = s->bracket.high - low;
  bool nonfinite = false;
  uint32_t above = b->outside;
  for (size_t i = 0; i < b->part_count; i++) {
    uint32_t key = key_of(b->part[i], by_value);
    nonfinite |= key_of(b->part[i], false) >= INFINITE;
    above += key > low + width;
    if (key - low <= width) b->bin[(key - low) >> s->shift]++;
  }
  b->above = above;
  b->nonfinite = nonfinite;
}

static void count_block(void *arg, size_t index) {
  const search *s = arg;
  block *b = &s->blocks[index];
  memset(b->bin, 0, sizeof b->bin);
  if (s->by_value)
    count_keys(b, s, true);
  else
    count_keys(b, s, false);
}

/* From the counts of a bracket: finds the bin with the key of rank k, 1 … all, and what its rank is
 * there. False when the key is not in the bracket. */
static bool find_bin(const search *s, uint64_t k, uint32_t *bin, uint64_t *rank) {
  uint64_t before = 0, in_bin[BINS] = {0};
  for (size_t i = 0; i < s->count; i++) {
    before += s->blocks[i].above;
    for (size_t j = 0; j < BINS; j++)
      in_bin[j] += s->blocks[i].bin[j];
  }
  if (k <= before) return false;
  for (uint32_t i = BINS; i-- > 0; before += in_bin[i])
    if (k <= before + in_bin[i]) {
      *bin = i;
      *rank = k - before;
      return true;
    }
  return false;
}

/* Narrows the bracket to the key of rank k, the threshold, and counts those equal to it; returns
 * its rank among them, or 0 when a key is not finite. A bracket without the key is given up. */
static uint64_t find_key(search *s, uint64_t k, const spo_pool *pool) {
  for (;;) {
    uint64_t rank;
    uint32_t bin;
    s->shift = 0;
    while ((s->bracket.high - s->bracket.low) >> s->shift >= BINS)
      s->shift++;
    spo_run(pool, count_block, s, s->count);
    if (has_nonfinite(s)) return 0;
    if (!find_bin(s, k, &bin, &rank)) {
      search_all(s);
      continue;
    }
    s->bracket.low += bin << s->shift;
    if ((s->bracket.high - s->bracket.low) >> s->shift != 0)
      s->bracket.high = s->bracket.low + (1u << s->shift) - 1;
    if (s->shift > 0) continue;
    s->threshold = s->bracket.low;
    for (size_t i = 0; i < s->count; i++)
      s->blocks[i].equal = s->blocks[i].bin[bin];
    return rank;
  }
}

/* ---- many scores ---- */

/* How many bytes ahead are fetched into the cache: the work on lists keeps the processor from
 * looking that far ahead itself. */
enum { AHEAD = 8192 };

typedef float lanes_f32 __attribute__((vector_size(4 * LANES_16)));

/* Where in its tile a score is that has that bit in a word of split_tiles' `between`. */
static inline unsigned place_of(unsigned word, unsigned bit) {
  return (31 - bit % 32) * LANES_16 + 2 * word + bit / 32;
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a word has its first lane's bits first");

/* For so many listed scores, and the two that list_tile may write behind them. */
static inline bool has_room(const block *b, uint32_t listed) {
  return listed + 2 <= b->room;
}

/* Appends the scores of a tile whose bit is set. Few are: the first two of a word are written
 * whether they are or not, which no branch has to foresee. */
LANES_BODY void list_tile(block *b, const float *score, const lanes_u32 *bits) {
  uint64_t word[LANES_16 / 2];
  memcpy(word, bits, sizeof word);
  for (unsigned w = 0; w < LANES_16 / 2; w++) {
    uint64_t left = word[w];
    uint32_t end = b->between + (uint32_t)__builtin_popcountll(left);
    if (!has_room(b, end)) { /* the block is searched whole, if it has to be */
      b->between = end;
      continue;
    }
    for (uint32_t at = b->between;; at += 2) {
      b->list[at] = score[place_of(w, (unsigned)__builtin_ctzll(left | 1ull << 63))];
      left &= left - 1;
      b->list[at + 1] = score[place_of(w, (unsigned)__builtin_ctzll(left | 1ull << 63))];
      left &= left - 1;
      if (left == 0) break;
    }
    b->between = end;
  }
}

/* Sets `out` to 1 where a key is above the threshold, else to 0; both in an order of signed
 * numbers. By the signs of differences, as gcc compares vectors that are longer than registers one
 * number at a time; those of magnitudes do not overflow. */
LANES_BODY void above_lanes(const lanes_u32 *key, uint32_t t, bool by_value, lanes_u32 *out) {
  lanes_u32 less = t - *key;
  if (by_value) less = (t & ~*key) | (~(t ^ *key) & less);
  *out = less >> 31;
}

/* Of the 32 scores of a tile that a lane meets, the first has the highest bit in `between`. */
LANES_BODY void split_tiles(block *b, bracket k, bool by_value) {
  const uint32_t sign = by_value ? MAGNITUDE + 1 : 0;
  const uint32_t high = k.high ^ sign, low = k.low ^ sign;
  const uint32_t lowest = by_value && k.low == 0 ? low : low - 1; /* no number has the value's 0 */
  lanes_u32 nonfinite = {0}, above = {0}, from_high = {0}, above_low = {0}, from_low = {0};
  for (size_t i = 0; i + TILE <= b->count; i += TILE) {
    lanes_u32 between = {0};
    for (size_t j = i; j < i + TILE; j += LANES_16) {
      lanes_f32 x;
      memcpy(&x, b->score + j, sizeof x);
      lanes_u32 bits = (lanes_u32)(by_value ? x + 0.0f : x), size = bits & MAGNITUDE;
      lanes_u32 key = by_value ? bits ^ ((lanes_u32)((lanes_i32)bits >> 31) & MAGNITUDE) : size;
      nonfinite |= size + (MAGNITUDE + 1 - INFINITE); /* reaches the sign */
      lanes_u32 a, h, l, f;
      above_lanes(&key, high, by_value, &a);
      above_lanes(&key, high - 1, by_value, &h);
      above_lanes(&key, low, by_value, &l);
      above_lanes(&key, lowest, by_value, &f);
      above += a;
      from_high += h;
      above_low += l;
      from_low += f;
      between += between + (l & ~h);
      /* Behind the last score that is no pointer, but it isn't read. */
      __builtin_prefetch((const void *)((uintptr_t)(b->score + j) + AHEAD));
    }
    list_tile(b, b->score + i, &between);
  }
  for (int j = 0; j < LANES_16; j++) {
    b->above += above[j];
    b->high += from_high[j] - above[j];
    b->low += from_low[j] - above_low[j];
    b->nonfinite |= nonfinite[j] > MAGNITUDE;
  }
}

LANES_BODY void split_sizes_body(block *b, bracket k) {
  split_tiles(b, k, false);
}
LANES_BODY void split_values_body(block *b, bracket k) {
  split_tiles(b, k, true);
}
LANES(split_sizes, (block * b, bracket k), (b, k))
LANES(split_values, (block * b, bracket k), (b, k))

static void split_rest(block *b, bracket k, bool by_value) {
  for (size_t i = b->count / TILE * TILE; i < b->count; i++) {
    uint32_t key = key_of(b->score[i], by_value);
    b->nonfinite |= key_of(b->score[i], false) >= INFINITE;
    b->above += key > k.high;
    b->high += key == k.high;
    b->low += key == k.low;
    if (key >= k.high || key <= k.low) continue;
    b->between++;
    if (has_room(b, b->between)) b->list[b->between - 1] = b->score[i];
  }
}

static void split_block(void *arg, size_t index) {
  const search *s = arg;
  block *b = &s->blocks[index];
  b->above = b->high = b->between = b->low = 0;
  b->nonfinite = false;
  (s->by_value ? split_values : split_sizes)(b, s->bracket);
  split_rest(b, s->bracket, s->by_value);
  if (s->bracket.low == s->bracket.high) b->low = 0; /* they are counted already */
}

/* Ends the search at one end of the bracket. */
static uint64_t settle(search *s, uint32_t threshold, uint64_t rank) {
  s->threshold = threshold;
  for (size_t i = 0; i < s->count; i++)
    s->blocks[i].equal = threshold == s->bracket.high ? s->blocks[i].high : s->blocks[i].low;
  return rank;
}

/* Searches what lies strictly between the bracket's ends from here on. */
static void search_lists(search *s) {
  s->bracket.low++;
  s->bracket.high--;
  for (size_t i = 0; i < s->count; i++) {
    block *b = &s->blocks[i];
    if (!has_room(b, b->between)) continue;
    b->part = b->list;
    b->part_count = b->between;
    b->outside = b->above + b->high;
  }
}

/* find_key by one pass over all scores, if the bracket holds the key of rank k. */
static uint64_t split_and_find(search *s, uint64_t k, const spo_pool *pool) {
  uint64_t above = 0, high = 0, between = 0, low = 0;
  spo_run(pool, split_block, s, s->count);
  if (has_nonfinite(s)) return 0;
  for (size_t i = 0; i < s->count; i++) {
    above += s->blocks[i].above;
    high += s->blocks[i].high;
    between += s->blocks[i].between;
    low += s->blocks[i].low;
  }
  if (k <= above || k > above + high + between + low)
    search_all(s);
  else if (k <= above + high)
    return settle(s, s->bracket.high, k - above);
  else if (k > above + high + between)
    return settle(s, s->bracket.low, k - above - high - between);
  else
    search_lists(s);
  return find_key(s, k, pool);
}

/* ---- a bracket from a sample ---- */

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

enum { SAMPLED = 1 << 16 };

/* One of so many scores is in a sample: about the cube root of their number, which weighs the work
 * on the sample against that on the lists. Primes, so that samples are of all columns. */
static size_t sample_stride(uint64_t total) {
  static const uint16_t primes[] = {31, 47, 97, 197, 397};
  size_t i = 0;
  while (i < 4 && total >= (uint64_t)primes[i + 1] * primes[i + 1] * primes[i + 1])
    i++;
  return primes[i];
}

static size_t take_sample(const spo_span *spans, size_t count, size_t stride, float *out) {
  size_t n = 0;
  for (size_t s = 0; s < count; s++)
    for (size_t i = 0; i < spans[s].count; i += stride, n++)
      if (out) out[n] = spans[s].score[i];
  return n;
}

/* The key of rank k of the sample, from 1. */
static uint32_t sample_key(search *s, uint64_t k) {
  search_all(s);
  return find_key(s, k, NULL) ? s->threshold : 0;
}

/* Where the key should be that has this part of all before it: four standard deviations of its rank
 * in a random sample before and behind, and a few ranks for very small parts. */
static bracket bracket_of_sample(search *s, size_t n, double part) {
  const bracket all = everything(s->by_value);
  double rank = part * (double)n, margin = 4 * sqrt(rank * (1 - part)) + 4;
  bool first = rank - margin < 1, last = rank + margin >= (double)n;
  uint32_t high = first ? all.high : sample_key(s, (uint64_t)(rank - margin));
  uint32_t low = last ? all.low : sample_key(s, (uint64_t)(rank + margin));
  return low <= high ? (bracket){low, high} : all;
}

/* False without memory for a sample. */
static bool sampled_bracket(const spo_span *spans, size_t count, uint64_t total, uint64_t k,
                            search *out) {
  size_t stride = sample_stride(total), n = take_sample(spans, count, stride, NULL);
  float *sample = malloc(n * sizeof *sample);
  const spo_span span = {.score = sample, .count = n};
  search s = {.count = cut_blocks(&span, 1, NULL), .by_value = out->by_value};
  s.blocks = malloc(s.count * sizeof *s.blocks);
  bool done = sample && s.blocks;
  if (done) {
    take_sample(spans, count, stride, sample);
    cut_blocks(&span, 1, s.blocks);
    out->bracket = bracket_of_sample(&s, n, (double)k / (double)total);
  }
  free(s.blocks);
  free(sample);
  return done;
}

/* ---- all of it ---- */

/* The first `ties` keys that equal the threshold are kept. */
static void share_ties(search *s, uint64_t ties) {
  for (size_t i = 0; i < s->count; i++) {
    block *b = &s->blocks[i];
    b->ties = b->equal < ties ? b->equal : (uint32_t)ties;
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

/* How many scores of a block hold all the keys equal to the threshold that are kept. */
static size_t end_of_ties(const block *b, uint32_t threshold, bool by_value) {
  if (b->ties == b->equal) return b->count;
  size_t i = 0;
  for (uint32_t seen = 0; seen < b->ties; i++)
    seen += key_of(b->score[i], by_value) == threshold;
  return i;
}

static void mark_block(void *arg, size_t index) {
  const search *s = arg;
  const block *b = &s->blocks[index];
  size_t end = end_of_ties(b, s->threshold, s->by_value);
  void (*mark)(const float *, size_t, uint32_t, unsigned char *) =
      s->by_value ? mark_values : mark_sizes;
  mark(b->score, end, s->threshold, b->keep);
  mark(b->score + end, b->count - end, s->threshold + 1, b->keep + end);
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

static uint64_t sum_of_counts(const spo_span *spans, size_t count) {
  uint64_t sum = 0;
  for (size_t s = 0; s < count; s++)
    sum += spans[s].count;
  return sum;
}

/* Gives each block room for a list of an eighth of its scores; NULL without memory. */
static float *make_lists(search *s) {
  size_t room = 0;
  for (size_t i = 0; i < s->count; i++)
    room += s->blocks[i].room = s->blocks[i].count / 8;
  float *lists = malloc(room * sizeof *lists), *at = lists;
  for (size_t i = 0; lists && i < s->count; at += s->blocks[i++].room)
    s->blocks[i].list = at;
  return lists;
}

/* find_key, among many scores with a bracket from a sample. */
static uint64_t find(search *s, const spo_span *spans, size_t count, uint64_t k,
                     const spo_pool *pool) {
  uint64_t total = sum_of_counts(spans, count), rank;
  float *lists = total >= SAMPLED ? make_lists(s) : NULL; /* without, the search takes longer */
  search_all(s);
  if (lists && sampled_bracket(spans, count, total, k, s))
    rank = split_and_find(s, k, pool);
  else
    rank = find_key(s, k, pool);
  free(lists);
  return rank;
}

static spo_status search_and_mark(search *s, const spo_span *spans, size_t count, uint64_t k,
                                  const spo_pool *pool, spo_error *error) {
  uint64_t ties = find(s, spans, count, k > 0 ? k : 1, pool);
  if (ties == 0) return find_nonfinite(spans, count, error);
  if (k == 0) s->threshold = s->by_value ? UINT32_MAX - 1 : MAGNITUDE; /* above every finite key */
  share_ties(s, k > 0 ? ties : 0);
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
