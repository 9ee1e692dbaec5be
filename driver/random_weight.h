/* Random weights with an exact number of non-zeros, to measure and estimate with. */
#ifndef SPCC_DRIVER_RANDOM_WEIGHT_H
#define SPCC_DRIVER_RANDOM_WEIGHT_H

#include "driver/driver.h"
#include "optimizer/spo.h"

/* The error of a status of libspo. */
enum err sparsify_error(spo_status status);

/* [rows, cols] of random numbers, zeros where the goal drops a random unit, none elsewhere. `name`
 * is the weight's, for messages at `loc`. NULL after an error. */
const float *random_weight(driver *dr, src_loc loc, const char *name, const spo_goal *goal,
                           size_t rows, size_t cols, uint64_t seed);

#endif
