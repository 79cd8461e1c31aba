/*
 * Open file descriptions. A `struct file` is what open(2), pipe(2), socket(2)... make and what descriptors point at.
 *
 * Nothing here ever blocks the calling thread for the guest: an operation that cannot proceed returns -EAGAIN, and the
 * system-call layer waits on file->wq and tries again unless the file is O_NONBLOCK (sentry/kernel/wait.h). A file with
 * wq == NULL is always ready.
 */
#ifndef VFS_FILE_H
#define VFS_FILE_H

#include "lib/list.h"
#include "lib/lock.h"
#include "lib/refcount.h"
#include "lib/waitq.h"
#include "vfs/uaccess.h"

#include <stdatomic.h>
#include <sys/stat.h>

struct dentry;
struct file;
struct inode;
struct memfile;
struct mount;

/* A place in the mount tree. Holds a reference on both unless said otherwise. */
struct path {
    struct mount *mnt;
    struct dentry *dentry;
};

/* What getdents and the overlay's merge read directories with. */
struct dir_context {
    loff_t pos; /* where to go on; opaque to all but the filesystem; 0 is the start */
    /* Takes one entry, whose successor is at `next`. False: it did not fit, stop without it. `type` is DT_*. */
    bool (*emit)(struct dir_context *dc, const char *name, size_t len, uint64_t ino, unsigned int type, loff_t next);
};

/* A piece of a file that can be mapped: `len` bytes at `offset` of host descriptor `fd`. */
struct mmap_extent {
    int fd;
    uint64_t offset, len;
    struct memfile *mf; /* if not NULL, fd is this memory file's, and a reference on the range was taken for the caller */
};

struct file_ops {
    /*
     * Read or write at *pos and advance it. For streams (no FMODE_PSEEK) `pos` is to be ignored. Return bytes, 0 at end of
     * file, or -errno. A write to O_APPEND files goes to the end and moves *pos there; the operation itself is atomic about it.
     */
    ssize_t (*read)(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos);
    ssize_t (*write)(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos);
    uint32_t (*poll)(struct file *f); /* POLL* that hold now; NULL: POLLIN | POLLOUT */
    /* -ENOTTY for unknown commands. Common ones (FIONBIO, FIOCLEX...) are served before this is called. */
    long (*ioctl)(struct file *f, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
    int (*iterate)(struct file *f, const struct vfs_caller *c, struct dir_context *dc);
    loff_t (*llseek)(struct file *f, loff_t off, int whence); /* NULL: generic by inode size, or -ESPIPE without FMODE_LSEEK */
    int (*fsync)(struct file *f, bool datasync);
    int (*fallocate)(struct file *f, const struct vfs_caller *c, int mode, loff_t off, loff_t len);
    /* Asked once at mmap(2): may refuse (-ENODEV, -EACCES, -EPERM for seals). NULL: -ENODEV. 1: fine, but mprotect(2) may never
     * make it writable (a sealed file). */
    int (*mmap)(struct file *f, int prot, bool shared, uint64_t off, uint64_t len);
    /*
     * Finds what backs [off, off+len), whose `off` is page aligned, for `access` (a PROT_* mask; PROT_WRITE only for shared
     * writable mappings). The extent covers at least one page and may be shorter than asked. Beyond the end of file: -ENXIO
     * (SIGBUS).
     */
    int (*map_extent)(struct file *f, uint64_t off, uint64_t len, int access, struct mmap_extent *out);
    int (*set_flags)(struct file *f,
                     int flags); /* asked before fcntl(F_SETFL) changes O_NONBLOCK, O_APPEND, O_DIRECT, O_ASYNC; NULL: fine */
    /* How long a blocking read(2) or write(2) may wait, in ns; INT64_MAX: for ever (SO_RCVTIMEO, SO_SNDTIMEO). Then -EAGAIN;
     * with a limit, a signal means -EINTR instead of -ERESTARTSYS. NULL: for ever. */
    int64_t (*timeout)(struct file *f, bool writing);
    int (*flush)(struct file *f, const struct vfs_caller *c);   /* each close(2) of a descriptor */
    void (*release)(struct file *f);                            /* last reference gone; frees f->priv */
    void (*show_fdinfo)(struct file *f, char *buf, size_t len); /* extra lines of /proc/PID/fdinfo/N */
};

enum fmode {
    FMODE_READ = 1,
    FMODE_WRITE = 2,
    FMODE_LSEEK = 4,        /* has a position */
    FMODE_PSEEK = 8,        /* pread and pwrite work */
    FMODE_PATH = 16,        /* O_PATH */
    FMODE_EXEC = 32,        /* opened for execve */
    FMODE_NOWAIT_HOST = 64, /* host descriptor behind it may block: the syscall layer must check poll first */
    FMODE_STREAM = 128,     /* pipes and stream sockets: a blocking write(2) goes on after a short count until all is
                             * written, and -EPIPE raises SIGPIPE */
    FMODE_MMAP_ANON = 256,  /* mapping it is anonymous memory (/dev/zero): mmap(2) sets MAP_ANONYMOUS and forgets the file */
};

struct file {
    struct refcount ref;
    const struct file_ops *ops;
    struct path path;      /* both NULL only while being built */
    struct inode *inode;   /* == path.dentry->inode at open time; referenced */
    unsigned int mode;     /* FMODE_*; immutable after open */
    bool created;          /* open(2) made the file: F_CREATED_QUERY */
    bool counts_write;     /* holds one of inode->write_count */
    atomic_int flags;      /* O_* as F_GETFL shows them */
    struct mutex pos_lock; /* held by read/write/lseek/getdents that use pos */
    loff_t pos GUARDED_BY(pos_lock);
    struct waitq *wq;  /* set by open, immutable afterwards; outlives the file's use */
    struct mutex lock; /* guards owner and epitems */
    struct {
        int type;    /* F_OWNER_* */
        int32_t pid; /* 0: none */
        int signo;   /* F_SETSIG; 0: SIGIO */
        uid_t uid, euid;
    } owner GUARDED_BY(lock);
    struct list_head epitems GUARDED_BY(lock); /* epoll registrations of this file */
    struct fasync *fasync;                     /* O_ASYNC: the system-call layer's; set once, under lock */
    void *priv;                                /* the ops' own */
};

/* Who unregisters a file that is being closed from epoll; called when f->epitems is not empty. At boot. */
void file_epoll_register(void (*fn)(struct file *f));
/* The same for O_ASYNC; called when f->fasync is set. At boot. */
void file_fasync_register(void (*fn)(struct file *f));

struct file *file_get(struct file *f);
void file_put(struct file *f);
uint32_t file_poll(struct file *f);

/*
 * A file on an anonymous inode, as eventfd(2), epoll_create(2)... make: `name` is what /proc/PID/fd shows
 * ("anon_inode:[name]"). Returns it with one reference, or -ENOMEM. On success the file owns `priv` through ops->release.
 */
int must_check file_create_anon(const char *name, const struct file_ops *ops, void *priv, int flags, unsigned int fmode,
                                struct file **out);

/*
 * The same on an inode of the caller's (pipe:[n], socket:[n], memfd), whose reference it consumes even on failure. The dentry
 * gets `name`.
 */
int must_check file_create_on_inode(struct inode *inode, const char *name, const struct file_ops *ops, void *priv, int flags,
                                    unsigned int fmode, struct file **out);

/*
 * What read(2) and write(2) do below the descriptor: mode checks, the operation, access time, set-ID clearing, inotify. `pos`
 * is the caller's; the append position and RLIMIT_FSIZE are handled.
 */
ssize_t vfs_read(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos);
ssize_t vfs_write(struct file *f, const struct vfs_caller *c, struct uio *uio, loff_t *pos);
loff_t vfs_llseek(struct file *f, loff_t off, int whence); /* takes pos_lock */
int vfs_fsync(struct file *f, bool datasync);
int vfs_fallocate(struct file *f, const struct vfs_caller *c, int mode, loff_t off, loff_t len);
int vfs_iterate(struct file *f, const struct vfs_caller *c, struct dir_context *dc); /* dc->pos is the caller's */

/* Reads or writes host memory at *pos, for the sentry's own use (exec, coredump, tests). Bytes or -errno. */
ssize_t file_read_host(struct file *f, const struct vfs_caller *c, void *buf, size_t n, loff_t *pos);
ssize_t file_write_host(struct file *f, const struct vfs_caller *c, const void *buf, size_t n, loff_t *pos);

#endif
