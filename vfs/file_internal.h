/* Private to vfs/ and filesystems: making files, and what writes share. */
#ifndef VFS_FILE_INTERNAL_H
#define VFS_FILE_INTERNAL_H

#include "vfs/file.h"

#include <fcntl.h>

#define KERNEL_O_LARGEFILE 0100000 /* the x86-64 kernel's; glibc's O_LARGEFILE is 0 */

struct vfs_caller;

/* A file with one reference and nothing in it; NULL when out of memory. Freed by file_put(), in whatever state it is. */
struct file *file_alloc(int flags, unsigned int fmode);

/*
 * Before a write of `n` bytes, under inode->lock: the append position, RLIMIT_FSIZE, the largest offset, set-ID bits. Returns
 * how many bytes may be written at *pos (which it may move), 0 for none, or -errno.
 */
ssize_t generic_write_checks(struct file *f, const struct vfs_caller *c, size_t n, loff_t *pos);

/* Access time after a read of `f`, with relatime, noatime and read-only rules. */
void file_accessed(struct file *f);
void path_accessed(const struct path *p);

/* Seeks by inode size; SEEK_DATA and SEEK_HOLE as for a file without holes. */
loff_t generic_llseek(struct file *f, loff_t off, int whence);
/* Sets f->pos for lseek after checking `pos` against [0, max]. */
loff_t file_set_pos(struct file *f, loff_t pos) REQUIRES(&f->pos_lock);

/* ETXTBSY accounting. deny: the file is being executed. Both 0 or -ETXTBSY. */
int must_check inode_get_write(struct inode *inode);
void inode_put_write(struct inode *inode);

#endif
