/* Parts and schedules that the verifier lets pass but no kernel can run are refused at the linear's
 * place. Each case breaks one thing of a linear of 40 outputs and 48 inputs that compiles. */
#include <check.h>
#include <string.h>

#include "tests/kernels/lab.h"
#include "tests/run_suite.h"

enum { M = 40, K = 48, PARTS_MAX = 9 };

/* What is broken: a field of part `part`, or of the linear itself. */
enum field { CHUNK_ROWS, PARTS, ROW_LO, ROW_HI, COL_LO, COL_HI, R, C, K_BLOCK };
typedef struct refusal {
  enum field field;
  uint32_t part;
  int64_t value;
  const char *message; /* after PLACE */
} refusal;

#define PLACE "model.ir:7:1: error: linear 'l0'"

enum { DENSE, BLOCK, GATHER, RUNS };
static const refusal refusals[] = {
    {CHUNK_ROWS, 0, 0,
     ": chunk_rows is 0 instead of 1 to 2147483647; run the pass schedule [E_ATTR]"},
    {CHUNK_ROWS, 0, -8,
     ": chunk_rows is -8 instead of 1 to 2147483647; run the pass schedule [E_ATTR]"},
    {CHUNK_ROWS, 0, ((int64_t)1 << 32) + 8,
     ": chunk_rows is 4294967304 instead of 1 to 2147483647; run the pass schedule [E_ATTR]"},
    {CHUNK_ROWS, 0, 14, ", part 1: its rows in a chunk must be a multiple of r [E_PATTERN]"},
    {PARTS, 0, 0, " has no parts; run the pass partition [E_PATTERN]"},
    {PARTS, 0, 9, " has 9 parts; at most 8 can be compiled [E_LIMIT]"},
    {K_BLOCK, DENSE, 0,
     ", part 0: k_block must be 1 to 2147483647; run the pass schedule [E_PATTERN]"},
    {K_BLOCK, GATHER, UINT32_MAX,
     ", part 2: k_block must be 1 to 2147483647; run the pass schedule [E_PATTERN]"},
    {K_BLOCK, RUNS, 18, ", part 3: its columns and k_block must be multiples of c [E_PATTERN]"},
    {COL_HI, RUNS, K - 1, ", part 3: its columns and k_block must be multiples of c [E_PATTERN]"},
    {COL_LO, RUNS, 2, ", part 3: its columns and k_block must be multiples of c [E_PATTERN]"},
    {C, DENSE, 2, ", part 0: c must be 1 to 16, for kernel dense 1 [E_PATTERN]"},
    {C, BLOCK, 0, ", part 1: c must be 1 to 16, for kernel dense 1 [E_PATTERN]"},
    {C, GATHER, 24, ", part 2: c must be 1 to 16, for kernel dense 1 [E_PATTERN]"},
    {R, DENSE, 6, ", part 0: r must be 1 [E_PATTERN]"},
    {R, GATHER, 4, ", part 2: r must be 1 or 2 [E_PATTERN]"},
    {R, BLOCK, 0, ", part 1: r must be 1 to 8 [E_PATTERN]"},
    {R, BLOCK, 16, ", part 1: r must be 1 to 8 [E_PATTERN]"},
    {R, BLOCK, 3, ", part 1: its rows in a chunk must be a multiple of r [E_PATTERN]"},
    {ROW_HI, BLOCK, M - 2, ", part 1: its rows in a chunk must be a multiple of r [E_PATTERN]"},
    {ROW_LO, BLOCK, 2, ", part 1: its rows in a chunk must be a multiple of r [E_PATTERN]"},
};

static ir_part part_of(lab *l, const char *text, enum ir_kernel kernel, uint32_t r, uint32_t c) {
  ir_part p = {
      .row_ranges = 1, .col_hi = l->linear[0].k, .kernel = kernel, .fill = 1, .r = r, .c = c};
  ck_assert(pattern_parse(text, &p.pattern));
  p.rows = arena_new_one(l->a, ir_range);
  *p.rows = (ir_range){0, M};
  p.k_block = 16;
  return p;
}

/* The linear that compiles, from k inputs, with room for parts that nobody wants. */
static lab *sound_lab(uint32_t k) {
  lab *l = lab_new("refusals", 1, false);
  pattern dense = {.kind = PATTERN_DENSE};
  lab_linear s = {.m = M, .k = k, .weight = "half"};
  s.w = lab_weight(l, M, k, FILL_HALF, dense);
  ir_value *v = lab_value(l, lab_add(l, s));
  v->loc = loc_at("model.ir", 7, 1);
  v->parts = arena_array(l->a, ir_part, PARTS_MAX);
  v->parts[DENSE] = part_of(l, "dense", K_dense, 1, 1);
  v->parts[BLOCK] = part_of(l, "4x1", K_block, 4, 1);
  v->parts[GATHER] = part_of(l, "unstructured", K_gather, 1, 1);
  v->parts[RUNS] = part_of(l, "1x4", K_gather, 1, 4);
  for (uint32_t i = RUNS + 1; i < PARTS_MAX; i++)
    v->parts[i] = v->parts[GATHER];
  v->part_count = 4;
  lab_passes(l, "plan", SPARSE_OFF, dense);
  v->attr[A_chunk_rows].i = 16;
  return l;
}

static void break_one(ir_value *v, const refusal *f) {
  ir_part *p = &v->parts[f->part];
  uint32_t value = (uint32_t)f->value;
  uint32_t *const fields[] = {[PARTS] = &v->part_count,
                              [ROW_LO] = &p->rows[0].lo,
                              [ROW_HI] = &p->rows[0].hi,
                              [COL_LO] = &p->col_lo,
                              [COL_HI] = &p->col_hi,
                              [R] = &p->r,
                              [C] = &p->c,
                              [K_BLOCK] = &p->k_block};
  if (f->field == CHUNK_ROWS)
    v->attr[A_chunk_rows].i = f->value;
  else
    *fields[f->field] = value;
}

static bool compiles(lab *l) {
  codegen_options o = {.levels = {ISA_X86_64_V4, ISA_X86_64_V3}, .level_count = 2};
  codegen_result result;
  return codegen(l->g, &o, EMIT_OBJ, l->a, l->d, &result);
}

static void expect_refusal(const lab *l, const char *message) {
  ck_assert_str_eq(diff_messages(l->a, l->d), arena_printf(l->a, "%s%s\n", PLACE, message));
}

START_TEST(what_is_broken_compiled_before) {
  lab *l = sound_lab(K);
  ck_assert_msg(compiles(l), "%s", diff_messages(l->a, l->d));
  lab_check(l);
  lab_free(l);
}
END_TEST

START_TEST(broken_schedules_are_refused) {
  lab *l = sound_lab(K);
  break_one(lab_value(l, 0), &refusals[_i]);
  ck_assert_msg(!compiles(l), "compiled: %s", refusals[_i].message);
  expect_refusal(l, refusals[_i].message);
  lab_free(l);
}
END_TEST

/* The largest slabs of single non-zeros: indices of 8 bits reach 256 of them, and no further. */
START_TEST(indices_reach_to_the_end_of_the_largest_slab) {
  lab *l = sound_lab(257);
  ir_value *v = lab_value(l, 0);
  v->parts[0] = v->parts[GATHER];
  v->part_count = 1;
  v->parts[0].k_block = 256;
  lab_check(l);
  v->parts[0].k_block = 257;
  ck_assert(!compiles(l));
  expect_refusal(l, ", part 0: k_block is too large for the indices of its kernel [E_PATTERN]");
  lab_free(l);
}
END_TEST

/* Blocks have indices of 16 bits. */
START_TEST(indices_reach_to_the_end_of_the_largest_slab_of_blocks) {
  enum { WIDE = (1 << 16) + 4 };
  lab *l = sound_lab(WIDE);
  ir_value *v = lab_value(l, 0);
  v->parts[0] = v->parts[BLOCK];
  v->part_count = 1;
  v->parts[0].k_block = 1 << 16;
  lab_check(l);
  v->parts[0].k_block = WIDE;
  ck_assert(!compiles(l));
  expect_refusal(l, ", part 0: k_block is too large for the indices of its kernel [E_PATTERN]");
  lab_free(l);
}
END_TEST

/* Offsets inside a record have 32 bits; a chunk of a slab may not be larger. */
START_TEST(records_over_4_gib_are_refused) {
  lab *l = sound_lab(K);
  ir_value *v = lab_value(l, 0);
  ir_at(l->g, v->in[1])->type.dim[0] = 1 << 28; /* refused before anybody looks for the rows */
  v->attr[A_chunk_rows].i = 1 << 28;
  ck_assert(!compiles(l));
  expect_refusal(l, ", part 0: a chunk of a slab takes over 4 GiB; lower chunk_rows or k_block "
                    "[E_PATTERN]");
  lab_free(l);
}
END_TEST

/* Nor may it have outputs that 16 bits do not number, where it is a gather's. */
START_TEST(chunks_of_too_many_outputs_are_refused) {
  lab *l = sound_lab(K);
  ir_value *v = lab_value(l, 0);
  v->parts[0] = v->parts[GATHER];
  ir_at(l->g, v->in[1])->type.dim[0] = 1 << 16;
  v->attr[A_chunk_rows].i = 1 << 16;
  ck_assert(!compiles(l));
  expect_refusal(l, ", part 0: a chunk of a gather has at most 65535 outputs; lower chunk_rows "
                    "[E_PATTERN]");
  lab_free(l);
}
END_TEST

int main(void) {
  Suite *s = suite_create("refusals");
  TCase *t = untimed_case("refusals");
  tcase_add_test(t, what_is_broken_compiled_before);
  tcase_add_loop_test(t, broken_schedules_are_refused, 0,
                      (int)(sizeof refusals / sizeof *refusals));
  tcase_add_test(t, indices_reach_to_the_end_of_the_largest_slab);
  tcase_add_test(t, indices_reach_to_the_end_of_the_largest_slab_of_blocks);
  tcase_add_test(t, records_over_4_gib_are_refused);
  tcase_add_test(t, chunks_of_too_many_outputs_are_refused);
  suite_add_tcase(s, t);
  return run_suite(s);
}
