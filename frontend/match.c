#include "frontend/match.h"

/* PCRE2 and not the C library's: expressions come from untrusted files, the latter has no limits
 * (".++++++++" takes memory without end in glibc), and Perl's are those that recipes elsewhere use.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/* Steps and memory are those of matching one name. */
enum { REGEX_BYTES = 512, REGEX_NESTING = 32, REGEX_STEPS = 100000, REGEX_KIB = 1024 };

/* The length of `name` without ".weight". */
static size_t short_length(const char *name) {
  static const char suffix[] = ".weight";
  size_t length = strlen(name), end = sizeof suffix - 1;
  return length > end && strcmp(name + length - end, suffix) == 0 ? length - end : length;
}

const char *match_short_name(arena *a, const char *name) {
  return arena_strndup(a, name, short_length(name));
}

/* Only the last * is ever tried again, so the time is at most the product of the lengths. */
static bool glob_matches(const char *glob, const char *s, size_t length) {
  const char *end = s + length, *star = NULL, *retry = NULL;
  while (s < end) {
    if (*glob == '*') {
      star = ++glob;
      retry = s;
    } else if (*glob == '?' || *glob == *s) {
      glob++;
      s++;
    } else if (star) {
      glob = star;
      s = ++retry;
    } else {
      return false;
    }
  }
  while (*glob == '*')
    glob++;
  return !*glob;
}

static bool glob_names(const char *glob, const char *name) {
  return glob_matches(glob, name, strlen(name)) || glob_matches(glob, name, short_length(name));
}

/* Why PCRE2 gave up, in its words. */
static const char *reason(arena *a, int error) {
  PCRE2_UCHAR text[128];
  pcre2_get_error_message(error, text, sizeof text);
  return arena_strdup(a, (const char *)text);
}

/* NULL, with *why set, if `regex` is none. */
static pcre2_code *compile(arena *a, const char *regex, pcre2_compile_context *limits,
                           const char **why) {
  /* Byte for byte: no expression may ask for UTF-8, which the names need not be. */
  const uint32_t options =
      PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
  pcre2_set_max_pattern_length(limits, REGEX_BYTES);
  pcre2_set_parens_nest_limit(limits, REGEX_NESTING);
  int error;
  PCRE2_SIZE at;
  pcre2_code *code =
      pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, options, &error, &at, limits);
  if (!code)
    *why = arena_printf(a, "'re:%.64s' is no regular expression that can be used: %s, at byte %zu",
                        regex, reason(a, error), at);
  return code;
}

static const char *find(arena *a, const char *regex, const pcre2_code *code,
                        pcre2_match_context *limits, const char *const *names, size_t count,
                        bool *mark, size_t *found) {
  pcre2_set_match_limit(limits, REGEX_STEPS);
  pcre2_set_heap_limit(limits, REGEX_KIB);
  pcre2_match_data *data = pcre2_match_data_create(1, NULL);
  if (!data) return "out of memory";
  const char *wrong = NULL;
  for (size_t i = 0; i < count && !wrong; i++) {
    int result = pcre2_match(code, (PCRE2_SPTR)names[i], strlen(names[i]), 0, 0, data, limits);
    if (result >= 0) {
      mark[i] = true;
      ++*found;
    } else if (result != PCRE2_ERROR_NOMATCH) {
      wrong = arena_printf(a, "'re:%.64s' can't be tried on '%.64s': %s; write it simpler", regex,
                           names[i], reason(a, result));
    }
  }
  pcre2_match_data_free(data);
  return wrong;
}

static const char *match_regex(arena *a, const char *regex, const char *const *names, size_t count,
                               bool *mark, size_t *found) {
  pcre2_compile_context *compiling = pcre2_compile_context_create(NULL);
  pcre2_match_context *matching = pcre2_match_context_create(NULL);
  const char *wrong = "out of memory";
  if (compiling && matching) {
    pcre2_code *code = compile(a, regex, compiling, &wrong);
    if (code) wrong = find(a, regex, code, matching, names, count, mark, found);
    pcre2_code_free(code);
  }
  pcre2_match_context_free(matching);
  pcre2_compile_context_free(compiling);
  return wrong;
}

const char *match_names(arena *a, const char *pattern, const char *const *names, size_t count,
                        bool *mark, size_t *found) {
  *found = 0;
  if (strncmp(pattern, "re:", 3) == 0)
    return match_regex(a, pattern + 3, names, count, mark, found);
  for (size_t i = 0; i < count; i++)
    if (glob_names(pattern, names[i])) {
      mark[i] = true;
      ++*found;
    }
  return NULL;
}
