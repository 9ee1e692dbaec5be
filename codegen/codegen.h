/* Code generation: a scheduled, planned graph to an ELF object and its header. The only folder
 * that includes <llvm-c/…>. */
#ifndef SPCC_CODEGEN_CODEGEN_H
#define SPCC_CODEGEN_CODEGEN_H

#include "ir/ir.h"
#include "passes/passes.h"
#include "runtime/spcc_rt.h"
#include "support/file.h"

enum codegen_emit { EMIT_OBJ, EMIT_ASM, EMIT_LLVM };

typedef struct codegen_options {
  enum isa_level levels[ISA_COUNT]; /* falling */
  uint32_t level_count;
  int opt_level;
  bool debug;            /* -g: functions have their places in the model */
  bool generic;          /* --pipeline=generic: plain loops and LLVM's -O3 */
  bool shared_symbol;    /* also export spcc_model, an alias of <name>_info */
  bool external_weights; /* weights are not put into the object */
} codegen_options;

typedef struct codegen_result {
  bytes object;  /* ELF, assembly or LLVM text */
  bytes header;  /* the C header */
  bytes weights; /* the packed weights (also when embedded) */
  uint64_t digest;
  uint64_t code_bytes; /* of .text */
} codegen_result;

/* Compiles a planned graph: after the whole pass table, or with `generic` after fuse and plan
 * alone, so that the baseline computes with the checkpoint's weights as they are. */
bool codegen(const ir_graph *g, const codegen_options *o, enum codegen_emit emit, arena *a, diag *d,
             codegen_result *out);

/* The weights alone, for code that codegen made from a graph which differs in the values of
 * constants and in nothing else, with the same options, external_weights among them; `digest` is
 * that code's.
 */
bool codegen_weights(const ir_graph *g, const codegen_options *o, uint64_t digest, arena *a,
                     diag *d, bytes *out);

/* ---- in-process use ---- */
typedef struct jit_model jit_model;
typedef struct jit_entry {
  spcc_run_fn *run;
  spcc_workspace_fn *workspace;
  spcc_info_fn *info;
} jit_entry;
/* Loads an object made with external_weights; pass `weights` in every call. NULL after an error. */
jit_model *jit_load(diag *d, const codegen_result *r, const char *name, jit_entry *entry);
void jit_free(jit_model *m);

#endif
