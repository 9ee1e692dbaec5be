/* The optimal BERT surgeon (Kurtic et al., 2022): the inverse of the Fisher matrix, in blocks on
 * its diagonal, says what dropping weights costs and how the others make up for it.
 *
 * F = lambda I + (1/m) sum g g' over m gradients; its inverse grows with each gradient by
 * Woodbury's identity, F^-1 -= F^-1 g g' F^-1 / (m + g' F^-1 g). Dropping a set Q of a block's
 * weights costs w_Q' (F^-1_QQ)^-1 w_Q / 2, and the best change of the block is -F^-1_:Q
 * (F^-1_QQ)^-1 w_Q.
 *
 * Ours: that joint change is the default, as the paper's sum of changes for single weights is often
 * worse than none where weights are correlated; `summed` is the paper's. RxC units are ranked by
 * the joint cost of the parts of their rows that lie in one block. */
#include "optimizer/obert.h"

#include <stdlib.h>
#include <string.h>

#include "optimizer/gram.h"
#include "optimizer/linalg.h"

struct spo_fisher {
  size_t count, block;
  uint64_t samples, seen;
  double *inverse; /* of each block, [block, block]; the last may be of less */
};

enum { TASK = 32 /* blocks of a task */ };

static size_t blocks_of(const spo_fisher *f) {
  return spo_blocks(f->count, f->block);
}

static size_t width_of(const spo_fisher *f, size_t index) {
  size_t left = f->count - index * f->block;
  return left < f->block ? left : f->block;
}

static double *block_at(const spo_fisher *f, size_t index) {
  return f->inverse + index * f->block * f->block;
}

spo_status spo_fisher_open(const spo_recipe *recipe, size_t count, uint64_t samples,
                           spo_fisher **out, spo_error *error) {
  spo_status status = spo_recipe_check_as(recipe, SPO_OBERT, error);
  if (status != SPO_OK) return status;
  if (samples == 0)
    return spo_fail(error, SPO_E_VALUE, "a Fisher matrix needs at least one gradient");
  size_t block = (size_t)recipe->fisher_block;
  if (count > SIZE_MAX / sizeof(double) / block - block)
    return spo_fail(error, SPO_E_SHAPE, "a Fisher matrix of %zu weights is too large", count);
  spo_fisher *f = calloc(1, sizeof *f);
  if (f) {
    *f = (spo_fisher){.count = count, .block = block, .samples = samples};
    f->inverse = calloc(blocks_of(f) * block * block + 1, sizeof *f->inverse);
  }
  if (!f || !f->inverse) {
    spo_fisher_close(f);
    return spo_fail(error, SPO_E_MEMORY, "no memory for the Fisher matrix of %zu weights", count);
  }
  for (size_t b = 0; b < blocks_of(f); b++)
    for (size_t i = 0; i < width_of(f, b); i++)
      block_at(f, b)[i * width_of(f, b) + i] = 1 / recipe->fisher_damping;
  *out = f;
  return SPO_OK;
}

void spo_fisher_close(spo_fisher *f) {
  if (!f) return;
  free(f->inverse);
  free(f);
}

/* ---- gradients ---- */

void spo_woodbury(double *inverse, size_t n, const float *g, double samples, double *product) {
  double sum = samples;
  for (size_t i = 0; i < n; i++) {
    product[i] = 0;
    for (size_t j = 0; j < n; j++)
      product[i] += inverse[j * n + i] * (double)g[j];
    sum += product[i] * (double)g[i];
  }
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      inverse[i * n + j] -= product[i] * product[j] / sum;
}

typedef struct surgery {
  const spo_fisher *f;
  const float *g; /* a gradient */
  const spo_layer *layer;
  const unsigned char *mask;
  float *score, *w;
  size_t run; /* columns that are dropped together */
  bool summed;
  spo_status *status; /* by task */
} surgery;

static void add_blocks(void *arg, size_t index) {
  const surgery *s = arg;
  const spo_fisher *f = s->f;
  double *product = malloc(f->block * sizeof *product);
  s->status[index] = product ? SPO_OK : SPO_E_MEMORY;
  for (size_t b = index * TASK; product && b < (index + 1) * TASK && b < blocks_of(f); b++)
    spo_woodbury(block_at(f, b), width_of(f, b), s->g + b * f->block, (double)f->samples, product);
  free(product);
}

/* Runs the task for 0 … count - 1 and returns the first status that is not fine. */
static spo_status run_tasks(surgery *s, spo_task *task, size_t count, const char *name,
                            const spo_pool *pool, spo_error *error) {
  spo_status status = SPO_OK;
  s->status = calloc(count + 1, sizeof *s->status);
  if (s->status) spo_run(pool, task, s, count);
  for (size_t i = 0; s->status && status == SPO_OK && i < count; i++)
    status = s->status[i];
  if (!s->status) status = SPO_E_MEMORY;
  free(s->status);
  if (status == SPO_E_MEMORY)
    return spo_fail(error, status, "tensor '%s': no memory to work on its Fisher matrix", name);
  if (status == SPO_E_NOT_SPD)
    return spo_fail(error, status,
                    "tensor '%s': a block of its Fisher matrix is not positive definite; raise "
                    "'fisher_damping'",
                    name);
  return status;
}

spo_status spo_fisher_add(spo_fisher *f, const char *name, const float *g, const spo_pool *pool,
                          spo_error *error) {
  surgery s = {.f = f, .g = g};
  if (f->seen == f->samples)
    return spo_fail(error, SPO_E_VALUE, "tensor '%s': all %llu gradients have been added", name,
                    (unsigned long long)f->samples);
  spo_status status = spo_check_finite(name, g, 1, f->count, error);
  if (status != SPO_OK) return status;
  f->seen++;
  return run_tasks(&s, add_blocks, spo_blocks(blocks_of(f), TASK), name, pool, error);
}

/* ---- one block ---- */

/* L of the part of the inverse that has `count` indices. */
static bool factor_part(const double *inverse, size_t n, const size_t *index, size_t count,
                        double *l) {
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j <= i; j++)
      l[i * count + j] = inverse[index[i] * n + index[j]];
  return spo_cholesky(l, count, NULL);
}

bool spo_obs_joint(const double *inverse, size_t n, double *w, const unsigned char *keep,
                   double *work, size_t *index) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++)
    if (!keep[i]) index[count++] = i;
  double *x = work + count * count;
  if (!factor_part(inverse, n, index, count, work)) return false;
  for (size_t q = 0; q < count; q++)
    x[q] = w[index[q]];
  spo_cholesky_solve(work, count, x);
  for (size_t q = 0; q < count; q++)
    for (size_t i = 0; i < n; i++)
      w[i] -= inverse[index[q] * n + i] * x[q];
  for (size_t q = 0; q < count; q++)
    w[index[q]] = 0;
  return true;
}

void spo_obs_summed(const double *inverse, size_t n, double *w, const unsigned char *keep,
                    double *work) {
  memcpy(work, w, n * sizeof *w);
  for (size_t q = 0; q < n; q++)
    for (size_t i = 0; !keep[q] && i < n; i++)
      w[i] -= inverse[q * n + i] * (work[q] / inverse[q * n + q]);
  for (size_t q = 0; q < n; q++)
    if (!keep[q]) w[q] = 0;
}

bool spo_obs_scores(const double *inverse, size_t n, size_t first, size_t count, const float *w,
                    float *score, double *work) {
  double *x = work + count * count;
  for (size_t i = 0; i < count; i++) {
    x[i] = (double)w[i];
    for (size_t j = 0; j <= i; j++)
      work[i * count + j] = inverse[(first + i) * n + first + j];
  }
  if (!spo_cholesky(work, count, NULL)) return false;
  spo_lower_solve(work, count, count, x, 1, 1);
  for (size_t i = 0; i < count; i++)
    score[i] = (float)x[i];
  return true;
}

/* ---- a layer ---- */

/* The scores of a row: runs of columns, cut where a block ends. */
static void score_row(void *arg, size_t row) {
  const surgery *s = arg;
  const spo_fisher *f = s->f;
  size_t at = row * s->layer->cols, end = at + s->layer->cols, run = s->run;
  double *work = malloc((run * run + run) * sizeof *work);
  s->status[row] = work ? SPO_OK : SPO_E_MEMORY;
  for (size_t count; s->status[row] == SPO_OK && at < end; at += count) {
    size_t b = at / f->block, first = at % f->block, left = run - at % s->layer->cols % run;
    count = width_of(f, b) - first < left ? width_of(f, b) - first : left;
    if (count > end - at) count = end - at;
    if (!spo_obs_scores(block_at(f, b), width_of(f, b), first, count, s->layer->w + at,
                        s->score + at, work))
      s->status[row] = SPO_E_NOT_SPD;
  }
  free(work);
}

static bool update_block(const surgery *s, size_t b, double *w, double *work, size_t *index) {
  size_t n = width_of(s->f, b), at = b * s->f->block;
  const double *inverse = block_at(s->f, b);
  bool ok = true;
  for (size_t i = 0; i < n; i++)
    w[i] = (double)s->layer->w[at + i];
  if (s->summed)
    spo_obs_summed(inverse, n, w, s->mask + at, work);
  else
    ok = spo_obs_joint(inverse, n, w, s->mask + at, work, index);
  for (size_t i = 0; i < n; i++)
    s->w[at + i] = (float)w[i];
  return ok;
}

static void update_blocks(void *arg, size_t index) {
  const surgery *s = arg;
  size_t n = s->f->block, *dropped = malloc(n * sizeof *dropped);
  double *work = malloc((n * n + 2 * n) * sizeof *work);
  s->status[index] = dropped && work ? SPO_OK : SPO_E_MEMORY;
  for (size_t b = index * TASK; b < (index + 1) * TASK && b < blocks_of(s->f); b++)
    if (s->status[index] == SPO_OK && !update_block(s, b, work, work + n, dropped))
      s->status[index] = SPO_E_NOT_SPD;
  free(dropped);
  free(work);
}

static spo_status prune_layer(const spo_recipe *recipe, surgery *s, unsigned char *mask,
                              const spo_pool *pool, spo_error *error) {
  const spo_layer *l = s->layer;
  spo_status status = run_tasks(s, score_row, l->rows, l->name, pool, error);
  if (status == SPO_OK)
    status = spo_project(&recipe->goal, l->name, s->score, l->rows, l->cols, mask, pool, error);
  if (status == SPO_OK)
    status = run_tasks(s, update_blocks, spo_blocks(blocks_of(s->f), TASK), l->name, pool, error);
  return status == SPO_OK ? spo_check_finite(l->name, s->w, l->rows, l->cols, error) : status;
}

static spo_status check(const spo_recipe *recipe, const spo_layer *layer, const spo_fisher *f,
                        spo_error *error) {
  spo_status status = spo_recipe_check_as(recipe, SPO_OBERT, error);
  if (status == SPO_OK)
    status = spo_goal_check(&recipe->goal, layer->name, layer->rows, layer->cols, error);
  if (status != SPO_OK) return status;
  if (f->count != layer->rows * layer->cols)
    return spo_fail(error, SPO_E_SHAPE, "tensor '%s': its Fisher matrix is of %zu weights",
                    layer->name, f->count);
  if (f->seen != f->samples)
    return spo_fail(error, SPO_E_VALUE, "tensor '%s': %llu of %llu gradients have been added",
                    layer->name, (unsigned long long)f->seen, (unsigned long long)f->samples);
  return spo_check_finite(layer->name, layer->w, layer->rows, layer->cols, error);
}

spo_status spo_obert(const spo_recipe *recipe, spo_layer *layer, const spo_fisher *fisher,
                     spo_report *report, const spo_pool *pool, spo_error *error) {
  spo_status status = check(recipe, layer, fisher, error);
  if (status != SPO_OK) return status;
  size_t count = layer->rows * layer->cols;
  unsigned char *mask = malloc(count + 1);
  surgery s = {.f = fisher,
               .layer = layer,
               .mask = mask,
               .score = malloc(count * sizeof *s.score + 1),
               .w = malloc(count * sizeof *s.w + 1),
               .run = recipe->goal.pattern.kind == SPO_BLOCK ? recipe->goal.pattern.cols : 1,
               .summed = recipe->summed};
  status = mask && s.score && s.w
               ? prune_layer(recipe, &s, mask, pool, error)
               : spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory to prune it", layer->name);
  if (status == SPO_OK) spo_commit(layer, s.w, mask, report);
  free(mask);
  free(s.score);
  free(s.w);
  return status;
}
