/* Projection of scores onto a goal: which elements a pattern of a given sparsity keeps. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "optimizer/internal.h"
#include "optimizer/lanes.h"

enum { LIMIT = 256 };

static bool in_limits(uint32_t value) {
  return value >= 1 && value <= LIMIT;
}

static bool pattern_ok(const spo_pattern *p) {
  switch (p->kind) {
  case SPO_DENSE:
  case SPO_UNSTRUCTURED:
    return true;
  case SPO_BLOCK:
    return in_limits(p->rows) && in_limits(p->cols);
  case SPO_NM:
    return in_limits(p->rows) && in_limits(p->n) && in_limits(p->m) && p->n <= p->m;
  }
  return false;
}

static spo_status check_sparsity(const spo_goal *goal, const char *name, spo_error *error) {
  double implied, s = goal->sparsity;
  if (spo_pattern_implies(&goal->pattern, &implied)) {
    if (s == SPO_IMPLIED || fabs(s - implied) <= 1e-6) return SPO_OK;
    return spo_fail(error, SPO_E_SPARSITY,
                    "tensor '%s': the pattern implies a sparsity of %g, not %g; leave it out", name,
                    implied, s);
  }
  if (s >= 0 && s <= 1) return SPO_OK;
  return spo_fail(error, SPO_E_SPARSITY, "tensor '%s': a sparsity of 0 to 1 is needed, got %g",
                  name, s);
}

/* A pattern tiles a tensor when its rows, and for blocks its columns, divide the tensor's; N:M
 * alone may leave a shorter group at the end of a row. */
static spo_status check_shape(const spo_pattern *p, const char *name, size_t rows, size_t cols,
                              spo_error *error) {
  char text[SPO_PATTERN_TEXT];
  if (cols != 0 && rows > SIZE_MAX / sizeof(uint64_t) / cols)
    return spo_fail(error, SPO_E_SHAPE, "tensor '%s': %zu x %zu elements are too many", name, rows,
                    cols);
  bool shared = p->kind == SPO_BLOCK || p->kind == SPO_NM;
  if (shared && (rows % p->rows != 0 || (p->kind == SPO_BLOCK && cols % p->cols != 0)))
    return spo_fail(error, SPO_E_SHAPE,
                    "tensor '%s': pattern %s does not divide its shape [%zu, %zu]; choose another "
                    "pattern or leave the tensor out",
                    name, spo_pattern_print(p, text), rows, cols);
  return SPO_OK;
}

spo_status spo_goal_check(const spo_goal *goal, const char *name, size_t rows, size_t cols,
                          spo_error *error) {
  if (!pattern_ok(&goal->pattern))
    return spo_fail(error, SPO_E_PATTERN, "tensor '%s': the pattern's numbers are out of range",
                    name);
  spo_status status = check_sparsity(goal, name, error);
  return status == SPO_OK ? check_shape(&goal->pattern, name, rows, cols, error) : status;
}

/* A projection in work: bands of rows are its tasks. */
typedef struct projection {
  const spo_pattern *pattern;
  const float *score;
  size_t rows, cols;
  bool by_value; /* not by magnitude */
  unsigned char *mask;
  size_t band;         /* rows of a task, a multiple of the pattern's */
  uint64_t *key;       /* of blocks */
  unsigned char *keep; /* of blocks */
  bool *bad;           /* by band: a score is not finite */
} projection;

static size_t band_end(const projection *p, size_t index) {
  size_t end = (index + 1) * p->band;
  return end < p->rows ? end : p->rows;
}

LANES_BODY void find_bad_body(const float *restrict s, size_t count, bool *restrict bad) {
  uint32_t found = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &s[i], sizeof bits);
    found |= (bits & 0x7f800000u) == 0x7f800000u;
  }
  *bad = found;
}

/* In *bad whether one of s[count] is not finite. */
LANES(find_bad, (const float *s, size_t count, bool *bad), (s, count, bad))

static void check_band(void *arg, size_t index) {
  const projection *p = arg;
  size_t first = index * p->band;
  find_bad(p->score + first * p->cols, (band_end(p, index) - first) * p->cols, &p->bad[index]);
}

static spo_status name_nonfinite(const projection *p, const char *name, spo_error *error) {
  size_t i = 0;
  while (isfinite(p->score[i]))
    i++;
  return spo_fail(error, SPO_E_NONFINITE, "tensor '%s': element [%zu, %zu] is not finite", name,
                  i / p->cols, i % p->cols);
}

/* Squares of f32 are exact in f64, so single elements are ranked exactly by magnitude; sums are in
 * row-major order. */
uint64_t spo_norm_key(const float *score, size_t stride, size_t rows, size_t cols) {
  double sum = 0;
  uint64_t key;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      sum += (double)score[r * stride + c] * (double)score[r * stride + c];
  memcpy(&key, &sum, sizeof key);
  return key;
}

/* The sum of a unit, as a key in the order of the numbers; -0 cannot come from a sum with +0. */
static uint64_t sum_key(const float *score, size_t stride, size_t rows, size_t cols) {
  double sum = 0;
  uint64_t key;
  for (size_t r = 0; r < rows; r++)
    for (size_t c = 0; c < cols; c++)
      sum += (double)score[r * stride + c];
  memcpy(&key, &sum, sizeof key);
  return key ^ (key >> 63 ? UINT64_MAX : 1ull << 63);
}

static uint64_t unit_key(const projection *p, const float *score, size_t rows, size_t cols) {
  return (p->by_value ? sum_key : spo_norm_key)(score, p->cols, rows, cols);
}

static void mark(unsigned char *mask, size_t stride, size_t rows, size_t cols, unsigned char keep) {
  for (size_t r = 0; r < rows; r++)
    memset(mask + r * stride, keep, cols);
}

/* ---- blocks, which compete over the whole tensor ---- */

static void rank_band(void *arg, size_t index) {
  const projection *p = arg;
  const spo_pattern *b = p->pattern;
  size_t across = p->cols / b->cols;
  for (size_t r = index * p->band; r < band_end(p, index); r += b->rows)
    for (size_t c = 0; c < across; c++)
      p->key[r / b->rows * across + c] =
          unit_key(p, p->score + r * p->cols + c * b->cols, b->rows, b->cols);
}

static void mark_band(void *arg, size_t index) {
  const projection *p = arg;
  const spo_pattern *b = p->pattern;
  size_t across = p->cols / b->cols;
  for (size_t r = index * p->band; r < band_end(p, index); r += b->rows)
    for (size_t c = 0; c < across; c++)
      mark(p->mask + r * p->cols + c * b->cols, p->cols, b->rows, b->cols,
           p->keep[r / b->rows * across + c]);
}

static spo_status project_blocks(projection *p, double sparsity, const char *name,
                                 const spo_pool *pool, spo_error *error) {
  size_t units = p->rows / p->pattern->rows * (p->cols / p->pattern->cols);
  size_t bands = spo_blocks(p->rows, p->band);
  p->key = malloc(units * sizeof *p->key);
  p->keep = malloc(units);
  spo_status status = SPO_OK;
  if (p->key && p->keep) {
    spo_run(pool, rank_band, p, bands);
    spo_select(p->key, units, (size_t)spo_keep_count(units, sparsity), p->keep);
    spo_run(pool, mark_band, p, bands);
  } else {
    status = spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory for %zu scores", name, units);
  }
  free(p->key);
  free(p->keep);
  return status;
}

/* ---- N:M ---- */

/* One group of up to m columns at `at`, shared by the pattern's rows: keeps the n of highest rank.
 */
static void project_group(const projection *p, size_t at, size_t group) {
  uint64_t key[LIMIT];
  uint32_t n = p->pattern->n;
  size_t rows = p->pattern->rows;
  for (size_t c = 0; c < group; c++)
    key[c] = unit_key(p, p->score + at + c, rows, 1);
  for (size_t c = 0; c < group; c++) {
    size_t rank = 0;
    for (size_t d = 0; d < group; d++)
      rank += key[d] > key[c] || (key[d] == key[c] && d < c);
    mark(p->mask + at + c, p->cols, rows, 1, rank < n);
  }
}

/* Groups of four are ranked sixteen at a time: in each 128-bit lane four groups become a vector of
 * their first weights, one of their second ones, … */
enum { FOURS_WEIGHTS = 4 * LANES_16 };

#define IN_LANES(x, y, a, b, c, d)                                                                 \
  __builtin_shufflevector(x, y, a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8,       \
                          d + 8, a + 12, b + 12, c + 12, d + 12)

/* w[j]'s lane L has the weights of group 4 j + L; afterwards w[i]'s lane L has the weights i of the
 * groups L, 4 + L, 8 + L, 12 + L. */
LANES_BODY void gather_places(lanes_i32 w[4]) {
  lanes_i32 low01 = IN_LANES(w[0], w[1], 0, 16, 1, 17), low23 = IN_LANES(w[2], w[3], 0, 16, 1, 17);
  lanes_i32 high01 = IN_LANES(w[0], w[1], 2, 18, 3, 19);
  lanes_i32 high23 = IN_LANES(w[2], w[3], 2, 18, 3, 19);
  w[0] = IN_LANES(low01, low23, 0, 1, 16, 17);
  w[1] = IN_LANES(low01, low23, 2, 3, 18, 19);
  w[2] = IN_LANES(high01, high23, 0, 1, 16, 17);
  w[3] = IN_LANES(high01, high23, 2, 3, 18, 19);
}

/* mask[FOURS_WEIGHTS], in the order of the weights, of magnitudes as gather_places leaves them. A
 * comparison counts -1; of two equal weights the first ranks above. */
LANES_BODY void mark_highest(const lanes_i32 w[4], int32_t n, unsigned char *mask) {
  lanes_i32 ab = w[1] > w[0], ac = w[2] > w[0], ad = w[3] > w[0];
  lanes_i32 bc = w[2] > w[1], bd = w[3] > w[1], cd = w[3] > w[2];
  lanes_i32 keep = (ab + ac + ad > -n) & 1;
  keep |= (bc + bd - ab > 1 - n) & 1 << 8;
  keep |= (cd - ac - bc > 2 - n) & 1 << 16;
  keep |= (-ad - bd - cd > 3 - n) & 1 << 24;
  keep = __builtin_shufflevector(keep, keep, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  memcpy(mask, &keep, sizeof keep);
}

/* In *bad whether a score is not finite: added to its bits without the sign, the smallest exponent
 * reaches the sign. */
LANES_BODY void project_fours_body(const float *restrict score, size_t count, uint32_t n,
                                   unsigned char *restrict mask, bool *restrict bad) {
  lanes_i32 w[4], over = {0};
  for (size_t at = 0; at < count; at += FOURS_WEIGHTS) {
    for (int j = 0; j < 4; j++) {
      memcpy(&w[j], score + at + j * LANES_16, sizeof w[j]);
      w[j] &= 0x7fffffff;
      over |= (lanes_i32)((lanes_u32)w[j] + 0x00800000u);
    }
    gather_places(w);
    mark_highest(w, (int32_t)n, mask + at);
  }
  int32_t signs = 0;
  for (int i = 0; i < LANES_16; i++)
    signs |= over[i];
  *bad = signs < 0;
}

/* Of score[count], count a multiple of FOURS_WEIGHTS, each group's n largest magnitudes. */
LANES(project_fours, (const float *score, size_t count, uint32_t n, unsigned char *mask, bool *bad),
      (score, count, n, mask, bad))

/* The same for any multiple of 4; true where a score is not finite. */
static bool project_run(const float *score, size_t count, uint32_t n, unsigned char *mask) {
  size_t whole = count / FOURS_WEIGHTS * FOURS_WEIGHTS, rest = count - whole;
  float last[FOURS_WEIGHTS] = {0};
  unsigned char last_mask[FOURS_WEIGHTS];
  bool bad, last_bad;
  project_fours(score, whole, n, mask, &bad);
  memcpy(last, score + whole, rest * sizeof *last);
  project_fours(last, FOURS_WEIGHTS, n, last_mask, &last_bad);
  memcpy(mask + whole, last_mask, rest);
  return bad || last_bad;
}

/* `count` columns at `at` and in the pattern's rows below; true where a score is not finite. */
static bool project_groups(const projection *p, size_t at, size_t count) {
  const spo_pattern *nm = p->pattern;
  bool all_bad = false, bad;
  for (size_t r = 0; r < nm->rows; r++) {
    find_bad(p->score + at + r * p->cols, count, &bad);
    all_bad |= bad;
  }
  for (size_t c = 0; c < count; c += nm->m)
    project_group(p, at + c, count - c < nm->m ? count - c : nm->m);
  return all_bad;
}

/* Checks its scores too, while they are in the cache. Rows of whole groups of four are one run. */
static void project_nm_band(void *arg, size_t index) {
  const projection *p = arg;
  const spo_pattern *nm = p->pattern;
  bool fours = nm->m == 4 && nm->rows == 1 && !p->by_value, bad = false;
  size_t at = index * p->band * p->cols, end = band_end(p, index) * p->cols;
  size_t run = fours && p->cols % 4 == 0 ? end - at : p->cols, done = fours ? run / 4 * 4 : 0;
  for (; at < end; at += nm->rows * run) {
    if (done) bad |= project_run(p->score + at, done, nm->n, p->mask + at);
    bad |= project_groups(p, at + done, run - done);
  }
  p->bad[index] = bad;
}

/* ---- all patterns ---- */

static spo_status project_single(const projection *p, double sparsity, const char *name,
                                 const spo_pool *pool, spo_error *error) {
  size_t count = p->rows * p->cols;
  const spo_span span = {.name = name, .score = p->score, .count = count, .keep = p->mask};
  uint64_t k = spo_keep_count(count, sparsity);
  spo_status status =
      (p->by_value ? spo_select_signed : spo_select_scores)(&span, 1, k, pool, error);
  return status == SPO_E_NONFINITE ? name_nonfinite(p, name, error) : status;
}

static size_t rows_of_band(const spo_pattern *p, size_t cols) {
  size_t rows = p->kind == SPO_BLOCK || p->kind == SPO_NM ? p->rows : 1;
  return cols * rows >= SPO_GRAIN ? rows : SPO_GRAIN / (cols * rows) * rows;
}

/* Runs a task that marks the bands that are not finite. */
static spo_status run_bands(projection *p, spo_task *task, const char *name, const spo_pool *pool,
                            spo_error *error) {
  size_t bands = spo_blocks(p->rows, p->band);
  p->bad = calloc(bands, sizeof *p->bad);
  if (!p->bad) return spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory for its check", name);
  spo_run(pool, task, p, bands);
  bool bad = false;
  for (size_t i = 0; i < bands; i++)
    bad |= p->bad[i];
  free(p->bad);
  return bad ? name_nonfinite(p, name, error) : SPO_OK;
}

/* A projection whose scores, ranking and mask are set. */
static spo_status project(projection *p, const spo_goal *goal, const char *name,
                          const spo_pool *pool, spo_error *error) {
  spo_status status = spo_goal_check(goal, name, p->rows, p->cols, error);
  if (status != SPO_OK || p->rows * p->cols == 0) return status;
  p->pattern = &goal->pattern;
  p->band = rows_of_band(&goal->pattern, p->cols);
  switch (goal->pattern.kind) {
  case SPO_UNSTRUCTURED:
    return project_single(p, goal->sparsity, name, pool, error);
  case SPO_NM:
    return run_bands(p, project_nm_band, name, pool, error);
  case SPO_BLOCK:
    status = run_bands(p, check_band, name, pool, error);
    return status == SPO_OK ? project_blocks(p, goal->sparsity, name, pool, error) : status;
  case SPO_DENSE:
    break;
  }
  memset(p->mask, 1, p->rows * p->cols);
  return run_bands(p, check_band, name, pool, error);
}

spo_status spo_project(const spo_goal *goal, const char *name, const float *score, size_t rows,
                       size_t cols, unsigned char *mask, const spo_pool *pool, spo_error *error) {
  projection p = {.score = score, .rows = rows, .cols = cols, .mask = mask};
  return project(&p, goal, name, pool, error);
}

spo_status spo_project_signed(const spo_goal *goal, const char *name, const float *score,
                              size_t rows, size_t cols, unsigned char *mask, const spo_pool *pool,
                              spo_error *error) {
  projection p = {.score = score, .rows = rows, .cols = cols, .mask = mask, .by_value = true};
  return project(&p, goal, name, pool, error);
}
