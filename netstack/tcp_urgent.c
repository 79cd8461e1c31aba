/*
 * Urgent data (RFC 6093): one byte that is announced ahead and read apart from the stream, unless SO_OOBINLINE. The urgent
 * pointer is taken to point behind the byte, as everybody does.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <poll.h>

static void announced(struct tcp_sock *tp, uint32_t ptr, uint32_t seq) NETSTACK_LOCKED
{
    if (ptr && !tp->ts->sysctl.stdurg)
        ptr--;
    ptr += seq;
    if (seq_after(tp->copied_seq, ptr) || seq_before(ptr, tp->rcv_nxt))
        return; /* passed already */
    if (tp->urg_data && !seq_after(ptr, tp->urg_seq))
        return;
    tcp_wake(tp, TCP_EVENT_URGENT);
    /* A new urgent byte while the reader stands at an unread old one: the old becomes ordinary, but it has been skipped. */
    if (tp->urg_seq == tp->copied_seq && tp->urg_data && !tp->oobinline && tp->copied_seq != tp->rcv_nxt)
        tcp_rcvq_consume(tp, 1);
    tp->urg_data = TCP_URG_NOTYET;
    tp->urg_seq = ptr;
}

void tcp_urgent_input(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    if (rx->flags & TCP_URG)
        announced(tp, rx->urg, rx->seq);
    if (tp->urg_data == TCP_URG_NOTYET) {
        uint32_t off = tp->urg_seq - rx->seq;
        if (off < rx->len && rx->p) {
            uint8_t b;
            pkt_copy_out(rx->p, off, &b, 1);
            tp->urg_data = TCP_URG_VALID | b;
            tcp_wake(tp, POLLIN | POLLPRI);
        }
    }
}

ssize_t tcp_recv_oob(struct tcp_sock *tp, uint8_t *byte, bool peek)
{
    if (tp->oobinline || !tp->urg_data || tp->urg_data == TCP_URG_READ)
        return -EINVAL;
    if (tp->state == TCPS_CLOSE)
        return -ENOTCONN;
    if (tp->urg_data & TCP_URG_VALID) {
        *byte = tp->urg_data & 0xff;
        if (!peek)
            tp->urg_data = TCP_URG_READ;
        return 1;
    }
    if (tp->shutdown & TCP_RCV_SHUTDOWN)
        return 0;
    return -EAGAIN;
}

int tcp_atmark(struct tcp_sock *tp)
{
    return tp->urg_data && tp->urg_seq == tp->copied_seq;
}
