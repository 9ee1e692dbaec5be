/* The parts of the Hugging Face import: choosing what to compute, loading the weights, building the
 * graph. Internal to frontend/. */
#ifndef SPCC_FRONTEND_BERT_H
#define SPCC_FRONTEND_BERT_H

#include "frontend/config.h"
#include "frontend/import.h"
#include "frontend/sparsity.h"
#include "ir/names.h"

enum bert_input { BERT_IDS, BERT_MASK, BERT_TYPES, BERT_INPUTS };
enum bert_output { BERT_LAST, BERT_POOLED, BERT_LOGITS, BERT_OUTPUTS };

extern const char *const bert_input_names[BERT_INPUTS];
extern const char *const bert_output_names[BERT_OUTPUTS];

typedef struct bert {
  const import *im;
  hf_config config;
  const char *folder;
  st_set *weights;
  sparsity sparsity;  /* what a sparsifier says of them */
  const char *prefix; /* of the tensors of the encoder: "" or "bert." */
  bool has_pooler, has_classifier;
  bool token_level;                      /* the classifier looks at every token */
  bool input[BERT_INPUTS];               /* which are wanted */
  enum bert_output output[BERT_OUTPUTS]; /* the wanted ones in their order */
  uint32_t outputs;
  bool need_pooler, need_classifier;
  ir_graph *graph;
  names *constants; /* name without prefix -> ir_id */
  const char **linears;
  uint32_t linear_count;
} bert;

/* Finds the prefix and the heads of the checkpoint. */
bool bert_look(bert *b);
/* The tensor of a name without prefix, in any of the spellings of old and new checkpoints; NULL. */
st_tensor *bert_tensor(const bert *b, const char *name);
/* Checks all tensors that the wanted outputs need and adds them to the graph as constants. */
bool bert_load(bert *b);
/* Warns of tensors that nothing used, but for those of heads that were not asked for. */
void bert_warn_unused(const bert *b);
/* Builds the ops and the outputs from the inputs and constants. */
void bert_build(bert *b);

#endif
