/* Shared by the checks of the IR: inference and the verifier. Not for other folders. */
#ifndef SPCC_IR_CHECK_H
#define SPCC_IR_CHECK_H

#include "ir/ir.h"

typedef struct ir_check {
  const ir_graph *g;
  diag *d;          /* NULL: errors are not recorded */
  const char *when; /* the pass before, for messages; NULL: the graph is as it was read */
} ir_check;

/* Records an error about `v` (NULL: the graph), such as "after fold: linear 'h': …"; false. */
bool ir_fail(const ir_check *c, const ir_value *v, enum err code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The type of the op `v` from its operands and attributes; false after an error. Safe for any
 * content of `v` and of the types of its operands. */
bool ir_infer_type(const ir_check *c, const ir_value *v, ir_type *out);

/* Checks the parts of the op `v`, whose operands and type are right; owner[] has a byte for every
 * element of its weight. */
bool ir_check_parts(const ir_check *c, const ir_value *v, unsigned char *owner);
/* Checks the slots and which values live in them; the graph is right otherwise. */
void ir_check_plan(const ir_check *c);

#endif
