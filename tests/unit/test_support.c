/* Checked sizes, arena, diagnostics, SHA-256, and reading of files. */
#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "support/checked.h"
#include "support/file.h"
#include "support/sha256.h"

/* ---- checked sizes ---- */

START_TEST(checked_sums) {
  size_t r = 7;
  ck_assert(size_add(SIZE_MAX, 0, &r) && r == SIZE_MAX);
  ck_assert(size_add(SIZE_MAX - 5, 5, &r) && r == SIZE_MAX);
  r = 7;
  ck_assert(!size_add(SIZE_MAX, 1, &r) && !size_add(1, SIZE_MAX, &r));
  ck_assert(!size_add(SIZE_MAX, SIZE_MAX, &r));
  ck_assert_uint_eq(r, 7);
}
END_TEST

START_TEST(checked_products) {
  size_t r = 7, half = (size_t)1 << 32;
  ck_assert(size_mul(0, SIZE_MAX, &r) && r == 0);
  ck_assert(size_mul(SIZE_MAX, 0, &r) && r == 0);
  ck_assert(size_mul(SIZE_MAX, 1, &r) && r == SIZE_MAX);
  ck_assert(size_mul(half, half - 1, &r) && r == half * (half - 1));
  r = 7;
  ck_assert(!size_mul(half, half, &r)); /* wraps to exactly 0 */
  ck_assert(!size_mul(SIZE_MAX, 2, &r) && !size_mul(2, SIZE_MAX, &r));
  ck_assert_uint_eq(r, 7);
}
END_TEST

START_TEST(checked_padding) {
  size_t r = 7;
  ck_assert(size_align_up(0, 64, &r) && r == 0);
  ck_assert(size_align_up(1, 64, &r) && r == 64);
  ck_assert(size_align_up(64, 64, &r) && r == 64);
  ck_assert(size_align_up(SIZE_MAX - 63, 64, &r) && r == SIZE_MAX - 63);
  r = 7;
  ck_assert(!size_align_up(SIZE_MAX - 62, 64, &r));
  ck_assert(!size_align_up(SIZE_MAX, 2, &r));
  ck_assert_uint_eq(r, 7);
}
END_TEST

/* ---- arena ---- */

typedef struct jump {
  jmp_buf back;
  size_t wanted;
} jump;

static void jump_out(void *context, size_t wanted) {
  jump *j = context;
  j->wanted = wanted;
  longjmp(j->back, 1);
}

static bool holds_only(const unsigned char *data, size_t size, unsigned char value) {
  for (size_t i = 0; i < size; i++)
    if (data[i] != value) return false;
  return true;
}

START_TEST(arena_memory_is_zeroed_aligned_and_apart) {
  enum { N = 3000 };
  unsigned char *block[N];
  size_t size[N], total = 0;
  for (int i = 0; i < N; i++) {
    size_t align = (size_t)1 << i % 13;
    size[i] = (size_t)i * 37 % 5000 + (i % 500 == 0 ? 100000 : 0);
    block[i] = arena_alloc(mem, size[i], align);
    ck_assert_uint_eq((uintptr_t)block[i] % align, 0);
    ck_assert(holds_only(block[i], size[i], 0));
    if (size[i]) memset(block[i], i % 251 + 1, size[i]);
    total += size[i];
  }
  for (int i = 0; i < N; i++)
    ck_assert(holds_only(block[i], size[i], (unsigned char)(i % 251 + 1)));
  ck_assert_uint_ge(arena_used(mem), total);
}
END_TEST

START_TEST(arena_limit_calls_the_handler) {
  static jump j;
  static arena *a;
  a = arena_new(1000, jump_out, &j);
  if (setjmp(j.back) == 0) {
    ck_assert_ptr_nonnull(arena_alloc(a, 600, 8));
    ck_assert_ptr_nonnull(arena_alloc(a, 400, 8));
    ck_assert_uint_eq(arena_used(a), 1000);
    arena_alloc(a, 1, 1);
    ck_abort_msg("the arena went over its limit");
  }
  ck_assert_uint_eq(j.wanted, 1);
  ck_assert_uint_eq(arena_used(a), 1000);
  arena_free(a);
}
END_TEST

/* Under AddressSanitizer too, a size that nothing can have shall give NULL. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "allocator_may_return_null=1";
}

START_TEST(arena_overflow_calls_the_handler) {
  static const size_t asked[][2] = {{SIZE_MAX, 1},
                                    {SIZE_MAX / 2 + 1, 2},
                                    {(size_t)1 << 32, (size_t)1 << 32},
                                    {SIZE_MAX - 8, 1},
                                    {SIZE_MAX / 4, 1}};
  static jump j;
  static arena *a;
  a = arena_new(SIZE_MAX, jump_out, &j);
  if (setjmp(j.back) == 0) {
    arena_calloc(a, asked[_i][0], asked[_i][1], 64);
    ck_abort_msg("that much memory does not exist");
  }
  arena_free(a);
}
END_TEST

START_TEST(arena_grow_keeps_the_old_block) {
  int *old = arena_array(mem, int, 3);
  for (int i = 0; i < 3; i++)
    old[i] = i + 1;
  int *grown = arena_grow(mem, old, 3, 6, sizeof *old, _Alignof(int));
  ck_assert_ptr_ne(grown, old);
  for (int i = 0; i < 6; i++)
    ck_assert_int_eq(grown[i], i < 3 ? i + 1 : 0);
  grown[0] = 9;
  ck_assert_int_eq(old[0], 1);
  ck_assert_ptr_nonnull(arena_grow(mem, NULL, 0, 1, 8, 8));
}
END_TEST

START_TEST(arena_text) {
  ck_assert_str_eq(arena_strdup(mem, ""), "");
  ck_assert_str_eq(arena_strdup(mem, "abc"), "abc");
  ck_assert_str_eq(arena_strndup(mem, "abc", 2), "ab");
  ck_assert_str_eq(arena_strndup(mem, "ab", 9), "ab");
  ck_assert_str_eq(arena_printf(mem, "%s-%d", "x", 7), "x-7");
  ck_assert_uint_eq(strlen(arena_printf(mem, "%100000d", 7)), 100000);
}
END_TEST

/* ---- diagnostics ---- */

START_TEST(diag_formats_places_and_levels) {
  ck_assert(!diag_error(d, loc_at("a.yaml", 14, 12), E_SHAPE, "expects %d, got %d", 768, 3072));
  diag_note(d, loc_at("a.yaml", 9, 0), "'hidden' is declared here");
  diag_warning(d, loc_file("w.safetensors"), "unused");
  diag_remark(d, loc_offset("w.safetensors", 0x1f8), "dense");
  diag_error(d, loc_file(NULL), E_MEMORY, "out of memory");
  expect_messages("a.yaml:14:12: error: expects 768, got 3072 [E_SHAPE]\n"
                  "a.yaml:9: note: 'hidden' is declared here\n"
                  "w.safetensors: warning: unused\n"
                  "w.safetensors:+0x1f8: remark: dense\n"
                  "spcc: error: out of memory [E_MEMORY]");
}
END_TEST

START_TEST(diag_messages_stay_on_one_line) {
  diag_error(d, loc_file("a\nb"), E_NAME, "'%s' is bad", "x\x1b[31m\r\n\x7fy");
  expect_messages("a\\x0ab: error: 'x\\x1b[31m\\x0d\\x0a\\x7fy' is bad [E_NAME]");
  /* U+0080 to U+009F are control characters too; U+00A0, ä and U+0480 are none. */
  diag_error(d, loc_file("a"), E_NAME, "\xc2\x80 \xc2\x9f \xc2\xa0 \u00e4 \u0480 \xc2");
  expect_messages("a: error: \\xc2\\x80 \\xc2\\x9f \xc2\xa0 \u00e4 \u0480 \xc2 [E_NAME]");
}
END_TEST

START_TEST(diag_copies_what_it_is_given) {
  char name[] = "a.yaml", word[] = "one";
  diag_error(d, loc_file(name), E_NAME, "%s", word);
  memset(name, 'z', 4);
  memset(word, 'z', 3);
  expect_messages("a.yaml: error: one [E_NAME]");
}
END_TEST

START_TEST(diag_exit_codes) {
  ck_assert_int_eq(diag_exit_code(d), 0);
  diag_warning(d, loc_file("a"), "w");
  ck_assert_int_eq(diag_exit_code(d), 0);
  ck_assert_uint_eq(diag_errors(d), 0);
  diag_error(d, loc_file("a"), E_YAML, "e");
  ck_assert_int_eq(diag_exit_code(d), 1);
  diag_error(d, loc_file("a"), E_WRITE, "e");
  diag_error(d, loc_file("a"), E_YAML, "e");
  ck_assert_int_eq(diag_exit_code(d), 3);
  diag_error(d, loc_file("a"), E_INTERNAL, "e");
  ck_assert_int_eq(diag_exit_code(d), 70);
  ck_assert_uint_eq(diag_errors(d), 4);
}
END_TEST

START_TEST(diag_keeps_twenty_errors) {
  for (int i = 0; i < DIAG_MAX_ERRORS; i++) {
    ck_assert(!diag_full(d));
    diag_error(d, loc_file("a"), E_YAML, "%d", i);
  }
  ck_assert(diag_full(d));
  diag_note(d, loc_file("a"), "kept");
  diag_error(d, loc_file("a"), E_INTERNAL, "dropped");
  diag_note(d, loc_file("a"), "dropped");
  diag_warning(d, loc_file("a"), "kept");
  ck_assert_uint_eq(diag_errors(d), DIAG_MAX_ERRORS);
  ck_assert_int_eq(diag_exit_code(d), 70);
  int n = 0;
  for (const diag_message *m = diag_first(d); m; m = m->next, n++)
    ck_assert_str_ne(m->text, "dropped");
  ck_assert_int_eq(n, DIAG_MAX_ERRORS + 2);
}
END_TEST

START_TEST(diag_names_every_code) {
  ck_assert_str_eq(err_name(E_EMPTY), "E_EMPTY");
  ck_assert_str_eq(err_name(E_INTERNAL), "E_INTERNAL");
  for (int i = 0; i < ERR_COUNT; i++)
    ck_assert(!strncmp(err_name((enum err)i), "E_", 2));
}
END_TEST

/* ---- SHA-256: the examples of FIPS 180-4 ---- */

START_TEST(sha256_examples) {
  static const struct {
    const char *text, *hex;
  } row[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
             {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
             {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
  sha256 h = sha256_of(row[_i].text, strlen(row[_i].text));
  ck_assert_str_eq(sha256_hex(mem, &h), row[_i].hex);
}
END_TEST

/* ---- reading ---- */

START_TEST(file_reads_what_is_there) {
  bytes b;
  put_text("a", "hello");
  put_text("empty", "");
  ck_assert(file_read(mem, d, NULL, "a", 5, &b));
  ck_assert_uint_eq(b.size, 5);
  ck_assert_str_eq((const char *)b.data, "hello"); /* a zero byte follows */
  ck_assert(file_read(mem, d, folder, "a", 5, &b));
  ck_assert(file_read(mem, d, NULL, "empty", 0, &b));
  ck_assert_uint_eq(b.size, 0);
  file *f = file_open(mem, d, NULL, "a", "shown");
  char part[3] = "";
  ck_assert_str_eq(file_name(f), "shown");
  ck_assert_uint_eq(file_size(f), 5);
  ck_assert(file_read_at(f, d, 2, part, 2));
  ck_assert_str_eq(part, "ll");
  ck_assert(file_close(f, d));
  expect_messages("");
}
END_TEST

START_TEST(file_read_has_a_limit) {
  bytes b;
  put_text("a", "hello");
  ck_assert(!file_read(mem, d, NULL, "a", 4, &b));
  expect_messages("a: error: the file has 5 bytes; the limit is 4 [E_LIMIT]");
  ck_assert_int_eq(truncate("a", (off_t)1 << 40), 0); /* sparse: refused, not read */
  ck_assert(!file_read(mem, d, folder, "a", 1 << 20, &b));
  expect_messages(arena_printf(
      mem, "%s/a: error: the file has 1099511627776 bytes; the limit is 1048576 [E_LIMIT]",
      folder));
}
END_TEST

START_TEST(file_links_are_followed) {
  bytes b;
  put_text("a", "hello");
  ck_assert_int_eq(symlink("a", "soft"), 0);
  ck_assert_int_eq(link("a", "hard"), 0);
  ck_assert(file_read(mem, d, NULL, "soft", 9, &b));
  ck_assert(file_read(mem, d, NULL, "hard", 9, &b));
  expect_messages("");
}
END_TEST

START_TEST(file_missing) {
  ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
  ck_assert_int_eq(symlink("self", "self"), 0);
  put_text("a", "");
  ck_assert_ptr_null(file_open(mem, d, NULL, "none", "none"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "dangling", "dangling"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "self", "self"));
  ck_assert_ptr_null(file_open(mem, d, "none", "a", "none/a"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "a/b", "a/b"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "", ""));
  ck_assert_int_eq(diag_exit_code(d), 3);
  expect_messages("none: error: cannot open: No such file or directory [E_OPEN]\n"
                  "dangling: error: cannot open: No such file or directory [E_OPEN]\n"
                  "self: error: cannot open: Too many levels of symbolic links [E_OPEN]\n"
                  "none/a: error: cannot open: No such file or directory [E_OPEN]\n"
                  "a/b: error: cannot open: Not a directory [E_OPEN]\n"
                  ": error: cannot open: No such file or directory [E_OPEN]");
}
END_TEST

/* None of these may hang. */
START_TEST(file_not_regular) {
  ck_assert_int_eq(mkfifo("fifo", 0600), 0);
  ck_assert_int_eq(symlink("fifo", "link"), 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
  int s = socket(AF_UNIX, SOCK_STREAM, 0);
  ck_assert_int_eq(bind(s, (struct sockaddr *)&address, sizeof address), 0);
  ck_assert_ptr_null(file_open(mem, d, NULL, ".", "."));
  ck_assert_ptr_null(file_open(mem, d, NULL, "fifo", "fifo"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "link", "link"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "socket", "socket"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "/dev/zero", "/dev/zero"));
  ck_assert_ptr_null(file_open(mem, d, NULL, "/proc/self/mem", "/proc/self/mem"));
  close(s);
  ck_assert_int_eq(diag_exit_code(d), 1);
#define ONLY ", not a regular file; only regular files are read [E_NOT_FILE]"
  expect_messages(".: error: this is a folder" ONLY "\n"
                  "fifo: error: this is a FIFO" ONLY "\n"
                  "link: error: this is a FIFO" ONLY "\n"
                  "socket: error: this is a socket or a device" ONLY "\n"
                  "/dev/zero: error: this is a device" ONLY "\n"
                  "/proc/self/mem: error: this is an entry of /proc" ONLY);
}
END_TEST

static atomic_bool swapping;

/* Puts a file, a FIFO and nothing under one name, in turn. */
static void *swap_files(void *unused) {
  while (swapping) {
    put_text("next", "hello");
    rename("next", "w");
    if (mkfifo("next", 0600) == 0) rename("next", "w");
    unlink("w");
  }
  return unused;
}

/* What is opened is what is checked: each open gives the file or an error, and none waits. */
START_TEST(file_swapped_while_it_is_opened) {
  pthread_t thread;
  swapping = true;
  ck_assert_int_eq(pthread_create(&thread, NULL, swap_files, NULL), 0);
  int bad = 0;
  for (int i = 0; i < 10000; i++) {
    arena *a = arena_new(1 << 20, scratch_full, NULL);
    diag *e = diag_new(a);
    file *f = file_open(a, e, NULL, "w", "w");
    char got[6] = "";
    if (f)
      bad += !file_read_at(f, e, 0, got, 5) || strcmp(got, "hello") != 0;
    else
      bad += diag_first(e)->code != E_OPEN && diag_first(e)->code != E_NOT_FILE;
    if (f) file_close(f, e);
    arena_free(a);
  }
  swapping = false;
  pthread_join(thread, NULL);
  ck_assert_int_eq(bad, 0);
}
END_TEST

START_TEST(file_component_is_no_path) {
  static const char *const bad[] = {"",         ".",           "..",    "../w",       "a/../../w",
                                    "a/b",      "/etc/passwd", "C:\\w", "\\\\srv\\w", "~/w",
                                    "file://w", "a\nb",        "a\x7f"};
  const char *name = bad[_i];
  ck_assert_ptr_null(file_open_component(mem, d, loc_file("index"), folder, name, "shown"));
  ck_assert_int_eq(diag_first(d)->code, E_PATH);
  ck_assert_ptr_null(diag_first(d)->next);
}
END_TEST

START_TEST(file_component_limits) {
  char name[5001];
  memset(name, 'n', sizeof name);
  name[5000] = 0;
  ck_assert_ptr_null(file_open_component(mem, d, loc_file("index"), folder, name, "shown"));
  name[80] = 0;
  expect_messages(arena_printf(
      mem,
      "index: error: the file name '%s…' is not a plain name of at most 255 bytes; a file "
      "named by another one must lie in the same folder [E_PATH]",
      name));
  put_text("w.bin", "x");
  file *f = file_open_component(mem, d, loc_file("index"), folder, "w.bin", "w.bin");
  ck_assert_ptr_nonnull(f);
  ck_assert(file_close(f, d));
}
END_TEST

START_TEST(file_becomes_shorter) {
  char data[100] = "", got[100];
  put_file("a", data, sizeof data);
  file *f = file_open(mem, d, NULL, "a", "a");
  ck_assert_int_eq(truncate("a", _i), 0);
  ck_assert(!file_read_at(f, d, 0, got, sizeof got));
  ck_assert(!file_close(f, d));
  expect_messages(arena_printf(
      mem,
      "a:+0x%x: error: the file became shorter while it was read; try again [E_W_CHANGED]\n"
      "a: error: the file changed while it was read; try again [E_W_CHANGED]",
      (unsigned)_i));
}
END_TEST

/* Each difference alone: the size, the second, the nanosecond. */
START_TEST(file_grows_or_is_written) {
  static const struct {
    off_t size;
    struct timespec time;
  } later[] = {{6, {1000, 500}}, {5, {1001, 500}}, {5, {1000, 501}}};
  struct timespec times[2] = {{1000, 500}, {1000, 500}};
  put_text("a", "hello");
  ck_assert_int_eq(utimensat(AT_FDCWD, "a", times, 0), 0);
  file *f = file_open(mem, d, NULL, "a", "a");
  ck_assert_int_eq(truncate("a", later[_i].size), 0);
  times[1] = later[_i].time;
  ck_assert_int_eq(utimensat(AT_FDCWD, "a", times, 0), 0);
  ck_assert(!file_close(f, d));
  expect_messages("a: error: the file changed while it was read; try again [E_W_CHANGED]");
}
END_TEST

START_TEST(paths) {
  ck_assert_str_eq(path_dir(mem, "a"), ".");
  ck_assert_str_eq(path_dir(mem, "/a"), "/");
  ck_assert_str_eq(path_dir(mem, "b/a"), "b");
  ck_assert_str_eq(path_dir(mem, "/c/b/a"), "/c/b");
  ck_assert_str_eq(path_join(mem, NULL, "a"), "a");
  ck_assert_str_eq(path_join(mem, "b", "a"), "b/a");
  ck_assert_str_eq(path_join(mem, "b/", "a"), "b/a");
  ck_assert_str_eq(path_join(mem, "b", "/a"), "/a");
  put_text("a", "");
  put_text("b", "");
  ck_assert_int_eq(symlink("a", "l"), 0);
  ck_assert(path_same_file("a", "a") && path_same_file("a", "l") && path_same_file("./a", "l"));
  ck_assert(!path_same_file("a", "b") && !path_same_file("a", "none"));
  ck_assert(!path_same_file("none", "none"));
}
END_TEST

START_TEST(folders_are_listed_in_order) {
  const char **names;
  size_t count;
  put_text("b", "");
  put_text("a", "");
  put_text("B", "");
  put_text(".h", "");
  ck_assert(dir_list(mem, d, ".", &names, &count));
  ck_assert_uint_eq(count, 4);
  ck_assert_str_eq(names[0], ".h");
  ck_assert_str_eq(names[1], "B");
  ck_assert_str_eq(names[2], "a");
  ck_assert_str_eq(names[3], "b");
  for (int i = 0; i < 200; i++)
    put_text(arena_printf(mem, "f%d", i), "");
  ck_assert(dir_list(mem, d, ".", &names, &count));
  ck_assert_uint_eq(count, 204);
  ck_assert(!dir_list(mem, d, "a", &names, &count));
  expect_messages("a: error: cannot open this folder: Not a directory [E_OPEN]");
}
END_TEST

int main(void) {
  Suite *s = suite_create("support");
  TCase *t = untimed_case("support");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, checked_sums);
  tcase_add_test(t, checked_products);
  tcase_add_test(t, checked_padding);
  tcase_add_test(t, arena_memory_is_zeroed_aligned_and_apart);
  tcase_add_test(t, arena_limit_calls_the_handler);
  tcase_add_loop_test(t, arena_overflow_calls_the_handler, 0, 5);
  tcase_add_test(t, arena_grow_keeps_the_old_block);
  tcase_add_test(t, arena_text);
  tcase_add_test(t, diag_formats_places_and_levels);
  tcase_add_test(t, diag_messages_stay_on_one_line);
  tcase_add_test(t, diag_copies_what_it_is_given);
  tcase_add_test(t, diag_exit_codes);
  tcase_add_test(t, diag_keeps_twenty_errors);
  tcase_add_test(t, diag_names_every_code);
  tcase_add_loop_test(t, sha256_examples, 0, 3);
  tcase_add_test(t, file_reads_what_is_there);
  tcase_add_test(t, file_read_has_a_limit);
  tcase_add_test(t, file_links_are_followed);
  tcase_add_test(t, file_missing);
  tcase_add_test(t, file_not_regular);
  tcase_add_test(t, file_swapped_while_it_is_opened);
  tcase_add_loop_test(t, file_component_is_no_path, 0, 13);
  tcase_add_test(t, file_component_limits);
  tcase_add_loop_test(t, file_becomes_shorter, 0, 100);
  tcase_add_loop_test(t, file_grows_or_is_written, 0, 3);
  tcase_add_test(t, paths);
  tcase_add_test(t, folders_are_listed_in_order);
  suite_add_tcase(s, t);
  return run_suite(s);
}
