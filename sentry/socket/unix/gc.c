/*
 * Files in flight, and sockets that only each other's messages keep alive.
 *
 * A unix socket can be sent over a unix socket, even over itself; when all descriptors of such a ring are closed nobody can
 * receive the messages any more that hold the last references. So messages count how often each unix socket is in flight, and
 * when a socket is closed while some are, the rings are looked for, as Linux did until 6.10:
 *
 * 1. Candidates are sockets whose files are referenced by nothing but messages.
 * 2. From each candidate's count take away the references that come from messages in queues of candidates. What has some left
 * is referenced from outside; so is everything in its queues, and so on: those get their counts back.
 * 3. The rest is unreachable: the messages in their queues are taken out and freed, which closes the files.
 *
 * A receiver holds a reference on its socket's file while it works, so no candidate is being received from; a peek, which makes
 * more references, does that under gc_lock.
 */
#include "sentry/socket/unix/unix.h"

#include "sentry/kernel/task.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_RECURSION  4
#define MANY_IN_FLIGHT 16000

static struct unix_sock *unix_of_file(const struct file *f)
{
    struct socket *s = file_socket(f);

    return s && s->family == AF_UNIX ? unix_of(s) : NULL;
}

/* How deep messages would be nested with these files in one more; a limit bounds the recursion when they are closed. */
static int nesting(const struct scm_fds *fds)
{
    int level = 0;

    for (int i = 0; i < fds->n; i++) {
        struct unix_sock *u = unix_of_file(fds->file[i]);
        int n = u ? atomic_load(&u->recursion) + 1 : 0;

        level = n > level ? n : level;
    }
    return level;
}

int unix_fds_takeoff(struct net *net, struct task *t, struct scm_fds *fds, int *recursion)
{
    if (atomic_load(&net->nr_inflight_fds) + (unsigned int)fds->n > task_rlimit(t, RLIMIT_NOFILE) &&
        !cred_has_cap(t->cred, CAP_SYS_RESOURCE) && !cred_has_cap(t->cred, CAP_SYS_ADMIN))
        return -ETOOMANYREFS;
    *recursion = nesting(fds);
    if (*recursion > MAX_RECURSION)
        return -ETOOMANYREFS;
    if (atomic_load(&net->nr_inflight_sockets) > MANY_IN_FLIGHT)
        unix_gc(net);
    mutex_lock(&net->gc_lock);
    for (int i = 0; i < fds->n; i++) {
        struct unix_sock *u = unix_of_file(fds->file[i]);

        if (!u)
            continue;
        if (u->inflight++ == 0)
            list_add_tail(&u->inflight_node, &net->inflight);
        atomic_fetch_add(&net->nr_inflight_sockets, 1);
    }
    mutex_unlock(&net->gc_lock);
    atomic_fetch_add(&net->nr_inflight_fds, (unsigned int)fds->n);
    fds->net = net;
    return 0;
}

void unix_fds_landed(struct scm_fds *fds)
{
    struct net *net = fds->net;

    mutex_lock(&net->gc_lock);
    for (int i = 0; i < fds->n; i++) {
        struct unix_sock *u = unix_of_file(fds->file[i]);

        if (!u)
            continue;
        if (--u->inflight == 0)
            list_del_init(&u->inflight_node);
        atomic_fetch_sub(&net->nr_inflight_sockets, 1);
    }
    mutex_unlock(&net->gc_lock);
    atomic_fetch_sub(&net->nr_inflight_fds, (unsigned int)fds->n);
    fds->net = NULL;
}

struct scm_fds *unix_fds_dup(struct net *net, const struct scm_fds *fds)
{
    struct scm_fds *copy = malloc(sizeof(*copy));

    if (!copy)
        return NULL;
    mutex_lock(&net->gc_lock);
    *copy = (struct scm_fds){.n = fds->n};
    for (int i = 0; i < fds->n; i++)
        copy->file[i] = file_get(fds->file[i]);
    mutex_unlock(&net->gc_lock);
    return copy;
}

typedef void child_fn(struct unix_sock *child, void *arg);

/* Calls `fn` for each candidate that a message in this one queue holds. With `hits`, such messages are moved there. */
static void scan_queue(struct unix_sock *u, child_fn *fn, void *arg, struct list_head *hits)
{
    struct skb *skb, *next;

    mutex_lock(&u->s.lock);
    list_for_each_entry_safe(skb, next, &u->s.rq.list, node) {
        bool hit = false;

        for (int i = 0; skb->fds && i < skb->fds->n; i++) {
            struct unix_sock *child = unix_of_file(skb->fds->file[i]);

            if (!child || !child->gc_candidate)
                continue;
            hit = true;
            if (fn)
                fn(child, arg);
        }
        if (hit && hits) {
            skb_unlink(&u->s.rq, skb);
            list_add_tail(&skb->node, hits);
        }
    }
    mutex_unlock(&u->s.lock);
}

/* The socket's own queue, and for a listener those of connections that wait to be accepted. */
static void scan_children(struct unix_sock *u, child_fn *fn, void *arg, struct list_head *hits)
{
    struct unix_sock *conns[64], *conn;
    int n = 0;

    scan_queue(u, fn, arg, hits);
    mutex_lock(&u->s.lock);
    list_for_each_entry(conn, &u->accepts, accept_node) {
        if (n < (int)ARRAY_SIZE(conns))
            conns[n++] = unix_of(socket_get(&conn->s));
    }
    mutex_unlock(&u->s.lock);
    for (int i = 0; i < n; i++) {
        scan_queue(conns[i], fn, arg, hits);
        unix_put(conns[i]);
    }
}

static void count_down(struct unix_sock *child, void *arg)
{
    child->inflight--;
}

/* A child of something reachable: counts again, and is to be looked at as reachable itself. */
static void count_up_reachable(struct unix_sock *child, void *arg)
{
    child->inflight++;
    if (child->gc_maybe_cycle) {
        list_del_init(&child->inflight_node);
        list_add_tail(&child->inflight_node, arg);
    }
}

static void count_up(struct unix_sock *child, void *arg)
{
    child->inflight++;
}

static void find_rings(struct net *net, struct list_head *hits) REQUIRES(&net->gc_lock)
{
    struct list_head candidates, reachable, cursor;
    struct unix_sock *u, *next;

    list_init(&candidates);
    list_init(&reachable);
    list_for_each_entry_safe(u, next, &net->inflight, inflight_node) {
        struct file *f = __atomic_load_n(&u->s.file, __ATOMIC_RELAXED);

        if (f && ref_read(&f->ref) == u->inflight) {
            u->gc_candidate = u->gc_maybe_cycle = true;
            list_del_init(&u->inflight_node);
            list_add_tail(&u->inflight_node, &candidates);
        }
    }
    list_for_each_entry(u, &candidates, inflight_node)
        scan_children(u, count_down, NULL, NULL);

    /* `cursor` walks the list while reachable ones move to its end. */
    list_add(&cursor, &candidates);
    while (cursor.next != &candidates) {
        u = list_entry(cursor.next, struct unix_sock, inflight_node);
        list_del_init(&cursor);
        list_add(&cursor, &u->inflight_node);
        if (u->inflight > 0) {
            list_del_init(&u->inflight_node);
            list_add_tail(&u->inflight_node, &reachable);
            u->gc_maybe_cycle = false;
            scan_children(u, count_up_reachable, &candidates, NULL);
        }
    }
    list_del_init(&cursor);

    list_for_each_entry_safe(u, next, &reachable, inflight_node)
        u->gc_candidate = false;
    list_splice_tail_init(&reachable, &net->inflight);
    list_for_each_entry(u, &candidates, inflight_node)
        scan_children(u, count_up, NULL, hits);
    list_for_each_entry(u, &candidates, inflight_node)
        u->gc_candidate = u->gc_maybe_cycle = false;
    list_splice_tail_init(&candidates, &net->inflight);
}

void unix_gc(struct net *net)
{
    struct list_head hits;

    if (atomic_exchange(&net->gc_running, true))
        return;
    list_init(&hits);
    mutex_lock(&net->gc_lock);
    find_rings(net, &hits);
    mutex_unlock(&net->gc_lock);
    atomic_store(&net->gc_running, false);
    skb_free_list(&hits);
}
