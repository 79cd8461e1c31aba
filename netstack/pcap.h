/* Writes the frames of a NIC to a descriptor in pcap format (nanoseconds, Ethernet). */
#ifndef NETSTACK_PCAP_H
#define NETSTACK_PCAP_H

#include "netstack/nic.h"

struct pcap;

/* Begins: writes the header. The descriptor is the caller's, and must not block. `snaplen` 0: all. -errno. */
int must_check pcap_start(struct nic *nic, int fd, uint32_t snaplen, struct pcap **out) NETSTACK_LOCKED;
void pcap_stop(struct pcap *pc) NETSTACK_LOCKED;
/* Frames that could not be written. */
uint64_t pcap_dropped(const struct pcap *pc);

#endif
