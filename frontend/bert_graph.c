/* The graph of BertModel as the paper draws it, op by op; the passes fuse it. Values are named by
 * the module that makes them. */
#include <inttypes.h>
#include <math.h>

#include "frontend/bert.h"

typedef struct builder {
  const bert *b;
  ir_graph *g;
  const char *scope; /* goes before every name, such as "encoder.layer.0." */
  ir_id mask;        /* IR_NONE: every token counts */
} builder;

static const char *scoped(const builder *w, const char *name) {
  return arena_printf(w->g->arena, "%s%s", w->scope, name);
}

static ir_id op(const builder *w, const char *name, enum ir_op op, ir_id x, ir_id y, ir_id z) {
  const ir_id in[] = {x, y, z};
  ir_id id = ir_add_op(w->g, scoped(w, name), op, in, 3);
  ir_at(w->g, id)->loc = loc_file(w->b->config.shown);
  return id;
}

static ir_id op2(const builder *w, const char *name, enum ir_op code, ir_id x, ir_id y) {
  return op(w, name, code, x, y, IR_NONE);
}

static void set_int(const builder *w, ir_id id, enum ir_attr attr, int64_t value) {
  ir_at(w->g, id)->attr[attr].i = value;
}

/* The constant `module`.`leaf`; bert_load made all of them. */
static ir_id weight(const builder *w, const char *module, const char *leaf) {
  return names_find(w->b->constants, arena_printf(w->g->arena, "%s%s.%s", w->scope, module, leaf));
}

static ir_id linear(const builder *w, const char *module, ir_id x) {
  return op(w, module, OP_linear, x, weight(w, module, "weight"), weight(w, module, "bias"));
}

static ir_id layernorm(const builder *w, const char *module, ir_id x) {
  ir_id id = op(w, module, OP_layernorm, x, weight(w, module, "weight"), weight(w, module, "bias"));
  ir_at(w->g, id)->attr[A_eps].f = w->b->config.layer_norm_eps;
  return id;
}

static ir_id activation(const builder *w, const char *name, ir_id x) {
  enum ir_act act = w->b->config.hidden_act;
  if (act == ACT_RELU) return op2(w, name, OP_relu, x, IR_NONE);
  ir_id id = op2(w, name, OP_gelu, x, IR_NONE);
  set_int(w, id, A_form, act == ACT_GELU_TANH ? FORM_TANH : FORM_ERF);
  return id;
}

static ir_id add_input(const builder *w, const char *name, bool optional, int32_t absent) {
  const int64_t dim[] = {DIM_B, DIM_S};
  ir_id id = ir_add_input(w->g, name, ir_type_make(IR_I32, 2, dim));
  ir_at(w->g, id)->optional = optional;
  ir_at(w->g, id)->absent = absent;
  return id;
}

/* Rows of the token type table; without types, row 0 for every token, as a constant f32[C]. */
static ir_id token_types(const builder *w, ir_id types) {
  ir_id table = weight(w, "embeddings.token_type_embeddings", "weight");
  if (types != IR_NONE)
    return op2(w, "embeddings.token_type_embeddings", OP_gather, table,
               op2(w, "token_type_ids.packed", OP_pack, types, w->mask));
  const float *row = ir_at(w->g, table)->tensor->data;
  return ir_add_const(w->g, "embeddings.token_type_embeddings.weight.0",
                      ir_type1(w->b->config.hidden_size), row);
}

static ir_id embeddings(const builder *w, ir_id ids, ir_id types) {
  ir_id packed = op2(w, "input_ids.packed", OP_pack, ids, w->mask);
  ir_id positions = op2(w, "positions", OP_positions, w->mask, IR_NONE);
  ir_id word = op2(w, "embeddings.word_embeddings", OP_gather,
                   weight(w, "embeddings.word_embeddings", "weight"), packed);
  ir_id sum = op2(w, "embeddings.word_and_type", OP_add, word, token_types(w, types));
  ir_id position = op2(w, "embeddings.position_embeddings", OP_gather,
                       weight(w, "embeddings.position_embeddings", "weight"), positions);
  sum = op2(w, "embeddings.sum", OP_add, sum, position);
  return layernorm(w, "embeddings.LayerNorm", sum);
}

static ir_id self_attention(const builder *w, ir_id x) {
  const hf_config *c = &w->b->config;
  int64_t heads = c->num_attention_heads;
  ir_id q = linear(w, "attention.self.query", x);
  ir_id k = linear(w, "attention.self.key", x);
  ir_id v = linear(w, "attention.self.value", x);
  ir_id scores = op2(w, "attention.self.scores", OP_scores, q, k);
  set_int(w, scores, A_heads, heads);
  ir_at(w->g, scores)->attr[A_scale].f = 1.0 / sqrt((double)(c->hidden_size / heads));
  ir_infer(w->g, scores, NULL);
  ir_id probs = op2(w, "attention.self.probs", OP_softmax, scores, w->mask);
  ir_id context = op2(w, "attention.self.context", OP_context, probs, v);
  set_int(w, context, A_heads, heads);
  ir_infer(w->g, context, NULL);
  return context;
}

static ir_id layer(const builder *w, ir_id x) {
  ir_id a = linear(w, "attention.output.dense", self_attention(w, x));
  a = op2(w, "attention.output.residual", OP_add, a, x);
  a = layernorm(w, "attention.output.LayerNorm", a);
  ir_id y = linear(w, "intermediate.dense", a);
  y = activation(w, "intermediate.activation", y);
  y = linear(w, "output.dense", y);
  y = op2(w, "output.residual", OP_add, y, a);
  return layernorm(w, "output.LayerNorm", y);
}

static ir_id encoder(builder *w, ir_id x) {
  for (int64_t i = 0; i < w->b->config.num_hidden_layers; i++) {
    w->scope = arena_printf(w->g->arena, "encoder.layer.%" PRId64 ".", i);
    x = layer(w, x);
  }
  w->scope = "";
  return x;
}

static ir_id pooler(const builder *w, ir_id x) {
  ir_id first = op2(w, "pooler.first", OP_first, x, w->mask);
  return op2(w, "pooler.activation", OP_tanh, linear(w, "pooler.dense", first), IR_NONE);
}

static void add_outputs(const builder *w, ir_id last) {
  const bert *b = w->b;
  ir_id value[BERT_OUTPUTS] = {
      [BERT_LAST] = last, [BERT_POOLED] = IR_NONE, [BERT_LOGITS] = IR_NONE};
  if (b->need_pooler) value[BERT_POOLED] = pooler(w, last);
  if (b->need_classifier)
    value[BERT_LOGITS] = linear(w, "classifier", b->token_level ? last : value[BERT_POOLED]);
  for (uint32_t i = 0; i < b->outputs; i++) {
    const char *name = bert_output_names[b->output[i]];
    ir_id out = op2(w, arena_printf(w->g->arena, "%s.unpacked", name), OP_unpack,
                    value[b->output[i]], w->mask);
    ir_add_output(w->g, name, out);
  }
}

void bert_build(bert *b) {
  builder w = {.b = b, .g = b->graph, .scope = "", .mask = IR_NONE};
  ir_id types = IR_NONE;
  ir_id ids = add_input(&w, bert_input_names[BERT_IDS], false, 0);
  if (b->input[BERT_MASK]) w.mask = add_input(&w, bert_input_names[BERT_MASK], true, 1);
  if (b->input[BERT_TYPES]) types = add_input(&w, bert_input_names[BERT_TYPES], true, 0);
  add_outputs(&w, encoder(&w, embeddings(&w, ids, types)));
  ir_cleanup(w.g); /* inputs go first; a type table without types is not needed */
}
