/* Patterns of tensor names. A glob, in which * is any text and ? any byte, is for the whole name,
 * with or without ".weight"; "re:" and a regular expression (Perl's, by PCRE2) is found anywhere.
 */
#ifndef SPCC_FRONTEND_MATCH_H
#define SPCC_FRONTEND_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "support/arena.h"

/* Sets mark[i] where the pattern matches names[i], and *found to how many do. Returns NULL, or what
 * is wrong with the pattern: a regular expression that is none, or that costs too much. */
const char *match_names(arena *a, const char *pattern, const char *const *names, size_t count,
                        bool *mark, size_t *found);

/* `name` without ".weight". */
const char *match_short_name(arena *a, const char *name);

#endif
