#include "tests/golden/values.h"

#include <math.h>
#include <string.h>

#include "ir/interp.h"

enum { BATCH = 2, SEQUENCE = 4 };

/* A number from 0 to 1 (an LCG's upper bits). */
static double next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 40) / (double)(1 << 24);
}

static bool is_mask(const ir_graph *g, ir_id input) {
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    for (uint32_t i = 0; v->kind == IR_OP && i < v->nin; i++)
      if (v->in[i] == input && ir_operand(v->op, i).mask) return true;
  }
  return false;
}

static size_t elements_of(const ir_type *t) {
  size_t n = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t dim = t->dim[i];
    n *= dim == DIM_B ? BATCH : dim == DIM_S ? SEQUENCE : (size_t)dim;
  }
  return n;
}

/* One input; a mask has a hole in its first sequence and padding in the second. */
static const void *make_input(arena *a, const ir_graph *g, ir_id id, uint64_t *state) {
  static const int32_t mask[BATCH * SEQUENCE] = {1, 0, 1, 1, 1, 1, 0, 0};
  const ir_type *t = &ir_at(g, id)->type;
  size_t n = elements_of(t);
  if (is_mask(g, id)) return mask;
  if (t->dtype == IR_I32) {
    int32_t *ids = arena_array(a, int32_t, n);
    for (size_t i = 0; i < n; i++)
      ids[i] = next_random(state) < 0.5;
    return ids;
  }
  float *x = arena_array(a, float, n);
  for (size_t i = 0; i < n; i++)
    x[i] = (float)(4.0 * next_random(state) - 2.0);
  return x;
}

static const void **make_inputs(arena *a, const ir_graph *g, bool optional) {
  const void **in = arena_array(a, const void *, g->count);
  uint64_t state = 1;
  size_t n = 0;
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (v->kind != IR_INPUT) continue;
    in[n++] = v->optional && !optional ? NULL : make_input(a, g, id, &state);
  }
  return in;
}

/* What one op computed; the ops of a run form a list. */
typedef struct value {
  const char *name;
  double *data;
  size_t rows, cols;
  struct value *next;
} value;

/* One run: its outputs are in `values` too, as the results of their unpack ops. */
typedef struct record {
  arena *arena;
  value *values;
} record;

static void watch(void *context, const ir_graph *g, ir_id id, const double *data, size_t rows,
                  size_t cols) {
  record *r = context;
  value *v = arena_new_one(r->arena, value);
  *v = (value){.name = ir_at(g, id)->name, .rows = rows, .cols = cols, .next = r->values};
  v->data = arena_array(r->arena, double, rows *cols);
  memcpy(v->data, data, rows * cols * sizeof *data);
  r->values = v;
}

/* The outputs of one run; NULL after an error. */
static double **run(const ir_graph *g, const void *const *in, record *r, diag *d) {
  double **out = arena_array(r->arena, double *, g->output_count);
  interp_call call = {.batch = BATCH, .sequence = SEQUENCE, .in = in, .out = out};
  call.watch = watch;
  call.context = r;
  for (uint32_t i = 0; i < g->output_count; i++) {
    size_t n;
    if (!interp_output_size(g, &call, i, &n)) return NULL;
    out[i] = arena_array(r->arena, double, n);
  }
  return interp_run(g, &call, r->arena, d) ? out : NULL;
}

static double relative(const double *x, const double *y, size_t n) {
  double difference = 0.0, size = 0.0;
  for (size_t i = 0; i < n; i++) {
    difference += (x[i] - y[i]) * (x[i] - y[i]);
    size += x[i] * x[i];
  }
  return difference == 0.0 ? 0.0 : size > 0.0 ? sqrt(difference / size) : INFINITY;
}

/* The largest difference of values with the same name. */
static double named_values_differ(const record *one, const record *other) {
  double worst = 0.0;
  for (const value *x = one->values; x; x = x->next)
    for (const value *y = other->values; y; y = y->next) {
      double r;
      if (strcmp(x->name, y->name) != 0) continue;
      if (x->rows != y->rows || x->cols != y->cols) return INFINITY;
      r = relative(x->data, y->data, x->rows * x->cols);
      worst = fmax(worst, r);
    }
  return worst;
}

static double outputs_differ(const ir_graph *g, double *const *x, double *const *y) {
  double worst = 0.0;
  for (uint32_t i = 0; i < g->output_count; i++) {
    double r = relative(x[i], y[i], elements_of(&ir_at(g, g->outputs[i].value)->type));
    worst = fmax(worst, r);
  }
  return worst;
}

double values_differ(arena *a, diag *d, const ir_graph *one, const ir_graph *other) {
  double worst = 0.0;
  if (one->output_count != other->output_count) return INFINITY;
  for (int optional = 0; optional < 2; optional++) {
    record seen[2] = {{.arena = a}, {.arena = a}};
    const void **in = make_inputs(a, one, optional);
    double **x = run(one, in, &seen[0], d), **y = run(other, in, &seen[1], d);
    if (!x || !y) return -1.0;
    worst = fmax(worst, outputs_differ(one, x, y));
    worst = fmax(worst, named_values_differ(&seen[0], &seen[1]));
  }
  return worst;
}
