/* The spcc_info constant: structs laid out as the C compiler lays out those of spcc_rt.h. */
#include <string.h>

#include "codegen/cg.h"

static V constant(cg *c, V init) {
  V g = LLVMAddGlobal(c->b.mod, LLVMTypeOf(init), arena_printf(c->a, "%s.info", c->g->name));
  LLVMSetInitializer(g, init);
  LLVMSetGlobalConstant(g, 1);
  LLVMSetLinkage(g, LLVMPrivateLinkage);
  LLVMSetAlignment(g, 8);
  return g;
}

/* Constants with pointers in them are relocated once and read-only afterwards. */
static V relocated(cg *c, V init) {
  V g = constant(c, init);
  LLVMSetSection(g, ".data.rel.ro");
  return g;
}

static V text(cg *c, const char *s) {
  V init = LLVMConstStringInContext2(c->b.cx, s, strlen(s), 0);
  V g = constant(c, init);
  LLVMSetAlignment(g, 1);
  LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
  return g;
}

static V record_of(cg *c, V *fields, uint32_t n) {
  return LLVMConstStructInContext(c->b.cx, fields, n, 0);
}

static V array(cg *c, V *elements, uint32_t n) {
  if (n == 0) return LLVMConstNull(c->b.ptr);
  return relocated(c, LLVMConstArray2(LLVMTypeOf(elements[0]), elements, n));
}

static V tensor(cg *c, const char *name, const ir_value *v) {
  bld *b = &c->b;
  V dims[4];
  for (uint32_t i = 0; i < 4; i++)
    dims[i] = k64(b, i < v->type.rank ? (uint64_t)v->type.dim[i] : 0);
  bool input = v->kind == IR_INPUT;
  V f[] = {text(c, name),
           k32(b, v->type.dtype == IR_F32 ? SPCC_F32 : SPCC_I32),
           k32(b, v->type.rank),
           LLVMConstArray2(b->i64, dims, 4),
           k32(b, input && v->optional),
           k32(b, input ? (uint32_t)v->absent : 0)};
  return record_of(c, f, 6);
}

static V inputs(cg *c, uint32_t *n) {
  V *t = arena_array(c->a, V, c->g->count + 1);
  *n = 0;
  for (uint32_t i = 0; i < c->g->count; i++)
    if (c->g->values[i].kind == IR_INPUT) {
      t[*n] = tensor(c, c->g->values[i].name, &c->g->values[i]);
      ++*n;
    }
  return array(c, t, *n);
}

static V outputs(cg *c) {
  V *t = arena_array(c->a, V, c->g->output_count + 1);
  for (uint32_t i = 0; i < c->g->output_count; i++)
    t[i] = tensor(c, c->g->outputs[i].name, ir_at(c->g, c->g->outputs[i].value));
  return array(c, t, c->g->output_count);
}

static V layers(cg *c) {
  bld *b = &c->b;
  V *t = arena_array(c->a, V, c->layer_count + 1);
  for (uint32_t i = 0; i < c->layer_count; i++) {
    const layer_row *l = &c->layers[i];
    V f[] = {text(c, l->name), text(c, l->pattern), text(c, l->kernel), k32(b, l->rows),
             k32(b, l->cols),  k64(b, l->nnz),      k64(b, l->bytes)};
    t[i] = record_of(c, f, 7);
  }
  return array(c, t, c->layer_count);
}

static V steps(cg *c) {
  V *t = arena_array(c->a, V, c->phase_count + 1);
  for (uint32_t i = 0; i < c->phase_count; i++)
    t[i] = text(c, c->phases[i]->name);
  return array(c, t, c->phase_count);
}

/* Multiply-adds of a linear per row: of its non-zeros, or, where nothing is skipped, of all. */
static uint64_t linear_macs(const cg *c, const phase *p) {
  const ir_value *w = ir_in(c->g, p->value, 1);
  uint64_t nnz = 0;
  for (uint32_t i = 0; i < p->layers; i++)
    nnz += c->layers[p->layer + i].nnz;
  return p->layers ? nnz : w->tensor->count;
}

static V step_work(cg *c) {
  bld *b = &c->b;
  V *t = arena_array(c->a, V, c->phase_count + 1);
  for (uint32_t i = 0; i < c->phase_count; i++) {
    const phase *p = c->phases[i];
    const ir_value *v = p->value;
    bool linear = p->kind == SPCC_STEP_LINEAR, attends = p->kind == SPCC_STEP_ATTENTION;
    V f[] = {k32(b, p->kind),
             k32(b, cg_per_batch(v)),
             k32(b, linear ? p->layer : 0),
             k32(b, linear ? p->layers : 0),
             k64(b, linear ? linear_macs(c, p) : 0),
             k64(b, linear ? ir_in(c->g, v, 1)->tensor->count : 0),
             k64(b, attends ? 2 * (uint64_t)cg_channels(v) : 0)};
    t[i] = record_of(c, f, sizeof f / sizeof *f);
  }
  if (c->phase_count == 0) return LLVMConstNull(b->ptr);
  return constant(c, LLVMConstArray2(LLVMTypeOf(t[0]), t, c->phase_count));
}

static V levels(cg *c) {
  V t[ISA_COUNT];
  for (uint32_t i = 0; i < c->o->level_count; i++)
    t[i] = k32(&c->b, isa_table[c->o->levels[i]].cpu_level);
  return constant(c, LLVMConstArray2(c->b.i32, t, c->o->level_count));
}

V emit_info(cg *c) {
  bld *b = &c->b;
  uint32_t input_count;
  V in = inputs(c, &input_count);
  V zero = k64(b, 0), reserved[] = {zero, zero, zero};
  V f[] = {k32(b, sizeof(spcc_info)),
           k32(b, SPCC_ABI),
           text(c, c->g->name),
           k64(b, c->digest),
           in,
           outputs(c),
           k32(b, input_count),
           k32(b, c->g->output_count),
           k32(b, (uint64_t)c->g->max_batch),
           k32(b, (uint64_t)c->g->max_sequence),
           levels(c),
           k32(b, c->o->level_count),
           k32(b, !c->o->external_weights),
           k64(b, c->blob.size),
           layers(c),
           k32(b, c->layer_count),
           k32(b, c->phase_count),
           steps(c),
           k64(b, c->parameters),
           k64(b, c->nnz),
           step_work(c),
           LLVMConstArray2(b->i64, reserved, 3)};
  return relocated(c, record_of(c, f, sizeof f / sizeof *f));
}
