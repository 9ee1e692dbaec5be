/* libspo: sparsifiers. Needs nothing of the compiler.
 *
 * A weight is [rows, cols] row-major, rows being outputs and cols inputs, as in torch.nn.Linear.
 * Every method decides which weights to keep; the counts are exact, ties are broken by index, and
 * the result never depends on threads or on the machine. Functions return a status, describe it in
 * an spo_error (may be NULL), never print and never exit; after an error the weights are as they
 * were, and masks are of no use. */
#ifndef SPO_H
#define SPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum spo_status {
  SPO_OK = 0,
  SPO_E_NONFINITE = 1, /* a weight or score is NaN or infinite */
  SPO_E_SHAPE = 2,     /* the pattern does not tile the tensor, or the tensor is too large */
  SPO_E_PATTERN = 3,   /* a pattern out of its limits */
  SPO_E_SPARSITY = 4,  /* outside 0 … 1, or not the one that the pattern implies */
  SPO_E_MEMORY = 5,    /* no memory */
  SPO_E_VALUE = 6,     /* an option out of its limits */
  SPO_E_THREAD = 7,    /* the system starts no more threads */
  SPO_E_NOT_SPD = 8,   /* a Gram matrix is not positive definite */
  SPO_E_STATE = 9      /* a state of another recipe, tensor or version, or a damaged one */
} spo_status;

typedef struct spo_error {
  char text[256]; /* names the tensor, the cause and what to do */
} spo_error;

/* ---- threads ---- */
typedef void spo_task(void *arg, size_t index);

/* What runs loops: run(self, task, arg, count) calls task(arg, i) for i = 0 … count - 1, in any
 * order and on any threads, and returns when all are done. Where a function takes a pool, NULL
 * means the calling thread. Work is cut in the same way for all pools, so results are the same. */
typedef struct spo_pool {
  void (*run)(void *self, spo_task *task, void *arg, size_t count);
  void *self;
} spo_pool;

/* A pool of `threads` threads, 1 … 1024, the caller being one of them. Several callers take turns;
 * a task must not use the pool that runs it. SPO_E_VALUE, SPO_E_MEMORY or SPO_E_THREAD. */
spo_status spo_pool_open(unsigned threads, spo_pool **out, spo_error *error);
/* Ends a pool that spo_pool_open made, or NULL. */
void spo_pool_close(spo_pool *pool);

/* ---- patterns ---- */
typedef enum spo_kind { SPO_DENSE, SPO_UNSTRUCTURED, SPO_BLOCK, SPO_NM } spo_kind;

/* dense, unstructured, RxC (blocks of R outputs by C inputs, kept or dropped whole), N:M (keep N of
 * M consecutive inputs) and N:MxR (the same choice shared by R outputs). All numbers 1 … 256. */
typedef struct spo_pattern {
  spo_kind kind;
  uint32_t rows, cols; /* BLOCK: R and C; NM: rows is R */
  uint32_t n, m;       /* NM */
} spo_pattern;

enum { SPO_PATTERN_TEXT = 32 };

/* Reads a spelling; false when it is none. */
bool spo_pattern_parse(const char *text, spo_pattern *out);
/* Writes the spelling into text[SPO_PATTERN_TEXT] and returns it. */
char *spo_pattern_print(const spo_pattern *p, char *text);
/* True for the patterns that fix the sparsity themselves: 0 for dense, 1 - N/M for N:M. */
bool spo_pattern_implies(const spo_pattern *p, double *sparsity);

/* ---- what to reach ---- */
/* For `sparsity`, with a pattern that implies it. */
#define SPO_IMPLIED (-1.0)

typedef struct spo_goal {
  spo_pattern pattern;
  double sparsity; /* share of the units (elements or blocks) to drop, 0 … 1; or SPO_IMPLIED */
} spo_goal;

typedef struct spo_report {
  uint64_t total, kept; /* elements, and those that the mask keeps */
  uint64_t nonzero;     /* elements that are not zero: kept ones may have been zero before */
} spo_report;

/* Of `units` units, those to keep at `sparsity`: units - floor(sparsity * units + 1e-6). */
uint64_t spo_keep_count(uint64_t units, double sparsity);

/* ---- building blocks of the methods ---- */
/* Marks in keep[count] (0 or 1) the `k` largest keys, the lower index first among equals; k at
 * most count. The bits of a non-negative IEEE number are such a key. */
void spo_select(const uint64_t *key, size_t count, size_t k, unsigned char *keep);

/* Scores and where to mark which are kept; `name` is for messages. */
typedef struct spo_span {
  const char *name;
  const float *score;  /* [count] */
  unsigned char *keep; /* [count], 0 or 1 */
  size_t count;
} spo_span;

/* Marks the `k` scores of largest magnitude over all spans together, k at most their number: one
 * ranking for a whole model, or for a single tensor or row. Ties go to the earlier span and the
 * lower index. SPO_E_NONFINITE or SPO_E_MEMORY. */
spo_status spo_select_scores(const spo_span *spans, size_t count, uint64_t k, const spo_pool *pool,
                             spo_error *error);

/* The same for the largest scores, whatever their sign. */
spo_status spo_select_signed(const spo_span *spans, size_t count, uint64_t k, const spo_pool *pool,
                             spo_error *error);

/* The best mask of the goal for |score| [rows, cols]: mask[rows * cols], 1 to keep. Blocks and rows
 * that share a choice are ranked by their L2 norm: that is the Euclidean projection. */
spo_status spo_project(const spo_goal *goal, const char *name, const float *score, size_t rows,
                       size_t cols, unsigned char *mask, const spo_pool *pool, spo_error *error);

/* The same for scores that have a sign, of which the largest are kept. Blocks and rows that share a
 * choice are ranked by the sum of their scores. */
spo_status spo_project_signed(const spo_goal *goal, const char *name, const float *score,
                              size_t rows, size_t cols, unsigned char *mask, const spo_pool *pool,
                              spo_error *error);

/* ---- schedules ---- */
typedef enum spo_curve { SPO_CONSTANT, SPO_LINEAR, SPO_CUBIC, SPO_COSINE } spo_curve;

/* `from` before step `begin`, `to` from step `end` on (a constant: from `begin` on), the curve
 * between them. With `every` above 1 the value stays for so many steps. Steps count completed
 * ones. */
typedef struct spo_schedule {
  spo_curve curve;
  double from, to;
  uint64_t begin, end, every;
} spo_schedule;

double spo_schedule_at(const spo_schedule *s, uint64_t step);
/* True at the steps begin, begin + every … and end: those at which something is to be done. */
bool spo_schedule_due(const spo_schedule *s, uint64_t step);

/* ---- random numbers ---- */
/* Philox4x32-10 (Salmon et al., 2011). */
void spo_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* FNV-1a of the text: the stream of a tensor. */
uint32_t spo_name_hash(const char *name);

/* The numbers of one tensor at one step: a function of these and of the index alone. */
typedef struct spo_random {
  uint64_t seed;
  uint32_t stream, step;
} spo_random;

uint64_t spo_random_bits(const spo_random *r, uint64_t index);
/* Uniform in (0, 1). */
double spo_random_unit(const spo_random *r, uint64_t index);

/* ---- methods ---- */
typedef struct spo_layer {
  const char *name;
  float *w;            /* [rows, cols] */
  unsigned char *mask; /* [rows * cols], written: 1 where kept */
  size_t rows, cols;
} spo_layer;

/* One-shot magnitude: keeps the weights, or blocks, of largest L2 norm. Sets dropped ones to +0 and
 * fills mask and report. */
spo_status spo_magnitude(const spo_goal *goal, spo_layer *layer, spo_report *report,
                         const spo_pool *pool, spo_error *error);

/* The same with one ranking over all layers: the goal's sparsity is that of all of them together.
 * reports[count]. N:M leaves nothing to rank between layers: it prunes one after the other, and
 * after SPO_E_MEMORY some are pruned already. */
spo_status spo_magnitude_global(const spo_goal *goal, spo_layer *layers, size_t count,
                                spo_report *reports, const spo_pool *pool, spo_error *error);

#endif
