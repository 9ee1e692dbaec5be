/* Bad inputs that are too large or too many to stand in files: limits at L and L + 1, every
 * truncation, every flipped bit. */
#include "frontend/yaml.h"
#include "tests/run_suite.h"
#include "tiny_bert.h"

static const char relu[] = "spcc: 1\n"
                           "inputs: [{name: x, type: \"f32[B,2]\"}]\n"
                           "graph: [{name: y, op: relu, in: x}]\n"
                           "outputs: [y]\n";

static const char scaled[] = "spcc: 1\n"
                             "weights: x.safetensors\n"
                             "inputs: [{name: x, type: \"f32[B,2]\"}]\n"
                             "graph: [{name: y, op: mul, in: x, weight: v}]\n"
                             "outputs: [y]\n";

static const char folder_model[] = "spcc: 1\nmodel: {huggingface: hf}\n";

/* Reads model.yaml; true when it gives a model. Errors and a model exclude each other. */
static bool accepted(void) {
  d = diag_new(mem);
  model_source *m = model_read(mem, d, "model.yaml", NULL);
  if (m && m->weights) st_close(m->weights, d);
  ck_assert((m != NULL) == (diag_errors(d) == 0));
  return m != NULL;
}

static void refused(const char *messages) {
  ck_assert(!accepted());
  ck_assert_int_eq(diag_exit_code(d), 1);
  expect_messages(messages);
}

/* Refused with messages that all have a code of exit code 1. */
static void refused_somehow(void) {
  ck_assert(!accepted());
  ck_assert_int_eq(diag_exit_code(d), 1);
}

/* A new file under an old name: some file systems wait for the disk when one is cut to 0 bytes and
 * written anew, which the thousands here would feel. */
static void replace_file(const char *name, const void *data, size_t size) {
  ck_assert_int_eq(remove(name), 0);
  put_file(name, data, size);
}

typedef struct text {
  char *data;
  size_t size;
} text;

/* `count` times `piece` between `before` and `after`. */
static text repeat(const char *before, const char *piece, size_t count, const char *after) {
  size_t b = strlen(before), p = strlen(piece), e = strlen(after);
  text t = {.size = b + p * count + e};
  t.data = arena_alloc(mem, t.size + 1, 1);
  memcpy(t.data, before, b);
  for (size_t i = 0; i < count; i++)
    memcpy(t.data + b + i * p, piece, p);
  memcpy(t.data + b + p * count, after, e);
  return t;
}

static void put_model(text t) {
  put_file("model.yaml", t.data, t.size);
}

/* A safetensors file with this header and `zeros` bytes of data. */
static void put_weights(text header, size_t zeros) {
  size_t size = 8 + header.size + zeros;
  unsigned char *image = arena_alloc(mem, size, 1);
  for (int i = 0; i < 8; i++)
    image[i] = (unsigned char)((uint64_t)header.size >> 8 * i);
  memcpy(image + 8, header.data, header.size);
  put_file("x.safetensors", image, size);
}

/* ---- YAML ---- */

START_TEST(yaml_depth) {
  static const struct {
    const char *piece;
    int column;
  } cases[] = {{"[", 33}, {"{a: ", 129}, {"- ", 65}, {"[{a: ", 81}};
  static const size_t counts[] = {1000, 100000};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t j = 0; j < 2; j++) {
      put_model(repeat("", cases[i].piece, counts[j], ""));
      refused(arena_printf(mem, "model.yaml:1:%d: error: nested deeper than 32 levels [E_LIMIT]",
                           cases[i].column));
    }
}
END_TEST

START_TEST(yaml_size) {
  size_t pad = YAML_MAX_BYTES - sizeof relu; /* with the line end: exactly the limit */
  put_model(repeat(relu, "#", pad, "\n"));
  ck_assert(accepted());
  put_model(repeat(relu, "#", pad + 1, "\n"));
  refused("model.yaml: error: the file has 1048577 bytes; the limit is 1048576 [E_LIMIT]");
}
END_TEST

START_TEST(yaml_nodes) {
  put_model(repeat("spcc: 1\nname: [", "1,", 70000, "]\n"));
  refused("model.yaml:2:131070: error: more than 65536 nodes [E_LIMIT]");
}
END_TEST

START_TEST(yaml_long_text) {
  put_model(repeat("spcc: 1\nname: ", "x", 4097, "\n"));
  refused("model.yaml:2:7: error: a text of 4097 bytes; at most 4096 are accepted [E_LIMIT]");
  put_model(repeat("spcc: 1\nname: ", "x", 1000000, "\n"));
  refused("model.yaml:2:7: error: a text of 1000000 bytes; at most 4096 are accepted [E_LIMIT]");
}
END_TEST

START_TEST(yaml_many_directives) {
  put_model(repeat("", "%TAG !a! b\n", 90000, "---\n"));
  refused("model.yaml:1:1: error: directives and lines that begin with '%' are not accepted; "
          "remove the line [E_YAML_TAG]");
}
END_TEST

START_TEST(yaml_many_keys) {
  char *s = arena_alloc(mem, 1 << 20, 1);
  size_t n = (size_t)sprintf(s, "spcc: 1\n");
  for (int i = 0; i < 20000; i++)
    n += (size_t)sprintf(s + n, "k%d: 1\n", i);
  sprintf(s + n, "spcc: 1\n");
  put_text("model.yaml", s);
  refused("model.yaml:20002:1: error: key 'spcc' stands twice [E_DUP_KEY]\n"
          "model.yaml:1:1: note: the first is here");
}
END_TEST

/* No part of a valid file that ends too early is accepted as something else. */
START_TEST(yaml_truncated) {
  put_text("model.yaml", relu);
  ck_assert(accepted());
  for (size_t n = 0; n < sizeof relu - 4; n++) { /* up to before the last bracket */
    replace_file("model.yaml", relu, n);
    refused_somehow();
  }
}
END_TEST

static void flip_every_bit(const char *name, const char *data, size_t size) {
  char *copy = arena_alloc(mem, size, 1);
  for (size_t i = 0; i < size * 8; i++) {
    memcpy(copy, data, size);
    copy[i / 8] = (char)(copy[i / 8] ^ 1 << i % 8);
    replace_file(name, copy, size);
    if (!accepted()) ck_assert(diag_exit_code(d) == 1 || diag_exit_code(d) == 3);
  }
}

START_TEST(yaml_flipped) {
  put_text("model.yaml", relu);
  flip_every_bit("model.yaml", relu, sizeof relu - 1);
}
END_TEST

/* ---- graphs ---- */

/* A chain of `count` nodes; with `reversed` each uses the node after it. */
static char *chain(int count, bool reversed, const char *last) {
  char *s = arena_alloc(mem, 1 << 20, 1);
  size_t n = (size_t)sprintf(s, "spcc: 1\ninputs: [{name: x, type: \"f32[B,2]\"}]\ngraph:\n");
  for (int i = 0; i < count; i++) {
    char in[16];
    sprintf(in, "n%d", reversed ? i + 1 : i - 1);
    if (i == (reversed ? count - 1 : 0)) strcpy(in, last);
    n += (size_t)sprintf(s + n, "- {name: n%d, op: relu, in: %s}\n", i, in);
  }
  sprintf(s + n, "outputs: [n%d]\n", count - 1);
  return s;
}

START_TEST(long_chain) {
  put_text("model.yaml", chain(9000, false, "x"));
  ck_assert(accepted());
}
END_TEST

START_TEST(long_cycle) {
  put_text("model.yaml", chain(9000, true, "n0"));
  ck_assert(!accepted());
  ck_assert_uint_eq(diag_errors(d), DIAG_MAX_ERRORS); /* every node uses a later one */
  const diag_message *m = diag_first(d);
  ck_assert_str_eq(diag_format(mem, m), "model.yaml:4:28: error: node 'n1' depends on this node, "
                                        "which uses it [E_CYCLE]");
}
END_TEST

/* ---- weights ---- */

#define TENSOR_V "{\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"

START_TEST(weights_truncated) {
  put_text("model.yaml", scaled);
  put_weights(repeat("", TENSOR_V, 1, ""), 8);
  ck_assert(accepted());
  char image[128];
  FILE *f = fopen("x.safetensors", "rb");
  size_t size = fread(image, 1, sizeof image, f);
  fclose(f);
  ck_assert_uint_eq(size, 8 + sizeof TENSOR_V - 1 + 8);
  for (size_t n = 0; n < size; n++) {
    replace_file("x.safetensors", image, n);
    refused_somehow();
  }
  flip_every_bit("x.safetensors", image, size);
}
END_TEST

START_TEST(weights_depth) {
  put_text("model.yaml", scaled);
  put_weights(repeat("{\"__metadata__\":", "[", 32, "]}"), 0);
  refused("x.safetensors:+0x37: error: nested too deep; the limit is 32 [E_LIMIT]");
  put_weights(repeat("{\"__metadata__\":", "{\"a\":", 100000, "}}"), 0);
  ck_assert(!accepted());
  ck_assert_str_eq(err_name(diag_first(d)->code), "E_LIMIT");
}
END_TEST

START_TEST(weights_long_tokens) {
  put_text("model.yaml", scaled);
  put_weights(repeat("{\"v\":{\"dtype\":\"F32\",\"shape\":[", "1", 1000000, "]}}"), 0);
  ck_assert(!accepted());
  ck_assert_str_eq(err_name(diag_first(d)->code), "E_LIMIT");
  put_weights(repeat("{\"__metadata__\":{\"a\":\"", "x", 10000000, "\"}}"), 0);
  ck_assert(!accepted());
  ck_assert_str_eq(err_name(diag_first(d)->code), "E_LIMIT");
}
END_TEST

static void put_tensors(int count) {
  char *s = arena_alloc(mem, (size_t)count * 80 + 16, 1);
  size_t n = (size_t)sprintf(s, "{");
  for (int i = 0; i < count; i++)
    n += (size_t)sprintf(s + n,
                         "%s\"%s%d\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[%d,%d]}",
                         i ? "," : "", i ? "u" : "v", i, 8 * i, 8 * i + 8);
  n += (size_t)sprintf(s + n, "}");
  put_weights((text){s, n}, 8 * (size_t)count);
}

START_TEST(weights_many_tensors) {
  put_text("model.yaml", "spcc: 1\nweights: x.safetensors\n"
                         "inputs: [{name: x, type: \"f32[B,2]\"}]\n"
                         "graph: [{name: y, op: mul, in: x, weight: v0}]\noutputs: [y]\n");
  put_tensors(65536);
  ck_assert(accepted());
  put_tensors(65537);
  ck_assert(!accepted());
  ck_assert_str_eq(err_name(diag_first(d)->code), "E_LIMIT");
}
END_TEST

/* ---- Hugging Face folders ---- */

START_TEST(config_truncated) {
  tiny_bert t = {.layers = 1};
  tiny_write(&t, "hf");
  put_text("model.yaml", folder_model);
  ck_assert(accepted());
  char config[512];
  FILE *f = fopen("hf/config.json", "rb");
  size_t size = fread(config, 1, sizeof config, f);
  fclose(f);
  for (size_t n = 0; n + 2 <= size; n++) { /* without the last brace */
    replace_file("hf/config.json", config, n);
    refused_somehow();
  }
  flip_every_bit("hf/config.json", config, size);
}
END_TEST

/* Each tensor that BERT needs is asked for by its name. */
START_TEST(missing_tensors) {
  tiny_bert all = {.layers = 1, .pooler = true};
  tiny_make(&all);
  put_text("model.yaml", folder_model);
  for (size_t i = 0; i < all.count; i++) {
    tiny_bert t = {.layers = 1, .pooler = true, .skip = all.plain[i]};
    tiny_write(&t, "hf");
    bool no_pooler = strcmp(all.plain[i], "pooler.dense.weight") == 0;
    ck_assert_int_eq(accepted(), no_pooler); /* then there is no output pooler_output */
    if (no_pooler) continue;
    const char *found = strstr(diag_format(mem, diag_first(d)), all.plain[i]);
    ck_assert_msg(found != NULL, "%s", all.plain[i]);
    ck_assert_str_eq(err_name(diag_first(d)->code), "E_W_MISSING");
    ck_assert_uint_eq(diag_errors(d), 1);
  }
}
END_TEST

int main(void) {
  TCase *t = untimed_case("generated");
  tcase_add_checked_fixture(t, scratch_setup, scratch_teardown);
  tcase_add_test(t, yaml_depth);
  tcase_add_test(t, yaml_size);
  tcase_add_test(t, yaml_nodes);
  tcase_add_test(t, yaml_long_text);
  tcase_add_test(t, yaml_many_directives);
  tcase_add_test(t, yaml_many_keys);
  tcase_add_test(t, yaml_truncated);
  tcase_add_test(t, yaml_flipped);
  tcase_add_test(t, long_chain);
  tcase_add_test(t, long_cycle);
  tcase_add_test(t, weights_truncated);
  tcase_add_test(t, weights_depth);
  tcase_add_test(t, weights_long_tokens);
  tcase_add_test(t, weights_many_tensors);
  tcase_add_test(t, config_truncated);
  tcase_add_test(t, missing_tensors);
  Suite *s = suite_create("bad_generated");
  suite_add_tcase(s, t);
  return run_suite(s);
}
