/* model.yaml to graphs: both forms, their texts and their numbers. */
#include <math.h>

#include "frontend/config.h"
#include "frontend/schema.h"
#include "ir/interp.h"
#include "tests/run_suite.h"
#include "tiny_bert.h"

static model_source *read_yaml(const char *text) {
  return model_read_text(mem, d, "m.yaml", ".", text, strlen(text), NULL);
}

static model_source *read_good(const char *text) {
  model_source *m = read_yaml(text);
  if (!m) expect_messages("");
  ck_assert_ptr_nonnull(m);
  return m;
}

/* The lines of the graph's text from `from` on, up to a line that begins with `to`. */
static const char *excerpt(const model_source *m, const char *from, const char *to) {
  const char *text = ir_print(m->graph, mem);
  const char *begin = strstr(text, from);
  ck_assert_msg(begin != NULL, "no '%s' in\n%s", from, text);
  const char *end = strstr(begin, to);
  ck_assert_msg(end != NULL, "no '%s' in\n%s", to, text);
  return arena_strndup(mem, begin, (size_t)(end - begin));
}

static const char *output_list(const model_source *m) {
  const char *all = "";
  for (uint32_t i = 0; i < m->graph->output_count; i++)
    all = arena_printf(mem, "%s%s ", all, m->graph->outputs[i].name);
  return all;
}

/* ---- Hugging Face form: text ---- */

#define HF "spcc: 1\nmodel: {huggingface: hf}\n"

START_TEST(hf_text) {
  tiny_bert t = {.layers = 1, .pooler = true};
  tiny_write(&t, "hf");
  const model_source *m = read_good(HF "max_batch: 3\nname: tiny\n");
  expect_messages("");
  ck_assert_str_eq(m->name, "tiny");
  ck_assert_str_eq(excerpt(m, "model", "const"), "model tiny max_batch=3 max_sequence=5\n"
                                                 "input %input_ids : i32[B,S]\n"
                                                 "input %attention_mask : i32[B,S] optional=1\n"
                                                 "input %token_type_ids : i32[B,S] optional=0\n");
  ck_assert_str_eq(
      excerpt(m, "%input_ids.packed", "%encoder"),
      "%input_ids.packed = pack %input_ids, %attention_mask : i32[N]\n"
      "%positions = positions %attention_mask : i32[N]\n"
      "%embeddings.word_embeddings = gather @embeddings.word_embeddings.weight, "
      "%input_ids.packed : f32[N,4]\n"
      "%token_type_ids.packed = pack %token_type_ids, %attention_mask : i32[N]\n"
      "%embeddings.token_type_embeddings = gather @embeddings.token_type_embeddings.weight, "
      "%token_type_ids.packed : f32[N,4]\n"
      "%embeddings.word_and_type = add %embeddings.word_embeddings, "
      "%embeddings.token_type_embeddings : f32[N,4]\n"
      "%embeddings.position_embeddings = gather @embeddings.position_embeddings.weight, "
      "%positions : f32[N,4]\n"
      "%embeddings.sum = add %embeddings.word_and_type, %embeddings.position_embeddings : "
      "f32[N,4]\n"
      "%embeddings.LayerNorm = layernorm %embeddings.sum, @embeddings.LayerNorm.weight, "
      "@embeddings.LayerNorm.bias : f32[N,4]\n");
  ck_assert_str_eq(
      excerpt(m, "%encoder.layer.0.attention.self.scores =", "%encoder.layer.0.intermediate.dense"),
      "%encoder.layer.0.attention.self.scores = scores %encoder.layer.0.attention.self.query, "
      "%encoder.layer.0.attention.self.key {heads=2, scale=0x1.6a09e667f3bccp-1} : f32[N,2,S]\n"
      "%encoder.layer.0.attention.self.probs = softmax %encoder.layer.0.attention.self.scores, "
      "%attention_mask : f32[N,2,S]\n"
      "%encoder.layer.0.attention.self.context = context %encoder.layer.0.attention.self.probs, "
      "%encoder.layer.0.attention.self.value {heads=2} : f32[N,4]\n"
      "%encoder.layer.0.attention.output.dense = linear %encoder.layer.0.attention.self.context, "
      "@encoder.layer.0.attention.output.dense.weight, "
      "@encoder.layer.0.attention.output.dense.bias : f32[N,4]\n"
      "%encoder.layer.0.attention.output.residual = add %encoder.layer.0.attention.output.dense, "
      "%embeddings.LayerNorm : f32[N,4]\n"
      "%encoder.layer.0.attention.output.LayerNorm = layernorm "
      "%encoder.layer.0.attention.output.residual, "
      "@encoder.layer.0.attention.output.LayerNorm.weight, "
      "@encoder.layer.0.attention.output.LayerNorm.bias : f32[N,4]\n");
  ck_assert_str_eq(
      excerpt(m, "%pooler.first =", "end"),
      "%pooler.first = first %encoder.layer.0.output.LayerNorm, %attention_mask : f32[B,4]\n"
      "%pooler.dense = linear %pooler.first, @pooler.dense.weight, @pooler.dense.bias : f32[B,4]\n"
      "%pooler.activation = tanh %pooler.dense : f32[B,4]\n"
      "%last_hidden_state.unpacked = unpack %encoder.layer.0.output.LayerNorm, %attention_mask : "
      "f32[B,S,4]\n"
      "%pooler_output.unpacked = unpack %pooler.activation, %attention_mask : f32[B,4]\n"
      "output last_hidden_state = %last_hidden_state.unpacked\n"
      "output pooler_output = %pooler_output.unpacked\n");
  ck_assert_uint_eq(m->linear_count, 6);
  ck_assert_str_eq(m->linears[0], "encoder.layer.0.attention.self.query.weight");
  ck_assert_str_eq(m->linears[5], "encoder.layer.0.output.dense.weight");
  ck_assert(st_close(m->weights, d));
}
END_TEST

START_TEST(hf_spellings) {
  tiny_bert plain = {.layers = 2, .pooler = true};
  tiny_write(&plain, "hf");
  const char *expected = ir_print(read_good(HF)->graph, mem);
  static const struct {
    const char *prefix, *dtype;
    bool old_names;
  } cases[] = {{"bert.", NULL, false}, {"", NULL, true},    {"bert.", NULL, true},
               {"", "F16", false},     {"", "BF16", false}, {"bert.", "F16", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tiny_bert t = {.layers = 2,
                   .pooler = true,
                   .prefix = cases[i].prefix,
                   .dtype = cases[i].dtype,
                   .old_names = cases[i].old_names};
    tiny_write(&t, "hf");
    const model_source *m = read_good(HF);
    ck_assert_str_eq(ir_print(m->graph, mem), expected);
    ck_assert_uint_eq(m->linear_count, 12);
    ck_assert_str_eq(m->linears[11],
                     arena_printf(mem, "%sencoder.layer.1.output.dense.weight", cases[i].prefix));
  }
  expect_messages("");
}
END_TEST

START_TEST(hf_outputs) {
  tiny_bert bare = {.layers = 1};
  tiny_write(&bare, "hf");
  ck_assert_str_eq(output_list(read_good(HF)), "last_hidden_state ");
  tiny_bert pooled = {.layers = 1, .pooler = true};
  tiny_write(&pooled, "hf");
  ck_assert_str_eq(output_list(read_good(HF)), "last_hidden_state pooler_output ");
  ck_assert_str_eq(output_list(read_good(HF "outputs: [pooler_output]\n")), "pooler_output ");
  const model_source *m = read_good(HF "outputs: [last_hidden_state]\n");
  ck_assert_ptr_null(strstr(ir_print(m->graph, mem), "pooler"));
  expect_messages("");
}
END_TEST

START_TEST(hf_classifiers) {
  tiny_bert sequence = {.layers = 1, .pooler = true, .labels = 3, .prefix = "bert."};
  tiny_write(&sequence, "hf");
  const model_source *m = read_good(HF "outputs: [logits]\n");
  ck_assert_str_eq(excerpt(m, "%classifier =", "end"),
                   "%classifier = linear %pooler.activation, @classifier.weight, @classifier.bias "
                   ": f32[B,3]\n"
                   "%logits.unpacked = unpack %classifier, %attention_mask : f32[B,3]\n"
                   "output logits = %logits.unpacked\n");
  tiny_bert token = {.layers = 1, .labels = 3, .prefix = "bert."};
  tiny_write(&token, "hf");
  m = read_good(HF);
  ck_assert_str_eq(output_list(m), "last_hidden_state logits ");
  ck_assert_str_eq(excerpt(m, "%classifier =", "%last"),
                   "%classifier = linear %encoder.layer.0.output.LayerNorm, @classifier.weight, "
                   "@classifier.bias : f32[N,3]\n");
  token.config = ",\"architectures\":[\"BertForTokenClassification\"]";
  token.pooler = true;
  token.count = 0;
  tiny_write(&token, "hf");
  m = read_good(HF "outputs: [logits]\n");
  ck_assert_ptr_nonnull(strstr(ir_print(m->graph, mem), "output.LayerNorm, @classifier.weight"));
  expect_messages("");
  tiny_bert no_pooler = {
      .layers = 1, .labels = 2, .config = ",\"architectures\":[\"BertForSequenceClassification\"]"};
  tiny_write(&no_pooler, "hf");
  ck_assert_ptr_null(read_yaml(HF));
  expect_messages("hf: error: the checkpoint has no tensor 'pooler.dense.weight' [E_W_MISSING]\n"
                  "hf: error: the checkpoint has no tensor 'pooler.dense.bias' [E_W_MISSING]");
}
END_TEST

START_TEST(hf_fewer_inputs) {
  tiny_bert t = {.layers = 1};
  tiny_write(&t, "hf");
  const model_source *m = read_good(HF "inputs: [input_ids]\n");
  ck_assert_str_eq(excerpt(m, "input ", "const"), "input %input_ids : i32[B,S]\n");
  ck_assert_str_eq(excerpt(m, "%embeddings.word_and_type", "%embeddings.position"),
                   "%embeddings.word_and_type = add %embeddings.word_embeddings, "
                   "@embeddings.token_type_embeddings.weight.0 : f32[N,4]\n");
  ck_assert_ptr_null(strstr(ir_print(m->graph, mem), "mask"));
}
END_TEST

START_TEST(hf_activations) {
  static const char *const cases[][2] = {
      {"gelu", "gelu %encoder.layer.0.intermediate.dense :"},
      {"gelu_python", "gelu %encoder.layer.0.intermediate.dense :"},
      {"gelu_new", "gelu %encoder.layer.0.intermediate.dense {form=tanh} :"},
      {"gelu_fast", "gelu %encoder.layer.0.intermediate.dense {form=tanh} :"},
      {"gelu_pytorch_tanh", "gelu %encoder.layer.0.intermediate.dense {form=tanh} :"},
      {"relu", "relu %encoder.layer.0.intermediate.dense :"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tiny_bert t = {
        .layers = 1,
        .config = arena_printf(mem, ",\"hidden_act\":\"%s\",\"layer_norm_eps\":0.25", cases[i][0])};
    tiny_write(&t, "hf");
    const char *text = ir_print(read_good(HF)->graph, mem);
    ck_assert_msg(strstr(text, cases[i][1]) != NULL, "%s in\n%s", cases[i][1], text);
    ck_assert_ptr_nonnull(strstr(text, "@embeddings.LayerNorm.bias {eps=0x1p-2} : f32[N,4]"));
  }
}
END_TEST

START_TEST(hf_unused) {
  tiny_bert t = {.layers = 1, .pooler = true};
  tiny_make(&t);
  static const char *const names[] = {"cls.predictions.bias", "embeddings.position_ids",
                                      "cls.predictions.decoder.weight",
                                      "cls.seq_relationship.bias"};
  int64_t zero[4] = {0};
  for (int i = 0; i < 4; i++)
    t.tensor[t.count++] = (st_write_tensor){
        .name = names[i], .dtype = "I64", .rank = 1, .dim = {4}, .data = zero, .size = 32};
  ck_assert_int_eq(mkdir("hf", 0777), 0);
  tiny_config(&t, "hf");
  ck_assert(st_write(mem, d, "hf/model.safetensors", t.tensor, t.count, NULL));
  read_good(HF "outputs: [last_hidden_state]\n");
  const char *text = diag_format(mem, diag_first(d));
  ck_assert_msg(strstr(text, "hf: warning: 4 tensors are not used: '") == text, "%s", text);
  ck_assert_ptr_nonnull(strstr(text, " and 1 more"));
  ck_assert_ptr_null(diag_first(d)->next);
}
END_TEST

/* ---- Hugging Face form: numbers, against BERT written out here ---- */

enum { SEQ = 4, H = TINY_HIDDEN, HEAD = TINY_HIDDEN / TINY_HEADS };

static void ref_linear(const tiny_bert *t, const char *module, const double *x, int rows, int k,
                       int m, double *y) {
  const float *w = tiny_data(t, arena_printf(mem, "%s.weight", module));
  const float *b = tiny_data(t, arena_printf(mem, "%s.bias", module));
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < m; i++) {
      y[r * m + i] = b[i];
      for (int j = 0; j < k; j++)
        y[r * m + i] += x[r * k + j] * w[i * k + j];
    }
}

static void ref_norm(const tiny_bert *t, const char *module, double *x, int rows) {
  const float *g = tiny_data(t, arena_printf(mem, "%s.weight", module));
  const float *b = tiny_data(t, arena_printf(mem, "%s.bias", module));
  for (int r = 0; r < rows; r++, x += H) {
    double mean = 0, var = 0;
    for (int i = 0; i < H; i++)
      mean += x[i] / H;
    for (int i = 0; i < H; i++)
      var += (x[i] - mean) * (x[i] - mean) / H;
    for (int i = 0; i < H; i++)
      x[i] = (x[i] - mean) / sqrt(var + 1e-12) * g[i] + b[i];
  }
}

/* Attention of all tokens over those with mask 1. */
static void ref_attention(const double *q, const double *k, const double *v, const int32_t *mask,
                          double *out) {
  for (int h = 0; h < TINY_HEADS; h++)
    for (int i = 0; i < SEQ; i++) {
      double p[SEQ], sum = 0;
      for (int j = 0; j < SEQ; j++) {
        double s = 0;
        for (int c = 0; c < HEAD; c++)
          s += q[i * H + h * HEAD + c] * k[j * H + h * HEAD + c];
        p[j] = mask[j] ? exp(s / sqrt(HEAD)) : 0;
        sum += p[j];
      }
      for (int c = 0; c < HEAD; c++) {
        out[i * H + h * HEAD + c] = 0;
        for (int j = 0; j < SEQ; j++)
          out[i * H + h * HEAD + c] += p[j] / sum * v[j * H + h * HEAD + c];
      }
    }
}

static void ref_layer(const tiny_bert *t, int layer, const int32_t *mask, double *x) {
  double q[SEQ * H], k[SEQ * H], v[SEQ * H], a[SEQ * H], y[SEQ * H], inner[SEQ * TINY_INNER];
  const char *p = arena_printf(mem, "encoder.layer.%d", layer);
  ref_linear(t, arena_printf(mem, "%s.attention.self.query", p), x, SEQ, H, H, q);
  ref_linear(t, arena_printf(mem, "%s.attention.self.key", p), x, SEQ, H, H, k);
  ref_linear(t, arena_printf(mem, "%s.attention.self.value", p), x, SEQ, H, H, v);
  ref_attention(q, k, v, mask, a);
  ref_linear(t, arena_printf(mem, "%s.attention.output.dense", p), a, SEQ, H, H, y);
  for (int i = 0; i < SEQ * H; i++)
    y[i] += x[i];
  ref_norm(t, arena_printf(mem, "%s.attention.output.LayerNorm", p), y, SEQ);
  ref_linear(t, arena_printf(mem, "%s.intermediate.dense", p), y, SEQ, H, TINY_INNER, inner);
  for (int i = 0; i < SEQ * TINY_INNER; i++)
    inner[i] *= 0.5 * (1 + erf(inner[i] / sqrt(2)));
  ref_linear(t, arena_printf(mem, "%s.output.dense", p), inner, SEQ, TINY_INNER, H, x);
  for (int i = 0; i < SEQ * H; i++)
    x[i] += y[i];
  ref_norm(t, arena_printf(mem, "%s.output.LayerNorm", p), x, SEQ);
}

static void ref_bert(const tiny_bert *t, const int32_t *ids, const int32_t *types,
                     const int32_t *mask, double *x, double *pooled, double *logits) {
  const float *word = tiny_data(t, "embeddings.word_embeddings.weight");
  const float *position = tiny_data(t, "embeddings.position_embeddings.weight");
  const float *type = tiny_data(t, "embeddings.token_type_embeddings.weight");
  for (int i = 0; i < SEQ; i++)
    for (int c = 0; c < H; c++)
      x[i * H + c] = word[ids[i] * H + c] + position[i * H + c] + type[types[i] * H + c];
  ref_norm(t, "embeddings.LayerNorm", x, SEQ);
  for (int l = 0; l < t->layers; l++)
    ref_layer(t, l, mask, x);
  ref_linear(t, "pooler.dense", x, 1, H, H, pooled);
  for (int c = 0; c < H; c++)
    pooled[c] = tanh(pooled[c]);
  ref_linear(t, "classifier", pooled, 1, H, t->labels, logits);
}

static void expect_near(const double *got, const double *want, size_t n) {
  for (size_t i = 0; i < n; i++)
    ck_assert_msg(fabs(got[i] - want[i]) < 1e-9, "%zu: %.17g, expected %.17g", i, got[i], want[i]);
}

START_TEST(hf_numbers) {
  enum { LABELS = 3 };
  tiny_bert t = {.layers = 2, .pooler = true, .labels = LABELS};
  tiny_write(&t, "hf");
  const model_source *m = read_good(HF);
  ck_assert_str_eq(output_list(m), "last_hidden_state pooler_output logits ");
  static const int32_t ids[SEQ] = {3, 0, 6, 2}, types[SEQ] = {0, 1, 1, 0}, hole[SEQ] = {1, 0, 1, 1};
  static const int32_t zeros[SEQ] = {0}, ones[SEQ] = {1, 1, 1, 1};
  for (int given = 0; given < 2; given++) {
    double x[SEQ * H], pooled[H], logits[LABELS], got[SEQ * H], got_pooled[H], got_logits[LABELS];
    const void *const in[] = {ids, given ? hole : NULL, given ? types : NULL};
    double *const out[] = {got, got_pooled, got_logits};
    interp_call call = {.batch = 1, .sequence = SEQ, .in = in, .out = out};
    ck_assert(interp_run(m->graph, &call, mem, d));
    ref_bert(&t, ids, given ? types : zeros, given ? hole : ones, x, pooled, logits);
    expect_near(got, x, SEQ * H);
    expect_near(got_pooled, pooled, H);
    expect_near(got_logits, logits, LABELS);
  }
}
END_TEST

/* ---- graph form ---- */

static void write_ffn(void) {
  static const float up[6] = {1, 2, 3, 4, 5, 6}, bias[3] = {0.5f, -20, 0},
                     down[6] = {1, 0, 2, 0, 1, 0};
  const st_write_tensor t[] = {
      {.name = "up.weight", .dtype = "F32", .rank = 2, .dim = {3, 2}, .data = up, .size = 24},
      {.name = "up.bias", .dtype = "F32", .rank = 1, .dim = {3}, .data = bias, .size = 12},
      {.name = "down.weight", .dtype = "F32", .rank = 2, .dim = {2, 3}, .data = down, .size = 24}};
  ck_assert(st_write(mem, d, "ffn.safetensors", t, 3, NULL));
}

#define FFN                                                                                        \
  "spcc: 1\nweights: ffn.safetensors\n"                                                            \
  "inputs: [{name: x, type: \"f32[B,S,2]\"}]\ngraph:\n"                                            \
  "  - {name: h, op: linear, in: x, weight: up.weight, bias: up.bias}\n"                           \
  "  - {name: a, op: relu, in: h}\n"                                                               \
  "  - {name: y, op: linear, in: [a], weight: down.weight}\n"                                      \
  "outputs: [y]\nmax_sequence: 2\n"

START_TEST(graph_text) {
  write_ffn();
  const model_source *m = read_good(FFN);
  expect_messages("");
  ck_assert_str_eq(ir_print(m->graph, mem),
                   "spcc-ir 1\n"
                   "model m max_batch=8 max_sequence=2\n"
                   "input %x : f32[B,S,2]\n"
                   "const @up.weight : f32[3,2] = 0x1p+0, 0x1p+1, 0x1.8p+1, 0x1p+2, 0x1.4p+2, "
                   "0x1.8p+2\n"
                   "const @up.bias : f32[3] = 0x1p-1, -0x1.4p+4, 0x0p+0\n"
                   "const @down.weight : f32[2,3] = 0x1p+0, 0x0p+0, 0x1p+1, 0x0p+0, 0x1p+0, "
                   "0x0p+0\n"
                   "%x.packed = pack %x : f32[N,2]\n"
                   "%h = linear %x.packed, @up.weight, @up.bias : f32[N,3]\n"
                   "%a = relu %h : f32[N,3]\n"
                   "%y = linear %a, @down.weight : f32[N,2]\n"
                   "%y.unpacked = unpack %y : f32[B,S,2]\n"
                   "output y = %y.unpacked\n"
                   "end\n");
  ck_assert_ptr_null(m->folder);
  ck_assert_uint_eq(m->linear_count, 2);
  ck_assert_str_eq(m->linears[1], "down.weight");
  const float x[4] = {1, 1, -1, 2};
  double got[4];
  const void *const in[] = {x};
  double *const out[] = {got};
  interp_call call = {.batch = 1, .sequence = 2, .in = in, .out = out};
  ck_assert(interp_run(m->graph, &call, mem, d));
  /* h = (3.5, -13, 11) and (3.5, -15, 7) */
  const double want[4] = {25.5, 0, 17.5, 0};
  expect_near(got, want, 4);
}
END_TEST

START_TEST(graph_ops) {
  static const float table[8] = {1, 2, 3, 4, 5, 6, 7, 8}, g[2] = {1, 2};
  const st_write_tensor t[] = {
      {.name = "table", .dtype = "F32", .rank = 2, .dim = {4, 2}, .data = table, .size = 32},
      {.name = "g", .dtype = "F32", .rank = 1, .dim = {2}, .data = g, .size = 8}};
  ck_assert(st_write(mem, d, "w.safetensors", t, 2, NULL));
  const model_source *m = read_good(
      "spcc: 1\nweights: w.safetensors\nmax_sequence: 4\n"
      "inputs:\n"
      "  - {name: ids, type: \"i32[B,S]\"}\n"
      "  - {name: keep, type: \"i32[B,S]\", mask: true, optional: true}\n"
      "  - {name: kind, type: \"i32[B,S]\", optional: true, absent: 3}\n"
      "graph:\n"
      "  - {name: at, op: positions}\n"
      "  - {name: e, op: embed, in: ids, types: kind, word: table, position: table, type: table,\n"
      "     gamma: g, beta: g, attributes: {eps: 0.5}}\n"
      "  - {name: p, op: gather, table: table, in: at}\n"
      "  - {name: s, op: add, in: [e, p]}\n"
      "  - {name: sc, op: scores, in: [s, s], attributes: {heads: 2, scale: 0.5}}\n"
      "  - {name: pr, op: softmax, in: sc}\n"
      "  - {name: c, op: context, in: [pr, s], attributes: {heads: 2}}\n"
      "  - {name: r, op: attention, in: [s, s, c], attributes: {heads: 2, causal: true}}\n"
      "  - {name: n, op: layernorm, in: r, gamma: g, beta: g}\n"
      "  - {name: l, op: linear, in: n, weight: table, attributes: {act: gelu_tanh}}\n"
      "  - {name: f, op: first, in: n}\n"
      "  - {name: q, op: mul, in: f, weight: g}\n"
      "outputs: [l, q]\n");
  expect_messages("");
  ck_assert_str_eq(
      excerpt(m, "input ", "const"),
      "input %ids : i32[B,S]\ninput %keep : i32[B,S] optional=1\ninput %kind : i32[B,S] "
      "optional=3\n");
  ck_assert_str_eq(
      excerpt(m, "%ids.packed", "end"),
      "%ids.packed = pack %ids, %keep : i32[N]\n"
      "%kind.packed = pack %kind, %keep : i32[N]\n"
      "%at = positions %keep : i32[N]\n"
      "%e = embed %ids.packed, %kind.packed, @table, @table, @table, @g, @g {eps=0x1p-1} : "
      "f32[N,2]\n"
      "%p = gather @table, %at : f32[N,2]\n"
      "%s = add %e, %p : f32[N,2]\n"
      "%sc = scores %s, %s {heads=2, scale=0x1p-1} : f32[N,2,S]\n"
      "%pr = softmax %sc, %keep : f32[N,2,S]\n"
      "%c = context %pr, %s {heads=2} : f32[N,2]\n"
      "%r = attention %s, %s, %c, %keep {heads=2, causal=true} : f32[N,2]\n"
      "%n = layernorm %r, @g, @g : f32[N,2]\n"
      "%l = linear %n, @table {act=gelu_tanh} : f32[N,4]\n"
      "%f = first %n, %keep : f32[B,2]\n"
      "%q = mul %f, @g : f32[B,2]\n"
      "%l.unpacked = unpack %l, %keep : f32[B,S,4]\n"
      "%q.unpacked = unpack %q, %keep : f32[B,2]\n"
      "output l = %l.unpacked\n"
      "output q = %q.unpacked\n");
  ck_assert_uint_eq(m->linear_count, 1);
  ck_assert_str_eq(m->linears[0], "table");
}
END_TEST

START_TEST(names_of_models) {
  static const char *const good[] = {
      "bert",  "a",   "A_9",
      "mains", "Int", "x23456789012345678901234567890123456789012345678901234567890123"};
  static const char *const bad[] = {
      "",           "main",    "int",
      "9x",         "a-b",     "../x",
      "printf",     "_x",      "class",
      "spcc_model", "spcc",    "a b",
      "auto",       "while",   "xor_eq",
      "NULL",       "alignas", "\xC3\xA9",
      "linux",      "unix",    "i386",
      "malloc",     "llvm",    "x234567890123456789012345678901234567890123456789012345678901234"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    ck_assert_msg(model_name_ok(good[i]), "%s", good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    ck_assert_msg(!model_name_ok(bad[i]), "%s", bad[i]);
}
END_TEST

/* Every key of the schema and of config.json stands in docs/model.md, as `key`; those of recipes in
 * docs/recipes.md. */
static const char *document(const char *name) {
  FILE *f = fopen(arena_printf(mem, "%s/docs/%s", SPCC_SOURCE_DIR, name), "rb");
  ck_assert_ptr_nonnull(f);
  char *text = arena_alloc(mem, 1 << 16, 1);
  ck_assert_uint_gt(fread(text, 1, (1 << 16) - 1, f), 0);
  fclose(f);
  return text;
}

START_TEST(documented) {
  const char *text = document("model.md"), *recipes = document("recipes.md");
  size_t count;
  const schema_key *keys = schema_keys(&count);
  for (size_t i = 0; i < count; i++)
    ck_assert_msg(strstr(keys[i].section < SECTION_recipe ? text : recipes,
                         arena_printf(mem, "`%s`", keys[i].name)) != NULL,
                  "%s", keys[i].name);
  for (const hf_config_key *k = config_keys(); k->name; k++)
    ck_assert_msg(strstr(text, arena_printf(mem, "`%s`", k->name)) != NULL, "%s", k->name);
  for (enum ir_op op = 0; op < OP_COUNT; op++)
    ck_assert_msg(strstr(text, arena_printf(mem, "`%s`", ir_ops[op].name)) != NULL, "%s",
                  ir_ops[op].name);
}
END_TEST

START_TEST(names_from_paths) {
  static const char *const cases[][2] = {{"bert.yaml", "bert"},       {"a-b.c.yaml", "a_b_c"},
                                         {"9.yaml", "m_9"},           {"int.yaml", "m_int"},
                                         {".yaml", "m__yaml"},        {"x", "x"},
                                         {"sp.d/spcc.yaml", "m_spcc"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *text = "spcc: 1\ninputs: [{name: x, type: \"f32[B,S,2]\"}]\n"
                       "graph: [{name: y, op: relu, in: x}]\noutputs: [y]\n";
    const model_source *m = model_read_text(mem, d, cases[i][0], ".", text, strlen(text), NULL);
    ck_assert_ptr_nonnull(m);
    ck_assert_str_eq(m->name, cases[i][1]);
    ck_assert_str_eq(m->graph->name, cases[i][1]);
  }
}
END_TEST

START_TEST(overrides) {
  static const char text[] = "spcc: 1\ninputs: [{name: x, type: \"f32[B,S,2]\"}]\nmax_batch: 2\n"
                             "graph: [{name: y, op: relu, in: x}]\noutputs: [y]\n";
  model_overrides o = {.name = "other", .max_batch = 5, .max_sequence = 9};
  const model_source *m = model_read_text(mem, d, "m.yaml", ".", text, sizeof text - 1, &o);
  ck_assert_str_eq(m->name, "other");
  ck_assert_int_eq(m->graph->max_batch, 5);
  ck_assert_int_eq(m->graph->max_sequence, 9);
  o = (model_overrides){.name = "while", .max_batch = 65537};
  ck_assert_ptr_null(model_read_text(mem, d, "m.yaml", ".", text, sizeof text - 1, &o));
  o.name = NULL;
  ck_assert_ptr_null(model_read_text(mem, d, "m.yaml", ".", text, sizeof text - 1, &o));
  expect_messages("m.yaml: error: 'while' cannot be a name in the C header; use up to 63 letters, "
                  "digits and '_', beginning with a letter, and no word that C or C++ reserve "
                  "[E_NAME]\n"
                  "m.yaml: error: max_batch is set to 65537; it must be from 1 to 65536 [E_INT]");
}
END_TEST

START_TEST(read_from_path) {
  write_ffn();
  ck_assert_int_eq(mkdir("sub", 0777), 0);
  put_text("sub/net.yaml", "spcc: 1\nweights: ../ffn.safetensors\n"
                           "inputs: [{name: x, type: \"f32[B,2]\"}]\n"
                           "graph: [{name: y, op: linear, in: x, weight: up.weight}]\n"
                           "outputs: [y]\n");
  const model_source *m = model_read(mem, d, "sub/net.yaml", NULL);
  ck_assert_ptr_nonnull(m);
  ck_assert_str_eq(m->name, "net");
  expect_messages("sub/../ffn.safetensors: warning: 2 tensors are not used: 'up.bias' (F32), "
                  "'down.weight' (F32)");
}
END_TEST

int main(void) {
  TCase *t = untimed_case("model");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, hf_text);
  tcase_add_test(t, hf_spellings);
  tcase_add_test(t, hf_outputs);
  tcase_add_test(t, hf_classifiers);
  tcase_add_test(t, hf_fewer_inputs);
  tcase_add_test(t, hf_activations);
  tcase_add_test(t, hf_unused);
  tcase_add_test(t, hf_numbers);
  tcase_add_test(t, graph_text);
  tcase_add_test(t, graph_ops);
  tcase_add_test(t, names_of_models);
  tcase_add_test(t, names_from_paths);
  tcase_add_test(t, documented);
  tcase_add_test(t, overrides);
  tcase_add_test(t, read_from_path);
  Suite *s = suite_create("model");
  suite_add_tcase(s, t);
  return run_suite(s);
}
