/* sock_diag of unix sockets. */
#include "sentry/socket/netlink/diag.h"
#include "sentry/socket/unix/unix.h"

#include "vfs/inode.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdlib.h>
#include <string.h>

#ifndef UDIAG_SHOW_UID
#define UDIAG_SHOW_UID 0x40
#endif
#define K_UNIX_DIAG_UID 7

static uint8_t state_of(const struct unix_sock *u)
{
    return u->state == UNIX_LISTEN ? TCPS_LISTEN : u->state == UNIX_ESTABLISHED || u->peer ? TCPS_ESTABLISHED : TCPS_CLOSE;
}

static void put_name(struct nl_reply *r, const struct unix_sock *u)
{
    size_t head = offsetof(struct sockaddr_un, sun_path);

    if (u->addr && u->addr->len > head)
        nl_attr(r, UNIX_DIAG_NAME, u->addr->un.sun_path, u->addr->len - head);
}

static void put_vfs(struct nl_reply *r, const struct unix_sock *u)
{
    struct unix_diag_vfs v;

    if (!u->path.dentry)
        return;
    v = (struct unix_diag_vfs){.udiag_vfs_ino = (uint32_t)u->path.dentry->inode->ino,
                               .udiag_vfs_dev = (uint32_t)u->path.dentry->inode->sb->dev};
    nl_attr(r, UNIX_DIAG_VFS, &v, sizeof(v));
}

/* Who waits to be accepted, by the connecting sockets' inodes. */
static void put_waiting(struct nl_reply *r, const struct unix_sock *u)
{
    struct unix_sock *conn;
    uint32_t inos[256];
    size_t n = 0;

    list_for_each_entry(conn, &u->accepts, accept_node) {
        if (n < ARRAY_SIZE(inos))
            inos[n++] = conn->peer ? (uint32_t)conn->peer->s.ino : 0;
    }
    nl_attr(r, UNIX_DIAG_ICONS, inos, n * sizeof(inos[0]));
}

/* u->s.lock is held. What is read of other sockets is a word each. */
static void put_sock(struct nl_reply *r, struct unix_sock *u, uint32_t show, uint16_t flags) REQUIRES(&u->s.lock)
{
    struct unix_diag_msg m = {
        .udiag_family = AF_UNIX, .udiag_type = (uint8_t)u->s.type, .udiag_state = state_of(u), .udiag_ino = (uint32_t)u->s.ino};
    struct unix_diag_rqlen len = {.udiag_rqueue = (uint32_t)atomic_load(&u->s.rq.bytes),
                                  .udiag_wqueue = atomic_load(&u->s.wmem)};
    uint8_t shut = (uint8_t)atomic_load(&u->s.shutdown);

    if (u->state == UNIX_LISTEN)
        len = (struct unix_diag_rqlen){.udiag_rqueue = u->nr_accepts, .udiag_wqueue = u->backlog};
    diag_cookie(m.udiag_cookie, u->s.ino);
    nl_begin(r, SOCK_DIAG_BY_FAMILY, flags, &m, sizeof(m));
    if (show & UDIAG_SHOW_NAME)
        put_name(r, u);
    if (show & UDIAG_SHOW_VFS)
        put_vfs(r, u);
    if (show & UDIAG_SHOW_PEER && u->peer)
        nl_attr_u32(r, UNIX_DIAG_PEER, (uint32_t)u->peer->s.ino);
    if (show & UDIAG_SHOW_ICONS && u->state == UNIX_LISTEN)
        put_waiting(r, u);
    if (show & UDIAG_SHOW_RQLEN)
        nl_attr(r, UNIX_DIAG_RQLEN, &len, sizeof(len));
    if (show & UDIAG_SHOW_MEMINFO)
        diag_put_meminfo(r, UNIX_DIAG_MEMINFO, &u->s, (uint32_t)atomic_load(&u->s.rq.bytes), atomic_load(&u->s.wmem));
    if (show & UDIAG_SHOW_UID)
        nl_attr_u32(r, K_UNIX_DIAG_UID, u->s.uid);
    nl_attr(r, UNIX_DIAG_SHUTDOWN, &shut, 1);
    nl_end(r);
}

/* All sockets, referenced: an array of *n. */
static struct unix_sock **collect(struct net *net, size_t *n)
{
    struct unix_sock *u, **all;
    size_t cap = 0;

    *n = 0;
    mutex_lock(&net->unix_lock);
    list_for_each_entry(u, &net->unix_all, all_node)
        cap++;
    all = cap ? malloc(cap * sizeof(struct unix_sock *)) : NULL;
    list_for_each_entry(u, &net->unix_all, all_node) {
        if (all && ref_get_unless_zero(&u->s.ref))
            all[(*n)++] = u;
    }
    mutex_unlock(&net->unix_lock);
    return all;
}

int diag_unix(const struct diag_request *q, struct nl_reply *r)
{
    struct unix_diag_req req;
    struct unix_sock **all;
    int err = q->dump ? 1 : -ENOENT;
    size_t n;

    if (q->len < sizeof(req))
        return -EINVAL;
    memcpy(&req, q->body, sizeof(req));
    if (!q->dump && !req.udiag_ino)
        return -EINVAL;
    all = collect(q->net, &n);
    for (size_t k = 0; k < n; k++) {
        struct unix_sock *u = all[k];

        mutex_lock(&u->s.lock);
        if (q->dump) {
            if (req.udiag_states & 1u << state_of(u))
                put_sock(r, u, req.udiag_show, NLM_F_MULTI);
        } else if (req.udiag_ino == (uint32_t)u->s.ino && err == -ENOENT) {
            err = diag_cookie_matches(req.udiag_cookie, u->s.ino) ? 0 : -ESTALE;
            if (err == 0)
                put_sock(r, u, req.udiag_show, 0);
        }
        mutex_unlock(&u->s.lock);
        unix_put(u);
    }
    free(all);
    return err;
}
