/*
 * Advisory locks; see locks.h.
 *
 * All locks of an inode are in one list in its `struct file_locks`, made when the first lock is. Three kinds of owner never
 * conflict with another kind except POSIX with OFD, which share one space of byte ranges. A file that has no locks costs its
 * closers one load.
 *
 * Waiting POSIX owners are kept in one table, because a cycle may go through several inodes: "who waits for whom" is a function
 * (a process waits for one lock per thread; with threads, the last one counts), so following it from the holder back to the
 * asker finds every cycle.
 */
#include "vfs/locks.h"
#include "vfs/inode_internal.h"

#include "vfs/file.h"
#include "vfs/inode.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

struct file_lock {
    struct list_head node;
    struct lock_request r;
    const struct file *file; /* owner of flock and OFD locks */
};

struct lease {
    struct list_head node;
    struct file *file; /* not referenced: goes before the file does */
    int type;
    bool breaking;
    int break_to;
};

struct file_locks {
    struct list_head locks;  /* struct file_lock, ranges of one owner sorted and disjoint */
    struct list_head leases; /* struct lease */
    struct waitq wq;
};

static struct file_locks *locks_of(struct inode *inode, bool make)
{
    struct file_locks *fl = __atomic_load_n(&inode->locks, __ATOMIC_ACQUIRE);
    if (fl || !make)
        return fl;
    fl = calloc(1, sizeof(*fl));
    if (!fl)
        return NULL;
    list_init(&fl->locks);
    list_init(&fl->leases);
    waitq_init(&fl->wq);
    mutex_lock(&inode->aux_lock);
    if (inode->locks) {
        waitq_fini(&fl->wq);
        free(fl);
        fl = inode->locks;
    } else {
        __atomic_store_n(&inode->locks, fl, __ATOMIC_RELEASE);
    }
    mutex_unlock(&inode->aux_lock);
    return fl;
}

static bool same_owner(const struct file_lock *l, const struct file *f, const struct lock_request *r)
{
    if (l->r.kind != r->kind)
        return false;
    return r->kind == LOCK_KIND_POSIX ? l->r.tgid == r->tgid : l->file == f;
}

static bool same_space(enum lock_kind a, enum lock_kind b)
{
    return (a == LOCK_KIND_FLOCK) == (b == LOCK_KIND_FLOCK);
}

static bool overlaps(const struct lock_request *a, const struct lock_request *b)
{
    return a->start <= b->end && b->start <= a->end;
}

/* The conflicting lock that begins first, as F_GETLK reports it. */
static struct file_lock *find_conflict(struct file_locks *fl, const struct file *f, const struct lock_request *r)
{
    struct file_lock *l, *first = NULL;
    list_for_each_entry(l, &fl->locks, node)
        if (same_space(l->r.kind, r->kind) && !same_owner(l, f, r) && overlaps(&l->r, r) &&
            (l->r.type == F_WRLCK || r->type == F_WRLCK) && (!first || l->r.start < first->r.start))
            first = l;
    return first;
}

static struct file_lock *lock_new(const struct file *f, const struct lock_request *r)
{
    struct file_lock *l = malloc(sizeof(*l));
    if (l) {
        l->r = *r;
        l->file = f;
        list_init(&l->node);
    }
    return l;
}

static void lock_free(struct file_lock *l)
{
    list_del_init(&l->node);
    free(l);
}

/*
 * Cuts `r` out of the owner's locks. *spare is used, and cleared, when a lock falls in two. Whether there was anything: only
 * then have waiters something to hope for (one that is woken by its own vain attempts would never sleep).
 */
static bool cut_out(struct file_locks *fl, const struct file *f, const struct lock_request *r, struct file_lock **spare)
{
    struct file_lock *l, *tmp;
    bool changed = false;
    list_for_each_entry_safe(l, tmp, &fl->locks, node) {
        if (!same_owner(l, f, r) || !overlaps(&l->r, r))
            continue;
        changed = true;
        if (l->r.start < r->start && l->r.end > r->end) {
            (*spare)->r = l->r;
            (*spare)->file = l->file;
            (*spare)->r.start = r->end + 1;
            l->r.end = r->start - 1;
            list_add(&(*spare)->node, &l->node);
            *spare = NULL;
            break;
        }
        if (l->r.start < r->start)
            l->r.end = r->start - 1;
        else if (l->r.end > r->end)
            l->r.start = r->end + 1;
        else
            lock_free(l);
    }
    return changed;
}

/* Joins `n` with neighbours of the same owner and type, as F_GETLK shows them. */
static void merge(struct file_locks *fl, const struct file *f, struct file_lock *n)
{
    struct file_lock *l, *tmp;
    list_for_each_entry_safe(l, tmp, &fl->locks, node) {
        if (l == n || !same_owner(l, f, &n->r) || l->r.type != n->r.type)
            continue;
        if (l->r.end != INT64_MAX && l->r.end + 1 == n->r.start)
            n->r.start = l->r.start;
        else if (n->r.end != INT64_MAX && n->r.end + 1 == l->r.start)
            n->r.end = l->r.end;
        else
            continue;
        lock_free(l);
    }
}

int locks_set(struct file *f, const struct lock_request *req)
{
    struct inode *inode = f->inode;
    struct file_locks *fl = locks_of(inode, req->type != F_UNLCK);
    struct lock_request r = *req;
    bool changed = false;
    int err = 0;

    if (!fl)
        return req->type == F_UNLCK ? 0 : -ENOLCK;
    if (r.kind == LOCK_KIND_FLOCK) {
        r.start = 0;
        r.end = INT64_MAX;
    }
    struct file_lock *n = lock_new(f, &r), *spare = lock_new(f, &r);
    if (!n || !spare) {
        free(n);
        free(spare);
        return -ENOLCK;
    }
    mutex_lock(&inode->aux_lock);
    if (r.type != F_UNLCK && find_conflict(fl, f, &r)) {
        err = -EAGAIN;
        /* flock(2): a conversion that has to wait gives up the old lock first. */
        if (r.kind == LOCK_KIND_FLOCK)
            changed = cut_out(fl, f, &r, &spare);
    } else {
        changed = cut_out(fl, f, &r, &spare);
        if (r.type != F_UNLCK) {
            list_add_tail(&n->node, &fl->locks);
            merge(fl, f, n);
            n = NULL;
        }
    }
    mutex_unlock(&inode->aux_lock);
    free(n);
    free(spare);
    if (changed)
        waitq_wake(&fl->wq, POLLIN);
    return err;
}

void locks_test(struct file *f, struct lock_request *req)
{
    struct inode *inode = f->inode;
    struct file_locks *fl = locks_of(inode, false);
    struct file_lock *l = NULL;

    if (fl) {
        mutex_lock(&inode->aux_lock);
        l = find_conflict(fl, f, req);
        if (l)
            *req = l->r;
        mutex_unlock(&inode->aux_lock);
    }
    if (!l)
        req->type = F_UNLCK;
    else if (req->kind == LOCK_KIND_OFD)
        req->tgid = -1;
}

/* The waits-for relation of POSIX owners. A table of those now asleep: rarely more than a few. */
struct waiting {
    struct list_head node;
    int32_t waiter, holder;
};
static struct mutex waits_lock = MUTEX_INIT;
static struct list_head waits GUARDED_BY(waits_lock) = LIST_HEAD_INIT(waits);

static struct waiting *find_waiting(int32_t tgid) REQUIRES(&waits_lock)
{
    struct waiting *w;
    list_for_each_entry(w, &waits, node)
        if (w->waiter == tgid)
            return w;
    return NULL;
}

int locks_wait_begin(struct file *f, const struct lock_request *req)
{
    struct inode *inode = f->inode;
    struct file_locks *fl = locks_of(inode, false);
    int32_t holder = -1;
    int err = 0;

    if (!fl || req->kind != LOCK_KIND_POSIX)
        return 0;
    mutex_lock(&inode->aux_lock);
    struct file_lock *l = find_conflict(fl, f, req);
    if (l && l->r.kind == LOCK_KIND_POSIX)
        holder = l->r.tgid;
    mutex_unlock(&inode->aux_lock);
    if (holder < 0)
        return 0;
    struct waiting *n = malloc(sizeof(*n));
    if (!n)
        return -ENOLCK;
    *n = (struct waiting){.waiter = req->tgid, .holder = holder};
    mutex_lock(&waits_lock);
    int steps = 0;
    for (struct waiting *w = find_waiting(holder); w && err == 0 && steps++ < 64; w = find_waiting(w->holder))
        if (w->holder == req->tgid)
            err = -EDEADLK;
    if (err == 0)
        list_add(&n->node, &waits);
    mutex_unlock(&waits_lock);
    if (err < 0)
        free(n);
    return err;
}

void locks_wait_end(int32_t tgid)
{
    mutex_lock(&waits_lock);
    struct waiting *w = find_waiting(tgid);
    if (w)
        list_del_init(&w->node);
    mutex_unlock(&waits_lock);
    free(w);
}

struct waitq *inode_locks_waitq(struct inode *inode)
{
    struct file_locks *fl = locks_of(inode, true);
    return fl ? &fl->wq : NULL;
}

void locks_remove_posix(struct file *f, int32_t tgid)
{
    struct lock_request r = {.kind = LOCK_KIND_POSIX, .type = F_UNLCK, .start = 0, .end = INT64_MAX, .tgid = tgid};
    struct inode *inode = f->inode;
    struct file_locks *fl = inode ? locks_of(inode, false) : NULL;
    if (likely(!fl))
        return;
    mutex_lock(&inode->aux_lock);
    bool changed = cut_out(fl, f, &r, NULL); /* everything: nothing is split */
    mutex_unlock(&inode->aux_lock);
    if (changed)
        waitq_wake(&fl->wq, POLLIN);
}

void locks_file_gone(struct file *f)
{
    struct inode *inode = f->inode;
    struct file_locks *fl = inode ? locks_of(inode, false) : NULL;
    struct file_lock *l, *tmp;
    struct lease *le, *le_tmp;

    if (likely(!fl))
        return;
    mutex_lock(&inode->aux_lock);
    list_for_each_entry_safe(l, tmp, &fl->locks, node)
        if (l->r.kind != LOCK_KIND_POSIX && l->file == f)
            lock_free(l);
    list_for_each_entry_safe(le, le_tmp, &fl->leases, node)
        if (le->file == f) {
            list_del_init(&le->node);
            free(le);
        }
    mutex_unlock(&inode->aux_lock);
    waitq_wake(&fl->wq, POLLIN);
}

void locks_inode_gone(struct inode *inode) NO_THREAD_SAFETY_ANALYSIS /* nobody else has it */
{
    struct file_locks *fl = inode->locks;
    struct file_lock *l, *tmp;
    struct lease *le, *le_tmp;
    if (!fl)
        return;
    list_for_each_entry_safe(l, tmp, &fl->locks, node)
        lock_free(l);
    list_for_each_entry_safe(le, le_tmp, &fl->leases, node) {
        list_del_init(&le->node);
        free(le);
    }
    waitq_fini(&fl->wq);
    free(fl);
}

int locks_for_each(struct inode *inode, int (*fn)(void *arg, const struct lock_request *l), void *arg)
{
    struct file_locks *fl = locks_of(inode, false);
    struct file_lock *l;
    int r = 0;
    if (!fl)
        return 0;
    mutex_lock(&inode->aux_lock);
    list_for_each_entry(l, &fl->locks, node) {
        r = fn(arg, &l->r);
        if (r != 0)
            break;
    }
    mutex_unlock(&inode->aux_lock);
    return r;
}

/* Leases. */
static void (*lease_signal)(struct file *f); /* written at boot */

void lease_register_signal(void (*fn)(struct file *f))
{
    lease_signal = fn;
}

static struct lease *find_lease(struct file_locks *fl, const struct file *f)
{
    struct lease *l;
    list_for_each_entry(l, &fl->leases, node)
        if (l->file == f)
            return l;
    return NULL;
}

int lease_set(struct file *f, int type)
{
    struct inode *inode = f->inode;
    struct file_locks *fl = locks_of(inode, true);
    if (!fl)
        return -ENOMEM;
    if (!S_ISREG(inode->mode) || (type != F_RDLCK && type != F_WRLCK && type != F_UNLCK))
        return -EINVAL;
    /* A read lease is for a file nobody has open for writing, a write lease for one nobody else has open. */
    if (type == F_RDLCK && (f->mode & FMODE_WRITE || atomic_load(&inode->write_count) > 0))
        return -EAGAIN;
    if (type == F_WRLCK && atomic_load(&inode->write_count) > (f->mode & FMODE_WRITE ? 1 : 0))
        return -EAGAIN;
    struct lease *fresh = calloc(1, sizeof(*fresh));
    int err = fresh ? 0 : -ENOMEM;
    mutex_lock(&inode->aux_lock);
    struct lease *l = find_lease(fl, f), *other;
    if (type == F_UNLCK) {
        if (l)
            list_del_init(&l->node);
        else
            err = -EAGAIN;
    } else if (err == 0) {
        list_for_each_entry(other, &fl->leases, node)
            if (other != l && (type == F_WRLCK || other->type == F_WRLCK))
                err = -EAGAIN;
        if (err == 0 && l) {
            l->type = type;
            l->breaking = false;
        } else if (err == 0) {
            fresh->file = f;
            fresh->type = type;
            list_add_tail(&fresh->node, &fl->leases);
            fresh = NULL;
        }
        l = NULL;
    }
    mutex_unlock(&inode->aux_lock);
    free(type == F_UNLCK ? l : NULL);
    free(fresh);
    waitq_wake(&fl->wq, POLLIN);
    return err;
}

int lease_get(struct file *f)
{
    struct inode *inode = f->inode;
    struct file_locks *fl = locks_of(inode, false);
    int type = F_UNLCK;
    if (!fl)
        return type;
    mutex_lock(&inode->aux_lock);
    struct lease *l = find_lease(fl, f);
    if (l)
        type = l->breaking ? l->break_to : l->type;
    mutex_unlock(&inode->aux_lock);
    return type;
}

int lease_break(struct inode *inode, bool for_write)
{
    struct file_locks *fl = locks_of(inode, false);
    struct lease *l;
    int err = 0;

    if (likely(!fl))
        return 0;
    mutex_lock(&inode->aux_lock);
    list_for_each_entry(l, &fl->leases, node) {
        if (l->type == F_RDLCK && !for_write)
            continue;
        err = -EAGAIN;
        if (l->breaking)
            continue;
        l->breaking = true;
        l->break_to = for_write ? F_UNLCK : F_RDLCK;
        if (lease_signal)
            lease_signal(l->file); /* sends a signal: takes locks of the kernel, which never take this one */
    }
    mutex_unlock(&inode->aux_lock);
    return err;
}
