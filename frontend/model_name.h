/* The name of a model that gives none. */
#ifndef SPCC_FRONTEND_MODEL_NAME_H
#define SPCC_FRONTEND_MODEL_NAME_H

#include "frontend/frontend.h"

/* The base name of `path` without its suffix, made a name that model_name_ok accepts: other
 * characters become '_', and "m_" goes before what is reserved. */
const char *model_name_from_path(arena *a, const char *path);

#endif
