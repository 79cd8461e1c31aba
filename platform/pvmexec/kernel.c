/* Starting the kernel engine. No released kernel has its calls and their numbers are not assigned, so the host is asked by
 * calling. */
#include "platform/pvmexec/kernel.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#define PROBE_IP 0x10000ULL

/* A signal has to have a handler to end a run. All that it has to do is done by being delivered. */
static void on_kick(int signo)
{
}

/* Runs in an empty address space, where the first instruction cannot be fetched. */
static int probe(const struct fp_layout *fp, unsigned char *area, char *why, size_t why_len)
{
    struct pvm_context pvm = {.ip = PROBE_IP, .xsave = (uintptr_t)area, .xsave_size = (uint32_t)fp->host_size};
    int fd = (int)syscall(__NR_pvm_create, 0), r = fd < 0 ? -errno : 0;

    if (r == -ENOSYS) {
        snprintf(why, why_len, "this host kernel has no process_vm_exec system call");
        return r;
    }
    if (r) {
        snprintf(why, why_len, "the host does not let the sandbox make an address space (pvm_create: %s)", strerror(-r));
        return r;
    }
    fp_init_state(fp, area);
    do
        r = kernel_exec(fd, &pvm);
    while (r == 0 && pvm.reason == PVM_EXIT_INTERRUPTED); /* the kernel had something else to do */
    close(fd);
    if (r) {
        snprintf(why, why_len, "the host does not let the sandbox run in another address space (process_vm_exec: %s)",
                 strerror(-r));
    } else if (pvm.reason != PVM_EXIT_FAULT || pvm.addr != PROBE_IP || pvm.ip != PROBE_IP) {
        snprintf(why, why_len, "process_vm_exec does not do what it should (reason %u, ip %#llx)", pvm.reason,
                 (unsigned long long)pvm.ip);
        r = -ENOTSUP;
    }
    return r;
}

void kernel_platform_destroy(struct platform *base)
{
    struct kernel_platform *p = container_of(base, struct kernel_platform, base);

    signal(PLATFORM_KICK_SIGNAL, SIG_DFL);
    free(p);
}

int pvmexec_kernel_create(struct platform **out, char *why, size_t why_len)
{
    struct sigaction sa = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
    struct kernel_platform *p = calloc(1, sizeof(*p));
    unsigned char *area = NULL;
    int r;

    if (!p)
        return -ENOMEM;
    p->base.vt = &kernel_vtable;
    p->base.name = "pvmexec:kernel";
    p->base.limits = (struct platform_limits){.min = PLATFORM_GUEST_MIN, .max = PLATFORM_TASK_SIZE};
    p->base.on_caller = true;
    p->pid = getpid();
    r = fp_layout_probe(&p->base.fp);
    if (r) {
        snprintf(why, why_len, "the CPU lacks XSAVE");
        goto fail;
    }
    area = aligned_alloc(64, (p->base.fp.host_size + 63) & ~63UL);
    if (!area) {
        r = -ENOMEM;
        goto fail;
    }
    r = probe(&p->base.fp, area, why, why_len);
    free(area);
    if (r)
        goto fail;
    sigaction(PLATFORM_KICK_SIGNAL, &sa, NULL);
    p->start_tsc = __rdtsc();
    p->start_ns = kernel_now_ns();
    *out = &p->base;
    return 0;

fail:
    free(p);
    return r;
}
