/* Every kernel of kernels.def with every pattern that it serves, on sizes around those of its
 * tiles, units, slabs and chunks. Each case is a graph of linears: once with the parts that the
 * pass partition makes for the pattern, once with parts of exactly this kernel and pattern. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/lab.h"
#include "tests/run_suite.h"

enum { LINEARS = 20, OPTIMIZED_LINEARS = 3, MAX_CASES = 64 };

static const uint32_t sizes[] = {1,  2,  3,  4,  5,  6,  7,  12,  13,  16,
                                 17, 48, 49, 64, 65, 96, 97, 130, 256, 1030};

typedef struct kernel_case {
  enum ir_kernel kernel;
  pattern pattern;
  char text[PATTERN_TEXT_MAX];
} kernel_case;

static kernel_case cases[MAX_CASES];
static int case_count;

/* The spellings of kernels.def, numbers put in for the letters of N:M and N:MxR. */
static void add_case(enum ir_kernel kernel, const char *text) {
  kernel_case *c = &cases[case_count++];
  c->kernel = kernel;
  snprintf(c->text, sizeof c->text, "%s", text);
  if (!pattern_parse(text, &c->pattern) || !ir_kernel_serves(kernel, &c->pattern)) {
    fprintf(stderr, "kernel %s does not serve '%s'\n", ir_kernel_names[kernel], text);
    exit(1);
  }
}

static void add_spelling(enum ir_kernel kernel, const char *spelling) {
  if (strcmp(spelling, "N:M") == 0) {
    add_case(kernel, "2:4");
    add_case(kernel, "1:4");
    add_case(kernel, "4:8");
  } else if (strcmp(spelling, "N:MxR") == 0) {
    add_case(kernel, "2:4x4");
    add_case(kernel, "1:8x8");
  } else {
    add_case(kernel, spelling);
  }
}

static void list_cases(void) {
  for (unsigned k = 0; k < KERNEL_COUNT; k++) {
    char list[256], *rest = list;
    snprintf(list, sizeof list, "%s", ir_kernel_patterns[k]);
    for (char *word; (word = strsep(&rest, " "));)
      add_spelling((enum ir_kernel)k, word);
  }
}

/* ---- shapes ---- */

static uint32_t unit_rows(pattern p) {
  return p.kind == PATTERN_BLOCK || p.kind == PATTERN_NM ? p.rows : 1;
}
static uint32_t unit_cols(pattern p) {
  return p.kind == PATTERN_BLOCK ? p.cols : 1;
}

/* Linear `t` of a pattern: the sizes in steps that reach them all (outputs but for the largest), as
 * far as the pattern allows. */
static lab_linear make_linear(lab *l, pattern p, uint32_t t) {
  uint32_t m = sizes[(t * 7 + 5) % 19], k = sizes[(t * 11 + 3) % 20];
  uint32_t rows = unit_rows(p), cols = unit_cols(p);
  enum lab_fill fill = (enum lab_fill)(t * 3 % LAB_FILLS);
  lab_linear s = {.m = m < rows ? rows + m % 3 : m, .k = (k + cols - 1) / cols * cols};
  s.bias = rng_chance(&l->r, 60);
  s.residual = rng_chance(&l->r, 35);
  s.norm = rng_chance(&l->r, 20);
  s.act = s.residual ? ACT_NONE : (enum ir_act)(t % 5);
  s.w = lab_weight(l, s.m, s.k, fill, p);
  s.weight = lab_fill_names[fill];
  return s;
}

/* ---- parts of exactly one kernel and pattern ---- */

static ir_part *one_range(lab *l, ir_part *p, uint32_t lo, uint32_t hi) {
  p->rows = arena_new_one(l->a, ir_range);
  *p->rows = (ir_range){lo, hi};
  p->row_ranges = 1;
  return p;
}

/* Inputs of a slab: small ones too, so that short reductions have several. */
static uint32_t random_slab(lab *l, enum ir_kernel kernel, uint32_t cols) {
  static const uint32_t most[KERNEL_COUNT] = {[K_dense] = 64, [K_block] = 160, [K_gather] = 256};
  uint32_t units = 1 + rng_below(&l->r, most[kernel]);
  return units * cols;
}

static void set_parts(lab *l, uint32_t i, const kernel_case *c) {
  ir_value *v = lab_value(l, i);
  uint32_t m = l->linear[i].m, k = l->linear[i].k;
  uint32_t whole = m / unit_rows(c->pattern) * unit_rows(c->pattern);
  v->parts = arena_array(l->a, ir_part, 2);
  ir_part part = {.col_hi = k, .pattern = c->pattern, .kernel = c->kernel, .fill = 1, .r = 1};
  part.r = c->kernel == K_block ? 4 : 1;
  if (c->kernel == K_gather) part.r = 1 + i % 2;
  part.c = unit_cols(c->pattern);
  ir_part rest = {.col_hi = k, .kernel = K_gather, .fill = 1, .r = 1 + i / 2 % 2, .c = 1};
  rest.pattern.kind = PATTERN_UNSTRUCTURED;
  v->parts[0] = *one_range(l, &part, 0, whole);
  v->parts[1] = *one_range(l, &rest, 0, m);
  /* A single element may break N:M, and the last rows may be no whole unit. */
  bool all_taken = whole == m && c->pattern.kind != PATTERN_NM;
  v->part_count = all_taken ? 1 : 2;
}

static void set_slabs(lab *l) {
  for (uint32_t i = 0; i < l->count; i++)
    for (uint32_t p = 0; p < lab_value(l, i)->part_count; p++) {
      ir_part *part = &lab_value(l, i)->parts[p];
      part->k_block = random_slab(l, part->kernel, part->c);
    }
}

/* ---- the tests ---- */

static void check_case(int index, int opt_level, uint32_t linears) {
  const kernel_case *c = &cases[index / 2];
  bool by_hand = index % 2 == 1;
  char text[160];
  snprintf(text, sizeof text, "case %d at -O%d: kernel %s, pattern %s, parts %s", index, opt_level,
           ir_kernel_names[c->kernel], c->text, by_hand ? "by hand" : "by partition");
  lab *l = lab_new(text, (uint64_t)(index * 10 + opt_level), index % 5 == 4);
  l->opt_level = opt_level;
  for (uint32_t t = 0; t < linears; t++)
    lab_add(l, make_linear(l, c->pattern, t + (uint32_t)by_hand * linears + (uint32_t)opt_level));
  if (by_hand) {
    for (uint32_t i = 0; i < linears; i++)
      set_parts(l, i, c);
    lab_passes(l, "schedule", SPARSE_OFF, c->pattern);
    set_slabs(l);
    lab_passes(l, "plan", SPARSE_OFF, c->pattern);
  } else {
    lab_passes(l, "partition,schedule,plan", SPARSE_PATTERN, c->pattern);
    for (uint32_t i = 0; i < linears; i++)
      ck_assert_int_eq(lab_value(l, i)->parts[0].kernel, c->kernel);
  }
  lab_check(l);
  lab_free(l);
}

START_TEST(kernels_agree_with_the_interpreter) {
  check_case(_i, 0, LINEARS);
}
END_TEST

START_TEST(optimized_kernels_agree_with_the_interpreter) {
  check_case(_i, 2, OPTIMIZED_LINEARS);
}
END_TEST

/* Arguments: -O level 0 or 2, the first case and how many; without them all of level 0. */
int main(int argc, char **argv) {
  list_cases();
  int level = argc > 1 ? atoi(argv[1]) : 0, first = argc > 2 ? atoi(argv[2]) : 0,
      last = argc > 3 ? first + atoi(argv[3]) : 2 * case_count;
  Suite *s = suite_create("kernels");
  TCase *t = untimed_case("kernels");
  if (level == 0)
    tcase_add_loop_test(t, kernels_agree_with_the_interpreter, first, last);
  else
    tcase_add_loop_test(t, optimized_kernels_agree_with_the_interpreter, first, last);
  suite_add_tcase(s, t);
  return run_suite(s);
}
