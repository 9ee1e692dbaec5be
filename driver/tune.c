#include "driver/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/steps.h"

enum { TOKENS = 128, MOST_CUTS = 16 };
static const double tokens = TOKENS;
static const double DEFAULT_SECONDS = 60;
/* Candidates that are predicted to take longer than the fastest by this factor are left out. */
static const double HOPELESS = 1.6;
/* How long the candidates of one class are called for. */
static const double CLASS_SECONDS = 1;
/* What another choice than the fastest predicted one has to win: less is noise. */
static const double GAIN = 1.01;

/* Linears that are as fast as each other. */
typedef struct class {
  const char *name;
  const ir_value *like;      /* the first of them; its weight is measured */
  double work;               /* weights of all */
  weight_cut cuts[MAX_CUTS]; /* dense, then the others by their predicted cost */
  uint32_t count;
} class;

typedef struct tuner {
  driver *dr;
  const ir_graph *g;
  build_options *o;
  const cost_table *costs;
  tune_cache cache;
  class **list; /* the most work first */
  uint32_t count;
  bool measured; /* something is new in the cache */
} tuner;

/* ---- classes ---- */

static int by_cost(const void *x, const void *y) {
  const weight_cut *a = x, *b = y;
  return (a->cost > b->cost) - (a->cost < b->cost);
}

static int by_work(const void *x, const void *y) {
  const class *a = *(class *const *)x, *b = *(class *const *)y;
  if (a->work != b->work) return a->work < b->work ? 1 : -1;
  return strcmp(a->name, b->name);
}

/* The candidates that are worth a measurement. */
static void choose_cuts(const cut_source *s, class *c) {
  c->count = cut_all(s, c->cuts);
  qsort(c->cuts + 1, c->count - 1, sizeof *c->cuts, by_cost);
  double least = fmin(c->cuts[0].cost, c->count > 1 ? c->cuts[1].cost : INFINITY);
  uint32_t keep = 1;
  while (keep < c->count && keep < MOST_CUTS && c->cuts[keep].cost <= HOPELESS * least)
    keep++;
  c->count = keep;
}

static void add_linear(tuner *t, const ir_value *v) {
  const ir_value *w = ir_in(t->g, v, 1);
  uint32_t m = (uint32_t)w->type.dim[0], k = (uint32_t)w->type.dim[1];
  cut_source s;
  cut_look(&s, t->dr->arena, t->costs, w->tensor->data, m, k);
  const char *name = linear_class(t->g, v, &s);
  class *c = NULL;
  for (uint32_t i = 0; i < t->count; i++)
    if (strcmp(t->list[i]->name, name) == 0) c = t->list[i];
  if (!c) {
    c = t->list[t->count++] = arena_new_one(t->dr->arena, class);
    c->name = name;
    c->like = v;
    choose_cuts(&s, c);
  }
  c->work += (double)m * k;
}

static void find_classes(tuner *t) {
  t->list = arena_array(t->dr->arena, class *, t->g->count + 1);
  for (ir_id i = 0; i < t->g->count; i++)
    if (ir_is_op(ir_at(t->g, i), OP_linear)) add_linear(t, ir_at(t->g, i));
  qsort(t->list, t->count, sizeof(class *), by_work);
}

/* ---- measuring ---- */

static const tune_record *find_record(const tuner *t, const class *c, uint32_t cut) {
  char text[CUT_TEXT_MAX];
  return tune_cache_find(&t->cache, c->name, cut_print(&c->cuts[cut], text));
}

/* The constant operand `i` of the class's linear in the laboratory's graph, under a name of its
 * own; IR_NONE when it is absent. */
static ir_id copy_constant(ir_graph *lab, const tuner *t, const class *c, uint32_t i,
                           const char *name) {
  const ir_value *v = ir_in(t->g, c->like, i);
  return v ? ir_add_const(lab, name, v->type, v->tensor->data) : IR_NONE;
}

/* Adds the class's linear, cut in one way. */
static void add_trial(ir_graph *lab, const tuner *t, const class *c, uint32_t cut) {
  arena *a = lab->arena;
  const ir_value *w = ir_in(t->g, c->like, 1);
  ir_id in[6] = {lab_rows(lab, (uint32_t)w->type.dim[1], 0)};
  in[1] = copy_constant(lab, t, c, 1, arena_printf(a, "cut%u", cut));
  in[2] = copy_constant(lab, t, c, 2, arena_printf(a, "bias%u", cut));
  in[3] = ir_in(t->g, c->like, 3) ? lab_rows(lab, (uint32_t)w->type.dim[0], 1) : IR_NONE;
  in[4] = copy_constant(lab, t, c, 4, arena_printf(a, "gamma%u", cut));
  in[5] = copy_constant(lab, t, c, 5, arena_printf(a, "beta%u", cut));
  ir_id id = ir_add_op(lab, arena_printf(a, "y%u", cut), OP_linear, in, c->like->nin);
  ir_value *v = ir_at(lab, id);
  memcpy(v->attr, c->like->attr, sizeof v->attr);
  v->part_count = c->cuts[cut].count;
  v->parts = arena_array(a, ir_part, v->part_count);
  memcpy(v->parts, c->cuts[cut].part, v->part_count * sizeof *v->parts);
  lab_keep(lab, id);
}

static bool plan(const tuner *t, ir_graph *lab) {
  pass_context context = {.arena = lab->arena, .diag = t->dr->diag, .options = &t->o->pass};
  ir_cleanup(lab);
  return pipeline_run_list(lab, &context, "schedule,plan", NULL, NULL);
}

static bool measure_class(tuner *t, const class *c) {
  ir_graph *lab = lab_new(t->dr->arena, 1, TOKENS);
  steps_case s = {.batch = 1, .sequence = TOKENS, .threads = 1, .seconds = CLASS_SECONDS};
  step_times times;
  for (uint32_t i = 0; i < c->count; i++)
    if (!find_record(t, c, i)) add_trial(lab, t, c, i);
  if (!plan(t, lab) || !steps_measure(t->dr, lab, &t->o->codegen, &s, 1, &times)) return false;
  for (uint32_t i = 0; i < c->count; i++) {
    if (find_record(t, c, i)) continue;
    double ns = step_ns(&times, arena_printf(t->dr->arena, "cut%u", i));
    char text[CUT_TEXT_MAX];
    const char *cut = arena_strdup(t->dr->arena, cut_print(&c->cuts[i], text));
    tune_cache_add(t->dr->arena, &t->cache,
                   (tune_record){c->name, cut, ns / (times.fma_ns * tokens)});
  }
  return t->measured = true;
}

static bool is_measured(const tuner *t, const class *c) {
  for (uint32_t i = 0; i < c->count; i++)
    if (!find_record(t, c, i)) return false;
  return true;
}

static bool measure_all(tuner *t) {
  double start = seconds_now(), limit = flag_number(t->dr, F_TUNE, DEFAULT_SECONDS);
  uint32_t skipped = 0;
  for (uint32_t i = 0; i < t->count; i++) {
    const class *c = t->list[i];
    if (is_measured(t, c)) continue;
    if (seconds_now() - start >= limit) {
      skipped++;
      continue;
    }
    progress(t->dr, i + 1, t->count, "measuring %s …", c->name);
    if (!measure_class(t, c)) return false;
  }
  if (skipped)
    verbose(t->dr, "--tune: %u of %u kinds of layers were left to the cost model", skipped,
            t->count);
  return true;
}

/* ---- choosing ---- */

/* The fastest measured way; the predicted order decides between equals. False when dense, which
 * gains are told against, or all others are unmeasured. */
static bool choose(const tuner *t, const class *c, tuned_class *out) {
  const tune_record *best = NULL, *dense = find_record(t, c, 0);
  uint32_t measured = 0;
  for (uint32_t i = 1; dense && i < c->count; i++) {
    const tune_record *r = find_record(t, c, i);
    if (!r) continue;
    measured++;
    if (!cut_pays(&c->cuts[i], r->time, &c->cuts[0], dense->time)) continue;
    if (!best || r->time * GAIN < best->time) best = r;
  }
  if (measured == 0) return false;
  if (!best) best = dense;
  *out = (tuned_class){.name = c->name, .cut = best->cut, .gain = dense->time / best->time};
  return true;
}

bool tune_graph(driver *dr, const ir_graph *g, build_options *o) {
  cost_table costs = cost_of(&o->pass);
  tuner t = {.dr = dr, .g = g, .o = o, .costs = &costs};
  if (!tune_cache_read(dr, o->pass.isa, &t.cache)) return false;
  find_classes(&t);
  bool ok = measure_all(&t);
  if (t.measured && !tune_cache_write(dr, &t.cache)) return false;
  tuned_class *tuned = arena_array(dr->arena, tuned_class, t.count + 1);
  for (uint32_t i = 0; i < t.count; i++)
    o->pass.tuned_count += choose(&t, t.list[i], &tuned[o->pass.tuned_count]);
  o->pass.tuned = tuned;
  return ok;
}
