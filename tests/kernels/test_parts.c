/* Linears cut into several parts by hand: parts in any order, rows and columns that no part or
 * several cover, slabs and chunks that the pass schedule would not choose. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/kernels/lab.h"

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

static ir_part part_of_rows(lab *l, uint32_t lo, uint32_t hi, uint32_t k, pattern p,
                            enum ir_kernel kernel) {
  ir_part part = {.row_ranges = 1, .col_hi = k, .pattern = p, .kernel = kernel, .fill = 1};
  part.rows = arena_new_one(l->a, ir_range);
  *part.rows = (ir_range){lo, hi};
  part.r = kernel == K_block ? 4 : 1;
  part.c = 1;
  part.k_block = 64;
  return part;
}

/* Blocks, then single elements in rows from `lo` on: the last part adds the residual only when it
 * sees every row. */
static void blocks_then_rows(lab *l, uint32_t i, uint32_t lo) {
  const lab_linear *s = &l->linear[i];
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1}, single = {0};
  single.kind = PATTERN_UNSTRUCTURED;
  ir_part *p = arena_array(l->a, ir_part, 2);
  p[0] = part_of_rows(l, 0, s->m / 4 * 4, s->k, four, K_block);
  p[1] = part_of_rows(l, lo, s->m, s->k, single, K_gather);
  lab_value(l, i)->parts = p;
  lab_value(l, i)->part_count = 2;
}

START_TEST(layers_share_code_only_when_their_parts_cover_the_same_rows) {
  enum { M = 66, K = 64 };
  lab *l = lab_new(_i ? "last rows first" : "all rows first", 1, false);
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1};
  for (uint32_t i = 0; i < 2; i++) {
    lab_linear s = {.m = M, .k = K, .bias = true, .residual = true, .weight = "half"};
    s.w = lab_weight(l, M, K, FILL_HALF, four);
    lab_add(l, s);
  }
  blocks_then_rows(l, (uint32_t)_i, 0);
  blocks_then_rows(l, 1 - (uint32_t)_i, M / 4 * 4);
  lab_passes(l, "schedule,plan", SPARSE_OFF, four);
  lab_check(l);
  lab_free(l);
}
END_TEST

/* Arguments: the first seed and how many; without them those of every run. */
int main(int argc, char **argv) {
  int first = argc > 1 ? atoi(argv[1]) : 1, count = argc > 2 ? atoi(argv[2]) : SEEDS;
  int optimized = argc > 2 ? count : OPTIMIZED_SEEDS;
  Suite *s = suite_create("parts");
  TCase *t = tcase_create("parts");
  tcase_set_timeout(t, 0);
  tcase_add_loop_test(t, random_parts_agree_with_the_interpreter, first, first + count);
  tcase_add_loop_test(t, optimized_random_parts_agree_with_the_interpreter, first,
                      first + optimized);
  tcase_add_loop_test(t, layers_share_code_only_when_their_parts_cover_the_same_rows, 0, 2);
  suite_add_tcase(s, t);
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed == 0 ? 0 : 1;
}
