/* LayerNorm over channels, 16 tokens at a time: vertical loops without shuffles. Two passes for the
 * statistics keep them accurate (the mean first, then squared differences). */
#include "codegen/cg.h"

enum { UNROLL = 4 /* channels in flight: independent sums hide the latency of the add */ };

/* Sums of f(x) over channels for each vector of the quarter; the order is fixed. */
static void sum_channels(bld *b, V x, uint32_t channels, const V *mean, V *sum) {
  uint32_t vecs = 16 / b->isa->lanes, whole = channels / UNROLL * UNROLL;
  V acc[2 * UNROLL];
  for (uint32_t i = 0; i < vecs * UNROLL; i++)
    acc[i] = vk(b, 0.0);
  uint32_t bounds[] = {0, whole, channels}, steps[] = {UNROLL, 1};
  for (uint32_t part = 0; part < 2; part++) {
    loop l =
        b_loop(b, k64(b, bounds[part]), k64(b, bounds[part + 1]), steps[part], acc, vecs * UNROLL);
    V at = b_at(b, x, b_muli(b, l.i, TILE_BYTES));
    for (uint32_t u = 0; u < steps[part]; u++)
      for (uint32_t j = 0; j < vecs; j++) {
        V v = vload(b, at, (uint64_t)u * TILE_BYTES + (uint64_t)j * b->isa->lanes * 4);
        V *a = &acc[u * vecs + j];
        if (mean) {
          V d = vsub(b, v, mean[j]);
          *a = vfma(b, d, d, *a);
        } else {
          *a = vadd(b, *a, v);
        }
      }
    b_loop_end(b, &l, acc);
  }
  for (uint32_t j = 0; j < vecs; j++) {
    V low = vadd(b, acc[j], acc[vecs + j]);
    V high = vadd(b, acc[2 * vecs + j], acc[3 * vecs + j]);
    sum[j] = vadd(b, low, high);
  }
}

void emit_norm_quarter(cg *c, V x, V y, V gamma, V beta, uint32_t channels, double eps) {
  bld *b = &c->b;
  uint32_t vecs = 16 / b->isa->lanes;
  V mean[2], factor[2], n = vk(b, (double)channels);
  sum_channels(b, x, channels, NULL, mean);
  for (uint32_t j = 0; j < vecs; j++)
    mean[j] = vdiv(b, mean[j], n);
  sum_channels(b, x, channels, mean, factor);
  for (uint32_t j = 0; j < vecs; j++) {
    V variance = vdiv(b, factor[j], n);
    factor[j] = vdiv(b, vk(b, 1.0), vsqrt(b, vadd(b, variance, vk(b, eps))));
  }
  loop l = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  V at = b_muli(b, l.i, TILE_BYTES), param = b_muli(b, l.i, 4);
  V g = vsplat_at(b, b_at(b, gamma, param), 0), h = vsplat_at(b, b_at(b, beta, param), 0);
  for (uint32_t j = 0; j < vecs; j++) {
    uint64_t off = (uint64_t)j * b->isa->lanes * 4;
    V v = vmul(b, vsub(b, vload(b, b_at(b, x, at), off), mean[j]), factor[j]);
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
