/* Address spaces of the ptrace backend: stub processes, their tracees, and changes of their memory. */
#include "platform/ptrace/ptrace.h"

#include "platform/ptrace/arch/image.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct zombie {
    struct list_head node;
    pid_t pid;
};

void ptrace_reap_zombies(struct ptrace_platform *p, bool wait)
{
    struct zombie *z, *next;

    mutex_lock(&p->lock);
    list_for_each_entry_safe(z, next, &p->zombies, node) {
        if (waitpid(z->pid, NULL, __WALL | (wait ? 0 : WNOHANG)) == 0)
            continue;
        list_del_init(&z->node);
        free(z);
    }
    mutex_unlock(&p->lock);
}

static void kill_stub(struct ptrace_platform *p, pid_t pid)
{
    struct zombie *z;

    kill(pid, SIGKILL);
    /*
     * The leader can be reaped only after the threads, and those only by their tracers: contexts of other host threads
     * that do not know yet. So it is not waited for here.
     */
    z = malloc(sizeof(*z));
    if (!z)
        return; /* stays a zombie until the sentry exits */
    z->pid = pid;
    list_init(&z->node);
    mutex_lock(&p->lock);
    list_add_tail(&z->node, &p->zombies);
    mutex_unlock(&p->lock);
    ptrace_reap_zombies(p, false);
}

/* A copy of the zygote, asleep and not traced by anyone. */
static pid_t fork_zygote(struct ptrace_platform *p)
{
    const uint64_t die_with_sentry[6] = {PR_SET_PDEATHSIG, SIGKILL};
    int64_t result;
    pid_t pid;
    int r;

    mutex_lock(&p->lock);
    pid = ptrace_leader_attach(p->zygote);
    if (pid == 0) {
        pid = ptrace_leader_clone(p->zygote, CLONE_FILES | CLONE_PARENT);
        ptrace_leader_detach(p->zygote);
    }
    mutex_unlock(&p->lock);
    if (pid < 0)
        return pid;
    r = ptrace_inject(pid, SYS_prctl, die_with_sentry, &result);
    if (r || result) {
        kill_stub(p, pid);
        return -ESRCH;
    }
    ptrace_leader_detach(pid);
    return pid;
}

int ptrace_as_create(struct platform *base, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                     struct platform_as **out)
{
    struct ptrace_platform *p = container_of(base, struct ptrace_platform, base);
    struct ptrace_as *as = calloc(1, sizeof(*as));

    if (!as)
        return -ENOMEM;
    ptrace_reap_zombies(p, false);
    as->pid = fork_zygote(p);
    if (as->pid < 0) {
        int r = as->pid;
        free(as);
        return r;
    }
    as->base.p = base;
    ref_init(&as->refs);
    mutex_init(&as->lock);
    *out = &as->base;
    return 0;
}

void ptrace_as_put(struct ptrace_as *as)
{
    if (!ref_put(&as->refs))
        return;
    mutex_fini(&as->lock);
    free(as);
}

void ptrace_as_destroy(struct platform_as *base)
{
    struct ptrace_as *as = container_of(base, struct ptrace_as, base);

    kill_stub(container_of(base->p, struct ptrace_platform, base), as->pid);
    ptrace_as_put(as);
}

pid_t ptrace_as_spawn(struct ptrace_as *as)
{
    pid_t tid;

    mutex_lock(&as->lock);
    tid = ptrace_leader_attach(as->pid);
    if (tid == 0) {
        tid = ptrace_leader_clone(as->pid, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM);
        ptrace_leader_detach(as->pid);
    }
    mutex_unlock(&as->lock);
    return tid;
}

static int apply_op(pid_t tid, const struct platform_op *op)
{
    uint64_t args[6] = {op->addr, op->len};
    int64_t result;
    long nr;
    int r;

    switch (op->kind) {
    case PLATFORM_MAP:
        nr = SYS_mmap;
        args[2] = (uint64_t)op->prot;
        args[3] = MAP_SHARED | MAP_FIXED | (op->populate ? MAP_POPULATE : 0);
        args[4] = (uint64_t)op->fd;
        args[5] = op->offset;
        break;
    case PLATFORM_UNMAP:
        nr = SYS_munmap;
        break;
    case PLATFORM_PROTECT:
        nr = SYS_mprotect;
        args[2] = (uint64_t)op->prot;
        break;
    default:
        return -EINVAL;
    }
    r = ptrace_inject(tid, nr, args, &result);
    if (r)
        return r;
    return result < 0 && result >= -4095 ? (int)result : 0;
}

int ptrace_as_apply(struct platform_as *base, const struct platform_op *ops, size_t n)
{
    struct ptrace_as *as = container_of(base, struct ptrace_as, base);
    pid_t tid;
    bool attached;
    int r = 0;

    mutex_lock(&as->lock);
    tid = ptrace_own_tracee(as);
    attached = tid == 0;
    if (attached) {
        tid = as->pid;
        r = ptrace_leader_attach(tid);
    }
    for (size_t i = 0; i < n && r == 0; i++)
        r = apply_op(tid, &ops[i]);
    if (attached)
        ptrace_leader_detach(as->pid);
    mutex_unlock(&as->lock);
    return r;
}
