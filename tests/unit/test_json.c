/* JSON of configuration and index files: limits at the border, places, messages. */
#include <errno.h>

#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include "frontend/json.h"

static json_t *parse(const char *text, size_t size) {
  json_text in = {.shown = "j", .text = text, .size = size};
  return json_parse(d, &in);
}

static const struct {
  const char *text, *messages;
} refused[] = {
    {"", "j: error: the JSON text is empty [E_EMPTY]"},
    {" \n\t\r ", "j: error: the JSON text is empty [E_EMPTY]"},
    {"[]", "j:1:1: error: an object, '{…}', is expected [E_JSON]"},
    {"1", "j:1:1: error: '1' is not expected here [E_JSON]"},
    {"\xef\xbb\xbf{}", "j:1:1: error: '\xef\xbb\xbf' is not expected here [E_JSON]"},
    {"{\"a\":1,}", "j:1:8: error: '}' is not expected here [E_JSON]"},
    {"{\"a\":1 \"b\":2}", "j:1:8: error: '\"b\"' is not expected here [E_JSON]"},
    {"{\n  \"ä\": 1,\n  \"ö\", 2\n}", "j:3:6: error: ',' is not expected here [E_JSON]"},
    {"{\"a\": //c\n1}", "j:1:7: error: '/' is not expected here [E_JSON]"},
    {"{\"a\": 01}", "j:1:7: error: '01' is not expected here [E_JSON]"},
    {"{\"a\": .5}", "j:1:7: error: '.5' is not expected here [E_JSON]"},
    {"{\"a\": 1,5}", "j:1:9: error: '5' is not expected here [E_JSON]"},
    {"{\"a\": NaN}", "j:1:7: error: 'NaN' is not expected here [E_JSON]"},
    {"{\"a\": tru}", "j:1:7: error: 'tru' is not expected here [E_JSON]"},
    {"{\"a\": True}", "j:1:7: error: 'True' is not expected here [E_JSON]"},
    {"{\"a\": 1e999}", "j:1:7: error: the number 1e999 is out of range [E_JSON]"},
    {"{\"a\": 9223372036854775808}",
     "j:1:7: error: the number 9223372036854775808 is out of range [E_JSON]"},
    {"{\"a\": \"b", "j:1:9: error: the text ends too early [E_JSON]"},
    {"{\"a\": \"b\\", "j:1:7: error: '\"b\\' is not expected here [E_JSON]"},
    {"{\"a\": [1", "j:1:9: error: the text ends too early [E_JSON]"},
    {"{\"a\": \"\\x\"}", "j:1:7: error: '\"\\x\"' is not expected here [E_JSON]"},
    {"{\"a\": \"\\u12g4\"}", "j:1:7: error: '\"\\u12g4\"' is not expected here [E_JSON]"},
    {"{\"a\": \"\\udc00\"}", "j:1:8: error: the escape '\\udc00' stands for no character [E_JSON]"},
    {"{\"a\": \"b\nc\"}", "j:1:7: error: '\"b\\x0ac\"' is not expected here [E_JSON]"},
    {"{\"a\": \"\x80\"}", "j:1:7: error: not valid UTF-8 [E_JSON]"},
    {"{\"a\": \"\xf4\x90\x80\x80\"}", "j:1:7: error: not valid UTF-8 [E_JSON]"},
    {"{\"a\": {\"b\": 1, \"\\u0062\": 2}}",
     "j:1:16: error: the key \"\\u0062\" stands twice [E_DUP_KEY]"},
    {"{} {}", "j:1:4: error: only spaces may follow the closing '}' [E_JSON]"},
    {"{}}", "j:1:3: error: only spaces may follow the closing '}' [E_JSON]"},
};

START_TEST(refuses) {
  ck_assert_ptr_null(parse(refused[_i].text, strlen(refused[_i].text)));
  expect_messages(refused[_i].messages);
}
END_TEST

START_TEST(refuses_zero_bytes) {
  ck_assert_ptr_null(parse("{\"a\": \"b\0\"}", 11));
  expect_messages("j:1:7: error: '\"b' is not expected here [E_JSON]");
  ck_assert_ptr_null(parse("{}\0", 3));
  expect_messages("j:1:3: error: only spaces may follow the closing '}' [E_JSON]");
}
END_TEST

START_TEST(accepts) {
  const char *text = " {\"a\": [true, null, -1.5e3, \"\\ud83d\\ude00\\n\"], \"a.b\": {}}\n";
  json_t *root = parse(text, strlen(text));
  expect_messages("");
  json_t *list = json_object_get(root, "a");
  ck_assert_uint_eq(json_array_size(list), 4);
  ck_assert(json_real_value(json_array_get(list, 2)) == -1500);
  ck_assert_str_eq(json_string_value(json_array_get(list, 3)), "\xf0\x9f\x98\x80\n");
  json_decref(root);
}
END_TEST

/* Only the bytes given are read: the text stands at the end of its memory. */
START_TEST(reads_no_further) {
  const char *whole = "{\"a\": [1, \"\\ud83d\\ude00\", {\"b\": null}], \"c\": -1e-3}";
  for (size_t size = 0; size <= strlen(whole); size++) {
    char *exact = malloc(size ? size : 1);
    memcpy(exact, whole, size);
    json_t *root = parse(exact, size);
    ck_assert_int_eq(root != NULL, size == strlen(whole));
    ck_assert_uint_eq(diag_errors(d), root ? 0 : 1);
    json_decref(root);
    free(exact);
    d = diag_new(mem);
  }
}
END_TEST

/* {"t": <before> times `before`, `after`} */
static char *wrap(const char *before, size_t times, const char *after) {
  size_t length = strlen(before);
  char *text = arena_alloc(mem, length * times + strlen(after) + 32, 1), *at = text;
  at += sprintf(at, "{\"t\":");
  for (size_t i = 0; i < times; i++, at += length)
    memcpy(at, before, length);
  strcpy(at, after);
  return text;
}

static void expect_limit(const char *text, const char *messages) {
  json_t *root = parse(text, strlen(text));
  ck_assert_int_eq(root != NULL, !*messages);
  json_decref(root);
  expect_messages(messages);
}

START_TEST(limit_of_depth) {
  char closing[64];
  memset(closing, ']', sizeof closing);
  strcpy(closing + 31, "}");
  expect_limit(wrap("[", 31, closing), "");
  strcpy(closing + 32, "}");
  closing[31] = ']';
  expect_limit(wrap("[", 32, closing), "j:1:37: error: nested too deep; the limit is 32 [E_LIMIT]");
  /* Brackets in strings do not count. */
  expect_limit("{\"t\": \"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[\"}", "");
}
END_TEST

START_TEST(limit_of_numbers) {
  const char *zeros = "00000000000000000000000000000000000000000000000000000000000000";
  expect_limit(arena_printf(mem, "{\"t\":0.%s}", zeros), ""); /* 64 bytes */
  expect_limit(arena_printf(mem, "{\"t\":0.%s0}", zeros),
               "j:1:6: error: a number has too many digits; the limit is 64 [E_LIMIT]");
}
END_TEST

START_TEST(limit_of_strings) {
  char *text = wrap("s", JSON_MAX_STRING + 1, "\"}");
  text[5] = '"';
  expect_limit(text, "");
  text = wrap("s", JSON_MAX_STRING + 2, "\"}");
  text[5] = '"';
  expect_limit(text,
               "j:1:6: error: a string is too many bytes long; the limit is 8388608 [E_LIMIT]");
}
END_TEST

START_TEST(limit_of_cost) {
  /* The object, "t" and the list cost 18, each number 1. */
  char *text = wrap("1,", JSON_MAX_COST - 19, "1]}");
  memmove(text + 6, text + 5, strlen(text + 5) + 1);
  text[5] = '[';
  expect_limit(text, "");
  text = wrap("1,", JSON_MAX_COST - 18, "1]}");
  memmove(text + 6, text + 5, strlen(text + 5) + 1);
  text[5] = '[';
  expect_limit(text, "j:1:8388579: error: too many values (an object or a list counts as 8, a "
                     "string as 2); the limit is 4194304 [E_LIMIT]");
}
END_TEST

static void expect_place(const char *text, const char *key, uint32_t line, uint32_t column) {
  json_text in = {.shown = "j", .text = text, .size = strlen(text)};
  src_loc loc = json_place(&in, key);
  ck_assert_str_eq(loc.file, "j");
  ck_assert_uint_eq(loc.line, line);
  ck_assert_uint_eq(loc.column, column);
}

START_TEST(places_of_keys) {
  const char *text =
      "{\n  \"x\": {\"a\": 1, \"y\": [2]},\n  \"é\": \"a\", \"a\" :\n\t3, \"b\": \"a\"}";
  expect_place(text, "x", 2, 8);
  expect_place(text, "a", 4, 2); /* neither the key inside x nor the value "a" */
  expect_place(text, "b", 4, 10);
  expect_place(text, "é", 3, 8);
  expect_place(text, "y", 0, 0);
  expect_place(text, "", 0, 0);
}
END_TEST

START_TEST(reads_files) {
  json_text in;
  put_text("c.json", "{\"a\": 1}");
  json_t *root = json_read_file(mem, d, ".", "c.json", 8, &in);
  ck_assert_int_eq(json_integer_value(json_object_get(root, "a")), 1);
  ck_assert_str_eq(in.shown, "./c.json");
  ck_assert_uint_eq(json_place(&in, "a").column, 7);
  json_decref(root);
  ck_assert_ptr_null(json_read_file(mem, d, ".", "c.json", 7, &in));
  ck_assert_ptr_null(json_read_file(mem, d, ".", "none", 7, &in));
  expect_messages("./c.json: error: the file has 8 bytes; the limit is 7 [E_LIMIT]\n"
                  "./none: error: cannot open: No such file or directory [E_OPEN]");
}
END_TEST

static size_t allocations_left;

static void *allocate(size_t size) {
  if (allocations_left && allocations_left--) return malloc(size);
  errno = ENOMEM;
  return NULL;
}

/* However early memory ends, that is what is said, and nothing of the text. */
START_TEST(out_of_memory) {
  const char *text = "{\"a\": {\"b\": [1, 2.5, \"c\", true]}, \"d\": \"efgh\"}";
  json_t *root = NULL;
  size_t refusals = 0;
  json_set_alloc_funcs(allocate, free);
  for (size_t n = 0; !root; n++) {
    allocations_left = n;
    root = parse(text, strlen(text));
    if (root) break;
    refusals++;
    const diag_message *m = diag_first(d);
    ck_assert_ptr_nonnull(m);
    ck_assert_ptr_null(m->next);
    ck_assert_str_eq(m->text, "out of memory");
    ck_assert_int_eq(diag_exit_code(d), 3);
    d = diag_new(mem);
  }
  ck_assert_uint_gt(refusals, 10);
  json_decref(root);
  json_set_alloc_funcs(malloc, free);
}
END_TEST

int main(void) {
  Suite *s = suite_create("json");
  TCase *t = untimed_case("json");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_loop_test(t, refuses, 0, (int)(sizeof refused / sizeof *refused));
  tcase_add_test(t, refuses_zero_bytes);
  tcase_add_test(t, accepts);
  tcase_add_test(t, reads_no_further);
  tcase_add_test(t, limit_of_depth);
  tcase_add_test(t, limit_of_numbers);
  tcase_add_test(t, limit_of_strings);
  tcase_add_test(t, limit_of_cost);
  tcase_add_test(t, places_of_keys);
  tcase_add_test(t, reads_files);
  tcase_add_test(t, out_of_memory);
  suite_add_tcase(s, t);
  return run_suite(s);
}
