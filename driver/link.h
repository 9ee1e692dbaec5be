/* Shared objects, by the system's C compiler driver. */
#ifndef SPCC_DRIVER_LINK_H
#define SPCC_DRIVER_LINK_H

#include "driver/driver.h"
#include "support/file.h"

/* Links `object` into a shared object, in memory. E_TOOL when `cc` is missing or fails. */
bool link_shared(driver *dr, bytes object, bytes *shared);

#endif
