/* recipe.yaml: what is read, which weights are chosen, and that docs/recipes.md has every key.
 * What is refused is in tests/bad/cases/recipe.txt. */
#include "frontend/match.h"
#include "frontend/recipe.h"
#include "frontend/schema.h"
#include "scratch.h"
#include "tests/run_suite.h"

static const recipe *read_text(const char *text) {
  return recipe_read_text(mem, d, "recipe.yaml", text, strlen(text));
}

/* The only entry of a good recipe, which is written in one line. */
static const spo_recipe *read_one(const char *entry) {
  const recipe *r = read_text(arena_printf(mem, "spcc: 1\nrecipe:\n  - {%s}\n", entry));
  ck_assert_msg(r != NULL, "%s: %s", entry, diag_first(d) ? diag_first(d)->text : "");
  ck_assert_uint_eq(r->count, 1);
  return &r->entries[0].options;
}

START_TEST(defaults) {
  const spo_recipe *o = read_one("method: magnitude, sparsity: 0.9");
  ck_assert_int_eq(o->method, SPO_MAGNITUDE);
  ck_assert_int_eq(o->goal.pattern.kind, SPO_UNSTRUCTURED);
  ck_assert_double_eq(o->goal.sparsity, 0.9);
  o = read_one("method: sparsegpt, pattern: 2:4");
  ck_assert_double_eq(o->goal.sparsity, SPO_IMPLIED);
  ck_assert_double_eq(o->damping, 0.01);
  ck_assert_uint_eq(o->block, 128);
  ck_assert_int_eq(o->refit, SPO_REFIT_NONE);
  ck_assert_double_eq(read_one("method: wanda, pattern: 2:4, sparsity: 0.5")->goal.sparsity, 0.5);
}
END_TEST

START_TEST(options_of_each_kind) {
  const spo_recipe *o = read_one("method: sparse_optimizer, steps: 281474976710656, lambda: 2e-3, "
                                 "penalty: group, metric: adam, pattern: 4x1");
  ck_assert_uint_eq(o->steps, SPO_STEPS_MAX);
  ck_assert_double_eq(o->lambda, 2e-3);
  ck_assert_int_eq(o->penalty, SPO_GROUP);
  ck_assert_int_eq(o->metric, SPO_ADAM);
  ck_assert_double_eq(o->goal.sparsity, 0); /* lambda decides */
  o = read_one("method: movement, steps: 9, soft: true, seed: 0");
  ck_assert(o->soft);
  ck_assert_uint_eq(o->steps, 9);
}
END_TEST

/* Every option of every method is read at both of its limits. */
START_TEST(limits_are_inside) {
  for (const spo_option *o = spo_options; o->key; o++)
    for (int m = 0; m < SPO_METHODS; m++) {
      if (!(o->methods >> m & 1) || o->kind == SPO_OPT_SWITCH || o->kind == SPO_OPT_CHOICE)
        continue;
      bool nm = m == SPO_NXM || m == SPO_SRSTE, end = strcmp(o->key, "end") == 0;
      const char *needs =
          spo_method_family((spo_method_id)m) == SPO_ONE_SHOT || strcmp(o->key, "steps") == 0
              ? ""
              : ", steps: 10";
      for (int most = 0; most < 2; most++)
        read_one(arena_printf(mem, "method: %s%s, %s: %.17g%s%s", spo_method_name((spo_method_id)m),
                              needs, o->key, most ? o->most : o->least,
                              nm ? ", pattern: 2:4" : ", sparsity: 0.5",
                              end && !most                   ? ", begin: 0"
                              : strcmp(o->key, "begin") == 0 ? ", end: 1"
                                                             : ""));
    }
}
END_TEST

/* ---- names ---- */

static const char *const weights[] = {"layer.0.query.weight", "layer.0.key.weight",
                                      "layer.1.query.weight", "layer.10.query.weight"};
enum { WEIGHTS = 4 };

START_TEST(name_patterns) {
  static const struct {
    const char *pattern, *marks;
  } cases[] = {{"layer.0.query", "1000"},
               {"layer.0.query.weight", "1000"},
               {"layer.0.query.weigh", "0000"},
               {"ayer.0.query", "0000"},
               {"*", "1111"},
               {"*query", "1011"},
               {"*.weight", "1111"},
               {"layer.1*", "0011"},
               {"layer.?.query", "1010"},
               {"*1*1*", "0000"},
               {"*er*er*weight", "1011"},
               {"**q**y**", "1011"},
               {"", "0000"},
               {"?", "0000"},
               {"LAYER.0.query", "0000"},
               {"layer.0.[qk]*", "0000"}, /* no classes: names may have brackets */
               {"re:query", "1011"},
               {"re:^layer[.](0|1)[.]", "1110"},
               {"re:", "1111"},
               {"re:[0-9]{2}", "0001"},
               {"re:\\d\\d", "0001"},
               {"re:(.)1\\1", "0010"},
               {"re:query(?!.)", "0000"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    bool mark[WEIGHTS] = {false};
    size_t found = 99, expected = 0;
    ck_assert_ptr_null(match_names(mem, cases[i].pattern, weights, WEIGHTS, mark, &found));
    for (size_t k = 0; k < WEIGHTS; k++) {
      ck_assert_msg(mark[k] == (cases[i].marks[k] == '1'), "%s: %s", cases[i].pattern, weights[k]);
      expected += mark[k];
    }
    ck_assert_uint_eq(found, expected);
  }
}
END_TEST

/* A glob that would try all ways to place its stars is done at once. */
START_TEST(stars_are_cheap) {
  char name[512], glob[512];
  const char *const list[] = {name};
  bool mark[1] = {false};
  size_t found;
  memset(name, 'a', sizeof name);
  name[sizeof name - 1] = '\0';
  for (size_t i = 0; i + 2 < sizeof glob; i += 2)
    memcpy(glob + i, "*a", 2);
  strcpy(glob + sizeof glob - 2, "b");
  ck_assert_ptr_null(match_names(mem, glob, list, 1, mark, &found));
  ck_assert_uint_eq(found, 0);
}
END_TEST

static const char *chosen(const char *entries) {
  uint32_t entry_of[WEIGHTS];
  char *text = arena_alloc(mem, WEIGHTS + 1, 1);
  const recipe *r = read_text(arena_printf(mem, "spcc: 1\nrecipe:\n%s", entries));
  ck_assert_ptr_nonnull(r);
  ck_assert(recipe_choose(mem, d, r, weights, WEIGHTS, entry_of));
  for (size_t i = 0; i < WEIGHTS; i++)
    text[i] = entry_of[i] == RECIPE_NONE ? '-' : (char)('0' + entry_of[i]);
  text[WEIGHTS] = '\0';
  return text;
}

START_TEST(choices) {
  ck_assert_str_eq(chosen("  - {method: magnitude, sparsity: 0.5}\n"), "0000");
  ck_assert_str_eq(chosen("  - {method: magnitude, sparsity: 0.5, ignore: \"*key\"}\n"), "0-00");
  ck_assert_str_eq(chosen("  - {method: magnitude, sparsity: 0.5, targets: [\"*query\"], "
                          "ignore: [layer.1.query, layer.0.key]}\n"),
                   "0--0");
  ck_assert_str_eq(chosen("  - {method: magnitude, sparsity: 0.5, targets: re:1}\n"
                          "  - {method: wanda, pattern: 2:4, targets: layer.0.key}\n"),
                   "-100");
  ck_assert_str_eq(chosen("  - {method: magnitude, sparsity: 0.5, targets: []}\n"), "----");
}
END_TEST

/* `count` times `item`, with commas. */
static const char *repeat(const char *item, int count) {
  size_t length = strlen(item);
  char *text = arena_alloc(mem, (length + 1) * (size_t)count + 1, 1), *at = text;
  for (int i = 0; i < count; i++) {
    memcpy(at, item, length);
    at[length] = ',';
    at += length + 1;
  }
  *at = '\0';
  return text;
}

START_TEST(limits_of_lists) {
  static const char entry[] = "{method: magnitude, sparsity: 0}";
  ck_assert_ptr_nonnull(
      read_text(arena_printf(mem, "spcc: 1\nrecipe: [%s]\n", repeat(entry, RECIPE_MAX_ENTRIES))));
  ck_assert_ptr_null(read_text(
      arena_printf(mem, "spcc: 1\nrecipe: [%s]\n", repeat(entry, RECIPE_MAX_ENTRIES + 1))));
  ck_assert_int_eq(diag_first(d)->code, E_LIMIT);
  d = diag_new(mem);
  ck_assert_ptr_null(read_text(
      arena_printf(mem, "spcc: 1\nrecipe: [{method: magnitude, sparsity: 0, targets: [%s]}]\n",
                   repeat("a", RECIPE_MAX_PATTERNS))));
  ck_assert_int_eq(diag_first(d)->code, E_DUP_NAME);
  d = diag_new(mem);
  ck_assert_ptr_null(read_text(
      arena_printf(mem, "spcc: 1\nrecipe: [{method: magnitude, sparsity: 0, targets: [%s]}]\n",
                   repeat("a", RECIPE_MAX_PATTERNS + 1))));
  ck_assert_int_eq(diag_first(d)->code, E_LIMIT);
}
END_TEST

/* ---- the documentation ---- */

static const char *methods_text(const spo_option *o) {
  const char *text = "";
  for (int i = 0; i < SPO_METHODS; i++)
    if (o->methods >> i & 1)
      text =
          arena_printf(mem, "%s%s%s", text, *text ? ", " : "", spo_method_name((spo_method_id)i));
  return text;
}

static const char *values_text(const spo_option *o) {
  const char *text = "";
  if (o->kind == SPO_OPT_SWITCH) return "true or false";
  if (o->kind == SPO_OPT_NUMBER) return arena_printf(mem, "%g to %g", o->least, o->most);
  if (o->kind == SPO_OPT_COUNT) return arena_printf(mem, "%.0f to %.0f", o->least, o->most);
  for (const char *word = o->words; *word; word += strlen(word) + 1)
    text = arena_printf(mem, "%s%s%s", text, *text ? ", " : "", word);
  return text;
}

static const char *default_text(const spo_option *o) {
  spo_recipe initial;
  spo_recipe_init(&initial, SPO_MAGNITUDE);
  const void *at = (const char *)&initial + o->offset;
  const char *word = o->words;
  switch (o->kind) {
  case SPO_OPT_NUMBER:
    return arena_printf(mem, "%g", *(const double *)at);
  case SPO_OPT_COUNT:
    return (double)*(const uint64_t *)at < o->least
               ? "needed"
               : arena_printf(mem, "%llu", (unsigned long long)*(const uint64_t *)at);
  case SPO_OPT_SWITCH:
    return *(const bool *)at ? "true" : "false";
  case SPO_OPT_CHOICE:
    for (int i = *(const int *)at; i > 0; i--)
      word += strlen(word) + 1;
    break;
  }
  return word;
}

/* The tables are those of docs/recipes.md, row by row; a row that is missing is shown. */
START_TEST(documented) {
  FILE *f = fopen(SPCC_SOURCE_DIR "/docs/recipes.md", "rb");
  ck_assert_ptr_nonnull(f);
  char *text = arena_alloc(mem, 1 << 16, 1);
  const char *missing = "";
  text[fread(text, 1, (1 << 16) - 1, f)] = '\0';
  fclose(f);
  for (int i = 0; i < SPO_METHODS; i++) {
    spo_method_id id = (spo_method_id)i;
    const char *row = arena_printf(mem, "| `%s` | %s |\n", spo_method_name(id), spo_method_doc(id));
    if (!strstr(text, row)) missing = arena_printf(mem, "%s%s", missing, row);
  }
  for (const spo_option *o = spo_options; o->key; o++) {
    const char *row = arena_printf(mem, "| `%s` | %s | %s | %s | %s |\n", o->key, methods_text(o),
                                   values_text(o), default_text(o), o->doc);
    if (!strstr(text, row)) missing = arena_printf(mem, "%s%s", missing, row);
  }
  fputs(missing, stderr); /* longer than Check's messages may be */
  ck_assert_msg(!*missing, "docs/recipes.md lacks the rows above");
}
END_TEST

int main(void) {
  TCase *t = untimed_case("recipe");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, defaults);
  tcase_add_test(t, options_of_each_kind);
  tcase_add_test(t, limits_are_inside);
  tcase_add_test(t, name_patterns);
  tcase_add_test(t, stars_are_cheap);
  tcase_add_test(t, choices);
  tcase_add_test(t, limits_of_lists);
  tcase_add_test(t, documented);
  Suite *s = suite_create("recipe");
  suite_add_tcase(s, t);
  return run_suite(s);
}
