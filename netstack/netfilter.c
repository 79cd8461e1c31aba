#include "netstack/netfilter.h"

struct nf_conn {
    struct refcount ref;
};

void nf_conn_get(struct nf_conn *ct)
{
    ref_get(&ct->ref);
}

void nf_conn_put(struct nf_conn *ct)
{
    (void)!ref_put(&ct->ref);
}
