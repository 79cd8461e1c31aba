/*
 * A connection's timers: retransmission, tail probe, reordering and window probe (one timer, since only one of them is ever
 * needed), delayed acknowledgement, and keepalive, which also ends the wait of an orphan in FIN_WAIT2.
 */
#include "netstack/tcp_internal.h"

#include "lib/log.h"

#include <errno.h>

void tcp_arm(struct tcp_sock *tp, enum tcp_pending_timer what, int64_t ns)
{
    tp->pending = what;
    if (ns > TCP_RTO_MAX_US * 1000)
        ns = TCP_RTO_MAX_US * 1000;
    net_timer_arm(tp->st, &tp->rtx_timer, tcp_now(tp) + (ns > 0 ? ns : 1));
}

void tcp_disarm(struct tcp_sock *tp)
{
    tp->pending = TIMER_NONE;
    net_timer_cancel(tp->st, &tp->rtx_timer);
}

/* How long until the oldest segment's timeout, as if its timer had run since it was sent. */
int64_t tcp_rto_left_us(const struct tcp_sock *tp)
{
    const struct tcp_seg *head = tcp_rtx_head((struct tcp_sock *)tp);
    return head ? head->sent_at / 1000 + tp->rto_us - tcp_now(tp) / 1000 : tp->rto_us;
}

void tcp_rearm_rto(struct tcp_sock *tp)
{
    if (tp->packets_out == 0) {
        tcp_disarm(tp);
        return;
    }
    int64_t us = tp->rto_us;
    if (tp->pending == TIMER_REO || tp->pending == TIMER_TLP) {
        us = tcp_rto_left_us(tp);
        if (us < 1)
            us = 1;
    }
    tcp_arm(tp, TIMER_RTO, us * 1000);
}

int64_t tcp_probe_interval(const struct tcp_sock *tp)
{
    int64_t us = tp->rto_us > TCP_RTO_MIN_US ? tp->rto_us : TCP_RTO_MIN_US;
    int shift = tp->backoff < 10 ? tp->backoff : 10;
    us <<= shift;
    return (us < TCP_RTO_MAX_US ? us : TCP_RTO_MAX_US) * 1000;
}

/* The connection failed for want of answers. */
static void write_err(struct tcp_sock *tp) NETSTACK_LOCKED
{
    MIB_INC(tp->st, TcpExtTCPAbortOnTimeout);
    tcp_fail(tp, tp->soft_err ? tp->soft_err : ETIMEDOUT);
}

static int orphan_retries(const struct tcp_sock *tp, bool alive)
{
    int n = tp->ts->sysctl.orphan_retries;
    if (tp->soft_err && !alive)
        return 0;
    return n == 0 && alive ? TCP_ORPHAN_RETRIES : n;
}

/* Would `boundary` retransmissions, had each come at its due time, have taken until now? */
static bool timed_out(const struct tcp_sock *tp, int boundary, uint32_t timeout_ms) NETSTACK_LOCKED
{
    if (!tp->retransmits || !tp->rto_first_at)
        return false;
    int64_t us = timeout_ms * 1000LL;
    if (us == 0) {
        int64_t base = tp->state == TCPS_SYN_SENT ? TCP_RTO_INIT_US : TCP_RTO_MIN_US;
        int thresh = 0;
        while ((base << (thresh + 1)) <= TCP_RTO_MAX_US)
            thresh++;
        if (boundary <= thresh)
            us = ((2LL << boundary) - 1) * base;
        else
            us = ((2LL << thresh) - 1) * base + (boundary - thresh) * TCP_RTO_MAX_US;
    }
    return (tcp_now(tp) - tp->rto_first_at) / 1000 >= us;
}

/* Too many orphans, or too little memory: an orphan that does not progress is given up. */
bool tcp_out_of_resources(struct tcp_sock *tp, bool reset)
{
    if (tp->ts->nr_orphans <= (uint32_t)tp->ts->sysctl.max_orphans && !tcp_mem_exhausted(tp))
        return false;
    if (reset)
        tcp_send_active_reset(tp);
    MIB_INC(tp->st, TcpExtTCPAbortOnMemory);
    tcp_done(tp);
    return true;
}

static bool give_up(struct tcp_sock *tp) NETSTACK_LOCKED
{
    const struct tcp_sysctl *sc = &tp->ts->sysctl;
    int until;
    bool expired = false;
    if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV) {
        until = tp->syncnt ? tp->syncnt : sc->syn_retries;
        expired = tp->retransmits >= until + (tp->state == TCPS_SYN_SENT ? TCP_SYN_LINEAR : 0);
    } else {
        until = sc->retries2;
        if (timed_out(tp, sc->retries1, 0))
            tp->ep.flow.rt.nic = NULL; /* the way may be wrong: look it up again */
        if (tp->orphan) {
            bool alive = tp->rto_us < TCP_RTO_MAX_US;
            until = orphan_retries(tp, alive);
            if (tcp_out_of_resources(tp, alive || !timed_out(tp, until, 0)))
                return true;
        }
    }
    if (!expired)
        expired = timed_out(tp, until, tp->user_timeout_ms);
    if (expired)
        write_err(tp);
    return expired;
}

static void retransmit_timeout(struct tcp_sock *tp) NETSTACK_LOCKED
{
    struct tcp_seg *head = tcp_rtx_head(tp);
    if (tp->packets_out == 0 || !head)
        return;
    MIB_INC(tp->st, TcpExtTCPTimeouts);
    if (tp->rto_first_at == 0)
        tp->rto_first_at = tcp_now(tp);
    if (tp->snd_wnd == 0 && !tp->orphan && tp->state != TCPS_SYN_SENT && tp->state != TCPS_SYN_RECV) {
        /* The peer shrank its window to nothing behind our data: that is no loss, but it must answer now and then. */
        if (tcp_now(tp) - tp->rcv_activity_at > TCP_RTO_MAX_US * 1000) {
            write_err(tp);
            return;
        }
        tcp_enter_loss(tp);
        int r = tcp_retransmit_seg(tp, head);
        if (r < 0)
            log_debug("tcp: no probe of a closed window: %d", r);
    } else {
        if (give_up(tp))
            return;
        tcp_enter_loss(tp);
        if (tp->retransmits == 0) {
            tp->total_rto_recoveries++;
            tp->rto_stamp = tcp_now(tp);
        }
        if (tp->retransmits < 255)
            tp->retransmits++;
        tp->total_rto++;
        if (tcp_retransmit_seg(tp, tcp_rtx_head(tp)) == -ENOBUFS) {
            tcp_arm(tp, TIMER_RTO, tp->rto_us * 1000 < TCP_RESOURCE_PROBE ? tp->rto_us * 1000 : TCP_RESOURCE_PROBE);
            return;
        }
    }
    /* A SYN's first timeouts are not backed off: what is lost then is rarely lost for congestion. */
    if (tp->state != TCPS_SYN_SENT || tp->retransmits > TCP_SYN_LINEAR) {
        if (tp->backoff < 255)
            tp->backoff++;
        tp->rto_us = tp->rto_us * 2 < TCP_RTO_MAX_US ? tp->rto_us * 2 : TCP_RTO_MAX_US;
    }
    int64_t ns = tp->rto_us * 1000;
    if (tp->user_timeout_ms && tp->rto_first_at) {
        int64_t left = tp->rto_first_at + tp->user_timeout_ms * NET_MSEC - tcp_now(tp);
        if (left < ns)
            ns = left > NET_MSEC ? left : NET_MSEC;
    }
    tcp_arm(tp, TIMER_RTO, ns);
}

void tcp_rto_recovered(struct tcp_sock *tp)
{
    if (tp->rto_stamp) {
        tp->total_rto_time_us += (tcp_now(tp) - tp->rto_stamp) / 1000;
        tp->rto_stamp = 0;
    }
}

static void probe_timeout(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (tp->packets_out || list_empty(&tp->unsent)) {
        tp->probes_out = 0;
        tp->probes_since = 0;
        return;
    }
    int max = tp->ts->sysctl.retries2;
    if (!tp->probes_since) {
        tp->probes_since = tcp_now(tp);
    } else if (tp->user_timeout_ms && tcp_now(tp) - tp->probes_since >= tp->user_timeout_ms * NET_MSEC) {
        write_err(tp);
        return;
    }
    if (tp->orphan) {
        bool alive = tcp_probe_interval(tp) < TCP_RTO_MAX_US * 1000;
        max = orphan_retries(tp, alive);
        if (!alive && tp->backoff >= max) {
            write_err(tp);
            return;
        }
        if (tcp_out_of_resources(tp, true))
            return;
    }
    if (tp->probes_out >= max) {
        write_err(tp);
        return;
    }
    int r = tcp_probe_window(tp);
    if (tp->packets_out || list_empty(&tp->unsent)) {
        tp->probes_out = 0;
        tp->backoff = 0;
        tp->probes_since = 0;
        return;
    }
    tp->probes_out++;
    int64_t ns = TCP_RESOURCE_PROBE;
    if (r >= 0) {
        if (tp->backoff < tp->ts->sysctl.retries2)
            tp->backoff++;
        ns = tcp_probe_interval(tp);
    }
    if (tp->user_timeout_ms) {
        int64_t left = tp->probes_since + tp->user_timeout_ms * NET_MSEC - tcp_now(tp);
        if (left < ns)
            ns = left > NET_MSEC ? left : NET_MSEC;
    }
    tcp_arm(tp, TIMER_PROBE, ns);
}

static void rtx_fire(struct net_timer *t) NETSTACK_LOCKED
{
    struct tcp_sock *tp = container_of(t, struct tcp_sock, rtx_timer);
    enum tcp_pending_timer what = tp->pending;
    if (tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN)
        return;
    tcp_get(tp);
    switch (what) {
    case TIMER_RTO:
        tp->pending = TIMER_NONE;
        retransmit_timeout(tp);
        break;
    case TIMER_PROBE:
        tp->pending = TIMER_NONE;
        probe_timeout(tp);
        break;
    case TIMER_TLP:
        tcp_tlp_timeout(tp);
        break;
    case TIMER_REO:
        tp->pending = TIMER_NONE;
        tcp_rack_timeout(tp);
        break;
    case TIMER_NONE:
        break;
    }
    tcp_put(tp);
}

/* ---- acknowledgements ---- */

void tcp_quickack(struct tcp_sock *tp, uint32_t max)
{
    uint32_t n = tp->rcv_mss ? tp->rcv_wnd / (2 * tp->rcv_mss) : 2;
    if (n == 0)
        n = 2;
    if (n > max)
        n = max;
    if (n > tp->quick)
        tp->quick = n;
}

void tcp_enter_quickack(struct tcp_sock *tp, uint32_t max)
{
    tcp_quickack(tp, max);
    tp->pingpong = 0;
    tp->ato = TCP_ATO_MIN_NS;
}

void tcp_delay_ack(struct tcp_sock *tp)
{
    int64_t ato = tp->ato, now = tcp_now(tp);
    if (ato > TCP_DELACK_MIN_NS) {
        int64_t max = tcp_in_pingpong(tp) ? TCP_DELACK_MAX_NS : NET_SEC / 2;
        if (tp->srtt_us) {
            int64_t rtt = (tp->srtt_us >> 3) * 1000;
            if (rtt < TCP_DELACK_MIN_NS)
                rtt = TCP_DELACK_MIN_NS;
            if (rtt < max)
                max = rtt;
        }
        if (ato > max)
            ato = max;
    }
    int64_t at = now + ato;
    if (net_timer_armed(&tp->delack_timer)) {
        int64_t due = tp->delack_timer.expires;
        if (due <= now + ato / 4) {
            tcp_send_ack(tp);
            return;
        }
        if (at > due)
            at = due;
    }
    tp->ack_pending = true;
    net_timer_arm(tp->st, &tp->delack_timer, at);
}

static void delack_fire(struct net_timer *t) NETSTACK_LOCKED
{
    struct tcp_sock *tp = container_of(t, struct tcp_sock, delack_timer);
    if (tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN || !tp->ack_pending)
        return;
    if (!tcp_in_pingpong(tp)) {
        /* The delay was in vain; next time be more patient. */
        tp->ato = tp->ato * 2 < tp->rto_us * 1000 ? tp->ato * 2 : tp->rto_us * 1000;
    } else {
        tp->pingpong = 0;
        tp->ato = TCP_ATO_MIN_NS;
    }
    MIB_INC(tp->st, TcpExtDelayedACKs);
    tcp_send_ack(tp);
}

/* ---- keepalive ---- */

static int64_t keepidle(const struct tcp_sock *tp)
{
    return (tp->keepidle_s ? tp->keepidle_s : tp->ts->sysctl.keepalive_time) * NET_SEC;
}

int64_t tcp_fin_wait2_ns(const struct tcp_sock *tp)
{
    int64_t ns = (tp->linger2_s ? tp->linger2_s : tp->ts->sysctl.fin_timeout) * NET_SEC;
    int64_t min = (tp->rto_us * 4 - tp->rto_us / 2) * 1000;
    return ns > min ? ns : min;
}

static int64_t keepalive_elapsed(const struct tcp_sock *tp) NETSTACK_LOCKED
{
    int64_t last = tp->last_rcv_at > tp->rcv_activity_at ? tp->last_rcv_at : tp->rcv_activity_at;
    return tcp_now(tp) - last;
}

static void keep_arm(struct tcp_sock *tp, int64_t ns) NETSTACK_LOCKED
{
    net_timer_arm(tp->st, &tp->keep_timer, tcp_now(tp) + ns);
}

void tcp_keepalive_set(struct tcp_sock *tp)
{
    if (tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN || (tp->orphan && tp->state == TCPS_FIN_WAIT2))
        return;
    if (!tp->keepalive) {
        net_timer_cancel(tp->st, &tp->keep_timer);
        return;
    }
    int64_t left = keepidle(tp) - keepalive_elapsed(tp);
    keep_arm(tp, left > 0 ? left : 1);
}

static void keepalive(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (!tp->keepalive || tp->state == TCPS_CLOSE || tp->state == TCPS_SYN_SENT)
        return;
    int64_t idle = keepidle(tp);
    if (tp->packets_out || !list_empty(&tp->unsent)) {
        keep_arm(tp, idle); /* there is traffic, whose own timers watch over it */
        return;
    }
    int64_t elapsed = keepalive_elapsed(tp), user = tp->user_timeout_ms * NET_MSEC;
    if (elapsed < idle) {
        keep_arm(tp, idle - elapsed);
        return;
    }
    int probes = tp->keepcnt ? tp->keepcnt : tp->ts->sysctl.keepalive_probes;
    if (user ? elapsed >= user && tp->probes_out > 0 : tp->probes_out >= probes) {
        tcp_send_active_reset(tp);
        write_err(tp);
        return;
    }
    MIB_INC(tp->st, TcpExtTCPKeepAlive);
    tcp_send_window_probe(tp, tp->snd_una - 1);
    tp->probes_out++;
    keep_arm(tp, (tp->keepintvl_s ? tp->keepintvl_s : tp->ts->sysctl.keepalive_intvl) * NET_SEC);
}

static void keep_fire(struct net_timer *t) NETSTACK_LOCKED
{
    struct tcp_sock *tp = container_of(t, struct tcp_sock, keep_timer);
    tcp_get(tp);
    if (tp->state == TCPS_FIN_WAIT2 && tp->orphan) {
        int64_t ns = tcp_fin_wait2_ns(tp) - TCP_TIMEWAIT_NS;
        if (tp->linger2_s >= 0 && ns > 0) {
            tcp_time_wait(tp, TCPS_FIN_WAIT2, ns);
        } else {
            tcp_send_active_reset(tp);
            tcp_done(tp);
        }
    } else {
        keepalive(tp);
    }
    tcp_put(tp);
}

void tcp_init_timers(struct tcp_sock *tp)
{
    net_timer_init(&tp->rtx_timer, rtx_fire);
    net_timer_init(&tp->delack_timer, delack_fire);
    net_timer_init(&tp->keep_timer, keep_fire);
}

void tcp_cancel_timers(struct tcp_sock *tp)
{
    tcp_disarm(tp);
    net_timer_cancel(tp->st, &tp->delack_timer);
    net_timer_cancel(tp->st, &tp->keep_timer);
}
