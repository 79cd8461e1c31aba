/*
 * Reassembly: segments that came before their turn, kept as ranges of consecutive bytes, and the SACK blocks that tell the peer
 * about them (RFC 2018), duplicates included (RFC 2883).
 */
#include "netstack/tcp_internal.h"

#include <stdlib.h>

static struct tcp_range *next_range(struct tcp_sock *tp, const struct tcp_range *r)
{
    return r->node.next == &tp->ranges ? NULL : list_entry(r->node.next, struct tcp_range, node);
}

static void free_pkts(struct tcp_sock *tp, struct list_head *pkts)
{
    struct pkt *p, *tmp;
    list_for_each_entry_safe(p, tmp, pkts, node) {
        list_del_init(&p->node);
        tcp_rmem_charge(tp, -(int64_t)p->truesize);
        pkt_free(p);
    }
}

static void free_range(struct tcp_sock *tp, struct tcp_range *r)
{
    free_pkts(tp, &r->pkts);
    list_del_init(&r->node);
    tp->nr_ranges--;
    if (tp->last_range == r)
        tp->last_range = NULL;
    free(r);
}

void tcp_reasm_purge(struct tcp_sock *tp)
{
    while (!list_empty(&tp->ranges))
        free_range(tp, list_first_entry(&tp->ranges, struct tcp_range, node));
    tp->nr_recent_sacks = 0;
}

bool tcp_reasm_prune(struct tcp_sock *tp)
{
    if (list_empty(&tp->ranges))
        return false;
    MIB_INC(tp->st, TcpExtOfoPruned);
    /* From the end, which is the farthest from being of use, until an eighth of the buffer is free. */
    while (!list_empty(&tp->ranges) && tp->rmem > tp->rcvbuf - tp->rcvbuf / 8)
        free_range(tp, list_last_entry(&tp->ranges, struct tcp_range, node));
    /* The peer must not rely on what we reported earlier. */
    tp->nr_recent_sacks = 0;
    return true;
}

/* ---- SACK blocks to send ---- */

void tcp_dsack_set(struct tcp_sock *tp, uint32_t start, uint32_t end)
{
    if (!tp->sack_ok || !tp->ts->sysctl.dsack)
        return;
    if (seq_before(start, tp->rcv_nxt))
        MIB_INC(tp->st, TcpExtTCPDSACKOldSent);
    else
        MIB_INC(tp->st, TcpExtTCPDSACKOfoSent);
    if (tp->have_dsack && seq_between(start, tp->dsack.start, tp->dsack.end)) {
        tp->dsack.end = seq_max(tp->dsack.end, end);
        return;
    }
    tp->have_dsack = true;
    tp->dsack = (struct tcp_sack_block){start, end};
}

/* The range that grew last comes first. */
static void sack_put_first(struct tcp_sock *tp, uint32_t start, uint32_t end)
{
    struct tcp_sack_block b[TCP_SACK_BLOCKS];
    int n = 0;
    if (!tp->sack_ok)
        return;
    b[n++] = (struct tcp_sack_block){start, end};
    for (int i = 0; i < tp->nr_recent_sacks && n < TCP_SACK_BLOCKS; i++) {
        const struct tcp_sack_block *o = &tp->recent_sacks[i];
        if (seq_before(end, o->start) || seq_after(start, o->end))
            b[n++] = *o;
    }
    memcpy(tp->recent_sacks, b, sizeof b);
    tp->nr_recent_sacks = n;
}

void tcp_sacks_trim(struct tcp_sock *tp)
{
    int n = 0;
    if (list_empty(&tp->ranges)) {
        tp->nr_recent_sacks = 0;
        return;
    }
    for (int i = 0; i < tp->nr_recent_sacks; i++)
        if (seq_before(tp->rcv_nxt, tp->recent_sacks[i].start))
            tp->recent_sacks[n++] = tp->recent_sacks[i];
    tp->nr_recent_sacks = n;
}

/* ---- insertion ---- */

/* The first range that ends at or behind `seq`; NULL: none. */
static struct tcp_range *find_from(struct tcp_sock *tp, uint32_t seq)
{
    struct tcp_range *r, *last = tp->last_range;
    if (last && !seq_before(seq, last->start)) {
        /* Mostly the segment continues where the last one ended. */
        for (r = last; r; r = next_range(tp, r))
            if (!seq_before(r->end, seq))
                return r;
        return NULL;
    }
    list_for_each_entry(r, &tp->ranges, node)
        if (!seq_before(r->end, seq))
            return r;
    return NULL;
}

static struct tcp_range *insert_before(struct tcp_sock *tp, struct tcp_range *at, uint32_t start, uint32_t end)
{
    struct tcp_range *r = malloc(sizeof *r);
    if (!r)
        return NULL;
    *r = (struct tcp_range){.start = start, .end = end};
    list_init(&r->pkts);
    list_add_tail(&r->node, at ? &at->node : &tp->ranges);
    tp->nr_ranges++;
    return r;
}

/* Cuts the packet to the bytes [start, end) of the sequence space. */
static void trim_pkt(struct pkt *p, uint32_t start, uint32_t end)
{
    if (seq_before(p->tcp.seq, start)) {
        pkt_pull(p, start - p->tcp.seq);
        p->tcp.seq = start;
    }
    if (seq_before(end, p->tcp.seq + p->len)) {
        pkt_trim(p, end - p->tcp.seq);
        p->tcp.end_seq = end;
        p->tcp.flags &= ~TCP_FIN;
    }
}

/* `r` reaches to r->end now: takes in the ranges behind it that it touches. What they share with it is dropped from them. */
static void merge_following(struct tcp_sock *tp, struct tcp_range *r)
{
    struct tcp_range *n;
    while ((n = next_range(tp, r)) && !seq_before(r->end, n->start)) {
        if (seq_after(r->end, n->start))
            tcp_dsack_set(tp, n->start, seq_min(r->end, n->end));
        if (seq_after(n->end, r->end)) {
            struct pkt *p, *tmp;
            list_for_each_entry_safe(p, tmp, &n->pkts, node) {
                if (!seq_after(p->tcp.end_seq, r->end)) {
                    list_del_init(&p->node);
                    tcp_rmem_charge(tp, -(int64_t)p->truesize);
                    pkt_free(p);
                } else {
                    trim_pkt(p, r->end, p->tcp.end_seq);
                    break;
                }
            }
            list_splice_tail_init(&n->pkts, &r->pkts);
            r->end = n->end;
            r->fin = n->fin;
        }
        MIB_INC(tp->st, TcpExtTCPOFOMerge);
        free_range(tp, n);
    }
}

/* Keeps the packet of `rx`, which it owns from then on. */
void tcp_reasm_add(struct tcp_sock *tp, struct tcp_rx *rx)
{
    struct pkt *p = rx->p;
    uint32_t seq = rx->seq, end = rx->end_seq;
    rx->p = NULL;
    MIB_INC(tp->st, TcpExtTCPOFOQueue);
    tp->rcv_ooopack += rx->seg_size ? (rx->len + rx->seg_size - 1) / rx->seg_size : 1;
    p->tcp.seq = seq;
    p->tcp.end_seq = end;
    p->tcp.flags = rx->flags;
    struct tcp_range *r = find_from(tp, seq);
    if (r && !seq_before(seq, r->start) && !seq_after(end, r->end)) {
        tcp_dsack_set(tp, seq, end);
        sack_put_first(tp, r->start, r->end);
        tp->last_range = r;
        pkt_free(p);
        return;
    }
    if (!r || seq_before(end, r->start)) {
        struct tcp_range *fresh = tp->nr_ranges < TCP_MAX_HOLES ? insert_before(tp, r, seq, end) : NULL;
        if (!fresh) {
            MIB_INC(tp->st, TcpExtTCPOFODrop);
            pkt_free(p);
            return;
        }
        r = fresh;
        list_add_tail(&p->node, &r->pkts);
        r->fin = p->tcp.flags & TCP_FIN;
    } else if (!seq_before(seq, r->start)) {
        if (seq_before(seq, r->end))
            tcp_dsack_set(tp, seq, r->end);
        trim_pkt(p, r->end, end);
        list_add_tail(&p->node, &r->pkts);
        r->end = end;
        r->fin = p->tcp.flags & TCP_FIN;
    } else if (!seq_before(end, r->end)) {
        /* It covers the whole range. */
        tcp_dsack_set(tp, r->start, r->end);
        free_pkts(tp, &r->pkts);
        list_add_tail(&p->node, &r->pkts);
        r->start = seq;
        r->end = end;
        r->fin = p->tcp.flags & TCP_FIN;
    } else {
        if (seq_after(end, r->start))
            tcp_dsack_set(tp, r->start, end);
        trim_pkt(p, seq, r->start);
        p->tcp.end_seq = r->start;
        p->tcp.flags &= ~TCP_FIN;
        list_add(&p->node, &r->pkts);
        r->start = seq;
    }
    tcp_rmem_charge(tp, p->truesize);
    merge_following(tp, r);
    tp->last_range = r;
    sack_put_first(tp, r->start, r->end);
}

/* Moves what has become consecutive into the receive queue. True: with it came the FIN. */
bool tcp_reasm_deliver(struct tcp_sock *tp)
{
    bool fin = false;
    while (!list_empty(&tp->ranges) && !fin) {
        struct tcp_range *r = list_first_entry(&tp->ranges, struct tcp_range, node);
        if (seq_after(r->start, tp->rcv_nxt))
            break;
        if (seq_before(r->start, tp->rcv_nxt))
            tcp_dsack_set(tp, r->start, seq_min(r->end, tp->rcv_nxt));
        struct pkt *p, *tmp;
        list_for_each_entry_safe(p, tmp, &r->pkts, node) {
            list_del_init(&p->node);
            tcp_rmem_charge(tp, -(int64_t)p->truesize);
            if (!seq_after(p->tcp.end_seq, tp->rcv_nxt)) {
                pkt_free(p);
                continue;
            }
            fin = fin || (p->tcp.flags & TCP_FIN);
            if (seq_before(p->tcp.seq, tp->rcv_nxt))
                trim_pkt(p, tp->rcv_nxt, p->tcp.end_seq);
            tcp_rcvq_add(tp, p);
        }
        free_range(tp, r);
    }
    return fin;
}
