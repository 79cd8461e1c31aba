/* What the files of netfilter share. */
#ifndef NETSTACK_NF_H
#define NETSTACK_NF_H

#include "netstack/ip_internal.h"
#include "netstack/netfilter.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>

#define NF_CONNTRACK_MAX 32768
#define NF_CT_BUCKETS    1024

/* One direction of a connection. ICMP: sport is the identifier, dport type and code. */
struct nf_tuple {
    struct in6_addr src, dst;
    be16 sport, dport;
    uint8_t proto;
};

struct nf_tuple_node {
    struct list_head node;
    struct nf_tuple t;
    uint8_t dir; /* its place in nf_conn.tuple */
};

struct nf_conn {
    struct refcount ref;
    struct netstack *stack;
    struct nf_tuple_node tuple[2]; /* original, reply */
    struct list_head lru;
    struct net_timer timer;
    uint32_t status; /* IPS_* */
    uint32_t mark;
    uint8_t tcp_state; /* enum tcp_conntrack */
    int nat_ifindex;   /* MASQUERADE: the device whose address it has */
    uint64_t packets[2], bytes[2];
};

/* A packet on its way through a hook. */
struct nf_ctx {
    struct netstack *s;
    struct pkt *p; /* data at the IP header */
    int hook;
    struct nic *in, *out;
    bool v4;
    bool fragment; /* not the first: no transport header */
    uint8_t proto;
    size_t thoff; /* of the transport header, from data; p->len if there is none */
};

/* What hangs at a hook; run in order of priority. */
struct nf_hook_entry {
    struct list_head node;
    int priority;
    bool v4, v6, nat; /* nat: only for the first packet of a connection, whose translation it decides */
    int (*run)(struct nf_hook_entry *e, struct nf_ctx *c); /* NF_ACCEPT, NF_DROP, NF_STOLEN */
};

struct legacy_table;
struct nft_state;

struct netfilter {
    struct list_head hooks[NETSTACK_HOOKS]; /* struct nf_hook_entry */
    struct list_head ct_hash[NF_CT_BUCKETS], ct_lru;
    unsigned int nr_ct;
    struct legacy_table *ipt[2][4];
    struct nft_state *nft;
    int64_t log_second; /* rate limit of LOG */
    int logged;
};

void nf_hook_add(struct netstack *s, int hook, struct nf_hook_entry *e) NETSTACK_LOCKED;
void nf_hook_del(struct nf_hook_entry *e) NETSTACK_LOCKED;

/* Fills in protocol and transport header. False: malformed. */
bool nf_ctx_init(struct nf_ctx *c);
/* A pointer to `n` bytes at `off` from data, in place or copied to buf; NULL: they are not there. */
const void *nf_bytes(const struct pkt *p, size_t off, size_t n, void *buf);

/* Conntrack. */
void ct_in(struct nf_ctx *c) NETSTACK_LOCKED;                       /* finds or begins the packet's connection */
bool ct_confirm(struct netstack *s, struct pkt *p) NETSTACK_LOCKED; /* it has passed: enters it. False: drop */
struct nf_conn *ct_find(struct netstack *s, const struct nf_tuple *t, int *dir) NETSTACK_LOCKED;
void ct_remove(struct nf_conn *ct) NETSTACK_LOCKED;
struct nf_tuple ct_invert(const struct nf_tuple *t);
bool ct_tuple_of(const struct pkt *p, size_t l3, struct nf_tuple *t); /* of the packet whose IP header is at l3 from data */
/* Protocol part: false: the packet is not valid. Sets the timeout. */
bool ct_track(struct nf_ctx *c, struct nf_conn *ct, int dir) NETSTACK_LOCKED;
bool ct_may_begin(const struct nf_ctx *c);
static inline int ct_dir(const struct pkt *p)
{
    return p->nf_ctinfo >= IP_CT_IS_REPLY;
}
static inline bool ct_confirmed(const struct nf_conn *ct)
{
    return ct->status & IPS_CONFIRMED;
}

/* NAT: decides the translation of a new connection. `src`: SNAT, else DNAT. NF_ACCEPT or NF_DROP. */
int nat_setup(struct nf_ctx *c, struct nf_conn *ct, const struct nf_nat_range2 *range, bool src) NETSTACK_LOCKED;
int nat_masquerade(struct nf_ctx *c, const struct nf_nat_range2 *range) NETSTACK_LOCKED;
int nat_redirect(struct nf_ctx *c, const struct nf_nat_range2 *range) NETSTACK_LOCKED;
/* Rewrites a packet as its connection says. False: drop. */
bool nat_packet(struct nf_ctx *c) NETSTACK_LOCKED;
static inline bool nat_hook_is_src(int hook)
{
    return hook == NF_INET_POST_ROUTING || hook == NF_INET_LOCAL_IN;
}

/* Extensions of iptables: matches and targets by name and revision. */
struct xt_match_ops {
    const char *name;
    uint8_t revision;
    int family;    /* AF_UNSPEC: both */
    size_t size;   /* of the data, XT_ALIGNed */
    uint8_t proto; /* only for rules of this protocol; 0: any */
    bool (*match)(const struct nf_ctx *c, const void *data);
    bool (*match_state)(const struct nf_ctx *c, void *data); /* may write to its data: limit */
    bool (*check)(const void *data);                         /* NULL: any data will do */
};
struct xt_target_ops {
    const char *name;
    uint8_t revision;
    int family;
    size_t size;
    const char *table;  /* only in this one; NULL: any */
    unsigned int hooks; /* bits; 0: any */
    /* XT_CONTINUE, NF_ACCEPT, NF_DROP, NF_STOLEN */
    unsigned int (*target)(struct nf_ctx *c, const void *data);
    bool (*check)(const void *data);
};
const struct xt_match_ops *xt_match_find(const char *name, int revision, int family);
const struct xt_target_ops *xt_target_find(const char *name, int revision, int family);
/* The highest revision that is known, or -1. */
int xt_revision(const char *name, int family, bool target);
int xt_target_revision(const char *name, int family);

/* Refuses a packet with an ICMP error or a TCP reset; the packet is not consumed. */
void nf_reject_reset(struct nf_ctx *c) NETSTACK_LOCKED;
void nf_log(struct nf_ctx *c, const char *prefix) NETSTACK_LOCKED;

void ipt_destroy(struct netfilter *nf) NETSTACK_LOCKED;
void nft_destroy(struct netstack *s) NETSTACK_LOCKED;

#endif
