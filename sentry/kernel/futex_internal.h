/* Between futex.c, futex_pi.c, futex_robust.c and the system calls in sentry/syscalls/sys_futex.c. */
#ifndef SENTRY_KERNEL_FUTEX_INTERNAL_H
#define SENTRY_KERNEL_FUTEX_INTERNAL_H

#include "lib/lock.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/task.h"

#include <stdatomic.h>

#define FUTEX_BUCKETS 512 /* a power of two */

/*
 * Waiters in order of arrival. `nr_waiters` is raised before the waiter looks at the futex word, so that a waker who changed
 * the word and then reads 0 here need not take the lock.
 */
struct futex_bucket {
    struct mutex lock;
    atomic_uint nr_waiters;
    struct list_head waiters GUARDED_BY(lock);
};

struct pi_state;

struct futex_waiter {
    struct list_head node;
    _Atomic(struct futex_bucket *) bucket; /* where it is queued, changed under that bucket's lock; NULL: dequeued by a waker */
    struct futex_key key;
    uint32_t bitset;
    struct task *task;

    /* Priority inheritance; zero for plain waiters. */
    struct pi_state *pi; /* waits for the ownership of this */
    bool requeue_pi;     /* FUTEX_WAIT_REQUEUE_PI: may only be moved, to `pi_key` */
    struct futex_key pi_key;
    guest_addr pi_uaddr; /* where the waiter's own address space has the PI word */
    int result;          /* once dequeued: 0 (owner) or why not */
};

struct futex_table {
    struct futex_bucket buckets[FUTEX_BUCKETS];
    struct mutex pi_lock; /* outside of bucket locks: every change of PI state, see futex_pi.c */
    struct list_head pi_states GUARDED_BY(pi_lock);
    atomic_uint nr_pi_states;
};

enum futex_flags {
    FUTEX_F_SHARED = 1,  /* the word may be in memory shared with other address spaces */
    FUTEX_F_REALTIME = 2 /* the deadline is on CLOCK_REALTIME */
};

static inline bool futex_key_equal(const struct futex_key *a, const struct futex_key *b)
{
    return a->object == b->object && a->offset == b->offset;
}

struct futex_bucket *futex_bucket_of(struct futex_table *ft, const struct futex_key *key);
int must_check futex_key_of(struct task *t, guest_addr a, unsigned int flags, struct futex_key *key);
void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b);

/* Tasks to wake once the locks are released. */
struct futex_wake_list {
    struct task *tasks[16];
    unsigned int nr;
};
/* Takes the waiter out of its locked bucket and notes its task; the waiter's memory may be gone as soon as this returns. */
void futex_dequeue_and_wake(struct futex_waiter *w, struct futex_wake_list *wl);
void futex_wake_flush(struct futex_wake_list *wl);
/* Adds to a locked bucket whose nr_waiters has already been raised for it. */
void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w);
/* Takes the task's own waiter out; false when a waker was faster. */
bool futex_unqueue(struct futex_waiter *w);

int64_t futex_wait(struct task *t, guest_addr uaddr, unsigned int flags, uint32_t val, int64_t deadline, uint32_t bitset);
int64_t futex_wake(struct task *t, guest_addr uaddr, unsigned int flags, int nr, uint32_t bitset);
int64_t futex_requeue(struct task *t, guest_addr uaddr1, unsigned int flags1, guest_addr uaddr2, unsigned int flags2,
                      int nr_wake, int nr_requeue, const uint32_t *cmpval);
int64_t futex_wake_op(struct task *t, guest_addr uaddr1, guest_addr uaddr2, unsigned int flags, int nr_wake, int nr_wake2,
                      uint32_t op);

struct futex_waitv_entry {
    uint32_t val, flags; /* futex_flags */
    guest_addr uaddr;
};
#define FUTEX_WAITV_LIMIT 128
int64_t futex_wait_multiple(struct task *t, const struct futex_waitv_entry *v, unsigned int nr, int64_t deadline);

int64_t futex_lock_pi(struct task *t, guest_addr uaddr, unsigned int flags, int64_t deadline, bool trylock);
int64_t futex_unlock_pi(struct task *t, guest_addr uaddr, unsigned int flags);
int64_t futex_wait_requeue_pi(struct task *t, guest_addr uaddr, unsigned int flags, uint32_t val, int64_t deadline,
                              guest_addr uaddr2);
int64_t futex_cmp_requeue_pi(struct task *t, guest_addr uaddr1, guest_addr uaddr2, unsigned int flags, int nr_wake,
                             int nr_requeue, uint32_t cmpval);
/* Gives what `t` owns to the next waiters. */
void futex_pi_release_owned(struct task *t, bool dead);

#endif
