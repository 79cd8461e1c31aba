/*
 * Runs the scripts of tests/net/packetdrill: one stack, whose link's other end is the script. The language is the part of
 * packetdrill's that they use (tests/net/packetdrill/README.md); the clock is virtual, so that a script takes no time and
 * cannot be late.
 */
#include "tests/unit/tcp_test_util.h"

#include <ctype.h>
#include <glob.h>
#include <linux/icmp.h>
#include <net/if_arp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#define LOCAL     "192.168.0.1"
#define REMOTE    "192.168.0.2"
#define PORT      8080
#define TOLERANCE (4 * NET_MSEC)
#define MAX_FDS   16

struct sent {
    struct list_head node;
    int64_t at;
    size_t len;
    uint8_t ip[65600];
};

struct script {
    struct tcp_world w;
    struct nic *nic;
    struct list_head out; /* struct sent */
    struct end *fd[MAX_FDS];
    const char *file;
    int line;
    int64_t begin;
    jmp_buf failed;
    char why[512];
    /* Translation between the script's numbers and the live ones. */
    uint32_t local_isn, ts_delta;
    bool have_isn, have_ts;
    be16 local_port, remote_port;
};

static void fail(struct script *s, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
static void fail(struct script *s, const char *fmt, ...)
{
    va_list ap;
    int n = snprintf(s->why, sizeof s->why, "%s:%d: ", s->file, s->line);
    va_start(ap, fmt);
    vsnprintf(s->why + n, sizeof s->why - n, fmt, ap);
    va_end(ap);
    longjmp(s->failed, 1);
}

/* ---- the link ---- */

static void script_xmit(struct nic *nic, struct pkt *p)
{
    struct script *s = nic->driver;
    struct sent *f = calloc(1, sizeof *f);
    cr_assert(f);
    cr_assert(pkt_csum_complete(p));
    f->at = s->w.now;
    f->len = p->len - NIC_HDR_LEN;
    pkt_copy_out(p, NIC_HDR_LEN, f->ip, f->len);
    pkt_free(p);
    if (f->ip[0] >> 4 == 4 && f->ip[9] == IPPROTO_TCP)
        list_add_tail(&f->node, &s->out);
    else
        free(f);
}

static void script_nic_destroy(struct nic *nic)
{
    free(nic);
}

static const struct nic_ops script_nic_ops = {.xmit = script_xmit, .destroy = script_nic_destroy};

static void start(struct script *s)
{
    memset(&s->w, 0, sizeof s->w);
    s->w.now = s->begin = 1000 * NET_SEC;
    s->w.rng = 42;
    list_init(&s->out);
    cr_assert_eq(netstack_create(&world_ops, &s->w, &s->w.a), 0);
    s->nic = calloc(1, sizeof *s->nic);
    strcpy(s->nic->name, "tun0");
    s->nic->mtu = 1500;
    s->nic->arp_type = ARPHRD_ETHER;
    s->nic->mac[0] = 2;
    s->nic->features = NIC_NO_ARP | NIC_CSUM | NIC_TSO4 | NIC_TSO6;
    s->nic->driver = s;
    netstack_lock(s->w.a);
    cr_assert_eq(nic_add(s->w.a, s->nic, &script_nic_ops), 0);
    cr_assert_eq(nic_set_up(s->w.a->lo, true), 0);
    cr_assert_eq(nic_set_up(s->nic, true), 0);
    world_addr(s->nic, v4(LOCAL), 24);
    netstack_unlock(s->w.a);
    s->local_port = s->remote_port = 0;
    s->have_isn = s->have_ts = false;
    s->local_isn = s->ts_delta = 0;
}

static void finish(struct script *s)
{
    struct sent *f, *tmp;
    for (int i = 0; i < MAX_FDS; i++)
        if (s->fd[i]) {
            if (s->fd[i]->tp)
                end_close(s->fd[i]);
            free(s->fd[i]);
            s->fd[i] = NULL;
        }
    netstack_destroy(s->w.a);
    list_for_each_entry_safe(f, tmp, &s->out, node)
        free(f);
}

static void pass_until(struct script *s, int64_t t, bool stop_at_packet)
{
    for (;;) {
        int64_t next = netstack_run_timers(s->w.a);
        if (stop_at_packet && !list_empty(&s->out))
            return;
        if (next > t)
            break;
        if (next > s->w.now)
            s->w.now = next;
    }
    if (t > s->w.now)
        s->w.now = t;
}

/* ---- words ---- */

static void skip_space(const char **p)
{
    while (**p == ' ' || **p == '\t' || **p == ',')
        ++*p;
}

static bool accept_word(const char **p, const char *word)
{
    skip_space(p);
    size_t n = strlen(word);
    if (strncmp(*p, word, n) != 0 || isalnum((unsigned char)(*p)[n]) || (*p)[n] == '_')
        return false;
    *p += n;
    return true;
}

static long number(struct script *s, const char **p)
{
    char *end;
    skip_space(p);
    long v = strtol(*p, &end, 0);
    if (end == *p)
        fail(s, "a number is missing at `%.20s`", *p);
    *p = end;
    return v;
}

static void expect(struct script *s, const char **p, const char *text)
{
    skip_space(p);
    if (strncmp(*p, text, strlen(text)) != 0)
        fail(s, "`%s` is missing at `%.20s`", text, *p);
    *p += strlen(text);
}

/* ---- packets ---- */

struct packet {
    uint8_t flags;
    uint32_t seq, len, ack;
    long win; /* -1: any */
    long urg;
    bool any_options;
    struct tcp_options o;
    bool ect_ce;
};

static uint8_t parse_flags(struct script *s, const char **p)
{
    static const char letters[] = "FSRP.UEW";
    static const uint8_t bits[] = {TCP_FIN, TCP_SYN, TCP_RST, TCP_PSH, TCP_ACK, TCP_URG, TCP_ECE, TCP_CWR};
    uint8_t flags = 0;
    skip_space(p);
    for (; **p && **p != ' '; ++*p) {
        const char *c = strchr(letters, **p);
        if (**p == '-')
            continue;
        if (!c)
            fail(s, "unknown flag `%c`", **p);
        flags |= bits[c - letters];
    }
    return flags;
}

static void parse_options(struct script *s, const char **p, struct packet *k)
{
    struct tcp_options *o = &k->o;
    while (skip_space(p), **p && **p != '>') {
        if (accept_word(p, "...")) {
            k->any_options = true;
        } else if (accept_word(p, "mss")) {
            o->mss = number(s, p);
        } else if (accept_word(p, "sackOK")) {
            o->sack_ok = true;
        } else if (accept_word(p, "nop") || accept_word(p, "eol")) {
            continue;
        } else if (accept_word(p, "wscale")) {
            o->has_wscale = true;
            o->wscale = number(s, p);
        } else if (accept_word(p, "TS")) {
            o->has_ts = true;
            expect(s, p, "val");
            o->tsval = number(s, p);
            expect(s, p, "ecr");
            o->tsecr = number(s, p);
        } else if (accept_word(p, "sack")) {
            while (skip_space(p), isdigit((unsigned char)**p)) {
                struct tcp_sack_block *b = &o->sacks[o->nr_sacks++];
                b->start = number(s, p);
                expect(s, p, ":");
                b->end = number(s, p);
            }
        } else {
            fail(s, "unknown option at `%.20s`", *p);
        }
    }
    expect(s, p, ">");
}

static void parse_packet(struct script *s, const char *p, struct packet *k)
{
    *k = (struct packet){.win = -1};
    if (accept_word(&p, "[ce]"))
        k->ect_ce = true;
    k->flags = parse_flags(s, &p);
    k->seq = number(s, &p);
    expect(s, &p, ":");
    number(s, &p);
    expect(s, &p, "(");
    k->len = number(s, &p);
    expect(s, &p, ")");
    if (accept_word(&p, "ack"))
        k->ack = number(s, &p);
    if (accept_word(&p, "win"))
        k->win = number(s, &p);
    if (accept_word(&p, "urg"))
        k->urg = number(s, &p);
    skip_space(&p);
    if (*p == '<') {
        p++;
        parse_options(s, &p, k);
    }
}

static struct pkt *frame(uint8_t proto, size_t len, const uint8_t *body, bool ce)
{
    struct iphdr_ {
        uint8_t vhl, tos;
        be16 len, id, off;
        uint8_t ttl, proto;
        be16 check;
        be32 src, dst;
    } __attribute__((packed)) ip = {0x45, ce ? 3 : 0, htons(20 + len), 0, htons(0x4000), 64, proto, 0, 0, 0};
    struct in6_addr src = v4(REMOTE), dst = v4(LOCAL);
    ip.src = addr_v4(&src);
    ip.dst = addr_v4(&dst);
    ip.check = csum_finish(csum_partial(&ip, sizeof ip, 0));
    struct pkt *p = pkt_alloc(PKT_HEADROOM, NIC_HDR_LEN + sizeof ip + len);
    uint8_t *at = pkt_put(p, NIC_HDR_LEN + sizeof ip + len);
    memset(at, 0, NIC_HDR_LEN);
    at[0] = 2;
    at[12] = 8;
    memcpy(at + NIC_HDR_LEN, &ip, sizeof ip);
    memcpy(at + NIC_HDR_LEN + sizeof ip, body, len);
    p->csum = PKT_CSUM_VERIFIED;
    return p;
}

static void input(struct script *s, struct pkt *p)
{
    netstack_lock(s->w.a);
    nic_input(s->nic, p);
    netstack_unlock(s->w.a);
}

static void inject(struct script *s, const char *text)
{
    struct packet k;
    static uint8_t body[66000];
    parse_packet(s, text, &k);
    if (!s->remote_port)
        s->remote_port = htons(40000);
    if (!s->local_port)
        s->local_port = htons(PORT);
    if (k.o.has_ts && s->have_ts)
        k.o.tsecr += k.o.tsecr ? s->ts_delta : 0;
    for (int i = 0; i < k.o.nr_sacks; i++) {
        k.o.sacks[i].start += s->local_isn;
        k.o.sacks[i].end += s->local_isn;
    }
    size_t opt = tcp_options_write(body + TCP_HEADER_LEN, k.flags & TCP_SYN, &k.o);
    struct tcp_header h = {
        .sport = s->remote_port,
        .dport = s->local_port,
        .seq = htonl(k.seq),
        .ack = htonl(k.flags & TCP_ACK ? k.ack + s->local_isn : 0),
        .off = (TCP_HEADER_LEN + opt) / 4 << 4,
        .flags = k.flags,
        .window = htons(k.win < 0 ? 65535 : k.win),
        .urg = htons(k.urg),
    };
    memcpy(body, &h, sizeof h);
    for (uint32_t i = 0; i < k.len; i++)
        body[TCP_HEADER_LEN + opt + i] = k.seq + i;
    input(s, frame(IPPROTO_TCP, TCP_HEADER_LEN + opt + k.len, body, k.ect_ce));
}

/* icmp unreachable CODE [mtu N] [SEQ:END(LEN)]: about a segment of ours. */
static void inject_icmp(struct script *s, const char *p)
{
    static const struct {
        const char *name;
        int code;
    } codes[] = {{"net_unreachable", ICMP_NET_UNREACH},
                 {"host_unreachable", ICMP_HOST_UNREACH},
                 {"port_unreachable", ICMP_PORT_UNREACH},
                 {"protocol_unreachable", ICMP_PROT_UNREACH},
                 {"frag_needed", ICMP_FRAG_NEEDED}};
    uint8_t b[8 + 20 + 8] = {ICMP_DEST_UNREACH};
    expect(s, &p, "unreachable");
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
        if (accept_word(&p, codes[i].name))
            b[1] = codes[i].code;
    if (accept_word(&p, "mtu")) {
        long mtu = number(s, &p);
        b[6] = mtu >> 8;
        b[7] = mtu;
    }
    expect(s, &p, "[");
    be32 seq = htonl(number(s, &p) + s->local_isn);
    struct in6_addr src = v4(LOCAL), dst = v4(REMOTE);
    be32 a = addr_v4(&src), d = addr_v4(&dst);
    b[8] = 0x45;
    b[10] = 5;
    b[11] = 0xdc;
    b[8 + 6] = 0x40;
    b[8 + 8] = 64;
    b[8 + 9] = IPPROTO_TCP;
    memcpy(b + 8 + 12, &a, 4);
    memcpy(b + 8 + 16, &d, 4);
    memcpy(b + 28, &s->local_port, 2);
    memcpy(b + 30, &s->remote_port, 2);
    memcpy(b + 32, &seq, 4);
    be16 sum = csum_finish(csum_partial(b, sizeof b, 0));
    memcpy(b + 2, &sum, 2);
    input(s, frame(IPPROTO_ICMP, sizeof b, b, false));
}

static void describe(char *buf, size_t size, const struct tcp_header *h, uint32_t seq, uint32_t len, uint32_t ack,
                     const struct tcp_options *o)
{
    int n = snprintf(buf, size, "flags %02x %u:%u(%u) ack %u win %u", h->flags, seq, seq + len, len, ack, ntohs(h->window));
    if (o->mss)
        n += snprintf(buf + n, size - n, " mss %u", o->mss);
    if (o->sack_ok)
        n += snprintf(buf + n, size - n, " sackOK");
    if (o->has_wscale)
        n += snprintf(buf + n, size - n, " wscale %u", o->wscale);
    if (o->has_ts)
        n += snprintf(buf + n, size - n, " TS %u %u", o->tsval, o->tsecr);
    for (int i = 0; i < o->nr_sacks; i++)
        n += snprintf(buf + n, size - n, " sack %u:%u", o->sacks[i].start, o->sacks[i].end);
}

static void match_options(struct script *s, const struct packet *k, struct tcp_options *o, const char *got)
{
    const struct tcp_options *e = &k->o;
    if (o->has_ts && !s->have_ts) {
        s->have_ts = true;
        s->ts_delta = o->tsval - (e->has_ts ? e->tsval : 0);
    }
    if (k->any_options)
        return;
    if (e->mss != o->mss || e->sack_ok != o->sack_ok || e->has_wscale != o->has_wscale || e->wscale != o->wscale ||
        e->has_ts != o->has_ts || e->nr_sacks != o->nr_sacks)
        fail(s, "other options were sent: %s", got);
    if (e->has_ts && (e->tsecr != o->tsecr || labs((long)(o->tsval - s->ts_delta - e->tsval)) > 10))
        fail(s, "another time stamp was sent: %s (delta %u)", got, s->ts_delta);
    for (int i = 0; i < e->nr_sacks; i++)
        if (e->sacks[i].start != o->sacks[i].start || e->sacks[i].end != o->sacks[i].end)
            fail(s, "other blocks were sent: %s", got);
}

static void match(struct script *s, const char *text, int64_t at, bool any_time)
{
    struct packet k;
    struct tcp_header h;
    struct tcp_options o;
    char got[256];
    parse_packet(s, text, &k);
    pass_until(s, any_time ? s->w.now + 300 * NET_SEC : at + TOLERANCE, true);
    if (list_empty(&s->out))
        fail(s, "nothing was sent");
    struct sent *f = list_first_entry(&s->out, struct sent, node);
    struct sent copy = *f;
    list_del_init(&f->node);
    free(f);
    f = &copy;
    size_t ihl = (f->ip[0] & 15) * 4;
    memcpy(&h, f->ip + ihl, sizeof h);
    size_t hlen = (h.off >> 4) * 4;
    uint32_t len = f->len - ihl - hlen, seq = ntohl(h.seq), ack = ntohl(h.ack);
    if (!s->local_port)
        s->local_port = h.sport;
    if (!s->remote_port)
        s->remote_port = h.dport;
    if ((h.flags & TCP_SYN) && !s->have_isn) {
        s->have_isn = true;
        s->local_isn = seq;
    }
    tcp_options_parse(f->ip + ihl + TCP_HEADER_LEN, hlen - TCP_HEADER_LEN, h.flags & TCP_SYN, &o);
    if (!(h.flags & TCP_RST) || s->have_isn)
        seq -= s->local_isn;
    describe(got, sizeof got, &h, seq, len, ack, &o);
    if (h.flags != k.flags || seq != k.seq || len != k.len || ((k.flags & TCP_ACK) && ack != k.ack) ||
        (k.win >= 0 && ntohs(h.window) != k.win) || ntohs(h.urg) != k.urg)
        fail(s, "another packet was sent: %s", got);
    match_options(s, &k, &o, got);
    if (!any_time && llabs(f->at - at) > TOLERANCE)
        fail(s, "it was sent %.6f s after the start, not %.6f", (f->at - s->begin) / 1e9, (at - s->begin) / 1e9);
}

/* ---- calls ---- */

static const struct {
    const char *name;
    long value;
} names[] = {
    {"EAGAIN", EAGAIN},
    {"EINPROGRESS", EINPROGRESS},
    {"ECONNREFUSED", ECONNREFUSED},
    {"ECONNRESET", ECONNRESET},
    {"ETIMEDOUT", ETIMEDOUT},
    {"EPIPE", EPIPE},
    {"ENOTCONN", ENOTCONN},
    {"EHOSTUNREACH", EHOSTUNREACH},
    {"EALREADY", EALREADY},
    {"EISCONN", EISCONN},
    {"EINVAL", EINVAL},
    {"SHUT_RD", TCP_RCV_SHUTDOWN},
    {"SHUT_WR", TCP_SEND_SHUTDOWN},
    {"SHUT_RDWR", TCP_RCV_SHUTDOWN | TCP_SEND_SHUTDOWN},
    {"MSG_OOB", MSG_OOB},
    {"MSG_MORE", MSG_MORE},
    {"TCP_NODELAY", TCP_NODELAY},
    {"TCP_CORK", TCP_CORK},
    {"TCP_KEEPIDLE", TCP_KEEPIDLE},
    {"TCP_KEEPINTVL", TCP_KEEPINTVL},
    {"TCP_KEEPCNT", TCP_KEEPCNT},
    {"TCP_USER_TIMEOUT", TCP_USER_TIMEOUT},
    {"TCP_DEFER_ACCEPT", TCP_DEFER_ACCEPT},
    {"TCP_LINGER2", TCP_LINGER2},
    {"TCP_SYNCNT", TCP_SYNCNT},
    {"TCP_QUICKACK", TCP_QUICKACK},
    {"TCP_MAXSEG", TCP_MAXSEG},
    {"POLLIN", POLLIN},
    {"POLLOUT", POLLOUT},
    {"POLLERR", POLLERR},
    {"POLLHUP", POLLHUP},
    {"POLLRDHUP", POLLRDHUP},
    {"POLLPRI", POLLPRI},
};

static long value(struct script *s, const char **p)
{
    long v = 0;
    while (skip_space(p), **p == '[' || strncmp(*p, "...", 3) == 0)
        *p += **p == '[' ? 1 : 3;
    do {
        bool found = false;
        skip_space(p);
        for (size_t i = 0; i < ARRAY_SIZE(names) && !found; i++)
            if (accept_word(p, names[i].name)) {
                v |= names[i].value;
                found = true;
            }
        if (!found)
            v |= number(s, p);
        skip_space(p);
    } while (**p == '|' && ++*p);
    return v;
}

static struct end *fd_arg(struct script *s, const char **p)
{
    long fd = number(s, p);
    if (fd < 0 || fd >= MAX_FDS || !s->fd[fd])
        fail(s, "no descriptor %ld", fd);
    return s->fd[fd];
}

static long new_fd(struct script *s, struct end *e)
{
    for (int i = 3; i < MAX_FDS; i++)
        if (!s->fd[i]) {
            s->fd[i] = e;
            return i;
        }
    fail(s, "too many descriptors");
}

static long call_setsockopt(struct script *s, struct end *e, const char **p)
{
    if (!accept_word(p, "SOL_SOCKET"))
        accept_word(p, "SOL_TCP");
    if (accept_word(p, "SO_REUSEADDR")) {
        e->tp->ep.reuseaddr = value(s, p);
        return 0;
    }
    static const struct {
        const char *name;
        enum tcp_so so;
    } sos[] = {{"SO_KEEPALIVE", TCP_SO_KEEPALIVE}, {"SO_OOBINLINE", TCP_SO_OOBINLINE}, {"SO_LINGER", TCP_SO_LINGER},
               {"SO_SNDBUF", TCP_SO_SNDBUF},       {"SO_RCVBUF", TCP_SO_RCVBUF},       {"SO_RCVLOWAT", TCP_SO_RCVLOWAT}};
    for (size_t i = 0; i < ARRAY_SIZE(sos); i++)
        if (accept_word(p, sos[i].name)) {
            netstack_lock(e->s);
            tcp_set_so(e->tp, sos[i].so, value(s, p));
            netstack_unlock(e->s);
            return 0;
        }
    int opt = value(s, p), v = value(s, p);
    return LOCKED(e->s, tcp_set_option(e->tp, opt, v));
}

static long call(struct script *s, const char **p)
{
    static char buf[1 << 20];
    struct end *e;
    struct in6_addr any = addr_any(AF_INET);
    if (accept_word(p, "socket")) {
        e = calloc(1, sizeof *e);
        end_open(e, s->w.a, AF_INET);
        return new_fd(s, e);
    }
    if (accept_word(p, "accept")) {
        expect(s, p, "(");
        struct end *l = fd_arg(s, p);
        e = calloc(1, sizeof *e);
        int r = end_accept(l, e);
        if (r == 0)
            return new_fd(s, e);
        free(e);
        return r;
    }
    static const char *const calls[] = {"bind",     "listen",   "connect",    "write",      "send",       "read", "recv",
                                        "close",    "shutdown", "setsockopt", "so_error",   "poll",       "inq",  "outq",
                                        "recv_oob", "info",     "abort",      "disconnect", "congestion", NULL};
    int i = 0;
    while (calls[i] && !accept_word(p, calls[i]))
        i++;
    if (!calls[i])
        fail(s, "unknown call at `%.20s`", *p);
    expect(s, p, "(");
    e = fd_arg(s, p);
    switch (i) {
    case 0:
        return LOCKED(e->s, tcp_bind(e->tp, &any, htons(PORT), 0));
    case 1: {
        long backlog = value(s, p);
        return LOCKED(e->s, tcp_listen(e->tp, backlog));
    }
    case 2:
        return end_connect(e, v4(REMOTE), PORT);
    case 3:
    case 4: {
        long n = value(s, p);
        skip_space(p);
        return end_send(e, buf, n, **p == ')' ? 0 : value(s, p));
    }
    case 5:
    case 6:
        return end_recv(e, buf, value(s, p));
    case 7:
        end_close(e);
        for (int fd = 0; fd < MAX_FDS; fd++)
            if (s->fd[fd] == e)
                s->fd[fd] = NULL;
        free(e);
        return 0;
    case 8: {
        int how = value(s, p);
        return LOCKED(e->s, tcp_shutdown(e->tp, how));
    }
    case 9:
        return call_setsockopt(s, e, p);
    case 10:
        return end_error(e);
    case 11:
        return end_poll(e) & (POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDHUP | POLLPRI);
    case 12:
        return LOCKED(e->s, tcp_inq(e->tp));
    case 13:
        return LOCKED(e->s, tcp_outq(e->tp));
    case 14: {
        uint8_t b;
        return LOCKED(e->s, tcp_recv_oob(e->tp, &b, false));
    }
    case 15: {
        struct tcp_info_full t;
        netstack_lock(e->s);
        tcp_get_info(e->tp, &t);
        netstack_unlock(e->s);
        static const struct {
            const char *name;
            size_t off, size;
        } fields[] = {
#define FIELD(f) {#f, offsetof(struct tcp_info_full, f), sizeof(((struct tcp_info_full *)0)->f)}
            FIELD(state),   FIELD(ca_state),   FIELD(snd_cwnd), FIELD(snd_ssthresh), FIELD(unacked),
            FIELD(sacked),  FIELD(lost),       FIELD(retrans),  FIELD(backoff),      FIELD(total_retrans),
            FIELD(snd_mss), FIELD(reordering), FIELD(probes),   FIELD(rtt),          FIELD(dsack_dups),
#undef FIELD
        };
        for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
            if (accept_word(p, fields[k].name)) {
                uint64_t v = 0;
                memcpy(&v, (char *)&t + fields[k].off, fields[k].size);
                return v;
            }
        fail(s, "unknown field at `%.20s`", *p);
    }
    case 16:
        netstack_lock(e->s);
        tcp_abort(e->tp, ECONNABORTED);
        netstack_unlock(e->s);
        return 0;
    case 17:
        return LOCKED(e->s, tcp_disconnect(e->tp));
    case 18:
        skip_space(p);
        if (strncmp(*p, "reno", 4) == 0)
            return LOCKED(e->s, tcp_set_congestion(e->tp, "reno"));
        return LOCKED(e->s, tcp_set_congestion(e->tp, "cubic"));
    }
    return -ENOSYS;
}

static void run_call(struct script *s, const char *p)
{
    long got = call(s, &p), want;
    p = strstr(p, ") =") ? strstr(p, ") =") + 3 : strchr(p, '=') ? strchr(p, '=') + 1 : p;
    skip_space(&p);
    if (strncmp(p, "-1", 2) == 0) {
        p += 2;
        want = -value(s, &p);
    } else {
        want = value(s, &p);
    }
    if (got != want)
        fail(s, "the call returned %ld, not %ld", got, want);
}

static void run_sysctl(struct script *s, const char *p)
{
    struct tcp_sysctl *t = world_sysctl(s->w.a);
    const struct {
        const char *name;
        int *at;
    } ctl[] = {{"tcp_sack", &t->sack},
               {"tcp_timestamps", &t->timestamps},
               {"tcp_window_scaling", &t->window_scaling},
               {"tcp_ecn", &t->ecn},
               {"tcp_syncookies", &t->syncookies},
               {"tcp_abort_on_overflow", &t->abort_on_overflow},
               {"tcp_fin_timeout", &t->fin_timeout},
               {"tcp_rfc1337", &t->rfc1337},
               {"tcp_syn_retries", &t->syn_retries},
               {"tcp_synack_retries", &t->synack_retries},
               {"tcp_retries2", &t->retries2},
               {"tcp_frto", &t->frto},
               {"tcp_early_retrans", &t->early_retrans},
               {"tcp_rmem", &t->rmem[1]}};
    for (size_t i = 0; i < ARRAY_SIZE(ctl); i++)
        if (accept_word(&p, ctl[i].name)) {
            expect(s, &p, "=");
            *ctl[i].at = number(s, &p);
            return;
        }
    fail(s, "unknown setting at `%.20s`", p);
}

static void run_line(struct script *s, char *line)
{
    const char *p = line;
    char *comment = strstr(line, "//");
    if (comment)
        *comment = 0;
    skip_space(&p);
    if (!*p || *p == '\n')
        return;
    if (accept_word(&p, "sysctl")) {
        run_sysctl(s, p);
        return;
    }
    bool any_time = *p == '*', relative = *p == '+';
    int64_t at = s->w.now;
    if (any_time || relative)
        p++;
    if (!any_time) {
        char *end;
        at = (relative ? s->w.now : s->begin) + (int64_t)(strtod(p, &end) * 1e9 + 0.5);
        if (end == p)
            fail(s, "a time is missing");
        p = end;
    }
    skip_space(&p);
    if (*p == '>') {
        match(s, p + 1, at, any_time);
        return;
    }
    pass_until(s, at, false);
    if (*p != '<')
        run_call(s, p);
    else if (++p, accept_word(&p, "icmp"))
        inject_icmp(s, p);
    else
        inject(s, p);
}

static bool run_script(const char *file, struct script *s)
{
    FILE *f = fopen(file, "r");
    char *line = NULL;
    size_t size = 0;
    cr_assert(f, "%s", file);
    s->file = strrchr(file, '/') + 1;
    s->line = 0;
    s->why[0] = 0;
    start(s);
    if (setjmp(s->failed) == 0) {
        while (getline(&line, &size, f) >= 0) {
            s->line++;
            line[strcspn(line, "\n")] = 0;
            run_line(s, line);
        }
        netstack_run_timers(s->w.a);
        if (!list_empty(&s->out))
            fail(s, "something more was sent at the end");
    }
    free(line);
    fclose(f);
    finish(s);
    return !s->why[0];
}

/* SCRIPT=name runs one. */
Test(tcp_script, all_scripts_pass)
{
    static struct script s;
    glob_t g;
    const char *only = getenv("SCRIPT");
    cr_assert_eq(glob(TESTS_DIR "/net/packetdrill/*.pkt", 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        if (only && !strstr(g.gl_pathv[i], only))
            continue;
        bool ok = run_script(g.gl_pathv[i], &s);
        cr_expect(ok, "%s", s.why);
    }
    globfree(&g);
}
