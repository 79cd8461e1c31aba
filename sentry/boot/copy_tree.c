/* "tmpcopyup": what an image has below a mount point is copied into the tmpfs on it, with owners and modes. */
#include "sentry/boot/boot_internal.h"

#include "vfs/file.h"
#include "vfs/namei.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, COPY_BYTES = 128 * 1024 };

struct names {
    struct dir_context dc;
    char *text; /* one after the other, each with its NUL */
    size_t len, size;
    bool failed;
};

static bool collect(struct dir_context *dc, const char *name, size_t len, uint64_t ino, unsigned int type, loff_t next)
{
    struct names *n = container_of(dc, struct names, dc);

    dc->pos = next;
    if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
        return true;
    if (n->len + len + 1 > n->size) {
        size_t size = n->size * 2 + len + 256;
        char *more = realloc(n->text, size);
        if (!more) {
            n->failed = true;
            return false;
        }
        n->text = more;
        n->size = size;
    }
    memcpy(n->text + n->len, name, len);
    n->text[n->len + len] = '\0';
    n->len += len + 1;
    return true;
}

static int list(struct sandbox *sb, const struct path *dir, struct names *n)
{
    struct file *f;
    size_t before;
    int r = vfs_open_path(&sb->caller, dir, O_RDONLY | O_DIRECTORY, &f);

    if (r < 0)
        return r;
    *n = (struct names){.dc = {.emit = collect}};
    do {
        before = n->len;
        r = vfs_iterate(f, &sb->caller, &n->dc);
    } while (r >= 0 && !n->failed && n->len > before);
    file_put(f);
    return n->failed ? -ENOMEM : r < 0 ? r : 0;
}

static int copy_data(struct sandbox *sb, const struct path *from, const struct path *dir, const char *name, mode_t mode)
{
    const struct open_how how = {.flags = O_WRONLY | O_CREAT | O_EXCL, .mode = mode & 0777};
    struct file *in, *out = NULL;
    char *buf = malloc(COPY_BYTES);
    loff_t rpos = 0, wpos = 0;
    int r = buf ? vfs_open_path(&sb->caller, from, O_RDONLY, &in) : -ENOMEM;

    if (r < 0) {
        free(buf);
        return r;
    }
    r = vfs_open(&sb->caller, dir, name, &how, &out);
    while (r == 0) {
        struct iovec iov = {buf, COPY_BYTES};
        struct uio uio;
        ssize_t n;

        uio_init_host(&uio, &iov, 1);
        n = vfs_read(in, &sb->caller, &uio, &rpos);
        if (n <= 0) {
            r = (int)n;
            break;
        }
        iov = (struct iovec){buf, (size_t)n};
        uio_init_host(&uio, &iov, 1);
        if (vfs_write(out, &sb->caller, &uio, &wpos) != n)
            r = -ENOSPC;
    }
    file_put(in);
    if (out)
        file_put(out);
    free(buf);
    return r;
}

static int copy_one(struct sandbox *sb, const struct path *from_dir, const struct path *to_dir, const char *name, int depth)
{
    char target[PATH_MAX];
    struct path from = {0}, to = {0};
    struct iattr attr;
    mode_t mode;
    ssize_t n;
    int r = vfs_lookup(&sb->caller, from_dir, name, 0, 0, &from);

    if (r < 0)
        return r;
    mode = from.dentry->inode->mode;
    if (S_ISDIR(mode)) {
        r = vfs_mkdir(&sb->caller, to_dir, name, 0700);
    } else if (S_ISREG(mode)) {
        r = copy_data(sb, &from, to_dir, name, mode);
    } else if (S_ISLNK(mode)) {
        n = vfs_readlink(&sb->caller, &from, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        r = n < 0 ? (int)n : vfs_symlink(&sb->caller, target, to_dir, name);
    } else {
        r = vfs_mknod(&sb->caller, to_dir, name, mode, from.dentry->inode->rdev);
    }
    if (r == 0)
        r = vfs_lookup(&sb->caller, to_dir, name, 0, 0, &to);
    if (r == 0 && S_ISDIR(mode))
        r = boot_copy_tree(sb, &from, &to, depth + 1);
    if (r == 0) {
        attr = (struct iattr){.valid = ATTR_UID | ATTR_GID | (S_ISLNK(mode) ? 0 : ATTR_MODE),
                              .mode = mode & 07777,
                              .uid = from.dentry->inode->uid,
                              .gid = from.dentry->inode->gid};
        r = vfs_setattr(&sb->caller, &to, &attr);
    }
    path_put(&from);
    path_put(&to);
    return r;
}

int boot_copy_tree(struct sandbox *sb, const struct path *from, const struct path *to, int depth)
{
    struct names n;
    int r = depth > MAX_DEPTH ? -ELOOP : list(sb, from, &n);

    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < n.len; at += strlen(n.text + at) + 1)
        r = copy_one(sb, from, to, n.text + at, depth);
    free(n.text);
    return r;
}
