#include "tests/kernels/loaded.h"

#include <check.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/diff/diff_common.h"

loaded *loaded_new(arena *a, ir_graph *g) {
  return loaded_new_as(a, g, NULL);
}

loaded *loaded_new_as(arena *a, ir_graph *g, const pattern *imposed) {
  loaded *m = arena_new_one(a, loaded);
  m->a = a;
  m->fill = 0xFF;
  diag *d = diag_new(a);
  pass_options options = {.opt_level = 2, .isa = ISA_X86_64_V4};
  if (imposed) {
    options.sparse = SPARSE_PATTERN;
    options.sparse_pattern = *imposed;
  }
  pass_context context = {.arena = a, .diag = d, .options = &options};
  codegen_options o = {.levels = {ISA_X86_64_V4, ISA_X86_64_V3},
                       .level_count = 2,
                       .opt_level = 2,
                       .external_weights = true};
  bool ok = pipeline_run(g, &context, NULL, NULL) && codegen(g, &o, EMIT_OBJ, a, d, &m->code);
  m->jit = ok ? jit_load(d, &m->code, g->name, &m->entry) : NULL;
  ck_assert_msg(m->jit != NULL, "%s", diff_messages(a, d));
  return m;
}

void loaded_free(loaded *m) {
  jit_free(m->jit);
}

void loaded_prepare(const loaded *m, spcc_call *call) {
  uint32_t threads = call->exec ? call->exec->threads : 1;
  call->size = sizeof *call;
  call->weights = m->code.weights.data;
  call->weights_bytes = m->code.weights.size;
  call->workspace_bytes = m->entry.workspace(call->batch, call->sequence, threads);
  call->workspace = arena_alloc(m->a, call->workspace_bytes, 64);
  memset(call->workspace, m->fill, call->workspace_bytes);
}

void loaded_call(const loaded *m, const spcc_call *call) {
  spcc_status status = m->entry.run(call);
  ck_assert_msg(status == SPCC_OK, "%s", spcc_status_text(status));
}

spcc_call loaded_run(const loaded *m, spcc_call call) {
  loaded_prepare(m, &call);
  loaded_call(m, &call);
  return call;
}
