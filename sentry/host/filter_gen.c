/*
 * Run while building: compiles the list of the host system calls that a confined sentry makes into seccomp programs, one for
 * each platform and kind of network, and one for the broker of --network=host (cmd/runsc-c/network/broker.c), and prints them
 * as C (filter_programs.h). At run time nothing is left to do but to load one.
 *
 * The list is complete: what is not on it ends the sentry (filter.c). An argument is checked where the call could otherwise do
 * what the sentry never does. Calls without such a check come free: the kernel keeps a bitmap of them. What makes a descriptor
 * out of nothing (open by path, socket, memfd) is not there; what takes a path takes it below a descriptor.
 */
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hostkernel/uapi/process_vm_exec.h"
#include "sentry/host/filter.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_INSNS     4096

/* When a rule holds. */
enum {
    STUB = 1 << 0,
    PTRACE = 1 << 1,
    KERNEL = 1 << 2,
    HOST_NET = 1 << 3,
    SANITIZER = 1 << 4,
    BROKER = 1 << 5,
    ALWAYS = STUB | PTRACE | KERNEL,
};

struct rule {
    unsigned int when;
    int nr;
    unsigned int nr_args;
    struct scmp_arg_cmp args[3];
};

#define CALL(when, name)         \
    {                            \
        when, SCMP_SYS(name), 0, \
        {                        \
            {                    \
                0                \
            }                    \
        }                        \
    }
#define CALL1(when, name, a)     \
    {                            \
        when, SCMP_SYS(name), 1, \
        {                        \
            a                    \
        }                        \
    }
#define CALL2(when, name, a, b)  \
    {                            \
        when, SCMP_SYS(name), 2, \
        {                        \
            a, b                 \
        }                        \
    }

#define CALL3(when, name, a, b, c) \
    {                              \
        when, SCMP_SYS(name), 3,   \
        {                          \
            a, b, c                \
        }                          \
    }

/* The kernel looks at the lower half only of what is an int, so these do, too. */
#define COMPARE(arg, mask, value)            \
    (struct scmp_arg_cmp)                    \
    {                                        \
        arg, SCMP_CMP_MASKED_EQ, mask, value \
    }
#define IS(arg, value)   COMPARE(arg, 0xffffffff, (uint32_t)(value))
#define HAS(arg, bits)   COMPARE(arg, bits, bits)
#define LACKS(arg, bits) COMPARE(arg, bits, 0)
#define BELOW_FD(arg)    LACKS(arg, 0x80000000) /* a real descriptor, not AT_FDCWD */
#define IS_NULL(arg)           \
    (struct scmp_arg_cmp)      \
    {                          \
        arg, SCMP_CMP_EQ, 0, 0 \
    }

/* What the C library starts threads with. */
#define THREAD_FLAGS                                                                                                         \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SETTLS | CLONE_PARENT_SETTID | \
     CLONE_CHILD_CLEARTID)

#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif

_Static_assert(FILTER_CONNECTABLE == 4, "a rule for each");

static const struct rule rules[] = {
    /* Data and readiness, of descriptors that are there. */
    CALL(ALWAYS, read),
    CALL(ALWAYS, write),
    CALL(ALWAYS, readv),
    CALL(ALWAYS, writev),
    CALL(ALWAYS, pread64),
    CALL(ALWAYS, pwrite64),
    CALL(ALWAYS, preadv),
    CALL(ALWAYS, pwritev),
    CALL(ALWAYS, pwritev2),
    CALL(ALWAYS, lseek),
    CALL(ALWAYS, close),
    CALL(ALWAYS, poll),
    CALL(ALWAYS, epoll_wait),
    CALL(ALWAYS, epoll_pwait),
    CALL(ALWAYS, epoll_ctl),
    CALL(ALWAYS, dup3),
    CALL1(ALWAYS, fcntl, IS(1, F_DUPFD_CLOEXEC)),
    CALL1(ALWAYS, fcntl, IS(1, F_GETFL)),
    /* The control socket: connections are accepted, messages carry descriptors in; nothing is connected. */
    CALL(ALWAYS, accept4),
    CALL(ALWAYS, recvmsg),
    CALL(ALWAYS, sendmsg),

    /* Frames of the container's interfaces, by packet sockets that the launcher has opened. */
    CALL(ALWAYS, recvmmsg),
    CALL(ALWAYS, sendmmsg),

    /* Files of the container. hostfs goes one name at a time and never follows a link; /proc/self/fd is made of links. */
    CALL2(ALWAYS, openat, BELOW_FD(0), HAS(2, O_NOFOLLOW | O_CLOEXEC)),
    CALL2(ALWAYS, openat, IS(0, FILTER_SELF_FD), HAS(2, O_CLOEXEC)),
    CALL1(ALWAYS, statx, BELOW_FD(0)),
    CALL1(ALWAYS, newfstatat, BELOW_FD(0)),
    CALL1(ALWAYS, readlinkat, BELOW_FD(0)),
    CALL1(ALWAYS, mkdirat, BELOW_FD(0)),
    CALL2(ALWAYS, mknodat, BELOW_FD(0), IS(3, 0)), /* no device but overlayfs's whiteout */
    CALL1(ALWAYS, symlinkat, BELOW_FD(1)),
    CALL2(ALWAYS, linkat, BELOW_FD(0), BELOW_FD(2)),
    CALL1(ALWAYS, unlinkat, BELOW_FD(0)),
    CALL2(ALWAYS, renameat2, BELOW_FD(0), BELOW_FD(2)),
    CALL1(ALWAYS, fchownat, BELOW_FD(0)),
    CALL1(ALWAYS, fchmodat, BELOW_FD(0)),
    CALL1(ALWAYS, fchmodat2, BELOW_FD(0)),
    CALL1(ALWAYS, utimensat, BELOW_FD(0)),
    CALL(ALWAYS, fstat),
    CALL(ALWAYS, fstatfs),
    CALL(ALWAYS, getdents64),
    CALL(ALWAYS, fchown),
    CALL(ALWAYS, fchmod),
    CALL(ALWAYS, ftruncate),
    CALL(ALWAYS, fallocate),
    CALL(ALWAYS, fsync),
    CALL(ALWAYS, fdatasync),
    CALL(ALWAYS, syncfs),
    CALL(ALWAYS, fgetxattr),
    CALL(ALWAYS, fsetxattr),
    CALL(ALWAYS, flistxattr),
    CALL(ALWAYS, fremovexattr),

    /* Terminals of the host. */
    CALL1(ALWAYS, ioctl, IS(1, TCGETS)),
    CALL1(ALWAYS, ioctl, IS(1, TCSETS)),
    CALL1(ALWAYS, ioctl, IS(1, TCSETSW)),
    CALL1(ALWAYS, ioctl, IS(1, TCSETSF)),
    CALL1(ALWAYS, ioctl, IS(1, TCGETS2)),
    CALL1(ALWAYS, ioctl, IS(1, TCSETS2)),
    CALL1(ALWAYS, ioctl, IS(1, TIOCGWINSZ)),
    CALL1(ALWAYS, ioctl, IS(1, TIOCSWINSZ)),
    CALL1(ALWAYS, ioctl, IS(1, FIONREAD)),

    /* Memory of its own, never executable. */
    CALL1(ALWAYS, mmap, LACKS(2, PROT_EXEC)),
    CALL1(ALWAYS, mprotect, LACKS(2, PROT_EXEC)),
    CALL(ALWAYS, munmap),
    CALL(ALWAYS, mremap),
    CALL(ALWAYS, madvise),
    CALL(ALWAYS, mincore),
    CALL(ALWAYS, brk),

    /* Threads. */
    CALL(ALWAYS, futex),
    CALL1(ALWAYS, clone, IS(0, THREAD_FLAGS)),
    CALL(ALWAYS, set_robust_list),
    CALL(ALWAYS, rseq),
    CALL(ALWAYS, gettid),
    CALL(ALWAYS, getpid),
    CALL(ALWAYS, sched_yield),
    CALL(ALWAYS, sched_getaffinity),
    CALL(ALWAYS, sched_setaffinity),
    CALL(ALWAYS, getcpu),
    CALL(ALWAYS, rt_sigprocmask),
    CALL(ALWAYS, rt_sigaction),
    CALL(ALWAYS, rt_sigreturn),
    CALL(ALWAYS, sigaltstack),
    CALL(ALWAYS, restart_syscall),
    CALL(ALWAYS, exit),
    CALL(ALWAYS, exit_group),

    /* Its stubs, which with its own threads are all that its pid namespace has. */
    CALL(ALWAYS, tgkill),
    CALL1(ALWAYS, kill, IS(1, SIGKILL)),
    CALL(ALWAYS, wait4),
    CALL(ALWAYS, waitid),
    CALL(PTRACE, ptrace),
    {KERNEL, __NR_pvm_create, 0, {{0}}},
    {KERNEL, __NR_pvm_change, 0, {{0}}},
    {KERNEL, __NR_process_vm_exec, 0, {{0}}},

    /* Time and chance. */
    CALL(ALWAYS, nanosleep),
    CALL(ALWAYS, clock_nanosleep),
    CALL(ALWAYS, clock_gettime),
    CALL(ALWAYS, gettimeofday), /* and time(2): the vDSO asks the kernel where the clock source is none that it can read */
    CALL(ALWAYS, time),
    CALL1(ALWAYS, clock_adjtime, IS(0, CLOCK_REALTIME)), /* to read it: the sentry may not set clocks */
    CALL(ALWAYS, timerfd_settime),
    CALL(ALWAYS, getrandom),
    CALL(ALWAYS, sysinfo),
    CALL1(ALWAYS, prlimit64, IS_NULL(2)), /* to read them */

    /* DNS over TCP (sentry/socket/inet_net/dns_tcp.c), by descriptors that were set aside. */
    CALL1(ALWAYS, connect, IS(0, FILTER_CONNECTABLE_FD)),
    CALL1(ALWAYS, connect, IS(0, FILTER_CONNECTABLE_FD + 1)),
    CALL1(ALWAYS, connect, IS(0, FILTER_CONNECTABLE_FD + 2)),
    CALL1(ALWAYS, connect, IS(0, FILTER_CONNECTABLE_FD + 3)),
    CALL(ALWAYS, shutdown),

    /* The host's network as the container's: sockets that the broker has made. Options come below. */
    CALL(HOST_NET, connect),
    CALL(HOST_NET, bind),
    CALL(HOST_NET, listen),
    CALL(HOST_NET, getsockname),
    CALL(HOST_NET, getpeername),
    CALL2(HOST_NET, fcntl, IS(1, F_SETFL), HAS(2, O_NONBLOCK)), /* of sockets that the container is given */
    CALL1(HOST_NET, ioctl, IS(1, TIOCOUTQ)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCATMARK)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCOUTQNSD)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFNAME)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFCONF)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFFLAGS)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFADDR)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFDSTADDR)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFBRDADDR)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFNETMASK)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFMETRIC)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFMTU)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFHWADDR)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFINDEX)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFTXQLEN)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGIFMAP)),
    CALL1(HOST_NET, ioctl, IS(1, SIOCGARP)),

/* The broker of --network=host makes sockets, of these kinds, and binds them. */
#define X(family, type, protocol) \
    CALL3(BROKER, socket, IS(0, family), IS(1, (type) | SOCK_NONBLOCK | SOCK_CLOEXEC), IS(2, protocol)),
#include "sentry/host/socket_kinds.def"
#undef X
    CALL(BROKER, bind),
    CALL(BROKER, recvmsg),
    CALL(BROKER, sendmsg),
    CALL(BROKER, close),
    CALL(BROKER, write), /* last words */
    CALL(BROKER, rt_sigaction),
    CALL(BROKER, restart_syscall),
    CALL(BROKER, rt_sigreturn),
    CALL(BROKER, exit_group),

    /* What the runtimes of sanitizers look at. */
    CALL(SANITIZER, readlink),
    CALL(SANITIZER, prctl),
    CALL(SANITIZER, process_vm_readv),
    CALL(SANITIZER, getrusage),
    CALL(SANITIZER, gettimeofday),
};

/* Socket options for HOST_NET, both to be set and to be read. */
static const struct {
    int level, name;
} socket_options[] = {
#define X(level, name) {level, name},
#include "sentry/host/socket_options.def"
#undef X
};

/* Calls that the C library tries and does without. */
static const struct {
    int error;
    struct rule rule;
} refused[] = {
    {ENOSYS, CALL(ALWAYS, clone3)}, /* its flags are out of a filter's sight; clone(2) is next */
    /* malloc looks at /sys/devices/system/cpu and /proc/sys/vm: in an empty root, all that there is to see. */
    {ENOENT, CALL2(ALWAYS, openat, IS(0, AT_FDCWD), IS(2, O_RDONLY | O_CLOEXEC))},
    {ENOENT, CALL(SANITIZER, open)},
};

static const struct {
    const char *name;
    unsigned int bits;
} platforms[] = {{"pvmexec:stub", STUB}, {"pvmexec:kernel", KERNEL}, {"ptrace", PTRACE}, {"broker", BROKER}};

static void check(int r, const char *what)
{
    if (r < 0) {
        fprintf(stderr, "filter_gen: %s: %s\n", what, strerror(-r));
        exit(1);
    }
}

static void allow_options(scmp_filter_ctx ctx, int call)
{
    for (size_t i = 0; i < ARRAY_SIZE(socket_options); i++) {
        struct scmp_arg_cmp args[] = {IS(1, socket_options[i].level), IS(2, socket_options[i].name)};

        check(seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, call, 2, args), "socket option");
    }
}

static scmp_filter_ctx compile(unsigned int when)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);

    check(ctx ? 0 : -ENOMEM, "seccomp_init");
    /* Another architecture's calls have other numbers. */
    check(seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS), "bad architecture");
    check(seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2), "binary tree");
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].when & when)
            check(seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, rules[i].nr, rules[i].nr_args, rules[i].args), "rule");
    if (when & HOST_NET) {
        allow_options(ctx, SCMP_SYS(getsockopt));
        allow_options(ctx, SCMP_SYS(setsockopt));
    }
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        if (refused[i].rule.when & when)
            check(seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((unsigned int)refused[i].error), refused[i].rule.nr,
                                         refused[i].rule.nr_args, refused[i].rule.args),
                  "refusal");
    return ctx;
}

static void print_program(scmp_filter_ctx ctx, const char *name, FILE *out)
{
    static struct sock_filter {
        uint16_t code;
        uint8_t jt, jf;
        uint32_t k;
    } insns[MAX_INSNS];
    FILE *bpf = tmpfile();
    size_t n;

    check(bpf ? 0 : -errno, "tmpfile");
    check(seccomp_export_bpf(ctx, fileno(bpf)), "export");
    rewind(bpf);
    n = fread(insns, sizeof(insns[0]), MAX_INSNS, bpf);
    check(n > 0 && n < MAX_INSNS ? 0 : -E2BIG, "program");
    fclose(bpf);
    fprintf(out, "static const struct sock_filter %s[] = {\n", name);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "    {0x%02x, %u, %u, 0x%08x},\n", insns[i].code, insns[i].jt, insns[i].jf, insns[i].k);
    fprintf(out, "};\n");
}

int main(int argc, char **argv)
{
    FILE *out = argc == 3 ? fopen(argv[1], "w") : NULL;
    unsigned int sanitizer = argc == 3 && strcmp(argv[2], "none") != 0 ? SANITIZER : 0;
    char name[64];

    if (!out) {
        fprintf(stderr, "usage: filter_gen FILE SANITIZERS\n");
        return 1;
    }
    for (size_t i = 0; i < ARRAY_SIZE(platforms); i++) {
        /* Runtimes of sanitizers have memory and threads to look after, in the broker, too. */
        unsigned int more = sanitizer && platforms[i].bits == BROKER ? sanitizer | STUB : sanitizer;

        for (unsigned int net = 0; net < 2; net++) {
            scmp_filter_ctx ctx = compile(platforms[i].bits | (net ? HOST_NET : 0) | more);
            snprintf(name, sizeof(name), "filter_%zu_%u", i, net);
            print_program(ctx, name, out);
            seccomp_release(ctx);
        }
    }
    fprintf(out, "static const struct {\n    const char *platform;\n    bool host_network;\n"
                 "    const struct sock_filter *insns;\n    unsigned short len;\n} filter_programs[] = {\n");
    for (size_t i = 0; i < ARRAY_SIZE(platforms); i++)
        for (unsigned int net = 0; net < 2; net++)
            fprintf(out, "    {\"%s\", %s, filter_%zu_%u, sizeof(filter_%zu_%u) / 8},\n", platforms[i].name,
                    net ? "true" : "false", i, net, i, net);
    fprintf(out, "};\n");
    return fclose(out) ? 1 : 0;
}
