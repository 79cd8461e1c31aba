/* What the files of cmd/runsc-c/network share. */
#ifndef CMD_RUNSC_C_NETWORK_INTERNAL_H
#define CMD_RUNSC_C_NETWORK_INTERNAL_H

#include "cmd/runsc-c/network/network.h"

#include <libmnl/libmnl.h>

/* Where what was taken is written down before it is taken, for network_give_back(). */
struct network_record {
    int state_fd;     /* the container's state directory; -1: nothing is to be given back */
    const char *path; /* of the namespace */
};

/* Takes over what is in the namespace that we are in. */
int must_check network_take_here(struct net_config *c, const struct network_record *rec, struct error *e);
/*
 * One sandbox has the interfaces of the namespace that we are in: a descriptor that says so for as long as it is open. The
 * sentry gets it, so that the namespace is free again whenever the sentry is gone.
 */
int must_check network_lock(struct error *e);
/* Sets a setting of an interface, /proc/sys/net/ipv6/conf/IFNAME/NAME, if there is one. */
void network_write_sysctl(const char *name, const char *ifname, const char *value);

/* record.c */
int must_check network_add_addr(struct mnl_socket *nl, const struct net_config_addr *a);
int must_check network_add_route(struct mnl_socket *nl, const struct net_config_route *r);
int must_check network_record_write(const struct network_record *rec, const struct net_config *c, struct error *e);

/* read.c: sends a request and hands each answer to `fn` (NULL: only the result counts). 0 or -errno. */
int must_check network_request(struct mnl_socket *nl, struct nlmsghdr *h, mnl_cb_t fn, void *arg);
/* Fills in what rtnetlink says; descriptors stay -1. */
int must_check network_read(struct mnl_socket *nl, struct net_config *c, struct error *e);
/* Removes the addresses of the interfaces in `c` from the host's. */
int must_check network_strip(struct mnl_socket *nl, const struct net_config *c, struct error *e);

/* dns_out.c: lets that server ask others, with the interfaces stripped and their packet sockets open; and takes that back. */
void network_lead_dns_out(struct mnl_socket *nl, const struct net_config *c);
void network_undo_dns_out(struct mnl_socket *nl, const struct net_config *c);
#define PORT_RANGE "/proc/sys/net/ipv4/ip_local_port_range"

/* dns.c: a socket for the DNS server that Docker runs in this namespace, if it does. */
void network_open_dns(struct net_config *c);

#endif
