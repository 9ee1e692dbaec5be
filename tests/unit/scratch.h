/* What tests of files share: an arena, diagnostics, and an empty folder that goes away. Use
 * scratch_setup and scratch_teardown as a checked fixture. */
#ifndef SPCC_TESTS_SCRATCH_H
#define SPCC_TESTS_SCRATCH_H

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/diag.h"

static arena *mem;
static diag *d;
static char folder[64];

static void scratch_full(void *context, size_t size) {
  (void)context;
  fprintf(stderr, "the test's arena cannot give %zu bytes\n", size);
  abort();
}

static int scratch_remove(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st, (void)type, (void)at;
  return remove(path);
}

/* Starts with an arena, no messages and an empty folder, which is the working directory. */
static void scratch_setup(void) {
  mem = arena_new((size_t)1 << 28, scratch_full, NULL);
  d = diag_new(mem);
  strcpy(folder, "/tmp/spcc-test-XXXXXX");
  ck_assert_ptr_nonnull(mkdtemp(folder));
  ck_assert_int_eq(chdir(folder), 0);
}

static void scratch_teardown(void) {
  ck_assert_int_eq(chdir("/"), 0);
  nftw(folder, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
  arena_free(mem);
}

/* Writes a new file in place of an old one, which is faster than to cut that to nothing. */
static inline void put_file(const char *name, const void *data, size_t size) {
  unlink(name);
  FILE *f = fopen(name, "wb");
  ck_assert_ptr_nonnull(f);
  ck_assert_uint_eq(fwrite(data, 1, size, f), size);
  ck_assert_int_eq(fclose(f), 0);
}

static inline void put_text(const char *name, const char *text) {
  put_file(name, text, strlen(text));
}

/* The file holds exactly `text`. */
static inline void expect_file(const char *name, const char *text) {
  FILE *f = fopen(name, "rb");
  ck_assert_msg(f != NULL, "%s is missing", name);
  char got[4096];
  size_t n = fread(got, 1, sizeof got - 1, f);
  got[n] = 0;
  fclose(f);
  ck_assert_str_eq(got, text);
}

/* Number of names in the scratch folder. */
static inline int file_count(void) {
  DIR *dir = opendir(folder);
  ck_assert_ptr_nonnull(dir);
  int n = 0;
  while (readdir(dir))
    n++;
  closedir(dir);
  return n - 2;
}

/* All messages so far are exactly `text`, one per line without the last line end; forgets them. */
static inline void expect_messages(const char *text) {
  const char *all = "";
  for (const diag_message *m = diag_first(d); m; m = m->next)
    all = arena_printf(mem, "%s%s%s", all, *all ? "\n" : "", diag_format(mem, m));
  ck_assert_str_eq(all, text);
  d = diag_new(mem);
}

#endif
