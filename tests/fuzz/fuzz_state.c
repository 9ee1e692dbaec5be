/* States of training methods of any content: a state that spo_state_check passes gives a legal
 * mask, and no state makes a hook touch what is not its own. The first byte chooses the method, the
 * second whether the rest replaces the state's contents (0), its head too (1), or is mixed into
 * them (2). */
#include <stdlib.h>
#include <string.h>

#include "optimizer/spo_train.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { ROWS = 6, COLS = 20, COUNT = ROWS * COLS, HEAD = 128 };

static const struct {
  spo_method_id method;
  const char *pattern;
  bool flag; /* age_correct, recover */
} cases[] = {{SPO_SPARSE_OPTIMIZER, "2x2", false},
             {SPO_NXM, "2:4", false},
             {SPO_DYNAMIC, "unstructured", false},
             {SPO_DYNAMIC, "3x2", true},
             {SPO_GRADUAL, "1x4", false},
             {SPO_GRADUAL, "unstructured", true},
             {SPO_ASP, "2:4", false},
             {SPO_SRSTE, "1:4", false},
             {SPO_RIGL, "2x4", false}};
enum { CASES = sizeof cases / sizeof *cases };

static void check(bool holds) {
  if (!holds) abort();
}

static spo_context *make_context(size_t which) {
  spo_recipe r;
  spo_context *c;
  spo_recipe_init(&r, cases[which].method);
  check(spo_pattern_parse(cases[which].pattern, &r.goal.pattern));
  r.goal.sparsity = r.goal.pattern.kind == SPO_NM ? SPO_IMPLIED : 0.5;
  r.steps = 8;
  r.updates = 4;
  r.every = 2;
  r.age_correct = r.recover = cases[which].flag;
  const spo_tensor tensor = {"weight", ROWS, COLS};
  check(spo_context_create(&r, &tensor, &c, NULL) == SPO_OK);
  return c;
}

static void disturb(unsigned char *state, size_t bytes, unsigned how, const unsigned char *data,
                    size_t size) {
  size_t from = how == 1 ? 0 : HEAD;
  for (size_t i = 0; i < size && from + i < bytes; i++)
    state[from + i] = how == 2 ? state[from + i] ^ data[i] : data[i];
}

static void fill(float *w, float *g) {
  for (int i = 0; i < COUNT; i++) {
    w[i] = (float)(i * 7919 % 101 - 50) / 50;
    g[i] = (float)(i * 104729 % 89 - 44) / 44;
  }
}

/* Some steps, and the end. */
static void train(const spo_context *c, void *state, const spo_tensors *t, bool good) {
  unsigned char mask[COUNT];
  spo_report report;
  spo_optimizer o;
  spo_optimizer_adamw(&o, 1e-2);
  spo_status status = SPO_OK;
  for (int i = 0; i < 3 && status == SPO_OK; i++) {
    spo_grad(c, state, t, NULL, NULL);
    status = spo_step(c, state, &o, t, NULL, NULL);
    spo_epoch(c, state, t, NULL, NULL);
  }
  status = spo_finish(c, state, t, mask, &report, NULL, NULL);
  for (int i = 0; i < COUNT && status == SPO_OK && good; i++)
    check(mask[i] == 1 || (mask[i] == 0 && t->w[i] == 0));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (size < 2) return 0;
  spo_context *c = make_context(data[0] % CASES);
  size_t bytes = spo_state_bytes(c);
  unsigned char *state = malloc(bytes);
  float w[COUNT], g[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
  const spo_tensors t = {w, g, m, v};
  fill(w, g);
  check(state && spo_begin(c, state, bytes, &t, NULL, NULL) == SPO_OK);
  check(spo_state_check(c, state, bytes, NULL) == SPO_OK);
  disturb(state, bytes, data[1] % 3, data + 2, size - 2);
  train(c, state, &t, spo_state_check(c, state, bytes, NULL) == SPO_OK);
  spo_context_free(c);
  free(state);
  return 0;
}
