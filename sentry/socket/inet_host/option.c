/* Options and ioctls of sockets of the host's: those of a list, by value. */
#include "sentry/kernel/task.h"
#include "sentry/socket/inet_host/inet_host.h"

#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

static const struct {
    int level, name;
} known[] = {
#define X(level, name) {level, name},
#include "sentry/host/socket_options.def"
#undef X
};

static bool is_known(const struct socket *s, int level, int name)
{
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].level == level && known[i].name == name)
            return true;
    net_host_refuse(s->net->host, REFUSED_OPTION, level, name, 0);
    return false;
}

int host_sock_setsockopt(struct socket *s, struct task *t, int level, int name, const void *val, socklen_t len)
{
    if (!is_known(s, level, name))
        return -ENOPROTOOPT;
    if (setsockopt(host_of(s)->fd, level, name, val, len) < 0)
        return -errno;
    if (level == SOL_SOCKET && name == SO_RCVLOWAT) /* how much a read waits for */
        memcpy(&s->rcvlowat, val, sizeof(s->rcvlowat));
    if (s->rcvlowat <= 0)
        s->rcvlowat = s->rcvlowat < 0 ? INT32_MAX : 1;
    return 0;
}

int host_sock_getsockopt(struct socket *s, struct task *t, int level, int name, void *val, socklen_t *len)
{
    if (level == SOL_SOCKET && name == SO_PEERNAME) {
        struct sock_addr a;

        if (s->ops->getname(s, true, &a))
            return -ENOTCONN;
        if (a.len < *len)
            return -EINVAL;
        memcpy(val, a.raw, *len);
        return 0;
    }
    if (level == SOL_SOCKET && name == SO_ERROR && atomic_load(&s->err))
        return sockopt_put_int(val, len, -sock_take_error(s));
    if (!is_known(s, level, name))
        return -ENOPROTOOPT;
    return getsockopt(host_of(s)->fd, level, name, val, len) < 0 ? -errno : 0;
}

/* --- ioctls --- */

/* Answers of a fixed size that the host gives on a socket. */
static const struct {
    unsigned int cmd, size;
    bool in; /* there is a question */
} answers[] = {
    {FIONREAD, sizeof(int), false},
    {TIOCOUTQ, sizeof(int), false},
    {SIOCATMARK, sizeof(int), false},
    {SIOCOUTQNSD, sizeof(int), false},
    {SIOCGIFNAME, sizeof(struct ifreq), true},
    {SIOCGIFFLAGS, sizeof(struct ifreq), true},
    {SIOCGIFADDR, sizeof(struct ifreq), true},
    {SIOCGIFDSTADDR, sizeof(struct ifreq), true},
    {SIOCGIFBRDADDR, sizeof(struct ifreq), true},
    {SIOCGIFNETMASK, sizeof(struct ifreq), true},
    {SIOCGIFMETRIC, sizeof(struct ifreq), true},
    {SIOCGIFMTU, sizeof(struct ifreq), true},
    {SIOCGIFHWADDR, sizeof(struct ifreq), true},
    {SIOCGIFINDEX, sizeof(struct ifreq), true},
    {SIOCGIFTXQLEN, sizeof(struct ifreq), true},
    {SIOCGIFMAP, sizeof(struct ifreq), true},
    {SIOCGARP, sizeof(struct arpreq), true},
};

static long answer(int fd, const struct vfs_caller *c, unsigned int cmd, size_t size, bool in, guest_addr arg)
{
    char buf[sizeof(struct arpreq) > sizeof(struct ifreq) ? sizeof(struct arpreq) : sizeof(struct ifreq)] = {0};

    if (in && c->uaccess->copy_in(c, buf, arg, size))
        return -EFAULT;
    if (ioctl(fd, cmd, buf) < 0)
        return -errno;
    return c->uaccess->copy_out(c, arg, buf, size);
}

#define MAX_CONF 256

/* SIOCGIFCONF: the list goes where the question says. */
static long get_conf(int fd, const struct vfs_caller *c, guest_addr arg)
{
    struct ifreq list[MAX_CONF];
    struct {
        int32_t len, pad;
        uint64_t buf;
    } conf;
    struct ifconf host = {.ifc_len = 0};

    if (c->uaccess->copy_in(c, &conf, arg, sizeof(conf)))
        return -EFAULT;
    if (conf.len < 0)
        return -EINVAL;
    if (conf.buf) {
        host.ifc_len = conf.len < (int)sizeof(list) ? conf.len : (int)sizeof(list);
        host.ifc_req = list;
    }
    if (ioctl(fd, SIOCGIFCONF, &host) < 0)
        return -errno;
    if (conf.buf && host.ifc_len > 0 && c->uaccess->copy_out(c, guest_addr_of(conf.buf), list, (size_t)host.ifc_len))
        return -EFAULT;
    conf.len = host.ifc_len;
    return c->uaccess->copy_out(c, arg, &conf, sizeof(conf));
}

long host_sock_ioctl(struct socket *s, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    int fd = host_of(s)->fd;

    if (cmd == SIOCGIFCONF && s->net->host)
        return get_conf(fd, c, arg);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
        if (answers[i].cmd == cmd && (s->net->host || answers[i].size == sizeof(int)))
            return answer(fd, c, cmd, answers[i].size, answers[i].in, arg);
    return net_host_ioctl(s->net, c, cmd, arg);
}

long net_host_ioctl(struct net *net, const struct vfs_caller *c, unsigned int cmd, guest_addr arg)
{
    if (!net->host)
        return netdev_ioctl(net, c, cmd, arg);
    if (cmd == SIOCGIFCONF)
        return get_conf(net->host->ctl, c, arg);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
        if (answers[i].cmd == cmd && answers[i].size > sizeof(int))
            return answer(net->host->ctl, c, cmd, answers[i].size, answers[i].in, arg);
    net_host_refuse(net->host, REFUSED_IOCTL, 0, (int)cmd, 0);
    if (netdev_ioctl_changes(cmd))
        return -EPERM; /* the namespace is not the container's to change */
    switch (cmd) {
    case SIOCETHTOOL:
        return -EOPNOTSUPP;
    case SIOCADDRT:
    case SIOCDELRT:
    case SIOCSARP:
    case SIOCDARP:
        return -EPERM;
    default:
        return -ENOTTY;
    }
}
