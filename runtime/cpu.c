#include "runtime/cpu.h"
#include "runtime/spcc_rt.h"

#if defined(__x86_64__)
#include <cpuid.h>

enum reg { REG_eax, REG_ebx, REG_ecx, REG_edx };

static const struct row {
  const char *name;
  uint32_t leaf, subleaf;
  enum reg reg;
  uint32_t bit, level;
} rows[] = {
#define FEATURE(name, leaf, subleaf, reg, bit, level) {#name, leaf, subleaf, REG_##reg, bit, level},
#include "runtime/cpu_features.def"
#undef FEATURE
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static bool has(const struct row *row) {
  uint32_t out[4] = {0, 0, 0, 0};
  if (!__get_cpuid_count(row->leaf, row->subleaf, &out[0], &out[1], &out[2], &out[3])) return false;
  return (out[row->reg] >> row->bit & 1) != 0;
}

/* The register sets that the operating system saves, as bits of XCR0; the CPU has osxsave. */
static uint64_t saved_registers(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

/* Bits of XCR0: xmm and ymm for AVX; the opmasks and both parts of zmm on top for AVX-512. */
enum { SAVED_AVX = 0x6, SAVED_AVX512 = 0xe6 };

static bool level_complete(uint32_t level) {
  for (uint32_t i = 0; i < ROWS; i++)
    if (rows[i].level == level && !has(&rows[i])) return false;
  return true;
}

uint32_t spcc_cpu(void) {
  if (!level_complete(2) || !level_complete(3)) return SPCC_CPU_BASELINE;
  uint64_t saved = saved_registers();
  if ((saved & SAVED_AVX) != SAVED_AVX) return SPCC_CPU_BASELINE;
  if (!level_complete(4) || (saved & SAVED_AVX512) != SAVED_AVX512) return SPCC_CPU_X86_64_V3;
  return SPCC_CPU_X86_64_V4;
}

bool spcc_cpu_feature_at(uint32_t i, spcc_cpu_feature *out) {
  if (i >= ROWS) return false;
  *out = (spcc_cpu_feature){rows[i].name, rows[i].level, has(&rows[i])};
  return true;
}

#else

uint32_t spcc_cpu(void) {
  return SPCC_CPU_BASELINE;
}

bool spcc_cpu_feature_at(uint32_t i, spcc_cpu_feature *out) {
  (void)i, (void)out;
  return false;
}

#endif

const char *spcc_cpu_name(uint32_t level) {
  switch (level) {
  case SPCC_CPU_BASELINE:
    return "baseline";
  case SPCC_CPU_X86_64_V3:
    return "x86-64-v3";
  case SPCC_CPU_X86_64_V4:
    return "x86-64-v4";
  default:
    return "unknown";
  }
}
