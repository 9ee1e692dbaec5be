/* The verifier for what partition and plan write: parts and slots. */
#include <inttypes.h>
#include <string.h>

#include "ir/check.h"
#include "support/checked.h"

/* ---- parts ---- */

static bool check_rows(const ir_check *c, const ir_value *v, uint32_t index, uint32_t rows) {
  const ir_part *p = &v->parts[index];
  uint32_t end = 0;
  for (uint32_t i = 0; i < p->row_ranges; i++) {
    if (p->rows[i].lo >= p->rows[i].hi || p->rows[i].hi > rows || (i && p->rows[i].lo < end))
      return ir_fail(c, v, E_PATTERN,
                     "part %u: rows %u:%u are empty, out of order or outside of 0:%u", index,
                     p->rows[i].lo, p->rows[i].hi, rows);
    end = p->rows[i].hi;
  }
  return p->row_ranges > 0 || ir_fail(c, v, E_PATTERN, "part %u has no rows", index);
}

/* A part of its own: bounds, pattern and kernel. */
static bool check_part(const ir_check *c, const ir_value *v, uint32_t index, const ir_type *w) {
  const ir_part *p = &v->parts[index];
  char text[PATTERN_TEXT_MAX];
  pattern same;
  uint32_t rows = (uint32_t)w->dim[0], cols = (uint32_t)w->dim[1];
  if (!check_rows(c, v, index, rows)) return false;
  if (p->col_lo >= p->col_hi || p->col_hi > cols)
    return ir_fail(c, v, E_PATTERN, "part %u: columns %u:%u are empty or outside of 0:%u", index,
                   p->col_lo, p->col_hi, cols);
  if (!pattern_parse(pattern_print(&p->pattern, text), &same))
    return ir_fail(c, v, E_PATTERN, "part %u: '%s' is no sparsity pattern", index, text);
  if ((unsigned)p->kernel >= KERNEL_COUNT)
    return ir_fail(c, v, E_PATTERN, "part %u: unknown kernel", index);
  if (!ir_kernel_serves(p->kernel, &p->pattern))
    return ir_fail(c, v, E_PATTERN, "part %u: kernel %s does not serve pattern %s (it serves: %s)",
                   index, ir_kernel_names[p->kernel], text, ir_kernel_patterns[p->kernel]);
  return true;
}

/* Every non-zero of the weight is taken by some part. */
static bool check_cover(const ir_check *c, const ir_value *v, const ir_value *w,
                        unsigned char *owner) {
  uint32_t cols = (uint32_t)w->type.dim[1];
  memset(owner, 0, w->tensor->count);
  for (uint32_t i = 0; i < v->part_count; i++)
    ir_part_take(&v->parts[i], w->tensor->data, cols, owner, 1);
  for (size_t i = 0; i < w->tensor->count; i++)
    if (!owner[i] && w->tensor->data[i] != 0)
      return ir_fail(c, v, E_PATTERN, "no part takes element [%zu, %zu] of weight '%s'", i / cols,
                     i % cols, w->name);
  return true;
}

bool ir_check_parts(const ir_check *c, const ir_value *v, unsigned char *owner) {
  if (v->op != OP_linear)
    return ir_fail(c, v, E_OP, "has parts, but only linear is cut into parts");
  if (v->part_count > IR_MAX_PARTS)
    return ir_fail(c, v, E_LIMIT, "%u parts; at most %d are possible", v->part_count, IR_MAX_PARTS);
  const ir_value *w = ir_in(c->g, v, 1);
  for (uint32_t i = 0; i < v->part_count; i++)
    if (!check_part(c, v, i, &w->type)) return false;
  return check_cover(c, v, w, owner);
}

/* ---- the plan ---- */

/* The bytes that a value of `t` takes at least: 64 tokens (or rows of B) of every channel a tile.
 */
static bool value_bytes(const ir_type *t, ir_bytes *out) {
  enum { TILE_BYTES = 64 * 4 };
  size_t bytes = TILE_BYTES;
  *out = (ir_bytes){0};
  for (uint32_t i = 1; i < t->rank; i++)
    if (t->dim[i] < 1 || !size_mul(bytes, (size_t)t->dim[i], &bytes)) return false;
  if (t->rank > 0 && t->dim[0] == DIM_N) out->per_n_tile = bytes;
  if (t->rank > 0 && t->dim[0] == DIM_B) out->per_b_tile = bytes;
  return out->per_n_tile || out->per_b_tile;
}

/* The value may live in its slot: results of ops other than unpack, whose size is a linear form. */
static bool check_slot(const ir_check *c, const ir_value *v) {
  const ir_graph *g = c->g;
  ir_bytes need;
  if (v->slot >= g->slot_count)
    return ir_fail(c, v, E_IR_PLAN, "slot %u, but the workspace has %u slots", v->slot,
                   g->slot_count);
  if (v->kind != IR_OP || v->op == OP_unpack)
    return ir_fail(c, v, E_IR_PLAN, "has a slot, but lives in the caller's memory");
  const ir_bytes *slot = &g->slots[v->slot];
  if (value_bytes(&v->type, &need) && slot->per_n_tile >= need.per_n_tile &&
      slot->per_b_tile >= need.per_b_tile)
    return true;
  return ir_fail(c, v, E_IR_PLAN, "%s does not fit into slot %u", ir_type_print(g->arena, &v->type),
                 v->slot);
}

/* By id: the last value that uses each value, at least itself. */
static ir_id *last_uses(const ir_graph *g) {
  ir_id *last = arena_array(g->arena, ir_id, g->count);
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    last[id] = id;
    for (uint32_t i = 0; i < v->nin; i++)
      if (v->in[i] != IR_NONE) last[v->in[i]] = id;
  }
  return last;
}

/* No value is written into a slot before, or when, the value there is used for the last time. */
static void check_overlap(const ir_check *c) {
  const ir_graph *g = c->g;
  const ir_id *last = last_uses(g);
  ir_id *tenant = arena_array(g->arena, ir_id, g->slot_count); /* id + 1 of the latest; 0: none */
  for (ir_id id = 0; id < g->count && !diag_full(c->d); id++) {
    const ir_value *v = ir_at(g, id);
    if (v->slot == IR_NO_SLOT || !check_slot(c, v)) continue;
    ir_id before = tenant[v->slot];
    if (before && last[before - 1] >= id)
      ir_fail(c, v, E_IR_PLAN, "slot %u still holds '%s', which '%s' uses", v->slot,
              ir_at(g, before - 1)->name, ir_at(g, last[before - 1])->name);
    tenant[v->slot] = id + 1;
  }
}

static bool add_scaled(size_t *sum, uint64_t bytes, int64_t times) {
  size_t product;
  return size_mul((size_t)bytes, (size_t)times, &product) && size_add(*sum, product, sum);
}

/* The workspace at the graph's limits can be counted, and slots begin at multiples of 64. */
static void check_sizes(const ir_check *c) {
  const ir_graph *g = c->g;
  size_t sum = 0;
  int64_t n_tiles = (g->max_batch * g->max_sequence + 63) / 64, b_tiles = (g->max_batch + 63) / 64;
  for (uint32_t i = 0; i < g->slot_count; i++) {
    const ir_bytes *s = &g->slots[i];
    if ((s->per_n_tile | s->per_b_tile | s->constant) % 64 != 0)
      ir_fail(c, NULL, E_IR_PLAN, "the size of slot %u is no multiple of 64", i);
    if (!add_scaled(&sum, s->per_n_tile, n_tiles) || !add_scaled(&sum, s->per_b_tile, b_tiles) ||
        !size_add(sum, s->constant, &sum) || sum > SIZE_MAX / 2) {
      ir_fail(c, NULL, E_OVERFLOW, "the bytes of the workspace overflow in slot %u", i);
      return;
    }
  }
}

void ir_check_plan(const ir_check *c) {
  if (c->g->slot_count > IR_MAX_VALUES) {
    ir_fail(c, NULL, E_LIMIT, "%u slots; at most %d are possible", c->g->slot_count, IR_MAX_VALUES);
    return;
  }
  check_sizes(c);
  check_overlap(c);
}
