/* JSON of any content: it is refused with an error, or its tree can be written, read again and is
 * the same. Memory grows with the input alone, so a full arena is a finding. */
#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void out_of_memory(void *context, size_t wanted) {
  (void)context, (void)wanted;
  abort();
}

static void check(bool holds) {
  if (!holds) abort();
}

/* Every key of the root that is written plainly has its place. */
static void check_places(const json_text *in, json_t *root) {
  const char *key;
  json_t *value;
  json_object_foreach (root, key, value) {
    src_loc loc = json_place(in, key);
    check(!strcmp(loc.file, in->shown));
  }
}

static void check_round_trip(diag *d, json_t *root) {
  char *text = json_dumps(root, JSON_COMPACT);
  check(text);
  json_text in = {.shown = "again.json", .text = text, .size = strlen(text)};
  json_t *again = json_parse(d, &in);
  check(again && json_equal(root, again));
  json_decref(again);
  free(text);
}

static void check_text(const unsigned char *data, size_t size, bool weights) {
  arena *a = arena_new((size_t)1 << 28, out_of_memory, NULL);
  check(a);
  diag *d = diag_new(a);
  json_text in = {
      .shown = "fuzz.json", .text = (const char *)data, .size = size, .weights = weights};
  json_t *root = json_parse(d, &in);
  check(!root == (diag_errors(d) == 1));
  if (root && !weights) {
    check_places(&in, root);
    check_round_trip(d, root);
  }
  json_decref(root);
  arena_free(a);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  check_text(data, size, false);
  check_text(data, size, true);
  return 0;
}
