/* Types: making, comparing, printing, parsing, counting. */
#include <string.h>

#include "ir/ir.h"
#include "support/checked.h"

static const char *const dtype_names[] = {[IR_F32] = "f32", [IR_I32] = "i32"};
enum { DTYPES = sizeof dtype_names / sizeof dtype_names[0] };

ir_type ir_type_make(enum ir_dtype dtype, uint32_t rank, const int64_t *dim) {
  ir_type t = {.dtype = dtype, .rank = rank};
  for (uint32_t i = 0; i < rank && i < IR_MAX_RANK; i++)
    t.dim[i] = dim[i];
  return t;
}

bool ir_type_equal(const ir_type *a, const ir_type *b) {
  if (a->dtype != b->dtype || a->rank != b->rank || a->rank > IR_MAX_RANK) return false;
  return memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

static char *print_dim(arena *a, int64_t dim) {
  switch (dim) {
  case DIM_B:
    return arena_strdup(a, "B");
  case DIM_S:
    return arena_strdup(a, "S");
  case DIM_N:
    return arena_strdup(a, "N");
  default:
    return arena_printf(a, "%lld", (long long)dim);
  }
}

char *ir_type_print(arena *a, const ir_type *t) {
  const char *name = (unsigned)t->dtype < DTYPES ? dtype_names[t->dtype] : "?";
  const char *dims = "";
  for (uint32_t i = 0; i < t->rank && i < IR_MAX_RANK; i++)
    dims = arena_printf(a, "%s%s%s", dims, i ? "," : "", print_dim(a, t->dim[i]));
  return arena_printf(a, "%s[%s]", name, dims);
}

/* Reads one dimension: B, S, N or a plain decimal; NULL when there is none. */
static const char *read_dim(const char *s, int64_t *out) {
  static const char symbols[] = "BSN"; /* DIM_B, DIM_S, DIM_N */
  const char *symbol = *s ? strchr(symbols, *s) : NULL;
  if (symbol) {
    *out = -1 - (symbol - symbols);
    return s + 1;
  }
  int64_t n = 0;
  const char *begin = s;
  for (; *s >= '0' && *s <= '9'; s++) {
    int64_t digit = *s - '0';
    if (n > (INT64_MAX - digit) / 10) return NULL;
    n = n * 10 + digit;
  }
  if (s == begin || (*begin == '0' && s > begin + 1)) return NULL;
  *out = n;
  return s;
}

bool ir_type_parse(const char *text, ir_type *out) {
  ir_type t = {0};
  while ((unsigned)t.dtype < DTYPES && strncmp(text, dtype_names[t.dtype], 3) != 0)
    t.dtype++;
  if ((unsigned)t.dtype == DTYPES || text[3] != '[') return false;
  const char *s = text + 4;
  while (*s != ']') {
    if (t.rank == IR_MAX_RANK) return false;
    if (t.rank && *s++ != ',') return false;
    s = read_dim(s, &t.dim[t.rank++]);
    if (!s) return false;
  }
  if (s[1]) return false;
  *out = t;
  return true;
}

bool ir_type_elements(const ir_type *t, size_t *out) {
  size_t n = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    if (t->dim[i] < 1 || t->dim[i] > IR_MAX_DIM) return false;
    if (!size_mul(n, (size_t)t->dim[i], &n) || n > IR_MAX_ELEMENTS) return false;
  }
  *out = n;
  return true;
}
