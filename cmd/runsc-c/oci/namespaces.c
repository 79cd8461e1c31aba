/*
 * linux.namespaces. A guest is in namespaces of the sandbox's own whatever the list says: what is not in it would be the
 * host's, which a guest cannot be in. Paths name namespaces to be shared with others:
 *
 *   network     the sandbox is on its interfaces
 *   user        the sandbox gets a namespace with the same map of ids
 *   time        the sandbox's clocks are its
 *   uts         its names are taken over once; later changes are the sandbox's alone
 *   ipc         accepted, as pods have them, but System V and POSIX objects are the sandbox's alone. /dev/shm is a mount, which
 *               can be shared
 *   cgroup      accepted: a guest sees its own cgroup as the root in any case
 *   pid, mount  refused: processes and mounts of others can be neither seen nor joined
 */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const struct kind {
    const char *name;
    int flag;
    const char *refusal; /* NULL: can be given by path */
} kinds[] = {
    {"cgroup", CLONE_NEWCGROUP, NULL},
    {"ipc", CLONE_NEWIPC, NULL},
    {"mount", CLONE_NEWNS, "a sandbox has mounts of its own only"},
    {"network", CLONE_NEWNET, NULL},
    {"pid", CLONE_NEWPID, "a sandbox cannot share processes with others"},
    {"time", CLONE_NEWTIME, NULL},
    {"user", CLONE_NEWUSER, NULL},
    {"uts", CLONE_NEWUTS, NULL},
};

/* A descriptor of the namespace. */
static int open_path(const struct kind *k, const char *path, struct error *e)
{
    int fd;

    if (path[0] != '/')
        return error_set(e, 0, "linux.namespaces: %s: \"%s\" is not an absolute path", k->name, path);
    if (k->refusal)
        return error_set(e, ENOTSUP, "linux.namespaces: joining the %s namespace %s: %s", k->name, path, k->refusal);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, errno, "linux.namespaces: %s", path);
    if (ioctl(fd, NS_GET_NSTYPE) != k->flag) {
        close(fd);
        return error_set(e, 0, "linux.namespaces: %s is no %s namespace", path, k->name);
    }
    return fd;
}

static int parse_map_file(pid_t pid, const char *file, const struct spec_idmap **out, size_t *nr)
{
    char path[64];
    struct spec_idmap *map = NULL, m;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    f = fopen(path, "re");
    if (!f)
        return -errno;
    for (*nr = 0; fscanf(f, "%u %u %u", &m.inside, &m.outside, &m.count) == 3; ++*nr) {
        struct spec_idmap *more = realloc(map, (*nr + 1) * sizeof(*map));
        if (!more)
            break;
        map = more;
        map[*nr] = m;
    }
    fclose(f);
    *out = map;
    return *nr ? 0 : -EINVAL;
}

/* A child goes into the namespace, so that its map can be read as it is seen from here. */
static int map_of_user_namespace(int fd, struct container_spec *s)
{
    struct stat own, other;
    int ready[2], r = 0;
    char ok = 0;
    pid_t pid;

    if (stat("/proc/self/ns/user", &own) == 0 && fstat(fd, &other) == 0 && own.st_ino == other.st_ino)
        return 0; /* our own: all ids as they are */
    if (pipe2(ready, O_CLOEXEC) < 0)
        return -errno;
    pid = fork();
    if (pid == 0) {
        if (setns(fd, CLONE_NEWUSER) == 0 && write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    close(ready[1]);
    if (pid < 0 || read(ready[0], &ok, 1) != 1)
        r = -EPERM;
    close(ready[0]);
    if (r == 0)
        r = parse_map_file(pid, "uid_map", &s->uid_maps, &s->nr_uid_maps);
    if (r == 0)
        r = parse_map_file(pid, "gid_map", &s->gid_maps, &s->nr_gid_maps);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return r;
}

static int take_names(struct container_spec *s)
{
    static struct utsname u;

    if (uname(&u) < 0)
        return -errno;
    if (!s->hostname)
        s->hostname = u.nodename;
    if (!s->domainname)
        s->domainname = u.domainname;
    return 0;
}

/* We go there and come back. */
static int names_of_uts_namespace(int fd, struct container_spec *s)
{
    int own = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC), r;

    if (own < 0)
        return -errno;
    /* A user without the right to go there gets names of the sandbox's own. */
    r = setns(fd, CLONE_NEWUTS) < 0 ? (errno == EPERM ? 0 : -errno) : take_names(s);
    if (r == 0 && setns(own, CLONE_NEWUTS) < 0)
        r = -errno;
    close(own);
    return r;
}

static int use_path(const struct kind *k, const char *path, struct container_spec *s, struct error *e)
{
    int fd = open_path(k, path, e), r = 0;

    if (fd < 0)
        return fd;
    if (k->flag == CLONE_NEWUSER)
        r = map_of_user_namespace(fd, s);
    else if (k->flag == CLONE_NEWUTS)
        r = names_of_uts_namespace(fd, s);
    else if (k->flag == CLONE_NEWTIME)
        s->timens.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return r < 0 ? error_set(e, -r, "linux.namespaces: %s", path) : 0;
}

static int parse_one(struct json_object *ns, size_t i, struct container_spec *s, int *seen, struct error *e)
{
    const char *type = NULL, *path = NULL;
    const struct kind *k = NULL;
    int r;

    if (!json_object_is_type(ns, json_type_object))
        return error_set(e, 0, "linux.namespaces[%zu] is not an object", i);
    if ((r = json_get_string(ns, "linux.namespaces", "type", true, &type, e)) < 0 ||
        (r = json_get_string(ns, "linux.namespaces", "path", false, &path, e)) < 0)
        return r;
    for (size_t j = 0; j < ARRAY_SIZE(kinds); j++)
        if (strcmp(kinds[j].name, type) == 0)
            k = &kinds[j];
    if (!k)
        return error_set(e, 0, "linux.namespaces: type \"%s\" is unknown", type);
    if (*seen & k->flag)
        return error_set(e, 0, "linux.namespaces: %s twice", type);
    *seen |= k->flag;
    if (path && !path[0])
        path = NULL;
    if (k->flag == CLONE_NEWNET)
        s->netns = (struct spec_netns){.given = true, .path = path};
    return path ? use_path(k, path, s, e) : 0;
}

static int parse_offset(struct json_object *o, const char *clock, struct timespec *out, struct error *e)
{
    struct json_object *offset = NULL;
    int64_t secs = 0, nanosecs = 0;
    int r = json_get_object(o, "linux.timeOffsets", clock, false, &offset, e);

    if (r < 0 || !offset)
        return r;
    if ((r = json_get_int(offset, clock, "secs", -INT64_MAX, INT64_MAX, &secs, e)) < 0 ||
        (r = json_get_int(offset, clock, "nanosecs", 0, 999999999, &nanosecs, e)) < 0)
        return error_prefix(e, r, "linux.timeOffsets");
    *out = (struct timespec){secs, (long)nanosecs};
    return 0;
}

static int parse_time_offsets(struct json_object *linux_obj, struct spec_timens *t, struct error *e)
{
    struct json_object *o = NULL;
    int r = json_get_object(linux_obj, "linux", "timeOffsets", false, &o, e);

    if (r < 0 || !o)
        return r;
    json_object_object_foreach(o, clock, value)
    {
        if (strcmp(clock, "monotonic") != 0 && strcmp(clock, "boottime") != 0)
            return error_set(e, 0, "linux.timeOffsets: clock \"%s\" is unknown", clock);
        t->offsets |= value != NULL;
    }
    r = parse_offset(o, "monotonic", &t->monotonic, e);
    return r < 0 ? r : parse_offset(o, "boottime", &t->boottime, e);
}

int oci_parse_namespaces(struct json_object *linux_obj, struct container_spec *s, struct error *e)
{
    struct json_object *list = NULL;
    int r = parse_time_offsets(linux_obj, &s->timens, e), seen = 0;

    if (r == 0)
        r = json_get_array(linux_obj, "linux", "namespaces", false, &list, e);

    for (size_t i = 0; r == 0 && list && i < json_object_array_length(list); i++)
        r = parse_one(json_object_array_get_idx(list, i), i, s, &seen, e);
    if (r < 0)
        return r;
    if (s->timens.offsets && !(seen & CLONE_NEWTIME))
        return error_set(e, 0, "linux.timeOffsets: there is no time namespace to have them");
    if (s->timens.offsets && s->timens.fd > 0)
        return error_set(e, 0, "linux.timeOffsets: the time namespace is there already");
    /* Without one of its own a container has the names of whoever starts it. */
    return seen & CLONE_NEWUTS ? 0 : take_names(s);
}
