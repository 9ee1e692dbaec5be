/* Random graphs with inputs, each from a 64-bit seed alone: chains of ops and small encoders like
 * BERT, with weights of every sparsity format and sizes around those that kernels care about. */
#ifndef SPCC_TESTS_RANDOM_GRAPH_H
#define SPCC_TESTS_RANDOM_GRAPH_H

#include "ir/ir.h"

/* A generator of random numbers (splitmix64): the same on every machine. */
typedef struct rng {
  uint64_t state;
} rng;

uint64_t rng_next(rng *r);
/* 0 … n - 1; n > 0. */
uint32_t rng_below(rng *r, uint32_t n);
/* True `percent` times in a hundred. */
bool rng_chance(rng *r, uint32_t percent);
/* Bell-shaped, mean 0, deviation 1, at most 3.5 from 0. */
float rng_normal(rng *r);

/* Weights of a random format (dense, empty, one element, unstructured, blocks, N:M, mixtures),
 * scaled by 1/sqrt(cols); *format gets a word about it. */
const float *random_weight(rng *r, arena *a, size_t rows, size_t cols, const char **format);

/* A graph and one call of it. */
typedef struct random_case {
  uint64_t seed;
  ir_graph *graph; /* valid, straight as a frontend makes it */
  int64_t batch, sequence;
  const int32_t *lengths; /* NULL: rectangular */
  const void *const *in;  /* in the order of the graph's inputs; NULL for absent ones */
  const size_t *in_bytes;
  uint32_t in_count;
  const char *text; /* the seed and what is in the case, for messages */
} random_case;

const random_case *random_case_new(arena *a, uint64_t seed);

#endif
