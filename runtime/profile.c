#include <stdlib.h>
#include <time.h>

#include "runtime/spcc_rt.h"

typedef struct step_time {
  uint64_t ns, calls, entered;
} step_time;

struct spcc_profile {
  spcc_exec exec;
  const spcc_exec *inner;
  uint32_t steps;
  step_time step[];
};

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void forward(const spcc_exec *exec, uint32_t n, void (*task)(void *arg, uint32_t i),
                    void *arg) {
  const spcc_profile *p = exec->context;
  if (p->inner) {
    p->inner->parallel_for(p->inner, n, task, arg);
    return;
  }
  for (uint32_t i = 0; i < n; i++)
    task(arg, i);
}

static void measure(const spcc_exec *exec, uint32_t step, uint32_t enter) {
  spcc_profile *p = exec->context;
  if (p->inner && p->inner->hook) p->inner->hook(p->inner, step, enter);
  if (step >= p->steps) return;
  step_time *t = &p->step[step];
  if (enter) {
    t->entered = now_ns();
    return;
  }
  t->ns += now_ns() - t->entered;
  t->calls++;
}

spcc_profile *spcc_profile_new(const spcc_info *info, const spcc_exec *exec) {
  if (!info) return NULL;
  spcc_profile *p = calloc(1, sizeof *p + info->step_count * sizeof p->step[0]);
  if (!p) return NULL;
  p->inner = exec;
  p->steps = info->step_count;
  p->exec = (spcc_exec){.size = sizeof p->exec,
                        .threads = exec ? exec->threads : 1,
                        .parallel_for = forward,
                        .context = p,
                        .hook = measure};
  return p;
}

const spcc_exec *spcc_profile_exec(spcc_profile *profile) {
  return &profile->exec;
}

void spcc_profile_step(const spcc_profile *profile, uint32_t step, uint64_t *ns, uint64_t *calls) {
  const step_time *t = step < profile->steps ? &profile->step[step] : NULL;
  *ns = t ? t->ns : 0;
  *calls = t ? t->calls : 0;
}

void spcc_profile_free(spcc_profile *profile) {
  free(profile);
}
