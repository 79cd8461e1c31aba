/* The expressions of nf_tables rules: what iptables-nft makes, and what nft makes of plain rules. A rule with another is
 * refused. */
#include "netstack/nft.h"

#include "netstack/icmp.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <netinet/if_ether.h>
#include <stdlib.h>

/* A register's first byte in nft_run.reg, if `len` bytes fit; 0: it is none (the verdict cannot be meant where this is asked).
 */
static uint8_t parse_reg(const struct nlattr *a, uint32_t len)
{
    uint32_t r, at;

    if (!nft_u32(a, &r) || len == 0 || len > 64)
        return 0;
    if (r >= NFT_REG_1 && r <= NFT_REG_4)
        at = r * 16;
    else if (r >= NFT_REG32_00 && r <= NFT_REG32_15)
        at = 16 + (r - NFT_REG32_00) * 4;
    else
        return 0;
    return at + len <= 80 ? at : 0;
}

/* A value (NFTA_DATA_VALUE) of exactly `len` bytes, or of any length up to `room` if len is 0. Its length, or 0. */
static uint32_t parse_value(const struct nlattr *a, uint8_t *out, uint32_t len, uint32_t room)
{
    struct nft_attrs d;
    size_t n;

    if (!nft_nested(a, &d) || !d.a[NFTA_DATA_VALUE])
        return 0;
    n = nft_len(d.a[NFTA_DATA_VALUE]);
    if (n == 0 || n > room || (len && n != len))
        return 0;
    memcpy(out, nft_data(d.a[NFTA_DATA_VALUE]), n);
    return n;
}

/* ---- meta ---- */

static uint32_t meta_len(uint32_t key)
{
    switch (key) {
    case NFT_META_PROTOCOL:
    case NFT_META_IIFTYPE:
    case NFT_META_OIFTYPE:
        return 2;
    case NFT_META_NFPROTO:
    case NFT_META_L4PROTO:
    case NFT_META_PKTTYPE:
        return 1;
    case NFT_META_IIFNAME:
    case NFT_META_OIFNAME:
        return IFNAMSIZ;
    case NFT_META_LEN:
    case NFT_META_PRIORITY:
    case NFT_META_MARK:
    case NFT_META_IIF:
    case NFT_META_OIF:
    case NFT_META_PRANDOM:
        return 4;
    default:
        return 0;
    }
}

static int meta_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    uint32_t len;

    if (!nft_u32(a->a[NFTA_META_KEY], &e->u.meta.key))
        return -EINVAL;
    len = meta_len(e->u.meta.key);
    if (!len)
        return -EOPNOTSUPP;
    e->u.meta.set = a->a[NFTA_META_SREG];
    if (e->u.meta.set && e->u.meta.key != NFT_META_MARK && e->u.meta.key != NFT_META_PRIORITY)
        return -EOPNOTSUPP;
    e->u.meta.reg = parse_reg(a->a[e->u.meta.set ? NFTA_META_SREG : NFTA_META_DREG], len);
    return e->u.meta.reg ? 0 : -EINVAL;
}

static void meta_eval(struct nft_expr *e, struct nft_run *r)
{
    struct nf_ctx *c = r->c;
    uint8_t *reg = r->reg + e->u.meta.reg;
    const struct nic *nic =
        e->u.meta.key == NFT_META_IIFNAME || e->u.meta.key == NFT_META_IIF || e->u.meta.key == NFT_META_IIFTYPE ? c->in
                                                                                                                : c->out;
    uint32_t v;

    if (e->u.meta.set) {
        memcpy(e->u.meta.key == NFT_META_MARK ? &c->p->mark : &c->p->priority, reg, 4);
        return;
    }
    memset(reg, 0, 4);
    switch (e->u.meta.key) {
    case NFT_META_LEN:
        v = c->p->len;
        break;
    case NFT_META_PROTOCOL:
        memcpy(reg, &(be16){htons(c->v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6)}, 2);
        return;
    case NFT_META_PRIORITY:
        v = c->p->priority;
        break;
    case NFT_META_MARK:
        v = c->p->mark;
        break;
    case NFT_META_NFPROTO:
        reg[0] = c->v4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
        return;
    case NFT_META_L4PROTO:
        reg[0] = c->proto;
        return;
    case NFT_META_PKTTYPE:
        reg[0] = c->p->type == PACKET_LOOPBACK || (c->in && (c->in->features & NIC_LOOPBACK)) ? PACKET_LOOPBACK : c->p->type;
        return;
    case NFT_META_PRANDOM:
        v = netstack_random32(c->s);
        break;
    case NFT_META_IIFNAME:
    case NFT_META_OIFNAME:
        memset(reg, 0, IFNAMSIZ);
        if (nic)
            memcpy(reg, nic->name, IFNAMSIZ);
        return;
    case NFT_META_IIFTYPE:
    case NFT_META_OIFTYPE:
        if (nic)
            memcpy(reg, &nic->arp_type, 2);
        else
            r->verdict = NFT_BREAK;
        return;
    default:
        v = nic ? nic->index : 0;
    }
    memcpy(reg, &v, 4);
}

/* ---- ct ---- */

static int ct_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    uint32_t len;

    if (!nft_u32(a->a[NFTA_CT_KEY], &e->u.ct.key))
        return -EINVAL;
    switch (e->u.ct.key) {
    case NFT_CT_STATE:
    case NFT_CT_MARK:
    case NFT_CT_STATUS:
        len = 4;
        break;
    case NFT_CT_DIRECTION:
        len = 1;
        break;
    default:
        return -EOPNOTSUPP;
    }
    e->u.ct.set = a->a[NFTA_CT_SREG];
    if (e->u.ct.set && e->u.ct.key != NFT_CT_MARK)
        return -EOPNOTSUPP;
    e->u.ct.reg = parse_reg(a->a[e->u.ct.set ? NFTA_CT_SREG : NFTA_CT_DREG], len);
    return e->u.ct.reg ? 0 : -EINVAL;
}

static void ct_eval(struct nft_expr *e, struct nft_run *r)
{
    struct pkt *p = r->c->p;
    struct nf_conn *ct = p->nfct;
    uint8_t *reg = r->reg + e->u.ct.reg;
    uint32_t v = 0;

    if (e->u.ct.key == NFT_CT_STATE) {
        v = ct ? NF_CT_STATE_BIT(p->nf_ctinfo) : p->nf_skip ? NF_CT_STATE_UNTRACKED_BIT : NF_CT_STATE_INVALID_BIT;
    } else if (!ct) {
        r->verdict = NFT_BREAK;
        return;
    } else if (e->u.ct.set) {
        memcpy(&ct->mark, reg, 4);
        return;
    } else if (e->u.ct.key == NFT_CT_DIRECTION) {
        v = ct_dir(p);
    } else {
        v = e->u.ct.key == NFT_CT_MARK ? ct->mark : ct->status;
    }
    memcpy(reg, &v, 4);
}

/* ---- payload ---- */

static int payload_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    if (a->a[NFTA_PAYLOAD_SREG])
        return -EOPNOTSUPP;
    if (!nft_u32(a->a[NFTA_PAYLOAD_BASE], &e->u.payload.base) || !nft_u32(a->a[NFTA_PAYLOAD_OFFSET], &e->u.payload.offset) ||
        !nft_u32(a->a[NFTA_PAYLOAD_LEN], &e->u.payload.len) || e->u.payload.offset > 65535)
        return -EINVAL;
    if (e->u.payload.base != NFT_PAYLOAD_NETWORK_HEADER && e->u.payload.base != NFT_PAYLOAD_TRANSPORT_HEADER)
        return -EOPNOTSUPP;
    e->u.payload.reg = parse_reg(a->a[NFTA_PAYLOAD_DREG], e->u.payload.len);
    return e->u.payload.reg ? 0 : -EINVAL;
}

static void payload_eval(struct nft_expr *e, struct nft_run *r)
{
    size_t at = e->u.payload.offset, len = e->u.payload.len;

    if (e->u.payload.base == NFT_PAYLOAD_TRANSPORT_HEADER)
        at += r->c->thoff;
    if (at + len > r->c->p->len) {
        r->verdict = NFT_BREAK;
        return;
    }
    /* Registers are words: what a value does not fill of the last one is zero. */
    if (len % 4)
        memset(r->reg + e->u.payload.reg + len / 4 * 4, 0, 4);
    pkt_copy_out(r->c->p, at, r->reg + e->u.payload.reg, len);
}

/* ---- cmp, range, bitwise ---- */

static int cmp_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    e->u.cmp.len = parse_value(a->a[NFTA_CMP_DATA], e->u.cmp.data, 0, sizeof(e->u.cmp.data));
    if (!nft_u32(a->a[NFTA_CMP_OP], &e->u.cmp.op) || e->u.cmp.op > NFT_CMP_GTE)
        return -EINVAL;
    e->u.cmp.reg = parse_reg(a->a[NFTA_CMP_SREG], e->u.cmp.len);
    return e->u.cmp.reg ? 0 : -EINVAL;
}

static void cmp_eval(struct nft_expr *e, struct nft_run *r)
{
    int d = memcmp(r->reg + e->u.cmp.reg, e->u.cmp.data, e->u.cmp.len);
    bool ok = false;

    switch (e->u.cmp.op) {
    case NFT_CMP_EQ:
        ok = d == 0;
        break;
    case NFT_CMP_NEQ:
        ok = d != 0;
        break;
    case NFT_CMP_LT:
        ok = d < 0;
        break;
    case NFT_CMP_LTE:
        ok = d <= 0;
        break;
    case NFT_CMP_GT:
        ok = d > 0;
        break;
    default:
        ok = d >= 0;
    }
    if (!ok)
        r->verdict = NFT_BREAK;
}

static int range_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    e->u.range.len = parse_value(a->a[NFTA_RANGE_FROM_DATA], e->u.range.from, 0, sizeof(e->u.range.from));
    if (!e->u.range.len || !parse_value(a->a[NFTA_RANGE_TO_DATA], e->u.range.to, e->u.range.len, sizeof(e->u.range.to)) ||
        !nft_u32(a->a[NFTA_RANGE_OP], &e->u.range.op) || e->u.range.op > NFT_RANGE_NEQ)
        return -EINVAL;
    e->u.range.reg = parse_reg(a->a[NFTA_RANGE_SREG], e->u.range.len);
    return e->u.range.reg ? 0 : -EINVAL;
}

static void range_eval(struct nft_expr *e, struct nft_run *r)
{
    const uint8_t *v = r->reg + e->u.range.reg;
    bool in = memcmp(v, e->u.range.from, e->u.range.len) >= 0 && memcmp(v, e->u.range.to, e->u.range.len) <= 0;

    if (in != (e->u.range.op == NFT_RANGE_EQ))
        r->verdict = NFT_BREAK;
}

static int bitwise_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    uint32_t op = NFT_BITWISE_BOOL;

    if (!nft_u32(a->a[NFTA_BITWISE_LEN], &e->u.bitwise.len) || e->u.bitwise.len > 64)
        return -EINVAL;
    (void)nft_u32(a->a[NFTA_BITWISE_OP], &op);
    if (op != NFT_BITWISE_BOOL)
        return -EOPNOTSUPP;
    e->u.bitwise.sreg = parse_reg(a->a[NFTA_BITWISE_SREG], e->u.bitwise.len);
    e->u.bitwise.dreg = parse_reg(a->a[NFTA_BITWISE_DREG], e->u.bitwise.len);
    if (!e->u.bitwise.sreg || !e->u.bitwise.dreg ||
        !parse_value(a->a[NFTA_BITWISE_MASK], e->u.bitwise.mask, e->u.bitwise.len, 64) ||
        !parse_value(a->a[NFTA_BITWISE_XOR], e->u.bitwise.xor, e->u.bitwise.len, 64))
        return -EINVAL;
    return 0;
}

static void bitwise_eval(struct nft_expr *e, struct nft_run *r)
{
    for (uint32_t i = 0; i < e->u.bitwise.len; i++)
        r->reg[e->u.bitwise.dreg + i] = (r->reg[e->u.bitwise.sreg + i] & e->u.bitwise.mask[i]) ^ e->u.bitwise.xor [i];
}

/* ---- immediate ---- */

static int imm_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    struct nft_attrs d, v;
    uint32_t reg, code;

    if (!nft_u32(a->a[NFTA_IMMEDIATE_DREG], &reg))
        return -EINVAL;
    if (reg != NFT_REG_VERDICT) {
        e->u.imm.len = parse_value(a->a[NFTA_IMMEDIATE_DATA], e->u.imm.data, 0, sizeof(e->u.imm.data));
        e->u.imm.reg = parse_reg(a->a[NFTA_IMMEDIATE_DREG], e->u.imm.len);
        return e->u.imm.reg ? 0 : -EINVAL;
    }
    if (!nft_nested(a->a[NFTA_IMMEDIATE_DATA], &d) || !nft_nested(d.a[NFTA_DATA_VERDICT], &v) ||
        !nft_u32(v.a[NFTA_VERDICT_CODE], &code))
        return -EINVAL;
    e->u.imm.verdict = true;
    e->u.imm.code = (int)code;
    switch (e->u.imm.code) {
    case NF_ACCEPT:
    case NF_DROP:
    case NFT_CONTINUE:
    case NFT_BREAK:
    case NFT_RETURN:
        return 0;
    case NFT_JUMP:
    case NFT_GOTO:
        return nft_name(v.a[NFTA_VERDICT_CHAIN], e->u.imm.chain) ? 0 : -EINVAL;
    default:
        return -EOPNOTSUPP; /* NF_QUEUE */
    }
}

static void imm_eval(struct nft_expr *e, struct nft_run *r)
{
    if (!e->u.imm.verdict) {
        memcpy(r->reg + e->u.imm.reg, e->u.imm.data, e->u.imm.len);
        return;
    }
    r->verdict = e->u.imm.code;
    r->to = e->u.imm.to;
}

/* ---- counter, limit ---- */

static int counter_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    (void)nft_u64(a->a[NFTA_COUNTER_BYTES], &e->u.counter.bytes);
    (void)nft_u64(a->a[NFTA_COUNTER_PACKETS], &e->u.counter.packets);
    return 0;
}

static void counter_eval(struct nft_expr *e, struct nft_run *r)
{
    e->u.counter.packets += r->c->p->gso_segs;
    e->u.counter.bytes += r->c->p->len;
}

static int limit_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    uint32_t burst = 5, type = NFT_LIMIT_PKTS, flags = 0;

    if (!nft_u64(a->a[NFTA_LIMIT_RATE], &e->u.limit.rate) || !nft_u64(a->a[NFTA_LIMIT_UNIT], &e->u.limit.unit) ||
        !e->u.limit.rate || !e->u.limit.unit || e->u.limit.unit > 604800 || e->u.limit.rate > UINT32_MAX)
        return -EINVAL;
    (void)nft_u32(a->a[NFTA_LIMIT_BURST], &burst);
    (void)nft_u32(a->a[NFTA_LIMIT_TYPE], &type);
    (void)nft_u32(a->a[NFTA_LIMIT_FLAGS], &flags);
    if (type != NFT_LIMIT_PKTS)
        return -EOPNOTSUPP;
    e->u.limit.burst = burst ? burst : 5;
    e->u.limit.invert = flags & NFT_LIMIT_F_INV;
    e->u.limit.credit = UINT64_MAX;
    return 0;
}

static void limit_eval(struct nft_expr *e, struct nft_run *r)
{
    /* Credit in ns: a packet costs its share of the unit. */
    uint64_t cost = e->u.limit.unit * NET_SEC / e->u.limit.rate, most = cost * e->u.limit.burst;
    int64_t now = netstack_now(r->c->s);
    bool over;

    if (e->u.limit.credit == UINT64_MAX)
        e->u.limit.credit = most;
    else
        e->u.limit.credit += now - e->u.limit.last;
    e->u.limit.last = now;
    if (e->u.limit.credit > most)
        e->u.limit.credit = most;
    over = e->u.limit.credit < cost;
    if (!over)
        e->u.limit.credit -= cost;
    if (over != e->u.limit.invert)
        r->verdict = NFT_BREAK;
}

/* ---- extensions of iptables ---- */

static int xt_common(struct nft_expr *e, const struct nft_attrs *a, char *name, uint32_t *rev)
{
    const struct nlattr *info = a->a[NFTA_MATCH_INFO]; /* targets have the same numbers */

    if (!nft_name(a->a[NFTA_MATCH_NAME], name) || !nft_u32(a->a[NFTA_MATCH_REV], rev) || !info)
        return -EINVAL;
    e->info = calloc(1, XT_ALIGN(nft_len(info)) + 8);
    if (!e->info)
        return -ENOMEM;
    memcpy(e->info, nft_data(info), nft_len(info));
    return 0;
}

/* `table` begins with its family. */
static int table_family(const char *table)
{
    return table[0] == NFPROTO_IPV6 ? AF_INET6 : AF_INET;
}

static int match_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    char name[NFT_NAME_MAX];
    uint32_t rev;
    int r = xt_common(e, a, name, &rev);

    if (r)
        return r;
    e->u.xt.match = xt_match_find(name, rev, table_family(table));
    if (!e->u.xt.match)
        return -ENOENT;
    if (XT_ALIGN(e->u.xt.match->size) != XT_ALIGN(nft_len(a->a[NFTA_MATCH_INFO])) ||
        (e->u.xt.match->check && !e->u.xt.match->check(e->info)))
        return -EINVAL;
    return 0;
}

static void match_eval(struct nft_expr *e, struct nft_run *r)
{
    const struct xt_match_ops *ops = e->u.xt.match;

    if ((ops->proto && ops->proto != r->c->proto) ||
        !(ops->match ? ops->match(r->c, e->info) : ops->match_state(r->c, e->info)))
        r->verdict = NFT_BREAK;
}

static int target_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    char name[NFT_NAME_MAX];
    uint32_t rev;
    int r = xt_common(e, a, name, &rev);

    if (r)
        return r;
    e->u.xt.target = xt_target_find(name, rev, table_family(table));
    if (!e->u.xt.target)
        return -ENOENT;
    if (XT_ALIGN(e->u.xt.target->size) != XT_ALIGN(nft_len(a->a[NFTA_TARGET_INFO])) ||
        (e->u.xt.target->table && strcmp(e->u.xt.target->table, table + 1)) ||
        (e->u.xt.target->check && !e->u.xt.target->check(e->info)))
        return -EINVAL;
    return 0;
}

static void target_eval(struct nft_expr *e, struct nft_run *r)
{
    unsigned int v = e->u.xt.target->target(r->c, e->info);

    r->verdict = v == XT_CONTINUE ? NFT_CONTINUE : v == (unsigned int)XT_RETURN ? NFT_RETURN : (int)v;
}

/* ---- reject, nat, masq, redir, log, notrack ---- */

static int reject_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    uint8_t code = 0;

    if (!nft_u32(a->a[NFTA_REJECT_TYPE], &e->u.reject.type) || e->u.reject.type > NFT_REJECT_ICMPX_UNREACH)
        return -EINVAL;
    if (a->a[NFTA_REJECT_ICMP_CODE] && nft_len(a->a[NFTA_REJECT_ICMP_CODE]) >= 1)
        code = *(const uint8_t *)nft_data(a->a[NFTA_REJECT_ICMP_CODE]);
    if (e->u.reject.type == NFT_REJECT_ICMPX_UNREACH && code > NFT_REJECT_ICMPX_MAX)
        return -EINVAL;
    e->u.reject.icmp_code = code;
    return 0;
}

static void reject_eval(struct nft_expr *e, struct nft_run *r) NO_THREAD_SAFETY_ANALYSIS
{
    static const uint8_t v4[] = {ICMP_NET_UNREACH, ICMP_PORT_UNREACH, ICMP_HOST_UNREACH, ICMP_PKT_FILTERED};
    static const uint8_t v6[] = {ICMPV6_NOROUTE, ICMPV6_PORT_UNREACH, ICMPV6_ADDR_UNREACH, ICMPV6_ADM_PROHIBITED};
    struct nf_ctx *c = r->c;
    uint8_t code = e->u.reject.icmp_code;

    r->verdict = NF_DROP;
    if (e->u.reject.type == NFT_REJECT_TCP_RST) {
        nf_reject_reset(c);
        return;
    }
    if (e->u.reject.type == NFT_REJECT_ICMPX_UNREACH)
        code = c->v4 ? v4[code & 3] : v6[code & 3];
    if (!c->fragment)
        icmp_send_error(c->s, c->p, c->v4 ? ICMP_DEST_UNREACH : ICMPV6_DEST_UNREACH, code, 0);
}

enum { TYPE_MASQ = 100, TYPE_REDIR };

static uint8_t opt_reg(const struct nlattr *a, uint32_t len, bool *bad)
{
    uint8_t r = a ? parse_reg(a, len) : 0;

    *bad |= a && !r;
    return r;
}

static int nat_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    uint32_t family;
    bool bad = false;

    if (!nft_u32(a->a[NFTA_NAT_TYPE], &e->u.nat.type) || e->u.nat.type > NFT_NAT_DNAT ||
        !nft_u32(a->a[NFTA_NAT_FAMILY], &family))
        return -EINVAL;
    uint32_t alen = family == NFPROTO_IPV6 ? 16 : 4;
    e->u.nat.addr_min = opt_reg(a->a[NFTA_NAT_REG_ADDR_MIN], alen, &bad);
    e->u.nat.addr_max = opt_reg(a->a[NFTA_NAT_REG_ADDR_MAX], alen, &bad);
    e->u.nat.port_min = opt_reg(a->a[NFTA_NAT_REG_PROTO_MIN], 2, &bad);
    e->u.nat.port_max = opt_reg(a->a[NFTA_NAT_REG_PROTO_MAX], 2, &bad);
    (void)nft_u32(a->a[NFTA_NAT_FLAGS], &e->u.nat.flags);
    return bad ? -EINVAL : 0;
}

static int masq_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    bool bad = false;

    e->u.nat.type = TYPE_MASQ;
    e->u.nat.port_min = opt_reg(a->a[NFTA_MASQ_REG_PROTO_MIN], 2, &bad);
    e->u.nat.port_max = opt_reg(a->a[NFTA_MASQ_REG_PROTO_MAX], 2, &bad);
    (void)nft_u32(a->a[NFTA_MASQ_FLAGS], &e->u.nat.flags);
    return bad ? -EINVAL : 0;
}

static int redir_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    bool bad = false;

    e->u.nat.type = TYPE_REDIR;
    e->u.nat.port_min = opt_reg(a->a[NFTA_REDIR_REG_PROTO_MIN], 2, &bad);
    e->u.nat.port_max = opt_reg(a->a[NFTA_REDIR_REG_PROTO_MAX], 2, &bad);
    (void)nft_u32(a->a[NFTA_REDIR_FLAGS], &e->u.nat.flags);
    return bad ? -EINVAL : 0;
}

static void nat_eval(struct nft_expr *e, struct nft_run *r) NO_THREAD_SAFETY_ANALYSIS
{
    struct nf_ctx *c = r->c;
    struct nf_nat_range2 range = {.flags = e->u.nat.flags & NF_NAT_RANGE_PROTO_RANDOM_ALL};
    size_t alen = c->v4 ? 4 : 16;

    if (e->u.nat.addr_min) {
        memcpy(&range.min_addr, r->reg + e->u.nat.addr_min, alen);
        memcpy(&range.max_addr, r->reg + (e->u.nat.addr_max ? e->u.nat.addr_max : e->u.nat.addr_min), alen);
        range.flags |= NF_NAT_RANGE_MAP_IPS;
    }
    if (e->u.nat.port_min) {
        memcpy(&range.min_proto, r->reg + e->u.nat.port_min, 2);
        memcpy(&range.max_proto, r->reg + (e->u.nat.port_max ? e->u.nat.port_max : e->u.nat.port_min), 2);
        range.flags |= NF_NAT_RANGE_PROTO_SPECIFIED;
    }
    if (!c->p->nfct)
        r->verdict = NF_ACCEPT;
    else if (e->u.nat.type == TYPE_MASQ)
        r->verdict = nat_masquerade(c, &range);
    else if (e->u.nat.type == TYPE_REDIR)
        r->verdict = nat_redirect(c, &range);
    else
        r->verdict = nat_setup(c, c->p->nfct, &range, e->u.nat.type == NFT_NAT_SNAT);
}

static int log_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    const struct nlattr *prefix = a->a[NFTA_LOG_PREFIX];

    if (prefix) {
        size_t n = strnlen(nft_data(prefix), nft_len(prefix));
        memcpy(e->u.log.prefix, nft_data(prefix), n < 63 ? n : 63);
    }
    return 0;
}

static void log_eval(struct nft_expr *e, struct nft_run *r) NO_THREAD_SAFETY_ANALYSIS
{
    nf_log(r->c, e->u.log.prefix);
}

static int no_init(struct nft_expr *e, const struct nft_attrs *a, const char *table)
{
    return 0;
}

static void notrack_eval(struct nft_expr *e, struct nft_run *r)
{
    if (!r->c->p->nfct)
        r->c->p->nf_skip = true;
}

static const struct nft_expr_ops expr_ops[] = {
    {"meta", meta_init, meta_eval},     {"payload", payload_init, payload_eval},
    {"cmp", cmp_init, cmp_eval},        {"bitwise", bitwise_init, bitwise_eval},
    {"immediate", imm_init, imm_eval},  {"counter", counter_init, counter_eval},
    {"match", match_init, match_eval},  {"target", target_init, target_eval},
    {"range", range_init, range_eval},  {"limit", limit_init, limit_eval},
    {"ct", ct_init, ct_eval},           {"reject", reject_init, reject_eval},
    {"nat", nat_init, nat_eval},        {"masq", masq_init, nat_eval},
    {"redir", redir_init, nat_eval},    {"log", log_init, log_eval},
    {"notrack", no_init, notrack_eval},
};

static int expr_parse(struct nft_expr *e, const struct nlattr *elem, const char *table)
{
    struct nft_attrs a, d;
    char name[NFT_NAME_MAX];
    const struct nlattr *data;

    if (!nft_nested(elem, &a) || !nft_name(a.a[NFTA_EXPR_NAME], name))
        return -EINVAL;
    memset(&d, 0, sizeof(d));
    data = a.a[NFTA_EXPR_DATA];
    if (data && !nft_nested(data, &d))
        return -EINVAL;
    for (size_t i = 0; i < ARRAY_SIZE(expr_ops); i++) {
        if (strcmp(expr_ops[i].name, name))
            continue;
        e->raw_len = data ? nft_len(data) : 0;
        e->raw = malloc(e->raw_len + 1);
        if (!e->raw)
            return -ENOMEM;
        if (data)
            memcpy(e->raw, nft_data(data), e->raw_len);
        e->ops = &expr_ops[i];
        return e->ops->init(e, &d, table);
    }
    return -ENOENT;
}

void nft_rule_put(struct nft_rule *r)
{
    if (!r || !ref_put(&r->ref))
        return;
    for (unsigned int i = 0; i < r->nr; i++) {
        free(r->expr[i].raw);
        free(r->expr[i].info);
    }
    free(r->userdata);
    free(r);
}

int nft_rule_parse(const struct nlattr *exprs, const char *table, struct nft_rule **out)
{
    struct nft_rule *r = NULL;
    unsigned int n = 0;

    for (int pass = 0; pass < 2; pass++) {
        const uint8_t *p = exprs ? nft_data(exprs) : NULL;
        size_t left = exprs ? nft_len(exprs) : 0;

        if (pass) {
            r = calloc(1, sizeof(*r) + n * sizeof(r->expr[0]));
            if (!r)
                return -ENOMEM;
            ref_init(&r->ref);
        }
        while (left >= NLA_HDRLEN) {
            const struct nlattr *a = (const struct nlattr *)p;
            size_t step = NLA_ALIGN(a->nla_len);

            if (!pass) {
                if (a->nla_len < NLA_HDRLEN || a->nla_len > left || (a->nla_type & NLA_TYPE_MASK) != NFTA_LIST_ELEM ||
                    ++n > NFT_EXPRS_MAX)
                    return -EINVAL;
            } else {
                int err = expr_parse(&r->expr[r->nr++], a, table);
                if (err) {
                    nft_rule_put(r);
                    return err;
                }
            }
            if (step >= left)
                break;
            p += step;
            left -= step;
        }
    }
    *out = r;
    return 0;
}

void nft_expr_put(struct nft_msg *m, const struct nft_expr *e)
{
    size_t elem = nft_nest(m, NFTA_LIST_ELEM), data;

    nft_put_str(m, NFTA_EXPR_NAME, e->ops->name);
    if (e->ops->eval == counter_eval) {
        data = nft_nest(m, NFTA_EXPR_DATA);
        nft_put_u64(m, NFTA_COUNTER_BYTES, e->u.counter.bytes);
        nft_put_u64(m, NFTA_COUNTER_PACKETS, e->u.counter.packets);
        nft_nest_end(m, data);
    } else {
        nft_put(m, NFTA_EXPR_DATA | NLA_F_NESTED, e->raw, e->raw_len);
    }
    nft_nest_end(m, elem);
}
