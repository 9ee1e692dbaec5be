/* Partition: cuts every linear's weight into parts and gives each the kernel that the cost model
 * finds fastest; dense where dense is fastest. */
#include <string.h>

#include "passes/passes.h"

enum { PREDICT_TOKENS = 128, GATHER_SLAB = 64 };
/* A sparse choice must beat dense by this factor: the model is no better than that. */
static const double margin = 1.03;

enum { MAX_CANDIDATE_PARTS = 3 };
typedef struct candidate {
  ir_part part[MAX_CANDIDATE_PARTS];
  uint32_t count;
  double cycles;
} candidate;

typedef struct partitioner {
  pass_context *c;
  const ir_graph *g;
  ir_value *v;
  const float *w;
  uint32_t m, k;
  classify_result stats;
  candidate best;
  double dense_cycles;
} partitioner;

static ir_part make_part(const partitioner *q, pattern p, enum ir_kernel kernel, uint32_t lo,
                         uint32_t hi, uint32_t fill) {
  ir_range *rows = arena_new_one(q->g->arena, ir_range);
  *rows = (ir_range){lo, hi};
  ir_part part = {.rows = rows,
                  .row_ranges = 1,
                  .col_lo = 0,
                  .col_hi = q->k,
                  .pattern = p,
                  .kernel = kernel,
                  .fill = fill,
                  .r = 1,
                  .c = 1};
  if (kernel == K_block) {
    part.r = 4;
    part.c = p.cols;
  }
  if (kernel == K_gather) {
    part.c = p.kind == PATTERN_BLOCK ? p.cols : 1;
    part.k_block = GATHER_SLAB;
  }
  return part;
}

/* Non-zeros of r x c block at (row, col). */
static uint32_t block_nonzeros(const partitioner *q, uint32_t row, uint32_t col, uint32_t r,
                               uint32_t c) {
  uint32_t n = 0;
  for (uint32_t i = row; i < row + r; i++)
    for (uint32_t j = col; j < col + c; j++)
      n += q->w[(size_t)i * q->k + j] != 0.0f;
  return n;
}

/* Units of r x c with at least `fill` non-zeros in rows [lo, hi), and the non-zeros in them. */
static uint64_t count_units(const partitioner *q, uint32_t lo, uint32_t hi, uint32_t r, uint32_t c,
                            uint32_t fill, uint64_t *nonzeros) {
  uint64_t units = 0;
  *nonzeros = 0;
  for (uint32_t row = lo; row + r <= hi; row += r)
    for (uint32_t col = 0; col + c <= q->k; col += c) {
      uint32_t n = block_nonzeros(q, row, col, r, c);
      if (n < fill) continue;
      units++;
      *nonzeros += n;
    }
  return units;
}

static double part_cycles(const partitioner *q, const ir_part *p, uint64_t units, uint64_t nnz) {
  uint64_t rows = p->rows[0].hi - p->rows[0].lo;
  return cost_part_cycles(q->c->options->isa, p, rows, nnz, units, PREDICT_TOKENS);
}

static void add_part(const partitioner *q, candidate *out, ir_part p, uint64_t units,
                     uint64_t nnz) {
  out->cycles += part_cycles(q, &p, units, nnz);
  out->part[out->count++] = p;
}

/* The rest of rows [lo, hi) as single non-zeros. */
static void add_gather(const partitioner *q, candidate *out, uint32_t lo, uint32_t hi,
                       uint64_t nnz) {
  pattern p = {.kind = PATTERN_UNSTRUCTURED};
  add_part(q, out, make_part(q, p, K_gather, lo, hi, 1), nnz, nnz);
}

static candidate dense_candidate(const partitioner *q) {
  candidate out = {0};
  pattern p = {.kind = PATTERN_DENSE};
  uint64_t all = (uint64_t)q->m * q->k;
  add_part(q, &out, make_part(q, p, K_dense, 0, q->m, 1), all, all);
  return out;
}

/* True when no group of m consecutive inputs of an output holds more than n non-zeros. */
static bool is_in_groups(const partitioner *q, const pattern *p) {
  for (uint32_t row = 0; row < q->m; row++)
    for (uint32_t col = 0; col < q->k; col += p->m) {
      uint32_t width = q->k - col < p->m ? q->k - col : p->m;
      if (block_nonzeros(q, row, col, 1, width) > p->n) return false;
    }
  return true;
}

/* Single non-zeros, or runs of c inputs; `label` is the pattern that the part carries. A weight
 * that breaks the N:M pattern asked for is unstructured. */
static bool gather_candidate(const partitioner *q, pattern label, candidate *out) {
  uint32_t c = label.kind == PATTERN_BLOCK ? label.cols : 1;
  if (!ir_kernel_serves(K_gather, &label) || q->k % c != 0) return false;
  if (label.kind == PATTERN_NM && !is_in_groups(q, &label))
    label = (pattern){.kind = PATTERN_UNSTRUCTURED};
  *out = (candidate){0};
  uint64_t nnz, units = count_units(q, 0, q->m, 1, c, 1, &nnz);
  add_part(q, out, make_part(q, label, K_gather, 0, q->m, 1), units, nnz);
  return true;
}

/* Blocks with at least `fill` non-zeros; what they leave, and the rows after the last whole block,
 * as single non-zeros. */
static bool block_candidate(const partitioner *q, pattern label, uint32_t fill, candidate *out) {
  uint32_t whole = q->m / label.rows * label.rows;
  if (whole == 0 || q->k % label.cols != 0 || !ir_kernel_serves(K_block, &label)) return false;
  *out = (candidate){0};
  uint64_t in_blocks, in_tail,
      units = count_units(q, 0, whole, label.rows, label.cols, fill, &in_blocks);
  if (units == 0 && fill > 1) return false;
  add_part(q, out, make_part(q, label, K_block, 0, whole, fill), units * label.rows / 4, in_blocks);
  count_units(q, whole, q->m, 1, 1, 1, &in_tail);
  uint64_t rest = q->stats.nnz - in_blocks - in_tail;
  if (rest > 0)
    add_gather(q, out, 0, q->m, rest + in_tail);
  else if (whole < q->m)
    add_gather(q, out, whole, q->m, in_tail);
  return true;
}

/* Kernels that can run a pattern. */
static bool pattern_candidate(const partitioner *q, pattern label, candidate *out) {
  if (label.kind == PATTERN_DENSE) {
    *out = dense_candidate(q);
    return true;
  }
  if (label.kind == PATTERN_BLOCK && label.rows % 4 == 0) return block_candidate(q, label, 1, out);
  if (label.kind == PATTERN_NM && label.rows % 4 == 0) {
    pattern shared = {.kind = PATTERN_BLOCK, .rows = label.rows, .cols = 1};
    return block_candidate(q, shared, 1, out);
  }
  if (label.kind == PATTERN_BLOCK && label.rows > 1) return false;
  return gather_candidate(q, label, out);
}

static void consider(partitioner *q, bool made, const candidate *k) {
  if (made && k->cycles * margin < q->best.cycles) q->best = *k;
}

static bool same_column_runs(const pattern *p) {
  return p->kind == PATTERN_BLOCK && p->rows == 1;
}

/* The pattern that the weight was pruned in comes first: with equal cost, its name is kept. */
static void choose(partitioner *q) {
  pattern single = {.kind = PATTERN_UNSTRUCTURED};
  candidate k;
  if (q->stats.best.kind != PATTERN_DENSE) consider(q, pattern_candidate(q, q->stats.best, &k), &k);
  consider(q, gather_candidate(q, single, &k), &k);
  for (uint32_t i = 0; i < CLASSIFY_BLOCKS; i++)
    consider(q, pattern_candidate(q, classify_blocks[i], &k), &k);
  pattern four = {.kind = PATTERN_BLOCK, .rows = 4, .cols = 1};
  if (same_column_runs(&q->stats.best)) return;
  for (uint32_t fill = 2; fill <= 3; fill++)
    consider(q, block_candidate(q, four, fill, &k), &k);
}

/* Why a weight is dense. */
static const char *dense_reason(const partitioner *q) {
  const pass_options *o = q->c->options;
  char text[PATTERN_TEXT_MAX];
  if (o->sparse == SPARSE_AUTO) return "no sparse kernel would be faster";
  if (o->sparse == SPARSE_OFF || o->sparse_pattern.kind == PATTERN_DENSE) return "as asked for";
  return arena_printf(q->c->arena, "no kernel runs %s on this shape",
                      pattern_print(&o->sparse_pattern, text));
}

static void remark(const partitioner *q, const char *weight) {
  if (!q->c->remarks) return;
  char text[PATTERN_TEXT_MAX];
  double zeros = 100.0 * (1.0 - (double)q->stats.nnz / ((double)q->m * q->k));
  double gain = q->dense_cycles / q->best.cycles;
  const char *found = pattern_print(&q->stats.best, text);
  if (q->best.part[0].kernel == K_dense) {
    diag_remark(q->c->diag, q->v->loc, "%s [%u, %u]: %.1f %% zeros, %s: compiled dense, %s", weight,
                q->m, q->k, zeros, found, dense_reason(q));
    return;
  }
  char *parts = arena_strdup(q->c->arena, "");
  for (uint32_t i = 0; i < q->best.count; i++) {
    char p[PATTERN_TEXT_MAX];
    parts = arena_printf(q->c->arena, "%s%s%s by %s", parts, i ? " + " : "",
                         pattern_print(&q->best.part[i].pattern, p),
                         ir_kernel_names[q->best.part[i].kernel]);
  }
  diag_remark(q->c->diag, q->v->loc, "%s [%u, %u]: %.1f %% zeros, %s: %s, predicted %.1fx dense",
              weight, q->m, q->k, zeros, found, parts, gain);
}

static void partition_linear(pass_context *c, ir_graph *g, ir_value *v) {
  const ir_value *w = ir_in(g, v, 1);
  partitioner q = {.c = c,
                   .g = g,
                   .v = v,
                   .w = w->tensor->data,
                   .m = (uint32_t)w->type.dim[0],
                   .k = (uint32_t)w->type.dim[1]};
  classify(q.w, q.m, q.k, &q.stats);
  q.best = dense_candidate(&q);
  q.dense_cycles = q.best.cycles;
  if (c->options->sparse == SPARSE_AUTO) choose(&q);
  candidate k;
  if (c->options->sparse == SPARSE_PATTERN && pattern_candidate(&q, c->options->sparse_pattern, &k))
    q.best = k;
  v->part_count = q.best.count;
  v->parts = arena_array(g->arena, ir_part, q.best.count);
  memcpy(v->parts, q.best.part, q.best.count * sizeof *v->parts);
  remark(&q, w->name);
}

bool pass_partition(ir_graph *g, pass_context *c) {
  for (uint32_t i = 0; i < g->count; i++)
    if (ir_is_op(&g->values[i], OP_linear)) partition_linear(c, g, &g->values[i]);
  return true;
}
