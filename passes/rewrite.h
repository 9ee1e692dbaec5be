/* Changing a graph: what the passes share. All changes of operands go through here, which keeps
 * count of the users of every value, so that a step costs the same in a graph of any size.
 *
 * Constants are never changed in place, since others may use them: a pass makes a new one and lets
 * its user refer to that. Ids stay as they are until rewrite_end. */
#ifndef SPCC_PASSES_REWRITE_H
#define SPCC_PASSES_REWRITE_H

#include "ir/ir.h"
#include "ir/names.h"

/* Operands of linear, layernorm and gather. */
enum { LINEAR_X, LINEAR_W, LINEAR_BIAS, LINEAR_RESIDUAL, LINEAR_GAMMA, LINEAR_BETA };
enum { NORM_X, NORM_GAMMA, NORM_BETA };
enum { GATHER_TABLE, GATHER_IDS };

/* Hands out names: base, base.1, base.2 … */
typedef struct namer {
  names *taken;
  names *bases;   /* base -> index into next */
  uint32_t *next; /* the number to try next */
  uint32_t count, room;
} namer;

typedef struct rewrite {
  ir_graph *g;
  uint32_t *uses;  /* by id: operands and outputs that refer to it */
  uint64_t *users; /* by id: sum of the ids of those users; with one use, the user itself */
  uint32_t capacity;
  namer values, constants;
} rewrite;

/* Begins and ends a pass: both drop what reaches no output (ir_cleanup). */
rewrite rewrite_begin(ir_graph *g);
void rewrite_end(rewrite *r);
/* True when the graph has room for that many more values; a pass stops when it has not. */
bool has_room(const rewrite *r, uint32_t values);

/* ---- looking ---- */
/* Operand `i` of `id`, or IR_NONE. */
ir_id operand(const ir_graph *g, ir_id id, uint32_t i);
/* The elements of a constant; NULL when `id` is absent or no constant. */
const float *const_data(const ir_graph *g, ir_id id);
/* True when `id` is a constant f32[C]. */
bool is_row_const(const ir_graph *g, ir_id id);
/* True for a linear with constant weight and bias (or none) that has no parts yet. */
bool is_linear(const ir_graph *g, ir_id id);
/* is_linear, and nothing follows the bias: no activation, residual or LayerNorm. */
bool is_plain_linear(const ir_graph *g, ir_id id);
/* Outputs M, inputs K, weight [M, K] and bias [M] (NULL: none) of such a linear. */
size_t linear_rows(const ir_graph *g, ir_id linear);
size_t linear_cols(const ir_graph *g, ir_id linear);
const float *linear_weight(const ir_graph *g, ir_id linear);
const float *linear_bias(const ir_graph *g, ir_id linear);
/* The op that is the one user of `id`, through one operand; IR_NONE when there is no such op. */
ir_id sole_user(const rewrite *r, ir_id id);

/* ---- changing ---- */
/* A new constant or op; `base` is made unique. */
ir_id add_const(rewrite *r, const char *base, ir_type type, const float *data);
ir_id add_op(rewrite *r, const char *base, enum ir_op op, const ir_id *in, uint32_t nin);
void set_operand(rewrite *r, ir_id id, uint32_t i, ir_id to);
/* Drops the operands of an op that nothing uses any more. */
void detach(rewrite *r, ir_id id);
/* Makes the op `id` a copy of the op `from`, which must have no other use, in all but its name;
 * `from` is detached. */
void absorb(rewrite *r, ir_id id, ir_id from);
/* A value whose meaning changed gets a name of its own: its old one and `suffix`. */
void rename_value(rewrite *r, ir_id id, const char *suffix);
/* Lets operand `i` of `id` be a new constant. It takes the name of the constant it replaces when
 * that has no other user, so that a layer keeps its name. */
void revise_const(rewrite *r, ir_id id, uint32_t i, ir_type type, const float *data);
/* The same for the bias of a linear, which may have been absent. data [M]. */
void revise_bias(rewrite *r, ir_id linear, const float *data);

/* ---- arithmetic ---- */
/* A sum that is to become an f32: stores it and returns true when it is finite. */
bool store_f32(double x, float *out);
/* out[i] = in[i] * factor; false when a product is not finite, or vanishes without a zero
 * factor. */
bool scale_f32(const float *in, double factor, size_t n, float *out);

#endif
