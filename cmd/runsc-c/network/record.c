/*
 * What was taken from a network namespace that has a name, and giving it back: `network` in the container's state directory,
 * written before anything is taken, read when the container is deleted. Somebody may have changed the namespace meanwhile, or
 * thrown it away; what is there already stays as it is.
 *
 * Given back are the settings, addresses and routes that somebody had set. What routers have advertised comes by itself. Routes
 * over several next hops are lost.
 */
#include "cmd/runsc-c/network/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "network"

struct record {
    uint32_t size; /* of this struct, as a check: another version of this program has another one */
    dev_t dev;     /* of the namespace */
    ino_t ino;
    char path[PATH_MAX];
    struct net_config c;
};

int network_record_write(const struct network_record *rec, const struct net_config *c, struct error *e)
{
    struct record *r;
    struct stat st;
    int fd = -1, ret = 0;

    if (rec->state_fd < 0 || c->nr_ifs == 0)
        return 0;
    r = calloc(1, sizeof(*r));
    if (!r || strlen(rec->path) >= sizeof(r->path)) {
        free(r);
        return error_set(e, r ? ENAMETOOLONG : ENOMEM, "network namespace %s", rec->path);
    }
    r->size = sizeof(*r);
    r->c = *c;
    strcpy(r->path, rec->path);
    if (stat(rec->path, &st) == 0) {
        r->dev = st.st_dev;
        r->ino = st.st_ino;
        fd = openat(rec->state_fd, FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0 || write(fd, r, sizeof(*r)) != (ssize_t)sizeof(*r))
        ret = error_set(e, errno, "writing down the network");
    if (fd >= 0)
        close(fd);
    free(r);
    return ret;
}

static struct record *read_record(int state_fd)
{
    int fd = openat(state_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct record *r = fd < 0 ? NULL : calloc(1, sizeof(*r));

    if (r && (read(fd, r, sizeof(*r)) != (ssize_t)sizeof(*r) || r->size != sizeof(*r) || r->c.nr_ifs > NET_CONFIG_IFS ||
              r->c.nr_addrs > NET_CONFIG_ADDRS || r->c.nr_routes > NET_CONFIG_ROUTES || r->c.nr_neighs > NET_CONFIG_NEIGHS)) {
        free(r);
        r = NULL;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

/* --- requests --- */

static bool is_v4(const struct in6_addr *a)
{
    return IN6_IS_ADDR_V4MAPPED(a);
}

static bool is_any(const struct in6_addr *a)
{
    return IN6_IS_ADDR_UNSPECIFIED(a) || (is_v4(a) && !a->s6_addr32[3]);
}

static void put_addr(struct nlmsghdr *h, uint16_t type, const struct in6_addr *a)
{
    mnl_attr_put(h, type, is_v4(a) ? 4 : 16, is_v4(a) ? &a->s6_addr[12] : a->s6_addr);
}

static struct nlmsghdr *begin(void *buf, uint16_t type)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

    h->nlmsg_type = type;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    return h;
}

int network_add_addr(struct mnl_socket *nl, const struct net_config_addr *a)
{
    char buf[512] __attribute__((aligned(8)));
    struct nlmsghdr *h = begin(buf, RTM_NEWADDR);
    struct ifaddrmsg *msg = mnl_nlmsg_put_extra_header(h, sizeof(*msg));

    msg->ifa_family = is_v4(&a->addr) ? AF_INET : AF_INET6;
    msg->ifa_prefixlen = a->plen;
    msg->ifa_scope = a->scope;
    msg->ifa_index = (uint32_t)a->ifindex;
    put_addr(h, IFA_LOCAL, &a->addr);
    put_addr(h, IFA_ADDRESS, &a->peer);
    if (is_v4(&a->addr) && !is_any(&a->broadcast))
        put_addr(h, IFA_BROADCAST, &a->broadcast);
    if (is_v4(&a->addr) && a->label[0])
        mnl_attr_put_strz(h, IFA_LABEL, a->label);
    mnl_attr_put_u32(h, IFA_FLAGS, a->flags & (IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN));
    return network_request(nl, h, NULL, NULL);
}

int network_add_route(struct mnl_socket *nl, const struct net_config_route *r)
{
    char buf[512] __attribute__((aligned(8)));
    struct nlmsghdr *h = begin(buf, RTM_NEWROUTE);
    struct rtmsg *msg = mnl_nlmsg_put_extra_header(h, sizeof(*msg));

    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND;
    msg->rtm_family = is_v4(&r->dst) ? AF_INET : AF_INET6;
    msg->rtm_dst_len = r->plen;
    msg->rtm_tos = r->tos;
    msg->rtm_table = r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC;
    msg->rtm_protocol = r->protocol;
    msg->rtm_scope = r->scope;
    msg->rtm_type = r->type;
    msg->rtm_flags = r->flags;
    mnl_attr_put_u32(h, RTA_TABLE, r->table);
    if (r->plen)
        put_addr(h, RTA_DST, &r->dst);
    if (!is_any(&r->gateway))
        put_addr(h, RTA_GATEWAY, &r->gateway);
    if (!is_any(&r->prefsrc))
        put_addr(h, RTA_PREFSRC, &r->prefsrc);
    if (r->ifindex)
        mnl_attr_put_u32(h, RTA_OIF, (uint32_t)r->ifindex);
    if (r->metric)
        mnl_attr_put_u32(h, RTA_PRIORITY, r->metric);
    if (r->mtu || r->advmss) {
        struct nlattr *nest = mnl_attr_nest_start(h, RTA_METRICS);

        if (r->mtu)
            mnl_attr_put_u32(h, RTAX_MTU, r->mtu);
        if (r->advmss)
            mnl_attr_put_u32(h, RTAX_ADVMSS, r->advmss);
        mnl_attr_nest_end(h, nest);
    }
    return network_request(nl, h, NULL, NULL);
}

static int add_neigh(struct mnl_socket *nl, const struct net_config_neigh *n)
{
    char buf[256] __attribute__((aligned(8)));
    struct nlmsghdr *h = begin(buf, RTM_NEWNEIGH);
    struct ndmsg *msg = mnl_nlmsg_put_extra_header(h, sizeof(*msg));

    msg->ndm_family = is_v4(&n->addr) ? AF_INET : AF_INET6;
    msg->ndm_ifindex = n->ifindex;
    msg->ndm_state = NUD_PERMANENT;
    put_addr(h, NDA_DST, &n->addr);
    mnl_attr_put(h, NDA_LLADDR, sizeof(n->mac), n->mac);
    return network_request(nl, h, NULL, NULL);
}

/* --- giving back --- */

static void complain(const char *what, const struct in6_addr *a, int r)
{
    char text[INET6_ADDRSTRLEN];

    if (r == 0 || r == -EEXIST)
        return;
    fprintf(stderr, "runsc-c: warning: network: %s %s: %s\n", what,
            is_v4(a) ? inet_ntop(AF_INET, &a->s6_addr[12], text, sizeof(text)) : inet_ntop(AF_INET6, a, text, sizeof(text)),
            strerror(-r));
}

static void give_back_here(struct mnl_socket *nl, const struct net_config *c)
{
    struct error e;
    int lock = network_lock(&e);

    if (lock < 0)
        return; /* another container has them already */
    if (c->dns_udp >= 0)
        network_undo_dns_out(nl, c);
    for (uint32_t i = 0; i < c->nr_ifs; i++)
        if (!c->ifs[i].ipv6_disabled)
            network_write_sysctl("disable_ipv6", c->ifs[i].name, "0");
    for (uint32_t i = 0; i < c->nr_addrs; i++)
        if (c->addrs[i].flags & IFA_F_PERMANENT)
            complain("address", &c->addrs[i].addr, network_add_addr(nl, &c->addrs[i]));
    /* A gateway must be reachable when its route is set: routes without one first. */
    for (int gateways = 0; gateways < 2; gateways++)
        for (uint32_t i = 0; i < c->nr_routes; i++) {
            const struct net_config_route *r = &c->routes[i];

            if (!is_any(&r->gateway) == gateways && r->protocol != RTPROT_RA)
                complain("route to", &r->dst, network_add_route(nl, r));
        }
    for (uint32_t i = 0; i < c->nr_neighs; i++)
        complain("neighbour", &c->neighs[i].addr, add_neigh(nl, &c->neighs[i]));
    close(lock);
}

void network_give_back(int state_fd)
{
    struct record *r = read_record(state_fd);
    int here = -1, there = -1;
    struct mnl_socket *nl;
    struct stat st;

    if (!r)
        return;
    there = open(r->path, O_RDONLY | O_CLOEXEC);
    if (there < 0 || fstat(there, &st) < 0 || st.st_dev != r->dev || st.st_ino != r->ino)
        goto out; /* it has gone */
    here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0 || setns(there, CLONE_NEWNET) < 0) {
        fprintf(stderr, "runsc-c: warning: network namespace %s: %s\n", r->path, strerror(errno));
        goto out;
    }
    nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
        give_back_here(nl, &r->c);
    else
        fprintf(stderr, "runsc-c: warning: netlink: %s\n", strerror(errno));
    if (nl)
        mnl_socket_close(nl);
    if (setns(here, CLONE_NEWNET) < 0)
        fprintf(stderr, "runsc-c: warning: leaving the network namespace: %s\n", strerror(errno));
out:
    if (here >= 0)
        close(here);
    if (there >= 0)
        close(there);
    free(r);
}
