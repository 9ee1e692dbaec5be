/* Cases of bad input, in text files:
 *
 *   === what is wrong
 *   --- file model.yaml
 *   spcc: 1
 *   --- expect 1
 *   model.yaml:1:1: error: the model needs … [E_KEY]
 *
 * A case is a list of sections; each sets something up, and the last one says the exit code and the
 * whole messages of `spcc model.yaml`, or of reading recipe.yaml where the case writes one, for the
 * weights layer.0.query.weight, layer.0.key.weight and layer.1.query.weight. Sections, with their
 * text below them:
 *
 *   file NAME                 the text as it stands
 *   bytes NAME                the text without line ends; \xNN is a byte
 *   config KEY VALUE          sets a key of hf/config.json to a JSON value; "-" removes it
 *   weights NAME [length=N] [zeros=N] [data=HEX]
 *                             a safetensors file: the text without its last line end is the header;
 *                             length: what the file claims its length to be; then the data
 *   raw NAME zeros=N          N zero bytes
 *   dir, fifo, socket, remove NAME; link NAME TARGET; hardlink NAME TARGET
 *   expect CODE
 *
 * Each case begins with hf/ (a tiny BERT with pooler), w.safetensors (w f32[3,2], b f32[3], v
 * f32[2], t f32[4,2], ids I64[4]) and a model.yaml that multiplies by the tensor v of
 * x.safetensors, which is not there. */
#ifndef SPCC_TESTS_BAD_CASE_H
#define SPCC_TESTS_BAD_CASE_H

#include "support/arena.h"

enum { BAD_ARGS = 5 };

typedef struct bad_section {
  const char *arg[BAD_ARGS]; /* the words after "---"; "" where there is none */
  const char *text;
  struct bad_section *next;
} bad_section;

typedef struct bad_case {
  const char *file; /* base name of the file that holds it */
  const char *name;
  const char *source;   /* its text up to "--- expect" */
  bad_section *first;   /* without expect */
  const char *expected; /* NULL: the section is missing */
  int code;
} bad_case;

/* Reads all cases of folder/cases (names ending in .txt) in the order of their names. */
bad_case *bad_cases_read(arena *a, const char *folder, size_t *count);

#endif
