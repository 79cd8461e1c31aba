/* See cred.h. */
#include "vfs/cred.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALL_CAPS ((1ULL << (CAP_LAST_CAP + 1)) - 1)

struct cred *cred_create_root(void)
{
    struct cred *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    ref_init(&c->ref);
    c->cap_permitted = c->cap_effective = c->cap_bounding = ALL_CAPS;
    return c;
}

struct cred *cred_dup(const struct cred *c)
{
    struct cred *copy = malloc(sizeof(*copy));
    if (!copy)
        return NULL;
    memcpy(copy, c, sizeof(*copy));
    ref_init(&copy->ref);
    copy->groups = NULL;
    copy->nr_groups = 0;
    if (cred_set_groups(copy, c->groups, c->nr_groups) < 0) {
        free(copy);
        return NULL;
    }
    return copy;
}

struct cred *cred_get(struct cred *c)
{
    ref_get(&c->ref);
    return c;
}

void cred_put(struct cred *c)
{
    if (!c || !ref_put(&c->ref))
        return;
    free(c->groups);
    free(c);
}

static int compare_gids(const void *a, const void *b)
{
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;
    return x < y ? -1 : x > y;
}

int cred_set_groups(struct cred *c, const gid_t *groups, size_t n)
{
    gid_t *copy = NULL;
    if (n > 0) {
        copy = malloc(n * sizeof(*copy));
        if (!copy)
            return -ENOMEM;
        memcpy(copy, groups, n * sizeof(*copy));
        qsort(copy, n, sizeof(*copy), compare_gids);
    }
    free(c->groups);
    c->groups = copy;
    c->nr_groups = n;
    return 0;
}

bool cred_has_cap(const struct cred *c, int cap)
{
    return c->cap_effective >> cap & 1;
}

bool cred_in_group(const struct cred *c, gid_t gid)
{
    return c->fsgid == gid || (c->nr_groups > 0 && bsearch(&gid, c->groups, c->nr_groups, sizeof(gid), compare_gids));
}
