/* What a socket does with an open connection: send, receive, poll, shut down, close. */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>

int tcp_pending_error(struct tcp_sock *tp)
{
    int err = tp->err;
    tp->err = 0;
    return err;
}

/* SO_ERROR also tells what ICMP said that did not end the connection. */
int tcp_take_error(struct tcp_sock *tp)
{
    int err = tcp_pending_error(tp);
    if (!err) {
        err = tp->soft_err;
        tp->soft_err = 0;
    }
    return err;
}

void tcp_put_error(struct tcp_sock *tp, int err)
{
    tp->err = err;
}

/* ---- sending ---- */

static ssize_t send_check(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (tp->state != TCPS_ESTABLISHED && tp->state != TCPS_CLOSE_WAIT) {
        if (tp->err)
            return -tcp_pending_error(tp);
        if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV)
            return -EAGAIN;
        return -EPIPE;
    }
    if (tp->err)
        return -tcp_pending_error(tp);
    return tp->shutdown & TCP_SEND_SHUTDOWN ? -EPIPE : 0;
}

uint32_t tcp_send_goal(struct tcp_sock *tp)
{
    return tcp_size_goal(tp, tcp_cached_mss(tp));
}

ssize_t tcp_send_room(struct tcp_sock *tp)
{
    ssize_t r = send_check(tp);
    if (r < 0)
        return r;
    if (!tcp_memory_free(tp)) {
        tp->nospace = true;
        tcp_chrono(tp, TCP_CHRONO_SNDBUF);
        return -EAGAIN;
    }
    return tp->sndbuf - tp->wmem;
}

/* After new data was queued. */
static void queued(struct tcp_sock *tp, uint32_t from, int flags) NETSTACK_LOCKED
{
    struct tcp_seg *tail = tcp_unsent_tail(tp);
    if (tail && tail->len) {
        /* A reader at the other end should hear of it, at the latest when half its window is full. */
        if (!(flags & MSG_MORE) || seq_after(tp->write_seq, tp->pushed_seq + (tp->max_window >> 1))) {
            tail->flags |= TCP_PSH;
            tp->pushed_seq = tp->write_seq;
        }
        if (flags & MSG_EOR)
            tail->eor = true;
    }
    if (flags & MSG_OOB) {
        tp->snd_up = tp->write_seq;
        tp->urg_mode = true;
    }
    tcp_push(tp, flags & MSG_MORE ? TCP_PUSH_MORE : TCP_PUSH_AUTO);
    /* The application, not the window, was the limit: rate samples must know. */
    if (list_empty(&tp->unsent) && tcp_in_flight(tp) < tp->snd_cwnd && tp->lost_out <= tp->retrans_out) {
        uint32_t mark = tp->delivered + tcp_in_flight(tp);
        tp->app_limited = mark ? mark : 1;
    }
}

ssize_t tcp_send(struct tcp_sock *tp, struct pkt_queue *pkts, int flags)
{
    ssize_t r = send_check(tp), taken = 0;
    if (r < 0)
        return r;
    uint32_t goal = tcp_size_goal(tp, tcp_current_mss(tp)), from = tp->write_seq;
    struct pkt *p;
    while ((p = pkt_queue_head(pkts)) && tcp_memory_free(tp)) {
        uint32_t len = p->len;
        pkt_queue_del(pkts, p);
        if (tcp_queue_pkt(tp, p, goal) < 0) {
            list_add(&p->node, &pkts->list);
            pkts->n++;
            pkts->bytes += p->len;
            pkts->memory += p->truesize;
            r = -ENOMEM;
            break;
        }
        taken += len;
    }
    if (pkt_queue_head(pkts)) {
        tp->nospace = true;
        flags &= ~MSG_EOR;
    }
    if (taken == 0)
        return r < 0 ? r : -EAGAIN;
    queued(tp, from, flags);
    return taken;
}

ssize_t tcp_send_bytes(struct tcp_sock *tp, const void *data, size_t len, int flags)
{
    ssize_t r = send_check(tp);
    size_t taken = 0;
    if (r < 0)
        return r;
    if (len == 0)
        return 0;
    uint32_t goal = tcp_size_goal(tp, tcp_current_mss(tp)), from = tp->write_seq;
    while (taken < len && tcp_memory_free(tp)) {
        r = tcp_queue_bytes(tp, (const char *)data + taken, len - taken, goal);
        if (r < 0)
            break;
        taken += r;
    }
    if (taken < len) {
        tp->nospace = true;
        flags &= ~MSG_EOR;
    }
    if (taken == 0)
        return r < 0 ? r : -EAGAIN;
    queued(tp, from, flags);
    return taken;
}

/* ---- receiving ---- */

static ssize_t nothing_to_read(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (tp->fin_rcvd)
        return 0;
    if (tp->err)
        return -tcp_pending_error(tp);
    if (tp->shutdown & TCP_RCV_SHUTDOWN)
        return 0;
    return tp->state == TCPS_CLOSE ? -ENOTCONN : -EAGAIN;
}

/* Where reading begins `off` bytes on, and in *len how far it may go: the urgent byte is a border, and skipped at the start. */
static uint32_t read_start(const struct tcp_sock *tp, size_t off, size_t *len)
{
    uint32_t seq = tp->copied_seq + off;
    if (tp->urg_data && !tp->oobinline && tp->urg_seq == tp->copied_seq && seq_before(tp->urg_seq, tp->rcv_nxt))
        seq++;
    uint32_t avail = tp->rcv_nxt - tp->fin_rcvd - seq;
    if ((int32_t)avail <= 0) {
        *len = 0;
        return seq;
    }
    if (*len > avail)
        *len = avail;
    if (tp->urg_data && seq_after(tp->urg_seq, tp->copied_seq) && seq_between(tp->urg_seq, seq, seq + *len))
        *len = tp->urg_seq - seq;
    return seq;
}

ssize_t tcp_recv_peek(struct tcp_sock *tp, size_t off, size_t len, struct pkt_queue *out)
{
    if (tp->state == TCPS_LISTEN)
        return -ENOTCONN;
    size_t want = len;
    uint32_t seq = read_start(tp, off, &len);
    if (len == 0)
        return want == 0 && tcp_readable(tp) ? 0 : nothing_to_read(tp);
    int r = tcp_rcvq_share(tp, seq, len, out);
    return r < 0 ? r : (ssize_t)len;
}

size_t tcp_recv_consume(struct tcp_sock *tp, size_t n)
{
    if (n && tp->urg_data && !tp->oobinline && tp->urg_seq == tp->copied_seq && tcp_readable(tp))
        tcp_rcvq_consume(tp, 1);
    n = tcp_rcvq_consume(tp, n);
    if (tp->urg_data && seq_after(tp->copied_seq, tp->urg_seq))
        tp->urg_data = 0;
    if (n && tp->state != TCPS_CLOSE && tp->state != TCPS_LISTEN)
        tcp_window_update(tp, n);
    return n;
}

ssize_t tcp_recv_bytes(struct tcp_sock *tp, void *data, size_t len, bool peek)
{
    if (tp->state == TCPS_LISTEN)
        return -ENOTCONN;
    size_t want = len;
    uint32_t seq = read_start(tp, 0, &len);
    if (len == 0)
        return want == 0 && tcp_readable(tp) ? 0 : nothing_to_read(tp);
    tcp_rcvq_copy(tp, seq, data, len);
    if (!peek)
        tcp_recv_consume(tp, len);
    return len;
}

bool tcp_stream_readable(const struct tcp_sock *tp)
{
    uint32_t avail = tp->rcv_nxt - tp->copied_seq, target = tp->rcvlowat > 1 ? tp->rcvlowat : 1;
    if ((int32_t)avail <= 0)
        return false;
    if (tp->urg_data && tp->urg_seq == tp->copied_seq && !tp->oobinline)
        target++;
    if (avail >= target || tcp_mem_exhausted(tp))
        return true;
    /* A low-water mark above what the buffer can hold must not stall the connection. */
    return tcp_receive_window(tp) <= tp->rcv_mss;
}

uint32_t tcp_poll(struct tcp_sock *tp)
{
    uint32_t mask = 0;
    if (tp->state == TCPS_LISTEN)
        return list_empty(&tp->acceptq) ? 0 : POLLIN | POLLRDNORM;
    if (tp->shutdown == (TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN) || tp->state == TCPS_CLOSE)
        mask |= POLLHUP;
    if (tp->shutdown & TCP_RCV_SHUTDOWN)
        mask |= POLLIN | POLLRDNORM | POLLRDHUP;
    if (tp->state != TCPS_SYN_SENT && tp->state != TCPS_SYN_RECV) {
        if (tcp_stream_readable(tp))
            mask |= POLLIN | POLLRDNORM;
        if ((tp->shutdown & TCP_SEND_SHUTDOWN) || tcp_writeable(tp))
            mask |= POLLOUT | POLLWRNORM;
        else
            tp->nospace = true;
        if (tp->urg_data & TCP_URG_VALID)
            mask |= POLLPRI;
    }
    if (tp->err || tp->ep.errq.n)
        mask |= POLLERR;
    return mask;
}

int tcp_inq(struct tcp_sock *tp)
{
    if (tp->state == TCPS_LISTEN)
        return -EINVAL;
    if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV)
        return 0;
    if (tp->oobinline || !tp->urg_data || seq_before(tp->urg_seq, tp->copied_seq) || !seq_before(tp->urg_seq, tp->rcv_nxt))
        return tcp_readable(tp);
    return tp->urg_seq - tp->copied_seq;
}

int tcp_outq(struct tcp_sock *tp)
{
    if (tp->state == TCPS_LISTEN)
        return -EINVAL;
    if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV)
        return 0;
    return tp->write_seq - tp->snd_una;
}

int tcp_outqnsd(struct tcp_sock *tp)
{
    if (tp->state == TCPS_LISTEN)
        return -EINVAL;
    if (tp->state == TCPS_SYN_SENT || tp->state == TCPS_SYN_RECV)
        return 0;
    return tp->write_seq - tp->snd_nxt;
}

/* ---- the end ---- */

/* The state after our side is closed; true: a FIN is to be sent. */
static bool close_state(struct tcp_sock *tp)
{
    switch ((int)tp->state) { /* clang takes no atomic one */
    case TCPS_SYN_RECV:
    case TCPS_ESTABLISHED:
        tcp_set_state(tp, TCPS_FIN_WAIT1);
        return true;
    case TCPS_CLOSE_WAIT:
        tcp_set_state(tp, TCPS_LAST_ACK);
        return true;
    default:
        return false;
    }
}

int tcp_shutdown(struct tcp_sock *tp, int how)
{
    if (tp->state == TCPS_CLOSE)
        return -ENOTCONN;
    if (tp->state == TCPS_LISTEN) {
        if (how & TCP_RCV_SHUTDOWN)
            tcp_disconnect(tp);
        return 0;
    }
    if (tp->state == TCPS_SYN_SENT) {
        tcp_disconnect(tp);
        return 0;
    }
    tp->shutdown |= how;
    if ((how & TCP_SEND_SHUTDOWN) && close_state(tp))
        tcp_send_fin(tp);
    tcp_wake(tp, POLLIN | POLLRDNORM | POLLOUT | POLLRDHUP | (tp->shutdown == 3 ? POLLHUP : 0));
    return 0;
}

static bool unread(const struct tcp_sock *tp)
{
    return tcp_readable(tp) != 0;
}

bool tcp_linger_pending(struct tcp_sock *tp)
{
    if (tp->state == TCPS_CLOSE || tp->state == TCPS_LISTEN || tp->state == TCPS_SYN_SENT || unread(tp) || tp->linger_s == 0)
        return false;
    if (!(tp->shutdown & TCP_SEND_SHUTDOWN)) {
        tp->shutdown = TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN;
        if (close_state(tp))
            tcp_send_fin(tp);
    }
    return tp->state == TCPS_FIN_WAIT1 || tp->state == TCPS_CLOSING || tp->state == TCPS_LAST_ACK;
}

static void close_orphan(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (tp->state == TCPS_FIN_WAIT2) {
        if (tp->linger2_s < 0) {
            tcp_send_active_reset(tp);
            MIB_INC(tp->st, TcpExtTCPAbortOnLinger);
            tcp_done(tp);
            return;
        }
        int64_t ns = tcp_fin_wait2_ns(tp);
        if (ns > TCP_TIMEWAIT_NS) {
            net_timer_arm(tp->st, &tp->keep_timer, tcp_now(tp) + ns - TCP_TIMEWAIT_NS);
        } else {
            tcp_time_wait(tp, TCPS_FIN_WAIT2, ns);
            return;
        }
    }
    if (tp->state != TCPS_CLOSE)
        tcp_out_of_resources(tp, true);
    else
        tcp_release(tp);
}

void tcp_close(struct tcp_sock *tp)
{
    tcp_get(tp);
    bool data_lost = unread(tp);
    tp->shutdown = TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN;
    tcp_orphan(tp);
    if (tp->state == TCPS_LISTEN) {
        tcp_set_state(tp, TCPS_CLOSE);
        tcp_listen_stop(tp);
    } else if (tp->state != TCPS_CLOSE) {
        tcp_rcvq_purge(tp);
        tcp_reasm_purge(tp);
        tp->copied_seq = tp->rcv_nxt - tp->fin_rcvd;
        if (data_lost) {
            /* RFC 2525, 2.17: what was not read is gone, and the peer shall know. */
            MIB_INC(tp->st, TcpExtTCPAbortOnClose);
            tcp_send_active_reset(tp);
            tcp_done(tp);
        } else if (tp->linger_s == 0 && tp->state != TCPS_SYN_SENT) {
            MIB_INC(tp->st, TcpExtTCPAbortOnData);
            tcp_send_active_reset(tp);
            tcp_done(tp);
        } else if (tp->state == TCPS_SYN_SENT) {
            tcp_done(tp);
        } else if (close_state(tp)) {
            tcp_send_fin(tp);
        }
    }
    if (!tp->dead)
        close_orphan(tp);
    tcp_put(tp);
}

void tcp_abort(struct tcp_sock *tp, int err)
{
    tcp_get(tp);
    if (tp->state == TCPS_LISTEN) {
        tcp_set_state(tp, TCPS_CLOSE);
        tcp_listen_stop(tp);
        tcp_wake(tp, POLLERR | POLLHUP);
    } else if (tp->state != TCPS_CLOSE) {
        if (tp->state != TCPS_SYN_SENT)
            tcp_send_active_reset(tp);
        tcp_fail(tp, err);
    }
    tcp_put(tp);
}
