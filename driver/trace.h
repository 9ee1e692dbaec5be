/* A recorded call in the Trace Event Format that chrome://tracing and ui.perfetto.dev show. */
#ifndef SPCC_DRIVER_TRACE_H
#define SPCC_DRIVER_TRACE_H

#include "driver/recorder.h"
#include "support/file.h"

/* The JSON text: a lane for the steps and, on several threads, one per thread. False after an
 * error. */
bool trace_format(driver *dr, const recorder *r, const recording *call, const spcc_info *info,
                  bytes *out);
/* "linear", "attention" …: the word for a spcc_step_kind. */
const char *step_kind_name(uint32_t kind);

#endif
