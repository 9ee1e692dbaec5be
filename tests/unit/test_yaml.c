/* The YAML reader and the readers of its values: what is refused, and where. */
#include "frontend/schema.h"
#include "frontend/suggest.h"
#include "frontend/yaml.h"
#include "scratch.h"
#include "tests/run_suite.h"

static ynode *read_bytes(const char *text, size_t size) {
  d = diag_new(mem);
  return yaml_read(mem, d, "m.yaml", text, size);
}

static ynode *read_text(const char *text) {
  return read_bytes(text, strlen(text));
}

/* All messages, one a line. */
static const char *messages(void) {
  const char *all = "";
  for (const diag_message *m = diag_first(d); m; m = m->next)
    all = arena_printf(mem, "%s%s\n", all, diag_format(mem, m));
  return all;
}

static void refused(const char *text, size_t size, const char *expected) {
  ck_assert_ptr_null(read_bytes(text, size));
  ck_assert_str_eq(messages(), expected);
}
#define REFUSED(text, expected) refused(text, sizeof(text) - 1, expected)

static void refused_with(const char *text, size_t size, enum err code) {
  ck_assert_ptr_null(read_bytes(text, size));
  ck_assert_ptr_nonnull(diag_first(d));
  ck_assert_str_eq(err_name(diag_first(d)->code), err_name(code));
}

START_TEST(tree) {
  const ynode *r = read_text("a: 1\nb: [x, 'y z', {c: \"d\"}]\n");
  ck_assert_ptr_nonnull(r);
  ck_assert_int_eq(r->kind, Y_MAPPING);
  ck_assert_uint_eq(r->count, 2);
  const ynode *b = ynode_get(r, "b");
  ck_assert_int_eq(b->kind, Y_SEQUENCE);
  ck_assert_uint_eq(b->count, 3);
  ck_assert_uint_eq(b->loc.line, 2);
  ck_assert_uint_eq(b->loc.column, 4);
  ck_assert_str_eq(b->key->text, "b");
  ck_assert_str_eq(b->first->text, "x");
  ck_assert(b->first->plain);
  ck_assert_str_eq(b->first->next->text, "y z");
  ck_assert(!b->first->next->plain);
  ck_assert_str_eq(ynode_get(b->last, "c")->text, "d");
  ck_assert_uint_eq(ynode_get(b->last, "c")->loc.column, 19);
  ck_assert_ptr_null(ynode_get(r, "c"));
}
END_TEST

START_TEST(byte_order_mark) {
  const ynode *r = read_text("\xEF\xBB\xBF"
                             "a: 1\n");
  ck_assert_ptr_nonnull(r);
  ck_assert_str_eq(r->first->key->text, "a");
  ck_assert_uint_eq(r->first->key->loc.column, 1);
}
END_TEST

START_TEST(document_marks) {
  ck_assert_ptr_nonnull(read_text("---\na: 1\n...\n"));
  REFUSED("a: 1\n---\nb: 2\n",
          "m.yaml:2:1: error: text follows the end of the document; one file holds "
          "one document [E_YAML_MULTI]\n");
  REFUSED("a: 1\n...\nb: 2\n",
          "m.yaml:3:1: error: text follows the end of the document; one file holds "
          "one document [E_YAML_MULTI]\n");
}
END_TEST

START_TEST(empty) {
  REFUSED("", "m.yaml: error: the file holds no document [E_EMPTY]\n");
  REFUSED("# nothing\n\n", "m.yaml: error: the file holds no document [E_EMPTY]\n");
  REFUSED("\xEF\xBB\xBF", "m.yaml: error: the file holds no document [E_EMPTY]\n");
}
END_TEST

START_TEST(encoding) {
  REFUSED("\xFF\xFE"
          "a\0",
          "m.yaml:1:1: error: the file is UTF-16; write it as UTF-8 "
          "[E_ENCODING]\n");
  REFUSED("a: 1\nb: \xE9t\xE9\n", "m.yaml:2:4: error: byte 0xe9 is not valid UTF-8 here; write the "
                                  "file as UTF-8 [E_ENCODING]\n");
  REFUSED("a: \xC3\xA9\x80\n", "m.yaml:1:5: error: byte 0x80 is not valid UTF-8 here; write the "
                               "file as UTF-8 [E_ENCODING]\n");
  static const char *const bad[] = {"\x80",         "\xC0\x80",         "\xE0\x80\x80",
                                    "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80",
                                    "\xC3",         "\xE2\x82"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    refused_with(bad[i], strlen(bad[i]), E_ENCODING);
  ck_assert_ptr_nonnull(read_text("a: \xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\n"));
}
END_TEST

START_TEST(control_characters) {
  REFUSED("a: x\0y\n", "m.yaml:1:5: error: character U+0000 is not allowed in YAML [E_YAML]\n");
  REFUSED("a: \x1b\n", "m.yaml:1:4: error: character U+001B is not allowed in YAML [E_YAML]\n");
  REFUSED("a: \"x\\0y\"\n", "m.yaml:1:4: error: control character U+0000 inside a text "
                            "[E_YAML]\n");
}
END_TEST

START_TEST(aliases_tags_directives) {
  REFUSED("a: &x 1\nb: *x\n", "m.yaml:1:4: error: anchor '&x' is not accepted; write the value out "
                              "where it is needed [E_YAML_ALIAS]\n");
  REFUSED("&x [*x]\n", "m.yaml:1:1: error: anchor '&x' is not accepted; write the value out where "
                       "it is needed [E_YAML_ALIAS]\n");
  REFUSED("a: *x\n", "m.yaml:1:4: error: alias '*x' is not accepted; write the value out "
                     "[E_YAML_ALIAS]\n");
  REFUSED("a: !local 1\n", "m.yaml:1:4: error: tag '!local' is not accepted; remove it "
                           "[E_YAML_TAG]\n");
  refused_with("a: !!binary aa\n", 15, E_YAML_TAG);
  refused_with("!!map {a: 1}\n", 13, E_YAML_TAG);
  REFUSED("%YAML 1.3\n---\na: 1\n", "m.yaml:1:1: error: directives and lines that begin with '%' "
                                    "are not accepted; remove the line [E_YAML_TAG]\n");
}
END_TEST

START_TEST(keys) {
  REFUSED("a: 1\nb: 2\na: 3\n", "m.yaml:3:1: error: key 'a' stands twice [E_DUP_KEY]\n"
                                "m.yaml:1:1: note: the first is here\n");
  REFUSED("x: {a: 1, \"a\": 3}\n", "m.yaml:1:11: error: key 'a' stands twice [E_DUP_KEY]\n"
                                   "m.yaml:1:5: note: the first is here\n");
  REFUSED("<<: {a: 1}\n", "m.yaml:1:1: error: merge key '<<' is not accepted; write the keys out "
                          "[E_DUP_KEY]\n");
  REFUSED("? [a]\n: 1\n", "m.yaml:1:3: error: a key must be a plain word, not a sequence "
                          "[E_TYPE]\n");
  REFUSED("{{a: 1}: 2}\n", "m.yaml:1:2: error: a key must be a plain word, not a mapping "
                           "[E_TYPE]\n");
}
END_TEST

/* `count` times `piece`, then `rest`. */
static char *repeat(const char *piece, size_t count, const char *rest, size_t *size) {
  size_t n = strlen(piece);
  *size = n * count + strlen(rest);
  char *text = arena_alloc(mem, *size + 1, 1);
  for (size_t i = 0; i < count; i++)
    memcpy(text + i * n, piece, n);
  memcpy(text + n * count, rest, strlen(rest) + 1);
  return text;
}

START_TEST(depth) {
  size_t size;
  char *text = repeat("[", 32, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]", &size);
  ck_assert_ptr_nonnull(read_bytes(text, size));
  static const char *const pieces[] = {"[", "{a: ", "- ", "[{a: "};
  static const size_t counts[] = {33, 1000, 100000};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
    for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
      text = repeat(pieces[i], counts[j], "", &size);
      refused_with(text, size, E_LIMIT);
    }
  text = repeat("[", 33, "", &size);
  refused(text, size, "m.yaml:1:33: error: nested deeper than 32 levels [E_LIMIT]\n");
}
END_TEST

START_TEST(size_limit) {
  size_t size;
  char *text = repeat("#", YAML_MAX_BYTES - 5, "\na: 1", &size);
  ck_assert_uint_eq(size, YAML_MAX_BYTES);
  ck_assert_ptr_nonnull(read_bytes(text, size));
  text = repeat("#", YAML_MAX_BYTES - 4, "\na: 1", &size);
  refused(text, size,
          "m.yaml: error: the file has 1048577 bytes; at most 1048576 are accepted "
          "[E_LIMIT]\n");
}
END_TEST

START_TEST(node_limit) {
  size_t size;
  char *text = repeat("- 1\n", YAML_MAX_NODES - 1, "", &size);
  ck_assert_ptr_nonnull(read_bytes(text, size));
  text = repeat("- 1\n", YAML_MAX_NODES, "", &size);
  refused(text, size, "m.yaml:65536:3: error: more than 65536 nodes [E_LIMIT]\n");
}
END_TEST

START_TEST(scalar_limit) {
  size_t size;
  char *text = repeat("x", YAML_MAX_SCALAR, "", &size);
  ck_assert_uint_eq(read_bytes(text, size)->size, YAML_MAX_SCALAR);
  text = repeat("x", YAML_MAX_SCALAR + 1, "", &size);
  refused(text, size,
          "m.yaml:1:1: error: a text of 4097 bytes; at most 4096 are accepted "
          "[E_LIMIT]\n");
}
END_TEST

START_TEST(many_keys) {
  char *text = "";
  size_t size = 0, count = 30000;
  text = arena_alloc(mem, count * 12, 1);
  for (size_t i = 0; i < count; i++)
    size += (size_t)sprintf(text + size, "k%zu: 1\n", i);
  ck_assert_ptr_nonnull(read_bytes(text, size));
  size += (size_t)sprintf(text + size, "k0: 1\n");
  refused_with(text, size, E_DUP_KEY);
}
END_TEST

START_TEST(malformed) {
  REFUSED("a: 1\n\tb: 2\n",
          "m.yaml:2:1: error: found a tab character that violates indentation, while "
          "scanning a plain scalar that begins at line 1, column 4 [E_YAML]\n");
  refused_with("a: 'x\n", 6, E_YAML);
  refused_with("a: [1, 2\n", 9, E_YAML);
  refused_with("a: {b: 1\n", 9, E_YAML);
  refused_with("a: 1\n b: 2\n", 11, E_YAML);
  refused_with("a: ]\n", 5, E_YAML);
  refused_with("a: 'x' y\n", 9, E_YAML);
}
END_TEST

/* Cut at every byte, a text either reads or gives exactly one located error. */
START_TEST(truncated) {
  static const char text[] = "spcc: 1\nmodel: {huggingface: './m', x: [1, \"\\u00e9\", ~]}\nlist:\n"
                             "  - a: |\n      block\n    b: >-\n      folded\n  - [p, {q: r}]\n";
  ck_assert_ptr_nonnull(read_text(text));
  for (size_t n = 0; n < sizeof text - 1; n++) {
    if (read_bytes(text, n)) {
      ck_assert_uint_eq(diag_errors(d), 0);
      continue;
    }
    ck_assert_uint_eq(diag_errors(d), 1);
    ck_assert(n == 0 || diag_first(d)->loc.line > 0);
  }
}
END_TEST

/* Makes a new `d` as well: call it in a statement of its own. */
static const ynode *value(const char *scalar) {
  const ynode *r = read_text(arena_printf(mem, "x: %s\n", scalar));
  ck_assert_msg(r != NULL, "%s", messages());
  return r->first;
}

START_TEST(integers) {
  int64_t i = -1;
  const ynode *n = value("42");
  ck_assert(value_int(d, n, 0, 100, &i));
  ck_assert_int_eq(i, 42);
  n = value("-9223372036854775808");
  ck_assert(value_int(d, n, INT64_MIN, 0, &i));
  ck_assert(i == INT64_MIN);
  n = value("0");
  ck_assert(value_int(d, n, 0, 0, &i));
  static const char *const bad[] = {"1_000", "0x10",  "077", "1e3",      "+5",
                                    "' 5'",  "\"5\"", "1.0", "\xD9\xA3", "9223372036854775808",
                                    "'-'",   "--1",   "5 6", "00",       "101",
                                    "-1",    "hello", "''"};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    n = value(bad[k]);
    ck_assert_msg(!value_int(d, n, 0, 100, &i), "%s", bad[k]);
    ck_assert_str_eq(err_name(diag_first(d)->code), "E_INT");
    ck_assert_uint_eq(diag_first(d)->loc.column, 4);
  }
  static const char *const other[] = {"yes", "off", "~", "null", "true", "[1]", "{a: 1}", ""};
  for (size_t k = 0; k < sizeof other / sizeof *other; k++) {
    n = value(other[k]);
    ck_assert(!value_int(d, n, 0, 100, &i));
    ck_assert_str_eq(err_name(diag_first(d)->code), "E_TYPE");
  }
}
END_TEST

START_TEST(floats) {
  double f;
  const ynode *n = value("1e-12");
  ck_assert(value_float(d, n, &f));
  ck_assert(f == 1e-12);
  n = value("-0.5");
  ck_assert(value_float(d, n, &f));
  ck_assert(f == -0.5);
  n = value("3");
  ck_assert(value_float(d, n, &f));
  static const char *const bad[] = {"nan", ".nan", "inf", "'1.5'", "1e999", "0x1p4",   "1.", ".5",
                                    "1e",  "1e+",  "+1",  "1_0",   "1.5x",  "\"1,5\"", "abc"};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    n = value(bad[k]);
    ck_assert_msg(!value_float(d, n, &f), "%s", bad[k]);
    ck_assert_str_eq(err_name(diag_first(d)->code), "E_FLOAT");
  }
}
END_TEST

START_TEST(booleans) {
  bool b;
  const ynode *n = value("true");
  ck_assert(value_bool(d, n, &b) && b);
  n = value("false");
  ck_assert(value_bool(d, n, &b) && !b);
  static const char *const bad[] = {"yes", "off", "True", "1", "~", "'true'", "[true]"};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
    n = value(bad[k]);
    ck_assert(!value_bool(d, n, &b));
    ck_assert_str_eq(err_name(diag_first(d)->code), "E_TYPE");
  }
}
END_TEST

START_TEST(schema) {
  ynode *r = read_text("name: y\nop: gelu\nattributs: {}\nwombat: 1\nbias: [b]\n");
  ck_assert(!schema_check(mem, d, r, SECTION_node, "a node"));
  ck_assert_str_eq(messages(), "m.yaml:3:1: error: unknown key 'attributs' in a node; did you mean "
                               "'attributes'? [E_KEY]\n"
                               "m.yaml:4:1: error: unknown key 'wombat' in a node [E_KEY]\n"
                               "m.yaml:5:7: error: bias must be a text, not a list [E_TYPE]\n");
  r = read_text("op: gelu\n");
  ck_assert(!schema_check(mem, d, r, SECTION_node, "a node"));
  ck_assert_str_eq(messages(), "m.yaml:1:1: error: a node needs the key 'name' [E_KEY]\n");
}
END_TEST

START_TEST(distances) {
  ck_assert_uint_eq(edit_distance("", ""), 0);
  ck_assert_uint_eq(edit_distance("abc", ""), 3);
  ck_assert_uint_eq(edit_distance("hiden", "hidden"), 1);
  ck_assert_uint_eq(edit_distance("ab", "ba"), 1);
  ck_assert_uint_eq(edit_distance("kitten", "sitting"), 3);
  ck_assert_uint_eq(edit_distance("linaer", "linear"), 1);
  suggestion s = {.word = "ad"};
  suggest_offer(&s, "mul");
  ck_assert_str_eq(suggest_text(mem, &s), "");
  suggest_offer(&s, "add");
  ck_assert_str_eq(suggest_text(mem, &s), "; did you mean 'add'?");
}
END_TEST

int main(void) {
  TCase *t = untimed_case("yaml");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, tree);
  tcase_add_test(t, byte_order_mark);
  tcase_add_test(t, document_marks);
  tcase_add_test(t, empty);
  tcase_add_test(t, encoding);
  tcase_add_test(t, control_characters);
  tcase_add_test(t, aliases_tags_directives);
  tcase_add_test(t, keys);
  tcase_add_test(t, depth);
  tcase_add_test(t, size_limit);
  tcase_add_test(t, node_limit);
  tcase_add_test(t, scalar_limit);
  tcase_add_test(t, many_keys);
  tcase_add_test(t, malformed);
  tcase_add_test(t, truncated);
  tcase_add_test(t, integers);
  tcase_add_test(t, floats);
  tcase_add_test(t, booleans);
  tcase_add_test(t, schema);
  tcase_add_test(t, distances);
  Suite *s = suite_create("yaml");
  suite_add_tcase(s, t);
  return run_suite(s);
}
