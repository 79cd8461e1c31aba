/* hostfs's host descriptors: opening them from where an inode was found, caching, pinning. */
#include "vfs/hostfs/hostfs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void lru_remove(struct hostfs_super *hs, struct host_fd *h)
{
    if (!list_empty(&h->lru)) {
        list_del_init(&h->lru);
        hs->nr_lru--;
    }
}

/* Takes up to `max` of the oldest unpinned descriptors, beyond the first `keep`, out of the cache. */
static unsigned int take_oldest(struct hostfs_super *hs, unsigned int keep, int *fds, unsigned int max)
{
    unsigned int n = 0;
    while (hs->nr_lru > keep && n < max) {
        struct host_fd *h = list_first_entry(&hs->lru, struct host_fd, lru);
        lru_remove(hs, h);
        fds[n++] = h->fd;
        h->fd = -1;
    }
    return n;
}

static void close_all(const int *fds, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++)
        close(fds[i]);
}

int hostfs_openat(struct hostfs_super *hs, int dir_fd, const char *name, int flags, mode_t mode)
{
    for (;;) {
        int old[64], fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, mode);
        if (fd >= 0)
            return fd;
        int err = errno;
        if (err == EINTR)
            continue;
        if (err != EMFILE && err != ENFILE)
            return -err;
        mutex_lock(&hs->lock);
        unsigned int n = take_oldest(hs, 0, old, ARRAY_SIZE(old));
        mutex_unlock(&hs->lock);
        close_all(old, n);
        if (n == 0)
            return -ENFILE;
    }
}

/* The cached descriptor, pinned, or -1. */
static int pin_cached(struct hostfs_super *hs, struct hostfs_inode *hi, enum host_fd_kind kind)
{
    struct host_fd *h = &hi->fds[kind];
    mutex_lock(&hs->lock);
    int fd = h->fd;
    if (fd >= 0 && h->pins++ == 0)
        lru_remove(hs, h);
    mutex_unlock(&hs->lock);
    return fd;
}

void hostfs_put_fd(struct inode *inode, enum host_fd_kind kind)
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    struct host_fd *h = &hostfs_i(inode)->fds[kind];
    int old[4];
    mutex_lock(&hs->lock);
    if (--h->pins == 0) {
        list_add_tail(&h->lru, &hs->lru);
        hs->nr_lru++;
    }
    unsigned int n = take_oldest(hs, hs->max_lru, old, ARRAY_SIZE(old));
    mutex_unlock(&hs->lock);
    close_all(old, n);
}

/* Stores a freshly opened descriptor with one pin; if somebody was faster, theirs is used. Returns the one to use. */
static int install(struct inode *inode, enum host_fd_kind kind, int fd)
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    struct host_fd *h = &hostfs_i(inode)->fds[kind];
    int unused = -1;
    mutex_lock(&hs->lock);
    if (h->fd >= 0) {
        unused = fd;
        fd = h->fd;
        if (h->pins == 0)
            lru_remove(hs, h);
    } else {
        h->fd = fd;
    }
    h->pins++;
    mutex_unlock(&hs->lock);
    if (unused >= 0)
        close(unused);
    return fd;
}

void hostfs_adopt_fd(struct inode *inode, enum host_fd_kind kind, int fd, bool pin)
{
    install(inode, kind, fd);
    if (!pin)
        hostfs_put_fd(inode, kind);
}

void hostfs_close_fds(struct hostfs_inode *hi)
{
    struct hostfs_super *hs = hostfs_sb(hi->inode->sb);
    mutex_lock(&hs->lock);
    for (int k = 0; k < HOST_FD_KINDS; k++)
        lru_remove(hs, &hi->fds[k]);
    mutex_unlock(&hs->lock);
    for (int k = 0; k < HOST_FD_KINDS; k++)
        if (hi->fds[k].fd >= 0)
            close(hi->fds[k].fd);
}

bool hostfs_location(struct inode *inode, struct inode **parent, char name[256])
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    mutex_lock(&hs->lock);
    const struct hostfs_name *n = hostfs_i(inode)->names;
    if (n) {
        *parent = inode_get(n->parent);
        strcpy(name, n->name); /* a directory entry of the host: at most 255 bytes */
    }
    mutex_unlock(&hs->lock);
    return n != NULL;
}

static struct hostfs_name **find_name(struct hostfs_inode *hi, const struct inode *parent, const char *name)
{
    struct hostfs_name **p = &hi->names;
    while (*p && ((*p)->parent != parent || strcmp((*p)->name, name) != 0))
        p = &(*p)->next;
    return p;
}

void hostfs_add_name(struct inode *inode, struct inode *parent, const char *name)
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    struct hostfs_inode *hi = hostfs_i(inode);
    struct hostfs_name *n = malloc(sizeof(*n) + strlen(name) + 1);
    if (!n)
        return; /* another name, or a descriptor, has to do */
    strcpy(n->name, name);
    mutex_lock(&hs->lock);
    bool known = *find_name(hi, parent, name) != NULL;
    if (!known) {
        n->parent = inode_get(parent);
        n->next = hi->names;
        hi->names = n;
    }
    mutex_unlock(&hs->lock);
    if (known)
        free(n);
}

static void free_name(struct hostfs_name *n)
{
    inode_put(n->parent);
    free(n);
}

void hostfs_drop_name(struct inode *inode, const struct inode *parent, const char *name)
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    mutex_lock(&hs->lock);
    struct hostfs_name **p = find_name(hostfs_i(inode), parent, name), *n = *p;
    if (n)
        *p = n->next;
    mutex_unlock(&hs->lock);
    if (n)
        free_name(n);
}

void hostfs_free_names(struct hostfs_inode *hi)
{
    while (hi->names) {
        struct hostfs_name *n = hi->names;
        hi->names = n->next;
        free_name(n);
    }
}

static int open_flags(enum host_fd_kind kind, mode_t mode)
{
    static const int flags[HOST_FD_KINDS] = {O_PATH, O_RDONLY | O_NONBLOCK, O_RDWR | O_NONBLOCK};
    return flags[kind] | (S_ISDIR(mode) ? O_DIRECTORY : 0);
}

/* Opens one inode below its directory's descriptor and checks that it is still the same. */
static int open_below(struct inode *inode, int dir_fd, const char *name, enum host_fd_kind kind)
{
    struct hostfs_super *hs = hostfs_sb(inode->sb);
    struct hostfs_inode *hi = hostfs_i(inode);
    struct stat st;

    /* Opening a host device or FIFO for data is never right, whatever the tree has turned into meanwhile. */
    if (kind != HOST_FD_PATH && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
        return -ENXIO;
    int flags = open_flags(kind, inode->mode);
    int fd = hostfs_openat(hs, dir_fd, name, flags, 0);
    if (fd == -EACCES && kind == HOST_FD_WRITE)
        fd = hostfs_openat(hs, dir_fd, name, O_WRONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || st.st_ino != hi->host_ino || st.st_dev != hi->host_dev) {
        close(fd);
        return -ESTALE;
    }
    return fd;
}

/*
 * A pinned O_PATH descriptor of a directory's descendant may need its ancestors' first. The chain from the nearest ancestor
 * that has one down to `inode` is opened from the top, each pinned only while the next is opened.
 */
static int open_from_ancestor(struct inode *inode, enum host_fd_kind kind)
{
    struct {
        struct inode *inode;
        char *name;
    } *chain = NULL;
    size_t n = 0, cap = 0;
    struct inode *at = inode_get(inode), *parent;
    char name[256];
    int fd = -1;

    while (fd < 0) {
        if (!hostfs_location(at, &parent, name)) {
            fd = -ENOENT; /* unlinked, and nobody had it open */
            break;
        }
        if (n == cap) {
            void *grown = realloc(chain, (cap ? 2 * cap : 8) * sizeof(*chain));
            if (!grown) {
                inode_put(parent);
                fd = -ENOMEM;
                break;
            }
            chain = grown;
            cap = cap ? 2 * cap : 8;
        }
        chain[n].inode = at;
        chain[n].name = strdup(name);
        n++;
        at = parent;
        fd = pin_cached(hostfs_sb(inode->sb), hostfs_i(at), HOST_FD_PATH);
    }
    bool pinned = fd >= 0; /* `at` is, with its O_PATH descriptor */
    while (n-- > 0) {
        struct inode *child = chain[n].inode;
        enum host_fd_kind k = n == 0 ? kind : HOST_FD_PATH;
        if (fd >= 0) {
            int child_fd = chain[n].name ? open_below(child, fd, chain[n].name, k) : -ENOMEM;
            fd = child_fd < 0 ? child_fd : install(child, k, child_fd);
        }
        if (pinned)
            hostfs_put_fd(at, HOST_FD_PATH);
        pinned = fd >= 0;
        inode_put(at);
        at = child;
        free(chain[n].name);
    }
    inode_put(at); /* `inode`, whose pin, if any, is the caller's */
    free(chain);
    return fd;
}

/* An unlinked file that is open for writing can be opened again for reading (through /proc/PID/fd): by the same description. */
static int read_through_writer(struct inode *inode)
{
    int writer = pin_cached(hostfs_sb(inode->sb), hostfs_i(inode), HOST_FD_WRITE), fd = -ENOENT;

    if (writer < 0)
        return -ENOENT;
    if ((fcntl(writer, F_GETFL) & O_ACCMODE) == O_RDWR) {
        fd = fcntl(writer, F_DUPFD_CLOEXEC, 0);
        fd = fd < 0 ? -errno : install(inode, HOST_FD_READ, fd);
    }
    hostfs_put_fd(inode, HOST_FD_WRITE);
    return fd;
}

int hostfs_get_fd(struct inode *inode, enum host_fd_kind kind)
{
    int fd = pin_cached(hostfs_sb(inode->sb), hostfs_i(inode), kind);
    if (fd >= 0)
        return fd;
    /* The root has its O_PATH descriptor always; a directory can be opened from that. */
    struct hostfs_inode *hi = hostfs_i(inode);
    int path_fd = kind != HOST_FD_PATH && S_ISDIR(inode->mode) ? pin_cached(hostfs_sb(inode->sb), hi, HOST_FD_PATH) : -1;
    if (path_fd >= 0) {
        fd = hostfs_openat(hostfs_sb(inode->sb), path_fd, ".", open_flags(kind, inode->mode), 0);
        hostfs_put_fd(inode, HOST_FD_PATH);
        return fd < 0 ? fd : install(inode, kind, fd);
    }
    fd = open_from_ancestor(inode, kind);
    return fd == -ENOENT && kind == HOST_FD_READ ? read_through_writer(inode) : fd;
}

void hostfs_prepare_unlink(struct inode *dir, struct dentry *d)
{
    struct inode *inode = d->inode;
    struct hostfs_super *hs = hostfs_sb(dir->sb);
    struct hostfs_inode *hi = hostfs_i(inode);

    mutex_lock(&hs->lock);
    struct hostfs_name *n = *find_name(hi, dir, d->name);
    bool last = n && n == hi->names && !n->next;
    mutex_unlock(&hs->lock);
    bool in_use = ref_read(&d->ref) > 1 || ref_read(&inode->ref) > 1;
    if (last && in_use)
        (void)!hostfs_get_fd(inode, HOST_FD_PATH); /* the pin stays; a failure shows when the inode is used */
}

void hostfs_finish_unlink(struct inode *dir, struct dentry *d)
{
    hostfs_drop_name(d->inode, dir, d->name);
    atomic_store(&hostfs_i(d->inode)->stale, true);
}
