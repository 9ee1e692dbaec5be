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

enum cost {
#define COST(name, per, v3, v4, doc) COST_##name,
#include "passes/cost.def"
#undef COST
  COST_COUNT
};
/* What the rows of cost.def take on a machine. */
typedef struct cost_table {
  double unit[COST_COUNT];
} cost_table;

/* What measuring has found for a class of linears. */
typedef struct tuned_class {
  const char *name; /* as linear_class spells it */
  const char *cut;  /* as cut_print spells it */
  double gain;      /* times dense */
} tuned_class;

typedef struct pass_options {
  int opt_level; /* 0 … 3 */
  enum sparse_mode sparse;
  pattern sparse_pattern;   /* with SPARSE_PATTERN */
  enum isa_level isa;       /* the highest level of the object: partition and schedule follow it */
  const cost_table *costs;  /* [ISA_COUNT]; NULL: those that spcc comes with */
  const tuned_class *tuned; /* with SPARSE_AUTO, goes before the cost model */
  uint32_t tuned_count;
  bool keep_order; /* permute leaves every channel where it is */
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

pass_fn pass_fold, pass_dead, pass_first, pass_fuse, pass_permute, pass_partition, pass_schedule,
    pass_plan;

/* ---- classify: what a weight looks like; computed when asked, never stored ---- */
enum { CLASSIFY_BLOCKS = 6 };    /* 4x1 8x1 16x1 1x4 1x16 16x16, in this order */
enum { CLASSIFY_LARGEST = 256 }; /* elements of the largest block */
extern const pattern classify_blocks[CLASSIFY_BLOCKS];
typedef struct classify_result {
  uint64_t rows, cols, nnz;
  uint64_t empty_rows, full_rows, empty_cols, full_cols;
  /* For each block shape: non-empty aligned blocks (tails count as whole blocks). */
  uint64_t blocks[CLASSIFY_BLOCKS];
  /* Blocks among them that hold at least 3/4 of their elements, and the non-zeros in those. */
  uint64_t filled_blocks[CLASSIFY_BLOCKS], filled_nnz[CLASSIFY_BLOCKS];
  /* Blocks that lie wholly in the weight, by the number of their non-zeros. */
  uint64_t whole[CLASSIFY_BLOCKS][CLASSIFY_LARGEST + 1];
  bool nm24, nm14, nm48; /* every group of m inputs holds at most n non-zeros, cols % m == 0 */
  pattern best;          /* the tightest pattern that describes the non-zeros: dense (over 90 %
                            full), the largest block shape at least 95 % filled, N:M, else
                            unstructured */
} classify_result;
/* `w` is [rows, cols] row-major. */
void classify(const float *w, uint64_t rows, uint64_t cols, classify_result *out);

/* ---- ways to cut a weight, and what they cost ---- */
enum { COST_TOKEN = 1, COST_TILE = 64 };
typedef struct cost_row {
  const char *name;
  uint32_t per; /* tokens that share it: COST_TOKEN or COST_TILE */
  double shipped[ISA_COUNT];
  const char *doc;
} cost_row;
extern const cost_row cost_rows[COST_COUNT];
/* How often each row of cost.def occurs: for a token of a full tile, unless said otherwise. */
typedef struct cost_counts {
  double n[COST_COUNT];
} cost_counts;

/* The constants that spcc comes with. */
cost_table cost_shipped(enum isa_level isa);
/* Those by which a compilation with these options decides. */
cost_table cost_of(const pass_options *options);
/* The time of what was counted, on one core, in the unit of cost.def. */
double cost_total(const cost_table *t, const cost_counts *n);
/* What a call of `tokens` tokens does. */
cost_counts cost_at(const cost_counts *n, uint64_t tokens);
/* A measured time, of what was counted, and how much it matters. */
typedef struct cost_time {
  cost_counts n;
  double time, weight;
} cost_time;
/* The constants that describe `count` times best (weighted least squares of the relative errors, no
 * constant below 0); rows that none of them counts stay as they are in *t. */
void cost_fit(const cost_time *times, uint32_t count, cost_table *t);
/* Inputs of a slab of a gather with `rows` outputs and `units` units, unless the tuner chooses. */
uint32_t gather_slab(const ir_part *p, uint64_t rows, uint64_t units);
/* Inputs of a slab of a block part with `rows` outputs and `units` register tiles. */
uint32_t block_slab(const ir_part *p, uint64_t rows, uint64_t units);
/* Inputs of a slab that stays in L2, for two tiles of tokens. */
uint32_t l2_slab(const ir_part *p);
/* Adds what a part of `rows` outputs and `units` units (register tiles of blocks, runs, single
 * non-zeros) does for a token. */
void cost_count_part(const ir_part *p, uint64_t rows, uint64_t units, cost_counts *n);
/* Adds what an op does for a token of a sequence of this length; of a linear, what comes on top of
 * its parts. */
void cost_count_op(const ir_graph *g, const ir_value *v, uint64_t sequence, cost_counts *n);

/* A candidate of partition: parts that sum to the weight. */
enum { CUT_PARTS = 2, MAX_CUTS = 64, CUT_TEXT_MAX = 96, CUT_SHORT = 16 };
typedef struct weight_cut {
  ir_part part[CUT_PARTS];
  double fill[CUT_PARTS]; /* share of the part's elements that are not zero */
  uint32_t count;
  cost_counts counts; /* for a token */
  double cost;        /* predicted from them, with full tiles */
  double short_cost;  /* the same in a call of CUT_SHORT tokens */
  bool measured_only; /* the model does not tell it from another; the tuner may */
} weight_cut;
/* A weight, looked at once for all its cuts. */
typedef struct cut_source {
  arena *arena;
  const cost_table *costs;
  const float *w; /* [m, k] row-major */
  uint32_t m, k;
  classify_result stats;
} cut_source;
void cut_look(cut_source *s, arena *a, const cost_table *costs, const float *w, uint32_t m,
              uint32_t k);
/* Writes the candidates, the first of them dense, into list[MAX_CUTS]; returns how many. Kernels
 * can run every one of them. */
uint32_t cut_all(const cut_source *s, weight_cut *list);
/* The pattern imposed on the weight; false where its shape or the kernels do not allow it. */
bool cut_by_pattern(const cut_source *s, pattern p, weight_cut *out);
/* The same as a gather whose rows go in pairs that share loads; false where no gather serves it. */
bool cut_in_pairs(const cut_source *s, pattern p, weight_cut *out);
/* What linears that are as fast as each other, cut in the same way, have in common: the shape, the
 * ops that were fused in, pattern and density, to quarters of an octave. */
const char *linear_class(const ir_graph *g, const ir_value *v, const cut_source *s);
/* True when a cut can be taken that takes `time` with full tiles, predicted or measured, where
 * dense takes dense_time: it is faster, and in calls of CUT_SHORT tokens, where it gains least, not
 * slower, as far as the model tells. */
bool cut_pays(const weight_cut *c, double time, const weight_cut *dense, double dense_time);
/* Of that, the part about short calls. */
bool cut_pays_short(const weight_cut *c, double time, const weight_cut *dense, double dense_time);
/* The cut of list[count], dense first, that is taken where nothing was measured. */
const weight_cut *cut_predicted(const weight_cut *list, uint32_t count);
/* Writes the spelling, such as "4x1:2+unstructured/64" (":" fill, "*2" rows in pairs, "/"
 * inputs of a slab), into
 * text[CUT_TEXT_MAX] and returns it. */
char *cut_print(const weight_cut *c, char *text);
/* The cut of list[count] with this spelling; NULL when there is none. */
const weight_cut *cut_find(const weight_cut *list, uint32_t count, const char *spelling);

#endif
