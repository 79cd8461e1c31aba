/*
 * The tables of iptables-legacy: blobs of entries that user space replaces whole. A table is checked once, when it comes: every
 * offset, size, name and jump. Then it is walked as it lies, over an index of its entries, with a stack for jumps.
 */
#include "netstack/nf.h"

#include <errno.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdlib.h>

#define ENTRIES_MAX 16384
#define TABLE_MAX   (4 << 20)
#define MATCHES_MAX 16
#define JUMPS_MAX   64
/* Entries looked at for one packet: jumps in a circle, which "goto" can make, end here. */
#define STEPS_MAX 65536

/* What is different in the two families' entries. */
struct layout {
    size_t entry, target_offset, next_offset, counters, replace;
};
static const struct layout layouts[2] = {
    {sizeof(struct ipt_entry), offsetof(struct ipt_entry, target_offset), offsetof(struct ipt_entry, next_offset),
     offsetof(struct ipt_entry, counters), sizeof(struct ipt_replace)},
    {sizeof(struct ip6t_entry), offsetof(struct ip6t_entry, target_offset), offsetof(struct ip6t_entry, next_offset),
     offsetof(struct ip6t_entry, counters), sizeof(struct ip6t_replace)},
};

struct rule {
    uint8_t *e;                         /* in blob */
    const struct xt_target_ops *target; /* NULL: standard, or ERROR */
    const void *target_data;
    int verdict; /* standard: negative as in xt_standard_target; else the index of the rule to go to */
    uint8_t nr_matches;
    bool error, go; /* go: no return */
    struct {
        const struct xt_match_ops *ops;
        void *data;
    } match[MATCHES_MAX];
};

struct legacy_table;
struct ipt_hook {
    struct nf_hook_entry he;
    struct legacy_table *t;
};

struct legacy_table {
    const char *name;
    int family; /* 0: IPv4, 1: IPv6 */
    unsigned int valid_hooks;
    uint32_t hook_entry[NF_INET_NUMHOOKS], underflow[NF_INET_NUMHOOKS]; /* offsets */
    uint32_t start[NF_INET_NUMHOOKS];                                   /* indices of rules */
    uint8_t *blob;
    size_t size;
    struct rule *rules;
    uint32_t nr;
    bool installed;
    struct ipt_hook hook[NF_INET_NUMHOOKS];
};

static const struct {
    const char *name;
    unsigned int hooks;
    int priority;
    bool nat;
} kinds[4] = {
    {"filter", 1 << NF_INET_LOCAL_IN | 1 << NF_INET_FORWARD | 1 << NF_INET_LOCAL_OUT, 0, false},
    {"nat", 1 << NF_INET_PRE_ROUTING | 1 << NF_INET_LOCAL_IN | 1 << NF_INET_LOCAL_OUT | 1 << NF_INET_POST_ROUTING, 0, true},
    {"mangle", 0x1f, -150, false},
    {"raw", 1 << NF_INET_PRE_ROUTING | 1 << NF_INET_LOCAL_OUT, -300, false},
};

static uint16_t get16(const uint8_t *e, size_t at)
{
    uint16_t v;

    memcpy(&v, e + at, 2);
    return v;
}

static struct xt_counters *counters_of(const struct legacy_table *t, const struct rule *r)
{
    return (struct xt_counters *)(r->e + layouts[t->family].counters);
}

static bool iface_matches(const char *want, const unsigned char *mask, const struct nic *nic)
{
    char name[IFNAMSIZ] = {0};

    if (nic)
        memcpy(name, nic->name, IFNAMSIZ);
    for (int i = 0; i < IFNAMSIZ; i++)
        if ((name[i] ^ want[i]) & mask[i])
            return false;
    return true;
}

static bool ip4_matches(const struct ipt_ip *w, const struct nf_ctx *c)
{
    const struct iphdr *ip = (const struct iphdr *)c->p->data;

    return (((ip->saddr & w->smsk.s_addr) != w->src.s_addr) == !!(w->invflags & IPT_INV_SRCIP)) &&
           (((ip->daddr & w->dmsk.s_addr) != w->dst.s_addr) == !!(w->invflags & IPT_INV_DSTIP)) &&
           (iface_matches(w->iniface, w->iniface_mask, c->in) != !!(w->invflags & IPT_INV_VIA_IN)) &&
           (iface_matches(w->outiface, w->outiface_mask, c->out) != !!(w->invflags & IPT_INV_VIA_OUT)) &&
           (!w->proto || (c->proto == w->proto) != !!(w->invflags & IPT_INV_PROTO)) &&
           (!(w->flags & IPT_F_FRAG) || c->fragment != !!(w->invflags & IPT_INV_FRAG));
}

static bool masked_differ(const uint8_t *a, const struct in6_addr *mask, const struct in6_addr *want)
{
    for (int i = 0; i < 16; i++)
        if ((a[i] & mask->s6_addr[i]) != want->s6_addr[i])
            return true;
    return false;
}

static bool ip6_matches(const struct ip6t_ip6 *w, const struct nf_ctx *c)
{
    const uint8_t *h = c->p->data;

    return (masked_differ(h + 8, &w->smsk, &w->src) == !!(w->invflags & IP6T_INV_SRCIP)) &&
           (masked_differ(h + 24, &w->dmsk, &w->dst) == !!(w->invflags & IP6T_INV_DSTIP)) &&
           (iface_matches(w->iniface, w->iniface_mask, c->in) != !!(w->invflags & IP6T_INV_VIA_IN)) &&
           (iface_matches(w->outiface, w->outiface_mask, c->out) != !!(w->invflags & IP6T_INV_VIA_OUT)) &&
           (!(w->flags & IP6T_F_PROTO) || !w->proto || (c->proto == w->proto) != !!(w->invflags & IP6T_INV_PROTO));
}

static bool rule_matches(const struct legacy_table *t, struct rule *r, struct nf_ctx *c)
{
    if (!(t->family ? ip6_matches((const struct ip6t_ip6 *)r->e, c) : ip4_matches((const struct ipt_ip *)r->e, c)))
        return false;
    for (int i = 0; i < r->nr_matches; i++) {
        const struct xt_match_ops *ops = r->match[i].ops;

        if (ops->proto && ops->proto != c->proto)
            return false;
        if (!(ops->match ? ops->match(c, r->match[i].data) : ops->match_state(c, r->match[i].data)))
            return false;
    }
    return true;
}

static int run(struct nf_hook_entry *he, struct nf_ctx *c)
{
    struct ipt_hook *ih = container_of(he, struct ipt_hook, he);
    struct legacy_table *t = ih->t;
    uint32_t stack[JUMPS_MAX], at = t->start[c->hook];
    int depth = 0;

    for (int steps = 0; steps < STEPS_MAX && at < t->nr; steps++) {
        struct rule *r = &t->rules[at];
        struct xt_counters *n;
        unsigned int v;

        if (!rule_matches(t, r, c)) {
            at++;
            continue;
        }
        n = counters_of(t, r);
        n->pcnt += c->p->gso_segs;
        n->bcnt += c->p->len;
        if (r->error)
            return NF_DROP;
        if (r->target) {
            v = r->target->target(c, r->target_data);
            if (v != XT_CONTINUE)
                return v;
            at++;
            continue;
        }
        if (r->verdict >= 0) {
            if (!r->go && (uint32_t)r->verdict != at + 1) {
                if (depth == JUMPS_MAX)
                    return NF_DROP;
                stack[depth++] = at + 1;
            }
            at = r->verdict;
        } else if (r->verdict != XT_RETURN) {
            return -r->verdict - 1;
        } else if (depth) {
            at = stack[--depth];
        } else {
            /* Out of a built-in chain: its policy. */
            for (at = t->start[c->hook]; at < t->nr && (uint32_t)(t->rules[at].e - t->blob) != t->underflow[c->hook];)
                at++;
        }
    }
    return NF_DROP;
}

static void table_free(struct legacy_table *t)
{
    free(t->blob);
    free(t->rules);
    t->blob = NULL;
    t->rules = NULL;
    t->nr = 0;
}

/* The index of the rule at an offset, or -1. Rules lie in order. */
static int64_t index_of(const struct legacy_table *t, uint32_t offset)
{
    uint32_t lo = 0, hi = t->nr;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2, at = t->rules[mid].e - t->blob;

        if (at == offset)
            return mid;
        if (at < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

static uint8_t rule_proto(const struct legacy_table *t, const struct rule *r)
{
    if (t->family) {
        const struct ip6t_ip6 *ip = (const struct ip6t_ip6 *)r->e;
        return ip->invflags & IP6T_INV_PROTO ? 0 : ip->proto;
    }
    const struct ipt_ip *ip = (const struct ipt_ip *)r->e;
    return ip->invflags & IPT_INV_PROTO ? 0 : ip->proto;
}

static int check_matches(struct legacy_table *t, struct rule *r, size_t end)
{
    int family = t->family ? AF_INET6 : AF_INET;

    for (size_t at = layouts[t->family].entry; at < end;) {
        struct xt_entry_match *m = (struct xt_entry_match *)(r->e + at);
        size_t size = end - at >= sizeof(*m) ? m->u.match_size : 0;
        const struct xt_match_ops *ops;

        if (size < sizeof(*m) || size > end - at || size % 8 || r->nr_matches == MATCHES_MAX ||
            strnlen(m->u.user.name, sizeof(m->u.user.name)) == sizeof(m->u.user.name))
            return -EINVAL;
        ops = xt_match_find(m->u.user.name, m->u.user.revision, family);
        if (!ops)
            return -ENOENT;
        if (XT_ALIGN(ops->size) != size - sizeof(*m) || (ops->proto && ops->proto != rule_proto(t, r)) ||
            (ops->check && !ops->check(m->data)))
            return -EINVAL;
        r->match[r->nr_matches].ops = ops;
        r->match[r->nr_matches++].data = m->data;
        at += size;
    }
    return 0;
}

static int check_target(struct legacy_table *t, struct rule *r, size_t at, size_t end)
{
    struct xt_entry_target *g = (struct xt_entry_target *)(r->e + at);
    int family = t->family ? AF_INET6 : AF_INET;
    size_t size;

    if (end - at < sizeof(*g))
        return -EINVAL;
    size = g->u.target_size;
    if (size < sizeof(*g) || size > end - at || strnlen(g->u.user.name, sizeof(g->u.user.name)) == sizeof(g->u.user.name))
        return -EINVAL;
    if (!g->u.user.name[0]) {
        if (size != sizeof(struct xt_standard_target))
            return -EINVAL;
        r->verdict = ((struct xt_standard_target *)g)->verdict;
        return r->verdict >= 0 || r->verdict == -NF_DROP - 1 || r->verdict == -NF_ACCEPT - 1 || r->verdict == XT_RETURN
                   ? 0
                   : -EINVAL;
    }
    if (!strcmp(g->u.user.name, XT_ERROR_TARGET)) {
        if (size != sizeof(struct xt_error_target))
            return -EINVAL;
        r->error = true;
        return 0;
    }
    r->target = xt_target_find(g->u.user.name, g->u.user.revision, family);
    if (!r->target)
        return -ENOENT;
    if (XT_ALIGN(r->target->size) != size - sizeof(*g) || (r->target->table && strcmp(r->target->table, t->name)) ||
        (r->target->check && !r->target->check(g->data)))
        return -EINVAL;
    r->target_data = g->data;
    return 0;
}

/* Cuts the blob into rules. */
static int index_rules(struct legacy_table *t, uint32_t want)
{
    const struct layout *l = &layouts[t->family];

    t->rules = calloc(want, sizeof(*t->rules));
    if (!t->rules)
        return -ENOMEM;
    for (size_t at = 0; at < t->size;) {
        struct rule *r = &t->rules[t->nr];
        size_t left = t->size - at, target, next;
        int err;

        if (left < l->entry + sizeof(struct xt_entry_target) || t->nr == want)
            return -EINVAL;
        r->e = t->blob + at;
        target = get16(r->e, l->target_offset);
        next = get16(r->e, l->next_offset);
        if (next > left || next % 8 || target % 8 || target < l->entry || next < target + sizeof(struct xt_entry_target))
            return -EINVAL;
        t->nr++;
        err = check_matches(t, r, target);
        if (!err)
            err = check_target(t, r, target, next);
        if (err)
            return err;
        at += next;
    }
    return t->nr == want ? 0 : -EINVAL;
}

/* Jumps lead to rules; a hook's chain begins where it says, and ends with an unconditional verdict. */
static int link_rules(struct legacy_table *t)
{
    for (uint32_t i = 0; i < t->nr; i++) {
        struct rule *r = &t->rules[i];
        uint8_t flags = t->family ? ((struct ip6t_ip6 *)r->e)->flags : ((struct ipt_ip *)r->e)->flags;
        int64_t to;

        r->go = flags & (t->family ? IP6T_F_GOTO : IPT_F_GOTO);
        if (r->target || r->error || r->verdict < 0)
            continue;
        to = index_of(t, r->verdict);
        if (to < 0)
            return -EINVAL;
        r->verdict = to;
    }
    for (int h = 0; h < NF_INET_NUMHOOKS; h++) {
        int64_t start, under;

        if (!(t->valid_hooks & (1 << h)))
            continue;
        start = index_of(t, t->hook_entry[h]);
        under = index_of(t, t->underflow[h]);
        if (start < 0 || under < start || t->rules[under].target || t->rules[under].error || t->rules[under].nr_matches ||
            (t->rules[under].verdict != -NF_DROP - 1 && t->rules[under].verdict != -NF_ACCEPT - 1))
            return -EINVAL;
        t->start[h] = start;
    }
    return 0;
}

/* A table as it is before anybody has set it: accept everywhere. */
static int make_default(struct legacy_table *t)
{
    size_t entry = layouts[t->family].entry, std = entry + sizeof(struct xt_standard_target),
           err = entry + sizeof(struct xt_error_target);
    int hooks = __builtin_popcount(t->valid_hooks);
    uint8_t *e;
    uint16_t v;

    t->size = hooks * std + err;
    t->blob = e = calloc(1, t->size);
    if (!e)
        return -ENOMEM;
    for (int h = 0; h < NF_INET_NUMHOOKS; h++) {
        struct xt_standard_target *g = (struct xt_standard_target *)(e + entry);

        if (!(t->valid_hooks & (1 << h)))
            continue;
        t->hook_entry[h] = t->underflow[h] = e - t->blob;
        memcpy(e + layouts[t->family].target_offset, &(uint16_t){entry}, 2);
        v = std;
        memcpy(e + layouts[t->family].next_offset, &v, 2);
        g->target.u.user.target_size = sizeof(*g);
        g->verdict = -NF_ACCEPT - 1;
        e += std;
    }
    struct xt_error_target *g = (struct xt_error_target *)(e + entry);
    v = entry;
    memcpy(e + layouts[t->family].target_offset, &v, 2);
    v = err;
    memcpy(e + layouts[t->family].next_offset, &v, 2);
    g->target.u.user.target_size = sizeof(*g);
    memcpy(g->target.u.user.name, XT_ERROR_TARGET, sizeof(XT_ERROR_TARGET));
    memcpy(g->errorname, "ERROR", 6);
    int r = index_rules(t, hooks + 1);
    return r ? r : link_rules(t);
}

static struct legacy_table *table_get(struct netstack *s, int family, const char *name, int *err) NETSTACK_LOCKED
{
    struct legacy_table *t;
    int kind = -1;

    for (int i = 0; i < 4; i++)
        if (!strncmp(kinds[i].name, name, XT_TABLE_MAXNAMELEN))
            kind = i;
    *err = -ENOENT;
    if (kind < 0)
        return NULL;
    *err = nf_enable(s);
    if (*err)
        return NULL;
    t = s->nf->ipt[family][kind];
    if (t)
        return t;
    *err = -ENOMEM;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->name = kinds[kind].name;
    t->family = family;
    t->valid_hooks = kinds[kind].hooks;
    if (make_default(t)) {
        table_free(t);
        free(t);
        return NULL;
    }
    s->nf->ipt[family][kind] = t;
    *err = 0;
    return t;
}

/* Tables join the hooks when they say something for the first time. */
static void install(struct netstack *s, struct legacy_table *t) NETSTACK_LOCKED
{
    int kind = 0;

    if (t->installed)
        return;
    while (kinds[kind].name != t->name)
        kind++;
    for (int h = 0; h < NF_INET_NUMHOOKS; h++) {
        struct ipt_hook *ih = &t->hook[h];

        if (!(t->valid_hooks & (1 << h)))
            continue;
        ih->t = t;
        ih->he = (struct nf_hook_entry){
            .priority = kinds[kind].priority, .v4 = !t->family, .v6 = t->family, .nat = kinds[kind].nat, .run = run};
        if (kinds[kind].nat)
            ih->he.priority = nat_hook_is_src(h) ? 100 : -100;
        nf_hook_add(s, h, &ih->he);
    }
    t->installed = true;
}

static int replace(struct netstack *s, int family, const void *val, size_t len, struct xt_counters **old,
                   size_t *nr_old) NETSTACK_LOCKED
{
    const struct ipt_replace *r = val; /* struct ip6t_replace differs only in the type of its entries */
    struct legacy_table *t, fresh;
    char name[XT_TABLE_MAXNAMELEN];
    int err;

    if (len < layouts[family].replace)
        return -EINVAL;
    memcpy(name, r->name, sizeof(name));
    name[sizeof(name) - 1] = 0;
    if (r->size > TABLE_MAX || r->num_entries > ENTRIES_MAX || !r->num_entries || r->num_counters > ENTRIES_MAX)
        return -ENOMEM;
    if (len - layouts[family].replace < r->size)
        return -EINVAL;
    t = table_get(s, family, name, &err);
    if (!t)
        return err;
    if (r->valid_hooks != t->valid_hooks)
        return -EINVAL;
    fresh = (struct legacy_table){.name = t->name, .family = family, .valid_hooks = t->valid_hooks, .size = r->size};
    memcpy(fresh.hook_entry, r->hook_entry, sizeof(fresh.hook_entry));
    memcpy(fresh.underflow, r->underflow, sizeof(fresh.underflow));
    fresh.blob = malloc(r->size ? r->size : 1);
    if (!fresh.blob)
        return -ENOMEM;
    memcpy(fresh.blob, (const char *)val + layouts[family].replace, r->size);
    err = index_rules(&fresh, r->num_entries);
    if (!err)
        err = link_rules(&fresh);
    if (!err && r->num_counters != t->nr)
        err = -EAGAIN; /* somebody else was quicker */
    if (!err) {
        *old = malloc((t->nr ? t->nr : 1) * sizeof(**old));
        err = *old ? 0 : -ENOMEM;
    }
    if (err) {
        table_free(&fresh);
        return err;
    }
    *nr_old = t->nr;
    for (uint32_t i = 0; i < t->nr; i++)
        memcpy(&(*old)[i], counters_of(t, &t->rules[i]), sizeof(**old));
    for (uint32_t i = 0; i < fresh.nr; i++)
        memset(counters_of(&fresh, &fresh.rules[i]), 0, sizeof(**old));
    table_free(t);
    t->blob = fresh.blob;
    t->size = fresh.size;
    t->rules = fresh.rules;
    t->nr = fresh.nr;
    memcpy(t->hook_entry, fresh.hook_entry, sizeof(t->hook_entry));
    memcpy(t->underflow, fresh.underflow, sizeof(t->underflow));
    memcpy(t->start, fresh.start, sizeof(t->start));
    install(s, t);
    return 0;
}

static int add_counters(struct netstack *s, int family, const void *val, size_t len) NETSTACK_LOCKED
{
    const struct xt_counters_info *ci = val;
    struct legacy_table *t;
    char name[XT_TABLE_MAXNAMELEN];
    int err;

    if (len < sizeof(*ci) || ci->num_counters > ENTRIES_MAX ||
        len != sizeof(*ci) + ci->num_counters * sizeof(struct xt_counters))
        return -EINVAL;
    memcpy(name, ci->name, sizeof(name));
    name[sizeof(name) - 1] = 0;
    t = table_get(s, family, name, &err);
    if (!t)
        return err;
    if (t->nr != ci->num_counters)
        return -EINVAL;
    for (uint32_t i = 0; i < t->nr; i++) {
        counters_of(t, &t->rules[i])->pcnt += ci->counters[i].pcnt;
        counters_of(t, &t->rules[i])->bcnt += ci->counters[i].bcnt;
    }
    return 0;
}

int nf_ipt_set(struct netstack *s, int family, int opt, const void *val, size_t len, struct xt_counters **old, size_t *nr_old)
{
    int f = family == AF_INET6;

    *old = NULL;
    *nr_old = 0;
    switch (opt) {
    case IPT_SO_SET_REPLACE: /* IP6T_SO_* have the same numbers */
        return replace(s, f, val, len, old, nr_old);
    case IPT_SO_SET_ADD_COUNTERS:
        return add_counters(s, f, val, len);
    default:
        return -ENOPROTOOPT;
    }
}

static int get_info(struct netstack *s, int family, void *val, size_t *len) NETSTACK_LOCKED
{
    struct ipt_getinfo *gi = val;
    struct legacy_table *t;
    int err;

    if (*len != sizeof(*gi))
        return -EINVAL;
    gi->name[sizeof(gi->name) - 1] = 0;
    t = table_get(s, family, gi->name, &err);
    if (!t)
        return err;
    gi->valid_hooks = t->valid_hooks;
    memcpy(gi->hook_entry, t->hook_entry, sizeof(gi->hook_entry));
    memcpy(gi->underflow, t->underflow, sizeof(gi->underflow));
    gi->num_entries = t->nr;
    gi->size = t->size;
    return 0;
}

static int get_entries(struct netstack *s, int family, void *val, size_t *len) NETSTACK_LOCKED
{
    struct ipt_get_entries *ge = val;
    struct legacy_table *t;
    int err;

    if (*len < sizeof(*ge))
        return -EINVAL;
    ge->name[sizeof(ge->name) - 1] = 0;
    t = table_get(s, family, ge->name, &err);
    if (!t)
        return err;
    if (ge->size != t->size)
        return -EAGAIN;
    if (*len < sizeof(*ge) + t->size)
        return -EINVAL;
    memcpy((char *)val + sizeof(*ge), t->blob, t->size);
    *len = sizeof(*ge) + t->size;
    return 0;
}

static int get_revision(int family, bool target, void *val, size_t *len)
{
    struct xt_get_revision *rev = val;
    int best;

    if (*len != sizeof(*rev))
        return -EINVAL;
    rev->name[sizeof(rev->name) - 1] = 0;
    best = xt_revision(rev->name, family ? AF_INET6 : AF_INET, target);
    if (best < 0)
        return !rev->name[0] || !strcmp(rev->name, XT_ERROR_TARGET) ? 0 : -ENOENT;
    /* Not every revision below the highest is known. */
    if (target ? !xt_target_find(rev->name, rev->revision, family ? AF_INET6 : AF_INET)
               : !xt_match_find(rev->name, rev->revision, family ? AF_INET6 : AF_INET))
        return -EPROTONOSUPPORT;
    return 0;
}

int nf_ipt_get(struct netstack *s, int family, int opt, void *val, size_t *len)
{
    int f = family == AF_INET6;

    if (opt == IPT_SO_GET_INFO)
        return get_info(s, f, val, len);
    if (opt == IPT_SO_GET_ENTRIES)
        return get_entries(s, f, val, len);
    if (opt == (f ? IP6T_SO_GET_REVISION_MATCH : IPT_SO_GET_REVISION_MATCH))
        return get_revision(f, false, val, len);
    if (opt == (f ? IP6T_SO_GET_REVISION_TARGET : IPT_SO_GET_REVISION_TARGET))
        return get_revision(f, true, val, len);
    return -ENOPROTOOPT;
}

const char *nf_ipt_table_name(struct netstack *s, int family, unsigned int i)
{
    for (int k = 0; s->nf && k < 4; k++)
        if (s->nf->ipt[family == AF_INET6][k] && i-- == 0)
            return kinds[k].name;
    return NULL;
}

void ipt_destroy(struct netfilter *nf)
{
    for (int f = 0; f < 2; f++)
        for (int k = 0; k < 4; k++) {
            struct legacy_table *t = nf->ipt[f][k];

            if (!t)
                continue;
            for (int h = 0; h < NF_INET_NUMHOOKS && t->installed; h++)
                if (t->valid_hooks & (1 << h))
                    nf_hook_del(&t->hook[h].he);
            table_free(t);
            free(t);
        }
}
