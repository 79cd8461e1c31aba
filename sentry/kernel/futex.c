/*
 * Futexes: waiting for a word of guest memory to be changed by someone who then says so.
 *
 * A waiter sits on its task's stack and is linked into the hash bucket of the word's key (sentry/mm/usercopy.h), in order of
 * arrival. The bucket's lock makes "the word still has the expected value" and "I am queued" one step against wakers. A waker
 * unlinks waiters, says so by clearing waiter->bucket, and wakes their tasks after it has released the lock; from the clearing
 * on the waiter may return and its memory be gone, so the waker holds a reference on the task only.
 *
 * The word is read once before the lock is taken, which brings its page in; the read under the lock then finds it resident.
 * Should it be gone again the fault is served with the lock held, which is slow for neighbours in the bucket but safe: nothing
 * that serves a fault uses futexes.
 *
 * Locks: futex_table->pi_lock -> bucket (two: by address) -> mm->lock. No lock of the kernel may be held around these
 * functions.
 */
#include "sentry/kernel/futex_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>

int futex_table_create(struct futex_table **out)
{
    struct futex_table *ft = calloc(1, sizeof(*ft));

    if (!ft)
        return -ENOMEM;
    for (size_t i = 0; i < FUTEX_BUCKETS; i++) {
        mutex_init(&ft->buckets[i].lock);
        list_init(&ft->buckets[i].waiters);
    }
    mutex_init(&ft->pi_lock);
    list_init(&ft->pi_states);
    *out = ft;
    return 0;
}

void futex_table_destroy(struct futex_table *ft)
{
    if (!ft)
        return;
    for (size_t i = 0; i < FUTEX_BUCKETS; i++)
        mutex_fini(&ft->buckets[i].lock);
    mutex_fini(&ft->pi_lock);
    free(ft);
}

struct futex_bucket *futex_bucket_of(struct futex_table *ft, const struct futex_key *key)
{
    uint64_t h = (key->object ^ (key->offset >> 2)) * 0x9e3779b97f4a7c15ULL;

    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15ULL;
    return &ft->buckets[h >> (64 - __builtin_ctz(FUTEX_BUCKETS))];
}

int futex_key_of(struct task *t, guest_addr a, unsigned int flags, struct futex_key *key)
{
    if (a.a % sizeof(uint32_t))
        return -EINVAL;
    return mm_futex_key(t->mm, a, flags & FUTEX_F_SHARED, key);
}

void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b) NO_THREAD_SAFETY_ANALYSIS
{
    if (a == b) {
        mutex_lock(&a->lock);
    } else if (a < b) {
        mutex_lock(&a->lock);
        mutex_lock(&b->lock);
    } else {
        mutex_lock(&b->lock);
        mutex_lock(&a->lock);
    }
}

void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_unlock(&a->lock);
    if (a != b)
        mutex_unlock(&b->lock);
}

void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w)
{
    list_add_tail(&w->node, &b->waiters);
    atomic_store_explicit(&w->bucket, b, memory_order_relaxed);
}

static void futex_dequeue_locked(struct futex_waiter *w)
{
    struct futex_bucket *b = atomic_load_explicit(&w->bucket, memory_order_relaxed);

    list_del_init(&w->node);
    atomic_fetch_sub_explicit(&b->nr_waiters, 1, memory_order_relaxed);
    atomic_store_explicit(&w->bucket, NULL, memory_order_release);
}

void futex_dequeue_and_wake(struct futex_waiter *w, struct futex_wake_list *wl)
{
    struct task *t = task_get(w->task);

    futex_dequeue_locked(w);
    if (wl->nr < ARRAY_SIZE(wl->tasks)) {
        wl->tasks[wl->nr++] = t;
        return;
    }
    task_wake(t);
    task_put(t);
}

void futex_wake_flush(struct futex_wake_list *wl)
{
    for (unsigned int i = 0; i < wl->nr; i++) {
        task_wake(wl->tasks[i]);
        task_put(wl->tasks[i]);
    }
    wl->nr = 0;
}

bool futex_unqueue(struct futex_waiter *w) NO_THREAD_SAFETY_ANALYSIS
{
    struct futex_bucket *b;

    /* A requeue may move the waiter until we hold the lock of the bucket that it is in. */
    while ((b = atomic_load_explicit(&w->bucket, memory_order_acquire))) {
        mutex_lock(&b->lock);
        if (atomic_load_explicit(&w->bucket, memory_order_relaxed) == b) {
            futex_dequeue_locked(w);
            mutex_unlock(&b->lock);
            return true;
        }
        mutex_unlock(&b->lock);
    }
    return false;
}

/* Queues `w` if the word has the value `val`; -EAGAIN if not. */
static int futex_wait_setup(struct task *t, struct futex_waiter *w, guest_addr uaddr, unsigned int flags, uint32_t val)
{
    struct futex_bucket *b;
    uint32_t now;
    int err;

    err = futex_key_of(t, uaddr, flags, &w->key);
    if (err)
        return err;
    err = mm_load32(t->mm, uaddr, &now);
    if (err)
        return err;
    if (now != val)
        return -EAGAIN;
    b = futex_bucket_of(t->k->futexes, &w->key);
    atomic_fetch_add(&b->nr_waiters, 1);
    mutex_lock(&b->lock);
    err = mm_load32(t->mm, uaddr, &now);
    if (!err && now != val)
        err = -EAGAIN;
    if (err)
        atomic_fetch_sub_explicit(&b->nr_waiters, 1, memory_order_relaxed);
    else
        futex_enqueue(b, w);
    mutex_unlock(&b->lock);
    return err;
}

static int64_t futex_wait_restart(struct task *t, struct restart_block *rb)
{
    return futex_wait(t, rb->futex_or_poll.uaddr, rb->futex_or_poll.flags, rb->futex_or_poll.val, rb->futex_or_poll.deadline,
                      rb->futex_or_poll.bitset);
}

/* `deadline` is CLOCK_MONOTONIC or TASK_NO_DEADLINE. */
int64_t futex_wait(struct task *t, guest_addr uaddr, unsigned int flags, uint32_t val, int64_t deadline, uint32_t bitset)
{
    struct futex_waiter w = {.task = t, .bitset = bitset};
    int err;

    if (!bitset)
        return -EINVAL;
    err = futex_wait_setup(t, &w, uaddr, flags, val);
    if (err)
        return err;
    for (;;) {
        err = task_block(t, deadline);
        if (!atomic_load_explicit(&w.bucket, memory_order_acquire))
            return 0;
        if (!err)
            continue;
        if (!futex_unqueue(&w))
            return 0;
        break;
    }
    if (err != -ERESTARTSYS || deadline == TASK_NO_DEADLINE)
        return err;
    t->restart.fn = futex_wait_restart;
    t->restart.futex_or_poll.uaddr = uaddr;
    t->restart.futex_or_poll.flags = flags;
    t->restart.futex_or_poll.val = val;
    t->restart.futex_or_poll.bitset = bitset;
    t->restart.futex_or_poll.deadline = deadline;
    return -ERESTART_RESTARTBLOCK;
}

/* Wakes up to `nr` (at least one, as Linux does) waiters of `key` in its locked bucket. The count or -EINVAL on a PI futex. */
static int futex_wake_locked(struct futex_bucket *b, const struct futex_key *key, int nr, uint32_t bitset,
                             struct futex_wake_list *wl)
{
    struct futex_waiter *w, *next;
    int woken = 0;

    list_for_each_entry_safe(w, next, &b->waiters, node) {
        if (!futex_key_equal(&w->key, key))
            continue;
        if (w->pi || w->requeue_pi)
            return -EINVAL;
        if (!(w->bitset & bitset))
            continue;
        futex_dequeue_and_wake(w, wl);
        if (++woken >= nr)
            break;
    }
    return woken;
}

int64_t futex_wake(struct task *t, guest_addr uaddr, unsigned int flags, int nr, uint32_t bitset)
{
    struct futex_wake_list wl = {.nr = 0};
    struct futex_bucket *b;
    struct futex_key key;
    int ret;

    if (!bitset)
        return -EINVAL;
    ret = futex_key_of(t, uaddr, flags, &key);
    if (ret)
        return ret;
    b = futex_bucket_of(t->k->futexes, &key);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&b->nr_waiters, memory_order_relaxed) == 0)
        return 0;
    mutex_lock(&b->lock);
    ret = futex_wake_locked(b, &key, nr, bitset, &wl);
    mutex_unlock(&b->lock);
    futex_wake_flush(&wl);
    return ret;
}

int64_t futex_wake_addr(struct task *t, guest_addr a, bool shared, int nr)
{
    return futex_wake(t, a, shared ? FUTEX_F_SHARED : 0, nr, FUTEX_BITSET_MATCH_ANY);
}

/* FUTEX_REQUEUE and, with `cmpval`, FUTEX_CMP_REQUEUE: wakes nr_wake waiters and moves nr_requeue others; the sum of both. */
int64_t futex_requeue(struct task *t, guest_addr uaddr1, unsigned int flags1, guest_addr uaddr2, unsigned int flags2,
                      int nr_wake, int nr_requeue, const uint32_t *cmpval)
{
    struct futex_wake_list wl = {.nr = 0};
    struct futex_bucket *b1, *b2;
    struct futex_waiter *w, *next;
    struct futex_key key1, key2;
    uint32_t now;
    int64_t done = 0;
    int err;

    if (nr_wake < 0 || nr_requeue < 0)
        return -EINVAL;
    if ((err = futex_key_of(t, uaddr1, flags1, &key1)) || (err = futex_key_of(t, uaddr2, flags2, &key2)))
        return err;
    if (cmpval) {
        err = mm_load32(t->mm, uaddr1, &now);
        if (err)
            return err;
    }
    b1 = futex_bucket_of(t->k->futexes, &key1);
    b2 = futex_bucket_of(t->k->futexes, &key2);
    futex_lock_two(b1, b2);
    if (cmpval) {
        err = mm_load32(t->mm, uaddr1, &now);
        if (!err && now != *cmpval)
            err = -EAGAIN;
    }
    if (err)
        goto out;
    list_for_each_entry_safe(w, next, &b1->waiters, node) {
        if (done - nr_wake >= nr_requeue)
            break;
        if (!futex_key_equal(&w->key, &key1))
            continue;
        if (w->pi || w->requeue_pi) {
            err = -EINVAL;
            break;
        }
        if (++done <= nr_wake) {
            futex_dequeue_and_wake(w, &wl);
            continue;
        }
        w->key = key2;
        if (b1 != b2) {
            atomic_fetch_add(&b2->nr_waiters, 1);
            list_del_init(&w->node);
            atomic_fetch_sub(&b1->nr_waiters, 1);
            futex_enqueue(b2, w);
        }
    }
out:
    futex_unlock_two(b1, b2);
    futex_wake_flush(&wl);
    return err ? err : done;
}

/* The operation that FUTEX_WAKE_OP does on the second word: 1 or 0 for its comparison with the old value, or -errno. */
static int futex_apply_op(struct task *t, guest_addr uaddr, uint32_t encoded)
{
    unsigned int op = (encoded >> 28) & 7, cmp = (encoded >> 24) & 15;
    int oparg = (int)(encoded << 8) >> 20, cmparg = (int)(encoded << 20) >> 20;
    uint32_t old, now, desired;
    int err;

    if (encoded & ((uint32_t)FUTEX_OP_OPARG_SHIFT << 28))
        oparg = (int)(1u << (oparg & 31));
    if (op > FUTEX_OP_XOR)
        return -ENOSYS;
    err = mm_load32(t->mm, uaddr, &old);
    if (err)
        return err;
    for (;;) {
        switch (op) {
        case FUTEX_OP_SET:
            desired = (uint32_t)oparg;
            break;
        case FUTEX_OP_ADD:
            desired = old + (uint32_t)oparg;
            break;
        case FUTEX_OP_OR:
            desired = old | (uint32_t)oparg;
            break;
        case FUTEX_OP_ANDN:
            desired = old & ~(uint32_t)oparg;
            break;
        default:
            desired = old ^ (uint32_t)oparg;
            break;
        }
        now = old;
        err = mm_cmpxchg32(t->mm, uaddr, &now, desired);
        if (err)
            return err;
        if (now == old)
            break;
        old = now;
    }
    switch (cmp) {
    case FUTEX_OP_CMP_EQ:
        return (int)old == cmparg;
    case FUTEX_OP_CMP_NE:
        return (int)old != cmparg;
    case FUTEX_OP_CMP_LT:
        return (int)old < cmparg;
    case FUTEX_OP_CMP_LE:
        return (int)old <= cmparg;
    case FUTEX_OP_CMP_GT:
        return (int)old > cmparg;
    case FUTEX_OP_CMP_GE:
        return (int)old >= cmparg;
    default:
        return -ENOSYS;
    }
}

int64_t futex_wake_op(struct task *t, guest_addr uaddr1, guest_addr uaddr2, unsigned int flags, int nr_wake, int nr_wake2,
                      uint32_t op)
{
    struct futex_wake_list wl = {.nr = 0};
    struct futex_bucket *b1, *b2;
    struct futex_key key1, key2;
    uint32_t now;
    int ret, matched, more;

    if ((ret = futex_key_of(t, uaddr1, flags, &key1)) || (ret = futex_key_of(t, uaddr2, flags, &key2)))
        return ret;
    ret = mm_load32(t->mm, uaddr2, &now);
    if (ret)
        return ret;
    b1 = futex_bucket_of(t->k->futexes, &key1);
    b2 = futex_bucket_of(t->k->futexes, &key2);
    futex_lock_two(b1, b2);
    matched = futex_apply_op(t, uaddr2, op);
    if (matched < 0) {
        ret = matched;
    } else {
        ret = futex_wake_locked(b1, &key1, nr_wake, FUTEX_BITSET_MATCH_ANY, &wl);
        if (ret >= 0 && matched) {
            more = futex_wake_locked(b2, &key2, nr_wake2, FUTEX_BITSET_MATCH_ANY, &wl);
            ret = more < 0 ? more : ret + more;
        }
    }
    futex_unlock_two(b1, b2);
    futex_wake_flush(&wl);
    return ret;
}

/* Takes all out again; the index of the first that had been woken, or -1. */
static int futex_unqueue_multiple(struct futex_waiter *w, unsigned int nr)
{
    int woken = -1;

    for (unsigned int i = 0; i < nr; i++)
        if (!futex_unqueue(&w[i]))
            woken = (int)i;
    return woken;
}

static bool futex_any_woken(struct futex_waiter *w, unsigned int nr)
{
    for (unsigned int i = 0; i < nr; i++)
        if (!atomic_load_explicit(&w[i].bucket, memory_order_acquire))
            return true;
    return false;
}

/* Waits for any of them: the index of one that was woken. */
int64_t futex_wait_multiple(struct task *t, const struct futex_waitv_entry *v, unsigned int nr, int64_t deadline)
{
    struct futex_waiter *w = calloc(nr, sizeof(*w));
    int64_t ret;
    int woken;

    if (!w)
        return -ENOMEM;
    for (unsigned int i = 0; i < nr; i++) {
        w[i].task = t;
        w[i].bitset = FUTEX_BITSET_MATCH_ANY;
        ret = futex_wait_setup(t, &w[i], v[i].uaddr, v[i].flags, v[i].val);
        if (ret) {
            woken = futex_unqueue_multiple(w, i);
            if (woken >= 0)
                ret = woken;
            goto out;
        }
    }
    do
        ret = task_block(t, deadline);
    while (!ret && !futex_any_woken(w, nr));
    woken = futex_unqueue_multiple(w, nr);
    if (woken >= 0)
        ret = woken;
out:
    free(w);
    return ret;
}
