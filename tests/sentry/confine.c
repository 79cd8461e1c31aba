/*
 * Tries to break out of the sentry's confinement, as code that has taken the sentry over would.
 *
 *     confine PLATFORM
 *
 * Each part runs in a process that isolate_fork() has made, with a directory of this program's making as the container's root
 * and another as a writable bind mount. The first goes without the system-call filter, so that namespaces, the empty root and
 * lost capabilities have to hold by themselves; the next has the filter, with a handler that counts refusals instead of ending.
 * Prints what got through; ends with "N passed, N failed".
 */
#include "cmd/runsc-c/sandbox/isolate.h"
#include "lib/hostproc.h"
#include "sentry/boot/spec.h"
#include "sentry/host/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static char base[] = "/tmp/runsc-c-confine-XXXXXX";
static struct spec_mount bind_mount = {.source = base, .bind = true, .source_fd = -1};
static struct container_spec spec = {
    .root_kind = SPEC_ROOT_OVERLAY, .root_path = base, .root_fd = -1, .mounts = &bind_mount, .nr_mounts = 1};
static const char *platform;

/* What the host has and the sentry must not get at. */
static struct {
    pid_t pid;
    int shm;
    in_port_t port;
    char path[64];
    bool device;             /* there is one in the root */
    struct sockaddr_un name; /* abstract */
} host;

static int failures, connectable[FILTER_CONNECTABLE] = {901, 902, 903, 904};
static volatile int trapped;

#define CHECK(cond)                                                                                  \
    do {                                                                                             \
        if (!(cond)) {                                                                               \
            printf("    %s:%d: %s (errno %s)\n", __FILE__, __LINE__, #cond, strerrorname_np(errno)); \
            failures++;                                                                              \
        }                                                                                            \
    } while (0)
#define FAILS(error, call) CHECK((errno = 0, (call) < 0) && errno == (error))

/* --- without the filter --- */

static void paths_of_the_host_are_gone(void)
{
    int root = spec.root_fd, dir;

    FAILS(ENOENT, open(host.path, O_RDONLY));
    FAILS(ENOENT, open("/proc/1/root", O_PATH));
    FAILS(EROFS, mkdir("/new", 0700));
    /* Out of the donated trees: by "..", and by links to above and to the root. */
    FAILS(ENOENT, openat(root, "../../../../../../../../etc", O_PATH));
    FAILS(ENOENT, openat(root, "absolute", O_RDONLY));
    FAILS(ENOENT, openat(root, "relative", O_RDONLY));
    dir = openat(root, "dir", O_PATH | O_DIRECTORY);
    CHECK(dir >= 0);
    CHECK(openat(dir, "../file", O_RDONLY) >= 0);
    FAILS(ENOENT, openat(dir, "../../root/file", O_RDONLY));
    FAILS(ENOENT, openat(hostproc_self_fd(), "../../../etc", O_PATH));
    FAILS(ENOENT, openat(hostproc_self_fd(), "../../sys/kernel", O_PATH));
    /* By way of what is mounted nowhere. */
    FAILS(EPERM, syscall(SYS_open_tree, root, "", AT_EMPTY_PATH | OPEN_TREE_CLONE));
    FAILS(EPERM, syscall(SYS_move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
    CHECK(fchdir(root) == 0 && chdir("..") == 0);
    FAILS(ENOENT, open("etc/passwd", O_RDONLY));
    FAILS(EPERM, chroot("."));
}

static void what_the_container_may_not_write_is_read_only(void)
{
    FAILS(EROFS, openat(spec.root_fd, "file", O_RDWR));
    FAILS(EROFS, unlinkat(spec.root_fd, "file", 0));
    FAILS(EROFS, fchmodat(spec.root_fd, "file", 0777, 0));
    CHECK(mkdirat(bind_mount.source_fd, "made", 0700) == 0);
    FAILS(EXDEV, renameat(bind_mount.source_fd, "made", spec.root_fd, "made"));
}

static void devices_cannot_be_used(void)
{
    if (host.device)
        FAILS(EACCES, openat(spec.root_fd, "device", O_RDONLY));
    FAILS(EPERM, mknodat(bind_mount.source_fd, "disk", S_IFBLK | 0600, makedev(8, 0)));
    FAILS(EPERM, mknodat(bind_mount.source_fd, "memory", S_IFCHR | 0600, makedev(1, 1)));
}

static void processes_of_the_host_are_out_of_sight(void)
{
    struct iovec iov = {base, 1};
    char path[64];

    CHECK(getpid() == 1);
    FAILS(ESRCH, kill(host.pid, 0));
    FAILS(ESRCH, kill(-1, SIGKILL));
    FAILS(ESRCH, syscall(SYS_process_vm_readv, host.pid, &iov, 1, &iov, 1, 0));
    FAILS(ESRCH, syscall(SYS_ptrace, 16 /* PTRACE_ATTACH */, host.pid, 0, 0));
    FAILS(ESRCH, syscall(SYS_pidfd_open, host.pid, 0));
    snprintf(path, sizeof(path), "../../%d/status", host.pid);
    FAILS(ENOENT, openat(hostproc_self_fd(), path, O_RDONLY));
}

static void ipc_and_networks_of_the_host_are_out_of_reach(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = host.port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    CHECK(shmat(host.shm, NULL, 0) == (void *)-1);
    FAILS(ENETUNREACH, connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof(in)));
    FAILS(ECONNREFUSED, connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&host.name, sizeof(host.name)));
    FAILS(EPERM, sethostname("mine", 4));
}

static void powers_are_gone(void)
{
    const uint32_t kept = 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH | 1U << CAP_FOWNER |
                          1U << CAP_FSETID | 1U << CAP_SETFCAP | 1U << CAP_MKNOD;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    CHECK(syscall(SYS_capget, &header, data) == 0);
    CHECK((data[0].permitted & ~kept) == 0 && data[1].permitted == 0 && (data[0].inheritable | data[1].inheritable) == 0);
    data[0].permitted = data[0].effective = ~0U;
    FAILS(EPERM, syscall(SYS_capset, &header, data));
    FAILS(EPERM, mount("none", "/", "tmpfs", 0, NULL));
    FAILS(EPERM, umount2("/", MNT_DETACH));
    FAILS(EPERM, unshare(CLONE_NEWNS));
    FAILS(EPERM, syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    FAILS(EPERM, syscall(SYS_swapon, "/", 0));
    FAILS(EPERM, syscall(SYS_settimeofday, &(struct timeval){0}, NULL));
}

/* --- with the filter --- */

static void count_refusal(int signo, siginfo_t *info, void *ctx)
{
    trapped++;
    ((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RAX] = -EACCES;
}

#define TRAPS(...)   (trapped = 0, (void)syscall(__VA_ARGS__), trapped)
#define REFUSED(...) CHECK(TRAPS(__VA_ARGS__))
#define TAKEN(...)   CHECK(!TRAPS(__VA_ARGS__))

/* What only the runtimes of sanitizers call (filter_gen.c). */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REFUSED_BUT_TO_SANITIZERS(...) (void)0
#else
#define REFUSED_BUT_TO_SANITIZERS(...) REFUSED(__VA_ARGS__)
#endif

static void put_filter_for(const char *program, bool host_network)
{
    struct sigaction sa = {.sa_sigaction = count_refusal, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int r = host_filter_install(program, host_network, connectable);

    if (r < 0 || sigaction(SIGSYS, &sa, NULL) < 0) {
        printf("    filter: %s\n", strerror(-r));
        _exit(1);
    }
}

static void put_filter(void)
{
    put_filter_for(platform, false);
}

static void the_filter_refuses_paths(void)
{
    REFUSED_BUT_TO_SANITIZERS(SYS_open, "/", O_RDONLY);
    REFUSED(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC);
    REFUSED(SYS_openat, AT_FDCWD, "/file", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    REFUSED(SYS_openat, 0xffffffffL & AT_FDCWD, "/", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    REFUSED(SYS_openat, 0x123400000000L | (0xffffffffL & AT_FDCWD), "/", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    REFUSED(SYS_openat, spec.root_fd, "relative", O_RDONLY | O_CLOEXEC); /* would follow it */
    REFUSED(SYS_openat2, spec.root_fd, "file", NULL, 0);
    REFUSED(SYS_newfstatat, AT_FDCWD, "/", NULL, 0);
    REFUSED(SYS_statx, AT_FDCWD, "/", 0, 0, NULL);
    REFUSED(SYS_unlinkat, AT_FDCWD, "file", 0);
    REFUSED(SYS_renameat2, spec.root_fd, "file", AT_FDCWD, "/file", 0);
    REFUSED(SYS_linkat, AT_FDCWD, "/file", spec.root_fd, "link", 0);
    REFUSED(SYS_symlinkat, "/etc", AT_FDCWD, "/link");
    REFUSED(SYS_mknodat, bind_mount.source_fd, "disk", S_IFBLK | 0600, makedev(8, 0));
    REFUSED(SYS_chdir, "/");
    REFUSED(SYS_fchdir, spec.root_fd);
    REFUSED(SYS_chroot, "/");
    REFUSED(SYS_pivot_root, "/", "/");
    REFUSED(SYS_mount, "none", "/", "tmpfs", 0, 0);
    REFUSED(SYS_umount2, "/", 0);
    REFUSED(SYS_open_tree, spec.root_fd, "", AT_EMPTY_PATH);
    REFUSED(SYS_open_by_handle_at, spec.root_fd, NULL, 0);
    REFUSED(SYS_name_to_handle_at, spec.root_fd, "", NULL, NULL, 0);
    TAKEN(SYS_openat, spec.root_fd, "file", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    TAKEN(SYS_openat, hostproc_self_fd(), "0", O_RDONLY | O_CLOEXEC);
    CHECK(syscall(SYS_openat, spec.root_fd, "absolute", O_RDONLY | O_NOFOLLOW | O_CLOEXEC) < 0 && errno == ELOOP);
}

static void the_filter_refuses_code(void)
{
    char *const argv[] = {NULL};

    REFUSED(SYS_execve, "/proc/self/exe", argv, argv);
    REFUSED(SYS_execveat, 0, "", argv, argv, AT_EMPTY_PATH);
    REFUSED(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REFUSED(SYS_mmap, NULL, 4096, 0x100000000L | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REFUSED(SYS_mprotect, base, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    REFUSED(SYS_pkey_mprotect, base, 4096, PROT_EXEC, 0);
    REFUSED(SYS_memfd_create, "code", 0);
    REFUSED(SYS_uselib, "/lib");
    TAKEN(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void the_filter_refuses_processes_and_powers(void)
{
    REFUSED(SYS_fork);
    REFUSED(SYS_vfork);
    REFUSED(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    REFUSED(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    CHECK(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS);
    REFUSED(SYS_unshare, CLONE_NEWUSER);
    REFUSED(SYS_setns, 0, 0);
    REFUSED(SYS_kill, 1, SIGTERM);
    REFUSED_BUT_TO_SANITIZERS(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
    REFUSED(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0);
    if (strcmp(platform, "ptrace") != 0)
        REFUSED(SYS_ptrace, 0, 0, 0, 0);
    REFUSED(SYS_pidfd_open, 1, 0);
    REFUSED(SYS_pidfd_getfd, 0, 0, 0);
    REFUSED(SYS_kcmp, 1, 1, 0, 0, 0);
    REFUSED(SYS_setuid, 0);
    REFUSED(SYS_setresuid, 0, 0, 0);
    REFUSED(SYS_setgroups, 0, NULL);
    REFUSED(SYS_capset, NULL, NULL);
    REFUSED_BUT_TO_SANITIZERS(SYS_prctl, 0, 0, 0, 0, 0);
    REFUSED(SYS_arch_prctl, 0, 0);
    REFUSED(SYS_seccomp, 0, 0, NULL);
    REFUSED(SYS_prlimit64, 0, 0, base, NULL);
    REFUSED(SYS_setrlimit, 0, base);
    REFUSED(SYS_sethostname, "x", 1);
}

static void the_filter_refuses_what_a_sentry_has_no_use_for(void)
{
    static const int calls[] = {
        SYS_socket,          SYS_socketpair,     SYS_connect,       SYS_bind,          SYS_listen,
        SYS_setsockopt,      SYS_shmget,         SYS_msgget,        SYS_semget,        SYS_mq_open,
        SYS_inotify_init1,   SYS_fanotify_init,  SYS_bpf,           SYS_userfaultfd,   SYS_perf_event_open,
        SYS_io_uring_setup,  SYS_io_setup,       SYS_keyctl,        SYS_add_key,       SYS_request_key,
        SYS_quotactl,        SYS_acct,           SYS_swapon,        SYS_reboot,        SYS_init_module,
        SYS_finit_module,    SYS_delete_module,  SYS_kexec_load,    SYS_syslog,        SYS_personality,
        SYS_modify_ldt,      SYS_iopl,           SYS_ioperm,        SYS_settimeofday,  SYS_clock_settime,
        SYS_vhangup,         SYS_lookup_dcookie, SYS_migrate_pages, SYS_move_pages,    SYS_mbind,
        SYS_set_mempolicy,   SYS_splice,         SYS_vmsplice,      SYS_sendfile,      SYS_copy_file_range,
        SYS_fcntl,           SYS_ioctl,          SYS_setxattr,      SYS_getxattr,      SYS_landlock_create_ruleset,
        SYS_process_madvise, SYS_setsid,         SYS_setpgid,       SYS_setpriority,   SYS_sched_setscheduler,
        SYS_pipe2,           SYS_eventfd2,       SYS_signalfd4,     SYS_timer_create,  SYS_truncate,
        SYS_fsopen,          SYS_fsmount,        SYS_move_mount,    SYS_mount_setattr, SYS_memfd_secret,
        SYS_close_range,
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        trapped = 0;
        syscall(calls[i], 0, 0, 0, 0, 0, 0);
        if (!trapped) {
            printf("    system call %d gets through\n", calls[i]);
            failures++;
        }
    }
    REFUSED(SYS_connect, 900, NULL, 0);
    REFUSED(SYS_connect, 905, NULL, 0);
    TAKEN(SYS_connect, 901, NULL, 0);
    TAKEN(SYS_connect, 904, NULL, 0);
    REFUSED(SYS_ioctl, 0, TIOCSTI, "x");
    REFUSED(SYS_ioctl, 0, TIOCSCTTY, 0);
    REFUSED(SYS_fcntl, 0, F_SETFL, O_NONBLOCK);
    REFUSED(SYS_fcntl, 0, F_SETOWN, 1);
    REFUSED(SYS_clock_adjtime, CLOCK_MONOTONIC, NULL);
}

/* --network=host: what is done to sockets that are there, but no more. */
static void with_the_hosts_network_it_makes_no_sockets(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

    put_filter_for(platform, true);
    REFUSED(SYS_socket, AF_INET, SOCK_STREAM, 0);
    REFUSED(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
    REFUSED(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, NULL);
    REFUSED(SYS_setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, &one, sizeof(one));
    REFUSED(SYS_setsockopt, fd, SOL_IP, 64 /* IPT_SO_SET_REPLACE */, &one, sizeof(one));
    REFUSED(SYS_setsockopt, fd, SOL_TCP, TCP_REPAIR, &one, sizeof(one));
    REFUSED(SYS_setsockopt, fd, SOL_TCP, TCP_ULP, "tls", 4);
    REFUSED(SYS_getsockopt, fd, SOL_TCP, TCP_ZEROCOPY_RECEIVE, &one, NULL);
    REFUSED(SYS_ioctl, fd, SIOCSIFFLAGS, NULL);
    REFUSED(SYS_ioctl, fd, SIOCADDRT, NULL);
    REFUSED(SYS_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC);
    TAKEN(SYS_setsockopt, fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
    TAKEN(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, NULL, NULL);
    TAKEN(SYS_connect, fd, NULL, 0);
}

/* The process that makes them. */
static void the_broker_makes_sockets_of_its_kinds_and_nothing_else(void)
{
    static const int calls[] = {SYS_openat, SYS_open,    SYS_execve, SYS_clone,      SYS_ptrace,     SYS_kill,   SYS_mmap,
                                SYS_setns,  SYS_connect, SYS_listen, SYS_setsockopt, SYS_socketpair, SYS_unlink, SYS_mount};
    int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

    put_filter_for("broker", false);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        REFUSED_BUT_TO_SANITIZERS(calls[i], 0, 0, 0, 0, 0, 0);
    REFUSED(SYS_socket, AF_UNIX, SOCK_STREAM | flags, 0);
    REFUSED(SYS_socket, AF_PACKET, SOCK_RAW | flags, 0);
    REFUSED(SYS_socket, AF_INET, SOCK_RAW | flags, IPPROTO_RAW);
    REFUSED(SYS_socket, AF_INET, SOCK_RAW | flags, IPPROTO_TCP);
    REFUSED(SYS_socket, AF_INET, SOCK_STREAM | flags, IPPROTO_SCTP);
    REFUSED(SYS_socket, AF_NETLINK, SOCK_RAW | flags, NETLINK_NETFILTER);
    REFUSED(SYS_socket, AF_VSOCK, SOCK_STREAM | flags, 0);
    TAKEN(SYS_socket, AF_INET6, SOCK_STREAM | flags, 0);
    TAKEN(SYS_socket, AF_NETLINK, SOCK_RAW | flags, NETLINK_ROUTE);
    TAKEN(SYS_bind, -1, NULL, 0);
}

static void another_architectures_call_ends_it(void)
{
    long r;

    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20 /* getpid */) : "memory");
    printf("    int 0x80 gets through\n");
    failures++;
}

static void x32_calls_end_it(void)
{
    syscall(0x40000000 | SYS_getpid);
    printf("    x32 calls get through\n");
    failures++;
}

static const struct {
    const char *name;
    void (*fn)(void);
    bool filter, dies;
} parts[] = {
#define PLAIN(fn)             \
    {                         \
#fn, fn, false, false \
    }
#define FILTERED(fn)         \
    {                        \
#fn, fn, true, false \
    }
#define DEADLY(fn)          \
    {                       \
#fn, fn, true, true \
    }
    PLAIN(paths_of_the_host_are_gone),
    PLAIN(what_the_container_may_not_write_is_read_only),
    PLAIN(devices_cannot_be_used),
    PLAIN(processes_of_the_host_are_out_of_sight),
    PLAIN(ipc_and_networks_of_the_host_are_out_of_reach),
    PLAIN(powers_are_gone),
    FILTERED(the_filter_refuses_paths),
    FILTERED(the_filter_refuses_code),
    FILTERED(the_filter_refuses_processes_and_powers),
    FILTERED(the_filter_refuses_what_a_sentry_has_no_use_for),
    PLAIN(with_the_hosts_network_it_makes_no_sockets),
    PLAIN(the_broker_makes_sockets_of_its_kinds_and_nothing_else),
    DEADLY(another_architectures_call_ends_it),
    DEADLY(x32_calls_end_it),
};

/* --- around them --- */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void make_trees(void)
{
    char path[128], root[64], rw[64];

    if (!mkdtemp(base))
        die(base);
    snprintf(root, sizeof(root), "%s/root", base);
    snprintf(rw, sizeof(rw), "%s/rw", base);
    if (mkdir(root, 0755) < 0 || mkdir(rw, 0755) < 0)
        die(root);
    spec.root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bind_mount.source_fd = open(rw, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(host.path, sizeof(host.path), "%s/secret", base);
    close(open(host.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    close(openat(spec.root_fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    snprintf(path, sizeof(path), "%s/device", root);
    if (symlinkat(host.path, spec.root_fd, "absolute") < 0 || symlinkat("../secret", spec.root_fd, "relative") < 0 ||
        mkdirat(spec.root_fd, "dir", 0755) < 0)
        die("trees");
    host.device = mknod(path, S_IFCHR | 0666, makedev(1, 3)) == 0;
}

static void make_host(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), un = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    host.pid = getpid();
    host.shm = shmget(IPC_PRIVATE, 4096, 0666);
    host.name.sun_family = AF_UNIX;
    snprintf(host.name.sun_path + 1, sizeof(host.name.sun_path) - 1, "%s", base);
    if (host.shm < 0 || bind(tcp, (struct sockaddr *)&in, sizeof(in)) < 0 || listen(tcp, 1) < 0 ||
        getsockname(tcp, (struct sockaddr *)&in, &len) < 0 || bind(un, (struct sockaddr *)&host.name, sizeof(host.name)) < 0 ||
        listen(un, 1) < 0)
        die("host");
    host.port = in.sin_port;
}

static bool run_part(size_t i)
{
    struct isolation iso;
    struct error e;
    int wstatus;
    pid_t pid = isolate_fork(&spec, &iso, &e);

    if (pid == 0) {
        if (isolate_enter(&spec, &iso, &e) < 0) {
            printf("    %s\n", e.text);
            _exit(1);
        }
        if (parts[i].filter)
            put_filter();
        parts[i].fn();
        fflush(stdout);
        _exit(failures != 0);
    }
    if (pid < 0 || isolate_map_ids(&spec, &iso, pid, &e) < 0 || isolate_release(&iso, &e) < 0) {
        printf("    %s\n", e.text);
        return false;
    }
    if (waitpid(pid, &wstatus, 0) != pid)
        return false;
    return parts[i].dies ? WIFSIGNALED(wstatus) : wstatus == 0;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    char command[96];

    platform = argc > 1 ? argv[1] : "pvmexec:stub";
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_trees();
    make_host();
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool ok = run_part(i);

        printf("%s: %s\n", ok ? "passed" : "FAILED", parts[i].name);
        passed += ok;
        failed += !ok;
    }
    shmctl(host.shm, IPC_RMID, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", base);
    if (system(command) != 0)
        die(command);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
