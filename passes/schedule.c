/* Schedule: how a linear's work is cut. Chunks are borders of work for threads, slabs keep the
 * activations that a kernel reads in a cache. Both are fixed at compile time, so results do not
 * depend on the number of threads. */
#include "passes/passes.h"

enum {
  DENSE_GROUP = 6,    /* outputs of a dense register tile */
  CHUNKS = 16,        /* chunks of a large linear */
  CHUNKS_GATHER = 8,  /* fewer: buckets of rows with as many units should stay long, */
  GATHER_ROWS = 1536, /* and a linear of fewer outputs has CHUNKS_FEW. So has a gather in pairs, */
  CHUNKS_FEW = 4,     /* whose rows find better partners among many */
  MIN_CHUNK_ROWS = 48,
  MAX_GATHER_ROWS = 65535 /* that a record can number */
};

static uint64_t lcm(uint64_t a, uint64_t b) {
  uint64_t x = a, y = b;
  while (y != 0) {
    uint64_t t = x % y;
    x = y;
    y = t;
  }
  return a / x * b;
}

/* Chunks must not cut a group of rows that a kernel takes together. Numbers over IR_MAX_DIM are as
 * good as any other: all outputs are one chunk then. */
static uint64_t row_alignment(const ir_value *v) {
  uint64_t align = 1;
  for (uint32_t i = 0; i < v->part_count && align <= IR_MAX_DIM; i++) {
    const ir_part *p = &v->parts[i];
    if (p->kernel == K_dense) align = lcm(align, DENSE_GROUP);
    if (p->kernel == K_block) align = lcm(align, p->pattern.rows);
  }
  return align;
}

static int64_t chunk_rows(const ir_value *v, uint32_t m) {
  uint64_t chunks = CHUNKS, align = row_alignment(v);
  for (uint32_t i = 0; i < v->part_count; i++)
    if (v->parts[i].kernel == K_gather)
      chunks = v->parts[i].r == 2 || m < GATHER_ROWS ? CHUNKS_FEW : CHUNKS_GATHER;
  uint64_t rows = (m + chunks - 1) / chunks;
  if (rows < MIN_CHUNK_ROWS) rows = MIN_CHUNK_ROWS;
  rows = (rows + align - 1) / align * align;
  if (chunks != CHUNKS && rows > MAX_GATHER_ROWS && align <= MAX_GATHER_ROWS)
    rows = MAX_GATHER_ROWS / align * align;
  return rows <= IR_MAX_DIM ? (int64_t)rows : m;
}

bool pass_schedule(ir_graph *g, pass_context *c) {
  (void)c;
  for (uint32_t i = 0; i < g->count; i++) {
    ir_value *v = &g->values[i];
    if (!ir_is_op(v, OP_linear)) continue;
    v->attr[A_chunk_rows].i = chunk_rows(v, (uint32_t)ir_in(g, v, 1)->type.dim[0]);
    for (uint32_t p = 0; p < v->part_count; p++) {
      ir_part *part = &v->parts[p];
      if (part->kernel != K_gather && part->k_block == 0) part->k_block = l2_slab(part);
    }
  }
  return true;
}
