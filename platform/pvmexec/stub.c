/* Starting and ending the stub engine. */
#include "platform/pvmexec/stub.h"

#include "lib/log.h"
#include "platform/pvmexec/arch/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF          0
#endif
#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE 2
#endif

/* What has to be there before anything is tried; writes the reason if it is not. */
static int probe_host(const struct fp_layout *fp, char *why, size_t why_len)
{
    if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE)) {
        snprintf(why, why_len, "the CPU or the host kernel lacks FSGSBASE");
        return -ENOTSUP;
    }
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) < 0) {
        int r = -errno;
        snprintf(why, why_len, "the host does not allow Syscall User Dispatch (prctl: %s)", strerror(-r));
        return r;
    }
    /* A signal frame is the state, a header of less than 1 KiB, and up to 64 bytes for alignment. */
    if (fp->size + 1024 > SLOT_SIZE - SLOT_STACK) {
        snprintf(why, why_len, "the CPU's vector state of %zu bytes does not fit a stub's signal stack", fp->size);
        return -E2BIG;
    }
    return 0;
}

void stub_platform_destroy(struct stub_platform *p)
{
    stub_reap_zombies(p, true);
    stub_end_spare(p);
    zygote_stop(p);
    arena_fini(&p->arena);
    pristine_image_destroy(&p->image);
    mutex_fini(&p->spare_lock);
    free(p);
}

int pvmexec_stub_create(struct platform **out, char *why, size_t why_len)
{
    struct stub_platform *p = calloc(1, sizeof(*p));
    struct platform_as *as;
    int64_t globals;
    int r;

    if (!p)
        return -ENOMEM;
    p->base.vt = &stub_vtable;
    p->base.name = "pvmexec:stub";
    p->base.limits = (struct platform_limits){
        .min = PLATFORM_GUEST_MIN, .max = PLATFORM_STUB_BASE, .hole_start = STUB_TABLE, .hole_end = STUB_TABLE_END};
    mutex_init(&p->spare_lock);
    list_init(&p->zombies);
    r = fp_layout_probe(&p->base.fp);
    if (r)
        snprintf(why, why_len, "the CPU lacks XSAVE");
    else
        r = probe_host(&p->base.fp, why, why_len);
    if (r)
        goto fail;
    r = pristine_image_create(stub_image_start, (size_t)(stub_image_end - stub_image_start),
                              (size_t)(stub_image_entry - stub_image_start), ARENA_FILE_SIZE, &p->image);
    if (r) {
        snprintf(why, why_len, "cannot make the stub's code image: %s", strerror(-r));
        goto fail;
    }
    r = arena_init(&p->arena, p->image.fd, p->image.len);
    if (r) {
        snprintf(why, why_len, "cannot map the stubs' memory file: %s", strerror(-r));
        goto fail_image;
    }
    globals = arena_alloc(&p->arena, ARENA_PAGE);
    stub_write_filter(arena_ptr(&p->arena, (uint64_t)globals));
    r = zygote_start(p, (uint64_t)globals);
    if (r) {
        snprintf(why, why_len, "cannot fork: %s", strerror(-r));
        goto fail_arena;
    }
    place_init(&p->place, (atomic_uint *)((unsigned char *)arena_ptr(&p->arena, (uint64_t)globals) + GLOBAL_CROWDED),
               p->zygote.pid);
    /* The first stub shows whether all that is needed works. */
    r = stub_as_create(&p->base, NULL, NULL, NULL, &as);
    if (r == 0) {
        const struct platform_op op = {.kind = PLATFORM_UNMAP, .addr = PLATFORM_GUEST_MIN, .len = 4096};

        r = stub_as_apply(as, &op, 1);
        stub_as_destroy(as);
    }
    if (r) {
        snprintf(why, why_len, "cannot start a stub process: %s", strerror(-r));
        zygote_stop(p);
        goto fail_arena;
    }
    log_debug("pvmexec:stub: %d CPUs, spinning for %u pauses", atomic_load(&p->place.cpus), p->place.spin_loops);
    *out = &p->base;
    return 0;

fail_arena:
    arena_fini(&p->arena);
fail_image:
    pristine_image_destroy(&p->image);
fail:
    mutex_fini(&p->spare_lock);
    free(p);
    return r;
}
