#include "support/text.h"

static bool is_control(unsigned char c) {
  return c < 0x20 || c == 0x7f;
}

/* Bytes of the control character at `s`: 1, 2 for U+0080 to U+009F, 0 for any other character. */
static size_t control_length(const char *s) {
  const unsigned char *u = (const unsigned char *)s;
  if (u[0] == 0xc2 && u[1] >= 0x80 && u[1] <= 0x9f) return 2;
  return is_control(u[0]);
}

static size_t count_controls(const char *s) {
  size_t bytes = 0;
  while (*s) {
    size_t n = control_length(s);
    bytes += n;
    s += n ? n : 1;
  }
  return bytes;
}

static char *put_escaped(char *to, unsigned char c) {
  static const char digits[] = "0123456789abcdef";
  *to++ = '\\';
  *to++ = 'x';
  *to++ = digits[c >> 4];
  *to++ = digits[c & 15];
  return to;
}

const char *text_escape(arena *a, const char *text) {
  size_t controls = count_controls(text);
  if (!controls) return text;
  char *escaped = arena_alloc(a, strlen(text) + 3 * controls + 1, 1), *to = escaped;
  while (*text) {
    size_t n = control_length(text);
    if (!n) *to++ = *text++;
    while (n--)
      to = put_escaped(to, (unsigned char)*text++);
  }
  return escaped;
}
