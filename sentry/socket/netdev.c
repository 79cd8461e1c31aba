/* The ioctls by which programs ask about, and change, network interfaces, addresses and routes: see netdevice(7). */
#include "netstack/neigh.h"
#include "netstack/route.h"
#include "sentry/kernel/task.h"
#include "sentry/socket/net.h"
#include "sentry/socket/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/route.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>

static void put_v4(struct sockaddr *to, be32 addr)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {addr}};

    memcpy(to, &sin, sizeof(sin));
}

static be32 get_v4(const struct sockaddr *from)
{
    struct sockaddr_in sin;

    memcpy(&sin, from, sizeof(sin));
    return sin.sin_addr.s_addr;
}

/* The first IPv4 address of an interface, or the one with that label ("eth0:1"). */
static struct nic_addr *first_v4(struct nic *nic, const char *label) NETSTACK_LOCKED
{
    struct nic_addr *a;

    list_for_each_entry(a, &nic->addrs, node) {
        if (addr_is_v4(&a->addr) && (!strchr(label, ':') || strcmp(a->label, label) == 0))
            return a;
    }
    return NULL;
}

#define MAX_CONF 256

/* SIOCGIFCONF: all IPv4 addresses, by interface. */
static long get_conf(struct netstack *s, const struct vfs_caller *c, guest_addr arg)
{
    struct ifreq list[MAX_CONF] = {0};
    struct {
        int32_t len, pad;
        uint64_t buf;
    } conf;
    size_t n = 0;
    struct nic_addr *a;
    struct nic *nic;

    if (c->uaccess->copy_in(c, &conf, arg, sizeof(conf)))
        return -EFAULT;
    if (conf.len < 0)
        return -EINVAL;
    netstack_lock(s);
    list_for_each_entry(nic, &s->nics, node) {
        list_for_each_entry(a, &nic->addrs, node) {
            if (!addr_is_v4(&a->addr) || n == MAX_CONF)
                continue;
            memcpy(list[n].ifr_name, a->label[0] ? a->label : nic->name, IFNAMSIZ);
            put_v4(&list[n++].ifr_addr, addr_v4(&a->addr));
        }
    }
    netstack_unlock(s);
    if (conf.buf) {
        if (n > (size_t)conf.len / sizeof(list[0]))
            n = (size_t)conf.len / sizeof(list[0]);
        if (n && c->uaccess->copy_out(c, guest_addr_of(conf.buf), list, n * sizeof(list[0])))
            return -EFAULT;
    }
    conf.len = (int32_t)(n * sizeof(list[0]));
    return c->uaccess->copy_out(c, arg, &conf, sizeof(conf));
}

/* Answers about an interface in place: 0, -errno, or -ENOTTY for unknown requests. */
static int answer(struct nic *nic, unsigned int cmd, struct ifreq *r) NETSTACK_LOCKED
{
    struct nic_addr *a = first_v4(nic, r->ifr_name);

    switch (cmd) {
    case SIOCGIFADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFBRDADDR:
    case SIOCGIFDSTADDR:
        if (!a)
            return -EADDRNOTAVAIL;
        put_v4(&r->ifr_addr, cmd == SIOCGIFADDR      ? addr_v4(&a->addr)
                             : cmd == SIOCGIFNETMASK ? (a->plen ? htonl(~0U << (32 - a->plen)) : 0)
                             : cmd == SIOCGIFBRDADDR ? (addr_is_any(&a->broadcast) ? 0 : addr_v4(&a->broadcast))
                                                     : addr_v4(&a->peer));
        return 0;
    case SIOCGIFFLAGS:
        r->ifr_flags = (short)nic_flags(nic);
        return 0;
    case SIOCGIFMTU:
        r->ifr_mtu = (int)nic->mtu;
        return 0;
    case SIOCGIFMETRIC:
        r->ifr_metric = 0;
        return 0;
    case SIOCGIFINDEX:
        r->ifr_ifindex = nic->index;
        return 0;
    case SIOCGIFTXQLEN:
        r->ifr_qlen = nic == nic->stack->lo ? 1000 : (int)nic->tx_queue_len;
        return 0;
    case SIOCGIFHWADDR:
        memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
        r->ifr_hwaddr.sa_family = nic->arp_type;
        memcpy(r->ifr_hwaddr.sa_data, nic->mac, sizeof(nic->mac));
        return 0;
    case SIOCGIFMAP:
        memset(&r->ifr_map, 0, sizeof(r->ifr_map));
        return 0;
    case SIOCETHTOOL:
        return -EOPNOTSUPP;
    default:
        return -ENOTTY;
    }
}

static int set_addr(struct nic *nic, be32 v4) NETSTACK_LOCKED
{
    struct nic_addr *old = first_v4(nic, ""), a = {.plen = 24, .preferred_until = INT64_MAX, .valid_until = INT64_MAX};

    /* The class that the address had once decides about its mask. */
    if (ntohl(v4) >> 31 == 0)
        a.plen = 8;
    else if (ntohl(v4) >> 30 == 2)
        a.plen = 16;
    a.addr = a.peer = addr_from_v4(v4);
    a.flags = IFA_F_PERMANENT;
    if (old)
        nic_addr_del(nic, &old->addr, -1);
    return v4 ? nic_addr_add(nic, &a) : 0;
}

/* A new mask or broadcast address is an address with it in place of the old one. */
static int change_addr(struct nic *nic, unsigned int cmd, be32 v4) NETSTACK_LOCKED
{
    struct nic_addr *old = first_v4(nic, ""), a;

    if (!old)
        return -EADDRNOTAVAIL;
    a = (struct nic_addr){.addr = old->addr,
                          .peer = old->peer,
                          .broadcast = old->broadcast,
                          .plen = old->plen,
                          .scope = old->scope,
                          .flags = old->flags,
                          .preferred_until = old->preferred_until,
                          .valid_until = old->valid_until};
    memcpy(a.label, old->label, sizeof(a.label));
    if (cmd == SIOCSIFNETMASK) {
        uint32_t inverse = ~ntohl(v4);

        if (inverse & (inverse + 1))
            return -EINVAL;
        a.plen = (uint8_t)__builtin_popcount(v4);
    } else if (cmd == SIOCSIFBRDADDR) {
        a.broadcast = addr_from_v4(v4);
    } else {
        a.peer = addr_from_v4(v4);
    }
    nic_addr_del(nic, &old->addr, -1);
    return nic_addr_add(nic, &a);
}

static int change(struct nic *nic, unsigned int cmd, const struct ifreq *r) NETSTACK_LOCKED
{
    int up = r->ifr_flags & IFF_UP;

    switch (cmd) {
    case SIOCSIFFLAGS:
        if (!(r->ifr_flags & IFF_PROMISC) != !(nic->flags & IFF_PROMISC))
            nic_set_promisc(nic, r->ifr_flags & IFF_PROMISC);
        return !up == !(nic->flags & IFF_UP) ? 0 : nic_set_up(nic, up);
    case SIOCSIFMTU:
        return r->ifr_mtu < 0 ? -EINVAL : nic_set_mtu(nic, (uint32_t)r->ifr_mtu);
    case SIOCSIFHWADDR:
        return r->ifr_hwaddr.sa_family != nic->arp_type ? -EINVAL : nic_set_mac(nic, (const uint8_t *)r->ifr_hwaddr.sa_data);
    case SIOCSIFNAME:
        return nic_set_name(nic, r->ifr_newname);
    case SIOCSIFTXQLEN:
        if (r->ifr_qlen < 0)
            return -EINVAL;
        nic->tx_queue_len = (uint32_t)r->ifr_qlen;
        return 0;
    case SIOCSIFADDR:
        return set_addr(nic, get_v4(&r->ifr_addr));
    case SIOCSIFNETMASK:
    case SIOCSIFBRDADDR:
    case SIOCSIFDSTADDR:
        return change_addr(nic, cmd, get_v4(&r->ifr_addr));
    case SIOCSIFMETRIC:
        return r->ifr_metric ? -EOPNOTSUPP : 0;
    default:
        return -ENOTTY;
    }
}

bool netdev_ioctl_changes(unsigned int cmd)
{
    switch (cmd) {
    case SIOCSIFFLAGS:
    case SIOCSIFADDR:
    case SIOCSIFNETMASK:
    case SIOCSIFBRDADDR:
    case SIOCSIFDSTADDR:
    case SIOCSIFMTU:
    case SIOCSIFMETRIC:
    case SIOCSIFHWADDR:
    case SIOCSIFTXQLEN:
    case SIOCSIFNAME:
        return true;
    default:
        return false;
    }
}

static bool is_question(unsigned int cmd)
{
    switch (cmd) {
    case SIOCGIFNAME:
    case SIOCGIFADDR:
    case SIOCGIFNETMASK:
    case SIOCGIFBRDADDR:
    case SIOCGIFDSTADDR:
    case SIOCGIFFLAGS:
    case SIOCGIFMTU:
    case SIOCGIFMETRIC:
    case SIOCGIFINDEX:
    case SIOCGIFTXQLEN:
    case SIOCGIFHWADDR:
    case SIOCGIFMAP:
    case SIOCETHTOOL:
        return true;
    default:
        return false;
    }
}

/* SIOCADDRT, SIOCDELRT: the route(8) of old. */
static long change_route(struct netstack *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct route rt = {
        .table = RT_TABLE_MAIN, .protocol = RTPROT_BOOT, .type = RTN_UNICAST, .scope = RT_SCOPE_LINK, .expires = INT64_MAX};
    char dev[IFNAMSIZ] = "";
    struct rtentry e;
    uint32_t mask;
    int r;

    if (c->uaccess->copy_in(c, &e, arg, sizeof(e)))
        return -EFAULT;
    if (e.rt_dst.sa_family != AF_INET)
        return -EAFNOSUPPORT;
    if (e.rt_dev && c->uaccess->copy_in(c, dev, guest_addr_of((uint64_t)(uintptr_t)e.rt_dev), IFNAMSIZ - 1))
        return -EFAULT;
    mask = e.rt_flags & RTF_HOST ? UINT32_MAX : ntohl(get_v4(&e.rt_genmask));
    if (~mask & (~mask + 1))
        return -EINVAL;
    rt.dst = addr_from_v4(get_v4(&e.rt_dst));
    rt.plen = (uint8_t)__builtin_popcount(mask);
    if (e.rt_flags & RTF_GATEWAY) {
        rt.gateway = addr_from_v4(get_v4(&e.rt_gateway));
        rt.scope = RT_SCOPE_UNIVERSE;
    }
    if (e.rt_flags & RTF_REJECT)
        rt.type = RTN_UNREACHABLE;
    rt.metric = e.rt_metric > 0 ? (uint32_t)e.rt_metric - 1 : 0;
    rt.mtu = e.rt_flags & RTF_MTU ? (uint32_t)e.rt_mtu : 0;
    netstack_lock(s);
    rt.nic = dev[0] ? nic_by_name(s, dev) : NULL;
    if (dev[0] && !rt.nic)
        r = -ENODEV;
    else
        r = cmd == SIOCADDRT ? route_add(s, &rt, NLM_F_CREATE | NLM_F_EXCL) : route_del(s, &rt);
    netstack_unlock(s);
    return r;
}

static long change_arp(struct netstack *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct arpreq a;
    struct in6_addr addr;
    struct neigh *n;
    struct nic *nic;
    int r;

    if (c->uaccess->copy_in(c, &a, arg, sizeof(a)))
        return -EFAULT;
    if (a.arp_pa.sa_family != AF_INET)
        return -EPFNOSUPPORT;
    a.arp_dev[sizeof(a.arp_dev) - 1] = 0;
    addr = addr_from_v4(get_v4(&a.arp_pa));
    netstack_lock(s);
    nic = nic_by_name(s, a.arp_dev);
    if (!nic) {
        r = -ENODEV;
    } else if (cmd == SIOCGARP) {
        n = neigh_find(nic, &addr);
        r = n ? 0 : -ENXIO;
        if (n) {
            a.arp_ha.sa_family = nic->arp_type;
            memcpy(a.arp_ha.sa_data, n->mac, sizeof(n->mac));
            a.arp_flags = n->state & NUD_PERMANENT ? ATF_PERM | ATF_COM : ATF_COM;
        }
    } else if (cmd == SIOCSARP) {
        r = neigh_set(nic, &addr, (const uint8_t *)a.arp_ha.sa_data, a.arp_flags & ATF_PERM ? NUD_PERMANENT : NUD_STALE, 0);
    } else {
        r = neigh_del(nic, &addr);
    }
    netstack_unlock(s);
    return r || cmd != SIOCGARP ? r : c->uaccess->copy_out(c, arg, &a, sizeof(a));
}

/* "eth0:1" is an address of eth0. */
static struct nic *find(struct netstack *s, const struct ifreq *r) NETSTACK_LOCKED
{
    char name[IFNAMSIZ];

    memcpy(name, r->ifr_name, sizeof(name));
    name[strcspn(name, ":")] = 0;
    return nic_by_name(s, name);
}

static int on_interface(struct netstack *s, unsigned int cmd, struct ifreq *r) NETSTACK_LOCKED
{
    struct nic *nic = cmd == SIOCGIFNAME ? nic_by_index(s, r->ifr_ifindex) : find(s, r);

    if (!nic)
        return -ENODEV;
    if (cmd == SIOCGIFNAME) {
        memcpy(r->ifr_name, nic->name, sizeof(r->ifr_name));
        return 0;
    }
    return netdev_ioctl_changes(cmd) ? change(nic, cmd, r) : answer(nic, cmd, r);
}

long netdev_ioctl(struct net *net, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    bool admin = cred_has_cap(c->cred, CAP_NET_ADMIN);
    struct ifreq r;
    int err;

    if (net->host)
        return net_host_ioctl(net, c, cmd, arg);
    switch (cmd) {
    case SIOCGIFCONF:
        return get_conf(net->stack, c, arg);
    case SIOCADDRT:
    case SIOCDELRT:
        return admin ? change_route(net->stack, c, cmd, arg) : -EPERM;
    case SIOCSARP:
    case SIOCDARP:
    case SIOCGARP:
        return admin || cmd == SIOCGARP ? change_arp(net->stack, c, cmd, arg) : -EPERM;
    default:
        break;
    }
    if (!netdev_ioctl_changes(cmd) && !is_question(cmd))
        return -ENOTTY;
    if (c->uaccess->copy_in(c, &r, arg, sizeof(r)))
        return -EFAULT;
    r.ifr_name[IFNAMSIZ - 1] = 0;
    if (netdev_ioctl_changes(cmd) && !admin)
        return -EPERM;
    netstack_lock(net->stack);
    err = on_interface(net->stack, cmd, &r);
    netstack_unlock(net->stack);
    return err || netdev_ioctl_changes(cmd) ? err : c->uaccess->copy_out(c, arg, &r, sizeof(r));
}
