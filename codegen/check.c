/* Code that checks a call before anything is computed: every wrong use of the contract returns a
 * status. Also the CPU detection and the workspace's size, which the check needs. */
#include "codegen/cg.h"

/* ---- cpu ---- */

static V cpuid(bld *b, uint64_t leaf, V *ebx, V *ecx) {
  LLVMTypeRef parts[] = {b->i32, b->i32, b->i32, b->i32}, in[] = {b->i32, b->i32};
  LLVMTypeRef type = LLVMFunctionType(LLVMStructTypeInContext(b->cx, parts, 4, 0), in, 2, 0);
  char code[] = "cpuid", how[] = "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}";
  V fn = LLVMGetInlineAsm(type, code, sizeof code - 1, how, sizeof how - 1, 1, 0,
                          LLVMInlineAsmDialectATT, 0);
  V r = b_call_type(b, type, fn, (V[]){k32(b, leaf), k32(b, 0)}, 2);
  *ebx = LLVMBuildExtractValue(b->b, r, 1, "");
  *ecx = LLVMBuildExtractValue(b->b, r, 2, "");
  return LLVMBuildExtractValue(b->b, r, 0, "");
}

static V xgetbv(bld *b) {
  LLVMTypeRef parts[] = {b->i32, b->i32}, in[] = {b->i32};
  LLVMTypeRef type = LLVMFunctionType(LLVMStructTypeInContext(b->cx, parts, 2, 0), in, 1, 0);
  char code[] = "xgetbv", how[] = "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}";
  V fn = LLVMGetInlineAsm(type, code, sizeof code - 1, how, sizeof how - 1, 1, 0,
                          LLVMInlineAsmDialectATT, 0);
  return LLVMBuildExtractValue(b->b, b_call_type(b, type, fn, (V[]){k32(b, 0)}, 1), 0, "");
}

static V has_all(bld *b, V reg, uint64_t bits) {
  return b_eq(b, b_and(b, reg, k32(b, bits)), k32(b, bits));
}

/* Feature bits of the psABI levels (x86-64 psABI, section 3.1.1). */
enum {
  LEAF1_ECX_V3 = 1u << 0 | 1u << 9 | 1u << 12 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 |
                 1u << 23 | 1u << 27 | 1u << 28 | 1u << 29,
  LEAF7_EBX_V3 = 1u << 3 | 1u << 5 | 1u << 8,
  EXT1_ECX_V3 = 1u << 0 | 1u << 5,
  XCR0_V3 = 0x06,
  XCR0_V4 = 0xe6
};
#define LEAF7_EBX_V4 (1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31)

V emit_detect(cg *c) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s.cpu", c->g->name), b->i64, NULL, 0);
  V ebx, ecx, base = k64(b, SPCC_CPU_BASELINE);
  V leaves = cpuid(b, 0, &ebx, &ecx);
  b_return_if(b, b_lt(b, leaves, k32(b, 7)), base);
  cpuid(b, 1, &ebx, &ecx);
  b_return_if(b, b_not(b, has_all(b, ecx, LEAF1_ECX_V3)), base);
  V xcr0 = xgetbv(b);
  cpuid(b, 0x80000001, &ebx, &ecx);
  V v3 = has_all(b, ecx, EXT1_ECX_V3);
  v3 = b_and(b, v3, has_all(b, xcr0, XCR0_V3));
  cpuid(b, 7, &ebx, &ecx);
  v3 = b_and(b, v3, has_all(b, ebx, LEAF7_EBX_V3));
  b_return_if(b, b_not(b, v3), base);
  V v4 = has_all(b, ebx, LEAF7_EBX_V4);
  v4 = b_and(b, v4, has_all(b, xcr0, XCR0_V4));
  b_return(b, b_select(b, v4, k64(b, SPCC_CPU_X86_64_V4), k64(b, SPCC_CPU_X86_64_V3)));
  return fn;
}

/* ---- workspace ---- */

ir_bytes frame_arrays(void) {
  /* Three arrays of 4 bytes per token; three of 4 bytes per sequence plus one element. */
  return (ir_bytes){.per_n_tile = 3 * TILE_BYTES, .per_b_tile = 3 * TILE_BYTES, .constant = 3 * 64};
}

V cg_quarters(cg *c, V rows) {
  return b_shr(&c->b, b_addi(&c->b, rows, QUARTER - 1), 4);
}

V cg_tiles(cg *c, V rows) {
  return b_shr(&c->b, b_addi(&c->b, rows, TILE - 1), 6);
}

V cg_padded_positions(cg *c, V sequence) {
  return b_muli(&c->b, b_addi(&c->b, cg_tiles(c, sequence), 1), TILE);
}

V scratch_bytes(cg *c, V positions) {
  bld *b = &c->b;
  V total = b_muli(b, positions, c->scratch_per_position);
  if (!c->scratch_square) return total;
  V rows = b_addi(b, positions, 2); /* scores, and a row each of maxima and sums */
  return b_add(b, total, b_muli(b, b_mul(b, positions, rows), 4));
}

group_limits limits_of_groups(cg *c, V batch, V sequence, V threads) {
  bld *b = &c->b;
  group_limits g = {.limit = b_muli(b, threads, GROUP_TOKENS)};
  V longest = b_max(b, g.limit, sequence);
  g.tokens = b_min(b, b_mul(b, batch, sequence), longest);
  g.batch = b_min(b, batch, g.limit);
  return g;
}

V emit_workspace_bytes(cg *c) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->i64, b->i64, b->i64};
  V fn = b_function(b, arena_printf(c->a, "%s.workspace", c->g->name), b->i64, t, 3);
  ir_bytes arrays = frame_arrays(), slots = cg_slots_before(c, c->g->slot_count);
  V batch = b_arg(b, 0), sequence = b_arg(b, 1);
  V threads = b_min(b, b_max(b, b_arg(b, 2), k64(b, 1)), k64(b, MAX_THREADS));
  group_limits group = limits_of_groups(c, batch, sequence, threads);
  V n_tiles = cg_tiles(c, group.tokens), b_tiles = cg_tiles(c, group.batch);
  V scratch = b_mul(b, threads, scratch_bytes(c, cg_padded_positions(c, sequence)));
  V total = b_muli(b, n_tiles, arrays.per_n_tile + slots.per_n_tile);
  total = b_add(b, total, b_muli(b, b_tiles, arrays.per_b_tile + slots.per_b_tile));
  b_return(b, b_add(b, b_addi(b, total, arrays.constant + slots.constant), scratch));
  return fn;
}

/* ---- the call ---- */

typedef struct checker {
  cg *c;
  bld *b;
  V call, batch, sequence, rows;    /* rows of the caller's [batch, sequence] tensors */
  V buffers;                        /* {pointer, bytes} of every buffer, for the overlap check */
  uint32_t buffer_count, read_only; /* the first read_only ones may overlap each other */
} checker;

static void refuse_if(checker *k, V cond, spcc_status status) {
  b_return_if(k->b, cond, k64(k->b, status));
}

static V misaligned(bld *b, V p, uint64_t align) {
  V bits = LLVMBuildPtrToInt(b->b, p, b->i64, "");
  return b_ne(b, b_and(b, bits, k64(b, align - 1)), k64(b, 0));
}

static void check_exec(checker *k) {
  bld *b = k->b;
  V exec = b_loadp(b, k->call, CALL(exec));
  branch given = b_if(b, b_not(b, b_is_null(b, exec)));
  refuse_if(k, b_lt(b, b_load32(b, exec, EXEC(size)), k64(b, sizeof(spcc_exec))), SPCC_E_ABI);
  refuse_if(k, b_eq(b, b_load32(b, exec, EXEC(threads)), k64(b, 0)), SPCC_E_THREADS);
  refuse_if(k, b_is_null(b, b_loadp(b, exec, EXEC(parallel_for))), SPCC_E_THREADS);
  b_end(b, &given);
}

static void check_dims(checker *k) {
  bld *b = k->b;
  k->batch = b_load32(b, k->call, CALL(batch));
  k->sequence = b_load32(b, k->call, CALL(sequence));
  /* Negative numbers are large when zero-extended. */
  refuse_if(k, b_lt(b, k64(b, (uint64_t)k->c->g->max_batch), k->batch), SPCC_E_DIM);
  refuse_if(k, b_lt(b, k64(b, (uint64_t)k->c->g->max_sequence), k->sequence), SPCC_E_DIM);
  V no_batch = b_eq(b, k->batch, k64(b, 0)), no_sequence = b_eq(b, k->sequence, k64(b, 0));
  b_return_if(b, b_or(b, no_batch, no_sequence), k64(b, SPCC_OK));
}

static void remember_buffer(checker *k, V p, V size) {
  V at = b_ati(k->b, k->buffers, (uint64_t)k->buffer_count * 16);
  b_store(k->b, p, at, 8);
  b_store(k->b, size, b_ati(k->b, at, 8), 8);
  k->buffer_count++;
}

/* The same of one that may be absent. */
static void remember_optional(checker *k, V p, V size) {
  V absent = b_is_null(k->b, p);
  remember_buffer(k, p, b_select(k->b, absent, k64(k->b, 0), size));
}

static void check_lengths(checker *k) {
  bld *b = k->b;
  V lengths = b_loadp(b, k->call, CALL(lengths));
  V total = b_local(b, b->i64, NULL);
  b_set(b, total, b_mul(b, k->batch, k->sequence));
  branch given = b_if(b, b_not(b, b_is_null(b, lengths)));
  refuse_if(k, misaligned(b, lengths, 4), SPCC_E_ALIGN);
  V sum = k64(b, 0);
  loop l = b_loop(b, k64(b, 0), k->batch, 1, &sum, 1);
  V length = b_load32(b, b_at(b, lengths, b_muli(b, l.i, 4)), 0);
  refuse_if(k, b_lt(b, k->sequence, length), SPCC_E_DIM);
  sum = b_add(b, sum, length);
  b_loop_end(b, &l, &sum);
  b_set(b, total, sum);
  b_end(b, &given);
  k->rows = b_get(b, b->i64, total);
  remember_optional(k, lengths, b_muli(b, k->batch, 4));
}

/* Bytes that a caller's tensor must have. */
static V tensor_bytes(checker *k, const ir_type *t) {
  bool per_token = t->rank > 1 && t->dim[1] == DIM_S;
  uint64_t row = 4;
  for (uint32_t i = per_token ? 2 : 1; i < t->rank; i++)
    row *= (uint64_t)t->dim[i];
  return b_muli(k->b, per_token ? k->rows : k->batch, row);
}

static void check_tensor(checker *k, V pointers, V sizes, uint32_t index, const ir_value *v) {
  bld *b = k->b;
  V p = b_loadp(b, pointers, (uint64_t)index * 8), need = tensor_bytes(k, &v->type);
  bool optional = v->kind == IR_INPUT && v->optional;
  if (!optional) refuse_if(k, b_is_null(b, p), SPCC_E_NULL);
  branch given = b_if(b, b_not(b, b_is_null(b, p)));
  refuse_if(k, misaligned(b, p, 4), SPCC_E_ALIGN);
  refuse_if(k, b_lt(b, b_load64(b, sizes, (uint64_t)index * 8), need), SPCC_E_SIZE);
  b_end(b, &given);
  remember_optional(k, p, need);
}

static void check_tensors(checker *k) {
  bld *b = k->b;
  const ir_graph *g = k->c->g;
  V in = b_loadp(b, k->call, CALL(in)), out = b_loadp(b, k->call, CALL(out));
  V in_bytes = b_loadp(b, k->call, CALL(in_bytes)),
    out_bytes = b_loadp(b, k->call, CALL(out_bytes));
  V lists[] = {in, out, in_bytes, out_bytes};
  for (uint32_t i = 0; i < 4; i++) {
    refuse_if(k, b_is_null(b, lists[i]), SPCC_E_NULL);
    refuse_if(k, misaligned(b, lists[i], 8), SPCC_E_ALIGN);
  }
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->count; i++)
    if (g->values[i].kind == IR_INPUT) check_tensor(k, in, in_bytes, n++, &g->values[i]);
  k->read_only = k->buffer_count;
  for (uint32_t i = 0; i < g->output_count; i++)
    check_tensor(k, out, out_bytes, i, ir_at(g, g->outputs[i].value));
}

static void check_workspace(checker *k, V workspace_bytes) {
  bld *b = k->b;
  V work = b_loadp(b, k->call, CALL(workspace)), exec = b_loadp(b, k->call, CALL(exec));
  V threads = b_local(b, b->i64, NULL);
  b_set(b, threads, k64(b, 1));
  branch given = b_if(b, b_not(b, b_is_null(b, exec)));
  b_set(b, threads, b_load32(b, exec, EXEC(threads)));
  b_end(b, &given);
  refuse_if(k, b_is_null(b, work), SPCC_E_NULL);
  refuse_if(k, misaligned(b, work, 64), SPCC_E_ALIGN);
  V args[] = {k->batch, k->sequence, b_get(b, b->i64, threads)};
  V need = b_call(b, workspace_bytes, args, 3);
  refuse_if(k, b_lt(b, b_load64(b, k->call, CALL(workspace_bytes)), need), SPCC_E_SIZE);
  remember_buffer(k, work, need);
}

static void check_weights(checker *k) {
  bld *b = k->b;
  V w = b_loadp(b, k->call, CALL(weights)), blob_size = k64(b, k->c->blob.size);
  if (k->c->o->external_weights) refuse_if(k, b_is_null(b, w), SPCC_E_NULL);
  branch given = b_if(b, b_not(b, b_is_null(b, w)));
  refuse_if(k, misaligned(b, w, 64), SPCC_E_ALIGN);
  V size = b_load64(b, k->call, CALL(weights_bytes));
  refuse_if(k, b_lt(b, size, blob_size), SPCC_E_SIZE);
  refuse_if(k, b_ne(b, b_load64(b, w, 0), k64(b, WEIGHTS_MAGIC)), SPCC_E_DIGEST);
  refuse_if(k, b_ne(b, b_load64(b, w, 8), k64(b, k->c->digest)), SPCC_E_DIGEST);
  b_end(b, &given);
  remember_optional(k, w, blob_size);
}

/* No output and no byte of the workspace may lie in another buffer. */
static void check_overlap(checker *k) {
  bld *b = k->b;
  loop i = b_loop(b, k64(b, k->read_only), k64(b, k->buffer_count), 1, NULL, 0);
  V written = b_at(b, k->buffers, b_muli(b, i.i, 16));
  V lo = b_load64(b, written, 0), hi = b_add(b, lo, b_load64(b, written, 8));
  loop j = b_loop(b, k64(b, 0), i.i, 1, NULL, 0);
  V other = b_at(b, k->buffers, b_muli(b, j.i, 16));
  V other_lo = b_load64(b, other, 0), size = b_load64(b, other, 8);
  V meet = b_lt(b, other_lo, hi);
  meet = b_and(b, meet, b_lt(b, lo, b_add(b, other_lo, size)));
  refuse_if(k, b_and(b, meet, b_ne(b, size, k64(b, 0))), SPCC_E_ALIAS);
  b_loop_end(b, &j, NULL);
  b_loop_end(b, &i, NULL);
}

static void check_cpu(checker *k, V detect, V level) {
  bld *b = k->b;
  V given = b_load32(b, k->call, CALL(cpu));
  b_set(b, level, given);
  branch unknown = b_if(b, b_eq(b, given, k64(b, SPCC_CPU_UNKNOWN)));
  b_set(b, level, b_call(b, detect, NULL, 0));
  b_end(b, &unknown);
  uint32_t lowest = isa_table[k->c->o->levels[k->c->o->level_count - 1]].cpu_level;
  refuse_if(k, b_lt(b, b_get(b, b->i64, level), k64(b, lowest)), SPCC_E_CPU);
}

V emit_check(cg *c, V workspace_bytes, V detect) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s.check", c->g->name), b->i64, &b->ptr, 1);
  checker k = {.c = c, .b = b, .call = b_arg(b, 0)};
  uint32_t buffers = c->g->output_count + 3; /* and lengths, weights, workspace */
  for (uint32_t i = 0; i < c->g->count; i++)
    buffers += c->g->values[i].kind == IR_INPUT;
  refuse_if(&k, b_is_null(b, k.call), SPCC_E_NULL);
  refuse_if(&k, misaligned(b, k.call, 8), SPCC_E_ALIGN);
  k.buffers = b_local(b, LLVMArrayType2(b->i64, (uint64_t)buffers * 2), NULL);
  V level = b_local(b, b->i64, NULL);
  refuse_if(&k, b_lt(b, b_load32(b, k.call, CALL(size)), k64(b, sizeof(spcc_call))), SPCC_E_ABI);
  check_cpu(&k, detect, level);
  V model = b_load64(b, k.call, CALL(model));
  V asked = b_ne(b, model, k64(b, 0)), other = b_ne(b, model, k64(b, c->digest));
  refuse_if(&k, b_and(b, asked, other), SPCC_E_DIGEST);
  check_exec(&k);
  check_dims(&k);
  check_lengths(&k);
  check_weights(&k);
  check_tensors(&k);
  check_workspace(&k, workspace_bytes);
  check_overlap(&k);
  b_return(b, LLVMBuildShl(b->b, b_get(b, b->i64, level), k64(b, 32), ""));
  return fn;
}
