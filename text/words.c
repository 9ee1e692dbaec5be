#include "text/words.h"

#include <stdlib.h>
#include <utf8proc.h>

/* Code points of the longest canonical decomposition of one code point. */
enum { MAX_DECOMPOSED = 4 };

enum { DOTTED_CAPITAL_I = 0x130, DOT_ABOVE = 0x307, REPLACEMENT = 0xfffd };

typedef struct splitter {
  const spcc_wordpiece_options *options;
  word_sink *sink;
  void *context;
  int32_t *folded;      /* [size] the text, cleaned and lower-cased */
  int32_t *word;        /* [MAX_DECOMPOSED * size] one word, normalised */
  size_t word_capacity; /* elements of word */
} splitter;

/* The blocks that BERT calls CJK: not Hangul, Hiragana and Katakana. */
static bool is_cjk(int32_t cp) {
  static const struct {
    int32_t first, last;
  } block[] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
               {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
  for (size_t i = 0; i < sizeof block / sizeof block[0]; i++)
    if (cp >= block[i].first && cp <= block[i].last) return true;
  return false;
}

static bool is_space(int32_t cp) {
  if (cp == ' ' || cp == '\t' || cp == '\n' || cp == '\r') return true;
  utf8proc_category_t c = utf8proc_category(cp);
  return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

/* Characters that cleaning removes; asked after is_space. */
static bool is_removed(int32_t cp) {
  switch (utf8proc_category(cp)) {
  case UTF8PROC_CATEGORY_CC:
  case UTF8PROC_CATEGORY_CF:
  case UTF8PROC_CATEGORY_CS:
  case UTF8PROC_CATEGORY_CO:
  case UTF8PROC_CATEGORY_CN:
    return true;
  default:
    return cp == REPLACEMENT;
  }
}

/* All of ASCII that is no letter, digit or space counts, symbols like '$' too. */
static bool is_punctuation(int32_t cp) {
  if (cp < 128)
    return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
           (cp >= '{' && cp <= '~');
  utf8proc_category_t c = utf8proc_category(cp);
  return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

/* Writes one code point to `to`, cleaned, lower-cased, a CJK one between spaces; returns how many
 * were written, never more than the bytes that the code point has in UTF-8. */
static size_t fold_char(const spcc_wordpiece_options *o, int32_t cp, int32_t *to) {
  if (is_space(cp)) {
    to[0] = ' ';
    return 1;
  }
  if (is_removed(cp)) return 0;
  if (o->split_cjk && is_cjk(cp)) {
    to[0] = to[2] = ' ';
    to[1] = cp;
    return 3;
  }
  if (o->lowercase && cp == DOTTED_CAPITAL_I) { /* the only one with two lower-case characters */
    to[0] = 'i';
    to[1] = DOT_ABOVE;
    return 2;
  }
  to[0] = o->lowercase ? utf8proc_tolower(cp) : cp;
  return 1;
}

static size_t fold_text(splitter *s, const char *text, size_t size) {
  const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
  const utf8proc_uint8_t *end = at + size;
  size_t count = 0;
  while (at < end) {
    utf8proc_int32_t cp;
    utf8proc_ssize_t n = utf8proc_iterate(at, end - at, &cp);
    if (n < 1) { /* an invalid byte */
      at++;
      continue;
    }
    count += fold_char(s->options, cp, s->folded + count);
    at += n;
  }
  return count;
}

static unsigned combining_class(int32_t cp) {
  return (unsigned)utf8proc_get_property(cp)->combining_class;
}

static int compare_keys(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Sorts a run of marks by combining class, equal ones in their order. The class, the position and
 * the code point make one key: text of nothing but marks must not take quadratic time. */
static bool sort_marks(int32_t *cp, size_t count) {
  uint64_t *key = malloc(count * sizeof *key);
  if (key == NULL) return false;
  for (size_t i = 0; i < count; i++)
    key[i] = (uint64_t)combining_class(cp[i]) << 56 | (uint64_t)i << 21 | (uint64_t)cp[i];
  qsort(key, count, sizeof *key, compare_keys);
  for (size_t i = 0; i < count; i++)
    cp[i] = (int32_t)(key[i] & 0x1fffff);
  free(key);
  return true;
}

/* Puts the marks after each base character into canonical order. */
static bool order_marks(int32_t *cp, size_t count) {
  for (size_t i = 0; i < count;) {
    size_t run = i;
    unsigned last = 0, c;
    bool sorted = true;
    while (run < count && (c = combining_class(cp[run])) != 0) {
      sorted = sorted && c >= last;
      last = c;
      run++;
    }
    if (!sorted && !sort_marks(cp + i, run - i)) return false;
    i = run + 1;
  }
  return true;
}

/* Writes the canonical decomposition (NFD) of `count` code points to s->word. */
static bool decompose(splitter *s, const int32_t *cp, size_t count, size_t *written) {
  size_t to = 0;
  for (size_t i = 0; i < count; i++) {
    int boundary = 0;
    utf8proc_ssize_t room = (utf8proc_ssize_t)(s->word_capacity - to);
    utf8proc_ssize_t n =
        utf8proc_decompose_char(cp[i], s->word + to, room, UTF8PROC_DECOMPOSE, &boundary);
    if (n < 0 || n > room) return false;
    to += (size_t)n;
  }
  *written = to;
  return order_marks(s->word, to);
}

static size_t drop_accents(int32_t *cp, size_t count) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i++)
    if (utf8proc_category(cp[i]) != UTF8PROC_CATEGORY_MN) cp[kept++] = cp[i];
  return kept;
}

static void cut_at_punctuation(const splitter *s, size_t count) {
  size_t begin = 0;
  for (size_t i = 0; i < count; i++) {
    if (!is_punctuation(s->word[i])) continue;
    if (i > begin) s->sink(s->context, s->word + begin, i - begin);
    s->sink(s->context, s->word + i, 1);
    begin = i + 1;
  }
  if (count > begin) s->sink(s->context, s->word + begin, count - begin);
}

/* One word between spaces: NFD without accents, or NFC. */
static bool split_word(splitter *s, const int32_t *cp, size_t count) {
  size_t n;
  if (!decompose(s, cp, count, &n)) return false;
  if (s->options->strip_accents) {
    n = drop_accents(s->word, n);
  } else {
    utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(s->word, (utf8proc_ssize_t)n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (composed < 0) return false;
    n = (size_t)composed;
  }
  cut_at_punctuation(s, n);
  return true;
}

static bool split_folded(splitter *s, size_t count) {
  for (size_t i = 0; i < count;) {
    size_t end = i;
    while (end < count && s->folded[end] != ' ')
      end++;
    if (end > i && !split_word(s, s->folded + i, end - i)) return false;
    i = end + 1;
  }
  return true;
}

spcc_wordpiece_status words_split(const spcc_wordpiece_options *options, const char *text,
                                  size_t size, word_sink *sink, void *context) {
  if (size == 0) return SPCC_WORDPIECE_OK;
  if (size > SIZE_MAX / 64) return SPCC_WORDPIECE_E_MEMORY;
  splitter s = {.options = options,
                .sink = sink,
                .context = context,
                .folded = malloc(size * sizeof *s.folded),
                .word = malloc(MAX_DECOMPOSED * size * sizeof *s.word),
                .word_capacity = MAX_DECOMPOSED * size};
  bool ok = s.folded != NULL && s.word != NULL;
  ok = ok && split_folded(&s, fold_text(&s, text, size));
  free(s.folded);
  free(s.word);
  return ok ? SPCC_WORDPIECE_OK : SPCC_WORDPIECE_E_MEMORY;
}
