/* The graph IR: typed SSA over tensors, in topological order. See docs/ir.md.
 *
 * Every value is an input, a constant or the result of one op; a value's id is its index in
 * graph->values. All memory belongs to the graph's arena. */
#ifndef SPCC_IR_IR_H
#define SPCC_IR_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ir/pattern.h"
#include "support/arena.h"
#include "support/diag.h"
#include "support/sha256.h"

enum ir_op {
#define OP(name, lo, hi, rule, operands, types, attrs, doc) OP_##name,
#include "ir/ops.def"
#undef OP
  OP_COUNT
};

enum ir_attr {
#define ATTR(name, kind, init, doc) A_##name,
#include "ir/attrs.def"
#undef ATTR
  ATTR_COUNT
};

enum ir_attr_kind { ATTR_INT, ATTR_BOOL, ATTR_FLOAT, ATTR_ACT, ATTR_FORM, ATTR_POSITION };
enum ir_act { ACT_NONE, ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_TANH };
enum ir_form { FORM_ERF, FORM_TANH };

enum ir_kernel {
#define KERNEL(name, what, patterns) K_##name,
#include "ir/kernels.def"
#undef KERNEL
  KERNEL_COUNT
};

enum ir_dtype { IR_F32, IR_I32 };
enum { IR_MAX_RANK = 8, IR_MAX_IN = 8 };
/* Limits of graphs and of their text; ir_verify and ir_parse refuse what is over them. */
enum {
  IR_MAX_VALUES = 65536,
  IR_MAX_NAME = 1024,    /* bytes */
  IR_MAX_PARTS = 250,    /* of one linear */
  IR_MAX_INLINE = 64,    /* elements of a constant that stands in the text itself */
  IR_MAX_LINE = 1 << 20, /* bytes of a line */
  IR_MAX_TEXT = 16 << 20 /* bytes */
};
#define IR_MAX_DIM INT32_MAX
#define IR_MAX_ELEMENTS ((size_t)1 << 40)
/* Symbolic dimensions are negative: batch, sequence, computed tokens of all sequences. */
enum { DIM_B = -1, DIM_S = -2, DIM_N = -3 };

typedef struct ir_type {
  enum ir_dtype dtype;
  uint32_t rank;
  int64_t dim[IR_MAX_RANK];
} ir_type;

/* A constant's elements, row-major. Integers do not occur as constants. */
typedef struct ir_tensor {
  const float *data;
  size_t count; /* elements */
  sha256 hash;  /* of the bytes of data; valid when hashed */
  bool hashed;
  bool finite; /* known to hold no NaN and no infinity (ir_verify looks once) */
} ir_tensor;

typedef uint32_t ir_id;
#define IR_NONE UINT32_MAX

typedef union ir_attr_value {
  int64_t i; /* INT, BOOL, and the enumerations */
  double f;  /* FLOAT */
} ir_attr_value;

/* A half-open range of rows (outputs). */
typedef struct ir_range {
  uint32_t lo, hi;
} ir_range;

/* One part of a linear's weight. Parts are cut in order: a part takes, within its rows and columns,
 * every unit of its pattern that still holds at least `fill` non-zeros untaken by earlier parts. A
 * unit is an RxC block, or R rows x m inputs for N:MxR, aligned to the part's first row and column
 * and cut off at its last ones (several ranges of rows count as one list of rows); a single element
 * for unstructured. A unit of N:M is taken only when its untaken non-zeros lie in at most n of the
 * m inputs. A taken unit takes its zeros along; kernel dense takes every untaken element. The last
 * part has fill 1 and takes the rest, so the parts have disjoint supports and sum to the weight
 * exactly. */
typedef struct ir_part {
  ir_range *rows; /* sorted, disjoint */
  uint32_t row_ranges;
  uint32_t col_lo, col_hi;
  pattern pattern;
  enum ir_kernel kernel;
  uint32_t fill;
  /* Written by schedule; 0 before. */
  uint32_t r;       /* outputs that share one load of the activations */
  uint32_t c;       /* consecutive inputs per index */
  uint32_t k_block; /* inputs per slab */
} ir_part;

enum ir_kind { IR_INPUT, IR_CONST, IR_OP };

typedef struct ir_value {
  enum ir_kind kind;
  const char *name; /* unique among inputs and ops, and among constants */
  ir_type type;
  src_loc loc;
  /* IR_INPUT */
  bool optional;  /* may be absent in a call; then every element is `absent` */
  int32_t absent; /* i32 inputs only */
  /* IR_CONST */
  ir_tensor *tensor;
  /* IR_OP */
  enum ir_op op;
  uint32_t nin;        /* operands given; trailing absent ones are not counted */
  ir_id in[IR_MAX_IN]; /* IR_NONE: absent */
  ir_attr_value attr[ATTR_COUNT];
  ir_part *parts; /* linear, after partition */
  uint32_t part_count;
  /* Written by plan. */
  uint32_t slot; /* IR_NO_SLOT: lives in the caller's memory, or nowhere */
} ir_value;

#define IR_NO_SLOT UINT32_MAX

typedef struct ir_output {
  const char *name;
  ir_id value;
} ir_output;

/* Bytes as a linear form: per 64-token tile of N, per 64-row tile of B, per sequence position S,
 * per sequence B, per thread, and a constant. Each is a multiple of 64 after evaluation. */
typedef struct ir_bytes {
  uint64_t per_n_tile, per_b_tile, constant;
} ir_bytes;

typedef struct ir_graph {
  arena *arena;
  const char *name; /* of the model: prefix of the symbols */
  int64_t max_batch, max_sequence;
  ir_value *values;
  uint32_t count, capacity;
  ir_output *outputs;
  uint32_t output_count;
  ir_bytes *slots; /* sizes, after plan; slot i starts where slot i-1 ends */
  uint32_t slot_count;
} ir_graph;

/* ---- tables ---- */
typedef struct ir_op_info {
  const char *name;
  uint32_t in_min, in_max;
  const char *operands; /* their names, as in ops.def */
  const char *types;    /* as in ops.def */
  const char *attrs;    /* names of the attributes, separated by blanks */
  const char *doc;
} ir_op_info;
typedef struct ir_attr_info {
  const char *name;
  enum ir_attr_kind kind;
  double init;
  const char *doc;
} ir_attr_info;
/* One operand of an op, read from the column of ops.def. */
typedef struct ir_operand_info {
  char name[12];
  bool constant, optional, mask;
} ir_operand_info;
extern const ir_op_info ir_ops[OP_COUNT];
extern const ir_attr_info ir_attrs[ATTR_COUNT];
extern const char *const ir_kernel_names[KERNEL_COUNT];
extern const char *const ir_kernel_patterns[KERNEL_COUNT]; /* separated by blanks */
/* Operand `i` of an op; i < in_max. */
ir_operand_info ir_operand(enum ir_op op, uint32_t i);
/* True when the kernel's row lists the pattern. */
bool ir_kernel_serves(enum ir_kernel kernel, const pattern *p);
/* OP_COUNT when there is no such op; ATTR_COUNT and KERNEL_COUNT likewise. */
enum ir_op ir_op_find(const char *name);
enum ir_attr ir_attr_find(const char *name);
enum ir_kernel ir_kernel_find(const char *name);
bool ir_op_has_attr(enum ir_op op, enum ir_attr attr);
/* Spelling of a value of an enumerated kind; NULL when out of range. */
const char *ir_enum_name(enum ir_attr_kind kind, int64_t value);
/* False when `text` names no value of the kind. */
bool ir_enum_find(enum ir_attr_kind kind, const char *text, int64_t *value);

/* ---- building ---- */
/* An empty graph with max_batch 1 and max_sequence 512. */
ir_graph *ir_graph_new(arena *a, const char *name);
/* The functions below return the new value's id. Attributes start at their defaults, the type of
 * an op is inferred (verify reports what does not fit; after setting attributes, call ir_infer).
 * Names are copied. Adding a value invalidates pointers to values. */
ir_id ir_add_input(ir_graph *g, const char *name, ir_type type);
/* `data` has the product of the dims as elements and must outlive the graph. */
ir_id ir_add_const(ir_graph *g, const char *name, ir_type type, const float *data);
ir_id ir_add_op(ir_graph *g, const char *name, enum ir_op op, const ir_id *in, uint32_t nin);
void ir_add_output(ir_graph *g, const char *name, ir_id value);
/* A copy in `a`, which passes may change; names and the elements of constants are those of `g`,
 * which has to outlive it. */
ir_graph *ir_clone(const ir_graph *g, arena *a);
/* Infers the type of the op value `id` from its operands and attributes; false, with an error in
 * `d` (may be NULL) at the value's loc, when they do not fit. */
bool ir_infer(ir_graph *g, ir_id id, diag *d);
/* heads, kv_heads and head_size of a scores, context or attention op with the zeros replaced. */
typedef struct ir_heads {
  int64_t heads, kv_heads, size;
} ir_heads;
ir_heads ir_heads_of(const ir_graph *g, const ir_value *v);
/* A name that no input or op (constant: no constant) has yet: base, base.1, base.2 … */
const char *ir_fresh_name(ir_graph *g, const char *base, bool constant);

static inline ir_value *ir_at(const ir_graph *g, ir_id id) {
  return &g->values[id];
}
/* The operand `i` of `v`, or NULL when absent. */
static inline ir_value *ir_in(const ir_graph *g, const ir_value *v, uint32_t i) {
  return i < v->nin && v->in[i] != IR_NONE ? ir_at(g, v->in[i]) : NULL;
}
static inline bool ir_is_op(const ir_value *v, enum ir_op op) {
  return v && v->kind == IR_OP && v->op == op;
}

/* The mask that the ops of the graph share; IR_NONE: none has one. */
ir_id ir_mask(const ir_graph *g);
/* The place of `input` among the graph's inputs: its index in a call. */
uint32_t ir_input_index(const ir_graph *g, ir_id input);

/* ---- changing ---- */
/* Drops values that reach no output (inputs stay) and restores topological order (inputs,
 * constants, ops; otherwise the old order as far as possible). Ids change. */
void ir_cleanup(ir_graph *g);

/* ---- types ---- */
bool ir_type_equal(const ir_type *a, const ir_type *b);
/* "f32[N,768]"; text in the arena. */
char *ir_type_print(arena *a, const ir_type *t);
/* False when `text` spells no type. Dimensions may be out of range: 0 … INT64_MAX. */
bool ir_type_parse(const char *text, ir_type *out);
/* Number of elements; false when a dim is symbolic or not 1 … IR_MAX_DIM, or when there are more
 * than IR_MAX_ELEMENTS. */
bool ir_type_elements(const ir_type *t, size_t *out);
ir_type ir_type_make(enum ir_dtype dtype, uint32_t rank, const int64_t *dim);
static inline ir_type ir_type2(int64_t d0, int64_t d1) {
  return (ir_type){.dtype = IR_F32, .rank = 2, .dim = {d0, d1}};
}
static inline ir_type ir_type1(int64_t d0) {
  return (ir_type){.dtype = IR_F32, .rank = 1, .dim = {d0}};
}

/* ---- checking and text ---- */
/* Checks everything that the passes and codegen rely on: order, arity, types, attributes, names,
 * borders (an input of f32 is used by pack alone; outputs come from unpack), that the graph has
 * at most one mask, parts that cover their weight, plans without overlap of live values. `when`
 * names the pass before it; errors of a graph made by a pass are bugs, yet still returned. */
bool ir_verify(const ir_graph *g, diag *d, const char *when);

/* The graph as text; constants of over 64 elements by name and SHA-256. */
char *ir_print(const ir_graph *g, arena *a);
/* A constant asked for by ir_parse: fills *data (count elements); false when there is none, or
 * after an error of its own. */
typedef bool ir_resolve(void *context, const char *name, const ir_type *type, const float **data);
/* Reads text of at most 16 MiB; `file` is for messages. NULL after an error. `resolve` may be NULL:
 * then constants by hash are an error. The caller verifies the graph. */
ir_graph *ir_parse(arena *a, diag *d, const char *file, const char *text, size_t size,
                   ir_resolve *resolve, void *context);

/* ---- parts ---- */
/* Takes a part's share of the weight `w`, [rows, cols] row-major: sets owner[rows*cols] to `mark`
 * (not 0) where it is 0 and the part takes the element. The part lies within the weight. */
void ir_part_take(const ir_part *p, const float *w, uint32_t cols, unsigned char *owner,
                  unsigned char mark);
/* Marks which elements part `index` of linear `v` takes: support[M*K] bytes, 1 where taken.
 * Runs over the parts before it too. */
void ir_part_support(const ir_graph *g, const ir_value *v, uint32_t index, unsigned char *support);

#endif
