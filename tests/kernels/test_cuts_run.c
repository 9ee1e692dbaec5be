/* Every way to cut a weight that partition or the tuner may choose, forced, against the
 * interpreter. */
#include <check.h>
#include <string.h>

#include "tests/kernels/lab.h"
#include "tests/run_suite.h"

enum { M = 100, K = 320 };

/* Weights of each kind that candidates are made for; half of the fills leave rows empty. */
static const struct kind {
  const char *pattern;
  enum lab_fill fill;
} kinds[] = {{"unstructured", FILL_STRIPES}, {"unstructured", FILL_HALF}, {"4x1", FILL_UNITS},
             {"16x16", FILL_UNITS},          {"1x4", FILL_UNITS},         {"2:4", FILL_FULL}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* Adds the weight once per cut from `first` on, as far as the laboratory has room. */
static void add_cuts(lab *l, const float *w, const weight_cut *list, uint32_t count,
                     uint32_t first) {
  for (uint32_t i = first; i < count && l->count < LAB_LINEARS; i++) {
    char text[CUT_TEXT_MAX];
    lab_linear s = {.m = M, .k = K, .bias = true, .residual = i % 2, .w = w};
    if (!s.residual) s.act = ACT_GELU;
    s.weight = arena_strdup(l->a, cut_print(&list[i], text));
    ir_value *v = lab_value(l, lab_add(l, s));
    v->part_count = list[i].count;
    v->parts = arena_array(l->a, ir_part, list[i].count);
    memcpy(v->parts, list[i].part, list[i].count * sizeof *v->parts);
  }
}

static void check_kind(const struct kind *kind) {
  cost_table costs = cost_shipped(ISA_X86_64_V4);
  uint32_t count = 1;
  for (uint32_t first = 0; first < count; first += LAB_LINEARS) {
    lab *l = lab_new(kind->pattern, 1, false);
    pattern p;
    ck_assert(pattern_parse(kind->pattern, &p));
    const float *w = lab_weight(l, M, K, kind->fill, p);
    cut_source source;
    weight_cut list[MAX_CUTS];
    cut_look(&source, l->a, &costs, w, M, K);
    count = cut_all(&source, list);
    add_cuts(l, w, list, count, first);
    lab_passes(l, "schedule,plan", SPARSE_AUTO, p);
    lab_check(l);
    lab_free(l);
  }
}

START_TEST(every_cut_agrees_with_the_interpreter) {
  check_kind(&kinds[_i]);
}
END_TEST

int main(void) {
  Suite *s = suite_create("cuts_run");
  TCase *t = untimed_case("cuts_run");
  tcase_add_loop_test(t, every_cut_agrees_with_the_interpreter, 0, KINDS);
  suite_add_tcase(s, t);
  return run_suite(s);
}
