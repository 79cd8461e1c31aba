/*
 * The receive queue, the window that is offered to the peer, and how the buffer grows with what the reader takes.
 *
 * `rcvq` holds payload packets in order; the first may have been read in part (copied_seq lies in it). The FIN is not queued:
 * it only counts in rcv_nxt. Memory, not payload, is what the buffer limits: `rcv_ratio` translates one into the other.
 */
#include "netstack/tcp_internal.h"

#include <errno.h>

void tcp_mem_charge(struct tcp_sock *tp, int64_t bytes)
{
    tp->ts->mem += bytes;
}

void tcp_rmem_charge(struct tcp_sock *tp, int64_t bytes)
{
    tp->rmem += bytes;
    tp->ts->mem += bytes;
}

bool tcp_mem_exhausted(const struct tcp_sock *tp)
{
    return tp->ts->mem > tp->ts->sysctl.mem[2] * 4096;
}

static bool mem_pressure(const struct tcp_sock *tp)
{
    return tp->ts->mem > tp->ts->sysctl.mem[1] * 4096;
}

uint32_t tcp_readable(const struct tcp_sock *tp)
{
    return tp->rcv_nxt - tp->copied_seq - tp->fin_rcvd;
}

uint32_t tcp_win_from_space(const struct tcp_sock *tp, uint32_t space)
{
    return (uint64_t)space * tp->rcv_ratio >> 8;
}

static uint32_t space_from_win(const struct tcp_sock *tp, uint64_t win)
{
    uint64_t s = (win << 8) / tp->rcv_ratio;
    return s > 0x7fffffff ? 0x7fffffff : s;
}

static uint32_t full_space(const struct tcp_sock *tp)
{
    return tcp_win_from_space(tp, tp->rcvbuf);
}

static uint32_t free_space(const struct tcp_sock *tp)
{
    return tp->rmem < tp->rcvbuf ? tcp_win_from_space(tp, tp->rcvbuf - tp->rmem) : 0;
}

/* What of the last offer the peer has not used yet. */
uint32_t tcp_receive_window(const struct tcp_sock *tp)
{
    int32_t w = tp->rcv_wup + tp->rcv_wnd - tp->rcv_nxt;
    return w < 0 ? 0 : w;
}

/* What we would offer now (RFC 9293, 3.8.6.2.2: no silly windows). */
static uint32_t choose_window(struct tcp_sock *tp)
{
    uint32_t mss = tp->rcv_mss, space = free_space(tp), allowed = full_space(tp);
    uint32_t full = allowed < tp->window_clamp ? allowed : tp->window_clamp;
    if (mss > full) {
        mss = full;
        if (mss == 0)
            return 0;
    }
    if (space < full / 2) {
        tp->quick = 0;
        if (mem_pressure(tp) && tp->rcv_ssthresh > 4 * tp->advmss)
            tp->rcv_ssthresh = 4 * tp->advmss;
        space &= ~((1u << tp->rcv_wscale) - 1);
        if (space < allowed >> 4 || space < mss)
            return 0;
    }
    if (space > tp->rcv_ssthresh)
        space = tp->rcv_ssthresh;
    if (tp->rcv_wscale) {
        uint32_t unit = 1u << tp->rcv_wscale;
        return (space + unit - 1) & ~(unit - 1);
    }
    uint32_t window = tp->rcv_wnd;
    if ((int64_t)window <= (int64_t)space - mss || window > space)
        return space - space % mss;
    if (mss == full && space > window + full / 2)
        return space;
    return window;
}

/* For the header of a packet that is sent now: remembers what was offered. Scaled. */
uint16_t tcp_select_window(struct tcp_sock *tp)
{
    uint32_t old = tcp_receive_window(tp), win = choose_window(tp), was = tp->rcv_wnd;
    if (win < old) {
        /* What was promised stays promised. */
        if (win == 0)
            MIB_INC(tp->st, TcpExtTCPWantZeroWindowAdv);
        uint32_t unit = 1u << tp->rcv_wscale;
        win = (old + unit - 1) & ~(unit - 1);
    }
    tp->rcv_wup = tp->rcv_nxt;
    uint32_t max = tp->wscale_ok ? 65535u << tp->rcv_wscale : tp->ts->sysctl.window_scaling ? 65535 : 32767;
    tp->rcv_wnd = win < max ? win : max;
    uint16_t field = tp->rcv_wnd >> tp->rcv_wscale;
    if (field == 0 && was)
        MIB_INC(tp->st, TcpExtTCPToZeroWindowAdv);
    else if (field && was == 0)
        MIB_INC(tp->st, TcpExtTCPFromZeroWindowAdv);
    return field;
}

/* ---- at the start ---- */

/* The window of a SYN or its answer, and the scale that lets the largest buffer be used. */
void tcp_choose_window(const struct tcp_sock *tp, uint32_t mss, bool scale, uint32_t *wnd, uint8_t *wscale, uint32_t *clamp)
{
    uint32_t space = full_space(tp), max = space;
    *clamp = tp->window_clamp ? tp->window_clamp : 65535u << TCP_MAX_WSCALE;
    if (space > *clamp)
        space = *clamp;
    if (space > mss)
        space -= space % mss;
    *wnd = space > 65535 ? 65535 : space;
    *wscale = 0;
    if (scale) {
        if (!tp->rcvbuf_locked && max < (uint32_t)tp->ts->sysctl.rmem[2])
            max = tp->ts->sysctl.rmem[2];
        if (max > *clamp)
            max = *clamp;
        for (; max > 65535 && *wscale < TCP_MAX_WSCALE; max >>= 1)
            ++*wscale;
    }
    uint32_t most = 65535u << *wscale;
    if (*clamp > most)
        *clamp = most;
}

void tcp_initial_window(struct tcp_sock *tp)
{
    tcp_choose_window(tp, tp->advmss, tp->ts->sysctl.window_scaling, &tp->rcv_wnd, &tp->rcv_wscale, &tp->window_clamp);
    tp->rcv_ssthresh = tp->rcv_wnd;
}

void tcp_init_buffers(struct tcp_sock *tp)
{
    tcp_sndbuf_expand(tp);
    tp->rcvq_at = tcp_now(tp);
    tp->rcvq_seq = tp->copied_seq;
    uint32_t max = full_space(tp);
    if (tp->window_clamp > max && tp->rcvbuf_locked)
        tp->window_clamp = max;
    uint32_t s = TCP_INIT_CWND * tp->advmss;
    if (s > tp->rcv_wnd)
        s = tp->rcv_wnd;
    tp->rcvq_space = s ? s : 1;
}

/* ---- growth ---- */

/* Learns the peer's segment size, and how well its packets use their memory. */
static void measure_rcv_mss(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    uint32_t len = rx->seg_size ? rx->seg_size : rx->len;
    if (len >= tp->rcv_mss) {
        if (len != tp->rcv_mss && rx->p && rx->p->truesize) {
            uint64_t ratio = ((uint64_t)rx->len << 8) / rx->p->truesize;
            tp->rcv_ratio = ratio < 64 ? 64 : ratio > 240 ? 240 : ratio;
        }
        tp->rcv_mss = len < tp->advmss ? len : tp->advmss;
        if (tp->rcv_mss == 0)
            tp->rcv_mss = TCP_MSS_DEFAULT;
        if (len == tp->advmss && (rx->flags & TCP_PSH))
            tp->ack_pushed = true;
    } else if (rx->len && (rx->flags & TCP_PSH)) {
        tp->ack_pushed = true;
    }
}

/* The window may open faster than the buffer fills, as long as memory is used well. */
static void grow_window(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    int64_t room = (int64_t)(tp->window_clamp < full_space(tp) ? tp->window_clamp : full_space(tp)) - tp->rcv_ssthresh;
    if (room <= 0 || mem_pressure(tp))
        return;
    uint32_t incr = 2 * tp->advmss;
    if (rx->len > incr)
        incr = rx->len;
    if (rx->len < 128)
        return;
    tp->rcv_ssthresh += incr < room ? incr : room;
    tp->quick |= 1;
}

void tcp_data_received(struct tcp_sock *tp, const struct tcp_rx *rx)
{
    int64_t now = tcp_now(tp);
    tp->ack_pending = true;
    measure_rcv_mss(tp, rx);
    tcp_rtt_rcv_by_window(tp);
    if (tp->ato == 0) {
        /* The first data: acknowledge at once for a while, so that the peer's window can grow. */
        tcp_quickack(tp, TCP_MAX_QUICKACKS);
        tp->ato = TCP_ATO_MIN_NS;
    } else {
        int64_t gap = now - tp->last_rcv_at;
        if (gap <= TCP_ATO_MIN_NS / 2) {
            tp->ato = tp->ato / 2 + TCP_ATO_MIN_NS / 2;
        } else if (gap < tp->ato) {
            tp->ato = tp->ato / 2 + gap;
            if (tp->ato > tp->rto_us * 1000)
                tp->ato = tp->rto_us * 1000;
        } else if (gap > tp->rto_us * 1000) {
            /* It was quiet for long: the peer's window has fallen. */
            tcp_quickack(tp, TCP_MAX_QUICKACKS);
        }
    }
    tp->last_rcv_at = now;
    if (rx->len >= 128)
        grow_window(tp, rx);
}

/* The reader took data: if it takes more in a round trip than before, the buffer shall hold twice of that. */
static void space_adjust(struct tcp_sock *tp) NETSTACK_LOCKED
{
    int64_t now = tcp_now(tp);
    if (tp->rcv_rtt_us == 0 || (now - tp->rcvq_at) / 1000 < tp->rcv_rtt_us >> 3)
        return;
    uint32_t copied = tp->copied_seq - tp->rcvq_seq;
    if (copied > tp->rcvq_space) {
        if (tp->ts->sysctl.moderate_rcvbuf && !tp->rcvbuf_locked) {
            uint64_t win = ((uint64_t)copied << 1) + 16 * tp->advmss;
            uint64_t grow = win * (copied - tp->rcvq_space) / tp->rcvq_space;
            win += grow << 1;
            uint32_t buf = space_from_win(tp, win);
            if (buf > (uint32_t)tp->ts->sysctl.rmem[2])
                buf = tp->ts->sysctl.rmem[2];
            if (buf > tp->rcvbuf) {
                tp->rcvbuf = buf;
                tp->window_clamp = tcp_win_from_space(tp, buf);
            }
        }
        tp->rcvq_space = copied;
    }
    tp->rcvq_seq = tp->copied_seq;
    tp->rcvq_at = now;
}

/* ---- the queue ---- */

/* The packet's bytes are next in order. `end_seq` may count a FIN, which the caller deals with. */
void tcp_rcvq_add(struct tcp_sock *tp, struct pkt *p)
{
    tp->bytes_received += p->tcp.end_seq - tp->rcv_nxt;
    tp->rcv_nxt = p->tcp.end_seq;
    if (p->len == 0) {
        pkt_free(p);
        return;
    }
    tcp_rmem_charge(tp, p->truesize);
    pkt_queue_add(&tp->rcvq, p);
}

void tcp_rcvq_purge(struct tcp_sock *tp)
{
    tcp_rmem_charge(tp, -(int64_t)tp->rcvq.memory);
    pkt_queue_purge(&tp->rcvq);
}

/* Copies runs of packets that hold much more memory than payload into fresh ones. */
static void collapse(struct tcp_sock *tp)
{
    struct pkt_queue fresh;
    struct pkt *p, *into = NULL;
    enum { CHUNK = 16384 };
    pkt_queue_init(&fresh);
    tcp_rmem_charge(tp, -(int64_t)tp->rcvq.memory);
    bool head = true;
    while ((p = pkt_queue_take(&tp->rcvq))) {
        uint32_t skip = head ? tp->copied_seq - p->tcp.seq : 0;
        head = false;
        uint32_t len = p->len - skip;
        bool wasteful = p->truesize > 2 * len && len < CHUNK;
        if (wasteful && (!into || into->len + len > CHUNK)) {
            into = pkt_alloc(0, CHUNK);
            if (into) {
                into->tcp.seq = p->tcp.seq + skip;
                pkt_queue_add(&fresh, into);
            }
        }
        if (!wasteful || !into) {
            pkt_queue_add(&fresh, p);
            into = NULL;
            continue;
        }
        MIB_INC(tp->st, TcpExtTCPRcvCollapsed);
        fresh.bytes += len;
        pkt_copy_out(p, skip, pkt_put(into, len), len);
        into->tcp.end_seq = p->tcp.end_seq;
        pkt_free(p);
    }
    tcp_rmem_charge(tp, fresh.memory);
    list_splice_tail_init(&fresh.list, &tp->rcvq.list);
    tp->rcvq.n = fresh.n;
    tp->rcvq.bytes = fresh.bytes;
    tp->rcvq.memory = fresh.memory;
}

/* Is there room for one more packet? If not, gives up what can be given up. */
bool tcp_rmem_make_room(struct tcp_sock *tp)
{
    if (tp->rmem <= tp->rcvbuf && !tcp_mem_exhausted(tp))
        return true;
    MIB_INC(tp->st, TcpExtPruneCalled);
    /* Autotuning may go a little ahead: the window has been promised. */
    if (!tp->rcvbuf_locked && !mem_pressure(tp) && tp->rcvbuf < (uint32_t)tp->ts->sysctl.rmem[2]) {
        uint32_t want = tp->rmem < (uint32_t)tp->ts->sysctl.rmem[2] ? tp->rmem : (uint32_t)tp->ts->sysctl.rmem[2];
        if (want > tp->rcvbuf)
            tp->rcvbuf = want;
        return true;
    }
    if (tp->rcv_ssthresh > 4 * tp->advmss)
        tp->rcv_ssthresh = 4 * tp->advmss;
    collapse(tp);
    if (tp->rmem <= tp->rcvbuf && !tcp_mem_exhausted(tp))
        return true;
    tcp_reasm_prune(tp);
    if (tp->rmem <= tp->rcvbuf && !tcp_mem_exhausted(tp))
        return true;
    MIB_INC(tp->st, TcpExtRcvPruned);
    return false;
}

/* ---- the reader ---- */

/* After `copied` bytes were read: is it time to tell the peer about acknowledgement or window? */
void tcp_window_update(struct tcp_sock *tp, size_t copied)
{
    bool ack = false;
    if (tp->ack_pending)
        ack = tp->rcv_nxt - tp->rcv_wup > tp->rcv_mss || (copied && tp->ack_pushed && !tcp_in_pingpong(tp) && tp->rmem == 0);
    if (copied && !ack && !(tp->shutdown & TCP_RCV_SHUTDOWN)) {
        uint32_t now = tcp_receive_window(tp);
        if (2 * now <= tp->window_clamp) {
            uint32_t win = choose_window(tp);
            ack = win && win >= 2 * now;
        }
    }
    if (ack)
        tcp_send_ack(tp);
}

size_t tcp_rcvq_consume(struct tcp_sock *tp, size_t n)
{
    size_t have = tcp_readable(tp);
    if (n > have)
        n = have;
    tp->copied_seq += n;
    struct pkt *p;
    while ((p = pkt_queue_head(&tp->rcvq)) && !seq_after(p->tcp.seq + p->len, tp->copied_seq)) {
        pkt_queue_del(&tp->rcvq, p);
        tcp_rmem_charge(tp, -(int64_t)p->truesize);
        pkt_free(p);
    }
    space_adjust(tp);
    return n;
}

/* How many of the `len` bytes from `seq` on begin in this packet of the queue, and where; 0: it lies before them. */
static uint32_t piece_of(const struct pkt *p, uint32_t seq, size_t len, uint32_t *off)
{
    if (!seq_after(p->tcp.seq + p->len, seq))
        return 0;
    *off = seq - p->tcp.seq;
    return p->len - *off < len ? p->len - *off : (uint32_t)len;
}

int tcp_rcvq_share(struct tcp_sock *tp, uint32_t seq, size_t len, struct pkt_queue *out)
{
    struct pkt *p;
    list_for_each_entry(p, &tp->rcvq.list, node) {
        if (len == 0)
            break;
        uint32_t off, n = piece_of(p, seq, len, &off);
        if (!n)
            continue;
        struct pkt *q = pkt_slice(p, off, n, 0);
        if (!q)
            return -ENOMEM;
        pkt_queue_add(out, q);
        seq += n;
        len -= n;
    }
    return 0;
}

void tcp_rcvq_copy(const struct tcp_sock *tp, uint32_t seq, uint8_t *to, size_t len)
{
    struct pkt *p;
    list_for_each_entry(p, &tp->rcvq.list, node) {
        if (len == 0)
            break;
        uint32_t off, n = piece_of(p, seq, len, &off);
        if (!n)
            continue;
        pkt_copy_out(p, off, to, n);
        to += n;
        seq += n;
        len -= n;
    }
}
