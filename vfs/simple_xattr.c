/* See simple_xattr.h. A list: files have none or a few. */
#include "vfs/simple_xattr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define MAX_BYTES (256 * 1024) /* per inode, so that a guest cannot fill the sentry's memory with them */

struct attr {
    struct list_head node;
    size_t size, name_len;
    char data[]; /* name, NUL, value */
};

void simple_xattrs_init(struct simple_xattrs *x)
{
    list_init(&x->list);
    x->bytes = 0;
}

void simple_xattrs_fini(struct simple_xattrs *x)
{
    struct attr *a, *tmp;
    list_for_each_entry_safe(a, tmp, &x->list, node)
        free(a);
    list_init(&x->list);
}

static struct attr *find(const struct simple_xattrs *x, const char *name)
{
    struct attr *a;
    list_for_each_entry(a, &x->list, node)
        if (strcmp(a->data, name) == 0)
            return a;
    return NULL;
}

ssize_t simple_xattr_get(const struct simple_xattrs *x, const char *name, void *buf, size_t size)
{
    const struct attr *a = find(x, name);
    if (!a)
        return -ENODATA;
    if (size == 0)
        return (ssize_t)a->size;
    if (size < a->size)
        return -ERANGE;
    memcpy(buf, a->data + a->name_len + 1, a->size);
    return (ssize_t)a->size;
}

static size_t weight(const struct attr *a)
{
    return sizeof(*a) + a->name_len + 1 + a->size;
}

int simple_xattr_set(struct simple_xattrs *x, const char *name, const void *value, size_t size, int flags)
{
    struct attr *old = find(x, name), *a = NULL;

    if (old && flags & XATTR_CREATE)
        return -EEXIST;
    if (!old && (flags & XATTR_REPLACE || !value))
        return -ENODATA;
    if (value) {
        size_t len = strlen(name);
        a = malloc(sizeof(*a) + len + 1 + size);
        if (!a)
            return -ENOMEM;
        a->size = size;
        a->name_len = len;
        memcpy(a->data, name, len + 1);
        memcpy(a->data + len + 1, value, size);
        if (x->bytes + weight(a) - (old ? weight(old) : 0) > MAX_BYTES) {
            free(a);
            return -ENOSPC;
        }
        x->bytes += weight(a);
        list_add_tail(&a->node, &x->list);
    }
    if (old) {
        x->bytes -= weight(old);
        list_del_init(&old->node);
        free(old);
    }
    return 0;
}

ssize_t simple_xattr_list(const struct simple_xattrs *x, char *buf, size_t size)
{
    const struct attr *a;
    size_t n = 0;
    list_for_each_entry(a, &x->list, node) {
        size_t len = a->name_len + 1;
        if (size > 0) {
            if (n + len > size)
                return -ERANGE;
            memcpy(buf + n, a->data, len);
        }
        n += len;
    }
    return (ssize_t)n;
}
