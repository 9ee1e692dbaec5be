/* What is measured: a model or a shared object, its inputs, the flags that say how. */

#include "driver/engine.h"
#include "support/text.h"

enum { ID_LIMIT = 30000 };

bool case_is_yaml(const char *path) {
  return !text_ends_with(path, ".so");
}

/* Flags that have no meaning for what is measured. */
int case_check_flags(driver *dr) {
  static const enum flag compiling[] = {F_OPT,    F_MARCH, F_ISA,  F_MAX_BATCH,  F_MAX_SEQ,
                                        F_SPARSE, F_ORDER, F_TUNE, F_TUNE_CACHE, F_CALIBRATION};
  bool yaml = case_is_yaml(dr->operands[0]);
  if (yaml && flag_given(dr, F_WEIGHTS_FILE))
    return usage_error(dr, "--weights-file belongs to a shared object; %s names its weights",
                       dr->operands[0]);
  for (size_t i = 0; !yaml && i < sizeof compiling / sizeof compiling[0]; i++)
    if (flag_given(dr, compiling[i]))
      return usage_error(dr, "%s has no effect on a shared object, which is compiled already",
                         flag_table[compiling[i]].spelling);
  return EXIT_OK;
}

/* Inputs for a shared object, whose tables are of unknown sizes: ids below the largest limit, of
 * those tried, that the model accepts. */
static bool inputs_by_trial(bench_case *c, int32_t batch, int32_t sequence, uint64_t seed) {
  session s;
  bool ok = session_open(c->dr, &c->lib.entry, c->lib.weights, c->lib.weights_bytes, batch,
                         sequence, 1, &s);
  spcc_status status = SPCC_E_INDEX;
  for (int32_t limit = ID_LIMIT; ok && limit > 0 && status == SPCC_E_INDEX; limit /= 2) {
    ok = inputs_for_info(c->dr, c->lib.info, batch, sequence, seed, limit, &c->inputs);
    if (!ok) break;
    inputs_bind(&c->inputs, &s);
    status = s.run(&s.call);
  }
  session_close(&s);
  return ok;
}

bool case_prepare(driver *dr, const build_options *options, bench_case *c) {
  *c = (bench_case){
      .dr = dr, .path = dr->operands[0], .options = options, .threads = session_threads(dr)};
  int32_t batch = (int32_t)flag_int(dr, F_BATCH, 1);
  uint64_t seed = (uint64_t)flag_int(dr, F_SEED, 1);
  c->files = dr->operands;
  c->file_count = 1;
  if (!case_is_yaml(c->path))
    return library_open(dr, c->path, &c->lib) &&
           inputs_by_trial(c, batch, session_length(dr, c->lib.info->max_sequence), seed);
  model_source *m = source_read(dr, c->path, &options->overrides);
  if (!m) return false;
  c->files = source_files(dr, c->path, m, &c->file_count);
  if (!source_close(dr, m)) return false;
  c->graph = m->graph;
  int32_t sequence = session_length(dr, m->graph->max_sequence);
  return session_fits(dr, m->graph->max_batch, m->graph->max_sequence, batch, sequence) &&
         inputs_for_graph(dr, m->graph, batch, sequence, seed, false, &c->inputs);
}

void case_close(bench_case *c) {
  library_close(&c->lib);
}
