/* /proc/sys/net, as far as programs read it. */
#include "sentry/fs/proc/sysctl_net.h"

#include "netstack/nic.h"
#include "netstack/stack.h"
#include "netstack/tcp.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static int *number(const struct net_setting *set, const void *base, int i)
{
    return (int *)((char *)base + set->at[i]);
}

void net_setting_show(struct seq *s, const struct net_setting *set, const void *base)
{
    for (int i = 0; i < set->nr; i++)
        seq_printf(s, "%s%d", i ? "\t" : "", __atomic_load_n(number(set, base, i), __ATOMIC_RELAXED));
    seq_putc(s, '\n');
}

int net_setting_parse(const struct net_setting *set, char *buf, int values[3])
{
    int64_t parsed[3];
    int nr = sysctl_parse(buf, parsed, set->nr);

    if (nr != set->nr)
        return -EINVAL;
    for (int i = 0; i < nr; i++) {
        if (parsed[i] < set->min || parsed[i] > set->max)
            return -EINVAL;
        values[i] = (int)parsed[i];
    }
    return 0;
}

void net_setting_store(const struct net_setting *set, void *base, const int values[3])
{
    for (int i = 0; i < set->nr; i++)
        __atomic_store_n(number(set, base, i), values[i], __ATOMIC_RELAXED);
}

/* Settings that the socket layer keeps itself, in struct net. */
static int setting_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    net_setting_show(s, n->desc->arg, n->k->net);
    return 0;
}

static ssize_t setting_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct net_setting *set = n->desc->arg;
    int values[3], r = net_setting_parse(set, buf, values);

    if (r < 0 || (set->nr == 2 && values[1] < values[0]))
        return -EINVAL;
    net_setting_store(set, n->k->net, values);
    net_settings_changed(n->k->net);
    return (ssize_t)len;
}

/* Some settings of the whole stack hold for each interface, too: on those that are there and those to come. */
static void tell_interfaces(struct netstack *stack, size_t at, int value) NETSTACK_LOCKED
{
    struct nic *nic;

    list_for_each_entry(nic, &stack->nics, node) {
        if (at == offsetof(struct netstack_sysctl, ip_forward)) {
            nic->conf.forwarding4 = value;
        } else if (at == offsetof(struct netstack_sysctl, ip6_forward)) {
            nic->conf.forwarding6 = value;
        } else if (at == offsetof(struct netstack_sysctl, disable_ipv6) && nic->conf.disable_ipv6 != value) {
            nic->conf.disable_ipv6 = value;
            nic_switch_ipv6(nic);
        }
    }
}

int net_stack_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct netstack *stack = n->k->net->stack;

    netstack_lock(stack);
    net_setting_show(s, n->desc->arg, &stack->sysctl);
    netstack_unlock(stack);
    return 0;
}

ssize_t net_stack_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct net_setting *set = n->desc->arg;
    struct netstack *stack = n->k->net->stack;
    int values[3], r = net_setting_parse(set, buf, values);

    if (r < 0)
        return r;
    netstack_lock(stack);
    net_setting_store(set, &stack->sysctl, values);
    tell_interfaces(stack, set->at[0], values[0]);
    netstack_unlock(stack);
    return (ssize_t)len;
}

/* Settings of TCP, in struct tcp_sysctl. */
static int tcp_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct netstack *stack = n->k->net->stack;

    netstack_lock(stack);
    net_setting_show(s, n->desc->arg, tcp_sysctl(stack));
    netstack_unlock(stack);
    return 0;
}

static ssize_t tcp_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct net_setting *set = n->desc->arg;
    struct netstack *stack = n->k->net->stack;
    int values[3], r = net_setting_parse(set, buf, values);

    if (r < 0)
        return r;
    netstack_lock(stack);
    net_setting_store(set, tcp_sysctl(stack), values);
    netstack_unlock(stack);
    return (ssize_t)len;
}

static int tcp_mem_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct netstack *stack = n->k->net->stack;
    long mem[3];

    netstack_lock(stack);
    memcpy(mem, tcp_sysctl(stack)->mem, sizeof(mem));
    netstack_unlock(stack);
    seq_printf(s, "%ld\t%ld\t%ld\n", mem[0], mem[1], mem[2]);
    return 0;
}

static int congestion_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    struct netstack *stack = n->k->net->stack;

    netstack_lock(stack);
    seq_printf(s, "%s\n", tcp_sysctl(stack)->congestion);
    netstack_unlock(stack);
    return 0;
}

/* What new sockets start with. */
static ssize_t congestion_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    struct netstack *stack = n->k->net->stack;

    buf[strcspn(buf, " \t\n")] = 0;
    if (strcmp(buf, "cubic") != 0 && strcmp(buf, "reno") != 0)
        return -ENOENT;
    netstack_lock(stack);
    strcpy(tcp_sysctl(stack)->congestion, buf);
    netstack_unlock(stack);
    return (ssize_t)len;
}

#define STACK_AT(field) offsetof(struct netstack_sysctl, field)
#define STACK_SETTING(name_, min_, max_, nr_, ...) \
    NET_NUMBERS(name_, net_stack_show, net_stack_write, min_, max_, nr_, __VA_ARGS__)
#define NET_SETTING(name_, min_, max_, nr_, ...) NET_NUMBERS(name_, setting_show, setting_write, min_, max_, nr_, __VA_ARGS__)
#define TCP_SETTING(name_, min_, max_, field) \
    NET_NUMBERS("tcp_" name_, tcp_show, tcp_write, min_, max_, 1, offsetof(struct tcp_sysctl, field))
#define TCP_THREE(name_, field)                                                                         \
    NET_NUMBERS("tcp_" name_, tcp_show, tcp_write, 1, INT32_MAX, 3, offsetof(struct tcp_sysctl, field), \
                offsetof(struct tcp_sysctl, field) + sizeof(int), offsetof(struct tcp_sysctl, field) + 2 * sizeof(int))

static const struct pseudo_desc core_rows[] = {
    SYSCTL_INT("message_burst", 10, 0, INT32_MAX),
    SYSCTL_INT("message_cost", 5, 0, INT32_MAX),
    SYSCTL_INT("netdev_max_backlog", 1000, 0, INT32_MAX),
    SYSCTL_INT("optmem_max", 131072, 0, INT32_MAX),
    NET_SETTING("rmem_default", 2304, INT32_MAX, 1, offsetof(struct net, rmem_default)),
    NET_SETTING("rmem_max", 2304, INT32_MAX, 1, offsetof(struct net, rmem_max)),
    NET_SETTING("somaxconn", 0, INT32_MAX, 1, offsetof(struct net, somaxconn)),
    NET_SETTING("wmem_default", 4608, INT32_MAX, 1, offsetof(struct net, wmem_default)),
    NET_SETTING("wmem_max", 4608, INT32_MAX, 1, offsetof(struct net, wmem_max)),
    PSEUDO_END,
};

static const struct pseudo_desc ipv4_route_rows[] = {
    STACK_SETTING("min_pmtu", 68, 65535, 1, STACK_AT(min_pmtu)),
    STACK_SETTING("mtu_expires", 0, INT32_MAX, 1, STACK_AT(mtu_expires)),
    PSEUDO_END,
};

static const struct pseudo_desc ipv4_rows[] = {
    SYSCTL_CONF_DIR(ipv4),
    STACK_SETTING("icmp_echo_ignore_all", 0, 1, 1, STACK_AT(icmp_echo_ignore_all)),
    STACK_SETTING("icmp_echo_ignore_broadcasts", 0, 1, 1, STACK_AT(icmp_echo_ignore_broadcasts)),
    SYSCTL_TEXT("icmp_errors_use_inbound_ifaddr", "0\n"),
    SYSCTL_TEXT("icmp_ignore_bogus_error_responses", "1\n"),
    STACK_SETTING("icmp_msgs_per_sec", 0, INT32_MAX, 1, STACK_AT(icmp_msgs_per_sec)),
    STACK_SETTING("icmp_ratelimit", 0, INT32_MAX, 1, STACK_AT(icmp_ratelimit)),
    SYSCTL_TEXT("icmp_ratemask", "6168\n"),
    STACK_SETTING("igmp_max_memberships", 0, INT32_MAX, 1, STACK_AT(igmp_max_memberships)),
    STACK_SETTING("igmp_max_msf", 0, INT32_MAX, 1, STACK_AT(igmp_max_msf)),
    STACK_SETTING("ip_default_ttl", 1, 255, 1, STACK_AT(ip_default_ttl)),
    STACK_SETTING("ip_forward", 0, 1, 1, STACK_AT(ip_forward)),
    NET_SETTING("ip_local_port_range", 1, 65535, 2, offsetof(struct net, port_min), offsetof(struct net, port_max)),
    SYSCTL_TEXT("ip_local_reserved_ports", "\n"),
    SYSCTL_TEXT("ip_no_pmtu_disc", "0\n"),
    STACK_SETTING("ip_nonlocal_bind", 0, 1, 1, STACK_AT(ip_nonlocal_bind)),
    NET_SETTING("ip_unprivileged_port_start", 0, 65535, 1, offsetof(struct net, unprivileged_port)),
    STACK_SETTING("ipfrag_high_thresh", 0, INT32_MAX, 1, STACK_AT(ipfrag_high_thresh)),
    STACK_SETTING("ipfrag_time", 0, INT32_MAX, 1, STACK_AT(ipfrag_time)),
    STACK_SETTING("ping_group_range", 0, INT32_MAX, 2, STACK_AT(ping_group_min), STACK_AT(ping_group_max)),
    PSEUDO_DIR("route", 0555, ipv4_route_rows),
    TCP_SETTING("abort_on_overflow", 0, 1, abort_on_overflow),
    TCP_SETTING("adv_win_scale", -31, 31, adv_win_scale),
    SYSCTL_TEXT("tcp_allowed_congestion_control", "reno cubic\n"),
    SYSCTL_TEXT("tcp_available_congestion_control", "reno cubic\n"),
    TCP_SETTING("base_mss", 88, 65535, base_mss),
    TCP_SETTING("challenge_ack_limit", 0, INT32_MAX, challenge_ack_limit),
    SYSCTL_ROW("tcp_congestion_control", 0644, congestion_show, congestion_write),
    TCP_SETTING("dsack", 0, 1, dsack),
    TCP_SETTING("early_retrans", 0, 4, early_retrans),
    TCP_SETTING("ecn", 0, 2, ecn),
    SYSCTL_TEXT("tcp_fastopen", "0\n"),
    TCP_SETTING("fin_timeout", 1, INT32_MAX, fin_timeout),
    TCP_SETTING("frto", 0, 2, frto),
    TCP_SETTING("invalid_ratelimit", 0, INT32_MAX, invalid_ratelimit),
    TCP_SETTING("keepalive_intvl", 1, INT32_MAX, keepalive_intvl),
    TCP_SETTING("keepalive_probes", 0, 255, keepalive_probes),
    TCP_SETTING("keepalive_time", 1, INT32_MAX, keepalive_time),
    TCP_SETTING("limit_output_bytes", 0, INT32_MAX, limit_output_bytes),
    TCP_SETTING("max_orphans", 0, INT32_MAX, max_orphans),
    TCP_SETTING("max_reordering", 3, INT32_MAX, max_reordering),
    TCP_SETTING("max_syn_backlog", 0, INT32_MAX, max_syn_backlog),
    TCP_SETTING("max_tw_buckets", 0, INT32_MAX, max_tw_buckets),
    {.name = "tcp_mem", .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .show = tcp_mem_show},
    TCP_SETTING("min_snd_mss", 48, 65535, min_snd_mss),
    TCP_SETTING("moderate_rcvbuf", 0, 1, moderate_rcvbuf),
    SYSCTL_TEXT("tcp_mtu_probing", "0\n"),
    SYSCTL_TEXT("tcp_no_metrics_save", "1\n"),
    TCP_SETTING("notsent_lowat", -1, INT32_MAX, notsent_lowat),
    TCP_SETTING("orphan_retries", 0, 255, orphan_retries),
    TCP_SETTING("recovery", 0, 7, recovery),
    TCP_SETTING("reordering", 3, 300, reordering),
    TCP_SETTING("retries1", 0, 255, retries1),
    TCP_SETTING("retries2", 0, INT32_MAX, retries2),
    TCP_SETTING("rfc1337", 0, 1, rfc1337),
    TCP_THREE("rmem", rmem),
    TCP_SETTING("sack", 0, 1, sack),
    TCP_SETTING("slow_start_after_idle", 0, 1, slow_start_after_idle),
    TCP_SETTING("stdurg", 0, 1, stdurg),
    TCP_SETTING("syn_retries", 1, 127, syn_retries),
    TCP_SETTING("synack_retries", 0, 255, synack_retries),
    TCP_SETTING("syncookies", 0, 2, syncookies),
    TCP_SETTING("thin_linear_timeouts", 0, 1, thin_linear_timeouts),
    TCP_SETTING("timestamps", 0, 2, timestamps),
    TCP_SETTING("tw_reuse", 0, 2, tw_reuse),
    TCP_SETTING("window_scaling", 0, 1, window_scaling),
    TCP_THREE("wmem", wmem),
    SYSCTL_TEXT("udp_mem", "189000\t252000\t378000\n"),
    SYSCTL_TEXT("udp_rmem_min", "4096\n"),
    SYSCTL_TEXT("udp_wmem_min", "4096\n"),
    PSEUDO_END,
};

static const struct pseudo_desc ipv6_rows[] = {
    STACK_SETTING("bindv6only", 0, 1, 1, STACK_AT(bindv6only)),
    SYSCTL_CONF_DIR(ipv6),
    STACK_SETTING("ip6frag_time", 0, INT32_MAX, 1, STACK_AT(ip6frag_time)),
    STACK_SETTING("ip_nonlocal_bind", 0, 1, 1, STACK_AT(ip_nonlocal_bind)),
    PSEUDO_END,
};

static const struct pseudo_desc unix_rows[] = {
    NET_SETTING("max_dgram_qlen", 0, INT32_MAX, 1, offsetof(struct net, unix_max_dgram)),
    PSEUDO_END,
};

const struct pseudo_desc sysctl_net_rows[] = {
    PSEUDO_DIR("core", 0555, core_rows),
    PSEUDO_DIR("ipv4", 0555, ipv4_rows),
    PSEUDO_DIR("ipv6", 0555, ipv6_rows),
    PSEUDO_DIR("unix", 0555, unix_rows),
    PSEUDO_END,
};
