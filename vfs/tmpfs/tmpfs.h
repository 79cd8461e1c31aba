/* tmpfs: files in the sandbox's memory file. Also what memfd_create(2), shared anonymous mappings and System V shm stand on. */
#ifndef VFS_TMPFS_TMPFS_H
#define VFS_TMPFS_TMPFS_H

#include "vfs/inode.h"

struct memfile;

/* `options`: "size=64m,nr_inodes=10k,mode=1777,uid=0,gid=0" as mount(2) takes them. -EINVAL for unknown ones. One reference. */
int must_check tmpfs_create(struct memfile *mf, const char *options, struct super_block **out);
/* Registers "tmpfs" and "ramfs" with mount(2). Once, at boot. */
void tmpfs_register(struct memfile *mf);

/*
 * An unnamed file of `size` zero bytes, open for reading and writing: shared anonymous memory. `name` is what maps shows, as
 * "/name (deleted)".
 */
int must_check shmem_file_create(struct memfile *mf, const char *name, uint64_t size, struct file **out);
/* memfd_create(2); `flags` MFD_*, checked by the caller (MFD_CLOEXEC is the descriptor's business). */
int must_check memfd_file_create(struct memfile *mf, const char *name, unsigned int flags, const struct vfs_caller *c,
                                 struct file **out);
/* F_ADD_SEALS, F_GET_SEALS: -EINVAL for files that are not tmpfs's. */
int file_add_seals(struct file *f, unsigned int seals);
int file_get_seals(struct file *f);

#endif
