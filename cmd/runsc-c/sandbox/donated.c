#include "cmd/runsc-c/sandbox/donated.h"

#include "sentry/boot/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST = 3 };

/* As sd_listen_fds(3) counts: the variables may be meant for another process. */
static int nr_listen_fds(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    int n;

    if (!pid || !fds || atoi(pid) != getpid())
        return 0;
    n = atoi(fds);
    return n > 0 ? n : 0;
}

int donated_find(int preserve, bool listen, struct donated *d, struct error *e)
{
    struct stat st;

    d->nr_listen = listen ? nr_listen_fds() : 0;
    if (preserve > SPEC_EXTRA_FDS || d->nr_listen > SPEC_EXTRA_FDS - preserve)
        return error_set(e, 0, "--preserve-fds: at most %d descriptors can be passed", SPEC_EXTRA_FDS);
    d->nr = preserve + d->nr_listen;
    d->sockets = false;
    for (int fd = FIRST; fd < FIRST + d->nr; fd++) {
        /* Hooks and other programs that we start are not to have them. */
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return error_set(e, errno, "%s: descriptor %d (of %d from 3 on)",
                             fd < FIRST + d->nr_listen ? "$LISTEN_FDS" : "--preserve-fds", fd, d->nr);
        d->sockets |= fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
    }
    close_range((unsigned int)(FIRST + d->nr), ~0U, 0);
    return 0;
}

void donated_add(const struct donated *d, struct sandbox_stdio *io)
{
    for (io->nr_extra = 0; io->nr_extra < d->nr; io->nr_extra++)
        io->extra[io->nr_extra] = FIRST + io->nr_extra;
}

int donated_tell(const struct donated *d, struct spec_process *p, struct error *e)
{
    const char **env;
    char *fds = NULL;
    size_t n = 0;

    if (d->nr_listen == 0)
        return 0;
    while (p->envp[n])
        n++;
    env = calloc(n + 3, sizeof(*env));
    if (!env || asprintf(&fds, "LISTEN_FDS=%d", d->nr_listen) < 0) {
        free(env);
        return error_set(e, ENOMEM, "environment");
    }
    memcpy(env, p->envp, n * sizeof(*env));
    env[n] = fds;
    env[n + 1] = "LISTEN_PID=1";
    p->envp = env;
    return 0;
}
