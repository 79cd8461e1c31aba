#include "sentry/syscalls/strace_names.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

/* clang-format off */
#define N(x) {x, #x}
#define END  {0, NULL}

static const struct strace_name open_names[] = {
    N(O_RDONLY), N(O_WRONLY), N(O_RDWR), {3, "O_ACCMODE"},
    N(O_CREAT), N(O_EXCL), N(O_NOCTTY), N(O_TRUNC), N(O_APPEND), N(O_NONBLOCK), {04010000, "O_SYNC"}, N(O_DSYNC), N(O_ASYNC),
    N(O_DIRECT), {0100000, "O_LARGEFILE"}, {020200000, "O_TMPFILE"}, N(O_DIRECTORY), N(O_NOFOLLOW), N(O_NOATIME), N(O_CLOEXEC),
    N(O_PATH), END};
static const struct strace_name prot_names[] = {N(PROT_READ), N(PROT_WRITE), N(PROT_EXEC), N(PROT_GROWSDOWN), END};
static const struct strace_name map_names[] = {
    N(MAP_SHARED), N(MAP_PRIVATE), N(MAP_SHARED_VALIDATE),
    N(MAP_FIXED), N(MAP_ANONYMOUS), N(MAP_GROWSDOWN), N(MAP_DENYWRITE), N(MAP_EXECUTABLE), N(MAP_LOCKED), N(MAP_NORESERVE),
    N(MAP_POPULATE), N(MAP_NONBLOCK), N(MAP_STACK), N(MAP_HUGETLB), N(MAP_SYNC), N(MAP_FIXED_NOREPLACE), END};
static const struct strace_name clone_names[] = {
    N(CLONE_VM), N(CLONE_FS), N(CLONE_FILES), N(CLONE_SIGHAND), N(CLONE_PIDFD), N(CLONE_PTRACE), N(CLONE_VFORK), N(CLONE_PARENT),
    N(CLONE_THREAD), N(CLONE_NEWNS), N(CLONE_SYSVSEM), N(CLONE_SETTLS), N(CLONE_PARENT_SETTID), N(CLONE_CHILD_CLEARTID),
    N(CLONE_DETACHED), N(CLONE_UNTRACED), N(CLONE_CHILD_SETTID), N(CLONE_NEWCGROUP), N(CLONE_NEWUTS), N(CLONE_NEWIPC),
    N(CLONE_NEWUSER), N(CLONE_NEWPID), N(CLONE_NEWNET), N(CLONE_IO), {17, "SIGCHLD"}, END};
static const struct strace_name futex_names[] = {
    N(FUTEX_WAIT), N(FUTEX_WAKE), N(FUTEX_REQUEUE), N(FUTEX_CMP_REQUEUE), N(FUTEX_WAKE_OP), N(FUTEX_LOCK_PI), N(FUTEX_UNLOCK_PI),
    N(FUTEX_TRYLOCK_PI), N(FUTEX_WAIT_BITSET), N(FUTEX_WAKE_BITSET), N(FUTEX_WAIT_REQUEUE_PI), N(FUTEX_CMP_REQUEUE_PI),
    {13, "FUTEX_LOCK_PI2"}, N(FUTEX_PRIVATE_FLAG), N(FUTEX_CLOCK_REALTIME), END};
static const struct strace_name fcntl_names[] = {
    N(F_DUPFD), N(F_GETFD), N(F_SETFD), N(F_GETFL), N(F_SETFL), {5, "F_GETLK"}, {6, "F_SETLK"}, {7, "F_SETLKW"}, N(F_SETOWN),
    N(F_GETOWN), N(F_SETSIG), N(F_GETSIG), N(F_SETOWN_EX), N(F_GETOWN_EX), N(F_OFD_GETLK), N(F_OFD_SETLK), N(F_OFD_SETLKW),
    N(F_SETLEASE), N(F_GETLEASE), N(F_NOTIFY), N(F_DUPFD_CLOEXEC), N(F_SETPIPE_SZ), N(F_GETPIPE_SZ), N(F_ADD_SEALS),
    N(F_GET_SEALS), END};
static const struct strace_name ioctl_names[] = {
    N(TCGETS), N(TCSETS), N(TCSETSW), N(TCSETSF), N(TCSBRK), N(TCXONC), N(TCFLSH), N(TIOCEXCL), N(TIOCNXCL), N(TIOCSCTTY),
    N(TIOCGPGRP), N(TIOCSPGRP), N(TIOCOUTQ), N(TIOCSTI), N(TIOCGWINSZ), N(TIOCSWINSZ), N(FIONREAD), N(TIOCPKT), N(FIONBIO),
    N(TIOCNOTTY), N(TIOCGSID), N(TIOCGPTN), N(TIOCSPTLCK), N(TIOCGPTPEER), N(FIONCLEX), N(FIOCLEX), N(FIOASYNC), END};
static const struct strace_name at_names[] = {
    N(AT_SYMLINK_NOFOLLOW), N(AT_REMOVEDIR), N(AT_SYMLINK_FOLLOW), N(AT_NO_AUTOMOUNT), N(AT_EMPTY_PATH), {0x2000, "AT_STATX_FORCE_SYNC"},
    {0x4000, "AT_STATX_DONT_SYNC"}, END};
static const struct strace_name wait_names[] = {
    N(WNOHANG), N(WUNTRACED), N(WEXITED), N(WCONTINUED), N(WNOWAIT), {0x20000000, "__WNOTHREAD"}, {0x40000000, "__WALL"},
    {0x80000000, "__WCLONE"}, END};
static const struct strace_name msg_names[] = {
    N(MSG_OOB), N(MSG_PEEK), N(MSG_DONTROUTE), N(MSG_CTRUNC), N(MSG_TRUNC), N(MSG_DONTWAIT), N(MSG_EOR), N(MSG_WAITALL),
    N(MSG_NOSIGNAL), N(MSG_MORE), N(MSG_WAITFORONE), N(MSG_CMSG_CLOEXEC), END};
static const struct strace_name family_names[] = {N(AF_UNSPEC), N(AF_UNIX), N(AF_INET), N(AF_INET6), N(AF_NETLINK), N(AF_PACKET), END};
static const struct strace_name socktype_names[] = {
    N(SOCK_STREAM), N(SOCK_DGRAM), N(SOCK_RAW), N(SOCK_SEQPACKET), N(SOCK_NONBLOCK), N(SOCK_CLOEXEC), END};
static const struct strace_name clock_names[] = {
    N(CLOCK_REALTIME), N(CLOCK_MONOTONIC), N(CLOCK_PROCESS_CPUTIME_ID), N(CLOCK_THREAD_CPUTIME_ID), N(CLOCK_MONOTONIC_RAW),
    N(CLOCK_REALTIME_COARSE), N(CLOCK_MONOTONIC_COARSE), N(CLOCK_BOOTTIME), N(CLOCK_REALTIME_ALARM), N(CLOCK_BOOTTIME_ALARM),
    N(CLOCK_TAI), END};
static const struct strace_name whence_names[] = {N(SEEK_SET), N(SEEK_CUR), N(SEEK_END), N(SEEK_DATA), N(SEEK_HOLE), END};
static const struct strace_name epoll_names[] = {{1, "EPOLL_CTL_ADD"}, {2, "EPOLL_CTL_DEL"}, {3, "EPOLL_CTL_MOD"}, END};
static const struct strace_name madvise_names[] = {
    N(MADV_NORMAL), N(MADV_RANDOM), N(MADV_SEQUENTIAL), N(MADV_WILLNEED), N(MADV_DONTNEED), N(MADV_FREE), N(MADV_REMOVE),
    N(MADV_DONTFORK), N(MADV_DOFORK), N(MADV_HUGEPAGE), N(MADV_NOHUGEPAGE), N(MADV_DONTDUMP), N(MADV_DODUMP),
    N(MADV_WIPEONFORK), N(MADV_KEEPONFORK), END};
static const struct strace_name sigmask_names[] = {{0, "SIG_BLOCK"}, {1, "SIG_UNBLOCK"}, {2, "SIG_SETMASK"}, END};
static const struct strace_name arch_prctl_names[] = {
    {0x1001, "ARCH_SET_GS"}, {0x1002, "ARCH_SET_FS"}, {0x1003, "ARCH_GET_FS"}, {0x1004, "ARCH_GET_GS"}, END};
/* clang-format on */

const struct strace_table *strace_table_of(char kind)
{
    static const struct strace_table tables[128] = {
        ['O'] = {open_names, true, 3},     ['P'] = {prot_names, true, 0},     ['M'] = {map_names, true, 3},
        ['C'] = {clone_names, true, 0},    ['F'] = {futex_names, true, 127},  ['k'] = {fcntl_names, false, 0},
        ['i'] = {ioctl_names, false, 0},   ['A'] = {at_names, true, 0},       ['W'] = {wait_names, true, 0},
        ['m'] = {msg_names, true, 0},      ['y'] = {family_names, false, 0},  ['Y'] = {socktype_names, true, 15},
        ['K'] = {clock_names, false, 0},   ['h'] = {whence_names, false, 0},  ['e'] = {epoll_names, false, 0},
        ['B'] = {madvise_names, false, 0}, ['q'] = {sigmask_names, false, 0}, ['r'] = {arch_prctl_names, false, 0},
    };
    const struct strace_table *t = &tables[(unsigned char)kind % 128];

    return t->names ? t : NULL;
}

static size_t append(char *buf, size_t len, size_t n, const char *sep, const char *name)
{
    int r = n < len ? snprintf(buf + n, len - n, "%s%s", n ? sep : "", name) : 0;

    return r < 0 ? n : n + (size_t)r;
}

size_t strace_print_names(const struct strace_table *t, uint64_t value, char *buf, size_t len)
{
    uint64_t rest = value;
    char hex[24];
    size_t n = 0;

    for (const struct strace_name *e = t->names; e->name; e++) {
        if (!t->bits || (t->mask && e->value <= t->mask)) {
            /* One of a list: the whole value, or its low bits. */
            uint64_t part = t->bits ? value & t->mask : value;
            if (e->value != part)
                continue;
            n = append(buf, len, n, "|", e->name);
            rest &= t->bits ? ~t->mask : 0;
            if (!t->bits)
                break;
        } else if (e->value && (rest & e->value) == e->value) {
            n = append(buf, len, n, "|", e->name);
            rest &= ~e->value;
        }
    }
    if (rest || n == 0) {
        snprintf(hex, sizeof(hex), "%#" PRIx64, rest);
        n = append(buf, len, n, "|", hex);
    }
    return n < len ? n : len - 1;
}
