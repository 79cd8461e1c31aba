/* User and group ids, supplementary groups, capabilities. The rules are in sentry/kernel/creds.c. */
#include "sentry/kernel/creds.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/capability.h>
#include <stdlib.h>

/* Linux's NGROUPS_MAX. */
#define MAX_GROUPS 65536

int64_t sys_getuid(struct task *t, const struct syscall_args *a)
{
    return t->cred->uid;
}

int64_t sys_geteuid(struct task *t, const struct syscall_args *a)
{
    return t->cred->euid;
}

int64_t sys_getgid(struct task *t, const struct syscall_args *a)
{
    return t->cred->gid;
}

int64_t sys_getegid(struct task *t, const struct syscall_args *a)
{
    return t->cred->egid;
}

/* Writes three ids, as getresuid and getresgid do. */
static int64_t put_ids(struct task *t, const struct syscall_args *a, uint32_t r, uint32_t e, uint32_t s)
{
    const uint32_t ids[] = {r, e, s};

    for (int i = 0; i < 3; i++)
        if (copy_out(t, arg_addr(a, i), &ids[i], sizeof(ids[i])))
            return -EFAULT;
    return 0;
}

int64_t sys_getresuid(struct task *t, const struct syscall_args *a)
{
    return put_ids(t, a, t->cred->uid, t->cred->euid, t->cred->suid);
}

int64_t sys_getresgid(struct task *t, const struct syscall_args *a)
{
    return put_ids(t, a, t->cred->gid, t->cred->egid, t->cred->sgid);
}

/* An id of -1 is no id: the calls without a "leave it" value refuse it. */
int64_t sys_setuid(struct task *t, const struct syscall_args *a)
{
    return arg_uint(a, 0) == (uid_t)-1 ? -EINVAL : creds_setuid(t, arg_uint(a, 0));
}

int64_t sys_setgid(struct task *t, const struct syscall_args *a)
{
    return arg_uint(a, 0) == (gid_t)-1 ? -EINVAL : creds_setgid(t, arg_uint(a, 0));
}

int64_t sys_setreuid(struct task *t, const struct syscall_args *a)
{
    return creds_setreuid(t, arg_uint(a, 0), arg_uint(a, 1));
}

int64_t sys_setregid(struct task *t, const struct syscall_args *a)
{
    return creds_setregid(t, arg_uint(a, 0), arg_uint(a, 1));
}

int64_t sys_setresuid(struct task *t, const struct syscall_args *a)
{
    return creds_setresuid(t, arg_uint(a, 0), arg_uint(a, 1), arg_uint(a, 2));
}

int64_t sys_setresgid(struct task *t, const struct syscall_args *a)
{
    return creds_setresgid(t, arg_uint(a, 0), arg_uint(a, 1), arg_uint(a, 2));
}

int64_t sys_setfsuid(struct task *t, const struct syscall_args *a)
{
    return creds_setfsuid(t, arg_uint(a, 0));
}

int64_t sys_setfsgid(struct task *t, const struct syscall_args *a)
{
    return creds_setfsgid(t, arg_uint(a, 0));
}

int64_t sys_getgroups(struct task *t, const struct syscall_args *a)
{
    const struct cred *c = t->cred;
    int size = arg_int(a, 0);

    if (size < 0)
        return -EINVAL;
    if (size == 0)
        return (int64_t)c->nr_groups;
    if ((size_t)size < c->nr_groups)
        return -EINVAL;
    if (c->nr_groups && copy_out(t, arg_addr(a, 1), c->groups, c->nr_groups * sizeof(gid_t)))
        return -EFAULT;
    return (int64_t)c->nr_groups;
}

int64_t sys_setgroups(struct task *t, const struct syscall_args *a)
{
    size_t n = arg_uint(a, 0);
    struct cred *c;
    gid_t *groups;
    int r;

    if (!cred_has_cap(t->cred, CAP_SETGID))
        return -EPERM;
    if (n > MAX_GROUPS)
        return -EINVAL;
    groups = malloc((n + 1) * sizeof(*groups));
    if (!groups)
        return -ENOMEM;
    r = copy_in(t, groups, arg_addr(a, 1), n * sizeof(*groups));
    for (size_t i = 0; !r && i < n; i++)
        if (groups[i] == (gid_t)-1)
            r = -EINVAL;
    c = r ? NULL : cred_dup(t->cred);
    if (!r && !c)
        r = -ENOMEM;
    if (!r)
        r = cred_set_groups(c, groups, n);
    free(groups);
    if (r) {
        if (c)
            cred_put(c);
        return r;
    }
    task_commit_cred(t, c);
    return 0;
}

/* How many 32-bit words of each set a header version means; 0 for unknown versions. */
static unsigned int cap_words(uint32_t version)
{
    switch (version) {
    case _LINUX_CAPABILITY_VERSION_1:
        return 1;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
        return 2;
    default:
        return 0;
    }
}

/* Reads the header; an unknown version is answered with the current one in place. */
static int get_cap_header(struct task *t, guest_addr at, struct __user_cap_header_struct *hdr, unsigned int *words)
{
    const uint32_t current = _LINUX_CAPABILITY_VERSION_3;

    if (copy_in(t, hdr, at, sizeof(*hdr)))
        return -EFAULT;
    *words = cap_words(hdr->version);
    if (*words == 0)
        return copy_out(t, at, &current, sizeof(current)) ? -EFAULT : -EINVAL;
    return 0;
}

int64_t sys_capget(struct task *t, const struct syscall_args *a)
{
    struct __user_cap_header_struct hdr;
    struct __user_cap_data_struct data[2];
    struct task *target;
    struct cred *c;
    unsigned int words;
    int r = get_cap_header(t, arg_addr(a, 0), &hdr, &words);

    /* With no data pointer, asking with a bad version is how programs learn the right one. */
    if (r == -EINVAL && guest_is_null(arg_addr(a, 1)))
        return 0;
    if (r)
        return r;
    if (hdr.pid < 0)
        return -EINVAL;
    if (hdr.pid == 0 || hdr.pid == t->tid) {
        c = cred_get(t->cred);
    } else {
        target = task_find(t->k, hdr.pid);
        if (!target)
            return -ESRCH;
        c = task_get_cred(target);
        task_put(target);
        if (!c)
            return -ESRCH;
    }
    for (unsigned int i = 0; i < 2; i++) {
        data[i].effective = (uint32_t)(c->cap_effective >> (32 * i));
        data[i].permitted = (uint32_t)(c->cap_permitted >> (32 * i));
        data[i].inheritable = (uint32_t)(c->cap_inheritable >> (32 * i));
    }
    cred_put(c);
    if (guest_is_null(arg_addr(a, 1)))
        return 0;
    return copy_out(t, arg_addr(a, 1), data, words * sizeof(data[0]));
}

int64_t sys_capset(struct task *t, const struct syscall_args *a)
{
    struct __user_cap_header_struct hdr;
    struct __user_cap_data_struct data[2] = {0};
    unsigned int words;
    int r = get_cap_header(t, arg_addr(a, 0), &hdr, &words);

    if (r)
        return r;
    if (hdr.pid != 0 && hdr.pid != t->tid)
        return -EPERM;
    if (copy_in(t, data, arg_addr(a, 1), words * sizeof(data[0])))
        return -EFAULT;
    return creds_capset(t, data[0].effective | (uint64_t)data[1].effective << 32,
                        data[0].permitted | (uint64_t)data[1].permitted << 32,
                        data[0].inheritable | (uint64_t)data[1].inheritable << 32);
}
