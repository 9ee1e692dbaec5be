/* The C header of a compiled model: self-contained, for C and C++. It carries the text of
 * spcc_rt.h, whose include guard lets several models and the runtime's own header coexist. */
#include <ctype.h>
#include <string.h>

#include "codegen/cg.h"
#include "codegen/spcc_rt_text.h"
#include "support/builder.h"

/* A C identifier made of a tensor's name. */
static const char *field_name(arena *a, const char *name) {
  char *s = arena_strdup(a, name);
  for (char *p = s; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  return isdigit((unsigned char)*s) ? arena_printf(a, "t%s", s) : s;
}

/* "[batch, sequence, 384]" */
static const char *shape_text(arena *a, const ir_type *t) {
  char *s = arena_strdup(a, "[");
  for (uint32_t i = 0; i < t->rank; i++) {
    const char *sep = i ? ", " : "";
    if (t->dim[i] == DIM_B || t->dim[i] == DIM_S)
      s = arena_printf(a, "%s%s%s", s, sep, t->dim[i] == DIM_B ? "batch" : "sequence");
    else
      s = arena_printf(a, "%s%s%lld", s, sep, (long long)t->dim[i]);
  }
  return arena_printf(a, "%s]", s);
}

/* Bytes of a tensor as a C expression of batch and sequence. */
static const char *size_text(arena *a, const ir_type *t) {
  char *s = arena_strdup(a, "4 * (size_t)batch");
  for (uint32_t i = 1; i < t->rank; i++) {
    if (t->dim[i] == DIM_S)
      s = arena_printf(a, "%s * (size_t)sequence", s);
    else
      s = arena_printf(a, "%s * %lld", s, (long long)t->dim[i]);
  }
  return s;
}

static const char *c_type(const ir_type *t) {
  return t->dtype == IR_F32 ? "float" : "int32_t";
}

static void add_inputs(builder *t, const ir_graph *g) {
  putf(t,
       "\n/* Row-major inputs; NULL where the comment says optional. */\ntypedef struct %s_in {\n",
       g->name);
  for (uint32_t i = 0; i < g->count; i++) {
    const ir_value *v = &g->values[i];
    if (v->kind != IR_INPUT) continue;
    putf(t, "  const %s *%s; /* %s%s */\n", c_type(&v->type), field_name(t->arena, v->name),
         shape_text(t->arena, &v->type),
         v->optional ? arena_printf(t->arena, ", optional: NULL means all %d", v->absent) : "");
  }
  putf(t, "} %s_in;\n", g->name);
}

static void add_outputs(builder *t, const ir_graph *g) {
  putf(t, "\ntypedef struct %s_out {\n", g->name);
  for (uint32_t i = 0; i < g->output_count; i++) {
    const ir_value *v = ir_at(g, g->outputs[i].value);
    putf(t, "  %s *%s; /* %s */\n", c_type(&v->type), field_name(t->arena, g->outputs[i].name),
         shape_text(t->arena, &v->type));
  }
  putf(t, "} %s_out;\n", g->name);
}

static void add_arrays(builder *t, const ir_graph *g) {
  putf(t, "  const void *const in_[] = {");
  for (uint32_t i = 0; i < g->count; i++)
    if (g->values[i].kind == IR_INPUT) putf(t, "in->%s, ", field_name(t->arena, g->values[i].name));
  putf(t, "};\n  void *const out_[] = {");
  for (uint32_t i = 0; i < g->output_count; i++)
    putf(t, "out->%s, ", field_name(t->arena, g->outputs[i].name));
  putf(t, "};\n  const size_t in_bytes[] = {");
  for (uint32_t i = 0; i < g->count; i++)
    if (g->values[i].kind == IR_INPUT) putf(t, "%s, ", size_text(t->arena, &g->values[i].type));
  putf(t, "};\n  const size_t out_bytes[] = {");
  for (uint32_t i = 0; i < g->output_count; i++)
    putf(t, "%s, ", size_text(t->arena, &ir_at(g, g->outputs[i].value)->type));
  putf(t, "};\n");
}

/* A typed call over rectangular [batch, sequence] inputs. */
static void add_typed_call(builder *t, const ir_graph *g) {
  const char *n = g->name;
  putf(t,
       "\n/* Runs the model on [batch, sequence] inputs. `workspace` has %s_workspace(batch, "
       "sequence,"
       "\n * threads) bytes, aligned to 64; exec NULL: this thread alone. */\n"
       "static inline spcc_status %s_call(int32_t batch, int32_t sequence, const %s_in *in,\n"
       "                                  const %s_out *out, void *workspace,\n"
       "                                  size_t workspace_bytes, const spcc_exec *exec) {\n",
       n, n, n, n);
  putf(t, "  if (!in || !out) return SPCC_E_NULL;\n");
  putf(t, "  if (batch < 0 || sequence < 0) return SPCC_E_DIM;\n");
  add_arrays(t, g);
  putf(t,
       "  spcc_call call;\n"
       "  call.size = (uint32_t)sizeof call;\n"
       "  call.cpu = 0;\n"
       "  call.model = %s_digest;\n"
       "  call.batch = batch;\n"
       "  call.sequence = sequence;\n"
       "  call.lengths = NULL;\n"
       "  call.in = in_;\n"
       "  call.out = out_;\n"
       "  call.state = NULL;\n"
       "  call.in_bytes = in_bytes;\n"
       "  call.out_bytes = out_bytes;\n"
       "  call.weights = NULL;\n"
       "  call.weights_bytes = 0;\n"
       "  call.workspace = workspace;\n"
       "  call.workspace_bytes = workspace_bytes;\n"
       "  call.exec = exec;\n"
       "  return %s_run(&call);\n"
       "}\n",
       n, n);
}

bytes make_header(cg *c) {
  const ir_graph *g = c->g;
  const char *n = g->name;
  builder t = {.arena = c->a};
  putf(&t, "/* Made by spcc %s: the interface of the compiled model '%s'. */\n", SPCC_VERSION, n);
  putf(&t, "#ifndef SPCC_MODEL_%s_H\n#define SPCC_MODEL_%s_H\n\n", n, n);
  putf(&t, "%s\n", (const char *)spcc_rt_text);
  putf(&t, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
  putf(&t, "enum { %s_max_batch = %lld, %s_max_sequence = %lld };\n", n, (long long)g->max_batch, n,
       (long long)g->max_sequence);
  putf(&t, "/* Identifies the weights and the interface; goes into spcc_call.model. */\n");
  putf(&t, "static const uint64_t %s_digest = UINT64_C(0x%016llx);\n\n", n,
       (unsigned long long)c->digest);
  putf(&t, "spcc_status %s_run(const spcc_call *call);\n", n);
  putf(&t, "/* Bytes of workspace for a call; 0 when batch or sequence is over its limit. */\n");
  putf(&t, "size_t %s_workspace(int32_t batch, int32_t sequence, uint32_t threads);\n", n);
  putf(&t, "const spcc_info *%s_info(void);\n", n);
  add_inputs(&t, g);
  add_outputs(&t, g);
  if (!c->o->external_weights) add_typed_call(&t, g);
  putf(&t, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
  return (bytes){(const unsigned char *)t.text, t.size};
}
