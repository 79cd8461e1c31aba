#include "netstack/ip_frag.h"

#include "netstack/icmp.h"

#include <errno.h>
#include <stdlib.h>

#define FRAG_BUCKETS 64
/* Fragments of one datagram: 64 KiB in pieces of 28 bytes would be more; nobody sends such. */
#define FRAGS_MAX 1024
/* Datagrams in pieces at a time, whatever their size. */
#define QUEUES_MAX 2048

struct frag_key {
    struct in6_addr src, dst;
    uint32_t id;
    uint8_t proto, v6, pad[2];
    int nic;
};

struct frag_queue {
    struct list_head node, lru;
    struct netstack *stack;
    struct nic *nic;
    struct frag_key key;
    struct pkt_queue pkts; /* in order of offset, which pkt->tcp.seq holds: no protocol has seen them yet */
    uint32_t have, end;    /* bytes that are there; total length, 0: unknown */
    uint16_t max_size;
    uint8_t next;
    bool first, dead, dontfrag;
    struct net_timer timer;
};

struct frag_table {
    struct list_head hash[FRAG_BUCKETS], lru;
    size_t memory;
    unsigned int nr;
};

int frag_create(struct netstack *s)
{
    struct frag_table *t = malloc(sizeof(*t));

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < FRAG_BUCKETS; i++)
        list_init(&t->hash[i]);
    list_init(&t->lru);
    t->memory = 0;
    t->nr = 0;
    s->frags = t;
    return 0;
}

static void queue_free(struct frag_queue *q) NETSTACK_LOCKED
{
    struct frag_table *t = q->stack->frags;

    list_del_init(&q->node);
    list_del_init(&q->lru);
    net_timer_cancel(q->stack, &q->timer);
    t->memory -= q->pkts.memory + sizeof(*q);
    t->nr--;
    pkt_queue_purge(&q->pkts);
    free(q);
}

void frag_destroy(struct netstack *s) NO_THREAD_SAFETY_ANALYSIS
{
    if (!s->frags)
        return;
    while (!list_empty(&s->frags->lru))
        queue_free(list_first_entry(&s->frags->lru, struct frag_queue, lru));
    free(s->frags);
    s->frags = NULL;
}

void frag_flush_nic(struct nic *nic)
{
    struct frag_queue *q, *tmp;

    list_for_each_entry_safe(q, tmp, &nic->stack->frags->lru, lru)
        if (q->nic == nic)
            queue_free(q);
}

#define COUNT(s, v6, what)              \
    do {                                \
        if (v6)                         \
            MIB_INC(s, Ip6Reasm##what); \
        else                            \
            MIB_INC(s, IpReasm##what);  \
    } while (0)

static void expire(struct net_timer *t) NETSTACK_LOCKED
{
    struct frag_queue *q = container_of(t, struct frag_queue, timer);
    struct netstack *s = q->stack;
    struct pkt *p = pkt_queue_head(&q->pkts);

    if (!q->dead) {
        COUNT(s, q->key.v6, Timeout);
        COUNT(s, q->key.v6, Fails);
        /* Said only by who has the first fragment: the error must show the transport header. */
        if (q->first && p)
            icmp_send_error(s, p, q->key.v6 ? ICMPV6_TIME_EXCEED : ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0);
    }
    queue_free(q);
}

static struct frag_queue *queue_get(struct nic *nic, const struct frag_info *fi) NETSTACK_LOCKED
{
    struct netstack *s = nic->stack;
    struct frag_table *t = s->frags;
    struct frag_key key = {.src = fi->src,
                           .dst = fi->dst,
                           .id = fi->id,
                           .proto = fi->proto,
                           .v6 = !addr_is_v4(&fi->dst),
                           .nic = addr_is_linklocal(&fi->dst) || addr_is_multicast(&fi->dst) ? nic->index : 0};
    struct list_head *head = &t->hash[netstack_hash(s, &key, sizeof(key)) % FRAG_BUCKETS];
    struct frag_queue *q;

    list_for_each_entry(q, head, node)
        if (!memcmp(&q->key, &key, sizeof(key)))
            return q;
    /* The oldest give way: an attacker's fragments push out an attacker's fragments first, if there are more of them. */
    while (!list_empty(&t->lru) && (t->memory > (size_t)s->sysctl.ipfrag_high_thresh || t->nr >= QUEUES_MAX)) {
        q = list_first_entry(&t->lru, struct frag_queue, lru);
        COUNT(s, q->key.v6, Fails);
        queue_free(q);
    }
    q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->stack = s;
    q->nic = nic;
    q->key = key;
    pkt_queue_init(&q->pkts);
    net_timer_init(&q->timer, expire);
    list_add(&q->node, head);
    list_add_tail(&q->lru, &t->lru);
    t->nr++;
    t->memory += sizeof(*q);
    net_timer_arm(s, &q->timer, netstack_now(s) + (key.v6 ? s->sysctl.ip6frag_time : s->sysctl.ipfrag_time) * NET_SEC);
    return q;
}

/* Spoils a datagram: it stays, empty, until its time is over, so that later fragments do not begin it anew. */
static void spoil(struct frag_queue *q)
{
    COUNT(q->stack, q->key.v6, Fails);
    q->stack->frags->memory -= q->pkts.memory;
    pkt_queue_purge(&q->pkts);
    q->dead = true;
}

static uint32_t start_of(const struct pkt *p)
{
    return p->tcp.seq;
}

static uint32_t end_of(const struct pkt *p)
{
    return p->tcp.seq + p->len;
}

/* 1: in place; 0: a repetition; -1: overlaps another. */
static int insert(struct frag_queue *q, struct pkt *p)
{
    struct pkt *at;

    /* From the end, since fragments mostly come in order. */
    for (struct list_head *l = q->pkts.list.prev; l != &q->pkts.list; l = l->prev) {
        at = list_entry(l, struct pkt, node);
        if (start_of(at) == start_of(p) && end_of(at) == end_of(p))
            return 0;
        if (end_of(at) <= start_of(p)) {
            pkt_queue_add(&q->pkts, p);
            list_del_init(&p->node);
            list_add(&p->node, &at->node);
            return 1;
        }
        if (start_of(at) < end_of(p))
            return -1;
    }
    pkt_queue_add(&q->pkts, p);
    list_del_init(&p->node);
    list_add(&p->node, &q->pkts.list);
    return 1;
}

static struct pkt *join(struct frag_queue *q)
{
    struct pkt *p, *next;

    q->stack->frags->memory -= q->pkts.memory;
    p = pkt_queue_take(&q->pkts);
    while ((next = pkt_queue_take(&q->pkts))) {
        if (!pkt_append(p, next)) {
            pkt_free(next);
            pkt_free(p);
            pkt_queue_purge(&q->pkts);
            return NULL;
        }
    }
    /* What a fragment's checksum state was says nothing about the whole. */
    p->csum = PKT_CSUM_NONE;
    p->gso = PKT_GSO_NONE;
    return p;
}

static bool fits_end(const struct frag_queue *q, const struct frag_info *fi, uint32_t end)
{
    if (q->end)
        return fi->more ? end <= q->end : end == q->end;
    return fi->more || list_empty(&q->pkts.list) || end >= end_of(list_last_entry(&q->pkts.list, struct pkt, node));
}

struct pkt *frag_add(struct nic *nic, struct pkt *p, const struct frag_info *fi, uint8_t *next, uint16_t *frag_max)
{
    struct netstack *s = nic->stack;
    bool v6 = !addr_is_v4(&fi->dst);
    uint32_t end = fi->offset + p->len;
    struct frag_queue *q;
    int r;

    COUNT(s, v6, Reqds);
    if (end > 65535 || p->len == 0 || (fi->more && p->len % 8))
        goto bad;
    q = queue_get(nic, fi);
    if (!q)
        goto bad;
    if (q->dead) {
        pkt_free(p);
        return NULL;
    }
    /* The end is where the last fragment says, and nothing lies behind it. */
    if (q->pkts.n >= FRAGS_MAX || !fits_end(q, fi, end)) {
        spoil(q);
        goto drop;
    }
    p->tcp.seq = fi->offset;
    r = insert(q, p);
    if (r <= 0) {
        if (r < 0) {
            MIB_INC(s, IpExtReasmOverlaps);
            spoil(q);
        }
        goto drop;
    }
    s->frags->memory += p->truesize;
    if (!fi->more)
        q->end = end;
    if (fi->offset == 0) {
        q->first = true;
        q->next = fi->next;
    }
    q->have += p->len;
    if (fi->size > q->max_size)
        q->max_size = fi->size;
    if (!q->first || !q->end || q->have != q->end)
        return NULL;
    *next = q->next;
    *frag_max = q->max_size;
    p = join(q);
    queue_free(q);
    if (p)
        COUNT(s, v6, OKs);
    else
        COUNT(s, v6, Fails);
    return p;
bad:
    COUNT(s, v6, Fails);
drop:
    pkt_free(p);
    return NULL;
}
