#include "optimizer/topology.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

spo_units spo_units_of(const spo_context *c) {
  const spo_pattern *p = &c->recipe.goal.pattern;
  bool block = p->kind == SPO_BLOCK;
  spo_units u = {.rows = block ? p->rows : 1, .cols = block ? p->cols : 1};
  u.across = c->cols / u.cols;
  u.count = c->rows / u.rows * u.across;
  return u;
}

size_t spo_unit_at(const spo_context *c, const spo_units *u, size_t unit) {
  return unit / u->across * u->rows * c->cols + unit % u->across * u->cols;
}

spo_status spo_topology_open(spo_topology *t, const spo_call *c) {
  *t = (spo_topology){.call = c, .units = spo_units_of(c->context)};
  size_t n = t->units.count;
  t->active = calloc(3 * n, 1);
  t->key = malloc(n * sizeof *t->key);
  if (!t->active || !t->key) {
    spo_topology_close(t);
    return spo_call_no_memory(c);
  }
  t->kept = t->active + n;
  t->grown = t->kept + n;
  for (size_t i = 0; i < n; i++)
    t->active[i] = spo_bit(c->payload, spo_unit_at(c->context, &t->units, i));
  return SPO_OK;
}

void spo_topology_close(spo_topology *t) {
  free(t->active);
  free(t->key);
}

size_t spo_topology_active(const spo_topology *t) {
  size_t count = 0;
  for (size_t i = 0; i < t->units.count; i++)
    count += t->active[i];
  return count;
}

/* ---- ranking: candidates have keys above 0 ---- */

static double size_of(const spo_topology *t, size_t unit) {
  const spo_context *x = t->call->context;
  const float *s = t->score + spo_unit_at(x, &t->units, unit);
  double sum = 0;
  for (size_t r = 0; r < t->units.rows; r++)
    for (size_t c = 0; c < t->units.cols; c++)
      sum += fabs((double)s[r * x->cols + c]);
  return sum;
}

static uint64_t key_of(const spo_topology *t, size_t unit) {
  if (t->among[unit] != t->wanted) return 0;
  if (!t->score) return UINT64_MAX - (spo_random_bits(&t->random, unit) >> 1);
  double size = size_of(t, unit);
  uint64_t key;
  memcpy(&key, &size, sizeof key);
  return key + 1;
}

static void rank_block(void *arg, size_t index) {
  const spo_topology *t = arg;
  size_t end = (index + 1) * SPO_GRAIN < t->units.count ? (index + 1) * SPO_GRAIN : t->units.count;
  for (size_t i = index * SPO_GRAIN; i < end; i++)
    t->key[i] = key_of(t, i);
}

static void choose(spo_topology *t, const float *score, const unsigned char *among,
                   unsigned char wanted, size_t k, unsigned char *out) {
  t->score = score;
  t->among = among;
  t->wanted = wanted;
  spo_run(t->call->pool, rank_block, t, spo_blocks(t->units.count, SPO_GRAIN));
  spo_select(t->key, t->units.count, k, out);
}

void spo_topology_best(spo_topology *t, const float *score, const unsigned char *among,
                       unsigned char wanted, size_t k, unsigned char *out) {
  choose(t, score, among, wanted, k, out);
}

void spo_topology_draw(spo_topology *t, uint32_t step, const unsigned char *among,
                       unsigned char wanted, size_t k, unsigned char *out) {
  const spo_context *x = t->call->context;
  t->random = (spo_random){.seed = x->recipe.seed, .stream = x->stream, .step = step};
  choose(t, NULL, among, wanted, k, out);
}

/* ---- the mask ---- */

static void set_unit(const spo_topology *t, unsigned char *bits, size_t unit) {
  size_t cols = t->call->context->cols, at = spo_unit_at(t->call->context, &t->units, unit);
  for (size_t r = 0; r < t->units.rows; r++)
    for (size_t i = at + r * cols; i < at + r * cols + t->units.cols; i++)
      bits[i / 8] = (unsigned char)(bits[i / 8] | 1u << i % 8);
}

/* The mask becomes active[]. */
static void store(const spo_topology *t) {
  const spo_call *c = t->call;
  memset(c->payload, 0, spo_bit_bytes(c->context->count));
  for (size_t i = 0; i < t->units.count; i++)
    if (t->active[i]) set_unit(t, c->payload, i);
  spo_clear_all(c->t, c->context->count, c->payload, c->pool);
}

spo_status spo_topology_move(spo_topology *t) {
  for (size_t i = 0; i < t->units.count; i++)
    t->active[i] = t->kept[i] | t->grown[i];
  store(t);
  spo_topology_close(t);
  return SPO_OK;
}

/* Before any update: random numbers of step 0. */
spo_status spo_topology_begin(spo_topology *t, const spo_call *c, size_t *k) {
  const spo_goal *goal = &c->context->recipe.goal;
  double sparsity = goal->sparsity;
  spo_status status = spo_topology_open(t, c);
  if (status != SPO_OK) return status;
  spo_pattern_implies(&goal->pattern, &sparsity);
  *k = (size_t)spo_keep_count(t->units.count, sparsity);
  spo_topology_draw(t, 0, t->grown, 0, *k, t->active);
  store(t);
  return SPO_OK;
}
