/*
 * Processes that nobody forked: pid 1, and those that `exec` starts in a running container. They are put together by hand as
 * fork and exec would leave them.
 */
#include "sentry/kernel/boot.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/cpus.h"
#include "sentry/kernel/exec.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/task_internal.h"
#include "sentry/mm/mm.h"
#include "vfs/fs_struct.h"
#include "vfs/namei.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static int open_program(const struct vfs_caller *c, const char *name, struct file **out)
{
    struct path p;
    int r = vfs_lookup(c, NULL, name, LOOKUP_FOLLOW, 0, &p);

    if (r)
        return r;
    r = vfs_open_exec(c, &p, out);
    path_put(&p);
    return r;
}

/* As execvp(3): the first that can be executed; -EACCES if some could not, -ENOENT if there was none. `found` gets the name. */
static int search_path(const struct vfs_caller *c, const char *path, const char *name, char found[PATH_MAX], struct file **out)
{
    int r, result = -ENOENT;

    for (;;) {
        size_t n = strcspn(path, ":");
        if (n == 0)
            r = snprintf(found, PATH_MAX, "./%s", name);
        else
            r = snprintf(found, PATH_MAX, "%.*s/%s", (int)n, path, name);
        r = r >= PATH_MAX ? -ENAMETOOLONG : open_program(c, found, out);
        if (r == 0 || (r != -ENOENT && r != -ENOTDIR && r != -EACCES && r != -ENAMETOOLONG))
            return r;
        if (r == -EACCES)
            result = r;
        if (!path[n])
            return result;
        path += n + 1;
    }
}

static const char *env_value(const char *const *envp, const char *name)
{
    size_t n = strlen(name);

    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

static int add_strings(struct string_block *b, const char *const *v)
{
    int r = 0;

    for (; v && *v && !r; v++)
        r = string_block_add(b, *v, strlen(*v));
    return r;
}

/* Gives `t` its program: address space, registers, name and what its credentials become by the exec. */
static int load_program(struct task *t, const struct process_params *p)
{
    const char *exe = p->exe ? p->exe : p->argv[0], *path = env_value(p->envp, "PATH");
    struct string_block argv = {0}, envp = {0};
    struct exec_result res;
    struct cred *cred = NULL;
    struct file *file = NULL;
    char *found;
    bool secure;
    int r;

    if (!exe || !*exe)
        return -ENOENT;
    found = malloc(PATH_MAX);
    if (!found)
        return -ENOMEM;
    if (strchr(exe, '/')) {
        snprintf(found, PATH_MAX, "%s", exe);
        r = open_program(&t->caller, exe, &file);
    } else {
        r = search_path(&t->caller, path ? path : default_path, exe, found, &file);
    }
    if (!r)
        r = add_strings(&argv, p->argv);
    if (!r)
        r = add_strings(&envp, p->envp);
    if (!r)
        r = exec_cred(t->cred, file, &cred, &secure);
    if (!r) {
        const struct exec_request req = {
            .file = file,
            .filename = found,
            .argv = string_block_view(&argv),
            .envp = string_block_view(&envp),
            .caller = &t->caller,
            .stack_limit = task_rlimit(t, RLIMIT_STACK),
        };
        struct cred *old = t->cred;
        t->cred = cred;
        t->caller.cred = cred;
        cred_put(old);
        r = loader_load(t->k, &req, &res);
        if (!r) {
            t->mm = res.mm;
            t->regs = res.regs;
            memcpy(t->comm, res.comm, sizeof(t->comm));
            file_put(res.exe);
        }
    }
    if (file)
        file_put(file);
    string_block_fini(&argv);
    string_block_fini(&envp);
    free(found);
    return r;
}

static void default_rlimits(struct rlimit64 *l)
{
    for (int i = 0; i < KERNEL_NR_RLIMITS; i++)
        l[i] = (struct rlimit64){RLIM64_INFINITY, RLIM64_INFINITY};
    l[RLIMIT_STACK].rlim_cur = 8 << 20;
    l[RLIMIT_CORE].rlim_cur = 0;
    l[RLIMIT_NOFILE] = (struct rlimit64){1024, 1048576};
    l[RLIMIT_MEMLOCK] = (struct rlimit64){8 << 20, 8 << 20};
    l[RLIMIT_SIGPENDING] = (struct rlimit64){65536, 65536};
    l[RLIMIT_MSGQUEUE] = (struct rlimit64){819200, 819200};
    l[RLIMIT_NICE] = l[RLIMIT_RTPRIO] = (struct rlimit64){0, 0};
}

static int make_process(struct kernel *k, const struct process_params *p, struct task **out)
{
    struct task *t = task_alloc(k);
    struct tgroup *tg = t ? tgroup_alloc(k) : NULL;

    if (!tg) {
        task_put(t);
        fdtable_put(p->files, NULL);
        fs_struct_put(p->fs);
        cred_put(p->cred);
        return -ENOMEM;
    }
    *out = t;
    t->tg = tg;
    tg->leader = t;
    t->cred = p->cred;
    t->files = p->files;
    t->fs = p->fs;
    if (p->rlimits)
        memcpy(tg->rlimits, p->rlimits, sizeof(tg->rlimits));
    else
        default_rlimits(tg->rlimits);
    tg->oom_score_adj = p->oom_score_adj;
    atomic_store(&tg->held, p->held);
    t->nice = p->nice;
    t->sched_policy = p->sched_policy;
    t->sched_priority = p->sched_priority;
    t->ioprio = p->ioprio;
    t->personality = p->personality;
    t->loginuid = t->sessionid = UINT32_MAX;
    if (p->seccomp)
        seccomp_adopt(t, p->seccomp);
    tg->exited = p->exited;
    tg->exited_arg = p->exited_arg;
    for (unsigned int i = 0; i < k->nr_cpus && i < 1024; i++)
        t->cpu_affinity[i / 64] |= 1ULL << (i % 64);
    task_caller_refresh(t);
    tgroup_timers_init(tg);
    tg->sighand = sighand_alloc();
    if (!tg->sighand)
        return -ENOMEM;
    return p->cpus ? task_set_affinity(t, p->cpus) : 0;
}

/* Into the tables, as leader of a session of its own. */
static int enter(struct task *t, bool killable_init)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    struct pid *pid;
    int r = -EAGAIN;

    mutex_lock(&k->tasks_lock);
    pid = k->dying ? NULL : pid_alloc(k);
    if (!pid)
        goto out;
    t->pid = pid;
    t->tid = tg->tgid = pid->nr;
    tg->pid = pid_get(pid);
    task_caller_refresh(t);
    pid->tgroup = tg; /* keeps the number while the session is made */
    r = session_create_for(tg);
    pid->tgroup = NULL;
    if (r) {
        pid_release(pid);
        goto out;
    }
    task_publish_locked(t, NULL, 0);
    if (!k->init) {
        k->init = tg;
        tg->unkillable = !killable_init;
    }
out:
    mutex_unlock(&k->tasks_lock);
    return r;
}

int kernel_spawn(struct kernel *k, const struct process_params *p, pid_t *pid)
{
    struct task *t = NULL;
    int r = make_process(k, p, &t);

    if (!r)
        r = load_program(t, p);
    if (!r)
        r = enter(t, p->killable_init);
    if (r) {
        if (t) {
            task_drop_resources(t);
            task_put(t);
        }
        return r;
    }
    if (p->ctty)
        tty_jobctl_open(t, p->ctty);
    *pid = t->tid;
    r = task_start(t);
    if (r) {
        session_disassociate_ctty(t->tg, true);
        task_unpublish(t);
        task_drop_resources(t);
        task_put(t);
    }
    return r;
}
