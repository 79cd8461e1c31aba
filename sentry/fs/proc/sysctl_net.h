/* Rows of /proc/sys/net that are in files of their own. */
#ifndef SENTRY_FS_PROC_SYSCTL_NET_H
#define SENTRY_FS_PROC_SYSCTL_NET_H

#include "sentry/fs/proc/sysctl.h"

/* Numbers that lie in some struct: up to three, at these offsets. */
struct net_setting {
    int nr, min, max;
    size_t at[3];
};

/* Shows and reads them, given where the struct is; -EINVAL: not as many numbers, or out of bounds. */
void net_setting_show(struct seq *s, const struct net_setting *set, const void *base);
int must_check net_setting_parse(const struct net_setting *set, char *buf, int values[3]);
void net_setting_store(const struct net_setting *set, void *base, const int values[3]);

/* Forwarding of a family for the whole stack: on all interfaces, and those to come. */
void net_set_forwarding(struct kernel *k, bool v6, int on);

/* sysctl_net_conf.c: net/ipv4/conf, net/ipv6/conf: the settings of each interface, found by name. */
extern const struct pseudo_desc sysctl_ipv4_conf_rows[], sysctl_ipv6_conf_rows[], sysctl_ipv4_nic_dir, sysctl_ipv6_nic_dir;
int sysctl_conf_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out);
bool sysctl_conf_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out);
#define SYSCTL_CONF_DIR(family)                                                                                        \
    {                                                                                                                  \
        .name = "conf", .mode = S_IFDIR | 0555, .children = sysctl_##family##_conf_rows, .lookup = sysctl_conf_lookup, \
        .next = sysctl_conf_next, .arg = &sysctl_##family##_nic_dir                                                    \
    }

#endif
