#include "text/spcc_wordpiece.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/vocab.h"
#include "text/words.h"

/* What begins a token that continues a word. */
static const char continuation[] = "##";

enum { SPECIAL_UNK, SPECIAL_CLS, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_MASK, SPECIAL_COUNT };

struct spcc_wordpiece {
  spcc_wordpiece_options options;
  vocab vocab;
  int32_t special[SPECIAL_COUNT]; /* ids; -1: none */
};

const char *spcc_wordpiece_status_text(spcc_wordpiece_status status) {
  static const char *const text[SPCC_WORDPIECE_STATUS_COUNT] = {
      [SPCC_WORDPIECE_OK] = "success",
      [SPCC_WORDPIECE_E_NULL] = "a required pointer is NULL",
      [SPCC_WORDPIECE_E_OPEN] = "the vocabulary cannot be read",
      [SPCC_WORDPIECE_E_VOCAB] = "the vocabulary is empty, not UTF-8 or over 256 MiB",
      [SPCC_WORDPIECE_E_TOKEN] = "a special token is not in the vocabulary",
      [SPCC_WORDPIECE_E_SIZE] = "room for less than [CLS] and [SEP]",
      [SPCC_WORDPIECE_E_MEMORY] = "out of memory",
  };
  unsigned i = (unsigned)status;
  return i < SPCC_WORDPIECE_STATUS_COUNT ? text[i] : "unknown status";
}

spcc_wordpiece_options spcc_wordpiece_defaults(void) {
  return (spcc_wordpiece_options){.lowercase = true,
                                  .strip_accents = true,
                                  .split_cjk = true,
                                  .match_special = true,
                                  .max_word_chars = 100,
                                  .unk = "[UNK]",
                                  .cls = "[CLS]",
                                  .sep = "[SEP]",
                                  .pad = "[PAD]",
                                  .mask = "[MASK]"};
}

/* ---- making one ---- */

/* Looks up the special tokens; false when one that must be there is not. */
static bool find_special(spcc_wordpiece *t) {
  const spcc_wordpiece_options *o = &t->options;
  const char *const name[SPECIAL_COUNT] = {o->unk, o->cls, o->sep, o->pad, o->mask};
  for (int i = 0; i < SPECIAL_COUNT; i++) {
    t->special[i] = name[i] == NULL ? -1 : vocab_id(&t->vocab, name[i]);
    if (t->special[i] < 0 && i != SPECIAL_MASK) return false;
  }
  /* The caller's strings may go; the vocabulary has them all. */
  t->options.unk = t->options.cls = t->options.sep = t->options.pad = t->options.mask = NULL;
  return true;
}

spcc_wordpiece_status spcc_wordpiece_new(const char *vocab_text, size_t size,
                                         const spcc_wordpiece_options *options,
                                         spcc_wordpiece **out) {
  if (vocab_text == NULL || out == NULL) return SPCC_WORDPIECE_E_NULL;
  spcc_wordpiece *t = calloc(1, sizeof *t);
  if (t == NULL) return SPCC_WORDPIECE_E_MEMORY;
  t->options = options != NULL ? *options : spcc_wordpiece_defaults();
  spcc_wordpiece_status status = vocab_init(&t->vocab, vocab_text, size);
  if (status == SPCC_WORDPIECE_OK && !find_special(t)) status = SPCC_WORDPIECE_E_TOKEN;
  if (status == SPCC_WORDPIECE_OK)
    *out = t;
  else
    spcc_wordpiece_free(t);
  return status;
}

/* Reads to the end of the file, or so much that it is too large; the caller frees *out. */
static spcc_wordpiece_status read_all(FILE *f, char **out, size_t *size) {
  size_t capacity = 1 << 16;
  char *data = NULL;
  for (*size = 0; !feof(f) && !ferror(f) && *size <= VOCAB_MAX_BYTES;) {
    char *larger = realloc(data, capacity);
    if (larger == NULL) {
      free(data);
      return SPCC_WORDPIECE_E_MEMORY;
    }
    data = larger;
    *size += fread(data + *size, 1, capacity - *size, f);
    capacity = capacity < VOCAB_MAX_BYTES ? 2 * capacity : VOCAB_MAX_BYTES + 1;
  }
  *out = data;
  return SPCC_WORDPIECE_OK;
}

spcc_wordpiece_status spcc_wordpiece_open(const char *path, const spcc_wordpiece_options *options,
                                          spcc_wordpiece **out) {
  if (path == NULL || out == NULL) return SPCC_WORDPIECE_E_NULL;
  FILE *f = fopen(path, "rb");
  if (f == NULL) return SPCC_WORDPIECE_E_OPEN;
  char *data = NULL;
  size_t size = 0;
  spcc_wordpiece_status status = read_all(f, &data, &size);
  if (status == SPCC_WORDPIECE_OK && ferror(f)) status = SPCC_WORDPIECE_E_OPEN;
  fclose(f);
  if (status == SPCC_WORDPIECE_OK) status = spcc_wordpiece_new(data, size, options, out);
  free(data);
  return status;
}

void spcc_wordpiece_free(spcc_wordpiece *tokenizer) {
  if (tokenizer == NULL) return;
  vocab_clear(&tokenizer->vocab);
  free(tokenizer);
}

/* ---- encoding ---- */

typedef struct encoder {
  const spcc_wordpiece *tokenizer;
  int32_t *ids;
  size_t capacity, total; /* ids beyond capacity are counted alone */
  char *bytes;            /* [4 * max_word_chars] a word in UTF-8 */
  size_t *end;            /* [max_word_chars] where each of its characters ends */
  uint64_t *hash;         /* [max_word_chars] of a prefix that ends there */
  int32_t *piece;         /* [max_word_chars] its tokens */
} encoder;

static void put_id(encoder *e, int32_t id) {
  if (e->total < e->capacity) e->ids[e->total] = id;
  e->total++;
}

/* The longest token that begins at character `first` of the word; -1 when there is none. *next is
 * the character after it. */
static int32_t longest_token(const encoder *e, size_t first, size_t count, size_t *next) {
  const vocab *v = &e->tokenizer->vocab;
  const char *prefix = first == 0 ? "" : continuation;
  size_t begin = first == 0 ? 0 : e->end[first - 1];
  uint64_t hash = vocab_hash(VOCAB_HASH_EMPTY, prefix, strlen(prefix));
  size_t n = first;
  for (size_t at = begin; n < count && e->end[n] - begin <= v->longest; at = e->end[n++])
    e->hash[n] = hash = vocab_hash(hash, e->bytes + at, e->end[n] - at);
  for (; n > first; n--) {
    int32_t id = vocab_find(v, e->hash[n - 1], prefix, e->bytes + begin, e->end[n - 1] - begin);
    if (id < 0) continue;
    *next = n;
    return id;
  }
  return -1;
}

/* A word_sink: the tokens of a word, or [UNK] when it cannot be covered. */
static void encode_word(void *context, const int32_t *word, size_t count) {
  encoder *e = context;
  int32_t unk = e->tokenizer->special[SPECIAL_UNK];
  if (count > e->tokenizer->options.max_word_chars) {
    put_id(e, unk);
    return;
  }
  size_t bytes = 0, pieces = 0;
  for (size_t i = 0; i < count; i++) {
    bytes += (size_t)utf8proc_encode_char(word[i], (utf8proc_uint8_t *)e->bytes + bytes);
    e->end[i] = bytes;
  }
  for (size_t at = 0; at < count; pieces++) {
    e->piece[pieces] = longest_token(e, at, count, &at);
    if (e->piece[pieces] >= 0) continue;
    put_id(e, unk);
    return;
  }
  for (size_t i = 0; i < pieces; i++)
    put_id(e, e->piece[i]);
}

/* The longest special token that `text` begins with, -1 for none; *length is its bytes. */
static int32_t special_at(const spcc_wordpiece *t, const char *text, size_t size, size_t *length) {
  int32_t found = -1;
  *length = 0;
  for (int i = 0; i < SPECIAL_COUNT; i++) {
    if (t->special[i] < 0) continue;
    const char *name = spcc_wordpiece_token(t, t->special[i]);
    size_t n = strlen(name);
    if (n <= *length || n > size || name[0] != text[0] || memcmp(name, text, n) != 0) continue;
    found = t->special[i];
    *length = n;
  }
  return found;
}

/* The words between special tokens, and those. */
static spcc_wordpiece_status encode_text(encoder *e, const char *text, size_t size) {
  const spcc_wordpiece *t = e->tokenizer;
  spcc_wordpiece_status status = SPCC_WORDPIECE_OK;
  size_t begin = 0;
  for (size_t i = 0; t->options.match_special && i < size && status == SPCC_WORDPIECE_OK;) {
    size_t length;
    int32_t id = special_at(t, text + i, size - i, &length);
    if (id < 0) {
      i++;
      continue;
    }
    status = words_split(&t->options, text + begin, i - begin, encode_word, e);
    put_id(e, id);
    begin = i += length;
  }
  if (status != SPCC_WORDPIECE_OK) return status;
  return words_split(&t->options, text + begin, size - begin, encode_word, e);
}

/* Gives the encoder its buffers, all in one block that *block is for. */
static bool encoder_init(encoder *e, void **block) {
  size_t n = (size_t)e->tokenizer->options.max_word_chars + 1;
  if (n > SIZE_MAX / 64) return false;
  e->hash = *block = malloc(n * (sizeof *e->hash + sizeof *e->end + sizeof *e->piece + 4));
  if (*block == NULL) return false;
  e->end = (size_t *)(e->hash + n);
  e->piece = (int32_t *)(e->end + n);
  e->bytes = (char *)(e->piece + n);
  return true;
}

spcc_wordpiece_status spcc_wordpiece_encode(const spcc_wordpiece *tokenizer, const char *text,
                                            size_t size, int32_t *ids, size_t capacity,
                                            size_t *count, size_t *total) {
  if (tokenizer == NULL || (text == NULL && size > 0) || ids == NULL || count == NULL)
    return SPCC_WORDPIECE_E_NULL;
  if (capacity < 2) return SPCC_WORDPIECE_E_SIZE;
  if (text == NULL) text = "";
  encoder e = {.tokenizer = tokenizer, .ids = ids, .capacity = capacity - 1};
  void *block;
  if (!encoder_init(&e, &block)) return SPCC_WORDPIECE_E_MEMORY;
  put_id(&e, tokenizer->special[SPECIAL_CLS]);
  spcc_wordpiece_status status = encode_text(&e, text, size);
  free(block);
  if (status != SPCC_WORDPIECE_OK) return status;
  size_t kept = e.total < e.capacity ? e.total : e.capacity;
  ids[kept] = tokenizer->special[SPECIAL_SEP];
  *count = kept + 1;
  if (total != NULL) *total = e.total + 1;
  return SPCC_WORDPIECE_OK;
}

/* ---- the vocabulary ---- */

int32_t spcc_wordpiece_count(const spcc_wordpiece *tokenizer) {
  return (int32_t)tokenizer->vocab.count;
}

const char *spcc_wordpiece_token(const spcc_wordpiece *tokenizer, int32_t id) {
  const vocab *v = &tokenizer->vocab;
  return id >= 0 && (uint32_t)id < v->count ? v->text + v->begin[id] : NULL;
}

int32_t spcc_wordpiece_id(const spcc_wordpiece *tokenizer, const char *token) {
  return vocab_id(&tokenizer->vocab, token);
}

int32_t spcc_wordpiece_pad(const spcc_wordpiece *tokenizer) {
  return tokenizer->special[SPECIAL_PAD];
}
