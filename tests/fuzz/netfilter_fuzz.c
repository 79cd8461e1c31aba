/*
 * What a guest gives to netfilter: tables of iptables-legacy and messages of nf_tables, and packets that go through what was
 * taken.
 *
 * Input: [kind: 1 byte][the rest]. Kind 0, 1: an IPT_SO_SET_REPLACE of IPv4, IPv6, the table's name and hooks made good by
 * kind's higher bits; 2: netlink messages; 3: options that are read.
 */
#include "netstack/csum.h"
#include "netstack/netfilter.h"
#include "netstack/nic.h"
#include "netstack/udp.h"

#include <linux/netfilter_ipv4/ip_tables.h>
#include <stdlib.h>

static int64_t now(void *ctx)
{
    return NET_SEC;
}

static void kick(void *ctx, int64_t deadline)
{
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
    memset(buf, 7, len);
}

static const struct netstack_ops ops = {.now = now, .kick = kick, .random = random_bytes};

static void ready(struct endpoint *ep, uint32_t events)
{
}
static void error(struct endpoint *ep, int err)
{
}
static const struct endpoint_cb cb = {.ready = ready, .error = error};

/* Reads all of an answer, so that the sanitizer sees what is not there. */
static void reply(void *arg, const void *msg, size_t len)
{
    *(uint32_t *)arg += csum_partial(msg, len, 0);
}

static void send_one(struct udp_ep *u, const char *dst) NETSTACK_LOCKED
{
    struct udp_send how = UDP_SEND_INIT;

    how.has_dst = true;
    how.dport = htons(53);
    if (inet_pton(AF_INET6, dst, &how.dst) != 1)
        abort();
    (void)udp_send(u, &how, pkt_from("data", 4));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"filter", "nat", "mangle", "raw"};
    static const unsigned int hooks[] = {0xe, 0x1b, 0x1f, 0x9};
    struct netstack *s;
    struct xt_counters *old = NULL;
    struct udp_ep u;
    uint8_t kind, *copy;
    uint32_t sum = 0;
    size_t n, len;

    if (size < 1 || netstack_create(&ops, NULL, &s))
        return 0;
    kind = *data++;
    size--;
    copy = malloc(size + 1);
    memcpy(copy, data, size);
    netstack_lock(s);
    if (nic_set_up(s->lo, true))
        abort();
    udp_ep_init(&u, s, &cb, NULL, AF_INET6, IPPROTO_UDP);
    len = size;
    switch (kind & 3) {
    case 0:
    case 1:
        if (size >= sizeof(struct ipt_replace)) {
            struct ipt_replace *r = (struct ipt_replace *)copy;
            int t = kind >> 2 & 3;

            memcpy(r->name, names[t], strlen(names[t]) + 1);
            r->valid_hooks = hooks[t];
            r->num_counters = (unsigned int)__builtin_popcount(hooks[t]) + 1;
            r->size = size - sizeof(*r);
        }
        (void)nf_ipt_set(s, kind & 1 ? AF_INET6 : AF_INET, IPT_SO_SET_REPLACE, copy, size, &old, &n);
        free(old);
        break;
    case 2:
        nf_tables_receive(s, copy, size, 1, reply, &sum);
        break;
    default:
        (void)nf_ipt_get(s, kind & 4 ? AF_INET6 : AF_INET, IPT_SO_GET_INFO + (kind >> 3 & 3), copy, &len);
    }
    for (int i = 0; i < 3; i++) {
        send_one(&u, "::1");
        send_one(&u, "::ffff:127.0.0.1");
    }
    netstack_unlock(s);
    netstack_lock(s);
    udp_ep_fini(&u);
    netstack_unlock(s);
    netstack_destroy(s);
    free(copy);
    return 0;
}
