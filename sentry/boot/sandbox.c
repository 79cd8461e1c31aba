/*
 * The order of things: the platform first, because it must be made while there is one thread; then memory, loop and kernel,
 * which cost little; then the root file system; and last the init process. Nothing is taken apart at the end: the process exits
 * with the container, and takes everything with it.
 */
#include "sentry/boot/boot_internal.h"
#include "sentry/syscalls/fasync.h"

#include "lib/hostproc.h"
#include "lib/log.h"
#include "lib/memfile.h"
#include "platform/platform.h"
#include "sentry/fs/fs.h"
#include "sentry/fs/tty/tty.h"
#include "sentry/host/filter.h"
#include "sentry/kernel/boot.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/socket/net.h"
#include "vfs/cred.h"
#include "vfs/epoll.h"
#include "vfs/hostfs/hostfs.h"
#include "vfs/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

static int make_platform(struct sandbox *sb, struct error *e)
{
    struct platform_config config = {.name = sb->spec->platform};
    char why[256] = "";
    int r = platform_create(&config, &sb->platform, why, sizeof(why));

    if (r < 0)
        return error_set(e, why[0] ? 0 : -r, "platform %s%s%s", config.name, why[0] ? ": " : "", why);
    log_info("platform: %s", platform_name(sb->platform));
    return 0;
}

static int make_kernel(struct sandbox *sb, struct error *e)
{
    const struct container_spec *s = sb->spec;
    uint64_t ram = boot_host_ram();
    struct kernel_params kp = {
        .platform = sb->platform,
        .nr_cpus = boot_host_cpus(),
        .max_tasks = s->pids_limit && s->pids_limit < UINT32_MAX ? (unsigned int)s->pids_limit : 0,
        .limits = s->limits,
        .hostname = s->hostname ? s->hostname : "runsc-c",
        .domainname = s->domainname ? s->domainname : "(none)",
        .strace = s->strace,
        .tsc_clock = s->tsc_clock,
        .uid_map = s->uid_map_text,
        .gid_map = s->gid_map_text,
    };
    int r;

    if (s->memory_limit && s->memory_limit < ram)
        ram = s->memory_limit;
    kp.total_ram = ram;
    r = memfile_create_in(s->memory_fd, s->memory_in_cgroup ? boot_host_ram() : ram, &sb->memfile);
    if (r < 0)
        return error_set(e, -r, "memory file");
    r = host_loop_create(&sb->loop);
    if (r < 0)
        return error_set(e, -r, "event loop");
    kp.memfile = sb->memfile;
    kp.loop = sb->loop;
    r = kernel_create(&kp, &sb->k);
    return r < 0 ? error_set(e, -r, "kernel") : 0;
}

int sandbox_create(const struct container_spec *spec, struct sandbox **out, struct error *e)
{
    struct sandbox *sb = calloc(1, sizeof(*sb));
    int r;

    if (!sb)
        return error_set(e, ENOMEM, "sandbox");
    sb->spec = spec;
    sb->broker = -1;
    sb->root_cred = cred_create_root();
    if (!sb->root_cred) {
        free(sb);
        return error_set(e, ENOMEM, "sandbox");
    }
    sb->caller = (struct vfs_caller){.cred = sb->root_cred, .fsize_limit = UINT64_MAX};
    if ((r = make_platform(sb, e)) < 0 || (r = make_kernel(sb, e)) < 0)
        return r;
    pipe_boot();
    epoll_boot();
    fasync_boot();
    r = sentry_fs_init(sb->k);
    if (r < 0)
        return error_set(e, -r, "file systems");
    if (spec->seccomp) {
        r = seccomp_filter_create(spec->seccomp, spec->nr_seccomp, &sb->seccomp);
        if (r < 0)
            return error_set(e, -r, "seccomp filter");
    }
    r = boot_rootfs(sb, e);
    if (r < 0)
        return r;
    *out = sb;
    return 0;
}

int sandbox_confine(struct sandbox *sb, struct error *e)
{
    int r;

    /* Nobody on the host but root looks into a running sentry. Its stubs are processes that began without this. */
    if (prctl(PR_SET_DUMPABLE, 0) < 0)
        return error_set(e, errno, "prctl");
    for (int i = 0; i < FILTER_CONNECTABLE; i++)
        if ((sb->connectable[i] = fcntl(hostproc_self_fd(), F_DUPFD_CLOEXEC, 3)) < 0)
            return error_set(e, errno, "descriptors");
    r = host_filter_install(platform_name(sb->platform), sb->spec->network == SPEC_NETWORK_HOST || sb->spec->host_sockets,
                            sb->connectable);
    return r < 0 ? error_set(e, -r, "the host does not allow seccomp filters") : 0;
}

int sandbox_check_init(struct sandbox *sb, struct error *e)
{
    return boot_check_exe(sb, &sb->spec->process, e);
}

static void exit_on_loop(struct host_work *w)
{
    struct sandbox *sb = container_of(w, struct sandbox, exit_work);

    log_info("init has exited: wait status %#x", sb->wstatus);
    boot_drop_console(&sb->console);
    if (!sb->on_exit || sb->on_exit(sb->on_exit_arg, sb->wstatus))
        host_loop_stop(sb->loop);
}

/* On init's last thread. */
static void init_exited(struct kernel *k, pid_t pid, int wstatus, void *arg)
{
    struct sandbox *sb = arg;

    sb->wstatus = wstatus;
    host_loop_post(sb->loop, &sb->exit_work);
}

bool sandbox_wants_network(const struct sandbox *sb, const char **netns)
{
    *netns = sb->spec->netns.path;
    return sb->spec->network == SPEC_NETWORK_SANDBOX && sb->spec->netns.given && !sb->network && !sb->started;
}

void sandbox_set_network(struct sandbox *sb, struct net_config *c)
{
    sb->network = c;
}

void sandbox_set_broker(struct sandbox *sb, int sock)
{
    sb->broker = sock;
}

int sandbox_start(struct sandbox *sb, const struct sandbox_stdio *io, struct error *e)
{
    pid_t pid;
    int r = sb->broker >= 0 ? net_host_start(sb->k->net, sb->broker) : 0;

    if (r == 0)
        r = net_start(sb->k->net, sb->network, sb->connectable);
    free(sb->network);
    sb->network = NULL;
    if (r < 0)
        return error_set(e, -r, "network");
    sb->exit_work.fn = exit_on_loop;
    r = boot_spawn(sb, &sb->spec->process, io, init_exited, sb, &pid, &sb->console, e);
    if (r < 0)
        return r;
    sb->started = true;
    r = boot_start_hooks(sb, e);
    if (r < 0)
        kernel_signal_external(sb->k, 1, SIGKILL);
    kernel_release_init(sb->k);
    return r;
}

int sandbox_run(struct sandbox *sb)
{
    host_loop_run(sb->loop);
    net_drain(sb->k->net);
    return sb->wstatus;
}

void sandbox_stop(struct sandbox *sb, int wstatus)
{
    sb->wstatus = wstatus;
    sb->exit_work.fn = exit_on_loop;
    host_loop_post(sb->loop, &sb->exit_work);
}

/* An exec's end, on its way from its last thread to the loop. */
struct exec_exit {
    struct host_work work;
    struct sandbox *sb;
    struct sandbox_process *p;
    int wstatus;
};

static void exec_exit_on_loop(struct host_work *w)
{
    struct exec_exit *x = container_of(w, struct exec_exit, work);

    boot_drop_console(&x->p->console);
    x->p->exited(x->p, x->wstatus);
    free(x);
}

static void exec_exited(struct kernel *k, pid_t pid, int wstatus, void *arg)
{
    struct exec_exit *x = arg;

    x->wstatus = wstatus;
    host_loop_post(x->sb->loop, &x->work);
}

/* Whoever sends us something may have put files into the container before, for the process to find. */
static void expire_names(struct sandbox *sb)
{
    if (sb->root)
        hostfs_expire(sb->root);
}

int sandbox_exec(struct sandbox *sb, const struct spec_process *spec, const struct sandbox_stdio *io, struct sandbox_process *p,
                 struct error *e)
{
    struct exec_exit *x = calloc(1, sizeof(*x));
    int r;

    if (!x)
        return error_set(e, ENOMEM, "exec");
    x->work.fn = exec_exit_on_loop;
    expire_names(sb);
    x->sb = sb;
    x->p = p;
    r = boot_spawn(sb, spec, io, exec_exited, x, &p->pid, &p->console, e);
    if (r < 0)
        free(x);
    return r;
}

int sandbox_kill(struct sandbox *sb, pid_t pid, int signo, bool all)
{
    expire_names(sb);
    return kernel_signal_external(sb->k, all ? -1 : pid ? pid : 1, signo);
}

void sandbox_pause(struct sandbox *sb, bool paused)
{
    kernel_pause(sb->k, paused);
}

void sandbox_on_exit(struct sandbox *sb, bool (*fn)(void *arg, int wstatus), void *arg)
{
    sb->on_exit = fn;
    sb->on_exit_arg = arg;
}

void sandbox_end(struct sandbox *sb)
{
    host_loop_stop(sb->loop);
}

bool sandbox_started(const struct sandbox *sb)
{
    return sb->started;
}

struct kernel *sandbox_kernel(struct sandbox *sb)
{
    return sb->k;
}

struct host_loop *sandbox_loop(struct sandbox *sb)
{
    return sb->loop;
}

void sandbox_resize(struct sandbox *sb, struct sandbox_process *p)
{
    struct tty *tty = p ? p->console : sb->console;

    if (tty)
        tty_host_resize(tty);
}
