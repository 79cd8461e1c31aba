/*
 * Packets: a linear part, in which headers are pushed and pulled, and a list of fragments that share reference-counted buffers.
 *
 *      buf->mem          data              data+lin
 *      | headroom        | linear part     | room |     frag 0 | frag 1 | ...
 *                        |<------------------- len ------------------->|
 *
 * A packet has one owner; whoever is handed it frees it or hands it on. Buffers are shared (pkt_clone, pkt_slice, what TCP
 * keeps to send again), so nobody writes to one with more than one reference: pkt_push and pkt_writable copy the linear part
 * when they have to, and fragments are never written. Packets may be made, filled and freed without any lock.
 */
#ifndef NETSTACK_PKT_H
#define NETSTACK_PKT_H

#include "lib/compiler.h"
#include "lib/list.h"
#include "lib/refcount.h"
#include "netstack/addr.h"

#include <linux/errqueue.h>
#include <sys/uio.h>

struct nf_conn;
struct nic;

/* Room in front that is enough for every header that the stack adds: virtio-net 12, Ethernet 14, IPv6 40 + options, TCP 60. */
#define PKT_HEADROOM  192
#define PKT_MAX_FRAGS 20
/* The largest packet, GSO ones included: what an IPv4 total length can say, and a link header. */
#define PKT_MAX_LEN (65535 + 64)

struct pkt_buf {
    struct refcount ref;
    uint32_t size;
    uint8_t *mem;                      /* follows the struct, or memory of somebody else's */
    void (*release)(struct pkt_buf *); /* frees it all; NULL: free() of the struct */
};

struct pkt_buf *pkt_buf_alloc(size_t size); /* NULL: out of memory */
static inline struct pkt_buf *pkt_buf_get(struct pkt_buf *b)
{
    ref_get(&b->ref);
    return b;
}
void pkt_buf_put(struct pkt_buf *b);

struct pkt_frag {
    struct pkt_buf *buf;
    uint32_t off, len;
};

enum pkt_csum {
    PKT_CSUM_NONE,     /* received: not looked at. sent: complete */
    PKT_CSUM_VERIFIED, /* received: the transport checksum is known to be right */
    PKT_CSUM_PARTIAL, /* the field at csum_start + csum_off holds the pseudo-header's sum, folded and not inverted; the sum from
                       * csum_start on is still to be added. Received so from a peer on this host: as good as verified */
};

enum pkt_gso { PKT_GSO_NONE, PKT_GSO_TCPV4, PKT_GSO_TCPV6, PKT_GSO_UDP };

/* What the IP layer found out about a received packet. Complete before transports and endpoints see it. */
struct ip_info {
    struct in6_addr src, dst;
    uint8_t proto;     /* of the transport header */
    uint8_t ttl;       /* or hop limit */
    uint8_t tos;       /* or traffic class */
    uint8_t opt_len;   /* IPv4: bytes of options, at l3 + 20 */
    be32 flowinfo;     /* IPv6: traffic class and flow label, as in sin6_flowinfo */
    uint16_t ext_len;  /* IPv6: bytes of extension headers, at l3 + 40 */
    uint16_t frag_max; /* longest fragment of a reassembled packet; 0: was whole */
    uint8_t type;      /* RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST: how dst is ours */
    uint8_t inner;     /* for ICMP errors: this is the packet that we sent */
};

struct pkt {
    struct list_head node; /* whoever owns it queues it here */
    struct pkt_buf *buf;   /* of the linear part */
    uint8_t *data;
    uint32_t lin, len;   /* bytes of the linear part; of all */
    uint32_t l2, l3, l4; /* headers: offsets into buf->mem, so that they outlive push and pull; 0: unset */
    uint32_t csum_start; /* the same kind of offset */
    uint16_t csum_off;   /* from csum_start */
    uint8_t csum;        /* enum pkt_csum */
    uint8_t gso;         /* enum pkt_gso */
    uint16_t gso_size;   /* payload bytes of a segment */
    uint16_t gso_segs;   /* how many segments, 1 for ordinary packets */
    be16 protocol;       /* ETH_P_* */
    uint8_t type; /* PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST, PACKET_OUTGOING, as in sockaddr_ll */
    uint8_t nf_ctinfo; /* conntrack: enum ip_conntrack_info */
    bool nf_skip : 1;  /* made by the stack itself: do not track */
    bool ecn_ce : 1;   /* GRO: some segment had congestion experienced */
    uint8_t nr_frags;
    struct nic *nic; /* received: where from; sent: where to. Not a reference: nic_destroy() waits for no packet, it flushes */
    int iif;         /* index of the interface it came in by, 0: made here */
    uint32_t mark, priority;
    uint32_t hash;        /* of the flow; 0: unknown */
    int64_t tstamp;       /* realtime ns; received: when it arrived. 0: unknown */
    uint32_t truesize;    /* memory it holds, for limits of queues */
    struct nf_conn *nfct; /* its connection; referenced */
    struct ip_info ip;    /* received packets, from IP on */
    union {
        struct {
            be16 sport, dport;
        } udp; /* received UDP datagrams, in an endpoint's queue */
        struct {
            uint32_t seq, end_seq, ack;
            uint8_t flags, sacked;
            int64_t sent;
        } tcp; /* TCP's own */
        struct {
            struct sock_extended_err ee; /* as MSG_ERRQUEUE returns it */
            struct in6_addr offender;
            struct in6_addr dst; /* where the packet was going */
            be16 port;
        } err; /* in an error queue; the data is the payload that caused it */
        uint8_t cb[80];
    };
    struct pkt_frag frag[PKT_MAX_FRAGS];
};

/* A packet with `headroom` in front of an empty linear part with room for `size` bytes. NULL: out of memory. */
struct pkt *pkt_alloc(size_t headroom, size_t size);
/* One whose linear part is a copy of `len` bytes, with PKT_HEADROOM in front. */
struct pkt *pkt_from(const void *data, size_t len);
void pkt_free(struct pkt *p); /* NULL is fine */
/* Drops marks, connection and times: what does not travel to another stack. */
void pkt_forget(struct pkt *p);

/* The same packet sharing all buffers; marks, offsets and information are copied, queues are not. */
struct pkt *pkt_clone(struct pkt *p);
/* A packet of the `len` bytes from `off` on, as fragments shared with `p`, with an empty linear part behind `headroom`. Of the
 * rest only nic, mark, priority, protocol and connection are copied. */
struct pkt *pkt_slice(struct pkt *p, size_t off, size_t len, size_t headroom);

/* Makes room for `n` bytes in front of the data, and returns it, writable. NULL: out of memory; the packet is unchanged. */
void *pkt_push(struct pkt *p, size_t n);
/* Makes room for `n` bytes at the end of the linear part, which must have it (see pkt_alloc), of a packet without fragments. */
void *pkt_put(struct pkt *p, size_t n);
/* Drops `n` bytes, which are there, from the front. */
void pkt_pull(struct pkt *p, size_t n);
/* Cuts off what exceeds `len`. */
void pkt_trim(struct pkt *p, size_t len);
/* Makes the first `n` bytes linear. False: the packet is shorter, or out of memory. Pointers into the packet may change. */
static inline bool pkt_need(struct pkt *p, size_t n);
bool pkt_need_slow(struct pkt *p, size_t n);
/* pkt_need, and makes the linear part the packet's own, so that it may be written. */
bool must_check pkt_writable(struct pkt *p, size_t n);

/* Adds bytes at the end: a share of `buf` (a reference is taken), or a copy. False: no fragment free, or out of memory. */
bool must_check pkt_add_frag(struct pkt *p, struct pkt_buf *buf, size_t off, size_t len);
bool must_check pkt_add_data(struct pkt *p, const void *data, size_t len);
/* Moves all bytes of `q` to the end of `p` and frees `q`; copies when fragments run out. False: out of memory, both unchanged.
 */
bool must_check pkt_append(struct pkt *p, struct pkt *q);

/* Bytes from..from+len, which are there. */
void pkt_copy_out(const struct pkt *p, size_t from, void *to, size_t len);
/* Pieces of from..from+len into iov; the number of entries (at most PKT_MAX_FRAGS + 1), or -1 if max is too small. */
int pkt_iov(const struct pkt *p, size_t from, size_t len, struct iovec *iov, int max);
/* Checksum of from..from+len, added to sum. */
uint32_t pkt_csum(const struct pkt *p, size_t from, size_t len, uint32_t sum);
/* Turns PKT_CSUM_PARTIAL into a complete checksum. False: out of memory. */
bool must_check pkt_csum_complete(struct pkt *p);

static inline bool pkt_need(struct pkt *p, size_t n)
{
    return likely(n <= p->lin) || pkt_need_slow(p, n);
}
static inline size_t pkt_offset(const struct pkt *p)
{
    return p->data - p->buf->mem;
}
static inline void *pkt_l2(const struct pkt *p)
{
    return p->buf->mem + p->l2;
}
static inline void *pkt_l3(const struct pkt *p)
{
    return p->buf->mem + p->l3;
}
static inline void *pkt_l4(const struct pkt *p)
{
    return p->buf->mem + p->l4;
}
/* "This header begins at data." */
static inline void pkt_set_l2(struct pkt *p)
{
    p->l2 = pkt_offset(p);
}
static inline void pkt_set_l3(struct pkt *p)
{
    p->l3 = pkt_offset(p);
}
static inline void pkt_set_l4(struct pkt *p)
{
    p->l4 = pkt_offset(p);
}
/* Asks for the transport checksum to be filled in: `field` is its offset in the header that begins at data. */
static inline void pkt_csum_request(struct pkt *p, uint16_t field)
{
    p->csum = PKT_CSUM_PARTIAL;
    p->csum_start = pkt_offset(p);
    p->csum_off = field;
}

/* Queues of packets; guarded by whatever guards their owner. */
struct pkt_queue {
    struct list_head list;
    uint32_t n;    /* packets */
    size_t bytes;  /* of len */
    size_t memory; /* of truesize */
};

static inline void pkt_queue_init(struct pkt_queue *q)
{
    list_init(&q->list);
    q->n = 0;
    q->bytes = q->memory = 0;
}
static inline struct pkt *pkt_queue_head(const struct pkt_queue *q)
{
    return list_empty(&q->list) ? NULL : list_first_entry(&q->list, struct pkt, node);
}
void pkt_queue_add(struct pkt_queue *q, struct pkt *p);
void pkt_queue_del(struct pkt_queue *q, struct pkt *p);
struct pkt *pkt_queue_take(struct pkt_queue *q); /* the first, or NULL */
void pkt_queue_purge(struct pkt_queue *q);

#endif
