/* The constants of the cost model in files, and measuring them. */
#ifndef SPCC_DRIVER_COSTS_H
#define SPCC_DRIVER_COSTS_H

#include "driver/driver.h"
#include "passes/passes.h"

typedef struct machine_costs {
  cost_table table[ISA_COUNT];
  bool known[ISA_COUNT]; /* the table holds measured constants, not the shipped ones */
} machine_costs;

/* Reads a file that costs_format wrote; levels that it leaves out keep the shipped constants. */
bool costs_read(driver *dr, const char *path, machine_costs *out);
/* The text of a file: a line `LEVEL.ROW NUMBER` per constant of the known levels. */
const char *costs_format(arena *a, const machine_costs *costs);
/* Measures the level's constants on this machine. */
bool costs_measure(driver *dr, enum isa_level level, cost_table *out);

/* spcc cpu --calibrate; returns the exit code. */
int cpu_calibrate(driver *dr);
/* The file of --calibration; without the flag, or for the word `cached`, the one in the user's
 * cache. NULL after an error. */
const char *costs_path(driver *dr);
/* The file `name` in the user's cache: $XDG_CACHE_HOME/spcc or ~/.cache/spcc, whose folders are
 * made. NULL, with an error, when neither variable is set. */
const char *cache_path(driver *dr, const char *name);

#endif
