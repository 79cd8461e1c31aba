#include "sentry/kernel/ptrace_access.h"

#include "sentry/kernel/task.h"

static bool has_cap(const struct cred *c, int cap, enum ptrace_mode mode)
{
    uint64_t set = mode == PTRACE_MODE_REALCREDS ? c->cap_permitted : c->cap_effective;

    return set >> cap & 1;
}

bool ptrace_may_access(struct task *t, struct task *target, enum ptrace_mode mode)
{
    const struct cred *self = t->cred;
    struct cred *other;
    bool allowed, dumpable;
    uid_t uid = mode == PTRACE_MODE_REALCREDS ? self->uid : self->fsuid;
    gid_t gid = mode == PTRACE_MODE_REALCREDS ? self->gid : self->fsgid;

    if (target->tg == t->tg)
        return true;
    other = task_get_cred(target);
    if (!other)
        return false;
    allowed = uid == other->euid && uid == other->suid && uid == other->uid && gid == other->egid && gid == other->sgid &&
              gid == other->gid;
    mutex_lock(&target->tg->siglock);
    dumpable = target->tg->dumpable == 1;
    mutex_unlock(&target->tg->siglock);
    /* Ids and dumpability can be overruled by the capability; so can having fewer capabilities than the target. */
    allowed = allowed && dumpable &&
              !(other->cap_permitted & ~(mode == PTRACE_MODE_REALCREDS ? self->cap_permitted : self->cap_effective));
    allowed = allowed || has_cap(self, CAP_SYS_PTRACE, mode);
    cred_put(other);
    return allowed;
}
