/* Moments that a signal must not end: those in which a file has a name that is not its own. */
#ifndef SPCC_SUPPORT_SIGNALS_H
#define SPCC_SUPPORT_SIGNALS_H

#include <signal.h>

/* Holds back, on this thread, the signals that end a process by default and come from outside.
 * *old is what signals_release takes. */
void signals_hold(sigset_t *old);
/* Ends the moment; a signal that came meanwhile arrives. Moments may lie within one another. */
void signals_release(const sigset_t *old);

#endif
