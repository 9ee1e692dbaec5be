/* From flags to build_options. */
#include <string.h>

#include "driver/costs.h"
#include "driver/model.h"
#include "runtime/spcc_rt.h"

static bool bad_level(driver *dr, const char *word) {
  return diag_error(dr->diag, loc_file(NULL), E_TARGET,
                    "'%s' is no ISA level that spcc compiles for; the levels are %s and %s", word,
                    isa_names[ISA_X86_64_V3], isa_names[ISA_X86_64_V4]);
}

uint32_t cpu_level(enum isa_level level) {
  static const uint32_t levels[ISA_COUNT] = {
      [ISA_X86_64_V3] = SPCC_CPU_X86_64_V3, [ISA_X86_64_V4] = SPCC_CPU_X86_64_V4};
  return levels[level];
}

enum isa_level native_level(void) {
  for (int level = ISA_COUNT; level-- > 0;)
    if (cpu_level((enum isa_level)level) <= spcc_cpu()) return (enum isa_level)level;
  return ISA_COUNT;
}

static bool add_level(driver *dr, const char *word, bool *wanted) {
  if (!strcmp(word, "native")) {
    enum isa_level level = native_level();
    if (level == ISA_COUNT)
      return diag_error(dr->diag, loc_file(NULL), E_TARGET,
                        "this CPU has neither %s nor %s; name one of them to compile for another "
                        "machine",
                        isa_names[ISA_X86_64_V3], isa_names[ISA_X86_64_V4]);
    wanted[level] = true;
    return true;
  }
  for (int i = 0; i < ISA_COUNT; i++)
    if (!strcmp(word, isa_names[i])) return wanted[i] = true;
  return bad_level(dr, word);
}

/* -march, --isa or all levels, falling. */
static bool read_levels(driver *dr, build_options *o) {
  bool wanted[ISA_COUNT] = {false};
  size_t count;
  const char **list = flag_list(dr, F_ISA, &count);
  const char *march = flag_text(dr, F_MARCH, NULL);
  if (march && flag_given(dr, F_ISA))
    return diag_error(dr->diag, loc_file(NULL), E_TARGET,
                      "-march and --isa exclude each other; name all levels with --isa");
  if (march) {
    if (!add_level(dr, march, wanted)) return false;
  } else if (flag_given(dr, F_ISA)) {
    if (count == 0) return bad_level(dr, "");
    for (size_t i = 0; i < count; i++)
      if (!add_level(dr, list[i], wanted)) return false;
  } else {
    for (int i = 0; i < ISA_COUNT; i++)
      wanted[i] = true;
  }
  for (int i = ISA_COUNT; i-- > 0;)
    if (wanted[i]) o->codegen.levels[o->codegen.level_count++] = (enum isa_level)i;
  o->pass.isa = o->codegen.levels[0];
  return true;
}

static bool read_target(driver *dr) {
  static const char *const known[] = {"x86_64-linux-gnu", "x86_64-pc-linux-gnu",
                                      "x86_64-unknown-linux-gnu"};
  const char *triple = flag_text(dr, F_TARGET, known[0]);
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (!strcmp(triple, known[i])) return true;
  return diag_error(dr->diag, loc_file(NULL), E_TARGET,
                    "'%s' is no target that spcc compiles for; the target is %s", triple, known[0]);
}

static bool read_sparse(driver *dr, build_options *o) {
  const char *text = flag_text(dr, F_SPARSE, "auto");
  if (o->codegen.generic && flag_given(dr, F_SPARSE))
    return diag_error(dr->diag, loc_file(NULL), E_CONFIG,
                      "--pipeline=generic computes every weight dense; leave --sparse=%s out",
                      text);
  o->pass.sparse = SPARSE_AUTO;
  if (!strcmp(text, "auto")) return true;
  o->pass.sparse = SPARSE_OFF;
  if (!strcmp(text, "off")) return true;
  o->pass.sparse = SPARSE_PATTERN;
  if (pattern_parse(text, &o->pass.sparse_pattern)) return true;
  return diag_error(dr->diag, loc_file(NULL), E_PATTERN,
                    "--sparse=%s: auto, off or a pattern such as 4x1, unstructured or 2:4 is "
                    "expected",
                    text);
}

/* --calibration: the constants of the cost model. */
static bool read_costs(driver *dr, build_options *o) {
  if (!flag_given(dr, F_CALIBRATION)) return true;
  machine_costs *costs = arena_new_one(dr->arena, machine_costs);
  const char *path = costs_path(dr);
  if (!path || !costs_read(dr, path, costs)) return false;
  o->pass.costs = costs->table;
  return true;
}

static bool read_tune(driver *dr, build_options *o) {
  o->tune = flag_given(dr, F_TUNE);
  const char *without = o->codegen.generic              ? "--pipeline=generic"
                        : o->pass.sparse != SPARSE_AUTO ? "--sparse"
                                                        : NULL;
  if (!o->tune || !without) return true;
  return diag_error(dr->diag, loc_file(NULL), E_CONFIG,
                    "--tune has nothing to choose from with %s; leave one of them out", without);
}

static bool read_precision(driver *dr) {
  if (!strcmp(flag_text(dr, F_PRECISION, "fp32"), "fp32")) return true;
  return diag_error(dr->diag, loc_file(NULL), E_CONFIG,
                    "--precision=int8 is not supported yet; fp32 is");
}

static bool read_name(driver *dr, build_options *o) {
  o->overrides.name = flag_text(dr, F_NAME, NULL);
  if (!o->overrides.name || model_name_ok(o->overrides.name)) return true;
  return diag_error(dr->diag, loc_file(NULL), E_NAME,
                    "--name=%s: a C identifier of at most 63 characters is expected that is no "
                    "keyword, not 'llvm', and begins with neither 'spcc' nor '_'",
                    o->overrides.name);
}

bool build_options_read(driver *dr, build_options *o) {
  *o = (build_options){.passes = flag_text(dr, F_PASSES, NULL),
                       .remarks = flag_given(dr, F_REMARKS)};
  o->overrides.max_batch = flag_int(dr, F_MAX_BATCH, 0);
  o->overrides.max_sequence = flag_int(dr, F_MAX_SEQ, 0);
  o->pass.opt_level = o->codegen.opt_level = (int)flag_int(dr, F_OPT, 2);
  o->pass.keep_order = !strcmp(flag_text(dr, F_ORDER, "auto"), "keep");
  o->codegen.debug = flag_given(dr, F_DEBUG);
  o->codegen.generic = !strcmp(flag_text(dr, F_PIPELINE, "optimized"), "generic");
  o->codegen.external_weights = !strcmp(flag_text(dr, F_WEIGHTS, "embed"), "file");
  bool ok = read_target(dr);
  ok = read_levels(dr, o) && ok;
  ok = read_sparse(dr, o) && ok;
  ok = read_costs(dr, o) && ok;
  ok = read_tune(dr, o) && ok;
  ok = read_precision(dr) && ok;
  return read_name(dr, o) && ok;
}
