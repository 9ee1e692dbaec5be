/* permute: puts channels into an order in which the weights on both sides of them are cheaper.
 *
 * The channels of a bridge (bridge.h) may stand in any order, if the rows of the first weight, its
 * bias and the columns of the last weight follow: neurons of a feed-forward layer all over the
 * layer, channels of attention within their head, those of V with the columns of the output
 * projection, those of Q and K alike. Nothing is left of that at run time.
 *
 * A few orders are tried: fours of channels whose rows have much in common (fours.h), so that 4x1
 * blocks come about, and columns that are read often before those that are read seldom, so that
 * rows of a gather have nothing in some slabs. The cost model says what all linears of the bridge
 * take then. The best order is kept when it wins more than the model's error is worth. */
#include <stdlib.h>

#include "passes/bridge.h"
#include "passes/fours.h"
#include "passes/passes.h"

enum { STEP_VALUES = 8 }; /* new constants for one bridge: four weights and their biases */
enum { BRIDGE_LINEARS = 4 };

/* What another order has to win by the model. On unstructured weights it promises up to 7 % that
 * cannot be measured, on blocks in a hidden order 13 % and more that can. */
static const double margin = 1.10;

/* A linear of a bridge, and a new order of its rows or columns: NULL where they stay. */
typedef struct moved {
  ir_id linear;
  size_t *rows, *cols; /* row i is to be row rows[i] of now */
} moved;

/* An order of a bridge's channels; `last` is in it once more when it is one of the makers' users.
 */
typedef struct ordering {
  moved of[BRIDGE_LINEARS];
  uint32_t count; /* the makers of channels first, then `last` */
  double cost;
} ordering;

/* What the cost model sees in a linear. */
typedef struct view {
  pattern best;
  double cost;
  bool gathered; /* as single non-zeros, so that the order of the columns matters */
} view;

typedef struct permuter {
  pass_context *c;
  const ir_graph *g;
  const cost_table *costs;
  arena *scratch; /* of one bridge */
} permuter;

/* ---- what an order costs ---- */

/* Pairs of a row and a slab that have non-zeros. */
static uint64_t count_cells(const float *w, size_t rows, size_t cols, size_t slab) {
  uint64_t cells = 0;
  for (size_t r = 0; r < rows; r++)
    for (size_t at = 0; at < cols; at += slab) {
      size_t end = at + slab < cols ? at + slab : cols, c = at;
      while (c < end && w[r * cols + c] == 0.0f)
        c++;
      cells += c < end;
    }
  return cells;
}

/* The cost of a cut as partition would choose it. What partition guesses about a gather from the
 * number of its non-zeros is counted here, for it is all that depends on the columns' order. */
static view look(const permuter *q, const float *w, size_t rows, size_t cols) {
  const pass_options *o = q->c->options;
  weight_cut *list = arena_array(q->scratch, weight_cut, MAX_CUTS), asked;
  cut_source s;
  cut_look(&s, q->scratch, q->costs, w, (uint32_t)rows, (uint32_t)cols);
  const weight_cut *best = cut_predicted(list, cut_all(&s, list));
  if (o->sparse == SPARSE_PATTERN)
    best = cut_by_pattern(&s, o->sparse_pattern, &asked) ? &asked : &list[0];
  const ir_part *p = &best->part[0];
  view v = {.best = s.stats.best, .cost = best->cost};
  v.gathered = best->count == 1 && p->kernel == K_gather;
  if (!v.gathered) return v;
  enum cost row = p->r == 2 ? COST_pair_row : COST_gather_row;
  double cells = (double)count_cells(w, rows, cols, p->k_block);
  v.cost += q->costs->unit[row] * (cells - best->counts.n[row]);
  return v;
}

static view look_at(const permuter *q, ir_id linear) {
  return look(q, linear_weight(q->g, linear), linear_rows(q->g, linear), linear_cols(q->g, linear));
}

static view look_moved(const permuter *q, const moved *m) {
  size_t rows = linear_rows(q->g, m->linear), cols = linear_cols(q->g, m->linear);
  const float *w = linear_weight(q->g, m->linear);
  float *to = arena_array(q->scratch, float, rows *cols);
  for (size_t r = 0; r < rows; r++) {
    const float *from = w + (m->rows ? m->rows[r] : r) * cols;
    for (size_t c = 0; c < cols; c++)
      to[r * cols + c] = from[m->cols ? m->cols[c] : c];
  }
  return look(q, to, rows, cols);
}

/* True for what a weight can lose by another order. */
static bool is_structured(const pattern *p) {
  return p->kind == PATTERN_BLOCK || p->kind == PATTERN_NM;
}

/* ---- the linears of a bridge ---- */

/* The linears of a bridge, with nothing moved. */
static ordering linears_of(const bridge *b) {
  const ir_id all[BRIDGE_LINEARS] = {b->first, b->q, b->k, b->last};
  ordering o = {.count = 0};
  for (int i = 0; i < BRIDGE_LINEARS; i++) {
    bool known = (i == 1 || i == 2) && !b->heads;
    for (uint32_t k = 0; k < o.count; k++)
      known |= o.of[k].linear == all[i];
    if (!known) o.of[o.count++].linear = all[i];
  }
  return o;
}

/* Lets the rows of `linear` that begin at `at` follow the channels. */
static void move_rows(const permuter *q, ordering *o, ir_id linear, size_t at, const size_t *order,
                      size_t count) {
  moved *m = o->of;
  while (m->linear != linear)
    m++;
  if (!m->rows) {
    size_t rows = linear_rows(q->g, linear);
    m->rows = arena_array(q->scratch, size_t, rows);
    for (size_t i = 0; i < rows; i++)
      m->rows[i] = i;
  }
  for (size_t i = 0; i < count; i++)
    m->rows[at + i] = at + order[i];
}

/* The ordering that puts channels (of V) as `order` has them and those of Q and K as `qk`. */
static ordering make_ordering(const permuter *q, const bridge *b, size_t *order, const size_t *qk) {
  ordering o = linears_of(b);
  move_rows(q, &o, b->first, b->first_at, order, b->count);
  if (b->heads) {
    move_rows(q, &o, b->q, b->q_at, qk, b->count);
    move_rows(q, &o, b->k, b->k_at, qk, b->count);
  }
  o.of[o.count - 1].cols = order;
  return o;
}

/* ---- orders ---- */

/* Adds the supports of the channels whose rows begin at row `at` of `linear`, behind `word` words
 * of each. */
static void add_supports(const permuter *q, const supports *s, size_t word, ir_id linear,
                         size_t at) {
  size_t cols = linear_cols(q->g, linear);
  const float *w = linear_weight(q->g, linear) + at * cols;
  for (size_t i = 0; i < s->count; i++)
    for (size_t c = 0; c < cols; c++)
      if (w[i * cols + c] != 0.0f) s->bits[i * s->words + word + c / 64] |= (uint64_t)1 << (c % 64);
}

static size_t words_of(const permuter *q, ir_id linear) {
  return (linear_cols(q->g, linear) + 63) / 64;
}

/* Fours of the channels that the rows of one or two linears make (b IR_NONE: one), each of `pools`
 * equal pools for itself. */
static size_t *order_fours(const permuter *q, size_t count, size_t pools, ir_id a, size_t a_at,
                           ir_id b, size_t b_at) {
  size_t *order = arena_array(q->scratch, size_t, count), n = count / pools;
  size_t a_words = words_of(q, a), words = a_words + (b == IR_NONE ? 0 : words_of(q, b));
  supports s = {arena_array(q->scratch, uint64_t, count *words), count, words};
  add_supports(q, &s, 0, a, a_at);
  if (b != IR_NONE) add_supports(q, &s, a_words, b, b_at);
  for (size_t at = 0; at < count; at += n) {
    supports pool = {s.bits + at * words, n, words};
    order_in_fours(q->scratch, &pool, order + at);
    for (size_t i = at; i < at + n; i++)
      order[i] += at;
  }
  return order;
}

/* Some channels that stay together, and how often they are read. */
typedef struct bundle {
  uint64_t reads;
  size_t at;
} bundle;

static int by_reads(const void *x, const void *y) {
  const bundle *a = x, *b = y;
  if (a->reads != b->reads) return a->reads < b->reads ? 1 : -1;
  return a->at < b->at ? -1 : a->at > b->at;
}

/* `order`, or the channels as they are, with bundles of `size` in the order of how many non-zeros
 * their columns of the last weight hold. */
static size_t *order_by_reads(const permuter *q, const bridge *b, const size_t *order,
                              size_t size) {
  size_t n = b->count, bundles = n / size, rows = linear_rows(q->g, b->last);
  const float *w = linear_weight(q->g, b->last);
  size_t *out = arena_array(q->scratch, size_t, n);
  uint64_t *reads = arena_array(q->scratch, uint64_t, n);
  bundle *list = arena_array(q->scratch, bundle, bundles + 1);
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < n; c++)
      reads[c] += w[r * n + c] != 0.0f;
  for (size_t i = 0; i < bundles; i++) {
    list[i].at = i * size;
    for (size_t k = i * size; k < (i + 1) * size; k++)
      list[i].reads += reads[order ? order[k] : k];
  }
  qsort(list, bundles, sizeof *list, by_reads);
  for (size_t i = 0; i < n; i++) {
    size_t from = i < bundles * size ? list[i / size].at + i % size : i;
    out[i] = order ? order[from] : from;
  }
  return out;
}

/* ---- choosing ---- */

typedef struct choice {
  const bridge *b;
  ordering now, best; /* best.cost 0: nothing was tried */
  view view[BRIDGE_LINEARS];
} choice;

static void try_order(const permuter *q, choice *t, size_t *order, const size_t *qk) {
  ordering o = make_ordering(q, t->b, order, qk);
  for (uint32_t i = 0; i < o.count; i++) {
    view v = look_moved(q, &o.of[i]);
    if (is_structured(&t->view[i].best) && !is_structured(&v.best)) return;
    o.cost += v.cost;
  }
  if (t->best.cost == 0 || o.cost < t->best.cost) t->best = o;
}

/* True when rows of the weight could be in blocks that they are not in. */
static bool may_gather(const view *v) {
  bool in_rows = v->best.kind == PATTERN_BLOCK && v->best.rows > 1;
  return v->best.kind != PATTERN_DENSE && !in_rows;
}

static bool is_better(const choice *t) {
  return t->best.cost > 0 && t->best.cost * margin < t->now.cost;
}

static void try_neurons(const permuter *q, choice *t) {
  const bridge *b = t->b;
  const pattern *rows = &t->view[0].best;
  size_t *fours = NULL, together = rows->kind == PATTERN_BLOCK ? rows->rows : 1;
  if (may_gather(&t->view[0])) {
    fours = order_fours(q, b->count, 1, b->first, b->first_at, IR_NONE, 0);
    try_order(q, t, fours, NULL);
  }
  if (!t->view[1].gathered) return;
  if (is_better(t))
    together = FOUR;
  else
    fours = NULL;
  try_order(q, t, order_by_reads(q, b, fours, together), NULL);
}

static void try_heads(const permuter *q, choice *t) {
  const bridge *b = t->b;
  bool any = false;
  for (uint32_t i = 0; i + 1 < t->now.count; i++)
    any |= may_gather(&t->view[i]);
  if (!any) return;
  size_t *order = order_fours(q, b->count, b->heads, b->first, b->first_at, IR_NONE, 0);
  size_t *qk = order_fours(q, b->count, b->heads, b->q, b->q_at, b->k, b->k_at);
  try_order(q, t, order, qk);
}

/* True when nothing else uses a weight of the bridge: a new order would make a second one. */
static bool owns_weights(const rewrite *r, const ordering *o) {
  for (uint32_t i = 0; i < o->count; i++)
    if (r->uses[operand(r->g, o->of[i].linear, LINEAR_W)] != 1) return false;
  return true;
}

/* ---- the rewrite ---- */

static bool is_identity(const size_t *order, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (order[i] != i) return false;
  return true;
}

static void apply(rewrite *r, const bridge *b, const ordering *o) {
  const ir_graph *g = r->g;
  for (uint32_t i = 0; i < o->count; i++) {
    const moved *m = &o->of[i];
    size_t rows = linear_rows(g, m->linear), cols = linear_cols(g, m->linear);
    if (m->rows && !is_identity(m->rows, rows)) {
      bridge_take_rows(r, m->linear, m->rows, rows, NULL);
      rename_value(r, m->linear, "permuted");
    }
    if (!m->cols || is_identity(m->cols, cols)) continue;
    bridge_take_cols(r, m->linear, m->cols, cols, NULL);
    for (uint32_t k = b->heads ? 1 : b->links; k > 0; k--)
      rename_value(r, b->link[k - 1], "permuted");
  }
}

static void remark(const permuter *q, const choice *t) {
  const ir_value *w = ir_at(q->g, operand(q->g, t->b->first, LINEAR_W));
  const ir_value *last = ir_at(q->g, operand(q->g, t->b->last, LINEAR_W));
  const char *what = t->b->heads ? "channels within heads" : "neurons";
  double gain = t->now.cost / t->best.cost;
  if (!q->c->remarks || t->best.cost == 0) return;
  if (is_better(t))
    diag_remark(q->c->diag, w->loc,
                "%s: its %s get a new order, with which it and %s are predicted %.2fx as fast",
                w->name, what, last->name, gain);
  else
    diag_remark(q->c->diag, w->loc,
                "%s: its %s keep their order, the best other one is predicted %.3fx as fast",
                w->name, what, gain);
}

static void permute(rewrite *r, permuter *q, const bridge *b) {
  choice t = {.b = b, .now = linears_of(b)};
  if (!owns_weights(r, &t.now)) return;
  for (uint32_t i = 0; i < t.now.count; i++) {
    t.view[i] = look_at(q, t.now.of[i].linear);
    t.now.cost += t.view[i].cost;
  }
  if (b->heads)
    try_heads(q, &t);
  else
    try_neurons(q, &t);
  remark(q, &t);
  if (is_better(&t)) apply(r, b, &t.best);
}

bool pass_permute(ir_graph *g, pass_context *c) {
  cost_table costs = cost_of(c->options);
  permuter q = {.c = c, .g = g, .costs = &costs};
  rewrite r = rewrite_begin(g);
  bool any = !c->options->keep_order && c->options->sparse != SPARSE_OFF;
  ir_id count = g->count;
  for (ir_id id = 0; any && id < count && has_room(&r, STEP_VALUES); id++) {
    bridge b;
    if (!is_linear(g, id)) continue;
    if (!bridge_neurons(&r, id, &b) && !bridge_heads(&r, id, &b)) continue;
    q.scratch = arena_scratch(g->arena);
    permute(&r, &q, &b);
    arena_free(q.scratch);
  }
  rewrite_end(&r);
  return true;
}
