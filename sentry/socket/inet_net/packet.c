/*
 * AF_PACKET: frames of the sandbox's interfaces, by the netstack's packet endpoints. Rings (PACKET_MMAP) and fan-out are not
 * there; programs that find none fall back to reading.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/packet.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"

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
    bool auxdata;
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

static const struct packet_cb packet_cb = {.ready = on_ready, .error = on_error, .filter = on_packet};

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

    netstack_lock(s->net->stack);
    if (packet_of(s)->ep.rq.n)
        mask |= POLLIN | POLLRDNORM;
    netstack_unlock(s->net->stack);
    return atomic_load(&s->err) ? mask | POLLERR : mask;
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
    if (name != PACKET_AUXDATA && name != K_PACKET_IGNORE_OUTGOING)
        return -ENOPROTOOPT;
    if (sockopt_get_int(val, len, &v))
        return -EINVAL;
    if (name == PACKET_AUXDATA)
        p->auxdata = v != 0;
    else
        p->ep.ignore_outgoing = v != 0;
    return 0;
}

static int packet_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    struct packet_sock *p = packet_of(s);
    struct tpacket_stats st;

    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return sockopt_put_int(val, len, 0);
    if (level != SOL_PACKET)
        return -ENOPROTOOPT;
    switch (name) {
    case PACKET_STATISTICS:
        netstack_lock(s->net->stack);
        st = (struct tpacket_stats){(unsigned int)(p->ep.packets + p->ep.drops), (unsigned int)p->ep.drops};
        p->ep.packets = p->ep.drops = 0;
        netstack_unlock(s->net->stack);
        if (*len > sizeof(st))
            *len = sizeof(st);
        memcpy(val, &st, *len);
        return 0;
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
    netstack_lock(s->net->stack);
    packet_ep_fini(&packet_of(s)->ep);
    netstack_unlock(s->net->stack);
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
