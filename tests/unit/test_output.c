/* Writing: a file appears whole or not at all, whichever call fails.
 *
 * This program has its own open, write, fsync, linkat, rename and close: they stand before those
 * of libc, and fail when a test tells them to. */
#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "driver/output.h"

/* ---- faults ---- */

enum call { CALL_TMPFILE, CALL_OPEN, CALL_WRITE, CALL_FSYNC, CALL_LINK, CALL_RENAME, CALL_CLOSE };

static struct {
  bool armed;
  enum call call;
  int at;      /* the fault comes at this call, from 1 */
  bool sticky; /* and at all later ones */
  int error;   /* errno; 0: a short write */
  int seen;    /* calls of this kind so far */
  bool no_tmpfile;
} fault;

/* True, with errno set, when this call shall fail. */
static bool fails(enum call call) {
  if (!fault.armed || call != fault.call) return false;
  fault.seen++;
  errno = fault.error;
  return fault.seen == fault.at || (fault.sticky && fault.seen > fault.at);
}

int open(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
  va_end(args);
  bool nameless = (flags & O_TMPFILE) == O_TMPFILE;
  if (nameless && fault.no_tmpfile) {
    errno = EOPNOTSUPP;
    return -1;
  }
  if (fails(nameless ? CALL_TMPFILE : CALL_OPEN)) return -1;
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t write(int fd, const void *data, size_t size) {
  if (!fails(CALL_WRITE)) return syscall(SYS_write, fd, data, size);
  if (fault.error) return -1;
  return syscall(SYS_write, fd, data, size > 1 ? size / 2 : size);
}

int fsync(int fd) {
  return fails(CALL_FSYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int linkat(int from, const char *old, int to, const char *new, int flags) {
  return fails(CALL_LINK) ? -1 : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

static bool interruptible; /* a file was moved while SIGINT could end the process */

int rename(const char *old, const char *new) {
  sigset_t now;
  sigprocmask(SIG_BLOCK, NULL, &now);
  interruptible |= !sigismember(&now, SIGINT);
  return fails(CALL_RENAME) ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, old, AT_FDCWD, new);
}

int close(int fd) {
  bool fail = fails(CALL_CLOSE);
  int result = (int)syscall(SYS_close, fd);
  if (!fail) return result;
  errno = fault.error;
  return -1;
}

/* ---- faults at every call ---- */

static const struct {
  const char *name;
  enum call call;
  int error;
  const char *message; /* of the one error; NULL: writing succeeds in spite of the fault */
} faults[] = {
    {"no O_TMPFILE", CALL_TMPFILE, EOPNOTSUPP, NULL},
    {"name taken", CALL_OPEN, EEXIST, NULL},
    {"no file", CALL_OPEN, ENOSPC,
     "t: error: cannot make a file in this folder: No space left on device [E_OPEN]"},
    {"disk full", CALL_WRITE, ENOSPC, "t: error: cannot write: No space left on device [E_WRITE]"},
    {"I/O error", CALL_WRITE, EIO, "t: error: cannot write: Input/output error [E_WRITE]"},
    {"signal", CALL_WRITE, EINTR, NULL},
    {"short write", CALL_WRITE, 0, NULL},
    {"fsync", CALL_FSYNC, EIO, "t: error: cannot write: Input/output error [E_WRITE]"},
    {"nothing to flush", CALL_FSYNC, EINVAL, NULL},
    {"link", CALL_LINK, ENOSPC,
     "t: error: cannot move the file into place: No space left on device [E_WRITE]"},
    {"rename", CALL_RENAME, EIO,
     "t: error: cannot move the file into place: Input/output error [E_WRITE]"},
    {"close", CALL_CLOSE, ENOSPC, NULL},
};
enum { FAULTS = sizeof faults / sizeof *faults };

/* Writes "new text" in two pieces; true when the file was committed. */
static bool write_target(void) {
  out_file *f = out_open(mem, d, "t");
  if (!f) return false;
  bool good = out_write(f, d, "new ", 4);
  good = out_write(f, d, "text", 4) && good;
  return out_commit(f, d) && good; /* after a failed write, out_commit must refuse by itself */
}

/* One fault; true when the fault was reached. */
static bool try_fault(int row, int at, bool sticky, bool existing, bool no_tmpfile) {
  if (existing)
    put_text("t", "old");
  else
    unlink("t");
  fault = (typeof(fault)){.armed = true,
                          .call = faults[row].call,
                          .at = at,
                          .sticky = sticky,
                          .error = faults[row].error,
                          .no_tmpfile = no_tmpfile};
  bool good = write_target();
  fault.armed = false;
  bool reached = fault.seen >= at;
  if (good) {
    expect_file("t", "new text");
    ck_assert_msg(!reached || !faults[row].message, "%s went unnoticed", faults[row].name);
    ck_assert_int_eq(file_count(), 1);
    expect_messages("");
    return reached;
  }
  ck_assert_msg(reached, "%s: failed without a fault", faults[row].name);
  ck_assert_ptr_nonnull(faults[row].message);
  if (existing) expect_file("t", "old");
  ck_assert_int_eq(file_count(), existing);
  bool second_write = faults[row].call == CALL_WRITE && at == 1 && sticky;
  expect_messages(second_write
                      ? arena_printf(mem, "%s\n%s", faults[row].message, faults[row].message)
                      : faults[row].message);
  return true;
}

/* The fault at the first, second, … call of its kind until a run no longer meets it. */
static void try_all(int row, bool sticky) {
  int reached = 0;
  for (int existing = 0; existing < 2; existing++)
    for (int no_tmpfile = 0; no_tmpfile < 2; no_tmpfile++)
      for (int at = 1; try_fault(row, at, sticky, existing, no_tmpfile); at++)
        ck_assert_int_lt(++reached, 100);
  ck_assert_msg(reached > 0, "no run came to the fault '%s'", faults[row].name);
}

START_TEST(faults_leave_the_old_or_the_new_file) {
  try_all(_i, false);
}
END_TEST

START_TEST(sticky_faults_leave_the_old_or_the_new_file) {
  /* The faults without a message are overcome by trying again, so they cannot stay for good. */
  if (faults[_i].message) try_all(_i, true);
}
END_TEST

/* ---- without faults ---- */

START_TEST(writes_a_new_file) {
  umask(027);
  ck_assert(out_write_file(mem, d, "t", "hello", 5));
  expect_file("t", "hello");
  ck_assert(out_write_file(mem, d, "t", "", 0));
  expect_file("t", "");
  struct stat st;
  ck_assert_int_eq(stat("t", &st), 0);
  ck_assert_int_eq(st.st_mode & 0777, 0640);
  ck_assert_int_eq(file_count(), 1);
  expect_messages("");
}
END_TEST

START_TEST(nothing_before_commit) {
  put_text("t", "old");
  out_file *f = out_open(mem, d, "t"), *g = out_open(mem, d, "u");
  ck_assert(out_write(f, d, "new", 3) && out_write(g, d, "new", 3));
  expect_file("t", "old");
  ck_assert_int_ne(access("u", F_OK), 0);
  out_abandon(f);
  out_abandon(f);
  out_abandon(g);
  expect_file("t", "old");
  ck_assert_int_eq(file_count(), 1);
}
END_TEST

START_TEST(two_writers_of_one_target) {
  fault.no_tmpfile = _i;
  out_file *f = out_open(mem, d, "t"), *g = out_open(mem, d, "t");
  ck_assert(out_write(f, d, "one", 3) && out_write(g, d, "two", 3));
  ck_assert(out_commit(f, d));
  expect_file("t", "one");
  ck_assert(out_commit(g, d));
  expect_file("t", "two");
  out_abandon(g); /* does nothing any more */
  expect_file("t", "two");
  ck_assert_int_eq(file_count(), 1);
}
END_TEST

START_TEST(signals_wait_while_a_file_has_another_name) {
  sigset_t now;
  put_text("t", "old");
  fault.no_tmpfile = _i;
  ck_assert(out_write_file(mem, d, "t", "new", 3));
  ck_assert(!interruptible);
  sigprocmask(SIG_BLOCK, NULL, &now);
  ck_assert(!sigismember(&now, SIGINT));
}
END_TEST

/* All of a command's outputs are on the disk before the first of them replaces a file. */
START_TEST(outputs_are_written_together) {
  driver dr = {.arena = mem, .diag = d};
  const output list[] = {{"t", {(const unsigned char *)"new t", 5}},
                         {"u", {(const unsigned char *)"new u", 5}}};
  put_text("t", "old t");
  put_text("u", "old u");
  fault = (typeof(fault)){.armed = true, .call = CALL_FSYNC, .at = 2, .error = EIO};
  ck_assert(!outputs_write(&dr, list, 2));
  fault.armed = false;
  expect_messages("u: error: cannot write: Input/output error [E_WRITE]");
  expect_file("t", "old t");
  expect_file("u", "old u");
  dr.diag = d;
  ck_assert(outputs_write(&dr, list, 2));
  expect_file("t", "new t");
  expect_file("u", "new u");
  ck_assert_int_eq(file_count(), 2);
}
END_TEST

START_TEST(links_are_written_through) {
  put_text("real", "old");
  ck_assert_int_eq(symlink("real", "t"), 0);
  ck_assert(out_write_file(mem, d, "t", "new", 3));
  expect_file("real", "new");
  struct stat st;
  ck_assert_int_eq(lstat("t", &st), 0);
  ck_assert(S_ISLNK(st.st_mode));
  ck_assert_int_eq(file_count(), 2);
}
END_TEST

START_TEST(targets_that_cannot_be) {
  ck_assert_int_eq(mkdir("folder", 0700), 0);
  ck_assert_int_eq(symlink("self", "self"), 0);
  ck_assert_ptr_null(out_open(mem, d, "folder"));
  ck_assert_ptr_null(out_open(mem, d, "none/t"));
  ck_assert_ptr_null(out_open(mem, d, "none/"));
  ck_assert_ptr_null(out_open(mem, d, ""));
  ck_assert_ptr_null(out_open(mem, d, "self"));
  ck_assert_int_eq(diag_exit_code(d), 3);
  expect_messages(
      "folder: error: this is a folder; name the file to write in it [E_OPEN]\n"
      "none/t: error: cannot make a file in this folder: No such file or directory [E_OPEN]\n"
      "none/: error: no file name is given [E_OPEN]\n"
      ": error: no file name is given [E_OPEN]\n"
      "self: error: cannot open for writing: Too many levels of symbolic links [E_OPEN]");
  ck_assert_int_eq(file_count(), 2);
}
END_TEST

/* Root may write everywhere, so this test gives up root. */
START_TEST(read_only_targets) {
  ck_assert_int_eq(mkdir("closed", 0500), 0);
  put_text("t", "old");
  ck_assert_int_eq(chmod("t", 0400), 0);
  ck_assert_int_eq(chmod(folder, 0777), 0);
  pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && setuid(65534) != 0) _exit(2);
    bool refused = !out_open(mem, d, "closed/t") && !out_open(mem, d, "t");
    refused = refused && diag_first(d)->code == E_OPEN && diag_first(d)->next->code == E_OPEN;
    _exit(refused ? 0 : 1);
  }
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(devices_are_written_directly) {
  ck_assert(out_write_file(mem, d, "/dev/null", "hello", 5));
  ck_assert(!out_write_file(mem, d, "/dev/full", "hello", 5));
  expect_messages("/dev/full: error: cannot write: No space left on device [E_WRITE]");
  ck_assert_int_eq(mkfifo("fifo", 0600), 0);
  int fd = open("fifo", O_RDONLY | O_NONBLOCK);
  ck_assert(out_write_file(mem, d, "fifo", "hello", 5));
  char got[6] = "";
  ck_assert_int_eq(read(fd, got, 6), 5);
  ck_assert_str_eq(got, "hello");
  close(fd);
  ck_assert(out_check(mem, d, "fifo")); /* without a reader */
  ck_assert_int_eq(file_count(), 1);
}
END_TEST

START_TEST(size_limit) {
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit limit = {1000, 1000};
  ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  char data[4000] = "";
  ck_assert(!out_write_file(mem, d, "t", data, sizeof data));
  expect_messages("t: error: cannot write: File too large [E_WRITE]");
  ck_assert_int_eq(file_count(), 0);
}
END_TEST

START_TEST(folders_are_made) {
  put_text("file", "");
  ck_assert(dir_make(d, "a") && dir_make(d, "a") && dir_make(d, "a/b"));
  ck_assert(!dir_make(d, "none/b"));
  ck_assert(!dir_make(d, "file"));
  expect_messages("none/b: error: cannot make the folder: No such file or directory [E_OPEN]\n"
                  "file: error: cannot make the folder: File exists [E_OPEN]");
}
END_TEST

int main(void) {
  Suite *s = suite_create("output");
  TCase *t = untimed_case("output");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_loop_test(t, faults_leave_the_old_or_the_new_file, 0, FAULTS);
  tcase_add_loop_test(t, sticky_faults_leave_the_old_or_the_new_file, 0, FAULTS);
  tcase_add_test(t, writes_a_new_file);
  tcase_add_test(t, nothing_before_commit);
  tcase_add_loop_test(t, two_writers_of_one_target, 0, 2);
  tcase_add_loop_test(t, signals_wait_while_a_file_has_another_name, 0, 2);
  tcase_add_test(t, outputs_are_written_together);
  tcase_add_test(t, links_are_written_through);
  tcase_add_test(t, targets_that_cannot_be);
  tcase_add_test(t, read_only_targets);
  tcase_add_test(t, devices_are_written_directly);
  tcase_add_test(t, size_limit);
  tcase_add_test(t, folders_are_made);
  suite_add_tcase(s, t);
  return run_suite(s);
}
