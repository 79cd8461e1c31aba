/* Segmentation in software, for links that cannot: TCP streams and UDP trains into packets of gso_size. */
#include "netstack/csum.h"
#include "netstack/nic_internal.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

/* A packet that would fall into more pieces is an attack. */
#define SEGMENTS_MAX 4096

/* The sum of the pseudo-header for a segment whose transport part has `len` bytes. */
static uint32_t pseudo(const struct pkt *s, uint8_t proto, uint32_t len)
{
    const struct iphdr *ip = pkt_l3(s);
    const struct ip6_hdr *ip6 = pkt_l3(s);
    uint32_t sum;

    if (ip->version == 4)
        sum = csum_add(ip->saddr, ip->daddr);
    else
        sum = csum_partial(&ip6->ip6_src, 32, 0);
    return csum_add(csum_add(sum, htonl(proto)), htonl(len));
}

/* Mends the headers of the segment `i`, whose payload begins `done` bytes into the original's. */
static bool mend(struct pkt *s, bool tcp, unsigned int i, size_t done, bool last, bool partial)
{
    struct iphdr *ip = pkt_l3(s);
    struct ip6_hdr *ip6 = pkt_l3(s);
    uint32_t len = s->len - (s->l4 - pkt_offset(s));
    size_t off;

    if (ip->version == 4) {
        ip->tot_len = htons(s->len - (s->l3 - pkt_offset(s)));
        ip->id = htons(ntohs(ip->id) + i);
        ip->check = 0;
        ip->check = csum_finish(csum_partial(ip, ip->ihl * 4, 0));
    } else {
        ip6->ip6_plen = htons(s->len - (s->l3 - pkt_offset(s)) - 40);
    }
    if (tcp) {
        struct tcphdr *th = pkt_l4(s);

        th->seq = htonl(ntohl(th->seq) + done);
        if (!last)
            th->fin = th->psh = 0;
        if (i > 0)
            th->res2 &= ~2; /* CWR goes with the first */
        off = offsetof(struct tcphdr, check);
        th->check = csum_fold16(pseudo(s, IPPROTO_TCP, len));
    } else {
        struct udphdr *uh = pkt_l4(s);

        uh->len = htons(len);
        off = offsetof(struct udphdr, check);
        uh->check = csum_fold16(pseudo(s, IPPROTO_UDP, len));
    }
    s->csum = PKT_CSUM_PARTIAL;
    s->csum_start = s->l4;
    s->csum_off = off;
    if (partial)
        return true;
    if (!pkt_csum_complete(s))
        return false;
    if (!tcp && ((struct udphdr *)pkt_l4(s))->check == 0)
        ((struct udphdr *)pkt_l4(s))->check = 0xffff;
    return true;
}

bool gso_segment(struct pkt *p, bool partial, struct pkt_queue *out)
{
    bool tcp = p->gso != PKT_GSO_UDP;
    size_t hdr, total, step = p->gso_size;
    uint8_t headers[512];
    struct pkt_queue done;
    struct pkt *s;

    pkt_queue_init(&done);
    if (!step || p->l4 < pkt_offset(p))
        goto fail;
    hdr = p->l4 - pkt_offset(p);
    if (!pkt_need(p, hdr + (tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr))))
        goto fail;
    hdr += tcp ? ((struct tcphdr *)pkt_l4(p))->doff * 4 : sizeof(struct udphdr);
    if (hdr > sizeof(headers) || !pkt_need(p, hdr) || p->len <= hdr || (p->len - hdr) / step > SEGMENTS_MAX)
        goto fail;
    memcpy(headers, p->data, hdr);
    total = p->len - hdr;
    for (size_t off = 0, i = 0; off < total; off += step, i++) {
        size_t n = total - off < step ? total - off : step;
        uint8_t *h;

        s = pkt_slice(p, hdr + off, n, PKT_HEADROOM);
        h = s ? pkt_push(s, hdr) : NULL;
        if (!h) {
            pkt_free(s);
            goto fail;
        }
        memcpy(h, headers, hdr);
        s->l2 = p->l2 ? pkt_offset(s) + p->l2 - pkt_offset(p) : 0;
        s->l3 = pkt_offset(s) + p->l3 - pkt_offset(p);
        s->l4 = pkt_offset(s) + p->l4 - pkt_offset(p);
        s->ip = p->ip;
        pkt_queue_add(&done, s);
        if (!mend(s, tcp, i, off, off + n == total, partial))
            goto fail;
    }
    while ((s = pkt_queue_take(&done)))
        pkt_queue_add(out, s);
    pkt_free(p);
    return true;
fail:
    pkt_queue_purge(&done);
    pkt_free(p);
    return false;
}
