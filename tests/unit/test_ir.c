/* Tables, patterns, types, building, inference and changes of graphs; docs/ir.md against the
 * tables. */
#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include "ir/ir.h"

/* ---- tables ---- */

/* Words of a column that holds names separated by blanks. */
static uint32_t words(const char *list) {
  uint32_t n = 0;
  for (const char *s = list + strspn(list, " "); *s; s += strspn(s, " ")) {
    s += strcspn(s, " ");
    n++;
  }
  return n;
}

START_TEST(ops_name_every_operand) {
  for (enum ir_op op = 0; op < OP_COUNT; op++) {
    uint32_t required = 0;
    ck_assert_uint_eq(words(ir_ops[op].operands), ir_ops[op].in_max);
    for (uint32_t i = 0; i < ir_ops[op].in_max; i++)
      if (!ir_operand(op, i).optional) required = i + 1;
    ck_assert_uint_eq(ir_ops[op].in_min, required);
    ck_assert_uint_le(ir_ops[op].in_min, ir_ops[op].in_max);
    ck_assert_int_eq(ir_op_find(ir_ops[op].name), op);
  }
  ck_assert_int_eq(ir_op_find("conv"), OP_COUNT);
  ck_assert_int_eq(ir_op_find(""), OP_COUNT);
}
END_TEST

START_TEST(operands_have_roles) {
  ir_operand_info w = ir_operand(OP_linear, 1), residual = ir_operand(OP_linear, 3);
  ir_operand_info beta = ir_operand(OP_embed, 6), mask = ir_operand(OP_attention, 3);
  ck_assert_str_eq(w.name, "w");
  ck_assert(w.constant && !w.optional && !w.mask);
  ck_assert_str_eq(residual.name, "residual");
  ck_assert(!residual.constant && residual.optional && !residual.mask);
  ck_assert_str_eq(beta.name, "beta");
  ck_assert(beta.constant && beta.optional && !beta.mask);
  ck_assert_str_eq(mask.name, "mask");
  ck_assert(!mask.constant && mask.optional && mask.mask);
}
END_TEST

START_TEST(attributes_of_ops_exist) {
  for (enum ir_op op = 0; op < OP_COUNT; op++) {
    uint32_t n = 0;
    for (enum ir_attr a = 0; a < ATTR_COUNT; a++)
      n += ir_op_has_attr(op, a);
    ck_assert_uint_eq(n, words(ir_ops[op].attrs));
  }
  for (enum ir_attr a = 0; a < ATTR_COUNT; a++)
    ck_assert_int_eq(ir_attr_find(ir_attrs[a].name), a);
  ck_assert(ir_op_has_attr(OP_gelu, A_form));
  ck_assert(!ir_op_has_attr(OP_gelu, A_act));
  ck_assert(!ir_op_has_attr(OP_scores, A_v_at));
  ck_assert_int_eq(ir_attr_find("head"), ATTR_COUNT);
}
END_TEST

START_TEST(enumerations_are_spelled) {
  int64_t value = 0;
  ck_assert_str_eq(ir_enum_name(ATTR_ACT, ACT_NONE), "none");
  ck_assert_str_eq(ir_enum_name(ATTR_ACT, ACT_GELU), "gelu");
  ck_assert_str_eq(ir_enum_name(ATTR_ACT, ACT_GELU_TANH), "gelu_tanh");
  ck_assert_str_eq(ir_enum_name(ATTR_ACT, ACT_RELU), "relu");
  ck_assert_str_eq(ir_enum_name(ATTR_ACT, ACT_TANH), "tanh");
  ck_assert_str_eq(ir_enum_name(ATTR_FORM, FORM_ERF), "erf");
  ck_assert_str_eq(ir_enum_name(ATTR_FORM, FORM_TANH), "tanh");
  ck_assert_str_eq(ir_enum_name(ATTR_BOOL, 1), "true");
  ck_assert_str_eq(ir_enum_name(ATTR_POSITION, 0), "none");
  ck_assert_ptr_null(ir_enum_name(ATTR_ACT, 5));
  ck_assert_ptr_null(ir_enum_name(ATTR_ACT, -1));
  ck_assert_ptr_null(ir_enum_name(ATTR_INT, 0));
  ck_assert(ir_enum_find(ATTR_FORM, "tanh", &value) && value == FORM_TANH);
  ck_assert(!ir_enum_find(ATTR_FORM, "gelu", &value) && value == FORM_TANH);
  ck_assert(!ir_enum_find(ATTR_FLOAT, "0", &value));
}
END_TEST

/* ---- patterns ---- */

START_TEST(patterns_have_one_spelling) {
  static const char *const good[] = {"dense",   "unstructured", "4x1", "1x16",    "16x16",
                                     "256x256", "2:4",          "1:1", "256:256", "2:4x16"};
  static const char *const bad[] = {
      "",      "Dense", "4",     "4x",   "x4",    "0x4",   "4x0",  "04x1",    "4x01",
      "257x1", "1x257", "4x1 ",  " 4x1", "4x1x1", "2:",    ":4",   "3:2",     "0:4",
      "2:257", "2:4x",  "2:4x0", "+4x1", "4X1",   "2:4x1", "-1x4", "2:4x257", "99999999999x1"};
  char text[PATTERN_TEXT_MAX];
  pattern p;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    ck_assert_msg(pattern_parse(good[i], &p), "%s", good[i]);
    ck_assert_str_eq(pattern_print(&p, text), good[i]);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ck_assert_msg(!pattern_parse(bad[i], &p), "%s", bad[i]);
}
END_TEST

START_TEST(patterns_compare_by_what_they_use) {
  pattern a = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1, .n = 7}, b = a, c;
  b.n = 9; /* no field of a block */
  ck_assert(pattern_equal(&a, &b));
  b.cols = 2;
  ck_assert(!pattern_equal(&a, &b));
  ck_assert(pattern_parse("2:4", &a) && pattern_parse("2:4x8", &c));
  ck_assert_uint_eq(a.rows, 1);
  ck_assert(!pattern_equal(&a, &c));
}
END_TEST

START_TEST(kernels_serve_their_patterns) {
  static const struct {
    enum ir_kernel kernel;
    const char *pattern;
    bool serves;
  } rows[] = {
      {K_dense, "dense", true},   {K_dense, "4x1", false},         {K_block, "4x1", true},
      {K_block, "4x2", false},    {K_block, "2:4x16", true},       {K_block, "2:4", false},
      {K_gather, "2:4", true},    {K_gather, "1x16", true},        {K_gather, "2:4x4", false},
      {K_gather, "dense", false}, {K_gather, "unstructured", true}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    pattern p;
    ck_assert(pattern_parse(rows[i].pattern, &p));
    ck_assert_msg(ir_kernel_serves(rows[i].kernel, &p) == rows[i].serves, "%s", rows[i].pattern);
  }
}
END_TEST

/* ---- types ---- */

START_TEST(types_have_one_spelling) {
  static const char *const good[] = {"f32[]",
                                     "f32[N,768]",
                                     "i32[B,S]",
                                     "f32[B,S,384]",
                                     "f32[0]",
                                     "f32[9223372036854775807]",
                                     "f32[1,2,3,4,5,6,7,8]"};
  static const char *const bad[] = {"",
                                    "f32",
                                    "f32[",
                                    "f32[N",
                                    "f32[N,]",
                                    "f32[,N]",
                                    "f64[N]",
                                    "f32[N]x",
                                    "f32[-1]",
                                    "f32[01]",
                                    "f32[ 1]",
                                    "f32[K]",
                                    "f32[1 ]",
                                    "F32[1]",
                                    "f32[BS]",
                                    "f32[1,2,3,4,5,6,7,8,9]",
                                    "f32[9223372036854775808]"};
  ir_type t;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    ck_assert_msg(ir_type_parse(good[i], &t), "%s", good[i]);
    ck_assert_str_eq(ir_type_print(mem, &t), good[i]);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ck_assert_msg(!ir_type_parse(bad[i], &t), "%s", bad[i]);
}
END_TEST

static ir_type type(const char *text) {
  ir_type t;
  ck_assert_msg(ir_type_parse(text, &t), "%s", text);
  return t;
}

START_TEST(types_compare) {
  ir_type a = type("f32[N,4]"), b = type("f32[N,4]"), c = type("f32[N,4,1]"), i = type("i32[N,4]");
  ck_assert(ir_type_equal(&a, &b));
  b.dim[5] = 9; /* behind the rank */
  ck_assert(ir_type_equal(&a, &b));
  ck_assert(!ir_type_equal(&a, &c));
  ck_assert(!ir_type_equal(&a, &i));
  ir_type made = ir_type_make(IR_F32, 2, (int64_t[]){DIM_N, 4}), two = ir_type2(DIM_N, 4);
  ir_type one = ir_type1(4), row = type("f32[4]");
  ck_assert(ir_type_equal(&a, &made) && ir_type_equal(&a, &two) && ir_type_equal(&one, &row));
}
END_TEST

START_TEST(elements_are_counted_without_overflow) {
  static const struct {
    const char *type;
    size_t count; /* 0: none */
  } rows[] = {{"f32[]", 1},
              {"f32[3,4]", 12},
              {"f32[2147483647]", 2147483647},
              {"f32[2147483648]", 0},
              {"f32[0,4]", 0},
              {"f32[N,4]", 0},
              {"f32[1048576,1048576]", (size_t)1 << 40},
              {"f32[1048576,1048576,2]", 0},
              {"f32[4294967296,4294967296]", 0},
              {"f32[2147483647,2147483647,2147483647]", 0}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    ir_type t = type(rows[i].type);
    size_t n = 77;
    ck_assert_int_eq(ir_type_elements(&t, &n), rows[i].count != 0);
    ck_assert_uint_eq(n, rows[i].count ? rows[i].count : 77);
  }
}
END_TEST

/* ---- building ---- */

static ir_graph *g;
static const float data[4096];

static void setup(void) {
  scratch_setup();
  g = ir_graph_new(mem, "model");
}

static ir_id input(const char *name, const char *t) {
  return ir_add_input(g, name, type(t));
}

static ir_id constant(const char *name, const char *t) {
  return ir_add_const(g, name, type(t), data);
}

/* An op with any type of operands: of inputs, which the verifier would not let pass. */
static ir_id op(enum ir_op o, ir_id a, ir_id b, ir_id c, ir_id e) {
  ir_id in[] = {a, b, c, e};
  return ir_add_op(g, "y", o, in, 4);
}

static const char *type_text(ir_id id) {
  return ir_type_print(mem, &ir_at(g, id)->type);
}

START_TEST(a_new_graph_is_empty) {
  ck_assert_str_eq(g->name, "model");
  ck_assert_int_eq(g->max_batch, 1);
  ck_assert_int_eq(g->max_sequence, 512);
  ck_assert_uint_eq(g->count + g->output_count + g->slot_count, 0);
}
END_TEST

START_TEST(values_are_added_with_their_defaults) {
  char name[] = "x";
  ir_id x = input(name, "f32[N,4]"), w = constant("w", "f32[6,4]");
  name[0] = '?'; /* names are copied */
  ir_id y = op(OP_linear, x, w, IR_NONE, IR_NONE);
  const ir_value *v = ir_at(g, y);
  ck_assert_str_eq(ir_at(g, x)->name, "x");
  ck_assert_uint_eq(v->nin, 2); /* trailing absent operands are not counted */
  ck_assert_uint_eq(v->in[2], IR_NONE);
  ck_assert_str_eq(type_text(y), "f32[N,6]");
  ck_assert_int_eq(v->attr[A_act].i, ACT_NONE);
  ck_assert_double_eq(v->attr[A_eps].f, 1e-12);
  ck_assert_int_eq(v->attr[A_heads].i, 1);
  ck_assert_uint_eq(v->slot, IR_NO_SLOT);
  ck_assert_uint_eq(ir_at(g, w)->tensor->count, 24);
  ck_assert_ptr_eq(ir_at(g, w)->tensor->data, data);
  ck_assert_ptr_eq(ir_in(g, v, 1), ir_at(g, w));
  ck_assert_ptr_null(ir_in(g, v, 2));
  ck_assert(ir_is_op(v, OP_linear) && !ir_is_op(v, OP_add) && !ir_is_op(ir_at(g, x), OP_pack));
  ck_assert(!ir_is_op(NULL, OP_add));
}
END_TEST

START_TEST(fresh_names_are_new_among_their_kind) {
  input("x", "i32[B,S]");
  constant("w", "f32[1]");
  ck_assert_str_eq(ir_fresh_name(g, "w", false), "w");
  ck_assert_str_eq(ir_fresh_name(g, "x", true), "x");
  ck_assert_str_eq(ir_fresh_name(g, "x", false), "x.1");
  input("x.1", "i32[B,S]");
  ck_assert_str_eq(ir_fresh_name(g, "x", false), "x.2");
  ck_assert_str_eq(ir_fresh_name(g, "w", true), "w.1");
}
END_TEST

/* ---- inference ---- */

START_TEST(pack_and_unpack_change_layouts) {
  ir_id ids = input("i", "i32[B,S]"), x = input("x", "f32[B,S,5]"), r = input("r", "f32[B,5]");
  ir_id n = input("n", "f32[N,5]");
  ck_assert_str_eq(type_text(op(OP_pack, ids, ids, IR_NONE, IR_NONE)), "i32[N]");
  ck_assert_str_eq(type_text(op(OP_pack, x, ids, IR_NONE, IR_NONE)), "f32[N,5]");
  ck_assert_str_eq(type_text(op(OP_pack, r, IR_NONE, IR_NONE, IR_NONE)), "f32[B,5]");
  ck_assert_str_eq(type_text(op(OP_unpack, n, ids, IR_NONE, IR_NONE)), "f32[B,S,5]");
  ck_assert_str_eq(type_text(op(OP_unpack, r, ids, IR_NONE, IR_NONE)), "f32[B,5]");
  ck_assert_str_eq(type_text(op(OP_first, n, ids, IR_NONE, IR_NONE)), "f32[B,5]");
  ck_assert_str_eq(type_text(op(OP_positions, ids, IR_NONE, IR_NONE, IR_NONE)), "i32[N]");
  ck_assert_str_eq(type_text(op(OP_positions, IR_NONE, IR_NONE, IR_NONE, IR_NONE)), "i32[N]");
}
END_TEST

START_TEST(pointwise_ops_keep_the_type) {
  ir_id n = input("n", "f32[N,5]"), r = input("r", "f32[B,5]"), c = constant("c", "f32[5]");
  ck_assert_str_eq(type_text(op(OP_add, n, n, IR_NONE, IR_NONE)), "f32[N,5]");
  ck_assert_str_eq(type_text(op(OP_mul, r, c, IR_NONE, IR_NONE)), "f32[B,5]");
  ck_assert_str_eq(type_text(op(OP_gelu, r, IR_NONE, IR_NONE, IR_NONE)), "f32[B,5]");
  ck_assert_str_eq(type_text(op(OP_relu, n, IR_NONE, IR_NONE, IR_NONE)), "f32[N,5]");
  ck_assert_str_eq(type_text(op(OP_tanh, n, IR_NONE, IR_NONE, IR_NONE)), "f32[N,5]");
  ck_assert_str_eq(type_text(op(OP_layernorm, n, c, c, IR_NONE)), "f32[N,5]");
}
END_TEST

START_TEST(tables_give_rows) {
  ir_id ids = input("i", "i32[N]"), table = constant("t", "f32[7,5]"), c = constant("c", "f32[5]");
  ck_assert_str_eq(type_text(op(OP_gather, table, ids, IR_NONE, IR_NONE)), "f32[N,5]");
  ir_id all[] = {ids, ids, table, table, table, c, c};
  ck_assert_str_eq(type_text(ir_add_op(g, "e", OP_embed, all, 7)), "f32[N,5]");
  ir_id few[] = {ids, IR_NONE, table, IR_NONE, table, IR_NONE, IR_NONE};
  ck_assert_str_eq(type_text(ir_add_op(g, "f", OP_embed, few, 7)), "f32[N,5]");
}
END_TEST

START_TEST(attention_counts_heads) {
  ir_id q = input("q", "f32[N,24]"), k = input("k", "f32[N,12]");
  ir_id s = op(OP_scores, q, k, IR_NONE, IR_NONE);
  ir_at(g, s)->attr[A_heads].i = 4;
  ir_at(g, s)->attr[A_kv_heads].i = 2;
  ck_assert(ir_infer(g, s, d));
  ck_assert_str_eq(type_text(s), "f32[N,4,S]");
  ir_id p = op(OP_softmax, s, IR_NONE, IR_NONE, IR_NONE);
  ck_assert_str_eq(type_text(p), "f32[N,4,S]");
  ir_id c = op(OP_context, p, k, IR_NONE, IR_NONE);
  ir_at(g, c)->attr[A_heads].i = 4;
  ir_at(g, c)->attr[A_kv_heads].i = 2;
  ck_assert(ir_infer(g, c, d));
  ck_assert_str_eq(type_text(c), "f32[N,24]");
  ir_heads h = ir_heads_of(g, ir_at(g, c));
  ck_assert(h.heads == 4 && h.kv_heads == 2 && h.size == 6);
  ir_id a = op(OP_attention, q, q, q, IR_NONE);
  ir_at(g, a)->attr[A_heads].i = 2;
  ir_at(g, a)->attr[A_head_size].i = 4;
  ir_at(g, a)->attr[A_k_at].i = 8;
  ir_at(g, a)->attr[A_v_at].i = 16;
  ck_assert(ir_infer(g, a, d));
  ck_assert_str_eq(type_text(a), "f32[N,8]");
  expect_messages("");
}
END_TEST

/* Infers an op that must not fit; its messages must be `text`. */
static void misfit(ir_id id, const char *text) {
  ck_assert(!ir_infer(g, id, NULL));
  ck_assert(!ir_infer(g, id, d));
  expect_messages(text);
}

START_TEST(misfits_say_what_is_expected) {
  ir_id n = input("n", "f32[N,5]"), r = input("r", "f32[B,5]"), i = input("i", "i32[N]");
  ir_id w = constant("w", "f32[6,4]"), c = constant("c", "f32[6]"), v = constant("v", "f32[6,5]");
  misfit(op(OP_linear, n, w, IR_NONE, IR_NONE),
         "spcc: error: linear 'y': operand w is f32[6,4], expected f32[M,5] [E_SHAPE]");
  misfit(op(OP_linear, i, w, IR_NONE, IR_NONE),
         "spcc: error: linear 'y': operand x is i32[N], expected f32[D,K] [E_DTYPE]");
  misfit(op(OP_linear, n, v, n, IR_NONE),
         "spcc: error: linear 'y': operand bias is f32[N,5], expected f32[6] [E_SHAPE]");
  misfit(op(OP_linear, n, v, c, n),
         "spcc: error: linear 'y': operand residual is f32[N,5], expected f32[N,6] [E_SHAPE]");
  misfit(op(OP_add, n, r, IR_NONE, IR_NONE),
         "spcc: error: add 'y': operand b is f32[B,5], expected f32[N,5] or f32[5] [E_SHAPE]");
  misfit(op(OP_pack, n, IR_NONE, IR_NONE, IR_NONE),
         "spcc: error: pack 'y': operand x is f32[N,5], expected i32[B,S] or f32[B,S,C] or "
         "f32[B,C] [E_SHAPE]");
  misfit(op(OP_pack, c, IR_NONE, IR_NONE, IR_NONE),
         "spcc: error: pack 'y': operand x is f32[6], expected i32[B,S] or f32[B,S,C] or "
         "f32[B,C] [E_SHAPE]");
  misfit(op(OP_unpack, i, IR_NONE, IR_NONE, IR_NONE),
         "spcc: error: unpack 'y': operand x is i32[N], expected f32[N,C] or f32[B,C] [E_DTYPE]");
  misfit(op(OP_unpack, n, i, IR_NONE, IR_NONE),
         "spcc: error: unpack 'y': operand mask is i32[N], expected i32[B,S] [E_SHAPE]");
}
END_TEST

START_TEST(rules_beyond_types_are_checked) {
  ir_id n = input("n", "f32[N,5]"), i = input("i", "i32[N]"), v = constant("v", "f32[6,5]");
  ir_id c = constant("c", "f32[5]"), six = constant("six", "f32[6]");
  ir_id lonely[] = {n, v, IR_NONE, IR_NONE, six};
  misfit(ir_add_op(g, "y", OP_linear, lonely, 5),
         "spcc: error: linear 'y': gamma and beta have to come together [E_OP]");
  ir_id types[] = {i, i, v, IR_NONE, IR_NONE, c, c}, gamma[] = {i, IR_NONE, v, v, v, c, IR_NONE};
  misfit(ir_add_op(g, "y", OP_embed, types, 7),
         "spcc: error: embed 'y': types without a type table [E_OP]");
  misfit(ir_add_op(g, "y", OP_embed, gamma, 7),
         "spcc: error: embed 'y': gamma and beta have to come together [E_OP]");
  ir_id square = constant("square", "f32[5,5]");
  ir_id both = op(OP_linear, n, square, IR_NONE, n);
  ck_assert(ir_infer(g, both, d));
  ir_at(g, both)->attr[A_act].i = ACT_RELU;
  misfit(both, "spcc: error: linear 'y': act and a residual exclude each other: the residual is "
               "added after act [E_ATTR]");
}
END_TEST

START_TEST(operands_have_to_exist) {
  ir_id n = input("n", "f32[N,5]");
  misfit(op(OP_linear, n, IR_NONE, IR_NONE, IR_NONE),
         "spcc: error: linear 'y': operand w is missing (operands: x @w @bias? residual? @gamma? "
         "@beta?) [E_OP]");
  misfit(op(OP_relu, n, n, IR_NONE, IR_NONE),
         "spcc: error: relu 'y': 2 operands, but there are at most 1 (x) [E_OP]");
  misfit(op(OP_relu, 99, IR_NONE, IR_NONE, IR_NONE),
         "spcc: error: relu 'y': operand x is value 99, which does not exist [E_IR_SSA]");
  misfit(n, "spcc: error: input 'n': is no known op [E_OP]");
}
END_TEST

/* An attention over q, k and v of 12 channels, with heads, kv_heads, head_size and q_at. */
static ir_id attention(int64_t heads, int64_t kv, int64_t size, int64_t q_at) {
  ir_id x = input("x", "f32[N,12]"), id = op(OP_attention, x, x, x, IR_NONE);
  ir_at(g, id)->attr[A_heads].i = heads;
  ir_at(g, id)->attr[A_kv_heads].i = kv;
  ir_at(g, id)->attr[A_head_size].i = size;
  ir_at(g, id)->attr[A_q_at].i = q_at;
  return id;
}

START_TEST(head_counts_have_to_fit) {
  misfit(attention(0, 0, 0, 0),
         "spcc: error: attention 'y': heads=0 is not in 1 … 2147483647 [E_ATTR]");
  misfit(attention(-3, 0, 0, 0),
         "spcc: error: attention 'y': heads=-3 is not in 1 … 2147483647 [E_ATTR]");
  misfit(attention(5, 0, 0, 0),
         "spcc: error: attention 'y': 5 heads do not divide the 12 channels of q [E_ATTR]");
  misfit(attention(24, 0, 0, 0),
         "spcc: error: attention 'y': 24 heads do not divide the 12 channels of q [E_ATTR]");
  misfit(attention(4, 3, 0, 0),
         "spcc: error: attention 'y': kv_heads=3 does not divide heads=4 [E_ATTR]");
  misfit(attention(4, -1, 0, 0),
         "spcc: error: attention 'y': kv_heads=-1 does not divide heads=4 [E_ATTR]");
  misfit(attention(4, 0, -1, 0), "spcc: error: attention 'y': head_size=-1 is negative [E_ATTR]");
  misfit(attention(4, 0, 4, 0),
         "spcc: error: attention 'y': q_at=0 and 4 heads of 4 channels do not fit into the 12 "
         "channels of q [E_ATTR]");
  misfit(attention(2, 0, 4, 5),
         "spcc: error: attention 'y': q_at=5 and 2 heads of 4 channels do not fit into the 12 "
         "channels of q [E_ATTR]");
  misfit(attention(2, 0, 4, -1),
         "spcc: error: attention 'y': q_at=-1 and 2 heads of 4 channels do not fit into the 12 "
         "channels of q [E_ATTR]");
  misfit(attention(2, 0, INT64_MAX, 0),
         "spcc: error: attention 'y': q_at=0 and 2 heads of 9223372036854775807 channels do not "
         "fit into the 12 channels of q [E_ATTR]");
  ck_assert(ir_infer(g, attention(2, 0, 4, 4), d));
}
END_TEST

START_TEST(shared_heads_have_a_limit) {
  ir_id p = input("p", "f32[N,1048576,S]"), v = input("v", "f32[N,2048]");
  ir_id y = op(OP_context, p, v, IR_NONE, IR_NONE);
  ir_at(g, y)->attr[A_heads].i = 1 << 20;
  ir_at(g, y)->attr[A_kv_heads].i = 1;
  misfit(y, "spcc: error: context 'y': 1048576 heads of 2048 channels are over 2147483647 channels "
            "[E_ATTR]");
  ir_at(g, y)->attr[A_head_size].i = 2047;
  ck_assert(ir_infer(g, y, d));
  ck_assert_str_eq(type_text(y), "f32[N,2146435072]");
}
END_TEST

/* ---- changing ---- */

/* The names of all values, in order. */
static const char *order(void) {
  const char *text = "";
  for (ir_id i = 0; i < g->count; i++)
    text = arena_printf(mem, "%s%s%s", text, i ? " " : "", ir_at(g, i)->name);
  return text;
}

START_TEST(cleanup_drops_what_reaches_no_output) {
  ir_id x = input("x", "f32[N,5]");
  input("unused", "i32[B,S]");
  ir_id dead = ir_add_op(g, "dead", OP_relu, &x, 1);
  constant("c", "f32[5]");
  ir_add_op(g, "deader", OP_tanh, &dead, 1);
  ir_add_output(g, "o", ir_add_op(g, "live", OP_tanh, &x, 1));
  ir_cleanup(g);
  ck_assert_str_eq(order(), "x unused live");
  ck_assert_uint_eq(g->outputs[0].value, 2);
  ck_assert_uint_eq(ir_at(g, 2)->in[0], 0);
}
END_TEST

START_TEST(cleanup_restores_the_order) {
  ir_id x = input("x", "f32[N,5]");
  ir_id a = ir_add_op(g, "a", OP_relu, &x, 1), b = ir_add_op(g, "b", OP_relu, &a, 1);
  ir_id c = ir_add_op(g, "c", OP_relu, &b, 1);
  ir_add_output(g, "o", c);
  ir_id bias = constant("bias", "f32[5]"), late[] = {a, bias};
  ir_id between = ir_add_op(g, "between", OP_add, late, 2);
  input("second", "i32[B,S]");
  ir_at(g, b)->in[0] = between;
  ir_cleanup(g);
  ck_assert_str_eq(order(), "x second bias a between b c");
  ck_assert_str_eq(g->outputs[0].name, "o");
  ck_assert_uint_eq(g->outputs[0].value, 6);
  ir_cleanup(g);
  ck_assert_str_eq(order(), "x second bias a between b c");
}
END_TEST

START_TEST(cleanup_of_a_long_chain_needs_no_stack) {
  enum { LONG = 50000 };
  ir_id *chain = arena_array(mem, ir_id, LONG), x = input("x", "f32[N,5]");
  for (int i = 0; i < LONG; i++)
    chain[i] = ir_add_op(g, arena_printf(mem, "v%d", i), OP_relu, &x, 1);
  for (int i = 0; i + 1 < LONG; i++) /* each uses the one after it */
    ir_at(g, chain[i])->in[0] = chain[i + 1];
  ir_add_output(g, "o", chain[0]);
  ir_cleanup(g);
  ck_assert_uint_eq(g->count, LONG + 1);
  ck_assert_uint_eq(g->outputs[0].value, LONG);
  ck_assert_str_eq(ir_at(g, 1)->name, "v49999");
  for (ir_id id = 1; id < g->count; id++)
    ck_assert_uint_eq(ir_at(g, id)->in[0], id - 1);
}
END_TEST

/* ---- parts ---- */

/* The weight of the tests below: '.' is zero. */
static ir_id cut(const char *const *picture, uint32_t rows, uint32_t cols) {
  float *w = arena_array(mem, float, rows *cols);
  for (uint32_t i = 0; i < rows * cols; i++)
    w[i] = picture[i / cols][i % cols] == '.' ? 0 : 1;
  ir_id in[] = {ir_add_input(g, "x", ir_type2(DIM_N, cols)),
                ir_add_const(g, "w", ir_type2(rows, cols), w)};
  return ir_add_op(g, "y", OP_linear, in, 2);
}

static ir_part part(ir_range *rows, uint32_t ranges, uint32_t lo, uint32_t hi, const char *text,
                    enum ir_kernel kernel, uint32_t fill) {
  ir_part p = {.rows = rows,
               .row_ranges = ranges,
               .col_lo = lo,
               .col_hi = hi,
               .kernel = kernel,
               .fill = fill};
  ck_assert(pattern_parse(text, &p.pattern));
  return p;
}

/* Part `index` takes exactly the elements marked '#'. */
static void expect_support(ir_id y, uint32_t index, const char *const *picture, uint32_t rows,
                           uint32_t cols) {
  unsigned char *support = arena_array(mem, unsigned char, rows *cols);
  memset(support, 9, rows * cols);
  ir_part_support(g, ir_at(g, y), index, support);
  for (uint32_t r = 0; r < rows; r++) {
    char got[64] = "";
    for (uint32_t c = 0; c < cols; c++)
      got[c] = support[r * cols + c] ? '#' : '.';
    for (uint32_t c = 0; c < cols; c++)
      ck_assert_uint_le(support[r * cols + c], 1);
    ck_assert_msg(strcmp(got, picture[r]) == 0, "part %u, row %u: %s, expected %s", index, r, got,
                  picture[r]);
  }
}

START_TEST(parts_take_full_blocks_then_the_rest) {
  static const char *const w[] = {"x..x", "x...", "xx..", ".x.x", "x..x"};
  static const char *const first[] = {"#...", "#...", "#...", "#...", "...."};
  static const char *const rest[] = {"...#", "....", ".#..", ".#.#", "#..#"};
  ir_id y = cut(w, 5, 4);
  ir_range all[] = {{0, 5}};
  ir_part parts[] = {part(all, 1, 0, 4, "4x1", K_block, 3),
                     part(all, 1, 0, 4, "unstructured", K_gather, 1)};
  ir_at(g, y)->parts = parts;
  ir_at(g, y)->part_count = 2;
  expect_support(y, 0, first, 5, 4);
  expect_support(y, 1, rest, 5, 4);
}
END_TEST

START_TEST(blocks_align_to_the_part_and_end_with_it) {
  static const char *const w[] = {"xxxx", "x..x", "xx..", ".x.x", "x..x", "...x", "xxxx"};
  /* With 2x2, rows 1, 2, 4, 5, 6 are grouped (1 2) (4 5) (6), columns 1 … 3 (1 2) (3). */
  ir_id y = cut(w, 7, 4);
  ir_range rows[] = {{1, 3}, {4, 7}};
  ir_part two = part(rows, 2, 1, 4, "4x1", K_block, 1);
  two.pattern.rows = two.pattern.cols = 2;
  ir_at(g, y)->parts = &two;
  ir_at(g, y)->part_count = 1;
  static const char *const all[] = {"....", ".###", ".###", "....", "...#", "...#", ".###"};
  expect_support(y, 0, all, 7, 4);
  two.fill = 2;
  static const char *const fuller[] = {"....", "....", "....", "....", "...#", "...#", ".##."};
  expect_support(y, 0, fuller, 7, 4);
}
END_TEST

START_TEST(dense_parts_take_zeros_too) {
  static const char *const w[] = {"x..x", "....", "xx.."};
  static const char *const first[] = {"...#", "....", ".#.."};
  static const char *const dense[] = {".##.", ".###", "..##"};
  ir_id y = cut(w, 3, 4);
  ir_range all[] = {{0, 3}};
  ir_part parts[] = {part(all, 1, 1, 4, "unstructured", K_gather, 1),
                     part(all, 1, 1, 4, "dense", K_dense, 1)};
  ir_at(g, y)->parts = parts;
  ir_at(g, y)->part_count = 2;
  expect_support(y, 0, first, 3, 4);
  expect_support(y, 1, dense, 3, 4);
}
END_TEST

START_TEST(groups_over_n_are_left) {
  static const char *const w[] = {"xx..xxx.x", ".x.xx.x.x"};
  static const char *const one[] = {"####....#", "#########"};
  static const char *const shared[] = {"........#", "........#"};
  ir_id y = cut(w, 2, 9);
  ir_range all[] = {{0, 2}};
  ir_part nm = part(all, 1, 0, 9, "2:4", K_gather, 1);
  ir_at(g, y)->parts = &nm;
  ir_at(g, y)->part_count = 1;
  expect_support(y, 0, one, 2, 9);
  nm = part(all, 1, 0, 9, "2:4x2", K_block, 1);
  expect_support(y, 0, shared, 2, 9);
}
END_TEST

/* ---- docs ---- */

/* Markdown's tables want their bars escaped. */
static const char *escape_bars(const char *s) {
  char *out = arena_array(mem, char, 2 * strlen(s) + 1), *to = out;
  for (; *s; s++) {
    if (*s == '|') *to++ = '\\';
    *to++ = *s;
  }
  return out;
}

static const char *code(const char *s) {
  return *s ? arena_printf(mem, "`%s`", escape_bars(s)) : "";
}

static void expect_line(const char *text, const char *line) {
  const char *at = strstr(text, line);
  ck_assert_msg(at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n',
                "docs/ir.md lacks the line\n%s", line);
}

START_TEST(docs_have_the_tables) {
  FILE *f = fopen(SPCC_SOURCE_DIR "/docs/ir.md", "rb");
  ck_assert_ptr_nonnull(f);
  char *text = arena_array(mem, char, 1 << 16);
  ck_assert_uint_lt(fread(text, 1, (1 << 16) - 1, f), (1 << 16) - 1);
  fclose(f);
  for (enum ir_op o = 0; o < OP_COUNT; o++)
    expect_line(text, arena_printf(mem, "| %s | %s | %s | %s | %s |", ir_ops[o].name,
                                   code(ir_ops[o].operands), code(ir_ops[o].types),
                                   code(ir_ops[o].attrs), escape_bars(ir_ops[o].doc)));
  for (enum ir_attr a = 0; a < ATTR_COUNT; a++)
    expect_line(text, arena_printf(mem, "| %s | %g | %s |", ir_attrs[a].name, ir_attrs[a].init,
                                   ir_attrs[a].doc));
  for (enum ir_kernel k = 0; k < KERNEL_COUNT; k++)
    expect_line(text,
                arena_printf(mem, "| %s | %s |", ir_kernel_names[k], code(ir_kernel_patterns[k])));
}
END_TEST

int main(void) {
  Suite *s = suite_create("ir");
  TCase *c = untimed_case("ir");
  tcase_add_checked_fixture(c, setup, scratch_teardown);
  tcase_add_test(c, ops_name_every_operand);
  tcase_add_test(c, operands_have_roles);
  tcase_add_test(c, attributes_of_ops_exist);
  tcase_add_test(c, enumerations_are_spelled);
  tcase_add_test(c, patterns_have_one_spelling);
  tcase_add_test(c, patterns_compare_by_what_they_use);
  tcase_add_test(c, kernels_serve_their_patterns);
  tcase_add_test(c, types_have_one_spelling);
  tcase_add_test(c, types_compare);
  tcase_add_test(c, elements_are_counted_without_overflow);
  tcase_add_test(c, a_new_graph_is_empty);
  tcase_add_test(c, values_are_added_with_their_defaults);
  tcase_add_test(c, fresh_names_are_new_among_their_kind);
  tcase_add_test(c, pack_and_unpack_change_layouts);
  tcase_add_test(c, pointwise_ops_keep_the_type);
  tcase_add_test(c, tables_give_rows);
  tcase_add_test(c, attention_counts_heads);
  tcase_add_test(c, misfits_say_what_is_expected);
  tcase_add_test(c, rules_beyond_types_are_checked);
  tcase_add_test(c, operands_have_to_exist);
  tcase_add_test(c, head_counts_have_to_fit);
  tcase_add_test(c, shared_heads_have_a_limit);
  tcase_add_test(c, cleanup_drops_what_reaches_no_output);
  tcase_add_test(c, cleanup_restores_the_order);
  tcase_add_test(c, cleanup_of_a_long_chain_needs_no_stack);
  tcase_add_test(c, parts_take_full_blocks_then_the_rest);
  tcase_add_test(c, blocks_align_to_the_part_and_end_with_it);
  tcase_add_test(c, dense_parts_take_zeros_too);
  tcase_add_test(c, groups_over_n_are_left);
  tcase_add_test(c, docs_have_the_tables);
  suite_add_tcase(s, c);
  return run_suite(s);
}
