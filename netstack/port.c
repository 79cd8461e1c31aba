/*
 * The table that finds endpoints by address and port. An endpoint with a port hangs in the bucket of its port; besides in
 * `conn`, by all four numbers, when it is connected, or in `listen`, by its port, when it is not. So a port with ten thousand
 * connections costs neither its listener nor them anything.
 */
#include "netstack/endpoint.h"

#include <errno.h>
#include <stdlib.h>

#define PORT_BUCKETS 256
#define CONN_MIN     64

struct port_bucket {
    struct list_head node;
    struct list_head eps; /* endpoint.bind_node */
    be16 port;
    uint32_t explicit_eps; /* those that asked for this port: connections to other peers must not share it unasked */
};

struct port_table {
    struct netstack *stack;
    struct list_head bind[PORT_BUCKETS];   /* struct port_bucket */
    struct list_head listen[PORT_BUCKETS]; /* endpoint.listen_node */
    struct list_head *conn;                /* endpoint.conn_node; conn_size of them, a power of two */
    size_t conn_size, nr_conn;
    uint32_t seq;
};

static struct list_head *alloc_heads(size_t n)
{
    struct list_head *h = malloc(n * sizeof(*h));

    for (size_t i = 0; h && i < n; i++)
        list_init(&h[i]);
    return h;
}

int port_table_create(struct netstack *s, struct port_table **out)
{
    struct port_table *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->stack = s;
    t->conn = alloc_heads(CONN_MIN);
    if (!t->conn) {
        free(t);
        return -ENOMEM;
    }
    t->conn_size = CONN_MIN;
    for (size_t i = 0; i < PORT_BUCKETS; i++) {
        list_init(&t->bind[i]);
        list_init(&t->listen[i]);
    }
    *out = t;
    return 0;
}

void port_table_destroy(struct port_table *t)
{
    if (!t)
        return;
    free(t->conn);
    free(t);
}

static size_t port_slot(be16 port)
{
    return (ntohs(port) ^ ntohs(port) >> 8) % PORT_BUCKETS;
}

static struct port_bucket *bucket_find(struct port_table *t, be16 port)
{
    struct port_bucket *b;

    list_for_each_entry(b, &t->bind[port_slot(port)], node)
        if (b->port == port)
            return b;
    return NULL;
}

static int bucket_join(struct port_table *t, struct endpoint *ep, be16 port)
{
    struct port_bucket *b = bucket_find(t, port);

    if (!b) {
        b = malloc(sizeof(*b));
        if (!b)
            return -ENOMEM;
        b->port = port;
        b->explicit_eps = 0;
        list_init(&b->eps);
        list_add(&b->node, &t->bind[port_slot(port)]);
    }
    list_add_tail(&ep->bind_node, &b->eps);
    ep->bucket = b;
    ep->lport = port;
    ep->seq = ++t->seq;
    if (!ep->autobound && !ep->inherits)
        b->explicit_eps++;
    return 0;
}

static void bucket_leave(struct endpoint *ep)
{
    struct port_bucket *b = ep->bucket;

    list_del_init(&ep->bind_node);
    if (!ep->autobound && !ep->inherits)
        b->explicit_eps--;
    ep->bucket = NULL;
    if (list_empty(&b->eps)) {
        list_del_init(&b->node);
        free(b);
    }
}

static uint64_t conn_hash(const struct port_table *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr,
                          be16 rport)
{
    struct {
        struct in6_addr laddr, raddr;
        be16 lport, rport;
    } key = {*laddr, *raddr, lport, rport};

    return netstack_hash(t->stack, &key, sizeof(key));
}

static struct list_head *conn_slot(const struct port_table *t, const struct endpoint *ep)
{
    return &t->conn[conn_hash(t, &ep->laddr, ep->lport, &ep->raddr, ep->rport) & (t->conn_size - 1)];
}

static void conn_grow(struct port_table *t)
{
    size_t n = t->conn_size * 2;
    struct list_head *old = t->conn, *fresh = alloc_heads(n);
    struct endpoint *ep, *tmp;

    if (!fresh) /* longer chains will do */
        return;
    t->conn = fresh;
    t->conn_size = n;
    for (size_t i = 0; i < n / 2; i++)
        list_for_each_entry_safe(ep, tmp, &old[i], conn_node) {
            list_del_init(&ep->conn_node);
            list_add(&ep->conn_node, conn_slot(t, ep));
        }
    free(old);
}

static void conn_enter(struct port_table *t, struct endpoint *ep)
{
    if (t->nr_conn >= t->conn_size)
        conn_grow(t);
    list_del_init(&ep->listen_node);
    list_add(&ep->conn_node, conn_slot(t, ep));
    t->nr_conn++;
    ep->connected = true;
}

static bool hears_v4(const struct endpoint *ep, const struct in6_addr *laddr)
{
    return addr_is_v4(laddr) || (addr_is_any(laddr) && ep->family == AF_INET6 && !ep->v6only);
}

static bool addrs_overlap(const struct endpoint *a, const struct in6_addr *aa, const struct endpoint *b)
{
    const struct in6_addr *ba = &b->laddr;
    bool any_a = addr_is_any(aa), any_b = addr_is_any(ba);

    if (!any_a && !any_b)
        return addr_equal(aa, ba);
    if (any_a && any_b)
        return (hears_v4(a, aa) && hears_v4(b, ba)) || (!addr_is_v4(aa) && !addr_is_v4(ba));
    if (any_a)
        return addr_is_v4(ba) ? hears_v4(a, aa) : !addr_is_v4(aa);
    return addr_is_v4(aa) ? hears_v4(b, ba) : !addr_is_v4(ba);
}

/* inet_bind_conflict() of Linux. `strict`: for a port chosen by us, which nobody shares. */
static bool conflicts(const struct endpoint *a, const struct in6_addr *addr, const struct endpoint *b, bool strict)
{
    if (a == b || (a->bound_if && b->bound_if && a->bound_if != b->bound_if) || !addrs_overlap(a, addr, b))
        return false;
    if (strict)
        return true;
    if (a->reuseaddr && b->reuseaddr && !b->listening)
        return false;
    return !(a->reuseport && b->reuseport && a->uid == b->uid);
}

static bool port_free(struct port_table *t, const struct endpoint *ep, const struct in6_addr *addr, be16 port, bool strict)
{
    struct port_bucket *b = bucket_find(t, port);
    struct endpoint *other;

    if (!b)
        return true;
    list_for_each_entry(other, &b->eps, bind_node)
        if (conflicts(ep, addr, other, strict))
            return false;
    return true;
}

/* Calls `ok` for the ports of the local range from a random one on; the first that is fine, or 0. */
static be16 search_port(struct port_table *t, struct endpoint *ep, bool (*ok)(struct port_table *, struct endpoint *, be16))
{
    uint32_t min = t->stack->sysctl.port_min, n = t->stack->sysctl.port_max - min + 1;
    uint32_t at = netstack_random32(t->stack) % n;

    for (uint32_t i = 0; i < n; i++) {
        be16 port = htons(min + (at + i) % n);

        if (ok(t, ep, port))
            return port;
    }
    return 0;
}

static bool bindable(struct port_table *t, struct endpoint *ep, be16 port)
{
    return port_free(t, ep, &ep->laddr, port, true);
}

int port_bind(struct port_table *t, struct endpoint *ep, const struct in6_addr *addr, be16 port)
{
    struct in6_addr before = ep->laddr;
    int r;

    ep->laddr = *addr;
    if (port) {
        r = port_free(t, ep, addr, port, false) ? 0 : -EADDRINUSE;
    } else {
        port = search_port(t, ep, bindable);
        r = port ? 0 : -EADDRINUSE;
    }
    if (!r) {
        ep->autobound = ep->inherits = false;
        r = bucket_join(t, ep, port);
    }
    if (r) {
        ep->laddr = before;
        return r;
    }
    list_add(&ep->listen_node, &t->listen[port_slot(port)]);
    return 0;
}

bool port_bind_ok(struct port_table *t, struct endpoint *ep)
{
    return port_free(t, ep, &ep->laddr, ep->lport, false);
}

static struct endpoint *find_conn(struct port_table *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr,
                                  be16 rport, int ifindex)
{
    struct endpoint *ep;

    list_for_each_entry(ep, &t->conn[conn_hash(t, laddr, lport, raddr, rport) & (t->conn_size - 1)], conn_node)
        if (ep->lport == lport && ep->rport == rport && addr_equal(&ep->laddr, laddr) && addr_equal(&ep->raddr, raddr) &&
            (!ep->bound_if || !ifindex || ep->bound_if == ifindex))
            return ep;
    return NULL;
}

static bool connectable(struct port_table *t, struct endpoint *ep, be16 port)
{
    struct port_bucket *b = bucket_find(t, port);

    return (!b || !b->explicit_eps) && !find_conn(t, &ep->laddr, port, &ep->raddr, ep->rport, ep->bound_if);
}

int port_connect(struct port_table *t, struct endpoint *ep)
{
    be16 port;
    int r;

    if (ep->bucket) {
        struct endpoint *other = find_conn(t, &ep->laddr, ep->lport, &ep->raddr, ep->rport, ep->bound_if);
        if (other && other != ep && ep->proto == IPPROTO_TCP) /* datagram sockets may be alike */
            return -EADDRNOTAVAIL;
        conn_enter(t, ep);
        return 0;
    }
    port = search_port(t, ep, connectable);
    if (!port)
        return -EADDRNOTAVAIL;
    ep->autobound = true;
    ep->inherits = false;
    r = bucket_join(t, ep, port);
    if (r)
        return r;
    conn_enter(t, ep);
    return 0;
}

int port_accept(struct port_table *t, struct endpoint *ep, struct endpoint *listener)
{
    int r;

    if (find_conn(t, &ep->laddr, listener->lport, &ep->raddr, ep->rport, ep->bound_if))
        return -EADDRNOTAVAIL;
    ep->inherits = true;
    ep->autobound = false;
    r = bucket_join(t, ep, listener->lport);
    if (r)
        return r;
    conn_enter(t, ep);
    return 0;
}

void port_disconnect(struct port_table *t, struct endpoint *ep)
{
    if (!ep->connected)
        return;
    list_del_init(&ep->conn_node);
    t->nr_conn--;
    ep->connected = false;
    if (ep->bucket)
        list_add(&ep->listen_node, &t->listen[port_slot(ep->lport)]);
}

void port_unbind(struct port_table *t, struct endpoint *ep)
{
    if (ep->connected) {
        list_del_init(&ep->conn_node);
        t->nr_conn--;
        ep->connected = false;
    }
    list_del_init(&ep->listen_node);
    if (ep->bucket)
        bucket_leave(ep);
    ep->lport = 0;
}

static void take_place(struct list_head *from, struct list_head *to)
{
    if (list_empty(from))
        return;
    list_add(to, from);
    list_del_init(from);
}

void port_replace(struct port_table *t, struct endpoint *from, struct endpoint *to)
{
    take_place(&from->conn_node, &to->conn_node);
    take_place(&from->listen_node, &to->listen_node);
    take_place(&from->bind_node, &to->bind_node);
    to->bucket = from->bucket;
    to->lport = from->lport;
    to->connected = from->connected;
    to->autobound = from->autobound;
    to->inherits = from->inherits;
    to->seq = from->seq;
    from->bucket = NULL;
    from->connected = false;
    from->lport = 0;
}

/* How well an unconnected endpoint fits; negative: not at all. */
static int score(const struct endpoint *ep, const struct in6_addr *laddr, be16 lport, int ifindex)
{
    int points = 0;

    /* A TCP port that is only bound must not hide a listener's. */
    if (ep->proto == IPPROTO_TCP && !ep->listening)
        return -1;
    if (ep->lport != lport || (ep->bound_if && ep->bound_if != ifindex))
        return -1;
    if (addr_is_any(&ep->laddr)) {
        if (addr_is_v4(laddr) ? !hears_v4(ep, &ep->laddr) : addr_is_v4(&ep->laddr))
            return -1;
    } else {
        if (!addr_equal(&ep->laddr, laddr))
            return -1;
        points += 4;
    }
    if (ep->bound_if)
        points += 2;
    if (ep->family == addr_family(laddr))
        points += 1;
    return points;
}

struct endpoint *port_lookup_connected(struct port_table *t, const struct in6_addr *laddr, be16 lport,
                                       const struct in6_addr *raddr, be16 rport, const struct nic *nic)
{
    return t->nr_conn ? find_conn(t, laddr, lport, raddr, rport, nic ? nic->index : 0) : NULL;
}

struct endpoint *port_lookup(struct port_table *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr,
                             be16 rport, const struct nic *nic)
{
    struct endpoint *ep = port_lookup_connected(t, laddr, lport, raddr, rport, nic), *best = NULL;
    struct list_head *head = &t->listen[port_slot(lport)];
    int most = -1, same = 0, ifindex = nic ? nic->index : 0;

    if (ep)
        return ep;
    list_for_each_entry(ep, head, listen_node) {
        int points = score(ep, laddr, lport, ifindex);

        if (points > most) {
            most = points;
            best = ep;
            same = 1;
        } else if (points == most && points >= 0 && ep->reuseport) {
            same++;
        }
    }
    if (!best || !best->reuseport || same < 2)
        return best;
    same = conn_hash(t, laddr, lport, raddr, rport) % same;
    list_for_each_entry(ep, head, listen_node)
        if (ep->reuseport && score(ep, laddr, lport, ifindex) == most && same-- == 0)
            return ep;
    return best;
}

void port_for_each_match(struct port_table *t, const struct in6_addr *laddr, be16 lport, const struct in6_addr *raddr,
                         be16 rport, const struct nic *nic, void (*fn)(struct endpoint *ep, void *arg), void *arg)
{
    struct port_bucket *b = bucket_find(t, lport);
    struct endpoint *ep;

    if (!b)
        return;
    list_for_each_entry(ep, &b->eps, bind_node) {
        if (ep->connected && (ep->rport != rport || !addr_equal(&ep->raddr, raddr)))
            continue;
        /* A connected one has a local address that is not the group: it was bound to the group or to none. */
        if (ep->connected ? (ep->bound_if && nic && ep->bound_if != nic->index)
                          : score(ep, laddr, lport, nic ? nic->index : 0) < 0)
            continue;
        fn(ep, arg);
    }
}
