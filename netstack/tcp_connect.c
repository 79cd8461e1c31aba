/* Active opening, and binding. */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>

/* The endpoint's flow for its addresses and options, not yet routed. */
void tcp_make_flow(struct tcp_sock *tp)
{
    struct ip_flow *f = &tp->ep.flow;
    endpoint_flow(&tp->ep, &tp->ep.raddr, f);
    f->dst = tp->ep.raddr;
    f->src = tp->ep.laddr;
    f->proto = IPPROTO_TCP;
    f->sport = tp->ep.lport;
    f->dport = tp->ep.rport;
    f->rt.nic = NULL;
}

void tcp_options_changed(struct tcp_sock *tp)
{
    if (tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN)
        return;
    int oif = tp->ep.flow.oif;
    tcp_make_flow(tp);
    if (!tp->ep.flow.oif && addr_is_linklocal(&tp->ep.raddr))
        tp->ep.flow.oif = oif;
}

int tcp_bind(struct tcp_sock *tp, const struct in6_addr *addr, be16 port, int scope_if)
{
    if (tp->state != TCPS_CLOSE || tp->ep.bucket)
        return -EINVAL;
    if (addr_is_multicast(addr))
        return -EADDRNOTAVAIL;
    int r = endpoint_check_laddr(&tp->ep, addr, scope_if);
    if (r < 0)
        return r;
    if (scope_if && addr_is_linklocal(addr))
        tp->ep.bound_if = scope_if;
    r = port_bind(tp->ts->ports, &tp->ep, addr, port);
    if (r < 0)
        return r;
    tp->bound_port = port != 0;
    tp->bound_addr = !addr_is_any(addr);
    return 0;
}

/* An address in TIME_WAIT that the new connection may take over, so that its sequence numbers go on behind the old ones'. */
static bool reuse_time_wait(struct tcp_sock *tp, be16 lport, uint32_t *isn) NETSTACK_LOCKED
{
    struct endpoint *ep = port_lookup_connected(tp->ts->ports, &tp->ep.laddr, lport, &tp->ep.raddr, tp->ep.rport, NULL);
    struct tcp_tw *tw = (struct tcp_tw *)ep;
    if (!ep || tw->state != TCPS_TIME_WAIT || !tcp_tw_reusable(tw))
        return false;
    *isn = tw->snd_nxt + 65535 + 2;
    tp->ts_recent = tw->ts_recent;
    tp->ts_recent_at = tw->ts_recent_at;
    MIB_INC(tp->st, TcpExtTWRecycled);
    tcp_tw_kill(tw);
    return true;
}

/* All ports are taken towards this place: is one of them only in TIME_WAIT? */
static bool free_a_port(struct tcp_sock *tp, uint32_t *isn) NETSTACK_LOCKED
{
    for (int port = tp->st->sysctl.port_min; port <= tp->st->sysctl.port_max; port++)
        if (reuse_time_wait(tp, htons((uint16_t)port), isn))
            return true;
    return false;
}

static int enter(struct tcp_sock *tp, const struct in6_addr *addr, be16 port, uint32_t *isn) NETSTACK_LOCKED
{
    struct endpoint *ep = &tp->ep;
    ep->raddr = *addr;
    ep->rport = port;
    tcp_make_flow(tp);
    int r = ip_route(tp->st, &ep->flow);
    if (r < 0)
        return r;
    if (ep->flow.rt.type == RTN_BROADCAST || ep->flow.rt.type == RTN_MULTICAST)
        return -ENETUNREACH;
    ep->laddr = ep->flow.src;
    if (ep->bucket)
        reuse_time_wait(tp, ep->lport, isn);
    r = port_connect(tp->ts->ports, ep);
    if (r == -EADDRNOTAVAIL && !ep->bucket && tp->ts->sysctl.tw_reuse && free_a_port(tp, isn))
        r = port_connect(tp->ts->ports, ep);
    if (r < 0)
        return r;
    ep->flow.sport = ep->lport;
    return 0;
}

static int start(struct tcp_sock *tp, const struct in6_addr *addr, be16 port) NETSTACK_LOCKED
{
    struct in6_addr laddr = tp->ep.laddr;
    uint32_t isn = 0;
    tcp_reset_connection(tp);
    int r = enter(tp, addr, port, &isn);
    if (r < 0) {
        tp->ep.laddr = laddr;
        tp->ep.raddr = addr_any(tp->ep.family);
        tp->ep.rport = 0;
        return r;
    }
    struct tcp_tuple t = {tp->ep.laddr, tp->ep.raddr, tp->ep.lport, tp->ep.rport};
    tp->ts_offset = tcp_ts_offset(tp->st, &tp->ep.laddr, &tp->ep.raddr);
    tp->iss = isn ? isn : tcp_new_isn(tp->st, &t);
    tp->snd_una = tp->snd_nxt = tp->write_seq = tp->pushed_seq = tp->snd_sml = tp->snd_up = tp->iss;
    tp->high_seq = tp->rtt_seq = tp->max_packets_seq = tp->highest_sack = tp->iss;
    tp->advmss = tcp_route_advmss(&tp->ep.flow, tp->user_mss);
    tcp_sync_mss(tp, ip_flow_mtu(&tp->ep.flow));
    tcp_initial_window(tp);
    tp->shutdown = 0;
    tp->err = 0;
    tp->snd_wnd = 1; /* for the SYN */
    tp->syn_ts = tcp_ts_now(tp);
    tcp_set_state(tp, TCPS_SYN_SENT);
    MIB_INC(tp->st, TcpActiveOpens);
    uint8_t flags = TCP_SYN | (tp->ts->sysctl.ecn == 1 ? TCP_ECE | TCP_CWR : 0);
    if (tcp_queue_control(tp, flags) < 0) {
        tcp_done(tp);
        return -ENOBUFS;
    }
    struct tcp_seg *seg = tcp_unsent_head(tp);
    r = tcp_xmit_seg(tp, seg, false);
    if (r == -ECONNREFUSED || r == -EPERM) {
        tcp_purge_write_queue(tp);
        tcp_done(tp);
        return r;
    }
    list_del_init(&seg->node);
    list_add_tail(&seg->node, &tp->rtx);
    list_add_tail(&seg->sent_node, &tp->by_time);
    tp->packets_out = 1;
    tp->snd_nxt = seg->end_seq;
    tp->high_seq = tp->snd_nxt;
    tp->rto_first_at = tcp_now(tp); /* the attempt's time is limited from here on */
    tcp_arm(tp, TIMER_RTO, tp->rto_us * 1000);
    return 0;
}

int tcp_connect(struct tcp_sock *tp, const struct in6_addr *addr, be16 port, int scope_if)
{
    if (tp->connecting) {
        if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV)
            return -EALREADY;
        tp->connecting = false;
        if (tp->state != TCPS_CLOSE)
            return 0;
        int err = tcp_pending_error(tp);
        tcp_disconnect(tp);
        return err ? -err : -ECONNABORTED;
    }
    if (tp->state != TCPS_CLOSE)
        return -EISCONN;
    struct in6_addr to = *addr;
    if (addr_is_any(&to))
        to = addr_is_v4(&to) ? addr_from_v4(htonl(INADDR_LOOPBACK)) : in6addr_loopback;
    bool v4 = addr_is_v4(&to);
    if (tp->ep.family == AF_INET ? !v4 : v4 && tp->ep.v6only)
        return -ENETUNREACH;
    if (tp->bound_addr && addr_is_v4(&tp->ep.laddr) != v4)
        return v4 ? -EINVAL : -ENETUNREACH;
    if (addr_is_multicast(&to) || addr_is_limited_broadcast(&to))
        return -ENETUNREACH;
    if (addr_is_linklocal(&to)) {
        if (scope_if && tp->ep.bound_if && tp->ep.bound_if != scope_if)
            return -EINVAL;
        if (scope_if)
            tp->ep.bound_if = scope_if;
        if (!tp->ep.bound_if)
            return -EINVAL;
    }
    tp->connecting = true;
    int r = start(tp, &to, port);
    if (r < 0) {
        tp->connecting = false;
        return r;
    }
    return -EINPROGRESS;
}

int tcp_disconnect(struct tcp_sock *tp)
{
    int old = tp->state;
    tcp_get(tp);
    if (old == TCPS_LISTEN) {
        tcp_set_state(tp, TCPS_CLOSE);
        tcp_listen_stop(tp);
    } else if (old == TCPS_SYN_SENT) {
        tp->err = ECONNRESET;
    } else if (old == TCPS_ESTABLISHED || old == TCPS_CLOSE_WAIT || old == TCPS_FIN_WAIT1 || old == TCPS_FIN_WAIT2 ||
               old == TCPS_SYN_RECV || (tp->snd_nxt != tp->write_seq && (old == TCPS_CLOSING || old == TCPS_LAST_ACK))) {
        /* RFC 9293: ABORT. */
        tcp_send_active_reset(tp);
        tp->err = ECONNRESET;
    }
    tcp_purge_write_queue(tp);
    tcp_rcvq_purge(tp);
    tcp_reasm_purge(tp);
    tcp_done(tp);
    tp->connecting = false;
    if (!tp->dead) {
        if (!tp->bound_port)
            port_unbind(tp->ts->ports, &tp->ep);
        if (!tp->bound_addr)
            tp->ep.laddr = addr_any(tp->ep.family);
        tp->ep.raddr = addr_any(tp->ep.family);
        tp->ep.rport = 0;
        tp->shutdown = 0;
        tcp_reset_connection(tp);
        tcp_wake(tp, POLLERR | POLLHUP);
    }
    tcp_put(tp);
    return 0;
}

void tcp_local(const struct tcp_sock *tp, struct in6_addr *addr, be16 *port)
{
    *addr = tp->ep.laddr;
    *port = tp->ep.lport;
}

int tcp_peer(const struct tcp_sock *tp, struct in6_addr *addr, be16 *port)
{
    if (!tp->ep.rport || tp->state == TCPS_CLOSE || tp->state == TCPS_SYN_SENT)
        return -ENOTCONN;
    *addr = tp->ep.raddr;
    *port = tp->ep.rport;
    return 0;
}
