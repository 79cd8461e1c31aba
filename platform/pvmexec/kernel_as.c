/* Address spaces of the kernel engine: a descriptor each, and batches of changes. */
#include "platform/pvmexec/kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BATCH 64

/* No site is rewritten, so neither text nor family matters. */
int kernel_as_create(struct platform *p, struct platform_as *fork_of, const struct platform_text_ops *ops, void *owner,
                     struct platform_as **out)
{
    struct kernel_as *as = calloc(1, sizeof(*as));

    if (!as)
        return -ENOMEM;
    as->fd = (int)syscall(__NR_pvm_create, 0);
    if (as->fd < 0) {
        int r = -errno;

        free(as);
        return r;
    }
    as->base.p = p;
    *out = &as->base;
    return 0;
}

/* With nothing running there, closing the last descriptor unmaps everything before it returns. */
void kernel_as_destroy(struct platform_as *base)
{
    struct kernel_as *as = container_of(base, struct kernel_as, base);

    close(as->fd);
    free(as);
}

static void to_pvm_op(const struct platform_op *op, struct pvm_op *out)
{
    *out = (struct pvm_op){.addr = op->addr, .len = op->len};
    switch (op->kind) {
    case PLATFORM_MAP:
        out->op = PVM_MAP;
        out->flags = PVM_MAP_SHARED | (op->populate ? PVM_MAP_POPULATE : 0);
        out->prot = (uint32_t)op->prot;
        out->fd = op->fd;
        out->offset = op->offset;
        break;
    case PLATFORM_UNMAP:
        out->op = PVM_UNMAP;
        break;
    case PLATFORM_PROTECT:
        out->op = PVM_PROTECT;
        out->prot = (uint32_t)op->prot;
        break;
    }
}

int kernel_as_apply(struct platform_as *base, const struct platform_op *ops, size_t n)
{
    struct kernel_as *as = container_of(base, struct kernel_as, base);
    struct pvm_op batch[BATCH];

    while (n > 0) {
        size_t len = n < BATCH ? n : BATCH, done = 0;

        for (size_t i = 0; i < len; i++)
            to_pvm_op(&ops[i], &batch[i]);
        /* A short count hides the error of the one that failed; it comes out when that is the first. */
        while (done < len) {
            long r = syscall(__NR_pvm_change, as->fd, batch + done, (unsigned int)(len - done), 0);

            if (r < 0)
                return -errno;
            if (r == 0)
                return -EIO;
            done += (size_t)r;
        }
        ops += len;
        n -= len;
    }
    return 0;
}
