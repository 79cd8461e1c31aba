/* What the files that make up the frame of a stack share. */
#ifndef NETSTACK_STACK_INTERNAL_H
#define NETSTACK_STACK_INTERNAL_H

#include "netstack/stack.h"

/* Loopback packets and work items done per unlock, so that two ends that answer each other cannot hold the lock for ever. */
#define NETSTACK_BUDGET 1000

void net_timers_expire(struct netstack *s, int64_t now) NETSTACK_LOCKED;

#endif
