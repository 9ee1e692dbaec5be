/* Schedules: pure functions of the step, so that a run can stop and go on anywhere. */
#include <math.h>

#include "optimizer/spo.h"

/* The last step at or before `step` at which the value changes. */
static uint64_t held(const spo_schedule *s, uint64_t step) {
  if (step >= s->end || s->every <= 1) return step;
  return s->begin + (step - s->begin) / s->every * s->every;
}

double spo_schedule_at(const spo_schedule *s, uint64_t step) {
  if (step < s->begin) return s->from;
  if (step >= s->end) return s->to;
  double x = (double)(held(s, step) - s->begin) / (double)(s->end - s->begin);
  switch (s->curve) {
  case SPO_CONSTANT:
    return s->to;
  case SPO_LINEAR:
    return s->from + (s->to - s->from) * x;
  case SPO_CUBIC: /* Zhu and Gupta, 2017 */
    return s->to + (s->from - s->to) * (1 - x) * (1 - x) * (1 - x);
  case SPO_COSINE:
    return s->to + (s->from - s->to) * 0.5 * (1 + cos(M_PI * x));
  }
  return s->to;
}

bool spo_schedule_due(const spo_schedule *s, uint64_t step) {
  if (step < s->begin || step > s->end) return false;
  return step == s->end || s->every <= 1 || (step - s->begin) % s->every == 0;
}
