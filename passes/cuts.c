/* The ways to cut a weight into parts that partition and the tuner choose from. One look at the
 * weight (classify) counts the blocks of all shapes; the candidates are read off these counts. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "passes/passes.h"

/* Inputs of a gather's slab: 0 as gather_slab says, the others for the tuner alone. */
static const uint32_t gather_slabs[] = {0, 48, 64, 96, 128, 192, 256};
enum { GATHER_SLABS = sizeof gather_slabs / sizeof gather_slabs[0] };

static ir_part make_part(const cut_source *s, pattern p, enum ir_kernel kernel, uint32_t lo,
                         uint32_t hi, uint32_t fill) {
  ir_range *rows = arena_new_one(s->arena, ir_range);
  *rows = (ir_range){lo, hi};
  ir_part part = {.rows = rows,
                  .row_ranges = 1,
                  .col_hi = s->k,
                  .pattern = p,
                  .kernel = kernel,
                  .fill = fill,
                  .r = 1,
                  .c = 1};
  if (kernel == K_block) part.r = 4;
  if (p.kind == PATTERN_BLOCK) part.c = p.cols;
  return part;
}

static void add_part(const cut_source *s, weight_cut *out, ir_part p, uint64_t units,
                     uint64_t nnz) {
  uint64_t elements = units * p.c * (p.kernel == K_block ? p.r : 1);
  out->fill[out->count] = elements ? (double)nnz / (double)elements : 1;
  cost_count_part(&p, p.rows[0].hi - p.rows[0].lo, units, &out->counts);
  out->cost = cost_total(s->costs, &out->counts);
  cost_counts few = cost_at(&out->counts, CUT_SHORT);
  out->short_cost = cost_total(s->costs, &few) / (double)CUT_SHORT;
  out->part[out->count++] = p;
}

/* Inputs of the slabs in which rows go in pairs: fewer have less in common, more leave L1. */
enum { PAIR_SLAB = 64 };

/* Rows [lo, hi) as single non-zeros, or runs of inputs. */
static void add_gather(const cut_source *s, weight_cut *out, pattern p, uint32_t slab, uint32_t lo,
                       uint32_t hi, uint64_t units, uint64_t nnz) {
  ir_part part = make_part(s, p, K_gather, lo, hi, 1);
  part.k_block = slab ? slab : gather_slab(&part, hi - lo, units);
  add_part(s, out, part, units, nnz);
}

/* ---- counts ---- */

/* The index of a block shape in classify's counts; -1: it is not among them. */
static int shape_index(const pattern *p) {
  for (int i = 0; i < CLASSIFY_BLOCKS; i++)
    if (pattern_equal(p, &classify_blocks[i])) return i;
  return -1;
}

/* Whole blocks with at least `fill` non-zeros, and the non-zeros in them. */
static uint64_t count_blocks(const cut_source *s, int shape, uint32_t fill, uint64_t *nonzeros) {
  uint64_t blocks = 0;
  *nonzeros = 0;
  for (uint32_t n = fill; n <= CLASSIFY_LARGEST; n++) {
    blocks += s->stats.whole[shape][n];
    *nonzeros += n * s->stats.whole[shape][n];
  }
  return blocks;
}

/* True when no group of m consecutive inputs of an output holds more than n non-zeros. */
static bool is_in_groups(const cut_source *s, const pattern *p) {
  for (size_t row = 0; row < s->m; row++) {
    uint32_t held = 0;
    for (size_t col = 0; col < s->k; col++) {
      if (col % p->m == 0) held = 0;
      held += s->w[row * s->k + col] != 0.0f;
      if (held > p->n) return false;
    }
  }
  return true;
}

/* ---- candidates ---- */

static weight_cut dense_cut(const cut_source *s) {
  weight_cut out = {.count = 0};
  pattern p = {.kind = PATTERN_DENSE};
  add_part(s, &out, make_part(s, p, K_dense, 0, s->m, 1), (uint64_t)s->m * s->k, s->stats.nnz);
  return out;
}

/* `label` is the pattern that the part carries. A weight that breaks the N:M pattern asked for is
 * unstructured. */
static bool gather_cut(const cut_source *s, pattern label, uint32_t slab, weight_cut *out) {
  uint64_t nnz = s->stats.nnz, units = nnz;
  if (!ir_kernel_serves(K_gather, &label)) return false;
  if (label.kind == PATTERN_BLOCK) {
    int shape = shape_index(&label);
    if (shape < 0 || s->k % label.cols != 0) return false;
    units = count_blocks(s, shape, 1, &nnz);
  }
  if (label.kind == PATTERN_NM && !is_in_groups(s, &label))
    label = (pattern){.kind = PATTERN_UNSTRUCTURED};
  *out = (weight_cut){.count = 0};
  add_gather(s, out, label, slab, 0, s->m, units, nnz);
  return true;
}

bool cut_in_pairs(const cut_source *s, pattern label, weight_cut *out) {
  weight_cut single;
  if (s->m < 2 || !gather_cut(s, label, PAIR_SLAB, &single)) return false;
  ir_part p = single.part[0];
  uint64_t units = s->stats.nnz;
  if (p.c > 1) units = count_blocks(s, shape_index(&label), 1, &(uint64_t){0});
  *out = (weight_cut){.count = 0};
  p.r = 2;
  add_part(s, out, p, units, s->stats.nnz);
  return true;
}

/* Blocks with at least `fill` non-zeros; what they leave, and the rows after the last whole block,
 * as single non-zeros. */
static bool block_cut(const cut_source *s, pattern label, uint32_t fill, uint32_t slab,
                      weight_cut *out) {
  int shape = shape_index(&label);
  uint32_t whole = s->m / label.rows * label.rows;
  if (shape < 0 || whole == 0 || s->k % label.cols != 0 || !ir_kernel_serves(K_block, &label))
    return false;
  uint64_t in_blocks, in_rows, blocks = count_blocks(s, shape, fill, &in_blocks);
  uint64_t all = count_blocks(s, shape, 1, &in_rows);
  if (fill > 1 && (blocks == 0 || blocks == all)) return false;
  *out = (weight_cut){.count = 0};
  ir_part part = make_part(s, label, K_block, 0, whole, fill);
  uint64_t tiles = blocks * label.rows / part.r;
  part.k_block = block_slab(&part, whole, tiles);
  add_part(s, out, part, tiles, in_blocks);
  pattern single = {.kind = PATTERN_UNSTRUCTURED};
  uint64_t rest = s->stats.nnz - in_blocks;
  if (in_rows > in_blocks)
    add_gather(s, out, single, slab, 0, s->m, rest, rest);
  else if (whole < s->m)
    add_gather(s, out, single, slab, whole, s->m, rest, rest);
  return true;
}

static bool cut_at(const cut_source *s, pattern p, uint32_t slab, weight_cut *out) {
  if (p.kind == PATTERN_DENSE) {
    *out = dense_cut(s);
    return true;
  }
  if (p.kind == PATTERN_BLOCK && p.rows % 4 == 0) return block_cut(s, p, 1, slab, out);
  if (p.kind == PATTERN_NM && p.rows % 4 == 0) {
    pattern shared = {.kind = PATTERN_BLOCK, .rows = p.rows, .cols = 1};
    return block_cut(s, shared, 1, slab, out);
  }
  if (p.kind == PATTERN_BLOCK && p.rows > 1) return false;
  return gather_cut(s, p, slab, out);
}

bool cut_by_pattern(const cut_source *s, pattern p, weight_cut *out) {
  return cut_at(s, p, gather_slabs[0], out);
}

void cut_look(cut_source *s, arena *a, const cost_table *costs, const float *w, uint32_t m,
              uint32_t k) {
  *s = (cut_source){.arena = a, .costs = costs, .w = w, .m = m, .k = k};
  classify(w, m, k, &s->stats);
}

/* ---- the list ---- */

const weight_cut *cut_find(const weight_cut *list, uint32_t count, const char *spelling) {
  char text[CUT_TEXT_MAX];
  for (uint32_t i = 0; i < count; i++)
    if (strcmp(cut_print(&list[i], text), spelling) == 0) return &list[i];
  return NULL;
}

/* Adds a cut that was made and is not in the list. */
static void list_add(weight_cut *list, uint32_t *count, bool made, const weight_cut *c) {
  char text[CUT_TEXT_MAX];
  if (!made || *count == MAX_CUTS || cut_find(list, *count, cut_print(c, text))) return;
  list[(*count)++] = *c;
}

/* The candidates whose gathers have slabs of this many inputs. */
static void list_slab(const cut_source *s, uint32_t slab, bool measured_only, weight_cut *list,
                      uint32_t *count) {
  pattern single = {.kind = PATTERN_UNSTRUCTURED};
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1};
  bool runs = s->stats.best.kind == PATTERN_BLOCK && s->stats.best.rows == 1;
  uint32_t first = *count;
  weight_cut c;
  list_add(list, count, cut_at(s, s->stats.best, slab, &c), &c);
  list_add(list, count, gather_cut(s, single, slab, &c), &c);
  for (uint32_t i = 0; i < CLASSIFY_BLOCKS; i++)
    list_add(list, count, cut_at(s, classify_blocks[i], slab, &c), &c);
  for (uint32_t fill = 2; fill <= 3 && !runs; fill++)
    list_add(list, count, block_cut(s, four, fill, slab, &c), &c);
  for (uint32_t i = first; i < *count; i++)
    list[i].measured_only = measured_only;
}

/* Rows in pairs: a few per cent faster than single rows in some weights, but slower with few
 * tokens. */
static void list_pairs(const cut_source *s, pattern label, weight_cut *list, uint32_t *count) {
  weight_cut c;
  bool made = cut_in_pairs(s, label, &c);
  c.measured_only = true;
  list_add(list, count, made, &c);
}

/* The pattern that the weight was pruned in comes first: with equal cost, its name is kept. */
uint32_t cut_all(const cut_source *s, weight_cut *list) {
  pattern single = {.kind = PATTERN_UNSTRUCTURED};
  uint32_t count = 0;
  list[count++] = dense_cut(s);
  list_slab(s, gather_slabs[0], false, list, &count);
  list_pairs(s, s->stats.best, list, &count);
  list_pairs(s, single, list, &count);
  for (uint32_t i = 1; i < GATHER_SLABS; i++)
    if (gather_slabs[i] < s->k) list_slab(s, gather_slabs[i], true, list, &count);
  return count;
}

/* What the model asks for, since it is no better than that. A gather takes two tiles at once; where
 * it cannot, such as at 96 tokens, it is up to a tenth slower against dense. */
static double margin_of(const weight_cut *c) {
  static const double model = 1.05, gather = 1.15;
  for (uint32_t i = 0; i < c->count; i++)
    if (c->part[i].kernel == K_gather) return gather;
  return model;
}

/* The time of a short call, where one with full tiles takes `time` and not what is predicted. */
static double short_time(const weight_cut *c, double time) {
  return c->cost > 0 ? c->short_cost * time / c->cost : 0;
}

/* How much slower than dense a short call may be predicted: for weights with about as many zeros as
 * this decides about, the model says 1 to 5 % too much, and no call shall take over 1.03 times as
 * long. */
static const double short_margin = 1.04;

bool cut_pays_short(const weight_cut *c, double time, const weight_cut *dense, double dense_time) {
  return short_time(c, time) < short_margin * short_time(dense, dense_time);
}

bool cut_pays(const weight_cut *c, double time, const weight_cut *dense, double dense_time) {
  return time * margin_of(c) < dense_time && cut_pays_short(c, time, dense, dense_time);
}

const weight_cut *cut_predicted(const weight_cut *list, uint32_t count) {
  static const double margin = 1.05; /* over the best so far: the model is no better than that */
  const weight_cut *dense = &list[0], *best = dense;
  for (uint32_t i = 1; i < count; i++) {
    const weight_cut *k = &list[i];
    bool pays = cut_pays(k, k->cost, dense, dense->cost) && !k->measured_only;
    if (pays && k->cost * margin < best->cost) best = k;
  }
  return best;
}

char *cut_print(const weight_cut *c, char *text) {
  size_t at = 0;
  for (uint32_t i = 0; i < c->count; i++) {
    const ir_part *p = &c->part[i];
    char name[PATTERN_TEXT_MAX], fill[16] = "", slab[16] = "";
    const char *pairs = p->kernel == K_gather && p->r == 2 ? "*2" : "";
    if (p->fill > 1) snprintf(fill, sizeof fill, ":%u", p->fill);
    if (p->kernel == K_gather) snprintf(slab, sizeof slab, "/%u", p->k_block);
    at += (size_t)snprintf(text + at, CUT_TEXT_MAX - at, "%s%s%s%s%s", i ? "+" : "",
                           pattern_print(&p->pattern, name), fill, pairs, slab);
  }
  return text;
}

const char *linear_class(const ir_graph *g, const ir_value *v, const cut_source *s) {
  char name[PATTERN_TEXT_MAX];
  double density = (double)s->stats.nnz / ((double)s->m * s->k);
  int octave = density > 0 ? (int)lround(4 * log2(density)) : -99;
  return arena_printf(s->arena, "%ux%u%s%s%s%s%s:%s:%d", s->m, s->k, ir_in(g, v, 2) ? ".bias" : "",
                      v->attr[A_act].i ? "." : "",
                      v->attr[A_act].i ? ir_enum_name(ATTR_ACT, v->attr[A_act].i) : "",
                      ir_in(g, v, 3) ? ".residual" : "", ir_in(g, v, 4) ? ".norm" : "",
                      pattern_print(&s->stats.best, name), octave);
}
