/*
 * Programs that decide about packets: SO_ATTACH_FILTER and SO_ATTACH_REUSEPORT_CBPF, in classic BPF. Those of the newer kind
 * are refused, for there is no bpf(2).
 */
#ifndef SENTRY_SOCKET_BPF_H
#define SENTRY_SOCKET_BPF_H

#include "lib/compiler.h"
#include "lib/refcount.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct pkt;
struct task;

struct bpf_prog {
    struct refcount ref;
    unsigned int len;
    struct sock_filter insns[];
};

/* From a struct sock_fprog of the guest, of which setsockopt(2) has copied `len` bytes. -EINVAL, -EFAULT, -ENOMEM. */
int must_check bpf_prog_create(struct task *t, const void *fprog, socklen_t len, struct bpf_prog **out);
struct bpf_prog *bpf_prog_get(struct bpf_prog *p); /* NULL is fine, in both */
void bpf_prog_put(struct bpf_prog *p);

/* What a program looks at: a header and what follows it, or a packet from its data on. */
struct bpf_data {
    const void *head;
    const void *body;
    uint32_t head_len, body_len; /* of a packet: head_len is its length */
    const struct pkt *pkt;       /* instead of head and body */
    uint16_t protocol;           /* SKF_AD_PROTOCOL, host order */
    int ifindex;
    uint32_t mark;
};
uint32_t bpf_run(const struct bpf_prog *p, const struct bpf_data *d);
/* The same for a packet, from its data on. */
uint32_t bpf_run_pkt(const struct bpf_prog *p, const struct pkt *pkt);

#endif
