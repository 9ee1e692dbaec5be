/* --impose: what if these weights were sparse? */
#ifndef SPCC_DRIVER_IMPOSE_H
#define SPCC_DRIVER_IMPOSE_H

#include "driver/model.h"

/* Replaces the weights of linears that an `--impose=TARGET=PATTERN[@SPARSITY]` matches by random
 * ones of the pattern; the last match of a weight counts. Returns the exit code. */
int impose_weights(driver *dr, const char *path, ir_graph *g);

#endif
