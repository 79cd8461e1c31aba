/*
 * What follows from a loss: the states Open, Disorder (something is missing, perhaps only late), CWR (the window falls because
 * the network asked for it), Recovery (fast retransmission) and Loss (after a timeout); the way the window falls meanwhile
 * (PRR, RFC 6937); and the return to what was before when the loss turns out to be none (Eifel by timestamps, RFC 3522; D-SACK,
 * RFC 3708; F-RTO, RFC 5682).
 */
#include "netstack/tcp_internal.h"

uint32_t tcp_in_flight(const struct tcp_sock *tp)
{
    return tp->packets_out - (tp->sacked_out + tp->lost_out) + tp->retrans_out;
}

bool tcp_in_reduction(const struct tcp_sock *tp)
{
    return tp->ca_state == TCP_CA_CWR || tp->ca_state == TCP_CA_Recovery;
}

/* What ssthresh should be said to be while the window is being reduced or was not used up. */
uint32_t tcp_current_ssthresh(const struct tcp_sock *tp)
{
    if (tcp_in_reduction(tp))
        return tp->snd_ssthresh;
    uint32_t three_quarters = (tp->snd_cwnd >> 1) + (tp->snd_cwnd >> 2);
    return tp->snd_ssthresh > three_quarters ? tp->snd_ssthresh : three_quarters;
}

/* ---- PRR ---- */

void tcp_init_reduction(struct tcp_sock *tp)
{
    tp->high_seq = tp->snd_nxt;
    tp->tlp_high_seq = 0;
    tp->snd_cwnd_cnt = 0;
    tp->prior_cwnd = tp->snd_cwnd;
    tp->prr_delivered = 0;
    tp->prr_out = 0;
    tp->snd_ssthresh = tp->cong->ssthresh(tp);
    if (tp->ecn_ok)
        tp->ecn_queue_cwr = true;
}

void tcp_prr(struct tcp_sock *tp, uint32_t newly_delivered, uint32_t newly_lost, unsigned int flag)
{
    if (newly_delivered == 0 || tp->prior_cwnd == 0)
        return;
    int64_t in_flight = tcp_in_flight(tp), delta = (int64_t)tp->snd_ssthresh - in_flight, n;
    tp->prr_delivered += newly_delivered;
    if (delta < 0) {
        /* Proportionally: as many go out as arrive, times the factor of the reduction. */
        n = ((int64_t)tp->snd_ssthresh * tp->prr_delivered + tp->prior_cwnd - 1) / tp->prior_cwnd - tp->prr_out;
    } else {
        /* Below the target: slow start up to it, but only while nothing more is lost. */
        n = (int64_t)tp->prr_delivered - tp->prr_out;
        if (n < newly_delivered)
            n = newly_delivered;
        if ((flag & ACK_UNA_ADVANCED) && newly_lost == 0)
            n++;
        if (n > delta)
            n = delta;
    }
    int64_t min = tp->prr_out ? 0 : 1; /* the fast retransmission itself always goes */
    tp->snd_cwnd = in_flight + (n > min ? n : min);
    if (tp->snd_cwnd == 0)
        tp->snd_cwnd = 1;
}

void tcp_end_reduction(struct tcp_sock *tp)
{
    if (tp->snd_ssthresh < TCP_INFINITE_SSTHRESH && (tp->ca_state == TCP_CA_CWR || tp->undo_marker)) {
        tp->snd_cwnd = tp->snd_ssthresh;
        tp->cwnd_stamp = tcp_now(tp);
    }
}

/* The network, or our own host, says that we are too fast, without a loss. */
static void enter_cwr(struct tcp_sock *tp)
{
    tp->prior_ssthresh = 0;
    if (tp->ca_state < TCP_CA_CWR) {
        tp->undo_marker = 0;
        tcp_init_reduction(tp);
        tp->ca_state = TCP_CA_CWR;
    }
}

/* ---- undo ---- */

static void init_undo(struct tcp_sock *tp)
{
    tp->undo_marker = tp->snd_una;
    tp->undo_retrans = tp->retrans_out ? (int)tp->retrans_out : -1;
}

static void clear_lost(struct tcp_sock *tp)
{
    struct tcp_seg *seg;
    list_for_each_entry(seg, &tp->rtx, node)
        if (seg->sacked & SEG_LOST) {
            seg->sacked &= ~SEG_LOST;
            if (list_empty(&seg->sent_node))
                list_add(&seg->sent_node, &tp->by_time);
        }
    tp->lost_out = 0;
    tp->retrans_hint = NULL;
}

static void undo_reduction(struct tcp_sock *tp, bool unmark) NETSTACK_LOCKED
{
    if (unmark)
        clear_lost(tp);
    if (tp->prior_ssthresh) {
        if (tp->prior_cwnd > tp->snd_cwnd)
            tp->snd_cwnd = tp->prior_cwnd;
        if (tp->prior_ssthresh > tp->snd_ssthresh)
            tp->snd_ssthresh = tp->prior_ssthresh;
    }
    tp->cwnd_stamp = tcp_now(tp);
    tp->undo_marker = 0;
    tp->rack.advanced = true;
}

/* The acknowledgement answers a packet that was sent before the retransmission. */
static bool packet_delayed(const struct tcp_sock *tp)
{
    return tp->retrans_stamp && tp->rx_has_ts && tp->rx_tsecr && seq_before(tp->rx_tsecr, tp->retrans_stamp);
}

static bool may_undo(const struct tcp_sock *tp)
{
    return tp->undo_marker && (tp->undo_retrans == 0 || packet_delayed(tp));
}

static bool any_retrans_done(const struct tcp_sock *tp)
{
    if (tp->retrans_out)
        return true;
    const struct tcp_seg *seg = tcp_rtx_head((struct tcp_sock *)tp);
    return seg && (seg->sacked & SEG_EVER_RETRANS);
}

void tcp_try_keep_open(struct tcp_sock *tp)
{
    int state = tp->sacked_out + tp->lost_out || any_retrans_done(tp) ? TCP_CA_Disorder : TCP_CA_Open;
    if (tp->ca_state != state) {
        tp->ca_state = state;
        tp->high_seq = tp->snd_nxt;
    }
}

/* All that was in flight when recovery began is acknowledged. True: stay a moment longer, since without SACK a late duplicate
 * would look like a new loss. */
static bool try_undo_recovery(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (may_undo(tp)) {
        if (tp->ca_state == TCP_CA_Loss)
            MIB_INC(tp->st, TcpExtTCPLossUndo);
        else
            MIB_INC(tp->st, TcpExtTCPFullUndo);
        undo_reduction(tp, false);
    }
    if (tp->snd_una == tp->high_seq && !tp->sack_ok) {
        if (!any_retrans_done(tp))
            tp->retrans_stamp = 0;
        return true;
    }
    tp->ca_state = TCP_CA_Open;
    return false;
}

static bool try_undo_dsack(struct tcp_sock *tp) NETSTACK_LOCKED
{
    if (!tp->undo_marker || tp->undo_retrans != 0)
        return false;
    if (tp->rack.reo_wnd_persist < 16)
        tp->rack.reo_wnd_persist++;
    MIB_INC(tp->st, TcpExtTCPDSACKUndo);
    undo_reduction(tp, false);
    return true;
}

static bool try_undo_loss(struct tcp_sock *tp, bool frto_undo) NETSTACK_LOCKED
{
    if (!frto_undo && !may_undo(tp))
        return false;
    undo_reduction(tp, true);
    MIB_INC(tp->st, TcpExtTCPLossUndo);
    if (frto_undo)
        MIB_INC(tp->st, TcpExtTCPSpuriousRTOs);
    tp->retransmits = 0;
    if (frto_undo || tp->sack_ok)
        tp->ca_state = TCP_CA_Open;
    return true;
}

/* In recovery, a part was acknowledged. True: the retransmission was spurious so far; go on sending without reducing. */
static bool try_undo_partial(struct tcp_sock *tp, bool *do_lost) NETSTACK_LOCKED
{
    if (!tp->undo_marker || !packet_delayed(tp))
        return false;
    /* Late, not lost: reordering that RACK's window must learn. */
    tcp_check_reordering(tp, tp->snd_una, true);
    if (tp->retrans_out)
        return true;
    if (!any_retrans_done(tp))
        tp->retrans_stamp = 0;
    MIB_INC(tp->st, TcpExtTCPPartialUndo);
    undo_reduction(tp, true);
    tcp_try_keep_open(tp);
    *do_lost = false;
    return false;
}

/* ---- reordering ---- */

/* Something at `low` was delivered after what lies above it. */
void tcp_check_reordering(struct tcp_sock *tp, uint32_t low, bool ts)
{
    uint32_t high = tp->highest_sack, mss = tcp_cached_mss(tp);
    if (!tp->sacked_out && !ts)
        high = tp->snd_una;
    if (!seq_before(low, high))
        return;
    uint32_t metric = (high - low + mss - 1) / mss;
    if (metric > tp->reordering) {
        uint32_t max = tp->ts->sysctl.max_reordering;
        tp->reordering = metric < max ? metric : max;
    }
    tp->reord_seen++;
    if (ts)
        MIB_INC(tp->st, TcpExtTCPTSReorder);
    else
        MIB_INC(tp->st, TcpExtTCPSACKReorder);
}

/* What counts as received without SACK leaves room for what is lost, and for at least one hole. True: it had to be cut. */
bool tcp_limit_reno_sacked(struct tcp_sock *tp)
{
    uint32_t holes = tp->lost_out ? tp->lost_out : 1;
    if (holes > tp->packets_out)
        holes = tp->packets_out;
    if (tp->sacked_out + holes <= tp->packets_out)
        return false;
    tp->sacked_out = tp->packets_out - holes;
    return true;
}

/* Without SACK each duplicate acknowledgement stands for one packet that was received. */
static void add_reno_sack(struct tcp_sock *tp, uint32_t n)
{
    uint32_t before = tp->sacked_out;
    if (!n)
        return;
    tp->sacked_out += n;
    if (tcp_limit_reno_sacked(tp)) {
        uint32_t max = tp->ts->sysctl.max_reordering;
        tp->reordering = tp->packets_out < max ? tp->packets_out : max;
        tp->reord_seen++;
        MIB_INC(tp->st, TcpExtTCPRenoReorder);
    }
    if (tp->sacked_out > before)
        tp->delivered += tp->sacked_out - before;
}

void tcp_reno_acked(struct tcp_sock *tp, uint32_t acked)
{
    if (acked) {
        uint32_t d = acked > tp->sacked_out ? acked - tp->sacked_out : 0;
        tp->delivered += d > 1 ? d : 1;
        tp->sacked_out = acked - 1 >= tp->sacked_out ? 0 : tp->sacked_out - (acked - 1);
    }
    tcp_limit_reno_sacked(tp);
}

/* ---- entering ---- */

void tcp_enter_recovery(struct tcp_sock *tp, bool ece)
{
    if (tp->sack_ok)
        MIB_INC(tp->st, TcpExtTCPSackRecovery);
    else
        MIB_INC(tp->st, TcpExtTCPRenoRecovery);
    tp->prior_ssthresh = 0;
    init_undo(tp);
    if (!tcp_in_reduction(tp)) {
        if (!ece)
            tp->prior_ssthresh = tcp_current_ssthresh(tp);
        tcp_init_reduction(tp);
    }
    tp->ca_state = TCP_CA_Recovery;
}

/* The timer expired: all is taken for lost, and sending begins again with one packet. */
void tcp_enter_loss(struct tcp_sock *tp)
{
    bool fresh = tp->ca_state < TCP_CA_Recovery;
    struct tcp_seg *seg = tcp_rtx_head(tp);
    if (seg && (seg->sacked & SEG_SACKED)) {
        /* What was reported as received is not acknowledged: the peer threw it away. */
        MIB_INC(tp->st, TcpExtTCPSACKReneging);
        list_for_each_entry(seg, &tp->rtx, node)
            seg->sacked &= ~SEG_SACKED;
        tp->sacked_out = 0;
        tcp_sack_clear(tp);
    }
    if (!tp->sack_ok)
        tp->sacked_out = 0;
    list_for_each_entry(seg, &tp->rtx, node) {
        if (seg != tcp_rtx_head(tp) && tp->sack_ok && tp->min_rtt_us && !(seg->sacked & SEG_LOST) && seg != tcp_rtx_head(tp) &&
            (tcp_now(tp) - seg->sent_at) / 1000 < tp->rack.rtt_us)
            continue; /* sent so recently that it can still be under way */
        tcp_mark_lost(tp, seg);
    }
    if (tp->ca_state <= TCP_CA_Disorder || !seq_after(tp->high_seq, tp->snd_una) ||
        (tp->ca_state == TCP_CA_Loss && tp->retransmits == 0)) {
        tp->prior_ssthresh = tcp_current_ssthresh(tp);
        tp->prior_cwnd = tp->snd_cwnd;
        tp->snd_ssthresh = tp->cong->ssthresh(tp);
        tp->cong->reset(tp);
        init_undo(tp);
    }
    uint32_t in_flight = tcp_in_flight(tp);
    tp->snd_cwnd = in_flight + 1;
    tp->snd_cwnd_cnt = 0;
    tp->cwnd_stamp = tcp_now(tp);
    if (tp->ca_state <= TCP_CA_Disorder && tp->sacked_out >= (uint32_t)tp->ts->sysctl.reordering &&
        tp->reordering > (uint32_t)tp->ts->sysctl.reordering)
        tp->reordering = tp->ts->sysctl.reordering;
    tp->ca_state = TCP_CA_Loss;
    tp->high_seq = tp->snd_nxt;
    tp->ecn_queue_cwr = tp->ecn_ok;
    tp->frto = tp->ts->sysctl.frto && (fresh || tp->retransmits) && tp->sack_ok;
}

/* ---- on acknowledgements ---- */

/* The timeout's retransmission was acknowledged: was the timeout wrong? If what was never retransmitted arrives, it was. */
static void process_loss(struct tcp_sock *tp, unsigned int flag, uint32_t num_dup, bool *send_new) NETSTACK_LOCKED
{
    bool recovered = !seq_before(tp->snd_una, tp->high_seq);
    if ((flag & ACK_UNA_ADVANCED) && try_undo_loss(tp, false))
        return;
    if (tp->frto) {
        if ((flag & ACK_ORIG_SACKED) && try_undo_loss(tp, true))
            return;
        if (seq_after(tp->snd_nxt, tp->high_seq)) {
            if ((flag & ACK_DATA_SACKED) || num_dup)
                tp->frto = false;
        } else if ((flag & ACK_UNA_ADVANCED) && !recovered) {
            tp->high_seq = tp->snd_nxt;
            /* Two new segments tell: the next acknowledgement moves on or repeats. */
            if (!list_empty(&tp->unsent) && seq_after(tcp_wnd_end(tp), tp->snd_nxt)) {
                *send_new = true;
                return;
            }
            tp->frto = false;
        }
    }
    if (recovered) {
        try_undo_recovery(tp);
        return;
    }
    if (!tp->sack_ok) {
        if (seq_after(tp->snd_nxt, tp->high_seq) && num_dup)
            add_reno_sack(tp, num_dup);
        else if (flag & ACK_UNA_ADVANCED)
            tp->sacked_out = 0;
    }
}

static void identify_loss(struct tcp_sock *tp, unsigned int *flag) NETSTACK_LOCKED
{
    if (list_empty(&tp->rtx))
        return;
    if (!tp->sack_ok) {
        tcp_newreno_mark_lost(tp, *flag & ACK_UNA_ADVANCED);
        return;
    }
    uint32_t prior = tp->retrans_out;
    if (tcp_rack_mark_lost(tp))
        *flag &= ~ACK_SET_TIMER;
    if (prior > tp->retrans_out)
        *flag |= ACK_LOST_RETRANS;
}

static void try_to_open(struct tcp_sock *tp, unsigned int flag)
{
    if (!any_retrans_done(tp))
        tp->retrans_stamp = 0;
    if (flag & ACK_ECE)
        enter_cwr(tp);
    if (tp->ca_state != TCP_CA_CWR)
        tcp_try_keep_open(tp);
}

/* The peer acknowledges what is before data that it once had: it reneged. */
static bool check_reneging(struct tcp_sock *tp, unsigned int *flag) NETSTACK_LOCKED
{
    const struct tcp_seg *head = tcp_rtx_head(tp);
    if (!(*flag & ACK_UNA_ADVANCED) || !head || !(head->sacked & SEG_SACKED))
        return false;
    int64_t us = (tp->srtt_us >> 4) > 10000 ? tp->srtt_us >> 4 : 10000;
    tcp_arm(tp, TIMER_RTO, us * 1000);
    *flag &= ~ACK_SET_TIMER;
    return true;
}

/*
 * An acknowledgement that is not plain progress: a duplicate, or one with SACK or ECE, or any outside the Open state. Returns
 * what to send: nothing, what is lost, or new data (F-RTO).
 */
enum tcp_rexmit tcp_recover(struct tcp_sock *tp, uint32_t num_dup, unsigned int *flag)
{
    bool do_lost = num_dup || (*flag & ACK_DATA_SACKED), send_new = false;
    if (tp->packets_out == 0 && tp->sacked_out)
        tp->sacked_out = 0;
    if (*flag & ACK_ECE)
        tp->prior_ssthresh = 0;
    if (check_reneging(tp, flag))
        return TCP_REXMIT_NONE;
    if (tp->ca_state == TCP_CA_Open) {
        tp->retrans_stamp = 0;
    } else if (!seq_before(tp->snd_una, tp->high_seq)) {
        if (tp->ca_state == TCP_CA_CWR) {
            if (tp->snd_una != tp->high_seq) {
                tcp_end_reduction(tp);
                tp->ca_state = TCP_CA_Open;
            }
        } else if (tp->ca_state == TCP_CA_Recovery) {
            if (!tp->sack_ok)
                tp->sacked_out = 0;
            if (try_undo_recovery(tp))
                return TCP_REXMIT_NONE;
            tcp_end_reduction(tp);
            if (tp->rack.reo_wnd_persist)
                tp->rack.reo_wnd_persist--;
        }
    }
    switch (tp->ca_state) {
    case TCP_CA_Recovery:
        if (!(*flag & ACK_UNA_ADVANCED)) {
            if (!tp->sack_ok)
                add_reno_sack(tp, num_dup);
        } else if (try_undo_partial(tp, &do_lost)) {
            return TCP_REXMIT_NONE;
        }
        if (try_undo_dsack(tp))
            tcp_try_keep_open(tp);
        identify_loss(tp, flag);
        if (tp->ca_state == TCP_CA_Recovery)
            break;
        if (tp->lost_out == 0) {
            try_to_open(tp, *flag);
            return TCP_REXMIT_NONE;
        }
        tcp_enter_recovery(tp, *flag & ACK_ECE);
        break;
    case TCP_CA_Loss:
        process_loss(tp, *flag, num_dup, &send_new);
        identify_loss(tp, flag);
        if (tp->ca_state != TCP_CA_Open && !(*flag & ACK_LOST_RETRANS))
            break;
        /* The window was restored, or retransmissions are lost. */
        /* fall through */
    default:
        if (!tp->sack_ok) {
            if (*flag & ACK_UNA_ADVANCED)
                tp->sacked_out = 0;
            add_reno_sack(tp, num_dup);
        }
        if (tp->ca_state <= TCP_CA_Disorder)
            try_undo_dsack(tp);
        identify_loss(tp, flag);
        if (tp->lost_out == 0 && !(!tp->sack_ok && tp->sacked_out >= tp->reordering)) {
            try_to_open(tp, *flag);
            break;
        }
        tcp_enter_recovery(tp, *flag & ACK_ECE);
    }
    return send_new ? TCP_REXMIT_NEW : TCP_REXMIT_LOST;
}
