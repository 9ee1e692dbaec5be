/* codegen(): a planned graph to LLVM IR, machine code, and the object with its weights. */
#include <llvm-c/Analysis.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <string.h>

#include "codegen/cg.h"
#include "support/checked.h"
#include "support/sha256.h"

/* ---- the emitter of each op ---- */

typedef bool op_emitter(cg *c, const ir_value *v);

static bool emit_nothing(cg *c, const ir_value *v) {
  (void)c;
  (void)v;
  return true;
}

static op_emitter *const emitters[OP_COUNT] = {
    [OP_pack] = emit_pack,         [OP_unpack] = emit_unpack,
    [OP_positions] = emit_nothing, [OP_gather] = emit_rows_sum,
    [OP_embed] = emit_rows_sum,    [OP_linear] = emit_linear,
    [OP_add] = emit_pointwise,     [OP_mul] = emit_pointwise,
    [OP_gelu] = emit_pointwise,    [OP_relu] = emit_pointwise,
    [OP_tanh] = emit_pointwise,    [OP_layernorm] = emit_layernorm_op,
    [OP_scores] = refuse_unfused,  [OP_softmax] = refuse_unfused,
    [OP_context] = refuse_unfused, [OP_attention] = emit_attention,
    [OP_first] = emit_first,
};

bool emit_layernorm_op(cg *c, const ir_value *v) {
  emit_layernorm(c, v->name, ir_in(c->g, v, 0), v, ir_in(c->g, v, 1), ir_in(c->g, v, 2),
                 v->attr[A_eps].f);
  return true;
}

static const enum spcc_step_kind step_kinds[OP_COUNT] = {
    [OP_pack] = SPCC_STEP_BORDER,       [OP_unpack] = SPCC_STEP_BORDER,
    [OP_first] = SPCC_STEP_BORDER,      [OP_gather] = SPCC_STEP_EMBEDDING,
    [OP_embed] = SPCC_STEP_EMBEDDING,   [OP_linear] = SPCC_STEP_LINEAR,
    [OP_add] = SPCC_STEP_POINTWISE,     [OP_mul] = SPCC_STEP_POINTWISE,
    [OP_gelu] = SPCC_STEP_POINTWISE,    [OP_relu] = SPCC_STEP_POINTWISE,
    [OP_tanh] = SPCC_STEP_POINTWISE,    [OP_layernorm] = SPCC_STEP_LAYERNORM,
    [OP_scores] = SPCC_STEP_ATTENTION,  [OP_softmax] = SPCC_STEP_ATTENTION,
    [OP_context] = SPCC_STEP_ATTENTION, [OP_attention] = SPCC_STEP_ATTENTION,
};

/* Emits an op and says of its new phases whose they are. */
static bool emit_op(cg *c, const ir_value *v) {
  uint32_t first = c->phase_count, layer = c->layer_count;
  if (!(c->o->generic ? emit_generic(c, v) : emitters[v->op](c, v))) return false;
  for (uint32_t i = first; i < c->phase_count; i++) {
    phase *p = c->phases[i];
    p->value = v;
    p->layer = layer;
    p->layers = c->layer_count - layer;
    if (!p->kind) p->kind = step_kinds[v->op];
  }
  return true;
}

static bool emit_ops(cg *c) {
  for (uint32_t i = 0; i < c->g->count; i++) {
    const ir_value *v = &c->g->values[i];
    if (v->kind != IR_OP) continue;
    b_debug_place(&c->b, v->loc.file, v->loc.line);
    if (!emit_op(c, v)) return false;
  }
  return true;
}

/* ---- the module ---- */

static void init_types(bld *b) {
  b->i1 = LLVMInt1TypeInContext(b->cx);
  b->i8 = LLVMInt8TypeInContext(b->cx);
  b->i16 = LLVMInt16TypeInContext(b->cx);
  b->i32 = LLVMInt32TypeInContext(b->cx);
  b->i64 = LLVMInt64TypeInContext(b->cx);
  b->f32 = LLVMFloatTypeInContext(b->cx);
  b->ptr = LLVMPointerTypeInContext(b->cx, 0);
  b->none = LLVMVoidTypeInContext(b->cx);
}

static const char triple[] = "x86_64-unknown-linux-gnu";

static LLVMTargetMachineRef make_machine(const codegen_options *o) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeX86AsmParser();
  LLVMTargetRef target;
  char *message = NULL;
  if (LLVMGetTargetFromTriple(triple, &target, &message)) {
    LLVMDisposeMessage(message);
    return NULL;
  }
  LLVMCodeGenOptLevel level = o->opt_level == 0 ? LLVMCodeGenLevelNone : LLVMCodeGenLevelDefault;
  if (o->opt_level >= 3) level = LLVMCodeGenLevelAggressive;
  return LLVMCreateTargetMachine(target, triple, "x86-64", "", level, LLVMRelocPIC,
                                 LLVMCodeModelMedium);
}

static void init_module(cg *c, LLVMTargetMachineRef machine) {
  bld *b = &c->b;
  b->cx = LLVMContextCreate();
  b->mod = LLVMModuleCreateWithNameInContext("spcc", b->cx);
  b->b = LLVMCreateBuilderInContext(b->cx);
  LLVMSetSourceFileName(b->mod, "spcc", 4);
  LLVMSetTarget(b->mod, triple);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
  LLVMSetModuleDataLayout(b->mod, layout);
  LLVMDisposeTargetData(layout);
  init_types(b);
}

static bool internal_error(cg *c, const char *what, char *message) {
  int line = message ? (int)strcspn(message, "\n") : 0; /* LLVM lists every consequence */
  diag_error(c->d, loc_file("spcc"), E_INTERNAL, "%s: %.*s", what, line, message ? message : "");
  LLVMDisposeMessage(message);
  return false;
}

/* Our kernels are tiled by hand: LLVM cleans up, but neither vectorises nor unrolls them. The
 * generic pipeline gets all that LLVM has. */
static bool optimize(cg *c, LLVMTargetMachineRef machine) {
  char *message = NULL;
  if (LLVMVerifyModule(c->b.mod, LLVMReturnStatusAction, &message))
    return internal_error(c, "LLVM rejects the module", message);
  LLVMDisposeMessage(message);
  if (c->o->opt_level == 0) return true;
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMBool all = c->o->generic;
  LLVMPassBuilderOptionsSetLoopVectorization(options, all);
  LLVMPassBuilderOptionsSetSLPVectorization(options, all);
  LLVMPassBuilderOptionsSetLoopInterleaving(options, all);
  LLVMPassBuilderOptionsSetLoopUnrolling(options, all);
  LLVMErrorRef e = LLVMRunPasses(c->b.mod, all ? "default<O3>" : "default<O2>", machine, options);
  LLVMDisposePassBuilderOptions(options);
  if (!e) return true;
  char *text = LLVMGetErrorMessage(e);
  diag_error(c->d, loc_file("spcc"), E_INTERNAL, "LLVM's passes: %s", text);
  LLVMDisposeErrorMessage(text);
  return false;
}

/* The weights begin with a head that names their model. */
static void begin_weights(cg *c) {
  c->blob.arena = c->a;
  blob_add(&c->blob, arena_alloc(c->a, 64, 64), 64);
}

/* What a caller relies on besides the weights: limits, inputs, outputs. */
static char *contract_text(cg *c) {
  const ir_graph *g = c->g;
  char *text = arena_printf(c->a, "spcc %u %s %lld %lld", SPCC_ABI, g->name,
                            (long long)g->max_batch, (long long)g->max_sequence);
  for (uint32_t i = 0; i < g->count; i++)
    if (g->values[i].kind == IR_INPUT)
      text = arena_printf(c->a, "%s\nin %s %s", text, g->values[i].name,
                          ir_type_print(c->a, &g->values[i].type));
  for (uint32_t i = 0; i < g->output_count; i++)
    text = arena_printf(c->a, "%s\nout %s %s", text, g->outputs[i].name,
                        ir_type_print(c->a, &ir_at(g, g->outputs[i].value)->type));
  return text;
}

/* The packed weights, of c->blob.size bytes; their head is for write_head. */
static unsigned char *copy_weights(cg *c) {
  unsigned char *data = arena_alloc(c->a, c->blob.size, 64);
  blob_copy(&c->blob, data);
  return data;
}

static void write_head(unsigned char *data, size_t size, uint64_t digest) {
  uint64_t head[3] = {WEIGHTS_MAGIC, digest, size};
  memcpy(data, head, sizeof head);
}

static void finish_weights(cg *c, codegen_result *out) {
  unsigned char *data = copy_weights(c);
  char *text = contract_text(c);
  sha256 parts[2] = {sha256_of(data, c->blob.size), sha256_of(text, strlen(text))};
  sha256 all = sha256_of(parts, sizeof parts);
  memcpy(&c->digest, all.byte, 8);
  write_head(data, c->blob.size, c->digest);
  out->weights = (bytes){data, c->blob.size};
  out->digest = c->digest;
}

static bool write_object(cg *c, LLVMTargetMachineRef machine, enum codegen_emit emit,
                         codegen_result *out) {
  if (emit == EMIT_LLVM) {
    char *text = LLVMPrintModuleToString(c->b.mod);
    out->object = (bytes){(unsigned char *)arena_strdup(c->a, text), strlen(text)};
    LLVMDisposeMessage(text);
    return true;
  }
  LLVMMemoryBufferRef buffer;
  char *message = NULL;
  LLVMCodeGenFileType type = emit == EMIT_ASM ? LLVMAssemblyFile : LLVMObjectFile;
  if (LLVMTargetMachineEmitToMemoryBuffer(machine, c->b.mod, type, &message, &buffer))
    return internal_error(c, "LLVM's code generation", message);
  bytes code = {(const unsigned char *)LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer)};
  bool ok = true;
  if (emit == EMIT_ASM || c->o->external_weights) {
    unsigned char *copy = arena_alloc(c->a, code.size + 1, 64);
    memcpy(copy, code.data, code.size);
    out->object = (bytes){copy, code.size};
  } else {
    ok = object_add_weights(c->a, c->d, code, out->weights, &out->object);
  }
  if (emit == EMIT_OBJ) out->code_bytes = object_text_size(code);
  LLVMDisposeMemoryBuffer(buffer);
  return ok;
}

/* The sizes that 32-bit tables and 64-bit workspaces allow. */
static bool check_limits(const ir_graph *g, diag *d) {
  size_t tokens, bytes_at_most;
  uint64_t per_tile = 3 * TILE_BYTES;
  for (uint32_t i = 0; i < g->slot_count; i++)
    per_tile += g->slots[i].per_n_tile + g->slots[i].per_b_tile;
  if (!size_mul((size_t)g->max_batch, (size_t)g->max_sequence, &tokens) || tokens >= INT32_MAX ||
      !size_mul(tokens, per_tile, &bytes_at_most) || bytes_at_most > SIZE_MAX / 4)
    return diag_error(d, loc_file(g->name), E_OVERFLOW,
                      "max_batch %lld times max_sequence %lld is too large; lower one of them",
                      (long long)g->max_batch, (long long)g->max_sequence);
  return true;
}

/* Makes the module, for end_module; false, and nothing is made, after an error. */
static bool begin_module(cg *c, LLVMTargetMachineRef *machine) {
  if (!check_limits(c->g, c->d)) return false;
  *machine = make_machine(c->o);
  if (!*machine)
    return diag_error(c->d, loc_file("spcc"), E_TARGET, "LLVM lacks the target %s", triple);
  init_module(c, *machine);
  if (c->o->debug) b_debug_begin(&c->b);
  begin_weights(c);
  return true;
}

static void end_module(cg *c, LLVMTargetMachineRef machine) {
  if (!machine) return;
  LLVMDisposeBuilder(c->b.b);
  LLVMDisposeModule(c->b.mod);
  LLVMContextDispose(c->b.cx);
  LLVMDisposeTargetMachine(machine);
}

bool codegen(const ir_graph *g, const codegen_options *o, enum codegen_emit emit, arena *a, diag *d,
             codegen_result *out) {
  cg c = {.a = a, .d = d, .g = g, .o = o};
  LLVMTargetMachineRef machine = NULL;
  *out = (codegen_result){0};
  if (!begin_module(&c, &machine)) return false;
  bool ok = emit_ops(&c);
  if (ok) {
    finish_weights(&c, out);
    b_debug_place(&c.b, NULL, 0);
    emit_entry(&c);
  }
  b_debug_end(&c.b);
  ok = ok && optimize(&c, machine) && write_object(&c, machine, emit, out);
  if (ok) out->header = make_header(&c);
  end_module(&c, machine);
  return ok;
}

bool codegen_weights(const ir_graph *g, const codegen_options *o, uint64_t digest, arena *a,
                     diag *d, bytes *out) {
  cg c = {.a = a, .d = d, .g = g, .o = o};
  LLVMTargetMachineRef machine = NULL;
  if (!begin_module(&c, &machine)) return false;
  bool ok = emit_ops(&c); /* what packs a weight also emits the code that reads it */
  if (ok) {
    unsigned char *data = copy_weights(&c);
    write_head(data, c.blob.size, digest);
    *out = (bytes){data, c.blob.size};
  }
  b_debug_end(&c.b);
  end_module(&c, machine);
  return ok;
}
