/*
 * mount, umount2, pivot_root. The descriptor-based mount calls (fsopen, move_mount...) are not served: programs fall back to
 * these.
 */
#include "sentry/syscalls/sys_fs.h"
#include "vfs/fs_struct.h"
#include "vfs/fs_type.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

/* The old magic number that mount(2) lets programs put into the flags. */
#define MGC_VAL 0xc0ed0000UL
#define MGC_MSK 0xffff0000UL

#define PROPAGATION (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)
/* Those that belong to a mount, as opposed to a file system. */
#define MNT_FLAGS   (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME)
#define OPTIONS_MAX 4096

/* A string argument that may be NULL. */
static int get_string(struct task *t, guest_addr at, char *buf, size_t len)
{
    ssize_t n;

    buf[0] = 0;
    if (guest_is_null(at))
        return 0;
    n = copy_str_in(t, buf, at, len);
    return n == -ENAMETOOLONG ? -EINVAL : n < 0 ? (int)n : 0;
}

static int mount_new(struct task *t, const char *fstype, const char *source, const struct path *at, unsigned long flags,
                     guest_addr data)
{
    const struct fs_type *type = fs_type_find(fstype);
    struct super_block *sb;
    char *options;
    int r;

    if (!type)
        return -ENODEV;
    options = malloc(OPTIONS_MAX);
    if (!options)
        return -ENOMEM;
    r = get_string(t, data, options, OPTIONS_MAX);
    if (r == 0)
        r = type->create(type, task_caller(t), source, options, &sb);
    free(options);
    if (r)
        return r;
    r = mount_attach(sb, sb->root, at, source, flags & MNT_FLAGS);
    super_put(sb);
    return r;
}

/* Binds or moves what `source` names to `at`. */
static int mount_from(struct task *t, const char *source, const struct path *at, unsigned long flags)
{
    struct path from;
    int r = vfs_lookup(task_caller(t), NULL, source, LOOKUP_FOLLOW, 0, &from);

    if (r)
        return r;
    r = flags & MS_MOVE ? mount_move(&from, at) : mount_bind(&from, at, flags & MS_REC, flags & MNT_FLAGS);
    path_put(&from);
    return r;
}

int64_t sys_mount(struct task *t, const struct syscall_args *a)
{
    unsigned long flags = a->v[3];
    char source[PATH_MAX], fstype[64];
    struct path at;
    int r;

    if ((flags & MGC_MSK) == MGC_VAL)
        flags &= ~MGC_MSK;
    r = get_string(t, arg_addr(a, 2), fstype, sizeof(fstype));
    if (r == 0)
        r = get_string(t, arg_addr(a, 0), source, sizeof(source));
    if (r == 0)
        r = path_resolve(t, AT_FDCWD, arg_addr(a, 1), 0, &at);
    if (r)
        return r;
    if (!cred_has_cap(t->cred, CAP_SYS_ADMIN))
        r = -EPERM;
    else if (flags & MS_REMOUNT)
        r = mount_remount(&at, flags & MNT_FLAGS);
    else if (flags & (MS_BIND | MS_MOVE))
        r = mount_from(t, source, &at, flags);
    else if (flags & PROPAGATION)
        r = mount_set_propagation(&at, flags & (PROPAGATION | MS_REC));
    else if (fstype[0] == 0)
        r = -EINVAL;
    else
        r = mount_new(t, fstype, source[0] ? source : "none", &at, flags, arg_addr(a, 4));
    path_put(&at);
    return r;
}

int64_t sys_umount2(struct task *t, const struct syscall_args *a)
{
    int flags = arg_int(a, 1);
    struct path at;
    int r;

    if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
        return -EINVAL;
    if (!cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if ((flags & MNT_EXPIRE) && (flags & (MNT_FORCE | MNT_DETACH)))
        return -EINVAL;
    r = path_resolve(t, AT_FDCWD, arg_addr(a, 0), flags & UMOUNT_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &at);
    if (r)
        return r;
    /* The mount goes with the last reference, which is ours. */
    r = mount_detach(&at, flags);
    path_put(&at);
    return r;
}

int64_t sys_pivot_root(struct task *t, const struct syscall_args *a)
{
    struct path new_root, put_old;
    int r;

    if (!cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -EPERM;
    r = path_resolve(t, AT_FDCWD, arg_addr(a, 0), 0, &new_root);
    if (r)
        return r;
    r = path_resolve(t, AT_FDCWD, arg_addr(a, 1), 0, &put_old);
    if (r == 0) {
        r = vfs_pivot_root(&new_root, &put_old, t->fs);
        path_put(&put_old);
    }
    path_put(&new_root);
    return r;
}
