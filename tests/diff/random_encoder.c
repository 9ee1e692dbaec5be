/* Small random encoders, with the ops that a BERT checkpoint gives before any pass. */
#include <math.h>

#include "tests/diff/random_build.h"

typedef struct sizes {
  int64_t heads, kv_heads, head_size, hidden, inner, words;
} sizes;

static sizes pick_sizes(builder *b) {
  sizes s = {.heads = BUILD_PICK(b, 1, 1, 2, 3, 4, 5, 7, 12)};
  s.head_size = BUILD_PICK(b, 1, 3, 4, 5, 8, 13, 16, 20, 24, 32, 33, 64);
  s.inner = build_width(b);
  s.words = BUILD_PICK(b, 1, 5, 64, 101);
  /* Long sequences cost most in attention; keep these small. */
  int64_t most = b->g->max_sequence > 200 ? 48 : 200;
  while (s.heads > 1 && s.heads * s.head_size > most)
    s.heads--;
  if (s.head_size > most) s.head_size = most;
  s.hidden = s.heads * s.head_size;
  s.kv_heads = s.heads;
  if (rng_chance(&b->r, 20)) s.kv_heads = s.heads % 2 == 0 ? s.heads / 2 : 1;
  return s;
}

static ir_id ids(builder *b, const char *name, bool optional) {
  ir_id x = build_input(b, name, ir_type_make(IR_I32, 2, (const int64_t[]){DIM_B, DIM_S}));
  ir_at(b->g, x)->optional = optional;
  return build_masked(b, OP_pack, 1, &x);
}

static ir_id gather(builder *b, int64_t rows, int64_t cols, ir_id at) {
  ir_id table = build_table(b, rows, cols);
  return build_op(b, OP_gather, 2, (const ir_id[]){table, at});
}

static ir_id add(builder *b, ir_id x, ir_id y) {
  return build_op(b, OP_add, 2, (const ir_id[]){x, y});
}

/* Word embeddings, mostly with those of positions and with types: given ones, or row 0 for all. */
static ir_id embeddings(builder *b, const sizes *s) {
  ir_id x = gather(b, s->words, s->hidden, ids(b, "input_ids", false));
  uint32_t kind = rng_below(&b->r, 4);
  if (kind == 0) return build_layernorm(b, x);
  if (kind == 1)
    x = add(b, x, build_row(b, s->hidden, 0, 1));
  else
    x = add(b, x, gather(b, 2, s->hidden, ids(b, "token_type_ids", true)));
  ir_id position = build_masked(b, OP_positions, 0, NULL);
  return build_layernorm(b, add(b, x, gather(b, b->g->max_sequence, s->hidden, position)));
}

static ir_id attention(builder *b, const sizes *s, ir_id x) {
  ir_id q = build_linear(b, x, s->hidden);
  ir_id k = build_linear(b, x, s->kv_heads * s->head_size);
  ir_id v = build_linear(b, x, s->kv_heads * s->head_size);
  ir_id scores = build_op(b, OP_scores, 2, (const ir_id[]){q, k});
  ir_at(b->g, scores)->attr[A_heads].i = s->heads;
  ir_at(b->g, scores)->attr[A_kv_heads].i = s->kv_heads;
  ir_at(b->g, scores)->attr[A_scale].f = 1 / sqrt((double)s->head_size);
  ir_infer(b->g, scores, NULL);
  ir_id weights = build_masked(b, OP_softmax, 1, &scores);
  ir_id context = build_op(b, OP_context, 2, (const ir_id[]){weights, v});
  ir_at(b->g, context)->attr[A_heads].i = s->heads;
  ir_at(b->g, context)->attr[A_kv_heads].i = s->kv_heads;
  ir_infer(b->g, context, NULL);
  return context;
}

static ir_id layer(builder *b, const sizes *s, ir_id x) {
  ir_id self = build_linear(b, attention(b, s, x), s->hidden);
  x = build_layernorm(b, add(b, self, x));
  ir_id inner = build_activation(b, build_linear(b, x, s->inner));
  return build_layernorm(b, add(b, build_linear(b, inner, s->hidden), x));
}

void build_encoder(builder *b) {
  b->g->max_batch = 3;
  b->g->max_sequence = BUILD_PICK(b, 1, 17, 17, 64, 65, 65, 128, 511);
  sizes s = pick_sizes(b);
  build_note(b, "encoder heads %lld of %lld kv %lld inner %lld", (long long)s.heads,
             (long long)s.head_size, (long long)s.kv_heads, (long long)s.inner);
  if (rng_chance(&b->r, 85)) build_mask(b);
  ir_id x = embeddings(b, &s);
  uint32_t layers = 1 + rng_below(&b->r, 2);
  for (uint32_t i = 0; i < layers; i++)
    x = layer(b, &s, x);
  bool pooler = rng_chance(&b->r, 50);
  if (!pooler || rng_chance(&b->r, 50)) build_output(b, "last_hidden_state", x);
  if (!pooler) return;
  ir_id first = build_masked(b, OP_first, 1, &x), dense = build_linear(b, first, s.hidden);
  ir_id pooled = build_op(b, OP_tanh, 1, &dense);
  build_output(b, "pooler_output", pooled);
  if (rng_chance(&b->r, 50)) build_output(b, "logits", build_linear(b, pooled, 1 + s.words % 5));
}
