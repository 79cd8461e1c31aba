#include "sentry/socket/inet_net/packet_ring.h"

#include "lib/memfile.h"
#include "sentry/socket/inet_net/inet_net.h"
#include "vfs/file.h"

#include <errno.h>
#include <string.h>

/* All rings of a socket; tcpdump asks for 2 MB. */
#define RING_MAX          (256u << 20)
#define DEFAULT_RETIRE_NS 8000000
#define ALIGN8(n)         (((n) + 7u) & ~7u)
#define BLOCK_HDR         ALIGN8((uint32_t)sizeof(struct tpacket_block_desc))

static uint32_t header_size(int version)
{
    return version == TPACKET_V1   ? sizeof(struct tpacket_hdr)
           : version == TPACKET_V2 ? sizeof(struct tpacket2_hdr)
                                   : sizeof(struct tpacket3_hdr);
}

uint32_t packet_ring_hdrlen(int version)
{
    return TPACKET_ALIGN(header_size(version)) + (uint32_t)sizeof(struct sockaddr_ll);
}

static bool check(const struct packet_ring_set *set, bool tx, const struct tpacket_req3 *q)
{
    uint32_t min = packet_ring_hdrlen(set->version) + set->reserve;

    if ((int)q->tp_block_size <= 0 || q->tp_block_size % MEMFILE_PAGE)
        return false;
    if (set->version == TPACKET_V3 &&
        (tx || (uint64_t)BLOCK_HDR + (((uint64_t)q->tp_sizeof_priv + 7) & ~7ull) + min > q->tp_block_size))
        return false;
    if (q->tp_frame_size < min || q->tp_frame_size & (TPACKET_ALIGNMENT - 1) || q->tp_block_size / q->tp_frame_size == 0)
        return false;
    return (uint64_t)(q->tp_block_size / q->tp_frame_size) * q->tp_block_nr == q->tp_frame_nr;
}

static void open_block(struct packet_ring *r) NETSTACK_LOCKED;
static void retire(struct net_timer *t) NETSTACK_LOCKED;

int packet_ring_set(struct packet_ring_set *set, bool tx, struct memfile *mf, struct netstack *s, const void *req,
                    socklen_t len, void (*ready)(void *arg), void *arg)
{
    struct packet_ring *r = tx ? &set->tx : &set->rx, *other = tx ? &set->rx : &set->tx;
    struct tpacket_req3 q = {0};
    size_t need = set->version == TPACKET_V3 ? sizeof(q) : sizeof(struct tpacket_req);
    uint64_t size, base;

    if (len < need)
        return -EINVAL;
    memcpy(&q, req, need);
    if (q.tp_block_nr == 0) {
        if (q.tp_frame_nr)
            return -EINVAL;
        packet_ring_drop(r);
        return 0;
    }
    if (r->size)
        return -EBUSY;
    if (!check(set, tx, &q))
        return -EINVAL;
    size = (uint64_t)q.tp_block_size * q.tp_block_nr;
    if (size + other->size > RING_MAX || memfile_alloc(mf, size, MEMFILE_ZERO, &base) < 0)
        return -ENOMEM;
    *r = (struct packet_ring){.mf = mf,
                              .stack = s,
                              .base = base,
                              .size = size,
                              .mem = memfile_ptr(mf, base),
                              .block_size = q.tp_block_size,
                              .block_nr = q.tp_block_nr,
                              .frame_size = q.tp_frame_size,
                              .frame_nr = q.tp_frame_nr,
                              .frames_per_block = q.tp_block_size / q.tp_frame_size,
                              .priv = ALIGN8(q.tp_sizeof_priv),
                              .retire_ns = q.tp_retire_blk_tov ? (int64_t)q.tp_retire_blk_tov * 1000000 : DEFAULT_RETIRE_NS,
                              .ready = ready,
                              .arg = arg};
    net_timer_init(&r->timer, retire);
    if (set->version == TPACKET_V3 && !tx)
        open_block(r);
    return 0;
}

void packet_ring_drop(struct packet_ring *r)
{
    if (!r->size)
        return;
    net_timer_cancel(r->stack, &r->timer);
    memfile_put(r->mf, r->base, r->size);
    r->size = 0;
}

static char *frame_at(const struct packet_ring *r, uint32_t n)
{
    return r->mem + (uint64_t)(n / r->frames_per_block) * r->block_size + (uint64_t)(n % r->frames_per_block) * r->frame_size;
}

/* The status word is shared with the guest, and all that is read of what it may write. */
static uint64_t get_status(const char *frame, int version)
{
    if (version == TPACKET_V1)
        return __atomic_load_n((const unsigned long *)frame, __ATOMIC_ACQUIRE);
    return __atomic_load_n((const uint32_t *)frame, __ATOMIC_ACQUIRE);
}

static void set_status(char *frame, int version, uint32_t status)
{
    if (version == TPACKET_V1)
        __atomic_store_n((unsigned long *)frame, status, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint32_t *)frame, status, __ATOMIC_RELEASE);
}

/* ---- V3: blocks ---- */

static struct tpacket_block_desc *block_at(const struct packet_ring *r, uint32_t n)
{
    return (struct tpacket_block_desc *)(r->mem + (uint64_t)n * r->block_size);
}

static uint32_t block_status(const struct packet_ring *r, uint32_t n)
{
    return __atomic_load_n(&block_at(r, n)->hdr.bh1.block_status, __ATOMIC_ACQUIRE);
}

static void open_block(struct packet_ring *r)
{
    struct tpacket_block_desc *d = block_at(r, r->head);

    r->open = block_status(r, r->head) == TP_STATUS_KERNEL;
    if (!r->open) {
        if (!r->frozen)
            r->freezes++;
        r->frozen = true;
        return;
    }
    r->frozen = false;
    r->at = BLOCK_HDR + r->priv;
    r->packets = 0;
    r->first_ns = netstack_realtime(r->stack);
    d->version = TPACKET_V3;
    d->offset_to_priv = BLOCK_HDR;
    d->hdr.bh1 = (struct tpacket_hdr_v1){.num_pkts = 0, .offset_to_first_pkt = r->at, .blk_len = r->at, .seq_num = ++r->seq};
}

static void close_block(struct packet_ring *r, uint32_t why) NETSTACK_LOCKED
{
    struct tpacket_block_desc *d = block_at(r, r->head);
    int64_t last = r->packets ? r->last_ns : netstack_realtime(r->stack);

    if (r->packets)
        ((struct tpacket3_hdr *)((char *)d + r->prev))->tp_next_offset = 0;
    d->hdr.bh1.num_pkts = r->packets;
    d->hdr.bh1.blk_len = r->at;
    d->hdr.bh1.ts_first_pkt.ts_sec = (unsigned int)(r->first_ns / 1000000000);
    d->hdr.bh1.ts_first_pkt.ts_nsec = (unsigned int)(r->first_ns % 1000000000);
    d->hdr.bh1.ts_last_pkt.ts_sec = (unsigned int)(last / 1000000000);
    d->hdr.bh1.ts_last_pkt.ts_nsec = (unsigned int)(last % 1000000000);
    __atomic_store_n(&d->hdr.bh1.block_status, TP_STATUS_USER | why, __ATOMIC_RELEASE);
    net_timer_cancel(r->stack, &r->timer);
    r->open = false;
    r->head = (r->head + 1) % r->block_nr;
    r->ready(r->arg);
}

static void retire(struct net_timer *t)
{
    struct packet_ring *r = container_of(t, struct packet_ring, timer);

    if (r->open && r->packets) {
        close_block(r, TP_STATUS_BLK_TMO);
        open_block(r);
    }
}

/* Room for a packet of `len` bytes with its header in a block; NULL: the user has all of them. */
static char *room_in_block(struct packet_ring *r, uint32_t len) NETSTACK_LOCKED
{
    uint32_t step = ALIGN8(len);
    char *at;

    if (!r->open)
        open_block(r);
    if (r->open && step > r->block_size - r->at) {
        close_block(r, 0);
        open_block(r);
    }
    if (!r->open || step > r->block_size - r->at)
        return NULL;
    at = (char *)block_at(r, r->head) + r->at;
    ((struct tpacket3_hdr *)at)->tp_next_offset = step;
    r->prev = r->at;
    r->at += step;
    if (r->packets++ == 0)
        net_timer_arm(r->stack, &r->timer, netstack_now(r->stack) + r->retire_ns);
    return at;
}

/* ---- receiving ---- */

static void put_address(char *at, const struct pkt *p)
{
    struct sockaddr_ll a = {.sll_family = AF_PACKET,
                            .sll_protocol = p->protocol,
                            .sll_ifindex = p->iif,
                            .sll_hatype = p->nic ? p->nic->arp_type : 0,
                            .sll_pkttype = p->type,
                            .sll_halen = 6};

    memcpy(a.sll_addr, (const uint8_t *)pkt_l2(p) + 6, 6);
    memcpy(at, &a, sizeof(a));
}

struct place {
    uint32_t mac, net, snap, len;
    int64_t ns;
};

static void put_header(char *at, int version, const struct place *w, uint32_t status)
{
    uint32_t sec = (uint32_t)(w->ns / 1000000000), nsec = (uint32_t)(w->ns % 1000000000);

    if (version == TPACKET_V1) {
        struct tpacket_hdr *h = (struct tpacket_hdr *)at;

        h->tp_len = w->len;
        h->tp_snaplen = w->snap;
        h->tp_mac = (unsigned short)w->mac;
        h->tp_net = (unsigned short)w->net;
        h->tp_sec = sec;
        h->tp_usec = nsec / 1000;
    } else if (version == TPACKET_V2) {
        struct tpacket2_hdr *h = (struct tpacket2_hdr *)at;

        h->tp_len = w->len;
        h->tp_snaplen = w->snap;
        h->tp_mac = (uint16_t)w->mac;
        h->tp_net = (uint16_t)w->net;
        h->tp_sec = sec;
        h->tp_nsec = nsec;
        h->tp_vlan_tci = h->tp_vlan_tpid = 0;
        memset(h->tp_padding, 0, sizeof(h->tp_padding));
    } else {
        uint32_t next = ((struct tpacket3_hdr *)at)->tp_next_offset;

        *(struct tpacket3_hdr *)at = (struct tpacket3_hdr){.tp_next_offset = next,
                                                           .tp_sec = sec,
                                                           .tp_nsec = nsec,
                                                           .tp_snaplen = w->snap,
                                                           .tp_len = w->len,
                                                           .tp_status = status,
                                                           .tp_mac = (uint16_t)w->mac,
                                                           .tp_net = (uint16_t)w->net};
    }
}

bool packet_ring_put(struct packet_ring_set *set, const struct pkt *p, uint32_t snaplen, bool cooked, bool drops)
{
    struct packet_ring *r = &set->rx;
    uint32_t hdrlen = packet_ring_hdrlen(set->version), status = TP_STATUS_USER | TP_STATUS_TS_SOFTWARE, max;
    struct place w = {.len = p->len, .snap = snaplen < p->len ? snaplen : p->len, .ns = p->tstamp};
    char *at;

    w.net = TPACKET_ALIGN(hdrlen + 16) + set->reserve;
    w.mac = cooked ? w.net : w.net - NIC_HDR_LEN;
    if (p->csum == PKT_CSUM_PARTIAL)
        status |= TP_STATUS_CSUMNOTREADY;
    else if (p->type != PACKET_OUTGOING && p->csum != PKT_CSUM_NONE)
        status |= TP_STATUS_CSUM_VALID;
    if (drops)
        status |= TP_STATUS_LOSING;
    max = set->version == TPACKET_V3 ? r->block_size - BLOCK_HDR - r->priv : r->frame_size;
    if (w.mac > max || w.net > UINT16_MAX)
        return false;
    if (w.snap > max - w.mac)
        w.snap = max - w.mac;
    if (set->version == TPACKET_V3) {
        at = room_in_block(r, w.mac + w.snap);
        r->last_ns = p->tstamp;
    } else {
        at = frame_at(r, r->head);
        if (get_status(at, set->version) != TP_STATUS_KERNEL)
            at = NULL;
    }
    if (!at)
        return false;
    pkt_copy_out(p, 0, at + w.mac, w.snap);
    put_header(at, set->version, &w, status);
    put_address(at + TPACKET_ALIGN(header_size(set->version)), p);
    if (set->version != TPACKET_V3) {
        r->head = (r->head + 1) % r->frame_nr;
        set_status(at, set->version, status);
        r->ready(r->arg);
    }
    return true;
}

bool packet_ring_readable(struct packet_ring_set *set)
{
    struct packet_ring *r = &set->rx;
    uint32_t n = set->version == TPACKET_V3 ? r->block_nr : r->frame_nr, last = (r->head + n - 1) % n;

    /* What was filled last is the user's to read. */
    return set->version == TPACKET_V3 ? block_status(r, last) != TP_STATUS_KERNEL
                                      : get_status(frame_at(r, last), set->version) != TP_STATUS_KERNEL;
}

/* ---- sending ---- */

bool packet_ring_writable(struct packet_ring_set *set)
{
    return get_status(frame_at(&set->tx, set->tx.head), set->version) == TP_STATUS_AVAILABLE;
}

struct pkt *packet_ring_take(struct packet_ring_set *set, int *err)
{
    struct packet_ring *r = &set->tx;
    char *at = frame_at(r, r->head);
    uint32_t off = packet_ring_hdrlen(set->version) - (uint32_t)sizeof(struct sockaddr_ll), len;
    struct pkt *p;

    *err = 0;
    if (!(get_status(at, set->version) & TP_STATUS_SEND_REQUEST))
        return NULL;
    len = set->version == TPACKET_V1 ? __atomic_load_n(&((struct tpacket_hdr *)at)->tp_len, __ATOMIC_RELAXED)
                                     : __atomic_load_n(&((struct tpacket2_hdr *)at)->tp_len, __ATOMIC_RELAXED);
    if (len > r->frame_size - off) {
        set_status(at, set->version, TP_STATUS_WRONG_FORMAT);
        *err = -EINVAL;
        return NULL;
    }
    p = pkt_from(at + off, len);
    if (!p) {
        *err = -ENOBUFS;
        return NULL;
    }
    set_status(at, set->version, TP_STATUS_AVAILABLE);
    r->head = (r->head + 1) % r->frame_nr;
    return p;
}

int packet_ring_extent(struct packet_ring_set *set, uint64_t off, uint64_t len, struct mmap_extent *out)
{
    struct packet_ring *r = &set->rx;

    if (off >= r->size) {
        off -= r->size;
        r = &set->tx;
    }
    if (off >= r->size)
        return -ENXIO;
    if (len > r->size - off)
        len = r->size - off;
    memfile_get(r->mf, r->base + off, len);
    *out = (struct mmap_extent){.fd = memfile_fd(r->mf), .offset = r->base + off, .len = len, .mf = r->mf};
    return 0;
}
