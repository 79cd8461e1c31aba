#include "sentry/kernel/creds.h"

#include "sentry/kernel/task.h"

#include <errno.h>
#include <linux/securebits.h>

#define UNCHANGED ((uid_t)-1)

/* The capabilities that go with a file-system uid of 0; see capabilities(7), "Effect of user ID changes". */
#define FS_CAPS                                                                                                             \
    (1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_DAC_READ_SEARCH | 1ULL << CAP_FOWNER | 1ULL << CAP_FSETID | \
     1ULL << CAP_LINUX_IMMUTABLE | 1ULL << CAP_MKNOD | 1ULL << CAP_MAC_OVERRIDE)

static bool securebit(const struct cred *c, unsigned int bit)
{
    return c->securebits & (1U << bit);
}

static bool any_root(const struct cred *c)
{
    return c->uid == 0 || c->euid == 0 || c->suid == 0;
}

/* Capabilities follow the uids out of and back into root, unless SECBIT_NO_SETUID_FIXUP. */
static void fix_caps_after_setuid(const struct cred *old, struct cred *c)
{
    if (securebit(c, SECURE_NO_SETUID_FIXUP))
        return;
    if (any_root(old) && !any_root(c)) {
        if (!c->keep_caps)
            c->cap_permitted = c->cap_effective = 0;
        c->cap_ambient = 0;
    }
    if (old->euid == 0 && c->euid != 0)
        c->cap_effective = 0;
    else if (old->euid != 0 && c->euid == 0)
        c->cap_effective = c->cap_permitted;
}

static void fix_caps_after_setfsuid(const struct cred *old, struct cred *c)
{
    if (securebit(c, SECURE_NO_SETUID_FIXUP))
        return;
    if (old->fsuid == 0 && c->fsuid != 0)
        c->cap_effective &= ~FS_CAPS;
    else if (old->fsuid != 0 && c->fsuid == 0)
        c->cap_effective |= c->cap_permitted & FS_CAPS;
}

/*
 * Publishes `c`. A process whose effective identity changed must not be looked into by those who could before, and no longer
 * dies with its parent.
 */
static int commit(struct task *t, struct cred *c)
{
    const struct cred *old = t->cred;

    if (old->euid != c->euid || old->egid != c->egid || old->fsuid != c->fsuid || old->fsgid != c->fsgid ||
        (c->cap_permitted & ~old->cap_permitted)) {
        mutex_lock(&t->tg->siglock);
        t->tg->dumpable = 0;
        mutex_unlock(&t->tg->siglock);
        t->pdeath_signal = 0;
    }
    task_commit_cred(t, c);
    return 0;
}

int creds_setresuid(struct task *t, uid_t ruid, uid_t euid, uid_t suid)
{
    const struct cred *old = t->cred;
    const uid_t want[] = {ruid, euid, suid};
    struct cred *c;

    if (!cred_has_cap(old, CAP_SETUID))
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
            if (want[i] != UNCHANGED && want[i] != old->uid && want[i] != old->euid && want[i] != old->suid)
                return -EPERM;
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (ruid != UNCHANGED)
        c->uid = ruid;
    if (euid != UNCHANGED)
        c->euid = euid;
    if (suid != UNCHANGED)
        c->suid = suid;
    c->fsuid = c->euid;
    fix_caps_after_setuid(old, c);
    return commit(t, c);
}

int creds_setreuid(struct task *t, uid_t ruid, uid_t euid)
{
    const struct cred *old = t->cred;
    struct cred *c;

    if (!cred_has_cap(old, CAP_SETUID)) {
        if (ruid != UNCHANGED && ruid != old->uid && ruid != old->euid)
            return -EPERM;
        if (euid != UNCHANGED && euid != old->uid && euid != old->euid && euid != old->suid)
            return -EPERM;
    }
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (ruid != UNCHANGED)
        c->uid = ruid;
    if (euid != UNCHANGED)
        c->euid = euid;
    if (ruid != UNCHANGED || (euid != UNCHANGED && euid != old->uid))
        c->suid = c->euid;
    c->fsuid = c->euid;
    fix_caps_after_setuid(old, c);
    return commit(t, c);
}

int creds_setuid(struct task *t, uid_t uid)
{
    const struct cred *old = t->cred;
    bool privileged = cred_has_cap(old, CAP_SETUID);
    struct cred *c;

    if (!privileged && uid != old->uid && uid != old->suid)
        return -EPERM;
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (privileged)
        c->uid = c->suid = uid;
    c->euid = c->fsuid = uid;
    fix_caps_after_setuid(old, c);
    return commit(t, c);
}

int creds_setresgid(struct task *t, gid_t rgid, gid_t egid, gid_t sgid)
{
    const struct cred *old = t->cred;
    const gid_t want[] = {rgid, egid, sgid};
    struct cred *c;

    if (!cred_has_cap(old, CAP_SETGID))
        for (size_t i = 0; i < ARRAY_SIZE(want); i++)
            if (want[i] != UNCHANGED && want[i] != old->gid && want[i] != old->egid && want[i] != old->sgid)
                return -EPERM;
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (rgid != UNCHANGED)
        c->gid = rgid;
    if (egid != UNCHANGED)
        c->egid = egid;
    if (sgid != UNCHANGED)
        c->sgid = sgid;
    c->fsgid = c->egid;
    return commit(t, c);
}

int creds_setregid(struct task *t, gid_t rgid, gid_t egid)
{
    const struct cred *old = t->cred;
    struct cred *c;

    if (!cred_has_cap(old, CAP_SETGID)) {
        if (rgid != UNCHANGED && rgid != old->gid && rgid != old->egid)
            return -EPERM;
        if (egid != UNCHANGED && egid != old->gid && egid != old->egid && egid != old->sgid)
            return -EPERM;
    }
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (rgid != UNCHANGED)
        c->gid = rgid;
    if (egid != UNCHANGED)
        c->egid = egid;
    if (rgid != UNCHANGED || (egid != UNCHANGED && egid != old->gid))
        c->sgid = c->egid;
    c->fsgid = c->egid;
    return commit(t, c);
}

int creds_setgid(struct task *t, gid_t gid)
{
    const struct cred *old = t->cred;
    bool privileged = cred_has_cap(old, CAP_SETGID);
    struct cred *c;

    if (!privileged && gid != old->gid && gid != old->sgid)
        return -EPERM;
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    if (privileged)
        c->gid = c->sgid = gid;
    c->egid = c->fsgid = gid;
    return commit(t, c);
}

uid_t creds_setfsuid(struct task *t, uid_t uid)
{
    const struct cred *old = t->cred;
    uid_t was = old->fsuid;
    struct cred *c;

    if (uid == was || uid == UNCHANGED)
        return was;
    if (uid != old->uid && uid != old->euid && uid != old->suid && !cred_has_cap(old, CAP_SETUID))
        return was;
    c = cred_dup(old);
    if (!c)
        return was;
    c->fsuid = uid;
    fix_caps_after_setfsuid(old, c);
    commit(t, c);
    return was;
}

gid_t creds_setfsgid(struct task *t, gid_t gid)
{
    const struct cred *old = t->cred;
    gid_t was = old->fsgid;
    struct cred *c;

    if (gid == was || gid == UNCHANGED)
        return was;
    if (gid != old->gid && gid != old->egid && gid != old->sgid && !cred_has_cap(old, CAP_SETGID))
        return was;
    c = cred_dup(old);
    if (!c)
        return was;
    c->fsgid = gid;
    commit(t, c);
    return was;
}

int creds_capset(struct task *t, uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
    const struct cred *old = t->cred;
    struct cred *c;

    effective &= CREDS_ALL_CAPS;
    permitted &= CREDS_ALL_CAPS;
    inheritable &= CREDS_ALL_CAPS;
    if (!cred_has_cap(old, CAP_SETPCAP) && (inheritable & ~(old->cap_inheritable | old->cap_permitted)))
        return -EPERM;
    if (inheritable & ~(old->cap_inheritable | old->cap_bounding))
        return -EPERM;
    if (permitted & ~old->cap_permitted)
        return -EPERM;
    if (effective & ~permitted)
        return -EPERM;
    c = cred_dup(old);
    if (!c)
        return -ENOMEM;
    c->cap_effective = effective;
    c->cap_permitted = permitted;
    c->cap_inheritable = inheritable;
    c->cap_ambient &= permitted & inheritable;
    return commit(t, c);
}
