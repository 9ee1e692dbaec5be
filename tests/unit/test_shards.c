/* Models in several weight files, and finding the weights of a model folder. */
#include "tests/run_suite.h"
#include "tests/unit/weights.h"

#define INDEX "model.safetensors.index.json"

START_TEST(reads_shards) {
  float one[] = {1, 2}, two[] = {3, 4, 5, 6};
  put_weights("s1.safetensors", "{" PAIR("b", 0, 8) "}", one, 8);
  put_weights("blob", "{" PAIR("a", 0, 8) "," PAIR("c", 8, 16) "}", two, 16);
  ck_assert_int_eq(symlink("blob", "s2.safetensors"), 0); /* as in a download cache */
  put_text(INDEX, "{\"metadata\":{\"total_size\":24}, \"weight_map\":{\"c\":\"s2.safetensors\","
                  "\"b\":\"s1.safetensors\",\"a\":\"s2.safetensors\"}}\n");
  st_set *s = st_open_folder(mem, d, ".");
  expect_messages("");
  ck_assert_uint_eq(st_count(s), 3);
  ck_assert_str_eq(st_at(s, 0)->name, "b");
  ck_assert_str_eq(st_at(s, 1)->name, "a");
  ck_assert_str_eq(st_at(s, 2)->name, "c");
  ck_assert_str_eq(st_shard_name(s, st_find(s, "c")->shard), "./s2.safetensors");
  ck_assert(st_read_f32(s, d, mem, st_find(s, "a"))[1] == 4);
  ck_assert(st_read_f32(s, d, mem, st_find(s, "b"))[0] == 1);
  ck_assert(st_read_f32(s, d, mem, st_find(s, "c"))[0] == 5);
  ck_assert(st_close(s, d));
  expect_messages("");
}
END_TEST

#define NO_COMPONENT                                                                               \
  "' is not a plain name of at most 255 bytes; a file named by another one must lie in the same "  \
  "folder [E_PATH]"
#define MAP(entries) "{\"weight_map\":{" entries "}}"

static const struct {
  const char *index, *messages;
} indexes[] = {
    {"", "./" INDEX ": error: the JSON text is empty [E_EMPTY]"},
    {"[1]", "./" INDEX ":1:1: error: an object, '{…}', is expected [E_JSON]"},
    {"{\n \"weight_map\": {\n  \"a\" 1}}",
     "./" INDEX ":3:7: error: '1' is not expected here [E_JSON]"},
    {"{\n\"a\":1,\"ä\":2,\"a\":3}", "./" INDEX ":2:13: error: the key \"a\" stands twice "
                                    "[E_DUP_KEY]"},
    {"{\"x\":1}", "./" INDEX ": error: an index needs an object \"weight_map\" from tensor names "
                  "to file names [E_KEY]"},
    {"{\"weight_map\": []}", "./" INDEX ":1:16: error: an index needs an object \"weight_map\" "
                             "from tensor names to file names [E_TYPE]"},
    {MAP(""), "./" INDEX ": error: \"weight_map\" names 0 tensors; 1 to 65536 are expected "
              "[E_EMPTY]"},
    {MAP("\"a\":1"), "./" INDEX ": error: \"weight_map\": the value of 'a' is not a string "
                     "[E_TYPE]"},
    {MAP("\"a\":\"/etc/passwd\""), "./" INDEX ": error: the file name '/etc/passwd" NO_COMPONENT},
    {MAP("\"a\":\"../w\""), "./" INDEX ": error: the file name '../w" NO_COMPONENT},
    {MAP("\"a\":\"a/../../w\""), "./" INDEX ": error: the file name 'a/../../w" NO_COMPONENT},
    {MAP("\"a\":\"a/b\""), "./" INDEX ": error: the file name 'a/b" NO_COMPONENT},
    {MAP("\"a\":\"C:\\\\w\""), "./" INDEX ": error: the file name 'C:\\w" NO_COMPONENT},
    {MAP("\"a\":\"\""), "./" INDEX ": error: the file name '" NO_COMPONENT},
    {MAP("\"a\":\"x\\ny\""), "./" INDEX ": error: the file name 'x\\x0ay" NO_COMPONENT},
    {MAP("\"a\":\"x\\u0000y\""), "./" INDEX ":1:22: error: the escape '\\u0000' stands for no "
                                 "character [E_JSON]"},
    {MAP("\"a\":\"none\""), "./none: error: cannot open: No such file or directory [E_OPEN]"},
    {MAP("\"a\":\"dangling\""),
     "./dangling: error: cannot open: No such file or directory [E_OPEN]"},
    {MAP("\"a\":\"device\""), "./device: error: this is a device, not a regular file; only "
                              "regular files are read [E_NOT_FILE]"},
    {MAP("\"a\":\"fifo\""), "./fifo: error: this is a FIFO, not a regular file; only regular "
                            "files are read [E_NOT_FILE]"},
    {MAP("\"a\":\"one\",\"b\":\"one\""), "./" INDEX ": error: tensor 'b' is not in the file 'one' "
                                         "that the index names for it [E_W_MISSING]"},
    {MAP("\"a\":\"two\",\"b\":\"two\",\"c\":\"one\""),
     "./two: error: tensor 'a' stands in ./one too [E_W_DUP]"},
    {MAP("\"a\":\"two\""), "./two: error: tensor 'b' is not listed in ./" INDEX " [E_W_MISSING]"},
    {MAP("\"a\":\"one\",\"c\":\"three\""),
     "./" INDEX ": error: tensor 'c' is not in the file 'three' that the index names for it "
     "[E_W_MISSING]"},
    {MAP("\"a\":\"three\",\"c\":\"one\""),
     "./" INDEX ": error: tensor 'a' is not in the file 'three' that the index names for it "
     "[E_W_MISSING]\n"
     "./" INDEX ": error: tensor 'c' is not in the file 'one' that the index names for it "
     "[E_W_MISSING]"},
};

START_TEST(refuses_indexes) {
  put_weights("one", "{" PAIR("a", 0, 8) "}", NULL, 8);
  put_weights("two", "{" PAIR("a", 0, 8) "," PAIR("b", 8, 16) "}", NULL, 16);
  put_weights("three", "{}", NULL, 0);
  ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
  ck_assert_int_eq(symlink("/dev/zero", "device"), 0);
  ck_assert_int_eq(mkfifo("fifo", 0600), 0);
  put_text(INDEX, indexes[_i].index);
  ck_assert_ptr_null(st_open_folder(mem, d, "."));
  expect_messages(indexes[_i].messages);
}
END_TEST

START_TEST(refuses_many_shards) {
  char *map = arena_alloc(mem, 513 * 32 + 64, 1), *at = map;
  at += sprintf(at, "{\"weight_map\":{\"x\":\"x\"");
  for (int i = 0; i < 512; i++)
    at += sprintf(at, ",\"%d\":\"%d\"", i, i);
  strcpy(at, "}}");
  put_text(INDEX, map);
  ck_assert_ptr_null(st_open_folder(mem, d, "."));
  expect_messages("./" INDEX ": error: 513 shards; the limit is 512 [E_LIMIT]");
}
END_TEST

static void expect_folder(const char *tensor) {
  st_set *s = st_open_folder(mem, d, ".");
  expect_messages("");
  ck_assert_str_eq(st_at(s, 0)->name, tensor);
  ck_assert(st_close(s, d));
}

START_TEST(finds_the_weights_of_a_folder) {
  ck_assert_ptr_null(st_open_folder(mem, d, "none"));
  expect_messages("none: error: cannot open this folder: No such file or directory [E_OPEN]");
  put_text("pytorch_model.bin", "x");
  put_text(".safetensors", "x"); /* a suffix alone is no name */
  ck_assert_ptr_null(st_open_folder(mem, d, "."));
  expect_messages(".: error: no *.safetensors in this folder; weights in other formats must be "
                  "converted [E_OPEN]");
  put_weights("other.safetensors", "{" PAIR("only", 0, 8) "}", NULL, 8);
  expect_folder("only");
  put_weights("another.safetensors", "{" PAIR("second", 0, 8) "}", NULL, 8);
  ck_assert_ptr_null(st_open_folder(mem, d, "."));
  expect_messages(".: error: 2 *.safetensors in this folder, but no " INDEX
                  " that says what is in which [E_CONFIG]");
  put_text(INDEX, "{\"weight_map\":{\"only\":\"other.safetensors\"}}");
  expect_folder("only");
  put_weights("model.safetensors", "{" PAIR("model", 0, 8) "}", NULL, 8);
  expect_folder("model");
}
END_TEST

/* No descriptor stays open, whatever was refused. */
START_TEST(closes_what_it_refuses) {
  put_weights("one", "{" PAIR("a", 0, 8) "}", NULL, 8);
  put_weights("bad", "{" PAIR("a", 0, 8) "}", NULL, 9);
  put_text(INDEX, MAP("\"a\":\"one\",\"b\":\"bad\""));
  int before = dup(0);
  close(before);
  ck_assert_ptr_null(st_open_folder(mem, d, "."));
  ck_assert_ptr_null(st_open(mem, d, NULL, "bad"));
  int after = dup(0);
  ck_assert_int_eq(before, after);
}
END_TEST

int main(void) {
  Suite *s = suite_create("shards");
  TCase *t = untimed_case("shards");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, reads_shards);
  tcase_add_loop_test(t, refuses_indexes, 0, (int)(sizeof indexes / sizeof *indexes));
  tcase_add_test(t, refuses_many_shards);
  tcase_add_test(t, finds_the_weights_of_a_folder);
  tcase_add_test(t, closes_what_it_refuses);
  suite_add_tcase(s, t);
  return run_suite(s);
}
