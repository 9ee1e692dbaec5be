/* Words of a text: cleaned, lower-cased, normalised, and cut at spaces and punctuation. */
#ifndef SPCC_TEXT_WORDS_H
#define SPCC_TEXT_WORDS_H

#include "text/spcc_wordpiece.h"

/* Takes a word of `count` >= 1 code points. */
typedef void word_sink(void *context, const int32_t *word, size_t count);

/* Calls sink for each word of `size` bytes of UTF-8, in order. */
spcc_wordpiece_status words_split(const spcc_wordpiece_options *options, const char *text,
                                  size_t size, word_sink *sink, void *context);

#endif
