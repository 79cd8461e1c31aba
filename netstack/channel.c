#include "netstack/channel.h"

#include <errno.h>
#include <net/if_arp.h>
#include <stdlib.h>

struct frame {
    struct list_head node;
    int64_t due;
    struct pkt *p;
};

struct channel {
    struct nic *nic[2];
    struct mutex lock;         /* guards the queues; taken under a stack's lock, and without one */
    struct list_head queue[2]; /* struct frame, by `due`: what goes to this end */
    unsigned int queued[2];
    struct channel_faults faults[2]; /* of frames sent by this end */
    int64_t line_free[2];            /* when the line has sent all */
    uint64_t rng;
    bool (*hook)(void *arg, int from, struct pkt *p);
    void *hook_arg;
};

static uint64_t rnd(struct channel *ch)
{
    ch->rng ^= ch->rng << 13;
    ch->rng ^= ch->rng >> 7;
    ch->rng ^= ch->rng << 17;
    return (ch->rng * 0x2545F4914F6CDD1DULL) >> 16;
}

static bool chance(struct channel *ch, unsigned int of_10000)
{
    return of_10000 && rnd(ch) % 10000 < of_10000;
}

static void enqueue(struct channel *ch, int to, struct pkt *p, int64_t due)
{
    struct frame *f = malloc(sizeof(*f)), *at;

    if (!f) {
        pkt_free(p);
        return;
    }
    f->due = due;
    f->p = p;
    /* Behind all that are due no later. */
    struct list_head *pos = &ch->queue[to];
    for (struct list_head *l = ch->queue[to].prev; l != &ch->queue[to]; l = l->prev) {
        at = list_entry(l, struct frame, node);
        if (at->due <= due)
            break;
        pos = l;
    }
    list_add_tail(&f->node, pos);
    ch->queued[to]++;
}

/* A copy that shares nothing, with some bits wrong. */
static struct pkt *corrupted(struct channel *ch, struct pkt *p)
{
    struct pkt *c;

    if (!pkt_csum_complete(p)) {
        pkt_free(p);
        return NULL;
    }
    c = pkt_alloc(PKT_HEADROOM, p->len);
    if (c) {
        pkt_copy_out(p, 0, pkt_put(c, p->len), p->len);
        /* Behind the link header: real networks check that by themselves. */
        if (c->len > NIC_HDR_LEN)
            c->data[NIC_HDR_LEN + rnd(ch) % (c->len - NIC_HDR_LEN)] ^= 1 << rnd(ch) % 8;
    }
    pkt_free(p);
    return c;
}

static void channel_xmit(struct nic *nic, struct pkt *p)
{
    struct channel *ch = nic->driver;
    int from = nic == ch->nic[1], to = !from;
    const struct channel_faults *f = &ch->faults[from];
    int64_t due = netstack_now(nic->stack);

    /* Over a wire nothing stays of what the sender knew. */
    pkt_forget(p);
    mutex_lock(&ch->lock);
    if ((ch->hook && !ch->hook(ch->hook_arg, from, p)) || !ch->nic[to] || chance(ch, f->loss)) {
        pkt_free(p);
        goto out;
    }
    if (f->rate) {
        if (ch->queued[to] >= (f->queue ? f->queue : 1000)) {
            nic->stats.tx_dropped++;
            pkt_free(p);
            goto out;
        }
        if (ch->line_free[from] < due)
            ch->line_free[from] = due;
        ch->line_free[from] += p->len * 8 * NET_SEC / f->rate;
        due = ch->line_free[from];
    }
    due += f->delay + (f->jitter ? (int64_t)(rnd(ch) % f->jitter) : 0);
    if (chance(ch, f->dup)) {
        struct pkt *c = pkt_clone(p);
        if (c)
            enqueue(ch, to, c, due);
    }
    if (chance(ch, f->corrupt)) {
        p = corrupted(ch, p);
        if (!p)
            goto out;
    }
    /* Late by a few frames' time, so that others overtake it. */
    if (chance(ch, f->reorder))
        due += f->delay / 2 + 1 + rnd(ch) % NET_MSEC;
    enqueue(ch, to, p, due);
out:
    mutex_unlock(&ch->lock);
}

static void channel_nic_destroy(struct nic *nic)
{
    struct channel *ch = nic->driver;

    mutex_lock(&ch->lock);
    ch->nic[nic == ch->nic[1]] = NULL;
    mutex_unlock(&ch->lock);
    free(nic);
}

static const struct nic_ops channel_ops = {.xmit = channel_xmit, .destroy = channel_nic_destroy};

static int make_nic(struct netstack *s, struct channel *ch, int end, const struct channel_config *c) EXCLUDES(netstack_held)
{
    struct nic *nic = calloc(1, sizeof(*nic));
    int r;

    if (!nic)
        return -ENOMEM;
    strncpy(nic->name, c->name[end] ? c->name[end] : "eth%d", sizeof(nic->name) - 1);
    nic->mtu = c->mtu ? c->mtu : 1500;
    nic->arp_type = ARPHRD_ETHER;
    nic->features = c->features;
    nic->mac[0] = 2;
    nic->mac[4] = c->seed;
    nic->mac[5] = end + 1;
    nic->driver = ch;
    netstack_lock(s);
    r = nic_add(s, nic, &channel_ops);
    if (r)
        free(nic);
    else
        ch->nic[end] = nic;
    netstack_unlock(s);
    return r;
}

int channel_create(struct netstack *a, struct netstack *b, const struct channel_config *c, struct channel **out)
{
    struct channel *ch = calloc(1, sizeof(*ch));
    int r;

    if (!ch)
        return -ENOMEM;
    mutex_init(&ch->lock);
    list_init(&ch->queue[0]);
    list_init(&ch->queue[1]);
    ch->rng = c->seed ? c->seed : 1;
    for (int i = 0; i < 8; i++)
        (void)rnd(ch);
    r = make_nic(a, ch, 0, c);
    if (!r)
        r = make_nic(b, ch, 1, c);
    if (r) {
        if (ch->nic[0]) {
            netstack_lock(a);
            nic_destroy(ch->nic[0]);
            netstack_unlock(a);
        }
        channel_destroy(ch);
        return r;
    }
    *out = ch;
    return 0;
}

void channel_destroy(struct channel *ch)
{
    for (int i = 0; i < 2; i++)
        while (!list_empty(&ch->queue[i])) {
            struct frame *f = list_first_entry(&ch->queue[i], struct frame, node);
            list_del_init(&f->node);
            pkt_free(f->p);
            free(f);
        }
    mutex_fini(&ch->lock);
    free(ch);
}

struct nic *channel_nic(struct channel *ch, int end)
{
    return ch->nic[end];
}

void channel_set_faults(struct channel *ch, int end, const struct channel_faults *f)
{
    ch->faults[end] = *f;
}

void channel_set_hook(struct channel *ch, bool (*fn)(void *arg, int from, struct pkt *p), void *arg)
{
    ch->hook = fn;
    ch->hook_arg = arg;
}

int64_t channel_run(struct channel *ch, int64_t now)
{
    int64_t next = INT64_MAX;

    for (int end = 0; end < 2; end++) {
        struct list_head due;
        struct nic *nic;

        list_init(&due);
        mutex_lock(&ch->lock);
        nic = ch->nic[end];
        while (!list_empty(&ch->queue[end])) {
            struct frame *f = list_first_entry(&ch->queue[end], struct frame, node);
            if (f->due > now) {
                next = f->due < next ? f->due : next;
                break;
            }
            list_del_init(&f->node);
            ch->queued[end]--;
            list_add_tail(&f->node, &due);
        }
        mutex_unlock(&ch->lock);
        while (!list_empty(&due)) {
            struct frame *f = list_first_entry(&due, struct frame, node);
            list_del_init(&f->node);
            if (nic) {
                netstack_lock(nic->stack);
                nic_input(nic, f->p);
                netstack_unlock(nic->stack);
            } else {
                pkt_free(f->p);
            }
            free(f);
        }
    }
    return next;
}
