/*
 * inotify(7).
 *
 * An instance is a file with a queue of events and the list of its watches. A watch ties an instance to an inode, which it
 * keeps alive; it is in the instance's list and in the inode's. Events reach an inode's watches directly and a directory's
 * watches with the name of the entry.
 *
 * Locks: inode->aux_lock guards the inode's list of watches, instance->lock the instance's list, the queue and each watch's
 * mask. Order: aux_lock -> instance->lock. To remove a watch one takes it off the inode's list first; who did that owns the
 * removal.
 */
#include "vfs/inotify.h"

#include "vfs/dcache.h"
#include "vfs/file_internal.h"
#include "vfs/inode_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define MAX_QUEUED    16384
#define MAX_WATCHES   65536
#define MAX_INSTANCES 128 /* per user */

struct inotify_marks {
    struct list_head watches; /* struct watch by inode_node */
};

struct instance {
    struct refcount ref; /* the file, each watch, each event in flight */
    struct mutex lock;
    struct list_head watches GUARDED_BY(lock);
    struct list_head queue GUARDED_BY(lock);
    unsigned int nr_queued GUARDED_BY(lock);
    unsigned int nr_watches GUARDED_BY(lock);
    size_t bytes GUARDED_BY(lock); /* of the queue, as read(2) would return them */
    int next_wd GUARDED_BY(lock);
    bool overflowed GUARDED_BY(lock);
    bool closed GUARDED_BY(lock);
    uid_t uid;
    struct waitq wq;
};

struct watch {
    struct list_head inode_node, instance_node;
    struct instance *in; /* referenced */
    struct inode *inode; /* referenced */
    int wd;
    uint32_t mask; /* guarded by in->lock */
};

struct event_head { /* struct inotify_event without the name */
    int wd;
    uint32_t mask, cookie, len; /* len includes the padding */
};

struct event {
    struct list_head node;
    struct event_head e;
    char name[];
};

/* Instances per user: the quota that keeps one user from starving the rest. */
static struct mutex quota_lock = MUTEX_INIT;
static struct {
    uid_t uid;
    unsigned int n;
} quota[64] GUARDED_BY(quota_lock);

static atomic_uint next_cookie = 1;

uint32_t notify_next_cookie(void)
{
    return atomic_fetch_add(&next_cookie, 1);
}

static bool quota_change(uid_t uid, int delta)
{
    bool ok = true;
    size_t slot = ARRAY_SIZE(quota);
    mutex_lock(&quota_lock);
    for (size_t i = 0; i < ARRAY_SIZE(quota); i++) {
        if (quota[i].n > 0 && quota[i].uid == uid) {
            slot = i;
            break;
        }
        if (quota[i].n == 0 && slot == ARRAY_SIZE(quota))
            slot = i;
    }
    if (slot < ARRAY_SIZE(quota)) { /* with more users than slots the rest are not limited */
        ok = delta < 0 || quota[slot].n < MAX_INSTANCES;
        if (ok) {
            quota[slot].uid = uid;
            if (delta > 0 || quota[slot].n > 0)
                quota[slot].n += (unsigned int)delta;
        }
    }
    mutex_unlock(&quota_lock);
    return ok;
}

static void instance_put(struct instance *in)
{
    if (!ref_put(&in->ref))
        return;
    waitq_fini(&in->wq);
    mutex_fini(&in->lock);
    free(in);
}

static size_t padded(const char *name)
{
    return name ? (strlen(name) + 1 + 15) & ~(size_t)15 : 0;
}

static bool same_as_last(struct instance *in, int wd, uint32_t mask, uint32_t cookie, const char *name) REQUIRES(&in->lock)
{
    if (list_empty(&in->queue))
        return false;
    struct event *last = list_last_entry(&in->queue, struct event, node);
    return last->e.wd == wd && last->e.mask == mask && last->e.cookie == cookie && last->e.len == padded(name) &&
           (!name || strcmp(last->name, name) == 0);
}

static void enqueue_locked(struct instance *in, int wd, uint32_t mask, uint32_t cookie, const char *name) REQUIRES(&in->lock)
{
    if (in->closed || same_as_last(in, wd, mask, cookie, name))
        return;
    if (in->nr_queued >= MAX_QUEUED) {
        if (in->overflowed)
            return;
        in->overflowed = true;
        wd = -1;
        mask = IN_Q_OVERFLOW;
        cookie = 0;
        name = NULL;
    }
    size_t len = padded(name);
    struct event *ev = calloc(1, sizeof(*ev) + len);
    if (!ev)
        return;
    ev->e = (struct event_head){.wd = wd, .mask = mask, .cookie = cookie, .len = (uint32_t)len};
    if (name)
        memcpy(ev->name, name, strlen(name));
    list_add_tail(&ev->node, &in->queue);
    in->nr_queued++;
    in->bytes += sizeof(ev->e) + len;
}

static void enqueue(struct instance *in, int wd, uint32_t mask, uint32_t cookie, const char *name)
{
    mutex_lock(&in->lock);
    enqueue_locked(in, wd, mask, cookie, name);
    mutex_unlock(&in->lock);
    waitq_wake(&in->wq, POLLIN | POLLRDNORM);
}

/* Frees a watch that is off its inode's list. `tell`: IN_IGNORED is due. */
static void watch_destroy(struct watch *w, bool tell)
{
    struct instance *in = w->in;
    mutex_lock(&in->lock);
    list_del_init(&w->instance_node);
    in->nr_watches--;
    mutex_unlock(&in->lock);
    if (tell)
        enqueue(in, w->wd, IN_IGNORED, 0, NULL);
    atomic_fetch_sub(&w->inode->sb->nr_watches, 1);
    inode_put(w->inode);
    free(w);
    instance_put(in);
}

static struct inotify_marks *marks_of(struct inode *inode, bool make)
{
    struct inotify_marks *m = __atomic_load_n(&inode->marks, __ATOMIC_ACQUIRE);
    if (m || !make)
        return m;
    m = malloc(sizeof(*m));
    if (!m)
        return NULL;
    list_init(&m->watches);
    mutex_lock(&inode->aux_lock);
    if (inode->marks) {
        free(m);
        m = inode->marks;
    } else {
        __atomic_store_n(&inode->marks, m, __ATOMIC_RELEASE);
    }
    mutex_unlock(&inode->aux_lock);
    return m;
}

void notify_inode_slow(struct inode *inode, uint32_t mask, uint32_t cookie, const char *name, bool unlinked)
{
    struct inotify_marks *marks = marks_of(inode, false);
    struct watch *w, *tmp;
    struct list_head once = LIST_HEAD_INIT(once);
    uint32_t kind = mask & IN_ALL_EVENTS;

    if (!marks)
        return;
    mutex_lock(&inode->aux_lock);
    list_for_each_entry_safe(w, tmp, &marks->watches, inode_node) {
        mutex_lock(&w->in->lock);
        bool wanted = w->mask & kind && !(unlinked && w->mask & IN_EXCL_UNLINK);
        bool last = wanted && w->mask & IN_ONESHOT;
        if (wanted)
            enqueue_locked(w->in, w->wd, mask, cookie, name);
        mutex_unlock(&w->in->lock);
        if (wanted)
            waitq_wake(&w->in->wq, POLLIN | POLLRDNORM);
        if (last) {
            list_del_init(&w->inode_node);
            list_add_tail(&w->inode_node, &once);
        }
    }
    mutex_unlock(&inode->aux_lock);
    while (!list_empty(&once)) {
        w = list_first_entry(&once, struct watch, inode_node);
        list_del_init(&w->inode_node);
        watch_destroy(w, true);
    }
}

void notify_dentry_slow(struct dentry *d, uint32_t mask)
{
    struct inode *inode = dentry_inode(d);
    char name[256];

    if (!inode)
        return;
    if (S_ISDIR(inode->mode))
        mask |= IN_ISDIR;
    if (d->sb->flags & SB_KERNEL)
        return;
    struct dentry *parent = dentry_get_parent(d);
    if (parent != d && parent->inode && marks_of(parent->inode, false)) {
        dentry_copy_name(d, name, sizeof(name));
        notify_inode_slow(parent->inode, mask, 0, name, !__atomic_load_n(&d->hashed, __ATOMIC_RELAXED));
    }
    dentry_put(parent);
    notify_inode_slow(inode, mask, 0, NULL, false);
}

static void drop_all(struct inode *inode, uint32_t event)
{
    struct inotify_marks *marks = marks_of(inode, false);
    struct list_head all = LIST_HEAD_INIT(all);
    if (!marks)
        return;
    mutex_lock(&inode->aux_lock);
    list_splice_tail_init(&marks->watches, &all);
    mutex_unlock(&inode->aux_lock);
    while (!list_empty(&all)) {
        struct watch *w = list_first_entry(&all, struct watch, inode_node);
        mutex_lock(&w->in->lock);
        bool wanted = w->mask & event || event == IN_UNMOUNT;
        mutex_unlock(&w->in->lock);
        list_del_init(&w->inode_node);
        if (wanted)
            enqueue(w->in, w->wd, event, 0, NULL);
        watch_destroy(w, true);
    }
}

void inotify_inode_deleted(struct inode *inode)
{
    drop_all(inode, IN_DELETE_SELF);
}

void inotify_inode_gone(struct inode *inode) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it; watches hold references */
{
    free(inode->marks);
}

void inotify_unmount(struct super_block *sb)
{
    struct dcache *dc = sb->dcache;
    /* One watched inode at a time, found through its dentry; ends because each round removes watches. */
    while (atomic_load(&sb->nr_watches) > 0) {
        struct inode *found = sb->root && sb->root->inode && marks_of(sb->root->inode, false) &&
                                      !list_empty(&marks_of(sb->root->inode, false)->watches)
                                  ? inode_get(sb->root->inode)
                                  : NULL;
        mutex_lock(&dc->lock);
        for (unsigned int i = 0; i <= dc->mask && !found; i++)
            for (struct dentry *d = dc->buckets[i]; d && !found; d = d->hash_next)
                if (d->inode && d->inode->marks && !list_empty(&d->inode->marks->watches))
                    found = inode_get(d->inode);
        mutex_unlock(&dc->lock);
        if (!found)
            return;
        drop_all(found, IN_UNMOUNT);
        inode_put(found);
    }
}

static struct watch *find_watch(struct instance *in, struct inode *inode)
{
    struct watch *w;
    struct inotify_marks *marks = marks_of(inode, false);
    if (marks)
        list_for_each_entry(w, &marks->watches, inode_node)
            if (w->in == in)
                return w;
    return NULL;
}

int inotify_add_watch_path(struct file *f, struct inode *inode, uint32_t mask)
{
    static const uint32_t options = IN_ONESHOT | IN_EXCL_UNLINK;
    struct instance *in = f->priv;

    if (!(mask & IN_ALL_EVENTS) || (mask & IN_MASK_ADD && mask & IN_MASK_CREATE))
        return -EINVAL;
    struct inotify_marks *marks = marks_of(inode, true);
    struct watch *fresh = calloc(1, sizeof(*fresh));
    if (!marks || !fresh) {
        free(fresh);
        return -ENOMEM;
    }
    int r;
    uint32_t kept = mask & (IN_ALL_EVENTS | options);
    mutex_lock(&inode->aux_lock);
    struct watch *w = find_watch(in, inode);
    mutex_lock(&in->lock);
    if (w && mask & IN_MASK_CREATE) {
        r = -EEXIST;
    } else if (w) {
        w->mask = mask & IN_MASK_ADD ? w->mask | kept : kept;
        r = w->wd;
    } else if (in->nr_watches >= MAX_WATCHES) {
        r = -ENOSPC;
    } else {
        fresh->in = in;
        ref_get(&in->ref);
        fresh->inode = inode_get(inode);
        fresh->mask = kept;
        r = fresh->wd = in->next_wd++;
        list_add_tail(&fresh->inode_node, &marks->watches);
        list_add_tail(&fresh->instance_node, &in->watches);
        in->nr_watches++;
        atomic_fetch_add(&inode->sb->nr_watches, 1);
        fresh = NULL;
    }
    mutex_unlock(&in->lock);
    mutex_unlock(&inode->aux_lock);
    free(fresh);
    return r;
}

/*
 * Takes a watch of the instance out of its inode's list: the one with `wd`, or any for -1. The inode is referenced first, since
 * the watch, and with it the inode, may go as soon as the instance's lock is released.
 */
static struct watch *take_watch(struct instance *in, int wd)
{
    for (;;) {
        struct watch *w, *found = NULL;
        struct inode *inode = NULL;
        mutex_lock(&in->lock);
        list_for_each_entry(w, &in->watches, instance_node)
            if (wd == -1 || w->wd == wd) {
                found = w;
                inode = inode_get(w->inode);
                wd = w->wd;
                break;
            }
        mutex_unlock(&in->lock);
        if (!found)
            return NULL;
        mutex_lock(&inode->aux_lock);
        w = find_watch(in, inode);
        if (w && w->wd == wd)
            list_del_init(&w->inode_node);
        else
            w = NULL; /* somebody else is removing it */
        mutex_unlock(&inode->aux_lock);
        inode_put(inode);
        if (w || wd != -1)
            return w;
    }
}

int inotify_rm_watch_wd(struct file *f, int wd)
{
    struct watch *w = wd > 0 ? take_watch(f->priv, wd) : NULL;
    if (!w)
        return -EINVAL;
    watch_destroy(w, true);
    return 0;
}

static ssize_t inotify_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos)
{
    struct instance *in = f->priv;
    size_t done = 0;

    for (;;) {
        mutex_lock(&in->lock);
        struct event *ev = list_empty(&in->queue) ? NULL : list_first_entry(&in->queue, struct event, node);
        size_t size = ev ? sizeof(ev->e) + ev->e.len : 0;
        if (ev && size <= uio->resid) {
            list_del_init(&ev->node);
            in->nr_queued--;
            in->bytes -= size;
            if (ev->e.mask & IN_Q_OVERFLOW)
                in->overflowed = false;
        } else if (ev) {
            mutex_unlock(&in->lock);
            return done ? (ssize_t)done : -EINVAL; /* the buffer is too small for even one */
        }
        mutex_unlock(&in->lock);
        if (!ev)
            return done ? (ssize_t)done : -EAGAIN;
        ssize_t n = uio_copy_to(uio, &ev->e, sizeof(ev->e));
        if (n == (ssize_t)sizeof(ev->e) && ev->e.len > 0 && uio_copy_to(uio, ev->name, ev->e.len) < (ssize_t)ev->e.len)
            n = -EFAULT;
        free(ev);
        if (n < (ssize_t)sizeof(struct event_head))
            return done ? (ssize_t)done : -EFAULT;
        done += size;
    }
}

static uint32_t inotify_poll(struct file *f)
{
    struct instance *in = f->priv;
    mutex_lock(&in->lock);
    uint32_t events = list_empty(&in->queue) ? 0 : POLLIN | POLLRDNORM;
    mutex_unlock(&in->lock);
    return events;
}

static long inotify_ioctl(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct instance *in = f->priv;
    if (cmd != FIONREAD)
        return -ENOTTY;
    mutex_lock(&in->lock);
    int n = (int)in->bytes;
    mutex_unlock(&in->lock);
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static void inotify_release(struct file *f)
{
    struct instance *in = f->priv;
    struct watch *w;
    struct event *ev, *tmp;

    while (true) {
        mutex_lock(&in->lock);
        in->closed = true;
        bool empty = list_empty(&in->watches);
        mutex_unlock(&in->lock);
        if (empty)
            break;
        w = take_watch(in, -1);
        if (w)
            watch_destroy(w, false);
        else
            sched_yield(); /* an event is removing the last ones */
    }
    mutex_lock(&in->lock);
    list_for_each_entry_safe(ev, tmp, &in->queue, node)
        free(ev);
    list_init(&in->queue);
    mutex_unlock(&in->lock);
    quota_change(in->uid, -1);
    instance_put(in);
}

static void inotify_show_fdinfo(struct file *f, char *buf, size_t len)
{
    struct instance *in = f->priv;
    struct watch *w;
    size_t n = 0;

    buf[0] = 0;
    mutex_lock(&in->lock);
    list_for_each_entry(w, &in->watches, instance_node) {
        dev_t dev = w->inode->sb->dev;
        int r = snprintf(buf + n, len - n, "inotify wd:%x ino:%llx sdev:%llx mask:%x ignored_mask:0\n", (unsigned int)w->wd,
                         (unsigned long long)w->inode->ino, (unsigned long long)(major(dev) << 20 | minor(dev)), w->mask);
        if (r < 0 || (size_t)r >= len - n) {
            buf[n] = 0; /* whole lines only */
            break;
        }
        n += (size_t)r;
    }
    mutex_unlock(&in->lock);
}

static const struct file_ops inotify_ops = {
    .read = inotify_read,
    .poll = inotify_poll,
    .ioctl = inotify_ioctl,
    .release = inotify_release,
    .show_fdinfo = inotify_show_fdinfo,
};

bool file_is_inotify(const struct file *f)
{
    return f->ops == &inotify_ops;
}

int inotify_create(int flags, uid_t uid, struct file **out)
{
    if (!quota_change(uid, 1))
        return -EMFILE;
    struct instance *in = calloc(1, sizeof(*in));
    int err = in ? 0 : -ENOMEM;
    if (in) {
        ref_init(&in->ref);
        mutex_init(&in->lock);
        waitq_init(&in->wq);
        mutex_lock(&in->lock);
        list_init(&in->watches);
        list_init(&in->queue);
        in->next_wd = 1;
        mutex_unlock(&in->lock);
        in->uid = uid;
        err = file_create_anon("inotify", &inotify_ops, in, O_RDONLY | flags, FMODE_READ, out);
    }
    if (err < 0) {
        if (in)
            instance_put(in);
        quota_change(uid, -1);
        return err;
    }
    (*out)->wq = &in->wq;
    return 0;
}
