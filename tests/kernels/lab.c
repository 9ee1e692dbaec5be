/* Building the graph of linears, and comparing what it computes. */
#include "tests/kernels/lab.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/spcc_rt.h"
#include "tests/diff/guard.h"

/* ---- building ---- */

lab *lab_new(const char *text, uint64_t seed, bool per_batch) {
  arena *a = diff_arena();
  lab *l = arena_new_one(a, lab);
  *l = (lab){.a = a, .d = diag_new(a), .r = {seed}, .per_batch = per_batch};
  l->text = arena_strdup(a, text);
  l->g = ir_graph_new(a, "lab");
  l->g->max_batch = l->g->max_sequence = LAB_TOKENS;
  return l;
}

void lab_free(lab *l) {
  arena_free(l->a);
}

static ir_id find(const lab *l, const char *name) {
  for (ir_id id = 0; id < l->g->count; id++)
    if (strcmp(ir_at(l->g, id)->name, name) == 0) return id;
  return IR_NONE;
}

/* The packed rows of the input of this width; linears of one width share it. */
static ir_id rows_of_width(lab *l, const char *prefix, uint32_t width) {
  const char *name = arena_printf(l->a, "%s%u", prefix, width);
  ir_id packed = find(l, arena_printf(l->a, "%s.rows", name));
  if (packed != IR_NONE) return packed;
  ir_type tokens = ir_type_make(IR_F32, 3, (const int64_t[]){DIM_B, DIM_S, width});
  ir_id input = ir_add_input(l->g, name, l->per_batch ? ir_type2(DIM_B, width) : tokens);
  return ir_add_op(l->g, arena_printf(l->a, "%s.rows", name), OP_pack, &input, 1);
}

static ir_id random_row(lab *l, const char *name, uint32_t n, float centre) {
  float *data = arena_array(l->a, float, n);
  for (uint32_t i = 0; i < n; i++)
    data[i] = centre + 0.3F * rng_normal(&l->r);
  return ir_add_const(l->g, name, ir_type1(n), data);
}

uint32_t lab_add(lab *l, lab_linear linear) {
  uint32_t i = l->count++, m = linear.m, k = linear.k;
  ck_assert_uint_lt(i, LAB_LINEARS);
  l->linear[i] = linear;
  const char *name = arena_printf(l->a, "l%u", i);
  ir_id in[6] = {rows_of_width(l, "x", k), IR_NONE, IR_NONE, IR_NONE, IR_NONE, IR_NONE};
  in[1] = ir_add_const(l->g, arena_printf(l->a, "%s.w", name), ir_type2(m, k), linear.w);
  if (linear.bias) in[2] = random_row(l, arena_printf(l->a, "%s.b", name), m, 0);
  /* The input itself when it fits. */
  if (linear.residual) in[3] = rows_of_width(l, m == k ? "x" : "r", m);
  if (linear.norm) in[4] = random_row(l, arena_printf(l->a, "%s.gamma", name), m, 1);
  if (linear.norm) in[5] = random_row(l, arena_printf(l->a, "%s.beta", name), m, 0);
  uint32_t nin = linear.norm ? 6 : linear.residual ? 4 : linear.bias ? 3 : 2;
  l->id[i] = ir_add_op(l->g, name, OP_linear, in, nin);
  ir_value *v = ir_at(l->g, l->id[i]);
  v->attr[A_act].i = linear.act;
  /* Few channels can be nearly equal, which no arithmetic normalises well. */
  v->attr[A_eps].f = m < 8 ? 0.1 : 1e-6;
  ir_id y = ir_add_op(l->g, arena_printf(l->a, "%s.y", name), OP_unpack, &l->id[i], 1);
  ir_add_output(l->g, name, y);
  return i;
}

ir_value *lab_value(const lab *l, uint32_t i) {
  return ir_at(l->g, l->id[i]);
}

void lab_passes(lab *l, const char *list, enum sparse_mode sparse, pattern p) {
  pass_options options = {.opt_level = 3, .sparse = sparse, .sparse_pattern = p};
  options.isa = ISA_X86_64_V4;
  pass_context c = {.arena = l->a, .diag = l->d, .options = &options};
  bool ok = pipeline_run_list(l->g, &c, list, NULL, NULL);
  ck_assert_msg(ok, "%s\n%s", l->text, diff_messages(l->a, l->d));
}

/* ---- messages ---- */

static const char *describe_part(const lab *l, const ir_part *p) {
  char text[PATTERN_TEXT_MAX];
  const char *rows = "";
  for (uint32_t i = 0; i < p->row_ranges; i++)
    rows = arena_printf(l->a, "%s%s%u:%u", rows, i ? "," : "", p->rows[i].lo, p->rows[i].hi);
  return arena_printf(l->a, "rows=%s cols=%u:%u %s %s fill=%u r=%u c=%u k_block=%u", rows,
                      p->col_lo, p->col_hi, pattern_print(&p->pattern, text),
                      ir_kernel_names[p->kernel], p->fill, p->r, p->c, p->k_block);
}

static const char *describe(const lab *l, uint32_t i) {
  const lab_linear *s = &l->linear[i];
  const ir_value *v = lab_value(l, i);
  const char *text = arena_printf(
      l->a, "%s\nlinear %u: %ux%u %s%s%s%s act=%s chunk_rows=%lld", l->text, i, s->m, s->k,
      s->weight, s->bias ? " bias" : "", s->residual ? " residual" : "", s->norm ? " norm" : "",
      ir_enum_name(ATTR_ACT, s->act), (long long)v->attr[A_chunk_rows].i);
  for (uint32_t p = 0; p < v->part_count; p++)
    text = arena_printf(l->a, "%s\n  %s", text, describe_part(l, &v->parts[p]));
  return text;
}

/* ---- the reference ---- */

typedef struct reference {
  random_case c; /* LAB_TOKENS rows of every input */
  const diff_outputs *exact, *single;
} reference;

static const void *random_input(lab *l, const ir_value *v, size_t *size) {
  size_t n = LAB_TOKENS * (size_t)v->type.dim[v->type.rank - 1];
  float *data = arena_array(l->a, float, n);
  for (size_t i = 0; i < n; i++)
    data[i] = rng_normal(&l->r);
  *size = n * sizeof *data;
  return data;
}

static void make_inputs(lab *l, random_case *c) {
  const void **in = arena_array(l->a, const void *, l->g->count);
  size_t *sizes = arena_array(l->a, size_t, l->g->count);
  for (ir_id id = 0; id < l->g->count; id++) {
    if (ir_at(l->g, id)->kind != IR_INPUT) continue;
    in[c->in_count] = random_input(l, ir_at(l->g, id), &sizes[c->in_count]);
    c->in_count++;
  }
  c->in = in;
  c->in_bytes = sizes;
}

static const reference *reference_new(lab *l) {
  reference *r = arena_new_one(l->a, reference);
  r->c = (random_case){.batch = l->per_batch ? LAB_TOKENS : 1,
                       .sequence = l->per_batch ? 1 : LAB_TOKENS};
  make_inputs(l, &r->c);
  r->exact = diff_interpret(&r->c, l->g, false, l->a, l->d);
  r->single = diff_interpret(&r->c, l->g, true, l->a, l->d);
  ck_assert_msg(r->exact && r->single, "%s\n%s", l->text, diff_messages(l->a, l->d));
  return r;
}

/* ---- running ---- */

typedef struct compiled {
  codegen_result result;
  jit_model *jit;
  jit_entry entry;
  guarded weights;
} compiled;

static void compile(lab *l, compiled *m) {
  codegen_options o = {.levels = {ISA_X86_64_V4, ISA_X86_64_V3},
                       .level_count = 2,
                       .opt_level = l->opt_level,
                       .external_weights = true};
  bool ok = codegen(l->g, &o, EMIT_OBJ, l->a, l->d, &m->result);
  m->jit = ok ? jit_load(l->d, &m->result, l->g->name, &m->entry) : NULL;
  ck_assert_msg(m->jit != NULL, "%s\n%s", l->text, diff_messages(l->a, l->d));
  m->weights = guard_copy(m->result.weights.data, m->result.weights.size, 64, true);
}

/* Tasks in rising and in falling order. */
static void forwards(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                     void *arg) {
  ck_assert_uint_le(n, exec->threads);
  for (uint32_t i = 0; i < n; i++)
    task(arg, i);
}

static void backwards(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                      void *arg) {
  ck_assert_uint_le(n, exec->threads);
  for (uint32_t i = n; i-- > 0;)
    task(arg, i);
}

/* One call: the first `tokens` rows of every input on `threads` threads (0: no executor). */
typedef struct run {
  uint32_t tokens, threads;
  guarded in[2 * LAB_LINEARS], out[LAB_LINEARS], workspace;
  const void *in_data[2 * LAB_LINEARS];
  void *out_data[LAB_LINEARS];
  size_t in_bytes[2 * LAB_LINEARS], out_bytes[LAB_LINEARS];
} run;

/* Every byte that a call writes starts as 0xFF: a NaN that shows when it is read or left. */
static void make_buffers(const lab *l, const reference *r, size_t workspace, run *b) {
  ck_assert_uint_le(r->c.in_count, 2 * LAB_LINEARS);
  for (uint32_t i = 0; i < r->c.in_count; i++) {
    b->in_bytes[i] = r->c.in_bytes[i] / LAB_TOKENS * b->tokens;
    b->in[i] = guard_copy(r->c.in[i], b->in_bytes[i], 4, true);
    b->in_data[i] = b->in[i].data;
  }
  for (uint32_t i = 0; i < l->count; i++) {
    b->out_bytes[i] = (size_t)l->linear[i].m * b->tokens * sizeof(float);
    b->out[i] = guard_new(b->out_bytes[i], 4, true, 0xFF);
    b->out_data[i] = b->out[i].data;
  }
  b->workspace = guard_new(workspace, 64, true, 0xFF);
}

static void run_call(const lab *l, const reference *r, const compiled *m, uint32_t cpu, run *b) {
  int32_t batch = l->per_batch ? (int32_t)b->tokens : 1,
          sequence = l->per_batch ? 1 : (int32_t)b->tokens;
  spcc_exec exec = {.size = sizeof exec,
                    .threads = b->threads,
                    .parallel_for = b->threads % 2 ? backwards : forwards};
  size_t workspace = m->entry.workspace(batch, sequence, b->threads ? b->threads : 1);
  make_buffers(l, r, workspace, b);
  spcc_call call = {.size = sizeof call,
                    .cpu = cpu,
                    .batch = batch,
                    .sequence = sequence,
                    .in = b->in_data,
                    .out = b->out_data,
                    .in_bytes = b->in_bytes,
                    .out_bytes = b->out_bytes,
                    .weights = m->weights.data,
                    .weights_bytes = m->result.weights.size,
                    .workspace = b->workspace.data,
                    .workspace_bytes = workspace,
                    .exec = b->threads ? &exec : NULL};
  spcc_status status = m->entry.run(&call);
  ck_assert_msg(status == SPCC_OK, "%s\n%s", l->text, spcc_status_text(status));
}

static void run_free(const lab *l, const reference *r, const run *b) {
  for (uint32_t i = 0; i < r->c.in_count; i++)
    guard_free(&b->in[i]);
  for (uint32_t i = 0; i < l->count; i++)
    guard_free(&b->out[i]);
  guard_free(&b->workspace);
}

/* ---- comparing ---- */

static void check_bounds(const lab *l, const reference *r, const run *b, uint32_t cpu) {
  for (uint32_t i = 0; i < l->count; i++) {
    size_t n = r->exact->elements[i];
    const float *got = b->out_data[i];
    double *wide = arena_array(l->a, double, n);
    for (size_t j = 0; j < n; j++)
      wide[j] = (double)got[j];
    double error = diff_error(r->exact->data[i], wide, n);
    double bound = fmax(3e-8 * sqrt((double)l->linear[i].k),
                        4 * diff_error(r->exact->data[i], r->single->data[i], n));
    ck_assert_msg(error <= bound, "%s\nlevel %u: error %.3g is over the bound %.3g", describe(l, i),
                  cpu, error, bound);
  }
}

/* A token's result depends neither on how many tokens there are nor on the threads. */
static void check_same_bits(const lab *l, const reference *r, const compiled *m, const run *want,
                            uint32_t cpu, uint32_t tokens, uint32_t threads) {
  run b = {.tokens = tokens, .threads = threads};
  run_call(l, r, m, cpu, &b);
  for (uint32_t i = 0; i < l->count; i++)
    ck_assert_msg(memcmp(b.out_data[i], want->out_data[i], b.out_bytes[i]) == 0,
                  "%s\nlevel %u: other bits with %u tokens on %u threads than with %u on one",
                  describe(l, i), cpu, tokens, threads, want->tokens);
  run_free(l, r, &b);
}

static void check_level(const lab *l, const reference *r, const compiled *m, uint32_t cpu) {
  static const uint32_t tokens[] = {1, 15, 16, 17, 33, 63, 64, 65, 81, 97, 127, 128, 129};
  run all = {.tokens = LAB_TOKENS};
  run_call(l, r, m, cpu, &all);
  check_bounds(l, r, &all, cpu);
  for (uint32_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
    check_same_bits(l, r, m, &all, cpu, tokens[i], i % 4);
  check_same_bits(l, r, m, &all, cpu, LAB_TOKENS, 3);
  check_same_bits(l, r, m, &all, cpu, LAB_TOKENS, 8);
  run_free(l, r, &all);
}

void lab_check(lab *l) {
  compiled m;
  compile(l, &m);
  const reference *r = reference_new(l);
  static const uint32_t levels[] = {SPCC_CPU_X86_64_V4, SPCC_CPU_X86_64_V3};
  uint32_t checked = 0;
  for (uint32_t i = 0; i < 2; i++) {
    if (levels[i] > spcc_cpu()) continue;
    check_level(l, r, &m, levels[i]);
    checked++;
  }
  ck_assert_msg(checked > 0, "this CPU runs no level that spcc compiles for");
  guard_free(&m.weights);
  jit_free(m.jit);
}
