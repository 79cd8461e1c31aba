/*
 * ICMP errors about our segments (RFC 5927): believed only with a sequence number that is in flight. During the handshake hard
 * ones end it; later they are remembered as the reason should the connection time out, and reported when IP_RECVERR is set.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>

static bool is_frag_needed(const struct pkt *p, const struct icmp_error *e)
{
    return addr_is_v4(&p->ip.src) ? e->type == ICMP_DEST_UNREACH && e->code == ICMP_FRAG_NEEDED : e->type == ICMPV6_PKT_TOOBIG;
}

static bool is_unreachable(const struct pkt *p, const struct icmp_error *e)
{
    if (addr_is_v4(&p->ip.src))
        return e->type == ICMP_DEST_UNREACH && (e->code == ICMP_NET_UNREACH || e->code == ICMP_HOST_UNREACH);
    return e->type == ICMPV6_DEST_UNREACH;
}

/* The path takes only smaller packets: what is in flight and too long is lost. */
static void path_mtu_fell(struct tcp_sock *tp) NETSTACK_LOCKED
{
    uint32_t before = tp->mss;
    tp->ep.flow.rt.nic = NULL;
    if (ip_route(tp->st, &tp->ep.flow) < 0 || ip_flow_mtu(&tp->ep.flow) >= tp->pmtu)
        return;
    tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
    if (tp->mss >= before || list_empty(&tp->rtx))
        return;
    uint32_t mss = tcp_cached_mss(tp);
    struct tcp_seg *seg;
    list_for_each_entry(seg, &tp->rtx, node) {
        if (seg->len / seg->pcount > mss || (seg->pcount == 1 && seg->len > mss)) {
            if (seg->sacked & SEG_RETRANS) {
                seg->sacked &= ~SEG_RETRANS;
                tp->retrans_out -= seg->pcount;
            }
            tcp_mark_lost(tp, seg);
        }
    }
    if (tp->lost_out == 0)
        return;
    if (!tp->sack_ok)
        tp->sacked_out = 0;
    /* Not congestion: the window stays. */
    if (tp->ca_state != TCP_CA_Loss) {
        tp->high_seq = tp->snd_nxt;
        tp->snd_ssthresh = tcp_current_ssthresh(tp);
        tp->prior_ssthresh = 0;
        tp->undo_marker = 0;
        tp->ca_state = TCP_CA_Loss;
    }
    tcp_retransmit_lost(tp);
}

void tcp_icmp_error(struct netstack *st, struct pkt *p, const struct icmp_error *e)
{
    struct tcp_stack *ts = st->tcp;
    struct {
        be16 sport, dport;
        be32 seq;
    } h;
    if (p->len < sizeof h)
        return;
    pkt_copy_out(p, 0, &h, sizeof h);
    uint32_t seq = ntohl(h.seq);
    struct endpoint *ep = port_lookup_connected(ts->ports, &p->ip.src, h.sport, &p->ip.dst, h.dport, p->nic);
    if (!ep) {
        tcp_req_icmp_error(ts, p, h.sport, h.dport, seq, e);
        return;
    }
    struct tcp_sock *tp = (struct tcp_sock *)ep;
    if (tp->state == TCPS_TIME_WAIT || tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN)
        return;
    if (!seq_between(seq, tp->snd_una, tp->snd_nxt)) {
        MIB_INC(st, TcpExtOutOfWindowIcmps);
        return;
    }
    tcp_get(tp);
    if (is_frag_needed(p, e)) {
        path_mtu_fell(tp);
    } else if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV) {
        if (e->err)
            tcp_fail(tp, e->err);
    } else if (e->err) {
        if ((addr_is_v4(&p->ip.src) ? ep->recverr4 : ep->recverr6) && !tp->orphan)
            tcp_report_error(tp, e->err);
        else
            tp->soft_err = e->err;
        /* RFC 6069: the way back is there although the timer had backed off; do not wait for it. */
        if (is_unreachable(p, e) && seq == tp->snd_una && tp->retransmits && tp->backoff && tp->pending == TIMER_RTO) {
            tp->backoff--;
            tp->rto_us = tp->srtt_us ? (tp->srtt_us >> 3) + tp->rttvar_us : TCP_RTO_INIT_US;
            tp->rto_us <<= tp->backoff < 10 ? tp->backoff : 10;
            if (tp->rto_us > TCP_RTO_MAX_US)
                tp->rto_us = TCP_RTO_MAX_US;
            int64_t left = tcp_rto_left_us(tp);
            tcp_arm(tp, TIMER_RTO, left > 0 ? left * 1000 : 1);
        }
    }
    tcp_put(tp);
}
