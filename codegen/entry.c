/* The exported functions, and how a step's items reach the caller's threads. */
#include "codegen/cg.h"

/* What parallel_for's task gets: on the stack of dispatch. */
enum task_arg { T_FRAME = 0, T_FN = 8, T_ITEMS = 16, T_TASKS = 24, TASK_BYTES = 32 };

enum { MXCSR_FAST = 0x9fc0 /* all exceptions masked, flush to zero, denormals are zero */ };

static LLVMTypeRef phase_type(bld *b) {
  LLVMTypeRef t[] = {b->ptr, b->i64, b->i64, b->i64};
  return LLVMFunctionType(b->none, t, 4, 0);
}

/* Does items lo … hi - 1 of a phase in our floating-point state. The caller's functions see theirs:
 * threads that they start inherit it. */
static void call_phase(bld *b, V fn, V frame, V lo, V hi, V task) {
  V saved = b_local(b, b->i32, NULL), fast = b_local(b, b->i32, NULL);
  b_intrinsic(b, "llvm.x86.sse.stmxcsr", NULL, &saved, 1);
  b_set(b, fast, k32(b, MXCSR_FAST));
  b_intrinsic(b, "llvm.x86.sse.ldmxcsr", NULL, &fast, 1);
  b_call_type(b, phase_type(b), fn, (V[]){frame, lo, hi, task}, 4);
  b_intrinsic(b, "llvm.x86.sse.ldmxcsr", NULL, &saved, 1);
}

/* void task(arg, u32 i): the i-th share of the items. */
static V emit_task(cg *c) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->i32};
  V fn = b_function(b, arena_printf(c->a, "%s.task", c->g->name), b->none, t, 2);
  V arg = b_arg(b, 0), i = b_zext(b, b_arg(b, 1));
  V items = b_load64(b, arg, T_ITEMS), tasks = b_load64(b, arg, T_TASKS);
  V lo = b_div(b, b_mul(b, items, i), tasks);
  V hi = b_div(b, b_mul(b, items, b_addi(b, i, 1)), tasks);
  V frame = b_loadp(b, arg, T_FRAME), phase_fn = b_loadp(b, arg, T_FN);
  call_phase(b, phase_fn, frame, lo, hi, i);
  b_return(b, NULL);
  return fn;
}

/* void dispatch(frame, phase, items): on the caller's threads when there are several. */
static V emit_dispatch(cg *c, V task) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr, b->i64};
  V fn = b_function(b, arena_printf(c->a, "%s.dispatch", c->g->name), b->none, t, 3);
  V frame = b_arg(b, 0), phase_fn = b_arg(b, 1), items = b_arg(b, 2);
  V arg = b_local(b, LLVMArrayType2(b->i64, TASK_BYTES / 8), NULL);
  V tasks = b_min(b, items, b_load64(b, frame, F_THREADS));
  branch many = b_if(b, b_lt(b, k64(b, 1), tasks));
  V fields[] = {frame, phase_fn, items, tasks};
  for (uint32_t i = 0; i < 4; i++)
    b_store(b, fields[i], b_ati(b, arg, (uint64_t)i * 8), 8);
  V exec = b_loadp(b, frame, F_EXEC);
  LLVMTypeRef for_type =
      LLVMFunctionType(b->none, (LLVMTypeRef[]){b->ptr, b->i32, b->ptr, b->ptr}, 4, 0);
  V for_args[] = {exec, LLVMBuildTrunc(b->b, tasks, b->i32, ""), task, arg};
  b_call_type(b, for_type, b_loadp(b, exec, EXEC(parallel_for)), for_args, 4);
  b_else(b, &many);
  call_phase(b, phase_fn, frame, k64(b, 0), items, k64(b, 0));
  b_end(b, &many);
  b_return(b, NULL);
  return fn;
}

/* Tiles in a group of a linear: two, which then share the weights that are read, or one where that
 * gives more threads whole groups. What a thread writes it reads again in the next step; only the
 * tokens of a group that several threads share go from core to core. With two threads or more for
 * every tile all groups are shared in any case. */
static V linear_step(bld *b, V quarters, V threads) {
  V over = b_rem(b, quarters, b_muli(b, threads, 2 * TILE_QUARTERS));
  V even = b_eq(b, over, k64(b, 0)), alone = b_eq(b, threads, k64(b, 1));
  V all_shared = b_ge(b, b_muli(b, threads, TILE_QUARTERS / 2), quarters);
  V pairs = b_or(b, b_or(b, alone, even), all_shared);
  return b_addi(b, b_zext(b, pairs), 1);
}

/* Number of items of phase `p`; a linear's groups are decided on the way. */
static V phase_items(cg *c, const phase *p, V frame) {
  bld *b = &c->b;
  V tiles = b_load64(b, frame, p->per_batch ? F_BT : F_NT);
  V quarters = b_load64(b, frame, p->per_batch ? F_BQ : F_NQ);
  switch (p->items) {
  case ITEMS_QUARTERS:
    return quarters;
  case ITEMS_TILES:
    return tiles;
  case ITEMS_UNPACK:
    return b_add(b, tiles, b_load64(b, frame, F_BATCH));
  case ITEMS_ATTENTION: {
    if (p->per_batch) return b_muli(b, b_load64(b, frame, F_BATCH), p->factor);
    V batch_at = b_muli(b, b_load64(b, frame, F_BATCH), 4);
    return b_muli(b, b_load32(b, b_at(b, b_loadp(b, frame, F_ITEMS), batch_at), 0), p->factor);
  }
  case ITEMS_FIXED:
    return k64(b, p->factor);
  case ITEMS_LINEAR:
    break;
  }
  V step = linear_step(b, quarters, b_load64(b, frame, F_THREADS));
  b_store(b, step, b_ati(b, frame, F_STEP), 8);
  return b_muli(b, quarters, p->factor);
}

static void call_hook(bld *b, V exec, V hook, uint32_t step, uint32_t enter) {
  branch given = b_if(b, b_not(b, b_is_null(b, hook)));
  LLVMTypeRef type = LLVMFunctionType(b->none, (LLVMTypeRef[]){b->ptr, b->i32, b->i32}, 3, 0);
  b_call_type(b, type, hook, (V[]){exec, k32(b, step), k32(b, enter)}, 3);
  b_end(b, &given);
}

/* void model(frame, hook): all steps for one ISA level, in order, for one group of sequences after
 * the other. */
static V emit_model(cg *c, const isa *level, V dispatch, V next_group) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr};
  V fn = b_function(b, arena_printf(c->a, "%s.model@%s", c->g->name, level->name), b->none, t, 2);
  V frame = b_arg(b, 0), hook = b_arg(b, 1), exec = b_loadp(b, frame, F_EXEC);
  V batch = b_load64(b, frame, F_CALL_BATCH);
  loop group = b_loop(b, k64(b, 0), batch, 1, NULL, 0);
  b_call(b, next_group, &frame, 1);
  for (uint32_t i = 0; i < c->phase_count; i++) {
    call_hook(b, exec, hook, i, 1);
    V args[] = {frame, c->phases[i]->fn[level->level], phase_items(c, c->phases[i], frame)};
    b_call(b, dispatch, args, 3);
    call_hook(b, exec, hook, i, 0);
  }
  b_return_if(b, b_eq(b, b_load64(b, frame, F_NEXT), batch), NULL);
  b_loop_end(b, &group, NULL);
  b_return(b, NULL);
  return fn;
}

/* The embedded weights: a placeholder whose contents object.c replaces. Externally initialised, so
 * that LLVM believes nothing about them. */
static V weights_symbol(cg *c) {
  LLVMTypeRef type = LLVMArrayType2(c->b.i8, 64);
  V global = LLVMAddGlobal(c->b.mod, type, arena_printf(c->a, "%s.weights", c->g->name));
  LLVMSetInitializer(global, LLVMConstNull(type));
  LLVMSetLinkage(global, LLVMInternalLinkage);
  LLVMSetGlobalConstant(global, 1);
  LLVMSetExternallyInitialized(global, 1);
  LLVMSetAlignment(global, 64);
  LLVMSetSection(global, WEIGHTS_SECTION);
  return global;
}

/* Weights and threads of the call into the frame; returns the caller's hook or NULL. */
static V fill_frame(cg *c, V call, V frame) {
  bld *b = &c->b;
  V w = b_loadp(b, call, CALL(weights));
  if (!c->o->external_weights) {
    V embedded = weights_symbol(c);
    w = b_select(b, b_is_null(b, w), embedded, w);
  }
  b_store(b, w, b_ati(b, frame, F_WEIGHTS), 8);
  V threads = b_local(b, b->i64, NULL), hook = b_local(b, b->ptr, NULL);
  b_set(b, threads, k64(b, 1));
  b_set(b, hook, LLVMConstNull(b->ptr));
  V exec = b_loadp(b, call, CALL(exec));
  branch given = b_if(b, b_not(b, b_is_null(b, exec)));
  b_set(b, threads, b_min(b, b_load32(b, exec, EXEC(threads)), k64(b, MAX_THREADS)));
  b_set(b, hook, b_loadp(b, exec, EXEC(hook)));
  b_end(b, &given);
  V count = b_get(b, b->i64, threads);
  b_store(b, count, b_ati(b, frame, F_THREADS), 8);
  return b_get(b, b->ptr, hook);
}

static V status(bld *b, V code) {
  return LLVMBuildTrunc(b->b, code, b->i32, "");
}

/* spcc_status <name>_run(const spcc_call *) */
static void emit_run(cg *c, V check, V prologue, const V *models) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s_run", c->g->name), b->i32, &b->ptr, 1);
  LLVMSetLinkage(fn, LLVMExternalLinkage);
  V call = b_arg(b, 0), checked = b_call(b, check, &call, 1);
  V level = b_shr(b, checked, 32);
  V code = status(b, checked);
  b_return_if(b, b_eq(b, level, k64(b, 0)), code); /* refused, or nothing to do */
  V frame = b_local(b, LLVMArrayType2(b->i64, FRAME_BYTES / 8), NULL);
  V args[] = {frame, fill_frame(c, call, frame)};
  V ready = b_call(b, prologue, (V[]){call, frame}, 2);
  code = status(b, ready);
  b_return_if(b, b_ne(b, ready, k64(b, SPCC_OK)), code);
  for (uint32_t i = 0; i < c->o->level_count; i++) {
    uint32_t cpu = isa_table[c->o->levels[i]].cpu_level;
    branch fits = b_if(b, b_ge(b, level, k64(b, cpu)));
    b_call(b, models[i], args, 2);
    b_return(b, k32(b, SPCC_OK));
    LLVMPositionBuilderAtEnd(b->b, fits.no);
  }
  b_return(b, k32(b, SPCC_E_CPU)); /* not reached: check refuses such a CPU */
}

/* size_t <name>_workspace(int32_t batch, int32_t sequence, uint32_t threads); 0: over the limits */
static void emit_workspace(cg *c, V workspace_bytes) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->i32, b->i32, b->i32};
  V fn = b_function(b, arena_printf(c->a, "%s_workspace", c->g->name), b->i64, t, 3);
  LLVMSetLinkage(fn, LLVMExternalLinkage);
  V arg[3];
  for (uint32_t i = 0; i < 3; i++)
    arg[i] = b_zext(b, b_arg(b, i));
  V over_batch = b_lt(b, k64(b, (uint64_t)c->g->max_batch), arg[0]);
  V over_sequence = b_lt(b, k64(b, (uint64_t)c->g->max_sequence), arg[1]);
  b_return_if(b, b_or(b, over_batch, over_sequence), k64(b, 0));
  b_return(b, b_call(b, workspace_bytes, arg, 3));
}

/* const spcc_info *<name>_info(void), and spcc_model when asked for. */
static void emit_info_function(cg *c, V info) {
  bld *b = &c->b;
  V fn = b_function(b, arena_printf(c->a, "%s_info", c->g->name), b->ptr, NULL, 0);
  LLVMSetLinkage(fn, LLVMExternalLinkage);
  b_return(b, info);
  if (c->o->shared_symbol) LLVMAddAlias2(b->mod, LLVMGlobalGetValueType(fn), 0, fn, "spcc_model");
}

bool emit_entry(cg *c) {
  bld *b = &c->b;
  V models[ISA_COUNT];
  b_set_isa(b, NULL);
  V workspace_bytes = emit_workspace_bytes(c), detect = emit_detect(c);
  V check = emit_check(c, workspace_bytes, detect), next_group = emit_next_group(c);
  V prologue = emit_prologue(c, next_group);
  V dispatch = emit_dispatch(c, emit_task(c));
  for (uint32_t i = 0; i < c->o->level_count; i++)
    models[i] = emit_model(c, &isa_table[c->o->levels[i]], dispatch, next_group);
  emit_run(c, check, prologue, models);
  emit_workspace(c, workspace_bytes);
  emit_info_function(c, emit_info(c));
  return true;
}
