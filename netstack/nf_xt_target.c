/* Targets of iptables rules, by the names and layouts of the kernel's headers. A rule with any other is refused. */
#include "netstack/nf.h"

#include "netstack/icmp.h"

#include <linux/netfilter/xt_CONNMARK.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_LOG.h>
#include <linux/netfilter/xt_MARK.h>
#include <linux/netfilter/xt_TCPMSS.h>
#include <linux/netfilter_ipv4/ipt_REJECT.h>
#include <linux/netfilter_ipv6/ip6t_REJECT.h>
#include <netinet/tcp.h>

#define DNAT_HOOKS (1 << NF_INET_PRE_ROUTING | 1 << NF_INET_LOCAL_OUT)
#define SNAT_HOOKS (1 << NF_INET_POST_ROUTING | 1 << NF_INET_LOCAL_IN)

static unsigned int reject4(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    static const uint8_t code[] = {
        [IPT_ICMP_NET_UNREACHABLE] = ICMP_NET_UNREACH,   [IPT_ICMP_HOST_UNREACHABLE] = ICMP_HOST_UNREACH,
        [IPT_ICMP_PROT_UNREACHABLE] = ICMP_PROT_UNREACH, [IPT_ICMP_PORT_UNREACHABLE] = ICMP_PORT_UNREACH,
        [IPT_ICMP_ECHOREPLY] = ICMP_PORT_UNREACH,        [IPT_ICMP_NET_PROHIBITED] = ICMP_NET_ANO,
        [IPT_ICMP_HOST_PROHIBITED] = ICMP_HOST_ANO,      [IPT_TCP_RESET] = 0,
        [IPT_ICMP_ADMIN_PROHIBITED] = ICMP_PKT_FILTERED,
    };
    const struct ipt_reject_info *m = data;

    if (m->with == IPT_TCP_RESET)
        nf_reject_reset(c);
    else if (!c->fragment)
        icmp_send_error(c->s, c->p, ICMP_DEST_UNREACH, code[m->with], 0);
    return NF_DROP;
}

static unsigned int reject6(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    static const uint8_t code[] = {
        [IP6T_ICMP6_NO_ROUTE] = ICMPV6_NOROUTE,
        [IP6T_ICMP6_ADM_PROHIBITED] = ICMPV6_ADM_PROHIBITED,
        [IP6T_ICMP6_NOT_NEIGHBOUR] = ICMPV6_NOT_NEIGHBOUR,
        [IP6T_ICMP6_ADDR_UNREACH] = ICMPV6_ADDR_UNREACH,
        [IP6T_ICMP6_PORT_UNREACH] = ICMPV6_PORT_UNREACH,
        [IP6T_ICMP6_ECHOREPLY] = ICMPV6_PORT_UNREACH,
        [IP6T_TCP_RESET] = 0,
        [IP6T_ICMP6_POLICY_FAIL] = ICMPV6_POLICY_FAIL,
        [IP6T_ICMP6_REJECT_ROUTE] = ICMPV6_REJECT_ROUTE,
    };
    const struct ip6t_reject_info *m = data;

    if (m->with == IP6T_TCP_RESET)
        nf_reject_reset(c);
    else if (!c->fragment)
        icmp_send_error(c->s, c->p, ICMPV6_DEST_UNREACH, code[m->with], 0);
    return NF_DROP;
}

static bool reject_check(const void *data)
{
    /* Both families' first field, and the same number of ways. */
    return ((const struct ipt_reject_info *)data)->with <= IPT_ICMP_ADMIN_PROHIBITED;
}

void nf_reject_reset(struct nf_ctx *c)
{
    struct nf_tuple t;
    uint8_t buf[20];
    const struct tcphdr *th = c->proto == IPPROTO_TCP && !c->fragment ? nf_bytes(c->p, c->thoff, 20, buf) : NULL;
    struct tcphdr *r;
    struct pkt *p;

    if (!th || th->rst || !ct_tuple_of(c->p, 0, &t))
        return;
    p = pkt_alloc(PKT_HEADROOM, sizeof(*r));
    if (!p)
        return;
    r = pkt_put(p, sizeof(*r));
    memset(r, 0, sizeof(*r));
    r->source = th->dest;
    r->dest = th->source;
    r->doff = 5;
    r->rst = 1;
    if (th->ack) {
        r->seq = th->ack_seq;
    } else {
        r->ack = 1;
        r->ack_seq = htonl(ntohl(th->seq) + th->syn + th->fin + (c->p->len - c->thoff - th->doff * 4));
    }
    struct ip_flow f = {
        .dst = t.src, .src = t.dst, .proto = IPPROTO_TCP, .nonlocal_src = true, .sport = r->source, .dport = r->dest};
    r->check = csum_fold16(ip_flow_pseudo(&f, p->len));
    pkt_csum_request(p, offsetof(struct tcphdr, check));
    /* The answer to a packet of a translated connection is translated with it. */
    if (c->p->nfct) {
        nf_conn_get(c->p->nfct);
        p->nfct = c->p->nfct;
        p->nf_ctinfo = ct_dir(c->p) ? IP_CT_ESTABLISHED : IP_CT_ESTABLISHED_REPLY;
    }
    (void)ip_output(c->s, &f, p);
}

/* The old layout of ranges, of IPv4. */
static struct nf_nat_range2 from_compat(const void *data)
{
    const struct nf_nat_ipv4_multi_range_compat *m = data;
    struct nf_nat_range2 r = {.flags = m->range[0].flags, .min_proto = m->range[0].min, .max_proto = m->range[0].max};

    r.min_addr.ip = m->range[0].min_ip;
    r.max_addr.ip = m->range[0].max_ip;
    return r;
}

static struct nf_nat_range2 from_range1(const void *data)
{
    struct nf_nat_range2 r = {0};

    memcpy(&r, data, sizeof(struct nf_nat_range));
    return r;
}

static bool compat_check(const void *data)
{
    return ((const struct nf_nat_ipv4_multi_range_compat *)data)->rangesize == 1;
}

static unsigned int snat(struct nf_ctx *c, const struct nf_nat_range2 *r, bool src) NETSTACK_LOCKED
{
    return c->p->nfct ? (unsigned int)nat_setup(c, c->p->nfct, r, src) : NF_ACCEPT;
}

static unsigned int snat0(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_compat(data);
    return snat(c, &r, true);
}
static unsigned int snat1(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_range1(data);
    return snat(c, &r, true);
}
static unsigned int snat2(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    return snat(c, data, true);
}
static unsigned int dnat0(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_compat(data);
    return snat(c, &r, false);
}
static unsigned int dnat1(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_range1(data);
    return snat(c, &r, false);
}
static unsigned int dnat2(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    return snat(c, data, false);
}
static unsigned int masquerade4(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_compat(data);
    return nat_masquerade(c, &r);
}
static unsigned int masquerade6(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_range1(data);
    return nat_masquerade(c, &r);
}
static unsigned int redirect4(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_compat(data);
    return nat_redirect(c, &r);
}
static unsigned int redirect6(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    struct nf_nat_range2 r = from_range1(data);
    return nat_redirect(c, &r);
}

static unsigned int mark(struct nf_ctx *c, const void *data)
{
    const struct xt_mark_tginfo2 *m = data;

    c->p->mark = (c->p->mark & ~m->mask) ^ m->mark;
    return XT_CONTINUE;
}

static unsigned int connmark(struct nf_ctx *c, const void *data)
{
    const struct xt_connmark_tginfo1 *m = data;
    struct nf_conn *ct = c->p->nfct;

    if (!ct)
        return XT_CONTINUE;
    switch (m->mode) {
    case XT_CONNMARK_SET:
        ct->mark = (ct->mark & ~m->ctmask) ^ m->ctmark;
        break;
    case XT_CONNMARK_SAVE:
        ct->mark = (ct->mark & ~m->ctmask) ^ (c->p->mark & m->nfmask);
        break;
    default:
        c->p->mark = (c->p->mark & ~m->nfmask) ^ (ct->mark & m->ctmask);
    }
    return XT_CONTINUE;
}

static unsigned int log_packet(struct nf_ctx *c, const void *data) NETSTACK_LOCKED
{
    nf_log(c, ((const struct xt_log_info *)data)->prefix);
    return XT_CONTINUE;
}

static bool log_check(const void *data)
{
    const struct xt_log_info *m = data;

    return strnlen(m->prefix, sizeof(m->prefix)) < sizeof(m->prefix);
}

static unsigned int notrack(struct nf_ctx *c, const void *data)
{
    if (!c->p->nfct)
        c->p->nf_skip = true;
    return XT_CONTINUE;
}

/* CT is how iptables says NOTRACK; helpers, zones and the like are not there. */
static bool ct_check(const void *data)
{
    const struct xt_ct_target_info *m = data;

    return m->flags & XT_CT_NOTRACK && !(m->flags & ~(XT_CT_NOTRACK | XT_CT_NOTRACK_ALIAS)) && !m->zone && !m->ct_events &&
           !m->exp_events && !m->helper[0];
}

static bool ct1_check(const void *data)
{
    const struct xt_ct_target_info_v1 *m = data;

    return ct_check(data) && !m->timeout[0];
}

static unsigned int nothing(struct nf_ctx *c, const void *data)
{
    return XT_CONTINUE;
}

/* Lowers the MSS option of a SYN. */
static unsigned int tcpmss(struct nf_ctx *c, const void *data)
{
    const struct xt_tcpmss_info *m = data;
    uint16_t mss = m->mss, min_mtu;
    uint8_t buf[20];
    const struct tcphdr *head = c->proto == IPPROTO_TCP && !c->fragment ? nf_bytes(c->p, c->thoff, 20, buf) : NULL;
    struct tcphdr *th;
    size_t len;
    uint8_t *o;

    if (!head || !head->syn || head->doff < 5)
        return XT_CONTINUE;
    len = head->doff * 4;
    if (!pkt_writable(c->p, c->thoff + len))
        return NF_DROP;
    if (mss == XT_TCPMSS_CLAMP_PMTU) {
        min_mtu = c->out ? (c->out->mtu > 65535 ? 65535 : c->out->mtu) : 1500;
        mss = min_mtu > (c->v4 ? 40 : 60) ? min_mtu - (c->v4 ? 40 : 60) : 536;
    }
    th = (struct tcphdr *)(c->p->data + c->thoff);
    o = (uint8_t *)th;
    for (size_t i = 20; i + 4 <= len;) {
        if (o[i] == TCPOPT_MAXSEG && o[i + 1] == TCPOLEN_MAXSEG) {
            be16 was, now = htons(mss);

            memcpy(&was, o + i + 2, 2);
            if (ntohs(was) <= mss)
                return XT_CONTINUE;
            memcpy(o + i + 2, &now, 2);
            if (c->p->csum != PKT_CSUM_PARTIAL) {
                be16 check = th->check;
                csum_replace2(&check, was, now);
                th->check = check;
            }
            return XT_CONTINUE;
        }
        i += o[i] < 2 || o[i + 1] < 2 ? 1 : o[i + 1];
    }
    return XT_CONTINUE;
}

static const struct xt_target_ops targets[] = {
    {"REJECT", 0, AF_INET, sizeof(struct ipt_reject_info), "filter", 0, reject4, reject_check},
    {"REJECT", 0, AF_INET6, sizeof(struct ip6t_reject_info), "filter", 0, reject6, reject_check},
    {"SNAT", 0, AF_INET, sizeof(struct nf_nat_ipv4_multi_range_compat), "nat", SNAT_HOOKS, snat0, compat_check},
    {"SNAT", 1, AF_UNSPEC, sizeof(struct nf_nat_range), "nat", SNAT_HOOKS, snat1, NULL},
    {"SNAT", 2, AF_UNSPEC, sizeof(struct nf_nat_range2), "nat", SNAT_HOOKS, snat2, NULL},
    {"DNAT", 0, AF_INET, sizeof(struct nf_nat_ipv4_multi_range_compat), "nat", DNAT_HOOKS, dnat0, compat_check},
    {"DNAT", 1, AF_UNSPEC, sizeof(struct nf_nat_range), "nat", DNAT_HOOKS, dnat1, NULL},
    {"DNAT", 2, AF_UNSPEC, sizeof(struct nf_nat_range2), "nat", DNAT_HOOKS, dnat2, NULL},
    {"MASQUERADE", 0, AF_INET, sizeof(struct nf_nat_ipv4_multi_range_compat), "nat", 1 << NF_INET_POST_ROUTING, masquerade4,
     compat_check},
    {"MASQUERADE", 0, AF_INET6, sizeof(struct nf_nat_range), "nat", 1 << NF_INET_POST_ROUTING, masquerade6, NULL},
    {"REDIRECT", 0, AF_INET, sizeof(struct nf_nat_ipv4_multi_range_compat), "nat", DNAT_HOOKS, redirect4, compat_check},
    {"REDIRECT", 0, AF_INET6, sizeof(struct nf_nat_range), "nat", DNAT_HOOKS, redirect6, NULL},
    {"MARK", 2, AF_UNSPEC, sizeof(struct xt_mark_tginfo2), NULL, 0, mark, NULL},
    {"CONNMARK", 1, AF_UNSPEC, sizeof(struct xt_connmark_tginfo1), NULL, 0, connmark, NULL},
    {"LOG", 0, AF_UNSPEC, sizeof(struct xt_log_info), NULL, 0, log_packet, log_check},
    {"NOTRACK", 0, AF_UNSPEC, 0, "raw", 0, notrack, NULL},
    {"CT", 0, AF_UNSPEC, sizeof(struct xt_ct_target_info), "raw", 0, notrack, ct_check},
    {"CT", 1, AF_UNSPEC, sizeof(struct xt_ct_target_info_v1), "raw", 0, notrack, ct1_check},
    {"CT", 2, AF_UNSPEC, sizeof(struct xt_ct_target_info_v1), "raw", 0, notrack, ct1_check},
    {"CHECKSUM", 0, AF_UNSPEC, 8, "mangle", 0, nothing, NULL}, /* checksums are filled in anyway */
    {"TCPMSS", 0, AF_UNSPEC, sizeof(struct xt_tcpmss_info), NULL, 0, tcpmss, NULL},
};

const struct xt_target_ops *xt_target_find(const char *name, int revision, int family)
{
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
        if (targets[i].revision == revision && (!targets[i].family || targets[i].family == family) &&
            !strcmp(targets[i].name, name))
            return &targets[i];
    return NULL;
}

int xt_target_revision(const char *name, int family)
{
    int best = -1;

    for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
        if (!strcmp(targets[i].name, name) && (!targets[i].family || targets[i].family == family) && targets[i].revision > best)
            best = targets[i].revision;
    return best;
}
