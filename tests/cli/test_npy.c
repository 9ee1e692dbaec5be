/* The .npy reader: what numpy writes is read, all else is refused with its place. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "driver/npy.h"
#include "tests/run_suite.h"

static void full(void *context, size_t wanted) {
  (void)context;
  ck_abort_msg("out of memory: %zu bytes", wanted);
}

static arena *memory;
static diag *messages;

static void setup(void) {
  memory = arena_new(64 << 20, full, NULL);
  messages = diag_new(memory);
}

static void teardown(void) {
  arena_free(memory);
}

/* A file of version 1 with this header (a newline is added) and `size` bytes of data. */
static bytes make(const char *header, const void *data, size_t size) {
  size_t length = strlen(header) + 1;
  unsigned char *to = arena_alloc(memory, 10 + length + size, 1);
  memcpy(to, "\x93NUMPY\1\0", 8);
  to[8] = (unsigned char)length;
  to[9] = (unsigned char)(length >> 8);
  memcpy(to + 10, header, length - 1);
  to[9 + length] = '\n';
  if (size) memcpy(to + 10 + length, data, size);
  return (bytes){to, 10 + length + size};
}

static void refused(bytes whole, const char *message) {
  npy_array a;
  messages = diag_new(memory);
  ck_assert(!npy_parse(memory, messages, "x.npy", whole, &a));
  ck_assert_uint_eq(diag_errors(messages), 1);
  ck_assert_str_eq(diag_format(memory, diag_first(messages)), message);
}

START_TEST(reads_what_numpy_writes) {
  static const float data[6] = {1, 2, 3, 4, 5, 6};
  npy_array a;
  bytes whole =
      make("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }       ", data, 24);
  ck_assert(npy_parse(memory, messages, "x.npy", whole, &a));
  ck_assert_int_eq(a.type, NPY_F32);
  ck_assert_uint_eq(a.rank, 2);
  ck_assert_int_eq(a.dim[0], 2);
  ck_assert_int_eq(a.dim[1], 3);
  ck_assert_uint_eq(a.count, 6);
  ck_assert_mem_eq(a.data, data, 24);
}
END_TEST

START_TEST(reads_every_type_and_rank) {
  static const int64_t data[2] = {-1, INT64_MAX};
  npy_array a;
  bytes scalar = make("{\"shape\":(),\"fortran_order\":False,\"descr\":\"<i4\"}", data, 4);
  ck_assert(npy_parse(memory, messages, "x.npy", scalar, &a));
  ck_assert_int_eq(a.type, NPY_I32);
  ck_assert_uint_eq(a.rank, 0);
  ck_assert_uint_eq(a.count, 1);
  bytes list = make("{'descr': '<i8', 'fortran_order': False, 'shape': (2,)}", data, 16);
  ck_assert(npy_parse(memory, messages, "x.npy", list, &a));
  ck_assert_int_eq(a.type, NPY_I64);
  ck_assert_mem_eq(a.data, data, 16);
  bytes empty =
      make("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0, 2147483647), }", "", 0);
  ck_assert(npy_parse(memory, messages, "x.npy", empty, &a));
  ck_assert_uint_eq(a.count, 0);
}
END_TEST

START_TEST(writes_what_it_reads) {
  static const float data[4] = {0.5f, -1, 2, 3};
  for (uint32_t rank = 0; rank <= NPY_MAX_RANK; rank++) {
    npy_array a = {.type = NPY_F32, .rank = rank, .count = rank ? 4 : 1, .data = data}, b;
    for (uint32_t i = 0; i < rank; i++)
      a.dim[i] = i ? 1 : 4;
    bytes whole = npy_format(memory, &a);
    ck_assert_uint_eq((whole.size - 4 * a.count) % 64, 0);
    ck_assert(npy_parse(memory, messages, "x.npy", whole, &b));
    ck_assert_uint_eq(b.rank, rank);
    ck_assert_mem_eq(a.dim, b.dim, sizeof a.dim);
    ck_assert_uint_eq(b.count, a.count);
    ck_assert_mem_eq(b.data, data, 4 * a.count);
  }
}
END_TEST

START_TEST(refuses_what_is_no_npy_file) {
  refused((bytes){(const unsigned char *)"", 0},
          "x.npy: error: this is no .npy file; write one with numpy.save(name, array) [E_NPY]");
  refused((bytes){(const unsigned char *)"PK\3\4 a zip file", 15},
          "x.npy: error: this is no .npy file; write one with numpy.save(name, array) [E_NPY]");
  refused((bytes){(const unsigned char *)"\x93NUMPY\4\0\0\0", 10},
          "x.npy:+0x6: error: version 4.0 of the format is unknown; 1.0 to 3.0 are read [E_NPY]");
  refused((bytes){(const unsigned char *)"\x93NUMPY\1\0\xff\xff", 10},
          "x.npy:+0x8: error: the header claims 65535 bytes, which the file does not have or which "
          "are over 65536 [E_NPY]");
  refused((bytes){(const unsigned char *)"\x93NUMPY\2\0\xff\xff\xff\xff", 12},
          "x.npy:+0x8: error: the header claims 4294967295 bytes, which the file does not have or "
          "which are over 65536 [E_NPY]");
  refused((bytes){(const unsigned char *)"\x93NUMPY\1\0\0\0", 10},
          "x.npy:+0xa: error: the header does not end in a newline [E_NPY]");
}
END_TEST

static const struct bad_header {
  const char *header, *message;
} bad_headers[] = {
    {"[]", "x.npy:+0xa: error: the header does not begin with '{' [E_NPY]"},
    {"{}", "x.npy:+0xd: error: the header lacks descr, fortran_order or shape [E_NPY]"},
    {"{'descr': '<f4', 'fortran_order': False}",
     "x.npy:+0x33: error: the header lacks descr, fortran_order or shape [E_NPY]"},
    {"{'descr': '<f4', 'descr': '<f4'}",
     "x.npy:+0x22: error: a key stands twice in the header [E_NPY]"},
    {"{'color': 1}",
     "x.npy:+0x12: error: unknown key in the header; descr, fortran_order and shape are "
     "known [E_NPY]"},
    {"{'descr' '<f4'}", "x.npy:+0x13: error: ':' is expected after a key of the header [E_NPY]"},
    {"{'descr': '<f4' 'shape': ()}",
     "x.npy:+0x1a: error: ',' or '}' is expected in the header [E_NPY]"},
    {"{'descr': '<f4}", "x.npy:+0x14: error: a quote is not closed in the header [E_NPY]"},
    {"{descr: '<f4'}", "x.npy:+0xb: error: a quoted word is expected in the header [E_NPY]"},
    {"{'descr': '>f4'}",
     "x.npy: error: element type '>f4' is not supported; convert the array to float32, "
     "int32 or int64 (little-endian) [E_NPY]"},
    {"{'descr': '|O'}",
     "x.npy: error: element type '|O' is not supported; convert the array to float32, "
     "int32 or int64 (little-endian) [E_NPY]"},
    {"{'fortran_order': True}", "x.npy:+0x1c: error: arrays in Fortran order are not read; save "
                                "numpy.ascontiguousarray(x) [E_NPY]"},
    {"{'fortran_order': 0}",
     "x.npy:+0x1c: error: True or False is expected for fortran_order [E_NPY]"},
    {"{'shape': 3}", "x.npy:+0x14: error: '(' is expected before the shape [E_NPY]"},
    {"{'shape': (3)}", "x.npy:+0x17: error: a shape of one dimension is written (n,) [E_NPY]"},
    {"{'shape': (3 4)}", "x.npy:+0x17: error: ',' or ')' is expected in the shape [E_NPY]"},
    {"{'shape': (-1,)}", "x.npy:+0x15: error: a dimension is expected in the shape [E_NPY]"},
    {"{'shape': (2147483648,)}", "x.npy:+0x1e: error: a dimension is over 2147483647 [E_NPY]"},
    {"{'shape': (99999999999999999999999999,)}",
     "x.npy:+0x1e: error: a dimension is over 2147483647 [E_NPY]"},
    {"{'shape': (1,1,1,1,1,1,1,1,1)}",
     "x.npy:+0x26: error: the array has more than 8 dimensions [E_NPY]"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': ()} ()",
     "x.npy:+0x40: error: more follows the header's '}' [E_NPY]"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (2147483647, 2147483647, 2147483647)}",
     "x.npy: error: the size of the array overflows [E_NPY]"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}",
     "x.npy:+0x42: error: the shape asks for 12 bytes of data, the file has 8 [E_NPY]"},
    {"{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
     "x.npy:+0x40: error: the shape asks for 4 bytes of data, the file has 8 [E_NPY]"},
};

START_TEST(refuses_bad_headers) {
  const struct bad_header *b = &bad_headers[_i];
  refused(make(b->header, "12345678", 8), b->message);
}
END_TEST

START_TEST(truncated_files_are_refused_everywhere) {
  bytes whole = make("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "12345678", 8);
  for (size_t size = 0; size < whole.size; size++) {
    /* A copy of its own, so that a sanitizer sees reads beyond the end. */
    unsigned char *copy = malloc(size ? size : 1);
    npy_array a;
    memcpy(copy, whole.data, size);
    messages = diag_new(memory);
    ck_assert_msg(!npy_parse(memory, messages, "x.npy", (bytes){copy, size}, &a), "%zu bytes",
                  size);
    ck_assert_uint_eq(diag_errors(messages), 1);
    free(copy);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("npy");
  TCase *cases = untimed_case("npy");
  tcase_add_checked_fixture(cases, setup, teardown);
  tcase_add_test(cases, reads_what_numpy_writes);
  tcase_add_test(cases, reads_every_type_and_rank);
  tcase_add_test(cases, writes_what_it_reads);
  tcase_add_test(cases, refuses_what_is_no_npy_file);
  tcase_add_loop_test(cases, refuses_bad_headers, 0, sizeof bad_headers / sizeof bad_headers[0]);
  tcase_add_test(cases, truncated_files_are_refused_everywhere);
  suite_add_tcase(suite, cases);
  return run_suite(suite);
}
