/* Recipes of libspo: names, defaults, limits and patterns. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "optimizer/spo_recipe.h"
#include "tests/run_suite.h"

static spo_recipe usable(spo_method_id id) {
  spo_recipe r;
  spo_recipe_init(&r, id);
  r.steps = 1000;
  if (id == SPO_NXM || id == SPO_SRSTE) spo_pattern_parse("2:4", &r.goal.pattern);
  return r;
}

START_TEST(names_and_defaults) {
  for (int i = 0; i < SPO_METHODS; i++) {
    spo_method_id found = SPO_METHODS;
    spo_error error = {.text = ""};
    spo_recipe r = usable((spo_method_id)i);
    ck_assert(spo_method_named(spo_method_name((spo_method_id)i), &found));
    ck_assert_int_eq(found, i);
    ck_assert(*spo_method_doc((spo_method_id)i) != '\0');
    ck_assert_msg(spo_recipe_check(&r, &error) == SPO_OK, "%s", error.text);
  }
  spo_method_id none;
  ck_assert(!spo_method_named("magic", &none));
  ck_assert_int_eq(spo_method_family(SPO_WANDA), SPO_ONE_SHOT);
  ck_assert_int_eq(spo_method_family(SPO_RIGL), SPO_TRAINING);
  ck_assert_int_eq(spo_method_family(SPO_PST), SPO_LOW_RANK);
}
END_TEST

static void set(spo_recipe *r, const spo_option *o, double value) {
  char *at = (char *)r + o->offset;
  if (o->kind == SPO_OPT_NUMBER) memcpy(at, &value, sizeof value);
  if (o->kind == SPO_OPT_COUNT) memcpy(at, &(uint64_t){(uint64_t)value}, sizeof(uint64_t));
  if (o->kind == SPO_OPT_CHOICE) memcpy(at, &(int){(int)value}, sizeof(int));
}

/* Each option of each method is refused by its name just outside of its limits, and is no matter to
 * methods that do not have it. */
START_TEST(limits) {
  for (const spo_option *o = spo_options; o->key; o++)
    for (int i = 0; i < SPO_METHODS; i++) {
      if (o->kind == SPO_OPT_SWITCH) continue;
      spo_error error = {.text = ""};
      spo_recipe r = usable((spo_method_id)i);
      set(&r, o, o->kind == SPO_OPT_CHOICE ? 99 : o->most * 1.5 + 1);
      bool has = o->methods >> i & 1;
      ck_assert_int_eq(spo_recipe_check(&r, &error), has ? SPO_E_VALUE : SPO_OK);
      if (has) ck_assert_ptr_nonnull(strstr(error.text, o->key));
      if (!has || o->kind != SPO_OPT_NUMBER) continue;
      set(&r, o, NAN);
      ck_assert_int_eq(spo_recipe_check(&r, NULL), SPO_E_VALUE);
    }
}
END_TEST

START_TEST(rules) {
  spo_error error;
  spo_recipe r = usable(SPO_GRADUAL);
  r.begin = 0.8;
  ck_assert_int_eq(spo_recipe_check(&r, &error), SPO_E_VALUE);
  r = usable(SPO_GRADUAL);
  r.steps = 0;
  ck_assert_int_eq(spo_recipe_check(&r, &error), SPO_E_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "'steps'"));
  r = usable(SPO_NXM);
  spo_pattern_parse("4x1", &r.goal.pattern);
  ck_assert_int_eq(spo_recipe_check(&r, &error), SPO_E_PATTERN);
  r = usable(SPO_DYNAMIC);
  spo_pattern_parse("2:4", &r.goal.pattern);
  ck_assert_int_eq(spo_recipe_check(&r, &error), SPO_E_PATTERN);
  r.method = SPO_METHODS;
  ck_assert_int_eq(spo_recipe_check(&r, &error), SPO_E_VALUE);
}
END_TEST

/* 0.7 * 90 is a little less than 63 in f64. */
START_TEST(shares_of_steps) {
  spo_recipe r = usable(SPO_GRADUAL);
  r.steps = 90;
  r.goal.sparsity = 0.9;
  ck_assert_double_lt(spo_recipe_sparsity(&r, 62, 1), 0.9);
  ck_assert_double_eq(spo_recipe_sparsity(&r, 63, 1), 0.9);
  ck_assert_double_eq(spo_recipe_sparsity(&r, 8, 1), 0); /* begin: 9 */
  ck_assert_double_gt(spo_recipe_sparsity(&r, 10, 1), 0);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_recipe");
  TCase *c = untimed_case("recipe");
  tcase_add_test(c, names_and_defaults);
  tcase_add_test(c, limits);
  tcase_add_test(c, rules);
  tcase_add_test(c, shares_of_steps);
  suite_add_tcase(s, c);
  return run_suite(s);
}
