/*
 * NUMA policies on a machine with one node: any policy that names nothing but node 0 is accepted and has no effect, and all
 * memory is on node 0. Policies are not remembered: get_mempolicy(2) always answers MPOL_DEFAULT.
 */
#include "sentry/mm/mm.h"
#include "sentry/syscalls/syscalls.h"

#include <linux/mempolicy.h>

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif
#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING (1 << 13)
#endif
#define MODE_FLAGS (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING)
#define MAX_NODE   (GUEST_PAGE_SIZE * 8)

/* Fetches a node mask: bit 0 to *node0; -EINVAL when it names nodes that do not exist. */
static int fetch_nodes(struct task *t, guest_addr mask, uint64_t maxnode, bool *node0)
{
    uint64_t word;

    *node0 = false;
    if (guest_is_null(mask) || maxnode <= 1)
        return 0;
    if (--maxnode > MAX_NODE)
        return -EINVAL;
    for (uint64_t bit = 0; bit < maxnode; bit += 64) {
        if (copy_in(t, &word, guest_add(mask, bit / 8), sizeof(word)))
            return -EFAULT;
        if (maxnode - bit < 64)
            word &= (1ULL << (maxnode - bit)) - 1;
        if (bit == 0) {
            *node0 = word & 1;
            word &= ~1ULL;
        }
        if (word)
            return -EINVAL;
    }
    return 0;
}

static int check_policy(struct task *t, int mode, guest_addr mask, uint64_t maxnode)
{
    int flags = mode & MODE_FLAGS;
    bool node0;
    int r;

    mode &= ~MODE_FLAGS;
    if (mode < 0 || mode > MPOL_PREFERRED_MANY)
        return -EINVAL;
    if ((flags & MPOL_F_STATIC_NODES) && (flags & MPOL_F_RELATIVE_NODES))
        return -EINVAL;
    r = fetch_nodes(t, mask, maxnode, &node0);
    if (r < 0)
        return r;
    switch (mode) {
    case MPOL_DEFAULT:
    case MPOL_LOCAL:
        return node0 || (mode == MPOL_LOCAL && flags) ? -EINVAL : 0;
    case MPOL_PREFERRED:
        return !node0 && flags ? -EINVAL : 0;
    default:
        return node0 ? 0 : -EINVAL;
    }
}

int64_t sys_set_mempolicy(struct task *t, const struct syscall_args *a)
{
    return check_policy(t, arg_int(a, 0), arg_addr(a, 1), a->v[2]);
}

int64_t sys_mbind(struct task *t, const struct syscall_args *a)
{
    uint64_t start = a->v[0], len = (a->v[1] + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK, flags = a->v[5];
    int r;

    if ((start & ~GUEST_PAGE_MASK) || (flags & ~(uint64_t)MPOL_MF_VALID))
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !cred_has_cap(t->cred, CAP_SYS_NICE))
        return -EPERM;
    if (start + len < start)
        return -EINVAL;
    r = check_policy(t, arg_int(a, 2), arg_addr(a, 3), a->v[4]);
    if (r < 0 || len == 0)
        return r;
    return mm_range_mapped(t->mm, start, len) ? 0 : -EFAULT;
}

int64_t sys_get_mempolicy(struct task *t, const struct syscall_args *a)
{
    guest_addr policy = arg_addr(a, 0), mask = arg_addr(a, 1);
    uint64_t maxnode = a->v[2], addr = a->v[3], flags = a->v[4], word = 0;
    int32_t mode = MPOL_DEFAULT;

    if (!guest_is_null(mask) && maxnode < 1)
        return -EINVAL;
    if (flags & ~(uint64_t)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED))
        return -EINVAL;
    if (flags & MPOL_F_MEMS_ALLOWED) {
        if (flags & (MPOL_F_NODE | MPOL_F_ADDR))
            return -EINVAL;
        word = 1;
    } else if (flags & MPOL_F_ADDR) {
        if (mm_page_state(t->mm, addr) == -EFAULT)
            return -EFAULT;
        if (flags & MPOL_F_NODE)
            mode = 0; /* the node that the page is on */
    } else if (addr || (flags & MPOL_F_NODE)) {
        return -EINVAL; /* the next node is told for interleaving only */
    }
    if (!guest_is_null(policy) && copy_out(t, policy, &mode, sizeof(mode)))
        return -EFAULT;
    if (guest_is_null(mask))
        return 0;
    for (uint64_t bit = 0; bit + 1 < maxnode && bit < MAX_NODE; bit += 64) {
        size_t n = (maxnode - bit + 6) / 8;
        if (copy_out(t, guest_add(mask, bit / 8), &word, n < sizeof(word) ? n : sizeof(word)))
            return -EFAULT;
        word = 0;
    }
    return 0;
}

int64_t sys_set_mempolicy_home_node(struct task *t, const struct syscall_args *a)
{
    uint64_t start = a->v[0], len = (a->v[1] + GUEST_PAGE_SIZE - 1) & GUEST_PAGE_MASK;

    if ((start & ~GUEST_PAGE_MASK) || a->v[3] || a->v[2] != 0 || start + len < start)
        return -EINVAL;
    if (len == 0)
        return 0;
    /* Only ranges with a bind or preferred-many policy have a home, and none has one here. */
    return mm_range_mapped(t->mm, start, len) ? -ENOENT : -EINVAL;
}
