/* A vocabulary: tokens by id, and ids by the bytes of a token. */
#ifndef SPCC_TEXT_VOCAB_H
#define SPCC_TEXT_VOCAB_H

#include "text/spcc_wordpiece.h"

enum { VOCAB_MAX_BYTES = 256 << 20 /* of a vocab.txt */ };

typedef struct vocab {
  char *text;      /* all tokens, a zero byte after each */
  uint32_t *begin; /* [count + 1] offsets of the tokens in text */
  uint32_t count;
  uint32_t longest; /* bytes of the longest token */
  int32_t *slot;    /* [slot_mask + 1] open addressing by vocab_hash: ids, -1 where free */
  uint32_t slot_mask;
} vocab;

/* Fills *v with the lines of `size` bytes. Of equal lines the last one gives the id, as in
 * Hugging Face's load_vocab. On failure there is nothing to free. */
spcc_wordpiece_status vocab_init(vocab *v, const char *data, size_t size);
void vocab_clear(vocab *v);

/* FNV-1a: the hash of ab is vocab_hash(vocab_hash(VOCAB_HASH_EMPTY, a), b). */
#define VOCAB_HASH_EMPTY UINT64_C(0xcbf29ce484222325)
uint64_t vocab_hash(uint64_t hash, const char *data, size_t size);

/* The id of the token that is `prefix` and then `size` bytes of data, -1 when there is none; hash
 * is that of the two together. */
int32_t vocab_find(const vocab *v, uint64_t hash, const char *prefix, const char *data,
                   size_t size);
/* The id of a token, -1 when there is none. */
int32_t vocab_id(const vocab *v, const char *token);

#endif
