/*
 * Stub processes after their address spaces: used again, or reaped.
 *
 * Making and ending a process costs more than all else that is done for an address space. So a process whose guest is gone is
 * kept for the next one, provided that nothing of the former is left in it:
 *
 *  - The mapper, which can be believed, has unmapped all that a guest can have mapped: its memory and its family's trampolines.
 *  - The threads that ran guest code are gone, because nobody knows what is in their registers. They are told to end, and the
 *    host kernel says whether they did; a process that has one left after a while is killed.
 *  - What is kept, the mapper and its read-only pages and the slots, no guest can have changed: guest threads have no call that
 *    would touch anything of a process but its futexes on slots and mappings below the stub's (filter.c). Commands and slots
 * are cleared.
 *
 * Threads that were waiting for their turn end within microseconds.
 */
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long threads are given to end: looks with a yield between them, then with a pause. */
#define YIELDS   8
#define PAUSES   40
#define PAUSE_NS 50000L

static struct stub_platform *platform_of(struct stub_as *as)
{
    return container_of(as->base.p, struct stub_platform, base);
}

/* Whether only the mapper is left, by what the host kernel says. */
static bool threads_are_gone(struct stub_as *as) REQUIRES(as->lock)
{
    struct stub_thread *t;

    list_for_each_entry(t, &as->threads, node)
        if (t->tid == 0 || syscall(SYS_tgkill, as->proc.pid, t->tid, 0) == 0 || errno != ESRCH)
            return false;
    return true;
}

static bool may_recycle(struct stub_as *as) REQUIRES(as->lock)
{
    return as->nr_owned == 0 && as->slots_used <= STUB_KEPT_SLOTS;
}

bool stub_dismiss_threads(struct stub_as *as)
{
    struct stub_thread *t;

    if (!may_recycle(as))
        return false;
    list_for_each_entry(t, &as->threads, node) {
        atomic_store_explicit(slot_u32(t, SLOT_COMMAND), COMMAND_EXIT, memory_order_relaxed);
        if (atomic_exchange(slot_u32(t, SLOT_TURN), TURN_GUEST) == TURN_SENTRY_SLEEP)
            syscall(SYS_futex, slot_u32(t, SLOT_TURN), FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    sched_yield();
    return threads_are_gone(as);
}

/* A thread may have taken the process with it when it ended: then the mapper, even if it is not gone yet, does not answer. */
bool stub_await_threads(struct stub_as *as)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int64_t last;

    if (!may_recycle(as))
        return false;
    for (int i = 0; !threads_are_gone(as); i++) {
        if (i < YIELDS)
            sched_yield();
        else if (i < YIELDS + PAUSES)
            nanosleep(&pause, NULL);
        else
            return false;
    }
    return mapper_run(as, NULL, 0, &last) == 0;
}

/* The process is gone or another's. Slots of threads that a context still holds are freed by it. */
static void bury(struct stub_as *as)
{
    struct stub_thread *t, *next;

    mutex_lock(&as->lock);
    as->buried = true;
    list_for_each_entry_safe(t, next, &as->threads, node)
        if (!t->owned)
            stub_thread_free(t);
    mutex_unlock(&as->lock);
    stub_as_put(as);
}

/* Gives back what a process that is gone had mapped; its first `used` slots are those of threads. */
static void free_process(struct arena *a, const struct stub_process *proc, unsigned int used)
{
    for (unsigned int i = used; i < proc->nr_slots; i++)
        arena_free(a, ARENA_SLOT, proc->slots[i]);
    arena_free(a, ARENA_PAGE, proc->commands);
}

static void bury_dead(struct stub_as *as)
{
    mutex_lock(&as->lock);
    free_process(&platform_of(as)->arena, &as->proc, (unsigned int)as->slots_used);
    as->proc.nr_slots = 0;
    mutex_unlock(&as->lock);
    bury(as);
}

/* Clears the process of what it knows. Its slots now are its own. */
static void forget(struct stub_as *as) REQUIRES(as->lock)
{
    struct arena *a = &platform_of(as)->arena;
    struct stub_thread *t;

    list_for_each_entry(t, &as->threads, node)
        as->proc.slots[(t->slot_va - STUB_SLOTS) / SLOT_SIZE] = t->slot_off;
    if (as->proc.nr_slots < as->slots_used)
        as->proc.nr_slots = (unsigned int)as->slots_used;
    for (unsigned int i = 0; i < as->slots_used; i++)
        memset(arena_ptr(a, as->proc.slots[i]), 0, SLOT_SIZE);
    mapper_forget(a, as->proc.commands);
}

static bool keep_spare(struct stub_platform *p, const struct stub_process *proc)
{
    bool ok;

    mutex_lock(&p->spare_lock);
    ok = p->nr_spare < STUB_SPARE;
    if (ok)
        p->spare[p->nr_spare++] = *proc;
    mutex_unlock(&p->spare_lock);
    return ok;
}

void stub_retire(struct stub_as *as, bool working, bool gone)
{
    struct stub_platform *p = platform_of(as);
    bool kept;

    mutex_lock(&as->lock);
    kept = working && gone;
    if (kept) {
        forget(as);
        kept = keep_spare(p, &as->proc);
    }
    if (!kept)
        kill(as->proc.pid, SIGKILL);
    mutex_unlock(&as->lock);
    if (kept) {
        bury(as);
    } else if (working) {
        mutex_lock(&p->spare_lock);
        list_add_tail(&as->zombie_node, &p->zombies);
        mutex_unlock(&p->spare_lock);
    } else {
        waitpid(as->proc.pid, NULL, __WALL); /* the guest's memory may be mapped until then */
        bury_dead(as);
    }
}

void stub_reap_zombies(struct stub_platform *p, bool wait)
{
    struct stub_as *as, *next;
    struct list_head gone;

    list_init(&gone);
    mutex_lock(&p->spare_lock);
    list_for_each_entry_safe(as, next, &p->zombies, zombie_node) {
        if (waitpid(as->proc.pid, NULL, __WALL | (wait ? 0 : WNOHANG)) == 0)
            continue;
        list_del_init(&as->zombie_node);
        list_add(&as->zombie_node, &gone);
    }
    mutex_unlock(&p->spare_lock);
    list_for_each_entry_safe(as, next, &gone, zombie_node) {
        list_del_init(&as->zombie_node);
        bury_dead(as);
    }
}

static bool take_spare(struct stub_platform *p, struct stub_process *out)
{
    bool ok;

    mutex_lock(&p->spare_lock);
    ok = p->nr_spare > 0;
    if (ok)
        *out = p->spare[--p->nr_spare];
    mutex_unlock(&p->spare_lock);
    return ok;
}

/* Passes over those that somebody on the host has killed, when it ran out of memory for example. */
bool stub_take_spare(struct stub_platform *p, struct stub_process *out)
{
    while (take_spare(p, out)) {
        if (waitpid(out->pid, NULL, __WALL | WNOHANG) == 0)
            return true;
        free_process(&p->arena, out, 0);
    }
    return false;
}

void stub_end_spare(struct stub_platform *p)
{
    struct stub_process proc;

    while (stub_take_spare(p, &proc)) {
        kill(proc.pid, SIGKILL);
        waitpid(proc.pid, NULL, __WALL);
    }
}
