/* Factors, inverses and products over blocks of fixed sizes. */
#include "optimizer/linalg.h"

#include <math.h>
#include <string.h>

#include "optimizer/gemm.h"
#include "optimizer/lanes.h"

static size_t at_most(size_t n, size_t limit) {
  return n < limit ? n : limit;
}

/* ---- Cholesky ---- */

enum { SMALL = 16 };

/* One with few columns, in place: row by row. */
static bool factor_small(double *a, size_t stride, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++) {
      double sum = a[i * stride + j];
      for (size_t k = 0; k < j; k++)
        sum -= a[i * stride + k] * a[j * stride + k];
      if (i == j && !(sum > 0 && isfinite(sum))) return false;
      a[i * stride + j] = i == j ? sqrt(sum) : sum / a[j * stride + j];
    }
  return true;
}

/* rows[count, n] becomes rows L'^-1: halves of the columns, down to few. */
static void solve_rows(const double *l, size_t stride, size_t n, double *rows, size_t count) {
  if (n > SMALL) {
    size_t half = n / 2;
    const double *below = l + half * stride;
    solve_rows(l, stride, half, rows, count);
    spo_gemm64(SPO_SUBTRACT, count, n - half, half, (spo_f64){rows, stride, 1},
               (spo_f64){below, 1, stride}, rows + half, stride);
    solve_rows(below + half, stride, n - half, rows + half, count);
    return;
  }
  for (double *x = rows; count > 0; count--, x += stride)
    for (size_t j = 0; j < n; j++) {
      for (size_t i = 0; i < j; i++)
        x[j] -= x[i] * l[j * stride + i];
      x[j] /= l[j * stride + j];
    }
}

/* A block on the diagonal, in the same way. */
static bool factor_block(double *a, size_t stride, size_t n) {
  if (n <= SMALL) return factor_small(a, stride, n);
  size_t half = n / 2, rest = n - half;
  double *below = a + half * stride, *corner = below + half;
  if (!factor_block(a, stride, half)) return false;
  solve_rows(a, stride, half, below, rest);
  spo_gemm64(SPO_SUBTRACT, rest, rest, half, (spo_f64){below, stride, 1},
             (spo_f64){below, 1, stride}, corner, stride);
  return factor_block(corner, stride, rest);
}

/* A Cholesky factorisation at the block of columns from `at`. */
typedef struct cholesky {
  double *a;
  size_t n, at, columns;
  size_t tiles; /* below the block */
} cholesky;

static size_t tile_row(const cholesky *c, size_t index, size_t *rows) {
  size_t row = c->at + c->columns + index * SPO_TILE;
  *rows = at_most(c->n - row, SPO_TILE);
  return row;
}

static void solve_panel(void *arg, size_t index) {
  const cholesky *c = arg;
  size_t rows, row = tile_row(c, index, &rows);
  solve_rows(c->a + c->at * c->n + c->at, c->n, c->columns, c->a + row * c->n + c->at, rows);
}

/* Takes the block's part from a row of tiles; the longest rows come first. */
static void update_row(void *arg, size_t index) {
  const cholesky *c = arg;
  size_t rows, row = tile_row(c, c->tiles - 1 - index, &rows), first = c->at + c->columns;
  const double *panel = c->a + c->at;
  spo_gemm64(SPO_SUBTRACT, rows, row + rows - first, c->columns,
             (spo_f64){panel + row * c->n, c->n, 1}, (spo_f64){panel + first * c->n, 1, c->n},
             c->a + row * c->n + first, c->n);
}

bool spo_cholesky(double *a, size_t n, const spo_pool *pool) {
  cholesky c = {.a = a, .n = n};
  for (; c.at < n; c.at += c.columns) {
    c.columns = at_most(n - c.at, SPO_TILE);
    c.tiles = spo_blocks(n - c.at - c.columns, SPO_TILE);
    if (!factor_block(a + c.at * n + c.at, n, c.columns)) return false;
    spo_run(pool, solve_panel, &c, c.tiles);
    spo_run(pool, update_row, &c, c.tiles);
  }
  return true;
}

LANES_BODY void subtract_body(double *x, const double *y, double by, size_t n) {
  for (size_t i = 0; i < n; i++)
    x[i] -= y[i] * by;
}
LANES(subtract, (double *x, const double *y, double by, size_t n), (x, y, by, n))

void spo_lower_solve(const double *l, size_t stride, size_t n, double *x, size_t row,
                     size_t columns) {
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < i; k++)
      subtract(x + i * row, x + k * row, l[i * stride + k], columns);
    for (size_t j = 0; j < columns; j++)
      x[i * row + j] /= l[i * stride + i];
  }
}

void spo_upper_solve(const double *l, size_t stride, size_t n, double *x, size_t row,
                     size_t columns) {
  for (size_t i = n; i-- > 0;) {
    for (size_t j = 0; j < columns; j++)
      x[i * row + j] /= l[i * stride + i];
    for (size_t k = 0; k < i; k++)
      subtract(x + k * row, x + i * row, l[i * stride + k], columns);
  }
}

void spo_cholesky_solve(const double *l, size_t n, double *x) {
  for (size_t i = 0; i < n; i++) {
    for (size_t k = 0; k < i; k++)
      x[i] -= l[i * n + k] * x[k];
    x[i] /= l[i * n + i];
  }
  for (size_t i = n; i-- > 0;) {
    x[i] /= l[i * n + i];
    subtract(x, l + i * n, x[i], i);
  }
}

/* ---- the inverse of a triangle ---- */

typedef struct inversion {
  const double *l;
  double *out;
  size_t n;
} inversion;

/* A block of columns: forward substitution, block by block, from the identity. */
static void invert_columns(void *arg, size_t index) {
  const inversion *v = arg;
  size_t n = v->n, first = index * SPO_TILE, columns = at_most(n - first, SPO_TILE);
  for (size_t row = 0; row < n; row++)
    for (size_t j = first; j < first + columns; j++)
      v->out[row * n + j] = row == j;
  for (size_t row = first; row < n; row += SPO_TILE) {
    size_t rows = at_most(n - row, SPO_TILE);
    double *x = v->out + row * n + first;
    if (row > first)
      spo_gemm64(SPO_SUBTRACT, rows, columns, row - first, (spo_f64){v->l + row * n + first, n, 1},
                 (spo_f64){v->out + first * n + first, n, 1}, x, n);
    spo_lower_solve(v->l + row * n + row, n, rows, x, n, columns);
  }
}

void spo_lower_inverse(const double *l, size_t n, double *out, const spo_pool *pool) {
  inversion v = {l, out, n};
  spo_run(pool, invert_columns, &v, spo_blocks(n, SPO_TILE));
}

/* ---- products ---- */

typedef struct products {
  double *sum;
  const float *a, *b;
  size_t m, n, tokens;
  bool lower;
} products;

enum { TOKENS = 512 /* whose products are added up in f32 */ };

/* Tile `index` in row-major order; of the lower triangle when that alone is wanted. */
static void find_tile(const products *p, size_t index, size_t *row, size_t *column) {
  size_t across = spo_blocks(p->n, SPO_TILE), r = 0;
  if (p->lower)
    while (index > r)
      index -= ++r;
  *row = (p->lower ? r : index / across) * SPO_TILE;
  *column = (p->lower ? index : index % across) * SPO_TILE;
}

static void add_tile(void *arg, size_t index) {
  const products *p = arg;
  float part[SPO_TILE * SPO_TILE];
  size_t row, column;
  find_tile(p, index, &row, &column);
  size_t rows = at_most(p->m - row, SPO_TILE), columns = at_most(p->n - column, SPO_TILE);
  for (size_t t = 0; t < p->tokens; t += TOKENS) {
    spo_gemm32(SPO_SET, rows, columns, at_most(p->tokens - t, TOKENS),
               (spo_f32){p->a + t * p->m + row, 1, p->m},
               (spo_f32){p->b + t * p->n + column, p->n, 1}, part, SPO_TILE);
    for (size_t r = 0; r < rows; r++)
      for (size_t c = 0; c < columns; c++)
        p->sum[(row + r) * p->n + column + c] += (double)part[r * SPO_TILE + c];
  }
}

/* So many tokens at a time that tiles find them in the last level's cache. */
void spo_add_products(double *sum, const float *a, size_t m, const float *b, size_t n,
                      size_t tokens, bool lower, const spo_pool *pool) {
  enum { AT_A_TIME = 4 * TOKENS };
  size_t down = spo_blocks(m, SPO_TILE), across = spo_blocks(n, SPO_TILE);
  for (size_t t = 0; t < tokens; t += AT_A_TIME) {
    products p = {sum, a + t * m, b + t * n, m, n, at_most(tokens - t, AT_A_TIME), lower};
    spo_run(pool, add_tile, &p, lower ? down * (down + 1) / 2 : down * across);
  }
}
