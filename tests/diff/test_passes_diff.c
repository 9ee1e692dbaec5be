/* Every pass keeps what random graphs compute, and every graph on the way round-trips through its
 * text. Arguments: the first seed and how many; without them 1 and SEEDS. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/diff/diff_common.h"
#include "tests/run_suite.h"

enum { SEEDS = 300 };

static int first_seed = 1;
static bool verbose; /* one seed alone: show the graph after every pass */

/* How far a pass may move an output: fold and dead round the constants that they compute to f32;
 * the others change no more than the order of f64 sums. */
static double most_moved(const char *after) {
  return strcmp(after, "fold") == 0 || strcmp(after, "dead") == 0 ? 1e-6 : 1e-9;
}

typedef struct observed {
  const random_case *c;
  arena *a;
  diag *d;
  const diff_outputs *before;
} observed;

static bool resolve_in(void *context, const char *name, const ir_type *type, const float **data) {
  const ir_graph *g = context;
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_CONST || strcmp(v->name, name) != 0 || !ir_type_equal(&v->type, type))
      continue;
    *data = v->tensor->data;
    return true;
  }
  return false;
}

static void check_round_trip(const observed *o, const char *after, const ir_graph *g) {
  const char *text = ir_print(g, o->a);
  ir_graph *again =
      ir_parse(o->a, o->d, "graph.ir", text, strlen(text), resolve_in, (void *)(uintptr_t)g);
  ck_assert_msg(again && ir_verify(again, o->d, after), "%s\nafter %s:\n%s", o->c->text, after,
                diff_messages(o->a, o->d));
  ck_assert_msg(strcmp(ir_print(again, o->a), text) == 0,
                "%s\nafter %s: the text changes when it is read and printed:\n%s", o->c->text,
                after, text);
}

static void check_outputs(observed *o, const char *after, const ir_graph *g) {
  const diff_outputs *now = diff_interpret(o->c, g, false, o->a, o->d);
  ck_assert_msg(now != NULL, "%s\nafter %s: %s", o->c->text, after, diff_messages(o->a, o->d));
  if (o->before) ck_assert_uint_eq(now->count, o->before->count);
  double most = most_moved(after);
  for (uint32_t i = 0; o->before && i < now->count; i++) {
    ck_assert_uint_eq(now->elements[i], o->before->elements[i]);
    double error = diff_error(o->before->data[i], now->data[i], now->elements[i]);
    ck_assert_msg(error <= most, "%s\noutput %s moved by %.3g in pass %s", o->c->text,
                  g->outputs[i].name, error, after);
  }
  o->before = now;
}

static bool observe(void *context, const char *after, const ir_graph *g) {
  observed *o = context;
  if (verbose) fprintf(stderr, "---- %s\n%s", after, ir_print(g, o->a));
  check_round_trip(o, after, g);
  const char *bad = diff_bad_parts(g, o->a);
  ck_assert_msg(!bad, "%s\nafter %s: the parts of '%s' do not sum to its weight", o->c->text, after,
                bad);
  check_outputs(o, after, g);
  return true;
}

static pass_options random_options(uint64_t seed) {
  static const char *const forced[] = {"4x1",  "8x1",   "16x1", "1x4",
                                       "1x16", "16x16", "2:4",  "unstructured"};
  rng r = {seed};
  pass_options p = {.opt_level = rng_chance(&r, 80) ? 3 : (int)rng_below(&r, 3)};
  p.isa = rng_chance(&r, 70) ? ISA_X86_64_V4 : ISA_X86_64_V3;
  p.sparse = (enum sparse_mode)rng_below(&r, 3);
  ck_assert(pattern_parse(forced[rng_below(&r, 8)], &p.sparse_pattern));
  return p;
}

START_TEST(passes_keep_what_a_graph_computes) {
  arena *a = diff_arena();
  diag *d = diag_new(a);
  const random_case *c = random_case_new(a, (uint64_t)(first_seed + _i));
  ck_assert_msg(ir_verify(c->graph, d, NULL), "%s\n%s", c->text, diff_messages(a, d));
  pass_options options = random_options(c->seed);
  pass_context context = {.arena = a, .diag = d, .options = &options};
  observed o = {.c = c, .a = a, .d = d};
  ck_assert_msg(pipeline_run(c->graph, &context, observe, &o), "%s\n%s", c->text,
                diff_messages(a, d));
  ck_assert_ptr_nonnull(o.before);
  arena_free(a);
}
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) first_seed = atoi(argv[1]);
  int seeds = argc > 2 ? atoi(argv[2]) : SEEDS;
  verbose = seeds == 1;
  Suite *s = suite_create("passes on random graphs");
  TCase *t = untimed_case("seeds");
  tcase_add_loop_test(t, passes_keep_what_a_graph_computes, 0, seeds);
  suite_add_tcase(s, t);
  return run_suite(s);
}
