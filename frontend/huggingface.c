/* The Hugging Face form: a folder with config.json and safetensors becomes a graph. */
#include <string.h>

#include "frontend/bert.h"
#include "frontend/suggest.h"

const char *const bert_input_names[BERT_INPUTS] = {"input_ids", "attention_mask", "token_type_ids"};
const char *const bert_output_names[BERT_OUTPUTS] = {"last_hidden_state", "pooler_output",
                                                     "logits"};

/* The index of a name among `count` known ones; -1 after an error. */
static int find_name(const import *im, const ynode *n, const char *what, const char *const *known,
                     int count) {
  suggestion s = {.word = n->text};
  for (int i = 0; i < count; i++) {
    suggest_offer(&s, known[i]);
    if (strcmp(n->text, known[i]) == 0) return i;
  }
  diag_error(im->diag, n->loc, E_REF, "a BERT model has no %s '%.64s'%s", what, n->text,
             suggest_text(im->arena, &s));
  return -1;
}

/* The list of a key, or NULL with *ok set when the key is absent. */
static const ynode **name_list(const import *im, const char *key, uint32_t *count, bool *ok) {
  const ynode *list = ynode_get(im->root, key);
  *ok = true;
  if (!list) return NULL;
  *count = list->count;
  if (list->count == 0) {
    *ok = diag_error(im->diag, list->loc, E_GRAPH, "'%s' is empty; name at least one or remove it",
                     key);
    return NULL;
  }
  const ynode **items = import_list(im, list);
  *ok = items != NULL;
  return items;
}

static bool choose_inputs(bert *b) {
  uint32_t count = 0;
  bool ok;
  const ynode **items = name_list(b->im, "inputs", &count, &ok);
  for (int i = 0; i < BERT_INPUTS; i++)
    b->input[i] = !items;
  for (uint32_t i = 0; items && i < count; i++) {
    int input = find_name(b->im, items[i], "input", bert_input_names, BERT_INPUTS);
    if (input < 0)
      ok = false;
    else
      b->input[input] = true;
  }
  if (!ok || b->input[BERT_IDS]) return ok;
  return diag_error(b->im->diag, ynode_get(b->im->root, "inputs")->loc, E_GRAPH,
                    "'inputs' must name 'input_ids'");
}

static void want_output(bert *b, enum bert_output output) {
  b->output[b->outputs++] = output;
  if (output == BERT_LOGITS) b->need_classifier = true;
  if (output == BERT_POOLED || (output == BERT_LOGITS && !b->token_level)) b->need_pooler = true;
}

static bool choose_outputs(bert *b) {
  const bool has[BERT_OUTPUTS] = {true, b->has_pooler, b->has_classifier};
  uint32_t count = 0;
  bool ok;
  const ynode **items = name_list(b->im, "outputs", &count, &ok);
  if (!ok) return false;
  for (int i = 0; !items && i < BERT_OUTPUTS; i++)
    if (has[i]) want_output(b, (enum bert_output)i);
  for (uint32_t i = 0; items && i < count; i++) {
    int output = find_name(b->im, items[i], "output", bert_output_names, BERT_OUTPUTS);
    if (output < 0)
      ok = false;
    else if (!has[output])
      ok = diag_error(b->im->diag, items[i]->loc, E_W_MISSING,
                      "the checkpoint has no weights for the output '%s'", items[i]->text);
    else
      want_output(b, (enum bert_output)output);
  }
  return ok;
}

static bool import_bert(bert *b, model_source *out) {
  if (!bert_look(b) || !choose_inputs(b) || !choose_outputs(b)) return false;
  b->graph = ir_graph_new(b->im->arena, b->im->name);
  bool ok = import_limits(b->im, b->graph, b->config.max_position_embeddings);
  if (!bert_load(b) || !ok) return false;
  bert_warn_unused(b);
  bert_build(b);
  out->graph = b->graph;
  out->linears = b->linears;
  out->linear_count = b->linear_count;
  return true;
}

bool import_huggingface(const import *im, model_source *out) {
  const ynode *folder = ynode_get(ynode_get(im->root, "model"), "huggingface");
  bert b = {.im = im, .folder = import_path(im, folder)};
  if (!b.folder || !config_read(im->arena, im->diag, b.folder, &b.config)) return false;
  b.weights = st_open_folder(im->arena, im->diag, b.folder);
  if (!b.weights) return false;
  out->folder = b.folder;
  out->weights = b.weights;
  if (!sparsity_read(im->arena, im->diag, b.folder, &b.sparsity)) return false;
  return import_bert(&b, out);
}
