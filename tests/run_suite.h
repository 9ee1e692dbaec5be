/* The end of a test program's main: runs the suite of its test cases. */
#ifndef SPCC_TESTS_RUN_SUITE_H
#define SPCC_TESTS_RUN_SUITE_H

#include <check.h>

/* Runs `s` and frees it; returns the program's exit code: 0 when every test passed. */
static inline int run_suite(Suite *s) {
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed == 0 ? 0 : 1;
}

#endif
