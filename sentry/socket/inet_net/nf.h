/*
 * Netfilter's doors to the guest: the options of raw sockets by which iptables-legacy reads and replaces tables, and the
 * messages of NETLINK_NETFILTER sockets by which iptables-nft and nft do. The rules themselves are the netstack's
 * (netstack/netfilter.h), so they see what goes through it; what two sockets of the sandbox say to each other does not.
 */
#ifndef SENTRY_SOCKET_INET_NET_NF_H
#define SENTRY_SOCKET_INET_NET_NF_H

#include "sentry/socket/netlink/netlink.h"

struct task;

/* Is this one of those options, whose values may be larger than others'? */
bool net_is_nf_option(const struct socket *s, int level, int name);
int net_nf_setsockopt(struct socket *s, struct task *t, int level, int name, guest_addr val, int len);
int net_nf_getsockopt(struct socket *s, struct task *t, int level, int name, guest_addr val, guest_addr len);

/* One sendmsg()'s messages to NETLINK_NETFILTER; answers are queued on the socket. */
void net_nf_receive(struct netlink_sock *n, struct task *t, const void *data, size_t len);

#endif
