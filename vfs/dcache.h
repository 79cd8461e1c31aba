/*
 * Private to vfs/: the dentry cache of one superblock.
 *
 * Lock order: inode->lock -> dcache->lock. Nothing is taken under dcache->lock.
 */
#ifndef VFS_DCACHE_H
#define VFS_DCACHE_H

#include "vfs/inode.h"

struct dcache {
    struct mutex lock; /* guards all links, names and hash chains of the superblock's dentries */
    struct dentry **buckets GUARDED_BY(lock);
    unsigned int mask GUARDED_BY(lock); /* number of buckets - 1 */
    unsigned int nr_hashed GUARDED_BY(lock);
    struct list_head lru GUARDED_BY(lock); /* the least recently used first */
    unsigned int nr_lru GUARDED_BY(lock);
    unsigned int max_lru; /* unused dentries kept; set before the superblock is used */
    uint64_t secret;      /* keys the hash; immutable */
    bool dying GUARDED_BY(lock);
};

struct dcache *dcache_create(void);
/* Drops everything but dentries that are still in use, which go with their last reference; unpins all. */
void dcache_shutdown(struct super_block *sb);
void dcache_destroy(struct dcache *dc);

uint32_t dcache_hash(const struct dentry *parent, const char *name, size_t len);
/* The cached child with a reference, or NULL. `hash` from dcache_hash(). */
struct dentry *dcache_find(struct dentry *parent, const char *name, size_t len, uint32_t hash);
/* A new, unhashed, negative child of `parent`; NULL when out of memory. */
struct dentry *dentry_alloc(struct super_block *sb, struct dentry *parent, const char *name, size_t len);
/* Makes it findable. The caller holds the parent's inode->lock. */
void dentry_add(struct dentry *d);
/* A dentry without parent or name in any directory, for anonymous files and O_TMPFILE. */
struct dentry *dentry_create_detached(struct super_block *sb, const char *name, struct inode *inode);
/* rename: `d` takes the place of `target`, which is unhashed (or, with `exchange`, takes d's). Both parents' locks are held. */
void dentry_move(struct dentry *d, struct dentry *target, bool exchange);
/* Whether `d` is `top` or below it. */
bool dentry_is_below(struct dentry *d, struct dentry *top);
/* After rmdir and the like: forgets cached children, all of which are negative or unused. */
void dentry_forget_children(struct dentry *d);
void dentry_set_mounted(struct dentry *d, int delta);

#endif
