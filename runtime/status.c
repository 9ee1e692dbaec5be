#include "runtime/spcc_rt.h"

static const char *const texts[SPCC_STATUS_COUNT] = {
    [SPCC_OK] = "ok",
    [SPCC_E_NULL] = "a required pointer is NULL",
    [SPCC_E_ALIGN] = "a buffer is not aligned",
    [SPCC_E_SIZE] = "a buffer is too small",
    [SPCC_E_DIM] = "batch, sequence or a length is out of range",
    [SPCC_E_INDEX] = "a token or type id is outside its table",
    [SPCC_E_DIGEST] = "the header or the weights belong to another model",
    [SPCC_E_ABI] = "the call was built for another version of the interface",
    [SPCC_E_CPU] = "this CPU lacks instructions that the model was compiled for",
    [SPCC_E_THREADS] = "the executor has no threads or no parallel_for",
    [SPCC_E_ALIAS] = "the workspace or an output overlaps another buffer",
    [SPCC_E_MEMORY] = "out of memory or threads",
};

const char *spcc_status_text(spcc_status status) {
  unsigned at = (unsigned)status;
  return at < SPCC_STATUS_COUNT && texts[at] ? texts[at] : "unknown status";
}
