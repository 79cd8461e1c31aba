/* The parts of TCP that are arithmetic or parsing, by themselves. */
#include "tests/unit/tcp_test_util.h"

Test(tcp_parts, sequence_numbers_wrap)
{
    cr_assert(seq_before(0xfffffff0u, 5));
    cr_assert(seq_after(5, 0xfffffff0u));
    cr_assert(!seq_before(5, 5));
    cr_assert(seq_between(2, 0xfffffffeu, 4));
    cr_assert(!seq_between(5, 0xfffffffeu, 4));
    cr_assert_eq(seq_max(0xffffffffu, 0), 0);
}

Test(tcp_parts, options_are_read_as_they_were_written)
{
    struct tcp_options syn = {
        .mss = 1460, .has_wscale = true, .wscale = 7, .sack_ok = true, .has_ts = true, .tsval = 1, .tsecr = 2};
    struct tcp_options data = {.has_ts = true, .tsval = 0xffffffff, .tsecr = 7, .nr_sacks = 3};
    struct tcp_options got;
    uint8_t b[TCP_OPTIONS_MAX];
    for (int i = 0; i < 3; i++)
        data.sacks[i] = (struct tcp_sack_block){i * 1000u, i * 1000u + 500};
    size_t n = tcp_options_write(b, true, &syn);
    cr_assert_eq(n, tcp_options_len(true, &syn));
    cr_assert_eq(n % 4, 0);
    tcp_options_parse(b, n, true, &got);
    cr_assert_eq(got.mss, 1460);
    cr_assert(got.has_wscale && got.wscale == 7 && got.sack_ok && got.has_ts && got.tsval == 1 && got.tsecr == 2);
    n = tcp_options_write(b, false, &data);
    cr_assert_eq(n, 40);
    tcp_options_parse(b, n, false, &got);
    cr_assert_eq(got.nr_sacks, 3);
    cr_assert_eq(memcmp(got.sacks, data.sacks, 3 * sizeof got.sacks[0]), 0);
    cr_assert_eq(got.tsval, 0xffffffff);
}

Test(tcp_parts, malformed_options_are_ignored)
{
    static const uint8_t zero_len[] = {8, 0, 1, 2}, too_long[] = {2, 40, 1, 2}, cut[] = {1, 1, 1, 2},
                         odd_sack[] = {5, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, big_scale[] = {3, 3, 200, 0},
                         after_end[] = {0, 2, 4, 5};
    struct tcp_options o;
    tcp_options_parse(zero_len, 4, true, &o);
    cr_assert(!o.has_ts);
    tcp_options_parse(too_long, 4, true, &o);
    cr_assert_eq(o.mss, 0);
    tcp_options_parse(cut, 4, true, &o);
    cr_assert_eq(o.mss, 0);
    tcp_options_parse(odd_sack, 12, false, &o);
    cr_assert_eq(o.nr_sacks, 0);
    tcp_options_parse(big_scale, 4, true, &o);
    cr_assert_eq(o.wscale, TCP_MAX_WSCALE);
    tcp_options_parse(after_end, 4, true, &o);
    cr_assert_eq(o.mss, 0);
}

Test(tcp_parts, cube_roots_are_rounded_down)
{
    cr_assert_eq(tcp_cubic_root(0), 0);
    cr_assert_eq(tcp_cubic_root(26), 2);
    cr_assert_eq(tcp_cubic_root(27), 3);
    cr_assert_eq(tcp_cubic_root(1000000000000ULL), 10000);
    cr_assert_eq(tcp_cubic_root(UINT64_MAX), 2642245);
}

Test(tcp_parts, cubic_has_its_plateau_at_the_last_maximum)
{
    /* From 70 back to 100: K = cbrt(30 / 0.4) = 4.217 s. */
    int64_t k = tcp_cubic_root(30 * 2500000000ULL);
    cr_assert_eq(k, 4217);
    cr_assert(tcp_cubic_window(0, k, 100) <= 71 && tcp_cubic_window(0, k, 100) >= 70);
    cr_assert_eq(tcp_cubic_window(k, k, 100), 100);
    cr_assert_eq(tcp_cubic_window(k + 1000, k, 100), 100);
    cr_assert_eq(tcp_cubic_window(k + 10000, k, 100), 500);
    cr_assert_eq(tcp_cubic_window(INT64_MAX / 4, k, 100), 400000100);
    cr_assert_eq(tcp_cubic_window(0, 1000000, 100), 2);
}

Test(tcp_parts, cookies_prove_what_was_asked_for_two_minutes)
{
    struct tcp_world w;
    world_init(&w, 1, 1500, 0);
    struct tcp_tuple t = {v4("10.0.0.1"), v4("10.0.0.2"), htons(80), htons(4000)}, other = t;
    uint16_t mss = 1450;
    netstack_lock(w.a);
    uint32_t c = tcp_cookie_make(w.a, &t, 77, &mss);
    cr_assert_eq(mss, 1440);
    cr_assert_eq(tcp_cookie_check(w.a, &t, 77, c), 1440);
    cr_assert_eq(tcp_cookie_check(w.a, &t, 1077, c), 0);
    cr_assert_eq(tcp_cookie_check(w.a, &t, 77, c + (1 << 20)), 0);
    other.rport = htons(4001);
    cr_assert_eq(tcp_cookie_check(w.a, &other, 77, c), 0);
    netstack_unlock(w.a);
    w.now += 60 * NET_SEC;
    netstack_lock(w.a);
    cr_assert_eq(tcp_cookie_check(w.a, &t, 77, c), 1440);
    netstack_unlock(w.a);
    w.now += 61 * NET_SEC;
    netstack_lock(w.a);
    cr_assert_eq(tcp_cookie_check(w.a, &t, 77, c), 0);
    netstack_unlock(w.a);
    world_fini(&w);
}

Test(tcp_parts, cookie_time_stamps_keep_the_options)
{
    struct tcp_sysctl sc = {.sack = 1, .window_scaling = 1};
    for (uint32_t now = 0xffffffc0u; now != 200; now++) {
        struct tcp_req a = {.wscale_ok = true, .snd_wscale = 9, .sack_ok = true}, b = {0};
        uint32_t ts = tcp_cookie_ts(now, &a);
        cr_assert(!seq_after(ts, now) && now - ts < 128);
        cr_assert(tcp_cookie_ts_read(ts, &sc, &b));
        cr_assert(b.wscale_ok && b.snd_wscale == 9 && b.sack_ok && !b.ecn_ok);
    }
}
