/* See safe_access.h: the signal handler. */
#include "sentry/mm/safe_access.h"

#include "lib/crash.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

extern char safe_access_begin[], safe_access_end[], safe_access_fault[];

static void on_fault(int signo, siginfo_t *info, void *ctx)
{
    greg_t *rip = &((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];

    if ((uintptr_t)*rip >= (uintptr_t)safe_access_begin && (uintptr_t)*rip < (uintptr_t)safe_access_end) {
        *rip = (greg_t)(uintptr_t)safe_access_fault;
        return;
    }
    crash_report(signo, info, ctx);
    signal(signo, SIG_DFL); /* it happens again, and kills us with the right core */
}

int safe_access_init(void)
{
    struct sigaction sa;

    memset(&sa, 0, sizeof(sa));
    sa.sa_sigaction = on_fault;
    sa.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    if (sigaction(SIGSEGV, &sa, NULL) < 0 || sigaction(SIGBUS, &sa, NULL) < 0)
        return -errno;
    return 0;
}
