/*
 * A network stack: what Linux calls a network namespace. No globals; as many as one likes.
 *
 * One lock per stack guards everything in it: packets that come in, timers, routes, endpoints. The embedder calls in with it
 * held (NETSTACK_LOCKED functions); the stack calls out with it held: to NICs to transmit, to endpoints' owners to say that
 * something happened. Callbacks must not block, nor take or drop this lock, nor destroy what called them. User data is copied
 * to and from packets without the lock. For clang there is one capability for the locks of all stacks, so that it can be named
 * everywhere: nobody ever holds two of them, not even of two stacks that are connected.
 *
 * Nothing recurses: loopback packets, and what else is to be done later, are queued and worked off by netstack_unlock(), a
 * bounded number each time; what is left over is done by netstack_run_timers(), which the embedder is kicked to call.
 */
#ifndef NETSTACK_STACK_H
#define NETSTACK_STACK_H

#include "lib/list.h"
#include "lib/lock.h"
#include "netstack/mib.h"
#include "netstack/pkt.h"

struct conntrack;
struct endpoint;
struct fib;
struct frag_table;
struct ip_proto;
struct neigh_table;
struct netfilter;
struct netstack;
struct nic;
struct pkt_queue;
struct port_table;
struct tcp_stack;
struct udp_stack;

/* The capability "the lock of the stack at hand". It has no storage. */
struct CAPABILITY("mutex") netstack_capability {
    char none;
};
extern struct netstack_capability netstack_held;
#define NETSTACK_LOCKED REQUIRES(netstack_held)

enum netstack_event {
    NETSTACK_LINK_NEW, /* struct nic: came, or changed */
    NETSTACK_LINK_DEL,
    NETSTACK_ADDR_NEW, /* struct nic_addr */
    NETSTACK_ADDR_DEL,
    NETSTACK_ROUTE_NEW, /* struct route */
    NETSTACK_ROUTE_DEL,
    NETSTACK_NEIGH_NEW, /* struct neigh */
    NETSTACK_NEIGH_DEL,
    NETSTACK_RULE_NEW, /* struct route_rule */
    NETSTACK_RULE_DEL,
};

struct netstack_ops {
    /* Monotonic ns, never 0. */
    int64_t (*now)(void *ctx);
    /* Wall-clock ns, for time stamps that users see. NULL: now. */
    int64_t (*realtime)(void *ctx);
    /* netstack_run_timers() must be called at `deadline_ns` (of now) at the latest. Under the lock. */
    void (*kick)(void *ctx, int64_t deadline_ns);
    void (*random)(void *ctx, void *buf, size_t len);
    /* For rtnetlink groups. NULL: nobody asks. Under the lock. */
    void (*notify)(void *ctx, enum netstack_event event, const void *object);
};

/* What runs at a time. Zero-initialised or net_timer_init()ed; the owner cancels it before its memory goes. */
struct net_timer {
    struct net_timer *child, *next, *prev; /* pairing heap */
    int64_t expires;                       /* when it is due */
    int64_t key;                           /* where it stands in the heap: <= expires */
    bool armed, queued;
    void (*fn)(struct net_timer *); /* called under the lock, with the timer no longer armed */
};

/* Work to be done before the lock is dropped (endpoints that wait for memory, transmit queues). */
struct net_work {
    struct list_head node;
    void (*fn)(struct net_work *);
};

/* The hooks of netfilter, numbered as NF_INET_*. */
enum { NETSTACK_HOOKS = 5 };
enum nf_verdict { NF_STACK_DROP, NF_STACK_ACCEPT, NF_STACK_STOLEN };
/* Looks at, and may change, a packet whose data begins at its IP header, with l3 and l4 set. `in`, `out`: may be NULL. */
typedef enum nf_verdict netstack_hook_fn(struct netstack *s, int hook, struct pkt *p, struct nic *in, struct nic *out);

/* Settings with names below /proc/sys/net. Plain ints, under the lock. */
struct netstack_sysctl {
    int ip_forward;         /* ipv4/ip_forward */
    int ip6_forward;        /* ipv6/conf/all/forwarding */
    int ip_default_ttl;     /* ipv4/ip_default_ttl: 64 */
    int ip6_hop_limit;      /* 64 */
    int port_min, port_max; /* ipv4/ip_local_port_range, host order */
    int unprivileged_port;  /* ipv4/ip_unprivileged_port_start */
    int icmp_echo_ignore_all;
    int icmp_echo_ignore_broadcasts;    /* 1 */
    int icmp_ratelimit;                 /* ms between errors to one peer, 1000 */
    int icmp_msgs_per_sec;              /* 1000 */
    int ping_group_min, ping_group_max; /* 1, 0: nobody */
    int ip_nonlocal_bind;
    int ipfrag_high_thresh;   /* bytes of fragments kept, 4 MiB */
    int ipfrag_time;          /* s, 30 */
    int ip6frag_time;         /* s, 60 */
    int min_pmtu;             /* 552 */
    int mtu_expires;          /* s, 600 */
    int igmp_max_memberships; /* per socket, 20 */
    int igmp_max_msf;         /* sources per membership, 10 */
    int bindv6only;
    int accept_local;
    int udp_rmem_default; /* 212992 */
    int disable_ipv6;     /* for NICs to come */
    int rp_filter;        /* ipv4/conf/all: 0 */
};

struct netstack {
    const struct netstack_ops *ops;
    void *ctx;
    struct mutex lock;

    struct list_head nics GUARDED_BY(lock); /* struct nic, by index */
    int last_ifindex;
    struct nic *lo; /* always there, index 1 */

    struct net_timer *timers; /* root of the heap */
    int64_t kicked;           /* the deadline last told to the embedder; INT64_MAX: none */
    int64_t expiring;         /* the time whose timers are being run; 0: none */
    struct list_head work;    /* struct net_work */
    struct pkt_queue backlog; /* loopback packets to be received */
    struct nic *senders;      /* have something to send when the lock is dropped */

    struct fib *fib;
    struct neigh_table *neigh;
    struct frag_table *frags;
    uint32_t route_gen; /* bumped whenever an answer of route_lookup() may have changed */
    const struct ip_proto *proto[256];
    struct udp_stack *udp;
    struct tcp_stack *tcp;
    struct list_head raw_eps;               /* struct raw_ep */
    struct list_head packet_fanouts;        /* struct packet_fanout */
    struct list_head packet_eps;            /* struct packet_ep that hear all NICs */
    netstack_hook_fn *hook[NETSTACK_HOOKS]; /* NULL: accept */
    struct netfilter *nf;
    struct icmp_state *icmp;

    int64_t lock_time; /* see netstack_time(); 0: not asked for yet */

    struct netstack_sysctl sysctl;
    struct net_mib mib;
    uint16_t ip_ids[256]; /* next IPv4 identifications, by a hash of the addresses */
    uint64_t hash_key[2]; /* random, for hash tables and port choice */
};

/* With a loopback NIC that is down. `ops` and `ctx` live as long as the stack. -ENOMEM. */
int must_check netstack_create(const struct netstack_ops *ops, void *ctx, struct netstack **out);
/* All endpoints must have been destroyed; NICs are destroyed with it. */
void netstack_destroy(struct netstack *s);

void netstack_lock(struct netstack *s) ACQUIRE(netstack_held);
/* Works off what is queued (see above), lets NICs flush, and drops the lock. */
void netstack_unlock(struct netstack *s) RELEASE(netstack_held);

/* Runs what is due and returns when to come next, INT64_MAX: not before a kick. Takes the lock itself. */
int64_t netstack_run_timers(struct netstack *s) EXCLUDES(netstack_held);

static inline int64_t netstack_now(struct netstack *s)
{
    return s->ops->now(s->ctx);
}
/* The same, but asked for once per hold of the lock: reading the clock is not cheap, and TCP does for every segment. */
static inline int64_t netstack_time(struct netstack *s) NETSTACK_LOCKED
{
    if (!s->lock_time)
        s->lock_time = netstack_now(s);
    return s->lock_time;
}
int64_t netstack_realtime(struct netstack *s);
uint32_t netstack_random32(struct netstack *s);
void netstack_notify(struct netstack *s, enum netstack_event event, const void *object) NETSTACK_LOCKED;
/* A keyed hash (SipHash-2-4 of the stack's random key): safe for tables that peers fill. */
uint64_t netstack_hash(const struct netstack *s, const void *data, size_t len);

void net_timer_init(struct net_timer *t, void (*fn)(struct net_timer *));
/* Sets, or moves, the time; moving it later is nearly free. Never fails. */
void net_timer_arm(struct netstack *s, struct net_timer *t, int64_t expires) NETSTACK_LOCKED;
void net_timer_cancel(struct netstack *s, struct net_timer *t) NETSTACK_LOCKED;
static inline bool net_timer_armed(const struct net_timer *t)
{
    return t->armed;
}

void net_work_init(struct net_work *w, void (*fn)(struct net_work *));
/* Once, however often it is queued before it has run. */
void net_work_queue(struct netstack *s, struct net_work *w) NETSTACK_LOCKED;
void net_work_cancel(struct net_work *w) NETSTACK_LOCKED;

#define NET_SEC  1000000000LL
#define NET_MSEC 1000000LL

#endif
