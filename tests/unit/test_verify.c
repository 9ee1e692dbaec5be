/* The verifier: every rule of it, with its whole message. */
#include "tests/run_suite.h"
#include "tests/unit/scratch.h"

#include <math.h>

#include "ir/ir.h"

#define HEAD "spcc-ir 1\nmodel m max_batch=2 max_sequence=16\n"
#define X HEAD "input %x : f32[B,S,2]\ninput %mask : i32[B,S] optional=1\n"
#define W                                                                                          \
  "const @w : f32[2,2] = 0x1p+0, 0x0p+0, 0x0p+0, 0x1p+1\n"                                         \
  "const @c : f32[2] = 0x1p+0, 0x0p+0\n"
#define R X W "%r = pack %x, %mask : f32[N,2]\n"
#define TAIL "%o = unpack %r, %mask : f32[B,S,2]\noutput y = %o\nend\n"
/* A linear with parts, to be followed by them. */
#define CUT R "%h = linear %r, @w : f32[N,2]\n"
#define PART(rows, cols, pattern, kernel, fill)                                                    \
  "part rows=" rows " cols=" cols " pattern=" pattern " kernel=" kernel " fill=" fill              \
  " r=0 c=0 k_block=0\n"
/* Four values in a chain, to be followed by a plan. */
#define CHAIN                                                                                      \
  R "%h = linear %r, @w : f32[N,2]\n%k = linear %h, @w, _, %r : f32[N,2]\n"                        \
    "%b = first %k : f32[B,2]\n%o = unpack %b : f32[B,2]\noutput y = %o\n"
#define SLOTS "slot 0 = n_tile*512 + b_tile*0 + 0\nslot 1 = n_tile*512 + b_tile*512 + 64\n"

static ir_graph *parse(const char *text) {
  ir_graph *g = ir_parse(mem, d, "t.ir", text, strlen(text), NULL, NULL);
  if (!g) expect_messages("");
  return g;
}

/* ---- graphs that text can spell ---- */

static const struct {
  const char *text, *message;
} cases[] = {
    {R TAIL, ""},
    {R "%h = linear %r, @w, @c, _, @c, @c {act=gelu, chunk_rows=16} : f32[N,2]\n"
       "%g = linear %h, @w, _, %r {eps=0x0p+0} : f32[N,2]\n" TAIL,
     ""},
    /* the whole graph */
    {"spcc-ir 1\nmodel m max_batch=65536 max_sequence=32768\ninput %x : f32[B,S,2]\nend\n",
     "t.ir: error: max_batch=65536 times max_sequence=32768 is over 2147483647 tokens "
     "[E_OVERFLOW]"},
    {HEAD "end\n", "spcc: error: the graph has no input [E_GRAPH]\n"
                   "spcc: error: the graph has no output [E_GRAPH]"},
    {X "end\n", "t.ir: error: the graph has no output [E_GRAPH]"},
    {HEAD "%p = positions : i32[N]\nend\n", "t.ir: error: the graph has no input [E_GRAPH]\n"
                                            "t.ir: error: the graph has no output [E_GRAPH]"},
    {R "%o = unpack %r : f32[B,S,2]\noutput y = %o\n"
       "%p = unpack %r : f32[B,S,2]\noutput y = %p\nend\n",
     "t.ir: error: two outputs are named 'y' [E_DUP_NAME]"},
    /* inputs and constants */
    {X "input %z : f32[N,2]\n" W "%r = pack %x : f32[N,2]\n" TAIL,
     "t.ir:5:7: error: input 'z': is f32[N,2]; inputs are i32[B,S], f32[B,S,C] or f32[B,C] "
     "[E_SHAPE]"},
    {X "input %z : i32[S,B]\n" W "%r = pack %x : f32[N,2]\n" TAIL,
     "t.ir:5:7: error: input 'z': is i32[S,B]; inputs are i32[B,S], f32[B,S,C] or f32[B,C] "
     "[E_SHAPE]"},
    {X "input %z : f32[B,0]\n" W "%r = pack %x : f32[N,2]\n" TAIL,
     "t.ir:5:7: error: input 'z': is f32[B,0]; inputs are i32[B,S], f32[B,S,C] or f32[B,C] "
     "[E_SHAPE]"},
    {X "input %z : f32[B,2147483648]\n" W "%r = pack %x : f32[N,2]\n" TAIL,
     "t.ir:5:7: error: input 'z': dimension 2147483648 of f32[B,2147483648] is not in 1 … "
     "2147483647 [E_DIM]"},
    {X "input %z : f32[B,2] optional=0\n" W "%r = pack %x : f32[N,2]\n" TAIL,
     "t.ir:5:7: error: input 'z': only inputs of i32 may be optional [E_DTYPE]"},
    /* attributes */
    {R "%y = layernorm %r, @c, @c {eps=-0x1p+0} : f32[N,2]\n" TAIL,
     "t.ir:8:1: error: layernorm 'y': eps is negative [E_ATTR]"},
    {R "%y = layernorm %r, @c, @c {eps=0x1p+200} : f32[N,2]\n" TAIL,
     "t.ir:8:1: error: layernorm 'y': eps is no finite 32-bit float [E_ATTR]"},
    {R "%y = linear %r, @w {chunk_rows=-1} : f32[N,2]\n" TAIL,
     "t.ir:8:1: error: linear 'y': chunk_rows=-1 is not in 0 … 2147483647 [E_ATTR]"},
    {R "%y = linear %r, @w {chunk_rows=2147483648} : f32[N,2]\n" TAIL,
     "t.ir:8:1: error: linear 'y': chunk_rows=2147483648 is not in 0 … 2147483647 [E_ATTR]"},
    /* roles of operands */
    {X "input %b : f32[B,2]\n" W "%y = linear %b, @w : f32[B,2]\n%r = pack %x : f32[N,2]\n" TAIL,
     "t.ir:8:1: error: linear 'y': operand x is a graph input; only pack reads those [E_OP]"},
    {R "%b = first %r, %mask : f32[B,2]\n%y = pack %b : f32[B,2]\n" TAIL,
     "t.ir:9:1: error: pack 'y': operand x has to be a graph input [E_OP]"},
    {R "%b = first %r : f32[B,2]\n%u = unpack %b : f32[B,2]\noutput u = %u\n"
       "%y = relu %u : f32[B,2]\n" TAIL,
     "t.ir:11:1: error: relu 'y': operand x is the result of unpack, which only outputs may use "
     "[E_OP]"},
    {R "input %z : i32[B,S]\n%p = positions %z : i32[N]\n" TAIL,
     "t.ir:9:1: error: positions 'p': mask 'z', but the graph has a mask 'mask' already [E_OP]"},
    /* outputs */
    {R "%o = unpack %r : f32[B,S,2]\noutput y = %o\noutput z = %o\nend\n",
     "t.ir:8:1: error: unpack 'o': is two outputs; output 'z' needs an unpack of its own [E_OP]"},
    {R "output y = %r\nend\n",
     "t.ir:7:1: error: pack 'r': is output 'y', but outputs come from unpack alone [E_OP]"},
    {R "%p = unpack %r : f32[B,S,2]\n" TAIL,
     "t.ir:8:1: error: unpack 'p': is no output, so that its result has no place [E_OP]"},
    /* parts */
    {CUT PART("0:2", "0:2", "unstructured", "gather", "1") TAIL, ""},
    {CUT PART("0:1,1:2", "0:1", "4x1", "block", "1") PART("0:2", "1:2", "dense", "dense", "1") TAIL,
     ""},
    {CUT PART("0:2", "0:2", "2:4", "gather", "1") TAIL, ""},
    {CUT PART("0:2", "0:2", "4x1", "block", "2") PART("1:2", "0:2", "unstructured", "gather", "1")
         TAIL,
     "t.ir:8:1: error: linear 'h': no part takes element [0, 0] of weight 'w' [E_PATTERN]"},
    {CUT PART("0:2", "0:1", "dense", "dense", "1") TAIL,
     "t.ir:8:1: error: linear 'h': no part takes element [1, 1] of weight 'w' [E_PATTERN]"},
    {CUT PART("0:2", "0:2", "1:4x2", "block", "1") TAIL,
     "t.ir:8:1: error: linear 'h': no part takes element [0, 0] of weight 'w' [E_PATTERN]"},
    {CUT PART("0:3", "0:2", "dense", "dense", "1") TAIL,
     "t.ir:8:1: error: linear 'h': part 0: rows 0:3 are empty, out of order or outside of 0:2 "
     "[E_PATTERN]"},
    {CUT PART("0:2", "0:2", "dense", "dense", "1") PART("1:1", "0:2", "dense", "dense", "1") TAIL,
     "t.ir:8:1: error: linear 'h': part 1: rows 1:1 are empty, out of order or outside of 0:2 "
     "[E_PATTERN]"},
    {CUT PART("1:2,0:1", "0:2", "dense", "dense", "1") TAIL,
     "t.ir:8:1: error: linear 'h': part 0: rows 0:1 are empty, out of order or outside of 0:2 "
     "[E_PATTERN]"},
    {CUT PART("0:2", "0:3", "dense", "dense", "1") TAIL,
     "t.ir:8:1: error: linear 'h': part 0: columns 0:3 are empty or outside of 0:2 [E_PATTERN]"},
    {CUT PART("0:2", "1:1", "dense", "dense", "1") TAIL,
     "t.ir:8:1: error: linear 'h': part 0: columns 1:1 are empty or outside of 0:2 [E_PATTERN]"},
    {CUT PART("0:2", "0:2", "4x1", "gather", "1") TAIL,
     "t.ir:8:1: error: linear 'h': part 0: kernel gather does not serve pattern 4x1 (it serves: "
     "unstructured 1x4 1x16 N:M) [E_PATTERN]"},
    /* plans */
    {CHAIN SLOTS "assign %r = 0\nassign %h = 1\nend\n", ""},
    {CHAIN SLOTS "assign %h = 0\nassign %b = 1\nend\n", ""},
    {CHAIN SLOTS "assign %r = 1\nassign %b = 1\nend\n", ""},
    {CHAIN SLOTS "assign %r = 0\nassign %h = 0\nend\n",
     "t.ir:8:1: error: linear 'h': slot 0 still holds 'r', which 'k' uses [E_IR_PLAN]"},
    {CHAIN SLOTS "assign %h = 0\nassign %k = 0\nend\n",
     "t.ir:9:1: error: linear 'k': slot 0 still holds 'h', which 'k' uses [E_IR_PLAN]"},
    {CHAIN SLOTS "assign %k = 1\nassign %b = 1\nend\n",
     "t.ir:10:1: error: first 'b': slot 1 still holds 'k', which 'b' uses [E_IR_PLAN]"},
    {CHAIN SLOTS "assign %r = 2\nend\n",
     "t.ir:7:1: error: pack 'r': slot 2, but the workspace has 2 slots [E_IR_PLAN]"},
    {CHAIN SLOTS "assign %b = 0\nend\n",
     "t.ir:10:1: error: first 'b': f32[B,2] does not fit into slot 0 [E_IR_PLAN]"},
    {CHAIN "slot 0 = n_tile*448 + b_tile*512 + 4096\nassign %r = 0\nend\n",
     "t.ir:7:1: error: pack 'r': f32[N,2] does not fit into slot 0 [E_IR_PLAN]"},
    {CHAIN SLOTS "assign %x = 0\nend\n",
     "t.ir:3:7: error: input 'x': has a slot, but lives in the caller's memory [E_IR_PLAN]"},
    {CHAIN SLOTS "assign %o = 1\nend\n",
     "t.ir:11:1: error: unpack 'o': has a slot, but lives in the caller's memory [E_IR_PLAN]"},
    {CHAIN "slot 0 = n_tile*512 + b_tile*0 + 32\nend\n",
     "t.ir: error: the size of slot 0 is no multiple of 64 [E_IR_PLAN]"},
    {CHAIN "slot 0 = n_tile*512 + b_tile*0 + 0\n"
           "slot 1 = n_tile*0 + b_tile*9223372036854775744 + 64\nend\n",
     "t.ir: error: the bytes of the workspace overflow in slot 1 [E_OVERFLOW]"},
};

START_TEST(graphs_are_judged) {
  ir_graph *g = parse(cases[_i].text);
  ck_assert_int_eq(ir_verify(g, d, NULL), *cases[_i].message == 0);
  expect_messages(cases[_i].message);
}
END_TEST

START_TEST(big_products_are_refused) {
  ir_graph *g = parse("spcc-ir 1\nmodel m max_batch=65536 max_sequence=32767\n"
                      "input %x : f32[B,S,2147483647]\n%r = pack %x : f32[N,2147483647]\n"
                      "%o = unpack %r : f32[B,S,2147483647]\noutput o = %o\nend\n");
  ck_assert(!ir_verify(g, d, NULL));
  expect_messages("t.ir:3:7: error: input 'x': the bytes of f32[B,S,2147483647] at batch 65536 and "
                  "sequence 32767 overflow [E_OVERFLOW]");
}
END_TEST

START_TEST(position_tables_are_long_enough) {
  static const char *const text =
      "spcc-ir 1\nmodel m max_batch=2 max_sequence=%d\ninput %%i : i32[B,S]\n"
      "const @t : f32[3,1] = 0x0p+0, 0x0p+0, 0x0p+0\n%%ids = pack %%i : i32[N]\n"
      "%%e = embed %%ids, _, @t, @t : f32[N,1]\n%%p = positions : i32[N]\n"
      "%%g = gather @t, %%p : f32[N,1]\n%%f = gather @t, %%ids : f32[N,1]\n"
      "%%o = unpack %%e : f32[B,S,1]\noutput o = %%o\nend\n";
  ck_assert(ir_verify(parse(arena_printf(mem, text, 3)), d, NULL));
  ck_assert(!ir_verify(parse(arena_printf(mem, text, 4)), d, NULL));
  expect_messages("t.ir:6:1: error: embed 'e': the position table has 3 rows, but max_sequence is "
                  "4 [E_SHAPE]\nt.ir:8:1: error: gather 'g': the position table has 3 rows, but "
                  "max_sequence is 4 [E_SHAPE]");
}
END_TEST

/* Ids that no call brings, from positions or from an input that is left out, are known before. */
START_TEST(tables_have_the_rows_of_known_ids) {
  static const char *const text =
      "spcc-ir 1\nmodel m max_batch=2 max_sequence=3\ninput %%i : i32[B,S] optional=%d\n"
      "const @t : f32[3,1] = 0x0p+0, 0x0p+0, 0x0p+0\nconst @u : f32[2,1] = 0x0p+0, 0x0p+0\n"
      "%%ids = pack %%i : i32[N]\n%%g = gather @t, %%ids : f32[N,1]\n"
      "%%e = embed %%ids, %%ids, @t, _, @t : f32[N,1]\n"
      "%%p = positions : i32[N]\n%%f = embed %%p, _, %s : f32[N,1]\n"
      "%%o = unpack %%e : f32[B,S,1]\noutput o = %%o\nend\n";
  ck_assert(ir_verify(parse(arena_printf(mem, text, 0, "@t")), d, NULL));
  ck_assert(ir_verify(parse(arena_printf(mem, text, 2, "@t")), d, NULL));
  ck_assert(!ir_verify(parse(arena_printf(mem, text, -1, "@t")), d, NULL));
  expect_messages(
      "t.ir:7:1: error: gather 'g': input 'i' is -1 where a call leaves it out, but the "
      "table has 3 rows [E_SHAPE]\n"
      "t.ir:8:1: error: embed 'e': input 'i' is -1 where a call leaves it out, but the "
      "table has 3 rows [E_SHAPE]");
  ck_assert(!ir_verify(parse(arena_printf(mem, text, 3, "@u")), d, NULL));
  expect_messages("t.ir:7:1: error: gather 'g': input 'i' is 3 where a call leaves it out, but the "
                  "table has 3 rows [E_SHAPE]\n"
                  "t.ir:8:1: error: embed 'e': input 'i' is 3 where a call leaves it out, but the "
                  "table has 3 rows [E_SHAPE]\n"
                  "t.ir:10:1: error: embed 'f': the position table has 2 rows, but max_sequence is "
                  "3 [E_SHAPE]");
}
END_TEST

/* ---- graphs that only code can make ---- */

/* Values of CHAIN. */
enum { V_X, V_MASK, V_W, V_C, V_R, V_H, V_K, V_B, V_O };

static void break_name(ir_graph *g) {
  g->values[V_H].name = "";
}
static void long_name(ir_graph *g) {
  char *name = arena_array(mem, char, IR_MAX_NAME + 2);
  memset(name, 'a', IR_MAX_NAME + 1);
  g->values[V_H].name = name;
}
static void same_name(ir_graph *g) {
  g->values[V_H].name = "mask";
}
static void same_constant(ir_graph *g) {
  g->values[V_C].name = "w";
}
static void output_name(ir_graph *g) {
  g->outputs[0].name = "";
}
static void order(ir_graph *g) {
  g->values[V_H].in[0] = V_K;
}
static void self(ir_graph *g) {
  g->values[V_K].in[0] = V_K;
}
static void beyond(ir_graph *g) {
  g->values[V_H].in[0] = 99;
}
static void output_beyond(ir_graph *g) {
  g->outputs[0].value = 99;
}
static void no_op(ir_graph *g) {
  g->values[V_B].op = OP_COUNT;
}
static void trailing(ir_graph *g) {
  g->values[V_H].nin = 3;
}
static void too_many(ir_graph *g) {
  g->values[V_B].nin = 3;
  g->values[V_B].in[1] = V_MASK;
  g->values[V_B].in[2] = V_MASK;
}
static void lacking(ir_graph *g) {
  g->values[V_H].nin = 1;
}
static void stored_type(ir_graph *g) {
  g->values[V_H].type = ir_type2(DIM_N, 3);
}
static void stored_rank(ir_graph *g) {
  g->values[V_H].type.rank = 100;
}
static void no_constant(ir_graph *g) {
  g->values[V_H].in[1] = V_R;
}
static void mask_constant(ir_graph *g) {
  g->values[V_B].nin = 2;
  g->values[V_B].in[1] = V_W;
}
static void other_attr(ir_graph *g) {
  g->values[V_B].attr[A_heads].i = 2;
}
static void other_float(ir_graph *g) {
  g->values[V_B].attr[A_eps].f = 0;
}
static void bad_act(ir_graph *g) {
  g->values[V_H].attr[A_act].i = 5;
}
static void nan_eps(ir_graph *g) {
  g->values[V_H].attr[A_eps].f = NAN;
}
static void const_type(ir_graph *g) {
  g->values[V_C].type.dtype = IR_I32;
}
static void const_dim(ir_graph *g) {
  g->values[V_C].type.dim[0] = DIM_S;
}
static void const_rank(ir_graph *g) {
  g->values[V_C].type.rank = IR_MAX_RANK + 1;
  for (int i = 0; i < IR_MAX_RANK; i++)
    g->values[V_C].type.dim[i] = 1;
}
static void const_count(ir_graph *g) {
  g->values[V_C].tensor->count = 3;
}
static void const_elements(ir_graph *g) {
  g->values[V_C].type = ir_type_make(IR_F32, 3, (int64_t[]){1 << 20, 1 << 20, 2});
}
static void const_overflow(ir_graph *g) {
  g->values[V_C].type = ir_type_make(IR_F32, 3, (int64_t[]){INT32_MAX, INT32_MAX, INT32_MAX});
}
static void not_finite(ir_graph *g) {
  float *data = arena_array(mem, float, 2);
  data[1] = -INFINITY;
  g->values[V_C].tensor->data = data;
}
static void no_batch(ir_graph *g) {
  g->max_batch = 0;
}
static void no_sequence(ir_graph *g) {
  g->max_sequence = INT64_MAX;
}
static void parts_elsewhere(ir_graph *g) {
  g->values[V_B].parts = arena_array(mem, ir_part, 1);
  g->values[V_B].part_count = 1;
}
static ir_part *one_part(ir_graph *g) {
  ir_part *p = arena_array(mem, ir_part, 1);
  p->rows = arena_array(mem, ir_range, 1);
  p->rows->hi = p->col_hi = 2;
  p->row_ranges = 1;
  g->values[V_H].parts = p;
  g->values[V_H].part_count = 1;
  return p;
}
static void part_rows(ir_graph *g) {
  one_part(g)->row_ranges = 0;
}
static void part_pattern(ir_graph *g) {
  one_part(g)->pattern = (pattern){PATTERN_BLOCK, 4, 0, 0, 0};
}
static void part_kernel(ir_graph *g) {
  one_part(g)->kernel = KERNEL_COUNT;
}
static void part_count(ir_graph *g) {
  one_part(g);
  g->values[V_H].part_count = IR_MAX_PARTS + 1;
}
static void slots(ir_graph *g) {
  g->slot_count = IR_MAX_VALUES + 1;
}

static const struct {
  void (*change)(ir_graph *g);
  const char *message;
} changes[] = {
    {break_name, "t.ir:8:1: error: linear '': an empty name [E_NAME]"},
    {same_name, "t.ir:8:1: error: linear 'mask': an earlier value has the same name [E_DUP_NAME]"},
    {same_constant,
     "t.ir:6:7: error: constant 'w': an earlier value has the same name [E_DUP_NAME]"},
    {output_name, "t.ir: error: an empty name [E_NAME]"},
    {order, "t.ir:8:1: error: linear 'h': operand x is not defined before it [E_IR_SSA]"},
    {self, "t.ir:9:1: error: linear 'k': operand x is not defined before it [E_IR_SSA]"},
    {beyond, "t.ir:8:1: error: linear 'h': operand x is not defined before it [E_IR_SSA]"},
    {output_beyond,
     "t.ir: error: output 'y' is value 99, which does not exist [E_IR_SSA]\n"
     "t.ir:11:1: error: unpack 'o': is no output, so that its result has no place [E_OP]"},
    {no_op, "t.ir:10:1: error: 'b': is no known op [E_OP]"},
    {trailing, "t.ir:8:1: error: linear 'h': its last operand is absent, but counted [E_OP]"},
    {too_many, "t.ir:10:1: error: first 'b': 3 operands, but there are at most 2 (x mask?) [E_OP]"},
    {lacking, "t.ir:8:1: error: linear 'h': operand w is missing (operands: x @w @bias? residual? "
              "@gamma? @beta?) [E_OP]"},
    {stored_type,
     "t.ir:8:1: error: linear 'h': has the type f32[N,3], but the op gives f32[N,2] [E_SHAPE]"},
    {stored_rank,
     "t.ir:8:1: error: linear 'h': has the type f32[N,2,0,0,0,0,0,0], but the op gives f32[N,2] "
     "[E_SHAPE]"},
    {no_constant, "t.ir:8:1: error: linear 'h': operand w has to be a constant [E_OP]"},
    {mask_constant, "t.ir:10:1: error: first 'b': mask 'w' is no graph input [E_OP]"},
    {other_attr, "t.ir:10:1: error: first 'b': has no attribute 'heads' [E_ATTR]"},
    {other_float, "t.ir:10:1: error: first 'b': has no attribute 'eps' [E_ATTR]"},
    {bad_act, "t.ir:8:1: error: linear 'h': act has no value 5 [E_ATTR]"},
    {nan_eps, "t.ir:8:1: error: linear 'h': eps is no finite 32-bit float [E_ATTR]"},
    {const_type, "t.ir:6:7: error: constant 'c': constants are f32 [E_DTYPE]"},
    {const_dim, "t.ir:6:7: error: constant 'c': dimension -2 of f32[S] is not in 1 … 2147483647 "
                "[E_DIM]"},
    {const_rank, "t.ir:6:7: error: constant 'c': an impossible type [E_SHAPE]"},
    {const_count, "t.ir:6:7: error: constant 'c': the data does not have the 2 elements of f32[2] "
                  "[E_SHAPE]"},
    {const_elements, "t.ir:6:7: error: constant 'c': f32[1048576,1048576,2] has too many elements "
                     "[E_OVERFLOW]"},
    {const_overflow,
     "t.ir:6:7: error: constant 'c': the bytes of f32[2147483647,2147483647,2147483647] at batch 2 "
     "and sequence 16 overflow [E_OVERFLOW]"},
    {not_finite, "t.ir:6:7: error: constant 'c': element 1 is not finite [E_NONFINITE]"},
    {no_batch, "t.ir: error: max_batch=0 is not in 1 … 2147483647 [E_DIM]"},
    {no_sequence, "t.ir: error: max_sequence=9223372036854775807 is not in 1 … 2147483647 [E_DIM]"},
    {parts_elsewhere,
     "t.ir:10:1: error: first 'b': has parts, but only linear is cut into parts [E_OP]"},
    {part_rows, "t.ir:8:1: error: linear 'h': part 0 has no rows [E_PATTERN]"},
    {part_pattern, "t.ir:8:1: error: linear 'h': part 0: '4x0' is no sparsity pattern [E_PATTERN]"},
    {part_kernel, "t.ir:8:1: error: linear 'h': part 0: unknown kernel [E_PATTERN]"},
    {part_count, "t.ir:8:1: error: linear 'h': 251 parts; at most 250 are possible [E_LIMIT]"},
    {slots, "t.ir: error: 65537 slots; at most 65536 are possible [E_LIMIT]"},
};

START_TEST(changed_graphs_are_refused) {
  ir_graph *g = parse(CHAIN "end\n");
  changes[_i].change(g);
  ck_assert(!ir_verify(g, d, NULL));
  expect_messages(changes[_i].message);
}
END_TEST

START_TEST(long_names_are_refused) {
  ir_graph *g = parse(CHAIN "end\n");
  long_name(g);
  const char *name = ir_at(g, V_H)->name;
  ck_assert(!ir_verify(g, d, NULL));
  expect_messages(
      arena_printf(mem, "t.ir:8:1: error: linear '%s': a name of over 1024 bytes [E_LIMIT]", name));
}
END_TEST

/* A graph of `n` values. */
static ir_graph *graph_of(uint32_t n) {
  ir_graph *g = parse(CHAIN "end\n");
  while (g->count < n)
    ir_add_op(g, arena_printf(mem, "v%u", g->count), OP_relu, &(ir_id){V_R}, 1);
  return g;
}

START_TEST(graphs_end_at_65536_values) {
  ck_assert(ir_verify(graph_of(IR_MAX_VALUES), d, NULL));
  ck_assert(!ir_verify(graph_of(IR_MAX_VALUES + 1), d, NULL));
  expect_messages("t.ir: error: the graph has 65537 values; at most 65536 are possible [E_LIMIT]");
}
END_TEST

/* ---- how errors are told ---- */

START_TEST(the_pass_is_named) {
  ir_graph *g = parse(CHAIN "end\n");
  g->values[V_H].attr[A_act].i = -1;
  ck_assert(!ir_verify(g, d, "fuse"));
  expect_messages("t.ir:8:1: error: after fuse: linear 'h': act has no value -1 [E_ATTR]");
}
END_TEST

START_TEST(errors_of_several_values_are_told_once) {
  ir_graph *g = parse(CHAIN "end\n");
  g->values[V_H].attr[A_act].i = -1; /* k, b and o follow from h */
  g->values[V_C].tensor->count = 9;
  ck_assert(!ir_verify(g, d, NULL));
  expect_messages("t.ir:6:7: error: constant 'c': the data does not have the 2 elements of f32[2] "
                  "[E_SHAPE]\nt.ir:8:1: error: linear 'h': act has no value -1 [E_ATTR]");
}
END_TEST

START_TEST(a_full_list_of_errors_is_no_success) {
  for (int i = 0; i < DIAG_MAX_ERRORS; i++)
    diag_error(d, loc_file("t"), E_IR, "error %d", i);
  ck_assert(!ir_verify(parse(CHAIN "end\n"), d, NULL));
}
END_TEST

START_TEST(a_graph_with_errors_everywhere_stops_at_20) {
  ir_graph *g = graph_of(100);
  for (ir_id id = 0; id < g->count; id++)
    g->values[id].name = "x";
  for (ir_id id = V_R; id < g->count; id++)
    g->values[id].in[0] = 1000;
  ck_assert(!ir_verify(g, d, NULL));
  ck_assert_uint_eq(diag_errors(d), DIAG_MAX_ERRORS);
}
END_TEST

int main(void) {
  Suite *s = suite_create("verify");
  TCase *c = untimed_case("verify");
  tcase_add_checked_fixture(c, scratch_setup, scratch_teardown);
  tcase_add_loop_test(c, graphs_are_judged, 0, sizeof cases / sizeof *cases);
  tcase_add_test(c, big_products_are_refused);
  tcase_add_test(c, position_tables_are_long_enough);
  tcase_add_test(c, tables_have_the_rows_of_known_ids);
  tcase_add_loop_test(c, changed_graphs_are_refused, 0, sizeof changes / sizeof *changes);
  tcase_add_test(c, long_names_are_refused);
  tcase_add_test(c, graphs_end_at_65536_values);
  tcase_add_test(c, the_pass_is_named);
  tcase_add_test(c, errors_of_several_values_are_told_once);
  tcase_add_test(c, a_full_list_of_errors_is_no_success);
  tcase_add_test(c, a_graph_with_errors_everywhere_stops_at_20);
  suite_add_tcase(s, c);
  return run_suite(s);
}
