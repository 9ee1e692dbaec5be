#include "driver/inputs.h"

#include <string.h>

#include "support/checked.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static uint32_t below(uint64_t *state, uint32_t limit) {
  return (uint32_t)((next_random(state) >> 32) * limit >> 32);
}

static const void *random_ids(arena *a, uint64_t *state, size_t count, uint32_t limit) {
  int32_t *to = arena_array(a, int32_t, count + 1);
  for (size_t i = 0; i < count; i++)
    to[i] = (int32_t)below(state, limit);
  return to;
}

static const void *random_floats(arena *a, uint64_t *state, size_t count) {
  float *to = arena_array(a, float, count + 1);
  for (size_t i = 0; i < count; i++)
    to[i] = (float)(next_random(state) >> 40) * 0x1p-23f - 1.0f;
  return to;
}

/* A mask [batch, sequence]: each sequence has a length from half to all, and one hole in eight. */
static const void *random_mask(arena *a, uint64_t *state, int32_t batch, int32_t sequence) {
  int32_t *to = arena_array(a, int32_t, (size_t)batch *(size_t)sequence + 1);
  for (int32_t b = 0; b < batch; b++) {
    int32_t length = sequence - (int32_t)below(state, (uint32_t)sequence / 2 + 1);
    for (int32_t s = 0; s < length; s++)
      to[b * sequence + s] = s == length - 1 || below(state, 8) != 0;
  }
  return to;
}

/* ---- what an input of a graph is for ---- */

/* Rows of the table that `v` looks the ids `id` up in; 0: it does not. */
static int64_t table_rows(const ir_graph *g, const ir_value *v, ir_id id) {
  const ir_value *table = NULL;
  if (ir_is_op(v, OP_gather) && v->in[1] == id) table = ir_in(g, v, 0);
  if (ir_is_op(v, OP_embed) && v->in[0] == id) table = ir_in(g, v, 2);
  if (ir_is_op(v, OP_embed) && v->in[1] == id) table = ir_in(g, v, 4);
  return table ? table->type.dim[0] : 0;
}

/* The smallest table that the packed ids reach; 0: none, as for a mask. */
static int64_t id_limit(const ir_graph *g, ir_id input_id) {
  int64_t limit = 0;
  for (ir_id p = 0; p < g->count; p++) {
    if (!ir_is_op(ir_at(g, p), OP_pack) || ir_at(g, p)->in[0] != input_id) continue;
    for (ir_id i = 0; i < g->count; i++) {
      int64_t rows = table_rows(g, ir_at(g, i), p);
      if (rows && (!limit || rows < limit)) limit = rows;
    }
  }
  return limit;
}

static bool count_elements(driver *dr, const char *name, const int64_t *dim, uint32_t rank,
                           int32_t batch, int32_t sequence, size_t *count) {
  *count = 1;
  for (uint32_t i = 0; i < rank; i++) {
    /* The graph's symbols and the interface's have the same values. */
    int64_t n = dim[i] == DIM_B ? batch : dim[i] == DIM_S ? sequence : dim[i];
    if (!size_mul(*count, (size_t)n, count))
      return diag_error(dr->diag, loc_file(NULL), E_OVERFLOW, "the size of input '%s' overflows",
                        name);
  }
  return true;
}

_Static_assert((int)DIM_B == (int)SPCC_DIM_BATCH && (int)DIM_S == (int)SPCC_DIM_SEQUENCE,
               "symbolic dimensions of graphs and of interfaces agree");

/* ---- sets ---- */

static input_set new_set(driver *dr, uint32_t most, int32_t batch, int32_t sequence) {
  return (input_set){
      .list = arena_array(dr->arena, input, most + 1), .batch = batch, .sequence = sequence};
}

bool inputs_for_graph(driver *dr, const ir_graph *g, int32_t batch, int32_t sequence, uint64_t seed,
                      bool optional, input_set *out) {
  *out = new_set(dr, g->count, batch, sequence);
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_INPUT) continue;
    input *in = &out->list[out->count++];
    in->name = v->name;
    if (!count_elements(dr, v->name, v->type.dim, v->type.rank, batch, sequence, &in->count))
      return false;
    if (v->optional && !optional) continue;
    int64_t limit = id_limit(g, id);
    if (v->type.dtype == IR_F32)
      in->data = random_floats(dr->arena, &seed, in->count);
    else if (limit)
      in->data = random_ids(dr->arena, &seed, in->count, (uint32_t)limit);
    else
      in->data = random_mask(dr->arena, &seed, batch, sequence);
  }
  return true;
}

bool inputs_for_info(driver *dr, const spcc_info *info, int32_t batch, int32_t sequence,
                     uint64_t seed, int32_t limit, input_set *out) {
  *out = new_set(dr, info->input_count, batch, sequence);
  for (uint32_t i = 0; i < info->input_count; i++) {
    const spcc_tensor *t = &info->inputs[i];
    input *in = &out->list[out->count++];
    in->name = t->name;
    if (!count_elements(dr, t->name, t->dim, t->rank, batch, sequence, &in->count)) return false;
    if (t->optional) continue;
    in->data = t->dtype == SPCC_F32 ? random_floats(dr->arena, &seed, in->count)
                                    : random_ids(dr->arena, &seed, in->count, (uint32_t)limit);
  }
  return true;
}

void inputs_bind(const input_set *set, session *s) {
  for (uint32_t i = 0; i < s->info->input_count; i++)
    for (uint32_t k = 0; k < set->count; k++)
      if (!strcmp(s->info->inputs[i].name, set->list[k].name)) s->in[i] = set->list[k].data;
}
