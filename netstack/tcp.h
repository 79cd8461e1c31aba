/*
 * TCP: what a socket layer calls.
 *
 * Everything marked NETSTACK_LOCKED runs under the stack's lock. Nothing here blocks: what Linux would wait for returns -EAGAIN
 * (or -EINPROGRESS from connect), and the owner's `wake` says when to try again. Copying user data needs no lock:
 *
 *   send     pkts = packets of the user's bytes (tcp_send_goal() says how long each should be)
 *            lock; n = tcp_send(tp, &pkts, flags); unlock
 *   receive  lock; n = tcp_recv_peek(tp, 0, len, &pkts); unlock      shares the buffers: nothing is copied
 *            copy to the user from pkts; free them
 *            lock; tcp_recv_consume(tp, copied); unlock
 *
 * A socket has one owner, who creates or accepts it and ends with tcp_close(): from then on the handle must not be used, and
 * the stack finishes the connection by itself. Readers must be serialised among themselves by the owner.
 *
 * Addresses are as in addr.h: IPv4 as mapped addresses, ports in network order. Sequence numbers and sizes are host order.
 */
#ifndef NETSTACK_TCP_H
#define NETSTACK_TCP_H

#include "netstack/endpoint.h"
#include "netstack/pkt.h"
#include "netstack/stack.h"

#include <sys/types.h>

struct tcp_sock;

/* Linux's numbers, as in /proc/net/tcp and tcp_info. */
enum tcp_sock_state {
    TCPS_ESTABLISHED = 1,
    TCPS_SYN_SENT,
    TCPS_SYN_RECV,
    TCPS_FIN_WAIT1,
    TCPS_FIN_WAIT2,
    TCPS_TIME_WAIT,
    TCPS_CLOSE,
    TCPS_CLOSE_WAIT,
    TCPS_LAST_ACK,
    TCPS_LISTEN,
    TCPS_CLOSING,
    TCPS_NEW_SYN_RECV
};

/*
 * The owner's callbacks are those of its endpoint (endpoint.h): `ready` when tcp_poll() may have changed in these bits; `error`
 * is not used, errors are fetched with tcp_take_error(). Options of IP and SOL_SOCKET that struct endpoint has (ttl, tos,
 * v6only, reuseaddr, bound_if, mark ...) are set there, followed by tcp_options_changed() once there is a connection.
 */
#define TCP_EVENT_URGENT 0x10000 /* to `ready`, beside poll bits: urgent data was announced; time for SIGURG */

struct endpoint *tcp_ep(struct tcp_sock *tp);
struct tcp_sock *tcp_of(struct endpoint *ep); /* of a callback's argument */
/* The endpoint's ttl, tos, mark and so on shall be used from the next packet on. */
void tcp_options_changed(struct tcp_sock *tp) NETSTACK_LOCKED;

/* ---- life ---- */

/* `family`: AF_INET or AF_INET6. -ENOMEM. */
int must_check tcp_create(struct netstack *s, int family, const struct endpoint_cb *cb, void *owner,
                          struct tcp_sock **out) NETSTACK_LOCKED;
/* For accepted sockets, which come without an owner. */
void tcp_set_owner(struct tcp_sock *tp, const struct endpoint_cb *cb, void *owner) NETSTACK_LOCKED;
/* close(2), without the wait that SO_LINGER may ask for: see tcp_linger_pending(). Aborts with a RST when data was left unread,
 * or when the linger time is 0. */
void tcp_close(struct tcp_sock *tp) NETSTACK_LOCKED;
/* To be called before tcp_close() by a lingering owner: begins to close (no more sending) and returns true while it makes sense
 * to wait for a wake-up, ask again, and finally tcp_close(). */
bool tcp_linger_pending(struct tcp_sock *tp) NETSTACK_LOCKED;
/* Kills a connection from outside (SOCK_DESTROY, the sandbox's end): RST to the peer, ECONNABORTED to the user. */
void tcp_abort(struct tcp_sock *tp, int err) NETSTACK_LOCKED;

/* ---- addresses ---- */

/* Port 0: one is chosen. `scope_if`: sin6_scope_id. -EADDRINUSE, -EADDRNOTAVAIL, -EINVAL (bound already). Permission to
 * privileged ports is the caller's to check. */
int must_check tcp_bind(struct tcp_sock *tp, const struct in6_addr *addr, be16 port, int scope_if) NETSTACK_LOCKED;
/* `backlog` as in listen(2), limited by the caller to somaxconn. Again on a listener: changes it. */
int must_check tcp_listen(struct tcp_sock *tp, int backlog) NETSTACK_LOCKED;
/* 0: connected at once (never, over a network). -EINPROGRESS: begun; when it is over tcp_poll() shows POLLOUT, and
 * tcp_take_error() the outcome. -EALREADY, -EISCONN, -EADDRNOTAVAIL, -ENETUNREACH... */
int must_check tcp_connect(struct tcp_sock *tp, const struct in6_addr *addr, be16 port, int scope_if) NETSTACK_LOCKED;
/* connect() to AF_UNSPEC: drops the connection; the socket may connect again. */
int tcp_disconnect(struct tcp_sock *tp) NETSTACK_LOCKED;
/* -EAGAIN: none waiting; -EINVAL: not listening. */
int must_check tcp_accept(struct tcp_sock *tp, struct tcp_sock **child) NETSTACK_LOCKED;
/* Any addresses and port 0 where there is none. */
void tcp_local(const struct tcp_sock *tp, struct in6_addr *addr, be16 *port) NETSTACK_LOCKED;
/* -ENOTCONN. */
int must_check tcp_peer(const struct tcp_sock *tp, struct in6_addr *addr, be16 *port) NETSTACK_LOCKED;

/* ---- data ---- */

/* How many bytes of a long send one packet should hold, to be sent as one GSO packet. */
uint32_t tcp_send_goal(struct tcp_sock *tp) NETSTACK_LOCKED;
/* How much the socket would take now; 0 or a negative errno as tcp_send() would give. To copy no more than goes. */
ssize_t tcp_send_room(struct tcp_sock *tp) NETSTACK_LOCKED;
/*
 * Takes packets from `pkts` in order, whole ones, until the send buffer is full; what is left stays the caller's. Returns the
 * bytes taken (the last packet may exceed the buffer's limit by its length), or -EAGAIN, -EPIPE, -ENOTCONN (which means -EPIPE
 * to send()), or the pending error, which is cleared. `flags`: MSG_OOB, MSG_MORE, MSG_EOR.
 */
ssize_t tcp_send(struct tcp_sock *tp, struct pkt_queue *pkts, int flags) NETSTACK_LOCKED;
/* The same for few bytes in memory: they are copied behind what waits to be sent, in one packet where possible. */
ssize_t tcp_send_bytes(struct tcp_sock *tp, const void *data, size_t len, int flags) NETSTACK_LOCKED;

/*
 * Adds packets to `out` that share `len` bytes from `off` bytes behind the read position. Returns the number of bytes, 0 at the
 * end of the stream, -EAGAIN, -ENOTCONN, or the pending error, which is cleared. Stops before the urgent mark and, at it, jumps
 * over the urgent byte unless it is in line, as recv(2) does.
 */
ssize_t tcp_recv_peek(struct tcp_sock *tp, size_t off, size_t len, struct pkt_queue *out) NETSTACK_LOCKED;
/* `n` bytes have been read: they are freed, and the window opens. Returns how many there were. */
size_t tcp_recv_consume(struct tcp_sock *tp, size_t n) NETSTACK_LOCKED;
/* Few bytes into memory: peek (unless `peek`: and consume) in one step. */
ssize_t tcp_recv_bytes(struct tcp_sock *tp, void *data, size_t len, bool peek) NETSTACK_LOCKED;
/* The urgent byte, as recv(MSG_OOB): 1, 0 at the end, -EINVAL (none, or read already), -EAGAIN (announced, not here yet). */
ssize_t tcp_recv_oob(struct tcp_sock *tp, uint8_t *byte, bool peek) NETSTACK_LOCKED;

#define TCP_RCV_SHUTDOWN  1
#define TCP_SEND_SHUTDOWN 2
/* `how`: the bits above. -ENOTCONN. */
int must_check tcp_shutdown(struct tcp_sock *tp, int how) NETSTACK_LOCKED;
/* poll(2) bits, as tcp_poll() of Linux would return them. */
uint32_t tcp_poll(struct tcp_sock *tp) NETSTACK_LOCKED;
/* SO_ERROR: a positive errno, cleared; 0: none. The reason of a failed connection, or what ICMP said about a live one. */
int tcp_take_error(struct tcp_sock *tp) NETSTACK_LOCKED;
/* Sets it again: a call that had got something done could not tell. */
void tcp_put_error(struct tcp_sock *tp, int err) NETSTACK_LOCKED;
int tcp_state(const struct tcp_sock *tp);
int tcp_inq(struct tcp_sock *tp) NETSTACK_LOCKED;     /* SIOCINQ; -EINVAL on a listener, as the next three */
int tcp_outq(struct tcp_sock *tp) NETSTACK_LOCKED;    /* SIOCOUTQ */
int tcp_outqnsd(struct tcp_sock *tp) NETSTACK_LOCKED; /* SIOCOUTQNSD */
int tcp_atmark(struct tcp_sock *tp) NETSTACK_LOCKED;  /* SIOCATMARK */

/* ---- options ---- */

/* TCP_* options with an int value, by Linux's numbers (netinet/tcp.h): errno as setsockopt(2). -ENOPROTOOPT: not an int option.
 */
int must_check tcp_set_option(struct tcp_sock *tp, int opt, int value) NETSTACK_LOCKED;
int must_check tcp_get_option(struct tcp_sock *tp, int opt, int *value) NETSTACK_LOCKED;
/* TCP_CONGESTION. -ENOENT: no such algorithm. */
int must_check tcp_set_congestion(struct tcp_sock *tp, const char *name) NETSTACK_LOCKED;
const char *tcp_congestion(const struct tcp_sock *tp) NETSTACK_LOCKED;

/* SOL_SOCKET options that TCP must know of and struct endpoint has not. */
enum tcp_so {
    TCP_SO_KEEPALIVE,
    TCP_SO_OOBINLINE,
    TCP_SO_LINGER, /* seconds; -1: off */
    TCP_SO_SNDBUF, /* what getsockopt() shall show: doubled and limited by the caller; turns autotuning off */
    TCP_SO_RCVBUF,
    TCP_SO_RCVLOWAT,
    TCP_SO_MAX
};
void tcp_set_so(struct tcp_sock *tp, enum tcp_so so, int value) NETSTACK_LOCKED;
int tcp_get_so(const struct tcp_sock *tp, enum tcp_so so) NETSTACK_LOCKED;
/* IP_MTU: -ENOTCONN. */
int tcp_path_mtu(struct tcp_sock *tp) NETSTACK_LOCKED;

/* ---- information ---- */

/* struct tcp_info of Linux 6.12, under a name that does not clash with libc's shorter one. */
struct tcp_info_full {
    uint8_t state, ca_state, retransmits, probes, backoff, options;
    uint8_t snd_wscale : 4, rcv_wscale : 4;
    uint8_t delivery_rate_app_limited : 1, fastopen_client_fail : 2;
    uint32_t rto, ato, snd_mss, rcv_mss;
    uint32_t unacked, sacked, lost, retrans, fackets;
    uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
    uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
    uint32_t rcv_rtt, rcv_space;
    uint32_t total_retrans;
    uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
    uint32_t segs_out, segs_in;
    uint32_t notsent_bytes, min_rtt, data_segs_in, data_segs_out;
    uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
    uint32_t delivered, delivered_ce;
    uint64_t bytes_sent, bytes_retrans;
    uint32_t dsack_dups, reord_seen, rcv_ooopack, snd_wnd, rcv_wnd, rehash;
    uint16_t total_rto, total_rto_recoveries;
    uint32_t total_rto_time;
};
void tcp_get_info(struct tcp_sock *tp, struct tcp_info_full *info) NETSTACK_LOCKED;

/* What /proc/net/tcp[6] and sock_diag show of a socket, a half-open connection or one in TIME_WAIT. */
struct tcp_entry {
    struct tcp_sock *tp; /* NULL: no socket (any more), as for TCPS_NEW_SYN_RECV and TCPS_TIME_WAIT */
    void *owner;         /* of the socket; NULL: an orphan, or not accepted yet */
    int family, state;
    struct in6_addr laddr, raddr;
    be16 lport, rport;
    int ifindex;
    uint32_t uid;
    uint64_t cookie;         /* unlike any other's in this stack, never 0 */
    uint32_t rqueue, wqueue; /* as shown: of a listener, its accept queue and backlog */
    int timer;               /* 0 none, 1 retransmit, 2 keepalive, 3 TIME_WAIT, 4 probe */
    int64_t timer_ns;        /* until it expires */
    int retransmits, probes;
    bool v6only, shut_rd, shut_wr;
    int64_t rto_us, ato_ns;
    uint32_t quick_pingpong, cwnd, ssthresh; /* as in the last columns of /proc/net/tcp */
};
/* Calls `fn` for each until it returns false: listeners first, then connections, then half-open ones and TIME_WAIT. `fn` must
 * not change any socket, but may remember the cookie. */
void tcp_for_each(struct netstack *s, bool (*fn)(void *ctx, const struct tcp_entry *e), void *ctx) NETSTACK_LOCKED;
/* The socket with that cookie, or with those addresses; NULL. For sock_diag. */
struct tcp_sock *tcp_find_cookie(struct netstack *s, uint64_t cookie) NETSTACK_LOCKED;
void tcp_entry_of(struct tcp_sock *tp, struct tcp_entry *e) NETSTACK_LOCKED;

/* Settings of /proc/sys/net/ipv4/tcp_*, under the lock; defaults are Linux's but for the buffers' maximum of 16 MB. */
struct tcp_sysctl {
    int syncookies, syn_retries, synack_retries, retries1, retries2, orphan_retries, max_orphans, max_tw_buckets,
        max_syn_backlog;
    int fin_timeout, tw_reuse, keepalive_time, keepalive_intvl, keepalive_probes;
    int abort_on_overflow, rfc1337, sack, dsack, timestamps, window_scaling, ecn, slow_start_after_idle, early_retrans,
        recovery;
    int moderate_rcvbuf, adv_win_scale, mtu_probing, base_mss, min_snd_mss, challenge_ack_limit, invalid_ratelimit;
    int no_metrics_save, notsent_lowat, autocorking, limit_output_bytes, reordering, max_reordering, frto, thin_linear_timeouts;
    int stdurg, migrate_req, somaxconn;
    int rmem[3], wmem[3];
    long mem[3]; /* pages */
    char congestion[16];
};
struct tcp_sysctl *tcp_sysctl(struct netstack *s) NETSTACK_LOCKED;
/* For /proc/net/sockstat. */
struct tcp_usage {
    uint32_t inuse, orphan, tw, alloc;
    uint64_t mem; /* pages */
};
void tcp_get_usage(struct netstack *s, struct tcp_usage *u) NETSTACK_LOCKED;

/* ---- for the stack ---- */

int must_check tcp_create_stack(struct netstack *s) NETSTACK_LOCKED;
/* Sockets that are still there are orphans and die silently. */
void tcp_destroy_stack(struct netstack *s) NETSTACK_LOCKED;

#endif
