/* What codegen's files share: the blob of packed weights, shared functions, phases, addresses. */
#include "codegen/cg.h"

#include <string.h>

uint64_t blob_add(blob *b, const void *data, size_t size) {
  blob_segment *s = arena_new_one(b->arena, blob_segment);
  *s = (blob_segment){data, size, b->size, NULL};
  if (b->last)
    b->last->next = s;
  else
    b->first = s;
  b->last = s;
  b->size = (b->size + size + 63) & ~(uint64_t)63;
  return s->at;
}

void blob_copy(const blob *b, unsigned char *to) {
  uint64_t at = 0;
  for (const blob_segment *s = b->first; s; s = s->next) {
    memset(to + at, 0, s->at - at);
    if (s->size > 0) memcpy(to + s->at, s->data, s->size);
    at = s->at + s->size;
  }
  memset(to + at, 0, b->size - at);
}

V cg_shared(const cg *c, const char *key) {
  for (const shared_fn *s = c->shared; s; s = s->next)
    if (strcmp(s->key, key) == 0) return s->fn;
  return NULL;
}

void cg_share(cg *c, const char *key, V fn) {
  shared_fn *s = arena_new_one(c->a, shared_fn);
  *s = (shared_fn){arena_strdup(c->a, key), fn, c->shared};
  c->shared = s;
}

/* ---- phases ---- */

phase *cg_phase(cg *c, const char *name, enum items items, bool per_batch, uint32_t factor) {
  phase *p = arena_new_one(c->a, phase);
  *p = (phase){.name = name, .items = items, .per_batch = per_batch, .factor = factor};
  if (c->phase_count == c->phase_capacity) {
    uint32_t capacity = c->phase_capacity * 2 + 64;
    c->phases =
        arena_grow(c->a, c->phases, c->phase_count, capacity, sizeof *c->phases, _Alignof(phase *));
    c->phase_capacity = capacity;
  }
  c->phases[c->phase_count++] = p;
  return p;
}

void cg_phase_begin(cg *c, phase *p) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->i64, b->i64, b->i64};
  const char *name = arena_printf(c->a, "%s.%s@%s", c->g->name, p->name, b->isa->name);
  p->fn[b->isa->level] = b_function(b, name, b->none, t, 4);
  b_noinline(b);
  b_stays_on_stack(b);
}

/* ---- live quarters ---- */

V cg_quarter_tiles(cg *c, V quarters) {
  return b_shr(&c->b, b_addi(&c->b, quarters, TILE_QUARTERS - 1), 2);
}

V cg_live(cg *c, V quarters, V tile) {
  bld *b = &c->b;
  V rest = b_sub(b, quarters, b_muli(b, tile, TILE_QUARTERS));
  return b_min(b, rest, k64(b, TILE_QUARTERS));
}

void cg_over_quarters(cg *c, V live, uint32_t most, quarters_body *body, void *context) {
  bld *b = &c->b;
  V rest = b_and(b, live, k64(b, most - 1)), whole = b_sub(b, live, rest);
  loop l = b_loop(b, k64(b, 0), whole, most, NULL, 0);
  body(c, l.i, most, context);
  b_loop_end(b, &l, NULL);
  for (uint32_t n = most - 1; n > 0; n--) {
    branch f = b_if(b, b_eq(b, rest, k64(b, n)));
    body(c, whole, n, context);
    b_end(b, &f);
  }
}

/* ---- addresses ---- */

uint64_t stream_ahead(const bld *b, uint32_t vecs) {
  uint32_t tokens = vecs * b->isa->lanes;
  return tokens < TILE ? (uint64_t)STREAM_AHEAD * TILE / tokens : STREAM_AHEAD;
}

V cg_vector_at(cg *c, V p, V step, uint64_t at, uint32_t j) {
  bld *b = &c->b;
  uint32_t per_tile = TILE / b->isa->lanes;
  V base = j < per_tile ? p : b_at(b, p, step);
  return b_ati(b, base, at + (uint64_t)(j % per_tile) * b->isa->lanes * 4);
}

ir_bytes cg_slots_before(const cg *c, uint32_t slot) {
  ir_bytes sum = {0, 0, 0};
  for (uint32_t i = 0; i < slot; i++) {
    sum.per_n_tile += c->g->slots[i].per_n_tile;
    sum.per_b_tile += c->g->slots[i].per_b_tile;
    sum.constant += c->g->slots[i].constant;
  }
  return sum;
}

V cg_slot(cg *c, V frame, const ir_value *v) {
  bld *b = &c->b;
  ir_bytes at = cg_slots_before(c, v->slot);
  V offset = k64(b, at.constant);
  if (at.per_n_tile) offset = b_add(b, offset, b_muli(b, b_load64(b, frame, F_NT), at.per_n_tile));
  if (at.per_b_tile) offset = b_add(b, offset, b_muli(b, b_load64(b, frame, F_BT), at.per_b_tile));
  return b_at(b, b_loadp(b, frame, F_WORK), offset);
}

V cg_weights(cg *c, V frame, uint64_t at) {
  return b_ati(&c->b, b_loadp(&c->b, frame, F_WEIGHTS), at);
}

uint64_t cg_constant(cg *c, const ir_value *v) {
  for (const blob_segment *s = c->blob.first; s; s = s->next)
    if (s->data == v->tensor->data && s->size == v->tensor->count * 4) return s->at;
  return blob_add(&c->blob, v->tensor->data, v->tensor->count * 4);
}

bool cg_per_batch(const ir_value *v) {
  return v->type.dim[0] == DIM_B;
}

uint32_t cg_channels(const ir_value *v) {
  return (uint32_t)v->type.dim[v->type.rank - 1];
}
