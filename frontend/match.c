#include "frontend/match.h"

#include <regex.h>
#include <string.h>

enum { REGEX_BYTES = 512, REGEX_COPIES = 255 };

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

/* How often the C library may copy a part of the expression: {n,m} is written out, one within the
 * other. Counts braces that are no repetitions too. */
static bool is_costly(const char *regex) {
  unsigned long copies = 1, number = 0;
  bool inside = false;
  for (const char *s = regex; *s; s++) {
    if (*s == '{') inside = true;
    bool digit = inside && *s >= '0' && *s <= '9';
    if (digit) number = number * 10 + (unsigned long)(*s - '0');
    if (number > REGEX_COPIES) return true;
    if (digit) continue;
    copies *= number > 1 ? number : 1;
    number = 0;
    if (*s == '}') inside = false;
    if (copies > REGEX_COPIES) return true;
  }
  return strlen(regex) > REGEX_BYTES;
}

/* \1 … \9: not POSIX here, and matching them may take exponential time. */
static bool refers_back(const char *regex) {
  for (const char *s = regex; *s; s++)
    if (*s == '\\' && *++s >= '1' && *s <= '9')
      return true;
    else if (!*s)
      return false;
  return false;
}

static const char *match_regex(arena *a, const char *regex, const char *const *names, size_t count,
                               bool *mark, size_t *found) {
  regex_t compiled;
  if (is_costly(regex))
    return arena_printf(a,
                        "'re:%.64s' is too long, or repeats too much; at most %d bytes and %d "
                        "copies of a part are accepted",
                        regex, REGEX_BYTES, REGEX_COPIES);
  if (refers_back(regex))
    return arena_printf(a, "'re:%.64s' refers back to what it has found; write that out", regex);
  int error = regcomp(&compiled, regex, REG_EXTENDED | REG_NOSUB);
  if (error) {
    char why[128];
    regerror(error, &compiled, why, sizeof why);
    return arena_printf(a, "'re:%.64s' is no regular expression: %s", regex, why);
  }
  for (size_t i = 0; i < count; i++)
    if (regexec(&compiled, names[i], 0, NULL, 0) == 0) {
      mark[i] = true;
      ++*found;
    }
  regfree(&compiled);
  return NULL;
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
