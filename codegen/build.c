#include "codegen/build.h"

#include <llvm-c/Target.h>
#include <stdio.h>
#include <string.h>

const isa isa_table[ISA_COUNT] = {
#define ISA(level, name, cpu, features, cpu_level, lanes, regs, dv, bv)                            \
  [level] = {level, name, cpu, features, cpu_level, lanes, regs, dv, bv},
#include "codegen/isa.def"
#undef ISA
};

/* ---- functions ---- */

void b_set_isa(bld *b, const isa *level) {
  b->isa = level;
  b->scalar = false;
  uint32_t lanes = level ? level->lanes : 4;
  b->vf = LLVMVectorType(b->f32, lanes);
  b->vi = LLVMVectorType(b->i32, lanes);
}

void b_set_scalar(bld *b, const isa *level) {
  b->isa = level;
  b->scalar = true;
  b->vf = b->f32;
  b->vi = b->i32;
}

/* .eh_frame: debuggers and profilers walk from a kernel, which layers share, up to the layer. */
static void unwind_table(bld *b, V fn) {
  enum { ASYNC = 2 }; /* right at every instruction, not at calls alone */
  unsigned kind = LLVMGetEnumAttributeKindForName("uwtable", 7);
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateEnumAttribute(b->cx, kind, ASYNC));
}

static void string_attribute(bld *b, V fn, const char *key, const char *value) {
  LLVMAttributeRef a =
      LLVMCreateStringAttribute(b->cx, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

static void enum_attribute(bld *b, V fn, unsigned index, const char *name) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  LLVMAddAttributeAtIndex(fn, index, LLVMCreateEnumAttribute(b->cx, kind, 0));
}

static void isa_attributes(bld *b, V fn) {
  string_attribute(b, fn, "target-cpu", b->isa->cpu);
  string_attribute(b, fn, "target-features", b->isa->features);
  if (b->isa->lanes != 16) return;
  string_attribute(b, fn, "prefer-vector-width", "512");
  string_attribute(b, fn, "min-legal-vector-width", "512");
}

V b_function(bld *b, const char *name, LLVMTypeRef result, const LLVMTypeRef *args, uint32_t n) {
  LLVMTypeRef type = LLVMFunctionType(result, (LLVMTypeRef *)(uintptr_t)args, n, 0);
  b->fn = LLVMAddFunction(b->mod, name, type);
  LLVMSetLinkage(b->fn, LLVMInternalLinkage);
  enum_attribute(b, b->fn, (unsigned)LLVMAttributeFunctionIndex, "nounwind");
  unwind_table(b, b->fn);
  if (b->isa) isa_attributes(b, b->fn);
  LLVMPositionBuilderAtEnd(b->b, LLVMAppendBasicBlockInContext(b->cx, b->fn, "entry"));
  b_debug_function(b, name);
  return b->fn;
}

V b_arg(const bld *b, uint32_t i) {
  return LLVMGetParam(b->fn, i);
}

void b_noalias(bld *b, uint32_t i) {
  enum_attribute(b, b->fn, i + 1, "noalias");
}

void b_noinline(bld *b) {
  enum_attribute(b, b->fn, (unsigned)LLVMAttributeFunctionIndex, "noinline");
}

void b_stays_on_stack(bld *b) {
  string_attribute(b, b->fn, "disable-tail-calls", "true");
}

void b_return(bld *b, V value) {
  if (value)
    LLVMBuildRet(b->b, value);
  else
    LLVMBuildRetVoid(b->b);
}

V b_call_type(bld *b, LLVMTypeRef type, V fn, const V *args, uint32_t n) {
  return LLVMBuildCall2(b->b, type, fn, (V *)(uintptr_t)args, n, "");
}

V b_call(bld *b, V fn, const V *args, uint32_t n) {
  return b_call_type(b, LLVMGlobalGetValueType(fn), fn, args, n);
}

V b_intrinsic(bld *b, const char *name, LLVMTypeRef overload, const V *args, uint32_t n) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  V fn = LLVMGetIntrinsicDeclaration(b->mod, id, &overload, overload != NULL);
  return b_call(b, fn, args, n);
}

/* ---- scalars ---- */

V k32(const bld *b, uint64_t v) {
  return LLVMConstInt(b->i32, v, 0);
}
V k64(const bld *b, uint64_t v) {
  return LLVMConstInt(b->i64, v, 0);
}
V kf(const bld *b, double v) {
  return LLVMConstReal(b->f32, v);
}
V b_add(bld *b, V x, V y) {
  return LLVMBuildNUWAdd(b->b, x, y, "");
}
V b_sub(bld *b, V x, V y) {
  return LLVMBuildSub(b->b, x, y, "");
}
V b_mul(bld *b, V x, V y) {
  return LLVMBuildNUWMul(b->b, x, y, "");
}
V b_muli(bld *b, V x, uint64_t y) {
  return b_mul(b, x, LLVMConstInt(LLVMTypeOf(x), y, 0));
}
V b_addi(bld *b, V x, uint64_t y) {
  return b_add(b, x, LLVMConstInt(LLVMTypeOf(x), y, 0));
}
V b_div(bld *b, V x, V y) {
  return LLVMBuildUDiv(b->b, x, y, "");
}
V b_rem(bld *b, V x, V y) {
  return LLVMBuildURem(b->b, x, y, "");
}
V b_shr(bld *b, V x, uint64_t bits) {
  return LLVMBuildLShr(b->b, x, LLVMConstInt(LLVMTypeOf(x), bits, 0), "");
}
V b_lt(bld *b, V x, V y) {
  return LLVMBuildICmp(b->b, LLVMIntULT, x, y, "");
}
V b_ge(bld *b, V x, V y) {
  return LLVMBuildICmp(b->b, LLVMIntUGE, x, y, "");
}
V b_eq(bld *b, V x, V y) {
  return LLVMBuildICmp(b->b, LLVMIntEQ, x, y, "");
}
V b_ne(bld *b, V x, V y) {
  return LLVMBuildICmp(b->b, LLVMIntNE, x, y, "");
}
V b_min(bld *b, V x, V y) {
  return b_select(b, b_lt(b, x, y), x, y);
}
V b_max(bld *b, V x, V y) {
  return b_select(b, b_lt(b, x, y), y, x);
}
V b_and(bld *b, V x, V y) {
  return LLVMBuildAnd(b->b, x, y, "");
}
V b_or(bld *b, V x, V y) {
  return LLVMBuildOr(b->b, x, y, "");
}
V b_not(bld *b, V x) {
  return LLVMBuildNot(b->b, x, "");
}
V b_select(bld *b, V cond, V yes, V no) {
  return LLVMBuildSelect(b->b, cond, yes, no, "");
}
V b_zext(bld *b, V x) {
  return LLVMBuildZExt(b->b, x, b->i64, "");
}
V b_is_null(bld *b, V p) {
  return LLVMBuildIsNull(b->b, p, "");
}
V b_affine(bld *b, V x, uint64_t a, uint64_t c) {
  return b_addi(b, b_muli(b, x, a), c);
}

/* ---- memory ---- */

V b_at(bld *b, V p, V byte_offset) {
  return LLVMBuildGEP2(b->b, b->i8, p, &byte_offset, 1, "");
}
V b_ati(bld *b, V p, uint64_t byte_offset) {
  return byte_offset ? b_at(b, p, k64(b, byte_offset)) : p;
}
V b_load(bld *b, LLVMTypeRef t, V p, uint32_t align) {
  V v = LLVMBuildLoad2(b->b, t, p, "");
  LLVMSetAlignment(v, align);
  return v;
}
void b_store(bld *b, V value, V p, uint32_t align) {
  LLVMSetAlignment(LLVMBuildStore(b->b, value, p), align);
}
V b_load32(bld *b, V p, uint64_t at) {
  return b_zext(b, b_load(b, b->i32, b_ati(b, p, at), 4));
}
V b_load64(bld *b, V p, uint64_t at) {
  return b_load(b, b->i64, b_ati(b, p, at), 8);
}
V b_loadp(bld *b, V p, uint64_t at) {
  return b_load(b, b->ptr, b_ati(b, p, at), 8);
}

V b_local(bld *b, LLVMTypeRef t, V init) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(b->b), entry = LLVMGetEntryBasicBlock(b->fn);
  V first = LLVMGetFirstInstruction(entry);
  if (first)
    LLVMPositionBuilderBefore(b->b, first);
  else
    LLVMPositionBuilderAtEnd(b->b, entry);
  V local = LLVMBuildAlloca(b->b, t, "");
  LLVMPositionBuilderAtEnd(b->b, here);
  if (init) LLVMBuildStore(b->b, init, local);
  return local;
}
V b_get(bld *b, LLVMTypeRef t, V local) {
  return LLVMBuildLoad2(b->b, t, local, "");
}
void b_set(bld *b, V local, V value) {
  LLVMBuildStore(b->b, value, local);
}

/* ---- vectors ---- */

static V splat_constant(const bld *b, V scalar) {
  V lane[16];
  for (uint32_t i = 0; i < b->isa->lanes; i++)
    lane[i] = scalar;
  return LLVMConstVector(lane, b->isa->lanes);
}

void b_prefetch(bld *b, V p, uint64_t at) {
  enum { READ = 0, FIRST_LEVEL = 3, DATA = 1 };
  V args[] = {b_ati(b, p, at), k32(b, READ), k32(b, FIRST_LEVEL), k32(b, DATA)};
  b_intrinsic(b, "llvm.prefetch", b->ptr, args, 4);
}

V vk(const bld *b, double v) {
  return b->scalar ? kf(b, v) : splat_constant(b, kf(b, v));
}

V vsplat(bld *b, V scalar) {
  if (b->scalar) return scalar;
  LLVMTypeRef vec = LLVMVectorType(LLVMTypeOf(scalar), b->isa->lanes);
  V one = LLVMBuildInsertElement(b->b, LLVMGetPoison(vec), scalar, k32(b, 0), "");
  return LLVMBuildShuffleVector(b->b, one, LLVMGetPoison(vec), LLVMConstNull(b->vi), "");
}

V vlookup(bld *b, const double *table, V index) {
  V lane[16];
  for (uint32_t i = 0; i < 16; i++)
    lane[i] = kf(b, table[i]);
  V args[] = {LLVMConstVector(lane, 16), index};
  return b_intrinsic(b, "llvm.x86.avx512.permvar.sf.512", NULL, args, 2);
}

static uint32_t vector_bytes(const bld *b) {
  return b->isa->lanes * 4;
}
V vload(bld *b, V p, uint64_t at) {
  return b_load(b, b->vf, b_ati(b, p, at), vector_bytes(b));
}
V vload_unaligned(bld *b, V p, uint64_t at) {
  return b_load(b, b->vf, b_ati(b, p, at), 4);
}
void vstore(bld *b, V v, V p, uint64_t at) {
  b_store(b, v, b_ati(b, p, at), vector_bytes(b));
}
void vstore_masked(bld *b, V v, V p, uint64_t at, V mask) {
  LLVMTypeRef overload[] = {b->vf, b->ptr};
  unsigned id = LLVMLookupIntrinsicID("llvm.masked.store", strlen("llvm.masked.store"));
  V fn = LLVMGetIntrinsicDeclaration(b->mod, id, overload, 2);
  b_call(b, fn, (V[]){v, b_ati(b, p, at), k32(b, vector_bytes(b)), mask}, 4);
}
V vsplat_at(bld *b, V p, uint64_t at) {
  return vsplat(b, b_load(b, b->f32, b_ati(b, p, at), 4));
}
void vload_row(bld *b, V p, uint64_t at, uint32_t n, V *x) {
  for (uint32_t j = 0; j < n; j++)
    x[j] = vload(b, p, at + (uint64_t)j * vector_bytes(b));
}
V vadd(bld *b, V x, V y) {
  return LLVMBuildFAdd(b->b, x, y, "");
}
V vsub(bld *b, V x, V y) {
  return LLVMBuildFSub(b->b, x, y, "");
}
V vmul(bld *b, V x, V y) {
  return LLVMBuildFMul(b->b, x, y, "");
}
V vdiv(bld *b, V x, V y) {
  return LLVMBuildFDiv(b->b, x, y, "");
}
V vfma(bld *b, V x, V y, V z) {
  return b_intrinsic(b, "llvm.fma", LLVMTypeOf(x), (V[]){x, y, z}, 3);
}
void vfma_tile(bld *b, V *acc, uint32_t rows, uint32_t n, V p, uint64_t at, uint64_t step,
               const V *x) {
  for (uint32_t r = 0; r < rows; r++) {
    V w = vsplat_at(b, p, at + r * step);
    for (uint32_t j = 0; j < n; j++)
      acc[r * n + j] = vfma(b, w, x[j], acc[r * n + j]);
  }
}
/* (x > y) ? x : y, as the machine's max does it: y when either is NaN. */
V vmax(bld *b, V x, V y) {
  return b_select(b, LLVMBuildFCmp(b->b, LLVMRealOGT, x, y, ""), x, y);
}
V vmin(bld *b, V x, V y) {
  return b_select(b, LLVMBuildFCmp(b->b, LLVMRealOLT, x, y, ""), x, y);
}
V vabs(bld *b, V x) {
  return b_intrinsic(b, "llvm.fabs", LLVMTypeOf(x), &x, 1);
}
V vsqrt(bld *b, V x) {
  return b_intrinsic(b, "llvm.sqrt", LLVMTypeOf(x), &x, 1);
}

V vlane_mask(bld *b, V base, V lo, V hi) {
  V lane[16];
  for (uint32_t i = 0; i < b->isa->lanes; i++)
    lane[i] = k32(b, i);
  V index = LLVMConstVector(lane, b->isa->lanes);
  V base32 = LLVMBuildTrunc(b->b, base, b->i32, "");
  V token = LLVMBuildAdd(b->b, index, vsplat(b, base32), "");
  V lo32 = vsplat(b, LLVMBuildTrunc(b->b, lo, b->i32, ""));
  V hi32 = vsplat(b, LLVMBuildTrunc(b->b, hi, b->i32, ""));
  V above = LLVMBuildICmp(b->b, LLVMIntSGE, token, lo32, "");
  V below = LLVMBuildICmp(b->b, LLVMIntSLT, token, hi32, "");
  return b_and(b, above, below);
}

/* ---- control ---- */

static LLVMBasicBlockRef block(bld *b, const char *name) {
  return LLVMAppendBasicBlockInContext(b->cx, b->fn, name);
}

loop b_loop(bld *b, V lo, V hi, uint64_t step, V *carry, uint32_t n) {
  loop l = {.hi = hi, .step = k64(b, step), .n = n};
  l.from = LLVMGetInsertBlock(b->b);
  l.head = block(b, "loop");
  l.body = block(b, "body");
  l.exit = block(b, "done");
  LLVMBuildBr(b->b, l.head);
  LLVMPositionBuilderAtEnd(b->b, l.head);
  l.i = LLVMBuildPhi(b->b, b->i64, "i");
  LLVMAddIncoming(l.i, &lo, &l.from, 1);
  for (uint32_t k = 0; k < n; k++) {
    l.phi[k] = LLVMBuildPhi(b->b, LLVMTypeOf(carry[k]), "");
    LLVMAddIncoming(l.phi[k], &carry[k], &l.from, 1);
    carry[k] = l.phi[k];
  }
  LLVMBuildCondBr(b->b, b_lt(b, l.i, hi), l.body, l.exit);
  LLVMPositionBuilderAtEnd(b->b, l.body);
  return l;
}

void b_loop_end(bld *b, loop *l, V *carry) {
  V next = b_add(b, l->i, l->step);
  LLVMBasicBlockRef from = LLVMGetInsertBlock(b->b);
  LLVMAddIncoming(l->i, &next, &from, 1);
  for (uint32_t k = 0; k < l->n; k++) {
    LLVMAddIncoming(l->phi[k], &carry[k], &from, 1);
    carry[k] = l->phi[k];
  }
  LLVMBuildBr(b->b, l->head);
  LLVMPositionBuilderAtEnd(b->b, l->exit);
}

branch b_if(bld *b, V cond) {
  LLVMBasicBlockRef yes = block(b, "then");
  branch f = {.no = block(b, "else"), .end = NULL, .has_else = false};
  LLVMBuildCondBr(b->b, cond, yes, f.no);
  LLVMPositionBuilderAtEnd(b->b, yes);
  return f;
}

void b_else(bld *b, branch *f) {
  f->end = block(b, "end");
  f->has_else = true;
  LLVMBuildBr(b->b, f->end);
  LLVMPositionBuilderAtEnd(b->b, f->no);
}

void b_end(bld *b, branch *f) {
  LLVMBasicBlockRef to = f->has_else ? f->end : f->no;
  LLVMBuildBr(b->b, to);
  LLVMPositionBuilderAtEnd(b->b, to);
}

void b_return_if(bld *b, V cond, V value) {
  branch f = b_if(b, cond);
  b_return(b, value);
  LLVMPositionBuilderAtEnd(b->b, f.no);
}
