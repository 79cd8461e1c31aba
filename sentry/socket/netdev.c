/* The ioctls by which programs ask about network interfaces: there is lo, up, with 127.0.0.1/8. */
#include "sentry/kernel/task.h"
#include "sentry/socket/inet_loopback/inet.h"
#include "sentry/socket/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>

#define LO_FLAGS (IFF_UP | IFF_LOOPBACK | IFF_RUNNING)

static void put_v4(struct sockaddr *to, uint32_t addr)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(addr)}};

    memcpy(to, &sin, sizeof(sin));
}

/* SIOCGIFCONF: all interfaces with an IPv4 address. */
static long get_conf(const struct vfs_caller *c, guest_addr arg)
{
    struct ifreq lo = {.ifr_name = "lo"};
    struct {
        int32_t len, pad;
        uint64_t buf;
    } conf;

    if (c->uaccess->copy_in(c, &conf, arg, sizeof(conf)))
        return -EFAULT;
    if (conf.len < 0)
        return -EINVAL;
    put_v4(&lo.ifr_addr, INADDR_LOOPBACK);
    if (conf.buf == 0) {
        conf.len = sizeof(lo);
    } else if ((size_t)conf.len < sizeof(lo)) {
        conf.len = 0;
    } else {
        if (c->uaccess->copy_out(c, guest_addr_of(conf.buf), &lo, sizeof(lo)))
            return -EFAULT;
        conf.len = sizeof(lo);
    }
    return c->uaccess->copy_out(c, arg, &conf, sizeof(conf));
}

/* Answers about lo in place: 0, or -ENOTTY for unknown requests. */
static int answer(unsigned int cmd, struct ifreq *r)
{
    switch (cmd) {
    case SIOCGIFFLAGS:
        r->ifr_flags = LO_FLAGS;
        return 0;
    case SIOCGIFADDR:
        put_v4(&r->ifr_addr, INADDR_LOOPBACK);
        return 0;
    case SIOCGIFNETMASK:
        put_v4(&r->ifr_netmask, 0xff000000);
        return 0;
    case SIOCGIFBRDADDR:
    case SIOCGIFDSTADDR:
        put_v4(&r->ifr_broadaddr, cmd == SIOCGIFDSTADDR ? INADDR_LOOPBACK : 0);
        return 0;
    case SIOCGIFMTU:
        r->ifr_mtu = INET_LO_MTU;
        return 0;
    case SIOCGIFMETRIC:
        r->ifr_metric = 0;
        return 0;
    case SIOCGIFINDEX:
        r->ifr_ifindex = INET_LO_INDEX;
        return 0;
    case SIOCGIFTXQLEN:
        r->ifr_qlen = 1000;
        return 0;
    case SIOCGIFHWADDR:
        memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
        r->ifr_hwaddr.sa_family = ARPHRD_LOOPBACK;
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

/* Requests that change an interface or a route. */
static bool is_change(unsigned int cmd)
{
    switch (cmd) {
    case SIOCADDRT:
    case SIOCDELRT:
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
    case SIOCSARP:
    case SIOCDARP:
        return true;
    default:
        return false;
    }
}

long netdev_ioctl(struct net *net, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    struct ifreq r;
    int err;

    if (cmd == SIOCGIFCONF)
        return get_conf(c, arg);
    if (is_change(cmd))
        return -EPERM;
    if (cmd != SIOCGIFNAME && answer(cmd, &(struct ifreq){0}) == -ENOTTY)
        return -ENOTTY;
    if (c->uaccess->copy_in(c, &r, arg, sizeof(r)))
        return -EFAULT;
    r.ifr_name[IFNAMSIZ - 1] = 0;
    if (cmd == SIOCGIFNAME) {
        if (r.ifr_ifindex != INET_LO_INDEX)
            return -ENODEV;
        strcpy(r.ifr_name, "lo");
    } else {
        if (strcmp(r.ifr_name, "lo") != 0)
            return -ENODEV;
        err = answer(cmd, &r);
        if (err)
            return err;
    }
    return c->uaccess->copy_out(c, arg, &r, sizeof(r));
}
