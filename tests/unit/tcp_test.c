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
