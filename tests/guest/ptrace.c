/* ptrace: stops, registers, memory, events. */
#include "tests/guest/guest_test.h"

#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

static volatile long variable = 11;

static pid_t traced(void (*fn)(void))
{
    pid_t pid = fork();

    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        fn();
        _exit(0);
    }
    return pid;
}

static int wait_stop(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, __WALL) != pid)
        return -1;
    return WIFSTOPPED(status) ? status >> 8 : 0x10000 | status;
}

static void finish(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) == pid && kill(pid, 0) == 0)
        ;
}

static void call_getppid(void)
{
    syscall(SYS_getppid);
    _exit((int)variable);
}

TEST(memory_and_registers_of_a_tracee)
{
    pid_t pid = traced(call_getppid);
    struct user_regs_struct regs, again;

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_EQ(ptrace(PTRACE_PEEKDATA, pid, &variable, 0), 11);
    CHECK_OK(ptrace(PTRACE_POKEDATA, pid, &variable, 77));
    CHECK_EQ(variable, 11);
    CHECK_OK(ptrace(PTRACE_GETREGS, pid, 0, &regs));
    CHECK_EQ(regs.cs, 0x33);
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0), (long)regs.rip);
    regs.r15 = 0x1234;
    CHECK_OK(ptrace(PTRACE_SETREGS, pid, 0, &regs));
    CHECK_OK(ptrace(PTRACE_GETREGS, pid, 0, &again));
    CHECK_EQ(again.r15, 0x1234);
    struct iovec iov = {.iov_base = &again, .iov_len = sizeof(again)};
    CHECK_OK(ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &iov));
    CHECK_EQ(iov.iov_len, sizeof(again));
    CHECK_ERR(ptrace(PTRACE_PEEKDATA, pid, 8, 0), EIO);
    CHECK_ERR(ptrace(PTRACE_GETREGS, pid, 0, 8), EFAULT);
    CHECK_ERR(ptrace(9999, pid, 0, 0), EIO);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), 0x10000 | 77 << 8);
}

/* Debuggers write them in every thread. Whether any can be enabled is the machine's affair. */
TEST(debug_registers)
{
    pid_t pid = traced(call_getppid);
    size_t at = offsetof(struct user, u_debugreg);

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    for (size_t n = 0; n < 8; n++) {
        errno = 0;
        CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, at + n * 8, 0), n == 6 ? 0xffff0ff0 : 0);
        CHECK_EQ(errno, 0);
    }
    CHECK_OK(ptrace(PTRACE_POKEUSER, pid, at + 7 * 8, 0));
    CHECK_OK(ptrace(PTRACE_POKEUSER, pid, at + 6 * 8, 0));
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, at + 6 * 8, 0), 0);
    CHECK_ERR(ptrace(PTRACE_POKEUSER, pid, at + 4 * 8, 0), EIO);
    CHECK_ERR(ptrace(PTRACE_POKEUSER, pid, at + 5 * 8, 0), EIO);
    if (ptrace(PTRACE_POKEUSER, pid, at, &variable) == 0)
        CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, at, 0), (long)&variable);
    if (ptrace(PTRACE_POKEUSER, pid, at + 7 * 8, 1) < 0)
        CHECK_EQ(errno, ENOSPC);
    CHECK_ERR(ptrace(PTRACE_POKEUSER, pid, at + 8 * 8, 0), EIO);
    finish(pid);
}

TEST(read_only_text_can_be_patched)
{
    pid_t pid = traced(call_getppid);

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    errno = 0;
    long word = ptrace(PTRACE_PEEKTEXT, pid, (void *)call_getppid, 0);
    CHECK_EQ(errno, 0);
    CHECK_OK(ptrace(PTRACE_POKETEXT, pid, (void *)call_getppid, (word & ~0xffL) | 0xcc));
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGTRAP);
    CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0), (long)call_getppid + 1);
    CHECK_OK(ptrace(PTRACE_POKETEXT, pid, (void *)call_getppid, word));
    CHECK_OK(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), (void *)call_getppid));
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), 0x10000 | 11 << 8);
}

TEST(system_calls_are_seen_and_can_be_changed)
{
    pid_t pid = traced(call_getppid);
    int seen = 0;

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD));
    CHECK_OK(ptrace(PTRACE_SYSCALL, pid, 0, 0));
    for (;;) {
        int stop = wait_stop(pid);
        if (stop & 0x10000) {
            CHECK_EQ(stop, 0x10000 | 55 << 8);
            break;
        }
        CHECK_EQ(stop, SIGTRAP | 0x80);
        long nr = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.orig_rax), 0);
        if (nr == SYS_getppid) {
            seen++;
            if (seen == 1)
                CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rax), 0), -ENOSYS);
            else
                CHECK_EQ(ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rax), 0), getpid());
        }
        if (nr == SYS_exit_group)
            CHECK_OK(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rdi), 55));
        CHECK_OK(ptrace(PTRACE_SYSCALL, pid, 0, 0));
    }
    CHECK_EQ(seen, 2);
}

static void steps(void)
{
    __asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
    _exit(5);
}

TEST(single_steps)
{
    pid_t pid = traced(steps);
    long last, now;

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    last = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0);
    for (int i = 0; i < 20; i++) {
        CHECK_OK(ptrace(PTRACE_SINGLESTEP, pid, 0, 0));
        CHECK_EQ(wait_stop(pid), SIGTRAP);
        now = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0);
        CHECK(now != last);
        last = now;
    }
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), 0x10000 | 5 << 8);
}

static void raise_usr1(void)
{
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    raise(SIGUSR2);
}

TEST(signals_pass_through_the_tracer)
{
    pid_t pid = traced(raise_usr1);
    siginfo_t si;

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGUSR1); /* even though it is ignored */
    CHECK_OK(ptrace(PTRACE_GETSIGINFO, pid, 0, &si));
    CHECK_EQ(si.si_signo, SIGUSR1);
    CHECK_EQ(si.si_pid, pid);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, SIGUSR1));
    CHECK_EQ(wait_stop(pid), SIGUSR2);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, SIGTERM)); /* another one instead */
    CHECK_EQ(wait_stop(pid), 0x10000 | SIGTERM);
}

static pid_t spinner(void)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            variable++;
    return pid;
}

TEST(attach_and_detach)
{
    pid_t pid = spinner();
    int status;

    CHECK_ERR(ptrace(PTRACE_CONT, pid, 0, 0), ESRCH);
    CHECK_OK(ptrace(PTRACE_ATTACH, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_ERR(ptrace(PTRACE_ATTACH, pid, 0, 0), EPERM);
    CHECK_OK(ptrace(PTRACE_DETACH, pid, 0, 0));
    CHECK_ERR(ptrace(PTRACE_CONT, pid, 0, 0), ESRCH);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    finish(pid);
    CHECK_ERR(ptrace(PTRACE_ATTACH, 0x7ffffff, 0, 0), ESRCH);
    CHECK_ERR(ptrace(PTRACE_ATTACH, getpid(), 0, 0), EPERM);
}

TEST(seize_and_interrupt)
{
    pid_t pid = spinner();

    CHECK_OK(ptrace(PTRACE_SEIZE, pid, 0, 0));
    CHECK_OK(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGTRAP | PTRACE_EVENT_STOP << 8);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    /* A group stop is seen as such, and listened to. */
    kill(pid, SIGSTOP);
    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, SIGSTOP));
    CHECK_EQ(wait_stop(pid), SIGSTOP | PTRACE_EVENT_STOP << 8);
    CHECK_OK(ptrace(PTRACE_LISTEN, pid, 0, 0));
    kill(pid, SIGCONT);
    CHECK_EQ(wait_stop(pid), SIGTRAP | PTRACE_EVENT_STOP << 8);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGCONT);
    finish(pid);
}

static void make_child(void)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(3);
    waitpid(pid, &status, 0);
    _exit(WEXITSTATUS(status));
}

TEST(fork_and_exit_events)
{
    pid_t pid = traced(make_child);
    unsigned long child = 0, code = 0;

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXIT));
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGTRAP | PTRACE_EVENT_FORK << 8);
    CHECK_OK(ptrace(PTRACE_GETEVENTMSG, pid, 0, &child));
    CHECK_EQ(wait_stop((pid_t)child), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_OK(ptrace(PTRACE_CONT, (pid_t)child, 0, 0));
    CHECK_EQ(wait_stop((pid_t)child), SIGTRAP | PTRACE_EVENT_EXIT << 8);
    CHECK_OK(ptrace(PTRACE_GETEVENTMSG, (pid_t)child, 0, &code));
    CHECK_EQ(code, 3 << 8);
    CHECK_OK(ptrace(PTRACE_CONT, (pid_t)child, 0, 0));
    CHECK_EQ(wait_stop((pid_t)child), 0x10000 | 3 << 8);
    int stop = wait_stop(pid); /* SIGCHLD first */
    CHECK_EQ(stop, SIGCHLD);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, SIGCHLD));
    CHECK_EQ(wait_stop(pid), SIGTRAP | PTRACE_EVENT_EXIT << 8);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), 0x10000 | 3 << 8);
}

static void do_exec(void)
{
    execl("/proc/self/exe", "ptrace", "--quit", NULL);
}

TEST(exec_stops_with_sigtrap_or_an_event)
{
    pid_t pid = traced(do_exec);

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGTRAP);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), 0x10000 | 9 << 8);
    pid = traced(do_exec);
    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXEC));
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGTRAP | PTRACE_EVENT_EXEC << 8);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), 0x10000 | 9 << 8);
}

TEST(vector_registers)
{
    static unsigned char area[16384] __attribute__((aligned(64)));
    pid_t pid = spinner();
    struct user_fpregs_struct fp;
    struct iovec iov = {.iov_base = area, .iov_len = sizeof(area)};

    CHECK_OK(ptrace(PTRACE_ATTACH, pid, 0, 0));
    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_GETFPREGS, pid, 0, &fp));
    CHECK_EQ(fp.cwd, 0x37f);
    fp.xmm_space[0] = 0xabcdef;
    CHECK_OK(ptrace(PTRACE_SETFPREGS, pid, 0, &fp));
    CHECK_OK(ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &iov));
    CHECK(iov.iov_len >= 576 && iov.iov_len < sizeof(area));
    CHECK_EQ(*(unsigned int *)(area + 160), 0xabcdef);
    *(unsigned long *)(area + 520) = ~0UL; /* xcomp_bv */
    CHECK_ERR(ptrace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &iov), EINVAL);
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    finish(pid);
}

static void *thread_main(void *arg)
{
    for (int i = 0; i < 50; i++)
        sched_yield();
    return NULL;
}

static void make_threads(void)
{
    pthread_t th[3];

    for (int i = 0; i < 3; i++)
        pthread_create(&th[i], NULL, thread_main, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(th[i], NULL);
    _exit(4);
}

TEST(threads_are_followed)
{
    pid_t pid = traced(make_threads), p;
    int clones = 0, ended = 0, status;

    CHECK_EQ(wait_stop(pid), SIGSTOP);
    CHECK_OK(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL));
    CHECK_OK(ptrace(PTRACE_CONT, pid, 0, 0));
    while ((p = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFEXITED(status)) {
            ended++;
            if (p == pid)
                break;
            continue;
        }
        CHECK(WIFSTOPPED(status));
        int stop = status >> 8;
        if (stop == (SIGTRAP | PTRACE_EVENT_CLONE << 8))
            clones++;
        ptrace(PTRACE_CONT, p, 0, stop == SIGSTOP || stop >> 8 ? 0 : stop);
    }
    CHECK_EQ(p, pid);
    CHECK_EQ(WEXITSTATUS(status), 4);
    CHECK_EQ(clones, 3);
    CHECK_EQ(ended, 4);
}

TEST(the_end_of_the_tracer_frees_or_kills)
{
    pid_t pid = spinner(), killed = spinner(), tracer = fork();
    int status;

    if (tracer == 0) {
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_SEIZE, killed, 0, PTRACE_O_EXITKILL))
            _exit(1);
        ptrace(PTRACE_INTERRUPT, pid, 0, 0);
        waitpid(pid, NULL, __WALL);
        _exit(0);
    }
    CHECK_EQ(waitpid(tracer, &status, 0), tracer);
    CHECK_EQ(status, 0);
    CHECK_EQ(waitpid(killed, &status, 0), killed);
    CHECK_EQ(status, SIGKILL);
    CHECK_EQ(waitpid(pid, &status, WNOHANG), 0);
    finish(pid);
}

TEST(the_tracer_hears_of_the_end_before_the_parent)
{
    int fds[2], status;
    char c;

    CHECK_OK(pipe(fds));
    pid_t pid = fork();
    if (pid == 0) {
        if (read(fds[0], &c, 1) != 1)
            _exit(1);
        _exit(21);
    }
    pid_t tracer = fork();
    if (tracer == 0) {
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) || write(fds[1], "x", 1) != 1)
            _exit(1);
        usleep(30000);
        _exit(waitpid(pid, &status, __WALL) == pid && status == 21 << 8 ? 0 : 2);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 21 << 8);
    CHECK_EQ(waitpid(tracer, &status, 0), tracer);
    CHECK_EQ(status, 0);
    close(fds[0]);
    close(fds[1]);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--quit") == 0)
        return 9;
    return guest_test_main(argc, argv);
}
