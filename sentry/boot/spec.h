/*
 * What a sandbox is to run, free of any file format: the CLI makes one from an OCI bundle, from the options of `do`, or from a
 * message of the control socket. All pointers are borrowed from whoever made it and must stay valid while boot reads them.
 */
#ifndef SENTRY_BOOT_SPEC_H
#define SENTRY_BOOT_SPEC_H

#include "lib/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct sock_filter;

enum { SPEC_CPU_WORDS = 16 }; /* 1024 CPUs, as the sentry knows them */

/* Capability sets as bit masks, as in struct cred. */
struct spec_caps {
    uint64_t bounding, effective, inheritable, permitted, ambient;
};

struct spec_rlimit {
    int resource;
    uint64_t soft, hard;
};

struct spec_process {
    const char **argv, **envp; /* NULL terminated; argv[0] is looked up in the guest's $PATH if it has no slash */
    const char *cwd;
    uid_t uid;
    gid_t gid;
    int64_t umask; /* -1: 022 */
    const gid_t *groups;
    size_t nr_groups;
    struct spec_caps caps;
    const struct spec_rlimit *rlimits;
    size_t nr_rlimits;
    bool no_new_privs;
    bool terminal;
    unsigned short rows, cols; /* of the terminal; 0: unknown */
    int oom_score_adj;
    int nice, sched_policy, sched_priority; /* as for sched_setattr(2) */
    int ioprio;                             /* as for ioprio_set(2); 0: none */
    unsigned long personality;              /* as for personality(2) */
    bool bound;                             /* to these CPUs of the container's, by a bit each */
    uint64_t cpus[SPEC_CPU_WORDS];
    bool held, killable_init; /* see sentry/kernel/boot.h */
};

/* At most this many descriptors besides 0, 1 and 2 can be given to a process. */
enum { SPEC_EXTRA_FDS = 200 };

/* `count` ids from `inside` on, as the container knows them, are those from `outside` on for whoever starts it. */
struct spec_idmap {
    uint32_t inside, outside, count;
};

/* A device node besides those that every container has. */
struct spec_device {
    const char *path;
    uint32_t mode; /* type and permissions */
    uint32_t major, minor;
    uid_t uid;
    gid_t gid;
};

/* A program of the container's that runs in it before init's begins. */
struct spec_hook {
    const char *path;
    const char **argv, **envp; /* NULL: the path alone; nothing */
    int timeout;               /* seconds; 0: none */
};

struct spec_sysctl {
    const char *name, *value;
};

/* One mount, in the order of the list. */
struct spec_mount {
    const char *destination; /* absolute, in the container */
    const char *type;        /* "tmpfs", "proc", ...; "bind" for host trees */
    const char *source;
    const char *data;          /* options that are the filesystem's own, comma separated; "" for none */
    unsigned long flags;       /* MS_* */
    unsigned long propagation; /* MS_SHARED, MS_SLAVE...; 0: leave */
    bool bind, recursive;
    bool copy_up; /* a tmpfs begins with what it covers */
    bool remount; /* changes the flags of what is mounted there */
    /* bind: ids are translated, see cmd/runsc-c/sandbox/idmount.h; none: they are as they are. */
    const struct spec_idmap *uid_maps, *gid_maps;
    size_t nr_uid_maps, nr_gid_maps;
    bool idmap, idmap_recursive;
    bool detached; /* source_fd is a detached mount already */
    int source_fd; /* bind: O_PATH descriptor of the host file or directory, owned by the spec's maker */
};

enum spec_root_kind {
    SPEC_ROOT_HOST,    /* the host directory itself */
    SPEC_ROOT_OVERLAY, /* the host directory below an upper layer in memory */
};

enum spec_network {
    SPEC_NETWORK_SANDBOX, /* a stack of ours on the interfaces of the container's network namespace */
    SPEC_NETWORK_HOST,    /* the host's sockets */
    SPEC_NETWORK_NONE,    /* a loopback alone */
};

/* The time namespace that the container is to have: what its clocks are ahead of the host's. */
struct spec_timens {
    int fd; /* > 0: one to join */
    bool offsets;
    struct timespec monotonic, boottime; /* tv_sec may be negative */
};

/* The network namespace that the container is to have on the host. */
struct spec_netns {
    bool given;       /* the spec asks for one */
    const char *path; /* NULL: a new one */
};

struct container_spec {
    const char *id;
    const char *platform;
    enum spec_root_kind root_kind;
    int root_fd;           /* O_PATH descriptor of the host directory, owned by the spec's maker */
    int memory_fd;         /* > 0: an empty file to keep guest memory in, on a tmpfs that gives huge pages on request */
    const char *root_path; /* what /proc/mounts says it is */
    bool root_readonly;
    unsigned long root_propagation; /* MS_SHARED..., 0: private */
    struct spec_process process;
    struct spec_mount *mounts;
    size_t nr_mounts;
    const char **masked_paths, **readonly_paths;  /* NULL terminated or NULL */
    const char *hostname, *domainname;            /* NULL: the host's names are not shown, "runsc-c" is */
    uint64_t pids_limit;                          /* 0: none */
    uint64_t memory_limit;                        /* bytes; 0: none */
    struct limits limits;                         /* of the host's cgroup, to be shown */
    bool memory_in_cgroup;                        /* the host's cgroup keeps memory_limit, and may change it */
    const struct spec_idmap *uid_maps, *gid_maps; /* of the sentry's user namespace; none: as isolate.h says */
    size_t nr_uid_maps, nr_gid_maps;
    const char *uid_map_text, *gid_map_text; /* as they have become, by isolate_enter(): /proc/self/uid_map's text */
    bool tsc_clock;                          /* see sentry/kernel/boot.h; by sandbox_look_at_host() */
    const struct spec_device *devices;
    size_t nr_devices;
    const struct spec_hook *start_hooks;
    size_t nr_start_hooks;
    const char *start_state; /* what they read from stdin */
    const struct spec_sysctl *sysctls;
    size_t nr_sysctls;
    const struct sock_filter *seccomp; /* of all the container's processes; NULL: none */
    size_t nr_seccomp;
    enum spec_network network;
    bool host_sockets; /* init is given sockets of the host's */
    struct spec_netns netns;
    struct spec_timens timens;
    bool strace;
};

#endif
