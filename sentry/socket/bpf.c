#include "sentry/socket/bpf.h"

#include "lib/cbpf.h"
#include "netstack/nic.h"
#include "netstack/pkt.h"
#include "sentry/kernel/task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* What Linux knows under "ancillary"; of the rest of that range nothing may be loaded. */
static bool is_ancillary(uint32_t k)
{
    return k >= (uint32_t)SKF_AD_OFF && k < (uint32_t)SKF_AD_OFF + SKF_AD_MAX;
}

/* No scratch word is read that may not have been written, which Linux refuses. A bit per word that is written on all ways here.
 */
static bool memory_is_valid(const struct sock_filter *insns, unsigned int len)
{
    uint16_t *known = malloc(len * sizeof(*known)), valid = 0;
    bool ok = known;

    if (!known)
        return false;
    memset(known, 0xff, len * sizeof(*known));
    for (unsigned int pc = 0; pc < len && ok; pc++) {
        const struct sock_filter *f = &insns[pc];

        valid &= known[pc];
        switch (f->code) {
        case BPF_ST:
        case BPF_STX:
            valid |= (uint16_t)(1 << f->k);
            break;
        case BPF_LD | BPF_MEM:
        case BPF_LDX | BPF_MEM:
            ok = valid >> f->k & 1;
            break;
        case BPF_JMP | BPF_JA:
            known[pc + 1 + f->k] &= valid;
            valid = UINT16_MAX;
            break;
        default:
            if (BPF_CLASS(f->code) != BPF_JMP)
                break;
            known[pc + 1 + f->jt] &= valid;
            known[pc + 1 + f->jf] &= valid;
            valid = UINT16_MAX;
            break;
        }
    }
    free(known);
    return ok;
}

static bool program_is_valid(const struct sock_filter *insns, unsigned int len)
{
    for (unsigned int pc = 0; pc < len; pc++) {
        const struct sock_filter *f = &insns[pc];

        if (!cbpf_insn_is_valid(f, pc, len))
            return false;
        if (BPF_CLASS(f->code) == BPF_LD && BPF_MODE(f->code) == BPF_ABS && f->k >= (uint32_t)SKF_AD_OFF && !is_ancillary(f->k))
            return false;
    }
    return BPF_CLASS(insns[len - 1].code) == BPF_RET && memory_is_valid(insns, len);
}

int bpf_prog_create(struct task *t, const void *fprog, socklen_t len, struct bpf_prog **out)
{
    struct {
        uint16_t len;
        uint16_t pad[3];
        uint64_t filter;
    } prog;
    struct bpf_prog *p;

    if (len != sizeof(prog))
        return -EINVAL;
    memcpy(&prog, fprog, sizeof(prog));
    if (!prog.filter || prog.len == 0 || prog.len > BPF_MAXINSNS)
        return -EINVAL;
    p = malloc(sizeof(*p) + prog.len * sizeof(p->insns[0]));
    if (!p)
        return -ENOMEM;
    ref_init(&p->ref);
    p->len = prog.len;
    if (copy_in(t, p->insns, guest_addr_of(prog.filter), prog.len * sizeof(p->insns[0]))) {
        free(p);
        return -EFAULT;
    }
    if (!program_is_valid(p->insns, p->len)) {
        free(p);
        return -EINVAL;
    }
    *out = p;
    return 0;
}

struct bpf_prog *bpf_prog_get(struct bpf_prog *p)
{
    if (p)
        ref_get(&p->ref);
    return p;
}

void bpf_prog_put(struct bpf_prog *p)
{
    if (p && ref_put(&p->ref))
        free(p);
}

static uint32_t data_len(const struct bpf_data *d)
{
    return d->pkt ? d->pkt->len : d->head_len + d->body_len;
}

static bool copy(const struct bpf_data *d, uint32_t at, uint8_t *to, uint32_t n)
{
    if (at > data_len(d) || n > data_len(d) - at)
        return false;
    if (d->pkt) {
        pkt_copy_out(d->pkt, at, to, n);
        return true;
    }
    for (uint32_t i = 0; i < n; i++, at++)
        to[i] = at < d->head_len ? ((const uint8_t *)d->head)[at] : ((const uint8_t *)d->body)[at - d->head_len];
    return true;
}

/* From a header that lies before the data, or in it: `from` is its offset in the packet's buffer, 0 when it has none. */
static bool copy_header(const struct bpf_data *d, uint32_t from, uint32_t off, uint8_t *to, uint32_t n)
{
    int64_t at;

    if (!d->pkt || !from)
        return false;
    at = (int64_t)from + off - (int64_t)pkt_offset(d->pkt);
    if (at >= 0)
        return at <= UINT32_MAX && copy(d, (uint32_t)at, to, n);
    if (at + n > 0)
        return false;
    memcpy(to, d->pkt->data + at, n);
    return true;
}

static bool load(const struct bpf_data *d, uint32_t k, uint32_t n, uint32_t *out)
{
    uint8_t b[4];
    bool ok;

    if ((int32_t)k >= 0)
        ok = copy(d, k, b, n);
    else if (k >= (uint32_t)SKF_NET_OFF)
        ok = copy_header(d, d->pkt ? d->pkt->l3 : 0, k - (uint32_t)SKF_NET_OFF, b, n);
    else
        ok = k >= (uint32_t)SKF_LL_OFF && copy_header(d, d->pkt ? d->pkt->l2 : 0, k - (uint32_t)SKF_LL_OFF, b, n);
    if (!ok)
        return false;
    *out = n == 1 ? b[0] : n == 2 ? (uint32_t)(b[0] << 8 | b[1]) : (uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    return true;
}

static bool ancillary(const struct bpf_data *d, uint32_t what, uint32_t *out)
{
    const struct pkt *p = d->pkt;

    *out = 0;
    switch (what) {
    case SKF_AD_PROTOCOL:
        *out = d->protocol;
        break;
    case SKF_AD_PKTTYPE:
        *out = p ? p->type : 0;
        break;
    case SKF_AD_IFINDEX:
        *out = (uint32_t)d->ifindex;
        return d->ifindex != 0;
    case SKF_AD_HATYPE:
        if (!p || !p->nic)
            return false;
        *out = p->nic->arp_type;
        break;
    case SKF_AD_MARK:
        *out = d->mark;
        break;
    case SKF_AD_RXHASH:
        *out = p ? p->hash : 0;
        break;
    case SKF_AD_PAY_OFFSET:
        *out = p && p->l4 ? p->l4 - (uint32_t)pkt_offset(p) : 0;
        break;
    case SKF_AD_RANDOM:
        return getrandom(out, sizeof(*out), GRND_NONBLOCK) == sizeof(*out);
    default: /* no queues, one CPU, no VLAN tags, no netlink attributes */
        break;
    }
    return true;
}

static bool load_insn(const void *data, const struct sock_filter *i, uint32_t x, uint32_t *value)
{
    uint32_t n = BPF_SIZE(i->code) == BPF_W ? 4 : BPF_SIZE(i->code) == BPF_H ? 2 : 1;

    if (BPF_MODE(i->code) == BPF_ABS && is_ancillary(i->k))
        return ancillary(data, i->k - (uint32_t)SKF_AD_OFF, value);
    return load(data, BPF_MODE(i->code) == BPF_IND ? i->k + x : i->k, n, value);
}

uint32_t bpf_run(const struct bpf_prog *p, const struct bpf_data *d)
{
    return cbpf_run(p->insns, p->len, &(struct cbpf_input){.load = load_insn, .data = d, .len = data_len(d)});
}

uint32_t bpf_run_pkt(const struct bpf_prog *p, const struct pkt *pkt)
{
    return bpf_run(p, &(struct bpf_data){.pkt = pkt, .protocol = ntohs(pkt->protocol), .ifindex = pkt->iif, .mark = pkt->mark});
}
