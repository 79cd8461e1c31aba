/*
 * Packet filtering: connection tracking, address translation, and the tables of iptables, in both of its dialects: whole tables
 * by socket options (iptables-legacy, nf_ipt.c), and nf_tables messages (iptables-nft, nf_tables.c). A stack that nobody gave
 * rules has no hooks and pays nothing.
 */
#ifndef NETSTACK_NETFILTER_H
#define NETSTACK_NETFILTER_H

#include "netstack/stack.h"

#include <linux/netfilter/x_tables.h>

/* References on a tracked connection; without the lock too. */
void nf_conn_get(struct nf_conn *ct);
void nf_conn_put(struct nf_conn *ct);

/* Turns netfilter on, if it is not: -ENOMEM. The front ends do so by themselves. */
int must_check nf_enable(struct netstack *s) NETSTACK_LOCKED;
void nf_destroy(struct netstack *s) NETSTACK_LOCKED;

/*
 * The options IPT_SO_* and IP6T_SO_* of raw sockets, which the caller has checked CAP_NET_ADMIN for. `family`: AF_INET,
 * AF_INET6. Get: *len is the room in `val`, then the length of the answer. The counters that a replaced table had, which
 * SET_REPLACE copies to the address in struct ipt_replace, are returned in *old (malloc'd, *nr_old of them), to be copied by
 * the caller. -ENOPROTOOPT: none of these options.
 */
int nf_ipt_set(struct netstack *s, int family, int opt, const void *val, size_t len, struct xt_counters **old,
               size_t *nr_old) NETSTACK_LOCKED;
int nf_ipt_get(struct netstack *s, int family, int opt, void *val, size_t *len) NETSTACK_LOCKED;
/* The names of tables, for /proc/net/ip_tables_names. NULL beyond the last. */
const char *nf_ipt_table_name(struct netstack *s, int family, unsigned int i) NETSTACK_LOCKED;

/*
 * NETLINK_NETFILTER messages of nf_tables and of its compatibility part: `data` is what one sendmsg() brought, a batch or
 * single messages. Answers, acknowledgements included, are given to `reply` as complete netlink messages. `port`: of the asking
 * socket.
 */
typedef void nf_reply_fn(void *arg, const void *msg, size_t len);
void nf_tables_receive(struct netstack *s, const void *data, size_t len, uint32_t port, nf_reply_fn *reply,
                       void *arg) NETSTACK_LOCKED;

/* A tracked connection as /proc/net/nf_conntrack shows it: a line of text into `buf`. */
int nf_conntrack_for_each(struct netstack *s, int (*fn)(const char *line, void *arg), void *arg) NETSTACK_LOCKED;
unsigned int nf_conntrack_count(struct netstack *s) NETSTACK_LOCKED;
/* Where a connection was going before DNAT: SO_ORIGINAL_DST. Addresses of the connection as the local end knows them. */
bool nf_original_dst(struct netstack *s, uint8_t proto, const struct in6_addr *local, be16 lport, const struct in6_addr *remote,
                     be16 rport, struct in6_addr *dst, be16 *dport) NETSTACK_LOCKED;

#endif
