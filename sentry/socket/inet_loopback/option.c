/*
 * IP, IPv6, TCP and UDP options: a table of integers that are checked, kept and told, and the few that are more than that.
 *
 * Many change nothing on loopback; they are kept all the same, since programs read back what they set.
 */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <errno.h>
#include <limits.h>
#include <linux/tcp.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>

/* What the kernel's headers have and libc's may lack. */
#define K_IP_BIND_ADDRESS_NO_PORT 24
#define K_IP_RECVFRAGSIZE         25
#define K_IP_PROTOCOL             52
#define K_IPV6_FLOWINFO           11
#define K_IPV6_RECVFRAGSIZE       77
#define K_IPV6_RECVORIGDSTADDR    74
#define K_IPV6_FREEBIND           78
#define K_IPV6_MULTICAST_ALL      29
#define K_IPV6_ADDR_PREFERENCES   72
#define K_IPV6_UNICAST_IF         76
#define K_TCP_NOTSENT_LOWAT       25
#define K_TCP_SAVE_SYN            27
#define K_TCP_SAVED_SYN           28
#define K_TCP_REPAIR_WINDOW       29
#define K_TCP_FASTOPEN_CONNECT    30
#define K_TCP_ULP                 31
#define K_TCP_FASTOPEN_KEY        33
#define K_TCP_FASTOPEN_NO_COOKIE  34
#define K_TCP_INQ                 36
#define K_SOL_UDPLITE             136
#define K_UDPLITE_SEND_CSCOV      10
#define K_UDPLITE_RECV_CSCOV      11

#ifndef SOL_TCP
#define SOL_TCP IPPROTO_TCP
#endif

#define MIN_CLAMP 1152 /* half of the smallest receive buffer */

#define LO_MSS 65483 /* what loopback's MTU leaves */

enum {
    OPT_BOOL = 1, /* any value counts as 0 or 1 */
    OPT_READ_ONLY = 2,
    OPT_ADMIN = 4,      /* setting it to true takes CAP_NET_ADMIN or CAP_NET_RAW */
    OPT_WRAP = 8,       /* any value, of which the low byte counts */
    OPT_NO_STREAM = 16, /* not of TCP sockets: EINVAL */
    OPT_RAW = 32,       /* of raw sockets alone: ENOPROTOOPT */
};

struct int_option {
    int level, name;
    int min, max;
    unsigned int flags;
    size_t offset; /* in struct inet_options */
    int initial;
};

#define OPT(level, name, field, min, max, flags, initial)                           \
    {                                                                               \
        level, name, min, max, flags, offsetof(struct inet_options, field), initial \
    }
#define FLAG(level, name, field, initial) OPT(level, name, field, 0, 0, OPT_BOOL, initial)

static const struct int_option int_options[] = {
    OPT(SOL_IP, IP_TTL, ttl, 1, 255, 0, 64),
    OPT(SOL_IP, IP_TOS, tos, 0, 255, OPT_WRAP, 0),
    OPT(SOL_IP, IP_MULTICAST_TTL, mc_ttl, 0, 255, OPT_NO_STREAM, 1),
    OPT(SOL_IP, IP_MULTICAST_LOOP, mc_loop, 0, 0, OPT_BOOL, 1),
    OPT(SOL_IP, IP_MTU_DISCOVER, mtu_discover, 0, 5, 0, 1),
    OPT(SOL_IP, IP_MINTTL, minttl, 0, 255, 0, 0),
    OPT(SOL_IP, IP_MULTICAST_ALL, mc_all, 0, 1, 0, 1),
    OPT(SOL_IP, K_IP_RECVFRAGSIZE, recvfragsize, 0, 0, OPT_BOOL | OPT_NO_STREAM, 0),
    FLAG(SOL_IP, IP_PKTINFO, pktinfo, 0),
    FLAG(SOL_IP, IP_RECVTTL, recvttl, 0),
    FLAG(SOL_IP, IP_RECVTOS, recvtos, 0),
    FLAG(SOL_IP, IP_RECVERR, recverr, 0),
    FLAG(SOL_IP, IP_FREEBIND, freebind, 0),
    FLAG(SOL_IP, IP_RECVORIGDSTADDR, recvorigdst, 0),
    OPT(SOL_IP, IP_NODEFRAG, nodefrag, 0, 0, OPT_BOOL | OPT_RAW, 0),
    FLAG(SOL_IP, IP_RECVOPTS, recvopts, 0),
    FLAG(SOL_IP, IP_RETOPTS, retopts, 0),
    FLAG(SOL_IP, K_IP_BIND_ADDRESS_NO_PORT, no_port, 0),
    OPT(SOL_IP, IP_TRANSPARENT, transparent, 0, 0, OPT_BOOL | OPT_ADMIN, 0),
    FLAG(SOL_IPV6, IPV6_V6ONLY, v6only, 0),
    OPT(SOL_IPV6, IPV6_UNICAST_HOPS, hops, -1, 255, 0, 64),
    OPT(SOL_IPV6, IPV6_MULTICAST_HOPS, mc_hops, -1, 255, 0, 1),
    OPT(SOL_IPV6, IPV6_MULTICAST_LOOP, mc_loop6, 0, 1, 0, 1),
    FLAG(SOL_IPV6, K_IPV6_MULTICAST_ALL, mc_all6, 1),
    OPT(SOL_IPV6, IPV6_TCLASS, tclass, -1, 255, 0, 0),
    OPT(SOL_IPV6, IPV6_MTU_DISCOVER, mtu_discover6, 0, 5, 0, 1),
    FLAG(SOL_IPV6, K_IPV6_RECVFRAGSIZE, recvfragsize6, 0),
    FLAG(SOL_IPV6, IPV6_2292PKTINFO, oldpktinfo, 0),
    FLAG(SOL_IPV6, IPV6_2292HOPLIMIT, oldhoplimit, 0),
    FLAG(SOL_IPV6, K_IPV6_FLOWINFO, flowinfo, 0),
    FLAG(SOL_IPV6, IPV6_RECVPKTINFO, recvpktinfo, 0),
    FLAG(SOL_IPV6, IPV6_RECVHOPLIMIT, recvhoplimit, 0),
    FLAG(SOL_IPV6, IPV6_RECVTCLASS, recvtclass, 0),
    FLAG(SOL_IPV6, IPV6_RECVERR, recverr6, 0),
    FLAG(SOL_IPV6, IPV6_DONTFRAG, dontfrag, 0),
    FLAG(SOL_IPV6, IPV6_AUTOFLOWLABEL, autoflow, 1),
    FLAG(SOL_IPV6, K_IPV6_RECVORIGDSTADDR, recvorigdst6, 0),
    FLAG(SOL_IPV6, K_IPV6_FREEBIND, freebind6, 0),
    OPT(SOL_IPV6, IPV6_TRANSPARENT, transparent6, 0, 0, OPT_BOOL | OPT_ADMIN, 0),
    OPT(SOL_IPV6, IPV6_MINHOPCOUNT, minhops, 0, 255, 0, 0),
    OPT(SOL_IPV6, K_IPV6_ADDR_PREFERENCES, prefs, 0, INT_MAX, 0, 0),
    FLAG(SOL_TCP, TCP_NODELAY, nodelay, 0),
    FLAG(SOL_TCP, TCP_CORK, cork, 0),
    OPT(SOL_TCP, TCP_KEEPIDLE, keepidle, 1, 32767, 0, 7200),
    OPT(SOL_TCP, TCP_KEEPINTVL, keepintvl, 1, 32767, 0, 75),
    OPT(SOL_TCP, TCP_KEEPCNT, keepcnt, 1, 127, 0, 9),
    OPT(SOL_TCP, TCP_SYNCNT, syncnt, 1, 127, 0, 6),
    OPT(SOL_TCP, TCP_LINGER2, linger2, INT_MIN, INT_MAX, 0, 60),
    OPT(SOL_TCP, TCP_DEFER_ACCEPT, defer, INT_MIN, INT_MAX, 0, 0),
    OPT(SOL_TCP, TCP_WINDOW_CLAMP, clamp, INT_MIN, INT_MAX, 0, 0),
    OPT(SOL_TCP, TCP_USER_TIMEOUT, user_timeout, 0, INT_MAX, 0, 0),
    OPT(SOL_TCP, TCP_MAXSEG, maxseg, 88, 32767, 0, 0),
    OPT(SOL_TCP, TCP_FASTOPEN, fastopen, 0, INT_MAX, 0, 0),
    OPT(SOL_TCP, K_TCP_NOTSENT_LOWAT, notsent, INT_MIN, INT_MAX, 0, 0),
    OPT(SOL_TCP, K_TCP_INQ, inq, 0, 1, 0, 0),
    OPT(SOL_TCP, K_TCP_SAVE_SYN, save_syn, 0, 2, 0, 0),
    OPT(SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, thin_lto, 0, 1, 0, 0),
    OPT(SOL_TCP, TCP_THIN_DUPACK, thin_dupack, 0, 1, 0, 0),
    FLAG(SOL_TCP, TCP_QUICKACK, quickack, 1),
    FLAG(SOL_UDP, UDP_CORK, udp_cork, 0),
    OPT(K_SOL_UDPLITE, K_UDPLITE_SEND_CSCOV, cscov_send, 0, 65535, 0, 0),
    OPT(K_SOL_UDPLITE, K_UDPLITE_RECV_CSCOV, cscov_recv, 0, 65535, 0, 0),
};

static int *value_of(struct inet_options *o, const struct int_option *opt)
{
    return (int *)((char *)o + opt->offset);
}

void inet_options_init(struct inet_options *o)
{
    memset(o, 0, sizeof(*o));
    for (size_t i = 0; i < ARRAY_SIZE(int_options); i++)
        *value_of(o, &int_options[i]) = int_options[i].initial;
}

void inet_options_changed(const struct inet_options *o, int level, void (*fn)(void *arg, int name, int value), void *arg)
{
    for (size_t i = 0; i < ARRAY_SIZE(int_options); i++) {
        int v = *value_of((struct inet_options *)o, &int_options[i]);

        if (int_options[i].level == level && v != int_options[i].initial)
            fn(arg, int_options[i].name, v);
    }
}

/* Is that level one of this socket's? */
static bool has_level(const struct inet_sock *i, int level)
{
    switch (level) {
    case SOL_IP:
        return i->s.family == AF_INET || i->s.type != SOCK_RAW;
    case SOL_IPV6:
        return i->s.family == AF_INET6;
    case SOL_TCP:
        return i->s.type == SOCK_STREAM;
    case SOL_UDP:
        return i->s.type == SOCK_DGRAM && !i->raw;
    case SOL_RAW:
    case SOL_ICMPV6:
        return i->s.type == SOCK_RAW;
    case K_SOL_UDPLITE:
        return i->s.protocol == IPPROTO_UDPLITE;
    default:
        return false;
    }
}

static const struct int_option *find(const struct inet_sock *i, int level, int name)
{
    for (size_t n = 0; has_level(i, level) && n < ARRAY_SIZE(int_options); n++) {
        if (int_options[n].level == level && int_options[n].name == name)
            return &int_options[n];
    }
    return NULL;
}

/* Linux keeps it as a number of SYN-ACKs, and answers with the time that these take. */
static int defer_seconds(int v)
{
    int period = 1, timeout = 1;

    if (v <= 0)
        return 0;
    while (v > period) {
        timeout = timeout * 2 < 120 ? timeout * 2 : 120;
        period += timeout;
    }
    return period;
}

/* What TCP makes of a number before it is kept. */
static int tcp_value(int name, int v)
{
    switch (name) {
    case TCP_LINGER2:
        return v < 0 ? -1 : v == 0 ? 60 : v > 120 ? 120 : v;
    case TCP_DEFER_ACCEPT:
        return defer_seconds(v);
    case TCP_WINDOW_CLAMP:
        return v == 0 || v > MIN_CLAMP ? v : MIN_CLAMP;
    case TCP_THIN_DUPACK:
        return v == 1 ? 0 : v; /* checked, and without effect since Linux 4.18 */
    default:
        return v;
    }
}

/* -errno; 1: it gets its default; 0: as it is. */
static int check_special(const struct inet_sock *i, const struct int_option *opt, int v)
{
    if (opt->flags & OPT_NO_STREAM && i->s.type == SOCK_STREAM)
        return -EINVAL;
    if (opt->flags & OPT_RAW && i->s.type != SOCK_RAW)
        return -ENOPROTOOPT;
    if (opt->level == SOL_IPV6 && opt->name == IPV6_V6ONLY && i->local.port && i->s.type != SOCK_RAW)
        return -EINVAL;
    if (opt->level == SOL_TCP && opt->name == TCP_MAXSEG && v == 0)
        return 1;
    return 0;
}

static int set_int(struct inet_sock *i, struct task *t, const struct int_option *opt, int v)
{
    int special = check_special(i, opt, v);

    if (special < 0)
        return special;
    if (opt->flags & OPT_BOOL) {
        v = v != 0;
    } else if (opt->flags & OPT_WRAP) {
        v &= i->s.type == SOCK_STREAM ? 0xfc : 0xff; /* TCP's ECN bits are its own */
    } else if (v == -1 && (opt->name == IP_TTL || opt->name == IP_MULTICAST_TTL) && opt->level == SOL_IP) {
        v = opt->initial;
    } else if (v == -1 && opt->level == SOL_IPV6 && opt->min == -1) {
        v = opt->initial;
    } else if ((v < opt->min || v > opt->max) && !special) {
        return -EINVAL;
    }
    if (opt->flags & OPT_ADMIN && v && !cred_has_cap(t->cred, CAP_NET_ADMIN) && !cred_has_cap(t->cred, CAP_NET_RAW))
        return -EPERM;
    if (opt->level == SOL_TCP)
        v = tcp_value(opt->name, v);
    else if (opt->level == SOL_IPV6 && opt->name == IPV6_TCLASS && i->s.type == SOCK_STREAM)
        v &= 0xfc;
    mutex_lock(&i->s.lock);
    *value_of(&i->o, opt) = special ? opt->initial : v;
    mutex_unlock(&i->s.lock);
    net_option_changed(i, opt->level, opt->name, *value_of(&i->o, opt));
    if (opt->level == SOL_TCP && (opt->name == TCP_CORK ? !v : opt->name == TCP_NODELAY && v))
        lo_tcp_uncork(i);
    return 0;
}

/* An IPv6 socket that talks to an IPv4 address becomes an IPv4 one. */
static int set_addrform(struct inet_sock *i, const void *val, socklen_t len)
{
    int v, r = 0;

    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    if (v != AF_INET)
        return -EINVAL;
    mutex_lock(&i->s.lock);
    if (i->state != TCP_S_ESTABLISHED)
        r = -ENOTCONN;
    else if (i->o.v6only || !inet_is_v4(&i->remote.addr))
        r = -EADDRNOTAVAIL;
    else
        i->s.family = AF_INET;
    mutex_unlock(&i->s.lock);
    return r;
}

static int set_congestion(struct inet_sock *i, const void *val, socklen_t len)
{
    char name[16] = {0};

    if (len < 1)
        return -EINVAL;
    memcpy(name, val, len < sizeof(name) - 1 ? len : sizeof(name) - 1);
    if (strcmp(name, "cubic") != 0 && strcmp(name, "reno") != 0)
        return -ENOENT;
    mutex_lock(&i->s.lock);
    strcpy(i->congestion, name);
    mutex_unlock(&i->s.lock);
    net_option_changed(i, SOL_TCP, TCP_CONGESTION, 0);
    return 0;
}

/* Options of TCP that are no number, or that are refused: as Linux does where net.ipv4.tcp_fastopen is 0, which it is here, and
 * who is not allowed to repair a connection. */
static int set_tcp(struct inet_sock *i, int name, const void *val, socklen_t len)
{
    int v;

    switch (name) {
    case TCP_CONGESTION:
        return set_congestion(i, val, len);
    case K_TCP_ULP:
        return len < 1 ? -EINVAL : -ENOENT;
    case K_TCP_FASTOPEN_KEY:
        return -EINVAL;
    default:
        break;
    }
    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    switch (name) {
    case K_TCP_FASTOPEN_CONNECT:
    case K_TCP_FASTOPEN_NO_COOKIE:
        return v < 0 || v > 1 ? -EINVAL : -EOPNOTSUPP;
    case TCP_REPAIR:
    case TCP_REPAIR_QUEUE:
    case K_TCP_REPAIR_WINDOW:
    case TCP_TIMESTAMP:
        return -EPERM;
    case TCP_QUEUE_SEQ:
    case TCP_REPAIR_OPTIONS:
        return -EINVAL;
    default:
        return -ENOPROTOOPT;
    }
}

int inet_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len)
{
    struct inet_sock *i = inet_of(s);
    const struct int_option *opt = find(i, level, name);
    int v;

    if (!has_level(i, level))
        return level == SOL_SOCKET ? net_setsockopt(i, t, level, name, val, len) : -ENOPROTOOPT;
    if (opt) {
        if (level == SOL_IP && len >= 1 && len < sizeof(int))
            v = *(const uint8_t *)val;
        else if (sockopt_get_int(val, len, &v))
            return -EINVAL;
        return set_int(i, t, opt, v);
    }
    if (level == SOL_TCP)
        return set_tcp(i, name, val, len);
    if (level == SOL_IP && name == IP_OPTIONS)
        return net_set_ip_options(i, val, len);
    if (level == SOL_IPV6 && name == IPV6_ADDRFORM)
        return set_addrform(i, val, len);
    return net_setsockopt(i, t, level, name, val, len);
}

static int put_bytes(void *val, socklen_t *len, const void *from, socklen_t n)
{
    if (*len > n)
        *len = n;
    memcpy(val, from, *len);
    return 0;
}

void lo_tcp_info(const struct inet_sock *i, struct tcp_info_full *info)
{
    *info = (struct tcp_info_full){
        .state = (uint8_t)lo_tcp_kernel_state(i),
        .options = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE,
        .snd_wscale = 7,
        .rcv_wscale = 7,
        .rto = 200000,
        .ato = 40000,
        .snd_mss = LO_MSS,
        .rcv_mss = LO_MSS,
        .pmtu = INET_LO_MTU,
        .rcv_ssthresh = 65483,
        .rtt = 20,
        .rttvar = 10,
        .snd_ssthresh = INT_MAX,
        .snd_cwnd = 10,
        .advmss = LO_MSS,
        .reordering = 3,
        .rcv_space = 65483,
        .min_rtt = 20,
        .bytes_acked = i->sent,
        .bytes_sent = i->sent,
        .bytes_received = i->received,
    };
    if (i->state == TCP_S_LISTEN) {
        info->unacked = i->nr_accepts;
        info->sacked = i->backlog;
    }
}

static int get_tcp_info(struct inet_sock *i, void *val, socklen_t *len)
{
    struct tcp_info_full info;

    mutex_lock(&i->s.lock);
    lo_tcp_info(i, &info);
    mutex_unlock(&i->s.lock);
    return put_bytes(val, len, &info, sizeof(info));
}

/* What net.ipv4 says of options that have not been set. */
static bool tcp_default(const struct inet_sock *i, int name, int *v)
{
    struct tcp_sysctl s;

    netstack_lock(inet_stack_of(i));
    s = *tcp_sysctl(inet_stack_of(i));
    netstack_unlock(inet_stack_of(i));
    switch (name) {
    case TCP_KEEPIDLE:
        *v = s.keepalive_time;
        return true;
    case TCP_KEEPINTVL:
        *v = s.keepalive_intvl;
        return true;
    case TCP_KEEPCNT:
        *v = s.keepalive_probes;
        return true;
    case TCP_SYNCNT:
        *v = s.syn_retries;
        return true;
    case TCP_LINGER2:
        *v = s.fin_timeout;
        return true;
    default:
        return false;
    }
}

/* What was asked for, or what connections start with; of a connection what it uses. */
static int get_maxseg(struct inet_sock *i)
{
    int mss = i->o.maxseg;

    if (i->state == TCP_S_NET)
        return net_tcp_maxseg(i);
    if (i->state == TCP_S_ESTABLISHED)
        return mss && mss < LO_MSS ? mss : LO_MSS;
    return mss ? mss : 536;
}

static int get_special(struct inet_sock *i, int level, int name, void *val, socklen_t *len)
{
    int r = net_getsockopt(i, level, name, val, len);

    if (r != -ENOPROTOOPT)
        return r;
    if (level == SOL_TCP) {
        switch (name) {
        case TCP_INFO:
            return get_tcp_info(i, val, len);
        case TCP_CONGESTION:
            return put_bytes(val, len, i->congestion, sizeof(i->congestion));
        case K_TCP_ULP:
        case K_TCP_SAVED_SYN:
        case K_TCP_FASTOPEN_KEY:
        case TCP_CC_INFO:
            *len = 0;
            return 0;
        case TCP_REPAIR:
        case K_TCP_FASTOPEN_CONNECT:
        case K_TCP_FASTOPEN_NO_COOKIE:
            return sockopt_put_int(val, len, 0);
        case TCP_TIMESTAMP:
            return sockopt_put_int(val, len, (int)(kernel_monotonic_ns() / 1000000));
        case TCP_REPAIR_QUEUE:
        case TCP_QUEUE_SEQ:
        case K_TCP_REPAIR_WINDOW:
            return -EINVAL;
        default:
            return -ENOPROTOOPT;
        }
    }
    if (level == SOL_IP && name == K_IP_PROTOCOL)
        return sockopt_put_int(val, len, i->s.protocol);
    if (level == SOL_IP && name == IP_HDRINCL)
        return sockopt_put_int(val, len, 0);
    if (level == SOL_IP && name == IP_PKTOPTIONS && i->s.type == SOCK_STREAM) {
        *len = 0;
        return 0;
    }
    if ((level == SOL_IP && name == IP_MTU) || (level == SOL_IPV6 && name == IPV6_MTU))
        return i->state == TCP_S_ESTABLISHED ? sockopt_put_int(val, len, INET_LO_MTU) : -ENOTCONN;
    if (level == SOL_IP && name == IP_OPTIONS)
        return put_bytes(val, len, i->ip_opts, i->ip_opt_len);
    return -ENOPROTOOPT;
}

int inet_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct inet_sock *i = inet_of(s);
    const struct int_option *opt = find(i, level, name);
    int v;

    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return sockopt_put_int(val, len, i->state == TCP_S_LISTEN);
    if (level == SOL_SOCKET)
        return net_getsockopt(i, level, name, val, len);
    if (!has_level(i, level))
        return level == SOL_SOCKET || level == SOL_IPV6 || level == SOL_RAW ? -ENOPROTOOPT : -EOPNOTSUPP;
    if (!opt)
        return get_special(i, level, name, val, len);
    if (opt->flags & OPT_NO_STREAM && name == K_IP_RECVFRAGSIZE && i->s.type == SOCK_STREAM)
        return sockopt_put_int(val, len, 0);
    if (level == SOL_TCP && *value_of(&i->o, opt) == opt->initial && tcp_default(i, name, &v))
        return sockopt_put_int(val, len, v);
    if (level == SOL_TCP && name == TCP_MAXSEG)
        return sockopt_put_int(val, len, get_maxseg(i));
    /* IP options of small range fit a byte for who has only that. */
    if (level == SOL_IP && *len >= 1 && *len < sizeof(int)) {
        *(uint8_t *)val = (uint8_t)*value_of(&i->o, opt);
        *len = 1;
        return 0;
    }
    return sockopt_put_int(val, len, *value_of(&i->o, opt));
}
