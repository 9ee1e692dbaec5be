/* What the kernels rely on in a linear's parts and schedule, beyond what the verifier knows. The
 * passes keep to it; IR that was written by hand may not, and would be compiled wrongly. */
#include "codegen/cg.h"
#include "support/checked.h"

static bool refuse(const cg *c, const ir_value *v, uint32_t part, const char *text) {
  return diag_error(c->d, v->loc, E_PATTERN, "linear '%s', part %u: %s", v->name, part, text);
}

static uint32_t smaller(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

/* Units of c inputs, whole ones in every slab, few enough for their indices. */
static bool check_slab(const cg *c, const ir_value *v, uint32_t index) {
  const ir_part *p = &v->parts[index];
  uint32_t width = p->col_hi - p->col_lo, units_max = p->kernel == K_gather ? 1u << 8 : 1u << 16;
  if (p->k_block == 0 || p->k_block > IR_MAX_DIM)
    return refuse(c, v, index, "k_block must be 1 to 2147483647; run the pass schedule");
  if (p->c == 0 || p->c > MAX_RUN || (p->kernel == K_dense && p->c != 1))
    return refuse(c, v, index, "c must be 1 to 16, for kernel dense 1");
  if (width % p->c != 0 || p->k_block % p->c != 0)
    return refuse(c, v, index, "its columns and k_block must be multiples of c");
  if (p->kernel != K_dense && smaller(p->k_block, width) / p->c > units_max)
    return refuse(c, v, index, "k_block is too large for the indices of its kernel");
  return true;
}

/* Rows of the part before row `end`. */
static uint32_t rows_before(const ir_part *p, uint64_t end) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->row_ranges && p->rows[i].lo < end; i++)
    n += (p->rows[i].hi < end ? p->rows[i].hi : (uint32_t)end) - p->rows[i].lo;
  return n;
}

/* Outputs in a chunk, but for the last one. */
static uint32_t chunk_of(const ir_value *v, uint32_t m) {
  return v->attr[A_chunk_rows].i < m ? (uint32_t)v->attr[A_chunk_rows].i : m;
}

/* Groups of r rows, whole ones in every chunk. */
static bool check_groups(const cg *c, const ir_value *v, uint32_t index, uint32_t m) {
  const ir_part *p = &v->parts[index];
  if (p->kernel == K_gather && chunk_of(v, m) > GATHER_MAX_ROWS)
    return refuse(c, v, index, "a chunk of a gather has at most 65535 outputs; lower chunk_rows");
  if (p->kernel == K_dense) return p->r == 1 || refuse(c, v, index, "r must be 1");
  if (p->kernel == K_gather)
    return p->r == 1 || p->r == 2 || refuse(c, v, index, "r must be 1 or 2");
  if (p->r == 0 || p->r > MAX_BLOCK_ROWS) return refuse(c, v, index, "r must be 1 to 8");
  uint64_t chunk = (uint64_t)v->attr[A_chunk_rows].i;
  for (uint64_t end = 0; end < m; end += chunk)
    if (rows_before(p, end + chunk) % p->r != 0)
      return refuse(c, v, index, "its rows in a chunk must be a multiple of r");
  return true;
}

/* Offsets inside a record, which holds a chunk of a slab, have 32 bits. */
static bool check_record(const cg *c, const ir_value *v, uint32_t index, uint32_t m) {
  enum { PER_WEIGHT = 8, PER_ROW = 64 }; /* bytes at most: value and index; head */
  const ir_part *p = &v->parts[index];
  size_t slab = smaller(p->k_block, p->col_hi - p->col_lo);
  size_t rows = chunk_of(v, m), size;
  if (size_mul(rows, slab * PER_WEIGHT + PER_ROW, &size) && size < UINT32_MAX) return true;
  return refuse(c, v, index, "a chunk of a slab takes over 4 GiB; lower chunk_rows or k_block");
}

bool check_linear(const cg *c, const ir_value *v) {
  uint32_t m = (uint32_t)ir_in(c->g, v, 1)->type.dim[0];
  int64_t chunk = v->attr[A_chunk_rows].i;
  if (v->part_count == 0)
    return diag_error(c->d, v->loc, E_PATTERN, "linear '%s' has no parts; run the pass partition",
                      v->name);
  if (v->part_count > MAX_PARTS)
    return diag_error(c->d, v->loc, E_LIMIT, "linear '%s' has %u parts; at most %d can be compiled",
                      v->name, v->part_count, MAX_PARTS);
  if (chunk < 1 || chunk > IR_MAX_DIM)
    return diag_error(c->d, v->loc, E_ATTR,
                      "linear '%s': chunk_rows is %lld instead of 1 to %d; run the pass schedule",
                      v->name, (long long)chunk, IR_MAX_DIM);
  for (uint32_t i = 0; i < v->part_count; i++)
    if (!check_slab(c, v, i) || !check_groups(c, v, i, m) || !check_record(c, v, i, m))
      return false;
  return true;
}
