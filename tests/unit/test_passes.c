/* The pipeline, and fold, dead and fuse on an encoder with zero neurons, channels and heads. What
 * each pass does to the text of small graphs is in tests/golden. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"
#include "support/file.h"
#include "tests/golden/values.h"
#include "tests/run_suite.h"

static arena *mem;
static diag *d;
static pass_options options;
static pass_context context;

static void no_memory(void *unused, size_t size) {
  (void)unused;
  (void)size;
  abort();
}

static void setup(void) {
  mem = arena_new((size_t)1 << 28, no_memory, NULL);
  d = diag_new(mem);
  options = (pass_options){.opt_level = 2, .isa = ISA_X86_64_V3};
  context = (pass_context){.arena = mem, .diag = d, .options = &options};
}

static void teardown(void) {
  arena_free(mem);
}

static bool says(enum err code, const char *text) {
  for (const diag_message *m = diag_first(d); m; m = m->next)
    if (m->level == DIAG_ERROR && m->code == code && strstr(m->text, text)) return true;
  return false;
}

/* ---- an encoder ---- */

enum { HIDDEN = 24, HEADS = 3, HEAD = HIDDEN / HEADS, NEURONS = 40 };

static uint64_t seed;

static const float *numbers(size_t n, float centre) {
  float *x = arena_array(mem, float, n);
  for (size_t i = 0; i < n; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x[i] = centre + (float)(seed >> 40) / (float)(1 << 23) - 1.0f;
  }
  return x;
}

static float *zero_rows(const float *w, size_t cols, size_t from, size_t to) {
  float *x = (float *)w;
  memset(x + from * cols, 0, (to - from) * cols * sizeof *x);
  return x;
}

static void zero_cols(float *w, size_t rows, size_t cols, size_t from, size_t to) {
  for (size_t r = 0; r < rows; r++)
    memset(w + r * cols + from, 0, (to - from) * sizeof *w);
}

static const char *text(const char *layer, const char *tail) {
  return arena_printf(mem, "%s.%s", layer, tail);
}

static ir_id linear(ir_graph *g, const char *name, ir_id x, float *w, int64_t rows, int64_t cols) {
  ir_id in[3] = {x};
  in[1] = ir_add_const(g, text(name, "weight"), ir_type2(rows, cols), w);
  in[2] = ir_add_const(g, text(name, "bias"), ir_type1(rows), numbers((size_t)rows, 0));
  return ir_add_op(g, name, OP_linear, in, 3);
}

static ir_id norm(ir_graph *g, const char *name, ir_id x) {
  ir_id in[3] = {x};
  in[1] = ir_add_const(g, text(name, "weight"), ir_type1(HIDDEN), numbers(HIDDEN, 1));
  in[2] = ir_add_const(g, text(name, "bias"), ir_type1(HIDDEN), numbers(HIDDEN, 0));
  return ir_add_op(g, name, OP_layernorm, in, 3);
}

static ir_id op2(ir_graph *g, const char *name, enum ir_op op, ir_id a, ir_id b) {
  const ir_id in[2] = {a, b};
  return ir_add_op(g, name, op, in, 2);
}

/* [rows, cols] random numbers. */
static float *matrix(size_t rows, size_t cols) {
  return (float *)numbers(rows * cols, 0);
}

static ir_id attention(ir_graph *g, ir_id x, ir_id mask) {
  float *v = matrix(HIDDEN, HIDDEN), *out = matrix(HIDDEN, HIDDEN);
  zero_rows(v, HIDDEN, 0, 3);                       /* head 0: half by its rows, */
  zero_cols(out, HIDDEN, HIDDEN, 3, HEAD);          /* half by the columns behind it */
  zero_rows(v, HIDDEN, 2 * HEAD + 1, 2 * HEAD + 2); /* one channel of head 2 */
  ir_id q = linear(g, "l.query", x, matrix(HIDDEN, HIDDEN), HIDDEN, HIDDEN);
  ir_id k = linear(g, "l.key", x, matrix(HIDDEN, HIDDEN), HIDDEN, HIDDEN);
  ir_id value = linear(g, "l.value", x, v, HIDDEN, HIDDEN);
  ir_id s = op2(g, "l.scores", OP_scores, q, k);
  ir_at(g, s)->attr[A_heads].i = HEADS;
  ir_at(g, s)->attr[A_scale].f = 0.35355339059327373;
  ir_infer(g, s, d);
  ir_id p = op2(g, "l.softmax", OP_softmax, s, mask);
  ir_id c = op2(g, "l.context", OP_context, p, value);
  ir_at(g, c)->attr[A_heads].i = HEADS;
  ir_infer(g, c, d);
  return linear(g, "l.out", c, out, HIDDEN, HIDDEN);
}

static ir_id feed_forward(ir_graph *g, ir_id x) {
  float *up = matrix(NEURONS, HIDDEN), *down = matrix(HIDDEN, NEURONS);
  zero_rows(up, HIDDEN, 4, 9);
  zero_cols(down, HIDDEN, NEURONS, 8, 12);
  ir_id h = linear(g, "l.up", x, up, NEURONS, HIDDEN);
  ir_id act = ir_add_op(g, "l.gelu", OP_gelu, &h, 1);
  return linear(g, "l.down", act, down, HIDDEN, NEURONS);
}

static ir_graph *encoder(void) {
  ir_graph *g = ir_graph_new(mem, "encoder");
  const int64_t bs[] = {DIM_B, DIM_S}, bsh[] = {DIM_B, DIM_S, HIDDEN};
  seed = 7;
  g->max_batch = 4;
  g->max_sequence = 8;
  ir_id x = ir_add_input(g, "x", ir_type_make(IR_F32, 3, bsh));
  ir_id mask = ir_add_input(g, "mask", ir_type_make(IR_I32, 2, bs));
  ir_at(g, mask)->optional = true;
  ir_at(g, mask)->absent = 1;
  ir_id rows = op2(g, "rows", OP_pack, x, mask);
  ir_id a = norm(g, "l.norm1", op2(g, "l.sum1", OP_add, attention(g, rows, mask), rows));
  ir_id b = norm(g, "l.norm2", op2(g, "l.sum2", OP_add, feed_forward(g, a), a));
  ir_id c = linear(g, "head", b, matrix(5, HIDDEN), 5, HIDDEN);
  ir_add_output(g, "y", op2(g, "y", OP_unpack, c, mask));
  ck_assert(ir_verify(g, d, NULL));
  return g;
}

static const ir_value *find_const(const ir_graph *g, const char *name) {
  for (ir_id id = 0; id < g->count; id++)
    if (ir_at(g, id)->kind == IR_CONST && strcmp(ir_at(g, id)->name, name) == 0)
      return ir_at(g, id);
  ck_abort_msg("there is no constant %s", name);
}

static void check_shape(const ir_graph *g, const char *name, int64_t rows, int64_t cols) {
  const ir_value *v = find_const(g, name);
  ck_assert_int_eq(v->type.dim[0], rows);
  ck_assert_int_eq(v->type.rank == 1 ? 0 : v->type.dim[1], cols);
}

static uint32_t count_ops(const ir_graph *g, enum ir_op op) {
  uint32_t n = 0;
  for (ir_id id = 0; id < g->count; id++)
    n += ir_is_op(ir_at(g, id), op);
  return n;
}

static void run(ir_graph *g, const char *list) {
  bool good = pipeline_run_list(g, &context, list, NULL, NULL);
  for (const diag_message *m = diag_first(d); m && !good; m = m->next)
    fprintf(stderr, "%s\n", diag_format(mem, m));
  ck_assert(good);
}

/* ---- what the passes do to it ---- */

START_TEST(test_same_values) {
  static const char *const lists[] = {"fold",      "dead",           "fuse",          "fold,dead",
                                      "dead,fold", "fold,dead,fuse", "fuse,dead,fold"};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    ir_graph *before = encoder(), *after = encoder();
    run(after, lists[i]);
    double difference = values_differ(mem, d, before, after);
    ck_assert_msg(difference >= 0 && difference < 1e-6, "%s: the values differ by %g", lists[i],
                  difference);
  }
}
END_TEST

/* Were a pass to leave out what it should do, or to do it twice, its constants would not have
 * these shapes. */
START_TEST(test_shapes) {
  ir_graph *g = encoder();
  run(g, "fold,dead");
  check_shape(g, "l.query.weight", 2 * HEAD, HIDDEN);
  check_shape(g, "l.key.bias", 2 * HEAD, 0);
  check_shape(g, "l.value.weight", 2 * HEAD, HIDDEN);
  check_shape(g, "l.out.weight", HIDDEN, 2 * HEAD);
  check_shape(g, "l.up.weight", NEURONS - 8, HIDDEN);
  check_shape(g, "l.up.bias", NEURONS - 8, 0);
  check_shape(g, "l.down.weight", HIDDEN, NEURONS - 8);
  check_shape(g, "l.down.bias", HIDDEN, 0);
  run(g, "fuse");
  check_shape(g, "l.qkv.weight", 6 * HEAD, HIDDEN);
  check_shape(g, "l.qkv.bias", 6 * HEAD, 0);
  ck_assert_uint_eq(count_ops(g, OP_linear), 5);
  ck_assert_uint_eq(count_ops(g, OP_attention), 1);
}
END_TEST

/* A pass that ran once finds nothing to do. */
START_TEST(test_idempotent) {
  ir_graph *g = encoder();
  run(g, "fold,dead,fuse");
  const char *once = ir_print(g, mem);
  run(g, "fold,dead,fuse");
  ck_assert_str_eq(ir_print(g, mem), once);
}
END_TEST

START_TEST(test_shared_weight) { /* one weight, two linears, one of them followed by a factor */
  ir_graph *g = NULL, *before = NULL;
  const int64_t bsh[] = {DIM_B, DIM_S, HIDDEN};
  float *w = matrix(HIDDEN, HIDDEN), *copy = arena_array(mem, float, HIDDEN *HIDDEN);
  memcpy(copy, w, HIDDEN * HIDDEN * sizeof *w);
  for (int i = 0; i < 2; i++) {
    g = ir_graph_new(mem, "tied");
    seed = 3;
    g->max_sequence = 8;
    g->max_batch = 4;
    ir_id x = ir_add_input(g, "x", ir_type_make(IR_F32, 3, bsh));
    ir_id rows = ir_add_op(g, "rows", OP_pack, &x, 1);
    ir_id weight = ir_add_const(g, "w", ir_type2(HIDDEN, HIDDEN), w);
    ir_id factor = ir_add_const(g, "f", ir_type1(HIDDEN), numbers(HIDDEN, 2));
    ir_id u = op2(g, "u", OP_linear, rows, weight);
    ir_id v = op2(g, "v", OP_linear, rows, weight);
    ir_id scaled = op2(g, "scaled", OP_mul, u, factor);
    ir_id sum = op2(g, "sum", OP_add, scaled, v);
    ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &sum, 1));
    if (i == 0) before = g;
  }
  run(g, "fold");
  ck_assert_uint_eq(count_ops(g, OP_mul), 0);
  ck_assert_ptr_eq(find_const(g, "w")->tensor->data, w);
  ck_assert(find_const(g, "w.1")->tensor->data != w);
  ck_assert_mem_eq(w, copy, HIDDEN * HIDDEN * sizeof *w);
  double difference = values_differ(mem, d, before, g);
  ck_assert(difference >= 0 && difference < 1e-6);
}
END_TEST

START_TEST(test_long_names) { /* the longest name leaves no room for a suffix */
  ir_graph *g = encoder();
  char *name = arena_array(mem, char, IR_MAX_NAME + 1);
  memset(name, 'n', IR_MAX_NAME);
  for (ir_id id = 0; id < g->count; id++)
    if (strcmp(ir_at(g, id)->name, "l.query") == 0 ||
        strcmp(ir_at(g, id)->name, "l.up.weight") == 0)
      ir_at(g, id)->name = name;
  run(g, "fold,dead,fuse");
}
END_TEST

/* 20,000 LayerNorms and linears share three constants; folding would make a constant of its own for
 * each, more values than a graph may have. */
START_TEST(test_limit) {
  ir_graph *g = ir_graph_new(mem, "long");
  const int64_t bsh[] = {DIM_B, DIM_S, HIDDEN};
  ir_id x = ir_add_input(g, "x", ir_type_make(IR_F32, 3, bsh));
  ir_id v = ir_add_op(g, "rows", OP_pack, &x, 1), in[3];
  ir_id w = ir_add_const(g, "w", ir_type2(HIDDEN, HIDDEN), matrix(HIDDEN, HIDDEN));
  in[1] = ir_add_const(g, "gamma", ir_type1(HIDDEN), numbers(HIDDEN, 1));
  in[2] = ir_add_const(g, "beta", ir_type1(HIDDEN), numbers(HIDDEN, 0));
  for (int i = 0; i < 20000; i++) {
    in[0] = v;
    v = ir_add_op(g, arena_printf(mem, "n%d", i), OP_layernorm, in, 3);
    v = op2(g, arena_printf(mem, "l%d", i), OP_linear, v, w);
  }
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &v, 1));
  run(g, "fold,dead,fuse");
}
END_TEST

START_TEST(test_remarks) {
  ir_graph *g = encoder();
  bool heads = false, neurons = false;
  context.remarks = true;
  run(g, "dead");
  for (const diag_message *m = diag_first(d); m; m = m->next) {
    ck_assert_int_eq(m->level, DIAG_REMARK);
    heads |= strcmp(m->text, "l.value.weight: 1 of 3 heads are zero and were removed") == 0;
    neurons |= strcmp(m->text, "l.up.weight: 8 of 40 neurons are zero and were removed") == 0;
  }
  ck_assert(heads && neurons);
}
END_TEST

/* ---- the pipeline ---- */

typedef struct seen {
  const char *stop; /* say no after this pass */
  const char *harm; /* break the graph after this pass */
  char names[256];
} seen;

static bool note(void *to, const char *name, const ir_graph *g) {
  seen *s = to;
  snprintf(s->names + strlen(s->names), sizeof s->names - strlen(s->names), "%s ", name);
  if (s->harm && strcmp(name, s->harm) == 0)
    for (ir_id id = 0; id < g->count; id++)
      if (ir_at(g, id)->kind == IR_INPUT) ir_at(g, id)->name = "same";
  return !s->stop || strcmp(name, s->stop) != 0;
}

START_TEST(test_order) {
  static const char *const order[] = {
      "import fuse partition schedule plan ",
      "import fold dead first fuse permute partition schedule plan "};
  for (int level = 0; level <= 3; level++) {
    seen s = {0};
    options.opt_level = level;
    ck_assert(pipeline_run(encoder(), &context, note, &s));
    ck_assert_str_eq(s.names, order[level > 0]);
  }
}
END_TEST

START_TEST(test_observer_stops) {
  seen s = {.stop = "dead"};
  ck_assert(!pipeline_run(encoder(), &context, note, &s));
  ck_assert_str_eq(s.names, "import fold dead ");
  ck_assert_uint_eq(diag_errors(d), 0);
}
END_TEST

/* Two inputs get the same name behind the pipeline's back; the verifier sees it after the next
 * pass, whichever that is. */
START_TEST(test_verifies_after_every_pass) {
  const char *before = "import";
  for (const pass *p = pipeline; p->name; p++) {
    seen s = {.harm = before};
    d = context.diag = diag_new(mem);
    ck_assert(!pipeline_run(encoder(), &context, note, &s));
    ck_assert_msg(says(E_INTERNAL, arena_printf(mem, "after '%s'", p->name)), "after %s", p->name);
    ck_assert_int_eq(diag_exit_code(d), 70);
    before = p->name;
  }
}
END_TEST

START_TEST(test_verifies_import) {
  ir_graph *g = encoder();
  seen s = {0};
  ir_at(g, 0)->name = "";
  ck_assert(!pipeline_run(g, &context, note, &s));
  ck_assert(says(E_INTERNAL, "after 'import'"));
  ck_assert_str_eq(s.names, "");
}
END_TEST

START_TEST(test_lists) {
  seen s = {0};
  options.opt_level = 0; /* a list runs whatever the level */
  ck_assert(pipeline_run_list(encoder(), &context, "fuse,fold", note, &s));
  ck_assert_str_eq(s.names, "import fuse fold ");
  ck_assert(pipeline_run_list(encoder(), &context, "", NULL, NULL));
  ck_assert(!pipeline_run_list(encoder(), &context, "fold,fol", NULL, NULL));
  ck_assert(says(E_NAME, "there is no pass 'fol'; the passes are fold, dead, first, fuse, permute, "
                         "partition, schedule, plan"));
}
END_TEST

START_TEST(test_isa_names) {
  ck_assert_str_eq(isa_names[ISA_X86_64_V3], "x86-64-v3");
  ck_assert_str_eq(isa_names[ISA_X86_64_V4], "x86-64-v4");
}
END_TEST

/* docs/passes.md has a section for every row. */
START_TEST(test_documented) {
  bytes doc;
  ck_assert(file_read(mem, d, SPCC_SOURCE_DIR "/docs", "passes.md", 1 << 20, &doc));
  for (const pass *p = pipeline; p->name; p++) {
    const char *title = arena_printf(mem, "\n## %s\n", p->name);
    ck_assert_msg(strstr((const char *)doc.data, title) != NULL, "no section '%s'", p->name);
    ck_assert(*p->doc != '\0');
  }
}
END_TEST

int main(void) {
  TCase *c = untimed_case("passes");
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, test_same_values);
  tcase_add_test(c, test_shapes);
  tcase_add_test(c, test_idempotent);
  tcase_add_test(c, test_shared_weight);
  tcase_add_test(c, test_long_names);
  tcase_add_test(c, test_limit);
  tcase_add_test(c, test_remarks);
  tcase_add_test(c, test_order);
  tcase_add_test(c, test_observer_stops);
  tcase_add_test(c, test_verifies_after_every_pass);
  tcase_add_test(c, test_verifies_import);
  tcase_add_test(c, test_lists);
  tcase_add_test(c, test_isa_names);
  tcase_add_test(c, test_documented);
  Suite *s = suite_create("passes");
  suite_add_tcase(s, c);
  return run_suite(s);
}
