/*
 * exec: another process in a running container. The sentry starts it and holds its descriptors; this process stays as its
 * stand-in on the host: it forwards signals and exits with its status. Detached, a child of ours does that, whose process id
 * is what --pid-file tells.
 */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/container.h"
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"
#include "cmd/runsc-c/sandbox/client.h"
#include "cmd/runsc-c/sandbox/donated.h"
#include "cmd/runsc-c/sandbox/launch.h"
#include "cmd/runsc-c/sandbox/signals.h"
#include "cmd/runsc-c/state.h"
#include "sentry/boot/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct exec_opts {
    const char *cwd, *user, *process, *pid_file, *console_socket;
    struct opt_list env, caps, groups;
    bool tty, detach, no_new_privs, ignore_paused;
    int preserve_fds;
    const char *apparmor, *process_label, *cgroup;
};

/* "uid[:gid]", numbers as runc wants them. */
static int parse_user(const char *s, struct spec_process *p, struct error *e)
{
    char *end;
    unsigned long uid = strtoul(s, &end, 10), gid = p->gid;

    if (end == s || (*end && *end != ':') || uid >= UINT32_MAX)
        return error_set(e, 0, "--user: \"%s\" is not uid[:gid]", s);
    if (*end == ':') {
        const char *g = end + 1;
        gid = strtoul(g, &end, 10);
        if (end == g || *end || gid >= UINT32_MAX)
            return error_set(e, 0, "--user: \"%s\" is not uid[:gid]", s);
    }
    p->uid = (uid_t)uid;
    p->gid = (gid_t)gid;
    return 0;
}

/* In a NULL-terminated list with room for one more: a name that is there already is given its new value. */
static void set_env(const char **env, const char *value)
{
    size_t name = strcspn(value, "=");

    while (*env && !(strncmp(*env, value, name) == 0 && (*env)[name] == '='))
        env++;
    *env = value;
}

static int add_groups(const struct exec_opts *o, struct spec_process *p, struct error *e)
{
    gid_t *list;

    if (o->groups.n == 0)
        return 0;
    list = calloc(p->nr_groups + o->groups.n, sizeof(*list));
    if (!list)
        return error_set(e, ENOMEM, "--additional-gids");
    if (p->nr_groups)
        memcpy(list, p->groups, p->nr_groups * sizeof(*list));
    for (size_t i = 0; i < o->groups.n; i++) {
        char *end;
        unsigned long gid = strtoul(o->groups.v[i], &end, 10);
        if (end == o->groups.v[i] || *end || gid >= UINT32_MAX)
            return error_set(e, 0, "--additional-gids: \"%s\" is not a group", o->groups.v[i]);
        list[p->nr_groups++] = (gid_t)gid;
    }
    p->groups = list;
    return 0;
}

/* The bundle's own process as a base, with what the options say on top. */
static int make_process(struct state_dir *d, const struct exec_opts *o, char **argv, struct spec_process *p, struct error *e)
{
    struct json_object *state, *doc, *process;
    const char *bundle = NULL;
    char path[4096];
    size_t n = 0;
    const char **env;
    int r;

    if ((r = state_load(d, &state, e)) < 0 || (r = json_get_string(state, "state", "bundle", true, &bundle, e)) < 0)
        return r;
    snprintf(path, sizeof(path), "%s/config.json", bundle);
    if ((r = json_load(AT_FDCWD, path, &doc, e)) < 0 || (r = json_get_object(doc, "", "process", true, &process, e)) < 0 ||
        (r = oci_parse_process(process, p, e)) < 0)
        return r;
    p->terminal = o->tty;
    p->argv = (const char **)argv;
    if (o->cwd)
        p->cwd = o->cwd;
    if (p->cwd[0] != '/')
        return error_set(e, 0, "--cwd: \"%s\" is not an absolute path", p->cwd);
    if (o->user && (r = parse_user(o->user, p, e)) < 0)
        return r;
    p->no_new_privs |= o->no_new_privs;
    for (size_t i = 0; i < o->caps.n; i++) {
        int cap = cap_by_name(o->caps.v[i]);
        if (cap < 0)
            return error_set(e, 0, "--cap: unknown capability %s", o->caps.v[i]);
        p->caps.bounding |= 1ULL << cap;
        p->caps.effective |= 1ULL << cap;
        p->caps.permitted |= 1ULL << cap;
        p->caps.inheritable |= 1ULL << cap;
    }
    if ((r = add_groups(o, p, e)) < 0)
        return r;
    while (p->envp[n])
        n++;
    env = calloc(n + o->env.n + 1, sizeof(*env));
    if (!env)
        return error_set(e, ENOMEM, "environment");
    memcpy(env, p->envp, n * sizeof(*env));
    for (size_t i = 0; i < o->env.n; i++)
        set_env(env, o->env.v[i]);
    p->envp = env;
    return 0;
}

/* Sends the request; the pid in the container. */
static int start_exec(int sock, const struct spec_process *p, const struct sandbox_stdio *io, bool kill_on_close,
                      struct error *e)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Exec exec = RUNSC_C__EXEC__INIT;
    RunscC__Process process;
    RunscC__Reply *reply;
    int fds[CONTROL_MAX_FDS], r = control_process_pack(p, &process);

    if (r < 0)
        return error_set(e, -r, "exec");
    exec.process = &process;
    exec.kill_on_close = kill_on_close;
    q.id = 1;
    q.what_case = RUNSC_C__REQUEST__WHAT_EXEC;
    q.exec = &exec;
    memcpy(fds, io->fd, sizeof(io->fd));
    memcpy(fds + 3, io->extra, (size_t)io->nr_extra * sizeof(int));
    r = client_call(sock, &q, fds, 3 + io->nr_extra, &reply, e);
    control_process_pack_free(&process);
    if (r < 0)
        return r;
    r = reply->pid;
    runsc_c__reply__free_unpacked(reply, NULL);
    return r;
}

static int forward_signal(int sock, int pid, int signo)
{
    RunscC__Request q = RUNSC_C__REQUEST__INIT;
    RunscC__Kill kill = RUNSC_C__KILL__INIT;

    if (signo == SIGWINCH) {
        q.what_case = RUNSC_C__REQUEST__WHAT_RESIZE;
        q.resize = pid;
    } else {
        kill.signal = signo;
        kill.pid = pid;
        q.what_case = RUNSC_C__REQUEST__WHAT_KILL;
        q.kill = &kill;
    }
    return control_send(sock, &q.base, NULL, 0);
}

/* Until the process has exited: its wait status. The sentry's end means that the container was killed. */
static int stand_in(int sock, int pid)
{
    struct control_buf b = {0};
    struct pollfd p[2] = {{.fd = sock, .events = POLLIN}, {.events = POLLIN}};
    sigset_t set;
    struct error e;

    signals_set(&set);
    p[1].fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    for (;;) {
        struct signalfd_siginfo si;
        RunscC__Reply *reply;
        int wstatus;

        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return SIGKILL;
        while (read(p[1].fd, &si, sizeof(si)) == sizeof(si))
            forward_signal(sock, pid, (int)si.ssi_signo);
        if (!p[0].revents)
            continue;
        if (client_receive(sock, &b, &reply, &e) < 0)
            return SIGKILL;
        if (reply->exit) {
            wstatus = reply->exit->wait_status;
            runsc_c__reply__free_unpacked(reply, NULL);
            control_buf_fini(&b);
            return wstatus;
        }
        runsc_c__reply__free_unpacked(reply, NULL);
    }
}

static int open_stdio(const struct exec_opts *o, struct sandbox_stdio *io, struct error *e)
{
    for (int i = 0; i < 3; i++)
        io->fd[i] = i;
    if (o->console_socket) {
        int slave = console_from_socket(o->console_socket, e);
        if (slave < 0)
            return slave;
        io->fd[0] = io->fd[1] = io->fd[2] = slave;
    } else if (o->tty && o->detach) {
        return error_set(e, 0, "cannot allocate tty if runsc-c will detach without setting console socket");
    } else if (o->tty && !isatty(STDIN_FILENO)) {
        return error_set(e, 0, "--tty: stdin is not a terminal");
    }
    return 0;
}

/* In the child that stands in for a detached process. */
static _Noreturn void detached(int sock, int pid, int terminal)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setsid();
    if (terminal >= 0)
        ioctl(terminal, TIOCSCTTY, 0); /* for its SIGWINCH */
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    _exit(exit_status_of(stand_in(sock, pid)));
}

static int open_running(const struct cli *cli, const char *id, bool ignore_paused, struct state_dir *d, struct error *e)
{
    struct container c;
    int r = container_open(cli, id, &c, e);

    if (r < 0)
        return r;
    switch (container_status(&c)) {
    case CONTAINER_STOPPED:
        r = error_set(e, 0, "cannot exec in a stopped container");
        break;
    case CONTAINER_PAUSED:
        r = ignore_paused ? 0 : error_set(e, 0, "cannot exec in a paused container (use --ignore-paused to override)");
        break;
    default:
        break;
    }
    if (r < 0) {
        container_close(&c);
        return r;
    }
    *d = c.d;
    return 0;
}

static int cmd_exec(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    struct exec_opts *o = opts;
    struct donated donated;
    struct spec_process p;
    struct state_dir d;
    struct sandbox_stdio io;
    int sock, pid, r;
    pid_t child;

    if (!o->process && argc < 2)
        return error_set(e, 0, "exec: no command given");
    if ((r = donated_find(o->preserve_fds, false, &donated, e)) < 0)
        return r;
    r = open_running(cli, argv[0], o->ignore_paused, &d, e);
    if (r < 0)
        return r;
    r = o->process ? bundle_load_process(o->process, &p, e) : make_process(&d, o, argv + 1, &p, e);
    if (r == 0 && (o->process ? p.terminal : o->tty))
        o->tty = true;
    state_unlock(&d);
    sock = r < 0 ? r : client_connect(&d, e);
    if (sock < 0)
        return sock;
    if ((r = open_stdio(o, &io, e)) < 0)
        return r;
    donated_add(&donated, &io);
    signals_block();
    pid = start_exec(sock, &p, &io, true, e);
    state_close(&d);
    /* So that the other end of a pipe sees the guest's end of it close. */
    for (int i = 0; i < io.nr_extra; i++)
        close(io.extra[i]);
    if (pid < 0)
        return pid;
    if (!o->detach) {
        if (o->pid_file && (r = write_pid_file(o->pid_file, getpid(), e)) < 0)
            return r;
        return exit_status_of(stand_in(sock, pid));
    }
    child = fork();
    if (child < 0)
        return error_set(e, errno, "fork");
    if (child == 0)
        detached(sock, pid, o->console_socket ? io.fd[0] : -1);
    return o->pid_file ? write_pid_file(o->pid_file, child, e) : 0;
}

#define O(name, letter, kind, field, value, help)                          \
    {                                                                      \
        name, letter, kind, offsetof(struct exec_opts, field), value, help \
    }
static const struct opt exec_opts[] = {
    O("cwd", 0, OPT_STRING, cwd, "DIR", "working directory"),
    O("env", 'e', OPT_LIST, env, "NAME=VALUE", "add to the environment; may be repeated"),
    O("tty", 't', OPT_FLAG, tty, NULL, "give it a terminal"),
    O("user", 'u', OPT_STRING, user, "UID[:GID]", "as whom to run"),
    O("additional-gids", 'g', OPT_LIST, groups, "GID", "add a group; may be repeated"),
    O("cap", 'c', OPT_LIST, caps, "CAP", "add a capability; may be repeated"),
    O("no-new-privs", 0, OPT_FLAG, no_new_privs, NULL, "set no_new_privs"),
    O("detach", 'd', OPT_FLAG, detach, NULL, "return when it has started"),
    O("process", 'p', OPT_STRING, process, "FILE", "a \"process\" object instead of a command line"),
    O("pid-file", 0, OPT_STRING, pid_file, "FILE", "write the process id of its stand-in there"),
    O("console-socket", 0, OPT_STRING, console_socket, "PATH", "where to send the terminal's master"),
    O("ignore-paused", 0, OPT_FLAG, ignore_paused, NULL, "accepted for callers of runc"),
    O("preserve-fds", 0, OPT_INT, preserve_fds, "N", "pass N descriptors, from 3 on"),
    O("apparmor", 0, OPT_STRING, apparmor, "PROFILE", "accepted for callers of runc"),
    O("process-label", 0, OPT_STRING, process_label, "LABEL", "accepted for callers of runc"),
    O("cgroup", 0, OPT_STRING, cgroup, "PATH", "accepted for callers of runc"),
    OPT_END,
};
#undef O

const struct command command_exec = {
    .name = "exec",
    .args = "ID [COMMAND [ARGUMENTS]]",
    .help = "run another process in a container",
    .opts = exec_opts,
    .opts_size = sizeof(struct exec_opts),
    .min_args = 1,
    .max_args = -1,
    .error_status = 255, /* as runc: 1 would be the program's */
    .run = cmd_exec,
};
