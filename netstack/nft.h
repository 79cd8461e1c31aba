/* Private to nf_tables' files. */
#ifndef NETSTACK_NFT_H
#define NETSTACK_NFT_H

#include "netstack/nf.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#define NFT_RULES_MAX  16384
#define NFT_CHAINS_MAX 4096
#define NFT_TABLES_MAX 256
#define NFT_EXPRS_MAX  128
#define NFT_NAME_MAX   128

/* Attributes of a message or a nest by type; others than 1..max are ignored. */
struct nft_attrs {
    const struct nlattr *a[16];
};
bool nft_parse(const void *data, size_t len, struct nft_attrs *out); /* false: malformed */
bool nft_nested(const struct nlattr *a, struct nft_attrs *out);      /* false: missing or malformed */
static inline const void *nft_data(const struct nlattr *a)
{
    return a + 1;
}
static inline size_t nft_len(const struct nlattr *a)
{
    return a->nla_len - NLA_HDRLEN;
}
bool nft_u32(const struct nlattr *a, uint32_t *out); /* big-endian in the message; false: missing or not 4 bytes */
bool nft_u64(const struct nlattr *a, uint64_t *out);
/* A name of at most NFT_NAME_MAX - 1 bytes, copied. False: missing, empty or too long. */
bool nft_name(const struct nlattr *a, char *out);

/* A message under construction. */
struct nft_msg {
    uint8_t *b;
    size_t len, room;
    bool failed; /* out of memory: nothing is sent */
};
size_t nft_msg_begin(struct nft_msg *m, uint16_t type, uint16_t flags, uint32_t seq, uint32_t port, uint8_t family,
                     uint32_t gen);
void nft_put(struct nft_msg *m, uint16_t type, const void *data, size_t len);
void nft_put_u32(struct nft_msg *m, uint16_t type, uint32_t v);
void nft_put_u64(struct nft_msg *m, uint16_t type, uint64_t v);
void nft_put_str(struct nft_msg *m, uint16_t type, const char *s);
size_t nft_nest(struct nft_msg *m, uint16_t type);
void nft_nest_end(struct nft_msg *m, size_t at);

struct nft_chain;
struct nft_expr;

/* How an expression's evaluation goes on. Verdicts of packets are NF_*. */
struct nft_run {
    struct nf_ctx *c;
    uint8_t reg[80];      /* registers by byte: 16 for each of NFT_REG_VERDICT, 1..4 */
    int verdict;          /* NFT_CONTINUE, NFT_BREAK, NFT_JUMP, NFT_GOTO, NFT_RETURN, NF_* */
    struct nft_chain *to; /* of a jump */
};

struct nft_expr_ops {
    const char *name;
    /* Reads attributes into e->u. 0, -EINVAL, -ENOENT, -EOPNOTSUPP. */
    int (*init)(struct nft_expr *e, const struct nft_attrs *a, const char *table);
    void (*eval)(struct nft_expr *e, struct nft_run *r);
};

struct nft_expr {
    const struct nft_expr_ops *ops;
    void *raw; /* the attributes as they came, for listing */
    size_t raw_len;
    uint8_t *info; /* data of an extension */
    union {
        struct {
            uint32_t key;
            uint8_t reg;
            bool set;
        } meta, ct;
        struct {
            uint32_t base, offset, len;
            uint8_t reg;
        } payload;
        struct {
            uint32_t op, len;
            uint8_t reg;
            uint8_t data[64];
        } cmp;
        struct {
            uint32_t op, len;
            uint8_t reg;
            uint8_t from[16], to[16];
        } range;
        struct {
            uint32_t len;
            uint8_t sreg, dreg;
            uint8_t mask[64], xor[64];
        } bitwise;
        struct {
            uint32_t len;
            uint8_t reg;
            bool verdict;
            int code;
            char chain[NFT_NAME_MAX];
            struct nft_chain *to; /* of the state in force */
            uint8_t data[64];
        } imm;
        struct {
            uint64_t packets, bytes;
        } counter;
        struct {
            const struct xt_match_ops *match;
            const struct xt_target_ops *target;
        } xt;
        struct {
            uint64_t rate, unit, burst, credit;
            int64_t last;
            bool invert;
        } limit;
        struct {
            uint32_t type, icmp_code;
        } reject;
        struct {
            uint32_t type, flags;
            uint8_t addr_min, addr_max, port_min, port_max; /* registers; 0: none */
        } nat;
        struct {
            char prefix[64];
        } log;
    } u;
};

struct nft_rule {
    struct refcount ref; /* rules are shared by the state in force and the one being made */
    uint64_t handle;
    uint32_t compat_proto, compat_flags;
    bool has_compat;
    void *userdata;
    size_t userdata_len;
    unsigned int nr;
    struct nft_expr expr[];
};

struct nft_chain {
    struct list_head node;
    struct nft_table *table;
    char name[NFT_NAME_MAX], type[16];
    uint64_t handle;
    bool base;
    uint32_t hook, policy;
    int32_t priority;
    struct nft_rule **rules;
    unsigned int nr, room;
    struct nf_hook_entry he;
};

struct nft_table {
    struct list_head node, chains;
    char name[NFT_NAME_MAX];
    uint8_t family; /* NFPROTO_* */
    uint64_t handle;
    uint32_t flags;
};

struct nft_state {
    struct list_head tables;
    uint32_t gen;
    uint64_t last_handle;
    unsigned int nr_rules, nr_chains, nr_tables;
};

/* nft_expr.c */
int nft_rule_parse(const struct nlattr *exprs, const char *table, struct nft_rule **out); /* one reference */
void nft_rule_put(struct nft_rule *r);
void nft_expr_put(struct nft_msg *m, const struct nft_expr *e);

/* nft_state.c */
struct nft_state *nft_state_new(const struct nft_state *from); /* a copy, or an empty one; NULL: out of memory */
void nft_state_free(struct nft_state *st);
/* Puts a state in the place of the one in force, which is freed. */
void nft_state_commit(struct netstack *s, struct nft_state *st) NETSTACK_LOCKED;
struct nft_table *nft_table_find(struct nft_state *st, int family, const char *name);
struct nft_chain *nft_chain_find(struct nft_table *t, const char *name);
struct nft_chain *nft_chain_by_handle(struct nft_table *t, uint64_t handle);
uint32_t nft_chain_references(const struct nft_table *t, const struct nft_chain *c); /* how many rules jump to it */
void nft_chain_free(struct nft_state *st, struct nft_chain *c);
void nft_table_free(struct nft_state *st, struct nft_table *t);
/* Inserts at an index; takes over the reference. False: out of memory. */
bool must_check nft_chain_insert(struct nft_state *st, struct nft_chain *c, unsigned int at, struct nft_rule *r);
void nft_chain_remove(struct nft_state *st, struct nft_chain *c, unsigned int at);

#endif
