/* Plan: gives every value a slot of the caller's workspace. Values that never live at the same time
 * share a slot; slots are linear forms in the number of token tiles and sequence tiles, so one plan
 * serves every batch and sequence. */
#include "passes/passes.h"

enum { TILE_BYTES = 64 * 4 };

typedef struct planner {
  ir_graph *g;
  uint32_t *last_use; /* per value: index of the last op that reads it */
  uint32_t *free_at;  /* per slot: index of the op after which it is free */
  uint32_t slot_count;
} planner;

/* Values in tiles live in the workspace; ids and results are in the caller's memory. */
static bool needs_slot(const ir_value *v) {
  return v->kind == IR_OP && v->op != OP_unpack && v->type.dtype == IR_F32 && v->type.rank == 2;
}

static ir_bytes size_of(const ir_value *v) {
  uint64_t per_tile = (uint64_t)v->type.dim[1] * TILE_BYTES;
  if (v->type.dim[0] == DIM_B) return (ir_bytes){.per_b_tile = per_tile};
  return (ir_bytes){.per_n_tile = per_tile};
}

static void find_last_uses(planner *p) {
  for (uint32_t i = 0; i < p->g->count; i++) {
    const ir_value *v = &p->g->values[i];
    p->last_use[i] = i;
    for (uint32_t k = 0; v->kind == IR_OP && k < v->nin; k++)
      if (v->in[k] != IR_NONE) p->last_use[v->in[k]] = i;
  }
}

/* How much slot `s` would have to grow to hold `size`; UINT64_MAX when it holds the other kind of
 * rows or is not free before op `at`. */
static uint64_t growth(const planner *p, uint32_t s, ir_bytes size, uint32_t at) {
  const ir_bytes *have = &p->g->slots[s];
  if (p->free_at[s] >= at || (have->per_b_tile > 0) != (size.per_b_tile > 0)) return UINT64_MAX;
  uint64_t want = size.per_n_tile + size.per_b_tile, has = have->per_n_tile + have->per_b_tile;
  return want > has ? want - has : 0;
}

static uint32_t choose_slot(planner *p, ir_bytes size, uint32_t at) {
  uint32_t best = p->slot_count;
  uint64_t least = UINT64_MAX;
  for (uint32_t s = 0; s < p->slot_count; s++) {
    uint64_t more = growth(p, s, size, at);
    if (more >= least) continue;
    least = more;
    best = s;
  }
  if (best == p->slot_count) p->g->slots[p->slot_count++] = (ir_bytes){0, 0, 0};
  ir_bytes *slot = &p->g->slots[best];
  if (slot->per_n_tile < size.per_n_tile) slot->per_n_tile = size.per_n_tile;
  if (slot->per_b_tile < size.per_b_tile) slot->per_b_tile = size.per_b_tile;
  return best;
}

bool pass_plan(ir_graph *g, pass_context *c) {
  planner p = {.g = g,
               .last_use = arena_array(c->arena, uint32_t, g->count + 1),
               .free_at = arena_array(c->arena, uint32_t, g->count + 1)};
  g->slots = arena_array(g->arena, ir_bytes, g->count + 1);
  find_last_uses(&p);
  for (uint32_t i = 0; i < g->count; i++) {
    ir_value *v = &g->values[i];
    v->slot = IR_NO_SLOT;
    if (!needs_slot(v)) continue;
    v->slot = choose_slot(&p, size_of(v), i);
    p.free_at[v->slot] = p.last_use[i];
  }
  g->slot_count = p.slot_count;
  return true;
}
