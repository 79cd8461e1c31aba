/* sock_diag of internet sockets: TCP, UDP, UDP-Lite and raw. */
#include "sentry/socket/inet_net/inet_net.h"
#include "sentry/socket/netlink/diag.h"
#include "sentry/socket/netlink/rtnl.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <string.h>

struct inet_walk {
    const struct diag_request *q;
    struct nl_reply *r;
    struct inet_diag_req_v2 req;
    int protocol;
    const char *filter;
    size_t filter_len;
    /* For one socket: the best so far. */
    struct tcp_entry found; /* its owner may be gone */
    uint64_t found_cookie;
    int score;
};

static bool wants(const struct inet_walk *w, int ext)
{
    return w->req.idiag_ext & 1 << (ext - 1);
}

/* What SO_COOKIE says of a socket; what is none has the stack's. */
static uint64_t cookie_of(const struct tcp_entry *e)
{
    const struct inet_sock *i = e->owner;

    return i ? i->s.ino : e->cookie;
}

static void put_addr(uint32_t out[4], const struct in6_addr *a, int family)
{
    memset(out, 0, 16);
    if (family == AF_INET)
        memcpy(out, &a->s6_addr[12], 4);
    else
        memcpy(out, a, 16);
}

static uint32_t milliseconds(int64_t ns)
{
    return ns > 0 ? (uint32_t)(ns / 1000000) : 0;
}

static void put_options(struct nl_reply *r, const struct inet_walk *w, const struct inet_sock *i, const struct tcp_entry *e)
{
    bool v6 = e->family == AF_INET6;
    uint8_t shut = (e->shut_rd ? 1 : 0) | (e->shut_wr ? 2 : 0), byte;
    struct inet_diag_sockopt opt = {.recverr = i->o.recverr,
                                    .is_icsk = i->s.type == SOCK_STREAM,
                                    .freebind = i->o.freebind,
                                    .mc_loop = i->o.mc_loop,
                                    .transparent = i->o.transparent,
                                    .mc_all = i->o.mc_all,
                                    .nodefrag = i->o.nodefrag,
                                    .bind_address_no_port = i->o.no_port};

    nl_attr(r, INET_DIAG_SHUTDOWN, &shut, 1);
    byte = (uint8_t)i->o.tos;
    if (wants(w, INET_DIAG_TOS))
        nl_attr(r, INET_DIAG_TOS, &byte, 1);
    byte = (uint8_t)i->o.tclass;
    if (v6 && wants(w, INET_DIAG_TCLASS))
        nl_attr(r, INET_DIAG_TCLASS, &byte, 1);
    byte = e->v6only;
    if (v6 && (e->state == TCPS_LISTEN || e->state == TCPS_CLOSE))
        nl_attr(r, INET_DIAG_SKV6ONLY, &byte, 1);
    if (w->q->admin)
        nl_attr_u32(r, INET_DIAG_MARK, (uint32_t)i->s.mark);
    if (wants(w, INET_DIAG_TCLASS))
        nl_attr_u32(r, INET_DIAG_CLASS_ID, (uint32_t)i->s.priority);
    nl_attr(r, INET_DIAG_SOCKOPT, &opt, sizeof(opt));
}

static void put_tcp(struct nl_reply *r, const struct inet_walk *w, const struct inet_sock *i,
                    const struct tcp_entry *e) NO_THREAD_SAFETY_ANALYSIS
{
    struct tcp_info_full info;

    if (wants(w, INET_DIAG_INFO)) {
        if (e->tp)
            tcp_get_info(e->tp, &info);
        else
            lo_tcp_info(i, &info);
        nl_attr(r, INET_DIAG_INFO, &info, sizeof(info));
    }
    if (wants(w, INET_DIAG_CONG))
        nl_attr_str(r, INET_DIAG_CONG, e->tp ? tcp_congestion(e->tp) : i->congestion);
}

/* The callbacks come under a lock of the socket or of the stack, which is what reading it takes. */
static void put_sock(struct inet_walk *w, const struct tcp_entry *e, uint16_t flags) NO_THREAD_SAFETY_ANALYSIS
{
    const struct inet_sock *i = e->owner;
    struct inet_diag_msg m = {.idiag_family = (uint8_t)e->family,
                              .idiag_state = (uint8_t)e->state,
                              .idiag_timer = (uint8_t)e->timer,
                              .idiag_retrans = (uint8_t)(e->timer == 4 ? e->probes : e->retransmits),
                              .id = {.idiag_sport = e->lport, .idiag_dport = e->rport, .idiag_if = (uint32_t)e->ifindex},
                              .idiag_expires = milliseconds(e->timer_ns),
                              .idiag_rqueue = e->rqueue,
                              .idiag_wqueue = e->wqueue,
                              .idiag_uid = e->uid,
                              .idiag_inode = i ? (uint32_t)i->s.ino : 0};
    struct inet_diag_meminfo mem = {.idiag_rmem = e->rqueue, .idiag_wmem = e->wqueue, .idiag_tmem = e->wqueue};

    if (w->protocol == IPPROTO_RAW)
        m.id.idiag_dport = 0;
    put_addr(m.id.idiag_src, &e->laddr, e->family);
    put_addr(m.id.idiag_dst, &e->raddr, e->family);
    diag_cookie(m.id.idiag_cookie, cookie_of(e));
    nl_begin(w->r, SOCK_DIAG_BY_FAMILY, flags, &m, sizeof(m));
    if (i) {
        put_options(w->r, w, i, e);
        if (wants(w, INET_DIAG_MEMINFO))
            nl_attr(w->r, INET_DIAG_MEMINFO, &mem, sizeof(mem));
        if (wants(w, INET_DIAG_SKMEMINFO))
            diag_put_meminfo(w->r, INET_DIAG_SKMEMINFO, &i->s, e->state == TCPS_LISTEN ? 0 : e->rqueue,
                             e->state == TCPS_LISTEN ? 0 : e->wqueue);
        if (w->protocol == IPPROTO_TCP)
            put_tcp(w->r, w, i, e);
        else if (w->protocol == IPPROTO_RAW)
            nl_attr_u32(w->r, INET_DIAG_PROTOCOL, ntohs(e->lport));
    }
    nl_end(w->r);
}

static bool dump_one(void *ctx, const struct tcp_entry *e)
{
    struct inet_walk *w = ctx;
    const struct inet_sock *i = e->owner;

    if (e->family != w->req.sdiag_family || !(w->req.idiag_states & 1u << e->state))
        return true;
    if ((w->req.id.idiag_sport && w->req.id.idiag_sport != e->lport) ||
        (w->req.id.idiag_dport && w->req.id.idiag_dport != e->rport))
        return true;
    if (w->filter && !diag_filter_run(w->filter, w->filter_len, e, i ? (uint32_t)i->s.mark : 0))
        return true;
    put_sock(w, e, NLM_F_MULTI);
    return !w->r->failed;
}

static struct in6_addr asked_addr(const uint32_t a[4], int family)
{
    struct in6_addr out;

    if (family == AF_INET)
        return addr_from_v4(a[0]);
    memcpy(&out, a, sizeof(out));
    return out;
}

/* A connection by its four, or else who listens there. */
static bool find_one(void *ctx, const struct tcp_entry *e)
{
    struct inet_walk *w = ctx;
    const struct inet_diag_sockid *id = &w->req.id;
    struct in6_addr src = asked_addr(id->idiag_src, w->req.sdiag_family), dst = asked_addr(id->idiag_dst, w->req.sdiag_family);
    int score;

    if (e->lport != id->idiag_sport || (id->idiag_if && e->ifindex && (uint32_t)e->ifindex != id->idiag_if))
        return true;
    if (e->rport)
        score = e->rport == id->idiag_dport && addr_equal(&e->laddr, &src) && addr_equal(&e->raddr, &dst) ? 3 : 0;
    else
        score = addr_is_any(&e->laddr) ? 1 : addr_equal(&e->laddr, &src) ? 2 : 0;
    if (score <= w->score)
        return true;
    w->score = score;
    w->found = *e;
    w->found_cookie = cookie_of(e);
    return true;
}

struct again {
    struct inet_walk *w;
    bool done;
};

/* Tells of the one that was found, now under its lock. */
static bool put_found(void *ctx, const struct tcp_entry *e)
{
    struct again *a = ctx;

    if (e->owner != a->w->found.owner || cookie_of(e) != a->w->found_cookie || e->lport != a->w->found.lport ||
        e->rport != a->w->found.rport)
        return true;
    put_sock(a->w, e, 0);
    a->done = true;
    return false;
}

static int parse(struct inet_walk *w, const struct diag_request *q)
{
    const char *attr[RTNL_ATTRS] = {NULL};
    size_t len[RTNL_ATTRS] = {0};
    uint32_t protocol;
    int err;

    if (q->len < sizeof(w->req))
        return -EINVAL;
    memcpy(&w->req, q->body, sizeof(w->req));
    rtnl_parse_nested(q->body + sizeof(w->req), q->len - sizeof(w->req), attr, len);
    w->q = q;
    w->filter = attr[INET_DIAG_REQ_BYTECODE];
    w->filter_len = len[INET_DIAG_REQ_BYTECODE];
    w->protocol = w->req.sdiag_protocol;
    if (attr[INET_DIAG_REQ_PROTOCOL] && len[INET_DIAG_REQ_PROTOCOL] == sizeof(protocol)) {
        memcpy(&protocol, attr[INET_DIAG_REQ_PROTOCOL], sizeof(protocol));
        w->protocol = protocol > 255 ? -1 : (int)protocol;
    }
    if (w->filter && (err = diag_filter_check(w->filter, w->filter_len)) < 0)
        return err;
    if (w->protocol != IPPROTO_TCP && w->protocol != IPPROTO_UDP && w->protocol != IPPROTO_UDPLITE &&
        w->protocol != IPPROTO_RAW)
        return -ENOENT;
    return 0;
}

/* 0: w->found is the one that was asked for. */
static int find(struct inet_walk *w)
{
    inet_for_each(w->q->net, w->protocol, find_one, w);
    if (!w->score)
        return -ENOENT;
    return diag_cookie_matches(w->req.id.idiag_cookie, w->found_cookie) ? 0 : -ENOENT;
}

int diag_inet(const struct diag_request *q, struct nl_reply *r)
{
    struct inet_walk w = {.r = r};
    struct again a = {.w = &w};
    int err = parse(&w, q);

    if (err == -ENOENT && q->dump) {
        r->done = err; /* Linux looks for the protocol when the dump has begun */
        return 1;
    }
    if (err < 0)
        return err;
    if (q->dump) {
        inet_for_each(q->net, w.protocol, dump_one, &w);
        return 1;
    }
    err = find(&w);
    if (err < 0)
        return err;
    inet_for_each(q->net, w.protocol, put_found, &a);
    return a.done ? 0 : -ENOENT;
}

int diag_inet_destroy(const struct diag_request *q)
{
    struct inet_walk w = {.r = NULL};
    struct tcp_sock *tp = NULL;
    int err = parse(&w, q);

    if (err < 0)
        return err;
    if (w.protocol != IPPROTO_TCP)
        return -EOPNOTSUPP;
    err = find(&w);
    if (err < 0)
        return err;
    /* Connections inside are no connections of the netstack, and cannot be broken from the side. */
    if (!w.found.tp)
        return -EOPNOTSUPP;
    netstack_lock(q->net->stack);
    tp = tcp_find_cookie(q->net->stack, w.found.cookie);
    if (tp)
        tcp_abort(tp, ECONNABORTED);
    netstack_unlock(q->net->stack);
    return tp ? 0 : -ENOENT;
}
