#include "cmd/runsc-c/sandbox/signals.h"

#include "lib/compiler.h"
#include "sentry/boot/sandbox.h"
#include "sentry/host/loop.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct forwarder {
    struct sandbox *sb;
    bool job_control;
    ev_io io;
};

void signals_set(sigset_t *set)
{
    static const int signals[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
                                  SIGTSTP, SIGCONT, SIGWINCH, SIGTTIN, SIGTTOU, SIGPWR};

    sigemptyset(set);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaddset(set, signals[i]);
}

void signals_block(void)
{
    sigset_t set;

    signals_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* whoever ignores it cannot wait for children */
}

int signals_pass_on(pid_t sentry, bool job_control)
{
    int wstatus, signo;
    sigset_t set;

    signals_set(&set);
    sigaddset(&set, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    while (waitpid(sentry, &wstatus, WNOHANG) != sentry) {
        signo = sigwaitinfo(&set, NULL);
        if (signo > 0 && signo != SIGCHLD)
            kill(sentry, signo);
        if (signo == SIGTSTP && job_control)
            raise(SIGSTOP); /* the SIGCONT that ends this is the next signal */
    }
    return wstatus;
}

static void on_signal(struct ev_loop *ev, ev_io *io, int revents)
{
    struct forwarder *f = container_of(io, struct forwarder, io);
    struct signalfd_siginfo si;

    while (read(io->fd, &si, sizeof(si)) == sizeof(si)) {
        int signo = (int)si.ssi_signo;

        if (signo == SIGWINCH)
            sandbox_resize(f->sb, NULL);
        else if ((signo == SIGTSTP || signo == SIGCONT) && f->job_control)
            sandbox_pause(f->sb, signo == SIGTSTP);
        else if (sandbox_started(f->sb))
            sandbox_kill(f->sb, 0, signo, false);
        else if (signo != SIGTTIN && signo != SIGTTOU && signo != SIGTSTP && signo != SIGCONT)
            sandbox_stop(f->sb, signo);
    }
}

int signals_forward(struct sandbox *sb, bool job_control, struct error *e)
{
    struct forwarder *f;
    sigset_t set;
    int fd;

    signals_set(&set);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return error_set(e, errno, "signalfd");
    f = calloc(1, sizeof(*f));
    if (!f) {
        close(fd);
        return error_set(e, ENOMEM, "signalfd");
    }
    f->sb = sb;
    f->job_control = job_control;
    ev_io_init(&f->io, on_signal, fd, EV_READ);
    ev_io_start(host_loop_ev(sandbox_loop(sb)), &f->io);
    return 0;
}
