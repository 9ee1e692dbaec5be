/* The one spelling of sparsity patterns. */
#include "ir/pattern.h"

#include <stdio.h>
#include <string.h>

enum { PATTERN_SIDE_MAX = 256 };

/* Reads a plain decimal of 1 … PATTERN_SIDE_MAX without leading zeros; NULL when there is none. */
static const char *read_side(const char *s, uint32_t *out) {
  uint32_t n = 0;
  if (*s == '0') return NULL;
  const char *begin = s;
  while (*s >= '0' && *s <= '9' && n <= PATTERN_SIDE_MAX)
    n = n * 10 + (uint32_t)(*s++ - '0');
  if (s == begin || n > PATTERN_SIDE_MAX) return NULL;
  *out = n;
  return s;
}

/* "N:M" or "N:MxR", the colon already seen. */
static bool parse_nm(const char *s, uint32_t n, pattern *out) {
  pattern p = {.kind = PATTERN_NM, .rows = 1, .n = n};
  s = read_side(s, &p.m);
  if (s && *s == 'x') {
    s = read_side(s + 1, &p.rows);
    if (s && p.rows == 1) return false; /* one spelling: N:M */
  }
  if (!s || *s || p.n > p.m) return false;
  *out = p;
  return true;
}

bool pattern_parse(const char *text, pattern *out) {
  if (strcmp(text, "dense") == 0) {
    *out = (pattern){.kind = PATTERN_DENSE};
    return true;
  }
  if (strcmp(text, "unstructured") == 0) {
    *out = (pattern){.kind = PATTERN_UNSTRUCTURED};
    return true;
  }
  uint32_t first;
  const char *s = read_side(text, &first);
  if (!s) return false;
  if (*s == ':') return parse_nm(s + 1, first, out);
  pattern p = {.kind = PATTERN_BLOCK, .rows = first};
  if (*s != 'x' || !(s = read_side(s + 1, &p.cols)) || *s) return false;
  *out = p;
  return true;
}

char *pattern_print(const pattern *p, char *text) {
  switch (p->kind) {
  case PATTERN_DENSE:
    return strcpy(text, "dense");
  case PATTERN_UNSTRUCTURED:
    return strcpy(text, "unstructured");
  case PATTERN_BLOCK:
    snprintf(text, PATTERN_TEXT_MAX, "%ux%u", p->rows, p->cols);
    return text;
  case PATTERN_NM:
    if (p->rows > 1)
      snprintf(text, PATTERN_TEXT_MAX, "%u:%ux%u", p->n, p->m, p->rows);
    else
      snprintf(text, PATTERN_TEXT_MAX, "%u:%u", p->n, p->m);
    return text;
  }
  return strcpy(text, "?");
}

bool pattern_equal(const pattern *a, const pattern *b) {
  char x[PATTERN_TEXT_MAX], y[PATTERN_TEXT_MAX];
  return strcmp(pattern_print(a, x), pattern_print(b, y)) == 0;
}
