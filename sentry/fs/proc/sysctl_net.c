/* /proc/sys/net, as far as programs read it. */
#include "sentry/fs/proc/sysctl.h"

#include "netstack/stack.h"
#include "netstack/tcp.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <stddef.h>

/* Up to three numbers: in struct net, or of the netstack, in its struct netstack_sysctl or its struct tcp_sysctl. */
struct net_setting {
    int nr, min, max;
    bool tcp;
    size_t at[3];
};

static atomic_int *setting(const struct pseudo_node *n, int i)
{
    const struct net_setting *set = n->desc->arg;

    return (atomic_int *)((char *)n->k->net + set->at[i]);
}

static int setting_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    const struct net_setting *set = n->desc->arg;

    for (int i = 0; i < set->nr; i++)
        seq_printf(s, "%s%d", i ? "\t" : "", atomic_load(setting(n, i)));
    seq_putc(s, '\n');
    return 0;
}

static ssize_t setting_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct net_setting *set = n->desc->arg;
    int64_t values[2];
    int nr = sysctl_parse(buf, values, set->nr);

    if (nr != set->nr)
        return -EINVAL;
    for (int i = 0; i < nr; i++)
        if (values[i] < set->min || values[i] > set->max || (i && values[i] < values[i - 1]))
            return -EINVAL;
    for (int i = 0; i < nr; i++)
        atomic_store(setting(n, i), (int)values[i]);
    net_settings_changed(n->k->net);
    return len;
}

/* A number of the netstack's. */
static int *stack_setting(struct netstack *stack, const struct net_setting *set, int i) NETSTACK_LOCKED
{
    return (int *)((set->tcp ? (char *)tcp_sysctl(stack) : (char *)&stack->sysctl) + set->at[i]);
}

static int stack_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    const struct net_setting *set = n->desc->arg;
    struct netstack *stack = n->k->net->stack;
    int values[3];

    netstack_lock(stack);
    for (int i = 0; i < set->nr; i++)
        values[i] = *stack_setting(stack, set, i);
    netstack_unlock(stack);
    for (int i = 0; i < set->nr; i++)
        seq_printf(s, "%s%d", i ? "\t" : "", values[i]);
    seq_putc(s, '\n');
    return 0;
}

static ssize_t stack_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos)
{
    const struct net_setting *set = n->desc->arg;
    struct netstack *stack = n->k->net->stack;
    int64_t values[3];
    int nr = sysctl_parse(buf, values, set->nr);

    if (nr != set->nr)
        return -EINVAL;
    for (int i = 0; i < nr; i++)
        if (values[i] < set->min || values[i] > set->max)
            return -EINVAL;
    netstack_lock(stack);
    for (int i = 0; i < nr; i++)
        *stack_setting(stack, set, i) = (int)values[i];
    netstack_unlock(stack);
    net_settings_changed(n->k->net);
    return len;
}

#define STACK_AT(field) offsetof(struct netstack_sysctl, field)
#define STACK_SETTING(name_, min_, max_, nr_, ...)                                                                      \
    {                                                                                                                   \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = stack_show, .write = stack_write, \
        .arg = &(const struct net_setting)                                                                              \
        {                                                                                                               \
            .nr = (nr_), .min = (min_), .max = (max_), .at = { __VA_ARGS__ }                                            \
        }                                                                                                               \
    }

#define TCP_AT(field) offsetof(struct tcp_sysctl, field)
#define TCP_SETTINGS(name_, min_, max_, nr_, ...)                                                                       \
    {                                                                                                                   \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = stack_show, .write = stack_write, \
        .arg = &(const struct net_setting)                                                                              \
        {                                                                                                               \
            .nr = (nr_), .min = (min_), .max = (max_), .tcp = true, .at = { __VA_ARGS__ }                               \
        }                                                                                                               \
    }
#define TCP_SETTING(field, min_, max_) TCP_SETTINGS("tcp_" #field, min_, max_, 1, TCP_AT(field))

#define NET_SETTING(name_, min_, max_, nr_, ...)                                                                            \
    {                                                                                                                       \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = setting_show, .write = setting_write, \
        .arg = &(const struct net_setting)                                                                                  \
        {                                                                                                                   \
            .nr = (nr_), .min = (min_), .max = (max_), .at = { __VA_ARGS__ }                                                \
        }                                                                                                                   \
    }

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

static const struct pseudo_desc ipv4_conf_if_rows[] = {
    SYSCTL_BOOL("accept_local", 0),      SYSCTL_BOOL("accept_redirects", 1), SYSCTL_BOOL("accept_source_route", 0),
    SYSCTL_INT("arp_announce", 0, 0, 2), SYSCTL_INT("arp_ignore", 0, 0, 8),  SYSCTL_BOOL("forwarding", 0),
    SYSCTL_BOOL("proxy_arp", 0),         SYSCTL_BOOL("route_localnet", 0),   SYSCTL_INT("rp_filter", 0, 0, 2),
    SYSCTL_BOOL("secure_redirects", 1),  SYSCTL_BOOL("send_redirects", 1),   PSEUDO_END,
};

static const struct pseudo_desc ipv4_conf_rows[] = {
    PSEUDO_DIR("all", 0555, ipv4_conf_if_rows),
    PSEUDO_DIR("default", 0555, ipv4_conf_if_rows),
    PSEUDO_DIR("lo", 0555, ipv4_conf_if_rows),
    PSEUDO_END,
};

static const struct pseudo_desc ipv4_rows[] = {
    PSEUDO_DIR("conf", 0555, ipv4_conf_rows),
    STACK_SETTING("icmp_echo_ignore_all", 0, 1, 1, STACK_AT(icmp_echo_ignore_all)),
    STACK_SETTING("icmp_echo_ignore_broadcasts", 0, 1, 1, STACK_AT(icmp_echo_ignore_broadcasts)),
    STACK_SETTING("ip_default_ttl", 1, 255, 1, STACK_AT(ip_default_ttl)),
    STACK_SETTING("ip_forward", 0, 1, 1, STACK_AT(ip_forward)),
    NET_SETTING("ip_local_port_range", 1, 65535, 2, offsetof(struct net, port_min), offsetof(struct net, port_max)),
    SYSCTL_TEXT("ip_local_reserved_ports", "\n"),
    SYSCTL_BOOL("ip_nonlocal_bind", 0),
    NET_SETTING("ip_unprivileged_port_start", 0, 65535, 1, offsetof(struct net, unprivileged_port)),
    STACK_SETTING("ping_group_range", 0, INT32_MAX, 2, STACK_AT(ping_group_min), STACK_AT(ping_group_max)),
    SYSCTL_TEXT("tcp_allowed_congestion_control", "reno cubic\n"),
    SYSCTL_TEXT("tcp_available_congestion_control", "reno cubic\n"),
    SYSCTL_TEXT("tcp_congestion_control", "cubic\n"),
    TCP_SETTING(ecn, 0, 2),
    SYSCTL_INT("tcp_fastopen", 0, 0, 0),
    TCP_SETTING(fin_timeout, 1, INT32_MAX),
    TCP_SETTING(keepalive_intvl, 1, INT32_MAX),
    TCP_SETTING(keepalive_probes, 0, 255),
    TCP_SETTING(keepalive_time, 1, INT32_MAX),
    TCP_SETTING(max_orphans, 0, INT32_MAX),
    TCP_SETTING(max_syn_backlog, 0, INT32_MAX),
    TCP_SETTING(max_tw_buckets, 0, INT32_MAX),
    SYSCTL_NUMBERS("tcp_mem", 0, INT64_MAX, 3, 94500, 126000, 189000),
    TCP_SETTING(moderate_rcvbuf, 0, 1),
    SYSCTL_INT("tcp_mtu_probing", 0, 0, 0),
    SYSCTL_BOOL("tcp_no_metrics_save", 0),
    TCP_SETTING(retries1, 0, 255),
    TCP_SETTING(retries2, 0, INT32_MAX),
    TCP_SETTINGS("tcp_rmem", 1, INT32_MAX, 3, TCP_AT(rmem[0]), TCP_AT(rmem[1]), TCP_AT(rmem[2])),
    TCP_SETTING(sack, 0, 1),
    TCP_SETTING(slow_start_after_idle, 0, 1),
    TCP_SETTING(syn_retries, 1, 127),
    TCP_SETTING(synack_retries, 0, 255),
    TCP_SETTING(syncookies, 0, 2),
    TCP_SETTING(timestamps, 0, 2),
    TCP_SETTING(tw_reuse, 0, 2),
    TCP_SETTING(window_scaling, 0, 1),
    TCP_SETTINGS("tcp_wmem", 1, INT32_MAX, 3, TCP_AT(wmem[0]), TCP_AT(wmem[1]), TCP_AT(wmem[2])),
    SYSCTL_NUMBERS("udp_mem", 0, INT64_MAX, 3, 189000, 252000, 378000),
    SYSCTL_INT("udp_rmem_min", 4096, 0, INT32_MAX),
    SYSCTL_INT("udp_wmem_min", 4096, 0, INT32_MAX),
    PSEUDO_END,
};

static const struct pseudo_desc ipv6_conf_if_rows[] = {
    SYSCTL_INT("accept_dad", 1, 0, 2),
    SYSCTL_INT("accept_ra", 1, 0, 2),
    SYSCTL_BOOL("disable_ipv6", 0),
    SYSCTL_BOOL("forwarding", 0),
    SYSCTL_INT("hop_limit", 64, 1, 255),
    SYSCTL_INT("mtu", 1280, 1280, INT32_MAX),
    PSEUDO_END,
};

static const struct pseudo_desc ipv6_conf_rows[] = {
    PSEUDO_DIR("all", 0555, ipv6_conf_if_rows),
    PSEUDO_DIR("default", 0555, ipv6_conf_if_rows),
    PSEUDO_DIR("lo", 0555, ipv6_conf_if_rows),
    PSEUDO_END,
};

static const struct pseudo_desc ipv6_rows[] = {
    SYSCTL_BOOL("bindv6only", 0),
    PSEUDO_DIR("conf", 0555, ipv6_conf_rows),
    SYSCTL_BOOL("ip_nonlocal_bind", 0),
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
