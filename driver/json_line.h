/* One JSON object as a line of standard output. */
#ifndef SPCC_DRIVER_JSON_LINE_H
#define SPCC_DRIVER_JSON_LINE_H

#include <jansson.h>

#include "driver/driver.h"

/* Prints and releases `object`; NULL (jansson is out of memory, or a string is not UTF-8) is an
 * error. Keys keep their order. */
bool json_line(driver *dr, json_t *object);

#endif
