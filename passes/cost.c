/* The cost model: what the ops and parts do, counted by the rows of cost.def, times what each
 * takes. Partition and the tuner compare candidates by it, --remarks and estimate print it. */
#include <math.h>

#include "passes/passes.h"

const cost_row cost_rows[COST_COUNT] = {
#define COST(name, per, v3, v4, doc) {#name, COST_##per, {v3, v4}, doc},
#include "passes/cost.def"
#undef COST
};

/* A token's share of what a tile does. */
static const double per_tile = 1.0 / (double)COST_TILE;

cost_table cost_shipped(enum isa_level isa) {
  cost_table t;
  for (int i = 0; i < COST_COUNT; i++)
    t.unit[i] = cost_rows[i].shipped[isa];
  return t;
}

cost_table cost_of(const pass_options *options) {
  return options->costs ? options->costs[options->isa] : cost_shipped(options->isa);
}

double cost_total(const cost_table *t, const cost_counts *n) {
  double sum = 0;
  for (int i = 0; i < COST_COUNT; i++)
    sum += t->unit[i] * n->n[i];
  return sum;
}

cost_counts cost_at(const cost_counts *n, uint64_t tokens) {
  enum { QUARTER = 16 }; /* of a tile: what is computed */
  double computed = (double)((tokens + QUARTER - 1) / QUARTER * QUARTER);
  double in_tiles = (double)((tokens + COST_TILE - 1) / COST_TILE * COST_TILE);
  cost_counts out;
  for (int i = 0; i < COST_COUNT; i++)
    out.n[i] = n->n[i] * (cost_rows[i].per == COST_TILE ? in_tiles : computed);
  return out;
}

/* Of `cells` pairs of a row and a slab, those that hold some of `units` units that lie anywhere. */
static double occupied(double cells, double units) {
  return cells * (1 - exp(-units / cells));
}

/* Slabs of about the same length, `most` inputs or less, and a multiple of `step`. */
static uint32_t even_slab(const ir_part *p, uint32_t most, uint32_t step) {
  uint32_t width = p->col_hi - p->col_lo, slabs = (width + most - 1) / most;
  uint32_t even = (width + slabs - 1) / slabs;
  return (even + step - 1) / step * step;
}

/* A slab of 64 inputs stays in L1 for two token tiles at once, which take half the loads of
 * weights; where rows are sparse, longer slabs of one tile save more, for every slab loads and
 * stores the outputs. Then rows have about 13 weights in a slab. */
uint32_t gather_slab(const ir_part *p, uint64_t rows, uint64_t units) {
  enum { STEP = 16 };
  const double two_tiles = 64, one_tile = 128, longest = 256, row = 13;
  uint32_t width = p->col_hi - p->col_lo;
  double weights = (double)(units * p->c) / (double)rows;
  double inputs = weights > 0 ? row * width / weights : longest;
  double most = inputs < 0.7 * one_tile ? two_tiles : fmin(fmax(inputs, one_tile), longest);
  return even_slab(p, (uint32_t)most / STEP * STEP, STEP);
}

uint32_t l2_slab(const ir_part *p) {
  enum { L2_SLAB = 768, STEP = 16 }; /* 192 KiB a tile */
  return even_slab(p, L2_SLAB, p->c > STEP ? p->c : STEP);
}

/* Register tiles read their inputs from L2 at the full rate only while these are few, or follow
 * each other: where every other input is wanted, the machine fetches those between them as well. So
 * there slabs stay in L1, for one tile of tokens at a time: 4x1 blocks with 50 % zeros run at 93 %
 * of the peak, with slabs in L2 at 83 %. Few blocks do not pay for the outputs that every slab
 * loads and stores. */
uint32_t block_slab(const ir_part *p, uint64_t rows, uint64_t units) {
  enum { L1_SLAB = 128, STEP = 16 };
  const double many = 0.35;
  double elements = (double)units * p->r * p->c, width = p->col_hi - p->col_lo;
  bool scattered = p->c == 1 && elements >= many * (double)rows * width;
  return scattered ? even_slab(p, L1_SLAB, STEP) : l2_slab(p);
}

void cost_count_part(const ir_part *p, uint64_t rows, uint64_t units, cost_counts *n) {
  double width = p->col_hi - p->col_lo, elements = (double)units * p->c;
  double slabs = p->k_block ? ceil(width / p->k_block) : 1;
  switch (p->kernel) {
  case K_dense:
    n->n[COST_dense] += (double)rows * width;
    n->n[COST_dense_tile] += (double)rows * width * per_tile;
    break;
  case K_block:
    n->n[COST_block] += elements * p->r;
    n->n[COST_block_tile] += elements * p->r * per_tile;
    n->n[COST_block_index] += (double)units;
    n->n[COST_block_group] += (double)rows / p->r * slabs;
    break;
  default:
    n->n[p->r == 2 ? COST_pair : COST_gather] += elements;
    n->n[p->r == 2 ? COST_pair_tile : COST_gather_tile] += elements * per_tile;
    n->n[p->r == 2 ? COST_pair_row : COST_gather_row] +=
        occupied((double)rows * slabs, (double)units);
  }
}

static void count_attention(const ir_graph *g, const ir_value *v, double sequence, cost_counts *n) {
  ir_heads h = ir_heads_of(g, v);
  double scores = (double)h.heads * sequence;
  n->n[COST_attention] += 2 * scores * (double)h.size;
  n->n[COST_softmax] += scores;
}

void cost_count_op(const ir_graph *g, const ir_value *v, uint64_t sequence, cost_counts *n) {
  int64_t last = v->type.dim[v->type.rank - 1];
  double channels = last > 0 ? (double)last : 1; /* ids */
  switch (v->op) {
  case OP_attention:
    count_attention(g, v, (double)sequence, n);
    break;
  case OP_linear:
    if (v->attr[A_act].i != ACT_NONE && v->attr[A_act].i != ACT_RELU) n->n[COST_act] += channels;
    if (ir_in(g, v, 4)) n->n[COST_norm] += channels;
    break;
  case OP_gelu:
  case OP_tanh:
    n->n[COST_act] += channels;
    break;
  case OP_layernorm:
    n->n[COST_norm] += channels;
    break;
  case OP_embed:
    n->n[COST_norm] += ir_in(g, v, 5) ? channels : 0;
    n->n[COST_move] += channels;
    break;
  default:
    n->n[COST_move] += channels;
  }
}

/* ---- fitting ---- */

enum { SWEEPS = 20000 };

/* One step of coordinate descent: the best value of constant `row`, the others as they are. */
static void fit_row(const cost_time *times, uint32_t count, int row, cost_table *t) {
  double along = 0, square = 0;
  for (uint32_t i = 0; i < count; i++) {
    const cost_time *c = &times[i];
    double share = c->n.n[row] / c->time;
    along += c->weight * share * (1 - cost_total(t, &c->n) / c->time);
    square += c->weight * share * share;
  }
  if (square > 0) t->unit[row] = fmax(0, t->unit[row] + along / square);
}

void cost_fit(const cost_time *times, uint32_t count, cost_table *t) {
  for (int sweep = 0; sweep < SWEEPS; sweep++)
    for (int row = 0; row < COST_COUNT; row++)
      fit_row(times, count, row, t);
}
