/* Compiled random graphs against the interpreter: every ISA level of this machine, the optimized
 * and the generic pipeline, one to three threads on several executors, guard pages around every
 * buffer. Arguments: the first seed and how many; without them 1 and DIFF_SEEDS. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/diff/guard.h"
#include "tests/run_suite.h"

enum { MAX_OUTPUTS = 8, MAX_INPUTS = 8 };

static int first_seed = 1;

/* ---- executors ---- */

/* Runs the tasks one after the other, the last one first. */
static void backwards(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                      void *arg) {
  ck_assert_uint_le(n, exec->threads);
  for (uint32_t i = n; i-- > 0;)
    task(arg, i);
}

static spcc_exec backwards_exec(uint32_t threads) {
  return (spcc_exec){.size = sizeof(spcc_exec), .threads = threads, .parallel_for = backwards};
}

/* ---- one compiled model and its calls ---- */

typedef struct model {
  arena *a;
  const random_case *c;
  const diff_reference *reference;
  const char *text;
  codegen_result result;
  jit_model *jit;
  jit_entry entry;
  guarded weights;
  bool at_end; /* where buffers lie between their guards */
} model;

typedef struct buffers {
  guarded in[MAX_INPUTS], out[MAX_OUTPUTS], workspace;
  const void *in_data[MAX_INPUTS];
  void *out_data[MAX_OUTPUTS];
  size_t out_bytes[MAX_OUTPUTS];
} buffers;

/* Outputs start as NaNs, so that an element that is not written shows. */
static buffers *buffers_new(const model *m, size_t workspace) {
  buffers *b = arena_new_one(m->a, buffers);
  const random_case *c = m->c;
  ck_assert_uint_le(c->in_count, MAX_INPUTS);
  for (uint32_t i = 0; i < c->in_count; i++) {
    if (!c->in[i]) continue;
    b->in[i] = guard_copy(c->in[i], c->in_bytes[i], 4, m->at_end);
    b->in_data[i] = b->in[i].data;
  }
  ck_assert_uint_le(m->reference->exact->count, MAX_OUTPUTS);
  for (uint32_t i = 0; i < m->reference->exact->count; i++) {
    b->out_bytes[i] = m->reference->exact->elements[i] * sizeof(float);
    b->out[i] = guard_new(b->out_bytes[i], 4, m->at_end, 0xFF);
    b->out_data[i] = b->out[i].data;
  }
  b->workspace = guard_new(workspace, 64, m->at_end, 0xFF);
  return b;
}

static void buffers_free(const model *m, const buffers *b) {
  for (uint32_t i = 0; i < m->c->in_count; i++)
    if (b->in_data[i]) guard_free(&b->in[i]);
  for (uint32_t i = 0; i < m->reference->exact->count; i++)
    guard_free(&b->out[i]);
  guard_free(&b->workspace);
}

static const buffers *call(const model *m, uint32_t cpu, const spcc_exec *exec) {
  const random_case *c = m->c;
  uint32_t threads = exec ? exec->threads : 1;
  size_t workspace = m->entry.workspace((int32_t)c->batch, (int32_t)c->sequence, threads);
  buffers *b = buffers_new(m, workspace);
  spcc_call s = {.size = sizeof s,
                 .cpu = cpu,
                 .model = m->result.digest,
                 .batch = (int32_t)c->batch,
                 .sequence = (int32_t)c->sequence,
                 .lengths = c->lengths,
                 .in = b->in_data,
                 .out = b->out_data,
                 .in_bytes = c->in_bytes,
                 .out_bytes = b->out_bytes,
                 .weights = m->weights.data,
                 .weights_bytes = m->result.weights.size,
                 .workspace = b->workspace.data,
                 .workspace_bytes = workspace,
                 .exec = exec};
  spcc_status status = m->entry.run(&s);
  ck_assert_msg(status == SPCC_OK, "%s\n%s", m->text, spcc_status_text(status));
  return b;
}

/* ---- checks ---- */

static void check_bound(const model *m, const buffers *b) {
  for (uint32_t i = 0; i < m->reference->exact->count; i++) {
    double error;
    bool within = diff_within(m->reference, i, b->out_data[i], m->a, &error);
    ck_assert_msg(within, "%s\noutput %s: error %.3g is over the bound %.3g", m->text,
                  m->c->graph->outputs[i].name, error, m->reference->bound[i]);
  }
}

static void check_same_bits(const model *m, const buffers *want, const spcc_exec *exec,
                            uint32_t cpu) {
  const buffers *got = call(m, cpu, exec);
  for (uint32_t i = 0; i < m->reference->exact->count; i++)
    ck_assert_msg(memcmp(got->out_data[i], want->out_data[i], want->out_bytes[i]) == 0,
                  "%s\noutput %s: other bits with %u threads", m->text,
                  m->c->graph->outputs[i].name, exec->threads);
  buffers_free(m, got);
}

static void check_level(const model *m, uint32_t cpu) {
  const buffers *alone = call(m, cpu, NULL);
  check_bound(m, alone);
  for (uint32_t threads = 1; threads <= 3; threads++) {
    spcc_exec loop = backwards_exec(threads);
    check_same_bits(m, alone, &loop, cpu);
    spcc_pool *pool = spcc_pool_new(threads);
    check_same_bits(m, alone, spcc_pool_exec(pool), cpu);
    spcc_pool_free(pool);
  }
  buffers_free(m, alone);
}

/* ---- compiling ---- */

static pass_options random_options(rng *r) {
  static const char *const forced[] = {"4x1",  "8x1",   "16x1", "1x4",
                                       "1x16", "16x16", "2:4",  "unstructured"};
  pass_options p = {.opt_level = rng_chance(r, 80) ? 3 : (int)rng_below(r, 3),
                    .isa = ISA_X86_64_V4};
  static const enum sparse_mode modes[] = {SPARSE_AUTO, SPARSE_AUTO, SPARSE_PATTERN, SPARSE_PATTERN,
                                           SPARSE_OFF};
  p.sparse = modes[rng_below(r, 5)];
  ck_assert(pattern_parse(forced[rng_below(r, 8)], &p.sparse_pattern));
  return p;
}

static const char *describe(arena *a, const random_case *c, const pass_options *p, bool generic) {
  static const char *const modes[] = {"auto", "off", "pattern"};
  char text[PATTERN_TEXT_MAX];
  return arena_printf(a, "%s\n-O%d --sparse=%s (%s)%s", c->text, p->opt_level, modes[p->sparse],
                      pattern_print(&p->sparse_pattern, text), generic ? " generic" : "");
}

static void compile(model *m, diag *d, const pass_options *p, bool generic) {
  pass_context context = {.arena = m->a, .diag = d, .options = p};
  ir_graph *g = m->c->graph;
  bool passed = generic ? pipeline_run_list(g, &context, "fuse,plan", NULL, NULL)
                        : pipeline_run(g, &context, NULL, NULL);
  ck_assert_msg(passed, "%s\n%s", m->text, diff_messages(m->a, d));
  codegen_options o = {.levels = {ISA_X86_64_V4, ISA_X86_64_V3},
                       .level_count = 2,
                       .opt_level = p->opt_level,
                       .generic = generic,
                       .external_weights = true};
  ck_assert_msg(codegen(g, &o, EMIT_OBJ, m->a, d, &m->result), "%s\n%s", m->text,
                diff_messages(m->a, d));
  m->jit = jit_load(d, &m->result, g->name, &m->entry);
  ck_assert_msg(m->jit != NULL, "%s\n%s", m->text, diff_messages(m->a, d));
}

static void check_seed(uint64_t seed, bool generic) {
  arena *a = diff_arena();
  diag *d = diag_new(a);
  model m = {.a = a, .c = random_case_new(a, seed), .at_end = seed % 3 != 0};
  rng r = {seed};
  pass_options options = random_options(&r);
  m.text = describe(a, m.c, &options, generic);
  m.reference = diff_reference_new(m.c, a, d);
  ck_assert_msg(m.reference != NULL, "%s\n%s", m.text, diff_messages(a, d));
  compile(&m, d, &options, generic);
  m.weights = guard_copy(m.result.weights.data, m.result.weights.size, 64, m.at_end);
  static const uint32_t levels[] = {SPCC_CPU_X86_64_V4, SPCC_CPU_X86_64_V3};
  for (uint32_t i = 0; i < 2; i++)
    if (levels[i] <= spcc_cpu()) check_level(&m, levels[i]);
  guard_free(&m.weights);
  jit_free(m.jit);
  arena_free(a);
}

START_TEST(compiled_graphs_agree_with_the_interpreter) {
  check_seed((uint64_t)(first_seed + _i), false);
}
END_TEST

START_TEST(generic_code_agrees_with_the_interpreter) {
  check_seed((uint64_t)(first_seed + 4 * _i), true);
}
END_TEST

int main(int argc, char **argv) {
  if (argc > 1) first_seed = atoi(argv[1]);
  int seeds = argc > 2 ? atoi(argv[2]) : DIFF_SEEDS;
  Suite *s = suite_create("compiled random graphs");
  TCase *t = untimed_case("seeds");
  tcase_add_loop_test(t, compiled_graphs_agree_with_the_interpreter, 0, seeds);
  tcase_add_loop_test(t, generic_code_agrees_with_the_interpreter, 0, (seeds + 3) / 4);
  suite_add_tcase(s, t);
  return run_suite(s);
}
