/*
 * epoll sets.
 *
 * Each registration (epitem) hangs its own entry into the wait queue of its file; when that is woken, the entry's callback puts
 * the item on the set's ready list and wakes the set's own queue. Collecting takes items off that list, asks each file what is
 * really ready, and puts level-triggered ones that still are back at the end. So the ready list is a list of suspects, never of
 * verdicts, and an item missing from it is certainly not ready.
 *
 * Locks: ep->mtx guards the items and is held while files are polled; a set may be inside another, and then mtx nests from
 * outer to inner, which cannot deadlock because loops are refused (topology_lock guards that check). ep->ready_lock guards the
 * ready list and is a leaf: callbacks take it under the lock of a wait queue. Order: topology_lock -> ep->mtx -> file->lock,
 * wait queues -> ready_lock.
 *
 * An item does not keep its file open: the last close of a file takes its items out of all sets (epoll_file_closed), and that
 * needs the set's mtx, so that a file which is found in a set under mtx can be polled.
 */
#include "vfs/epoll.h"

#include "vfs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOLL_MAX_NESTING 5
#define EPOLL_MAX_SETS    512 /* sets looked at by one check for loops */

/* Bits of the events that are not conditions. */
#define EP_PRIVATE_BITS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EP_EXCLUSIVE_OK (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)
#define EP_INOUT_BITS   (EPOLLIN | EPOLLOUT)

struct eventpoll {
    struct refcount ref;                    /* the file, and who is taking an item of a closed file out */
    struct file *file;                      /* immutable */
    struct mutex mtx;                       /* all items; see above */
    struct waitq wq;                        /* POLLIN: the ready list is not empty */
    struct list_head *hash GUARDED_BY(mtx); /* of epitem.hash_node, by file and descriptor */
    unsigned int hash_size, nr_items GUARDED_BY(mtx);
    struct mutex ready_lock;
    struct list_head ready GUARDED_BY(ready_lock);
    atomic_uint nr_ready; /* length of the list; written under ready_lock */
};

struct epitem {
    struct waitq_entry entry;
    struct list_head hash_node;  /* mtx */
    struct list_head ready_node; /* ready_lock */
    bool listed;                 /* on the ready list, or on the list of a collection that has yet to look; ready_lock */
    struct list_head file_node;  /* in file->epitems; file->lock */
    struct eventpoll *ep;
    struct file *file; /* not referenced */
    int fd;
    uint32_t events; /* written under mtx; 0 but for ERR and HUP when a one-shot has fired */
    uint64_t data;   /* mtx */
};

/* Guards the nesting of sets against two additions that make a loop only together. */
static struct mutex topology_lock = MUTEX_INIT;

static const struct file_ops epoll_ops;

bool file_is_epoll(const struct file *f)
{
    return f->ops == &epoll_ops;
}

/* The ready list. */

static bool make_ready(struct eventpoll *ep, struct epitem *it)
{
    bool fresh;

    mutex_lock(&ep->ready_lock);
    fresh = !it->listed;
    if (fresh) {
        it->listed = true;
        list_add_tail(&it->ready_node, &ep->ready);
        atomic_fetch_add(&ep->nr_ready, 1);
    }
    mutex_unlock(&ep->ready_lock);
    return fresh;
}

static void unlist(struct eventpoll *ep, struct epitem *it)
{
    mutex_lock(&ep->ready_lock);
    if (it->listed) {
        it->listed = false;
        list_del_init(&it->ready_node);
        atomic_fetch_sub(&ep->nr_ready, 1);
    }
    mutex_unlock(&ep->ready_lock);
}

/* The next suspect of a collection's own list, off it; NULL at the end. */
static struct epitem *next_suspect(struct eventpoll *ep, struct list_head *list)
{
    struct epitem *it = NULL;

    mutex_lock(&ep->ready_lock);
    if (!list_empty(list)) {
        it = list_first_entry(list, struct epitem, ready_node);
        it->listed = false;
        list_del_init(&it->ready_node);
        atomic_fetch_sub(&ep->nr_ready, 1);
    }
    mutex_unlock(&ep->ready_lock);
    return it;
}

static void take_suspects(struct eventpoll *ep, struct list_head *list)
{
    list_init(list);
    mutex_lock(&ep->ready_lock);
    list_splice_tail_init(&ep->ready, list);
    mutex_unlock(&ep->ready_lock);
}

/* What a collection did not get to comes before what was found ready since. */
static void return_suspects(struct eventpoll *ep, struct list_head *list)
{
    mutex_lock(&ep->ready_lock);
    list_splice_tail_init(&ep->ready, list);
    list_splice_tail_init(list, &ep->ready);
    mutex_unlock(&ep->ready_lock);
}

/* An event of the file, under its queue's lock. */
static bool item_wake(struct waitq_entry *entry, uint32_t events)
{
    struct epitem *it = container_of(entry, struct epitem, entry);
    struct eventpoll *ep = it->ep;
    uint32_t want = __atomic_load_n(&it->events, __ATOMIC_RELAXED);
    bool sleeper;

    if (!(want & ~(uint32_t)EP_PRIVATE_BITS))
        return false; /* a one-shot that has fired */
    sleeper = atomic_load_explicit(&ep->wq.nr_waiters, memory_order_relaxed) > 0;
    make_ready(ep, it);
    waitq_wake(&ep->wq, POLLIN | POLLRDNORM);
    if (!(want & EPOLLEXCLUSIVE))
        return true;
    /* Whether this exclusive wake-up reached somebody who asked for just that. */
    switch (events & EP_INOUT_BITS) {
    case EPOLLIN:
        return sleeper && (want & EPOLLIN);
    case EPOLLOUT:
        return sleeper && (want & EPOLLOUT);
    default:
        return sleeper;
    }
}

/* The table of items. */

static unsigned int hash_of(const struct file *f, int fd, unsigned int size)
{
    uint64_t h = ((uint64_t)(uintptr_t)f >> 6) ^ ((uint64_t)(unsigned int)fd * 0x9e3779b97f4a7c15ull);

    return (unsigned int)((h * 0xff51afd7ed558ccdull) >> 32) & (size - 1);
}

static struct list_head *hash_alloc(unsigned int size)
{
    struct list_head *h = malloc(size * sizeof(*h));

    for (unsigned int i = 0; h && i < size; i++)
        list_init(&h[i]);
    return h;
}

static void hash_grow(struct eventpoll *ep) REQUIRES(&ep->mtx)
{
    unsigned int size = ep->hash_size * 4;
    struct list_head *h = hash_alloc(size);
    struct epitem *it, *next;

    if (!h)
        return; /* longer chains, then */
    for (unsigned int i = 0; i < ep->hash_size; i++) {
        list_for_each_entry_safe(it, next, &ep->hash[i], hash_node) {
            list_del_init(&it->hash_node);
            list_add(&it->hash_node, &h[hash_of(it->file, it->fd, size)]);
        }
    }
    free(ep->hash);
    ep->hash = h;
    ep->hash_size = size;
}

static struct epitem *find_item(struct eventpoll *ep, const struct file *f, int fd) REQUIRES(&ep->mtx)
{
    struct epitem *it;

    list_for_each_entry(it, &ep->hash[hash_of(f, fd, ep->hash_size)], hash_node) {
        if (it->file == f && it->fd == fd)
            return it;
    }
    return NULL;
}

static void remove_item(struct eventpoll *ep, struct epitem *it) REQUIRES(&ep->mtx)
{
    waitq_remove(&it->entry);
    mutex_lock(&it->file->lock);
    list_del_init(&it->file_node);
    mutex_unlock(&it->file->lock);
    unlist(ep, it);
    list_del_init(&it->hash_node);
    ep->nr_items--;
    free(it);
}

static void ep_put(struct eventpoll *ep)
{
    if (!ref_put(&ep->ref))
        return;
    waitq_fini(&ep->wq);
    mutex_fini(&ep->mtx);
    mutex_fini(&ep->ready_lock);
    free(ep->hash);
    free(ep);
}

/*
 * A file is being closed for good: called from file_put(), nobody else has it. A set that holds an item of it has not dropped
 * its own last reference, since it removes its items first.
 */
static void epoll_file_closed(struct file *f)
{
    for (;;) {
        struct eventpoll *ep = NULL;
        struct epitem *it, *found = NULL;

        mutex_lock(&f->lock);
        if (!list_empty(&f->epitems)) {
            ep = list_first_entry(&f->epitems, struct epitem, file_node)->ep;
            ref_get(&ep->ref);
        }
        mutex_unlock(&f->lock);
        if (!ep)
            break;
        mutex_lock(&ep->mtx);
        mutex_lock(&f->lock);
        list_for_each_entry(it, &f->epitems, file_node) {
            if (it->ep == ep) {
                found = it;
                break;
            }
        }
        mutex_unlock(&f->lock);
        if (found)
            remove_item(ep, found);
        mutex_unlock(&ep->mtx);
        ep_put(ep);
    }
}

void epoll_boot(void)
{
    file_epoll_register(epoll_file_closed);
}

/* What holds of an item now, of what is wanted. */
static uint32_t item_poll(const struct epitem *it)
{
    return file_poll(it->file) & (it->events | EPOLLERR | EPOLLHUP) & ~(uint32_t)EP_PRIVATE_BITS;
}

static int add_item(struct eventpoll *ep, struct file *target, int fd, const struct epoll_event *ev) REQUIRES(&ep->mtx)
{
    struct epitem *it = calloc(1, sizeof(*it));

    if (!it)
        return -ENOMEM;
    if (ep->nr_items >= ep->hash_size * 2)
        hash_grow(ep);
    it->ep = ep;
    it->file = target;
    it->fd = fd;
    it->events = ev->events;
    it->data = ev->data.u64;
    list_init(&it->ready_node);
    list_init(&it->entry.node);
    it->entry.mask = ev->events | EPOLLERR | EPOLLHUP;
    it->entry.exclusive = ev->events & EPOLLEXCLUSIVE;
    it->entry.wake = item_wake;
    list_add(&it->hash_node, &ep->hash[hash_of(target, fd, ep->hash_size)]);
    ep->nr_items++;
    mutex_lock(&target->lock);
    list_add_tail(&it->file_node, &target->epitems);
    mutex_unlock(&target->lock);
    if (target->wq)
        waitq_add(target->wq, &it->entry);
    if (item_poll(it) && make_ready(ep, it))
        waitq_wake(&ep->wq, POLLIN | POLLRDNORM);
    return 0;
}

static int modify_item(struct eventpoll *ep, struct epitem *it, const struct epoll_event *ev) REQUIRES(&ep->mtx)
{
    struct waitq *wq = it->entry.wq;

    it->data = ev->data.u64;
    /* The mask belongs to the queue while the entry is in it. */
    waitq_remove(&it->entry);
    __atomic_store_n(&it->events, ev->events, __ATOMIC_RELAXED);
    it->entry.mask = ev->events | EPOLLERR | EPOLLHUP;
    if (wq)
        waitq_add(wq, &it->entry);
    if (item_poll(it) && make_ready(ep, it))
        waitq_wake(&ep->wq, POLLIN | POLLRDNORM);
    return 0;
}

/*
 * How many sets there are on the longest way down from set `f`, itself included; too many when `top` is met, which is a loop.
 * topology_lock is held.
 */
static int sets_below(struct file *f, const struct file *top, int *budget)
{
    struct eventpoll *ep = f->priv;
    struct epitem *it;
    int deepest = 0;

    if (f == top || --*budget < 0)
        return EPOLL_MAX_NESTING + 1;
    mutex_lock(&ep->mtx);
    for (unsigned int i = 0; i < ep->hash_size && deepest < EPOLL_MAX_NESTING; i++) {
        list_for_each_entry(it, &ep->hash[i], hash_node) {
            int d = file_is_epoll(it->file) ? sets_below(it->file, top, budget) : 0;
            deepest = d > deepest ? d : deepest;
        }
    }
    mutex_unlock(&ep->mtx);
    return deepest + 1;
}

/* The same upwards. */
static int sets_above(struct file *f, int *budget)
{
    struct epitem *it;
    int highest = 0;

    if (--*budget < 0)
        return EPOLL_MAX_NESTING + 1;
    mutex_lock(&f->lock);
    list_for_each_entry(it, &f->epitems, file_node) {
        int d = highest < EPOLL_MAX_NESTING ? sets_above(it->ep->file, budget) : 0;
        highest = d > highest ? d : highest;
    }
    mutex_unlock(&f->lock);
    return highest + 1;
}

/* May set `target` be put into `epf`? 0 or -ELOOP. */
static int check_topology(struct file *epf, struct file *target)
{
    int budget = EPOLL_MAX_SETS;

    return sets_below(target, epf, &budget) + sets_above(epf, &budget) > EPOLL_MAX_NESTING ? -ELOOP : 0;
}

static int control_locked(struct eventpoll *ep, int op, struct file *target, int fd, const struct epoll_event *ev)
    REQUIRES(&ep->mtx)
{
    struct epitem *it = find_item(ep, target, fd);

    if (op == EPOLL_CTL_ADD)
        return it ? -EEXIST : add_item(ep, target, fd, ev);
    if (!it)
        return -ENOENT;
    if (op == EPOLL_CTL_DEL) {
        remove_item(ep, it);
        return 0;
    }
    /* Exclusive wake-ups are for ever. */
    return it->events & EPOLLEXCLUSIVE ? -EINVAL : modify_item(ep, it, ev);
}

static int control_nested(struct file *epf, int op, struct file *target, int fd, const struct epoll_event *ev)
{
    struct eventpoll *ep = epf->priv;
    int r;

    mutex_lock(&topology_lock);
    r = check_topology(epf, target);
    if (!r) {
        mutex_lock(&ep->mtx);
        r = control_locked(ep, op, target, fd, ev);
        mutex_unlock(&ep->mtx);
    }
    mutex_unlock(&topology_lock);
    return r;
}

int epoll_control(struct file *epf, int op, struct file *target, int fd, const struct epoll_event *ev)
{
    struct eventpoll *ep = epf->priv;
    struct epoll_event e = op == EPOLL_CTL_DEL ? (struct epoll_event){0} : *ev;
    int r;

    if (!target->ops->poll)
        return -EPERM;
    if (epf == target || !file_is_epoll(epf))
        return -EINVAL;
    if (op != EPOLL_CTL_ADD && op != EPOLL_CTL_MOD && op != EPOLL_CTL_DEL)
        return -EINVAL;
    if (e.events & EPOLLEXCLUSIVE && (op == EPOLL_CTL_MOD || file_is_epoll(target) || e.events & ~(uint32_t)EP_EXCLUSIVE_OK))
        return -EINVAL;
    e.events &= ~(uint32_t)EPOLLWAKEUP; /* there is no suspend here */
    e.events |= EPOLLERR | EPOLLHUP;
    if (op == EPOLL_CTL_ADD && file_is_epoll(target))
        return control_nested(epf, op, target, fd, &e);
    mutex_lock(&ep->mtx);
    r = control_locked(ep, op, target, fd, &e);
    mutex_unlock(&ep->mtx);
    return r;
}

bool epoll_maybe_ready(struct file *f)
{
    return atomic_load(&((struct eventpoll *)f->priv)->nr_ready) > 0;
}

int epoll_collect(struct file *f, const struct vfs_caller *c, guest_addr events, int max)
{
    struct eventpoll *ep = f->priv;
    struct list_head suspects;
    struct epitem *it;
    int n = 0;

    if (!epoll_maybe_ready(f))
        return 0;
    mutex_lock(&ep->mtx);
    take_suspects(ep, &suspects);
    while (n < max && (it = next_suspect(ep, &suspects))) {
        struct epoll_event ev = {.events = item_poll(it), .data.u64 = it->data};

        if (!ev.events)
            continue;
        if (c->uaccess->copy_out(c, guest_add(events, (uint64_t)n * sizeof(ev)), &ev, sizeof(ev))) {
            make_ready(ep, it);
            n = n ? n : -EFAULT;
            break;
        }
        n++;
        if (it->events & EPOLLONESHOT)
            __atomic_store_n(&it->events, it->events & EP_PRIVATE_BITS, __ATOMIC_RELAXED);
        else if (!(it->events & EPOLLET))
            make_ready(ep, it);
    }
    return_suspects(ep, &suspects);
    mutex_unlock(&ep->mtx);
    /* What is left is for the next one who waits. */
    if (epoll_maybe_ready(f))
        waitq_wake(&ep->wq, POLLIN | POLLRDNORM);
    return n;
}

/* For sets inside sets, and poll(2) on one: whether a collection would find something. */
static uint32_t epoll_poll(struct file *f)
{
    struct eventpoll *ep = f->priv;
    struct list_head suspects;
    struct epitem *it;
    uint32_t mask = 0;

    if (!epoll_maybe_ready(f))
        return 0;
    mutex_lock(&ep->mtx);
    take_suspects(ep, &suspects);
    while (!mask && (it = next_suspect(ep, &suspects))) {
        if (!item_poll(it))
            continue;
        make_ready(ep, it);
        mask = POLLIN | POLLRDNORM;
    }
    return_suspects(ep, &suspects);
    mutex_unlock(&ep->mtx);
    return mask;
}

static void epoll_release(struct file *f)
{
    struct eventpoll *ep = f->priv;
    struct epitem *it, *next;

    mutex_lock(&ep->mtx);
    for (unsigned int i = 0; i < ep->hash_size; i++) {
        list_for_each_entry_safe(it, next, &ep->hash[i], hash_node)
            remove_item(ep, it);
    }
    mutex_unlock(&ep->mtx);
    ep_put(ep);
}

static void epoll_show(struct file *f, char *buf, size_t len)
{
    struct eventpoll *ep = f->priv;
    struct epitem *it;
    size_t n = 0;

    if (len)
        buf[0] = 0;
    mutex_lock(&ep->mtx);
    for (unsigned int i = 0; i < ep->hash_size; i++) {
        list_for_each_entry(it, &ep->hash[i], hash_node) {
            int r = snprintf(buf + n, len - n, "tfd: %8d events: %8x data: %16llx  pos:%lli ino:%llx sdev:%llx\n", it->fd,
                             it->events, (unsigned long long)it->data, 0ll, (unsigned long long)it->file->inode->ino,
                             (unsigned long long)it->file->inode->sb->dev);
            if (r < 0 || (size_t)r >= len - n)
                break;
            n += (size_t)r;
        }
    }
    mutex_unlock(&ep->mtx);
}

static const struct file_ops epoll_ops = {.poll = epoll_poll, .release = epoll_release, .show_fdinfo = epoll_show};

int epoll_create_file(struct file **out) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it yet */
{
    struct eventpoll *ep = calloc(1, sizeof(*ep));
    int err;

    if (!ep)
        return -ENOMEM;
    ep->hash_size = 8;
    ep->hash = hash_alloc(ep->hash_size);
    if (!ep->hash) {
        free(ep);
        return -ENOMEM;
    }
    ref_init(&ep->ref);
    mutex_init(&ep->mtx);
    mutex_init(&ep->ready_lock);
    waitq_init(&ep->wq);
    list_init(&ep->ready);
    err = file_create_anon("[eventpoll]", &epoll_ops, ep, O_RDWR, 0, out);
    if (err) {
        ep_put(ep);
        return err;
    }
    (*out)->wq = &ep->wq;
    ep->file = *out;
    return 0;
}
