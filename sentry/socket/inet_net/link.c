/*
 * An interface behind a packet socket. Each frame travels with a virtio-net header, so that the host's kernel takes and gives
 * segments of up to 64 KiB and leaves checksums of what never touches a wire alone.
 *
 * Receiving reads many frames in one call into buffers that stand ready: a short one that holds an ordinary frame, and behind
 * it a long one for what is left of a large frame, which is used by few and else stays for the next. Sending collects frames
 * until the stack's lock has been dropped and hands them over in one call, on the thread of whoever sends. The host's stack may
 * do much of its peer's work in that call, send what an acknowledgement lets it for example, while the lock is free for others.
 * Who finds somebody else sending leaves its frames to that thread, so that they stay in order.
 */
#include "sentry/socket/inet_net/inet_net.h"

#include "lib/log.h"
#include "sentry/boot/net_config.h"
#include "sentry/socket/net.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <net/if_arp.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define RX_BATCH 32
#define TX_BATCH 32
/* An Ethernet frame of the usual MTU, and a bit. */
#define RX_HEAD 1600
#define RX_TAIL (PKT_MAX_LEN + 128 - RX_HEAD)
#define TX_IOVS (PKT_MAX_FRAGS + 2)

/* What is ready for one frame. */
struct rx_slot {
    struct pkt *head;
    struct pkt_buf *tail;
    struct virtio_net_hdr hdr;
    struct iovec iov[3];
};

struct link {
    struct nic nic;
    struct rx_source source;
    int fd;
    /* The receiving thread's, one at a time (net_rx.link_lock). */
    int rx_ready; /* slots that are ready for the next call */
    struct rx_slot rx[RX_BATCH];
    struct mmsghdr rx_msg[RX_BATCH];
    struct pkt_queue tx_queue; /* the stack's lock */
    /* Whose who sends, one at a time. */
    struct pkt *tx[TX_BATCH];
    int nr_tx;
    unsigned int tx_failed; /* frames, since last counted */
    struct mmsghdr tx_msg[TX_BATCH];
    struct virtio_net_hdr tx_hdr[TX_BATCH];
    struct iovec tx_iov[TX_BATCH][TX_IOVS];
};

/* Makes a slot ready again. False: out of memory. */
static bool refill(struct rx_slot *s)
{
    if (!s->head && !(s->head = pkt_alloc(PKT_HEADROOM, RX_HEAD)))
        return false;
    if (!s->tail && !(s->tail = net_buf_alloc()))
        return false;
    s->iov[0] = (struct iovec){&s->hdr, sizeof(s->hdr)};
    s->iov[1] = (struct iovec){s->head->data, RX_HEAD};
    s->iov[2] = (struct iovec){s->tail->mem, s->tail->size};
    return true;
}

/* How long all headers of a large frame are. Its virtio-net header's hdr_len says how much of it the sender had in one piece,
 * which may be all. 0: there is no transport header where the checksum is to be. */
static size_t header_length(const struct pkt *p, const struct virtio_net_hdr *h)
{
    uint8_t offset;

    if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
        return 0;
    if (p->gso == PKT_GSO_UDP)
        return h->csum_start + 8u;
    if (h->csum_start + sizeof(struct tcphdr) > p->len)
        return 0;
    pkt_copy_out(p, h->csum_start + 12u, &offset, 1);
    return h->csum_start + (offset >> 4) * 4u;
}

/* What the virtio-net header says of a frame. False: it is wrong. */
static bool rx_offload(struct pkt *p, const struct virtio_net_hdr *h)
{
    size_t headers;

    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if ((size_t)h->csum_start + h->csum_offset + 2 > p->len)
            return false;
        p->csum = PKT_CSUM_PARTIAL;
        p->csum_start = (uint32_t)(pkt_offset(p) + h->csum_start);
        p->csum_off = h->csum_offset;
    } else if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
        p->csum = PKT_CSUM_VERIFIED;
    }
    switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        p->gso = PKT_GSO_TCPV4;
        break;
    case VIRTIO_NET_HDR_GSO_TCPV6:
        p->gso = PKT_GSO_TCPV6;
        break;
    case VIRTIO_NET_HDR_GSO_UDP_L4:
        p->gso = PKT_GSO_UDP;
        break;
    default:
        return false;
    }
    headers = header_length(p, h);
    if (h->gso_size == 0 || headers == 0 || headers >= p->len)
        return false;
    p->gso_size = h->gso_size;
    p->gso_segs = (uint16_t)((p->len - headers + h->gso_size - 1) / h->gso_size);
    return true;
}

/* Takes the frame out of a slot; NULL: it is to be dropped. */
static struct pkt *rx_take(struct rx_slot *s, size_t len)
{
    size_t head = len < RX_HEAD ? len : RX_HEAD;
    struct pkt *p = s->head;

    s->head = NULL;
    pkt_put(p, head);
    if (len > head && !pkt_add_frag(p, s->tail, 0, len - head)) {
        pkt_free(p);
        return NULL;
    }
    if (len > head) {
        pkt_buf_put(s->tail);
        s->tail = NULL;
    }
    if (!rx_offload(p, &s->hdr)) {
        pkt_free(p);
        return NULL;
    }
    return p;
}

static void deliver(struct link *l, int n)
{
    netstack_lock(l->nic.stack);
    for (int i = 0; i < n; i++) {
        const struct mmsghdr *m = &l->rx_msg[i];
        struct pkt *p = NULL;

        if (m->msg_len > sizeof(struct virtio_net_hdr) + NIC_HDR_LEN && !(m->msg_hdr.msg_flags & MSG_TRUNC))
            p = rx_take(&l->rx[i], m->msg_len - sizeof(struct virtio_net_hdr));
        if (p)
            nic_input(&l->nic, p);
        else
            l->nic.stats.rx_dropped++;
    }
    netstack_unlock(l->nic.stack);
}

static void link_receive(struct rx_source *source)
{
    struct link *l = container_of(source, struct link, source);

    /* Not for ever: timers want their turn. */
    for (int round = 0; round < 16; round++) {
        int ready = l->rx_ready, n;

        while (ready < RX_BATCH && refill(&l->rx[ready])) {
            l->rx_msg[ready].msg_hdr = (struct msghdr){.msg_iov = l->rx[ready].iov, .msg_iovlen = 3};
            ready++;
        }
        l->rx_ready = ready;
        if (ready == 0)
            break;
        n = recvmmsg(l->fd, l->rx_msg, (unsigned int)ready, MSG_DONTWAIT, NULL);
        if (n <= 0) {
            if (n < 0 && errno == ENETDOWN)
                log_debug("%s: the host's interface is down", l->nic.name);
            break;
        }
        l->rx_ready = 0;
        deliver(l, n);
        if (n < ready)
            break;
    }
}

static void tx_header(const struct pkt *p, struct virtio_net_hdr *h)
{
    *h = (struct virtio_net_hdr){0};
    if (p->csum == PKT_CSUM_PARTIAL) {
        h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        h->csum_start = (uint16_t)(p->csum_start - pkt_offset(p));
        h->csum_offset = p->csum_off;
    }
    if (p->gso == PKT_GSO_NONE)
        return;
    h->gso_size = p->gso_size;
    h->hdr_len = (uint16_t)(p->l4 - pkt_offset(p));
    if (p->gso == PKT_GSO_UDP) {
        h->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
        h->hdr_len += 8;
    } else {
        const struct tcphdr *th = pkt_l4(p);

        h->gso_type = p->gso == PKT_GSO_TCPV4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
        h->hdr_len += (uint16_t)(th->doff * 4);
        if (th->th_flags & 0x80) /* CWR */
            h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    }
}

/* No room, or the interface is down: such a frame is lost, as on any wire. */
static void send_batch(struct link *l)
{
    int done = 0;

    while (done < l->nr_tx) {
        int n = sendmmsg(l->fd, l->tx_msg + done, (unsigned int)(l->nr_tx - done), MSG_DONTWAIT);

        if (n > 0) {
            done += n;
        } else if (errno != EINTR) {
            l->tx_failed++;
            done++;
        }
    }
    net_sent();
}

static void add_to_batch(struct link *l, struct pkt *p)
{
    int i = l->nr_tx, n = pkt_iov(p, 0, p->len, &l->tx_iov[i][1], TX_IOVS - 1);

    if (n < 0) {
        l->tx_failed++;
        pkt_free(p);
        return;
    }
    tx_header(p, &l->tx_hdr[i]);
    l->tx_iov[i][0] = (struct iovec){&l->tx_hdr[i], sizeof(l->tx_hdr[i])};
    l->tx_msg[i].msg_hdr = (struct msghdr){.msg_iov = l->tx_iov[i], .msg_iovlen = (size_t)n + 1};
    l->tx[l->nr_tx++] = p;
}

/* The next frames, after those of the last batch are done with. False: there are none. */
static bool next_batch(struct link *l)
{
    struct pkt *p;
    bool some;

    netstack_lock(l->nic.stack);
    for (int i = 0; i < l->nr_tx; i++)
        pkt_free(l->tx[i]);
    l->nr_tx = 0;
    while (l->nr_tx < TX_BATCH && (p = pkt_queue_take(&l->tx_queue)))
        add_to_batch(l, p);
    l->nic.stats.tx_dropped += l->tx_failed;
    l->tx_failed = 0;
    some = l->nr_tx > 0;
    if (!some)
        nic_sent_all(&l->nic);
    netstack_unlock(l->nic.stack);
    return some;
}

static void link_send(struct nic *nic)
{
    struct link *l = container_of(nic, struct link, nic);

    while (next_batch(l))
        send_batch(l);
}

static void link_xmit(struct nic *nic, struct pkt *p)
{
    struct link *l = container_of(nic, struct link, nic);

    if (l->tx_queue.n < nic->tx_queue_len) {
        pkt_queue_add(&l->tx_queue, p);
        return;
    }
    nic->stats.tx_dropped++;
    pkt_free(p);
}

static const struct nic_ops link_ops = {.xmit = link_xmit, .send = link_send};

int link_create(struct net *net, const struct net_config_if *c, struct nic **out)
{
    struct link *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->fd = c->fd;
    pkt_queue_init(&l->tx_queue);
    l->source = (struct rx_source){.readable = link_receive, .link = true};
    memcpy(l->nic.name, c->name, sizeof(l->nic.name));
    memcpy(l->nic.mac, c->mac, sizeof(l->nic.mac));
    l->nic.mtu = c->mtu;
    l->nic.index = c->index;
    l->nic.tx_queue_len = c->tx_queue_len;
    l->nic.arp_type = ARPHRD_ETHER;
    l->nic.features = NIC_CSUM | NIC_TSO4 | NIC_TSO6;
    netstack_lock(net->stack);
    r = nic_add(net->stack, &l->nic, &link_ops);
    netstack_unlock(net->stack);
    if (r < 0) {
        free(l);
        return r;
    }
    r = net_rx_watch(net, &l->source, l->fd);
    if (r < 0)
        return r;
    *out = &l->nic;
    return 0;
}
