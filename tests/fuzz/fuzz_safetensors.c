/* A weight file of any content: it is refused with an error, or its tensors share out its data
 * exactly. Memory grows with the input alone, so a full arena is a finding. */
#include <stdlib.h>
#include <string.h>

#include "frontend/safetensors.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void out_of_memory(void *context, size_t wanted) {
  (void)context, (void)wanted;
  abort();
}

static void check(bool holds) {
  if (!holds) abort();
}

/* Each byte of the data is counted by the tensors that claim it, without the parser's help. */
static void check_tensors(const st_header *h, size_t begin, size_t end) {
  unsigned char *owners = calloc(end + 1, 1);
  check(owners);
  for (size_t i = 0; i < h->count; i++) {
    const st_tensor *t = &h->tensor[i];
    const st_dtype *type = st_dtype_find(t->dtype);
    check(type && t->rank <= IR_MAX_RANK);
    check(begin <= t->begin && t->begin <= t->end && t->end <= end);
    check(t->end - t->begin == st_elements(t) * type->bytes);
    for (uint64_t k = t->begin; k < t->end; k++)
      check(++owners[k] == 1);
    for (size_t k = 0; k < i; k++)
      check(strcmp(t->name, h->tensor[k].name));
  }
  for (size_t k = begin; k < end; k++)
    check(owners[k]);
  free(owners);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  arena *a = arena_new((size_t)1 << 28, out_of_memory, NULL);
  check(a);
  diag *d = diag_new(a);
  st_header h;
  size_t header, got = size < ST_PREFIX ? size : ST_PREFIX;
  bool good = st_header_size(d, "fuzz", data, got, size, &header) &&
              st_parse(a, d, "fuzz", (const char *)data + ST_PREFIX, header, size, &h);
  check(good == (diag_errors(d) == 0));
  if (good) check_tensors(&h, ST_PREFIX + header, size);
  arena_free(a);
  return 0;
}
