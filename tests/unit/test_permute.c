/* permute: the orders that it finds, and when it leaves things as they are. What it does to the
 * text of small graphs is in tests/golden. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "passes/fours.h"
#include "passes/passes.h"
#include "tests/golden/values.h"
#include "tests/run_suite.h"

static arena *mem;
static diag *d;
static uint64_t seed;
static pass_options options;
static pass_context context;

static void no_memory(void *unused, size_t size) {
  (void)unused;
  (void)size;
  abort();
}

static void setup(void) {
  mem = arena_new((size_t)1 << 29, no_memory, NULL);
  d = diag_new(mem);
  seed = 1;
  options = (pass_options){.opt_level = 2, .isa = ISA_X86_64_V4};
  context = (pass_context){.arena = mem, .diag = d, .options = &options, .remarks = true};
}

static void teardown(void) {
  arena_free(mem);
}

static size_t below(size_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (size_t)(seed >> 33) % n;
}

static bool remarks(const char *text) {
  for (const diag_message *m = diag_first(d); m; m = m->next)
    if (m->level == DIAG_REMARK && strstr(m->text, text)) return true;
  return false;
}

/* ---- fours ---- */

/* Classes of `size` channels with equal supports, scattered: channel i is in class of[i]. */
static size_t *scatter(size_t classes, size_t size) {
  size_t n = classes * size, *of = arena_array(mem, size_t, n);
  for (size_t i = 0; i < n; i++)
    of[i] = i / size;
  for (size_t i = n; i > 1; i--) {
    size_t k = below(i), x = of[k];
    of[k] = of[i - 1];
    of[i - 1] = x;
  }
  return of;
}

static supports random_supports(const size_t *of, size_t n, size_t words) {
  supports s = {arena_array(mem, uint64_t, n *words), n, words};
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < words; k++)
      s.bits[i * words + k] = (of[i] * words + k + 1) * 0x9E3779B97F4A7C15u;
  return s;
}

static void check_order(const size_t *order, size_t n) {
  bool *seen = arena_array(mem, bool, n);
  for (size_t i = 0; i < n; i++) {
    ck_assert_uint_lt(order[i], n);
    ck_assert(!seen[order[i]]);
    seen[order[i]] = true;
  }
}

START_TEST(test_equal_supports_stand_together) {
  static const size_t sizes[] = {4, 8, 16};
  size_t size = sizes[_i], n = 20 * size, *of = scatter(20, size);
  supports s = random_supports(of, n, 3);
  size_t *order = arena_array(mem, size_t, n);
  order_in_fours(mem, &s, order);
  check_order(order, n);
  for (size_t i = 0; i < n; i++)
    ck_assert_uint_eq(of[order[i]], of[order[i / size * size]]);
}
END_TEST

/* Of 7 alike, four are a block; what is left does not tear the fours of others apart. */
START_TEST(test_leftovers_come_last) {
  size_t n = 30 * 7, *of = scatter(30, 7), whole = 0;
  supports s = random_supports(of, n, 2);
  size_t *order = arena_array(mem, size_t, n);
  order_in_fours(mem, &s, order);
  check_order(order, n);
  for (size_t i = 0; i + 4 <= n; i += 4) {
    bool same = true;
    for (size_t k = 1; k < 4; k++)
      same = same && of[order[i + k]] == of[order[i]];
    whole += same;
    ck_assert(same || i >= 30 * 4);
  }
  ck_assert_uint_eq(whole, 30);
}
END_TEST

/* Channels of two kinds, each short of some inputs of its kind. */
START_TEST(test_similar_supports_stand_together) {
  enum { CHANNELS = 64, INPUTS = 64 };
  supports s = {arena_array(mem, uint64_t, CHANNELS), CHANNELS, 1};
  for (size_t i = 0; i < CHANNELS; i++)
    for (size_t c = 0; c < INPUTS; c++)
      if (c % 2 == i % 2 && below(10) > 0) s.bits[i] |= (uint64_t)1 << c;
  size_t *order = arena_array(mem, size_t, CHANNELS);
  order_in_fours(mem, &s, order);
  check_order(order, CHANNELS);
  for (size_t i = 0; i < CHANNELS; i++)
    ck_assert_uint_eq(order[i] % 2, order[i / 4 * 4] % 2);
}
END_TEST

START_TEST(test_fewer_than_four) {
  for (size_t n = 1; n < 4; n++) {
    uint64_t bits[3] = {1, 3, 2};
    size_t order[3];
    order_in_fours(mem, &(supports){bits, n, 1}, order);
    check_order(order, n);
  }
}
END_TEST

/* ---- the pass ---- */

enum { HIDDEN = 96, NEURONS = 512 };

static float number(void) {
  return 0.5f + (float)below(1000) / 1000;
}

/* The weight whose row i has non-zeros in the `keep` columns that class of[i] keeps. */
static float *class_rows(const size_t *of, size_t keep) {
  float *w = arena_array(mem, float, NEURONS *HIDDEN);
  for (size_t i = 0; i < NEURONS; i++)
    for (size_t k = 0; k < keep; k++)
      w[i * HIDDEN + (of[i] * 31 + k * k * 7) % HIDDEN] = number();
  return w;
}

/* [rows, cols]: every eighth column has `often` percent non-zeros, the others `seldom`. */
static float *columns(size_t rows, size_t cols, size_t often, size_t seldom) {
  float *w = arena_array(mem, float, rows *cols);
  for (size_t i = 0; i < rows * cols; i++)
    if (below(100) < (i % cols % 8 == 0 ? often : seldom)) w[i] = number();
  return w;
}

/* A second weight [HIDDEN, NEURONS] that no order makes cheaper: 4x1 blocks, each tenth full. */
static float *block_down(void) {
  float *w = arena_array(mem, float, HIDDEN *NEURONS);
  for (size_t i = 0; i < HIDDEN / 4; i++)
    for (size_t c = 0; c < NEURONS; c++)
      for (size_t r = below(10) == 0 ? 0 : 4; r < 4; r++)
        w[(4 * i + r) * NEURONS + c] = number();
  return w;
}

static float *random_up(size_t percent) {
  return columns(NEURONS, HIDDEN, percent, percent);
}

static ir_id linear(ir_graph *g, const char *name, ir_id x, const float *w, int64_t rows,
                    int64_t cols) {
  float *bias = arena_array(mem, float, (size_t)rows);
  for (int64_t i = 0; i < rows; i++)
    bias[i] = (float)(i % 7) / 8;
  const ir_id in[] = {
      x, ir_add_const(g, arena_printf(mem, "%s.weight", name), ir_type2(rows, cols), w),
      ir_add_const(g, arena_printf(mem, "%s.bias", name), ir_type1(rows), bias)};
  return ir_add_op(g, name, OP_linear, in, 3);
}

static ir_graph *feed_forward(const float *up, const float *down) {
  static const int64_t dim[] = {DIM_B, DIM_S, HIDDEN};
  ir_graph *g = ir_graph_new(mem, "t");
  g->max_batch = 2;
  g->max_sequence = 8;
  ir_id x = ir_add_input(g, "x", ir_type_make(IR_F32, 3, dim));
  ir_id rows = ir_add_op(g, "rows", OP_pack, &x, 1);
  ir_id h = linear(g, "up", rows, up, NEURONS, HIDDEN);
  ir_id act = ir_add_op(g, "act", OP_gelu, &h, 1);
  ir_id y = linear(g, "down", act, down, HIDDEN, NEURONS);
  ir_id out = ir_add_op(g, "y", OP_unpack, &y, 1);
  for (ir_id id = 0; id < g->count; id++)
    if (ir_at(g, id)->kind == IR_OP) ck_assert(ir_infer(g, id, d));
  ir_add_output(g, "y", out);
  return g;
}

static pattern pattern_of(const ir_graph *g, const char *weight) {
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_CONST || strcmp(v->name, weight) != 0) continue;
    classify_result r;
    classify(v->tensor->data, (uint64_t)v->type.dim[0], (uint64_t)v->type.dim[1], &r);
    return r.best;
  }
  ck_abort_msg("there is no %s", weight);
}

/* Runs the pass; the graph has to compute the same. */
static ir_graph *permuted(const float *up, const float *down) {
  ir_graph *before = feed_forward(up, down), *g = feed_forward(up, down);
  ck_assert(pipeline_run_list(g, &context, "fuse,permute", NULL, NULL));
  double difference = values_differ(mem, d, before, g);
  ck_assert_msg(difference >= 0 && difference < 1e-12, "they differ by %g", difference);
  return g;
}

START_TEST(test_finds_hidden_blocks) {
  static const pattern wanted[] = {{.kind = PATTERN_BLOCK, .rows = 4, .cols = 1},
                                   {.kind = PATTERN_BLOCK, .rows = 16, .cols = 1}};
  size_t size = wanted[_i].rows;
  const float *up = class_rows(scatter(NEURONS / size, size), 10), *down = block_down();
  pattern was = pattern_of(feed_forward(up, down), "up.weight");
  ck_assert_int_eq(was.kind, PATTERN_UNSTRUCTURED);
  pattern p = pattern_of(permuted(up, down), "up.weight");
  ck_assert(pattern_equal(&p, &wanted[_i]));
  ck_assert(remarks("up.weight: its neurons get a new order"));
}
END_TEST

/* Few columns hold all non-zeros: together they leave slabs empty. Rows that are in blocks move
 * with those. */
START_TEST(test_gathers_columns) {
  size_t *of = arena_array(mem, size_t, NEURONS);
  for (size_t i = 0; i < NEURONS; i++)
    of[i] = i / 4;
  ir_graph *g = permuted(class_rows(of, 2), columns(HIDDEN, NEURONS, 40, 0));
  ck_assert(remarks("its neurons get a new order"));
  pattern p = pattern_of(g, "up.weight");
  ck_assert_uint_eq(p.rows, 4);
  ck_assert_uint_eq(p.cols, 1);
}
END_TEST

START_TEST(test_random_weights_stay) {
  const float *up = random_up(10), *down = columns(HIDDEN, NEURONS, 20, 20);
  const char *was = ir_print(permuted(up, down), mem);
  ck_assert(remarks("up.weight: its neurons keep their order"));
  options.keep_order = true;
  ck_assert_str_eq(ir_print(permuted(up, down), mem), was);
}
END_TEST

START_TEST(test_keeps_the_order_asked_for) {
  const float *up = class_rows(scatter(NEURONS / 4, 4), 10), *down = block_down();
  options.keep_order = true;
  pattern p = pattern_of(permuted(up, down), "up.weight");
  ck_assert_int_eq(p.kind, PATTERN_UNSTRUCTURED);
  ck_assert(!remarks("order"));
}
END_TEST

START_TEST(test_follows_the_pattern_asked_for) {
  const float *up = class_rows(scatter(NEURONS / 4, 4), 10), *down = block_down();
  options.sparse = SPARSE_PATTERN;
  ck_assert(pattern_parse("4x1", &options.sparse_pattern));
  permuted(up, down);
  ck_assert(remarks("up.weight: its neurons get a new order"));
}
END_TEST

START_TEST(test_is_repeatable) {
  const float *up = class_rows(scatter(NEURONS / 4, 4), 10),
              *down = columns(HIDDEN, NEURONS, 60, 10);
  const char *one = ir_print(permuted(up, down), mem);
  ck_assert_str_eq(ir_print(permuted(up, down), mem), one);
}
END_TEST

int main(void) {
  TCase *c = untimed_case("permute");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_loop_test(c, test_equal_supports_stand_together, 0, 3);
  tcase_add_test(c, test_leftovers_come_last);
  tcase_add_test(c, test_similar_supports_stand_together);
  tcase_add_test(c, test_fewer_than_four);
  tcase_add_loop_test(c, test_finds_hidden_blocks, 0, 2);
  tcase_add_test(c, test_gathers_columns);
  tcase_add_test(c, test_random_weights_stay);
  tcase_add_test(c, test_keeps_the_order_asked_for);
  tcase_add_test(c, test_follows_the_pattern_asked_for);
  tcase_add_test(c, test_is_repeatable);
  Suite *s = suite_create("permute");
  suite_add_tcase(s, c);
  return run_suite(s);
}
