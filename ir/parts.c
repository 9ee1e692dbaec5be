/* Which elements of a weight the parts of a linear take. */
#include "ir/ir.h"

/* A part at work. */
typedef struct taking {
  const ir_part *part;
  const float *w; /* [rows, cols] */
  uint32_t cols;
  unsigned char *owner; /* [rows, cols]; 0: untaken */
  unsigned char mark;
} taking;

/* Outputs and inputs of a unit of the pattern. */
typedef struct unit_shape {
  uint32_t rows, cols;
} unit_shape;

static unit_shape shape_of(const ir_part *p) {
  switch (p->pattern.kind) {
  case PATTERN_BLOCK:
    return (unit_shape){p->pattern.rows, p->pattern.cols};
  case PATTERN_NM:
    return (unit_shape){p->pattern.rows, p->pattern.m};
  case PATTERN_DENSE:
  case PATTERN_UNSTRUCTURED:
    break;
  }
  return (unit_shape){1, 1};
}

/* Walks the rows of a part in groups of at most `height`, across its ranges. */
typedef struct row_walk {
  const ir_part *part;
  uint32_t range, row; /* the next row, in part->rows[range] or before its begin */
} row_walk;

enum { UNIT_ROWS_MAX = 256 }; /* as in pattern.h */

/* Fills row[] with the next group of rows and returns their number; 0 at the end. */
static uint32_t next_rows(row_walk *walk, uint32_t height, uint32_t *row) {
  uint32_t n = 0;
  while (n < height && walk->range < walk->part->row_ranges) {
    const ir_range *range = &walk->part->rows[walk->range];
    if (walk->row < range->lo) walk->row = range->lo;
    if (walk->row < range->hi)
      row[n++] = walk->row++;
    else
      walk->range++;
  }
  return n;
}

/* One unit: rows row[0 … n) and columns lo … hi. */
typedef struct unit {
  const uint32_t *row;
  uint32_t n, lo, hi;
} unit;

static bool is_free(const taking *t, uint32_t row, uint32_t col) {
  return !t->owner[(size_t)row * t->cols + col];
}

static bool is_needed(const taking *t, uint32_t row, uint32_t col) {
  return is_free(t, row, col) && t->w[(size_t)row * t->cols + col] != 0;
}

/* Whether the part takes the unit: enough untaken non-zeros, and for N:M in few enough inputs. */
static bool takes(const taking *t, const unit *u) {
  const ir_part *p = t->part;
  if (p->kernel == K_dense) return true;
  uint32_t nonzeros = 0, inputs = 0;
  for (uint32_t col = u->lo; col < u->hi; col++) {
    uint32_t before = nonzeros;
    for (uint32_t i = 0; i < u->n; i++)
      nonzeros += is_needed(t, u->row[i], col);
    inputs += nonzeros > before;
  }
  if (p->pattern.kind == PATTERN_NM && inputs > p->pattern.n) return false;
  return nonzeros > 0 && nonzeros >= p->fill;
}

static void take(const taking *t, const unit *u) {
  for (uint32_t i = 0; i < u->n; i++)
    for (uint32_t col = u->lo; col < u->hi; col++)
      if (is_free(t, u->row[i], col)) t->owner[(size_t)u->row[i] * t->cols + col] = t->mark;
}

void ir_part_take(const ir_part *p, const float *w, uint32_t cols, unsigned char *owner,
                  unsigned char mark) {
  taking t = {p, w, cols, owner, mark};
  unit_shape shape = shape_of(p);
  row_walk walk = {.part = p};
  uint32_t row[UNIT_ROWS_MAX], n;
  while ((n = next_rows(&walk, shape.rows, row)) > 0)
    for (uint32_t lo = p->col_lo; lo < p->col_hi; lo += shape.cols) {
      uint32_t left = p->col_hi - lo;
      unit u = {row, n, lo, lo + (left < shape.cols ? left : shape.cols)};
      if (takes(&t, &u)) take(&t, &u);
    }
}

void ir_part_support(const ir_graph *g, const ir_value *v, uint32_t index, unsigned char *support) {
  enum { THIS = 1, EARLIER = 2 };
  const ir_value *w = ir_in(g, v, 1);
  size_t count = w->tensor->count;
  for (size_t i = 0; i < count; i++)
    support[i] = 0;
  for (uint32_t k = 0; k <= index; k++)
    ir_part_take(&v->parts[k], w->tensor->data, (uint32_t)w->type.dim[1], support,
                 k == index ? THIS : EARLIER);
  for (size_t i = 0; i < count; i++)
    support[i] = support[i] == THIS;
}
