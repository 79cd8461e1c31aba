/*
 * The hooks: connection tracking first, then what tables and chains hang there in order of priority, translation among them,
 * and the connection's confirmation last.
 */
#include "netstack/nf.h"

#include "lib/log.h"

#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <stdlib.h>

const void *nf_bytes(const struct pkt *p, size_t off, size_t n, void *buf)
{
    if (off + n > p->len || off + n < off)
        return NULL;
    if (off + n <= p->lin)
        return p->data + off;
    pkt_copy_out(p, off, buf, n);
    return buf;
}

static bool skip_extensions(struct nf_ctx *c)
{
    uint8_t next = c->p->data[6], buf[8];
    const uint8_t *h;

    c->thoff = 40;
    for (int n = 0; n < 16; n++) {
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
            break;
        h = nf_bytes(c->p, c->thoff, 8, buf);
        if (!h) {
            c->thoff = c->p->len;
            break;
        }
        if (next == IPPROTO_FRAGMENT && ((h[2] << 8 | h[3]) & 0xfff8)) {
            c->fragment = true;
            next = h[0];
            c->thoff = c->p->len;
            break;
        }
        c->thoff += next == IPPROTO_FRAGMENT ? 8 : (h[1] + 1) * 8;
        next = h[0];
    }
    if (c->thoff > c->p->len)
        c->thoff = c->p->len;
    c->proto = next;
    return true;
}

bool nf_ctx_init(struct nf_ctx *c)
{
    const struct iphdr *ip;

    if (!pkt_need(c->p, 20))
        return false;
    ip = (const struct iphdr *)c->p->data;
    c->v4 = ip->version == 4;
    if (!c->v4)
        return pkt_need(c->p, 40) && skip_extensions(c);
    c->proto = ip->protocol;
    c->fragment = ip->frag_off & htons(IP_OFFMASK);
    c->thoff = c->fragment ? c->p->len : ip->ihl * 4u;
    return c->thoff <= c->p->len;
}

void nf_hook_add(struct netstack *s, int hook, struct nf_hook_entry *e)
{
    struct nf_hook_entry *next;

    list_for_each_entry(next, &s->nf->hooks[hook], node)
        if (next->priority > e->priority)
            break;
    list_add_tail(&e->node, &next->node);
}

void nf_hook_del(struct nf_hook_entry *e)
{
    list_del_init(&e->node);
}

/* The chains that decide translation see only the first packet of a connection, and only while nothing is decided. */
static bool nat_wanted(const struct nf_ctx *c)
{
    const struct nf_conn *ct = c->p->nfct;

    return ct && (c->p->nf_ctinfo == IP_CT_NEW || c->p->nf_ctinfo == IP_CT_RELATED) && !ct_confirmed(ct) &&
           !(ct->status & (nat_hook_is_src(c->hook) ? IPS_SRC_NAT_DONE : IPS_DST_NAT_DONE));
}

static bool at_nat_hook(const struct nf_ctx *c)
{
    return c->hook != NF_INET_FORWARD;
}

/* After the chains of translation: what nobody translated stays as it is, and every packet is rewritten. */
static bool finish_nat(struct nf_ctx *c) NETSTACK_LOCKED
{
    struct nf_conn *ct = c->p->nfct;
    struct nf_nat_range2 none = {0};

    if (!ct || !at_nat_hook(c))
        return true;
    if (nat_wanted(c) && nat_setup(c, ct, &none, nat_hook_is_src(c->hook)) != NF_ACCEPT)
        return false;
    return nat_packet(c);
}

static int run_entries(struct nf_ctx *c, int from, int to)
{
    struct nf_hook_entry *e;

    list_for_each_entry(e, &c->s->nf->hooks[c->hook], node) {
        int v;

        if (e->priority < from || e->priority >= to || !(c->v4 ? e->v4 : e->v6) || (e->nat && !nat_wanted(c)))
            continue;
        v = e->run(e, c);
        if (v != NF_ACCEPT)
            return v;
    }
    return NF_ACCEPT;
}

static enum nf_verdict hook(struct netstack *s, int nr, struct pkt *p, struct nic *in, struct nic *out) NETSTACK_LOCKED
{
    struct nf_ctx c = {.s = s, .p = p, .hook = nr, .in = in, .out = out};
    bool first = nr == NF_INET_PRE_ROUTING || nr == NF_INET_LOCAL_OUT,
         last = nr == NF_INET_LOCAL_IN || nr == NF_INET_POST_ROUTING;
    /* Where translation happens among the others. */
    int nat_at = nat_hook_is_src(nr) ? NF_IP_PRI_NAT_SRC : NF_IP_PRI_NAT_DST, v;

    if (!nf_ctx_init(&c))
        return NF_STACK_DROP;
    v = run_entries(&c, INT32_MIN, NF_IP_PRI_CONNTRACK);
    if (v != NF_ACCEPT)
        goto out;
    if (first)
        ct_in(&c);
    v = run_entries(&c, NF_IP_PRI_CONNTRACK, nat_at + 1);
    if (v == NF_ACCEPT && !finish_nat(&c))
        v = NF_DROP;
    if (v == NF_ACCEPT)
        v = run_entries(&c, nat_at + 1, INT32_MAX);
    if (v == NF_ACCEPT && last && !ct_confirm(s, p))
        v = NF_DROP;
out:
    return v == NF_ACCEPT ? NF_STACK_ACCEPT : v == NF_STOLEN ? NF_STACK_STOLEN : NF_STACK_DROP;
}

int nf_enable(struct netstack *s)
{
    struct netfilter *nf;

    if (s->nf)
        return 0;
    nf = calloc(1, sizeof(*nf));
    if (!nf)
        return -ENOMEM;
    for (int i = 0; i < NETSTACK_HOOKS; i++) {
        list_init(&nf->hooks[i]);
        s->hook[i] = hook;
    }
    for (size_t i = 0; i < NF_CT_BUCKETS; i++)
        list_init(&nf->ct_hash[i]);
    list_init(&nf->ct_lru);
    s->nf = nf;
    return 0;
}

void nf_destroy(struct netstack *s)
{
    struct netfilter *nf = s->nf;

    if (!nf)
        return;
    for (int i = 0; i < NETSTACK_HOOKS; i++)
        s->hook[i] = NULL;
    while (!list_empty(&nf->ct_lru))
        ct_remove(list_first_entry(&nf->ct_lru, struct nf_conn, lru));
    ipt_destroy(nf);
    nft_destroy(s);
    free(nf);
    s->nf = NULL;
}

void nf_log(struct nf_ctx *c, const char *prefix)
{
    struct netfilter *nf = c->s->nf;
    int64_t second = netstack_now(c->s) / NET_SEC;
    struct nf_tuple t;

    if (second != nf->log_second) {
        nf->log_second = second;
        nf->logged = 0;
    }
    if (nf->logged++ >= 10 || !ct_tuple_of(c->p, 0, &t))
        return;
    log_info("%.30sIN=%s OUT=%s SRC=%s DST=%s LEN=%u PROTO=%u SPT=%u DPT=%u", prefix, c->in ? c->in->name : "",
             c->out ? c->out->name : "", addr_text(&t.src), addr_text(&t.dst), c->p->len, t.proto, ntohs(t.sport),
             ntohs(t.dport));
}
