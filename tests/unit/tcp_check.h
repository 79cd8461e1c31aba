/* What must hold of a TCP socket whenever nobody is working on it. Stops the program when something does not. */
#ifndef TESTS_UNIT_TCP_CHECK_H
#define TESTS_UNIT_TCP_CHECK_H

#include "netstack/tcp_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define TCP_CHECK(tp, cond)                                                                                 \
    do {                                                                                                    \
        if (!(cond)) {                                                                                      \
            fprintf(stderr, "%s:%d: state %d: %s does not hold\n", __FILE__, __LINE__, (tp)->state, #cond); \
            abort();                                                                                        \
        }                                                                                                   \
    } while (0)

static inline void tcp_check_send_queues(struct tcp_sock *tp)
{
    uint32_t packets = 0, sacked = 0, lost = 0, retrans = 0, mem = 0, seq = tp->snd_una, timed = 0, in_time = 0;
    struct tcp_seg *seg;
    list_for_each_entry(seg, &tp->rtx, node) {
        /* The first may be acknowledged in part. */
        TCP_CHECK(tp, seg == tcp_rtx_head(tp) ? !seq_after(seg->seq, seq) : seg->seq == seq);
        TCP_CHECK(tp, seg->end_seq == seg->seq + seg->len + !!(seg->flags & TCP_SYN) + !!(seg->flags & TCP_FIN));
        TCP_CHECK(tp, seg->len == (seg->data ? seg->data->len : 0));
        TCP_CHECK(tp, seg->pcount > 0);
        packets += seg->pcount;
        mem += seg->truesize;
        if (seg->sacked & SEG_SACKED)
            sacked += seg->pcount;
        if (seg->sacked & SEG_LOST)
            lost += seg->pcount;
        if (seg->sacked & SEG_RETRANS)
            retrans += seg->pcount;
        TCP_CHECK(tp, !(seg->sacked & SEG_SACKED) || !(seg->sacked & (SEG_LOST | SEG_RETRANS)));
        if (!list_empty(&seg->sent_node))
            timed++;
        seq = seg->end_seq;
    }
    list_for_each_entry(seg, &tp->by_time, sent_node)
        in_time++;
    TCP_CHECK(tp, timed == in_time);
    TCP_CHECK(tp, list_empty(&tp->rtx) || seq == tp->snd_nxt);
    TCP_CHECK(tp, packets == tp->packets_out);
    TCP_CHECK(tp, !tp->sack_ok || sacked == tp->sacked_out);
    TCP_CHECK(tp, lost == tp->lost_out);
    TCP_CHECK(tp, retrans == tp->retrans_out);
    TCP_CHECK(tp, tp->sacked_out + tp->lost_out <= tp->packets_out);
    if (!list_empty(&tp->unsent))
        TCP_CHECK(tp, tcp_unsent_head(tp)->seq == tp->snd_nxt);
    list_for_each_entry(seg, &tp->unsent, node) {
        TCP_CHECK(tp, list_empty(&seg->sent_node));
        TCP_CHECK(tp, seg->len == (seg->data ? seg->data->len : 0));
        mem += seg->truesize;
        seq = seg->end_seq;
    }
    TCP_CHECK(tp, list_empty(&tp->unsent) || seq == tp->write_seq);
    TCP_CHECK(tp, mem == tp->wmem);
    TCP_CHECK(tp, !seq_after(tp->snd_una, tp->snd_nxt) && !seq_after(tp->snd_nxt, tp->write_seq));
    TCP_CHECK(tp, tp->snd_cwnd > 0);
}

static inline void tcp_check_receive_queues(struct tcp_sock *tp)
{
    uint32_t mem = 0, n = 0, seq = tp->copied_seq, end = tp->rcv_nxt;
    struct pkt *p;
    struct tcp_range *r;
    list_for_each_entry(p, &tp->rcvq.list, node) {
        TCP_CHECK(tp, p == pkt_queue_head(&tp->rcvq) ? !seq_after(p->tcp.seq, seq) : p->tcp.seq == seq);
        TCP_CHECK(tp, p->len > 0);
        seq = p->tcp.seq + p->len;
        mem += p->truesize;
    }
    TCP_CHECK(tp, seq + tp->fin_rcvd == tp->rcv_nxt);
    list_for_each_entry(r, &tp->ranges, node) {
        TCP_CHECK(tp, seq_after(r->start, end));
        TCP_CHECK(tp, seq_after(r->end, r->start));
        seq = r->start;
        list_for_each_entry(p, &r->pkts, node) {
            TCP_CHECK(tp, p->tcp.seq == seq);
            TCP_CHECK(tp, p->tcp.end_seq == seq + p->len + !!(p->tcp.flags & TCP_FIN));
            seq = p->tcp.end_seq;
            mem += p->truesize;
        }
        TCP_CHECK(tp, seq == r->end);
        end = r->end;
        n++;
    }
    TCP_CHECK(tp, n == tp->nr_ranges && n <= TCP_MAX_HOLES);
    TCP_CHECK(tp, mem == tp->rmem);
}

static inline void tcp_check(struct tcp_sock *tp)
{
    if (tp->state == TCPS_LISTEN)
        return;
    tcp_check_send_queues(tp);
    if (tp->state != TCPS_CLOSE && tp->state != TCPS_SYN_SENT)
        tcp_check_receive_queues(tp);
    /* Something is unacknowledged: some timer must see to it. */
    if (tp->packets_out && tp->state != TCPS_CLOSE)
        TCP_CHECK(tp, tp->pending != TIMER_NONE && net_timer_armed(&tp->rtx_timer));
}

static inline void tcp_check_stack(struct netstack *s)
{
    struct tcp_stack *ts = s->tcp;
    struct tcp_sock *tp;
    int64_t mem = 0;
    uint32_t n = 0;
    list_for_each_entry(tp, &ts->socks, all_node) {
        tcp_check(tp);
        mem += (int64_t)tp->wmem + tp->rmem;
        n++;
    }
    if (mem != ts->mem || n != ts->nr_socks) {
        fprintf(stderr, "memory %ld, accounted %ld; %u sockets of %u\n", (long)mem, (long)ts->mem, n, ts->nr_socks);
        abort();
    }
}

#endif
