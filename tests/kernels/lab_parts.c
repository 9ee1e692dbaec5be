/* Random lists of parts that sum to a weight. */
#include "tests/kernels/lab.h"

/* What is being cut, and for whom. */
typedef struct cutter {
  lab *l;
  uint32_t m, k;
} cutter;

static uint32_t below(cutter *c, uint32_t n) {
  return rng_below(&c->l->r, n);
}

/* Two numbers lo < hi <= n, multiples of `unit` when counted from 0, or from lo alone. */
static ir_range random_range(cutter *c, uint32_t n, uint32_t unit, bool aligned) {
  uint32_t units = 1 + below(c, n / unit), rest = n - units * unit;
  uint32_t lo = aligned ? below(c, rest / unit + 1) * unit : below(c, rest + 1);
  if (below(c, 3) == 0) lo = 0;
  return (ir_range){lo, lo + units * unit};
}

/* One range of rows, or two when there is room between; multiples of `unit`. */
static void random_rows(cutter *c, ir_part *p, uint32_t unit) {
  ir_range all = random_range(c, c->m, unit, true);
  uint32_t units = (all.hi - all.lo) / unit;
  p->rows = arena_array(c->l->a, ir_range, 2);
  p->rows[p->row_ranges++] = all;
  if (units < 3 || below(c, 2)) return;
  uint32_t cut = all.lo + unit * (1 + below(c, units - 2));
  p->rows[0].hi = cut;
  p->rows[p->row_ranges++] = (ir_range){cut + unit, all.hi};
}

static void random_columns(cutter *c, ir_part *p, uint32_t unit) {
  ir_range cols = random_range(c, c->k, unit, false);
  p->col_lo = cols.lo;
  p->col_hi = cols.hi;
}

typedef struct choice {
  const char *pattern;
  enum ir_kernel kernel;
  uint32_t r;
} choice;
static const choice choices[] = {
    {"4x1", K_block, 4},           {"4x1", K_block, 2},   {"8x1", K_block, 4},
    {"8x1", K_block, 8},           {"16x1", K_block, 4},  {"16x16", K_block, 4},
    {"2:4x4", K_block, 4},         {"1:8x8", K_block, 8}, {"unstructured", K_gather, 1},
    {"1x4", K_gather, 1},          {"1x16", K_gather, 1}, {"2:4", K_gather, 1},
    {"1x4", K_gather, 2},          {"1x16", K_gather, 2}, {"2:4", K_gather, 2},
    {"unstructured", K_gather, 2}, {"dense", K_dense, 1}};

/* A part that takes some of the weight; false when its unit does not fit. */
static bool random_part(cutter *c, ir_part *p) {
  const choice *o = &choices[below(c, sizeof choices / sizeof *choices)];
  *p = (ir_part){.kernel = o->kernel, .fill = 1, .r = o->r, .c = 1};
  pattern_parse(o->pattern, &p->pattern);
  bool block = p->pattern.kind == PATTERN_BLOCK;
  uint32_t rows = o->kernel == K_block ? p->pattern.rows : 1;
  if (block) p->c = p->pattern.cols;
  if (rows > c->m || p->c > c->k) return false;
  random_rows(c, p, rows);
  random_columns(c, p, p->c);
  if (block) p->fill = 1 + below(c, p->pattern.rows * p->pattern.cols);
  return true;
}

/* Everything in rows and columns that is still there. */
static ir_part rest_part(cutter *c, uint32_t row_lo, uint32_t row_hi, uint32_t col_lo,
                         uint32_t col_hi) {
  bool dense = below(c, 2);
  ir_part p = {.col_lo = col_lo, .col_hi = col_hi, .fill = 1, .r = 1, .c = 1};
  p.kernel = dense ? K_dense : K_gather;
  if (!dense) p.r = 1 + below(c, 2);
  p.pattern.kind = dense ? PATTERN_DENSE : PATTERN_UNSTRUCTURED;
  p.rows = arena_new_one(c->l->a, ir_range);
  *p.rows = (ir_range){row_lo, row_hi};
  p.row_ranges = 1;
  return p;
}

/* Parts that take what is left of the whole weight: one, or two of rows or of columns. */
static uint32_t rest_parts(cutter *c, ir_part *p) {
  uint32_t how = below(c, 3);
  if (how == 1 && c->m > 1) {
    uint32_t cut = 1 + below(c, c->m - 1);
    p[0] = rest_part(c, 0, cut, 0, c->k);
    p[1] = rest_part(c, cut, c->m, 0, c->k);
    return 2;
  }
  if (how == 2 && c->k > 1) {
    uint32_t cut = 1 + below(c, c->k - 1);
    p[0] = rest_part(c, 0, c->m, 0, cut);
    p[1] = rest_part(c, 0, c->m, cut, c->k);
    return 2;
  }
  p[0] = rest_part(c, 0, c->m, 0, c->k);
  return 1;
}

void lab_random_parts(lab *l, uint32_t i) {
  enum { EARLY = 3 };
  cutter c = {.l = l, .m = l->linear[i].m, .k = l->linear[i].k};
  ir_part *p = arena_array(l->a, ir_part, EARLY + 2);
  uint32_t n = 0;
  for (uint32_t tries = below(&c, EARLY + 1); tries > 0; tries--)
    n += random_part(&c, &p[n]);
  n += rest_parts(&c, &p[n]);
  for (uint32_t j = n - 1; j > 0; j--) { /* parts after the rest find nothing, which is legal */
    uint32_t other = below(&c, j + 1);
    ir_part t = p[j];
    p[j] = p[other];
    p[other] = t;
  }
  lab_value(l, i)->parts = p;
  lab_value(l, i)->part_count = n;
}

/* ---- other schedules ---- */

static uint32_t random_slab(lab *l, const ir_part *p) {
  static const uint32_t units[KERNEL_COUNT] = {[K_dense] = 99, [K_block] = 160, [K_gather] = 256};
  return p->c * (1 + rng_below(&l->r, units[p->kernel]));
}

void lab_random_schedule(lab *l, uint32_t i) {
  ir_value *v = lab_value(l, i);
  uint32_t unit = 1;
  for (uint32_t p = 0; p < v->part_count; p++) {
    v->parts[p].k_block = random_slab(l, &v->parts[p]);
    if (v->parts[p].r > unit) unit = v->parts[p].r; /* powers of two */
  }
  v->attr[A_chunk_rows].i = unit * (1 + rng_below(&l->r, 2 + 64 / unit));
}
