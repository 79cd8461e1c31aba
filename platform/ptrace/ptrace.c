/* Starting and ending the ptrace backend. */
#include "platform/ptrace/ptrace.h"

#include "platform/ptrace/arch/image.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Waits until the zygote has left the sentry's memory and sleeps in its loop. */
static int await_zygote(struct ptrace_platform *p)
{
    uint64_t idle = ptrace_code_addr(p, ptrace_image_idle), end = ptrace_code_addr(p, ptrace_image_call);
    struct user_regs_struct regs;
    int r;

    for (int tries = 0; tries < 20000; tries++) {
        r = ptrace_leader_attach(p->zygote);
        if (r)
            return r;
        if (ptrace(PTRACE_GETREGS, p->zygote, NULL, &regs) < 0)
            return -errno;
        if (regs.rip >= idle && regs.rip < end) {
            ptrace_leader_detach(p->zygote);
            return 0;
        }
        ptrace(PTRACE_DETACH, p->zygote, NULL, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    return -ETIMEDOUT;
}

static void kill_zygote(struct ptrace_platform *p)
{
    kill(p->zygote, SIGKILL);
    while (waitpid(p->zygote, NULL, __WALL) < 0 && errno == EINTR)
        ;
}

void ptrace_platform_destroy(struct platform *base)
{
    struct ptrace_platform *p = container_of(base, struct ptrace_platform, base);

    ptrace_reap_zombies(p, true);
    kill_zygote(p);
    pristine_image_destroy(&p->image);
    mutex_fini(&p->lock);
    free(p);
}

int ptrace_platform_create(struct platform **out, char *why, size_t why_len)
{
    static const uint64_t no_args[4];
    struct ptrace_platform *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    p->base.vt = &ptrace_vtable;
    p->base.name = "ptrace";
    p->base.limits = (struct platform_limits){.min = PLATFORM_GUEST_MIN, .max = PLATFORM_STUB_BASE};
    mutex_init(&p->lock);
    list_init(&p->zombies);
    r = fp_layout_probe(&p->base.fp);
    if (r) {
        snprintf(why, why_len, "the CPU lacks XSAVE");
        goto fail;
    }
    r = pristine_image_create(ptrace_image_start, (size_t)(ptrace_image_end - ptrace_image_start),
                              (size_t)(ptrace_image_entry - ptrace_image_start), 0, &p->image);
    if (r) {
        snprintf(why, why_len, "cannot make the stub's code image: %s", strerror(-r));
        goto fail;
    }
    p->zygote = pristine_spawn(&p->image, no_args);
    if (p->zygote < 0) {
        r = p->zygote;
        snprintf(why, why_len, "cannot fork: %s", strerror(-r));
        goto fail_image;
    }
    r = await_zygote(p);
    if (r) {
        snprintf(why, why_len, "the host does not let the sandbox trace its own child (ptrace: %s)", strerror(-r));
        kill_zygote(p);
        goto fail_image;
    }
    *out = &p->base;
    return 0;

fail_image:
    pristine_image_destroy(&p->image);
fail:
    mutex_fini(&p->lock);
    free(p);
    return r;
}
