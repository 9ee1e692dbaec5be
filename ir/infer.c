/* The types of ops: unifies the types of the operands with the op's row in ops.def. */
#include <string.h>

#include "ir/check.h"

/* The file that the graph came from, when there is one. */
static src_loc graph_loc(const ir_graph *g) {
  return loc_file(g->count ? g->values[0].loc.file : NULL);
}

bool ir_fail(const ir_check *c, const ir_value *v, enum err code, const char *format, ...) {
  if (!c->d) return false;
  va_list args;
  va_start(args, format);
  const char *text = arena_vprintf(c->g->arena, format, args);
  va_end(args);
  const char *kind = "";
  if (v && v->kind == IR_INPUT) kind = "input ";
  if (v && v->kind == IR_CONST) kind = "constant ";
  if (v && v->kind == IR_OP && v->op < OP_COUNT)
    kind = arena_printf(c->g->arena, "%s ", ir_ops[v->op].name);
  return diag_error(c->d, v ? v->loc : graph_loc(c->g), code, "%s%s%s%s%s%s%s%s",
                    c->when ? "after " : "", c->when ? c->when : "", c->when ? ": " : "", kind,
                    v ? "'" : "", v ? v->name : "", v ? "': " : "", text);
}

/* A type of ops.def: dims are letters. */
typedef struct sig_type {
  enum ir_dtype dtype;
  uint32_t rank;
  char letter[IR_MAX_RANK];
} sig_type;

/* What the letters stand for while one op is looked at; 0: nothing yet. */
typedef struct binding {
  int64_t letter['Z' + 1];
} binding;

typedef struct infer {
  const ir_check *check;
  const ir_value *v;
} infer;

static const ir_value *operand(const infer *f, uint32_t i) {
  return ir_in(f->check->g, f->v, i);
}

/* Reads a type at *s and moves *s behind it and the blanks after it. */
static sig_type read_sig(const char **s) {
  sig_type t = {.dtype = **s == 'i' ? IR_I32 : IR_F32};
  const char *at = strchr(*s, '[') + 1;
  for (; *at != ']'; at++)
    if (*at != ',') t.letter[t.rank++] = *at;
  *s = at + 1 + strspn(at + 1, " ");
  return t;
}

static bool match_dim(binding *b, char letter, int64_t dim) {
  if (letter == 'D' && dim != DIM_N && dim != DIM_B) return false;
  if (letter >= 'A' && letter <= 'Z' && b->letter[(int)letter]) /* also N, B, S */
    return b->letter[(int)letter] == dim;
  if (letter != 'D' && dim < 1) return false;
  b->letter[(int)letter] = dim;
  return true;
}

static bool match_type(binding *b, const sig_type *want, const ir_type *t) {
  if (t->dtype != want->dtype || t->rank != want->rank) return false;
  binding trial = *b;
  for (uint32_t i = 0; i < t->rank; i++)
    if (!match_dim(&trial, want->letter[i], t->dim[i])) return false;
  *b = trial;
  return true;
}

/* "f32[N,768]" or, where a letter is free, "f32[N,C]". */
static const char *print_sig(arena *a, const sig_type *t, const binding *b) {
  const char *text = t->dtype == IR_I32 ? "i32[" : "f32[";
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t dim = b->letter[(int)t->letter[i]];
    char letter = dim == DIM_N ? 'N' : dim == DIM_B ? 'B' : t->letter[i];
    const char *shown =
        dim > 0 ? arena_printf(a, "%lld", (long long)dim) : arena_printf(a, "%c", letter);
    text = arena_printf(a, "%s%s%s", text, i ? "," : "", shown);
  }
  return arena_printf(a, "%s]", text);
}

static binding first_binding(const ir_value *v) {
  binding b = {0};
  b.letter['B'] = DIM_B;
  b.letter['S'] = DIM_S;
  b.letter['N'] = DIM_N;
  if (ir_op_has_attr(v->op, A_heads)) b.letter['H'] = v->attr[A_heads].i;
  return b;
}

/* One alternative of the types column, tried on the operands. */
typedef struct attempt {
  binding b;
  uint32_t failed; /* index of the operand that does not fit; in_max when all do */
  sig_type want;   /* what that operand should be, or the type of the result */
} attempt;

/* Tries the alternative at *s and moves *s to the next one; *s is "" after the last. */
static attempt try_alternative(const infer *f, const char **s) {
  uint32_t operands = ir_ops[f->v->op].in_max;
  attempt t = {.b = first_binding(f->v)};
  for (; t.failed < operands; t.failed++) {
    t.want = read_sig(s);
    const ir_value *in = operand(f, t.failed);
    if (in && !match_type(&t.b, &t.want, &in->type)) break;
  }
  if (t.failed == operands) {
    *s = strchr(*s, '>') + 2;
    t.want = read_sig(s);
  }
  const char *next = strchr(*s, '|');
  *s = next ? next + 2 : "";
  return t;
}

/* What the alternatives that came furthest expected of an operand. */
typedef struct expectation {
  uint32_t at;
  const char *text;
  bool dtype_fits; /* of one of them */
} expectation;

static void expect(const infer *f, const attempt *t, expectation *e) {
  arena *a = f->check->g->arena;
  if (t->failed < e->at) return;
  if (t->failed > e->at) *e = (expectation){.at = t->failed};
  const char *want = print_sig(a, &t->want, &t->b);
  e->text = e->text ? arena_printf(a, "%s or %s", e->text, want) : want;
  e->dtype_fits |= t->want.dtype == operand(f, t->failed)->type.dtype;
}

/* Tries the alternatives in turn; *out is the one that fits. */
static bool unify(const infer *f, attempt *out) {
  const char *s = ir_ops[f->v->op].types;
  expectation e = {0};
  while (*s) {
    *out = try_alternative(f, &s);
    if (out->failed == ir_ops[f->v->op].in_max) return true;
    if (f->check->d) expect(f, out, &e);
  }
  if (!f->check->d) return false;
  return ir_fail(f->check, f->v, e.dtype_fits ? E_SHAPE : E_DTYPE, "operand %s is %s, expected %s",
                 ir_operand(f->v->op, e.at).name,
                 ir_type_print(f->check->g->arena, &operand(f, e.at)->type), e.text);
}

/* ---- rules beyond the types ---- */

static bool rule_none(const infer *f, binding *b) {
  (void)f, (void)b;
  return true;
}

/* Operands `i` and `i + 1`, gamma and beta, come together. */
static bool both_or_none(const infer *f, uint32_t i) {
  if (!operand(f, i) == !operand(f, i + 1)) return true;
  return ir_fail(f->check, f->v, E_OP, "gamma and beta have to come together");
}

static bool rule_embed(const infer *f, binding *b) {
  (void)b;
  if (operand(f, 1) && !operand(f, 4))
    return ir_fail(f->check, f->v, E_OP, "types without a type table");
  return both_or_none(f, 5);
}

static bool rule_linear(const infer *f, binding *b) {
  (void)b;
  if (f->v->attr[A_act].i != ACT_NONE && operand(f, 3))
    return ir_fail(f->check, f->v, E_ATTR,
                   "act and a residual exclude each other: the residual is added after act");
  return both_or_none(f, 4);
}

ir_heads ir_heads_of(const ir_graph *g, const ir_value *v) {
  ir_heads h = {v->attr[A_heads].i, v->attr[A_kv_heads].i, v->attr[A_head_size].i};
  if (h.kv_heads == 0) h.kv_heads = h.heads;
  if (h.size == 0) { /* from q, or from v in a context */
    const ir_value *in = ir_in(g, v, v->op == OP_context ? 1 : 0);
    int64_t per = v->op == OP_context ? h.kv_heads : h.heads;
    if (in && in->type.rank == 2 && per > 0) h.size = in->type.dim[1] / per;
  }
  return h;
}

/* The channels of `heads` heads beginning at attribute `at` lie within operand `i`. */
static bool heads_inside(const infer *f, uint32_t i, enum ir_attr at, int64_t heads, int64_t size) {
  int64_t channels = operand(f, i)->type.dim[1], begin = f->v->attr[at].i;
  if (begin >= 0 && begin <= channels && heads <= (channels - begin) / size) return true;
  return ir_fail(f->check, f->v, E_ATTR,
                 "%s=%lld and %lld heads of %lld channels do not fit into the %lld channels of %s",
                 ir_attrs[at].name, (long long)begin, (long long)heads, (long long)size,
                 (long long)channels, ir_operand(f->v->op, i).name);
}

/* heads, kv_heads and head_size are possible for the channels of the operand they come from. */
static bool head_counts(const infer *f, const ir_heads *h) {
  const ir_value *v = f->v;
  int64_t kv = v->attr[A_kv_heads].i, size = v->attr[A_head_size].i;
  if (kv < 0 || h->heads % h->kv_heads != 0)
    return ir_fail(f->check, v, E_ATTR, "kv_heads=%lld does not divide heads=%lld", (long long)kv,
                   (long long)h->heads);
  if (size < 0) return ir_fail(f->check, v, E_ATTR, "head_size=%lld is negative", (long long)size);
  uint32_t from = v->op == OP_context ? 1 : 0;
  int64_t per = v->op == OP_context ? h->kv_heads : h->heads;
  int64_t channels = operand(f, from)->type.dim[1];
  if (size == 0 && channels % per != 0)
    return ir_fail(f->check, v, E_ATTR, "%lld heads do not divide the %lld channels of %s",
                   (long long)per, (long long)channels, ir_operand(v->op, from).name);
  return true;
}

static bool rule_heads(const infer *f, binding *b) {
  ir_heads h = ir_heads_of(f->check->g, f->v);
  if (!head_counts(f, &h)) return false;
  bool q = ir_op_has_attr(f->v->op, A_q_at), v = ir_op_has_attr(f->v->op, A_v_at);
  if (q && !heads_inside(f, 0, A_q_at, h.heads, h.size)) return false;
  if (q && !heads_inside(f, 1, A_k_at, h.kv_heads, h.size)) return false;
  if (v && !heads_inside(f, q ? 2 : 1, A_v_at, h.kv_heads, h.size)) return false;
  if (h.heads > IR_MAX_DIM / h.size)
    return ir_fail(f->check, f->v, E_ATTR, "%lld heads of %lld channels are over %d channels",
                   (long long)h.heads, (long long)h.size, IR_MAX_DIM);
  b->letter['O'] = h.heads * h.size;
  return true;
}

typedef bool rule_fn(const infer *f, binding *b);
static rule_fn *const rules[OP_COUNT] = {
#define OP(name, lo, hi, rule, operands, types, attrs, doc) rule_##rule,
#include "ir/ops.def"
#undef OP
};

/* ---- the whole op ---- */

static bool check_operands(const infer *f) {
  const ir_value *v = f->v;
  const ir_op_info *op = &ir_ops[v->op];
  if (v->nin > op->in_max)
    return ir_fail(f->check, v, E_OP, "%u operands, but there are at most %u (%s)", v->nin,
                   op->in_max, op->operands);
  for (uint32_t i = 0; i < op->in_max; i++) {
    if (i < v->nin && v->in[i] != IR_NONE) {
      if (v->in[i] >= f->check->g->count)
        return ir_fail(f->check, v, E_IR_SSA, "operand %s is value %u, which does not exist",
                       ir_operand(v->op, i).name, v->in[i]);
    } else if (!ir_operand(v->op, i).optional) {
      return ir_fail(f->check, v, E_OP, "operand %s is missing (operands: %s)",
                     ir_operand(v->op, i).name, op->operands);
    }
  }
  return true;
}

bool ir_infer_type(const ir_check *c, const ir_value *v, ir_type *out) {
  if (v->kind != IR_OP || v->op >= OP_COUNT) return ir_fail(c, v, E_OP, "is no known op");
  infer f = {c, v};
  if (!check_operands(&f)) return false;
  if (ir_op_has_attr(v->op, A_heads) && (v->attr[A_heads].i < 1 || v->attr[A_heads].i > IR_MAX_DIM))
    return ir_fail(c, v, E_ATTR, "heads=%lld is not in 1 … %d", (long long)v->attr[A_heads].i,
                   IR_MAX_DIM);
  attempt t;
  if (!unify(&f, &t) || !rules[v->op](&f, &t.b)) return false;
  *out = (ir_type){.dtype = t.want.dtype, .rank = t.want.rank};
  for (uint32_t i = 0; i < t.want.rank; i++)
    out->dim[i] = t.b.letter[(int)t.want.letter[i]];
  return true;
}

bool ir_infer(ir_graph *g, ir_id id, diag *d) {
  ir_check c = {.g = g, .d = d};
  return ir_infer_type(&c, ir_at(g, id), &ir_at(g, id)->type);
}
