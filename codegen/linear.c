/* A linear: the driver that walks tiles, slabs and chunks of a weight and calls the kernels of its
 * parts, and the step per layer that passes the layer's streams. */
#include <stdio.h>
#include <string.h>

#include "codegen/cg.h"

/* A linear as the driver sees it. All but the streams is constant. */
typedef struct linear {
  const ir_value *v;
  linear_shape shape;
  uint32_t chunk_rows, chunks;
  uint32_t slabs[MAX_PARTS]; /* of each part */
  bool prefill;       /* the bias is a pass of its own: the first part does not cover every row */
  bool post_act;      /* so is the activation, after the last part, */
  bool post_residual; /* and the residual */
} linear;

/* Pointers and counts inside the driver function. */
typedef struct driver_args {
  V layer, x, y, residual, tiles, quarters; /* of the item's tiles */
  V bias;
  V chunk_lo, chunk_hi;
} driver_args;

static bool covers_all_rows(const ir_part *p, uint32_t m) {
  return p->row_ranges == 1 && p->rows[0].lo == 0 && p->rows[0].hi == m;
}

/* The layer's table in the weights: u64 offsets from the table, of the bias and then of each part,
 * and behind those of MAX_PARTS parts u32 turn[chunks] (see fill_turns). */
enum { TABLE_TURNS = 8 + 8 * MAX_PARTS };
static V part_base(bld *b, V layer, uint32_t part) {
  return b_at(b, layer, b_load64(b, layer, 8 + (uint64_t)part * 8));
}

/* ---- passes over the rows of the item's chunks ---- */

/* What a pass stores at one vector: the bias before the parts, activation and residual after. */
static V pass_value(cg *c, const linear *l, bool prefill, V bias, V y, V residual, uint64_t off) {
  bld *b = &c->b;
  if (prefill) return bias;
  V value = vload(b, y, off);
  if (l->post_act) value = m_act(b, l->shape.act, value);
  return l->post_residual ? vadd(b, value, vload(b, residual, off)) : value;
}

/* A row of one tile. */
typedef struct row_pass {
  const linear *l;
  bool prefill;
  V bias, y, residual;
} row_pass;

static void row_quarters(cg *c, V from, uint32_t n, void *context) {
  const row_pass *p = context;
  bld *b = &c->b;
  V at = b_muli(b, from, QUARTER_BYTES), y = b_at(b, p->y, at);
  V residual = p->residual ? b_at(b, p->residual, at) : NULL;
  for (uint32_t j = 0; j < n * QUARTER / b->isa->lanes; j++) {
    uint64_t off = (uint64_t)j * b->isa->lanes * 4;
    vstore(b, pass_value(c, p->l, p->prefill, p->bias, y, residual, off), y, off);
  }
}

/* for tile, row of the chunks, live quarter: the pass before or after the parts */
static void over_rows(cg *c, const linear *l, const driver_args *d, bool prefill) {
  bld *b = &c->b;
  row_pass p = {.l = l, .prefill = prefill};
  V lo = b_muli(b, d->chunk_lo, l->chunk_rows);
  V hi = b_min(b, b_muli(b, d->chunk_hi, l->chunk_rows), k64(b, l->shape.m));
  loop tile = b_loop(b, k64(b, 0), d->tiles, 1, NULL, 0);
  V tile_at = b_muli(b, tile.i, (uint64_t)l->shape.m * TILE_BYTES);
  V live = cg_live(c, d->quarters, tile.i);
  loop row = b_loop(b, lo, hi, 1, NULL, 0);
  V at = b_add(b, tile_at, b_muli(b, row.i, TILE_BYTES));
  p.y = b_at(b, d->y, at);
  p.residual = l->shape.residual ? b_at(b, d->residual, at) : NULL;
  p.bias = l->shape.bias && prefill ? vsplat_at(b, b_at(b, d->bias, b_muli(b, row.i, 4)), 0)
                                    : vk(b, 0.0);
  cg_over_quarters(c, live, TILE_QUARTERS, row_quarters, &p);
  b_loop_end(b, &row, NULL);
  b_loop_end(b, &tile, NULL);
}

/* ---- one part ---- */

static V kernel_for(cg *c, const linear *l, const ir_part *p, kernel_ends e) {
  if (p->kernel == K_dense) return kernel_dense(c, &l->shape, e);
  bool in_turn =
      p->k_block < p->col_hi - p->col_lo && (uint64_t)p->k_block * TILE_BYTES <= L1_SLAB_BYTES;
  return kernel_block(c, &l->shape, e, p->r, p->c, in_turn);
}

static V gather_for(cg *c, const linear *l, const ir_part *p, kernel_ends e, uint32_t quarters) {
  if (p->r == 2) return kernel_pair(c, &l->shape, e, quarters, p->c);
  return kernel_gather(c, &l->shape, quarters, p->c);
}

/* The kernels of a part. */
typedef struct part_call {
  V tile_fn;                      /* dense, block */
  V gather_fn[TILE_QUARTERS + 1]; /* by the live quarters of a tile */
  V pair_fn;                      /* gather, two full tiles; NULL: there is none */
  V ends;                         /* a gather kernel is told at run time */
} part_call;

/* The records of one slab: u64 offsets from `base`, by chunk. */
typedef struct slab_records {
  V directory, base;
} slab_records;

/* kernel(record, x, …) for each chunk of the item and `quarters` quarters whose outputs begin at
 * byte `y_at` of the item's. */
static void over_chunks(bld *b, const linear *l, const driver_args *d, const slab_records *s,
                        const part_call *pc, V fn, V x, V y_at, V quarters) {
  LLVMTypeRef type = LLVMGlobalGetValueType(pc->tile_fn ? pc->tile_fn : pc->gather_fn[1]);
  loop chunk = b_loop(b, d->chunk_lo, d->chunk_hi, 1, NULL, 0);
  V offset = b_load64(b, b_at(b, s->directory, b_muli(b, chunk.i, 8)), 0);
  V record = b_at(b, s->base, offset), y = b_at(b, d->y, y_at);
  V residual = l->shape.residual ? b_at(b, d->residual, y_at) : d->residual;
  V args[KERNEL_ARGS] = {record,
                         x,
                         y,
                         d->bias,
                         residual,
                         quarters,
                         pc->ends,
                         k64(b, (uint64_t)l->shape.k * TILE_BYTES),
                         k64(b, (uint64_t)l->shape.m * TILE_BYTES)};
  b_call_type(b, type, fn, args, KERNEL_ARGS);
  b_loop_end(b, &chunk, NULL);
}

/* Two full tiles at once where the registers and L1 allow it, else one tile after the other. */
static void gather_chunks(cg *c, const linear *l, const driver_args *d, const slab_records *s,
                          const part_call *pc, V x) {
  bld *b = &c->b;
  branch pair = {0};
  if (pc->pair_fn) {
    pair = b_if(b, b_eq(b, d->quarters, k64(b, 2 * TILE_QUARTERS)));
    over_chunks(b, l, d, s, pc, pc->pair_fn, x, k64(b, 0), d->quarters);
    b_else(b, &pair);
  }
  loop tile = b_loop(b, k64(b, 0), d->tiles, 1, NULL, 0);
  V y_at = b_muli(b, tile.i, (uint64_t)l->shape.m * TILE_BYTES);
  V x_at = b_muli(b, tile.i, (uint64_t)l->shape.k * TILE_BYTES);
  V live = cg_live(c, d->quarters, tile.i), fn = pc->gather_fn[TILE_QUARTERS];
  for (uint32_t q = 1; q < TILE_QUARTERS; q++)
    fn = b_select(b, b_eq(b, live, k64(b, q)), pc->gather_fn[q], fn);
  over_chunks(b, l, d, s, pc, fn, b_at(b, x, x_at), y_at, live);
  b_loop_end(b, &tile, NULL);
  if (pc->pair_fn) b_end(b, &pair);
}

/* Slabs [slab_lo, slab_hi) of part `index`, all chunks of the item. */
static void part_slabs(cg *c, const linear *l, const driver_args *d, uint32_t index,
                       uint32_t slab_lo, uint32_t slab_hi, const part_call *pc) {
  bld *b = &c->b;
  const ir_part *p = &l->v->parts[index];
  V base = part_base(b, d->layer, index);
  loop slab = b_loop(b, k64(b, slab_lo), k64(b, slab_hi), 1, NULL, 0);
  V x_at = b_affine(b, slab.i, (uint64_t)p->k_block * TILE_BYTES, (uint64_t)p->col_lo * TILE_BYTES);
  V x = b_at(b, d->x, x_at);
  slab_records s = {b_at(b, base, b_muli(b, slab.i, (uint64_t)l->chunks * 8)), base};
  if (pc->tile_fn)
    over_chunks(b, l, d, &s, pc, pc->tile_fn, x, k64(b, 0), d->quarters);
  else
    gather_chunks(c, l, d, &s, pc, x);
  b_loop_end(b, &slab, NULL);
}

/* The kernels are made before the driver function is begun: one function is built at a time. */
typedef struct part_plan {
  uint32_t lo, hi;
  part_call call;
  kernel_ends ends;
} part_plan;

/* True when the last part's kernel sees every output once more in its last slab. */
static bool last_in_register(const linear *l) {
  return covers_all_rows(&l->v->parts[l->v->part_count - 1], l->shape.m);
}

/* Splits the slabs of a part into runs that need the same kernel: the first slab of the first
 * part, the last slab of the last part, and the rest. Returns the number of runs. */
static uint32_t plan_part(cg *c, const linear *l, uint32_t index, part_plan *out) {
  const ir_part *p = &l->v->parts[index];
  bool opens = index == 0 && !l->prefill,
       closes = last_in_register(l) && index + 1 == l->v->part_count;
  uint32_t slabs = l->slabs[index], n = 0;
  for (uint32_t lo = 0, hi; lo < slabs; lo = hi) {
    kernel_ends e = {opens && lo == 0, closes && lo + 1 == slabs};
    hi = e.first || e.last ? lo + 1 : (closes ? slabs - 1 : slabs);
    part_plan r = {.lo = lo, .hi = hi, .ends = e};
    if (p->kernel == K_gather) {
      for (uint32_t q = 1; q <= TILE_QUARTERS; q++)
        r.call.gather_fn[q] = gather_for(c, l, p, e, q);
      if (gather_takes_two_tiles(c->b.isa, p->k_block))
        r.call.pair_fn = gather_for(c, l, p, e, 2 * TILE_QUARTERS);
    } else {
      r.call.tile_fn = kernel_for(c, l, p, e);
    }
    out[n++] = r;
  }
  return n;
}

/* ---- the driver ---- */

/* Key of everything that the driver's code depends on. */
static char *driver_key(cg *c, const linear *l) {
  char *key = arena_printf(c->a, "linear.m%u.k%u.a%d%s%s.c%u%s%s%s", l->shape.m, l->shape.k,
                           (int)l->shape.act, l->shape.bias ? ".bias" : "",
                           l->shape.residual ? ".residual" : "", l->chunk_rows,
                           l->prefill ? ".prefill" : "", l->post_act ? ".post-act" : "",
                           l->post_residual ? ".post-residual" : "");
  for (uint32_t i = 0; i < l->v->part_count; i++) {
    const ir_part *p = &l->v->parts[i];
    key = arena_printf(c->a, "%s.%s-%ux%u-%u-%u-%u", key, ir_kernel_names[p->kernel], p->r, p->c,
                       p->k_block, p->col_lo, p->col_hi);
  }
  return arena_printf(c->a, "%s.%s", key, c->b.isa->name);
}

/* The first chunk whose turn is `item` of a group or a later one. */
static V first_chunk(bld *b, const linear *l, V layer, V item) {
  V n = k64(b, 0);
  loop chunk = b_loop(b, k64(b, 0), k64(b, l->chunks), 1, &n, 1);
  V turn = b_load32(b, b_at(b, layer, b_muli(b, chunk.i, 4)), TABLE_TURNS);
  n = b_add(b, n, b_zext(b, b_lt(b, turn, item)));
  b_loop_end(b, &chunk, &n);
  return n;
}

/* The share of tile group `group` in the items [lo, hi): one for each chunk and live quarter. */
static driver_args group_args(cg *c, const linear *l, V group, V lo, V hi) {
  bld *b = &c->b;
  V layer = b_arg(b, 0), step = b_arg(b, 5);
  V first_tile = b_mul(b, group, step);
  V y_at = b_muli(b, first_tile, (uint64_t)l->shape.m * TILE_BYTES);
  V x_at = b_muli(b, first_tile, (uint64_t)l->shape.k * TILE_BYTES);
  V rest = b_sub(b, b_arg(b, 4), b_muli(b, first_tile, TILE_QUARTERS));
  V quarters = b_min(b, rest, b_muli(b, step, TILE_QUARTERS));
  V first_item = b_muli(b, first_tile, (uint64_t)TILE_QUARTERS * l->chunks);
  V next_item = b_add(b, first_item, b_muli(b, quarters, l->chunks));
  V begin = b_div(b, b_sub(b, b_max(b, lo, first_item), first_item), quarters);
  V end = b_div(b, b_sub(b, b_min(b, hi, next_item), first_item), quarters);
  V chunk_lo = first_chunk(b, l, layer, begin), chunk_hi = first_chunk(b, l, layer, end);
  V tiles = cg_quarter_tiles(c, quarters);
  return (driver_args){
      .layer = layer,
      .x = b_at(b, b_arg(b, 1), x_at),
      .y = b_at(b, b_arg(b, 2), y_at),
      .residual = l->shape.residual ? b_at(b, b_arg(b, 3), y_at) : b_arg(b, 3),
      .tiles = tiles,
      .quarters = quarters,
      .bias = b_at(b, layer, b_load64(b, layer, 0)),
      .chunk_lo = chunk_lo,
      .chunk_hi = chunk_hi,
  };
}

/* driver(layer, x, y, residual, quarters, step, lo, hi): items [lo, hi), tile groups outermost; the
 * chunks of a group share each slab of activations. */
static V linear_driver(cg *c, const linear *l) {
  char *key = driver_key(c, l);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  part_plan plan[MAX_PARTS][3];
  uint32_t runs[MAX_PARTS];
  for (uint32_t i = 0; i < l->v->part_count; i++)
    runs[i] = plan_part(c, l, i, plan[i]);
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64, b->i64};
  fn = b_function(b, key, b->none, t, 8);
  b_noinline(b);
  V lo = b_arg(b, 6), hi = b_arg(b, 7);
  V items = b_muli(b, b_arg(b, 5), (uint64_t)TILE_QUARTERS * l->chunks); /* of a whole group */
  V last = b_div(b, b_sub(b, b_add(b, hi, items), k64(b, 1)), items);
  loop group = b_loop(b, b_div(b, lo, items), last, 1, NULL, 0);
  driver_args d = group_args(c, l, group.i, lo, hi);
  if (l->prefill) over_rows(c, l, &d, true);
  for (uint32_t i = 0; i < l->v->part_count; i++)
    for (uint32_t r = 0; r < runs[i]; r++) {
      kernel_ends e = plan[i][r].ends;
      plan[i][r].call.ends = k64(b, (e.first ? GATHER_FIRST : 0u) | (e.last ? GATHER_LAST : 0u));
      part_slabs(c, l, &d, i, plan[i][r].lo, plan[i][r].hi, &plan[i][r].call);
    }
  if (l->post_act || l->post_residual) over_rows(c, l, &d, false);
  b_loop_end(b, &group, NULL);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}

/* ---- the layer ---- */

static linear linear_of(const ir_graph *g, const ir_value *v) {
  linear l = {.v = v};
  const ir_value *w = ir_in(g, v, 1);
  l.shape = (linear_shape){.m = (uint32_t)w->type.dim[0],
                           .k = (uint32_t)w->type.dim[1],
                           .bias = ir_in(g, v, 2) != NULL,
                           .residual = ir_in(g, v, 3) != NULL,
                           .act = (enum ir_act)v->attr[A_act].i};
  l.chunk_rows = (uint32_t)v->attr[A_chunk_rows].i;
  l.chunks = (l.shape.m + l.chunk_rows - 1) / l.chunk_rows;
  l.prefill = !covers_all_rows(&v->parts[0], l.shape.m);
  bool gathers = v->parts[v->part_count - 1].kernel == K_gather;
  l.post_act = l.shape.act != ACT_NONE && (gathers || !last_in_register(&l));
  l.post_residual = l.shape.residual && !last_in_register(&l);
  return l;
}

static void add_layer_row(cg *c, const ir_value *w, const ir_part *p, const packed_part *packed) {
  if (c->layer_count == c->layer_capacity) {
    uint32_t capacity = c->layer_capacity * 2 + 64;
    c->layers = arena_grow(c->a, c->layers, c->layer_count, capacity, sizeof *c->layers,
                           _Alignof(layer_row));
    c->layer_capacity = capacity;
  }
  char text[PATTERN_TEXT_MAX];
  c->layers[c->layer_count++] =
      (layer_row){.name = w->name,
                  .pattern = arena_strdup(c->a, pattern_print(&p->pattern, text)),
                  .kernel = ir_kernel_names[p->kernel],
                  .rows = (uint32_t)w->type.dim[0],
                  .cols = (uint32_t)w->type.dim[1],
                  .nnz = packed->nnz,
                  .bytes = packed->size};
}

static uint32_t row_count(const ir_part *p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->row_ranges; i++)
    n += p->rows[i].hi - p->rows[i].lo;
  return n;
}

/* Adds what the cost model says of a part to cost[chunks], in proportion to the bytes of the
 * chunks' records. */
static void add_part_cost(const linear *l, const ir_part *p, const packed_part *packed,
                          const cost_table *unit, double *cost) {
  cost_counts n = {0};
  cost_count_part(p, row_count(p), packed->units, &n);
  double per_byte = cost_total(unit, &n) / (double)packed->size;
  const uint64_t *directory = packed->data;
  uint32_t records = packed->slabs * l->chunks;
  for (uint32_t i = 0; i < records; i++) {
    uint64_t end = i + 1 < records ? directory[i + 1] : packed->size;
    cost[i % l->chunks] += per_byte * (double)(end - directory[i]);
  }
}

/* What the rows of each chunk cost apart from their products. */
static double *chunk_row_costs(cg *c, const linear *l, const cost_table *unit) {
  double *cost = arena_array(c->a, double, l->chunks);
  cost_counts row = {.n[COST_move] = 1};
  if (l->shape.act == ACT_GELU || l->shape.act == ACT_GELU_TANH || l->shape.act == ACT_TANH)
    row.n[COST_act] = 1;
  for (uint32_t i = 0; i < l->chunks; i++) {
    uint64_t lo = (uint64_t)i * l->chunk_rows, rows = l->shape.m - lo;
    if (rows > l->chunk_rows) rows = l->chunk_rows;
    cost[i] = (double)rows * cost_total(unit, &row);
  }
  return cost;
}

/* turn[chunks]: the item, of as many items as there are chunks and of equal cost, in which the
 * middle of the chunk's cost lies. */
static void fill_turns(const linear *l, const double *cost, uint32_t *turn) {
  double total = 0, before = 0;
  for (uint32_t i = 0; i < l->chunks; i++)
    total += cost[i];
  for (uint32_t i = 0; i < l->chunks; before += cost[i++]) {
    double item = total > 0 ? (before + cost[i] / 2) / total * l->chunks : i;
    turn[i] = item < l->chunks ? (uint32_t)item : l->chunks - 1;
  }
}

/* Appends the layer's parts and its table; returns where the table is. */
static uint64_t pack_layer(cg *c, linear *l) {
  const ir_value *v = l->v, *w = ir_in(c->g, v, 1);
  size_t size = TABLE_TURNS + (size_t)l->chunks * sizeof(uint32_t);
  uint64_t *table = arena_alloc(c->a, size, sizeof *table);
  uint64_t at = blob_add(&c->blob, table, size);
  cost_table unit = cost_shipped(c->o->levels[0]);
  double *cost = chunk_row_costs(c, l, &unit);
  if (l->shape.bias) table[0] = cg_constant(c, ir_in(c->g, v, 2)) - at;
  for (uint32_t i = 0; i < v->part_count; i++) {
    bool closes = i + 1 == v->part_count && l->shape.residual && !l->post_residual;
    unsigned list = (i == 0 && !l->prefill ? LIST_FIRST : 0u) | (closes ? LIST_LAST : 0u);
    packed_part p = pack_part(c->a, c->g, v, i, l->chunk_rows, list);
    l->slabs[i] = p.slabs;
    table[1 + i] = blob_add(&c->blob, p.data, p.size) - at;
    add_part_cost(l, &v->parts[i], &p, &unit, cost);
    add_layer_row(c, w, &v->parts[i], &p);
    c->nnz += p.nnz;
  }
  fill_turns(l, cost, (uint32_t *)(void *)((char *)table + TABLE_TURNS));
  c->parameters += (uint64_t)l->shape.m * l->shape.k;
  return at;
}

static void emit_layer_step(cg *c, phase *p, const linear *l, V driver, uint64_t table) {
  bld *b = &c->b;
  cg_phase_begin(c, p);
  V frame = b_arg(b, 0);
  const ir_value *res = ir_in(c->g, l->v, 3);
  V args[] = {cg_weights(c, frame, table),
              cg_slot(c, frame, ir_in(c->g, l->v, 0)),
              cg_slot(c, frame, l->v),
              res ? cg_slot(c, frame, res) : LLVMConstNull(b->ptr),
              b_load64(b, frame, p->per_batch ? F_BQ : F_NQ),
              b_load64(b, frame, F_STEP),
              b_arg(b, 1),
              b_arg(b, 2)};
  b_call(b, driver, args, 8);
  b_return(b, NULL);
}

bool emit_linear(cg *c, const ir_value *v) {
  if (!check_linear(c, v)) return false;
  linear l = linear_of(c->g, v);
  uint64_t table = pack_layer(c, &l);
  phase *p = cg_phase(c, ir_in(c->g, v, 1)->name, ITEMS_LINEAR, cg_per_batch(v), l.chunks);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_isa(&c->b, &isa_table[c->o->levels[i]]);
    emit_layer_step(c, p, &l, linear_driver(c, &l), table);
  }
  if (!ir_in(c->g, v, 4)) return true;
  const char *norm = arena_printf(c->a, "%s.norm", ir_in(c->g, v, 1)->name);
  emit_layernorm(c, norm, v, v, ir_in(c->g, v, 4), ir_in(c->g, v, 5), v->attr[A_eps].f);
  return true;
}
