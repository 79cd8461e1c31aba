/* From a struct spec_process to a running guest process: credentials, limits, files, working directory, terminal. */
#include "sentry/boot/boot_internal.h"

#include "sentry/fs/tty/tty.h"
#include "sentry/kernel/boot.h"
#include "vfs/cred.h"
#include "vfs/fdtable.h"
#include "vfs/namei.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NR_RLIMITS = 16 };

static struct cred *make_cred(const struct spec_process *p)
{
    struct cred *c = cred_create_root();

    if (!c)
        return NULL;
    c->uid = c->euid = c->suid = c->fsuid = p->uid;
    c->gid = c->egid = c->sgid = c->fsgid = p->gid;
    c->cap_bounding = p->caps.bounding;
    c->cap_permitted = p->caps.permitted;
    c->cap_inheritable = p->caps.inheritable;
    c->cap_effective = p->caps.effective & p->caps.permitted;
    /* The kernel's rule for raising ambient capabilities. */
    c->cap_ambient = p->caps.ambient & p->caps.permitted & p->caps.inheritable;
    c->no_new_privs = p->no_new_privs;
    if (cred_set_groups(c, p->groups, p->nr_groups) < 0) {
        cred_put(c);
        return NULL;
    }
    return c;
}

/* runc sets only what the spec names; the rest comes from its own environment, for which Linux's defaults stand here. */
static void make_rlimits(const struct spec_process *p, struct rlimit64 limits[NR_RLIMITS])
{
    static const struct {
        int resource;
        uint64_t soft, hard;
    } defaults[] = {
        {RLIMIT_STACK, 8 << 20, RLIM64_INFINITY},
        {RLIMIT_CORE, 0, RLIM64_INFINITY},
        {RLIMIT_NOFILE, 1024, 1048576},
        {RLIMIT_MEMLOCK, 8 << 20, 8 << 20},
        {RLIMIT_SIGPENDING, 65536, 65536},
        {RLIMIT_MSGQUEUE, 819200, 819200},
        {RLIMIT_NICE, 0, 0},
        {RLIMIT_RTPRIO, 0, 0},
    };

    for (int i = 0; i < NR_RLIMITS; i++)
        limits[i] = (struct rlimit64){RLIM64_INFINITY, RLIM64_INFINITY};
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        limits[defaults[i].resource] = (struct rlimit64){defaults[i].soft, defaults[i].hard};
    for (size_t i = 0; i < p->nr_rlimits; i++)
        limits[p->rlimits[i].resource] = (struct rlimit64){p->rlimits[i].soft, p->rlimits[i].hard};
}

/* A directory that is missing is made, as runc does. */
static int make_cwd(struct sandbox *sb, struct fs_struct *fs, const struct cred *cred, const char *cwd, struct error *e)
{
    struct vfs_caller c = sb->caller;
    struct path p = {0};
    int r;

    c.fs = fs;
    r = vfs_lookup(&c, NULL, cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, 0, &p);
    if (r == -ENOENT) {
        char path[4096];
        if (snprintf(path, sizeof(path), "%s", cwd) >= (int)sizeof(path))
            return error_set(e, ENAMETOOLONG, "cwd %s", cwd);
        for (char *s = path + 1;; s++) {
            char old = *s;
            if (old != '/' && old != '\0')
                continue;
            *s = '\0';
            r = vfs_mkdir(&c, NULL, path, 0755);
            if ((r < 0 && r != -EEXIST) || !old)
                break;
            *s = old;
        }
        r = vfs_lookup(&c, NULL, cwd, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, 0, &p);
    }
    if (r < 0)
        return error_set(e, -r, "cwd %s", cwd);
    c.cred = cred;
    r = inode_permission(p.dentry->inode, cred, MAY_EXEC);
    if (r == 0)
        fs_set_cwd(fs, &p);
    else
        error_set(e, -r, "cwd %s", cwd);
    path_put(&p);
    return r;
}

static const char *env_get(const char **envp, const char *name)
{
    size_t n = strlen(name);

    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

/* Docker tells by runc's words, which begin with small letters, what status to exit with. */
static int exec_error(struct error *e, int r, const char *name)
{
    char why[128];
    const char *text = strerror_r(-r, why, sizeof(why));

    if (r == -ENOENT && !strchr(name, '/'))
        error_set(e, 0, "exec: \"%s\": executable file not found in $PATH", name);
    else
        error_set(e, 0, "exec: \"%s\": %c%s", name, text[0] | 0x20, text + 1);
    return r;
}

static int check_one(struct sandbox *sb, const char *path)
{
    struct path p = {0};
    int r = vfs_lookup(&sb->caller, NULL, path, LOOKUP_FOLLOW, 0, &p);

    if (r < 0)
        return r;
    if (!S_ISREG(p.dentry->inode->mode) || !(p.dentry->inode->mode & 0111))
        r = -EACCES;
    path_put(&p);
    return r;
}

int boot_check_exe(struct sandbox *sb, const struct spec_process *spec, struct error *e)
{
    const char *name = spec->argv[0], *dirs = env_get(spec->envp, "PATH");
    char path[4096];
    int r = -ENOENT;

    if (strchr(name, '/')) {
        /* Relative names count from cwd, which may not exist yet. */
        snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : spec->cwd, name[0] == '/' ? "" : "/", name);
        r = check_one(sb, path);
        return r < 0 ? exec_error(e, r, name) : 0;
    }
    for (dirs = dirs ? dirs : "/bin:/usr/bin"; r < 0 && dirs; dirs = strchr(dirs, ':') ? strchr(dirs, ':') + 1 : NULL) {
        int n = (int)strcspn(dirs, ":");
        snprintf(path, sizeof(path), "%.*s%s%s", n ? n : 1, n ? dirs : ".", "/", name);
        r = check_one(sb, path);
    }
    return r < 0 ? exec_error(e, r, name) : 0;
}

static const char **with_one_more(const char **list, const char *s)
{
    const char **out;
    size_t n = 0;

    while (list && list[n])
        n++;
    out = s ? calloc(n + 2, sizeof(*out)) : NULL;
    if (!out)
        return NULL;
    if (n)
        memcpy(out, list, n * sizeof(*out));
    out[n] = s;
    return out;
}

/* 0, 1 and 2: a terminal of ours, or the host's descriptors themselves. */
static int make_stdio(struct sandbox *sb, const struct spec_process *spec, const struct sandbox_stdio *io,
                      struct fdtable **files, struct tty_jobctl **ctty, struct tty **console, struct error *e)
{
    struct file *f = NULL;
    int r;

    if (!spec->terminal) {
        r = boot_stdio(sb, io, files);
        return r < 0 ? error_set(e, -r, "stdio") : 0;
    }
    close(io->fd[1]);
    close(io->fd[2]);
    r = tty_open_host(sb->k, &sb->caller, io->fd[0], &f);
    if (r < 0) {
        close(io->fd[0]);
        return error_set(e, -r, "terminal");
    }
    r = boot_fdtable_of(f, f, f, files);
    if (r == 0) {
        *console = tty_of_file(f);
        *ctty = tty_jobctl(*console);
    }
    file_put(f);
    return r < 0 ? error_set(e, -r, "terminal") : 0;
}

static int make_files(struct sandbox *sb, const struct spec_process *spec, const struct sandbox_stdio *io,
                      struct fdtable **files, struct tty_jobctl **ctty, struct tty **console, struct error *e)
{
    int r = make_stdio(sb, spec, io, files, ctty, console, e);

    if (r < 0) {
        for (int i = 0; i < io->nr_extra; i++)
            close(io->extra[i]);
        return r;
    }
    return boot_extra_fds(sb, io, *files, e);
}

void boot_drop_console(struct tty **console)
{
    if (!*console)
        return;
    tty_host_restore(*console);
    tty_put(*console);
    *console = NULL;
}

int boot_spawn(struct sandbox *sb, const struct spec_process *spec, const struct sandbox_stdio *io,
               void (*exited)(struct kernel *k, pid_t pid, int wstatus, void *arg), void *arg, pid_t *pid, struct tty **console,
               struct error *e)
{
    struct rlimit64 limits[NR_RLIMITS];
    struct process_params pp = {
        .argv = spec->argv,
        .envp = spec->envp,
        .rlimits = limits,
        .seccomp = sb->seccomp,
        .oom_score_adj = spec->oom_score_adj,
        .nice = spec->nice,
        .sched_policy = spec->sched_policy,
        .sched_priority = spec->sched_priority,
        .ioprio = spec->ioprio,
        .personality = spec->personality,
        .cpus = spec->bound ? spec->cpus : NULL,
        .held = spec->held,
        .killable_init = spec->killable_init,
        .exited = exited,
        .exited_arg = arg,
    };
    const char **envp = NULL;
    char *home = NULL;
    int r;

    *console = NULL;
    make_rlimits(spec, limits);
    if (!env_get(spec->envp, "HOME")) {
        home = boot_home(sb, spec->uid);
        envp = with_one_more(spec->envp, home);
        if (!envp) {
            free(home);
            sandbox_stdio_close(io);
            return error_set(e, ENOMEM, "process");
        }
        pp.envp = envp;
    }
    pp.cred = make_cred(spec);
    pp.fs = fs_struct_dup(sb->fs);
    if (!pp.cred || !pp.fs) {
        sandbox_stdio_close(io);
        r = error_set(e, ENOMEM, "process");
        goto fail;
    }
    mutex_lock(&pp.fs->lock);
    pp.fs->umask = spec->umask >= 0 ? (mode_t)spec->umask : 022;
    mutex_unlock(&pp.fs->lock);
    r = make_cwd(sb, pp.fs, pp.cred, spec->cwd ? spec->cwd : "/", e);
    if (r < 0) {
        sandbox_stdio_close(io);
        goto fail;
    }
    r = make_files(sb, spec, io, &pp.files, &pp.ctty, console, e);
    if (r < 0)
        goto fail;
    r = kernel_spawn(sb->k, &pp, pid);
    free(envp);
    free(home);
    if (r == 0)
        return 0;
    exec_error(e, r, spec->argv[0]);
    boot_drop_console(console);
    return r;
fail:
    free(envp);
    free(home);
    boot_drop_console(console);
    if (pp.files)
        fdtable_put(pp.files, NULL);
    if (pp.cred)
        cred_put(pp.cred);
    if (pp.fs)
        fs_struct_put(pp.fs);
    return r;
}
