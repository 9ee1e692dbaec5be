/* Text to graph; see docs/ir.md for the grammar. The text is not trusted. */
#include <inttypes.h>
#include <string.h>

#include "ir/array.h"
#include "ir/lex.h"
#include "ir/names.h"

typedef struct parser {
  lex l;
  ir_graph *g;
  names *values, *constants; /* %names and @names */
  ir_id linear;              /* the op whose parts may follow, or IR_NONE */
  bool ended;
  ir_resolve *resolve;
  void *context;
} parser;

/* ---- references and definitions ---- */

/* Reads "%name" or "@name", of which no value may exist yet; the name without its sigil, or NULL
 * after an error. */
static const char *new_name(parser *p, char sigil) {
  src_loc loc = lex_loc(&p->l);
  const char *name = lex_expect(&p->l, sigil) ? lex_name(&p->l, "a name") : NULL;
  if (!name) return NULL;
  if (p->g->count == IR_MAX_VALUES) {
    lex_fail_at(&p->l, loc, E_LIMIT, "more than %d values", IR_MAX_VALUES);
    return NULL;
  }
  ir_id old = names_find(sigil == '@' ? p->constants : p->values, name);
  if (old == IR_NONE) return name;
  lex_fail_at(&p->l, loc, E_IR_SSA, "%c%s is defined twice", sigil, name);
  diag_note(p->l.d, ir_at(p->g, old)->loc, "the first definition is here");
  return NULL;
}

/* Makes the new value `id`, defined at `loc`, known to the lines that follow. */
static ir_value *define(parser *p, ir_id id, src_loc loc) {
  ir_value *v = ir_at(p->g, id);
  v->loc = loc;
  names_add(v->kind == IR_CONST ? p->constants : p->values, v->name, id);
  return v;
}

/* Reads a reference to a value (or, with `constants`, a constant) that is defined already. */
static bool reference(parser *p, bool constants, ir_id *out) {
  src_loc loc = lex_loc(&p->l);
  char sigil = constants && lex_accept(&p->l, '@') ? '@' : '%';
  if (sigil == '%' && !lex_expect(&p->l, '%')) return false;
  const char *name = lex_name(&p->l, "a name");
  if (!name) return false;
  *out = names_find(sigil == '@' ? p->constants : p->values, name);
  if (*out != IR_NONE) return true;
  return lex_fail_at(&p->l, loc, E_IR_SSA, "%c%s is used, but not defined before", sigil, name);
}

/* Reads ": type". */
static bool type_of(parser *p, ir_type *t) {
  return lex_expect(&p->l, ':') && lex_type(&p->l, t);
}

/* ---- inputs and constants ---- */

static bool parse_input(parser *p) {
  src_loc loc = lex_loc(&p->l);
  ir_type type;
  int64_t absent = 0;
  const char *name = new_name(p, '%');
  if (!name || !type_of(p, &type)) return false;
  bool optional = !lex_finish_ahead(&p->l);
  if (optional && !(lex_key(&p->l, "optional") &&
                    lex_int(&p->l, "a 32-bit integer", INT32_MIN, INT32_MAX, &absent)))
    return false;
  ir_value *v = define(p, ir_add_input(p->g, name, type), loc);
  v->optional = optional;
  v->absent = (int32_t)absent;
  return true;
}

/* "= 0x1p+0, …": the elements themselves. */
static const float *inline_data(parser *p, const ir_type *t) {
  size_t count;
  if (!ir_type_elements(t, &count) || count > IR_MAX_INLINE) {
    lex_fail(&p->l, E_IR,
             "only constants of 1 … %d elements stand in the text; larger ones by hash",
             IR_MAX_INLINE);
    return NULL;
  }
  float *data = arena_array(p->g->arena, float, count);
  for (size_t i = 0; i < count; i++) {
    double x;
    if (i && !lex_expect(&p->l, ',')) return NULL;
    src_loc loc = lex_loc(&p->l);
    if (!lex_float(&p->l, &x)) return NULL;
    data[i] = (float)x;
    if ((double)data[i] != x)
      return lex_fail_at(&p->l, loc, E_IR, "this number is no 32-bit float"), NULL;
  }
  return data;
}

/* "sha256:…": the elements come from the caller. */
static const float *resolved_data(parser *p, const char *name, const ir_type *t, src_loc loc,
                                  sha256 *hash) {
  size_t count;
  const float *data = NULL;
  if (!lex_keyword(&p->l, "sha256") || !lex_expect(&p->l, ':') || !lex_hash(&p->l, hash))
    return NULL;
  if (!ir_type_elements(t, &count)) {
    lex_fail_at(&p->l, loc, E_DIM, "constant '%s': %s is no possible size", name,
                ir_type_print(p->g->arena, t));
    return NULL;
  }
  size_t errors = diag_errors(p->l.d);
  if (!p->resolve || !p->resolve(p->context, name, t, &data)) {
    if (diag_errors(p->l.d) == errors) /* else it is said what is wrong with them */
      lex_fail_at(&p->l, loc, E_W_MISSING,
                  "constant '%s': there are no weights of this name and type", name);
    p->l.failed = true;
    return NULL;
  }
  sha256 actual = sha256_of(data, count * sizeof *data);
  if (memcmp(&actual, hash, sizeof actual) == 0) return data;
  lex_fail_at(&p->l, loc, E_IR, "constant '%s': the weights have the SHA-256 %s", name,
              sha256_hex(p->g->arena, &actual));
  return NULL;
}

static bool parse_const(parser *p) {
  src_loc loc = lex_loc(&p->l);
  ir_type type;
  const char *name = new_name(p, '@');
  if (!name || !type_of(p, &type)) return false;
  if (type.dtype != IR_F32) return lex_fail_at(&p->l, loc, E_IR, "constants are f32");
  sha256 hash = {0};
  bool is_inline = lex_accept(&p->l, '=');
  const float *data = is_inline ? inline_data(p, &type) : resolved_data(p, name, &type, loc, &hash);
  if (!data) return false;
  ir_value *v = define(p, ir_add_const(p->g, name, type, data), loc);
  v->tensor->hash = hash;
  v->tensor->hashed = !is_inline;
  return true;
}

/* ---- ops ---- */

/* Reads the operands of `op` into in[] and counts them. */
static bool parse_operands(parser *p, enum ir_op op, src_loc loc, ir_id *in, uint32_t *nin) {
  const ir_op_info *info = &ir_ops[op];
  for (*nin = 0; *nin || !(lex_ahead(&p->l, ':') || lex_ahead(&p->l, '{'));) {
    if (*nin == info->in_max)
      return lex_fail(&p->l, E_IR, "%s takes at most %u operands: %s", info->name, info->in_max,
                      info->operands);
    ir_id *to = &in[(*nin)++];
    *to = IR_NONE;
    if (!lex_accept(&p->l, '_') && !reference(p, true, to)) return false;
    if (!lex_accept(&p->l, ',')) break;
  }
  for (uint32_t i = 0; i < info->in_max; i++)
    if (!ir_operand(op, i).optional && (i >= *nin || in[i] == IR_NONE))
      return lex_fail_at(&p->l, loc, E_IR, "%s lacks its operand %s; it takes: %s", info->name,
                         ir_operand(op, i).name, info->operands);
  return true;
}

static bool parse_attr_value(parser *p, enum ir_attr a, ir_attr_value *value) {
  const ir_attr_info *info = &ir_attrs[a];
  if (info->kind == ATTR_FLOAT) return lex_float(&p->l, &value->f);
  if (info->kind == ATTR_INT)
    return lex_int(&p->l, "an integer", INT64_MIN + 1, INT64_MAX, &value->i);
  src_loc loc = lex_loc(&p->l);
  const char *word = lex_word(&p->l, "a word");
  if (!word) return false;
  if (ir_enum_find(info->kind, word, &value->i)) return true;
  return lex_fail_at(&p->l, loc, E_ATTR, "%s has no value '%s' (%s)", info->name, word, info->doc);
}

/* "{key=value, …}", the brace already taken. */
static bool parse_attrs(parser *p, enum ir_op op, ir_attr_value *values) {
  bool seen[ATTR_COUNT] = {false};
  do {
    src_loc loc = lex_loc(&p->l);
    const char *name = lex_word(&p->l, "an attribute");
    if (!name) return false;
    enum ir_attr a = ir_attr_find(name);
    if (a == ATTR_COUNT || !ir_op_has_attr(op, a))
      return lex_fail_at(&p->l, loc, E_ATTR, "%s has no attribute '%s'; it has: %s",
                         ir_ops[op].name, name, *ir_ops[op].attrs ? ir_ops[op].attrs : "none");
    if (seen[a]) return lex_fail_at(&p->l, loc, E_IR, "attribute '%s' stands twice", name);
    seen[a] = true;
    if (!lex_expect(&p->l, '=') || !parse_attr_value(p, a, &values[a])) return false;
  } while (lex_accept(&p->l, ','));
  return lex_expect(&p->l, '}');
}

/* The type in the text is the one that the op has. */
static bool check_type(parser *p, ir_id id, const ir_type *stated, src_loc loc) {
  if (!ir_infer(p->g, id, p->l.d)) {
    p->l.failed = true;
    return false;
  }
  const ir_value *v = ir_at(p->g, id);
  if (ir_type_equal(&v->type, stated)) return true;
  return lex_fail_at(&p->l, loc, E_IR, "the result of %s is %s, not %s", ir_ops[v->op].name,
                     ir_type_print(p->g->arena, &v->type), ir_type_print(p->g->arena, stated));
}

static bool parse_op(parser *p) {
  src_loc loc = lex_loc(&p->l);
  const char *name = new_name(p, '%');
  if (!name || !lex_expect(&p->l, '=')) return false;
  src_loc op_loc = lex_loc(&p->l);
  const char *op_name = lex_word(&p->l, "an op");
  if (!op_name) return false;
  enum ir_op op = ir_op_find(op_name);
  if (op == OP_COUNT) return lex_fail_at(&p->l, op_loc, E_OP, "unknown op '%s'", op_name);
  ir_id in[IR_MAX_IN];
  uint32_t nin;
  if (!parse_operands(p, op, op_loc, in, &nin)) return false;
  ir_id id = ir_add_op(p->g, name, op, in, nin);
  ir_value *v = define(p, id, loc);
  if (lex_accept(&p->l, '{') && !parse_attrs(p, op, v->attr)) return false;
  ir_type stated;
  src_loc type_loc = lex_loc(&p->l);
  if (!type_of(p, &stated) || !check_type(p, id, &stated, type_loc)) return false;
  if (op == OP_linear) p->linear = id;
  return true;
}

/* ---- parts ---- */

/* "lo:hi". */
static bool parse_range(parser *p, ir_range *out) {
  return lex_u32(&p->l, "an index", &out->lo) && lex_expect(&p->l, ':') &&
         lex_u32(&p->l, "an index", &out->hi);
}

static bool parse_rows(parser *p, ir_part *part) {
  do {
    ir_range range;
    uint32_t n = part->row_ranges;
    if (!parse_range(p, &range)) return false;
    part->rows = array_room(p->g->arena, part->rows, n, sizeof *part->rows, _Alignof(ir_range));
    part->rows[n] = range;
    part->row_ranges = n + 1;
  } while (lex_accept(&p->l, ','));
  return true;
}

/* "pattern=4x1 kernel=block". */
static bool parse_form(parser *p, ir_part *part) {
  if (!lex_key(&p->l, "pattern")) return false;
  src_loc loc = lex_loc(&p->l);
  const char *text = lex_pattern(&p->l);
  if (!text) return false;
  if (!pattern_parse(text, &part->pattern))
    return lex_fail_at(&p->l, loc, E_PATTERN, "'%s' is no sparsity pattern", text);
  if (!lex_key(&p->l, "kernel")) return false;
  loc = lex_loc(&p->l);
  text = lex_word(&p->l, "a kernel");
  if (!text) return false;
  part->kernel = ir_kernel_find(text);
  if (part->kernel < KERNEL_COUNT) return true;
  return lex_fail_at(&p->l, loc, E_IR, "unknown kernel '%s'", text);
}

static bool parse_number(parser *p, const char *key, uint32_t *out) {
  return lex_key(&p->l, key) && lex_u32(&p->l, "a number", out);
}

static bool parse_part(parser *p) {
  src_loc loc = lex_loc(&p->l);
  if (p->linear == IR_NONE) return lex_fail_at(&p->l, loc, E_IR, "a part has to follow its linear");
  ir_value *v = ir_at(p->g, p->linear);
  if (v->part_count == IR_MAX_PARTS)
    return lex_fail_at(&p->l, loc, E_LIMIT, "more than %d parts", IR_MAX_PARTS);
  ir_part part = {0};
  ir_range cols;
  if (!lex_key(&p->l, "rows") || !parse_rows(p, &part) || !lex_key(&p->l, "cols") ||
      !parse_range(p, &cols) || !parse_form(p, &part) || !parse_number(p, "fill", &part.fill) ||
      !parse_number(p, "r", &part.r) || !parse_number(p, "c", &part.c) ||
      !parse_number(p, "k_block", &part.k_block))
    return false;
  part.col_lo = cols.lo;
  part.col_hi = cols.hi;
  v->parts = array_room(p->g->arena, v->parts, v->part_count, sizeof part, _Alignof(ir_part));
  v->parts[v->part_count++] = part;
  return true;
}

/* ---- outputs and the plan ---- */

static bool parse_output(parser *p) {
  src_loc loc = lex_loc(&p->l);
  ir_id id;
  const char *name = lex_name(&p->l, "a name");
  if (!name || !lex_expect(&p->l, '=') || !reference(p, false, &id)) return false;
  if (p->g->output_count == IR_MAX_VALUES)
    return lex_fail_at(&p->l, loc, E_LIMIT, "more than %d outputs", IR_MAX_VALUES);
  ir_add_output(p->g, name, id);
  return true;
}

/* "name*bytes + " */
static bool parse_term(parser *p, const char *name, uint64_t *out) {
  int64_t n;
  if (!lex_keyword(&p->l, name) || !lex_expect(&p->l, '*') ||
      !lex_int(&p->l, "a number of bytes", 0, INT64_MAX, &n))
    return false;
  *out = (uint64_t)n;
  return lex_expect(&p->l, '+');
}

static bool parse_slot(parser *p) {
  src_loc loc = lex_loc(&p->l);
  ir_graph *g = p->g;
  uint32_t index, n = g->slot_count;
  int64_t constant;
  ir_bytes size;
  if (!lex_u32(&p->l, "a slot", &index)) return false;
  if (index != n) return lex_fail_at(&p->l, loc, E_IR, "expected slot %u, found slot %u", n, index);
  if (n == IR_MAX_VALUES)
    return lex_fail_at(&p->l, loc, E_LIMIT, "more than %d slots", IR_MAX_VALUES);
  if (!lex_expect(&p->l, '=') || !parse_term(p, "n_tile", &size.per_n_tile) ||
      !parse_term(p, "b_tile", &size.per_b_tile) ||
      !lex_int(&p->l, "a number of bytes", 0, INT64_MAX, &constant))
    return false;
  size.constant = (uint64_t)constant;
  g->slots = array_room(g->arena, g->slots, n, sizeof *g->slots, _Alignof(ir_bytes));
  g->slots[n] = size;
  g->slot_count = n + 1;
  return true;
}

static bool parse_assign(parser *p) {
  src_loc loc = lex_loc(&p->l);
  ir_id id;
  if (!reference(p, false, &id)) return false;
  uint32_t *slot = &ir_at(p->g, id)->slot;
  if (*slot != IR_NO_SLOT) return lex_fail_at(&p->l, loc, E_IR, "this value has its slot already");
  return lex_expect(&p->l, '=') && lex_u32(&p->l, "a slot", slot);
}

/* ---- the whole text ---- */

static bool parse_end(parser *p) {
  p->ended = true;
  return true;
}

/* What a line other than an op begins with. */
static const struct statement {
  const char *keyword;
  bool (*parse)(parser *p);
} statements[] = {
    {"input", parse_input},   {"const", parse_const}, {"part", parse_part},
    {"output", parse_output}, {"slot", parse_slot},   {"assign", parse_assign},
    {"end", parse_end},
};

static bool parse_line(parser *p) {
  if (p->ended) return lex_fail(&p->l, E_IR, "text after the end");
  if (lex_ahead(&p->l, '%')) {
    p->linear = IR_NONE;
    return parse_op(p) && lex_finish(&p->l);
  }
  src_loc loc = lex_loc(&p->l);
  const char *word = lex_word(&p->l, "a statement or %name = …");
  if (!word) return false;
  for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
    if (strcmp(statements[i].keyword, word) != 0) continue;
    if (statements[i].parse != parse_part) p->linear = IR_NONE;
    return statements[i].parse(p) && lex_finish(&p->l);
  }
  return lex_fail_at(&p->l, loc, E_IR, "unknown statement '%s'", word);
}

static bool parse_version(lex *l) {
  int64_t version = 0;
  bool line = lex_line(l);
  if (l->failed) return false;
  src_loc loc = lex_loc(l);
  if (!line || !lex_take(l, "spcc-ir"))
    return lex_fail_at(l, loc, E_IR_VERSION, "the text has to begin with 'spcc-ir %d'",
                       IR_TEXT_VERSION);
  loc = lex_loc(l);
  if (!lex_int(l, "a version", 0, INT64_MAX, &version)) return false;
  if (version != IR_TEXT_VERSION)
    return lex_fail_at(l, loc, E_IR_VERSION, "version %" PRId64 "; this spcc reads version %d",
                       version, IR_TEXT_VERSION);
  return lex_finish(l);
}

/* "model name max_batch=8 max_sequence=512". */
static ir_graph *parse_model(lex *l) {
  int64_t batch, sequence;
  if (!lex_line(l)) {
    if (!l->failed) lex_fail(l, E_IR, "the text ends before its model line");
    return NULL;
  }
  const char *name = lex_keyword(l, "model") ? lex_name(l, "a name") : NULL;
  if (!name || !lex_key(l, "max_batch") || !lex_int(l, "max_batch", 1, IR_MAX_DIM, &batch) ||
      !lex_key(l, "max_sequence") || !lex_int(l, "max_sequence", 1, IR_MAX_DIM, &sequence) ||
      !lex_finish(l))
    return NULL;
  ir_graph *g = ir_graph_new(l->arena, name);
  g->max_batch = batch;
  g->max_sequence = sequence;
  return g;
}

ir_graph *ir_parse(arena *a, diag *d, const char *file, const char *text, size_t size,
                   ir_resolve *resolve, void *context) {
  parser p = {.linear = IR_NONE, .resolve = resolve, .context = context};
  if (size > IR_MAX_TEXT) {
    diag_error(d, loc_file(file), E_LIMIT, "IR text of over %d bytes", IR_MAX_TEXT);
    return NULL;
  }
  lex_start(&p.l, a, d, arena_strdup(a, file), text, size);
  if (!parse_version(&p.l)) return NULL;
  p.g = parse_model(&p.l);
  if (!p.g) return NULL;
  p.values = names_new(a);
  p.constants = names_new(a);
  while (lex_line(&p.l))
    if (!parse_line(&p)) return NULL;
  if (!p.l.failed && !p.ended) lex_fail(&p.l, E_IR, "the text ends before its line 'end'");
  return p.l.failed ? NULL : p.g;
}
