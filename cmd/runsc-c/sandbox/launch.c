#include "cmd/runsc-c/sandbox/launch.h"

#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/hooks.h"
#include "cmd/runsc-c/network/network.h"
#include "cmd/runsc-c/sandbox/idmount.h"
#include "cmd/runsc-c/sandbox/isolate.h"
#include "cmd/runsc-c/sandbox/signals.h"
#include "cmd/runsc-c/state.h"
#include "sentry/boot/sandbox.h"
#include "sentry/control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

int exit_status_of(int wstatus)
{
    return WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) : WEXITSTATUS(wstatus);
}

int write_pid_file(const char *path, pid_t pid, struct error *e)
{
    char tmp[4096], text[16];
    int fd, n = snprintf(text, sizeof(text), "%d", pid), r = 0;

    if (snprintf(tmp, sizeof(tmp), "%s.%d", path, (int)getpid()) >= (int)sizeof(tmp))
        return error_set(e, ENAMETOOLONG, "pid file %s", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set(e, errno, "pid file %s", path);
    if (write(fd, text, (size_t)n) != n || rename(tmp, path) < 0) {
        r = error_set(e, errno, "pid file %s", path);
        unlink(tmp);
    }
    close(fd);
    return r;
}

static int send_fd(int sock, int fd, const char *name)
{
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec iov = {(void *)name, strlen(name)};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.buf, .msg_controllen = sizeof(control.buf)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return sendmsg(sock, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int console_from_socket(const char *path, struct error *e)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int sock = -1, master = -1, slave = -1, r;
    const char *name;

    if (strlen(path) >= sizeof(sa.sun_path))
        return error_set(e, ENAMETOOLONG, "console socket %s", path);
    strcpy(sa.sun_path, path);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        r = error_set(e, errno, "console socket %s", path);
        goto out;
    }
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || unlockpt(master) < 0 || !(name = ptsname(master))) {
        r = error_set(e, errno, "terminal");
        goto out;
    }
    slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        r = error_set(e, errno, "terminal %s", name);
        goto out;
    }
    r = send_fd(sock, master, name);
    if (r < 0) {
        error_set(e, -r, "console socket %s", path);
        close(slave);
    }
out:
    if (sock >= 0)
        close(sock);
    if (master >= 0)
        close(master);
    return r < 0 ? r : slave;
}

/* Descriptors for the guest: copies of ours, out of the way of 0, 1 and 2. A closed one becomes /dev/null. */
static int take_stdio(struct sandbox_stdio *io, struct error *e)
{
    for (int i = 0; i < 3; i++) {
        io->fd[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
        if (io->fd[i] < 0 && errno == EBADF) {
            int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
            if (fd >= 0) {
                io->fd[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                close(fd);
            }
        }
        if (io->fd[i] < 0)
            return error_set(e, errno, "stdio");
    }
    return 0;
}

/* The terminal and a session of its own for a detached sandbox. */
static int detached_stdio(const struct launch *l, struct sandbox_stdio *io, struct error *e)
{
    int slave;

    if (!l->spec->process.terminal)
        return take_stdio(io, e);
    slave = console_from_socket(l->console_socket, e);
    if (slave < 0)
        return slave;
    io->fd[0] = slave;
    io->fd[1] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    io->fd[2] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    return io->fd[1] < 0 || io->fd[2] < 0 ? error_set(e, errno, "stdio") : 0;
}

/* What the sentry tells its parent, as raw bytes on a pipe; end of file without it means that it died. */
struct report {
    int result;
    struct error error;
};

static void send_report(int fd, int result, const struct error *e)
{
    struct report rep = {.result = result, .error = *e};

    if (write(fd, &rep, sizeof(rep)) < 0 || result < 0)
        _exit(1);
}

static int wait_report(int fd, struct error *e)
{
    struct report rep;
    ssize_t n;

    do
        n = read(fd, &rep, sizeof(rep));
    while (n < 0 && errno == EINTR);
    if (n != sizeof(rep))
        return error_set(e, 0, "the sandbox process died while it was starting");
    if (rep.result < 0)
        *e = rep.error;
    return rep.result;
}

/* A sandbox on its way from the command to a process of its own. */
struct start {
    const struct launch *l;
    bool foreground;
    struct sandbox_stdio io;
    int listen_fd, null_fd;
    int report[2];
    int go[2];     /* by which the command says, after the report, that init is to start */
    int net[2];    /* by which the network comes; -1: none does */
    int broker[2]; /* with --network=host, the broker's end and the sentry's; else -1 */
    struct isolation iso;
};

static int serve_control(const struct start *st, struct sandbox *sb, struct error *e)
{
    struct control_server *server;
    int r;

    if (!st->l->state)
        return 0;
    r = control_server_create(sb, st->listen_fd, st->l->start ? NULL : &st->io, &server);
    return r < 0 ? error_set(e, -r, "control socket") : 0;
}

/* What was the command's. stderr stays, for the last words of a sentry in the foreground. */
static void let_go(const struct start *st)
{
    for (int i = 0; i < (st->foreground ? 2 : 3); i++)
        dup2(st->null_fd, i);
    close(st->null_fd);
    if (st->l->state) {
        close(st->l->state->fd);
        close(st->l->state->root_fd);
    }
    if (!st->foreground)
        prctl(PR_SET_PDEATHSIG, 0);
}

static int build_sandbox(struct start *st, struct sandbox **sb, struct error *e)
{
    const struct launch *l = st->l;
    struct net_config *network = NULL;
    int r;

    setsid();
    /* As our controlling terminal it sends us SIGWINCH when the other end changes its size. */
    if (!st->foreground && l->spec->process.terminal)
        ioctl(st->io.fd[0], TIOCSCTTY, 0);
    if ((r = isolate_enter(l->spec, &st->iso, e)) < 0 || (r = sandbox_create(l->spec, sb, e)) < 0 ||
        (r = serve_control(st, *sb, e)) < 0)
        return r;
    if (!l->start && (r = sandbox_check_init(*sb, e)) < 0)
        return r;
    if (st->net[1] >= 0 && (r = network_receive(st->net[1], &network, e)) < 0)
        return r;
    sandbox_set_network(*sb, network);
    if (st->broker[1] >= 0)
        sandbox_set_broker(*sb, st->broker[1]);
    if ((r = signals_forward(*sb, l->state == NULL, e)) < 0)
        return r;
    let_go(st);
    return sandbox_confine(*sb, e);
}

/* Without a word of the command's, it has died. */
static int start_when_told(struct start *st, struct sandbox *sb, struct error *e)
{
    char go;

    if (read(st->go[0], &go, 1) != 1)
        return -ECANCELED;
    return sandbox_start(sb, &st->io, e);
}

/* The sentry's process. */
static _Noreturn void sentry(struct start *st)
{
    struct error e = {""};
    struct sandbox *sb;
    int r;

    close(st->report[0]);
    close(st->go[1]);
    r = build_sandbox(st, &sb, &e);
    send_report(st->report[1], r, &e);
    if (st->l->start) {
        r = start_when_told(st, sb, &e);
        send_report(st->report[1], r, &e);
    }
    close(st->report[1]);
    close(st->go[0]);
    _exit(exit_status_of(sandbox_run(sb)));
}

static int run_hooks(const struct launch *l, const struct state_info *info, enum hook_kind first, enum hook_kind last,
                     const char *status, struct error *e)
{
    char *text;
    int r;

    if (!l->hooks || !hooks_any(l->hooks))
        return 0;
    text = state_text(l->state->id, info, status);
    r = text ? 0 : error_set(e, ENOMEM, "hooks");
    for (enum hook_kind k = first; r == 0 && k <= last; k++)
        r = hooks_run(l->hooks, k, text, e);
    free(text);
    return r;
}

static int start_broker(struct start *st, pid_t sentry, struct error *e)
{
    pid_t pid;
    int r;

    if (st->broker[0] < 0)
        return 0;
    r = network_broker_start(st->broker[0], st->l->spec, sentry, &pid, e);
    if (r == 0 && st->l->cgroup)
        r = cgroup_add(st->l->cgroup, pid, e);
    return r < 0 ? error_prefix(e, r, "network") : 0;
}

/* From the sentry's birth to its report. */
static int see_through(struct start *st, pid_t child, struct error *e)
{
    const struct launch *l = st->l;
    struct state_info info = l->info;
    int r;

    info.pid = child;
    info.creating = true;
    if ((l->state && (r = state_save(l->state, &info, e)) < 0) || (l->cgroup && (r = cgroup_join(l->cgroup, child, e)) < 0) ||
        (r = isolate_map_ids(l->spec, &st->iso, child, e)) < 0 ||
        (r = run_hooks(l, &info, HOOK_PRESTART, HOOK_CREATE_CONTAINER, "creating", e)) < 0 ||
        (r = start_broker(st, child, e)) < 0 ||
        (st->net[0] >= 0 && (r = network_send(st->net[0], l->spec->netns.path, child, l->state ? l->state->fd : -1, e)) < 0) ||
        (r = isolate_release(&st->iso, e)) < 0 || (r = wait_report(st->report[0], e)) < 0)
        return r;
    info.creating = false;
    if ((l->state && (r = state_save(l->state, &info, e)) < 0) ||
        (l->pid_file && (r = write_pid_file(l->pid_file, child, e)) < 0))
        return r;
    if (!l->start)
        return 0;
    if (write(st->go[1], "", 1) != 1)
        return error_set(e, errno, "the sandbox process");
    r = wait_report(st->report[0], e);
    return r < 0 ? r : run_hooks(l, &info, HOOK_POSTSTART, HOOK_POSTSTART, "running", e);
}

/* Whether there can be anything in the network namespace at this time: a new one is empty, unless hooks fill it. */
static bool wants_network(const struct launch *l)
{
    const struct container_spec *s = l->spec;

    return l->start && s->network == SPEC_NETWORK_SANDBOX && s->netns.given &&
           (s->netns.path || (l->hooks && hooks_at_create(l->hooks)));
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* Forks the sentry. Returns once it has built the container, and started it if asked: its pid, or -errno with it gone. */
static pid_t start_sentry(struct start *st, struct error *e)
{
    const struct launch *l = st->l;
    pid_t child;
    int r;

    st->listen_fd = st->net[0] = st->net[1] = st->broker[0] = st->broker[1] = -1;
    if ((r = network_check(l->spec, e)) < 0)
        return r;
    r = st->foreground ? take_stdio(&st->io, e) : detached_stdio(l, &st->io, e);
    if (r < 0 || (l->state && (r = st->listen_fd = state_listen(l->state, e)) < 0))
        return r;
    donated_add(&l->donated, &st->io);
    st->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (st->null_fd < 0 || pipe2(st->report, O_CLOEXEC) < 0 || pipe2(st->go, O_CLOEXEC) < 0)
        return error_set(e, errno, "sandbox process");
    if (wants_network(l) && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, st->net) < 0)
        return error_set(e, errno, "socket pair");
    if (l->spec->network == SPEC_NETWORK_HOST && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, st->broker) < 0)
        return error_set(e, errno, "socket pair");
    sandbox_look_at_host(l->spec);
    if ((r = idmount_make(l->spec, e)) < 0)
        return r;
    signals_block();
    child = isolate_fork(l->spec, &st->iso, e);
    if (child == 0) {
        close_if_open(st->broker[0]);
        sentry(st);
    }
    if (child < 0)
        return child;
    close(st->report[1]);
    close(st->go[0]);
    close(st->null_fd);
    close_if_open(st->net[1]);
    close_if_open(st->broker[1]);
    sandbox_stdio_close(&st->io);
    close_if_open(st->listen_fd);
    r = see_through(st, child, e);
    close(st->report[0]);
    close(st->go[1]);
    close_if_open(st->net[0]);
    close_if_open(st->broker[0]);
    if (r < 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        return r;
    }
    return child;
}

int launch_foreground(const struct launch *l, struct error *e)
{
    struct start st = {.l = l, .foreground = true};
    int wstatus;
    pid_t child;

    if (l->spec->process.terminal && !isatty(STDIN_FILENO))
        return error_set(e, 0, "the container wants a terminal, but stdin is none");
    child = start_sentry(&st, e);
    if (child < 0)
        return child;
    if (l->state)
        state_unlock(l->state);
    wstatus = signals_pass_on(child, l->state == NULL);
    if (WIFSIGNALED(wstatus))
        fprintf(stderr, "runsc-c: the sandbox process was killed by signal %d (%s)\n", WTERMSIG(wstatus),
                strsignal(WTERMSIG(wstatus)));
    return exit_status_of(wstatus);
}

int launch_detached(const struct launch *l, struct error *e)
{
    struct start st = {.l = l};
    pid_t child;

    if (l->spec->process.terminal && !l->console_socket)
        return error_set(e, 0, "cannot allocate tty if runsc-c will detach without setting console socket");
    if (!l->spec->process.terminal && l->console_socket)
        return error_set(e, 0, "cannot use console socket if runsc-c will not allocate a tty");
    child = start_sentry(&st, e);
    return child < 0 ? child : 0;
}
