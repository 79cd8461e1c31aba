/*
 * One inode per descriptor, which owns it; any number of files on it, because a guest may open /dev/stdin or /proc/self/fd/1
 * anew.
 *
 * Nothing here may block. Pipes and terminals are opened anew by way of /proc/self/fd, to have an O_NONBLOCK that is not shared
 * with the host's other users of the same open file; where that is refused, a poll before each transfer has to do.
 */
#include "sentry/host/host_file.h"

#include "lib/hostproc.h"
#include "lib/log.h"
#include "lib/waitq.h"
#include "sentry/host/watch.h"
#include "vfs/file.h"
#include "vfs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

struct host_fd {
    int fd;
    int flags;      /* of the descriptor: O_ACCMODE, O_APPEND */
    mode_t type;    /* S_IFMT of it */
    bool may_block; /* has no O_NONBLOCK of its own */
    struct waitq wq;
    struct host_watch watch;
};

static struct host_fd *host_fd_of(struct file *f)
{
    return f->inode->priv;
}

static uint32_t host_poll(struct file *f)
{
    struct host_fd *h = host_fd_of(f);

    host_watch_begin(&h->watch);
    return host_ready(h->fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP);
}

struct transfer {
    struct host_fd *h;
    bool write, at_pos;
    loff_t pos;
};

/* The most that a descriptor which may block takes after POLLOUT without blocking: what a pipe guarantees. */
static int clamp_iov(const struct iovec *iov, int nr, struct iovec *one)
{
    *one = iov[0];
    if (one->iov_len > 4096)
        one->iov_len = 4096;
    return 1;
}

static ssize_t transfer(void *arg, const struct iovec *iov, int nr)
{
    struct transfer *t = arg;
    struct host_fd *h = t->h;
    struct iovec one;
    ssize_t n;

    if (nr == 0)
        return 0;
    if (h->may_block) {
        if (!(host_ready(h->fd, t->write ? POLLOUT : POLLIN) &
              (t->write ? POLLOUT | POLLERR | POLLHUP : POLLIN | POLLERR | POLLHUP)))
            return -EAGAIN;
        if (t->write) {
            nr = clamp_iov(iov, nr, &one);
            iov = &one;
        }
    }
    do {
        if (S_ISSOCK(h->type)) {
            struct msghdr mh = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)nr};
            n = t->write ? sendmsg(h->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) : recvmsg(h->fd, &mh, MSG_DONTWAIT);
        } else if (t->at_pos) {
            n = t->write ? pwritev(h->fd, iov, nr, t->pos) : preadv(h->fd, iov, nr, t->pos);
        } else {
            n = t->write ? writev(h->fd, iov, nr) : readv(h->fd, iov, nr);
        }
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/*
 * The whole of a read or write. read(2) and write(2) pass the file's own position, for which the host keeps the truth; pread(2)
 * and pwrite(2) another one.
 */
static ssize_t host_io(struct file *f, struct uio *uio, loff_t *pos, bool write)
{
    struct transfer t = {.h = host_fd_of(f), .write = write, .pos = *pos};
    ssize_t total = 0, n;

    t.at_pos = S_ISREG(t.h->type) && pos != &f->pos;
    do {
        n = uio_with_iovec(uio, !write, uio->resid, transfer, &t);
        if (n <= 0)
            break;
        total += n;
        t.pos += n;
    } while (uio->resid > 0 && (write || S_ISREG(t.h->type)));
    if (n == -EAGAIN)
        host_watch_begin(&t.h->watch);
    if (total > 0 && S_ISREG(t.h->type))
        *pos += total;
    return total > 0 ? total : n;
}

static ssize_t host_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    return host_io(f, uio, pos, false);
}

static ssize_t host_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    return host_io(f, uio, pos, true);
}

/* Called with pos_lock held. */
static loff_t host_llseek(struct file *f, loff_t off, int whence) NO_THREAD_SAFETY_ANALYSIS
{
    loff_t r = lseek(host_fd_of(f)->fd, off, whence);

    if (r < 0)
        return -errno;
    f->pos = r;
    return r;
}

static int host_fsync(struct file *f, bool datasync)
{
    int fd = host_fd_of(f)->fd;

    return (datasync ? fdatasync(fd) : fsync(fd)) < 0 ? -errno : 0;
}

/* What a guest may ask of the host's terminal when it has it without a terminal of its own. */
static long host_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    static const struct {
        unsigned int cmd;
        size_t size;
        bool in;
    } known[] = {
        /* The kernel's struct termios has 36 bytes. */
        {TCGETS, 36, false}, {TCSETS, 36, true},     {TCSETSW, 36, true},
        {TCSETSF, 36, true}, {TIOCGWINSZ, 8, false}, {FIONREAD, 4, false},
    };
    struct host_fd *h = host_fd_of(f);
    char buf[64];

    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (known[i].cmd != cmd)
            continue;
        if (known[i].in && c->uaccess->copy_in(c, buf, arg, known[i].size) < 0)
            return -EFAULT;
        if (ioctl(h->fd, cmd, buf) < 0)
            return -errno;
        return known[i].in ? 0 : c->uaccess->copy_out(c, arg, buf, known[i].size);
    }
    return -ENOTTY;
}

static int host_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    return S_ISREG(host_fd_of(f)->type) ? 0 : -ENODEV;
}

static int host_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct host_fd *h = host_fd_of(f);
    struct stat st;

    if (fstat(h->fd, &st) < 0 || off >= (uint64_t)st.st_size)
        return -ENXIO;
    if (len > (uint64_t)st.st_size - off)
        len = ((uint64_t)st.st_size - off + 4095) & ~4095ULL;
    *out = (struct mmap_extent){.fd = h->fd, .offset = off, .len = len};
    return 0;
}

static void host_release(struct file *f)
{
    /* The inode owns the descriptor. */
}

static const struct file_ops host_file_ops = {
    .read = host_read,
    .write = host_write,
    .poll = host_poll,
    .ioctl = host_ioctl,
    .llseek = host_llseek,
    .fsync = host_fsync,
    .mmap = host_mmap,
    .map_extent = host_map_extent,
    .release = host_release,
};

static unsigned int fmode_of(const struct host_fd *h, int flags)
{
    static const unsigned int modes[] = {FMODE_READ, FMODE_WRITE, FMODE_READ | FMODE_WRITE, 0};

    return modes[flags & O_ACCMODE] | (S_ISREG(h->type) ? FMODE_LSEEK | FMODE_PSEEK : FMODE_STREAM);
}

/* /dev/stdin and the like: another file on the same descriptor, with no more access than it has. */
static int host_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct host_fd *h = inode->priv;
    unsigned int have = fmode_of(h, h->flags);

    if (f->mode & (FMODE_READ | FMODE_WRITE) & ~have)
        return -EACCES;
    f->mode &= ~(unsigned int)(FMODE_LSEEK | FMODE_PSEEK);
    f->mode |= have & (FMODE_LSEEK | FMODE_PSEEK | FMODE_STREAM);
    f->ops = &host_file_ops;
    f->wq = S_ISREG(h->type) ? NULL : &h->wq;
    return 0;
}

static int host_getattr(struct inode *inode)
{
    struct host_fd *h = inode->priv;
    struct stat st;

    if (fstat(h->fd, &st) < 0)
        return -errno;
    inode->uid = st.st_uid;
    inode->gid = st.st_gid;
    atomic_store(&inode->size, st.st_size);
    inode->blocks = (uint64_t)st.st_blocks;
    inode->atime = st.st_atim;
    inode->mtime = st.st_mtim;
    inode->ctime = st.st_ctim;
    return 0;
}

static int host_setattr(struct inode *inode, const struct iattr *attr, const struct vfs_caller *c)
{
    struct host_fd *h = inode->priv;

    if (attr->valid & ATTR_SIZE && S_ISREG(h->type) && ftruncate(h->fd, attr->size) < 0)
        return -errno;
    /* Owner and mode of the host's file are not the guest's. */
    return attr->valid & (ATTR_MODE | ATTR_UID | ATTR_GID) ? -EPERM : 0;
}

static const struct inode_ops host_inode_ops = {.open = host_open, .getattr = host_getattr, .setattr = host_setattr};

static void host_evict(struct inode *inode)
{
    struct host_fd *h = inode->priv;

    host_watch_fini(&h->watch);
    close(h->fd);
    waitq_fini(&h->wq);
    free(h);
}

static int host_statfs(struct super_block *sb, struct statfs *out)
{
    out->f_type = PIPEFS_MAGIC;
    out->f_bsize = out->f_frsize = 4096;
    out->f_namelen = 255;
    return 0;
}

static const struct super_ops host_super_ops = {.evict_inode = host_evict, .statfs = host_statfs};

/* A non-blocking open file of our own in place of a shared one, for what can block. */
static void make_nonblocking(struct host_fd *h)
{
    int fd;

    if (S_ISREG(h->type) || S_ISSOCK(h->type) || S_ISBLK(h->type))
        return;
    fd = hostproc_reopen(h->fd, (h->flags & (O_ACCMODE | O_APPEND)) | O_NONBLOCK);
    if (fd < 0) {
        h->may_block = true;
        return;
    }
    close(h->fd);
    h->fd = fd;
}

static int make_inode(struct host_fd *h, const struct stat *st, struct inode **out)
{
    struct super_block *sb;
    int r = super_create("hostfd", &host_super_ops, PIPEFS_MAGIC, &sb);

    if (r < 0)
        return r;
    sb->flags = SB_KERNEL | SB_OPENS_SPECIAL;
    *out = inode_create(sb, &host_inode_ops, st->st_ino, st->st_mode, st->st_uid, st->st_gid);
    super_put(sb);
    if (!*out)
        return -ENOMEM;
    (*out)->rdev = st->st_rdev;
    (*out)->priv = h;
    return host_getattr(*out);
}

static void name_of(const struct stat *st, char *buf, size_t len)
{
    if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3))
        snprintf(buf, len, "/dev/null");
    else
        snprintf(buf, len, "%s:[%llu]",
                 S_ISFIFO(st->st_mode)   ? "pipe"
                 : S_ISSOCK(st->st_mode) ? "socket"
                                         : "host",
                 (unsigned long long)st->st_ino);
}

int host_file_create(struct host_loop *loop, int fd, struct file **out)
{
    struct host_fd *h = calloc(1, sizeof(*h));
    struct inode *inode = NULL;
    struct stat st;
    char name[40];
    int r;

    if (!h || fstat(fd, &st) < 0) {
        r = h ? -errno : -ENOMEM;
        close(fd);
        free(h);
        return r;
    }
    h->flags = fcntl(fd, F_GETFL);
    if (S_ISDIR(st.st_mode) || !(st.st_mode & S_IFMT) || h->flags < 0 || h->flags & O_PATH) {
        r = S_ISDIR(st.st_mode) ? -EISDIR : -EOPNOTSUPP;
        close(fd);
        free(h);
        return r;
    }
    h->fd = fd;
    h->type = st.st_mode & S_IFMT;
    waitq_init(&h->wq);
    make_nonblocking(h);
    host_watch_init(&h->watch, loop, h->fd, &h->wq);
    r = make_inode(h, &st, &inode);
    if (r < 0) {
        if (inode) {
            inode_put(inode);
            return r;
        }
        close(h->fd);
        free(h);
        return r;
    }
    name_of(&st, name, sizeof(name));
    r = file_create_on_inode(inode, name, &host_file_ops, NULL, h->flags & (O_ACCMODE | O_APPEND | O_NONBLOCK),
                             fmode_of(h, h->flags), out);
    if (r == 0 && !S_ISREG(h->type))
        (*out)->wq = &h->wq;
    return r;
}
