/* The cost model: cycles of one part of a linear on one core. The constants are rows of cost.def;
 * partition compares candidates by it and --remarks prints its predictions. */
#include "passes/passes.h"

typedef struct cost_row {
  double lanes, dense, block, group, gather, row;
} cost_row;

static const cost_row costs[ISA_COUNT] = {
#define COST(level, lanes, dense, block, group, gather, row)                                       \
  [level] = {lanes, dense, block, group, gather, row},
#include "passes/cost.def"
#undef COST
};

double cost_part_cycles(enum isa_level isa, const ir_part *p, uint64_t rows, uint64_t nnz,
                        uint64_t units, uint64_t tokens) {
  const cost_row *c = &costs[isa];
  double tiles = (double)((tokens + 63) / 64), width = p->col_hi - p->col_lo;
  double vectors = 64.0 / c->lanes; /* of tokens in a tile */
  (void)nnz;
  switch (p->kernel) {
  case K_dense:
    return tiles * (double)rows * width * vectors / c->dense;
  case K_block: {
    double fmas = (double)units * p->r * p->c * vectors;
    return tiles * (fmas / c->block + (double)rows / p->r * c->group * 16.0 / c->lanes);
  }
  default: {
    double slabs = width / (p->k_block ? p->k_block : 64);
    double fmas = (double)units * p->c * vectors;
    return tiles * (fmas / c->gather + (double)rows * slabs * c->row * 16.0 / c->lanes);
  }
  }
}
