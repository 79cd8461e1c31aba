/* What the files of cmd/runsc-c/network share. */
#ifndef CMD_RUNSC_C_NETWORK_INTERNAL_H
#define CMD_RUNSC_C_NETWORK_INTERNAL_H

#include "cmd/runsc-c/network/network.h"

struct mnl_socket;

/* Takes over what is in the namespace that we are in. */
int must_check network_take_here(struct net_config *c, struct error *e);

/* read.c: fills in what rtnetlink says; descriptors stay -1. */
int must_check network_read(struct mnl_socket *nl, struct net_config *c, struct error *e);
/* Removes the addresses of the interfaces in `c` from the host's. */
int must_check network_strip(struct mnl_socket *nl, const struct net_config *c, struct error *e);

/* dns.c: a socket for the DNS server that Docker runs in this namespace, if it does. */
void network_open_dns(struct net_config *c);

#endif
