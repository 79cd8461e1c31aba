/* Packet filtering and connection tracking. */
#ifndef NETSTACK_NETFILTER_H
#define NETSTACK_NETFILTER_H

#include "netstack/stack.h"

/* References on a tracked connection; without the lock too. */
void nf_conn_get(struct nf_conn *ct);
void nf_conn_put(struct nf_conn *ct);

#endif
