/*
 * The send queue: segments not yet sent (`unsent`), and those sent and not yet acknowledged (`rtx`), both in order of sequence
 * numbers. A segment holds up to a GSO packet's worth of payload and is cut when an acknowledgement, a SACK block, the
 * congestion window or the receiver's window ends within it. `by_time` links what is in flight in order of transmission.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>
#include <stdlib.h>

/* What a segment costs besides its payload. */
#define SEG_OVERHEAD (sizeof(struct tcp_seg) + sizeof(struct pkt))
#define SEG_CACHE    256

static struct tcp_seg *seg_alloc(struct tcp_sock *tp)
{
    struct tcp_stack *ts = tp->ts;
    struct tcp_seg *seg;
    if (ts->nr_free_segs) {
        seg = list_first_entry(&ts->free_segs, struct tcp_seg, node);
        list_del_init(&seg->node);
        ts->nr_free_segs--;
    } else {
        seg = malloc(sizeof *seg);
        if (!seg)
            return NULL;
    }
    *seg = (struct tcp_seg){.pcount = 1};
    list_init(&seg->node);
    list_init(&seg->sent_node);
    return seg;
}

void tcp_seg_free(struct tcp_sock *tp, struct tcp_seg *seg)
{
    struct tcp_stack *ts = tp->ts;
    list_del_init(&seg->node);
    list_del_init(&seg->sent_node);
    if (tp->sack_hint == seg)
        tp->sack_hint = NULL;
    if (tp->retrans_hint == seg)
        tp->retrans_hint = NULL;
    tcp_mem_charge(tp, -(int64_t)seg->truesize);
    tp->wmem -= seg->truesize;
    pkt_free(seg->data);
    if (ts->nr_free_segs < SEG_CACHE) {
        list_add(&seg->node, &ts->free_segs);
        ts->nr_free_segs++;
    } else {
        free(seg);
    }
}

static void account(struct tcp_sock *tp, struct tcp_seg *seg)
{
    uint32_t size = seg->len + SEG_OVERHEAD;
    tcp_mem_charge(tp, (int64_t)size - seg->truesize);
    tp->wmem += size - seg->truesize;
    seg->truesize = size;
}

void tcp_seg_set_pcount(struct tcp_seg *seg, uint32_t mss)
{
    seg->pcount = seg->len <= mss ? 1 : (seg->len + mss - 1) / mss;
}

struct tcp_seg *tcp_unsent_tail(struct tcp_sock *tp)
{
    return list_empty(&tp->unsent) ? NULL : list_last_entry(&tp->unsent, struct tcp_seg, node);
}

struct tcp_seg *tcp_unsent_head(struct tcp_sock *tp)
{
    return list_empty(&tp->unsent) ? NULL : list_first_entry(&tp->unsent, struct tcp_seg, node);
}

struct tcp_seg *tcp_rtx_head(struct tcp_sock *tp)
{
    return list_empty(&tp->rtx) ? NULL : list_first_entry(&tp->rtx, struct tcp_seg, node);
}

struct tcp_seg *tcp_rtx_tail(struct tcp_sock *tp)
{
    return list_empty(&tp->rtx) ? NULL : list_last_entry(&tp->rtx, struct tcp_seg, node);
}

static bool append_to_tail(struct tcp_sock *tp, struct pkt *p, uint32_t goal)
{
    struct tcp_seg *tail = tcp_unsent_tail(tp);
    uint32_t len = p->len;
    if (!tail || tail->eor || !tail->data || (tail->flags & TCP_FIN) || tail->len + len > goal)
        return false;
    if (tail->data->nr_frags + p->nr_frags + 1 > PKT_MAX_FRAGS || !pkt_append(tail->data, p))
        return false;
    tail->len += len;
    tail->end_seq += len;
    tp->write_seq += len;
    account(tp, tail);
    return true;
}

int tcp_queue_pkt(struct tcp_sock *tp, struct pkt *p, uint32_t goal)
{
    if (append_to_tail(tp, p, goal))
        return 0;
    struct tcp_seg *seg = seg_alloc(tp);
    if (!seg)
        return -ENOMEM;
    seg->data = p;
    seg->len = p->len;
    seg->flags = TCP_ACK;
    seg->seq = tp->write_seq;
    tp->write_seq += seg->len;
    seg->end_seq = tp->write_seq;
    account(tp, seg);
    list_add_tail(&seg->node, &tp->unsent);
    return 0;
}

/* The free bytes behind the packet's data, if nobody shares their buffer. */
static size_t tail_room(const struct pkt *p, uint8_t **at)
{
    const struct pkt_frag *f = p->nr_frags ? &p->frag[p->nr_frags - 1] : NULL;
    const struct pkt_buf *b = f ? f->buf : p->buf;
    *at = f ? b->mem + f->off + f->len : p->data + p->lin;
    return ref_read(&b->ref) == 1 ? (size_t)(b->mem + b->size - *at) : 0;
}

/* Copies up to `len` bytes behind the packet's data: into its last buffer, then into a new one. Returns how many. */
static uint32_t append_bytes(struct pkt *p, const uint8_t *data, uint32_t len)
{
    enum { CHUNK = 4096 };
    uint8_t *at;
    size_t room = tail_room(p, &at);
    uint32_t n = room < len ? room : len;
    memcpy(at, data, n);
    if (p->nr_frags)
        p->frag[p->nr_frags - 1].len += n;
    else
        p->lin += n;
    p->len += n;
    if (n == len || p->nr_frags == PKT_MAX_FRAGS)
        return n;
    struct pkt_buf *b = pkt_buf_alloc(len - n > CHUNK ? len - n : CHUNK);
    if (!b)
        return n;
    if (pkt_add_frag(p, b, 0, len - n)) {
        memcpy(b->mem, data + n, len - n);
        n = len;
    }
    pkt_buf_put(b);
    return n;
}

/* Copies at most `len` bytes to the end of the queue. Returns how many, or -ENOMEM. */
ssize_t tcp_queue_bytes(struct tcp_sock *tp, const void *data, uint32_t len, uint32_t goal)
{
    struct tcp_seg *tail = tcp_unsent_tail(tp);
    if (tail && !tail->eor && tail->data && !(tail->flags & TCP_FIN) && tail->len < goal) {
        uint32_t n = append_bytes(tail->data, data, len < goal - tail->len ? len : goal - tail->len);
        if (n) {
            tail->len += n;
            tail->end_seq += n;
            tp->write_seq += n;
            account(tp, tail);
            return n;
        }
    }
    if (len > goal)
        len = goal;
    /* Headers go into a packet of their own (see tcp_xmit_seg): no room is needed in front, but behind, for what follows. */
    struct pkt *p = pkt_alloc(0, len < 1024 ? 2048 : len);
    if (!p)
        return -ENOMEM;
    memcpy(pkt_put(p, len), data, len);
    int r = tcp_queue_pkt(tp, p, len);
    if (r < 0) {
        pkt_free(p);
        return r;
    }
    return len;
}

int tcp_queue_control(struct tcp_sock *tp, uint8_t flags)
{
    struct tcp_seg *seg = seg_alloc(tp);
    if (!seg)
        return -ENOMEM;
    seg->flags = flags;
    seg->seq = tp->write_seq;
    seg->end_seq = ++tp->write_seq;
    account(tp, seg);
    list_add_tail(&seg->node, &tp->unsent);
    return 0;
}

/* After the packet count of a segment in the retransmission queue fell by `n` (or rose: negative). */
void tcp_adjust_pcount(struct tcp_sock *tp, const struct tcp_seg *seg, int n)
{
    tp->packets_out -= n;
    if (seg->sacked & SEG_SACKED)
        tp->sacked_out -= n;
    if (seg->sacked & SEG_RETRANS)
        tp->retrans_out -= n;
    if (seg->sacked & SEG_LOST)
        tp->lost_out -= n;
}

int tcp_seg_split(struct tcp_sock *tp, struct tcp_seg *seg, uint32_t at, uint32_t mss, bool sent)
{
    /* A peer that cuts our queue to shreds with its SACK blocks must not make us hold unlimited overhead. */
    if (sent && tp->wmem / 2 > (uint64_t)tp->sndbuf + 131072)
        return -ENOMEM;
    struct tcp_seg *rest = seg_alloc(tp);
    if (!rest)
        return -ENOMEM;
    rest->data = pkt_slice(seg->data, at, seg->len - at, 0);
    if (!rest->data) {
        tcp_seg_free(tp, rest);
        return -ENOMEM;
    }
    pkt_trim(seg->data, at);
    int old = seg->pcount;
    rest->len = seg->len - at;
    rest->end_seq = seg->end_seq;
    rest->seq = seg->seq + at;
    rest->flags = seg->flags;
    rest->sacked = seg->sacked;
    rest->eor = seg->eor;
    rest->app_limited = seg->app_limited;
    rest->sent_at = seg->sent_at;
    rest->delivered = seg->delivered;
    rest->delivered_at = seg->delivered_at;
    rest->first_sent_at = seg->first_sent_at;
    seg->len = at;
    seg->end_seq = rest->seq;
    seg->flags &= ~(TCP_FIN | TCP_PSH);
    seg->eor = false;
    account(tp, seg);
    account(tp, rest);
    tcp_seg_set_pcount(seg, mss);
    tcp_seg_set_pcount(rest, mss);
    list_add(&rest->node, &seg->node);
    if (sent) {
        tcp_adjust_pcount(tp, seg, old - seg->pcount - rest->pcount);
        if (!list_empty(&seg->sent_node))
            list_add(&rest->sent_node, &seg->sent_node);
    }
    return 0;
}

int tcp_seg_trim_head(struct tcp_sock *tp, struct tcp_seg *seg, uint32_t n, uint32_t mss)
{
    pkt_pull(seg->data, n);
    seg->seq += n;
    seg->len -= n;
    account(tp, seg);
    int old = seg->pcount;
    if (old > 1)
        tcp_seg_set_pcount(seg, mss);
    return old - seg->pcount;
}

void tcp_purge_write_queue(struct tcp_sock *tp)
{
    struct tcp_seg *seg, *tmp;
    list_for_each_entry_safe(seg, tmp, &tp->unsent, node)
        tcp_seg_free(tp, seg);
    list_for_each_entry_safe(seg, tmp, &tp->rtx, node)
        tcp_seg_free(tp, seg);
    tp->packets_out = tp->sacked_out = tp->lost_out = tp->retrans_out = 0;
    tp->backoff = 0;
}

/* ---- the user's room ---- */

uint32_t tcp_notsent(const struct tcp_sock *tp)
{
    return tp->write_seq - tp->snd_nxt;
}

static uint32_t notsent_lowat(const struct tcp_sock *tp)
{
    return tp->notsent_lowat ? tp->notsent_lowat : (uint32_t)tp->ts->sysctl.notsent_lowat;
}

bool tcp_memory_free(const struct tcp_sock *tp)
{
    return tp->wmem < tp->sndbuf && tcp_notsent(tp) < notsent_lowat(tp) && !tcp_mem_exhausted(tp);
}

/* For poll: a third of the queue should be free, so that a writer is not woken for every segment. */
bool tcp_writeable(const struct tcp_sock *tp)
{
    return tp->wmem < tp->sndbuf && tp->sndbuf - tp->wmem >= tp->wmem / 2 && tcp_notsent(tp) < notsent_lowat(tp);
}

void tcp_sndbuf_expand(struct tcp_sock *tp)
{
    if (tp->sndbuf_locked)
        return;
    uint64_t per_mss = (tp->mss_clamp > tp->mss ? tp->mss_clamp : tp->mss) + 320;
    uint64_t n = tp->snd_cwnd;
    if (n < TCP_INIT_CWND)
        n = TCP_INIT_CWND;
    if (n < tp->reordering + 1)
        n = tp->reordering + 1;
    uint64_t want = 2 * n * per_mss;
    if (want > (uint64_t)tp->ts->sysctl.wmem[2])
        want = tp->ts->sysctl.wmem[2];
    if (want > tp->sndbuf)
        tp->sndbuf = want;
}
