#include "cmd/runsc-c/state.h"

#include "cmd/runsc-c/cli.h"
#include "cmd/runsc-c/oci/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int state_check_id(const char *id, struct error *e)
{
    size_t n = strlen(id);

    if (n == 0 || n > 200 || strcmp(id, ".") == 0 || strcmp(id, "..") == 0 ||
        strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.") != n)
        return error_set(e, 0, "invalid container id \"%s\"", id);
    return 0;
}

/* mkdir -p; the last two levels are ours alone. */
static int make_root(const char *path, struct error *e)
{
    char buf[512];

    if (snprintf(buf, sizeof(buf), "%s", path) >= (int)sizeof(buf))
        return error_set(e, ENAMETOOLONG, "%s", path);
    for (char *p = buf + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(buf, 0755) < 0 && errno != EEXIST)
            return error_set(e, errno, "mkdir %s", buf);
        *p = '/';
    }
    if (mkdir(buf, 0700) < 0 && errno != EEXIST)
        return error_set(e, errno, "mkdir %s", buf);
    return 0;
}

static int open_root(const struct cli *cli, struct state_dir *d)
{
    d->root = cli->root;
    d->fd = -1;
    d->root_fd = open(cli->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return d->root_fd < 0 ? -errno : 0;
}

static int open_dir(struct state_dir *d, const char *id, bool lock)
{
    d->id = id;
    d->locked = false;
    d->fd = openat(d->root_fd, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (d->fd < 0)
        return -errno;
    while (lock && flock(d->fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return -errno;
    d->locked = lock;
    return 0;
}

int state_create(const struct cli *cli, const char *id, struct state_dir *d, struct error *e)
{
    int r = state_check_id(id, e);

    if (r < 0)
        return r;
    r = open_root(cli, d);
    if (r == -ENOENT) {
        r = make_root(cli->root, e);
        if (r < 0)
            return r;
        r = open_root(cli, d);
    }
    if (r < 0)
        return error_set(e, -r, "state directory %s", cli->root);
    if (mkdirat(d->root_fd, id, 0700) < 0) {
        r = errno == EEXIST ? error_set(e, 0, "container with id %s already exists", id)
                            : error_set(e, errno, "mkdir %s/%s", cli->root, id);
    } else {
        r = open_dir(d, id, true);
        if (r < 0)
            error_set(e, -r, "%s/%s", cli->root, id);
    }
    if (r < 0)
        state_close(d);
    return r;
}

static int open_existing(const struct cli *cli, const char *id, bool lock, struct state_dir *d, struct error *e)
{
    struct stat st;
    int r = state_check_id(id, e);

    if (r < 0)
        return r;
    r = open_root(cli, d);
    if (r == 0)
        r = open_dir(d, id, lock);
    /* It may have been deleted while we waited for the lock. */
    if (r == 0 && (fstatat(d->root_fd, id, &st, AT_SYMLINK_NOFOLLOW) < 0 || fstat(d->fd, &st) < 0 || st.st_nlink == 0))
        r = -ENOENT;
    if (r == 0)
        return 0;
    state_close(d);
    if (r == -ENOENT) {
        error_set(e, 0, "container %s does not exist", id);
        return -ENOENT;
    }
    return error_set(e, -r, "%s/%s", cli->root, id);
}

int state_open(const struct cli *cli, const char *id, struct state_dir *d, struct error *e)
{
    return open_existing(cli, id, true, d, e);
}

int state_peek(const struct cli *cli, const char *id, struct state_dir *d, struct error *e)
{
    return open_existing(cli, id, false, d, e);
}

void state_unlock(struct state_dir *d)
{
    flock(d->fd, LOCK_UN);
    d->locked = false;
}

bool state_busy(struct state_dir *d)
{
    if (d->locked || flock(d->fd, LOCK_SH | LOCK_NB) < 0)
        return !d->locked;
    flock(d->fd, LOCK_UN);
    return false;
}

void state_close(struct state_dir *d)
{
    if (d->fd >= 0)
        close(d->fd);
    if (d->root_fd >= 0)
        close(d->root_fd);
    d->fd = d->root_fd = -1;
}

void state_remove(struct state_dir *d)
{
    static const char *const files[] = {"state.json", "state.json.new", "control.sock", "network"};

    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        unlinkat(d->fd, files[i], 0);
    unlinkat(d->root_fd, d->id, AT_REMOVEDIR);
}

/* When a process was started, in clock ticks since the host's boot: with the pid it names one process for good. 0: gone. */
static unsigned long long start_time(pid_t pid)
{
    char path[40], buf[1024], *p;
    unsigned long long t = 0;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    buf[n > 0 ? n : 0] = '\0';
    /* Field 22; the name in parentheses before it may contain anything. A zombie is as good as gone. */
    p = strrchr(buf, ')');
    if (!p || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
        return 0;
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    return p && sscanf(p, " %llu", &t) == 1 ? t : 0;
}

static void add_string(struct json_object *o, const char *key, const char *value)
{
    json_object_object_add(o, key, json_object_new_string(value));
}

/* What `state` prints and hooks get, but for what changes. */
static struct json_object *public_part(const char *id, const struct state_info *info)
{
    struct json_object *o = json_object_new_object();

    add_string(o, "ociVersion", OCI_VERSION);
    add_string(o, "id", id);
    json_object_object_add(o, "pid", json_object_new_int(info->pid));
    add_string(o, "bundle", info->bundle);
    if (info->annotations)
        json_object_object_add(o, "annotations", json_object_get(info->annotations));
    return o;
}

char *state_text(const char *id, const struct state_info *info, const char *status)
{
    struct json_object *o = public_part(id, info);
    char *text;

    add_string(o, "status", status);
    text = strdup(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(o);
    return text;
}

static struct json_object *internal_part(const struct state_info *info)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "pid_start", json_object_new_int64((int64_t)start_time(info->pid)));
    json_object_object_add(o, "creating", json_object_new_boolean(info->creating));
    if (info->hooks)
        json_object_object_add(o, "hooks", json_object_get(info->hooks));
    if (info->cgroup)
        json_object_object_add(o, "cgroup", json_object_get(info->cgroup));
    return o;
}

int state_save(struct state_dir *d, const struct state_info *info, struct error *e)
{
    struct json_object *o = public_part(d->id, info);
    const char *text;
    char when[64];
    struct timespec now;
    struct tm tm;
    int fd, r = 0;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
    snprintf(when + n, sizeof(when) - n, ".%09ldZ", now.tv_nsec);
    add_string(o, "rootfs", info->rootfs);
    add_string(o, "created", when);
    add_string(o, "owner", "");
    json_object_object_add(o, "internal", internal_part(info));
    text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    fd = openat(d->fd, "state.json.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) ||
        renameat(d->fd, "state.json.new", d->fd, "state.json") < 0)
        r = error_set(e, errno, "%s/%s/state.json", d->root, d->id);
    if (fd >= 0)
        close(fd);
    json_object_put(o);
    return r;
}

static bool has_state(struct state_dir *d)
{
    return faccessat(d->fd, "state.json", F_OK, 0) == 0 || errno != ENOENT;
}

static bool is_gone(struct state_dir *d)
{
    struct stat st;

    return fstat(d->fd, &st) < 0 || st.st_nlink == 0;
}

/*
 * Whoever makes or removes the directory is at it, and will be done in no time: one that is there without its contents, and
 * stays so while nobody has the lock, is what a killed creation has left.
 */
static void wait_for_state(struct state_dir *d)
{
    for (int i = 0, idle = 0; i < 1000 && idle < 3 && !has_state(d) && !is_gone(d); i++) {
        idle = state_busy(d) ? 0 : idle + 1;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

int state_load(struct state_dir *d, struct json_object **out, struct error *e)
{
    int r;

    if (!d->locked)
        wait_for_state(d);
    if (!d->locked && is_gone(d)) {
        error_set(e, 0, "container %s does not exist", d->id);
        return -ENOENT;
    }
    if (!has_state(d)) {
        struct state_info nothing = {.bundle = "", .creating = true};
        *out = public_part(d->id, &nothing);
        json_object_object_add(*out, "internal", internal_part(&nothing));
        return 0;
    }
    r = json_load(d->fd, "state.json", out, e);
    return r < 0 ? error_prefix(e, r, "container %s", d->id) : 0;
}

struct json_object *state_internal(struct json_object *state, const char *key)
{
    struct json_object *internal = NULL, *v = NULL;

    json_object_object_get_ex(state, "internal", &internal);
    json_object_object_get_ex(internal, key, &v);
    return v;
}

pid_t state_process(struct json_object *state)
{
    struct json_object *v = NULL;
    unsigned long long started = (unsigned long long)json_object_get_int64(state_internal(state, "pid_start"));
    pid_t pid;

    json_object_object_get_ex(state, "pid", &v);
    pid = json_object_get_int(v);
    return pid > 1 && started && start_time(pid) == started ? pid : 0;
}

/* By way of /proc/self/fd, because a socket's name has only 108 bytes. */
static void socket_name(struct state_dir *d, struct sockaddr_un *sa)
{
    *sa = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(sa->sun_path, sizeof(sa->sun_path), "/proc/self/fd/%d/control.sock", d->fd);
}

int state_listen(struct state_dir *d, struct error *e)
{
    struct sockaddr_un sa;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    socket_name(d, &sa);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 64) < 0) {
        int r = error_set(e, errno, "control socket in %s/%s", d->root, d->id);
        if (fd >= 0)
            close(fd);
        return r;
    }
    return fd;
}

int state_connect(struct state_dir *d)
{
    struct sockaddr_un sa;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    socket_name(d, &sa);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        return fd;
    r = -errno;
    close(fd);
    return r;
}

int state_for_each(const struct cli *cli, int (*fn)(const char *id, void *arg), void *arg)
{
    DIR *dir = opendir(cli->root);
    struct dirent *de;
    int r = 0;

    if (!dir)
        return errno == ENOENT ? 0 : -errno;
    while (r == 0 && (de = readdir(dir)))
        if (de->d_name[0] != '.')
            r = fn(de->d_name, arg);
    closedir(dir);
    return r;
}
