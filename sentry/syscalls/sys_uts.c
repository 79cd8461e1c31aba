/* The system's names: uname, sethostname, setdomainname. */
#include "sentry/syscalls/syscalls.h"

#include <linux/capability.h>
#include <linux/personality.h>
#include <string.h>
#include <sys/utsname.h>

/* personality(UNAME26) makes programs of the 2.6 era see a version that they can parse. */
#define KERNEL_RELEASE_UNAME26 "2.6.72"
#define HOST_NAME_LEN          64

int64_t sys_uname(struct task *t, const struct syscall_args *a)
{
    struct utsname u = {.sysname = "Linux", .version = KERNEL_VERSION, .machine = "x86_64"};
    struct uts_namespace *uts = &t->k->uts;

    strcpy(u.release, t->personality & UNAME26 ? KERNEL_RELEASE_UNAME26 : KERNEL_RELEASE);
    mutex_lock(&uts->lock);
    memcpy(u.nodename, uts->nodename, sizeof(uts->nodename));
    memcpy(u.domainname, uts->domainname, sizeof(uts->domainname));
    mutex_unlock(&uts->lock);
    return copy_out(t, arg_addr(a, 0), &u, sizeof(u));
}

static int64_t set_name(struct task *t, const struct syscall_args *a, char field[HOST_NAME_LEN + 1])
{
    char name[HOST_NAME_LEN + 1] = {0};
    int len = arg_int(a, 1);

    if (!cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (len < 0 || len > HOST_NAME_LEN)
        return -EINVAL;
    if (copy_in(t, name, arg_addr(a, 0), (size_t)len))
        return -EFAULT;
    mutex_lock(&t->k->uts.lock);
    memcpy(field, name, sizeof(name));
    mutex_unlock(&t->k->uts.lock);
    return 0;
}

int64_t sys_sethostname(struct task *t, const struct syscall_args *a)
{
    return set_name(t, a, t->k->uts.nodename);
}

int64_t sys_setdomainname(struct task *t, const struct syscall_args *a)
{
    return set_name(t, a, t->k->uts.domainname);
}
