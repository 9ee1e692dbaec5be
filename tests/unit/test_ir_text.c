/* The IR's text: round trips, hex floats, and every error of the parser with its whole message. */
#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include <float.h>
#include <math.h>

#include "ir/hexfloat.h"
#include "ir/ir.h"

/* Everything that the text form has, in the printer's spelling. */
static const char sample[] =
    "spcc-ir 1\n"
    "model tiny max_batch=2 max_sequence=16\n"
    "input %x : f32[B,S,2]\n"
    "input %mask : i32[B,S] optional=1\n"
    "const @up.weight : f32[2,2] = 0x1p+0, 0x0p+0, -0x1.8p-3, -0x0p+0\n"
    "const @\"bias \\\"\\\\\\xc3\\xa9\" : f32[2] = 0x1p-149, 0x1.fffffep+127\n"
    "const @gamma : f32[2] = 0x1p+0, 0x1p+0\n"
    "%rows = pack %x, %mask : f32[N,2]\n"
    "%h = linear %rows, @up.weight, @\"bias \\\"\\\\\\xc3\\xa9\" {act=gelu_tanh} : f32[N,2]\n"
    "  part rows=0:1,1:2 cols=0:1 pattern=4x1 kernel=block fill=1 r=4 c=1 k_block=2\n"
    "  part rows=0:2 cols=0:2 pattern=unstructured kernel=gather fill=1 r=0 c=0 k_block=0\n"
    "%y = linear %h, @up.weight, _, %rows, @gamma, @gamma {eps=0x1.5p-40} : f32[N,2]\n"
    "%a = attention %y, %y, %y, %mask {heads=2, scale=0x1.6a09e667f3bcdp-1, causal=true} : "
    "f32[N,2]\n"
    "%out = unpack %a, %mask : f32[B,S,2]\n"
    "output \"last hidden\" = %out\n"
    "slot 0 = n_tile*512 + b_tile*0 + 64\n"
    "slot 1 = n_tile*512 + b_tile*64 + 0\n"
    "assign %rows = 0\n"
    "assign %h = 1\n"
    "end\n";

static ir_graph *parse_n(const char *text, size_t size) {
  return ir_parse(mem, d, "t.ir", text, size, NULL, NULL);
}

static ir_graph *parse(const char *text) {
  return parse_n(text, strlen(text));
}

/* Forgets all memory and messages; for tests of many texts. */
static void renew(void) {
  arena_free(mem);
  mem = arena_new((size_t)1 << 28, scratch_full, NULL);
  d = diag_new(mem);
}

/* ---- hex floats ---- */

START_TEST(hex_floats_are_canonical) {
  static const struct {
    double x;
    const char *text;
  } rows[] = {{0.0, "0x0p+0"},
              {-0.0, "-0x0p+0"},
              {1.0, "0x1p+0"},
              {-0.1875, "-0x1.8p-3"},
              {10.0, "0x1.4p+3"},
              {1e-12, "0x1.19799812dea11p-40"},
              {DBL_MAX, "0x1.fffffffffffffp+1023"},
              {DBL_MIN, "0x1p-1022"},
              {0x1p-1074, "0x1p-1074"},
              {0x1.8p-1073, "0x1.8p-1073"},
              {(double)FLT_MAX, "0x1.fffffep+127"},
              {0x1p-149, "0x1p-149"},
              {INFINITY, "inf"},
              {-INFINITY, "-inf"},
              {NAN, "nan"}};
  char text[HEXFLOAT_MAX];
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    ck_assert_str_eq(hexfloat_print(rows[i].x, text), rows[i].text);
}
END_TEST

/* Reads all of `text`; NAN when it is refused. */
static double read_float(const char *text) {
  double x = 0;
  const char *end = text + strlen(text), *next = hexfloat_read(text, end, &x);
  return next == end ? x : NAN;
}

START_TEST(hex_floats_are_read_exactly) {
  static const struct {
    const char *text;
    double x;
  } rows[] = {{"0x1p+0", 1},
              {"0x1p0", 1},
              {"0x10p-4", 1},
              {"0x0.001p12", 1},
              {"-0xap1", -20},
              {"0x1.8p+1", 3},
              {"0x0p+9999999999", 0},
              {"0x1p-1074", 0x1p-1074},
              {"0x1.fffffffffffffp+1023", DBL_MAX},
              {"0x000000000000000000000001p+0", 1},
              {"0x1.000000000000000000000000p+0", 1},
              {"0x10000000000000000000p-76", 1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    ck_assert_msg(read_float(rows[i].text) == rows[i].x, "%s", rows[i].text);
  ck_assert(signbit(read_float("-0x0p+0")));
}
END_TEST

START_TEST(hex_floats_that_are_none_are_refused) {
  static const char *const bad[] = {"",
                                    "-",
                                    "0",
                                    "0x",
                                    "0xp0",
                                    "1p0",
                                    "0x1",
                                    "0x1.p0",
                                    "0x.8p0",
                                    "0x1p",
                                    "0x1p+",
                                    "0x1p+-1",
                                    "nan",
                                    "inf",
                                    "-nan",
                                    "1.5",
                                    "0X1p0",
                                    "0x1P0",
                                    "0xAp0",
                                    "+0x1p0",
                                    "--0x1p0",
                                    "0x1p+1024",
                                    "0x1p-1075",
                                    "0x1.8p-1074",
                                    "0x1.00000000000008p+0",
                                    "0x20000000000001p+0",
                                    "0x1p+99999999999999999999",
                                    "0x1p-99999999999999999999",
                                    "0x100000000000000001p+0",
                                    "0x1,5p0"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ck_assert_msg(isnan(read_float(bad[i])), "%s", bad[i]);
}
END_TEST

static uint64_t state;

/* splitmix64 */
static uint64_t draw(void) {
  uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static uint32_t below(uint32_t n) {
  return (uint32_t)(draw() % n);
}

START_TEST(random_floats_round_trip) {
  state = 1;
  for (int i = 0; i < 200000; i++) {
    uint64_t bits = draw();
    if (i % 4 == 0) bits &= UINT64_C(0x800fffffffffffff); /* denormals */
    double x, y = 0;
    char text[HEXFLOAT_MAX];
    memcpy(&x, &bits, sizeof x);
    if (!isfinite(x)) continue;
    hexfloat_print(x, text);
    const char *end = hexfloat_read(text, text + strlen(text), &y);
    ck_assert_msg(end && !*end && memcmp(&x, &y, sizeof x) == 0, "%s", text);
    ck_assert_msg(strtod(text, NULL) == x, "%s", text); /* the libc of the tests reads the same */
  }
}
END_TEST

/* ---- round trips ---- */

START_TEST(the_sample_round_trips) {
  ir_graph *g = parse(sample);
  expect_messages("");
  ck_assert_ptr_nonnull(g);
  ck_assert_str_eq(ir_print(g, mem), sample);
}
END_TEST

START_TEST(the_sample_is_read_right) {
  const ir_graph *g = parse(sample);
  ck_assert_uint_eq(g->count, 10);
  ck_assert_int_eq(g->max_sequence, 16);
  const ir_value *mask = ir_at(g, 1), *bias = ir_at(g, 3), *h = ir_at(g, 6), *y = ir_at(g, 7);
  ck_assert(mask->optional && mask->absent == 1 && !ir_at(g, 0)->optional);
  ck_assert_str_eq(bias->name, "bias \"\\\303\251");
  ck_assert(bias->tensor->data[0] == 0x1p-149f && bias->tensor->data[1] == FLT_MAX);
  ck_assert_int_eq(h->attr[A_act].i, ACT_GELU_TANH);
  ck_assert_uint_eq(h->part_count, 2);
  ck_assert_uint_eq(h->parts[0].row_ranges, 2);
  ck_assert_uint_eq(h->parts[0].rows[1].lo, 1);
  ck_assert_uint_eq(h->parts[0].rows[1].hi, 2);
  ck_assert(h->parts[0].kernel == K_block && h->parts[0].r == 4 && h->parts[0].k_block == 2);
  ck_assert(h->slot == 1 && y->slot == IR_NO_SLOT);
  ck_assert_double_eq(y->attr[A_eps].f, 0x1.5p-40);
  ck_assert_uint_eq(y->in[2], IR_NONE);
  ck_assert_uint_eq(y->loc.line, 12);
  ck_assert_uint_eq(y->loc.column, 1);
  ck_assert_str_eq(y->loc.file, "t.ir");
  ck_assert_uint_eq(g->slots[1].per_b_tile, 64);
  ck_assert_str_eq(g->outputs[0].name, "last hidden");
}
END_TEST

START_TEST(blanks_and_comments_are_free) {
  static const char loose[] = "; a comment first\n\n  spcc-ir   1 ; here too\n"
                              "model \"m\" max_batch = 1 max_sequence\t=\t4\n"
                              "input %\"x\":i32[B,S];x\n"
                              "const@c:f32[1]=0x10p-4\n\n"
                              "%y=pack%x:i32[N]\n"
                              "%z = gelu %r { } : f32[N,1]\n";
  static const char tight[] = "spcc-ir 1\nmodel m max_batch=1 max_sequence=4\ninput %x : i32[B,S]\n"
                              "const @c : f32[1] = 0x1p+0\n%y = pack %x : i32[N]\nend\n";
  const char *text =
      arena_printf(mem, "%.*send\n ; and last\n", (int)(strstr(loose, "%z") - loose), loose);
  ir_graph *g = parse(text);
  expect_messages("");
  ck_assert_str_eq(ir_print(g, mem), tight);
}
END_TEST

START_TEST(broken_graphs_are_printed_too) {
  ir_graph *g = ir_graph_new(mem, "");
  ir_id none = IR_NONE, beyond = 7;
  ir_add_op(g, "a", OP_relu, &beyond, 1);
  ir_add_op(g, "b", OP_relu, &none, 1);
  g->values[1].nin = 1;
  g->values[1].attr[A_act].i = 99;
  g->values[1].op = OP_COUNT;
  g->values[1].type.dtype = 9;
  ck_assert_str_eq(ir_print(g, mem), "spcc-ir 1\nmodel \"\" max_batch=1 max_sequence=512\n"
                                     "%a = relu %? : f32[]\n%b = ? _ {act=99} : ?[]\nend\n");
}
END_TEST

/* ---- constants by hash ---- */

typedef struct weights {
  const char *name;
  const float *data;
  unsigned asked;
} weights;

static bool resolve(void *context, const char *name, const ir_type *type, const float **data) {
  weights *w = context;
  w->asked++;
  if (strcmp(name, w->name) != 0 || type->rank != 2) return false;
  *data = w->data;
  return true;
}

static ir_graph *large_graph(float *data) {
  ir_graph *g = ir_graph_new(mem, "large");
  for (int i = 0; i < 66; i++)
    data[i] = (float)i;
  ir_add_const(g, "small", ir_type2(8, 8), data);
  ir_add_const(g, "large", ir_type2(13, 5), data);
  return g;
}

START_TEST(large_constants_go_by_hash) {
  float data[66];
  ir_graph *g = large_graph(data);
  const char *text = ir_print(g, mem);
  sha256 hash = sha256_of(data, 65 * sizeof *data);
  ck_assert_ptr_nonnull(strstr(
      text, arena_printf(mem, "const @large : f32[13,5] sha256:%s\n", sha256_hex(mem, &hash))));
  ck_assert_ptr_nonnull(strstr(text, "const @small : f32[8,8] = 0x0p+0, 0x1p+0, "));
  weights w = {"large", data, 0};
  ir_graph *again = ir_parse(mem, d, "t.ir", text, strlen(text), resolve, &w);
  expect_messages("");
  ck_assert_uint_eq(w.asked, 1);
  ck_assert_ptr_eq(ir_at(again, 1)->tensor->data, data);
  ck_assert_str_eq(ir_print(again, mem), text);
}
END_TEST

static bool resolve_with_error(void *context, const char *name, const ir_type *type,
                               const float **data) {
  (void)context, (void)type, (void)data;
  return diag_error(d, loc_file("w"), E_NONFINITE, "tensor '%s': element 0 is NaN", name);
}

START_TEST(unusable_weights_are_one_error) {
  float data[66];
  const char *text = ir_print(large_graph(data), mem);
  ck_assert_ptr_null(ir_parse(mem, d, "t.ir", text, strlen(text), resolve_with_error, NULL));
  expect_messages("w: error: tensor 'large': element 0 is NaN [E_NONFINITE]");
}
END_TEST

START_TEST(other_weights_are_refused) {
  float data[66];
  const char *text = ir_print(large_graph(data), mem);
  weights w = {"larger", data, 0};
  ck_assert_ptr_null(parse(text));
  expect_messages("t.ir:4:7: error: constant 'large': there are no weights of this name and type "
                  "[E_W_MISSING]");
  ck_assert_ptr_null(ir_parse(mem, d, "t.ir", text, strlen(text), resolve, &w));
  expect_messages("t.ir:4:7: error: constant 'large': there are no weights of this name and type "
                  "[E_W_MISSING]");
  w.name = "large";
  data[64] = -0.0f;
  sha256 hash = sha256_of(data, 65 * sizeof *data);
  ck_assert_ptr_null(ir_parse(mem, d, "t.ir", text, strlen(text), resolve, &w));
  expect_messages(arena_printf(mem,
                               "t.ir:4:7: error: constant 'large': the weights have the SHA-256 %s "
                               "[E_IR]",
                               sha256_hex(mem, &hash)));
}
END_TEST

/* ---- errors ---- */

#define HEAD "spcc-ir 1\nmodel m max_batch=1 max_sequence=4\n"
#define XYW                                                                                        \
  HEAD "input %x : f32[B,S,2]\nconst @w : f32[1,2] = 0x1p+0, 0x0p+0\n%r = pack %x : f32[N,2]\n"

static const struct {
  const char *text, *message;
} errors[] = {
    /* version and model */
    {"", "t.ir: error: the text has to begin with 'spcc-ir 1' [E_IR_VERSION]"},
    {"; nothing\n", "t.ir:1:1: error: the text has to begin with 'spcc-ir 1' [E_IR_VERSION]"},
    {"model m\n", "t.ir:1:1: error: the text has to begin with 'spcc-ir 1' [E_IR_VERSION]"},
    {"spcc-irx 1\n", "t.ir:1:1: error: the text has to begin with 'spcc-ir 1' [E_IR_VERSION]"},
    {"spcc-ir 2\n", "t.ir:1:9: error: version 2; this spcc reads version 1 [E_IR_VERSION]"},
    {"spcc-ir 0\n", "t.ir:1:9: error: version 0; this spcc reads version 1 [E_IR_VERSION]"},
    {"spcc-ir one\n", "t.ir:1:9: error: expected a version, found 'one' [E_IR]"},
    {"spcc-ir\n", "t.ir:1:8: error: expected a version, found the end of the line [E_IR]"},
    {"spcc-ir 99999999999999999999\n",
     "t.ir:1:9: error: a version has to be in 0 … 9223372036854775807 [E_IR]"},
    {"spcc-ir 1 1\n", "t.ir:1:11: error: expected the end of the line, found '1' [E_IR]"},
    {"spcc-ir 1\n", "t.ir:1:10: error: the text ends before its model line [E_IR]"},
    {"spcc-ir 1\nmodel\n", "t.ir:2:6: error: expected a name, found the end of the line [E_IR]"},
    {"spcc-ir 1\ninput %x : f32[B,S,1]\n",
     "t.ir:2:1: error: expected 'model', found 'input' [E_IR]"},
    {"spcc-ir 1\nmodel m max_batch=0 max_sequence=4\n",
     "t.ir:2:19: error: max_batch has to be in 1 … 2147483647 [E_IR]"},
    {"spcc-ir 1\nmodel m max_batch=1 max_sequence=2147483648\n",
     "t.ir:2:34: error: max_sequence has to be in 1 … 2147483647 [E_IR]"},
    {"spcc-ir 1\nmodel m max_sequence=1\n",
     "t.ir:2:9: error: expected 'max_batch', found 'max_sequence' [E_IR]"},
    {"spcc-ir 1\nmodel m max_batch 1\n", "t.ir:2:19: error: expected '=', found '1' [E_IR]"},
    /* lines */
    {HEAD, "t.ir:2:35: error: the text ends before its line 'end' [E_IR]"},
    {HEAD "end", "t.ir:3:1: error: the last line has no line end; is the text cut off? [E_IR]"},
    {HEAD "end\nend\n", "t.ir:4:1: error: text after the end [E_IR]"},
    {HEAD "end now\n", "t.ir:3:5: error: expected the end of the line, found 'now' [E_IR]"},
    {HEAD "frobnicate\n", "t.ir:3:1: error: unknown statement 'frobnicate' [E_IR]"},
    {HEAD "@w = 1\n", "t.ir:3:1: error: expected a statement or %name = …, found '@' [E_IR]"},
    {HEAD "end\r\n", "t.ir:3:4: error: expected the end of the line, found byte 0x0d [E_IR]"},
    {HEAD "output \303\251 = 1\n", "t.ir:3:8: error: expected a name, found byte 0xc3 [E_IR]"},
    /* names */
    {HEAD "input %\"\" : i32[B,S]\n", "t.ir:3:8: error: an empty name [E_IR]"},
    {HEAD "input %\"a : i32[B,S]\n", "t.ir:3:8: error: a quoted name without its end [E_IR]"},
    {HEAD "input %\"a\\n\" : i32[B,S]\n",
     "t.ir:3:11: error: expected \\\", \\\\ or \\x and two hex digits (not 00) in a quoted name "
     "[E_IR]"},
    {HEAD "input %\"\303\251\\x0g\" : i32[B,S]\n",
     "t.ir:3:11: error: expected \\\", \\\\ or \\x and two hex digits (not 00) in a quoted name "
     "[E_IR]"},
    {HEAD "input %\"\\x00\" : i32[B,S]\n",
     "t.ir:3:10: error: expected \\\", \\\\ or \\x and two hex digits (not 00) in a quoted name "
     "[E_IR]"},
    {HEAD "input %\"\\\n",
     "t.ir:3:10: error: expected \\\", \\\\ or \\x and two hex digits (not 00) in a quoted name "
     "[E_IR]"},
    {HEAD "input x : i32[B,S]\n", "t.ir:3:7: error: expected '%', found 'x' [E_IR]"},
    {HEAD "input % : i32[B,S]\n", "t.ir:3:9: error: expected a name, found ':' [E_IR]"},
    /* inputs and constants */
    {HEAD "input %x : i32[B,S\n",
     "t.ir:3:12: error: expected a type such as f32[N,768], found 'i32' [E_IR]"},
    {HEAD "input %x i32[B,S]\n", "t.ir:3:10: error: expected ':', found 'i32' [E_IR]"},
    {HEAD "input %x : i32[B,S] optional\n",
     "t.ir:3:29: error: expected '=', found the end of the line [E_IR]"},
    {HEAD "input %x : i32[B,S] optional=2147483648\n",
     "t.ir:3:30: error: a 32-bit integer has to be in -2147483648 … 2147483647 [E_IR]"},
    {HEAD "input %x : i32[B,S] optional=01\n",
     "t.ir:3:30: error: expected a 32-bit integer, found '01' [E_IR]"},
    {HEAD "const @w : i32[1] = 1\n", "t.ir:3:7: error: constants are f32 [E_IR]"},
    {HEAD "const @w : f32[0] = 1\n",
     "t.ir:3:21: error: only constants of 1 … 64 elements stand in the text; larger ones by hash "
     "[E_IR]"},
    {HEAD "const @w : f32[5,13] = 0x0p+0\n",
     "t.ir:3:24: error: only constants of 1 … 64 elements stand in the text; larger ones by hash "
     "[E_IR]"},
    {HEAD "const @w : f32[N,2] = 0x0p+0\n",
     "t.ir:3:23: error: only constants of 1 … 64 elements stand in the text; larger ones by hash "
     "[E_IR]"},
    {HEAD "const @w : f32[2] = 0x0p+0\n",
     "t.ir:3:27: error: expected ',', found the end of the line [E_IR]"},
    {HEAD "const @w : f32[1] = 0x0p+0, 0x0p+0\n",
     "t.ir:3:27: error: expected the end of the line, found ',' [E_IR]"},
    {HEAD "const @w : f32[1] = 1.5\n",
     "t.ir:3:21: error: expected a finite hexadecimal float such as 0x1.8p-3, found '1.5' [E_IR]"},
    {HEAD "const @w : f32[1] = nan\n",
     "t.ir:3:21: error: expected a finite hexadecimal float such as 0x1.8p-3, found 'nan' [E_IR]"},
    {HEAD "const @w : f32[1] = 0x1.000001p+0\n",
     "t.ir:3:21: error: this number is no 32-bit float [E_IR]"},
    {HEAD "const @w : f32[1] = 0x1p+128\n",
     "t.ir:3:21: error: this number is no 32-bit float [E_IR]"},
    {HEAD "const @w : f32[1] = 0x1p-150\n",
     "t.ir:3:21: error: this number is no 32-bit float [E_IR]"},
    {HEAD "const @w : f32[100] sha256:00\n",
     "t.ir:3:28: error: expected 64 hex digits, found '00' [E_IR]"},
    {HEAD "const @w : f32[100] "
          "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeG\n",
     "t.ir:3:28: error: expected 64 lower-case hex digits, found "
     "'0123456789abcdef0123456789abcdef' [E_IR]"},
    {HEAD "const @w : f32[4294967296,4294967296] "
          "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
     "t.ir:3:7: error: constant 'w': f32[4294967296,4294967296] is no possible size [E_DIM]"},
    {HEAD "const @w : f32[100] md5:00\n",
     "t.ir:3:21: error: expected 'sha256', found 'md5' [E_IR]"},
    /* definitions and uses */
    {XYW "%x = relu %r : f32[N,2]\n",
     "t.ir:6:1: error: %x is defined twice [E_IR_SSA]\nt.ir:3:7: note: the first definition is "
     "here"},
    {XYW "const @w : f32[1] = 0x0p+0\n",
     "t.ir:6:7: error: @w is defined twice [E_IR_SSA]\nt.ir:4:7: note: the first definition is "
     "here"},
    {XYW "%y = relu %z : f32[N,2]\n",
     "t.ir:6:11: error: %z is used, but not defined before [E_IR_SSA]"},
    {XYW "%y = relu %y : f32[N,2]\n",
     "t.ir:6:11: error: %y is used, but not defined before [E_IR_SSA]"},
    {XYW "%y = linear %r, %w : f32[N,1]\n",
     "t.ir:6:17: error: %w is used, but not defined before [E_IR_SSA]"},
    {XYW "%y = linear %r, @x : f32[N,1]\n",
     "t.ir:6:17: error: @x is used, but not defined before [E_IR_SSA]"},
    {XYW "output y = %y\n", "t.ir:6:12: error: %y is used, but not defined before [E_IR_SSA]"},
    {XYW "output y = @w\n", "t.ir:6:12: error: expected '%', found '@' [E_IR]"},
    {XYW "assign %y = 0\n", "t.ir:6:8: error: %y is used, but not defined before [E_IR_SSA]"},
    /* ops */
    {XYW "%y = conv %r : f32[N,2]\n", "t.ir:6:6: error: unknown op 'conv' [E_OP]"},
    {XYW "%y relu %r : f32[N,2]\n", "t.ir:6:4: error: expected '=', found 'relu' [E_IR]"},
    {XYW "%y = \n", "t.ir:6:6: error: expected an op, found the end of the line [E_IR]"},
    {XYW "%y = relu : f32[N,2]\n", "t.ir:6:6: error: relu lacks its operand x; it takes: x [E_IR]"},
    {XYW "%y = relu %r, %r : f32[N,2]\n",
     "t.ir:6:15: error: relu takes at most 1 operands: x [E_IR]"},
    {XYW "%y = linear %r : f32[N,2]\n",
     "t.ir:6:6: error: linear lacks its operand w; it takes: x @w @bias? residual? @gamma? @beta? "
     "[E_IR]"},
    {XYW "%y = linear _, @w : f32[N,1]\n",
     "t.ir:6:6: error: linear lacks its operand x; it takes: x @w @bias? residual? @gamma? @beta? "
     "[E_IR]"},
    {XYW "%y = relu %r,  : f32[N,2]\n",
     "t.ir:6:16: error: relu takes at most 1 operands: x [E_IR]"},
    {XYW "%y = add %r,  : f32[N,2]\n", "t.ir:6:15: error: expected '%', found ':' [E_IR]"},
    {XYW "%y = relu r : f32[N,2]\n", "t.ir:6:11: error: expected '%', found 'r' [E_IR]"},
    {XYW "%y = relu %r\n", "t.ir:6:13: error: expected ':', found the end of the line [E_IR]"},
    {XYW "%y = relu %r : f32[N,3]\n",
     "t.ir:6:14: error: the result of relu is f32[N,2], not f32[N,3] [E_IR]"},
    {XYW "%y = relu %r : i32[N]\n",
     "t.ir:6:14: error: the result of relu is f32[N,2], not i32[N] [E_IR]"},
    {XYW "%y = relu %x : f32[N,2]\n",
     "t.ir:6:1: error: relu 'y': operand x is f32[B,S,2], expected f32[D,C] [E_SHAPE]"},
    {XYW "%y = relu %r : f32[N,2] : f32[N,2]\n",
     "t.ir:6:25: error: expected the end of the line, found ':' [E_IR]"},
    /* attributes */
    {XYW "%y = relu %r {form=erf} : f32[N,2]\n",
     "t.ir:6:15: error: relu has no attribute 'form'; it has: none [E_ATTR]"},
    {XYW "%y = gelu %r {from=erf} : f32[N,2]\n",
     "t.ir:6:15: error: gelu has no attribute 'from'; it has: form [E_ATTR]"},
    {XYW "%y = gelu %r {form=elf} : f32[N,2]\n",
     "t.ir:6:20: error: form has no value 'elf' (gelu: erf (exact) or tanh (approximation)) "
     "[E_ATTR]"},
    {XYW "%y = gelu %r {form=erf, form=erf} : f32[N,2]\n",
     "t.ir:6:25: error: attribute 'form' stands twice [E_IR]"},
    {XYW "%y = gelu %r {form} : f32[N,2]\n", "t.ir:6:19: error: expected '=', found '}' [E_IR]"},
    {XYW "%y = gelu %r {form=erf : f32[N,2]\n", "t.ir:6:24: error: expected '}', found ':' [E_IR]"},
    {XYW "%y = gelu %r {} : f32[N,2]\n",
     "t.ir:6:15: error: expected an attribute, found '}' [E_IR]"},
    {XYW "%y = attention %r, %r, %r {heads=two} : f32[N,2]\n",
     "t.ir:6:34: error: expected an integer, found 'two' [E_IR]"},
    {XYW "%y = attention %r, %r, %r {heads=9223372036854775808} : f32[N,2]\n",
     "t.ir:6:34: error: an integer has to be in -9223372036854775807 … 9223372036854775807 [E_IR]"},
    {XYW "%y = attention %r, %r, %r {heads=3} : f32[N,2]\n",
     "t.ir:6:1: error: attention 'y': 3 heads do not divide the 2 channels of q [E_ATTR]"},
    {XYW "%y = attention %r, %r, %r {causal=yes} : f32[N,2]\n",
     "t.ir:6:35: error: causal has no value 'yes' (a query sees the keys up to its own position) "
     "[E_ATTR]"},
    {XYW "%y = attention %r, %r, %r {scale=0.5} : f32[N,2]\n",
     "t.ir:6:34: error: expected a finite hexadecimal float such as 0x1.8p-3, found '0.5' [E_IR]"},
    /* parts */
    {XYW "part rows=0:1\n", "t.ir:6:6: error: a part has to follow its linear [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\noutput y = %y\npart rows=0:1\n",
     "t.ir:8:6: error: a part has to follow its linear [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\npart rows=0\n",
     "t.ir:7:12: error: expected ':', found the end of the line [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\npart rows=4294967295:4294967296\n",
     "t.ir:7:11: error: an index has to be in 0 … 4294967294 [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\npart rows=0:1 cols=0:2 pattern=4y1\n",
     "t.ir:7:32: error: '4y1' is no sparsity pattern [E_PATTERN]"},
    {XYW "%y = linear %r, @w : f32[N,1]\npart rows=0:1 cols=0:2 pattern=4x1 kernel=csr\n",
     "t.ir:7:43: error: unknown kernel 'csr' [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\npart rows=0:1 cols=0:2 pattern=4x1 kernel=block fill=-1\n",
     "t.ir:7:54: error: a number has to be in 0 … 4294967294 [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\npart rows=0:1 cols=0:2 pattern=4x1 kernel=block r=1\n",
     "t.ir:7:49: error: expected 'fill', found 'r' [E_IR]"},
    {XYW "%y = linear %r, @w : f32[N,1]\n"
         "part rows=0:1 cols=0:2 pattern=4x1 kernel=block fill=1 r=1 c=1 k_block=\n",
     "t.ir:7:72: error: expected a number, found the end of the line [E_IR]"},
    /* outputs and the plan */
    {XYW "output = %r\n", "t.ir:6:8: error: expected a name, found '=' [E_IR]"},
    {XYW "slot 1 = n_tile*1 + b_tile*0 + 0\n",
     "t.ir:6:6: error: expected slot 0, found slot 1 [E_IR]"},
    {XYW "slot 0 = n_tile*-1 + b_tile*0 + 0\n",
     "t.ir:6:17: error: a number of bytes has to be in 0 … 9223372036854775807 [E_IR]"},
    {XYW "slot 0 = n_tile*1 + 64\n", "t.ir:6:21: error: expected 'b_tile', found '64' [E_IR]"},
    {XYW "slot 0 = n_tile*1 + b_tile*0\n",
     "t.ir:6:29: error: expected '+', found the end of the line [E_IR]"},
    {XYW "assign %r = 0\nassign %r = 0\n",
     "t.ir:7:8: error: this value has its slot already [E_IR]"},
    {XYW "assign %r = 4294967295\n", "t.ir:6:13: error: a slot has to be in 0 … 4294967294 [E_IR]"},
};

START_TEST(errors_are_located) {
  ck_assert_ptr_null(parse(errors[_i].text));
  expect_messages(errors[_i].message);
}
END_TEST

START_TEST(zero_bytes_are_refused) {
  static const char in_name[] = HEAD "input %\"a\0b\" : i32[B,S]\n", between[] = HEAD "end\0\n";
  ck_assert_ptr_null(parse_n(in_name, sizeof in_name - 1));
  expect_messages("t.ir:3:11: error: a zero byte in a quoted name [E_IR]");
  ck_assert_ptr_null(parse_n(between, sizeof between - 1));
  expect_messages("t.ir:3:4: error: expected the end of the line, found byte 0x00 [E_IR]");
}
END_TEST

START_TEST(a_text_cut_anywhere_is_an_error) {
  for (size_t n = 0; n + 1 < sizeof sample; n++) {
    char *cut = malloc(n + 1); /* its own block, so that a sanitizer sees reads behind it */
    memcpy(cut, sample, n);
    ck_assert_msg(!parse_n(cut, n), "%zu bytes", n);
    ck_assert_uint_eq(diag_errors(d), 1);
    free(cut);
    d = diag_new(mem);
  }
}
END_TEST

START_TEST(a_changed_byte_never_crashes) {
  static const char bytes[] = "\0\n %@_\"\\:,=*{}09aN[]-.;\377";
  for (size_t n = 0; n + 1 < sizeof sample; n++)
    for (size_t b = 0; b + 1 < sizeof bytes; b++) {
      char changed[sizeof sample];
      renew();
      memcpy(changed, sample, sizeof sample);
      changed[n] = bytes[b];
      ir_graph *g = parse_n(changed, sizeof sample - 1);
      ck_assert_msg(!g == (diag_errors(d) == 1), "byte %zu: 0x%02x", n, (unsigned char)bytes[b]);
      if (!g) continue;
      const char *text = ir_print(g, mem);
      ir_graph *again = parse(text);
      ck_assert_msg(again && strcmp(ir_print(again, mem), text) == 0, "%s", text);
    }
}
END_TEST

/* ---- limits ---- */

/* `n` copies of the character `c`. */
static const char *repeat(char c, size_t n) {
  char *s = arena_array(mem, char, n + 1);
  memset(s, c, n);
  return s;
}

START_TEST(texts_end_at_16_mib) {
  /* Comments of 64 KiB fill the text up. */
  char *text = arena_array(mem, char, IR_MAX_TEXT + 2);
  memset(text, ';', IR_MAX_TEXT + 1);
  for (size_t i = 0xffff; i < IR_MAX_TEXT; i += 0x10000)
    text[i] = '\n';
  static const char end[] = "\nend\n";
  memcpy(text, HEAD, sizeof HEAD - 1);
  memcpy(text + IR_MAX_TEXT - (sizeof end - 1), end, sizeof end - 1);
  ck_assert_ptr_nonnull(parse_n(text, IR_MAX_TEXT));
  text[IR_MAX_TEXT] = '\n';
  ck_assert_ptr_null(parse_n(text, IR_MAX_TEXT + 1));
  expect_messages("t.ir: error: IR text of over 16777216 bytes [E_LIMIT]");
}
END_TEST

START_TEST(lines_end_at_1_mib) {
  ck_assert_ptr_nonnull(parse(arena_printf(mem, HEAD "%s\nend\n", repeat(';', IR_MAX_LINE))));
  ck_assert_ptr_null(parse(arena_printf(mem, HEAD "%s\nend\n", repeat(';', IR_MAX_LINE + 1))));
  expect_messages("t.ir:3:1: error: a line of over 1048576 bytes [E_LIMIT]");
  ck_assert_ptr_null(parse(arena_printf(mem, HEAD "%s", repeat(';', IR_MAX_LINE + 1))));
  expect_messages("t.ir:3:1: error: a line of over 1048576 bytes [E_LIMIT]");
}
END_TEST

START_TEST(names_end_at_1024_bytes) {
  static const char *const plain = HEAD "input %%%s : i32[B,S]\nend\n";
  static const char *const quoted = HEAD "input %%\" %s\" : i32[B,S]\nend\n";
  ck_assert_ptr_nonnull(parse(arena_printf(mem, plain, repeat('a', IR_MAX_NAME))));
  ck_assert_ptr_null(parse(arena_printf(mem, plain, repeat('a', IR_MAX_NAME + 1))));
  expect_messages("t.ir:3:8: error: a word of over 1024 bytes [E_LIMIT]");
  ck_assert_ptr_nonnull(parse(arena_printf(mem, quoted, repeat('a', IR_MAX_NAME - 1))));
  ck_assert_ptr_null(parse(arena_printf(mem, quoted, repeat('a', IR_MAX_NAME))));
  expect_messages("t.ir:3:8: error: a name of over 1024 bytes [E_LIMIT]");
}
END_TEST

/* A text with `n` lines that `format` makes of their number, after `head`. */
static const char *lines(const char *head, uint32_t n, const char *format) {
  enum { LONGEST = 100 };
  char *text = arena_array(mem, char, strlen(head) + (size_t)n * LONGEST + 5), *at = text;
  at += sprintf(at, "%s", head);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  for (uint32_t i = 0; i < n; i++)
    at += sprintf(at, format, i);
#pragma GCC diagnostic pop
  sprintf(at, "end\n");
  return text;
}

START_TEST(values_end_at_65536) {
  ck_assert_ptr_nonnull(parse(lines(HEAD, IR_MAX_VALUES, "input %%v%u : i32[B,S]\n")));
  ck_assert_ptr_null(parse(lines(HEAD, IR_MAX_VALUES + 1, "input %%v%u : i32[B,S]\n")));
  expect_messages("t.ir:65539:7: error: more than 65536 values [E_LIMIT]");
}
END_TEST

START_TEST(outputs_and_slots_end_at_65536) {
  static const char *const output = "output o%u = %%r\n";
  static const char *const slot = "slot %u = n_tile*0 + b_tile*0 + 0\n";
  ck_assert_ptr_nonnull(parse(lines(XYW, IR_MAX_VALUES, output)));
  ck_assert_ptr_null(parse(lines(XYW, IR_MAX_VALUES + 1, output)));
  expect_messages("t.ir:65542:8: error: more than 65536 outputs [E_LIMIT]");
  ck_assert_ptr_nonnull(parse(lines(XYW, IR_MAX_VALUES, slot)));
  ck_assert_ptr_null(parse(lines(XYW, IR_MAX_VALUES + 1, slot)));
  expect_messages("t.ir:65542:6: error: more than 65536 slots [E_LIMIT]");
}
END_TEST

START_TEST(parts_end_at_250) {
  static const char *const head = XYW "%y = linear %r, @w : f32[N,1]\n";
  static const char *const line =
      "part rows=0:1 cols=0:2 pattern=dense kernel=dense fill=%u r=0 c=0 k_block=0\n";
  ir_graph *g = parse(lines(head, IR_MAX_PARTS, line));
  ck_assert_uint_eq(ir_at(g, 3)->part_count, IR_MAX_PARTS);
  ck_assert_uint_eq(ir_at(g, 3)->parts[249].fill, 249);
  ck_assert_ptr_null(parse(lines(head, IR_MAX_PARTS + 1, line)));
  expect_messages("t.ir:257:6: error: more than 250 parts [E_LIMIT]");
}
END_TEST

START_TEST(types_have_at_most_8_dimensions) {
  ck_assert_ptr_nonnull(parse(HEAD "const @c : f32[1,1,1,1,1,1,1,2] = 0x0p+0, 0x0p+0\nend\n"));
  ck_assert_ptr_null(parse(HEAD "const @c : f32[1,1,1,1,1,1,1,1,1] = 0x0p+0\nend\n"));
  expect_messages("t.ir:3:12: error: expected a type such as f32[N,768], found 'f32' [E_IR]");
}
END_TEST

START_TEST(a_chain_of_50000_ops_is_read) {
  const char *text = lines(HEAD "input %x : f32[B,S,1]\n%v0 = pack %x : f32[N,1]\n", 50000,
                           "%%\"v %u\" = relu %%v0 : f32[N,1]\n");
  ir_graph *g = parse(text);
  expect_messages("");
  ck_assert_uint_eq(g->count, 50002);
  ck_assert_str_eq(ir_print(g, mem), text);
}
END_TEST

/* ---- random graphs ---- */

/* A name that no other value has, often one to be quoted. */
static const char *random_name(uint32_t i) {
  char name[12];
  uint32_t n = below(sizeof name);
  for (uint32_t k = 0; k < n; k++)
    name[k] = (char)(below(4) ? 'a' + (int)below(26) : 1 + (int)below(255));
  return arena_printf(mem, "%.*s%u", (int)n, name, i);
}

static float random_float(void) {
  float x;
  do {
    uint32_t bits = (uint32_t)draw();
    memcpy(&x, &bits, sizeof x);
  } while (!isfinite(x));
  return x;
}

static ir_id random_const(ir_graph *g, uint32_t i, ir_type t) {
  size_t count;
  ck_assert(ir_type_elements(&t, &count));
  float *data = arena_array(mem, float, count);
  for (size_t k = 0; k < count; k++)
    data[k] = random_float();
  return ir_add_const(g, random_name(i), t, data);
}

static void random_parts(ir_value *v) {
  static const char *const patterns[] = {"dense", "unstructured", "4x1", "1x16", "2:4", "1:2x8"};
  v->part_count = below(4);
  v->parts = arena_array(mem, ir_part, v->part_count);
  for (uint32_t i = 0; i < v->part_count; i++) {
    ir_part *p = &v->parts[i];
    p->row_ranges = 1 + below(3);
    p->rows = arena_array(mem, ir_range, p->row_ranges);
    for (uint32_t k = 0; k < p->row_ranges; k++)
      p->rows[k] = (ir_range){below(9), below(9)};
    p->col_lo = below(9);
    p->col_hi = below(9);
    ck_assert(pattern_parse(patterns[below(6)], &p->pattern));
    p->kernel = (enum ir_kernel)below(KERNEL_COUNT);
    p->fill = below(9);
    p->r = (uint32_t)draw() - 1u;
    if (p->r == UINT32_MAX) p->r = 0;
    p->c = below(3);
  }
}

/* A graph whose types fit, while its parts and slots need not. */
static ir_graph *random_graph(uint64_t seed) {
  state = seed;
  ir_graph *g = ir_graph_new(mem, random_name(0));
  ir_id x = ir_add_input(g, random_name(1), ir_type_make(IR_F32, 2, (int64_t[]){DIM_N, 4}));
  for (uint32_t i = 2; i < 12; i++) {
    ir_id w = below(3) ? IR_NONE : random_const(g, 100 + i, ir_type2(4, 4));
    ir_id in[] = {x, w == IR_NONE ? x : w, IR_NONE, IR_NONE, w};
    enum ir_op op = w != IR_NONE ? OP_linear : below(2) ? OP_add : OP_gelu;
    x = ir_add_op(g, random_name(i), op, in, op == OP_gelu ? 1 : 2);
    ir_value *v = ir_at(g, x);
    if (op == OP_linear) {
      v->attr[A_act].i = below(5);
      v->attr[A_eps].f = fabs((double)random_float());
      v->attr[A_chunk_rows].i = (int64_t)(draw() >> 2);
      random_parts(v);
    }
    if (op == OP_gelu) v->attr[A_form].i = below(2);
    if (below(2)) v->slot = below(100);
  }
  if (below(2)) ir_add_output(g, random_name(3), x);
  g->slot_count = below(3);
  g->slots = arena_array(mem, ir_bytes, g->slot_count);
  for (uint32_t i = 0; i < g->slot_count; i++)
    g->slots[i] = (ir_bytes){draw() >> 1, below(100), draw() >> 40};
  return g;
}

START_TEST(random_graphs_round_trip) {
  for (uint64_t seed = 1; seed <= 2000; seed++) {
    const char *text = ir_print(random_graph(seed), mem);
    ir_graph *again = parse(text);
    expect_messages("");
    ck_assert_msg(strcmp(ir_print(again, mem), text) == 0, "seed %d", (int)seed);
    renew();
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("ir_text");
  TCase *c = untimed_case("ir_text");
  tcase_add_checked_fixture(c, scratch_setup, scratch_teardown);
  tcase_add_test(c, hex_floats_are_canonical);
  tcase_add_test(c, hex_floats_are_read_exactly);
  tcase_add_test(c, hex_floats_that_are_none_are_refused);
  tcase_add_test(c, random_floats_round_trip);
  tcase_add_test(c, the_sample_round_trips);
  tcase_add_test(c, the_sample_is_read_right);
  tcase_add_test(c, blanks_and_comments_are_free);
  tcase_add_test(c, broken_graphs_are_printed_too);
  tcase_add_test(c, large_constants_go_by_hash);
  tcase_add_test(c, unusable_weights_are_one_error);
  tcase_add_test(c, other_weights_are_refused);
  tcase_add_loop_test(c, errors_are_located, 0, sizeof errors / sizeof *errors);
  tcase_add_test(c, zero_bytes_are_refused);
  tcase_add_test(c, a_text_cut_anywhere_is_an_error);
  tcase_add_test(c, a_changed_byte_never_crashes);
  tcase_add_test(c, texts_end_at_16_mib);
  tcase_add_test(c, lines_end_at_1_mib);
  tcase_add_test(c, names_end_at_1024_bytes);
  tcase_add_test(c, values_end_at_65536);
  tcase_add_test(c, outputs_and_slots_end_at_65536);
  tcase_add_test(c, parts_end_at_250);
  tcase_add_test(c, types_have_at_most_8_dimensions);
  tcase_add_test(c, a_chain_of_50000_ops_is_read);
  tcase_add_test(c, random_graphs_round_trip);
  suite_add_tcase(s, c);
  return run_suite(s);
}
