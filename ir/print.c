/* The graph as text; see docs/ir.md for the grammar. */
#include <inttypes.h>
#include <string.h>

#include "ir/hexfloat.h"
#include "ir/ir.h"
#include "ir/lex.h"
#include "support/builder.h"

static void put_quoted(builder *o, const char *name) {
  put(o, "\"");
  for (; *name; name++) {
    unsigned char c = (unsigned char)*name;
    if (c == '"' || c == '\\')
      putf(o, "\\%c", c);
    else if (c >= 0x20 && c < 0x7f)
      put_bytes(o, name, 1);
    else
      putf(o, "\\x%02x", c);
  }
  put(o, "\"");
}

static void put_name(builder *o, const char *name) {
  if (*name && name[strspn(name, LEX_WORD)] == 0)
    put(o, name);
  else
    put_quoted(o, name);
}

static void put_type(builder *o, const ir_type *t) {
  put(o, ir_type_print(o->arena, t));
}

static void put_float(builder *o, double x) {
  char text[HEXFLOAT_MAX];
  put(o, hexfloat_print(x, text));
}

static void put_input(builder *o, const ir_value *v) {
  put(o, "input %");
  put_name(o, v->name);
  put(o, " : ");
  put_type(o, &v->type);
  if (v->optional) putf(o, " optional=%" PRId32, v->absent);
}

static void put_const(builder *o, const ir_value *v) {
  ir_tensor *t = v->tensor;
  put(o, "const @");
  put_name(o, v->name);
  put(o, " : ");
  put_type(o, &v->type);
  if (t->count > IR_MAX_INLINE) {
    if (!t->hashed) t->hash = sha256_of(t->data, t->count * sizeof *t->data);
    t->hashed = true;
    put(o, " sha256:");
    put(o, sha256_hex(o->arena, &t->hash));
    return;
  }
  for (size_t i = 0; i < t->count; i++) {
    put(o, i ? ", " : " = ");
    put_float(o, (double)t->data[i]);
  }
}

static void put_ref(builder *o, const ir_graph *g, ir_id id) {
  if (id == IR_NONE) {
    put(o, "_");
  } else if (id >= g->count) {
    put(o, "%?"); /* only in graphs that the verifier refuses */
  } else {
    put(o, g->values[id].kind == IR_CONST ? "@" : "%");
    put_name(o, g->values[id].name);
  }
}

static bool is_default(const ir_value *v, enum ir_attr a) {
  if (ir_attrs[a].kind != ATTR_FLOAT) return v->attr[a].i == (int64_t)ir_attrs[a].init;
  return memcmp(&v->attr[a].f, &ir_attrs[a].init, sizeof v->attr[a].f) == 0;
}

static void put_attr(builder *o, enum ir_attr a, ir_attr_value value) {
  put(o, ir_attrs[a].name);
  put(o, "=");
  const char *spelling = ir_enum_name(ir_attrs[a].kind, value.i);
  if (ir_attrs[a].kind == ATTR_FLOAT)
    put_float(o, value.f);
  else if (spelling)
    put(o, spelling);
  else
    putf(o, "%" PRId64, value.i);
}

static void put_attrs(builder *o, const ir_value *v) {
  const char *separator = " {";
  for (enum ir_attr a = 0; a < ATTR_COUNT; a++) {
    if (is_default(v, a)) continue;
    put(o, separator);
    put_attr(o, a, v->attr[a]);
    separator = ", ";
  }
  if (*separator == ',') put(o, "}");
}

static void put_part(builder *o, const ir_part *p) {
  char text[PATTERN_TEXT_MAX];
  put(o, "\n  part rows=");
  for (uint32_t i = 0; i < p->row_ranges; i++)
    putf(o, "%s%u:%u", i ? "," : "", p->rows[i].lo, p->rows[i].hi);
  putf(o, " cols=%u:%u pattern=%s kernel=%s fill=%u r=%u c=%u k_block=%u", p->col_lo, p->col_hi,
       pattern_print(&p->pattern, text),
       p->kernel < KERNEL_COUNT ? ir_kernel_names[p->kernel] : "?", p->fill, p->r, p->c,
       p->k_block);
}

static void put_op(builder *o, const ir_graph *g, const ir_value *v) {
  put(o, "%");
  put_name(o, v->name);
  putf(o, " = %s", v->op < OP_COUNT ? ir_ops[v->op].name : "?");
  for (uint32_t i = 0; i < v->nin && i < IR_MAX_IN; i++) {
    put(o, i ? ", " : " ");
    put_ref(o, g, v->in[i]);
  }
  put_attrs(o, v);
  put(o, " : ");
  put_type(o, &v->type);
  for (uint32_t i = 0; i < v->part_count; i++)
    put_part(o, &v->parts[i]);
}

static void put_value(builder *o, const ir_graph *g, const ir_value *v) {
  switch (v->kind) {
  case IR_INPUT:
    put_input(o, v);
    break;
  case IR_CONST:
    put_const(o, v);
    break;
  case IR_OP:
    put_op(o, g, v);
    break;
  }
  put(o, "\n");
}

static void put_plan(builder *o, const ir_graph *g) {
  for (uint32_t i = 0; i < g->slot_count; i++)
    putf(o, "slot %u = n_tile*%" PRIu64 " + b_tile*%" PRIu64 " + %" PRIu64 "\n", i,
         g->slots[i].per_n_tile, g->slots[i].per_b_tile, g->slots[i].constant);
  for (ir_id i = 0; i < g->count; i++) {
    if (g->values[i].slot == IR_NO_SLOT) continue;
    put(o, "assign ");
    put_ref(o, g, i);
    putf(o, " = %u\n", g->values[i].slot);
  }
}

char *ir_print(const ir_graph *g, arena *a) {
  builder o = {.arena = a};
  putf(&o, "spcc-ir %d\nmodel ", IR_TEXT_VERSION);
  put_name(&o, g->name);
  putf(&o, " max_batch=%" PRId64 " max_sequence=%" PRId64 "\n", g->max_batch, g->max_sequence);
  for (ir_id i = 0; i < g->count; i++)
    put_value(&o, g, &g->values[i]);
  for (uint32_t i = 0; i < g->output_count; i++) {
    put(&o, "output ");
    put_name(&o, g->outputs[i].name);
    put(&o, " = ");
    put_ref(&o, g, g->outputs[i].value);
    put(&o, "\n");
  }
  put_plan(&o, g);
  put(&o, "end\n");
  return o.text;
}
