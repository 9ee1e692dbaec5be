/* Patterns have one spelling: libspo and the compiler accept the same texts and print the same. */
#include <check.h>
#include <stdint.h>
#include <stdio.h>

#include "ir/pattern.h"
#include "optimizer/spo.h"
#include "tests/run_suite.h"

static void agree(const char *text) {
  pattern ours;
  spo_pattern theirs;
  char a[PATTERN_TEXT_MAX], b[SPO_PATTERN_TEXT];
  bool accepted = pattern_parse(text, &ours);
  ck_assert_msg(accepted == spo_pattern_parse(text, &theirs), "only one accepts '%s'", text);
  if (accepted) ck_assert_str_eq(pattern_print(&ours, a), spo_pattern_print(&theirs, b));
}

/* All texts of up to six characters out of those that a pattern can have, and one that it cannot.
 */
START_TEST(short_texts_agree) {
  static const char letters[] = "0124x: ";
  char text[7];
  for (int length = 0; length <= 6; length++) {
    int count = 1;
    for (int i = 0; i < length; i++)
      count *= 7;
    for (int n = 0; n < count; n++) {
      for (int i = 0, rest = n; i < length; i++, rest /= 7)
        text[i] = letters[rest % 7];
      text[length] = 0;
      agree(text);
    }
  }
}
END_TEST

START_TEST(numbers_at_their_limits_agree) {
  static const unsigned sizes[] = {0, 1, 9, 10, 255, 256, 257, 1000, 4294967295u};
  char text[64];
  for (size_t i = 0; i < 9; i++)
    for (size_t j = 0; j < 9; j++) {
      snprintf(text, sizeof text, "%ux%u", sizes[i], sizes[j]);
      agree(text);
      snprintf(text, sizeof text, "%u:%u", sizes[i], sizes[j]);
      agree(text);
      for (size_t k = 0; k < 9; k++) {
        snprintf(text, sizeof text, "%u:%ux%u", sizes[i], sizes[j], sizes[k]);
        agree(text);
      }
    }
}
END_TEST

START_TEST(words_agree) {
  static const char *const words[] = {"dense",       "unstructured", "Dense",        "dense ",
                                      "unstructure", "sparse",       "4294967297x1", "4x4294967297",
                                      "2:4x1",       "1:1"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    agree(words[i]);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("spo spelling");
  TCase *t = untimed_case("spelling");
  tcase_add_test(t, short_texts_agree);
  tcase_add_test(t, numbers_at_their_limits_agree);
  tcase_add_test(t, words_agree);
  suite_add_tcase(suite, t);
  return run_suite(suite);
}
