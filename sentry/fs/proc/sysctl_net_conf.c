/*
 * /proc/sys/net/ipv4/conf and ipv6/conf: a directory for each interface, by the number of which (pseudo_key.id) its files find
 * it, and "all" and "default". The last is for interfaces to come, of which there are none: what is written there is only kept.
 */
#include "sentry/fs/proc/sysctl_net.h"

#include "netstack/nic.h"
#include "netstack/stack.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define NIC_SETTING(name_, min_, max_, field) \
    NET_NUMBERS(name_, nic_show, nic_write, min_, max_, 1, offsetof(struct nic_conf, field))
#define ALL_SETTING(name_, min_, max_, field) \
    NET_NUMBERS(name_, net_stack_show, net_stack_write, min_, max_, 1, offsetof(struct netstack_sysctl, field))
/* What the stack does, and does not do otherwise. */
#define FIXED(name_, value) SYSCTL_TEXT(name_, #value "\n")

static int nic_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct netstack *stack = n->k->net->stack;
    struct nic *nic;

    netstack_lock(stack);
    nic = nic_by_index(stack, (int)n->key.id);
    if (nic)
        net_setting_show(s, n->desc->arg, &nic->conf);
    netstack_unlock(stack);
    return nic ? 0 : -ENOENT;
}

static ssize_t nic_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    struct netstack *stack = n->k->net->stack;
    const struct net_setting *set = n->desc->arg;
    int values[3], r = net_setting_parse(set, buf, values), was;
    struct nic *nic;

    if (r < 0)
        return r;
    netstack_lock(stack);
    nic = nic_by_index(stack, (int)n->key.id);
    if (nic) {
        was = nic->conf.disable_ipv6;
        net_setting_store(set, &nic->conf, values);
        if (nic->conf.disable_ipv6 != was)
            nic_switch_ipv6(nic);
        if (nic->conf.mtu6 > (int)nic->mtu)
            nic->conf.mtu6 = (int)nic->mtu;
    }
    netstack_unlock(stack);
    return nic ? (ssize_t)len : -ENOENT;
}

static const struct pseudo_desc ipv4_nic_rows[] = {
    NIC_SETTING("accept_local", 0, 1, accept_local),
    FIXED("accept_redirects", 0),
    NIC_SETTING("accept_source_route", 0, 1, accept_source_route),
    FIXED("arp_accept", 0),
    FIXED("arp_announce", 0),
    FIXED("arp_filter", 0),
    NIC_SETTING("arp_ignore", 0, 8, arp_ignore),
    FIXED("arp_notify", 0),
    FIXED("bootp_relay", 0),
    FIXED("disable_policy", 0),
    NIC_SETTING("forwarding", 0, 1, forwarding4),
    FIXED("log_martians", 0),
    FIXED("mc_forwarding", 0),
    FIXED("promote_secondaries", 0),
    NIC_SETTING("proxy_arp", 0, 1, proxy_arp),
    FIXED("route_localnet", 0),
    NIC_SETTING("rp_filter", 0, 2, rp_filter),
    FIXED("secure_redirects", 1),
    FIXED("send_redirects", 0),
    FIXED("shared_media", 1),
    PSEUDO_END,
};

static const struct pseudo_desc ipv4_all_rows[] = {
    ALL_SETTING("accept_local", 0, 1, accept_local),
    FIXED("accept_redirects", 0),
    FIXED("accept_source_route", 0),
    FIXED("arp_announce", 0),
    FIXED("arp_ignore", 0),
    ALL_SETTING("forwarding", 0, 1, ip_forward),
    FIXED("log_martians", 0),
    FIXED("mc_forwarding", 0),
    FIXED("proxy_arp", 0),
    FIXED("route_localnet", 0),
    ALL_SETTING("rp_filter", 0, 2, rp_filter),
    FIXED("secure_redirects", 1),
    FIXED("send_redirects", 0),
    PSEUDO_END,
};

static const struct pseudo_desc ipv4_default_rows[] = {
    SYSCTL_BOOL("accept_local", 0), FIXED("accept_redirects", 0),      SYSCTL_BOOL("accept_source_route", 0),
    FIXED("arp_announce", 0),       SYSCTL_INT("arp_ignore", 0, 0, 8), SYSCTL_BOOL("forwarding", 0),
    SYSCTL_BOOL("proxy_arp", 0),    FIXED("route_localnet", 0),        SYSCTL_INT("rp_filter", 0, 0, 2),
    FIXED("secure_redirects", 1),   FIXED("send_redirects", 0),        PSEUDO_END,
};

static const struct pseudo_desc ipv6_nic_rows[] = {
    FIXED("accept_dad", 1),
    NIC_SETTING("accept_ra", 0, 2, accept_ra),
    FIXED("accept_redirects", 0),
    FIXED("accept_source_route", 0),
    NIC_SETTING("autoconf", 0, 1, autoconf),
    NIC_SETTING("dad_transmits", 0, 255, dad_transmits),
    NIC_SETTING("disable_ipv6", 0, 1, disable_ipv6),
    NIC_SETTING("forwarding", 0, 1, forwarding6),
    NIC_SETTING("hop_limit", 1, 255, hop_limit),
    FIXED("mc_forwarding", 0),
    NIC_SETTING("mtu", 1280, 65536, mtu6),
    FIXED("proxy_ndp", 0),
    NIC_SETTING("router_solicitations", -1, 255, rtr_solicits),
    FIXED("use_tempaddr", 0),
    PSEUDO_END,
};

static const struct pseudo_desc ipv6_all_rows[] = {
    FIXED("accept_ra", 1),
    FIXED("accept_redirects", 0),
    ALL_SETTING("disable_ipv6", 0, 1, disable_ipv6),
    ALL_SETTING("forwarding", 0, 1, ip6_forward),
    ALL_SETTING("hop_limit", 1, 255, ip6_hop_limit),
    FIXED("mc_forwarding", 0),
    PSEUDO_END,
};

static const struct pseudo_desc ipv6_default_rows[] = {
    FIXED("accept_dad", 1),
    SYSCTL_INT("accept_ra", 1, 0, 2),
    FIXED("accept_redirects", 0),
    SYSCTL_BOOL("autoconf", 1),
    SYSCTL_INT("dad_transmits", 1, 0, 255),
    SYSCTL_BOOL("disable_ipv6", 0),
    SYSCTL_BOOL("forwarding", 0),
    SYSCTL_INT("hop_limit", 64, 1, 255),
    SYSCTL_INT("mtu", 1280, 1280, 65536),
    FIXED("use_tempaddr", 0),
    PSEUDO_END,
};

const struct pseudo_desc sysctl_ipv4_nic_dir = {.mode = S_IFDIR | 0555, .children = ipv4_nic_rows};
const struct pseudo_desc sysctl_ipv6_nic_dir = {.mode = S_IFDIR | 0555, .children = ipv6_nic_rows};

int sysctl_conf_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    struct netstack *stack = dir->k->net->stack;
    char text[IFNAMSIZ] = "";
    struct nic *nic;

    if (len >= sizeof(text))
        return -ENOENT;
    memcpy(text, name, len);
    netstack_lock(stack);
    nic = nic_by_name(stack, text);
    if (nic) {
        out->desc = dir->desc->arg;
        out->key.id = (uint64_t)nic->index;
    }
    netstack_unlock(stack);
    return nic ? 0 : -ENOENT;
}

bool sysctl_conf_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    struct netstack *stack = dir->k->net->stack;
    struct nic *nic, *best = NULL;

    netstack_lock(stack);
    list_for_each_entry(nic, &stack->nics, node) {
        if ((uint64_t)nic->index >= *pos && (!best || nic->index < best->index))
            best = nic;
    }
    if (best) {
        *pos = (uint64_t)best->index;
        out->desc = dir->desc->arg;
        out->key.id = *pos;
        snprintf(out->name, sizeof(out->name), "%s", best->name);
    }
    netstack_unlock(stack);
    return best;
}

const struct pseudo_desc sysctl_ipv4_conf_rows[] = {
    PSEUDO_DIR("all", 0555, ipv4_all_rows),
    PSEUDO_DIR("default", 0555, ipv4_default_rows),
    PSEUDO_END,
};

const struct pseudo_desc sysctl_ipv6_conf_rows[] = {
    PSEUDO_DIR("all", 0555, ipv6_all_rows),
    PSEUDO_DIR("default", 0555, ipv6_default_rows),
    PSEUDO_END,
};
