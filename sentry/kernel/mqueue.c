/*
 * POSIX message queues. A queue is an inode of the mqueue filesystem (which may also be mounted, at /dev/mqueue), and a queue
 * descriptor is a file on it. Messages lie in one list, highest priority first and in order of arrival within a priority.
 *
 * Locks: the queue's lock -> siglock, waitq locks.
 */
#include "sentry/kernel/mqueue.h"

#include "sentry/kernel/ipc_internal.h"
#include "sentry/socket/netlink/netlink.h"
#include "vfs/file.h"
#include "vfs/fs_struct.h"
#include "vfs/fs_type.h"
#include "vfs/inode.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MQUEUE_MAGIC     0x19800202
#define MQ_HARD_MSGMAX   65536
#define MQ_HARD_MSGSIZE  (16 << 20)
#define MQ_KERNEL_PRIOS  32768
#define MSG_OVERHEAD     48 /* bytes that RLIMIT_MSGQUEUE counts beside the contents: struct msg_msg, and a node per priority */
#define PRIO_OVERHEAD    56
#define MQUEUE_FILE_SIZE 80

/* What the last byte of the cookie says, see mq_notify(3)'s implementation in libc. */
enum { NOTIFY_WOKENUP = 1, NOTIFY_REMOVED = 2 };

struct mqueue_table {
    struct mutex lock;
    struct list_head queues; /* guarded by lock */
    unsigned int nr;
    struct super_block *sb;
    struct mnt_namespace *mnt_ns; /* the internal mount */
    struct fs_type fs_type;
};

struct mq_msg {
    struct list_head node;
    unsigned int prio;
    size_t size;
    char data[];
};

struct mqueue {
    struct mqueue_table *table;
    struct list_head node; /* in table->queues */
    uid_t uid;             /* whose RLIMIT_MSGQUEUE it counts against */
    uint64_t charged;      /* bytes */
    struct mutex lock;
    struct waitq wq;
    long max_msgs, msg_size; /* immutable */
    /* Guarded by lock. */
    struct list_head msgs;
    long nr_msgs;
    uint64_t bytes;
    unsigned int nr_receivers; /* blocked: they get a message instead of the notification */
    struct {
        struct tgroup *tg; /* referenced; NULL: nobody asked */
        int how, signo;
        union sigval value;
        struct file *sock; /* SIGEV_THREAD: the netlink socket that libc reads, referenced */
        char cookie[MQUEUE_COOKIE_LEN];
    } notify;
};

static const struct inode_ops mqueue_inode_ops;

static struct mqueue *mqueue_of(const struct file *f)
{
    return f->inode->priv;
}

/* Tells a waiting libc thread that its time has come, or that nothing will come any more. */
static void notify_cookie(struct mqueue *q, char what)
{
    q->notify.cookie[MQUEUE_COOKIE_LEN - 1] = what;
    netlink_deliver(q->notify.sock, q->notify.cookie, sizeof(q->notify.cookie));
}

static void notify_clear(struct mqueue *q)
{
    if (q->notify.sock) {
        notify_cookie(q, NOTIFY_REMOVED);
        file_put(q->notify.sock);
    }
    if (q->notify.tg)
        tgroup_put(q->notify.tg);
    q->notify.tg = NULL;
    q->notify.sock = NULL;
}

/* A message has come into the empty queue, and nobody waits for it. */
static void notify_send(struct mqueue *q, struct task *sender)
{
    ksiginfo info;

    if (!q->notify.tg)
        return;
    if (q->notify.how == SIGEV_SIGNAL) {
        siginfo_user(&info, q->notify.signo, SI_MESGQ, sender);
        info.si_value = q->notify.value;
        signal_send_tgroup(q->notify.tg, &info);
    } else if (q->notify.sock) {
        notify_cookie(q, NOTIFY_WOKENUP);
        file_put(q->notify.sock);
        q->notify.sock = NULL;
    }
    notify_clear(q);
}

static int queue_try_send(struct task *t, struct mqueue *q, struct mq_msg *m)
{
    struct list_head *after;
    int err = -EAGAIN;

    mutex_lock(&q->lock);
    if (q->nr_msgs < q->max_msgs) {
        for (after = q->msgs.prev; after != &q->msgs; after = after->prev)
            if (list_entry(after, struct mq_msg, node)->prio >= m->prio)
                break;
        list_add(&m->node, after);
        q->bytes += m->size;
        if (q->nr_msgs++ == 0 && !q->nr_receivers)
            notify_send(q, t);
        waitq_wake(&q->wq, POLLIN | POLLRDNORM);
        err = 0;
    }
    mutex_unlock(&q->lock);
    return err;
}

static int queue_try_receive(struct mqueue *q, struct mq_msg **out)
{
    int err = -EAGAIN;

    mutex_lock(&q->lock);
    if (q->nr_msgs) {
        *out = list_first_entry(&q->msgs, struct mq_msg, node);
        list_del_init(&(*out)->node);
        q->bytes -= (*out)->size;
        q->nr_msgs--;
        waitq_wake(&q->wq, POLLOUT | POLLWRNORM);
        err = 0;
    }
    mutex_unlock(&q->lock);
    return err;
}

static bool nonblocking(struct file *f)
{
    return atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK;
}

int64_t mqueue_send(struct task *t, struct file *f, guest_addr buf, size_t len, unsigned int prio, int64_t deadline)
{
    struct mqueue *q = mqueue_of(f);
    struct task_wait w;
    struct mq_msg *m;
    int err;

    if (len > (size_t)q->msg_size)
        return -EMSGSIZE;
    m = malloc(sizeof(*m) + len);
    if (!m)
        return -ENOMEM;
    m->prio = prio;
    m->size = len;
    err = copy_in(t, m->data, buf, len);
    if (!err)
        err = queue_try_send(t, q, m);
    if (err == -EAGAIN && !nonblocking(f)) {
        task_wait_begin(t, &w, &q->wq, POLLOUT);
        while ((err = queue_try_send(t, q, m)) == -EAGAIN)
            if ((err = task_block(t, deadline)))
                break;
        task_wait_end(&w);
    }
    if (err)
        free(m);
    return err;
}

static void count_receiver(struct mqueue *q, int n)
{
    mutex_lock(&q->lock);
    q->nr_receivers += (unsigned int)n;
    mutex_unlock(&q->lock);
}

int64_t mqueue_receive(struct task *t, struct file *f, guest_addr buf, size_t len, unsigned int *prio, int64_t deadline)
{
    struct mqueue *q = mqueue_of(f);
    struct mq_msg *m = NULL;
    struct task_wait w;
    int64_t ret;

    if (len < (size_t)q->msg_size)
        return -EMSGSIZE;
    ret = queue_try_receive(q, &m);
    if (ret == -EAGAIN && !nonblocking(f)) {
        count_receiver(q, 1);
        task_wait_begin(t, &w, &q->wq, POLLIN);
        while ((ret = queue_try_receive(q, &m)) == -EAGAIN)
            if ((ret = task_block(t, deadline)))
                break;
        task_wait_end(&w);
        count_receiver(q, -1);
    }
    if (ret)
        return ret;
    *prio = m->prio;
    ret = copy_out(t, buf, m->data, m->size);
    if (!ret)
        ret = (int64_t)m->size;
    free(m);
    return ret;
}

int mqueue_notify(struct task *t, struct file *f, const struct mqueue_notify *n)
{
    struct mqueue *q = mqueue_of(f);
    int err = 0;

    mutex_lock(&q->lock);
    if (!n) {
        if (q->notify.tg == t->tg)
            notify_clear(q);
    } else if (q->notify.tg) {
        err = -EBUSY;
    } else if (n->how == SIGEV_THREAD && (err = netlink_deliver(n->sock, NULL, 0)) == 0) {
        q->notify.sock = file_get(n->sock);
        memcpy(q->notify.cookie, n->cookie, sizeof(q->notify.cookie));
    }
    if (!err && n) {
        q->notify.tg = tgroup_get(t->tg);
        q->notify.how = n->how;
        q->notify.signo = n->signo;
        q->notify.value = n->value;
    }
    mutex_unlock(&q->lock);
    return err;
}

int mqueue_getsetattr(struct file *f, const long *new_flags, struct mq_attr *old)
{
    struct mqueue *q = mqueue_of(f);

    mutex_lock(&q->lock);
    *old = (struct mq_attr){
        .mq_flags = nonblocking(f) ? O_NONBLOCK : 0,
        .mq_maxmsg = q->max_msgs,
        .mq_msgsize = q->msg_size,
        .mq_curmsgs = q->nr_msgs,
    };
    if (new_flags && *new_flags & O_NONBLOCK)
        atomic_fetch_or(&f->flags, O_NONBLOCK);
    else if (new_flags)
        atomic_fetch_and(&f->flags, ~O_NONBLOCK);
    mutex_unlock(&q->lock);
    return 0;
}

/* What `cat /dev/mqueue/NAME` shows. */
static ssize_t mqueue_file_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct mqueue *q = mqueue_of(f);
    char text[MQUEUE_FILE_SIZE * 2];
    ssize_t n;
    int len;

    mutex_lock(&q->lock);
    len = snprintf(text, sizeof(text), "QSIZE:%-10llu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", (unsigned long long)q->bytes,
                   q->notify.tg ? q->notify.how : 0, q->notify.tg && q->notify.how == SIGEV_SIGNAL ? q->notify.signo : 0,
                   q->notify.tg ? q->notify.tg->tgid : 0);
    mutex_unlock(&q->lock);
    if (*pos >= len)
        return 0;
    n = uio_copy_to(uio, text + *pos, (size_t)(len - *pos));
    if (n > 0)
        *pos += n;
    return n;
}

static uint32_t mqueue_file_poll(struct file *f)
{
    struct mqueue *q = mqueue_of(f);
    uint32_t events = 0;

    mutex_lock(&q->lock);
    if (q->nr_msgs)
        events |= POLLIN | POLLRDNORM;
    if (q->nr_msgs < q->max_msgs)
        events |= POLLOUT | POLLWRNORM;
    mutex_unlock(&q->lock);
    return events;
}

/* A close(2) by the process that is to be notified takes its registration back. */
static int mqueue_file_flush(struct file *f, const struct vfs_caller *c)
{
    struct mqueue *q = mqueue_of(f);

    mutex_lock(&q->lock);
    if (q->notify.tg && c && q->notify.tg->tgid == c->tgid)
        notify_clear(q);
    mutex_unlock(&q->lock);
    return 0;
}

static const struct file_ops mqueue_file_ops = {
    .read = mqueue_file_read,
    .poll = mqueue_file_poll,
    .flush = mqueue_file_flush,
};

bool mqueue_is_file(const struct file *f)
{
    return f->ops == &mqueue_file_ops;
}

static int mqueue_inode_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    struct mqueue *q = inode->priv;

    f->ops = &mqueue_file_ops;
    f->wq = &q->wq;
    f->mode |= FMODE_LSEEK;
    return 0;
}

static const struct inode_ops mqueue_inode_ops = {.open = mqueue_inode_open};

static void queue_free(struct mqueue *q)
{
    mutex_lock(&q->table->lock);
    if (!list_empty(&q->node)) {
        list_del_init(&q->node);
        q->table->nr--;
    }
    mutex_unlock(&q->table->lock);
    while (!list_empty(&q->msgs)) {
        struct mq_msg *m = list_first_entry(&q->msgs, struct mq_msg, node);

        list_del_init(&m->node);
        free(m);
    }
    notify_clear(q);
    waitq_fini(&q->wq);
    mutex_fini(&q->lock);
    free(q);
}

static void mqueue_evict_inode(struct inode *inode)
{
    if (inode->priv)
        queue_free(inode->priv);
}

/* What a queue counts against RLIMIT_MSGQUEUE; UINT64_MAX when that overflows. */
static uint64_t queue_charge(long max_msgs, long msg_size)
{
    uint64_t prios = max_msgs < MQ_KERNEL_PRIOS ? (uint64_t)max_msgs : MQ_KERNEL_PRIOS, bytes;

    if (__builtin_mul_overflow((uint64_t)max_msgs, (uint64_t)msg_size + MSG_OVERHEAD, &bytes))
        return UINT64_MAX;
    return bytes + prios * PRIO_OVERHEAD;
}

/* The new queue's parameters: checked, or the defaults. */
static int queue_params(struct task *t, const struct mq_attr *attr, struct mqueue *q)
{
    struct ipc_namespace *ns = t->k->ipc;
    bool privileged = cred_has_cap(t->cred, CAP_SYS_RESOURCE);
    uint64_t most = privileged ? MQ_HARD_MSGMAX : ipc_tunable_get(ns, MQ_MSG_MAX);
    uint64_t largest = privileged ? MQ_HARD_MSGSIZE : ipc_tunable_get(ns, MQ_MSGSIZE_MAX);

    if (attr) {
        if (attr->mq_maxmsg <= 0 || attr->mq_msgsize <= 0 || (uint64_t)attr->mq_maxmsg > most ||
            (uint64_t)attr->mq_msgsize > largest)
            return -EINVAL;
        q->max_msgs = attr->mq_maxmsg;
        q->msg_size = attr->mq_msgsize;
    } else {
        uint64_t msgs = ipc_tunable_get(ns, MQ_MSG_DEFAULT), size = ipc_tunable_get(ns, MQ_MSGSIZE_DEFAULT);
        uint64_t msg_max = ipc_tunable_get(ns, MQ_MSG_MAX), size_max = ipc_tunable_get(ns, MQ_MSGSIZE_MAX);

        q->max_msgs = (long)(msgs < msg_max ? msgs : msg_max);
        q->msg_size = (long)(size < size_max ? size : size_max);
    }
    q->charged = queue_charge(q->max_msgs, q->msg_size);
    return 0;
}

/* Counts the queue in, if the limits allow. */
static int queue_enter(struct task *t, struct mqueue *q)
{
    struct mqueue_table *table = q->table;
    uint64_t used = q->charged;
    struct mqueue *other;
    int err = 0;

    mutex_lock(&table->lock);
    list_for_each_entry(other, &table->queues, node) {
        if (other->uid == q->uid && __builtin_add_overflow(used, other->charged, &used))
            used = UINT64_MAX;
    }
    if (table->nr >= ipc_tunable_get(t->k->ipc, MQ_QUEUES_MAX) && !cred_has_cap(t->cred, CAP_SYS_RESOURCE)) {
        err = -ENOSPC;
    } else if (used > task_rlimit(t, RLIMIT_MSGQUEUE)) {
        err = -EMFILE;
    } else {
        list_add_tail(&q->node, &table->queues);
        table->nr++;
    }
    mutex_unlock(&table->lock);
    return err;
}

/* A new queue behind the negative dentry `d` of the locked directory. */
static int queue_create(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c,
                        const struct mq_attr *attr)
{
    struct task *t = task_of_caller(c);
    struct mqueue *q;
    struct inode *inode;
    int err;

    if (!t)
        return -EPERM;
    q = calloc(1, sizeof(*q));
    if (!q)
        return -ENOMEM;
    mutex_init(&q->lock);
    waitq_init(&q->wq);
    list_init(&q->msgs);
    list_init(&q->node);
    q->table = t->k->ipc->mqueues;
    q->uid = t->cred->uid;
    err = queue_params(t, attr, q);
    if (!err)
        err = queue_enter(t, q);
    if (err) {
        queue_free(q);
        return err;
    }
    inode = inode_create(dir->sb, &mqueue_inode_ops, 0, S_IFREG | (mode & 07777), c->cred->fsuid, c->cred->fsgid);
    if (!inode) {
        queue_free(q);
        return -ENOMEM;
    }
    inode->priv = q;
    atomic_store(&inode->size, MQUEUE_FILE_SIZE);
    dentry_instantiate(d, inode);
    dentry_pin(d);
    inode_touch(dir, true, true);
    return 0;
}

static int mqueue_dir_create(struct inode *dir, struct dentry *d, mode_t mode, const struct vfs_caller *c)
{
    return queue_create(dir, d, mode, c, NULL);
}

static int mqueue_dir_unlink(struct inode *dir, struct dentry *d)
{
    atomic_fetch_sub(&d->inode->nlink, 1);
    inode_touch(dir, true, true);
    dentry_unpin(d);
    return 0;
}

static const struct inode_ops mqueue_dir_ops = {
    .lookup = simple_lookup,
    .create = mqueue_dir_create,
    .unlink = mqueue_dir_unlink,
    .open = simple_dir_open,
};

static int mqueue_statfs(struct super_block *sb, struct statfs *out)
{
    out->f_type = MQUEUE_MAGIC;
    out->f_bsize = out->f_frsize = GUEST_PAGE_SIZE;
    out->f_namelen = NAME_MAX;
    return 0;
}

static const struct super_ops mqueue_super_ops = {.evict_inode = mqueue_evict_inode, .statfs = mqueue_statfs};

static int name_check(const char *name)
{
    size_t len = strlen(name);

    if (!len)
        return -ENOENT;
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EACCES;
    return len > NAME_MAX ? -ENAMETOOLONG : 0;
}

/* The dentry of `name`, positive and referenced, made if `flags` say so. */
static int queue_lookup(struct task *t, struct path *root, const char *name, int flags, mode_t mode, const struct mq_attr *attr,
                        struct dentry **out)
{
    struct inode *dir = root->dentry->inode;
    struct dentry *d;
    int err;

    mutex_lock(&dir->lock);
    err = dentry_lookup_locked(root->dentry, name, strlen(name), &d);
    if (!err) {
        if (dentry_inode(d))
            err = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL) ? -EEXIST : 0;
        else if (!(flags & O_CREAT))
            err = -ENOENT;
        else if (!(err = inode_permission(dir, t->cred, MAY_WRITE | MAY_EXEC)))
            err = queue_create(dir, d, mode & ~fs_umask(t->fs), task_caller(t), attr);
        if (err)
            dentry_put(d);
        else
            *out = d;
    }
    mutex_unlock(&dir->lock);
    return err;
}

int mqueue_open(struct task *t, const char *name, int flags, mode_t mode, const struct mq_attr *attr, struct file **out)
{
    struct path root, at;
    int err = name_check(name);

    if (err)
        return err;
    mnt_namespace_root(t->k->ipc->mqueues->mnt_ns, &root);
    err = queue_lookup(t, &root, name, flags, mode, attr, &at.dentry);
    if (!err) {
        at.mnt = root.mnt;
        err = vfs_open_path(task_caller(t), &at, flags & (O_ACCMODE | O_NONBLOCK), out);
        dentry_put(at.dentry);
    }
    path_put(&root);
    return err;
}

int mqueue_unlink(struct task *t, const char *name)
{
    struct path root;
    int err = name_check(name);

    if (err)
        return err;
    mnt_namespace_root(t->k->ipc->mqueues->mnt_ns, &root);
    err = vfs_unlink(task_caller(t), &root, name);
    path_put(&root);
    return err;
}

/* All mounts show the one namespace. */
static int mqueue_mount(const struct fs_type *type, const struct vfs_caller *c, const char *source, const char *data,
                        struct super_block **out)
{
    struct mqueue_table *table = type->arg;

    if (*data)
        return -EINVAL;
    *out = super_get(table->sb);
    return 0;
}

int mqueue_init(struct ipc_namespace *ns)
{
    struct mqueue_table *table = calloc(1, sizeof(*table));
    struct inode *root;
    int err;

    if (!table)
        return -ENOMEM;
    mutex_init(&table->lock);
    list_init(&table->queues);
    ns->mqueues = table;
    err = super_create("mqueue", &mqueue_super_ops, MQUEUE_MAGIC, &table->sb);
    if (err)
        return err;
    root = inode_create(table->sb, &mqueue_dir_ops, 0, S_IFDIR | 01777, 0, 0);
    if (!root)
        return -ENOMEM;
    table->sb->root = dentry_create_root(root);
    if (!table->sb->root)
        return -ENOMEM;
    err = mnt_namespace_create(table->sb, "mqueue", 0, &table->mnt_ns);
    if (err)
        return err;
    table->fs_type = (struct fs_type){.name = "mqueue", .create = mqueue_mount, .arg = table};
    fs_type_register(&table->fs_type);
    return 0;
}

void mqueue_fini(struct ipc_namespace *ns)
{
    struct mqueue_table *table = ns->mqueues;

    if (!table)
        return;
    if (table->mnt_ns)
        mnt_namespace_put(table->mnt_ns);
    if (table->sb)
        super_put(table->sb);
    mutex_fini(&table->lock);
    free(table);
}
