/* config.json of a Hugging Face folder. */
#ifndef SPCC_FRONTEND_CONFIG_H
#define SPCC_FRONTEND_CONFIG_H

#include "ir/ir.h"

typedef struct hf_config {
#define CONFIG_INT(key, least, most, doc) int64_t key;
#define CONFIG_ONLY(key, value, doc)
#define CONFIG_OTHER(key, doc)
#include "frontend/config.def"
#undef CONFIG_INT
#undef CONFIG_ONLY
#undef CONFIG_OTHER
  double layer_norm_eps;
  enum ir_act hidden_act;   /* ACT_GELU, ACT_GELU_TANH or ACT_RELU */
  const char *architecture; /* the first of architectures; "" when there is none */
  const char *shown;        /* path of the file, for messages */
} hf_config;

/* Reads and checks dir/config.json; false after errors (all of them are in `d`). */
bool config_read(arena *a, diag *d, const char *dir, hf_config *out);

/* Name and doc of each key that is read, for the documentation's test; ended by a NULL name. */
typedef struct hf_config_key {
  const char *name, *doc;
} hf_config_key;
const hf_config_key *config_keys(void);

#endif
