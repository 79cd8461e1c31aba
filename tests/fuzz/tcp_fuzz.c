/*
 * A hostile TCP peer, and a user who does anything at any time. Raw frames rarely get past the sequence checks, so the input is
 * a list of operations, whose segments are made around the numbers that the connection expects. After each the queues and
 * counters must agree (tests/unit/tcp_check.h).
 *
 * An operation is a byte, of which the low nibble says what and the high which socket, and what it needs of further bytes.
 */
#include "netstack/nic.h"
#include "tests/unit/tcp_check.h"

#include <linux/if_addr.h>
#include <net/if_arp.h>
#include <netinet/ip.h>

#define SOCKETS 4

static int64_t clock_now;
static uint64_t rng;

static int64_t now(void *ctx)
{
    return clock_now;
}

static void kick(void *ctx, int64_t deadline)
{
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
        ((uint8_t *)buf)[i] = rng >> 56;
    }
}

static const struct netstack_ops ops = {.now = now, .kick = kick, .random = random_bytes};

static void ready(struct endpoint *ep, uint32_t events)
{
}

static const struct endpoint_cb cb = {.ready = ready};

static void drop(struct nic *nic, struct pkt *p)
{
    pkt_free(p);
}

static const struct nic_ops nic_ops = {.xmit = drop};

struct input {
    const uint8_t *p, *end;
};

static uint32_t byte(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static uint32_t word(struct input *in)
{
    uint32_t hi = byte(in);
    return hi << 8 | byte(in);
}

struct target {
    struct netstack *s;
    struct nic *nic;
    struct tcp_sock *sock[SOCKETS]; /* the first listens */
    uint32_t peer_isn;
    be16 peer_port;
};

static struct in6_addr v4(uint32_t a)
{
    return addr_from_v4(htonl(a));
}

static void setup(struct target *t)
{
    struct in6_addr any = v4(0), local = v4(0x0a000001);
    struct nic_addr a = {.addr = local, .plen = 24, .flags = IFA_F_NODAD};
    memset(t, 0, sizeof *t);
    if (netstack_create(&ops, NULL, &t->s))
        abort();
    netstack_lock(t->s);
    t->nic = calloc(1, sizeof *t->nic);
    memcpy(t->nic->name, "eth0", 5);
    t->nic->mac[0] = 2;
    t->nic->mtu = 1500;
    t->nic->arp_type = ARPHRD_ETHER;
    t->nic->features = NIC_NO_ARP | NIC_CSUM | NIC_TSO4 | NIC_TSO6;
    if (nic_add(t->s, t->nic, &nic_ops) || nic_set_up(t->s->lo, true) || nic_set_up(t->nic, true) || nic_addr_add(t->nic, &a))
        abort();
    if (tcp_create(t->s, AF_INET, &cb, NULL, &t->sock[0]) || tcp_bind(t->sock[0], &any, htons(80), 0) ||
        tcp_listen(t->sock[0], 2))
        abort();
    netstack_unlock(t->s);
}

/* A segment for a socket, or for the listener, near what it expects. */
static void segment(struct target *t, struct tcp_sock *tp, struct input *in)
{
    static uint8_t b[20 + 60 + 4096];
    uint32_t seq = 0, ack = 0, how = byte(in);
    be16 lport = htons(80), rport = htons(1000 + (how >> 6));
    if (tp && tp->state != TCPS_LISTEN) {
        lport = tp->ep.lport;
        rport = tp->ep.rport;
        seq = how & 1 ? tp->rcv_nxt : tp->rcv_nxt + word(in) * 4 - 0x8000;
        ack = how & 2 ? tp->snd_nxt : tp->snd_una + word(in) - 0x100;
    } else {
        struct tcp_req *req = list_empty(&t->sock[0]->reqs) ? NULL : list_first_entry(&t->sock[0]->reqs, struct tcp_req, node);
        seq = req && (how & 1) ? req->rcv_nxt : word(in);
        ack = req && (how & 2) ? req->iss + 1 : word(in);
        if (req && (how & 1))
            rport = req->flow.dport;
    }
    struct tcp_header h = {.sport = rport, .dport = lport, .seq = htonl(seq), .ack = htonl(ack)};
    h.flags = how & 4 ? TCP_ACK : byte(in);
    h.window = how & 8 ? htons(word(in)) : htons(4000);
    h.urg = how & 16 ? htons(word(in)) : 0;
    uint32_t opt = 0, len = how & 32 ? word(in) % 4096 : 0, kind = byte(in);
    struct tcp_options o = {0};
    if (kind & 1) {
        o.has_ts = true;
        o.tsval = tp ? tp->ts_recent + (kind & 2 ? 1 : byte(in) - 128) : word(in);
        o.tsecr = tp ? tcp_ts_now(tp) - byte(in) : 0;
    }
    if (h.flags & TCP_SYN) {
        o.mss = kind & 4 ? word(in) : 1460;
        o.sack_ok = kind & 8;
        o.has_wscale = kind & 16;
        o.wscale = byte(in) % 16;
    } else if (tp && tp->state != TCPS_LISTEN) {
        o.nr_sacks = kind >> 5 > (o.has_ts ? 3 : 4) ? 0 : kind >> 5;
        for (int i = 0; i < o.nr_sacks; i++) {
            o.sacks[i].start = tp->snd_una + word(in) - 0x80;
            o.sacks[i].end = o.sacks[i].start + word(in);
        }
    }
    if (kind & 2 && !(kind & 1)) {
        opt = byte(in) % 11 * 4;
        for (uint32_t i = 0; i < opt; i++)
            b[40 + i] = byte(in);
    } else {
        opt = tcp_options_write(b + 40, h.flags & TCP_SYN, &o);
    }
    h.off = (20 + opt) / 4 << 4;
    struct iphdr ip = {.ihl = 5, .version = 4, .ttl = 64, .protocol = IPPROTO_TCP, .tot_len = htons(40 + opt + len)};
    ip.saddr = htonl(0x0a000002);
    ip.daddr = htonl(0x0a000001);
    ip.tos = kind & 4 && !(h.flags & TCP_SYN) ? 3 : 0;
    ip.check = csum_finish(csum_partial(&ip, sizeof ip, 0));
    memcpy(b, &ip, sizeof ip);
    memcpy(b + 20, &h, sizeof h);
    struct pkt *p = pkt_alloc(PKT_HEADROOM, NIC_HDR_LEN + 40 + opt + len);
    if (!p)
        abort();
    uint8_t *at = pkt_put(p, NIC_HDR_LEN + 40 + opt + len);
    memset(at, 0, NIC_HDR_LEN + 40 + opt + len);
    at[0] = 2;
    at[12] = 8;
    memcpy(at + NIC_HDR_LEN, b, 40 + opt);
    p->csum = PKT_CSUM_VERIFIED;
    if (kind & 128 && len > 100) {
        p->gso = PKT_GSO_TCPV4;
        p->gso_size = 100 + byte(in);
        p->gso_segs = (len + p->gso_size - 1) / p->gso_size;
    }
    nic_input(t->nic, p);
}

static void use(struct target *t, unsigned int n, uint32_t op, struct input *in)
{
    static uint8_t buf[65536];
    struct tcp_sock *tp = t->sock[n];
    struct in6_addr peer = v4(0x0a000002);
    if (!tp) {
        /* A socket there is none of: one is accepted or connects. */
        if (tcp_accept(t->sock[0], &tp) == 0)
            tcp_set_owner(tp, &cb, NULL);
        else if (tcp_create(t->s, AF_INET, &cb, NULL, &tp) == 0)
            (void)!tcp_connect(tp, &peer, htons(81), 0);
        t->sock[n] = tp;
        return;
    }
    switch (op) {
    case 0:
        (void)tcp_send_bytes(tp, buf, word(in), byte(in) & (MSG_OOB | MSG_MORE));
        break;
    case 1:
        (void)tcp_recv_bytes(tp, buf, word(in), byte(in) & 1);
        break;
    case 2:
        (void)!tcp_shutdown(tp, byte(in) & 3);
        break;
    case 3:
        if (n == 0)
            break;
        tcp_close(tp);
        t->sock[n] = NULL;
        break;
    case 4: {
        static const int opts[] = {TCP_NODELAY, TCP_CORK, TCP_QUICKACK, TCP_USER_TIMEOUT, TCP_LINGER2, TCP_DEFER_ACCEPT};
        int opt = opts[byte(in) % ARRAY_SIZE(opts)];
        (void)!tcp_set_option(tp, opt, (int8_t)byte(in));
        break;
    }
    case 5: {
        enum tcp_so so = byte(in) % TCP_SO_MAX;
        tcp_set_so(tp, so,
                   so == TCP_SO_LINGER   ? (int)byte(in) - 1
                   : so >= TCP_SO_SNDBUF ? (int)word(in) + 1000
                                         : (int)byte(in) & 1);
        break;
    }
    case 6:
        if (n)
            tcp_disconnect(tp);
        break;
    case 7:
        if (n)
            tcp_abort(tp, 103);
        break;
    default: {
        struct tcp_info_full info;
        tcp_get_info(tp, &info);
        (void)tcp_poll(tp);
    }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct target t;
    clock_now = 1000 * NET_SEC;
    rng = 1;
    setup(&t);
    struct tcp_sysctl *sc = tcp_sysctl(t.s);
    uint32_t conf = byte(&in);
    sc->sack = conf & 1;
    sc->ecn = conf & 2 ? 1 : 2;
    sc->syncookies = conf & 4 ? 2 : 1;
    strcpy(sc->congestion, conf & 8 ? "reno" : "cubic");
    if (conf & 16)
        sc->rmem[1] = sc->rmem[2] = 5000;
    while (in.p < in.end) {
        uint32_t op = byte(&in), n = (op >> 4) % SOCKETS;
        netstack_lock(t.s);
        if ((op & 15) < 7)
            segment(&t, t.sock[n], &in);
        else if ((op & 15) < 15)
            use(&t, n, (op & 15) - 7, &in);
        netstack_unlock(t.s);
        if ((op & 15) == 15) {
            clock_now += NET_MSEC << byte(&in) % 20;
            netstack_run_timers(t.s);
        }
        tcp_check_stack(t.s);
    }
    netstack_lock(t.s);
    for (int i = 0; i < SOCKETS; i++)
        if (t.sock[i])
            tcp_close(t.sock[i]);
    netstack_unlock(t.s);
    netstack_destroy(t.s);
    return 0;
}
