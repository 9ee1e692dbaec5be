/* Writing the outputs of a command: all of them or, as far as the system allows, none. */
#ifndef SPCC_DRIVER_OUTPUT_H
#define SPCC_DRIVER_OUTPUT_H

#include "driver/driver.h"
#include "support/file.h"

typedef struct output {
  const char *path;
  bytes data;
} output;

/* Refuses, before any work is done, paths that are also inputs or that name one file twice
 * (E_SAME), or that cannot be written (E_OPEN). Writes nothing, and opens no device or FIFO. */
bool outputs_check(driver *dr, const output *list, size_t count, const char *const *inputs,
                   size_t input_count);
/* Writes all. Devices and FIFOs come first: they may wait for a reader, and a signal ends that.
 * Each file gets its name only when the bytes of all are on the disk, in the order of the list;
 * signals that would end the process wait until then. */
bool outputs_write(driver *dr, const output *list, size_t count);
/* Removes what a write in progress has left; for an exit out of its midst. */
void outputs_abandon(driver *dr);

/* True for an existing path that is no regular file, such as /dev/null. */
bool path_is_device(const char *path);
/* `path` with its suffix replaced when that is one of `suffixes` (ended by NULL), else with `to`
 * appended. */
char *path_with_suffix(arena *a, const char *path, const char *const *suffixes, const char *to);

#endif
