/* Dynamic always-sparse training (Dietrich et al., "Towards structured dynamic sparse pre-training
 * of BERT", 2021): a constant number of active weights or blocks; at times those of smallest L1
 * norm are dropped, and as many are grown at random from those that were inactive before. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/prox_lanes.h"
#include "optimizer/topology.h"

/* Which random numbers: those of update j are of step j, from 1, and those of the first mask of 0.
 */
#define DRAW_WEIGHTS UINT32_MAX

typedef struct parts {
  unsigned char *explored, *young; /* bits of units */
  uint32_t *birth;                 /* the update that grew a unit, 0: the beginning; age_correct */
} parts;

static size_t payload(const spo_context *c) {
  size_t units = spo_units_of(c).count;
  return spo_bit_bytes(c->count) + 2 * spo_bit_bytes(units) +
         (c->recipe.age_correct ? units * sizeof(uint32_t) : 0);
}

static parts parts_of(const spo_call *c) {
  size_t units = spo_units_of(c->context).count;
  parts p = {.explored = (unsigned char *)c->payload + spo_bit_bytes(c->context->count)};
  p.young = p.explored + spo_bit_bytes(units);
  if (c->context->recipe.age_correct)
    p.birth = (uint32_t *)(void *)(p.young + spo_bit_bytes(units));
  return p;
}

/* ---- when ---- */

/* The step after which update j of n is made: floor(j T / n), without overflow. */
static uint64_t step_of_update(const spo_recipe *r, uint64_t j) {
  return j * (r->steps / r->updates) + j * (r->steps % r->updates) / r->updates;
}

/* The update that follows the step, 1 … n - 1, or 0. Several may fall on a step when there are more
 * updates than steps: then the first is made. */
static uint32_t update_after(const spo_recipe *r, uint64_t step) {
  uint64_t low = 1, high = r->updates;
  while (low < high) {
    uint64_t mid = (low + high) / 2;
    if (step_of_update(r, mid) >= step)
      high = mid;
    else
      low = mid + 1;
  }
  return low < r->updates && step_of_update(r, low) == step ? (uint32_t)low : 0;
}

/* ceil(ceil(rate nnz) (1 + cos(pi t / T)) / 2), at most what is inactive. */
static size_t how_many(const spo_call *c, size_t active, size_t inactive) {
  const spo_recipe *r = &c->context->recipe;
  double part = (double)spo_step_of(c) / (double)r->steps;
  double most = ceil(r->prune_rate * (double)active - 1e-6);
  double now = ceil(most * (1 + cos(M_PI * part)) / 2 - 1e-6);
  size_t count = now > 0 ? (size_t)now : 0;
  return count < inactive ? count : inactive;
}

/* ---- the first weights ---- */

/* exp(-x) for x of 0 … 2, by its series: the same on every machine. */
static double falling(double x) {
  double sum = 1, term = 1;
  for (int i = 1; i <= 30; i++) {
    term *= x / i;
    sum += term;
  }
  return 1 / sum;
}

/* A standard normal number between -2 and 2, by rejection. */
static double truncated_normal(const spo_random *r, uint64_t index) {
  for (uint64_t attempt = 0;; attempt++) {
    double x = 4 * spo_random_unit(r, index | 2 * attempt << 48) - 2;
    if (spo_random_unit(r, index | (2 * attempt + 1) << 48) < falling(x * x / 2)) return x;
  }
}

static void draw_block(void *arg, size_t index) {
  const spo_call *c = arg;
  const spo_context *x = c->context;
  const spo_random r = {.seed = x->recipe.seed, .stream = x->stream, .step = DRAW_WEIGHTS};
  size_t end = (index + 1) * SPO_GRAIN < x->count ? (index + 1) * SPO_GRAIN : x->count;
  for (size_t i = index * SPO_GRAIN; i < end; i++)
    if (spo_bit(c->payload, i))
      c->t->w[i] = (float)(x->recipe.initial_std * truncated_normal(&r, i));
}

static spo_status begin(const spo_call *c) {
  spo_topology t;
  size_t k;
  spo_status status = spo_topology_begin(&t, c, &k);
  if (status != SPO_OK) return status;
  spo_bits_pack(parts_of(c).explored, t.active, t.units.count);
  c->head->progress.explored = k;
  if (c->context->recipe.initial_std > 0) {
    spo_call work = *c;
    spo_run(c->pool, draw_block, &work, spo_blocks(c->context->count, SPO_GRAIN));
  }
  spo_topology_close(&t);
  return SPO_OK;
}

/* ---- updates of the mask ---- */

/* Counts what the update did, and marks the grown units. */
static void record(const spo_topology *t, uint32_t update) {
  parts p = parts_of(t->call);
  spo_progress *progress = &t->call->head->progress;
  progress->moved = progress->young = 0;
  for (size_t i = 0; i < t->units.count; i++) {
    unsigned char bit = (unsigned char)(1u << i % 8);
    progress->young += t->active[i] && !t->kept[i] && spo_bit(p.young, i);
    if (!t->grown[i]) continue;
    progress->moved++;
    progress->explored += !spo_bit(p.explored, i);
    p.explored[i / 8] |= bit;
    if (p.birth) p.birth[i] = update;
  }
  spo_bits_pack(p.young, t->grown, t->units.count);
}

static spo_status move(const spo_call *c, uint32_t update) {
  spo_topology t;
  spo_status status = spo_call_finite(c, c->t->w, "weight");
  if (status == SPO_OK) status = spo_topology_open(&t, c);
  if (status != SPO_OK) return status;
  size_t active = spo_topology_active(&t);
  size_t count = how_many(c, active, t.units.count - active);
  spo_topology_best(&t, c->t->w, t.active, 1, active - count, t.kept);
  spo_topology_draw(&t, update, t.active, 0, count, t.grown);
  record(&t, update);
  return spo_topology_move(&t);
}

static spo_status move_when_due(const spo_call *c) {
  uint32_t update = update_after(&c->context->recipe, spo_step_of(c));
  return update ? move(c, update) : SPO_OK;
}

/* ---- moments of a unit's own age ---- */

typedef struct aging {
  const spo_call *call;
  spo_units units;
  parts parts;
  const spo_rates *rates; /* by birth */
  uint32_t births;
} aging;

static void update_row(const aging *a, const spo_rates *r, size_t at) {
  const spo_tensors *t = a->call->t;
  for (size_t done = 0; done < a->units.cols; done += SPO_RUN) {
    float w[SPO_RUN];
    size_t left = a->units.cols - done, n = left < SPO_RUN ? left : SPO_RUN;
    spo_update_run(r, t, at + done, n, w, NULL);
    memcpy(t->w + at + done, w, n * sizeof *w);
  }
}

/* One unit with its own correction of the bias. */
static void update_unit(const aging *a, size_t unit) {
  const spo_context *x = a->call->context;
  size_t at = spo_unit_at(x, &a->units, unit);
  uint32_t birth = a->parts.birth[unit];
  const spo_rates *r = &a->rates[birth < a->births ? birth : 0];
  if (!spo_bit(a->call->payload, at)) return;
  for (size_t row = 0; row < a->units.rows; row++)
    update_row(a, r, at + row * x->cols);
}

static void update_units(void *arg, size_t index) {
  const aging *a = arg;
  size_t end = (index + 1) * SPO_GRAIN < a->units.count ? (index + 1) * SPO_GRAIN : a->units.count;
  for (size_t i = index * SPO_GRAIN; i < end; i++)
    update_unit(a, i);
}

/* The updates that were made before this step. */
static uint32_t births_before(const spo_recipe *r, uint64_t step) {
  uint32_t births = 1;
  while (births < r->updates && step_of_update(r, births) < step)
    births++;
  return births;
}

static spo_status aged_step(const spo_call *c) {
  const spo_recipe *r = &c->context->recipe;
  uint32_t births = births_before(r, spo_step_of(c));
  spo_rates *rates = malloc(births * sizeof *rates);
  if (!rates) return spo_call_no_memory(c);
  spo_status status = SPO_OK;
  rates[0] = c->rates;
  for (uint32_t j = 1; j < births && status == SPO_OK; j++)
    status = spo_rates_of(c->optimizer, spo_step_of(c) - step_of_update(r, j), &rates[j], c->error);
  aging a = {.call = c, .units = spo_units_of(c->context), .parts = parts_of(c), .rates = rates};
  a.births = births;
  if (status == SPO_OK) spo_run(c->pool, update_units, &a, spo_blocks(a.units.count, SPO_GRAIN));
  free(rates);
  return status;
}

static spo_status step(const spo_call *c) {
  spo_status status = SPO_OK;
  if (update_after(&c->context->recipe, spo_step_of(c)))
    status = spo_call_finite(c, c->t->g, "gradient");
  if (status != SPO_OK) return status;
  if (c->context->recipe.age_correct && c->rates.rule == SPO_ADAMW)
    status = aged_step(c);
  else
    spo_update_all(&c->rates, c->t, c->context->count, c->payload, c->pool);
  return status == SPO_OK ? move_when_due(c) : status;
}

static spo_status after(const spo_call *c) {
  if (c->context->recipe.age_correct)
    return spo_fail(c->error, SPO_E_VALUE,
                    "tensor '%s': age_correct is part of the update itself, which another "
                    "optimizer has made; turn it off or use spo_step",
                    c->context->name);
  return move_when_due(c);
}

/* How many units are active; SIZE_MAX when one is in parts. */
static size_t count_active(const spo_call *c, const spo_units *u) {
  size_t active = 0, cols = c->context->cols;
  for (size_t i = 0; i < u->count; i++) {
    size_t kept = 0, at = spo_unit_at(c->context, u, i);
    for (size_t k = 0; k < u->rows * u->cols; k++)
      kept += spo_bit(c->payload, at + k / u->cols * cols + k % u->cols);
    if (kept > 0 && kept < u->rows * u->cols) return SIZE_MAX;
    active += kept > 0;
  }
  return active;
}

/* As many units are active as at the beginning, each of them whole. */
static spo_status check(const spo_call *c) {
  spo_units u = spo_units_of(c->context);
  parts p = parts_of(c);
  double sparsity = c->context->recipe.goal.sparsity;
  spo_pattern_implies(&c->context->recipe.goal.pattern, &sparsity);
  bool ok = count_active(c, &u) == spo_keep_count(u.count, sparsity) &&
            spo_bits_clean(p.explored, u.count) && spo_bits_clean(p.young, u.count);
  for (size_t i = 0; i < u.count && ok && p.birth; i++)
    ok = p.birth[i] < c->context->recipe.updates;
  if (ok) return SPO_OK;
  return spo_fail(c->error, SPO_E_STATE, "tensor '%s': the state is damaged", c->context->name);
}

const spo_training spo_dynamic = {.payload = payload,
                                  .masked = true,
                                  .begin = begin,
                                  .step = step,
                                  .after = after,
                                  .check = check};
