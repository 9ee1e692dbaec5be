/* Taps against the interpreter: what the linears of a compiled model read over sentences of all
 * lengths, before and after some of its weights were replaced. */
#include "tests/unit/tiny_bert.h"

#include <math.h>

#include "driver/taps.h"
#include "ir/interp.h"
#include "tests/run_suite.h"

enum { LAYERS = 2, SENTENCES = 37, PER_LAYER = 6 };

static driver dr;
static model_source *source;
static token_set sentences;

static void setup(void) {
  scratch_setup();
  tiny_bert t = {.layers = LAYERS, .pooler = true, .prefix = "bert."};
  tiny_write(&t, "tiny");
  put_text("model.yaml", "spcc: 1\nmodel: {huggingface: tiny}\n"
                         "inputs: [input_ids, attention_mask]\noutputs: [pooler_output]\n");
  dr = (driver){.arena = mem, .diag = d, .command = CMD_prune};
  source = source_read(&dr, "model.yaml", &(model_overrides){0});
  ck_assert_ptr_nonnull(source);
  ck_assert(source_close(&dr, source));
  size_t *start = arena_array(mem, size_t, SENTENCES + 1), n = 0;
  int32_t *ids = arena_array(mem, int32_t, SENTENCES *TINY_POSITIONS);
  for (size_t i = 0; i < SENTENCES; i++) {
    start[i] = n;
    for (size_t k = 0; k <= i * 7 % TINY_POSITIONS; k++, n++)
      ids[n] = (int32_t)((n * 5 + i) % TINY_VOCAB);
  }
  start[SENTENCES] = n;
  sentences = (token_set){ids, start, SENTENCES};
}

/* ---- what the interpreter says ---- */

/* The sum over all tokens of what tap i reads, and of its squares. */
static void expect(const taps *t, size_t i, double *sum, double *squares, size_t *tokens) {
  const tap *at = &t->list[i];
  ir_graph *g = ir_clone(t->graph, mem);
  ir_cleanup(g);
  *sum = *squares = 0;
  *tokens = 0;
  for (size_t s = 0; s < sentences.count; s++) {
    size_t length = sentences.start[s + 1] - sentences.start[s];
    const void *in[] = {sentences.ids + sentences.start[s], NULL};
    double **out = arena_array(mem, double *, g->output_count);
    for (uint32_t k = 0; k < g->output_count; k++)
      out[k] = arena_array(mem, double, length *TINY_INNER);
    interp_call call = {.batch = 1, .sequence = (int64_t)length, .in = in, .out = out};
    ck_assert(interp_run(g, &call, mem, d));
    const double *x = out[at->output];
    for (size_t k = 0; k < length * at->cols; k++) {
      *sum += x[k];
      *squares += x[k] * x[k];
    }
    *tokens += length;
  }
}

typedef struct moments {
  double sum[LAYERS * PER_LAYER], squares[LAYERS * PER_LAYER];
  size_t tokens[LAYERS * PER_LAYER];
  const taps *t;
} moments;

static bool add(void *context, size_t i, const float *x, size_t tokens) {
  moments *m = context;
  m->tokens[i] += tokens;
  for (size_t k = 0; k < tokens * m->t->list[i].cols; k++) {
    m->sum[i] += x[k];
    m->squares[i] += (double)x[k] * x[k];
  }
  return true;
}

static void check_all(taps *t) {
  static moments m;
  m = (moments){.t = t};
  ck_assert(taps_run(t, &sentences, 0, t->count, add, &m));
  for (size_t i = 0; i < t->count; i++) {
    double sum, squares;
    size_t tokens;
    expect(t, i, &sum, &squares, &tokens);
    ck_assert_uint_eq(m.tokens[i], tokens);
    ck_assert_double_eq_tol(m.sum[i], sum, 1e-5 * sqrt(squares) + 1e-4);
    ck_assert_double_eq_tol(m.squares[i], squares, 1e-5 * squares);
  }
}

START_TEST(taps_are_what_linears_read) {
  taps t;
  ck_assert(taps_open(&dr, source, source->linears, source->linear_count, 1, &t));
  ck_assert_uint_eq(t.count, LAYERS * PER_LAYER);
  /* query, key and value read the same. */
  ck_assert_uint_eq(t.list[0].output, t.list[1].output);
  ck_assert_uint_eq(t.list[0].output, t.list[2].output);
  ck_assert_uint_eq(t.graph->output_count, LAYERS * 4);
  check_all(&t);
  taps_close(&t);
}
END_TEST

/* Zeros all over, and rows and columns of them, leave the layout of the code as it is. */
START_TEST(weights_can_be_replaced) {
  taps t;
  ck_assert(taps_open(&dr, source, source->linears, source->linear_count, 2, &t));
  for (size_t i = 0; i < t.count; i++) {
    float *w = arena_array(mem, float, t.list[i].rows *t.list[i].cols);
    const float *old = ir_at(t.graph, t.list[i].constant)->tensor->data;
    for (size_t k = 0; k < t.list[i].rows * t.list[i].cols; k++)
      w[k] = i % 3 == 0 ? 0 : k / t.list[i].cols % 2 || k % 3 ? 0 : -old[k];
    taps_replace(&t, i, w);
    if (i % 5 != 4) continue;
    ck_assert(taps_refresh(&t));
    check_all(&t);
  }
  taps_close(&t);
}
END_TEST

typedef struct only {
  size_t first, count, calls, stop_after;
} only;

static bool count_calls(void *context, size_t i, const float *x, size_t tokens) {
  only *o = context;
  ck_assert(x && tokens > 0);
  ck_assert(i >= o->first && i < o->first + o->count);
  return ++o->calls != o->stop_after;
}

START_TEST(only_what_was_asked_for) {
  taps t;
  const char *const weights[] = {source->linears[7], source->linears[2], source->linears[11]};
  ck_assert(taps_open(&dr, source, weights, 3, 1, &t));
  only some = {1, 2, 0, 0}, stopped = {0, 3, 0, 2};
  ck_assert(taps_run(&t, &sentences, 1, 2, count_calls, &some));
  ck_assert(some.calls > 0 && some.calls % 2 == 0);
  ck_assert(!taps_run(&t, &sentences, 0, 3, count_calls, &stopped));
  ck_assert_uint_eq(stopped.calls, 2);
  taps_close(&t);
}
END_TEST

START_TEST(no_linear_is_an_error) {
  taps t;
  const char *const weights[] = {"bert.embeddings.word_embeddings.weight"};
  ck_assert(!taps_open(&dr, source, weights, 1, 1, &t));
  ck_assert_uint_eq(diag_errors(d), 1);
  taps_close(&t);
}
END_TEST

int main(void) {
  Suite *s = suite_create("taps");
  TCase *c = untimed_case("taps");
  tcase_add_checked_fixture(c, setup, scratch_teardown);
  tcase_add_test(c, taps_are_what_linears_read);
  tcase_add_test(c, weights_can_be_replaced);
  tcase_add_test(c, only_what_was_asked_for);
  tcase_add_test(c, no_linear_is_an_error);
  suite_add_tcase(s, c);
  return run_suite(s);
}
