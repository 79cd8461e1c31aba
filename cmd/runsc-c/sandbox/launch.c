#include "cmd/runsc-c/sandbox/launch.h"

#include "cmd/runsc-c/cgroup/cgroup.h"
#include "cmd/runsc-c/hooks.h"
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
#include <sys/signalfd.h>
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

/* What `run` does after the sandbox is there: the control socket, the state file, the pid file. */
static int publish(const struct launch *l, struct sandbox *sb, int listen_fd, const struct sandbox_stdio *io, struct error *e)
{
    struct control_server *server;
    int r;

    if (!l->state)
        return 0;
    r = control_server_create(sb, listen_fd, io, &server);
    return r < 0 ? error_set(e, -r, "control socket") : 0;
}

/* This process becomes the sentry. */
static int become_sentry(const struct launch *l, struct error *e)
{
    struct state_info info = l->info;
    struct sandbox_stdio io;
    struct sandbox *sb;
    int r, listen_fd = -1;

    if ((r = take_stdio(&io, e)) < 0)
        return r;
    if (l->state && (listen_fd = state_listen(l->state, e)) < 0)
        return listen_fd;
    signals_block();
    if ((r = sandbox_create(l->spec, &sb, e)) < 0 || (r = publish(l, sb, listen_fd, NULL, e)) < 0)
        return r;
    if ((r = signals_forward(sb, l->state == NULL, e)) < 0 || (r = sandbox_start(sb, &io, e)) < 0)
        return r;
    info.pid = getpid();
    if (l->state && (r = state_save(l->state, &info, e)) < 0)
        goto kill;
    if (l->pid_file && (r = write_pid_file(l->pid_file, getpid(), e)) < 0)
        goto kill;
    if (l->state)
        state_unlock(l->state);
    return exit_status_of(sandbox_run(sb));
kill:
    sandbox_kill(sb, 0, SIGKILL, true);
    sandbox_run(sb);
    return r;
}

/* The two ends' messages: raw bytes, since both are this program. End of file means that the other end died. */
struct report {
    bool ready; /* or it is the hooks' turn */
    int result;
    struct error error;
};

static void send_report(int fd, bool ready, int result, const struct error *e)
{
    struct report rep = {.ready = ready, .result = result, .error = *e};

    if (send(fd, &rep, sizeof(rep), MSG_NOSIGNAL) < 0)
        _exit(1);
}

static void wait_for_go(int fd)
{
    char go;

    if (recv(fd, &go, 1, 0) != 1)
        _exit(1);
}

/* The terminal and a session of its own for a detached sandbox. */
static int detach_stdio(const struct launch *l, struct sandbox_stdio *io, struct error *e)
{
    int slave;

    if (!l->spec->process.terminal)
        return take_stdio(io, e);
    slave = console_from_socket(l->console_socket, e);
    if (slave < 0)
        return slave;
    /* As our controlling terminal it sends us SIGWINCH when the other end changes its size. */
    ioctl(slave, TIOCSCTTY, 0);
    io->fd[0] = slave;
    io->fd[1] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    io->fd[2] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    return io->fd[1] < 0 || io->fd[2] < 0 ? error_set(e, errno, "stdio") : 0;
}

/* The sentry's process. Does not return. */
static _Noreturn void child_main(const struct launch *l, bool detach, int listen_fd, int sock, pid_t parent)
{
    struct sandbox_stdio io;
    struct error e = {""};
    struct sandbox *sb;
    int null, r;

    /* Until the container is there we go with our parent; one that runs in the foreground always does. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (l->cgroup && (r = cgroup_join(l->cgroup, 0, &e)) < 0)
        goto fail;
    if (detach)
        setsid();
    signals_block();
    if (hooks_at_create(l->hooks)) {
        send_report(sock, false, 0, &e);
        wait_for_go(sock);
    }
    if ((r = detach ? detach_stdio(l, &io, &e) : take_stdio(&io, &e)) < 0 || (r = sandbox_create(l->spec, &sb, &e)) < 0 ||
        (r = publish(l, sb, listen_fd, l->start ? NULL : &io, &e)) < 0 || (r = sandbox_check_init(sb, &e)) < 0 ||
        (r = signals_forward(sb, false, &e)) < 0)
        goto fail;
    if (l->start && (r = sandbox_start(sb, &io, &e)) < 0)
        goto fail;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    close(null);
    close(l->state->fd);
    close(l->state->root_fd);
    if (detach)
        prctl(PR_SET_PDEATHSIG, 0);
    send_report(sock, true, 0, &e);
    close(sock);
    r = sandbox_run(sb);
    _exit(exit_status_of(r));
fail:
    send_report(sock, true, r, &e);
    _exit(1);
}

static int run_hooks(const struct launch *l, const struct state_info *info, enum hook_kind first, enum hook_kind last,
                     const char *status, struct error *e)
{
    char *text = state_text(l->state->id, info, status);
    int r = text ? 0 : error_set(e, ENOMEM, "hooks");

    for (enum hook_kind k = first; r == 0 && k <= last; k++)
        r = hooks_run(l->hooks, k, text, e);
    free(text);
    return r;
}

/* Serves the child until it is ready. */
static int wait_ready(const struct launch *l, const struct state_info *info, int sock, struct error *e)
{
    for (;;) {
        struct report rep;
        ssize_t n;
        int r;

        do
            n = recv(sock, &rep, sizeof(rep), 0);
        while (n < 0 && errno == EINTR);
        if (n != sizeof(rep))
            return error_set(e, 0, "the sandbox process died while it was starting");
        if (rep.result < 0)
            *e = rep.error;
        if (rep.ready || rep.result < 0)
            return rep.result;
        r = run_hooks(l, info, HOOK_PRESTART, HOOK_CREATE_CONTAINER, "creating", e);
        if (r < 0)
            return r;
        if (send(sock, "", 1, MSG_NOSIGNAL) != 1)
            return error_set(e, 0, "the sandbox process died while it was starting");
    }
}

/* Makes the child that becomes the sentry, and waits until it is ready. On failure nothing is left of it. */
static int start_child(const struct launch *l, bool detach, pid_t *out, struct error *e)
{
    struct state_info info = l->info;
    pid_t parent = getpid(), child;
    int socks[2], listen_fd, r;

    listen_fd = state_listen(l->state, e);
    if (listen_fd < 0)
        return listen_fd;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
        return error_set(e, errno, "socket pair");
    child = fork();
    if (child < 0)
        return error_set(e, errno, "fork");
    if (child == 0) {
        close(socks[0]);
        child_main(l, detach, listen_fd, socks[1], parent);
    }
    close(socks[1]);
    close(listen_fd);
    info.pid = child;
    info.creating = true;
    r = state_save(l->state, &info, e);
    if (r == 0)
        r = wait_ready(l, &info, socks[0], e);
    info.creating = false;
    if (r == 0)
        r = state_save(l->state, &info, e);
    if (r == 0 && l->pid_file)
        r = write_pid_file(l->pid_file, child, e);
    if (r == 0 && l->start)
        r = run_hooks(l, &info, HOOK_POSTSTART, HOOK_POSTSTART, "running", e);
    close(socks[0]);
    if (r < 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    *out = child;
    return r;
}

/*
 * The child's stand-in in the foreground: signals that somebody sent go to the child; those of the terminal reach it by
 * themselves, because it is in our process group.
 */
static int stand_in(pid_t child)
{
    struct signalfd_siginfo si;
    int wstatus = 0, fd;
    sigset_t set;

    signals_set(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC);
    while (waitpid(child, &wstatus, WNOHANG) == 0) {
        if (fd < 0 || read(fd, &si, sizeof(si)) != sizeof(si))
            continue;
        if (si.ssi_signo != SIGCHLD && si.ssi_code <= 0)
            kill(child, (int)si.ssi_signo);
    }
    return exit_status_of(wstatus);
}

int launch_foreground(const struct launch *l, struct error *e)
{
    pid_t child;
    int r;

    if (l->spec->process.terminal && !isatty(STDIN_FILENO))
        return error_set(e, 0, "the container wants a terminal, but stdin is none");
    if (!l->cgroup && (!l->hooks || !hooks_any(l->hooks)))
        return become_sentry(l, e);
    signals_block();
    r = start_child(l, false, &child, e);
    if (r < 0)
        return r;
    state_unlock(l->state);
    return stand_in(child);
}

int launch_detached(const struct launch *l, struct error *e)
{
    pid_t child;

    if (l->spec->process.terminal && !l->console_socket)
        return error_set(e, 0, "cannot allocate tty if runsc-c will detach without setting console socket");
    if (!l->spec->process.terminal && l->console_socket)
        return error_set(e, 0, "cannot use console socket if runsc-c will not allocate a tty");
    return start_child(l, true, &child, e);
}
