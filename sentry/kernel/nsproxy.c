/* Mount namespaces of processes. */
#include "sentry/kernel/task_internal.h"

#include "vfs/fs_struct.h"
#include "vfs/mount.h"

int fs_unshare_mnt_ns(struct fs_struct *fs)
{
    struct mnt_namespace *ns, *copy;
    int r;

    mutex_lock(&fs->lock);
    ns = mnt_namespace_get(fs->ns);
    mutex_unlock(&fs->lock);
    r = mnt_namespace_dup(ns, fs, &copy);
    if (!r)
        mnt_namespace_put(copy); /* fs holds it now */
    mnt_namespace_put(ns);
    return r;
}
