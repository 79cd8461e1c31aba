/*
 * TIME_WAIT, and FIN_WAIT2 of orphans: a small object keeps the place of a connection that has been closed, so that late
 * segments meet no new connection with the same addresses (RFC 9293, 3.6.1), and answers what the peer repeats.
 */
#include "netstack/tcp_internal.h"

#include <stdlib.h>

static void tw_free(struct tcp_tw *tw) NETSTACK_LOCKED
{
    struct tcp_stack *ts = tw->ts;
    net_timer_cancel(ts->st, &tw->timer);
    port_unbind(ts->ports, &tw->ep);
    endpoint_fini(&tw->ep);
    list_del_init(&tw->all_node);
    ts->nr_tw--;
    free(tw);
}

void tcp_tw_kill(struct tcp_tw *tw)
{
    tw_free(tw);
}

static void tw_expire(struct net_timer *t) NETSTACK_LOCKED
{
    struct tcp_tw *tw = container_of(t, struct tcp_tw, timer);
    MIB_INC(tw->ts->st, TcpExtTW);
    tw_free(tw);
}

static void tw_arm(struct tcp_tw *tw, int64_t ns) NETSTACK_LOCKED
{
    net_timer_arm(tw->ts->st, &tw->timer, netstack_time(tw->ts->st) + ns);
}

/* Ends the connection; its stand-in waits in `substate`: TCPS_TIME_WAIT, or TCPS_FIN_WAIT2 for `ns`. */
void tcp_time_wait(struct tcp_sock *tp, int substate, int64_t ns)
{
    struct tcp_stack *ts = tp->ts;
    struct tcp_tw *tw = ts->nr_tw < (uint32_t)ts->sysctl.max_tw_buckets ? calloc(1, sizeof *tw) : NULL;
    if (!tw) {
        MIB_INC(tp->st, TcpExtTCPTimeWaitOverflow);
        tcp_done(tp);
        return;
    }
    endpoint_init(&tw->ep, tp->st, NULL, NULL, tp->ep.family, IPPROTO_TCP);
    tw->ep.laddr = tp->ep.laddr;
    tw->ep.raddr = tp->ep.raddr;
    tw->ep.lport = tp->ep.lport;
    tw->ep.rport = tp->ep.rport;
    tw->ep.bound_if = tp->ep.bound_if;
    tw->ep.uid = tp->ep.uid;
    tw->ep.v6only = tp->ep.v6only;
    tw->ep.reuseaddr = tp->ep.reuseaddr;
    tw->ep.reuseport = tp->ep.reuseport;
    tw->ep.mark = tp->ep.mark;
    tw->ep.flow = tp->ep.flow;
    tw->ep.flow.opts = NULL;
    tw->ep.flow.opt_len = 0;
    tw->ep.flow.ext = NULL;
    tw->ep.flow.ext_len = 0;
    tw->ts = ts;
    tw->state = TCPS_TIME_WAIT;
    tw->substate = substate;
    tw->rcv_wscale = tp->rcv_wscale;
    tw->rcv_nxt = tp->rcv_nxt;
    tw->snd_nxt = tp->snd_nxt;
    tw->rcv_wnd = tcp_receive_window(tp);
    tw->ts_ok = tp->ts_ok;
    tw->ts_recent = tp->ts_recent;
    tw->ts_recent_at = tp->ts_recent_at;
    tw->ts_offset = tp->ts_offset;
    tw->cookie = ++ts->next_cookie;
    net_timer_init(&tw->timer, tw_expire);
    list_add_tail(&tw->all_node, &ts->tws);
    ts->nr_tw++;
    be16 lport = tp->ep.lport;
    port_replace(ts->ports, &tp->ep, &tw->ep);
    tp->ep.lport = lport; /* still what getsockname() answers */
    int64_t rto = (tp->rto_us * 4 - tp->rto_us / 2) * 1000;
    if (ns < rto)
        ns = rto;
    tw_arm(tw, substate == TCPS_TIME_WAIT ? TCP_TIMEWAIT_NS : ns);
    tcp_done(tp);
}

static void tw_ack(struct tcp_tw *tw) NETSTACK_LOCKED
{
    struct tcp_out o = {
        .seq = tw->snd_nxt,
        .ack = tw->rcv_nxt,
        .flags = TCP_ACK,
        .window = tw->rcv_wnd >> tw->rcv_wscale,
    };
    if (tw->ts_ok) {
        o.opt.has_ts = true;
        o.opt.tsval = netstack_time(tw->ts->st) / NET_MSEC + tw->ts_offset;
        o.opt.tsecr = tw->ts_recent;
    }
    struct pkt *p = pkt_alloc(PKT_HEADROOM, 0);
    if (p)
        tcp_emit(tw->ts->st, &tw->ep.flow, p, &o);
}

static bool in_window(uint32_t seq, uint32_t end, uint32_t lo, uint32_t hi)
{
    if (seq == lo)
        return true;
    if (seq_after(end, lo) && seq_before(seq, hi))
        return true;
    return seq == hi && seq == end;
}

static void oow_ack(struct tcp_tw *tw) NETSTACK_LOCKED
{
    if (tcp_oow_limited(tw->ts, &tw->last_oow_ack_at)) {
        if (tw->substate == TCPS_FIN_WAIT2)
            MIB_INC(tw->ts->st, TcpExtTCPACKSkippedFinWait2);
        else
            MIB_INC(tw->ts->st, TcpExtTCPACKSkippedTimeWait);
        return;
    }
    tw_ack(tw);
}

static enum tcp_tw_verdict fin_wait2_input(struct tcp_tw *tw, const struct tcp_rx *rx, bool paws_reject) NETSTACK_LOCKED
{
    if (paws_reject || !in_window(rx->seq, rx->end_seq, tw->rcv_nxt, tw->rcv_nxt + tw->rcv_wnd)) {
        if (!(rx->flags & TCP_RST))
            oow_ack(tw);
        return TCP_TW_DONE;
    }
    if (rx->flags & TCP_RST) {
        tw_free(tw);
        return TCP_TW_DONE;
    }
    if ((rx->flags & TCP_SYN) && !seq_before(rx->seq, tw->rcv_nxt))
        return TCP_TW_RST;
    if (!(rx->flags & TCP_ACK) || !seq_after(rx->end_seq, tw->rcv_nxt) || rx->end_seq == rx->seq)
        return TCP_TW_DONE;
    /* Data for a reader that is gone. */
    if (!(rx->flags & TCP_FIN) || rx->end_seq != tw->rcv_nxt + 1)
        return TCP_TW_RST;
    tw->substate = TCPS_TIME_WAIT;
    tw->rcv_nxt = rx->end_seq;
    if (rx->opt.has_ts) {
        tw->ts_recent = rx->opt.tsval;
        tw->ts_recent_at = netstack_time(tw->ts->st) / NET_SEC;
    }
    tw_arm(tw, TCP_TIMEWAIT_NS);
    tw_ack(tw);
    return TCP_TW_DONE;
}

/* A segment for the stand-in, which may be gone afterwards. TCP_TW_SYN: a new connection may take its place, beginning at *isn.
 */
enum tcp_tw_verdict tcp_tw_input(struct tcp_tw *tw, const struct tcp_rx *rx, uint32_t *isn)
{
    struct netstack *st = tw->ts->st;
    bool paws_reject = false;
    if (rx->opt.has_ts && tw->ts_recent_at)
        paws_reject = (int32_t)(tw->ts_recent - rx->opt.tsval) > TCP_PAWS_WINDOW &&
                      netstack_time(st) / NET_SEC < tw->ts_recent_at + TCP_PAWS_24DAYS_S;
    if (tw->substate == TCPS_FIN_WAIT2)
        return fin_wait2_input(tw, rx, paws_reject);
    if (!paws_reject && rx->seq == tw->rcv_nxt && (rx->seq == rx->end_seq || (rx->flags & TCP_RST))) {
        if (rx->flags & TCP_RST) {
            /* RFC 1337 would ignore it; by default it ends the wait. */
            if (!tw->ts->sysctl.rfc1337) {
                tw_free(tw);
                return TCP_TW_DONE;
            }
        } else {
            tw_arm(tw, TCP_TIMEWAIT_NS);
        }
        if (rx->opt.has_ts) {
            tw->ts_recent = rx->opt.tsval;
            tw->ts_recent_at = netstack_time(st) / NET_SEC;
        }
        return TCP_TW_DONE;
    }
    if ((rx->flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN && !paws_reject &&
        (seq_after(rx->seq, tw->rcv_nxt) || (rx->opt.has_ts && (int32_t)(tw->ts_recent - rx->opt.tsval) < 0))) {
        *isn = tw->snd_nxt + 65535 + 2;
        if (*isn == 0)
            ++*isn;
        return TCP_TW_SYN;
    }
    if (paws_reject)
        MIB_INC(st, TcpExtPAWSEstab);
    if (!(rx->flags & TCP_RST)) {
        if (paws_reject || (rx->flags & TCP_ACK))
            tw_arm(tw, TCP_TIMEWAIT_NS);
        oow_ack(tw);
    }
    return TCP_TW_DONE;
}

/* May a new connection with the same addresses replace it, and begin behind its sequence numbers? Time stamps then tell old
 * segments from new ones. */
bool tcp_tw_reusable(const struct tcp_tw *tw)
{
    int reuse = tw->ts->sysctl.tw_reuse;
    if (reuse == 2 && !addr_is_loopback(&tw->ep.laddr) && !addr_is_loopback(&tw->ep.raddr))
        reuse = 0;
    return reuse && tw->ts_ok && tw->ts_recent_at && netstack_time(tw->ts->st) / NET_SEC > tw->ts_recent_at;
}
