/* Elementary functions on vectors of f32, as polynomials. Coefficients are our own minimax fits
 * (weighted least squares, Lawson's iteration); the errors stated are of the fit plus f32
 * rounding, measured over every 1e-4 of the range. */
#include <float.h>
#include <math.h>

#include "codegen/cg.h"

static V horner(bld *b, V x, const double *c, uint32_t n) {
  V p = vk(b, c[n - 1]);
  for (uint32_t i = n - 1; i-- > 0;)
    p = vfma(b, p, x, vk(b, c[i]));
  return p;
}

/* (2^f - 1) / f on [-1/2, 1/2]; error of 1 + f p(f): 1.9e-9 relative. */
static const double exp2_poly[] = {0x1.62e43p-1,  0x1.ebfbep-3,  0x1.c6aedp-5,
                                   0x1.3b29acp-7, 0x1.5f47ap-10, 0x1.448f0ep-13};

/* Splits t into an integer n and f in [-1/2, 1/2]: 1.5 * 2^23 pushes the fraction out of the
 * mantissa. *bits is n in the low bits of the sum's pattern. */
static V split(bld *b, V t, V *bits) {
  V magic = vk(b, 0x1.8p23);
  V sum = vadd(b, t, magic);
  *bits = LLVMBuildBitCast(b->b, sum, b->vi, "");
  return vsub(b, t, vsub(b, sum, magic));
}

/* 2^n as f32 from the low bits of split's pattern, n in [-127, 128); n = -127 gives 0. */
static V power_of_two(bld *b, V bits) {
  V bias = vsplat(b, k32(b, 127)), shift = vsplat(b, k32(b, 23));
  V e = LLVMBuildShl(b->b, LLVMBuildAdd(b->b, bits, bias, ""), shift, "");
  return LLVMBuildBitCast(b->b, e, b->vf, "");
}

/* x[i] becomes e^(scale x[i]), step by step for all of them: one alone is a chain of dependent
 * instructions. The power of two n is added to the exponent field of 2^f. At n = -127 that leaves a
 * denormal number: x is cut off where f is 0.1 there, so 2^f is at least 1. */
void m_exp_nonpositive(bld *b, double scale, V *x, uint32_t n) {
  double per = scale * 1.44269504088896340736, lowest = fmax(-126.9 / per, -FLT_MAX);
  V bits[EXP_VECTORS], p[EXP_VECTORS], magic = vk(b, 0x1.8p23), shift = vsplat(b, k32(b, 23));
  for (uint32_t i = 0; i < n; i++)
    x[i] = vmax(b, vk(b, lowest), x[i]);
  for (uint32_t i = 0; i < n; i++)
    bits[i] = vfma(b, x[i], vk(b, per), magic);
  for (uint32_t i = 0; i < n; i++)
    p[i] = vsub(b, magic, bits[i]);
  for (uint32_t i = 0; i < n; i++)
    x[i] = vfma(b, x[i], vk(b, per), p[i]);
  for (uint32_t i = 0; i < n; i++)
    p[i] = vk(b, exp2_poly[5]);
  for (uint32_t k = 6; k-- > 0;)
    for (uint32_t i = 0; i < n; i++)
      p[i] = vfma(b, p[i], x[i], vk(b, k ? exp2_poly[k - 1] : 1.0));
  for (uint32_t i = 0; i < n; i++) {
    bits[i] = LLVMBuildBitCast(b->b, bits[i], b->vi, "");
    bits[i] = LLVMBuildShl(b->b, bits[i], shift, "");
  }
  for (uint32_t i = 0; i < n; i++) {
    x[i] = LLVMBuildAdd(b->b, LLVMBuildBitCast(b->b, p[i], b->vi, ""), bits[i], "");
    x[i] = LLVMBuildBitCast(b->b, x[i], b->vf, "");
  }
}

/* 2^t - 1 for |t| <= 60, with full relative precision around 0. */
static V exp2_minus_one(bld *b, V t) {
  V bits, f = split(b, t, &bits);
  V small = vmul(b, f, horner(b, f, exp2_poly, 6)); /* 2^f - 1 */
  V scale = power_of_two(b, bits);
  return vfma(b, scale, small, vsub(b, scale, vk(b, 1.0)));
}

static V negative(bld *b, V x) {
  return LLVMBuildFCmp(b->b, LLVMRealOLT, x, vk(b, 0.0), "");
}

/* ((erfc(sqrt 2 b))^(1/8) - 1) / b on [0, 3]: the eighth root is so smooth that it takes no exp. */
static const double tail_poly[] = {-0x1.988422p-3, -0x1.1d37ap-3, -0x1.81469ap-8, 0x1.ae8d32p-6,
                                   0x1.314f56p-10, -0x1.12593p-8, 0x1.101444p-10, -0x1.571e82p-14};

/* x Phi(x) = h + |h| - |h| erfc(sqrt 2 |h|) with h = x / 2; the last term vanishes long before 3.
 * Relative L2 error on normal x: 3.4e-8, of which rounding the result is 2.6e-8. */
static V gelu_by_root(bld *b, V x) {
  V h = vmul(b, x, vk(b, 0.5)), size = vabs(b, h);
  V a = vmin(b, size, vk(b, 3.0));
  V r = horner(b, a, tail_poly, 8);
  V g = vmul(b, r, a), more = vfma(b, r, a, vk(b, 2.0));
  V p2 = vfma(b, g, more, vk(b, 1.0)); /* (1 + g)^2 with one rounding of what is near 1 */
  V p4 = vmul(b, p2, p2), p8 = vmul(b, p4, p4);
  V positive = vadd(b, h, size); /* max(x, 0) */
  return vfma(b, LLVMBuildFNeg(b->b, a, ""), p8, positive);
}

/* piece_poly[k][i] d^k, summed over k, is a Phi(-a) with a = i PIECE + d, |d| <= PIECE / 2. */
enum { PIECES = 16, PIECE_DEGREE = 5 };
static const double PIECE = 0.375;
static const double piece_poly[PIECE_DEGREE + 1][PIECES] = {
    {0, 0x1.0fbddap-3, 0x1.5c198p-3, 0x1.2c32d6p-3, 0x1.9a76a6p-4, 0x1.d2e35cp-5, 0x1.c2a496p-6,
     0x1.74a8e8p-7, 0x1.096694p-8, 0x1.468976p-10, 0x1.5babdp-12, 0x1.40b6d4p-14, 0x1.008462p-16,
     0x1.63fa1cp-19, 0x1.acb614p-22, 0x1.c03004p-25},
    {0x1p-1, 0x1.b70f46p-3, 0x1.95f59ap-11, -0x1.baa428p-4, -0x1.050e92p-3, -0x1.93c67p-4,
     -0x1.e4e1e6p-5, -0x1.dc423cp-6, -0x1.876f54p-7, -0x1.10723p-8, -0x1.437004p-10,
     -0x1.48ee46p-12, -0x1.1f6edp-14, -0x1.b08f0ep-17, -0x1.18b4c2p-19, -0x1.3a947cp-22},
    {-0x1.988416p-2, -0x1.620092p-2, -0x1.bb46c8p-3, -0x1.3eaep-4, 0x1.09327ap-6, 0x1.ab0584p-5,
     0x1.8e270ep-5, 0x1.fdcd56p-6, 0x1.fc4bfcp-7, 0x1.9cae9p-8, 0x1.16b8fep-9, 0x1.3cfb34p-11,
     0x1.31c89ep-13, 0x1.f6f02cp-16, 0x1.61d688p-18, 0x1.ab09aap-21},
    {-0x1.8106d8p-15, 0x1.6f5fbep-4, 0x1.08fdcap-3, 0x1.bcf074p-4, 0x1.d03412p-5, 0x1.553f6p-7,
     -0x1.9e5f12p-7, -0x1.07a6f4p-6, -0x1.6b12f8p-7, -0x1.6d6628p-8, -0x1.22a7bep-9,
     -0x1.79d526p-11, -0x1.9876bap-13, -0x1.73277ep-15, -0x1.1d73ap-17, -0x1.75723cp-20},
    {0x1.1351cep-4, 0x1.7ed7dep-5, 0x1.3efc74p-8, -0x1.d18beep-6, -0x1.258c56p-5, -0x1.82d13ep-6,
     -0x1.fd91d4p-8, 0x1.aad18cp-10, 0x1.0796c6p-8, 0x1.8b1cc6p-9, 0x1.900814p-10, 0x1.366ad8p-11,
     0x1.831e1cp-13, 0x1.8d2adp-15, 0x1.53db16p-17, 0x1.e96a28p-20},
    {-0x1.2b2dcap-8, -0x1.362f84p-6, -0x1.7296cep-6, -0x1.70efbep-7, 0x1.5a2fb4p-9, 0x1.2179f4p-7,
     0x1.d45f1ap-8, 0x1.7b15a8p-9, 0x1.a8b3ep-16, -0x1.b624dp-11, -0x1.601308p-11, -0x1.5f4adcp-12,
     -0x1.053684p-13, -0x1.338a2ap-15, -0x1.2700d4p-17, -0x1.d4c802p-20}};

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|), the last term by pieces, 2e-8 where they end. As
 * many instructions as the other form, but half as many multiplications: 1.5 times as fast where
 * the rest has units of its own (Zen 5). Relative L2 error on normal x: 2.7e-8, of which rounding
 * the result is 2.5e-8. */
static V gelu_by_pieces(bld *b, V x) {
  V a = vmin(b, vabs(b, x), vk(b, ((double)PIECES - 0.501) * PIECE)), magic = vk(b, 0x1.8p23);
  V sum = vfma(b, a, vk(b, 1 / PIECE), magic); /* the piece in its lowest bits */
  V piece = LLVMBuildBitCast(b->b, sum, b->vi, ""), at = vsub(b, sum, magic);
  V d = vfma(b, at, vk(b, -PIECE), a), p = vlookup(b, piece_poly[PIECE_DEGREE], piece);
  for (uint32_t k = PIECE_DEGREE; k-- > 0;)
    p = vfma(b, p, d, vlookup(b, piece_poly[k], piece));
  return vsub(b, vmax(b, vk(b, 0.0), x), p);
}

V m_gelu(bld *b, V x) {
  bool lookups = !b->scalar && b->isa->lanes == PIECES;
  return lookups ? gelu_by_pieces(b, x) : gelu_by_root(b, x);
}

V m_tanh(bld *b, V x) {
  V a = vmin(b, vabs(b, x), vk(b, 20.0));
  V e = exp2_minus_one(b, vmul(b, a, vk(b, 2.885390081777926815))); /* e^2a - 1 */
  V t = vdiv(b, e, vadd(b, e, vk(b, 2.0)));
  V mirrored = LLVMBuildFNeg(b->b, t, "");
  t = b_select(b, negative(b, x), mirrored, t);
  V number = LLVMBuildFCmp(b->b, LLVMRealORD, x, x, "");
  return b_select(b, number, t, x);
}

V m_gelu_tanh(bld *b, V x) {
  V cubic = vfma(b, vmul(b, x, x), vk(b, 0.044715), vk(b, 1.0));
  V u = vmul(b, vmul(b, x, cubic), vk(b, 0.79788456080286535588));
  V half = vmul(b, x, vk(b, 0.5));
  return vfma(b, half, m_tanh(b, u), half);
}

V m_act(bld *b, enum ir_act act, V x) {
  switch (act) {
  case ACT_NONE:
    return x;
  case ACT_GELU:
    return m_gelu(b, x);
  case ACT_GELU_TANH:
    return m_gelu_tanh(b, x);
  case ACT_RELU:
    return vmax(b, vk(b, 0.0), x);
  case ACT_TANH:
    return m_tanh(b, x);
  }
  return x;
}
