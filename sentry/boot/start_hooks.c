/*
 * startContainer hooks: programs of the container that run in it, as root, when init is there but has not begun. The thread of
 * the event loop waits for each: nothing else is to be served before the container has started.
 */
#include "sentry/boot/boot_internal.h"

#include "sentry/kernel/boot.h"
#include "vfs/cred.h"
#include "vfs/fdtable.h"
#include "vfs/file.h"
#include "vfs/namei.h"
#include "vfs/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

struct waiter {
    sem_t done;
    int wstatus;
};

static void hook_exited(struct kernel *k, pid_t pid, int wstatus, void *arg)
{
    struct waiter *w = arg;

    w->wstatus = wstatus;
    sem_post(&w->done);
}

/* The state on stdin, by a pipe of the sandbox's own; what it prints goes nowhere. */
static int make_files(struct sandbox *sb, struct fdtable **out)
{
    const char *text = sb->spec->start_state;
    struct iovec iov = {(void *)text, strlen(text)};
    const struct open_how how = {.flags = O_RDWR};
    struct file *pipe[2], *null = NULL;
    struct uio uio;
    loff_t pos = 0;
    int r = pipe_create(&sb->caller, O_NONBLOCK, pipe);

    if (r < 0)
        return r;
    uio_init_host(&uio, &iov, 1);
    /* A text that does not fit would be cut off: states are far smaller. */
    if (vfs_write(pipe[1], &sb->caller, &uio, &pos) != (ssize_t)strlen(text))
        r = -EMSGSIZE;
    file_put(pipe[1]);
    if (r == 0)
        r = vfs_open(&sb->caller, NULL, "/dev/null", &how, &null);
    if (r == 0) {
        r = boot_fdtable_of(pipe[0], null, null, out);
        file_put(null);
    }
    file_put(pipe[0]);
    return r;
}

static int start(struct sandbox *sb, const struct spec_hook *h, struct waiter *w, pid_t *pid)
{
    static const char *const no_env[] = {NULL};
    const char *only_path[] = {h->path, NULL};
    struct process_params pp = {
        .argv = h->argv && h->argv[0] ? h->argv : only_path,
        .envp = h->envp ? h->envp : (const char *const *)no_env,
        .exe = h->path,
        .exited = hook_exited,
        .exited_arg = w,
    };
    int r = make_files(sb, &pp.files);

    if (r < 0)
        return r;
    pp.cred = cred_create_root();
    pp.fs = fs_struct_dup(sb->fs);
    if (!pp.cred || !pp.fs) {
        if (pp.cred)
            cred_put(pp.cred);
        if (pp.fs)
            fs_struct_put(pp.fs);
        fdtable_put(pp.files, NULL);
        return -ENOMEM;
    }
    return kernel_spawn(sb->k, &pp, pid);
}

/* False: it took too long, and was killed. */
static bool wait_for(struct sandbox *sb, const struct spec_hook *h, struct waiter *w, pid_t pid)
{
    struct timespec deadline;
    int r;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += h->timeout;
    do
        r = h->timeout ? sem_timedwait(&w->done, &deadline) : sem_wait(&w->done);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return true;
    kernel_signal_external(sb->k, pid, SIGKILL);
    while (sem_wait(&w->done) < 0)
        ;
    return false;
}

int boot_start_hooks(struct sandbox *sb, struct error *e)
{
    const struct container_spec *s = sb->spec;

    for (size_t i = 0; i < s->nr_start_hooks; i++) {
        const struct spec_hook *h = &s->start_hooks[i];
        struct waiter w = {.wstatus = 0};
        pid_t pid;
        int r;

        sem_init(&w.done, 0, 0);
        r = start(sb, h, &w, &pid);
        if (r < 0)
            return error_set(e, -r, "error running startContainer hook #%zu: %s", i, h->path);
        if (!wait_for(sb, h, &w, pid))
            return error_set(e, 0, "error running startContainer hook #%zu: %s took longer than %d s", i, h->path, h->timeout);
        if (w.wstatus)
            return error_set(e, 0, "error running startContainer hook #%zu: %s: %s %d", i, h->path,
                             WIFSIGNALED(w.wstatus) ? "signal" : "exit status",
                             WIFSIGNALED(w.wstatus) ? WTERMSIG(w.wstatus) : WEXITSTATUS(w.wstatus));
    }
    return 0;
}
