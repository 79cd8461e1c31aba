/*
 * do: one command in a sandbox on the host's own file system, without a bundle. The host's root is read-only below an upper
 * layer in memory, so that the command may change what it likes and nothing of it stays; --rw works on the host's files.
 */
#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

struct do_opts {
    const char *cwd, *root;
    struct opt_list env;
    bool rw, clear_env, no_tty;
};

extern char **environ;

static struct spec_mount do_mounts[] = {
    {"/proc", "proc", "proc", "", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0, .source_fd = -1},
    {"/dev", "tmpfs", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME, 0, .source_fd = -1},
    {"/dev/pts", "devpts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC, 0, .source_fd = -1},
    {"/dev/shm", "tmpfs", "shm", "mode=1777", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0, .source_fd = -1},
    {"/dev/mqueue", "mqueue", "mqueue", "", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0, .source_fd = -1},
    {"/sys", "sysfs", "sysfs", "", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, 0, .source_fd = -1},
};

/* Our own environment, then --env's, where a later NAME=VALUE replaces an earlier one. */
static const char **make_env(const struct do_opts *o)
{
    size_t n = 0, max = o->env.n + 2;
    const char **env;

    for (char **p = environ; *p; p++)
        max++;
    env = calloc(max, sizeof(*env));
    if (!env)
        return NULL;
    for (char **p = environ; !o->clear_env && *p; p++)
        env[n++] = *p;
    for (size_t i = 0; i < o->env.n; i++) {
        size_t name = strcspn(o->env.v[i], "="), j;
        for (j = 0; j < n; j++)
            if (strncmp(env[j], o->env.v[i], name) == 0 && env[j][name] == '=')
                break;
        env[j] = o->env.v[i];
        if (j == n)
            n++;
    }
    return env;
}

static int make_process(struct spec_process *p, const struct do_opts *o, char **argv, struct error *e)
{
    uint64_t caps = geteuid() == 0 ? (1ULL << 41) - 1 : 0;
    static char cwd[PATH_MAX];

    p->argv = (const char **)argv;
    p->envp = make_env(o);
    p->cwd = o->cwd;
    if (!p->cwd)
        p->cwd = !o->root && getcwd(cwd, sizeof(cwd)) ? cwd : "/";
    if (p->cwd[0] != '/')
        return error_set(e, 0, "--cwd: \"%s\" is not an absolute path", p->cwd);
    p->uid = geteuid();
    p->gid = getegid();
    p->umask = umask(022);
    umask((mode_t)p->umask);
    p->caps = (struct spec_caps){.bounding = caps, .effective = caps, .permitted = caps};
    p->killable_init = true;
    p->terminal = !o->no_tty && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    return p->envp ? 0 : error_set(e, ENOMEM, "environment");
}

static int cmd_do(const struct cli *cli, void *opts, int argc, char **argv, struct error *e)
{
    static char hostname[65];
    const struct do_opts *o = opts;
    struct container_spec spec = {
        .id = "do",
        .platform = cli->platform,
        .root_kind = o->rw ? SPEC_ROOT_HOST : SPEC_ROOT_OVERLAY,
        .root_path = o->root ? o->root : "/",
        .mounts = do_mounts,
        .nr_mounts = ARRAY_SIZE(do_mounts),
        .hostname = hostname,
        .strace = cli->strace,
        .network = cli->network_kind,
    };
    struct launch l = {.cli = cli, .spec = &spec, .start = true};
    int r;

    if ((r = cli_start_log(cli, e)) < 0 || (r = make_process(&spec.process, o, argv, e)) < 0)
        return r;
    if (gethostname(hostname, sizeof(hostname) - 1) < 0)
        strcpy(hostname, "runsc-c");
    spec.root_fd = open(spec.root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (spec.root_fd < 0)
        return error_set(e, errno, "root %s", spec.root_path);
    return launch_foreground(&l, e);
}

#define O(name, letter, kind, field, value, help)                        \
    {                                                                    \
        name, letter, kind, offsetof(struct do_opts, field), value, help \
    }
static const struct opt do_opts[] = {
    O("rw", 0, OPT_FLAG, rw, NULL, "work on the host's files themselves"),
    O("cwd", 0, OPT_STRING, cwd, "DIR", "where to run (default: the current directory)"),
    O("env", 'e', OPT_LIST, env, "NAME=VALUE", "add to the environment; may be repeated"),
    O("clear-env", 0, OPT_FLAG, clear_env, NULL, "start from an empty environment"),
    O("root", 0, OPT_STRING, root, "DIR", "the sandbox's root (default: /)"),
    O("no-tty", 0, OPT_FLAG, no_tty, NULL, "pass descriptors as they are even if they are a terminal"),
    OPT_END,
};
#undef O

const struct command command_do = {
    .name = "do",
    .args = "COMMAND [ARGUMENTS]",
    .help = "run a command in a sandbox on the host's files, read-only below a layer in memory",
    .opts = do_opts,
    .opts_size = sizeof(struct do_opts),
    .min_args = 1,
    .max_args = -1,
    .run = cmd_do,
};
