/* Element-wise ops that no linear took in: gelu, relu, tanh, add, mul. */
#include "codegen/cg.h"

/* The second operand of add and mul: rows like the first, or one value per channel. */
typedef struct second {
  V rows, constant;
} second;

V pointwise_value(bld *b, const ir_value *v, V x, V y) {
  switch (v->op) {
  case OP_gelu:
    return v->attr[A_form].i == FORM_TANH ? m_gelu_tanh(b, x) : m_gelu(b, x);
  case OP_relu:
    return m_act(b, ACT_RELU, x);
  case OP_tanh:
    return m_tanh(b, x);
  case OP_add:
    return vadd(b, x, y);
  default:
    return vmul(b, x, y);
  }
}

static void pointwise_body(cg *c, const ir_value *v, uint64_t constant_at) {
  bld *b = &c->b;
  uint32_t channels = cg_channels(v);
  V frame = b_arg(b, 0);
  const ir_value *y = ir_in(c->g, v, 1);
  bool constant = y && y->kind == IR_CONST;
  V x_base = cg_slot(c, frame, ir_in(c->g, v, 0)), out_base = cg_slot(c, frame, v);
  second s = {.rows = y && !constant ? cg_slot(c, frame, y) : NULL,
              .constant = constant ? cg_weights(c, frame, constant_at) : NULL};
  loop quarter = b_loop(b, b_arg(b, 1), b_arg(b, 2), 1, NULL, 0);
  V x_quarter = quarter_at(c, x_base, quarter.i, channels);
  V out_quarter = quarter_at(c, out_base, quarter.i, channels);
  V y_quarter = s.rows ? quarter_at(c, s.rows, quarter.i, channels) : NULL;
  loop channel = b_loop(b, k64(b, 0), k64(b, channels), 1, NULL, 0);
  V at = b_muli(b, channel.i, TILE_BYTES), xc = b_at(b, x_quarter, at);
  V out = b_at(b, out_quarter, at), yc = s.rows ? b_at(b, y_quarter, at) : NULL;
  V splat = s.constant ? vsplat_at(b, b_at(b, s.constant, b_muli(b, channel.i, 4)), 0) : NULL;
  for (uint32_t off = 0; off < QUARTER_BYTES; off += b->isa->lanes * 4) {
    V second_value = s.rows ? vload(b, yc, off) : splat;
    V value = pointwise_value(b, v, vload(b, xc, off), second_value);
    vstore(b, value, out, off);
  }
  b_loop_end(b, &channel, NULL);
  b_loop_end(b, &quarter, NULL);
  b_return(b, NULL);
}

bool emit_pointwise(cg *c, const ir_value *v) {
  const ir_value *y = ir_in(c->g, v, 1);
  uint64_t constant_at = y && y->kind == IR_CONST ? cg_constant(c, y) : 0;
  phase *p = cg_phase(c, v->name, ITEMS_QUARTERS, cg_per_batch(v), 1);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    b_set_isa(&c->b, &isa_table[c->o->levels[i]]);
    cg_phase_begin(c, p);
    pointwise_body(c, v, constant_at);
  }
  return true;
}
