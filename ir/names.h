/* A table from names to ids. */
#ifndef SPCC_IR_NAMES_H
#define SPCC_IR_NAMES_H

#include "ir/ir.h"

typedef struct names names;

names *names_new(arena *a);
/* The id under `name`, or IR_NONE. */
ir_id names_find(const names *n, const char *name);
/* Adds a name that must outlive the table. Returns IR_NONE, or, changing nothing, the id that the
 * name has already. */
ir_id names_add(names *n, const char *name, ir_id id);

#endif
