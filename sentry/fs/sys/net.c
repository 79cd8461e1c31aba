/*
 * /sys/class/net and /sys/devices/virtual/net: the interfaces. key.id is an interface's index, key.generation stands for its
 * name: one that is renamed is no longer found by the old one.
 */
#include "sentry/fs/sys/sysfs.h"

#include "sentry/kernel/kernel.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static bool device_of(const struct pseudo_node *n, struct net_device *d)
{
    return net_device_from(n->k->net, (int)n->key.id, d) && d->index == (int)n->key.id;
}

static uint64_t hash_name(const char *name)
{
    uint64_t h = 0xcbf29ce484222325; /* FNV-1a */

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 0x100000001b3;
    return h;
}

#define DEVICE_ATTR(name_, ...)                                                              \
    static int name_(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c) \
    {                                                                                        \
        struct net_device d;                                                                 \
                                                                                             \
        if (!device_of(n, &d))                                                               \
            return -ENODEV;                                                                  \
        seq_printf(s, __VA_ARGS__);                                                          \
        return 0;                                                                            \
    }

#define IS_LO(d)  ((d).flags & IFF_LOOPBACK)
#define FLAGS(d)  ((d).flags & ~(unsigned int)IFF_RUNNING & 0xffff)
#define MAC(m)    (m)[0], (m)[1], (m)[2], (m)[3], (m)[4], (m)[5]
#define MAC_FMT   "%02x:%02x:%02x:%02x:%02x:%02x\n"
#define BROADCAST (IS_LO(d) ? 0 : 0xff)

DEVICE_ATTR(show_address, MAC_FMT, MAC(d.mac))
DEVICE_ATTR(show_broadcast, MAC_FMT, BROADCAST, BROADCAST, BROADCAST, BROADCAST, BROADCAST, BROADCAST)
DEVICE_ATTR(show_carrier, "%d\n", d.carrier &&d.flags &IFF_UP)
DEVICE_ATTR(show_flags, "%#x\n", FLAGS(d))
DEVICE_ATTR(show_ifindex, "%d\n", d.index)
DEVICE_ATTR(show_mtu, "%u\n", d.mtu)
DEVICE_ATTR(show_operstate, "%s\n", IS_LO(d) ? "unknown" : d.carrier &&d.flags &IFF_UP ? "up" : "down")
DEVICE_ATTR(show_tx_queue_len, "%u\n", d.tx_queue_len)
DEVICE_ATTR(show_type, "%u\n", d.type)
DEVICE_ATTR(show_uevent, "INTERFACE=%s\nIFINDEX=%d\n", d.name, d.index)

static int show_statistic(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c)
{
    const size_t *offset = n->desc->arg;
    struct net_device d;

    if (!device_of(n, &d))
        return -ENODEV;
    seq_printf(s, "%llu\n", *(const unsigned long long *)((const char *)&d.stats + *offset));
    return 0;
}

#define STATISTIC(name_)                                                                                                    \
    {                                                                                                                       \
        .name = #name_, .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .show = show_statistic, .arg = &(const size_t) \
        {                                                                                                                   \
            offsetof(struct rtnl_link_stats64, name_)                                                                       \
        }                                                                                                                   \
    }

static const struct pseudo_desc statistics_rows[] = {
    STATISTIC(collisions), STATISTIC(multicast),  STATISTIC(rx_bytes), STATISTIC(rx_dropped),
    STATISTIC(rx_errors),  STATISTIC(rx_packets), STATISTIC(tx_bytes), STATISTIC(tx_dropped),
    STATISTIC(tx_errors),  STATISTIC(tx_packets), PSEUDO_END,
};

static const struct pseudo_desc device_rows[] = {
    SYSFS_TEXT("addr_assign_type", "0\n"),
    SYSFS_TEXT("addr_len", "6\n"),
    SYSFS_ATTR("address", show_address),
    SYSFS_ATTR("broadcast", show_broadcast),
    SYSFS_ATTR("carrier", show_carrier),
    SYSFS_TEXT("dev_id", "0x0\n"),
    SYSFS_TEXT("dormant", "0\n"),
    SYSFS_ATTR("flags", show_flags),
    SYSFS_ATTR("ifindex", show_ifindex),
    SYSFS_ATTR("iflink", show_ifindex),
    SYSFS_TEXT("link_mode", "0\n"),
    SYSFS_ATTR("mtu", show_mtu),
    SYSFS_ATTR("operstate", show_operstate),
    PSEUDO_DIR("statistics", 0755, statistics_rows),
    SYSFS_ATTR("tx_queue_len", show_tx_queue_len),
    SYSFS_ATTR("type", show_type),
    SYSFS_ATTR("uevent", show_uevent),
    PSEUDO_END,
};

static int device_sync(const struct pseudo_node *n, struct inode *inode)
{
    struct net_device d;

    return device_of(n, &d) && hash_name(d.name) == n->key.generation ? 0 : -ENOENT;
}

static ssize_t read_class_link(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len)
{
    struct net_device d;
    int k;

    if (!device_of(n, &d))
        return -ENOENT;
    k = snprintf(buf, len, "../../devices/virtual/net/%s", d.name);
    return k < (int)len ? k : (ssize_t)len;
}

const struct pseudo_desc sysfs_net_device = {.mode = S_IFDIR | 0755, .children = device_rows, .sync = device_sync};
const struct pseudo_desc sysfs_net_link = {.mode = S_IFLNK | 0777, .readlink = read_class_link, .sync = device_sync};

/* `arg` of the directory is what its children are. */
int sysfs_net_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out)
{
    struct net_device d;

    for (int at = 0; net_device_from(dir->k->net, at, &d); at = d.index + 1) {
        if (strlen(d.name) != len || memcmp(d.name, name, len) != 0)
            continue;
        out->desc = dir->desc->arg;
        out->key.id = (uint64_t)d.index;
        out->key.generation = hash_name(d.name);
        return 0;
    }
    return -ENOENT;
}

bool sysfs_net_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out)
{
    struct net_device d;

    if (*pos > INT32_MAX || !net_device_from(dir->k->net, (int)*pos, &d))
        return false;
    *pos = (uint64_t)d.index;
    out->desc = dir->desc->arg;
    out->key.id = (uint64_t)d.index;
    out->key.generation = hash_name(d.name);
    memcpy(out->name, d.name, sizeof(d.name));
    return true;
}
