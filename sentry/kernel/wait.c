/*
 * Blocking: one host futex word per task.
 *
 * task->wake_seq is idle, holds a wake-up that came while the task was awake, or says that the task sleeps (or is about to).
 * task_wake() leaves a token and makes the futex call only if someone sleeps; task_block() consumes a token at once. So a wait
 * costs one futex call on each side, and none when the wake-up was first.
 *
 * A sender of signals sets sigpending before task_wake(); the sleeper looks at sigpending after it has announced its sleep: one
 * of them sees the other.
 */
#include "sentry/kernel/wait.h"

#include "lib/wake.h"
#include "sentry/kernel/task.h"
#include "vfs/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WAKE_IDLE = 0, WAKE_TOKEN = 1, WAKE_SLEEPING = 2 };
enum block_mode { BLOCK_INTERRUPTIBLE, BLOCK_KILLABLE, BLOCK_ALWAYS };

static bool block_interrupted(const struct task *t, enum block_mode mode)
{
    switch (mode) {
    case BLOCK_INTERRUPTIBLE:
        return signal_pending(t);
    case BLOCK_KILLABLE:
        return atomic_load(&t->fatal);
    default:
        return false;
    }
}

static int futex_sleep(atomic_uint *word, unsigned int val, int64_t deadline)
{
    struct timespec ts, *tsp = NULL;

    if (deadline != TASK_NO_DEADLINE) {
        ts.tv_sec = deadline / 1000000000;
        ts.tv_nsec = deadline % 1000000000;
        tsp = &ts;
    }
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, val, tsp, NULL, FUTEX_BITSET_MATCH_ANY) == 0)
        return 0;
    return -errno;
}

/*
 * A wake-up counts before a signal does: the caller then looks at its object once more, and an exclusive waiter that is
 * interrupted has not swallowed what another could have used. The signal ends the next wait.
 */
static int block(struct task *t, int64_t deadline, enum block_mode mode)
{
    unsigned int idle = WAKE_IDLE;
    int state, r = 0;

    if (!atomic_compare_exchange_strong(&t->wake_seq, &idle, WAKE_SLEEPING)) {
        atomic_store(&t->wake_seq, WAKE_IDLE);
        return 0;
    }
    if (block_interrupted(t, mode))
        r = -ERESTARTSYS;
    else if (deadline <= 0) /* in the past, and not expressible for the host when negative */
        r = -ETIMEDOUT;
    if (r)
        return atomic_exchange(&t->wake_seq, WAKE_IDLE) == WAKE_TOKEN ? 0 : r;

    if (t->k->before_sleep) {
        t->k->before_sleep(t);
        if (atomic_load(&t->wake_seq) == WAKE_TOKEN) {
            atomic_store(&t->wake_seq, WAKE_IDLE);
            return 0;
        }
    }
    if (t->ctx)
        platform_park(t->ctx);
    state = atomic_load_explicit(&t->state, memory_order_relaxed);
    if (state == TASK_RUNNING)
        atomic_store_explicit(&t->state, TASK_SLEEPING, memory_order_relaxed);
    atomic_store_explicit(&t->nr_voluntary_switches, atomic_load_explicit(&t->nr_voluntary_switches, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    t->rseq.resume = true;
    while (atomic_load(&t->wake_seq) == WAKE_SLEEPING && r != -ETIMEDOUT)
        r = futex_sleep(&t->wake_seq, WAKE_SLEEPING, deadline);
    if (state == TASK_RUNNING)
        atomic_store_explicit(&t->state, TASK_RUNNING, memory_order_relaxed);
    return atomic_exchange(&t->wake_seq, WAKE_IDLE) == WAKE_TOKEN ? 0 : -ETIMEDOUT;
}

int task_block(struct task *t, int64_t deadline)
{
    return block(t, deadline, BLOCK_INTERRUPTIBLE);
}

int task_block_killable(struct task *t, int64_t deadline)
{
    return block(t, deadline, BLOCK_KILLABLE);
}

void task_block_uninterruptible(struct task *t)
{
    /* Never interrupted and without a deadline there is no error. */
    if (block(t, TASK_NO_DEADLINE, BLOCK_ALWAYS) != 0)
        return;
}

void task_wake(struct task *t)
{
    if (atomic_exchange(&t->wake_seq, WAKE_TOKEN) == WAKE_SLEEPING)
        wake_word(&t->wake_seq);
}

static bool task_wait_wake(struct waitq_entry *entry, uint32_t events)
{
    task_wake(container_of(entry, struct task_wait, entry)->task);
    return true;
}

static void wait_begin(struct task *t, struct task_wait *w, struct waitq *wq, uint32_t events, bool exclusive)
{
    w->task = t;
    w->entry = (struct waitq_entry){.mask = events, .exclusive = exclusive, .wake = task_wait_wake};
    list_init(&w->entry.node);
    waitq_add(wq, &w->entry);
}

void task_wait_begin(struct task *t, struct task_wait *w, struct waitq *wq, uint32_t events)
{
    wait_begin(t, w, wq, events, false);
}

void task_wait_begin_exclusive(struct task *t, struct task_wait *w, struct waitq *wq, uint32_t events)
{
    wait_begin(t, w, wq, events, true);
}

void task_wait_end(struct task_wait *w)
{
    waitq_remove(&w->entry);
}

int64_t task_retry_file(struct task *t, struct file *f, uint32_t events, int64_t deadline, bool nonblock,
                        int64_t (*try_op)(void *arg), void *arg)
{
    struct task_wait w;
    int64_t r = try_op(arg);

    if (r != -EAGAIN || nonblock || !f->wq)
        return r;
    if (atomic_load_explicit(&f->flags, memory_order_relaxed) & O_NONBLOCK)
        return r;
    task_wait_begin(t, &w, f->wq, events);
    while ((r = try_op(arg)) == -EAGAIN) {
        int b = task_block(t, deadline);
        if (b == -ETIMEDOUT)
            break;
        if (b) {
            r = b;
            break;
        }
    }
    task_wait_end(&w);
    return r;
}
