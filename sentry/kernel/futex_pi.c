/*
 * Priority-inheritance futexes. The word holds the owner's tid, FUTEX_WAITERS when the kernel must be asked to unlock, and
 * FUTEX_OWNER_DIED. What guests can see of priority inheritance is the protocol: direct hand-over of ownership, in order of
 * arrival, and the checks for dead owners and deadlocks. Boosting itself cannot be seen, and is not done.
 *
 * A `struct pi_state` exists while somebody waits for a word: it names the owner. Its waiters sit in the word's hash bucket
 * like plain ones, with waiter->pi set. Whoever gives the lock up writes the new owner's tid into the word, takes the waiter
 * off with result 0 and wakes it: a waiter never has to touch the word itself.
 *
 * Everything here runs under futex_table->pi_lock, which makes owners, waiters and task->pi_blocked_on one consistent graph
 * that the deadlock check can follow. Contended PI locks are rare enough for one lock.
 *
 * The owner's task is looked up before the locks are taken (tasks_lock is not to be taken inside them), from a first reading of
 * the word; if the word names somebody else under the lock, the call starts over.
 */
#include "sentry/kernel/futex_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>

#define PI_CHAIN_LIMIT 1024 /* as the kernel's max_lock_depth */

struct pi_state {
    struct list_head node; /* in futex_table->pi_states */
    struct task *owner;    /* referenced */
    unsigned int nr_waiters;
};

static struct pi_state *pi_state_create(struct futex_table *ft, struct task *owner) REQUIRES(ft->pi_lock)
{
    struct pi_state *ps = calloc(1, sizeof(*ps));

    if (!ps)
        return NULL;
    ps->owner = task_get(owner);
    list_add_tail(&ps->node, &ft->pi_states);
    atomic_fetch_add(&ft->nr_pi_states, 1);
    return ps;
}

static void pi_state_set_owner(struct pi_state *ps, struct task *owner)
{
    task_get(owner);
    task_put(ps->owner);
    ps->owner = owner;
}

/* Frees it if nobody waits any more. */
static void pi_state_settle(struct futex_table *ft, struct pi_state *ps) REQUIRES(ft->pi_lock)
{
    if (ps->nr_waiters)
        return;
    list_del_init(&ps->node);
    atomic_fetch_sub(&ft->nr_pi_states, 1);
    task_put(ps->owner);
    free(ps);
}

static struct futex_waiter *first_waiter(struct futex_bucket *b, const struct futex_key *key, const struct pi_state *ps)
{
    struct futex_waiter *w;

    list_for_each_entry(w, &b->waiters, node) {
        if (futex_key_equal(&w->key, key) && (!ps || w->pi == ps))
            return w;
    }
    return NULL;
}

/* Ends w's wait for ownership; the caller holds its bucket. */
static void pi_waiter_finish(struct futex_waiter *w, int result, struct futex_wake_list *wl)
{
    w->pi->nr_waiters--;
    w->task->pi_blocked_on = NULL;
    w->result = result;
    futex_dequeue_and_wake(w, wl);
}

static void pi_waiter_start(struct futex_bucket *b, struct futex_waiter *w, struct pi_state *ps)
{
    ps->nr_waiters++;
    w->pi = ps;
    w->task->pi_blocked_on = w;
    futex_enqueue(b, w);
}

/* Would `t` waiting for `ps` close a circle of owners? */
static bool pi_deadlock(const struct task *t, const struct pi_state *ps)
{
    const struct task *owner = ps->owner;

    for (unsigned int depth = 0; depth < PI_CHAIN_LIMIT; depth++) {
        if (owner == t)
            return true;
        if (!owner->pi_blocked_on || !owner->pi_blocked_on->pi)
            return false;
        owner = owner->pi_blocked_on->pi->owner;
    }
    return true;
}

/*
 * Tries to make `locker` the owner of the word at `uaddr` of mm. 1: it is; 0: somebody else is, *out is the state to wait for
 * (pi_state_settle() if unused); -EAGAIN: the word changed, start over; or an error. `owner` is the task with the number
 * `owner_tid` that the word named before the locks were taken; NULL when there is no such task, or the lock was free.
 */
static int pi_try_lock(struct futex_table *ft, struct futex_bucket *b, const struct futex_key *key, struct mm *mm,
                       guest_addr uaddr, struct task *locker, struct task *owner, uint32_t owner_tid, bool set_waiters,
                       struct pi_state **out) REQUIRES(ft->pi_lock)
{
    struct futex_waiter *top;
    uint32_t word, now, tid;
    int err;

    err = mm_load32(mm, uaddr, &word);
    if (err)
        return err;
    tid = word & FUTEX_TID_MASK;
    if (tid == (uint32_t)locker->tid)
        return -EDEADLK;
    top = first_waiter(b, key, NULL);
    if (top) {
        if (!top->pi)
            return -EINVAL; /* somebody uses the word as a plain futex */
        /* The word must agree with what we know, or the guest has tampered with it. */
        if (tid ? tid != (uint32_t)top->pi->owner->tid : !(word & FUTEX_OWNER_DIED))
            return -EINVAL;
        if (pi_deadlock(locker, top->pi))
            return -EDEADLK;
        *out = top->pi;
        return 0;
    }
    now = word;
    if (!tid) {
        err = mm_cmpxchg32(mm, uaddr, &now,
                           (word & FUTEX_OWNER_DIED) | (set_waiters ? FUTEX_WAITERS : 0) | (uint32_t)locker->tid);
        return err ? err : now == word ? 1 : -EAGAIN;
    }
    /* Somebody else has it than before, when it may have been free: that says nothing about whether he lives. */
    if (owner_tid != tid || (owner && owner->tid != (pid_t)tid))
        return -EAGAIN;
    if (!owner)
        return -ESRCH;
    if (owner->futex_dead)
        return -ESRCH;
    err = mm_cmpxchg32(mm, uaddr, &now, word | FUTEX_WAITERS);
    if (err || now != word)
        return err ? err : -EAGAIN;
    *out = pi_state_create(ft, owner);
    if (!*out)
        return -ENOMEM;
    if (pi_deadlock(locker, *out)) {
        pi_state_settle(ft, *out);
        return -EDEADLK;
    }
    return 0;
}

/* The number that the word holds now, and its task, referenced, or NULL; *owner is replaced. */
static int pi_find_owner(struct task *t, guest_addr uaddr, struct task **owner, uint32_t *owner_tid)
{
    uint32_t word;
    int err = mm_load32(t->mm, uaddr, &word);

    if (*owner)
        task_put(*owner);
    *owner = NULL;
    *owner_tid = err ? 0 : word & FUTEX_TID_MASK;
    if (*owner_tid)
        *owner = task_find(t->k, (pid_t)*owner_tid);
    return err;
}

/*
 * Sleeps until the queued `w` is off its bucket: its result; or, when interrupted or late, takes it off itself and returns why.
 * `*was_pi` tells whether it waited for ownership by then (a FUTEX_WAIT_REQUEUE_PI may not have been moved yet).
 */
static int pi_wait(struct task *t, struct futex_waiter *w, int64_t deadline, bool *was_pi)
{
    struct futex_table *ft = t->k->futexes;
    int err;

    do
        err = task_block(t, deadline);
    while (!err && atomic_load_explicit(&w->bucket, memory_order_acquire));
    mutex_lock(&ft->pi_lock);
    *was_pi = w->pi;
    if (!futex_unqueue(w)) {
        err = w->result;
    } else if (w->pi) {
        w->pi->nr_waiters--;
        t->pi_blocked_on = NULL;
        pi_state_settle(ft, w->pi);
    }
    mutex_unlock(&ft->pi_lock);
    return err;
}

int64_t futex_lock_pi(struct task *t, guest_addr uaddr, unsigned int flags, int64_t deadline, bool trylock)
{
    struct futex_table *ft = t->k->futexes;
    struct futex_waiter w = {.task = t, .bitset = FUTEX_BITSET_MATCH_ANY};
    struct pi_state *ps = NULL;
    struct task *owner = NULL;
    struct futex_bucket *b;
    uint32_t owner_tid;
    bool was_pi;
    int ret;

    ret = futex_key_of(t, uaddr, flags, &w.key);
    if (ret)
        return ret;
    w.pi_uaddr = uaddr;
    b = futex_bucket_of(ft, &w.key);
    do {
        ret = pi_find_owner(t, uaddr, &owner, &owner_tid);
        if (ret)
            break;
        atomic_fetch_add(&b->nr_waiters, 1);
        mutex_lock(&ft->pi_lock);
        mutex_lock(&b->lock);
        ret = pi_try_lock(ft, b, &w.key, t->mm, uaddr, t, owner, owner_tid, false, &ps);
        if (ret == 0 && trylock) {
            pi_state_settle(ft, ps);
            ret = -EWOULDBLOCK;
            atomic_fetch_sub(&b->nr_waiters, 1);
            mutex_unlock(&b->lock);
            mutex_unlock(&ft->pi_lock);
            break;
        }
        if (ret == 0)
            pi_waiter_start(b, &w, ps);
        else
            atomic_fetch_sub(&b->nr_waiters, 1);
        mutex_unlock(&b->lock);
        mutex_unlock(&ft->pi_lock);
    } while (ret == -EAGAIN && !signal_pending(t));
    if (owner)
        task_put(owner);
    if (ret == 1)
        return 0;
    if (ret == -EAGAIN && signal_pending(t))
        return -ERESTARTNOINTR;
    if (ret)
        return ret;
    ret = pi_wait(t, &w, deadline, &was_pi);
    return ret == -ERESTARTSYS ? -ERESTARTNOINTR : ret;
}

/* Hands the word, which has the value `word`, to the waiter `next`. -EAGAIN when it changed. */
static int pi_hand_over(struct futex_table *ft, struct futex_waiter *next, struct mm *mm, guest_addr uaddr, uint32_t word,
                        uint32_t keep, struct futex_wake_list *wl) REQUIRES(ft->pi_lock)
{
    struct pi_state *ps = next->pi;
    uint32_t now = word;
    int err = mm_cmpxchg32(mm, uaddr, &now, FUTEX_WAITERS | keep | (uint32_t)next->task->tid);

    if (err)
        return err;
    if (now != word)
        return (now & FUTEX_TID_MASK) == (word & FUTEX_TID_MASK) ? -EAGAIN : -EINVAL;
    pi_state_set_owner(ps, next->task);
    pi_waiter_finish(next, 0, wl);
    pi_state_settle(ft, ps);
    return 0;
}

int64_t futex_unlock_pi(struct task *t, guest_addr uaddr, unsigned int flags)
{
    struct futex_table *ft = t->k->futexes;
    struct futex_wake_list wl = {.nr = 0};
    struct futex_waiter *top;
    struct futex_bucket *b;
    struct futex_key key;
    uint32_t word, now;
    int ret;

    ret = mm_load32(t->mm, uaddr, &word);
    if (ret)
        return ret;
    if ((word & FUTEX_TID_MASK) != (uint32_t)t->tid)
        return -EPERM;
    ret = futex_key_of(t, uaddr, flags, &key);
    if (ret)
        return ret;
    b = futex_bucket_of(ft, &key);
    do {
        mutex_lock(&ft->pi_lock);
        mutex_lock(&b->lock);
        ret = mm_load32(t->mm, uaddr, &word);
        if (!ret && (word & FUTEX_TID_MASK) != (uint32_t)t->tid)
            ret = -EPERM;
        if (!ret) {
            top = first_waiter(b, &key, NULL);
            if (!top) {
                now = word;
                ret = mm_cmpxchg32(t->mm, uaddr, &now, 0);
                if (!ret && now != word)
                    ret = -EAGAIN;
            } else if (!top->pi || top->pi->owner != t) {
                ret = -EINVAL;
            } else {
                ret = pi_hand_over(ft, top, t->mm, uaddr, word, 0, &wl);
            }
        }
        mutex_unlock(&b->lock);
        mutex_unlock(&ft->pi_lock);
    } while (ret == -EAGAIN && !signal_pending(t));
    futex_wake_flush(&wl);
    return ret == -EAGAIN ? -ERESTARTNOINTR : ret;
}

/* The first waiter of `ps`, whose bucket is returned locked. */
static struct futex_waiter *pi_lock_first_waiter(struct futex_table *ft, struct pi_state *ps) NO_THREAD_SAFETY_ANALYSIS
{
    for (size_t i = 0; i < FUTEX_BUCKETS; i++) {
        struct futex_bucket *b = &ft->buckets[i];
        struct futex_waiter *w;

        if (!atomic_load(&b->nr_waiters))
            continue;
        mutex_lock(&b->lock);
        list_for_each_entry(w, &b->waiters, node) {
            if (w->pi == ps)
                return w;
        }
        mutex_unlock(&b->lock);
    }
    return NULL;
}

/* The owner is gone: its first waiter becomes the owner of a lock marked OWNER_DIED. */
static void pi_owner_died(struct futex_table *ft, struct pi_state *ps, struct futex_wake_list *wl) NO_THREAD_SAFETY_ANALYSIS
{
    struct futex_waiter *w = pi_lock_first_waiter(ft, ps);
    struct futex_bucket *b;
    uint32_t word;
    int err;

    if (!w)
        return;
    b = atomic_load(&w->bucket);
    do {
        err = mm_load32(w->task->mm, w->pi_uaddr, &word);
        if (!err)
            err = pi_hand_over(ft, w, w->task->mm, w->pi_uaddr, word, FUTEX_OWNER_DIED, wl);
    } while (err == -EAGAIN);
    if (err) {
        /* The word is gone or was overwritten: the waiter learns it, and the next one gets its turn. */
        pi_waiter_finish(w, err, wl);
        if (ps->nr_waiters) {
            mutex_unlock(&b->lock);
            pi_owner_died(ft, ps, wl);
            return;
        }
        pi_state_settle(ft, ps);
    }
    mutex_unlock(&b->lock);
}

void futex_pi_release_owned(struct task *t, bool dead)
{
    struct futex_table *ft = t->k->futexes;
    struct futex_wake_list wl = {.nr = 0};
    struct pi_state *ps;
    bool found;

    if (!dead && !atomic_load(&ft->nr_pi_states))
        return;
    mutex_lock(&ft->pi_lock);
    t->futex_dead = dead;
    do {
        found = false;
        list_for_each_entry(ps, &ft->pi_states, node) {
            if (ps->owner == t) {
                found = true;
                break;
            }
        }
        if (found)
            pi_owner_died(ft, ps, &wl);
    } while (found);
    mutex_unlock(&ft->pi_lock);
    futex_wake_flush(&wl);
}

static int requeue_pi_setup(struct task *t, struct futex_waiter *w, guest_addr uaddr, uint32_t val)
{
    struct futex_bucket *b = futex_bucket_of(t->k->futexes, &w->key);
    uint32_t now;
    int err;

    atomic_fetch_add(&b->nr_waiters, 1);
    mutex_lock(&b->lock);
    err = mm_load32(t->mm, uaddr, &now);
    if (!err && now != val)
        err = -EAGAIN;
    if (err)
        atomic_fetch_sub(&b->nr_waiters, 1);
    else
        futex_enqueue(b, w);
    mutex_unlock(&b->lock);
    return err;
}

int64_t futex_wait_requeue_pi(struct task *t, guest_addr uaddr, unsigned int flags, uint32_t val, int64_t deadline,
                              guest_addr uaddr2)
{
    struct futex_waiter w = {.task = t, .bitset = FUTEX_BITSET_MATCH_ANY, .requeue_pi = true, .pi_uaddr = uaddr2};
    bool was_pi;
    int ret;

    if (uaddr.a == uaddr2.a)
        return -EINVAL;
    if ((ret = futex_key_of(t, uaddr2, flags, &w.pi_key)) || (ret = futex_key_of(t, uaddr, flags, &w.key)))
        return ret;
    if (futex_key_equal(&w.key, &w.pi_key))
        return -EINVAL;
    ret = requeue_pi_setup(t, &w, uaddr, val);
    if (ret)
        return ret;
    ret = pi_wait(t, &w, deadline, &was_pi);
    if (ret != -ERESTARTSYS)
        return ret;
    /* Once moved, the call cannot start over: the value has changed, which is what it would find out. */
    return was_pi ? -EWOULDBLOCK : -ERESTARTNOINTR;
}

int64_t futex_cmp_requeue_pi(struct task *t, guest_addr uaddr1, guest_addr uaddr2, unsigned int flags, int nr_wake,
                             int nr_requeue, uint32_t cmpval) NO_THREAD_SAFETY_ANALYSIS
{
    struct futex_table *ft = t->k->futexes;
    struct futex_wake_list wl = {.nr = 0};
    struct futex_waiter *w, *next;
    struct futex_bucket *b1, *b2;
    struct futex_key key1, key2;
    struct task *owner = NULL;
    struct pi_state *ps;
    int64_t done;
    uint32_t now, owner_tid;
    int ret;

    if (uaddr1.a == uaddr2.a || nr_wake != 1 || nr_requeue < 0)
        return -EINVAL;
    if ((ret = futex_key_of(t, uaddr1, flags, &key1)) || (ret = futex_key_of(t, uaddr2, flags, &key2)))
        return ret;
    if (futex_key_equal(&key1, &key2))
        return -EINVAL;
    ret = mm_load32(t->mm, uaddr1, &now);
    if (ret)
        return ret;
    b1 = futex_bucket_of(ft, &key1);
    b2 = futex_bucket_of(ft, &key2);
again:
    done = 0;
    ps = NULL;
    ret = pi_find_owner(t, uaddr2, &owner, &owner_tid);
    if (ret)
        goto out;
    mutex_lock(&ft->pi_lock);
    futex_lock_two(b1, b2);
    ret = mm_load32(t->mm, uaddr1, &now);
    if (!ret && now != cmpval)
        ret = -EAGAIN;
    if (ret)
        goto unlock;
    list_for_each_entry_safe(w, next, &b1->waiters, node) {
        if (done - nr_wake >= nr_requeue)
            break;
        if (!futex_key_equal(&w->key, &key1))
            continue;
        if (!w->requeue_pi || w->pi || !futex_key_equal(&w->pi_key, &key2)) {
            ret = -EINVAL;
            break;
        }
        if (!ps) {
            /* The first one may get the lock at once. */
            ret = pi_try_lock(ft, b2, &key2, t->mm, uaddr2, w->task, owner, owner_tid, nr_requeue > 0, &ps);
            if (ret == 1) {
                w->result = 0;
                futex_dequeue_and_wake(w, &wl);
                done++;
                ret = 0;
                /* The others wait for the one that has it now. */
                mutex_unlock(&ft->pi_lock);
                futex_unlock_two(b1, b2);
                futex_wake_flush(&wl);
                if (nr_requeue == 0)
                    goto out;
                ret = pi_find_owner(t, uaddr2, &owner, &owner_tid);
                if (ret)
                    goto out;
                mutex_lock(&ft->pi_lock);
                futex_lock_two(b1, b2);
                next = list_entry(b1->waiters.next, struct futex_waiter, node);
                continue;
            }
            if (ret)
                break;
        } else if (pi_deadlock(w->task, ps)) {
            ret = -EDEADLK;
            break;
        }
        atomic_fetch_add(&b2->nr_waiters, 1);
        list_del_init(&w->node);
        atomic_fetch_sub(&b1->nr_waiters, 1);
        w->key = key2;
        pi_waiter_start(b2, w, ps);
        done++;
    }
unlock:
    if (ps)
        pi_state_settle(ft, ps);
    futex_unlock_two(b1, b2);
    mutex_unlock(&ft->pi_lock);
    if (ret == -EAGAIN && now == cmpval && !done && !signal_pending(t))
        goto again;
out:
    if (owner)
        task_put(owner);
    futex_wake_flush(&wl);
    return done ? done : ret;
}
