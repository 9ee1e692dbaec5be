/* WordPiece tokens of BERT models: UTF-8 text to the int32 ids that a compiled model takes.
 *
 * The ids are those of Hugging Face's BertTokenizer: text is cleaned (control, unassigned and
 * replacement characters go, every white space is a space), lower-cased, cut at spaces, CJK
 * characters and punctuation, stripped of accents, and each word is covered by the longest tokens
 * of the vocabulary from left to right. docs/text.md lists the corner cases. */
#ifndef SPCC_WORDPIECE_H
#define SPCC_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum spcc_wordpiece_status {
  SPCC_WORDPIECE_OK = 0,
  SPCC_WORDPIECE_E_NULL = 1,   /* a required pointer is NULL */
  SPCC_WORDPIECE_E_OPEN = 2,   /* the vocabulary cannot be read; errno says why */
  SPCC_WORDPIECE_E_VOCAB = 3,  /* the vocabulary is empty, not UTF-8 or over 256 MiB */
  SPCC_WORDPIECE_E_TOKEN = 4,  /* a special token is not in the vocabulary */
  SPCC_WORDPIECE_E_SIZE = 5,   /* less room than the two ids of [CLS] and [SEP] need */
  SPCC_WORDPIECE_E_MEMORY = 6, /* out of memory */
  SPCC_WORDPIECE_STATUS_COUNT
} spcc_wordpiece_status;

/* One line about a status, never NULL. */
const char *spcc_wordpiece_status_text(spcc_wordpiece_status status);

typedef struct spcc_wordpiece_options {
  bool lowercase;
  bool strip_accents;      /* Hugging Face's None stands for the value of `lowercase` */
  bool split_cjk;          /* every CJK ideograph is a word */
  bool match_special;      /* "[SEP]" in the text is the special token, as Hugging Face has it;
                              false for text from strangers: then it is '[', 'sep', ']' */
  uint32_t max_word_chars; /* a longer word is [UNK] */
  const char *unk, *cls, *sep, *pad;
  const char *mask; /* the only one that the vocabulary may lack; NULL: none */
} spcc_wordpiece_options;

/* The options of bert-base-uncased. */
spcc_wordpiece_options spcc_wordpiece_defaults(void);

typedef struct spcc_wordpiece spcc_wordpiece;

/* Reads a vocab.txt, one token a line, the first with id 0. options NULL: the defaults.
 * *out is set on success alone, and is freed by spcc_wordpiece_free. */
spcc_wordpiece_status spcc_wordpiece_open(const char *path, const spcc_wordpiece_options *options,
                                          spcc_wordpiece **out);
/* The same from `size` bytes of memory, which are copied. */
spcc_wordpiece_status spcc_wordpiece_new(const char *vocab, size_t size,
                                         const spcc_wordpiece_options *options,
                                         spcc_wordpiece **out);
void spcc_wordpiece_free(spcc_wordpiece *tokenizer);

/* Writes [CLS], the tokens of `size` bytes of text and [SEP] to ids, leaving out the last tokens
 * when there are more than `capacity` ids; *count is how many were written. *total, unless NULL,
 * is how many there would be with room for all. Invalid bytes in the text are left out.
 * Any number of threads may use one tokenizer. */
spcc_wordpiece_status spcc_wordpiece_encode(const spcc_wordpiece *tokenizer, const char *text,
                                            size_t size, int32_t *ids, size_t capacity,
                                            size_t *count, size_t *total);

/* Number of tokens in the vocabulary. */
int32_t spcc_wordpiece_count(const spcc_wordpiece *tokenizer);
/* A token as it stands in the vocabulary ("##ing"); NULL for an id that it does not have. */
const char *spcc_wordpiece_token(const spcc_wordpiece *tokenizer, int32_t id);
/* The id of a token; -1 when the vocabulary lacks it. */
int32_t spcc_wordpiece_id(const spcc_wordpiece *tokenizer, const char *token);
/* The id that fills a batch of sentences of different lengths. */
int32_t spcc_wordpiece_pad(const spcc_wordpiece *tokenizer);

#ifdef __cplusplus
}
#endif
#endif
