/* PST: "Parameter-efficient sparsity for large language models fine-tuning" (Li et al., 2022).
 *
 * Work is cut by rows, and for sums over rows by bands of columns; both have fixed sizes. Products
 * are plain loops: ranks are small, and a loop has the same bits on every machine. */
#include <math.h>
#include <string.h>

#include "optimizer/lanes.h"
#include "optimizer/lowrank.h"

enum { CHUNK = 256 /* columns at once */, BAND = 64, GROUP = 8, RANK_MAX = 4096 };

size_t spo_pst_count(const spo_recipe *recipe, size_t rows, size_t cols) {
  return (rows + cols) * (size_t)(recipe->rank_scores + recipe->rank_weights + 1);
}

spo_pst spo_pst_parts(const spo_recipe *recipe, const spo_tensor *tensor, float *params) {
  size_t rows = tensor->rows, cols = tensor->cols;
  size_t weights = (size_t)recipe->rank_weights, scores = (size_t)recipe->rank_scores;
  spo_pst p = {.u = params};
  p.v = p.u + rows * weights;
  p.a = p.v + weights * cols;
  p.b = p.a + rows * scores;
  p.r = p.b + scores * cols;
  p.c = p.r + rows;
  return p;
}

/* ---- the beginning ---- */

/* A standard normal number (Box and Muller, 1958). */
static float normal(const spo_random *random, uint64_t index) {
  double radius = sqrt(-2 * log(spo_random_unit(random, 2 * index)));
  return (float)(radius * cos(2 * M_PI * spo_random_unit(random, 2 * index + 1)));
}

spo_status spo_pst_begin(const spo_recipe *recipe, const spo_tensor *tensor, float *params,
                         spo_error *error) {
  spo_status status = spo_lowrank_check(recipe, SPO_PST, tensor, error);
  if (status != SPO_OK) return status;
  spo_pst p = spo_pst_parts(recipe, tensor, params);
  spo_random random = {.seed = recipe->seed, .stream = spo_name_hash(tensor->name)};
  memset(params, 0, spo_pst_count(recipe, tensor->rows, tensor->cols) * sizeof *params);
  for (size_t i = 0; i < tensor->rows * recipe->rank_weights; i++)
    p.u[i] = normal(&random, i);
  random.step = 1;
  for (size_t i = 0; i < tensor->rows * recipe->rank_scores; i++)
    p.a[i] = normal(&random, i);
  return SPO_OK;
}

/* ---- forward ---- */

/* out[j] = sum over k of left[k] * right[k, j], right having `stride` columns. */
LANES_BODY void product_body(float *out, const float *left, const float *right, size_t rank,
                             size_t stride, size_t count) {
  for (size_t j = 0; j < count; j++)
    out[j] = 0;
  for (size_t k = 0; k < rank; k++)
    for (size_t j = 0; j < count; j++)
      out[j] += left[k] * right[k * stride + j];
}
LANES(product,
      (float *out, const float *left, const float *right, size_t rank, size_t stride, size_t count),
      (out, left, right, rank, stride, count))

typedef struct pst_work {
  size_t rows, cols, rank_scores, rank_weights;
  size_t band; /* rows of a task */
  float alpha, structure, beta;
  const float *w0, *g;
  spo_pst p, grad;
  unsigned char *mask;
  float *w;
} pst_work;

static pst_work work_of(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                        const float *params) {
  pst_work x = {.rows = tensor->rows,
                .cols = tensor->cols,
                .rank_scores = (size_t)recipe->rank_scores,
                .rank_weights = (size_t)recipe->rank_weights,
                .alpha = (float)recipe->alpha_low_rank,
                .structure = (float)recipe->alpha_structure,
                .beta = (float)recipe->beta,
                .w0 = w0};
  x.p = spo_pst_parts(recipe, tensor, (float *)params); /* only read */
  x.band = tensor->cols >= SPO_GRAIN ? 1 : SPO_GRAIN / (tensor->cols + 1) + 1;
  return x;
}

static size_t chunk_at(const pst_work *x, size_t from, size_t most) {
  return x->cols - from < most ? x->cols - from : most;
}

/* W0 + beta UV in `count` columns of a row, from column `from`. */
static void weight_chunk(const pst_work *x, size_t row, size_t from, size_t count, float *out) {
  const float *w0 = x->w0 + row * x->cols + from;
  product(out, x->p.u + row * x->rank_weights, x->p.v + from, x->rank_weights, x->cols, count);
  for (size_t j = 0; j < count; j++)
    out[j] = w0[j] + x->beta * out[j];
}

static void score_chunk(const pst_work *x, size_t row, size_t from, size_t count) {
  float w[CHUNK], low_rank[CHUNK], *out = x->w + row * x->cols + from;
  weight_chunk(x, row, from, count, w);
  product(low_rank, x->p.a + row * x->rank_scores, x->p.b + from, x->rank_scores, x->cols, count);
  for (size_t j = 0; j < count; j++)
    out[j] = fabsf(w[j]) + x->alpha * low_rank[j] + x->structure * (x->p.r[row] + x->p.c[from + j]);
}

static void masked_chunk(const pst_work *x, size_t row, size_t from, size_t count) {
  float *out = x->w + row * x->cols + from;
  const unsigned char *mask = x->mask + row * x->cols + from;
  weight_chunk(x, row, from, count, out);
  for (size_t j = 0; j < count; j++)
    out[j] = mask[j] ? out[j] : 0;
}

typedef void chunk_step(const pst_work *x, size_t row, size_t from, size_t count);

static void each_chunk(const pst_work *x, size_t band, chunk_step *step) {
  size_t end = (band + 1) * x->band < x->rows ? (band + 1) * x->band : x->rows;
  for (size_t row = band * x->band; row < end; row++)
    for (size_t from = 0; from < x->cols; from += CHUNK)
      step(x, row, from, chunk_at(x, from, CHUNK));
}

static void score_task(void *arg, size_t index) {
  each_chunk(arg, index, score_chunk);
}

static void masked_task(void *arg, size_t index) {
  each_chunk(arg, index, masked_chunk);
}

void spo_pst_scores(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                    const float *params, float *scores, const spo_pool *pool) {
  pst_work x = work_of(recipe, tensor, w0, params);
  x.w = scores;
  spo_run(pool, score_task, &x, spo_blocks(x.rows, x.band));
}

/* The scores are made where the weights will be. */
spo_status spo_pst_forward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                           const float *params, uint64_t step, unsigned char *mask, float *w,
                           const spo_pool *pool, spo_error *error) {
  spo_status status = spo_lowrank_check(recipe, SPO_PST, tensor, error);
  if (status != SPO_OK) return status;
  pst_work x = work_of(recipe, tensor, w0, params);
  x.mask = mask;
  x.w = w;
  spo_pst_scores(recipe, tensor, w0, params, w, pool);
  status = spo_lowrank_project(recipe, tensor, step, w, mask, pool, error);
  if (status == SPO_OK) spo_run(pool, masked_task, &x, spo_blocks(x.rows, x.band));
  return status;
}

spo_status spo_pst_finish(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                          const float *params, unsigned char *mask, float *w, spo_report *report,
                          const spo_pool *pool, spo_error *error) {
  spo_status status =
      spo_pst_forward(recipe, tensor, w0, params, recipe->steps, mask, w, pool, error);
  if (status == SPO_OK) spo_lowrank_report(mask, w, tensor->rows * tensor->cols, report);
  return status;
}

/* ---- backward ---- */

/* With G the gradient of M * W and Q = G * W, the gradient of the scores:
 *   dA = alpha Q B',  dB = alpha A' Q,  dR = structure Q 1,  dC = structure 1' Q,
 *   dW = G * M + G * |W|,  dU = beta dW V',  dV = beta U' dW. */
static void gradient_chunk(const pst_work *x, size_t at, size_t count, float *q, float *dw) {
  const float *g = x->g + at, *w = x->w + at;
  const unsigned char *mask = x->mask + at;
  for (size_t j = 0; j < count; j++) {
    q[j] = g[j] * w[j];
    dw[j] = (mask[j] ? g[j] : 0) + g[j] * fabsf(w[j]);
  }
}

/* *sum += a · b, in eight sums, which are added in a fixed order. */
LANES_BODY void dot_body(double *sum, const float *a, const float *b, size_t count) {
  double lane[8] = {0};
  size_t whole = count / 8 * 8;
  for (size_t j = 0; j < whole; j += 8)
    for (size_t l = 0; l < 8; l++)
      lane[l] += (double)a[j + l] * (double)b[j + l];
  for (size_t j = whole; j < count; j++)
    lane[j - whole] += (double)a[j] * (double)b[j];
  *sum += ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}
LANES(dot, (double *sum, const float *a, const float *b, size_t count), (sum, a, b, count))

/* Sums along one row: dU, dA and dR. Leaves W in x->w. */
static void row_gradients(const pst_work *x, size_t row) {
  double of_u[RANK_MAX], of_a[RANK_MAX], of_r = 0;
  float q[CHUNK], dw[CHUNK];
  memset(of_u, 0, x->rank_weights * sizeof *of_u);
  memset(of_a, 0, x->rank_scores * sizeof *of_a);
  for (size_t from = 0; from < x->cols; from += CHUNK) {
    size_t count = chunk_at(x, from, CHUNK), at = row * x->cols + from;
    weight_chunk(x, row, from, count, x->w + at);
    gradient_chunk(x, at, count, q, dw);
    for (size_t k = 0; k < x->rank_weights; k++)
      dot(&of_u[k], dw, x->p.v + k * x->cols + from, count);
    for (size_t k = 0; k < x->rank_scores; k++)
      dot(&of_a[k], q, x->p.b + k * x->cols + from, count);
    for (size_t j = 0; j < count; j++)
      of_r += (double)q[j];
  }
  for (size_t k = 0; k < x->rank_weights; k++)
    x->grad.u[row * x->rank_weights + k] = (float)((double)x->beta * of_u[k]);
  for (size_t k = 0; k < x->rank_scores; k++)
    x->grad.a[row * x->rank_scores + k] = (float)((double)x->alpha * of_a[k]);
  x->grad.r[row] = (float)((double)x->structure * of_r);
}

static void row_task(void *arg, size_t index) {
  const pst_work *x = arg;
  size_t end = (index + 1) * x->band < x->rows ? (index + 1) * x->band : x->rows;
  for (size_t row = index * x->band; row < end; row++)
    row_gradients(x, row);
}

/* sum[k, j] += left[k] * right[j] */
LANES_BODY void add_outer_body(double sum[GROUP][BAND], const float *left, const float *right,
                               size_t rank, size_t count) {
  for (size_t k = 0; k < rank; k++)
    for (size_t j = 0; j < count; j++)
      sum[k][j] += (double)left[k] * (double)right[j];
}
LANES(add_outer,
      (double sum[GROUP][BAND], const float *left, const float *right, size_t rank, size_t count),
      (sum, left, right, rank, count))

/* A left factor of sums over rows. */
typedef struct left_factor {
  const float *x; /* row i begins at i * stride */
  size_t stride, rank;
  bool of_scores;    /* times Q, else times dW */
  float scale, *out; /* [rank, cols] */
} left_factor;

/* out[k, j] = scale * sum over the rows of left[i, k] times Q or dW [i, j], in a band of columns.
 */
static void column_gradients(const pst_work *x, const left_factor *left, size_t from) {
  size_t count = chunk_at(x, from, BAND);
  for (size_t k = 0; k < left->rank; k += GROUP) {
    double sum[GROUP][BAND] = {{0}};
    float q[BAND], dw[BAND];
    size_t rank = left->rank - k < GROUP ? left->rank - k : GROUP;
    for (size_t i = 0; i < x->rows; i++) {
      gradient_chunk(x, i * x->cols + from, count, q, dw);
      add_outer(sum, left->x + i * left->stride + k, left->of_scores ? q : dw, rank, count);
    }
    for (size_t r = 0; r < rank; r++)
      for (size_t j = 0; j < count; j++)
        left->out[(k + r) * x->cols + from + j] = (float)((double)left->scale * sum[r][j]);
  }
}

static void column_task(void *arg, size_t index) {
  static const float one = 1;
  const pst_work *x = arg;
  const left_factor left[] = {{x->p.u, x->rank_weights, x->rank_weights, false, x->beta, x->grad.v},
                              {x->p.a, x->rank_scores, x->rank_scores, true, x->alpha, x->grad.b},
                              {&one, 0, 1, true, x->structure, x->grad.c}};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++)
    column_gradients(x, &left[i], index * BAND);
}

spo_status spo_pst_backward(const spo_recipe *recipe, const spo_tensor *tensor, const float *w0,
                            const float *params, const unsigned char *mask, const float *g,
                            float *work, float *grad, const spo_pool *pool, spo_error *error) {
  spo_status status = spo_lowrank_check(recipe, SPO_PST, tensor, error);
  if (status != SPO_OK) return status;
  pst_work x = work_of(recipe, tensor, w0, params);
  x.mask = (unsigned char *)mask; /* only read */
  x.g = g;
  x.w = work;
  x.grad = spo_pst_parts(recipe, tensor, grad);
  spo_run(pool, row_task, &x, spo_blocks(x.rows, x.band));
  spo_run(pool, column_task, &x, spo_blocks(x.cols, BAND));
  return SPO_OK;
}
