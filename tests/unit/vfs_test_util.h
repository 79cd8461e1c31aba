/* A sandbox's file system in miniature for unit tests: a tmpfs root, a caller with root's credentials. */
#ifndef TESTS_UNIT_VFS_TEST_UTIL_H
#define TESTS_UNIT_VFS_TEST_UTIL_H

#include "lib/memfile.h"
#include "vfs/cred.h"
#include "vfs/fdtable.h"
#include "vfs/fs_struct.h"
#include "vfs/hostfs/hostfs.h"
#include "vfs/namei.h"
#include "vfs/tmpfs/tmpfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct world {
    struct memfile *mf;
    struct mnt_namespace *ns;
    struct cred *cred;
    struct vfs_caller c;
};

static inline void world_init_on(struct world *w, struct super_block *root)
{
    if (mnt_namespace_create(root, "root", 0, &w->ns) < 0)
        abort();
    super_put(root);
    w->cred = cred_create_root();
    w->c = (struct vfs_caller){.cred = w->cred, .fs = fs_struct_create(w->ns), .fsize_limit = UINT64_MAX, .tgid = 1};
}

static inline void world_init(struct world *w)
{
    struct super_block *sb;
    if (memfile_create(1ULL << 32, &w->mf) < 0 || tmpfs_create(w->mf, "size=512m", &sb) < 0)
        abort();
    world_init_on(w, sb);
}

static inline void world_fini(struct world *w)
{
    fs_struct_put(w->c.fs);
    mnt_namespace_put(w->ns);
    cred_put(w->cred);
    if (w->mf)
        memfile_destroy(w->mf);
}

/* open(2): the file or -errno through *err. */
static inline int w_open(struct world *w, const char *name, int flags, mode_t mode, struct file **f)
{
    struct open_how how = {.flags = (uint64_t)flags, .mode = mode};
    return vfs_open(&w->c, NULL, name, &how, f);
}

static inline int w_write_file(struct world *w, const char *name, const char *text)
{
    struct file *f;
    loff_t pos = 0;
    int err = w_open(w, name, O_CREAT | O_WRONLY | O_TRUNC, 0644, &f);
    if (err < 0)
        return err;
    ssize_t n = file_write_host(f, &w->c, text, strlen(text), &pos);
    file_put(f);
    return n == (ssize_t)strlen(text) ? 0 : (int)n;
}

/* The content as a string in `buf`, or a negative error. */
static inline ssize_t w_read_file(struct world *w, const char *name, char *buf, size_t len)
{
    struct file *f;
    loff_t pos = 0;
    int err = w_open(w, name, O_RDONLY, 0, &f);
    if (err < 0)
        return err;
    ssize_t n = file_read_host(f, &w->c, buf, len - 1, &pos);
    file_put(f);
    if (n >= 0)
        buf[n] = 0;
    return n;
}

static inline int w_stat(struct world *w, const char *name, bool follow, struct statx *st)
{
    struct path p;
    int err = vfs_lookup(&w->c, NULL, name, follow ? LOOKUP_FOLLOW : 0, 0, &p);
    if (err < 0)
        return err;
    err = vfs_getattr(&p, STATX_BASIC_STATS, st);
    path_put(&p);
    return err;
}

#endif
