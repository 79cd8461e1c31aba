#include "cmd/runsc-c/sandbox/launch.h"

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

int launch_foreground(const struct launch *l, struct error *e)
{
    struct sandbox_stdio io;
    struct sandbox *sb;
    int r, listen_fd = -1;

    if (l->spec->process.terminal && !isatty(STDIN_FILENO))
        return error_set(e, 0, "the container wants a terminal, but stdin is none");
    if ((r = take_stdio(&io, e)) < 0)
        return r;
    if (l->state && (listen_fd = state_listen(l->state, e)) < 0)
        return listen_fd;
    signals_block();
    if ((r = sandbox_create(l->spec, &sb, e)) < 0 || (r = publish(l, sb, listen_fd, NULL, e)) < 0)
        return r;
    if ((r = signals_forward(sb, l->state == NULL, e)) < 0 || (r = sandbox_start(sb, &io, e)) < 0)
        return r;
    if (l->state && (r = state_save(l->state, l->bundle, l->rootfs, getpid(), e)) < 0)
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

/* What the child tells its parent, as raw bytes on a pipe; end of file without it means that the child died. */
struct report {
    int result;
    struct error error;
};

static void send_report(int fd, int result, const struct error *e)
{
    struct report rep = {.result = result, .error = *e};

    if (write(fd, &rep, sizeof(rep)) < 0)
        _exit(1);
    close(fd);
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
static _Noreturn void detached_child(const struct launch *l, int listen_fd, int report_fd)
{
    struct sandbox_stdio io;
    struct error e = {""};
    struct sandbox *sb;
    int null, r;

    setsid();
    signals_block();
    if ((r = detach_stdio(l, &io, &e)) < 0 || (r = sandbox_create(l->spec, &sb, &e)) < 0 ||
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
    send_report(report_fd, 0, &e);
    r = sandbox_run(sb);
    _exit(exit_status_of(r));
fail:
    send_report(report_fd, r, &e);
    _exit(1);
}

static int wait_report(int fd, pid_t child, struct error *e)
{
    struct report rep;
    ssize_t n;

    do
        n = read(fd, &rep, sizeof(rep));
    while (n < 0 && errno == EINTR);
    if (n == sizeof(rep)) {
        if (rep.result < 0)
            *e = rep.error;
        return rep.result;
    }
    kill(child, SIGKILL);
    return error_set(e, 0, "the sandbox process died while it was starting");
}

int launch_detached(const struct launch *l, struct error *e)
{
    int fds[2], listen_fd, r;
    pid_t child;

    if (l->spec->process.terminal && !l->console_socket)
        return error_set(e, 0, "cannot allocate tty if runsc-c will detach without setting console socket");
    if (!l->spec->process.terminal && l->console_socket)
        return error_set(e, 0, "cannot use console socket if runsc-c will not allocate a tty");
    listen_fd = state_listen(l->state, e);
    if (listen_fd < 0)
        return listen_fd;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set(e, errno, "pipe");
    child = fork();
    if (child < 0)
        return error_set(e, errno, "fork");
    if (child == 0) {
        close(fds[0]);
        detached_child(l, listen_fd, fds[1]);
    }
    close(fds[1]);
    close(listen_fd);
    r = wait_report(fds[0], child, e);
    if (r == 0)
        r = state_save(l->state, l->bundle, l->rootfs, child, e);
    if (r == 0 && l->pid_file)
        r = write_pid_file(l->pid_file, child, e);
    if (r < 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    return r;
}
