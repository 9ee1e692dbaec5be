/* Weight files: every rule of the format with its whole message, elements, writing. */
#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <math.h>
#include <stdint.h>

#include "tests/unit/weights.h"

static void expect_refused(const char *messages) {
  ck_assert_ptr_null(st_open(mem, d, NULL, "w"));
  expect_messages(messages);
}

static char *repeat(const char *text, size_t times) {
  size_t length = strlen(text);
  char *all = arena_alloc(mem, length * times + 1, 1);
  for (size_t i = 0; i < times; i++)
    memcpy(all + i * length, text, length);
  return all;
}

/* ---- accepted ---- */

START_TEST(reads_a_file) {
  float data[] = {1, -2.5f, 0, 4, 5, 6};
  put_weights(
      "w",
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"z\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]}," PAIR("a", 0, 8) "}   ",
      data, sizeof data);
  st_set *s = st_open(mem, d, NULL, "w");
  ck_assert_ptr_nonnull(s);
  ck_assert_uint_eq(st_count(s), 2);
  ck_assert_str_eq(st_at(s, 0)->name, "z");
  ck_assert_str_eq(st_at(s, 1)->name, "a");
  ck_assert_str_eq(st_shard_name(s, 0), "w");
  st_tensor *t = st_find(s, "z");
  ck_assert_ptr_eq(t, st_at(s, 0));
  ck_assert_ptr_null(st_find(s, "b"));
  ck_assert_str_eq(t->dtype, "F32");
  ck_assert_uint_eq(t->rank, 2);
  ck_assert(t->dim[0] == 2 && t->dim[1] == 2 && !t->used);
  const float *x = st_read_f32(s, d, mem, t);
  ck_assert(x[0] == 0 && x[1] == 4 && x[2] == 5 && x[3] == 6);
  ck_assert(t->used && !st_find(s, "a")->used);
  ck_assert_int_eq(memcmp(st_read_raw(s, d, mem, st_find(s, "a")), data, 8), 0);
  ck_assert(st_close(s, d));
  expect_messages("");
}
END_TEST

static const struct {
  const char *header;
  size_t data;
} accepted[] = {
    {"{}", 0},
    {"{ }       ", 0},
    {"{\"__metadata__\":{}}", 0},
    /* empty tensors, at both ends of another, and scalars */
    {"{\"e\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[0,0]}}", 0},
    {"{\"e\":{\"dtype\":\"F32\",\"shape\":[0,2147483647],\"data_offsets\":[0,0]}}", 0},
    {"{\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]}," PAIR(
         "a", 0, 8) ","
                    "\"f\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
     8},
    {"{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4},
    {"{\"s\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1},
    /* an odd length of the header: the data is unaligned */
    {"{\"odd\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}  ", 8},
    {"{\"odd\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}} ", 8},
    /* white space and escapes inside */
    {"{\n\"\\u00e4\\ud83d\\ude00\\n\" :\t{\"dtype\" : \"F32\", \"shape\":[ 2 ], "
     "\"data_offsets\":[0, 8]}}",
     8},
};

START_TEST(accepts) {
  put_weights("w", accepted[_i].header, NULL, accepted[_i].data);
  st_set *s = st_open(mem, d, NULL, "w");
  expect_messages("");
  ck_assert_ptr_nonnull(s);
  for (size_t i = 0; i < st_count(s); i++) {
    ck_assert_ptr_nonnull(st_read_raw(s, d, mem, st_at(s, i)));
    ck_assert_ptr_eq(st_find(s, st_at(s, i)->name), st_at(s, i));
  }
  ck_assert(st_close(s, d));
  expect_messages("");
}
END_TEST

START_TEST(accepts_every_dtype) {
  static const struct {
    const char *name;
    uint32_t width;
  } row[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
             {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
             {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    uint32_t size = 3 * row[i].width;
    put_weights("w",
                arena_printf(mem,
                             "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%u]}}",
                             row[i].name, size),
                NULL, size);
    st_set *s = st_open(mem, d, NULL, "w");
    ck_assert_msg(s != NULL, "%s is refused", row[i].name);
    ck_assert_str_eq(st_at(s, 0)->dtype, row[i].name);
    ck_assert(st_close(s, d));
  }
}
END_TEST

/* ---- refused headers ---- */

#define DTYPES "BOOL U8 I8 F8_E5M2 F8_E4M3 I16 U16 F16 BF16 I32 U32 F32 F64 I64 U64"
#define TENSOR(dtype, shape, offsets)                                                              \
  "{\"t\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const struct {
  const char *header;
  size_t data;
  const char *messages;
} refused[] = {
    /* the JSON text */
    {"[]", 0,
     "w:+0x8: error: the header does not begin with '{'; is this a safetensors file? "
     "[E_W_JSON]"},
    {" {}", 0,
     "w:+0x8: error: the header does not begin with '{'; is this a safetensors file? "
     "[E_W_JSON]"},
    {"{}\n", 0, "w:+0xa: error: the header does not end with '}' and spaces [E_W_JSON]"},
    {"{}x ", 0, "w:+0xa: error: the header does not end with '}' and spaces [E_W_JSON]"},
    {"{", 0, "w:+0x8: error: the header does not end with '}' and spaces [E_W_JSON]"},
    {"{} {}", 0, "w:+0xb: error: only spaces may follow the closing '}' [E_W_JSON]"},
    {"{\"a\"}", 0, "w:+0xc: error: '}' is not expected here [E_W_JSON]"},
    {"{\"a\":}", 0, "w:+0xd: error: '}' is not expected here [E_W_JSON]"},
    {"{'a':1}", 0, "w:+0x9: error: ''' is not expected here [E_W_JSON]"},
    {"{\"a\":{}", 0, "w:+0xf: error: the text ends too early [E_W_JSON]"},
    {"{\"\xff\":{}}", 0, "w:+0x9: error: not valid UTF-8 [E_W_JSON]"},
    {"{\"\xc0\xaf\":{}}", 0, "w:+0x9: error: not valid UTF-8 [E_W_JSON]"},
    {"{\"\xed\xa0\x80\":{}}", 0, "w:+0x9: error: not valid UTF-8 [E_W_JSON]"},
    {"{\"a\x01\":{}}", 0, "w:+0x9: error: '\"a\\x01\"' is not expected here [E_W_JSON]"},
    {"{\"a\":{\"dtype\":nul}}", 0, "w:+0x16: error: 'nul' is not expected here [E_W_JSON]"},
    /* numbers */
    {TENSOR("\"F32\"", "[1e3]", "[0,4]"), 4,
     "w:+0x25: error: '1e3' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[1.0]", "[0,4]"), 4,
     "w:+0x25: error: '1.0' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[1,-1]", "[0,4]"), 4,
     "w:+0x27: error: '-1' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[-0]", "[0,4]"), 4,
     "w:+0x25: error: '-0' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[01]", "[0,4]"), 4,
     "w:+0x25: error: '01' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[+1]", "[0,4]"), 4,
     "w:+0x25: error: '+1' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[NaN]", "[0,4]"), 4,
     "w:+0x25: error: 'NaN' in \"shape\" is not a plain integer from 0 to 2^63-1 [E_W_DIM]"},
    {TENSOR("\"F32\"", "[18446744073709551616]", "[0,4]"), 4,
     "w:+0x25: error: '18446744073709551616' in \"shape\" is not a plain integer from 0 to 2^63-1 "
     "[E_W_DIM]"},
    {TENSOR("\"F32\"", "[9223372036854775808]", "[0,4]"), 4,
     "w:+0x25: error: '9223372036854775808' in \"shape\" is not a plain integer from 0 to 2^63-1 "
     "[E_W_DIM]"},
    {TENSOR("\"F32\"", "[1]", "[-4,0]"), 4,
     "w:+0x38: error: '-4' in \"data_offsets\" is not a plain integer from 0 to 2^63-1 "
     "[E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[0,4.0]"), 4,
     "w:+0x3a: error: '4.0' in \"data_offsets\" is not a plain integer from 0 to 2^63-1 "
     "[E_W_RANGE]"},
    {"{\"t\":{\"dtype\":\"F32\",\"sh\\u0061pe\":[-1],\"data_offsets\":[0,4]}}", 4,
     "w: error: tensor 't': dimension 0 is not a non-negative integer [E_W_DIM]"},
    /* names */
    {"{" PAIR("a", 0, 8) "," PAIR("a", 8, 16) "}", 16,
     "w:+0x3e: error: the key \"a\" stands twice [E_W_DUP]"},
    {"{" PAIR("a", 0, 8) "," PAIR("\\u0061", 8, 16) "}", 16,
     "w:+0x3e: error: the key \"\\u0061\" stands twice [E_W_DUP]"},
    {"{\"t\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0,
     "w:+0x1c: error: the key \"dtype\" stands twice [E_W_DUP]"},
    {"{" PAIR("", 0, 8) "}", 8,
     "w: error: the tensor name '' has 0 bytes; a name has 1 to 512 [E_W_NAME]"},
    {"{" PAIR("\\ud800", 0, 8) "}", 8,
     "w:+0xa: error: the escape '\\ud800' stands for no character [E_W_NAME]"},
    {"{" PAIR("x\\udc00\\ud800", 0, 8) "}", 8,
     "w:+0xb: error: the escape '\\udc00' stands for no character [E_W_NAME]"},
    {"{" PAIR("\\ud800\\u0041", 0, 8) "}", 8,
     "w:+0xa: error: the escape '\\ud800' stands for no character [E_W_NAME]"},
    {"{" PAIR("a\\u0000b", 0, 8) "}", 8,
     "w:+0xb: error: the escape '\\u0000' stands for no character [E_W_NAME]"},
    /* metadata */
    {"{\"__metadata__\":{\"a\":1}}", 0,
     "w: error: \"__metadata__\": the value of \"a\" is not a string [E_W_META]"},
    {"{\"__metadata__\":{\"a\":\"b\",\"c\":{}}}", 0,
     "w: error: \"__metadata__\": the value of \"c\" is not a string [E_W_META]"},
    {"{\"__metadata__\":[]}", 0, "w: error: \"__metadata__\" is not an object [E_W_META]"},
    {"{\"__metadata__\":null}", 0, "w: error: \"__metadata__\" is not an object [E_W_META]"},
    /* fields */
    {"{\"t\":[]}", 0, "w: error: tensor 't': its entry is not an object [E_W_FIELD]"},
    {"{\"t\":{}}", 0, "w: error: tensor 't' has no \"dtype\" [E_W_FIELD]"},
    {"{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,0]}}", 0,
     "w: error: tensor 't' has no \"shape\" [E_W_FIELD]"},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[0]}}", 0,
     "w: error: tensor 't' has no \"data_offsets\" [E_W_FIELD]"},
    {"{\"t\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"x\":0}}", 0,
     "w: error: tensor 't': unknown field \"x\"; a tensor has dtype, shape and data_offsets "
     "[E_W_FIELD]"},
    /* types */
    {TENSOR("\"F31\"", "[1]", "[0,4]"), 4,
     "w: error: tensor 't': unknown dtype 'F31'; known are " DTYPES " [E_W_DTYPE]"},
    {TENSOR("\"f32\"", "[1]", "[0,4]"), 4,
     "w: error: tensor 't': unknown dtype 'f32'; known are " DTYPES " [E_W_DTYPE]"},
    {TENSOR("32", "[1]", "[0,4]"), 4,
     "w: error: tensor 't': \"dtype\" is not a string [E_W_DTYPE]"},
    /* shapes */
    {TENSOR("\"F32\"", "4", "[0,4]"), 4, "w: error: tensor 't': \"shape\" is not a list [E_W_DIM]"},
    {TENSOR("\"F32\"", "[\"1\"]", "[0,4]"), 4,
     "w: error: tensor 't': dimension 0 is not a non-negative integer [E_W_DIM]"},
    {TENSOR("\"F32\"", "[1,[1]]", "[0,4]"), 4,
     "w: error: tensor 't': dimension 1 is not a non-negative integer [E_W_DIM]"},
    {TENSOR("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4,
     "w: error: tensor 't' has 9 dimensions; the limit is 8 [E_LIMIT]"},
    {TENSOR("\"F32\"", "[0,2147483648]", "[0,0]"), 0,
     "w: error: tensor 't': dimension 1 is 2147483648; the limit is 2147483647 [E_W_DIM]"},
    {TENSOR("\"U8\"", "[1048576,1048577]", "[0,0]"), 0,
     "w: error: tensor 't' has 1099512676352 elements; the limit is 1099511627776 [E_LIMIT]"},
    {TENSOR("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0,
     "w: error: tensor 't': the size of its shape does not fit in 64 bits [E_W_OVERFLOW]"},
    {TENSOR("\"F32\"", "[4294967296,4294967296,0]", "[0,0]"), 0,
     "w: error: tensor 't': the size of its shape does not fit in 64 bits [E_W_OVERFLOW]"},
    {TENSOR("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"), 0,
     "w: error: tensor 't': the size of its shape does not fit in 64 bits [E_W_OVERFLOW]"},
    {TENSOR("\"F32\"", "[2147483647,2147483647,2]", "[0,0]"), 0,
     "w: error: tensor 't': the size of its shape does not fit in 64 bits [E_W_OVERFLOW]"},
    {TENSOR("\"F32\"", "[9223372036854775807]", "[0,0]"), 0,
     "w: error: tensor 't': the size of its shape does not fit in 64 bits [E_W_OVERFLOW]"},
    /* ranges */
    {TENSOR("\"F32\"", "[1]", "4"), 4,
     "w: error: tensor 't': \"data_offsets\" is not a list of two non-negative integers "
     "[E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[0]"), 4,
     "w: error: tensor 't': \"data_offsets\" is not a list of two non-negative integers "
     "[E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[0,4,4]"), 4,
     "w: error: tensor 't': \"data_offsets\" is not a list of two non-negative integers "
     "[E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[null,4]"), 4,
     "w:+0x38: error: 'null' in \"data_offsets\" is not a plain integer from 0 to 2^63-1 "
     "[E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[4,0]"), 4,
     "w: error: tensor 't': its range [4, 0) ends before it begins [E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[0,5]"), 4,
     "w: error: tensor 't': its range [0, 5) leaves the file's 4 bytes of data [E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[5,4]"), 4,
     "w: error: tensor 't': its range [5, 4) leaves the file's 4 bytes of data [E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[5,5]"), 4,
     "w: error: tensor 't': its range [5, 5) leaves the file's 4 bytes of data [E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[9223372036854775807,9223372036854775807]"), 4,
     "w: error: tensor 't': its range [9223372036854775807, 9223372036854775807) leaves the "
     "file's 4 bytes of data [E_W_RANGE]"},
    {TENSOR("\"F32\"", "[1]", "[0,3]"), 4,
     "w: error: tensor 't': 1 elements of F32 need 4 bytes, the range holds 3 [E_W_SIZE]"},
    {TENSOR("\"F32\"", "[1]", "[0,5]"), 5,
     "w: error: tensor 't': 1 elements of F32 need 4 bytes, the range holds 5 [E_W_SIZE]"},
    {TENSOR("\"F16\"", "[0,3]", "[0,2]"), 2,
     "w: error: tensor 't': 0 elements of F16 need 0 bytes, the range holds 2 [E_W_SIZE]"},
    {TENSOR("\"F32\"", "[]", "[0,0]"), 0,
     "w: error: tensor 't': 1 elements of F32 need 4 bytes, the range holds 0 [E_W_SIZE]"},
    /* coverage */
    {"{" PAIR("a", 0, 8) "," PAIR("b", 7, 15) "}", 15,
     "w:+0x7b: error: tensor 'b' overlaps tensor 'a' [E_W_OVERLAP]"},
    {"{" PAIR("b", 0, 8) "," PAIR("a", 0, 8) "}", 8,
     "w:+0x73: error: tensor 'b' overlaps tensor 'a' [E_W_OVERLAP]"},
    {"{" PAIR("a", 0, 8) ",\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}", 8,
     "w:+0x77: error: tensor 'e' overlaps tensor 'a' [E_W_OVERLAP]"},
    {"{" PAIR("a", 0, 8) "," PAIR("b", 9, 17) "}", 17,
     "w:+0x7c: error: 1 bytes belong to no tensor [E_W_HOLE]"},
    {"{" PAIR("a", 4, 12) "}", 12, "w:+0x3f: error: 4 bytes belong to no tensor [E_W_HOLE]"},
    {"{" PAIR("a", 0, 8) "}", 30, "w:+0x46: error: 22 bytes belong to no tensor [E_W_HOLE]"},
    {"{}", 1, "w:+0xa: error: 1 bytes belong to no tensor [E_W_HOLE]"},
    /* all errors of a header are told */
    {"{\"t\":[],\"u\":{},\"v\":1}", 0,
     "w: error: tensor 't': its entry is not an object [E_W_FIELD]\n"
     "w: error: tensor 'u' has no \"dtype\" [E_W_FIELD]\n"
     "w: error: tensor 'v': its entry is not an object [E_W_FIELD]"},
};

START_TEST(refuses) {
  put_weights("w", refused[_i].header, NULL, refused[_i].data);
  expect_refused(refused[_i].messages);
}
END_TEST

/* ---- lengths and limits ---- */

static const struct {
  uint64_t length; /* as the file claims */
  size_t size;     /* of the whole file */
  const char *messages;
} lengths[] = {
    {0, 0, "w: error: 0 bytes are too few for a safetensors file [E_W_SHORT]"},
    {2, 1, "w: error: 1 bytes are too few for a safetensors file [E_W_SHORT]"},
    {2, 7, "w: error: 7 bytes are too few for a safetensors file [E_W_SHORT]"},
    {0, 8, "w: error: the length of the header is 0 [E_W_HEADER]"},
    {2, 8,
     "w: error: the header claims 2 bytes, the file has 0 after its length; is the download "
     "complete? [E_W_SHORT]"},
    {3, 10,
     "w: error: the header claims 3 bytes, the file has 2 after its length; is the download "
     "complete? [E_W_SHORT]"},
    {100000000, 10,
     "w: error: the header claims 100000000 bytes, the file has 2 after its length; "
     "is the download complete? [E_W_SHORT]"},
    {100000001, 10,
     "w: error: the header claims 100000001 bytes; the limit is 100000000; is this "
     "a safetensors file? [E_LIMIT]"},
    {UINT64_C(1) << 63, 10,
     "w: error: the header claims 9223372036854775808 bytes; the limit is "
     "100000000; is this a safetensors file? [E_LIMIT]"},
    {UINT64_MAX, 10,
     "w: error: the header claims 18446744073709551615 bytes; the limit is "
     "100000000; is this a safetensors file? [E_LIMIT]"},
};

START_TEST(refuses_lengths) {
  unsigned char file_bytes[16] = {0};
  memcpy(file_bytes, &lengths[_i].length, 8);
  memcpy(file_bytes + 8, "{}", 2);
  put_file("w", file_bytes, lengths[_i].size);
  expect_refused(lengths[_i].messages);
}
END_TEST

/* Cut anywhere, a file is refused with one message. */
START_TEST(refuses_every_truncation) {
  char data[8] = "";
  put_weights("w", "{" PAIR("a", 0, 8) "}", data, sizeof data);
  struct stat st;
  ck_assert_int_eq(stat("w", &st), 0);
  for (off_t size = st.st_size - 1; size >= 0; size--) {
    ck_assert_int_eq(truncate("w", size), 0);
    ck_assert_ptr_null(st_open(mem, d, NULL, "w"));
    ck_assert_uint_eq(diag_errors(d), 1);
    d = diag_new(mem);
  }
}
END_TEST

START_TEST(refuses_a_sparse_terabyte) {
  put_weights("w", "{" PAIR("a", 0, 8) "}", NULL, 0);
  ck_assert_int_eq(truncate("w", (off_t)1 << 40), 0);
  expect_refused("w:+0x46: error: 1099511627706 bytes belong to no tensor [E_W_HOLE]");
  ck_assert_uint_lt(arena_used(mem), 1 << 20);
}
END_TEST

START_TEST(names_of_512_bytes) {
  const char *format = "{\"%s\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}";
  put_weights("w", arena_printf(mem, format, repeat("n", 512)), NULL, 0);
  st_set *s = st_open(mem, d, NULL, "w");
  ck_assert_ptr_nonnull(s);
  st_close(s, d);
  put_weights("w", arena_printf(mem, format, repeat("n", 513)), NULL, 0);
  expect_refused(arena_printf(
      mem, "w: error: the tensor name '%s…' has 513 bytes; a name has 1 to 512 [E_W_NAME]",
      repeat("n", 60)));
}
END_TEST

/* A header of `count` empty tensors. */
static void put_many(int count) {
  enum { ROOM = 64 };
  char *header = arena_alloc(mem, (size_t)count * ROOM + 2, 1), *at = header;
  for (int i = 0; i < count; i++)
    at += sprintf(at, "%c\"%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                  i ? ',' : '{', i);
  *at = '}';
  put_weights("w", header, NULL, 0);
}

START_TEST(limit_of_tensors) {
  put_many(ST_MAX_TENSORS);
  st_set *s = st_open(mem, d, NULL, "w");
  expect_messages("");
  ck_assert_uint_eq(st_count(s), ST_MAX_TENSORS);
  ck_assert_str_eq(st_find(s, "65535")->name, "65535");
  st_close(s, d);
  put_many(ST_MAX_TENSORS + 1);
  expect_refused("w: error: 65537 tensors; the limit is 65536 [E_LIMIT]");
}
END_TEST

START_TEST(limits_of_json) {
  put_weights("w", arena_printf(mem, "{\"t\":%s}", repeat("[", 31)), NULL, 0);
  expect_refused("w:+0x2c: error: '}' is not expected here [E_W_JSON]");
  put_weights("w", arena_printf(mem, "{\"t\":%s}", repeat("[", 100000)), NULL, 0);
  expect_refused("w:+0x2c: error: nested too deep; the limit is 32 [E_LIMIT]");
  put_weights("w", arena_printf(mem, "{\"t\":%s}", repeat("{\"t\":", 32)), NULL, 0);
  expect_refused("w:+0xa8: error: nested too deep; the limit is 32 [E_LIMIT]");
  put_weights("w", arena_printf(mem, "{\"__metadata__\":{\"a\":\"%s\"}}", repeat("s", 10 << 20)),
              NULL, 0);
  expect_refused("w:+0x1d: error: a string is too many bytes long; the limit is 8388608 [E_LIMIT]");
  put_weights("w", arena_printf(mem, "{\"t\":{\"shape\":[%s]}}", repeat("9", 1000000)), NULL, 0);
  expect_refused("w:+0x17: error: a number has too many digits; the limit is 64 [E_LIMIT]");
  put_weights("w", arena_printf(mem, "{\"t\":[%s1]}", repeat("1,", 1 << 22)), NULL, 0);
  expect_refused("w:+0x7fffea: error: too many values (an object or a list counts as 8, a string "
                 "as 2); the limit is 4194304 [E_LIMIT]");
  put_weights("w", arena_printf(mem, "{\"t\":[%s1]}", repeat("[],", 1 << 19)), NULL, 0);
  expect_refused("w:+0x180005: error: too many values (an object or a list counts as 8, a string "
                 "as 2); the limit is 4194304 [E_LIMIT]");
}
END_TEST

START_TEST(twenty_errors_are_enough) {
  put_weights("w",
              arena_printf(mem, "{\"0\":[]%s}",
                           ",\"1\":[],\"2\":[],\"3\":[],\"4\":[],\"5\":[],\"6\":[],\"7\":[],"
                           "\"8\":[],\"9\":[],\"a\":[],\"b\":[],\"c\":[],\"d\":[],\"e\":[],"
                           "\"f\":[],\"g\":[],\"h\":[],\"i\":[],\"j\":[],\"k\":[],\"l\":[]"),
              NULL, 0);
  ck_assert_ptr_null(st_open(mem, d, NULL, "w"));
  ck_assert_uint_eq(diag_errors(d), DIAG_MAX_ERRORS);
}
END_TEST

START_TEST(refuses_what_is_no_file) {
  ck_assert_int_eq(mkfifo("w", 0600), 0);
  expect_refused("w: error: this is a FIFO, not a regular file; only regular files are read "
                 "[E_NOT_FILE]");
  unlink("w");
  expect_refused("w: error: cannot open: No such file or directory [E_OPEN]");
}
END_TEST

/* ---- elements ---- */

/* The value of a 16-bit float by its definition: sign, exponent and mantissa as integers. */
static double by_definition(unsigned h, int exponent_bits, int mantissa_bits) {
  int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
  int exponent = (int)(h >> mantissa_bits) & top;
  int mantissa = (int)h & ((1 << mantissa_bits) - 1);
  double sign = h & 0x8000 ? -1 : 1;
  if (exponent == top) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

static st_set *open_halves(const char *dtype, const uint16_t *data, size_t count) {
  put_weights("w",
              arena_printf(mem,
                           "{\"t\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}",
                           dtype, count, 2 * count),
              data, 2 * count);
  return st_open(mem, d, NULL, "w");
}

static const struct {
  const char *dtype;
  int exponent_bits, mantissa_bits;
} halves[] = {{"F16", 5, 10}, {"BF16", 8, 7}};

START_TEST(widens_every_half) {
  int e = halves[_i].exponent_bits, m = halves[_i].mantissa_bits;
  static uint16_t finite[65536];
  size_t count = 0;
  for (unsigned h = 0; h < 65536; h++)
    if (isfinite(by_definition(h, e, m))) finite[count++] = (uint16_t)h;
  ck_assert_uint_eq(count, 65536 - ((size_t)1 << (m + 1)));
  st_set *s = open_halves(halves[_i].dtype, finite, count);
  const float *x = st_read_f32(s, d, mem, st_at(s, 0));
  expect_messages("");
  for (size_t i = 0; i < count; i++) {
    double expected = by_definition(finite[i], e, m);
    if (x[i] != expected || !signbit(x[i]) != !signbit(expected))
      ck_abort_msg("%s 0x%04x is %a, expected %a", halves[_i].dtype, finite[i], x[i], expected);
  }
  ck_assert(st_close(s, d));
}
END_TEST

START_TEST(refuses_every_half_that_is_not_finite) {
  int e = halves[_i].exponent_bits, m = halves[_i].mantissa_bits;
  for (unsigned h = 0; h < 65536; h++) {
    double value = by_definition(h, e, m);
    if (isfinite(value)) continue;
    uint16_t data[2] = {0, (uint16_t)h};
    st_set *s = open_halves(halves[_i].dtype, data, 2);
    ck_assert_ptr_null(st_read_f32(s, d, mem, st_at(s, 0)));
    expect_messages(arena_printf(
        mem, "w: error: tensor 't': element 1 is %s; weights must be finite [E_NONFINITE]",
        isnan(value) ? "NaN"
        : value > 0  ? "infinity"
                     : "-infinity"));
    ck_assert(st_close(s, d));
    arena_free(mem); /* hundreds of rounds */
    mem = arena_new((size_t)1 << 28, scratch_full, NULL);
    d = diag_new(mem);
  }
}
END_TEST

/* More than one piece of reading, and an element across no border twice. */
START_TEST(widens_long_tensors) {
  enum { COUNT = (3 << 19) + 5 };
  uint16_t *data = arena_array(mem, uint16_t, COUNT);
  for (size_t i = 0; i < COUNT; i++)
    data[i] = (uint16_t)(i * 31 % 0x7c00);
  st_set *s = open_halves("F16", data, COUNT);
  const float *x = st_read_f32(s, d, mem, st_at(s, 0));
  ck_assert_ptr_nonnull(x);
  for (size_t i = 0; i < COUNT; i++)
    if (x[i] != by_definition(data[i], 5, 10)) ck_abort_msg("element %zu is wrong", i);
  ck_assert(st_close(s, d));
}
END_TEST

/* Models have hundreds of small tensors. */
START_TEST(widening_keeps_the_elements_alone) {
  uint16_t data[5] = {0x3c00};
  st_set *s = open_halves("F16", data, 5);
  size_t before = arena_used(mem);
  ck_assert_ptr_nonnull(st_read_f32(s, d, mem, st_at(s, 0)));
  ck_assert_uint_eq(arena_used(mem) - before, 5 * sizeof(float));
  ck_assert(st_close(s, d));
}
END_TEST

START_TEST(refuses_floats_that_are_not_finite) {
  static const struct {
    float value;
    const char *name;
  } bad[] = {{NAN, "NaN"}, {INFINITY, "infinity"}, {-INFINITY, "-infinity"}};
  static const size_t place[] = {0, 6, 11};
  for (size_t b = 0; b < 3; b++)
    for (size_t p = 0; p < 3; p++) {
      float data[12] = {0};
      data[place[p]] = bad[b].value;
      put_weights("w", "{\"t\":{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":[0,48]}}", data,
                  sizeof data);
      st_set *s = st_open(mem, d, NULL, "w");
      ck_assert_ptr_null(st_read_f32(s, d, mem, st_at(s, 0)));
      expect_messages(arena_printf(
          mem, "w: error: tensor 't': element %zu is %s; weights must be finite [E_NONFINITE]",
          place[p], bad[b].name));
      ck_assert(st_close(s, d));
    }
}
END_TEST

START_TEST(refuses_other_types_as_floats) {
  put_weights("w", "{\"t\":{\"dtype\":\"BOOL\",\"shape\":[4],\"data_offsets\":[0,4]}}", "1111", 4);
  st_set *s = st_open(mem, d, NULL, "w");
  ck_assert_ptr_null(st_read_f32(s, d, mem, st_at(s, 0)));
  expect_messages("w: error: tensor 't' is BOOL; weights must be F32, F16 or BF16 [E_W_DTYPE]");
  ck_assert_int_eq(memcmp(st_read_raw(s, d, mem, st_at(s, 0)), "1111", 4), 0);
  ck_assert(st_close(s, d));
}
END_TEST

/* The file loses its end, at every length, between opening and reading. */
START_TEST(notices_changes) {
  char data[64] = "";
  put_weights("w", "{\"t\":{\"dtype\":\"F32\",\"shape\":[16],\"data_offsets\":[0,64]}}", data,
              sizeof data);
  struct stat st;
  ck_assert_int_eq(stat("w", &st), 0);
  st_set *s = st_open(mem, d, NULL, "w");
  ck_assert_int_eq(truncate("w", st.st_size - 64 + _i), 0);
  ck_assert_ptr_null(st_read_f32(s, d, mem, st_at(s, 0)));
  ck_assert_int_eq(diag_first(d)->code, E_W_CHANGED);
  ck_assert(!st_close(s, d));
}
END_TEST

START_TEST(notices_growth) {
  put_weights("w", "{" PAIR("a", 0, 8) "}", NULL, 8);
  st_set *s = st_open(mem, d, NULL, "w");
  ck_assert_int_eq(truncate("w", 1000), 0);
  ck_assert_ptr_nonnull(st_read_f32(s, d, mem, st_at(s, 0)));
  ck_assert(!st_close(s, d));
  expect_messages("w: error: the file changed while it was read; try again [E_W_CHANGED]");
}
END_TEST

/* ---- writing ---- */

START_TEST(writes_what_it_reads) {
  float a[] = {1, 2, 3, 4, 5, 6};
  uint16_t h[] = {0x3c00};
  st_write_tensor t[] = {
      {.name = "a.weight", .dtype = "F32", .rank = 2, .dim = {2, 3}, .data = a, .size = sizeof a},
      {.name = "\"\\\n\u00e4", .dtype = "BF16", .rank = 0, .data = h, .size = sizeof h},
      {.name = "empty", .dtype = "I64", .rank = 2, .dim = {0, 7}, .data = NULL, .size = 0},
  };
  ck_assert(st_write(mem, d, "w", t, 3, "pt"));
  st_set *s = st_open(mem, d, NULL, "w");
  expect_messages("");
  ck_assert_uint_eq(st_count(s), 3);
  for (size_t i = 0; i < 3; i++) {
    const st_tensor *r = st_at(s, i);
    ck_assert_str_eq(r->name, t[i].name);
    ck_assert_str_eq(r->dtype, t[i].dtype);
    ck_assert_uint_eq(r->rank, t[i].rank);
    ck_assert_int_eq(memcmp(r->dim, t[i].dim, sizeof r->dim), 0);
    ck_assert_uint_eq(r->end - r->begin, t[i].size);
    if (t[i].size) ck_assert_int_eq(memcmp(st_read_raw(s, d, mem, r), t[i].data, t[i].size), 0);
  }
  ck_assert_uint_eq(st_at(s, 0)->begin % 8, 0);
  ck_assert(st_close(s, d));
  bytes first, second;
  ck_assert(file_read(mem, d, NULL, "w", 4096, &first));
  ck_assert(strstr((const char *)first.data + 8, "\"__metadata__\":{\"format\":\"pt\"}"));
  ck_assert(st_write(mem, d, "again", t, 3, "pt"));
  ck_assert(file_read(mem, d, NULL, "again", 4096, &second));
  ck_assert_uint_eq(first.size, second.size);
  ck_assert_int_eq(memcmp(first.data, second.data, first.size), 0);
  ck_assert(st_write(mem, d, "none", NULL, 0, NULL));
  s = st_open(mem, d, NULL, "none");
  ck_assert_uint_eq(st_count(s), 0);
  ck_assert(st_close(s, d));
  expect_messages("");
}
END_TEST

static const struct {
  st_write_tensor tensor;
  const char *messages;
} unwritable[] = {
    {{.name = "a", .dtype = "F31", .rank = 1, .dim = {1}, .size = 4},
     "w: error: tensor 'a': unknown dtype 'F31'; known are " DTYPES " [E_W_DTYPE]"},
    {{.name = "a", .dtype = "F32", .rank = 1, .dim = {1}, .size = 5},
     "w: error: tensor 'a': 1 elements of F32 need 4 bytes, 5 are given [E_W_SIZE]"},
    {{.name = "a", .dtype = "F32", .rank = 1, .dim = {-1}, .size = 4},
     "w: error: tensor 'a': dimension 0 is -1, below 0 [E_W_DIM]"},
    {{.name = "a", .dtype = "F32", .rank = 9, .dim = {1}, .size = 4},
     "w: error: tensor 'a' has 9 dimensions; the limit is 8 [E_LIMIT]"},
    {{.name = "", .dtype = "U8", .rank = 1, .dim = {0}},
     "w: error: the tensor name '' has 0 bytes; a name has 1 to 512 [E_W_NAME]"},
    {{.name = "__metadata__", .dtype = "U8", .rank = 1, .dim = {0}},
     "w: error: no tensor may be called '__metadata__' [E_W_NAME]"},
    {{.name = "\xff", .dtype = "U8", .rank = 1, .dim = {0}},
     "w: error: tensor '\xff': its name is not valid UTF-8 [E_W_NAME]"},
    {{.name = "good", .dtype = "U8", .rank = 1, .dim = {0}},
     "w: error: tensor 'good' is given twice [E_W_DUP]"},
};

START_TEST(refuses_to_write) {
  st_write_tensor t[] = {{.name = "good", .dtype = "U8", .rank = 1, .dim = {0}},
                         unwritable[_i].tensor};
  ck_assert(!st_write(mem, d, "w", t, 2, NULL));
  expect_messages(unwritable[_i].messages);
  ck_assert_int_eq(file_count(), 0);
}
END_TEST

START_TEST(reports_failing_writes) {
  st_write_tensor t = {.name = "a", .dtype = "U8", .rank = 1, .dim = {4}, .data = "abc", .size = 4};
  ck_assert(!st_write(mem, d, "none/w", &t, 1, NULL));
  ck_assert(!st_write(mem, d, "/dev/full", &t, 1, NULL));
  expect_messages("none/w: error: cannot make a file in this folder: No such file or directory "
                  "[E_OPEN]\n"
                  "/dev/full: error: cannot write: No space left on device [E_WRITE]");
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof *(table)))

int main(void) {
  Suite *s = suite_create("safetensors");
  TCase *t = untimed_case("safetensors");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, reads_a_file);
  tcase_add_loop_test(t, accepts, 0, ROWS(accepted));
  tcase_add_test(t, accepts_every_dtype);
  tcase_add_loop_test(t, refuses, 0, ROWS(refused));
  tcase_add_loop_test(t, refuses_lengths, 0, ROWS(lengths));
  tcase_add_test(t, refuses_every_truncation);
  tcase_add_test(t, refuses_a_sparse_terabyte);
  tcase_add_test(t, names_of_512_bytes);
  tcase_add_test(t, limit_of_tensors);
  tcase_add_test(t, limits_of_json);
  tcase_add_test(t, twenty_errors_are_enough);
  tcase_add_test(t, refuses_what_is_no_file);
  tcase_add_loop_test(t, widens_every_half, 0, ROWS(halves));
  tcase_add_loop_test(t, refuses_every_half_that_is_not_finite, 0, ROWS(halves));
  tcase_add_test(t, widens_long_tensors);
  tcase_add_test(t, widening_keeps_the_elements_alone);
  tcase_add_test(t, refuses_floats_that_are_not_finite);
  tcase_add_test(t, refuses_other_types_as_floats);
  tcase_add_loop_test(t, notices_changes, 0, 64);
  tcase_add_test(t, notices_growth);
  tcase_add_test(t, writes_what_it_reads);
  tcase_add_loop_test(t, refuses_to_write, 0, ROWS(unwritable));
  tcase_add_test(t, reports_failing_writes);
  suite_add_tcase(s, t);
  return run_suite(s);
}
