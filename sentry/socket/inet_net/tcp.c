/* TCP over the network: connecting, listening, accepting, ending. */
#include "sentry/socket/inet_net/inet_net.h"

#include "netstack/tcp.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/bpf.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

static void on_ready(struct endpoint *ep, uint32_t events)
{
    struct inet_sock *i = ep->owner;

    if (events & TCP_EVENT_URGENT)
        events |= POLLPRI;
    waitq_wake(&i->s.wq, events & 0xffff);
}

static uint32_t on_packet(struct endpoint *ep, const struct pkt *p)
{
    const struct inet_sock *i = ep->owner;

    return likely(!i || !i->s.filter) ? UINT32_MAX : bpf_run_pkt(i->s.filter, p);
}

static const struct endpoint_cb endpoint_cb = {.ready = on_ready, .filter = on_packet};

/* The socket's end in the stack, made when it is first needed. */
static int ensure(struct inet_sock *i) NETSTACK_LOCKED
{
    int r;

    if (i->tp)
        return 0;
    r = tcp_create(inet_stack_of(i), i->s.family, &endpoint_cb, i, &i->tp);
    if (r < 0) {
        i->tp = NULL;
        return r;
    }
    net_tcp_push_options(i);
    return 0;
}

/* Gives the end in the stack the address and port that the socket has chosen, if it has. */
static int bind_end(struct inet_sock *i) NETSTACK_LOCKED
{
    struct in6_addr addr;
    be16 port;

    tcp_local(i->tp, &addr, &port);
    if (port || (!i->local.port && !i->addr_chosen))
        return 0;
    addr = inet_is_any(&i->local.addr) ? addr_any(i->s.family) : i->local.addr;
    return tcp_bind(i->tp, &addr, htons(i->local.port), i->local.scope);
}

static int start_connecting(struct inet_sock *i, const struct inet_end *dst, struct in6_addr *src, be16 *port) NETSTACK_LOCKED
{
    int r = ensure(i);

    if (r == 0)
        r = bind_end(i);
    if (r == 0)
        r = tcp_connect(i->tp, &dst->addr, htons(dst->port), dst->scope);
    if (r == 0 || r == -EINPROGRESS)
        tcp_local(i->tp, src, port);
    else if (i->tp)
        tcp_disconnect(i->tp);
    return r;
}

int net_tcp_connect(struct inet_sock *i, struct inet_end *dst, bool nonblock)
{
    struct in6_addr src;
    be16 port;
    int r;

    netstack_lock(inet_stack_of(i));
    r = start_connecting(i, dst, &src, &port);
    netstack_unlock(inet_stack_of(i));
    if (r < 0 && r != -EINPROGRESS)
        return r;
    if (!i->local.port) {
        i->local.port = ntohs(port);
        inet_table_add(i);
    }
    inet_set_remote(i, dst, &src, TCP_S_NET);
    i->connecting = r != 0;
    return r == 0 ? 0 : nonblock ? -EINPROGRESS : -EAGAIN;
}

/* After a connection that did not come about the socket is as before. */
static int failed(struct inet_sock *i, int err)
{
    netstack_lock(inet_stack_of(i));
    tcp_disconnect(i->tp);
    netstack_unlock(inet_stack_of(i));
    i->connecting = false;
    lo_tcp_unprepare(i);
    return err ? -err : -ECONNABORTED;
}

int net_tcp_connect_again(struct inet_sock *i, bool nonblock)
{
    int state, err = 0;

    netstack_lock(inet_stack_of(i));
    state = tcp_state(i->tp);
    if (state == TCPS_CLOSE)
        err = tcp_take_error(i->tp);
    netstack_unlock(inet_stack_of(i));
    if (state == TCPS_SYN_SENT || state == TCPS_SYN_RECV)
        return nonblock ? -EALREADY : -EAGAIN;
    if (!i->connecting)
        return -EISCONN;
    if (state == TCPS_CLOSE)
        return failed(i, err);
    i->connecting = false;
    return 0;
}

int net_tcp_listen(struct inet_sock *i, int backlog)
{
    int max = atomic_load(&i->s.net->somaxconn), r;

    if (!atomic_load(&i->s.net->has_links) || inet_is_loopback(&i->local.addr))
        return 0;
    if (backlog < 0 || backlog > max)
        backlog = max;
    netstack_lock(inet_stack_of(i));
    r = ensure(i);
    if (r == 0)
        r = bind_end(i);
    if (r == 0)
        r = tcp_listen(i->tp, backlog);
    netstack_unlock(inet_stack_of(i));
    return r;
}

int net_tcp_accept(struct inet_sock *listener, struct inet_sock **out)
{
    struct inet_end local = {.port = 0}, remote = {.port = 0};
    struct inet_sock *conn;
    struct tcp_sock *child;
    int r;

    netstack_lock(inet_stack_of(listener));
    r = tcp_accept(listener->tp, &child);
    if (r == 0) {
        /* One that its peer has reset meanwhile is accepted all the same, and reading it says so. */
        const struct endpoint *ep = tcp_ep(child);

        local = (struct inet_end){.addr = ep->laddr, .port = listener->local.port};
        remote = (struct inet_end){.addr = ep->raddr, .port = ntohs(ep->rport)};
    }
    netstack_unlock(inet_stack_of(listener));
    if (r < 0)
        return r;
    conn = lo_tcp_make_server(listener);
    netstack_lock(inet_stack_of(listener));
    if (conn)
        tcp_set_owner(child, &endpoint_cb, conn);
    else
        tcp_close(child);
    netstack_unlock(inet_stack_of(listener));
    if (!conn)
        return -ENOMEM;
    conn->tp = child;
    conn->local = local;
    conn->remote = remote;
    conn->state = TCP_S_NET;
    conn->accepted = true;
    *out = conn;
    return 0;
}

void net_tcp_disconnect(struct inet_sock *i)
{
    if (!i->tp)
        return;
    netstack_lock(inet_stack_of(i));
    tcp_disconnect(i->tp);
    netstack_unlock(inet_stack_of(i));
}

int net_tcp_shutdown(struct inet_sock *i, unsigned int mask)
{
    int r;

    netstack_lock(inet_stack_of(i));
    r = tcp_shutdown(i->tp, (int)mask);
    netstack_unlock(inet_stack_of(i));
    if (r == 0)
        atomic_fetch_or(&i->s.shutdown, mask);
    return r;
}

void net_tcp_close(struct inet_sock *i)
{
    struct tcp_sock *tp = i->tp;

    if (!tp)
        return;
    i->tp = NULL;
    netstack_lock(inet_stack_of(i));
    tcp_close(tp);
    netstack_unlock(inet_stack_of(i));
}

void net_tcp_default_congestion(struct net *net, char name[16])
{
    netstack_lock(net->stack);
    memcpy(name, tcp_sysctl(net->stack)->congestion, 16);
    netstack_unlock(net->stack);
}

bool net_tcp_lingers(struct inet_sock *i)
{
    bool r;

    netstack_lock(inet_stack_of(i));
    r = tcp_linger_pending(i->tp);
    netstack_unlock(inet_stack_of(i));
    return r;
}

int net_tcp_maxseg(struct inet_sock *i)
{
    int mss = 0;

    netstack_lock(inet_stack_of(i));
    if (tcp_get_option(i->tp, TCP_MAXSEG, &mss) < 0)
        mss = 0;
    netstack_unlock(inet_stack_of(i));
    return mss;
}

int net_tcp_state(const struct inet_sock *i)
{
    return i->tp ? tcp_state(i->tp) : TCPS_CLOSE;
}

bool net_tcp_is_connected(const struct inet_sock *i)
{
    int state = net_tcp_state(i);

    return state != TCPS_CLOSE && state != TCPS_SYN_SENT;
}

uint32_t net_tcp_poll(struct inet_sock *i)
{
    uint32_t mask;

    netstack_lock(inet_stack_of(i));
    mask = tcp_poll(i->tp);
    netstack_unlock(inet_stack_of(i));
    return mask;
}

int net_tcp_take_error(struct socket *s)
{
    struct inet_sock *i = inet_of(s);
    int err = -sock_take_error(s);

    if (err || !i->tp)
        return err;
    netstack_lock(inet_stack_of(i));
    err = tcp_take_error(i->tp);
    netstack_unlock(inet_stack_of(i));
    return err;
}

void net_tcp_put_error(struct socket *s, int err)
{
    struct inet_sock *i = inet_of(s);

    if (i->state != TCP_S_NET) {
        sock_set_error(s, err);
        return;
    }
    netstack_lock(inet_stack_of(i));
    tcp_put_error(i->tp, err);
    netstack_unlock(inet_stack_of(i));
}

long net_tcp_ioctl(struct inet_sock *i, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    int n;

    if (cmd != SIOCINQ && cmd != SIOCOUTQ && cmd != SIOCOUTQNSD && cmd != SIOCATMARK)
        return -ENOTTY;
    netstack_lock(inet_stack_of(i));
    n = cmd == SIOCINQ       ? tcp_inq(i->tp)
        : cmd == SIOCOUTQ    ? tcp_outq(i->tp)
        : cmd == SIOCOUTQNSD ? tcp_outqnsd(i->tp)
                             : tcp_atmark(i->tp);
    netstack_unlock(inet_stack_of(i));
    return n < 0 ? n : c->uaccess->copy_out(c, arg, &n, sizeof(n));
}
