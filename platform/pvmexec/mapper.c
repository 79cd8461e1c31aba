/*
 * Talking to a stub's mapper thread, by seccomp user notification.
 *
 * The mapper's request for work is a system call that its filter turns into a notification. Its arguments say how the last work
 * went, its return value will be how many operations the commands page holds now. So there is always exactly one notification
 * outstanding while the mapper is idle, and answering it starts the work.
 */
#include "platform/pvmexec/stub.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

/* Hears what the mapper says next: its report, and its request. */
static int listen_mapper(struct stub_as *as, struct seccomp_notif *notif) REQUIRES(as->lock)
{
    for (;;) {
        /* The kernel wants it zeroed. */
        memset(notif, 0, sizeof(*notif));
        if (ioctl(as->proc.listener, SECCOMP_IOCTL_NOTIF_RECV, notif) == 0)
            break;
        if (errno == EINTR)
            continue;
        if (errno == ENOENT) {
            /* Either the mapper was disturbed just now and asks again, or it is no more. */
            struct pollfd pfd = {.fd = as->proc.listener, .events = POLLIN};

            if (poll(&pfd, 1, 1000) > 0 && (pfd.revents & POLLIN) && !(pfd.revents & POLLHUP))
                continue;
        }
        return -ESRCH;
    }
    as->notif_id = notif->id;
    return 0;
}

int mapper_start(struct stub_as *as)
{
    struct seccomp_notif notif;
    uint64_t on = 1;

    /* SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6: the two sides stay on one CPU. Older kernels do without. */
    ioctl(as->proc.listener, SECCOMP_IOW(4, uint64_t), on);
    return listen_mapper(as, &notif);
}

int mapper_run(struct stub_as *as, const struct mapper_op *ops, size_t n, int64_t *last)
{
    struct stub_platform *p = container_of(as->base.p, struct stub_platform, base);
    unsigned char *commands = arena_ptr(&p->arena, as->proc.commands);
    struct seccomp_notif_resp resp = {.val = (int64_t)n};
    struct seccomp_notif notif;
    int r;

    if (atomic_load_explicit(&as->dead, memory_order_relaxed))
        return -ESRCH;
    for (size_t i = 0; i < n; i++)
        memcpy(commands + i * OP_SIZE, &ops[i], sizeof(ops[i]));
    for (;;) {
        resp.id = as->notif_id;
        if (ioctl(as->proc.listener, SECCOMP_IOCTL_NOTIF_SEND, &resp) == 0)
            break;
        /* A stop or the freezer made the mapper ask anew, with the same report. */
        if (errno != ENOENT && errno != EINTR)
            goto dead;
        r = listen_mapper(as, &notif);
        if (r)
            goto dead;
    }
    r = listen_mapper(as, &notif);
    if (r)
        goto dead;
    *last = (int64_t)notif.data.args[0];
    return (int)notif.data.args[1];
dead:
    stub_as_kill(as);
    return -ESRCH;
}
