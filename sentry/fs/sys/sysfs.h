/* What the files of sentry/fs/sys share. */
#ifndef SENTRY_FS_SYS_SYSFS_H
#define SENTRY_FS_SYS_SYSFS_H

#include "sentry/fs/pseudofs.h"

#define SYSFS_ATTR(name_, show_)                                                              \
    {                                                                                         \
        .name = (name_), .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .show = (show_) \
    }
#define SYSFS_TEXT(name_, text_)                                                              \
    {                                                                                         \
        .name = (name_), .mode = S_IFREG | 0444, .flags = PSEUDO_MODE_IS_LAW, .text = (text_) \
    }

/* net.c: a directory of interfaces, whose `arg` is what its children are: directories or links to these. */
extern const struct pseudo_desc sysfs_net_device, sysfs_net_link;
int sysfs_net_lookup(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out);
bool sysfs_net_next(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out);

#endif
