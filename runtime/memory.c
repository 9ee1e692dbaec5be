#include <stdlib.h>

#include "runtime/spcc_rt.h"

enum { ALIGNMENT = 64 };

void *spcc_alloc(size_t bytes) {
  if (bytes > SIZE_MAX - ALIGNMENT) return NULL;
  size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return aligned_alloc(ALIGNMENT, padded ? padded : ALIGNMENT);
}

void spcc_free(void *memory) {
  free(memory);
}
