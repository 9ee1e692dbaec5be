#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

uint64_t vocab_hash(uint64_t hash, const char *data, size_t size) {
  for (size_t i = 0; i < size; i++)
    hash = (hash ^ (unsigned char)data[i]) * UINT64_C(0x100000001b3);
  return hash;
}

static uint32_t token_size(const vocab *v, uint32_t id) {
  return v->begin[id + 1] - v->begin[id] - 1;
}

static bool token_is(const vocab *v, uint32_t id, const char *prefix, const char *data,
                     size_t size) {
  size_t head = strlen(prefix);
  const char *token = v->text + v->begin[id];
  return token_size(v, id) == head + size && memcmp(token, prefix, head) == 0 &&
         memcmp(token + head, data, size) == 0;
}

/* The slot that holds the token, or the free one where it belongs. */
static int32_t *find_slot(const vocab *v, uint64_t hash, const char *prefix, const char *data,
                          size_t size) {
  uint32_t i = (uint32_t)(hash ^ hash >> 32) & v->slot_mask;
  while (v->slot[i] >= 0 && !token_is(v, (uint32_t)v->slot[i], prefix, data, size))
    i = (i + 1) & v->slot_mask;
  return &v->slot[i];
}

int32_t vocab_find(const vocab *v, uint64_t hash, const char *prefix, const char *data,
                   size_t size) {
  return *find_slot(v, hash, prefix, data, size);
}

int32_t vocab_id(const vocab *v, const char *token) {
  size_t size = strlen(token);
  return vocab_find(v, vocab_hash(VOCAB_HASH_EMPTY, token, size), "", token, size);
}

static bool is_utf8(const char *data, size_t size) {
  const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)data;
  const utf8proc_uint8_t *end = at + size;
  while (at < end) {
    utf8proc_int32_t cp;
    utf8proc_ssize_t n = utf8proc_iterate(at, end - at, &cp);
    if (n < 1) return false;
    at += n;
  }
  return true;
}

/* Bytes up to the end of the line at `data`; *next is where the line after it starts. A line ends
 * in \n, \r\n or \r, as for Python's text files. */
static size_t line_size(const char *data, size_t size, size_t *next) {
  size_t n = 0;
  while (n < size && data[n] != '\n' && data[n] != '\r')
    n++;
  *next = n;
  if (n < size && data[n] == '\r') ++*next;
  if (*next < size && data[*next] == '\n') ++*next;
  return n;
}

static uint32_t count_lines(const char *data, size_t size) {
  uint32_t count = 0;
  for (size_t at = 0, next; at < size; at += next, count++)
    line_size(data + at, size - at, &next);
  return count;
}

/* Copies the lines to v->text and sets begin, count and longest. */
static void store_tokens(vocab *v, const char *data, size_t size) {
  uint32_t to = 0;
  for (size_t at = 0, next; at < size; at += next) {
    uint32_t n = (uint32_t)line_size(data + at, size - at, &next);
    memcpy(v->text + to, data + at, n);
    v->text[to + n] = '\0';
    v->begin[v->count++] = to;
    to += n + 1;
    if (n > v->longest) v->longest = n;
  }
  v->begin[v->count] = to;
}

static void index_tokens(vocab *v) {
  for (uint32_t id = 0; id < v->count; id++) {
    const char *token = v->text + v->begin[id];
    uint32_t size = token_size(v, id);
    uint64_t hash = vocab_hash(VOCAB_HASH_EMPTY, token, size);
    *find_slot(v, hash, "", token, size) = (int32_t)id;
  }
}

spcc_wordpiece_status vocab_init(vocab *v, const char *data, size_t size) {
  if (size == 0 || size > VOCAB_MAX_BYTES || !is_utf8(data, size)) return SPCC_WORDPIECE_E_VOCAB;
  uint32_t count = count_lines(data, size);
  uint32_t slots = 2;
  while (slots < 2 * count) /* at most 2^29 lines */
    slots *= 2;
  *v = (vocab){.slot_mask = slots - 1};
  v->text = malloc(size + 1); /* the last line may lack its end */
  v->begin = malloc(((size_t)count + 1) * sizeof *v->begin);
  v->slot = malloc(slots * sizeof *v->slot);
  if (v->text == NULL || v->begin == NULL || v->slot == NULL) {
    vocab_clear(v);
    return SPCC_WORDPIECE_E_MEMORY;
  }
  memset(v->slot, 0xff, slots * sizeof *v->slot);
  store_tokens(v, data, size);
  index_tokens(v);
  return SPCC_WORDPIECE_OK;
}

void vocab_clear(vocab *v) {
  free(v->text);
  free(v->begin);
  free(v->slot);
  *v = (vocab){0};
}
