#include "sentry/host/filter.h"

#include "lib/hostproc.h"
#include "lib/log.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "filter_programs.h"

static void on_forbidden_call(int signo, siginfo_t *info, void *ctx)
{
    const greg_t *r = ((ucontext_t *)ctx)->uc_mcontext.gregs;
    char text[256];
    int n;

    n = snprintf(text, sizeof(text), "runsc-c: forbidden host system call %d(%#llx, %#llx, %#llx, %#llx, %#llx, %#llx) at %p\n",
                 info->si_syscall, (unsigned long long)r[REG_RDI], (unsigned long long)r[REG_RSI],
                 (unsigned long long)r[REG_RDX], (unsigned long long)r[REG_R10], (unsigned long long)r[REG_R8],
                 (unsigned long long)r[REG_R9], info->si_call_addr);
    log_warn("%.*s", n - 1, text);
    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        _exit(128 + signo);
    _exit(128 + signo);
}

/* What stands for a number that is known by now only: 1: has been replaced; 0: nothing there; -errno. */
static int fill_in(struct sock_filter *insn, const int *connectable)
{
    int fd;

    if (BPF_CLASS(insn->code) != BPF_JMP)
        return 0;
    if (insn->k == FILTER_SELF_FD)
        fd = hostproc_self_fd();
    else if (insn->k >= FILTER_CONNECTABLE_FD && insn->k < FILTER_CONNECTABLE_FD + FILTER_CONNECTABLE)
        fd = connectable ? connectable[insn->k - FILTER_CONNECTABLE_FD] : INT_MAX;
    else
        return 0;
    if (fd < 0)
        return fd;
    insn->k = (uint32_t)fd;
    return 1;
}

int host_filter_install(const char *platform, bool host_network, const int connectable[FILTER_CONNECTABLE])
{
    struct sigaction sa = {.sa_sigaction = on_forbidden_call, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    /*
     * All threads at once. Without the defence against speculative store bypass that older kernels force on whoever has a
     * filter: under them, guests' code runs in other processes.
     */
    unsigned int flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;

    if (sigaction(SIGSYS, &sa, NULL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_SIZE(filter_programs); i++) {
        struct sock_filter insns[BPF_MAXINSNS];
        struct sock_fprog prog = {.len = filter_programs[i].len, .filter = insns};
        long r;

        if (strcmp(filter_programs[i].platform, platform) != 0 || filter_programs[i].host_network != host_network)
            continue;
        memcpy(insns, filter_programs[i].insns, prog.len * sizeof(*insns));
        for (unsigned short k = 0; k < prog.len; k++)
            if ((r = fill_in(&insns[k], connectable)) < 0)
                return (int)r;
        r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
        return r < 0 ? -errno : r > 0 ? -ESRCH : 0;
    }
    return -EINVAL;
}
