/* Sessions and process groups as objects, setpgid, setsid, and groups that lose their last parent. */
#include "sentry/kernel/session.h"

#include "sentry/kernel/task_internal.h"

#include <errno.h>
#include <stdlib.h>

struct session *session_get(struct session *s)
{
    ref_get(&s->ref);
    return s;
}

/* The number is free again when the last group has gone; see pgrp_destroy_locked(). The struct lives as long as references. */
void session_put(struct session *s)
{
    if (!s || !ref_put(&s->ref))
        return;
    pid_put(s->pid);
    free(s);
}

struct pgrp *pgrp_get(struct pgrp *pg)
{
    ref_get(&pg->ref);
    return pg;
}

void pgrp_put(struct pgrp *pg)
{
    if (!pg || !ref_put(&pg->ref))
        return;
    session_put(pg->session);
    pid_put(pg->pid);
    free(pg);
}

static struct session *session_create(struct kernel *k, struct pid *pid, struct tgroup *leader)
{
    struct session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    ref_init(&s->ref);
    s->k = k;
    s->pid = pid_get(pid);
    s->sid = pid->nr;
    s->leader = leader;
    return s;
}

static struct pgrp *pgrp_create(struct pid *pid, struct session *s)
{
    struct pgrp *pg = calloc(1, sizeof(*pg));

    if (!pg)
        return NULL;
    ref_init(&pg->ref);
    pg->pid = pid_get(pid);
    pg->pgid = pid->nr;
    pg->session = session_get(s);
    list_init(&pg->members);
    return pg;
}

/* The group's last member has left: its number, and maybe its session's, become free. */
static void pgrp_retire(struct pgrp *pg)
{
    struct session *s = pg->session;

    if (pg->pid->pgrp == pg) {
        pg->pid->pgrp = NULL;
        pid_release(pg->pid);
    }
    if (--s->nr_pgrps == 0 && s->pid->session == s) {
        s->pid->session = NULL;
        pid_release(s->pid);
    }
}

void pgrp_leave(struct tgroup *tg)
{
    struct pgrp *pg = tg->pgrp;

    if (!pg || list_empty(&tg->pgrp_node))
        return;
    list_del_init(&tg->pgrp_node);
    if (list_empty(&pg->members))
        pgrp_retire(pg);
}

void pgrp_join(struct tgroup *tg, struct pgrp *pg)
{
    struct pgrp *old = tg->pgrp;

    pgrp_get(pg);
    if (list_empty(&pg->members)) {
        pg->pid->pgrp = pg;
        if (pg->session->nr_pgrps++ == 0)
            pg->session->pid->session = pg->session;
    }
    pgrp_leave(tg);
    list_add_tail(&tg->pgrp_node, &pg->members);
    tg->pgrp = pg;
    tg->session = pg->session;
    pgrp_put(old);
}

int session_create_for(struct tgroup *tg)
{
    struct session *s = session_create(tg->k, tg->pid, tg);
    struct pgrp *pg = s ? pgrp_create(tg->pid, s) : NULL;

    session_put(s); /* pg holds the other reference */
    if (!pg)
        return -ENOMEM;
    pgrp_join(tg, pg);
    pgrp_put(pg);
    return 0;
}

int64_t task_setsid(struct task *t)
{
    struct kernel *k = t->k;
    struct tgroup *tg = t->tg;
    int64_t r = -EPERM;

    mutex_lock(&k->tasks_lock);
    /* Neither a session leader nor a process whose number is some group's. */
    if (!tg->pid->session && !tg->pid->pgrp) {
        r = session_create_for(tg);
        if (!r)
            r = tg->tgid;
    }
    mutex_unlock(&k->tasks_lock);
    return r;
}

static int setpgid_locked(struct task *t, pid_t pid, pid_t pgid)
{
    struct kernel *k = t->k;
    struct pid *target = pid ? pid_find(k, pid) : t->tg->pid;
    struct tgroup *tg = target ? target->tgroup : NULL;
    struct pid *group;
    struct pgrp *pg;

    if (!tg)
        return target && target->task ? -EINVAL : -ESRCH; /* a thread that leads no process */
    if (tg != t->tg) {
        if (tg->parent != t->tg)
            return -ESRCH;
        if (tg->session != t->tg->session)
            return -EPERM;
        if (tg->has_execed)
            return -EACCES;
    }
    if (tg->session->leader == tg)
        return -EPERM;
    if (pgid == 0)
        pgid = tg->tgid;
    if (pgid == tg->pgrp->pgid)
        return 0;
    group = pid_find(k, pgid);
    pg = group ? group->pgrp : NULL;
    if (pg) {
        if (pg->session != t->tg->session)
            return -EPERM;
        pgrp_join(tg, pg);
        return 0;
    }
    if (pgid != tg->tgid)
        return -EPERM;
    pg = pgrp_create(tg->pid, tg->session);
    if (!pg)
        return -ENOMEM;
    pgrp_join(tg, pg);
    pgrp_put(pg);
    return 0;
}

int task_setpgid(struct task *t, pid_t pid, pid_t pgid)
{
    struct kernel *k = t->k;
    int r;

    if (pgid < 0)
        return -EINVAL;
    mutex_lock(&k->tasks_lock);
    r = setpgid_locked(t, pid, pgid);
    mutex_unlock(&k->tasks_lock);
    return r;
}

bool pgrp_is_orphaned(struct pgrp *pg, const struct tgroup *ignoring)
{
    struct tgroup *tg;

    list_for_each_entry(tg, &pg->members, pgrp_node) {
        /* A shell that is pid 1 keeps its jobs from being orphaned, as in a pid namespace: only the host's init is excepted. */
        if (tg == ignoring || tg->zombie || !tg->parent)
            continue;
        if (tg->parent->pgrp != pg && tg->parent->session == pg->session)
            return false;
    }
    return true;
}

static bool pgrp_has_stopped(struct pgrp *pg)
{
    struct tgroup *tg;

    list_for_each_entry(tg, &pg->members, pgrp_node) {
        if (tg->stopped)
            return true;
    }
    return false;
}

void pgrp_check_orphan(struct tgroup *tg, struct tgroup *parent, const struct tgroup *ignoring)
{
    struct pgrp *pg = tg->pgrp;
    ksiginfo info;

    if (!parent || parent->pgrp == pg || parent->session != tg->session)
        return;
    if (!pgrp_is_orphaned(pg, ignoring) || !pgrp_has_stopped(pg))
        return;
    siginfo_kernel(&info, SIGHUP, SI_KERNEL);
    pgrp_signal_locked(pg, &info);
    siginfo_kernel(&info, SIGCONT, SI_KERNEL);
    pgrp_signal_locked(pg, &info);
}

int pgrp_signal_locked(struct pgrp *pg, const ksiginfo *info)
{
    struct tgroup *tg;
    int r = -ESRCH;

    list_for_each_entry(tg, &pg->members, pgrp_node) {
        if (signal_send_tgroup(tg, info) == 0)
            r = 0;
    }
    return r;
}

int signal_send_pgrp(struct kernel *k, pid_t pgid, const ksiginfo *info)
{
    struct pid *pid;
    int r = -ESRCH;

    mutex_lock(&k->tasks_lock);
    pid = pid_find(k, pgid);
    if (pid && pid->pgrp)
        r = pgrp_signal_locked(pid->pgrp, info);
    mutex_unlock(&k->tasks_lock);
    return r;
}
