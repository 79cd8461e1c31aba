#include "netstack/nf.h"

void nft_destroy(struct netstack *s)
{
}
