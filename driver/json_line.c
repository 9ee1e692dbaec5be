#include "driver/json_line.h"

#include <stdio.h>

bool json_line(driver *dr, json_t *object) {
  bool ok = object && json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
  json_decref(object);
  if (ok) putchar('\n');
  return ok || diag_error(dr->diag, loc_file(NULL), E_WRITE, "cannot write JSON");
}
