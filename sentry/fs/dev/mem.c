/*
 * /dev/null, zero, full, random and urandom, null(4), random(4). Positions mean nothing to them, but lseek(2) and pread(2)
 * work.
 *
 * Mapping /dev/zero is anonymous memory: FMODE_MMAP_ANON tells mmap(2) so.
 */
#include "sentry/fs/dev/dev.h"

#include "vfs/cred.h"
#include "vfs/file.h"

#include <errno.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

static const char zeros[4096];

static loff_t no_llseek(struct file *f, loff_t off, int whence)
{
    return 0;
}

static ssize_t null_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    return 0;
}

static ssize_t null_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    size_t n = uio->resid;

    uio->resid = 0;
    return n;
}

static ssize_t fill_zero(void *arg, const struct iovec *iov, int nr)
{
    ssize_t done = 0;

    for (int i = 0; i < nr; i++) {
        memset(iov[i].iov_base, 0, iov[i].iov_len);
        done += iov[i].iov_len;
    }
    return done;
}

static ssize_t zero_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    ssize_t done = 0, r = 0;

    if (uio->resid <= sizeof(zeros))
        return uio->resid ? uio_copy_to(uio, zeros, uio->resid) : 0;
    while (uio->resid) {
        r = uio_with_iovec(uio, true, 1 << 20, fill_zero, NULL);
        if (r <= 0)
            break;
        done += r;
    }
    return done ? done : r;
}

static ssize_t full_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    return uio->resid ? -ENOSPC : 0;
}

static ssize_t fill_random(void *arg, const struct iovec *iov, int nr)
{
    ssize_t r = nr ? getrandom(iov[0].iov_base, iov[0].iov_len, 0) : 0;

    return r < 0 ? -errno : r;
}

static ssize_t random_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    ssize_t done = 0, r = 0;

    while (uio->resid) {
        if (uio->resid <= 256) {
            char buf[256];
            struct iovec iov = {buf, uio->resid};
            r = fill_random(NULL, &iov, 1);
            if (r > 0)
                r = uio_copy_to(uio, buf, r);
            explicit_bzero(buf, sizeof(buf));
        } else {
            r = uio_with_iovec(uio, true, 1 << 16, fill_random, NULL);
        }
        if (r <= 0)
            break;
        done += r;
    }
    return done ? done : r;
}

static long random_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    static const int entropy = 256;

    switch (cmd) {
    case RNDGETENTCNT:
        return c->uaccess->copy_out(c, arg, &entropy, sizeof(entropy));
    case RNDADDTOENTCNT:
    case RNDADDENTROPY:
    case RNDZAPENTCNT:
    case RNDCLEARPOOL:
    case RNDRESEEDCRNG:
        /* Stirring the host's pool is nothing that a guest can do; accepted from those who might. */
        return cred_has_cap(c->cred, CAP_SYS_ADMIN) ? 0 : -EPERM;
    default:
        return -EINVAL;
    }
}

static int no_fsync(struct file *f, bool datasync)
{
    return -EINVAL;
}

static const struct file_ops null_ops = {.read = null_read, .write = null_write, .llseek = no_llseek, .fsync = no_fsync};
static const struct file_ops zero_ops = {.read = zero_read, .write = null_write, .llseek = no_llseek, .fsync = no_fsync};
static const struct file_ops full_ops = {.read = zero_read, .write = full_write, .llseek = no_llseek, .fsync = no_fsync};
static const struct file_ops random_ops = {
    .read = random_read, .write = null_write, .ioctl = random_ioctl, .llseek = no_llseek, .fsync = no_fsync};

static int mem_open(struct file *f, const struct file_ops *ops, unsigned int mode)
{
    f->ops = ops;
    f->mode |= FMODE_LSEEK | FMODE_PSEEK | mode;
    return 0;
}

int dev_null_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    return mem_open(f, &null_ops, 0);
}

int dev_zero_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    return mem_open(f, &zero_ops, FMODE_MMAP_ANON);
}

int dev_full_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    return mem_open(f, &full_ops, 0);
}

int dev_random_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    return mem_open(f, &random_ops, 0);
}
