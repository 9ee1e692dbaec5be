#include "ir/hexfloat.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS_AFTER_POINT = 13, EXPONENT_MAX = 5000000 };

char *hexfloat_print(double x, char *text) {
  const char *sign = signbit(x) ? "-" : "";
  if (!isfinite(x)) {
    snprintf(text, HEXFLOAT_MAX, "%s%s", sign, isnan(x) ? "nan" : "inf");
    return text;
  }
  int exponent;
  double fraction = frexp(fabs(x), &exponent); /* 0 or [0.5, 1), denormals too */
  if (fraction == 0) {
    snprintf(text, HEXFLOAT_MAX, "%s0x0p+0", sign);
    return text;
  }
  uint64_t rest = (uint64_t)ldexp(fraction, DBL_MANT_DIG) & (((uint64_t)1 << 52) - 1);
  char digits[DIGITS_AFTER_POINT + 2];
  snprintf(digits, sizeof digits, ".%013llx", (unsigned long long)rest);
  size_t n = sizeof digits - 1;
  while (digits[n - 1] == '0')
    n--;
  digits[n > 1 ? n : 0] = 0;
  snprintf(text, HEXFLOAT_MAX, "%s0x1%sp%+d", sign, digits, exponent - 1);
  return text;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/* mantissa * 2^exponent; `lost` when digits that are not zero did not fit into the mantissa. */
typedef struct digits {
  uint64_t mantissa;
  long exponent;
  bool lost;
} digits;

static const char *read_digits(const char *s, const char *end, bool after_point, digits *d) {
  for (int h; s < end && (h = hex_digit(*s)) >= 0; s++) {
    if (d->mantissa >> 60) {
      d->lost |= h != 0;
      if (!after_point) d->exponent += 4;
    } else {
      d->mantissa = d->mantissa << 4 | (uint64_t)h;
      if (after_point) d->exponent -= 4;
    }
  }
  return s;
}

static const char *read_exponent(const char *s, const char *end, long *out) {
  bool negative = s < end && *s == '-';
  if (s < end && (*s == '-' || *s == '+')) s++;
  const char *begin = s;
  long n = 0;
  for (; s < end && *s >= '0' && *s <= '9'; s++)
    if (n < EXPONENT_MAX) n = n * 10 + (*s - '0');
  *out += negative ? -n : n;
  return s > begin ? s : NULL;
}

/* The double that `d` stands for; false when there is none. */
static bool exact(digits d, double *out) {
  *out = 0;
  if (d.lost) return false;
  if (d.mantissa == 0) return true;
  for (; (d.mantissa & 1) == 0; d.mantissa >>= 1)
    d.exponent++;
  int width = 64 - __builtin_clzll(d.mantissa);
  if (width > DBL_MANT_DIG || d.exponent + width > DBL_MAX_EXP) return false;
  if (d.exponent < DBL_MIN_EXP - DBL_MANT_DIG) return false;
  *out = ldexp((double)d.mantissa, (int)d.exponent);
  return true;
}

const char *hexfloat_read(const char *s, const char *end, double *out) {
  bool negative = s < end && *s == '-';
  s += negative;
  if (end - s < 3 || s[0] != '0' || s[1] != 'x' || hex_digit(s[2]) < 0) return NULL;
  digits d = {0};
  s = read_digits(s + 2, end, false, &d);
  if (s < end && *s == '.') {
    const char *point = s;
    s = read_digits(s + 1, end, true, &d);
    if (s == point + 1) return NULL;
  }
  if (s == end || *s != 'p') return NULL;
  s = read_exponent(s + 1, end, &d.exponent);
  double x;
  if (!s || !exact(d, &x)) return NULL;
  *out = negative ? -x : x;
  return s;
}
