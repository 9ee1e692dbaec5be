/* The register-tile kernels: dense groups and blocks. R output rows times T vectors of tokens stay
 * in registers; an input costs T loads of activations, R broadcasts of weights and R*T FMAs. */
#include <stdio.h>

#include "codegen/cg.h"

/* The rows of one group: where each output row starts, and its bias. */
typedef struct group_rows {
  V y[MAX_BLOCK_ROWS], residual[MAX_BLOCK_ROWS], bias[MAX_BLOCK_ROWS];
  uint32_t count;
} group_rows;

static group_rows load_rows(bld *b, const linear_shape *s, const kernel_args *a, kernel_ends e,
                            V head, uint32_t count) {
  group_rows g = {.count = count};
  for (uint32_t r = 0; r < count; r++) {
    V row = b_load32(b, head, (uint64_t)r * 4);
    V at = b_muli(b, row, TILE_BYTES);
    g.y[r] = b_at(b, a->y, at);
    g.residual[r] = s->residual && e.last ? b_at(b, a->residual, at) : NULL;
    g.bias[r] =
        s->bias && e.first ? vsplat_at(b, b_at(b, a->bias, b_muli(b, row, 4)), 0) : vk(b, 0.0);
  }
  return g;
}

/* One input: rows broadcasts, vecs loads, rows * vecs FMAs. */
static void multiply_add(bld *b, V *acc, uint32_t rows, uint32_t vecs, V x, uint64_t x_at, V w,
                         uint64_t w_at) {
  V xv[16];
  vload_row(b, x, x_at, vecs, xv);
  vfma_tile(b, acc, rows, vecs, w, w_at, 4, xv);
}

/* The weights of a large model come from memory, and a stream that is read as slowly as this one is
 * not prefetched far enough by the machine. Past the end of a record comes the next one. */
static void prefetch_weights(bld *b, V w, uint32_t count, uint32_t vecs) {
  uint64_t ahead = stream_ahead(b, vecs);
  for (uint32_t at = 0; at < count * 4; at += CACHE_LINE)
    b_prefetch(b, w, ahead + at);
}

static void start(bld *b, bool first, const group_rows *g, uint32_t vecs, V at, V *acc) {
  for (uint32_t r = 0; r < g->count; r++) {
    V y = b_at(b, g->y[r], at);
    for (uint32_t j = 0; j < vecs; j++)
      acc[r * vecs + j] = first ? g->bias[r] : vload(b, y, (uint64_t)j * b->isa->lanes * 4);
  }
}

/* The residual is added last: as the sum's start it would make every rounding as large as its own.
 */
static void finish(bld *b, const linear_shape *s, bool last, const group_rows *g, uint32_t vecs,
                   V at, const V *acc) {
  for (uint32_t r = 0; r < g->count; r++) {
    V y = b_at(b, g->y[r], at), res = g->residual[r] ? b_at(b, g->residual[r], at) : NULL;
    for (uint32_t j = 0; j < vecs; j++) {
      uint64_t off = (uint64_t)j * b->isa->lanes * 4;
      V v = acc[r * vecs + j];
      if (last) v = m_act(b, s->act, v);
      if (res) v = vadd(b, v, vload(b, res, off));
      vstore(b, v, y, off);
    }
  }
}

/* One group against one register tile of tokens at byte `at` (tile included) of x, y. */
typedef void group_body(bld *b, V *acc, uint32_t rows, uint32_t vecs, V x, void *context);

/* A group against the tokens of one tile. */
typedef struct group_tile {
  const linear_shape *s;
  kernel_ends e;
  const group_rows *g;
  V x, y_at; /* the tile; y_at: its first byte in a row of y */
  group_body *body;
  void *context;
} group_tile;

/* `vecs` vectors of tokens from byte `sub` of the tile on. */
static void group_vectors(cg *c, const group_tile *t, V sub, uint32_t vecs) {
  bld *b = &c->b;
  V acc[MAX_BLOCK_ROWS * 4]; /* isa.def has at most 4 vectors in a tile; a single row has 8 */
  V at = b_add(b, t->y_at, sub);
  start(b, t->e.first, t->g, vecs, at, acc);
  t->body(b, acc, t->g->count, vecs, b_at(b, t->x, sub), t->context);
  finish(b, t->s, t->e.last, t->g, vecs, at, acc);
}

static void group_quarters(cg *c, V from, uint32_t n, void *context) {
  V sub = b_muli(&c->b, from, QUARTER_BYTES);
  group_vectors(c, context, sub, n * QUARTER / c->b.isa->lanes);
}

/* Quarters of two vectors, in register tiles of three: 3, 4 quarters are 3 + 3 and 3 + 3 + 2
 * vectors, and fewer are 2 each. */
static void group_threes(cg *c, V live, const group_tile *t) {
  bld *b = &c->b;
  V many = b_ge(b, live, k64(b, 3)), zero = k64(b, 0);
  V threes = b_select(b, many, k64(b, 3 * QUARTER_BYTES), zero);
  loop three = b_loop(b, zero, threes, 3 * QUARTER_BYTES / 2, NULL, 0);
  group_vectors(c, t, three.i, 3);
  b_loop_end(b, &three, NULL);
  loop two = b_loop(b, threes, b_muli(b, live, QUARTER_BYTES), QUARTER_BYTES, NULL, 0);
  group_vectors(c, t, two.i, 2);
  b_loop_end(b, &two, NULL);
}

static void over_tokens(cg *c, const linear_shape *s, kernel_ends e, const kernel_args *a,
                        const group_rows *g, uint32_t vecs, group_body *body, void *context) {
  bld *b = &c->b;
  group_tile t = {.s = s, .e = e, .g = g, .body = body, .context = context};
  loop tile = b_loop(b, k64(b, 0), cg_quarter_tiles(c, a->quarters), 1, NULL, 0);
  t.y_at = b_mul(b, tile.i, a->y_step);
  t.x = b_at(b, a->x, b_mul(b, tile.i, a->x_step));
  V live = cg_live(c, a->quarters, tile.i);
  if (vecs == 3)
    group_threes(c, live, &t);
  else
    cg_over_quarters(c, live, vecs * b->isa->lanes / QUARTER, group_quarters, &t);
  b_loop_end(b, &tile, NULL);
}

kernel_args kernel_begin(cg *c, const char *key) {
  bld *b = &c->b;
  LLVMTypeRef t[] = {b->ptr, b->ptr, b->ptr, b->ptr, b->ptr, b->i64, b->i64, b->i64, b->i64};
  b_function(b, key, b->none, t, KERNEL_ARGS);
  b_noinline(b);
  b_noalias(b, 2);
  return (kernel_args){b_arg(b, 0), b_arg(b, 1), b_arg(b, 2), b_arg(b, 3), b_arg(b, 4),
                       b_arg(b, 5), b_arg(b, 6), b_arg(b, 7), b_arg(b, 8)};
}

/* ---- dense ---- */

typedef struct dense_context {
  V values, k;
} dense_context;

static void dense_body(bld *b, V *acc, uint32_t rows, uint32_t vecs, V x, void *context) {
  const dense_context *d = context;
  loop k = b_loop(b, k64(b, 0), d->k, 1, acc, rows * vecs);
  V w = b_at(b, d->values, b_muli(b, k.i, (uint64_t)rows * 4));
  prefetch_weights(b, w, rows, vecs);
  multiply_add(b, acc, rows, vecs, b_at(b, x, b_muli(b, k.i, TILE_BYTES)), 0, w, 0);
  b_loop_end(b, &k, acc);
}

/* `groups` groups of `rows` outputs; heads and values are advanced past them. */
static void dense_groups(cg *c, const linear_shape *s, kernel_ends e, const kernel_args *a,
                         V groups, uint32_t rows, V k, V *head, V *values) {
  bld *b = &c->b;
  uint32_t vecs = rows == 1 ? TILE / b->isa->lanes : b->isa->dense_vecs;
  V cursor[] = {*head, *values};
  loop l = b_loop(b, k64(b, 0), groups, 1, cursor, 2);
  group_rows g = load_rows(b, s, a, e, cursor[0], rows);
  dense_context d = {cursor[1], k};
  over_tokens(c, s, e, a, &g, vecs, dense_body, &d);
  cursor[0] = b_ati(b, cursor[0], (uint64_t)rows * 4);
  cursor[1] = b_at(b, cursor[1], b_muli(b, k, (uint64_t)rows * 4));
  b_loop_end(b, &l, cursor);
  *head = cursor[0];
  *values = cursor[1];
}

static void kernel_key(char *key, size_t size, const cg *c, const char *kind, const linear_shape *s,
                       kernel_ends e, uint32_t r, uint32_t cols) {
  snprintf(key, size, "%s.%ux%u.a%d%s%s%s%s.%s", kind, r, cols, e.last ? (int)s->act : 0,
           s->bias && e.first ? ".bias" : "", s->residual && e.last ? ".residual" : "",
           e.first ? ".first" : "", e.last ? ".last" : "", c->b.isa->name);
}

V kernel_dense(cg *c, const linear_shape *s, kernel_ends e) {
  char key[160];
  kernel_key(key, sizeof key, c, "dense", s, e, DENSE_ROWS, 1);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  kernel_args a = kernel_begin(c, key);
  bld *b = &c->b;
  fn = b->fn;
  V head = b_at(b, a.record, b_load32(b, a.record, R_HEAD));
  V values = b_at(b, a.record, b_load32(b, a.record, R_VALUES));
  V k = b_load32(b, a.record, R_K);
  dense_groups(c, s, e, &a, b_load32(b, a.record, R_GROUPS), DENSE_ROWS, k, &head, &values);
  dense_groups(c, s, e, &a, b_load32(b, a.record, R_SINGLES), 1, k, &head, &values);
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}

/* ---- blocks ---- */

typedef struct block_context {
  V index, values, count;
  uint32_t cols;
} block_context;

/* With fewer vectors a block has so few FMAs that loads are what it waits for, and asking for its
 * inputs early is a load more. */
enum { VECS_PREFETCHED = 3 };

/* The activations of a block that comes soon: its inputs are in L2, in no order that the machine
 * could foresee. Behind a group's last block the indices are those of the next one, behind the
 * record's last they are padding (BLOCKS_AHEAD). */
static void prefetch_inputs(bld *b, const block_context *d, V i, uint32_t vecs, V x) {
  uint32_t ahead = d->cols < BLOCKS_AHEAD ? BLOCKS_AHEAD / d->cols : 1;
  V index = b_at(b, d->index, b_muli(b, i, 2));
  V column = b_load(b, b->i16, b_ati(b, index, (uint64_t)ahead * 2), 2);
  V xk = b_at(b, x, b_muli(b, b_zext(b, column), (uint64_t)d->cols * TILE_BYTES));
  for (uint32_t j = 0; j < d->cols; j++)
    for (uint32_t at = 0; at < vecs * b->isa->lanes * 4; at += CACHE_LINE)
      b_prefetch(b, xk, (uint64_t)j * TILE_BYTES + at);
}

/* Block `i` of a group. */
static void block_step(bld *b, V *acc, uint32_t rows, uint32_t vecs, V x, const block_context *d,
                       V i) {
  V column = b_load(b, b->i16, b_at(b, d->index, b_muli(b, i, 2)), 2);
  V xk = b_at(b, x, b_muli(b, b_zext(b, column), (uint64_t)d->cols * TILE_BYTES));
  V w = b_at(b, d->values, b_muli(b, i, (uint64_t)d->cols * rows * 4));
  prefetch_weights(b, w, rows * d->cols, vecs);
  if (vecs >= VECS_PREFETCHED) prefetch_inputs(b, d, i, vecs, x);
  for (uint32_t j = 0; j < d->cols; j++)
    multiply_add(b, acc, rows, vecs, xk, (uint64_t)j * TILE_BYTES, w, (uint64_t)j * rows * 4);
}

/* The blocks from `from` on. */
static void block_steps(bld *b, V *acc, uint32_t rows, uint32_t vecs, V x, const block_context *d,
                        V from) {
  loop i = b_loop(b, from, d->count, 1, acc, rows * vecs);
  block_step(b, acc, rows, vecs, x, d, i.i);
  b_loop_end(b, &i, acc);
}

static void block_body(bld *b, V *acc, uint32_t rows, uint32_t vecs, V x, void *context) {
  block_steps(b, acc, rows, vecs, x, context, k64(b, 0));
}

/* Vectors of tokens for groups of r outputs: three instead of two where the registers allow it, for
 * the latency of the FMA wants more than 8 accumulators. */
static uint32_t block_vecs(const isa *level, uint32_t r) {
  bool three = level->block_vecs == 2 && 3 * r + 4 <= level->registers;
  return three ? 3 : level->block_vecs;
}

/* Where the next group is in the head, the index and the values of a record. */
enum cursor { HEAD, INDEX, VALUES, CURSORS };

/* A kernel function of blocks. */
typedef struct block_kernel {
  const linear_shape *s;
  kernel_ends e;
  kernel_args a;
  uint32_t r, cols;
  bool in_turn; /* tile after tile, for slabs that stay in L1 */
} block_kernel;

static void first_group(bld *b, const block_kernel *k, V *cursor) {
  static const uint64_t field[CURSORS] = {R_HEAD, R_INDEX, R_VALUES};
  for (uint32_t i = 0; i < CURSORS; i++)
    cursor[i] = b_at(b, k->a.record, b_load32(b, k->a.record, field[i]));
}

/* Reads a group's head, u32 number of blocks, u32 rows[r], and moves the cursors past the group. */
static block_context next_group(bld *b, const block_kernel *k, V *cursor, group_rows *rows) {
  block_context d = {cursor[INDEX], cursor[VALUES], b_load32(b, cursor[HEAD], 0), k->cols};
  *rows = load_rows(b, k->s, &k->a, k->e, b_ati(b, cursor[HEAD], 4), k->r);
  cursor[HEAD] = b_ati(b, cursor[HEAD], 4 + (uint64_t)k->r * 4);
  cursor[INDEX] = b_at(b, cursor[INDEX], b_muli(b, d.count, 2));
  cursor[VALUES] = b_at(b, cursor[VALUES], b_muli(b, d.count, (uint64_t)k->cols * k->r * 4));
  return d;
}

/* `groups` groups against `quarters` quarters of tokens, one group after the other. */
static void block_groups(cg *c, const block_kernel *k, V *cursor, V groups, V quarters) {
  bld *b = &c->b;
  kernel_args a = k->a;
  a.quarters = quarters;
  loop l = b_loop(b, k64(b, 0), groups, 1, cursor, CURSORS);
  group_rows rows;
  block_context d = next_group(b, k, cursor, &rows);
  over_tokens(c, k->s, k->e, &a, &rows, block_vecs(b->isa, k->r), block_body, &d);
  b_loop_end(b, &l, cursor);
}

/* Two groups against the first vector of tokens: they take turns, for the accumulators of one are
 * too few to hide the FMA's latency. */
static void two_groups(bld *b, const block_kernel *k, V *cursor) {
  group_rows rows[2];
  block_context d[2];
  V acc[2 * MAX_BLOCK_ROWS], at = k64(b, 0);
  for (uint32_t i = 0; i < 2; i++) {
    d[i] = next_group(b, k, cursor, &rows[i]);
    start(b, k->e.first, &rows[i], 1, at, acc + i * k->r);
  }
  V both = b_min(b, d[0].count, d[1].count);
  loop l = b_loop(b, k64(b, 0), both, 1, acc, 2 * k->r);
  for (uint32_t i = 0; i < 2; i++)
    block_step(b, acc + i * k->r, k->r, 1, k->a.x, &d[i], l.i);
  b_loop_end(b, &l, acc);
  for (uint32_t i = 0; i < 2; i++) {
    block_steps(b, acc + i * k->r, k->r, 1, k->a.x, &d[i], both);
    finish(b, k->s, k->e.last, &rows[i], 1, at, acc + i * k->r);
  }
}

/* `k` for tile `tile` alone. */
static block_kernel one_tile(bld *b, const block_kernel *k, V tile) {
  block_kernel at = *k;
  V y_at = b_mul(b, tile, k->a.y_step);
  at.a.x = b_at(b, k->a.x, b_mul(b, tile, k->a.x_step));
  at.a.y = b_at(b, k->a.y, y_at);
  at.a.residual = k->s->residual ? b_at(b, k->a.residual, y_at) : NULL;
  return at;
}

/* All groups against a last quarter that is alone in its tile, the one after `tiles` others. */
static void lone_quarter(cg *c, const block_kernel *k, V groups, V tiles) {
  bld *b = &c->b;
  V cursor[CURSORS], pairs = b_shr(b, groups, 1);
  first_group(b, k, cursor);
  block_kernel at = one_tile(b, k, tiles);
  loop l = b_loop(b, k64(b, 0), pairs, 1, cursor, CURSORS);
  two_groups(b, &at, cursor);
  b_loop_end(b, &l, cursor);
  V odd = b_and(b, groups, k64(b, 1));
  block_groups(c, &at, cursor, odd, k64(b, 1));
}

/* All groups against `quarters` quarters of tokens. */
static void block_tiles(cg *c, const block_kernel *k, V groups, V quarters) {
  bld *b = &c->b;
  V cursor[CURSORS];
  if (!k->in_turn) {
    first_group(b, k, cursor);
    branch f = b_if(b, b_ne(b, quarters, k64(b, 0)));
    block_groups(c, k, cursor, groups, quarters);
    b_end(b, &f);
    return;
  }
  loop tile = b_loop(b, k64(b, 0), cg_quarter_tiles(c, quarters), 1, NULL, 0);
  block_kernel at = one_tile(b, k, tile.i);
  V live = cg_live(c, quarters, tile.i);
  first_group(b, k, cursor);
  block_groups(c, &at, cursor, groups, live);
  b_loop_end(b, &tile, NULL);
}

V kernel_block(cg *c, const linear_shape *s, kernel_ends e, uint32_t r, uint32_t cols,
               bool in_turn) {
  char key[160];
  kernel_key(key, sizeof key, c, in_turn ? "block-in-turn" : "block", s, e, r, cols);
  V fn = cg_shared(c, key);
  if (fn) return fn;
  bld *b = &c->b;
  block_kernel k = {s, e, kernel_begin(c, key), r, cols, in_turn};
  fn = b->fn;
  V groups = b_load32(b, k.a.record, R_GROUPS), quarters = k.a.quarters;
  bool pairs = b->isa->lanes == QUARTER && r <= 4;
  V alone = k64(b, 0);
  if (pairs) {
    V rest = b_and(b, quarters, k64(b, TILE_QUARTERS - 1));
    alone = b_zext(b, b_eq(b, rest, k64(b, 1)));
  }
  V others = b_sub(b, quarters, alone);
  block_tiles(c, &k, groups, others);
  if (pairs) {
    branch f = b_if(b, b_ne(b, alone, k64(b, 0)));
    lone_quarter(c, &k, groups, b_shr(b, others, 2));
    b_end(b, &f);
  }
  b_return(b, NULL);
  cg_share(c, key, fn);
  return fn;
}
