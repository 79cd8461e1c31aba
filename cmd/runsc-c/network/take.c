/* Taking over the interfaces of the namespace that we are in. */
#include "cmd/runsc-c/network/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

/* What may wait in the host's kernel until the sentry reads it: a window of a few fast connections. */
#define RECEIVE_BUFFER (16 << 20)
#define SEND_BUFFER    (4 << 20)

void network_write_sysctl(const char *name, const char *ifname, const char *value)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", ifname, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* no IPv6 on this host */
    if (write(fd, value, strlen(value)) < 0)
        perror(path);
    close(fd);
}

static int read_sysctl(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char c = '0';

    if (fd >= 0) {
        if (read(fd, &c, 1) != 1)
            c = '0';
        close(fd);
    }
    return c == '1';
}

static bool ipv6_is_disabled(const char *ifname)
{
    char path[128];

    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", ifname);
    return read_sysctl(path);
}

/*
 * A packet socket that gets what comes in by the interface, whole and unsegmented. It is bound last, so that nothing comes
 * before it is set up.
 */
static int open_packet(const struct net_config_if *i, struct error *e)
{
    struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = i->index};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, size, r;

    if (fd < 0)
        return error_set(e, errno, "packet socket for %s", i->name);
    size = RECEIVE_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    size = SEND_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0) {
        r = error_set(e, errno, "packet socket for %s", i->name);
        close(fd);
        return r;
    }
    return fd;
}

/* A name of the namespace's own. */
int network_lock(struct error *e)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0runsc-c network"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return error_set(e, errno, "socket");
    if (bind(fd, (struct sockaddr *)&name, offsetof(struct sockaddr_un, sun_path) + sizeof("\0runsc-c network") - 1) == 0)
        return fd;
    r = errno == EADDRINUSE
            ? error_set(e, 0,
                        "another container's sandbox has the interfaces of this network namespace: containers that share one "
                        "need --network=host, for each of them")
            : error_set(e, errno, "network namespace");
    close(fd);
    return r;
}

int network_take_here(struct net_config *c, const struct network_record *rec, struct error *e)
{
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    int r;

    if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
        r = error_set(e, errno, "netlink");
        goto out;
    }
    if ((r = network_read(nl, c, e)) < 0 || (c->nr_ifs && (r = c->lock = network_lock(e)) < 0))
        goto out;
    c->forward4 = read_sysctl("/proc/sys/net/ipv4/ip_forward");
    c->forward6 = read_sysctl("/proc/sys/net/ipv6/conf/all/forwarding");
    c->disable6 = ipv6_is_disabled("default");
    c->lo_disable6 = ipv6_is_disabled("lo");
    if (c->nr_ifs)
        network_open_dns(c);
    for (uint32_t i = 0; i < c->nr_ifs; i++) {
        c->ifs[i].ipv6_disabled = ipv6_is_disabled(c->ifs[i].name);
        r = open_packet(&c->ifs[i], e);
        if (r < 0)
            goto out;
        c->ifs[i].fd = r;
    }
    r = network_record_write(rec, c, e);
    if (r == 0)
        r = network_strip(nl, c, e);
    /* The host's kernel must not speak IPv6 on them either; it would with a link-local address that comes by itself. */
    for (uint32_t i = 0; i < c->nr_ifs && r == 0; i++)
        network_write_sysctl("disable_ipv6", c->ifs[i].name, "1");
    if (r == 0 && c->dns_udp >= 0)
        network_lead_dns_out(nl, c);
out:
    if (nl)
        mnl_socket_close(nl);
    return r;
}
