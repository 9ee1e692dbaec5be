/* The ways to cut a weight: that their counts are those of the elements, that they cover the
 * weight, and that partition compiles dense what no sparse kernel would run faster. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/run_suite.h"

static arena *mem;
static uint64_t seed;

static void no_memory(void *unused, size_t size) {
  (void)unused;
  (void)size;
  abort();
}

static void setup(void) {
  mem = arena_new((size_t)1 << 30, no_memory, NULL);
  seed = 1;
}

static void teardown(void) {
  arena_free(mem);
}

static double random_share(void) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (double)(seed >> 40) / (double)(1 << 24);
}

/* [m, k], each block of r x c (clipped at the ends) full with this probability, else empty. */
static const float *random_blocks(uint32_t m, uint32_t k, uint32_t r, uint32_t c, double density) {
  float *w = arena_array(mem, float, (size_t)m *k);
  for (uint32_t i = 0; i < m; i += r)
    for (uint32_t j = 0; j < k; j += c) {
      bool full = random_share() < density;
      for (uint32_t x = i; full && x < i + r && x < m; x++)
        for (uint32_t y = j; y < j + c && y < k; y++)
          w[(size_t)x * k + y] = (float)(0.5 + random_share());
    }
  return w;
}

/* ---- counts ---- */

/* What the part that took the elements with this mark does, counted one by one. */
static void count_naively(const ir_part *p, const float *w, uint32_t k, const unsigned char *owner,
                          unsigned char mark, cost_counts *n) {
  uint32_t lo = p->rows[0].lo, hi = p->rows[0].hi, high = p->pattern.rows, units = 0;
  if (p->kernel == K_dense) units = (hi - lo) * k;
  if (p->kernel != K_block) high = 1;
  for (uint32_t i = lo; p->kernel != K_dense && i < hi; i += high)
    for (uint32_t j = 0; j < k; j += p->c) {
      bool taken = false;
      for (uint32_t x = i; x < i + high && x < hi; x++)
        for (uint32_t y = j; y < j + p->c && y < k; y++)
          taken |= owner[(size_t)x * k + y] == mark && w[(size_t)x * k + y] != 0;
      units += taken ? high / (p->kernel == K_block ? 4 : 1) : 0;
    }
  cost_count_part(p, hi - lo, units, n);
}

static void check_cut(const weight_cut *c, const float *w, uint32_t m, uint32_t k) {
  char text[CUT_TEXT_MAX];
  unsigned char *owner = arena_array(mem, unsigned char, (size_t)m *k);
  cost_counts n = {{0}};
  for (uint32_t i = 0; i < c->count; i++) {
    unsigned char mark = (unsigned char)(i + 1);
    ir_part_take(&c->part[i], w, k, owner, mark);
    count_naively(&c->part[i], w, k, owner, mark, &n);
  }
  for (size_t i = 0; i < (size_t)m * k; i++)
    ck_assert_msg(w[i] == 0 || owner[i], "%s leaves element %zu out", cut_print(c, text), i);
  for (int i = 0; i < COST_COUNT; i++)
    ck_assert_msg(fabs(n.n[i] - c->counts.n[i]) < 1e-6, "%s: %g %s instead of %g",
                  cut_print(c, text), c->counts.n[i], cost_rows[i].name, n.n[i]);
}

START_TEST(counts_are_those_of_the_elements) {
  static const uint32_t shapes[][2] = {{48, 320}, {37, 64}, {3, 96}, {64, 50}, {16, 16}};
  static const uint32_t blocks[][2] = {{1, 1}, {4, 1}, {16, 16}, {1, 4}, {2, 1}};
  cost_table costs = cost_shipped(ISA_X86_64_V4);
  for (int s = 0; s < 5; s++)
    for (int b = 0; b < 5; b++) {
      uint32_t m = shapes[s][0], k = shapes[s][1];
      const float *w = random_blocks(m, k, blocks[b][0], blocks[b][1], 0.3);
      cut_source source;
      weight_cut list[MAX_CUTS];
      cut_look(&source, mem, &costs, w, m, k);
      uint32_t count = cut_all(&source, list);
      ck_assert_uint_gt(count, 1);
      for (uint32_t i = 0; i < count; i++)
        check_cut(&list[i], w, m, k);
    }
}
END_TEST

/* ---- what partition does ---- */

static ir_graph *graph_of(const float *w, uint32_t m, uint32_t k) {
  ir_graph *g = ir_graph_new(mem, "t");
  ir_type rows = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, k});
  ir_id x = ir_add_input(g, "x", rows);
  ir_id in[2] = {ir_add_op(g, "rows", OP_pack, &x, 1)};
  in[1] = ir_add_const(g, "w", ir_type2(m, k), w);
  ir_id y = ir_add_op(g, "y", OP_linear, in, 2);
  ir_add_output(g, "out", ir_add_op(g, "out", OP_unpack, &y, 1));
  return g;
}

/* The kernel of the first part that partition chooses. */
static enum ir_kernel chosen(const float *w, uint32_t m, uint32_t k, pass_options *o) {
  ir_graph *g = graph_of(w, m, k);
  pass_context c = {.arena = mem, .diag = diag_new(mem), .options = o};
  ck_assert(pipeline_run_list(g, &c, "partition", NULL, NULL));
  for (ir_id i = 0; i < g->count; i++)
    if (ir_is_op(ir_at(g, i), OP_linear)) return ir_at(g, i)->parts[0].kernel;
  ck_abort_msg("the linear is gone");
}

/* Up to here dense is faster, or as fast, when both kernels are measured. */
START_TEST(few_zeros_are_compiled_dense) {
  static const double sparsities[ISA_COUNT][4] = {
      [ISA_X86_64_V3] = {0, 0.1, 0.2, 0.35}, [ISA_X86_64_V4] = {0, 0.1, 0.3, 0.45}};
  static const uint32_t shapes[][2] = {{768, 768}, {384, 1536}, {1536, 384}, {100, 384}};
  for (int isa = 0; isa < ISA_COUNT; isa++)
    for (int s = 0; s < 4; s++)
      for (int i = 0; i < 4; i++) {
        pass_options o = {.opt_level = 2, .isa = (enum isa_level)isa};
        uint32_t m = shapes[s][0], k = shapes[s][1];
        const float *w = random_blocks(m, k, 1, 1, 1 - sparsities[isa][i]);
        ck_assert_msg(chosen(w, m, k, &o) == K_dense, "%ux%u with %g zeros on %s", m, k,
                      sparsities[isa][i], isa_names[isa]);
      }
}
END_TEST

START_TEST(many_zeros_are_not) {
  for (int isa = 0; isa < ISA_COUNT; isa++) {
    pass_options o = {.opt_level = 2, .isa = (enum isa_level)isa};
    ck_assert_int_eq(chosen(random_blocks(768, 768, 1, 1, 0.2), 768, 768, &o), K_gather);
    ck_assert_int_eq(chosen(random_blocks(768, 768, 1, 1, 0.48), 768, 768, &o), K_gather);
    ck_assert_int_eq(chosen(random_blocks(768, 768, 1, 4, 0.48), 768, 768, &o), K_gather);
    ck_assert_int_eq(chosen(random_blocks(768, 768, 4, 1, 0.5), 768, 768, &o), K_block);
    ck_assert_int_eq(chosen(random_blocks(768, 768, 16, 16, 0.1), 768, 768, &o), K_block);
  }
}
END_TEST

/* The cost of the cut that partition takes in a call of so many tokens, over that of dense. */
static double predicted(const weight_cut *c, const weight_cut *dense, const cost_table *costs,
                        uint64_t tokens) {
  cost_counts now = cost_at(&c->counts, tokens), then = cost_at(&dense->counts, tokens);
  return cost_total(costs, &now) / cost_total(costs, &then);
}

/* Around the number of zeros that decides, as far as the model tells, no call is slower than dense
 * whatever its length. */
START_TEST(no_length_is_slower_than_dense) {
  static const uint32_t blocks[][2] = {{1, 1}, {4, 1}, {1, 4}};
  for (int isa = 0; isa < ISA_COUNT; isa++) {
    cost_table costs = cost_shipped((enum isa_level)isa);
    uint32_t taken = 0, left = 0;
    for (int zeros = 10; zeros <= 70; zeros += 4)
      for (int b = 0; b < 3; b++) {
        cut_source s;
        weight_cut list[MAX_CUTS];
        cut_look(&s, mem, &costs,
                 random_blocks(384, 384, blocks[b][0], blocks[b][1], 1 - zeros / 100.0), 384, 384);
        uint32_t count = cut_all(&s, list);
        for (uint32_t i = 1; i < count; i++) {
          if (!cut_pays(&list[i], list[i].cost, &list[0], list[0].cost)) {
            left++;
            continue;
          }
          taken++;
          for (uint64_t tokens = 1; tokens <= 160; tokens++)
            ck_assert_double_le(predicted(&list[i], &list[0], &costs, tokens), 1.04);
        }
      }
    ck_assert_uint_gt(taken, 10);
    ck_assert_uint_gt(left, 10);
  }
}
END_TEST

/* Other constants, other choices. */
START_TEST(the_costs_given_decide) {
  cost_table all[] = {
      [ISA_X86_64_V3] = cost_shipped(ISA_X86_64_V3), [ISA_X86_64_V4] = cost_shipped(ISA_X86_64_V4)};
  pass_options o = {.opt_level = 2, .isa = ISA_X86_64_V4, .costs = all};
  const float *w = random_blocks(256, 256, 1, 1, 0.2);
  static const enum cost gathers[] = {COST_gather, COST_gather_tile, COST_pair, COST_pair_tile};
  for (int i = 0; i < 4; i++)
    all[ISA_X86_64_V4].unit[gathers[i]] *= 10;
  ck_assert_int_ne(chosen(w, 256, 256, &o), K_gather);
  all[ISA_X86_64_V4].unit[COST_dense] /= 10;
  all[ISA_X86_64_V4].unit[COST_dense_tile] /= 10;
  ck_assert_int_eq(chosen(w, 256, 256, &o), K_dense);
}
END_TEST

START_TEST(what_was_measured_goes_before_the_costs) {
  cost_table costs = cost_shipped(ISA_X86_64_V4);
  const float *w = random_blocks(256, 256, 1, 1, 0.2);
  ir_graph *g = graph_of(w, 256, 256);
  cut_source source;
  cut_look(&source, mem, &costs, w, 256, 256);
  ir_id linear = 0;
  while (!ir_is_op(ir_at(g, linear), OP_linear))
    linear++;
  const char *class = linear_class(g, ir_at(g, linear), &source);
  tuned_class other = {"1x1:dense:0", "dense", 1}, dense = {class, "dense", 1};
  pass_options o = {.opt_level = 2, .isa = ISA_X86_64_V4, .tuned = &other, .tuned_count = 1};
  ck_assert_int_eq(chosen(w, 256, 256, &o), K_gather);
  o.tuned = &dense;
  ck_assert_int_eq(chosen(w, 256, 256, &o), K_dense);
  tuned_class unknown = {class, "7x7", 1};
  o.tuned = &unknown;
  ck_assert_int_eq(chosen(w, 256, 256, &o), K_gather);
}
END_TEST

/* ---- calls of some tokens, and fitting ---- */

START_TEST(quarters_and_tiles_are_counted) {
  static const struct call {
    uint64_t tokens;
    double quarters, tiles;
  } calls[] = {{1, 1, 1}, {16, 1, 1}, {17, 2, 1}, {64, 4, 1}, {65, 5, 2}, {128, 8, 2}};
  cost_counts n = {{0}};
  n.n[COST_dense] = 3;
  n.n[COST_dense_tile] = 5;
  for (int i = 0; i < 6; i++) {
    cost_counts all = cost_at(&n, calls[i].tokens);
    ck_assert_double_eq(all.n[COST_dense], 3 * 16 * calls[i].quarters);
    ck_assert_double_eq(all.n[COST_dense_tile], 5 * 64 * calls[i].tiles);
    ck_assert_double_eq(all.n[COST_gather], 0);
  }
}
END_TEST

START_TEST(a_fit_finds_the_constants) {
  cost_table truth = cost_shipped(ISA_X86_64_V4), found = {{0}};
  enum { TIMES = 40 };
  cost_time times[TIMES] = {{.weight = 1}};
  truth.unit[COST_gather_row] = 0; /* at the border of what is allowed */
  for (int i = 0; i < TIMES; i++) {
    times[i].n.n[COST_gather] = 100 + 1000 * random_share();
    times[i].n.n[COST_gather_row] = 10 + 200 * random_share();
    times[i].n.n[i % 2 ? COST_dense : COST_act] = 500 * random_share();
    times[i].time = cost_total(&truth, &times[i].n);
    times[i].weight = 1 + i % 3;
  }
  found.unit[COST_norm] = 7;
  cost_fit(times, TIMES, &found);
  ck_assert_double_eq_tol(found.unit[COST_gather], truth.unit[COST_gather], 1e-3);
  ck_assert_double_eq_tol(found.unit[COST_gather_row], 0, 1e-2);
  ck_assert_double_eq_tol(found.unit[COST_dense], truth.unit[COST_dense], 1e-3);
  ck_assert_double_eq_tol(found.unit[COST_act], truth.unit[COST_act], 1e-2);
  ck_assert_double_eq(found.unit[COST_norm], 7); /* nothing was measured */
}
END_TEST

int main(void) {
  Suite *s = suite_create("cuts");
  TCase *t = untimed_case("cuts");
  tcase_add_checked_fixture(t, setup, teardown);
  tcase_add_test(t, counts_are_those_of_the_elements);
  tcase_add_test(t, few_zeros_are_compiled_dense);
  tcase_add_test(t, many_zeros_are_not);
  tcase_add_test(t, no_length_is_slower_than_dense);
  tcase_add_test(t, the_costs_given_decide);
  tcase_add_test(t, what_was_measured_goes_before_the_costs);
  tcase_add_test(t, quarters_and_tiles_are_counted);
  tcase_add_test(t, a_fit_finds_the_constants);
  suite_add_tcase(s, t);
  return run_suite(s);
}
