/* TCP between two stacks on a good link: connections, data, options, closing. */
#include "tests/unit/tcp_test_util.h"

Test(tcp, connects_sends_and_closes)
{
    struct tcp_world w;
    struct pair p;
    char buf[64];
    world_init(&w, 1, 1500, 0);
    pair_open(&w, &p);
    cr_assert_eq(end_send(&p.a, "hello", 5, 0), 5);
    world_pass(&w, NET_MSEC);
    cr_assert(end_poll(&p.b) & POLLIN);
    cr_assert_eq(end_recv(&p.b, buf, sizeof buf), 5);
    cr_assert_eq(memcmp(buf, "hello", 5), 0);
    cr_assert_eq(end_recv(&p.b, buf, sizeof buf), -EAGAIN);
    end_close(&p.a);
    world_pass(&w, NET_MSEC);
    cr_assert_eq(end_state(&p.b), TCPS_CLOSE_WAIT);
    cr_assert_eq(end_recv(&p.b, buf, sizeof buf), 0);
    end_close(&p.b);
    world_pass(&w, NET_MSEC);
    cr_assert_eq(w.a->tcp->nr_tw, 1);
    cr_assert_eq(w.b->tcp->nr_tw, 0);
    world_pass(&w, NET_SEC * 61);
    cr_assert_eq(tcp_left(w.a), 0);
    end_close(&p.listener);
    cr_assert_eq(tcp_left(w.b), 0);
    world_fini(&w);
}

Test(tcp, connect_to_closed_port_is_refused)
{
    struct tcp_world w;
    struct end e;
    world_init(&w, 2, 1500, 0);
    end_open(&e, w.a, AF_INET);
    cr_assert_eq(end_connect(&e, v4("10.0.0.2"), 81), -EINPROGRESS);
    cr_assert_eq(end_connect(&e, v4("10.0.0.2"), 81), -EALREADY);
    world_pass(&w, NET_MSEC * 10);
    cr_assert_eq(end_poll(&e) & (POLLERR | POLLHUP), POLLERR | POLLHUP);
    cr_assert_eq(end_error(&e), ECONNREFUSED);
    end_close(&e);
    cr_assert_eq(tcp_left(w.a), 0);
    world_fini(&w);
}

static void move_bulk(unsigned int features, bool six)
{
    struct tcp_world w;
    struct end l, a, b;
    enum { TOTAL = 8 << 20 };
    static uint8_t out[65536], in[65536];
    size_t sent = 0, got = 0;
    world_init(&w, 3, 1500, features);
    end_listen(&l, w.b, 80, 4);
    end_open(&a, w.a, six ? AF_INET6 : AF_INET);
    cr_assert_eq(end_connect(&a, six ? v6("fd00::2") : v4("10.0.0.2"), 80), -EINPROGRESS);
    world_pass(&w, NET_MSEC * 10);
    cr_assert_eq(end_accept(&l, &b), 0);
    for (int i = 0; i < 100000 && got < TOTAL; i++) {
        while (sent < TOTAL) {
            size_t n = sizeof out < TOTAL - sent ? sizeof out : TOTAL - sent;
            for (size_t k = 0; k < n; k++)
                out[k] = (sent + k) * 7 >> 3;
            ssize_t r = end_send(&a, out, n, 0);
            if (r == -EAGAIN)
                break;
            cr_assert_gt(r, 0);
            sent += r;
        }
        world_pass(&w, NET_MSEC);
        ssize_t r;
        while ((r = end_recv(&b, in, sizeof in)) > 0) {
            for (ssize_t k = 0; k < r; k++)
                if (in[k] != (uint8_t)((got + k) * 7 >> 3))
                    cr_assert_fail("byte %zu is wrong", got + k);
            got += r;
        }
        cr_assert_eq(r, -EAGAIN);
    }
    cr_assert_eq(got, TOTAL);
    cr_assert_eq(w.a->mib.TcpRetransSegs, 0);
    end_close(&a);
    end_close(&b);
    end_close(&l);
    world_pass(&w, NET_SEC * 130);
    cr_assert_eq(tcp_left(w.a) + tcp_left(w.b), 0);
    cr_assert_eq(w.a->tcp->mem + w.b->tcp->mem, 0);
    world_fini(&w);
}

Test(tcp, bulk_data_arrives_in_order)
{
    move_bulk(0, false);
}

Test(tcp, bulk_data_arrives_as_gso_packets)
{
    move_bulk(NIC_CSUM | NIC_TSO4 | NIC_TSO6, false);
}

Test(tcp, bulk_data_arrives_over_ipv6)
{
    move_bulk(NIC_CSUM, true);
}

Test(tcp, sequence_numbers_wrap_in_the_middle_of_a_stream)
{
    struct tcp_world w;
    struct end l, a, b;
    static uint8_t buf[20000], in[20000];
    struct in6_addr any = addr_any(AF_INET);
    world_init(&w, 4, 1500, NIC_CSUM);
    end_listen(&l, w.b, 80, 4);
    /* The first number depends on the addresses and, in steps of 64 ns, on the time: wait until it is near the end. */
    struct tcp_tuple t = {v4("10.0.0.1"), v4("10.0.0.2"), htons(4000), htons(80)};
    uint32_t isn = LOCKED(w.a, tcp_new_isn(w.a, &t));
    world_pass(&w, (int64_t)(uint32_t)(0u - 10000 - isn) << 6);
    end_open(&a, w.a, AF_INET);
    cr_assert_eq(LOCKED(w.a, tcp_bind(a.tp, &any, htons(4000), 0)), 0);
    cr_assert_eq(end_connect(&a, v4("10.0.0.2"), 80), -EINPROGRESS);
    cr_assert_gt(a.tp->iss, 0u - 20000);
    world_pass(&w, 10 * NET_MSEC);
    cr_assert_eq(end_accept(&l, &b), 0);
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = i * 31 >> 4;
    cr_assert_eq(end_send(&a, buf, sizeof buf, 0), sizeof buf);
    world_pass(&w, NET_SEC);
    cr_assert_lt(a.tp->snd_una, 20000);
    cr_assert_eq(end_recv(&b, in, sizeof in), sizeof in);
    cr_assert_eq(memcmp(buf, in, sizeof in), 0);
    world_fini(&w);
}

/* SYNs from peers that do not exist, straight into B. */
static void flood(struct tcp_world *w, int n)
{
    for (int i = 0; i < n; i++) {
        struct ip_flow f = {.src = v4("10.0.0.77"), .dst = v4("10.0.0.2"), .proto = IPPROTO_TCP, .nonlocal_src = true};
        f.sport = htons(1000 + i);
        f.dport = htons(80);
        struct tcp_out o = {.seq = i, .flags = TCP_SYN, .window = 1000};
        o.opt.mss = 1460;
        netstack_lock(w->a);
        tcp_emit(w->a, &f, pkt_alloc(PKT_HEADROOM, 0), &o);
        netstack_unlock(w->a);
        if (i % 50 == 0)
            world_pass(w, NET_MSEC);
    }
}

Test(tcp, syn_flood_does_not_keep_others_out)
{
    struct tcp_world w;
    struct end l, a, b;
    world_init(&w, 5, 1500, 0);
    end_listen(&l, w.b, 80, 16);
    flood(&w, 500);
    world_pass(&w, 10 * NET_MSEC);
    cr_assert_eq(w.b->tcp->nr_reqs, 16);
    cr_assert_gt(w.b->mib.TcpExtSyncookiesSent, 400);
    end_open(&a, w.a, AF_INET);
    cr_assert_eq(end_connect(&a, v4("10.0.0.2"), 80), -EINPROGRESS);
    world_pass(&w, 10 * NET_MSEC);
    cr_assert_eq(end_state(&a), TCPS_ESTABLISHED);
    cr_assert_eq(w.b->mib.TcpExtSyncookiesRecv, 1);
    cr_assert_eq(end_accept(&l, &b), 0);
    /* What the cookie's time stamp kept. */
    cr_assert(b.tp->sack_ok && b.tp->wscale_ok && b.tp->ts_ok);
    char buf[8];
    cr_assert_eq(end_send(&a, "data", 4, 0), 4);
    world_pass(&w, 10 * NET_MSEC);
    cr_assert_eq(end_recv(&b, buf, sizeof buf), 4);
    end_close(&a);
    end_close(&b);
    end_close(&l);
    world_pass(&w, 200 * NET_SEC);
    cr_assert_eq(tcp_left(w.a) + tcp_left(w.b), 0);
    world_fini(&w);
}

Test(tcp, full_accept_queue_drops_syns_and_recovers)
{
    struct tcp_world w;
    struct end l, a[4], b;
    world_init(&w, 6, 1500, 0);
    end_listen(&l, w.b, 80, 1);
    for (int i = 0; i < 4; i++) {
        end_open(&a[i], w.a, AF_INET);
        cr_assert_eq(end_connect(&a[i], v4("10.0.0.2"), 80), -EINPROGRESS);
        world_pass(&w, 10 * NET_MSEC);
    }
    /* One more than the backlog is let in, as by Linux. */
    cr_assert_eq(l.tp->nr_accept, 2);
    cr_assert_eq(end_state(&a[2]), TCPS_SYN_SENT);
    cr_assert_gt(w.b->mib.TcpExtListenOverflows, 0);
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 100 && end_accept(&l, &b) < 0; k++)
            world_pass(&w, 100 * NET_MSEC);
        end_close(&b);
        world_pass(&w, 1500 * NET_MSEC);
    }
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(end_state(&a[i]), TCPS_CLOSE_WAIT);
        end_close(&a[i]);
    }
    end_close(&l);
    world_pass(&w, 130 * NET_SEC);
    cr_assert_eq(tcp_left(w.a) + tcp_left(w.b), 0);
    world_fini(&w);
}

Test(tcp, ten_thousand_connections_stay_open)
{
    enum { N = 10000 };
    struct tcp_world w;
    static struct end a[N], b[N];
    struct end l;
    int n = 0;
    world_init(&w, 7, 1500, NIC_CSUM);
    world_sysctl(w.a)->max_tw_buckets = N;
    end_listen(&l, w.b, 80, 4096);
    for (int i = 0; i < N; i++) {
        end_open(&a[i], w.a, AF_INET);
        cr_assert_eq(end_connect(&a[i], v4("10.0.0.2"), 80), -EINPROGRESS);
        if (i % 500 == 499) {
            world_pass(&w, 2 * NET_SEC);
            while (n < N && end_accept(&l, &b[n]) == 0)
                n++;
        }
    }
    cr_assert_eq(n, N);
    for (int i = 0; i < N; i++)
        cr_assert_eq(end_send(&b[i], "x", 1, 0), 1);
    world_pass(&w, NET_SEC);
    for (int i = 0; i < N; i++) {
        char c;
        cr_assert_eq(end_recv(&a[i], &c, 1), 1);
        end_close(&a[i]);
        end_close(&b[i]);
    }
    end_close(&l);
    world_pass(&w, 130 * NET_SEC);
    cr_assert_eq(tcp_left(w.a) + tcp_left(w.b), 0);
    world_fini(&w);
}

Test(tcp, user_data_moves_as_packets_without_copies)
{
    struct tcp_world w;
    struct pair p;
    struct pkt_queue q, out;
    uint8_t buf[5000], in[5000];
    world_init(&w, 8, 1500, NIC_CSUM | NIC_TSO4);
    pair_open(&w, &p);
    for (size_t i = 0; i < sizeof buf; i++)
        buf[i] = i * 7;
    pkt_queue_init(&q);
    pkt_queue_init(&out);
    pkt_queue_add(&q, pkt_from(buf, 2000));
    pkt_queue_add(&q, pkt_from(buf + 2000, 3000));
    cr_assert_eq(LOCKED(w.a, tcp_send(p.a.tp, &q, 0)), 5000);
    cr_assert_eq(q.n, 0);
    world_pass(&w, NET_SEC);
    cr_assert_eq(LOCKED(w.b, tcp_recv_peek(p.b.tp, 1000, 10000, &out)), 4000);
    size_t got = 0;
    struct pkt *k;
    while ((k = pkt_queue_take(&out))) {
        pkt_copy_out(k, 0, in + got, k->len);
        got += k->len;
        pkt_free(k);
    }
    cr_assert_eq(got, 4000);
    cr_assert_eq(memcmp(in, buf + 1000, 4000), 0);
    cr_assert_eq(LOCKED(w.b, tcp_recv_consume(p.b.tp, 4500)), 4500);
    cr_assert_eq(LOCKED(w.b, tcp_inq(p.b.tp)), 500);
    cr_assert_eq(end_recv(&p.b, in, sizeof in), 500);
    cr_assert_eq(memcmp(in, buf + 4500, 500), 0);
    pair_close(&w, &p);
    world_fini(&w);
}

static bool count_states(void *ctx, const struct tcp_entry *e)
{
    ((int *)ctx)[e->state]++;
    return true;
}

Test(tcp, listing_shows_every_stage)
{
    struct tcp_world w;
    struct pair p;
    int states[16] = {0};
    world_init(&w, 9, 1500, 0);
    pair_open(&w, &p);
    flood(&w, 3);
    world_pass(&w, NET_MSEC);
    netstack_lock(w.b);
    tcp_for_each(w.b, count_states, states);
    netstack_unlock(w.b);
    cr_assert_eq(states[TCPS_LISTEN], 1);
    cr_assert_eq(states[TCPS_ESTABLISHED], 1);
    cr_assert_eq(states[TCPS_NEW_SYN_RECV], 3);
    uint64_t cookie = p.b.tp->cookie;
    cr_assert_eq(LOCKED(w.b, tcp_find_cookie(w.b, cookie)), p.b.tp);
    pair_close(&w, &p);
    world_fini(&w);
}

Test(tcp, slow_reader_gets_everything_and_the_writer_waits)
{
    struct tcp_world w;
    struct pair p;
    static uint8_t buf[4096];
    size_t sent = 0, got = 0;
    world_init(&w, 10, 1500, NIC_CSUM | NIC_TSO4);
    pair_open(&w, &p);
    ssize_t r;
    while ((r = end_send(&p.a, buf, sizeof buf, 0)) > 0 || got < 100) {
        sent += r > 0 ? r : 0;
        if (r < 0)
            got++;
        world_pass(&w, NET_MSEC);
    }
    got = 0;
    cr_assert(!(end_poll(&p.a) & POLLOUT));
    /* Nothing of it was for nothing. */
    cr_assert_eq(w.a->mib.TcpRetransSegs, 0);
    p.a.events = 0;
    while ((r = end_recv(&p.b, buf, sizeof buf)) > 0 || got < sent) {
        got += r > 0 ? r : 0;
        world_pass(&w, NET_MSEC);
        if (r <= 0)
            world_pass(&w, NET_SEC);
    }
    cr_assert_eq(got, sent);
    cr_assert(p.a.events & POLLOUT);
    pair_close(&w, &p);
    world_fini(&w);
}
