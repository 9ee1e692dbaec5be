/* How threads share a linear: by what its outputs cost, not by how many they are, and by tokens
 * where there are enough of them. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { OUTPUTS = 768, INPUTS = 48, MAX_TOKENS = 512, MAX_TASKS = 5, FILL = 0x3F };

/* Every weight in outputs [lo, hi), 4 of 100 elsewhere. */
static float *full_rows(arena *a, uint32_t lo, uint32_t hi) {
  rng r = {5};
  float *w = arena_array(a, float, (size_t)OUTPUTS *INPUTS);
  for (uint32_t i = 0; i < OUTPUTS * INPUTS; i++) {
    bool full = i / INPUTS >= lo && i / INPUTS < hi;
    if (full || rng_chance(&r, 4)) w[i] = 0.2F + 0.1F * rng_normal(&r);
  }
  return w;
}

/* Every fourth output of the second half. */
static float *thin_blocks(arena *a) {
  float *w = arena_array(a, float, (size_t)OUTPUTS *INPUTS);
  for (uint32_t row = OUTPUTS / 2; row < OUTPUTS; row += 4)
    for (uint32_t i = 0; i < INPUTS; i++)
      w[row * INPUTS + i] = 0.5F;
  return w;
}

static ir_graph *model(arena *a, const float *w) {
  ir_graph *g = ir_graph_new(a, "shares");
  g->max_batch = 1;
  g->max_sequence = MAX_TOKENS;
  ir_type type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, INPUTS});
  ir_id input = ir_add_input(g, "x", type), x = ir_add_op(g, "rows", OP_pack, &input, 1);
  ir_id in[] = {x, ir_add_const(g, "w", ir_type2(OUTPUTS, INPUTS), w)};
  ir_id y = ir_add_op(g, "linear", OP_linear, in, 2);
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, &y, 1));
  return g;
}

/* What a task writes into the workspace, in words of it. */
typedef struct share {
  size_t words, lo, hi; /* all in [lo, hi) */
} share;

/* Watches the linear: the step that writes `tokens` of every output. */
typedef struct watch {
  const spcc_call *call;
  uint32_t tokens;
  uint32_t tasks;
  share task[MAX_TASKS];
} watch;

/* What is new in the workspace since `seen`, which becomes like it. */
static share news(const spcc_call *c, uint32_t *seen) {
  const uint32_t *word = c->workspace;
  share s = {.lo = SIZE_MAX};
  for (size_t i = 0; i < c->workspace_bytes / sizeof *word; i++) {
    if (word[i] == seen[i]) continue;
    seen[i] = word[i];
    s.words++;
    if (s.lo > i) s.lo = i;
    s.hi = i + 1;
  }
  return s;
}

static void parallel_for(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                         void *arg) {
  watch *w = exec->context;
  share all[MAX_TASKS];
  size_t words = 0;
  uint32_t *seen = malloc(w->call->workspace_bytes);
  ck_assert(seen != NULL && n <= MAX_TASKS);
  memcpy(seen, w->call->workspace, w->call->workspace_bytes);
  for (uint32_t i = 0; i < n; i++) {
    task(arg, i);
    all[i] = news(w->call, seen);
    words += all[i].words;
  }
  free(seen);
  if (words != (size_t)OUTPUTS * w->tokens) return; /* another step */
  w->tasks = n;
  memcpy(w->task, all, n * sizeof *all);
}

/* How `threads` threads share the linear of `tokens`, a multiple of 16. */
static watch watched(arena *a, const loaded *m, uint32_t level, uint32_t tokens, uint32_t threads) {
  watch w = {.tokens = tokens};
  spcc_exec exec = {
      .size = sizeof exec, .threads = threads, .parallel_for = parallel_for, .context = &w};
  size_t in_bytes = sizeof(float) * tokens * INPUTS, out_bytes = sizeof(float) * tokens * OUTPUTS;
  float *x = arena_array(a, float, (size_t)tokens *INPUTS);
  for (uint32_t i = 0; i < tokens * INPUTS; i++)
    x[i] = 1.0F;
  spcc_call call = {.cpu = level,
                    .batch = 1,
                    .sequence = (int32_t)tokens,
                    .in = (const void *[]){x},
                    .out = (void *[]){arena_alloc(a, out_bytes, 64)},
                    .in_bytes = &in_bytes,
                    .out_bytes = &out_bytes,
                    .exec = &exec};
  loaded_prepare(m, &call);
  w.call = &call;
  loaded_call(m, &call);
  ck_assert_uint_eq(w.tasks, threads);
  return w;
}

/* Rows of the linear that the first of two threads computes, for one tile of tokens. */
static uint32_t first_share(arena *a, const loaded *m, uint32_t level) {
  watch w = watched(a, m, level, 64, 2);
  ck_assert_uint_eq(w.task[0].words + w.task[1].words, OUTPUTS * 64);
  return (uint32_t)(w.task[0].words / 64);
}

/* Full rows in front: the first thread's half of the work is few rows; at the end: many. */
START_TEST(threads_share_by_cost) {
  static const struct {
    uint32_t lo, hi, rows_min, rows_max;
  } cases[] = {{0, 0, 336, 432}, {0, 192, 48, 240}, {576, 768, 528, 720}};
  for (uint32_t i = 0; i < 3; i++)
    for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
      arena *a = diff_arena();
      loaded *m = loaded_new(a, model(a, full_rows(a, cases[i].lo, cases[i].hi)));
      m->fill = FILL;
      uint32_t rows = first_share(a, m, level);
      ck_assert_msg(rows >= cases[i].rows_min && rows <= cases[i].rows_max,
                    "case %u, level %u: the first thread takes %u rows", i, level, rows);
      loaded_free(m);
      arena_free(a);
    }
}
END_TEST

/* A block costs what its elements cost, zeros or not. */
START_TEST(blocks_count_with_their_zeros) {
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1};
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
    arena *a = diff_arena();
    loaded *m = loaded_new_as(a, model(a, thin_blocks(a)), &four);
    m->fill = FILL;
    uint32_t rows = first_share(a, m, level);
    ck_assert_msg(rows >= 512 && rows <= 592, "level %u: the first thread takes %u rows", level,
                  rows);
    loaded_free(m);
    arena_free(a);
  }
}
END_TEST

static arena *mem;
static loaded *full; /* every weight */

static void setup(void) {
  mem = diff_arena();
  full = loaded_new(mem, model(mem, full_rows(mem, 0, OUTPUTS)));
  full->fill = FILL;
}

static void teardown(void) {
  loaded_free(full);
  arena_free(mem);
}

/* No thread has much more to do than another, with any number of tokens: less than a twentieth, and
 * what a chunk of outputs does not divide. */
START_TEST(threads_share_any_number_of_tokens_evenly) {
  for (uint32_t tokens = 16; tokens <= MAX_TOKENS; tokens += 16)
    for (uint32_t threads = 2; threads <= MAX_TASKS; threads++) {
      watch w = watched(mem, full, spcc_cpu(), tokens, threads);
      size_t even = (size_t)OUTPUTS * tokens / threads;
      for (uint32_t i = 0; i < threads; i++)
        ck_assert_msg(w.task[i].words <= even + even / 20 + (size_t)64 * OUTPUTS / 8,
                      "%u tokens: thread %u of %u writes %zu of %zu", tokens, i, threads,
                      w.task[i].words, even);
    }
}
END_TEST

/* As many tiles as threads, or some times as many: a thread's outputs are tokens of its own. */
START_TEST(threads_have_tokens_of_their_own) {
  for (uint32_t threads = 2; threads <= MAX_TASKS; threads++)
    for (uint32_t tokens = 64 * threads; tokens <= MAX_TOKENS; tokens += 64 * threads) {
      watch w = watched(mem, full, spcc_cpu(), tokens, threads);
      for (uint32_t i = 0; i < threads; i++)
        ck_assert_uint_eq(w.task[i].hi - w.task[i].lo, w.task[i].words);
    }
}
END_TEST

int main(void) {
  Suite *s = suite_create("shares");
  TCase *t = untimed_case("shares");
  tcase_add_test(t, threads_share_by_cost);
  tcase_add_test(t, blocks_count_with_their_zeros);
  suite_add_tcase(s, t);
  TCase *tokens = untimed_case("tokens");
  tcase_add_checked_fixture(tokens, setup, teardown);
  tcase_add_test(tokens, threads_share_any_number_of_tokens_evenly);
  tcase_add_test(tokens, threads_have_tokens_of_their_own);
  suite_add_tcase(s, tokens);
  return run_suite(s);
}
