/* sock_diag of packet and netlink sockets. */
#include "sentry/socket/inet_net/inet_net.h"
#include "sentry/socket/netlink/diag.h"

#include "netstack/packet.h"

#include <errno.h>
#include <linux/netlink_diag.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <string.h>

static void put_packet(struct nl_reply *r, const struct packet_ep *pe, uint32_t show) NETSTACK_LOCKED
{
    const struct socket *s = pe->owner;
    struct packet_diag_msg m = {.pdiag_family = AF_PACKET,
                                .pdiag_type = (uint8_t)s->type,
                                .pdiag_num = ntohs(pe->protocol),
                                .pdiag_ino = (uint32_t)s->ino};
    struct packet_diag_info info = {.pdi_index = (uint32_t)pe->ifindex, .pdi_flags = 0};

    diag_cookie(m.pdiag_cookie, s->ino);
    nl_begin(r, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
    if (show & PACKET_SHOW_INFO) {
        nl_attr(r, PACKET_DIAG_INFO, &info, sizeof(info));
        nl_attr_u32(r, PACKET_DIAG_UID, s->uid);
    }
    if (show & PACKET_SHOW_MEMINFO)
        diag_put_meminfo(r, PACKET_DIAG_MEMINFO, s, (uint32_t)pe->rq.memory, 0);
    nl_end(r);
}

int diag_packet(const struct diag_request *q, struct nl_reply *r)
{
    struct packet_diag_req req;
    struct packet_ep *pe;

    if (q->len < sizeof(req))
        return -EINVAL;
    memcpy(&req, q->body, sizeof(req));
    if (req.sdiag_protocol)
        return -EINVAL;
    if (!q->dump)
        return -EOPNOTSUPP;
    netstack_lock(q->net->stack);
    list_for_each_entry(pe, &q->net->stack->packet_eps, node)
        put_packet(r, pe, req.pdiag_show);
    netstack_unlock(q->net->stack);
    return 1;
}

int diag_netlink(const struct diag_request *q, struct nl_reply *r)
{
    struct netlink_diag_req req;
    struct netlink_sock *n;

    if (q->len < sizeof(req))
        return -EINVAL;
    memcpy(&req, q->body, sizeof(req));
    if (!q->dump)
        return -EOPNOTSUPP;
    mutex_lock(&q->net->netlink_lock);
    list_for_each_entry(n, &q->net->netlink_all, all_node) {
        struct netlink_diag_msg m = {.ndiag_family = AF_NETLINK,
                                     .ndiag_type = (uint8_t)n->s.type,
                                     .ndiag_protocol = (uint8_t)n->s.protocol,
                                     .ndiag_state = n->connected ? 1 : 0,
                                     .ndiag_portid = n->port,
                                     .ndiag_dst_portid = n->connected ? n->peer.nl_pid : 0,
                                     .ndiag_ino = (uint32_t)n->s.ino};
        uint32_t groups = n->groups;

        if (req.sdiag_protocol != NDIAG_PROTO_ALL && req.sdiag_protocol != n->s.protocol)
            continue;
        diag_cookie(m.ndiag_cookie, n->s.ino);
        nl_begin(r, SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, &m, sizeof(m));
        if (req.ndiag_show & NDIAG_SHOW_GROUPS)
            nl_attr(r, NETLINK_DIAG_GROUPS, &groups, sizeof(groups));
        if (req.ndiag_show & NDIAG_SHOW_MEMINFO)
            diag_put_meminfo(r, NETLINK_DIAG_MEMINFO, &n->s, (uint32_t)atomic_load(&n->s.rq.bytes), 0);
        nl_end(r);
    }
    mutex_unlock(&q->net->netlink_lock);
    return 1;
}
