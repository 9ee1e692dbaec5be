/* Dense weights behind masked ones: the model computes with w, and the optimizer's updates go to
 * the weights in the state, so that a dropped weight may return. */
#ifndef SPO_SHADOW_H
#define SPO_SHADOW_H

#include "optimizer/train.h"

/* Mask and dense weights. */
size_t spo_shadow_payload(const spo_context *c);
float *spo_shadow_of(const spo_call *c);
/* The dense weights are w as it is. */
void spo_shadow_begin(const spo_call *c);
/* One update of the dense weights, then `show`, which sets the mask and calls spo_shadow_show.
 * SPO_E_NONFINITE, and nothing changed, when the gradient is not finite. */
spo_status spo_shadow_step(const spo_call *c, spo_hook *show);
/* The same where another optimizer has updated w: what it did is done to the dense weights. Nothing
 * has changed when w is not finite. */
spo_status spo_shadow_after(const spo_call *c, spo_hook *show);
/* w becomes what the mask keeps. */
void spo_shadow_show(const spo_call *c);
spo_hook spo_shadow_check;

#endif
