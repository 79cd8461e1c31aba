/* Policy rules: which tables are asked for a packet. */
#include "netstack/fib.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <stdlib.h>

static bool add_default(struct fib *f, int family, uint32_t priority, uint32_t table)
{
    struct route_rule *r = calloc(1, sizeof(*r));

    if (!r)
        return false;
    r->family = family;
    r->priority = priority;
    r->table = table;
    r->action = FR_ACT_TO_TBL;
    r->protocol = RTPROT_KERNEL;
    r->src = r->dst = addr_any(family);
    list_add_tail(&r->node, &f->rules);
    f->nr_rules++;
    return true;
}

bool rules_init(struct fib *f)
{
    return add_default(f, AF_INET, 0, RT_TABLE_LOCAL) && add_default(f, AF_INET6, 0, RT_TABLE_LOCAL) &&
           add_default(f, AF_INET, 32766, RT_TABLE_MAIN) && add_default(f, AF_INET6, 32766, RT_TABLE_MAIN) &&
           add_default(f, AF_INET, 32767, RT_TABLE_DEFAULT);
}

void rules_fini(struct fib *f)
{
    struct route_rule *r, *tmp;

    list_for_each_entry_safe(r, tmp, &f->rules, node)
        free(r);
}

static bool name_matches(struct netstack *s, const char *name, int index) NETSTACK_LOCKED
{
    struct nic *nic;

    if (!name[0])
        return true;
    nic = nic_by_name(s, name);
    return nic && nic->index == index;
}

static bool rule_matches(struct netstack *s, const struct route_rule *r, const struct route_key *k) NETSTACK_LOCKED
{
    bool m;

    if (r->family != addr_family(&k->dst))
        return false;
    /* Packets made here count as coming from lo. */
    m = name_matches(s, r->iif,
                     k->iif  ? k->iif
                     : s->lo ? s->lo->index
                             : 0) &&
        name_matches(s, r->oif, k->oif) && ((r->mark ^ k->mark) & r->mark_mask) == 0 &&
        (!r->tos || r->tos == (k->tos & 0x1c)) && (!r->src_plen || addr_in_prefix(&k->src, &r->src, r->src_plen)) &&
        (!r->dst_plen || addr_in_prefix(&k->dst, &r->dst, r->dst_plen)) &&
        (!r->uid_range || (k->uid >= r->uid_min && k->uid <= r->uid_max));
    return m != r->invert;
}

int rules_lookup(struct netstack *s, const struct route_key *k, struct route **out)
{
    struct route_rule *r;
    uint32_t from = 0;

    list_for_each_entry(r, &s->fib->rules, node) {
        struct route *found;

        if (r->priority < from || !rule_matches(s, r, k))
            continue;
        switch (r->action) {
        case FR_ACT_TO_TBL:
            found = fib_lookup(s, r->table, k);
            if (!found || (r->suppress && found->plen <= r->suppress_prefixlen))
                continue;
            *out = found;
            switch (found->type) {
            case RTN_UNREACHABLE:
                return -EHOSTUNREACH;
            case RTN_PROHIBIT:
                return -EACCES;
            case RTN_BLACKHOLE:
                return -EINVAL;
            case RTN_THROW:
                continue;
            default:
                return 0;
            }
        case FR_ACT_GOTO:
            from = r->goto_priority;
            continue;
        case FR_ACT_NOP:
            continue;
        case FR_ACT_BLACKHOLE:
            return -EINVAL;
        case FR_ACT_PROHIBIT:
            return -EACCES;
        default:
            return -ENETUNREACH;
        }
    }
    return -ENETUNREACH;
}

static bool same_rule(const struct route_rule *a, const struct route_rule *b)
{
    return a->family == b->family && a->priority == b->priority && a->table == b->table && a->action == b->action &&
           a->tos == b->tos && a->src_plen == b->src_plen && a->dst_plen == b->dst_plen && a->mark == b->mark &&
           a->mark_mask == b->mark_mask && a->invert == b->invert && a->uid_range == b->uid_range && a->uid_min == b->uid_min &&
           a->uid_max == b->uid_max && addr_equal(&a->src, &b->src) && addr_equal(&a->dst, &b->dst) &&
           !strcmp(a->iif, b->iif) && !strcmp(a->oif, b->oif) && a->suppress == b->suppress;
}

int route_rule_add(struct netstack *s, const struct route_rule *tmpl, unsigned int flags)
{
    struct fib *f = s->fib;
    struct route_rule *r, *next, want = *tmpl;

    if (!want.priority) { /* Linux: one before the second rule */
        bool seen = false;

        list_for_each_entry(r, &f->rules, node) {
            if (r->family != want.family)
                continue;
            if (seen) {
                want.priority = r->priority ? r->priority - 1 : 0;
                break;
            }
            seen = true;
        }
    }
    if (want.action == FR_ACT_GOTO && want.goto_priority <= want.priority)
        return -EINVAL;
    list_for_each_entry(r, &f->rules, node)
        if ((flags & NLM_F_EXCL) && same_rule(r, &want))
            return -EEXIST;
    if (f->nr_rules >= RULE_MAX)
        return -ENOSPC;
    r = malloc(sizeof(*r));
    if (!r)
        return -ENOMEM;
    *r = want;
    list_for_each_entry(next, &f->rules, node)
        if (next->priority > r->priority)
            break;
    list_add_tail(&r->node, &next->node);
    f->nr_rules++;
    route_changed(s);
    netstack_notify(s, NETSTACK_RULE_NEW, r);
    return 0;
}

int route_rule_del(struct netstack *s, const struct route_rule *want)
{
    struct route_rule *r;

    list_for_each_entry(r, &s->fib->rules, node) {
        if (r->family != want->family || (want->priority && r->priority != want->priority) ||
            (want->action && r->action != want->action) || (want->table && r->table != want->table) ||
            (want->src_plen && (r->src_plen != want->src_plen || !addr_equal(&r->src, &want->src))) ||
            (want->dst_plen && (r->dst_plen != want->dst_plen || !addr_equal(&r->dst, &want->dst))) ||
            (want->mark && r->mark != want->mark) || (want->mark_mask && r->mark_mask != want->mark_mask) ||
            (want->iif[0] && strcmp(r->iif, want->iif)) || (want->oif[0] && strcmp(r->oif, want->oif)) ||
            (want->tos && r->tos != want->tos) ||
            (want->uid_range && (r->uid_min != want->uid_min || r->uid_max != want->uid_max)))
            continue;
        list_del_init(&r->node);
        s->fib->nr_rules--;
        route_changed(s);
        netstack_notify(s, NETSTACK_RULE_DEL, r);
        free(r);
        return 0;
    }
    return -ENOENT;
}

int route_rule_for_each(struct netstack *s, int family, int (*fn)(const struct route_rule *r, void *arg), void *arg)
{
    struct route_rule *r;

    list_for_each_entry(r, &s->fib->rules, node) {
        int err = !family || r->family == family ? fn(r, arg) : 0;
        if (err)
            return err;
    }
    return 0;
}
