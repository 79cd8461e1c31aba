/*
 * The common part of proc, sysfs and cgroupfs: trees that exist only as tables and functions.
 *
 * A directory is a table of `struct pseudo_desc`, one row a name, and maybe functions that find and list further names (pids,
 * descriptors, CPUs). An inode is made when the path walk asks for it: its `struct pseudo_node` says which row it stands for
 * and carries the key that the dynamic directory above it chose, which all nodes below inherit (the pid, for instance). A node
 * holds no reference on what it shows; `sync` tells whether that still exists, and refreshes owner and mode, each time a walk
 * passes.
 *
 * Text is made whole, by one call of `show`, when a file is first read and again when it is read from offset 0; reads at other
 * offsets go on in the same text, so that a reader sees one consistent picture (as Linux's seq_file does for small files).
 *
 * Locks: a text file's own mutex is held while `show` runs; it comes before tasks_lock, mm->lock and VFS locks.
 */
#ifndef SENTRY_FS_PSEUDOFS_H
#define SENTRY_FS_PSEUDOFS_H

#include "lib/compiler.h"
#include "vfs/inode.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cred;
struct kernel;
struct pseudo_desc;
struct pseudo_node;

/* Text being built. Adding never fails visibly: when memory runs out `failed` is set and read(2) answers -ENOMEM. */
struct seq {
    char *buf;
    size_t len, cap;
    bool failed;
    void *state; /* what the file's `open` left */
};

void seq_printf(struct seq *s, const char *fmt, ...) printf_like(2, 3);
void seq_puts(struct seq *s, const char *str);
void seq_putc(struct seq *s, char ch);
void seq_write(struct seq *s, const void *data, size_t n);
/* `str` with each character of `special` as a backslash and three octal digits, as mount tables show names. */
void seq_escape(struct seq *s, const char *str, const char *special);
/* Pads with blanks until the text that begins at `from` is `width` long. */
void seq_pad(struct seq *s, size_t from, size_t width);

/* Identifies what a dynamic part of the tree shows. Meanings are the directory's own; equal keys mean the same thing. */
struct pseudo_key {
    uint64_t id, generation; /* proc: tid and start time; sysfs: CPU number */
    int64_t sub;             /* proc: descriptor number */
};

struct pseudo_node {
    const struct pseudo_desc *desc;
    struct kernel *k;
    struct pseudo_key key;
    /* As in struct pseudo_desc, but inherited from the directory when the row has none. */
    int (*sync)(const struct pseudo_node *n, struct inode *inode);
};

/* What a dynamic directory answers with. */
struct pseudo_child {
    const struct pseudo_desc *desc;
    struct pseudo_key key;
    char name[32];
};

struct pseudo_desc {
    const char *name; /* NULL in a row for dynamic children, and in the row that ends a table */
    mode_t mode;      /* type and permissions */
    unsigned int flags;

    /* Directories: the table, which ends with a row without name and mode. */
    const struct pseudo_desc *children;
    /* Directories: finds a name that is not in the table. -ENOENT. `out->name` need not be set. */
    int (*lookup)(const struct pseudo_node *dir, const char *name, size_t len, struct pseudo_child *out);
    /* Directories: the first dynamic child at or after *pos (from 0 on); sets *pos to its own position. False: no more. */
    bool (*next)(const struct pseudo_node *dir, uint64_t *pos, struct pseudo_child *out);

    /* Files. */
    int (*show)(struct seq *s, const struct pseudo_node *n, const struct vfs_caller *c);
    /* `buf` has `len` bytes (at most PSEUDO_WRITE_MAX) and a terminating NUL. The bytes consumed or -errno. */
    ssize_t (*write)(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len, loff_t pos);
    /* May refuse an open, or leave something for `show` in *state that `close` frees. */
    int (*open)(const struct pseudo_node *n, const struct vfs_caller *c, void **state);
    void (*close)(void *state);
    /* Files: -ENOTTY for unknown commands; `state` is what `open` left. */
    long (*ioctl)(void *state, const struct vfs_caller *c, unsigned int cmd, guest_addr arg);
    /* Files that are not text: sets f->ops and f->priv itself. */
    int (*open_raw)(const struct pseudo_node *n, struct file *f, const struct vfs_caller *c);

    /* Symlinks: the target, not terminated; and for magic ones the place itself. */
    ssize_t (*readlink)(const struct pseudo_node *n, const struct vfs_caller *c, char *buf, size_t len);
    int (*get_link)(const struct pseudo_node *n, const struct vfs_caller *c, struct path *out);

    /* Any: 0 while what it shows exists (and `inode`'s owner and mode are up to date), else -ENOENT. NULL: the directory's. */
    int (*sync)(const struct pseudo_node *n, struct inode *inode);

    /* Any: asked when owner and mode forbid access: 0 to allow it all the same. */
    int (*permission)(const struct pseudo_node *n, const struct cred *cred);

    const void *arg;  /* the row's own: lets rows share functions */
    const char *text; /* symlinks: a fixed target; files: fixed contents, when there is no function */
    uint64_t ino;     /* 0: derived from row and key */
};

enum pseudo_flags {
    PSEUDO_MODE_IS_LAW = 1, /* capabilities do not override the permission bits (sysctl, sysfs) */
    PSEUDO_OWNER_KEPT = 2,  /* for `sync`: the owner is root whatever the key says */
    PSEUDO_POLLED = 4,      /* may be waited for; in proc, files of a process that lack this cannot be put into epoll sets */
};

#define PSEUDO_WRITE_MAX 16384

#define PSEUDO_DIR(name_, mode_, children_)                                 \
    {                                                                       \
        .name = (name_), .mode = S_IFDIR | (mode_), .children = (children_) \
    }
#define PSEUDO_FILE(name_, mode_, show_)                            \
    {                                                               \
        .name = (name_), .mode = S_IFREG | (mode_), .show = (show_) \
    }
#define PSEUDO_TEXT(name_, text_)                                \
    {                                                            \
        .name = (name_), .mode = S_IFREG | 0444, .text = (text_) \
    }
#define PSEUDO_RW(name_, mode_, show_, write_)                                         \
    {                                                                                  \
        .name = (name_), .mode = S_IFREG | (mode_), .show = (show_), .write = (write_) \
    }
#define PSEUDO_LINK(name_, text_)                                \
    {                                                            \
        .name = (name_), .mode = S_IFLNK | 0777, .text = (text_) \
    }
#define PSEUDO_END   \
    {                \
        .name = NULL \
    }

/* A superblock whose root is described by `root`. 0 or -ENOMEM. */
int must_check pseudofs_create(struct kernel *k, const char *fstype, unsigned long magic, const struct pseudo_desc *root,
                               struct super_block **out);

/* For `write`: the number in buf, blanks around it allowed, within [min, max]. 0 or -EINVAL. */
int pseudo_parse_int(const char *buf, int64_t min, int64_t max, int64_t *out);
/* A decimal name without leading zeros or signs, as pids and descriptors have; -1 if it is none. */
int64_t pseudo_parse_name(const char *name, size_t len);

#endif
