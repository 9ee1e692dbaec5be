/* What training methods share: a state's head, and the table of their hooks. */
#ifndef SPO_TRAIN_INTERNAL_H
#define SPO_TRAIN_INTERNAL_H

#include "optimizer/internal.h"
#include "optimizer/spo_train.h"
#include "optimizer/update.h"

typedef struct spo_training spo_training;

struct spo_context {
  spo_recipe recipe;
  char *name;
  size_t rows, cols, count;
  uint64_t recipe_hash;
  uint32_t stream; /* of random numbers */
  const spo_training *method;
};

enum { SPO_STATE_MAGIC = 0x534f5053 /* "SPOS" */, SPO_STATE_VERSION = 1 };

/* The first 128 bytes of a state, little-endian; the method's payload follows. */
typedef struct spo_head {
  uint32_t magic, version, method, stream;
  uint64_t rows, cols, recipe;
  spo_progress progress;
  double scale; /* SPARSE_OPTIMIZER: epsilon of the reweighting */
  uint64_t reserved[2];
} spo_head;
_Static_assert(sizeof(spo_head) == 128, "a state's head has a fixed layout");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "states are little-endian");

/* A call in work. */
typedef struct spo_call {
  const spo_context *context;
  spo_head *head;
  void *payload;
  const spo_tensors *t;
  const spo_optimizer *optimizer; /* of step and after */
  spo_rates rates;                /* of step and after */
  const spo_pool *pool;
  spo_error *error;
} spo_call;

typedef spo_status spo_hook(const spo_call *c);

struct spo_training {
  size_t (*payload)(const spo_context *c); /* bytes after the head; first a bit per weight: mask */
  bool masked; /* the payload begins with a bit per weight: 0 are dropped from spo_begin on */
  spo_hook *begin;
  spo_hook *grad;
  spo_hook *step; /* NULL: the optimizer's update, then `after` */
  spo_hook *after;
  bool (*due)(const spo_call *c); /* this step has an `after`; NULL: each has */
  spo_hook *epoch;
  spo_hook *settle; /* before the mask is frozen: brings w and mask to the recipe's goal */
  spo_hook *check;  /* of a loaded payload */
};

extern const spo_training spo_sparse_optimizer, spo_nxm, spo_dynamic, spo_gradual,
    spo_gradual_recover, spo_asp, spo_srste, spo_rigl;

/* ---- masks of bits, in states ---- */
static inline size_t spo_bit_bytes(size_t count) {
  return (count / 8 + (count % 8 != 0) + 7) / 8 * 8; /* what follows stays aligned */
}
static inline bool spo_bit(const unsigned char *bits, size_t i) {
  return bits[i / 8] >> i % 8 & 1;
}
/* Bytes of 0 and 1 become bits, and the other way. The bits after the last are 0. */
void spo_bits_pack(unsigned char *bits, const unsigned char *bytes, size_t count);
void spo_bits_unpack(unsigned char *bytes, const unsigned char *bits, size_t count);
/* False when a bit after the last is set. */
bool spo_bits_clean(const unsigned char *bits, size_t count);

/* The payload of methods that keep a mask and nothing else. */
size_t spo_mask_payload(const spo_context *c);

/* ---- steps that methods share ---- */
/* Updates done when this call's update is done. */
static inline uint64_t spo_step_of(const spo_call *c) {
  return c->head->progress.step + 1;
}
/* The step at which so much of the training is done. */
uint64_t spo_share_of(const spo_context *c, double share);
/* The sparsity to be reached after `step` updates, cubic from begin to end. */
double spo_sparsity_at(const spo_context *c, uint64_t step, uint64_t every);

/* The mask of |score| for the recipe's pattern at this sparsity, or at the recipe's own where that
 * is lower (so 1 stands for the end), as bytes in mask. */
spo_status spo_call_project(const spo_call *c, double sparsity, const float *score,
                            unsigned char *mask);
/* The same at once into bits, through a mask that is allocated and freed. */
spo_status spo_call_mask(const spo_call *c, double sparsity, const float *score,
                         unsigned char *bits);
/* SPO_E_NONFINITE when one of x[count] is not finite; `what` is its name. */
spo_status spo_call_finite(const spo_call *c, const float *x, const char *what);
/* SPO_E_MEMORY. */
spo_status spo_call_no_memory(const spo_call *c);
/* The sum of square(arg, i) over blocks of SPO_GRAIN, in order. SPO_E_MEMORY. */
typedef double spo_block_sum(const void *arg, size_t from, size_t to);
spo_status spo_call_sum(const spo_call *c, spo_block_sum *sum, const void *arg, double *out);

#endif
