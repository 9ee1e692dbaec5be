/* Packs the parts of a linear's weight into the streams that the kernels read. A stream does not
 * depend on the vector width: one copy serves every ISA level. docs/kernels.md has the layout. */
#include <string.h>

#include "codegen/cg.h"
#include "codegen/pairs.h"
#include "support/checked.h"

/* A growing array of bytes, for one array of a record. */
typedef struct buffer {
  arena *a;
  unsigned char *data;
  size_t size, capacity;
} buffer;

static void put(buffer *b, const void *data, size_t size) {
  if (b->size + size > b->capacity) {
    size_t capacity = b->capacity * 2 + size + 256;
    b->data = arena_grow(b->a, b->data, b->size, capacity, 1, 64);
    b->capacity = capacity;
  }
  if (size > 0) memcpy(b->data + b->size, data, size);
  b->size += size;
}
static void put16(buffer *b, uint32_t v) {
  uint16_t half = (uint16_t)v;
  put(b, &half, 2);
}
static void put32(buffer *b, uint32_t v) {
  put(b, &v, 4);
}
/* Zeros up to a multiple of `align`, at most 64. */
static void pad(buffer *b, size_t align) {
  static const unsigned char zeros[64];
  put(b, zeros, (align - b->size % align) % align);
}

/* One part being packed. */
typedef struct packer {
  arena *a;
  const ir_part *p;
  const float *w;
  const unsigned char *support; /* [m, k]: 1 where this part takes the weight */
  uint32_t k;                   /* inputs of the whole weight */
  uint32_t *rows;               /* the part's rows, in order */
  uint32_t row_count;
  unsigned list;  /* LIST_… */
  uint64_t units; /* packed so far */
  buffer head, index, values, buckets;
} packer;

static float weight(const packer *q, uint32_t row, uint32_t col) {
  size_t at = (size_t)row * q->k + col;
  return q->support[at] ? q->w[at] : 0.0f;
}

static void list_rows(packer *q) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < q->p->row_ranges; i++)
    n += q->p->rows[i].hi - q->p->rows[i].lo;
  q->rows = arena_array(q->a, uint32_t, n + 1);
  for (uint32_t i = 0; i < q->p->row_ranges; i++)
    for (uint32_t r = q->p->rows[i].lo; r < q->p->rows[i].hi; r++)
      q->rows[q->row_count++] = r;
}

/* ---- records of one chunk (rows[0 … n-1]) and one slab (columns lo … hi-1) ---- */

static void dense_group(packer *q, const uint32_t *rows, uint32_t n, uint32_t lo, uint32_t hi) {
  for (uint32_t r = 0; r < n; r++)
    put32(&q->head, rows[r]);
  for (uint32_t c = lo; c < hi; c++)
    for (uint32_t r = 0; r < n; r++) {
      float v = weight(q, rows[r], c);
      put(&q->values, &v, 4);
    }
}

static void dense_record(packer *q, const uint32_t *rows, uint32_t n, uint32_t lo, uint32_t hi,
                         uint32_t *field) {
  uint32_t groups = n / DENSE_ROWS;
  for (uint32_t g = 0; g < groups; g++)
    dense_group(q, rows + g * DENSE_ROWS, DENSE_ROWS, lo, hi);
  for (uint32_t r = groups * DENSE_ROWS; r < n; r++)
    dense_group(q, rows + r, 1, lo, hi);
  field[R_GROUPS / 4] = groups;
  field[R_SINGLES / 4] = n - groups * DENSE_ROWS;
}

/* True when the r x c block at (rows, col) holds a non-zero weight of this part. A part may take
 * zeros too (a 2:4 group whole), and those are not stored. */
static bool block_taken(const packer *q, const uint32_t *rows, uint32_t col) {
  for (uint32_t r = 0; r < q->p->r; r++)
    for (uint32_t c = 0; c < q->p->c; c++)
      if (weight(q, rows[r], col + c) != 0.0f) return true;
  return false;
}

static void block_record(packer *q, const uint32_t *rows, uint32_t n, uint32_t lo, uint32_t hi,
                         uint32_t *field) {
  uint32_t r = q->p->r, c = q->p->c;
  for (uint32_t g = 0; g < n / r; g++, rows += r) {
    uint32_t count = 0;
    size_t count_at = q->head.size;
    put32(&q->head, 0);
    put(&q->head, rows, (size_t)r * 4);
    for (uint32_t col = lo; col < hi; col += c) {
      if (!block_taken(q, rows, col)) continue;
      uint16_t local = (uint16_t)((col - lo) / c);
      put(&q->index, &local, 2);
      q->units++;
      count++;
      for (uint32_t j = 0; j < c; j++)
        for (uint32_t i = 0; i < r; i++) {
          float v = weight(q, rows[i], col + j);
          put(&q->values, &v, 4);
        }
    }
    memcpy(q->head.data + count_at, &count, 4);
  }
  put(&q->index, &(uint16_t[BLOCKS_AHEAD]){0}, BLOCKS_AHEAD * sizeof(uint16_t));
  field[R_GROUPS / 4] = n / r;
}

/* The same for the 1 x c run at (row, col). */
static bool run_taken(const packer *q, uint32_t row, uint32_t col) {
  for (uint32_t c = 0; c < q->p->c; c++)
    if (weight(q, row, col + c) != 0.0f) return true;
  return false;
}

/* Zeros that a bucket of a gather may take in to save another one. A bucket costs some mispredicted
 * branches, which weigh most in short calls: with 8, 16 tokens of all-MiniLM-L6-v2 with 50 % zeros
 * are 1.04 times as fast; with 16, 128 tokens are slower. */
enum { FILL = 8 };

/* What a record of a gather is made from. */
typedef struct gathered {
  const uint32_t *rows;
  uint32_t n, lo, hi;
  uint32_t *units; /* of each row */
} gathered;

/* The row's units, and after them the last one's place with zeros, until there are `count`. */
static void gather_row(packer *q, const gathered *g, uint32_t row, uint32_t count) {
  uint32_t c = q->p->c;
  unsigned char local = 0;
  put16(&q->head, row - g->rows[0]);
  for (uint32_t col = g->lo; col < g->hi; col += c) {
    if (!run_taken(q, row, col)) continue;
    local = (unsigned char)((col - g->lo) / c);
    put(&q->index, &local, 1);
    q->units++;
    for (uint32_t j = 0; j < c; j++) {
      float v = weight(q, row, col + j);
      put(&q->values, &v, 4);
    }
  }
  while (q->index.size < count) {
    put(&q->index, &local, 1);
    for (uint32_t j = 0; j < c; j++)
      put32(&q->values, 0);
  }
  put(&q->head, q->index.data, q->index.size);
  put(&q->head, q->values.data, q->values.size);
  q->index.size = q->values.size = 0;
}

/* A bucket of the rows of `lowest` to `most` units, unless there are none. */
static void gather_bucket(packer *q, const gathered *g, uint32_t lowest, uint32_t most) {
  uint32_t rows = 0;
  for (uint32_t i = 0; i < g->n; i++) {
    if (g->units[i] < lowest || g->units[i] > most) continue;
    gather_row(q, g, g->rows[i], most);
    rows++;
  }
  if (rows == 0) return;
  put16(&q->buckets, most);
  put16(&q->buckets, rows);
}

/* The fewest units with which rows are filled up to `most`; with[n] rows have n units. */
static uint32_t lowest_in_bucket(const packer *q, const uint32_t *with, uint32_t most) {
  uint64_t filled = 0;
  uint32_t lowest = most;
  for (uint32_t n = most; with[most] > 0 && n > 0; n--) {
    filled += (uint64_t)with[n] * (most - n) * q->p->c;
    if (filled > FILL) break;
    lowest = n;
  }
  return lowest;
}

/* Buckets of rows by falling number of units. Rows without any are listed in the first slab. */
static void gather_record(packer *q, const uint32_t *rows, uint32_t n, uint32_t lo, uint32_t hi,
                          bool list_empty, buffer *out) {
  uint32_t units_max = (hi - lo) / q->p->c, lowest;
  uint32_t *with = arena_array(q->a, uint32_t, units_max + 1);
  gathered g = {rows, n, lo, hi, arena_array(q->a, uint32_t, n + 1)};
  for (uint32_t i = 0; i < n; i++) {
    for (uint32_t col = lo; col < hi; col += q->p->c)
      g.units[i] += run_taken(q, rows[i], col);
    with[g.units[i]]++;
  }
  for (uint32_t most = units_max; most > 0; most = lowest - 1) {
    lowest = lowest_in_bucket(q, with, most);
    gather_bucket(q, &g, lowest, most);
  }
  if (list_empty) gather_bucket(q, &g, 0, 0);
  put32(out, n > 0 ? rows[0] : 0);
  put32(out, (uint32_t)(q->buckets.size / 4));
  put(out, q->buckets.data, q->buckets.size);
  put(out, q->head.data, q->head.size);
  q->head.size = q->buckets.size = 0;
  pad(out, 8);
}

/* ---- gathers in pairs ---- */

/* The rows of a record and, for each, which units it takes. */
typedef struct row_bits {
  uint32_t *row, n, lo, units, words;
  uint64_t *bits; /* [n][words] */
} row_bits;

static row_bits list_bits(const packer *q, const uint32_t *rows, uint32_t n, uint32_t lo,
                          uint32_t hi, bool list_empty) {
  row_bits u = {.lo = lo, .units = (hi - lo) / q->p->c};
  u.words = u.units / 64 + 1;
  u.row = arena_array(q->a, uint32_t, n + 1);
  u.bits = arena_array(q->a, uint64_t, (size_t)n *u.words + 1);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t *bits = u.bits + (size_t)u.n * u.words;
    bool any = list_empty;
    for (uint32_t j = 0; j < u.units; j++) {
      bool taken = run_taken(q, rows[i], lo + j * q->p->c);
      bits[j / 64] |= (uint64_t)taken << j % 64;
      any |= taken;
    }
    if (any) u.row[u.n++] = rows[i];
  }
  return u;
}

static bool has_unit(const row_bits *u, uint32_t row, uint32_t unit) {
  return u->bits[(size_t)row * u->words + unit / 64] >> unit % 64 & 1;
}

/* Appends the weights of a unit of row `row`, or zeros. */
static void put_run(packer *q, const row_bits *u, uint32_t row, uint32_t unit, bool zeros) {
  for (uint32_t j = 0; j < q->p->c; j++) {
    float v = zeros ? 0.0f : weight(q, u->row[row], u->lo + unit * q->p->c + j);
    put(&q->values, &v, 4);
  }
}

/* The units of both rows; then those of each alone, in turns. Where the second row has no more, it
 * gets zeros at its partner's place. */
static void put_pair(packer *q, const row_bits *u, const row_pair *p) {
  enum { BOTH, FIRST, SECOND };
  unsigned char unit[3][256];
  uint32_t n[3] = {0}, first = p->row[0], second = p->row[1];
  for (uint32_t j = 0; j < u->units; j++) {
    bool x = has_unit(u, first, j), y = second != first && has_unit(u, second, j);
    int set = x && y ? BOTH : x ? FIRST : SECOND;
    if (x || y) unit[set][n[set]++] = (unsigned char)j;
  }
  q->units += 2 * n[BOTH] + n[FIRST] + n[SECOND];
  put(&q->index, unit[BOTH], n[BOTH]);
  for (uint32_t i = 0; i < n[BOTH]; i++) {
    put_run(q, u, first, unit[BOTH][i], false);
    put_run(q, u, second, unit[BOTH][i], false);
  }
  for (uint32_t i = 0; i < n[FIRST]; i++) {
    bool empty = i >= n[SECOND];
    const unsigned char *other = &unit[empty ? FIRST : SECOND][i];
    put(&q->index, &unit[FIRST][i], 1);
    put(&q->index, other, 1);
    put_run(q, u, first, unit[FIRST][i], false);
    put_run(q, u, second, *other, empty);
  }
}

/* Buckets of pairs by rising numbers of units. */
static void pair_record(packer *q, const row_bits *u, uint32_t *field) {
  static const unsigned char behind[PAIR_AHEAD];
  row_pair *pairs = arena_array(q->a, row_pair, u->n / 2 + 1);
  uint32_t count = pair_rows(q->a, u->bits, u->words, u->n, pairs), buckets = 0;
  for (uint32_t i = 0, end; i < count; i = end) {
    const row_pair *p = &pairs[i];
    for (end = i; end < count && pairs[end].shared == p->shared && pairs[end].own == p->own;)
      end++;
    put32(&q->head, p->shared);
    put32(&q->head, p->own);
    put32(&q->head, end - i);
    for (uint32_t j = i; j < end; j++) {
      put32(&q->head, u->row[pairs[j].row[0]]);
      put32(&q->head, u->row[pairs[j].row[1]]);
      put_pair(q, u, &pairs[j]);
    }
    buckets++;
  }
  put(&q->index, behind, sizeof behind);
  field[R_GROUPS / 4] = buckets;
}

/* ---- a whole part ---- */

/* Appends the record that the buffers of `q` hold to `out` and empties them. */
static void put_record(packer *q, buffer *out, uint32_t *field) {
  size_t base = out->size;
  put(out, field, RECORD_BYTES);
  field[R_HEAD / 4] = (uint32_t)(out->size - base);
  put(out, q->head.data, q->head.size);
  field[R_INDEX / 4] = (uint32_t)(out->size - base);
  put(out, q->index.data, q->index.size);
  pad(out, 4);
  field[R_VALUES / 4] = (uint32_t)(out->size - base);
  put(out, q->values.data, q->values.size);
  memcpy(out->data + base, field, RECORD_BYTES);
  pad(out, 64);
  q->head.size = q->index.size = q->values.size = 0;
}

static void record(packer *q, buffer *out, const uint32_t *rows, uint32_t n, uint32_t lo,
                   uint32_t hi) {
  uint32_t field[RECORD_BYTES / 4] = {0};
  field[R_K / 4] = hi - lo;
  if (q->p->kernel == K_gather) {
    bool first = (q->list & LIST_FIRST) && lo == q->p->col_lo;
    bool last = (q->list & LIST_LAST) && hi == q->p->col_hi;
    if (q->p->r == 1) {
      gather_record(q, rows, n, lo, hi, first || last, out);
      return;
    }
    row_bits u = list_bits(q, rows, n, lo, hi, first || last);
    pair_record(q, &u, field);
  } else if (q->p->kernel == K_dense) {
    dense_record(q, rows, n, lo, hi, field);
  } else {
    block_record(q, rows, n, lo, hi, field);
  }
  put_record(q, out, field);
}

/* Rows of the part in [lo, hi): a slice of q->rows. */
static const uint32_t *slice(const packer *q, uint32_t lo, uint32_t hi, uint32_t *n) {
  uint32_t first = 0, last;
  while (first < q->row_count && q->rows[first] < lo)
    first++;
  for (last = first; last < q->row_count && q->rows[last] < hi;)
    last++;
  *n = last - first;
  return q->rows + first;
}

static uint64_t count_nonzeros(const packer *q, uint32_t m) {
  uint64_t n = 0;
  for (size_t i = 0; i < (size_t)m * q->k; i++)
    n += q->support[i] && q->w[i] != 0.0f;
  return n;
}

packed_part pack_part(arena *a, const ir_graph *g, const ir_value *v, uint32_t index,
                      uint32_t chunk_rows, unsigned list) {
  const ir_value *w = ir_in(g, v, 1);
  uint32_t m = (uint32_t)w->type.dim[0], k = (uint32_t)w->type.dim[1];
  unsigned char *support = arena_alloc(a, (size_t)m * k, 64);
  ir_part_support(g, v, index, support);
  packer q = {.a = a,
              .p = &v->parts[index],
              .w = w->tensor->data,
              .support = support,
              .k = k,
              .list = list};
  q.head.a = q.index.a = q.values.a = q.buckets.a = a;
  list_rows(&q);
  uint32_t width = q.p->col_hi - q.p->col_lo, slab_k = q.p->k_block;
  uint32_t slabs = (width + slab_k - 1) / slab_k, chunks = (m + chunk_rows - 1) / chunk_rows;
  uint64_t *directory = arena_array(a, uint64_t, (size_t)slabs *chunks + 1);
  size_t directory_bytes = (size_t)slabs * chunks * 8;
  buffer out = {.a = a};
  put(&out, directory, directory_bytes);
  pad(&out, 64);
  for (uint32_t s = 0; s < slabs; s++)
    for (uint32_t i = 0; i < chunks; i++) {
      uint32_t lo = q.p->col_lo + s * slab_k, n;
      uint32_t hi = lo + slab_k < q.p->col_hi ? lo + slab_k : q.p->col_hi;
      const uint32_t *rows = slice(&q, i * chunk_rows, (i + 1) * chunk_rows, &n);
      directory[s * chunks + i] = out.size;
      record(&q, &out, rows, n, lo, hi);
    }
  memcpy(out.data, directory, directory_bytes);
  static const unsigned char behind[GATHER_AHEAD];
  if (q.p->kernel == K_gather) put(&out, behind, sizeof behind);
  return (packed_part){out.data, out.size, count_nonzeros(&q, m), q.units, slabs};
}
