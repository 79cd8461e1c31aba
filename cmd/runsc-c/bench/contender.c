/* Which runtimes take part: our platforms that work here, runc if installed, and each runsc named. */
#include "cmd/runsc-c/bench/bench.h"
#include "platform/platform.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Adds it once free and once pinned, as asked. `argv` strings must outlive the bench. */
static int add(struct bench *b, const char *name, const char *const *argv, bool runc, bool runsc, bool free_runs,
               bool pinned_runs, struct error *e)
{
    int group = b->nr_contenders;

    for (int pinned = 0; pinned < 2; pinned++) {
        struct bench_contender *c = &b->contender[b->nr_contenders];

        if (!(pinned ? pinned_runs : free_runs))
            continue;
        if (b->nr_contenders == BENCH_MAX_CONTENDERS)
            return error_set(e, 0, "more than %d contenders", BENCH_MAX_CONTENDERS);
        snprintf(c->name, sizeof(c->name), "%s%s", name, pinned ? " 1cpu" : "");
        for (int i = 0; argv[i]; i++)
            c->argv[i] = argv[i];
        c->pinned = pinned;
        c->group = group;
        c->is_runc = runc;
        c->is_runsc = runsc;
        c->is_native = !argv[0];
        b->nr_contenders++;
    }
    return 0;
}

static bool in_path(const char *name)
{
    const char *path = getenv("PATH");
    char copy[4096], file[4200], *save = NULL;

    if (!path)
        return false;
    snprintf(copy, sizeof(copy), "%s", path);
    for (char *d = strtok_r(copy, ":", &save); d; d = strtok_r(NULL, ":", &save)) {
        snprintf(file, sizeof(file), "%s/%s", d, name);
        if (access(file, X_OK) == 0)
            return true;
    }
    return false;
}

/* Whether this runsc knows the systrap platform: its flags' help says so. */
static bool has_systrap(const char *runsc)
{
    char cmd[4200], line[4096];
    bool found = false;
    FILE *p;

    if (strchr(runsc, '\''))
        return false;
    snprintf(cmd, sizeof(cmd), "'%s' flags 2>&1", runsc);
    p = popen(cmd, "re");
    if (!p)
        return false;
    while (fgets(line, sizeof(line), p))
        found |= strstr(line, "systrap") != NULL;
    pclose(p);
    return found;
}

/* Platforms are tried in a child: creating one may leave helpers behind. */
static bool platform_works(const char *name)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct platform_config config = {.name = name};
        struct platform *p;
        char why[256];

        if (platform_create(&config, &p, why, sizeof(why)) != 0)
            _exit(1);
        platform_destroy(p);
        _exit(0);
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int bench_find_contenders(struct bench *b, const char *self, const char *const *platforms, size_t nr_platforms,
                          const char *const *runsc, size_t nr_runsc, bool native, bool free_runs, bool pinned_runs,
                          struct error *e)
{
    static const char *const all_platforms[] = {"pvmexec:kernel", "pvmexec:stub", "ptrace"};
    char *root = NULL, *flag, *runsc_name;
    int r = 0;

    if (asprintf(&root, "%s/state", b->dir) < 0)
        return error_set(e, ENOMEM, "bench");
    if (native)
        r = add(b, "native", (const char *[]){NULL}, false, false, free_runs, pinned_runs, e);
    if (nr_platforms == 0) {
        platforms = all_platforms;
        nr_platforms = ARRAY_SIZE(all_platforms);
    }
    for (size_t i = 0; i < nr_platforms && r == 0; i++) {
        if (!platform_works(platforms[i])) {
            if (platforms != all_platforms)
                return error_set(e, 0, "platform %s is not available here", platforms[i]);
            continue;
        }
        r = add(b, platforms[i], (const char *[]){self, "--root", root, "--platform", platforms[i], NULL}, false, false,
                free_runs, pinned_runs, e);
    }
    if (r == 0 && in_path("runc"))
        r = add(b, "runc", (const char *[]){"runc", "--root", root, NULL}, true, false, free_runs, pinned_runs, e);
    for (size_t i = 0; i < nr_runsc && r == 0; i++) {
        const char *platform = has_systrap(runsc[i]) ? "systrap" : "ptrace";

        if (access(runsc[i], X_OK) != 0)
            return error_set(e, errno, "%s", runsc[i]);
        if (asprintf(&flag, "--platform=%s", platform) < 0 || asprintf(&runsc_name, "runsc %s", platform) < 0)
            return error_set(e, ENOMEM, "bench");
        r = add(b, runsc_name, (const char *[]){runsc[i], "--root", root, flag, "--network=none", NULL}, false, true, free_runs,
                pinned_runs, e);
    }
    if (r == 0 && b->nr_contenders == 0)
        r = error_set(e, 0, "nothing to compare");
    return r;
}
