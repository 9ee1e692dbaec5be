/* --targets and --ignore: which of the named weights a command works on. */
#ifndef SPCC_DRIVER_TARGETS_H
#define SPCC_DRIVER_TARGETS_H

#include "driver/driver.h"

/* Marks in chosen[count] the names that --targets lists (all without it) and --ignore does not.
 * An item is a pattern of names (frontend/match.h); commas outside brackets separate items. An item
 * that matches nothing is an error of the model `file`. Returns the exit code. */
int targets_choose(driver *dr, const char *file, const char *const *names, size_t count,
                   bool *chosen);
/* Sets mark[count] where one item, which is a value of `flag`, matches. */
int target_mark(driver *dr, enum flag flag, const char *file, const char *item,
                const char *const *names, size_t count, bool *mark);

#endif
