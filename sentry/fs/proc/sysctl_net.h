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

/* A file of such numbers. */
#define NET_NUMBERS(name_, show_, write_, min_, max_, nr_, ...)                                                   \
    {                                                                                                             \
        .name = (name_), .mode = S_IFREG | 0644, .flags = PSEUDO_MODE_IS_LAW, .show = (show_), .write = (write_), \
        .arg = &(const struct net_setting)                                                                        \
        {                                                                                                         \
            .nr = (nr_), .min = (min_), .max = (max_), .at = { __VA_ARGS__ }                                      \
        }                                                                                                         \
    }

/* Those of the whole stack, in its struct netstack_sysctl. */
int net_stack_show(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c);
ssize_t net_stack_write(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos);

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
