/* The one spelling of patterns, shared with the compiler by convention and by a test. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "optimizer/spo.h"

enum { LIMIT = 256 };

/* Reads a plain decimal of 1 … 256 without sign or leading zero and moves *text behind it. */
static bool read_number(const char **text, uint32_t *out) {
  const char *p = *text;
  uint32_t value = 0;
  if (*p == '0') return false;
  for (; *p >= '0' && *p <= '9'; p++) {
    value = value * 10 + (uint32_t)(*p - '0');
    if (value > LIMIT) return false;
  }
  if (p == *text) return false;
  *text = p;
  *out = value;
  return true;
}

static bool parse_nm(const char *p, uint32_t n, spo_pattern *out) {
  spo_pattern r = {.kind = SPO_NM, .rows = 1, .n = n};
  if (!read_number(&p, &r.m) || n > r.m) return false;
  if (*p == 'x') {
    p++;
    if (!read_number(&p, &r.rows) || r.rows == 1) return false; /* N:Mx1 is spelled N:M */
  }
  if (*p) return false;
  *out = r;
  return true;
}

static bool parse_block(const char *p, uint32_t rows, spo_pattern *out) {
  spo_pattern r = {.kind = SPO_BLOCK, .rows = rows};
  if (!read_number(&p, &r.cols) || *p) return false;
  *out = r;
  return true;
}

bool spo_pattern_parse(const char *text, spo_pattern *out) {
  uint32_t first;
  if (strcmp(text, "dense") == 0) {
    *out = (spo_pattern){.kind = SPO_DENSE};
    return true;
  }
  if (strcmp(text, "unstructured") == 0) {
    *out = (spo_pattern){.kind = SPO_UNSTRUCTURED};
    return true;
  }
  if (!read_number(&text, &first)) return false;
  if (*text == 'x') return parse_block(text + 1, first, out);
  if (*text == ':') return parse_nm(text + 1, first, out);
  return false;
}

char *spo_pattern_print(const spo_pattern *p, char *text) {
  switch (p->kind) {
  case SPO_DENSE:
    snprintf(text, SPO_PATTERN_TEXT, "dense");
    break;
  case SPO_UNSTRUCTURED:
    snprintf(text, SPO_PATTERN_TEXT, "unstructured");
    break;
  case SPO_BLOCK:
    snprintf(text, SPO_PATTERN_TEXT, "%" PRIu32 "x%" PRIu32, p->rows, p->cols);
    break;
  case SPO_NM:
    if (p->rows == 1)
      snprintf(text, SPO_PATTERN_TEXT, "%" PRIu32 ":%" PRIu32, p->n, p->m);
    else
      snprintf(text, SPO_PATTERN_TEXT, "%" PRIu32 ":%" PRIu32 "x%" PRIu32, p->n, p->m, p->rows);
    break;
  }
  return text;
}

bool spo_pattern_implies(const spo_pattern *p, double *sparsity) {
  switch (p->kind) {
  case SPO_DENSE:
    *sparsity = 0;
    return true;
  case SPO_NM:
    *sparsity = 1 - (double)p->n / (double)p->m;
    return true;
  case SPO_UNSTRUCTURED:
  case SPO_BLOCK:
    break;
  }
  return false;
}
