/*
 * Unmapping by the guest's own thread, on its way back to guest code.
 *
 * A small munmap(2) costs the host little and the way through the mapper much. Any stub thread may unmap what it likes, since
 * it can harm nobody but its own process; but whether it did, nobody knows. So the sentry keeps what was mapped there until the
 * mapper, which can be believed, has unmapped the range as well or mapped something else over it. That happens in its next
 * go, at no extra cost when a program maps and unmaps the same addresses again and again.
 *
 * Only for address spaces with one context: with more, another one could have the range mapped anew before the first has got
 * round to unmapping it.
 */
#include "platform/pvmexec/stub.h"

#include <string.h>
#include <sys/syscall.h>

void stub_context_put_unmap(struct stub_context *ctx, struct stub_range range)
{
    ctx->unmap = range;
    memcpy(ctx->thread->slot + SLOT_UNMAP_ADDR, &range, sizeof(range));
}

bool stub_as_unmap_later(struct platform_as *base, uint64_t addr, uint64_t len)
{
    struct stub_as *as = container_of(base, struct stub_as, base);
    struct stub_context *own = stub_own_context(as);
    bool ok;

    if (!own || own->unmap.len || addr >= STUB_UNMAP_END || len >= STUB_CODE - STUB_UNMAP_END)
        return false;
    mutex_lock(&as->lock);
    ok = as->nr_owned == 1 && as->nr_later < STUB_LATER;
    if (ok)
        as->later[as->nr_later++] = (struct stub_range){addr, len};
    mutex_unlock(&as->lock);
    if (ok)
        stub_context_put_unmap(own, (struct stub_range){addr, len});
    return ok;
}

static bool covers(const struct platform_op *op, const struct stub_range *range)
{
    return op->kind != PLATFORM_PROTECT && op->addr <= range->addr && range->addr + range->len <= op->addr + op->len;
}

size_t stub_later_begin(struct stub_as *as, const struct platform_op *ops, size_t n, struct mapper_op *calls, size_t *needed)
{
    size_t k = 0;

    for (unsigned int j = 0; j < as->nr_later; j++) {
        size_t i = 0;

        while (i < n && !covers(&ops[i], &as->later[j]))
            i++;
        if (i < n) {
            needed[j] = i + 1;
            continue;
        }
        needed[j] = 0;
        calls[k++] = (struct mapper_op){SYS_munmap, {as->later[j].addr, as->later[j].len}};
    }
    return k;
}

void stub_later_end(struct stub_as *as, size_t done, const size_t *needed)
{
    unsigned int left = 0;

    for (unsigned int j = 0; j < as->nr_later; j++)
        if (done < needed[j])
            as->later[left++] = as->later[j];
    as->nr_later = left;
}
