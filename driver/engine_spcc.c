/* Compiled models as engines. */
#include <string.h>

#include "driver/engine.h"

typedef struct compiled {
  jit_model *jit; /* NULL: the code is a library's */
  session session;
} compiled;

static bool run(engine *e, uint32_t count, double *ms) {
  compiled *c = e->state;
  for (uint32_t i = 0; i < count; i++) {
    double start = seconds_now();
    if (!session_run(e->dr, &c->session)) return false;
    ms[i] = 1e3 * (seconds_now() - start);
  }
  return true;
}

static bool output(engine *e, const char *name, float *to, size_t count) {
  const session *s = &((compiled *)e->state)->session;
  for (uint32_t i = 0; i < s->info->output_count; i++) {
    if (strcmp(s->info->outputs[i].name, name) != 0) continue;
    if (s->out_bytes[i] != count * sizeof(float)) break;
    memcpy(to, s->out[i], s->out_bytes[i]);
    return true;
  }
  return diag_error(e->dr->diag, loc_file(NULL), E_INTERNAL, "%s: no output '%s' of %zu elements",
                    e->name, name, count);
}

static void close_compiled(engine *e) {
  compiled *c = e->state;
  session_close(&c->session);
  if (c->jit) jit_free(c->jit);
}

/* The best level of the object on this machine; 0: none. */
static uint32_t level_of(const spcc_info *info) {
  for (uint32_t i = 0; i < info->level_count; i++)
    if (info->levels[i] <= spcc_cpu()) return info->levels[i];
  return SPCC_CPU_UNKNOWN;
}

static bool start(const bench_case *c, const jit_entry *entry, const void *weights, size_t size,
                  engine *e) {
  compiled *state = e->state;
  if (!session_open(c->dr, entry, weights, size, c->inputs.batch, c->inputs.sequence, c->threads,
                    &state->session))
    return false;
  inputs_bind(&c->inputs, &state->session);
  e->level = level_of(state->session.info);
  e->isa = e->level ? spcc_cpu_name(e->level) : "none";
  return true;
}

static engine new_engine(const bench_case *c, const char *name) {
  return (engine){.dr = c->dr,
                  .name = name,
                  .run = run,
                  .output = output,
                  .close = close_compiled,
                  .state = arena_new_one(c->dr->arena, compiled)};
}

bool engine_open_compiled(const bench_case *c, const char *name, engine *e) {
  driver *dr = c->dr;
  build_options o = *c->options;
  o.codegen.external_weights = true;
  o.codegen.generic = !strcmp(name, "generic");
  if (!strcmp(name, "dense")) o.pass.sparse = SPARSE_OFF;
  *e = new_engine(c, name);
  compiled *state = e->state;
  codegen_result r;
  jit_entry entry;
  stages_plan(dr, 0);
  model_source *m = source_read(dr, c->path, &o.overrides);
  if (!m || !source_close(dr, m)) return false;
  if (!build_code(dr, m->graph, &o, EMIT_OBJ, NULL, NULL, &r)) return false;
  state->jit = jit_load(dr->diag, &r, m->graph->name, &entry);
  if (!state->jit) return false;
  e->object_bytes = r.object.size + r.weights.size;
  return start(c, &entry, r.weights.data, r.weights.size, e);
}

bool engine_open_library(const bench_case *c, engine *e) {
  const library *lib = &c->lib;
  *e = new_engine(c, "spcc");
  e->object_bytes = lib->object_bytes + lib->weights_bytes;
  return start(c, &lib->entry, lib->weights, lib->weights_bytes, e);
}

session *engine_session(const engine *e) {
  compiled *c = e->state;
  return &c->session;
}
