/* What the main of every test program ends with. */
#ifndef SPCC_TESTS_RUN_SUITE_H
#define SPCC_TESTS_RUN_SUITE_H

#include <check.h>

/* A test case whose tests have no limit of time: machines differ, and ctest ends what hangs. */
static inline TCase *untimed_case(const char *name) {
  TCase *c = tcase_create(name);
  tcase_set_timeout(c, 0);
  return c;
}

/* Runs `s` and frees it; returns the program's exit code: 0 when every test passed. */
static inline int run_suite(Suite *s) {
  SRunner *r = srunner_create(s);
  srunner_run_all(r, CK_NORMAL);
  int failed = srunner_ntests_failed(r);
  srunner_free(r);
  return failed == 0 ? 0 : 1;
}

#endif
