/* What is checked before libyaml sees a byte: the encoding, characters that YAML does not allow,
 * and directives (whose handling in libyaml takes time in the square of their number). */
#include "frontend/yaml.h"

#include <string.h>

/* Length of the UTF-8 sequence at s (of `size` > 0 bytes) and its code point; 0 when malformed:
 * cut off, overlong, a surrogate, or above U+10FFFF. */
static size_t utf8_decode(const unsigned char *s, size_t size, uint32_t *code) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  size_t length = s[0] < 0x80   ? 1
                  : s[0] < 0xC0 ? 0
                  : s[0] < 0xE0 ? 2
                  : s[0] < 0xF0 ? 3
                  : s[0] < 0xF8 ? 4
                                : 0;
  if (length == 0 || length > size) return 0;
  uint32_t c = length == 1 ? s[0] : s[0] & (0x7FU >> length);
  for (size_t i = 1; i < length; i++) {
    if ((s[i] & 0xC0) != 0x80) return 0;
    c = c << 6 | (s[i] & 0x3FU);
  }
  if (c < least[length] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return 0;
  *code = c;
  return length;
}

/* The printable characters of YAML 1.1, which is also what libyaml accepts. */
static bool allowed(uint32_t c) {
  if (c < 0x20) return c == '\t' || c == '\n' || c == '\r';
  if (c >= 0x7F && c < 0xA0) return c == 0x85;
  return c != 0xFEFF && c != 0xFFFE && c != 0xFFFF;
}

static bool is_break(uint32_t c) {
  return c == '\n' || c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool yaml_check_text(diag *d, const char *shown, const char *text, size_t size, size_t *skip) {
  const unsigned char *s = (const unsigned char *)text;
  if (size >= 2 && (memcmp(s, "\xFF\xFE", 2) == 0 || memcmp(s, "\xFE\xFF", 2) == 0))
    return diag_error(d, loc_at(shown, 1, 1), E_ENCODING, "the file is UTF-16; write it as UTF-8");
  *skip = size >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
  uint32_t line = 1, column = 1, c = 0;
  size_t length;
  for (size_t i = *skip; i < size; i += length) {
    length = utf8_decode(s + i, size - i, &c);
    src_loc loc = loc_at(shown, line, column);
    if (length == 0)
      return diag_error(d, loc, E_ENCODING,
                        "byte 0x%02x is not valid UTF-8 here; write the file "
                        "as UTF-8",
                        s[i]);
    if (!allowed(c))
      return diag_error(d, loc, E_YAML, "character U+%04X is not allowed in YAML", (unsigned)c);
    if (c == '%' && column == 1)
      return diag_error(d, loc, E_YAML_TAG,
                        "directives and lines that begin with '%%' are not "
                        "accepted; remove the line");
    bool crlf = c == '\r' && i + 1 < size && s[i + 1] == '\n';
    column = is_break(c) && !crlf ? 1 : column + 1;
    line += is_break(c) && !crlf;
  }
  return true;
}
