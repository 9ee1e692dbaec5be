/* The passes and the analysis; the pipeline is the table in pipeline.c. */
#ifndef SPCC_PASSES_PASSES_H
#define SPCC_PASSES_PASSES_H

#include <stdio.h>

#include "ir/ir.h"

/* The ISA levels, rising. */
enum isa_level { ISA_X86_64_V3, ISA_X86_64_V4, ISA_COUNT };
extern const char *const isa_names[ISA_COUNT]; /* "x86-64-v3", "x86-64-v4" */

enum sparse_mode {
  SPARSE_AUTO,   /* the cost model chooses */
  SPARSE_OFF,    /* every weight dense */
  SPARSE_PATTERN /* this pattern wherever the weight's shape allows it, else dense */
};

typedef struct pass_options {
  int opt_level; /* 0 … 3 */
  enum sparse_mode sparse;
  pattern sparse_pattern; /* with SPARSE_PATTERN */
  enum isa_level isa;     /* the highest level of the object: partition and schedule follow it */
} pass_options;

/* What every pass works with. */
typedef struct pass_context {
  arena *arena;
  diag *diag;
  const pass_options *options;
  bool remarks; /* record a DIAG_REMARK per decision */
} pass_context;

typedef bool pass_fn(ir_graph *g, pass_context *c);

typedef struct pass {
  const char *name;
  pass_fn *run;
  int min_opt;     /* runs at this -O level and above */
  const char *doc; /* what it leaves true */
} pass;

/* The pass table, ended by a row with name NULL. */
extern const pass pipeline[];

/* Called after every pass that ran (also with name "import" before the first). */
typedef bool pass_observer(void *context, const char *name, const ir_graph *g);
/* Runs the table over `g`, verifying after every row. `observe` may be NULL. */
bool pipeline_run(ir_graph *g, pass_context *c, pass_observer *observe, void *context);
/* Runs the passes named in `list` ("fold,dead"), whatever their level. For --passes, the generic
 * pipeline and tests. */
bool pipeline_run_list(ir_graph *g, pass_context *c, const char *list, pass_observer *observe,
                       void *context);

/* Takes back what partition, schedule and plan decided: parts, chunks, slots. */
void pipeline_forget(ir_graph *g);

pass_fn pass_fold, pass_dead, pass_fuse, pass_partition, pass_schedule, pass_plan;

/* ---- classify: what a weight looks like; computed when asked, never stored ---- */
enum { CLASSIFY_BLOCKS = 6 }; /* 4x1 8x1 16x1 1x4 1x16 16x16, in this order */
extern const pattern classify_blocks[CLASSIFY_BLOCKS];
typedef struct classify_result {
  uint64_t rows, cols, nnz;
  uint64_t empty_rows, full_rows, empty_cols, full_cols;
  /* For each block shape: non-empty aligned blocks (tails count as whole blocks). */
  uint64_t blocks[CLASSIFY_BLOCKS];
  /* Blocks among them that hold at least 3/4 of their elements, and the non-zeros in those. */
  uint64_t filled_blocks[CLASSIFY_BLOCKS], filled_nnz[CLASSIFY_BLOCKS];
  bool nm24, nm14, nm48; /* every group of m inputs holds at most n non-zeros, cols % m == 0 */
  pattern best;          /* the tightest pattern that describes the non-zeros: dense (over 90 %
                            full), the largest block shape at least 95 % filled, N:M, else
                            unstructured */
} classify_result;
/* `w` is [rows, cols] row-major. */
void classify(const float *w, uint64_t rows, uint64_t cols, classify_result *out);

/* ---- cost model ---- */
/* Predicted cycles of one part at `tokens` tokens on one core of the level. nnz counts non-zeros,
 * units counts blocks (or runs) of the part. */
double cost_part_cycles(enum isa_level isa, const ir_part *p, uint64_t rows, uint64_t nnz,
                        uint64_t units, uint64_t tokens);

#endif
