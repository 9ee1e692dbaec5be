#include "frontend/suggest.h"

#include <stdint.h>
#include <string.h>

enum { MAX_WORD = 63, SHORT_WORD = 4 };

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

size_t edit_distance(const char *a, const char *b) {
  size_t na = strlen(a), nb = strlen(b);
  if (na > MAX_WORD || nb > MAX_WORD) return SIZE_MAX;
  size_t row[3][MAX_WORD + 1]; /* row[i % 3][j]: distance of a[0..i) and b[0..j) */
  for (size_t i = 0; i <= na; i++) {
    size_t *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= nb; j++) {
      if (i == 0) {
        now[j] = j;
        continue;
      }
      size_t replaced = up[j - 1] + (a[i - 1] != b[j - 1]);
      now[j] = least(replaced, least(up[j], now[j - 1]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = least(now[j], up2[j - 2] + 1);
    }
  }
  return row[na % 3][nb];
}

void suggest_offer(suggestion *s, const char *known) {
  size_t length = strlen(s->word), other = strlen(known), most = length > SHORT_WORD ? 2 : 1;
  if (other > length + most || length > other + most) return; /* that many edits at least */
  size_t distance = edit_distance(s->word, known);
  if (distance > most || distance >= length) return;
  if (s->best && distance >= s->distance) return;
  s->best = known;
  s->distance = distance;
}

const char *suggest_text(arena *a, const suggestion *s) {
  return s->best ? arena_printf(a, "; did you mean '%s'?", s->best) : "";
}
