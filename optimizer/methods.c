/* The table of methods. */
#include <string.h>

#include "optimizer/spo.h"

const spo_method spo_methods[] = {
    {"magnitude", spo_magnitude, "one shot: keeps the weights or blocks of largest L2 norm"},
    {NULL, NULL, NULL},
};

const spo_method *spo_method_find(const char *name) {
  for (const spo_method *m = spo_methods; m->name; m++)
    if (strcmp(m->name, name) == 0) return m;
  return NULL;
}
