/* Every line of golden.txt: the ids are those of Hugging Face's BertTokenizer. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/run_suite.h"
#include "text/spcc_wordpiece.h"

enum { MAX_IDS = 512, MIN_LINES = 500 };

static spcc_wordpiece *open_mode(const char *mode) {
  spcc_wordpiece_options o = spcc_wordpiece_defaults();
  o.lowercase = mode[0] != 'c';
  o.strip_accents = mode[0] == 'u';
  o.split_cjk = mode[1] != 'k';
  spcc_wordpiece *t = NULL;
  ck_assert_int_eq(spcc_wordpiece_open(TEXT_DIR "/vocab.txt", &o, &t), SPCC_WORDPIECE_OK);
  return t;
}

/* Replaces \xHH by its byte, in place; returns the size. */
static size_t unescape(char *text) {
  size_t size = 0;
  for (const char *at = text; *at != '\0';) {
    if (at[0] == '\\') {
      const char digits[3] = {at[2], at[3], '\0'};
      text[size++] = (char)strtoul(digits, NULL, 16);
      at += 4;
    } else {
      text[size++] = *at++;
    }
  }
  return size;
}

static void check_ids(const char *expected, const int32_t *ids, size_t count, int line) {
  for (size_t i = 0; i < count; i++) {
    char *end;
    long id = strtol(expected, &end, 10);
    ck_assert_msg(end != expected && id == ids[i], "golden.txt:%d: id %zu is %d, expected %s", line,
                  i, ids[i], expected);
    expected = end;
  }
  ck_assert_msg(*expected == '\n', "golden.txt:%d: %zu ids, expected more", line, count);
}

START_TEST(golden) {
  FILE *f = fopen(TEXT_DIR "/golden.txt", "rb");
  ck_assert_ptr_nonnull(f);
  char *line = NULL, mode[8] = "";
  size_t room = 0;
  spcc_wordpiece *t = NULL;
  int number = 0;
  while (getline(&line, &room, f) >= 0) {
    number++;
    char *text = strchr(line, '\t');
    *text++ = '\0';
    char *expected = strchr(text, '\t');
    *expected++ = '\0';
    if (strcmp(mode, line) != 0) {
      spcc_wordpiece_free(t);
      t = open_mode(line);
      strcpy(mode, line);
    }
    int32_t ids[MAX_IDS];
    size_t count, size = unescape(text);
    ck_assert_int_eq(spcc_wordpiece_encode(t, text, size, ids, MAX_IDS, &count, NULL),
                     SPCC_WORDPIECE_OK);
    check_ids(expected, ids, count, number);
  }
  ck_assert_int_ge(number, MIN_LINES);
  spcc_wordpiece_free(t);
  free(line);
  fclose(f);
}
END_TEST

int main(void) {
  Suite *s = suite_create("wordpiece_golden");
  TCase *c = untimed_case("golden");
  tcase_add_test(c, golden);
  suite_add_tcase(s, c);
  return run_suite(s);
}
