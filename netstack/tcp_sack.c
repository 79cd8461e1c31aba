/*
 * The scoreboard: which segments of the retransmission queue the peer says it has (RFC 2018, 6675), and duplicates that it
 * reports (RFC 2883). A segment that a block covers in part is cut at packet borders.
 *
 * Blocks repeat in every acknowledgement, so what the last one said is remembered, and only what is new is looked up; the
 * place found last is where the next search begins.
 */
#include "netstack/tcp_internal.h"

static struct tcp_seg *next_seg(struct tcp_sock *tp, struct tcp_seg *seg)
{
    return seg->node.next == &tp->rtx ? NULL : list_entry(seg->node.next, struct tcp_seg, node);
}

/* Is the block believable? Old D-SACKs are, down to where undoing still makes sense. */
static bool block_valid(const struct tcp_sock *tp, bool dsack, uint32_t start, uint32_t end)
{
    if (seq_after(end, tp->snd_nxt) || !seq_before(start, end) || !seq_before(start, tp->snd_nxt))
        return false;
    if (seq_after(start, tp->snd_una))
        return true;
    if (!dsack || !tp->undo_marker)
        return false;
    if (seq_after(end, tp->snd_una))
        return false;
    if (!seq_before(start, tp->undo_marker))
        return true;
    if (!seq_after(end, tp->undo_marker))
        return false;
    return !seq_before(start, end - tp->max_window);
}

/* Does the first block report a duplicate? It does if it lies below the ACK or within the second. */
static bool check_dsack(struct tcp_sock *tp, const struct tcp_rx *rx, uint32_t prior_una, struct tcp_sack_state *st)
{
    const struct tcp_options *o = &rx->opt;
    uint32_t start = o->sacks[0].start, end = o->sacks[0].end;
    if (seq_before(start, rx->ack)) {
        MIB_INC(tp->st, TcpExtTCPDSACKRecv);
    } else if (o->nr_sacks > 1 && !seq_after(end, o->sacks[1].end) && !seq_before(start, o->sacks[1].start)) {
        MIB_INC(tp->st, TcpExtTCPDSACKOfoRecv);
    } else {
        return false;
    }
    uint32_t dup = 1, mss = tcp_cached_mss(tp);
    if (seq_before(start, end) && end - start > mss)
        dup = (end - start + mss - 1) / mss;
    /* More duplicates than retransmissions: it is not about what we did. */
    if (dup > tp->total_retrans - tp->dsack_dups && !tp->tlp_high_seq)
        return false;
    tp->dsack_dups += dup;
    MIB_ADD(tp->st, TcpExtTCPDSACKRecvSegs, dup);
    tp->rack.dsack_seen = true;
    st->flag |= ACK_DSACK;
    if (tp->undo_marker && tp->undo_retrans > 0 && !seq_after(end, prior_una) && seq_after(end, tp->undo_marker)) {
        tp->undo_retrans -= dup;
        if (tp->undo_retrans < 0)
            tp->undo_retrans = 0;
    }
    return true;
}

static void mark_sacked(struct tcp_sock *tp, struct tcp_seg *seg, struct tcp_sack_state *st) NETSTACK_LOCKED
{
    tcp_rack_advance(tp, seg);
    if (seg->sacked & SEG_RETRANS) {
        /* A retransmission was needed or came in time: its loss mark is settled. */
        seg->sacked &= ~SEG_RETRANS;
        tp->retrans_out -= seg->pcount;
    } else if (!(seg->sacked & SEG_EVER_RETRANS)) {
        /* Sent once, and sacked behind something that was sacked earlier: reordering. */
        if (seq_before(seg->seq, st->prior_fack) && seq_before(seg->seq, st->reord))
            st->reord = seg->seq;
        if (!seq_after(seg->end_seq, tp->high_seq))
            st->flag |= ACK_ORIG_SACKED;
        if (st->first_sackt == 0)
            st->first_sackt = seg->sent_at;
        st->last_sackt = seg->sent_at;
    }
    if (seg->sacked & SEG_LOST) {
        seg->sacked &= ~SEG_LOST;
        tp->lost_out -= seg->pcount;
    }
    seg->sacked |= SEG_SACKED;
    st->flag |= ACK_DATA_SACKED;
    tp->sacked_out += seg->pcount;
    tp->delivered += seg->pcount;
    tcp_rate_delivered(tp, seg, st);
    list_del_init(&seg->sent_node);
}

/* Cuts the segment so that its head up to `at`, rounded to packets, is by itself. False: nothing whole is there. */
static bool cut_at(struct tcp_sock *tp, struct tcp_seg *seg, uint32_t at, bool round_up)
{
    uint32_t mss = tcp_cached_mss(tp), n = at - seg->seq;
    if (seg->pcount <= 1 || !seg->data)
        return false;
    n = round_up ? (n + mss - 1) / mss * mss : n / mss * mss;
    if (n == 0 || n >= seg->len)
        return false;
    return tcp_seg_split(tp, seg, n, mss, true) == 0;
}

static void mark_range(struct tcp_sock *tp, uint32_t start, uint32_t end, struct tcp_sack_state *st) NETSTACK_LOCKED
{
    struct tcp_seg *seg = tp->sack_hint;
    if (!seg || seq_before(start, seg->seq))
        seg = tcp_rtx_head(tp);
    while (seg && !seq_after(seg->end_seq, start))
        seg = next_seg(tp, seg);
    for (; seg && seq_before(seg->seq, end); seg = next_seg(tp, seg)) {
        tp->sack_hint = seg;
        if (seg->sacked & SEG_SACKED)
            continue;
        if (seq_before(seg->seq, start)) {
            /* The head is not covered: it stays, the rest is looked at next. */
            cut_at(tp, seg, start, true);
            continue;
        }
        if (seq_after(seg->end_seq, end) && !cut_at(tp, seg, end, false))
            break;
        mark_sacked(tp, seg, st);
    }
}

/* A retransmission of what is being acknowledged twice was unnecessary; its round trip is known all the same. */
static void mark_dsack(struct tcp_sock *tp, uint32_t start, uint32_t end, struct tcp_sack_state *st)
{
    if (!seq_after(end, tp->snd_una))
        return;
    struct tcp_seg *seg = tcp_rtx_head(tp);
    for (; seg && seq_before(seg->seq, end); seg = next_seg(tp, seg)) {
        if (seq_before(seg->seq, start) || seq_after(seg->end_seq, end))
            continue;
        if ((seg->sacked & SEG_RETRANS) && tp->undo_marker && tp->undo_retrans > 0 &&
            seq_after(seg->end_seq, tp->undo_marker)) {
            tp->undo_retrans -= seg->pcount;
            if (tp->undo_retrans < 0)
                tp->undo_retrans = 0;
        }
        if ((seg->sacked & SEG_SACKED) && seq_before(seg->seq, st->reord))
            st->reord = seg->seq;
    }
}

static bool in_cache(const struct tcp_sock *tp, const struct tcp_sack_block *b)
{
    for (int i = 0; i < TCP_SACK_BLOCKS; i++)
        if (tp->sack_cache[i].start == b->start && tp->sack_cache[i].end == b->end)
            return true;
    return false;
}

void tcp_sack_receive(struct tcp_sock *tp, const struct tcp_rx *rx, uint32_t prior_una, struct tcp_sack_state *st)
{
    struct tcp_sack_block b[TCP_SACK_BLOCKS];
    int n = 0;
    st->reord = tp->snd_nxt;
    bool dsack = check_dsack(tp, rx, prior_una, st);
    /* Too old to say anything about now. */
    if (seq_before(rx->ack, prior_una - tp->max_window))
        return;
    for (int i = 0; i < rx->opt.nr_sacks; i++) {
        struct tcp_sack_block s = rx->opt.sacks[i];
        bool dup = dsack && i == 0;
        if (!block_valid(tp, dup, s.start, s.end)) {
            if (dup)
                MIB_INC(tp->st, TcpExtTCPDSACKIgnoredNoUndo);
            else
                MIB_INC(tp->st, TcpExtTCPSACKDiscard);
            continue;
        }
        if (dup)
            mark_dsack(tp, s.start, s.end, st);
        if (seq_after(s.end, prior_una))
            b[n++] = s;
    }
    /* In ascending order, so that one walk marks them all. */
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && seq_before(b[j].start, b[j - 1].start); j--) {
            struct tcp_sack_block t = b[j];
            b[j] = b[j - 1];
            b[j - 1] = t;
        }
    for (int i = 0; i < n; i++) {
        if (!in_cache(tp, &b[i]))
            mark_range(tp, b[i].start, b[i].end, st);
        if (tp->sacked_out && seq_after(b[i].end, tp->highest_sack))
            tp->highest_sack = b[i].end;
    }
    for (int i = 0; i < TCP_SACK_BLOCKS; i++)
        tp->sack_cache[i] = i < n ? b[i] : (struct tcp_sack_block){0};
    if (tp->ca_state != TCP_CA_Loss || tp->undo_marker)
        tcp_check_reordering(tp, st->reord, false);
}

/* The peer threw away what it had reported, or the timeout says to start over: nothing counts as received. */
void tcp_sack_clear(struct tcp_sock *tp)
{
    for (int i = 0; i < TCP_SACK_BLOCKS; i++)
        tp->sack_cache[i] = (struct tcp_sack_block){0};
    tp->sack_hint = NULL;
}
