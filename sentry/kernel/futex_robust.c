/*
 * What a dying (or exec'ing) thread leaves behind: its robust list and its clear_child_tid word.
 *
 * The list is in guest memory, so it may be circular, endless, unaligned or gone: the walk is bounded like Linux's and stops at
 * the first entry that cannot be read.
 */
#include "sentry/kernel/futex_internal.h"

#include <errno.h>
#include <linux/futex.h>

/* Marks the word as OWNER_DIED if this thread holds it. Non-zero ends the walk. */
static int robust_entry_died(struct task *t, guest_addr uaddr, bool pi, bool pending)
{
    uint32_t word, now;
    int err;

    if (uaddr.a % sizeof(word))
        return -EINVAL;
    err = mm_load32(t->mm, uaddr, &word);
    for (;;) {
        if (err)
            return err;
        if (pending && !pi && !(word & FUTEX_TID_MASK)) {
            /* Unlocked, but died before it could wake: somebody may be waiting for a wake-up that nobody will send. */
            futex_wake_addr(t, uaddr, true, 1);
            return 0;
        }
        if ((word & FUTEX_TID_MASK) != (uint32_t)t->tid)
            return 0;
        now = word;
        err = mm_cmpxchg32(t->mm, uaddr, &now, (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
        if (!err && now == word)
            break;
        word = now;
    }
    if (!pi && (word & FUTEX_WAITERS))
        futex_wake_addr(t, uaddr, true, 1);
    return 0;
}

/* A pointer of the list: bit 0 says that the entry is a PI futex. */
static int fetch_entry(struct task *t, guest_addr at, guest_addr *entry, bool *pi)
{
    uint64_t v;
    int err = copy_in(t, &v, at, sizeof(v));

    if (err)
        return err;
    *entry = guest_addr_of(v & ~1ULL);
    *pi = v & 1;
    return 0;
}

static void robust_list_walk(struct task *t)
{
    guest_addr head = t->robust_list, entry, next, pending;
    bool pi, next_pi, pending_pi;
    int64_t offset;

    if (guest_is_null(head))
        return;
    t->robust_list = GUEST_NULL;
    if (fetch_entry(t, head, &entry, &pi) || copy_in(t, &offset, guest_add(head, 8), sizeof(offset)) ||
        fetch_entry(t, guest_add(head, 16), &pending, &pending_pi))
        return;
    for (int i = 0; i < ROBUST_LIST_LIMIT && entry.a != head.a; i++) {
        int err = fetch_entry(t, entry, &next, &next_pi);

        /* The pending entry may be on the list or not yet: it is done once, at the end. */
        if (entry.a != pending.a && robust_entry_died(t, guest_add(entry, (uint64_t)offset), pi, false))
            return;
        if (err)
            return;
        entry = next;
        pi = next_pi;
    }
    if (!guest_is_null(pending))
        robust_entry_died(t, guest_add(pending, (uint64_t)offset), pending_pi, true);
}

static void futex_release(struct task *t, bool dead)
{
    guest_addr tidp = t->clear_child_tid;

    robust_list_walk(t);
    futex_pi_release_owned(t, dead);
    t->clear_child_tid = GUEST_NULL;
    /* A bad address is the guest's problem. */
    if (!guest_is_null(tidp) && mm_store32(t->mm, tidp, 0) == 0)
        futex_wake_addr(t, tidp, true, 1);
}

void futex_task_exit(struct task *t)
{
    futex_release(t, true);
}

void futex_task_exec(struct task *t)
{
    futex_release(t, false);
}
