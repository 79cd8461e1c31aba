/*
 * name_to_handle_at: a handle that identifies a file. It says inode and device, which is all that programs compare handles for;
 * opening by handle is not for containers (EPERM, see open_by_handle_at in the table).
 */
#include "sentry/syscalls/sys_fs.h"

#include <string.h>

#define HANDLE_TYPE  0xfe /* no filesystem's of Linux */
#define HANDLE_BYTES 16U
#define MAX_HANDLE   128U
#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200
#endif

int64_t sys_name_to_handle_at(struct task *t, const struct syscall_args *a)
{
    struct {
        uint32_t bytes;
        int32_t type;
        uint64_t ino, dev;
    } h;
    int flags = arg_int(a, 4), mount_id;
    uint32_t room;
    struct path p;

    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID))
        return -EINVAL;
    int64_t r = path_resolve(t, arg_int(a, 0), arg_addr(a, 1),
                             (flags & AT_EMPTY_PATH) | (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW), &p);
    if (r)
        return r;
    h.type = HANDLE_TYPE;
    h.bytes = HANDLE_BYTES;
    h.ino = p.dentry->inode->ino;
    h.dev = p.dentry->sb->dev;
    mount_id = p.mnt ? p.mnt->id : 0;
    bool exportable = !(p.dentry->sb->flags & SB_KERNEL);
    path_put(&p);
    if (!exportable)
        return -EOPNOTSUPP;
    if (copy_in(t, &room, arg_addr(a, 2), sizeof(room)))
        return -EFAULT;
    if (room > MAX_HANDLE)
        return -EINVAL;
    size_t n = room < HANDLE_BYTES ? 8 : sizeof(h);
    if (copy_out(t, arg_addr(a, 3), &mount_id, sizeof(mount_id)) || copy_out(t, arg_addr(a, 2), &h, n))
        return -EFAULT;
    return room < HANDLE_BYTES ? -EOVERFLOW : 0;
}
