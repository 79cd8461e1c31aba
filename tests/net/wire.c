/*
 * A wire between two interfaces, as bad as the test wants it: what netem(8) does, where the kernel has none.
 *
 *     wire END END [WHAT=NUMBER]...
 *
 * An END is the interface LINK of this network namespace ("packet:LINK"), or a TAP device that is made in another one
 * ("tap:NAMESPACE:LINK"). WHAT is loss, duplicate, reorder, corrupt (per cent of the frames), delay and jitter (ms, each way),
 * rate (Mbit/s each way), queue (KiB that wait for the rate), seed. The same seed makes the same decisions about the same
 * frames.
 *
 * Frames travel with virtio-net headers. Where single frames are to meet a fate, large ones are cut into segments and get their
 * checksums first, as a network card would do; else they stay as they are.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#define MAX_FRAME (1 << 17)
#define VNET      sizeof(struct virtio_net_hdr)
#define MSEC      1000000LL
/* What may be on its way at once; more is lost. */
#define MAX_BYTES (256 << 20)

struct frame {
    int64_t due;
    uint64_t serial;
    int to;
    size_t len; /* with its virtio-net header */
    uint8_t data[];
};

static struct {
    double loss, duplicate, reorder, corrupt, delay, jitter, rate, queue, seed;
} fate = {.queue = 1000, .seed = 1};

static const struct {
    const char *name;
    double *value;
} words[] = {
    {"loss", &fate.loss},       {"duplicate", &fate.duplicate}, {"reorder", &fate.reorder},
    {"corrupt", &fate.corrupt}, {"delay", &fate.delay},         {"jitter", &fate.jitter},
    {"rate", &fate.rate},       {"queue", &fate.queue},         {"seed", &fate.seed},
};

static int ends[2];
static uint64_t rng, serial;
/* When each direction's transmitter will be free again. */
static int64_t busy_until[2];
/* A heap, the frame that is due first at its root. */
static struct frame **heap;
static size_t nr_heap, heap_size, heap_bytes;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static double chance(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (double)(rng >> 11) / (1ULL << 53);
}

static bool happens(double percent)
{
    return percent > 0 && chance() * 100 < percent;
}

/* ---- the ends ---- */

static int open_link(const char *name)
{
    int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1, size = 16 << 20;
    struct sockaddr_ll a = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};

    if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_PACKET, 23 /* PACKET_IGNORE_OUTGOING */, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        die(name);
    return fd;
}

static int open_tap(char *spec)
{
    char *link = strchr(spec, ':'), path[256];
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), ns, fd;

    if (!link)
        exit(2);
    *link++ = 0;
    snprintf(path, sizeof(path), "/run/netns/%s", spec);
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
        die(path);
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0)
        die(link);
    if (setns(home, CLONE_NEWNET) < 0)
        die("setns");
    close(ns);
    close(home);
    return fd;
}

static int open_end(char *spec)
{
    int fd = -1;

    if (!strncmp(spec, "packet:", 7))
        fd = open_link(spec + 7);
    else if (!strncmp(spec, "tap:", 4))
        fd = open_tap(spec + 4);
    else
        exit(2);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        die(spec);
    return fd;
}

/* ---- frames on their way ---- */

static bool before(const struct frame *a, const struct frame *b)
{
    return a->due != b->due ? a->due < b->due : a->serial < b->serial;
}

static void heap_push(struct frame *f)
{
    size_t i = nr_heap++;

    if (nr_heap > heap_size) {
        heap_size = heap_size ? heap_size * 2 : 1024;
        heap = realloc(heap, heap_size * sizeof(*heap));
        if (!heap)
            die("realloc");
    }
    for (; i > 0 && before(f, heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = f;
    heap_bytes += f->len;
}

static struct frame *heap_pop(void)
{
    struct frame *top = heap[0], *last = heap[--nr_heap];
    size_t i = 0;

    for (size_t c; (c = 2 * i + 1) < nr_heap; i = c) {
        if (c + 1 < nr_heap && before(heap[c + 1], heap[c]))
            c++;
        if (!before(heap[c], last))
            break;
        heap[i] = heap[c];
    }
    heap[i] = last;
    heap_bytes -= top->len;
    return top;
}

static void send_late(int to, const uint8_t *data, size_t len, int64_t at)
{
    struct frame *f;
    int64_t due = at;

    if (fate.rate > 0) {
        int64_t per_byte = (int64_t)(8000 / fate.rate); /* ns */

        if (busy_until[to] < at)
            busy_until[to] = at;
        if (busy_until[to] - at > (int64_t)(fate.queue * 1024) * per_byte)
            return;
        busy_until[to] += (int64_t)(len - VNET) * per_byte;
        due = busy_until[to];
    }
    due += (int64_t)((fate.delay + fate.jitter * chance()) * (double)MSEC);
    if (happens(fate.reorder))
        due += fate.delay > 0 ? (int64_t)(fate.delay * (double)MSEC / 2) : 5 * MSEC;
    if (due <= at) {
        if (write(ends[to], data, len) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != ENETDOWN && errno != EIO)
            perror("write");
        return;
    }
    if (heap_bytes + len > MAX_BYTES)
        return;
    f = malloc(sizeof(*f) + len);
    if (!f)
        return;
    *f = (struct frame){.due = due, .serial = serial++, .to = to, .len = len};
    memcpy(f->data, data, len);
    heap_push(f);
}

static void meet_fate(int to, uint8_t *data, size_t len, int64_t at)
{
    if (happens(fate.loss))
        return;
    /* Beyond the Ethernet header, whose damage is a loss. */
    if (len > VNET + ETH_HLEN && happens(fate.corrupt)) {
        size_t bit = (size_t)(chance() * (double)(len - VNET - ETH_HLEN) * 8);
        data[VNET + ETH_HLEN + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    send_late(to, data, len, at);
    if (happens(fate.duplicate))
        send_late(to, data, len, at);
}

/* ---- what a network card does ---- */

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static uint64_t add_words(const uint8_t *p, size_t len)
{
    uint64_t sum = 0;

    for (; len > 1; p += 2, len -= 2)
        sum += (uint64_t)(p[0] << 8 | p[1]);
    return len ? sum + (uint64_t)(p[0] << 8) : sum;
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* Fills in the checksum of a frame without a virtio-net header: of its transport header at `start`, in whose field the sum of
   the pseudo header is already, for a length of `had`. */
static void complete_csum(uint8_t *eth, size_t len, size_t start, size_t off, size_t had)
{
    uint16_t sum;

    if (start + off + 2 > len)
        return;
    sum = fold(add_words(eth + start, len - start) + (len - start) + (uint16_t)~fold(had));
    put16(eth + start + off, sum == 0xffff ? 0xffff : (uint16_t)~sum);
}

/* Cuts what is larger than a frame, completes checksums, and sends each frame on. */
static void segment(int to, uint8_t *data, size_t len, int64_t at)
{
    struct virtio_net_hdr h;
    static uint8_t out[MAX_FRAME];
    uint8_t *eth = data + VNET, *seg = out + VNET;
    size_t n = len - VNET, l4, hdr, type;

    memcpy(&h, data, sizeof(h));
    type = h.gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
    memset(out, 0, VNET);
    l4 = h.csum_start;
    if (type == VIRTIO_NET_HDR_GSO_NONE) {
        memset(data, 0, VNET);
        if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
            complete_csum(eth, n, l4, h.csum_offset, n - l4);
        meet_fate(to, data, len, at);
        return;
    }
    if (!(h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || l4 + sizeof(struct tcphdr) > n || !h.gso_size)
        return; /* never seen */
    hdr = l4 + (type == VIRTIO_NET_HDR_GSO_UDP_L4 ? sizeof(struct udphdr) : (size_t)(eth[l4 + 12] >> 4) * 4);
    for (size_t pos = hdr, i = 0; pos < n; pos += h.gso_size, i++) {
        size_t take = n - pos < h.gso_size ? n - pos : h.gso_size, seg_len = hdr + take;
        bool last = pos + take == n;

        memcpy(seg, eth, hdr);
        memcpy(seg + hdr, eth + pos, take);
        if (seg[ETH_HLEN] >> 4 == 4) {
            uint8_t *ip = seg + ETH_HLEN;
            put16(ip + 2, (uint16_t)(seg_len - ETH_HLEN));
            put16(ip + 4, (uint16_t)((ip[4] << 8 | ip[5]) + i));
            put16(ip + 10, 0);
            put16(ip + 10, (uint16_t)~fold(add_words(ip, (size_t)(ip[0] & 15) * 4)));
        } else {
            put16(seg + ETH_HLEN + 4, (uint16_t)(seg_len - ETH_HLEN - sizeof(struct ip6_hdr)));
        }
        if (type == VIRTIO_NET_HDR_GSO_UDP_L4) {
            put16(seg + l4 + 4, (uint16_t)(seg_len - l4));
        } else {
            uint32_t seq;
            memcpy(&seq, eth + l4 + 4, 4);
            seq = htonl(ntohl(seq) + (uint32_t)(pos - hdr));
            memcpy(seg + l4 + 4, &seq, 4);
            if (!last)
                seg[l4 + 13] &= (uint8_t) ~(TH_FIN | TH_PUSH);
            if (i > 0)
                seg[l4 + 13] &= 0x7f; /* CWR */
        }
        complete_csum(seg, seg_len, l4, h.csum_offset, n - l4);
        meet_fate(to, out, VNET + seg_len, at);
    }
}

int main(int argc, char **argv)
{
    static uint8_t buf[MAX_FRAME];
    bool cut;

    if (argc < 3)
        return 2;
    for (int i = 3; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        size_t w = 0;

        while (w < sizeof(words) / sizeof(words[0]) &&
               (!value || strncmp(words[w].name, argv[i], (size_t)(value - argv[i])) != 0))
            w++;
        if (w == sizeof(words) / sizeof(words[0])) {
            fprintf(stderr, "wire: what is %s?\n", argv[i]);
            return 2;
        }
        *words[w].value = strtod(value + 1, NULL);
    }
    rng = (uint64_t)fate.seed * 0x9e3779b97f4a7c15ULL + 1;
    cut = fate.loss > 0 || fate.duplicate > 0 || fate.reorder > 0 || fate.corrupt > 0;
    for (int i = 0; i < 2; i++)
        ends[i] = open_end(argv[1 + i]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd p[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
        struct timespec ts, *timeout = NULL;
        int64_t t = now();

        while (nr_heap > 0 && heap[0]->due <= t) {
            struct frame *f = heap_pop();
            if (write(ends[f->to], f->data, f->len) < 0 && errno == EINVAL)
                perror("write");
            free(f);
        }
        if (nr_heap > 0) {
            int64_t wait = heap[0]->due - t;
            ts = (struct timespec){wait / 1000000000, wait % 1000000000};
            timeout = &ts;
        }
        if (ppoll(p, 2, timeout, NULL) <= 0)
            continue;
        t = now();
        for (int i = 0; i < 2; i++) {
            ssize_t n;

            for (int k = 0; k < 64 && p[i].revents && (n = read(ends[i], buf, sizeof(buf))) > (ssize_t)(VNET + ETH_HLEN); k++) {
                if (cut)
                    segment(!i, buf, (size_t)n, t);
                else
                    send_late(!i, buf, (size_t)n, t);
            }
        }
    }
}
