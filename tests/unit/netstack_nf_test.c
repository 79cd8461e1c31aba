/* iptables' tables, connection tracking and address translation, on a router between two stacks. */
#include "netstack/nft.h"
#include "netstack/raw.h"
#include "tests/unit/netstack_routed.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv4/ipt_REJECT.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

/* A table under construction. */
struct builder {
    uint8_t blob[8192];
    size_t size;
    unsigned int n;
    size_t entry; /* where the current entry begins */
    struct ipt_replace r;
};

static void b_init(struct builder *b, const char *table, unsigned int hooks)
{
    memset(b, 0, sizeof(*b));
    snprintf(b->r.name, sizeof(b->r.name), "%s", table);
    b->r.valid_hooks = hooks;
}

static struct ipt_entry *b_entry(struct builder *b)
{
    struct ipt_entry *e = (struct ipt_entry *)(b->blob + b->size);

    b->entry = b->size;
    b->size += sizeof(*e);
    b->n++;
    e->target_offset = sizeof(*e);
    return e;
}

static struct ipt_entry *b_current(struct builder *b)
{
    return (struct ipt_entry *)(b->blob + b->entry);
}

static void *b_match(struct builder *b, const char *name, int revision, size_t size)
{
    struct xt_entry_match *m = (struct xt_entry_match *)(b->blob + b->size);

    m->u.match_size = sizeof(*m) + XT_ALIGN(size);
    snprintf(m->u.user.name, sizeof(m->u.user.name), "%s", name);
    m->u.user.revision = revision;
    b->size += m->u.match_size;
    b_current(b)->target_offset = b->size - b->entry;
    return m->data;
}

static void *b_target(struct builder *b, const char *name, int revision, size_t size)
{
    struct xt_entry_target *t = (struct xt_entry_target *)(b->blob + b->size);

    t->u.target_size = sizeof(*t) + XT_ALIGN(size);
    snprintf(t->u.user.name, sizeof(t->u.user.name), "%s", name);
    t->u.user.revision = revision;
    b->size += t->u.target_size;
    b_current(b)->next_offset = b->size - b->entry;
    return t->data;
}

static void b_verdict(struct builder *b, int v)
{
    *(int *)b_target(b, "", 0, sizeof(int)) = v;
}

static void b_begin(struct builder *b, int hook)
{
    b->r.hook_entry[hook] = b->size;
}

static void b_policy(struct builder *b, int hook, int verdict)
{
    b->r.underflow[hook] = b->size;
    b_entry(b);
    b_verdict(b, -verdict - 1);
}

static void b_error(struct builder *b, const char *name)
{
    b_entry(b);
    snprintf(b_target(b, XT_ERROR_TARGET, 0, XT_FUNCTION_MAXNAMELEN), XT_FUNCTION_MAXNAMELEN, "%s", name);
}

static int b_commit(struct builder *b, struct netstack *s, int family)
{
    struct ipt_getinfo gi = {0};
    size_t len = sizeof(gi), nr, total = sizeof(b->r) + b->size;
    struct xt_counters *old;
    uint8_t *msg = malloc(total);
    int err;

    memcpy(gi.name, b->r.name, sizeof(gi.name));
    netstack_lock(s);
    cr_assert_eq(nf_ipt_get(s, family, IPT_SO_GET_INFO, &gi, &len), 0);
    b->r.num_counters = gi.num_entries;
    b->r.num_entries = b->n;
    b->r.size = b->size;
    memcpy(msg, &b->r, sizeof(b->r));
    memcpy(msg + sizeof(b->r), b->blob, b->size);
    err = nf_ipt_set(s, family, IPT_SO_SET_REPLACE, msg, total, &old, &nr);
    netstack_unlock(s);
    free(old);
    free(msg);
    return err;
}

#define FILTER_HOOKS (1 << NF_INET_LOCAL_IN | 1 << NF_INET_FORWARD | 1 << NF_INET_LOCAL_OUT)
#define NAT_HOOKS    (1 << NF_INET_PRE_ROUTING | 1 << NF_INET_LOCAL_IN | 1 << NF_INET_LOCAL_OUT | 1 << NF_INET_POST_ROUTING)

static void udp_port(struct builder *b, int port)
{
    b_entry(b)->ip.proto = IPPROTO_UDP;
    *(struct xt_udp *)b_match(b, "udp", 0, sizeof(struct xt_udp)) = (struct xt_udp){{0, 65535}, {port, port}, 0};
}

static int send_and_look(struct routed *t, struct test_udp *a, struct test_udp *b, const char *to, int port)
{
    struct pkt *p;

    cr_assert_eq(udp_sendto(a, to, port, "x", 1), 0);
    routed_run(t, 20);
    p = udp_take(b);
    pkt_free(p);
    return p != NULL;
}

Test(nf, rules_match_jump_and_have_policies)
{
    struct routed t;
    struct test_udp a, b53, b54, b55;
    struct builder b;

    routed_init(&t);
    udp_open(&a, t.w.s[0], AF_INET, NULL, 0);
    udp_open(&b53, t.b, AF_INET, "10.9.0.2", 53);
    udp_open(&b54, t.b, AF_INET, "10.9.0.2", 54);
    udp_open(&b55, t.b, AF_INET, "10.9.0.2", 55);
    cr_assert(send_and_look(&t, &a, &b53, "10.9.0.2", 53));

    /* FORWARD: 54 dropped; 55 refused in a chain of its own; others by the policy. */
    b_init(&b, "filter", FILTER_HOOKS);
    b_begin(&b, NF_INET_LOCAL_IN);
    b_policy(&b, NF_INET_LOCAL_IN, NF_ACCEPT);
    b_begin(&b, NF_INET_FORWARD);
    size_t jump = b.size;
    b_entry(&b);
    b_verdict(&b, 0); /* to the chain, filled in below */
    udp_port(&b, 54);
    b_verdict(&b, -NF_DROP - 1);
    b_policy(&b, NF_INET_FORWARD, NF_ACCEPT);
    b_begin(&b, NF_INET_LOCAL_OUT);
    b_policy(&b, NF_INET_LOCAL_OUT, NF_ACCEPT);
    b_error(&b, "mine");
    int chain = b.size;
    udp_port(&b, 55);
    ((struct ipt_reject_info *)b_target(&b, "REJECT", 0, sizeof(struct ipt_reject_info)))->with = IPT_ICMP_ADMIN_PROHIBITED;
    b_entry(&b);
    b_verdict(&b, XT_RETURN);
    b_error(&b, "ERROR");
    memcpy(b.blob + jump + sizeof(struct ipt_entry) + sizeof(struct xt_entry_target), &chain, 4);
    cr_assert_eq(b_commit(&b, t.w.s[1], AF_INET), 0);

    cr_assert(send_and_look(&t, &a, &b53, "10.9.0.2", 53));
    cr_assert_not(send_and_look(&t, &a, &b54, "10.9.0.2", 54));
    cr_assert_eq(a.err, 0);
    a.u.ep.recverr4 = true;
    cr_assert_not(send_and_look(&t, &a, &b55, "10.9.0.2", 55));
    cr_assert_eq(a.err, EHOSTUNREACH);

    /* The counters of the rules that matched can be read back. */
    struct ipt_getinfo gi = {.name = "filter"};
    size_t len = sizeof(gi);
    netstack_lock(t.w.s[1]);
    cr_assert_eq(nf_ipt_get(t.w.s[1], AF_INET, IPT_SO_GET_INFO, &gi, &len), 0);
    cr_assert_eq(gi.num_entries, b.n);
    cr_assert_eq(gi.size, b.size);
    len = sizeof(struct ipt_get_entries) + gi.size;
    struct ipt_get_entries *ge = calloc(1, len);
    memcpy(ge->name, "filter", 7);
    ge->size = gi.size;
    cr_assert_eq(nf_ipt_get(t.w.s[1], AF_INET, IPT_SO_GET_ENTRIES, ge, &len), 0);
    struct ipt_entry *e = (struct ipt_entry *)((char *)ge->entrytable + chain);
    cr_assert_eq(e->counters.pcnt, 1);
    cr_assert_eq(e->counters.bcnt, 29);
    free(ge);
    netstack_unlock(t.w.s[1]);
    udp_close(&a);
    udp_close(&b53);
    udp_close(&b54);
    udp_close(&b55);
    routed_fini(&t);
}

static void nat_table(struct builder *b, struct routed *t, bool dnat)
{
    struct nf_nat_ipv4_multi_range_compat *m;
    struct ipt_entry *e;

    b_init(b, "nat", NAT_HOOKS);
    b_begin(b, NF_INET_PRE_ROUTING);
    if (dnat) {
        udp_port(b, 8053);
        b_current(b)->ip.dst.s_addr = htonl(0x0a000002);
        b_current(b)->ip.dmsk.s_addr = 0xffffffff;
        m = b_target(b, "DNAT", 0, sizeof(*m));
        m->rangesize = 1;
        m->range[0].flags = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;
        m->range[0].min_ip = m->range[0].max_ip = htonl(0x0a090002);
        m->range[0].min.all = m->range[0].max.all = htons(53);
    }
    b_policy(b, NF_INET_PRE_ROUTING, NF_ACCEPT);
    b_begin(b, NF_INET_LOCAL_IN);
    b_policy(b, NF_INET_LOCAL_IN, NF_ACCEPT);
    b_begin(b, NF_INET_LOCAL_OUT);
    b_policy(b, NF_INET_LOCAL_OUT, NF_ACCEPT);
    b_begin(b, NF_INET_POST_ROUTING);
    e = b_entry(b);
    memcpy(e->ip.outiface, t->rnic->name, sizeof(e->ip.outiface));
    memset(e->ip.outiface_mask, 0xff, strlen(t->rnic->name) + 1);
    m = b_target(b, "MASQUERADE", 0, sizeof(*m));
    m->rangesize = 1;
    b_policy(b, NF_INET_POST_ROUTING, NF_ACCEPT);
    b_error(b, "ERROR");
    cr_assert_eq(b_commit(b, t->w.s[1], AF_INET), 0);
}

static int count_line(const char *line, void *arg)
{
    ++*(int *)arg;
    return 0;
}

Test(nf, masquerading_hides_the_sender_and_answers_find_back)
{
    struct routed t;
    struct test_udp a, b;
    struct builder bl;
    struct in6_addr router = ip("10.9.0.1"), peer = ip("10.9.0.2");

    routed_init(&t);
    nat_table(&bl, &t, false);
    udp_open(&a, t.w.s[0], AF_INET, "0.0.0.0", 1234);
    udp_open(&b, t.b, AF_INET, "10.9.0.2", 53);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(udp_sendto(&a, "10.9.0.2", 53, "ask", 3), 0);
        routed_run(&t, 20);
        struct pkt *p = udp_take(&b);
        cr_assert_not_null(p);
        cr_assert(addr_equal(&p->ip.src, &router));
        cr_assert_eq(p->udp.sport, htons(1234));
        pkt_free(p);
        cr_assert_eq(udp_sendto(&b, "10.9.0.1", 1234, "answer", 6), 0);
        routed_run(&t, 20);
        p = udp_take(&a);
        cr_assert_not_null(p);
        cr_assert(addr_equal(&p->ip.src, &peer));
        cr_assert_eq(p->udp.sport, htons(53));
        pkt_free(p);
    }
    int n = 0;
    netstack_lock(t.w.s[1]);
    cr_assert_eq(nf_conntrack_count(t.w.s[1]), 1);
    cr_assert_eq(nf_conntrack_for_each(t.w.s[1], count_line, &n), 0);
    netstack_unlock(t.w.s[1]);
    cr_assert_eq(n, 1);
    /* Large ones, in fragments, too. */
    static uint8_t big[5000];
    cr_assert_eq(udp_sendto(&a, "10.9.0.2", 53, big, sizeof(big)), 0);
    routed_run(&t, 50);
    cr_assert(udp_got(&b, big, sizeof(big)));
    cr_assert_eq(udp_sendto(&b, "10.9.0.1", 1234, big, sizeof(big)), 0);
    routed_run(&t, 50);
    cr_assert(udp_got(&a, big, sizeof(big)));
    /* An error about a translated packet comes back to who sent it. */
    a.u.ep.recverr4 = true;
    cr_assert_eq(udp_sendto(&a, "10.9.0.2", 99, "closed", 6), 0);
    routed_run(&t, 50);
    cr_assert_eq(a.err, ECONNREFUSED);
    /* Somebody else with the same port behind the same router gets another one. */
    routed_addr(t.w.s[0], t.w.nic[0], "10.0.0.7", 24);
    struct test_udp c;
    udp_close(&a);
    udp_open(&a, t.w.s[0], AF_INET, "10.0.0.1", 1234);
    udp_open(&c, t.w.s[0], AF_INET, "10.0.0.7", 1234);
    cr_assert_eq(udp_sendto(&c, "10.9.0.2", 53, "other", 5), 0);
    routed_run(&t, 50);
    struct pkt *p = udp_take(&b);
    cr_assert_not_null(p);
    cr_assert(addr_equal(&p->ip.src, &router));
    cr_assert_neq(p->udp.sport, htons(1234));
    pkt_free(p);
    /* After its time a connection is forgotten. */
    t.w.clock.now += 200 * NET_SEC;
    routed_run(&t, 10);
    netstack_lock(t.w.s[1]);
    cr_assert_eq(nf_conntrack_count(t.w.s[1]), 0);
    netstack_unlock(t.w.s[1]);
    udp_close(&a);
    udp_close(&b);
    udp_close(&c);
    routed_fini(&t);
}

Test(nf, dnat_publishes_a_port)
{
    struct routed t;
    struct test_udp a, b;
    struct builder bl;
    struct in6_addr published = ip("10.0.0.2"), dst;
    be16 dport;

    routed_init(&t);
    nat_table(&bl, &t, true);
    udp_open(&a, t.w.s[0], AF_INET, "0.0.0.0", 1234);
    udp_open(&b, t.b, AF_INET, "10.9.0.2", 53);
    cr_assert_eq(udp_sendto(&a, "10.0.0.2", 8053, "ask", 3), 0);
    routed_run(&t, 20);
    struct pkt *p = udp_take(&b);
    cr_assert_not_null(p);
    int port = ntohs(p->udp.sport);
    pkt_free(p);
    cr_assert_eq(udp_sendto(&b, "10.9.0.1", port, "answer", 6), 0);
    routed_run(&t, 20);
    p = udp_take(&a);
    cr_assert_not_null(p);
    cr_assert(addr_equal(&p->ip.src, &published));
    cr_assert_eq(p->udp.sport, htons(8053));
    pkt_free(p);
    struct in6_addr real = ip("10.9.0.2"), mine = ip("10.9.0.1");
    netstack_lock(t.w.s[1]);
    cr_assert(nf_original_dst(t.w.s[1], IPPROTO_UDP, &real, htons(53), &mine, htons(port), &dst, &dport));
    netstack_unlock(t.w.s[1]);
    cr_assert(addr_equal(&dst, &published));
    cr_assert_eq(dport, htons(8053));
    udp_close(&a);
    udp_close(&b);
    routed_fini(&t);
}

Test(nf, established_connections_pass_where_new_ones_do_not)
{
    struct routed t;
    struct test_udp a, b;
    struct builder bl;
    struct xt_conntrack_mtinfo3 *m;

    routed_init(&t);
    udp_open(&a, t.w.s[0], AF_INET, "10.0.0.1", 1234);
    udp_open(&b, t.b, AF_INET, "10.9.0.2", 53);
    b_init(&bl, "filter", FILTER_HOOKS);
    b_begin(&bl, NF_INET_LOCAL_IN);
    b_policy(&bl, NF_INET_LOCAL_IN, NF_ACCEPT);
    b_begin(&bl, NF_INET_FORWARD);
    b_entry(&bl);
    m = b_match(&bl, "conntrack", 3, sizeof(*m));
    m->match_flags = XT_CONNTRACK_STATE;
    m->state_mask = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED) | XT_CONNTRACK_STATE_BIT(IP_CT_RELATED);
    b_verdict(&bl, -NF_ACCEPT - 1);
    struct ipt_entry *e = b_entry(&bl);
    memcpy(e->ip.iniface, t.w.nic[1]->name, 16);
    memset(e->ip.iniface_mask, 0xff, strlen(t.w.nic[1]->name) + 1);
    b_verdict(&bl, -NF_ACCEPT - 1);
    b_policy(&bl, NF_INET_FORWARD, NF_DROP);
    b_begin(&bl, NF_INET_LOCAL_OUT);
    b_policy(&bl, NF_INET_LOCAL_OUT, NF_ACCEPT);
    b_error(&bl, "ERROR");
    /* Both links have the same name, from two channels, unless one says otherwise. */
    netstack_lock(t.w.s[1]);
    cr_assert_eq(nic_set_name(t.rnic, "out0"), 0);
    netstack_unlock(t.w.s[1]);
    cr_assert_eq(b_commit(&bl, t.w.s[1], AF_INET), 0);
    cr_assert_not(send_and_look(&t, &b, &a, "10.0.0.1", 1234));
    cr_assert(send_and_look(&t, &a, &b, "10.9.0.2", 53));
    cr_assert(send_and_look(&t, &b, &a, "10.0.0.1", 1234));
    udp_close(&a);
    udp_close(&b);
    routed_fini(&t);
}

static void ignore_ready(struct endpoint *ep, uint32_t events)
{
}

static void ignore_error(struct endpoint *ep, int err)
{
}

static int keep_line(const char *line, void *arg)
{
    snprintf(arg, 512, "%s", line);
    return 0;
}

Test(nf, an_echo_and_its_answer_are_one_connection)
{
    struct world w;
    struct raw_ep ping;
    struct raw_send how = RAW_SEND_INIT;
    uint8_t echo[16] = {8};
    char line[512] = "";

    world_init(&w, NULL);
    how.dst = ip("127.0.0.1");
    how.has_dst = true;
    netstack_lock(w.s[0]);
    cr_assert_eq(nf_enable(w.s[0]), 0);
    raw_ep_init(&ping, w.s[0], &test_cb, NULL, AF_INET, IPPROTO_ICMP, true);
    ping.ep.cb = &(struct endpoint_cb){.ready = ignore_ready, .error = ignore_error};
    cr_assert_eq(raw_send(&ping, &how, pkt_from(echo, sizeof(echo))), 0);
    netstack_unlock(w.s[0]);
    netstack_lock(w.s[0]);
    cr_assert_eq(nf_conntrack_for_each(w.s[0], keep_line, line), 0);
    cr_assert(strstr(line, "type=8") && !strstr(line, "UNREPLIED") && strstr(line, "bytes=36 mark"), "%s", line);
    raw_ep_fini(&ping);
    netstack_unlock(w.s[0]);
    world_fini(&w);
}

Test(nf, malformed_tables_are_refused)
{
    struct world w;
    struct builder good, b;
    uint64_t rng = 99;
    int ok = 0;

    world_init(&w, NULL);
    b_init(&good, "filter", FILTER_HOOKS);
    for (int h = 1; h <= 3; h++) {
        b_begin(&good, h);
        udp_port(&good, 54);
        b_verdict(&good, -NF_DROP - 1);
        b_policy(&good, h, NF_ACCEPT);
    }
    b_error(&good, "ERROR");
    b = good;
    cr_assert_eq(b_commit(&b, w.s[0], AF_INET), 0);
    b = good;
    b.r.valid_hooks = 1;
    cr_assert_eq(b_commit(&b, w.s[0], AF_INET), -EINVAL);
    b = good;
    b.n--;
    cr_assert_eq(b_commit(&b, w.s[0], AF_INET), -EINVAL);
    b = good;
    b.r.underflow[1] = 8;
    cr_assert_eq(b_commit(&b, w.s[0], AF_INET), -EINVAL);
    b = good;
    snprintf(b.r.name, 8, "none");
    struct ipt_getinfo gi = {.name = "none"};
    size_t len = sizeof(gi);
    netstack_lock(w.s[0]);
    cr_assert_eq(nf_ipt_get(w.s[0], AF_INET, IPT_SO_GET_INFO, &gi, &len), -ENOENT);
    netstack_unlock(w.s[0]);
    /* Any byte may be wrong; whatever is taken must hold packets. */
    struct test_udp u, v;
    udp_open(&u, w.s[0], AF_INET, NULL, 0);
    udp_open(&v, w.s[0], AF_INET, "127.0.0.1", 54);
    for (int i = 0; i < 3000; i++) {
        b = good;
        for (int k = 0; k < 3; k++) {
            rng = rng * 6364136223846793005ULL + 1;
            b.blob[(rng >> 33) % b.size] = rng >> 20;
        }
        ok += b_commit(&b, w.s[0], AF_INET) == 0;
        (void)udp_sendto(&u, "127.0.0.1", 54, "x", 1);
        pkt_free(udp_take(&v));
    }
    cr_assert(ok > 0);
    udp_close(&u);
    udp_close(&v);
    world_fini(&w);
}

/* ---- nf_tables ---- */

struct batch {
    uint8_t b[16384];
    size_t len;
    uint32_t seq;
    struct nft_msg m;
};

static void n_begin(struct batch *b, int msg, int flags)
{
    nft_msg_begin(&b->m, NFNL_SUBSYS_NFTABLES << 8 | msg, NLM_F_REQUEST | flags, ++b->seq, 0, NFPROTO_IPV4, 0);
}

static void n_end(struct batch *b)
{
    cr_assert(b->len + NLMSG_ALIGN(b->m.len) <= sizeof(b->b));
    memset(b->b + b->len, 0, NLMSG_ALIGN(b->m.len));
    memcpy(b->b + b->len, b->m.b, b->m.len);
    b->len += NLMSG_ALIGN(b->m.len);
}

static void n_mark(struct batch *b, bool end)
{
    nft_msg_begin(&b->m, end ? NFNL_MSG_BATCH_END : NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, ++b->seq, 0, 0, NFNL_SUBSYS_NFTABLES);
    n_end(b);
}

static void n_table(struct batch *b, const char *name)
{
    n_begin(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    nft_put_str(&b->m, NFTA_TABLE_NAME, name);
    n_end(b);
}

/* hook -1: no base chain */
static void n_chain(struct batch *b, const char *table, const char *name, int hook)
{
    n_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    nft_put_str(&b->m, NFTA_CHAIN_TABLE, table);
    nft_put_str(&b->m, NFTA_CHAIN_NAME, name);
    if (hook >= 0) {
        size_t at = nft_nest(&b->m, NFTA_CHAIN_HOOK);
        nft_put_u32(&b->m, NFTA_HOOK_HOOKNUM, hook);
        nft_put_u32(&b->m, NFTA_HOOK_PRIORITY, 0);
        nft_nest_end(&b->m, at);
        nft_put_u32(&b->m, NFTA_CHAIN_POLICY, NF_ACCEPT);
        nft_put_str(&b->m, NFTA_CHAIN_TYPE, "filter");
    }
    n_end(b);
}

static size_t e_begin(struct batch *b, const char *name, size_t *data)
{
    size_t at = nft_nest(&b->m, NFTA_LIST_ELEM);

    nft_put_str(&b->m, NFTA_EXPR_NAME, name);
    *data = nft_nest(&b->m, NFTA_EXPR_DATA);
    return at;
}

static void e_end(struct batch *b, size_t at, size_t data)
{
    nft_nest_end(&b->m, data);
    nft_nest_end(&b->m, at);
}

static void e_cmp(struct batch *b, const void *v, size_t n)
{
    size_t data, at = e_begin(b, "cmp", &data), nest;

    nft_put_u32(&b->m, NFTA_CMP_SREG, NFT_REG_1);
    nft_put_u32(&b->m, NFTA_CMP_OP, NFT_CMP_EQ);
    nest = nft_nest(&b->m, NFTA_CMP_DATA);
    nft_put(&b->m, NFTA_DATA_VALUE, v, n);
    nft_nest_end(&b->m, nest);
    e_end(b, at, data);
}

static void e_verdict(struct batch *b, int code, const char *chain)
{
    size_t data, at = e_begin(b, "immediate", &data), nest, v;

    nft_put_u32(&b->m, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    nest = nft_nest(&b->m, NFTA_IMMEDIATE_DATA);
    v = nft_nest(&b->m, NFTA_DATA_VERDICT);
    nft_put_u32(&b->m, NFTA_VERDICT_CODE, code);
    if (chain)
        nft_put_str(&b->m, NFTA_VERDICT_CHAIN, chain);
    nft_nest_end(&b->m, v);
    nft_nest_end(&b->m, nest);
    e_end(b, at, data);
}

/* udp dport PORT counter VERDICT; port 0: any packet */
static void n_rule(struct batch *b, const char *table, const char *chain, int port, int verdict, const char *to)
{
    size_t list, at, data;
    be16 p = htons(port);

    n_begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    nft_put_str(&b->m, NFTA_RULE_TABLE, table);
    nft_put_str(&b->m, NFTA_RULE_CHAIN, chain);
    list = nft_nest(&b->m, NFTA_RULE_EXPRESSIONS);
    if (port) {
        at = e_begin(b, "meta", &data);
        nft_put_u32(&b->m, NFTA_META_KEY, NFT_META_L4PROTO);
        nft_put_u32(&b->m, NFTA_META_DREG, NFT_REG_1);
        e_end(b, at, data);
        e_cmp(b, &(uint8_t){IPPROTO_UDP}, 1);
        at = e_begin(b, "payload", &data);
        nft_put_u32(&b->m, NFTA_PAYLOAD_DREG, NFT_REG_1);
        nft_put_u32(&b->m, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_TRANSPORT_HEADER);
        nft_put_u32(&b->m, NFTA_PAYLOAD_OFFSET, 2);
        nft_put_u32(&b->m, NFTA_PAYLOAD_LEN, 2);
        e_end(b, at, data);
        e_cmp(b, &p, 2);
    }
    at = e_begin(b, "counter", &data);
    e_end(b, at, data);
    e_verdict(b, verdict, to);
    nft_nest_end(&b->m, list);
    n_end(b);
}

struct answers {
    int errors, first_error, rules, done;
};

static void note_answer(void *arg, const void *msg, size_t len)
{
    struct answers *a = arg;
    const struct nlmsghdr *h = msg;
    int err;

    if (h->nlmsg_type == NLMSG_ERROR) {
        memcpy(&err, h + 1, sizeof(err));
        if (err && !a->errors++)
            a->first_error = err;
    } else if (h->nlmsg_type == NLMSG_DONE) {
        a->done++;
    } else {
        a->rules += (h->nlmsg_type & 0xff) == NFT_MSG_NEWRULE;
    }
}

static struct answers n_send(struct batch *b, struct netstack *s)
{
    struct answers a = {0};

    netstack_lock(s);
    nf_tables_receive(s, b->b, b->len, 77, note_answer, &a);
    netstack_unlock(s);
    b->len = 0;
    return a;
}

static struct answers n_dump(struct batch *b, struct netstack *s)
{
    n_begin(b, NFT_MSG_GETRULE, NLM_F_DUMP);
    n_end(b);
    return n_send(b, s);
}

Test(nft, batches_change_all_or_nothing_and_rules_decide)
{
    static struct batch b;
    struct routed t;
    struct test_udp a, b53, b54, b55;
    struct answers got;

    routed_init(&t);
    udp_open(&a, t.w.s[0], AF_INET, NULL, 0);
    udp_open(&b53, t.b, AF_INET, "10.9.0.2", 53);
    udp_open(&b54, t.b, AF_INET, "10.9.0.2", 54);
    udp_open(&b55, t.b, AF_INET, "10.9.0.2", 55);
    n_mark(&b, false);
    n_table(&b, "filter");
    n_chain(&b, "filter", "FORWARD", NF_INET_FORWARD);
    n_chain(&b, "filter", "mine", -1);
    n_rule(&b, "filter", "FORWARD", 54, NF_DROP, NULL);
    n_rule(&b, "filter", "FORWARD", 0, NFT_JUMP, "mine");
    n_rule(&b, "filter", "mine", 55, NF_DROP, NULL);
    n_mark(&b, true);
    got = n_send(&b, t.w.s[1]);
    cr_assert_eq(got.errors, 0, "%d", got.first_error);
    cr_assert_eq(n_dump(&b, t.w.s[1]).rules, 3);
    cr_assert(send_and_look(&t, &a, &b53, "10.9.0.2", 53));
    cr_assert_not(send_and_look(&t, &a, &b54, "10.9.0.2", 54));
    cr_assert_not(send_and_look(&t, &a, &b55, "10.9.0.2", 55));
    /* A batch with a mistake, or without an end, changes nothing. */
    n_mark(&b, false);
    n_rule(&b, "filter", "FORWARD", 53, NF_DROP, NULL);
    n_rule(&b, "filter", "FORWARD", 53, NFT_JUMP, "nowhere");
    n_mark(&b, true);
    got = n_send(&b, t.w.s[1]);
    cr_assert_eq(got.errors, 1);
    cr_assert_eq(got.first_error, -ENOENT);
    n_mark(&b, false);
    n_rule(&b, "filter", "FORWARD", 53, NF_DROP, NULL);
    got = n_send(&b, t.w.s[1]);
    cr_assert_eq(n_dump(&b, t.w.s[1]).rules, 3);
    cr_assert(send_and_look(&t, &a, &b53, "10.9.0.2", 53));
    /* Chains that jump to each other end somewhere. */
    n_mark(&b, false);
    n_rule(&b, "filter", "mine", 53, NFT_GOTO, "mine");
    n_mark(&b, true);
    cr_assert_eq(n_send(&b, t.w.s[1]).errors, 0);
    cr_assert_not(send_and_look(&t, &a, &b53, "10.9.0.2", 53));
    /* Flushed, nothing is left of it. */
    n_mark(&b, false);
    n_begin(&b, NFT_MSG_DELTABLE, 0);
    n_end(&b);
    n_mark(&b, true);
    cr_assert_eq(n_send(&b, t.w.s[1]).errors, 0);
    cr_assert_eq(n_dump(&b, t.w.s[1]).rules, 0);
    cr_assert(send_and_look(&t, &a, &b54, "10.9.0.2", 54));
    free(b.m.b);
    udp_close(&a);
    udp_close(&b53);
    udp_close(&b54);
    udp_close(&b55);
    routed_fini(&t);
}

Test(nft, malformed_messages_do_no_harm)
{
    static struct batch good, b;
    struct world w;
    struct test_udp u, v;
    uint64_t rng = 5;

    world_init(&w, NULL);
    n_mark(&good, false);
    n_table(&good, "filter");
    n_chain(&good, "filter", "OUTPUT", NF_INET_LOCAL_OUT);
    n_chain(&good, "filter", "mine", -1);
    n_rule(&good, "filter", "OUTPUT", 54, NFT_JUMP, "mine");
    n_rule(&good, "filter", "mine", 54, NF_DROP, NULL);
    n_mark(&good, true);
    udp_open(&u, w.s[0], AF_INET, NULL, 0);
    udp_open(&v, w.s[0], AF_INET, "127.0.0.1", 54);
    for (int i = 0; i < 3000; i++) {
        memcpy(b.b, good.b, good.len);
        b.len = good.len;
        for (int k = 0; k < 2; k++) {
            rng = rng * 6364136223846793005ULL + 1;
            b.b[(rng >> 33) % b.len] = rng >> 20;
        }
        if (rng >> 40 & 1)
            b.len -= (rng >> 44) % b.len;
        (void)n_send(&b, w.s[0]);
        (void)udp_sendto(&u, "127.0.0.1", 54, "x", 1);
        pkt_free(udp_take(&v));
        if (i % 10 == 0)
            (void)n_dump(&b, w.s[0]);
    }
    free(good.m.b);
    free(b.m.b);
    udp_close(&u);
    udp_close(&v);
    world_fini(&w);
}
