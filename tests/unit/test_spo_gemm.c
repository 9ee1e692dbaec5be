/* libspo's matrix products: against sums in f64, and the same bits for all widths of vectors. */
#define spo_gemm32 tested_gemm32
#define spo_gemm64 tested_gemm64
#include "optimizer/gemm.c"

#include "tests/run_suite.h"
#include "tests/unit/spo_oneshot.h"

enum { SPAN = 300 };

static float *a32, *b32, *c32, *d32;
static double *a64, *b64, *c64, *d64;

static void setup(void) {
  size_t count = (size_t)SPAN * SPAN;
  a32 = random_floats(count);
  b32 = random_floats(count);
  c32 = malloc(count * sizeof *c32);
  d32 = malloc(count * sizeof *d32);
  a64 = malloc(count * sizeof *a64);
  b64 = malloc(count * sizeof *b64);
  c64 = malloc(count * sizeof *c64);
  d64 = malloc(count * sizeof *d64);
  for (size_t i = 0; i < count; i++) {
    a64[i] = (double)a32[i] + 1e-9 * (double)b32[i];
    b64[i] = (double)b32[i] - 1e-9 * (double)a32[i];
  }
}

static void teardown(void) {
  void *all[] = {a32, b32, c32, d32, a64, b64, c64, d64};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    free(all[i]);
}

static void fill(void) {
  for (size_t i = 0; i < (size_t)SPAN * SPAN; i++)
    d64[i] = d32[i] = c32[i] = (float)(c64[i] = (double)(i % 17) - 8);
}

/* Element (i, j) of what was in c and what was added to it; the rest of c has to be as it was. */
static void check(spo_into into, size_t m, size_t n, size_t k, size_t ar, size_t ac, size_t br,
                  size_t bc) {
  double sign = into == SPO_SUBTRACT ? -1 : 1;
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      double from = into == SPO_SET ? 0 : d64[i * SPAN + j], sum = 0, sum32 = 0, size = fabs(from);
      for (size_t p = 0; p < k; p++) {
        sum += a64[i * ar + p * ac] * b64[p * br + j * bc];
        sum32 += (double)a32[i * ar + p * ac] * (double)b32[p * br + j * bc];
        size += fabs(sum) + fabs(a64[i * ar + p * ac] * b64[p * br + j * bc]);
      }
      assert_near(c64[i * SPAN + j], from + sign * sum, 1e-15 * size);
      assert_near((double)c32[i * SPAN + j], from + sign * sum32, 1e-7 * size);
      c64[i * SPAN + j] = d64[i * SPAN + j];
      c32[i * SPAN + j] = d32[i * SPAN + j];
    }
  ck_assert_mem_eq(c64, d64, (size_t)SPAN * SPAN * sizeof *c64);
  ck_assert_mem_eq(c32, d32, (size_t)SPAN * SPAN * sizeof *c32);
}

static const size_t sizes[][3] = {{1, 1, 1},    {3, 5, 7},      {8, 32, 256}, {9, 33, 257},
                                  {130, 7, 40}, {129, 65, 300}, {7, 130, 129}};

START_TEST(equals_sums) {
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (int t = 0; t < 12; t++) {
      size_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
      spo_into into = (spo_into)(t / 4);
      size_t ar = t & 1 ? 1 : SPAN, ac = SPAN + 1 - ar, br = t & 2 ? 1 : SPAN, bc = SPAN + 1 - br;
      fill();
      tested_gemm32(into, m, n, k, (spo_f32){a32, ar, ac}, (spo_f32){b32, br, bc}, c32, SPAN);
      tested_gemm64(into, m, n, k, (spo_f64){a64, ar, ac}, (spo_f64){b64, br, bc}, c64, SPAN);
      check(into, m, n, k, ar, ac, br, bc);
    }
}
END_TEST

#if defined(__x86_64__)
START_TEST(same_bits) {
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    size_t m = sizes[s][0], n = sizes[s][1], k = sizes[s][2];
    spo_f32 a = {a32, SPAN, 1}, b = {b32, 1, SPAN};
    spo_f64 x = {a64, SPAN, 1}, y = {b64, 1, SPAN};
    fill();
    gemm_f32_plain(SPO_ADD, m, n, k, a, b, c32, SPAN);
    gemm_f64_plain(SPO_ADD, m, n, k, x, y, c64, SPAN);
    for (int wide = 0; wide < 2; wide++) {
      if (wide ? !has_avx512() : !__builtin_cpu_supports("avx2")) continue;
      for (size_t i = 0; i < (size_t)SPAN * SPAN; i++)
        d64[i] = d32[i] = (float)(i % 17) - 8;
      (wide ? gemm_f32_avx512 : gemm_f32_avx2)(SPO_ADD, m, n, k, a, b, d32, SPAN);
      (wide ? gemm_f64_avx512 : gemm_f64_avx2)(SPO_ADD, m, n, k, x, y, d64, SPAN);
      ck_assert_mem_eq(c32, d32, (size_t)SPAN * SPAN * sizeof *c32);
      ck_assert_mem_eq(c64, d64, (size_t)SPAN * SPAN * sizeof *c64);
    }
  }
}
END_TEST
#endif

int main(void) {
  Suite *s = suite_create("spo_gemm");
  TCase *c = untimed_case("gemm");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, equals_sums);
#if defined(__x86_64__)
  tcase_add_test(c, same_bits);
#endif
  suite_add_tcase(s, c);
  return run_suite(s);
}
