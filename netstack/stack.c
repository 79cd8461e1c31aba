#include "netstack/stack_internal.h"

#include "netstack/icmp.h"
#include "netstack/ip_frag.h"
#include "netstack/neigh.h"
#include "netstack/netfilter.h"
#include "netstack/nic_internal.h"
#include "netstack/tcp.h"
#include "netstack/udp.h"

#include <errno.h>
#include <stdlib.h>

static const struct netstack_sysctl default_sysctl = {
    .ip_default_ttl = 64,
    .ip6_hop_limit = 64,
    .port_min = 32768,
    .port_max = 60999,
    .unprivileged_port = 1024,
    .icmp_echo_ignore_broadcasts = 1,
    .icmp_ratelimit = 1000,
    .icmp_msgs_per_sec = 1000,
    .ping_group_min = 1,
    .ipfrag_high_thresh = 4 << 20,
    .ipfrag_time = 30,
    .ip6frag_time = 60,
    .min_pmtu = 552,
    .mtu_expires = 600,
    .igmp_max_memberships = 20,
    .igmp_max_msf = 10,
    .udp_rmem_default = 212992,
};

/* What a stack is made of, in order. */
static const struct part {
    int (*create)(struct netstack *s);
    void (*destroy)(struct netstack *s);
} parts[] = {
    {fib_create, fib_destroy},   {neigh_create_table, neigh_destroy_table},
    {frag_create, frag_destroy}, {icmp_create, icmp_destroy},
    {udp_create, udp_destroy},   {tcp_create_stack, tcp_destroy_stack},
    {lo_create, NULL},
};

static void destroy_nics(struct netstack *s) EXCLUDES(netstack_held)
{
    netstack_lock(s);
    nf_destroy(s);
    while (!list_empty(&s->nics))
        nic_destroy(list_last_entry(&s->nics, struct nic, node));
    netstack_unlock(s);
}

static void destroy_parts(struct netstack *s, size_t n)
{
    destroy_nics(s);
    pkt_queue_purge(&s->backlog);
    while (n-- > 0)
        if (parts[n].destroy)
            parts[n].destroy(s);
    mutex_fini(&s->lock);
    free(s);
}

/* Locked, for the sake of those parts that register something; nobody else knows the stack yet. */
static int create_part(struct netstack *s, size_t i) EXCLUDES(netstack_held)
{
    netstack_lock(s);
    int r = parts[i].create(s);
    netstack_unlock(s);
    return r;
}

/* Several threads often want it at once, each for a short time: who finds it taken looks again a few times before it sleeps. */
static void init_lock(struct mutex *mu)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&mu->m, &attr);
    pthread_mutexattr_destroy(&attr);
}

int netstack_create(const struct netstack_ops *ops, void *ctx, struct netstack **out)
{
    struct netstack *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->ops = ops;
    s->ctx = ctx;
    init_lock(&s->lock);
    list_init(&s->nics);
    list_init(&s->work);
    list_init(&s->raw_eps);
    list_init(&s->packet_eps);
    list_init(&s->packet_fanouts);
    pkt_queue_init(&s->backlog);
    s->kicked = INT64_MAX;
    s->sysctl = default_sysctl;
    s->route_gen = 1;
    ops->random(ctx, s->hash_key, sizeof(s->hash_key));
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        int r = create_part(s, i);
        if (r) {
            destroy_parts(s, i);
            return r;
        }
    }
    *out = s;
    return 0;
}

void netstack_destroy(struct netstack *s)
{
    destroy_parts(s, ARRAY_SIZE(parts));
}

void netstack_lock(struct netstack *s) NO_THREAD_SAFETY_ANALYSIS
{
    mutex_lock(&s->lock);
    s->lock_time = 0;
}

static bool work_left(const struct netstack *s)
{
    return !list_empty(&s->work) || s->backlog.n > 0;
}

static void do_work(struct netstack *s) NETSTACK_LOCKED
{
    for (int budget = NETSTACK_BUDGET; budget > 0 && work_left(s); budget--) {
        /* Packets first: what they cause to be sent goes out with the rest. */
        if (s->backlog.n > 0) {
            lo_drain(s);
            continue;
        }
        struct net_work *w = list_first_entry(&s->work, struct net_work, node);

        list_del_init(&w->node);
        w->fn(w);
    }
}

/* Drops the lock, and has sent what was to be sent. The host's stack may do a lot in that call, so nobody else should wait for
 * it. */
static void unlock_and_send(struct netstack *s) NO_THREAD_SAFETY_ANALYSIS
{
    struct nic *nic = s->senders, *next;

    s->senders = NULL;
    mutex_unlock(&s->lock);
    for (; nic; nic = next) {
        next = nic->next_sender;
        nic->ops->send(nic);
    }
}

void netstack_unlock(struct netstack *s) NO_THREAD_SAFETY_ANALYSIS
{
    if (work_left(s)) {
        do_work(s);
        if (work_left(s) && s->kicked > 0) {
            s->kicked = 0;
            s->ops->kick(s->ctx, 0);
        }
    }
    unlock_and_send(s);
}

int64_t netstack_run_timers(struct netstack *s) NO_THREAD_SAFETY_ANALYSIS
{
    int64_t next;

    netstack_lock(s);
    net_timers_expire(s, netstack_now(s));
    do_work(s);
    next = work_left(s) ? 0 : s->timers ? s->timers->key : INT64_MAX;
    s->kicked = next;
    unlock_and_send(s);
    return next;
}

int64_t netstack_realtime(struct netstack *s)
{
    return s->ops->realtime ? s->ops->realtime(s->ctx) : s->ops->now(s->ctx);
}

uint32_t netstack_random32(struct netstack *s)
{
    uint32_t r;

    s->ops->random(s->ctx, &r, sizeof(r));
    return r;
}

void netstack_notify(struct netstack *s, enum netstack_event event, const void *object)
{
    if (s->ops->notify)
        s->ops->notify(s->ctx, event, object);
}

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = ROTL(v[1], 13) ^ v[0];
    v[0] = ROTL(v[0], 32);
    v[2] += v[3];
    v[3] = ROTL(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = ROTL(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = ROTL(v[1], 17) ^ v[2];
    v[2] = ROTL(v[2], 32);
}

uint64_t netstack_hash(const struct netstack *s, const void *data, size_t len)
{
    uint64_t k0 = s->hash_key[0], k1 = s->hash_key[1];
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL, k0 ^ 0x6c7967656e657261ULL,
                     k1 ^ 0x7465646279746573ULL};
    const uint8_t *p = data;
    uint64_t last = (uint64_t)len << 56, w;

    for (size_t n = len; n >= 8; n -= 8, p += 8) {
        memcpy(&w, p, 8);
        v[3] ^= w;
        sip_round(v);
        sip_round(v);
        v[0] ^= w;
    }
    w = 0;
    memcpy(&w, p, len & 7);
    last |= w;
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void net_work_init(struct net_work *w, void (*fn)(struct net_work *))
{
    list_init(&w->node);
    w->fn = fn;
}

void net_work_queue(struct netstack *s, struct net_work *w)
{
    if (list_empty(&w->node))
        list_add_tail(&w->node, &s->work);
}

void net_work_cancel(struct net_work *w)
{
    list_del_init(&w->node);
}
