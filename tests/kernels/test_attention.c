/* Attention against the interpreter, with sequences that begin and end anywhere in the tiles, so
 * that strips of every width meet keys of every alignment, on every ISA level. */
#include <check.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/diff_common.h"
#include "tests/kernels/loaded.h"
#include "tests/run_suite.h"

enum { BATCH = 24, SEQUENCE = 150, CASES = 5 };

typedef struct heads {
  int64_t heads, kv_heads, size;
  double scale;
} heads;
static const heads shapes[CASES] = {
    {2, 2, 64, 0.125}, {1, 1, 32, 1}, {3, 1, 5, 0.4}, {4, 2, 12, 0.3}, {1, 1, 1, 1}};

/* first: the first token of each sequence is its only query. */
static ir_graph *graph_of(arena *a, const heads *h, bool first) {
  static const char *const names[] = {"q", "k", "v"};
  ir_graph *g = ir_graph_new(a, "attention");
  g->max_batch = BATCH;
  g->max_sequence = SEQUENCE;
  ir_type type = ir_type_make(IR_I32, 2, (const int64_t[]){DIM_B, DIM_S});
  ir_id mask = ir_add_input(g, "mask", type), in[4] = {[3] = mask};
  ir_at(g, mask)->optional = true;
  ir_at(g, mask)->absent = 1;
  for (uint32_t i = 0; i < 3; i++) {
    int64_t width = (i ? h->kv_heads : h->heads) * h->size;
    type = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, width});
    ir_id pack[2] = {ir_add_input(g, names[i], type), mask};
    in[i] = ir_add_op(g, arena_printf(a, "%s.rows", names[i]), OP_pack, pack, 2);
  }
  if (first) in[0] = ir_add_op(g, "first", OP_first, (const ir_id[]){in[0], mask}, 2);
  ir_id o = ir_add_op(g, "o", OP_attention, in, 4);
  ir_value *v = ir_at(g, o);
  v->attr[A_heads].i = h->heads;
  v->attr[A_kv_heads].i = h->kv_heads;
  v->attr[A_scale].f = h->scale;
  v->type = ir_type2(first ? DIM_B : DIM_N, h->heads * h->size);
  ir_add_output(g, "y", ir_add_op(g, "y", OP_unpack, (const ir_id[]){o, mask}, 2));
  return g;
}

/* A call with random lengths; a third of the sequences is short. */
static random_case *call_of(arena *a, const heads *h, rng *r, bool holes) {
  random_case *c = arena_new_one(a, random_case);
  int32_t *lengths = arena_array(a, int32_t, BATCH);
  size_t tokens = 0;
  for (uint32_t i = 0; i < BATCH; i++) {
    lengths[i] = (int32_t)rng_below(r, i % 3 ? SEQUENCE + 1 : 20);
    tokens += (size_t)lengths[i];
  }
  const void **in = arena_array(a, const void *, 4);
  size_t *sizes = arena_array(a, size_t, 4);
  int32_t *mask = arena_array(a, int32_t, tokens + 1);
  for (size_t i = 0; i < tokens; i++)
    mask[i] = rng_below(r, 8) > 0;
  in[0] = holes ? mask : NULL;
  sizes[0] = holes ? tokens * sizeof *mask : 0;
  for (uint32_t k = 0; k < 3; k++) {
    size_t n = tokens * (size_t)((k ? h->kv_heads : h->heads) * h->size);
    float *x = arena_array(a, float, n + 1);
    for (size_t i = 0; i < n; i++)
      x[i] = rng_normal(r);
    in[1 + k] = x;
    sizes[1 + k] = n * sizeof *x;
  }
  *c = (random_case){.batch = BATCH, .sequence = SEQUENCE, .lengths = lengths};
  c->in = in;
  c->in_bytes = sizes;
  c->in_count = 4;
  return c;
}

static void check_call(arena *a, const loaded *m, random_case *c, const char *text) {
  diag *d = diag_new(a);
  const diff_reference *want = diff_reference_new(c, a, d);
  ck_assert_msg(want != NULL, "%s: %s", text, diff_messages(a, d));
  size_t size = want->exact->elements[0] * sizeof(float);
  float *y = arena_alloc(a, size + 1, 64);
  for (uint32_t level = SPCC_CPU_X86_64_V3; level <= spcc_cpu(); level++) {
    loaded_run(m, (spcc_call){.cpu = level,
                              .batch = (int32_t)c->batch,
                              .sequence = (int32_t)c->sequence,
                              .lengths = c->lengths,
                              .in = c->in,
                              .out = (void *[]){y},
                              .in_bytes = c->in_bytes,
                              .out_bytes = &size});
    double error;
    ck_assert_msg(diff_within(want, 0, y, a, &error), "%s: level %u: error %g instead of %g", text,
                  level, error, want->bound[0]);
  }
}

START_TEST(attention_agrees_with_the_interpreter) {
  arena *a = diff_arena();
  const heads *h = &shapes[_i / 2];
  bool first = _i % 2;
  rng r = {(uint64_t)_i + 1};
  ir_graph *g = graph_of(a, h, first);
  loaded *m = loaded_new(a, graph_of(a, h, first));
  for (uint32_t round = 0; round < 8; round++) {
    random_case *c = call_of(a, h, &r, round % 2);
    c->graph = g;
    check_call(a, m, c, arena_printf(a, "case %d, round %u", _i, round));
  }
  loaded_free(m);
  arena_free(a);
}
END_TEST

int main(void) {
  Suite *s = suite_create("attention");
  TCase *t = untimed_case("attention");
  tcase_add_loop_test(t, attention_agrees_with_the_interpreter, 0, 2 * CASES);
  suite_add_tcase(s, t);
  return run_suite(s);
}
