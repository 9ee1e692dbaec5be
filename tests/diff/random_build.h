/* What the generators of random graphs share. */
#ifndef SPCC_TESTS_RANDOM_BUILD_H
#define SPCC_TESTS_RANDOM_BUILD_H

#include "tests/diff/random_graph.h"

typedef struct builder {
  arena *a;
  ir_graph *g;
  rng r;
  ir_id mask; /* IR_NONE: the graph has none */
  uint32_t serial;
  const char *text;
} builder;

/* One of `n` numbers. */
int64_t build_pick(builder *b, const int64_t *from, uint32_t n);
#define BUILD_PICK(b, ...)                                                                         \
  build_pick(b, (const int64_t[]){__VA_ARGS__},                                                    \
             sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
/* A width around the sizes of tiles and vectors. */
int64_t build_width(builder *b);
/* Adds words to the text about the case. */
void build_note(builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ops with fresh names. build_masked gives the mask, when there is one, as the last operand. */
ir_id build_op(builder *b, enum ir_op op, uint32_t nin, const ir_id *in);
ir_id build_masked(builder *b, enum ir_op op, uint32_t nin, const ir_id *in);
/* Channels of a value. */
int64_t build_cols(const builder *b, ir_id x);
ir_id build_input(builder *b, const char *name, ir_type type);
/* The optional mask input. */
#define RANDOM_MASK "attention_mask"
void build_mask(builder *b);
/* f32[rows,cols] of bell-shaped numbers. */
ir_id build_table(builder *b, int64_t rows, int64_t cols);
/* f32[cols]: centre, and a deviation of spread. */
ir_id build_row(builder *b, int64_t cols, float centre, float spread);
/* A linear to m outputs with a random weight, and mostly with a bias. */
ir_id build_linear(builder *b, ir_id x, int64_t m);
ir_id build_layernorm(builder *b, ir_id x);
/* gelu in both forms, relu, tanh. */
ir_id build_activation(builder *b, ir_id x);
/* Unpacks x into an output. */
void build_output(builder *b, const char *name, ir_id x);

void build_chain(builder *b);
void build_encoder(builder *b);

#endif
