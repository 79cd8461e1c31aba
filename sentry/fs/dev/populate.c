/* Fills a tmpfs that is to be /dev, with what runc puts there. */
#include "sentry/fs/fs.h"
#include "vfs/namei.h"

#include <errno.h>
#include <sys/sysmacros.h>

static const struct {
    const char *name;
    unsigned int major_nr, minor_nr;
    mode_t mode;
} nodes[] = {
    {"null", 1, 3, 0666},    {"zero", 1, 5, 0666}, {"full", 1, 7, 0666},    {"random", 1, 8, 0666},
    {"urandom", 1, 9, 0666}, {"tty", 5, 0, 0666},  {"console", 5, 1, 0620},
};

static const char *const links[][2] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},      {"ptmx", "pts/ptmx"},
};

static const struct {
    const char *name;
    mode_t mode;
} dirs[] = {{"pts", 0755}, {"shm", 01777}, {"mqueue", 01777}};

/* Modes as meant, whatever the caller's umask. */
static int set_mode(const struct vfs_caller *c, const struct path *dev, const char *name, mode_t mode)
{
    const struct iattr attr = {.valid = ATTR_MODE, .mode = mode};
    struct path p;
    int r = vfs_lookup(c, dev, name, 0, 0, &p);

    if (r)
        return r;
    r = vfs_setattr(c, &p, &attr);
    path_put(&p);
    return r;
}

int devfs_populate(const struct vfs_caller *c, const struct path *dev)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
        r = vfs_mknod(c, dev, nodes[i].name, S_IFCHR | nodes[i].mode, makedev(nodes[i].major_nr, nodes[i].minor_nr));
        if (r == 0)
            r = set_mode(c, dev, nodes[i].name, nodes[i].mode);
        if (r && r != -EEXIST)
            return r;
    }
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
        r = vfs_mkdir(c, dev, dirs[i].name, dirs[i].mode);
        if (r == 0)
            r = set_mode(c, dev, dirs[i].name, dirs[i].mode);
        if (r && r != -EEXIST)
            return r;
    }
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        r = vfs_symlink(c, links[i][1], dev, links[i][0]);
        if (r && r != -EEXIST)
            return r;
    }
    return 0;
}
