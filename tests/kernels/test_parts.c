/* Linears cut into several parts by hand: parts in any order, rows and columns that no part or
 * several cover, slabs and chunks that the pass schedule would not choose. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/lab.h"
#include "tests/run_suite.h"

enum { SEEDS = 24, LINEARS = 16, OPTIMIZED_SEEDS = 4, OPTIMIZED_LINEARS = 4 };

/* Few shapes and flags in one graph, so that linears share code when they can. */
static void add_linears(lab *l, uint32_t count) {
  static const uint32_t sizes[] = {1, 4, 5, 12, 16, 17, 48, 64, 65, 90, 97, 130};
  uint32_t m[2], k[2];
  for (uint32_t i = 0; i < 2; i++) {
    m[i] = sizes[rng_below(&l->r, 12)];
    k[i] = sizes[rng_below(&l->r, 12)];
  }
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1};
  for (uint32_t i = 0; i < count; i++) {
    enum lab_fill fill = (enum lab_fill)rng_below(&l->r, LAB_FILLS);
    lab_linear s = {.m = m[rng_below(&l->r, 2)], .k = k[rng_below(&l->r, 2)]};
    s.bias = rng_chance(&l->r, 70);
    s.residual = rng_chance(&l->r, 50);
    if (!s.residual && rng_chance(&l->r, 50)) s.act = ACT_GELU;
    s.w = lab_weight(l, s.m, s.k, fill, four);
    s.weight = lab_fill_names[fill];
    lab_add(l, s);
  }
}

static void check_seed(int seed, int opt_level, uint32_t linears) {
  char text[64];
  snprintf(text, sizeof text, "seed %d at -O%d", seed, opt_level);
  lab *l = lab_new(text, (uint64_t)seed, false);
  l->opt_level = opt_level;
  add_linears(l, linears);
  for (uint32_t i = 0; i < l->count; i++)
    lab_random_parts(l, i);
  pattern none = {.kind = PATTERN_DENSE};
  lab_passes(l, "schedule", SPARSE_OFF, none);
  for (uint32_t i = 0; i < l->count; i++)
    lab_random_schedule(l, i);
  lab_passes(l, "plan", SPARSE_OFF, none);
  lab_check(l);
  lab_free(l);
}

START_TEST(random_parts_agree_with_the_interpreter) {
  check_seed(_i, 0, LINEARS);
}
END_TEST

START_TEST(optimized_random_parts_agree_with_the_interpreter) {
  check_seed(_i, 2, OPTIMIZED_LINEARS);
}
END_TEST

/* What two layers of one shape have in common, and which of them is compiled first. */
typedef struct twins {
  enum ir_kernel kernel; /* of the part whose rows differ; */
  bool last, residual;   /* it is the last part; a residual, or else an activation */
  bool half_first;
} twins;

enum { TWINS = 16, SIDE = 64 };

static ir_part part_of_rows(lab *l, enum ir_kernel kernel, uint32_t rows) {
  static const char *const patterns[KERNEL_COUNT] = {
      [K_dense] = "dense", [K_block] = "4x1", [K_gather] = "unstructured"};
  ir_part part = {.row_ranges = 1, .col_hi = SIDE, .kernel = kernel, .fill = 1, .c = 1};
  ck_assert(pattern_parse(patterns[kernel], &part.pattern));
  part.rows = arena_new_one(l->a, ir_range);
  *part.rows = (ir_range){0, rows};
  part.r = kernel == K_block ? 4 : 1;
  part.k_block = SIDE;
  return part;
}

/* A linear with a part of the first `rows` rows, and a dense part of what it leaves. */
static void add_twin(lab *l, const twins *t, uint32_t rows) {
  pattern any = {.kind = PATTERN_DENSE};
  lab_linear s = {.m = SIDE, .k = SIDE, .bias = true, .residual = t->residual, .weight = "half"};
  if (!s.residual) s.act = ACT_GELU;
  s.w = lab_weight(l, SIDE, SIDE, FILL_HALF, any);
  ir_value *v = lab_value(l, lab_add(l, s));
  v->parts = arena_array(l->a, ir_part, 2);
  v->parts[t->last] = part_of_rows(l, t->kernel, rows);
  v->parts[!t->last] = part_of_rows(l, K_dense, SIDE);
  v->part_count = 2;
}

START_TEST(layers_share_code_only_when_their_parts_cover_the_same_rows) {
  twins t = {_i & 1 ? K_block : K_gather, _i & 2, _i & 4, _i & 8};
  char text[32];
  snprintf(text, sizeof text, "twins %d", _i);
  lab *l = lab_new(text, (uint64_t)_i, false);
  add_twin(l, &t, t.half_first ? SIDE / 2 : SIDE);
  add_twin(l, &t, t.half_first ? SIDE : SIDE / 2);
  pattern none = {.kind = PATTERN_DENSE};
  lab_passes(l, "schedule,plan", SPARSE_OFF, none);
  lab_check(l);
  lab_free(l);
}
END_TEST

/* Arguments: the first seed and how many; without them those of every run. */
int main(int argc, char **argv) {
  int first = argc > 1 ? atoi(argv[1]) : 1, count = argc > 2 ? atoi(argv[2]) : SEEDS;
  int optimized = argc > 2 ? count : OPTIMIZED_SEEDS;
  Suite *s = suite_create("parts");
  TCase *t = untimed_case("parts");
  tcase_add_loop_test(t, random_parts_agree_with_the_interpreter, first, first + count);
  tcase_add_loop_test(t, optimized_random_parts_agree_with_the_interpreter, first,
                      first + optimized);
  tcase_add_loop_test(t, layers_share_code_only_when_their_parts_cover_the_same_rows, 0, TWINS);
  suite_add_tcase(s, t);
  return run_suite(s);
}
