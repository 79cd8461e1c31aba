/* Making siginfo, and which signals do what by default. */
#include "sentry/kernel/signal.h"

#include "sentry/kernel/task_internal.h"

#include <string.h>

#define BITS4(a, b, c, d) (1ULL << ((a)-1) | 1ULL << ((b)-1) | 1ULL << ((c)-1) | 1ULL << ((d)-1))

static const ksigset kernel_only = 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1);
static const ksigset stops = BITS4(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU);
static const ksigset ignored = BITS4(SIGCONT, SIGCHLD, SIGWINCH, SIGURG);
static const ksigset dumps = BITS4(SIGQUIT, SIGILL, SIGTRAP, SIGABRT) | BITS4(SIGFPE, SIGSEGV, SIGBUS, SIGSYS) |
                             1ULL << (SIGXCPU - 1) | 1ULL << (SIGXFSZ - 1);

bool signal_kernel_only(int signo)
{
    return kernel_only & ksig_bit(signo);
}

bool signal_stops_by_default(int signo)
{
    return stops & ksig_bit(signo);
}

bool signal_ignored_by_default(int signo)
{
    return ignored & ksig_bit(signo);
}

bool signal_dumps_core(int signo)
{
    return dumps & ksig_bit(signo);
}

void siginfo_kernel(ksiginfo *info, int signo, int code)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = signo;
    info->si_code = code;
}

void siginfo_fault(ksiginfo *info, int signo, int code, uint64_t addr)
{
    siginfo_kernel(info, signo, code);
    memcpy(&info->si_addr, &addr, sizeof(addr));
}

void siginfo_user(ksiginfo *info, int signo, int code, const struct task *sender)
{
    siginfo_kernel(info, signo, code);
    info->si_pid = sender->tg->tgid;
    info->si_uid = sender->cred->uid;
}
