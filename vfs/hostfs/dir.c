/*
 * Reading directories of the host. Each open directory has a descriptor of its own, since getdents64 goes by the descriptor's
 * position; positions are the host's cookies. What one batch brought and the guest did not take yet is kept for its next call.
 */
#include "vfs/file_internal.h"
#include "vfs/hostfs/hostfs_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH_BYTES 16384

struct linux_dirent64 {
    uint64_t d_ino;
    int64_t d_off;
    unsigned short d_reclen;
    unsigned char d_type;
    char d_name[];
};

struct hostfs_dir {
    int fd;
    int64_t pos;    /* the cookie before batch[at] */
    size_t at, len; /* what is left of the batch */
    char batch[BATCH_BYTES] __attribute__((aligned(8)));
};

/* Gets the next batch from position `pos`. 0 at the end, bytes, or -errno. */
static ssize_t fill(struct hostfs_dir *hd, int64_t pos)
{
    if (hd->pos != pos && lseek(hd->fd, pos, SEEK_SET) < 0)
        return -errno;
    ssize_t n = syscall(SYS_getdents64, hd->fd, hd->batch, sizeof(hd->batch));
    hd->at = 0;
    hd->len = n > 0 ? (size_t)n : 0;
    hd->pos = pos;
    return n < 0 ? -errno : n;
}

static int hostfs_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc)
{
    struct hostfs_dir *hd = f->priv;

    for (;;) {
        if (hd->at >= hd->len || hd->pos != dc->pos) {
            ssize_t n = fill(hd, dc->pos);
            if (n <= 0)
                return (int)n;
        }
        const struct linux_dirent64 *e = (const void *)(hd->batch + hd->at);
        uint64_t ino = e->d_ino;
        if (strcmp(e->d_name, "..") == 0) { /* above the root is nothing the guest should know of */
            struct dentry *parent = dentry_get_parent(f->path.dentry);
            ino = parent->inode->ino;
            dentry_put(parent);
        }
        if (!dc->emit(dc, e->d_name, strlen(e->d_name), ino, e->d_type, e->d_off))
            return 0;
        dc->pos = hd->pos = e->d_off;
        hd->at += e->d_reclen;
    }
}

static loff_t hostfs_dir_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    if (whence == SEEK_CUR)
        off += f->pos;
    else if (whence != SEEK_SET)
        return -EINVAL;
    struct hostfs_dir *hd = f->priv;
    hd->at = hd->len = 0; /* rewinddir(3) shows what is new */
    hd->pos = -1;
    return file_set_pos(f, off);
}

static int hostfs_dir_fsync(struct file *f, bool datasync)
{
    struct hostfs_dir *hd = f->priv;
    return fsync(hd->fd) < 0 ? -errno : 0;
}

static void hostfs_dir_release(struct file *f)
{
    struct hostfs_dir *hd = f->priv;
    close(hd->fd);
    free(hd);
}

static const struct file_ops hostfs_dir_ops = {
    .iterate = hostfs_iterate,
    .llseek = hostfs_dir_llseek,
    .fsync = hostfs_dir_fsync,
    .release = hostfs_dir_release,
};

int hostfs_dir_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct hostfs_dir *hd = malloc(sizeof(*hd));
    if (!hd)
        return -ENOMEM;
    int dir_fd = hostfs_get_fd(inode, HOST_FD_PATH);
    hd->fd = dir_fd < 0 ? dir_fd : hostfs_openat(hostfs_sb(inode->sb), dir_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    if (dir_fd >= 0)
        hostfs_put_fd(inode, HOST_FD_PATH);
    if (hd->fd < 0) {
        int err = hd->fd;
        free(hd);
        return err;
    }
    hd->pos = 0;
    hd->at = hd->len = 0;
    f->priv = hd;
    f->ops = &hostfs_dir_ops;
    return 0;
}
