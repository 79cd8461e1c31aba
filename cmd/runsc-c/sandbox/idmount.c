#include "cmd/runsc-c/sandbox/idmount.h"

#include "cmd/runsc-c/sandbox/idmap.h"
#include "sentry/boot/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A user namespace with the mount's maps; it takes a process to have one. */
static int make_namespace(const struct spec_mount *m, struct error *e)
{
    struct container_spec maps = {
        .uid_maps = m->uid_maps, .nr_uid_maps = m->nr_uid_maps, .gid_maps = m->gid_maps, .nr_gid_maps = m->nr_gid_maps};
    char path[40];
    pid_t pid;
    int r;

    fflush(NULL);
    pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, NULL, NULL, 0);
    if (pid == 0) {
        pause();
        _exit(1);
    }
    if (pid < 0)
        return error_set(e, errno, "the host does not allow user namespaces");
    r = idmap_write(&maps, pid, e);
    if (r == 0) {
        snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
        r = open(path, O_RDONLY | O_CLOEXEC);
        if (r < 0)
            r = error_set(e, errno, "%s", path);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return r;
}

static int translate(struct spec_mount *m, int userns, struct error *e)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (m->flags & MS_RDONLY ? MOUNT_ATTR_RDONLY : 0),
                              .propagation = MS_PRIVATE};
    struct mount_attr map = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned int)userns};
    unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (m->recursive ? AT_RECURSIVE : 0);
    int tree = (int)syscall(SYS_open_tree, m->source_fd, "", flags);

    if (tree < 0)
        return error_set(e, errno, "idmap of %s", m->source);
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0 ||
        syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | (m->idmap_recursive ? AT_RECURSIVE : 0), &map, sizeof(map)) < 0) {
        int r = error_set(e, errno, "the host cannot map the ids of %s%s", m->source,
                          errno == EINVAL ? ": its file system does not support it" : "");
        close(tree);
        return r;
    }
    close(m->source_fd);
    m->source_fd = tree;
    m->detached = true;
    return 0;
}

int idmount_make(struct container_spec *spec, struct error *e)
{
    for (size_t i = 0; i < spec->nr_mounts; i++) {
        struct spec_mount *m = &spec->mounts[i];
        int userns, r;

        if (!m->nr_uid_maps)
            continue;
        userns = make_namespace(m, e);
        r = userns < 0 ? userns : translate(m, userns, e);
        if (userns >= 0)
            close(userns);
        if (r < 0)
            return error_prefix(e, r, "mount %s", m->destination);
    }
    return 0;
}
