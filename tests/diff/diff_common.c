/* Comparing computations of random cases. */
#include "tests/diff/diff_common.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void out_of_memory(void *context, size_t bytes) {
  (void)context;
  fprintf(stderr, "out of memory: %zu bytes\n", bytes);
  abort();
}

arena *diff_arena(void) {
  arena *a = arena_new((size_t)4 << 30, out_of_memory, NULL);
  if (!a) abort();
  return a;
}

const char *diff_messages(arena *a, const diag *d) {
  const char *text = "";
  for (const diag_message *m = diag_first(d); m; m = m->next)
    text = arena_printf(a, "%s%s\n", text, diag_format(a, m));
  return text;
}

const diff_outputs *diff_interpret(const random_case *c, const ir_graph *g, bool single, arena *a,
                                   diag *d) {
  diff_outputs *o = arena_new_one(a, diff_outputs);
  o->count = g->output_count;
  o->elements = arena_array(a, size_t, o->count + 1);
  o->data = arena_array(a, double *, o->count + 1);
  interp_call call = {.batch = c->batch,
                      .sequence = c->sequence,
                      .lengths = c->lengths,
                      .in = c->in,
                      .out = o->data,
                      .single = single};
  for (uint32_t i = 0; i < o->count; i++) {
    if (!interp_output_size(g, &call, i, &o->elements[i])) return NULL;
    o->data[i] = arena_array(a, double, o->elements[i] + 1);
  }
  return interp_run(g, &call, a, d) ? o : NULL;
}

static double norm_of(const double *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += x[i] * x[i];
  return sqrt(sum);
}

double diff_error(const double *want, const double *got, size_t n) {
  double sum = 0, norm = norm_of(want, n);
  for (size_t i = 0; i < n; i++)
    sum += (got[i] - want[i]) * (got[i] - want[i]);
  if (sum == 0) return 0;
  return isnan(sum) || norm == 0 ? INFINITY : sqrt(sum) / norm;
}

const diff_reference *diff_reference_new(const random_case *c, arena *a, diag *d) {
  const diff_outputs *exact = diff_interpret(c, c->graph, false, a, d);
  const diff_outputs *single = diff_interpret(c, c->graph, true, a, d);
  if (!exact || !single) return NULL;
  size_t reduction, linears;
  interp_depth(c->graph, &reduction, &linears);
  diff_reference *r = arena_new_one(a, diff_reference);
  r->exact = exact;
  r->bound = arena_array(a, double, exact->count + 1);
  for (uint32_t i = 0; i < exact->count; i++) {
    size_t n = exact->elements[i];
    double single_error = diff_error(exact->data[i], single->data[i], n);
    r->bound[i] = fmax(3e-8 * sqrt((double)(reduction * linears)), 4 * single_error);
  }
  return r;
}

bool diff_within(const diff_reference *r, uint32_t i, const float *got, arena *a, double *error) {
  size_t n = r->exact->elements[i];
  double *wide = arena_array(a, double, n + 1);
  for (size_t j = 0; j < n; j++)
    wide[j] = (double)got[j];
  *error = diff_error(r->exact->data[i], wide, n);
  return *error <= r->bound[i];
}

static bool parts_fit(const ir_graph *g, const ir_value *v, arena *a) {
  const ir_value *w = ir_in(g, v, 1);
  size_t n = w->tensor->count;
  unsigned char *taken = arena_array(a, unsigned char, n + 1);
  unsigned char *support = arena_array(a, unsigned char, n + 1);
  for (uint32_t p = 0; p < v->part_count; p++) {
    ir_part_support(g, v, p, support);
    for (size_t i = 0; i < n; i++) {
      if (support[i] && taken[i]) return false;
      taken[i] |= support[i];
    }
  }
  for (size_t i = 0; i < n; i++)
    if (w->tensor->data[i] != 0 && !taken[i]) return false;
  return true;
}

const char *diff_bad_parts(const ir_graph *g, arena *a) {
  for (ir_id id = 0; id < g->count; id++) {
    const ir_value *v = ir_at(g, id);
    if (ir_is_op(v, OP_linear) && v->parts && !parts_fit(g, v, a)) return v->name;
  }
  return NULL;
}
