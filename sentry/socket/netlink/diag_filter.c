/*
 * The filter language of inet_diag: instructions of a code, how far to go if it holds and how far if not, and what it compares
 * with. All jumps go forward, and a socket is wanted when the end is reached exactly. A condition that does not hold jumps
 * behind the end.
 */
#include "sentry/socket/netlink/diag.h"

#include "sentry/socket/inet_loopback/inet.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <string.h>

#define OP sizeof(struct inet_diag_bc_op)

static struct inet_diag_bc_op op_at(const char *code)
{
    struct inet_diag_bc_op op;

    memcpy(&op, code, sizeof(op));
    return op;
}

/* The least that an instruction takes with what it compares with; 0: no such instruction, or cut off. */
static size_t op_len(const char *code, size_t len)
{
    struct inet_diag_hostcond c;

    switch (op_at(code).code) {
    case INET_DIAG_BC_NOP:
    case INET_DIAG_BC_JMP:
    case INET_DIAG_BC_AUTO:
        return OP;
    case INET_DIAG_BC_S_GE:
    case INET_DIAG_BC_S_LE:
    case INET_DIAG_BC_S_EQ:
    case INET_DIAG_BC_D_GE:
    case INET_DIAG_BC_D_LE:
    case INET_DIAG_BC_D_EQ:
        return 2 * OP;
    case INET_DIAG_BC_DEV_COND:
        return OP + sizeof(uint32_t);
    case INET_DIAG_BC_MARK_COND:
        return OP + sizeof(struct inet_diag_markcond);
    case INET_DIAG_BC_CGROUP_COND:
        return OP + sizeof(uint64_t);
    case INET_DIAG_BC_S_COND:
    case INET_DIAG_BC_D_COND:
        if (len < OP + sizeof(c))
            return 0;
        memcpy(&c, code + OP, sizeof(c));
        if (c.family != AF_UNSPEC && c.family != AF_INET && c.family != AF_INET6)
            return 0;
        if (c.prefix_len > (c.family == AF_INET ? 32 : c.family == AF_INET6 ? 128 : 0))
            return 0;
        return OP + sizeof(c) + (c.family == AF_INET ? 4 : c.family == AF_INET6 ? 16 : 0);
    default:
        return 0;
    }
}

int diag_filter_check(const char *code, size_t len)
{
    if (!len)
        return -EINVAL;
    while (len > 0) {
        struct inet_diag_bc_op op;
        size_t need;

        if (len < OP)
            return -EINVAL;
        op = op_at(code);
        need = op_len(code, len);
        if (!need || need > len)
            return -EINVAL;
        if (op.code != INET_DIAG_BC_NOP && (op.no < OP || op.no > len + 4 || op.no & 3))
            return -EINVAL;
        if (op.yes < need || op.yes > len + 4 || op.yes & 3)
            return -EINVAL;
        if (op.yes > len)
            return -EINVAL;
        code += op.yes;
        len -= op.yes;
    }
    return 0;
}

static bool prefix_equal(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return bits % 8 == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8) == 0;
}

static bool host_matches(const char *code, const struct in6_addr *a, uint16_t port)
{
    struct inet_diag_hostcond c;
    uint8_t want[16] = {0};
    bool v4 = addr_is_v4(a);

    memcpy(&c, code, sizeof(c));
    if (c.port != -1 && c.port != port)
        return false;
    if (c.family == AF_UNSPEC || c.prefix_len == 0)
        return true;
    memcpy(want, code + sizeof(c), c.family == AF_INET ? 4 : 16);
    if (c.family == AF_INET6)
        return prefix_equal(a->s6_addr, want, c.prefix_len);
    return v4 && prefix_equal(a->s6_addr + 12, want, c.prefix_len);
}

static uint32_t word_at(const char *code, size_t n)
{
    uint32_t v;

    memcpy(&v, code + OP + 4 * n, sizeof(v));
    return v;
}

static bool holds(const char *code, const struct tcp_entry *e, uint32_t mark)
{
    uint16_t sport = ntohs(e->lport), dport = ntohs(e->rport);

    switch (op_at(code).code) {
    case INET_DIAG_BC_JMP:
        return false;
    case INET_DIAG_BC_S_GE:
        return sport >= op_at(code + OP).no;
    case INET_DIAG_BC_S_LE:
        return sport <= op_at(code + OP).no;
    case INET_DIAG_BC_S_EQ:
        return sport == op_at(code + OP).no;
    case INET_DIAG_BC_D_GE:
        return dport >= op_at(code + OP).no;
    case INET_DIAG_BC_D_LE:
        return dport <= op_at(code + OP).no;
    case INET_DIAG_BC_D_EQ:
        return dport == op_at(code + OP).no;
    case INET_DIAG_BC_AUTO: {
        const struct inet_sock *i = e->owner;

        return i && !i->port_chosen;
    }
    case INET_DIAG_BC_S_COND:
        return host_matches(code + OP, &e->laddr, sport);
    case INET_DIAG_BC_D_COND:
        return host_matches(code + OP, &e->raddr, dport);
    case INET_DIAG_BC_DEV_COND:
        return (uint32_t)e->ifindex == word_at(code, 0);
    case INET_DIAG_BC_MARK_COND:
        return (mark & word_at(code, 1)) == word_at(code, 0);
    case INET_DIAG_BC_CGROUP_COND:
        return false; /* sockets are in no cgroup of version 2 */
    default:
        return true;
    }
}

bool diag_filter_run(const char *code, size_t len, const struct tcp_entry *e, uint32_t mark)
{
    while (len >= OP) {
        struct inet_diag_bc_op op = op_at(code);
        size_t need = op_len(code, len), step;

        if (!need || need > len)
            return false;
        step = holds(code, e, mark) ? op.yes : op.no;
        if (step < OP || step > len)
            return false;
        code += step;
        len -= step;
    }
    return len == 0;
}
