/* first: what is wanted of the first token of each sequence alone is computed for that alone.
 *
 * A value is narrow when every use of it goes on to an op `first`, through ops that work row by
 * row. Such an op moves behind `first`: it becomes one on a row per sequence, and its operands that
 * have a row per token get an op `first` of their own, unless they are narrow too. Attention works
 * row by row in its queries, while it needs the keys and values of every token.
 *
 * The `first` at the end stays: it puts zeros where a sequence is empty, for which the narrow ops
 * compute anything. */
#include "passes/passes.h"
#include "passes/rewrite.h"

enum { ROW_OPERANDS = 2 /* at most, of an op that works row by row */ };

static bool per_token(const ir_value *v) {
  return v->type.rank >= 2 && v->type.dim[0] == DIM_N;
}

/* True when each row of the op's result depends on that row of its row operands alone. */
static bool works_by_row(enum ir_op op) {
  switch (op) {
  case OP_linear:
  case OP_add:
  case OP_mul:
  case OP_gelu:
  case OP_relu:
  case OP_tanh:
  case OP_layernorm:
  case OP_scores:
  case OP_softmax:
  case OP_context:
  case OP_attention:
    return true;
  default:
    return false;
  }
}

/* Keys and values are no row operands. */
static bool is_row_operand(const ir_graph *g, const ir_value *v, uint32_t i) {
  bool mixes = v->op == OP_scores || v->op == OP_context || v->op == OP_attention;
  const ir_value *in = ir_in(g, v, i);
  return in && per_token(in) && (i == 0 || !mixes);
}

/* Marks by id the ops to move; returns their number. Users come after what they use. */
static uint32_t find_narrow(const ir_graph *g, bool *narrow) {
  bool *wide = arena_calloc(g->arena, g->count, sizeof *wide, _Alignof(bool));
  uint32_t count = 0;
  for (uint32_t i = 0; i < g->output_count; i++)
    wide[g->outputs[i].value] = true;
  for (ir_id id = g->count; id-- > 0;) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_OP) continue;
    narrow[id] = per_token(v) && works_by_row(v->op) && !wide[id];
    count += narrow[id];
    for (uint32_t i = 0; i < v->nin; i++)
      if (v->in[i] != IR_NONE && v->op != OP_first && !(narrow[id] && is_row_operand(g, v, i)))
        wide[v->in[i]] = true;
  }
  return count;
}

typedef struct firsts {
  rewrite *r;
  ir_id mask;  /* of the graph, or IR_NONE */
  ir_id *made; /* by id: its op `first`, or IR_NONE */
} firsts;

/* The op `first` of `id`, made when it is wanted for the first time. */
static ir_id first_of(firsts *f, ir_id id) {
  ir_graph *g = f->r->g;
  if (f->made[id] != IR_NONE) return f->made[id];
  ir_id in[] = {id, f->mask};
  const char *name = arena_printf(g->arena, "%s.first", ir_at(g, id)->name);
  f->made[id] = add_op(f->r, name, OP_first, in, in[1] == IR_NONE ? 1 : 2);
  ir_at(g, f->made[id])->loc = ir_at(g, id)->loc;
  return f->made[id];
}

static void move(firsts *f, ir_id id) {
  rewrite *r = f->r;
  ir_graph *g = r->g;
  for (uint32_t i = 0; i < ir_at(g, id)->nin; i++)
    if (is_row_operand(g, ir_at(g, id), i)) set_operand(r, id, i, first_of(f, operand(g, id, i)));
  ir_at(g, id)->type.dim[0] = DIM_B;
  rename_value(r, id, "first");
}

static void remark(const ir_graph *g, const pass_context *c, const bool *narrow, uint32_t count) {
  for (ir_id id = g->count; c->remarks && id-- > 0;)
    if (narrow[id]) {
      diag_remark(c->diag, ir_at(g, id)->loc,
                  "'%s' and what leads to it, %u ops, are computed for the first token of each "
                  "sequence alone",
                  ir_at(g, id)->name, count);
      return;
    }
}

bool pass_first(ir_graph *g, pass_context *c) {
  rewrite r = rewrite_begin(g);
  bool *narrow = arena_calloc(g->arena, g->count, sizeof *narrow, _Alignof(bool));
  uint32_t values = g->count, count = find_narrow(g, narrow);
  if (count == 0 || !has_room(&r, ROW_OPERANDS * count)) {
    rewrite_end(&r);
    return true;
  }
  remark(g, c, narrow, count);
  firsts f = {.r = &r, .mask = ir_mask(g), .made = arena_array(g->arena, ir_id, values)};
  for (ir_id id = 0; id < values; id++)
    f.made[id] = IR_NONE;
  for (ir_id id = 0; id < values; id++)
    if (narrow[id]) move(&f, id);
  rewrite_end(&r);
  return true;
}
