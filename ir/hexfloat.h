/* Hexadecimal floats of the IR's text: exact, canonical, independent of the locale. */
#ifndef SPCC_IR_HEXFLOAT_H
#define SPCC_IR_HEXFLOAT_H

#include <stdbool.h>

enum { HEXFLOAT_MAX = 32 };

/* Writes the one spelling of `x`, such as "-0x1.8p-3" or "0x0p+0", into text[HEXFLOAT_MAX] and
 * returns it; "nan" and "inf", which hexfloat_read refuses, for what is not finite. */
char *hexfloat_print(double x, char *text);

/* Reads [-]0x<hex digits>[.<hex digits>]p[+-]<decimal digits> at `s`, before `end`, and returns
 * what follows; NULL when there is no such number or a double cannot hold it exactly. */
const char *hexfloat_read(const char *s, const char *end, double *out);

#endif
