/* Partition: cuts every linear's weight into parts and gives each the kernel that measuring, or
 * else the cost model, finds fastest; dense where dense is fastest. */
#include <string.h>

#include "passes/passes.h"

typedef struct partitioner {
  pass_context *c;
  const ir_graph *g;
  ir_value *v;
  cut_source source;
  weight_cut list[MAX_CUTS]; /* dense first */
  uint32_t count;
  const weight_cut *best;
  const tuned_class *tuned; /* that the choice follows; NULL: the cost model */
} partitioner;

/* ---- choosing ---- */

/* The measured choice for the linear's class; false where there is none. */
static bool choose_tuned(partitioner *q) {
  const pass_options *o = q->c->options;
  const char *class = o->tuned_count ? linear_class(q->g, q->v, &q->source) : "";
  for (uint32_t i = 0; i < o->tuned_count; i++) {
    if (strcmp(o->tuned[i].name, class) != 0) continue;
    const weight_cut *found = cut_find(q->list, q->count, o->tuned[i].cut);
    if (!found) continue;
    q->best = found;
    q->tuned = &o->tuned[i];
    return true;
  }
  return false;
}

static void choose(partitioner *q) {
  const pass_options *o = q->c->options;
  q->count = cut_all(&q->source, q->list);
  q->best = &q->list[0];
  if (o->sparse == SPARSE_AUTO && !choose_tuned(q)) q->best = cut_predicted(q->list, q->count);
  weight_cut *asked = &q->list[1];
  if (o->sparse == SPARSE_PATTERN && cut_by_pattern(&q->source, o->sparse_pattern, asked))
    q->best = asked;
}

/* ---- remarks ---- */

/* Why a weight is dense. */
static const char *dense_reason(const partitioner *q) {
  const pass_options *o = q->c->options;
  char text[PATTERN_TEXT_MAX];
  bool asked = o->sparse == SPARSE_PATTERN;
  if (o->sparse == SPARSE_OFF || (asked && o->sparse_pattern.kind == PATTERN_DENSE))
    return "as asked for";
  if (asked)
    return arena_printf(q->c->arena, "no kernel runs %s on this shape",
                        pattern_print(&o->sparse_pattern, text));
  if (q->tuned) return "measured faster than every sparse way";
  const weight_cut *next = &q->list[1];
  for (uint32_t i = 2; i < q->count; i++)
    if (!q->list[i].measured_only && q->list[i].cost < next->cost) next = &q->list[i];
  const char *short_calls = "";
  if (!cut_pays_short(next, next->cost, q->best, q->best->cost))
    short_calls = arena_printf(q->c->arena, ", in calls of %d tokens at %.2fx", CUT_SHORT,
                               q->best->short_cost / next->short_cost);
  return arena_printf(q->c->arena, "no sparse kernel would be faster: %s is predicted at %.2fx%s",
                      pattern_print(&next->part[0].pattern, text), q->best->cost / next->cost,
                      short_calls);
}

/* "4x1 by block (82 % filled) + unstructured by gather" */
static const char *describe(const partitioner *q) {
  arena *a = q->c->arena;
  const char *parts = "";
  for (uint32_t i = 0; i < q->best->count; i++) {
    const ir_part *p = &q->best->part[i];
    char text[PATTERN_TEXT_MAX];
    const char *fill = p->kernel == K_block || p->c > 1
                           ? arena_printf(a, " (%.0f %% filled)", 100 * q->best->fill[i])
                           : "";
    const char *pairs = p->kernel == K_gather && p->r == 2 ? ", rows in pairs" : "";
    parts = arena_printf(a, "%s%s%s by %s%s%s", parts, i ? " + " : "",
                         pattern_print(&p->pattern, text), ir_kernel_names[p->kernel], fill, pairs);
  }
  return parts;
}

static void remark(const partitioner *q, const char *weight) {
  if (!q->c->remarks) return;
  const cut_source *s = &q->source;
  char text[PATTERN_TEXT_MAX];
  const char *head = arena_printf(q->c->arena, "%s [%u, %u]: %.1f %% zeros, %s", weight, s->m, s->k,
                                  100.0 * (1.0 - (double)s->stats.nnz / ((double)s->m * s->k)),
                                  pattern_print(&s->stats.best, text));
  if (q->best->part[0].kernel == K_dense) {
    diag_remark(q->c->diag, q->v->loc, "%s: compiled dense, %s", head, dense_reason(q));
    return;
  }
  const char *measured =
      q->tuned ? arena_printf(q->c->arena, ", measured %.1fx", q->tuned->gain) : "";
  const char *predicted = q->best->cost > 0 ? arena_printf(q->c->arena, "predicted %.1fx dense",
                                                           q->list[0].cost / q->best->cost)
                                            : "nothing to multiply";
  diag_remark(q->c->diag, q->v->loc, "%s: %s, %s%s", head, describe(q), predicted, measured);
}

/* ---- the pass ---- */

static void partition_linear(pass_context *c, const cost_table *costs, ir_graph *g, ir_value *v) {
  const ir_value *w = ir_in(g, v, 1);
  partitioner q = {.c = c, .g = g, .v = v};
  cut_look(&q.source, g->arena, costs, w->tensor->data, (uint32_t)w->type.dim[0],
           (uint32_t)w->type.dim[1]);
  choose(&q);
  v->part_count = q.best->count;
  v->parts = arena_array(g->arena, ir_part, q.best->count);
  memcpy(v->parts, q.best->part, q.best->count * sizeof *v->parts);
  remark(&q, w->name);
}

bool pass_partition(ir_graph *g, pass_context *c) {
  cost_table costs = cost_of(c->options);
  for (uint32_t i = 0; i < g->count; i++)
    if (ir_is_op(&g->values[i], OP_linear)) partition_linear(c, &costs, g, &g->values[i]);
  return true;
}
