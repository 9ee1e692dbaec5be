/* LayerNorm over channels, 16 tokens at a time: vertical loops without shuffles. A quarter does not
 * stay in L1, so it is read only twice: for the statistics, and to be normalised. */
#include "codegen/cg.h"

enum { BLOCK = 8 /* channels that wait in registers for their mean */ };

/* Mean and sum of squared differences from it, of one vector in each of some channels. */
typedef struct statistics {
  V mean, squares;
} statistics;

/* Of `n` channels from byte `at` on, a constant up to BLOCK. The mean comes first, which keeps the
 * squares accurate. */
static statistics block_statistics(bld *b, V x, uint64_t at, uint32_t n) {
  V v[BLOCK], sum = vk(b, 0.0), squares = sum;
  for (uint32_t u = 0; u < n; u++) {
    v[u] = vload(b, x, u * TILE_BYTES + at);
    sum = vadd(b, sum, v[u]);
  }
  V mean = vmul(b, sum, vk(b, 1.0 / n));
  for (uint32_t u = 0; u < n; u++) {
    V d = vsub(b, v[u], mean);
    squares = vfma(b, d, d, squares);
  }
  return (statistics){mean, squares};
}

/* all += block: `share` of all channels so far are the block's, `before` is share times the number
 * of channels before it. */
static void merge(bld *b, statistics *all, statistics block, V share, V before) {
  V d = vsub(b, block.mean, all->mean);
  all->mean = vfma(b, d, share, all->mean);
  V squares = vadd(b, all->squares, block.squares);
  all->squares = vfma(b, vmul(b, d, d), before, squares);
}

/* Statistics of all channels for each vector of the quarter; the order is fixed. */
static void channel_statistics(bld *b, V x, uint32_t channels, statistics *all) {
  uint32_t vecs = 16 / b->isa->lanes, whole = channels / BLOCK * BLOCK;
  V carry[4] = {vk(b, 0.0), vk(b, 0.0), vk(b, 0.0), vk(b, 0.0)};
  uint32_t bounds[] = {0, whole, channels}, steps[] = {BLOCK, 1};
  for (uint32_t part = 0; part < 2; part++) {
    uint32_t n = steps[part];
    loop l = b_loop(b, k64(b, bounds[part]), k64(b, bounds[part + 1]), n, carry, 2 * vecs);
    V at = b_at(b, x, b_muli(b, l.i, TILE_BYTES));
    V done = LLVMBuildSIToFP(b->b, l.i, b->f32, "");
    V share = vdiv(b, kf(b, n), vadd(b, done, kf(b, n)));
    V before = vsplat(b, vmul(b, share, done));
    share = vsplat(b, share);
    for (uint32_t j = 0; j < vecs; j++) {
      statistics s = {carry[2 * j], carry[2 * j + 1]};
      merge(b, &s, block_statistics(b, at, (uint64_t)j * b->isa->lanes * 4, n), share, before);
      carry[2 * j] = s.mean;
      carry[2 * j + 1] = s.squares;
    }
    b_loop_end(b, &l, carry);
  }
  for (uint32_t j = 0; j < vecs; j++)
    all[j] = (statistics){carry[2 * j], carry[2 * j + 1]};
}

void emit_norm_quarter(cg *c, V x, V y, V gamma, V beta, uint32_t channels, double eps) {
  bld *b = &c->b;
  uint32_t vecs = 16 / b->isa->lanes;
  statistics all[2];
  V factor[2];
  channel_statistics(b, x, channels, all);
  for (uint32_t j = 0; j < vecs; j++) {
    V variance = vdiv(b, all[j].squares, vk(b, (double)channels));
    factor[j] = vdiv(b, vk(b, 1.0), vsqrt(b, vadd(b, variance, vk(b, eps))));
  }
  loop l = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  V at = b_muli(b, l.i, TILE_BYTES), param = b_muli(b, l.i, 4);
  V g = vsplat_at(b, b_at(b, gamma, param), 0), h = vsplat_at(b, b_at(b, beta, param), 0);
  for (uint32_t j = 0; j < vecs; j++) {
    uint64_t off = (uint64_t)j * b->isa->lanes * 4;
    V v = vmul(b, vsub(b, vload(b, b_at(b, x, at), off), all[j].mean), factor[j]);
    v = vfma(b, v, g, h);
    vstore(b, v, b_at(b, y, at), off);
  }
  b_loop_end(b, &l, NULL);
}

V quarter_at(cg *c, V base, V quarter, uint32_t channels) {
  bld *b = &c->b;
  V tile = b_muli(b, b_shr(b, quarter, 2), (uint64_t)channels * TILE_BYTES);
  V in_tile = b_muli(b, b_and(b, quarter, k64(b, 3)), 64);
  return b_at(b, base, b_add(b, tile, in_tile));
}

/* norm(x, y, gamma, beta, lo, hi): quarters [lo, hi); shared by all layers of one width. */
static V norm_driver(cg *c, uint32_t channels, double eps) {
  char *key = arena_printf(c->a, "layernorm.c%u.e%a.%s", channels, eps, c->b.isa->name);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64};
  fn = b_function(b, key, b->none, t, 6);
  b_noinline(b);
  loop l = b_loop(b, b_arg(b, 4), b_arg(b, 5), 1, NULL, 0);
  V x = quarter_at(c, b_arg(b, 0), l.i, channels), y = quarter_at(c, b_arg(b, 1), l.i, channels);
  emit_norm_quarter(c, x, y, b_arg(b, 2), b_arg(b, 3), channels, eps);
  b_loop_end(b, &l, NULL);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}

void emit_layernorm(cg *c, const char *name, const ir_value *x, const ir_value *y,
                    const ir_value *gamma, const ir_value *beta, double eps) {
  uint64_t gamma_at = cg_constant(c, gamma), beta_at = cg_constant(c, beta);
  phase *p = cg_phase(c, name, ITEMS_QUARTERS, cg_per_batch(y), 1);
  p->kind = SPCC_STEP_LAYERNORM;
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    bld *b = &c->b;
    b_set_isa(b, &isa_table[c->o->levels[i]]);
    V driver = norm_driver(c, cg_channels(y), eps);
    cg_phase_begin(c, p);
    V frame = b_arg(b, 0);
    V args[] = {cg_slot(c, frame, x),          cg_slot(c, frame, y), cg_weights(c, frame, gamma_at),
                cg_weights(c, frame, beta_at), b_arg(b, 1),          b_arg(b, 2)};
    b_call(b, driver, args, 6);
    b_return(b, NULL);
  }
}
