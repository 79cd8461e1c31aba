/* Unnamed files in the memory file: memfd_create(2) with its seals, and shared anonymous memory. */
#include "lib/memfile.h"
#include "vfs/cred.h"
#include "vfs/file_internal.h"
#include "vfs/tmpfs/tmpfs_internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC)

/* The superblock of unnamed files: one a memory file, and there is one memory file a sandbox. Made when first needed. */
static struct mutex shm_lock = MUTEX_INIT;
static struct super_block *shm_sb GUARDED_BY(shm_lock);

static struct super_block *unnamed_super(struct memfile *mf)
{
    struct super_block *sb = NULL;
    mutex_lock(&shm_lock);
    if ((!shm_sb || shm_sb->mf != mf) && tmpfs_create(mf, "size=0", &sb) == 0) {
        sb->flags |= SB_KERNEL;
        shm_sb = sb;
    }
    sb = shm_sb;
    mutex_unlock(&shm_lock);
    return sb && sb->mf == mf ? sb : NULL;
}

static int create_unnamed(struct memfile *mf, const char *name, mode_t mode, const struct vfs_caller *c, struct file **out)
{
    char full[256 + 32];
    struct super_block *sb = unnamed_super(mf);
    struct inode *inode;

    if (!sb)
        return -ENOMEM;
    int err = tmpfs_inode_create(sb, NULL, S_IFREG | mode, c, &inode);
    if (err < 0)
        return err;
    atomic_store(&inode->nlink, 0);
    snprintf(full, sizeof(full), "/%s (deleted)", name);
    return file_create_on_inode(inode, full, &tmpfs_file_ops, NULL, O_RDWR | KERNEL_O_LARGEFILE,
                                FMODE_READ | FMODE_WRITE | FMODE_LSEEK | FMODE_PSEEK, out);
}

int shmem_file_create(struct memfile *mf, const char *name, uint64_t size, struct file **out)
{
    if (size > INT64_MAX)
        return -EINVAL;
    int err = create_unnamed(mf, name, 0777, NULL, out);
    if (err == 0)
        atomic_store(&(*out)->inode->size, (long long)size);
    return err;
}

int memfd_file_create(struct memfile *mf, const char *name, unsigned int flags, const struct vfs_caller *c, struct file **out)
{
    char full[256 + 8];
    snprintf(full, sizeof(full), "memfd:%s", name);
    int err = create_unnamed(mf, full, flags & MFD_NOEXEC_SEAL ? 0666 : 0777, c, out);
    if (err < 0)
        return err;
    struct tmpfs_inode *ti = tmpfs_i((*out)->inode);
    if (flags & MFD_NOEXEC_SEAL)
        atomic_store(&ti->seals, F_SEAL_EXEC);
    else if (flags & MFD_ALLOW_SEALING)
        atomic_store(&ti->seals, 0);
    return 0;
}

int file_add_seals(struct file *f, unsigned int seals)
{
    struct inode *inode = f->inode;

    if (inode->ops != &tmpfs_file_inode_ops)
        return -EINVAL;
    if (!(f->mode & FMODE_WRITE))
        return -EPERM;
    if (seals & ~(unsigned int)ALL_SEALS)
        return -EINVAL;
    struct tmpfs_inode *ti = tmpfs_i(inode);
    int err = 0;
    mutex_lock(&inode->lock);
    unsigned int now = atomic_load(&ti->seals);
    if (now & F_SEAL_SEAL)
        err = -EPERM;
    else if (seals & F_SEAL_WRITE && !(now & F_SEAL_WRITE) && inode_mapped_writable(inode))
        err = -EBUSY;
    /* Sealing against execution of an executable file is sealing against everything (memfd_create(2)). */
    if (seals & F_SEAL_EXEC && inode->mode & 0111)
        seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    if (err == 0)
        atomic_fetch_or(&ti->seals, seals);
    mutex_unlock(&inode->lock);
    return err;
}

int file_get_seals(struct file *f)
{
    if (f->inode->ops != &tmpfs_file_inode_ops)
        return -EINVAL;
    return (int)atomic_load(&tmpfs_i(f->inode)->seals);
}
