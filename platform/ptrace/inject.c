/* Making stub threads execute system calls, and taking hold of them for that. */
#include "platform/ptrace/ptrace.h"

#include "platform/ptrace/arch/image.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define YIELDS        1
#define SEIZE_OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)

uint64_t ptrace_code_addr(const struct ptrace_platform *p, const char *sym)
{
    return PLATFORM_STUB_BASE + (uint64_t)(sym - ptrace_image_start);
}

static long do_ptrace(int request, pid_t tid, void *addr, void *data)
{
    return ptrace((enum __ptrace_request)request, tid, addr, data) < 0 ? -errno : 0;
}

int ptrace_wait(pid_t tid)
{
    int status;

    for (int i = 0; i < YIELDS; i++) {
        pid_t got;

        sched_yield();
        got = waitpid(tid, &status, __WALL | WNOHANG);
        if (got == tid)
            return status;
    }
    while (waitpid(tid, &status, __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    return status;
}

int ptrace_inject(pid_t tid, long nr, const uint64_t args[6], int64_t *result)
{
    struct user_regs_struct regs = {
        .rip = PLATFORM_STUB_BASE + (uint64_t)(ptrace_image_call - ptrace_image_start),
        .rax = (uint64_t)nr,
        .orig_rax = (uint64_t)-1,
        .rdi = args[0],
        .rsi = args[1],
        .rdx = args[2],
        .r10 = args[3],
        .r8 = args[4],
        .r9 = args[5],
        .cs = 0x33,
        .ss = 0x2b,
        .eflags = 0x202,
    };
    int status;

    if (do_ptrace(PTRACE_SETREGS, tid, NULL, &regs))
        return -ESRCH;
    for (;;) {
        if (do_ptrace(PTRACE_CONT, tid, NULL, NULL))
            return -ESRCH;
        status = ptrace_wait(tid);
        if (status < 0 || !WIFSTOPPED(status))
            return -ESRCH;
        /* A kick or another signal from outside may come first; it is dropped, and the call restarts by itself. */
        if (status >> 8 == SIGTRAP)
            break;
        if (status >> 16 == PTRACE_EVENT_CLONE)
            break;
    }
    if (do_ptrace(PTRACE_GETREGS, tid, NULL, &regs))
        return -ESRCH;
    *result = (int64_t)regs.rax;
    return 0;
}

static void leader_to_idle(pid_t pid)
{
    struct user_regs_struct regs = {
        .rip = PLATFORM_STUB_BASE + (uint64_t)(ptrace_image_idle - ptrace_image_start),
        .orig_rax = (uint64_t)-1,
        .cs = 0x33,
        .ss = 0x2b,
        .eflags = 0x202,
    };

    do_ptrace(PTRACE_SETREGS, pid, NULL, &regs);
}

int ptrace_leader_attach(pid_t pid)
{
    int status;

    if (do_ptrace(PTRACE_SEIZE, pid, NULL, (void *)SEIZE_OPTIONS) || do_ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
        return errno == EPERM ? -EPERM : -ESRCH;
    for (;;) {
        status = ptrace_wait(pid);
        if (status < 0 || !WIFSTOPPED(status))
            return -ESRCH;
        if (status >> 16 == PTRACE_EVENT_STOP)
            return 0;
        do_ptrace(PTRACE_CONT, pid, NULL, NULL);
    }
}

void ptrace_leader_detach(pid_t pid)
{
    leader_to_idle(pid);
    do_ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

pid_t ptrace_leader_clone(pid_t pid, uint64_t flags)
{
    const uint64_t args[6] = {flags};
    unsigned long child = 0;
    int64_t result;
    int r, status;

    r = ptrace_inject(pid, SYS_clone, args, &result);
    if (r)
        return r;
    /* The event stop comes before the call returns; a failed call gets to the breakpoint with its error. */
    if (do_ptrace(PTRACE_GETEVENTMSG, pid, NULL, &child) || child == 0)
        return result < 0 ? (pid_t)result : -EAGAIN;
    status = ptrace_wait((pid_t)child);
    if (status < 0 || !WIFSTOPPED(status))
        return -ESRCH;
    return (pid_t)child;
}
