/* The tokenizer's interface: vocabularies, statuses, truncation, special tokens, threads. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/run_suite.h"
#include "text/spcc_wordpiece.h"

/* Ids:               0      1      2      3      4  5   6    7    8  9  10 */
#define SPECIAL "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"
#define VOCAB SPECIAL "a\n##b\n##bb\n[MASK]\n[\nsep\n]\n"
enum { PAD, UNK, CLS, SEP, A, B, BB, MASK, OPEN, SEP_WORD, CLOSE, VOCAB_COUNT };

static spcc_wordpiece *make(const char *vocab, const spcc_wordpiece_options *o) {
  spcc_wordpiece *t = NULL;
  ck_assert_int_eq(spcc_wordpiece_new(vocab, strlen(vocab), o, &t), SPCC_WORDPIECE_OK);
  ck_assert_ptr_nonnull(t);
  return t;
}

/* Checks that text becomes [CLS], `count` ids and [SEP]. */
static void expect(const spcc_wordpiece *t, const char *text, size_t count, const int32_t *ids) {
  int32_t got[64];
  size_t n, total;
  ck_assert_int_eq(spcc_wordpiece_encode(t, text, strlen(text), got, 64, &n, &total),
                   SPCC_WORDPIECE_OK);
  ck_assert_msg(n == count + 2, "'%s': %zu ids, expected %zu", text, n, count + 2);
  ck_assert_uint_eq(total, n);
  ck_assert_int_eq(got[0], CLS);
  for (size_t i = 0; i < count; i++)
    ck_assert_msg(got[i + 1] == ids[i], "'%s': id %zu is %d, expected %d", text, i, got[i + 1],
                  ids[i]);
  ck_assert_int_eq(got[count + 1], SEP);
}
#define EXPECT(t, text, ...)                                                                       \
  do {                                                                                             \
    const int32_t ids_[] = {__VA_ARGS__};                                                          \
    expect(t, text, sizeof ids_ / sizeof ids_[0], ids_);                                           \
  } while (0)

START_TEST(longest_match_first) {
  spcc_wordpiece *t = make(VOCAB, NULL);
  EXPECT(t, "a", A);
  EXPECT(t, "ab", A, B);
  EXPECT(t, "abb", A, BB);
  EXPECT(t, "abbb", A, BB, B);
  EXPECT(t, "A  ABBB\ta", A, A, BB, B, A);
  EXPECT(t, "b ba aba", UNK, UNK, UNK);
  expect(t, "", 0, NULL);
  expect(t, " \xc2\xa0\xe2\x80\x8b\n", 0, NULL);
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(special_tokens_in_the_text) {
  spcc_wordpiece *t = make(VOCAB, NULL);
  EXPECT(t, "a[SEP]a", A, SEP, A);
  EXPECT(t, "[MASK][PAD][CLS][UNK]", MASK, PAD, CLS, UNK);
  EXPECT(t, "[[SEP]]", OPEN, SEP, CLOSE);
  EXPECT(t, "[sep]", OPEN, SEP_WORD, CLOSE);
  EXPECT(t, "[SEP", OPEN, SEP_WORD);
  spcc_wordpiece_free(t);
  spcc_wordpiece_options o = spcc_wordpiece_defaults();
  o.match_special = false;
  t = make(VOCAB, &o);
  EXPECT(t, "a[SEP]a", A, OPEN, SEP_WORD, CLOSE, A);
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(own_special_tokens) {
  spcc_wordpiece_options o = spcc_wordpiece_defaults();
  o.unk = "<u>", o.cls = "<s>", o.sep = "</s>", o.pad = "<p>", o.mask = NULL;
  /* Two of them begin alike: the longer one is meant. */
  o.pad = "<s>x";
  const char *vocab = "<u>\n<s>x\n<s>\n</s>\na\n";
  spcc_wordpiece *t = make(vocab, &o);
  EXPECT(t, "<s>xa<s>a", 1, 4, 2, 4);
  ck_assert_int_eq(spcc_wordpiece_pad(t), 1);
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(long_words_are_unknown) {
  spcc_wordpiece_options o = spcc_wordpiece_defaults();
  o.max_word_chars = 3;
  spcc_wordpiece *t = make(VOCAB, &o);
  EXPECT(t, "abb abbb", A, BB, UNK);
  EXPECT(t,
         "a\xcc\x81"
         "bb",
         A, BB); /* the accent is gone before characters are counted */
  spcc_wordpiece_free(t);
  o.max_word_chars = 0;
  t = make(VOCAB, &o);
  EXPECT(t, "a", UNK);
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(truncation_keeps_the_ends) {
  spcc_wordpiece *t = make(VOCAB, NULL);
  const char *text = "a abb a abbb"; /* a, a ##bb, a, a ##bb ##b: 7 tokens */
  const int32_t all[] = {CLS, A, A, BB, A, A, BB, B, SEP};
  for (size_t capacity = 2; capacity <= 10; capacity++) {
    int32_t ids[11];
    memset(ids, 0x5a, sizeof ids);
    size_t count, total, expected = capacity < 9 ? capacity : 9;
    ck_assert_int_eq(spcc_wordpiece_encode(t, text, strlen(text), ids, capacity, &count, &total),
                     SPCC_WORDPIECE_OK);
    ck_assert_uint_eq(count, expected);
    ck_assert_uint_eq(total, 9);
    ck_assert_mem_eq(ids, all, (expected - 1) * sizeof *ids);
    ck_assert_int_eq(ids[expected - 1], SEP);
    for (size_t i = expected; i < 11; i++)
      ck_assert_int_eq(ids[i], 0x5a5a5a5a);
  }
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(wrong_calls) {
  spcc_wordpiece *t = make(VOCAB, NULL), *none = (spcc_wordpiece *)t;
  int32_t ids[4];
  size_t count = 77;
  ck_assert_int_eq(spcc_wordpiece_encode(NULL, "a", 1, ids, 4, &count, NULL),
                   SPCC_WORDPIECE_E_NULL);
  ck_assert_int_eq(spcc_wordpiece_encode(t, NULL, 1, ids, 4, &count, NULL), SPCC_WORDPIECE_E_NULL);
  ck_assert_int_eq(spcc_wordpiece_encode(t, "a", 1, NULL, 4, &count, NULL), SPCC_WORDPIECE_E_NULL);
  ck_assert_int_eq(spcc_wordpiece_encode(t, "a", 1, ids, 4, NULL, NULL), SPCC_WORDPIECE_E_NULL);
  ck_assert_int_eq(spcc_wordpiece_encode(t, "a", 1, ids, 1, &count, NULL), SPCC_WORDPIECE_E_SIZE);
  ck_assert_int_eq(spcc_wordpiece_encode(t, "a", 1, ids, 0, &count, NULL), SPCC_WORDPIECE_E_SIZE);
  ck_assert_uint_eq(count, 77);
  ck_assert_int_eq(spcc_wordpiece_encode(t, NULL, 0, ids, 4, &count, NULL), SPCC_WORDPIECE_OK);
  ck_assert_uint_eq(count, 2);
  ck_assert_int_eq(spcc_wordpiece_new(NULL, 0, NULL, &none), SPCC_WORDPIECE_E_NULL);
  ck_assert_int_eq(spcc_wordpiece_new("a", 1, NULL, NULL), SPCC_WORDPIECE_E_NULL);
  ck_assert_int_eq(spcc_wordpiece_open(NULL, NULL, &none), SPCC_WORDPIECE_E_NULL);
  ck_assert_ptr_eq(none, t);
  spcc_wordpiece_free(t);
  spcc_wordpiece_free(NULL);
}
END_TEST

static spcc_wordpiece_status try_vocab(const char *vocab, size_t size) {
  spcc_wordpiece *t = NULL;
  spcc_wordpiece_status status = spcc_wordpiece_new(vocab, size, NULL, &t);
  ck_assert((t != NULL) == (status == SPCC_WORDPIECE_OK));
  spcc_wordpiece_free(t);
  return status;
}
#define TRY(text) try_vocab(text, sizeof(text) - 1)

START_TEST(vocabularies) {
  ck_assert_int_eq(TRY(""), SPCC_WORDPIECE_E_VOCAB);
  ck_assert_int_eq(TRY(SPECIAL "\xff\n"), SPCC_WORDPIECE_E_VOCAB);
  ck_assert_int_eq(TRY(SPECIAL "\xe2\x82"), SPCC_WORDPIECE_E_VOCAB);
  ck_assert_int_eq(TRY("[PAD]\n[UNK]\n[CLS]\n"), SPCC_WORDPIECE_E_TOKEN);
  ck_assert_int_eq(TRY("[PAD]\n[CLS]\n[SEP]\n"), SPCC_WORDPIECE_E_TOKEN);
  ck_assert_int_eq(TRY("[UNK]\n[CLS]\n[SEP]\n"), SPCC_WORDPIECE_E_TOKEN);
  ck_assert_int_eq(TRY("[UNK]\n[PAD]\n[SEP]\n"), SPCC_WORDPIECE_E_TOKEN);
  ck_assert_int_eq(TRY("[UNK]\n[PAD]\n[SEP]\n[CLS] \n"), SPCC_WORDPIECE_E_TOKEN);
  ck_assert_int_eq(TRY("[PAD]\n[UNK]\n[CLS]\n[SEP]"), SPCC_WORDPIECE_OK);
}
END_TEST

START_TEST(lines_of_a_vocabulary) {
  /* All line ends, an empty line, a missing last end, and a repeated token, whose last id counts.
   */
  spcc_wordpiece *t = make("[PAD]\r\n[UNK]\r\n[CLS]\r[SEP]\n\na\nb\na\nz", NULL);
  ck_assert_int_eq(spcc_wordpiece_count(t), 9);
  EXPECT(t, "a b z", 7, 6, 8);
  ck_assert_str_eq(spcc_wordpiece_token(t, 0), "[PAD]");
  ck_assert_str_eq(spcc_wordpiece_token(t, 4), "");
  ck_assert_str_eq(spcc_wordpiece_token(t, 8), "z");
  ck_assert_ptr_null(spcc_wordpiece_token(t, 9));
  ck_assert_ptr_null(spcc_wordpiece_token(t, -1));
  ck_assert_int_eq(spcc_wordpiece_id(t, "a"), 7);
  ck_assert_int_eq(spcc_wordpiece_id(t, "missing"), -1);
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(files) {
  spcc_wordpiece *t = NULL;
  ck_assert_int_eq(spcc_wordpiece_open("/nonexistent/vocab.txt", NULL, &t), SPCC_WORDPIECE_E_OPEN);
  ck_assert_int_eq(spcc_wordpiece_open("/", NULL, &t), SPCC_WORDPIECE_E_OPEN);
  ck_assert_int_eq(spcc_wordpiece_open("/dev/null", NULL, &t), SPCC_WORDPIECE_E_VOCAB);
  ck_assert_int_eq(spcc_wordpiece_open("/dev/zero", NULL, &t), SPCC_WORDPIECE_E_VOCAB); /* ends */
  ck_assert_ptr_null(t);
  /* A file of more than one block of the reader. */
  char path[] = "/tmp/spcc-vocab-XXXXXX";
  FILE *f = fdopen(mkstemp(path), "wb");
  fputs(VOCAB, f);
  for (int i = 0; i < 50000; i++)
    fprintf(f, "x%dy\n", i);
  ck_assert_int_eq(fclose(f), 0);
  ck_assert_int_eq(spcc_wordpiece_open(path, NULL, &t), SPCC_WORDPIECE_OK);
  ck_assert_int_eq(spcc_wordpiece_count(t), VOCAB_COUNT + 50000);
  EXPECT(t, "x49999y x0y x50000y", VOCAB_COUNT + 49999, VOCAB_COUNT, UNK);
  spcc_wordpiece_free(t);
  unlink(path);
}
END_TEST

/* A text of nothing but marks in falling order must be sorted, and not in quadratic time. */
START_TEST(many_marks) {
  spcc_wordpiece_options o = spcc_wordpiece_defaults();
  o.strip_accents = false;
  o.max_word_chars = 1 << 20;
  spcc_wordpiece *t = make(SPECIAL "a\n##\xcc\xa3\n##\xcc\x81\n", &o);
  enum { PAIRS = 200000 };
  char *text = malloc(1 + 4 * PAIRS);
  int32_t *ids = malloc((3 + 2 * PAIRS) * sizeof *ids);
  text[0] = 'a';
  for (int i = 0; i < PAIRS; i++)
    memcpy(text + 1 + 4 * i, "\xcc\x81\xcc\xa3", 4); /* acute above, dot below */
  size_t count;
  ck_assert_int_eq(spcc_wordpiece_encode(t, text, 1 + 4 * PAIRS, ids, 3 + 2 * PAIRS, &count, NULL),
                   SPCC_WORDPIECE_OK);
  /* a + dot below composes to U+1EA1, which the vocabulary lacks: one unknown word. */
  ck_assert_uint_eq(count, 3);
  ck_assert_int_eq(ids[1], UNK);
  spcc_wordpiece_free(t);
  t = make(SPECIAL "b\n##\xcc\xa3\n##\xcc\x81\n\xe1\xb8\x85\n", &o);
  text[0] = 'b'; /* b + dot below is U+1E05, id 7; then come the other dots, then the acutes */
  ck_assert_int_eq(spcc_wordpiece_encode(t, text, 1 + 4 * PAIRS, ids, 3 + 2 * PAIRS, &count, NULL),
                   SPCC_WORDPIECE_OK);
  ck_assert_uint_eq(count, 2 + 2 * PAIRS);
  ck_assert_int_eq(ids[1], 7);
  for (int i = 1; i < 2 * PAIRS; i++)
    ck_assert_int_eq(ids[1 + i], i < PAIRS ? 5 : 6);
  spcc_wordpiece_free(t);
  free(ids);
  free(text);
}
END_TEST

static void *encode_often(void *argument) {
  const spcc_wordpiece *t = argument;
  for (int i = 0; i < 2000; i++)
    EXPECT(t, "abbb [SEP] a\xc3\xa1", A, BB, B, SEP, UNK);
  return NULL;
}

START_TEST(threads_share_a_tokenizer) {
  spcc_wordpiece *t = make(VOCAB, NULL);
  pthread_t thread[4];
  for (int i = 0; i < 4; i++)
    ck_assert_int_eq(pthread_create(&thread[i], NULL, encode_often, t), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(thread[i], NULL);
  spcc_wordpiece_free(t);
}
END_TEST

START_TEST(every_status_has_a_text) {
  for (int i = 0; i < SPCC_WORDPIECE_STATUS_COUNT; i++)
    for (int j = 0; j < i; j++)
      ck_assert_str_ne(spcc_wordpiece_status_text(i), spcc_wordpiece_status_text(j));
  ck_assert_str_eq(spcc_wordpiece_status_text(SPCC_WORDPIECE_STATUS_COUNT), "unknown status");
  ck_assert_str_eq(spcc_wordpiece_status_text((spcc_wordpiece_status)-1), "unknown status");
}
END_TEST

int main(void) {
  Suite *s = suite_create("wordpiece");
  TCase *c = untimed_case("wordpiece");
  tcase_add_test(c, longest_match_first);
  tcase_add_test(c, special_tokens_in_the_text);
  tcase_add_test(c, own_special_tokens);
  tcase_add_test(c, long_words_are_unknown);
  tcase_add_test(c, truncation_keeps_the_ends);
  tcase_add_test(c, wrong_calls);
  tcase_add_test(c, vocabularies);
  tcase_add_test(c, lines_of_a_vocabulary);
  tcase_add_test(c, files);
  tcase_add_test(c, many_marks);
  tcase_add_test(c, threads_share_a_tokenizer);
  tcase_add_test(c, every_status_has_a_text);
  suite_add_tcase(s, c);
  return run_suite(s);
}
