/* Sentences to calibrate with: a text file or token ids. */
#ifndef SPCC_DRIVER_SENTENCES_H
#define SPCC_DRIVER_SENTENCES_H

#include "driver/model.h"
#include "driver/taps.h"

/* Reads `path`: a .npy of ids, int32 or int64 [sentences, tokens], of which the padding at the end
 * of a sentence (the tokenizer's padding, or 0) is left out; or else UTF-8 text, a sentence a line,
 * made tokens of by the vocab.txt of the model's folder in the way that its tokenizer_config.json
 * says. Sentences are cut off at the model's max_sequence; empty ones are left out. False after an
 * error: none is left, an id that the model does not know, or a file that cannot be used. */
bool sentences_read(driver *dr, const char *path, const model_source *m, token_set *out);

#endif
