/*
 * Process groups, sessions and their controlling terminals: POSIX job control.
 *
 * A terminal embeds a `struct tty_jobctl`, through which sessions and terminals find each other; tty->session and session->ctty
 * always agree. All links are guarded by the kernel's tasks_lock, which every function here takes itself unless it says
 * "tasks_lock held". None of them may be called with a lock of the tty layer held that is taken elsewhere under tasks_lock (the
 * tty layer takes none there); they send signals, so siglocks are taken inside.
 */
#ifndef SENTRY_KERNEL_SESSION_H
#define SENTRY_KERNEL_SESSION_H

#include "lib/list.h"
#include "lib/refcount.h"
#include "sentry/kernel/kernel.h"

struct pid;
struct session;

struct tty_jobctl {
    struct session *session; /* whose controlling terminal this is, or NULL; tasks_lock; referenced */
    /* The session's reference on the terminal. Called with tasks_lock held; `put` must not free synchronously anything that
     * needs that lock. */
    void (*get)(struct tty_jobctl *tty);
    void (*put)(struct tty_jobctl *tty);
};

struct session {
    struct refcount ref;
    struct kernel *k;
    struct pid *pid; /* its number; referenced, immutable */
    pid_t sid;
    /* Guarded by k->tasks_lock. */
    struct tgroup *leader;   /* NULL once it has exited */
    struct tty_jobctl *ctty; /* controlling terminal, referenced */
    struct pgrp *foreground; /* of the terminal; referenced */
    unsigned int nr_pgrps;
};

struct pgrp {
    struct refcount ref;
    struct pid *pid; /* referenced, immutable */
    pid_t pgid;
    struct session *session;  /* referenced, immutable */
    struct list_head members; /* tgroup.pgrp_node; tasks_lock */
};

struct session *session_get(struct session *s);
void session_put(struct session *s);
struct pgrp *pgrp_get(struct pgrp *pg);
void pgrp_put(struct pgrp *pg);

/* setpgid, setsid. Errors as in Linux. */
int task_setpgid(struct task *t, pid_t pid, pid_t pgid);
int64_t task_setsid(struct task *t);
/* The rest of this paragraph: tasks_lock held.
 * A new session and group of its own for a process that is being made. */
int must_check session_create_for(struct tgroup *tg);
/* Puts `tg` into `pg`'s group (and session), leaving the one it is in. */
void pgrp_join(struct tgroup *tg, struct pgrp *pg);
void pgrp_leave(struct tgroup *tg);
/* POSIX: no member has a parent that is in another group of the same session. */
bool pgrp_is_orphaned(struct pgrp *pg, const struct tgroup *ignoring);
/* `parent`, the parent of `tg` until now, ends (or `tg` itself does, then `ignoring` is tg): if the group becomes orphaned and
 * has stopped members, it gets SIGHUP and SIGCONT. */
void pgrp_check_orphan(struct tgroup *tg, struct tgroup *parent, const struct tgroup *ignoring);

/*
 * For the terminal layer. `t` is the calling task; results are 0 or -errno.
 *
 * check_read/check_write: may `t` read from / change or (with TOSTOP) write to the terminal now? 0; -EIO (orphaned group, or
 * SIGTTIN ignored or blocked); -ERESTARTSYS after SIGTTIN / SIGTTOU was sent to its group. A terminal that is not t's
 * controlling one is always allowed.
 */
int tty_jobctl_check_read(struct task *t, struct tty_jobctl *tty);
int tty_jobctl_check_write(struct task *t, struct tty_jobctl *tty);
/* open(2) of a terminal without O_NOCTTY: makes it t's controlling terminal if t is a session leader without one and the
 * terminal has no session. Never fails. */
void tty_jobctl_open(struct task *t, struct tty_jobctl *tty);
int tty_jobctl_set(struct task *t, struct tty_jobctl *tty, bool steal, bool readable);        /* TIOCSCTTY */
int tty_jobctl_detach(struct task *t, struct tty_jobctl *tty);                                /* TIOCNOTTY */
int tty_jobctl_get_pgrp(struct task *t, struct tty_jobctl *tty, bool is_master, pid_t *pgid); /* TIOCGPGRP */
int tty_jobctl_set_pgrp(struct task *t, struct tty_jobctl *tty, bool is_master, pid_t pgid);  /* TIOCSPGRP */
int tty_jobctl_get_sid(struct task *t, struct tty_jobctl *tty, bool is_master, pid_t *sid);   /* TIOCGSID */
/* t's controlling terminal, referenced by its `get`, or NULL: /dev/tty. */
struct tty_jobctl *tty_jobctl_current(struct task *t);
/* Sends a signal (SIGINT, SIGQUIT, SIGTSTP, SIGWINCH) to the foreground group, from any thread. */
void tty_jobctl_signal(struct kernel *k, struct tty_jobctl *tty, int signo);
/* The other end is gone: SIGHUP and SIGCONT to the session leader and SIGHUP to the foreground group; the session loses the
 * terminal. */
void tty_jobctl_hangup(struct kernel *k, struct tty_jobctl *tty);
/* For /proc/PID/stat: the terminal's foreground group id, or -1; and the terminal itself, referenced, or NULL. */
pid_t session_foreground_pgid(struct tgroup *tg);
struct tty_jobctl *tgroup_ctty(struct tgroup *tg);

/* A session leader exits or gives up its terminal: SIGHUP and SIGCONT to the foreground group. */
void session_disassociate_ctty(struct tgroup *leader, bool on_exit);

#endif
