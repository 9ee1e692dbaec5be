/* Inside codegen: what its files share. */
#ifndef SPCC_CODEGEN_CG_H
#define SPCC_CODEGEN_CG_H

#include <stddef.h>

#include "codegen/build.h"
#include "codegen/codegen.h"

/* Where the embedded weights lie: a section of theirs alone, for LLVM puts constants of its own
 * into .lrodata. Linkers gather both into one. */
#define WEIGHTS_SECTION ".lrodata.weights"

/* ---- the packed weights ---- */

/* Grows by whole segments, each at a multiple of 64 bytes. */
typedef struct blob_segment {
  const void *data;
  size_t size;
  uint64_t at;
  struct blob_segment *next;
} blob_segment;
typedef struct blob {
  arena *arena;
  blob_segment *first, *last;
  uint64_t size;
} blob;
/* Appends `size` bytes (they must outlive the blob) and returns their offset. */
uint64_t blob_add(blob *b, const void *data, size_t size);
/* Writes the whole blob, blob->size bytes, zeros between segments. */
void blob_copy(const blob *b, unsigned char *to);

/* ---- the frame: what one call's phases share ----
 * A struct on the stack of <name>_run, read by every task. Offsets in bytes; pointers and 64-bit
 * integers. The arrays lie in the workspace. Tokens and sequences are those of the group that runs
 * now, and are numbered from its first one on; rows in the caller's memory are the call's. */
enum frame {
  F_IN = 0,       /* const void *const *: the caller's inputs */
  F_OUT = 8,      /* void *const * */
  F_WEIGHTS = 16, /* the packed weights */
  F_WORK = 24,    /* the workspace's slots */
  F_SCRATCH = 32, /* of task 0; task i's is i * F_SCRATCH_STEP further */
  F_SCRATCH_STEP = 40,
  F_N = 48,      /* computed tokens */
  F_BATCH = 56,  /* sequences */
  F_NT = 64,     /* token tiles: ceil(N / 64) */
  F_BT = 72,     /* sequence tiles: ceil(batch / 64) */
  F_START = 80,  /* i32[batch + 1]: first packed token of each sequence; [batch] = N */
  F_BASE = 88,   /* i32[batch + 1]: first row of each sequence in the caller's memory */
  F_SRC = 96,    /* i32[NT * 64]: row of each packed token in the caller's memory */
  F_POS = 104,   /* i32[NT * 64]: its position in its sequence */
  F_KBIAS = 112, /* f32[NT * 64]: 0, or -infinity where the mask has a hole */
  F_ITEMS = 120, /* i32[batch + 1]: query tiles of the sequences before */
  F_EXEC = 128,
  F_THREADS = 136,
  F_STEP = 144,        /* tiles in a group of the linear that runs now: 1 or 2 */
  F_SCRATCH_ROW = 152, /* bytes of a row of padded positions */
  F_NQ = 160,          /* live quarters of tokens: ceil(N / 16) */
  F_BQ = 168,          /* live quarters of sequences: ceil(batch / 16) */
  F_FIRST = 176,       /* sequences of the call before the group */
  F_NEXT = 184,        /* and up to its end */
  F_NEXT_ROW = 192,    /* the row after its last one in the caller's memory */
  F_CALL_BATCH = 200,  /* sequences of the call */
  F_SEQUENCE = 208,    /* the call's */
  F_LENGTHS = 216,     /* the call's, or NULL */
  F_GROUP = 224,       /* most tokens of a group of several sequences, and most sequences of any */
  FRAME_BYTES = 256
};

/* Where fields of the caller's structs lie. */
#define CALL(field) offsetof(spcc_call, field)
#define EXEC(field) offsetof(spcc_exec, field)

/* How many items of work a phase has. */
enum items {
  ITEMS_QUARTERS,  /* 16 tokens each: the live quarters */
  ITEMS_TILES,     /* 64 tokens each */
  ITEMS_LINEAR,    /* live quarters * chunks */
  ITEMS_ATTENTION, /* heads * query tiles of all sequences, or * sequences for one query each */
  ITEMS_UNPACK,    /* tiles, and one per sequence for the zeros */
  ITEMS_FIXED      /* `factor` of them */
};

/* One step of the compiled model: per ISA level a function
 * void (frame *, i64 lo, i64 hi, i64 task) that does the items lo … hi - 1. */
typedef struct phase {
  const char *name;
  V fn[ISA_COUNT];
  enum items items;
  bool per_batch;           /* rows are sequences (BT), not tokens (NT) */
  uint32_t factor;          /* chunks of a linear, heads of an attention */
  enum spcc_step_kind kind; /* 0 until the op is emitted: the op's kind */
  const ir_value *value;    /* the op that it belongs to */
  uint32_t layer, layers;   /* a linear's rows of cg.layers */
} phase;

typedef struct layer_row { /* of spcc_info.layers */
  const char *name, *pattern, *kernel;
  uint32_t rows, cols;
  uint64_t nnz, bytes;
} layer_row;

/* A kernel or driver that several layers share, found again by its key. */
typedef struct shared_fn {
  const char *key;
  V fn;
  struct shared_fn *next;
} shared_fn;

typedef struct cg {
  bld b;
  arena *a;
  diag *d;
  const ir_graph *g;
  const codegen_options *o;
  blob blob;
  phase **phases;
  uint32_t phase_count, phase_capacity;
  layer_row *layers;
  uint32_t layer_count, layer_capacity;
  uint64_t parameters, nnz;
  shared_fn *shared;
  uint64_t scratch_per_position; /* bytes per padded sequence position and task */
  bool scratch_square;           /* plus a float per pair of positions (generic attention) */
  uint64_t digest;
} cg;

/* The first 64 bytes of the weights: u64 magic ("SPCCWTS1"), u64 digest, u64 size. */
#define WEIGHTS_MAGIC 0x3153545743435053u

/* Finds the function with `key`, or NULL. Keys carry the ISA's name. */
V cg_shared(const cg *c, const char *key);
void cg_share(cg *c, const char *key, V fn);
/* Adds a phase; its functions are filled in by the caller. */
phase *cg_phase(cg *c, const char *name, enum items items, bool per_batch, uint32_t factor);
/* Begins the function of phase `p` for the builder's ISA. Parameters: frame, lo, hi, task. */
void cg_phase_begin(cg *c, phase *p);

/* ---- emitting from inside a phase ---- */
/* Bytes of the slots before `slot`; of all, for slot_count. */
ir_bytes cg_slots_before(const cg *c, uint32_t slot);
/* Tiles that hold `rows` tokens or sequences. */
V cg_tiles(cg *c, V rows);
/* ---- live quarters ----
 * A tile is four quarters of 16 tokens (64 bytes of a channel). The quarters up to the last token
 * are live: F_NQ of them in all, F_BQ for sequences. Nothing computes the others, and what is in
 * them is undefined, so a phase works on quarters below F_NQ only: as ITEMS_QUARTERS, or with
 * cg_live in each of its tiles. */
enum { QUARTER = 16, QUARTER_BYTES = QUARTER * 4, TILE_QUARTERS = TILE / QUARTER };
/* Quarters that `rows` tokens or sequences take. */
V cg_quarters(cg *c, V rows);
/* Tiles that hold `quarters` live quarters. */
V cg_quarter_tiles(cg *c, V quarters);
/* Live quarters of tile `tile`, 1 to 4, where `quarters` are live from tile 0 on and 4 * tile is
 * less than that. */
V cg_live(cg *c, V quarters, V tile);
/* Emits code for n = `quarters` consecutive quarters from quarter `from` on (constant n, 1 to the
 * most that a register tile takes). */
typedef void quarters_body(cg *c, V from, uint32_t n, void *context);
/* body() for `live` quarters, 0 to 4: `most` (1, 2 or 4) at a time, then the rest at once. */
void cg_over_quarters(cg *c, V live, uint32_t most, quarters_body *body, void *context);

/* Positions of the longest sequence in the scratch: whole tiles, and one more, for a sequence may
 * begin inside a tile. */
V cg_padded_positions(cg *c, V sequence);
/* First byte of the slot of value `v`; `frame` is the function's frame pointer. */
V cg_slot(cg *c, V frame, const ir_value *v);
/* The packed weights at a constant offset. */
V cg_weights(cg *c, V frame, uint64_t at);
/* Offset in the blob of a constant's elements; appended on the first use. */
uint64_t cg_constant(cg *c, const ir_value *v);
/* True when the rows of `v` are sequences: type [B, C]. */
bool cg_per_batch(const ir_value *v);
/* Number of channels: the last dimension. */
uint32_t cg_channels(const ir_value *v);

/* ---- math on vectors, mathfn.c ---- */
/* x[i] = e^(scale x[i]) for x <= 0, scale > 0, up to EXP_VECTORS at once; below 2^-126 denormal,
 * which counts as 0. */
enum { EXP_VECTORS = 4 };
void m_exp_nonpositive(bld *b, double scale, V *x, uint32_t n);
V m_gelu(bld *b, V x); /* erf form */
V m_gelu_tanh(bld *b, V x);
V m_tanh(bld *b, V x);
V m_act(bld *b, enum ir_act act, V x);

/* ---- ops; each adds the phases of one value ---- */
bool emit_rows_sum(cg *c, const ir_value *v); /* gather, embed */
bool emit_linear(cg *c, const ir_value *v);
void emit_layernorm(cg *c, const char *name, const ir_value *x, const ir_value *y,
                    const ir_value *gamma, const ir_value *beta, double eps);
bool emit_pointwise(cg *c, const ir_value *v); /* gelu, relu, tanh, add, mul */
bool emit_layernorm_op(cg *c, const ir_value *v);
bool emit_attention(cg *c, const ir_value *v);
bool emit_first(cg *c, const ir_value *v);
bool emit_pack(cg *c, const ir_value *v);
bool emit_unpack(cg *c, const ir_value *v);

/* Reports scores, softmax or context that fuse did not turn into attention. */
bool refuse_unfused(cg *c, const ir_value *v);
/* False, with an error, for attention that no emitter handles. */
bool attention_supported(cg *c, const ir_value *v);
/* The value of gelu, relu, tanh, add or mul for one vector (or scalar); y: second operand. */
V pointwise_value(bld *b, const ir_value *v, V x, V y);

/* ---- rows in memory, border.c ----
 * A token's row of the result is the sum of some rows: of the caller's tensor or of tables. */
enum { MAX_SUMMANDS = 3 };
typedef struct summand {
  V base;              /* f32 rows */
  const ir_value *ids; /* i32[N] that picks the row; NULL: row 0 */
} summand;
typedef struct rows_sum {
  summand s[MAX_SUMMANDS];
  uint32_t count, channels;
  bool per_batch, from_caller; /* from_caller: rows are those of the caller's tensor */
} rows_sum;
/* Tables and ids of a gather or an embed. */
rows_sum rows_of(cg *c, V frame, const ir_value *v);
/* The rows of pack's input. */
rows_sum rows_from_caller(cg *c, V frame, const ir_value *v);
/* Summand i's row for packed token (or sequence) `token`. */
V summand_row(cg *c, V frame, const rows_sum *r, uint32_t i, V token);
/* Row in the caller's tensors of a packed token, or of a sequence of the group. */
V caller_row(cg *c, V frame, bool per_batch, V token);
/* Zeros in the rows of sequence `seq` of output `out` that are not computed. */
void zero_rest(cg *c, V frame, V out, uint32_t channels, V seq);
/* The workspace's bytes for one task's scratch, from the padded number of positions. */
V scratch_bytes(cg *c, V positions);

/* LayerNorm of 16 tokens in place or from x to y, both at the quarter's first byte of channel 0;
 * gamma and beta point at f32[channels]. */
/* First byte of quarter `quarter` (16 tokens) in channel 0 of a tensor at `base`. */
V quarter_at(cg *c, V base, V quarter, uint32_t channels);
void emit_norm_quarter(cg *c, V x, V y, V gamma, V beta, uint32_t channels, double eps);

/* ---- linears ---- */
enum {
  MAX_PARTS = 8,      /* of one linear */
  MAX_BLOCK_ROWS = 8, /* outputs of a block's register tile */
  MAX_RUN = 16        /* inputs of a block or a run */
};
/* False, with an error at the linear's place, for parts or a schedule that kernels cannot run. */
bool check_linear(const cg *c, const ir_value *v);

typedef struct linear_shape {
  uint32_t m, k; /* outputs, inputs */
  bool bias, residual;
  enum ir_act act;
} linear_shape;

/* Arguments of a kernel function: pointers, then i64s. `quarters` live quarters, from the first one
 * of the tile at x and y on: all of its tiles have four but for the last, which may have fewer.
 * Only these are computed. The steps, bytes from one tile to the next, are arguments so that layers
 * of every shape share a kernel. */
typedef struct kernel_args {
  V record, x, y, bias, residual, quarters, ends, x_step, y_step;
} kernel_args;
enum { KERNEL_ARGS = 9 };
/* Which ends of the reduction a kernel handles. */
typedef struct kernel_ends {
  bool first; /* accumulators start from the bias, else from y */
  bool last;  /* activation and residual are applied before the store */
} kernel_ends;
/* The same as a run-time argument of the gather kernel, whose bodies are too long to be repeated.
 */
enum { GATHER_FIRST = 1, GATHER_LAST = 2 /* the residual; a gather applies no activation */ };

/* Begins a kernel function named `key`. */
kernel_args kernel_begin(cg *c, const char *key);
V kernel_dense(cg *c, const linear_shape *s, kernel_ends e);
/* in_turn: all groups of the record against one tile of tokens, then the next; else all tiles
 * against one group. */
V kernel_block(cg *c, const linear_shape *s, kernel_ends e, uint32_t r, uint32_t cols,
               bool in_turn);
enum {
  L1_SLAB_BYTES = 32 << 10, /* activations that stay in L1 on every CPU */
  CACHE_LINE = 64,
  STREAM_AHEAD = 2048 /* bytes of weights to fetch early: about 1000 cycles with 64 tokens */
};
/* How far ahead of it a kernel fetches its stream, in bytes, that takes `vecs` vectors of tokens:
 * fewer tokens read it faster. */
uint64_t stream_ahead(const bld *b, uint32_t vecs);
/* Vector j of what begins at `p` in the first tile, `at` bytes on; further tiles are `step` bytes
 * apart. */
V cg_vector_at(cg *c, V p, V step, uint64_t at, uint32_t j);
/* True when a gather kernel takes two tiles at once with slabs of k_block inputs. */
bool gather_takes_two_tiles(const isa *level, uint32_t k_block);
/* `quarters`: those that it computes, 1 to 4 of one tile, or 8 of two. */
V kernel_gather(cg *c, const linear_shape *s, uint32_t quarters, uint32_t cols);
/* The same for gathers with r = 2. It reads PAIR_AHEAD bytes more than the record's indices. */
enum { PAIR_AHEAD = 4 };
V kernel_pair(cg *c, const linear_shape *s, kernel_ends e, uint32_t quarters, uint32_t cols);

/* ---- packing, pack.c ---- */
/* Packs part `index` of linear `v` for chunks of chunk_rows outputs: a directory
 * u64[slabs][chunks] of record offsets from the part's start, then the records. */
typedef struct packed_part {
  const void *data;
  size_t size;
  uint64_t nnz;
  uint64_t units; /* blocks, single non-zeros or runs of inputs, as cost_count_part counts them */
  uint32_t slabs;
} packed_part;
/* list: slabs in which a gather lists its rows without non-zeros as well. */
enum { LIST_FIRST = 1, LIST_LAST = 2 };
packed_part pack_part(arena *a, const ir_graph *g, const ir_value *v, uint32_t index,
                      uint32_t chunk_rows, unsigned list);

/* A record's fixed head: u32 fields. */
enum record {
  R_GROUPS = 0,  /* groups of rows; gather: buckets */
  R_SINGLES = 4, /* dense: rows after the last full group */
  R_K = 8,       /* inputs in this slab */
  R_HEAD = 12,   /* byte offsets from the record: group heads … */
  R_INDEX = 16,
  R_VALUES = 20,
  RECORD_BYTES = 64
};
/* The record of a gather: u32 first row, u32 buckets; each bucket's u16 units of a row, u16 rows;
 * then for each row, bucket after bucket, u16 row from the first one on, u8 index[units], f32
 * values[units][c], nothing aligned. The kernel reads up to GATHER_AHEAD bytes behind it. */
enum { GATHER_AHEAD = 256, GATHER_MAX_ROWS = UINT16_MAX /* outputs in a chunk */ };
enum { BLOCKS_AHEAD = 8 }; /* a block record's indices that follow its last one: zeros */
enum { DENSE_ROWS = 6 };   /* outputs in a dense group, on every ISA */

/* ---- entry points, object ---- */
/* <name>_run, <name>_workspace and <name>_info, from the phases that are there. */
bool emit_entry(cg *c);
/* The pieces of emit_entry. The prologue fills the frame from a checked call. */
V emit_detect(cg *c);                             /* u64 (): CPU level, see spcc_cpu_level */
V emit_workspace_bytes(cg *c);                    /* u64 (u64 batch, u64 sequence, u64 threads) */
V emit_check(cg *c, V workspace_bytes, V detect); /* i64 (call *): a status, or the level << 32 */
V emit_prologue(cg *c, V next_group);             /* i64 (call *, frame *): a status */
V emit_info(cg *c);                               /* the spcc_info constant */
V emit_next_group(cg *c);                         /* void (frame *): the group from F_NEXT on */
/* The workspace and the run agree on this many threads at most. */
enum { MAX_THREADS = 4096 };
/* The sequences of a call go through the model in groups of about so many tokens per thread. What a
 * layer of BERT-base makes of 256 tokens stays in L2 and L3; with more of them the time per token
 * rises by a third and more, with fewer the last tile of a group is a larger share of it. */
enum { GROUP_TOKENS = 256 };
/* What the groups of a call hold at most, for the workspace and the prologue. */
typedef struct group_limits {
  V limit;         /* F_GROUP */
  V tokens, batch; /* a sequence longer than the limit is a group */
} group_limits;
group_limits limits_of_groups(cg *c, V batch, V sequence, V threads);
/* Bytes of the workspace before the slots: the frame's arrays. */
ir_bytes frame_arrays(void);
/* --pipeline=generic: the plain loops of one op, in the layout [channels][tokens]. */
bool emit_generic(cg *c, const ir_value *v);
/* Gives the placeholder section .lrodata of LLVM's object the weights as its contents. */
bool object_add_weights(arena *a, diag *d, bytes object, bytes weights, bytes *out);
/* Bytes of machine code in an object. */
uint64_t object_text_size(bytes object);
bytes make_header(cg *c);

#endif
