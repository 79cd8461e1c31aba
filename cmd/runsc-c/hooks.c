#include "cmd/runsc-c/hooks.h"

#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const kind_names[NR_HOOK_KINDS] = {
    [HOOK_PRESTART] = "prestart",
    [HOOK_CREATE_RUNTIME] = "createRuntime",
    [HOOK_CREATE_CONTAINER] = "createContainer",
    [HOOK_START_CONTAINER] = "startContainer",
    [HOOK_POSTSTART] = "poststart",
    [HOOK_POSTSTOP] = "poststop",
};

const char *hook_kind_name(enum hook_kind kind)
{
    return kind_names[kind];
}

static int parse_one(struct json_object *o, const char *where, struct hook *h, struct error *e)
{
    int64_t timeout = 0;
    int r;

    if (!json_object_is_type(o, json_type_object))
        return error_set(e, 0, "%s: not an object", where);
    if ((r = json_get_string(o, where, "path", true, &h->path, e)) < 0 ||
        (r = json_get_strings(o, where, "args", false, &h->args, e)) < 0 ||
        (r = json_get_strings(o, where, "env", false, &h->env, e)) < 0 ||
        (r = json_get_int(o, where, "timeout", 1, 1000000, &timeout, e)) < 0)
        return r;
    if (h->path[0] != '/')
        return error_set(e, 0, "%s.path: \"%s\" is not an absolute path", where, h->path);
    h->timeout = (int)timeout;
    return 0;
}

int hooks_parse(struct json_object *o, struct hooks *out, struct error *e)
{
    *out = (struct hooks){0};
    for (int k = 0; o && k < NR_HOOK_KINDS; k++) {
        struct hook_list *l = &out->of[k];
        struct json_object *list = NULL;
        char where[64];
        int r = json_get_array(o, "hooks", kind_names[k], false, &list, e);

        if (r < 0)
            return r;
        if (!list || json_object_array_length(list) == 0)
            continue;
        l->n = json_object_array_length(list);
        l->v = calloc(l->n, sizeof(*l->v));
        if (!l->v)
            return error_set(e, ENOMEM, "hooks");
        for (size_t i = 0; i < l->n; i++) {
            snprintf(where, sizeof(where), "hooks.%s[%zu]", kind_names[k], i);
            r = parse_one(json_object_array_get_idx(list, i), where, &l->v[i], e);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

bool hooks_at_create(const struct hooks *h)
{
    return h->of[HOOK_PRESTART].n || h->of[HOOK_CREATE_RUNTIME].n || h->of[HOOK_CREATE_CONTAINER].n;
}

bool hooks_any(const struct hooks *h)
{
    return hooks_at_create(h) || h->of[HOOK_POSTSTART].n || h->of[HOOK_POSTSTOP].n;
}

/* In the child. The state comes from a memory file, so that a hook that does not read it holds nobody up. */
static _Noreturn void exec_hook(const struct hook *h, int in, int out)
{
    static const char *const no_env[] = {NULL};
    const char *only_path[] = {h->path, NULL};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(127);
    close_range(3, ~0U, 0);
    execve(h->path, (char **)(h->args && h->args[0] ? h->args : only_path), (char **)(h->env ? h->env : (const char **)no_env));
    dprintf(2, "exec: %s", strerror(errno));
    _exit(127);
}

/* The wait status; -ETIMEDOUT after having killed it. */
static int wait_hook(pid_t child, int timeout)
{
    int wstatus = 0, pidfd = (int)syscall(SYS_pidfd_open, child, 0), n;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    bool late = false;

    do
        n = poll(&p, 1, timeout ? timeout * 1000 : -1);
    while (n < 0 && errno == EINTR);
    if (n == 0) {
        late = true;
        kill(child, SIGKILL);
    }
    if (pidfd >= 0)
        close(pidfd);
    while (waitpid(child, &wstatus, 0) < 0 && errno == EINTR)
        ;
    return late ? -ETIMEDOUT : wstatus;
}

static int memory_file(const char *text)
{
    int fd = memfd_create("hook", MFD_CLOEXEC);

    if (fd >= 0 && text && (write(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int run_one(const struct hook *h, const char *where, const char *state, struct error *e)
{
    int in = memory_file(state), out = memory_file(NULL), wstatus, r = 0;
    char said[200];
    ssize_t n;
    pid_t child;

    if (in < 0 || out < 0) {
        r = error_set(e, errno, "%s", where);
        goto out;
    }
    child = fork();
    if (child < 0) {
        r = error_set(e, errno, "%s", where);
        goto out;
    }
    if (child == 0)
        exec_hook(h, in, out);
    wstatus = wait_hook(child, h->timeout);
    n = pread(out, said, sizeof(said) - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    while (n > 0 && said[n - 1] == '\n')
        said[--n] = '\0';
    for (char *p = said; *p; p++)
        if (*p == '\n')
            *p = ' ';
    if (wstatus == -ETIMEDOUT)
        r = error_set(e, 0, "error running %s: %s took longer than %d s", where, h->path, h->timeout);
    else if (wstatus != 0)
        r = error_set(e, 0, "error running %s: %s: %s %d, output: %s", where, h->path,
                      WIFSIGNALED(wstatus) ? "signal" : "exit status",
                      WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : WEXITSTATUS(wstatus), said);
out:
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return r;
}

int hooks_run(const struct hooks *h, enum hook_kind kind, const char *state, struct error *e)
{
    const struct hook_list *l = &h->of[kind];
    char where[64];
    int first = 0;

    for (size_t i = 0; i < l->n; i++) {
        struct error one;
        int r;

        snprintf(where, sizeof(where), "%s hook #%zu", kind_names[kind], i);
        r = run_one(&l->v[i], where, state, &one);
        if (r == 0 || first < 0)
            continue;
        first = r;
        *e = one;
        if (kind != HOOK_POSTSTOP)
            break;
    }
    return first;
}
