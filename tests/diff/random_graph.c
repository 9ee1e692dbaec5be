/* A random graph with one random call of it. */
#include "tests/diff/random_graph.h"

#include <string.h>

#include "tests/diff/random_build.h"

/* The call while it is made. */
typedef struct call {
  builder *b;
  random_case *out;
  int32_t *lengths;
  size_t rows; /* of the caller's token inputs */
} call;

static int64_t tokens_of(const call *c, int64_t sequence) {
  return c->lengths ? c->lengths[sequence] : c->out->sequence;
}

static void pick_call(call *c) {
  rng *r = &c->b->r;
  random_case *o = c->out;
  o->batch = 1 + rng_below(r, (uint32_t)o->graph->max_batch);
  if (rng_chance(r, 3)) o->batch = 0;
  uint32_t most = (uint32_t)o->graph->max_sequence;
  o->sequence = rng_chance(r, 60) ? most : 1 + rng_below(r, most);
  if (rng_chance(r, 20)) {
    c->lengths = arena_array(c->b->a, int32_t, (size_t)o->batch + 1);
    for (int64_t i = 0; i < o->batch; i++)
      c->lengths[i] = rng_chance(r, 15) ? 0 : (int32_t)(1 + rng_below(r, (uint32_t)o->sequence));
  }
  o->lengths = c->lengths;
  for (int64_t i = 0; i < o->batch; i++)
    c->rows += (size_t)tokens_of(c, i);
}

/* One sequence's mask: full, padded, with holes, with one token, or all mask. */
static void random_mask(rng *r, int32_t *mask, uint32_t n) {
  uint32_t kind = rng_below(r, 5), kept = n ? rng_below(r, n + 1) : 0;
  for (uint32_t i = 0; i < n; i++) {
    bool on[] = {true, i < kept, rng_chance(r, 70), i == kept, false};
    mask[i] = on[kind];
  }
}

static const void *mask_data(call *c) {
  int32_t *mask = arena_array(c->b->a, int32_t, c->rows + 1), *at = mask;
  for (int64_t i = 0; i < c->out->batch; i++) {
    uint32_t n = (uint32_t)tokens_of(c, i);
    random_mask(&c->b->r, at, n);
    at += n;
  }
  return mask;
}

/* The rows of the table that ids from `input` look up. */
static uint32_t table_rows(const ir_graph *g, ir_id input) {
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (!ir_is_op(v, OP_gather)) continue;
    const ir_value *ids = ir_in(g, v, 1);
    if (ir_is_op(ids, OP_pack) && ids->in[0] == input) return (uint32_t)ir_in(g, v, 0)->type.dim[0];
  }
  return 1;
}

static const void *ids_data(call *c, ir_id input) {
  uint32_t rows = table_rows(c->out->graph, input);
  int32_t *ids = arena_array(c->b->a, int32_t, c->rows + 1);
  for (size_t i = 0; i < c->rows; i++)
    ids[i] = (int32_t)rng_below(&c->b->r, rows);
  return ids;
}

static const void *float_data(call *c, size_t count) {
  float *x = arena_array(c->b->a, float, count + 1);
  for (size_t i = 0; i < count; i++)
    x[i] = rng_normal(&c->b->r);
  return x;
}

/* Elements of an input in this call. */
static size_t input_count(const call *c, const ir_type *t) {
  if (t->rank == 2 && t->dim[1] != DIM_S) return (size_t)(c->out->batch * t->dim[1]);
  return c->rows * (t->rank == 3 ? (size_t)t->dim[2] : 1);
}

static void fill_inputs(call *c) {
  const ir_graph *g = c->out->graph;
  const void **in = arena_array(c->b->a, const void *, g->count + 1);
  size_t *bytes = arena_array(c->b->a, size_t, g->count + 1);
  uint32_t n = 0;
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_INPUT) continue;
    size_t count = input_count(c, &v->type);
    if (v->optional && rng_chance(&c->b->r, 25))
      count = 0;
    else if (v->type.dtype == IR_F32)
      in[n] = float_data(c, count);
    else
      in[n] = id == c->b->mask ? mask_data(c) : ids_data(c, id);
    bytes[n++] = count * 4;
  }
  c->out->in = in;
  c->out->in_bytes = bytes;
  c->out->in_count = n;
}

const random_case *random_case_new(arena *a, uint64_t seed) {
  random_case *o = arena_new_one(a, random_case);
  builder b = {.a = a, .g = ir_graph_new(a, "random"), .r = {seed * 0x2545F4914F6CDD1Du + 1}};
  b.mask = IR_NONE;
  b.text = arena_printf(a, "seed %llu:", (unsigned long long)seed);
  o->seed = seed;
  o->graph = b.g;
  if (rng_chance(&b.r, 55))
    build_chain(&b);
  else
    build_encoder(&b);
  call c = {.b = &b, .out = o};
  pick_call(&c);
  fill_inputs(&c);
  o->text = arena_printf(a, "%s, batch %lld sequence %lld%s", b.text, (long long)o->batch,
                         (long long)o->sequence, o->lengths ? " ragged" : "");
  return o;
}
