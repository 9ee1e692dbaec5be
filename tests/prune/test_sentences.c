/* Sentences to calibrate with: text and token ids, and what is wrong with them. */
#include "tests/unit/tiny_bert.h"

#include "driver/npy.h"
#include "driver/sentences.h"
#include "tests/run_suite.h"

static driver dr;
static model_source *source;

static void setup(void) {
  scratch_setup();
  tiny_bert t = {.layers = 1};
  tiny_write(&t, "tiny");
  put_text("tiny/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\nfish\nRed\n");
  put_text("model.yaml", "spcc: 1\nmodel: {huggingface: tiny}\ninputs: [input_ids]\n"
                         "outputs: [last_hidden_state]\nmax_sequence: 5\n");
  dr = (driver){.arena = mem, .diag = d, .command = CMD_prune};
  source = source_read(&dr, "model.yaml", &(model_overrides){0});
  ck_assert_ptr_nonnull(source);
  ck_assert(source_close(&dr, source));
}

static void check_ids(const token_set *set, size_t i, size_t count, const int32_t *ids) {
  ck_assert_uint_lt(i, set->count);
  ck_assert_uint_eq(set->start[i + 1] - set->start[i], count);
  for (size_t k = 0; k < count; k++)
    ck_assert_int_eq(set->ids[set->start[i] + k], ids[k]);
}

START_TEST(text_is_tokens) {
  token_set set;
  put_text("t.txt", "Red fish\n\n \t\r\nfish\r\nblue red fish fish red\nfish");
  ck_assert(sentences_read(&dr, "t.txt", source, &set));
  ck_assert_uint_eq(set.count, 4);
  check_ids(&set, 0, 4, (int32_t[]){2, 4, 5, 3});
  check_ids(&set, 1, 3, (int32_t[]){2, 5, 3});
  check_ids(&set, 2, 5, (int32_t[]){2, 1, 4, 5, 3}); /* cut off at max_sequence */
  check_ids(&set, 3, 3, (int32_t[]){2, 5, 3});
}
END_TEST

START_TEST(tokenizer_is_configured) {
  token_set set;
  put_text("tiny/tokenizer_config.json", "{\"do_lower_case\": false, \"strip_accents\": null, "
                                         "\"unk_token\": {\"content\": \"fish\"}}");
  put_text("t.txt", "Red blue [SEP]");
  ck_assert(sentences_read(&dr, "t.txt", source, &set));
  check_ids(&set, 0, 5, (int32_t[]){2, 6, 5, 5, 3}); /* "[SEP]" is text: '[' … */
}
END_TEST

static void put_ids(const char *name, enum npy_type type, int64_t rows, int64_t cols,
                    const void *data) {
  npy_array a = {.type = type, .rank = 2, .dim = {rows, cols}, .data = data};
  a.count = (size_t)(rows * cols);
  bytes all = npy_format(mem, &a);
  put_file(name, all.data, all.size);
}

START_TEST(ids_are_taken) {
  token_set set;
  put_ids("a.npy", NPY_I32, 3, 6,
          (int32_t[]){2, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 5, 6, 3});
  ck_assert(sentences_read(&dr, "a.npy", source, &set));
  ck_assert_uint_eq(set.count, 2);
  check_ids(&set, 0, 3, (int32_t[]){2, 4, 3});
  check_ids(&set, 1, 5, (int32_t[]){2, 0, 4, 5, 6});
  put_ids("b.npy", NPY_I64, 1, 2, (int64_t[]){1, 6});
  ck_assert(sentences_read(&dr, "b.npy", source, &set));
  check_ids(&set, 0, 2, (int32_t[]){1, 6});
}
END_TEST

START_TEST(padding_is_the_tokenizers) {
  token_set set;
  put_text("tiny/tokenizer_config.json", "{\"pad_token\": \"fish\"}");
  put_ids("a.npy", NPY_I32, 2, 4, (int32_t[]){2, 4, 3, 5, 2, 0, 3, 0});
  ck_assert(sentences_read(&dr, "a.npy", source, &set));
  check_ids(&set, 0, 3, (int32_t[]){2, 4, 3});
  check_ids(&set, 1, 4, (int32_t[]){2, 0, 3, 0});
}
END_TEST

static void refuse(const char *path, enum err code, const char *word) {
  token_set set;
  size_t before = diag_errors(d);
  ck_assert(!sentences_read(&dr, path, source, &set));
  ck_assert_uint_eq(diag_errors(d), before + 1);
  const diag_message *m = diag_first(d);
  while (m->next)
    m = m->next;
  ck_assert_int_eq(m->code, code);
  ck_assert_msg(strstr(m->text, word) != NULL, "%s", m->text);
}

START_TEST(bad_files) {
  put_text("empty.txt", "");
  put_text("blank.txt", " \n\n\t\n");
  put_ids("large.npy", NPY_I32, 2, 2, (int32_t[]){1, 2, 3, 7});
  put_ids("negative.npy", NPY_I64, 1, 2, (int64_t[]){-1, 2});
  put_ids("float.npy", NPY_F32, 1, 2, (float[]){1, 2});
  put_ids("padding.npy", NPY_I32, 1, 2, (int32_t[]){0, 0});
  put_ids("claims.npy", NPY_I32, 2000000000, 0, "");
  refuse("none.txt", E_OPEN, "");
  refuse("empty.txt", E_EMPTY, "no sentence");
  refuse("blank.txt", E_EMPTY, "no sentence");
  refuse("padding.npy", E_EMPTY, "no sentence");
  refuse("claims.npy", E_EMPTY, "no sentence");
  refuse("large.npy", E_NPY, "element [1, 1] is 7");
  refuse("negative.npy", E_NPY, "is -1");
  refuse("float.npy", E_NPY, "token ids");
  put_text("t.txt", "red");
  ck_assert_int_eq(unlink("tiny/vocab.txt"), 0);
  refuse("t.txt", E_OPEN, ".npy");
}
END_TEST

int main(void) {
  Suite *s = suite_create("sentences");
  TCase *c = untimed_case("sentences");
  tcase_add_checked_fixture(c, setup, scratch_teardown);
  tcase_add_test(c, text_is_tokens);
  tcase_add_test(c, tokenizer_is_configured);
  tcase_add_test(c, ids_are_taken);
  tcase_add_test(c, padding_is_the_tokenizers);
  tcase_add_test(c, bad_files);
  suite_add_tcase(s, c);
  return run_suite(s);
}
