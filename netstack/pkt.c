#include "netstack/pkt.h"

#include "netstack/csum.h"
#include "netstack/netfilter.h"

#include <stdlib.h>

struct pkt_buf *pkt_buf_alloc(size_t size)
{
    struct pkt_buf *b = malloc(sizeof(*b) + size);

    if (!b)
        return NULL;
    ref_init(&b->ref);
    b->size = size;
    b->mem = (uint8_t *)(b + 1);
    b->release = NULL;
    return b;
}

void pkt_buf_put(struct pkt_buf *b)
{
    if (!ref_put(&b->ref))
        return;
    if (b->release)
        b->release(b);
    else
        free(b);
}

struct pkt *pkt_alloc(size_t headroom, size_t size)
{
    struct pkt *p = malloc(sizeof(*p));

    if (!p)
        return NULL;
    memset(p, 0, offsetof(struct pkt, frag));
    p->buf = pkt_buf_alloc(headroom + size);
    if (!p->buf) {
        free(p);
        return NULL;
    }
    p->data = p->buf->mem + headroom;
    p->truesize = sizeof(*p) + sizeof(*p->buf) + headroom + size;
    p->gso_segs = 1;
    list_init(&p->node);
    return p;
}

struct pkt *pkt_from(const void *data, size_t len)
{
    struct pkt *p = pkt_alloc(PKT_HEADROOM, len);

    if (p && len)
        memcpy(pkt_put(p, len), data, len);
    return p;
}

void pkt_free(struct pkt *p)
{
    if (!p)
        return;
    if (p->nfct)
        nf_conn_put(p->nfct);
    for (int i = 0; i < p->nr_frags; i++)
        pkt_buf_put(p->frag[i].buf);
    pkt_buf_put(p->buf);
    free(p);
}

void pkt_forget(struct pkt *p)
{
    if (p->nfct)
        nf_conn_put(p->nfct);
    p->nfct = NULL;
    p->nf_ctinfo = 0;
    p->nf_skip = false;
    p->mark = p->priority = 0;
    p->tstamp = 0;
}

struct pkt *pkt_clone(struct pkt *p)
{
    struct pkt *c = malloc(sizeof(*c));

    if (!c)
        return NULL;
    memcpy(c, p, offsetof(struct pkt, frag) + p->nr_frags * sizeof(p->frag[0]));
    list_init(&c->node);
    pkt_buf_get(c->buf);
    for (int i = 0; i < c->nr_frags; i++)
        pkt_buf_get(c->frag[i].buf);
    if (c->nfct)
        nf_conn_get(c->nfct);
    return c;
}

struct pkt *pkt_slice(struct pkt *p, size_t off, size_t len, size_t headroom)
{
    struct pkt *s = pkt_alloc(headroom, 0);

    if (!s)
        return NULL;
    s->nic = p->nic;
    s->iif = p->iif;
    s->mark = p->mark;
    s->priority = p->priority;
    s->protocol = p->protocol;
    s->tstamp = p->tstamp;
    s->type = p->type;
    s->nf_ctinfo = p->nf_ctinfo;
    s->nf_skip = p->nf_skip;
    s->nfct = p->nfct;
    if (s->nfct)
        nf_conn_get(s->nfct);
    /* Both the linear part and the fragments become fragments. */
    size_t pos = 0;
    for (int i = -1; i < p->nr_frags && len; i++) {
        struct pkt_buf *buf = i < 0 ? p->buf : p->frag[i].buf;
        size_t start = i < 0 ? pkt_offset(p) : p->frag[i].off, n = i < 0 ? p->lin : p->frag[i].len;

        if (off < pos + n) {
            size_t skip = off - pos, take = n - skip < len ? n - skip : len;

            if (!pkt_add_frag(s, buf, start + skip, take)) {
                pkt_free(s);
                return NULL;
            }
            off += take;
            len -= take;
        }
        pos += n;
    }
    return s;
}

/* Gives the packet a linear buffer of its own with this headroom and the first `lin` bytes of data in it, and room behind. The
 * headers that lie before data move along. */
static bool pkt_relocate(struct pkt *p, size_t headroom, size_t lin)
{
    size_t offset = pkt_offset(p), room = lin > p->lin ? lin : p->lin, keep = offset < headroom ? offset : headroom;
    struct pkt_buf *b = pkt_buf_alloc(headroom + room);
    long shift = (long)headroom - (long)offset;

    if (!b)
        return false;
    memcpy(b->mem + headroom - keep, p->data - keep, keep);
    pkt_copy_out(p, 0, b->mem + headroom, room);
    /* The bytes that came from fragments go from there. */
    for (size_t more = room - p->lin; more;) {
        struct pkt_frag *f = &p->frag[0];
        size_t n = f->len < more ? f->len : more;

        f->off += n;
        f->len -= n;
        more -= n;
        if (!f->len) {
            pkt_buf_put(f->buf);
            memmove(p->frag, p->frag + 1, --p->nr_frags * sizeof(*f));
        }
    }
    pkt_buf_put(p->buf);
    p->buf = b;
    p->data = b->mem + headroom;
    p->lin = room;
    p->l2 = p->l2 ? p->l2 + shift : 0;
    p->l3 = p->l3 ? p->l3 + shift : 0;
    p->l4 = p->l4 ? p->l4 + shift : 0;
    p->csum_start += shift;
    return true;
}

static bool pkt_shared(const struct pkt *p)
{
    return ref_read(&p->buf->ref) > 1;
}

void *pkt_push(struct pkt *p, size_t n)
{
    if ((pkt_offset(p) < n || pkt_shared(p)) && !pkt_relocate(p, n > PKT_HEADROOM ? n : PKT_HEADROOM, 0))
        return NULL;
    p->data -= n;
    p->lin += n;
    p->len += n;
    return p->data;
}

void *pkt_put(struct pkt *p, size_t n)
{
    void *at = p->data + p->lin;

    p->lin += n;
    p->len += n;
    return at;
}

void pkt_pull(struct pkt *p, size_t n)
{
    size_t lin = n < p->lin ? n : p->lin;
    int drop = 0;

    p->len -= n;
    p->data += lin;
    p->lin -= lin;
    n -= lin;
    while (n) {
        struct pkt_frag *f = &p->frag[drop];

        if (f->len > n) {
            f->off += n;
            f->len -= n;
            break;
        }
        n -= f->len;
        pkt_buf_put(f->buf);
        drop++;
    }
    if (drop) {
        p->nr_frags -= drop;
        memmove(p->frag, p->frag + drop, p->nr_frags * sizeof(p->frag[0]));
    }
}

void pkt_trim(struct pkt *p, size_t len)
{
    if (len >= p->len)
        return;
    p->len = len;
    if (p->lin > len)
        p->lin = len;
    len -= p->lin;
    for (int i = 0; i < p->nr_frags; i++) {
        if (len >= p->frag[i].len) {
            len -= p->frag[i].len;
            continue;
        }
        p->frag[i].len = len;
        int keep = len ? i + 1 : i;
        for (int j = keep; j < p->nr_frags; j++)
            pkt_buf_put(p->frag[j].buf);
        p->nr_frags = keep;
        return;
    }
}

bool pkt_need_slow(struct pkt *p, size_t n)
{
    if (n > p->len)
        return false;
    size_t headroom = pkt_offset(p);
    return pkt_relocate(p, headroom > PKT_HEADROOM ? headroom : PKT_HEADROOM, n);
}

bool pkt_writable(struct pkt *p, size_t n)
{
    if (n > p->len)
        return false;
    if (n <= p->lin && !pkt_shared(p))
        return true;
    size_t headroom = pkt_offset(p);
    return pkt_relocate(p, headroom > PKT_HEADROOM ? headroom : PKT_HEADROOM, n);
}

bool pkt_add_frag(struct pkt *p, struct pkt_buf *buf, size_t off, size_t len)
{
    struct pkt_frag *last = p->nr_frags ? &p->frag[p->nr_frags - 1] : NULL;

    if (!len)
        return true;
    if (last && last->buf == buf && last->off + last->len == off) {
        last->len += len;
    } else {
        if (p->nr_frags == PKT_MAX_FRAGS)
            return false;
        p->frag[p->nr_frags++] = (struct pkt_frag){pkt_buf_get(buf), off, len};
        p->truesize += sizeof(*buf) + len;
    }
    p->len += len;
    return true;
}

bool pkt_add_data(struct pkt *p, const void *data, size_t len)
{
    struct pkt_buf *b = len ? pkt_buf_alloc(len) : NULL;
    bool ok;

    if (!len)
        return true;
    if (!b)
        return false;
    memcpy(b->mem, data, len);
    ok = pkt_add_frag(p, b, 0, len);
    pkt_buf_put(b);
    return ok;
}

bool pkt_append(struct pkt *p, struct pkt *q)
{
    int need = q->nr_frags + (q->lin ? 1 : 0);

    if (p->nr_frags + need > PKT_MAX_FRAGS) {
        struct pkt_buf *b = pkt_buf_alloc(q->len);
        if (!b)
            return false;
        pkt_copy_out(q, 0, b->mem, q->len);
        /* Even one fragment may be too many: then everything so far is joined into one buffer first. */
        if (p->nr_frags == PKT_MAX_FRAGS) {
            size_t n = p->len - p->lin;
            struct pkt_buf *joined = pkt_buf_alloc(n);
            if (!joined) {
                pkt_buf_put(b);
                return false;
            }
            pkt_copy_out(p, p->lin, joined->mem, n);
            for (int i = 0; i < p->nr_frags; i++)
                pkt_buf_put(p->frag[i].buf);
            p->frag[0] = (struct pkt_frag){joined, 0, n};
            p->nr_frags = 1;
        }
        p->frag[p->nr_frags++] = (struct pkt_frag){b, 0, q->len};
    } else {
        if (q->lin)
            p->frag[p->nr_frags++] = (struct pkt_frag){pkt_buf_get(q->buf), pkt_offset(q), q->lin};
        for (int i = 0; i < q->nr_frags; i++) {
            p->frag[p->nr_frags++] = q->frag[i];
            pkt_buf_get(q->frag[i].buf);
        }
    }
    p->len += q->len;
    p->truesize += q->truesize;
    pkt_free(q);
    return true;
}

int pkt_iov(const struct pkt *p, size_t from, size_t len, struct iovec *iov, int max)
{
    size_t pos = 0;
    int n = 0;

    for (int i = -1; i < p->nr_frags && len; i++) {
        uint8_t *mem = i < 0 ? p->data : p->frag[i].buf->mem + p->frag[i].off;
        size_t have = i < 0 ? p->lin : p->frag[i].len;

        if (from < pos + have) {
            size_t skip = from - pos, take = have - skip < len ? have - skip : len;

            if (n == max)
                return -1;
            iov[n++] = (struct iovec){mem + skip, take};
            from += take;
            len -= take;
        }
        pos += have;
    }
    return n;
}

void pkt_copy_out(const struct pkt *p, size_t from, void *to, size_t len)
{
    struct iovec iov[PKT_MAX_FRAGS + 1];
    int n = pkt_iov(p, from, len, iov, PKT_MAX_FRAGS + 1);

    for (int i = 0; i < n; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to = (char *)to + iov[i].iov_len;
    }
}

uint32_t pkt_csum(const struct pkt *p, size_t from, size_t len, uint32_t sum)
{
    struct iovec iov[PKT_MAX_FRAGS + 1];
    int n = pkt_iov(p, from, len, iov, PKT_MAX_FRAGS + 1);
    size_t done = 0;

    for (int i = 0; i < n; i++) {
        sum = csum_add_at(sum, csum_partial(iov[i].iov_base, iov[i].iov_len, 0), done);
        done += iov[i].iov_len;
    }
    return sum;
}

bool pkt_csum_complete(struct pkt *p)
{
    be16 *field;
    size_t start;

    if (p->csum != PKT_CSUM_PARTIAL)
        return true;
    start = p->csum_start - pkt_offset(p);
    if (p->csum_start < pkt_offset(p) || start + p->csum_off + 2 > p->len)
        return false;
    if (!pkt_writable(p, start + p->csum_off + 2))
        return false;
    be16 sum = csum_finish(pkt_csum(p, start, p->len - start, 0));
    field = (be16 *)(p->buf->mem + p->csum_start + p->csum_off);
    *field = sum ? sum : 0xffff; /* the same in this arithmetic; and UDP's 0 means "none" */
    p->csum = PKT_CSUM_NONE;
    return true;
}

void pkt_queue_add(struct pkt_queue *q, struct pkt *p)
{
    list_add_tail(&p->node, &q->list);
    q->n++;
    q->bytes += p->len;
    q->memory += p->truesize;
}

void pkt_queue_del(struct pkt_queue *q, struct pkt *p)
{
    list_del_init(&p->node);
    q->n--;
    q->bytes -= p->len;
    q->memory -= p->truesize;
}

struct pkt *pkt_queue_take(struct pkt_queue *q)
{
    struct pkt *p = pkt_queue_head(q);

    if (p)
        pkt_queue_del(q, p);
    return p;
}

void pkt_queue_purge(struct pkt_queue *q)
{
    struct pkt *p;

    while ((p = pkt_queue_take(q)))
        pkt_free(p);
}
