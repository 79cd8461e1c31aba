#include "lib/waitq.h"

#include "lib/wake.h"

#include <assert.h>
#include <poll.h>

void waitq_init(struct waitq *wq)
{
    mutex_init(&wq->lock);
    list_init(&wq->waiters);
    atomic_init(&wq->nr_waiters, 0);
}

void waitq_fini(struct waitq *wq)
{
    assert(atomic_load(&wq->nr_waiters) == 0);
    mutex_fini(&wq->lock);
}

void waitq_add(struct waitq *wq, struct waitq_entry *entry)
{
    mutex_lock(&wq->lock);
    entry->wq = wq;
    /* Exclusive waiters go last so that a wake-up reaches all the others first, as in Linux. */
    if (entry->exclusive)
        list_add_tail(&entry->node, &wq->waiters);
    else
        list_add(&entry->node, &wq->waiters);
    atomic_fetch_add(&wq->nr_waiters, 1);
    mutex_unlock(&wq->lock);
}

void waitq_remove(struct waitq_entry *entry)
{
    struct waitq *wq = entry->wq;

    if (!wq)
        return;
    mutex_lock(&wq->lock);
    list_del_init(&entry->node);
    atomic_fetch_sub(&wq->nr_waiters, 1);
    mutex_unlock(&wq->lock);
    entry->wq = NULL;
}

void waitq_wake(struct waitq *wq, uint32_t events)
{
    struct waitq_entry *entry;

    /*
     * The waiter adds itself and then looks at the object's state; the waker changes the state and then
     * looks here. The fence makes sure that one of the two sees the other.
     */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&wq->nr_waiters, memory_order_relaxed) == 0)
        return;
    wake_hold();
    mutex_lock(&wq->lock);
    list_for_each_entry(entry, &wq->waiters, node) {
        if (!(events & (entry->mask | POLLERR | POLLHUP)))
            continue;
        if (entry->wake(entry, events) && entry->exclusive)
            break;
    }
    mutex_unlock(&wq->lock);
    wake_release();
}
