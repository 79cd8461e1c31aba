#include "sentry/kernel/task_select.h"

#include "sentry/kernel/pid.h"
#include "sentry/kernel/session.h"
#include "sentry/kernel/task.h"

static pid_t pgid_of(struct tgroup *tg)
{
    pid_t pgid;

    mutex_lock(&tg->k->tasks_lock);
    pgid = tg->pgrp ? tg->pgrp->pgid : 0;
    mutex_unlock(&tg->k->tasks_lock);
    return pgid;
}

static bool owned_by(struct task *target, uid_t uid)
{
    struct cred *c = task_get_cred(target);
    bool owned = c && c->uid == uid;

    if (c)
        cred_put(c);
    return owned;
}

unsigned int task_select(struct task *t, enum task_select which, int who, void (*fn)(struct task *target, void *arg), void *arg)
{
    unsigned int n = 0;
    struct tgroup *tg;
    pid_t pid = 0;

    if (which == SELECT_PROCESS) {
        struct task *target = who ? task_find(t->k, who) : task_get(t);

        if (!target)
            return 0;
        fn(target, arg);
        task_put(target);
        return 1;
    }
    if (who == 0)
        who = which == SELECT_PGRP ? pgid_of(t->tg) : (int)t->cred->uid;
    for (; (tg = tgroup_next(t->k, pid + 1)); tgroup_put(tg)) {
        struct task *target;

        pid = tg->tgid;
        if (which == SELECT_PGRP && pgid_of(tg) != who)
            continue;
        for (pid_t tid = 0; (target = tgroup_next_task(tg, tid + 1)); task_put(target)) {
            tid = target->tid;
            if (which == SELECT_USER && !owned_by(target, (uid_t)who))
                continue;
            fn(target, arg);
            n++;
        }
    }
    return n;
}
