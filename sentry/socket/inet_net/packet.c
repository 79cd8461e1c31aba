/* AF_PACKET: frames of the sandbox's interfaces, by the netstack's packet endpoints. */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/packet.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"
#include "sentry/socket/inet_net/packet_ring.h"

#include <errno.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif
#define K_PACKET_IGNORE_OUTGOING 23

struct packet_sock {
    struct socket s;
    struct packet_ep ep;
    /* The stack's lock. */
    struct packet_ring_set rings;
    bool auxdata, loss, losing; /* PACKET_LOSS; packets were dropped since PACKET_STATISTICS was read */
    unsigned int stamp_source;  /* PACKET_TIMESTAMP */
};

static struct packet_sock *packet_of(struct socket *s)
{
    return container_of(s, struct packet_sock, s);
}

static void on_ready(struct packet_ep *pe, uint32_t events)
{
    struct packet_sock *p = pe->owner;

    waitq_wake(&p->s.wq, events);
}

static void on_error(struct packet_ep *pe, int err)
{
    struct packet_sock *p = pe->owner;

    sock_set_error(&p->s, err);
    waitq_wake(&p->s.wq, POLLERR);
}

static uint32_t on_packet(struct packet_ep *pe, const struct pkt *p)
{
    const struct packet_sock *ps = pe->owner;

    return ps->s.filter ? bpf_run_pkt(ps->s.filter, p) : UINT32_MAX;
}

static int on_take(struct packet_ep *pe, const struct pkt *p, uint32_t len) NO_THREAD_SAFETY_ANALYSIS
{
    struct packet_sock *ps = pe->owner;
    bool taken;

    if (!ps->rings.rx.size)
        return -1;
    taken = packet_ring_put(&ps->rings, p, len, pe->cooked, ps->losing);
    ps->losing |= !taken;
    return taken;
}

static void ring_ready(void *arg)
{
    struct packet_sock *ps = arg;

    waitq_wake(&ps->s.wq, POLLIN | POLLRDNORM);
}

static const struct packet_cb packet_cb = {.ready = on_ready, .error = on_error, .filter = on_packet, .take = on_take};

static int packet_sock_bind(struct socket *s, struct task *t, const struct sock_addr *a)
{
    struct packet_sock *p = packet_of(s);
    int r;

    if (a->len < sizeof(a->ll) || a->sa.sa_family != AF_PACKET)
        return -EINVAL;
    netstack_lock(s->net->stack);
    r = packet_bind(&p->ep, a->ll.sll_ifindex, a->ll.sll_protocol ? a->ll.sll_protocol : p->ep.protocol);
    netstack_unlock(s->net->stack);
    return r;
}

static void fill_name(struct sock_addr *out, const struct nic *nic, be16 protocol, int ifindex)
{
    memset(out->raw, 0, sizeof(out->raw));
    out->len = sizeof(out->ll);
    out->ll.sll_family = AF_PACKET;
    out->ll.sll_protocol = protocol;
    out->ll.sll_ifindex = ifindex;
    out->ll.sll_hatype = nic ? nic->arp_type : 0;
}

static int packet_getname(struct socket *s, bool peer, struct sock_addr *out)
{
    struct packet_sock *p = packet_of(s);
    struct nic *nic;

    if (peer)
        return -EOPNOTSUPP;
    netstack_lock(s->net->stack);
    nic = nic_by_index(s->net->stack, p->ep.ifindex);
    fill_name(out, nic, p->ep.protocol, p->ep.ifindex);
    if (nic) {
        out->ll.sll_halen = 6;
        memcpy(out->ll.sll_addr, nic->mac, 6);
    }
    netstack_unlock(s->net->stack);
    return 0;
}

/* Sends what the guest has put into the ring, up to a thousand frames under one hold of the lock. */
static ssize_t send_ring(struct packet_sock *ps, const struct sock_addr *a) NETSTACK_LOCKED
{
    ssize_t done = 0;
    struct pkt *p;
    int err = 0, r;

    for (int k = 0; k < 1000 && (p = packet_ring_take(&ps->rings, &err)); k++) {
        size_t n = p->len;

        r = packet_send(&ps->ep, a ? a->ll.sll_ifindex : ps->ep.ifindex, a ? a->ll.sll_protocol : ps->ep.protocol,
                        a ? a->ll.sll_addr : NULL, p);
        if (r < 0 && !ps->loss)
            return done ? done : r;
        done += (ssize_t)n;
    }
    return done || !err ? done : err;
}

static ssize_t packet_sendmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct packet_sock *ps = packet_of(s);
    const struct sock_addr *a = m->name;
    size_t n = m->uio->resid;
    struct pkt *p;
    int r;

    if (a && (a->len < offsetof(struct sockaddr_ll, sll_addr) || a->sa.sa_family != AF_PACKET))
        return -EINVAL;
    if (a && ps->ep.cooked && a->len < offsetof(struct sockaddr_ll, sll_addr) + 6)
        return -EINVAL;
    netstack_lock(s->net->stack);
    if (ps->rings.tx.size) {
        ssize_t sent = send_ring(ps, a);

        netstack_unlock(s->net->stack);
        return sent;
    }
    netstack_unlock(s->net->stack);
    if (n > PKT_MAX_LEN)
        return -EMSGSIZE;
    p = net_copy_from(m->uio, n, &r);
    if (!p)
        return r;
    netstack_lock(s->net->stack);
    r = packet_send(&ps->ep, a ? a->ll.sll_ifindex : ps->ep.ifindex, a ? a->ll.sll_protocol : ps->ep.protocol,
                    a ? a->ll.sll_addr : NULL, p);
    netstack_unlock(s->net->stack);
    return r < 0 ? r : (ssize_t)n;
}

static ssize_t packet_recvmsg(struct socket *s, struct task *t, struct sk_msg *m)
{
    struct packet_sock *ps = packet_of(s);
    bool peek = m->flags & MSG_PEEK;
    struct pkt *p;
    ssize_t r = sock_take_error(s);
    size_t n;

    if (m->name)
        m->name->len = 0;
    if (r < 0)
        return r;
    if (m->flags & MSG_ERRQUEUE)
        return -EAGAIN;
    netstack_lock(s->net->stack);
    p = packet_recv(&ps->ep, peek);
    if (p && peek)
        p = pkt_clone(p);
    if (p && m->name) {
        fill_name(m->name, nic_by_index(s->net->stack, p->iif), p->protocol, p->iif);
        m->name->ll.sll_pkttype = p->type;
        m->name->ll.sll_halen = 6;
        /* The sender's address is in the link header, which a cooked packet has behind it. */
        memcpy(m->name->ll.sll_addr, (const uint8_t *)pkt_l2(p) + 6, 6);
    }
    netstack_unlock(s->net->stack);
    if (!p)
        return -EAGAIN;
    n = p->len < m->uio->resid ? p->len : m->uio->resid;
    if (n < p->len)
        m->out_flags |= MSG_TRUNC;
    r = m->flags & MSG_TRUNC ? (ssize_t)p->len : (ssize_t)n;
    if (n && net_copy_to(m->uio, p, 0, n) != (ssize_t)n)
        r = -EFAULT;
    if (m->cmsg) {
        cmsg_put_timestamp(m->cmsg, s, p->tstamp ? p->tstamp : sock_wants_stamp(s) ? kernel_realtime_ns() : 0);
        if (ps->auxdata) {
            struct tpacket_auxdata aux = {
                .tp_status = TP_STATUS_USER, .tp_len = p->len, .tp_snaplen = p->len, .tp_net = ps->ep.cooked ? 0 : NIC_HDR_LEN};

            if (p->csum == PKT_CSUM_PARTIAL)
                aux.tp_status |= TP_STATUS_CSUMNOTREADY;
            cmsg_put(m->cmsg, SOL_PACKET, PACKET_AUXDATA, &aux, sizeof(aux));
        }
    }
    pkt_free(p);
    return r;
}

static uint32_t packet_poll(struct socket *s)
{
    uint32_t mask = POLLOUT | POLLWRNORM | POLLWRBAND;
    struct packet_sock *ps = packet_of(s);

    netstack_lock(s->net->stack);
    if (ps->ep.rq.n || (ps->rings.rx.size && packet_ring_readable(&ps->rings)))
        mask |= POLLIN | POLLRDNORM;
    if (ps->rings.tx.size && !packet_ring_writable(&ps->rings))
        mask &= ~(uint32_t)(POLLOUT | POLLWRNORM | POLLWRBAND);
    netstack_unlock(s->net->stack);
    return atomic_load(&s->err) ? mask | POLLERR : mask;
}

static bool has_ring(const struct packet_sock *p)
{
    return p->rings.rx.size || p->rings.tx.size;
}

static int set_fanout(struct packet_sock *p, int v) NETSTACK_LOCKED
{
    unsigned int type = (unsigned int)v >> 16 & 0xff, flags = (unsigned int)v >> 24;

    /* Of the flags, those of rolling over and defragmenting are for groups of several queues, and none is here. Programs of the
     * new kind cannot be loaded; those of the old one are a group's by PACKET_FANOUT_DATA, which is not there. */
    if (type > PACKET_FANOUT_QM || flags)
        return -EINVAL;
    return packet_join_fanout(&p->ep, (uint16_t)v, (uint8_t)type, (uint8_t)flags);
}

static int set_int(struct packet_sock *p, int name, int v) NETSTACK_LOCKED
{
    switch (name) {
    case PACKET_AUXDATA:
        p->auxdata = v != 0;
        return 0;
    case K_PACKET_IGNORE_OUTGOING:
        if (v < 0 || v > 1)
            return -EINVAL;
        p->ep.ignore_outgoing = v != 0;
        return 0;
    case PACKET_VERSION:
        if (v < TPACKET_V1 || v > TPACKET_V3)
            return -EINVAL;
        if (has_ring(p))
            return -EBUSY;
        p->rings.version = v;
        return 0;
    case PACKET_RESERVE:
        if (v < 0)
            return -EINVAL;
        if (has_ring(p))
            return -EBUSY;
        if (v > UINT16_MAX)
            return -EINVAL; /* headers say where packets are in 16 bits */
        p->rings.reserve = (uint32_t)v;
        return 0;
    case PACKET_LOSS:
        if (has_ring(p))
            return -EBUSY;
        p->loss = v != 0;
        return 0;
    case PACKET_TIMESTAMP:
        p->stamp_source = (unsigned int)v;
        return 0;
    case PACKET_QDISC_BYPASS:
        return 0; /* there is none to go by */
    case PACKET_FANOUT:
        return set_fanout(p, v);
    default:
        return -ENOPROTOOPT;
    }
}

static int packet_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len)
{
    struct packet_sock *p = packet_of(s);
    struct packet_mreq mr = {0};
    int v, r;

    if (level != SOL_PACKET)
        return -ENOPROTOOPT;
    if (name == PACKET_ADD_MEMBERSHIP || name == PACKET_DROP_MEMBERSHIP) {
        if (len < sizeof(mr))
            return -EINVAL;
        memcpy(&mr, val, sizeof(mr));
        netstack_lock(s->net->stack);
        r = packet_membership(&p->ep, name == PACKET_ADD_MEMBERSHIP, &mr);
        netstack_unlock(s->net->stack);
        return r;
    }
    if (name == PACKET_RX_RING || name == PACKET_TX_RING) {
        netstack_lock(s->net->stack);
        r = packet_ring_set(&p->rings, name == PACKET_TX_RING, s->net->k->memfile, s->net->stack, val, len, ring_ready, p);
        netstack_unlock(s->net->stack);
        return r;
    }
    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    netstack_lock(s->net->stack);
    r = set_int(p, name, v);
    netstack_unlock(s->net->stack);
    return r;
}

static int get_statistics(struct packet_sock *p, void *val, socklen_t *len) NETSTACK_LOCKED
{
    struct tpacket_stats_v3 st = {(unsigned int)(p->ep.packets + p->ep.drops), (unsigned int)p->ep.drops,
                                  p->rings.rx.size ? p->rings.rx.freezes : 0};
    socklen_t n = p->rings.version == TPACKET_V3 ? sizeof(st) : sizeof(struct tpacket_stats);

    p->ep.packets = p->ep.drops = 0;
    p->rings.rx.freezes = 0;
    p->losing = false;
    if (*len > n)
        *len = n;
    memcpy(val, &st, *len);
    return 0;
}

/* PACKET_HDRLEN: asks with a version, and is answered with the length of its header. */
static int get_hdrlen(void *val, socklen_t *len)
{
    int v;

    if (*len < sizeof(v))
        return -EINVAL;
    memcpy(&v, val, sizeof(v));
    switch (v) {
    case TPACKET_V1:
        return sockopt_put_int(val, len, sizeof(struct tpacket_hdr));
    case TPACKET_V2:
        return sockopt_put_int(val, len, sizeof(struct tpacket2_hdr));
    case TPACKET_V3:
        return sockopt_put_int(val, len, sizeof(struct tpacket3_hdr));
    default:
        return -EINVAL;
    }
}

static int packet_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct packet_sock *p = packet_of(s);
    struct packet_fanout *f;
    int r;

    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return sockopt_put_int(val, len, 0);
    if (level != SOL_PACKET)
        return -ENOPROTOOPT;
    switch (name) {
    case PACKET_STATISTICS:
        netstack_lock(s->net->stack);
        r = get_statistics(p, val, len);
        netstack_unlock(s->net->stack);
        return r;
    case PACKET_VERSION:
        return sockopt_put_int(val, len, p->rings.version);
    case PACKET_HDRLEN:
        return get_hdrlen(val, len);
    case PACKET_RESERVE:
        return sockopt_put_int(val, len, (int)p->rings.reserve);
    case PACKET_LOSS:
        return sockopt_put_int(val, len, p->loss);
    case PACKET_TIMESTAMP:
        return sockopt_put_int(val, len, (int)p->stamp_source);
    case PACKET_QDISC_BYPASS:
    case PACKET_VNET_HDR:
        return sockopt_put_int(val, len, 0);
    case PACKET_FANOUT:
        netstack_lock(s->net->stack);
        f = p->ep.fanout;
        r = f ? f->id | f->type << 16 | f->flags << 24 : 0;
        netstack_unlock(s->net->stack);
        return sockopt_put_int(val, len, r);
    case PACKET_AUXDATA:
        return sockopt_put_int(val, len, p->auxdata);
    case K_PACKET_IGNORE_OUTGOING:
        return sockopt_put_int(val, len, p->ep.ignore_outgoing);
    default:
        return -ENOPROTOOPT;
    }
}

static void packet_so_changed(struct socket *s, int name)
{
    netstack_lock(s->net->stack);
    packet_of(s)->ep.rcvbuf = (uint32_t)s->rcvbuf;
    netstack_unlock(s->net->stack);
}

static long packet_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct pkt *p;
    int n;

    if (cmd != SIOCINQ && cmd != SIOCOUTQ)
        return -ENOTTY;
    netstack_lock(s->net->stack);
    p = cmd == SIOCINQ ? packet_recv(&packet_of(s)->ep, true) : NULL;
    n = p ? (int)p->len : 0;
    netstack_unlock(s->net->stack);
    return c->uaccess->copy_out(c, arg, &n, sizeof(n));
}

static int packet_connect(struct socket *s, struct task *t, const struct sock_addr *a, bool nonblock)
{
    return -EOPNOTSUPP;
}

static int packet_shutdown(struct socket *s, int how)
{
    return -EOPNOTSUPP;
}

static void packet_release(struct socket *s)
{
    struct packet_sock *p = packet_of(s);

    netstack_lock(s->net->stack);
    packet_ep_fini(&p->ep);
    packet_ring_drop(&p->rings.rx);
    packet_ring_drop(&p->rings.tx);
    netstack_unlock(s->net->stack);
}

/* All of the rings, from their beginning. */
static int packet_mmap(struct socket *s, uint64_t off, uint64_t len)
{
    struct packet_sock *p = packet_of(s);
    uint64_t size;

    netstack_lock(s->net->stack);
    size = p->rings.rx.size + p->rings.tx.size;
    netstack_unlock(s->net->stack);
    return off || !size || len != size ? -EINVAL : 0;
}

static int packet_map_extent(struct socket *s, uint64_t off, uint64_t len, struct mmap_extent *out)
{
    int r;

    netstack_lock(s->net->stack);
    r = packet_ring_extent(&packet_of(s)->rings, off, len, out);
    netstack_unlock(s->net->stack);
    return r;
}

static void packet_destroy(struct socket *s)
{
    socket_fini(s);
    free(packet_of(s));
}

static const struct socket_ops packet_ops = {
    .bind = packet_sock_bind,
    .connect = packet_connect,
    .getname = packet_getname,
    .sendmsg = packet_sendmsg,
    .recvmsg = packet_recvmsg,
    .shutdown = packet_shutdown,
    .poll = packet_poll,
    .setsockopt = packet_setsockopt,
    .getsockopt = packet_getsockopt,
    .ioctl = packet_ioctl,
    .so_changed = packet_so_changed,
    .mmap = packet_mmap,
    .map_extent = packet_map_extent,
    .release = packet_release,
    .destroy = packet_destroy,
};

int packet_create(struct task *t, struct net *net, int family, int type, int protocol, struct socket **out)
{
    struct packet_sock *p;

    if (!cred_has_cap(t->cred, CAP_NET_RAW))
        return -EPERM;
    if (type != SOCK_RAW && type != SOCK_DGRAM)
        return -ESOCKTNOSUPPORT;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    socket_init(&p->s, &packet_ops, net, family, type, protocol);
    netstack_lock(net->stack);
    packet_ep_init(&p->ep, net->stack, &packet_cb, p, type == SOCK_DGRAM, (be16)protocol);
    p->ep.rcvbuf = (uint32_t)p->s.rcvbuf;
    netstack_unlock(net->stack);
    *out = &p->s;
    return 0;
}
