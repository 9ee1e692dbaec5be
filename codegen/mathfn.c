/* Elementary functions on vectors of f32, as polynomials. Coefficients are our own minimax fits
 * (weighted least squares, Lawson's iteration); the errors stated are of the fit plus f32
 * rounding, measured over every 1e-4 of the range. */
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

V m_exp2_nonpositive(bld *b, V t) {
  t = vmax(b, vk(b, -127.0), t);
  V bits, f = split(b, t, &bits);
  V p = vfma(b, f, horner(b, f, exp2_poly, 6), vk(b, 1.0));
  return vmul(b, p, power_of_two(b, bits));
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

/* log2 of the normal tail Phi(-a) on [0, 7]: exp2 of it is the share of x that GELU takes off.
 * x Phi(x) then has a relative L2 error of 2.9e-8 on normal x: that of rounding. */
static const double tail_poly[] = {
    -0x1p+0,         -0x1.26aedp+0,   -0x1.d63c8cp-2, -0x1.adbbbp-5,   0x1.c8faa2p-8,
    -0x1.c24b24p-16, -0x1.1104dep-12, 0x1.19a8d4p-14, -0x1.13af14p-17, 0x1.c1a0e4p-22};

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|); the second term vanishes long before 7. */
V m_gelu(bld *b, V x) {
  V a = vmin(b, vabs(b, x), vk(b, 7.0));
  V tail = m_exp2_nonpositive(b, horner(b, a, tail_poly, 10));
  V positive = vmax(b, vk(b, 0.0), x);
  return vfma(b, LLVMBuildFNeg(b->b, a, ""), tail, positive);
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
