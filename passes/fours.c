/* Fours of channels. Channels that read the same inputs go first, in sixteens, eights and fours: so
 * blocks that a weight was pruned in are found, and their alignment. The rest is a greedy search:
 * the first free channel takes, one after the other, three others that fit best. It looks at the
 * next WINDOW free ones alone, in an order in which those that read equally many inputs are near;
 * on pruned weights a window of all channels finds nothing better. */
#include "passes/fours.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "support/bits.h"

enum { WINDOW = 256 };

typedef struct channel {
  uint64_t hash; /* of the support */
  size_t number, nonzeros;
  bool taken;
} channel;

/* The free channels, as a list through the sorted ones. */
typedef struct search {
  const supports *s;
  channel *sorted;
  size_t *next;   /* by place in `sorted`; next[count] begins, `count` ends */
  uint64_t *read; /* [FOUR][words]: inputs that at least 1 … 4 channels of the four read */
} search;

static const uint64_t *support(const search *q, size_t place) {
  return q->s->bits + q->sorted[place].number * q->s->words;
}

static channel describe(const supports *s, size_t number) {
  const uint64_t *bits = s->bits + number * s->words;
  channel c = {.hash = 0, .number = number};
  for (size_t i = 0; i < s->words; i++) {
    c.nonzeros += bits_in(bits[i]);
    c.hash = (c.hash ^ bits[i]) * 0x9E3779B97F4A7C15u;
    c.hash ^= c.hash >> 32;
  }
  return c;
}

static int by_nonzeros(const void *x, const void *y) {
  const channel *a = x, *b = y;
  if (a->nonzeros != b->nonzeros) return a->nonzeros < b->nonzeros ? 1 : -1;
  if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
  return a->number < b->number ? -1 : a->number > b->number;
}

/* Takes `size` free channels with equal supports at a time, for order[from] and what follows;
 * returns where it ends. Equal ones are neighbours, and the taken ones of them come first. */
static size_t take_equal(search *q, size_t size, size_t *order, size_t from) {
  size_t run = 0; /* free channels before p, and like p */
  for (size_t p = 0; p < q->s->count; p++) {
    if (p > 0 && q->sorted[p].hash != q->sorted[p - 1].hash) run = 0;
    run += !q->sorted[p].taken;
    if (run < size) continue;
    for (; run > 0; run--) {
      q->sorted[p + 1 - run].taken = true;
      order[from++] = q->sorted[p + 1 - run].number;
    }
  }
  return from;
}

/* How well `x` fits as the channel with number `at` of a four. In the end only inputs that three or
 * four channels read count, and four are worth three times as much as three. */
static uint32_t fit(const search *q, const uint64_t *x, uint32_t at) {
  size_t words = q->s->words;
  const uint64_t *most = q->read + (at - 1) * words; /* read by all so far */
  const uint64_t *less = at > 1 ? most - words : most;
  uint32_t all = 0, some = 0;
  for (size_t i = 0; i < words; i++) {
    all += bits_in(x[i] & most[i]);
    some += bits_in(x[i] & less[i]);
  }
  return at == 2 ? 3 * all + some : all + some;
}

/* Notes that the channel `x` joins a four that has `at`. */
static void join(const search *q, const uint64_t *x, uint32_t at) {
  size_t words = q->s->words;
  for (size_t i = 0; i < words; i++) {
    for (uint32_t n = at; n > 0; n--)
      q->read[n * words + i] |= q->read[(n - 1) * words + i] & x[i];
    q->read[i] |= x[i];
  }
}

/* Takes the free channel that fits best, or the first of those. */
static size_t take(search *q, uint32_t at) {
  size_t count = q->s->count, best = count; /* the one before it in the list */
  uint32_t most = 0, seen = 0;
  for (size_t p = count; q->next[p] != count && seen < (at ? WINDOW : 1); p = q->next[p], seen++) {
    uint32_t found = at ? fit(q, support(q, q->next[p]), at) : 0;
    if (seen && found <= most) continue;
    most = found;
    best = p;
  }
  size_t place = q->next[best];
  q->next[best] = q->next[place];
  join(q, support(q, place), at);
  return q->sorted[place].number;
}

static void link_free(search *q) {
  size_t count = q->s->count, last = count;
  for (size_t p = 0; p < count; p++) {
    if (q->sorted[p].taken) continue;
    q->next[last] = p;
    last = p;
  }
  q->next[last] = count;
}

void order_in_fours(arena *a, const supports *s, size_t *order) {
  search q = {.s = s,
              .sorted = arena_array(a, channel, s->count),
              .next = arena_array(a, size_t, s->count + 1),
              .read = arena_array(a, uint64_t, FOUR * s->words)};
  for (size_t i = 0; i < s->count; i++)
    q.sorted[i] = describe(s, i);
  qsort(q.sorted, s->count, sizeof *q.sorted, by_nonzeros);
  size_t n = 0;
  for (size_t size = 4 * FOUR; size >= FOUR; size /= 2)
    n = take_equal(&q, size, order, n);
  link_free(&q);
  for (size_t i = n; i < s->count; i++) {
    if (i % FOUR == 0) memset(q.read, 0, FOUR * s->words * sizeof *q.read);
    order[i] = take(&q, i % FOUR);
  }
}
