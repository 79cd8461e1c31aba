/*
 * Ports: who is bound where, who may be, and who is meant.
 *
 * Every socket with a port is in the bucket of that port, those of accepted connections too, as in Linux's bind buckets.
 */
#include "sentry/socket/inet_loopback/inet.h"

#include "sentry/socket/bpf.h"

#include "sentry/kernel/task.h"
#include "sentry/socket/inet_net/inet_net.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct inet_table *inet_table_create(void)
{
    struct inet_table *tb = calloc(1, sizeof(*tb));
    uint16_t seed = 0;

    if (!tb)
        return NULL;
    mutex_init(&tb->lock);
    mutex_lock(&tb->lock);
    for (int i = 0; i < INET_BUCKETS; i++)
        list_init(&tb->bucket[i]);
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == (ssize_t)sizeof(seed))
        tb->next_port = seed;
    mutex_unlock(&tb->lock);
    return tb;
}

void inet_table_destroy(struct inet_table *tb)
{
    if (!tb)
        return;
    mutex_fini(&tb->lock);
    free(tb);
}

struct inet_table *inet_table_of(const struct inet_sock *i)
{
    if (i->s.type == SOCK_STREAM)
        return i->s.net->tcp;
    return i->s.protocol == IPPROTO_UDPLITE ? i->s.net->udplite : i->s.net->udp;
}

static struct list_head *bucket_of(struct inet_table *tb, unsigned int port)
{
    return &tb->bucket[port % INET_BUCKETS];
}

/* Does a socket bound to `a` also get what is sent to IPv4 addresses, to IPv6 ones? */
static bool takes_v4(const struct inet_sock *i, const struct in6_addr *a)
{
    return i->s.family == AF_INET || inet_is_v4(a) || (IN6_IS_ADDR_UNSPECIFIED(a) && !i->o.v6only);
}

static bool takes_v6(const struct inet_sock *i, const struct in6_addr *a)
{
    return i->s.family == AF_INET6 && !inet_is_v4(a);
}

static bool overlap(const struct inet_sock *i, const struct in6_addr *a, const struct inet_sock *j, const struct in6_addr *b)
{
    bool both4 = takes_v4(i, a) && takes_v4(j, b), both6 = takes_v6(i, a) && takes_v6(j, b);

    if (!both4 && !both6)
        return false;
    return inet_is_any(a) || inet_is_any(b) || IN6_ARE_ADDR_EQUAL(a, b);
}

/* May `i` have this address and port besides `j`? */
static bool compatible(const struct inet_sock *i, const struct inet_sock *j)
{
    if (i->s.reuseport && j->s.reuseport && i->s.uid == j->s.uid)
        return true;
    if (!i->s.reuseaddr || !j->s.reuseaddr)
        return false;
    return i->s.type == SOCK_DGRAM || (i->state != TCP_S_LISTEN && j->state != TCP_S_LISTEN);
}

static bool conflicts(struct inet_table *tb, const struct inet_sock *i, const struct in6_addr *addr, unsigned int port)
    REQUIRES(&tb->lock)
{
    struct inet_sock *j;

    list_for_each_entry(j, bucket_of(tb, port), port_node) {
        if (j != i && j->local.port == port && overlap(i, addr, j, &j->local.addr) && !compatible(i, j))
            return true;
    }
    return false;
}

static bool port_free(struct inet_table *tb, unsigned int port) REQUIRES(&tb->lock)
{
    struct inet_sock *j;

    list_for_each_entry(j, bucket_of(tb, port), port_node) {
        if (j->local.port == port)
            return false;
    }
    return true;
}

/* The same two ends in one protocol would be one connection. */
static bool pair_taken(struct inet_table *tb, const struct inet_sock *i, unsigned int port, const struct inet_end *remote)
    REQUIRES(&tb->lock)
{
    struct inet_sock *j;

    list_for_each_entry(j, bucket_of(tb, port), port_node) {
        if (j == i || j->local.port != port)
            continue;
        if (j->state == TCP_S_LISTEN || j->port_chosen)
            return true;
        if (j->remote.port == remote->port && IN6_ARE_ADDR_EQUAL(&j->remote.addr, &remote->addr))
            return true;
    }
    return false;
}

/* The next port in turn that nobody has; if all are in use, one that at least makes a pair of its own with `remote`. */
static int choose_port(struct inet_table *tb, const struct inet_sock *i, const struct inet_end *remote) REQUIRES(&tb->lock)
{
    int min = atomic_load(&i->s.net->port_min), max = atomic_load(&i->s.net->port_max);
    unsigned int n = (unsigned int)(max - min + 1);

    for (int shared = 0; shared <= (remote != NULL); shared++) {
        for (unsigned int tries = 0; tries < n; tries++) {
            unsigned int port = (unsigned int)min + tb->next_port++ % n;

            if (shared ? !pair_taken(tb, i, port, remote) : port_free(tb, port))
                return (int)port;
        }
    }
    return 0;
}

static void enter(struct inet_table *tb, struct inet_sock *i, unsigned int port) REQUIRES(&tb->lock)
{
    i->local.port = (uint16_t)port;
    list_add(&i->port_node, bucket_of(tb, port));
}

int inet_autobind(struct inet_sock *i, const struct inet_end *remote)
{
    struct inet_table *tb = inet_table_of(i);
    int port = 0;

    if (i->local.port)
        return 0;
    mutex_lock(&tb->lock);
    port = choose_port(tb, i, remote);
    if (port)
        enter(tb, i, (unsigned int)port);
    mutex_unlock(&tb->lock);
    return port ? 0 : remote ? -EADDRNOTAVAIL : -EAGAIN;
}

/* The checks of bind(2) that need no lock. */
static int bind_check(struct inet_sock *i, struct task *t, const struct sock_addr *a, struct inet_end *e)
{
    int r;

    /* Ancient programs leave the family out of a wildcard address. */
    if (i->s.family == AF_INET && a->len >= sizeof(struct sockaddr_in) && a->sa.sa_family == AF_UNSPEC &&
        a->in.sin_addr.s_addr == INADDR_ANY) {
        struct sock_addr any = *a;

        any.sa.sa_family = AF_INET;
        r = inet_addr_in(i, &any, e);
    } else if (a->len >= sizeof(sa_family_t) && a->sa.sa_family == AF_INET && i->s.family == AF_INET6 &&
               a->len >= sizeof(struct sockaddr_in6)) {
        return -EAFNOSUPPORT;
    } else {
        r = inet_addr_in(i, a, e);
    }
    if (r)
        return r == -ENETUNREACH ? -EINVAL : r;
    if (!inet_is_any(&e->addr) && !inet_is_local(i->s.net, &e->addr) && !i->o.freebind && !i->o.transparent &&
        !(i->s.type != SOCK_STREAM && atomic_load(&i->s.net->has_links) && net_addr_is_group(i->s.net, &e->addr)))
        return -EADDRNOTAVAIL;
    if (e->port && e->port < atomic_load(&i->s.net->unprivileged_port) && !cred_has_cap(t->cred, CAP_NET_BIND_SERVICE))
        return -EACCES;
    return 0;
}

int inet_bind(struct socket *s, struct task *t, const struct sock_addr *a)
{
    struct inet_sock *i = inet_of(s);
    struct inet_table *tb = inet_table_of(i);
    struct inet_end e;
    int r = bind_check(i, t, a, &e), port = e.port;

    if (r)
        return r;
    mutex_lock(&s->lock);
    mutex_lock(&tb->lock);
    if (i->state != TCP_S_CLOSE || i->local.port) {
        r = -EINVAL;
    } else if (port == 0 && i->o.no_port) {
        i->local.addr = e.addr;
    } else {
        if (port == 0)
            port = choose_port(tb, i, NULL);
        else if (conflicts(tb, i, &e.addr, (unsigned int)port))
            port = 0;
        if (port) {
            i->local.addr = e.addr;
            enter(tb, i, (unsigned int)port);
            i->port_chosen = e.port != 0;
        } else {
            r = -EADDRINUSE;
        }
    }
    if (!r)
        i->addr_chosen = !inet_is_any(&e.addr);
    mutex_unlock(&tb->lock);
    i->local.scope = e.scope;
    if (!r && i->local.port && s->type == SOCK_DGRAM) {
        r = net_udp_bound(i);
        if (r) {
            inet_table_remove(i);
            i->local.addr = in6addr_any;
            i->addr_chosen = i->port_chosen = false;
        }
    }
    mutex_unlock(&s->lock);
    return r;
}

void inet_table_add(struct inet_sock *i)
{
    struct inet_table *tb = inet_table_of(i);

    mutex_lock(&tb->lock);
    enter(tb, i, i->local.port);
    mutex_unlock(&tb->lock);
}

void inet_table_remove(struct inet_sock *i)
{
    struct inet_table *tb = inet_table_of(i);

    mutex_lock(&tb->lock);
    list_del_init(&i->port_node);
    i->local.port = 0;
    mutex_unlock(&tb->lock);
}

int inet_set_listening(struct inet_sock *i, unsigned int backlog)
{
    struct inet_table *tb = inet_table_of(i);
    enum tcp_state old = i->state;
    int r = 0;

    mutex_lock(&tb->lock);
    i->state = TCP_S_LISTEN;
    /* Two that share a port by SO_REUSEADDR cannot both listen. */
    if (old != TCP_S_LISTEN && conflicts(tb, i, &i->local.addr, i->local.port)) {
        i->state = old;
        r = -EADDRINUSE;
    } else {
        i->backlog = backlog;
    }
    mutex_unlock(&tb->lock);
    return r;
}

void inet_set_remote(struct inet_sock *i, const struct inet_end *remote, const struct in6_addr *src, enum tcp_state state)
{
    struct inet_table *tb = inet_table_of(i);

    mutex_lock(&tb->lock);
    i->remote = remote ? *remote : (struct inet_end){.port = 0};
    if (src)
        i->local.addr = *src;
    i->state = state;
    mutex_unlock(&tb->lock);
}

/* How well a bound socket suits `dst`: 0 not at all, 1 by wildcard, 2 by address. A dual-stack wildcard is the last choice. */
static int score_local(const struct inet_sock *j, const struct inet_end *dst)
{
    bool v4 = inet_is_v4(&dst->addr);

    if (j->local.port != dst->port || !(v4 ? takes_v4(j, &j->local.addr) : takes_v6(j, &j->local.addr)))
        return 0;
    if (inet_is_any(&j->local.addr))
        return v4 && j->s.family == AF_INET6 ? 1 : 2;
    return IN6_ARE_ADDR_EQUAL(&j->local.addr, &dst->addr) ? 4 : 0;
}

struct bpf_prog *inet_table_set_program(struct inet_sock *i, struct bpf_prog *p)
{
    struct inet_table *tb = inet_table_of(i);
    struct bpf_prog *old;

    mutex_lock(&tb->lock);
    old = i->s.reuseport_prog;
    i->s.reuseport_prog = p;
    mutex_unlock(&tb->lock);
    return old;
}

/* The best so far, and how many are as good and share the port by SO_REUSEPORT. */
struct best {
    struct inet_sock *sock;
    int score;
    unsigned int equals;
    const struct bpf_prog *prog; /* of any of them: it is the group's */
};

static void consider(struct best *b, struct inet_sock *j, int score)
{
    if (score == 0 || score < b->score)
        return;
    if (score > b->score)
        *b = (struct best){.sock = j, .score = score};
    b->equals++;
    if (j->s.reuseport_prog)
        b->prog = j->s.reuseport_prog;
}

/* All packets of a flow go to the same of them. */
static uint32_t flow_hash(const struct inet_end *a, const struct inet_end *b)
{
    uint32_t h = a->port * 0x9e3779b1u ^ b->port * 0x85ebca6bu;

    for (int k = 0; k < 4; k++)
        h = (h ^ a->addr.s6_addr32[k] ^ b->addr.s6_addr32[k] * 31) * 0xc2b2ae35u + (h >> 15);
    return h ^ h >> 16;
}

/* Which of a group it is: what the program of one of them says, or else one by the flow. */
static unsigned int choose(const struct best *b, const struct inet_end *dst, const struct inet_end *src, const struct skb *skb)
{
    struct bpf_data d = {.body = skb ? skb->data : NULL, .body_len = skb ? skb->len : 0};
    uint32_t said = b->prog ? bpf_run(b->prog, &d) : UINT32_MAX;

    return said < b->equals ? said : flow_hash(dst, src) % b->equals;
}

static int score_listener(const struct inet_sock *j, const struct inet_end *dst, const struct inet_end *src)
{
    return j->state == TCP_S_LISTEN ? score_local(j, dst) : 0;
}

static int score_udp(const struct inet_sock *j, const struct inet_end *dst, const struct inet_end *src)
{
    int score = score_local(j, dst);

    if (!score || !j->remote.port)
        return score;
    return j->remote.port == src->port && IN6_ARE_ADDR_EQUAL(&j->remote.addr, &src->addr) ? score + 8 : 0;
}

static struct inet_sock *
find_best(struct inet_table *tb, const struct inet_end *dst, const struct inet_end *src, const struct skb *skb,
          int (*score)(const struct inet_sock *j, const struct inet_end *dst, const struct inet_end *src))
{
    struct best b = {0};
    struct inet_sock *j;
    unsigned int nth;

    mutex_lock(&tb->lock);
    list_for_each_entry(j, bucket_of(tb, dst->port), port_node)
        consider(&b, j, score(j, dst, src));
    if (b.sock && b.sock->s.reuseport && b.equals > 1) {
        nth = b.equals - 1 - choose(&b, dst, src, skb); /* they are counted as they came, and the last is the first here */
        list_for_each_entry(j, bucket_of(tb, dst->port), port_node) {
            if (score(j, dst, src) != b.score || nth--)
                continue;
            b.sock = j;
            break;
        }
    }
    if (b.sock && !ref_get_unless_zero(&b.sock->s.ref))
        b.sock = NULL;
    mutex_unlock(&tb->lock);
    return b.sock;
}

struct inet_sock *inet_find_listener(struct inet_table *tb, const struct inet_end *dst, const struct inet_end *src)
{
    return find_best(tb, dst, src, NULL, score_listener);
}

struct inet_sock *inet_find_udp(struct inet_table *tb, const struct inet_end *dst, const struct inet_end *src,
                                const struct skb *skb)
{
    return find_best(tb, dst, src, skb, score_udp);
}
