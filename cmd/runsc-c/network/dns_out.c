/*
 * A way out for Docker's DNS server. dockerd answers for 127.0.0.11 by sockets of the container's namespace (dns.c), and asks
 * the servers outside by sockets of that namespace, too. So the host's kernel keeps the IPv4 addresses and routes of the
 * interfaces there, which the sandbox has as well, and must be kept from answering for the sandbox: policy rules let in nothing
 * but answers from port 53 to ports above what the sandbox chooses from, and everything else, ARP requests included, meets a
 * black hole. A filter on the packet sockets keeps those answers from the sandbox.
 *
 * Hosts whose kernel has no policy rules leave such a server without a way out, so that it knows the names of containers only.
 */
#include "cmd/runsc-c/network/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DNS_PORT 53
/* The namespace's own sockets have these ports; the sandbox takes them only if a program insists. */
#define PORT_MIN 61000
#define PORT_MAX 65534 /* rules take no higher one */
/* Priorities: three rules an interface, and then what had priority 0. */
#define PREF_FIRST 1
#define PREF_LOCAL (PREF_FIRST + 3 * NET_CONFIG_IFS)

/* Adds or deletes one. Without an interface: to the local table. `proto`: answers of that protocol, 0: everything. */
static int change_rule(struct mnl_socket *nl, bool add, uint32_t pref, const char *ifname, uint8_t proto)
{
    const struct fib_rule_port_range from = {DNS_PORT, DNS_PORT}, to = {PORT_MIN, PORT_MAX};
    char buf[512] __attribute__((aligned(8)));
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    struct fib_rule_hdr *rule;
    bool hole = ifname && !proto;

    h->nlmsg_type = add ? RTM_NEWRULE : RTM_DELRULE;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0);
    rule = mnl_nlmsg_put_extra_header(h, sizeof(*rule));
    rule->family = AF_INET;
    rule->action = hole ? FR_ACT_BLACKHOLE : FR_ACT_TO_TBL;
    rule->table = hole ? RT_TABLE_UNSPEC : RT_TABLE_LOCAL;
    mnl_attr_put_u32(h, FRA_PRIORITY, pref);
    if (ifname)
        mnl_attr_put_strz(h, FRA_IIFNAME, ifname);
    if (proto) {
        mnl_attr_put_u8(h, FRA_IP_PROTO, proto);
        mnl_attr_put(h, FRA_SPORT_RANGE, sizeof(from), &from);
        mnl_attr_put(h, FRA_DPORT_RANGE, sizeof(to), &to);
    }
    return network_request(nl, h, NULL, NULL);
}

static int change_rules(struct mnl_socket *nl, bool add, const struct net_config *c)
{
    int r = 0;

    for (uint32_t i = 0; i < c->nr_ifs; i++) {
        static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP, 0};

        for (uint32_t p = 0; p < 3; p++) {
            int err = change_rule(nl, add, PREF_FIRST + i * 3 + p, c->ifs[i].name, protos[p]);

            if (err < 0 && add)
                return err;
            r = err < 0 ? err : r;
        }
    }
    return r;
}

static void write_range(int min, int max)
{
    int fd = open(PORT_RANGE, O_WRONLY | O_CLOEXEC);

    if (fd >= 0 && dprintf(fd, "%d %d\n", min, max) < 0)
        perror(PORT_RANGE);
    if (fd >= 0)
        close(fd);
}

/* What comes from port 53 to one of the namespace's own ports is not for the sandbox. Fragments but the first have no ports,
 * and are harmless. */
static int filter_answers(int fd)
{
    struct sock_filter insns[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 11),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, ETH_HLEN + 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 8),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETH_HLEN + 6),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 6, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, ETH_HLEN),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, ETH_HLEN),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, DNS_PORT, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, ETH_HLEN + 2),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, PORT_MIN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog prog = {.len = sizeof(insns) / sizeof(*insns), .filter = insns};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

static void keep_addresses(struct mnl_socket *nl, const struct net_config *c)
{
    for (uint32_t i = 0; i < c->nr_addrs; i++)
        if (IN6_IS_ADDR_V4MAPPED(&c->addrs[i].addr))
            (void)!network_add_addr(nl, &c->addrs[i]);
    for (uint32_t i = 0; i < 2 * c->nr_routes; i++) { /* a gateway must be reachable: routes without one first */
        const struct net_config_route *route = &c->routes[i % c->nr_routes];

        if (IN6_IS_ADDR_V4MAPPED(&route->dst))
            (void)!network_add_route(nl, route);
    }
}

void network_lead_dns_out(struct mnl_socket *nl, const struct net_config *c)
{
    int r = 0;

    for (uint32_t i = 0; i < c->nr_ifs && r == 0; i++)
        r = filter_answers(c->ifs[i].fd);
    if (r == 0)
        r = change_rules(nl, true, c);
    if (r == 0)
        r = change_rule(nl, true, PREF_LOCAL, NULL, 0);
    if (r == 0)
        r = change_rule(nl, false, 0, NULL, 0);
    if (r < 0) {
        network_undo_dns_out(nl, c);
        return;
    }
    write_range(PORT_MIN, PORT_MAX);
    keep_addresses(nl, c);
}

void network_undo_dns_out(struct mnl_socket *nl, const struct net_config *c)
{
    (void)!change_rule(nl, true, 0, NULL, 0); /* is there already, if we have not deleted it */
    (void)!change_rule(nl, false, PREF_LOCAL, NULL, 0);
    (void)!change_rules(nl, false, c);
    write_range(c->port_min, c->port_max);
}
