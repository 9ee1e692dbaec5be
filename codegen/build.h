/* The builder: loops, branches, vectors and addresses on top of the LLVM C API, so that kernels
 * read like the loop nests that they are. Nothing here knows of models.
 *
 * At most one argument of a call may emit code: C leaves the order of arguments to its compiler,
 * and objects must not depend on who compiled spcc. scripts/check_order.py and the test
 * determinism_builds watch over it. */
#ifndef SPCC_CODEGEN_BUILD_H
#define SPCC_CODEGEN_BUILD_H

#include <llvm-c/Core.h>
#include <stdbool.h>
#include <stdint.h>

#include "passes/passes.h"

/* What an ISA level means for kernels; rows of isa.def. */
typedef struct isa {
  enum isa_level level;
  const char *name, *cpu, *features;
  uint32_t cpu_level;  /* SPCC_CPU_… */
  uint32_t lanes;      /* f32 in a vector */
  uint32_t registers;  /* vector registers */
  uint32_t dense_vecs; /* vectors of tokens in a dense kernel's register tile */
  uint32_t block_vecs; /* the same of a block kernel */
} isa;
extern const isa isa_table[ISA_COUNT];

/* Token tiles: 64 tokens on every ISA. */
enum { TILE = 64, TILE_BYTES = TILE * 4 };

typedef LLVMValueRef V;

/* One module under construction and the function being filled. */
typedef struct bld {
  LLVMContextRef cx;
  LLVMModuleRef mod;
  LLVMBuilderRef b;
  V fn;
  const isa *isa;                                            /* NULL in code that runs on any CPU */
  bool scalar;                                               /* see b_set_scalar */
  LLVMTypeRef i1, i8, i16, i32, i64, f32, ptr, vf, vi, none; /* vf, vi: the ISA's vectors */
  LLVMDIBuilderRef debug;                                    /* NULL: no debug information */
  const char *debug_file;                                    /* place of the functions begun now */
  uint32_t debug_line;
} bld;

/* ---- functions ---- */
/* Sets the ISA of the functions begun from here on, and the vector types. */
void b_set_isa(bld *b, const isa *level);
/* The same, but vectors are single f32s: the math functions then make scalar code. */
void b_set_scalar(bld *b, const isa *level);
/* Begins a local function; its parameters are b_arg(b, i). */
V b_function(bld *b, const char *name, LLVMTypeRef result, const LLVMTypeRef *args, uint32_t n);
V b_arg(const bld *b, uint32_t i);
/* Marks pointer parameter `i` as noalias. */
void b_noalias(bld *b, uint32_t i);
/* Keeps the function out of its callers, so that perf and gdb see its name. */
void b_noinline(bld *b);
/* Keeps the function on the stack while it calls another: no call becomes a jump. */
void b_stays_on_stack(bld *b);
void b_return(bld *b, V value); /* NULL: nothing */
V b_call(bld *b, V fn, const V *args, uint32_t n);
V b_call_type(bld *b, LLVMTypeRef type, V fn, const V *args, uint32_t n);
/* Calls one of LLVM's own; overload: the type that stands behind its name, NULL where none does. */
V b_intrinsic(bld *b, const char *name, LLVMTypeRef overload, const V *args, uint32_t n);

/* ---- debug information ---- */
/* From here on functions have a place in a file, until b_debug_end. */
void b_debug_begin(bld *b);
/* The place of the functions begun from here on; file NULL: none. It must outlive b_debug_end. */
void b_debug_place(bld *b, const char *file, uint32_t line);
/* Gives b->fn its place, when there is debug information. */
void b_debug_function(bld *b, const char *name);
void b_debug_end(bld *b);

/* ---- scalars ---- */
V k32(const bld *b, uint64_t v);
V k64(const bld *b, uint64_t v);
V kf(const bld *b, double v);
V b_add(bld *b, V x, V y);
V b_sub(bld *b, V x, V y);
V b_mul(bld *b, V x, V y);
V b_muli(bld *b, V x, uint64_t y);
V b_addi(bld *b, V x, uint64_t y);
V b_div(bld *b, V x, V y); /* unsigned */
V b_rem(bld *b, V x, V y); /* unsigned */
V b_shr(bld *b, V x, uint64_t bits);
V b_min(bld *b, V x, V y); /* unsigned */
V b_max(bld *b, V x, V y); /* unsigned */
V b_lt(bld *b, V x, V y);  /* unsigned */
V b_ge(bld *b, V x, V y);  /* unsigned */
V b_eq(bld *b, V x, V y);
V b_ne(bld *b, V x, V y);
V b_and(bld *b, V x, V y);
V b_or(bld *b, V x, V y);
V b_not(bld *b, V x);
V b_select(bld *b, V cond, V yes, V no);
V b_zext(bld *b, V x); /* to i64 */
V b_is_null(bld *b, V p);
/* a*x + c for constants a, c. */
V b_affine(bld *b, V x, uint64_t a, uint64_t c);

/* ---- memory ---- */
V b_at(bld *b, V p, V byte_offset);
V b_ati(bld *b, V p, uint64_t byte_offset);
V b_load(bld *b, LLVMTypeRef t, V p, uint32_t align);
void b_store(bld *b, V value, V p, uint32_t align);
/* An i32, i64 or pointer at p + constant. */
V b_load32(bld *b, V p, uint64_t at); /* zero-extended to i64 */
V b_load64(bld *b, V p, uint64_t at);
V b_loadp(bld *b, V p, uint64_t at);
/* Asks for the cache line at p + constant, any address, before it is read. */
void b_prefetch(bld *b, V p, uint64_t at);
/* A variable on the stack, made in the entry block; LLVM turns it into a register. */
V b_local(bld *b, LLVMTypeRef t, V init);
V b_get(bld *b, LLVMTypeRef t, V local);
void b_set(bld *b, V local, V value);

/* ---- vectors of f32 ---- */
V vk(const bld *b, double v); /* constant splat */
V vsplat(bld *b, V scalar);
/* AVX-512: lane i is table[index[i] mod 16], of 16 constants; index is of i32. */
V vlookup(bld *b, const double *table, V index);
V vload(bld *b, V p, uint64_t at); /* aligned to the vector */
V vload_unaligned(bld *b, V p, uint64_t at);
void vstore(bld *b, V v, V p, uint64_t at);
void vstore_masked(bld *b, V v, V p, uint64_t at, V mask);
V vsplat_at(bld *b, V p, uint64_t at); /* broadcast of the f32 there */
/* x[j] = the vector j vectors behind p + at, for n of them. */
void vload_row(bld *b, V p, uint64_t at, uint32_t n, V *x);
V vadd(bld *b, V x, V y);
V vsub(bld *b, V x, V y);
V vmul(bld *b, V x, V y);
V vdiv(bld *b, V x, V y);
V vfma(bld *b, V x, V y, V z); /* x*y + z, one rounding */
/* acc[r * n + j] += w[r] x[j], a register tile's step: w[r] is the f32 at p + at + r * step. */
void vfma_tile(bld *b, V *acc, uint32_t rows, uint32_t n, V p, uint64_t at, uint64_t step,
               const V *x);
V vmax(bld *b, V x, V y);
V vmin(bld *b, V x, V y);
V vabs(bld *b, V x);
V vsqrt(bld *b, V x);
/* Lanes whose index base + lane lies in [lo, hi), as a mask; all i64. */
V vlane_mask(bld *b, V base, V lo, V hi);

/* ---- control ---- */
/* for (i = lo; i < hi; i += step) { … }: carried values enter through `carry` (n of them), are
 * replaced by the values inside the loop, and by the final ones after b_loop_end. */
enum { LOOP_MAX_CARRY = 64 };
typedef struct loop {
  V i;
  V hi, step;
  LLVMBasicBlockRef head, body, exit, from;
  V phi[LOOP_MAX_CARRY];
  uint32_t n;
} loop;
loop b_loop(bld *b, V lo, V hi, uint64_t step, V *carry, uint32_t n);
void b_loop_end(bld *b, loop *l, V *carry);

/* if (cond) { … } [else { … }] */
typedef struct branch {
  LLVMBasicBlockRef no, end;
  bool has_else;
} branch;
branch b_if(bld *b, V cond);
void b_else(bld *b, branch *f);
void b_end(bld *b, branch *f);
/* if (cond) return value; */
void b_return_if(bld *b, V cond, V value);

#endif
