/* spcc run model.so -i name=in.npy … -o name=out.npy */
#include <inttypes.h>
#include <string.h>

#include "driver/npy.h"
#include "driver/output.h"
#include "driver/session.h"
#include "frontend/suggest.h"

typedef struct binding {
  const char *path; /* NULL: not given */
  npy_array array;  /* inputs; as i32 or f32 */
} binding;

typedef struct run_job {
  driver *dr;
  library lib;
  binding *in, *out; /* in the order of the model's inputs and outputs */
  int64_t batch, sequence;
} run_job;

static const spcc_tensor *tensors(const run_job *j, enum flag f, uint32_t *count) {
  const spcc_info *info = j->lib.info;
  *count = f == F_RUN_IN ? info->input_count : info->output_count;
  return f == F_RUN_IN ? info->inputs : info->outputs;
}

/* All names, for messages. */
static const char *name_list(const run_job *j, enum flag f) {
  uint32_t count;
  const spcc_tensor *list = tensors(j, f, &count);
  char *text = arena_strdup(j->dr->arena, "");
  for (uint32_t i = 0; i < count; i++)
    text = arena_printf(j->dr->arena, "%s%s%s", text, i ? ", " : "", list[i].name);
  return text;
}

/* The binding that NAME=FILE means. */
static int bind(run_job *j, enum flag f, binding *to, const char *text) {
  driver *dr = j->dr;
  const char *equals = strchr(text, '=');
  if (!equals || equals == text || !equals[1])
    return usage_error(dr, "%s %s: NAME=FILE.npy is expected", flag_table[f].spelling, text);
  const char *name = arena_strndup(dr->arena, text, (size_t)(equals - text));
  uint32_t count;
  const spcc_tensor *list = tensors(j, f, &count);
  suggestion s = {.word = name};
  for (uint32_t i = 0; i < count; i++) {
    suggest_offer(&s, list[i].name);
    if (strcmp(list[i].name, name) != 0) continue;
    if (to[i].path) return usage_error(dr, "%s %s is given twice", flag_table[f].spelling, name);
    to[i].path = equals + 1;
    return EXIT_OK;
  }
  return usage_error(dr, "the model has no %s '%s'%s (it has %s)",
                     f == F_RUN_IN ? "input" : "output", name, suggest_text(dr->arena, &s),
                     name_list(j, f));
}

static int bind_all(run_job *j, enum flag f, binding *to) {
  size_t at = 0;
  for (const char *text; (text = flag_next(j->dr, f, &at));) {
    int code = bind(j, f, to, text);
    if (code != EXIT_OK) return code;
  }
  return EXIT_OK;
}

static int check_bindings(run_job *j) {
  const spcc_info *info = j->lib.info;
  for (uint32_t i = 0; i < info->input_count; i++)
    if (!j->in[i].path && !info->inputs[i].optional)
      return usage_error(j->dr, "input '%s' is missing: give -i %s=FILE.npy", info->inputs[i].name,
                         info->inputs[i].name);
  for (uint32_t i = 0; i < info->output_count; i++)
    if (j->out[i].path) return EXIT_OK;
  return usage_error(j->dr, "no output is asked for: give -o NAME=FILE.npy (the model has %s)",
                     name_list(j, F_RUN_OUT));
}

static bool narrow(driver *dr, binding *b) {
  const int64_t *from = b->array.data;
  int32_t *to = arena_array(dr->arena, int32_t, b->array.count + 1);
  for (size_t i = 0; i < b->array.count; i++) {
    if (from[i] < INT32_MIN || from[i] > INT32_MAX)
      return diag_error(dr->diag, loc_file(b->path), E_NPY,
                        "element %zu is %" PRId64 ", which no int32 holds", i, from[i]);
    to[i] = (int32_t)from[i];
  }
  b->array.type = NPY_I32;
  b->array.data = to;
  return true;
}

/* Compares one dimension; a symbolic one is set by the first array that has it. */
static bool match_dim(run_job *j, const binding *b, const spcc_tensor *t, uint32_t i) {
  int64_t wanted = t->dim[i], got = b->array.dim[i];
  int64_t *symbol = wanted == SPCC_DIM_BATCH      ? &j->batch
                    : wanted == SPCC_DIM_SEQUENCE ? &j->sequence
                                                  : NULL;
  if (symbol && *symbol < 0) *symbol = got;
  if (symbol) wanted = *symbol;
  return got == wanted || diag_error(j->dr->diag, loc_file(b->path), E_SHAPE,
                                     "input '%s': dimension %u is %" PRId64 ", expected %" PRId64,
                                     t->name, i, got, wanted);
}

static bool read_input(run_job *j, binding *b, const spcc_tensor *t) {
  driver *dr = j->dr;
  if (!npy_read(dr->arena, dr->diag, b->path, &b->array)) return false;
  if (b->array.type == NPY_I64 && t->dtype == SPCC_I32 && !narrow(dr, b)) return false;
  enum npy_type wanted = t->dtype == SPCC_I32 ? NPY_I32 : NPY_F32;
  if (b->array.type != wanted)
    return diag_error(dr->diag, loc_file(b->path), E_DTYPE, "input '%s' is %s, the file holds %s",
                      t->name, npy_type_name(wanted), npy_type_name(b->array.type));
  if (b->array.rank != t->rank)
    return diag_error(dr->diag, loc_file(b->path), E_SHAPE,
                      "input '%s' has %u dimensions, the file's array %u", t->name, t->rank,
                      b->array.rank);
  for (uint32_t i = 0; i < t->rank; i++)
    if (!match_dim(j, b, t, i)) return false;
  return true;
}

static bool read_inputs(run_job *j) {
  const spcc_info *info = j->lib.info;
  j->batch = j->sequence = -1;
  for (uint32_t i = 0; i < info->input_count; i++)
    if (j->in[i].path && !read_input(j, &j->in[i], &info->inputs[i])) return false;
  if (j->batch < 0) j->batch = 1;
  if (j->sequence < 0) j->sequence = 1;
  return true;
}

static bytes format_output(const run_job *j, const session *s, uint32_t i) {
  const spcc_tensor *t = &j->lib.info->outputs[i];
  npy_array array = {.type = t->dtype == SPCC_I32 ? NPY_I32 : NPY_F32,
                     .rank = t->rank,
                     .count = s->out_bytes[i] / 4,
                     .data = s->out[i]};
  for (uint32_t d = 0; d < t->rank; d++)
    array.dim[d] = t->dim[d] == SPCC_DIM_BATCH      ? j->batch
                   : t->dim[d] == SPCC_DIM_SEQUENCE ? j->sequence
                                                    : t->dim[d];
  return npy_format(j->dr->arena, &array);
}

/* The outputs that were asked for, without their bytes yet; checked before the run. */
static bool plan_outputs(run_job *j, output *list, size_t *count) {
  const spcc_info *info = j->lib.info;
  const char **inputs = arena_array(j->dr->arena, const char *, info->input_count + 1);
  size_t input_count = 0;
  inputs[input_count++] = j->dr->operands[0];
  for (uint32_t i = 0; i < info->input_count; i++)
    if (j->in[i].path) inputs[input_count++] = j->in[i].path;
  for (uint32_t i = 0; i < info->output_count; i++)
    if (j->out[i].path) list[(*count)++].path = j->out[i].path;
  return outputs_check(j->dr, list, *count, inputs, input_count);
}

static bool run(run_job *j) {
  driver *dr = j->dr;
  const spcc_info *info = j->lib.info;
  output *list = arena_array(dr->arena, output, info->output_count);
  size_t count = 0;
  session s;
  if (!plan_outputs(j, list, &count) || !read_inputs(j)) return false;
  bool ok = session_open(dr, &j->lib.entry, j->lib.weights, j->lib.weights_bytes, (int32_t)j->batch,
                         (int32_t)j->sequence, session_threads(dr), &s);
  for (uint32_t i = 0; ok && i < info->input_count; i++)
    s.in[i] = j->in[i].path ? j->in[i].array.data : NULL;
  ok = ok && session_run(dr, &s);
  session_close(&s);
  if (!ok) return false;
  count = 0;
  for (uint32_t i = 0; i < info->output_count; i++)
    if (j->out[i].path) list[count++].data = format_output(j, &s, i);
  return outputs_write(dr, list, count);
}

int cmd_run(driver *dr) {
  run_job j = {.dr = dr};
  if (!library_open(dr, dr->operands[0], &j.lib)) return diag_exit_code(dr->diag);
  j.in = arena_array(dr->arena, binding, j.lib.info->input_count + 1);
  j.out = arena_array(dr->arena, binding, j.lib.info->output_count + 1);
  int code = bind_all(&j, F_RUN_IN, j.in);
  if (code == EXIT_OK) code = bind_all(&j, F_RUN_OUT, j.out);
  if (code == EXIT_OK) code = check_bindings(&j);
  if (code == EXIT_OK) run(&j);
  library_close(&j.lib);
  return code;
}
