/* The interpreter, op by op, against numbers worked out by hand. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/interp.h"
#include "tests/run_suite.h"

enum { A = -7 }; /* an absent operand of op() */

static arena *mem;
static diag *d;
static ir_graph *g;

static void no_memory(void *context, size_t bytes) {
  (void)context;
  (void)bytes;
  abort();
}

static void setup(void) {
  mem = arena_new((size_t)1 << 28, no_memory, NULL);
  d = diag_new(mem);
  g = ir_graph_new(mem, "t");
  g->max_batch = 4;
  g->max_sequence = 16;
}

static void teardown(void) {
  arena_free(mem);
}

/* ---- building ---- */

static ir_id input(const char *name, const char *type) {
  ir_type t;
  ck_assert(ir_type_parse(type, &t));
  return ir_add_input(g, name, t);
}

static ir_id mask_input(void) {
  ir_id id = input("mask", "i32[B,S]");
  ir_at(g, id)->optional = true;
  ir_at(g, id)->absent = 1;
  return id;
}

/* rows 0: f32[cols]. */
static ir_id constant(const char *name, int64_t rows, int64_t cols, const float *data) {
  size_t n = (size_t)(rows ? rows * cols : cols);
  float *copy = memcpy(arena_array(mem, float, n), data, n * sizeof *data);
  return ir_add_const(g, name, rows ? ir_type2(rows, cols) : ir_type1(cols), copy);
}

static ir_id op(const char *name, enum ir_op o, uint32_t n, const int64_t *operands) {
  ir_id in[IR_MAX_IN];
  for (uint32_t i = 0; i < n; i++)
    in[i] = operands[i] == A ? IR_NONE : (ir_id)operands[i];
  return ir_add_op(g, name, o, in, n);
}
#define OP_IN(...)                                                                                 \
  sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[]) {                    \
    __VA_ARGS__                                                                                    \
  }

static void output(ir_id value) {
  ir_add_output(g, ir_at(g, value)->name, value);
  ck_assert_msg(ir_verify(g, d, "test"), "%s", diag_first(d) ? diag_first(d)->text : "");
}

/* ---- running and comparing ---- */

static bool run(interp_call c, const void *const *in, double *out) {
  c.in = in;
  c.out = (double *const[]){out};
  return interp_run(g, &c, mem, d);
}

static void check_near(const double *got, const double *want, size_t n) {
  for (size_t i = 0; i < n; i++)
    ck_assert_msg(fabs(got[i] - want[i]) <= 1e-14 * (1 + fabs(want[i])), "[%zu]: %.17g, not %.17g",
                  i, got[i], want[i]);
}
#define CHECK_NEAR(got, ...)                                                                       \
  check_near(got, (const double[]){__VA_ARGS__},                                                   \
             sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

static const char *first_error(void) {
  ck_assert_ptr_nonnull(diag_first(d));
  return diag_first(d)->text;
}

/* ---- linear ---- */

static const float w32[] = {1, 2, 0, -1, 3, 0.5F}; /* [3,2] */

START_TEST(linear_multiplies_by_the_transposed_weight_and_adds_the_bias) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,2]")));
  ir_id w = constant("w", 3, 2, w32), b = constant("b", 0, 3, (const float[]){10, 20, 30});
  output(op("y", OP_unpack, OP_IN(op("l", OP_linear, OP_IN(x, w, b)))));
  double out[6];
  ck_assert(run((interp_call){.batch = 2}, (const void *[]){(const float[]){1, 2, -3, 4}}, out));
  CHECK_NEAR(out, 15, 18, 34, 15, 16, 23);
}
END_TEST

START_TEST(linear_activates_and_leaves_the_bias_out) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,2]")));
  ir_id l = op("l", OP_linear, OP_IN(x, constant("w", 3, 2, w32)));
  ir_at(g, l)->attr[A_act].i = ACT_RELU;
  output(op("y", OP_unpack, OP_IN(l)));
  double out[3];
  ck_assert(run((interp_call){.batch = 1}, (const void *[]){(const float[]){1, 2}}, out));
  CHECK_NEAR(out, 5, 0, 4);
}
END_TEST

START_TEST(linear_adds_the_residual_and_normalises) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,2]")));
  ir_id r = op("q", OP_pack, OP_IN(input("r", "f32[B,3]")));
  ir_id gamma = constant("gamma", 0, 3, (const float[]){1, 2, 3});
  ir_id beta = constant("beta", 0, 3, (const float[]){0, 1, 0});
  ir_id w = constant("w", 3, 2, w32);
  ir_id l = op("l", OP_linear, OP_IN(x, w, A, r, gamma, beta));
  ir_at(g, l)->attr[A_eps].f = 0;
  output(op("y", OP_unpack, OP_IN(l)));
  const void *in[] = {(const float[]){1, 2}, (const float[]){-4, 4, 0}};
  double out[3]; /* x w^T + r = 1 2 4: mean 7/3, variance 14/9 */
  ck_assert(run((interp_call){.batch = 1}, in, out));
  double root = sqrt(14.0 / 9);
  CHECK_NEAR(out, (1 - 7.0 / 3) / root, 2 * (2 - 7.0 / 3) / root + 1, 3 * (4 - 7.0 / 3) / root);
}
END_TEST

START_TEST(linear_takes_more_tokens_than_a_tile) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,S,1]")));
  ir_id l = op("l", OP_linear, OP_IN(x, constant("w", 2, 1, (const float[]){2, 0})));
  output(op("y", OP_unpack, OP_IN(l)));
  float given[39];
  double out[78];
  for (int i = 0; i < 39; i++)
    given[i] = (float)i;
  ck_assert(run((interp_call){.batch = 3, .sequence = 13}, (const void *[]){given}, out));
  for (int i = 0; i < 39; i++) {
    ck_assert_double_eq(out[2 * i], 2.0 * i);
    ck_assert_double_eq(out[2 * i + 1], 0);
  }
}
END_TEST

START_TEST(zero_weights_times_infinity_are_not_skipped) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,2]")));
  ir_id l = op("l", OP_linear, OP_IN(x, constant("w", 1, 2, (const float[]){0, 1})));
  output(op("y", OP_unpack, OP_IN(l)));
  double out[1];
  ck_assert(run((interp_call){.batch = 1}, (const void *[]){(const float[]){INFINITY, 1}}, out));
  ck_assert(isnan(out[0]));
}
END_TEST

START_TEST(single_accumulates_in_floats) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,3]")));
  ir_id l = op("l", OP_linear, OP_IN(x, constant("w", 1, 3, (const float[]){1, 1, 1})));
  output(op("y", OP_unpack, OP_IN(l)));
  const void *in[] = {(const float[]){1e9F, 1, -1e9F}};
  double out[1];
  ck_assert(run((interp_call){.batch = 1}, in, out));
  ck_assert_double_eq(out[0], 1);
  ck_assert(run((interp_call){.batch = 1, .single = true}, in, out));
  ck_assert_double_eq(out[0], 0);
}
END_TEST

/* ---- element-wise ---- */

static void unary(enum ir_op o, enum ir_form form, bool single, const float *x, double *out) {
  ir_id v = op("v", o, OP_IN(op("p", OP_pack, OP_IN(input("x", "f32[B,3]")))));
  if (o == OP_gelu) ir_at(g, v)->attr[A_form].i = form;
  output(op("y", OP_unpack, OP_IN(v)));
  ck_assert(run((interp_call){.batch = 1, .single = single}, (const void *[]){x}, out));
}

START_TEST(gelu_is_exact_in_its_erf_form) {
  double out[3];
  unary(OP_gelu, FORM_ERF, false, (const float[]){1, 0, -2}, out);
  CHECK_NEAR(out, 0.84134474606854293, 0, -0.045500263896358417);
}
END_TEST

START_TEST(gelu_has_a_tanh_form) {
  double out[3];
  unary(OP_gelu, FORM_TANH, false, (const float[]){1, 0, -2}, out);
  CHECK_NEAR(out, 0.84119199060827676, 0, -0.04540230591222494);
}
END_TEST

START_TEST(relu_keeps_positive_values) {
  double out[3];
  unary(OP_relu, FORM_ERF, false, (const float[]){1.5F, 0, -2}, out);
  CHECK_NEAR(out, 1.5, 0, 0);
}
END_TEST

START_TEST(tanh_is_the_library_s) {
  double out[3];
  unary(OP_tanh, FORM_ERF, false, (const float[]){0.5F, 0, -20}, out);
  CHECK_NEAR(out, 0.46211715726000973, 0, -1);
}
END_TEST

START_TEST(single_results_are_floats) {
  double out[3];
  unary(OP_gelu, FORM_ERF, true, (const float[]){0.3F, 1.7F, -0.9F}, out);
  for (int i = 0; i < 3; i++)
    ck_assert_double_eq(out[i], (double)(float)out[i]);
}
END_TEST

START_TEST(add_and_mul_take_a_value_or_a_constant_row) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,2]")));
  ir_id z = op("q", OP_pack, OP_IN(input("z", "f32[B,2]")));
  ir_id row = constant("row", 0, 2, (const float[]){10, 100});
  ir_id sum = op("s1", OP_add, OP_IN(op("s0", OP_add, OP_IN(x, z)), row));
  ir_id product = op("m1", OP_mul, OP_IN(op("m0", OP_mul, OP_IN(sum, row)), z));
  output(op("y", OP_unpack, OP_IN(product)));
  const void *in[] = {(const float[]){1, 2, 3, 4}, (const float[]){5, 6, 7, 8}};
  double out[4];
  ck_assert(run((interp_call){.batch = 2}, in, out));
  CHECK_NEAR(out, 16 * 10 * 5, 108 * 100 * 6, 20 * 10 * 7, 112 * 100 * 8);
}
END_TEST

START_TEST(layernorm_divides_by_the_biased_deviation) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,4]")));
  ir_id gamma = constant("gamma", 0, 4, (const float[]){1, 1, 2, 1});
  ir_id beta = constant("beta", 0, 4, (const float[]){0, 0, 0, 5});
  ir_id n = op("n", OP_layernorm, OP_IN(x, gamma, beta));
  ir_at(g, n)->attr[A_eps].f = 0.75;
  output(op("y", OP_unpack, OP_IN(n)));
  double out[4]; /* variance 1.25 + eps = 2 */
  ck_assert(run((interp_call){.batch = 1}, (const void *[]){(const float[]){1, 2, 3, 4}}, out));
  double r = 1 / sqrt(2.0);
  CHECK_NEAR(out, -1.5 * r, -0.5 * r, 1 * r, 1.5 * r + 5);
}
END_TEST

/* ---- packing ---- */

/* y = 10 x on the computed tokens of f32[B,S,1] under a mask. */
static void scaled_by_ten(void) {
  ir_id x = input("x", "f32[B,S,1]"), m = mask_input();
  ir_id p = op("p", OP_pack, OP_IN(x, m));
  ir_id l = op("l", OP_linear, OP_IN(p, constant("w", 1, 1, (const float[]){10})));
  output(op("y", OP_unpack, OP_IN(l, m)));
}

static const float one_to_nine[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

START_TEST(nothing_after_the_last_unmasked_token_is_computed) {
  scaled_by_ten();
  const int32_t mask[] = {1, 0, 1, 0, 0, 0, 1, 0, 0}; /* a hole, all mask, padding */
  double out[9];
  ck_assert(
      run((interp_call){.batch = 3, .sequence = 3}, (const void *[]){one_to_nine, mask}, out));
  CHECK_NEAR(out, 10, 20, 30, 0, 0, 0, 70, 0, 0);
}
END_TEST

START_TEST(an_absent_mask_counts_every_token) {
  scaled_by_ten();
  double out[9];
  ck_assert(
      run((interp_call){.batch = 3, .sequence = 3}, (const void *[]){one_to_nine, NULL}, out));
  CHECK_NEAR(out, 10, 20, 30, 40, 50, 60, 70, 80, 90);
}
END_TEST

START_TEST(ragged_rows_are_concatenated_and_a_mask_shortens_them) {
  scaled_by_ten();
  const int32_t lengths[] = {2, 0, 3, 1}, mask[] = {1, 1, 0, 1, 0, 1};
  interp_call c = {.batch = 4, .sequence = 3, .lengths = lengths};
  double out[6];
  size_t size;
  ck_assert(interp_output_size(g, &c, 0, &size));
  ck_assert_uint_eq(size, 6);
  ck_assert(run(c, (const void *[]){one_to_nine, NULL}, out));
  CHECK_NEAR(out, 10, 20, 30, 40, 50, 60);
  ck_assert(run(c, (const void *[]){one_to_nine, mask}, out));
  CHECK_NEAR(out, 10, 20, 30, 40, 0, 60);
}
END_TEST

START_TEST(nothing_is_computed_for_no_batch) {
  scaled_by_ten();
  interp_call c = {.batch = 0, .sequence = 3};
  size_t size;
  ck_assert(interp_output_size(g, &c, 0, &size));
  ck_assert_uint_eq(size, 0);
  ck_assert(run(c, (const void *[]){one_to_nine, NULL}, (double[1]){0}));
}
END_TEST

START_TEST(first_takes_token_0_and_zeros_for_an_empty_sequence) {
  ir_id x = input("x", "f32[B,S,2]"), m = mask_input();
  ir_id p = op("p", OP_pack, OP_IN(x, m));
  output(op("y", OP_unpack, OP_IN(op("f", OP_first, OP_IN(p, m)))));
  const float given[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const int32_t mask[] = {0, 1, 0, 0, 1, 0};
  double out[6];
  ck_assert(run((interp_call){.batch = 3, .sequence = 2}, (const void *[]){given, mask}, out));
  CHECK_NEAR(out, 1, 2, 0, 0, 9, 10);
}
END_TEST

/* ---- embeddings ---- */

static const float table[] = {1, 10, 2, 20, 3, 30}; /* [3,2] */

static void embedding(void) {
  g->max_sequence = 3;
  ir_id ids = input("ids", "i32[B,S]"), m = mask_input();
  ir_id p = op("p", OP_pack, OP_IN(ids, m));
  ir_id t = op("t", OP_gather, OP_IN(constant("words", 3, 2, table), p));
  ir_id at = op("at", OP_positions, OP_IN(m));
  ir_id pos = constant("places", 3, 2, (const float[]){100, 0, 200, 0, 300, 0});
  ir_id q = op("q", OP_gather, OP_IN(pos, at));
  output(op("y", OP_unpack, OP_IN(op("s", OP_add, OP_IN(t, q)), m)));
}

START_TEST(gather_takes_rows_by_id_and_by_position) {
  embedding();
  const int32_t ids[] = {2, 0, 1, 1}, mask[] = {1, 1, 1, 0};
  double out[8];
  ck_assert(run((interp_call){.batch = 2, .sequence = 2}, (const void *[]){ids, mask}, out));
  CHECK_NEAR(out, 103, 30, 201, 10, 102, 20, 0, 0);
}
END_TEST

START_TEST(an_id_outside_the_table_is_named_with_its_place) {
  embedding();
  const int32_t ids[] = {2, 7, 1, 3}, mask[] = {1, 0, 1, 1};
  double out[8];
  ck_assert(!run((interp_call){.batch = 2, .sequence = 2}, (const void *[]){ids, mask}, out));
  ck_assert_str_eq(first_error(), "ids[3] is 3, outside 'words'; give values from 0 to 2");
  ck_assert_int_eq(diag_first(d)->code, E_RUN);
}
END_TEST

START_TEST(a_negative_id_is_refused) {
  embedding();
  const int32_t ids[] = {-1};
  double out[2];
  ck_assert(!run((interp_call){.batch = 1, .sequence = 1}, (const void *[]){ids, NULL}, out));
  ck_assert_str_eq(first_error(), "ids[0] is -1, outside 'words'; give values from 0 to 2");
}
END_TEST

START_TEST(embed_sums_rows_and_takes_type_0_when_no_types_are_given) {
  g->max_sequence = 2;
  ir_id ids = op("p", OP_pack, OP_IN(input("ids", "i32[B,S]")));
  ir_id word = constant("words", 3, 2, table);
  ir_id pos = constant("places", 2, 2, (const float[]){100, 0, 200, 0});
  ir_id type = constant("types", 2, 2, (const float[]){0, 5, 0, 7});
  output(op("y", OP_unpack, OP_IN(op("e", OP_embed, OP_IN(ids, A, word, pos, type, A, A)))));
  double out[4];
  ck_assert(
      run((interp_call){.batch = 1, .sequence = 2}, (const void *[]){(int32_t[]){2, 1}}, out));
  CHECK_NEAR(out, 103, 35, 202, 25);
}
END_TEST

START_TEST(embed_normalises_the_sum_with_given_types) {
  ir_id ids = op("p", OP_pack, OP_IN(input("ids", "i32[B,S]")));
  ir_id types = op("q", OP_pack, OP_IN(input("kinds", "i32[B,S]")));
  ir_id word = constant("words", 3, 2, table);
  ir_id type = constant("types", 2, 2, (const float[]){0, 5, 0, 7});
  ir_id gamma = constant("gamma", 0, 2, (const float[]){2, 3});
  ir_id beta = constant("beta", 0, 2, (const float[]){0, 1});
  ir_id e = op("e", OP_embed, OP_IN(ids, types, word, A, type, gamma, beta));
  ir_at(g, e)->attr[A_eps].f = 0;
  output(op("y", OP_unpack, OP_IN(e)));
  const void *in[] = {(int32_t[]){0}, (int32_t[]){1}};
  double out[2]; /* 1 17: normalised -1 1 */
  ck_assert(run((interp_call){.batch = 1, .sequence = 1}, in, out));
  CHECK_NEAR(out, -2, 4);
}
END_TEST

/* ---- attention ---- */

/* Attention on f32[B,S,C] inputs q, k, v, as one op or as three. */
static void attention(bool fused, const char *q_type, const char *kv_type, int64_t head_count,
                      int64_t kv_heads, double scale, bool causal) {
  ir_id qi = input("q", q_type), ki = input("k", kv_type), vi = input("v", kv_type);
  ir_id m = mask_input();
  ir_id q = op("pq", OP_pack, OP_IN(qi, m)), k = op("pk", OP_pack, OP_IN(ki, m));
  ir_id v = op("pv", OP_pack, OP_IN(vi, m)), s, o;
  if (fused) {
    s = o = op("o", OP_attention, OP_IN(q, k, v, m));
  } else {
    s = op("s", OP_scores, OP_IN(q, k));
  }
  ir_value *at = ir_at(g, s);
  at->attr[A_heads].i = head_count;
  at->attr[A_kv_heads].i = kv_heads;
  at->attr[A_scale].f = scale;
  at->attr[A_causal].i = causal;
  ck_assert(ir_infer(g, s, d));
  if (!fused) {
    o = op("o", OP_context, OP_IN(op("x", OP_softmax, OP_IN(s, m)), v));
    ir_at(g, o)->attr[A_heads].i = head_count;
    ir_at(g, o)->attr[A_kv_heads].i = kv_heads;
    ck_assert(ir_infer(g, o, d));
  }
  output(op("y", OP_unpack, OP_IN(o, m)));
}

/* With scale ln 2 a score of n weighs 2^n. */
#define LN2 0.69314718055994530942

static const bool fused_or_not[] = {false, true};

START_TEST(attention_weighs_values_by_the_softmax_of_scores) {
  attention(fused_or_not[_i], "f32[B,S,1]", "f32[B,S,1]", 1, 0, LN2, false);
  const float q[] = {1, 2}, k[] = {1, 0}, v[] = {3, 6};
  double out[2]; /* weights 2:1 and 4:1 */
  ck_assert(run((interp_call){.batch = 1, .sequence = 2}, (const void *[]){q, k, v, NULL}, out));
  CHECK_NEAR(out, 4, 3.6);
}
END_TEST

START_TEST(masked_keys_weigh_nothing_yet_their_queries_are_computed) {
  attention(fused_or_not[_i], "f32[B,S,1]", "f32[B,S,1]", 1, 0, LN2, false);
  const float q[] = {1, 2, 1, 1, 1, 1, 1, 1}, k[] = {1, 9, 0, 9, 9, 9, 9, 9};
  const float v[] = {3, 100, 6, 100, 5, 100, 100, 100};
  const int32_t mask[] = {1, 0, 1, 0, 1, 0, 0, 0};
  double out[8];
  ck_assert(run((interp_call){.batch = 2, .sequence = 4}, (const void *[]){q, k, v, mask}, out));
  CHECK_NEAR(out, 4, 3.6, 4, 0, 5, 0, 0, 0);
}
END_TEST

START_TEST(sequences_do_not_see_each_other) {
  attention(fused_or_not[_i], "f32[B,S,1]", "f32[B,S,1]", 1, 0, LN2, false);
  const float q[] = {1, 2, 5}, k[] = {1, 0, 3}, v[] = {3, 6, 7};
  const int32_t lengths[] = {2, 0, 1};
  double out[3];
  ck_assert(run((interp_call){.batch = 3, .sequence = 2, .lengths = lengths},
                (const void *[]){q, k, v, NULL}, out));
  CHECK_NEAR(out, 4, 3.6, 7);
}
END_TEST

START_TEST(heads_share_key_value_heads) {
  attention(fused_or_not[_i], "f32[B,S,4]", "f32[B,S,2]", 4, 2, LN2, false);
  const float q[] = {1, 2, 1, 2, 0, 0, 0, 0}, k[] = {1, 0, 0, 1}, v[] = {3, 30, 6, 60};
  double out[8]; /* heads 0, 1 use channel 0 and heads 2, 3 channel 1 of k and v */
  ck_assert(run((interp_call){.batch = 1, .sequence = 2}, (const void *[]){q, k, v, NULL}, out));
  CHECK_NEAR(out, 4, 3.6, 50, 54, 4.5, 4.5, 45, 45);
}
END_TEST

START_TEST(causal_queries_see_no_later_keys) {
  attention(fused_or_not[_i], "f32[B,S,1]", "f32[B,S,1]", 1, 0, LN2, true);
  const float q[] = {1, 2, 1}, k[] = {1, 0, 9}, v[] = {3, 6, 8};
  const int32_t mask[] = {0, 1, 1};
  double out[3]; /* query 0 sees only itself, which is masked */
  ck_assert(run((interp_call){.batch = 1, .sequence = 2}, (const void *[]){q, k, v, NULL}, out));
  CHECK_NEAR(out, 3, 3.6);
  ck_assert(run((interp_call){.batch = 1, .sequence = 3}, (const void *[]){q, k, v, mask}, out));
  CHECK_NEAR(out, 0, 6, (6 + 512 * 8) / 513.0);
}
END_TEST

START_TEST(attention_reads_q_k_and_v_at_their_channels) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,S,4]")));
  ir_id o = op("o", OP_attention, OP_IN(x, x, x));
  ir_value *at = ir_at(g, o);
  at->attr[A_head_size].i = 1;
  at->attr[A_scale].f = LN2;
  at->attr[A_q_at].i = 3;
  at->attr[A_k_at].i = 1;
  at->attr[A_v_at].i = 2;
  ck_assert(ir_infer(g, o, d));
  output(op("y", OP_unpack, OP_IN(o)));
  const float given[] = {-1, 1, 3, 1, -1, 0, 6, 2};
  double out[2];
  ck_assert(run((interp_call){.batch = 1, .sequence = 2}, (const void *[]){given}, out));
  CHECK_NEAR(out, 4, 3.6);
}
END_TEST

START_TEST(large_scores_do_not_overflow) {
  attention(fused_or_not[_i], "f32[B,S,1]", "f32[B,S,1]", 1, 0, 1, false);
  const float q[] = {100, -100}, k[] = {100, 50}, v[] = {3, 6};
  double out[2];
  ck_assert(run((interp_call){.batch = 1, .sequence = 2}, (const void *[]){q, k, v, NULL}, out));
  CHECK_NEAR(out, 3, 6);
}
END_TEST

/* ---- calls ---- */

START_TEST(calls_over_the_limits_are_refused) {
  static const int32_t too_long[] = {3, 4}, negative[] = {-1, 3};
  static const struct {
    interp_call c;
    const char *text;
  } cases[] = {
      {{.batch = 5, .sequence = 1}, "batch is 5; this model takes 0 to 4"},
      {{.batch = -1, .sequence = 1}, "batch is -1; this model takes 0 to 4"},
      {{.batch = 1, .sequence = 17}, "sequence is 17; this model takes 0 to 16"},
      {{.batch = 1, .sequence = -1}, "sequence is -1; this model takes 0 to 16"},
      {{.batch = 2, .sequence = 3, .lengths = too_long},
       "lengths[1] is 4; it must be 0 to the sequence, 3"},
      {{.batch = 2, .sequence = 3, .lengths = negative},
       "lengths[0] is -1; it must be 0 to the sequence, 3"},
  };
  scaled_by_ten();
  ck_assert(!run(cases[_i].c, (const void *[]){one_to_nine, NULL}, (double[32]){0}));
  ck_assert_str_eq(first_error(), cases[_i].text);
  ck_assert_int_eq(diag_first(d)->code, E_RUN);
}
END_TEST

START_TEST(a_missing_input_is_refused) {
  scaled_by_ten();
  ck_assert(
      !run((interp_call){.batch = 1, .sequence = 1}, (const void *[]){NULL, NULL}, (double[1]){0}));
  ck_assert_str_eq(first_error(), "input 'x' is missing; only optional ones may be");
}
END_TEST

static void watch(void *context, const ir_graph *graph, ir_id id, const double *data, size_t rows,
                  size_t cols) {
  if (strcmp(ir_at(graph, id)->name, "l") != 0) return;
  ck_assert_uint_eq(rows, 2);
  ck_assert_uint_eq(cols, 1);
  *(double *)context = data[1];
}

START_TEST(every_value_can_be_watched) {
  scaled_by_ten();
  const int32_t mask[] = {1, 1, 0};
  double out[3], seen = 0;
  interp_call c = {.batch = 1, .sequence = 3, .watch = watch, .context = &seen};
  ck_assert(run(c, (const void *[]){one_to_nine, mask}, out));
  ck_assert_double_eq(seen, 20);
}
END_TEST

START_TEST(an_unwanted_output_is_not_written) {
  scaled_by_ten();
  ck_assert(
      run((interp_call){.batch = 1, .sequence = 1}, (const void *[]){one_to_nine, NULL}, NULL));
}
END_TEST

START_TEST(depth_counts_linears_on_the_longest_path) {
  ir_id x = op("p", OP_pack, OP_IN(input("x", "f32[B,2]")));
  ir_id w = constant("w", 3, 2, w32), u = constant("u", 3, 3, (const float[9]){0});
  ir_id a = op("a", OP_linear, OP_IN(x, w)), b = op("b", OP_linear, OP_IN(x, w));
  ir_id c = op("c", OP_linear, OP_IN(a, u));
  output(op("y", OP_unpack, OP_IN(op("s", OP_add, OP_IN(b, c)))));
  size_t k, l;
  interp_depth(g, &k, &l);
  ck_assert_uint_eq(k, 3);
  ck_assert_uint_eq(l, 2);
}
END_TEST

START_TEST(depth_counts_attention_twice) {
  attention(fused_or_not[_i], "f32[B,S,4]", "f32[B,S,2]", 4, 2, LN2, false);
  size_t k, l;
  interp_depth(g, &k, &l);
  ck_assert_uint_eq(k, 1);
  ck_assert_uint_eq(l, 2);
}
END_TEST

static TCase *linear_case(void) {
  TCase *t = untimed_case("linear and element-wise");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, linear_multiplies_by_the_transposed_weight_and_adds_the_bias);
  tcase_add_test(t, linear_activates_and_leaves_the_bias_out);
  tcase_add_test(t, linear_adds_the_residual_and_normalises);
  tcase_add_test(t, linear_takes_more_tokens_than_a_tile);
  tcase_add_test(t, zero_weights_times_infinity_are_not_skipped);
  tcase_add_test(t, single_accumulates_in_floats);
  tcase_add_test(t, gelu_is_exact_in_its_erf_form);
  tcase_add_test(t, gelu_has_a_tanh_form);
  tcase_add_test(t, relu_keeps_positive_values);
  tcase_add_test(t, tanh_is_the_library_s);
  tcase_add_test(t, single_results_are_floats);
  tcase_add_test(t, add_and_mul_take_a_value_or_a_constant_row);
  tcase_add_test(t, layernorm_divides_by_the_biased_deviation);
  return t;
}

static TCase *token_case(void) {
  TCase *t = untimed_case("tokens");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, nothing_after_the_last_unmasked_token_is_computed);
  tcase_add_test(t, an_absent_mask_counts_every_token);
  tcase_add_test(t, ragged_rows_are_concatenated_and_a_mask_shortens_them);
  tcase_add_test(t, nothing_is_computed_for_no_batch);
  tcase_add_test(t, first_takes_token_0_and_zeros_for_an_empty_sequence);
  tcase_add_test(t, gather_takes_rows_by_id_and_by_position);
  tcase_add_test(t, an_id_outside_the_table_is_named_with_its_place);
  tcase_add_test(t, a_negative_id_is_refused);
  tcase_add_test(t, embed_sums_rows_and_takes_type_0_when_no_types_are_given);
  tcase_add_test(t, embed_normalises_the_sum_with_given_types);
  return t;
}

static TCase *attention_case(void) {
  TCase *t = untimed_case("attention");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, attention_weighs_values_by_the_softmax_of_scores, 0, 2);
  tcase_add_loop_test(t, masked_keys_weigh_nothing_yet_their_queries_are_computed, 0, 2);
  tcase_add_loop_test(t, sequences_do_not_see_each_other, 0, 2);
  tcase_add_loop_test(t, heads_share_key_value_heads, 0, 2);
  tcase_add_loop_test(t, causal_queries_see_no_later_keys, 0, 2);
  tcase_add_test(t, attention_reads_q_k_and_v_at_their_channels);
  tcase_add_loop_test(t, large_scores_do_not_overflow, 0, 2);
  return t;
}

static TCase *call_case(void) {
  TCase *t = untimed_case("calls");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_loop_test(t, calls_over_the_limits_are_refused, 0, 6);
  tcase_add_test(t, a_missing_input_is_refused);
  tcase_add_test(t, every_value_can_be_watched);
  tcase_add_test(t, an_unwanted_output_is_not_written);
  tcase_add_test(t, depth_counts_linears_on_the_longest_path);
  tcase_add_loop_test(t, depth_counts_attention_twice, 0, 2);
  return t;
}

int main(void) {
  Suite *s = suite_create("interp");
  suite_add_tcase(s, linear_case());
  suite_add_tcase(s, token_case());
  suite_add_tcase(s, attention_case());
  suite_add_tcase(s, call_case());
  return run_suite(s);
}
