/* What a long pruning has done so far, in a folder: after an interruption the same command goes on
 * from there. */
#ifndef SPCC_DRIVER_PARTIAL_H
#define SPCC_DRIVER_PARTIAL_H

#include "driver/pruning.h"

typedef struct partial partial;

/* Opens the folder, or makes it. What a call for anything else left there stays until the first
 * partial_save. `folder` NULL: nothing is kept. The list has all weights of the call. NULL after an
 * error. */
partial *partial_open(driver *dr, const char *folder, const model_source *m,
                      const prune_weight *list, size_t count, const token_set *set);
/* Fills in what the folder has of the weights `list` of one layer; *ready tells whether it has. */
bool partial_load(const partial *p, driver *dr, prune_weight *list, size_t count, bool *ready);
bool partial_save(partial *p, driver *dr, const prune_weight *list, size_t count);
/* Removes the folder if it was made for nothing. NULL is fine. */
void partial_close(const partial *p);
/* Removes the folder and what is ours in it. */
void partial_remove(driver *dr, const char *folder);

#endif
