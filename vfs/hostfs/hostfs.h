/* hostfs: a directory tree (or one file) of the host, reached through a donated descriptor and in no other way. */
#ifndef VFS_HOSTFS_HOSTFS_H
#define VFS_HOSTFS_HOSTFS_H

#include "vfs/inode.h"

struct hostfs_options {
    bool readonly;
    /*
     * Others change the tree meanwhile: every use of a cached name asks the host again. Otherwise the tree is ours, but for
     * what somebody puts into it or takes out of it now and then (`docker cp`): which file a name stands for is asked again
     * once hostfs_expire() was called, and every few seconds; what is known of a file stands.
     */
    bool shared;
    const char *origin; /* absolute path that it has on the host, to be shown; must outlive the superblock. May be NULL */
};

/*
 * `root_fd`: an O_PATH (or other) descriptor of a directory or file, which stays the caller's. To be called before the sentry
 * locks itself in, as files are reopened through /proc/self/fd then. One reference.
 */
int must_check hostfs_create(int root_fd, const struct hostfs_options *opt, struct super_block **out);
/* Something from outside has come in: names may have changed on the host. */
void hostfs_expire(struct super_block *sb);

#endif
