/* model.yaml of any content: reading never crashes, gives either a model or errors, and a model's
 * graph is good and survives its text form. Small weights lie in a folder of their own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/frontend.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void out_of_memory(void *context, size_t size) {
  (void)context, (void)size;
  abort();
}

static void check(bool holds) {
  if (!holds) abort();
}

static char folder[64];

static void remove_folder(void) {
  char path[128];
  snprintf(path, sizeof path, "%s/w.safetensors", folder);
  remove(path);
  remove(folder);
}

/* Tensors that the corpus names: w [3,2], b [3], v [2], t [4,2]. */
static void make_folder(arena *a, diag *d) {
  static const float x[8] = {0.5f, -1, 2, 0, 3, -0.25f, 1, 4};
  const st_write_tensor t[] = {
      {.name = "w", .dtype = "F32", .rank = 2, .dim = {3, 2}, .data = x, .size = 24},
      {.name = "b", .dtype = "F32", .rank = 1, .dim = {3}, .data = x, .size = 12},
      {.name = "v", .dtype = "F32", .rank = 1, .dim = {2}, .data = x, .size = 8},
      {.name = "t", .dtype = "F32", .rank = 2, .dim = {4, 2}, .data = x, .size = 32}};
  strcpy(folder, "/tmp/spcc-fuzz-XXXXXX");
  check(mkdtemp(folder) != NULL);
  check(st_write(a, d, path_join(a, folder, "w.safetensors"), t, 4, NULL));
  atexit(remove_folder);
}

/* All constants here are small enough to stand in the text. */
static void check_text(const ir_graph *g, arena *a, diag *d) {
  const char *text = ir_print(g, a);
  const ir_graph *again = ir_parse(a, d, "again.ir", text, strlen(text), NULL, NULL);
  check(again && strcmp(ir_print(again, a), text) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  arena *a = arena_new((size_t)1 << 30, out_of_memory, NULL);
  check(a);
  diag *d = diag_new(a);
  if (!folder[0]) make_folder(a, d);
  char *text = arena_alloc(a, size + 1, 1);
  memcpy(text, data, size);
  const model_source *m = model_read_text(a, d, "fuzz.yaml", folder, text, size, NULL);
  check(!m == (diag_errors(d) > 0));
  if (m) {
    check(ir_verify(m->graph, d, NULL));
    check_text(m->graph, a, d);
    check(!m->weights || st_close(m->weights, d));
  }
  arena_free(a);
  return 0;
}
