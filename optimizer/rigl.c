/* RigL (Evci et al., "Rigging the lottery", 2020): a constant number of active weights or blocks;
 * at times those of smallest L1 norm are dropped, and those of largest gradient are grown. The step
 * at which that happens does not update the weights. One that was just dropped may be grown again
 * and keeps its value and moments. */
#include <math.h>

#include "optimizer/topology.h"

static spo_status begin(const spo_call *c) {
  spo_topology t;
  size_t k;
  spo_status status = spo_topology_begin(&t, c, &k);
  if (status != SPO_OK) return status;
  spo_topology_close(&t);
  return SPO_OK;
}

static bool due(const spo_call *c) {
  const spo_recipe *r = &c->context->recipe;
  uint64_t step = spo_step_of(c);
  return step % r->every == 0 && step < spo_share_of(c->context, r->stop);
}

/* drop / 2 (1 + cos(pi t / T)) of the active units, T being the last step that changes the mask. */
static size_t how_many(const spo_call *c, size_t active) {
  const spo_recipe *r = &c->context->recipe;
  double part = (double)spo_step_of(c) / (double)spo_share_of(c->context, r->stop);
  return (size_t)(r->drop / 2 * (1 + cos(M_PI * part)) * (double)active + 1e-6);
}

static spo_status move(const spo_call *c) {
  spo_topology t;
  spo_status status = spo_call_finite(c, c->t->w, "weight");
  if (status == SPO_OK) status = spo_call_finite(c, c->t->g, "gradient");
  if (status == SPO_OK) status = spo_topology_open(&t, c);
  if (status != SPO_OK) return status;
  size_t active = spo_topology_active(&t), count = how_many(c, active), moved = 0;
  spo_topology_best(&t, c->t->w, t.active, 1, active - count, t.kept);
  spo_topology_best(&t, c->t->g, t.kept, 0, count, t.grown);
  for (size_t i = 0; i < t.units.count; i++)
    moved += t.grown[i] && !t.active[i];
  c->head->progress.moved = moved;
  return spo_topology_move(&t);
}

/* The gradient stays whole where it is to choose what grows. */
static spo_status grad(const spo_call *c) {
  if (!due(c)) spo_clear_all(&(spo_tensors){.w = c->t->g}, c->context->count, c->payload, c->pool);
  return SPO_OK;
}

static spo_status step(const spo_call *c) {
  if (due(c)) return move(c);
  spo_update_all(&c->rates, c->t, c->context->count, c->payload, c->pool);
  return SPO_OK;
}

static spo_status after(const spo_call *c) {
  if (c->t->g) return move(c);
  return spo_fail(c->error, SPO_E_VALUE, "tensor '%s': the gradient is missing", c->context->name);
}

const spo_training spo_rigl = {.payload = spo_mask_payload,
                               .masked = true,
                               .begin = begin,
                               .grad = grad,
                               .step = step,
                               .after = after,
                               .due = due};
