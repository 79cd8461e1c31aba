#include "netstack/pcap.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct pcap {
    struct nic_tap tap;
    int fd;
    uint32_t snaplen;
    uint64_t dropped;
};

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    int32_t zone;
    uint32_t sigfigs, snaplen, network;
};

struct record {
    uint32_t sec, nsec, caplen, len;
};

static void write_frame(struct nic_tap *tap, struct nic *nic, struct pkt *p, bool outgoing)
{
    struct pcap *pc = container_of(tap, struct pcap, tap);
    int64_t t = outgoing || !p->tstamp ? netstack_realtime(nic->stack) : p->tstamp;
    uint32_t cap = p->len < pc->snaplen ? p->len : pc->snaplen;
    struct record r = {t / NET_SEC, t % NET_SEC, cap, p->len};
    struct iovec iov[PKT_MAX_FRAGS + 2] = {{&r, sizeof(r)}};
    int n = pkt_iov(p, 0, cap, iov + 1, PKT_MAX_FRAGS + 1);

    /* A short write would spoil all that follows: the file is cut off there by not writing on. */
    if (pc->fd < 0 || n < 0) {
        pc->dropped++;
        return;
    }
    ssize_t done = writev(pc->fd, iov, n + 1);
    if (done == (ssize_t)(sizeof(r) + cap))
        return;
    pc->dropped++;
    if (done >= 0)
        pc->fd = -1;
}

int pcap_start(struct nic *nic, int fd, uint32_t snaplen, struct pcap **out)
{
    struct file_header h = {.magic = 0xa1b23c4d, .major = 2, .minor = 4, .network = 1 /* Ethernet */};
    struct pcap *pc = calloc(1, sizeof(*pc));

    if (!pc)
        return -ENOMEM;
    pc->fd = fd;
    pc->snaplen = h.snaplen = snaplen ? snaplen : 262144;
    if (write(fd, &h, sizeof(h)) != sizeof(h)) {
        free(pc);
        return -EIO;
    }
    pc->tap.fn = write_frame;
    nic_tap_add(nic, &pc->tap);
    *out = pc;
    return 0;
}

void pcap_stop(struct pcap *pc)
{
    nic_tap_del(&pc->tap);
    free(pc);
}

uint64_t pcap_dropped(const struct pcap *pc)
{
    return pc->dropped;
}
