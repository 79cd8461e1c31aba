/* Names of unix sockets: files, abstract names, and the ones that the kernel makes up. */
#include "sentry/socket/unix/unix.h"

#include "sentry/kernel/task.h"
#include "vfs/fs_struct.h"
#include "vfs/inode.h"
#include "vfs/mount.h"
#include "vfs/namei.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_OFFSET ((socklen_t)offsetof(struct sockaddr_un, sun_path))

void unix_addr_put(struct unix_addr *a)
{
    if (a && ref_put(&a->ref))
        free(a);
}

/* A checked copy. A path ends at its first NUL; an abstract name is all its bytes. NULL when out of memory. */
static struct unix_addr *addr_create(const struct sock_addr *a)
{
    struct unix_addr *ua = calloc(1, sizeof(*ua));

    if (!ua)
        return NULL;
    ref_init(&ua->ref);
    memcpy(&ua->un, &a->un, a->len);
    ua->len = a->un.sun_path[0] ? NAME_OFFSET + (socklen_t)strnlen(ua->un.sun_path, sizeof(ua->un.sun_path)) + 1 : a->len;
    return ua;
}

static int check_addr(const struct sock_addr *a)
{
    if (a->len <= NAME_OFFSET || a->len > sizeof(struct sockaddr_un) || a->un.sun_family != AF_UNIX)
        return -EINVAL;
    return 0;
}

static bool is_abstract(const struct unix_addr *ua)
{
    return ua->un.sun_path[0] == 0;
}

static unsigned int hash_name(const char *name, size_t len, int type)
{
    uint32_t h = 2166136261u ^ (uint32_t)type;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return (h ^ h >> 15) % UNIX_HASH;
}

static struct list_head *bucket(struct net *net, const struct unix_addr *ua, int type)
{
    return &net->unix_names[hash_name(ua->un.sun_path, ua->len - NAME_OFFSET, type)];
}

static struct unix_sock *find_abstract(struct net *net, const struct sockaddr_un *un, socklen_t len, int type)
    REQUIRES(&net->unix_lock)
{
    struct unix_sock *u;

    list_for_each_entry(u, &net->unix_names[hash_name(un->sun_path, len - NAME_OFFSET, type)], name_node) {
        if (u->s.type == type && u->addr->len == len && memcmp(u->addr->un.sun_path, un->sun_path, len - NAME_OFFSET) == 0)
            return u;
    }
    return NULL;
}

/* Gives `u`, which has no name, this one. Consumes `ua` on success. */
static int set_abstract(struct unix_sock *u, struct unix_addr *ua)
{
    struct net *net = u->s.net;
    int r = 0;

    mutex_lock(&u->s.lock);
    mutex_lock(&net->unix_lock);
    if (u->addr) {
        r = -EINVAL;
    } else if (find_abstract(net, &ua->un, ua->len, u->s.type)) {
        r = -EADDRINUSE;
    } else {
        u->addr = ua;
        list_add(&u->name_node, bucket(net, ua, u->s.type));
    }
    mutex_unlock(&net->unix_lock);
    mutex_unlock(&u->s.lock);
    return r;
}

int unix_autobind(struct unix_sock *u)
{
    struct net *net = u->s.net;

    for (unsigned int tries = 0; tries < 1u << 20; tries++) {
        struct sock_addr a = {.len = NAME_OFFSET + 6, .un.sun_family = AF_UNIX};
        struct unix_addr *ua;
        unsigned int n;
        int r;

        mutex_lock(&net->unix_lock);
        n = net->unix_autobind++;
        mutex_unlock(&net->unix_lock);
        snprintf(a.un.sun_path + 1, 6, "%05x", n & 0xfffff);
        ua = addr_create(&a);
        if (!ua)
            return -ENOMEM;
        r = set_abstract(u, ua);
        if (r == 0)
            return 0;
        unix_addr_put(ua);
        if (r == -EINVAL)
            return 0; /* it has a name by now */
    }
    return -ENOSPC;
}

static int bind_path(struct unix_sock *u, struct task *t, struct unix_addr *ua)
{
    mode_t mode = S_IFSOCK | (0777 & ~fs_umask(t->fs));
    struct path path;
    struct inode *inode;
    int r;

    mutex_lock(&u->s.lock);
    r = u->addr ? -EINVAL : 0;
    mutex_unlock(&u->s.lock);
    if (!r)
        r = vfs_bind_socket(task_caller(t), ua->un.sun_path, mode, &path);
    if (r)
        return r == -EEXIST ? -EADDRINUSE : r;
    inode = path.dentry->inode;
    mutex_lock(&u->s.lock);
    if (u->addr) { /* another thread was faster; its name stays, and so does our file, as in Linux */
        mutex_unlock(&u->s.lock);
        path_put(&path);
        return -EINVAL;
    }
    u->addr = ua;
    u->path = path;
    mutex_lock(&inode->aux_lock);
    inode->sock = u;
    mutex_unlock(&inode->aux_lock);
    mutex_unlock(&u->s.lock);
    return 0;
}

int unix_bind(struct socket *s, struct task *t, const struct sock_addr *a)
{
    struct unix_sock *u = unix_of(s);
    struct unix_addr *ua;
    int r;

    if (a->len == NAME_OFFSET && a->un.sun_family == AF_UNIX)
        return u->addr ? -EINVAL : unix_autobind(u);
    r = check_addr(a);
    if (r)
        return r;
    ua = addr_create(a);
    if (!ua)
        return -ENOMEM;
    r = is_abstract(ua) ? set_abstract(u, ua) : bind_path(u, t, ua);
    if (r)
        unix_addr_put(ua);
    return r;
}

void unix_unbind(struct unix_sock *u)
{
    struct net *net = u->s.net;
    struct inode *inode = u->path.dentry ? u->path.dentry->inode : NULL;

    mutex_lock(&net->unix_lock);
    list_del_init(&u->name_node);
    mutex_unlock(&net->unix_lock);
    if (!inode)
        return;
    mutex_lock(&inode->aux_lock);
    if (inode->sock == u)
        inode->sock = NULL;
    mutex_unlock(&inode->aux_lock);
    path_put(&u->path);
}

static int find_path(struct task *t, const struct sock_addr *a, int type, struct unix_sock **out)
{
    char name[sizeof(a->un.sun_path) + 1] = {0};
    struct unix_sock *u = NULL;
    struct inode *inode;
    struct path path;
    int r;

    memcpy(name, a->un.sun_path, a->len - NAME_OFFSET);
    r = vfs_lookup(task_caller(t), NULL, name, LOOKUP_FOLLOW, 0, &path);
    if (r)
        return r;
    inode = path.dentry->inode;
    r = inode_permission(inode, t->cred, MAY_WRITE);
    if (!r) {
        r = -ECONNREFUSED;
        mutex_lock(&inode->aux_lock);
        u = S_ISSOCK(inode->mode) ? inode->sock : NULL;
        /* Before a socket is freed it takes itself out of the inode, under this lock. */
        if (u && ref_get_unless_zero(&u->s.ref))
            r = 0;
        mutex_unlock(&inode->aux_lock);
    }
    path_put(&path);
    if (!r && u->s.type != type) {
        unix_put(u);
        r = -EPROTOTYPE;
    }
    if (!r)
        *out = u;
    return r;
}

int unix_find(struct task *t, struct net *net, const struct sock_addr *a, int type, struct unix_sock **out)
{
    struct unix_sock *u;
    int r = check_addr(a);

    if (r)
        return r;
    if (a->un.sun_path[0])
        return find_path(t, a, type, out);
    mutex_lock(&net->unix_lock);
    u = find_abstract(net, &a->un, a->len, type);
    if (u && !ref_get_unless_zero(&u->s.ref))
        u = NULL;
    mutex_unlock(&net->unix_lock);
    *out = u;
    return u ? 0 : -ECONNREFUSED;
}
