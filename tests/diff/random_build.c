/* Building blocks of random graphs. */
#include "tests/diff/random_build.h"

int64_t build_pick(builder *b, const int64_t *from, uint32_t n) {
  return from[rng_below(&b->r, n)];
}

int64_t build_width(builder *b) {
  return BUILD_PICK(b, 1, 2, 3, 4, 5, 7, 13, 16, 17, 31, 33, 63, 64, 65, 96, 127, 128, 130);
}

void build_note(builder *b, const char *format, ...) {
  va_list args;
  va_start(args, format);
  const char *words = arena_vprintf(b->a, format, args);
  va_end(args);
  b->text = arena_printf(b->a, "%s %s", b->text, words);
}

static const char *fresh(builder *b, const char *base) {
  return arena_printf(b->a, "%s%u", base, b->serial++);
}

ir_id build_op(builder *b, enum ir_op op, uint32_t nin, const ir_id *in) {
  return ir_add_op(b->g, fresh(b, ir_ops[op].name), op, in, nin);
}

ir_id build_masked(builder *b, enum ir_op op, uint32_t nin, const ir_id *in) {
  ir_id all[IR_MAX_IN];
  for (uint32_t i = 0; i < nin; i++)
    all[i] = in[i];
  if (b->mask != IR_NONE) all[nin++] = b->mask;
  return build_op(b, op, nin, all);
}

int64_t build_cols(const builder *b, ir_id x) {
  return ir_at(b->g, x)->type.dim[1];
}

ir_id build_input(builder *b, const char *name, ir_type type) {
  return ir_add_input(b->g, name, type);
}

void build_mask(builder *b) {
  b->mask = build_input(b, RANDOM_MASK, ir_type_make(IR_I32, 2, (const int64_t[]){DIM_B, DIM_S}));
  ir_at(b->g, b->mask)->optional = true;
  ir_at(b->g, b->mask)->absent = 1;
}

static const float *random_floats(builder *b, size_t count, float centre, float spread) {
  float *data = arena_array(b->a, float, count);
  for (size_t i = 0; i < count; i++)
    data[i] = centre + spread * rng_normal(&b->r);
  return data;
}

ir_id build_table(builder *b, int64_t rows, int64_t cols) {
  const float *data = random_floats(b, (size_t)(rows * cols), 0, 1);
  return ir_add_const(b->g, fresh(b, "table"), ir_type2(rows, cols), data);
}

ir_id build_row(builder *b, int64_t cols, float centre, float spread) {
  const float *data = random_floats(b, (size_t)cols, centre, spread);
  return ir_add_const(b->g, fresh(b, "row"), ir_type1(cols), data);
}

ir_id build_linear(builder *b, ir_id x, int64_t m) {
  int64_t k = build_cols(b, x);
  const char *format;
  const float *data = random_weight(&b->r, b->a, (size_t)m, (size_t)k, &format);
  build_note(b, "linear %lldx%lld %s", (long long)m, (long long)k, format);
  ir_id w = ir_add_const(b->g, fresh(b, "w"), ir_type2(m, k), data);
  if (rng_chance(&b->r, 15)) return build_op(b, OP_linear, 2, (const ir_id[]){x, w});
  ir_id bias = build_row(b, m, 0, 0.3F);
  return build_op(b, OP_linear, 3, (const ir_id[]){x, w, bias});
}

/* Rows of few channels can be nearly constant, which no arithmetic normalises well: they get a
 * large eps. */
ir_id build_layernorm(builder *b, ir_id x) {
  static const double eps[] = {1e-12, 1e-6, 1e-5};
  int64_t cols = build_cols(b, x);
  ir_id gamma = build_row(b, cols, 1, 0.2F), beta = build_row(b, cols, 0, 0.2F);
  ir_id n = build_op(b, OP_layernorm, 3, (const ir_id[]){x, gamma, beta});
  ir_at(b->g, n)->attr[A_eps].f = cols < 8 ? 0.1 : eps[rng_below(&b->r, 3)];
  return n;
}

ir_id build_activation(builder *b, ir_id x) {
  static const enum ir_op ops[] = {OP_gelu, OP_gelu, OP_relu, OP_tanh};
  uint32_t i = rng_below(&b->r, 4);
  ir_id y = build_op(b, ops[i], 1, &x);
  if (i == 0) ir_at(b->g, y)->attr[A_form].i = FORM_TANH;
  return y;
}

void build_output(builder *b, const char *name, ir_id x) {
  bool tokens = ir_at(b->g, x)->type.dim[0] == DIM_N;
  ir_id y = tokens ? build_masked(b, OP_unpack, 1, &x) : build_op(b, OP_unpack, 1, &x);
  ir_add_output(b->g, name, y);
}
