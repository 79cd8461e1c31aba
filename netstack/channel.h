/*
 * A link for tests: two NICs, usually of two stacks, joined by queues. Frames move when the test calls channel_run(), which can
 * lose, repeat, reorder, delay and corrupt them, by a seeded generator, so that every run is the same.
 */
#ifndef NETSTACK_CHANNEL_H
#define NETSTACK_CHANNEL_H

#include "netstack/nic.h"

struct channel;

struct channel_faults {
    /* in 1/10000 of frames */
    unsigned int loss, dup, reorder, corrupt;
    int64_t delay, jitter; /* ns */
    uint64_t rate;         /* bits per second; 0: endless */
    unsigned int queue;    /* frames kept when `rate` is set; more are dropped. 0: 1000 */
};

struct channel_config {
    const char *name[2];
    uint32_t mtu;          /* 0: 1500 */
    unsigned int features; /* enum nic_feature of both ends */
    uint64_t seed;
};

/* Makes the NICs, down; they have MACs 02:00:00:00:00:01 and :02 (plus the seed's low bits). NICs are destroyed with their
 * stacks, before the channel. Takes both locks, one after the other. */
int must_check channel_create(struct netstack *a, struct netstack *b, const struct channel_config *c, struct channel **out)
    EXCLUDES(netstack_held);
void channel_destroy(struct channel *ch);
struct nic *channel_nic(struct channel *ch, int end);
/* Of frames that are sent by `end` from now on. */
void channel_set_faults(struct channel *ch, int end, const struct channel_faults *f);
/* Looks at every frame before it is queued: false drops it. NULL: none. */
void channel_set_hook(struct channel *ch, bool (*fn)(void *arg, int from, struct pkt *p), void *arg);
/* Delivers what is due at `now`. Returns when the next frame is due, INT64_MAX: none is under way. */
int64_t channel_run(struct channel *ch, int64_t now) EXCLUDES(netstack_held);

#endif
