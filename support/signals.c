#include "support/signals.h"

#include <stddef.h>

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

void signals_hold(sigset_t *old) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
    sigaddset(&set, ending[i]);
  pthread_sigmask(SIG_BLOCK, &set, old);
}

void signals_release(const sigset_t *old) {
  pthread_sigmask(SIG_SETMASK, old, NULL);
}
