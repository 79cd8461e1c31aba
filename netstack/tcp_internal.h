/*
 * What the files of TCP share. Everything here is guarded by the stack's lock.
 *
 * How a connection is cut up:
 *
 *   tcp_listen.c     listening, half-open connections, the accept queue      tcp_input.c    segments in, by state
 *   tcp_connect.c    active opening                                          tcp_ack.c      what an acknowledgement does
 *   tcp_api.c        send, receive, shutdown, close                          tcp_sack.c     the scoreboard
 *   tcp_sndbuf.c     the queue of segments to send and sent                  tcp_rack.c     loss detection by time
 *   tcp_rcvbuf.c     reassembly, receive queue, window, autotuning           tcp_recovery.c congestion states, PRR, undo
 *   tcp_output.c     which segments go out when                              tcp_cong_*.c   congestion control
 *   tcp_xmit.c       headers; packets that belong to no queue                tcp_timer.c    retransmission, keepalive, ...
 *   tcp_timewait.c   TIME_WAIT                                               tcp_table.c    ports and lookup
 *
 * Windows and losses are counted in packets of one MSS, bytes only where RFCs demand them, as in Linux. A segment of the send
 * queue may stand for many packets (GSO): `pcount` says how many.
 */
#ifndef NETSTACK_TCP_INTERNAL_H
#define NETSTACK_TCP_INTERNAL_H

#include "lib/list.h"
#include "netstack/csum.h"
#include "netstack/tcp.h"
#include "netstack/tcp_cong.h"
#include "netstack/tcp_options.h"
#include "netstack/tcp_seq.h"

#include <netinet/tcp.h>
#include <stdatomic.h>

#define TCP_RTO_MIN_US        200000LL
#define TCP_RTO_MAX_US        120000000LL
#define TCP_RTO_INIT_US       1000000LL
#define TCP_DELACK_MIN_NS     40000000LL
#define TCP_DELACK_MAX_NS     200000000LL
#define TCP_ATO_MIN_NS        40000000LL
#define TCP_RESOURCE_PROBE    500000000LL
#define TCP_TIMEWAIT_NS       60000000000LL
#define TCP_PAWS_WINDOW       1
#define TCP_PAWS_24DAYS_S     (60 * 60 * 24 * 24)
#define TCP_INIT_CWND         10
#define TCP_RETRIES1          3
#define TCP_RETRIES2          15
#define TCP_SYN_RETRIES       6
#define TCP_SYNACK_RETRIES    5
#define TCP_ORPHAN_RETRIES    8
#define TCP_MAX_QUICKACKS     16
#define TCP_INFINITE_SSTHRESH 0x7fffffff
#define TCP_GSO_MAX           65536
#define TCP_MAX_HOLES         1024
#define TCP_SYN_LINEAR        4 /* timeouts of a SYN without backing off */
#define TCP_REQ_HASH          4096

/* Of tp->urg_data, beside the byte. */
#define TCP_URG_VALID  0x100
#define TCP_URG_NOTYET 0x200
#define TCP_URG_READ   0x400

enum tcp_sacked {
    SEG_SACKED = 1,
    SEG_RETRANS = 2, /* retransmitted, and that copy is not known to be lost */
    SEG_LOST = 4,
    SEG_EVER_RETRANS = 8
};

/* A segment of the send queue: unsent, or sent and unacknowledged. */
struct tcp_seg {
    struct list_head node;      /* in tp->unsent or tp->rtx, by sequence number */
    struct list_head sent_node; /* in tp->by_time while sent and neither sacked nor lost */
    struct pkt *data;           /* payload without headers; NULL for a bare SYN or FIN */
    uint32_t seq, end_seq;
    uint32_t len; /* of the payload */
    uint32_t truesize;
    uint16_t pcount;
    uint8_t flags;
    uint8_t sacked;
    bool eor;         /* nothing may be appended or merged behind */
    bool app_limited; /* rate sample: sending was limited by the application */
    int64_t sent_at;  /* last transmission */
    /* For the delivery rate: the connection's counters when this was sent. */
    uint32_t delivered;
    int64_t delivered_at, first_sent_at;
};

/*
 * Out-of-order data, merged: a run of consecutive bytes, whose packets are in order and do not overlap. Few ranges are kept
 * however hostile the peer, so that a list does.
 */
struct tcp_range {
    struct list_head node;
    struct list_head pkts;
    uint32_t start, end;
    bool fin;
};

/* A segment that came in, taken apart; host byte order. */
struct tcp_rx {
    struct pkt *p; /* its payload; NULL once it was queued */
    uint32_t seq, end_seq, ack;
    uint32_t len;      /* of the payload */
    uint32_t seg_size; /* payload of each of the segments that the link merged into this one */
    uint32_t window;   /* unscaled */
    uint16_t urg;
    uint8_t flags;
    bool ce; /* IP says: congestion experienced */
    struct tcp_options opt;
};

/* What the retransmission timer is to do; only one of these is ever needed at a time. */
enum tcp_pending_timer { TIMER_NONE, TIMER_RTO, TIMER_PROBE, TIMER_TLP, TIMER_REO };

/* The small stand-in of a connection in TIME_WAIT. `ep` and `state` lie as in struct tcp_sock, by which they are told apart. */
struct tcp_tw {
    struct endpoint ep;
    uint8_t state;    /* TCPS_TIME_WAIT */
    uint8_t substate; /* TCPS_FIN_WAIT2 (the peer's FIN is awaited) or TCPS_TIME_WAIT */
    uint8_t rcv_wscale;
    bool ts_ok;
    uint32_t rcv_nxt, snd_nxt, rcv_wnd;
    uint32_t ts_recent, ts_offset;
    int64_t ts_recent_at;
    int64_t last_oow_ack_at;
    struct net_timer timer;
    struct tcp_stack *ts;
    struct list_head all_node;
    uint64_t cookie;
};

/* A half-open connection of a listener: a SYN came, ours with its ACK is out. */
struct tcp_req {
    struct list_head hash_node;
    struct list_head node; /* listener->reqs */
    struct tcp_sock *listener;
    struct ip_flow flow; /* src is our address */
    uint32_t irs, iss, rcv_wnd, rcv_nxt;
    uint32_t ts_recent, ts_offset;
    uint16_t mss; /* the peer's */
    uint8_t snd_wscale, rcv_wscale;
    bool wscale_ok, sack_ok, ts_ok, ecn_ok, acked; /* acked: by a bare ACK, with TCP_DEFER_ACCEPT */
    uint8_t num_timeout, num_retrans;
    int64_t sent_at, last_oow_ack_at;
    int ifindex;
    uint32_t advmss;
    struct net_timer timer;
    uint64_t cookie;
};

struct tcp_stack {
    struct netstack *st;
    struct port_table *ports;
    struct tcp_sysctl sysctl;
    struct list_head socks; /* all struct tcp_sock */
    struct list_head tws;   /* all struct tcp_tw, oldest first */
    struct list_head *req_hash;
    uint32_t nr_socks, nr_orphans, nr_tw, nr_reqs;
    struct list_head free_segs;
    uint32_t nr_free_segs;
    int64_t mem; /* bytes in queues of all sockets */
    uint64_t next_cookie;
    /* Challenge ACKs of this second. */
    int64_t challenge_second;
    uint32_t challenge_left;
};

struct tcp_sock {
    struct endpoint ep; /* first: see struct tcp_tw */
    atomic_uchar state; /* TCPS_*; also read without the lock */
    struct netstack *st;
    struct tcp_stack *ts;
    int refs;
    struct list_head all_node;
    uint64_t cookie;
    bool orphan, orphan_counted;
    bool dead;       /* closed for good, freed with the last reference */
    bool connecting; /* connect() has not been told the outcome yet */
    bool bound_port, bound_addr;

    /* What the user asked for. */
    int err, soft_err;
    uint8_t shutdown; /* TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN */
    bool nodelay, cork, keepalive, oobinline;
    bool sndbuf_locked, rcvbuf_locked;
    int linger_s;                         /* -1: off */
    int keepidle_s, keepintvl_s, keepcnt; /* 0: the stack's */
    uint32_t user_timeout_ms;
    int syncnt, linger2_s, defer_accept_s;
    uint32_t user_mss, window_clamp, notsent_lowat;
    int rcvlowat;

    /* Sending. */
    struct list_head unsent, rtx; /* struct tcp_seg */
    struct list_head by_time;     /* what is in flight, by time of the last transmission */
    uint32_t snd_una, snd_nxt, write_seq, pushed_seq;
    uint32_t snd_wl1, snd_wnd, max_window;
    uint32_t snd_sml; /* end of the last small segment sent (Minshall's Nagle) */
    uint32_t iss;
    uint32_t wmem; /* bytes of memory in both queues */
    uint32_t sndbuf;
    uint32_t mss;       /* of the route and the peer, without options */
    uint32_t mss_clamp; /* the peer's option */
    uint32_t advmss;    /* what we told it */
    uint32_t pmtu;      /* the path's, as the mss was made from */
    uint8_t snd_wscale, rcv_wscale;
    bool wscale_ok, sack_ok, ts_ok;
    uint32_t snd_up;
    bool urg_mode;
    bool nospace; /* somebody waits for room: wake at half */

    /* Receiving. */
    struct pkt_queue rcvq;   /* in order; pkt->tcp.seq; the head may be partly read */
    struct list_head ranges; /* struct tcp_range */
    struct tcp_range *last_range;
    uint32_t nr_ranges;
    uint32_t rmem, rcvbuf;
    uint32_t irs, rcv_nxt, rcv_wup, rcv_wnd, copied_seq;
    uint32_t rcv_ssthresh;         /* how far the window may open now */
    uint32_t rcv_mss;              /* guess at the peer's segment size */
    uint32_t rcvq_space, rcvq_seq; /* autotuning: bytes read in the last round trip */
    int64_t rcvq_at;
    uint32_t urg_seq;
    uint16_t urg_data; /* TCP_URG_VALID | byte, TCP_URG_NOTYET, TCP_URG_READ */
    bool fin_rcvd;
    /* Acknowledging. */
    bool ack_pending, ack_now, ack_pushed;
    uint8_t quick, pingpong;
    int64_t ato, last_rcv_at;
    uint8_t rcv_ratio; /* payload in 1/256 of the memory that it takes */
    /* SACK to send. */
    struct tcp_sack_block dsack, recent_sacks[TCP_SACK_BLOCKS];
    bool have_dsack;
    uint8_t nr_recent_sacks;
    /* Timestamps. */
    uint32_t ts_recent, ts_offset, syn_ts;
    int64_t ts_recent_at; /* s */
    uint32_t rx_tsecr;    /* of the segment at hand */
    bool rx_has_ts;

    /* Times. */
    int64_t srtt_us, mdev_us, mdev_max_us, rttvar_us, rto_us; /* srtt: 8 times, as usual */
    uint32_t rtt_seq;
    int64_t min_rtt_us, min_rtt_at;
    int64_t rcv_rtt_us, rcv_rtt_at; /* 8 times */
    uint32_t rcv_rtt_seq, rcv_rtt_last_tsecr;
    int64_t lsnd_at, established_at;

    /* Congestion. */
    const struct tcp_cong_ops *cong;
    struct tcp_cubic cubic;
    uint8_t ca_state; /* enum tcp_ca_state */
    uint32_t snd_cwnd, snd_cwnd_cnt, snd_ssthresh, snd_cwnd_clamp;
    uint32_t cwnd_used, max_packets_out, max_packets_seq;
    bool cwnd_limited;
    int64_t cwnd_stamp;
    uint32_t packets_out, sacked_out, lost_out, retrans_out; /* packets */
    uint32_t total_retrans, retrans_stamp, undo_marker, high_seq, prior_cwnd, prior_ssthresh;
    int undo_retrans;
    uint32_t prr_delivered, prr_out;
    bool frto;
    uint32_t reordering, reord_seen, highest_sack; /* end of the highest segment that was sacked */
    uint32_t delivered, delivered_ce, lost_total;
    int64_t delivered_at, first_sent_at;
    uint32_t app_limited;
    uint32_t rate_delivered;
    int64_t rate_interval_us;
    bool rate_app_limited;
    struct tcp_seg *sack_hint; /* where the last block was found */
    struct tcp_seg *retrans_hint;
    struct tcp_sack_block sack_cache[TCP_SACK_BLOCKS];
    /* RACK-TLP (RFC 8985). */
    struct {
        int64_t sent_at, rtt_us;
        uint32_t end_seq, last_delivered;
        uint8_t reo_wnd_steps, reo_wnd_persist;
        bool advanced, dsack_seen;
    } rack;
    uint32_t tlp_high_seq;
    bool tlp_retrans;

    /* Timers. */
    struct net_timer rtx_timer, delack_timer, keep_timer;
    uint8_t pending; /* enum tcp_pending_timer */
    uint8_t retransmits, probes_out, backoff;
    int64_t probes_since, rto_first_at, rto_stamp; /* 0: none */
    int64_t rcv_activity_at;

    /* ECN (RFC 3168). */
    bool ecn_ok, ecn_demand_cwr, ecn_queue_cwr;

    /* Challenge ACKs. */
    int64_t last_oow_ack_at;

    /* Listening. */
    struct list_head acceptq; /* struct tcp_sock, by accept_node */
    struct list_head accept_node;
    struct list_head reqs;     /* struct tcp_req */
    struct tcp_sock *listener; /* of one that was not accepted yet */
    uint32_t backlog, nr_accept, nr_reqs;
    int64_t last_overflow_at;

    /* Counters for TCP_INFO. */
    uint64_t bytes_sent, bytes_acked, bytes_received, bytes_retrans;
    uint32_t segs_in, segs_out, data_segs_in, data_segs_out, dsack_dups, rcv_ooopack, total_rto, total_rto_recoveries;
    uint64_t total_rto_time_us;
    uint8_t chrono; /* enum tcp_chrono_kind */
    int64_t chrono_since, chrono_total[4];
};
/* What tcp_ack() and its parts find out about an acknowledgement. */
enum tcp_ack_flag {
    ACK_DATA = 1,          /* it came with data */
    ACK_WIN_UPDATE = 2,    /* it may have changed the window */
    ACK_DATA_ACKED = 4,    /* it acknowledged data ... */
    ACK_RETRANS_ACKED = 8, /* ... some of it retransmitted */
    ACK_SYN_ACKED = 16,
    ACK_DATA_SACKED = 32, /* new SACK */
    ACK_ECE = 64,
    ACK_SLOWPATH = 128,
    ACK_ORIG_SACKED = 256, /* never-retransmitted data below high_seq was delivered */
    ACK_UNA_ADVANCED = 512,
    ACK_DSACK = 1024,
    ACK_LOST_RETRANS = 2048,
    ACK_SET_TIMER = 4096,
    ACK_NO_CHALLENGE = 8192,
    ACK_NOT_DUP = ACK_DATA | ACK_WIN_UPDATE | ACK_DATA_ACKED | ACK_SYN_ACKED
};

/* One acknowledgement's findings on the way. */
struct tcp_sack_state {
    unsigned int flag;
    uint32_t prior_fack;       /* end of what was sacked or acknowledged before it */
    uint32_t reord, reord_una; /* the lowest that was sacked, acknowledged, out of turn */
    int64_t first_sackt, last_sackt;
    uint32_t acked;
    int64_t rate_prior_at, rate_sent_at, rate_send_ns;
    uint32_t rate_prior_delivered;
    bool rate_app_limited;
};

/* How eagerly to send: AUTO by Nagle and cork; MORE: the caller has more (MSG_MORE); NOW: all; PROBE: one packet, whatever the
 * congestion window says. */
enum tcp_push { TCP_PUSH_AUTO, TCP_PUSH_MORE, TCP_PUSH_NOW, TCP_PUSH_PROBE };
enum tcp_rexmit { TCP_REXMIT_NONE, TCP_REXMIT_LOST, TCP_REXMIT_NEW };
enum tcp_ack_result { TCP_ACK_OK, TCP_ACK_OLD, TCP_ACK_TOO_OLD, TCP_ACK_UNSENT };
enum tcp_tw_verdict { TCP_TW_DONE, TCP_TW_RST, TCP_TW_SYN };
enum tcp_chrono_kind { TCP_CHRONO_NONE, TCP_CHRONO_BUSY, TCP_CHRONO_RWND, TCP_CHRONO_SNDBUF };

/* A header to be made; host byte order. */
struct tcp_out {
    uint32_t seq, ack;
    uint16_t window, urg;
    uint8_t flags;
    struct tcp_options opt;
};

/* The addresses of a connection, without padding: what is hashed. */
struct tcp_tuple {
    struct in6_addr laddr, raddr;
    be16 lport, rport;
};

/* tcp_sock.c */
int64_t tcp_now(const struct tcp_sock *tp) NETSTACK_LOCKED;
uint32_t tcp_ts_now(const struct tcp_sock *tp) NETSTACK_LOCKED;
bool tcp_in_pingpong(const struct tcp_sock *tp);
void tcp_wake(struct tcp_sock *tp, uint32_t events);
void tcp_get(struct tcp_sock *tp);
void tcp_put(struct tcp_sock *tp);
uint32_t tcp_new_isn(struct netstack *st, const struct tcp_tuple *t) NETSTACK_LOCKED;
uint32_t tcp_ts_offset(struct netstack *st, const struct in6_addr *laddr, const struct in6_addr *raddr);
uint32_t tcp_route_advmss(const struct ip_flow *f, uint32_t user_mss);
int must_check tcp_sock_alloc(struct netstack *st, int family, struct tcp_sock **out);
void tcp_sock_discard(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_reset_connection(struct tcp_sock *tp);
void tcp_inherit(struct tcp_sock *tp, const struct tcp_sock *l);
void tcp_set_state(struct tcp_sock *tp, int state);
void tcp_release(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_done(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_orphan(struct tcp_sock *tp);
void tcp_report_error(struct tcp_sock *tp, int err);
void tcp_fail(struct tcp_sock *tp, int err) NETSTACK_LOCKED;
void tcp_abort_connection(struct tcp_sock *tp, int err) NETSTACK_LOCKED;

/* tcp_api.c */
int tcp_pending_error(struct tcp_sock *tp);

/* tcp_connect.c */
void tcp_make_flow(struct tcp_sock *tp) NETSTACK_LOCKED;

/* tcp_listen.c */
bool tcp_listen_input(struct tcp_sock *l, struct pkt *p, const struct tcp_header *h, struct tcp_rx *rx,
                      uint32_t isn) NETSTACK_LOCKED;
void tcp_listen_stop(struct tcp_sock *l) NETSTACK_LOCKED;
void tcp_drop_reqs(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_req_icmp_error(struct tcp_stack *ts, struct pkt *p, be16 sport, be16 dport, uint32_t seq,
                        const struct icmp_error *e) NETSTACK_LOCKED;

/* tcp_syncookie.c */
uint32_t tcp_cookie_make(struct netstack *st, const struct tcp_tuple *t, uint32_t peer_isn, uint16_t *mss) NETSTACK_LOCKED;
uint16_t tcp_cookie_check(struct netstack *st, const struct tcp_tuple *t, uint32_t peer_isn, uint32_t cookie) NETSTACK_LOCKED;
uint32_t tcp_cookie_ts(uint32_t now, const struct tcp_req *req);
bool tcp_cookie_ts_read(uint32_t tsecr, const struct tcp_sysctl *sc, struct tcp_req *req);

/* tcp_input.c, tcp_urgent.c, tcp_icmp.c */
bool tcp_rcv(struct tcp_sock *tp, struct tcp_rx *rx) NETSTACK_LOCKED;
void tcp_urgent_input(struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED;
void tcp_icmp_error(struct netstack *st, struct pkt *p, const struct icmp_error *e) NETSTACK_LOCKED;

/* tcp_ack.c */
enum tcp_ack_result tcp_ack(struct tcp_sock *tp, struct tcp_rx *rx, unsigned int flag) NETSTACK_LOCKED;
void tcp_rate_delivered(struct tcp_sock *tp, const struct tcp_seg *seg, struct tcp_sack_state *st);

/* tcp_sack.c */
void tcp_sack_receive(struct tcp_sock *tp, const struct tcp_rx *rx, uint32_t prior_una,
                      struct tcp_sack_state *st) NETSTACK_LOCKED;
void tcp_sack_clear(struct tcp_sock *tp);

/* tcp_rack.c */
void tcp_rack_advance(struct tcp_sock *tp, const struct tcp_seg *seg) NETSTACK_LOCKED;
bool tcp_rack_mark_lost(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_rack_timeout(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_rack_update_window(struct tcp_sock *tp, uint32_t prior_delivered);
void tcp_mark_lost(struct tcp_sock *tp, struct tcp_seg *seg);
void tcp_newreno_mark_lost(struct tcp_sock *tp, bool advanced);
bool tcp_schedule_tlp(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_tlp_timeout(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_tlp_ack(struct tcp_sock *tp, uint32_t ack, unsigned int flag) NETSTACK_LOCKED;

/* tcp_recovery.c */
uint32_t tcp_in_flight(const struct tcp_sock *tp);
bool tcp_in_reduction(const struct tcp_sock *tp);
uint32_t tcp_current_ssthresh(const struct tcp_sock *tp);
void tcp_init_reduction(struct tcp_sock *tp);
void tcp_prr(struct tcp_sock *tp, uint32_t newly_delivered, uint32_t newly_lost, unsigned int flag);
void tcp_end_reduction(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_try_keep_open(struct tcp_sock *tp);
void tcp_check_reordering(struct tcp_sock *tp, uint32_t low, bool ts);
bool tcp_limit_reno_sacked(struct tcp_sock *tp);
void tcp_reno_acked(struct tcp_sock *tp, uint32_t acked);
void tcp_enter_recovery(struct tcp_sock *tp, bool ece);
void tcp_enter_loss(struct tcp_sock *tp) NETSTACK_LOCKED;
enum tcp_rexmit tcp_recover(struct tcp_sock *tp, uint32_t num_dup, unsigned int *flag) NETSTACK_LOCKED;

/* tcp_rtt.c */
void tcp_rtt_sample(struct tcp_sock *tp, int64_t rtt_us);
void tcp_rtt_min_sample(struct tcp_sock *tp, int64_t rtt_us) NETSTACK_LOCKED;
void tcp_rtt_rcv_by_ts(struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED;
void tcp_rtt_rcv_by_window(struct tcp_sock *tp) NETSTACK_LOCKED;

/* tcp_sndbuf.c */
void tcp_seg_free(struct tcp_sock *tp, struct tcp_seg *seg);
void tcp_seg_set_pcount(struct tcp_seg *seg, uint32_t mss);
struct tcp_seg *tcp_unsent_head(struct tcp_sock *tp);
struct tcp_seg *tcp_unsent_tail(struct tcp_sock *tp);
struct tcp_seg *tcp_rtx_head(struct tcp_sock *tp);
struct tcp_seg *tcp_rtx_tail(struct tcp_sock *tp);
int must_check tcp_queue_pkt(struct tcp_sock *tp, struct pkt *p, uint32_t goal);
ssize_t must_check tcp_queue_bytes(struct tcp_sock *tp, const void *data, uint32_t len, uint32_t goal);
int must_check tcp_queue_control(struct tcp_sock *tp, uint8_t flags);
int must_check tcp_seg_split(struct tcp_sock *tp, struct tcp_seg *seg, uint32_t at, uint32_t mss, bool sent);
int tcp_seg_trim_head(struct tcp_sock *tp, struct tcp_seg *seg, uint32_t n, uint32_t mss);
void tcp_adjust_pcount(struct tcp_sock *tp, const struct tcp_seg *seg, int n);
void tcp_purge_write_queue(struct tcp_sock *tp);
uint32_t tcp_notsent(const struct tcp_sock *tp);
bool tcp_memory_free(const struct tcp_sock *tp);
bool tcp_writeable(const struct tcp_sock *tp);
void tcp_sndbuf_expand(struct tcp_sock *tp);

/* tcp_reasm.c */
void tcp_reasm_add(struct tcp_sock *tp, struct tcp_rx *rx);
bool tcp_reasm_deliver(struct tcp_sock *tp);
bool tcp_reasm_prune(struct tcp_sock *tp);
void tcp_reasm_purge(struct tcp_sock *tp);
void tcp_dsack_set(struct tcp_sock *tp, uint32_t start, uint32_t end);
void tcp_sacks_trim(struct tcp_sock *tp);

/* tcp_rcvbuf.c */
void tcp_mem_charge(struct tcp_sock *tp, int64_t bytes);
void tcp_rmem_charge(struct tcp_sock *tp, int64_t bytes);
bool tcp_mem_exhausted(const struct tcp_sock *tp);
uint32_t tcp_readable(const struct tcp_sock *tp);
uint32_t tcp_win_from_space(const struct tcp_sock *tp, uint32_t space);
uint32_t tcp_receive_window(const struct tcp_sock *tp);
uint16_t tcp_select_window(struct tcp_sock *tp);
void tcp_choose_window(const struct tcp_sock *tp, uint32_t mss, bool scale, uint32_t *wnd, uint8_t *wscale, uint32_t *clamp);
void tcp_initial_window(struct tcp_sock *tp);
void tcp_init_buffers(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_data_received(struct tcp_sock *tp, const struct tcp_rx *rx) NETSTACK_LOCKED;
void tcp_rcvq_add(struct tcp_sock *tp, struct pkt *p);
void tcp_rcvq_purge(struct tcp_sock *tp);
bool tcp_rmem_make_room(struct tcp_sock *tp);
void tcp_window_update(struct tcp_sock *tp, size_t copied) NETSTACK_LOCKED;
size_t tcp_rcvq_consume(struct tcp_sock *tp, size_t n) NETSTACK_LOCKED;
int must_check tcp_rcvq_share(struct tcp_sock *tp, uint32_t seq, size_t len, struct pkt_queue *out);
void tcp_rcvq_copy(const struct tcp_sock *tp, uint32_t seq, uint8_t *to, size_t len);
bool tcp_stream_readable(const struct tcp_sock *tp);

/* tcp_xmit.c */
int tcp_emit(struct netstack *st, struct ip_flow *f, struct pkt *p, const struct tcp_out *o) NETSTACK_LOCKED;
size_t tcp_established_options_len(const struct tcp_sock *tp);
int tcp_xmit_seg(struct tcp_sock *tp, struct tcp_seg *seg, bool retransmit) NETSTACK_LOCKED;
void tcp_send_ack(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_send_window_probe(struct tcp_sock *tp, uint32_t seq) NETSTACK_LOCKED;
void tcp_send_active_reset(struct tcp_sock *tp) NETSTACK_LOCKED;
bool tcp_oow_limited(struct tcp_stack *ts, int64_t *last) NETSTACK_LOCKED;
void tcp_send_challenge_ack(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_send_reset_for(struct netstack *st, struct pkt *p, const struct tcp_header *h,
                        const struct tcp_rx *rx) NETSTACK_LOCKED;

/* tcp_output.c */
void tcp_sync_mss(struct tcp_sock *tp, uint32_t mtu);
uint32_t tcp_cached_mss(const struct tcp_sock *tp);
uint32_t tcp_current_mss(struct tcp_sock *tp) NETSTACK_LOCKED;
uint32_t tcp_size_goal(struct tcp_sock *tp, uint32_t mss);
uint32_t tcp_wnd_end(const struct tcp_sock *tp);
uint64_t tcp_pacing_rate(const struct tcp_sock *tp);
void tcp_push(struct tcp_sock *tp, enum tcp_push push) NETSTACK_LOCKED;
int must_check tcp_resend_seg(struct tcp_sock *tp, struct tcp_seg *seg) NETSTACK_LOCKED;
int must_check tcp_retransmit_seg(struct tcp_sock *tp, struct tcp_seg *seg) NETSTACK_LOCKED;
void tcp_retransmit_lost(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_send_fin(struct tcp_sock *tp) NETSTACK_LOCKED;
int must_check tcp_probe_window(struct tcp_sock *tp) NETSTACK_LOCKED;

/* tcp_timer.c */
void tcp_init_timers(struct tcp_sock *tp);
void tcp_cancel_timers(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_arm(struct tcp_sock *tp, enum tcp_pending_timer what, int64_t ns) NETSTACK_LOCKED;
void tcp_disarm(struct tcp_sock *tp) NETSTACK_LOCKED;
int64_t tcp_rto_left_us(const struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_rearm_rto(struct tcp_sock *tp) NETSTACK_LOCKED;
int64_t tcp_probe_interval(const struct tcp_sock *tp);
bool tcp_out_of_resources(struct tcp_sock *tp, bool reset) NETSTACK_LOCKED;
void tcp_rto_recovered(struct tcp_sock *tp) NETSTACK_LOCKED;
void tcp_quickack(struct tcp_sock *tp, uint32_t max);
void tcp_enter_quickack(struct tcp_sock *tp, uint32_t max);
void tcp_delay_ack(struct tcp_sock *tp) NETSTACK_LOCKED;
int64_t tcp_fin_wait2_ns(const struct tcp_sock *tp);
void tcp_keepalive_set(struct tcp_sock *tp) NETSTACK_LOCKED;

/* tcp_timewait.c */
void tcp_time_wait(struct tcp_sock *tp, int substate, int64_t ns) NETSTACK_LOCKED;
void tcp_tw_kill(struct tcp_tw *tw) NETSTACK_LOCKED;
enum tcp_tw_verdict tcp_tw_input(struct tcp_tw *tw, const struct tcp_rx *rx, uint32_t *isn) NETSTACK_LOCKED;
bool tcp_tw_reusable(const struct tcp_tw *tw) NETSTACK_LOCKED;

/* tcp_info.c */
void tcp_chrono(struct tcp_sock *tp, enum tcp_chrono_kind kind) NETSTACK_LOCKED;

#endif
