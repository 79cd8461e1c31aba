/*
 * The state of nf_tables: tables, chains, rules, and how packets go through them. A batch of messages works on a copy, in which
 * rules are shared; when all of it was good the copy takes the place of the state in force, at once.
 */
#include "netstack/nft.h"

#include <stdlib.h>

#define JUMPS_MAX 16
#define STEPS_MAX 65536

static int run(struct nf_hook_entry *he, struct nf_ctx *c)
{
    struct nft_chain *base = container_of(he, struct nft_chain, he), *chain = base;
    struct {
        struct nft_chain *chain;
        unsigned int at;
    } stack[JUMPS_MAX];
    struct nft_run r = {.c = c};
    unsigned int at = 0;
    int depth = 0;

    for (int steps = 0; steps < STEPS_MAX; steps++) {
        if (at >= chain->nr) {
            if (!depth)
                return base->policy == NF_ACCEPT ? NF_ACCEPT : NF_DROP;
            depth--;
            chain = stack[depth].chain;
            at = stack[depth].at;
            continue;
        }
        struct nft_rule *rule = chain->rules[at++];

        r.verdict = NFT_CONTINUE;
        for (unsigned int i = 0; i < rule->nr && r.verdict == NFT_CONTINUE; i++)
            rule->expr[i].ops->eval(&rule->expr[i], &r);
        switch (r.verdict) {
        case NFT_CONTINUE:
        case NFT_BREAK:
            break;
        case NFT_JUMP:
            if (depth == JUMPS_MAX)
                return NF_DROP;
            stack[depth].chain = chain;
            stack[depth++].at = at;
            /* fallthrough */
        case NFT_GOTO:
            if (!r.to)
                return NF_DROP;
            chain = r.to;
            at = 0;
            break;
        case NFT_RETURN:
            at = chain->nr;
            break;
        default:
            return r.verdict;
        }
    }
    return NF_DROP;
}

struct nft_table *nft_table_find(struct nft_state *st, int family, const char *name)
{
    struct nft_table *t;

    list_for_each_entry(t, &st->tables, node)
        if (t->family == family && !strcmp(t->name, name))
            return t;
    return NULL;
}

struct nft_chain *nft_chain_find(struct nft_table *t, const char *name)
{
    struct nft_chain *c;

    list_for_each_entry(c, &t->chains, node)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

struct nft_chain *nft_chain_by_handle(struct nft_table *t, uint64_t handle)
{
    struct nft_chain *c;

    list_for_each_entry(c, &t->chains, node)
        if (c->handle == handle)
            return c;
    return NULL;
}

uint32_t nft_chain_references(const struct nft_table *t, const struct nft_chain *c)
{
    struct nft_chain *from;
    uint32_t n = 0;

    list_for_each_entry(from, &t->chains, node)
        for (unsigned int i = 0; i < from->nr; i++)
            for (unsigned int k = 0; k < from->rules[i]->nr; k++) {
                const struct nft_expr *e = &from->rules[i]->expr[k];

                if (!strcmp(e->ops->name, "immediate") && e->u.imm.chain[0] && !strcmp(e->u.imm.chain, c->name))
                    n++;
            }
    return n;
}

bool nft_chain_insert(struct nft_state *st, struct nft_chain *c, unsigned int at, struct nft_rule *r)
{
    if (c->nr == c->room) {
        unsigned int room = c->room ? c->room * 2 : 8;
        struct nft_rule **rules = realloc(c->rules, room * sizeof(*rules));

        if (!rules)
            return false;
        c->rules = rules;
        c->room = room;
    }
    memmove(c->rules + at + 1, c->rules + at, (c->nr - at) * sizeof(*c->rules));
    c->rules[at] = r;
    c->nr++;
    st->nr_rules++;
    return true;
}

void nft_chain_remove(struct nft_state *st, struct nft_chain *c, unsigned int at)
{
    nft_rule_put(c->rules[at]);
    memmove(c->rules + at, c->rules + at + 1, (--c->nr - at) * sizeof(*c->rules));
    st->nr_rules--;
}

void nft_chain_free(struct nft_state *st, struct nft_chain *c)
{
    while (c->nr)
        nft_chain_remove(st, c, c->nr - 1);
    list_del_init(&c->node);
    st->nr_chains--;
    free(c->rules);
    free(c);
}

void nft_table_free(struct nft_state *st, struct nft_table *t)
{
    while (!list_empty(&t->chains))
        nft_chain_free(st, list_first_entry(&t->chains, struct nft_chain, node));
    list_del_init(&t->node);
    st->nr_tables--;
    free(t);
}

void nft_state_free(struct nft_state *st)
{
    if (!st)
        return;
    while (!list_empty(&st->tables))
        nft_table_free(st, list_first_entry(&st->tables, struct nft_table, node));
    free(st);
}

static bool copy_chain(struct nft_state *st, struct nft_table *t, const struct nft_chain *from)
{
    struct nft_chain *c = calloc(1, sizeof(*c));

    if (!c)
        return false;
    *c = *from;
    list_init(&c->he.node);
    list_add_tail(&c->node, &t->chains);
    st->nr_chains++;
    c->table = t;
    c->rules = NULL;
    c->nr = c->room = 0;
    for (unsigned int i = 0; i < from->nr; i++) {
        if (!nft_chain_insert(st, c, c->nr, from->rules[i]))
            return false;
        ref_get(&from->rules[i]->ref);
    }
    return true;
}

struct nft_state *nft_state_new(const struct nft_state *from)
{
    struct nft_state *st = calloc(1, sizeof(*st));
    const struct nft_table *ft;
    const struct nft_chain *fc;

    if (!st)
        return NULL;
    list_init(&st->tables);
    st->gen = from ? from->gen : 1;
    st->last_handle = from ? from->last_handle : 0;
    if (!from)
        return st;
    list_for_each_entry(ft, &from->tables, node) {
        struct nft_table *t = malloc(sizeof(*t));

        if (!t)
            goto fail;
        *t = *ft;
        list_init(&t->chains);
        list_add_tail(&t->node, &st->tables);
        st->nr_tables++;
        list_for_each_entry(fc, &ft->chains, node)
            if (!copy_chain(st, t, fc))
                goto fail;
    }
    return st;
fail:
    nft_state_free(st);
    return NULL;
}

static void resolve_jumps(struct nft_table *t, struct nft_chain *c)
{
    for (unsigned int i = 0; i < c->nr; i++)
        for (unsigned int k = 0; k < c->rules[i]->nr; k++) {
            struct nft_expr *e = &c->rules[i]->expr[k];

            if (!strcmp(e->ops->name, "immediate") && e->u.imm.chain[0])
                e->u.imm.to = nft_chain_find(t, e->u.imm.chain);
        }
}

static void unhook(struct nft_state *st) NETSTACK_LOCKED
{
    struct nft_table *t;
    struct nft_chain *c;

    list_for_each_entry(t, &st->tables, node) {
        list_for_each_entry(c, &t->chains, node) {
            if (c->base)
                nf_hook_del(&c->he);
        }
    }
}

void nft_state_commit(struct netstack *s, struct nft_state *st)
{
    struct nft_table *t;
    struct nft_chain *c;

    if (s->nf->nft)
        unhook(s->nf->nft);
    list_for_each_entry(t, &st->tables, node) {
        list_for_each_entry(c, &t->chains, node) {
            resolve_jumps(t, c);
            if (!c->base || (t->flags & NFT_TABLE_F_DORMANT) || c->hook >= NETSTACK_HOOKS ||
                (t->family != NFPROTO_IPV4 && t->family != NFPROTO_IPV6 && t->family != NFPROTO_INET))
                continue; /* ARP and bridges: kept, and never asked */
            c->he = (struct nf_hook_entry){.priority = c->priority,
                                           .v4 = t->family != NFPROTO_IPV6,
                                           .v6 = t->family != NFPROTO_IPV4,
                                           .nat = !strcmp(c->type, "nat"),
                                           .run = run};
            nf_hook_add(s, c->hook, &c->he);
        }
    }
    nft_state_free(s->nf->nft);
    st->gen++;
    s->nf->nft = st;
}

void nft_destroy(struct netstack *s)
{
    if (!s->nf->nft)
        return;
    unhook(s->nf->nft);
    nft_state_free(s->nf->nft);
    s->nf->nft = NULL;
}
