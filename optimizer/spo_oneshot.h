/* One-shot sparsifiers: they see a trained model once, and its activations or gradients.
 *
 * Activations come in chunks of tokens, f32 [tokens, inputs]. What is summed up over them depends
 * on how they are cut into chunks, in the last bits; never on threads. */
#ifndef SPO_ONESHOT_H
#define SPO_ONESHOT_H

#include "spo_recipe.h"

/* ---- what is known of a linear's inputs ---- */
/* Sums over tokens: X'X, or its diagonal alone. */
typedef struct spo_gram spo_gram;

/* SPO_GRAM_NORMS is enough for Wanda and takes 8 bytes an input; SPO_GRAM_WHOLE takes 8 bytes for
 * each pair of inputs. */
typedef enum spo_gram_kind { SPO_GRAM_NORMS, SPO_GRAM_WHOLE } spo_gram_kind;

/* Makes one without tokens; at most 65,536 inputs. SPO_E_MEMORY or SPO_E_SHAPE. */
spo_status spo_gram_open(spo_gram_kind kind, size_t inputs, spo_gram **out, spo_error *error);
/* Frees it; NULL is allowed. */
void spo_gram_close(spo_gram *gram);
/* Adds x[tokens, inputs]. SPO_E_NONFINITE or SPO_E_MEMORY: nothing has been added then; the message
 * has `name`, which is the tensor that reads the inputs. */
spo_status spo_gram_add(spo_gram *gram, const char *name, const float *x, size_t tokens,
                        const spo_pool *pool, spo_error *error);
/* Adds the tokens of another one of the same kind and inputs; SPO_E_SHAPE otherwise. */
spo_status spo_gram_merge(spo_gram *into, const spo_gram *from, spo_error *error);
uint64_t spo_gram_tokens(const spo_gram *gram);
/* The sum of squares of each input, [inputs]. */
const double *spo_gram_norms(const spo_gram *gram);

/* What a change of a linear costs on those tokens: error = |(W - W') X|^2 and energy = |W X|^2 (may
 * be NULL: it takes as long as the error), for w and changed [rows, inputs]. SPO_E_VALUE without a
 * whole Gram matrix, or SPO_E_MEMORY. */
spo_status spo_gram_error(const spo_gram *gram, const char *name, const float *w,
                          const float *changed, size_t rows, double *error_out, double *energy,
                          const spo_pool *pool, spo_error *error);

/* ---- methods that need the inputs of a linear ---- */
/* Prunes the layer to recipe->goal: weights, mask and report are written. The recipe may be another
 * method's; options that the function uses have to be in their limits. SPO_E_VALUE for those or
 * without tokens, SPO_E_SHAPE where the Gram matrix is another layer's,
 * SPO_E_NONFINITE, SPO_E_NOT_SPD, SPO_E_MEMORY. */
typedef spo_status spo_prune_gram(const spo_recipe *recipe, spo_layer *layer, const spo_gram *gram,
                                  spo_report *report, const spo_pool *pool, spo_error *error);

/* |W_ij| times the norm of input j, ranked within each output; norms are enough. */
spo_prune_gram spo_wanda;
/* The optimal brain surgeon, column by column; needs the whole Gram matrix. Uses the options
 * damping, block and refit. */
spo_prune_gram spo_sparsegpt;

/* ---- SparseLLM: a feed-forward part as a whole ---- */
/* ReLU; GELU by the normal distribution, as in BERT; or SiLU of a second linear, the gate. */
typedef enum spo_activation { SPO_RELU, SPO_GELU, SPO_SILU_GATE } spo_activation;

/* y = down f(up x + up_bias) + down_bias; with a gate, y = down (silu(gate x + gate_bias) * (up x +
 * up_bias)) + down_bias. A bias may be NULL. */
typedef struct spo_ffn {
  spo_activation activation;
  spo_layer up, gate,
      down; /* [inner, inputs], the same, [outputs, inner]; gate of SILU_GATE alone */
  const float *up_bias, *gate_bias, *down_bias;
} spo_ffn;

typedef struct spo_tokens {
  const float *x; /* [count, inputs] */
  size_t count;
} spo_tokens;

typedef struct spo_ffn_report {
  spo_report up, gate, down;
  double energy;  /* |Y|^2, without the bias */
  double error;   /* |Y - Y'|^2, of what is kept */
  uint64_t epoch; /* whose weights they are, from 0 */
  bool closed;    /* but for `down`, which the closing made */
  double *trace;  /* [recipe->epochs], the error after each; the caller's, or NULL */
} spo_ffn_report;

/* Prunes all linears of the part to recipe->goal, with auxiliary activations between them. X are
 * its inputs, in the chunks in which they came; what it puts out for them before is what the pruned
 * one is held against. Uses the options damping, block, epochs, the three weights, and closing. One
 * epoch is SparseGPT. Takes 4 bytes for each token and inner activation, and 8 with a gate. */
spo_status spo_sparsellm(const spo_recipe *recipe, spo_ffn *ffn, const spo_tokens *chunks,
                         size_t count, spo_ffn_report *report, const spo_pool *pool,
                         spo_error *error);

/* ---- oBERT: needs gradients ---- */
/* The inverse of a weight's Fisher matrix, in blocks of fisher_block weights in row-major order. */
typedef struct spo_fisher spo_fisher;

/* For `count` weights and `samples` gradients; takes 8 * fisher_block bytes for each weight. Uses
 * the options fisher_block and fisher_damping. SPO_E_VALUE, SPO_E_SHAPE or SPO_E_MEMORY. */
spo_status spo_fisher_open(const spo_recipe *recipe, size_t count, uint64_t samples,
                           spo_fisher **out, spo_error *error);
/* Frees it; NULL is allowed. */
void spo_fisher_close(spo_fisher *fisher);
/* Adds the gradient of one batch, gradient[count]. SPO_E_NONFINITE and SPO_E_VALUE, when all
 * samples have been added, change nothing; after SPO_E_MEMORY the matrix is of no use. */
spo_status spo_fisher_add(spo_fisher *fisher, const char *name, const float *gradient,
                          const spo_pool *pool, spo_error *error);
/* Prunes the layer to recipe->goal when all gradients are there; uses the option `summed`. */
spo_status spo_obert(const spo_recipe *recipe, spo_layer *layer, const spo_fisher *fisher,
                     spo_report *report, const spo_pool *pool, spo_error *error);

#endif
