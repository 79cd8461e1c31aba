/* Packet sockets: rings in memory, sharing out, statistics. Frames of a type that nobody else uses go over the loopback. */
#include "guest_test.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define BLOCK  4096
#define BLOCKS 4
#define FRAME  2048

static uint16_t ether_type;

static int packet_socket(void)
{
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ether_type), .sll_ifindex = 1};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    CHECK_OK(bind(fd, (void *)&a, sizeof(a)));
    return fd;
}

/* A socket, or the test is over where that is not allowed. A type of its own for each. */
#define PACKET_SOCKET(fd)                                      \
    int fd;                                                    \
    ether_type = 0x8800 + (getpid() + ether_type * 7) % 0x400; \
    fd = packet_socket();                                      \
    if (fd < 0)                                                \
    SKIP("no packet sockets here")

static void send_frame(const char *text)
{
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_protocol = htons(ether_type), .sll_ifindex = 1, .sll_halen = 6};
    static int fd = -1; /* kept: Linux takes long to close one */
    char frame[128] = {0};

    if (fd < 0)
        fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    frame[12] = (char)(ether_type >> 8);
    frame[13] = (char)ether_type;
    strcpy(frame + 14, text);
    CHECK_EQ(sendto(fd, frame, 14 + strlen(text) + 1, 0, (void *)&a, sizeof(a)), 14 + strlen(text) + 1);
}

static void wait_readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};

    CHECK_EQ(poll(&p, 1, 30000), 1);
    CHECK(p.revents & POLLIN);
}

static void set_version(int fd, int version)
{
    CHECK_OK(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)));
}

TEST(header_lengths)
{
    static const int want[] = {sizeof(struct tpacket_hdr), sizeof(struct tpacket2_hdr), sizeof(struct tpacket3_hdr)};
    PACKET_SOCKET(fd);

    for (int v = 0; v < 3; v++) {
        int n = v;
        socklen_t len = sizeof(n);

        CHECK_OK(getsockopt(fd, SOL_PACKET, PACKET_HDRLEN, &n, &len));
        CHECK_EQ(n, want[v]);
    }
    close(fd);
}

TEST(rings_that_make_no_sense_are_refused)
{
    struct tpacket_req3 r3 = {.tp_block_size = BLOCK, .tp_block_nr = 1, .tp_frame_size = FRAME, .tp_frame_nr = 2};
    struct tpacket_req r = {BLOCK, 2, FRAME, 4};
    PACKET_SOCKET(fd);

    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, 8), EINVAL);
    r.tp_frame_nr = 5;
    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)), EINVAL);
    r.tp_frame_nr = 4;
    r.tp_block_size = 1000;
    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)), EINVAL);
    r.tp_block_size = BLOCK;
    r.tp_frame_size = 16;
    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)), EINVAL);
    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &(int){7}, sizeof(int)), EINVAL);
    set_version(fd, TPACKET_V3);
    r3.tp_sizeof_priv = 0xffffff00;
    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r3, sizeof(r3)), EINVAL);
    CHECK_ERR((intptr_t)mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
    close(fd);
}

TEST(packets_come_into_a_ring)
{
    for (int version = TPACKET_V1; version <= TPACKET_V2; version++) {
        struct tpacket_req r = {BLOCK, BLOCKS, FRAME, BLOCKS * BLOCK / FRAME};
        struct tpacket_stats st;
        socklen_t len = sizeof(st);
        char *ring;
        PACKET_SOCKET(fd);

        set_version(fd, version);
        CHECK_OK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)));
        CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)), EBUSY);
        ring = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(ring != MAP_FAILED);
        for (int i = 0; i < 20; i++) {
            char *frame = ring + i % (BLOCKS * BLOCK / FRAME) * FRAME, text[16];
            struct tpacket_hdr *h1 = (void *)frame;
            struct tpacket2_hdr *h2 = (void *)frame;
            unsigned int mac, n;
            struct sockaddr_ll *from;

            snprintf(text, sizeof(text), "frame %d", i);
            send_frame(text);
            wait_readable(fd);
            CHECK((version == TPACKET_V1 ? h1->tp_status : h2->tp_status) & TP_STATUS_USER);
            mac = version == TPACKET_V1 ? h1->tp_mac : h2->tp_mac;
            n = version == TPACKET_V1 ? h1->tp_snaplen : h2->tp_snaplen;
            CHECK_EQ(n, 14 + strlen(text) + 1);
            CHECK_STR(frame + mac + 14, text);
            from = (void *)(frame + TPACKET_ALIGN(version == TPACKET_V1 ? sizeof(*h1) : sizeof(*h2)));
            CHECK_EQ(from->sll_ifindex, 1);
            CHECK_EQ(from->sll_protocol, htons(ether_type));
            if (version == TPACKET_V1)
                h1->tp_status = TP_STATUS_KERNEL;
            else
                h2->tp_status = TP_STATUS_KERNEL;
        }
        /* One more than there is room for. */
        for (int i = 0; i < BLOCKS * BLOCK / FRAME + 1; i++)
            send_frame("full");
        CHECK_OK(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len));
        CHECK_EQ(st.tp_packets, 20 + BLOCKS * BLOCK / FRAME + 1);
        CHECK_EQ(st.tp_drops, 1);
        CHECK_OK(munmap(ring, BLOCK * BLOCKS));
        close(fd);
    }
}

TEST(packets_come_into_blocks)
{
    struct tpacket_req3 r = {.tp_block_size = BLOCK * 4,
                             .tp_block_nr = BLOCKS,
                             .tp_frame_size = FRAME,
                             .tp_frame_nr = BLOCKS * BLOCK * 4 / FRAME,
                             .tp_retire_blk_tov = 10,
                             .tp_sizeof_priv = 12};
    struct tpacket_stats_v3 st;
    socklen_t len = sizeof(st);
    unsigned int got = 0, block = 0;
    char *ring;
    PACKET_SOCKET(fd);

    set_version(fd, TPACKET_V3);
    CHECK_OK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof(r)));
    ring = mmap(NULL, BLOCK * 4 * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(ring != MAP_FAILED);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 3; i++)
            send_frame("in a block");
        while (got < (unsigned int)(round + 1) * 3) {
            struct tpacket_block_desc *d = (void *)(ring + block * BLOCK * 4);
            struct tpacket3_hdr *h;

            wait_readable(fd);
            if (!(*(volatile unsigned int *)&d->hdr.bh1.block_status & TP_STATUS_USER)) {
                usleep(1000);
                continue;
            }
            h = (void *)((char *)d + d->hdr.bh1.offset_to_first_pkt);
            for (unsigned int k = 0; k < d->hdr.bh1.num_pkts; k++) {
                CHECK_STR((char *)h + h->tp_mac + 14, "in a block");
                CHECK(h->tp_status & TP_STATUS_USER);
                got++;
                h = (void *)((char *)h + h->tp_next_offset);
            }
            d->hdr.bh1.block_status = TP_STATUS_KERNEL;
            block = (block + 1) % BLOCKS;
        }
    }
    CHECK_EQ(got, 90);
    CHECK_OK(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len));
    CHECK_EQ(len, sizeof(st));
    CHECK_EQ(st.tp_packets, 90);
    CHECK_EQ(st.tp_drops, 0);
    munmap(ring, BLOCK * 4 * BLOCKS);
    close(fd);
}

TEST(frames_are_sent_from_a_ring)
{
    struct tpacket_req r = {BLOCK, 1, FRAME, 2};
    struct sockaddr_ll to;
    char *ring, buf[128];
    int tx;
    PACKET_SOCKET(fd);

    tx = packet_socket();
    to = (struct sockaddr_ll){.sll_family = AF_PACKET, .sll_protocol = htons(ether_type), .sll_ifindex = 1, .sll_halen = 6};
    set_version(tx, TPACKET_V2);
    CHECK_OK(setsockopt(tx, SOL_PACKET, PACKET_TX_RING, &r, sizeof(r)));
    ring = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, tx, 0);
    CHECK(ring != MAP_FAILED);
    for (int i = 0; i < 4; i++) {
        struct tpacket2_hdr *h = (void *)(ring + i % 2 * FRAME);
        char *data = (char *)h + TPACKET2_HDRLEN - sizeof(struct sockaddr_ll);

        for (int k = 0; k < 10000 && h->tp_status != TP_STATUS_AVAILABLE; k++)
            usleep(1000);
        memset(data, 0, 14);
        data[12] = (char)(ether_type >> 8);
        data[13] = (char)ether_type;
        data[14] = (char)('0' + i);
        h->tp_len = 64;
        h->tp_status = TP_STATUS_SEND_REQUEST;
        CHECK_EQ(sendto(tx, NULL, 0, 0, (void *)&to, sizeof(to)), 64);
        CHECK_EQ(recv(fd, buf, sizeof(buf), 0), 64);
        CHECK_EQ(buf[14], '0' + i);
    }
    munmap(ring, BLOCK);
    close(tx);
    close(fd);
}

TEST(packets_are_shared_out)
{
    int other, how, got[2] = {0}, v;
    socklen_t len = sizeof(v);
    char buf[128];
    PACKET_SOCKET(fd);

    how = (getpid() & 0xffff) | PACKET_FANOUT_LB << 16;
    other = packet_socket();
    CHECK_OK(setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &how, sizeof(how)));
    CHECK_ERR(setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &how, sizeof(how)), EALREADY);
    CHECK_OK(setsockopt(other, SOL_PACKET, PACKET_FANOUT, &how, sizeof(how)));
    CHECK_OK(getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &v, &len));
    CHECK_EQ(v, how);
    for (int i = 0; i < 10; i++)
        send_frame("one of us");
    for (int i = 0; i < 10; i++) {
        struct pollfd p[2] = {{fd, POLLIN, 0}, {other, POLLIN, 0}};

        CHECK(poll(p, 2, 30000) > 0);
        v = p[0].revents ? 0 : 1;
        CHECK(recv(p[v].fd, buf, sizeof(buf), 0) > 0);
        got[v]++;
    }
    CHECK_EQ(got[0], 5);
    CHECK_EQ(got[1], 5);
    CHECK_ERR(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), EAGAIN);
    close(fd);
    close(other);
}

TEST(tcpdump_captures)
{
    char cmd[256], line[256], all[4096] = "";
    FILE *f;
    PACKET_SOCKET(fd);

    if (access("/usr/bin/tcpdump", X_OK) != 0)
        SKIP("no tcpdump");
    close(fd);
    snprintf(cmd, sizeof(cmd), "timeout 40 /usr/bin/tcpdump -i lo -c 2 -nn -e ether proto %d 2>&1", ether_type);
    f = popen(cmd, "r");
    CHECK(f);
    while (fgets(line, sizeof(line), f)) {
        strcat(all, line);
        if (strstr(line, "listening on"))
            for (int i = 0; i < 2; i++)
                send_frame("to be seen");
        if (strlen(all) > sizeof(all) - sizeof(line))
            break;
    }
    if (pclose(f) != 0 || !strstr(all, "2 packets captured"))
        guest_test_fail(__FILE__, __LINE__, "tcpdump: %.400s", all);
}

TEST_MAIN()
