/* The messages of nf_tables: batches that change the state, questions that list it; and the part that asks for iptables'
 * extensions. */
#include "netstack/nft.h"

#include <errno.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <stdio.h>
#include <stdlib.h>

/* Where answers go, and what is being answered. */
struct asker {
    struct netstack *s;
    uint32_t port;
    nf_reply_fn *reply;
    void *arg;
    struct nft_msg m;
};

static void send_msg(struct asker *k)
{
    if (!k->m.failed)
        k->reply(k->arg, k->m.b, k->m.len);
    k->m.failed = false;
}

/* An acknowledgement (err 0) or an error, which quotes the message. */
static void answer(struct asker *k, const struct nlmsghdr *n, int err)
{
    size_t quote = err ? n->nlmsg_len : sizeof(*n), len = sizeof(struct nlmsghdr) + sizeof(int) + quote;
    uint8_t *b = calloc(1, NLMSG_ALIGN(len));
    struct nlmsghdr h = {len, NLMSG_ERROR, err ? 0 : NLM_F_CAPPED, n->nlmsg_seq, k->port};

    if (!b)
        return;
    memcpy(b, &h, sizeof(h));
    memcpy(b + sizeof(h), &err, sizeof(err));
    memcpy(b + sizeof(h) + sizeof(err), n, quote);
    k->reply(k->arg, b, len);
    free(b);
}

static void done(struct asker *k, const struct nlmsghdr *n)
{
    struct {
        struct nlmsghdr h;
        int err;
    } d = {{sizeof(d), NLMSG_DONE, NLM_F_MULTI, n->nlmsg_seq, k->port}, 0};

    k->reply(k->arg, &d, sizeof(d));
}

static uint16_t type_of(int msg)
{
    return NFNL_SUBSYS_NFTABLES << 8 | msg;
}

static struct nft_state *state(struct asker *k)
{
    return k->s->nf->nft;
}

static void begin(struct asker *k, int msg, const struct nlmsghdr *n, bool multi, uint8_t family)
{
    nft_msg_begin(&k->m, type_of(msg), multi ? NLM_F_MULTI : 0, n->nlmsg_seq, k->port, family, state(k)->gen);
}

/* ---- listing ---- */

static void put_table(struct asker *k, const struct nlmsghdr *n, bool multi, const struct nft_table *t)
{
    struct nft_chain *c;
    uint32_t use = 0;

    list_for_each_entry(c, &t->chains, node)
        use++;
    begin(k, NFT_MSG_NEWTABLE, n, multi, t->family);
    nft_put_str(&k->m, NFTA_TABLE_NAME, t->name);
    nft_put_u32(&k->m, NFTA_TABLE_FLAGS, t->flags);
    nft_put_u32(&k->m, NFTA_TABLE_USE, use);
    nft_put_u64(&k->m, NFTA_TABLE_HANDLE, t->handle);
    send_msg(k);
}

static void put_chain(struct asker *k, const struct nlmsghdr *n, bool multi, const struct nft_chain *c)
{
    begin(k, NFT_MSG_NEWCHAIN, n, multi, c->table->family);
    nft_put_str(&k->m, NFTA_CHAIN_TABLE, c->table->name);
    nft_put_u64(&k->m, NFTA_CHAIN_HANDLE, c->handle);
    nft_put_str(&k->m, NFTA_CHAIN_NAME, c->name);
    if (c->base) {
        size_t at = nft_nest(&k->m, NFTA_CHAIN_HOOK);
        nft_put_u32(&k->m, NFTA_HOOK_HOOKNUM, c->hook);
        nft_put_u32(&k->m, NFTA_HOOK_PRIORITY, c->priority);
        nft_nest_end(&k->m, at);
        nft_put_u32(&k->m, NFTA_CHAIN_POLICY, c->policy);
        nft_put_str(&k->m, NFTA_CHAIN_TYPE, c->type);
        nft_put_u32(&k->m, NFTA_CHAIN_FLAGS, NFT_CHAIN_BASE);
    }
    /* iptables takes the rules off again, and shows the rest as references. */
    nft_put_u32(&k->m, NFTA_CHAIN_USE, c->nr + nft_chain_references(c->table, c));
    send_msg(k);
}

static void put_rule(struct asker *k, const struct nlmsghdr *n, bool multi, const struct nft_chain *c, unsigned int i)
{
    const struct nft_rule *r = c->rules[i];
    size_t at;

    begin(k, NFT_MSG_NEWRULE, n, multi, c->table->family);
    nft_put_str(&k->m, NFTA_RULE_TABLE, c->table->name);
    nft_put_str(&k->m, NFTA_RULE_CHAIN, c->name);
    nft_put_u64(&k->m, NFTA_RULE_HANDLE, r->handle);
    if (i)
        nft_put_u64(&k->m, NFTA_RULE_POSITION, c->rules[i - 1]->handle);
    at = nft_nest(&k->m, NFTA_RULE_EXPRESSIONS);
    for (unsigned int e = 0; e < r->nr; e++)
        nft_expr_put(&k->m, &r->expr[e]);
    nft_nest_end(&k->m, at);
    if (r->has_compat) {
        at = nft_nest(&k->m, NFTA_RULE_COMPAT);
        nft_put_u32(&k->m, NFTA_RULE_COMPAT_PROTO, r->compat_proto);
        nft_put_u32(&k->m, NFTA_RULE_COMPAT_FLAGS, r->compat_flags);
        nft_nest_end(&k->m, at);
    }
    if (r->userdata_len)
        nft_put(&k->m, NFTA_RULE_USERDATA, r->userdata, r->userdata_len);
    send_msg(k);
}

static int rule_index(const struct nft_chain *c, uint64_t handle)
{
    for (unsigned int i = 0; i < c->nr; i++)
        if (c->rules[i]->handle == handle)
            return i;
    return -1;
}

static bool name_is(const struct nlattr *a, const char *name)
{
    char want[NFT_NAME_MAX];

    return !a || (nft_name(a, want) && !strcmp(want, name));
}

static void dump(struct asker *k, const struct nlmsghdr *n, int msg, int family, const struct nft_attrs *a)
{
    struct nft_table *t;
    struct nft_chain *c;

    list_for_each_entry(t, &state(k)->tables, node) {
        if (family && t->family != family)
            continue;
        if (msg == NFT_MSG_GETTABLE) {
            put_table(k, n, true, t);
            continue;
        }
        if (msg == NFT_MSG_GETRULE && !name_is(a->a[NFTA_RULE_TABLE], t->name))
            continue;
        list_for_each_entry(c, &t->chains, node) {
            if (msg == NFT_MSG_GETCHAIN)
                put_chain(k, n, true, c);
            else if (name_is(a->a[NFTA_RULE_CHAIN], c->name))
                for (unsigned int i = 0; i < c->nr; i++)
                    put_rule(k, n, true, c, i);
        }
    }
    done(k, n);
}

static int get_one(struct asker *k, const struct nlmsghdr *n, int msg, int family, const struct nft_attrs *a)
{
    struct nft_table *t;
    struct nft_chain *c;
    char name[NFT_NAME_MAX];
    uint64_t handle;
    int i;

    if (!nft_name(a->a[NFTA_TABLE_NAME], name)) /* the table's name has the same number in all of them */
        return -EINVAL;
    t = nft_table_find(state(k), family, name);
    if (!t)
        return -ENOENT;
    if (msg == NFT_MSG_GETTABLE) {
        put_table(k, n, false, t);
        return 0;
    }
    if (!nft_name(a->a[msg == NFT_MSG_GETCHAIN ? NFTA_CHAIN_NAME : NFTA_RULE_CHAIN], name))
        return -EINVAL;
    c = nft_chain_find(t, name);
    if (!c)
        return -ENOENT;
    if (msg == NFT_MSG_GETCHAIN) {
        put_chain(k, n, false, c);
        return 0;
    }
    if (!nft_u64(a->a[NFTA_RULE_HANDLE], &handle))
        return -EINVAL;
    i = rule_index(c, handle);
    if (i < 0)
        return -ENOENT;
    put_rule(k, n, false, c, i);
    return 0;
}

static void get_gen(struct asker *k, const struct nlmsghdr *n)
{
    begin(k, NFT_MSG_NEWGEN, n, false, AF_UNSPEC);
    nft_put_u32(&k->m, NFTA_GEN_ID, state(k)->gen);
    nft_put_u32(&k->m, NFTA_GEN_PROC_PID, k->port);
    nft_put_str(&k->m, NFTA_GEN_PROC_NAME, "iptables");
    send_msg(k);
}

/* ---- changing; all work on the copy `st` ---- */

static int new_table(struct nft_state *st, const struct nlmsghdr *n, int family, const struct nft_attrs *a)
{
    struct nft_table *t;
    char name[NFT_NAME_MAX];
    uint32_t flags = 0;

    if (!nft_name(a->a[NFTA_TABLE_NAME], name))
        return -EINVAL;
    (void)nft_u32(a->a[NFTA_TABLE_FLAGS], &flags);
    if (flags & ~NFT_TABLE_F_DORMANT)
        return -EOPNOTSUPP;
    t = nft_table_find(st, family, name);
    if (t) {
        if (n->nlmsg_flags & NLM_F_EXCL)
            return -EEXIST;
        if (a->a[NFTA_TABLE_FLAGS])
            t->flags = flags;
        return 0;
    }
    switch (family) {
    case NFPROTO_IPV4:
    case NFPROTO_IPV6:
    case NFPROTO_INET:
    case NFPROTO_ARP:
    case NFPROTO_BRIDGE:
        break;
    default:
        return -EOPNOTSUPP;
    }
    if (st->nr_tables >= NFT_TABLES_MAX)
        return -ENFILE;
    t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    list_init(&t->chains);
    memcpy(t->name, name, sizeof(name));
    t->family = family;
    t->flags = flags;
    t->handle = ++st->last_handle;
    list_add_tail(&t->node, &st->tables);
    st->nr_tables++;
    return 0;
}

static int del_table(struct nft_state *st, int family, const struct nft_attrs *a)
{
    struct nft_table *t, *tmp;
    bool any = false;

    list_for_each_entry_safe(t, tmp, &st->tables, node) {
        if ((family && t->family != family) || !name_is(a->a[NFTA_TABLE_NAME], t->name))
            continue;
        any = true;
        nft_table_free(st, t);
    }
    /* Without a name: all, which may be none ("flush ruleset"). */
    return any || !a->a[NFTA_TABLE_NAME] ? 0 : -ENOENT;
}

static struct nft_table *table_of(struct nft_state *st, int family, const struct nft_attrs *a)
{
    char name[NFT_NAME_MAX];

    return nft_name(a->a[NFTA_CHAIN_TABLE], name) ? nft_table_find(st, family, name) : NULL;
}

static int parse_hook(struct nft_chain *c, int family, const struct nft_attrs *a)
{
    struct nft_attrs h;
    uint32_t priority;
    unsigned int hooks;

    if (!nft_nested(a->a[NFTA_CHAIN_HOOK], &h) || !nft_u32(h.a[NFTA_HOOK_HOOKNUM], &c->hook) ||
        !nft_u32(h.a[NFTA_HOOK_PRIORITY], &priority))
        return -EINVAL;
    if (h.a[NFTA_HOOK_DEV])
        return -EOPNOTSUPP;
    c->base = true;
    c->priority = (int32_t)priority;
    snprintf(c->type, sizeof(c->type), "filter");
    if (a->a[NFTA_CHAIN_TYPE]) {
        char type[NFT_NAME_MAX];
        if (!nft_name(a->a[NFTA_CHAIN_TYPE], type))
            return -EINVAL;
        if (strcmp(type, "filter") && strcmp(type, "nat") && strcmp(type, "route"))
            return -ENOENT;
        snprintf(c->type, sizeof(c->type), "%.15s", type);
    }
    if (c->hook > (family == NFPROTO_ARP ? 2u : 4u))
        return -EOPNOTSUPP;
    hooks = !strcmp(c->type, "nat")     ? 0x1f & ~(1u << NF_INET_FORWARD)
            : !strcmp(c->type, "route") ? 1u << NF_INET_LOCAL_OUT
                                        : 0x1f;
    if (!(hooks & 1u << c->hook))
        return -EOPNOTSUPP;
    if (!strcmp(c->type, "nat") && c->priority <= -200)
        return -EOPNOTSUPP;
    return 0;
}

static int new_chain(struct nft_state *st, const struct nlmsghdr *n, int family, const struct nft_attrs *a)
{
    struct nft_table *t = table_of(st, family, a);
    struct nft_chain *c = NULL, *fresh;
    char name[NFT_NAME_MAX] = "";
    uint32_t policy = NF_ACCEPT;
    uint64_t handle;
    int r;

    if (!t)
        return -ENOENT;
    if (a->a[NFTA_CHAIN_NAME] && !nft_name(a->a[NFTA_CHAIN_NAME], name))
        return -EINVAL;
    if (a->a[NFTA_CHAIN_POLICY] && (!nft_u32(a->a[NFTA_CHAIN_POLICY], &policy) || policy > NF_ACCEPT))
        return -EINVAL;
    if (a->a[NFTA_CHAIN_HANDLE]) {
        if (!nft_u64(a->a[NFTA_CHAIN_HANDLE], &handle))
            return -EINVAL;
        c = nft_chain_by_handle(t, handle);
        if (!c)
            return -ENOENT;
    } else if (!name[0]) {
        return -EINVAL;
    } else {
        c = nft_chain_find(t, name);
    }
    if (c) {
        if (n->nlmsg_flags & NLM_F_EXCL)
            return -EEXIST;
        if (n->nlmsg_flags & NLM_F_REPLACE)
            return -EOPNOTSUPP;
        if (a->a[NFTA_CHAIN_HOOK]) {
            struct nft_chain probe = {0};
            r = parse_hook(&probe, family, a);
            if (r)
                return r;
            if (!c->base || probe.hook != c->hook || probe.priority != c->priority || strcmp(probe.type, c->type))
                return -EEXIST;
        }
        if (a->a[NFTA_CHAIN_POLICY]) {
            if (!c->base)
                return -EOPNOTSUPP;
            c->policy = policy;
        }
        if (a->a[NFTA_CHAIN_HANDLE] && name[0] && strcmp(name, c->name)) {
            /* Jumps know chains by name: one that is used keeps it. */
            if (nft_chain_find(t, name))
                return -EEXIST;
            if (nft_chain_references(t, c))
                return -EBUSY;
            memcpy(c->name, name, sizeof(name));
        }
        return 0;
    }
    if (st->nr_chains >= NFT_CHAINS_MAX)
        return -ENFILE;
    fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return -ENOMEM;
    if (a->a[NFTA_CHAIN_HOOK]) {
        r = parse_hook(fresh, family, a);
        if (r) {
            free(fresh);
            return r;
        }
    } else if (a->a[NFTA_CHAIN_POLICY]) {
        free(fresh);
        return -EOPNOTSUPP;
    }
    list_init(&fresh->he.node);
    memcpy(fresh->name, name, sizeof(name));
    fresh->table = t;
    fresh->policy = policy;
    fresh->handle = ++st->last_handle;
    list_add_tail(&fresh->node, &t->chains);
    st->nr_chains++;
    return 0;
}

static int del_chain(struct nft_state *st, int family, const struct nft_attrs *a)
{
    struct nft_table *t = table_of(st, family, a);
    struct nft_chain *c;
    char name[NFT_NAME_MAX];
    uint64_t handle;

    if (!t)
        return -ENOENT;
    if (nft_u64(a->a[NFTA_CHAIN_HANDLE], &handle))
        c = nft_chain_by_handle(t, handle);
    else
        c = nft_name(a->a[NFTA_CHAIN_NAME], name) ? nft_chain_find(t, name) : NULL;
    if (!c)
        return -ENOENT;
    if (nft_chain_references(t, c))
        return -EBUSY;
    nft_chain_free(st, c);
    return 0;
}

/* Everything that a rule jumps to must be there, and be no base chain. */
static int check_jumps(struct nft_table *t, const struct nft_rule *r)
{
    for (unsigned int i = 0; i < r->nr; i++) {
        const struct nft_expr *e = &r->expr[i];
        struct nft_chain *to;

        if (strcmp(e->ops->name, "immediate") || !e->u.imm.chain[0])
            continue;
        to = nft_chain_find(t, e->u.imm.chain);
        if (!to)
            return -ENOENT;
        if (to->base)
            return -EOPNOTSUPP;
    }
    return 0;
}

static int new_rule(struct nft_state *st, const struct nlmsghdr *n, int family, const struct nft_attrs *a)
{
    struct nft_table *t = table_of(st, family, a);
    struct nft_chain *c;
    struct nft_rule *r;
    struct nft_attrs compat;
    char name[NFT_NAME_MAX], where[NFT_NAME_MAX + 1];
    uint64_t handle;
    unsigned int at;
    int i, err;

    c = t && nft_name(a->a[NFTA_RULE_CHAIN], name) ? nft_chain_find(t, name) : NULL;
    if (!c)
        return -ENOENT;
    if (st->nr_rules >= NFT_RULES_MAX)
        return -ENFILE;
    /* Before the first or behind the last, unless a rule is named: then before it, or behind it. */
    at = n->nlmsg_flags & NLM_F_APPEND ? c->nr : 0;
    if (nft_u64(a->a[NFTA_RULE_HANDLE], &handle)) {
        i = rule_index(c, handle);
        if (i < 0)
            return -ENOENT;
        if (n->nlmsg_flags & NLM_F_EXCL)
            return -EEXIST;
        if (!(n->nlmsg_flags & NLM_F_REPLACE))
            return -EOPNOTSUPP;
        at = i;
    } else if (!(n->nlmsg_flags & NLM_F_CREATE) || (n->nlmsg_flags & NLM_F_REPLACE)) {
        return -EINVAL;
    } else if (nft_u64(a->a[NFTA_RULE_POSITION], &handle)) {
        i = rule_index(c, handle);
        if (i < 0)
            return -ENOENT;
        at = n->nlmsg_flags & NLM_F_APPEND ? i + 1 : i;
    }
    where[0] = family;
    memcpy(where + 1, t->name, NFT_NAME_MAX);
    err = nft_rule_parse(a->a[NFTA_RULE_EXPRESSIONS], where, &r);
    if (err)
        return err;
    err = check_jumps(t, r);
    if (err)
        goto fail;
    if (nft_nested(a->a[NFTA_RULE_COMPAT], &compat)) {
        r->has_compat = nft_u32(compat.a[NFTA_RULE_COMPAT_PROTO], &r->compat_proto) &&
                        nft_u32(compat.a[NFTA_RULE_COMPAT_FLAGS], &r->compat_flags);
    }
    if (a->a[NFTA_RULE_USERDATA]) {
        err = -EINVAL;
        r->userdata_len = nft_len(a->a[NFTA_RULE_USERDATA]);
        if (r->userdata_len > 256)
            goto fail;
        err = -ENOMEM;
        r->userdata = malloc(r->userdata_len + 1);
        if (!r->userdata)
            goto fail;
        memcpy(r->userdata, nft_data(a->a[NFTA_RULE_USERDATA]), r->userdata_len);
    }
    r->handle = ++st->last_handle;
    if (n->nlmsg_flags & NLM_F_REPLACE) {
        nft_rule_put(c->rules[at]);
        c->rules[at] = r;
        return 0;
    }
    err = -ENOMEM;
    if (!nft_chain_insert(st, c, at, r))
        goto fail;
    return 0;
fail:
    nft_rule_put(r);
    return err;
}

static int del_rule(struct nft_state *st, int family, const struct nft_attrs *a)
{
    struct nft_table *t = table_of(st, family, a);
    struct nft_chain *c;
    char name[NFT_NAME_MAX];
    uint64_t handle;
    int i;

    if (!t)
        return -ENOENT;
    if (!a->a[NFTA_RULE_CHAIN]) {
        list_for_each_entry(c, &t->chains, node) {
            while (c->nr)
                nft_chain_remove(st, c, c->nr - 1);
        }
        return 0;
    }
    c = nft_name(a->a[NFTA_RULE_CHAIN], name) ? nft_chain_find(t, name) : NULL;
    if (!c)
        return -ENOENT;
    if (!nft_u64(a->a[NFTA_RULE_HANDLE], &handle)) {
        if (a->a[NFTA_RULE_ID])
            return -EOPNOTSUPP;
        while (c->nr)
            nft_chain_remove(st, c, c->nr - 1);
        return 0;
    }
    i = rule_index(c, handle);
    if (i < 0)
        return -ENOENT;
    nft_chain_remove(st, c, i);
    return 0;
}

static int change(struct nft_state *st, const struct nlmsghdr *n, int family, const struct nft_attrs *a)
{
    switch (n->nlmsg_type & 0xff) {
    case NFT_MSG_NEWTABLE:
        return new_table(st, n, family, a);
    case NFT_MSG_DELTABLE:
        return del_table(st, family, a);
    case NFT_MSG_NEWCHAIN:
        return new_chain(st, n, family, a);
    case NFT_MSG_DELCHAIN:
        return del_chain(st, family, a);
    case NFT_MSG_NEWRULE:
        return new_rule(st, n, family, a);
    case NFT_MSG_DELRULE:
        return del_rule(st, family, a);
    default:
        return -EOPNOTSUPP; /* sets, objects, flow tables */
    }
}

/* ---- messages ---- */

/* The message at `*data`, whole and with its family and attributes; NULL: no more. */
static const struct nlmsghdr *next_msg(const uint8_t **data, size_t *len, int *family, struct nft_attrs *a, bool *bad)
{
    const struct nlmsghdr *n = (const struct nlmsghdr *)*data;
    size_t step;

    *bad = false;
    if (*len < sizeof(*n) || n->nlmsg_len < sizeof(*n) || n->nlmsg_len > *len)
        return NULL;
    step = NLMSG_ALIGN(n->nlmsg_len);
    *data += step < *len ? step : *len;
    *len -= step < *len ? step : *len;
    memset(a, 0, sizeof(*a));
    *family = 0;
    if (n->nlmsg_len < sizeof(*n) + sizeof(struct nfgenmsg)) {
        *bad = true;
        return n;
    }
    *family = ((const struct nfgenmsg *)(n + 1))->nfgen_family;
    *bad =
        !nft_parse((const uint8_t *)(n + 1) + sizeof(struct nfgenmsg), n->nlmsg_len - sizeof(*n) - sizeof(struct nfgenmsg), a);
    return n;
}

static void batch(struct asker *k, const struct nlmsghdr *first, const struct nft_attrs *ba, const uint8_t **data,
                  size_t *len) NETSTACK_LOCKED
{
    struct nft_state *st = nft_state_new(state(k));
    const struct nlmsghdr *n;
    bool failed = !st, ended = false, bad;
    struct nft_attrs a;
    uint32_t gen;
    int family, err;

    if (failed)
        answer(k, first, -ENOMEM);
    if (nft_u32(ba->a[NFNL_BATCH_GENID], &gen) && gen && gen != state(k)->gen) {
        answer(k, first, -ERESTART);
        failed = true;
    }
    while ((n = next_msg(data, len, &family, &a, &bad))) {
        if (n->nlmsg_type == NFNL_MSG_BATCH_END) {
            ended = true;
            if ((n->nlmsg_flags & NLM_F_ACK) && !failed)
                answer(k, n, 0);
            break;
        }
        if (!st)
            continue;
        err = bad || n->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES ? -EINVAL : change(st, n, family, &a);
        if (err)
            failed = true;
        if (err || (n->nlmsg_flags & NLM_F_ACK))
            answer(k, n, err);
    }
    if (ended && !failed)
        nft_state_commit(k->s, st);
    else
        nft_state_free(st);
}

/* Is an extension of iptables known, in this revision? */
static int compat_get(struct asker *k, const struct nlmsghdr *n, int family, const struct nft_attrs *a)
{
    char name[NFT_NAME_MAX];
    uint32_t rev, type;
    int inet = family == NFPROTO_IPV6 ? AF_INET6 : AF_INET;

    if (!nft_name(a->a[NFTA_COMPAT_NAME], name) || !nft_u32(a->a[NFTA_COMPAT_REV], &rev) ||
        !nft_u32(a->a[NFTA_COMPAT_TYPE], &type))
        return -EINVAL;
    if (type == 1 ? !xt_target_find(name, rev, inet) : !xt_match_find(name, rev, inet))
        return -ENOENT;
    nft_msg_begin(&k->m, n->nlmsg_type, NLM_F_MULTI, n->nlmsg_seq, k->port, family, 0);
    nft_put_str(&k->m, NFTA_COMPAT_NAME, name);
    nft_put_u32(&k->m, NFTA_COMPAT_REV, rev);
    nft_put_u32(&k->m, NFTA_COMPAT_TYPE, type);
    send_msg(k);
    return 0;
}

/* A single message. *acked: an answer that needs no acknowledgement was given. */
static int ask(struct asker *k, const struct nlmsghdr *n, int family, const struct nft_attrs *a, bool *acked)
{
    int msg = n->nlmsg_type & 0xff;

    *acked = false;
    if (n->nlmsg_type >> 8 == NFNL_SUBSYS_NFT_COMPAT)
        return msg == NFNL_MSG_COMPAT_GET ? compat_get(k, n, family, a) : -EINVAL;
    if (n->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
        return -EINVAL; /* ctnetlink, queues, ipset: not here */
    switch (msg) {
    case NFT_MSG_GETGEN:
        get_gen(k, n);
        return 0;
    case NFT_MSG_GETTABLE:
    case NFT_MSG_GETCHAIN:
    case NFT_MSG_GETRULE:
        if (!(n->nlmsg_flags & NLM_F_DUMP))
            return get_one(k, n, msg, family, a);
        *acked = true;
        dump(k, n, msg, family, a);
        return 0;
    case NFT_MSG_GETSET:
    case NFT_MSG_GETOBJ:
    case NFT_MSG_GETFLOWTABLE:
        if (!(n->nlmsg_flags & NLM_F_DUMP))
            return -ENOENT;
        *acked = true;
        done(k, n); /* there are none */
        return 0;
    default:
        return -EINVAL; /* changes come in batches */
    }
}

void nf_tables_receive(struct netstack *s, const void *data, size_t len, uint32_t port, nf_reply_fn *reply, void *arg)
{
    struct asker k = {.s = s, .port = port, .reply = reply, .arg = arg};
    const uint8_t *p = data;
    const struct nlmsghdr *n;
    struct nft_attrs a;
    int family, err;
    bool bad, acked;

    while ((n = next_msg(&p, &len, &family, &a, &bad))) {
        if (!(n->nlmsg_flags & NLM_F_REQUEST) || n->nlmsg_type < NLMSG_MIN_TYPE)
            continue;
        err = nf_enable(s);
        if (!err && !s->nf->nft) {
            s->nf->nft = nft_state_new(NULL);
            err = s->nf->nft ? 0 : -ENOMEM;
        }
        if (!err && !bad && n->nlmsg_type == NFNL_MSG_BATCH_BEGIN) {
            batch(&k, n, &a, &p, &len);
            continue;
        }
        acked = false;
        if (!err)
            err = bad ? -EINVAL : ask(&k, n, family, &a, &acked);
        if (err || ((n->nlmsg_flags & NLM_F_ACK) && !acked))
            answer(&k, n, err);
    }
    free(k.m.b);
}
