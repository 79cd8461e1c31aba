#include "vfs/fs_type.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* Written only at boot, while there is one thread. */
static struct fs_type *types;
static device_open_fn *opener;

void fs_type_register(struct fs_type *type)
{
    struct fs_type **p = &types;

    while (*p)
        p = &(*p)->next;
    type->next = NULL;
    *p = type;
}

const struct fs_type *fs_type_find(const char *name)
{
    for (const struct fs_type *t = types; t; t = t->next)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

const struct fs_type *fs_type_first(void)
{
    return types;
}

void device_open_register(device_open_fn *fn)
{
    opener = fn;
}

int device_open(struct inode *inode, struct file *f, const struct vfs_caller *c)
{
    return opener ? opener(inode, f, c) : -ENXIO;
}
