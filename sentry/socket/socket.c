/* Sockets as objects and as files: creation, lifetime, and the file operations. */
#include "sentry/socket/socket.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/wait.h"
#include "sentry/socket/bpf.h"
#include "sentry/socket/errqueue.h"
#include "sentry/socket/inet_host/inet_host.h"
#include "sentry/socket/net.h"
#include "vfs/file.h"
#include "vfs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>

void socket_init(struct socket *s, const struct socket_ops *ops, struct net *net, int family, int type, int protocol)
{
    ref_init(&s->ref);
    s->ops = ops;
    s->net = net;
    s->family = family;
    s->type = type;
    s->protocol = protocol;
    waitq_init(&s->wq);
    mutex_init(&s->read_lock);
    mutex_init(&s->lock);
    skb_queue_init(&s->rq);
    s->sndbuf = atomic_load(&net->wmem_default);
    s->rcvbuf = atomic_load(&net->rmem_default);
    s->rcvlowat = 1;
    s->incoming_cpu = -1;
    s->txrehash = 1;
    s->max_pacing_rate = UINT64_MAX;
    list_init(&s->errqueue);
    s->rcvtimeo = s->sndtimeo = INT64_MAX;
}

void socket_fini(struct socket *s)
{
    struct list_head left;

    skb_queue_take(&s->rq, &left);
    skb_free_list(&left);
    sock_errqueue_purge(s);
    bpf_prog_put(s->filter);
    bpf_prog_put(s->reuseport_prog);
    waitq_fini(&s->wq);
    mutex_fini(&s->lock);
    mutex_fini(&s->read_lock);
}

struct socket *socket_get(struct socket *s)
{
    ref_get(&s->ref);
    return s;
}

void socket_put(struct socket *s)
{
    if (s && ref_put(&s->ref))
        s->ops->destroy(s);
}

int sock_take_error(struct socket *s)
{
    if (likely(atomic_load_explicit(&s->err, memory_order_relaxed) == 0))
        return 0;
    return -atomic_exchange(&s->err, 0);
}

void sock_set_error(struct socket *s, int err)
{
    atomic_store(&s->err, err);
}

void sock_keep_error(struct socket *s, ssize_t r)
{
    switch (r) {
    case -ECONNRESET:
    case -ETIMEDOUT:
    case -ECONNREFUSED:
    case -ECONNABORTED:
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -ENOPROTOOPT:
    case -EPROTO:
    case -EACCES:
        if (s->ops->put_error)
            s->ops->put_error(s, (int)-r);
        else
            sock_set_error(s, (int)-r);
        break;
    default: /* not of the kind that is pending */
        break;
    }
}

bool sock_writable(struct socket *s)
{
    return (uint64_t)atomic_load(&s->wmem) * 4 <= (uint64_t)(unsigned int)s->sndbuf;
}

bool sock_may_send(struct socket *s)
{
    if (likely(atomic_load_explicit(&s->wmem, memory_order_relaxed) < (unsigned int)s->sndbuf))
        return true;
    /* Said first and looked at again, against a reader that has just made room. */
    atomic_store(&s->nospace, true);
    return atomic_load(&s->wmem) < (unsigned int)s->sndbuf;
}

void sock_lock_two(struct socket *a, struct socket *b) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_lock(a < b ? &a->lock : &b->lock);
    if (a != b)
        mutex_lock(a < b ? &b->lock : &a->lock);
}

void sock_unlock_two(struct socket *a, struct socket *b) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_unlock(&a->lock);
    if (a != b)
        mutex_unlock(&b->lock);
}

static const struct {
    int family;
    socket_create_fn *create;
} families[] = {
    {AF_UNIX, unix_create},       {AF_INET, inet_create},     {AF_INET6, inet_create},
    {AF_NETLINK, netlink_create}, {AF_PACKET, packet_create},
};

int socket_create(struct task *t, int family, int type, int protocol, struct socket **out)
{
    if (family < 0 || family >= AF_MAX)
        return -EAFNOSUPPORT;
    if (type < 0 || type > SOCK_PACKET)
        return -EINVAL;
    if (t->k->net->host && net_host_serves(family, protocol))
        return net_host_create(t, t->k->net, family, type, protocol, out);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        if (families[i].family == family)
            return families[i].create(t, t->k->net, family, type, protocol, out);
    }
    return -EAFNOSUPPORT;
}

static unsigned int read_flags(const struct file *f)
{
    return atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK ? MSG_DONTWAIT : 0;
}

static ssize_t socket_file_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct socket *s = f->priv;
    struct sk_msg m = {.uio = uio, .flags = read_flags(f)};

    if (uio->resid == 0)
        return 0;
    return s->ops->recvmsg(s, task_of_caller(c), &m);
}

static ssize_t socket_file_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct socket *s = f->priv;
    struct sk_msg m = {.uio = uio, .flags = read_flags(f)};

    return s->ops->sendmsg(s, task_of_caller(c), &m);
}

static uint32_t socket_file_poll(struct file *f)
{
    struct socket *s = f->priv;

    return s->ops->poll(s);
}

static long socket_file_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct socket *s = f->priv;
    long r = s->ops->ioctl ? s->ops->ioctl(s, c, cmd, arg) : -ENOTTY;

    return r == -ENOTTY ? netdev_ioctl(s->net, c, cmd, arg) : r;
}

static int64_t socket_file_timeout(struct file *f, bool writing)
{
    struct socket *s = f->priv;

    return writing ? s->sndtimeo : s->rcvtimeo;
}

/* The wait of SO_LINGER, which ends early by a signal. A process that exits does not wait. */
static void linger(struct socket *s)
{
    struct task *t = task_current();
    struct task_wait w;
    int64_t deadline;

    if (!t || t->exiting || !s->ops->lingers(s))
        return;
    deadline = time_add_saturating(kernel_monotonic_ns(), (int64_t)s->linger_secs * NSEC_PER_SEC);
    task_wait_begin(t, &w, &s->wq, POLLOUT | POLLERR | POLLHUP);
    while (s->ops->lingers(s) && task_block(t, deadline) == 0)
        ;
    task_wait_end(&w);
}

static void socket_file_release(struct file *f)
{
    struct socket *s = f->priv;

    if (s->linger && s->linger_secs > 0 && s->ops->lingers)
        linger(s);
    mutex_lock(&s->lock);
    s->file = NULL;
    mutex_unlock(&s->lock);
    s->ops->release(s);
    socket_put(s);
}

static int socket_file_mmap(struct file *f, int prot, bool shared, uint64_t off, uint64_t len)
{
    struct socket *s = f->priv;

    return s->ops->mmap ? s->ops->mmap(s, off, len) : -ENODEV;
}

static int socket_file_map_extent(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out)
{
    struct socket *s = f->priv;

    return s->ops->map_extent ? s->ops->map_extent(s, off, len, out) : -ENXIO;
}

static const struct file_ops socket_file_ops = {
    .read = socket_file_read,
    .write = socket_file_write,
    .poll = socket_file_poll,
    .ioctl = socket_file_ioctl,
    .timeout = socket_file_timeout,
    .mmap = socket_file_mmap,
    .map_extent = socket_file_map_extent,
    .release = socket_file_release,
};

struct socket *file_socket(const struct file *f)
{
    return f->ops == &socket_file_ops ? f->priv : NULL;
}

/* The filesystem that inodes of sockets belong to. */
static int sockfs_statfs(struct super_block *sb, struct statfs *out)
{
    out->f_type = SOCKFS_MAGIC;
    out->f_bsize = out->f_frsize = 4096;
    out->f_namelen = 255;
    return 0;
}

static const struct super_ops sockfs_super_ops = {.statfs = sockfs_statfs};
static const struct inode_ops sockfs_inode_ops;
static pthread_once_t sockfs_once = PTHREAD_ONCE_INIT;
static struct super_block *sockfs; /* made once, never freed */

static void sockfs_init(void)
{
    if (super_create("sockfs", &sockfs_super_ops, SOCKFS_MAGIC, &sockfs) < 0)
        sockfs = NULL;
    else
        sockfs->flags = SB_KERNEL;
}

int socket_make_file(struct task *t, struct socket *s, int flags, struct file **out)
{
    unsigned int mode = FMODE_READ | FMODE_WRITE | (s->type == SOCK_STREAM ? FMODE_STREAM : 0);
    uid_t uid = t ? t->cred->fsuid : 0;
    struct inode *inode = NULL;
    char name[32];
    int err = -ENOMEM;

    pthread_once(&sockfs_once, sockfs_init);
    if (sockfs)
        inode = inode_create(sockfs, &sockfs_inode_ops, 0, S_IFSOCK | 0777, uid, t ? t->cred->fsgid : 0);
    if (inode) {
        s->ino = inode->ino;
        s->uid = uid;
        snprintf(name, sizeof(name), "socket:[%llu]", (unsigned long long)inode->ino);
        err = file_create_on_inode(inode, name, &socket_file_ops, s, O_RDWR | (flags & O_NONBLOCK), mode, out);
    }
    if (err) {
        s->ops->release(s);
        socket_put(s);
        return err;
    }
    (*out)->wq = &s->wq;
    mutex_lock(&s->lock);
    s->file = *out;
    mutex_unlock(&s->lock);
    return 0;
}
