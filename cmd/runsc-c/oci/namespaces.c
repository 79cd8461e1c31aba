/*
 * linux.namespaces. A guest is in namespaces of the sandbox's own whatever the list says: what is not in it would be the
 * host's, which a guest cannot be in. Paths name namespaces to be shared with others:
 *
 *   network     the sandbox is in it
 *   ipc, uts    accepted, as pods have them, but System V and POSIX objects and later changes of names are the sandbox's alone
 *   others      refused: a process of another sandbox can be neither seen nor joined
 */
#include "cmd/runsc-c/oci/bundle.h"
#include "cmd/runsc-c/oci/json.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static const struct kind {
    const char *name;
    int flag;
    bool by_path;
} kinds[] = {
    {"cgroup", CLONE_NEWCGROUP, false}, {"ipc", CLONE_NEWIPC, true},  {"mount", CLONE_NEWNS, false},
    {"network", CLONE_NEWNET, true},    {"pid", CLONE_NEWPID, false}, {"time", CLONE_NEWTIME, false},
    {"user", CLONE_NEWUSER, false},     {"uts", CLONE_NEWUTS, true},
};

static int check_path(const struct kind *k, const char *path, struct error *e)
{
    int fd, type;

    if (path[0] != '/')
        return error_set(e, 0, "linux.namespaces: %s: \"%s\" is not an absolute path", k->name, path);
    if (!k->by_path)
        return error_set(e, ENOTSUP, "linux.namespaces: joining the %s namespace %s", k->name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(e, errno, "linux.namespaces: %s", path);
    type = ioctl(fd, NS_GET_NSTYPE);
    close(fd);
    return type == k->flag ? 0 : error_set(e, 0, "linux.namespaces: %s is no %s namespace", path, k->name);
}

int oci_parse_namespaces(struct json_object *linux_obj, struct container_spec *s, struct error *e)
{
    struct json_object *list = NULL;
    int r = json_get_array(linux_obj, "linux", "namespaces", false, &list, e), seen = 0;

    for (size_t i = 0; r == 0 && list && i < json_object_array_length(list); i++) {
        struct json_object *ns = json_object_array_get_idx(list, i);
        const char *type = NULL, *path = NULL;
        const struct kind *k = NULL;

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
        if (seen & k->flag)
            return error_set(e, 0, "linux.namespaces: %s twice", type);
        seen |= k->flag;
        if (path && path[0] && (r = check_path(k, path, e)) < 0)
            return r;
        if (k->flag == CLONE_NEWNET)
            s->netns = (struct spec_netns){.given = true, .path = path && path[0] ? path : NULL};
    }
    return r;
}
