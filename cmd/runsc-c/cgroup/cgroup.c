#include "cmd/runsc-c/cgroup/systemd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *cgroup_path(const struct cgroup *cg, const char *controller)
{
    if (!cg)
        return NULL;
    if (cg->v2)
        return cg->dirs[0].path;
    for (size_t i = 0; i < cg->nr; i++)
        if (strcmp(cg->dirs[i].controller, controller) == 0)
            return cg->dirs[i].path;
    return NULL;
}

static int write_file(const char *dir, const char *file, const char *text)
{
    char path[PATH_MAX];
    ssize_t n;
    int fd, r;

    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    do
        n = write(fd, text, strlen(text));
    while (n < 0 && errno == EINTR);
    r = n < 0 ? -errno : 0;
    close(fd);
    return r;
}

int cgroup_write(const struct cgroup *cg, const char *controller, const char *file, const char *text, struct error *e)
{
    const char *dir = cgroup_path(cg, controller);
    int r = dir ? write_file(dir, file, text) : -ENOENT;

    if (r == -ENOENT)
        return error_set(e, 0, "cgroup: the host has no %s", file);
    return r < 0 ? error_set(e, -r, "cgroup: write \"%s\" to %s/%s", text, dir, file) : 0;
}

int cgroup_write_number(const struct cgroup *cg, const char *controller, const char *file, int64_t n, struct error *e)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, n);
    return cgroup_write(cg, controller, file, text, e);
}

static bool read_file(const char *dir, const char *file, char *buf, size_t size)
{
    char path[PATH_MAX];
    ssize_t n, got = 0;
    int fd;

    buf[0] = '\0';
    if (!dir || snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while ((size_t)got < size - 1 && (n = read(fd, buf + got, size - 1 - (size_t)got)) > 0)
        got += n;
    buf[got] = '\0';
    close(fd);
    return true;
}

bool cgroup_read(const struct cgroup *cg, const char *controller, const char *file, char *buf, size_t size)
{
    return read_file(cgroup_path(cg, controller), file, buf, size);
}

uint64_t cgroup_read_number(const struct cgroup *cg, const char *controller, const char *file)
{
    char buf[64];

    if (!cgroup_read(cg, controller, file, buf, sizeof(buf)))
        return 0;
    return strncmp(buf, "max", 3) == 0 ? UINT64_MAX : strtoull(buf, NULL, 10);
}

uint64_t cgroup_read_key(const struct cgroup *cg, const char *controller, const char *file, const char *key)
{
    size_t n = strlen(key);
    char buf[8192];

    if (!cgroup_read(cg, controller, file, buf, sizeof(buf)))
        return 0;
    for (char *line = buf; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoull(line + n + 1, NULL, 10);
    return 0;
}

/* Gives the children of version 2's `dir` all controllers that it has. What is refused shows when a limit is written. */
static void enable_controllers(const char *dir)
{
    char have[512], *save, one[64];

    if (!read_file(dir, "cgroup.controllers", have, sizeof(have)))
        return;
    for (char *w = strtok_r(have, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
        snprintf(one, sizeof(one), "+%s", w);
        (void)!write_file(dir, "cgroup.subtree_control", one);
    }
}

/* A new cpuset is empty, and nothing can run in it: it begins with what its parent has. */
static void inherit_cpuset(const char *parent, const char *dir)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    char text[1024];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (read_file(dir, files[i], text, sizeof(text)) && text[0] == '\n' && read_file(parent, files[i], text, sizeof(text)))
            (void)!write_file(dir, files[i], text);
}

/* mkdir -p of one directory of ours, whose mount point exists. */
static int make_dir(const struct cgroup *cg, const struct cgroup_dir *d, struct error *e)
{
    char buf[PATH_MAX];
    char *slash = buf;

    if (snprintf(buf, sizeof(buf), "%s", d->path) >= (int)sizeof(buf))
        return error_set(e, ENAMETOOLONG, "cgroup %s", d->path);
    for (;;) {
        char *next = strchr(slash + 1, '/');
        bool last = !next;

        if (next)
            *next = '\0';
        if (access(buf, F_OK) < 0 && mkdir(buf, 0755) < 0 && errno != EEXIST)
            return error_set(e, errno, "mkdir %s", buf);
        if (strcmp(d->controller, "cpuset") == 0 && slash != buf) {
            *slash = '\0';
            char parent[PATH_MAX];
            strcpy(parent, buf);
            *slash = '/';
            inherit_cpuset(parent, buf);
        }
        if (last)
            return 0;
        if (cg->v2)
            enable_controllers(buf);
        *next = '/';
        slash = next;
    }
}

static int make_dirs(struct cgroup *cg, struct error *e)
{
    for (size_t i = 0; i < cg->nr; i++) {
        int r = make_dir(cg, &cg->dirs[i], e);

        if (r < 0)
            return r;
    }
    return 0;
}

int cgroup_create(struct cgroup *cg, struct error *e)
{
    return cg->unit ? 0 : make_dirs(cg, e);
}

static int apply(struct cgroup *cg, const struct resources *r, struct error *e)
{
    return cg->v2 ? cgroup_apply_v2(cg, r, e) : cgroup_apply_v1(cg, r, e);
}

/* systemd knows only some of version 1's hierarchies: the others get directories like its own. */
static int join_scope(struct cgroup *cg, pid_t pid, struct error *e)
{
    int r = cgroup_systemd_start(cg, pid, e);

    return r < 0 ? r : make_dirs(cg, e);
}

int cgroup_add(struct cgroup *cg, pid_t pid, struct error *e)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", (int)pid);
    for (size_t i = 0; i < cg->nr; i++) {
        int r = write_file(cg->dirs[i].path, "cgroup.procs", text);

        if (r < 0)
            return error_set(e, -r, "cgroup %s", cg->dirs[i].path);
    }
    return 0;
}

int cgroup_join(struct cgroup *cg, pid_t pid, struct error *e)
{
    int r = cg->unit ? join_scope(cg, pid, e) : 0;

    if (r < 0 || (r = cgroup_add(cg, pid, e)) < 0)
        return r;
    return cg->unit && cg->resources ? apply(cg, cg->resources, e) : 0;
}

int cgroup_apply(struct cgroup *cg, const struct resources *r, struct error *e)
{
    if (cg->unit && cg->resources)
        return 0; /* in a while */
    return apply(cg, r, e);
}

int64_t cgroup_host_pids(int64_t pids)
{
    return pids > 0 && pids < INT_MAX ? pids * 4 + 128 : -1;
}

/* Children first. */
static int remove_tree(int parent, const char *name)
{
    int fd, r = 0;
    struct dirent *de;
    DIR *dir;

    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    dir = fdopendir(fd);
    while (dir && (de = readdir(dir)))
        if (de->d_type == DT_DIR && de->d_name[0] != '.')
            (void)!remove_tree(fd, de->d_name);
    if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = -errno;
    if (dir)
        closedir(dir);
    return r;
}

int cgroup_destroy(struct cgroup *cg, struct error *e)
{
    int r = cg->unit ? cgroup_systemd_stop(cg, e) : 0;

    for (size_t i = 0; i < cg->nr; i++) {
        int64_t pause = 100000;
        int one = remove_tree(AT_FDCWD, cg->dirs[i].path);

        /* Dying processes: up to 5 s. */
        for (int try = 0; one == -EBUSY && try < 60; try++) {
            nanosleep(&(struct timespec){0, pause}, NULL);
            pause = pause < 100000000 ? pause * 2 : pause;
            one = remove_tree(AT_FDCWD, cg->dirs[i].path);
        }
        if (one < 0)
            r = error_set(e, -one, "cgroup %s", cg->dirs[i].path);
    }
    return r;
}

static const char *freezer(const struct cgroup *cg, const char **file)
{
    *file = cg && cg->v2 ? "cgroup.freeze" : "freezer.state";
    return cgroup_path(cg, "freezer");
}

bool cgroup_can_freeze(const struct cgroup *cg)
{
    const char *file, *dir = freezer(cg, &file);
    char text[16];

    return read_file(dir, file, text, sizeof(text));
}

bool cgroup_frozen(const struct cgroup *cg)
{
    const char *file, *dir = freezer(cg, &file);
    char text[16];

    return read_file(dir, file, text, sizeof(text)) && (cg->v2 ? text[0] == '1' : text[0] == 'F');
}

static bool settled(const struct cgroup *cg, bool freeze)
{
    char text[16];

    if (cg->v2)
        return cgroup_read_key(cg, "", "cgroup.events", "frozen") == freeze;
    return cgroup_read(cg, "freezer", "freezer.state", text, sizeof(text)) &&
           strncmp(text, freeze ? "FROZEN" : "THAWED", 6) == 0;
}

int cgroup_freeze(struct cgroup *cg, bool freeze, struct error *e)
{
    const char *word = cg->v2 ? (freeze ? "1" : "0") : (freeze ? "FROZEN" : "THAWED"), *file;
    int r;

    freezer(cg, &file);
    r = cgroup_write(cg, "freezer", file, word, e);
    /* A process that is just being made can keep version 1 at FREEZING until it is asked once more. */
    for (int i = 0; r == 0 && !settled(cg, freeze); i++) {
        if (i == 2000) {
            struct error ignored;
            if (freeze && cgroup_freeze(cg, false, &ignored) < 0)
                return error_prefix(e, -ETIMEDOUT, "thaw: %s", ignored.text);
            return error_set(e, ETIMEDOUT, "cgroup: %s", freeze ? "freeze" : "thaw");
        }
        nanosleep(&(struct timespec){0, i < 20 ? 100000 : 5000000}, NULL);
        if (i % 10 == 9)
            r = cgroup_write(cg, "freezer", file, word, e);
    }
    return r;
}

size_t cgroup_procs(const struct cgroup *cg, pid_t *pids, size_t max)
{
    const char *dir = cgroup_path(cg, "pids");
    char path[PATH_MAX];
    size_t n = 0;
    FILE *f;
    int pid;

    if (!dir && cg && cg->nr)
        dir = cg->dirs[0].path;
    if (!dir || snprintf(path, sizeof(path), "%s/cgroup.procs", dir) >= (int)sizeof(path))
        return 0;
    f = fopen(path, "re");
    while (f && n < max && fscanf(f, "%d", &pid) == 1)
        pids[n++] = pid;
    if (f)
        fclose(f);
    return n;
}

struct json_object *cgroup_to_json(const struct cgroup *cg)
{
    struct json_object *o = json_object_new_object(), *dirs = json_object_new_array();

    json_object_object_add(o, "v2", json_object_new_boolean(cg->v2));
    if (cg->unit) {
        json_object_object_add(o, "unit", json_object_new_string(cg->unit));
        json_object_object_add(o, "slice", json_object_new_string(cg->slice));
        json_object_object_add(o, "user", json_object_new_boolean(cg->user));
    }
    for (size_t i = 0; i < cg->nr; i++) {
        struct json_object *d = json_object_new_object();
        json_object_object_add(d, "controller", json_object_new_string(cg->dirs[i].controller));
        json_object_object_add(d, "path", json_object_new_string(cg->dirs[i].path));
        json_object_array_add(dirs, d);
    }
    json_object_object_add(o, "dirs", dirs);
    return o;
}

struct cgroup *cgroup_from_json(struct json_object *o)
{
    struct json_object *dirs = NULL, *v = NULL;
    struct cgroup *cg;

    if (!o || !json_object_object_get_ex(o, "dirs", &dirs) || !json_object_is_type(dirs, json_type_array))
        return NULL;
    cg = calloc(1, sizeof(*cg));
    if (!cg)
        return NULL;
    json_object_object_get_ex(o, "v2", &v);
    cg->v2 = json_object_get_boolean(v);
    if (json_object_object_get_ex(o, "unit", &v))
        cg->unit = strdup(json_object_get_string(v));
    if (json_object_object_get_ex(o, "slice", &v))
        cg->slice = strdup(json_object_get_string(v));
    if (json_object_object_get_ex(o, "user", &v))
        cg->user = json_object_get_boolean(v);
    for (size_t i = 0; i < json_object_array_length(dirs) && cg->nr < CGROUP_MAX_DIRS; i++) {
        struct json_object *d = json_object_array_get_idx(dirs, i), *path = NULL, *controller = NULL;
        json_object_object_get_ex(d, "path", &path);
        json_object_object_get_ex(d, "controller", &controller);
        if (!path || !controller)
            continue;
        snprintf(cg->dirs[cg->nr].controller, sizeof(cg->dirs[0].controller), "%s", json_object_get_string(controller));
        cg->dirs[cg->nr++].path = strdup(json_object_get_string(path));
    }
    if (cg->nr)
        return cg;
    cgroup_free(cg);
    return NULL;
}

void cgroup_free(struct cgroup *cg)
{
    if (!cg)
        return;
    for (size_t i = 0; i < cg->nr; i++)
        free(cg->dirs[i].path);
    free(cg->unit);
    free(cg->slice);
    free(cg);
}
