/*
 * Trees of the host are cloned as detached mounts (open_tree(2)). A walk inside one cannot leave it: ".." at its top stays
 * there, and absolute links lead to the empty root. They carry nosuid and nodev, and where the container may not write they are
 * read-only, so that the host's kernel enforces what hostfs promises.
 */
#include "cmd/runsc-c/sandbox/isolate.h"

#include "cmd/runsc-c/sandbox/idmap.h"
#include "lib/compiler.h"
#include "lib/hostproc.h"
#include "lib/log.h"
#include "sentry/boot/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET)

enum { MAP_TEXT = 340 * 34 + 1 }; /* the longest map of ids that there can be */

/* --- the process --- */

/*
 * fork(2) with namespaces. The C library keeps the thread's id in its descriptor and would fill it in itself after a fork() of
 * its own; the kernel knows the place.
 */
static pid_t fork_into(int namespaces)
{
    pid_t *tid = NULL;
    pid_t pid;

    prctl(PR_GET_TID_ADDRESS, &tid, 0, 0, 0);
    fflush(NULL);
    pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, 0, NULL, NULL, 0);
    if (pid == 0 && tid)
        *tid = (pid_t)syscall(SYS_gettid);
    return pid < 0 ? -errno : pid;
}

/* The first of the namespaces that cannot be had, for the error's text. */
static const char *what_is_forbidden(void)
{
    static const struct {
        int flag;
        const char *name;
    } kinds[] = {{CLONE_NEWUSER, "user"}, {CLONE_NEWPID, "pid"}, {CLONE_NEWNS, "mount"},
                 {CLONE_NEWIPC, "ipc"},   {CLONE_NEWUTS, "uts"}, {CLONE_NEWNET, "network"}};

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        pid_t pid = (pid_t)syscall(SYS_clone, (geteuid() ? CLONE_NEWUSER : 0) | kinds[i].flag, 0, NULL, NULL, 0);

        if (pid == 0)
            _exit(0);
        if (pid < 0)
            return kinds[i].name;
    }
    return "so many new";
}

/* Into another time namespace, or back: children are in the one that we are in. */
static int enter_timens(int fd, struct error *e)
{
    return setns(fd, CLONE_NEWTIME) < 0 ? error_set(e, errno, "entering the time namespace") : 0;
}

static pid_t fork_sentry(struct isolation *iso, struct error *e)
{
    pid_t pid;

    iso->user_ns = true;
    pid = fork_into(NAMESPACES | CLONE_NEWUSER);
    if (pid < 0 && geteuid() == 0) {
        /* Root of a host without user namespaces needs none for the others. */
        iso->user_ns = false;
        pid = fork_into(NAMESPACES);
        if (pid > 0)
            log_info("the host allows no user namespaces: the sentry runs as root with few capabilities");
    }
    return pid < 0 ? error_set(e, -pid, "the host does not allow %s namespaces", what_is_forbidden()) : pid;
}

pid_t isolate_fork(const struct container_spec *spec, struct isolation *iso, struct error *e)
{
    int own = -1;
    pid_t pid;

    if (pipe2(iso->gate, O_CLOEXEC) < 0)
        return error_set(e, errno, "pipe");
    if (spec->timens.fd > 0) {
        own = open("/proc/self/ns/time", O_RDONLY | O_CLOEXEC);
        if (own < 0)
            return error_set(e, errno, "the host's time namespace");
        if ((pid = enter_timens(spec->timens.fd, e)) < 0)
            return pid;
    }
    pid = fork_sentry(iso, e);
    if (own >= 0 && pid > 0 && enter_timens(own, e) < 0) {
        kill(pid, SIGKILL);
        return -EPERM;
    }
    if (own >= 0)
        close(own);
    if (pid >= 0)
        close(iso->gate[pid == 0]);
    return pid;
}

int isolate_map_ids(const struct container_spec *spec, const struct isolation *iso, pid_t child, struct error *e)
{
    return iso->user_ns ? idmap_write(spec, child, e) : 0;
}

int isolate_release(struct isolation *iso, struct error *e)
{
    int r = write(iso->gate[1], "", 1) == 1 ? 0 : error_set(e, errno, "the sandbox process");

    close(iso->gate[1]);
    return r;
}

/* --- trees of the host --- */

/*
 * A detached copy of the mount that `fd` is on, from there down, in place of `fd`. A descriptor from before the mount namespace
 * belongs to the old one, of which nothing can be cloned; so the new one is found by name, and must be the same file.
 */
static int detach_tree(int *fd, bool recursive, bool readonly)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (readonly ? MOUNT_ATTR_RDONLY : 0),
                              .propagation = MS_PRIVATE};
    unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    char link[32], path[PATH_MAX];
    struct stat old, new;
    ssize_t n;
    int tree;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", *fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, flags | (recursive ? AT_RECURSIVE : 0));
    if (tree < 0 && errno == EINVAL && !recursive) /* what is mounted below it hides something from us */
        tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, flags | AT_RECURSIVE);
    if (tree < 0)
        return -errno;
    if (fstat(*fd, &old) < 0 || fstat(tree, &new) < 0 || old.st_dev != new.st_dev || old.st_ino != new.st_ino) {
        close(tree);
        return -ESTALE;
    }
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0) {
        int r = -errno;
        close(tree);
        return r;
    }
    close(*fd);
    *fd = tree;
    return 0;
}

static int detach_trees(struct container_spec *s, struct error *e)
{
    int r = detach_tree(&s->root_fd, true, s->root_kind == SPEC_ROOT_OVERLAY);

    if (r < 0)
        return error_set(e, -r, "root file system %s", s->root_path);
    for (size_t i = 0; i < s->nr_mounts; i++) {
        struct spec_mount *m = &s->mounts[i];

        if (m->bind && !m->detached && (r = detach_tree(&m->source_fd, m->recursive, m->flags & MS_RDONLY)) < 0)
            return error_set(e, -r, "mount %s", m->source);
    }
    return 0;
}

/* A /proc of the new pid namespace that holds processes and nothing else, mounted nowhere. */
static int new_proc(void)
{
    unsigned int attr = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    int fs = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC), fd = -1;

    if (fs < 0)
        return -errno;
    if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "subset", "pid", 0) == 0 &&
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attr);
    if (fd < 0)
        fd = -errno;
    close(fs);
    return fd;
}

/*
 * Gives the sentry its descriptors of /proc. A host that has parts of its own /proc hidden, as containers have, lets nobody
 * mount another; then CPU times of guests are not to be had.
 */
static int take_proc(struct error *e)
{
    int proc = new_proc(), self_fd, r = 0;

    if (proc >= 0)
        self_fd = openat(proc, "self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    else
        self_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (self_fd < 0)
        return error_set(e, errno, "/proc/self/fd");
    if (proc < 0) {
        log_info("the host does not let us mount a /proc: %s", strerror(-proc));
        r = detach_tree(&self_fd, false, false);
    }
    hostproc_set(self_fd, proc < 0 ? -1 : proc);
    return r < 0 ? error_set(e, -r, "/proc/self/fd") : 0;
}

/*
 * A file for guest memory on a tmpfs of our own, mounted nowhere: unlike a memfd's, its mapping can be given huge pages if that
 * is asked for, whatever the host's shmem_enabled says. 0: the host does not let us, and a memfd will do.
 */
static int new_memory(void)
{
    int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mnt = -1, fd = -1;

    if (fs < 0)
        return 0;
    if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "huge", "advise", 0) == 0 &&
        syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", "0", 0) == 0 &&
        syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0 &&
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (mnt >= 0)
        fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        log_info("the host does not let us have huge pages for guest memory: %s", strerror(errno));
    if (mnt >= 0)
        close(mnt);
    close(fs);
    return fd > 0 ? fd : 0;
}

static int empty_root(struct error *e)
{
    /* Any directory will do for a moment; this one is everywhere. */
    static const char at[] = "/proc";

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", at, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2,mode=0555") < 0 ||
        chdir(at) < 0)
        return error_set(e, errno, "empty root");
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        if (umount2(".", MNT_DETACH) < 0)
            return error_set(e, errno, "the host's root");
    } else if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
        /* EINVAL: the host's root is the initial ramfs, which cannot be left but can be covered. */
        return error_set(e, errno, "the host does not allow a root of one's own");
    }
    return chdir("/") < 0 ? error_set(e, errno, "empty root") : 0;
}

/* --- powers --- */

/* What a container's root may do to files of its own ids. */
static const int kept_capabilities[] = {
    CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_SETFCAP, CAP_MKNOD,
};

static int drop_capabilities(struct error *e)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2], keep[2] = {{0}};

    if (syscall(SYS_capget, &header, now) < 0)
        return error_set(e, errno, "capabilities");
    for (size_t i = 0; i < ARRAY_SIZE(kept_capabilities); i++)
        keep[kept_capabilities[i] / 32].permitted |= 1U << kept_capabilities[i] % 32;
    for (int i = 0; i < 2; i++)
        keep[i].effective = keep[i].permitted &= now[i].permitted;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, keep) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(e, errno, "capabilities");
    return 0;
}

/* Becomes the user namespace's root if its map has one; capabilities are kept. */
static int take_ids(const struct isolation *iso, struct error *e)
{
    if (!iso->user_ns || getuid() == 0)
        return 0;
    /* A user's namespace without newgidmap(1) has no setgroups(2). */
    if (setgroups(0, NULL) < 0 && errno != EPERM)
        return error_set(e, errno, "setgroups");
    if ((setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0) && errno != EINVAL)
        return error_set(e, errno, "the user namespace's root");
    /* Changing ids takes this away, and the platform's processes, which inherit it, could not be traced without. */
    return prctl(PR_SET_DUMPABLE, 1) < 0 ? error_set(e, errno, "prctl") : 0;
}

/* A time namespace of its own; clocks of the sentry's are the guest's, whatever way they are read. */
static int set_clocks(const struct spec_timens *t, struct error *e)
{
    char text[128];
    int fd,
        n = snprintf(text, sizeof(text), "monotonic %lld %ld\nboottime %lld %ld\n", (long long)t->monotonic.tv_sec,
                     t->monotonic.tv_nsec, (long long)t->boottime.tv_sec, t->boottime.tv_nsec),
        r = 0;

    if (!t->offsets)
        return 0;
    if (unshare(CLONE_NEWTIME) < 0)
        return error_set(e, errno, "the host does not allow time namespaces");
    fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        r = error_set(e, errno, "linux.timeOffsets");
    if (fd >= 0)
        close(fd);
    if (r < 0)
        return r;
    fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    r = fd < 0 ? error_set(e, errno, "time namespace") : enter_timens(fd, e);
    if (fd >= 0)
        close(fd);
    return r;
}

/* Those that look into the sandbox from outside, and pods that share its names, find the container's. */
static void set_names(const struct container_spec *s)
{
    const char *domain = s->domainname ? s->domainname : "";

    if (s->hostname && sethostname(s->hostname, strlen(s->hostname)) == 0 && setdomainname(domain, strlen(domain)) == 0)
        return;
    log_debug("names of the sandbox's namespace are not set");
}

/* A text that lives as long as the process; NULL: not to be had. */
static char *read_text(const char *path)
{
    char buf[MAP_TEXT];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : -1;

    if (fd >= 0)
        close(fd);
    return n > 0 ? strndup(buf, (size_t)n) : NULL;
}

int isolate_enter(struct container_spec *spec, struct isolation *iso, struct error *e)
{
    char go;
    int r;

    r = read(iso->gate[0], &go, 1) == 1 ? 0 : error_set(e, 0, "whoever started the sandbox has died");
    close(iso->gate[0]);
    if (r == 0) {
        spec->uid_map_text = read_text("/proc/self/uid_map");
        spec->gid_map_text = read_text("/proc/self/gid_map");
        /* Not when it is forked: it was in another cgroup then, which would be the root of what it sees. */
        if (unshare(CLONE_NEWCGROUP) < 0)
            log_info("the host does not let us have a cgroup namespace: %s", strerror(errno));
    }
    set_names(spec);
    spec->memory_fd = new_memory();
    if (r < 0 || (r = set_clocks(&spec->timens, e)) < 0 || (r = detach_trees(spec, e)) < 0 || (r = take_proc(e)) < 0 ||
        (r = empty_root(e)) < 0 || (r = take_ids(iso, e)) < 0 || (r = drop_capabilities(e)) < 0)
        return r;
    /* Last, because changing one's ids takes it back. */
    return prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ? error_set(e, errno, "prctl") : 0;
}
