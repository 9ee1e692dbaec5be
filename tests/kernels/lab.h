/* The kernels' laboratory: a graph of independent linears that share their inputs, compiled at
 * once and compared, one by one, with the interpreter. */
#ifndef SPCC_TESTS_KERNELS_LAB_H
#define SPCC_TESTS_KERNELS_LAB_H

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "tests/diff/diff_common.h"

enum { LAB_TOKENS = 200, LAB_LINEARS = 32 };

/* What a linear computes besides its product. act and residual exclude each other. */
typedef struct lab_linear {
  uint32_t m, k; /* outputs, inputs */
  bool bias, residual, norm;
  enum ir_act act;
  const float *w;     /* [m, k] */
  const char *weight; /* a word about w */
} lab_linear;

typedef struct lab {
  arena *a;
  diag *d;
  rng r;
  const char *text; /* how to repeat the case */
  ir_graph *g;
  bool per_batch; /* rows are sequences, not tokens */
  int opt_level;  /* of the code; 0 unless set, which compiles ten times as fast */
  lab_linear linear[LAB_LINEARS];
  ir_id id[LAB_LINEARS]; /* of the op */
  uint32_t count;
} lab;

/* An empty graph whose random numbers come from `seed`. */
lab *lab_new(const char *text, uint64_t seed, bool per_batch);
void lab_free(lab *l);
/* Adds pack, linear and unpack with random bias, gamma and beta; returns the linear's index. */
uint32_t lab_add(lab *l, lab_linear linear);
/* The op of linear `i`; adding another linear moves it. */
ir_value *lab_value(const lab *l, uint32_t i);
/* Runs these passes; the test fails with their messages when one does. */
void lab_passes(lab *l, const char *list, enum sparse_mode sparse, pattern p);

/* Compiles for every ISA level and runs with LAB_TOKENS tokens, which must agree with the
 * interpreter within 3e-8 sqrt(K) or 4 times the error of f32; then with fewer tokens and with
 * several threads, which must give the same bits. Outputs, workspace, inputs and weights lie
 * between guard pages. */
void lab_check(lab *l);

/* ---- random weights ---- */
enum lab_fill {
  FILL_EMPTY,
  FILL_ONE,    /* one element */
  FILL_CORNER, /* the last element alone */
  FILL_FEW,    /* 3 % */
  FILL_HALF,
  FILL_FULL,
  FILL_STRIPES, /* empty and full rows, empty columns, 10 % elsewhere */
  FILL_UNITS,   /* a fifth of the pattern's units, full */
  LAB_FILLS
};
extern const char *const lab_fill_names[LAB_FILLS];
/* f32[m, k], scaled by 1/sqrt(k), no kept element 0. For N:M every group keeps the pattern. */
const float *lab_weight(lab *l, uint32_t m, uint32_t k, enum lab_fill fill, pattern p);

/* ---- random parts, set before the passes ---- */
/* Up to five parts of any kernels, rows and columns that sum to the weight of linear `i`. */
void lab_random_parts(lab *l, uint32_t i);
/* After schedule: other chunks and slabs than it chose. */
void lab_random_schedule(lab *l, uint32_t i);

#endif
