/* Attributes of nf_tables messages: reading those of others, writing our own. */
#include "netstack/nft.h"

#include <endian.h>
#include <stdlib.h>

bool nft_parse(const void *data, size_t len, struct nft_attrs *out)
{
    const uint8_t *p = data;

    memset(out, 0, sizeof(*out));
    while (len >= NLA_HDRLEN) {
        const struct nlattr *a = (const struct nlattr *)p;
        size_t n = NLA_ALIGN(a->nla_len);
        unsigned int type = a->nla_type & NLA_TYPE_MASK;

        if (a->nla_len < NLA_HDRLEN || a->nla_len > len)
            return false;
        if (type < ARRAY_SIZE(out->a))
            out->a[type] = a;
        if (n >= len)
            break;
        p += n;
        len -= n;
    }
    return true;
}

bool nft_nested(const struct nlattr *a, struct nft_attrs *out)
{
    return a && nft_parse(nft_data(a), nft_len(a), out);
}

bool nft_u32(const struct nlattr *a, uint32_t *out)
{
    uint32_t v;

    if (!a || nft_len(a) < 4)
        return false;
    memcpy(&v, nft_data(a), 4);
    *out = be32toh(v);
    return true;
}

bool nft_u64(const struct nlattr *a, uint64_t *out)
{
    uint64_t v;

    if (!a || nft_len(a) < 8)
        return false;
    memcpy(&v, nft_data(a), 8);
    *out = be64toh(v);
    return true;
}

bool nft_name(const struct nlattr *a, char *out)
{
    size_t n;

    if (!a)
        return false;
    n = strnlen(nft_data(a), nft_len(a));
    if (n == 0 || n >= NFT_NAME_MAX)
        return false;
    memcpy(out, nft_data(a), n);
    out[n] = 0;
    return true;
}

static void *grow(struct nft_msg *m, size_t n)
{
    void *at;

    if (m->failed)
        return NULL;
    if (m->len + n > m->room) {
        size_t room = (m->len + n) * 2 + 256;
        uint8_t *b = realloc(m->b, room);

        if (!b) {
            m->failed = true;
            return NULL;
        }
        m->b = b;
        m->room = room;
    }
    at = m->b + m->len;
    memset(at, 0, n);
    m->len += n;
    return at;
}

static void set_len(struct nft_msg *m)
{
    if (m->len >= sizeof(struct nlmsghdr))
        ((struct nlmsghdr *)m->b)->nlmsg_len = m->len;
}

size_t nft_msg_begin(struct nft_msg *m, uint16_t type, uint16_t flags, uint32_t seq, uint32_t port, uint8_t family,
                     uint32_t gen)
{
    struct {
        struct nlmsghdr n;
        struct nfgenmsg g;
    } * h;

    m->len = 0;
    h = grow(m, sizeof(*h));
    if (!h)
        return 0;
    h->n = (struct nlmsghdr){sizeof(*h), type, flags, seq, port};
    h->g = (struct nfgenmsg){family, NFNETLINK_V0, htons(gen)};
    return sizeof(*h);
}

void nft_put(struct nft_msg *m, uint16_t type, const void *data, size_t len)
{
    struct nlattr *a = grow(m, NLA_ALIGN(NLA_HDRLEN + len));

    if (!a)
        return;
    a->nla_len = NLA_HDRLEN + len;
    a->nla_type = type;
    if (len)
        memcpy(a + 1, data, len);
    set_len(m);
}

void nft_put_u32(struct nft_msg *m, uint16_t type, uint32_t v)
{
    v = htobe32(v);
    nft_put(m, type, &v, 4);
}

void nft_put_u64(struct nft_msg *m, uint16_t type, uint64_t v)
{
    v = htobe64(v);
    nft_put(m, type, &v, 8);
}

void nft_put_str(struct nft_msg *m, uint16_t type, const char *s)
{
    nft_put(m, type, s, strlen(s) + 1);
}

size_t nft_nest(struct nft_msg *m, uint16_t type)
{
    size_t at = m->len;

    nft_put(m, type | NLA_F_NESTED, NULL, 0);
    return at;
}

void nft_nest_end(struct nft_msg *m, size_t at)
{
    if (!m->failed)
        ((struct nlattr *)(m->b + at))->nla_len = m->len - at;
    set_len(m);
}
