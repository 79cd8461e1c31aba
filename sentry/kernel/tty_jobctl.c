/*
 * Controlling terminals: which session owns which terminal, who is in the foreground, and what happens to those who are not and
 * touch it. After tty_jobctrl.c's rules in Linux and POSIX.1-2017 chapter 11.
 */
#include "sentry/kernel/session.h"

#include "sentry/kernel/task_internal.h"

#include <errno.h>

/* The session's terminal goes; its reference is dropped. tasks_lock held. */
static void session_clear_ctty(struct session *s)
{
    struct tty_jobctl *tty = s->ctty;

    pgrp_put(s->foreground);
    s->foreground = NULL;
    s->ctty = NULL;
    if (!tty)
        return;
    tty->session = NULL;
    session_put(s);
    tty->put(tty);
}

static void session_set_ctty(struct session *s, struct tty_jobctl *tty, struct pgrp *foreground)
{
    tty->get(tty);
    s->ctty = tty;
    s->foreground = pgrp_get(foreground);
    tty->session = session_get(s);
}

static bool blocks_or_ignores(struct task *t, int signo)
{
    struct tgroup *tg = t->tg;
    bool r;

    mutex_lock(&tg->siglock);
    r = t->blocked & ksig_bit(signo);
    mutex_lock(&tg->sighand->lock);
    r = r || tg->sighand->action[signo - 1].handler == (uint64_t)SIG_IGN;
    mutex_unlock(&tg->sighand->lock);
    mutex_unlock(&tg->siglock);
    return r;
}

/* `t` is in the background of its terminal and does what `signo` is for. `if_ignored` is the answer when it takes no notice. */
static int background_access(struct task *t, struct tty_jobctl *tty, int signo, int if_ignored)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    ksiginfo info;
    int r = 0;

    mutex_lock(&k->tasks_lock);
    if (tty->session != tg->session || !tty->session->foreground || tty->session->foreground == tg->pgrp)
        goto out;
    if (blocks_or_ignores(t, signo)) {
        r = if_ignored;
    } else if (pgrp_is_orphaned(tg->pgrp, NULL)) {
        r = -EIO;
    } else {
        siginfo_kernel(&info, signo, SI_KERNEL);
        pgrp_signal_locked(tg->pgrp, &info);
        r = -ERESTARTSYS;
    }
out:
    mutex_unlock(&k->tasks_lock);
    return r;
}

int tty_jobctl_check_read(struct task *t, struct tty_jobctl *tty)
{
    return background_access(t, tty, SIGTTIN, -EIO);
}

int tty_jobctl_check_write(struct task *t, struct tty_jobctl *tty)
{
    return background_access(t, tty, SIGTTOU, 0);
}

void tty_jobctl_open(struct task *t, struct tty_jobctl *tty)
{
    struct kernel *k = t->k;
    struct session *s;

    mutex_lock(&k->tasks_lock);
    s = t->tg->session;
    if (s->leader == t->tg && !s->ctty && !tty->session)
        session_set_ctty(s, tty, t->tg->pgrp);
    mutex_unlock(&k->tasks_lock);
}

int tty_jobctl_set(struct task *t, struct tty_jobctl *tty, bool steal, bool readable)
{
    struct kernel *k = t->k;
    struct session *s;
    int r = -EPERM;

    mutex_lock(&k->tasks_lock);
    s = t->tg->session;
    if (s->leader == t->tg && tty->session == s) {
        r = 0;
        goto out;
    }
    if (s->leader != t->tg || s->ctty)
        goto out;
    if (tty->session) {
        if (!steal || !cred_has_cap(t->cred, CAP_SYS_ADMIN))
            goto out;
        session_clear_ctty(tty->session);
    }
    if (!readable && !cred_has_cap(t->cred, CAP_SYS_ADMIN))
        goto out;
    session_set_ctty(s, tty, t->tg->pgrp);
    r = 0;
out:
    mutex_unlock(&k->tasks_lock);
    return r;
}

/* SIGHUP and SIGCONT for the foreground, and the terminal is gone. tasks_lock held. */
static void disassociate_locked(struct session *s)
{
    ksiginfo info;

    if (s->ctty && s->foreground) {
        siginfo_kernel(&info, SIGHUP, SI_KERNEL);
        pgrp_signal_locked(s->foreground, &info);
        siginfo_kernel(&info, SIGCONT, SI_KERNEL);
        pgrp_signal_locked(s->foreground, &info);
    }
    session_clear_ctty(s);
}

void session_disassociate_ctty(struct tgroup *leader, bool on_exit)
{
    struct kernel *k = leader->k;
    struct session *s;

    mutex_lock(&k->tasks_lock);
    s = leader->session;
    if (s && s->leader == leader) {
        disassociate_locked(s);
        if (on_exit)
            s->leader = NULL;
    }
    mutex_unlock(&k->tasks_lock);
}

int tty_jobctl_detach(struct task *t, struct tty_jobctl *tty)
{
    struct kernel *k = t->k;
    struct session *s;
    int r = -ENOTTY;

    mutex_lock(&k->tasks_lock);
    s = t->tg->session;
    if (s->ctty == tty) {
        /* Linux detaches only the calling process when it does not lead the session; here the terminal is the session's, so
         * for others nothing changes. */
        if (s->leader == t->tg)
            disassociate_locked(s);
        r = 0;
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

int tty_jobctl_get_pgrp(struct task *t, struct tty_jobctl *tty, bool is_master, pid_t *pgid)
{
    struct kernel *k = t->k;
    int r = -ENOTTY;

    mutex_lock(&k->tasks_lock);
    if (is_master || (tty->session && tty->session == t->tg->session)) {
        *pgid = tty->session && tty->session->foreground ? tty->session->foreground->pgid : 0;
        r = 0;
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

int tty_jobctl_set_pgrp(struct task *t, struct tty_jobctl *tty, bool is_master, pid_t pgid)
{
    struct kernel *k = t->k;
    struct session *s;
    struct pid *pid;
    int r = is_master ? 0 : background_access(t, tty, SIGTTOU, 0);

    if (r)
        return r;
    mutex_lock(&k->tasks_lock);
    s = tty->session;
    pid = pid_find(k, pgid);
    if (!s || s != t->tg->session) {
        r = -ENOTTY;
    } else if (pgid < 0) {
        r = -EINVAL;
    } else if (!pid || !pid->pgrp) {
        r = -ESRCH;
    } else if (pid->pgrp->session != s) {
        r = -EPERM;
    } else {
        struct pgrp *old = s->foreground;
        s->foreground = pgrp_get(pid->pgrp);
        pgrp_put(old);
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

int tty_jobctl_get_sid(struct task *t, struct tty_jobctl *tty, bool is_master, pid_t *sid)
{
    struct kernel *k = t->k;
    int r = -ENOTTY;

    mutex_lock(&k->tasks_lock);
    if (tty->session && (is_master || tty->session == t->tg->session)) {
        *sid = tty->session->sid;
        r = 0;
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

struct tty_jobctl *tgroup_ctty(struct tgroup *tg)
{
    struct kernel *k = tg->k;
    struct tty_jobctl *tty = NULL;

    mutex_lock(&k->tasks_lock);
    if (tg->session && tg->session->ctty) {
        tty = tg->session->ctty;
        tty->get(tty);
    }
    mutex_unlock(&k->tasks_lock);
    return tty;
}

struct tty_jobctl *tty_jobctl_current(struct task *t)
{
    return tgroup_ctty(t->tg);
}

pid_t session_foreground_pgid(struct tgroup *tg)
{
    struct kernel *k = tg->k;
    pid_t r = -1;

    mutex_lock(&k->tasks_lock);
    if (tg->session && tg->session->foreground)
        r = tg->session->foreground->pgid;
    mutex_unlock(&k->tasks_lock);
    return r;
}

void tty_jobctl_signal(struct kernel *k, struct tty_jobctl *tty, int signo)
{
    ksiginfo info;

    mutex_lock(&k->tasks_lock);
    if (tty->session && tty->session->foreground) {
        siginfo_kernel(&info, signo, SI_KERNEL);
        pgrp_signal_locked(tty->session->foreground, &info);
    }
    mutex_unlock(&k->tasks_lock);
}

void tty_jobctl_hangup(struct kernel *k, struct tty_jobctl *tty)
{
    struct session *s;
    ksiginfo info;

    mutex_lock(&k->tasks_lock);
    s = tty->session;
    if (s) {
        siginfo_kernel(&info, SIGHUP, SI_KERNEL);
        if (s->foreground)
            pgrp_signal_locked(s->foreground, &info);
        if (s->leader && s->leader->pgrp != s->foreground)
            signal_send_tgroup(s->leader, &info);
        siginfo_kernel(&info, SIGCONT, SI_KERNEL);
        if (s->leader)
            signal_send_tgroup(s->leader, &info);
        session_clear_ctty(s);
    }
    mutex_unlock(&k->tasks_lock);
}
