/* ICMP (RFC 792, RFC 1122 3.2.2): echo, time stamps, errors about what we sent. */
#include "netstack/csum.h"
#include "netstack/icmp_internal.h"
#include "netstack/mcast.h"

#include <errno.h>

static const struct {
    int err;
    bool hard;
} unreach[] = {
    [ICMP_NET_UNREACH] = {ENETUNREACH, false},    [ICMP_HOST_UNREACH] = {EHOSTUNREACH, false},
    [ICMP_PROT_UNREACH] = {ENOPROTOOPT, true},    [ICMP_PORT_UNREACH] = {ECONNREFUSED, true},
    [ICMP_FRAG_NEEDED] = {EMSGSIZE, false},       [ICMP_SR_FAILED] = {EOPNOTSUPP, false},
    [ICMP_NET_UNKNOWN] = {ENETUNREACH, true},     [ICMP_HOST_UNKNOWN] = {EHOSTDOWN, true},
    [ICMP_HOST_ISOLATED] = {ENONET, true},        [ICMP_NET_ANO] = {ENETUNREACH, true},
    [ICMP_HOST_ANO] = {EHOSTUNREACH, true},       [ICMP_NET_UNR_TOS] = {ENETUNREACH, false},
    [ICMP_HOST_UNR_TOS] = {EHOSTUNREACH, false},  [ICMP_PKT_FILTERED] = {EHOSTUNREACH, true},
    [ICMP_PREC_VIOLATION] = {EHOSTUNREACH, true}, [ICMP_PREC_CUTOFF] = {EHOSTUNREACH, true},
};

static void error_input(struct netstack *s, struct pkt *p, const struct icmphdr *h) NETSTACK_LOCKED
{
    struct icmp_error e = {.type = h->type, .code = h->code};

    switch (h->type) {
    case ICMP_DEST_UNREACH:
        if (h->code >= ARRAY_SIZE(unreach))
            return;
        e.err = unreach[h->code].err;
        e.hard = unreach[h->code].hard;
        if (h->code == ICMP_FRAG_NEEDED)
            e.info = ntohs(h->un.frag.mtu);
        break;
    case ICMP_TIME_EXCEEDED:
        e.err = EHOSTUNREACH;
        break;
    case ICMP_PARAMETERPROB:
        e.err = EPROTO;
        e.hard = true;
        e.info = ntohl(h->un.gateway) >> 24;
        break;
    default: /* source quench means nothing any more (RFC 6633) */
        return;
    }
    icmp_error_input(s, p, &e);
}

/* Milliseconds since midnight, UTC. */
static void timestamp_reply(struct netstack *s, struct pkt *p) NETSTACK_LOCKED
{
    uint32_t now = htonl(netstack_realtime(s) / NET_MSEC % (24 * 3600 * 1000LL));
    struct ip_flow f = {.dst = p->ip.src, .src = p->ip.dst, .proto = IPPROTO_ICMP, .tos = p->ip.tos};
    struct pkt *r;
    uint8_t *b;

    if (p->ip.type != RTN_LOCAL || !pkt_need(p, 20) || ip_route(s, &f))
        return;
    r = pkt_from(p->data, 20);
    if (!r)
        return;
    b = r->data;
    b[0] = ICMP_TIMESTAMPREPLY;
    memset(b + 2, 0, 2);
    memcpy(b + 12, &now, 4);
    memcpy(b + 16, &now, 4);
    be16 sum = csum_finish(csum_partial(b, 20, 0));
    memcpy(b + 2, &sum, 2);
    icmp_count_out(s, true, ICMP_TIMESTAMPREPLY);
    (void)ip_output(s, &f, r);
}

#define COUNTERS(dir)                                                               \
    {                                                                               \
        [ICMP_DEST_UNREACH] = offsetof(struct net_mib, Icmp##dir##DestUnreachs),    \
        [ICMP_TIME_EXCEEDED] = offsetof(struct net_mib, Icmp##dir##TimeExcds),      \
        [ICMP_PARAMETERPROB] = offsetof(struct net_mib, Icmp##dir##ParmProbs),      \
        [ICMP_SOURCE_QUENCH] = offsetof(struct net_mib, Icmp##dir##SrcQuenchs),     \
        [ICMP_REDIRECT] = offsetof(struct net_mib, Icmp##dir##Redirects),           \
        [ICMP_ECHO] = offsetof(struct net_mib, Icmp##dir##Echos),                   \
        [ICMP_ECHOREPLY] = offsetof(struct net_mib, Icmp##dir##EchoReps),           \
        [ICMP_TIMESTAMP] = offsetof(struct net_mib, Icmp##dir##Timestamps),         \
        [ICMP_TIMESTAMPREPLY] = offsetof(struct net_mib, Icmp##dir##TimestampReps), \
        [ICMP_ADDRESS] = offsetof(struct net_mib, Icmp##dir##AddrMasks),            \
        [ICMP_ADDRESSREPLY] = offsetof(struct net_mib, Icmp##dir##AddrMaskReps)     \
    }

static void count(struct netstack *s, const size_t *table, size_t n, uint8_t type)
{
    if (type < n && table[type])
        ++*(uint64_t *)((char *)&s->mib + table[type]);
}

void icmp_count_out(struct netstack *s, bool v4, uint8_t type)
{
    static const size_t out[] = COUNTERS(Out);

    if (v4) {
        MIB_INC(s, IcmpOutMsgs);
        s->mib.IcmpOutType[type]++;
        count(s, out, ARRAY_SIZE(out), type);
        return;
    }
    MIB_INC(s, Icmp6OutMsgs);
    s->mib.Icmp6OutType[type]++;
    switch (type) {
    case ICMPV6_DEST_UNREACH:
        MIB_INC(s, Icmp6OutDestUnreachs);
        break;
    case ICMPV6_PKT_TOOBIG:
        MIB_INC(s, Icmp6OutPktTooBigs);
        break;
    case ICMPV6_TIME_EXCEED:
        MIB_INC(s, Icmp6OutTimeExcds);
        break;
    case ICMPV6_PARAMPROB:
        MIB_INC(s, Icmp6OutParmProblems);
        break;
    case ICMPV6_ECHO_REQUEST:
        MIB_INC(s, Icmp6OutEchos);
        break;
    case ICMPV6_ECHO_REPLY:
        MIB_INC(s, Icmp6OutEchoReplies);
        break;
    case 133:
        MIB_INC(s, Icmp6OutRouterSolicits);
        break;
    case 135:
        MIB_INC(s, Icmp6OutNeighborSolicits);
        break;
    case 136:
        MIB_INC(s, Icmp6OutNeighborAdvertisements);
        break;
    case ICMPV6_MLD2_REPORT:
        MIB_INC(s, Icmp6OutMLDv2Reports);
        break;
    default:
        break;
    }
}

static void input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED
{
    static const size_t in[] = COUNTERS(In);
    const struct icmphdr *h;
    bool to_group = p->ip.type != RTN_LOCAL;

    MIB_INC(s, IcmpInMsgs);
    if (!pkt_need(p, sizeof(*h))) {
        MIB_INC(s, IcmpInErrors);
        goto out;
    }
    if (p->csum == PKT_CSUM_NONE && csum_fold16(pkt_csum(p, 0, p->len, 0)) != 0xffff) {
        MIB_INC(s, IcmpInCsumErrors);
        MIB_INC(s, IcmpInErrors);
        goto out;
    }
    h = (const struct icmphdr *)p->data;
    s->mib.IcmpInType[h->type]++;
    count(s, in, ARRAY_SIZE(in), h->type);
    switch (h->type) {
    case ICMP_ECHO:
        if (!s->sysctl.icmp_echo_ignore_all && !(to_group && s->sysctl.icmp_echo_ignore_broadcasts))
            icmp_echo_reply(s, p);
        break;
    case ICMP_TIMESTAMP:
        timestamp_reply(s, p);
        break;
    case ICMP_DEST_UNREACH:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETERPROB:
        error_input(s, p, h);
        break;
    default: /* echo replies are for raw and ping endpoints; redirects are not believed */
        break;
    }
out:
    pkt_free(p);
}

const struct ip_proto icmp4_proto = {.proto = IPPROTO_ICMP, .input = input};

static void igmp_proto_input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED
{
    igmp_input(s, p);
    pkt_free(p);
}

const struct ip_proto igmp_proto = {.proto = IPPROTO_IGMP, .input = igmp_proto_input};
