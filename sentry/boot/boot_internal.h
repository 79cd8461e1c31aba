/* What the files of sentry/boot share. */
#ifndef SENTRY_BOOT_BOOT_INTERNAL_H
#define SENTRY_BOOT_BOOT_INTERNAL_H

#include "lib/error.h"
#include "sentry/boot/sandbox.h"
#include "sentry/host/filter.h"
#include "sentry/host/loop.h"
#include "sentry/kernel/kernel.h"
#include "vfs/fs_struct.h"

#include <stdatomic.h>

struct cred;
struct fdtable;
struct file;
struct seccomp_filter;
struct tty;

struct sandbox {
    const struct container_spec *spec;
    struct kernel *k;
    struct platform *platform;
    struct memfile *memfile;
    struct host_loop *loop;
    struct cred *root_cred;   /* boot's own */
    struct super_block *root; /* the container's root if it is the host's tree itself; NULL: it is a layer above */
    struct fs_struct *fs;     /* of the container's root; processes get copies */
    struct vfs_caller caller;
    struct tty *console;                 /* init's terminal */
    struct seccomp_filter *seccomp;      /* of all processes that boot starts; NULL: none */
    int connectable[FILTER_CONNECTABLE]; /* descriptors set aside for what the filter lets be connected */
    int broker;                          /* with --network=host; -1: none */
    struct net_config *network;          /* until init starts; NULL: a loopback alone */
    bool started;
    bool (*on_exit)(void *arg, int wstatus);
    void *on_exit_arg;
    struct host_work exit_work;
    int wstatus;
};

/* rootfs.c: makes the mount namespace, with everything the spec mounts. */
int must_check boot_rootfs(struct sandbox *sb, struct error *e);

/* stdio.c: a descriptor table with 0, 1 and 2. */
int must_check boot_stdio(struct sandbox *sb, const struct sandbox_stdio *io, struct fdtable **out);
/* Adds those from 3 on. Takes them over in any case. */
int must_check boot_extra_fds(struct sandbox *sb, const struct sandbox_stdio *io, struct fdtable *ft, struct error *e);
int must_check boot_fdtable_of(struct file *in, struct file *out, struct file *err, struct fdtable **ft);

/* process.c: starts a process of `spec`. Takes over the descriptors of `io` in any case. */
int must_check boot_spawn(struct sandbox *sb, const struct spec_process *spec, const struct sandbox_stdio *io,
                          void (*exited)(struct kernel *k, pid_t pid, int wstatus, void *arg), void *arg, pid_t *pid,
                          struct tty **console, struct error *e);
/* Gives the host's terminal behind one back as it was, and forgets it. NULL: none. */
void boot_drop_console(struct tty **console);
/* Whether argv[0] of `spec` can be found and executed. */
int must_check boot_check_exe(struct sandbox *sb, const struct spec_process *spec, struct error *e);

/* copy_tree.c: the contents of one directory into another, empty one. `depth` is 0. */
int must_check boot_copy_tree(struct sandbox *sb, const struct path *from, const struct path *to, int depth);

/* start_hooks.c: runs the spec's hooks in the container, one after the other, whose init exists and is held. */
int must_check boot_start_hooks(struct sandbox *sb, struct error *e);

/* home.c: "HOME=..." from the container's /etc/passwd, for an environment without one. NULL: out of memory. */
char *boot_home(struct sandbox *sb, uid_t uid);

/* host_limits.c */
uint64_t boot_host_ram(void);
unsigned int boot_host_cpus(void);

#endif
