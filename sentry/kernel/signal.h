/*
 * Signals. Kernel-side numbers, sets and siginfo have the layout of the x86-64 ABI, so that they are copied to guests as they
 * are.
 */
#ifndef SENTRY_KERNEL_SIGNAL_H
#define SENTRY_KERNEL_SIGNAL_H

#include "lib/compiler.h"
#include "lib/guest_addr.h"
#include "lib/list.h"
#include "lib/lock.h"
#include "lib/refcount.h"

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#define KERNEL_NSIG 64

/* Restart codes, as in Linux's errno range that user space never sees. */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };

struct cred;
struct kernel;
struct task;
struct tgroup;

typedef uint64_t ksigset; /* bit n-1 is signal n */

static inline ksigset ksig_bit(int signo)
{
    return 1ULL << (signo - 1);
}

/* struct sigaction as rt_sigaction(2) passes it. */
struct ksigaction {
    uint64_t handler; /* a guest address, SIG_DFL (0) or SIG_IGN (1) */
    uint64_t flags, restorer;
    ksigset mask;
};

/* siginfo_t as the guest sees it: 128 bytes, same layout as the host's on x86-64. */
typedef siginfo_t ksiginfo;

struct ksigqueue {
    struct list_head node;
    ksiginfo info;
    void *timer; /* the POSIX timer it belongs to (not counted, overrun), or NULL */
};

struct ksigpending {
    ksigset set;
    struct list_head queue; /* of ksigqueue */
};

/* The action table: shared by CLONE_SIGHAND. */
struct sighand {
    struct refcount ref;
    struct mutex lock;
    struct ksigaction action[KERNEL_NSIG] GUARDED_BY(lock);
};

/* Fills a siginfo of a sentry-made signal. */
void siginfo_kernel(ksiginfo *info, int signo, int code);
void siginfo_fault(ksiginfo *info, int signo, int code, uint64_t addr);
void siginfo_user(ksiginfo *info, int signo, int code, const struct task *sender);

/*
 * Sends to one thread or to a process. No permission check. 0, or -EAGAIN when a real-time signal cannot be queued
 * (RLIMIT_SIGPENDING), -ESRCH when it has exited.
 */
int signal_send_task(struct task *t, const ksiginfo *info);
int signal_send_tgroup(struct tgroup *tg, const ksiginfo *info);
/* To every process of a process group, without permission checks; the kernel's tasks_lock must not be held. -ESRCH when there
 * is none. */
int signal_send_pgrp(struct kernel *k, pid_t pgid, const ksiginfo *info);
/* A fault of the task itself: cannot be blocked or ignored. */
void signal_force(struct task *t, const ksiginfo *info);
/*
 * POSIX timers: queues the timer's own preallocated entry (q->timer is set, q->info filled), for one thread or, with `t` NULL,
 * for the process. 0: queued; 1: still queued from before (an overrun); 2: not queued because the signal is ignored; -ESRCH:
 * exited. A dequeued entry is not freed: after unlinking it and without siglock, posix_timer_dequeued() is called; when pending
 * signals are thrown away (SIG_IGN, exit), posix_timer_dropped(). See sentry/kernel/clock.h.
 */
int signal_queue_timer(struct tgroup *tg, struct task *t, struct ksigqueue *q);
bool signal_may_send(const struct task *from, const struct task *to, int signo); /* kill(2)'s permission rule */
bool signal_pending(
    const struct task *t); /* is there one that the task must act on now? Lock-free hint that never misses one sent before */
/* Takes the next pending signal in `set` (signalfd, sigtimedwait). False if none. */
bool signal_dequeue(struct task *t, ksigset set, ksiginfo *out);

#endif
