/* ICMPv6 (RFC 4443). Neighbour discovery is in ndp.c, listener discovery in mld.c. */
#include "netstack/csum.h"
#include "netstack/icmp_internal.h"
#include "netstack/mcast.h"

#include <errno.h>

static void error_input(struct netstack *s, struct pkt *p, const struct icmp6hdr *h) NETSTACK_LOCKED
{
    static const struct {
        int err;
        bool hard;
    } unreach[] = {
        [ICMPV6_NOROUTE] = {ENETUNREACH, false},        [ICMPV6_ADM_PROHIBITED] = {EACCES, true},
        [ICMPV6_NOT_NEIGHBOUR] = {EHOSTUNREACH, false}, [ICMPV6_ADDR_UNREACH] = {EHOSTUNREACH, false},
        [ICMPV6_PORT_UNREACH] = {ECONNREFUSED, true},   [ICMPV6_POLICY_FAIL] = {EACCES, true},
        [ICMPV6_REJECT_ROUTE] = {EACCES, true},
    };
    struct icmp_error e = {.type = h->icmp6_type, .code = h->icmp6_code, .err = EPROTO};

    switch (h->icmp6_type) {
    case ICMPV6_DEST_UNREACH:
        MIB_INC(s, Icmp6InDestUnreachs);
        e.hard = true;
        if (h->icmp6_code < ARRAY_SIZE(unreach)) {
            e.err = unreach[h->icmp6_code].err;
            e.hard = unreach[h->icmp6_code].hard;
        }
        break;
    case ICMPV6_PKT_TOOBIG:
        MIB_INC(s, Icmp6InPktTooBigs);
        e.err = EMSGSIZE;
        e.info = ntohl(h->icmp6_mtu);
        if (e.info < 68)
            return;
        break;
    case ICMPV6_TIME_EXCEED:
        MIB_INC(s, Icmp6InTimeExcds);
        e.err = EHOSTUNREACH;
        break;
    case ICMPV6_PARAMPROB:
        MIB_INC(s, Icmp6InParmProblems);
        e.hard = true;
        e.info = ntohl(h->icmp6_pointer);
        break;
    default:
        return;
    }
    icmp_error_input(s, p, &e);
}

static void input(struct netstack *s, struct pkt *p) NETSTACK_LOCKED
{
    const struct icmp6hdr *h;

    MIB_INC(s, Icmp6InMsgs);
    if (!pkt_need(p, sizeof(*h))) {
        MIB_INC(s, Icmp6InErrors);
        goto out;
    }
    if (!ip_csum_ok(p)) {
        MIB_INC(s, Icmp6InCsumErrors);
        MIB_INC(s, Icmp6InErrors);
        goto out;
    }
    h = (const struct icmp6hdr *)p->data;
    s->mib.Icmp6InType[h->icmp6_type]++;
    switch (h->icmp6_type) {
    case ICMPV6_ECHO_REQUEST:
        MIB_INC(s, Icmp6InEchos);
        if (!s->sysctl.icmp_echo_ignore_all)
            icmp_echo_reply(s, p);
        break;
    case ICMPV6_ECHO_REPLY:
        MIB_INC(s, Icmp6InEchoReplies);
        break;
    case ICMPV6_DEST_UNREACH:
    case ICMPV6_PKT_TOOBIG:
    case ICMPV6_TIME_EXCEED:
    case ICMPV6_PARAMPROB:
        error_input(s, p, h);
        break;
    case 133:
    case 134:
    case 135:
    case 136:
    case 137:
        ndp_input(s, p);
        break;
    case ICMPV6_MGM_QUERY:
        MIB_INC(s, Icmp6InGroupMembQueries);
        mld_input(s, p);
        break;
    case ICMPV6_MGM_REPORT:
        MIB_INC(s, Icmp6InGroupMembResponses);
        break;
    case ICMPV6_MGM_REDUCTION:
        MIB_INC(s, Icmp6InGroupMembReductions);
        break;
    case ICMPV6_MLD2_REPORT:
        MIB_INC(s, Icmp6InMLDv2Reports);
        break;
    default:
        /* An error message that is not known is for the transport (RFC 4443, 2.4a). */
        if (!(h->icmp6_type & ICMPV6_INFOMSG_MASK)) {
            struct icmp_error e = {.type = h->icmp6_type, .code = h->icmp6_code, .err = EPROTO};
            icmp_error_input(s, p, &e);
        }
    }
out:
    pkt_free(p);
}

const struct ip_proto icmp6_proto = {.proto = IPPROTO_ICMPV6, .input = input};

void icmp6_send(struct nic *nic, const struct in6_addr *src, const struct in6_addr *dst, int hop_limit, struct pkt *p)
{
    struct netstack *s = nic->stack;
    struct ip_flow f = {.dst = *dst, .src = *src, .proto = IPPROTO_ICMPV6, .ttl = hop_limit, .oif = nic->index};
    struct icmp6hdr *h = (struct icmp6hdr *)p->data;

    /* The way is given: these go to the link at hand, and their source may be the unspecified address. */
    f.rt = (struct route_result){.nic = nic,
                                 .nexthop = *dst,
                                 .src = *src,
                                 .mtu = nic->mtu,
                                 .type = addr_is_multicast(dst) ? RTN_MULTICAST : RTN_UNICAST,
                                 .gen = s->route_gen};
    h->icmp6_cksum = 0;
    h->icmp6_cksum = csum_finish(pkt_csum(p, 0, p->len, ip_flow_pseudo(&f, p->len)));
    p->nf_skip = true;
    icmp_count_out(s, false, h->icmp6_type);
    (void)ip_output(s, &f, p);
}
