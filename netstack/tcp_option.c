/* Options of sockets: a table of those with an int value, with Linux's numbers, ranges and errors. */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>

#define OPT_NOTSENT_LOWAT 25

struct option {
    int opt;
    int (*set)(struct tcp_sock *tp, int v);
    int (*get)(struct tcp_sock *tp);
};

static int set_nodelay(struct tcp_sock *tp, int v) NETSTACK_LOCKED
{
    tp->nodelay = v;
    if (v)
        tcp_push(tp, TCP_PUSH_AUTO);
    return 0;
}

static int get_nodelay(struct tcp_sock *tp)
{
    return tp->nodelay;
}

static int set_cork(struct tcp_sock *tp, int v) NETSTACK_LOCKED
{
    tp->cork = v;
    if (!v)
        tcp_push(tp, TCP_PUSH_AUTO);
    return 0;
}

static int get_cork(struct tcp_sock *tp)
{
    return tp->cork;
}

static int set_maxseg(struct tcp_sock *tp, int v)
{
    if (v && (v < 88 || v > 32767))
        return -EINVAL;
    tp->user_mss = v;
    return 0;
}

static int get_maxseg(struct tcp_sock *tp)
{
    if (tp->user_mss && (tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN))
        return tp->user_mss;
    return tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN ? TCP_MSS_DEFAULT : tcp_cached_mss(tp);
}

static int set_keepidle(struct tcp_sock *tp, int v) NETSTACK_LOCKED
{
    if (v < 1 || v > 32767)
        return -EINVAL;
    tp->keepidle_s = v;
    if (tp->keepalive)
        tcp_keepalive_set(tp);
    return 0;
}

static int get_keepidle(struct tcp_sock *tp)
{
    return tp->keepidle_s ? tp->keepidle_s : tp->ts->sysctl.keepalive_time;
}

static int set_keepintvl(struct tcp_sock *tp, int v)
{
    if (v < 1 || v > 32767)
        return -EINVAL;
    tp->keepintvl_s = v;
    return 0;
}

static int get_keepintvl(struct tcp_sock *tp)
{
    return tp->keepintvl_s ? tp->keepintvl_s : tp->ts->sysctl.keepalive_intvl;
}

static int set_keepcnt(struct tcp_sock *tp, int v)
{
    if (v < 1 || v > 127)
        return -EINVAL;
    tp->keepcnt = v;
    return 0;
}

static int get_keepcnt(struct tcp_sock *tp)
{
    return tp->keepcnt ? tp->keepcnt : tp->ts->sysctl.keepalive_probes;
}

static int set_syncnt(struct tcp_sock *tp, int v)
{
    if (v < 1 || v > 127)
        return -EINVAL;
    tp->syncnt = v;
    return 0;
}

static int get_syncnt(struct tcp_sock *tp)
{
    return tp->syncnt ? tp->syncnt : tp->ts->sysctl.syn_retries;
}

static int set_linger2(struct tcp_sock *tp, int v)
{
    tp->linger2_s = v < 0 ? -1 : v > 120 ? 120 : v;
    return 0;
}

static int get_linger2(struct tcp_sock *tp)
{
    return tp->linger2_s < 0 ? -1 : tp->linger2_s ? tp->linger2_s : tp->ts->sysctl.fin_timeout;
}

static int set_defer_accept(struct tcp_sock *tp, int v)
{
    tp->defer_accept_s = v > 0 ? v : 0;
    return 0;
}

/* Linux keeps it as a number of SYN-ACKs, and answers with the time that these take. */
static int get_defer_accept(struct tcp_sock *tp)
{
    int period = 0, timeout = 1;
    if (tp->defer_accept_s <= 0)
        return 0;
    for (period = 1; tp->defer_accept_s > period;) {
        timeout = timeout * 2 < 120 ? timeout * 2 : 120;
        period += timeout;
    }
    return period;
}

static int set_window_clamp(struct tcp_sock *tp, int v)
{
    if (v == 0) {
        if (tp->state != TCPS_CLOSE)
            return -EINVAL;
        tp->window_clamp = 0;
        return 0;
    }
    uint32_t min = 2304 / 2;
    tp->window_clamp = (uint32_t)v < min ? min : (uint32_t)v;
    if (tp->rcv_ssthresh > tp->window_clamp)
        tp->rcv_ssthresh = tp->window_clamp;
    return 0;
}

static int get_window_clamp(struct tcp_sock *tp)
{
    return tp->window_clamp;
}

static int set_quickack(struct tcp_sock *tp, int v) NETSTACK_LOCKED
{
    if (!v) {
        tp->pingpong = 3;
        return 0;
    }
    tp->pingpong = 0;
    if ((tp->state == TCPS_ESTABLISHED || tp->state == TCPS_CLOSE_WAIT) && tp->ack_pending) {
        tcp_send_ack(tp);
        if (!(v & 1))
            tp->pingpong = 3;
    }
    return 0;
}

static int get_quickack(struct tcp_sock *tp)
{
    return !tcp_in_pingpong(tp);
}

static int set_user_timeout(struct tcp_sock *tp, int v)
{
    if (v < 0)
        return -EINVAL;
    tp->user_timeout_ms = v;
    return 0;
}

static int get_user_timeout(struct tcp_sock *tp)
{
    return tp->user_timeout_ms;
}

static int set_notsent_lowat(struct tcp_sock *tp, int v)
{
    tp->notsent_lowat = v;
    if (tcp_writeable(tp))
        tcp_wake(tp, POLLOUT | POLLWRNORM);
    return 0;
}

static int get_notsent_lowat(struct tcp_sock *tp)
{
    return tp->notsent_lowat;
}

/* Fast open is not offered: a server with it would accept what no cookie proves. */
static int refuse(struct tcp_sock *tp, int v)
{
    return v == 0 ? 0 : -EOPNOTSUPP;
}

static int zero(struct tcp_sock *tp)
{
    return 0;
}

static const struct option options[] = {
    {TCP_NODELAY, set_nodelay, get_nodelay},
    {TCP_MAXSEG, set_maxseg, get_maxseg},
    {TCP_CORK, set_cork, get_cork},
    {TCP_KEEPIDLE, set_keepidle, get_keepidle},
    {TCP_KEEPINTVL, set_keepintvl, get_keepintvl},
    {TCP_KEEPCNT, set_keepcnt, get_keepcnt},
    {TCP_SYNCNT, set_syncnt, get_syncnt},
    {TCP_LINGER2, set_linger2, get_linger2},
    {TCP_DEFER_ACCEPT, set_defer_accept, get_defer_accept},
    {TCP_WINDOW_CLAMP, set_window_clamp, get_window_clamp},
    {TCP_QUICKACK, set_quickack, get_quickack},
    {TCP_USER_TIMEOUT, set_user_timeout, get_user_timeout},
    {OPT_NOTSENT_LOWAT, set_notsent_lowat, get_notsent_lowat},
    {TCP_FASTOPEN, refuse, zero},
    {TCP_FASTOPEN_CONNECT, refuse, zero},
    {TCP_FASTOPEN_NO_COOKIE, refuse, zero},
};

static const struct option *find(int opt)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].opt == opt)
            return &options[i];
    return NULL;
}

int tcp_set_option(struct tcp_sock *tp, int opt, int value)
{
    const struct option *o = find(opt);
    if (!o)
        return -ENOPROTOOPT;
    if (opt == TCP_NODELAY || opt == TCP_CORK)
        value = value != 0;
    return o->set(tp, value);
}

int tcp_get_option(struct tcp_sock *tp, int opt, int *value)
{
    const struct option *o = find(opt);
    if (!o)
        return -ENOPROTOOPT;
    *value = o->get(tp);
    return 0;
}

int tcp_set_congestion(struct tcp_sock *tp, const char *name)
{
    const struct tcp_cong_ops *c = tcp_cong_find(name);
    if (!c)
        return -ENOENT;
    if (c != tp->cong) {
        tp->cong = c;
        c->reset(tp);
    }
    return 0;
}

const char *tcp_congestion(const struct tcp_sock *tp)
{
    return tp->cong->name;
}

void tcp_set_so(struct tcp_sock *tp, enum tcp_so so, int value)
{
    switch (so) {
    case TCP_SO_KEEPALIVE:
        tp->keepalive = value;
        tcp_keepalive_set(tp);
        break;
    case TCP_SO_OOBINLINE:
        tp->oobinline = value;
        break;
    case TCP_SO_LINGER:
        tp->linger_s = value;
        break;
    case TCP_SO_SNDBUF:
        tp->sndbuf = value;
        tp->sndbuf_locked = true;
        if (tcp_writeable(tp))
            tcp_wake(tp, POLLOUT | POLLWRNORM);
        break;
    case TCP_SO_RCVBUF:
        tp->rcvbuf = value;
        tp->rcvbuf_locked = true;
        break;
    case TCP_SO_RCVLOWAT:
        tp->rcvlowat = value > 0 ? value : 1;
        /* The buffer must be able to hold that much. */
        if (!tp->rcvbuf_locked && tp->state != TCPS_CLOSE) {
            uint32_t cap = tp->ts->sysctl.rmem[2] / 2;
            if ((uint32_t)tp->rcvlowat > cap)
                tp->rcvlowat = cap;
            if (tcp_win_from_space(tp, tp->rcvbuf) < (uint32_t)tp->rcvlowat * 2) {
                uint64_t want = ((uint64_t)tp->rcvlowat * 2 << 8) / tp->rcv_ratio;
                if (want > (uint64_t)tp->ts->sysctl.rmem[2])
                    want = tp->ts->sysctl.rmem[2];
                if (want > tp->rcvbuf) {
                    tp->rcvbuf = want;
                    tp->window_clamp = tcp_win_from_space(tp, tp->rcvbuf);
                }
            }
        }
        if (tcp_stream_readable(tp))
            tcp_wake(tp, POLLIN | POLLRDNORM);
        break;
    case TCP_SO_MAX:
        break;
    }
}

int tcp_get_so(const struct tcp_sock *tp, enum tcp_so so)
{
    switch (so) {
    case TCP_SO_KEEPALIVE:
        return tp->keepalive;
    case TCP_SO_OOBINLINE:
        return tp->oobinline;
    case TCP_SO_LINGER:
        return tp->linger_s;
    case TCP_SO_SNDBUF:
        return tp->sndbuf;
    case TCP_SO_RCVBUF:
        return tp->rcvbuf;
    case TCP_SO_RCVLOWAT:
        return tp->rcvlowat;
    case TCP_SO_MAX:
        break;
    }
    return 0;
}

int tcp_path_mtu(struct tcp_sock *tp)
{
    /* A connection that is over still has its route. */
    if ((tp->state == TCPS_CLOSE && !tp->pmtu) || tp->state == TCPS_LISTEN)
        return -ENOTCONN;
    return ip_route(tp->st, &tp->ep.flow) < 0 ? -ENOTCONN : (int)ip_flow_mtu(&tp->ep.flow);
}
