/* Where cgroups are mounted, where we are in them, and so where a container's are to be. */
#include "cmd/runsc-c/cgroup/systemd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct hierarchy {
    char controllers[128]; /* as in /proc/self/cgroup: "cpu,cpuacct", "name=systemd"; "" for version 2 */
    char mount[512];       /* where it is mounted */
    char root[512];        /* which cgroup the mount shows */
    char own[512];         /* the cgroup that we are in */
};

enum { MAX_HIERARCHIES = 20 };

static const char *const v1_controllers[] = {"cpuset",  "cpu",      "cpuacct",    "blkio",   "memory", "devices", "freezer",
                                             "net_cls", "net_prio", "perf_event", "hugetlb", "pids",   "rdma",    "misc"};

/* Keeps of a mount's options what names its controllers. */
static void controllers_of(const char *options, char *out, size_t size)
{
    char buf[512], *save, *word;

    snprintf(buf, sizeof(buf), "%s", options);
    out[0] = '\0';
    for (word = strtok_r(buf, ",\n", &save); word; word = strtok_r(NULL, ",\n", &save)) {
        bool known = strncmp(word, "name=", 5) == 0;
        for (size_t i = 0; i < ARRAY_SIZE(v1_controllers); i++)
            known |= strcmp(v1_controllers[i], word) == 0;
        if (known && strlen(out) + strlen(word) + 2 < size) {
            if (out[0])
                strcat(out, ",");
            strcat(out, word);
        }
    }
}

static size_t read_mounts(struct hierarchy *h, size_t max)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[4096];
    size_t n = 0;

    while (f && n < max && fgets(line, sizeof(line), f)) {
        char *sep = strstr(line, " - cgroup"), type[32], options[512];

        if (!sep || sscanf(line, "%*s %*s %*s %511s %511s", h[n].root, h[n].mount) != 2 ||
            sscanf(sep, " - %31s %*s %511s", type, options) != 2)
            continue;
        if (strcmp(type, "cgroup") == 0)
            controllers_of(options, h[n].controllers, sizeof(h[n].controllers));
        else
            h[n].controllers[0] = '\0';
        if (strcmp(type, "cgroup") == 0 && !h[n].controllers[0])
            continue;
        h[n].own[0] = '\0';
        /* The first mount of a hierarchy counts; later ones are bind mounts. */
        for (size_t i = 0; i < n; i++)
            if (strcmp(h[i].controllers, h[n].controllers) == 0)
                h[n].mount[0] = '\0';
        if (h[n].mount[0])
            n++;
    }
    if (f)
        fclose(f);
    return n;
}

static bool same_controllers(const char *a, const char *b)
{
    char buf[128], *save;

    if (!a[0] || !b[0])
        return a[0] == b[0];
    snprintf(buf, sizeof(buf), "%s", a);
    for (char *w = strtok_r(buf, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        const char *found = strstr(b, w);
        if (!found || (found[strlen(w)] && found[strlen(w)] != ','))
            return false;
    }
    return true;
}

static void read_own(struct hierarchy *h, size_t n)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[1024];

    while (f && fgets(line, sizeof(line), f)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;

        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        for (size_t i = 0; i < n; i++)
            if (same_controllers(controllers + 1, h[i].controllers))
                snprintf(h[i].own, sizeof(h[i].own), "%s", path);
    }
    if (f)
        fclose(f);
}

/* A path in the hierarchy, as a directory: the mount may show only a part of the whole. */
static char *directory(const struct hierarchy *h, const char *parent, const char *path)
{
    char full[PATH_MAX], *out = NULL;
    const char *rest = full;
    size_t root = strcmp(h->root, "/") == 0 ? 0 : strlen(h->root);

    if (snprintf(full, sizeof(full), "%s%s%s", strcmp(parent, "/") == 0 ? "" : parent, path[0] == '/' ? "" : "/", path) >=
        (int)sizeof(full))
        return NULL;
    if (root && strncmp(full, h->root, root) == 0 && (full[root] == '/' || !full[root]))
        rest = full + root;
    return asprintf(&out, "%s%s", h->mount, rest) < 0 ? NULL : out;
}

static char *own_parent(const struct hierarchy *h)
{
    char *p = strdup(h->own[0] ? h->own : "/"), *slash = p ? strrchr(p, '/') : NULL;

    /* On version 2 a cgroup with processes has no children with controllers, so siblings of ours are made. */
    if (slash && !h->controllers[0])
        slash[slash == p ? 1 : 0] = '\0';
    return p;
}

static int add_dirs(struct cgroup *cg, const struct hierarchy *h, const char *path, struct error *e)
{
    char *own = path[0] == '/' ? NULL : own_parent(h), names[128], *save;
    char *dir = directory(h, own ? own : "/", path);

    free(own);
    if (!dir)
        return error_set(e, ENAMETOOLONG, "cgroup %s", path);
    if (!h->controllers[0]) {
        cg->dirs[cg->nr++].path = dir;
        return 0;
    }
    /* One entry a controller, so that each is found by its name; directories of joint ones are the same. */
    snprintf(names, sizeof(names), "%s", h->controllers);
    for (char *w = strtok_r(names, ",", &save); w && cg->nr < CGROUP_MAX_DIRS - 1; w = strtok_r(NULL, ",", &save)) {
        snprintf(cg->dirs[cg->nr].controller, sizeof(cg->dirs[0].controller), "%s", w);
        cg->dirs[cg->nr++].path = strdup(dir);
    }
    free(dir);
    return 0;
}

static bool has_dotdot(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p += 2)
        if ((p == path || p[-1] == '/') && (!p[2] || p[2] == '/'))
            return true;
    return false;
}

/* A user's manager is somewhere below the system's: "/user.slice/user-1000.slice/user@1000.service". */
static const char *below_manager(const struct hierarchy *h, size_t n, bool user, const char *scope, char *out, size_t size)
{
    for (size_t i = 0; user && i < n; i++) {
        const char *at = strstr(h[i].own, "/user@"), *end = at ? strchr(at + 1, '/') : NULL;

        if (at && snprintf(out, size, "%.*s%s", (int)((end ? end : at + strlen(at)) - h[i].own), h[i].own, scope) < (int)size)
            return out;
    }
    return scope;
}

int cgroup_plan(const char *path, const char *id, bool systemd, struct cgroup **out, struct error *e)
{
    struct hierarchy *h = calloc(MAX_HIERARCHIES, sizeof(*h));
    struct cgroup *cg = calloc(1, sizeof(*cg));
    char scope[600], full[PATH_MAX];
    size_t n;
    int r = 0;

    *out = NULL;
    if (!h || !cg) {
        free(h);
        free(cg);
        return error_set(e, ENOMEM, "cgroup");
    }
    cg->user = systemd && geteuid() != 0;
    if (!path || !path[0])
        path = id;
    if (has_dotdot(path))
        r = error_set(e, 0, "linux.cgroupsPath: \"%s\" leads out of itself", path);
    else if (systemd)
        r = cgroup_systemd_plan(path == id ? NULL : path, id, cg, scope, sizeof(scope), e);
    n = r < 0 ? 0 : read_mounts(h, MAX_HIERARCHIES);
    read_own(h, n);
    if (systemd && r == 0)
        path = below_manager(h, n, cg->user, scope, full, sizeof(full));
    cg->v2 = true;
    for (size_t i = 0; i < n; i++)
        if (h[i].controllers[0] && strncmp(h[i].controllers, "name=", 5) != 0)
            cg->v2 = false;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_dirs(cg, &h[i], path, e);
    free(h);
    if (r < 0 || cg->nr == 0)
        cgroup_free(cg);
    else
        *out = cg;
    return r;
}
